// Three stages, as a guest of a guest has them: IOVA, IPA of the inner guest, IPA of the outer one, PA.
#include "any_over_any.hpp"

#include "catch.hpp"

namespace {

namespace sw = stagewalk;
using namespace any_over_any;
using sw::iova, sw::ipa, sw::pa;
using sw::smmu::granule;

} // namespace

TEST_CASE("VT-d first stage over second stage over second stage", "[any_over_any]") {
    over_two<sw::vtd::first_stage<iova, ipa>, sw::vtd::second_stage<ipa, second_ipa, sw::vtd::table_mode::scalable>,
             sw::vtd::second_stage<second_ipa, pa, sw::vtd::table_mode::scalable>>(10'000, 1);
}
TEST_CASE("VT-d first stage over second stage over second stage, many cases", "[any_over_any][long]") {
    over_two<sw::vtd::first_stage<iova, ipa>, sw::vtd::second_stage<ipa, second_ipa, sw::vtd::table_mode::scalable>,
             sw::vtd::second_stage<second_ipa, pa, sw::vtd::table_mode::scalable>>(1'000'000, 1001);
}

TEST_CASE("SMMUv3 stage 1 of 4 KiB over stage 2 of 64 KiB over AMD host tables", "[any_over_any]") {
    over_two<sw::smmu::stage1<granule::k4, iova, ipa>, sw::smmu::stage2<granule::k64, ipa, second_ipa>,
             sw::amdvi::host_table<second_ipa, pa>>(10'000, 2);
}
TEST_CASE("SMMUv3 stage 1 of 4 KiB over stage 2 of 64 KiB over AMD host tables, many cases", "[any_over_any][long]") {
    over_two<sw::smmu::stage1<granule::k4, iova, ipa>, sw::smmu::stage2<granule::k64, ipa, second_ipa>,
             sw::amdvi::host_table<second_ipa, pa>>(1'000'000, 1002);
}

TEST_CASE("AMD guest tables over host tables over VT-d legacy second stage", "[any_over_any]") {
    over_two<sw::amdvi::guest_table<iova, ipa>, sw::amdvi::host_table<ipa, second_ipa>, sw::vtd::second_stage<second_ipa, pa>>(
        10'000, 3);
}
TEST_CASE("AMD guest tables over host tables over VT-d legacy second stage, many cases", "[any_over_any][long]") {
    over_two<sw::amdvi::guest_table<iova, ipa>, sw::amdvi::host_table<ipa, second_ipa>, sw::vtd::second_stage<second_ipa, pa>>(
        1'000'000, 1003);
}

TEST_CASE("VT-d first stage over SMMUv3 stage 2 of 16 KiB over one of 4 KiB", "[any_over_any]") {
    over_two<sw::vtd::first_stage<iova, ipa>, sw::smmu::stage2<granule::k16, ipa, second_ipa>,
             sw::smmu::stage2<granule::k4, second_ipa, pa>>(10'000, 4);
}
TEST_CASE("VT-d first stage over SMMUv3 stage 2 of 16 KiB over one of 4 KiB, many cases", "[any_over_any][long]") {
    over_two<sw::vtd::first_stage<iova, ipa>, sw::smmu::stage2<granule::k16, ipa, second_ipa>,
             sw::smmu::stage2<granule::k4, second_ipa, pa>>(1'000'000, 1004);
}
