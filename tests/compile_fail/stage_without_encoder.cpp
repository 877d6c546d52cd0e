// Tables are built of stages that can write their entries.
// expect-gcc: class template argument deduction failed|constraint failure|constraints not satisfied
// expect-clang: constraints not satisfied for class template .table|no viable constructor or deduction guide
// note-gcc: encodable
// note-clang: constraints not satisfied for class template
#include <stagewalk/build/table.hpp>
#include <stagewalk/memory/flat.hpp>
#include <stagewalk/vtd/second_stage.hpp>

namespace sw = stagewalk;

using whole = sw::vtd::second_stage<sw::ipa, sw::pa>;

struct lacking : whole {
    using whole::whole;
#ifndef STAGEWALK_EXPECT_OK
    int make_leaf{}; // hides the member
#endif
};

bool build(lacking const& s, sw::flat<sw::pa>& m, sw::bump_allocator<sw::pa>& pool) {
    sw::table t{s, m, pool};
    return static_cast<bool>(t.map(sw::range{sw::ipa{0}, 4096}, sw::pa{0}, sw::read));
}
