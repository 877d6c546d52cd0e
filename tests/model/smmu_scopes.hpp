// SMMU commands from the specification alone: which are CERROR_ILL, and which cached items the others drop. It includes nothing
// of the library and shares no code with it: bits picked out one by one, pages counted, and one function for each command.
#pragma once

#include <cstdint>

namespace smmu_scopes {

struct unit {
    std::uint64_t idr0 = 0;
    std::uint64_t idr1 = 0x500; // SubstreamIDs of 20 bits
    std::uint64_t idr3 = 0;
    std::uint64_t idr5 = 0;
    std::uint64_t cr0 = 0;
};

struct words {
    std::uint64_t d[2] = {0, 0};
};

enum world_of { el1, el2, el2_e2h };

constexpr std::uint64_t no_substream = 0xffffffff;

// A cached item and what it is tagged with.
struct item {
    std::uint64_t source = 0;
    std::uint64_t covered = 0; // of a directory: the low bits of StreamID or SubstreamID that vary below it
    std::uint64_t pasid = 0;
    world_of world = el1;
    std::uint64_t vmid = 0;
    std::uint64_t asid = 0;
    bool global = false;
    std::uint64_t first = 0; // the addresses that it translates
    std::uint64_t last = 0;
    std::uint64_t level = 0; // the manual's level of the leaf, 0: not known
};

enum place { stream_directory, stream, context_directory, context, stage1, stage2, stage1_tables, stage2_tables, device, places };

// Bits high:low of a register or a command, as the manual numbers them.
inline std::uint64_t bits(std::uint64_t const* word, unsigned high, unsigned low) {
    std::uint64_t value = 0;
    for (unsigned n = high + 1; n-- > low;)
        value = value * 2 + (word[n / 64] >> n % 64) % 2;
    return value;
}
inline std::uint64_t bits(words const& w, unsigned high, unsigned low) { return bits(w.d, high, low); }

inline bool has_s2p(unit const& u) { return bits(&u.idr0, 0, 0) == 1; }
inline bool has_s1p(unit const& u) { return bits(&u.idr0, 1, 1) == 1; }
inline bool has_hyp(unit const& u) { return bits(&u.idr0, 9, 9) == 1; }
inline bool has_ats(unit const& u) { return bits(&u.idr0, 10, 10) == 1; }
inline bool has_pri(unit const& u) { return bits(&u.idr0, 16, 16) == 1; }
inline bool has_vmw(unit const& u) { return bits(&u.idr0, 17, 17) == 1; }
inline bool never_stalls(unit const& u) { return bits(&u.idr0, 25, 24) == 1; }
inline bool has_ril(unit const& u) { return bits(&u.idr3, 10, 10) == 1; }
inline bool has_ds(unit const& u) { return bits(&u.idr5, 7, 7) == 1; }

// --- CERROR_ILL ---------------------------------------------------------------------------------------------------------------

inline std::uint64_t scale_of(unit const& u, words const& w) {
    if (!has_ds(u)) return bits(w, 24, 20);
    return bits(w, 25, 20) > 39 ? 39 : bits(w, 25, 20);
}
inline bool is_range(unit const& u, words const& w) { return has_ril(u) && bits(w, 75, 74) != 0; }
// A range that says nothing.
inline bool is_empty_range(unit const& u, words const& w) {
    return is_range(u, w) && bits(w, 16, 12) == 0 && scale_of(u, w) == 0 && bits(w, 73, 72) == 0;
}

inline bool is_illegal(unit const& u, words const& w) {
    if (bits(w, 10, 10) == 1) return true; // SSec
    switch (bits(w, 7, 0)) {
    case 0x01:
    case 0x02:
    case 0x03:
    case 0x04:
    case 0x30: return false;
    case 0x05:
    case 0x06:
    case 0x10:
    case 0x11: return !has_s1p(u);
    case 0x12:
    case 0x13: return !has_s1p(u) || is_empty_range(u, w);
    case 0x20:
    case 0x21: return !has_hyp(u);
    case 0x22:
    case 0x23: return !has_hyp(u) || is_empty_range(u, w);
    case 0x28: return !has_s2p(u);
    case 0x2a: return !has_s2p(u) || is_empty_range(u, w);
    case 0x40: return !has_ats(u);
    case 0x41: return !has_pri(u);
    case 0x44:
    case 0x45: return never_stalls(u);
    case 0x46: return bits(w, 13, 12) == 3;
    default: return true;
    }
}

// --- tags ---------------------------------------------------------------------------------------------------------------------

// Whether blocks [a, a | a_mask] and [b, b | b_mask] meet.
inline bool meet(std::uint64_t a, std::uint64_t a_mask, std::uint64_t b, std::uint64_t b_mask) {
    std::uint64_t const a_first = a - (a & a_mask);
    std::uint64_t const b_first = b - (b & b_mask);
    return a_first <= b_first + b_mask && b_first <= a_first + a_mask;
}

inline bool same_source(words const& w, item const& i) { return bits(w, 63, 32) == i.source; }
inline bool same_vmid(unit const& u, words const& w, item const& i) {
    std::uint64_t ignored = has_vmw(u) ? bits(&u.cr0, 8, 6) : 0;
    if (ignored > 4) ignored = 0;
    return bits(w, 47, 32) >> ignored == i.vmid >> ignored;
}
// Of an item of stage 1: without stage 2 there are no VMIDs.
inline bool same_stage1_vmid(unit const& u, words const& w, item const& i) { return !has_s2p(u) || same_vmid(u, w, i); }
inline bool is_global(item const& i) { return i.world == el2 || i.global; }
inline bool same_asid(words const& w, item const& i) { return !is_global(i) && bits(w, 63, 48) == i.asid; }
inline bool same_asid_or_global(words const& w, item const& i) { return is_global(i) || bits(w, 63, 48) == i.asid; }

// Whether the command names a page that the item translates: by page numbers, of which there are 2^52 at most.
inline bool same_pages(unit const& u, words const& w, item const& i) {
    std::uint64_t const at = bits(w, 127, 76) * 4096;
    if (!is_range(u, w)) return i.first <= at && at <= i.last;
    unsigned const lg2 = bits(w, 75, 74) == 1 ? 12 : bits(w, 75, 74) == 2 ? 14 : 16;
    std::uint64_t count = bits(w, 16, 12) + 1;
    for (std::uint64_t n = 0; n < scale_of(u, w); ++n)
        count *= 2;
    std::uint64_t const first = at >> lg2;
    return i.first >> lg2 < first + count && first <= i.last >> lg2;
}
inline bool same_level(unit const& u, words const& w, item const& i) {
    std::uint64_t const ttl = is_range(u, w) ? bits(w, 73, 72) : 0;
    bool const is_any = ttl == 0 || (ttl == 1 && bits(w, 75, 74) == 2 && !has_ds(u));
    return is_any || i.level == 0 || ttl == i.level; // 0: not known
}
inline bool is_leaf(words const& w) { return bits(w, 64, 64) == 1; }

// --- one function for each command
// ----------------------------------------------------------------------------------------------

inline bool cfgi_ste(words const& w, place where, item const& i) {
    switch (where) {
    case stream_directory: return !is_leaf(w) && meet(bits(w, 63, 32), 0, i.source, i.covered);
    case stream:
    case context:
    case context_directory: return same_source(w, i);
    default: return false;
    }
}
inline bool cfgi_ste_range(words const& w, place where, item const& i) {
    std::uint64_t block = 2;
    for (std::uint64_t n = 0; n < bits(w, 68, 64); ++n)
        block *= 2;
    switch (where) {
    case stream_directory: return meet(bits(w, 63, 32), block - 1, i.source, i.covered);
    case stream:
    case context:
    case context_directory: return bits(w, 63, 32) / block == i.source / block;
    default: return false;
    }
}
inline bool cfgi_cd(unit const& u, words const& w, place where, item const& i) {
    std::uint64_t const index = bits(&u.idr1, 10, 6) == 0 ? 0 : bits(w, 31, 12);
    switch (where) {
    case context: return same_source(w, i) && index == i.pasid;
    case context_directory: return !is_leaf(w) && same_source(w, i) && meet(index, 0, i.pasid, i.covered);
    default: return false;
    }
}
inline bool cfgi_cd_all(words const& w, place where, item const& i) {
    return (where == context || where == context_directory) && same_source(w, i);
}

inline bool nh_all(unit const& u, words const& w, place where, item const& i) {
    return (where == stage1 || where == stage1_tables) && i.world == el1 && same_stage1_vmid(u, w, i);
}
inline bool nh_asid(unit const& u, words const& w, place where, item const& i) {
    return nh_all(u, w, where, i) && same_asid(w, i);
}
inline bool nh_vaa(unit const& u, words const& w, place where, item const& i) {
    if (!nh_all(u, w, where, i) || !same_pages(u, w, i)) return false;
    return where == stage1 ? same_level(u, w, i) : !is_leaf(w);
}
inline bool nh_va(unit const& u, words const& w, place where, item const& i) {
    return nh_vaa(u, w, where, i) && same_asid_or_global(w, i);
}
inline bool el2_all(place where, item const& i) { return (where == stage1 || where == stage1_tables) && i.world != el1; }
inline bool el2_asid(words const& w, place where, item const& i) { return el2_all(where, i) && same_asid(w, i); }
inline bool el2_vaa(unit const& u, words const& w, place where, item const& i) {
    if (!el2_all(where, i) || !same_pages(u, w, i)) return false;
    return where == stage1 ? same_level(u, w, i) : !is_leaf(w);
}
inline bool el2_va(unit const& u, words const& w, place where, item const& i) {
    return el2_vaa(u, w, where, i) && same_asid_or_global(w, i);
}
inline bool nsnh_all(place where, item const& i) {
    return (where == stage1 || where == stage1_tables || where == stage2 || where == stage2_tables) && i.world == el1;
}
inline bool s12_vmall(unit const& u, words const& w, place where, item const& i) {
    return nsnh_all(where, i) && same_vmid(u, w, i);
}
inline bool s2_ipa(unit const& u, words const& w, place where, item const& i) {
    if ((where != stage2 && where != stage2_tables) || i.world != el1 || !same_vmid(u, w, i) || !same_pages(u, w, i))
        return false;
    return where == stage2 ? same_level(u, w, i) : !is_leaf(w);
}
inline bool atc_inv(words const& w, place where, item const& i) {
    if (where != device || !same_source(w, i)) return false;
    bool const has_substream = bits(w, 11, 11) == 1;
    if (!has_substream && i.pasid != no_substream) return false;
    if (has_substream && bits(w, 9, 9) == 0 && bits(w, 31, 12) != i.pasid) return false;
    if (bits(w, 69, 64) >= 52) return true;
    std::uint64_t const lg2 = 12 + bits(w, 69, 64);
    std::uint64_t const block = bits(w, 127, 76) * 4096 >> lg2;
    return i.first >> lg2 <= block && block <= i.last >> lg2;
}

// Of a command that is not illegal.
inline bool drops(unit const& u, words const& w, place where, item const& i) {
    switch (bits(w, 7, 0)) {
    case 0x03: return cfgi_ste(w, where, i);
    case 0x04: return cfgi_ste_range(w, where, i);
    case 0x05: return cfgi_cd(u, w, where, i);
    case 0x06: return cfgi_cd_all(w, where, i);
    case 0x10: return nh_all(u, w, where, i);
    case 0x11: return nh_asid(u, w, where, i);
    case 0x12: return nh_va(u, w, where, i);
    case 0x13: return nh_vaa(u, w, where, i);
    case 0x20: return el2_all(where, i);
    case 0x21: return el2_asid(w, where, i);
    case 0x22: return el2_va(u, w, where, i);
    case 0x23: return el2_vaa(u, w, where, i);
    case 0x28: return s12_vmall(u, w, where, i);
    case 0x2a: return s2_ipa(u, w, where, i);
    case 0x30: return nsnh_all(where, i);
    case 0x40: return atc_inv(w, where, i);
    default: return false; // hints, answers, SYNC
    }
}

} // namespace smmu_scopes
