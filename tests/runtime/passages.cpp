// Pass-through, widths, zero-length reads.
#include "sheet_unit.hpp"

#include <cstdint>
#include <initializer_list>

namespace stagewalk::test {
namespace {

using vtd::translation_type;

std::uint64_t bit(unsigned n) { return std::uint64_t{1} << n; }

} // namespace

TEST_CASE("pass-through: output = input, no rights are checked, no table is read") {
    sheet_unit u;
    u.translation(translation_type::pass_through);
    for (access const a : {read, write, read_write}) {
        auto const found = u.translate(a);
        REQUIRE(found);
        CHECK(found->output == ipa{u.at});
        CHECK(found->by == passage::bypassed);
        CHECK(found->lg2_size == 64);
        CHECK(found->effective.rights() == read_write);
        CHECK(u.memory.trail.size() == 4);
    }
    // The pointer is ignored: tables need not exist.
    u.memory[u.context] = 0x9;
    CHECK(u.translate());
    u.memory[u.context] = 0x3fff'ffff'f009;
    CHECK(u.translate());
}

TEST_CASE("pass-through: the limit is HAW, not MGAW and not AW") {
    for (std::uint64_t const haw : std::initializer_list<std::uint64_t>{36, 39, 46, 48}) {
        sheet_unit u;
        u.haw = haw;
        u.translation(translation_type::pass_through);
        u.address_width(1); // 39 bits
        CAPTURE(haw);
        CHECK(u.translate(bit(static_cast<unsigned>(haw)) - 1));
        CHECK(code_of(u.translate(bit(static_cast<unsigned>(haw)))) == reason::address_beyond_width);
    }
}

TEST_CASE("pass-through: which AW is fine is a matter of policy") {
    sheet_unit u;
    u.translation(translation_type::pass_through);
    u.address_width(2);
    CHECK(u.translate());
    u.set.rules.pass_through = vtd::pass_through_width::largest;
    CHECK(code_of(u.translate()) == reason::address_beyond_width);
    u.address_width(3);
    CHECK(u.translate());
    u.cap.set<"SAGAW">(0b0110);
    CHECK(code_of(u.translate()) == reason::context_invalid);
    u.address_width(2);
    CHECK(u.translate());
    // Page tables are not concerned.
    u.translation(translation_type::untranslated_only);
    u.address_width(1);
    CHECK(code_of(u.translate(0x1000)) == reason::read_denied);
}

TEST_CASE("a translated request passes untouched where TT = 01") {
    sheet_unit u;
    u.translation(translation_type::device_tlb);
    u.memory.remove(u.l4); // no table is read
    auto const found = u.translate(u.typed(u.at, request_type::translated, write));
    REQUIRE(found);
    CHECK(found->output == ipa{u.at});
    CHECK(found->by == passage::bypassed);
    CHECK(u.memory.trail.size() == 4);
}

TEST_CASE("the width of an input is min(MGAW, AGAW) for every pair") {
    for (std::uint64_t mgaw = 32; mgaw <= 57; ++mgaw) {
        for (std::uint64_t aw = 1; aw <= 3; ++aw) {
            sheet_unit u;
            u.haw = 32;
            u.cap.set<"MGAW">(mgaw - 1);
            u.address_width(aw);
            std::uint64_t const agaw = 30 + 9 * aw;
            std::uint64_t const last = low_mask(mgaw < agaw ? mgaw : agaw);
            CAPTURE(mgaw, aw);
            CHECK(code_of(u.translate(last)) == reason::read_denied); // walks, and finds nothing
            CHECK(code_of(u.translate(last + 1)) == reason::address_beyond_width);
            CHECK(code_of(u.translate(~std::uint64_t{0})) == reason::address_beyond_width);
        }
    }
}

TEST_CASE("reads of no bytes are content with write-only pages where ZLR = 1") {
    sheet_unit u;
    u.memory[u.l1] = 0xabc'de00'0802;
    auto const flush = u.sized(u.at, read, 0);
    check_fault(u.translate(flush), reason::read_denied, rights(0, u.l1, 0xabc'de00'0802));
    u.cap.set<"ZLR">(1);
    REQUIRE(u.translate(flush));
    CHECK(u.translate(flush)->output == ipa{0xabc'de00'0abc});
    CHECK(code_of(u.translate(read)) == reason::read_denied); // a byte needs R
    CHECK(code_of(u.translate(u.sized(u.at, read_write, 0))) == reason::read_denied);
    // Whichever level it is that lacks R, and in either order of checks.
    for (auto const order : {vtd::rights_order::after_leaf, vtd::rights_order::each_entry}) {
        u.set.rules.second_stage_rights = order;
        u.memory[u.l1] = 0xabc'de00'0802;
        u.memory[u.l3] = 0x3200'0002;
        CHECK(u.translate(flush));
        // One right has to reach through all levels.
        u.memory[u.l1] = 0xabc'de00'0801;
        CHECK(code_of(u.translate(flush)) == reason::read_denied);
        u.memory[u.l1] = 0;
        CHECK(code_of(u.translate(flush)) == reason::read_denied);
    }
    u.memory[u.l1] = 0xabc'de00'0801;
    u.memory[u.l3] = 0x3200'0003;
    CHECK(u.translate(flush));
}

TEST_CASE("the output of a leaf keeps its offset and drops what the page does not have") {
    sheet_unit u;
    for (std::uint64_t const offset : std::initializer_list<std::uint64_t>{0x0, 0x1, 0xffe, 0xfff}) {
        auto const found = u.translate((u.at & ~low_mask(12)) | offset);
        REQUIRE(found);
        CHECK(found->output == ipa{0xabc'de00'0000 | offset});
    }
    u.memory[u.l3] = 0x3fff'c000'0083; // the last 1 GiB of the host
    CHECK(u.translate()->output == ipa{0x3fff'c000'0000 | (u.at & low_mask(30))});
    CHECK(u.translate()->lg2_size == 30);
}

TEST_CASE("the root entry of a bus and the context entry of a function") {
    sheet_unit u;
    for (std::uint32_t const source : {0x0000u, 0x00ffu, 0xff00u, 0xffffu, 0x0219u}) {
        u.memory[0x1000'0000 + (source >> 8) * 16] = 0x2100'0001;
        u.memory[0x2100'0000 + (source & 0xff) * 16] = 0x3000'0001;
        u.memory[0x2100'0008 + (source & 0xff) * 16] = 2 | std::uint64_t{source} << 8;
        vtd::request r = u.ask(u.at);
        r.source = static_cast<std::uint16_t>(source);
        CAPTURE(source);
        CHECK(u.translate(r));
        vtd::iommu const unit{u.caps(), vtd::root_table_address(u.root_register), u.memory};
        REQUIRE(unit.find(r));
        CHECK(unit.find(r)->domain == source);
        CHECK(unit.find(r)->kind == vtd::binding_kind::legacy_second_stage);
        CHECK(unit.legacy_stage_of(*unit.find(r)).root() == ipa{0x3000'0000});
        CHECK(unit.legacy_stage_of(*unit.find(r)).top() == 3);
    }
}

TEST_CASE("a traced request shows every entry once, root to leaf, and gives the same answer") {
    sheet_unit u;
    vtd::iommu const unit{u.caps(), vtd::root_table_address(u.root_register), u.memory};
    std::vector<std::uint64_t> addresses;
    auto trace = [&](auto const& s) {
        if constexpr (requires { s.at; }) {
            addresses.push_back(s.at.address);
        } else {
            addresses.push_back(s.address);
        }
    };
    CHECK(unit.translate(u.ask(u.at), trace) == unit.translate(u.ask(u.at)));
    CHECK(addresses == std::vector<std::uint64_t>{u.root, u.context, u.l4, u.l3, u.l2, u.l1});
    u.memory[u.l2] = 0;
    addresses.clear();
    CHECK(unit.translate(u.ask(u.at), trace) == unit.translate(u.ask(u.at)));
    CHECK(addresses == std::vector<std::uint64_t>{u.root, u.context, u.l4, u.l3, u.l2});
}

} // namespace stagewalk::test
