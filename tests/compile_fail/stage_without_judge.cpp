// A stage has the law, not the fast lane alone.
// expect: no matching function for call to .walk
// note: judges_entries
#include <stagewalk/memory/flat.hpp>
#include <stagewalk/vtd/second_stage.hpp>
#include <stagewalk/walk/walk.hpp>

namespace sw = stagewalk;

using whole = sw::vtd::second_stage<sw::ipa, sw::pa>;

struct lacking : whole {
    using whole::whole;
#ifndef STAGEWALK_EXPECT_OK
    int judge{}; // hides the member
#endif
};

bool ask(lacking const& s, sw::flat<sw::pa>& m) { return static_cast<bool>(walk(s, m, sw::ipa{0x1000}, sw::read)); }
