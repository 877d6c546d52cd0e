// A field does not cross a 64-bit word: it could not be read at once.
// expect: a field lies within one 64-bit word
#include <stagewalk/core/field.hpp>

namespace sw = stagewalk;

#ifdef STAGEWALK_EXPECT_OK
using own_field = sw::field<"A", 67, 64>;
#else
using own_field = sw::field<"A", 64, 63>;
#endif

auto mask() { return own_field::mask; }
