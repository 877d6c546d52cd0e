// The library against the naive model, on random tables and on tables that were made hostile: every memory policy,
// the fast lane, the exact lane (a traced walk) and the trusting one.
#include "catch.hpp"
#include "vtd_arena.hpp"
#include "vtd_compare.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <iterator>
#include <map>
#include <string>

namespace {

namespace sw = stagewalk;
using namespace vtd_arena;
using namespace vtd_compare;

// Addresses that the model read, in order.
struct trail {
    std::uint64_t at[16]{};
    std::size_t length = 0;
};

// Counts what was reached, by name: a comparison that never sees a case proves nothing about it.
using tally = std::map<std::string, std::uint64_t>;

struct comparison {
    std::string problem; // the first difference
    std::uint64_t loads_max = 0;

    explicit comparison(arena& memory) : a{memory} {
        read = [this](std::uint64_t address, std::uint64_t& value) {
            if (seen.length < std::size(seen.at)) seen.at[seen.length] = address;
            ++seen.length;
            return a.read(address, value);
        };
    }

    template <class Outcome>
    void expect(char const* where, Outcome const& o, answer const& expected) {
        if (problem.empty() && !agree(o, expected)) problem = difference(where, o, expected);
    }

    // One request through every memory that can hold the arena as it is.
    answer translate(unit const& u, ask const& q) {
        seen.length = 0;
        answer const expected = vtd_model::translate(u, q, read);
        auto const caps = capabilities_of(u);
        auto const set = settings_of(u);
        auto const r = request_of(q);
        sw::vtd::root_table_address const root{u.rtaddr};

        auto loader = sw::make_callback<sw::ipa>([this](sw::ipa at) -> sw::outcome<std::uint64_t, int> {
            std::uint64_t value = 0;
            if (!a.read(at.value, value)) return sw::failure{1};
            return value;
        });
        auto window = sw::test::make_windowed<sw::ipa>([this](sw::ipa page) -> std::uint64_t const* {
            std::uint64_t const i = (page.value - a.origin) / 4096;
            return i < arena::pages && (a.missing >> i & 1) == 0 ? a.words[i * 512].image() : nullptr;
        });
        sw::test::flat<sw::ipa> flat{a.words, arena::bytes, sw::ipa{a.origin}};
        sw::recording recorded{loader};

        bool const pages_only = !a.folds && a.bad_word == arena::none;
        if (pages_only && a.missing == 0) expect("flat", sw::vtd::iommu{caps, root, flat, set}.translate(r), expected);
        if (pages_only) expect("windowed", sw::vtd::iommu{caps, root, window, set}.translate(r), expected);
        expect("callback", sw::vtd::iommu{caps, root, loader, set}.translate(r), expected);
        sw::vtd::iommu watched{caps, root, recorded, set};
        expect("recording", watched.translate(r), expected);
        check_loads(u, recorded, "loads");
        recorded.reset();
        std::uint64_t steps = 0;
        auto count = [&](auto const&) { ++steps; };
        expect("traced", watched.translate(r, count), expected);
        check_loads(u, recorded, "traced loads");
        if (problem.empty() && steps > 2 + 5) problem = "too many steps traced\n";
        return expected;
    }

