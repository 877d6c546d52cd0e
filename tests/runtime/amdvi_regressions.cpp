// AMD-Vi: defects of other models, one case each: it would fail with their behaviour. What concerns commands, logs, interrupts or
// caches has its case where these are tested.
#include "amdvi_unit.hpp"

#include <cstdint>

namespace stagewalk::test {
namespace {

using amdvi::device_entry_error;
using amdvi::event;

// Host tables at 2000000h: table n from the top is at 2000000h + n * 1000h.
constexpr std::uint64_t tables = 0x200'0000;

amdvi_unit with_mode(std::uint64_t mode) {
    amdvi_unit u;
    u.dte.set<"Mode">(mode);
    u.dte.set<"HostPageTableRoot">(tables);
    return u;
}

} // namespace

// --- Q: QEMU 10 ----------------------------------------------------------------------------------------------------------------

TEST_CASE("amdvi Q1: V = 1 with TV = 0 does not pass, whatever IR and IW say") {
    amdvi_unit u;
    u.dte.word[0] = 0x6000'0000'0000'0001;
    CHECK(amdvi_event(u.translate()) == event::io_page_fault);
    CHECK(amdvi_event(u.translate(write)) == event::io_page_fault);
    u.dte.word[0] = 0x0000'0000'0000'0001;
    CHECK(amdvi_event(u.translate()) == event::io_page_fault);
}

TEST_CASE("amdvi Q2: a table that leads to itself or upwards ends the walk") {
    for (std::uint64_t mode = 1; mode <= 6; ++mode)
        for (std::uint64_t level = 1; level <= mode; ++level)
            for (std::uint64_t next = level; next <= 6; ++next) {
                auto u = with_mode(mode);
                for (std::uint64_t l = mode; l >= level; --l)
                    u.memory[tables + (mode - l) * 0x1000] =
                        0x6000'0000'0000'0001 |
                        (l == level ? tables | next << 9 : tables + (mode - l + 1) * 0x1000 | (l - 1) << 9);
                CAPTURE(mode, level, next);
                auto const answer = u.translate_at(0);
                CHECK(amdvi_event(answer) == event::io_page_fault);
                CHECK(amdvi_flags(answer) == flag_pr);
                CHECK(u.memory.trail.size() == 4 + (mode - level + 1));
            }
}

TEST_CASE("amdvi Q3, O6, M2: address bits of skipped levels are not dropped") {
    for (std::uint64_t mode = 3; mode <= 6; ++mode)
        for (std::uint64_t next = 1; next + 1 < mode; ++next)
            for (unsigned b = 12; b < 64; ++b) {
                auto u = with_mode(mode);
                unsigned const low = static_cast<unsigned>(12 + 9 * next);
                unsigned const high = static_cast<unsigned>(12 + 9 * (mode - 1));
                for (std::uint64_t i = 0; i < 512; ++i) {
                    u.memory[tables + i * 8] = 0x6000'0000'0000'0001 | (tables + 0x1000) | next << 9;
                    u.memory[tables + 0x1000 + i * 8] = 0x6000'0000'9abc'0001; // a leaf
                }
                CAPTURE(mode, next, b);
                auto const answer = u.translate_at(one_bit(b));
                bool const covered = mode == 6 || b < high + 9;
                bool const skipped = b >= low && b < high;
                CHECK(static_cast<bool>(answer) == (covered && !skipped));
                if (!answer) CHECK(amdvi_flags(answer) == (skipped ? flag_pr : 0));
            }
}

TEST_CASE("amdvi examples E15, E17: levels that are skipped, and bit 39 that is not") {
    amdvi_unit u;
    u.dte.word[0] = 0x6000'0000'0200'0803;
    u.dte.word[1] = 0x2a;
    u.memory[0x200'0000] = 0x6000'0000'0200'1401;
    u.memory[0x200'0008] = 0x6000'0000'0200'3401;
    u.memory[0x200'1488] = 0x6000'0000'0200'2201;
    u.memory[0x200'3488] = 0x6000'0000'0200'2201;
    u.memory[0x200'2a28] = 0x6000'0000'7777'7001;
    auto const skipped = u.translate_at(0x1234'5678);
    REQUIRE(skipped);
    CHECK(skipped->output.value == 0x7777'7678);
    CHECK(u.memory.trail.size() == 7);
    auto const answer = u.translate_at(0x80'1234'5678);
    REQUIRE(answer);
    CHECK(answer->output.value == 0x7777'7678);
    CHECK(amdvi_event(u.translate_at(0x40'1234'5678)) == event::io_page_fault);
    check_words(u.translate_at(0x40'1234'5678), u.ask_at(0x40'1234'5678), 0x2010'002a'0000'00a5, 0x40'1234'5678);
}

TEST_CASE("amdvi Q4, V1: addresses above Mode do not alias below it") {
    for (std::uint64_t mode = 1; mode < 6; ++mode)
        for (unsigned b = 12; b < 64; ++b) {
            auto u = with_mode(mode);
            for (std::uint64_t i = 0; i < 512; ++i)
                u.memory[tables + i * 8] = 0x6000'0000'0000'0001;
            CAPTURE(mode, b);
            auto const answer = u.translate_at(one_bit(b));
            CHECK(static_cast<bool>(answer) == (b < 12 + 9 * mode));
            if (!answer) CHECK(u.memory.trail.size() == 4);
        }
}

TEST_CASE("amdvi Q5: a leaf that is not present maps nothing, whatever else it holds") {
    amdvi_unit u;
    u.memory[u.h1] = 0x6000'0000'9abc'd000;
    CHECK(amdvi_flags(u.translate()) == 0);
    u.memory[u.h1] = ~std::uint64_t{1}; // reserved bits of it are none
    CHECK(amdvi_event(u.translate()) == event::io_page_fault);
    CHECK(amdvi_flags(u.translate()) == 0);
}

TEST_CASE("amdvi Q6: a leaf of zeros is an event") {
    amdvi_unit u;
    u.memory[u.h1] = 0;
    auto const answer = u.translate();
    CHECK(amdvi_event(answer) == event::io_page_fault);
    CHECK(answer.error().reported);
}

TEST_CASE("amdvi Q7, M3: the answer's rights are those of all levels, so a later write finds them missing") {
    for (unsigned where = 0; where < 3; ++where) {
        amdvi_unit u;
        std::uint64_t const at[]{u.h3, u.h2, u.h1};
        u.memory[at[where]] &= ~one_bit(62);
        CAPTURE(where);
        auto const answer = u.translate(read);
        REQUIRE(answer);
        CHECK(answer->effective.rights() == read);
        CHECK_FALSE(u.translate(write));
        u.memory[at[where]] ^= one_bit(61) | one_bit(62);
        CHECK_FALSE(u.translate(read));
        CHECK(u.translate(write)->effective.rights() == write);
    }
}

TEST_CASE("amdvi Q8, O7: reserved bits of entries are looked at, FC in a table's too") {
    for (unsigned b = 52; b < 61; ++b)
        for (std::uint64_t const at : {amdvi_unit::h3, amdvi_unit::h2, amdvi_unit::h1}) {
            amdvi_unit u;
            u.memory[at] |= one_bit(b);
            CAPTURE(b, at);
            bool const legal = at == u.h1 && b >= 59; // U and FC
            CHECK(static_cast<bool>(u.translate()) == legal);
            if (!legal) CHECK(amdvi_flags(u.translate()) == (flag_pr | flag_rz));
        }
}

TEST_CASE("amdvi Q9: words of an entry that is not valid may hold anything") {
    amdvi_unit u;
    u.dte = {};
    u.dte.word[0] = 8;
    CHECK(u.translate());
    u.dte.word[0] = 0x8000'0000'0000'007c;
    CHECK(u.translate());
    // The interrupt words do not count for memory, valid or not.
    amdvi_unit v;
    for (bool const iv : {false, true}) {
        v.dte.word[2] = 0x0030'0000'0000'0000 | (iv ? 1u : 0u);
        v.dte.word[3] = 0x003f'0000'0000'7fff;
        CHECK(v.translate());
    }
}

TEST_CASE("amdvi Q10, M4: Mode 7 is an event and no end of the program") {
    amdvi_unit u;
    u.dte.set<"Mode">(7);
    auto const answer = u.translate();
    CHECK(amdvi_why(answer) == device_entry_error::mode);
    CHECK(answer.error().reported);
}

TEST_CASE("amdvi Q11: a DeviceID just beyond the table finds nothing, though memory is there") {
    amdvi_unit u;
    u.registers.table[0] = amdvi::device_table_base_register{0x8000'0001};
    u.write_entry(u.table_at + 256 * 32);
    auto r = u.ask();
    r.source = 256;
    CHECK(amdvi_why(u.unit().translate(r)) == device_entry_error::beyond_table);
}

TEST_CASE("amdvi Q12, O5: a coded page size must be one of its level") {
    for (std::uint64_t level = 1; level <= 5; ++level)
        for (unsigned lg2 = 13; lg2 <= 53; ++lg2) {
            auto u = with_mode(level);
            std::uint64_t const code = lg2 == 53 ? 0x000f'ffff'ffff'f000 : low_mask(lg2 - 1) & ~std::uint64_t{0xfff};
            u.memory[tables] = 0x6000'0000'0000'0e01 | code;
            std::uint64_t const own = 12 + 9 * (level - 1);
            bool const legal = lg2 > own && lg2 < own + 9 && lg2 <= 51;
            CAPTURE(level, lg2);
            auto const answer = u.translate_at(0xabc);
            CHECK(static_cast<bool>(answer) == legal);
            if (answer) {
                CHECK(answer->lg2_size == lg2);
                CHECK(answer->output.value == 0xabc);
            } else {
                CHECK(amdvi_flags(answer) == flag_pr);
            }
        }
}

TEST_CASE("amdvi Q13, V4: two devices and two high addresses are four different things") {
    auto u = with_mode(6);
    u.memory[tables + 0] = 0x6000'0000'0200'1a01;
    u.memory[tables + 127 * 8] = 0x6000'0000'0200'2a01;
    u.memory[tables + 0x1000] = 0x6000'0000'0000'0001 | one_bit(49); // 256 TiB each
    u.memory[tables + 0x2000 + 511 * 8] = 0x6000'0000'0000'0001 | one_bit(50);
    CHECK(u.translate_at(0x5000)->output.value == (one_bit(49) | 0x5000));
    CHECK(u.translate_at(0xffff'0000'0000'5000)->output.value == (one_bit(50) | 0x5000));
    CHECK_FALSE(u.translate_at(0x0010'0000'0000'5000)); // bit 52
    CHECK_FALSE(u.translate_at(0x0100'0000'0000'5000)); // bit 56
    CHECK_FALSE(u.translate_at(0x0200'0000'0000'5000)); // bit 57
    CHECK_FALSE(u.translate_at(0x8000'0000'0000'5000));
}

TEST_CASE("amdvi Q16: the event has bus, device and function") {
    amdvi_unit u;
    u.memory[u.h1] = 0;
    u.write_entry(u.table_at + 0x1fa3 * 32);
    auto r = u.ask();
    r.source = 0x1fa3;
    check_words(u.unit().translate(r), r, 0x2000'0011'0000'1fa3, u.host_at);
}

TEST_CASE("amdvi Q17, O1: flags are at their places: I is clear, RW and PR are set, and nothing of the request is in GN or NX") {
    amdvi_unit u;
    u.memory[u.h1] &= ~one_bit(62);
    check_words(u.translate(write), u.ask(write), 0x2070'0011'0000'00a5, u.host_at);
    u.memory[u.h1] = 0;
    check_words(u.translate(write), u.ask(write), 0x2020'0011'0000'00a5, u.host_at);
    check_words(u.translate(read), u.ask(read), 0x2000'0011'0000'00a5, u.host_at);
    // Bit 63 of the address is whole.
    u.dte.set<"TV">(0);
    check_words(u.translate_at(every_bit), u.ask_at(every_bit), 0x2000'0011'0000'00a5, every_bit);
}

TEST_CASE("amdvi Q20: all four words of an entry are read alike") {
    for (unsigned w = 0; w < 4; ++w) {
        amdvi_unit u;
        u.write_entry();
        u.memory[u.dte_at + w * 8] ^= w == 0 ? one_bit(52) : w == 1 ? one_bit(37) : one_bit(62); // of no effect
        auto const found = u.unit().find(u.ask());
        REQUIRE(found);
        for (unsigned k = 0; k < 4; ++k)
            CHECK(found->entry.word[k] == u.memory[u.dte_at + k * 8]);
    }
}

TEST_CASE("amdvi Q history: the event code is bits 63:60") {
    amdvi_unit u;
    u.memory.poison(u.h3);
    CHECK(amdvi::to_record(u.translate().error(), u.ask()).word[0] >> 60 == 4);
    u.memory.poison(u.dte_at);
    CHECK(amdvi::to_record(u.translate().error(), u.ask()).word[0] >> 60 == 3);
}

TEST_CASE("amdvi Q history: a table of Size n has (n + 1) * 4096 bytes, not n + 4096") {
    CHECK(amdvi::device_table_base_register{0}.entries() * 32 == 4096);
    CHECK(amdvi::device_table_base_register{1}.entries() * 32 == 8192);
    CHECK(amdvi::device_table_base_register{0x1ff}.entries() * 32 == 0x20'0000);
}

TEST_CASE("amdvi Q history: the size of a large page") {
    amdvi_unit u;
    u.memory[u.h2] = 0x6000'0000'c020'0001; // E2
    auto answer = u.translate();
    REQUIRE(answer);
    CHECK(answer->output.value == 0xc025'6789);
    CHECK(answer->lg2_size == 21);
    CHECK(answer->offset_mask() == 0x1f'ffff);
    u.memory[u.h2] = 0x6000'0000'401f'fe01; // E4
    u.memory[u.h2 + 8] = 0x6000'0000'401f'fe01;
    answer = u.translate();
    REQUIRE(answer);
    CHECK(answer->output.value == 0x4005'6789);
    CHECK(answer->lg2_size == 22);
    answer = u.translate_at(u.host_at + 0x20'0000); // the other slot
    REQUIRE(answer);
    CHECK(answer->output.value == 0x4025'6789);
}

// --- M: QEMU's shadow path -----------------------------------------------------------------------------------------------------

TEST_CASE("amdvi M1: a leaf with NextLevel 0 has the size of the level it was read at") {
    for (std::uint64_t mode = 1; mode <= 6; ++mode)
        for (std::uint64_t level = 1; level <= mode; ++level) {
            auto u = with_mode(mode);
            for (std::uint64_t l = mode; l >= level; --l)
                u.memory[tables + (mode - l) * 0x1000] =
                    0x6000'0000'0000'0001 | (l == level ? 0 : tables + (mode - l + 1) * 0x1000 | (l - 1) << 9);
            CAPTURE(mode, level);
            auto const answer = u.translate_at(0xabc);
            CHECK(static_cast<bool>(answer) == (level < 6)); // O8: none at level 6
            if (answer) CHECK(answer->lg2_size == 12 + 9 * (level - 1));
            if (!answer) CHECK(amdvi_flags(answer) == flag_pr);
        }
}

TEST_CASE("amdvi M8: an entry of ones is no entry that cannot be read") {
    amdvi_unit u;
    u.memory[u.h1] = every_bit;
    CHECK(amdvi_event(u.translate()) == event::io_page_fault);
    CHECK(amdvi_flags(u.translate()) == (flag_pr | flag_rz));
    u.memory.poison(u.h1);
    CHECK(amdvi_event(u.translate()) == event::page_tab_hardware_error);
    amdvi_unit v;
    v.memory[v.dte_at] = 0;
    v.dte.word[0] = every_bit;
    CHECK(amdvi_why(v.translate()) == device_entry_error::reserved_bits);
}

TEST_CASE("amdvi M9: TV = 0 and an unreadable device table are events") {
    amdvi_unit u;
    u.dte.set<"TV">(0);
    CHECK(u.translate().error().reported);
    u.memory.poison(u.dte_at + 8);
    auto const answer = u.translate();
    CHECK(amdvi_event(answer) == event::dev_tab_hardware_error);
    CHECK(answer.error().reported);
}

// --- O: OpenVMM ----------------------------------------------------------------------------------------------------------------

TEST_CASE("amdvi O3: Mode 0 keeps to IR and IW") {
    amdvi_unit u{amdvi_kind::identity};
    u.dte.set<"IW">(0);
    CHECK(u.translate(read));
    CHECK_FALSE(u.translate(write));
    CHECK_FALSE(u.translate(read_write));
    u.dte.set<"IR">(0);
    CHECK_FALSE(u.translate(read));
}

TEST_CASE("amdvi O4: an entry of level 1 with NextLevel 1 to 6 is no page") {
    for (std::uint64_t next = 0; next < 8; ++next) {
        amdvi_unit u;
        u.memory[u.h1] = 0x6000'0000'9abc'c001 | next << 9;
        CAPTURE(next);
        CHECK(static_cast<bool>(u.translate()) == (next == 0 || next == 7));
    }
}

TEST_CASE("amdvi O5: address bits below the page size add nothing") {
    amdvi_unit u;
    u.memory[u.h2] = 0x6000'0000'c03f'f001; // 2 MiB, bits 20:12 set
    auto answer = u.translate();
    REQUIRE(answer);
    CHECK(answer->output.value == 0xc025'6789);
    u.memory[u.h1] = 0x6000'0000'0004'7e01; // 64 KiB; its code is no address
    u.memory[u.h2] = 0x6000'0000'0100'2201;
    answer = u.translate();
    REQUIRE(answer);
    CHECK(answer->output.value == 0x4'6789);
    CHECK(answer->lg2_size == 16);
}

TEST_CASE("amdvi O9: Mode 5 and 6 on an IOMMU of four levels are illegal") {
    for (std::uint64_t mode = 4; mode <= 6; ++mode) {
        amdvi_unit u;
        u.efr.set<"HATS">(0);
        u.dte.set<"Mode">(mode);
        CHECK((amdvi_why(u.translate()) == device_entry_error::mode) == (mode > 4));
    }
}

// --- V: VirtualBox -------------------------------------------------------------------------------------------------------------

TEST_CASE("amdvi V2: of two devices with the same tables each has the rights of its own entry") {
    amdvi_unit u;
    u.write_entry(u.table_at + 7 * 32);
    u.dte.set<"IW">(0);
    u.write_entry();
    auto r = u.ask(read);
    CHECK(u.unit().translate(r)->effective.rights() == read);
    r.source = 7;
    CHECK(u.unit().translate(r)->effective.rights() == read_write);
    r.access = write;
    CHECK(u.unit().translate(r));
    r.source = u.device;
    CHECK_FALSE(u.unit().translate(r));
}

TEST_CASE("amdvi: of a read-only table over an absent page, the table's right is judged first, reserved bits by policy") {
    amdvi_unit u;
    u.memory[u.h2] &= ~one_bit(62);
    u.memory[u.h1] = 0;
    CHECK(amdvi_flags(u.translate(write)) == (flag_pr | flag_pe | flag_rw));
    CHECK(amdvi_flags(u.translate(read)) == 0);
    u.memory[u.h2] |= one_bit(53);
    CHECK(amdvi_flags(u.translate(write)) == (flag_pr | flag_rz | flag_rw));
    u.rules.order = amdvi::check_order::rights_first;
    CHECK(amdvi_flags(u.translate(write)) == (flag_pr | flag_pe | flag_rw));
    CHECK(amdvi_flags(u.translate(read)) == (flag_pr | flag_rz));
}

} // namespace stagewalk::test
