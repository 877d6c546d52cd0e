/// \file
/// One stage with its memory: a translator.
#pragma once

#include "../walk/walk.hpp"
#include "concept.hpp"

namespace stagewalk {
inline namespace v0 {

/// Walks the tables of one stage. A view: the stage is copied, the memory is referred to.
template <stage S, memory M>
    requires serves<M, typename S::output>
class single {
public:
    using input = typename S::input;     ///< What it translates from.
    using output = typename S::output;   ///< What it translates to.
    using fault_type = walk_fault<S, M>; ///< Its fault.

    /// \param s the stage.
    /// \param m the memory that holds its tables, alive as long as this object.
    constexpr single(S const& s, M& m) : stage_{s}, memory_{&m} {}

    /// Translates \p in for \p a.
    [[nodiscard, gnu::flatten]] constexpr outcome<translation<output>, fault_type> translate(input in,
                                                                                             access a) const noexcept {
        return walk(stage_, *memory_, in, a);
    }

    /// The stage.
    [[nodiscard]] constexpr S const& of() const { return stage_; }

private:
    S stage_;
    M* memory_;
};

/// `single{stage, memory}` deduces both.
template <class S, class M> single(S, M&) -> single<S, M>;

} // namespace v0
} // namespace stagewalk
