// SMMUv3: the library against the naive model, on random tables and on tables that were made hostile: every memory policy, the
// fast lane and the exact lane (a traced walk), the answers, what was read in which order, and what the memory holds afterwards.
#include "catch.hpp"
#include "smmu_arena.hpp"
#include "smmu_compare.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <initializer_list>
#include <iterator>
#include <map>
#include <string>

namespace {

namespace sw = stagewalk;
using namespace smmu_arena;
using namespace smmu_compare;

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

// L1STD, STE, L1CD and CD; nested, L1CD and CD are looked for through 5 levels each. Then 5 levels of stage 1 with 5 of stage 2
// for each, and 5 for the output; where stage 1 is updated, 5 more for each descriptor, and for the leaf 5 to ask beforehand.
constexpr std::size_t most_loads = 2 + 2 * 8 + 2 * 5 + 5 * 6 + 5 + 5 * 5 + 5;

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
        dump.replace = [](std::uint64_t, std::uint64_t, std::uint64_t) { return smmu_model::done; };
    }

    std::string problem; // the first difference
    bool updated = false;
    std::size_t loads_max = 0;
    std::uint64_t updates_max = 0;

    // One request through every memory that can hold the arena as it is. The arena is left as it was.
    answer translate(unit u, ask const& q) {
        auto const caps = capabilities_of(u);
        auto const registers = control_of(u);
        auto const rules = policy_of(u);
        auto const r = request_of(q);
        auto load = [this](sw::pa at) -> sw::outcome<std::uint64_t, int> {
            std::uint64_t value = 0;
            if (!a.read(at.value, value)) return sw::failure{1};
            return value;
        };
        auto exchange = [this](sw::pa at, std::uint64_t& old, std::uint64_t fresh) -> sw::outcome<bool, int> {
            auto const how = a.replace(at.value, old, fresh, old);
            if (how == smmu_model::failed) return sw::failure{2};
            return how == smmu_model::done;
        };
        auto loader = sw::make_callback<sw::pa>(load);
        auto updater = sw::make_callback<sw::pa>(load, exchange);
        auto window = sw::test::make_windowed<sw::pa>([this](sw::pa page) -> std::uint64_t* {
            std::size_t const i = a.index(page.value);
            return i == static_cast<std::size_t>(arena::none) || i / 512 == a.bad_page ? nullptr : a.words[i].image();
        });
        std::size_t const start = a.mark();
        bool const plain = a.bad_word == arena::none && a.locked == arena::none && !a.all_locked && a.rival_at == arena::none;

        // Who is not traced reads the halves of STE and CD that count.
        u.entry_words = 4;
        answer const expected = by_model(u, q, tables, start);
        updated = wrote.count != 0;
        restarted = a.rival_at != arena::none && a.updates > a.rival_at;
        updates_max = std::max(updates_max, a.updates);
        a.rewind(start);
        sw::recording<decltype(updater), 256> recorded{updater};
        sw::smmu::iommu watched{caps, registers, recorded, rules};
        auto const told = watched.translate(r);
        expect("recording", told, expected, start);
        if (problem.empty() && !agree_outside(u, q, told, expected))
            problem = "record or completion differ\n" + text_of(expected) + "\n" + trail_text();
        check_loads("recording", recorded);
        if (plain) {
            sw::smmu::iommu const direct{caps, registers, window, rules};
            expect_windowed(direct.translate(r), expected);
        }

        u.entry_words = 8;
        answer const whole = by_model(u, q, tables, start);
        a.rewind(start);
        recorded.reset();
        std::uint64_t steps = 0;
        expect("traced", watched.translate(r, [&](auto const&) { ++steps; }), whole, start);
        check_loads("traced", recorded);
        if (!restarted) loads_max = std::max(loads_max, seen.length);

        // Memory that cannot be written: updates are judged.
        if (updated || a.rival_at != arena::none || a.all_locked || a.locked != arena::none) {
            u.entry_words = 4;
            answer const judged = by_model(u, q, dump, start);
            a.rewind(start);
            expect("callback", sw::smmu::iommu{caps, registers, loader, rules}.translate(r), judged, start);
        } else if (seen.length % 4 == 0) {
            expect("callback", sw::smmu::iommu{caps, registers, loader, rules}.translate(r), expected, start);
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
    answer by_model(unit const& u, ask const& q, smmu_model::memory const& m, std::size_t start) {
        seen.length = 0;
        answer const e = smmu_model::translate(u, q, m);
        wrote.take(a, start);
        return e;
    }

    template <class Outcome>
    void expect(char const* where, Outcome const& o, answer const& expected, std::size_t start) {
        if (problem.empty() && !agree(o, expected)) problem = difference(where, o, expected) + trail_text();
        // All that either changed is alike.
        bool alike = wrote.is_in(a);
        for (std::size_t i = start; i < a.changes; ++i)
            if (!wrote.has(a.log[i].index)) alike = false;
        if (problem.empty() && !alike) {
            problem = print("%s: memory differs\n", where) + text_of(expected) + "\n" + trail_text();
            for (std::size_t i = start; i < a.changes; ++i)
                problem += print("  library wrote %llx\n", static_cast<wide>(a.words[a.log[i].index]));
        }
        a.rewind(start);
    }

    // Windows are not logged; but only what was read can have been changed.
    template <class Outcome>
    void expect_windowed(Outcome const& o, answer const& expected) {
        if (problem.empty() && !agree(o, expected)) problem = difference("windowed", o, expected) + trail_text();
        bool alike = wrote.is_in(a);
        for (std::size_t i = seen.known(); i-- > 0;) {
            std::size_t const at = a.index(seen.at[i]);
            if (at == static_cast<std::size_t>(arena::none)) continue;
            if (!wrote.has(at) && a.bad_page != at / 512 && a.words[at] != seen.value[i]) alike = false;
            if (a.bad_page != at / 512) a.words[at] = seen.value[i]; // the first reading is the last to be put back
        }
        if (problem.empty() && !alike) problem = "windowed: memory differs\n" + text_of(expected) + "\n" + trail_text();
    }

    template <class Recorded>
    void check_loads(char const* where, Recorded const& recorded) {
        bool same = recorded.loads() == seen.length && (restarted || seen.length <= most_loads);
        std::size_t i = 0;
        while (same && i < seen.known() && recorded.at(i).value == seen.at[i])
            ++i;
        same = same && i == seen.known();
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
    smmu_model::memory tables;
    smmu_model::memory dump;
};

void note(tally& t, unit const& u, ask const& q, answer const& e, unsigned config, bool updated) {
    if (q.kind != smmu_model::ordinary) {
        std::string kind = q.kind == smmu_model::translated ? "translated: " : "asked: ";
        if (!e.ok) ++t[kind + print("event %02x%s", e.event, e.recorded ? " recorded" : "")];
        if (e.ok) ++t[kind + print("ok %s%s%s%s", e.bypassed ? "as it is " : "", e.r ? "r" : "", e.w ? "w" : "", e.x ? "x" : "")];
        if (e.ok && updated) ++t[kind + "ok updated"];
        return;
    }
    if (e.ok && e.bypassed) {
        ++t[bit(u.cr0, 0) ? "ok bypassed" : "ok off"];
        return;
    }
    if (e.ok) {
        ++t[print("ok config %u lg2 %u", config, e.lg2)];
        ++t[print("ok config %u %s", config, updated ? "updated" : "not updated")];
        if (q.execute && !q.write && e.x) ++t[print("ok config %u execute", config)];
        if (e.type < 16) ++t[print("ok config %u device", config)];
        if (bit(q.address, 55) && config != 6) ++t[print("ok config %u upper half", config)];
        if (q.has_substream) ++t[print("ok config %u substream", config)];
        return;
    }
    std::string const name = print("event %02x stage %u class %u", e.event, e.stage, e.cls);
    ++t[name];
    if (e.table_level != smmu_model::no_level) ++t[name + print(" level %u", e.table_level)];
    if (e.stall) ++t[name + " stalled"];
    if (e.raz_wi) ++t[name + " RAZ/WI"];
    if (!e.recorded) ++t[name + " not recorded"];
    if (updated) ++t[name + " after an update"];
    if (e.row != 0) ++t[print("event %02x row %u", e.event, e.row)];
    if (e.event == smmu_model::f_permission && e.cls == smmu_model::at_tt) ++t[name + (e.ttrnw ? " read" : " update")];
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
                make_possible(q);
                // A device uses what it was told.
                for (bool more = true; more;) {
                    answer const e = both.translate(b.u, q);
                    note(reached, b.u, q, e, b.config, both.updated);
                    if (!both.problem.empty())
                        FAIL("seed " << seed << " case " << done << " config " << b.config << ": " << both.problem
                                     << text_of(b.u, q));
                    more = q.kind == smmu_model::translation_request && e.ok;
                    q.kind = smmu_model::translated;
                    q.address = e.address;
                }
            }
        }
    }
    std::printf("%llu cases, most loads %zu, most updates %llu\n", static_cast<wide>(done), both.loads_max,
                static_cast<wide>(both.updates_max));
    return reached;
}

