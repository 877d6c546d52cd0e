// Three stages, as a guest of a guest has them: a device's address, the inner guest's, the outer guest's, the host's.
#include "catch.hpp"
#include "host_memory.hpp"

#include <stagewalk/amdvi/host_table.hpp>
#include <stagewalk/build/allocator.hpp>
#include <stagewalk/build/table.hpp>
#include <stagewalk/memory/array.hpp>
#include <stagewalk/memory/recording.hpp>
#include <stagewalk/smmu/stage1.hpp>
#include <stagewalk/smmu/stage2.hpp>
#include <stagewalk/translate/nested.hpp>
#include <stagewalk/vtd/first_stage.hpp>
#include <stagewalk/vtd/second_stage.hpp>
#include <stagewalk/walk/trusted.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

namespace stagewalk::test {
namespace {

// What the outer guest takes for physical.
struct outer_ipa_space {};
using outer_ipa = address<outer_ipa_space>;

constexpr vtd::capabilities caps{std::uint64_t{3} << 34 | 0x2f0406, 0};

template <class I, class O>
using second_stage = vtd::second_stage<I, O, vtd::table_mode::scalable>;

// The walks of this file all go through one kind of memory: each other one would compile all three stages once more.
using counted = recording<flat<pa>, 1>;

// The host has 1 MiB. Its upper half is the outer guest's, and the upper half of that the inner guest's. Each keeps its tables in
// the lower half of what it has, and maps the upper half page by page, turned round: neighbours are no neighbours below.
struct guest_of_guest {
    static constexpr std::uint64_t all = 0x10'0000;
    static constexpr iova in{0x7654'3000};
    static constexpr std::uint64_t page = 0x2'5000; // of the inner guest

    std::vector<table_word> words = std::vector<table_word>(all / 8);
    flat<pa> host{words.data(), all, pa{0x4000'0000}};
    counted seen{host};
    vtd::first_stage<iova, ipa> s1{caps, 4, ipa{0}};
    second_stage<ipa, outer_ipa> s2{caps, 4, outer_ipa{0}};
    second_stage<outer_ipa, pa> s3{caps, 4, pa{0x4000'0000}};
    bump_allocator<pa> host_pool{range<pa>{pa{0x4000'1000}, 0x7'f000}};
    bump_allocator<outer_ipa> outer_pool{range<outer_ipa>{outer_ipa{0x1000}, 0x3'f000}};
    bump_allocator<ipa> inner_pool{range<ipa>{ipa{0x1000}, 0x1'f000}};

    // \param hole a page of the outer guest, and \param inner_hole one of the inner guest, that are granted less.
    explicit guest_of_guest(outer_ipa hole = outer_ipa{~std::uint64_t{0}}, access less = none,
                            ipa inner_hole = ipa{~std::uint64_t{0}}, vtd::second_stage_options const& o = {})
        : s2{caps, 4, outer_ipa{0}, o}, s3{caps, 4, pa{0x4000'0000}, o} {
        for (std::uint64_t at = 0; at < all / 2; at += 0x1000) {
            access const granted = outer_ipa{at} == hole ? less : read_write;
            if (granted != none)
                REQUIRE(table{s3, host, host_pool}.map({outer_ipa{at}, 0x1000}, pa{host_at(outer_ipa{at})}, granted));
        }
        // What the guests write is written through what is below, as a processor would: whole, before a device looks.
        std::vector<table_word> outer(all / 2 / 8);
        flat<outer_ipa> outer_memory{outer.data(), all / 2, outer_ipa{0}};
        for (std::uint64_t at = 0; at < all / 4; at += 0x1000) {
            access const granted = ipa{at} == inner_hole ? less : read_write;
            if (granted != none)
                REQUIRE(table{s2, outer_memory, outer_pool}.map({ipa{at}, 0x1000}, outer_ipa{outer_at(ipa{at})}, granted));
        }
        std::vector<table_word> inner(all / 4 / 8);
        flat<ipa> inner_memory{inner.data(), all / 4, ipa{0}};
        REQUIRE(table{s1, inner_memory, inner_pool}.map({in, 0x1000}, ipa{page}, read_write));
        for (std::size_t i = 0; i < inner.size(); ++i)
            outer[static_cast<std::size_t>(outer_at(ipa{i * 8}) / 8)] |= inner[i];
        for (std::size_t i = 0; i < outer.size(); ++i)
            word(outer_ipa{i * 8}) |= outer[i];
    }
    static constexpr std::uint64_t outer_at(ipa a) { return 0x7'f000 - (a.value & ~std::uint64_t{0xfff}) + (a.value & 0xfff); }
    static constexpr std::uint64_t host_at(outer_ipa a) {
        return 0x400f'f000 - (a.value & ~std::uint64_t{0xfff}) + (a.value & 0xfff);
    }
    table_word& word(std::uint64_t at) { return words[static_cast<std::size_t>(at - 0x4000'0000) / 8]; }
    // The word of a guest, where it is in the host.
    table_word& word(outer_ipa a) { return word(host_at(a)); }
    table_word& word(ipa a) { return word(outer_ipa{outer_at(a)}); }

    auto translate(access a, iova at = in) { return nested{s1, nested{s2, s3, seen}, seen}.translate(at, a); }
};

// The entries of the inner guest, from the top. A map writes the lowest of its tables first; the root was there.
constexpr ipa entry_of(unsigned i) {
    std::uint64_t const index[]{0, 1, 0x1b2, 0x143};
    return ipa{(i == 0 ? 0 : 4 - i) * 0x1000 + index[i] * 8};
}

using three = decltype(nested{
    std::declval<vtd::first_stage<iova, ipa>>(),
    nested{std::declval<second_stage<ipa, outer_ipa>>(), std::declval<second_stage<outer_ipa, pa>>(), std::declval<flat<pa>&>()},
    std::declval<flat<pa>&>()});
static_assert(translator<three> && std::same_as<three::input, iova> && std::same_as<three::output, pa>);
static_assert(std::same_as<three::fault_type, nested_fault<vtd::reason, nested_fault<vtd::reason, fault<vtd::reason>>>>);

} // namespace

TEST_CASE("three stages: an address goes through all of them, in 124 loads") {
    guest_of_guest g;
    for (unsigned i = 0; i < 4; ++i)
        g.word(entry_of(i)) |= 0x20; // nothing to mark
    auto const t = g.translate(read, iova{g.in.value + 0xabc});
    REQUIRE(t);
    CHECK(t->output.value == g.host_at(outer_ipa{g.outer_at(ipa{g.page})}) + 0xabc);
    CHECK(t->lg2_size == 12);
    CHECK(t->effective.rights() == read_write);
    CHECK(t->by == passage::walked);
    // Two stages translate in 4 * (4 + 1) + 4 = 24 loads, three in 4 * (24 + 1) + 24.
    CHECK(g.seen.loads() == 124);
}

TEST_CASE("three stages: a walk in memory that is translated twice, a host that is trusted") {
    guest_of_guest g;
    nested const guest{g.s2, trusted{g.s3}, g.seen};
    translated inner{guest, g.seen};
    auto const t = walk(g.s1, inner, g.in, read);
    REQUIRE(t);
    CHECK(t->output == ipa{g.page});
    auto const end = guest.translate(t->output, read);
    auto const whole = g.translate(read);
    REQUIRE(end);
    REQUIRE(whole);
    CHECK(whole->output == end->output);
}

TEST_CASE("three stages: the smallest page of all wins, and rights are what all grant") {
    std::uint64_t const leaves[3][3]{{12, 21, 30}, {21, 30, 12}, {30, 12, 21}};
    for (auto const& lg2 : leaves) {
        std::vector<table_word> words(0x8000);
        flat<pa> host{words.data(), 0x4'0000, pa{0}};
        // The tables of all three at their own places, which the host maps with 1 GiB, and the pages far away.
        bump_allocator<pa> p3{range<pa>{pa{0x1000}, 0xf000}};
        bump_allocator<outer_ipa> p2{range<outer_ipa>{outer_ipa{0x1'1000}, 0xf000}};
        bump_allocator<ipa> p1{range<ipa>{ipa{0x2'1000}, 0xf000}};
        vtd::capabilities const large{std::uint64_t{1} << 56 | std::uint64_t{3} << 34 | 0x2f0406, 0};
        vtd::first_stage<iova, ipa> const s1{large, 4, ipa{0x2'0000}};
        second_stage<ipa, outer_ipa> const s2{large, 4, outer_ipa{0x1'0000}};
        second_stage<outer_ipa, pa> const s3{large, 4, pa{0}};
        flat<outer_ipa> outer{words.data(), 0x4'0000, outer_ipa{0}};
        flat<ipa> inner{words.data(), 0x4'0000, ipa{0}};
        table t3{s3, host, p3};
        table t2{s2, outer, p2};
        table t1{s1, inner, p1};
        REQUIRE(t3.map({outer_ipa{0}, 1_GiB}, pa{0}, read_write));
        REQUIRE(t2.map({ipa{0}, 1_GiB}, outer_ipa{0}, read_write));
        auto const size = [](std::uint64_t n) { return std::uint64_t{1} << n; };
        REQUIRE(t1.map({iova{1_GiB}, size(lg2[0])}, ipa{2_GiB}, read_write));
        REQUIRE(t2.map({ipa{2_GiB}, size(lg2[1])}, outer_ipa{3_GiB}, lg2[1] == 30 ? read : read_write));
        REQUIRE(t3.map({outer_ipa{3_GiB}, size(lg2[2])}, pa{5_GiB}, read_write));
        counted seen{host};
        auto const t = nested{s1, nested{s2, s3, seen}, seen}.translate(iova{1_GiB + 0x123}, read);
        REQUIRE(t);
        CHECK(t->output == pa{5_GiB + 0x123});
        CHECK(t->lg2_size == 12);
        CHECK(t->effective.rights() == (lg2[1] == 30 ? read : read_write));
    }
}

TEST_CASE("three stages: each says where it stood when one of them refused") {
    std::uint64_t const page_there = guest_of_guest::outer_at(ipa{guest_of_guest::page});
    SECTION("the inner guest's own") {
        guest_of_guest g;
        auto const t = g.translate(read, iova{g.in.value + 0x1000});
        REQUIRE(!t);
        CHECK(t.error().by == nested_by::outer);
        CHECK(t.error().outer.code == vtd::reason::first_stage_not_present);
        CHECK(t.error().inner == decltype(t.error().inner){});
    }
    SECTION("the outer guest does not map the page") {
        guest_of_guest g{outer_ipa{~std::uint64_t{0}}, none, ipa{guest_of_guest::page}};
        auto const t = g.translate(read);
        REQUIRE(!t);
        auto const& f = t.error();
        CHECK(f.by == nested_by::output);
        CHECK(f.outer.intermediate == g.page);
        CHECK(f.inner.by == nested_by::outer);
        CHECK(f.inner.outer.code == vtd::reason::second_stage_not_present);
        CHECK(f.inner.outer.input == g.page);
    }
    SECTION("the host does not map the page") {
        guest_of_guest g{outer_ipa{page_there}};
        auto const t = g.translate(read);
        REQUIRE(!t);
        auto const& f = t.error();
        CHECK(f.by == nested_by::output);
        CHECK(f.outer.intermediate == g.page);
        CHECK(f.inner.by == nested_by::output);
        CHECK(f.inner.outer.intermediate == page_there);
        CHECK(f.inner.inner.code == vtd::reason::second_stage_not_present);
        CHECK(f.inner.inner.input == page_there);
    }
    SECTION("the host does not map the inner guest's leaf table") {
        guest_of_guest g{outer_ipa{guest_of_guest::outer_at(ipa{0x1000})}};
        auto const t = g.translate(read);
        REQUIRE(!t);
        auto const& f = t.error();
        CHECK(f.by == nested_by::table);
        CHECK(f.outer.code == vtd::reason::first_stage_unreadable);
        CHECK(f.outer.level == 0);
        CHECK(f.outer.descriptor == entry_of(3).value);
        CHECK(f.inner.by == nested_by::output);
        CHECK(f.inner.outer.intermediate == g.outer_at(entry_of(3)));
        CHECK(f.inner.inner.code == vtd::reason::second_stage_not_present);
    }
    SECTION("the host does not map the outer guest's root table") {
        guest_of_guest g{outer_ipa{0}};
        auto const t = g.translate(read);
        REQUIRE(!t);
        auto const& f = t.error();
        CHECK(f.by == nested_by::table);
        CHECK(f.outer.code == vtd::reason::first_stage_root_unreadable);
        CHECK(f.outer.intermediate == 0);
        CHECK(f.inner.by == nested_by::table);
        CHECK(f.inner.outer.code == vtd::reason::second_stage_root_unreadable);
        CHECK(f.inner.outer.level == 3);
        CHECK(f.inner.inner.code == vtd::reason::second_stage_not_present);
        CHECK(f.inner.inner.input == 0);
    }
    SECTION("the host grants no writing of the page") {
        guest_of_guest g{outer_ipa{page_there}, read};
        CHECK(g.translate(read));
        auto const t = g.translate(write);
        REQUIRE(!t);
        CHECK(t.error().by == nested_by::output);
        CHECK(t.error().inner.by == nested_by::output);
        CHECK(t.error().inner.inner.code == vtd::reason::scalable_write_denied);
    }
    SECTION("the host lets the inner guest's leaf table be read, but not marked") {
        guest_of_guest g{outer_ipa{guest_of_guest::outer_at(ipa{0x1000})}, read};
        std::uint64_t const before = g.word(entry_of(3));
        auto const t = g.translate(read);
        REQUIRE(!t);
        auto const& f = t.error();
        CHECK(f.by == nested_by::update);
        CHECK(f.outer.code == vtd::reason::first_stage_update_failed);
        CHECK(f.outer.intermediate == entry_of(3).value);
        CHECK(f.outer.entry == before);
        CHECK(f.inner.by == nested_by::output);
        CHECK(f.inner.inner.code == vtd::reason::scalable_write_denied);
        CHECK(g.word(entry_of(3)) == before);
    }
}

TEST_CASE("three stages: each marks the entries that it used") {
    vtd::second_stage_options marks;
    marks.accessed_dirty = true;
    guest_of_guest g{outer_ipa{~std::uint64_t{0}}, none, ipa{~std::uint64_t{0}}, marks};
    REQUIRE(g.translate(write));
    for (unsigned i = 0; i < 4; ++i) {
        CHECK((g.word(entry_of(i)) & 0x60) == (i == 3 ? 0x60 : 0x20));
        // The pages that hold the tables, which were written, are dirty below: the outer guest's leaves are in its second page.
        CHECK((g.word(outer_ipa{0x1000 + (entry_of(i).value >> 12) * 8}) & 0x300) == 0x300);
    }
    std::uint64_t const page_leaf = 0x1000 + (g.page >> 12) * 8;
    CHECK((g.word(outer_ipa{page_leaf}) & 0x300) == 0x300);
    CHECK((g.word(outer_ipa{page_leaf + 8}) & 0x300) == 0); // its neighbour was not used
    // So are the host's. That of the outer guest's second page, which was written, is dirty.
    CHECK((g.word(0x4000'1000 + 8) & 0x300) == 0x300);
    CHECK((g.word(0x4000'1000 + (g.outer_at(ipa{g.page}) >> 12) * 8) & 0x300) == 0x300);
}

TEST_CASE("three stages of two architectures: the type says whose code is whose") {
    using s1 = smmu::stage1<smmu::granule::k4, iova, ipa>;
    using s2 = smmu::stage2<smmu::granule::k16, ipa, outer_ipa>;
    using s3 = amdvi::host_table<outer_ipa, pa>;
    std::vector<table_word> words(512);
    flat<pa> host{words.data(), 4096, pa{0}};
    counted seen{host};
    s1 const first{smmu::table_shape{0, 2, 39, 44}};
    s2 const second{smmu::table_shape{0, 1, 36, 44}};
    s3 const third{3, pa{0}};
    auto const t = nested{first, nested{second, third, seen}, seen}.translate(iova{0}, read);
    REQUIRE(!t);
    static_assert(std::same_as<std::remove_cvref_t<decltype(t.error())>,
                               nested_fault<smmu::event, nested_fault<smmu::event, fault<amdvi::event>>>>);
    CHECK(t.error().by == nested_by::table);
    CHECK(t.error().outer.code == smmu::event::f_walk_eabt);
    CHECK(t.error().inner.by == nested_by::table);
    CHECK(t.error().inner.outer.code == smmu::event::f_walk_eabt);
    CHECK(t.error().inner.inner.code == amdvi::event::io_page_fault);
}

namespace {

// Three stages in a constant expression, each with one table that maps its first GiB onto the next one's.
constexpr std::uint64_t at_compile_time() {
    array<pa, 3 * 3 * 512> memory{pa{0}};
    auto const put = [&](std::uint64_t at, std::uint64_t e) { return static_cast<bool>(memory.store(pa{at}, e)); };
    bool ok = put(0x0000, 0x1003) && put(0x1000, 0x83);                              // the host: 0 is 0
    ok = ok && put(0x2000, 0x3003) && put(0x3000, 0x83) && put(0x3008, 0x8000'0083); // the outer guest: 1 GiB is 2 GiB
    ok = ok && put(0x1000 + 2 * 8, 0xc000'0083);                                     // the host: 2 GiB is 3 GiB
    ok = ok && put(0x4000, 0x5007 | 0x20) && put(0x5000 + 8, 0x6007 | 0x20) &&
         put(0x6000, 0x4000'00a7); // the inner: 1 GiB is 1 GiB
    vtd::first_stage<iova, ipa> const s1{caps, 4, ipa{0x4000}};
    second_stage<ipa, outer_ipa> const s2{caps, 4, outer_ipa{0x2000}};
    second_stage<outer_ipa, pa> const s3{caps, 4, pa{0}};
    auto const t = nested{s1, nested{s2, s3, memory}, memory}.translate(iova{1_GiB + 0x12'3456}, read);
    return ok && t ? t->output.value : 0;
}
static_assert(at_compile_time() == 3_GiB + 0x12'3456);

} // namespace

} // namespace stagewalk::test
