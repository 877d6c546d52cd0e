// table.map against a std::map of what was mapped: conflicts, an allocator that fails at every step, the largest page.
#include "catch.hpp"
#include "host_memory.hpp"
#include "random_bits.hpp"
#include "vtd_compare.hpp"

#include <bit>
#include <cstdint>
#include <cstdio>
#include <iterator>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace {

namespace sw = stagewalk;
using vtd_compare::wide;

using stage_type = sw::vtd::second_stage<sw::ipa, sw::pa>;

// Host memory for tables: page i of it has a number that is not i, so that neighbours in the tree are none in memory.
struct host {
    static constexpr std::uint64_t origin = 0x7000'0000;
    static constexpr std::uint64_t pages = 1024;
    std::vector<std::uint64_t> word = std::vector<std::uint64_t>(pages * 512, 0xdeaddeaddeaddead);
    std::uint64_t stores = 0;

    std::uint64_t* find(std::uint64_t at) {
        return at % 8 == 0 && at - origin < pages * 4096 ? &word[(at - origin) / 8] : nullptr;
    }
};

class allocator {
public:
    using address = sw::pa;

    sw::outcome<sw::pa, sw::out_of_tables> take(std::uint64_t lg2) noexcept {
        if (lg2 != 12 || fail_after == 0 || out.size() == host::pages) return sw::failure{sw::out_of_tables{}};
        --fail_after;
        std::uint64_t i = turn++ * 389 % host::pages;
        while (out.count(i) != 0)
            i = turn++ * 389 % host::pages;
        out.insert(i);
        return sw::pa{host::origin + i * 4096};
    }
    void give(sw::pa table, std::uint64_t lg2) noexcept {
        strange = strange || lg2 != 12 || out.erase((table.value - host::origin) / 4096) != 1;
    }

    std::set<std::uint64_t> out{}; // the pages that are in use
    std::uint64_t turn = 0;
    std::uint64_t fail_after = ~std::uint64_t{0};
    bool strange = false; // something was given back that was not taken
};

struct mapping {
    std::uint64_t last;
    std::uint64_t output;
    std::uint64_t attributes;
};

using mappings = std::map<std::uint64_t, mapping>; // by first address

std::uint64_t const no_conflict = ~std::uint64_t{0};

std::uint64_t first_conflict(mappings const& all, std::uint64_t first, std::uint64_t last) {
    auto next = all.upper_bound(first);
    if (next != all.begin() && std::prev(next)->second.last >= first) return first;
    return next != all.end() && next->first <= last ? next->first : no_conflict;
}

// The contents of every table in use, to be compared byte for byte.
std::vector<std::uint64_t> contents(host const& h, allocator const& a) {
    std::vector<std::uint64_t> all;
    for (auto const page : a.out) {
        all.push_back(page);
        all.insert(all.end(), h.word.begin() + static_cast<std::ptrdiff_t>(page * 512),
                   h.word.begin() + static_cast<std::ptrdiff_t>(page * 512 + 512));
    }
    return all;
}

struct request {
    std::uint64_t first;
    std::uint64_t bytes;
    std::uint64_t output;
    std::uint64_t attributes;
};

