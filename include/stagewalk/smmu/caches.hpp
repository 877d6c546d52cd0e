/// \file
/// What an SMMU caches (IHI 0070 3.17 and 3.21), and what a command drops of it.
#pragma once

#include "../core/address.hpp"
#include "../core/range.hpp"
#include "../core/size.hpp"
#include "../tlb/entry_cache.hpp"
#include "../tlb/tlb.hpp"
#include "capabilities.hpp"
#include "command.hpp"
#include "context_check.hpp"

#include <cstdint>
#include <type_traits>

namespace stagewalk {
inline namespace v0 {
namespace smmu {

/// Whose a translation in the TLB is. Global ones are kept for each ASID on its own.
struct iotlb_tag {
    std::uint16_t vmid{};                  ///< The VMID; 0 in EL2 and without stage 2.
    std::uint16_t asid{};                  ///< The ASID; 0 without stage 1.
    stream_world world{stream_world::el1}; ///< Whose translations they are.
    bool by_stage1{};                      ///< Stage 1 has taken part.
    bool by_stage2{};                      ///< Stage 2 has taken part.

    /// The tag's word.
    [[nodiscard]] constexpr std::uint64_t word() const noexcept {
        return vmid | std::uint64_t{asid} << 16 | std::uint64_t{world != stream_world::el1} << 32 |
               std::uint64_t{world == stream_world::el2} << 33 | std::uint64_t{by_stage1} << 34 | std::uint64_t{by_stage2} << 35;
    }

    static constexpr std::uint64_t vmid_bits = low_mask(16);            ///< The VMID in the word.
    static constexpr std::uint64_t asid_bits = low_mask(16) << 16;      ///< The ASID in the word.
    static constexpr std::uint64_t el2_bit = std::uint64_t{1} << 32;    ///< Either of EL2's worlds in the word.
    static constexpr std::uint64_t stage2_bit = std::uint64_t{1} << 35; ///< Stage 2 in the word.
    static constexpr std::uint64_t stage1_bit = std::uint64_t{1} << 34; ///< Stage 1 in the word.
};

/// The caches of an SMMU: `smmu::iommu unit{caps, registers, memory, rules, caches}` uses them, `unit.execute(…)` invalidates.
/// Nothing that is invalid or faulting is ever cached. Translations of ATS are not, nor those of addresses with a tag in their
/// top byte.
/// \tparam Output the unit's output address type.
/// \tparam Policies those of the TLB. The guard holds for the other caches too, which have 64 sets of 2 ways.
template <class Output, class... Policies>
class caches {
    using guard_type = typename stagewalk::detail::chosen<tlb_policy::guard, guard::none, Policies...>::type;

public:
    static constexpr bool exist = true; ///< Whether there are caches.

    /// The first four words of stream table entries by StreamID.
    entry_cache<4, guard_type> streams{};
    /// The first four words of context descriptors by StreamID and SubstreamID.
    entry_cache<4, guard_type> contexts{};
    /// Translations.
    tlb<iotlb_tag, iova, Output, Policies...> iotlb{};

    /// The key of the context descriptors.
    [[nodiscard]] static constexpr std::uint64_t key_of(std::uint32_t source, std::uint64_t pasid) {
        return std::uint64_t{source} << 20 | pasid;
    }

    /// Drops what \p stale makes stale, and waits for accesses that began before.
    ///
    /// More goes than must: at an address those of every ASID, since global ones are not told apart; whatever level a command
    /// names; and with an address all translations by both stages, once there are any: which is a search of the whole TLB. Where
    /// a whole VMID goes at once, those that share its group in the TLB go too.
    constexpr void drop(invalidation const& stale) noexcept {
        if (stale.scope(cache::stream).drops) {
            streams.drop_if([&](std::uint64_t key, auto const&) {
                return stale.drops(cache::stream, {.source = static_cast<std::uint32_t>(key)});
            });
        }
        if (stale.scope(cache::context).drops) {
            contexts.drop_if([&](std::uint64_t key, auto const&) {
                return stale.drops(cache::context, {.source = static_cast<std::uint32_t>(key >> 20),
                                                    .pasid = static_cast<std::uint32_t>(key & low_mask(20))});
            });
        }
        cache_scope const& first = stale.scope(cache::stage1);
        cache_scope const& second = stale.scope(cache::stage2);
        if (first.drops && second.drops && first.by_vmid && !first.by_address && !first.by_asid) {
            // Stage 2 is EL1's alone: all of a VMID.
            iotlb.invalidate(range<iova>::all(), {.vmid = stale.vmid}, iotlb_tag::vmid_bits & ~std::uint64_t{stale.vmid_mask});
        } else {
            drop_translations(stale, first, true);
            drop_translations(stale, second, false);
        }
        iotlb.wait();
    }

    /// Says that there will be translations by both stages. To be called before one is put in.
    constexpr void expect_pieces() noexcept {
        if (std::is_constant_evaluated() || !guard_type::is_shared) {
            pieces_ = 1;
        } else if (__atomic_load_n(&pieces_, __ATOMIC_RELAXED) == 0) {
            __atomic_store_n(&pieces_, 1, __ATOMIC_SEQ_CST);
        }
    }

private:
    // Asked after the invalidation has been announced: who puts one in later sees that.
    [[nodiscard]] constexpr bool has_pieces() const noexcept {
        if (std::is_constant_evaluated() || !guard_type::is_shared) return pieces_ != 0;
        return __atomic_load_n(&pieces_, __ATOMIC_SEQ_CST) != 0;
    }
    constexpr void drop_translations(invalidation const& stale, cache_scope const& scope, bool by_stage1) noexcept {
        if (!scope.drops) return;
        iotlb_tag const whose{scope.by_vmid ? stale.vmid : std::uint16_t{0}, stale.asid,
                              stale.el2 ? stream_world::el2_e2h : stream_world::el1, by_stage1, false};
        std::uint64_t which = iotlb_tag::stage1_bit | iotlb_tag::el2_bit;
        if (scope.by_vmid) which |= iotlb_tag::vmid_bits & ~std::uint64_t{stale.vmid_mask};
        if (scope.by_asid && !scope.by_address) which |= iotlb_tag::asid_bits;
        if (!scope.by_address) return iotlb.invalidate(range<iova>::all(), whose, which);
        // Where an address comes without a VMID there is none but 0.
        if (!scope.by_vmid) which |= iotlb_tag::vmid_bits;
        iotlb.invalidate(stale.addresses, whose, which);
        if (!by_stage1 || !has_pieces()) return;
        // A block of stage 1 over smaller pages of stage 2 lies here in pieces, and one address in it stands for all.
        iotlb_tag of_both = whose;
        of_both.by_stage2 = true;
        iotlb.invalidate(range<iova>::all(), of_both, which | iotlb_tag::stage2_bit);
    }

    std::uintptr_t pieces_{}; // whether there ever were translations by both stages
};

} // namespace smmu
} // namespace v0
} // namespace stagewalk
