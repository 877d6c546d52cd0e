// A stage-1 table holds intermediate addresses: reading it from host memory without stage 2 between must not compile.
// expect: no matching function for call to .walk
// note: serves
// note: same_as|is_same_v
#include <stagewalk/memory/flat.hpp>
#include <stagewalk/vtd/second_stage.hpp>
#include <stagewalk/walk/walk.hpp>

namespace sw = stagewalk;

bool reads_guest_tables(sw::vtd::second_stage<sw::iova, sw::ipa> const& s, sw::flat<sw::ipa>& guest,
                        [[maybe_unused]] sw::flat<sw::pa>& host) {
#ifdef STAGEWALK_EXPECT_OK
    return static_cast<bool>(walk(s, guest, sw::iova{0x1000}, sw::read));
#else
    return static_cast<bool>(walk(s, host, sw::iova{0x1000}, sw::read));
#endif
}
