// A mapping that failed unnoticed is a mistake, too.
// flags: -Werror
// expect: ignoring return(ed)? value
#include <stagewalk/build/table.hpp>
#include <stagewalk/memory/flat.hpp>
#include <stagewalk/vtd/second_stage.hpp>

namespace sw = stagewalk;

void build(sw::vtd::second_stage<sw::ipa, sw::pa> const& s, sw::flat<sw::pa>& m, sw::bump_allocator<sw::pa>& pool) {
    sw::table t{s, m, pool};
#ifdef STAGEWALK_EXPECT_OK
    (void)t.map(sw::range{sw::ipa{0}, 4096}, sw::pa{0}, sw::read);
#else
    t.map(sw::range{sw::ipa{0}, 4096}, sw::pa{0}, sw::read);
#endif
}
