/// \file
/// Nested translation (VT-d 3.8, PGTT = 011b): first-stage tables and output are addresses that the second stage translates.
#pragma once

#include "../core/address.hpp"
#include "../core/fault.hpp"
#include "../core/outcome.hpp"
#include "../core/translation.hpp"
#include "../memory/translated.hpp"
#include "../translate/single.hpp"
#include "../walk/update.hpp"
#include "../walk/walk.hpp"
#include "first_stage.hpp"
#include "reason.hpp"
#include "second_stage.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace vtd {

/// The one fault that the manual names for a fault \p f of a nested walk (VT-d chapter 7, SFS.5 to SFS.8).
/// A second-stage fault keeps its own reason, save where only the right to read or to update a first-stage table is missing.
[[nodiscard]] constexpr fault<reason> report_nested(nested_fault<reason, fault<reason>> const& f) {
    if (f.by == nested_by::outer) return f.outer;
    bool const read_missing = f.inner.code == reason::scalable_read_denied;
    bool const write_missing = f.inner.code == reason::scalable_write_denied;
    if (f.by == nested_by::output || !(read_missing || write_missing)) {
        fault<reason> second = f.inner;
        second.input = f.outer.input;
        second.intermediate = f.outer.intermediate;
        return second;
    }
    fault<reason> first = f.outer;
    first.intermediate = f.outer.descriptor;
    first.at = fault_at::table;
    if (write_missing) {
        first.code = reason::first_stage_table_not_writable;
    } else {
        // The outer stage's code for an unreadable entry tells its root table from the others.
        first.code = f.outer.code == reason::first_stage_root_unreadable ? reason::first_stage_root_not_readable
                                                                         : reason::first_stage_table_not_readable;
    }
    return first;
}

/// Both leaves' updates, due together when nothing refuses the access.
struct nested_updates {
    owed_update first{};          ///< The first-stage leaf's, an intermediate address.
    owed_update second{};         ///< The second-stage leaf's.
    std::uint64_t intermediate{}; ///< The address between the stages.
};

/// The nested walk of a unit.
/// \tparam Input what it translates from.
/// \tparam M the memory that holds the second-stage tables, and behind them the first-stage tables.
/// \tparam Trace called with every step of both stages.
template <class Input, memory M, class Trace>
class nested_walk {
public:
    using output = typename M::address;                                     ///< What it translates to.
    using middle = intermediate<output>;                                    ///< The space between the stages.
    using outer_stage = first_stage<Input, middle>;                         ///< The first stage.
    using inner_stage = second_stage<middle, output, table_mode::scalable>; ///< The second stage.

    /// \param first the first stage.
    /// \param second the second stage.
    /// \param m the memory, alive as long as this object.
    /// \param trace the tracer, alive as long as this object.
    constexpr nested_walk(outer_stage const& first, inner_stage const& second, M& m, Trace& trace)
        : first_{first}, second_{second}, memory_{&m}, trace_{&trace}, tables_{view(), m,
                                                                               second.keeps_accessed_dirty() ? read_write
                                                                                                             : read} {}

    /// Translates \p in for \p a; the updates of both leaves are left in \p owed.
    [[nodiscard]] constexpr outcome<translation<output>, fault<reason>> translate(Input in, access a,
                                                                                  nested_updates& owed) noexcept {
        auto first = traced([&](auto&... t) { return walk_owing(first_, tables_, in, a, owed.first, t...); });
        if (!first) [[unlikely]]
            return failure{report_nested({first.error().by, first.error().outer, outer_fault(first.error().inner)})};
        // Privilege is the first stage's affair. Who only asks does not dirty what the first stage does not grant.
        bool const writes = !a.covers(inquiring) || first->effective.rights().covers(write);
        access const rest = a & (read | (writes ? write : none) | execute | zero_length | inquiring);
        auto const second =
            traced([&](auto&... t) { return walk_owing(second_, *memory_, first->output, rest, owed.second, t...); });
        owed.intermediate = first->output.value;
        if (!second) [[unlikely]] {
            fault<reason> outer;
            outer.input = in.value;
            outer.intermediate = first->output.value;
            return failure{report_nested({nested_by::output, outer, outer_fault(second.error())})};
        }
        if (a.covers(inquiring) && !second->effective.rights().covers(write))
            owed.first.desired = outer_stage::not_dirtied(owed.first.of.entry, owed.first.desired);
        std::uint64_t const rights = first->effective.rights().bits & second->effective.rights().bits;
        return translation<output>{second->output,
                                   attributes::from_bits(rights | first->effective.format_bits() | snoop_of(*second)),
                                   first->lg2_size < second->lg2_size ? first->lg2_size : second->lg2_size, passage::walked};
    }

    /// Makes both updates, the second stage's first.
    /// \param in the input address that was walked.
    /// \param owed what the walk has left.
    /// \param why receives the fault if one of them is refused.
    [[nodiscard]] constexpr settled settle_both(Input in, nested_updates const& owed, fault<reason>& why) noexcept {
        typename M::error failed{};
        settled const second = settle(*memory_, owed.second, failed);
        if (second != settled::done) {
            why = fault_of<inner_stage>(second_.update_failed(), fault_at::table, middle{}, owed.second.of);
            why.input = in.value;
            why.intermediate = owed.intermediate;
            return second;
        }
        typename decltype(tables_)::error refused{};
        settled const first = settle(tables_, owed.first, refused);
        if (first != settled::done) {
            why = fault_of<outer_stage>(first_.update_failed(), fault_at::table, in, owed.first.of);
            if (first == settled::failed && refused.refused) {
                why.intermediate = owed.first.of.address;
                why = report_nested({nested_by::update, why, outer_fault(refused.why)});
            }
        }
        return first;
    }

private:
    using table_view = single<inner_stage, M, Trace>;

    [[nodiscard]] constexpr table_view view() const {
        if constexpr (std::is_same_v<Trace, no_trace>) {
            return {second_, *memory_};
        } else {
            return {second_, *memory_, *trace_};
        }
    }
    template <class Walk>
    [[nodiscard]] constexpr auto traced(Walk const& walk_with) const noexcept {
        if constexpr (std::is_same_v<Trace, no_trace>) {
            return walk_with();
        } else {
            return walk_with(*trace_);
        }
    }
    // SNP of the second stage's leaf counts; its other format bits are its memory type, combined elsewhere.
    [[nodiscard]] static constexpr std::uint64_t snoop_of(translation<output> const& second) {
        return second.effective.bits & second_stage_page::mask<"SNP">();
    }
    outer_stage first_;
    inner_stage second_;
    M* memory_;
    Trace* trace_;
    translated<table_view, M, access> tables_;
};

} // namespace vtd
} // namespace v0
} // namespace stagewalk
