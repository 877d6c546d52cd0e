// Fields and entries: one list is decoder, encoder, reserved mask and printer.
#include "catch.hpp"

#include <stagewalk/core/field.hpp>

#include <cstdint>

// Inside, so that read, write and access are ours and not <unistd.h>'s.
namespace stagewalk::test {

namespace {

constexpr std::uint64_t all = ~std::uint64_t{0};

// 512 bits with a field at the very bottom, at the very top and in between, listed out of order.
struct big : entry<512, field<"LAST", 511>, field<"FIRST", 0>, pointer_field<"PTR", 191, 140>, field<"KEY", 87, 72>,
                   ignored_field<"IGN", 134, 133>, field<"WORD", 383, 320>> {
    using entry::entry;
};

struct small : entry<64, field<"V", 0>, field<"N", 7, 4>, pointer_field<"A", 51, 12>, ignored_field<"IGN", 63, 60>> {
    using entry::entry;
};

constexpr small made(std::uint64_t n, std::uint64_t a) {
    small e;
    e.set<"N">(n);
    e.set<"A">(a);
    e.set<"V">(1);
    return e;
}

constexpr big made_big() {
    big e;
    e.set<"LAST">(1);
    e.set<"KEY">(0xabcd);
    e.set<"PTR">(0x1234'5000);
    e.set<"WORD">(all);
    return e;
}

struct listing {
    unsigned count{};
    unsigned bits{};
    unsigned high[8]{};
    field_kind kind[8]{};
    std::uint64_t value[8]{};
};

template <class E>
constexpr listing list(E const& e) {
    listing l;
    e.for_each_field([&](field_view const& v) {
        l.high[l.count] = v.high;
        l.kind[l.count] = v.kind;
        l.value[l.count] = v.value;
        l.bits += v.high - v.low + 1;
        ++l.count;
    });
    return l;
}

} // namespace

TEST_CASE("a field gets, puts and knows what fits") {
    using f = field<"F", 11, 4>;
    STATIC_REQUIRE(f::mask == 0xff0);
    STATIC_REQUIRE(f::width == 8);
    STATIC_REQUIRE(f::get(0xabcd) == 0xbc);
    STATIC_REQUIRE(f::put(all, 0) == ~std::uint64_t{0xff0});
    STATIC_REQUIRE(f::put(0, 0xff) == 0xff0);
    STATIC_REQUIRE(f::fits(0xff));
    STATIC_REQUIRE_FALSE(f::fits(0x100));
    STATIC_REQUIRE_FALSE(f::fits(std::uint64_t{1} << 60)); // shifted out at the top must not look like a fit
    STATIC_REQUIRE(field<"W", 63, 0>::fits(all));
    STATIC_REQUIRE(field<"W", 127, 64>::get(all) == all);
}

TEST_CASE("a pointer field's value is the address itself") {
    using p = pointer_field<"P", 51, 12>;
    STATIC_REQUIRE(p::get(0xfff0'0000'1234'5fff) == 0x1234'5000);
    STATIC_REQUIRE(p::put(3, 0x1234'5000) == 0x1234'5003);
    STATIC_REQUIRE(p::fits(0x000f'ffff'ffff'f000));
    STATIC_REQUIRE_FALSE(p::fits(0x1000'0000'0000'0000));
    STATIC_REQUIRE_FALSE(p::fits(0x1234'5800));
}

TEST_CASE("an entry sets one field and leaves the others") {
    STATIC_REQUIRE(made(5, 0x1234'5000).word[0] == 0x1234'5051);
    STATIC_REQUIRE(made(5, 0x1234'5000).get<"A">() == 0x1234'5000);
    STATIC_REQUIRE(made(5, 0x1234'5000).get<"N">() == 5);
    STATIC_REQUIRE(made(0x15, 0).get<"N">() == 5); // what does not fit is dropped …
    STATIC_REQUIRE(made(0x15, 0).word[0] == 0x51); // … and does not spill into a neighbour
    STATIC_REQUIRE(small::fits<"N">(15));
    STATIC_REQUIRE_FALSE(small::fits<"N">(16));
    STATIC_REQUIRE_FALSE(small::fits<"A">(0x800));
}

TEST_CASE("reserved bits are the complement of the list") {
    STATIC_REQUIRE(small::reserved() == (bit_mask(3, 1) | bit_mask(11, 8) | bit_mask(59, 52)));
    STATIC_REQUIRE(small::mask<"N">() == 0xf0);
    STATIC_REQUIRE(big::reserved(0) == ~std::uint64_t{1});
    STATIC_REQUIRE(big::reserved(1) == ~bit_mask(23, 8));
    STATIC_REQUIRE(big::reserved(2) == ~(bit_mask(63, 12) | bit_mask(6, 5)));
    STATIC_REQUIRE(big::reserved(3) == all);
    STATIC_REQUIRE(big::reserved(4) == all);
    STATIC_REQUIRE(big::reserved(5) == 0);
    STATIC_REQUIRE(big::reserved(7) == ~bit_mask(63, 63));
}

TEST_CASE("a field beyond bit 63 lives in its own word") {
    STATIC_REQUIRE(big::words == 8);
    STATIC_REQUIRE(made_big().word[7] == std::uint64_t{1} << 63);
    STATIC_REQUIRE(made_big().word[1] == 0xabcd00);
    STATIC_REQUIRE(made_big().word[2] == 0x1234'5000);
    STATIC_REQUIRE(made_big().word[5] == all);
    STATIC_REQUIRE(made_big().word[0] == 0);
    STATIC_REQUIRE(made_big().get<"KEY">() == 0xabcd);
    STATIC_REQUIRE(made_big().get<"LAST">() == 1);
    STATIC_REQUIRE(big::mask<"KEY">() == 0xffff00);
    STATIC_REQUIRE(sizeof(big) == 64);
}

TEST_CASE("an entry is its words") {
    STATIC_REQUIRE(big(1, 2).word[1] == 2);
    STATIC_REQUIRE(big(1, 2).word[7] == 0);
    STATIC_REQUIRE(small(3) == small(3));
    STATIC_REQUIRE_FALSE(small(3) == small(2));
    STATIC_REQUIRE(small::has<"V">());
    STATIC_REQUIRE_FALSE(small::has<"VV">());
    STATIC_REQUIRE_FALSE(small::has<"">());
}

TEST_CASE("a printer sees every field once, in the list's order") {
    constexpr listing l = list(made(9, 0x7000));
    STATIC_REQUIRE(l.count == 4);
    STATIC_REQUIRE(l.high[0] == 0);
    STATIC_REQUIRE(l.high[2] == 51);
    STATIC_REQUIRE(l.kind[2] == field_kind::pointer);
    STATIC_REQUIRE(l.kind[3] == field_kind::ignored);
    STATIC_REQUIRE(l.value[1] == 9);
    STATIC_REQUIRE(l.value[2] == 0x7000);
    constexpr listing b = list(made_big());
    STATIC_REQUIRE(b.count == 6);
    STATIC_REQUIRE(b.bits == 1 + 1 + 52 + 16 + 2 + 64);
    STATIC_REQUIRE(b.value[3] == 0xabcd);
}

} // namespace stagewalk::test
