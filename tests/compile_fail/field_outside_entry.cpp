// A field does not lie outside its entry.
// expect: a field lies outside the entry
#include <stagewalk/core/field.hpp>

namespace sw = stagewalk;

#ifdef STAGEWALK_EXPECT_OK
using own_entry = sw::entry<128, sw::field<"A", 127>>;
#else
using own_entry = sw::entry<64, sw::field<"A", 127>>;
#endif

auto words() { return own_entry{}.word[0]; }
