// for_each_leaf and for_each_run against a plain enumeration of the same words, and against walk().
#include "catch.hpp"
#include "vtd_arena.hpp"
#include "vtd_compare.hpp"

#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

namespace {

namespace sw = stagewalk;
using namespace vtd_arena;
using namespace vtd_compare;

using stage_type = sw::vtd::second_stage<>;
using leaf_type = sw::leaf<stage_type>;
using run_type = sw::run<stage_type>;
using fault_type = sw::fault<sw::vtd::reason>;
using where_type = sw::range<sw::iova>;

constexpr std::uint64_t word_pages = 16;

struct words {
    std::uint64_t word[word_pages * 512]{};
    std::uint64_t missing = 0;
    bool read(std::uint64_t at, std::uint64_t& value) const {
        if (at % 8 != 0 || at >= word_pages * 4096 || (missing >> at / 4096 & 1) != 0) return false;
        value = word[at / 8];
        return true;
    }
};

// A page, or a fault (code not 0).
struct item {
    std::uint64_t first = 0;
    std::uint64_t last = 0;
    std::uint64_t output = 0;
    std::uint64_t attributes = 0;
    unsigned lg2 = 0;
    unsigned code = 0;
    int level = 0;
    std::uint64_t at = 0;
    std::uint64_t entry = 0;

    bool operator==(item const&) const = default;
};

struct plain {
    unit const& u;
    words const& memory;
    unsigned levels;
    std::vector<item> items{};
    std::uint64_t loads = 0;
    std::uint64_t tables = 0;
    std::uint64_t faults = 0;

