/// \file
/// A run of addresses that is safe at the top of the space.
#pragma once

#include "address.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {

/// The addresses from first() to last(), both inclusive: a range can end at 2^64-1, and no end is ever computed.
/// \tparam Address an `address<Space>`.
template <class Address>
class range {
public:
    using address = Address; ///< The address type.

    /// The empty range.
    constexpr range() = default;

    /// \p bytes addresses from \p first on. A range that would pass 2^64-1 is empty and not valid().
    constexpr range(Address first, std::uint64_t bytes) : first_{first.value}, last_{first.value + (bytes - 1)} {
        if (bytes == 0 || last_ < first_) {
            *this = range{};
            valid_ = bytes == 0;
        }
    }

    /// The range from \p first to \p last, both inclusive; not valid() if they are in the wrong order.
    [[nodiscard]] static constexpr range between(Address first, Address last) {
        range r;
        if (last < first) {
            r.valid_ = false;
        } else {
            r.first_ = first.value;
            r.last_ = last.value;
        }
        return r;
    }

    /// All 2^64 addresses.
    [[nodiscard]] static constexpr range all() { return between(Address{0}, Address{~std::uint64_t{0}}); }

    /// Whether the range was made from arguments that fit the space.
    [[nodiscard]] constexpr bool valid() const { return valid_; }
    /// Whether there is no address in it.
    [[nodiscard]] constexpr bool empty() const { return last_ < first_; }
    /// The lowest address. Of a range that is not empty.
    [[nodiscard]] constexpr Address first() const { return Address{first_}; }
    /// The highest address. Of a range that is not empty.
    [[nodiscard]] constexpr Address last() const { return Address{last_}; }
    /// The number of addresses less one: 2^64 does not fit 64 bits. Of a range that is not empty.
    [[nodiscard]] constexpr std::uint64_t span() const { return last_ - first_; }
    /// Whether \p a lies inside.
    [[nodiscard]] constexpr bool contains(Address a) const { return first_ <= a.value && a.value <= last_; }
    /// Whether all of \p other lies inside. The empty range lies in every range.
    [[nodiscard]] constexpr bool contains(range const& other) const {
        return other.empty() || (first_ <= other.first_ && other.last_ <= last_);
    }
    /// Whether both have an address in common.
    [[nodiscard]] constexpr bool overlaps(range const& other) const { return !intersection(other).empty(); }
    /// The addresses that both have.
    [[nodiscard]] constexpr range intersection(range const& other) const {
        std::uint64_t const low = first_ < other.first_ ? other.first_ : first_;
        std::uint64_t const high = last_ < other.last_ ? last_ : other.last_;
        return high < low ? range{} : between(Address{low}, Address{high});
    }

    /// Ranges are equal that hold the same addresses.
    friend constexpr bool operator==(range const& a, range const& b) { return a.first_ == b.first_ && a.last_ == b.last_; }

private:
    std::uint64_t first_{1};
    std::uint64_t last_{0};
    bool valid_{true};
};

/// `range{iova{0}, 4096}` deduces its address type.
template <class Space>
range(address<Space>, std::uint64_t) -> range<address<Space>>;

} // namespace v0
} // namespace stagewalk
