// An arena of scalable-mode tables, and random and hostile contents for it.
#pragma once

#include "host_memory.hpp"
#include "random_bits.hpp"
#include "vtd_scalable_model.hpp"

#include <cstddef>
#include <cstdint>

namespace vtd_scalable_arena {

using vtd_scalable_model::ask;
using vtd_scalable_model::exchange;
using vtd_scalable_model::unit;

// Twenty pages from `origin` on, with a log of what was changed in them.
struct arena {
    static constexpr std::uint64_t pages = 20;
    static constexpr std::uint64_t bytes = pages * 4096;
    static constexpr std::uint64_t none = ~std::uint64_t{0};

    alignas(4096) stagewalk::test::table_word words[pages * 512]{};
    std::uint64_t origin = 0;
    std::uint64_t missing = 0;     // a bit for each page that cannot be read
    std::uint64_t locked = 0;      // a bit for each page that refuses updates
    std::uint64_t bad_word = none; // a word that cannot be read
    bool folds = false;            // every address stands for one in the arena
    std::uint64_t rival_at = none; // before this update somebody else changes the word,
    std::uint64_t rival_mask = 0;  // in these bits
    bool rival_always = false;     // and before every one that follows

    struct change {
        std::uint64_t index;
        std::uint64_t old;
    };
    change log[256]{};
    std::size_t changes = 0;
    std::uint64_t updates = 0; // updates tried

    std::uint64_t page(std::uint64_t i) const { return origin + i * 4096; }
    stagewalk::test::table_word& at(std::uint64_t address) { return words[(address - origin) / 8]; }
    std::uint64_t index(std::uint64_t address) const {
        std::uint64_t const offset = address - origin;
        return (folds ? offset % bytes : offset) / 8;
    }
    bool is_plain() const { return !folds && bad_word == none && locked == 0 && rival_at == none; }
    bool read(std::uint64_t address, std::uint64_t& value) const {
        if (address % 8 != 0 || (!folds && address - origin >= bytes)) return false;
        std::uint64_t const i = index(address);
        if ((missing >> i / 512 & 1) != 0 || i == bad_word) return false;
        value = words[i];
        return true;
    }
    void write(std::uint64_t i, std::uint64_t value) {
        if (changes < 256) log[changes++] = {i, words[i]};
        words[i] = value;
    }
    // `found` receives what stands there.
    exchange replace(std::uint64_t address, std::uint64_t old, std::uint64_t fresh, std::uint64_t& found) {
        std::uint64_t value = 0;
        if (!read(address, value)) return vtd_scalable_model::failed;
        std::uint64_t const i = index(address);
        std::uint64_t const number = updates++;
        if ((locked >> i / 512 & 1) != 0) return vtd_scalable_model::failed;
        if (number == rival_at || (rival_always && number > rival_at)) write(i, words[i] ^ rival_mask);
        found = words[i];
        if (found != old) return vtd_scalable_model::changed;
        write(i, fresh);
        return vtd_scalable_model::done;
    }
    // Undoes all changes.
    void rewind() {
        while (changes > 0) {
            --changes;
            words[log[changes].index] = log[changes].old;
        }
        updates = 0;
    }
};

inline unit random_unit(random_bits& random) {
    unit u;
    std::uint64_t const mgaws[] = {36, 39, 42, 46, 48, 52, 57, 64};
    std::uint64_t const mgaw = random.one_in(4) ? 32 + random.below(33) : random.pick(mgaws);
    std::uint64_t const widest = mgaw < 52 ? mgaw : 52;
    u.haw = static_cast<unsigned>(random.one_in(2) ? widest : 32 + random.below(widest - 31));
    u.cap = random() & 0xffc0037fff00e0f8; // what does not matter here is random
    u.cap &= ~(std::uint64_t{63} << 16 | std::uint64_t{1} << 22 | std::uint64_t{15} << 34);
    u.cap |= (mgaw - 1) << 16;
    u.cap |= (random.one_in(2) ? 7 : 1 + random.below(7)) << 9; // SAGAW
    u.cap |= random.below(2) << 22;                             // ZLR
    std::uint64_t const sizes[] = {3, 3, 3, 1, 0};
    u.cap |= random.pick(sizes) << 34;
    u.cap |= random.one_in(2) ? 6 : random.below(7);                                                // ND
    if (!random.one_in(4)) u.cap |= std::uint64_t{1} << 60;                                         // FS5LP
    if (!random.one_in(4)) u.cap |= std::uint64_t{1} << 56;                                         // FS1GP
    unsigned const gates[] = {2, 6, 7, 25, 26, 29, 30, 31, 34, 40, 45, 46, 47, 48, 49, 52, 53, 56}; // each may be missing
    u.ecap = random();
    for (unsigned const gate : gates) {
        u.ecap |= std::uint64_t{1} << gate;
        if (random.one_in(16)) u.ecap &= ~(std::uint64_t{1} << gate);
    }
    u.ecap |= std::uint64_t{1} << 43;
    if (random.one_in(64)) u.ecap &= ~(std::uint64_t{1} << 43);
    u.ecap = (u.ecap & ~(std::uint64_t{31} << 35)) | (random.one_in(2) ? 19 : random.below(32)) << 35; // PSS
    u.each_entry = random.one_in(4);
    u.largest = random.one_in(4);
    u.manual_fields = random.one_in(4);
    u.both_halves = random.one_in(4);
    u.refuses_types = random.one_in(4);
    u.major = random.one_in(8) ? 8 : 7;
    u.on = !random.one_in(100);
    u.ranges = !random.one_in(16);
    return u;
}

inline ask random_ask(random_bits& random, unit const& u) {
    ask q;
    q.source = static_cast<std::uint32_t>(random.one_in(4) ? random.below(0x10000) : random.below(4) << 8 | random.below(256));
    unsigned const accesses = random.small(8);
    q.read = accesses != 1 && accesses != 4 && accesses != 5;
    q.write = accesses == 1 || accesses == 2 || accesses == 4 || accesses == 5;
    q.execute = random.one_in(32);
    std::uint32_t const lengths[] = {4, 4, 4, 1, 8, 64, 0, 0};
    q.bytes = random.pick(lengths);
    unsigned const type = random.small(32);
    q.type = type < 20   ? vtd_model::untranslated
             : type < 28 ? vtd_model::translation
             : type < 30 ? vtd_model::translated
                         : vtd_model::page_request;
    if (random.one_in(256)) q.type = vtd_scalable_model::reserved_type;
    if (q.type == vtd_model::translation && !random.one_in(100)) {
        q.read = true;
        q.write = false;
    }
    q.no_write = random.one_in(2);
    q.has_pasid = random.one_in(2);
    q.privileged = random.one_in(4);

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
        if (!random.one_in(16)) q.address &= past - 1;
    }
    if (random.one_in(40)) q.address = random();
    if (random.one_in(24)) q.address = 0xfee00000 + random.below(0x100000);
    if (random.one_in(100)) q.address = 0xfee00000 - 1 + random.below(2) * 0x100001;
    return q;
}

