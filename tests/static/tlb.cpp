// TLBs in constant expressions.
#include <stagewalk/tlb/oracle.hpp>
#include <stagewalk/tlb/tlb.hpp>

namespace stagewalk::test {
namespace {

constexpr translation<pa> page_at(std::uint64_t output, std::uint64_t lg2, access rights = read_write) {
    return {pa{output}, attributes{rights}, lg2, passage::walked};
}

template <class Cache>
constexpr void put(Cache& cache, std::uint64_t in, std::uint64_t out, std::uint64_t lg2, std::uint16_t domain = 1,
                   access rights = read_write) {
    cache.insert(cache.begin(), iova{in}, page_at(out, lg2, rights), {domain}, read, rights);
}
template <class Cache>
constexpr bool has(Cache& cache, std::uint64_t in, std::uint64_t out, std::uint16_t domain = 1, access a = read) {
    auto const found = cache.find(iova{in}, {domain}, a);
    return found && found->output == pa{out};
}

template <class... Policies>
constexpr bool finds_what_it_was_given() {
    tlb<domain_tag, iova, pa, Policies...> cache;
    if (has(cache, 0x1000, 0x8000)) return false;
    put(cache, 0x1000, 0x8000, 12);
    bool good = has(cache, 0x1000, 0x8000) && has(cache, 0x1fff, 0x8fff, 1, write) && !has(cache, 0x2000, 0x9000);
    good = good && !has(cache, 0x1000, 0x8000, 2) && cache.find(iova{0x1000}, {1}, execute).error() == tlb_miss::uncovered;
    cache.invalidate(range{iova{0x1fff}, 1}, {2});
    cache.invalidate(range{iova{0x2000}, 0x1000}, {1});
    good = good && has(cache, 0x1000, 0x8000);
    cache.invalidate(range{iova{0x1fff}, 1}, {1});
    return good && cache.find(iova{0x1000}, {1}, read).error() == tlb_miss::absent;
}
static_assert(finds_what_it_was_given());
static_assert(finds_what_it_was_given<sets<1>, ways<1>>());
static_assert(finds_what_it_was_given<sets<1>, ways<3>, replace::fifo>());
static_assert(finds_what_it_was_given<replace::plru, ways<16>, sets<2>>());
static_assert(finds_what_it_was_given<statistics::counting, replace::lru, groups<1>, sets<8>, ways<8>>());
static_assert(finds_what_it_was_given<groups<0x10000>, sets<1>>());

// Epochs: a dropped domain takes along who shares its group, and nobody else.
constexpr bool drops_domains() {
    tlb<domain_tag, iova, pa, sets<4>, groups<4>> cache;
    for (std::uint16_t d = 0; d < 8; ++d)
        put(cache, 0x1000, 0x10000u * (d + 1u), 12, d);
    cache.invalidate_domain({6});
    bool good = true;
    for (std::uint16_t d = 0; d < 8; ++d)
        good = good && has(cache, 0x1000, 0x10000u * (d + 1u), d) == (d % 4 != 2);
    cache.invalidate(range<iova>::all(), {3}, 0xffff);
    good = good && !has(cache, 0x1000, 0x40000, 3) && has(cache, 0x1000, 0x10000, 0);
    cache.invalidate_all();
    for (std::uint16_t d = 0; d < 8; ++d)
        good = good && !cache.find(iova{0x1000}, {d}, none);
    return good;
}
static_assert(drops_domains());

constexpr bool drops_overtaken_fills() {
    tlb<domain_tag, iova, pa, sets<4>, statistics::counting> cache;
    fill_ticket const before = cache.begin();
    cache.invalidate(range{iova{0x7000}, 0x1000}, {9});
    cache.insert(before, iova{0x1000}, page_at(0x8000, 12), {1}, read, read);
    return !has(cache, 0x1000, 0x8000) && cache.counts().of(tlb_count::dropped_fills) == 1 &&
           cache.counts().of(tlb_count::misses) == 1 && cache.counts().of(tlb_count::invalidations) == 1;
}
static_assert(drops_overtaken_fills());

// Ways are filled without loss; then one more takes the place of the one that the policy gives up.
template <class Policy, std::uint64_t Ways>
constexpr std::uint64_t given_up_after_use_of_the_first() {
    tlb<domain_tag, iova, pa, sets<1>, ways<Ways>, Policy> cache;
    for (std::uint64_t n = 0; n < Ways; ++n)
        put(cache, n << 12, n << 20, 12);
    if (!has(cache, 0, 0)) return Ways; // a use
    put(cache, Ways << 12, Ways << 20, 12);
    for (std::uint64_t n = 0; n < Ways; ++n) {
        if (!has(cache, n << 12, n << 20)) return n;
    }
    return Ways;
}
static_assert(given_up_after_use_of_the_first<replace::fifo, 3>() == 0);
static_assert(given_up_after_use_of_the_first<replace::fifo, 4>() == 0);
static_assert(given_up_after_use_of_the_first<replace::fifo, 16>() == 0);
static_assert(given_up_after_use_of_the_first<replace::lru, 3>() == 1);
static_assert(given_up_after_use_of_the_first<replace::lru, 8>() == 1);
static_assert(given_up_after_use_of_the_first<replace::plru, 2>() == 1);
static_assert(given_up_after_use_of_the_first<replace::plru, 16>() < 16);
static_assert(given_up_after_use_of_the_first<replace::random, 16>() < 16);

// A place of one's own.
constexpr bool lives_in_lent_room() {
    using cache_type = tlb<domain_tag, iova, pa, sets<2>, ways<2>, storage::lent>;
    cache_type::entries room{};
    cache_type cache{room};
    put(cache, 0x1000, 0x8000, 12);
    return has(cache, 0x1000, 0x8000);
}
static_assert(lives_in_lent_room());
static_assert(sizeof(tlb<domain_tag, iova, pa, sets<0x10000>, storage::lent>) < 1024);

// The oracle, in a constant expression too.
template <class... Policies>
constexpr bool is_never_stale() {
    tlb<domain_tag, iova, pa, sets<2>, Policies...> cache;
    auto const found = find_stale_entry(cache, 1, 150);
    return !found && found.step == 150 && found.hits > 0;
}
static_assert(is_never_stale<ways<4>, replace::plru>());
static_assert(is_never_stale<ways<2>, replace::fifo, groups<1>>());

} // namespace
} // namespace stagewalk::test
