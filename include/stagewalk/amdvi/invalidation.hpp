/// \file
/// What commands make stale, cache by cache (48882 2.4), and how they name addresses.
#pragma once

#include "../core/address.hpp"
#include "../core/range.hpp"
#include "../core/size.hpp"
#include "coded_size.hpp"

#include <bit>
#include <cstddef>
#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace amdvi {

/// What an IOMMU caches.
enum class cache : std::uint8_t {
    device_entry,    ///< Device table entries, and that a device's page faults are no more logged (DTE.SE).
    host,            ///< Translations by host tables alone.
    guest,           ///< Translations by guest tables, and by both; pointers of guest tables that the host has translated.
    host_tables,     ///< Entries of host tables that lead to tables.
    guest_tables,    ///< Entries of guest tables that lead to tables.
    gcr3,            ///< Entries of GCR3 tables.
    interrupt,       ///< Interrupt remapping entries.
    interrupt_table, ///< Pointers to interrupt tables.
    device,          ///< Translations that a device keeps.
};
/// The number of enumerators of `cache`.
inline constexpr std::size_t cache_kinds = 9;

/// What a cached item is tagged with; what its cache does not tag is left alone.
///
/// Translations carry domain and PASID, but no source: devices of one domain share them. What of the device table entry limits
/// the rights must therefore stay out of them. A table's entry of `guest_tables` and `gcr3` also carries the source through whose
/// device table entry it was found.
struct cache_tag {
    std::uint16_t source{};               ///< DeviceID: device entries, guest and GCR3 tables, interrupts, a device's own.
    std::uint16_t domain{};               ///< DomainID: translations and tables.
    std::uint32_t pasid{};                ///< PASID of guest translations and tables, 0 for GIoV; of a device's, if it has one.
    range<iova> page{range<iova>::all()}; ///< The addresses that it translates.
};

/// Which items of one cache are dropped: all that agree with the invalidation in everything that is named here.
struct cache_scope {
    bool drops{};      ///< Whether anything is dropped at all.
    bool by_source{};  ///< The DeviceID.
    bool by_domain{};  ///< The DomainID.
    bool by_pasid{};   ///< The PASID.
    bool by_address{}; ///< The page overlaps the addresses.

    /// Scopes are equal that drop alike.
    friend constexpr bool operator==(cache_scope const&, cache_scope const&) = default;
};

/// What a command makes stale, cache by cache: the least that must be dropped. Dropping more is always allowed.
struct invalidation {
    cache_scope scope[cache_kinds]{};          ///< By `cache`.
    std::uint16_t source{};                    ///< DeviceID.
    std::uint16_t domain{};                    ///< DomainID.
    std::uint32_t pasid{};                     ///< PASID.
    range<iova> addresses{range<iova>::all()}; ///< Addresses.

    /// The scope in cache \p c.
    [[nodiscard]] constexpr cache_scope const& of(cache c) const { return scope[static_cast<std::size_t>(c)]; }
    /// The scope in cache \p c, to be changed.
    [[nodiscard]] constexpr cache_scope& of(cache c) { return scope[static_cast<std::size_t>(c)]; }

    /// Whether an item of cache \p c with tag \p t must be dropped.
    [[nodiscard]] constexpr bool drops(cache c, cache_tag const& t) const {
        cache_scope const& s = of(c);
        return s.drops && (!s.by_source || t.source == source) && (!s.by_domain || t.domain == domain) &&
               (!s.by_pasid || t.pasid == pasid) && (!s.by_address || t.page.overlaps(addresses));
    }
};

/// The largest block that a command can name, lg2 of bytes; beyond it there is only everything.
inline constexpr std::uint64_t largest_block = 52;

/// The addresses that word 1 of a command means by its bits 63:12 and S (bit 0): a page of 4 KiB, or with S the naturally aligned
/// block whose size the lowest zero from bit 12 on tells. A zero at bit 52 or above, or none, means everything.
[[nodiscard]] constexpr range<iova> pages_of(std::uint64_t operand) {
    std::uint64_t const lg2 = (operand & 1) != 0 ? coded_size(operand) : 12;
    if (lg2 > largest_block) return range<iova>::all();
    return range<iova>::between(iova{operand & ~low_mask(lg2)}, iova{operand | low_mask(lg2)});
}

/// Bits 63:12 and S of word 1 of a command, for the smallest block that holds \p pages: see pages_of(). A short range around a
/// large power of two needs a large block; for_each_block() avoids that.
/// \param pages the addresses, not none.
[[nodiscard]] constexpr std::uint64_t block_around(range<iova> pages) {
    std::uint64_t const first = pages.first().value & ~low_mask(12);
    std::uint64_t const lg2 = static_cast<std::uint64_t>(std::bit_width(first ^ (pages.last().value | low_mask(12))));
    if (lg2 <= 12) return first;
    return (lg2 > largest_block ? with_coded_size(0, 64) : with_coded_size(first, lg2)) | 1;
}

/// Splits \p pages, widened to whole pages of 4 KiB, into as few naturally aligned blocks as there must be, in ascending order:
/// each is exactly what a command can name. Software owes it to IOMMUs that cache what is not mapped (NpCache), which are
/// emulated and drop page by page. The 2^64 addresses are one block, others are at most 2^52 bytes.
/// \param pages the addresses; for none nothing is emitted.
/// \param emit called as `emit(range<iova>)`.
template <class Emit>
constexpr void for_each_block(range<iova> pages, Emit&& emit) {
    if (pages.empty()) return;
    std::uint64_t at = pages.first().value & ~low_mask(12);
    std::uint64_t const last = pages.last().value | low_mask(12);
    if (at == 0 && last == ~std::uint64_t{0}) {
        emit(range<iova>::all());
        return;
    }
    while (true) {
        std::uint64_t lg2 = static_cast<std::uint64_t>(std::countr_zero(at));                     // of 0: 64
        std::uint64_t const fits = static_cast<std::uint64_t>(std::bit_width(last - at + 1)) - 1; // not all 2^64: no overflow
        lg2 = lg2 < fits ? lg2 : fits;
        lg2 = lg2 < largest_block ? lg2 : largest_block;
        std::uint64_t const end = at | low_mask(lg2);
        emit(range<iova>::between(iova{at}, iova{end}));
        if (end == last) return;
        at = end + 1;
    }
}

} // namespace amdvi
} // namespace v0
} // namespace stagewalk
