// Tables in the memory of whatever host the tests run on: 32 or 64 bits, either byte order, with or without atomic 64-bit words.
#pragma once

#include <stagewalk/memory/callback.hpp>
#include <stagewalk/memory/flat.hpp>
#include <stagewalk/memory/windowed.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <type_traits>

namespace stagewalk::test {

// A table's word as it lies in memory, little-endian. To everybody else it is the number that it means.
class alignas(8) table_word {
public:
    operator std::uint64_t() const { return little_endian(image_); }
    table_word& operator=(std::uint64_t value) {
        image_ = little_endian(value);
        return *this;
    }
    table_word& operator&=(std::uint64_t mask) { return *this = *this & mask; }
    table_word& operator|=(std::uint64_t mask) { return *this = *this | mask; }
    table_word& operator^=(std::uint64_t mask) { return *this = *this ^ mask; }
    // For a policy that serves words.
    std::uint64_t* image() { return &image_; }
    std::uint64_t const* image() const { return &image_; }

private:
    std::uint64_t image_ = 0;
};
static_assert(sizeof(table_word) == 8 && std::is_trivially_copyable_v<table_word>);

// The environment variable STAGEWALK_CASES_DIVISOR, a number, makes fewer random cases where the host is emulated. What has to
// be met often enough is then not counted; every case is judged as ever.
inline std::uint64_t cases_divisor() {
    char const* const given = std::getenv("STAGEWALK_CASES_DIVISOR");
    std::uint64_t const divisor = given == nullptr ? 1 : std::strtoull(given, nullptr, 10);
    return divisor == 0 ? 1 : divisor;
}
inline bool all_cases() { return cases_divisor() == 1; }
inline std::uint64_t fewer(std::uint64_t cases, std::uint64_t least = 1) { return std::max(cases / cases_divisor(), least); }

// `flat` and `make_windowed`, by these names. Where 64-bit words are not atomic the library refuses to compile its own, and
// what a user brings instead, a callback with plain loads and stores, has to serve the same.
#if __GCC_ATOMIC_LLONG_LOCK_FREE == 2
using stagewalk::flat;
using stagewalk::make_windowed;
#else

namespace detail {

// Operations on the word that `find(address)` points to, a null pointer where there is none.
template <class Address, class Find>
struct plain_load {
    Find find;
    outcome<std::uint64_t, memory_error> operator()(Address a) const {
        auto const* const word = find(a);
        if (word == nullptr) return failure{memory_error::outside};
        return little_endian(*word);
    }
};
template <class Address, class Find>
struct plain_exchange {
    Find find;
    outcome<bool, memory_error> operator()(Address a, std::uint64_t& expected, std::uint64_t desired) const {
        auto* const word = find(a);
        if (word == nullptr) return failure{memory_error::outside};
        std::uint64_t const found = little_endian(*word);
        bool const same = found == expected;
        if (same) *word = little_endian(desired);
        expected = found;
        return same;
    }
};
template <class Address, class Find>
struct plain_store {
    Find find;
    outcome<bool, memory_error> operator()(Address a, std::uint64_t value) const {
        auto* const word = find(a);
        if (word == nullptr) return failure{memory_error::outside};
        *word = little_endian(value);
        return true;
    }
};
template <class Address, class Find>
using plain_words = callback<Address, plain_load<Address, Find>, plain_exchange<Address, Find>, plain_store<Address, Find>>;

template <class Address>
struct find_in_block {
    shared_word* base;
    std::uint64_t origin;
    std::uint64_t words;
    shared_word* operator()(Address a) const {
        std::uint64_t const offset = a.value - origin;
        return offset % 8 == 0 && offset / 8 < words ? base + offset / 8 : nullptr;
    }
};

template <class Address, class Window>
struct find_in_window {
    Window window;
    std::invoke_result_t<Window const&, Address> operator()(Address a) const {
        if (a.value % 8 != 0) return nullptr;
        auto* const page = window(Address{a.value & ~std::uint64_t{0xfff}});
        return page == nullptr ? page : page + (a.value & 0xfff) / 8;
    }
};

} // namespace detail

template <class Address>
struct flat : detail::plain_words<Address, detail::find_in_block<Address>> {
    using find = detail::find_in_block<Address>;
    flat(find const& f) : detail::plain_words<Address, find>{{f}, {f}, {f}} {}
    flat(void* base, std::uint64_t bytes, Address origin)
        : flat{find{static_cast<shared_word*>(base), origin.value,
                    reinterpret_cast<std::uintptr_t>(base) % 8 == 0 ? bytes / 8 : 0}} {}
    template <std::size_t N>
    flat(std::uint64_t (&words)[N], Address origin) : flat{find{words, origin.value, N}} {}
};
template <class Space>
flat(void*, std::uint64_t, address<Space>) -> flat<address<Space>>;
template <std::size_t N, class Space>
flat(std::uint64_t (&)[N], address<Space>) -> flat<address<Space>>;

// What `windowed` offers besides.
template <class Words>
struct paged_words : Words {
    using address = typename Words::address;
    outcome<std::uint64_t, memory_error> load_in_page(address page, std::uint64_t word) noexcept {
        return this->load(address{page.value + word * 8});
    }
};

template <class Address, class Window>
auto make_windowed(Window window) {
    using find = detail::find_in_window<Address, Window>;
    find const f{window};
    if constexpr (std::is_const_v<std::remove_pointer_t<std::invoke_result_t<Window const&, Address>>>) {
        return paged_words<callback<Address, detail::plain_load<Address, find>>>{
            make_callback<Address>(detail::plain_load<Address, find>{f})};
    } else {
        using words = detail::plain_words<Address, find>;
        return paged_words<words>{words{{f}, {f}, {f}}};
    }
}

#endif

} // namespace stagewalk::test
