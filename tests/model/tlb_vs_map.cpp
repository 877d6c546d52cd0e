// The TLB against a list, for each combination of policies that is worth it.
#include "catch.hpp"
#include "host_memory.hpp"
#include "random_bits.hpp"
#include "tlb_against_map.hpp"

#include <memory>

namespace {

using namespace stagewalk;
using tlb_against_map::owner;

template <class... Policies>
using counted = tlb<owner, iova, pa, statistics::counting, Policies...>;

template <class Cache>
void run(std::uint64_t seed, std::uint64_t steps, bool evicts, bool shares) {
    random_bits random{seed};
    auto entries = std::make_unique<typename Cache::entries>();
    auto const cache = [&] {
        if constexpr (Cache::is_lent)
            return std::make_unique<Cache>(*entries);
        else
            return std::make_unique<Cache>();
    }();
    tlb_against_map::judge<Cache> judge{*cache};
    steps = test::fewer(steps);
    for (std::uint64_t i = 0; i < steps; ++i) {
        char const* const wrong = judge.step([&](std::uint64_t n) { return random.below(n); });
        if (wrong != nullptr) {
            INFO("seed " << seed << ", step " << i);
            FAIL(wrong);
        }
    }
    auto const& reached = judge.reached();
    if (!test::all_cases()) return;
    CHECK(reached.hits > steps / 400);
    CHECK(reached.uncovered > steps / 400);
    CHECK(reached.misses > steps / 100);
    CHECK(reached.fills > steps / 10);
    CHECK(reached.dropped > steps / 100);
    CHECK(reached.killed > steps / 100);
    CHECK((reached.evicted > 0) == evicts);
    CHECK((reached.shared_fate > 0) == shares);
}

} // namespace

TEST_CASE("the TLB keeps exactly what ought to be kept: one set") {
    run<counted<sets<1>, ways<1>>>(1, 20000, true, true);
    run<counted<sets<1>, ways<3>, replace::fifo>>(2, 20000, true, true);
    run<counted<sets<1>, ways<16>, replace::plru>>(3, 20000, true, true);
    run<counted<sets<1>, ways<8>, replace::lru, groups<0x10000>>>(4, 3000, true, false);
}

TEST_CASE("the TLB keeps exactly what ought to be kept: several sets") {
    run<counted<sets<2>, ways<3>>>(11, 20000, true, true);
    run<counted<sets<4>, ways<4>, replace::plru>>(12, 20000, true, true);
    run<counted<sets<8>, ways<2>, replace::lru>>(13, 20000, true, true);
    run<counted<sets<8>, ways<16>, replace::fifo, groups<1>>>(14, 20000, false, true);
    run<counted<sets<16>, ways<4>, replace::random, groups<4>>>(15, 20000, true, true);
    run<counted<sets<1024>, ways<16>, groups<256>, storage::lent>>(16, 2000, false, true);
}

#if __GCC_ATOMIC_LLONG_LOCK_FREE == 2
TEST_CASE("the TLB keeps exactly what ought to be kept: every guard") {
    run<counted<sets<8>, ways<4>, guard::seqlock, replace::plru>>(21, 20000, true, true);
    run<counted<sets<8>, ways<4>, guard::shared_spin, replace::lru>>(22, 20000, true, true);
    run<counted<sets<8>, ways<4>, guard::sharded<>, replace::random>>(23, 20000, true, true);
    run<counted<sets<8>, ways<3>, guard::sharded<2>, replace::fifo, storage::lent>>(24, 20000, true, true);
}
#endif

TEST_CASE("the TLB keeps exactly what ought to be kept, for long", "[long]") {
    for (std::uint64_t seed = 100; seed < 108; ++seed) {
        run<counted<sets<1>, ways<4>, replace::lru>>(seed, 200000, true, true);
        run<counted<sets<8>, ways<4>, replace::plru>>(seed + 100, 200000, true, true);
    }
}
