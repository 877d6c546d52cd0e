/// \file
/// What a VT-d unit caches (VT-d 6.2), and what an invalidation drops of it.
#pragma once

#include "../core/address.hpp"
#include "../core/range.hpp"
#include "../core/size.hpp"
#include "../tlb/entry_cache.hpp"
#include "../tlb/tlb.hpp"
#include "command.hpp"
#include "context_table.hpp"
#include "pasid_table.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace vtd {

/// Whose a translation in the IOTLB is (VT-d 6.2.4): all devices that share domain and PASID share it. They have to share their
/// tables too, and what of a PASID table entry shapes a translation: WPE, EAFE, SSADE, EMTE and PWSNP.
struct iotlb_tag {
    std::uint16_t domain{}; ///< The domain id.
    std::uint32_t pasid{};  ///< The PASID used, 20 bits; 0 in legacy mode.
    bool by_first_stage{};  ///< A first stage has taken part.

    /// The tag's word.
    [[nodiscard]] constexpr std::uint64_t word() const noexcept {
        return domain | std::uint64_t{pasid & 0xf'ffff} << 16 | std::uint64_t{by_first_stage} << 36;
    }

    static constexpr std::uint64_t domain_bits = low_mask(16);               ///< The domain in the word.
    static constexpr std::uint64_t pasid_bits = low_mask(20) << 16;          ///< The PASID in the word.
    static constexpr std::uint64_t first_stage_bit = std::uint64_t{1} << 36; ///< The stage in the word.
};

/// The caches of a unit: `vtd::iommu unit{caps, root, memory, settings, caches}` uses them, `unit.execute(…)` invalidates.
/// Nothing that is not present or faulting is ever cached, whatever CAP.CM says, which the manual leaves free (VT-d 6.1).
/// \tparam Output the unit's output address type.
/// \tparam Policies those of the IOTLB. The guard holds for the other caches too, which have 64 sets of 2 ways.
template <class Output, class... Policies>
class caches {
    using guard_type = typename stagewalk::detail::chosen<tlb_policy::guard, guard::none, Policies...>::type;

public:
    static constexpr bool exist = true; ///< Whether there are caches.

    /// The context cache: by source the first two words of a context entry; the others of a scalable one are zero.
    entry_cache<2, guard_type> contexts{};
    /// The PASID cache: by source and PASID the directory entry and the first three words of the table entry.
    entry_cache<4, guard_type> pasids{};
    /// The IOTLB.
    tlb<iotlb_tag, iova, Output, Policies...> iotlb{};

    /// The key of the PASID cache.
    [[nodiscard]] static constexpr std::uint64_t key_of(std::uint16_t source, std::uint64_t pasid) {
        return std::uint64_t{source} << 20 | pasid;
    }

    /// Drops what \p stale makes stale, and waits for accesses that began before. A translation is dropped if its page overlaps
    /// the addresses, exactly; where a whole domain goes at once, those that share its group in the TLB go too.
    constexpr void drop(invalidation const& stale) noexcept {
        if (stale.of(cache::context).drops) {
            contexts.drop_if([&](std::uint64_t key, auto const& word) {
                return stale.drops(cache::context,
                                   {.source = static_cast<std::uint16_t>(key),
                                    .domain = static_cast<std::uint16_t>(context_entry{word[0], word[1]}.template get<"DID">())});
            });
        }
        if (stale.of(cache::pasid).drops) {
            pasids.drop_if([&](std::uint64_t key, auto const& word) {
                pasid_table_entry const e{word[1], word[2], word[3]};
                return stale.drops(cache::pasid, {.source = static_cast<std::uint16_t>(key >> 20),
                                                  .domain = static_cast<std::uint16_t>(e.get<"DID">()),
                                                  .pasid = static_cast<std::uint32_t>(key & low_mask(20))});
            });
        }
        if (stale.of(cache::first_iotlb) == stale.of(cache::second_iotlb)) {
            drop_translations(stale, stale.of(cache::first_iotlb), false, 0);
        } else {
            drop_translations(stale, stale.of(cache::first_iotlb), true, iotlb_tag::first_stage_bit);
            drop_translations(stale, stale.of(cache::second_iotlb), false, iotlb_tag::first_stage_bit);
        }
        iotlb.wait();
    }

private:
    constexpr void drop_translations(invalidation const& stale, cache_scope const& scope, bool by_first_stage,
                                     std::uint64_t which) noexcept {
        if (!scope.drops) return;
        if (scope.by_domain) which |= iotlb_tag::domain_bits;
        if (scope.by_pasid) which |= iotlb_tag::pasid_bits;
        iotlb.invalidate(scope.by_address ? stale.addresses : range<iova>::all(), {stale.domain, stale.pasid, by_first_stage},
                         which);
    }
};

} // namespace vtd
} // namespace v0
} // namespace stagewalk
