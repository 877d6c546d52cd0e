// SMMUv3 tables of every granule: for_each_leaf and for_each_run against walking page by page, and table.map against a std::map,
// then walked: both halves of stage 1, concatenated roots of stage 2, 52-bit addresses.
#include "catch.hpp"
#include "host_memory.hpp"
#include "random_bits.hpp"

#include <stagewalk/build/allocator.hpp>
#include <stagewalk/build/table.hpp>
#include <stagewalk/memory/callback.hpp>
#include <stagewalk/smmu/stage1.hpp>
#include <stagewalk/smmu/stage2.hpp>
#include <stagewalk/smmu/stage_shape.hpp>
#include <stagewalk/walk/leaves.hpp>
#include <stagewalk/walk/walk.hpp>

#include <cstdint>
#include <cstdio>
#include <iterator>
#include <map>
#include <string>
#include <vector>

namespace {

namespace sw = stagewalk;
using sw::smmu::granule;
using wide = unsigned long long;

template <granule G>
using first_type = sw::smmu::stage1<G, sw::iova, sw::pa>;
template <granule G>
using second_type = sw::smmu::stage2<G, sw::ipa, sw::pa>;

template <class S>
constexpr bool is_first = S::number == sw::fault_stage::first;

using tally = std::map<std::string, std::uint64_t>;

std::uint64_t below_bit(std::uint64_t n) { return n >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << n) - 1; }
std::uint64_t down(std::uint64_t value, std::uint64_t lg2) { return value & ~below_bit(lg2); }

// A shape that an SMMU would accept. `pages` is 12, 14 or 16.
struct chosen {
    sw::smmu::table_shape shape;
    std::uint64_t concatenated = 0; // lg2 of how many tables lie side by side
};
template <class S>
chosen random_shape(random_bits& random) {
    chosen c;
    std::uint64_t const g = S::lg2_page;
    std::uint64_t const stride = g - 3;
    sw::smmu::table_shape& s = c.shape;
    s.wide = random.one_in(2);
    std::uint64_t const sizes[] = {32, 36, 40, 42, 44, 48, 52};
    do
        s.output_size = random.pick(sizes);
    while (s.output_size == 52 && !s.wide);
    s.lg2_least = s.output_size == 52 ? 6 : 4;
    std::uint64_t const widest = s.wide ? 52 : 48;
    if (is_first<S>) {
        std::uint64_t const narrowest = g == 16 ? 17 : 16;
        s.input_size = narrowest + random.below(widest - narrowest + 1);
        if (random.one_in(4)) s.input_size = widest;
        s.top = (s.input_size - 1 - g) / stride;
        s.upper = random.one_in(2);
        s.ignores_top_byte = random.one_in(2);
    } else {
        do {
            s.top = random.below(g == 12 && s.wide ? 5 : g == 16 ? 3 : 4);
            std::uint64_t const least = s.top * stride + g + 1;
            s.input_size = least + random.below(stride + 4);
            if (random.one_in(2)) s.input_size = least + stride - 1 + random.below(5);
        } while (s.input_size > widest || s.input_size < 16 || (g == 14 && s.top == 3 && !s.wide));
        std::uint64_t const root = s.input_size - (s.top * stride + g);
        c.concatenated = root > stride ? root - stride : 0;
    }
    return c;
}

// The first and the last address that the tables translate.
std::uint64_t low_of(sw::smmu::table_shape const& s) { return s.upper ? ~below_bit(s.input_size) : 0; }
std::uint64_t high_of(sw::smmu::table_shape const& s) { return low_of(s) | below_bit(s.input_size); }

// Sixteen pages, for which every address stands: a walk meets something everywhere.
struct folded {
    std::uint64_t word[16 * 512];
    std::uint64_t missing;
    bool read(std::uint64_t at, std::uint64_t& value) const {
        std::uint64_t const page = (at >> 12 ^ at >> 17 ^ at >> 40) & 15;
        if (page == missing) return false;
        value = word[page * 512 + (at >> 3 & 511)];
        return true;
    }
};

