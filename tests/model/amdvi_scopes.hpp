// AMD-Vi commands from the specification alone: which are ILLEGAL_COMMAND_ERROR, and which cached items the others drop. It
// includes nothing of the library and shares no code with it: bits picked out one by one, and one function for each cell of the
// table of what a command must drop.
#pragma once

#include <cstdint>

namespace amdvi_scopes {

struct unit {
    std::uint64_t efr = 0;
    std::uint64_t header = 0; // of the PCI capability
};

struct words {
    std::uint64_t d[2] = {0, 0};
};

// A cached item and what it is tagged with.
struct item {
    std::uint64_t source = 0;
    std::uint64_t domain = 0;
    std::uint64_t pasid = 0;
    std::uint64_t first = 0; // the addresses that it translates
    std::uint64_t last = 0;
};

enum place { device_entry, host, guest, host_tables, guest_tables, gcr3, interrupt, interrupt_table, device, places };

// Bits high:low of a command, QW1[n] being 64 + n.
inline std::uint64_t bits(words const& w, unsigned high, unsigned low) {
    std::uint64_t value = 0;
    for (unsigned n = high + 1; n-- > low;)
        value = value * 2 + (w.d[n / 64] >> n % 64) % 2;
    return value;
}
inline bool bit(std::uint64_t value, unsigned n) { return (value >> n) % 2 == 1; }

inline bool has_prefetch(unit const& u) { return bit(u.efr, 0); }
inline bool has_ppr(unit const& u) { return bit(u.efr, 1); }
inline bool has_guests(unit const& u) { return bit(u.efr, 4); }
inline bool has_all(unit const& u) { return bit(u.efr, 6); }
inline bool has_type(unit const& u) { return bit(u.efr, 54); }
inline bool has_viommu(unit const& u) { return bit(u.efr, 55); }
inline bool has_iotlbs(unit const& u) { return bit(u.header, 24); }

inline unsigned opcode(words const& w) { return static_cast<unsigned>(bits(w, 63, 60)); }
inline bool is_sized(words const& w) { return bits(w, 64, 64) == 1; }
inline bool is_pde(words const& w) { return bits(w, 65, 65) == 1; }
inline bool is_gn(words const& w) { return bits(w, 66, 66) == 1; }

// --- ILLEGAL_COMMAND_ERROR
// ------------------------------------------------------------------------------------------------------

inline bool any(words const& w, unsigned high, unsigned low) { return bits(w, high, low) != 0; }

// Operands that are not listed.
inline bool is_reserved_bit_set(words const& w) {
    switch (opcode(w)) {
    case 1: return any(w, 59, 52);
    case 2:
    case 5: return any(w, 59, 16) || any(w, 127, 64);
    case 3: return any(w, 31, 20) || any(w, 59, 48) || any(w, 75, 67);
    case 4: return any(w, 65, 65) || any(w, 67, 67) || any(w, 75, 70);
    case 6: return any(w, 23, 16) || any(w, 59, 52) || any(w, 65, 65) || any(w, 67, 67) || any(w, 75, 69);
    case 7: return any(w, 31, 16) || any(w, 59, 52) || any(w, 65, 64) || any(w, 95, 67) || any(w, 127, 112);
    case 8: return any(w, 59, 0) || any(w, 127, 64);
    case 9: return false;
    case 10: return any(w, 26, 16) || any(w, 30, 28) || any(w, 59, 32) || any(w, 127, 64);
    default: return false;
    }
}

inline bool is_feature_missing(unit const& u, words const& w) {
    bool const no_guests = is_gn(w) && !has_guests(u);
    switch (opcode(w)) {
    case 3: return no_guests;
    case 4: return !has_iotlbs(u) || no_guests || (any(w, 69, 68) && !has_type(u));
    case 6: return !has_prefetch(u) || no_guests;
    case 7: return !has_ppr(u) || no_guests;
    case 8: return !has_all(u);
    case 9:
    case 10: return !has_viommu(u);
    default: return false;
    }
}

inline bool is_illegal(unit const& u, words const& w) {
    return opcode(w) == 0 || opcode(w) > 10 || is_reserved_bit_set(w) || is_feature_missing(u, w);
}

// --- tags ---------------------------------------------------------------------------------------------------------------------

inline bool same_source(words const& w, item const& i) { return bits(w, 15, 0) == i.source; }
inline bool same_domain(words const& w, item const& i) { return bits(w, 47, 32) == i.domain; }
inline std::uint64_t pasid_of(words const& w) {
    switch (opcode(w)) {
    case 3: return bits(w, 19, 0);
    case 4: return bits(w, 59, 56) * 65536 + bits(w, 23, 16) * 256 + bits(w, 55, 48);
    default: return bits(w, 51, 32);
    }
}
inline bool same_pasid(words const& w, item const& i) { return pasid_of(w) == i.pasid; }

// lg2 of the size of the block that the command names; 64 for everything.
inline unsigned lg2_of(words const& w) {
    if (!is_sized(w)) return 12;
    unsigned n = 12;
    while (n < 64 && bits(w, 64 + n, 64 + n) == 1)
        ++n;
    return n >= 52 ? 64 : n + 1;
}
// By number of naturally aligned blocks.
inline bool same_pages(words const& w, item const& i) {
    unsigned const lg2 = lg2_of(w);
    if (lg2 == 64) return true;
    std::uint64_t const block = w.d[1] >> lg2;
    return i.first >> lg2 <= block && block <= i.last >> lg2;
}

// --- one function for each cell that says more than `no` and `all`
// ---------------------------------------------------------------

inline bool pages_host(words const& w, item const& i) { return !is_gn(w) && same_domain(w, i) && same_pages(w, i); }
inline bool pages_guest(words const& w, item const& i) {
    if (!is_gn(w)) return same_domain(w, i); // no reverse map
    return same_domain(w, i) && same_pasid(w, i) && same_pages(w, i);
}
inline bool pages_host_tables(words const& w, item const& i) { return is_pde(w) && pages_host(w, i); }
inline bool pages_guest_tables(words const& w, item const& i) {
    return is_pde(w) && is_gn(w) && same_domain(w, i) && same_pasid(w, i);
}
inline bool iotlb_device(words const& w, item const& i) {
    return same_source(w, i) && (!is_gn(w) || same_pasid(w, i)) && same_pages(w, i);
}
// The table does not have it. Inval drops before it fetches; the domain is not named.
inline bool prefetch_host(words const& w, item const& i) { return bits(w, 68, 68) == 1 && !is_gn(w) && same_pages(w, i); }
inline bool prefetch_guest(words const& w, item const& i) {
    return bits(w, 68, 68) == 1 && (!is_gn(w) || same_pasid(w, i)) && same_pages(w, i);
}

// Of a command that is not illegal.
inline bool drops(words const& w, place where, item const& i) {
    switch (opcode(w)) {
    case 2:
        return (where == device_entry || where == guest_tables || where == gcr3 || where == interrupt_table) && same_source(w, i);
    case 3:
        switch (where) {
        case host: return pages_host(w, i);
        case guest: return pages_guest(w, i);
        case host_tables: return pages_host_tables(w, i);
        case guest_tables:
        case gcr3: return pages_guest_tables(w, i);
        default: return false;
        }
    case 4: return where == device && iotlb_device(w, i);
    case 5: return (where == interrupt || where == interrupt_table) && same_source(w, i);
    case 6:
        if (where == host) return prefetch_host(w, i);
        return where == guest && prefetch_guest(w, i);
    case 8: return where != device;
    default: return false; // COMPLETION_WAIT, answers, guests' business
    }
}

} // namespace amdvi_scopes
