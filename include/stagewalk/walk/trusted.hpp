/// \file
/// Tables that we wrote ourselves need no distrust.
#pragma once

#include "stage.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {

/// The stage \p S over tables that nobody else writes: the fast lane does not look at reserved bits. It still looks at
/// rights. An entry that it does not take is judged in full, so a fault has the same code as with \p S itself.
template <trustable S>
struct trusted : S {
    /// \param s the stage.
    constexpr explicit trusted(S const& s) : S{s} {}

    /// The fast lane without the checks that only a guest's tables need.
    [[nodiscard, gnu::always_inline]] constexpr auto lane(access a) const { return this->trusting_lane(a); }
};

/// `trusted{stage}` deduces the stage.
template <class S>
trusted(S) -> trusted<S>;

} // namespace v0
} // namespace stagewalk
