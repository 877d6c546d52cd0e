// Nor is there a distance between addresses of two spaces.
// expect: no match for .operator-|invalid operands to binary expression
#include <cstdint>
#include <stagewalk/core/address.hpp>

namespace sw = stagewalk;

std::uint64_t distance(sw::ipa from, [[maybe_unused]] sw::pa to) {
#ifdef STAGEWALK_EXPECT_OK
    return sw::ipa{0x2000} - from;
#else
    return to - from;
#endif
}
