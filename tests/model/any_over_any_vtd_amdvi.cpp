// VT-d and AMD-Vi stages over any stage.
#include "any_over_any.hpp"

#include "catch.hpp"

namespace {

namespace sw = stagewalk;
using namespace any_over_any;
using sw::iova, sw::ipa;

} // namespace

TEST_CASE("VT-d first stage over any stage", "[any_over_any]") { over_all<sw::vtd::first_stage<iova, ipa>>(4'000, 10); }
TEST_CASE("VT-d first stage over any stage, many cases", "[any_over_any][long]") {
    over_all<sw::vtd::first_stage<iova, ipa>>(200'000, 1010);
}

TEST_CASE("VT-d second stage over any stage", "[any_over_any]") {
    over_all<sw::vtd::second_stage<iova, ipa, sw::vtd::table_mode::scalable>>(4'000, 20);
}
TEST_CASE("VT-d second stage over any stage, many cases", "[any_over_any][long]") {
    over_all<sw::vtd::second_stage<iova, ipa, sw::vtd::table_mode::scalable>>(200'000, 1020);
}

TEST_CASE("AMD host tables over any stage", "[any_over_any]") { over_all<sw::amdvi::host_table<iova, ipa>>(4'000, 30); }
TEST_CASE("AMD host tables over any stage, many cases", "[any_over_any][long]") {
    over_all<sw::amdvi::host_table<iova, ipa>>(200'000, 1030);
}

TEST_CASE("AMD guest tables over any stage", "[any_over_any]") { over_all<sw::amdvi::guest_table<iova, ipa>>(4'000, 40); }
TEST_CASE("AMD guest tables over any stage, many cases", "[any_over_any][long]") {
    over_all<sw::amdvi::guest_table<iova, ipa>>(200'000, 1040);
}
