// The worked examples (section 12 of docs/coverage.md) that concern scalable mode, bit by bit, by their numbers.
#include "scalable_unit.hpp"

#include <stagewalk/vtd/fault_record.hpp>

#include <cstdint>

namespace stagewalk::test {
namespace {

using update = scalable_unit::memory_type::update;

} // namespace

TEST_CASE("example 1, scalable: RTADDR_REG names the mode") {
    scalable_unit u;
    u.root_register = 0x1234'5400;
    u.memory[0x1234'5038] = 0x2100'0001;
    REQUIRE(u.translate());
    CHECK(u.memory.trail[0] == 0x1234'5030);
    u.root_register = 0x1234'5800;
    CHECK(code_of(u.translate()) == reason::root_pointer_invalid);
    u.root_register = 0x1234'5c00;
    CHECK(code_of(u.translate()) == reason::dma_aborted);
    u.ecap.set<"ADMS">(0);
    CHECK(code_of(u.translate()) == reason::root_pointer_invalid);
}

TEST_CASE("examples 3 and 4, scalable: a 4 KiB and a 2 MiB leaf") {
    scalable_unit u;
    auto found = u.translate();
    REQUIRE(found);
    CHECK(found->output == ipa{0xabc'de00'0abc});
    CHECK(found->lg2_size == 12);
    CHECK(found->effective == attributes::from_bits(0x803));
    u.ecap.set<"SC">(0);
    CHECK(code_of(u.translate()) == reason::second_stage_reserved);
    u.memory[u.s2] = 0x1'4020'0083;
    found = u.translate();
    REQUIRE(found);
    CHECK(found->output == ipa{0x1'4038'9abc});
    CHECK(found->lg2_size == 21);
}

TEST_CASE("example 5, scalable: reserved bits") {
    struct {
        std::uint64_t at;
        std::uint64_t entry;
        bool fine;
    } const cases[] = {
        {scalable_unit::s2, 0x1'4020'1083, false},         {scalable_unit::s3, 0x3200'0803, false},
        {scalable_unit::s3, 0x4000'0000'3200'0003, false}, {scalable_unit::s3, 0x0000'4000'3200'0003, false},
        {scalable_unit::s3, 0x8000'0000'3200'0003, true},  {scalable_unit::s4, 0x3100'0083, false},
        {scalable_unit::s1, 0x0000'0abc'de00'0083, true},
    };
    for (auto const& c : cases) {
        scalable_unit u;
        u.memory[c.at] = c.entry;
        CAPTURE(c.at, c.entry);
        CHECK(code_of(u.translate()) == (c.fine ? reason::none : reason::second_stage_reserved));
    }
}

TEST_CASE("example 6, scalable: widths") {
    scalable_unit u;
    u.address_width(1);
    CHECK(code_of(u.translate(u.ask_at(0x80'0000'0000))) == reason::input_beyond_second_stage);
    CHECK(code_of(u.translate(u.ask_at(0x7f'ffff'ffff))) == reason::second_stage_not_present);
    u.address_width(2);
    u.cap.set<"MGAW">(45);
    CHECK(code_of(u.translate(u.ask_at(0x4000'0000'0000))) == reason::input_beyond_second_stage);
}

TEST_CASE("example 7, scalable: rights") {
    scalable_unit u;
    u.memory[u.s2] = 0x3300'0001;
    CHECK(u.translate(read));
    CHECK(code_of(u.translate(write)) == reason::scalable_write_denied);
    u.memory[u.s1] = 0xabc'de00'0002;
    CHECK(code_of(u.translate(read)) == reason::second_stage_not_present);
    CHECK(code_of(u.translate(write)) == reason::second_stage_not_present);
    u.memory[u.s2] = 0x3300'0003;
    CHECK(code_of(u.translate(read)) == reason::scalable_read_denied);
    u.cap.set<"ZLR">(1);
    auto r = u.ask(read);
    r.bytes = 0;
    CHECK(u.translate(r));
    for (std::uint64_t const nothing : {0x0u, 0xffcu}) {
        u.memory[u.s1] = nothing;
        CHECK(code_of(u.translate(read)) == reason::second_stage_not_present);
        CHECK(code_of(u.translate(write)) == reason::second_stage_not_present);
    }
}

TEST_CASE("example 8, scalable: the interrupt range") {
    scalable_unit u;
    u.memory[u.s1] = 0xfee0'0003;
    check_place(u.translate(), reason::scalable_output_in_interrupt_range, address_itself(fault_stage::second), u.at());
    u.memory[u.s2] = 0xfee0'0083;
    auto const beside = u.translate(u.ask_at((u.at() & ~std::uint64_t{0x1f'ffff}) | 0x10'0000));
    REQUIRE(beside);
    CHECK(beside->output == ipa{0xfef0'0000});
    auto const asked = u.translate(u.typed_at((u.at() & ~std::uint64_t{0x1f'ffff}) | 0x10'0000, request_type::translation));
    CHECK(code_of(asked) == reason::scalable_output_in_interrupt_range);
    CHECK(vtd::response_to(code_of(asked), request_type::translation) == response::completer_abort);
}

TEST_CASE("example 9: PASID 12345h") {
    scalable_unit u;
    REQUIRE(u.translate());
    CHECK(u.memory.trail[6] == 0x4000'2468); // directory index 48Dh
    CHECK(u.memory.trail[7] == 0x4100'0140); // table index 5
    for (std::uint64_t pdts = 0; pdts < 8; ++pdts) {
        u.memory[u.context] = 0x4000'001d | pdts << 9;
        CAPTURE(pdts);
        CHECK(code_of(u.translate()) == (pdts < 4 ? reason::pasid_beyond_directory : reason::none));
    }
}

TEST_CASE("example 10: the way to the scalable context entry") {
    scalable_unit u;
    u.memory[u.context] = 0x4000'0e0d;
    REQUIRE(u.translate());
    CHECK(std::vector<std::uint64_t>(u.memory.trail.begin(), u.memory.trail.begin() + 3) ==
          std::vector<std::uint64_t>{0x1000'0030, 0x1000'0038, 0x2100'0100});
    vtd::scalable_context_entry const e(0x4000'0e0du, 0u, 0u, 0u);
    CHECK(e.get<"P">() == 1);
    CHECK(e.get<"FPD">() == 0);
    CHECK(e.get<"DTE">() == 1);
    CHECK(e.get<"PASIDE">() == 1);
    CHECK(e.get<"PRE">() == 0);
    CHECK(e.get<"PDTS">() == 7);
    CHECK(e.get<"PASIDDIRPTR">() == 0x4000'0000);
    u.memory[u.context] = 0x4000'0e11;
    CHECK(code_of(u.translate()) == reason::scalable_context_invalid);
    u.memory[u.context] = 0x4000'0c81;
    CHECK(code_of(u.translate()) == reason::scalable_context_reserved);
}

TEST_CASE("example 11: a PASID entry for a second stage") {
    scalable_unit u;
    u.bind(0x5000'0289, 0x0180'0012, 0);
    auto const b = u.unit().find(u.ask());
    REQUIRE(b);
    CHECK(b->kind == binding_kind::second_stage);
    CHECK(b->second_levels == 4);
    CHECK(b->second_root == 0x5000'0000);
    CHECK(b->domain == 0x12);
    CHECK(b->accessed_dirty);
    CHECK(b->walks_snoop);
    CHECK(b->pages_snoop);
    u.ecap.set<"SSADS">(0);
    CHECK(code_of(u.translate()) == reason::pasid_entry_reserved);
    u.ecap.set<"SSADS">(1);
    struct {
        std::uint64_t q0;
        reason code;
    } const cases[] = {{0x5000'0281, reason::pasid_entry_invalid},
                       {0x5000'02a9, reason::pasid_entry_reserved},
                       {0x5000'0349, reason::pasid_entry_invalid}};
    for (auto const& c : cases) {
        u.memory[u.entry] = c.q0;
        CAPTURE(c.q0);
        CHECK(code_of(u.translate()) == c.code);
    }
}

TEST_CASE("example 12: a PASID entry for a first stage, and canonical addresses") {
    scalable_unit u{binding_kind::first_stage};
    u.bind(0x41, 0x0080'0001, 0x6000'0015);
    auto const b = u.unit().find(u.ask());
    REQUIRE(b);
    CHECK(b->kind == binding_kind::first_stage);
    CHECK(b->domain == 1);
    CHECK(b->walks_snoop);
    CHECK_FALSE(b->pages_snoop);
    CHECK(b->write_protect);
    CHECK(b->first_levels == 5);
    CHECK(b->first_root == 0x6000'0000);
    CHECK(u.unit().find(u.ask(read | privileged)));
    u.memory[u.entry + 16] = 0x6000'0075;
    CHECK(u.unit().find(u.ask()));
    u.memory[u.entry + 16] = 0x6000'0017;
    CHECK(code_of(u.translate()) == reason::pasid_entry_reserved);
    u.memory[u.entry + 16] = 0x6000'0015;
    u.cap.set<"FS5LP">(0);
    CHECK(code_of(u.translate()) == reason::pasid_entry_invalid);
    u.cap.set<"FS5LP">(1);
    struct {
        bool five;
        std::uint64_t at;
        bool fine;
    } const cases[] = {
        {false, 0x0000'8000'0000'0000, false}, {false, 0xffff'8000'0000'0000, true}, {false, 0xffff'7fff'ffff'ffff, false},
        {true, 0x0000'8000'0000'0000, true},   {true, 0x0100'0000'0000'0000, false}, {true, 0xff00'0000'0000'0000, true},
    };
    for (auto const& c : cases) {
        u.memory[u.entry + 16] = c.five ? 0x6000'0015 : 0x6000'0011;
        CAPTURE(c.five, c.at);
        CHECK((code_of(u.translate(u.ask_at(c.at))) == reason::not_canonical) == !c.fine);
    }
}

TEST_CASE("example 13: a first-stage write, read, and write after it") {
    scalable_unit u{binding_kind::first_stage};
    auto const written = u.translate(write);
    REQUIRE(written);
    CHECK(written->output == ipa{0x7654'3678});
    CHECK(u.memory.updates == std::vector<update>{{0x6000'07f8, 0x6100'0007, 0x6100'0027},
                                                  {0x6100'0000, 0x6200'0007, 0x6200'0027},
                                                  {0x6200'0488, 0x6300'0007, 0x6300'0027},
                                                  {0x6300'0a28, 0x7654'3007, 0x7654'3067}});
    scalable_unit r{binding_kind::first_stage};
    REQUIRE(r.translate(read));
    CHECK(r.memory[r.f1] == 0x7654'3027);
    REQUIRE(r.translate(write));
    CHECK(r.memory[r.f1] == 0x7654'3067);
    scalable_unit e{binding_kind::first_stage};
    e.extended_accessed();
    REQUIRE(e.translate(write));
    CHECK(e.memory[e.f4] == 0x6100'0427);
    CHECK(e.memory[e.f1] == 0x7654'3467);
    scalable_unit high{binding_kind::first_stage};
    high.memory[high.f1] = 0xfff0'0000'7654'3007;
    CHECK(high.translate(write)->output == ipa{0x7654'3678});
    CHECK(high.memory[high.f1] == 0xfff0'0000'7654'3067);
    scalable_unit blind{binding_kind::first_stage};
    blind.snoop(false);
    CHECK(code_of(blind.translate(read)) == reason::first_stage_update_unsnooped);
    for (unsigned level = 1; level <= 4; ++level)
        blind.memory[blind.first_entry(level)] |= level == 1 ? 0x60 : 0x20;
    CHECK(blind.translate(write));
}

TEST_CASE("example 14: first-stage faults") {
    scalable_unit u{binding_kind::first_stage};
    u.memory[u.f1] = 0x7654'3003;
    CHECK(code_of(u.translate(read)) == reason::user_denied);
    CHECK(u.translate(read | privileged));
    u.memory[u.f1] = 0x7654'3005;
    CHECK(code_of(u.translate(write)) == reason::scalable_write_denied);
    CHECK(u.translate(write | privileged));
    u.write_protect();
    CHECK(code_of(u.translate(write | privileged)) == reason::scalable_write_denied);
    u.memory[u.f1] = 0;
    CHECK(code_of(u.translate()) == reason::first_stage_not_present);
    u.memory[u.f4] = 0x6100'0087;
    CHECK(code_of(u.translate()) == reason::first_stage_reserved);
    u.memory[u.f4] = 0x6100'0007;
    u.memory[u.f2] = 0x1'4020'1087;
    CHECK(u.translate(read)->output == ipa{0x1'4034'5678});
    CHECK(u.memory[u.f2] == 0x1'4020'10a7);
    u.memory[u.f2] = 0x1'4020'2087;
    CHECK(code_of(u.translate()) == reason::first_stage_reserved);
    u.memory[u.f3] = 0x1'8000'0087;
    CHECK(u.translate()->output == ipa{0x1'9234'5678});
    u.cap.set<"FS1GP">(0);
    CHECK(code_of(u.translate()) == reason::first_stage_reserved);
}

TEST_CASE("example 15: nested") {
    scalable_unit u{binding_kind::nested};
    auto const found = u.translate(write);
    REQUIRE(found);
    CHECK(found->output == ipa{0x1'7654'3678});
    CHECK(found->lg2_size == 12);
    CHECK(u.memory.updates == std::vector<update>{{0x1'6000'07f8, 0x6100'0007, 0x6100'0027},
                                                  {0x1'6100'0000, 0x6200'0007, 0x6200'0027},
                                                  {0x1'6200'0488, 0x6300'0007, 0x6300'0027},
                                                  {0x1'6300'0a28, 0x7654'3007, 0x7654'3067}});
    REQUIRE(u.translate(write)); // its bits are set: the table reads alone
    CHECK(u.memory.trail.size() == 15 + 14);
    std::size_t first = 0;
    for (auto const at : u.memory.trail)
        if (at == 0x1'6000'07f8 || at == 0x1'6100'0000 || at == 0x1'6200'0488 || at == 0x1'6300'0a28) ++first;
    CHECK(first == 4);
}

TEST_CASE("example 18, scalable: records of faults that a unit found") {
    scalable_unit u;
    u.memory[u.root] = 0x2100'0001; // device 02:03.1 has bus 2
    auto r = u.ask_at(0x7f00'0000'1234, write);
    r.source = 0x0219;
    u.memory[0x1000'0020] = 0x2100'0001;
    u.memory[0x2100'0000 + 0x19 * 32] = 0x4000'0e0d;
    u.memory[0x2100'0008 + 0x19 * 32] = u.rid_pasid;
    u.memory[0x3000'07f0] = 0x3900'0003;
    u.memory[0x3900'0000] = 0x4000'0081;
    auto const refused = u.translate(r);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == reason::scalable_write_denied);
    auto const record = vtd::to_record(u.caps(), refused.error(), r);
    CHECK(record.word[0] == 0x0000'7f00'0000'1000);
    CHECK(record.word[1] == 0x8123'4585'8000'0219);
    // An atomic, PASID 3, privileged.
    auto a = u.ask_at(0x7f00'0000'1234, read_write | privileged);
    a.pasid = 3;
    fault<reason> f;
    f.code = reason::scalable_read_denied;
    CHECK(vtd::to_record(u.caps(), f, a).word[1] == 0xc000'0386'b000'0388);
    // A request without PASID has none in its record, whatever RID_PASID is; a page request has T2 alone.
    u.memory[u.s1] = 0;
    auto const plain = u.plain(u.ask());
    auto const none_there = vtd::to_record(u.caps(), u.translate(plain).error(), plain);
    CHECK(none_there.word[1] == 0xc000'0079'0000'0388);
    u.memory[u.entry] = 0;
    auto const page = u.typed(request_type::page);
    auto const of_page = vtd::to_record(u.caps(), u.translate(page).error(), page);
    CHECK(of_page.get<"T1">() == 0);
    CHECK(of_page.get<"T2">() == 1);
    CHECK(of_page.get<"PV">() == 0x12345);
}

} // namespace stagewalk::test
