/// \file
/// Watching a walk step by step.
#pragma once

#include "stage.hpp"

namespace stagewalk {
inline namespace v0 {

/// One step of a traced walk: an entry and what the stage said of it.
/// \tparam S the stage.
template <stage S>
struct traced_step {
    S const& of;                        ///< The stage, for decoding the entry.
    step at;                            ///< The level, the entry's address and its value.
    judgement<typename S::code> judged; ///< Table, leaf, or the fault.
};

/// Anything that can be called with the steps of a walk over \p S.
template <class T, class S>
concept tracer_of = requires(T& trace, traced_step<S> const& s) {
    trace(s);
};

/// One entry of a unit's configuration, met on the way to the page tables.
/// \tparam Entry its type.
template <class Entry>
struct configuration_step {
    char const* table;     ///< What its table is called, for people.
    std::uint64_t address; ///< Where the entry was read.
    Entry entry;           ///< What it held.
};

/// Watches nothing and costs nothing.
struct no_trace {
    /// Ignores the step.
    constexpr void operator()(auto const&) const {}
};

} // namespace v0
} // namespace stagewalk
