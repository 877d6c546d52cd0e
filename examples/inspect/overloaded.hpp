/// \file
/// One callable out of several.
#pragma once

namespace inspect {

/// Calls whichever of \p F takes the argument.
template <class... F>
struct overloaded : F... {
    using F::operator()...;
};
template <class... F>
overloaded(F...) -> overloaded<F...>;

} // namespace inspect
