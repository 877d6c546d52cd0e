// A number does not become an address by itself.
// expect: could not convert|no viable conversion
#include <cstdint>
#include <stagewalk/core/address.hpp>

namespace sw = stagewalk;

sw::iova input([[maybe_unused]] std::uint64_t number) {
#ifdef STAGEWALK_EXPECT_OK
    return sw::iova{number};
#else
    return number;
#endif
}
