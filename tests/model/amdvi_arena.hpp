// A sparse arena of AMD-Vi tables, and random and hostile contents for it.
//
//     builder b;
//     b.build(random, memory, plan{});          // a unit, its tables, and addresses that they translate
//     for (...) {
//         b.next_round(random, memory);          // as built again, and then changed here and there
//         mark = memory.mark();
//         for (...) {
//             q = b.next_ask(random);            // or next_message
//             translate(b.u, q, ...);            // memory.rewind(mark) between two who answer the same
//         }
//     }
#pragma once

#include "amdvi_model.hpp"
#include "host_memory.hpp"
#include "random_bits.hpp"

#include <cstddef>
#include <cstdint>

namespace amdvi_arena {

using amdvi_model::align;
using amdvi_model::ask;
using amdvi_model::beyond;
using amdvi_model::bit;
using amdvi_model::bits;
using amdvi_model::exchange;
using amdvi_model::inside;
using amdvi_model::least;
using amdvi_model::message;
using amdvi_model::unit;

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
    // Nothing is wrong with the memory: all that reads it reads the same.
    bool is_plain() const { return bad_word == none && locked == none && !all_locked && rival_at == none; }
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
        if (i >= std::size_t{capacity} * 512 || !read(address, value)) return amdvi_model::failed;
        std::uint64_t const number = updates++;
        if (all_locked || i / 512 == locked) return amdvi_model::failed;
        if (number == rival_at || (rival_always && number > rival_at)) write(i, words[i] ^ rival_mask);
        found = words[i];
        if (found != old) return amdvi_model::changed;
        write(i, fresh);
        return amdvi_model::done;
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

inline void set_bits(std::uint64_t& word, unsigned high, unsigned low, std::uint64_t value) {
    std::uint64_t const mask = ((std::uint64_t{2} << (high - low)) - 1) << low;
    word = (word & ~mask) | (value << low & mask);
}

// What the DTE of most requests is to be; 0: anything.
constexpr unsigned by_host = 1;  // host tables alone
constexpr unsigned by_guest = 2; // guest tables alone
constexpr unsigned by_both = 3;  // nested
constexpr unsigned by_none = 4;  // no tables

struct plan {
    unsigned kind = 0;
    unsigned mode = 0;   // of host tables: 1 to 6
    unsigned levels = 0; // of guest tables: 4 or 5
};

inline unit random_unit(random_bits& random) {
    unit u;
    // What does not matter here is random.
    u.efr = random() & ~(std::uint64_t{0xf} << 10 | std::uint64_t{3} << 14 | std::uint64_t{7} << 21 | std::uint64_t{0xff} << 32);
    unsigned const usual[] = {2, 3, 4, 7, 48, 49, 52}; // each may be missing
    for (unsigned const n : usual) {
        u.efr |= std::uint64_t{1} << n;
        if (random.one_in(n == 4 || n == 48 ? 32 : 8)) u.efr &= ~(std::uint64_t{1} << n);
    }
    unsigned const hats[] = {2, 2, 2, 2, 2, 1, 1, 0};
    set_bits(u.efr, 11, 10, random.one_in(48) ? 3 : random.pick(hats));
    unsigned const gats[] = {1, 1, 1, 0, 2};
    set_bits(u.efr, 13, 12, random.pick(gats));
    unsigned const glx[] = {2, 2, 2, 1, 0, 3};
    set_bits(u.efr, 15, 14, random.pick(glx));
    set_bits(u.efr, 23, 21, random.one_in(4) ? random.below(8) : 1);
    unsigned const pasids[] = {19, 19, 19, 15, 8, 31};
    set_bits(u.efr, 36, 32, random.one_in(6) ? random.below(32) : random.pick(pasids));
    set_bits(u.efr, 37, 37, random.below(2)); // USSup
    set_bits(u.efr, 39, 38, random.below(4));
    if (!random.one_in(6)) set_bits(u.efr, 63, 63, 0); // SNPSup

    u.efr2 = random();
    set_bits(u.efr2, 3, 3, !random.one_in(4));
    set_bits(u.efr2, 9, 8, random.one_in(6) ? random.below(4) : random.below(2));

    u.control = random() & ~std::uint64_t{1};
    if (!random.one_in(48)) u.control |= 1;
    set_bits(u.control, 16, 16, !random.one_in(32));
    set_bits(u.control, 36, 34, random.below(bits(u.efr, 39, 38) + 1));
    if (random.one_in(24)) set_bits(u.control, 36, 34, random.below(8));
    set_bits(u.control, 44, 43, random.one_in(6) ? random.below(4) : random.below(2));
    set_bits(u.control, 48, 48, random.one_in(3));
    set_bits(u.control, 54, 54, random.one_in(3));

    u.iotlb = !random.one_in(10);
    u.interrupt_range = !random.one_in(10);
    bool* const policies[] = {
        &u.past_table_page_fault, &u.illegal_mode_page_fault, &u.guest_disabled_ignored, &u.exclusion_translation_only,
        &u.ht_reserved,           &u.page_migration,          &u.permission_first,       &u.host_accessed_leaf_only,
        &u.gcr3_pointers_as_root, &u.write_protect_users_only};
    for (bool* const policy : policies)
        *policy = random.one_in(3);
    return u;
}

class builder {
public:
    unit u; // of the round
    unsigned kind = 0;
    unsigned mode = 0;   // of host tables; 0 where there are none
    unsigned levels = 0; // of guest tables; 0 where there are none

