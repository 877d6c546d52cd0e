// Memory with holes that can be updated, for tests, and single bits.
#pragma once

#include <stagewalk/memory/concept.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <vector>

namespace stagewalk::test {

inline constexpr std::uint64_t every_bit = ~std::uint64_t{0};

inline std::uint64_t one_bit(unsigned n) { return std::uint64_t{1} << n; }

// Memory with holes that can be updated: it remembers loads and updates, fails where it is told to, and lets somebody else
// change an entry just before a compare-exchange looks.
template <class Address>
class watched_memory {
public:
    using address = Address;
    using error = memory_error;

    struct update {
        std::uint64_t at;
        std::uint64_t from;
        std::uint64_t to;
        friend bool operator==(update const&, update const&) = default;
    };

    // The word at `at`, which makes its page exist.
    std::uint64_t& operator[](std::uint64_t at) { return pages_[at >> 12][at >> 3 & 511]; }
    // Takes the page of `at` away.
    void remove(std::uint64_t at) { pages_.erase(at >> 12); }
    // Makes a single word unreadable.
    void poison(std::uint64_t at) { poisoned_.insert(at); }
    // Makes a single word impossible to update.
    void freeze(std::uint64_t at) { frozen_.insert(at); }

    outcome<std::uint64_t, error> load(Address a) noexcept {
        trail.push_back(a.value);
        return peek(a.value);
    }
    outcome<bool, error> compare_exchange(Address a, std::uint64_t& expected, std::uint64_t desired) noexcept {
        ++attempts;
        if (meddle) meddle(a.value);
        auto const found = peek(a.value);
        if (!found || frozen_.contains(a.value)) return failure{memory_error::outside};
        bool const same = *found == expected;
        if (same) {
            updates.push_back({a.value, expected, desired});
            (*this)[a.value] = desired;
        }
        expected = *found;
        return same;
    }
    void forget() {
        trail.clear();
        updates.clear();
        attempts = 0;
    }

    std::vector<std::uint64_t> trail;            // every load, failed ones included
    std::vector<update> updates;                 // every compare-exchange that took place
    std::size_t attempts{};                      // every compare-exchange
    std::function<void(std::uint64_t)> meddle{}; // called with the address before a compare-exchange

private:
    outcome<std::uint64_t, error> peek(std::uint64_t at) {
        auto const page = pages_.find(at >> 12);
        if ((at & 7) != 0 || page == pages_.end() || poisoned_.contains(at)) return failure{memory_error::outside};
        return page->second[at >> 3 & 511];
    }
    std::map<std::uint64_t, std::array<std::uint64_t, 512>> pages_;
    std::set<std::uint64_t> poisoned_;
    std::set<std::uint64_t> frozen_;
};

// The same memory, to look at only.
template <class Memory>
struct judged_only {
    using address = typename Memory::address;
    using error = typename Memory::error;
    Memory* of;

    outcome<std::uint64_t, error> load(address a) noexcept { return of->load(a); }
};

} // namespace stagewalk::test
