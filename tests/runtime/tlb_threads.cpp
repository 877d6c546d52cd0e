// Threads that share a TLB: no answer is torn, none is used after an invalidation and its wait. What passes does not depend on
// who runs when; how much is met does. Also to be run with -fsanitize=thread.
#include "catch.hpp"

#include <stagewalk/translate/cached.hpp>

#if __GCC_ATOMIC_LLONG_LOCK_FREE == 2

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

namespace tlb_threads {

namespace sw = stagewalk;

constexpr std::uint64_t pages = 24;

std::uint64_t mixed(std::uint64_t z) {
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

// The tables: a generation for each page, and all that a translation says follows from both. `over` is the generation before
// which nobody may use any answer.
struct state {
    std::atomic<std::uint64_t> now[pages]{};
    std::atomic<std::uint64_t> over[pages]{};
};
sw::translation<sw::pa> answer(std::uint64_t page, std::uint64_t generation) {
    std::uint64_t const what = mixed(page << 40 | generation);
    return {sw::pa{generation << 20 | page << 12}, sw::attributes::from_bits(what | 7), 12, sw::passage::walked};
}

struct no_fault {
    bool operator==(no_fault const&) const = default;
};
struct tables {
    using input = sw::iova;
    using output = sw::pa;
    using fault_type = no_fault;
    state* of;
    sw::outcome<sw::translation<sw::pa>, no_fault> translate(sw::iova in, sw::access) const noexcept {
        std::uint64_t const page = in.value >> 12;
        return answer(page, of->now[page].load(std::memory_order_relaxed));
    }
};

struct found {
    std::uint64_t torn = 0;
    std::uint64_t stale = 0;
    std::uint64_t answers = 0;
};

template <class Cache>
void translate_for_ever(state& s, Cache& cache, std::uint64_t seed, std::atomic<bool> const& ended, found& f) {
    sw::cached const both{tables{&s}, cache, {1}};
    auto const look = [&](std::uint64_t page, auto const& o) {
        std::uint64_t const generation = o->output.value >> 20;
        f.torn += *o == answer(page, generation) && generation <= s.now[page].load() ? 0u : 1u;
        ++f.answers;
        return generation;
    };
    for (std::uint64_t n = 0; n < 30000 || !ended.load(); ++n) {
        std::uint64_t const page = mixed(seed + n) % pages;
        sw::iova const at{page << 12};
        std::uint64_t const before = s.over[page].load();
        if (n % 4 == 0) {
            // What has begun after an invalidation ended knows of it, whoever waits.
            auto const o = both.translate(at, sw::read);
            if (look(page, o) < before) ++f.stale;
        } else {
            both.translate_and(at, sw::read, [&](auto const& o) {
                std::uint64_t const generation = look(page, o);
                // Still inside: whoever has taken the page away waits.
                for (int spin = 0; spin < 8; ++spin)
                    if (generation < s.over[page].load()) ++f.stale;
            });
        }
    }
}

template <class Cache>
void invalidate_for_a_while(state& s, Cache& cache, int rounds) {
    for (int n = 0; n < rounds; ++n) {
        std::uint64_t const page = mixed(static_cast<std::uint64_t>(n)) % pages;
        sw::range const whole{sw::iova{page << 12}, 0x1000};
        std::uint64_t const next = s.now[page].fetch_add(1, std::memory_order_relaxed) + 1;
        switch (n % 8) {
        case 0: cache.invalidate_all(); break;
        case 1: cache.invalidate(whole, {1}, 0); break;
        case 2:
            for (int again = 0; again < 50; ++again) // epochs go round
                cache.invalidate_domain({1});
            break;
        default: cache.invalidate(whole, {1}); break;
        }
        if (n % 2 == 0)
            cache.wait({1});
        else
            cache.wait();
        s.over[page].store(next);
    }
}

// A third who drops and fills entries of another domain of the same group.
template <class Cache>
void disturb(Cache& cache, std::atomic<bool> const& ended) {
    for (std::uint64_t n = 0; n < 2000 || !ended.load(); ++n) {
        sw::iova const at{n % pages << 12};
        cache.insert(cache.begin(), at, answer(n % pages, 0), {65}, sw::read, sw::read);
        if (n % 16 == 0) cache.invalidate(sw::range{at, 0x3000}, {65});
        if (n % 64 == 0) std::this_thread::yield();
    }
}

template <class... Policies>
void run(int rounds) {
    using cache_type = sw::tlb<sw::domain_tag, sw::iova, sw::pa, sw::statistics::counting, Policies...>;
    auto const cache = std::make_unique<cache_type>();
    state s;
    std::atomic<bool> ended{false};
    found f[2];
    std::vector<std::thread> threads;
    for (std::uint64_t n = 0; n < 2; ++n)
        threads.emplace_back([&, n] { translate_for_ever(s, *cache, n << 32, ended, f[n]); });
    threads.emplace_back([&] { disturb(*cache, ended); });
    invalidate_for_a_while(s, *cache, rounds);
    ended.store(true);
    for (std::thread& t : threads)
        t.join();
    for (found const& each : f) {
        CHECK(each.torn == 0);
        CHECK(each.stale == 0);
        CHECK(each.answers >= 30000);
    }
    // Every look-up ended in one way, and every fill.
    using enum sw::tlb_count;
    auto const& counts = cache->counts();
    CHECK(counts.of(hits) + counts.of(misses) + counts.of(uncovered) == f[0].answers + f[1].answers);
    // And alone again: what the tables say now.
    sw::cached const both{tables{&s}, *cache, {1}};
    for (std::uint64_t page = 0; page < pages; ++page)
        CHECK(*both.translate(sw::iova{page << 12}, sw::read) == answer(page, s.now[page]));
}

TEST_CASE("threads share a TLB under a seqlock") {
    run<sw::guard::seqlock, sw::sets<8>, sw::ways<2>>(3000);
    run<sw::guard::seqlock, sw::sets<1>, sw::ways<4>, sw::replace::lru>(1500);
    run<sw::guard::seqlock, sw::sets<4>, sw::ways<4>, sw::replace::plru>(1500);
}

TEST_CASE("threads share a TLB under one lock") {
    run<sw::guard::shared_spin, sw::sets<8>, sw::ways<2>>(2000);
    run<sw::guard::shared_spin, sw::sets<4>, sw::ways<4>, sw::replace::lru>(1500);
}

TEST_CASE("threads share a TLB under several locks") {
    run<sw::guard::sharded<4>, sw::sets<8>, sw::ways<2>>(2000);
    run<sw::guard::sharded<>, sw::sets<64>, sw::ways<4>, sw::replace::fifo>(1500);
}

} // namespace tlb_threads

#endif
