// What a second stage asks of rights, and what it can write down.
#include "sheet_unit.hpp"

#include <stagewalk/vtd/second_stage.hpp>
#include <stagewalk/walk/walk.hpp>

#include <cstdint>

namespace stagewalk::test {
namespace {

// 2 MiB of a three-level stage; the root entry and the leaf grant what is said. The unit has ZLR.
struct one_leaf {
    sheet_unit unit;
    vtd::capabilities caps;

    explicit one_leaf(std::uint64_t upper, std::uint64_t rights) : caps{with_zero_length(unit)} {
        unit.memory[0x1000] = 0x2000 | upper;
        unit.memory[0x2000] = 0x8000'0080 | rights;
    }
    auto walked(access a) { return walk(vtd::second_stage<>{caps, 3, ipa{0x1000}}, unit.memory, iova{0x123}, a); }

private:
    static vtd::capabilities with_zero_length(sheet_unit& u) {
        u.cap.set<"ZLR">(1);
        return u.caps();
    }
};

} // namespace

TEST_CASE("second stage: fetching an instruction needs R") {
    CHECK(one_leaf(3, 1).walked(execute));
    auto const answer = one_leaf(3, 2).walked(execute);
    REQUIRE_FALSE(answer);
    CHECK(answer.error().code == reason::read_denied);
}

TEST_CASE(
    "second stage: ZLR forgives a zero-length read that has W alone, but no access that also writes, and none without a right") {
    CHECK(one_leaf(3, 2).walked(read | zero_length));
    CHECK_FALSE(one_leaf(3, 2).walked(read));
    CHECK_FALSE(one_leaf(3, 2).walked(read | zero_length | write));
    CHECK_FALSE(one_leaf(1, 2).walked(read | zero_length));
}

TEST_CASE("second stage: a page without a right, or with bits that the format lacks, cannot be written down") {
    vtd::second_stage<> const s{sheet_unit{}.caps(), 3, ipa{0x1000}};
    CHECK(s.can_encode(ipa{0x1000}, read));
    CHECK(s.can_encode(ipa{0x1000}, attributes::from_bits(0x802))); // SNP
    CHECK_FALSE(s.can_encode(ipa{0x1000}, none));
    CHECK_FALSE(s.can_encode(ipa{0x1000}, attributes::from_bits(0x800)));
    CHECK_FALSE(s.can_encode(ipa{0x1000}, read | execute));
}

} // namespace stagewalk::test
