// What a type must stay: small, trivially copyable, regular; and which types satisfy which concept.
#include "catch.hpp"

#include <stagewalk/stagewalk.hpp>

#include <concepts>
#include <cstdint>
#include <type_traits>

// Inside, so that read, write and access are ours and not <unistd.h>'s.
namespace stagewalk::test {

namespace {

template <class T>
inline constexpr bool plain = std::is_trivially_copyable_v<T>&& std::is_standard_layout_v<T>;

using stage2 = vtd::second_stage<ipa, pa>;
using device_stage = vtd::second_stage<iova, ipa>;
using host_array = array<pa, 512>;
using host_flat = flat<pa>;
using guest_flat = flat<ipa>;
using host_walk = single<stage2, host_flat>;
using both = nested<device_stage, host_walk, host_flat>;
using guest_view = translated<host_walk, host_flat>;

inline constexpr auto reader = [](pa) noexcept -> outcome<std::uint64_t, int> { return failure{1}; };
using read_only = callback<pa, std::remove_const_t<decltype(reader)>>;

struct page_finder {
    std::uint64_t* page;
    std::uint64_t* operator()(pa) const noexcept { return page; }
};
struct constant_finder {
    std::uint64_t const* page;
    std::uint64_t const* operator()(pa) const noexcept { return page; }
};
using direct_map = windowed<pa, page_finder>;
using snapshot = windowed<pa, constant_finder>;

struct may_throw {
    using address = pa;
    using error = memory_error;
    outcome<std::uint64_t, error> load(pa) { return 0; }
};
struct wrong_result {
    using address = pa;
    using error = memory_error;
    std::uint64_t load(pa) noexcept { return 0; }
};
struct spaceless {
    using address = std::uint64_t;
    using error = memory_error;
    outcome<std::uint64_t, error> load(address) noexcept { return 0; }
};

struct forgetful { // an allocator that cannot take back
    using address = pa;
    outcome<pa, out_of_tables> take(std::uint64_t) noexcept { return failure{out_of_tables{}}; }
};

} // namespace

TEST_CASE("an outcome of an address is two registers") {
    STATIC_REQUIRE(sizeof(outcome<ipa, memory_error>) == 8 + alignof(std::uint64_t));
    STATIC_REQUIRE(sizeof(outcome<std::uint64_t, memory_error>) == 8 + alignof(std::uint64_t));
    STATIC_REQUIRE(std::is_trivially_copyable_v<outcome<ipa, memory_error>>);
    STATIC_REQUIRE(std::is_trivially_destructible_v<outcome<ipa, memory_error>>);
    STATIC_REQUIRE(std::is_trivially_copyable_v<outcome<translation<pa>, fault<vtd::reason>>>);
    STATIC_REQUIRE(std::is_trivially_copyable_v<both::fault_type>);
}

TEST_CASE("words and results keep their size") {
    STATIC_REQUIRE(sizeof(iova) == 8);
    STATIC_REQUIRE(sizeof(access) == 8);
    STATIC_REQUIRE(sizeof(attributes) == 8);
    STATIC_REQUIRE(sizeof(translation<pa>) == 32);
    STATIC_REQUIRE(sizeof(fault<vtd::reason>) == 48);
    STATIC_REQUIRE(sizeof(stage2::path) == 8);
    STATIC_REQUIRE(plain<iova>);
    STATIC_REQUIRE(plain<access>);
    STATIC_REQUIRE(plain<attributes>);
    STATIC_REQUIRE(plain<translation<pa>>);
    STATIC_REQUIRE(plain<fault<vtd::reason>>);
    STATIC_REQUIRE(std::is_trivially_copyable_v<range<iova>>);
}

TEST_CASE("hardware structures have the size that hardware reads") {
    STATIC_REQUIRE(sizeof(vtd::root_entry) == 16);
    STATIC_REQUIRE(sizeof(vtd::context_entry) == 16);
    STATIC_REQUIRE(sizeof(vtd::fault_record) == 16);
    STATIC_REQUIRE(sizeof(vtd::second_stage_page) == 8);
    STATIC_REQUIRE(sizeof(vtd::second_stage_large_page<21>) == 8);
    STATIC_REQUIRE(sizeof(vtd::root_table_address) == 8);
}

TEST_CASE("a stage is a regular value") {
    STATIC_REQUIRE(std::copyable<stage2>);
    STATIC_REQUIRE(std::equality_comparable<stage2>);
    STATIC_REQUIRE(std::is_trivially_copyable_v<stage2>);
    STATIC_REQUIRE(std::copyable<trusted<stage2>>);
    STATIC_REQUIRE(std::regular<vtd::capabilities>);
    STATIC_REQUIRE(std::regular<vtd::request>);
    STATIC_REQUIRE(std::regular<vtd::settings>);
    STATIC_REQUIRE(std::regular<vtd::fault_record>);

    constexpr vtd::capabilities caps{0x002f'0000'0000'0000 | 47u << 16 | 0xe00, 0, 46};
    constexpr stage2 a{caps, 4, pa{0x1000}};
    STATIC_REQUIRE(a == stage2{a});
    STATIC_REQUIRE(a == a.with_root(pa{0x1000}));
    STATIC_REQUIRE_FALSE(a == a.with_root(pa{0x2000}));
    STATIC_REQUIRE_FALSE(a == stage2{caps, 3, pa{0x1000}});
    STATIC_REQUIRE_FALSE(a == stage2{caps, 4, pa{0x1000}, {.rules = {.second_stage_rights = vtd::rights_order::each_entry}}});
}

TEST_CASE("views are cheap to copy") {
    STATIC_REQUIRE(sizeof(host_flat) == sizeof(void*) + 16);
    STATIC_REQUIRE(std::is_trivially_copyable_v<host_flat>);
    STATIC_REQUIRE(sizeof(direct_map) == sizeof(void*));
    STATIC_REQUIRE(std::is_trivially_copyable_v<host_walk>);
    STATIC_REQUIRE(std::is_trivially_copyable_v<both>);
    STATIC_REQUIRE(std::is_trivially_copyable_v<vtd::iommu<guest_flat>>);
}

TEST_CASE("memory policies satisfy what they offer and no more") {
    STATIC_REQUIRE(table_memory<host_flat>);
    STATIC_REQUIRE(table_memory<host_array>);
    STATIC_REQUIRE(table_memory<direct_map>);
    STATIC_REQUIRE(memory<snapshot>);
    STATIC_REQUIRE_FALSE(updatable_memory<snapshot>);
    STATIC_REQUIRE(memory<read_only>);
    STATIC_REQUIRE_FALSE(updatable_memory<read_only>);
    STATIC_REQUIRE(memory<recording<read_only>>);
    STATIC_REQUIRE_FALSE(updatable_memory<recording<read_only>>);
    STATIC_REQUIRE(updatable_memory<recording<host_flat>>);
    STATIC_REQUIRE(updatable_memory<guest_view>);
    STATIC_REQUIRE_FALSE(table_memory<guest_view>);
    STATIC_REQUIRE_FALSE(updatable_memory<translated<single<stage2, read_only>, read_only>>);
    STATIC_REQUIRE(windowed_memory<direct_map>);
    STATIC_REQUIRE_FALSE(windowed_memory<host_flat>);
    STATIC_REQUIRE(view_memory<host_flat>);
    STATIC_REQUIRE_FALSE(view_memory<host_array>); // a copy of a block is another block
    STATIC_REQUIRE_FALSE(view_memory<recording<host_flat>>);
    STATIC_REQUIRE(memory<host_flat const>);
    STATIC_REQUIRE(memory<host_array const>);
    STATIC_REQUIRE_FALSE(table_memory<host_array const>);
}

TEST_CASE("a liar is no memory") {
    STATIC_REQUIRE_FALSE(memory<may_throw>);
    STATIC_REQUIRE(has_address_space<may_throw>);
    STATIC_REQUIRE_FALSE(memory<wrong_result>);
    STATIC_REQUIRE_FALSE(has_address_space<spaceless>);
    STATIC_REQUIRE_FALSE(memory<int>);
}

TEST_CASE("memory serves one space only") {
    STATIC_REQUIRE(serves<host_flat, pa>);
    STATIC_REQUIRE_FALSE(serves<host_flat, ipa>);
    STATIC_REQUIRE(serves<guest_view, ipa>); // stage 2 turned host memory into guest memory
    STATIC_REQUIRE_FALSE(serves<guest_view, pa>);
}

TEST_CASE("a second stage is a stage that can be written and trusted") {
    STATIC_REQUIRE(has_stage_types<stage2>);
    STATIC_REQUIRE(has_geometry<stage2>);
    STATIC_REQUIRE(checks_input<stage2>);
    STATIC_REQUIRE(judges_entries<stage2>);
    STATIC_REQUIRE(reads_entries<stage2>);
    STATIC_REQUIRE(stage<stage2>);
    STATIC_REQUIRE(encodable<stage2>);
    STATIC_REQUIRE(trustable<stage2>);
    STATIC_REQUIRE(stage<trusted<stage2>>);
    STATIC_REQUIRE(encodable<trusted<stage2>>);
    STATIC_REQUIRE(fast_lane<stage2::fast_lane>);
    STATIC_REQUIRE_FALSE(skips_levels<stage2>);
    STATIC_REQUIRE_FALSE(stage<host_flat>);
}

TEST_CASE("translators compose") {
    STATIC_REQUIRE(translator<host_walk>);
    STATIC_REQUIRE(translator<both>);
    STATIC_REQUIRE(std::same_as<both::input, iova>);
    STATIC_REQUIRE(std::same_as<both::output, pa>);
    STATIC_REQUIRE(std::same_as<both::fault_type, nested_fault<vtd::reason, fault<vtd::reason>>>);
    STATIC_REQUIRE_FALSE(translator<stage2>); // a stage has no memory
    STATIC_REQUIRE(std::same_as<walk_fault<stage2, host_flat>, fault<vtd::reason>>);
    STATIC_REQUIRE(std::same_as<walk_fault<device_stage, guest_view>, both::fault_type>);
}

TEST_CASE("an allocator takes and gives") {
    STATIC_REQUIRE(table_allocator<bump_allocator<pa>>);
    STATIC_REQUIRE_FALSE(table_allocator<forgetful>);
}

} // namespace stagewalk::test
