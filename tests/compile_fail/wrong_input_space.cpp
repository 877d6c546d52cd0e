// A walk is asked with an address of the stage's input space.
// expect: no matching function for call to .walk
// note: no known conversion
#include <stagewalk/memory/flat.hpp>
#include <stagewalk/vtd/second_stage.hpp>
#include <stagewalk/walk/walk.hpp>

namespace sw = stagewalk;

bool ask(sw::vtd::second_stage<sw::iova, sw::ipa> const& s, sw::flat<sw::ipa>& guest) {
#ifdef STAGEWALK_EXPECT_OK
    return static_cast<bool>(walk(s, guest, sw::iova{0x1000}, sw::read));
#else
    return static_cast<bool>(walk(s, guest, sw::ipa{0x1000}, sw::read));
#endif
}
