// The TLB: what it answers, what it keeps and what it drops.
#include "catch.hpp"

#include <stagewalk/tlb/tlb.hpp>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <utility>
#include <vector>

namespace tlb_tests {

using namespace stagewalk;
using stagewalk::access; // not the system's
using stagewalk::read;
using stagewalk::write;

namespace {

// A domain, and whose address space in it.
struct process_tag {
    std::uint16_t domain = 0;
    std::uint32_t process = 0;
    [[nodiscard]] constexpr std::uint64_t word() const noexcept { return domain | std::uint64_t{process} << 16; }
};

translation<pa> page_at(std::uint64_t output, std::uint64_t lg2, access rights = read_write) {
    return {pa{output}, attributes{rights}, lg2, passage::walked};
}
template <class Cache>
void put(Cache& cache, std::uint64_t in, std::uint64_t out, std::uint64_t lg2 = 12, typename Cache::tag whose = {},
         access a = read, access rights = read_write) {
    cache.insert(cache.begin(), iova{in}, page_at(out, lg2, rights), whose, a, rights);
}
// Where it leads; all ones if nowhere.
constexpr std::uint64_t nowhere = ~std::uint64_t{0};
template <class Cache>
std::uint64_t find(Cache& cache, std::uint64_t in, typename Cache::tag whose = {}, access a = read) {
    auto const found = cache.find(iova{in}, whose, a);
    return found ? found->output.value : nowhere;
}
template <class Cache>
std::uint64_t entries_in(Cache const& cache) {
    std::uint64_t n = 0;
    cache.for_each([&](std::uint64_t, range<iova>, translation<pa>, access) { ++n; });
    return n;
}

std::uint64_t next(std::uint64_t& state) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return state >> 33;
}

// Counts the visits of writers, and lets something happen before the one that is `when` visits away.
struct watched_guard {
    static constexpr tlb_policy decides = tlb_policy::guard;
    static constexpr bool is_shared = false;
    static inline std::uint64_t writes = 0;
    static inline std::uint64_t when = 0;
    static inline std::function<void()> what;
    static void happens(std::uint64_t at, std::function<void()> f) {
        when = at;
        what = std::move(f);
    }

    template <std::uint64_t Sets, std::uint64_t Groups>
    struct state : guard::none::state<Sets, Groups> {
        template <class F>
        void write(std::uint64_t, F&& f) const {
            ++writes;
            if (what && when-- == 0) std::exchange(what, nullptr)();
            f();
        }
    };
};

// --- replacement, in the most naive way -----------------------------------------------------------------------------------

struct naive_lru {
    std::vector<std::uint64_t> used; // the latest last
    explicit naive_lru(std::uint64_t) {}
    void touch(std::uint64_t way) {
        std::erase(used, way);
        used.push_back(way);
    }
    std::uint64_t victim(std::uint64_t ways) const {
        for (std::uint64_t w = 0; w < ways; ++w)
            if (std::find(used.begin(), used.end(), w) == used.end()) return w;
        return used.front();
    }
};

struct naive_plru {
    std::map<std::pair<std::uint64_t, std::uint64_t>, bool> upper_half_is_older;
    std::uint64_t ways;
    explicit naive_plru(std::uint64_t n) : ways{n} {}
    void touch(std::uint64_t way) {
        for (std::uint64_t first = 0, count = ways; count > 1;) {
            std::uint64_t const half = count / 2;
            bool const upper = way >= first + half;
            upper_half_is_older[{first, count}] = !upper;
            if (upper) first += half;
            count = half;
        }
    }
    std::uint64_t victim(std::uint64_t) {
        std::uint64_t first = 0;
        for (std::uint64_t count = ways; count > 1; count /= 2)
            if (upper_half_is_older[{first, count}]) first += count / 2;
        return first;
    }
};

template <class Policy, class Naive, std::uint64_t Ways>
void same_victims() {
    std::uint64_t order = 0;
    std::uint64_t state = Ways;
    Naive naive{Ways};
    for (int i = 0; i < 2000; ++i) {
        std::uint64_t const chosen = Policy::template victim<Ways>(order, next(state));
        REQUIRE(chosen == naive.victim(Ways));
        std::uint64_t const way = next(state) % 3 == 0 ? chosen : next(state) % Ways;
        order = Policy::template touched<Ways>(order, way);
        naive.touch(way);
    }
}

// Whole TLBs of one set: the same keys in the same order, with look-ups, fills and losses.
template <class Policy, std::uint64_t Ways>
void same_evictions(bool hits_count) {
    tlb<domain_tag, iova, pa, sets<1>, ways<Ways>, Policy> cache;
    std::list<std::uint64_t> order; // pages, the next to go first
    std::uint64_t state = Ways + 100;
    for (int i = 0; i < 4000; ++i) {
        std::uint64_t const page = next(state) % (2 * Ways) << 12;
        auto const there = std::find(order.begin(), order.end(), page);
        std::uint64_t const kind = next(state) % 8;
        if (kind == 0) {
            cache.invalidate(range{iova{page}, 0x1000}, {});
            if (there != order.end()) order.erase(there);
        } else if (kind < 4) {
            REQUIRE((find(cache, page) != nowhere) == (there != order.end()));
            if (hits_count && there != order.end()) order.splice(order.end(), order, there);
        } else {
            put(cache, page, page);
            if (there != order.end()) order.erase(there);
            if (order.size() == Ways) order.pop_front();
            order.push_back(page);
        }
    }
}

} // namespace

