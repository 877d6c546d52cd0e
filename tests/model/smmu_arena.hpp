// A sparse arena of SMMUv3 tables, and random and hostile contents for it.
//
//     builder b;
//     b.build(random, memory, plan{});          // a unit, its tables, and addresses that they translate
//     for (...) {
//         b.next_round(random, memory);          // as built again, and then changed here and there
//         mark = memory.mark();
//         for (...) {
//             q = b.next_ask(random);
//             translate(b.u, q, ...);            // memory.rewind(mark) between two who answer the same
//         }
//     }
#pragma once

#include "host_memory.hpp"
#include "random_bits.hpp"
#include "smmu_model.hpp"

#include <cstddef>
#include <cstdint>

namespace smmu_arena {

using smmu_model::ask;
using smmu_model::beyond;
using smmu_model::bit;
using smmu_model::bits;
using smmu_model::exchange;
using smmu_model::unit;

// Pages of 4 KiB at scattered addresses, with a log of what was changed in them.
struct arena {
    static constexpr unsigned capacity = 96;
    static constexpr std::uint64_t none = ~std::uint64_t{0};

    alignas(4096) stagewalk::test::table_word words[capacity * 512]{};
    std::uint64_t frames[capacity]{}; // addresses / 4096
    unsigned used = 0;
    std::uint64_t bad_word = none; // a word that cannot be read
    std::uint64_t bad_page = none; // a page that cannot be read
    std::uint64_t locked = none;   // a page that refuses updates
    bool all_locked = false;
    bool folds = false;            // every address stands for one in the arena
    std::uint64_t rival_at = none; // before this update somebody else changes the word,
    std::uint64_t rival_mask = 0;  // in these bits
    bool rival_always = false;     // and before every one that follows

    struct change {
        std::size_t index;
        std::uint64_t old;
    };
    change log[4096]{};
    std::size_t changes = 0;
    std::uint64_t updates = 0; // updates tried

    void clear() {
        for (std::size_t i = 0; i < std::size_t{used} * 512; ++i)
            words[i] = 0;
        for (unsigned& slot : slots)
            slot = 0;
        used = 0;
        changes = 0;
        calm();
    }
    void calm() {
        bad_word = bad_page = locked = rival_at = none;
        all_locked = folds = rival_always = false;
        rival_mask = 0;
        updates = 0;
    }
    // Which page stands there; `capacity` if none.
    unsigned page_at(std::uint64_t address) const {
        std::uint64_t const frame = address >> 12;
        for (std::size_t i = slot_of(frame);; i = (i + 1) % 256) {
            if (slots[i] == 0) return capacity;
            if (frames[slots[i] - 1] == frame) return slots[i] - 1;
        }
    }
    bool has(std::uint64_t address) const { return page_at(address) < capacity; }
    // Makes a page there, if there is none and one is left.
    bool make(std::uint64_t address) {
        if (has(address)) return true;
        if (used == capacity) return false;
        std::uint64_t const frame = address >> 12;
        std::size_t i = slot_of(frame);
        while (slots[i] != 0)
            i = (i + 1) % 256;
        frames[used] = frame;
        slots[i] = ++used;
        return true;
    }
    std::size_t index(std::uint64_t address) const {
        unsigned const page = page_at(address);
        if (page == capacity && folds && used != 0)
            return static_cast<std::size_t>((address >> 12) % used) * 512 + static_cast<std::size_t>(address >> 3 & 511);
        return page == capacity ? static_cast<std::size_t>(none)
                                : std::size_t{page} * 512 + static_cast<std::size_t>(address >> 3 & 511);
    }
    bool read(std::uint64_t address, std::uint64_t& value) const {
        if (address % 8 != 0) return false;
        std::size_t const i = index(address);
        if (i == static_cast<std::size_t>(none) || i == bad_word || i / 512 == bad_page) return false;
        value = words[i];
        return true;
    }
    std::uint64_t peek(std::uint64_t address) const {
        std::size_t const i = index(address);
        return i == static_cast<std::size_t>(none) ? 0 : std::uint64_t{words[i]};
    }
    void write(std::size_t i, std::uint64_t value) {
        if (i == static_cast<std::size_t>(none)) return;
        if (changes < 4096) log[changes++] = {i, words[i]};
        words[i] = value;
    }
    void poke(std::uint64_t address, std::uint64_t value) { write(index(address), value); }
    // `found` receives what stands there.
    exchange replace(std::uint64_t address, std::uint64_t old, std::uint64_t fresh, std::uint64_t& found) {
        std::uint64_t value = 0;
        std::size_t const i = index(address);
        if (i >= std::size_t{capacity} * 512 || !read(address, value)) return smmu_model::failed;
        std::uint64_t const number = updates++;
        if (all_locked || i / 512 == locked) return smmu_model::failed;
        if (number == rival_at || (rival_always && number > rival_at)) write(i, words[i] ^ rival_mask);
        found = words[i];
        if (found != old) return smmu_model::changed;
        write(i, fresh);
        return smmu_model::done;
    }
    // Undoes what was changed since `to`.
    std::size_t mark() const { return changes; }
    void rewind(std::size_t to = 0) {
        while (changes > to) {
            --changes;
            words[log[changes].index] = log[changes].old;
        }
        updates = 0;
    }

private:
    unsigned slots[256]{}; // page + 1
    static std::size_t slot_of(std::uint64_t frame) { return static_cast<std::size_t>(frame * 0x9e3779b97f4a7c15 >> 56); }
};

// What the tables are to be; 0: anything.
struct plan {
    unsigned config = 0;         // STE.Config: 4 to 7
    unsigned first_granule = 0;  // 12, 14, 16, of both halves
    unsigned second_granule = 0; // 12, 14, 16
};

inline void set_bits(std::uint64_t& word, unsigned high, unsigned low, std::uint64_t value) {
    std::uint64_t const mask = ((std::uint64_t{2} << (high - low)) - 1) << low;
    word = (word & ~mask) | (value << low & mask);
}
inline void set_bits(std::uint32_t& word, unsigned high, unsigned low, std::uint64_t value) {
    std::uint64_t wide = word;
    set_bits(wide, high, low, value);
    word = static_cast<std::uint32_t>(wide);
}

inline unit random_unit(random_bits& random) {
    unit u;
    unsigned const minors[] = {0, 1, 1, 2, 3, 4};
    unsigned const minor = random.pick(minors);
    u.aidr = minor;
    unsigned const sizes[] = {0, 1, 2, 3, 4, 5, 5, 5, 6, 6, 6, 6};
    unsigned size = random.pick(sizes);
    if (minor == 0 && size == 6) size = 5;
    bool const wide = minor > 0 && random.small(3) != 0; // 52-bit input addresses
    bool const ds = wide && random.small(3) != 0;

    u.idr0 = static_cast<std::uint32_t>(random()) & 0x0091e130; // what does not matter here is random
    u.idr0 |= 3;
    u.idr0 |= 1u << 3;                       // VMSAv8-64
    if (random.one_in(4)) u.idr0 |= 1u << 2; // LPAE: IAS has 40 bits at least
    unsigned const updates[] = {3, 3, 3, 3, 2, 2, 1, 0};
    set_bits(u.idr0, 7, 6, random.pick(updates));
    set_bits(u.idr0, 9, 9, !random.one_in(4));   // HYP
    set_bits(u.idr0, 10, 10, !random.one_in(4)); // ATS
    set_bits(u.idr0, 11, 11, random.one_in(4));  // NS1ATS
    set_bits(u.idr0, 12, 12, !random.one_in(4)); // ASID16
    set_bits(u.idr0, 18, 18, !random.one_in(4)); // VMID16
    set_bits(u.idr0, 19, 19, !random.one_in(8)); // CD2L
    unsigned const endians[] = {0, 0, 2, 3};
    set_bits(u.idr0, 22, 21, random.pick(endians));
    unsigned const stalls[] = {0, 0, 1, 2};
    set_bits(u.idr0, 25, 24, random.pick(stalls));
    set_bits(u.idr0, 26, 26, random.one_in(3));  // TERM_MODEL
    set_bits(u.idr0, 28, 27, !random.one_in(8)); // two levels of stream tables

    u.idr1 = static_cast<std::uint32_t>(random()) & 0x0bff0800;
    set_bits(u.idr1, 5, 0, random.one_in(2) ? 16 : random.below(33));
    set_bits(u.idr1, 10, 6, random.one_in(2) ? 20 : random.below(21));
    set_bits(u.idr1, 26, 26, random.small(3) != 0);
    u.idr3 = static_cast<std::uint32_t>(random()) & 0x00827f7c; // without MPAM, DPT, indirection, overlays, THE, MTEPERM
    u.idr3 &= ~0x00009080u;
    u.idr3 |= static_cast<std::uint32_t>(random()) & (1u << 17);
    if (minor == 0) u.idr3 &= ~(1u << 9);
    u.idr5 = size;
    u.idr5 |= 0x70;
    if (random.one_in(12)) u.idr5 &= ~(1u << (4 + random.small(3)));
    if (wide) u.idr5 |= 1u << 10;
    if (ds) u.idr5 |= 1u << 7;
    u.idr5 |= static_cast<std::uint32_t>(random()) & 0xffff0000;

    u.cr0 = static_cast<std::uint32_t>(random()) & 0x1de;
    if (!random.one_in(32)) u.cr0 |= 1;
    u.cr2 = static_cast<std::uint32_t>(random()) & 0xf;
    u.gbpa = static_cast<std::uint32_t>(random()) & 0x000f3f1f;
    if (random.one_in(3)) u.gbpa |= 1u << 20;
    u.oas_start_level = random.one_in(4);
    u.clamp_sizes = random.one_in(2);
    u.pointer_faults_late = random.one_in(2);
    return u;
}

class builder {
public:
    unit u; // of the round
    unsigned config = 0;
    unsigned first_granules[2]{};
    unsigned second_granule = 0;
    bool one_privilege = false; // any-EL2