// Where pages lead: anywhere, and often to or around the interrupt range.
inline std::uint64_t random_target(random_bits& random, unsigned haw, unsigned lg2) {
    std::uint64_t t = random.any_width() & ((std::uint64_t{1} << haw) - 1);
    if (random.one_in(8)) t = 0xfee00000 + (random.below(3) - 1) * 0x100000 + random.below(256) * 4096;
    if (random.one_in(16)) t = (std::uint64_t{1} << haw) - 1;
    return t >> lg2 << lg2;
}

// Tables through which a request gets somewhere, most of the time.
class builder {
public:
    unit u;
    ask q;
    std::uint64_t path[96]{}; // where the words stand that lead to the page
    std::size_t path_length = 0;
    std::size_t stages_from = 0; // the first of them that is a page table's
    unsigned pgtt = 0;

    void build(random_bits& r, arena& memory) {
        random = &r;
        a = &memory;
        path_length = 0;
        next_page = 0;
        turn = random->below(arena::pages);
        strict = !random->one_in(16);
        u.rtaddr = take() | 0x400;
        if (random->one_in(12)) u.rtaddr |= 0x80; // SSIRWE
        if (random->one_in(100)) u.rtaddr ^= random->below(4) << 10;
        if (random->one_in(100)) u.rtaddr |= random->below(0x400);
        if (random->one_in(100)) u.rtaddr ^= std::uint64_t{1} << random->below(64);
        build_path_to_entry();
        for (std::uint64_t i = 0; i < 8; ++i)
            put(entry_at + 8 * i, 0);
        stages_from = path_length;
        build_entry();
    }

