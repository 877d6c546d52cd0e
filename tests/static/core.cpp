// The words of the library, judged by the compiler: addresses, ranges, sizes, rights, outcomes.
#include "catch.hpp"

#include <stagewalk/core/access.hpp>
#include <stagewalk/core/address.hpp>
#include <stagewalk/core/attributes.hpp>
#include <stagewalk/core/fault.hpp>
#include <stagewalk/core/outcome.hpp>
#include <stagewalk/core/range.hpp>
#include <stagewalk/core/size.hpp>
#include <stagewalk/core/translation.hpp>

#include <concepts>
#include <cstdint>

// Inside, so that read, write and access are ours and not <unistd.h>'s.
namespace stagewalk::test {

namespace {

constexpr std::uint64_t top = ~std::uint64_t{0};
using span = range<iova>;

template <class A, class B>
concept comparable = requires(A a, B b) {
    a == b;
};
template <class A, class B>
concept subtractable = requires(A a, B b) {
    a - b;
};

} // namespace

TEST_CASE("low_mask is right at 0, 63, 64 and beyond") {
    STATIC_REQUIRE(low_mask(0) == 0);
    STATIC_REQUIRE(low_mask(1) == 1);
    STATIC_REQUIRE(low_mask(12) == 0xfff);
    STATIC_REQUIRE(low_mask(63) == 0x7fff'ffff'ffff'ffff);
    STATIC_REQUIRE(low_mask(64) == top);
    STATIC_REQUIRE(low_mask(65) == top);
    STATIC_REQUIRE(low_mask(top) == top);
}

TEST_CASE("bit_mask numbers bits as the manuals do") {
    STATIC_REQUIRE(bit_mask(0, 0) == 1);
    STATIC_REQUIRE(bit_mask(63, 63) == 0x8000'0000'0000'0000);
    STATIC_REQUIRE(bit_mask(63, 0) == top);
    STATIC_REQUIRE(bit_mask(51, 12) == 0x000f'ffff'ffff'f000);
    STATIC_REQUIRE(bit_mask(63, 64) == 0);
}

TEST_CASE("is_aligned is right at 0, 63 and 64") {
    STATIC_REQUIRE(is_aligned(top, 0));
    STATIC_REQUIRE(is_aligned(std::uint64_t{1} << 63, 63));
    STATIC_REQUIRE_FALSE(is_aligned(std::uint64_t{1} << 62, 63));
    STATIC_REQUIRE(is_aligned(0, 64));
    STATIC_REQUIRE_FALSE(is_aligned(std::uint64_t{1} << 63, 64));
    STATIC_REQUIRE_FALSE(is_aligned(0x1800, 12));
}

TEST_CASE("size literals are bytes") {
    STATIC_REQUIRE(4_KiB == 0x1000);
    STATIC_REQUIRE(2_MiB == 0x20'0000);
    STATIC_REQUIRE(1_GiB == 0x4000'0000);
    STATIC_REQUIRE(16_TiB == 0x1000'0000'0000);
}

TEST_CASE("addresses keep their spaces apart and wrap as hardware does") {
    STATIC_REQUIRE(iova{}.value == 0);
    STATIC_REQUIRE(iova{top} + 1 == iova{0});
    STATIC_REQUIRE(iova{0} - 1 == iova{top});
    STATIC_REQUIRE(iova{0x1000} - iova{0x2000} == 0 - std::uint64_t{0x1000});
    STATIC_REQUIRE(iova{1} < iova{top});
    STATIC_REQUIRE(comparable<iova, iova>);
    STATIC_REQUIRE_FALSE(comparable<iova, ipa>);
    STATIC_REQUIRE_FALSE(subtractable<iova, pa>);
    STATIC_REQUIRE_FALSE(std::convertible_to<std::uint64_t, iova>);
    STATIC_REQUIRE_FALSE(std::convertible_to<iova, std::uint64_t>);
    STATIC_REQUIRE_FALSE(std::constructible_from<iova, ipa>);
}

TEST_CASE("a range reaches the top of the space without computing an end") {
    STATIC_REQUIRE(span::all().first() == iova{0});
    STATIC_REQUIRE(span::all().last() == iova{top});
    STATIC_REQUIRE(span::all().span() == top);
    STATIC_REQUIRE_FALSE(span::all().empty());
    STATIC_REQUIRE(span::all().contains(iova{top}));

    constexpr span last_page{iova{top - 0xfff}, 0x1000};
    STATIC_REQUIRE(last_page.valid());
    STATIC_REQUIRE(last_page.last() == iova{top});
    STATIC_REQUIRE(last_page.contains(iova{top}));
    STATIC_REQUIRE_FALSE(last_page.contains(iova{0}));
    STATIC_REQUIRE_FALSE(last_page.contains(iova{top - 0x1000}));
    STATIC_REQUIRE(span::all().contains(last_page));
    STATIC_REQUIRE(span::between(iova{top}, iova{top}).span() == 0);
}

TEST_CASE("a range that would pass the top is refused, an empty one is not") {
    STATIC_REQUIRE_FALSE(span{iova{top - 0xfff}, 0x1001}.valid());
    STATIC_REQUIRE(span{iova{top - 0xfff}, 0x1001}.empty());
    STATIC_REQUIRE(span{iova{1}, top}.last() == iova{top});
    STATIC_REQUIRE_FALSE(span{iova{2}, top}.valid());
    STATIC_REQUIRE(span{iova{0x1000}, 0}.valid());
    STATIC_REQUIRE(span{iova{0x1000}, 0}.empty());
    STATIC_REQUIRE(span{iova{0}, 0}.empty());
    STATIC_REQUIRE_FALSE(span::between(iova{2}, iova{1}).valid());
    STATIC_REQUIRE(span::between(iova{2}, iova{1}).empty());
    STATIC_REQUIRE(span{}.valid());
    STATIC_REQUIRE(range{iova{0x1000}, 1}.last() == iova{0x1000});
}

TEST_CASE("ranges intersect, overlap and contain at their very edges") {
    constexpr span low = span::between(iova{0x1000}, iova{0x1fff});
    constexpr span next = span::between(iova{0x2000}, iova{0x2fff});
    constexpr span touching = span::between(iova{0x1fff}, iova{0x2000});
    STATIC_REQUIRE_FALSE(low.overlaps(next));
    STATIC_REQUIRE(low.overlaps(touching));
    STATIC_REQUIRE(next.overlaps(touching));
    STATIC_REQUIRE(low.intersection(touching) == span::between(iova{0x1fff}, iova{0x1fff}));
    STATIC_REQUIRE(low.intersection(next) == span{});
    STATIC_REQUIRE(low.contains(span{}));
    STATIC_REQUIRE(span{}.contains(span{}));
    STATIC_REQUIRE_FALSE(span{}.contains(low));
    STATIC_REQUIRE_FALSE(span{}.overlaps(span::all()));
    STATIC_REQUIRE_FALSE(low.contains(touching));
    STATIC_REQUIRE(span::all().intersection(low) == low);
    STATIC_REQUIRE_FALSE(span{}.contains(iova{0}));
    STATIC_REQUIRE_FALSE(span{}.contains(iova{1}));
}

TEST_CASE("rights are sets") {
    STATIC_REQUIRE((read | write) == read_write);
    STATIC_REQUIRE((read_write & write) == write);
    STATIC_REQUIRE(read_write.covers(read));
    STATIC_REQUIRE(read_write.covers(none));
    STATIC_REQUIRE_FALSE(read.covers(read_write));
    STATIC_REQUIRE_FALSE(none.covers(zero_length));
    STATIC_REQUIRE((read.bits | write.bits | execute.bits | privileged.bits | zero_length.bits) == 31);
}

TEST_CASE("attributes take rights and leave circumstances behind") {
    STATIC_REQUIRE(attributes{}.rights() == none);
    STATIC_REQUIRE(attributes{read | privileged | zero_length}.rights() == read);
    STATIC_REQUIRE(attributes{read | privileged | zero_length}.format_bits() == 0);
    STATIC_REQUIRE(attributes::from_bits(0x803).rights() == read_write);
    STATIC_REQUIRE(attributes::from_bits(0x803).format_bits() == 0x800);
    STATIC_REQUIRE(attributes::from_bits(3) == attributes{read_write});
}

TEST_CASE("an outcome is a value or an error, never both") {
    using result = outcome<std::uint64_t, fault_at>;
    constexpr result good = 7;
    constexpr result bad = failure{fault_at::input};
    STATIC_REQUIRE(static_cast<bool>(good));
    STATIC_REQUIRE(*good == 7);
    STATIC_REQUIRE_FALSE(static_cast<bool>(bad));
    STATIC_REQUIRE(bad.error() == fault_at::input);
    STATIC_REQUIRE(good == result{7});
    STATIC_REQUIRE_FALSE(good == result{8});
    STATIC_REQUIRE_FALSE(good == bad);
    STATIC_REQUIRE(bad == result{failure{fault_at::input}});
    STATIC_REQUIRE_FALSE(bad == result{failure{fault_at::table}});
    STATIC_REQUIRE_FALSE(std::convertible_to<result, bool>);
    // The same bits on both sides must not make a failure equal to a success.
    using twin = outcome<std::uint64_t, std::uint64_t>;
    STATIC_REQUIRE_FALSE(twin{0} == twin{failure<std::uint64_t>{0}});
}

TEST_CASE("an outcome reaches into its value") {
    constexpr outcome<translation<ipa>, fault<int>> good = translation<ipa>{ipa{0x2345}, read, 21, passage::walked};
    STATIC_REQUIRE(good->output == ipa{0x2345});
    STATIC_REQUIRE(good->offset_mask() == 0x1f'ffff);
    STATIC_REQUIRE(translation<ipa>{ipa{1}, read, 64, passage::bypassed}.offset_mask() == top);
    STATIC_REQUIRE(translation<ipa>{}.by == passage::walked);
}

TEST_CASE("a default fault blames nothing and is reported") {
    constexpr fault<int> f;
    STATIC_REQUIRE(f.code == 0);
    STATIC_REQUIRE(f.stage == fault_stage::configuration);
    STATIC_REQUIRE(f.at == fault_at::context);
    STATIC_REQUIRE(f.level == no_level);
    STATIC_REQUIRE(f.reported);
    STATIC_REQUIRE(f == fault<int>{});
    STATIC_REQUIRE_FALSE(f == fault<int>{1});
}

} // namespace stagewalk::test