    void build(random_bits& r, arena& memory, plan const& p) {
        random = &r;
        a = &memory;
        wish = p;
        a->clear();
        path_length = 0;
        target_count = 0;
        u = random_unit(r);
        // A unit that has what is wished for.
        unsigned const wished[] = {p.first_granule, p.second_granule};
        for (unsigned const g : wished) {
            if (g == 12) u.idr5 |= 1u << 4;
            if (g == 14) u.idr5 |= 1u << 5;
            if (g == 16) u.idr5 |= 1u << 6;
        }
        full_rights = r.small(6) != 0;
        unsigned const configs[] = {4, 5, 5, 5, 5, 6, 6, 6, 7, 7, 7, 7, 7, 7};
        config = p.config != 0 ? p.config : r.pick(configs);
        first_on = config == 5 || config == 7;
        second_on = config == 6 || config == 7;
        nested = config == 7;
        for (std::uint64_t& word : ste)
            word = 0;
        for (std::uint64_t& word : cd)
            word = 0;
        tables_from = 0;
        choose_stream();
        choose_ste();
        if (second_on) choose_second();
        if (first_on) choose_first();
        if (first_on) place_cds();
        place_ste();
        tables_from = path_length;
        add_targets();
        built = u;
        a->changes = 0;
    }

    // As it was built; and in every other round something is not.
    void next_round(random_bits& r, arena& memory) {
        random = &r;
        a = &memory;
        memory.rewind();
        memory.calm();
        u = built;
        unsigned const what = r.small(32);
        if (what < 20) return;
        if (what < 23) return mutate_table();
        if (what < 25) return spoil_ste();
        if (what < 28 && first_on) return spoil_cd();
        if (what < 30) return disturb();
        if (what == 30) return mutate_unit();
        mutate_table();
        if (r.one_in(2)) mutate_unit();
        if (r.one_in(2)) disturb();
    }

    ask next_ask(random_bits& r) {
        ask q;
        q.stream = stream;
        if (r.one_in(160)) q.stream = static_cast<std::uint32_t>(r.any_width());
        if (r.one_in(160)) q.stream = stream ^ 1u << r.small(18);
        unsigned const log2size = bits(u.strtab_base_cfg, 5, 0);
        if (r.one_in(100) && log2size < 32) q.stream = (1u << log2size) - r.small(2);
        q.has_substream = has_substream;
        q.substream = substream;
        if (r.one_in(24)) {
            q.has_substream = !has_substream;
            q.substream = q.has_substream ? other_substream() : 0;
        } else if (has_substream && r.one_in(24)) {
            q.substream = other_substream();
        }
        unsigned const accesses = r.small(16);
        q.read = accesses < 10 || accesses >= 14;
        q.write = accesses >= 9 && accesses < 15;
        q.execute = r.one_in(8);
        q.privileged = r.one_in(q.execute ? 4 : 2);
        if (r.one_in(64)) q.read = q.write = false;
        if (r.one_in(7)) q.kind = 1 + r.one_in(3);
        q.type = r.small(16); // which of those that exist
        q.sh = r.small(4);
        choose_address(r, q);
        return q;
    }

private:
    random_bits* random = nullptr;
    arena* a = nullptr;
    plan wish;
    unit built;
    bool first_on = false;
    bool second_on = false;
    bool nested = false;
    bool full_rights = true;

    std::uint64_t ste[8]{};
    std::uint64_t cd[8]{};
    std::uint32_t stream = 0;
    bool has_substream = false;
    std::uint32_t substream = 0;
    std::uint64_t ste_at = 0;
    std::uint64_t l1std_at = 0; // 0: none
    std::uint64_t l1cd_at = 0;
    std::uint64_t cd_at[2]{}; // the substream's, and the default one

    std::uint64_t path[160]{}; // where the words stand that lead to the pages
    std::size_t path_length = 0;
    std::size_t tables_from = 0; // the first of them that is a page table's

    struct geometry {
        bool on = false;
        unsigned g = 12;
        bool ds = false;
        bool big = false;
        unsigned iasize = 0;
        int start = 0;
        unsigned limit = 0;     // of output addresses
        std::uint64_t root = 0; // an IPA in nested translation
    };
    geometry halves[2];
    geometry two;
    bool first_marks = false; // an entry without AF does not fault
    bool second_marks = false;
    std::uint64_t region = 0; // where the IPAs are

    struct target {
        std::uint64_t address = 0;
        unsigned lg2 = 0;
        unsigned half = 0;
    };
    target targets[8];
    unsigned target_count = 0;

    unsigned oas() const { return smmu_model::oas(u); }
    bool yes(std::uint64_t n) { return random->below(n) != 0; } // all but once in n times

