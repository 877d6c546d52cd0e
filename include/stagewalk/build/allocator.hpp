/// \file
/// Where new tables come from.
#pragma once

#include "../core/outcome.hpp"
#include "../core/range.hpp"
#include "../core/size.hpp"

#include <concepts>
#include <cstdint>

namespace stagewalk {
inline namespace v0 {

/// There is no table left to take.
struct out_of_tables {
    /// All alike.
    friend constexpr bool operator==(out_of_tables const&, out_of_tables const&) = default;
};

/// Hands out tables of 2^lg2 bytes, aligned to their size (`take`), and takes them back (`give`). Their contents need
/// not be cleared.
template <class A>
concept table_allocator = requires(A& a, typename A::address table, std::uint64_t lg2) {
    { a.take(lg2) }
    noexcept->std::same_as<outcome<typename A::address, out_of_tables>>;
    { a.give(table, lg2) }
    noexcept;
};

/// Takes tables one after the other out of a range. Tables of one size that are given back in the reverse order are used again,
/// others are not. Enough for boot tables and tools.
template <class Address>
class bump_allocator {
public:
    using address = Address; ///< The space that the tables lie in.

    /// \param from where the tables are to lie.
    constexpr explicit bump_allocator(range<Address> from) : left_{from} {}

    /// The next table of 2^\p lg2 bytes.
    [[nodiscard]] constexpr outcome<Address, out_of_tables> take(std::uint64_t lg2) noexcept {
        if (left_.empty()) return failure{out_of_tables{}};
        std::uint64_t const gap = (0 - left_.first().value) & low_mask(lg2);
        if (left_.span() < gap || left_.span() - gap < low_mask(lg2)) return failure{out_of_tables{}};
        Address const table = left_.first() + gap;
        Address const last = table + low_mask(lg2);
        left_ = last == left_.last() ? range<Address>{} : range<Address>::between(last + 1, left_.last());
        last_ = last;
        ++taken_;
        return table;
    }

    /// Takes \p table back.
    constexpr void give(Address table, std::uint64_t lg2) noexcept {
        --taken_;
        if (table + low_mask(lg2) == last_) {
            left_ = range<Address>::between(table, left_.empty() ? last_ : left_.last());
            last_ = table - 1;
        }
    }

    /// How many tables are out.
    [[nodiscard]] constexpr std::uint64_t taken() const { return taken_; }

private:
    range<Address> left_;
    Address last_{};
    std::uint64_t taken_{};
};

} // namespace v0
} // namespace stagewalk