    void build(random_bits& r, arena& memory, plan const& p) {
        random = &r;
        a = &memory;
        a->clear();
        path_length = 0;
        target_count = 0;
        u = random_unit(r);
        unsigned const kinds[] = {by_host,  by_host, by_host, by_host, by_guest, by_guest,
                                  by_guest, by_both, by_both, by_both, by_both,  by_none};
        kind = p.kind != 0 ? p.kind : r.pick(kinds);
        bool const has_host = kind == by_host || kind == by_both;
        bool const has_guest = kind == by_guest || kind == by_both;
        u.snp = r.one_in(has_host ? 6 : 48);
        if (has_guest && yes(40)) {
            u.efr |= 1u << 4;
            u.control |= 1u << 16;
        }
        mode = 0;
        if (has_host) {
            if (yes(48) && bits(u.efr, 11, 10) == 3) set_bits(u.efr, 11, 10, r.below(3));
            unsigned const most = bits(u.efr, 11, 10) == 3 ? 6 : 4 + bits(u.efr, 11, 10);
            mode = p.mode != 0 ? p.mode : r.one_in(3) ? most : 1 + r.small(most);
            if (kind == by_both && mode == 1 && p.mode == 0 && r.one_in(2)) mode = 3;
        }
        levels = 0;
        if (has_guest) {
            levels = p.levels != 0 ? p.levels : bits(u.efr, 13, 12) == 0 ? 4 : 4 + r.small(2);
            if (levels == 5 && bits(u.efr, 13, 12) == 0 && yes(32)) set_bits(u.efr, 13, 12, 1);
        }
        full_rights = r.small(6) != 0;
        choose_devices();
        tables_from = path_length;
        if (has_host) {
            root = place(12, 0);
            region = random_address(mode);
        }
        if (has_guest) place_gcr3();
        add_targets();
        place_interrupts();
        choose_entries();
        choose_exclusion();
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
        if (what < 17) return;
        if (what < 22) return mutate_table();
        if (what < 25) return spoil_entry();
        if (what < 28) return disturb();
        if (what < 29) return spoil_interrupts();
        if (what == 29) return mutate_unit();
        mutate_table();
        if (r.one_in(3)) mutate_unit();
        if (r.one_in(3)) spoil_interrupts();
        if (r.one_in(2)) disturb();
    }

    ask next_ask(random_bits& r) {
        ask q;
        q.device = next_device(r);
        unsigned const accesses = r.small(16);
        q.read = accesses < 9 || accesses >= 14;
        q.write = accesses >= 8 && accesses < 15;
        q.execute = r.one_in(q.write ? 20 : 6);
        q.privileged = r.one_in(3);
        if (r.one_in(64)) q.read = q.write = false;
        if (r.one_in(6)) q.kind = amdvi_model::translation_request;
        if (r.one_in(40)) q.kind = amdvi_model::translated;
        choose_address(r, q);
        return q;
    }

    message next_message(random_bits& r) {
        message s;
        s.device = next_device(r);
        s.address = 0xfee00000 | (r() & 0xff00c);
        if (r.one_in(16)) s.address = r();
        if (yes_of(r, 4)) s.address &= ~std::uint64_t{4};
        s.data = index_count == 0 ? 0 : indices[r.below(index_count)];
        if (r.one_in(8)) s.data ^= 1u << r.small(11);
        if (r.one_in(16)) s.data = static_cast<std::uint32_t>(r());
        if (r.one_in(16)) s.data = (1u << int_tab_len) - r.small(2);
        if (r.one_in(5)) s.data = (s.data & 0xff) | r.small(8) << 8;
        if (r.one_in(4)) s.data |= static_cast<std::uint32_t>(r()) & 0xfffff800;
        return s;
    }

private:
    random_bits* random = nullptr;
    arena* a = nullptr;
    unit built;
    bool full_rights = true;

    // Most requests are of the first device. The others lead into the same tables, if they lead anywhere.
    static constexpr unsigned device_count = 3;
    std::uint16_t devices[device_count]{};
    std::uint64_t entry_at[device_count]{};
    std::uint64_t entry[4]{}; // the first device's

    std::uint64_t path[320]{}; // where the words stand that lead to the pages
    std::size_t path_length = 0;
    std::size_t tables_from = 0; // the first of them that is a page table's or GCR3's
    std::size_t tables_to = 0;

    std::uint64_t root = 0;   // of host tables
    std::uint64_t region = 0; // where guest physical addresses are
    std::uint64_t gcr3 = 0;
    unsigned glx = 0;
    bool giov = false;
    static constexpr unsigned space_count = 2;
    std::uint32_t pasids[space_count]{};
    std::uint64_t roots[space_count]{}; // of guest tables

    struct target {
        std::uint64_t address = 0;
        unsigned lg2 = 12;
        bool guest = false;
        std::uint32_t pasid = 0;
    };
    target targets[8];
    unsigned target_count = 0;

    unsigned int_tab_len = 0;
    std::uint64_t int_tab = 0;
    std::uint32_t indices[6]{};
    unsigned index_count = 0;

    bool nested() const { return kind == by_both; }
    bool yes(std::uint64_t n) { return yes_of(*random, n); } // all but once in n times
    static bool yes_of(random_bits& r, std::uint64_t n) { return r.below(n) != 0; }

    void put(std::uint64_t at, std::uint64_t value) {
        if (!a->make(at)) return;
        a->poke(at, value);
        a->changes = 0;
        if (path_length < 320) path[path_length++] = at;
    }

    // A system address for something of 2^lg2 bytes of which the byte at `offset` is used. Rarely it lies in what is there.
    std::uint64_t place(unsigned lg2, std::uint64_t offset) {
        std::uint64_t at = 0;
        if (lg2 == 12 && path_length != 0 && random->one_in(200)) return align(path[random->below(path_length)], 12);
        for (unsigned tries = 0; tries < 4; ++tries) {
            at = (*random)();
            if (random->one_in(4)) at = random->any_width();
            at = align(at & 0x000fffffffffffff, lg2);
            if (!a->has(at + offset)) break;
        }
        return at;
    }