    // The second stage alone: fast, exact, trusting.
    answer walk(unit const& u, unsigned levels, std::uint64_t root, ask const& q, bool wants) {
        seen.length = 0;
        bool const zero_length = q.bytes == 0;
        answer const expected = vtd_model::walk(u, levels, root, q.address, wants && q.read, wants && q.write, zero_length, read);
        auto loader = sw::make_callback<sw::ipa>([this](sw::ipa at) -> sw::outcome<std::uint64_t, int> {
            std::uint64_t value = 0;
            if (!a.read(at.value, value)) return sw::failure{1};
            return value;
        });
        sw::vtd::second_stage<> const stage{capabilities_of(u), levels, sw::ipa{root}, {policy_of(u)}};
        sw::access const need = access_of(wants && q.read, wants && q.write, zero_length && q.read);
        sw::iova const in{q.address};
        expect("walk", sw::walk(stage, loader, in, need), expected);
        expect("traced walk", sw::walk(stage, loader, in, need, [](auto const&) {}), expected);
        // Reserved bits are all that trust leaves out.
        if (expected.code != 0xc) expect("trusted", sw::walk(sw::trusted{stage}, loader, in, need), expected);
        return expected;
    }

private:
    template <class Recorded>
    void check_loads(unit const& u, Recorded const& recorded, char const* what) {
        bool same = recorded.loads() == seen.length && recorded.loads() <= 4 + 5;
        for (std::size_t i = 0; same && i < seen.length; ++i)
            same = recorded.at(i).value == seen.at[i];
        // A table that contains itself is rightly read at one address for two levels.
        bool once = true;
        for (std::size_t i = 0; i < seen.length; ++i)
            once = once && std::count(seen.at, seen.at + i, seen.at[i]) == 0;
        same = same && recorded.each_once() == once;
        loads_max = std::max(loads_max, static_cast<std::uint64_t>(recorded.loads()));
        if (!same && problem.empty())
            problem = print("%s: %zu, the model %zu (haw %u)\n", what, recorded.loads(), seen.length, u.haw);
    }

