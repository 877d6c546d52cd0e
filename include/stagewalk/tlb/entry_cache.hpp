/// \file
/// A cache of configuration entries: what a device is bound to, as it was read.
#pragma once

#include "geometry.hpp"
#include "guard.hpp"
#include "replacement.hpp"
#include "statistics.hpp"
#include "tlb.hpp"

#include <bit>
#include <cstddef>
#include <cstdint>

namespace stagewalk {
inline namespace v0 {

/// What a unit has that caches nothing.
struct no_caches {
    static constexpr bool exist = false; ///< Whether there are caches.
};

namespace detail {

// Where a unit's caches are; nowhere, and no room for it, if it has none.
template <class Caches>
struct caches_of {
    constexpr explicit caches_of(Caches* at) : at_{at} {}
    constexpr Caches* operator->() const { return at_; }
    Caches* at_;
};
template <>
struct caches_of<no_caches> {
    constexpr explicit caches_of(no_caches*) {}
};

} // namespace detail

/// A cache of entries of \p Words words, found by a key of 63 bits: a source, a source with a PASID. Like a `tlb` it has no heap
/// and takes the same policies, by default 64 sets of 2 ways and nothing else.
///
/// What it holds is what memory held: whoever takes an entry from it judges it again, for another request.
/// \tparam Words how many words an entry has.
/// \tparam Policies any of `sets`, `ways`, `replace::`, `guard::`, `statistics::`; `groups` and `storage::` mean nothing here.
template <std::size_t Words, class... Policies>
class entry_cache {
    template <tlb_policy Kind, class Default>
    using policy = typename detail::chosen<Kind, Default, Policies...>::type;
    using replacement = policy<tlb_policy::replacement, replace::random>;
    using guard_type = policy<tlb_policy::guard, guard::none>;
    using statistics_type = policy<tlb_policy::statistics, statistics::none>;

public:
    static constexpr std::uint64_t set_count = policy<tlb_policy::sets, sets<64>>::count; ///< How many sets.
    static constexpr std::uint64_t way_count = policy<tlb_policy::ways, ways<2>>::count;  ///< How many entries in each.

    /// An empty cache.
    constexpr entry_cache() = default;
    entry_cache(entry_cache const&) = delete;
    entry_cache& operator=(entry_cache const&) = delete;

    /// The entry of \p key.
    /// \param key what it is found by.
    /// \param word receives its words where there is one.
    /// \return whether there is one.
    [[nodiscard, gnu::always_inline]] constexpr bool find(std::uint64_t key, std::uint64_t (&word)[Words]) noexcept {
        std::uint64_t const set = set_of(key);
        auto const& s = set_[set];
        auto const visit = guard_.begin_read(set);
        std::uint64_t match = 0;
        for (std::uint64_t w = 0; w < way_count; ++w)
            match |= static_cast<std::uint64_t>(detail::load_cached<is_shared>(s.key[w]) == (key | taken)) << w;
        auto const way = static_cast<std::uint64_t>(std::countr_zero(match)) % std::bit_ceil(way_count);
        bool const is_there = match != 0;
        if (is_there) {
            for (std::size_t n = 0; n < Words; ++n)
                word[n] = detail::load_cached<is_shared>(s.word[n][way]);
        }
        if (!guard_.end_read(set, visit) || !is_there) {
            count_.add(tlb_count::misses);
            return false;
        }
        if constexpr (replacement::moves_on_hit && way_count > 1) touch(set, way);
        count_.add(tlb_count::hits);
        return true;
    }

    /// To be called before an entry is read that may be put in.
    [[nodiscard, gnu::always_inline]] constexpr fill_ticket begin() const noexcept { return {load_changes()}; }

    /// Puts in the entry of \p key, unless an invalidation came in since \p ticket was taken.
    /// \param ticket what begin() said before the entry was read.
    /// \param key what it is found by; bit 63 does not count.
    /// \param word its words.
    constexpr void insert(fill_ticket ticket, std::uint64_t key, std::uint64_t const (&word)[Words]) noexcept {
        std::uint64_t const set = set_of(key);
        guard_.write(set, [&]() noexcept {
            if (load_changes() != ticket.changes) {
                count_.add(tlb_count::dropped_fills);
                return;
            }
            auto& s = set_[set];
            std::uint64_t way = way_count;
            for (std::uint64_t w = 0; w < way_count; ++w) {
                if (s.key[w] == (key | taken) || (way == way_count && s.key[w] == 0)) way = w;
            }
            if (way == way_count) {
                random_ = random_ * 0x5851'f42d'4c95'7f2d + 1;
                way = replacement::template victim<way_count>(order_[set], random_ >> 33);
                count_.add(tlb_count::evictions);
            }
            detail::store_cached<is_shared>(s.key[way], key | taken);
            for (std::size_t n = 0; n < Words; ++n)
                detail::store_cached<is_shared>(s.word[n][way], word[n]);
            touch(set, way);
            count_.add(tlb_count::fills);
        });
    }

    /// Drops the entries of which \p stale says so. Looks at all: configuration changes seldom.
    /// \param stale called as `stale(key, words)`, the words an array.
    template <class Predicate>
    constexpr void drop_if(Predicate&& stale) noexcept {
        count_.add(tlb_count::invalidations);
        if constexpr (is_shared) {
            __atomic_fetch_add(&changes_, 1, __ATOMIC_SEQ_CST);
        } else {
            ++changes_;
        }
        for (std::uint64_t set = 0; set < set_count; ++set) {
            guard_.write(set, [&]() noexcept {
                auto& s = set_[set];
                for (std::uint64_t w = 0; w < way_count; ++w) {
                    if (s.key[w] == 0) continue;
                    std::uint64_t word[Words]{};
                    for (std::size_t n = 0; n < Words; ++n)
                        word[n] = s.word[n][w];
                    if (stale(s.key[w] & ~taken, static_cast<std::uint64_t const(&)[Words]>(word)))
                        detail::store_cached<is_shared>(s.key[w], 0);
                }
            });
        }
    }

    /// What was counted.
    [[nodiscard]] constexpr statistics_type const& counts() const noexcept { return count_; }

private:
    static constexpr bool is_shared = guard_type::is_shared;
    static constexpr std::uint64_t taken = std::uint64_t{1} << 63;

    struct alignas(64) entry_set {
        std::uint64_t key[way_count]{}; // with `taken`; 0: nothing
        std::uint64_t word[Words][way_count]{};
    };

    [[nodiscard, gnu::always_inline]] static constexpr std::uint64_t set_of(std::uint64_t key) {
        constexpr int lg2 = std::countr_zero(set_count);
        return (key ^ key >> (lg2 != 0 ? lg2 : 1) ^ key >> 20) & (set_count - 1);
    }
    [[nodiscard, gnu::always_inline]] constexpr std::uint64_t load_changes() const {
        if constexpr (is_shared) return __atomic_load_n(&changes_, __ATOMIC_SEQ_CST);
        return changes_;
    }
    [[gnu::always_inline]] constexpr void touch(std::uint64_t set, std::uint64_t way) {
        std::uint64_t const before = detail::load_cached<is_shared>(order_[set]);
        std::uint64_t const after = replacement::template touched<way_count>(before, way);
        if (!is_shared || after != before) detail::store_cached<is_shared>(order_[set], after);
    }

    entry_set set_[set_count]{};
    std::uint64_t order_[set_count]{};
    [[no_unique_address]] typename guard_type::template state<set_count, 1> guard_{};
    [[no_unique_address]] statistics_type count_{};
    std::uint64_t changes_{};
    std::uint64_t random_{1};
};

} // namespace v0
} // namespace stagewalk
