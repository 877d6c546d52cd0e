// Everything that a table maps, leaf by leaf and merged into runs.
#include "sheet_unit.hpp"

#include <stagewalk/build/table.hpp>
#include <stagewalk/walk/leaves.hpp>

#include <cstdint>
#include <vector>

namespace stagewalk::test {
namespace {

using domain = vtd::second_stage<iova, ipa>;
using some = range<iova>;

struct seen {
    std::vector<leaf<domain>> leaves;
    std::vector<fault<reason>> faults;
    void operator()(leaf<domain> const& l) { leaves.push_back(l); }
    void operator()(fault<reason> const& f) { faults.push_back(f); }
};
struct seen_runs {
    std::vector<run<domain>> runs;
    std::vector<fault<reason>> faults;
    void operator()(run<domain> const& r) { runs.push_back(r); }
    void operator()(fault<reason> const& f) { faults.push_back(f); }
};

// Tables of three levels at 1000h (root), 2000h, 3000h.
struct small_domain {
    sheet_unit unit;
    domain stage{unit.caps(), 3, ipa{0x1000}};
    sparse_memory<ipa>& memory{unit.memory};

    small_domain() {
        memory[0x1000] = 0x2003;
        memory[0x2000] = 0x3003;
        memory[0x3000] = 0;
    }
};

} // namespace

TEST_CASE("a run crosses leaves of 4 KiB, 2 MiB and 1 GiB") {
    small_domain d;
    // 1FF000h (4 KiB), 200000h to 3FFFFFFFh (511 of 2 MiB), 40000000h (1 GiB), 80000000h (2 MiB), 80200000h (4 KiB).
    d.memory[0x3000 + 511 * 8] = 0x1'001f'f003;
    for (std::uint64_t n = 1; n < 512; ++n)
        d.memory[0x2000 + n * 8] = 0x1'0000'0083 + n * 0x20'0000;
    d.memory[0x1008] = 0x1'4000'0083;
    d.memory[0x1010] = 0x4003;
    d.memory[0x4000] = 0x1'8000'0083;
    d.memory[0x4008] = 0x5003;
    d.memory[0x5000] = 0x1'8020'0003;
    seen_runs s;
    auto const end = for_each_run(d.stage, d.memory, some::all(), s);
    CHECK(end.complete);
    CHECK(end.leaves == 515);
    CHECK(end.tables == 5);
    REQUIRE(s.runs.size() == 1);
    CHECK(s.runs[0].part == some::between(iova{0x1f'f000}, iova{0x8020'0fff}));
    CHECK(s.runs[0].output == ipa{0x1'001f'f000});
    CHECK(s.runs[0].leaves == 515);
    CHECK(s.runs[0].smallest == 12);
    CHECK(s.runs[0].largest == 30);
    CHECK(s.faults.empty());
}

TEST_CASE("a run ends where the output jumps, the rights change, an attribute changes or a hole opens") {
    struct {
        std::uint64_t second;
        std::size_t runs;
    } const cases[] = {{0x7'1003, 1}, {0x7'2003, 2}, {0x7'0003, 2}, {0x7'1001, 2}, {0x7'1803, 2}, {0x7'1043, 2}};
    for (auto const& c : cases) {
        small_domain d;
        d.memory[0x3000] = 0x7'0003;
        d.memory[0x3008] = c.second;
        seen_runs s;
        for_each_run(d.stage, d.memory, some::all(), s);
        CAPTURE(c.second);
        CHECK(s.runs.size() == c.runs);
    }
    small_domain d; // neighbours in the output, a hole in the input
    d.memory[0x3000] = 0x7'0003;
    d.memory[0x3010] = 0x7'1003;
    seen_runs s;
    for_each_run(d.stage, d.memory, some::all(), s);
    CHECK(s.runs.size() == 2);
}

TEST_CASE("an enumeration is clipped to the range that was asked for") {
    small_domain d;
    d.memory[0x1008] = 0x1'4000'0083;
    seen s;
    auto const where = some::between(iova{0x4123'4567}, iova{0x4123'4567});
    auto const end = for_each_leaf(d.stage, d.memory, where, s);
    REQUIRE(s.leaves.size() == 1);
    CHECK(s.leaves[0].part == where);
    CHECK(s.leaves[0].first.output == ipa{0x1'4123'4567});
    CHECK(s.leaves[0].first.lg2_size == 30);
    CHECK(s.leaves[0].at.level == 2);
    CHECK(s.leaves[0].at.address == 0x1008);
    CHECK(end.loads == 1);
    CHECK(for_each_leaf(d.stage, d.memory, some{}, s).loads == 0);
    CHECK(for_each_leaf(d.stage, d.memory, some::between(iova{0x80'0000'0000}, iova{~std::uint64_t{0}}), s).loads == 0);
}

TEST_CASE("an enumeration that is stopped says where to go on") {
    small_domain d;
    for (std::uint64_t n = 0; n < 8; ++n)
        d.memory[0x3000 + n * 8] = 0x7'0003 + n * 0x1000;
    unsigned left = 3;
    auto const end = for_each_leaf(d.stage, d.memory, some::all(), [&](leaf<domain> const&) { return --left > 0; });
    CHECK_FALSE(end.complete);
    CHECK(end.leaves == 3);
    CHECK(end.resume == 0x3000);
    // Bounded work: each piece goes on where the last one ended, and together they see everything once or more.
    std::uint64_t from = 0;
    std::uint64_t found = 0;
    for (int pieces = 0; pieces < 10'000; ++pieces) {
        auto const piece = for_each_leaf(
            d.stage, d.memory, some::between(iova{from}, iova{~std::uint64_t{0}}), [&](leaf<domain> const&) { ++found; }, 5);
        if (piece.complete) break;
        REQUIRE(piece.resume > from);
        from = piece.resume;
    }
    CHECK(found == 8);
}

TEST_CASE("faults in a table are shown and do not end the enumeration") {
    small_domain d;
    d.memory[0x3000] = 0x7'0003;
    d.memory[0x3008] = 0x4000'0000'0007'1003;
    d.memory[0x3010] = 0x7'2003;
    d.memory[0x2008] = 0x9'9003; // no page there
    seen s;
    auto const end = for_each_leaf(d.stage, d.memory, some::between(iova{0}, iova{0x20'0fff}), s);
    CHECK(end.complete);
    CHECK(s.leaves.size() == 2);
    REQUIRE(s.faults.size() == 2);
    CHECK(end.faults == 2);
    CHECK(s.faults[0].code == reason::table_reserved);
    CHECK(s.faults[0].input == 0x1000);
    CHECK(s.faults[0].descriptor == 0x3008);
    CHECK(s.faults[1].code == reason::table_unreadable);
    CHECK(s.faults[1].input == 0x20'0000);
    CHECK(s.faults[1].descriptor == 0x9'9000);
    // A visitor that takes no faults is fine, too.
    unsigned leaves = 0;
    for_each_leaf(d.stage, d.memory, some::all(), [&](leaf<domain> const&) { ++leaves; });
    CHECK(leaves == 2);
}

TEST_CASE("a visitor that has stopped is not called again, and what it has not seen is left") {
    small_domain d;
    d.memory[0x3000] = 0x7'0003;
    d.memory[0x3008] = 0x4000'0000'0007'1003;
    d.memory[0x3010] = 0x7'2003;
    struct stopper {
        std::vector<std::uint64_t> seen{};
        std::size_t limit{};
        bool operator()(run<domain> const& r) { return see(r.part.first().value); }
        bool operator()(fault<reason> const& f) { return see(f.input); }
        bool see(std::uint64_t at) {
            seen.push_back(at);
            return seen.size() < limit;
        }
    };
    std::vector<std::uint64_t> const all{0, 0x1000, 0x2000};
    for (std::size_t limit = 1; limit <= 3; ++limit) {
        stopper s;
        s.limit = limit;
        auto const end = for_each_run(d.stage, d.memory, some::between(iova{0}, iova{0x2fff}), s);
        CAPTURE(limit);
        CHECK(s.seen == std::vector<std::uint64_t>(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(limit)));
        CHECK(end.complete == (limit == 3));
        if (!end.complete) CHECK(end.resume == limit * 0x1000);
    }
    // Stopped at the very end of what was asked for, leaves are complete like runs.
    auto const one = some::between(iova{0x2000}, iova{0x2fff});
    CHECK(for_each_leaf(d.stage, d.memory, one, [](leaf<domain> const&) { return false; }).complete);
    CHECK(for_each_run(d.stage, d.memory, one, [](run<domain> const&) { return false; }).complete);
    // One that cannot be called with a leaf is a mistake, not a visitor of nothing.
    auto const changes = [](leaf<domain>&) {};
    STATIC_REQUIRE_FALSE(visitor_of<decltype(changes), leaf<domain>>);
}

TEST_CASE("a leaf tells the rights that all levels grant together") {
    small_domain d;
    d.memory[0x2000] = 0x3001;
    d.memory[0x3000] = 0x7'0003;
    seen s;
    for_each_leaf(d.stage, d.memory, some::all(), s);
    REQUIRE(s.leaves.size() == 1);
    CHECK(s.leaves[0].first.effective.rights() == read);
}

TEST_CASE("B62: absent subtrees cost one load, whatever they span") {
    sheet_unit u;
    u.memory[0x1000] = 0;
    domain const five{u.caps(), 5, ipa{0x1000}};
    u.memory.trail.clear();
    auto const end = for_each_leaf(five, u.memory, some::all(), seen{});
    CHECK(end.complete);
    // MGAW 48 of 57 bits: one entry of the root table is all that there is.
    CHECK(end.loads == 1);
    domain const four{u.caps(), 4, ipa{0x1000}};
    CHECK(for_each_leaf(four, u.memory, some::all(), seen{}).loads == 512);
}

TEST_CASE("B24, B62: a table that contains itself is walked in bounded time") {
    sheet_unit u;
    for (std::uint64_t n = 0; n < 512; ++n)
        u.memory[0x1000 + n * 8] = 0x1003;
    domain const s{u.caps(), 4, ipa{0x1000}};
    CHECK(walk(s, u.memory, iova{u.at}, read)->output == ipa{0x1abc});
    CHECK(u.memory.trail.size() == 4);
    u.memory.trail.clear();
    auto const end = for_each_leaf(
        s, u.memory, some::all(), [](leaf<domain> const&) {}, 1000);
    CHECK_FALSE(end.complete);
    CHECK(end.loads == 1000);
    CHECK(u.memory.trail.size() == 1000);
}

} // namespace stagewalk::test
