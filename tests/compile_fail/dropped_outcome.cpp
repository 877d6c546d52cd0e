// A fault that nobody looks at is a mistake.
// flags: -Werror
// expect: ignoring return(ed)? value
#include <stagewalk/memory/flat.hpp>
#include <stagewalk/vtd/second_stage.hpp>
#include <stagewalk/walk/walk.hpp>

namespace sw = stagewalk;

void ask(sw::vtd::second_stage<sw::ipa, sw::pa> const& s, sw::flat<sw::pa>& m) {
#ifdef STAGEWALK_EXPECT_OK
    (void)walk(s, m, sw::ipa{0x1000}, sw::read);
#else
    walk(s, m, sw::ipa{0x1000}, sw::read);
#endif
}