    void table(unsigned level, std::uint64_t at, std::uint64_t base, std::uint64_t first, std::uint64_t last,
               std::uint64_t rights) {
        if (items.size() > 5000) return; // tables that share tables grow without bound
        ++tables;
        std::uint64_t const size = std::uint64_t{1} << (12 + 9 * level);
        for (std::uint64_t i = 0; i < 512; ++i) {
            std::uint64_t const from = base + i * size;
            std::uint64_t const to = from + (size - 1);
            if (to < first || from > last) continue;
            item x;
            x.first = from < first ? first : from;
            x.last = to > last ? last : to;
            x.level = static_cast<int>(level);
            x.at = at + i * 8;
            ++loads;
            std::uint64_t e = 0;
            if (!memory.read(x.at, e)) {
                x.code = level == levels - 1 ? 3 : 7;
                ++faults;
                items.push_back(x);
                continue;
            }
            if ((e & 3) == 0) continue;
            x.entry = e;
            bool const page = level == 0 || (level < 3 && vtd_model::bit(e, 7) && vtd_model::bit(u.cap, 33 + level));
            bool bad = vtd_model::bit(e, 62) || (u.haw < 52 && vtd_model::any_bit(e, 51, u.haw));
            if (!page) bad = bad || vtd_model::bit(e, 7) || vtd_model::bit(e, 11);
            if (page && level > 0) bad = bad || vtd_model::any_bit(e, 11 + 9 * level, 12);
            if (page) bad = bad || (vtd_model::bit(e, 11) && !vtd_model::bit(u.ecap, 7));
            if (bad) {
                x.code = 0xc;
                ++faults;
                items.push_back(x);
            } else if (page) {
                x.output = (e & 0x000ffffffffff000) + (x.first - from);
                x.attributes = (rights & e & 3) | (e & 0x878);
                x.lg2 = 12 + 9 * level;
                items.push_back(x);
            } else {
                table(level - 1, e & 0x000ffffffffff000, from, x.first, x.last, rights & e);
            }
        }
    }
};

struct collector {
    std::vector<item> items{};
    void operator()(leaf_type const& l) {
        item x;
        x.first = l.part.first().value;
        x.last = l.part.last().value;
        x.output = l.first.output.value;
        x.attributes = l.first.effective.bits;
        x.lg2 = static_cast<unsigned>(l.first.lg2_size);
        x.level = static_cast<int>(l.at.level);
        x.at = l.at.address;
        x.entry = l.at.entry;
        items.push_back(x);
    }
    void operator()(fault_type const& f) {
        item x;
        x.first = f.input;
        x.code = static_cast<unsigned>(f.code);
        x.level = f.level;
        x.at = f.descriptor;
        x.entry = f.entry;
        items.push_back(x);
    }
};

// A fault tells its first address and no more.
std::vector<item> as_shown(std::vector<item> items) {
    for (auto& x : items)
        if (x.code != 0) x.last = 0;
    return items;
}

struct scene_of_tables {
    unit u;
    unsigned levels = 0;
    std::uint64_t root = 0;
};

// A tree over pages 1 to 15: dense stretches that lead straight on, so that there is something to merge, and odd ones.
class grower {
public:
    grower(random_bits& r, words& w, unsigned host) : random{r}, memory{w}, haw{host}, at_top{r.one_in(6)} {}
    std::uint64_t grow(unsigned level, std::uint64_t base, std::uint64_t straight) {
        if (used == word_pages) return (1 + random.below(word_pages - 1)) * 4096; // one that is there already
        std::uint64_t const table = used++ * 4096;
        std::uint64_t* const entry = memory.word + table / 8;
        for (int i = 0; i < 512; ++i)
            entry[i] = 0;
        std::uint64_t const size = std::uint64_t{1} << (12 + 9 * level);
        std::uint64_t const stretches = 1 + random.below(3);
        for (std::uint64_t k = 0; k < stretches; ++k) {
            std::uint64_t const ends[] = {0, 511, random.below(512), random.below(512)};
            std::uint64_t i = k == 0 && at_top ? 511 : random.pick(ends);
            std::uint64_t const length = level == 0 ? 1 + random.below(40) : 1 + random.below(4);
            std::uint64_t rights = random.one_in(5) ? random.below(4) : 3;
            if (random.one_in(3)) straight = random() & 0x3fffff000;
            for (std::uint64_t n = 0; n < length && i < 512; ++n, ++i) {
                bool const page = level == 0 || (level < 3 && random.one_in(3));
                std::uint64_t const in = base + i * size;
                std::uint64_t const out = (in + straight) & ((std::uint64_t{1} << haw) - 1);
                entry[i] = rights;
                if (page) {
                    entry[i] |= (out >> (12 + 9 * level) << (12 + 9 * level)) | (level > 0 ? 0x80 : 0);
                    if (random.one_in(30)) entry[i] |= random() & 0x878;
                } else {
                    entry[i] |= grow(level - 1, in, straight);
                }
                if (random.one_in(60)) entry[i] ^= std::uint64_t{1} << random.below(64);
                if (random.one_in(40)) rights = random.below(4);
            }
        }
        return table;
    }

private:
    random_bits& random;
    words& memory;
    unsigned haw;
    bool at_top; // something is mapped at the end of every table
    std::uint64_t used = 1;
};

scene_of_tables random_tables(random_bits& random, words& memory) {
    scene_of_tables s;
    s.u = random_unit(random);
    s.levels = 3 + random.small(3);
    if (random.one_in(2)) s.u.cap |= std::uint64_t{63} << 16; // the whole table is admitted
    make_possible(s.u);
    std::uint64_t const shift = std::uint64_t{1} << (21 + 9 * random.below(2));
    s.root = grower{random, memory, s.u.haw}.grow(s.levels - 1, 0, random.below(64) * shift);
    memory.missing = random.one_in(16) ? 1u << (1 + random.below(word_pages - 1)) : 0;
    return s;
}

auto loader_of(words const& memory) {
    return sw::make_callback<sw::ipa>([&memory](sw::ipa at) -> sw::outcome<std::uint64_t, int> {
        std::uint64_t value = 0;
        if (!memory.read(at.value, value)) return sw::failure{1};
        return value;
    });
}

where_type random_range(random_bits& random, std::uint64_t limit) {
    switch (random.below(6)) {
    case 0:
    case 1: return where_type::all();
    case 2: return where_type{sw::iova{random() & limit}, random.any_width()};
    case 3: return where_type{sw::iova{limit - random.below(0x100000)}, 0x200000};
    case 4: return where_type::between(sw::iova{random.below(0x40000000)}, sw::iova{random() & limit});
    default: return where_type{};
    }
}

} // namespace

