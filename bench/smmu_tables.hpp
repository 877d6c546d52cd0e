/// \file
/// Tables of an SMMU to look up in: one stage, or a guest's stage 1 over a host's stage 2.
#pragma once

#include "physical.hpp"

namespace bench {

/// SMMUv3.2 with both stages, every granule, 48-bit addresses, updates of AF and dirty state, substreams and two-level tables.
constexpr smmu::capabilities smmu_registers() {
    smmu::capabilities caps;
    caps.idr0.set<"S1P">(1);
    caps.idr0.set<"S2P">(1);
    caps.idr0.set<"TTF">(2);
    caps.idr0.set<"HTTU">(2);
    caps.idr0.set<"HYP">(1);
    caps.idr0.set<"ASID16">(1);
    caps.idr0.set<"VMID16">(1);
    caps.idr0.set<"CD2L">(1);
    caps.idr0.set<"TTENDIAN">(2);
    caps.idr0.set<"STALL_MODEL">(1);
    caps.idr0.set<"ST_LEVEL">(1);
    caps.idr1.set<"SIDSIZE">(16);
    caps.idr1.set<"SSIDSIZE">(16);
    caps.idr1.set<"ATTR_PERMS_OVR">(1);
    caps.idr1.set<"ATTR_TYPES_OVR">(1);
    caps.idr3.set<"HAD">(1);
    caps.idr5.set<"OAS">(5);
    caps.idr5.set<"GRAN4K">(1);
    caps.idr5.set<"GRAN16K">(1);
    caps.idr5.set<"GRAN64K">(1);
    caps.aidr.set<"MINOR">(2);
    return caps;
}

/// The width of every address.
inline constexpr std::uint64_t smmu_bits = 48;

/// The level of the top table of stage 1 and of stage 2 with granule `G`.
template <smmu::granule G, fault_stage Number>
constexpr std::uint64_t smmu_top() {
    return Number == fault_stage::first ? smmu::stage1_top(G, smmu_bits)
                                        : smmu::lowest_stage2_top(smmu_registers(), G, smmu_bits, false);
}

/// A stage whose top table is at `root`.
template <class Stage>
Stage smmu_stage(typename Stage::output root) {
    constexpr auto g = static_cast<smmu::granule>(Stage::lg2_page);
    smmu::table_shape shape;
    shape.root = root.value;
    shape.top = smmu_top<g, Stage::number>();
    shape.input_size = smmu_bits;
    shape.output_size = smmu_bits;
    return Stage{shape};
}

/// The lg2 size in bytes of the top table of a stage.
template <class Stage>
constexpr std::uint64_t lg2_top_table() {
    constexpr auto g = static_cast<smmu::granule>(Stage::lg2_page);
    return smmu_bits - Stage::shift(smmu_top<g, Stage::number>()) + 3;
}

/// What a stage's pages are mapped with: normal write-back memory, inner shareable; in stage 1 with unprivileged access.
template <class Stage>
attributes smmu_page() {
    if constexpr (Stage::number == fault_stage::first) {
        return attributes::from_bits(read_write.bits | Stage::memory(1, 3).bits);
    } else {
        return attributes::from_bits(read_write.bits | Stage::memory(15, 3).bits);
    }
}

/// Tables of `pages` pages of the granule's size, written by our own builder. No page is larger, for the outputs are not aligned
/// to more.
template <class Stage>
class smmu_tables_of {
public:
    using stage_type = Stage;

    explicit smmu_tables_of(std::uint64_t pages)
        : tables_{(pages >> (lg2 - 3)) + (pages >> 2 * (lg2 - 3)) + 64}, ram_{first_spare() + (std::uint64_t{4} << 16)},
          pool_{pa{1 << 20}, tables_, lg2}, order_{pages, lg2}, stage_{smmu_stage<Stage>(pa{0})} {
        auto memory = bounded<pa>(ram_);
        table t{stage_, memory, pool_};
        auto const all = range<iova>::between(iova{order_.first()}, iova{order_.first() + (pages << lg2) - 1});
        need(static_cast<bool>(t.map(all, pa{std::uint64_t{1} << lg2}, smmu_page<Stage>())), "the tables cannot be built");
    }

    [[nodiscard]] Stage const& stage() const { return stage_; }
    [[nodiscard]] block const& ram() const { return ram_; }
    [[nodiscard]] work const& order() const { return order_; }
    /// Spare page \p i, of 64 KiB: zeroed, no part of the tables.
    [[nodiscard]] pa spare(std::uint64_t i) const { return pa{first_spare() + (i << 16)}; }

private:
    static constexpr std::uint64_t lg2 = Stage::lg2_page;
    static_assert(lg2_top_table<Stage>() <= 20);

