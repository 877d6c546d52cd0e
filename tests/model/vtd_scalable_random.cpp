// Scalable mode: the library against the naive model, on random tables and on tables that were made hostile: every memory
// policy, the fast lane and the exact lane (a traced walk), the answers and what the memory holds afterwards.
#include "catch.hpp"
#include "vtd_scalable_arena.hpp"
#include "vtd_scalable_compare.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <map>
#include <string>

namespace {

namespace sw = stagewalk;
using namespace vtd_scalable_arena;
using namespace vtd_scalable_compare;

// Addresses that the model read, in order.
struct trail {
    std::uint64_t at[128]{};
    std::size_t length = 0;

    bool each_once() const {
        std::size_t const known = std::min(length, std::size(at));
        for (std::size_t i = 0; i < known; ++i)
            if (std::count(at, at + i, at[i]) != 0) return false;
        return true;
    }
};

// Counts what was reached, by name: a comparison that never sees a case proves nothing about it.
using tally = std::map<std::string, std::uint64_t>;

// Configuration: a root entry of 2 words, a context entry of 4, a directory entry, a PASID entry of 8. Stages: 5 + 5 * 6
// for a nested walk, and 5 more for each first-stage entry that is updated behind a second stage.
constexpr std::size_t configuration_loads = 2 + 4 + 1 + 8;
constexpr std::size_t nested_loads = 5 + 5 * 6;
constexpr std::size_t update_loads = 5 * 5;

struct comparison {
    std::string problem; // the first difference
    std::size_t loads_max = 0;
    std::uint64_t updates_max = 0;
    bool updated = false; // the model changed memory

    comparison(arena& memory, arena& model) : a{memory}, b{model} {
        model_memory.read = [this](std::uint64_t address, std::uint64_t& value) {
            if (seen.length < std::size(seen.at)) seen.at[seen.length] = address;
            ++seen.length;
            return b.read(address, value);
        };
        model_memory.replace = [this](std::uint64_t address, std::uint64_t old, std::uint64_t fresh) {
            std::uint64_t found = 0;
            return b.replace(address, old, fresh, found);
        };
        dump.read = model_memory.read;
        dump.replace = [](std::uint64_t, std::uint64_t, std::uint64_t) { return vtd_scalable_model::done; };
    }

    // One request through every memory that can hold the arena as it is.
    answer translate(unit const& u, ask const& q) {
        auto const caps = capabilities_of(u);
        auto const set = settings_of(u);
        auto const r = request_of(q);
        sw::vtd::root_table_address const root{u.rtaddr};
        seen.length = 0;
        answer const expected = vtd_scalable_model::translate(u, q, model_memory);
        trail const expected_trail = seen;
        updated = b.changes > 0;
        restarted = b.rival_at != arena::none && b.updates > b.rival_at;
        updates_max = std::max(updates_max, b.updates);

        auto load = [this](sw::ipa at) -> sw::outcome<std::uint64_t, int> {
            std::uint64_t value = 0;
            if (!a.read(at.value, value)) return sw::failure{1};
            return value;
        };
        auto exchange = [this](sw::ipa at, std::uint64_t& old, std::uint64_t fresh) -> sw::outcome<bool, int> {
            auto const how = a.replace(at.value, old, fresh, old);
            if (how == vtd_scalable_model::failed) return sw::failure{2};
            return how == vtd_scalable_model::done;
        };
        auto loader = sw::make_callback<sw::ipa>(load);
        auto updater = sw::make_callback<sw::ipa>(load, exchange);
        auto window = sw::test::make_windowed<sw::ipa>([this](sw::ipa page) -> std::uint64_t* {
            std::uint64_t const i = (page.value - a.origin) / 4096;
            return i < arena::pages && (a.missing >> i & 1) == 0 ? a.words[i * 512].image() : nullptr;
        });
        sw::test::flat<sw::ipa> flat{a.words, arena::bytes, sw::ipa{a.origin}};

        if (a.is_plain() && a.missing == 0) expect("flat", sw::vtd::iommu{caps, root, flat, set}.translate(r), expected);
        if (a.is_plain()) expect("windowed", sw::vtd::iommu{caps, root, window, set}.translate(r), expected);
        sw::recording<decltype(updater), 128> recorded{updater};
        sw::vtd::iommu watched{caps, root, recorded, set};
        expect("recording", watched.translate(r), expected);
        check_loads(u, recorded, expected_trail, "loads");
        recorded.reset();
        std::uint64_t steps = 0;
        auto count = [&](auto const&) { ++steps; };
        expect("traced", watched.translate(r, count), expected);
        check_loads(u, recorded, expected_trail, "traced loads");

        // Memory that cannot be written: updates are judged.
        b.rewind();
        seen.length = 0;
        answer const judged = vtd_scalable_model::translate(u, q, dump);
        expect("callback", sw::vtd::iommu{caps, root, loader, set}.translate(r), judged);
        return expected;
    }

private:
    // The answer, and what it left behind; then everything is as before.
    template <class Outcome>
    void expect(char const* where, Outcome const& o, answer const& expected) {
        if (problem.empty() && !agree(o, expected)) problem = difference(where, o, expected);
        if (problem.empty() && std::memcmp(a.words, b.words, sizeof a.words) != 0) {
            problem = print("%s: memory differs\n", where);
            for (std::size_t i = 0; i < std::size(a.words); ++i)
                if (a.words[i] != b.words[i])
                    problem += print("  %llx: library %llx, model %llx\n", static_cast<wide>(a.origin + i * 8),
                                     static_cast<wide>(a.words[i]), static_cast<wide>(b.words[i]));
            problem += text_of(expected) + "\n";
        }
        for (std::size_t i = b.changes; i-- > 0;)
            a.words[b.log[i].index] = b.log[i].old;
        a.changes = 0;
        a.updates = 0;
    }