    // What a hostile guest or a broken one does to them.
    void mutate(random_bits& r, arena& memory) {
        std::uint64_t const count = r.one_in(3) ? 2 : 1;
        for (std::uint64_t i = 0; i < count; ++i) {
            bool const early = r.one_in(3) || stages_from == path_length;
            std::uint64_t const some = r.one_in(4) ? stages_from : stages_from - 5; // few in words that are reserved
            std::uint64_t const which = early ? r.below(some) : stages_from + r.below(path_length - stages_from);
            auto& word = memory.at(path[which]);
            std::uint64_t const past = u.haw + r.below(64 - u.haw);
            switch (r.below(14)) {
            case 0:
            case 1: word ^= std::uint64_t{1} << r.below(64); break;
            case 2: word |= std::uint64_t{1} << r.below(13); break;
            case 3: word |= std::uint64_t{1} << past; break;
            case 4: word = (word & 0xfff) | memory.page(arena::pages - 1); break; // the last table
            case 5: word = (word & 0xfff) | memory.page(arena::pages); break;     // just past it
            case 6: word = (word & 0xfff) | (memory.page(0) - 4096); break;       // just before the first
            case 7: word = ~std::uint64_t{0}; break;
            case 8: word &= ~std::uint64_t{7}; break;
            case 9: word = r(); break;
            case 10: word = (word & ~std::uint64_t{7}) | r.below(8); break;
            case 11: word |= 0x80 | r.below(512) << 12; break; // a page with low frame bits
            case 12: word |= std::uint64_t{1} << (36 + r.below(16)); break;
            default: word = (word & 0xfff) | (path[r.below(path_length)] & ~std::uint64_t{0xfff}); break; // a loop
            }
        }
    }

private:
    random_bits* random = nullptr;
    arena* a = nullptr;
    std::uint64_t turn = 0;
    std::uint64_t next_page = 0;
    bool strict = true; // fields that a missing capability reserves are clear
    std::uint64_t second_root = 0;
    unsigned second_levels = 0;
    bool alternate = false; // rights in bits 61 and 62
    bool second_marks = false;
    unsigned marks = 0; // A/D: mixed, all set, all clear
    bool full_rights = true;
    bool write_only = false; // the second stage, for zero-length reads

    bool has(unsigned gate) const { return vtd_model::bit(u.ecap, gate); }
    bool may(unsigned gate) const { return has(gate) || !strict; }