// All that has to occur at least three times, whatever the granules are.
class demands {
public:
    demands(tally& reached, unsigned config) : t{reached}, c{config} {
        bool const one = c == 5 || c == 7;
        bool const two = c == 6 || c == 7;
        for (unsigned const row : {1u, 27u})
            if (row == 1 || c != 4) occurs(print("event 04 row %u", row));
        if (one) rows(0x04, {3, 9, 10, 11, 12});
        if (two) rows(0x04, {4, 6, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 25});
        if (c == 5) rows(0x04, {8});
        if (c == 5 || c == 6) rows(0x04, {5});
        if (one) rows(0x0a, {1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12});
        for (unsigned const code : {0x02u, 0x03u, 0x04u, 0x08u})
            occurs(print("event %02x stage 0 class 0", code));
        occurs("event 02 stage 0 class 0 not recorded");
        occurs("ok off");
        occurs("asked: event 05 recorded");
        occurs("translated: event 07 recorded");
        occurs("translated: ok as it is rwx");
        for (char const* what : {"event 02", "event 03", "event 04"})
            occurs(print("asked: %s", what));
        if (one || two) {
            for (char const* what : {"event 0b", "event 0b recorded", "event 10", "event 11", "event 12", "event 13", "ok r",
                                     "ok rw", "ok rwx", "ok updated"})
                occurs(print("asked: %s", what));
        }
        if (c == 7) {
            for (char const* what :
                 {"event 0b recorded", "event 10 recorded", "event 13 recorded", "ok rw", "ok rwx", "ok updated"})
                occurs(print("translated: %s", what));
        }
        if (!one) occurs("event 11 stage 1 class 2");
        if (one) {
            occurs("event 06 stage 0 class 0");
            occurs("event 09 stage 0 class 0");
            stage(1, 2, {0x10, 0x11, 0x12, 0x13}, true);
            occurs("event 0b stage 1 class 1");
            occurs("event 0b stage 1 class 1 after an update");
        }
        if (two) {
            stage(2, 2, {0x10, 0x11, 0x12, 0x13}, false);
            occurs("event 0b stage 2 class 2");
        }
        if (c == 7) {
            stage(2, 0, {0x10, 0x11, 0x12, 0x13}, false);
            stage(2, 1, {0x10, 0x11, 0x12, 0x13}, false);
            occurs("event 0b stage 2 class 0");
            occurs("event 0b stage 2 class 1");
            occurs("event 13 stage 2 class 1 read");
            occurs("event 13 stage 2 class 1 update");
            occurs("event 08 stage 0 class 0 after an update");
            occurs("event 0a stage 0 class 0 after an update");
        }
        if (c == 4) return;
        for (char const* what : {"updated", "not updated", "execute", "device"})
            occurs(print("ok config %u %s", c, what));
        for (char const* what : {"upper half", "substream"})
            if (one) occurs(print("ok config %u %s", c, what));
    }
    // Pages and blocks of the granule.
    void sizes(std::initializer_list<unsigned> all) {
        for (unsigned const lg2 : all)
            occurs(print("ok config %u lg2 %u", c, lg2));
    }

private:
    void occurs(std::string const& name) {
        INFO(name);
        CHECK(t[name] >= 3);
    }
    void rows(unsigned code, std::initializer_list<unsigned> all) {
        for (unsigned const row : all)
            occurs(print("event %02x row %u", code, row));
    }
    void stage(unsigned number, unsigned at, std::initializer_list<unsigned> codes, bool zero) {
        for (unsigned const code : codes) {
            std::string const name = print("event %02x stage %u class %u", code, number, at);
            occurs(name);
            occurs(name + " stalled");
            occurs(name + " not recorded");
            if (zero) occurs(name + " RAZ/WI");
            for (unsigned level = 0; level < 2; ++level)
                occurs(name + print(" level %u", level));
        }
    }

