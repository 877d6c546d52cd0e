// Memory with holes, for tests: pages exist once they are written, and every load is remembered.
#pragma once

#include <stagewalk/memory/concept.hpp>

#include <array>
#include <cstdint>
#include <map>
#include <set>
#include <vector>

namespace stagewalk::test {

template <class Address>
class sparse_memory {
public:
    using address = Address;
    using error = memory_error;

    // The word at `at`, which makes its page exist.
    std::uint64_t& operator[](std::uint64_t at) { return pages_[at >> 12][at >> 3 & 511]; }
    // Takes the page of `at` away.
    void remove(std::uint64_t at) { pages_.erase(at >> 12); }
    // Makes a single word unreadable.
    void poison(std::uint64_t at) { poisoned_.insert(at); }

    outcome<std::uint64_t, error> load(Address a) noexcept {
        trail.push_back(a.value);
        auto const page = pages_.find(a.value >> 12);
        if ((a.value & 7) != 0 || page == pages_.end() || poisoned_.contains(a.value)) return failure{memory_error::outside};
        return page->second[a.value >> 3 & 511];
    }
    outcome<bool, error> store(Address a, std::uint64_t value) noexcept {
        auto const page = pages_.find(a.value >> 12);
        if ((a.value & 7) != 0 || page == pages_.end()) return failure{memory_error::outside};
        stored.push_back({a.value, value});
        page->second[a.value >> 3 & 511] = value;
        return true;
    }
    outcome<bool, error> compare_exchange(Address a, std::uint64_t& expected, std::uint64_t desired) noexcept {
        auto const found = load(a);
        if (!found) return failure{found.error()};
        bool const same = *found == expected;
        expected = *found;
        if (same) (*this)[a.value] = desired;
        return same;
    }
    void publish(Address a, std::uint64_t bytes) noexcept { published.push_back({a.value, bytes}); }

    struct pair {
        std::uint64_t at;
        std::uint64_t value;
        friend bool operator==(pair const&, pair const&) = default;
    };
    std::vector<std::uint64_t> trail; // every load, failed ones included
    std::vector<pair> stored;
    std::vector<pair> published;

private:
    std::map<std::uint64_t, std::array<std::uint64_t, 512>> pages_;
    std::set<std::uint64_t> poisoned_;
};

} // namespace stagewalk::test
