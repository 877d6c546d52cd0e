/// \file
/// A tour of all tables of an AMD IOMMU.
#pragma once

#include "amdvi_registers.hpp"
#include "guest_memory.hpp"
#include "unit.hpp"

#include <stagewalk/amdvi/iommu.hpp>
#include <stagewalk/stagewalk.hpp>

#include <cstdint>
#include <optional>
#include <string>

namespace inspect {

/// Goes from the device table down through GCR3 tables into page tables, depth first. It shows what is there: entries that a
/// request would not pass are shown too, and lead nowhere.
class amdvi_tree {
public:
    amdvi_tree(amdvi_registers const& registers, stagewalk::amdvi::iommu<guest_memory> const& unit, guest_memory& memory,
               tree_scope const& scope, tree_visitors const& visit)
        : registers_{registers}, unit_{unit}, memory_{memory},
          check_{registers.caps, registers.control, unit.setup().rules, unit.setup().snp}, scope_{scope}, visit_{visit} {}

    /// The whole tour.
    [[nodiscard]] stagewalk::enumeration run();

private:
    using ipa = stagewalk::ipa;
    using middle = stagewalk::intermediate<ipa>;
    using device_table_entry = stagewalk::amdvi::device_table_entry;
    using nested_walk = stagewalk::amdvi::nested_walk<guest_memory, stagewalk::no_trace>;
    using nested_host_stage = stagewalk::amdvi::iommu<guest_memory>::nested_host_stage;

    // Whose tables are being looked at.
    struct place {
        std::uint64_t depth{};
        std::uint64_t space{};
        std::uint32_t source{};
        bool source_known{};
        std::optional<std::uint32_t> pasid;
    };
    enum class looked { present, absent, lacking, stopped };

    // Reads entry `e` at `at`; absent where bit 0 of its first word is clear.
    template <class Entry, class Memory>
    looked read(Memory& memory, std::uint64_t at, Entry& e);
    [[nodiscard]] std::string why_lacking() const;
    // Every function below returns whether to go on.
    bool show(tree_entry const& t);
    bool show(place const& p, decoded_entry const& e, std::optional<std::uint64_t> read_at = {});
    bool show_lacking(place const& p, std::uint64_t at, std::optional<std::uint64_t> first_input = {});
    bool enter(place const& p, char const* what, std::uint64_t address, std::uint64_t kind, bool whole) const;

    bool segment(std::uint64_t n);
    bool device(place const& p, device_table_entry const& e);
    template <class Behind>
    bool gcr3_table(place p, device_table_entry const& e, Behind& behind, std::uint64_t level, std::uint64_t table,
                    std::uint64_t first);
    template <class Behind, class Memory>
    bool gcr3_entries(place p, device_table_entry const& e, Behind& behind, Memory& memory, std::uint64_t level,
                      std::uint64_t table, std::uint64_t first);

    template <class Stage, class Memory>
    bool page_tables(place const& p, Stage const& s, Memory& memory);
    template <class Stage, class Memory>
    bool page_table(place const& p, Stage const& s, Memory& memory, std::uint64_t level, typename Stage::output table,
                    std::uint64_t from, std::uint64_t to, typename Stage::path path);
    // Where an address of a table is read, if that is not where it says.
    template <class Address>
    [[nodiscard]] std::optional<std::uint64_t> read_address(Address at);

    amdvi_registers const& registers_;
    stagewalk::amdvi::iommu<guest_memory> const& unit_;
    guest_memory& memory_;
    stagewalk::amdvi::device_entry_check check_;
    tree_scope const& scope_;
    tree_visitors const& visit_;
    nested_host_stage const* below_{}; // of the guest that is being looked at
    bool lacking_before_{};            // the page before is lacking too
    stagewalk::enumeration done_;
};

} // namespace inspect
