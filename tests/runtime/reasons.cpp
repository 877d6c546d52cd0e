// One case for every fault reason that legacy mode has, each with its place, and with the neighbours that it goes before
// and after.
#include "sheet_unit.hpp"

#include <cstdint>
#include <initializer_list>

namespace stagewalk::test {
namespace {

using vtd::translation_type;

constexpr std::uint64_t all = ~std::uint64_t{0};

std::uint64_t bit(unsigned n) { return std::uint64_t{1} << n; }

} // namespace

TEST_CASE("the device of the worked examples is translated with eight loads, in order, each word once") {
    sheet_unit u;
    auto const found = u.translate();
    REQUIRE(found);
    CHECK(found->output == ipa{0xabc'de00'0abc});
    CHECK(u.memory.trail == std::vector<std::uint64_t>{u.root, u.root + 8, u.context, u.context + 8, u.l4, u.l3, u.l2, u.l1});
}

TEST_CASE("1h: the root entry is not present") {
    sheet_unit u;
    u.memory[u.root] = 0;
    check_fault(u.translate(), reason::root_not_present, configuration(u.root, 0));
    CHECK(u.memory.trail.size() == 2);
    // P = 0 wins over reserved bits, and the rest is not looked at.
    u.memory[u.root] = all - 1;
    u.memory[u.root + 8] = all;
    check_fault(u.translate(), reason::root_not_present, configuration(u.root, all - 1));
    CHECK(u.memory.trail.size() == 2);
    // Every bus has an entry of its own.
    vtd::request r = u.ask(u.at);
    r.source = 0xff19;
    check_fault(u.translate(r), reason::root_not_present, configuration(0x1000'0ff0, 0));
}

TEST_CASE("2h: the context entry is not present") {
    sheet_unit u;
    u.memory[u.context] = 0;
    check_fault(u.translate(), reason::context_not_present, configuration(u.context, 0));
    // P = 0 wins over reserved bits, a reserved TT and a wrong AW.
    u.memory[u.context] = all - 3;
    u.memory[u.context + 8] = all;
    check_fault(u.translate(), reason::context_not_present, configuration(u.context, all - 3));
    CHECK(u.memory.trail.size() == 4);
    // FPD counts although P = 0.
    u.memory[u.context] = all - 1;
    check_fault(u.translate(), reason::context_not_present, configuration(u.context, all - 1), u.at, false);
    u.memory[u.context] = 2;
    check_fault(u.translate(), reason::context_not_present, configuration(u.context, 2), u.at, false);
}

TEST_CASE("3h: AW names a depth that the unit lacks") {
    for (std::uint64_t const aw : std::initializer_list<std::uint64_t>{0, 4, 5, 6, 7}) {
        sheet_unit u;
        u.address_width(aw);
        CAPTURE(aw);
        check_fault(u.translate(), reason::context_invalid, configuration(u.context, 0x3000'0001));
        // Found before the width: even an address that no table admits gives 3h.
        check_fault(u.translate(all), reason::context_invalid, configuration(u.context, 0x3000'0001), all);
    }
    for (std::uint64_t const aw : std::initializer_list<std::uint64_t>{1, 2, 3}) {
        sheet_unit u;
        u.cap.set<"SAGAW">(0b1110 & ~(1u << aw));
        u.address_width(aw);
        CAPTURE(aw);
        check_fault(u.translate(), reason::context_invalid, configuration(u.context, 0x3000'0001));
        u.quiet();
        check_fault(u.translate(), reason::context_invalid, configuration(u.context, 0x3000'0003), u.at, false);
    }
    // Pass-through names a depth as well.
    sheet_unit u;
    u.translation(translation_type::pass_through);
    u.address_width(0);
    check_fault(u.translate(), reason::context_invalid, configuration(u.context, 0x3000'0009));
}

TEST_CASE("3h: TT is reserved or unsupported") {
    sheet_unit u;
    u.translation(translation_type::reserved);
    check_fault(u.translate(), reason::context_invalid, configuration(u.context, 0x3000'000d));
    // TT before AT: a translation request meets 3h and not Dh.
    CHECK(code_of(u.translate(request_type::translation)) == reason::context_invalid);
    CHECK(code_of(u.translate(request_type::translated)) == reason::context_invalid);
    u.quiet();
    check_fault(u.translate(), reason::context_invalid, configuration(u.context, 0x3000'000f), u.at, false);

    sheet_unit without;
    without.ecap.set<"DT">(0);
    without.ecap.set<"PT">(0);
    without.translation(translation_type::device_tlb);
    check_fault(without.translate(), reason::context_invalid, configuration(u.context, 0x3000'0005));
    CHECK(code_of(without.translate(request_type::translated)) == reason::context_invalid);
    without.translation(translation_type::pass_through);
    check_fault(without.translate(), reason::context_invalid, configuration(u.context, 0x3000'0009));
}

TEST_CASE("3h: the second-stage root table cannot be read") {
    for (std::uint64_t const aw : std::initializer_list<std::uint64_t>{1, 2, 3}) {
        sheet_unit u;
        u.address_width(aw);
        u.memory[u.context] = 0x7000'0001; // no page there
        std::uint64_t const in = 0x56'789a'bcde;
        std::uint64_t const entry = 0x7000'0000 + (in >> (12 + 9 * (aw + 1)) & 511) * 8;
        CAPTURE(aw);
        check_fault(u.translate(in), reason::context_invalid, table_entry(aw + 1, entry), in);
        u.quiet();
        check_fault(u.translate(in), reason::context_invalid, table_entry(aw + 1, entry), in, false);
    }
}

TEST_CASE("4h: an untranslated address above min(MGAW, AGAW)") {
    sheet_unit u;
    std::uint64_t const beyond = bit(48);
    check_fault(u.translate(beyond), reason::address_beyond_width, address_itself(fault_stage::second), beyond);
    // Before any table is read, hence also before an unreadable root table.
    CHECK(u.memory.trail.size() == 4);
    u.memory.remove(u.l4);
    CHECK(code_of(u.translate(beyond)) == reason::address_beyond_width);
    CHECK(code_of(u.translate(all)) == reason::address_beyond_width);
    CHECK(code_of(u.translate(beyond - 1)) == reason::context_invalid);
    u.quiet();
    check_fault(u.translate(beyond), reason::address_beyond_width, address_itself(fault_stage::second), beyond, false);
    // For a device with a TLB as well, where it is recoverable.
    u.translation(translation_type::device_tlb);
    check_fault(u.translate(u.typed(beyond, request_type::translation)), reason::address_beyond_width,
                address_itself(fault_stage::second), beyond, false);
}

TEST_CASE("4h: a translated address above HAW") {
    sheet_unit u;
    u.translation(translation_type::device_tlb);
    std::uint64_t const beyond = bit(46);
    check_fault(u.translate(u.typed(beyond, request_type::translated)), reason::address_beyond_width,
                address_itself(fault_stage::configuration), beyond);
    auto const found = u.translate(u.typed(beyond - 1, request_type::translated));
    REQUIRE(found);
    CHECK(found->output == ipa{beyond - 1});
    CHECK(found->by == passage::bypassed);
    u.quiet();
    check_fault(u.translate(u.typed(all, request_type::translated)), reason::address_beyond_width,
                address_itself(fault_stage::configuration), all, false);
}

TEST_CASE("4h: a pass-through address above HAW") {
    sheet_unit u;
    u.translation(translation_type::pass_through);
    std::uint64_t const beyond = bit(46);
    check_fault(u.translate(beyond), reason::address_beyond_width, address_itself(fault_stage::configuration), beyond);
    REQUIRE(u.translate(beyond - 1));
    CHECK(u.translate(beyond - 1)->output == ipa{beyond - 1});
    u.quiet();
    check_fault(u.translate(all), reason::address_beyond_width, address_itself(fault_stage::configuration), all, false);
}

TEST_CASE("5h: a write without W") {
    sheet_unit u;
    u.memory[u.l1] = 0xabc'de00'0801; // read-only page
    check_fault(u.translate(write), reason::write_denied, rights(0, u.l1, 0xabc'de00'0801));
    CHECK(u.translate(read));
    // The rights of all levels count together, and the first entry that lacks one is named.
    u.memory[u.l1] = 0xabc'de00'0803;
    u.memory[u.l3] = 0x3200'0001;
    u.memory[u.l2] = 0x3300'0001;
    check_fault(u.translate(write), reason::write_denied, rights(2, u.l3, 0x3200'0001));
    CHECK(u.translate(read)->effective.rights() == read);
    u.quiet();
    check_fault(u.translate(write), reason::write_denied, rights(2, u.l3, 0x3200'0001), u.at, false);
}

TEST_CASE("5h: a write that meets an absent entry") {
    for (unsigned level = 0; level < 4; ++level) {
        sheet_unit u;
        std::uint64_t const entry[] = {u.l1, u.l2, u.l3, u.l4};
        for (std::uint64_t const absent : {std::uint64_t{0}, all - 3}) { // R = W = 0: nothing else is examined
            u.memory[entry[level]] = absent;
            CAPTURE(level, absent);
            check_fault(u.translate(write), reason::write_denied, rights(level, entry[level], absent));
            check_fault(u.translate(read_write), reason::write_denied, rights(level, entry[level], absent));
        }
    }
}

TEST_CASE("5h: an atomic operation needs both rights") {
    sheet_unit u;
    u.memory[u.l1] = 0xabc'de00'0801;
    check_fault(u.translate(read_write), reason::write_denied, rights(0, u.l1, 0xabc'de00'0801));
    u.memory[u.l1] = 0xabc'de00'0802;
    check_fault(u.translate(read_write), reason::read_denied, rights(0, u.l1, 0xabc'de00'0802));
    u.memory[u.l1] = 0xabc'de00'0803;
    CHECK(u.translate(read_write));
}

TEST_CASE("6h: a read without R") {
    sheet_unit u;
    u.memory[u.l1] = 0xabc'de00'0802;
    check_fault(u.translate(read), reason::read_denied, rights(0, u.l1, 0xabc'de00'0802));
    CHECK(u.translate(write)->effective.rights() == write);
    u.memory[u.l1] = 0xabc'de00'0803;
    u.memory[u.l4] = 0x3100'0002;
    check_fault(u.translate(read), reason::read_denied, rights(3, u.l4, 0x3100'0002));
    u.quiet();
    check_fault(u.translate(read), reason::read_denied, rights(3, u.l4, 0x3100'0002), u.at, false);
}

TEST_CASE("6h: a read that meets an absent entry") {
    for (unsigned level = 0; level < 4; ++level) {
        sheet_unit u;
        std::uint64_t const entry[] = {u.l1, u.l2, u.l3, u.l4};
        for (std::uint64_t const absent : {std::uint64_t{0}, all - 3}) {
            u.memory[entry[level]] = absent;
            CAPTURE(level, absent);
            check_fault(u.translate(read), reason::read_denied, rights(level, entry[level], absent));
        }
    }
}

TEST_CASE("5h and 6h come after the leaf, so a reserved bit further down wins") {
    sheet_unit u;
    u.memory[u.l3] = 0x3200'0001;
    u.memory[u.l1] = 0xabc'de00'0803 | bit(62);
    check_fault(u.translate(write), reason::table_reserved, table_entry(0, u.l1, 0xabc'de00'0803 | bit(62)));
    // … and so does an unreadable table.
    u.memory.remove(u.l1);
    check_fault(u.translate(write), reason::table_unreadable, table_entry(0, u.l1));
    // An absent entry further down is a fault of its own, with the entry's own level.
    u.memory[u.l1] = 0;
    check_fault(u.translate(write), reason::write_denied, rights(0, u.l1, 0));
}

TEST_CASE("5h and 6h come with each entry where the policy says so, before its reserved bits") {
    sheet_unit u;
    u.set.rules.second_stage_rights = vtd::rights_order::each_entry;
    u.memory[u.l3] = 0x3200'0001;
    u.memory[u.l1] = 0xabc'de00'0803 | bit(62);
    check_fault(u.translate(write), reason::write_denied, rights(2, u.l3, 0x3200'0001));
    check_fault(u.translate(read), reason::table_reserved, table_entry(0, u.l1, 0xabc'de00'0803 | bit(62)));
    u.memory[u.l3] = 0x3200'0801; // lacks W and has a reserved bit
    check_fault(u.translate(write), reason::write_denied, rights(2, u.l3, 0x3200'0801));
    check_fault(u.translate(read), reason::table_reserved, table_entry(2, u.l3, 0x3200'0801));
    u.memory[u.l3] = 0x3200'0002;
    check_fault(u.translate(read), reason::read_denied, rights(2, u.l3, 0x3200'0002));
    CHECK(code_of(u.translate(read_write)) == reason::read_denied);
    u.memory[u.l1] = 0xabc'de00'0803;
    REQUIRE(u.translate(write));
    CHECK(u.translate(write)->effective.rights() == write);
}

TEST_CASE("7h: a second-stage table below the root table cannot be read") {
    for (unsigned level = 0; level < 3; ++level) {
        sheet_unit u;
        std::uint64_t const entry[] = {u.l1, u.l2, u.l3};
        u.memory.remove(entry[level]);
        CAPTURE(level);
        check_fault(u.translate(), reason::table_unreadable, table_entry(level, entry[level]));
        u.quiet();
        check_fault(u.translate(), reason::table_unreadable, table_entry(level, entry[level]), u.at, false);
    }
    // In tables of three levels the entries of level 2 are the root table: 3h, not 7h.
    sheet_unit u;
    u.address_width(1);
    u.memory.remove(u.l4);
    CHECK(code_of(u.translate(0x1000)) == reason::context_invalid);
}

TEST_CASE("8h: the root entry cannot be read") {
    sheet_unit u;
    u.memory.remove(u.root);
    check_fault(u.translate(), reason::root_unreadable, configuration(u.root));
    CHECK(u.memory.trail.size() == 1);
    // Either half, even where the first has P = 0 or reserved bits.
    for (std::uint64_t const low : {std::uint64_t{0}, std::uint64_t{0x2000'0fff}}) {
        sheet_unit half;
        half.memory[half.root] = low;
        half.memory.poison(half.root + 8);
        check_fault(half.translate(), reason::root_unreadable, configuration(half.root));
    }
    // Never qualified: there is no FPD yet.
    u.quiet();
    CHECK(u.translate().error().reported);
}

TEST_CASE("9h: the context entry cannot be read") {
    sheet_unit u;
    u.memory.remove(u.context);
    check_fault(u.translate(), reason::context_unreadable, configuration(u.context));
    CHECK(u.memory.trail.size() == 3);
    // Half an entry is none: its FPD is not to be trusted.
    sheet_unit half;
    half.quiet();
    half.memory.poison(half.context + 8);
    check_fault(half.translate(), reason::context_unreadable, configuration(half.context));
}

TEST_CASE("Ah: a reserved bit of the root entry") {
    for (unsigned n = 1; n < 128; ++n) {
        if (n >= 12 && n < 46) continue; // CTP
        sheet_unit u;
        u.memory[u.root + n / 64 * 8] |= bit(n % 64);
        u.quiet(); // not qualified
        CAPTURE(n);
        check_fault(u.translate(), reason::root_reserved, configuration(u.root, u.memory[u.root]));
        CHECK(u.memory.trail.size() == 2); // before the context entry is looked for
    }
}

TEST_CASE("Bh: a reserved bit of the context entry") {
    for (unsigned n = 4; n < 128; ++n) {
        bool const pointer = n >= 12 && n < 46;
        bool const high_half = n >= 64 && n < 88 && n != 71; // AW, IGN, DID
        if (pointer || high_half) continue;
        sheet_unit u;
        u.memory[u.context + n / 64 * 8] |= bit(n % 64);
        CAPTURE(n);
        check_fault(u.translate(), reason::context_reserved, configuration(u.context, u.memory[u.context]));
        // Before TT and AW.
        u.translation(translation_type::reserved);
        u.address_width(0);
        CHECK(code_of(u.translate()) == reason::context_reserved);
        u.quiet();
        check_fault(u.translate(), reason::context_reserved, configuration(u.context, u.memory[u.context]), u.at, false);
    }
}

TEST_CASE("Bh: a domain id that is wider than ND says") {
    for (std::uint64_t nd = 0; nd <= 6; ++nd) {
        for (unsigned n = 0; n < 16; ++n) {
            sheet_unit u;
            u.cap.set<"ND">(nd);
            u.memory[u.context + 8] = 2 | bit(8 + n);
            CAPTURE(nd, n);
            CHECK(code_of(u.translate()) == (n < 4 + 2 * nd ? reason::none : reason::context_reserved));
        }
    }
    sheet_unit u; // bits 70:67 belong to software
    u.memory[u.context + 8] |= 0x78;
    CHECK(u.translate());
}

TEST_CASE("Ch: a reserved bit of a second-stage entry") {
    // The manual's masks with HAW = 46 and SC = 1, from level 4 of the manual down to 1.
    std::uint64_t const high = bit(62) | 0x000f'c000'0000'0000;
    std::uint64_t const masks[] = {high, high | 0x800, high | 0x800, high | 0x880};
    for (unsigned level = 0; level < 4; ++level) {
        for (unsigned n = 2; n < 64; ++n) {
            sheet_unit u;
            std::uint64_t const entry[] = {u.l1, u.l2, u.l3, u.l4};
            bool const address = n >= 12 && n < 46;
            bool const leads_to_page = level > 0 && level < 3 && n == 7; // PS: another kind of entry
            if (address || leads_to_page || (level == 0 && n == 11)) continue;
            u.memory[entry[level]] |= bit(n);
            CAPTURE(level, n);
            if ((masks[level] >> n & 1) != 0) {
                check_fault(u.translate(), reason::table_reserved, table_entry(level, entry[level], u.memory[entry[level]]));
                u.quiet();
                CHECK_FALSE(u.translate().error().reported);
            } else {
                REQUIRE(u.translate());
                CHECK(u.translate()->output == ipa{0xabc'de00'0abc});
            }
        }
    }
}

TEST_CASE("Ch: reserved bits of large pages, and pages that the unit lacks") {
    struct {
        unsigned level;
        std::uint64_t entry;
        std::uint64_t low;
    } const pages[] = {{1, 0x1'4020'0083, 0x001f'f000}, {2, 0x1'4000'0083, 0x3fff'f000}};
    for (auto const& page : pages) {
        sheet_unit u;
        std::uint64_t const at = page.level == 1 ? u.l2 : u.l3;
        std::uint64_t const reserved = page.low | bit(62) | 0x000f'c000'0000'0000;
        for (unsigned n = 2; n < 64; ++n) {
            bool const address = n >= 12 && n < 46 && (page.low >> n & 1) == 0;
            if (address || n == 7) continue;
            u.memory[at] = page.entry | bit(n);
            CAPTURE(page.level, n);
            CHECK(code_of(u.translate()) == ((reserved >> n & 1) != 0 ? reason::table_reserved : reason::none));
        }
        u.memory[at] = page.entry;
        CHECK(u.translate());
        u.cap.set<"SSLPS">(page.level == 1 ? 0 : 1);
        check_fault(u.translate(), reason::table_reserved, table_entry(page.level, at, page.entry));
    }
    // SNP is reserved without SC, in all leaves.
    sheet_unit u;
    u.ecap.set<"SC">(0);
    CHECK(code_of(u.translate()) == reason::table_reserved);
    u.memory[u.l1] = 0xabc'de00'0003;
    CHECK(u.translate());
    u.memory[u.l2] = 0x1'4020'0883;
    CHECK(code_of(u.translate()) == reason::table_reserved);
    u.memory[u.l2] = 0x1'4020'0083;
    CHECK(u.translate());
    u.memory[u.l3] = 0x1'4000'0883;
    CHECK(code_of(u.translate()) == reason::table_reserved);
}

TEST_CASE("Ch: a level 5 entry never maps a page") {
    sheet_unit u;
    u.address_width(3);
    u.memory[u.context] = 0x4000'0001;
    u.memory[0x4000'0000] = 0x3000'0003;
    CHECK(u.translate()->output == ipa{0xabc'de00'0abc});
    for (unsigned const n : {7u, 11u, 46u, 51u, 62u}) {
        u.memory[0x4000'0000] = 0x3000'0003 | bit(n);
        CAPTURE(n);
        check_fault(u.translate(), reason::table_reserved, table_entry(4, 0x4000'0000, 0x3000'0003 | bit(n)));
    }
    CHECK(u.memory.trail.size() == 5);
}

TEST_CASE("Dh: TT blocks translation and translated requests") {
    for (auto const type : {request_type::translation, request_type::translated}) {
        for (auto const tt : {translation_type::untranslated_only, translation_type::pass_through}) {
            sheet_unit u;
            u.translation(tt);
            std::uint64_t const low = u.memory[u.context];
            check_fault(u.translate(type), reason::request_blocked, configuration(u.context, low));
            // AT before AW, and before the address.
            u.address_width(0);
            CHECK(code_of(u.translate(u.typed(all, type))) == reason::request_blocked);
            u.quiet();
            check_fault(u.translate(type), reason::request_blocked, configuration(u.context, low | 2), u.at, false);
        }
        sheet_unit u;
        u.translation(translation_type::device_tlb);
        CHECK(u.translate(type));
        u.address_width(0);
        CHECK(code_of(u.translate(type)) == reason::context_invalid);
    }
}

TEST_CASE("Eh: the output lies in the interrupt range") {
    sheet_unit u;
    u.memory[u.l1] = 0xfee0'0003;
    check_fault(u.translate(), reason::output_in_interrupt_range, address_itself(fault_stage::second));
    // After the rights.
    u.memory[u.l1] = 0xfee0'0001;
    CHECK(code_of(u.translate(write)) == reason::write_denied);
    CHECK(code_of(u.translate(read)) == reason::output_in_interrupt_range);
    u.quiet();
    check_fault(u.translate(), reason::output_in_interrupt_range, address_itself(fault_stage::second), u.at, false);
    u.set.interrupt_ranges = false;
    CHECK(u.translate());
}

TEST_CASE("29h: a request without PASID to the interrupt range that is no interrupt") {
    std::uint64_t const at = 0xfee0'0abc;
    vtd::request const refused[] = {sheet_unit::sized(at, read, 4), sheet_unit::sized(at, read_write, 4),
                                    sheet_unit::sized(at, write, 8), sheet_unit::sized(at, write, 1)};
    for (auto const& r : refused) {
        sheet_unit u;
        u.quiet();
        CAPTURE(r.bytes, r.access.bits);
        // Not qualified, and found before any table is looked at.
        check_fault(u.translate(r), reason::interrupt_request_illegal, address_itself(fault_stage::configuration), at);
        CHECK(u.memory.trail.empty());
        u.root_register = 0x1000'0800; // even in a reserved mode
        CHECK(code_of(u.translate(r)) == reason::interrupt_request_illegal);
    }
}

TEST_CASE("30h: the table mode is reserved") {
    sheet_unit u;
    u.root_register = 0x1000'0800;
    check_fault(u.translate(), reason::root_pointer_invalid, configuration());
    CHECK(u.memory.trail.empty());
    // Before the PASID and the kind of request.
    check_fault(u.translate(u.with_pasid(u.at)), reason::root_pointer_invalid, configuration());
    check_fault(u.translate(request_type::page), reason::root_pointer_invalid, configuration());
    check_fault(u.translate(request_type::translation), reason::root_pointer_invalid, configuration());
}

TEST_CASE("30h: abort-DMA mode where the unit lacks it") {
    sheet_unit u;
    u.root_register = 0x1000'0c00;
    u.ecap.set<"ADMS">(0);
    check_fault(u.translate(), reason::root_pointer_invalid, configuration());
    check_fault(u.translate(request_type::page), reason::root_pointer_invalid, configuration());
}

TEST_CASE("30h: scalable mode where the unit lacks it") {
    sheet_unit u;
    u.root_register = 0x1000'0400;
    check_fault(u.translate(), reason::root_pointer_invalid, configuration());
    CHECK(u.memory.trail.empty());
}

TEST_CASE("30h: SSIRWE in legacy mode") {
    sheet_unit u;
    u.ecap.set<"SSIRWS">(1);
    u.root_register = 0x1000'0080;
    check_fault(u.translate(), reason::root_pointer_invalid, configuration());
    check_fault(u.translate(u.with_pasid(u.at)), reason::root_pointer_invalid, configuration());
    u.root_register = 0x1000'0000;
    CHECK(u.translate());
}

TEST_CASE("31h: a request with PASID in legacy mode") {
    sheet_unit u;
    u.quiet(); // not qualified
    check_fault(u.translate(u.with_pasid(u.at)), reason::pasid_in_legacy_mode, configuration());
    CHECK(u.memory.trail.empty());
    // PASID 0 is a PASID.
    check_fault(u.translate(u.with_pasid(u.at, 0)), reason::pasid_in_legacy_mode, configuration());
    for (auto const type : {request_type::translation, request_type::translated}) {
        vtd::request r = u.with_pasid(u.at);
        r.type = type;
        check_fault(u.translate(r), reason::pasid_in_legacy_mode, configuration());
    }
    // The interrupt range is special without PASID only.
    check_fault(u.translate(u.with_pasid(0xfee0'0000)), reason::pasid_in_legacy_mode, configuration(), 0xfee0'0000);
}

TEST_CASE("32h: a page request in legacy mode") {
    sheet_unit u;
    u.quiet(); // not qualified
    check_fault(u.translate(request_type::page), reason::page_request_in_legacy_mode, configuration());
    CHECK(u.memory.trail.empty());
    check_fault(u.translate(u.typed(0xfee0'0000, request_type::page)), reason::page_request_in_legacy_mode, configuration(),
                0xfee0'0000);
}

TEST_CASE("32h: a page request with PASID in legacy mode, since 31h does not exist for page requests") {
    sheet_unit u;
    vtd::request r = u.with_pasid(u.at);
    r.type = request_type::page;
    check_fault(u.translate(r), reason::page_request_in_legacy_mode, configuration());
}

TEST_CASE("33h: abort-DMA mode") {
    sheet_unit u;
    u.root_register = 0x1000'0c00;
    u.quiet();
    for (auto const type : {request_type::untranslated, request_type::translation, request_type::translated, request_type::page})
        check_fault(u.translate(type), reason::dma_aborted, configuration());
    check_fault(u.translate(u.with_pasid(u.at)), reason::dma_aborted, configuration());
    CHECK(u.memory.trail.empty());
}

} // namespace stagewalk::test