request random_request(random_bits& random, std::uint64_t width, std::uint64_t haw, mappings const& all) {
    std::uint64_t const lg2s[] = {12, 12, 12, 21, 21, 30};
    std::uint64_t const lg2 = random.pick(lg2s);
    std::uint64_t const limit = std::uint64_t{1} << width;
    request r{};
    r.bytes = ((1 + random.below(lg2 == 30 ? 4 : 20)) << lg2) + (lg2 > 12 && random.one_in(3) ? random.below(8) << 12 : 0);
    r.first = random.one_in(6) ? limit - r.bytes : (random() % limit) >> lg2 << lg2;
    // Not far apart, so that they meet, and mostly just below a boundary, so that they cross it.
    std::uint64_t const bases[] = {0, 0x3fe00000, 0x40000000 - 0x5000, 0x7fc0000000, limit / 2 - 0x200000};
    if (!random.one_in(4)) r.first = (random.pick(bases) + (random.below(64) << lg2)) % limit;
    if (!all.empty() && random.one_in(4)) {
        auto const& some = *all.begin();
        r.first = some.first + (random.below(4) << 12);       // on top of another
        if (random.one_in(2)) r.first = some.second.last + 1; // just behind it
    }
    if (random.one_in(20)) r.first = limit - random.below(3) * 0x1000; // past the end, at once or later
    // Like the input in its low bits, so that large pages fit, or not.
    std::uint64_t const alike = random.one_in(3) ? 12 : lg2s[random.below(6)];
    std::uint64_t const mask = (std::uint64_t{1} << alike) - 1;
    r.output = (random() & ((std::uint64_t{1} << haw) - 1) & ~mask) | (r.first & mask);
    if (random.one_in(8)) r.output = (std::uint64_t{1} << haw) - r.bytes;
    r.output &= ~std::uint64_t{0xfff};
    // Where the low bits are unlike, everything becomes small pages: not too many of them.
    std::uint64_t const step = std::uint64_t{1} << std::countr_zero(r.first | r.output | std::uint64_t{1} << 30);
    if (step < (1u << 21) && r.bytes > (std::uint64_t{1} << 26)) r.bytes = std::uint64_t{1} << 26;
    r.attributes = 1 + random.below(3);
    if (random.one_in(4)) r.attributes |= random() & 0x878;
    return r;
}

} // namespace

