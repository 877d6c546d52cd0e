/// \file
/// A tour of all tables of an SMMU.
#pragma once

#include "guest_memory.hpp"
#include "smmu_registers.hpp"
#include "unit.hpp"

#include <stagewalk/smmu/iommu.hpp>
#include <stagewalk/stagewalk.hpp>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace inspect {

/// Goes from the stream table down through context descriptors into page tables, depth first. It shows what is there: entries
/// that a request would not pass are shown too, and lead nowhere.
class smmu_tree {
public:
    smmu_tree(smmu_registers const& registers, stagewalk::smmu::iommu<guest_memory> const& unit, guest_memory& memory,
              tree_scope const& scope, tree_visitors const& visit)
        : registers_{registers}, unit_{unit}, memory_{memory}, scope_{scope}, visit_{visit} {}

    /// The whole tour.
    [[nodiscard]] stagewalk::enumeration run();

private:
    using iova = stagewalk::iova;
    using ipa = stagewalk::ipa;
    using middle = stagewalk::intermediate<ipa>;
    using guest_tables = stagewalk::smmu::guest_tables<guest_memory, stagewalk::no_trace>;

    // Whose tables are being looked at.
    struct place {
        std::uint64_t depth{};
        std::uint64_t space{};
        std::uint32_t source{};
        bool source_known{};
        std::optional<std::uint32_t> pasid;
    };
    enum class looked { present, absent, lacking, stopped };

    // Reads entry `e` at `at`; absent where no bit of `present` is set in its first word.
    template <class Entry, class Memory>
    looked read(Memory& memory, std::uint64_t at, std::uint64_t present, Entry& e);
    [[nodiscard]] std::string why_lacking() const;
    // Every function below returns whether to go on.
    template <class Entry>
    bool show(place const& p, std::uint64_t at, Entry const& e, std::optional<std::uint64_t> read_at = {});
    bool show(tree_entry const& t);
    bool show_lacking(place const& p, std::uint64_t at, std::optional<std::uint64_t> first_input = {});
    bool enter(place const& p, char const* what, std::uint64_t address, std::uint64_t kind, bool whole) const;

    bool stream_table();
    bool stream_entries(place p, std::uint64_t table, std::uint64_t first, std::uint64_t last);
    bool stream(place const& p, stagewalk::smmu::stream_table_entry const& e);
    template <class Memory>
    bool contexts(place const& p, stagewalk::smmu::binding& b, Memory& memory);
    template <class Memory>
    bool context_table(place p, stagewalk::smmu::binding& b, Memory& memory, std::uint64_t table, std::uint64_t first,
                       std::uint64_t last, bool numbered);
    template <class Memory>
    bool halves(place const& p, stagewalk::smmu::binding const& b, Memory& memory);

    template <class Stage, class Memory>
    bool page_tables(place const& p, Stage const& s, Memory& memory);
    template <class Stage, class Memory>
    bool page_table(place const& p, Stage const& s, Memory& memory, std::uint64_t level, typename Stage::output table,
                    std::uint64_t from, std::uint64_t to, typename Stage::path path);
    // Where an address of a table is read, if that is not where it says.
    template <class Address>
    [[nodiscard]] std::optional<std::uint64_t> read_address(Address at);

    smmu_registers const& registers_;
    stagewalk::smmu::iommu<guest_memory> const& unit_;
    guest_memory& memory_;
    tree_scope const& scope_;
    tree_visitors const& visit_;
    guest_tables* below_{};                                      // of the stage 1 that is being looked at
    stagewalk::smmu::stream_table_entry stream_{};               // whose context descriptors are being looked at
    std::map<std::vector<std::uint64_t>, std::uint64_t> spaces_; // numbers each stage 2 that lies below some tables
    bool lacking_before_{};                                      // the page before is lacking too
    stagewalk::enumeration done_;
};

} // namespace inspect