    arena& a;
    trail seen;
    vtd_model::memory read;
};

char const* name_of(int type) {
    char const* const names[] = {"untranslated", "translation", "translated", "page"};
    return names[type];
}

void note(tally& t, unit const& u, ask const& q, answer const& e) {
    if (e.ok && e.by == vtd_model::walked) {
        ++t[print("ok %s lg2 %u", name_of(q.type), e.lg2)];
        ++t[print("ok rights %u", static_cast<unsigned>(e.attributes & 3))];
        if (q.type == vtd_model::untranslated && q.read && (e.attributes & 1) == 0) ++t["ok zero-length on write-only"];
        if ((e.attributes & 0x800) != 0) ++t["ok SNP"];
    } else if (e.ok) {
        ++t[print("ok %s %s%s",
                  e.by == vtd_model::interrupt ? "interrupt"
                  : u.on                       ? "bypass"
                                               : "off",
                  name_of(q.type), e.by == vtd_model::interrupt && e.attributes == 0 ? " no-write" : "")];
    } else {
        ++t[print("fault %02x", e.code)];
        ++t[print("fault %02x %s", e.code, name_of(q.type))];
        if (e.level >= 0) ++t[print("fault %02x level %d", e.code, e.level)];
        if (!e.reported) ++t[print("fault %02x not reported", e.code)];
    }
}

// All that has to occur, with the least share: once in so many cases.
struct share {
    char const* name;
    std::uint64_t one_in;
};
constexpr share wanted[] = {
    {"ok untranslated lg2 12", 100},
    {"ok untranslated lg2 21", 100},
    {"ok untranslated lg2 30", 100},
    {"ok translation lg2 12", 200},
    {"ok translation lg2 21", 200},
    {"ok translation lg2 30", 500},
    {"ok rights 1", 200},
    {"ok rights 2", 200},
    {"ok rights 3", 20},
    {"ok zero-length on write-only", 2000},
    {"ok SNP", 100},
    {"ok bypass untranslated", 200},
    {"ok bypass translated", 200},
    {"ok off untranslated", 500},
    {"ok interrupt untranslated", 500},
    {"ok interrupt translation", 500},
    {"ok interrupt translation no-write", 500},
    {"fault 00", 2000},
    {"fault 01", 200},
    {"fault 02", 200},
    {"fault 03", 100},
    {"fault 03 level 2", 5000},
    {"fault 03 level 3", 5000},
    {"fault 03 level 4", 5000},
    {"fault 04", 100},
    {"fault 04 untranslated", 200},
    {"fault 04 translation", 200},
    {"fault 04 translated", 500},
    {"fault 05", 50},
    {"fault 05 level 0", 1000},
    {"fault 05 level 1", 1000},
    {"fault 05 level 2", 1000},
    {"fault 05 level 3", 1000},
    {"fault 05 level 4", 1000},
    {"fault 06", 50},
    {"fault 06 level 0", 1000},
    {"fault 06 level 1", 1000},
    {"fault 06 level 2", 1000},
    {"fault 06 level 3", 1000},
    {"fault 06 level 4", 1000},
    {"fault 06 translation", 500},
    {"fault 07", 200},
    {"fault 07 level 0", 2000},
    {"fault 07 level 1", 2000},
    {"fault 07 level 2", 2000},
    {"fault 07 level 3", 2000},
    {"fault 08", 500},
    {"fault 09", 500},
    {"fault 0a", 500},
    {"fault 0b", 200},
    {"fault 0c", 20},
    {"fault 0c level 0", 500},
    {"fault 0c level 1", 500},
    {"fault 0c level 2", 500},
    {"fault 0c level 3", 1000},
    {"fault 0c level 4", 1000},
    {"fault 0d translation", 1000},
    {"fault 0d translated", 1000},
    {"fault 0e untranslated", 1000},
    {"fault 0e translation", 1000},
    {"fault 0e translated", 1000},
    {"fault 29", 200},
    {"fault 30", 200},
    {"fault 31", 200},
    {"fault 32", 200},
    {"fault 33", 1000},
    {"fault 02 not reported", 1000},
    {"fault 03 not reported", 1000},
    {"fault 04 not reported", 1000},
    {"fault 05 not reported", 1000},
    {"fault 06 not reported", 1000},
    {"fault 07 not reported", 1000},
    {"fault 0b not reported", 1000},
    {"fault 0c not reported", 1000},
    {"fault 0d not reported", 5000},
    {"fault 0e not reported", 5000},
};

void compare(std::uint64_t cases, std::uint64_t seed) {
    cases = sw::test::fewer(cases);
    random_bits random{seed};
    static arena a;
    comparison both{a};
    tally reached;
    scene s;
    for (std::uint64_t i = 0; i < cases; ++i) {
        if (i % 4 == 0) s.u = random_unit(random);
        make_possible(s.u);
        // Old tables stay as they are for a while: walks that go astray find something there.
        if (i % 1024 == 0) {
            bool const empty = random.one_in(2);
            for (auto& word : a.words)
                word = empty ? 0 : random();
        }
        std::uint64_t const origins[] = {0,
                                         0x100000,
                                         (std::uint64_t{1} << 32) - arena::bytes,
                                         0xfee00000,
                                         (std::uint64_t{1} << s.u.haw) - arena::bytes,
                                         std::uint64_t{0} - arena::bytes};
        a.origin = origins[random.one_in(16) ? random.below(6) : random.below(3)];
        a.missing = 0;
        a.bad_word = arena::none;
        a.folds = random.one_in(8);

        s.q = random_ask(random, s.u);
        make_possible(s.q);
        build(random, a, s);
        if (random.one_in(3)) mutate(random, a, s);
        make_possible(s.u);
        if (random.one_in(8)) a.missing = 1u << random.below(arena::pages);
        if (random.one_in(24)) a.bad_word = a.index(s.path[random.below(s.path_length)]);

        answer const e = both.translate(s.u, s.q);
        note(reached, s.u, s.q, e);
        if (i % 2 == 0) both.walk(s.u, s.levels, s.root & 0x000ffffffffff000, s.q, !random.one_in(8));
        if (!both.problem.empty()) FAIL("case " << i << ": " << both.problem << text_of(s.u, s.q));
    }
    for (auto const& [name, count] : reached)
        std::printf("%10llu  %s\n", static_cast<wide>(count), name.c_str());
    if (!sw::test::all_cases()) return;
    for (auto const& [name, one_in] : wanted) {
        INFO(name);
        CHECK(reached[name] * one_in >= cases);
    }
    CHECK(both.loads_max == 9);
}

} // namespace

TEST_CASE("a million random and hostile tables translate as the naive model says", "[vtd]") { compare(1'000'000, 1); }

TEST_CASE("twenty million random and hostile tables translate as the naive model says", "[vtd][long]") { compare(20'000'000, 2); }
