// Two stages of the plain rule, the outer one with bits to set: what a walk repeats, and what it says when the inner one refuses.
#include "scalable_unit.hpp"
#include "watched_memory.hpp"

#include <stagewalk/translate/nested.hpp>
#include <stagewalk/vtd/first_stage.hpp>
#include <stagewalk/vtd/second_stage.hpp>

#include <algorithm>
#include <cstdint>

namespace stagewalk::test {
namespace {

// The outer stage's tables at 2000h to 5000h; only its leaf lacks A. The inner stage maps the first gigabyte onto itself.
struct plainly_nested {
    static constexpr std::uint64_t leaf = 0x5008;
    static constexpr iova in{0x1234};

    scalable_unit unit{};
    watched_memory<pa> memory{};

    plainly_nested() {
        memory[0x1000] = 0x83;
        memory[0x2000] = 0x3027;
        memory[0x3000] = 0x4027;
        memory[0x4000] = 0x5027;
        memory[leaf] = 0x9007;
        memory.forget();
    }
    auto translate(access a) {
        vtd::first_stage<iova, ipa> const outer{unit.caps(), 4, ipa{0x2000}};
        vtd::second_stage<ipa, pa> const inner{unit.caps(), 3, pa{0x1000}};
        return nested{outer, inner, memory}.translate(in, a);
    }
    auto leaf_loads() const { return std::count(memory.trail.begin(), memory.trail.end(), leaf); }
};

} // namespace

TEST_CASE("two plain stages: a walk that nothing disturbs is made once") {
    plainly_nested n;
    auto const found = n.translate(write);
    REQUIRE(found);
    CHECK(found->output == pa{0x9234});
    CHECK(n.leaf_loads() == 1);
    CHECK(n.memory.attempts == 1);
    CHECK(n.memory[plainly_nested::leaf] == 0x9067);
}

TEST_CASE("two plain stages: a leaf that changes before its update is walked to again, as often as max_restarts says") {
    for (unsigned const changes : {1u, max_restarts, max_restarts + 1}) {
        plainly_nested n;
        unsigned left = changes;
        n.memory.meddle = [&](std::uint64_t at) {
            if (at == plainly_nested::leaf && left > 0) {
                --left;
                n.memory[at] ^= one_bit(58); // software's
            }
        };
        CAPTURE(changes);
        auto const found = n.translate(write);
        CHECK(left == 0);
        CHECK(n.memory.attempts == (changes > max_restarts ? changes : changes + 1));
        CHECK(static_cast<std::size_t>(n.leaf_loads()) == n.memory.attempts);
        CHECK(static_cast<bool>(found) == (changes <= max_restarts));
        if (found) continue;
        CHECK(found.error().by == nested_by::outer);
        CHECK(found.error().outer.code == reason::first_stage_update_failed);
        CHECK(found.error().outer.descriptor == plainly_nested::leaf);
    }
}

TEST_CASE("two plain stages: an output that the inner stage refuses is no entry's fault") {
    plainly_nested n;
    n.memory[plainly_nested::leaf] = 0x4000'0067;
    auto const found = n.translate(read);
    REQUIRE_FALSE(found);
    CHECK(found.error().by == nested_by::output);
    fault<reason> expected{};
    expected.stage = fault_stage::first;
    expected.at = fault_at::input;
    expected.input = 0x1234;
    expected.intermediate = 0x4000'0234;
    CHECK(found.error().outer == expected);
    CHECK(found.error().inner.code == reason::read_denied);
}

TEST_CASE("two plain stages: rights are what both grant, the format's own bits are the outer stage's") {
    plainly_nested n;
    n.memory[plainly_nested::leaf] = 0x906f;
    CHECK(n.translate(read)->effective == attributes::from_bits(0x0b)); // PWT
    n.memory[0x1000] = 0x81;
    CHECK(n.translate(read)->effective == attributes::from_bits(0x09));
}

} // namespace stagewalk::test
