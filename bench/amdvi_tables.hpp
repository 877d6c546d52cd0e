/// \file
/// Tables of an AMD IOMMU to look up in: host tables, guest tables, or guest tables over host tables.
#pragma once

#include "physical.hpp"

#include <utility>

namespace bench {

/// Six host levels, four guest levels, accessed and dirty bits of both, NX, PASIDs of 20 bits, a GCR3 root that may be a guest's
/// address, devices with IOTLBs. No SNP.
inline amdvi::capabilities amdvi_registers() {
    amdvi::capabilities caps{0, 0};
    caps.efr.set<"NXSup">(1);
    caps.efr.set<"GTSup">(1);
    caps.efr.set<"HATS">(2);
    caps.efr.set<"GLXSup">(2);
    caps.efr.set<"PASmax">(19);
    caps.efr.set<"USSup">(1);
    caps.efr.set<"GIoSup">(1);
    caps.efr.set<"HASup">(1);
    caps.efr.set<"HDSup">(1);
    caps.efr2.set<"GCR3TRPModeSup">(1);
    return caps;
}

/// The address near which pages lie behind tables of \p levels levels: no level's index is 0.
constexpr std::uint64_t amdvi_near(std::uint64_t levels) { return 0x254a'ea95'6b4d'3000 & low_mask(12 + 9 * levels - 1); }

/// Entries as they are once each page was written to: A and D are set.
template <class Stage>
struct amdvi_used : Stage {
    explicit amdvi_used(Stage const& s) : Stage{s} {}

    [[nodiscard]] std::uint64_t make_leaf(typename Stage::output o, std::uint64_t lg2, attributes at) const {
        return Stage::make_leaf(o, lg2, at) | bit_mask(6, 5);
    }
    [[nodiscard]] std::uint64_t make_table(typename Stage::output o, std::uint64_t level) const {
        return Stage::make_table(o, level) | bit_mask(5, 5);
    }
};

/// Tables of `pages` pages of 2^lg2 bytes, written by our own builder. No page is larger, for the outputs are not aligned to
/// more.
template <class Stage, class Options>
class amdvi_tables_of {
public:
    using stage_type = Stage;
    using options_type = Options;

    explicit amdvi_tables_of(std::uint64_t pages, std::uint64_t lg2 = 12, std::uint64_t levels = 4, Options const& options = {},
                             std::uint64_t spare_pages = 0)
        : tables_{slots(pages, lg2) / 512 + slots(pages, lg2) / 262144 + 64}, ram_{(tables_ + spare_pages) << 12},
          pool_{pa{0}, tables_}, order_{pages, lg2, amdvi_near(levels)}, options_{options}, stage_{levels, *pool_.take(12),
                                                                                                   options} {
        auto memory = bounded<pa>(ram_);
        table t{amdvi_used{stage_}, memory, pool_};
        auto const all = range<iova>::between(iova{order_.first()}, iova{order_.first() + (pages << lg2) - 1});
        need(static_cast<bool>(t.map(all, pa{std::uint64_t{1} << lg2}, read_write)), "the tables cannot be built");
    }

    [[nodiscard]] Stage const& stage() const { return stage_; }
    [[nodiscard]] Options const& options() const { return options_; }
    [[nodiscard]] block const& ram() const { return ram_; }
    [[nodiscard]] work const& order() const { return order_; }
    /// Spare page \p i: zeroed, no part of the tables.
    [[nodiscard]] pa spare(std::uint64_t i) const { return pa{(tables_ + i) << 12}; }

private:
    // The entries of leaves: a page that is larger than its level's entry spans has several.
    static std::uint64_t slots(std::uint64_t pages, std::uint64_t lg2) { return pages << (lg2 - 12) % 9; }

    std::uint64_t tables_;
    block ram_;
    shuffled_pool<pa> pool_;
    work order_;
    Options options_;
    Stage stage_;
};

/// Host tables alone.
using amdvi_domain = amdvi_tables_of<amdvi::host_table<iova, pa>, amdvi::host_table_options>;
/// Guest tables alone.
using amdvi_process = amdvi_tables_of<amdvi::guest_table<iova, pa>, amdvi::guest_table_options>;

/// What host tables keep: accessed and dirty bits. They are set already.
inline constexpr amdvi::host_table_options amdvi_keeping{read_write, true, true};
/// What a unit makes of guest tables behind amdvi_registers().
inline constexpr amdvi::guest_table_options amdvi_of_unit{read_write, true, false, true, true};

/// Guest tables of `pages` 4K pages in memory that host tables map in 4K pages, four levels each. Neither lie in order.
class amdvi_guest {
public:
    using middle = intermediate<pa>;
    using outer_type = amdvi::guest_table<iova, middle>;
    using inner_type = amdvi::host_table<middle, pa>;

    explicit amdvi_guest(std::uint64_t pages, std::uint64_t spare_pages = 0)
        : ram_{(guest_pages + host_tables + spare_pages) << 12}, host_pool_{pa{0}, host_tables}, guest_pool_{middle{1 << 12},
                                                                                                             guest_tables - 1},
          order_{pages, 12}, outer_{4, *guest_pool_.take(12), amdvi_of_unit}, inner_{4, *host_pool_.take(12)} {
        auto host_memory = bounded<pa>(ram_);
        table host{inner_, host_memory, host_pool_};
        auto const all = range<middle>::between(middle{0}, middle{(guest_pages << 12) - 1});
        need(static_cast<bool>(host.map(all, place_of(middle{0}), read_write)), "the host's tables cannot be built");

        flat<middle> guest_memory{ram_.data() + (host_tables << 12), guest_pages << 12, middle{0}};
        table own{amdvi_used{outer_}, guest_memory, guest_pool_};
        auto const part = range<iova>::between(iova{order_.first()}, iova{order_.first() + (pages << 12) - 1});
        need(static_cast<bool>(own.map(part, middle{guest_tables << 12}, read_write)), "the guest's tables cannot be built");
    }

    [[nodiscard]] outer_type const& outer() const { return outer_; }
    [[nodiscard]] inner_type const& inner() const { return inner_; }
    [[nodiscard]] block const& ram() const { return ram_; }
    [[nodiscard]] work const& order() const { return order_; }
    /// Spare page \p i of the host: zeroed, no part of the tables.
    [[nodiscard]] pa spare(std::uint64_t i) const { return pa{(guest_pages + host_tables + i) << 12}; }
    /// A spare page of the guest, and where a guest's address is.
    [[nodiscard]] static middle guest_spare() { return middle{0}; }
    [[nodiscard]] static pa place_of(middle at) { return pa{(host_tables << 12) + at.value}; }

private:
    static constexpr std::uint64_t guest_tables = 1024;
    static constexpr std::uint64_t guest_pages = guest_tables + 4096;
    // An odd number: what the host maps is never aligned to more than 4K.
    static constexpr std::uint64_t host_tables = 127;

    block ram_;
    shuffled_pool<pa> host_pool_;
    shuffled_pool<middle> guest_pool_;
    work order_;
    outer_type outer_;
    inner_type inner_;
};

} // namespace bench
