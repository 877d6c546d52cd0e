// Every field of every VT-d structure against its place in the manual: B33 (one field off shifts all that follow), B14
// (no C++ bit-fields, whose layout is the compiler's).
#include "catch.hpp"

#include <stagewalk/vtd/capabilities.hpp>
#include <stagewalk/vtd/context_table.hpp>
#include <stagewalk/vtd/fault_record.hpp>
#include <stagewalk/vtd/pasid_table.hpp>
#include <stagewalk/vtd/reason.hpp>
#include <stagewalk/vtd/request.hpp>
#include <stagewalk/vtd/root_table.hpp>
#include <stagewalk/vtd/second_stage.hpp>

#include <cstdint>

namespace stagewalk::test {
namespace {

// Bits high down to low, counted over the whole structure, are the field and nothing else is.
template <class Entry, field_name Name>
constexpr bool lies(unsigned high, unsigned low) {
    Entry e;
    e.template set<Name>(~std::uint64_t{0});
    bool right = Entry::template mask<Name>() == bit_mask(high % 64, low % 64);
    for (unsigned w = 0; w < Entry::words; ++w)
        right = right && e.word[w] == (w == low / 64 ? bit_mask(high % 64, low % 64) : 0);
    return right;
}

} // namespace

TEST_CASE("B33: root and context entry fields lie where the manual has them") {
    using vtd::context_entry, vtd::root_entry, vtd::root_table_address;
    STATIC_REQUIRE(lies<root_table_address, "RTA">(63, 12));
    STATIC_REQUIRE(lies<root_table_address, "TTM">(11, 10));
    STATIC_REQUIRE(lies<root_table_address, "SSIRWE">(7, 7));
    STATIC_REQUIRE(lies<root_entry, "P">(0, 0));
    STATIC_REQUIRE(lies<root_entry, "CTP">(63, 12));
    STATIC_REQUIRE(root_entry::reserved(0) == 0xffe);
    STATIC_REQUIRE(root_entry::reserved(1) == ~std::uint64_t{0});
    STATIC_REQUIRE(lies<context_entry, "P">(0, 0));
    STATIC_REQUIRE(lies<context_entry, "FPD">(1, 1));
    STATIC_REQUIRE(lies<context_entry, "TT">(3, 2));
    STATIC_REQUIRE(lies<context_entry, "SSPTPTR">(63, 12));
    STATIC_REQUIRE(lies<context_entry, "AW">(66, 64));
    STATIC_REQUIRE(lies<context_entry, "DID">(87, 72));
    STATIC_REQUIRE(context_entry::reserved(0) == 0xff0);
    STATIC_REQUIRE(context_entry::reserved(1) == 0xffff'ffff'ff00'0080);
}

TEST_CASE("B33: context entries are made as the manual has them") {
    constexpr auto e = vtd::context_entry::make(vtd::translation_type::device_tlb, 0x3000'0000, 4, 0xabcd);
    STATIC_REQUIRE(e.word[0] == 0x3000'0005);
    STATIC_REQUIRE(e.word[1] == 0xab'cd02);
    STATIC_REQUIRE(e.levels() == 4);
    STATIC_REQUIRE(e.type() == vtd::translation_type::device_tlb);
    STATIC_REQUIRE(vtd::root_entry::make(0x2000'0000).word[0] == 0x2000'0001);
    STATIC_REQUIRE(vtd::root_entry::make(0x2000'0000).word[1] == 0);
}

TEST_CASE("B33: second-stage entry fields and reserved bits") {
    using namespace vtd;
    STATIC_REQUIRE(second_stage_upper_entry::reserved() == (1u << 7 | 1u << 11 | std::uint64_t{1} << 62));
    STATIC_REQUIRE(second_stage_table_entry::reserved() == (1u << 11 | std::uint64_t{1} << 62));
    STATIC_REQUIRE(second_stage_large_page<21>::reserved() == (bit_mask(20, 12) | std::uint64_t{1} << 62));
    STATIC_REQUIRE(second_stage_large_page<30>::reserved() == (bit_mask(29, 12) | std::uint64_t{1} << 62));
    STATIC_REQUIRE(second_stage_page::reserved() == std::uint64_t{1} << 62);
    STATIC_REQUIRE(lies<second_stage_page, "R">(0, 0));
    STATIC_REQUIRE(lies<second_stage_page, "W">(1, 1));
    STATIC_REQUIRE(lies<second_stage_page, "EMT">(5, 3));
    STATIC_REQUIRE(lies<second_stage_page, "IPAT">(6, 6));
    STATIC_REQUIRE(lies<second_stage_page, "A">(8, 8));
    STATIC_REQUIRE(lies<second_stage_page, "D">(9, 9));
    STATIC_REQUIRE(lies<second_stage_page, "SNP">(11, 11));
    STATIC_REQUIRE(lies<second_stage_page, "ADDR">(51, 12));
    STATIC_REQUIRE(lies<second_stage_large_page<21>, "PS">(7, 7));
    STATIC_REQUIRE(lies<second_stage_large_page<21>, "ADDR">(51, 21));
    STATIC_REQUIRE(lies<second_stage_large_page<30>, "ADDR">(51, 30));
    STATIC_REQUIRE(lies<second_stage_table_entry, "PS">(7, 7));
}

TEST_CASE("B33, B8: fault record fields lie where the manual has them") {
    using vtd::fault_record;
    STATIC_REQUIRE(lies<fault_record, "FI">(63, 12));
    STATIC_REQUIRE(lies<fault_record, "SID">(79, 64));
    STATIC_REQUIRE(lies<fault_record, "T2">(92, 92));
    STATIC_REQUIRE(lies<fault_record, "PRIV">(93, 93));
    STATIC_REQUIRE(lies<fault_record, "EXE">(94, 94));
    STATIC_REQUIRE(lies<fault_record, "PP">(95, 95));
    STATIC_REQUIRE(lies<fault_record, "FR">(103, 96));
    STATIC_REQUIRE(lies<fault_record, "PV">(123, 104));
    STATIC_REQUIRE(lies<fault_record, "AT">(125, 124));
    STATIC_REQUIRE(lies<fault_record, "T1">(126, 126));
    STATIC_REQUIRE(lies<fault_record, "F">(127, 127));
}

TEST_CASE("B33: capability register fields lie where the manual has them") {
    using cap = vtd::capability_register;
    STATIC_REQUIRE(lies<cap, "ESRTPS">(63, 63));
    STATIC_REQUIRE(lies<cap, "ESIRTPS">(62, 62));
    STATIC_REQUIRE(lies<cap, "ECMDS">(61, 61));
    STATIC_REQUIRE(lies<cap, "FS5LP">(60, 60));
    STATIC_REQUIRE(lies<cap, "PI">(59, 59));
    STATIC_REQUIRE(lies<cap, "FS1GP">(56, 56));
    STATIC_REQUIRE(lies<cap, "MAMV">(53, 48));
    STATIC_REQUIRE(lies<cap, "NFR">(47, 40));
    STATIC_REQUIRE(lies<cap, "PSI">(39, 39));
    STATIC_REQUIRE(lies<cap, "SSLPS">(37, 34));
    STATIC_REQUIRE(lies<cap, "FRO">(33, 24));
    STATIC_REQUIRE(lies<cap, "ZLR">(22, 22));
    STATIC_REQUIRE(lies<cap, "MGAW">(21, 16));
    STATIC_REQUIRE(lies<cap, "SAGAW">(12, 8));
    STATIC_REQUIRE(lies<cap, "CM">(7, 7));
    STATIC_REQUIRE(lies<cap, "RWBF">(4, 4));
    STATIC_REQUIRE(lies<cap, "ND">(2, 0));
}

TEST_CASE("B33: extended capability register fields lie where the manual has them") {
    using ecap = vtd::extended_capability_register;
    STATIC_REQUIRE(lies<ecap, "IRREQ">(62, 62));
    STATIC_REQUIRE(lies<ecap, "EIMER">(61, 61));
    STATIC_REQUIRE(lies<ecap, "HPT1GPS">(59, 59));
    STATIC_REQUIRE(lies<ecap, "SSIRWS">(57, 57));
    STATIC_REQUIRE(lies<ecap, "PTRS">(56, 56));
    STATIC_REQUIRE(lies<ecap, "HPTS">(55, 55));
    STATIC_REQUIRE(lies<ecap, "RPRIVS">(53, 53));
    STATIC_REQUIRE(lies<ecap, "ADMS">(52, 52));
    STATIC_REQUIRE(lies<ecap, "RPS">(49, 49));
    STATIC_REQUIRE(lies<ecap, "SMPWCS">(48, 48));
    STATIC_REQUIRE(lies<ecap, "FSTS">(47, 47));
    STATIC_REQUIRE(lies<ecap, "SSTS">(46, 46));
    STATIC_REQUIRE(lies<ecap, "SSADS">(45, 45));
    STATIC_REQUIRE(lies<ecap, "SMTS">(43, 43));
    STATIC_REQUIRE(lies<ecap, "PDS">(42, 42));
    STATIC_REQUIRE(lies<ecap, "DIT">(41, 41));
    STATIC_REQUIRE(lies<ecap, "PASID">(40, 40));
    STATIC_REQUIRE(lies<ecap, "PSS">(39, 35));
    STATIC_REQUIRE(lies<ecap, "EAFS">(34, 34));
    STATIC_REQUIRE(lies<ecap, "NWFS">(33, 33));
    STATIC_REQUIRE(lies<ecap, "SRS">(31, 31));
    STATIC_REQUIRE(lies<ecap, "ERS">(30, 30));
    STATIC_REQUIRE(lies<ecap, "PRS">(29, 29));
    STATIC_REQUIRE(lies<ecap, "NEST">(26, 26));
    STATIC_REQUIRE(lies<ecap, "MTS">(25, 25));
    STATIC_REQUIRE(lies<ecap, "MHMV">(23, 20));
    STATIC_REQUIRE(lies<ecap, "IRO">(17, 8));
    STATIC_REQUIRE(lies<ecap, "SC">(7, 7));
    STATIC_REQUIRE(lies<ecap, "PT">(6, 6));
    STATIC_REQUIRE(lies<ecap, "EIM">(4, 4));
    STATIC_REQUIRE(lies<ecap, "IR">(3, 3));
    STATIC_REQUIRE(lies<ecap, "DT">(2, 2));
    STATIC_REQUIRE(lies<ecap, "QI">(1, 1));
    STATIC_REQUIRE(lies<ecap, "C">(0, 0));
}

TEST_CASE("capabilities are read from the raw registers") {
    // QEMU's registers: MGAW 48, SAGAW 39 and 48, SSLPS 0011, ND 16 bits.
    constexpr vtd::capabilities c{0x00d2'008c'222f'0686, 0x00f0'0f4a, 46};
    STATIC_REQUIRE(c.guest_address_width() == 48);
    STATIC_REQUIRE(c.second_stage_levels(3));
    STATIC_REQUIRE(c.second_stage_levels(4));
    STATIC_REQUIRE_FALSE(c.second_stage_levels(5));
    STATIC_REQUIRE_FALSE(c.second_stage_levels(2));
    STATIC_REQUIRE_FALSE(c.second_stage_levels(6));
    STATIC_REQUIRE_FALSE(c.second_stage_levels(~std::uint64_t{0}));
    STATIC_REQUIRE(c.deepest_second_stage() == 4);
    STATIC_REQUIRE(c.second_stage_2m());
    STATIC_REQUIRE(c.second_stage_1g());
    STATIC_REQUIRE(c.domain_id_width() == 16);
    STATIC_REQUIRE(c.beyond_host() == ~low_mask(46));
    STATIC_REQUIRE(c.contradiction() == vtd::capability_error::none);
    STATIC_REQUIRE(vtd::capabilities{47u << 16 | 0xe00, 0}.host_address_width == 48); // HAW not given: MGAW …
    STATIC_REQUIRE(vtd::capabilities{56u << 16 | 0xe00, 0}.host_address_width == 52); // … but no more than the format has
    STATIC_REQUIRE(vtd::capabilities{}.deepest_second_stage() == 0);
}

TEST_CASE("contradictory registers are named") {
    using vtd::capabilities, vtd::capability_error;
    STATIC_REQUIRE(capabilities{47u << 16 | 0x100, 0}.contradiction() == capability_error::reserved_table_levels);
    STATIC_REQUIRE(capabilities{47u << 16 | 0x1400, 0}.contradiction() == capability_error::reserved_table_levels);
    STATIC_REQUIRE(capabilities{47u << 16, 0}.contradiction() == capability_error::no_table_levels);
    // SMTS with SSTS, and without: first-stage tables alone need no SAGAW.
    STATIC_REQUIRE(capabilities{47u << 16, bit_mask(43, 43) | bit_mask(46, 46)}.contradiction() ==
                   capability_error::no_table_levels);
    STATIC_REQUIRE(capabilities{47u << 16, bit_mask(43, 43) | bit_mask(47, 47)}.contradiction() == capability_error::none);
    for (std::uint64_t sslps = 0; sslps < 16; ++sslps) {
        auto const fine = sslps == 0 || sslps == 1 || sslps == 3;
        CHECK((capabilities{sslps << 34 | 47u << 16 | 0x400, 0}.contradiction() ==
               (fine ? capability_error::none : capability_error::large_pages)));
    }
    STATIC_REQUIRE(capabilities{47u << 16 | 0x407, 0}.contradiction() == capability_error::domain_width);
    STATIC_REQUIRE(capabilities{47u << 16 | 0x406, 0}.contradiction() == capability_error::none);
    STATIC_REQUIRE(capabilities{47u << 16 | 0x400, 0, 49}.contradiction() == capability_error::host_address_width);
    STATIC_REQUIRE(capabilities{56u << 16 | 0x400, 0, 53}.contradiction() == capability_error::host_address_width);
    STATIC_REQUIRE(capabilities{47u << 16 | 0x400, 0, 31}.contradiction() == capability_error::host_address_width);
    STATIC_REQUIRE(capabilities{47u << 16 | 0x400, 0, 32}.contradiction() == capability_error::none);
    // NEST is contradictory as soon as one of SMTS, FSTS and SSTS is missing, and only with NEST.
    for (unsigned has = 0; has < 8; ++has) {
        std::uint64_t const ecap = ((has & 1) != 0 ? bit_mask(43, 43) : 0) | ((has & 2) != 0 ? bit_mask(47, 47) : 0) |
                                   ((has & 4) != 0 ? bit_mask(46, 46) : 0);
        CAPTURE(has);
        CHECK((capabilities{47u << 16 | 0x400, ecap}.contradiction() == capability_error::none));
        CHECK((capabilities{47u << 16 | 0x400, ecap | bit_mask(26, 26)}.contradiction() ==
               (has == 7 ? capability_error::none : capability_error::nesting)));
    }
}

TEST_CASE("host permission fields are reserved as a whole without HPTS, and free with it") {
    using pasid = vtd::pasid_table_entry;
    vtd::capabilities const without{47u << 16 | 0x400, 0};
    vtd::capabilities const with{47u << 16 | 0x400, bit_mask(55, 55)};
    constexpr auto rules = vtd::unused_pasid_fields::ignore;
    for (std::uint64_t kind = 0; kind < 8; ++kind) {
        pasid e;
        e.set<"PGTT">(kind);
        CAPTURE(kind);
        CHECK(e.reserved_with(4, without, rules) == ~std::uint64_t{0});
        CHECK(e.reserved_with(5, without, rules) == ~std::uint64_t{0});
        // HPTSZ 1:0, HPTPFD 2, HPTPTR 63:12; HPTDID 15:0.
        CHECK(e.reserved_with(4, with, rules) == 0xff8);
        CHECK(e.reserved_with(5, with, rules) == ~std::uint64_t{0xffff});
        for (std::size_t const w : {3u, 6u, 7u})
            CHECK(e.reserved_with(w, with, rules) == ~std::uint64_t{0});
    }
    CHECK((vtd::scalable_context_entry::reserved_with(0, without) & 0x20) != 0);
    CHECK((vtd::scalable_context_entry::reserved_with(0, with) & 0x20) == 0);
}

TEST_CASE("reasons are the manual's numbers") {
    using vtd::reason;
    STATIC_REQUIRE(static_cast<int>(reason::root_not_present) == 0x1);
    STATIC_REQUIRE(static_cast<int>(reason::context_not_present) == 0x2);
    STATIC_REQUIRE(static_cast<int>(reason::context_invalid) == 0x3);
    STATIC_REQUIRE(static_cast<int>(reason::address_beyond_width) == 0x4);
    STATIC_REQUIRE(static_cast<int>(reason::write_denied) == 0x5);
    STATIC_REQUIRE(static_cast<int>(reason::read_denied) == 0x6);
    STATIC_REQUIRE(static_cast<int>(reason::table_unreadable) == 0x7);
    STATIC_REQUIRE(static_cast<int>(reason::root_unreadable) == 0x8);
    STATIC_REQUIRE(static_cast<int>(reason::context_unreadable) == 0x9);
    STATIC_REQUIRE(static_cast<int>(reason::root_reserved) == 0xa);
    STATIC_REQUIRE(static_cast<int>(reason::context_reserved) == 0xb);
    STATIC_REQUIRE(static_cast<int>(reason::table_reserved) == 0xc);
    STATIC_REQUIRE(static_cast<int>(reason::request_blocked) == 0xd);
    STATIC_REQUIRE(static_cast<int>(reason::output_in_interrupt_range) == 0xe);
    STATIC_REQUIRE(static_cast<int>(reason::interrupt_request_illegal) == 0x29);
    STATIC_REQUIRE(static_cast<int>(reason::root_pointer_invalid) == 0x30);
    STATIC_REQUIRE(static_cast<int>(reason::pasid_in_legacy_mode) == 0x31);
    STATIC_REQUIRE(static_cast<int>(reason::page_request_in_legacy_mode) == 0x32);
    STATIC_REQUIRE(static_cast<int>(reason::dma_aborted) == 0x33);
    STATIC_REQUIRE(static_cast<int>(vtd::request_type::untranslated) == 0);
    STATIC_REQUIRE(static_cast<int>(vtd::request_type::translation) == 1);
    STATIC_REQUIRE(static_cast<int>(vtd::request_type::translated) == 2);
    STATIC_REQUIRE(static_cast<int>(fault_stage::second) == 2);
    STATIC_REQUIRE(static_cast<int>(reason::beyond_host_permission) == 0x60);
    STATIC_REQUIRE(static_cast<int>(reason::host_permission_unreadable) == 0xa0);
    STATIC_REQUIRE(static_cast<int>(reason::host_permission_reserved) == 0xa1);
    STATIC_REQUIRE(static_cast<int>(reason::host_permission_root_unreadable) == 0xa2);
    STATIC_REQUIRE(static_cast<int>(reason::host_permission_zero_length) == 0xa3);
    STATIC_REQUIRE(static_cast<int>(reason::host_permission_write_denied) == 0xa4);
    STATIC_REQUIRE(static_cast<int>(reason::host_permission_read_denied) == 0xa5);
}

} // namespace stagewalk::test