TEST_CASE("mapping random ranges leaves what a std::map says, or nothing changed", "[vtd][map]") {
    random_bits random{6};
    std::map<std::string, std::uint64_t> reached;
    for (std::uint64_t round = 0, rounds = sw::test::fewer(60, 8); round < rounds; ++round) {
        static host h;
        allocator take;
        // Capabilities by literal bits: all depths, a choice of sizes, SNP.
        std::uint64_t const sizes[] = {3, 3, 1, 0};
        std::uint64_t const large = random.pick(sizes);
        std::uint64_t const levels = 3 + random.below(3);
        std::uint64_t const mgaws[] = {40, 48, 57, 64};
        std::uint64_t const mgaw = random.pick(mgaws);
        std::uint64_t const haw = 34 + random.below(7);
        std::uint64_t const width = mgaw < 12 + 9 * levels ? mgaw : 12 + 9 * levels;
        bool const snoops = !random.one_in(4);
        sw::vtd::capabilities const caps{(mgaw - 1) << 16 | large << 34 | 0xe00, snoops ? 0x80u : 0u, haw};
        auto memory = sw::make_callback<sw::pa>(
            [](sw::pa at) -> sw::outcome<std::uint64_t, int> {
                auto* const w = h.find(at.value);
                if (w == nullptr) return sw::failure{1};
                return *w;
            },
            [](sw::pa at, std::uint64_t& expected, std::uint64_t desired) -> sw::outcome<bool, int> {
                auto* const w = h.find(at.value);
                if (w == nullptr) return sw::failure{1};
                bool const alike = *w == expected;
                expected = *w;
                if (alike) *w = desired;
                return alike;
            },
            [](sw::pa at, std::uint64_t value) -> sw::outcome<bool, int> {
                auto* const w = h.find(at.value);
                if (w == nullptr) return sw::failure{1};
                ++h.stores;
                *w = value;
                return true;
            });
        auto const root = *take.take(12);
        for (std::uint64_t i = 0; i < 512; ++i)
            *h.find(root.value + i * 8) = 0;
        stage_type const stage{caps, levels, root};
        sw::table tree{stage, memory, take};
        mappings all;

        for (int n = 0; n < 40; ++n) {
            request const r = random_request(random, width, haw, all);
            std::uint64_t const last = r.first + (r.bytes - 1);
            sw::range<sw::ipa> const at{sw::ipa{r.first}, r.bytes};
            auto const before = contents(h, take);
            std::uint64_t const stores = h.stores;
            auto const unchanged = [&] { return contents(h, take) == before && !take.strange; };
            auto const map = [&] { return tree.map(at, sw::pa{r.output}, sw::attributes::from_bits(r.attributes)); };

            bool const beyond = last >> width != 0;
            bool const unwritable = (r.output + (r.bytes - 1)) >> haw != 0 || ((r.attributes & 0x800) != 0 && !snoops);
            std::uint64_t const conflict = first_conflict(all, r.first, last);
            if (beyond || unwritable || conflict != no_conflict) {
                auto const done = map();
                REQUIRE(!done);
                REQUIRE(unchanged());
                REQUIRE(h.stores == stores); // not even for a moment
                auto const f = done.error();
                if (beyond) {
                    REQUIRE(f == sw::map_failure{sw::map_error::beyond_input, r.first >> width != 0 ? r.first : last});
                    ++reached["beyond input"];
                } else if (unwritable) {
                    REQUIRE(f.why == sw::map_error::cannot_encode);
                    ++reached["cannot encode"];
                } else {
                    REQUIRE(f.why == sw::map_error::already_mapped);
                    bool const near = f.at >= r.first && f.at <= conflict && conflict - f.at < std::uint64_t{1} << 30;
                    REQUIRE(near);
                    ++reached["already mapped"];
                }
                continue;
            }

            // Every number of tables that is too few, then enough.
            std::uint64_t const out = take.out.size();
            std::uint64_t given = 0;
            for (;; given = given < 12 ? given + 1 : given + given / 2) {
                take.fail_after = given;
                auto const done = map();
                if (done) {
                    REQUIRE(*done == r.bytes - 1);
                    break;
                }
                REQUIRE(done.error().why == sw::map_error::out_of_tables);
                REQUIRE(unchanged());
                ++reached["out of tables"];
                if (out + given > host::pages) break;
            }
            take.fail_after = ~std::uint64_t{0};
            if (unchanged() && take.out.size() == out && first_conflict(all, r.first, last) == no_conflict &&
                !sw::walk(stage, memory, sw::ipa{r.first}, sw::none)) {
                ++reached["no table left"];
                break;
            }
            REQUIRE(!take.strange);
            all[r.first] = {last, r.output, r.attributes};
            ++reached["mapped"];
        }

        // What is mapped translates, at both ends and in between, in the largest pages; around it there is nothing.
        std::uint64_t bytes = 0;
        for (auto const& [first, m] : all) {
            bytes += m.last - first + 1;
            std::vector<std::uint64_t> probes{first, m.last, first + 0xfff};
            for (int k = 0; k < 40; ++k)
                probes.push_back(first + random.below(m.last - first + 1));
            for (std::uint64_t lg2 = 21; lg2 <= 30; lg2 += 9) // both sides of the first and the last boundary
                for (std::uint64_t const edge : {((first >> lg2) + 1) << lg2, m.last >> lg2 << lg2})
                    if (edge > first && edge <= m.last) {
                        probes.push_back(edge);
                        probes.push_back(edge - 1);
                    }
            for (auto const p : probes) {
                auto const t = sw::walk(stage, memory, sw::ipa{p}, sw::none);
                auto const trusting = sw::walk(sw::trusted{stage}, memory, sw::ipa{p}, sw::none);
                REQUIRE(t);
                REQUIRE(t == trusting);
                std::uint64_t largest = 12;
                for (std::uint64_t lg2 = 21; lg2 <= 30; lg2 += 9) {
                    std::uint64_t const mask = (std::uint64_t{1} << lg2) - 1;
                    std::uint64_t const page = p & ~mask;
                    if ((large >> (lg2 == 30 ? 1 : 0) & 1) != 0 && page >= first && (p | mask) <= m.last &&
                        ((m.output + (page - first)) & mask) == 0)
                        largest = lg2;
                }
                bool const as_mapped =
                    t->output.value == m.output + (p - first) && t->effective.bits == m.attributes && t->lg2_size == largest;
                if (!as_mapped) FAIL("at " << std::hex << p << " lg2 " << std::dec << t->lg2_size << " instead of " << largest);
                ++reached[vtd_compare::print("lg2 %u", static_cast<unsigned>(largest))];
            }
            if (first > 0 && first_conflict(all, first - 1, first - 1) == no_conflict)
                REQUIRE(!sw::walk(stage, memory, sw::ipa{first - 1}, sw::none));
            if (m.last + 1 < std::uint64_t{1} << width && first_conflict(all, m.last + 1, m.last + 1) == no_conflict)
                REQUIRE(!sw::walk(stage, memory, sw::ipa{m.last + 1}, sw::none));
            if (m.last == (std::uint64_t{1} << width) - 1) ++reached["the last byte admitted"];
        }
        std::uint64_t found = 0;
        auto const end = sw::for_each_run(stage, memory, sw::range<sw::ipa>::all(),
                                          [&](sw::run<stage_type> const& run) { found += run.part.span() + 1; });
        REQUIRE(end.complete);
        REQUIRE(end.faults == 0);
        REQUIRE(found == bytes);
        REQUIRE(end.tables == take.out.size()); // none leaked, none shared
    }
    for (auto const& [name, count] : reached)
        std::printf("%10llu  %s\n", static_cast<wide>(count), name.c_str());
    if (!sw::test::all_cases()) return;
    for (char const* const name : {"mapped", "already mapped", "beyond input", "cannot encode", "out of tables", "lg2 12",
                                   "lg2 21", "lg2 30", "the last byte admitted"}) {
        INFO(name);
        CHECK(reached[name] >= 20);
    }
}