void fill(folded& m, random_bits& random, bool dense) {
    for (std::uint64_t i = 0; i < std::size(m.word); ++i) {
        std::uint64_t e = random();
        if (!random.one_in(dense ? 16 : 3)) e |= 1;
        if (i != 0 && random.one_in(3)) e = m.word[i - 1] + 0x10000; // neighbours that may merge
        if (!random.one_in(24)) e &= 0xfff00000ffffffff;             // below 4 GiB
        if (random.one_in(2)) e &= ~std::uint64_t{0xf300};
        m.word[i] = e;
    }
    m.missing = random.one_in(4) ? random.below(16) : 16;
}

// A page, or a fault (code not 0).
struct item {
    std::uint64_t first = 0;
    std::uint64_t last = 0;
    std::uint64_t output = 0;
    std::uint64_t attributes = 0;
    std::uint64_t lg2 = 0;
    unsigned code = 0;
    std::uint64_t descriptor = 0;

    bool operator==(item const&) const = default;
};

template <class S>
struct collector {
    std::vector<item> items{};
    void operator()(sw::leaf<S> const& l) {
        items.push_back(
            {l.part.first().value, l.part.last().value, l.first.output.value, l.first.effective.bits, l.first.lg2_size, 0, 0});
    }
    void operator()(sw::fault<sw::smmu::event> const& f) {
        items.push_back({f.input, 0, 0, 0, 0, static_cast<unsigned>(f.code), f.descriptor});
    }
};

struct joined {
    std::uint64_t first = 0;
    std::uint64_t last = 0;
    std::uint64_t output = 0;
    std::uint64_t attributes = 0;
    std::uint64_t leaves = 0;
    std::uint64_t smallest = 0;
    std::uint64_t largest = 0;

    bool operator==(joined const&) const = default;
};

template <class S>
void enumerate(std::uint64_t seed) {
    random_bits random{seed};
    static folded memory;
    tally reached;
    constexpr std::uint64_t page = std::uint64_t{1} << S::lg2_page;
    for (std::uint64_t round = 0, rounds = sw::test::fewer(4000); round < rounds; ++round) {
        if (round % 8 == 0) fill(memory, random, random.one_in(2));
        chosen c = random_shape<S>(random);
        c.shape.root = random() & below_bit(c.shape.output_size);
        S const stage{c.shape};
        auto load = sw::make_callback<sw::pa>([](sw::pa at) -> sw::outcome<std::uint64_t, int> {
            std::uint64_t value = 0;
            if (!memory.read(at.value, value)) return sw::failure{1};
            return value;
        });

        // A range across a border, or at an end of what is translated.
        using input = typename S::input;
        std::uint64_t const low = low_of(c.shape);
        std::uint64_t const high = high_of(c.shape);
        std::uint64_t const pages = 1 + random.below(random.one_in(8) ? 3000 : 100);
        std::uint64_t middle = low + (random() & (high - low));
        middle = down(middle, S::shift(random.below(c.shape.top + 1)));
        if (random.one_in(6)) middle = high;
        if (random.one_in(6)) middle = low;
        std::uint64_t const before = random.below(pages + 1) * page;
        std::uint64_t from = middle < before ? 0 : middle - before;
        if (random.one_in(3)) from |= random() & (page - 1);
        std::uint64_t to = from + pages * page - 1;
        if (to < from) to = ~std::uint64_t{0};
        auto const where = sw::range<input>::between(input{from}, input{to});

        std::vector<item> expected;
        std::vector<joined> runs;
        std::uint64_t next = from; // what is told already ends before it
        bool ended = false;
        for (std::uint64_t at = from; !ended; at = down(at, S::lg2_page) + page) {
            ended = down(at, S::lg2_page) == down(to, S::lg2_page);
            if (at < next) continue;
            auto const t = sw::walk(stage, load, input{at}, sw::none);
            item x;
            x.first = at;
            std::uint64_t lg2 = S::lg2_page;
            if (t) {
                lg2 = t->lg2_size;
                x.output = t->output.value;
                x.attributes = t->effective.bits;
                x.lg2 = lg2;
                ++reached["lg2 " + std::to_string(lg2)];
                if (c.concatenated != 0 &&
                    (at >> S::shift(c.shape.top) & below_bit(c.concatenated + S::stride)) >> S::stride != 0)
                    ++reached["in a later one of the concatenated tables"];
            } else {
                auto const f = t.error();
                if (f.level == sw::no_level) continue; // not in the range of the stage
                lg2 = S::shift(f.level);
                x.code = static_cast<unsigned>(f.code);
                x.descriptor = f.descriptor;
            }
            std::uint64_t const rest = at | below_bit(lg2);
            x.last = rest < to ? rest : to;
            next = x.last + 1;
            if (!t && t.error().code != sw::smmu::event::f_walk_eabt && (t.error().entry & 1) == 0) {
                if (next == 0) break;
                continue;
            }
            if (x.code != 0) {
                ++reached["fault " + std::to_string(x.code)];
            } else {
                bool const joins = !runs.empty() && runs.back().last + 1 == x.first && runs.back().attributes == x.attributes &&
                                   runs.back().output + (x.first - runs.back().first) == x.output;
                if (!joins) runs.push_back({x.first, x.last, x.output, x.attributes, 0, lg2, lg2});
                joined& r = runs.back();
                r.last = x.last;
                ++r.leaves;
                if (lg2 < r.smallest) r.smallest = lg2;
                if (lg2 > r.largest) r.largest = lg2;
                if (joins) ++reached["joined"];
                if (x.last == high) ++reached["the last byte"];
                if (x.first == low) ++reached["the first byte"];
            }
            item shown = x;
            if (shown.code != 0) shown.last = 0; // a fault tells its first address and no more
            expected.push_back(shown);
            if (next == 0) break;
        }

        INFO("round " << round << " from " << std::hex << from << " to " << to);
        collector<S> found;
        auto const end = sw::for_each_leaf(stage, load, where, found);
        REQUIRE(end.complete);
        REQUIRE(found.items.size() == expected.size());
        bool const same = found.items == expected;
        REQUIRE(same);
        std::vector<joined> merged;
        sw::for_each_run(stage, load, where, [&](sw::run<S> const& r) {
            merged.push_back(
                {r.part.first().value, r.part.last().value, r.output.value, r.effective.bits, r.leaves, r.smallest, r.largest});
        });
        bool const same_runs = merged == runs;
        REQUIRE(same_runs);
    }
    for (auto const& [name, count] : reached)
        std::printf("%10llu  %s\n", static_cast<wide>(count), name.c_str());
    if (!sw::test::all_cases()) return;
    std::vector<std::string> wanted{"joined", "the last byte", "the first byte", "fault 11", "fault 16", "fault 17"};
    for (std::uint64_t level = 0; level < 3; ++level) // the largest blocks are in wide tables only
        if (level < 2 || S::lg2_page == 12 || S::lg2_page == 16) wanted.push_back("lg2 " + std::to_string(S::shift(level)));
    if (!is_first<S>) wanted.push_back("in a later one of the concatenated tables");
    for (auto const& name : wanted) {
        INFO(name);
        CHECK(reached[name] >= 5);
    }
}