    // The next page; now and then one that is in use already.
    std::uint64_t take() {
        std::uint64_t const i = random->one_in(200) ? random->below(arena::pages) : next_page;
        if (next_page + 1 < arena::pages) ++next_page;
        return a->page((turn + i * 7) % arena::pages);
    }
    void put(std::uint64_t at, std::uint64_t value) {
        a->at(at) = value;
        if (path_length < 96) path[path_length++] = at;
    }
    // An address in `page` whose low bits are those of `offset`, and the table that starts so far below.
    void build_path_to_entry() {
        std::uint64_t const root_at = (u.rtaddr & ~std::uint64_t{0xfff}) - a->origin < arena::bytes
                                          ? (u.rtaddr & ~std::uint64_t{0xfff}) + (q.source >> 8) * 16
                                          : a->page(turn) + (q.source >> 8) * 16;
        std::uint64_t const contexts = take();
        unsigned const mine = q.source >> 7 & 1;
        std::uint64_t const half = contexts | (random->one_in(128) ? 0 : 1);
        std::uint64_t other = random->one_in(2) ? 0 : contexts | 1;
        if (random->one_in(32)) other = (*random)();
        put(root_at, mine == 0 ? half : other);
        put(root_at + 8, mine == 1 ? half : other);

        std::uint64_t const context_at = contexts + (q.source & 0x7f) * 32;
        bool pasids = may(40) && (q.has_pasid || random->one_in(2));
        if (random->one_in(32)) pasids = !pasids && may(40);
        bool const ats = may(2) && (q.type != vtd_model::untranslated || random->one_in(2)) && !random->one_in(64);
        bool const pages = ats && may(29) && (q.type == vtd_model::page_request ? !random->one_in(4) : random->one_in(3));
        bool const on_translated = may(56) && pasids && !random->one_in(3);
        std::uint64_t const wide = std::uint64_t{1} << random->below(21);
        std::uint64_t rid = may(49) && random->one_in(2) ? random->below(wide) : 0;
        // The last PASIDs that directories cover, and the first that they do not.
        if (may(49) && random->one_in(12)) rid = ((std::uint64_t{1} << (13 + random->below(8))) - random->below(2)) & 0xfffff;
        q.pasid = static_cast<std::uint32_t>(random->below(std::uint64_t{1} << random->below(21)));
        std::uint64_t const width = vtd_model::bit(u.ecap, 40) ? (u.ecap >> 35 & 31) + 1 : 20;
        if (!random->one_in(24) && width < 20) q.pasid &= (1u << width) - 1;
        if (random->one_in(24))
            q.pasid = static_cast<std::uint32_t>((1u << (13 + random->below(8))) - random->below(2)) & 0xfffff;
        if (random->one_in(24) && width < 20) q.pasid = static_cast<std::uint32_t>((1u << width) - random->below(2));
        if (q.pasid == rid && q.has_pasid && !random->one_in(64)) q.pasid ^= 1;
        if (!q.has_pasid) q.pasid = 0;
        std::uint64_t pdts = 0;
        std::uint64_t const reach = q.pasid > rid ? q.pasid : rid;
        while (pdts < 7 && reach >= std::uint64_t{1} << (pdts + 13))
            ++pdts;
        if (random->one_in(2)) pdts += random->below(8 - pdts);
        if (random->one_in(48)) pdts = random->below(8);
        if (random->one_in(48) && pdts > 0) --pdts;
        std::uint64_t const used = q.has_pasid ? q.pasid : rid;
        std::uint64_t const directory = take();
        std::uint64_t const offset = (used >> 6) * 8;
        std::uint64_t const quiet = random->one_in(6) ? 2 : 0;
        std::uint64_t const privileged = may(53) && random->one_in(4) ? std::uint64_t{1} << 20 : 0;
        put(context_at, (directory - (offset & ~std::uint64_t{0xfff})) | pdts << 9 | (on_translated ? 0x40u : 0u) |
                            (pages ? 0x10u : 0u) | (pasids ? 8u : 0u) | (ats ? 4u : 0u) | quiet | (random->one_in(128) ? 0 : 1));
        put(context_at + 8, rid | privileged);
        put(context_at + 16, 0);
        put(context_at + 24, 0);

        std::uint64_t const table = take();
        put(directory + (offset & 0xfff), table | (random->one_in(6) ? 2 : 0) | (random->one_in(128) ? 0 : 1));
        entry_at = table + (used & 63) * 64;
        is_privileged = q.has_pasid ? q.privileged : privileged != 0;
    }

    std::uint64_t entry_at = 0;
    bool is_privileged = false;

