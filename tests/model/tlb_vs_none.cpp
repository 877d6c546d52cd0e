// Translation with a TLB before it against translation without: random tables of every format, random accesses and edits, and
// after each edit an invalidation that covers it. Answers are the same, faults included, and so is memory, accessed and dirty
// bits too.
#include "catch.hpp"
#include "host_memory.hpp"
#include "random_bits.hpp"
#include "random_tables.hpp"

#include <stagewalk/smmu/stage2.hpp>
#include <stagewalk/translate/cached.hpp>
#include <stagewalk/translate/nested.hpp>

#include <cstddef>
#include <cstdint>
#include <sstream>
#include <string>
#include <type_traits>
#include <vector>

namespace tlb_vs_none {

namespace sw = stagewalk;

using namespace random_tables;

inline sw::access some_access(random_bits& random) {
    constexpr std::uint64_t usual[] = {1, 2, 3, 1, 2, 4, 5, 0};
    constexpr std::uint64_t circumstances[] = {0, 0, 0, 0, 8, 8, 16, 32, 40};
    return {random.pick(usual) | random.pick(circumstances)};
}

// One invalidation that covers a range of one domain.
template <class Cache>
void drop(Cache& cache, random_bits& random, sw::range<typename Cache::input> what, sw::domain_tag whose) {
    switch (random.below(8)) {
    case 0: cache.invalidate_all(); break;
    case 1: cache.invalidate_domain(whose); break;
    case 2: cache.invalidate(what, whose, 0xf); break;
    case 3: cache.invalidate(sw::range<typename Cache::input>::all(), whose); break;
    default: cache.invalidate(what, whose); break;
    }
}

struct tally {
    std::uint64_t asked = 0;
    std::uint64_t hits = 0;
    std::uint64_t faults = 0;
    std::uint64_t updates = 0;
};

template <class Output, class Fault>
std::string text(sw::outcome<sw::translation<Output>, Fault> const& o) {
    if (!o) return "a fault";
    std::ostringstream s;
    s << std::hex << o->output.value << ' ' << o->effective.bits << ' ' << std::dec << o->lg2_size;
    return s.str();
}

// What one of the translators with a TLB says, over its own copy of memory, against what was said without.
template <class With, class Answer>
void same_answer(With const& with, std::uint64_t in, sw::access a, memory const& m, Answer const& plain, memory const& n) {
    auto const cached = with.translate(typename With::input{in}, a);
    if (plain == cached && m.updates == n.updates) return;
    INFO("address " << std::hex << in << ", access " << a.bits << ": " << text(plain) << ", with a TLB " << text(cached));
    CHECK(m.updates == n.updates);
    REQUIRE(plain == cached);
}
template <class Without>
auto ask(Without const& without, std::uint64_t in, sw::access a, memory const& n, tally& t) {
    std::size_t const before = n.updates.size();
    auto const plain = without.translate(typename Without::input{in}, a);
    ++t.asked;
    t.faults += plain ? 0u : 1u;
    t.updates += before != n.updates.size() ? 1u : 0u;
    return plain;
}

// A place that is asked for: the first few often.
inline std::uint64_t hot(random_bits& random, std::uint64_t count) {
    std::uint64_t const few = count < 6 ? count : 6;
    return count - 1 - (random.one_in(8) ? random.below(count) : random.below(few));
}

template <class... Policies, class Make>
tally one_stage(Make make, std::uint64_t scenes, std::uint64_t seed) {
    random_bits random{seed};
    tally t;
    scenes = sw::test::fewer(scenes);
    for (std::uint64_t scene = 0; scene < scenes; ++scene) {
        INFO("scene " << scene);
        auto const s = make(random, memory::origin);
        using stage_type = std::remove_cvref_t<decltype(s)>;
        memory a;
        tables<stage_type> made{s, random, a, memory::origin, memory::origin, 24};
        memory b = a;
        sw::tlb<sw::domain_tag, typename stage_type::input, typename stage_type::output, sw::statistics::counting, Policies...>
            tlb;
        sw::domain_tag const whose{static_cast<std::uint16_t>(random.below(3))};
        sw::cached const with{sw::single{s, a}, tlb, whose};
        sw::single const without{s, b};
        for (int step = 0; step < 300; ++step) {
            std::uint64_t const which = hot(random, made.places.size());
            if (random.one_in(32)) {
                made.edit(which, a, b);
                drop(tlb, random, made.span(which), whose);
            } else {
                std::uint64_t const lg2 = random.one_in(8) ? s.shift(made.places[which].level) : 12;
                std::uint64_t const in = made.places[which].in | (random() & sw::low_mask(lg2));
                sw::access const need = some_access(random);
                same_answer(with, in, need, a, ask(without, in, need, b, t), b);
            }
        }
        REQUIRE(a.words == b.words);
        t.hits += tlb.counts().of(sw::tlb_count::hits);
    }
    return t;
}

inline void check(tally const& t, bool updates) {
    if (!sw::test::all_cases()) return;
    CHECK(t.hits > t.asked / 40);
    CHECK(t.faults > t.asked / 20);
    CHECK(t.asked > t.faults + t.hits);
    CHECK((t.updates > t.asked / 1000) == updates);
}

using sw::sets;
using sw::ways;

TEST_CASE("cached VT-d second stages answer as uncached ones") {
    using sw::vtd::table_mode;
    check(one_stage(vtd_second<table_mode::legacy>{}, 150, 1), false);
    check(one_stage<sets<1>, ways<2>>(vtd_second<table_mode::legacy>{}, 50, 2), false);
    check(one_stage(vtd_second<table_mode::scalable>{}, 100, 3), false);
    check(one_stage(vtd_second<table_mode::scalable>{true}, 200, 4), true);
}

TEST_CASE("cached VT-d first stages answer as uncached ones") {
    check(one_stage(vtd_first{}, 200, 11), true);
    check(one_stage<sets<2>, ways<2>, sw::replace::lru>(vtd_first{}, 100, 12), true);
}

TEST_CASE("cached SMMU first stages answer as uncached ones") {
    check(one_stage(arm_first{}, 150, 21), false);
    check(one_stage(arm_first{true}, 200, 22), true);
    check(one_stage<sets<4>, ways<4>, sw::replace::plru>(arm_first{true}, 100, 23), true);
}

TEST_CASE("cached AMD tables answer as uncached ones") {
    check(one_stage(amd_host{}, 150, 31), false);
    check(one_stage(amd_host{true}, 150, 32), true);
    check(one_stage(amd_guest{true}, 150, 33), true);
    check(one_stage<sets<2>, ways<3>, sw::replace::fifo>(amd_guest{false}, 100, 34), false);
}

namespace {

// Guest tables in a guest's memory: its pages lie anywhere, and stage 2 is edited under it.
template <class S1, class S2>
void two_stages(S1 const& make_first, S2 const& make_second, std::uint64_t scenes, std::uint64_t seed, bool updates) {
    constexpr std::uint64_t guest = 0;
    constexpr std::uint64_t guest_pages = 16;
    constexpr std::uint64_t host_root = memory::origin + guest_pages * 4096;
    random_bits random{seed};
    tally t;
    std::uint64_t inner_hits = 0;
    scenes = sw::test::fewer(scenes);
    for (std::uint64_t scene = 0; scene < scenes; ++scene) {
        INFO("scene " << scene);
        auto const s2 = make_second(random, host_root);
        auto const s1 = make_first(random, guest);
        memory a;
        tables<std::remove_cvref_t<decltype(s2)>> host{s2, random, a, host_root, host_root, 24};
        // The guest's own pages: the first table of the way to address 0.
        std::uint64_t leaves = 0;
        for (place const& p : host.places)
            if (p.in < 0x1000 && p.level == 0) leaves = p.at;
        if (leaves == 0) continue;
        for (std::uint64_t n = 0; n < guest_pages; ++n) {
            *a.find(sw::pa{leaves + n * 8}) = s2.make_leaf(sw::pa{memory::origin + n * 4096}, 12, sw::attributes{sw::access{7}});
            host.places.push_back({n << 12, leaves + n * 8, 0, false});
        }
        tables<std::remove_cvref_t<decltype(s1)>> inner{s1, random, a, guest, memory::origin, guest_pages};
        memory b = a;
        sw::tlb<sw::domain_tag, sw::ipa, sw::pa, sets<16>, ways<4>, sw::statistics::counting> tlb;
        sw::tlb<sw::domain_tag, sw::iova, sw::pa, sets<16>, ways<4>, sw::statistics::counting> whole;
        memory c = a;
        sw::nested const without{s1, s2, b};
        sw::nested const with{s1, sw::cached{sw::single{s2, a}, tlb, sw::domain_tag{5}}, a};
        sw::nested const below{s1, s2, c};
        sw::cached const above{below, whole};
        for (int step = 0; step < 200; ++step) {
            if (random.one_in(24)) {
                std::uint64_t const which = random.below(host.places.size());
                // The guest's pages stay where they are, or the guest's tables would be read in two ways.
                if (host.places[which].level == 0 && host.places[which].in >> 12 < guest_pages) {
                    std::uint64_t const bit = std::uint64_t{1} << random.below(12) & noisy_bits;
                    for (memory* m : {&a, &b, &c})
                        *m->find(sw::pa{host.places[which].at}) ^= bit;
                } else {
                    host.edit(which, a, b);
                    *c.find(sw::pa{host.places[which].at}) = *b.find(sw::pa{host.places[which].at});
                }
                drop(tlb, random, host.span(which), {5});
                whole.invalidate_all();
            } else if (random.one_in(24)) {
                std::uint64_t const which = hot(random, inner.places.size());
                inner.edit(which, a, b);
                *c.find(sw::pa{inner.places[which].at}) = *b.find(sw::pa{inner.places[which].at});
                drop(whole, random, inner.span(which), {});
            } else {
                std::uint64_t const in = inner.places[hot(random, inner.places.size())].in | random.below(0x1000);
                sw::access const need = some_access(random);
                auto const plain = ask(without, in, need, b, t);
                same_answer(with, in, need, a, plain, b);
                same_answer(above, in, need, c, plain, b);
            }
        }
        REQUIRE(a.words == b.words);
        REQUIRE(c.words == b.words);
        inner_hits += tlb.counts().of(sw::tlb_count::hits);
        t.hits += whole.counts().of(sw::tlb_count::hits);
    }
    if (!sw::test::all_cases()) return;
    CHECK(inner_hits > t.asked / 4);
    CHECK(t.hits > t.asked / 100);
    CHECK(t.faults > t.asked / 20);
    CHECK((t.updates > t.asked / 1000) == updates);
}

struct vtd_first_guest {
    auto operator()(random_bits&, std::uint64_t root) const {
        return sw::vtd::first_stage<sw::iova, sw::ipa>{vtd_caps(), 4, sw::ipa{root}};
    }
};
struct vtd_second_host {
    bool marks = false;
    auto operator()(random_bits& random, std::uint64_t root) const {
        sw::vtd::second_stage_options o;
        o.accessed_dirty = marks;
        return sw::vtd::second_stage<sw::ipa, sw::pa, sw::vtd::table_mode::scalable>{vtd_caps(), 3 + random.below(2),
                                                                                     sw::pa{root}, o};
    }
};
struct arm_first_guest {
    auto operator()(random_bits& random, std::uint64_t root) const {
        sw::smmu::stage1_options o;
        o.updates_access = o.updates_dirty = random.one_in(2);
        return sw::smmu::stage1<sw::smmu::granule::k4, sw::iova, sw::ipa>{arm_shape(root), o};
    }
};
struct arm_second_host {
    auto operator()(random_bits& random, std::uint64_t root) const {
        sw::smmu::stage2_options o;
        o.updates_access = o.updates_dirty = random.one_in(2);
        return sw::smmu::stage2<sw::smmu::granule::k4, sw::ipa, sw::pa>{arm_shape(root), o};
    }
};

} // namespace

TEST_CASE("nested walks through a cached second stage answer as through an uncached one") {
    two_stages(vtd_first_guest{}, vtd_second_host{}, 200, 41, true);
    two_stages(vtd_first_guest{}, vtd_second_host{true}, 200, 42, true);
    two_stages(arm_first_guest{}, arm_second_host{}, 200, 43, true);
}

} // namespace tlb_vs_none
