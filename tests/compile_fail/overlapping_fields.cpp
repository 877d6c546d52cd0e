// Two fields of one entry must not share a bit.
// expect: two fields of the entry overlap
#include <stagewalk/core/field.hpp>

namespace sw = stagewalk;

#ifdef STAGEWALK_EXPECT_OK
struct own_entry : sw::entry<128, sw::field<"A", 70, 64>, sw::field<"B", 75, 71>, sw::field<"C", 6, 0>> {
#else
struct own_entry : sw::entry<128, sw::field<"A", 70, 64>, sw::field<"B", 75, 70>, sw::field<"C", 6, 0>> {
#endif
    using entry::entry;
};

auto a_of(own_entry const& e) { return e.get<"A">(); }