    tally& t;
    unsigned c;
};

void run(std::uint64_t cases, std::uint64_t seed, plan const& wish, std::initializer_list<unsigned> sizes = {}) {
    tally reached = compare(sw::test::fewer(cases), seed, wish);
    for (auto const& [name, count] : reached)
        std::printf("%10llu  %s\n", static_cast<wide>(count), name.c_str());
    if (wish.config != 0 && sw::test::all_cases()) demands{reached, wish.config}.sizes(sizes);
}

} // namespace

TEST_CASE("random SMMUv3 streams that bypass translate as the naive model says", "[smmu]") { run(100'000, 1, {4, 0, 0}); }

TEST_CASE("random SMMUv3 stage-1 tables of 4 KiB translate as the naive model says", "[smmu]") {
    run(200'000, 2, {5, 12, 0}, {12, 21, 30, 39});
}
TEST_CASE("random SMMUv3 stage-1 tables of 16 KiB translate as the naive model says", "[smmu]") {
    run(200'000, 3, {5, 14, 0}, {14, 25, 36});
}
TEST_CASE("random SMMUv3 stage-1 tables of 64 KiB translate as the naive model says", "[smmu]") {
    run(200'000, 4, {5, 16, 0}, {16, 29, 42});
}
TEST_CASE("random SMMUv3 stage-2 tables of 4 KiB translate as the naive model says", "[smmu]") {
    run(200'000, 5, {6, 0, 12}, {12, 21, 30, 39});
}
TEST_CASE("random SMMUv3 stage-2 tables of 16 KiB translate as the naive model says", "[smmu]") {
    run(200'000, 6, {6, 0, 14}, {14, 25, 36});
}
TEST_CASE("random SMMUv3 stage-2 tables of 64 KiB translate as the naive model says", "[smmu]") {
    run(200'000, 7, {6, 0, 16}, {16, 29, 42});
}
TEST_CASE("random SMMUv3 nesting over 4 KiB translates as the naive model says", "[smmu]") {
    run(300'000, 8, {7, 0, 12}, {12, 14, 21, 30});
}
TEST_CASE("random SMMUv3 nesting over 16 KiB translates as the naive model says", "[smmu]") {
    run(300'000, 9, {7, 0, 14}, {12, 14, 25});
}
TEST_CASE("random SMMUv3 nesting over 64 KiB translates as the naive model says", "[smmu]") {
    run(300'000, 11, {7, 0, 16}, {12, 14, 16, 25, 29});
}
TEST_CASE("twenty million random SMMUv3 requests translate as the naive model says", "[smmu][long]") {
    std::uint64_t seed = 100;
    for (unsigned const config : {4u, 5u, 6u, 7u, 7u, 7u, 0u})
        run(config == 4 ? 500'000 : 3'250'000, ++seed, {config, 0, 0});
}
