// A naive interpreter of VT-d legacy mode, from the specification alone: it includes nothing of the library and shares
// no code with it. Plain integers, one test after the other in the specification's order, bits by their printed
// numbers. Slow and dull on purpose: where it and the library disagree, one of them misreads the specification.
#pragma once

#include <cstdint>
#include <functional>

namespace vtd_model {

// Reads the 64-bit word at an address; false where there is none.
using memory = std::function<bool(std::uint64_t address, std::uint64_t& value)>;

struct unit {
    std::uint64_t cap = 0;    // CAP_REG
    std::uint64_t ecap = 0;   // ECAP_REG
    unsigned haw = 0;         // host address width in bits
    std::uint64_t rtaddr = 0; // RTADDR_REG as latched
    bool on = true;           // GSTS.TES
    bool ranges = true;       // FEEx_xxxxh is special
    bool each_entry = false;  // rights are looked at entry by entry, before reserved bits
    bool largest = false;     // pass-through wants the largest supported AW
};

enum kind { untranslated = 0, translation = 1, translated = 2, page_request = 3 };

struct ask {
    std::uint32_t source = 0;
    std::uint64_t address = 0;
    bool read = false;
    bool write = false;
    int type = untranslated;
    bool has_pasid = false;
    std::uint32_t bytes = 4;
    bool no_write = false;
};

enum way { walked = 0, bypassed = 1, interrupt = 2 };
enum place { at_context = 0, at_table = 1, at_input = 2 };

struct answer {
    bool ok = false;
    // success
    std::uint64_t output = 0;
    std::uint64_t attributes = 0; // bit 0 R, bit 1 W, EMT 5:3, IPAT 6, SNP 11
    unsigned lg2 = 0;
    int by = walked;
    // fault
    unsigned code = 0;
    int stage = 0;
    int at = at_context;
    int level = -1; // 0 = the level of 4 KiB pages, -1 = no table entry
    bool reported = true;
    std::uint64_t input = 0;
    std::uint64_t descriptor = 0;
    std::uint64_t entry = 0;
};

inline bool bit(std::uint64_t word, unsigned number) { return (word >> number & 1) != 0; }

// Bits 20:12 and the like: any of them set?
inline bool any_bit(std::uint64_t word, unsigned high, unsigned low) {
    for (unsigned i = low; i <= high; ++i)
        if (bit(word, i)) return true;
    return false;
}

// One second-stage table of 3, 4 or 5 levels. Without r and w nothing is asked for: the tables tell what they grant.
inline answer walk(unit const& u, unsigned levels, std::uint64_t root, std::uint64_t input, bool r, bool w, bool zero_length,
                   memory const& load) {
    answer a;
    a.stage = 2;
    a.input = input;

    // LGN.1.1: beyond min(MGAW, AGAW).
    unsigned const mgaw = static_cast<unsigned>(u.cap >> 16 & 63) + 1;
    unsigned const agaw = 12 + 9 * levels;
    if (any_bit(input, 63, mgaw < agaw ? mgaw : agaw)) {
        a.code = 0x4;
        a.at = at_input;
        return a;
    }

    bool const flush = zero_length && r && !w && bit(u.cap, 22);
    bool all_r = true;
    bool all_w = true;
    struct blame {
        bool set = false;
        int level = -1;
        std::uint64_t at = 0;
        std::uint64_t entry = 0;
    };
    blame lacks_r; // the first entry that does not grant reading
    blame lacks_w; // the first that does not grant writing
    std::uint64_t table = root;
    for (unsigned level = levels;; --level) { // 1 = PTE
        unsigned const shift = 12 + 9 * (level - 1);
        std::uint64_t const at = table + (input >> shift & 511) * 8;
        std::uint64_t e = 0;
        a.level = static_cast<int>(level) - 1;
        a.descriptor = at;
        a.entry = 0;
        if (!load(at, e)) {
            a.code = level == levels ? 0x3 : 0x7;
            a.at = at_table;
            return a;
        }
        a.entry = e;
        bool const er = bit(e, 0);
        bool const ew = bit(e, 1);
        if (!er && !ew) {
            a.code = w ? 0x5 : 0x6;
            a.at = at_input;
            return a;
        }
        if ((r && !er) || (w && !ew)) {
            if (r && !er && !lacks_r.set) lacks_r = {true, a.level, at, e};
            if (w && !ew && !lacks_w.set) lacks_w = {true, a.level, at, e};
            if (u.each_entry && !flush) {
                a.code = w && !ew ? 0x5 : 0x6;
                a.at = at_input;
                return a;
            }
        }

        bool const page_2m = level == 2 && bit(e, 7) && bit(u.cap, 34);
        bool const page_1g = level == 3 && bit(e, 7) && bit(u.cap, 35);
        bool const page = level == 1 || page_2m || page_1g;
        bool bad = bit(e, 62);
        if (u.haw <= 51) bad = bad || any_bit(e, 51, u.haw);
        if (level != 1 && !page) bad = bad || bit(e, 7) || bit(e, 11);
        if (page) bad = bad || (bit(e, 11) && !bit(u.ecap, 7));
        if (page_2m) bad = bad || any_bit(e, 20, 12);
        if (page_1g) bad = bad || any_bit(e, 29, 12);
        if (bad) {
            a.code = 0xc;
            a.at = at_table;
            return a;
        }

        all_r = all_r && er;
        all_w = all_w && ew;
        if (!page) {
            table = e & 0x000ffffffffff000;
            continue;
        }
        bool const no_w = w && !all_w;
        bool const no_r = r && !all_r && !(flush && all_w);
        if (no_w || no_r) {
            a.code = no_w ? 0x5 : 0x6;
            a.at = at_input;
            blame const& first = no_w ? lacks_w : lacks_r;
            a.level = first.level;
            a.descriptor = first.at;
            a.entry = first.entry;
            return a;
        }
        std::uint64_t const size = std::uint64_t{1} << shift;
        a.ok = true;
        a.output = (e & 0x000ffffffffff000) / size * size + input % size;
        a.attributes = (all_r ? 1u : 0u) + (all_w ? 2u : 0u) + (e & 0x878);
        a.lg2 = shift;
        a.by = walked;
        return a;
    }
}

// Whether the fault is written to the log: FPD suppresses the qualified ones, and what ATS tells the device is not
// logged.
inline answer reported_as(answer a, bool fpd, int type) {
    if (a.ok) return a;
    bool qualified = false;
    if (a.code >= 0x2 && a.code <= 0x7) qualified = true;
    if (a.code >= 0xb && a.code <= 0xe) qualified = true;
    bool const told = type == translation && (a.code == 0x4 || a.code == 0x5 || a.code == 0x6);
    a.reported = a.code != 0 && !(fpd && qualified) && !told;
    return a;
}

// One request, in the order of the specification's checks.
inline answer translate(unit const& u, ask const& q, memory const& load) {
    answer pass;
    pass.ok = true;
    pass.output = q.address;
    pass.attributes = 3;
    pass.lg2 = 64;
    pass.by = bypassed;
    answer f;
    f.input = q.address;

    // Translation off.
    if (!u.on) {
        if (q.type == untranslated) return pass;
        return reported_as(f, false, q.type);
    }

    // Without PASID to FEEx_xxxxh: never remapped.
    bool const in_range = u.ranges && q.address >= 0xfee00000 && q.address <= 0xfeefffff;
    if (in_range && !q.has_pasid && q.type == untranslated) {
        answer irq = pass;
        irq.attributes = 2;
        irq.by = interrupt;
        if (q.write && !q.read && q.bytes == 4) return irq;
        if (q.read && !q.write && q.bytes == 0) return pass;
        f.code = 0x29;
        f.at = at_input;
        return reported_as(f, false, q.type);
    }
    if (in_range && !q.has_pasid && q.type == translation) {
        answer irq = pass;
        irq.attributes = q.no_write && bit(u.ecap, 33) ? 0 : 2; // without NWFS, NW counts as 0
        irq.by = interrupt;
        return irq;
    }

    // The mode. A page request in legacy mode is 32h whether it carries a PASID or not: 31h does not apply to it.
    unsigned const ttm = static_cast<unsigned>(u.rtaddr >> 10 & 3);
    if (ttm == 1 && !bit(u.ecap, 43)) f.code = 0x30;
    if (ttm == 2) f.code = 0x30;
    if (ttm == 3) f.code = bit(u.ecap, 52) ? 0x33 : 0x30;
    if (ttm == 0) {
        if (bit(u.rtaddr, 7) && bit(u.ecap, 57)) {
            f.code = 0x30;
        } else if (q.type == page_request) {
            f.code = 0x32;
        } else if (q.has_pasid) {
            f.code = 0x31;
        }
    }
    if (f.code != 0) return reported_as(f, false, q.type);

    // Root entry.
    std::uint64_t const root_at = (u.rtaddr & ~std::uint64_t{0xfff}) + (q.source >> 8 & 0xff) * 16;
    std::uint64_t root_lo = 0;
    std::uint64_t root_hi = 0;
    f.descriptor = root_at;
    if (!load(root_at, root_lo) || !load(root_at + 8, root_hi)) {
        f.code = 0x8;
        return reported_as(f, false, q.type);
    }
    f.entry = root_lo;
    if (!bit(root_lo, 0)) {
        f.code = 0x1;
        return reported_as(f, false, q.type);
    }
    if (any_bit(root_lo, 11, 1) || any_bit(root_lo, 63, u.haw) || root_hi != 0) {
        f.code = 0xa;
        return reported_as(f, false, q.type);
    }

    // Context entry.
    std::uint64_t const context_at = (root_lo & ~std::uint64_t{0xfff}) + (q.source & 0xff) * 16;
    std::uint64_t lo = 0;
    std::uint64_t hi = 0;
    f.descriptor = context_at;
    f.entry = 0;
    if (!load(context_at, lo) || !load(context_at + 8, hi)) {
        f.code = 0x9;
        return reported_as(f, false, q.type);
    }
    f.entry = lo;
    bool const fpd = bit(lo, 1);
    if (!bit(lo, 0)) {
        f.code = 0x2;
        return reported_as(f, fpd, q.type);
    }
    unsigned const did_bits = 4 + 2 * static_cast<unsigned>(u.cap & 7);
    bool bad = any_bit(lo, 11, 4) || any_bit(lo, 63, u.haw) || bit(hi, 7) || any_bit(hi, 63, 24);
    if (did_bits < 16) bad = bad || any_bit(hi, 23, 8 + did_bits);
    if (bad) {
        f.code = 0xb;
        return reported_as(f, fpd, q.type);
    }
    unsigned const tt = static_cast<unsigned>(lo >> 2 & 3);
    if (tt == 3 || (tt == 1 && !bit(u.ecap, 2)) || (tt == 2 && !bit(u.ecap, 6))) {
        f.code = 0x3;
        return reported_as(f, fpd, q.type);
    }
    if (q.type != untranslated && tt != 1) {
        f.code = 0xd;
        return reported_as(f, fpd, q.type);
    }
    unsigned const aw = static_cast<unsigned>(hi & 7);
    if (aw < 1 || aw > 3 || !bit(u.cap, 8 + aw)) {
        f.code = 0x3;
        return reported_as(f, fpd, q.type);
    }
    if (tt == 2 && u.largest) {
        unsigned top = 1;
        if (bit(u.cap, 10)) top = 2;
        if (bit(u.cap, 11)) top = 3;
        if (aw != top) {
            f.code = 0x4;
            return reported_as(f, fpd, q.type);
        }
    }

    // Past the tables: a translated request, or pass-through.
    f.at = at_input;
    f.descriptor = 0;
    f.entry = 0;
    if (q.type == translated || tt == 2) {
        if (any_bit(q.address, 63, u.haw)) {
            f.code = 0x4;
            return reported_as(f, fpd, q.type);
        }
        if (in_range) {
            f.code = 0xe;
            return reported_as(f, fpd, q.type);
        }
        return pass;
    }

    // Second stage. A translation request is answered with whatever there is, unless there is nothing.
    bool const asks = q.type == translation;
    answer const a = walk(u, aw + 2, lo & 0x000ffffffffff000, q.address, !asks && q.read, !asks && q.write, q.bytes == 0, load);
    if (!a.ok) return reported_as(a, fpd, q.type);
    f.stage = 2;
    if (asks && (a.attributes & 3) == 0) {
        f.code = 0x6;
        f.at = at_input;
        f.level = a.level; // no entry alone is to blame: the leaf is named
        f.descriptor = a.descriptor;
        f.entry = a.entry;
        return reported_as(f, fpd, q.type);
    }
    std::uint64_t from = a.output; // an access counts with its address, a translation request with its whole page
    std::uint64_t to = a.output;
    if (asks) {
        from = a.output >> a.lg2 << a.lg2;
        to = from + ((std::uint64_t{1} << a.lg2) - 1);
    }
    if (u.ranges && from <= 0xfeefffff && to >= 0xfee00000) {
        f.code = 0xe;
        return reported_as(f, fpd, q.type);
    }
    return a;
}

} // namespace vtd_model