    // Some of the indices are 0, so that levels can be skipped.
    std::uint64_t random_address(unsigned top) {
        std::uint64_t at = (*random)();
        for (unsigned level = 1; level <= top; ++level)
            if (random->one_in(level == 1 ? 8 : 3)) at &= ~(std::uint64_t{0x1ff} << (12 + 9 * (level - 1)));
        if (random->one_in(16)) at = random->any_width();
        if (random->one_in(16)) at = random->below(2) - 1;
        return inside(at, least(12 + 9 * top, 64));
    }

    // --- the device table ---

    void choose_devices() {
        unsigned const n = amdvi_model::segment_bits(u);
        unsigned largest[8]{};
        for (unsigned i = 0; i < device_count; ++i) {
            devices[i] = static_cast<std::uint16_t>(random->one_in(2) ? random->any_width() : (*random)());
            if (i != 0 && random->one_in(2)) devices[i] = static_cast<std::uint16_t>(devices[0] ^ (1 + random->below(7)));
            unsigned const segment = devices[i] >> (16 - n);
            unsigned const index = devices[i] & (0xffffu >> n);
            if (index > largest[segment]) largest[segment] = index;
        }
        for (unsigned i = 0; i < 8; ++i) {
            std::uint64_t& base = u.devtab_base[i];
            base = place(12, std::uint64_t{largest[i]} * 32);
            unsigned size = largest[i] / 128;
            if (random->one_in(3)) size += random->small(512 - size);
            if (random->one_in(40) && size != 0) --size;
            base |= size;
            if (random->one_in(8)) base |= (*random)() & 0xfff0000000000e00;
        }
        for (unsigned i = 0; i < device_count; ++i) {
            std::uint64_t const base = u.devtab_base[devices[i] >> (16 - n)] & 0x000ffffffffff000;
            entry_at[i] = base + std::uint64_t{devices[i] & (0xffffu >> n)} * 32;
        }
    }

    void choose_entries() {
        std::uint64_t& w0 = entry[0];
        std::uint64_t& w1 = entry[1];
        std::uint64_t& w2 = entry[2];
        std::uint64_t& w3 = entry[3];
        w0 = 3;
        if (bit(u.efr2, 0) && random->one_in(4)) set_bits(w0, 6, 4, random->below(8));
        unsigned const hads[] = {0, 1, 3, 3, 3, 3};
        unsigned had = random->pick(hads);
        if (!bit(u.efr, 52) && had == 3) had = 1;
        if (!bit(u.efr, 49)) had = 0;
        set_bits(w0, 8, 7, had);
        set_bits(w0, 11, 9, mode);
        if (mode != 0) w0 |= root;
        if (mode == 0 && bits(u.efr, 11, 10) != 3 && random->one_in(3)) w0 |= (*random)() & 0x000ffffffffff000;
        set_bits(w0, 52, 52, random->below(2));
        if (bit(u.efr, 50)) set_bits(w0, 53, 53, random->below(2));
        set_bits(w0, 61, 61, yes(full_rights ? 40 : 8));
        set_bits(w0, 62, 62, yes(full_rights ? 24 : 6));

        w1 = random->below(0x10000);
        w1 |= (*random)() & (std::uint64_t{1} << 33 | std::uint64_t{7} << 37);
        set_bits(w1, 32, 32, u.iotlb && yes(8));
        set_bits(w1, 34, 34, random->one_in(8));
        set_bits(w1, 36, 35, random->below(3));
        set_bits(w1, 41, 40, random->below(4));
        if (bit(u.efr, 31)) set_bits(w1, 42, 42, random->one_in(4));

        w2 = (*random)() & (std::uint64_t{1} << 5 | std::uint64_t{0xf} << 56 | std::uint64_t{3} << 62);
        set_bits(w2, 0, 0, yes(16));
        set_bits(w2, 4, 1, int_tab_len);
        w2 |= int_tab;
        unsigned const int_ctls[] = {2, 2, 2, 2, 2, 2, 1, 0};
        set_bits(w2, 61, 60, random->pick(int_ctls));

        w3 = (*random)() & (std::uint64_t{1} << 53);
        if ((bit(u.efr, 55) || bit(u.efr, 63)) && random->one_in(2)) w3 |= (*random)() & 0x0000ffffffffcfff;
        if (bit(u.efr, 51)) set_bits(w3, 55, 54, random->below(4));
        if (bit(u.efr, 47)) set_bits(w3, 63, 56, random->below(256));

        if (levels != 0) {
            set_bits(w0, 55, 55, 1);
            set_bits(w0, 54, 54, giov);
            set_bits(w0, 57, 56, glx);
            set_bits(w0, 60, 58, gcr3 >> 12);
            set_bits(w1, 31, 16, gcr3 >> 15);
            set_bits(w1, 63, 43, gcr3 >> 31);
            set_bits(w2, 55, 54, levels - 4);
        } else if (bit(u.efr, 4) && random->one_in(4)) { // not looked at without GV
            w0 |= (*random)() & (std::uint64_t{0x1f} << 56);
            w1 |= (*random)() & 0xfffff800ffff0000;
            set_bits(w2, 55, 54, random->below(4));
            if (bit(u.efr, 48)) set_bits(w0, 54, 54, random->below(2));
        }

        for (unsigned i = device_count; i-- > 0;) {
            std::uint64_t d[4] = {w0, w1, w2, w3};
            if (i != 0) vary(d);
            for (unsigned j = 0; j < 4; ++j)
                put(entry_at[i] + 8 * j, d[j]);
        }
    }
    // Another device's entry. Each combination of V, TV, Mode, GV and GIoV occurs.
    void vary(std::uint64_t (&d)[4]) {
        set_bits(d[0], 0, 0, yes(5));
        set_bits(d[0], 1, 1, yes(5));
        if (random->one_in(3)) set_bits(d[0], 11, 9, 0);
        if (random->one_in(8)) set_bits(d[0], 11, 9, random->below(8));
        if (random->one_in(3)) set_bits(d[0], 55, 55, bit(u.efr, 4) && random->one_in(2));
        if (random->one_in(3)) set_bits(d[0], 54, 54, bit(u.efr, 48) && random->one_in(2));
        if (random->one_in(4)) set_bits(d[0], 62, 61, random->below(4));
        if (random->one_in(3)) set_bits(d[1], 15, 0, random->below(0x10000));
        if (random->one_in(3)) set_bits(d[1], 41, 32, (*random)() & ~std::uint64_t{0x18});
        if (!u.iotlb && yes(8)) set_bits(d[1], 32, 32, 0);
        if (random->one_in(16)) d[0] = (*random)() << 1; // V=0, and then anything
        if (random->one_in(4)) set_bits(d[2], 61, 56, random->below(48));
        if (random->one_in(4)) set_bits(d[2], 0, 0, 0);
        if (random->one_in(8)) d[random->below(4)] ^= std::uint64_t{1} << random->below(64);
    }

