// Invalidation descriptors: section 8 of docs/coverage.md and worked example 19, word by word, bit by bit,
// and cache by cache.
#include "catch.hpp"
#include "model/vtd_scopes.hpp"

#include <stagewalk/vtd/command.hpp>
#include <stagewalk/vtd/register_invalidation.hpp>

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace stagewalk::test {
namespace {

using vtd::cache;
using vtd::cache_tag;
using vtd::command_type;
using vtd::queue_error;
using vtd::table_mode;

constexpr vtd::invalidation_queue_address narrow{0x1000};
constexpr vtd::invalidation_queue_address wide{0x1800};

std::uint64_t bit(unsigned n) { return std::uint64_t{1} << n; }

// ND 6, PSI, MAMV 63; DIT, PDS, MHMV 15, HPTS: everything is allowed. A test takes away what it is about.
struct caps_of {
    vtd::capability_register cap{};
    vtd::extended_capability_register ecap{};

    caps_of() {
        cap.set<"ND">(6);
        cap.set<"PSI">(1);
        cap.set<"MAMV">(63);
        ecap.set<"DIT">(1);
        ecap.set<"PDS">(1);
        ecap.set<"MHMV">(15);
        ecap.set<"HPTS">(1);
    }
    operator vtd::capabilities() const { return {cap.word[0], ecap.word[0], 46}; }
};

using words = vtd_scopes::descriptor;

template <class Descriptor>
words words_of(Descriptor const& d) {
    words w;
    for (std::size_t i = 0; i < Descriptor::words; ++i)
        w.word[i] = d.word[i];
    return w;
}

auto decode(words const& w, vtd::capabilities const& caps = caps_of{}, table_mode mode = table_mode::scalable,
            vtd::invalidation_queue_address queue = wide) {
    return vtd::decode(w.word, queue, mode, caps);
}

// IQEI, 0 for a descriptor that is carried out.
template <class Outcome>
unsigned error_of(Outcome const& o) {
    return o ? 0 : static_cast<unsigned>(o.error());
}

unsigned type_of(vtd::command const& c) { return static_cast<unsigned>(c.type); }

template <class Descriptor>
vtd::invalidation stale_of(Descriptor const& d, table_mode mode = table_mode::scalable) {
    auto const c = decode(words_of(d), caps_of{}, mode);
    REQUIRE(c);
    return c->stale;
}

// The golden words of a descriptor, and that they are decoded as they stand.
template <class Descriptor>
void golden(Descriptor const& d, std::uint64_t q0, std::uint64_t q1, command_type type) {
    CAPTURE(q0, q1);
    CHECK(d.word[0] == q0);
    CHECK(d.word[1] == q1);
    words w = words_of(d);
    CHECK(w.word[2] == 0);
    CHECK(w.word[3] == 0);
    auto const c = decode(w);
    REQUIRE(c);
    CHECK(type_of(*c) == static_cast<unsigned>(type));
    for (std::size_t i = 0; i < 4; ++i)
        CHECK(c->word[i] == w.word[i]);
}

range<iova> from_to(std::uint64_t first, std::uint64_t last) { return range<iova>::between(iova{first}, iova{last}); }

// Whether an item with such a page, and otherwise what the invalidation names, is dropped.
bool drops_page(vtd::invalidation const& i, cache c, range<iova> page) {
    cache_tag t;
    t.source = i.source;
    t.domain = i.domain;
    t.pasid = i.pasid;
    t.page = page;
    return i.drops(c, t);
}
bool drops_page(vtd::invalidation const& i, cache c, std::uint64_t at, std::uint64_t bytes = 4096) {
    return drops_page(i, c, range<iova>{iova{at}, bytes});
}
bool drops_source(vtd::invalidation const& i, std::uint16_t source, std::uint16_t domain) {
    cache_tag t;
    t.source = source;
    t.domain = domain;
    return i.drops(cache::context, t);
}
bool drops_index(vtd::invalidation const& i, unsigned index) {
    cache_tag t;
    t.index = static_cast<std::uint16_t>(index);
    return i.drops(cache::interrupt, t);
}

// A descriptor of each type that is valid and sets as little as possible.
words least(unsigned type) {
    std::uint64_t const g[] = {0, 1, 1, 0, 0, 0, 2, 0, 0, 0, 0};
    return {{type | g[type] << 4, 0, 0, 0}};
}

TEST_CASE("encoders of the descriptors that answer, wait and reach a device by PASID") {
    STATIC_REQUIRE(vtd::respond_to_page_group(0x100, 5, 1, true, 7).word[0] == 0x0000'0007'0100'1019);
    STATIC_REQUIRE(vtd::respond_to_page_group(0x100, 5, 1, true, 7).word[1] == 5u << 3);
    STATIC_REQUIRE(vtd::respond_to_page_group(0x100, 5, 0, false, 7).word[0] == 0x0000'0000'0100'0009);
    STATIC_REQUIRE(vtd::fence().word[0] == 0x45);
    STATIC_REQUIRE(vtd::wait_and_interrupt(true).word[0] == 0x55);
    STATIC_REQUIRE(vtd::invalidate_pasid_device_tlb(0x219, 7, 4).word[0] == 0x0000'0007'0219'0048);
    STATIC_REQUIRE(vtd::invalidate_pasid_device_tlb(0x219, 7, 4).word[1] == 0x7fff'ffff'ffff'f800);
    STATIC_REQUIRE(vtd::invalidate_pasid_device_tlb(0x219, 7, 4, iova{0x4000'0000}, 9).word[1] == 0x400f'f800);
}

} // namespace

TEST_CASE("example 19: IOTLB, pages of a domain") {
    auto const d = vtd::invalidate_iotlb(7, iova{0x4000'0000}, 9, true);
    golden(d, 0x0007'00f2, 0x4000'0049, command_type::iotlb);
    auto const stale = stale_of(d);
    CHECK(stale.domain == 7);
    CHECK(stale.addresses == from_to(0x4000'0000, 0x401f'ffff));
    CHECK(stale.of(cache::second_iotlb).drops);
    CHECK_FALSE(stale.of(cache::second_structure).drops);
    CHECK(decode({{0x0007'00f2, 0x4000'1049, 0, 0}})->stale.addresses == from_to(0x4000'0000, 0x401f'ffff));
}

TEST_CASE("example 19: PASID IOTLB, a page of 2 MiB") {
    auto const d = vtd::invalidate_pasid_iotlb(0x12, 0x12345, iova{0x7f80'1220'0000}, 9, false);
    golden(d, 0x0001'2345'0012'0036, 0x0000'7f80'1220'0009, command_type::pasid_iotlb);
    auto const stale = stale_of(d);
    CHECK(stale.domain == 0x12);
    CHECK(stale.pasid == 0x12345);
    CHECK(stale.addresses == from_to(0x7f80'1220'0000, 0x7f80'123f'ffff));
    CHECK(stale.of(cache::first_structure).drops);
}

TEST_CASE("example 19: PASID cache, a PASID of a domain") {
    auto const d = vtd::invalidate_pasids(0x12, 0x12345);
    golden(d, 0x0001'2345'0012'0017, 0, command_type::pasid_cache);
    CHECK(stale_of(d).domain == 0x12);
    CHECK(stale_of(d).pasid == 0x12345);
}

TEST_CASE("example 19: context cache, a function under a mask") {
    auto const d = vtd::invalidate_contexts(7, 0x219, 1);
    golden(d, 0x0001'0219'0007'0031, 0, command_type::context_cache);
    auto const stale = stale_of(d, table_mode::legacy);
    CHECK(drops_source(stale, 0x219, 7));
    CHECK(drops_source(stale, 0x21d, 7));
    CHECK_FALSE(drops_source(stale, 0x21b, 7));
    CHECK_FALSE(drops_source(stale, 0x219, 6));
}

TEST_CASE("example 19: wait, with a write and a fence") {
    golden(vtd::wait_and_write(0x1234'5678, 0xcafe, true), 0x0000'cafe'0000'0065, 0x1234'5678, command_type::wait);
}

TEST_CASE("example 19: device TLB, 2 MiB") {
    auto const d = vtd::invalidate_device_tlb(0x219, 4, iova{0x4000'0000}, 9);
    golden(d, 0x0000'0219'0004'0003, 0x400f'f001, command_type::device_tlb);
    CHECK(stale_of(d).source == 0x219);
    CHECK(stale_of(d).addresses == from_to(0x4000'0000, 0x401f'ffff));
}

TEST_CASE("example 19: interrupt entry cache, eight indexes") {
    auto const d = vtd::invalidate_interrupts(0x8010, 3);
    golden(d, 0x0000'8010'1800'0014, 0, command_type::interrupt_cache);
    auto const stale = stale_of(d);
    for (unsigned index = 0; index < 0x10000; ++index)
        if (drops_index(stale, index) != (index >= 0x8010 && index <= 0x8017)) FAIL("index " << index);
}

TEST_CASE("B63: the short forms of the encoders, word by word") {
    golden(vtd::invalidate_contexts(), 0x11, 0, command_type::context_cache);
    golden(vtd::invalidate_contexts(0xfedc), 0xfedc'0021, 0, command_type::context_cache);
    golden(vtd::invalidate_contexts(0xfedc, 0xffff, 3), 0x0003'ffff'fedc'0031, 0, command_type::context_cache);
    golden(vtd::invalidate_iotlb(), 0xd2, 0, command_type::iotlb); // DR and DW are set
    golden(vtd::invalidate_iotlb(0xfedc), 0xfedc'00e2, 0, command_type::iotlb);
    golden(vtd::invalidate_iotlb(0xfedc, iova{0xfff}, 0, false), 0xfedc'00f2, 0, command_type::iotlb);
    golden(vtd::invalidate_pasid_iotlb(0xfedc, 0xfffff), 0x000f'ffff'fedc'0026, 0, command_type::pasid_iotlb);
    golden(vtd::invalidate_pasid_iotlb(1, 2, iova{0x3000}, 0, true), 0x0000'0002'0001'0036, 0x3040, command_type::pasid_iotlb);
    golden(vtd::invalidate_pasids(), 0x37, 0, command_type::pasid_cache);
    golden(vtd::invalidate_pasids(0xfedc), 0xfedc'0007, 0, command_type::pasid_cache);
    golden(vtd::invalidate_device_tlb(0xfedc, 31), 0x0000'fedc'001f'0003, 0x7fff'ffff'ffff'f001, command_type::device_tlb);
    golden(vtd::invalidate_device_tlb(0xfedc, 0, iova{0x5fff}, 0), 0x0000'fedc'0000'0003, 0x5000, command_type::device_tlb);
    golden(vtd::invalidate_device_tlb(0xfedc, 0, iova{0x5fff}, 1), 0x0000'fedc'0000'0003, 0x4001, command_type::device_tlb);
    golden(vtd::invalidate_device_tlb(1, 0, iova{bit(63)}, 51), 0x0000'0001'0000'0003, 0xbfff'ffff'ffff'f001,
           command_type::device_tlb);
    golden(vtd::invalidate_interrupts(), 4, 0, command_type::interrupt_cache);
    golden(vtd::invalidate_interrupts(0xffff, 0), 0x0000'ffff'0000'0014, 0, command_type::interrupt_cache);
    golden(vtd::invalidate_host_permission(3, 0xfedc, iova{0x5fff}, 9, 2), 0xfedc'003a, 0x5089, command_type::host_permission);
    golden(vtd::wait_and_write(~std::uint64_t{0}, 0xffff'ffff, false), 0xffff'ffff'0000'0025, ~std::uint64_t{3},
           command_type::wait);
}

TEST_CASE("every field of every descriptor, both ways") {
    SECTION("context cache") {
        vtd::context_cache_command d;
        d.set<"TYPE">(1);
        d.set<"G">(3);
        d.set<"DID">(0x1234);
        d.set<"SID">(0xabcd);
        d.set<"FM">(2);
        golden(d, 0x0002'abcd'1234'0031, 0, command_type::context_cache);
        CHECK(stale_of(d).domain == 0x1234);
        CHECK(stale_of(d).source == 0xabcd);
        CHECK(stale_of(d).source_mask == 6);
    }
    SECTION("IOTLB") {
        vtd::iotlb_command d;
        d.set<"TYPE">(2);
        d.set<"G">(3);
        d.set<"DW">(1);
        d.set<"DID">(0x89ab);
        d.set<"AM">(0x15);
        d.set<"IH">(1);
        d.set<"ADDR">(0x1234'5678'9abc'd000);
        golden(d, 0x0000'0000'89ab'0072, 0x1234'5678'9abc'd055, command_type::iotlb);
        CHECK(stale_of(d).domain == 0x89ab);
        CHECK(stale_of(d).addresses == from_to(0x1234'5678'0000'0000, 0x1234'5679'ffff'ffff));
        d.set<"DW">(0);
        d.set<"DR">(1);
        CHECK(d.word[0] == 0x0000'0000'89ab'00b2);
    }
    SECTION("device TLB") {
        vtd::device_tlb_command d;
        d.set<"TYPE">(3);
        d.set<"PFSIDL">(5);
        d.set<"PFSIDH">(0x79a);
        d.set<"MIP">(0x13);
        d.set<"SID">(0xbeef);
        d.set<"S">(1);
        d.set<"ADDR">(0xfedc'ba98'7654'3000);
        golden(d, 0x79a0'beef'0013'5003, 0xfedc'ba98'7654'3001, command_type::device_tlb);
        CHECK(stale_of(d).source == 0xbeef);
        CHECK(stale_of(d).addresses == from_to(0xfedc'ba98'7654'0000, 0xfedc'ba98'7654'7fff));
    }
    SECTION("interrupt entry cache") {
        vtd::interrupt_cache_command d;
        d.set<"TYPE">(4);
        d.set<"G">(1);
        d.set<"IM">(0xb);
        d.set<"IIDX">(0xc0de);
        golden(d, 0x0000'c0de'5800'0014, 0, command_type::interrupt_cache);
        CHECK(stale_of(d).first_index == 0xc000);
        CHECK(stale_of(d).last_index == 0xc7ff);
    }
    SECTION("wait") {
        vtd::wait_command d;
        d.set<"TYPE">(5);
        d.set<"IF">(1);
        d.set<"SW">(1);
        d.set<"PD">(1);
        d.set<"DATA">(0xdead'beef);
        d.set<"STATUS">(0x1234'5678'9abc'def4);
        golden(d, 0xdead'beef'0000'00b5, 0x1234'5678'9abc'def4, command_type::wait);
        auto const c = decode(words_of(d));
        vtd::wait_command const back{c->word[0], c->word[1]};
        CHECK(back.get<"DATA">() == 0xdead'beef);
        CHECK(back.get<"STATUS">() == 0x1234'5678'9abc'def4);
        CHECK(back.get<"IF">() == 1);
        CHECK(back.get<"FN">() == 0);
    }
    SECTION("PASID IOTLB") {
        vtd::pasid_iotlb_command d;
        d.set<"TYPE">(6);
        d.set<"G">(3);
        d.set<"DID">(0x4321);
        d.set<"PASID">(0xfedcb);
        d.set<"AM">(0x3f);
        d.set<"IH">(1);
        d.set<"ADDR">(0x0fed'cba9'8765'4000);
        golden(d, 0x000f'edcb'4321'0036, 0x0fed'cba9'8765'407f, command_type::pasid_iotlb);
        CHECK(stale_of(d).domain == 0x4321);
        CHECK(stale_of(d).pasid == 0xfedcb);
        CHECK(stale_of(d).addresses == range<iova>::all());
    }
    SECTION("PASID cache") {
        vtd::pasid_cache_command d;
        d.set<"TYPE">(7);
        d.set<"G">(1);
        d.set<"DID">(0x4321);
        d.set<"PASID">(0xabcde);
        golden(d, 0x000a'bcde'4321'0017, 0, command_type::pasid_cache);
        CHECK(stale_of(d).domain == 0x4321);
        CHECK(stale_of(d).pasid == 0xabcde);
    }
    SECTION("PASID device TLB") {
        vtd::pasid_device_tlb_command d;
        d.set<"TYPE">(8);
        d.set<"MIP">(0x19);
        d.set<"PFSIDL">(5);
        d.set<"PFSIDH">(0x79a);
        d.set<"SID">(0xbeef);
        d.set<"PASID">(0x34567);
        d.set<"GI">(1);
        d.set<"S">(1);
        d.set<"ADDR">(0x1122'3344'5566'7000);
        golden(d, 0x79a3'4567'beef'5198, 0x1122'3344'5566'7801, command_type::pasid_device_tlb);
        CHECK(stale_of(d).source == 0xbeef);
        CHECK(stale_of(d).pasid == 0x34567);
        CHECK(stale_of(d).addresses == from_to(0x1122'3344'5566'0000, 0x1122'3344'5566'ffff));
    }
    SECTION("page-group response") {
        vtd::page_response_command d;
        d.set<"TYPE">(9);
        d.set<"PP">(1);
        d.set<"RC">(0xe);
        d.set<"RID">(0x0219);
        d.set<"PASID">(0x12345);
        d.set<"PRGI">(0x155);
        golden(d, 0x0001'2345'0219'e019, 0xaa8, command_type::page_response);
        auto const c = decode({{0x0001'2345'0219'e019, 0xaac, 0, 0}}); // bit 2 is ignored
        REQUIRE(c);
        vtd::page_response_command const back{c->word[0], c->word[1]};
        CHECK(back.get<"PRGI">() == 0x155);
        CHECK(back.get<"RC">() == 0xe);
        CHECK(back.get<"RID">() == 0x219);
        CHECK(back.get<"PASID">() == 0x12345);
    }
    SECTION("host permission table cache") {
        vtd::host_permission_command d;
        d.set<"TYPE">(10);
        d.set<"G">(2);
        d.set<"HPTDID">(0x4321);
        d.set<"AM">(0x15);
        d.set<"IH">(1);
        d.set<"ADDR">(0x1234'5678'9abc'd000);
        golden(d, 0x0000'0000'4321'002a, 0x1234'5678'9abc'd055, command_type::host_permission);
        d.set<"IH">(2);
        golden(d, 0x0000'0000'4321'002a, 0x1234'5678'9abc'd095, command_type::host_permission);
        CHECK(stale_of(d).domain == 0x4321);
        CHECK(stale_of(d).addresses == from_to(0x1234'5678'0000'0000, 0x1234'5679'ffff'ffff));
    }
}

TEST_CASE("IQERCD values are the manual's") {
    CHECK(static_cast<int>(queue_error::bad_tail) == 1);
    CHECK(static_cast<int>(queue_error::fetch_failed) == 2);
    CHECK(static_cast<int>(queue_error::bad_type) == 3);
    CHECK(static_cast<int>(queue_error::reserved_field) == 4);
    CHECK(static_cast<int>(queue_error::bad_width) == 5);
    CHECK(static_cast<int>(queue_error::misaligned_tail) == 6);
    CHECK(static_cast<int>(queue_error::bad_mode) == 7);
}

TEST_CASE("IQEI 4: every reserved bit of the 256 of every type, and no other") {
    for (unsigned type = 1; type <= 10; ++type) {
        unsigned refused = 0;
        for (unsigned n = 0; n < 256; ++n) {
            if (n <= 3 || (n >= 9 && n <= 11)) continue;                               // the type itself
            if ((n == 4 || n == 5) && (type <= 2 || type == 6 || type == 7)) continue; // G has its own case
            words w = least(type);
            w.word[n / 64] |= bit(n % 64);
            bool const reserved = n >= 128 || (vtd_scopes::reserved[type][n / 64] >> n % 64 & 1) != 0;
            CAPTURE(type, n);
            CHECK(error_of(decode(w)) == (reserved ? 4u : 0u));
            if (type <= 5) {
                CHECK(error_of(decode(w, caps_of{}, table_mode::legacy)) == (reserved ? 4u : 0u));
                CHECK(error_of(decode(w, caps_of{}, table_mode::legacy, narrow)) == (reserved ? 4u : 0u));
            }
            CHECK(error_of(decode(w, caps_of{}, table_mode::abort)) == (reserved ? 4u : 0u));
            refused += reserved;
        }
        // The counts, by hand: 256 less the bits of the fields that the manual (VT-d 6.5) lists.
        unsigned const expected[] = {0, 213, 170, 159, 227, 151, 152, 211, 138, 198, 171};
        CAPTURE(type);
        CHECK(refused == expected[type]);
    }
}

TEST_CASE("IQEI 4: PFSID without DIT, bit by bit") {
    for (unsigned const type : {3u, 8u})
        for (unsigned n = 0; n < 64; ++n) {
            if ((vtd_scopes::pfsid >> n & 1) == 0) continue;
            words w = least(type);
            w.word[0] |= bit(n);
            caps_of c;
            CAPTURE(type, n);
            CHECK(error_of(decode(w, c)) == 0);
            c.ecap.set<"DIT">(0);
            CHECK(error_of(decode(w, c)) == 4);
            CHECK(error_of(decode(least(type), c)) == 0);
        }
}

TEST_CASE("IQEI 4: PD without PDS") {
    caps_of c;
    CHECK(error_of(decode({{0x85, 0, 0, 0}}, c)) == 0);
    c.ecap.set<"PDS">(0);
    CHECK(error_of(decode({{0x85, 0, 0, 0}}, c)) == 4);
    CHECK(error_of(decode({{0x65, 0, 0, 0}}, c)) == 0);
}

TEST_CASE("IQEI 4: the upper words of a descriptor that has none, and of one that has them") {
    for (unsigned type = 1; type <= 10; ++type)
        for (std::size_t const w : {2u, 3u}) {
            words d = least(type);
            d.word[w] = ~std::uint64_t{0};
            CAPTURE(type, w);
            CHECK(error_of(decode(d)) == 4);
        }
}

TEST_CASE("IQEI 3, 5, 7: every type number in every mode and width") {
    for (unsigned type = 0; type < 128; ++type)
        for (unsigned mode = 0; mode < 4; ++mode)
            for (bool const is_wide : {false, true})
                for (bool const host_permission : {false, true}) {
                    words w = type <= 10 ? least(type) : words{{(type & 15) | std::uint64_t{type >> 4} << 9, 0, 0, 0}};
                    caps_of c;
                    c.ecap.set<"HPTS">(host_permission);
                    unsigned expected = 0;
                    if (type < 1 || type > (host_permission ? 10u : 9u) || (mode == 0 && type > 5)) expected = 3;
                    if (mode != 0 && !is_wide) expected = 5;
                    if (mode == 2) expected = 7;
                    auto const o = decode(w, c, static_cast<table_mode>(mode), is_wide ? wide : narrow);
                    CAPTURE(type, mode, is_wide, host_permission);
                    CHECK(error_of(o) == expected);
                    if (o) CHECK(type_of(*o) == type);
                }
}

TEST_CASE("G: each type has its own encodings, that of the PASID cache differs") {
    // By type, what G = 0, 1, 2, 3 raises.
    unsigned const expected[8][4] = {{3, 3, 3, 3}, {4, 0, 0, 0}, {4, 0, 0, 0}, {0, 4, 4, 4},
                                     {0, 0, 4, 4}, {0, 0, 0, 0}, {4, 4, 0, 0}, {0, 0, 4, 0}};
    for (unsigned type = 1; type <= 7; ++type)
        for (unsigned g = 0; g < 4; ++g) {
            CAPTURE(type, g);
            CHECK(error_of(decode({{type | g << 4, 0, 0, 0}})) == expected[type][g]);
        }
    // Nothing says what G is there: any will do.
    for (unsigned g = 0; g < 4; ++g)
        CHECK(error_of(decode({{10 | g << 4, 0, 0, 0}})) == 0);
    // 00 is a domain there, 01 a PASID, 11 all.
    cache_tag t;
    t.domain = 5;
    t.pasid = 9;
    auto const drops = [&](std::uint64_t q0) { return decode({{q0, 0, 0, 0}})->stale.drops(cache::pasid, t); };
    CHECK(drops(0x0000'0000'0005'0007));
    CHECK_FALSE(drops(0x0000'0000'0006'0007));
    CHECK(drops(0x0000'0009'0005'0017));
    CHECK_FALSE(drops(0x0000'0008'0005'0017));
    CHECK_FALSE(drops(0x0000'0009'0006'0017));
    CHECK(drops(0x0000'0008'0006'0037));
}

TEST_CASE("pages of a domain need PSI and an AM of at most MAMV, those of a PASID take any AM") {
    for (unsigned mamv = 0; mamv < 64; ++mamv)
        for (unsigned am = 0; am < 64; ++am) {
            caps_of c;
            c.cap.set<"MAMV">(mamv);
            CAPTURE(mamv, am);
            CHECK(error_of(decode({{0x32, am, 0, 0}}, c)) == (am <= mamv ? 0u : 4u));
            CHECK(error_of(decode({{0x22, am, 0, 0}}, c)) == 0); // AM does not count
            CHECK(error_of(decode({{0x36, am, 0, 0}}, c)) == 0);
            c.cap.set<"PSI">(0);
            CHECK(error_of(decode({{0x32, am, 0, 0}}, c)) == 4);
            CHECK(error_of(decode({{0x12, am, 0, 0}}, c)) == 0);
            CHECK(error_of(decode({{0x36, am, 0, 0}}, c)) == 0);
        }
}

TEST_CASE("ranges of indexes are at most 2^MHMV") {
    for (unsigned mhmv = 0; mhmv < 16; ++mhmv)
        for (unsigned im = 0; im < 32; ++im) {
            caps_of c;
            c.ecap.set<"MHMV">(mhmv);
            CAPTURE(mhmv, im);
            CHECK(error_of(decode({{0x14 | std::uint64_t{im} << 27, 0, 0, 0}}, c)) == (im <= mhmv ? 0u : 4u));
            CHECK(error_of(decode({{0x04 | std::uint64_t{im} << 27, 0, 0, 0}}, c)) == 0); // all: IM does not count
        }
}

TEST_CASE("IM: 2^IM naturally aligned indexes, up to all of them") {
    for (unsigned im = 0; im <= 15; ++im)
        for (unsigned const base : {0u, 0x8010u, 0xffffu}) {
            auto const stale =
                stale_of(vtd::invalidate_interrupts(static_cast<std::uint16_t>(base), static_cast<std::uint8_t>(im)));
            unsigned wrong = 0;
            for (unsigned index = 0; index < 0x10000; ++index)
                wrong += drops_index(stale, index) != (index / (1u << im) == base / (1u << im));
            CAPTURE(im, base);
            CHECK(wrong == 0);
        }
    CHECK(drops_index(stale_of(vtd::invalidate_interrupts()), 0));
    CHECK(drops_index(stale_of(vtd::invalidate_interrupts()), 0xffff));
}

TEST_CASE("B6: AM 0 to 52, with both neighbours of the range") {
    for (unsigned am = 0; am < 64; ++am)
        for (std::uint64_t const base : {std::uint64_t{0}, std::uint64_t{0x1234'5678'9abc'd000}, ~std::uint64_t{0xfff}}) {
            for (bool const by_pasid : {false, true}) {
                auto const lg2 = static_cast<std::uint8_t>(am);
                auto const stale = by_pasid ? stale_of(vtd::invalidate_pasid_iotlb(3, 4, iova{base}, lg2, false))
                                            : stale_of(vtd::invalidate_iotlb(3, iova{base}, lg2, false));
                cache const of = by_pasid ? cache::first_iotlb : cache::second_iotlb;
                CAPTURE(am, base, by_pasid);
                if (am >= 52) {
                    CHECK(stale.addresses == range<iova>::all());
                    continue;
                }
                std::uint64_t const size = std::uint64_t{4096} << am;
                std::uint64_t const first = base / size * size;
                std::uint64_t const last = first + (size - 1);
                CHECK(stale.addresses == from_to(first, last));
                CHECK(drops_page(stale, of, first));
                CHECK(drops_page(stale, of, last - 4095));
                if (first != 0) CHECK_FALSE(drops_page(stale, of, first - 4096));
                if (last != ~std::uint64_t{0}) CHECK_FALSE(drops_page(stale, of, last + 1));
            }
        }
    // 2 MiB and 1 GiB, where a mask of eight bits breaks.
    CHECK(stale_of(vtd::invalidate_iotlb(3, iova{0x4030'0000}, 9, false)).addresses == from_to(0x4020'0000, 0x403f'ffff));
    CHECK(stale_of(vtd::invalidate_iotlb(3, iova{0x7030'0000}, 18, false)).addresses == from_to(0x4000'0000, 0x7fff'ffff));
}

TEST_CASE("a large entry that holds the 4 KiB range is dropped, its neighbours are not") {
    auto const at = iova{0x4567'8000};
    auto const by_domain = stale_of(vtd::invalidate_iotlb(3, at, 0, false));
    auto const by_pasid = stale_of(vtd::invalidate_pasid_iotlb(3, 4, at, 0, false));
    auto const by_device = stale_of(vtd::invalidate_device_tlb(0x219, 0, at, 0));
    for (std::uint64_t const size : {4_KiB, 2_MiB, 1_GiB, 512_GiB}) {
        std::uint64_t const page = at.value / size * size;
        CAPTURE(size);
        for (auto const& [stale, of] : {std::pair{&by_domain, cache::second_iotlb},
                                        {&by_domain, cache::second_structure},
                                        {&by_pasid, cache::first_iotlb},
                                        {&by_pasid, cache::first_structure},
                                        {&by_device, cache::device}}) {
            CHECK(drops_page(*stale, of, page, size));
            CHECK_FALSE(drops_page(*stale, of, page + size, size));
            if (page >= size) CHECK_FALSE(drops_page(*stale, of, page - size, size));
        }
    }
}

TEST_CASE("B9: FM 0 to 3, every requester") {
    unsigned const count[] = {1, 2, 4, 8};
    for (std::uint8_t fm = 0; fm < 4; ++fm)
        for (std::uint16_t const source : {std::uint16_t{0x0219}, std::uint16_t{0}, std::uint16_t{0xffff}}) {
            auto const stale = stale_of(vtd::invalidate_contexts(7, source, fm), table_mode::legacy);
            unsigned dropped = 0;
            unsigned wrong = 0;
            std::uint32_t const keeps[] = {0xffff, 0xfffb, 0xfff9, 0xfff8};
            for (std::uint32_t s = 0; s < 0x10000; ++s) {
                bool const drops = drops_source(stale, static_cast<std::uint16_t>(s), 7);
                dropped += drops;
                wrong += drops != ((s & keeps[fm]) == (source & keeps[fm]));
                wrong += drops_source(stale, static_cast<std::uint16_t>(s), 6);
            }
            CAPTURE(fm, source);
            CHECK(dropped == count[fm]);
            CHECK(wrong == 0);
        }
}

TEST_CASE("S: twice the position of the lowest zero bit, up to everything") {
    for (unsigned n = 0; n < 52; ++n) {
        std::uint64_t const addr = n == 51 ? 0x7fff'ffff'ffff'f000 : (~std::uint64_t{0} << (13 + n)) | (low_mask(n) << 12);
        for (unsigned const type : {3u, 8u}) {
            words w = least(type);
            w.word[1] = addr | bit(type == 3 ? 0 : 11);
            auto const stale = decode(w)->stale;
            CAPTURE(n, type, addr);
            if (n == 51)
                CHECK(stale.addresses == range<iova>::all());
            else
                CHECK(stale.addresses == from_to(~std::uint64_t{0} << (13 + n), ~std::uint64_t{0}));
            w.word[1] = addr;
            CHECK(decode(w)->stale.addresses == from_to(addr, addr + 4095));
        }
    }
    // All ones: no zero bit is left, and nothing may stay.
    CHECK(decode({{3, ~std::uint64_t{0xffe}, 0, 0}})->stale.addresses == range<iova>::all());
    // 2^63 bytes are not yet everything.
    CHECK(decode({{3, 0x3fff'ffff'ffff'f001, 0, 0}})->stale.addresses == from_to(0, low_mask(63)));
}

TEST_CASE("device TLB: what the encoder says is what is dropped, 2^0 to 2^52 pages") {
    for (unsigned pages = 0; pages <= 52; ++pages)
        for (std::uint64_t const at : {std::uint64_t{0}, std::uint64_t{0x1234'5678'9abc'd000}, ~std::uint64_t{0}}) {
            auto const stale = stale_of(vtd::invalidate_device_tlb(0x219, 1, iova{at}, static_cast<std::uint8_t>(pages)));
            std::uint64_t const within = low_mask(12 + pages);
            CAPTURE(pages, at);
            CHECK(stale.addresses == from_to(at & ~within, at | within));
        }
}

TEST_CASE("PASID device TLB: GI drops every PASID") {
    cache_tag t;
    t.source = 0x219;
    t.pasid = 4;
    CHECK(decode({{0x0000'0004'0219'0008, 0, 0, 0}})->stale.drops(cache::device, t));
    CHECK_FALSE(decode({{0x0000'0005'0219'0008, 0, 0, 0}})->stale.drops(cache::device, t));
    CHECK(decode({{0x0000'0005'0219'0008, 1, 0, 0}})->stale.drops(cache::device, t));
    CHECK_FALSE(decode({{0x0000'0004'0218'0008, 1, 0, 0}})->stale.drops(cache::device, t));
}

TEST_CASE("IH keeps the paging structures, and nothing else") {
    for (bool const leaves_only : {false, true}) {
        auto const by_domain = stale_of(vtd::invalidate_iotlb(3, iova{0x1000}, 0, leaves_only));
        CHECK(drops_page(by_domain, cache::second_structure, 0x1000) == !leaves_only);
        CHECK(drops_page(by_domain, cache::first_structure, 0x1000)); // the whole domain, whatever IH says
        CHECK(drops_page(by_domain, cache::second_iotlb, 0x1000));
        CHECK(drops_page(by_domain, cache::first_iotlb, 0x1000));
        CHECK(drops_page(by_domain, cache::first_iotlb, 0x9999'9000));
        auto const by_pasid = stale_of(vtd::invalidate_pasid_iotlb(3, 4, iova{0x1000}, 0, leaves_only));
        CHECK(drops_page(by_pasid, cache::first_structure, 0x1000) == !leaves_only);
        CHECK(drops_page(by_pasid, cache::first_iotlb, 0x1000));
        CHECK_FALSE(drops_page(by_pasid, cache::second_iotlb, 0x1000));
        CHECK_FALSE(drops_page(by_pasid, cache::second_structure, 0x1000));
    }
    // With G of a domain or a PASID, IH does not count.
    CHECK(drops_page(decode({{0x0003'0022, 0x40, 0, 0}})->stale, cache::second_structure, 0));
    auto d = vtd::invalidate_pasid_iotlb(3, 4);
    d.set<"IH">(1);
    CHECK(drops_page(stale_of(d), cache::first_structure, 0));
    CHECK(drops_page(stale_of(d), cache::second_iotlb, 0)); // a PASID's second-stage entries go, too
}

TEST_CASE("contexts have a domain in legacy mode and none in scalable mode") {
    auto const of_domain = vtd::invalidate_contexts(7);
    auto const of_source = vtd::invalidate_contexts(7, 0x219, 0);
    CHECK(drops_source(stale_of(of_domain, table_mode::legacy), 0x300, 7));
    CHECK_FALSE(drops_source(stale_of(of_domain, table_mode::legacy), 0x300, 8));
    CHECK_FALSE(drops_source(stale_of(of_source, table_mode::legacy), 0x219, 8));
    for (auto const mode : {table_mode::scalable, table_mode::abort}) {
        CHECK(drops_source(stale_of(of_domain, mode), 0x300, 8)); // processed as global
        CHECK(drops_source(stale_of(of_source, mode), 0x219, 8)); // DID is ignored
        CHECK_FALSE(drops_source(stale_of(of_source, mode), 0x21a, 7));
    }
}

TEST_CASE("ND: DID bits above the width of a domain id are ignored in descriptors") {
    for (unsigned nd = 0; nd <= 6; ++nd) {
        caps_of c;
        c.cap.set<"ND">(nd);
        std::uint64_t const known = low_mask(4 + 2 * nd);
        std::uint64_t const did = 0xfff5;
        cache_tag t;
        t.domain = static_cast<std::uint16_t>(did & known);
        t.pasid = 0;
        CAPTURE(nd);
        CHECK(decode({{0x21 | did << 16, 0, 0, 0}}, c, table_mode::legacy)->stale.drops(cache::context, t));
        CHECK(decode({{0x22 | did << 16, 0, 0, 0}}, c)->stale.drops(cache::second_iotlb, t));
        CHECK(decode({{0x26 | did << 16, 0, 0, 0}}, c)->stale.drops(cache::first_iotlb, t));
        CHECK(decode({{0x07 | did << 16, 0, 0, 0}}, c)->stale.drops(cache::pasid, t));
        t.domain ^= 1;
        CHECK_FALSE(decode({{0x22 | did << 16, 0, 0, 0}}, c)->stale.drops(cache::second_iotlb, t));
    }
}

TEST_CASE("a wait with neither SW nor IF completes, like one with any flags") {
    for (std::uint64_t flags = 0; flags < 16; ++flags) {
        words const w{{5 | flags << 4 | 0xcafe'0000'0000, 0x1234'5678'9abc'def4, 0, 0}};
        auto const c = decode(w);
        CAPTURE(flags);
        REQUIRE(c);
        CHECK(type_of(*c) == 5);
        for (auto const& scope : c->stale.scope)
            CHECK_FALSE(scope.drops);
    }
}

TEST_CASE("IQEI 1, 6: every tail of every size of queue") {
    for (unsigned qs = 0; qs < 8; ++qs)
        for (bool const is_wide : {false, true}) {
            vtd::invalidation_queue_address const queue{0x1000u | (is_wide ? 0x800u : 0u) | qs};
            std::uint64_t const entry = is_wide ? 32 : 16;
            std::uint64_t const entries = std::uint64_t{1} << (qs + (is_wide ? 7 : 8));
            unsigned wrong = 0;
            for (std::uint64_t tail = 0; tail < bit(19); tail += 16) {
                unsigned expected = tail / entry >= entries ? 1 : 0;
                if (tail % entry != 0) expected = 6;
                auto const o = vtd::judge_tail(queue, tail);
                wrong += error_of(o) != expected || (o && *o != tail);
            }
            CAPTURE(qs, is_wide);
            CHECK(wrong == 0);
        }
    // What IQT does not have is not looked at.
    CHECK(*vtd::judge_tail(wide, ~bit_mask(18, 4) | 0x20) == 0x20);
}

TEST_CASE("brute force: what each descriptor drops in each cache, against the tables of granularities") {
    std::uint64_t const domains[] = {0, 7, 0xfff7};
    std::uint64_t const pasids[] = {0, 0x12345, 0xfffff};
    std::uint64_t const sources[] = {0x0219, 0x021d, 0x021e, 0x0319};
    std::uint64_t const indexes[] = {0, 0x8010, 0x8013, 0x8017, 0x8018, 0xffff};
    struct page {
        std::uint64_t at, size;
    };
    page const pages[] = {{0, 4_KiB},           {0x4000'0000, 4_KiB},          {0x4000'1000, 4_KiB}, {0x401f'f000, 4_KiB},
                          {0x4020'0000, 4_KiB}, {0x4000'0000, 2_MiB},          {0x4020'0000, 2_MiB}, {0x4000'0000, 1_GiB},
                          {0x8000'0000, 1_GiB}, {~std::uint64_t{0xfff}, 4_KiB}};
    std::vector<vtd_scopes::item> items;
    for (auto const domain : domains)
        for (auto const pasid : pasids)
            for (auto const source : sources)
                for (auto const& p : pages) {
                    auto const index = indexes[items.size() % 6];
                    items.push_back({source, domain, pasid, p.at, p.at + (p.size - 1), index});
                }

    std::vector<words> all;
    std::uint64_t const bases[] = {0x4000'0000, 0x4000'1000, 0x401f'f000, 0, ~std::uint64_t{0xfff}};
    auto const add = [&](std::uint64_t q0, std::uint64_t q1) { all.push_back({{q0, q1, 0, 0}}); };
    for (std::uint64_t g = 0; g < 4; ++g)
        for (auto const domain : domains) {
            for (auto const source : sources)
                for (std::uint64_t fm = 0; fm < 4; ++fm)
                    add(1 | g << 4 | domain << 16 | source << 32 | fm << 48, 0);
            for (auto const pasid : pasids)
                add(7 | g << 4 | domain << 16 | pasid << 32, 0);
            for (auto const base : bases)
                for (std::uint64_t const am : {0u, 1u, 9u, 18u, 51u, 52u, 63u})
                    for (std::uint64_t ih = 0; ih < 2; ++ih) {
                        add(2 | g << 4 | domain << 16, base | am | ih << 6);
                        add(10 | g << 4 | domain << 16, base | am | ih << 6);
                        for (auto const pasid : pasids)
                            add(6 | g << 4 | domain << 16 | pasid << 32, base | am | ih << 6);
                    }
        }
    for (auto const source : sources)
        for (std::uint64_t const addr : {std::uint64_t{0x4000'0000}, std::uint64_t{0x4000'1000}, std::uint64_t{0x400f'f000},
                                         std::uint64_t{0x5fff'f000}, low_mask(63) & ~low_mask(12), ~low_mask(12)})
            for (std::uint64_t s = 0; s < 2; ++s) {
                add(3 | source << 32, addr | s);
                for (auto const pasid : pasids)
                    for (std::uint64_t gi = 0; gi < 2; ++gi)
                        add(8 | source << 16 | pasid << 32, addr | s << 11 | gi);
            }
    for (auto const index : indexes)
        for (std::uint64_t im = 0; im < 16; ++im)
            for (std::uint64_t g = 0; g < 2; ++g)
                add(4 | g << 4 | im << 27 | index << 32, 0);
    add(0x65, 0);
    add(0x9, 0);

    std::uint64_t dropped[11][vtd_scopes::places]{};
    std::uint64_t kept[11][vtd_scopes::places]{};
    std::uint64_t wrong = 0;
    for (unsigned const mode : {0u, 1u, 3u})
        for (unsigned const nd : {0u, 6u}) {
            caps_of c;
            c.cap.set<"ND">(nd);
            vtd_scopes::unit const u{c.cap.word[0], c.ecap.word[0], mode, true};
            for (auto const& w : all) {
                auto const o = decode(w, c, static_cast<table_mode>(mode));
                CAPTURE(mode, nd, w.word[0], w.word[1]);
                if (error_of(o) != vtd_scopes::error_of(u, w)) FAIL("IQEI " << error_of(o));
                if (!o) continue;
                for (auto const& i : items) {
                    cache_tag t;
                    t.source = static_cast<std::uint16_t>(i.source);
                    t.domain = static_cast<std::uint16_t>(i.domain & (nd == 0 ? 15 : 0xffff));
                    t.pasid = static_cast<std::uint32_t>(i.pasid);
                    t.page = from_to(i.first, i.last);
                    t.index = static_cast<std::uint16_t>(i.index);
                    for (unsigned place = 0; place < vtd_scopes::places; ++place) {
                        bool const expected = vtd_scopes::drops(u, w, static_cast<vtd_scopes::place>(place), i);
                        ++(expected ? dropped : kept)[type_of(*o)][place];
                        if (o->stale.drops(static_cast<cache>(place), t) == expected) continue;
                        if (wrong++ == 0) UNSCOPED_INFO("first: cache " << place << " source " << i.source << " at " << i.first);
                    }
                }
                REQUIRE(wrong == 0);
            }
        }
    // Each cell that can drop anything has dropped something and kept something, save the one that drops everything.
    for (unsigned type = 1; type <= 10; ++type)
        for (unsigned place = 0; place < vtd_scopes::places; ++place) {
            bool const touches = (type == 1 && place == vtd_scopes::context) || (type == 7 && place == vtd_scopes::pasid) ||
                                 (type == 2 && place >= vtd_scopes::second_iotlb && place <= vtd_scopes::first_structure) ||
                                 (type == 6 && place >= vtd_scopes::second_iotlb && place <= vtd_scopes::first_structure &&
                                  place != vtd_scopes::second_structure) ||
                                 (type == 4 && place == vtd_scopes::interrupt) ||
                                 ((type == 3 || type == 8) && place == vtd_scopes::device) ||
                                 (type == 10 && place == vtd_scopes::host_permission);
            CAPTURE(type, place);
            CHECK((dropped[type][place] != 0) == touches);
            CHECK((kept[type][place] != 0) == (type != 10 || place != vtd_scopes::host_permission));
        }
}

TEST_CASE("registers: CCMD starts what a context-cache descriptor does, and tells what was done") {
    caps_of const caps;
    for (std::uint64_t cirg = 0; cirg < 4; ++cirg)
        for (std::uint64_t fm = 0; fm < 4; ++fm) {
            // ICC, CIRG, a stale CAIG, FM, SID 0219h, DID 7
            vtd::context_command_register const written{bit(63) | cirg << 61 | 3ull << 59 | fm << 32 | 0x0219'0007};
            auto const a = vtd::invalidate_by_register(written, false, table_mode::legacy, caps);
            CAPTURE(cirg, fm);
            CHECK(a.value.word[0] == (cirg << 61 | cirg << 59 | fm << 32 | 0x0219'0007));
            std::uint16_t const ignored[]{0, 4, 6, 7};
            for (unsigned source : {0x218u, 0x219u, 0x21bu, 0x21du, 0x21fu, 0x319u})
                for (unsigned domain : {7u, 8u}) {
                    bool const same = ((source ^ 0x219) & ~unsigned{ignored[fm]}) == 0;
                    bool const expected = cirg == 1 || (cirg == 2 && domain == 7) || (cirg == 3 && domain == 7 && same);
                    CHECK(drops_source(a.stale, static_cast<std::uint16_t>(source), static_cast<std::uint16_t>(domain)) ==
                          expected);
                }
            CHECK_FALSE(a.stale.of(cache::second_iotlb).drops);
        }
}

TEST_CASE("registers: IOTLB and IVA start what an IOTLB descriptor does, and tell what was done") {
    caps_of caps;
    caps.cap.set<"MAMV">(9);
    // ADDR 40000000h, AM 9, IH as told; DID 7, drains.
    auto const ask = [&](std::uint64_t iirg, std::uint64_t iva) {
        vtd::iotlb_register const written{bit(63) | iirg << 60 | 3ull << 57 | 0x0003'0007'0000'0000};
        return vtd::invalidate_by_register(written, vtd::invalidate_address_register{iva}, false, table_mode::legacy, caps);
    };
    for (std::uint64_t iirg = 0; iirg < 4; ++iirg) {
        auto const a = ask(iirg, 0x4000'0009);
        CAPTURE(iirg);
        CHECK(a.value.word[0] == (iirg << 60 | iirg << 57 | 0x0003'0007'0000'0000));
        if (iirg == 0) {
            CHECK_FALSE(a.stale.of(cache::second_iotlb).drops);
            continue;
        }
        auto d = iirg == 1   ? vtd::invalidate_iotlb()
                 : iirg == 2 ? vtd::invalidate_iotlb(7)
                             : vtd::invalidate_iotlb(7, iova{0x4000'0000}, 9, false);
        auto const same = stale_of(d, table_mode::legacy);
        for (std::size_t c = 0; c < vtd::cache_kinds; ++c)
            CHECK(a.stale.scope[c] == same.scope[c]);
        CHECK(drops_page(a.stale, cache::second_iotlb, 0x401f'f000));
        CHECK(drops_page(a.stale, cache::second_iotlb, 0x4020'0000) == (iirg != 3));
        CHECK(a.stale.domain == (iirg == 1 ? 7 : same.domain));
    }
    CHECK_FALSE(ask(3, 0x4000'0049).stale.of(cache::second_structure).drops); // IH
    // More pages than MAMV allows are refused, where pages are asked for.
    CHECK(ask(3, 0x4000'000a).value.get<"IAIG">() == 0);
    CHECK_FALSE(ask(3, 0x4000'000a).stale.of(cache::second_iotlb).drops);
    CHECK(ask(2, 0x4000'000a).value.get<"IAIG">() == 2);
    // Without PSI the whole domain goes.
    caps.cap.set<"PSI">(0);
    CHECK(ask(3, 0x4000'0009).value.get<"IAIG">() == 2);
    CHECK(drops_page(ask(3, 0x4000'0009).stale, cache::second_iotlb, 0x9999'9000));
}

TEST_CASE("registers: taken by units up to version 5, in legacy mode, with the queue off, else nothing is done") {
    caps_of const all;
    for (std::uint64_t major = 1; major < 16; ++major)
        for (bool const queue_enabled : {false, true})
            for (unsigned mode = 0; mode < 4; ++mode) {
                vtd::capabilities caps = all;
                caps.version = major << 4;
                auto const ttm = static_cast<table_mode>(mode);
                bool const taken = major <= 5 && !queue_enabled && mode == 0;
                CAPTURE(major, queue_enabled, mode);
                auto const c =
                    vtd::invalidate_by_register(vtd::context_command_register{bit(63) | bit(61)}, queue_enabled, ttm, caps);
                CHECK(c.value.word[0] == (bit(61) | (taken ? bit(59) : 0)));
                CHECK(c.stale.of(cache::context).drops == taken);
                auto const i = vtd::invalidate_by_register(vtd::iotlb_register{bit(63) | bit(60)}, {}, queue_enabled, ttm, caps);
                CHECK(i.value.word[0] == (bit(60) | (taken ? bit(57) : 0)));
                CHECK(i.stale.of(cache::first_iotlb).drops == taken);
            }
    // Without ICC or IVT a write is only a write.
    auto const c = vtd::invalidate_by_register(vtd::context_command_register{~bit(63)}, false, table_mode::legacy, all);
    CHECK(c.value.word[0] == ~bit(63));
    CHECK_FALSE(c.stale.of(cache::context).drops);
    auto const i = vtd::invalidate_by_register(vtd::iotlb_register{~bit(63)}, {}, false, table_mode::legacy, all);
    CHECK(i.value.word[0] == ~bit(63));
    CHECK_FALSE(i.stale.of(cache::second_iotlb).drops);
}

TEST_CASE("the caches are numbered as the model numbers them") {
    CHECK(vtd::cache_kinds == vtd_scopes::places);
    CHECK(static_cast<int>(cache::context) == vtd_scopes::context);
    CHECK(static_cast<int>(cache::pasid) == vtd_scopes::pasid);
    CHECK(static_cast<int>(cache::second_iotlb) == vtd_scopes::second_iotlb);
    CHECK(static_cast<int>(cache::first_iotlb) == vtd_scopes::first_iotlb);
    CHECK(static_cast<int>(cache::second_structure) == vtd_scopes::second_structure);
    CHECK(static_cast<int>(cache::first_structure) == vtd_scopes::first_structure);
    CHECK(static_cast<int>(cache::interrupt) == vtd_scopes::interrupt);
    CHECK(static_cast<int>(cache::device) == vtd_scopes::device);
    CHECK(static_cast<int>(cache::host_permission) == vtd_scopes::host_permission);
}

TEST_CASE("descriptors are made and judged at compile time") {
    constexpr vtd::iotlb_command d = vtd::invalidate_iotlb(7, iova{0x4000'0000}, 9, true);
    constexpr std::uint64_t w[4]{d.word[0], d.word[1], 0, 0};
    constexpr auto c = vtd::decode(w, narrow, table_mode::legacy, vtd::capabilities{bit_mask(39, 39) | bit_mask(53, 48), 0, 46});
    static_assert(c && c->type == command_type::iotlb);
    CHECK(c->stale.addresses.first() == iova{0x4000'0000});
}

} // namespace stagewalk::test
