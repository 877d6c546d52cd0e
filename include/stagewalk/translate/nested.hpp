/// \file
/// Two stages, one over the other.
#pragma once

#include "../memory/translated.hpp"
#include "single.hpp"

#include <concepts>
#include <cstdint>
#include <type_traits>

namespace stagewalk {
inline namespace v0 {

/// How two stages of unlike architectures combine: rights are what both grant, the format bits are stage 1's, and a
/// fault says whose it is. An architecture that defines more (memory types, codes of its own for stage-2 faults) brings
/// its own rule with these members.
struct plain_nesting {
    /// The attributes of both stages together.
    [[nodiscard]] static constexpr attributes merge(attributes first, attributes second) {
        return attributes::from_bits(first.bits & (second.bits | ~attributes::rights_mask));
    }

    /// The fault to report: unchanged, with whose it is.
    template <class Fault>
    [[nodiscard]] static constexpr Fault report(Fault const& f) {
        return f;
    }
};

namespace detail {

// A translator that stays where it is: what a translation reads through need not be copied for each.
template <translator T>
class borrowed {
public:
    using input = typename T::input;
    using output = typename T::output;
    using fault_type = typename T::fault_type;

    constexpr explicit borrowed(T const& of) : of_{&of} {}

    [[nodiscard, gnu::flatten]] constexpr outcome<translation<output>, fault_type> translate(input in, access a) const noexcept {
        return of_->translate(in, a);
    }
    // What a `single` is made of.
    static constexpr bool is_walk = requires { requires T::is_walk; };
    [[nodiscard]] constexpr auto& of() const { return of_->of(); }
    [[nodiscard]] constexpr auto& memory() const { return of_->memory(); }

private:
    T const* of_;
};

} // namespace detail

/// Walks \p S1, whose tables and output are addresses of \p T2's input space, through \p T2. Any stage 1 composes over
/// any translator: a `single`, or another `nested` for three stages.
/// \tparam S1 the outer (first) stage.
/// \tparam T2 the inner translator.
/// \tparam M the memory behind both.
/// \tparam Rule combines attributes and faults.
template <stage S1, translator T2, memory M, class Rule = plain_nesting>
    requires std::same_as<typename S1::output, typename T2::input> && serves<M, typename T2::output>
class nested {
    using tables = translated<detail::borrowed<T2>, M>;
    using raw_fault = walk_fault<S1, tables>;

public:
    using input = typename S1::input;   ///< What it translates from.
    using output = typename T2::output; ///< What it translates to.
    /// Its fault, as the rule reports it.
    using fault_type = decltype(Rule::report(std::declval<raw_fault const&>()));

    /// \param s1 the outer stage.
    /// \param t2 the inner translator.
    /// \param m the memory behind both, alive as long as this object.
    constexpr nested(S1 const& s1, T2 const& t2, M& m) : first_{s1}, second_{t2}, memory_{&m} {}

    /// The same from two stages over one memory.
    template <stage S2>
        requires std::same_as<T2, single<S2, M>>
    constexpr nested(S1 const& s1, S2 const& s2, M& m) : nested{s1, T2{s2, m}, m} {}

    /// Translates \p in for \p a through both. The update that the outer stage's leaf needs is made when the inner
    /// translation has granted the access.
    [[nodiscard, gnu::flatten]] constexpr outcome<translation<output>, fault_type> translate(input in, access a) const noexcept {
        tables through{detail::borrowed{second_}, *memory_};
        if constexpr (marking<S1>) {
            for (unsigned restarts = 0;; ++restarts) {
                owed_update owed;
                auto both = go_on(walk_owing(first_, through, in, a, owed), in, a);
                if (!both) return both;
                typename tables::error error{};
                settled const how = settle(through, owed, error);
                if (how == settled::changed && restarts < max_restarts) continue;
                if (how == settled::done) return both;
                auto const failed = detail::failed_update<S1, tables>(first_, in, owed.of, error);
                return failure{fault_type{Rule::report(failed.error())}};
            }
        } else {
            return go_on(walk(first_, through, in, a), in, a);
        }
    }

private:
    // From the outer stage's answer through the inner translation.
    [[nodiscard, gnu::always_inline]] constexpr outcome<translation<output>, fault_type>
    go_on(walk_outcome<S1, tables> first, input in, access a) const noexcept {
        if (!first) [[unlikely]]
            return failure{fault_type{Rule::report(first.error())}};
        auto second = second_.translate(first->output, a);
        if (!second) [[unlikely]] {
            fault<typename S1::code> outer{{}, S1::number, fault_at::input, no_level, true, in.value, first->output.value, 0,
                                           0,  0};
            return failure{fault_type{Rule::report(raw_fault{nested_by::output, outer, second.error()})}};
        }
        return translation<output>{second->output, Rule::merge(first->effective, second->effective),
                                   first->lg2_size < second->lg2_size ? first->lg2_size : second->lg2_size,
                                   second->by == passage::bypassed ? passage::walked : second->by};
    }

    S1 first_;
    T2 second_;
    M* memory_;
};

/// `nested{stage1, stage2, memory}` deduces all.
template <stage S1, stage S2, memory M>
nested(S1, S2, M&) -> nested<S1, single<S2, M>, M>;
/// `nested{stage1, translator, memory}` deduces all.
template <stage S1, translator T2, memory M>
nested(S1, T2, M&) -> nested<S1, T2, M>;

} // namespace v0
} // namespace stagewalk