    std::uint16_t next_device(random_bits& r) {
        if (r.one_in(160)) return static_cast<std::uint16_t>(r());
        if (r.one_in(160)) return static_cast<std::uint16_t>(devices[0] ^ 1u << r.small(16));
        if (r.one_in(160)) { // at the end of the table
            unsigned const n = amdvi_model::segment_bits(u);
            unsigned const segment = devices[0] >> (16 - n);
            unsigned const count = (bits(u.devtab_base[segment], 8, 0) + 1) * 128;
            return static_cast<std::uint16_t>((std::uint64_t{segment} << (16 - n)) + count - r.small(2));
        }
        return devices[r.one_in(5) ? 1 + r.small(device_count - 1) : 0];
    }

    void choose_exclusion() {
        u.exclusion_base = (*random)() & 0xffe;
        u.exclusion_limit = (*random)() & 0xfff;
        if (random->one_in(4)) return;
        u.exclusion_base |= !random->one_in(4);
        std::uint64_t first = (*random)() & 0x000ffffffffff000;
        if (random->one_in(2)) first &= 0xfffff000;
        if (target_count != 0 && random->one_in(5)) first = targets[random->below(target_count)].address & 0x000ffffffffff000;
        std::uint64_t last = first + (random->one_in(2) ? 0 : random->below(64) << 12);
        if (random->one_in(8)) last = first - 4096;
        u.exclusion_base |= first;
        u.exclusion_limit |= last & 0x000ffffffffff000;
    }

    // --- host tables ---

    std::uint64_t host_flags(bool leaf, bool of_tables) {
        std::uint64_t e = (*random)() & 0x800000000000019e; // ignored, and bits 4:1
        if (random->one_in(2)) e |= 0x20;
        if (random->one_in(2)) e |= 0x40;
        if (leaf) e |= random->below(4) << 59;
        if (leaf && u.page_migration) e |= random->below(4) << 57;
        std::uint64_t rights = 3;
        unsigned const some[] = {1, 1, 1, 2, 0};
        if (random->one_in(of_tables ? 40 : full_rights ? 24 : 5)) rights = random->pick(some);
        return e | rights << 61 | 1;
    }
    // The way of an address through the host's tables, as far as it is not there yet: to what comes out.
    std::uint64_t map_host(std::uint64_t address, bool of_tables, unsigned* size = nullptr) {
        if (beyond(address, 12 + 9 * mode)) return place(12, 0);
        unsigned wanted = 1;
        if (random->one_in(2)) wanted = 1 + random->small(least(mode, 5));
        if (of_tables && wanted > 2) wanted = 1 + random->small(2); // others shall have other pages
        if (of_tables && mode == 1) wanted = 1;
        if (mode == 6 && random->one_in(60)) wanted = 6;
        std::uint64_t table = root;
        for (unsigned level = mode;;) {
            unsigned const shift = 12 + 9 * (level - 1);
            std::uint64_t const slot = address >> shift & (level == 6 ? 0x7f : 0x1ff);
            std::uint64_t const at = table + 8 * slot;
            std::uint64_t const old = a->peek(at);
            if (bit(old, 0)) {
                unsigned const next = bits(old, 11, 9);
                if (next == 0 || next == 7) {
                    unsigned const lg2 = next == 0 ? shift : amdvi_model::size_code(old);
                    if (size != nullptr) *size = lg2;
                    return align(old & 0x000ffffffffff000, lg2) | inside(address, lg2);
                }
                if (next >= level) return place(12, 0);
                if (align(inside(address, shift), 12 + 9 * next) != 0) return place(12, 0); // skipped, by another address
                table = old & 0x000ffffffffff000;
                level = next;
                continue;
            }
            std::uint64_t e = host_flags(level <= wanted, of_tables && level <= wanted);
            if (level > wanted) {
                unsigned next = level - 1;
                // Levels whose indices are all 0 can be skipped. Where guest tables are, those of a whole region are.
                if (random->one_in(2))
                    while (next > wanted && next > (nested() && yes(16) ? 2u : 1u) &&
                           align(inside(address, shift), 12 + 9 * (next - 1)) == 0)
                        --next;
                if (random->one_in(160)) next = level - 1 - random->small(level - 1);
                std::uint64_t const below = place(12, 8 * (address >> (12 + 9 * (next - 1)) & 0x1ff));
                bool const up = random->one_in(120); // to a level that is not below
                put(at, e | below | std::uint64_t{up ? level + random->small(7 - level) : next} << 9);
                if (up) return place(12, 0);
                table = below;
                level = next;
                continue;
            }
            unsigned lg2 = shift;
            bool const coded = random->one_in(3) && !(of_tables && level > 1);
            if (coded) lg2 = shift + 1 + random->small(least(shift + 8, 51) > shift ? least(shift + 8, 51) - shift : 1);
            if (coded && random->one_in(40)) lg2 = least(shift + 9, 52); // more than the level has
            std::uint64_t const base = place(lg2, inside(address, lg2));
            if (size != nullptr) *size = lg2;
            if (!coded) {
                if (shift > 12 && random->one_in(4)) e |= inside((*random)(), shift) & ~std::uint64_t{0xfff}; // not looked at
                put(at, e | base);
                return base | inside(address, lg2);
            }
            e |= 7u << 9 | (((base | (lg2 > 63 ? 0 : (std::uint64_t{1} << lg2) - 1)) & ~(std::uint64_t{1} << (lg2 - 1))) &
                            0x000ffffffffff000);
            put(at, e);
            // The same in every slot that the page has, unless that is in use.
            std::uint64_t const slots = lg2 - shift > 8 ? 256 : std::uint64_t{1} << (lg2 - shift);
            for (std::uint64_t other = slot / slots * slots, n = 0; n < slots; ++n) {
                std::uint64_t const twin = table + 8 * (other + n);
                if (!bit(a->peek(twin), 0)) a->poke(twin, e);
            }
            a->changes = 0;
            return base | inside(address, lg2);
        }
    }