TEST_CASE("every leaf of random tables is found, once, in order, and walk agrees at both its ends", "[vtd][leaves]") {
    random_bits random{5};
    static words memory;
    std::map<std::string, std::uint64_t> reached;
    for (std::uint64_t round = 0, rounds = sw::test::fewer(4000); round < rounds; ++round) {
        auto const s = random_tables(random, memory);
        auto load = loader_of(memory);
        stage_type const stage{capabilities_of(s.u), s.levels, sw::ipa{s.root}, {policy_of(s.u)}};
        std::uint64_t const mgaw = (s.u.cap >> 16 & 63) + 1;
        std::uint64_t const width = mgaw < 12 + 9 * s.levels ? mgaw : 12 + 9 * s.levels;
        std::uint64_t const limit = (std::uint64_t{1} << width) - 1;
        auto const where = random_range(random, limit);

        plain expected{s.u, memory, s.levels};
        if (!where.empty() && where.first().value <= limit)
            expected.table(s.levels - 1, s.root, 0, where.first().value, where.last().value < limit ? where.last().value : limit,
                           3);
        if (expected.items.size() > 5000) continue;
        ++reached["tables"];

        collector found;
        auto const end = sw::for_each_leaf(stage, load, where, found);
        INFO("round " << round);
        REQUIRE(found.items == as_shown(expected.items));
        REQUIRE(end.complete);
        REQUIRE(end.loads == expected.loads);
        REQUIRE(end.tables == expected.tables);
        REQUIRE(end.faults == expected.faults);
        REQUIRE(end.leaves + end.faults == expected.items.size());

        std::uint64_t gap = where.empty() ? 0 : where.first().value; // what lies between must lead nowhere
        for (auto const& x : expected.items) {
            auto const first = sw::walk(stage, load, sw::iova{x.first}, sw::none);
            auto const last = sw::walk(stage, load, sw::iova{x.last}, sw::none);
            bool alike = true;
            if (x.code != 0) {
                alike = !first && !last && static_cast<unsigned>(first.error().code) == x.code &&
                        first.error().code == last.error().code;
                ++reached["fault"];
            } else {
                alike = first && last && first->output.value == x.output && last->output.value == x.output + (x.last - x.first) &&
                        first->effective.bits == x.attributes && last->effective == first->effective &&
                        first->lg2_size == x.lg2 && last->lg2_size == x.lg2;
                ++reached[print("lg2 %u", x.lg2)];
                if (x.last == limit) ++reached["the last byte admitted"];
                if (x.last == limit && width == 57) ++reached["the last byte of 57 bits"];
                if (x.last - x.first != (std::uint64_t{1} << x.lg2) - 1) ++reached["part of a page"];
            }
            if (!alike) FAIL("walk does not agree at " << std::hex << x.first);
            if (x.first > gap) {
                bool const nothing =
                    !sw::walk(stage, load, sw::iova{gap}, sw::none) && !sw::walk(stage, load, sw::iova{x.first - 1}, sw::none);
                if (!nothing) FAIL("something was left out before " << std::hex << x.first);
            }
            gap = x.last + 1;
        }

        // Runs: the same bytes, merged as far as they go.
        std::vector<run_type> runs;
        std::uint64_t faults = 0;
        struct {
            std::vector<run_type>& runs;
            std::uint64_t& faults;
            void operator()(run_type const& r) { runs.push_back(r); }
            void operator()(fault_type const&) { ++faults; }
        } visit{runs, faults};
        auto const merged = sw::for_each_run(stage, load, where, visit);
        REQUIRE(merged.complete);
        REQUIRE(faults == expected.faults);
        std::size_t k = 0;
        std::uint64_t leaves = 0;
        for (std::size_t i = 0; i < runs.size(); ++i) {
            auto const& r = runs[i];
            std::uint64_t at = r.part.first().value;
            std::uint64_t smallest = 64;
            std::uint64_t largest = 0;
            for (std::uint64_t n = 0; n < r.leaves; ++n, ++k) {
                while (k < expected.items.size() && expected.items[k].code != 0)
                    ++k;
                REQUIRE(k < expected.items.size());
                auto const& x = expected.items[k];
                bool const fits =
                    x.first == at && x.output == r.output.value + (at - r.part.first().value) && x.attributes == r.effective.bits;
                REQUIRE(fits);
                at = x.last + 1;
                smallest = x.lg2 < smallest ? x.lg2 : smallest;
                largest = x.lg2 > largest ? x.lg2 : largest;
            }
            REQUIRE(at - 1 == r.part.last().value);
            REQUIRE(r.smallest == smallest);
            REQUIRE(r.largest == largest);
            leaves += r.leaves;
            if (r.leaves > 1) ++reached["run of several"];
            if (r.smallest != r.largest) ++reached["run of several sizes"];
            if (i == 0) continue;
            auto const& before = runs[i - 1];
            bool const joins = before.part.last().value + 1 == r.part.first().value &&
                               before.output.value + before.part.span() + 1 == r.output.value && before.effective == r.effective;
            REQUIRE(!joins);
        }
        REQUIRE(leaves == end.leaves);

        // Cut into pieces by the bound on loads, it is the same enumeration.
        if (round % 8 == 0 && !where.empty()) {
            std::uint64_t const bound = s.levels + random.below(40);
            collector pieces;
            auto rest = where;
            for (;;) {
                auto const piece = sw::for_each_leaf(stage, load, rest, pieces, bound);
                REQUIRE(piece.loads <= bound);
                if (piece.complete) break;
                REQUIRE(piece.loads == bound);
                REQUIRE(piece.resume > rest.first().value);
                rest = where_type::between(sw::iova{piece.resume}, where.last());
                ++reached["resumed"];
            }
            REQUIRE(pieces.items == found.items);
        }
    }
    for (auto const& [name, count] : reached)
        std::printf("%10llu  %s\n", static_cast<wide>(count), name.c_str());
    if (!sw::test::all_cases()) return;
    char const* const wanted[] = {"lg2 12",
                                  "lg2 21",
                                  "lg2 30",
                                  "fault",
                                  "the last byte admitted",
                                  "the last byte of 57 bits",
                                  "part of a page",
                                  "run of several",
                                  "run of several sizes",
                                  "resumed"};
    for (auto const* name : wanted) {
        INFO(name);
        CHECK(reached[name] >= 20);
    }
}

