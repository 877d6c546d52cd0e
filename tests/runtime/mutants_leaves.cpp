// What ends an enumeration, or a part of it.
#include "scalable_unit.hpp"
#include "sheet_unit.hpp"

#include <stagewalk/vtd/first_stage.hpp>
#include <stagewalk/walk/leaves.hpp>

#include <cstdint>
#include <vector>

namespace stagewalk::test {
namespace {

using stage_type = vtd::second_stage<iova, ipa>;

// Tables of three levels at 1000h (root), 2000h and 3000h, 4000h and 5000h: two leaves in the first gigabyte, one in the second.
struct two_gigabytes {
    sheet_unit unit;
    stage_type stage{unit.caps(), 3, ipa{0x1000}};
    sparse_memory<ipa>& memory{unit.memory};

    two_gigabytes() {
        memory[0x1000] = 0x2003;
        memory[0x2000] = 0x3003;
        memory[0x3000] = 0x1'0000'0003;
        memory[0x3008] = 0x1'0000'1003;
        memory[0x1008] = 0x4003;
        memory[0x4000] = 0x5003;
        memory[0x5000] = 0x1'0000'2003;
    }
};

// Says stop at the first leaf, or at the first fault, and remembers where it was called.
struct stopping {
    bool at_leaf;
    bool at_fault;
    std::vector<std::uint64_t> calls{};
    bool operator()(leaf<stage_type> const& l) {
        calls.push_back(l.part.first().value);
        return !at_leaf;
    }
    bool operator()(fault<reason> const& f) {
        calls.push_back(f.input);
        return !at_fault;
    }
};

} // namespace

TEST_CASE("a visitor that says stop is not called again, neither in that table nor in another") {
    two_gigabytes d;
    stopping v{true, false};
    auto const end = for_each_leaf(d.stage, d.memory, range<iova>::all(), v);
    CHECK(v.calls == std::vector<std::uint64_t>{0});
    CHECK_FALSE(end.complete);
    CHECK(end.resume == 0x1000);
    CHECK(end.leaves == 1);
    CHECK(end.tables == 3);
}

TEST_CASE("an entry that cannot be read is shown, and the enumeration goes on behind all that it might have mapped") {
    two_gigabytes d;
    d.memory.poison(0x2000);
    stopping v{false, false};
    auto const end = for_each_leaf(d.stage, d.memory, range<iova>::all(), v);
    CHECK(v.calls == std::vector<std::uint64_t>{0, 0x4000'0000});
    CHECK(end.complete);
    CHECK(end.faults == 1);
    CHECK(end.leaves == 1);

    stopping w{false, true};
    auto const stopped = for_each_leaf(d.stage, d.memory, range<iova>::all(), w);
    CHECK(w.calls == std::vector<std::uint64_t>{0});
    CHECK_FALSE(stopped.complete);
    CHECK(stopped.resume == 0x20'0000);
}

TEST_CASE("nothing is enumerated below an entry that has reserved bits set") {
    two_gigabytes d;
    d.memory[0x1000] |= one_bit(11);
    stopping v{false, false};
    auto const end = for_each_leaf(d.stage, d.memory, range<iova>::all(), v);
    CHECK(v.calls == std::vector<std::uint64_t>{0, 0x4000'0000});
    CHECK(end.faults == 1);
    CHECK(end.leaves == 1);
    CHECK(end.tables == 3);

    stopping w{false, true};
    auto const stopped = for_each_leaf(d.stage, d.memory, range<iova>::all(), w);
    CHECK(w.calls == std::vector<std::uint64_t>{0});
    CHECK_FALSE(stopped.complete);
    CHECK(stopped.resume == 0x4000'0000);
}

TEST_CASE("both halves of canonical addresses are enumerated") {
    scalable_unit u{vtd::binding_kind::first_stage};
    vtd::first_stage<> const stage{u.caps(), 4, pa{0x1000}};
    sparse_memory<pa> memory;
    memory[0x1000] = 0x2007;
    memory[0x2000] = 0x4000'0087;
    memory[0x1ff8] = 0x3007;
    memory[0x3ff8] = 0x8000'0087;
    std::vector<std::uint64_t> found;
    auto const end = for_each_leaf(stage, memory, range<iova>::all(),
                                   [&](leaf<vtd::first_stage<>> const& l) { found.push_back(l.part.first().value); });
    CHECK(end.complete);
    CHECK(found == std::vector<std::uint64_t>{0, 0xffff'ffff'c000'0000});
}

} // namespace stagewalk::test