    void build_entry() {
        unsigned const kinds[] = {1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3, 4};
        for (int tries = 0; tries < 4; ++tries) {
            pgtt = random->pick(kinds);
            unsigned const gate[] = {0, 47, 46, 26, 6};
            if (has(gate[pgtt])) break;
        }
        if (random->one_in(64)) pgtt = random->small(8);
        bool const uses_first = pgtt == 1 || pgtt == 3;
        bool const uses_second = pgtt == 2 || pgtt == 3;
        for (unsigned tries = 0; tries < 8; ++tries) {
            second_levels = 3 + random->small(3);
            if (vtd_model::bit(u.cap, 6 + second_levels)) break;
        }
        unsigned const first_levels = vtd_model::bit(u.cap, 60) && random->one_in(2) ? 5 : 4;
        alternate = vtd_model::bit(u.rtaddr, 7) && has(57);
        bool const ssade = may(46) && may(45) && random->one_in(2);
        second_marks = ssade;
        marks = random->small(4);
        full_rights = !random->one_in(3);
        write_only = q.bytes == 0 && random->one_in(6);

        std::uint64_t w0 = pgtt << 6 | (random->one_in(6) ? 2 : 0) | (random->one_in(128) ? 0 : 1);
        bool const names_second = uses_second || random->one_in(4);
        second_root = take();
        if (names_second && (may(46) || random->one_in(2))) w0 |= second_root | (second_levels - 2) << 2 | (ssade ? 0x200u : 0u);
        if (random->one_in(64)) w0 = (w0 & ~std::uint64_t{0x1c}) | random->below(8) << 2;
        std::uint64_t const did_bits = 4 + 2 * (u.cap & 7);
        std::uint64_t w1 = (*random)() & ((std::uint64_t{1} << (did_bits < 16 ? did_bits : 16)) - 1);
        if (random->one_in(100)) w1 = (*random)() & 0xffff;
        if (may(48) && !random->one_in(5)) w1 |= 1u << 23;
        if (may(7)) w1 |= random->below(2) << 24;
        if (may(25)) w1 |= random->below(4) << 25 | ((*random)() & 0xffffffff00000000);
        std::uint64_t w2 = (*random)() & 0x60;
        if (may(31)) w2 |= is_privileged ? !random->one_in(8) : random->below(2);
        if (may(47)) w2 |= random->below(2) << 4 | (first_levels - 4) << 2;
        if (may(34)) w2 |= random->below(2) << 7;
        if (random->one_in(64)) w2 = (w2 & ~std::uint64_t{0xc}) | random->below(4) << 2;
        std::uint64_t first_root = 0;
        if (uses_first) {
            first_root = build_first(first_levels);
        } else if (uses_second) {
            std::uint64_t const limit = width_of_second();
            if (!random->one_in(8) && limit < 64) q.address &= (std::uint64_t{1} << limit) - 1;
            unsigned const leaf = page_level();
            map_second(q.address, random_target(*random, u.haw, 12), leaf);
        } else if (random->one_in(4)) {
            first_root = take();
        }
        if (uses_first && random->one_in(200)) first_root |= std::uint64_t{1} << (32 + random->below(20));
        if (may(47)) w2 |= first_root;
        a->at(entry_at) = w0;
        a->at(entry_at + 8) = w1;
        a->at(entry_at + 16) = w2;
    }

    std::uint64_t width_of_second() const {
        std::uint64_t const mgaw = (u.cap >> 16 & 63) + 1;
        return mgaw < 12 + 9 * second_levels ? mgaw : 12 + 9 * second_levels;
    }
    unsigned page_level() { return random->one_in(2) ? 0 : random->small(3); }

    std::uint64_t first_entry(bool leaf) {
        std::uint64_t e = (*random)() & 0xfff0000000000b18; // what is ignored, and memory types
        e |= random->one_in(150) ? 0 : 1;
        if (full_rights ? !random->one_in(48) : random->one_in(2)) e |= 2;
        if (full_rights ? !random->one_in(48) : !random->one_in(6)) e |= 4;
        if (is_privileged && random->one_in(3)) e &= ~std::uint64_t{4};
        std::uint64_t const used = leaf ? 0x460 : 0x420;
        if (marks == 0) e |= (*random)() & used;
        if (marks == 1) e |= used;
        if (marks == 3) e |= random->one_in(8) ? 0 : used;
        return e;
    }

    // Where the first-stage tables are seen: at host addresses, or at a guest's.
    struct view {
        std::uint64_t base = 0; // of the guest's pages
        unsigned level = 0;     // the second stage's leaves over them
        bool nested = false;
    };
    std::uint64_t seen(view const& v, std::uint64_t host) {
        if (!v.nested) return host;
        if (v.level == 0) {
            std::uint64_t const guest = v.base + (host - a->origin);
            map_second(guest, host, 0);
            return guest;
        }
        std::uint64_t const mask = (std::uint64_t{1} << (12 + 9 * v.level)) - 1;
        std::uint64_t const guest = (v.base & ~mask) | (host & mask);
        map_second(guest, host, v.level);
        return guest;
    }