TEST_CASE("a TLB keeps as many entries as it has ways and sets") {
    auto const full = [](auto& cache) {
        using type = std::remove_reference_t<decltype(cache)>;
        STATIC_REQUIRE(type::capacity == type::set_count * type::way_count);
        for (std::uint64_t n = 0; n < type::capacity; ++n)
            put(cache, n << 12, (n + 1) << 20);
        for (std::uint64_t n = 0; n < type::capacity; ++n)
            REQUIRE(find(cache, n << 12 | n % 4096) == ((n + 1) << 20 | n % 4096));
        CHECK(entries_in(cache) == type::capacity);
        put(cache, std::uint64_t{1} << 40, 0x1000);
        CHECK(entries_in(cache) == type::capacity);
        CHECK(find(cache, std::uint64_t{1} << 40) == 0x1000);
    };
    tlb<domain_tag, iova, pa, sets<1>, ways<1>> one;
    tlb<domain_tag, iova, pa, sets<1>, ways<3>> three;
    tlb<domain_tag, iova, pa, ways<16>, sets<4>> sixteen;
    tlb<domain_tag, iova, pa, sets<64>, ways<1>> direct;
    tlb<domain_tag, iova, pa> usual;
    full(one);
    full(three);
    full(sixteen);
    full(direct);
    full(usual);
    CHECK(usual.capacity == 1024);
}

TEST_CASE("replacement policies choose as a naive one does") {
    same_victims<replace::lru, naive_lru, 1>();
    same_victims<replace::lru, naive_lru, 3>();
    same_victims<replace::lru, naive_lru, 8>();
    same_victims<replace::plru, naive_plru, 1>();
    same_victims<replace::plru, naive_plru, 2>();
    same_victims<replace::plru, naive_plru, 8>();
    same_victims<replace::plru, naive_plru, 16>();
    same_victims<replace::fifo, naive_lru, 1>(); // of fills alone it is told, and then it is the same
    same_victims<replace::fifo, naive_lru, 3>();
    same_victims<replace::fifo, naive_lru, 8>();
    same_victims<replace::fifo, naive_lru, 15>();
    same_victims<replace::fifo, naive_lru, 16>();
}

TEST_CASE("a TLB evicts by use or by age") {
    same_evictions<replace::lru, 3>(true);
    same_evictions<replace::lru, 8>(true);
    same_evictions<replace::fifo, 1>(false);
    same_evictions<replace::fifo, 4>(false);
    same_evictions<replace::fifo, 16>(false);
}

TEST_CASE("random replacement hits every way") {
    tlb<domain_tag, iova, pa, sets<1>, ways<16>> cache;
    std::map<std::uint64_t, int> lost;
    for (std::uint64_t n = 0; n < 2000; ++n) {
        for (std::uint64_t w = 0; w < 16; ++w)
            put(cache, w << 12, 0);
        put(cache, 0x100000, 0);
        for (std::uint64_t w = 0; w < 16; ++w)
            if (find(cache, w << 12) == nowhere) ++lost[w];
        cache.invalidate_all();
    }
    CHECK(lost.size() == 16);
    for (auto const& [way, count] : lost)
        CHECK((count > 60 && count < 250));
}

