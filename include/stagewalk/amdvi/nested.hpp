/// \file
/// Guest tables over host tables (48882 2.2.6): each guest table and the guest's output go through the host tables.
#pragma once

#include "../core/address.hpp"
#include "../core/fault.hpp"
#include "../core/outcome.hpp"
#include "../core/translation.hpp"
#include "../memory/translated.hpp"
#include "../translate/single.hpp"
#include "../walk/trace.hpp"
#include "../walk/update.hpp"
#include "../walk/walk.hpp"
#include "event.hpp"
#include "guest_table.hpp"
#include "host_table.hpp"
#include "refusal.hpp"

#include <cstdint>
#include <type_traits>

namespace stagewalk {
inline namespace v0 {
namespace amdvi {

/// Both leaves' updates, due together when nothing refuses the access.
struct nested_updates {
    owed_update guest{};          ///< The guest leaf's, an intermediate address.
    owed_update host{};           ///< The host leaf's.
    std::uint64_t intermediate{}; ///< The address between.
};

/// The one fault of a nested walk. A host fault keeps its flags; of the access it tells what failed: a table's reading or
/// writing, or the request itself.
/// \param f the fault of both.
/// \param a what the request needs.
[[nodiscard, gnu::cold, gnu::noinline]] constexpr fault<event> report_nested(nested_fault<event, fault<event>> const& f,
                                                                             access a) {
    if (f.by == nested_by::outer) {
        fault<event> own = f.outer;
        own.detail |= flags_of(a);
        return own;
    }
    fault<event> host = f.inner;
    host.intermediate = f.outer.intermediate;
    host.detail |= f.by == nested_by::output ? flags_of(a) : f.by == nested_by::update ? fault_detail::writing : 0;
    return host;
}

/// The nested walk of a unit.
/// \tparam M the memory that holds the host tables, and behind them the guest tables.
/// \tparam Trace called with every step of both.
template <memory M, class Trace = no_trace>
class nested_walk {
public:
    using output = typename M::address;            ///< What it translates to.
    using middle = intermediate<output>;           ///< The guest's addresses.
    using guest_stage = guest_table<iova, middle>; ///< The guest tables.
    using host_stage = host_table<middle, output>; ///< The host tables.
    /// The memory that the guest's tables lie in. The device's own rights do not bind the IOMMU's reading of them.
    using tables = translated<single<host_stage, M, Trace>, M>;

    /// \param host the host tables.
    /// \param m the memory, alive as long as this object.
    /// \param trace the tracer, alive as long as this object.
    constexpr nested_walk(host_stage const& host, M& m, Trace& trace)
        : host_{host}, memory_{&m}, trace_{&trace}, tables_{view(), m} {}
    /// The same without a tracer.
    constexpr nested_walk(host_stage const& host, M& m) requires std::is_same_v<Trace, no_trace>
        : host_{host}, memory_{&m}, trace_{nullptr}, tables_{view(), m} {}

    /// The memory that the guest's tables lie in.
    [[nodiscard]] constexpr tables& guest_memory() { return tables_; }

    /// Translates \p in for \p a through \p guest and the host tables; the updates of both leaves are left in \p owed.
    [[nodiscard]] constexpr outcome<translation<output>, fault<event>> translate(guest_stage const& guest, iova in, access a,
                                                                                 nested_updates& owed) noexcept {
        auto first = walk_with(guest, tables_, in, a, owed.guest);
        if (!first) [[unlikely]]
            return failure{report({first.error().by, first.error().outer, outer_fault(first.error().inner)}, a)};
        // Privilege is the guest's affair. Who only asks does not dirty what the guest does not grant.
        bool const writes = !a.covers(inquiring) || first->effective.rights().covers(write);
        access const rest = a & (read | (writes ? write : none) | execute | inquiring);
        auto second = walk_with(host_, *memory_, first->output, rest, owed.host);
        owed.intermediate = first->output.value;
        if (!second) [[unlikely]] {
            fault<event> outer;
            outer.intermediate = first->output.value;
            return failure{report({nested_by::output, outer, outer_fault(second.error())}, a)};
        }
        access const granted = second->effective.rights();
        if (a.covers(inquiring) && !granted.covers(write))
            owed.guest.desired = guest_stage::not_dirtied(owed.guest.of.entry, owed.guest.desired);
        access const rights = first->effective.rights() & (granted | (granted.covers(read) ? execute : none));
        return translation<output>{
            second->output, attributes::from_bits(rights.bits | first->effective.format_bits() | second->effective.format_bits()),
            first->lg2_size < second->lg2_size ? first->lg2_size : second->lg2_size, passage::walked};
    }

    /// Makes both updates, the host's first.
    /// \param owed what the walk has left.
    /// \param a what the request needs.
    /// \param why receives the fault if one of them is refused; see located().
    [[nodiscard]] constexpr settled settle_both(nested_updates const& owed, access a, fault<event>& why) noexcept {
        typename M::error failed{};
        settled const second = settle(*memory_, owed.host, failed);
        if (second != settled::done) {
            auto host = fault_of<host_stage>(host_.update_failed(), fault_at::table, middle{}, owed.host.of);
            fault<event> outer;
            outer.intermediate = owed.intermediate;
            why = report_nested({nested_by::output, outer, host}, a);
            return second;
        }
        typename tables::error refused{};
        settled const first = settle(tables_, owed.guest, refused);
        if (first != settled::done) {
            auto own = fault_of<guest_stage>(event::page_tab_hardware_error, fault_at::table, iova{}, owed.guest.of);
            bool const by_host = first == settled::failed && refused.refused;
            if (by_host) own.intermediate = owed.guest.of.address;
            why = report_nested(
                {by_host ? nested_by::update : nested_by::outer, own, by_host ? outer_fault(refused.why) : fault<event>{}}, a);
        }
        return first;
    }

    /// Fault \p f of both, as the one that is told.
    [[nodiscard, gnu::cold, gnu::noinline]] constexpr fault<event> report(nested_fault<event, fault<event>> const& f,
                                                                          access a) const noexcept {
        return f.by == nested_by::outer ? located(report_nested(f, a)) : report_nested(f, a);
    }
    /// Fault \p f. Of an entry behind the host tables that memory does not give or take it tells the system's address: that is
    /// looked for once more.
    [[nodiscard, gnu::cold, gnu::noinline]] constexpr fault<event> located(fault<event> f) const noexcept {
        if (f.code != event::page_tab_hardware_error || f.stage == host_stage::number) return f;
        auto const at = single{host_.without_device_rights(), *memory_}.translate(middle{f.descriptor}, none);
        f.intermediate = f.descriptor;
        if (at) f.descriptor = at->output.value;
        return f;
    }

private:
    using table_view = single<host_stage, M, Trace>;

    [[nodiscard]] constexpr table_view view() const {
        if constexpr (std::is_same_v<Trace, no_trace>) {
            return {host_.without_device_rights(), *memory_};
        } else {
            return {host_.without_device_rights(), *memory_, *trace_};
        }
    }
    template <class S, class Tables>
    [[nodiscard, gnu::always_inline]] constexpr auto walk_with(S const& s, Tables& m, typename S::input in, access a,
                                                               owed_update& owed) const noexcept {
        if constexpr (std::is_same_v<Trace, no_trace>) {
            // What walk_owing does; clang 14 would call that.
            owed = {};
            return stagewalk::detail::fast_walk(s, m, s.root(), in, a, &owed);
        } else {
            return walk_owing(s, m, in, a, owed, *trace_);
        }
    }

    host_stage host_;
    M* memory_;
    Trace* trace_;
    tables tables_;
};

/// `nested_walk{host_stage, memory}` deduces the memory.
template <class Stage, memory M>
nested_walk(Stage, M&) -> nested_walk<M>;

} // namespace amdvi
} // namespace v0
} // namespace stagewalk