    // --- guest tables ---

    // A guest physical address, within what the host's tables cover.
    std::uint64_t place_guest(unsigned lg2) {
        std::uint64_t const at = (region & ~std::uint64_t{0x3ffffff}) + ((*random)() & 0x3ffffff);
        return align(inside(at & 0x000fffffffffffff, least(12 + 9 * mode, 64)), lg2);
    }
    std::uint64_t place_table(bool behind, std::uint64_t offset) { return behind ? place_guest(12) : place(12, offset); }
    // Where the word at an address of the guest's stands.
    std::uint64_t host(std::uint64_t at, bool behind) { return behind ? map_host(at, true) : at; }

    void place_gcr3() {
        unsigned const most = least(bits(u.efr, 15, 14), 2);
        glx = random->small(most + 1);
        giov = bit(u.efr, 48) && random->one_in(2);
        unsigned const width = least(least(9 * (glx + 1), amdvi_model::pasid_width(u)), 20);
        bool const root_behind = nested() && amdvi_model::guest_gcr3_root(u);
        bool const behind = u.gcr3_pointers_as_root ? root_behind : nested();
        pasids[0] = static_cast<std::uint32_t>((*random)() & ((1u << width) - 1));
        if (random->one_in(4)) pasids[0] = static_cast<std::uint32_t>(random->any_width() & ((1u << width) - 1));
        if (pasids[0] == 0) pasids[0] = 1;
        pasids[1] = giov || random->one_in(3) ? 0 : pasids[0] ^ 1u << random->small(width);
        gcr3 = place_table(root_behind, 8 * (pasids[0] >> (9 * glx)));
        for (unsigned i = 0; i < space_count; ++i) {
            std::uint64_t table = gcr3;
            for (unsigned level = glx;; --level) {
                std::uint64_t const index = pasids[i] >> (9 * level) & 0x1ff;
                std::uint64_t const at = host(table + 8 * index, level == glx ? root_behind : behind);
                std::uint64_t const old = a->peek(at);
                bool const last = level == 0;
                if (bit(old, 0)) {
                    table = old & 0x000ffffffffff000;
                } else {
                    std::uint64_t const below = place_table(last ? nested() : behind, 0);
                    put(at, below | 1);
                    table = below;
                }
                if (last) break;
            }
            roots[i] = table;
        }
    }
    std::uint64_t guest_flags(unsigned level, bool leaf) {
        std::uint64_t e = (*random)() & 0x7ff0000000000f18; // ignored, PWT and PCD
        if (random->one_in(2)) e |= 0x20;
        if (random->one_in(2)) e |= 0x40;
        e |= 7;
        if (random->one_in(full_rights ? 24 : 5)) e &= ~std::uint64_t{2};
        if (random->one_in(full_rights ? 32 : 5)) e &= ~std::uint64_t{4};
        if (bit(u.efr, 3) && random->one_in(full_rights ? 16 : 4)) e |= std::uint64_t{1} << 63;
        if (leaf && level == 1) e |= random->below(2) << 7;
        if (leaf && level != 1) e |= 0x80 | random->below(2) << 12;
        return e;
    }
    void map_guest(std::uint64_t table, std::uint64_t address, unsigned& size) {
        unsigned const wanted = random->one_in(2) ? 1 : 1 + random->small(3);
        for (unsigned level = levels;; --level) {
            unsigned const shift = 12 + 9 * (level - 1);
            std::uint64_t const at = host(table + 8 * (address >> shift & 0x1ff), nested());
            std::uint64_t const old = a->peek(at);
            size = shift;
            if (bit(old, 0)) {
                if (level == 1 || bit(old, 7)) return;
                table = old & 0x000ffffffffff000;
                continue;
            }
            bool const leaf = level <= wanted;
            std::uint64_t const e = guest_flags(level, leaf);
            std::uint64_t output = 0;
            if (!leaf) {
                output = place_table(nested(), 8 * (address >> (shift - 9) & 0x1ff));
            } else if (nested()) {
                output = place_guest(shift);
                if (random->one_in(16)) output = align(roots[0], shift); // the tables themselves
                if (random->one_in(24)) output = place(shift, 0);        // perhaps too far
            } else {
                output = place(shift, 0);
            }
            put(at, e | output);
            if (leaf) {
                if (nested() && yes(10)) map_host(output | inside(address, shift), false, nullptr);
                return;
            }
            table = output;
        }
    }

