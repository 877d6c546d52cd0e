/// \file
/// What an AMD IOMMU caches (48882 2.2.9 and 2.4), and what an invalidation drops of it.
#pragma once

#include "../core/access.hpp"
#include "../core/address.hpp"
#include "../core/range.hpp"
#include "../core/size.hpp"
#include "../tlb/entry_cache.hpp"
#include "../tlb/tlb.hpp"
#include "device_table.hpp"
#include "invalidation.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace amdvi {

/// Whose a translation in the TLB is: all devices that share domain, PASID, DTE.IR, IW and HAD share it. The device's own rights
/// are part of the tag, so that none gets those of another.
struct iotlb_tag {
    std::uint16_t domain{}; ///< The DomainID.
    std::uint32_t pasid{};  ///< The PASID of guest tables, 20 bits; else 0.
    bool by_guest{};        ///< Guest tables have taken part.
    access granted{};       ///< DTE.IR and IW.
    std::uint64_t marks{};  ///< DTE.HAD.

    /// The tag's word.
    [[nodiscard]] constexpr std::uint64_t word() const noexcept {
        return domain | std::uint64_t{pasid & 0xf'ffff} << 16 | std::uint64_t{by_guest} << 36 | (granted.bits & 3) << 37 |
               (marks & 3) << 39;
    }

    static constexpr std::uint64_t domain_bits = low_mask(16);         ///< The domain in the word.
    static constexpr std::uint64_t pasid_bits = low_mask(20) << 16;    ///< The PASID in the word.
    static constexpr std::uint64_t guest_bit = std::uint64_t{1} << 36; ///< Guest tables in the word.
};

/// The caches of an IOMMU: `amdvi::iommu unit{caps, registers, memory, settings, caches}` uses them, `unit.execute(…)`
/// invalidates. Nothing that is not present or faulting is ever cached, as with NpCache = 0.
/// \tparam Output the unit's output address type.
/// \tparam Policies those of the TLB. The guard holds for the other cache too, which has 64 sets of 2 ways.
template <class Output, class... Policies>
class caches {
    using guard_type = typename stagewalk::detail::chosen<tlb_policy::guard, guard::none, Policies...>::type;

public:
    static constexpr bool exist = true; ///< Whether there are caches.

    /// Device table entries by source.
    entry_cache<4, guard_type> devices{};
    /// Translations.
    tlb<iotlb_tag, iova, Output, Policies...> iotlb{};

    /// Drops what \p stale makes stale, and waits for accesses that began before. A translation is dropped if its page overlaps
    /// the addresses, exactly; where a whole domain goes at once, those that share its group in the TLB go too.
    constexpr void drop(invalidation const& stale) noexcept {
        if (stale.of(cache::device_entry).drops) {
            devices.drop_if([&](std::uint64_t key, auto const&) {
                return stale.drops(cache::device_entry, {.source = static_cast<std::uint16_t>(key)});
            });
        }
        cache_scope host = stale.of(cache::host);
        cache_scope guest = stale.of(cache::guest);
        if (stale.addresses == range<iova>::all()) host.by_address = guest.by_address = false;
        if (host == guest) {
            drop_translations(stale, host, false, 0);
        } else {
            drop_translations(stale, host, false, iotlb_tag::guest_bit);
            drop_translations(stale, guest, true, iotlb_tag::guest_bit);
        }
        iotlb.wait();
    }

private:
    constexpr void drop_translations(invalidation const& stale, cache_scope const& scope, bool by_guest,
                                     std::uint64_t which) noexcept {
        if (!scope.drops) return;
        if (scope.by_domain) which |= iotlb_tag::domain_bits;
        if (scope.by_pasid) which |= iotlb_tag::pasid_bits;
        iotlb.invalidate(scope.by_address ? stale.addresses : range<iova>::all(), {stale.domain, stale.pasid, by_guest, {}, 0},
                         which);
    }
};

} // namespace amdvi
} // namespace v0
} // namespace stagewalk
