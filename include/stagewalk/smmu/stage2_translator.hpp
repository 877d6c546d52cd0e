/// \file
/// A stage 2 whose granule and byte order are known at run time only.
#pragma once

#include "../core/outcome.hpp"
#include "../core/translation.hpp"
#include "../memory/byte_swapped.hpp"
#include "../memory/concept.hpp"
#include "../walk/trace.hpp"
#include "../walk/update.hpp"
#include "../walk/walk.hpp"
#include "binding.hpp"

#include <cstdint>
#include <type_traits>

namespace stagewalk {
inline namespace v0 {
namespace smmu {

/// Translates with the stage 2 of a binding.
/// \tparam M the memory that holds its tables.
/// \tparam Trace called with every step.
template <memory M, class Trace>
class stage2_translator {
public:
    using output = typename M::address;                      ///< What it translates to.
    using input = intermediate<output>;                      ///< What it translates from.
    using fault_type = fault<event>;                         ///< Its fault.
    using answer = outcome<translation<output>, fault_type>; ///< What it says.

    /// \param b a binding that uses stage 2.
    /// \param caps the capabilities.
    /// \param rules the open points.
    /// \param m the memory, alive as long as this object.
    /// \param trace the tracer, alive as long as this object.
    constexpr stage2_translator(binding const& b, capabilities const& caps, policy const& rules, M& m, Trace& trace)
        : tables_{make(b, caps, rules)}, swapped_{b.is_stage2_swapped()}, memory_{&m}, trace_{&trace} {}

    /// Translates \p in for \p a; the update that the leaf needs is left in \p owed.
    [[nodiscard, gnu::noinline, gnu::flatten]] constexpr answer translate(input in, access a, owed_update& owed) const noexcept {
        switch (tables_.size) {
        case granule::k16: return walk_in(tables_.k16, in, a, owed);
        case granule::k64: return walk_in(tables_.k64, in, a, owed);
        default: return walk_in(tables_.k4, in, a, owed);
        }
    }
    /// Translates \p in for \p a, but hands what it finds, or where it has to look closer, to \p end: see
    /// `memory/translated.hpp`. Of a stage whose tables are not swapped and that nobody traces.
    template <class End>
    [[nodiscard, gnu::always_inline]] constexpr typename End::result translate_to(input in, access a,
                                                                                  End const& end) const noexcept {
        switch (tables_.size) {
        case granule::k16: return walk_to(tables_.k16, in, a, end);
        case granule::k64: return walk_to(tables_.k64, in, a, end);
        default: return walk_to(tables_.k4, in, a, end);
        }
    }
    /// Whether translate_to() serves it.
    [[nodiscard, gnu::always_inline]] constexpr bool is_plain() const { return std::is_same_v<Trace, no_trace> && !swapped_; }

    /// Where translate_to() stopped, to the end: calls \p go_on with the one stage that there is and its memory.
    template <class GoOn>
    [[nodiscard]] constexpr answer resume(GoOn const& go_on) const noexcept {
        switch (tables_.size) {
        case granule::k16: return own(go_on(tables_.k16, *memory_));
        case granule::k64: return own(go_on(tables_.k64, *memory_));
        default: return own(go_on(tables_.k4, *memory_));
        }
    }
    /// Translates \p in for \p a and makes the update.
    [[nodiscard]] constexpr answer translate(input in, access a) const noexcept {
        for (unsigned restarts = 0;; ++restarts) {
            owed_update owed;
            auto walked = translate(in, a, owed);
            if (!walked || !owed.is_owed()) return walked;
            settled const how = settle_leaf(owed);
            if (how == settled::done) return walked;
            if (how == settled::failed || restarts == max_restarts) return failure{failed_update(in, owed)};
        }
    }
    /// Makes an update that a translation has left.
    [[nodiscard]] constexpr settled settle_leaf(owed_update const& owed) const noexcept {
        typename M::error error{};
        if (!swapped_) return settle(*memory_, owed, error);
        byte_swapped<M> memory{*memory_};
        return settle(memory, owed, error);
    }
    /// The fault of an update that failed.
    [[nodiscard]] constexpr fault_type failed_update(input in, owed_update const& owed) const {
        return fault_of<stage2<granule::k4, input, output>>(event::f_walk_eabt, fault_at::table, in, owed.of);
    }

private:
    // A stage of one of the three granules, made where it stays.
    struct any_stage2 {
        granule size;
        union {
            stage2<granule::k4, input, output> k4;
            stage2<granule::k16, input, output> k16;
            stage2<granule::k64, input, output> k64;
        };
        template <granule G>
        using constant = std::integral_constant<granule, G>;
        constexpr any_stage2(constant<granule::k4> g, binding const& b, capabilities const& caps, policy const& rules)
            : size{g()}, k4{stage2_of<g(), output>(b, caps, rules)} {}
        constexpr any_stage2(constant<granule::k16> g, binding const& b, capabilities const& caps, policy const& rules)
            : size{g()}, k16{stage2_of<g(), output>(b, caps, rules)} {}
        constexpr any_stage2(constant<granule::k64> g, binding const& b, capabilities const& caps, policy const& rules)
            : size{g()}, k64{stage2_of<g(), output>(b, caps, rules)} {}
    };

    [[nodiscard]] static constexpr any_stage2 make(binding const& b, capabilities const& caps, policy const& rules) {
        return with_granule(b.stream.stage2_granule(), [&](auto g) { return any_stage2{g, b, caps, rules}; });
    }

    template <class S>
    [[nodiscard, gnu::always_inline]] constexpr answer walk_in(S const& s, input in, access a, owed_update& owed) const noexcept {
        if (swapped_) [[unlikely]]
            return stagewalk::detail::apart(walk_swapped(s, in, a, owed));
        if constexpr (std::is_same_v<Trace, no_trace>) {
            auto walked = walk_owing(s, *memory_, in, a, owed);
            if (!walked) [[unlikely]]
                return failure{outer_fault(walked.error())};
            return *walked;
        } else {
            return own(walk_owing(s, *memory_, in, a, owed, *trace_));
        }
    }
    template <class S, class End>
    [[nodiscard, gnu::always_inline]] constexpr typename End::result walk_to(S const& s, input in, access a,
                                                                             End const& end) const noexcept {
        return stagewalk::detail::fast_walk_to(s, *memory_, s.root(), in, a, end);
    }
    template <class S>
    [[nodiscard, gnu::cold, gnu::noinline]] constexpr answer walk_swapped(S const& s, input in, access a,
                                                                          owed_update& owed) const noexcept {
        byte_swapped<M> memory{*memory_};
        return own(walk_owing(s, memory, in, a, owed, *trace_));
    }
    template <class Outcome>
    [[nodiscard]] static constexpr answer own(Outcome const& walked) {
        if (!walked) return failure{outer_fault(walked.error())};
        return *walked;
    }

    any_stage2 tables_;
    bool swapped_;
    M* memory_;
    Trace* trace_;
};

} // namespace smmu
} // namespace v0
} // namespace stagewalk
