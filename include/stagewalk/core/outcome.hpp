/// \file
/// A value, or the reason why there is none.
#pragma once

#include <type_traits>

namespace stagewalk {
inline namespace v0 {

/// Marks its argument as the error of an `outcome`: `return failure{memory_error::outside};`
/// \tparam E the error type.
template <class E>
struct failure {
    E error; ///< Why there is no value.
};

/// `failure{e}` deduces its error type.
template <class E>
failure(E) -> failure<E>;

/// Holds a \p T on success or an \p E on failure. Both are trivially copyable: an outcome of an address is returned in
/// two registers.
/// \tparam T what success carries.
/// \tparam E what failure carries: the manual's code and all that names the place.
template <class T, class E>
class [[nodiscard]] outcome {
    static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_copyable_v<E>);

public:
    using value_type = T; ///< What success carries.
    using error_type = E; ///< What failure carries.

    /// A failure that says nothing yet: elements of an array that waits for answers.
    constexpr outcome() requires std::is_default_constructible_v<E> : error_{}, ok_{false} {}
    /// Success.
    constexpr outcome(T const& value) : value_{value}, ok_{true} {}
    /// Failure.
    constexpr outcome(failure<E> const& f) : error_{f.error}, ok_{false} {}

    /// Whether there is a value.
    [[nodiscard]] constexpr explicit operator bool() const { return ok_; }
    /// The value. Of a success.
    [[nodiscard]] constexpr T const& operator*() const { return value_; }
    /// A member of the value. Of a success.
    [[nodiscard]] constexpr T const* operator->() const { return &value_; }
    /// The error. Of a failure.
    [[nodiscard]] constexpr E const& error() const { return error_; }

    /// Outcomes are equal that both succeeded with equal values or both failed with equal errors.
    friend constexpr bool operator==(outcome const& a, outcome const& b) {
        return a.ok_ == b.ok_ && (a.ok_ ? a.value_ == b.value_ : a.error_ == b.error_);
    }

private:
    union {
        T value_;
        E error_;
    };
    bool ok_;
};

} // namespace v0
} // namespace stagewalk
