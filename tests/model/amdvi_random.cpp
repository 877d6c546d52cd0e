// AMD-Vi: the library against the naive model, on random tables and on tables that were made hostile: every memory policy, the
// fast lane and the exact lane (a traced walk), the answers, what was read in which order, and what the memory holds afterwards.
#include "amdvi_arena.hpp"
#include "amdvi_compare.hpp"
#include "catch.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <initializer_list>
#include <iterator>
#include <map>
#include <string>

namespace {

namespace sw = stagewalk;
using namespace amdvi_arena;
using namespace amdvi_compare;

// Words that the model read, in order, and what it found there.
struct trail {
    std::uint64_t at[256]{};
    std::uint64_t value[256]{};
    std::size_t length = 0;

    std::size_t known() const { return std::min(length, std::size(at)); }
};

// What an arena's words became since a mark.
struct effect {
    std::size_t index[512]{};
    std::uint64_t value[512]{};
    std::size_t count = 0;

    void take(arena const& a, std::size_t from) {
        count = 0;
        for (std::size_t i = from; i < a.changes && count < std::size(index); ++i) {
            index[count] = a.log[i].index;
            value[count++] = a.words[a.log[i].index];
        }
    }
    bool is_in(arena const& a) const {
        for (std::size_t i = 0; i < count; ++i)
            if (a.words[index[i]] != value[i]) return false;
        return true;
    }
    bool has(std::size_t i) const { return std::find(index, index + count, i) != index + count; }
};

// Counts what was reached, by name: a comparison that never sees a case proves nothing about it.
using tally = std::map<std::string, std::uint64_t>;

// The device table entry. Up to 3 GCR3 tables and 5 guest tables, each through up to 6 host tables; as many for the output; guest
// entries that are updated are looked for once more; what memory does not give is looked for again, to say where it is.
constexpr std::size_t most_loads = 4 + (3 + 5) * 7 + 6 + 5 * 6 + 6;

class comparison {
public:
    explicit comparison(arena& memory) : a{memory} {
        tables.read = [this](std::uint64_t address, std::uint64_t& value) {
            bool const there = a.read(address, value);
            if (seen.length < std::size(seen.at)) {
                seen.at[seen.length] = address;
                seen.value[seen.length] = there ? value : 0;
            }
            ++seen.length;
            return there;
        };
        tables.replace = [this](std::uint64_t address, std::uint64_t old, std::uint64_t fresh) {
            std::uint64_t found = 0;
            return a.replace(address, old, fresh, found);
        };
        dump = tables;
        dump.replace = [](std::uint64_t, std::uint64_t, std::uint64_t) { return amdvi_model::done; };
    }

    std::string problem; // the first difference
    bool updated = false;
    std::size_t loads_max = 0;
    std::uint64_t updates_max = 0;

