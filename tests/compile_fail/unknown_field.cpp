// A misspelt field name is an error and not a zero.
// expect: the structure has no field of that name
#include <stagewalk/vtd/context_table.hpp>

namespace sw = stagewalk;

auto domain(sw::vtd::context_entry const& e) {
#ifdef STAGEWALK_EXPECT_OK
    return e.get<"DID">();
#else
    return e.get<"DOMAIN">();
#endif
}