    void put(std::uint64_t at, std::uint64_t value) {
        if (!a->make(at)) return;
        a->poke(at, value);
        a->changes = 0;
        if (path_length < 160) path[path_length++] = at;
    }

    // A physical address for something of 2^lg2 bytes of which the byte at `offset` is used.
    std::uint64_t place(unsigned lg2, std::uint64_t offset, unsigned limit) {
        std::uint64_t at = 0;
        for (unsigned tries = 0; tries < 4; ++tries) {
            at = (*random)();
            if (random->one_in(4)) at = random->any_width();
            at &= (std::uint64_t{1} << limit) - 1;
            at = smmu_model::align(at, lg2);
            if (!a->has(at + offset)) break;
        }
        return at;
    }

    // --- the stream table ---

    void choose_stream() {
        unsigned const sidsize = bits(u.idr1, 5, 0);
        unsigned log2size = random->one_in(2) ? sidsize : random->small(sidsize + 1);
        if (random->one_in(16)) log2size = random->small(40);
        unsigned const splits[] = {6, 8, 10, 6, 8, 10, 6, 8, 10, 0, 7, 31};
        unsigned const split = random->pick(splits);
        unsigned const formats[] = {0, 1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1, 0, 1, 2, 3};
        u.strtab_base_cfg = log2size | split << 6 | random->pick(formats) << 16;
        unsigned const width = smmu_model::least(log2size, sidsize);
        stream = static_cast<std::uint32_t>(random->any_width() & ((std::uint64_t{1} << width) - 1));
    }
    void place_ste() {
        unsigned const log2size = bits(u.strtab_base_cfg, 5, 0);
        unsigned const format = bits(u.strtab_base_cfg, 17, 16);
        std::uint64_t const noise = yes(16) ? 0 : (*random)() & 0xfff; // below the alignment of the table
        l1std_at = 0;
        if (format != 1 || bits(u.idr0, 28, 27) == 0) {
            std::uint64_t const offset = std::uint64_t{stream} * 64;
            u.strtab_base = place(log2size + 6, offset, oas());
            ste_at = u.strtab_base + offset;
            if (log2size > 6) u.strtab_base |= noise;
        } else {
            unsigned split = bits(u.strtab_base_cfg, 10, 6);
            if (split != 6 && split != 8 && split != 10) split = 6;
            unsigned const lg2 = log2size > split + 3 ? log2size - split + 3 : 6;
            std::uint64_t const offset = std::uint64_t{stream >> split} * 8;
            u.strtab_base = place(lg2, offset, oas());
            l1std_at = u.strtab_base + offset;
            if (lg2 >= 12) u.strtab_base |= noise;
            std::uint64_t const index = stream & ((1u << split) - 1);
            unsigned span = 1;
            while (span < split + 1 && beyond(index, span - 1))
                ++span;
            if (random->one_in(2)) span += random->small(split + 2 - span);
            std::uint64_t table = place(span + 5, index * 64, oas());
            ste_at = table + index * 64;
            if (span == 7) table |= noise & 0xfc0;
            put(l1std_at, table | span);
        }
        for (unsigned i = 0; i < 8; ++i)
            put(ste_at + 8 * i, ste[i]);
    }

    // --- the stream table entry ---

    void choose_ste() {
        unsigned const stall_model = bits(u.idr0, 25, 24);
        std::uint64_t& d0 = ste[0];
        std::uint64_t& d1 = ste[1];
        std::uint64_t& d2 = ste[2];
        std::uint64_t& d3 = ste[3];
        d1 = (*random)() & 0x000f3fff015bf0fc; // hints, attributes and overrides
        d2 = (*random)() & 0x00003f00ffffffff;
        for (unsigned i = 4; i < 8; ++i)
            ste[i] = random->one_in(8) ? (*random)() : 0;
        if (random->one_in(2)) set_bits(d1, 115 - 64, 112 - 64, 0);
        d0 = 1 | std::uint64_t{config} << 1;

        // Traffic aims at one of the default context, the substream and no context.
        unsigned const ssidsize = bits(u.idr1, 10, 6);
        unsigned cdmax = 0;
        if (ssidsize != 0 && random->small(3) != 0) cdmax = 1 + random->small(ssidsize);
        bool const two_levels = bit(u.idr0, 19);
        unsigned const fmt = two_levels || cdmax == 0 ? random->small(4) : random->small(2) * 3;
        unsigned const dss = random->small(4);
        set_bits(d0, 5, 4, fmt);
        set_bits(d0, 63, 59, cdmax);
        set_bits(d1, 1, 0, dss);
        has_substream = first_on && cdmax != 0 && yes(4);
        if (first_on && cdmax != 0 && dss != 1 && dss != 2) has_substream = true;
        substream = 0;
        if (has_substream) {
            substream = static_cast<std::uint32_t>(random->any_width() & ((1u << cdmax) - 1));
            if (substream == 0 && dss == 2) substream = 1;
        }
        if (first_on) set_bits(d1, 91 - 64, 91 - 64, stall_model == 0 && random->one_in(4));
        set_bits(d1, 95 - 64, 94 - 64, config == 5 ? random->small(2) * 2 : random->small(4));
        set_bits(d1, 89 - 64, 89 - 64, random->below(2)); // S2FWB
        bool const stalls = stall_model == 2 || (stall_model == 0 && random->one_in(4));
        set_bits(d2, 185 - 128, 185 - 128, stalls);
        set_bits(d2, 186 - 128, 186 - 128, yes(6));
        unsigned const modes[] = {0, 1, 1, 2, 2, 3};
        unsigned eats = random->pick(modes);
        if (eats == 2 && (config != 7 || stalls || bit(u.idr0, 11))) eats = 1;
        if (eats == 1 && stalls && second_on) eats = 0;
        set_bits(d1, 93 - 64, 92 - 64, eats);
        if (!bit(u.idr0, 18)) set_bits(d2, 143 - 128, 136 - 128, 0);
        unsigned const endian = bits(u.idr0, 22, 21);
        two.big = endian == 3 || (endian == 0 && random->one_in(3));
        set_bits(d2, 180 - 128, 180 - 128, two.big);
        set_bits(d2, 179 - 128, 179 - 128, 1);
        set_bits(d2, 181 - 128, 181 - 128, random->one_in(3));
        set_bits(d2, 182 - 128, 182 - 128, random->one_in(3));
        unsigned const httu = bits(u.idr0, 7, 6);
        bool const ha = httu >= 1 && random->small(3) != 0;
        bool const hd = httu >= 2 && random->small(3) != 0;
        set_bits(d2, 184 - 128, 184 - 128, ha);
        second_marks = ha || bit(d2, 181 - 128);
        set_bits(d2, 183 - 128, 183 - 128, hd);
        set_bits(d2, 187 - 128, 187 - 128, httu == 3 ? ha && random->one_in(3) : random->below(2));
        d3 = (*random)() & 0x3; // S2NSW and S2NSA
        bool const world = bit(u.idr0, 9) && config == 5;
        one_privilege = world && bits(d1, 95 - 64, 94 - 64) == 2 && !bit(u.cr2, 0);
    }