    std::uint64_t build_first(unsigned levels) {
        view v;
        v.nested = pgtt == 3;
        std::uint64_t const second = v.nested ? width_of_second() : 64;
        std::uint64_t const reach = second < u.haw ? second : u.haw; // the addresses of its entries are below
        if (v.nested) {
            v.level = random->small(3);
            if (v.level > 0 && !vtd_model::bit(u.cap, 33 + v.level)) v.level = 0;
            v.base = random->any_width() & ((std::uint64_t{1} << reach) - 1) & ~std::uint64_t{0x1fffff};
            if (random->one_in(16)) v.base = 0xfee00000;
        }
        // A canonical address, in either half.
        unsigned const width = levels == 5 ? 57 : 48;
        if (!random->one_in(16)) {
            std::uint64_t const past = std::uint64_t{1} << width;
            q.address &= past - 1;
            if (vtd_model::bit(q.address, width - 1)) q.address |= ~(past - 1);
        }
        std::uint64_t host = take();
        std::uint64_t const root = seen(v, host);
        unsigned leaf = page_level();
        if (leaf == 2 && !vtd_model::bit(u.cap, 56) && !random->one_in(8)) leaf = 1;
        for (unsigned level = levels - 1;; --level) {
            std::uint64_t const at = host + (q.address >> (12 + 9 * level) & 511) * 8;
            std::uint64_t e = first_entry(level == leaf);
            if (level == leaf) {
                std::uint64_t t = v.nested ? random->any_width() : random_target(*random, u.haw, 12);
                if (v.nested && random->one_in(3)) t = v.base ^ random->below(16) << 12; // beside the tables
                if (v.nested && random->one_in(24)) t = root;                            // the tables themselves
                if (!random->one_in(24)) t &= (std::uint64_t{1} << reach) - 1;
                t &= 0x000ffffffffff000;
                t = t >> (12 + 9 * level) << (12 + 9 * level);
                e |= t;
                if (level > 0) e |= 0x80 | random->below(2) << 12;
                if (level == 0) e |= random->below(2) << 7;
                put(at, e);
                if (v.nested) {
                    std::uint64_t const offset = q.address & ((std::uint64_t{1} << (12 + 9 * level)) - 1);
                    map_second(t + offset, random_target(*random, u.haw, 12), page_level());
                }
                return root;
            }
            host = take();
            std::uint64_t address = seen(v, host);
            if (v.nested && random->one_in(48)) address |= std::uint64_t{1} << (reach - 1 + random->below(52 - reach + 1));
            put(at, e | (address & 0x000ffffffffff000));
        }
    }

    std::uint64_t second_entry(bool leaf) {
        std::uint64_t e = (*random)() & 0x9ff0000000000404; // what is ignored at every level
        std::uint64_t rights =
            full_rights ? (random->one_in(64) ? random->below(4) : 3) : (random->one_in(4) ? random->below(4) : 3);
        if (write_only) rights = 2;
        e |= alternate ? rights << 61 | random->below(4) : rights;
        if (!alternate) e |= random->below(2) << 61;
        if (leaf) e |= (*random)() & 0x78;
        if (leaf && (has(7) || random->one_in(16))) e |= (*random)() & 0x800;
        if (!leaf) e |= (*random)() & 0x278;
        std::uint64_t const used = leaf ? 0x300 : 0x100;
        if (marks == 0 || !second_marks) e |= (*random)() & used;
        if (marks == 1) e |= used;
        if (marks == 3) e |= random->one_in(8) ? 0 : used;
        return e;
    }

    // The way of one address through the second stage, as far as it is not there yet.
    void map_second(std::uint64_t input, std::uint64_t output, unsigned leaf) {
        if (leaf > 0 && !vtd_model::bit(u.cap, 33 + leaf) && !random->one_in(8)) leaf = 0;
        if (leaf > second_levels - 1) leaf = 0;
        std::uint64_t table = second_root;
        for (unsigned level = second_levels - 1;; --level) {
            std::uint64_t const at = table + (input >> (12 + 9 * level) & 511) * 8;
            bool exists = false;
            for (std::size_t i = stages_from; i < path_length; ++i)
                exists = exists || path[i] == at;
            if (exists) {
                std::uint64_t const e = a->at(at);
                bool const page = level == 0 || (level < 3 && vtd_model::bit(e, 7));
                std::uint64_t const next = e & 0x000ffffffffff000;
                if (page || next - a->origin >= arena::bytes) return;
                table = next;
                continue;
            }
            bool const page = level <= leaf; // below it where a table stands already
            std::uint64_t e = second_entry(page);
            if (page) {
                e |= output >> (12 + 9 * level) << (12 + 9 * level);
                if (level > 0) e |= 0x80;
                if (level == 0) e |= (*random)() & 0x80;
                put(at, e);
                return;
            }
            table = take();
            put(at, e | table);
        }
    }
};

} // namespace vtd_scalable_arena
