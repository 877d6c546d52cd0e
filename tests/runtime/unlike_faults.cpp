// Stages of unlike architectures over each other: whose fault it is, with whose code, and where each of the two stood.
#include "catch.hpp"
#include "host_memory.hpp"

#include <stagewalk/amdvi/guest_table.hpp>
#include <stagewalk/amdvi/host_table.hpp>
#include <stagewalk/build/allocator.hpp>
#include <stagewalk/build/table.hpp>
#include <stagewalk/smmu/stage1.hpp>
#include <stagewalk/smmu/stage2.hpp>
#include <stagewalk/translate/nested.hpp>
#include <stagewalk/vtd/first_stage.hpp>
#include <stagewalk/vtd/second_stage.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace stagewalk::test {
namespace {

using smmu::granule;

// What a stage is made of here, and the codes that its manual has for what these tests do to it.
template <class S>
struct sample;

constexpr vtd::capabilities vtd_caps{0x2f0406, 0};

template <class I, class O>
struct sample<vtd::first_stage<I, O>> {
    static vtd::first_stage<I, O> at(O root) { return {vtd_caps, 4, root}; }
    static constexpr auto absent = vtd::reason::first_stage_not_present;
    static constexpr auto write_denied = vtd::reason::scalable_write_denied;
    static constexpr auto unreadable = vtd::reason::first_stage_unreadable;
    static constexpr auto update_failed = vtd::reason::first_stage_update_failed;
};
template <class I, class O>
struct sample<vtd::second_stage<I, O, vtd::table_mode::scalable>> {
    static vtd::second_stage<I, O, vtd::table_mode::scalable> at(O root) {
        vtd::second_stage_options o;
        o.accessed_dirty = std::same_as<I, iova>; // only over another stage: below one, reading must not write
        return {vtd_caps, 4, root, o};
    }
    static constexpr auto absent = vtd::reason::second_stage_not_present;
    static constexpr auto write_denied = vtd::reason::scalable_write_denied;
    static constexpr auto unreadable = vtd::reason::second_stage_unreadable;
    static constexpr auto update_failed = vtd::reason::second_stage_update_failed;
};
struct smmu_codes {
    static constexpr auto absent = smmu::event::f_translation;
    static constexpr auto write_denied = smmu::event::f_permission;
    static constexpr auto unreadable = smmu::event::f_walk_eabt;
    static constexpr auto update_failed = smmu::event::f_walk_eabt;
};
// Three levels of each granule, or two of 64 KiB.
template <granule G>
smmu::table_shape shape_at(std::uint64_t root) {
    return {root, G == granule::k64 ? 1u : 2u, G == granule::k4 ? 39u : G == granule::k16 ? 40u : 42u, 44, 4, false, false,
            false};
}
template <granule G, class I, class O>
struct sample<smmu::stage1<G, I, O>> : smmu_codes {
    static smmu::stage1<G, I, O> at(O root) {
        smmu::stage1_options o;
        o.updates_access = o.updates_dirty = o.updates_tables = true;
        return {shape_at<G>(root.value), o};
    }
};
template <granule G, class I, class O>
struct sample<smmu::stage2<G, I, O>> : smmu_codes {
    static smmu::stage2<G, I, O> at(O root) { return smmu::stage2<G, I, O>{shape_at<G>(root.value)}; }
};
struct amd_codes {
    static constexpr auto absent = amdvi::event::io_page_fault;
    static constexpr auto write_denied = amdvi::event::io_page_fault;
    static constexpr auto unreadable = amdvi::event::page_tab_hardware_error;
    static constexpr auto update_failed = amdvi::event::page_tab_hardware_error;
};
template <class I, class O>
struct sample<amdvi::host_table<I, O>> : amd_codes {
    static amdvi::host_table<I, O> at(O root) {
        amdvi::host_table_options o;
        o.keeps_accessed = o.keeps_dirty = std::same_as<I, iova>;
        return {4, root, o};
    }
};
template <class I, class O>
struct sample<amdvi::guest_table<I, O>> : amd_codes {
    static amdvi::guest_table<I, O> at(O root) { return {4, root}; }
};

// Each table of the guest is in 64 KiB of its own, so that the host can treat one apart.
struct spread_tables {
    using address = ipa;
    ipa next;