    void add_targets() {
        std::uint64_t near[space_count + 1]{};
        unsigned const count = kind == by_none ? 2 : nested() ? 5 : 6;
        for (unsigned n = 0; n < count; ++n) {
            target t;
            // Requests without a PASID go to the host's tables, unless GIoV is set.
            t.guest = levels != 0 && (yes(nested() ? 4 : 8) || giov);
            unsigned space = space_count;
            if (t.guest) {
                space = random->small(space_count);
                t.pasid = pasids[space];
            }
            unsigned const width = t.guest ? 12 + 9 * levels : mode != 0 ? least(12 + 9 * mode, 64) : 52;
            t.address = t.guest ? (*random)() : random_address(mode != 0 ? mode : 6);
            if (t.guest && random->one_in(6)) t.address = random->any_width();
            if (t.guest && random->one_in(12)) t.address = random->below(2) - 1;
            if (nested() && !t.guest) t.address = place_guest(12);
            if (near[space] != 0 && yes(3)) t.address = near[space] ^ random->below(8) << (random->one_in(2) ? 12 : 21);
            t.address = inside(t.address, width);
            near[space] = t.address;
            if (t.guest) {
                if (t.pasid != 0 && bit(t.address, width - 1)) t.address |= ~std::uint64_t{0} << (width - 1);
                map_guest(roots[space], t.address, t.lg2);
            } else if (mode != 0) {
                map_host(t.address, false, &t.lg2);
            }
            targets[target_count++] = t;
        }
        tables_to = path_length;
    }

    // --- interrupts ---

    void place_interrupts() {
        int_tab_len = random->one_in(3) ? random->small(12) : 7 + random->small(5);
        bool const wide = amdvi_model::wide_irtes(u);
        int_tab = place(random->one_in(4) ? 7 : 12, 0);
        if (random->one_in(32)) int_tab |= 0x40;
        unsigned const reach = amdvi_model::many_irtes(u) ? int_tab_len : least(int_tab_len, 9);
        index_count = 6;
        for (std::uint32_t& index : indices) {
            index = random->small(1u << reach);
            if (random->one_in(8)) index = (1u << reach) - 1;
            std::uint64_t const at = int_tab + std::uint64_t{index} * (wide ? 16 : 4);
            std::uint64_t low = (*random)() & 0xff60;
            std::uint64_t high = random->below(256);
            low |= yes(10);
            low |= std::uint64_t{random->one_in(3)} << 1 | random->below(2) << 2;
            if (random->one_in(32)) set_bits(low, 4, 2, random->below(8));
            if (!wide) {
                low |= high << 16;
                if (random->one_in(32)) low ^= std::uint64_t{1} << random->below(32);
                std::uint64_t word = a->peek(align(at, 3));
                if (bit(at, 2))
                    set_bits(word, 63, 32, low);
                else
                    set_bits(word, 31, 0, low);
                put(align(at, 3), word);
                continue;
            }
            if (amdvi_model::wide_destinations(u)) {
                set_bits(low, 31, 16, (*random)());
                set_bits(high, 63, 56, (*random)());
            }
            if (random->one_in(3) && bits(u.efr, 23, 21) != 0) {
                low |= 0x80;
                set_bits(low, 5, 2, random->below(4));
                set_bits(low, 63, 32, (*random)());
                set_bits(high, 51, 12, (*random)());
            }
            if (random->one_in(24)) low ^= std::uint64_t{1} << random->below(64);
            if (random->one_in(48)) high ^= std::uint64_t{1} << random->below(64);
            put(at, low);
            put(at + 8, high);
        }
    }
    void spoil_interrupts() {
        bool const wide = amdvi_model::wide_irtes(u);
        for (unsigned n = 0; n < 3; ++n) {
            std::uint64_t const index = indices[random->below(index_count)];
            std::uint64_t const at = align(int_tab + index * (wide ? 16 : 4), 3) + (wide && random->one_in(3) ? 8 : 0);
            std::uint64_t word = a->peek(at);
            switch (random->below(6)) {
            case 0: word ^= std::uint64_t{1} << random->below(64); break;
            case 1: word ^= std::uint64_t{1} << random->below(8); break;
            case 2: word = (*random)(); break;
            case 3: word = ~std::uint64_t{0}; break;
            case 4: word ^= std::uint64_t{0x80} | (random->one_in(2) ? 0 : std::uint64_t{0x80} << 32); break;
            default: word &= ~(std::uint64_t{1} << 32 | 1); break;
            }
            a->poke(at, word);
        }
        switch (random->below(4)) {
        case 0: change(2, 61, 60, random->below(4)); break;
        case 1: change(2, 4, 1, random->below(16)); break;
        case 2: a->poke(entry_at[0] + 24, a->peek(entry_at[0] + 24) ^ std::uint64_t{1} << random->below(64)); break;
        default: change(2, 53, 52, random->below(4)); break;
        }
    }

    // --- questions ---

