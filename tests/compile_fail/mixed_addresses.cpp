// An IOVA is no intermediate address, even where the numbers are the same.
// expect: no match for .operator==|invalid operands to binary expression
#include <stagewalk/core/address.hpp>

namespace sw = stagewalk;

bool same(sw::iova in, [[maybe_unused]] sw::ipa out) {
#ifdef STAGEWALK_EXPECT_OK
    return in == sw::iova{0x1000};
#else
    return in == out;
#endif
}
