/// \file
/// One stage with its memory: a translator.
#pragma once

#include "../walk/walk.hpp"
#include "concept.hpp"

namespace stagewalk {
inline namespace v0 {

/// Walks the tables of one stage. A view: the stage is copied, the memory and the tracer are referred to.
/// \tparam Trace called with every step of every walk.
template <stage S, memory M, tracer_of<S> Trace = no_trace>
    requires serves<M, typename S::output>
class single {
public:
    using input = typename S::input;     ///< What it translates from.
    using output = typename S::output;   ///< What it translates to.
    using fault_type = walk_fault<S, M>; ///< Its fault.

    /// Whether translate() is a walk of of() in memory() and nothing else: then others may walk by themselves (`translated`).
    static constexpr bool is_walk = std::same_as<Trace, no_trace>;

    /// \param s the stage.
    /// \param m the memory that holds its tables, alive as long as this object.
    constexpr single(S const& s, M& m) requires std::same_as<Trace, no_trace> : stage_{s}, memory_{&m}, trace_{nullptr} {}

    /// The same, and \p trace, alive as long as this object, is called with every step.
    constexpr single(S const& s, M& m, Trace& trace) : stage_{s}, memory_{&m}, trace_{&trace} {}

    /// Translates \p in for \p a.
    [[nodiscard, gnu::flatten]] constexpr outcome<translation<output>, fault_type> translate(input in, access a) const noexcept {
        if constexpr (std::same_as<Trace, no_trace>) {
            return walk(stage_, *memory_, in, a);
        } else {
            return walk(stage_, *memory_, in, a, *trace_);
        }
    }

    /// The stage.
    [[nodiscard]] constexpr S const& of() const { return stage_; }
    /// The memory that holds its tables.
    [[nodiscard]] constexpr M& memory() const { return *memory_; }

private:
    S stage_;
    M* memory_;
    Trace* trace_;
};

/// `single{stage, memory}` deduces both.
template <stage S, memory M>
single(S, M&) -> single<S, M>;
/// `single{stage, memory, trace}` deduces all.
template <stage S, memory M, tracer_of<S> Trace>
single(S, M&, Trace&) -> single<S, M, Trace>;

} // namespace v0
} // namespace stagewalk
