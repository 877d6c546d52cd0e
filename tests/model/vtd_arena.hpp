// A small arena of tables, and random and hostile contents for it.
#pragma once

#include "host_memory.hpp"
#include "random_bits.hpp"
#include "vtd_model.hpp"

#include <array>
#include <cstddef>
#include <cstdint>

namespace vtd_arena {

using vtd_model::ask;
using vtd_model::unit;

// Twelve pages from `origin` on. All memory policies and the model read these words.
struct arena {
    static constexpr std::uint64_t pages = 12;
    static constexpr std::uint64_t bytes = pages * 4096;
    static constexpr std::uint64_t none = ~std::uint64_t{0};

    alignas(4096) stagewalk::test::table_word words[pages * 512]{};
    std::uint64_t origin = 0;
    std::uint64_t missing = 0;     // a bit for each page that cannot be read
    std::uint64_t bad_word = none; // a word that cannot be read
    bool folds = false;            // every address stands for one in the arena

    std::uint64_t page(std::uint64_t i) const { return origin + i * 4096; }
    stagewalk::test::table_word& at(std::uint64_t address) { return words[(address - origin) / 8]; }
    std::uint64_t index(std::uint64_t address) const {
        std::uint64_t const offset = address - origin;
        return (folds ? offset % bytes : offset) / 8;
    }
    bool read(std::uint64_t address, std::uint64_t& value) const {
        if (address % 8 != 0 || (!folds && address - origin >= bytes)) return false;
        std::uint64_t const i = index(address);
        if ((missing >> i / 512 & 1) != 0 || i == bad_word) return false;
        value = words[i];
        return true;
    }
};

// A unit with random capabilities, most of them present.
inline unit random_unit(random_bits& random) {
    unit u;
    std::uint64_t const mgaws[] = {36, 39, 42, 46, 48, 52, 57, 64};
    std::uint64_t const mgaw = random.one_in(4) ? 32 + random.below(33) : random.pick(mgaws);
    u.haw = 32 + random.small(static_cast<unsigned>((mgaw < 52 ? mgaw : 52) - 31));
    u.cap = random() & 0xffc0037fff00e0f8; // what does not matter here is random
    u.cap &= ~(std::uint64_t{63} << 16 | std::uint64_t{1} << 22 | std::uint64_t{15} << 34);
    u.cap |= (mgaw - 1) << 16;
    u.cap |= (random.one_in(2) ? 7 : 1 + random.below(7)) << 9; // SAGAW
    u.cap |= random.below(2) << 22;                             // ZLR
    std::uint64_t const sizes[] = {3, 3, 3, 1, 0};
    u.cap |= random.pick(sizes) << 34;
    u.cap |= random.one_in(2) ? 6 : random.below(7); // ND
    u.ecap = random();
    if (!random.one_in(4)) u.ecap |= 1u << 7 | 1u << 6 | 1u << 2; // SC, PT, DT
    if (!random.one_in(8)) u.ecap &= ~(std::uint64_t{1} << 57);   // SSIRWS
    u.each_entry = random.one_in(4);
    u.largest = random.one_in(4);
    u.on = !random.one_in(100);
    u.ranges = !random.one_in(16);
    return u;
}

inline std::uint64_t random_rights(random_bits& random) { return random.one_in(6) ? random.below(4) : 3; }

// Where pages lead: anywhere, and often to or around the interrupt range.
inline std::uint64_t random_target(random_bits& random, unsigned haw, unsigned lg2) {
    std::uint64_t t = random.any_width() & ((std::uint64_t{1} << haw) - 1);
    if (random.one_in(6)) t = 0xfee00000 + (random.below(3) - 1) * 0x100000 + random.below(256) * 4096;
    if (random.one_in(16)) t = (std::uint64_t{1} << haw) - 1;
    return t >> lg2 << lg2;
}

struct scene {
    unit u;
    ask q;
    std::uint64_t path[9]{}; // where the words stand that lead to the page
    std::size_t path_length = 0;
    unsigned levels = 0;
    std::uint64_t root = 0; // of the second stage
};

inline ask random_ask(random_bits& random, unit const& u) {
    ask q;
    q.source = static_cast<std::uint32_t>(random.one_in(4) ? random.below(0x10000) : random.below(4) << 8 | random.below(4));
    unsigned const accesses = random.small(8);
    q.read = accesses != 1 && accesses != 4;
    q.write = accesses == 1 || accesses == 2 || accesses == 4;
    std::uint32_t const lengths[] = {4, 4, 4, 1, 8, 64, 0, 0};
    q.bytes = random.pick(lengths);
    unsigned const type = random.small(16);
    q.type = type < 10          ? vtd_model::untranslated
             : type < 13        ? vtd_model::translation
             : random.one_in(8) ? vtd_model::page_request
             : type < 15        ? vtd_model::translated
                                : vtd_model::untranslated;
    q.no_write = random.one_in(2);
    q.has_pasid = random.one_in(64);

    // Indices at both ends of a table and a few in between; offsets likewise.
    for (int level = 0; level < 5; ++level) {
        std::uint64_t const indices[] = {0, 1, 511, random.below(512)};
        q.address |= random.pick(indices) << (12 + 9 * level);
    }
    std::uint64_t const offsets[] = {0, 8, 0xfff, random.below(4096)};
    q.address |= random.pick(offsets);
    std::uint64_t const mgaw = (u.cap >> 16 & 63) + 1;
    std::uint64_t const limits[] = {39, 48, 57, u.haw, mgaw, 32};
    std::uint64_t const limit = random.pick(limits);
    if (limit < 64) {
        std::uint64_t const past = std::uint64_t{1} << limit;
        if (random.one_in(40)) q.address = past;
        if (random.one_in(40)) q.address = past - 1 - random.below(2) * 4095;
        // Most addresses stay below what some depth or the bus admits.
        if (!random.one_in(16)) q.address &= past - 1;
    }
    if (random.one_in(40)) q.address = random();
    if (random.one_in(12)) q.address = 0xfee00000 + random.below(0x100000);
    if (random.one_in(100)) q.address = 0xfee00000 - 1 + random.below(2) * 0x100001;
    return q;
}

// Writes down tables through which the request gets somewhere, most of the time.
inline void build(random_bits& random, arena& a, scene& s) {
    unit& u = s.u;
    // Which page holds what; now and then one page holds two tables, or refers to itself.
    std::array<std::uint64_t, 7> place{};
    std::uint64_t const turn = random.below(arena::pages);
    for (std::uint64_t i = 0; i < place.size(); ++i)
        place[i] = a.page((turn + i * 5) % arena::pages);
    if (random.one_in(24)) place[random.below(7)] = place[random.below(7)];
    if (random.one_in(24)) place[random.below(7)] = a.page(arena::pages - 1);

    u.rtaddr = place[0];
    if (random.one_in(32)) u.rtaddr |= random.below(4) << 10;
    if (random.one_in(32)) u.rtaddr |= random() & 0x3ff; // SSIRWE and reserved bits
    if (random.one_in(128)) u.rtaddr ^= std::uint64_t{1} << random.below(64);

    std::uint64_t const root_at = place[0] + (s.q.source >> 8) * 16;
    std::uint64_t const context_at = place[1] + (s.q.source & 0xff) * 16;
    s.path_length = 0;
    auto const put = [&](std::uint64_t at, std::uint64_t value) {
        a.at(at) = value;
        s.path[s.path_length++] = at;
    };
    put(root_at, place[1] | (random.one_in(64) ? 0 : 1));
    put(root_at + 8, 0);

    unsigned const deepest[] = {3, 3, 4, 5};
    s.levels = random.pick(deepest);
    for (unsigned tries = 0; tries < 8 && (u.cap >> (6 + s.levels) & 1) == 0; ++tries)
        s.levels = 3 + random.small(3);
    s.root = place[2];
    std::uint64_t const mgaw = (u.cap >> 16 & 63) + 1;
    std::uint64_t const limit = mgaw < 12 + 9 * s.levels ? mgaw : 12 + 9 * s.levels;
    if (!random.one_in(4)) s.q.address &= (std::uint64_t{1} << limit) - 1;
    std::uint64_t const types[] = {0, 0, 0, 1, 1, 1, 1, 2};
    std::uint64_t tt = random.pick(types);
    if (s.q.type != vtd_model::untranslated && !random.one_in(8)) tt = 1;
    if (random.one_in(100)) tt = 3;
    std::uint64_t aw = s.levels - 2;
    if (random.one_in(32)) aw = random.below(8);
    std::uint64_t const did_bits = 4 + 2 * (u.cap & 7);
    std::uint64_t did = random() & ((std::uint64_t{1} << (did_bits < 16 ? did_bits : 16)) - 1);
    if (random.one_in(64)) did = random() & 0xffff;
    put(context_at, place[2] | tt << 2 | random.below(2) << 1 | (random.one_in(64) ? 0 : 1));
    put(context_at + 8, aw | random.below(16) << 3 | did << 8);

    unsigned const leaf = random.one_in(2) ? 0 : random.small(3); // the level of the page
    bool const write_only = random.one_in(24);                    // for zero-length reads
    for (unsigned level = s.levels - 1;; --level) {
        std::uint64_t const at = place[2 + (s.levels - 1 - level)] + (s.q.address >> (12 + 9 * level) & 511) * 8;
        std::uint64_t e = write_only ? 2 : random_rights(random);
        e |= random() & 0xbff0000000000604; // what is ignored at every level
        e |= random.below(2) << 8;
        if (level == leaf) {
            e |= random_target(random, u.haw, 12 + 9 * level) | (random() & 0x78);
            if (level > 0) e |= 0x80;
            if (level == 0) e |= random() & 0x80;
            if (random.one_in(16) || (u.ecap & 0x80) != 0) e |= random() & 0x800;
        } else {
            e |= place[3 + (s.levels - 1 - level)] | (random() & 0x78);
        }
        put(at, e);
        if (level == leaf) break;
    }
}

// What a hostile guest or a broken one does to them.
inline void mutate(random_bits& random, arena& a, scene const& s) {
    std::uint64_t const count = random.one_in(3) ? 2 : 1;
    for (std::uint64_t i = 0; i < count; ++i) {
        auto& word = a.at(s.path[random.one_in(6) ? random.below(4) : random.below(s.path_length)]);
        switch (random.below(13)) {
        case 0: word ^= std::uint64_t{1} << random.below(64); break;
        case 1: word ^= std::uint64_t{1} << random.below(64); break;
        case 2: word |= std::uint64_t{1} << random.below(12); break;
        case 3: word |= std::uint64_t{1} << (s.u.haw + random.below(64 - s.u.haw)); break;
        case 4: word = (word & 0xfff) | a.page(arena::pages - 1); break; // the last table
        case 5: word = (word & 0xfff) | a.page(arena::pages); break;     // just past it
        case 6: word = (word & 0xfff) | (a.page(0) - 4096); break;       // just before the first
        case 7: word = ~std::uint64_t{0}; break;
        case 8: word &= ~std::uint64_t{3}; break;
        case 9: word = random(); break;
        case 10: word = (word & ~std::uint64_t{3}) | random.below(4); break;
        case 11: word |= 0x80 | random.below(512) << 12; break; // a page with low frame bits
        default: word = (word & 0xfff) | (s.path[random.below(s.path_length)] & ~std::uint64_t{0xfff}); break; // a loop
        }
    }
}

} // namespace vtd_arena
