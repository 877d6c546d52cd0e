/// \file
/// A tour of all tables of a VT-d unit.
#pragma once

#include "guest_memory.hpp"
#include "unit.hpp"
#include "vtd_registers.hpp"

#include <stagewalk/stagewalk.hpp>

#include <cstdint>

namespace inspect {

/// Goes from the root table down through context and PASID tables into page tables, depth first. It shows what is there:
/// entries that a request would not pass are shown too, and their tables entered where they name one.
class vtd_tree {
public:
    vtd_tree(vtd_registers const& registers, stagewalk::vtd::policy const& rules, guest_memory& memory, tree_scope const& scope,
             tree_visitors const& visit)
        : registers_{registers}, rules_{rules}, memory_{memory}, scope_{scope}, visit_{visit} {}

    /// The whole tour.
    [[nodiscard]] stagewalk::enumeration run();

private:
    using iova = stagewalk::iova;
    using ipa = stagewalk::ipa;
    using middle = stagewalk::intermediate<ipa>;
    using legacy_stage = stagewalk::vtd::second_stage<iova, ipa>;
    using scalable_stage = stagewalk::vtd::second_stage<iova, ipa, stagewalk::vtd::table_mode::scalable>;
    using process_stage = stagewalk::vtd::first_stage<iova, ipa>;
    using nested_first_stage = stagewalk::vtd::first_stage<iova, middle>;
    using nested_second_stage = stagewalk::vtd::second_stage<middle, ipa, stagewalk::vtd::table_mode::scalable>;

    // Whose tables are being looked at.
    struct place {
        std::uint64_t depth{};
        std::uint64_t space{};
        std::uint32_t source{};
        bool source_known{};
        std::optional<std::uint32_t> pasid;
    };
    enum class looked { present, absent, lacking, stopped };

    // Every function returns whether to go on.
    template <class Entry>
    looked read(std::uint64_t at, Entry& e);
    template <class Entry>
    bool show(place const& p, std::uint64_t at, Entry const& e);
    bool show_lacking(place const& p, std::uint64_t at, std::string const& why);
    bool enter(place const& p, char const* what, std::uint64_t address, std::uint64_t kind, bool whole) const;

    bool root_table();
    bool legacy_contexts(place p, std::uint64_t table);
    bool scalable_contexts(place p, std::uint64_t table, bool upper);
    bool pasid_directory(place p, stagewalk::vtd::scalable_context_entry const& context);
    bool pasid_table(place p, std::uint64_t table, std::uint32_t first);
    bool translation(place p, stagewalk::vtd::pasid_table_entry const& e);

    template <class Stage, class Memory>
    bool page_tables(place const& p, Stage const& s, Memory& memory);
    template <class Stage, class Memory>
    bool page_table(place const& p, Stage const& s, Memory& memory, std::uint64_t level, typename Stage::output table,
                    std::uint64_t from, std::uint64_t to, typename Stage::path path);

    [[nodiscard]] bool wants_device(std::uint32_t source, std::uint32_t mask) const {
        return !scope_.source || ((*scope_.source ^ source) & mask) == 0;
    }

    vtd_registers const& registers_;
    stagewalk::vtd::policy rules_;
    guest_memory& memory_;
    tree_scope const& scope_;
    tree_visitors const& visit_;
    nested_second_stage const* below_{}; // of the first stage that is being looked at
    stagewalk::enumeration done_;
};

} // namespace inspect
