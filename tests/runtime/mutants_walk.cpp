// What bounds a walk: a stage that does not lead downwards, and entries that do not keep still.
#include "scalable_unit.hpp"
#include "sheet_unit.hpp"
#include "watched_memory.hpp"

#include <stagewalk/vtd/second_stage.hpp>
#include <stagewalk/walk/leaves.hpp>
#include <stagewalk/walk/walk.hpp>

#include <cstdint>
#include <vector>

namespace stagewalk::test {
namespace {

// A format in error: its law says of every table that it is one of the level that led there.
struct circling : vtd::second_stage<> {
    using second_stage::second_stage;

    [[nodiscard]] constexpr judgement<reason> judge(step const& at, access a, path& p, step& denied) const {
        auto found = second_stage::judge(at, a, p, denied);
        if (found.is == verdict::table) found.value = at.level;
        return found;
    }
};

} // namespace

TEST_CASE("a stage that leads from a table to one of the same level is cut off there, with a fault that has no code") {
    sheet_unit u;
    u.memory[0x1000] = 0x2003;
    circling const stage{u.caps(), 3, ipa{0x1000}};
    auto const answer = walk(stage, u.memory, iova{0x1234}, read, [](auto const&) {});
    REQUIRE_FALSE(answer);
    CHECK(answer.error().code == reason{});
    CHECK(answer.error().at == fault_at::table);
    CHECK(answer.error().level == 2);
    CHECK(answer.error().descriptor == 0x1000);
    CHECK(answer.error().entry == 0x2003);
    CHECK(u.memory.trail == std::vector<std::uint64_t>{0x1000});

    // An enumeration counts it as a fault and goes on behind it.
    u.memory[0x1008] = 0x8000'0083;
    u.memory.trail.clear();
    std::vector<fault<reason>> faults;
    std::vector<std::uint64_t> leaves;
    struct visitor {
        std::vector<fault<reason>>& faults;
        std::vector<std::uint64_t>& leaves;
        void operator()(fault<reason> const& f) { faults.push_back(f); }
        void operator()(leaf<circling> const& l) { leaves.push_back(l.part.first().value); }
    };
    auto const end = for_each_leaf(stage, u.memory, range{iova{0}, 0x8000'0000}, visitor{faults, leaves});
    CHECK(end.complete);
    CHECK(end.tables == 1);
    CHECK(end.loads == 2);
    CHECK(end.faults == 1);
    REQUIRE(faults.size() == 1);
    CHECK(faults[0].code == reason{});
    CHECK(leaves == std::vector<std::uint64_t>{0x4000'0000});
}

TEST_CASE("a walk starts again as often as max_restarts says, and no more often") {
    for (unsigned const level : {1u, 2u, 4u}) {
        for (unsigned const changes : {max_restarts, max_restarts + 1}) {
            scalable_unit u{vtd::binding_kind::first_stage};
            std::uint64_t const changing = u.first_entry(level);
            unsigned left = changes;
            u.memory.meddle = [&](std::uint64_t at) {
                if (at == changing && left > 0) {
                    --left;
                    u.memory[at] ^= one_bit(58); // software's
                }
            };
            CAPTURE(level, changes);
            auto const answer = u.translate(write);
            CHECK(static_cast<bool>(answer) == (changes == max_restarts));
            if (!answer) CHECK(answer.error().code == reason::first_stage_update_failed);
        }
    }
}

} // namespace stagewalk::test
