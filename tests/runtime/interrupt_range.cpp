// FEE00000h to FEEFFFFFh: section 4.7 of docs/coverage.md, row by row.
#include "sheet_unit.hpp"

#include <cstdint>
#include <initializer_list>

namespace stagewalk::test {
namespace {

using vtd::translation_type;

constexpr std::uint64_t below = 0xfedf'ffff;
constexpr std::uint64_t first = 0xfee0'0000;
constexpr std::uint64_t last = 0xfeef'ffff;
constexpr std::uint64_t above = 0xfef0'0000;

// A unit whose device sees 1 GiB of identity around the range.
sheet_unit identity() {
    sheet_unit u;
    u.memory[0x3000'0000] = 0x3100'0003;
    u.memory[0x3100'0018] = 0xc000'0083;
    return u;
}

} // namespace

TEST_CASE("FEEx row 1: a DWORD write is an interrupt, whatever the tables map") {
    auto u = identity();
    for (std::uint64_t const at : std::initializer_list<std::uint64_t>{first, first + 0xabc, last & ~std::uint64_t{3}}) {
        auto const found = u.translate(u.sized(at, write, 4));
        CAPTURE(at);
        REQUIRE(found);
        CHECK(found->by == passage::interrupt);
        CHECK(found->output == ipa{at});
        CHECK(u.memory.trail.empty());
    }
    // Even where nothing is mapped, or the device is unknown.
    u.memory[u.root] = 0;
    CHECK(u.translate(u.sized(first, write, 4))->by == passage::interrupt);
}

TEST_CASE("FEEx row 2: a zero-length read bypasses the tables") {
    auto u = identity();
    auto const found = u.translate(u.sized(first, read, 0));
    REQUIRE(found);
    CHECK(found->by == passage::bypassed);
    CHECK(found->output == ipa{first});
    CHECK(u.memory.trail.empty());
}

TEST_CASE("FEEx row 3: other reads, atomics and other writes are 29h") {
    auto u = identity();
    for (std::uint32_t const bytes : {1u, 2u, 4u, 8u, 64u, 4096u}) {
        CAPTURE(bytes);
        CHECK(code_of(u.translate(u.sized(first, read, bytes))) == reason::interrupt_request_illegal);
        CHECK(code_of(u.translate(u.sized(last, read_write, bytes))) == reason::interrupt_request_illegal);
        if (bytes != 4) CHECK(code_of(u.translate(u.sized(first, write, bytes))) == reason::interrupt_request_illegal);
    }
    CHECK(code_of(u.translate(u.sized(first, write, 0))) == reason::interrupt_request_illegal);
    CHECK(code_of(u.translate(u.sized(first, read_write, 0))) == reason::interrupt_request_illegal);
}

TEST_CASE("FEEx rows 1 to 3 end at the boundary addresses") {
    auto u = identity();
    for (std::uint64_t const at : std::initializer_list<std::uint64_t>{below, above}) {
        auto const found = u.translate(u.sized(at, write, 4));
        CAPTURE(at);
        REQUIRE(found);
        CHECK(found->by == passage::walked);
        CHECK(found->output == ipa{at});
        CHECK(u.translate(at, read)->output == ipa{at});
    }
    for (std::uint64_t const at : std::initializer_list<std::uint64_t>{first, last}) {
        CAPTURE(at);
        CHECK(code_of(u.translate(at, read)) == reason::interrupt_request_illegal);
    }
    // 64-bit addresses that merely end like it are memory.
    CHECK(code_of(u.translate(0x1'fee0'0000)) == reason::read_denied);
}

TEST_CASE("FEEx rows 5 and 6: a translation request is no fault") {
    auto u = identity();
    u.translation(translation_type::device_tlb);
    u.ecap.set<"NWFS">(1);
    vtd::request r = u.typed(first + 0x123, request_type::translation);
    auto const writable = u.translate(r);
    REQUIRE(writable);
    CHECK(writable->effective.rights() == write);
    CHECK(writable->by == passage::interrupt);
    r.no_write = true;
    auto const nothing = u.translate(r);
    REQUIRE(nothing);
    CHECK(nothing->effective.rights() == none);
    CHECK(u.memory.trail.empty());
    // A unit without NWFS takes NW for 0.
    u.ecap.set<"NWFS">(0);
    REQUIRE(u.translate(r));
    CHECK(u.translate(r)->effective.rights() == write);
}

TEST_CASE("FEEx row 7: a translated request in the range is Eh") {
    auto u = identity();
    u.translation(translation_type::device_tlb);
    for (std::uint64_t const at : std::initializer_list<std::uint64_t>{first, last}) {
        CAPTURE(at);
        check_fault(u.translate(u.typed(at, request_type::translated)), reason::output_in_interrupt_range,
                    address_itself(fault_stage::configuration), at);
        CHECK(code_of(u.translate(u.typed(at, request_type::translated, write))) == reason::output_in_interrupt_range);
    }
    for (std::uint64_t const at : std::initializer_list<std::uint64_t>{below, above}) {
        CAPTURE(at);
        CHECK(u.translate(u.typed(at, request_type::translated))->output == ipa{at});
    }
}

TEST_CASE("FEEx row 8: an untranslated access counts with its very output address") {
    sheet_unit u;
    // Four pages around the edges of the range.
    struct {
        std::uint64_t page;
        bool blocked;
    } const pages[] = {{0xfedf'f000, false}, {0xfee0'0000, true}, {0xfeef'f000, true}, {0xfef0'0000, false}};
    for (auto const& p : pages) {
        u.memory[u.l1] = p.page | 3;
        CAPTURE(p.page);
        for (std::uint64_t const offset : std::initializer_list<std::uint64_t>{0x000, 0xfff}) {
            auto const found = u.translate((u.at & ~low_mask(12)) | offset);
            CHECK(code_of(found) == (p.blocked ? reason::output_in_interrupt_range : reason::none));
        }
    }
    // A 2 MiB page at FEE00000h is half memory.
    u.memory[u.l2] = 0xfee0'0083;
    std::uint64_t const base = u.at & ~low_mask(21);
    CHECK(code_of(u.translate(base)) == reason::output_in_interrupt_range);
    CHECK(code_of(u.translate(base + 0xf'ffff)) == reason::output_in_interrupt_range);
    REQUIRE(u.translate(base + 0x10'0000));
    CHECK(u.translate(base + 0x10'0000)->output == ipa{0xfef0'0000});
    // A 1 GiB page at C0000000h lets nothing through at offset 3EE00000h.
    u.memory[u.l3] = 0xc000'0083;
    std::uint64_t const wide = u.at & ~low_mask(30);
    CHECK(code_of(u.translate(wide + 0x3ee0'0000)) == reason::output_in_interrupt_range);
    CHECK(u.translate(wide + 0x3edf'ffff));
    CHECK(u.translate(wide + 0x3ef0'0000));
}

TEST_CASE("FEEx row 9: a translation request counts with the whole page") {
    sheet_unit u;
    u.translation(translation_type::device_tlb);
    u.memory[u.l2] = 0xfee0'0083;
    std::uint64_t const base = u.at & ~low_mask(21);
    auto const code = [&](std::uint64_t at) { return code_of(u.translate(u.typed(at, request_type::translation))); };
    CHECK(code(base) == reason::output_in_interrupt_range);
    CHECK(code(base + 0x1f'ffff) == reason::output_in_interrupt_range);
    u.memory[u.l2] = 0xfec0'0083; // the page below
    CHECK(code(base + 0x1f'ffff) == reason::none);
    u.memory[u.l2] = 0xff00'0083; // the page above
    CHECK(code(base) == reason::none);
    u.memory[u.l3] = 0xc000'0083;
    CHECK(code(u.at) == reason::output_in_interrupt_range);
    u.memory[u.l3] = 0x8000'0083;
    CHECK(code(u.at) == reason::none);
}

TEST_CASE("FEEx: a tool that looks at tables alone sees none of it") {
    auto u = identity();
    u.set.interrupt_ranges = false;
    CHECK(u.translate(first, read)->output == ipa{first});
    CHECK(u.translate(last, write)->by == passage::walked);
    u.translation(translation_type::pass_through);
    CHECK(u.translate(first, read)->by == passage::bypassed);
    u.translation(translation_type::device_tlb);
    CHECK(u.translate(u.typed(first, request_type::translated))->output == ipa{first});
    CHECK(u.translate(u.typed(first, request_type::translation))->effective.rights() == read_write);
}

} // namespace stagewalk::test
