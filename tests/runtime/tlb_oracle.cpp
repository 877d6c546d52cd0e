// The oracle finds TLBs that are wrong, and says nothing of those that are right.
#include "catch.hpp"

#include <stagewalk/tlb/oracle.hpp>

#include <cstdint>
#include <memory>

namespace tlb_oracle {

using namespace stagewalk;
using stagewalk::access; // not the system's
using stagewalk::read;

// --- right ones: policies of a user ---------------------------------------------------------------------------------------

// The way that was used last is the next to go.
struct most_recent {
    static constexpr tlb_policy decides = tlb_policy::replacement;
    static constexpr bool moves_on_hit = true;
    template <std::uint64_t Ways>
    static constexpr std::uint64_t touched(std::uint64_t, std::uint64_t way) {
        return way;
    }
    template <std::uint64_t Ways>
    static constexpr std::uint64_t victim(std::uint64_t order, std::uint64_t) {
        return order;
    }
};
// A guard under which every third look-up is a miss.
struct shy {
    static constexpr tlb_policy decides = tlb_policy::guard;
    static constexpr bool is_shared = false;
    template <std::uint64_t Sets, std::uint64_t Groups>
    struct state : guard::none::state<Sets, Groups> {
        std::uint32_t count = 0;
        constexpr std::uint32_t begin_read(std::uint64_t) { return ++count; }
        constexpr bool end_read(std::uint64_t, std::uint32_t n) const { return n % 3 != 0; }
    };
};
struct only_hits {
    static constexpr tlb_policy decides = tlb_policy::statistics;
    std::uint64_t hits = 0;
    constexpr void add(tlb_count what) noexcept { hits += what == tlb_count::hits ? 1u : 0u; }
};

struct process_tag {
    std::uint16_t domain = 0;
    std::uint32_t process = 0;
    [[nodiscard]] constexpr std::uint64_t word() const noexcept { return domain | std::uint64_t{process} << 16; }
};
struct process_tags {
    constexpr process_tag operator()(std::uint64_t n) const {
        return {static_cast<std::uint16_t>(n / 2 * 64), static_cast<std::uint32_t>(n % 2)};
    }
};

template <class Cache, class Tags = oracle_tags>
oracle_finding ask(std::uint64_t seed, std::uint64_t steps = 50000) {
    auto const cache = std::make_unique<Cache>();
    return find_stale_entry<Cache, Tags>(*cache, seed, steps);
}
template <class... Policies>
void is_right() {
    for (std::uint64_t seed = 1; seed < 4; ++seed) {
        auto const one = ask<tlb<domain_tag, iova, pa, Policies...>>(seed);
        CHECK(one.verdict == oracle_verdict::nothing);
        CHECK(one.step == 50000);
        CHECK(one.hits > 1000);
        auto const other = ask<tlb<process_tag, iova, pa, Policies...>, process_tags>(seed);
        CHECK(other.verdict == oracle_verdict::nothing);
        CHECK(other.hits > 1000);
    }
}

TEST_CASE("the oracle finds nothing in TLBs that are right") {
    is_right();
    is_right<sets<1>, ways<16>, replace::plru>();
    is_right<sets<4>, ways<3>, replace::fifo, groups<1>>();
    is_right<sets<2>, ways<8>, replace::lru, groups<256>>();
    is_right<sets<8>, most_recent, shy, only_hits>();
#if __GCC_ATOMIC_LLONG_LOCK_FREE == 2
    is_right<sets<8>, guard::seqlock>();
    is_right<sets<8>, guard::shared_spin>();
    is_right<sets<8>, guard::sharded<4>>();
#endif
}

// --- wrong ones ---------------------------------------------------------------------------------------------------------------

using right = tlb<domain_tag, iova, pa, sets<16>, ways<4>>;

struct forgets_the_last_page : right {
    constexpr void invalidate(range<iova> pages, domain_tag const& whose, std::uint64_t which = ~std::uint64_t{0}) noexcept {
        if (pages.span() >= 0x1000) pages = pages.between(pages.first(), pages.last() - 0x1000);
        right::invalidate(pages, whose, which);
    }
};
struct ignores_masks : right {
    constexpr void invalidate(range<iova> pages, domain_tag const& whose, std::uint64_t = 0) noexcept {
        right::invalidate(pages, whose);
    }
};
struct drops_one_group_for_all : right {
    constexpr void invalidate_all() noexcept { right::invalidate_domain({0}); }
};
struct keeps_the_domain : right {
    constexpr void invalidate_domain(domain_tag const& whose) noexcept {
        right::invalidate(range<iova>::between(iova{0}, iova{low_mask(63)}), whose);
    }
};
struct takes_late_fills : right {
    constexpr void insert(fill_ticket, iova in, translation<pa> const& t, domain_tag const& whose, access a,
                          access rights) noexcept {
        right::insert(right::begin(), in, t, whose, a, rights);
    }
};
struct widens_too_much : right {
    constexpr void insert(fill_ticket ticket, iova in, translation<pa> const& t, domain_tag const& whose, access a,
                          access) noexcept {
        right::insert(ticket, in, t, whose, a, access{7});
    }
};
struct mixes_circumstances : right {
    constexpr auto find(iova in, domain_tag const& whose, access a) noexcept { return right::find(in, whose, {a.bits & 7}); }
    constexpr void insert(fill_ticket ticket, iova in, translation<pa> const& t, domain_tag const& whose, access a,
                          access rights) noexcept {
        right::insert(ticket, in, t, whose, {a.bits & 7}, rights);
    }
};
struct loses_offsets : right {
    constexpr auto find(iova in, domain_tag const& whose, access a) noexcept {
        return right::find(iova{in.value & ~std::uint64_t{1}}, whose, a);
    }
};
struct mixes_domains : right {
    static constexpr domain_tag low(domain_tag t) { return {static_cast<std::uint16_t>(t.domain & 63)}; }
    constexpr auto find(iova in, domain_tag const& whose, access a) noexcept { return right::find(in, low(whose), a); }
    constexpr void insert(fill_ticket ticket, iova in, translation<pa> const& t, domain_tag const& whose, access a,
                          access rights) noexcept {
        right::insert(ticket, in, t, low(whose), a, rights);
    }
};
// Policies that are wrong in themselves: an invalidation that meets a busy set gives up.
struct impatient {
    static constexpr tlb_policy decides = tlb_policy::guard;
    static constexpr bool is_shared = false;
    template <std::uint64_t Sets, std::uint64_t Groups>
    struct state : guard::none::state<Sets, Groups> {
        std::uint64_t count = 0;
        template <class F>
        constexpr void write(std::uint64_t, F&& f) {
            if (++count % 7 != 0) f();
        }
    };
};
// Epochs that go round after four, and nobody clears what is left.
struct reuses_epochs : right {
    std::uint32_t epoch[2]{};
    constexpr domain_tag now(domain_tag t) const {
        return {static_cast<std::uint16_t>(t.domain ^ (epoch[t.domain % 2] % 4) << 8)};
    }
    constexpr auto find(iova in, domain_tag const& whose, access a) noexcept { return right::find(in, now(whose), a); }
    constexpr void insert(fill_ticket ticket, iova in, translation<pa> const& t, domain_tag const& whose, access a,
                          access rights) noexcept {
        right::insert(ticket, in, t, now(whose), a, rights);
    }
    constexpr void invalidate(range<iova> pages, domain_tag const& whose, std::uint64_t which = ~std::uint64_t{0}) noexcept {
        right::invalidate(pages, now(whose), which);
    }
    constexpr void invalidate_domain(domain_tag const& whose) noexcept {
        right::invalidate(range<iova>{iova{0}, 1}, whose); // for tickets
        ++epoch[whose.domain % 2];
    }
};

template <class Cache>
oracle_verdict first_found(std::uint64_t steps) {
    for (std::uint64_t seed = 1; seed < 4; ++seed) {
        auto const found = ask<Cache>(seed, steps);
        if (!found) return oracle_verdict::nothing;
        CHECK(found.step < steps);
        if (seed == 3) return found.verdict;
    }
    return oracle_verdict::nothing;
}

TEST_CASE("the oracle finds what is wrong with a TLB") {
    CHECK(first_found<right>(100000) == oracle_verdict::nothing);
    CHECK(first_found<forgets_the_last_page>(10000) == oracle_verdict::stale);
    CHECK(first_found<ignores_masks>(10000) == oracle_verdict::stale);
    CHECK(first_found<drops_one_group_for_all>(10000) == oracle_verdict::stale);
    CHECK(first_found<keeps_the_domain>(10000) == oracle_verdict::stale);
    CHECK(first_found<takes_late_fills>(20000) == oracle_verdict::stale);
    CHECK(first_found<widens_too_much>(10000) == oracle_verdict::uncovered);
    CHECK(first_found<mixes_circumstances>(10000) != oracle_verdict::nothing);
    CHECK(first_found<loses_offsets>(10000) == oracle_verdict::wrong);
    CHECK(first_found<mixes_domains>(10000) == oracle_verdict::wrong);
    CHECK(first_found<reuses_epochs>(20000) == oracle_verdict::stale);
    CHECK(first_found<tlb<domain_tag, iova, pa, sets<16>, impatient>>(10000) == oracle_verdict::stale);
}

} // namespace tlb_oracle
