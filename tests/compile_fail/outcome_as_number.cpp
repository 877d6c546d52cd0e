// Whether there is a value is a question of its own: an outcome does not decay into a number.
// expect: cannot convert|no viable conversion
#include <cstdint>
#include <stagewalk/core/outcome.hpp>

namespace sw = stagewalk;

bool ask(sw::outcome<std::uint64_t, int> const& o) {
#ifdef STAGEWALK_EXPECT_OK
    bool const there = static_cast<bool>(o);
#else
    bool const there = o;
#endif
    return there;
}