    unsigned wished(unsigned g) {
        unsigned const all[] = {12, 14, 16};
        for (unsigned tries = 0; g == 0 && tries < 16; ++tries) {
            unsigned const one = random->pick(all);
            unsigned const gate = one == 12 ? 4 : one == 14 ? 5 : 6;
            if (bit(u.idr5, gate)) g = one;
        }
        return g == 0 ? 12 : g;
    }
    unsigned random_size_code() {
        unsigned const own = bits(u.idr5, 2, 0);
        if (random->one_in(4)) return random->small(8);
        if (random->one_in(4)) return random->small(own + 1);
        return random->one_in(2) ? own : own + random->small(8 - own);
    }
    unsigned limit_of(unsigned code, unsigned g, bool ds) const {
        unsigned const sizes[] = {32, 36, 40, 42, 44, 48, 52, 52};
        unsigned const size = smmu_model::least(sizes[code], oas());
        return g == 16 || ds ? size : smmu_model::least(size, 48);
    }

    // With 52 bits a root has 64 bytes at least, however few entries.
    unsigned smallest_root(unsigned code) const { return code >= 6 && oas() == 52 ? 6 : 4; }

    void choose_second() {
        std::uint64_t& d2 = ste[2];
        std::uint64_t& d3 = ste[3];
        unsigned const size = oas();
        unsigned const widest = smmu_model::ias(u);
        bool const later = bits(u.aidr, 3, 0) != 0;
        bool const stt = bit(u.idr3, 9);
        for (unsigned tries = 0; tries < 400; ++tries) {
            two.g = wished(wish.second_granule);
            bool const ds = random->one_in(2);
            two.ds = ds && bit(u.idr5, 7) && two.g != 16;
            unsigned smallest = 64 - widest;
            if (later) smallest = smmu_model::greatest(smallest, two.g == 16 || (ds && bit(u.idr5, 7)) ? 12 : 16);
            unsigned const largest = !stt ? 39 : two.g == 16 ? 47 : 48;
            unsigned t = smallest + random->small(largest - smallest + 1);
            if (random->one_in(3)) t = smallest;
            if (smallest == 12 && random->one_in(3)) t = 12 + random->small(4);
            if (nested && t > 34 && yes(12)) continue; // too narrow for much
            unsigned sl = random->small(two.g == 12 && two.ds ? 5 : 4);
            if (two.g == 12 && two.ds && t < 16 && random->one_in(2)) sl = 4;
            two.iasize = 64 - t;
            int start = 3 - static_cast<int>(sl);
            if (two.g == 12) start = sl == 3 ? 3 : sl == 4 ? -1 : 2 - static_cast<int>(sl);
            if (two.g == 12 && sl == 3 && !stt) continue;
            if (two.g == 14 && sl == 3 && !two.ds) continue;
            if (two.g == 16 && sl == 3) continue;
            unsigned const step = two.g - 3;
            unsigned const below = static_cast<unsigned>(3 - start) * step + two.g;
            if (two.iasize < below + 1 || two.iasize > below + step + 4) continue;
            if (u.oas_start_level && start <= 1 && size < 52 && yes(8)) {
                if (start == -1 || (two.g == 14 && start == 0)) continue;
                if (size < 44 && ((two.g == 12 && start == 0) || (two.g == 16 && start == 1))) continue;
                if (size < 42 && two.g == 14 && start == 1) continue;
            }
            two.start = start;
            set_bits(d2, 165 - 128, 160 - 128, t);
            if (!later && u.clamp_sizes && random->one_in(3)) { // out of range, and counts as the limit
                if (t == smallest) set_bits(d2, 165 - 128, 160 - 128, random->below(t + 1));
                if (t == largest) set_bits(d2, 165 - 128, 160 - 128, t + random->below(64 - t));
            }
            set_bits(d2, 167 - 128, 166 - 128, sl & 3);
            bool const looked_at = two.g == 12 && two.ds;
            set_bits(d3, 2, 2, looked_at ? sl >> 2 : random->one_in(8));
            set_bits(d3, 3, 3, ds);
            break;
        }
        set_bits(d2, 175 - 128, 174 - 128, two.g == 12 ? 0 : two.g == 16 ? 1 : 2);
        unsigned const code = random_size_code();
        set_bits(d2, 178 - 128, 176 - 128, code);
        two.limit = limit_of(code, two.g, two.ds);
        two.on = true;
        second_granule = two.g;
        unsigned const top = two.iasize - shift_of(two, two.start) + 3;
        unsigned const lg2 = smmu_model::greatest(top, smallest_root(code));
        std::uint64_t const root = place(lg2, 0, two.limit);
        two.root = root;
        d3 |= root;
        if (random->one_in(8)) d3 |= (*random)() & ((std::uint64_t{1} << lg2) - 1) & ~std::uint64_t{0xf};
        // IPAs near each other, so that tables are shared.
        region = (random->one_in(4) ? random->any_width() : (*random)()) & ((std::uint64_t{1} << two.iasize) - 1);
        region = smmu_model::align(region, 26);
    }

    // --- context descriptors ---

    void choose_first() {
        unsigned const stall_model = bits(u.idr0, 25, 24);
        unsigned const httu = bits(u.idr0, 7, 6);
        bool const later = bits(u.aidr, 3, 0) != 0;
        std::uint64_t& d0 = cd[0];
        std::uint64_t& d1 = cd[1];
        std::uint64_t& d2 = cd[2];
        d0 = (*random)() & 0xffff80b03f003f00;
        if (yes(4)) set_bits(d0, 36, 36, 0); // WXN
        if (!bit(u.idr0, 12)) set_bits(d0, 63, 56, 0);
        for (unsigned i = 3; i < 8; ++i)
            cd[i] = (*random)();
        d0 |= std::uint64_t{1} << 31 | std::uint64_t{1} << 41;
        unsigned const code = random_size_code();
        set_bits(d0, 34, 32, code);
        set_bits(d0, 35, 35, random->one_in(3));  // AFFD
        set_bits(d0, 39, 38, random->below(4));   // TBI
        set_bits(d0, 40, 40, random->one_in(10)); // PAN
        bool const ha = httu >= 1 && random->small(3) != 0;
        bool const hd = httu >= 2 && random->small(3) != 0;
        set_bits(d0, 43, 43, ha);
        first_marks = ha || bit(d0, 35);
        set_bits(d0, 42, 42, hd);
        bool const s = stall_model == 2 || (stall_model == 0 && !bit(ste[1], 91 - 64) && random->one_in(4));
        set_bits(d0, 44, 44, s);
        set_bits(d0, 45, 45, yes(6));
        set_bits(d0, 46, 46, bit(u.idr0, 26) || random->one_in(2));
        unsigned const endian = bits(u.idr0, 22, 21);
        bool const big = endian == 3 || (endian == 0 && random->one_in(3));
        set_bits(d0, 15, 15, big);
        bool const ds = random->one_in(2);
        d1 = (*random)() & 0xf400000000000002; // HAD0 and what does not matter
        d2 = (*random)() & 0xf80000000000000a;
        set_bits(d1, 2, 2, random->one_in(10)); // E0PD
        set_bits(d2, 2, 2, random->one_in(10));
        set_bits(d1, 59, 59, random->below(2));
        set_bits(d1, 3, 3, httu == 3 ? ha && random->one_in(3) : random->below(2));
        set_bits(d2, 58, 58, ds);
        for (unsigned half = 0; half < 2; ++half) {
            geometry& h = halves[half];
            h.g = wished(wish.first_granule);
            first_granules[half] = h.g;
            h.ds = ds && bit(u.idr5, 7) && h.g != 16;
            h.big = big;
            bool const wide = bits(u.idr5, 11, 10) != 0 && (h.g == 16 || h.ds);
            unsigned const smallest = wide ? 12 : 16;
            unsigned const largest = !bit(u.idr3, 9) ? 39 : h.g == 16 ? 47 : 48;
            unsigned t = smallest + random->small(largest - smallest + 1);
            if (random->one_in(4)) t = smallest;
            if (random->one_in(12)) t = largest;
            if (wide && random->one_in(4)) t = 12 + random->small(4);
            h.iasize = 64 - t;
            h.start = 3 - static_cast<int>((h.iasize - 1 - h.g) / (h.g - 3));
            h.limit = limit_of(code, h.g, h.ds);
            if (!later && u.clamp_sizes && random->one_in(3)) {
                if (t == smallest) t = random->small(t + 1);
                if (t == largest) t += random->small(64 - t);
            }
            h.on = half == 0 ? one_privilege || yes(8) : !one_privilege && yes(4);
            unsigned const base = half == 0 ? 0 : 16;
            unsigned const tg = h.g == 12 ? (half == 0 ? 0 : 2) : h.g == 16 ? (half == 0 ? 1 : 3) : (half == 0 ? 2 : 1);
            set_bits(d0, base + 5, base, t);
            set_bits(d0, base + 7, base + 6, tg);
            set_bits(d0, base + 14, base + 14, !h.on);
            if (half == 0 && one_privilege) set_bits(d0, 14, 14, random->below(2)); // EPD is ignored
            if (half == 1 && one_privilege) set_bits(d0, 30, 16, random->below(0x8000));
            if (!h.on) {
                if (random->one_in(2)) { // nothing of it is checked
                    set_bits(d0, base + 7, base, random->below(256));
                    cd[1 + half] |= (*random)() & 0x00fffffffffffff0;
                }
                continue;
            }
            unsigned const top = h.iasize - shift_of(h, h.start) + 3;
            unsigned const lg2 = smmu_model::greatest(top, smallest_root(code));
            h.root = nested ? place_guest(lg2, h.limit) : place(lg2, 0, h.limit);
            cd[1 + half] |= h.root;
            if (random->one_in(8)) cd[1 + half] |= (*random)() & ((std::uint64_t{1} << lg2) - 1) & ~std::uint64_t{0xf};
        }
    }

