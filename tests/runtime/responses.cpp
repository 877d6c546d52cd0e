// What the requester is told and what is recorded: the table of chapter 7, row by row.
#include "sheet_unit.hpp"

#include <cstdint>

namespace stagewalk::test {
namespace {

using vtd::response;
using vtd::translation_type;

constexpr auto ur = response::unsupported_request;
constexpr auto ca = response::completer_abort;
constexpr auto s0 = response::success_no_rights;
constexpr auto sp = response::success_with_rights;

struct row {
    reason code;
    bool qualified;
    bool translated_exists; // a translated request can meet it
    response untranslated;
    response translation;
};

// Dh and 32h do not exist for untranslated requests; they are told UR all the same.
constexpr row table[] = {
    {reason::root_unreadable, false, true, ur, ca},
    {reason::root_not_present, false, true, ur, ur},
    {reason::root_reserved, false, true, ur, ca},
    {reason::context_unreadable, false, true, ur, ca},
    {reason::context_not_present, true, true, ur, ur},
    {reason::context_reserved, true, true, ur, ca},
    {reason::context_invalid, true, true, ur, ca},
    {reason::request_blocked, true, true, ur, ur},
    {reason::table_unreadable, true, false, ur, ca},
    {reason::table_reserved, true, false, ur, ca},
    {reason::address_beyond_width, true, true, ur, s0},
    {reason::write_denied, true, false, ur, sp},
    {reason::read_denied, true, false, ur, sp},
    {reason::output_in_interrupt_range, true, true, ur, ca},
    {reason::interrupt_request_illegal, false, false, ur, ur},
    {reason::root_pointer_invalid, false, true, ur, ca},
    {reason::pasid_in_legacy_mode, false, true, ur, ur},
    {reason::dma_aborted, false, true, ur, ur},
};

} // namespace

TEST_CASE("every reason is answered as the table says") {
    for (auto const& r : table) {
        CAPTURE(r.code);
        CHECK(vtd::response_to(r.code, request_type::untranslated) == r.untranslated);
        CHECK(vtd::response_to(r.code, request_type::translation) == r.translation);
        if (r.translated_exists) CHECK(vtd::response_to(r.code, request_type::translated) == ur);
        CHECK(vtd::response_to(r.code, request_type::page) == response::invalid_request);
        CHECK(vtd::is_recoverable(r.code, request_type::translation) == (r.translation == s0 || r.translation == sp));
        CHECK_FALSE(vtd::is_recoverable(r.code, request_type::untranslated));
        CHECK_FALSE(vtd::is_recoverable(r.code, request_type::page));
    }
    CHECK(vtd::response_to(reason::page_request_in_legacy_mode, request_type::page) == response::invalid_request);
}

TEST_CASE("every reason is qualified as the table says") {
    for (auto const& r : table) {
        CAPTURE(r.code);
        CHECK(vtd::is_qualified(r.code) == r.qualified);
    }
    CHECK_FALSE(vtd::is_qualified(reason::page_request_in_legacy_mode));
    CHECK_FALSE(vtd::is_qualified(reason::none));
}

TEST_CASE("FPD silences qualified faults and no others") {
    struct {
        reason code;
        bool reported;
        void (*spoil)(sheet_unit&);
    } const cases[] = {
        {reason::context_not_present, false, [](sheet_unit& u) { u.memory[u.context] &= ~std::uint64_t{1}; }},
        {reason::context_reserved, false, [](sheet_unit& u) { u.memory[u.context] |= 0x10; }},
        {reason::context_invalid, false, [](sheet_unit& u) { u.address_width(7); }},
        {reason::context_invalid, false, [](sheet_unit& u) { u.memory.remove(u.l4); }},
        {reason::table_unreadable, false, [](sheet_unit& u) { u.memory.remove(u.l2); }},
        {reason::table_reserved, false, [](sheet_unit& u) { u.memory[u.l2] |= 0x800; }},
        {reason::read_denied, false, [](sheet_unit& u) { u.memory[u.l1] = 0; }},
        {reason::output_in_interrupt_range, false, [](sheet_unit& u) { u.memory[u.l1] = 0xfeef'f003; }},
        {reason::root_unreadable, true, [](sheet_unit& u) { u.memory.remove(u.root); }},
        {reason::root_not_present, true, [](sheet_unit& u) { u.memory[u.root] = 0; }},
        {reason::root_reserved, true, [](sheet_unit& u) { u.memory[u.root] |= 2; }},
        {reason::context_unreadable, true, [](sheet_unit& u) { u.memory.poison(u.context + 8); }},
        {reason::root_pointer_invalid, true, [](sheet_unit& u) { u.root_register |= 0x800; }},
        {reason::dma_aborted, true, [](sheet_unit& u) { u.root_register |= 0xc00; }},
    };
    for (auto const& c : cases) {
        sheet_unit u;
        c.spoil(u);
        CAPTURE(c.code);
        CHECK(code_of(u.translate()) == c.code);
        CHECK(u.translate().error().reported);
        u.quiet();
        CHECK(code_of(u.translate()) == c.code);
        CHECK(u.translate().error().reported == c.reported);
    }
}

TEST_CASE("a recoverable fault is told to the device and not recorded") {
    sheet_unit u;
    u.translation(translation_type::device_tlb);
    u.memory[u.l1] = 0;
    check_fault(u.translate(request_type::translation), reason::read_denied, rights(0, u.l1, 0), u.at, false);
    check_fault(u.translate(request_type::untranslated), reason::read_denied, rights(0, u.l1, 0));
    // Rights that no level has in common with another: nothing is granted.
    u.memory[u.l1] = 0xabc'de00'0802;
    u.memory[u.l2] = 0x3300'0001;
    auto const nothing = u.translate(request_type::translation);
    CHECK(code_of(nothing) == reason::read_denied);
    CHECK_FALSE(nothing.error().reported);
    // What is not recoverable is recorded for a translation request too.
    u.memory[u.l2] = 0x3300'0803;
    check_fault(u.translate(request_type::translation), reason::table_reserved, table_entry(1, u.l2, 0x3300'0803));
}

TEST_CASE("B12: a translation request gets the rights that there are, and no fault") {
    sheet_unit u;
    u.translation(translation_type::device_tlb);
    u.memory[u.l1] = 0xabc'de00'0801;
    auto const found = u.translate(u.typed(u.at, request_type::translation, read));
    REQUIRE(found);
    CHECK(found->effective == attributes::from_bits(0x801));
    CHECK(found->output == ipa{0xabc'de00'0abc});
    u.memory[u.l1] = 0xabc'de00'0802;
    CHECK(u.translate(request_type::translation)->effective.rights() == write);
    u.memory[u.l2] = 0x1'4020'0883;
    CHECK(u.translate(request_type::translation)->lg2_size == 21);
    CHECK(u.translate(request_type::translation)->effective == attributes::from_bits(0x803));
}

TEST_CASE("a unit that is off lets untranslated requests pass and refuses the others silently") {
    sheet_unit u;
    u.set.enabled = false;
    u.root_register = 0xffff'ffff'ffff'ffff;
    for (std::uint64_t const at : {std::uint64_t{0}, ~std::uint64_t{0}, std::uint64_t{0xfee0'0000}}) {
        auto const found = u.translate(at, write);
        REQUIRE(found);
        CHECK(found->output == ipa{at});
        CHECK(found->by == passage::bypassed);
        CHECK(found->lg2_size == 64);
        CHECK(found->effective.rights() == read_write);
    }
    CHECK(u.translate(u.with_pasid(u.at)));
    for (auto const type : {request_type::translation, request_type::translated}) {
        auto const refused = u.translate(type);
        check_fault(refused, reason::none, configuration(), u.at, false);
        CHECK(vtd::response_to(refused.error().code, type) == ur);
    }
    CHECK_FALSE(u.translate(request_type::page));
    CHECK(u.memory.trail.empty());
}

} // namespace stagewalk::test