    [[nodiscard]] std::uint64_t first_spare() const { return (std::uint64_t{1} << 20) + ((tables_ + 16) << lg2 >> 16 << 16); }

    std::uint64_t tables_;
    block ram_;
    shuffled_pool<pa> pool_;
    work order_;
    Stage stage_;
};

/// Stage 1 alone.
template <smmu::granule G>
using smmu_process = smmu_tables_of<smmu::stage1<G, iova, pa>>;
/// Stage 2 alone.
template <smmu::granule G>
using smmu_domain = smmu_tables_of<smmu::stage2<G, iova, pa>>;

/// A guest's stage 1 of `pages` pages over a host's stage 2, each in pages of its granule. Neither stage's tables lie in order.
template <smmu::granule First, smmu::granule Second>
class smmu_guest {
public:
    using middle = intermediate<pa>;
    using outer_type = smmu::stage1<First, iova, middle>;
    using inner_type = smmu::stage2<Second, middle, pa>;

    explicit smmu_guest(std::uint64_t pages)
        : output_{(first_table + (guest_tables << lg2_first) + (3 << 20)) | std::uint64_t{1} << lg2_first},
          guest_bytes_{((output_ + (pages << lg2_first)) >> 16 << 16) + (std::uint64_t{2} << 16)},
          host_tables_{(guest_bytes_ >> lg2_second >> (lg2_second - 3)) + 64},
          guest_at_{((std::uint64_t{2} << 20) + (host_tables_ << lg2_second) + (1 << 20)) >> 20 << 20 | 1 << lg2_second},
          ram_{guest_at_ + guest_bytes_ + (std::uint64_t{4} << 16)}, host_pool_{pa{2 << 20}, host_tables_, lg2_second},
          guest_pool_{middle{first_table}, guest_tables, lg2_first}, order_{pages, lg2_first},
          outer_{smmu_stage<outer_type>(middle{0})}, inner_{smmu_stage<inner_type>(pa{1 << 20})} {
        auto host_memory = bounded<pa>(ram_);
        table host{inner_, host_memory, host_pool_};
        auto const all = range<middle>::between(middle{0}, middle{guest_bytes_ - 1});
        need(static_cast<bool>(host.map(all, pa{guest_at_}, smmu_page<inner_type>())), "the host's tables cannot be built");

        flat<middle> guest_memory{ram_.data() + guest_at_, guest_bytes_, middle{0}};
        table own{outer_, guest_memory, guest_pool_};
        auto const part = range<iova>::between(iova{order_.first()}, iova{order_.first() + (pages << lg2_first) - 1});
        need(static_cast<bool>(own.map(part, middle{output_}, smmu_page<outer_type>())), "the guest's tables cannot be built");
    }

    [[nodiscard]] outer_type const& outer() const { return outer_; }
    [[nodiscard]] inner_type const& inner() const { return inner_; }
    [[nodiscard]] block const& ram() const { return ram_; }
    [[nodiscard]] work const& order() const { return order_; }
    /// Spare page \p i of the host, of 64 KiB.
    [[nodiscard]] pa spare(std::uint64_t i) const {
        return pa{((guest_at_ + guest_bytes_) >> 16 << 16) + (std::uint64_t{i + 1} << 16)};
    }
    /// A spare page of the guest, of 64 KiB, and where it is.
    [[nodiscard]] middle guest_spare() const { return middle{first_table + (guest_tables << lg2_first) + (1 << 20)}; }
    [[nodiscard]] pa place_of(middle at) const { return pa{guest_at_ + at.value}; }

private:
    static constexpr std::uint64_t lg2_first = smmu::lg2_of(First);
    static constexpr std::uint64_t lg2_second = smmu::lg2_of(Second);
    static constexpr std::uint64_t first_table = std::uint64_t{1} << 20;
    static constexpr std::uint64_t guest_tables = 128;

    std::uint64_t output_; // an odd number of pages: what is mapped is never aligned to more
    std::uint64_t guest_bytes_;
    std::uint64_t host_tables_;
    std::uint64_t guest_at_;
    block ram_;
    shuffled_pool<pa> host_pool_;
    shuffled_pool<middle> guest_pool_;
    work order_;
    outer_type outer_;
    inner_type inner_;
};

} // namespace bench
