// SMMUv3 stage 2 of each granule over any stage.
#include "any_over_any.hpp"

#include "catch.hpp"

namespace {

namespace sw = stagewalk;
using namespace any_over_any;
using sw::iova, sw::ipa;
using sw::smmu::granule;

} // namespace

TEST_CASE("SMMUv3 stage 2 of 4 KiB over any stage", "[any_over_any]") {
    over_all<sw::smmu::stage2<granule::k4, iova, ipa>>(4'000, 200);
}
TEST_CASE("SMMUv3 stage 2 of 4 KiB over any stage, many cases", "[any_over_any][long]") {
    over_all<sw::smmu::stage2<granule::k4, iova, ipa>>(200'000, 1200);
}

TEST_CASE("SMMUv3 stage 2 of 16 KiB over any stage", "[any_over_any]") {
    over_all<sw::smmu::stage2<granule::k16, iova, ipa>>(4'000, 210);
}
TEST_CASE("SMMUv3 stage 2 of 16 KiB over any stage, many cases", "[any_over_any][long]") {
    over_all<sw::smmu::stage2<granule::k16, iova, ipa>>(200'000, 1210);
}

TEST_CASE("SMMUv3 stage 2 of 64 KiB over any stage", "[any_over_any]") {
    over_all<sw::smmu::stage2<granule::k64, iova, ipa>>(4'000, 220);
}
TEST_CASE("SMMUv3 stage 2 of 64 KiB over any stage, many cases", "[any_over_any][long]") {
    over_all<sw::smmu::stage2<granule::k64, iova, ipa>>(200'000, 1220);
}
