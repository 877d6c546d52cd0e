/// \file
/// Memory behind the user's own functions: a VMM's accessor, a debugger's remote stub, a dump file.
#pragma once

#include "concept.hpp"

#include <cstdint>
#include <type_traits>
#include <utility>

namespace stagewalk {
inline namespace v0 {

/// The place of an operation that a `callback` does not offer.
struct not_offered {};

/// Serves \p Address through callables that do not throw.
/// \tparam Address the space that is served.
/// \tparam Load is called as `load(address)` and returns an `outcome<std::uint64_t, E>`: the 64 bits in host order, or
/// why not. E becomes the memory's error type. The load must be single-copy atomic where somebody else writes the
/// tables meanwhile.
/// \tparam CompareExchange is called as `compare_exchange(address, expected&, desired)` and returns `outcome<bool, E>`.
/// \tparam Store is called as `store(address, value)` and returns `outcome<bool, E>`.
template <class Address, class Load, class CompareExchange = not_offered, class Store = not_offered>
class callback {
    using result = std::invoke_result_t<Load&, Address>;
    static constexpr bool updates = !std::is_same_v<CompareExchange, not_offered>;
    static constexpr bool stores = !std::is_same_v<Store, not_offered>;

public:
    using address = Address;                   ///< The address type.
    using error = typename result::error_type; ///< Whatever the user's load reports.

    /// \param load called for each entry.
    /// \param compare_exchange called to set A/D bits.
    /// \param store called to build tables.
    constexpr explicit callback(Load load, CompareExchange compare_exchange = {}, Store store = {})
        : load_{std::move(load)}, compare_exchange_{std::move(compare_exchange)}, store_{std::move(store)} {}

    /// The 64 bits at \p a.
    [[nodiscard]] constexpr outcome<std::uint64_t, error> load(Address a) noexcept { return load_(a); }

    /// Replaces the 64 bits at \p a if they still are \p expected, which receives what was found.
    constexpr outcome<bool, error> compare_exchange(Address a, std::uint64_t& expected,
                                                    std::uint64_t desired) noexcept requires updates {
        return compare_exchange_(a, expected, desired);
    }

    /// Stores \p value at \p a.
    constexpr outcome<bool, error> store(Address a, std::uint64_t value) noexcept requires stores { return store_(a, value); }

    /// Nothing to do: the user's store publishes by itself.
    constexpr void publish(Address, std::uint64_t) noexcept requires stores {}

private:
    Load load_;
    [[no_unique_address]] CompareExchange compare_exchange_;
    [[no_unique_address]] Store store_;
};

/// Serves \p Address through \p load alone: `make_callback<pa>([&](pa a) { return dump.read(a); })`.
template <class Address, class Load>
[[nodiscard]] constexpr callback<Address, Load> make_callback(Load load) {
    return callback<Address, Load>{std::move(load)};
}

/// The same with A/D updates, and with stores if tables are to be built.
template <class Address, class Load, class CompareExchange, class Store = not_offered>
[[nodiscard]] constexpr callback<Address, Load, CompareExchange, Store> make_callback(Load load, CompareExchange compare_exchange,
                                                                                      Store store = {}) {
    return callback<Address, Load, CompareExchange, Store>{std::move(load), std::move(compare_exchange), std::move(store)};
}

} // namespace v0
} // namespace stagewalk
