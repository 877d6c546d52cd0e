/// \file
/// Anything that turns addresses of one space into addresses of another.
#pragma once

#include "../core/access.hpp"
#include "../core/outcome.hpp"
#include "../core/translation.hpp"
#include "../walk/stage.hpp"

#include <concepts>
#include <type_traits>
#include <utility>

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

namespace detail {

// Whether an access that passes may have changed tables: then another one, that has not been seen to pass, may have to.
template <class T>
inline constexpr bool may_update_tables = true;
template <class T>
    requires requires { requires T::is_walk; }
inline constexpr bool may_update_tables<T> = marking<std::remove_cvref_t<decltype(std::declval<T const&>().of())>>;

} // namespace detail

} // namespace v0
} // namespace stagewalk