    void choose_address(random_bits& r, ask& q) {
        target const& t = targets[r.below(target_count)];
        q.address = t.address;
        if (t.guest) {
            q.has_pasid = !(giov && t.pasid == 0) || r.one_in(4);
            q.pasid = q.has_pasid ? t.pasid : 0;
        }
        if (r.one_in(40)) {
            q.has_pasid = !q.has_pasid;
            q.pasid = q.has_pasid ? pasids[r.below(space_count)] : 0;
        }
        if (q.has_pasid && r.one_in(24)) q.pasid = other_pasid(r);
        unsigned const width = t.guest ? 12 + 9 * levels : mode != 0 ? least(12 + 9 * mode, 64) : 52;
        if (r.one_in(4)) q.address ^= r.below(4096);
        if (r.one_in(12)) q.address ^= inside(r(), t.lg2);                 // in the same page, far away
        if (r.one_in(24)) q.address ^= std::uint64_t{1} << r.below(width); // beside it
        if (r.one_in(48)) q.address = inside(r.below(2) - 1, width);       // the edges
        if (width < 64 && r.one_in(64)) q.address = std::uint64_t{1} << width;
        if (width < 64 && r.one_in(64)) q.address ^= std::uint64_t{1} << (width + r.below(64 - width)); // out of range
        if (t.guest && r.one_in(64)) q.address ^= ~std::uint64_t{0} << (width - r.below(2));            // or sign-extended
        if (r.one_in(100)) q.address = r.any_width();
        if (r.one_in(200)) q.address = ~std::uint64_t{0} - r.below(2) * 0xfff;
        if (r.one_in(u.ht_reserved ? 20 : 40)) choose_special(r, q);
    }
    // What may be more than memory.
    void choose_special(random_bits& r, ask& q) {
        if (r.one_in(4)) q.has_pasid = !q.has_pasid;
        if (yes_of(r, 3)) q.has_pasid = false;
        if (!q.has_pasid) q.pasid = 0;
        if (r.one_in(2)) {
            q.read = q.execute = false;
            q.write = true;
        }
        std::uint64_t const edges[] = {0xfdf8000000, 0xfdf8ffffff, 0xfdf9100000, 0xfdf91fffff, 0xfdfc000000,
                                       0xfdfdffffff, 0xfd00000000, 0xffffffffff, 0xfee00000,   0xfeefffff};
        std::uint64_t const first = u.exclusion_base & 0x000ffffffffff000;
        std::uint64_t const last = (u.exclusion_limit & 0x000ffffffffff000) | 0xfff;
        switch (r.below(u.ht_reserved ? 10 : 6)) {
        case 0: q.address = r.pick(edges) - 2 + r.below(5); break;
        case 1: q.address = 0xfee00000 + r.below(0x100000); break;
        case 2: q.address = 0xfd00000000 + r.below(0x300000000); break;
        case 3: q.address = first - 1 + r.below(2); break;
        case 4: q.address = last + r.below(2); break;
        case 5: q.address = first + (last > first ? r.below(last - first + 1) : 0); break;
        case 6: q.address = r.pick(edges) + r.below(0x80000); break;
        default: q.address = (r.one_in(2) ? 0xfdf8000000 : r.one_in(2) ? 0xfdf9100000 : 0xfdfc000000) + r.below(0x100000); break;
        }
    }
    std::uint32_t other_pasid(random_bits& r) {
        unsigned const width = amdvi_model::pasid_width(u);
        std::uint32_t const others[] = {0,
                                        1,
                                        1u << least(9 * (glx + 1), 19),
                                        (1u << least(9 * (glx + 1), 19)) - 1,
                                        1u << least(width, 19),
                                        pasids[0] ^ 1u << r.small(20),
                                        r.small(1u << 20)};
        return r.pick(others);
    }

    // --- changes ---

    // A field of the first device's entry.
    void change(unsigned word, unsigned high, unsigned low, std::uint64_t value) {
        std::uint64_t const at = entry_at[0] + 8 * word;
        std::uint64_t e = a->peek(at);
        set_bits(e, high, low, value);
        a->poke(at, e);
    }

    // What a hostile guest or a broken one does.
    void mutate_table() {
        if (tables_to == tables_from) return;
        std::size_t const length = tables_to - tables_from;
        std::uint64_t const count = random->one_in(3) ? 2 : 1;
        for (std::uint64_t i = 0; i < count; ++i) {
            bool const upper = random->one_in(4); // the words that were put first are near the roots
            std::size_t const reach = least(static_cast<unsigned>(length), 4);
            std::uint64_t const at = path[tables_from + random->below(upper ? reach : length)];
            std::uint64_t word = a->peek(at);
            std::uint64_t const other = path[tables_from + random->below(length)];
            switch (random->below(21)) {
            case 0: word ^= std::uint64_t{1} << random->below(64); break;
            case 1: word ^= std::uint64_t{1} << random->below(12); break;
            case 2: word = (word & 0xfff0000000000fff) | (other & 0x000ffffffffff000); break; // a loop
            case 3: word = (word & 0xfff0000000000fff) | (at & 0x000ffffffffff000); break;    // the table itself
            case 4: set_bits(word, 11, 9, random->below(8)); break;
            case 5:
                set_bits(word, 11, 9, 7);
                set_bits(word, 12 + random->small(40), 12, ~std::uint64_t{0});
                break;
            case 6: word |= std::uint64_t{1} << (52 + random->below(9)); break;
            case 7: word = 0; break;
            case 8: word = ~std::uint64_t{0}; break;
            case 9: word = (*random)(); break;
            case 10: word = (*random)() | 1; break;
            case 11: word ^= (random->below(3) + 1) << 5; break;
            case 12: word ^= (random->below(3) + 1) << 61; break;
            case 13: word ^= (random->below(3) + 1) << 1; break;
            case 14: word ^= std::uint64_t{1} << 63; break;
            case 15: word ^= 0x80; break;
            case 16: word ^= 1; break;
            case 17: word = (word & 0xfff0000000000fff) | ((*random)() & 0x000ffffffffff000); break;
            case 18: word |= std::uint64_t{1} << (12 + random->below(18)); break; // inside a large page
            case 19:                                                              // two things at once
                word |= std::uint64_t{1} << (52 + random->below(5));
                word &= ~((1 + random->below(3)) << 61);
                break;
            default: word = (word & 0xfff0000000000fff) | (random->any_width() & 0x000ffffffffff000); break;
            }
            a->poke(at, word);
        }
    }

