// The worked examples (section 12 of docs/coverage.md) that concern legacy mode, bit by bit, by their numbers.
#include "sheet_unit.hpp"

#include <cstdint>
#include <initializer_list>

namespace stagewalk::test {
namespace {

std::uint64_t bit(unsigned n) { return std::uint64_t{1} << n; }

} // namespace

TEST_CASE("example 1: the root table address register") {
    vtd::root_table_address const scalable{0x1234'5400};
    CHECK(scalable.get<"RTA">() == 0x1234'5000);
    CHECK(scalable.get<"TTM">() == 1);
    CHECK(vtd::root_table_address(0x1234'5800).get<"TTM">() == 2);
    CHECK(vtd::root_table_address(0x1234'5c00).get<"TTM">() == 3);
    sheet_unit u;
    u.root_register = 0x1234'5800;
    CHECK(code_of(u.translate()) == reason::root_pointer_invalid);
    u.root_register = 0x1234'5c00;
    CHECK(code_of(u.translate()) == reason::dma_aborted);
    u.ecap.set<"ADMS">(0);
    CHECK(code_of(u.translate()) == reason::root_pointer_invalid);
}

TEST_CASE("example 2: the way to the context entry") {
    sheet_unit u;
    REQUIRE(u.translate());
    CHECK(u.memory.trail[0] == 0x1000'0020);
    CHECK(u.memory.trail[1] == 0x1000'0028);
    CHECK(u.memory.trail[2] == 0x2000'0190);
    CHECK(u.memory.trail[3] == 0x2000'0198);
    vtd::context_entry const e(0x3000'0001u, 0x702u);
    CHECK(e.get<"P">() == 1);
    CHECK(e.get<"FPD">() == 0);
    CHECK(e.get<"TT">() == 0);
    CHECK(e.get<"SSPTPTR">() == 0x3000'0000);
    CHECK(e.get<"AW">() == 2);
    CHECK(e.get<"DID">() == 7);
    u.memory[u.context + 8] = 0x706;
    CHECK(code_of(u.translate()) == reason::context_invalid);
    u.memory[u.context + 8] = 0x782;
    CHECK(code_of(u.translate()) == reason::context_reserved);
    u.memory[u.context + 8] = 0x702;
    u.memory[u.context] = 0x3000'000d;
    CHECK(code_of(u.translate()) == reason::context_invalid);
    u.memory[u.context] = 2;
    CHECK(code_of(u.translate()) == reason::context_not_present);
    CHECK_FALSE(u.translate().error().reported);
    u.memory[u.context] = 0x3000'0009;
    CHECK(u.translate());
    u.ecap.set<"PT">(0);
    CHECK(code_of(u.translate()) == reason::context_invalid);
}

TEST_CASE("example 3: four levels, 4 KiB") {
    sheet_unit u;
    auto const found = u.translate();
    REQUIRE(found);
    CHECK(found->output == ipa{0x0000'0abc'de00'0abc});
    CHECK(found->lg2_size == 12);
    CHECK(found->effective.rights() == read_write);
    CHECK((found->effective.bits & 0x800) != 0); // SNP
    CHECK(found->by == passage::walked);
    REQUIRE(u.memory.trail.size() == 8);
    CHECK(u.memory.trail[4] == 0x3000'0120);
    CHECK(u.memory.trail[5] == 0x3100'0688);
    CHECK(u.memory.trail[6] == 0x3200'0598);
    CHECK(u.memory.trail[7] == 0x3300'0c48);
    u.ecap.set<"SC">(0);
    CHECK(code_of(u.translate()) == reason::table_reserved);
}

TEST_CASE("example 4: a 2 MiB leaf") {
    sheet_unit u;
    u.memory[u.l2] = 0x0000'0001'4020'0883;
    auto const found = u.translate();
    REQUIRE(found);
    CHECK(found->output == ipa{0x1'4038'9abc});
    CHECK(found->lg2_size == 21);
    CHECK(u.memory.trail.size() == 7);
}

TEST_CASE("example 5: reserved bits") {
    struct {
        std::uint64_t at;
        std::uint64_t entry;
        bool fine;
    } const cases[] = {
        {sheet_unit::l2, 0x1'4020'1083, false},         {sheet_unit::l3, 0x3200'0803, false},
        {sheet_unit::l3, 0x4000'0000'3200'0003, false}, {sheet_unit::l3, 0x0000'4000'3200'0003, false},
        {sheet_unit::l3, 0x8000'0000'3200'0003, true},  {sheet_unit::l4, 0x3100'0083, false},
        {sheet_unit::l1, 0x0000'0abc'de00'0083, true},
    };
    for (auto const& c : cases) {
        sheet_unit u;
        u.memory[c.at] = c.entry;
        CAPTURE(c.at, c.entry);
        CHECK(code_of(u.translate()) == (c.fine ? reason::none : reason::table_reserved));
        if (c.fine) CHECK(u.translate()->output == ipa{0xabc'de00'0abc});
    }
}

TEST_CASE("example 6: widths") {
    sheet_unit u;
    u.address_width(1);
    CHECK(code_of(u.translate(0x80'0000'0000)) == reason::address_beyond_width);
    // 7FFFFFFFFFh walks: the last entry of a table of three levels.
    u.memory[0x3000'0ff8] = 0x1'4000'0083;
    REQUIRE(u.translate(0x7f'ffff'ffff));
    CHECK(u.translate(0x7f'ffff'ffff)->output == ipa{0x1'7fff'ffff});
    CHECK(u.translate(0x7f'ffff'ffff)->lg2_size == 30);
    // MGAW narrower than AGAW.
    sheet_unit narrow;
    narrow.cap.set<"MGAW">(45);
    CHECK(code_of(narrow.translate(0x4000'0000'0000)) == reason::address_beyond_width);
    CHECK(code_of(narrow.translate(0x3fff'ffff'ffff)) == reason::read_denied); // walks, and finds nothing
}

TEST_CASE("example 7: rights") {
    sheet_unit u;
    u.memory[u.l2] = 0x3300'0001;
    CHECK(u.translate(read));
    CHECK(code_of(u.translate(write)) == reason::write_denied);
    u.memory[u.l1] = 0xabc'de00'0002;
    CHECK(code_of(u.translate(read)) == reason::read_denied);
    CHECK(code_of(u.translate(write)) == reason::write_denied);
    u.memory[u.l2] = 0x3300'0003;
    CHECK(code_of(u.translate(read)) == reason::read_denied);
    CHECK(code_of(u.translate(u.sized(u.at, read, 0))) == reason::read_denied);
    u.cap.set<"ZLR">(1);
    CHECK(u.translate(u.sized(u.at, read, 0)));
    CHECK(code_of(u.translate(read)) == reason::read_denied);
    for (std::uint64_t const nothing : std::initializer_list<std::uint64_t>{0x0, 0xffc}) {
        u.memory[u.l1] = nothing;
        CHECK(code_of(u.translate(read)) == reason::read_denied);
        CHECK(code_of(u.translate(write)) == reason::write_denied);
    }
}

TEST_CASE("example 8: the interrupt range as an output") {
    sheet_unit u;
    u.translation(vtd::translation_type::device_tlb);
    u.memory[u.l1] = 0xfee0'0003;
    CHECK(code_of(u.translate()) == reason::output_in_interrupt_range);
    // A 2 MiB leaf at FEE00000h: an access counts with its own address, a translation request with the whole page.
    u.memory[u.l2] = 0xfee0'0083;
    std::uint64_t const inside = (u.at & ~low_mask(21)) + 0x10'0000;
    REQUIRE(u.translate(inside));
    CHECK(u.translate(inside)->output == ipa{0xfef0'0000});
    auto const asked = u.translate(u.typed(inside, request_type::translation));
    CHECK(code_of(asked) == reason::output_in_interrupt_range);
    CHECK(vtd::response_to(asked.error().code, request_type::translation) == vtd::response::completer_abort);
    CHECK(asked.error().reported);
}

TEST_CASE("example 18: fault records") {
    sheet_unit u;
    fault<reason> f;
    f.code = reason{0x85};
    vtd::request r = u.ask(0x7f00'0000'1234, write);
    r.pasid = 0x12345;
    auto record = vtd::to_record(u.caps(), f, r);
    CHECK(record.word[0] == 0x0000'7f00'0000'1000);
    CHECK(record.word[1] == 0x8123'4585'8000'0219);

    f.code = reason::read_denied;
    record = vtd::to_record(u.caps(), f, u.ask(0x7f00'0000'1234, read));
    CHECK(record.word[1] == 0xc000'0006'0000'0219);

    f.code = reason{0x86};
    r = u.ask(0x7f00'0000'1234, read_write | privileged);
    r.source = 0x0388;
    r.pasid = 3;
    record = vtd::to_record(u.caps(), f, r);
    CHECK(record.word[1] == 0xc000'0386'b000'0388);
}

TEST_CASE("fault records: each field alone") {
    sheet_unit u;
    fault<reason> f;
    vtd::request r;
    r.access = write;
    // A write by 0000h without PASID: F alone.
    CHECK(vtd::to_record(u.caps(), f, r) == vtd::fault_record(0u, bit(63)));
    r.access = read;
    CHECK(vtd::to_record(u.caps(), f, r) == vtd::fault_record(0u, bit(63) | bit(62)));
    r.access = read_write;
    CHECK(vtd::to_record(u.caps(), f, r) == vtd::fault_record(0u, bit(63) | bit(62) | bit(28)));
    r.type = request_type::page; // T1 = 0, T2 = 1 whatever it wants; it carries no AT
    CHECK(vtd::to_record(u.caps(), f, r) == vtd::fault_record(0u, bit(63) | bit(28)));
    r.type = request_type::translation;
    r.access = write;
    CHECK(vtd::to_record(u.caps(), f, r) == vtd::fault_record(0u, bit(63) | bit(60)));
    r.type = request_type::translated;
    CHECK(vtd::to_record(u.caps(), f, r) == vtd::fault_record(0u, bit(63) | bit(61)));
    u.ecap.set<"DT">(0); // AT is reserved without device-TLBs
    CHECK(vtd::to_record(u.caps(), f, r) == vtd::fault_record(0u, bit(63)));
    r.type = request_type::untranslated;
    r.source = 0xffff;
    f.code = reason{0xff};
    CHECK(vtd::to_record(u.caps(), f, r) == vtd::fault_record(0u, bit(63) | 0xff'0000'ffff));
    r.source = 0;
    f.code = reason::none;
    // PRIV and EXE count with a PASID only, and EXE for reads only.
    r.access = read | execute | privileged;
    CHECK(vtd::to_record(u.caps(), f, r) == vtd::fault_record(0u, bit(63) | bit(62)));
    r.pasid = 0;
    CHECK(vtd::to_record(u.caps(), f, r) == vtd::fault_record(0u, bit(63) | bit(62) | bit(31) | bit(30) | bit(29)));
    r.access = write | execute;
    CHECK(vtd::to_record(u.caps(), f, r) == vtd::fault_record(0u, bit(63) | bit(31)));
    r.pasid = 0xf'ffff;
    CHECK(vtd::to_record(u.caps(), f, r) == vtd::fault_record(0u, bit(63) | bit(31) | bit_mask(59, 40)));
}

TEST_CASE("fault records: address bits above the widest table are zero") {
    sheet_unit u;
    vtd::request r = u.ask(~std::uint64_t{0}, write);
    fault<reason> const f;
    CHECK(vtd::to_record(u.caps(), f, r).word[0] == bit_mask(56, 12));
    u.cap.set<"SAGAW">(0b0110);
    CHECK(vtd::to_record(u.caps(), f, r).word[0] == bit_mask(47, 12));
    u.cap.set<"SAGAW">(0b0010);
    CHECK(vtd::to_record(u.caps(), f, r).word[0] == bit_mask(38, 12));
}

} // namespace stagewalk::test