TEST_CASE("pages of every size from 4 KiB to half of all") {
    for (std::uint64_t lg2 = 12; lg2 < 64; ++lg2) {
        CAPTURE(lg2);
        tlb<domain_tag, iova, pa, sets<16>> cache;
        std::uint64_t const size = std::uint64_t{1} << lg2;
        for (std::uint64_t const page : {std::uint64_t{0}, size, ~std::uint64_t{0} << lg2}) {
            std::uint64_t const out = page == 0 ? size : 0;
            cache.insert(cache.begin(), iova{page + size / 2 + 5}, page_at(out + size / 2 + 5, lg2), {3}, read, read);
            auto const first = cache.find(iova{page}, {3}, read);
            auto const last = cache.find(iova{page + size - 1}, {3}, read);
            REQUIRE((first && last));
            CHECK(*first == page_at(out, lg2));
            CHECK(*last == page_at(out + size - 1, lg2));
            if (page != 0) CHECK(!cache.find(iova{page - 1}, {3}, read));
            if (page + size != 0) CHECK(!cache.find(iova{page + size}, {3}, read));
            // Beside it, then one byte of it.
            if (page != 0) cache.invalidate(range<iova>::between(iova{0}, iova{page - 1}), {3});
            if (page + size != 0) cache.invalidate(range<iova>::between(iova{page + size}, iova{nowhere}), {3});
            CHECK(cache.find(iova{page}, {3}, read));
            cache.invalidate(range{iova{page % 3 == 0 ? page : page + size - 1}, 1}, {3});
            CHECK(!cache.find(iova{page}, {3}, read));
        }
    }
}

