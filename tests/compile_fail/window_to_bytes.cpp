// A window finds 64-bit words: a pointer to bytes would lose their alignment.
// expect: the window callable returns a pointer to 64-bit words
#include <cstdint>
#include <stagewalk/memory/windowed.hpp>

namespace sw = stagewalk;

#ifdef STAGEWALK_EXPECT_OK
using word = std::uint64_t;
#else
using word = unsigned char;
#endif

struct finder {
    word* operator()(sw::pa) const noexcept { return nullptr; }
};

bool ask(sw::windowed<sw::pa, finder> const& m) { return static_cast<bool>(m.load(sw::pa{0})); }
