// Listing a guest's table out of host memory is the same mistake.
// expect: no matching function for call to .for_each_leaf
// note: serves
#include <stagewalk/memory/flat.hpp>
#include <stagewalk/vtd/second_stage.hpp>
#include <stagewalk/walk/leaves.hpp>

namespace sw = stagewalk;

void lists_guest_tables(sw::vtd::second_stage<sw::iova, sw::ipa> const& s, sw::flat<sw::ipa>& guest,
                        [[maybe_unused]] sw::flat<sw::pa>& host) {
#ifdef STAGEWALK_EXPECT_OK
    for_each_leaf(s, guest, sw::range<sw::iova>::all(), [](auto const&) {});
#else
    for_each_leaf(s, host, sw::range<sw::iova>::all(), [](auto const&) {});
#endif
}