TEST_CASE("a table that contains itself is enumerated within the bound", "[vtd][leaves]") {
    static words memory;
    memory.missing = 0;
    for (std::uint64_t i = 0; i < 512; ++i)
        memory.word[512 + i] = 0x1003; // page 1 is all tables at all levels
    auto load = loader_of(memory);
    unit u;
    u.haw = 39;
    u.cap = std::uint64_t{56} << 16 | std::uint64_t{3} << 34 | 0xe00;
    for (unsigned levels = 3; levels <= 5; ++levels) {
        stage_type const stage{capabilities_of(u), levels, sw::ipa{0x1000}};
        for (std::uint64_t const bound : {0u, 1u, 2u, 3u, 7u, 1000u, 100000u}) {
            std::uint64_t seen = 0;
            std::uint64_t next = 0;
            auto const end = sw::for_each_leaf(
                stage, load, where_type::all(),
                [&](leaf_type const& l) {
                    ++seen;
                    if (l.part.first().value != next || l.first.output.value != 0x1000) FAIL("a leaf is not where it should be");
                    next = l.part.last().value + 1;
                },
                bound);
            CHECK(!end.complete);
            CHECK(end.loads == bound);
            CHECK(end.resume == next);
            CHECK(end.leaves == seen);
            std::uint64_t runs = 0;
            auto const merged = sw::for_each_run(
                stage, load, where_type::all(), [&](run_type const&) { ++runs; }, bound);
            CHECK(!merged.complete);
            CHECK(merged.loads == bound);
            CHECK(merged.resume == next);
            CHECK(runs == seen); // all lead to one page: nothing to merge
        }
        // At the very top of what is admitted nothing wraps round.
        std::uint64_t const limit = (std::uint64_t{1} << (12 + 9 * levels)) - 1;
        std::uint64_t last = 0;
        auto const end =
            sw::for_each_leaf(stage, load, where_type::between(sw::iova{limit - 0x2fff}, sw::iova{~std::uint64_t{0}}),
                              [&](leaf_type const& l) { last = l.part.last().value; });
        CHECK(end.complete);
        CHECK(end.leaves == 3);
        CHECK(last == limit);
    }
}