    template <class Recorded>
    void check_loads(unit const& u, Recorded const& recorded, trail const& expected, char const* what) {
        std::size_t const loads = recorded.loads();
        // Tables that contain themselves can change under their own updates; then a walk starts again without a rival. The model
        // tells how many loads are right, this how many there can be at all.
        std::size_t const straight = configuration_loads + nested_loads + update_loads;
        bool same = loads <= straight * 12;
        same = same && loads == expected.length;
        for (std::size_t i = 0; same && i < std::min(expected.length, std::size(expected.at)); ++i)
            same = recorded.at(i).value == expected.at[i];
        // A table that contains itself is rightly read at one address for two levels.
        same = same && (recorded.each_once() || !expected.each_once());
        if (!restarted && loads <= straight) loads_max = std::max(loads_max, loads);
        if (!same && problem.empty()) problem = print("%s: %zu, the model %zu (haw %u)\n", what, loads, expected.length, u.haw);
    }

    arena& a;
    arena& b;
    trail seen;
    bool restarted = false;
    vtd_scalable_model::memory model_memory;
    vtd_scalable_model::memory dump;
};

char const* name_of(int type) {
    char const* const names[] = {"untranslated", "translation", "translated", "page", "reserved"};
    return names[type];
}

void note(tally& t, unit const& u, ask const& q, answer const& e, unsigned pgtt, bool updated) {
    if (e.ok && e.by == vtd_model::walked) {
        ++t[print("ok pgtt %u %s lg2 %u", pgtt, name_of(q.type), e.lg2)];
        ++t[print("ok pgtt %u rights %u", pgtt, static_cast<unsigned>(e.attributes & 3))];
        if (updated) ++t[print("ok pgtt %u updated", pgtt)];
        if (!updated) ++t[print("ok pgtt %u not updated", pgtt)];
        if (pgtt != 2 && (e.attributes & 0x20) != 0) ++t[print("ok pgtt %u privileged only", pgtt)];
        if (q.type == vtd_model::untranslated && q.read && (e.attributes & 1) == 0) ++t["ok zero-length on write-only"];
        if ((e.attributes & 0x800) != 0) ++t[print("ok pgtt %u SNP", pgtt)];
        if ((u.rtaddr & 0x80) != 0 && vtd_model::bit(u.ecap, 57) && pgtt != 1) ++t[print("ok pgtt %u SSIRWE", pgtt)];
        if (q.execute) ++t["ok execute"];
    } else if (e.ok) {
        char const* const names[] = {"walked", "bypass", "interrupt", "queued"};
        ++t[print("ok %s %s%s", u.on ? names[e.by] : "off", name_of(q.type),
                  e.by == vtd_model::interrupt && e.attributes == 0 ? " no-write" : "")];
    } else {
        ++t[print("fault %02x", e.code)];
        ++t[print("fault %02x %s", e.code, name_of(q.type))];
        if (e.level >= 0) ++t[print("fault %02x stage %d level %d", e.code, e.stage, e.level)];
        if (e.intermediate != 0) ++t[print("fault %02x intermediate", e.code)];
        if (!e.reported) ++t[print("fault %02x not reported", e.code)];
        if (updated) ++t[print("fault %02x after an update", e.code)];
    }
}

// All that has to occur, with the least share: once in so many cases.
struct levels {
    int low = 0;
    int high = -1;
};
struct wanted_fault {
    unsigned code;
    std::uint64_t one_in;
    char const* types; // the requests that get it: untranslated, translation, translated, page, reserved
    bool hidden;       // and sometimes it is not recorded
    levels first;      // at these levels of the first stage
    levels second;     // and of the second
};
constexpr wanted_fault wanted_faults[] = {
    {0x00, 500, "tdpr", true, {}, {}},    {0x29, 500, "u", false, {}, {}},      {0x30, 200, "utdp", false, {}, {}},
    {0x31, 2000, "utd", false, {}, {}},   {0x32, 20000, "p", false, {}, {}},    {0x33, 1000, "utdp", false, {}, {}},
    {0x34, 2000, "utd", false, {}, {}},   {0x38, 200, "utdp", false, {}, {}},   {0x39, 500, "utdp", false, {}, {}},
    {0x3a, 100, "utdp", false, {}, {}},   {0x40, 200, "utdp", false, {}, {}},   {0x41, 500, "utdp", true, {}, {}},
    {0x42, 50, "utdp", true, {}, {}},     {0x43, 1000, "utdp", true, {}, {}},   {0x44, 200, "td", true, {}, {}},
    {0x45, 100, "utp", true, {}, {}},     {0x46, 5000, "ut", true, {}, {}},     {0x47, 200, "p", true, {}, {}},
    {0x48, 10000, "ut", true, {}, {}},    {0x49, 500, "d", true, {}, {}},       {0x50, 500, "utp", false, {}, {}},
    {0x51, 500, "utp", true, {}, {}},     {0x52, 500, "utp", true, {}, {}},     {0x58, 100, "utp", false, {}, {}},
    {0x59, 500, "utp", true, {}, {}},     {0x5a, 50, "utp", true, {}, {}},      {0x5b, 100, "utp", true, {}, {}},
    {0x5c, 10000, "ut", true, {}, {}},    {0x5d, 200, "ut", true, {}, {}},      {0x70, 500, "ut", true, {0, 3}, {}},
    {0x71, 200, "ut", true, {0, 4}, {}},  {0x72, 100, "ut", true, {0, 4}, {}},  {0x73, 1000, "ut", true, {3, 4}, {}},
    {0x74, 5000, "ut", true, {1, 4}, {}}, {0x75, 200, "ut", true, {3, 4}, {}},  {0x76, 2000, "ut", true, {0, 3}, {}},
    {0x77, 500, "ut", true, {0, 4}, {}},  {0x78, 200, "ut", true, {}, {0, 3}},  {0x79, 100, "ut", true, {}, {0, 4}},
    {0x7a, 50, "ut", true, {}, {0, 4}},   {0x7b, 1000, "ut", true, {}, {2, 4}}, {0x7c, 200, "ut", true, {}, {0, 4}},
    {0x7d, 2000, "ut", true, {}, {0, 4}}, {0x80, 500, "ut", true, {}, {}},      {0x81, 100, "ut", true, {0, 4}, {}},
    {0x83, 100, "utd", true, {}, {}},     {0x84, 500, "ut", true, {}, {}},      {0x85, 500, "u", true, {0, 4}, {0, 4}},
    {0x86, 1000, "u", true, {}, {0, 4}},  {0x87, 500, "utd", true, {}, {}},     {0x89, 1000, "utdp", true, {}, {}},
    {0x90, 100, "ut", true, {0, 4}, {}},  {0x91, 1000, "ut", true, {0, 4}, {}},
};
struct wanted_success {
    char const* name;
    std::uint64_t one_in;
};
constexpr wanted_success wanted_successes[] = {
    {"ok bypass translated", 200},
    {"ok bypass translation", 500},
    {"ok bypass untranslated", 200},
    {"ok execute", 2000},
    {"ok interrupt translation", 1000},
    {"ok interrupt translation no-write", 1000},
    {"ok interrupt untranslated", 2000},
    {"ok off untranslated", 500},
    {"ok pgtt 1 not updated", 100},
    {"ok pgtt 1 privileged only", 500},
    {"ok pgtt 1 rights 1", 500},
    {"ok pgtt 1 rights 3", 100},
    {"ok pgtt 1 translation lg2 12", 500},
    {"ok pgtt 1 translation lg2 21", 1000},
    {"ok pgtt 1 translation lg2 30", 2000},
    {"ok pgtt 1 untranslated lg2 12", 100},
    {"ok pgtt 1 untranslated lg2 21", 500},
    {"ok pgtt 1 untranslated lg2 30", 500},
    {"ok pgtt 1 updated", 100},
    {"ok pgtt 2 SNP", 100},
    {"ok pgtt 2 SSIRWE", 1000},
    {"ok pgtt 2 not updated", 50},
    {"ok pgtt 2 rights 1", 1000},
    {"ok pgtt 2 rights 2", 500},
    {"ok pgtt 2 rights 3", 50},
    {"ok pgtt 2 translation lg2 12", 200},
    {"ok pgtt 2 translation lg2 21", 2000},
    {"ok pgtt 2 translation lg2 30", 2000},
    {"ok pgtt 2 untranslated lg2 12", 100},
    {"ok pgtt 2 untranslated lg2 21", 500},
    {"ok pgtt 2 untranslated lg2 30", 500},
    {"ok pgtt 2 updated", 200},
    {"ok pgtt 3 SNP", 200},
    {"ok pgtt 3 SSIRWE", 2000},
    {"ok pgtt 3 not updated", 200},
    {"ok pgtt 3 privileged only", 500},
    {"ok pgtt 3 rights 0", 50000},
    {"ok pgtt 3 rights 1", 1000},
    {"ok pgtt 3 rights 2", 20000},
    {"ok pgtt 3 rights 3", 100},
    {"ok pgtt 3 translation lg2 12", 500},
    {"ok pgtt 3 translation lg2 21", 5000},
    {"ok pgtt 3 translation lg2 30", 10000},
    {"ok pgtt 3 untranslated lg2 12", 200},
    {"ok pgtt 3 untranslated lg2 21", 1000},
    {"ok pgtt 3 untranslated lg2 30", 5000},
    {"ok pgtt 3 updated", 200},
    {"ok queued page", 100},
    {"ok zero-length on write-only", 5000},
};
// What both stages have a part in.
constexpr wanted_success wanted_besides[] = {
    {"fault 75 intermediate", 1000},    {"fault 76 intermediate", 2000},    {"fault 77 intermediate", 1000},
    {"fault 78 intermediate", 1000},    {"fault 79 intermediate", 1000},    {"fault 7a intermediate", 1000},
    {"fault 7b intermediate", 2000},    {"fault 7c intermediate", 1000},    {"fault 7d intermediate", 5000},
    {"fault 85 intermediate", 20000},   {"fault 86 intermediate", 20000},   {"fault 85 after an update", 1000},
    {"fault 81 after an update", 1000}, {"fault 87 after an update", 1000},
};

void check_shares(tally& reached, std::uint64_t cases) {
    auto const occurs = [&](std::string const& name, std::uint64_t one_in) {
        INFO(name);
        CHECK(reached[name] * one_in >= cases);
    };
    constexpr std::uint64_t rare = 50000;
    for (auto const& f : wanted_faults) {
        std::string const name = print("fault %02x", f.code);
        occurs(name, f.one_in);
        for (char const* type = f.types; *type != 0; ++type)
            for (int i = 0; i < 5; ++i)
                if ("utdpr"[i] == *type) occurs(name + " " + name_of(i), rare);
        if (f.hidden) occurs(name + " not reported", rare);
        for (int level = f.first.low; level <= f.first.high; ++level)
            occurs(name + print(" stage 1 level %d", level), rare);
        for (int level = f.second.low; level <= f.second.high; ++level)
            occurs(name + print(" stage 2 level %d", level), rare);
    }
    for (auto const& s : wanted_successes)
        occurs(s.name, s.one_in);
    for (auto const& s : wanted_besides)
        occurs(s.name, s.one_in);
}

void compare(std::uint64_t cases, std::uint64_t seed) {
    cases = sw::test::fewer(cases);
    random_bits random{seed};
    static arena a;
    static arena b;
    comparison both{a, b};
    tally reached;
    builder s;
    for (std::uint64_t i = 0; i < cases; ++i) {
        if (i % 4 == 0) s.u = random_unit(random);
        make_possible(s.u);
        // Old tables stay as they are for a while: walks that go astray find something there.
        if (i % 1024 == 0) {
            bool const empty = random.one_in(2);
            for (auto& word : a.words)
                word = empty ? 0 : random();
        }
        std::uint64_t const origins[] = {0x100000,
                                         0x40200000,
                                         (std::uint64_t{1} << 32) - arena::bytes,
                                         0,
                                         0xfee00000,
                                         (std::uint64_t{1} << s.u.haw) - arena::bytes,
                                         std::uint64_t{0} - arena::bytes};
        a.origin = origins[random.one_in(16) ? random.below(7) : random.below(3)];
        a.missing = 0;
        a.locked = 0;
        a.bad_word = arena::none;
        a.rival_at = arena::none;
        a.rival_always = false;
        a.folds = random.one_in(8);

        s.q = random_ask(random, s.u);
        s.build(random, a);
        if (random.one_in(3)) s.mutate(random, a);
        make_possible(s.u);
        make_possible(s.u, s.q);
        if (random.one_in(8)) a.missing = 1u << random.below(arena::pages);
        if (random.one_in(16)) a.bad_word = a.index(s.path[random.below(s.path_length)]);
        if (random.one_in(24)) a.locked = random.one_in(2) ? random.below(1u << arena::pages) : (1u << arena::pages) - 1;
        if (random.one_in(24)) {
            a.rival_at = random.one_in(2) ? 0 : random.below(6);
            a.rival_always = random.one_in(4);
            std::uint64_t const ignored = std::uint64_t{1} << 52;
            std::uint64_t const masks[] = {ignored, std::uint64_t{1} << random.below(3), std::uint64_t{1} << random.below(64)};
            a.rival_mask = random.pick(masks);
        }
        b = a;

        answer const e = both.translate(s.u, s.q);
        note(reached, s.u, s.q, e, s.pgtt, both.updated);
        if (!both.problem.empty()) FAIL("case " << i << ": " << both.problem << text_of(s.u, s.q));
    }
    for (auto const& [name, count] : reached)
        std::printf("%10llu  %s\n", static_cast<wide>(count), name.c_str());
    if (!sw::test::all_cases()) return;
    check_shares(reached, cases);
    std::printf("most loads %zu, most updates %llu\n", both.loads_max, static_cast<wide>(both.updates_max));
    CHECK(both.loads_max == configuration_loads + nested_loads + update_loads);
}

} // namespace

TEST_CASE("a million random and hostile scalable tables translate as the naive model says", "[vtd]") { compare(1'000'000, 3); }

TEST_CASE("twenty million random and hostile scalable tables translate as the naive model says", "[vtd][long]") {
    compare(20'000'000, 4);
}
