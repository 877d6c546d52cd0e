// A guest's stage 1 over the host's stage 2, both in flat host memory.
// machines: host clang aarch64 clang-aarch64-none riscv64 s390x
#include <stagewalk/memory/flat.hpp>
#include <stagewalk/memory/recording.hpp>
#include <stagewalk/translate/nested.hpp>
#include <stagewalk/vtd/second_stage.hpp>

#include <cstdint>

namespace sw = stagewalk;

using first = sw::vtd::second_stage<sw::iova, sw::ipa>;
using second = sw::vtd::second_stage<sw::ipa, sw::pa>;

bool translate(first const& s1, second const& s2, void* ram, std::uint64_t bytes, std::uint64_t in, std::uint64_t& out) {
    sw::flat host{ram, bytes, sw::pa{0}};
    sw::nested both{s1, s2, host};
    auto const found = both.translate(sw::iova{in}, sw::read_write);
    out = found ? found->output.value : found.error().outer.intermediate;
    return static_cast<bool>(found);
}

std::uint64_t loads_of(first const& s1, second const& s2, sw::flat<sw::pa> host, std::uint64_t in) {
    sw::recording<sw::flat<sw::pa>> watched{host};
    sw::nested both{s1, s2, watched};
    (void)both.translate(sw::iova{in}, sw::read);
    return watched.loads();
}

// A guest's table updated through stage 2.
bool mark(second const& s2, sw::flat<sw::pa> host, std::uint64_t at, std::uint64_t from, std::uint64_t to) {
    sw::translated guest{sw::single{s2, host}, host};
    auto const done = guest.compare_exchange(sw::ipa{at}, from, to);
    return done && *done;
}
