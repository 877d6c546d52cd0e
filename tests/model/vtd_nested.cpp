// Two second stages, one over the other, against the naive model composed with itself: holes and refused rights in
// the inner stage at every table and at the output of the outer one.
#include "catch.hpp"
#include "vtd_arena.hpp"
#include "vtd_compare.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

namespace {

namespace sw = stagewalk;
using namespace vtd_arena;
using namespace vtd_compare;

using outer_stage = sw::vtd::second_stage<sw::iova, sw::ipa>;
using inner_stage = sw::vtd::second_stage<sw::ipa, sw::pa>;

enum whose { outer_fault = 0, table_fault = 1, output_fault = 3 };

struct composed {
    bool ok = false;
    answer end; // success: the combined answer
    int by = outer_fault;
    answer outer;
    std::uint64_t intermediate = 0;
    answer inner;
};

struct tables {
    unit u;
    unsigned levels = 0;
    std::uint64_t root = 0;
};

composed translate(tables const& first, tables const& second, std::uint64_t input, bool r, bool w, bool zero_length,
                   vtd_model::memory const& physical) {
    composed c;
    // Every entry of the outer tables has an intermediate address, which the inner tables translate for a read.
    bool refused = false;
    vtd_model::memory const intermediate = [&](std::uint64_t at, std::uint64_t& value) {
        answer const a = vtd_model::walk(second.u, second.levels, second.root, at, true, false, false, physical);
        if (!a.ok) {
            refused = true;
            c.intermediate = at;
            c.inner = a;
            return false;
        }
        return physical(a.output, value);
    };
    c.outer = vtd_model::walk(first.u, first.levels, first.root, input, r, w, zero_length, intermediate);
    if (!c.outer.ok) {
        if (refused) {
            c.by = table_fault; // the outer code is the one of an entry that cannot be read
        }
        return c;
    }
    answer const a = vtd_model::walk(second.u, second.levels, second.root, c.outer.output, r, w, zero_length, physical);
    if (!a.ok) {
        c.by = output_fault;
        c.intermediate = c.outer.output;
        c.inner = a;
        c.outer = answer{};
        c.outer.stage = 2;
        c.outer.at = vtd_model::at_input;
        c.outer.input = input;
        return c;
    }
    c.ok = true;
    c.inner = a;
    c.end = a;
    c.end.attributes = (c.outer.attributes & ~std::uint64_t{7}) | (c.outer.attributes & a.attributes & 7);
    c.end.lg2 = std::min(c.outer.lg2, a.lg2);
    return c;
}

template <class Fault>
bool same_nested(Fault const& f, composed const& c) {
    if (static_cast<int>(f.by) != c.by || f.outer.intermediate != c.intermediate) return false;
    auto outer = f.outer;
    outer.intermediate = 0;
    if (!same(outer, c.outer)) return false;
    return c.by == outer_fault ? f.inner == decltype(f.inner){} : same(f.inner, c.inner);
}

template <class Outcome>
bool agrees(Outcome const& o, composed const& c) {
    return static_cast<bool>(o) == c.ok && (c.ok ? same(*o, c.end) : same_nested(o.error(), c));
}

template <class Outcome>
std::string explain(char const* where, Outcome const& o, composed const& c) {
    std::string s = where;
    if (o) {
        s += "\n  library: " + text_of(answer_of(*o));
    } else {
        s += print("\n  library: by %d ipa %llx\n    ", static_cast<int>(o.error().by),
                   static_cast<wide>(o.error().outer.intermediate));
        s += text_of(answer_of(o.error().outer)) + "\n    " + text_of(answer_of(o.error().inner));
    }
    s += c.ok ? "\n  model: " + text_of(c.end)
              : print("\n  model: by %d ipa %llx\n    ", c.by, static_cast<wide>(c.intermediate)) + text_of(c.outer) + "\n    " +
                    text_of(c.inner);
    return s + "\n";
}

// Writes the way of one address into tables whose pages are pages[level], down to a page at `leaf`.
void lead(random_bits& random, arena& a, std::uint64_t const (&pages)[5], unsigned levels, std::uint64_t address, unsigned leaf,
          std::uint64_t target, std::uint64_t strange) {
    for (unsigned level = levels - 1;; --level) {
        std::uint64_t e = random.one_in(24) ? random.below(4) : 3;
        e |= level == leaf ? target >> (12 + 9 * level) << (12 + 9 * level) : pages[level - 1];
        if (level == leaf && level > 0) e |= 0x80;
        if (level == leaf) e |= random() & 0x78;
        if (random.one_in(strange)) e ^= std::uint64_t{1} << random.below(64);
        a.at(pages[level] + (address >> (12 + 9 * level) & 511) * 8) = e;
        if (level == leaf) return;
    }
}

void compare(std::uint64_t cases, std::uint64_t seed) {
    cases = sw::test::fewer(cases);
    random_bits random{seed};
    static arena a;
    std::map<std::string, std::uint64_t> reached;
    std::size_t most_loads = 0;
    for (std::uint64_t i = 0; i < cases; ++i) {
        if (i % 64 == 0) {
            for (auto& word : a.words)
                word = random.one_in(2) ? 0 : random();
        }
        a.origin = (random.below(4) << 30);
        a.missing = 0;
        a.bad_word = arena::none;
        tables outer;
        tables inner;
        outer.u = random_unit(random);
        inner.u = random_unit(random);
        outer.levels = 3 + random.small(3);
        inner.levels = 3 + random.small(3);
        make_possible(outer.u);
        make_possible(inner.u);

        // The inner tables lie in pages 0 to 4, the outer ones in pages 5 to 9, both where `turn` moves them.
        std::uint64_t const turn = random.below(arena::pages);
        std::uint64_t inner_pages[5];
        std::uint64_t outer_at[5];    // physical
        std::uint64_t outer_pages[5]; // intermediate
        for (std::uint64_t k = 0; k < 5; ++k) {
            inner_pages[k] = a.page((turn + k) % arena::pages);
            outer_at[k] = a.page((turn + 5 + k) % arena::pages);
        }
        inner.root = inner_pages[inner.levels - 1];

        // An inner page of 2 MiB or 1 GiB holds all of the arena; pages of 4 KiB shuffle it.
        unsigned const inner_leaf = random.one_in(3) ? 1 + random.small(2) : 0;
        std::uint64_t const base = random.below(4) << 30;
        for (std::uint64_t k = 0; k < 5; ++k) {
            std::uint64_t const offset = outer_at[k] - a.origin;
            outer_pages[k] = base + (inner_leaf > 0 ? offset : (offset + (k + 1) * 0x7000) & 0x1ff000);
        }
        outer.root = outer_pages[outer.levels - 1];
        for (std::uint64_t k = 0; k < outer.levels; ++k)
            lead(random, a, inner_pages, inner.levels, outer_pages[k], inner_leaf, outer_at[k], 200);

        std::uint64_t const width = 12 + 9 * outer.levels;
        std::uint64_t const input =
            random() &
            ((std::uint64_t{1} << (random.one_in(40) ? 64 - 1 : std::min<std::uint64_t>(width, (outer.u.cap >> 16 & 63) + 1))) -
             1);
        unsigned const outer_leaf = random.one_in(2) ? 0 : random.small(3);
        std::uint64_t const outer_lg2 = 12 + 9 * outer_leaf;
        std::uint64_t const to =
            (random.one_in(2) ? base + (random() & 0x3fffffff) : random.any_width() & 0xffffffffffff) >> outer_lg2 << outer_lg2;
        // The output's way first where it may be in the way of the tables', and after them where it may not.
        std::uint64_t const output = to | (input & ((std::uint64_t{1} << outer_lg2) - 1));
        if (!random.one_in(8)) {
            unsigned const leaf = random.one_in(2) ? inner_leaf : random.small(3);
            lead(random, a, inner_pages, inner.levels, output, leaf, random_target(random, inner.u.haw, 12), 100);
            if (random.one_in(2))
                for (std::uint64_t k = 0; k < outer.levels; ++k)
                    lead(random, a, inner_pages, inner.levels, outer_pages[k], inner_leaf, outer_at[k], 400);
        }
        // The outer tables are written where they lie; the entries lead to intermediate addresses.
        for (unsigned level = outer.levels - 1;; --level) {
            std::uint64_t e = random.one_in(24) ? random.below(4) : 3;
            e |= level == outer_leaf ? to : outer_pages[level - 1];
            if (level == outer_leaf) e |= (level > 0 ? 0x80u : 0u) | (random() & 0x78);
            if (random.one_in(200)) e ^= std::uint64_t{1} << random.below(64);
            a.at(outer_at[level] + (input >> (12 + 9 * level) & 511) * 8) = e;
            if (level == outer_leaf) break;
        }
        if (random.one_in(16)) a.missing = 1u << random.below(arena::pages);
        // The inner root table may be readable for the outer tables and not for their output.
        std::uint64_t const inner_top = output >> (12 + 9 * (inner.levels - 1)) & 511;
        if (random.one_in(16)) a.bad_word = a.index(inner.root + inner_top * 8);

        bool const r = !random.one_in(3);
        bool const w = random.one_in(3);
        bool const zero_length = random.one_in(8);

        std::vector<std::uint64_t> seen;
        composed const expected = translate(outer, inner, input, r, w, zero_length, [&](std::uint64_t at, std::uint64_t& value) {
            seen.push_back(at);
            return a.read(at, value);
        });
        outer_stage const s1{capabilities_of(outer.u), outer.levels, sw::ipa{outer.root}, {policy_of(outer.u)}};
        inner_stage const s2{capabilities_of(inner.u), inner.levels, sw::pa{inner.root}, {policy_of(inner.u)}};
        sw::access const need = access_of(r, w, zero_length && r);
        auto loader = sw::make_callback<sw::pa>([](sw::pa at) -> sw::outcome<std::uint64_t, int> {
            std::uint64_t value = 0;
            if (!a.read(at.value, value)) return sw::failure{1};
            return value;
        });
        sw::recording<decltype(loader), 64> recorded{loader};
        std::string problem;
        auto const expect = [&](char const* where, auto const& o) {
            if (!agrees(o, expected) && problem.empty()) problem = explain(where, o, expected);
        };
        expect("callback", sw::nested{s1, s2, recorded}.translate(sw::iova{input}, need));
        bool order = recorded.loads() == seen.size();
        for (std::size_t k = 0; order && k < seen.size(); ++k)
            order = recorded.at(k).value == seen[k];
        if (!order && problem.empty()) problem = print("loads: %zu, the model %zu", recorded.loads(), seen.size());
        most_loads = std::max(most_loads, recorded.loads());
        auto window = sw::test::make_windowed<sw::pa>([](sw::pa page) -> std::uint64_t const* {
            std::uint64_t const k = (page.value - a.origin) / 4096;
            return k < arena::pages && (a.missing >> k & 1) == 0 ? a.words[k * 512].image() : nullptr;
        });
        if (a.bad_word == arena::none) expect("windowed", sw::nested{s1, s2, window}.translate(sw::iova{input}, need));
        if (a.missing == 0 && a.bad_word == arena::none) {
            sw::test::flat<sw::pa> flat{a.words, arena::bytes, sw::pa{a.origin}};
            expect("flat", sw::nested{s1, s2, flat}.translate(sw::iova{input}, need));
        }
        if (!problem.empty()) FAIL("case " << i << ": " << problem << " input " << std::hex << input << " r " << r << " w " << w);

        if (expected.ok) {
            ++reached[print("ok lg2 %u over %u", expected.outer.lg2, expected.inner.lg2)];
            ++reached[print("ok rights %u", static_cast<unsigned>(expected.end.attributes & 3))];
        } else if (expected.by == outer_fault) {
            ++reached[print("outer %02x", expected.outer.code)];
        } else {
            char const* const kind = expected.by == table_fault ? "table" : "output";
            ++reached[print("%s %02x", kind, expected.inner.code)];
            if (expected.by == table_fault) ++reached[print("table at level %d", expected.outer.level)];
            if (expected.inner.level >= 0) ++reached[print("%s inner level %d", kind, expected.inner.level)];
        }
    }
    for (auto const& [name, count] : reached)
        std::printf("%10llu  %s\n", static_cast<wide>(count), name.c_str());
    if (!sw::test::all_cases()) return;
    char const* const wanted[] = {"ok rights 1",
                                  "ok rights 2",
                                  "ok rights 3",
                                  "outer 03",
                                  "outer 04",
                                  "outer 05",
                                  "outer 06",
                                  "outer 07",
                                  "outer 0c",
                                  "table 03",
                                  "table 04",
                                  "table 06",
                                  "table 07",
                                  "table 0c",
                                  "ok lg2 12 over 21",
                                  "ok lg2 12 over 30",
                                  "ok lg2 21 over 12",
                                  "ok lg2 30 over 30",
                                  "output 03",
                                  "output 04",
                                  "output 05",
                                  "output 06",
                                  "output 07",
                                  "output 0c",
                                  "table at level 0",
                                  "table at level 1",
                                  "table at level 2",
                                  "table at level 3",
                                  "table at level 4",
                                  "table inner level 0",
                                  "table inner level 1",
                                  "table inner level 2",
                                  "output inner level 0",
                                  "output inner level 1",
                                  "output inner level 2",
                                  "output inner level 3",
                                  "output inner level 4"};
    for (auto const* name : wanted) {
        INFO(name);
        CHECK(reached[name] >= cases / 10000);
    }
    CHECK(most_loads == 5 * (5 + 1) + 5);
}

} // namespace

TEST_CASE("two stages over random inner holes and rights translate as the naive model says", "[vtd][nested]") {
    compare(300'000, 3);
}

TEST_CASE("three million two-stage walks translate as the naive model says", "[vtd][nested][long]") { compare(3'000'000, 4); }