// --- mapping ---------------------------------------------------------------------------------------------------------

struct mapping {
    std::uint64_t last;
    std::uint64_t output;
    std::uint64_t attributes;
};

template <class S>
void map_and_walk(std::uint64_t seed) {
    random_bits random{seed};
    constexpr std::uint64_t g = S::lg2_page;
    constexpr std::uint64_t bytes_of_tables = std::uint64_t{1} << 24;
    std::vector<std::uint64_t> words(bytes_of_tables / 8);
    tally reached;
    using input = typename S::input;
    for (std::uint64_t round = 0, rounds = sw::test::fewer(120, 12); round < rounds; ++round) {
        chosen const c = [&] {
            chosen some = random_shape<S>(random);
            while (some.shape.output_size < 36)
                some = random_shape<S>(random);
            return some;
        }();
        sw::smmu::table_shape shape = c.shape;
        // The root and the tables at the end of what tables can reach.
        std::uint64_t const origin = (std::uint64_t{1} << shape.output_size) - bytes_of_tables;
        std::uint64_t const lg2_root = shape.input_size - S::shift(shape.top) + 3;
        std::uint64_t const room = down((std::uint64_t{1} << lg2_root) + below_bit(g), g);
        shape.root = origin + random.below(2) * room; // aligned to its size, or to a page
        if (lg2_root > g) shape.root = down(shape.root, lg2_root);
        for (std::uint64_t i = 0; i < 2 * room / 8; ++i)
            words[i] = 0;
        sw::test::flat<sw::pa> memory{words.data(), bytes_of_tables, sw::pa{origin}};
        sw::bump_allocator<sw::pa> tables{sw::range<sw::pa>{sw::pa{origin + 2 * room}, bytes_of_tables - 2 * room}};
        S const stage{shape};
        REQUIRE(stage.root().value == shape.root);
        sw::table tree{stage, memory, tables};
        std::map<std::uint64_t, mapping> all; // by first address
        std::uint64_t const low = low_of(shape);
        std::uint64_t const high = high_of(shape);
        std::vector<std::uint64_t> sizes;
        for (std::uint64_t level = 0; level <= shape.top; ++level) {
            bool const block =
                level == 0 || level == 1 || (level == 2 && (g == 12 || shape.wide)) || (level == 3 && g == 12 && shape.wide);
            if (block) sizes.push_back(g + (g - 3) * level);
        }
        bool const moved_sharing = shape.wide && g != 16;
        std::uint64_t format = 0x0078000000000300 | (is_first<S> ? 0x878 : 0x78);
        if (moved_sharing) format &= ~std::uint64_t{0x300};

        for (int n = 0; n < 25; ++n) {
            std::uint64_t const lg2 = random.one_in(2) ? g : sizes[random.below(sizes.size())];
            std::uint64_t const bytes = (1 + random.below(6)) << lg2;
            std::uint64_t from = low + (random() & (high - low));
            if (random.one_in(4)) from = high - (bytes - 1);
            if (random.one_in(4)) from = low;
            if (random.one_in(10)) from = high - (bytes / 2 - 1); // over the end
            from = down(from, lg2);
            std::uint64_t const last = from + (bytes - 1);
            if (last < from) continue; // no such range
            std::uint64_t output = down(random() & below_bit(shape.output_size), lg2);
            if (random.one_in(4)) output += random.below(16) << g;
            if (random.one_in(12)) output = (std::uint64_t{1} << shape.output_size) - down(bytes >> 1, g);
            std::uint64_t best = g;
            for (std::uint64_t const size : sizes)
                if (((from | output) & below_bit(size)) == 0 && size <= lg2 + 3) best = size;
            if (bytes >> best > 3000) continue; // too many small pages
            std::uint64_t attributes = random.below(8);
            if (random.one_in(2)) attributes |= random() & format;
            if (random.one_in(24)) attributes |= std::uint64_t{1} << (3 + random.below(61));

            auto next = all.upper_bound(from);
            bool const taken =
                (next != all.end() && next->first <= last) || (next != all.begin() && std::prev(next)->second.last >= from);
            bool const beyond = from < low || last > high;
            bool writable = last - from <= below_bit(shape.output_size) && (output + (bytes - 1)) >> shape.output_size == 0;
            writable = writable && (attributes & ~(format | 7)) == 0;
            if (is_first<S>) writable = writable && (attributes & 1) != 0;
            if (!is_first<S>) writable = writable && (attributes & 3) != 0 && (attributes & 5) != 4;
            auto const done =
                tree.map(sw::range<input>{input{from}, bytes}, sw::pa{output}, sw::attributes::from_bits(attributes));
            INFO("round " << round << ": " << std::hex << from << " to " << last << " out " << output << " attributes "
                          << attributes);
            if (beyond || !writable || taken) {
                REQUIRE(!done);
                auto const why = done.error().why;
                REQUIRE(why == (beyond      ? sw::map_error::beyond_input
                                : !writable ? sw::map_error::cannot_encode
                                            : sw::map_error::already_mapped));
                ++reached["refused " + std::to_string(static_cast<int>(why))];
                continue;
            }
            REQUIRE(done);
            all[from] = {last, output, attributes};
            ++reached[shape.upper ? "mapped in the upper half" : "mapped"];
            if (output >> 48 != 0) ++reached["output above 48 bits"];
        }
        if (origin >> 48 != 0 && !all.empty()) ++reached["tables above 48 bits"];
        if (c.concatenated != 0) ++reached["concatenated " + std::to_string(1u << c.concatenated)];

        for (auto const& [from, m] : all) {
            std::uint64_t const probes[] = {from, m.last, from + random.below(m.last - from + 1)};
            bool const privileged = is_first<S> && (m.attributes & 0x40) != 0;
            std::uint64_t const noisy = shape.ignores_top_byte ? random() & ~below_bit(56) : 0;
            for (auto const at : probes) {
                input const in{at ^ noisy};
                sw::access const need = sw::access{m.attributes & 3} | (privileged ? sw::privileged : sw::none);
                auto const t = sw::walk(stage, memory, in, need);
                INFO(std::hex << at << " of " << from << " attributes " << m.attributes);
                REQUIRE(t);
                REQUIRE(t->output.value == m.output + (at - from));
                REQUIRE((t->effective.bits & 3) == (m.attributes & 3));
                // Who may not execute has bits 54:53, which say so, unless they were chosen.
                bool const chosen_bars = (m.attributes & 0x0060000000000000) != 0;
                bool const bars = (m.attributes & 4) == 0 && !chosen_bars;
                std::uint64_t const format_bits =
                    bars ? t->effective.bits & ~std::uint64_t{0x0060000000000007} : t->effective.bits & ~std::uint64_t{7};
                REQUIRE(format_bits == (m.attributes & ~std::uint64_t{7}));
                ++reached["lg2 " + std::to_string(t->lg2_size)];
                auto const writes = sw::walk(stage, memory, in, sw::write | (privileged ? sw::privileged : sw::none));
                REQUIRE(static_cast<bool>(writes) == ((m.attributes & 2) != 0));
                if (!privileged) {
                    bool const executes = !bars && (m.attributes >> 54 & 1) == 0 && (is_first<S> || (m.attributes & 1) != 0);
                    REQUIRE(static_cast<bool>(sw::walk(stage, memory, in, sw::read | sw::execute)) == executes);
                } else {
                    REQUIRE(!sw::walk(stage, memory, in, sw::read));
                }
            }
            if (all.find(m.last + 1) == all.end() && m.last != ~std::uint64_t{0})
                REQUIRE(!sw::walk(stage, memory, input{m.last + 1}, sw::none));
        }

        // All that was mapped is found again.
        std::uint64_t bytes = 0;
        sw::for_each_leaf(stage, memory, sw::range<input>::all(), [&](sw::leaf<S> const& l) { bytes += l.part.span() + 1; });
        std::uint64_t expected = 0;
        for (auto const& [from, m] : all)
            expected += m.last - from + 1;
        REQUIRE(bytes == expected);
    }
    for (auto const& [name, count] : reached)
        std::printf("%10llu  %s\n", static_cast<wide>(count), name.c_str());
    if (!sw::test::all_cases()) return;
    std::vector<std::string> wanted{
        "mapped", "refused 2", "refused 3", "refused 4", "tables above 48 bits", "output above 48 bits"};
    for (std::uint64_t level = 0; level < 3; ++level)
        wanted.push_back("lg2 " + std::to_string(S::shift(level)));
    if (g == 12) wanted.push_back("lg2 39");
    if (is_first<S>) wanted.push_back("mapped in the upper half");
    if (!is_first<S>)
        for (unsigned const n : {2u, 4u, 8u, 16u})
            wanted.push_back("concatenated " + std::to_string(n));
    for (auto const& name : wanted) {
        INFO(name);
        CHECK(reached[name] >= 3);
    }
}

} // namespace

TEST_CASE("leaves and runs of SMMUv3 stage 1 are what walking page by page finds", "[smmu][leaves]") {
    enumerate<first_type<granule::k4>>(1);
    enumerate<first_type<granule::k16>>(2);
    enumerate<first_type<granule::k64>>(3);
}

TEST_CASE("leaves and runs of SMMUv3 stage 2 are what walking page by page finds", "[smmu][leaves]") {
    enumerate<second_type<granule::k4>>(4);
    enumerate<second_type<granule::k16>>(5);
    enumerate<second_type<granule::k64>>(6);
}

TEST_CASE("ranges mapped in SMMUv3 stage-1 tables are walked", "[smmu][map]") {
    map_and_walk<first_type<granule::k4>>(7);
    map_and_walk<first_type<granule::k16>>(8);
    map_and_walk<first_type<granule::k64>>(9);
}

TEST_CASE("ranges mapped in SMMUv3 stage-2 tables are walked", "[smmu][map]") {
    map_and_walk<second_type<granule::k4>>(10);
    map_and_walk<second_type<granule::k16>>(11);
    map_and_walk<second_type<granule::k64>>(12);
}
