/// \file
/// The code of a translating unit, host and guest tables, and nothing else: `count_instructions` tells its size.
#include "../physical.hpp"

namespace bench {

/// Translates in memory whose bounds are checked.
[[gnu::noinline]] outcome<translation<pa>, fault<amdvi::event>> translated(amdvi::iommu<flat<pa>> const& unit,
                                                                           amdvi::request const& r) {
    return unit.translate(r);
}

} // namespace bench