    // An IPA for a table.
    std::uint64_t place_guest(unsigned lg2, unsigned limit) {
        std::uint64_t const reach = smmu_model::least(limit, two.iasize);
        std::uint64_t const at = region + ((*random)() & 0x3ffffff);
        return smmu_model::align(at & ((std::uint64_t{1} << reach) - 1), lg2);
    }
    // Where the word at an address of the first stage's tables stands.
    std::uint64_t host(std::uint64_t at) { return nested ? map_second(at, true) : at; }

    void place_cds() {
        unsigned const cdmax = bits(u.idr1, 10, 6) == 0 ? 0 : bits(ste[0], 63, 59);
        unsigned const fmt = bits(ste[0], 5, 4);
        std::uint32_t const ids[] = {substream, 0};
        std::uint64_t const noise = yes(16) ? 0 : (*random)() & 0xfc0;
        unsigned const limit = oas();
        auto const table = [&](unsigned lg2, std::uint64_t offset) {
            return nested ? place_guest(lg2, limit) : place(lg2, offset, limit);
        };
        bool const linear = cdmax == 0 || fmt == 0 || fmt == 3;
        unsigned const lower = linear ? 0 : fmt == 1 ? 6 : 10;
        std::uint64_t const first_offset = linear ? std::uint64_t{ids[0]} * 64 : std::uint64_t{ids[0] >> lower} * 8;
        unsigned const upper_lg2 = linear ? cdmax + 6 : cdmax > lower + 3 ? cdmax - lower + 3 : 6;
        std::uint64_t const pointer = table(upper_lg2, first_offset);
        ste[0] |= pointer;
        if (upper_lg2 >= 12) ste[0] |= noise;
        l1cd_at = 0;
        cd_at[0] = cd_at[1] = 0;
        std::uint64_t leaf = 0;
        for (unsigned i = 0; i < 2; ++i) {
            if (i == 1 && ids[0] == 0) break;
            std::uint64_t at = pointer;
            if (linear) {
                at += std::uint64_t{ids[i]} * 64;
            } else {
                std::uint64_t const l1 = pointer + std::uint64_t{ids[i] >> lower} * 8;
                if (i == 0 || ids[0] >> lower != 0) {
                    std::uint64_t const l1_host = host(l1);
                    leaf = table(lower + 6, (ids[i] & ((1u << lower) - 1)) * 64);
                    put(l1_host,
                        leaf | 1 |
                            (random->one_in(8) ? (*random)() & (lower == 10 ? 0xff0000000000fffe : 0xff00000000000ffe) : 0));
                    if (i == 0) l1cd_at = l1_host;
                }
                at = leaf + (ids[i] & ((1u << lower) - 1)) * 64;
            }
            cd_at[i] = host(at);
            if (i == 1) cd[0] ^= random->below(256) << 48; // another ASID
            for (unsigned j = 0; j < 8; ++j)
                put(cd_at[i] + 8 * j, cd[j]);
        }
        if (cd_at[1] == 0) cd_at[1] = cd_at[0];
    }

    // --- tables ---

    static unsigned shift_of(geometry const& s, int level) { return s.g + static_cast<unsigned>(3 - level) * (s.g - 3); }
    bool may_block(geometry const& s, int level) const {
        if (level >= 2) return true;
        if (level == 1) return s.g == 12 || (s.g == 14 && s.ds) || (s.g == 16 && oas() >= 52);
        return level == 0 && s.g == 12 && s.ds;
    }
    static std::uint64_t encoded(geometry const& s, std::uint64_t address) {
        std::uint64_t e = address & 0x0000ffffffffffff;
        if (s.g == 16) return e | (address >> 48 & 15) << 12;
        if (s.ds) e = (address & 0x0003ffffffffffff) | (address >> 50 & 3) << 8;
        return e;
    }
    std::uint64_t decoded(geometry const& s, std::uint64_t e) const {
        if (s.g == 16) return (e & 0x0000ffffffff0000) | (oas() >= 52 ? (e >> 12 & 15) << 48 : 0);
        if (s.ds) return smmu_model::align(e & 0x0003ffffffffffff, s.g) | (e >> 8 & 3) << 50;
        return smmu_model::align(e & 0x0000ffffffffffff, s.g);
    }
    static std::uint64_t index_at(geometry const& s, std::uint64_t table, std::uint64_t input, int level) {
        std::uint64_t i = (input & ((std::uint64_t{1} << s.iasize) - 1)) >> shift_of(s, level);
        if (level != s.start) i &= (std::uint64_t{1} << (s.g - 3)) - 1;
        return table + i * 8;
    }
    std::uint64_t stored(geometry const& s, std::uint64_t e) const { return s.big ? smmu_model::swapped(e) : e; }
    int random_level(geometry const& s) {
        int level = 3;
        if (random->one_in(2)) level = s.start + static_cast<int>(random->below(static_cast<std::uint64_t>(4 - s.start)));
        if (level < s.start) level = s.start;
        while (!may_block(s, level) && yes(64))
            ++level;
        return level;
    }

