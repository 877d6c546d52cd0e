// Two stages over each other the wrong way round: the outer one must lead to what the inner one translates.
// expect-gcc: class template argument deduction failed
// expect-clang: constraints not satisfied for class template .nested|no viable constructor or deduction guide
#include <stagewalk/memory/flat.hpp>
#include <stagewalk/translate/nested.hpp>
#include <stagewalk/vtd/second_stage.hpp>

namespace sw = stagewalk;

bool both(sw::vtd::second_stage<sw::iova, sw::ipa> const& s1, sw::vtd::second_stage<sw::ipa, sw::pa> const& s2,
          sw::flat<sw::pa>& host) {
#ifdef STAGEWALK_EXPECT_OK
    sw::nested both{s1, s2, host};
    return static_cast<bool>(both.translate(sw::iova{0x1000}, sw::read));
#else
    sw::nested both{s2, s1, host};
    return static_cast<bool>(both.translate(sw::ipa{0x1000}, sw::read));
#endif
}
