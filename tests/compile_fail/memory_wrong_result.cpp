// A memory must be able to fail: a bare word is no outcome.
// expect: no matching function for call to .walk
// note: can_load
#include <cstdint>
#include <stagewalk/vtd/second_stage.hpp>
#include <stagewalk/walk/walk.hpp>

namespace sw = stagewalk;

struct own_memory {
#ifdef STAGEWALK_EXPECT_OK
    using address = sw::pa;
    using error = sw::memory_error;
    sw::outcome<std::uint64_t, error> load(address) noexcept { return word; }
#else
    using address = sw::pa;
    using error = sw::memory_error;
    std::uint64_t load(address) noexcept { return word; }
#endif
    std::uint64_t word{};
};

bool ask(sw::vtd::second_stage<sw::ipa, sw::pa> const& s, own_memory& m) {
    return static_cast<bool>(walk(s, m, sw::ipa{0x1000}, sw::read));
}