    // One request through every memory that can hold the arena as it is. The arena is left as it was.
    answer translate(unit const& u, ask const& q) {
        auto const caps = capabilities_of(u);
        auto const registers = control_of(u);
        auto const set = settings_of(u);
        auto const r = request_of(q);
        auto load = [this](sw::pa at) -> sw::outcome<std::uint64_t, int> {
            std::uint64_t value = 0;
            if (!a.read(at.value, value)) return sw::failure{1};
            return value;
        };
        auto exchange = [this](sw::pa at, std::uint64_t& old, std::uint64_t fresh) -> sw::outcome<bool, int> {
            auto const how = a.replace(at.value, old, fresh, old);
            if (how == amdvi_model::failed) return sw::failure{2};
            return how == amdvi_model::done;
        };
        auto loader = sw::make_callback<sw::pa>(load);
        auto updater = sw::make_callback<sw::pa>(load, exchange);
        auto window = sw::test::make_windowed<sw::pa>([this](sw::pa page) -> std::uint64_t* {
            std::size_t const i = a.index(page.value);
            return i == static_cast<std::size_t>(arena::none) || i / 512 == a.bad_page ? nullptr : a.words[i].image();
        });
        std::size_t const start = a.mark();

        answer const expected = by_model(u, q, tables, start);
        updated = wrote.count != 0;
        restarted = a.rival_at != arena::none && a.updates > a.rival_at;
        updates_max = std::max(updates_max, a.updates);
        a.rewind(start);
        sw::recording<decltype(updater), 256> recorded{updater};
        sw::amdvi::iommu watched{caps, registers, recorded, set};
        auto const told = watched.translate(r);
        expect("recording", told, q, expected, start);
        if (problem.empty() && !agree_outside(q, told, expected))
            problem = "record or completion differ\n" + text_of(q, expected) + "\n" + trail_text();
        check_loads("recording", recorded, expected);
        if (a.is_plain()) {
            sw::amdvi::iommu const direct{caps, registers, window, set};
            expect_windowed(direct.translate(r), q, expected);
        }

        a.rewind(start);
        recorded.reset();
        std::uint64_t steps = 0;
        expect("traced", watched.translate(r, [&](auto const&) { ++steps; }), q, expected, start);
        check_loads("traced", recorded, expected);
        if (!restarted) loads_max = std::max(loads_max, seen.length);

        // Memory that cannot be written: updates are judged.
        if (updated || !a.is_plain()) {
            answer const judged = by_model(u, q, dump, start);
            a.rewind(start);
            expect("callback", sw::amdvi::iommu{caps, registers, loader, set}.translate(r), q, judged, start);
        } else if (seen.length % 4 == 0) {
            expect("callback", sw::amdvi::iommu{caps, registers, loader, set}.translate(r), q, expected, start);
        }
        return expected;
    }

    std::string trail_text() const {
        std::string text;
        for (std::size_t i = 0; i < seen.known(); ++i)
            text += print("  read %llx: %llx\n", static_cast<wide>(seen.at[i]), static_cast<wide>(seen.value[i]));
        for (std::size_t i = 0; i < wrote.count; ++i)
            text +=
                print("  wrote %llx: %llx\n", static_cast<wide>(a.frames[wrote.index[i] / 512] << 12 | wrote.index[i] % 512 * 8),
                      static_cast<wide>(wrote.value[i]));
        text += print("  rival at %llu, mask %llx, always %d; all locked %d\n", static_cast<wide>(a.rival_at),
                      static_cast<wide>(a.rival_mask), a.rival_always, a.all_locked);
        return text;
    }

private:
    answer by_model(unit const& u, ask const& q, amdvi_model::memory const& m, std::size_t start) {
        seen.length = 0;
        answer const e = amdvi_model::translate(u, q, m);
        wrote.take(a, start);
        return e;
    }

    template <class Outcome>
    void expect(char const* where, Outcome const& o, ask const& q, answer const& expected, std::size_t start) {
        if (problem.empty() && !agree(o, q, expected)) problem = difference(where, o, q, expected) + trail_text();
        // All that either changed is alike.
        bool alike = wrote.is_in(a);
        for (std::size_t i = start; i < a.changes; ++i)
            if (!wrote.has(a.log[i].index)) alike = false;
        if (problem.empty() && !alike) {
            problem = print("%s: memory differs\n", where) + text_of(q, expected) + "\n" + trail_text();
            for (std::size_t i = start; i < a.changes; ++i)
                problem += print("  library wrote %llx\n", static_cast<wide>(a.words[a.log[i].index]));
        }
        a.rewind(start);
    }

    // Windows are not logged; but only what was read can have been changed.
    template <class Outcome>
    void expect_windowed(Outcome const& o, ask const& q, answer const& expected) {
        if (problem.empty() && !agree(o, q, expected)) problem = difference("windowed", o, q, expected) + trail_text();
        bool alike = wrote.is_in(a);
        for (std::size_t i = seen.known(); i-- > 0;) {
            std::size_t const at = a.index(seen.at[i]);
            if (at == static_cast<std::size_t>(arena::none)) continue;
            if (!wrote.has(at) && a.bad_page != at / 512 && a.words[at] != seen.value[i]) alike = false;
            if (a.bad_page != at / 512) a.words[at] = seen.value[i]; // the first reading is the last to be put back
        }
        if (problem.empty() && !alike) problem = "windowed: memory differs\n" + text_of(q, expected) + "\n" + trail_text();
    }

