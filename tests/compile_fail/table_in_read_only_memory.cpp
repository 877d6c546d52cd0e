// Tables are not built in memory that cannot be written.
// expect-gcc: class template argument deduction failed|constraint failure|constraints not satisfied
// expect-clang: constraints not satisfied for class template .table|no viable constructor or deduction guide
// note-gcc: table_memory
// note-clang: constraints not satisfied for class template
#include <cstdint>
#include <stagewalk/build/table.hpp>
#include <stagewalk/memory/windowed.hpp>
#include <stagewalk/vtd/second_stage.hpp>

namespace sw = stagewalk;

#ifdef STAGEWALK_EXPECT_OK
using word = std::uint64_t;
#else
using word = std::uint64_t const;
#endif

struct finder {
    word* page;
    word* operator()(sw::pa) const noexcept { return page; }
};

bool build(sw::vtd::second_stage<sw::ipa, sw::pa> const& s, sw::windowed<sw::pa, finder>& m, sw::bump_allocator<sw::pa>& pool) {
    sw::table t{s, m, pool};
    return static_cast<bool>(t.map(sw::range{sw::ipa{0}, 4096}, sw::pa{0}, sw::read));
}
