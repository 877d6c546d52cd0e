// A plain number names no address space.
// expect: no matching function for call to .walk
// note: has_address_space
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
    using address = std::uint64_t;
    using error = sw::memory_error;
    sw::outcome<std::uint64_t, error> load(address) noexcept { return word; }
#endif
    std::uint64_t word{};
};

bool ask(sw::vtd::second_stage<sw::ipa, sw::pa> const& s, own_memory& m) {
    return static_cast<bool>(walk(s, m, sw::ipa{0x1000}, sw::read));
}
