/// \file
/// Anything that turns addresses of one space into addresses of another.
#pragma once

#include "../core/access.hpp"
#include "../core/outcome.hpp"
#include "../core/translation.hpp"

#include <concepts>

namespace stagewalk {
inline namespace v0 {

/// Names the spaces that it leads from and to, and its fault.
template <class T>
concept has_translator_types = requires {
    typename T::input::space;
    typename T::output::space;
    typename T::fault_type;
};

/// Translates one address for one access, never throwing: `single`, `nested`, and the user's own. Translators compose.
template <class T>
concept translator = has_translator_types<T> && requires(T const& t, typename T::input in, access a) {
    { t.translate(in, a) }
    noexcept->std::same_as<outcome<translation<typename T::output>, typename T::fault_type>>;
};

} // namespace v0
} // namespace stagewalk