    // What ILLEGAL_DEV_TABLE_ENTRY is for, one after the other; and what other fields do.
    void spoil_entry() {
        switch (random->below(36)) {
        case 0: change(0, 3, 2, 1 + random->below(3)); break;
        case 1: change(0, 63, 63, 1); break;
        case 2:
            u.efr2 &= ~std::uint64_t{1};
            change(0, 6, 4, random->below(8));
            break;
        case 3: change(0, 8, 7, random->below(4)); break;
        case 4:
            set_bits(u.efr, random->one_in(2) ? 49 : 52, 49, 0);
            change(0, 8, 7, 1 + random->below(3));
            break;
        case 5: set_bits(u.efr, 50, 50, 0); break;
        case 6: set_bits(u.efr, 48, 48, 0); break;
        case 7: set_bits(u.efr, 4, 4, 0); break;
        case 8: // one part of what is the guest's
            set_bits(u.efr, 4, 4, 0);
            change(0, 60, 54, 0);
            change(1, 31, 16, 0);
            change(1, 63, 43, 0);
            change(2, 55, 54, 0);
            switch (random->below(7)) {
            case 0: change(0, 55, 55, 1); break;
            case 1: change(0, 57, 56, 1 + random->below(3)); break;
            case 2: change(0, 60, 58, 1 + random->below(7)); break;
            case 3: change(1, 31, 16, random->below(0x10000)); break;
            case 4: change(1, 63, 43, random->below(0x200000)); break;
            case 5: change(2, 55, 54, random->below(4)); break;
            default: break;
            }
            break;
        case 9:
        case 10: set_bits(u.control, 16, 16, 0); break; // GTEn
        case 11:
            u.iotlb = false;
            change(1, 32, 32, 1);
            break;
        case 12:
            set_bits(u.efr, 31, 31, 0);
            change(1, 42, 42, 1);
            break;
        case 13: change(1, 36, 35, 3); break;
        case 14: change(0, 11, 9, 7); break;
        case 15:
            set_bits(u.efr, 11, 10, random->below(3));
            change(0, 11, 9, 5 + bits(u.efr, 11, 10));
            break;
        case 16:
            set_bits(u.efr, 11, 10, 3);
            if (random->one_in(2)) change(0, 11, 9, 0);
            if (random->one_in(2)) change(0, 51, 12, 0);
            break;
        case 17: change(0, 8, 7, 2); break;
        case 18:
            u.snp = true;
            if (random->one_in(2)) change(0, 11, 9, 0);
            break;
        case 19: change(0, 57, 56, random->below(4)); break;
        case 20: set_bits(u.efr, 15, 14, random->below(3)); break;
        case 21: change(2, 55, 54, random->below(4)); break;
        case 22: set_bits(u.efr, 13, 12, 0); break;
        case 23: change(0, 55, 54, random->below(4)); break;
        case 24: change(0, 11, 9, random->below(7)); break;
        case 25: change(0, 1, 0, random->below(4)); break;
        case 26: change(0, 62, 61, random->below(4)); break;
        case 27: change(1, 32, 32, random->below(2)); break;
        case 28: change(1, 34, 33, random->below(4)); break;
        case 29: set_bits(u.efr, 36, 32, random->below(20)); break;
        case 30: set_bits(u.devtab_base[devices[0] >> (16 - amdvi_model::segment_bits(u))], 8, 0, random->below(512)); break;
        case 31: set_bits(u.control, 36, 34, random->below(8)); break;
        case 32: change(1, 39, 39, 1); break;
        case 33: change(random->small(4), 63, 0, (*random)()); break;
        default: {
            std::uint64_t const at = entry_at[0] + 8 * random->below(4);
            a->poke(at, a->peek(at) ^ std::uint64_t{1} << random->below(64));
            break;
        }
        }
    }

    void mutate_unit() {
        switch (random->below(14)) {
        case 0: u.efr ^= std::uint64_t{1} << random->below(64); break;
        case 1: u.efr2 ^= std::uint64_t{1} << random->below(12); break;
        case 2: u.control ^= std::uint64_t{1} << random->below(64); break;
        case 3: u.control &= ~std::uint64_t{1}; break;
        case 4: u.control ^= std::uint64_t{1} << 58; break; // GCR3TRPMode
        case 5: u.gcr3_pointers_as_root = !u.gcr3_pointers_as_root; break;
        case 6: u.efr ^= 8; break; // NXSup
        case 7: u.control ^= std::uint64_t{1} << 54; break;
        case 8: u.control ^= std::uint64_t{1} << 48; break;
        case 9: u.efr ^= std::uint64_t{1} << 37; break; // USSup
        case 10: u.control ^= std::uint64_t{1} << 17; break;
        case 11: u.control ^= std::uint64_t{1} << 43; break;
        case 12: u.devtab_base[random->below(8)] = random->any_width(); break;
        default: u.page_migration = !u.page_migration; break;
        }
    }

    // Memory that fails, and somebody else who writes into it.
    void disturb() {
        if (path_length == 0) return;
        std::size_t const at = a->index(path[random->below(tables_to == 0 || random->one_in(3) ? path_length : tables_to)]);
        if (at == static_cast<std::size_t>(arena::none)) return;
        switch (random->below(9)) {
        case 0: a->bad_page = at / 512; break;
        case 1:
        case 2: a->bad_word = at; break;
        case 3: a->locked = at / 512; break;
        case 4: a->all_locked = true; break;
        case 5:
        case 6:
        case 7: {
            a->rival_at = random->below(6);
            std::uint64_t const masks[] = {0x20,
                                           0x40,
                                           0x2,
                                           std::uint64_t{1} << 61,
                                           std::uint64_t{1} << 62,
                                           std::uint64_t{1} << 63,
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

} // namespace amdvi_arena