TEST_CASE("the sizes that formats have besides the levels' own") {
    tlb<domain_tag, iova, pa, sets<16>, ways<8>> cache;
    // Contiguous 64 KiB, AMD 8 KiB and 512 KiB, contiguous 32 MiB and 16 GiB, beside pages of 4 KiB and 2 MiB.
    put(cache, 0x0001'0000, 0x0101'0000, 16);
    put(cache, 0x0002'2000, 0x0202'2000, 13);
    put(cache, 0x0008'0000, 0x0308'0000, 19);
    put(cache, 0x0200'0000, 0x0400'0000, 25);
    put(cache, 0x4'0000'0000, 0x8'0000'0000, 34);
    put(cache, 0x0000'1000, 0x0500'1000, 12);
    put(cache, 0x0040'0000, 0x0060'0000, 21);
    CHECK(find(cache, 0x0001'fff8) == 0x0101'fff8);
    CHECK(find(cache, 0x0002'2000) == 0x0202'2000);
    CHECK(find(cache, 0x0002'3fff) == 0x0202'3fff);
    CHECK(find(cache, 0x0002'4000) == nowhere);
    CHECK(find(cache, 0x000f'ffff) == 0x030f'ffff);
    CHECK(find(cache, 0x03ff'ffff) == 0x05ff'ffff);
    CHECK(find(cache, 0x7'ffff'ffff) == 0xb'ffff'ffff);
    CHECK(find(cache, 0x0000'1fff) == 0x0500'1fff);
    CHECK(find(cache, 0x005f'ffff) == 0x007f'ffff);
    // One page in the midst of a contiguous run takes all of it.
    cache.invalidate(range{iova{0x0001'7000}, 0x1000}, {});
    CHECK(find(cache, 0x0001'0000) == nowhere);
    CHECK(entries_in(cache) == 6);
}

TEST_CASE("what is no page is not kept") {
    tlb<domain_tag, iova, pa> cache;
    put(cache, 0x1000, 0x2000, 64);
    put(cache, 0x1000, 0x2000, 11);
    put(cache, 0x1000, 0x2000, 0);
    for (passage const by : {passage::bypassed, passage::interrupt, passage::queued})
        cache.insert(cache.begin(), iova{0x1000}, {pa{0x1000}, attributes{read}, 12, by}, {}, read, read);
    CHECK(entries_in(cache) == 0);
}

TEST_CASE("a hit covers the access") {
    for (std::uint64_t granted = 0; granted < 8; ++granted) {
        tlb<domain_tag, iova, pa, sets<4>> cache;
        cache.insert(cache.begin(), iova{0x1000}, page_at(0x5000, 12, {7}), {}, none, {granted});
        for (std::uint64_t need = 0; need < 8; ++need) {
            auto const found = cache.find(iova{0x1000}, {}, {need});
            CHECK(static_cast<bool>(found) == ((need & ~granted) == 0));
            if (found) {
                CHECK(found->effective == attributes{access{7}});
            } else {
                CHECK(found.error() == tlb_miss::uncovered);
            }
        }
    }
}

TEST_CASE("rights that have been seen to pass add up, of the same page") {
    tlb<domain_tag, iova, pa, sets<4>> cache;
    auto const fill = [&](std::uint64_t out, attributes all, access seen) {
        cache.insert(cache.begin(), iova{0x1000}, {pa{out}, all, 12, passage::walked}, {}, read, seen);
    };
    fill(0x5000, read_write, read);
    CHECK(find(cache, 0x1000, {}, write) == nowhere);
    fill(0x5000, read_write, write);
    CHECK(find(cache, 0x1000, {}, read_write) == 0x5000);
    CHECK(entries_in(cache) == 1);
    // Another page, or other attributes: only what this fill has seen.
    fill(0x6000, read_write, read);
    CHECK(find(cache, 0x1000, {}, read) == 0x6000);
    CHECK(find(cache, 0x1000, {}, write) == nowhere);
    fill(0x6000, attributes::from_bits(0x83), write);
    CHECK(find(cache, 0x1000, {}, read) == nowhere);
    CHECK(find(cache, 0x1000, {}, write) == 0x6000);
    CHECK(entries_in(cache) == 1);
}

TEST_CASE("circumstances have entries of their own, and are dropped together") {
    tlb<domain_tag, iova, pa, sets<4>, ways<8>> cache;
    access const all[]{none,
                       privileged,
                       zero_length,
                       inquiring,
                       privileged | zero_length,
                       privileged | inquiring,
                       zero_length | inquiring,
                       privileged | zero_length | inquiring};
    for (std::uint64_t n = 0; n < 8; ++n) {
        for (std::uint64_t m = 0; m < 8; ++m)
            CHECK(find(cache, 0x1000, {}, all[m] | read) == (m < n ? (m + 1) << 12 : nowhere));
        put(cache, 0x1000, (n + 1) << 12, 12, {}, all[n] | read);
    }
    CHECK(entries_in(cache) == 8);
    cache.invalidate(range{iova{0x1000}, 1}, {});
    CHECK(entries_in(cache) == 0);
}

TEST_CASE("a fill that an invalidation has overtaken is dropped") {
    tlb<process_tag, iova, pa, sets<4>, statistics::counting> cache;
    auto const overtaken_by = [&](auto invalidate) {
        fill_ticket const ticket = cache.begin();
        invalidate();
        cache.insert(ticket, iova{0x1000}, page_at(0x5000, 12), {1, 1}, read, read);
        return find(cache, 0x1000, {1, 1}) == nowhere;
    };
    CHECK(overtaken_by([&] { cache.invalidate_all(); }));
    CHECK(overtaken_by([&] { cache.invalidate_domain({1, 0}); }));
    CHECK(overtaken_by([&] { cache.invalidate_domain({2, 0}); }));
    CHECK(overtaken_by([&] { cache.invalidate(range{iova{0x1000}, 0x1000}, {1, 1}); }));
    CHECK(overtaken_by([&] { cache.invalidate(range<iova>::all(), {1, 1}, 0xffff'0000); }));
    CHECK(cache.counts().of(tlb_count::dropped_fills) == 5);
    CHECK(!overtaken_by([&] { cache.invalidate(range<iova>{}, {1, 1}); })); // nothing
}

TEST_CASE("a fill that is overtaken at the last moment is dropped") {
    tlb<domain_tag, iova, pa, sets<4>, watched_guard> cache;
    put(cache, 0x9000, 0x1000);
    // Between the note of the size and the visit of the set.
    watched_guard::happens(0, [&] { cache.invalidate_domain({}); });
    put(cache, 0x1000, 0x5000);
    CHECK(entries_in(cache) == 0);
    watched_guard::happens(0, [&] { cache.invalidate(range{iova{0x1000}, 0x1000}, {}); });
    put(cache, 0x1000, 0x5000);
    CHECK(entries_in(cache) == 0);
}

TEST_CASE("nothing comes back when epochs go round") {
    tlb<domain_tag, iova, pa, sets<4>, groups<4>> cache;
    for (std::uint64_t n = 0; n < 3 * 4096 + 5; ++n) {
        put(cache, 0x1000 * (n % 7), 0x1000, 12, {1});
        if (n % 1000 == 0) put(cache, 0x20'0000, 0x40'0000, 21, {2});
        cache.invalidate_domain({1});
        for (std::uint64_t page = 0; page < 7; ++page)
            REQUIRE(find(cache, page * 0x1000, {1}) == nowhere);
        // Not of another group either, and nothing is lost there.
        REQUIRE(find(cache, 0x20'0000, {2}) == 0x40'0000);
        if (n % 1000 == 999) {
            cache.invalidate_domain({2});
            REQUIRE(entries_in(cache) == 0);
        }
    }
    // An entry of each epoch that has none yet: put in once, dropped, never seen again.
    for (std::uint64_t n = 0; n < 2 * 4096 + 3; ++n) {
        cache.invalidate_all();
        REQUIRE(entries_in(cache) == 0);
        if (n % 4096 == 7) put(cache, 0x3000, 0x3000, 12, {3});
    }
}

// What another thread can do, at the very place where it hurts: a fill of the epoch that is about to end, in a set that has been
// cleared already.
TEST_CASE("nothing comes back when a fill meets epochs that go round") {
    for (std::uint64_t at = 0; at < 4; ++at) {
        tlb<domain_tag, iova, pa, sets<4>, ways<4>, watched_guard> cache;
        for (int n = 0; n < 4095; ++n)
            cache.invalidate_domain({});
        watched_guard::happens(at, [&] {
            for (std::uint64_t page = 0; page < 8; ++page)
                put(cache, page << 12, 0x8000);
        });
        cache.invalidate_domain({});
        REQUIRE(!watched_guard::what);
        for (int n = 0; n < 2 * 4096; ++n) {
            REQUIRE(entries_in(cache) == 0);
            cache.invalidate_domain({});
        }
    }
}

TEST_CASE("domains whose numbers agree in the low bits are dropped together") {
    tlb<domain_tag, iova, pa, sets<16>, groups<16>> cache;
    auto const fill = [&] {
        for (std::uint16_t d : {std::uint16_t{5}, std::uint16_t{21}, std::uint16_t{0xfff5}, std::uint16_t{6}})
            put(cache, 0x1000, 0x1000u * d, 12, {d});
    };
    fill();
    // A page is dropped of one domain alone.
    cache.invalidate(range{iova{0x1000}, 1}, {21});
    CHECK(find(cache, 0x1000, {21}) == nowhere);
    CHECK(find(cache, 0x1000, {5}) == 0x5000);
    CHECK(find(cache, 0x1000, {0xfff5}) == 0xfff5000);
    fill();
    cache.invalidate_domain({21});
    CHECK(entries_in(cache) == 1);
    CHECK(find(cache, 0x1000, {6}) == 0x6000);
    // With as many groups as domains nobody shares.
    tlb<domain_tag, iova, pa, sets<16>, groups<0x10000>> apart;
    put(apart, 0x1000, 0x1000, 12, {5});
    put(apart, 0x1000, 0x2000, 12, {0x8005});
    apart.invalidate_domain({5});
    CHECK(find(apart, 0x1000, {0x8005}) == 0x2000);
}

TEST_CASE("an invalidation names part of the tag") {
    tlb<process_tag, iova, pa, sets<4>, ways<16>> cache;
    process_tag const tags[]{{1, 1}, {1, 2}, {2, 1}, {2, 0xffff'ffff}, {0x41, 1}};
    // Which are left, a bit for each.
    auto const left = [&](range<iova> pages, process_tag whose, std::uint64_t which) {
        cache.invalidate_all();
        for (process_tag const& t : tags)
            put(cache, 0x1000, 0x1000, 12, t);
        cache.invalidate(pages, whose, which);
        unsigned bits = 0;
        for (unsigned n = 0; n < 5; ++n)
            bits |= (find(cache, 0x1000, tags[n]) != nowhere ? 1u : 0u) << n;
        return bits;
    };
    range const page{iova{0x1000}, 0x1000};
    range const other{iova{0x2000}, 0x1000};
    auto const all = range<iova>::all();
    CHECK(left(page, {1, 1}, nowhere) == 0b11110);
    CHECK(left(all, {1, 1}, nowhere) == 0b11110);
    CHECK(left(page, {1, 1}, 0xffff) == 0b11100);           // a domain
    CHECK(left(all, {1, 1}, 0xffff) == 0b01100);            // and who shares its group (0x41)
    CHECK(left(page, {9, 1}, 0xffff'ffff'0000) == 0b01010); // a process of any domain
    CHECK(left(all, {9, 1}, 0xffff'ffff'0000) == 0b01010);
    CHECK(left(page, {9, 9}, 0) == 0);
    CHECK(left(all, {9, 9}, 0) == 0);
    CHECK(left(page, {0x81, 0}, 0x3f) == 0b01100); // part of a domain's number
    CHECK(left(other, {1, 1}, nowhere) == 0b11111);
    CHECK(left(other, {1, 1}, 0) == 0b11111);
    CHECK(left(range<iova>{}, {1, 1}, 0) == 0b11111);
    CHECK(left(page, {2, 0xff}, 0xff'ffff) == 0b10111);
}

TEST_CASE("ranges at the top of the address space") {
    tlb<domain_tag, iova, pa, sets<4>, ways<4>> cache;
    std::uint64_t const top = nowhere;
    put(cache, top, 0x7fff, 12);
    put(cache, top & ~std::uint64_t{0x1fffff}, 0x4000'0000, 21);
    CHECK(find(cache, top) == 0x7fff);
    cache.invalidate(range<iova>::between(iova{0}, iova{top - 0x200000}), {});
    CHECK(entries_in(cache) == 2);
    cache.invalidate(range<iova>::between(iova{top - 0x1fffff}, iova{top - 0x1000}), {});
    CHECK(entries_in(cache) == 1);
    CHECK(find(cache, top) == 0x7fff);
    cache.invalidate(range{iova{top}, 1}, {});
    CHECK(entries_in(cache) == 0);
    put(cache, top, 0x7fff, 12);
    put(cache, top, 0x7fff'ffff'ffff'ffff, 63);
    cache.invalidate(range<iova>::between(iova{1}, iova{top}), {});
    CHECK(entries_in(cache) == 0);
}

namespace {

// How many sets are visited to drop: a page, a domain, all.
template <std::uint64_t Sets>
std::vector<std::uint64_t> visits() {
    auto const cache = std::make_unique<tlb<domain_tag, iova, pa, sets<Sets>, watched_guard>>();
    put(*cache, 0x1000, 0x1000, 12, {1});
    put(*cache, 0x20'0000, 0x20'0000, 21, {1});
    put(*cache, 0x4000'0000, 0x4000'0000, 30, {1});
    put(*cache, 0x1000, 0x1000, 16, {2});
    std::vector<std::uint64_t> counted;
    auto const count = [&](auto invalidate) {
        watched_guard::writes = 0;
        invalidate();
        counted.push_back(watched_guard::writes);
    };
    count([&] { cache->invalidate(range{iova{0x1000}, 0x1000}, {1}); });
    count([&] { cache->invalidate(range{iova{0x1000}, 0x4000}, {1}); });
    count([&] { cache->invalidate(range{iova{0x1000}, 0x1000}, {2}); });
    count([&] { cache->invalidate(range{iova{0x1000}, 0x1000}, {3}); });
    count([&] { cache->invalidate_domain({1}); });
    count([&] { cache->invalidate(range<iova>::all(), {2}, 0xffff); });
    count([&] { cache->invalidate_all(); });
    return counted;
}

} // namespace

TEST_CASE("dropping a page or a domain costs the same in a large TLB") {
    // One set for each size that the domain has; four and two more; no set at all.
    std::vector<std::uint64_t> const few{3, 6, 1, 0, 0, 0, 0};
    CHECK(visits<16>() == few);
    CHECK(visits<256>() == few);
    CHECK(visits<0x4000>() == few);
}

TEST_CASE("a range that is larger than the TLB visits each set once") {
    tlb<domain_tag, iova, pa, sets<16>, watched_guard> cache;
    put(cache, 0x5000, 0x1000);
    put(cache, 0x20'0000, 0x20'0000, 21);
    watched_guard::writes = 0;
    cache.invalidate(range<iova>::between(iova{0x1000}, iova{nowhere}), {});
    CHECK(watched_guard::writes == 16);
    CHECK(entries_in(cache) == 0);
}

TEST_CASE("entries live where the user says") {
    using lent = tlb<domain_tag, iova, pa, sets<256>, storage::lent>;
    STATIC_REQUIRE(sizeof(lent) < 1024);
    STATIC_REQUIRE(sizeof(lent::entries) >= 1024 * 32);
    auto const room = std::make_unique<lent::entries>();
    lent cache{*room};
    put(cache, 0x1000, 0x5000);
    CHECK(find(cache, 0x1000) == 0x5000);
    CHECK(std::any_of(std::begin(room->set), std::end(room->set), [](auto const& set) {
        return std::any_of(std::begin(set.key), std::end(set.key), [](std::uint64_t key) { return key == (0x1000 | 12); });
    }));
}

TEST_CASE("statistics count each thing once") {
    tlb<domain_tag, iova, pa, sets<1>, ways<2>, statistics::counting> cache;
    auto const counts = [&] {
        std::vector<std::uint64_t> all;
        for (std::uint8_t n = 0; n < 7; ++n)
            all.push_back(cache.counts().of(static_cast<tlb_count>(n)));
        return all; // hits, misses, uncovered, fills, dropped fills, evictions, invalidations
    };
    using numbers = std::vector<std::uint64_t>;
    CHECK(counts() == numbers{0, 0, 0, 0, 0, 0, 0});
    find(cache, 0x1000);
    put(cache, 0x1000, 0x1000, 12, {}, read, read);
    find(cache, 0x1000);
    find(cache, 0x1000, {}, write);
    CHECK(counts() == numbers{1, 1, 1, 1, 0, 0, 0});
    put(cache, 0x1000, 0x1000);
    put(cache, 0x2000, 0x1000);
    CHECK(counts() == numbers{1, 1, 1, 3, 0, 0, 0});
    put(cache, 0x3000, 0x1000);
    CHECK(counts() == numbers{1, 1, 1, 4, 0, 1, 0});
    fill_ticket const ticket = cache.begin();
    cache.invalidate(range{iova{0x3000}, 1}, {});
    cache.invalidate_domain({});
    cache.invalidate_all();
    cache.insert(ticket, iova{0x1000}, page_at(0x1000, 12), {}, read, read);
    CHECK(counts() == numbers{1, 1, 1, 4, 1, 1, 3});
}

TEST_CASE("what is dropped makes room before what is used") {
    tlb<domain_tag, iova, pa, sets<1>, ways<4>, replace::random, statistics::counting> cache;
    for (std::uint64_t n = 0; n < 4; ++n)
        put(cache, n << 12, n << 12, 12, {static_cast<std::uint16_t>(n)});
    for (std::uint64_t n = 0; n < 200; ++n) {
        auto const domain = static_cast<std::uint16_t>(n % 4);
        if (n % 2 == 0) {
            cache.invalidate_domain({domain});
        } else {
            cache.invalidate(range{iova{std::uint64_t{domain} << 12}, 1}, {domain});
        }
        put(cache, std::uint64_t{domain} << 12, n << 12, 12, {domain});
        REQUIRE(entries_in(cache) == 4);
    }
    CHECK(cache.counts().of(tlb_count::evictions) == 0);
}

} // namespace tlb_tests