    outcome<ipa, out_of_tables> take(std::uint64_t) noexcept {
        ipa const table = next;
        next = next + 0x1'0000;
        return table;
    }
    void give(ipa, std::uint64_t) noexcept {}
};

// The guest has 512 KiB from IPA 20'0000h on, its tables in them, and one page of 64 KiB that a device may use. What of it the
// host maps, and where to, is each test's affair. Everything lies in the host's memory, from PA 4000'0000h on.
template <class First, class Second>
struct two {
    static constexpr std::uint64_t half = 0x8'0000;
    static constexpr ipa guest_base{0x20'0000};
    static constexpr pa host_base{0x4000'0000};
    static constexpr pa guest_in_host{0x4008'0000};
    static constexpr ipa page{0x27'0000};
    static constexpr iova in{0x1000'0000};

    std::vector<table_word> words = std::vector<table_word>(2 * half / 8);
    flat<pa> host{words.data(), 2 * half, host_base};
    flat<ipa> guest{words.data() + half / 8, half, guest_base};
    First first{sample<First>::at(guest_base)};
    Second second{sample<Second>::at(host_base)};
    spread_tables guest_pool{guest_base + 0x1'0000};
    bump_allocator<pa> host_pool{range<pa>{host_base + 0x1'0000, half - 0x1'0000}};
    step last{}; // the guest's leaf

    explicit two(access granted = read_write) {
        REQUIRE(table{first, guest, guest_pool}.map({in, 0x1'0000}, page, granted));
        // Only where it may lie is asked for: nothing is written by it.
        auto const t = walk(first, guest, in, none, [this](auto const& s) { last = s.at; });
        REQUIRE(t);
    }

    bool map(ipa from, std::uint64_t bytes, pa to, access granted = read_write) {
        return static_cast<bool>(table{second, host, host_pool}.map({from, bytes}, to, granted));
    }
    // All of the guest but the 64 KiB of \p hole.
    void map_all_but(ipa hole) {
        for (std::uint64_t at = 0; at < half; at += 0x1'0000)
            if (at != ((hole - guest_base) & ~std::uint64_t{0xffff})) REQUIRE(map(guest_base + at, 0x1'0000, guest_in_host + at));
    }
    pa in_host(ipa a) const { return guest_in_host + (a - guest_base); }
    ipa leaf() const { return ipa{last.address}; }
    table_word& word(pa a) { return words[static_cast<std::size_t>(a - host_base) / 8]; }
    auto translate(access a, iova at = in) { return nested{first, second, host}.translate(at, a); }
};

using vtd_over_smmu = two<vtd::first_stage<iova, ipa>, smmu::stage2<granule::k4, ipa, pa>>;
using smmu_over_vtd = two<smmu::stage1<granule::k16, iova, ipa>, vtd::second_stage<ipa, pa, vtd::table_mode::scalable>>;
using amd_over_smmu = two<amdvi::guest_table<iova, ipa>, smmu::stage2<granule::k64, ipa, pa>>;
using vtd_second_over_amd = two<vtd::second_stage<iova, ipa, vtd::table_mode::scalable>, amdvi::host_table<ipa, pa>>;

// The type says whose code is whose.
template <class Two, class Outer, class Inner>
constexpr bool has_codes =
    std::same_as<typename decltype(std::declval<Two&>().translate(read))::error_type, nested_fault<Outer, fault<Inner>>>;
static_assert(has_codes<vtd_over_smmu, vtd::reason, smmu::event>);
static_assert(has_codes<smmu_over_vtd, smmu::event, vtd::reason>);
static_assert(has_codes<amd_over_smmu, amdvi::event, smmu::event>);
static_assert(has_codes<vtd_second_over_amd, vtd::reason, amdvi::event>);

template <class First, class Second>
void all_kinds(two<First, Second>*) {
    using both = two<First, Second>;
    using outer = sample<First>;
    using inner = sample<Second>;
    ipa const nowhere{0xffff'0000'0000};

    SECTION("nothing is wrong") {
        both b;
        b.map_all_but(nowhere);
        auto const t = b.translate(write, iova{b.in.value + 0x1234});
        REQUIRE(t);
        CHECK(t->output == b.in_host(ipa{b.page.value + 0x1234}));
        CHECK(t->effective.rights().covers(read_write));
    }
    SECTION("the host maps nothing where a descriptor of the guest lies") {
        both b;
        b.map_all_but(b.leaf());
        auto const t = b.translate(read);
        REQUIRE(!t);
        auto const& f = t.error();
        CHECK(f.by == nested_by::table);
        CHECK(f.outer.code == outer::unreadable);
        CHECK(f.outer.stage == First::number);
        CHECK(f.outer.at == fault_at::table);
        CHECK(f.outer.input == b.in.value);
        CHECK(f.outer.intermediate == b.leaf().value);
        CHECK(f.outer.descriptor == b.leaf().value);
        CHECK(f.outer.entry == 0);
        CHECK(f.inner.code == inner::absent);
        CHECK(f.inner.stage == Second::number);
        CHECK(f.inner.input == b.leaf().value);
    }
    SECTION("a table of the host cannot be read") {
        both b;
        b.map_all_but(nowhere);
        // The first entry of the host's root leads out of its memory.
        std::uint64_t const index = b.second.index(b.second.top(), b.guest_base);
        pa const root_entry{b.host_base.value + index * 8};
        b.word(root_entry) = b.second.make_table(pa{0x7000'0000}, b.second.top());
        auto const t = b.translate(read);
        REQUIRE(!t);
        auto const& f = t.error();
        CHECK(f.by == nested_by::table);
        CHECK(f.outer.level == b.first.top());
        CHECK(f.outer.descriptor == b.guest_base.value + b.first.index(b.first.top(), b.in) * 8);
        CHECK(f.inner.code == inner::unreadable);
        CHECK(f.inner.at == fault_at::table);
        CHECK(f.inner.level == b.second.top() - 1);
        CHECK(f.inner.descriptor >= 0x7000'0000);
        CHECK(f.inner.entry == 0);
    }
    SECTION("the host maps a descriptor of the guest to where no memory is") {
        both b;
        b.map_all_but(b.leaf());
        REQUIRE(b.map(ipa{b.leaf().value & ~std::uint64_t{0xffff}}, 0x1'0000, pa{0x7000'0000}));
        auto const t = b.translate(read);
        REQUIRE(!t);
        // Nobody refused: it is the outer stage's own, and there is no inner one.
        CHECK(t.error().by == nested_by::outer);
        CHECK(t.error().outer.code == outer::unreadable);
        CHECK(t.error().outer.intermediate == 0);
        CHECK(t.error().outer.descriptor == b.leaf().value);
        CHECK(t.error().inner == decltype(t.error().inner){});
    }
    SECTION("the host maps nothing where the guest leads to") {
        both b;
        b.map_all_but(b.page);
        auto const t = b.translate(read, iova{b.in.value + 0x1234});
        REQUIRE(!t);
        auto const& f = t.error();
        CHECK(f.by == nested_by::output);
        CHECK(f.outer.code == decltype(f.outer.code){});
        CHECK(f.outer.stage == First::number);
        CHECK(f.outer.at == fault_at::input);
        CHECK(f.outer.level == no_level);
        CHECK(f.outer.input == b.in.value + 0x1234);
        CHECK(f.outer.intermediate == b.page.value + 0x1234);
        CHECK(f.outer.descriptor == 0);
        CHECK(f.inner.code == inner::absent);
        CHECK(f.inner.input == b.page.value + 0x1234);
    }
    SECTION("the guest maps nothing there") {
        both b;
        b.map_all_but(nowhere);
        auto const t = b.translate(read, iova{b.in.value + 0x1'0000});
        REQUIRE(!t);
        CHECK(t.error().by == nested_by::outer);
        CHECK(t.error().outer.code == outer::absent);
        CHECK(t.error().outer.at == fault_at::input);
        CHECK(t.error().inner == decltype(t.error().inner){});
    }
    SECTION("the guest grants no writing") {
        both b{read};
        b.map_all_but(nowhere);
        CHECK(b.translate(read));
        auto const t = b.translate(write);
        REQUIRE(!t);
        CHECK(t.error().by == nested_by::outer);
        CHECK(t.error().outer.code == outer::write_denied);
        CHECK(t.error().outer.descriptor == b.leaf().value);
        CHECK(t.error().inner == decltype(t.error().inner){});
    }
    SECTION("the host grants no writing") {
        both b;
        b.map_all_but(b.page);
        REQUIRE(b.map(b.page, 0x1'0000, b.in_host(b.page), read));
        auto const reads = b.translate(read);
        REQUIRE(reads);
        CHECK(reads->effective.rights() == read); // what both grant
        auto const t = b.translate(write);
        REQUIRE(!t);
        CHECK(t.error().by == nested_by::output);
        CHECK(t.error().outer.intermediate == b.page.value);
        CHECK(t.error().inner.code == inner::write_denied);
        CHECK(t.error().inner.at == fault_at::input);
    }
    SECTION("the host lets the guest's tables be read, but not marked") {
        both b;
        b.map_all_but(b.leaf());
        REQUIRE(b.map(ipa{b.leaf().value & ~std::uint64_t{0xffff}}, 0x1'0000,
                      b.in_host(ipa{b.leaf().value & ~std::uint64_t{0xffff}}), read));
        table_word& leaf = b.word(b.in_host(b.leaf()));
        if constexpr (std::same_as<typename First::code, smmu::event>)
            leaf &= ~std::uint64_t{0x400}; // AF: new descriptors have it
        std::uint64_t const before = leaf;
        auto const t = b.translate(read);
        REQUIRE(!t);
        auto const& f = t.error();
        CHECK(f.by == nested_by::update);
        CHECK(f.outer.code == outer::update_failed);
        CHECK(f.outer.at == fault_at::table);
        CHECK(f.outer.intermediate == f.outer.descriptor);
        CHECK(f.inner.code == inner::write_denied);
        CHECK(f.inner.input == f.outer.descriptor);
        CHECK(f.outer.descriptor == b.leaf().value);
        CHECK(f.outer.entry == before);
        CHECK(leaf == before);
        // Who needs nothing marks nothing.
        CHECK(b.translate(none));
    }
}

} // namespace

TEST_CASE("unlike: VT-d first stage over SMMUv3 stage 2") { all_kinds(static_cast<vtd_over_smmu*>(nullptr)); }
TEST_CASE("unlike: SMMUv3 stage 1 over VT-d second stage") { all_kinds(static_cast<smmu_over_vtd*>(nullptr)); }
TEST_CASE("unlike: AMD guest tables over SMMUv3 stage 2") { all_kinds(static_cast<amd_over_smmu*>(nullptr)); }
TEST_CASE("unlike: VT-d second stage over AMD host tables") { all_kinds(static_cast<vtd_second_over_amd*>(nullptr)); }

} // namespace stagewalk::test