TEST_CASE("mapping refuses what is no range of pages", "[vtd][map]") {
    static host h;
    allocator take;
    auto memory = sw::make_callback<sw::pa>([](sw::pa) -> sw::outcome<std::uint64_t, int> { return 0u; },
                                            [](sw::pa, std::uint64_t&, std::uint64_t) -> sw::outcome<bool, int> { return true; },
                                            [](sw::pa, std::uint64_t) -> sw::outcome<bool, int> { return true; });
    sw::vtd::capabilities const caps{std::uint64_t{47} << 16 | 0x400, 0, 40};
    sw::table tree{stage_type{caps, 4, sw::pa{0x1000}}, memory, take};
    auto const why = [&](sw::range<sw::ipa> at, std::uint64_t to, sw::attributes with) {
        auto const done = tree.map(at, sw::pa{to}, with);
        REQUIRE(!done);
        return done.error().why;
    };
    using enum sw::map_error;
    auto const range = [](std::uint64_t first, std::uint64_t bytes) { return sw::range{sw::ipa{first}, bytes}; };
    CHECK(why({}, 0, sw::read) == bad_range);
    CHECK(why(range(~std::uint64_t{0} - 0xfff, 0x2000), 0, sw::read) == bad_range);
    CHECK(why(range(0x1000, 0xfff), 0, sw::read) == misaligned);
    CHECK(why(range(0x1001, 0x1000), 0, sw::read) == misaligned);
    CHECK(why(range(0x1000, 0x1000), 8, sw::read) == misaligned);
    CHECK(why(range(std::uint64_t{1} << 48, 0x1000), 0, sw::read) == beyond_input);
    CHECK(why(range((std::uint64_t{1} << 48) - 0x1000, 0x2000), 0, sw::read) == beyond_input);
    CHECK(why(sw::range<sw::ipa>::all(), 0, sw::read) == beyond_input);
    CHECK(why(range(0, 0x1000), std::uint64_t{1} << 40, sw::read) == cannot_encode);
    CHECK(why(range(0, 0x2000), (std::uint64_t{1} << 40) - 0x1000, sw::read) == cannot_encode);
    CHECK(why(range(0, 0x2000), ~std::uint64_t{0} - 0xfff, sw::read) == cannot_encode);
    CHECK(why(range(0, 0x1000), 0, sw::none) == cannot_encode);
    CHECK(why(range(0, 0x1000), 0, sw::execute) == cannot_encode);
    CHECK(why(range(0, 0x1000), 0, sw::attributes::from_bits(0x801)) == cannot_encode); // SNP without SC
    CHECK(take.out.empty());
}
