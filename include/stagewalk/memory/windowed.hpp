/// \file
/// Memory that is found page by page: a callable turns the address of a 4 KiB page into a host pointer.
#pragma once

#include "concept.hpp"
#include "word.hpp"

#include <cstdint>
#include <type_traits>
#include <utility>

namespace stagewalk {
inline namespace v0 {

/// Serves \p Address through \p Window, which is called as `window(page)` with the address of a 4 KiB page and returns
/// a pointer to its first 64-bit word in host memory, or a null pointer where there is no such page. A pointer to const
/// makes the memory read-only. This is the policy for a hypervisor's direct map and for a VMM's guest RAM with holes.
/// \tparam Address the space that is served.
/// \tparam Window a callable that does not throw.
template <class Address, class Window>
class windowed {
    using pointer = std::invoke_result_t<Window const&, Address>;
    static constexpr bool writable = !std::is_const_v<std::remove_pointer_t<pointer>>;
    static_assert(std::is_pointer_v<pointer> && std::is_unsigned_v<std::remove_pointer_t<pointer>> &&
                      sizeof(std::remove_pointer_t<pointer>) == 8,
                  "the window callable returns a pointer to 64-bit words");
    static_assert(detail::word_atomics<Address>,
                  "windowed needs lock-free 64-bit atomics, which this target lacks: use callback and supply load and "
                  "compare_exchange yourself");

public:
    using address = Address;    ///< The address type.
    using error = memory_error; ///< Why an address is not served.

    static constexpr bool is_view = true;           ///< A walk may work on a copy.
    static constexpr std::uint64_t lg2_window = 12; ///< A window has 2^12 bytes: 4 KiB.

    /// \param window the callable.
    constexpr explicit windowed(Window window) : window_{std::move(window)} {}

    /// The 64 bits at \p a.
    [[nodiscard, gnu::always_inline]] constexpr outcome<std::uint64_t, error> load(Address a) const noexcept {
        if ((a.value & 7) != 0) [[unlikely]]
            return failure{memory_error::outside};
        return load_in_page(Address{a.value & ~offset_mask}, (a.value & offset_mask) / 8);
    }

    /// Word \p word (0 to 511) of the page at \p page, a multiple of 4096.
    [[nodiscard, gnu::always_inline]] constexpr outcome<std::uint64_t, error> load_in_page(Address page,
                                                                                           std::uint64_t word) const noexcept {
        auto* const words = window_(page);
        if (words == nullptr) [[unlikely]]
            return failure{memory_error::outside};
        return detail::load_word(words + word);
    }

    /// Stores \p value at \p a. Where it succeeds, the value is true.
    constexpr outcome<bool, error> store(Address a, std::uint64_t value) const noexcept requires writable {
        auto* const word = find(a);
        if (word == nullptr) return failure{memory_error::outside};
        detail::store_word(word, value);
        return true;
    }

    /// Replaces the 64 bits at \p a if they still are \p expected, which receives what was found.
    constexpr outcome<bool, error> compare_exchange(Address a, std::uint64_t& expected,
                                                    std::uint64_t desired) const noexcept requires writable {
        auto* const word = find(a);
        if (word == nullptr) return failure{memory_error::outside};
        return detail::compare_exchange_word(word, expected, desired);
    }

    /// Nothing to do: the walker is a processor, coherent with its own stores.
    constexpr void publish(Address, std::uint64_t) const noexcept requires writable {}

private:
    static constexpr std::uint64_t offset_mask = (std::uint64_t{1} << lg2_window) - 1;

    [[nodiscard]] constexpr pointer find(Address a) const noexcept {
        if ((a.value & 7) != 0) return nullptr;
        pointer const words = window_(Address{a.value & ~offset_mask});
        return words == nullptr ? words : words + (a.value & offset_mask) / 8;
    }

    Window window_;
};

/// Serves \p Address through \p window: `make_windowed<ipa>([&](ipa page) { return ram.find(page); })`.
template <class Address, class Window>
[[nodiscard]] constexpr windowed<Address, Window> make_windowed(Window window) {
    return windowed<Address, Window>{std::move(window)};
}

} // namespace v0
} // namespace stagewalk
