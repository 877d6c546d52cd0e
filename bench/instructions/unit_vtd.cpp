/// \file
/// The code of a translating unit, both modes, and nothing else: `count_instructions` tells its size.
#include "../physical.hpp"

namespace bench {

/// Translates in memory whose bounds are checked.
[[gnu::noinline]] outcome<translation<pa>, fault<vtd::reason>> translated(vtd::iommu<flat<pa>> const& unit,
                                                                          vtd::request const& r) {
    return unit.translate(r);
}

} // namespace bench
