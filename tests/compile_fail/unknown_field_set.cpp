// A misspelt field name is an error for the encoder, too.
// expect: the structure has no field of that name
#include <stagewalk/vtd/context_table.hpp>

namespace sw = stagewalk;

void forbid(sw::vtd::context_entry& e) {
#ifdef STAGEWALK_EXPECT_OK
    e.set<"P">(0);
#else
    e.set<"PRESENT">(0);
#endif
}
