// Tables that exist before the program does: built, walked and listed in constant expressions.
#include "catch.hpp"

#include <stagewalk/build/allocator.hpp>
#include <stagewalk/build/table.hpp>
#include <stagewalk/memory/array.hpp>
#include <stagewalk/memory/recording.hpp>
#include <stagewalk/translate/nested.hpp>
#include <stagewalk/vtd/second_stage.hpp>
#include <stagewalk/walk/leaves.hpp>
#include <stagewalk/walk/trusted.hpp>

#include <cstddef>
#include <cstdint>

// Inside, so that read, write and access are ours and not <unistd.h>'s.
namespace stagewalk::test {
namespace {

// MGAW 48, 3 to 5 levels, 2 MiB and 1 GiB pages, zero-length reads, snoop control; HAW 46.
constexpr vtd::capabilities caps{std::uint64_t{3} << 34 | 1u << 22 | 47u << 16 | 0xe00, 0x80, 46};
constexpr vtd::capabilities only_2m{std::uint64_t{1} << 34 | 47u << 16 | 0xe00, 0x80, 46};

using host_stage = vtd::second_stage<ipa, pa>;
using device_stage = vtd::second_stage<iova, ipa>;

template <std::size_t Tables>
using block = array<pa, 512 * Tables>;

// Builds with the root in the block's first page and further tables behind it.
template <class Memory, class Fill>
constexpr Memory built(pa origin, host_stage const& s, Fill fill) {
    Memory m{origin};
    bump_allocator<pa> pool{range<pa>{origin + 4096, Memory::bytes - 4096}};
    table t{s, m, pool};
    if (!fill(t, pool)) return Memory{pa{0}};
    return m;
}

// 4 GiB of identity in pages of 2 MiB: within the default limits of both compilers, or this file does not compile.
constexpr host_stage boot_stage{only_2m, 4, pa{0x10'0000}};
constexpr auto boot = built<block<6>>(pa{0x10'0000}, boot_stage, [](auto& t, auto& pool) {
    return t.map(range{ipa{0}, 4_GiB}, pa{0}, read_write) && pool.taken() == 5;
});

// All three sizes with an end in the middle of each: 4 KiB, 2 MiB, 1 GiB, 2 MiB, 4 KiB.
constexpr host_stage mixed_stage{caps, 4, pa{0x10'0000}};
constexpr ipa mixed_first{0x3fdf'f000};
constexpr std::uint64_t mixed_bytes = 4_KiB + 2_MiB + 1_GiB + 2_MiB + 4_KiB;
constexpr pa mixed_output{0x1'3fdf'f000};
constexpr auto mixed = built<block<6>>(pa{0x10'0000}, mixed_stage, [](auto& t, auto&) {
    return static_cast<bool>(t.map(range{mixed_first, mixed_bytes}, mixed_output, attributes::from_bits(0x803)));
});

constexpr auto look(auto const& image, host_stage const& s, ipa in, access a) { return walk(s, image, in, a); }

} // namespace

TEST_CASE("4 GiB in 2 MiB pages are built within the default constexpr limits") {
    STATIC_REQUIRE(boot.origin() == pa{0x10'0000});
    STATIC_REQUIRE(look(boot, boot_stage, ipa{0xffff'fff8}, write)->output == pa{0xffff'fff8});
    STATIC_REQUIRE(look(boot, boot_stage, ipa{0x1234'5678}, read)->lg2_size == 21);
    STATIC_REQUIRE(look(boot, boot_stage, ipa{0}, read_write)->effective == attributes{read_write});
    STATIC_REQUIRE_FALSE(look(boot, boot_stage, ipa{0x1'0000'0000}, read));
    STATIC_REQUIRE(look(boot, boot_stage, ipa{0x1'0000'0000}, read).error().code == vtd::reason::read_denied);
}

TEST_CASE("a constant image has the bytes that hardware reads") {
    // Root, page directory pointers, and the first and the last large page, little-endian whatever the host.
    STATIC_REQUIRE(little_endian(boot.words()[0]) == *boot.load(pa{0x10'0000}));
    STATIC_REQUIRE((*boot.load(pa{0x10'0000}) & 3) == 3);
    STATIC_REQUIRE(*boot.load(host_stage::target(*boot.load(pa{0x10'0000})) + 32) == 0);
    constexpr pa pdpt = host_stage::target(*boot.load(pa{0x10'0000}));
    constexpr pa pd3 = host_stage::target(*boot.load(pdpt + 24));
    STATIC_REQUIRE(*boot.load(pd3 + 511 * 8) == 0xffe0'0083);
    STATIC_REQUIRE(sizeof(boot) >= 6 * 4096);
    STATIC_REQUIRE(alignof(decltype(boot)) == 4096);
}

TEST_CASE("a constant image is the same at run time") {
    auto const found = walk(boot_stage, boot, ipa{0x7fff'f123}, write);
    REQUIRE(found);
    CHECK(found->output == pa{0x7fff'f123});
    unsigned char first[8];
    std::uint64_t const word = boot.words()[0];
    for (unsigned i = 0; i < 8; ++i)
        first[i] = reinterpret_cast<unsigned char const*>(&word)[i];
    CHECK((first[0] & 3) == 3); // the entry's lowest byte comes first
}

TEST_CASE("the largest page that fits is taken, and no larger one") {
    STATIC_REQUIRE(look(mixed, mixed_stage, ipa{0x3fdf'f000}, read)->lg2_size == 12);
    STATIC_REQUIRE(look(mixed, mixed_stage, ipa{0x3fe0'0000}, read)->lg2_size == 21);
    STATIC_REQUIRE(look(mixed, mixed_stage, ipa{0x4000'0000}, read)->lg2_size == 30);
    STATIC_REQUIRE(look(mixed, mixed_stage, ipa{0x7fff'ffff}, read)->lg2_size == 30);
    STATIC_REQUIRE(look(mixed, mixed_stage, ipa{0x8000'0000}, read)->lg2_size == 21);
    STATIC_REQUIRE(look(mixed, mixed_stage, ipa{0x8020'0fff}, read)->lg2_size == 12);
    STATIC_REQUIRE(look(mixed, mixed_stage, ipa{0x8020'0fff}, read)->output == pa{0x1'8020'0fff});
    STATIC_REQUIRE(look(mixed, mixed_stage, ipa{0x5678'9abc}, write)->output == pa{0x1'5678'9abc});
    STATIC_REQUIRE(look(mixed, mixed_stage, ipa{0x5678'9abc}, write)->effective == attributes::from_bits(0x803));
    STATIC_REQUIRE_FALSE(look(mixed, mixed_stage, ipa{0x3fdf'efff}, read));
    STATIC_REQUIRE_FALSE(look(mixed, mixed_stage, ipa{0x8020'1000}, read));
}

TEST_CASE("leaves of three sizes are one run in a constant expression") {
    struct tally {
        std::uint64_t runs{};
        std::uint64_t leaves{};
        run<host_stage> last{};
        bool complete{};
    };
    constexpr tally t = [] {
        tally all;
        auto const end = for_each_run(mixed_stage, mixed, range<ipa>::all(), [&](run<host_stage> const& r) {
            ++all.runs;
            all.last = r;
        });
        all.leaves = end.leaves;
        all.complete = end.complete;
        return all;
    }();
    STATIC_REQUIRE(t.runs == 1);
    STATIC_REQUIRE(t.leaves == 5);
    STATIC_REQUIRE(t.complete);
    STATIC_REQUIRE(t.last.part == range{mixed_first, mixed_bytes});
    STATIC_REQUIRE(t.last.output == mixed_output);
    STATIC_REQUIRE(t.last.leaves == 5);
    STATIC_REQUIRE(t.last.smallest == 12);
    STATIC_REQUIRE(t.last.largest == 30);
    STATIC_REQUIRE(t.last.effective == attributes::from_bits(0x803));
}

TEST_CASE("a trusting walk of a constant image finds the same") {
    constexpr trusted s{mixed_stage};
    STATIC_REQUIRE(walk(s, mixed, ipa{0x5678'9abc}, read) == look(mixed, mixed_stage, ipa{0x5678'9abc}, read));
    STATIC_REQUIRE(walk(s, mixed, ipa{0x3fdf'f008}, read) == look(mixed, mixed_stage, ipa{0x3fdf'f008}, read));
    STATIC_REQUIRE(walk(s, mixed, ipa{0}, read) == look(mixed, mixed_stage, ipa{0}, read));
}

namespace {

// Two stages in one block of host memory at 8 GiB. The guest believes that its tables lie at 0x1000 to 0x4fff and its
// buffer at 0x7000; stage 2 scatters all of these pages. A walk that translated only a table's base, or took one page
// for the next, would read elsewhere.
struct two_stages {
    block<24> host;
    device_stage first;
    host_stage second;
    bool made;
};

constexpr two_stages make_two_stages() {
    pa const origin{8_GiB};
    two_stages all{block<24>{origin}, device_stage{caps, 4, ipa{0x1000}}, host_stage{caps, 4, origin}, true};
    bump_allocator<pa> pool{range<pa>{origin + 0x1000, 0x7000}};
    table t{all.second, all.host, pool};
    // Guest page n lies in host page 20 - n.
    for (std::uint64_t page = 1; page <= 7; ++page)
        all.made = all.made && t.map(range{ipa{page << 12}, 4_KiB}, origin + ((20 - page) << 12), read_write);
    // The guest's own tables, written through stage 2 as the guest would.
    auto const put = [&](ipa at, std::uint64_t value) {
        auto const to = walk(all.second, all.host, at, write);
        all.made = all.made && to && all.host.store(to->output, value);
    };
    put(ipa{0x1000 + 0x24 * 8}, all.first.make_table(ipa{0x2000}, 3));
    put(ipa{0x2000 + 0xd1 * 8}, all.first.make_table(ipa{0x3000}, 2));
    put(ipa{0x3000 + 0xb3 * 8}, all.first.make_table(ipa{0x4000}, 1));
    put(ipa{0x4000 + 0x189 * 8}, all.first.make_leaf(ipa{0x7000}, 12, read));
    put(ipa{0x4000 + 0x18a * 8}, all.first.make_leaf(ipa{0x9000}, 12, read_write));
    return all;
}

constexpr two_stages two = make_two_stages();
constexpr iova two_in{0x1234'5678'9abc};

struct counted {
    bool ok;
    std::size_t loads;
    bool each_once;
};

constexpr counted count_two() {
    auto host = two.host;
    recording<block<24>, 64> watched{host};
    nested both{two.first, two.second, watched};
    bool const ok = static_cast<bool>(both.translate(two_in, read));
    return {ok, watched.loads(), watched.each_once()};
}

constexpr auto through_both(iova in, access a) {
    nested both{two.first, two.second, two.host};
    return both.translate(in, a);
}

} // namespace

TEST_CASE("a two-stage walk is a constant expression") {
    STATIC_REQUIRE(two.made);
    STATIC_REQUIRE(static_cast<bool>(through_both(two_in, read)));
    STATIC_REQUIRE(through_both(two_in, read)->output == pa{8_GiB + (13u << 12) + 0xabc});
    STATIC_REQUIRE(through_both(two_in, read)->lg2_size == 12);
    STATIC_REQUIRE(through_both(two_in, read)->effective.rights() == read);
}

TEST_CASE("a two-stage walk of four levels each costs 24 loads") {
    STATIC_REQUIRE(count_two().ok);
    STATIC_REQUIRE(count_two().loads == 24);
    STATIC_REQUIRE_FALSE(count_two().each_once); // stage 2's upper tables are met once for every descriptor
}

TEST_CASE("a two-stage fault says whose it is, in a constant expression") {
    // Stage 1 refuses the write.
    constexpr auto own = through_both(two_in, write);
    STATIC_REQUIRE_FALSE(own);
    STATIC_REQUIRE(own.error().by == nested_by::outer);
    STATIC_REQUIRE(own.error().outer.code == vtd::reason::write_denied);
    STATIC_REQUIRE(own.error().outer.descriptor == 0x4000 + 0x189 * 8);
    STATIC_REQUIRE(own.error().inner == fault<vtd::reason>{});
    // Stage 2 refuses stage 1's output.
    constexpr auto output = through_both(two_in + 0x1000, read);
    STATIC_REQUIRE_FALSE(output);
    STATIC_REQUIRE(output.error().by == nested_by::output);
    STATIC_REQUIRE(output.error().outer.code == vtd::reason::none);
    STATIC_REQUIRE(output.error().outer.intermediate == 0x9abc);
    STATIC_REQUIRE(output.error().inner.code == vtd::reason::read_denied);
    STATIC_REQUIRE(output.error().inner.input == 0x9abc);
    STATIC_REQUIRE(output.error().inner.level == 0);
}

namespace {

// The same request to a mapping that must not go through.
template <class Fill>
constexpr map_failure refused(Fill fill) {
    block<4> m{pa{0x10'0000}};
    bump_allocator<pa> pool{range<pa>{pa{0x10'1000}, 3 * 4096}};
    table t{host_stage{caps, 4, pa{0x10'0000}}, m, pool};
    auto const done = fill(t);
    if (done) return {map_error{99}, 0};
    // All or nothing: no table is lost.
    return pool.taken() == 0 ? done.error() : map_failure{map_error{98}, pool.taken()};
}

} // namespace

TEST_CASE("a mapping that cannot be made says why, in a constant expression") {
    STATIC_REQUIRE(refused([](auto& t) { return t.map(range<ipa>{}, pa{0}, read); }).why == map_error::bad_range);
    STATIC_REQUIRE(refused([](auto& t) { return t.map(range{ipa{0x800}, 4_KiB}, pa{0}, read); }).why == map_error::misaligned);
    STATIC_REQUIRE(refused([](auto& t) { return t.map(range{ipa{0}, 0x800}, pa{0}, read); }).why == map_error::misaligned);
    STATIC_REQUIRE(refused([](auto& t) { return t.map(range{ipa{0}, 4_KiB}, pa{0x800}, read); }).why == map_error::misaligned);
    STATIC_REQUIRE(refused([](auto& t) {
                       return t.map(range{ipa{256_TiB - 4_KiB}, 8_KiB}, pa{0}, read);
                   }).why == map_error::beyond_input);
    STATIC_REQUIRE(refused([](auto& t) {
                       return t.map(range{ipa{0}, 8_KiB}, pa{64_TiB - 4_KiB}, read);
                   }).why == map_error::cannot_encode);
    STATIC_REQUIRE(refused([](auto& t) { return t.map(range{ipa{0}, 4_KiB}, pa{0}, none); }).why == map_error::cannot_encode);
    STATIC_REQUIRE(refused([](auto& t) { return t.map(range{ipa{0}, 4_KiB}, pa{0}, execute); }).why == map_error::cannot_encode);
    STATIC_REQUIRE(refused([](auto& t) {
                       return t.map(range{ipa{2_MiB - 4_KiB}, 8_KiB}, pa{0}, read);
                   }).why == map_error::out_of_tables);
}

TEST_CASE("an allocator aligns, runs out and takes back its last table") {
    constexpr auto played = [] {
        bump_allocator<pa> a{range<pa>{pa{0x1800}, 0x2800}}; // 0x1800 to 0x3fff: two aligned pages
        auto const one = a.take(12);
        auto const two_ = a.take(12);
        auto const three = a.take(12);
        a.give(*two_, 12);
        auto const again = a.take(12);
        return one && *one == pa{0x2000} && two_ && *two_ == pa{0x3000} && !three && again && *again == pa{0x3000} &&
               a.taken() == 2;
    }();
    STATIC_REQUIRE(played);
    constexpr auto at_the_top = [] {
        bump_allocator<pa> a{range<pa>{pa{~std::uint64_t{0xfff}}, 0x1000}};
        auto const one = a.take(12);
        return one && *one == pa{~std::uint64_t{0xfff}} && !a.take(12);
    }();
    STATIC_REQUIRE(at_the_top);
}

} // namespace stagewalk::test