    std::uint64_t first_flags(geometry const& h, bool leaf) {
        if (!leaf) {
            std::uint64_t e = (*random)() & 0x87f8000000000878; // ignored
            if (random->one_in(2)) e |= 0x400;
            if (random->one_in(full_rights ? 32 : 4)) e |= random->below(16) << 59;
            return e | 3;
        }
        std::uint64_t e = (*random)() & 0xf78400000000083c;
        if (!h.ds) e |= random->below(4) << 8;
        if (!random->one_in(first_marks ? 2 : 16)) e |= 0x400;
        unsigned const aps[] = {3, 3, 0, 2};
        e |= std::uint64_t{full_rights ? (yes(6) ? 1 : random->pick(aps)) : random->small(4)} << 6;
        e |= random->below(2) << 51 | random->below(2) << 52; // DBM, Contiguous
        std::uint64_t const xn = full_rights ? (random->one_in(6) ? random->below(4) : 0) : random->below(4);
        return e | xn << 53 | 1;
    }
    std::uint64_t second_flags(bool leaf) {
        if (!leaf) {
            std::uint64_t e = (*random)() & 0xfff80000000008fc;
            if (random->one_in(2)) e |= 0x400;
            return e | 3;
        }
        std::uint64_t e = (*random)() & 0xff84000000000800;
        std::uint64_t const types[] = {15, 15, 15, 5, 10, 7, 6, random->below(16)};
        e |= random->pick(types) << 2;
        if (!two.ds) e |= random->below(4) << 8;
        if (!random->one_in(second_marks ? 2 : 24)) e |= 0x400;
        unsigned const aps[] = {3, 3, 3, 3, 3, 3, 3, 3, 3, 1, 1, 2, 0};
        e |= std::uint64_t{full_rights ? (yes(8) ? 3 : random->pick(aps)) : random->pick(aps)} << 6;
        e |= random->below(2) << 51 | random->below(2) << 52;
        std::uint64_t const xn = random->one_in(3) ? random->below(4) : 0;
        return e | xn << 53 | 1;
    }

    // The way of an IPA through the second stage, as far as it is not there yet: to what comes out.
    std::uint64_t map_second(std::uint64_t ipa, bool of_tables) {
        ipa &= (std::uint64_t{1} << two.iasize) - 1;
        int const wanted = random_level(two);
        std::uint64_t table = two.root;
        for (int level = two.start;; ++level) {
            std::uint64_t const at = index_at(two, table, ipa, level);
            unsigned const shift = shift_of(two, level);
            std::uint64_t const inside = ipa & ((std::uint64_t{1} << shift) - 1);
            std::uint64_t const old = stored(two, a->peek(at));
            if (bit(old, 0)) {
                bool const leaf = level == 3 || !bit(old, 1);
                if (leaf) return smmu_model::align(decoded(two, old), shift) | inside;
                table = decoded(two, old);
                continue;
            }
            bool const leaf = level >= wanted;
            std::uint64_t e = second_flags(leaf);
            std::uint64_t output = 0;
            if (leaf) {
                if (level == 3) e |= 2;
                // What tables lie in can be read most of the time.
                if (of_tables && yes(16)) e |= 0x40;
                if (of_tables && yes(8)) e |= 0x38;
                if (of_tables && yes(3)) e |= 0xc0;
                output = place(shift, inside, two.limit);
            } else {
                output = place(two.g, index_at(two, 0, ipa, level + 1), two.limit);
            }
            if (leaf && random->one_in(8)) e |= encoded(two, below_block(shift, two.limit));
            put(at, stored(two, e | encoded(two, output)));
            if (leaf) return output | inside;
            table = output;
        }
    }

    // Address bits that a block ignores, too high ones before all.
    std::uint64_t below_block(unsigned shift, unsigned limit) {
        if (shift > limit) return std::uint64_t{1} << (limit + random->below(shift - limit));
        return random->any_width() & ((std::uint64_t{1} << shift) - 1) & ~std::uint64_t{0xffff};
    }
    void map_first(geometry const& h, std::uint64_t va, unsigned& lg2) {
        int const wanted = random_level(h);
        std::uint64_t table = h.root;
        for (int level = h.start;; ++level) {
            std::uint64_t const at = host(index_at(h, table, va, level));
            unsigned const shift = shift_of(h, level);
            std::uint64_t const inside = va & ((std::uint64_t{1} << shift) - 1);
            std::uint64_t const old = stored(h, a->peek(at));
            lg2 = shift;
            if (bit(old, 0)) {
                if (level == 3 || !bit(old, 1)) return;
                table = decoded(h, old);
                continue;
            }
            bool const leaf = level >= wanted;
            std::uint64_t e = first_flags(h, leaf);
            if (leaf && level == 3) e |= 2;
            std::uint64_t output = 0;
            if (nested) {
                output = place_guest(leaf ? shift : h.g, h.limit);
                if (leaf && random->one_in(16)) output = smmu_model::align(h.root, shift); // the tables themselves
                if (leaf && random->one_in(32)) output = place(shift, 0, h.limit);         // perhaps too far
            } else {
                output = place(leaf ? shift : h.g, leaf ? inside : index_at(h, 0, va, level + 1), h.limit);
            }
            if (leaf && random->one_in(8)) e |= encoded(h, below_block(shift, h.limit));
            put(at, stored(h, e | encoded(h, output)));
            if (leaf) {
                if (nested && !beyond(output | inside, two.iasize)) map_second(output | inside, false);
                return;
            }
            table = output;
        }
    }

    void add_targets() {
        if (!first_on && !second_on) return;
        unsigned const count = nested ? 3 : 5;
        std::uint64_t near[2]{};
        for (unsigned i = 0; i < count; ++i) {
            target t;
            bool const walks_first = first_on && !(bits(ste[1], 1, 0) == 1 && !has_substream && bits(ste[0], 63, 59) != 0);
            if (walks_first) {
                t.half = random->small(2);
                if (!halves[t.half].on) t.half ^= 1;
                geometry const& h = halves[t.half];
                if (!h.on) return;
                std::uint64_t const mask = (std::uint64_t{1} << h.iasize) - 1;
                std::uint64_t va = random->one_in(4) ? random->any_width() : (*random)();
                if (near[t.half] != 0 && yes(3)) va = near[t.half] ^ random->below(8) << (h.g + random->small(2) * (h.g - 3));
                if (random->one_in(8)) va = random->below(2) - 1 - random->below(2) * 0xfff; // the edges
                va &= mask;
                near[t.half] = va;
                if (t.half == 1) va |= ~mask;
                map_first(h, va, t.lg2);
                t.address = va;
            } else {
                std::uint64_t ipa = random->one_in(4) ? random->any_width() : (*random)();
                if (near[0] != 0 && yes(3)) ipa = near[0] ^ random->below(8) << two.g;
                if (random->one_in(8)) ipa = random->below(2) - 1;
                if (second_on) {
                    ipa &= (std::uint64_t{1} << two.iasize) - 1;
                    map_second(ipa, false);
                }
                ipa &= (std::uint64_t{1} << smmu_model::ias(u)) - 1;
                near[0] = ipa;
                t.address = ipa;
                t.lg2 = 12;
                t.half = 2;
            }
            targets[target_count++] = t;
        }
    }

    // --- questions ---

