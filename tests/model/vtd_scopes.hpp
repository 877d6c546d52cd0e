// Invalidation descriptors from the specification alone: which IQEI a descriptor raises, and which cached items it drops. It
// includes nothing of the library and shares no code with it: masks typed in from the tables, and one function for each cell of
// the tables of granularities.
#pragma once

#include <cstdint>

namespace vtd_scopes {

struct unit {
    std::uint64_t cap = 0;  // CAP_REG
    std::uint64_t ecap = 0; // ECAP_REG
    unsigned mode = 0;      // TTM
    bool wide = true;       // IQA.DW
};

struct descriptor {
    std::uint64_t word[4] = {0, 0, 0, 0};
};

// A cached item and what it is tagged with.
struct item {
    std::uint64_t source = 0;
    std::uint64_t domain = 0;
    std::uint64_t pasid = 0;
    std::uint64_t first = 0; // the addresses that it translates
    std::uint64_t last = 0;
    std::uint64_t index = 0;
};

enum place {
    context,
    pasid,
    second_iotlb,
    first_iotlb,
    second_structure,
    first_structure,
    interrupt,
    device,
    host_permission,
    places
};

// Bits high:low of a register or a descriptor, as the manual numbers them.
inline std::uint64_t bits(std::uint64_t const* word, unsigned high, unsigned low) {
    std::uint64_t value = 0;
    for (unsigned n = high + 1; n-- > low;)
        value = value * 2 + (word[n / 64] >> n % 64) % 2;
    return value;
}
inline std::uint64_t bits(descriptor const& d, unsigned high, unsigned low) { return bits(d.word, high, low); }

inline bool has_pds(unit const& u) { return bits(&u.ecap, 42, 42) == 1; }
inline bool has_dit(unit const& u) { return bits(&u.ecap, 41, 41) == 1; }
inline bool has_hpts(unit const& u) { return bits(&u.ecap, 55, 55) == 1; }
inline bool has_psi(unit const& u) { return bits(&u.cap, 39, 39) == 1; }
inline std::uint64_t max_am(unit const& u) { return bits(&u.cap, 53, 48); }
inline std::uint64_t max_im(unit const& u) { return bits(&u.ecap, 23, 20); }

// The first two words of each type: what is not listed. The other two words are all reserved.
constexpr std::uint64_t reserved[11][2] = {
    {0xffffffffffffffff, 0xffffffffffffffff}, // no such type
    {0xfffc00000000f1c0, 0xffffffffffffffff}, // context cache
    {0xffffffff0000f100, 0x0000000000000f80}, // IOTLB
    {0x000f0000ffe001f0, 0x0000000000000ffe}, // device TLB
    {0xffff000007fff1e0, 0xffffffffffffffff}, // interrupt entry cache
    {0x00000000fffff100, 0x0000000000000003}, // wait
    {0xfff000000000f1c0, 0x0000000000000f80}, // PASID IOTLB
    {0xfff000000000f1c0, 0xffffffffffffffff}, // PASID cache
    {0x0000000000000000, 0x00000000000007fe}, // PASID device TLB
    {0xfff00000000001e0, 0xfffffffffffff003}, // page-group response
    {0xffffffff0000f1c0, 0x0000000000000f00}, // host permission table cache
};
constexpr std::uint64_t pfsid = 0xfff000000000f000; // of types 3 and 8, reserved if DIT = 0
constexpr std::uint64_t page_drain = 0x80;          // of type 5, reserved if PDS = 0

inline unsigned type_of(descriptor const& d) { return static_cast<unsigned>(bits(d, 11, 9) * 16 + bits(d, 3, 0)); }

inline bool is_reserved_bit_set(unit const& u, unsigned type, descriptor const& d) {
    std::uint64_t first = reserved[type][0];
    if ((type == 3 || type == 8) && !has_dit(u)) first |= pfsid;
    if (type == 5 && !has_pds(u)) first |= page_drain;
    return (d.word[0] & first) != 0 || (d.word[1] & reserved[type][1]) != 0 || d.word[2] != 0 || d.word[3] != 0;
}

inline bool is_granularity_valid(unit const& u, unsigned type, descriptor const& d) {
    std::uint64_t const g = bits(d, 5, 4);
    if (type == 1) return g == 1 || g == 2 || g == 3;
    if (type == 2 && g == 3) return has_psi(u) && bits(d, 69, 64) <= max_am(u);
    if (type == 2) return g == 1 || g == 2;
    if (type == 4 && bits(d, 4, 4) == 1) return bits(d, 31, 27) <= max_im(u);
    if (type == 6) return g == 2 || g == 3;
    if (type == 7) return g == 0 || g == 1 || g == 3;
    return true;
}

// IQEI, or 0.
inline unsigned error_of(unit const& u, descriptor const& d) {
    if (u.mode == 2) return 7;
    if (u.mode != 0 && !u.wide) return 5;
    unsigned const type = type_of(d);
    if (type < 1 || type > (u.mode == 0 ? 5u : has_hpts(u) ? 10u : 9u)) return 3;
    if (is_reserved_bit_set(u, type, d) || !is_granularity_valid(u, type, d)) return 4;
    return 0;
}

// --- tags ---------------------------------------------------------------------------------------------------------------------

// DID, as wide as ND says.
inline bool same_domain(unit const& u, descriptor const& d, item const& i) {
    std::uint64_t const values[] = {16, 64, 256, 1024, 4096, 16384, 65536, 65536};
    std::uint64_t const n = values[bits(&u.cap, 2, 0)];
    return bits(d, 31, 16) % n == i.domain % n;
}
inline bool same_pasid(descriptor const& d, item const& i) { return bits(d, 51, 32) == i.pasid; }

// Whether [first, last] meets the naturally aligned 2^lg2 bytes around at: by number of such blocks.
inline bool meets(item const& i, std::uint64_t at, unsigned lg2) {
    return lg2 >= 64 || (i.first >> lg2 <= at >> lg2 && at >> lg2 <= i.last >> lg2);
}
// 2^AM pages around ADDR.
inline bool same_pages(descriptor const& d, item const& i) {
    return meets(i, bits(d, 127, 76) * 4096, 12 + static_cast<unsigned>(bits(d, 69, 64)));
}
// Twice as many pages as the lowest zero bit of ADDR says, with S.
inline bool same_sized_pages(descriptor const& d, item const& i, bool s) {
    if (!s) return meets(i, bits(d, 127, 76) * 4096, 12);
    unsigned n = 76;
    while (n < 128 && bits(d, n, n) == 1)
        ++n;
    return n >= 127 || meets(i, bits(d, 127, 76) * 4096, 12 + (n - 76) + 1);
}

// --- one function for each cell ------------------------------------------------------------------------------------------------

using cell = bool (*)(unit const&, descriptor const&, item const&);

inline bool kept(unit const&, descriptor const&, item const&) { return false; }

inline bool context_01(unit const&, descriptor const&, item const&) { return true; }
inline bool context_10(unit const& u, descriptor const& d, item const& i) { return u.mode != 0 || same_domain(u, d, i); }
inline bool context_11(unit const& u, descriptor const& d, item const& i) {
    std::uint64_t difference = bits(d, 47, 32) ^ i.source;
    switch (bits(d, 49, 48)) {
    case 1: difference &= 0xfffb; break;
    case 2: difference &= 0xfff9; break;
    case 3: difference &= 0xfff8; break;
    default: break;
    }
    return difference == 0 && (u.mode != 0 || same_domain(u, d, i));
}

inline bool iotlb_01(unit const&, descriptor const&, item const&) { return true; }
inline bool iotlb_10(unit const& u, descriptor const& d, item const& i) { return same_domain(u, d, i); }
inline bool iotlb_11_second(unit const& u, descriptor const& d, item const& i) {
    return same_domain(u, d, i) && same_pages(d, i);
}
inline bool iotlb_11_first(unit const& u, descriptor const& d, item const& i) { return same_domain(u, d, i); }
inline bool iotlb_11_first_structure(unit const& u, descriptor const& d, item const& i) { return same_domain(u, d, i); }
inline bool iotlb_11_second_structure(unit const& u, descriptor const& d, item const& i) {
    return bits(d, 70, 70) == 0 && same_domain(u, d, i) && same_pages(d, i);
}

inline bool device_tlb(unit const&, descriptor const& d, item const& i) {
    return bits(d, 47, 32) == i.source && same_sized_pages(d, i, bits(d, 64, 64) == 1);
}

inline bool interrupt_0(unit const&, descriptor const&, item const&) { return true; }
inline bool interrupt_1(unit const&, descriptor const& d, item const& i) {
    return i.index >> bits(d, 31, 27) == bits(d, 47, 32) >> bits(d, 31, 27);
}

inline bool pasid_iotlb_10(unit const& u, descriptor const& d, item const& i) { return same_domain(u, d, i) && same_pasid(d, i); }
inline bool pasid_iotlb_11_first(unit const& u, descriptor const& d, item const& i) {
    return same_domain(u, d, i) && same_pasid(d, i) && same_pages(d, i);
}
inline bool pasid_iotlb_11_first_structure(unit const& u, descriptor const& d, item const& i) {
    return bits(d, 70, 70) == 0 && same_domain(u, d, i) && same_pasid(d, i) && same_pages(d, i);
}

inline bool pasid_00(unit const& u, descriptor const& d, item const& i) { return same_domain(u, d, i); }
inline bool pasid_01(unit const& u, descriptor const& d, item const& i) { return same_domain(u, d, i) && same_pasid(d, i); }
inline bool pasid_11(unit const&, descriptor const&, item const&) { return true; }

inline bool pasid_device_tlb(unit const&, descriptor const& d, item const& i) {
    bool const any_pasid = bits(d, 64, 64) == 1;
    return bits(d, 31, 16) == i.source && (any_pasid || same_pasid(d, i)) && same_sized_pages(d, i, bits(d, 75, 75) == 1);
}

// The tables of granularities do not have it: a cache that drops too much is right.
inline bool host_permission_any(unit const&, descriptor const&, item const&) { return true; }

// The tables. The columns are the caches, in the order of `place`.
struct row {
    unsigned type;
    unsigned granularity; // `any`: the type has none
    cell caches[places];
};
constexpr unsigned any = 4;

inline bool drops(unit const& u, descriptor const& d, place where, item const& i) {
    static constexpr row rows[] = {
        // context, PASID, IOTLB second, first, structures second, first, interrupt, device, host permission
        {1, 1, {context_01, kept, kept, kept, kept, kept, kept, kept, kept}},
        {1, 2, {context_10, kept, kept, kept, kept, kept, kept, kept, kept}},
        {1, 3, {context_11, kept, kept, kept, kept, kept, kept, kept, kept}},
        {2, 1, {kept, kept, iotlb_01, iotlb_01, iotlb_01, iotlb_01, kept, kept, kept}},
        {2, 2, {kept, kept, iotlb_10, iotlb_10, iotlb_10, iotlb_10, kept, kept, kept}},
        {2,
         3,
         {kept, kept, iotlb_11_second, iotlb_11_first, iotlb_11_second_structure, iotlb_11_first_structure, kept, kept, kept}},
        {3, any, {kept, kept, kept, kept, kept, kept, kept, device_tlb, kept}},
        {4, 0, {kept, kept, kept, kept, kept, kept, interrupt_0, kept, kept}},
        {4, 1, {kept, kept, kept, kept, kept, kept, interrupt_1, kept, kept}},
        {6, 2, {kept, kept, pasid_iotlb_10, pasid_iotlb_10, kept, pasid_iotlb_10, kept, kept, kept}},
        {6, 3, {kept, kept, kept, pasid_iotlb_11_first, kept, pasid_iotlb_11_first_structure, kept, kept, kept}},
        {7, 0, {kept, pasid_00, kept, kept, kept, kept, kept, kept, kept}},
        {7, 1, {kept, pasid_01, kept, kept, kept, kept, kept, kept, kept}},
        {7, 3, {kept, pasid_11, kept, kept, kept, kept, kept, kept, kept}},
        {8, any, {kept, kept, kept, kept, kept, kept, kept, pasid_device_tlb, kept}},
        {10, any, {kept, kept, kept, kept, kept, kept, kept, kept, host_permission_any}},
    };
    unsigned const type = type_of(d);
    auto const g = static_cast<unsigned>(bits(d, type == 4 ? 4 : 5, 4));
    for (row const& r : rows)
        if (r.type == type && (r.granularity == any || r.granularity == g)) return r.caches[where](u, d, i);
    return false; // wait, page-group response
}

} // namespace vtd_scopes