    template <class Recorded>
    void check_loads(char const* where, Recorded const& recorded, answer const& expected) {
        std::size_t i = 0;
        while (i < seen.known() && i < recorded.loads() && recorded.at(i).value == seen.at[i])
            ++i;
        bool const same = i == seen.known() && (restarted || seen.length <= most_loads) &&
                          (is_lost_behind(expected) ? recorded.loads() >= seen.length : recorded.loads() == seen.length);
        if (same || !problem.empty()) return;
        problem =
            print("%s: %zu loads, the model %zu; they differ at %zu\n", where, recorded.loads(), seen.length, i) + trail_text();
        for (std::size_t n = i; n < recorded.loads() && n < 256; ++n)
            problem += print("  library read %llx\n", static_cast<wide>(recorded.at(n).value));
    }

    arena& a;
    trail seen;
    effect wrote;
    bool restarted = false;
    amdvi_model::memory tables;
    amdvi_model::memory dump;
};

char const* const kinds[] = {"none", "host", "guest", "nested", "no tables"};

void note(tally& t, ask const& q, answer const& e, unsigned kind, bool updated) {
    std::string const by = kinds[kind];
    if (q.kind != amdvi_model::untranslated) {
        std::string const what = q.kind == amdvi_model::translated ? "translated: " : "asked: ";
        if (!e.ok) ++t[what + print("event %x%s", e.event, e.recorded ? " recorded" : "")];
        if (e.ok) ++t[what + print("ok %s%s%s%s", e.bypassed ? "as it is " : "", e.r ? "r" : "", e.w ? "w" : "", e.x ? "x" : "")];
        if (e.ok && updated) ++t[what + by + " updated"];
        return;
    }
    if (e.ok) {
        if (e.bypassed || e.interrupt) {
            ++t[e.interrupt ? "ok interrupt" : "ok bypassed"];
            return;
        }
        ++t[by + print(" ok lg2 %u", e.lg2)];
        ++t[by + (updated ? " ok updated" : " ok not updated")];
        if (e.x) ++t[by + " ok execute"];
        return;
    }
    std::string const name = by + print(" event %x stage %u", e.event, e.stage);
    ++t[name + print(" flags %03x", e.flags & ~(amdvi_model::flag_rw | amdvi_model::flag_us | amdvi_model::flag_nx))];
    if (e.event == amdvi_model::invalid_device_request) ++t[print("event 8 type %u", e.type)];
    if (e.stage != 0) ++t[name + print(" level %u", e.level)];
    if (!e.recorded) ++t[name + " not recorded"];
    if (e.once) ++t[name + " once"];
    if (updated) ++t[name + " after an update"];
    if (e.behind) ++t[name + (e.gcr3 ? " GCR3 behind" : " behind")];
}

tally compare(std::uint64_t cases, std::uint64_t seed, plan const& wish) {
    random_bits random{seed};
    static arena memory;
    static builder b;
    comparison both{memory};
    tally reached;
    std::uint64_t done = 0;
    while (done < cases) {
        b.build(random, memory, wish);
        for (unsigned round = 0; round < 6; ++round) {
            b.next_round(random, memory);
            for (unsigned n = 0; n < 8; ++n, ++done) {
                ask q = b.next_ask(random);
                // A device uses what it was told.
                for (bool more = true; more;) {
                    answer const e = both.translate(b.u, q);
                    note(reached, q, e, b.kind, both.updated);
                    if (!both.problem.empty())
                        FAIL("seed " << seed << " case " << done << ": " << both.problem << text_of(b.u, q));
                    more = q.kind == amdvi_model::translation_request && e.ok;
                    q.kind = amdvi_model::translated;
                    q.address = e.address;
                }
            }
        }
    }
    std::printf("%llu cases, most loads %zu, most updates %llu\n", static_cast<wide>(done), both.loads_max,
                static_cast<wide>(both.updates_max));
    return reached;
}

// All that has to occur at least three times: of requests that the tables of a kind serve.
class demands {
public:
    demands(tally& reached, unsigned kind) : t{reached}, by{kinds[kind]} {
        for (char const* what : {"1 stage 0 flags 000", "1 stage 0 flags 080", "2 stage 0 flags 000", "2 stage 0 not recorded",
                                 "2 stage 0 once", "3 stage 0 flags 000"})
            event(what);
        occurs("asked: event 0");
        occurs("asked: event 1 recorded");
        occurs("translated: event 8 recorded");
        occurs("translated: ok as it is rw");
        occurs("ok bypassed");
        occurs("ok interrupt");
        bool const host = kind == by_host || kind == by_both;
        bool const guest = kind == by_guest || kind == by_both;
        if (kind == by_none) event("2 stage 0 flags 050");
        if (host || guest) {
            for (char const* what : {" ok updated", " ok not updated"})
                occurs(by + what);
            occurs("asked: " + by + " updated");
            for (char const* what : {"asked: ok ", "asked: ok r", "asked: ok rw", "asked: event 2", "asked: event 2 recorded"})
                occurs(what);
        }
        if (host) tables(2, 6, guest, {"00", "01", "05", "09"});
        if (guest) {
            tables(1, 5, true, {"00", "05", "09"});
            occurs(by + " ok execute");
        }
        if (kind == by_both)
            for (char const* what : {"2 stage 1 behind", "2 stage 1 GCR3 behind", "4 stage 1 behind", "4 stage 1 GCR3 behind"})
                event(what);
        if (kind == by_host)
            for (unsigned lg2 = 12; lg2 <= 51; ++lg2)
                occurs(by + print(" ok lg2 %u", lg2));
        for (unsigned const lg2 : {12u, 21u, 30u})
            if (guest) occurs(by + print(" ok lg2 %u", lg2));
        if (kind == by_host || kind == by_none)
            for (unsigned const type : {0u, 1u, 2u, 3u, 4u, 6u, 7u})
                if (type != 1) occurs(print("event 8 type %u", type));
    }

private:
    void occurs(std::string const& name) {
        INFO(name);
        CHECK(t[name] >= 3);
    }
    void event(std::string const& what) { occurs(by + " event " + what); }
    void tables(unsigned stage, unsigned levels, bool guest, std::initializer_list<char const*> flags) {
        for (char const* f : flags)
            event(print("2 stage %u flags %s%d", stage, f, guest ? 1 : 0));
        event(print("4 stage %u flags 00%d", stage, guest ? 1 : 0));
        for (char const* what : {"after an update", "not recorded", "once"})
            event(print("2 stage %u %s", stage, what));
        for (unsigned level = 1; level <= levels; ++level)
            for (unsigned const code : {2u, 4u})
                event(print("%u stage %u level %u", code, stage, level));
    }

    tally& t;
    std::string by;
};

void run(std::uint64_t cases, std::uint64_t seed, plan const& wish) {
    tally reached = compare(sw::test::fewer(cases), seed, wish);
    for (auto const& [name, count] : reached)
        std::printf("%10llu  %s\n", static_cast<wide>(count), name.c_str());
    if (wish.kind != 0 && sw::test::all_cases()) demands{reached, wish.kind};
}

} // namespace

TEST_CASE("random AMD-Vi host tables translate as the naive model says", "[amdvi]") { run(600'000, 1, {by_host, 0, 0}); }
TEST_CASE("random AMD-Vi guest tables translate as the naive model says", "[amdvi]") { run(400'000, 2, {by_guest, 0, 0}); }
TEST_CASE("random AMD-Vi guest tables over host tables translate as the naive model says", "[amdvi]") {
    run(800'000, 3, {by_both, 0, 0});
}
TEST_CASE("random AMD-Vi devices without tables are answered as the naive model says", "[amdvi]") {
    run(200'000, 4, {by_none, 0, 0});
}
TEST_CASE("twenty million random AMD-Vi requests translate as the naive model says", "[amdvi][long]") {
    run(20'000'000, 100, {});
}
