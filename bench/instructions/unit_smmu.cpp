/// \file
/// The code of a translating unit, all granules, both stages, and nothing else: `count_instructions` tells its size.
#include "../physical.hpp"

namespace bench {

/// Translates in memory whose bounds are checked.
[[gnu::noinline]] outcome<translation<pa>, fault<smmu::event>> translated(smmu::iommu<flat<pa>> const& unit,
                                                                          smmu::request const& r) {
    return unit.translate(r);
}

} // namespace bench
