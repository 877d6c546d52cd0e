/// \file
/// A set-associative cache of translations.
#pragma once

#include "../core/access.hpp"
#include "../core/attributes.hpp"
#include "../core/outcome.hpp"
#include "../core/range.hpp"
#include "../core/size.hpp"
#include "../core/translation.hpp"
#include "geometry.hpp"
#include "guard.hpp"
#include "replacement.hpp"
#include "statistics.hpp"

#include <bit>
#include <concepts>
#include <cstdint>
#include <type_traits>
#include <utility>

namespace stagewalk {
inline namespace v0 {

/// Whose a translation is, in one word: bits 15:0 number the domain, 47:16 are the tag's own, 63:48 are 0.
template <class T>
concept tlb_tag = requires(T const& t) {
    { t.word() }
    noexcept->std::same_as<std::uint64_t>;
};

/// The simplest tag: a domain.
struct domain_tag {
    std::uint16_t domain{}; ///< Its number.

    /// The tag's word.
    [[nodiscard]] constexpr std::uint64_t word() const noexcept { return domain; }
};

/// Why a look-up does not answer.
enum class tlb_miss : std::uint64_t {
    absent,    ///< There is no entry.
    uncovered, ///< There is one, but nobody has seen such an access pass: walk, for the exact answer or for more rights.
};

/// What a fill has to show: no invalidation came in since begin().
struct fill_ticket {
    std::uint64_t changes{}; ///< How many invalidations there had been.
};

namespace detail {

template <tlb_policy Kind, class Default, class... Policies>
struct chosen {
    using type = Default;
};
template <tlb_policy Kind, class Default, class First, class... Rest>
struct chosen<Kind, Default, First, Rest...> {
    using type =
        typename std::conditional_t<First::decides == Kind, std::type_identity<First>, chosen<Kind, Default, Rest...>>::type;
};

// A word that other threads may read or write meanwhile, if the TLB is shared. What belongs together is for the guard to say.
template <bool Shared>
[[nodiscard, gnu::always_inline]] inline constexpr std::uint64_t load_cached(std::uint64_t const& w) {
    if constexpr (Shared) return __atomic_load_n(&w, __ATOMIC_RELAXED);
    return w;
}
template <bool Shared>
[[gnu::always_inline]] inline constexpr void store_cached(std::uint64_t& w, std::uint64_t value) {
    if constexpr (Shared) {
        __atomic_store_n(&w, value, __ATOMIC_RELAXED);
    } else {
        w = value;
    }
}

// One set. The keys and tags of four ways are one line of a cache, what they lead to another.
template <std::uint64_t Ways>
struct alignas(64) tlb_set {
    std::uint64_t key[Ways]{};        // the page, and in bits 5:0 its lg2 size; 0: nothing
    std::uint64_t tag[Ways]{};        // the tag's word, in bits 50:48 the circumstances of the access, in 63:52 the epoch
    std::uint64_t page[Ways]{};       // the output page, and in bits 2:0 the rights that have been seen to pass
    std::uint64_t attributes[Ways]{}; // all that the translation says of the page
};

} // namespace detail

/// A cache of translations of \p In to \p Out. It has no heap, throws nothing, and keeps at most one entry for a page and a
/// tag.
///
/// Entries hold whole pages, of 4 KiB and more, contiguous ones and any other power of two included. An entry answers exactly
/// those accesses that are known to pass; any other is a miss, so that a walk finds the exact fault, sets the dirty bit, or
/// sees that there are more rights by now. Circumstances of an access (privileged, zero-length, inquiring) have entries of
/// their own.
///
/// Dropping one domain or all takes a time that does not depend on the size, dropping a page a time that depends on how many
/// sizes of pages the domain has.
/// \tparam Tag tells whose an entry is.
/// \tparam In the input address type.
/// \tparam Out the output address type.
/// \tparam Policies any of `sets`, `ways`, `groups`, `replace::`, `guard::`, `statistics::`, `storage::`, in any order; without
/// them 256 sets of 4 ways, 64 groups, random replacement, no guard, no statistics, inside.
template <tlb_tag Tag, class In, class Out, class... Policies>
class tlb {
    template <tlb_policy Kind, class Default>
    using policy = typename detail::chosen<Kind, Default, Policies...>::type;

public:
    using tag = Tag;                                                          ///< Whose an entry is.
    using input = In;                                                         ///< The input address type.
    using output = Out;                                                       ///< The output address type.
    using replacement = policy<tlb_policy::replacement, replace::random>;     ///< Which entry makes room.
    using guard_type = policy<tlb_policy::guard, guard::none>;                ///< Who may use it at the same time.
    using statistics_type = policy<tlb_policy::statistics, statistics::none>; ///< What is counted.

    static constexpr std::uint64_t set_count = policy<tlb_policy::sets, sets<256>>::count;      ///< How many sets.
    static constexpr std::uint64_t way_count = policy<tlb_policy::ways, ways<4>>::count;        ///< How many entries in each.
    static constexpr std::uint64_t capacity = set_count * way_count;                            ///< How many entries.
    static constexpr std::uint64_t group_count = policy<tlb_policy::groups, groups<64>>::count; ///< How many groups of domains.
    static constexpr bool is_lent = policy<tlb_policy::storage, storage::inside>::is_lent; ///< Whether the user provides entries.

    /// The entries and the order of use in each set. Initialised with `{}` they are empty.
    struct entries {
        detail::tlb_set<way_count> set[set_count]{}; ///< The sets.
        std::uint64_t order[set_count]{};            ///< The word of the replacement policy for each.
    };

    /// An empty TLB.
    constexpr tlb() requires(!is_lent) = default;
    /// An empty TLB in \p room, which is empty too, alive as long as this object, and nobody else's.
    constexpr explicit tlb(entries& room) requires is_lent : entries_{&room} {}
    tlb(tlb const&) = delete;
    tlb& operator=(tlb const&) = delete;

    /// Looks \p in up for \p a. One probe for each size of page that the domain's group has had since it was dropped last.
    [[nodiscard, gnu::always_inline]] constexpr outcome<translation<Out>, tlb_miss> find(In in, Tag const& whose,
                                                                                         access a) noexcept {
        std::uint64_t const word = whose.word();
        std::uint64_t const group = load_group(group_of(word));
        std::uint64_t const marked = marked_tag(word, a, group);
        translation<Out> found;
        tlb_miss why = tlb_miss::absent;
        for (std::uint64_t live = group & sizes_mask; live != 0; live &= live - 1) {
            std::uint64_t const lg2 = static_cast<std::uint64_t>(std::countr_zero(live)) + least_lg2;
            std::uint64_t const set = set_of(in.value >> lg2, word);
            if (probe(set, key_of(in, lg2), marked, in, lg2, a, found, why)) {
                count_.add(tlb_count::hits);
                return found;
            }
            if (why == tlb_miss::uncovered) break;
        }
        count_.add(why == tlb_miss::absent ? tlb_count::misses : tlb_count::uncovered);
        return failure{why};
    }

    /// To be called before anything is read on which a fill will depend: the tables, and what says where they are.
    [[nodiscard, gnu::always_inline]] constexpr fill_ticket begin() const noexcept { return {load_ordered(changes_)}; }

    /// Puts in what a walk found. Dropped if an invalidation came in since \p ticket was taken, and if the translation is none of
    /// a page (lg2 size 64 or below 12, or it did not go through page tables).
    /// \param ticket what begin() said before the walk.
    /// \param in the address that was translated.
    /// \param t where it leads.
    /// \param whose the tag.
    /// \param a the access that has passed: its circumstances are the entry's.
    /// \param rights which of read, write and execute would pass under the same circumstances without any change to the tables.
    constexpr void insert(fill_ticket ticket, In in, translation<Out> const& t, Tag const& whose, access a,
                          access rights) noexcept {
        if (t.by != passage::walked || t.lg2_size < least_lg2 || t.lg2_size > 63) return;
        std::uint64_t const word = whose.word();
        std::uint64_t const offset = low_mask(t.lg2_size);
        std::uint64_t const group = note_size(group_of(word), t.lg2_size);
        std::uint64_t const set = set_of(in.value >> t.lg2_size, word);
        guard_.write(set, [&]() noexcept {
            if (load_ordered(changes_) != ticket.changes) {
                count_.add(tlb_count::dropped_fills);
                return;
            }
            put(set, key_of(in, t.lg2_size), marked_tag(word, a, group), (t.output.value & ~offset), t.effective.bits,
                rights.bits & attributes::rights_mask);
        });
    }

    /// Drops the entries whose page overlaps \p pages and whose tag agrees with \p whose in the bits of \p which: by default in
    /// all. What the mask leaves out of bits 15:0 makes it a search of the whole TLB, unless it leaves out all of the tag and the
    /// pages are all. Entries of other domains of the same group may go too where no address is named.
    constexpr void invalidate(range<In> pages, Tag const& whose, std::uint64_t which = tag_mask) noexcept {
        if (!pages.valid()) pages = range<In>::all(); // who asks for nonsense gets more than he can have meant
        if (pages.empty()) return;
        bool const everywhere = pages == range<In>::all();
        which &= tag_mask;
        if (everywhere && which == 0) return invalidate_all();
        if (everywhere && which == domain_mask) return invalidate_domain(whose);
        announce();
        std::uint64_t const word = whose.word();
        bool const by_domain = (which & domain_mask) == domain_mask;
        if (by_domain && !everywhere) {
            drop_pages(pages, word, which);
        } else {
            for (std::uint64_t set = 0; set < set_count; ++set)
                drop_in(set, pages, word, which);
        }
    }
    /// Drops all entries of the domain of \p whose, and of the domains that share its group.
    constexpr void invalidate_domain(Tag const& whose) noexcept {
        announce();
        next_epoch(group_of(whose.word()));
    }
    /// Drops all.
    constexpr void invalidate_all() noexcept {
        announce();
        for (std::uint64_t g = 0; g < group_count; ++g)
            next_epoch(g);
    }

    /// An access through a translation of \p whose begins: until leave(), wait() waits for it.
    constexpr void enter(Tag const& whose) noexcept { guard_.enter(group_of(whose.word())); }
    /// It ends.
    constexpr void leave(Tag const& whose) noexcept { guard_.leave(group_of(whose.word())); }
    /// Returns when all accesses that were inside have ended. To be called after an invalidation and before its completion is
    /// told: nobody uses what was dropped any more.
    constexpr void wait(Tag const& whose) noexcept { guard_.drain(group_of(whose.word())); }
    /// The same for every domain.
    constexpr void wait() noexcept {
        for (std::uint64_t g = 0; g < guard_type::gates; ++g)
            guard_.drain(g);
    }

    /// What was counted.
    [[nodiscard]] constexpr statistics_type const& counts() const noexcept { return count_; }

    /// Calls \p visit with all that is in it: `visit(tag word, pages, translation, rights)`. Not while others use it.
    template <class Visitor>
    constexpr void for_each(Visitor&& visit) const {
        for (auto const& s : room().set) {
            for (std::uint64_t w = 0; w < way_count; ++w) {
                std::uint64_t const word = s.tag[w] & tag_mask;
                if (s.key[w] == 0 || (s.tag[w] & epoch_mask) != (load_group(group_of(word)) & epoch_mask)) continue;
                std::uint64_t const lg2 = s.key[w] & size_mask;
                visit(word, pages_of(s.key[w]),
                      translation<Out>{Out{s.page[w] & ~low_mask(least_lg2)}, attributes::from_bits(s.attributes[w]), lg2,
                                       passage::walked},
                      access{s.page[w] & attributes::rights_mask});
            }
        }
    }

private:
    static constexpr bool is_shared = guard_type::is_shared;
    static constexpr std::uint64_t way_limit = std::bit_ceil(way_count);
    static constexpr std::uint64_t least_lg2 = 12;
    static constexpr std::uint64_t size_mask = low_mask(6);
    static constexpr std::uint64_t tag_mask = low_mask(48);
    static constexpr std::uint64_t domain_mask = low_mask(16);
    // A group's word: in bits 51:0 the sizes of its pages, bit n for 2^(n + 12) bytes; above them its epoch.
    static constexpr std::uint64_t sizes_mask = low_mask(52);
    static constexpr std::uint64_t epoch_mask = ~sizes_mask;

    [[nodiscard, gnu::always_inline]] constexpr entries& room() {
        if constexpr (is_lent) {
            return *entries_;
        } else {
            return entries_;
        }
    }
    [[nodiscard, gnu::always_inline]] constexpr entries const& room() const {
        if constexpr (is_lent) {
            return *entries_;
        } else {
            return entries_;
        }
    }

    [[nodiscard, gnu::always_inline]] static constexpr std::uint64_t group_of(std::uint64_t word) {
        return word & (group_count - 1);
    }
    // Pages that follow each other lie in sets that follow each other; domains are scattered.
    [[nodiscard, gnu::always_inline]] static constexpr std::uint64_t set_of(std::uint64_t page, std::uint64_t word) {
        constexpr std::uint64_t golden = 0x9e37'79b9'7f4a'7c15;
        constexpr std::uint64_t lg2 = static_cast<std::uint64_t>(std::countr_zero(set_count));
        std::uint64_t const scattered = (word & domain_mask) * golden >> 40;
        return (page ^ page >> (lg2 != 0 ? lg2 : 1) ^ scattered) & (set_count - 1);
    }
    [[nodiscard, gnu::always_inline]] static constexpr std::uint64_t key_of(In in, std::uint64_t lg2) {
        return (in.value >> lg2 << lg2) | lg2;
    }
    [[nodiscard, gnu::always_inline]] static constexpr std::uint64_t marked_tag(std::uint64_t word, access a,
                                                                                std::uint64_t group) {
        return (word & tag_mask) | (a.bits >> 3 & 7) << 48 | (group & epoch_mask);
    }
    [[nodiscard]] static constexpr range<In> pages_of(std::uint64_t key) {
        std::uint64_t const offset = low_mask(key & size_mask);
        return range<In>::between(In{key & ~offset}, In{key | offset});
    }

    [[nodiscard, gnu::always_inline]] constexpr std::uint64_t load_group(std::uint64_t g) const {
        return load_ordered(group_[g]);
    }
    // In one order for all threads: see docs/concurrency.md.
    [[nodiscard, gnu::always_inline]] static constexpr std::uint64_t load_ordered(std::uint64_t const& w) {
        if constexpr (is_shared) return __atomic_load_n(&w, __ATOMIC_SEQ_CST);
        return w;
    }

    // The ways whose key is that. Written out, way by way: there is nothing to guess for a processor.
    template <std::uint64_t... W>
    [[nodiscard, gnu::always_inline]] static constexpr std::uint64_t
    matches(detail::tlb_set<way_count> const& s, std::uint64_t key, std::integer_sequence<std::uint64_t, W...>) {
        return ((static_cast<std::uint64_t>(detail::load_cached<is_shared>(s.key[W]) == key) << W) | ...);
    }

    // Whether the set answers. By the keys first: seldom does one page have entries of several tags. Without a match something is
    // read all the same, and not used.
    [[nodiscard, gnu::always_inline]] constexpr bool probe(std::uint64_t set, std::uint64_t key, std::uint64_t marked, In in,
                                                           std::uint64_t lg2, access a, translation<Out>& found, tlb_miss& why) {
        auto const& s = room().set[set];
        auto const visit = guard_.begin_read(set);
        std::uint64_t match = matches(s, key, std::make_integer_sequence<std::uint64_t, way_count>{});
        while (match != 0 && detail::load_cached<is_shared>(s.tag[std::countr_zero(match)]) != marked)
            [[unlikely]] match &= match - 1;
        auto const way = static_cast<std::uint64_t>(std::countr_zero(match)) % way_limit;
        std::uint64_t const page = detail::load_cached<is_shared>(s.page[way]);
        std::uint64_t const bits = detail::load_cached<is_shared>(s.attributes[way]);
        if (!guard_.end_read(set, visit) || match == 0) return false;
        if ((a.bits & attributes::rights_mask & ~page) != 0) {
            why = tlb_miss::uncovered;
            return false;
        }
        if constexpr (replacement::moves_on_hit && way_count > 1) touch(set, way);
        std::uint64_t const offset = low_mask(lg2);
        found = {Out{(page & ~low_mask(least_lg2)) | (in.value & offset)}, attributes::from_bits(bits), lg2, passage::walked};
        return true;
    }

    // Threads may overwrite each other's uses: the order is advice.
    [[gnu::always_inline]] constexpr void touch(std::uint64_t set, std::uint64_t way) {
        std::uint64_t& order = room().order[set];
        std::uint64_t const before = detail::load_cached<is_shared>(order);
        std::uint64_t const after = replacement::template touched<way_count>(before, way);
        // A line that threads share is written only if it must be; for one thread the store is cheaper than the question.
        if (!is_shared || after != before) detail::store_cached<is_shared>(order, after);
    }

    // A way of its own if there is an entry for the same page and tag, else a free one, else a victim.
    constexpr void put(std::uint64_t set, std::uint64_t key, std::uint64_t marked, std::uint64_t page, std::uint64_t bits,
                       std::uint64_t rights) {
        auto& s = room().set[set];
        std::uint64_t way = way_count;
        std::uint64_t free = way_count;
        for (std::uint64_t w = 0; w < way_count; ++w) {
            if (s.key[w] == key && s.tag[w] == marked) way = w;
            if (is_free(s, w)) free = w;
        }
        if (way != way_count) {
            // The same page once more: what passed before passes still, unless the page is another by now.
            if ((s.page[way] & ~low_mask(least_lg2)) == page && s.attributes[way] == bits)
                rights |= s.page[way] & attributes::rights_mask;
        } else if (free != way_count) {
            way = free;
        } else {
            way = replacement::template victim<way_count>(detail::load_cached<is_shared>(room().order[set]), next_random());
            count_.add(tlb_count::evictions);
        }
        detail::store_cached<is_shared>(s.key[way], key);
        detail::store_cached<is_shared>(s.tag[way], marked);
        detail::store_cached<is_shared>(s.page[way], page | rights);
        detail::store_cached<is_shared>(s.attributes[way], bits);
        std::uint64_t& order = room().order[set];
        detail::store_cached<is_shared>(order,
                                        replacement::template touched<way_count>(detail::load_cached<is_shared>(order), way));
        count_.add(tlb_count::fills);
    }
    // Whether nobody misses the entry: there is none, or its group has been dropped since.
    [[nodiscard]] constexpr bool is_free(detail::tlb_set<way_count> const& s, std::uint64_t way) const {
        return s.key[way] == 0 || (s.tag[way] & epoch_mask) != (load_group(group_of(s.tag[way])) & epoch_mask);
    }
    [[nodiscard]] constexpr std::uint64_t next_random() {
        // Marsaglia's xorshift. Threads may take the same number.
        std::uint64_t n = detail::load_cached<is_shared>(random_);
        n ^= n << 13;
        n ^= n >> 7;
        n ^= n << 17;
        detail::store_cached<is_shared>(random_, n);
        return n >> 32;
    }

    // From here on tickets that were taken before are worth nothing.
    constexpr void announce() {
        count_.add(tlb_count::invalidations);
        if constexpr (is_shared) {
            __atomic_fetch_add(&changes_, 1, __ATOMIC_SEQ_CST);
        } else {
            ++changes_;
        }
    }

    // Says that the group has a page of that size. Whoever drops pages after this looks for it; whoever has announced it before
    // is seen by the fill.
    constexpr std::uint64_t note_size(std::uint64_t g, std::uint64_t lg2) {
        std::uint64_t const bit = std::uint64_t{1} << (lg2 - least_lg2);
        std::uint64_t const before = load_group(g);
        if ((before & bit) != 0) return before;
        if constexpr (is_shared) {
            return __atomic_fetch_or(&group_[g], bit, __ATOMIC_SEQ_CST);
        } else {
            group_[g] = before | bit;
            return before;
        }
    }

    // All entries of the group are of the past, its sizes forgotten. Before the epochs go round entries are cleared: those of the
    // first epoch would be taken for new ones. Half-way too, so twice in 4096 times: another thread may still fill in
    // the last epoch after its set was cleared, and that entry would be taken for a new one when the last epoch comes again.
    constexpr void next_epoch(std::uint64_t g) {
        for (std::uint64_t before = load_group(g);;) {
            std::uint64_t const after = (before & epoch_mask) + (sizes_mask + 1);
            if (after << 1 == 0) clear_group(g);
            if constexpr (is_shared) {
                if (__atomic_compare_exchange_n(&group_[g], &before, after, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) return;
            } else {
                group_[g] = after;
                return;
            }
        }
    }
    constexpr void clear_group(std::uint64_t g) {
        for (std::uint64_t set = 0; set < set_count; ++set) {
            guard_.write(set, [&]() noexcept {
                auto& s = room().set[set];
                for (std::uint64_t w = 0; w < way_count; ++w) {
                    if (s.key[w] != 0 && group_of(s.tag[w]) == g) detail::store_cached<is_shared>(s.key[w], 0);
                }
            });
        }
    }

    // Pages of one domain: where they may be, for each size that the group has; or everywhere, if that is less.
    constexpr void drop_pages(range<In> pages, std::uint64_t word, std::uint64_t which) {
        for (std::uint64_t live = load_group(group_of(word)) & sizes_mask; live != 0; live &= live - 1) {
            std::uint64_t const lg2 = static_cast<std::uint64_t>(std::countr_zero(live)) + least_lg2;
            std::uint64_t const first = pages.first().value >> lg2;
            std::uint64_t const count = (pages.last().value >> lg2) - first; // less one
            if (count >= set_count) {
                for (std::uint64_t set = 0; set < set_count; ++set)
                    drop_in(set, pages, word, which);
                return;
            }
            for (std::uint64_t n = 0; n <= count; ++n)
                drop_in(set_of(first + n, word), pages, word, which);
        }
    }
    constexpr void drop_in(std::uint64_t set, range<In> pages, std::uint64_t word, std::uint64_t which) {
        guard_.write(set, [&]() noexcept {
            auto& s = room().set[set];
            for (std::uint64_t w = 0; w < way_count; ++w) {
                if (s.key[w] != 0 && ((s.tag[w] ^ word) & which) == 0 && pages_of(s.key[w]).overlaps(pages))
                    detail::store_cached<is_shared>(s.key[w], 0);
            }
        });
    }

    [[no_unique_address]] std::conditional_t<is_lent, entries*, entries> entries_{};
    [[no_unique_address]] typename guard_type::template state<set_count, group_count> guard_{};
    [[no_unique_address]] statistics_type count_{};
    std::uint64_t group_[group_count]{};
    std::uint64_t changes_{};
    std::uint64_t random_{0x2545'f491'4f6c'dd1d};
};

/// While it lives, `wait` of the TLB waits for it. Not one within another: a wait that began between them would wait for ever.
template <class Cache>
class inside {
public:
    /// Enters.
    /// \param c the TLB, alive as long as this object.
    /// \param whose whose translations will be used.
    constexpr inside(Cache& c, typename Cache::tag const& whose) : cache_{c}, whose_{whose} { cache_.enter(whose_); }
    /// Leaves.
    constexpr ~inside() { cache_.leave(whose_); }
    inside(inside const&) = delete;
    inside& operator=(inside const&) = delete;

private:
    Cache& cache_;
    typename Cache::tag whose_;
};

} // namespace v0
} // namespace stagewalk