    std::uint32_t other_substream() {
        unsigned const cdmax = bits(ste[0], 63, 59);
        std::uint32_t const others[] = {0, 1, 1u << cdmax, (1u << cdmax) - 1, substream ^ 1, random->small(1u << 20)};
        return random->pick(others);
    }
    void choose_address(random_bits& r, ask& q) {
        if (target_count == 0) {
            q.address = (r.one_in(2) ? r.any_width() : r()) & ((std::uint64_t{1} << oas()) - 1);
            if (r.one_in(8)) q.address = (std::uint64_t{1} << oas()) - r.below(2);
            if (r.one_in(16)) q.address = r.any_width();
            return;
        }
        target const& t = targets[r.below(target_count)];
        bool const first = t.half < 2;
        geometry const& g = first ? halves[t.half] : two;
        unsigned const width = g.iasize != 0 ? g.iasize : oas();
        std::uint64_t const past = std::uint64_t{1} << width;
        q.address = t.address;
        if (r.one_in(4)) q.address ^= r.below(4096);
        if (r.one_in(12)) q.address ^= r() & ((std::uint64_t{1} << t.lg2) - 1);              // in the same page, far away
        if (r.one_in(24)) q.address ^= std::uint64_t{1} << r.below(width);                   // beside it
        if (r.one_in(48)) q.address = (past - r.below(2)) | (t.half == 1 ? ~(past - 1) : 0); // the edges
        if (t.half == 1 && r.one_in(80)) q.address = ~(past - 1) - r.below(2);
        if (r.one_in(80)) q.address ^= std::uint64_t{1} << (width + r.below(64 - width)); // out of range
        if (first && r.one_in(40)) q.address ^= r.below(256) << 56;                       // an alias, with TBI
        if (first && r.one_in(100)) q.address ^= std::uint64_t{1} << 55;                  // the other half
        if (r.one_in(100)) q.address = r.any_width();
    }

    // --- changes ---

    void change(std::uint64_t at, unsigned high, unsigned low, std::uint64_t value) { // structure-wide bits
        std::uint64_t const word_at = at + high / 64 * 8;
        std::uint64_t word = a->peek(word_at);
        set_bits(word, high % 64, low % 64, value);
        a->poke(word_at, word);
    }
    // What a hostile guest or a broken one does.
    void mutate_table() {
        if (path_length == 0) return;
        std::uint64_t const count = random->one_in(3) ? 2 : 1;
        for (std::uint64_t i = 0; i < count; ++i) {
            bool const early = tables_from == path_length || random->one_in(5);
            std::size_t const which = early ? random->below(tables_from) : tables_from + random->below(path_length - tables_from);
            bool const upper = !early && random->one_in(4); // the words that were put first are near the roots
            std::size_t const reach = smmu_model::least(static_cast<unsigned>(path_length - tables_from), 4);
            std::uint64_t const at = path[upper ? tables_from + random->below(reach) : which];
            std::uint64_t const old = a->peek(at);
            // Whose it is is not known here.
            bool const big = (halves[0].big && first_on && !second_on) || (two.big && !first_on) || (two.big && halves[0].big);
            std::uint64_t word = big ? smmu_model::swapped(old) : old;
            std::uint64_t const other = path[random->below(path_length)];
            switch (random->below(18)) {
            case 0: word ^= std::uint64_t{1} << random->below(64); break;
            case 1: word ^= std::uint64_t{1} << random->below(12); break;
            case 2: word = (word & 0xfff0000000000fff) | (other & 0x0000fffffffff000); break; // a loop
            case 3: word |= std::uint64_t{1} << (32 + random->below(20)); break;
            case 4: word |= 0xf000; break;
            case 5: word |= 0x300; break;
            case 6: word = 0; break;
            case 7: word = ~std::uint64_t{0}; break;
            case 8: word = (*random)(); break;
            case 9: word ^= 0x400; break;
            case 10: word ^= std::uint64_t{random->below(3) + 1} << 6; break;
            case 11: word ^= std::uint64_t{random->below(3) + 1} << 53; break;
            case 12: word ^= std::uint64_t{random->below(15) + 1} << 59; break;
            case 13: word ^= std::uint64_t{1} << 51; break;
            case 14: word = (word & ~std::uint64_t{3}) | random->below(4); break;
            case 15: word = (word & 0xfff0000000000fff) | (*random)() >> 12 << 12; break;
            case 16: word = (word & 0xffff000000000fff) | (random->any_width() & 0x0000fffffffff000); break;
            default: word &= ~std::uint64_t{0x3c}; break; // a device
            }
            a->poke(at, big ? smmu_model::swapped(word) : word);
        }
    }

    // What C_BAD_STE is for, row by row; and the stream table.
    void spoil_ste() {
        std::uint64_t const s = ste_at;
        unsigned const httu = bits(u.idr0, 7, 6);
        bool const ds = bit(u.idr5, 7) && bit(ste[3], 3);
        switch (random->below(34)) {
        case 0: change(s, 0, 0, 0); break;
        case 1: u.idr0 &= ~2u; break;
        case 2: u.idr0 &= ~1u; break;
        case 3:
            u.idr0 |= 1u << 10;
            change(s, 93, 92, 2);
            break;
        case 4:
        case 5:
            u.idr0 |= 1u << 10;
            change(s, 93, 92, 1);
            change(s, 185, 185, 1);
            break;
        case 6:
            u.idr0 |= 1u << 9;
            change(s, 95, 94, random->below(2) * 2 + 1);
            break;
        case 7:
            if (bits(u.idr0, 25, 24) == 0) set_bits(u.idr0, 25, 24, 1 + random->below(2));
            change(s, 91, 91, 1);
            break;
        case 8: change(s, 63, 59, bits(u.idr1, 10, 6) + 1 + random->below(4)); break;
        case 9:
            u.idr0 &= ~(1u << 19);
            change(s, 5, 4, 1 + random->below(2));
            break;
        case 10: {
            std::uint64_t const word = a->peek(s) | std::uint64_t{1} << (oas() + random->below(56 - oas()));
            a->poke(s, word);
            break;
        }
        case 11:
            u.idr3 |= 1u << 8;
            change(s, 89, 89, 1);
            change(s, 179, 179, 0);
            break;
        case 12:
            change(s, 89, 89, 0);
            change(s, 179, 179, 0);
            break;
        case 13:
            set_bits(u.idr0, 25, 24, 1);
            change(s, 185, 185, 1);
            change(s, 91, 91, 0);
            break;
        case 14:
            set_bits(u.idr0, 25, 24, 2);
            change(s, 185, 185, 0);
            change(s, 91, 91, 0);
            break;
        case 15: u.idr0 &= ~(1u << 3); break;
        case 16:
            set_bits(u.idr0, 7, 6, 0);
            change(s, 184, 183, 1 + random->below(3));
            break;
        case 17:
            set_bits(u.idr0, 7, 6, 1);
            change(s, 183, 183, 1);
            break;
        case 18:
            if (httu != 3) set_bits(u.idr0, 7, 6, 3);
            change(s, 187, 187, 1);
            change(s, 184, 184, 0);
            break;
        case 19: change(s, 175, 174, 3); break;
        case 20: u.idr5 &= ~(two.g == 12 ? 1u << 4 : two.g == 14 ? 1u << 5 : 1u << 6); break;
        case 21: {
            unsigned const low = smmu_model::least(two.limit, 55);
            std::uint64_t const word = a->peek(s + 24) | std::uint64_t{1}
                                                             << (low + random->below(random->one_in(2) ? 1 : 56 - low));
            a->poke(s + 24, word);
            break;
        }
        case 22: {
            bool const small = random->one_in(2);
            unsigned const smallest = smmu_model::greatest(64 - smmu_model::ias(u), two.g == 16 || ds ? 12 : 16);
            unsigned const largest = !bit(u.idr3, 9) ? 39 : two.g == 16 ? 47 : 48;
            change(s, 165, 160,
                   small ? (random->one_in(2) ? smallest - 1 : random->below(smallest)) : largest + random->below(3));
            break;
        }
        case 23: change(s, 165, 160, random->below(64)); break;
        case 24: change(s, 167, 166, random->below(4)); break;
        case 25: // level 3 without small tables
            u.idr3 &= ~(1u << 9);
            change(s, 167, 166, 3);
            if (random->one_in(2)) change(s, 165, 160, 39);
            break;
        case 26: change(s, 195, 194, random->below(4)); break;
        case 27: set_bits(u.idr0, 22, 21, two.big ? 2 : 3); break;
        case 28:
        case 29:
            u.idr0 &= ~(1u << 18);
            change(s, 143, 128, 0x100 + random->below(0xff00));
            break;
        case 30:
            if (l1std_at != 0) {
                std::uint64_t word = a->peek(l1std_at);
                set_bits(word, 4, 0, random->below(32));
                a->poke(l1std_at, word);
            }
            break;
        case 31: change(s, 3, 1, random->below(8)); break;
        case 32:
            u.strtab_base |= std::uint64_t{1} << (oas() + random->below(56 - oas())); // out of reach
            break;
        default: u.strtab_base_cfg ^= 1u << random->below(18); break;
        }
    }

    // What C_BAD_CD is for, and what leads there.
    void spoil_cd() {
        unsigned const which = random->small(28);
        for (std::uint64_t const c : cd_at) {
            switch (which) {
            case 0: change(c, 31, 31, 0); break;
            case 1:
                set_bits(u.idr0, 25, 24, 0);
                change(ste_at, 91, 91, 1);
                change(c, 44, 44, 1);
                break;
            case 2:
                u.idr0 |= 1u << 26;
                change(c, 46, 46, 0);
                break;
            case 3:
                if (bits(u.idr0, 25, 24) == 0) set_bits(u.idr0, 25, 24, 1);
                change(ste_at, 91, 91, 0);
                change(ste_at, 185, 185, bits(u.idr0, 25, 24) == 2);
                change(c, 44, 44, bits(u.idr0, 25, 24) == 1);
                break;
            case 4:
                set_bits(u.idr0, 22, 21, halves[0].big ? 2 : 3);
                change(ste_at, 180, 180, !halves[0].big);
                break;
            case 5: change(c, 41, 41, 0); break;
            case 6:
            case 7: u.idr0 &= ~(1u << 3); break;
            case 8:
                set_bits(u.idr0, 7, 6, 0);
                change(ste_at, 184, 183, 0);
                change(c, 43, 42, 1 + random->below(3));
                break;
            case 9:
                set_bits(u.idr0, 7, 6, 1);
                change(ste_at, 183, 183, 0);
                change(c, 42, 42, 1);
                break;
            case 10:
                set_bits(u.idr0, 7, 6, 3);
                change(ste_at, 187, 187, 0);
                change(c, 43, 43, 0);
                change(c, 67, 67, 1);
                break;
            case 11:
                u.idr0 &= ~(1u << 12);
                change(c, 63, 48, 0x100 + random->below(0xff00));
                break;
            case 12:
            case 13: change(c, 5, 0, random->below(64)); break;
            case 14: change(c, 21, 16, random->below(64)); break;
            case 15: change(c, 7, 6, 3); break;
            case 16: change(c, 23, 22, 0); break;
            case 17: {
                unsigned const gone = 4 + random->small(3);
                u.idr5 &= ~(1u << gone);
                break;
            }
            case 18:
            case 19: {
                unsigned const half = which - 18;
                unsigned const low = smmu_model::least(halves[half].limit, 55);
                std::uint64_t const at = c + 8 + 8 * half;
                a->poke(at, a->peek(at) | std::uint64_t{1} << (random->one_in(2) ? low : low + random->below(56 - low)));
                break;
            }
            case 20: change(c, 34, 32, random->below(8)); break;
            case 21: change(c, 186, 186, random->below(2)); break;
            case 22: change(ste_at, 65, 64, random->below(4)); break;
            case 23: {
                if (l1cd_at == 0) break;
                std::uint64_t const flips[] = {1, std::uint64_t{1} << (12 + random->below(44)), std::uint64_t{1} << 55};
                a->poke(l1cd_at, a->peek(l1cd_at) ^ random->pick(flips));
                break;
            }
            case 24: change(c, 14, 14, random->below(2)); break;
            case 25: change(c, 43, 42, random->below(4)); break;
            case 26: change(c, 39, 38, random->below(4)); break;
            default: change(ste_at, 63, 59, random->below(21)); break;
            }
        }
    }

    void mutate_unit() {
        switch (random->below(8)) {
        case 0: u.idr0 ^= 1u << random->below(32); break;
        case 1: u.idr3 ^= random->one_in(2) ? 1u << 4 : random->one_in(2) ? 1u << 2 : 1u << 9; break;
        case 2:
            if (bits(u.idr5, 2, 0) > 0) --u.idr5; // OAS
            break;
        case 3: u.idr5 &= ~(1u << 7); break; // DS
        case 4: u.cr2 ^= 1; break;
        case 5: u.idr1 ^= 1u << 26; break;
        case 6: set_bits(u.idr1, 10, 6, random->below(21)); break;
        default: u.aidr = random->one_in(2) && bits(u.idr5, 2, 0) < 6 ? 0 : 1 + random->small(4); break;
        }
        if (bits(u.idr0, 3, 2) == 0) u.idr0 |= 1u << 3;
        if (bits(u.idr0, 25, 24) == 3) set_bits(u.idr0, 25, 24, 0);
        if (bits(u.idr0, 22, 21) == 1) set_bits(u.idr0, 22, 21, 0);
        u.idr0 &= ~(1u << 28 | 1u << 29 | 1u << 30 | 1u << 31);
    }

    // Memory that fails, and somebody else who writes into it.
    void disturb() {
        if (path_length == 0) return;
        std::size_t const at = a->index(path[random->below(path_length)]);
        if (at == static_cast<std::size_t>(arena::none)) return;
        switch (random->below(8)) {
        case 0: a->bad_page = at / 512; break;
        case 1:
        case 2: a->bad_word = at; break;
        case 3: a->locked = at / 512; break;
        case 4: a->all_locked = true; break;
        case 5:
        case 6: {
            a->rival_at = random->below(5);
            std::uint64_t const masks[] = {0x400,
                                           0x80,
                                           std::uint64_t{1} << 55,
                                           0x0004000000000000,
                                           random->any_width(),
                                           std::uint64_t{1} << random->below(64)};
            a->rival_mask = random->pick(masks);
            a->rival_always = random->one_in(2);
            break;
        }
        default: a->folds = true; break;
        }
    }
};

} // namespace smmu_arena
