// Interrupt remapping of an AMD IOMMU: worked examples E53 to E56, every delivery mode, every fault and its order, every bit of
// the interrupt entries, and what is read.
#include "catch.hpp"
#include "sparse_memory.hpp"

#include <stagewalk/amdvi/event_record.hpp>
#include <stagewalk/amdvi/interrupt.hpp>
#include <stagewalk/memory/array.hpp>

#include <cstdint>
#include <vector>

namespace stagewalk::test {
namespace {

using amdvi::capabilities;
using amdvi::delivery;
using amdvi::event;
using amdvi::interrupt_type;

std::uint64_t bit(unsigned n) { return std::uint64_t{1} << n; }

constexpr std::uint64_t ga = 0x80;                     // EFR.GASup
constexpr std::uint64_t ga_xt = 0x84;                  // and XTSup
constexpr std::uint64_t ga_xt_guest = 0x84 | 1u << 21; // and GAMSup
constexpr std::uint64_t gaen = std::uint64_t{1} << 17;
constexpr std::uint64_t xten = std::uint64_t{1} << 50;

// Example E54: DTE A5h has 512 entries at 3000080h; entry 23h is that of E55: vector 41h to 3.
struct amdvi_interrupts {
    std::uint64_t efr = 0;
    std::uint64_t efr2 = 0;
    amdvi::control registers{0x1, 0x8000'01ff}; // IommuEn; 65536 entries
    amdvi::policy rules{};
    sparse_memory<pa> memory{};
    std::uint64_t dte = 0x8000'14a0;
    std::uint64_t at = 0x300'0108; // the word of index 23h: its upper half
    std::uint64_t wide_at = 0x300'02b0;

    amdvi_interrupts() {
        memory[dte] = 0;
        memory[dte + 8] = 0x11;
        memory[dte + 16] = 0x2700'0000'0300'0093;
        memory[dte + 24] = 0;
        memory[at] = 0x0041'0301'0000'0000;
    }
    // The same with entries of 128 bits, those of E56.
    void widen(std::uint64_t features = ga_xt, std::uint64_t control = gaen | xten) {
        efr = features;
        registers.main.word[0] |= control;
        memory[wide_at] = 0x0000'0000'1234'5601;
        memory[wide_at + 8] = 0x0100'0000'0000'0041;
    }
    auto remap(std::uint32_t data = 0x23, std::uint64_t address = 0xfee0'0000, std::uint16_t source = 0xa5) {
        memory.trail.clear();
        capabilities const caps{efr, efr2};
        amdvi::interrupt_remapping const unit{caps, registers, memory, rules};
        return unit.remap({source, address, data});
    }
    event code(std::uint32_t data = 0x23, std::uint64_t address = 0xfee0'0000) {
        auto const answer = remap(data, address);
        return answer ? event::none : answer.error().code;
    }
    bool is_forwarded(std::uint32_t data = 0x23, std::uint64_t address = 0xfee0'0000) {
        auto const answer = remap(data, address);
        return answer && *answer == amdvi::interrupt_answer{};
    }
    // The record of a message that fails, and whether it is written.
    void check_record(std::uint64_t w0, std::uint64_t w1, bool reported = true, std::uint32_t data = 0x23,
                      std::uint64_t address = 0xfee0'0000, std::uint16_t source = 0xa5) {
        auto const answer = remap(data, address, source);
        REQUIRE_FALSE(answer);
        auto const e = amdvi::to_record(answer.error(), amdvi::interrupt_request{source, address, data});
        CHECK(e.word[0] == w0);
        CHECK(e.word[1] == w1);
        CHECK(answer.error().reported == reported);
        CHECK(answer.error().input == address);
    }
};

} // namespace

// --- worked examples --------------------------------------------------------------------------------------------------

TEST_CASE("E53: segments of the device table") {
    capabilities const caps{std::uint64_t{3} << 38};
    amdvi::control registers{0x1 | std::uint64_t{3} << 34, 0x8000'01ff};
    registers.table[1] = amdvi::device_table_base_register{0x9100'00ff};
    registers.table[6] = amdvi::device_table_base_register{0x9600'003f};
    auto place = amdvi::find_device_entry(registers, registers.segment_bits(caps), 0xc1a3);
    CHECK(place.exists);
    CHECK(place.address == 0x9600'3460);
    registers.main.set<"DevTblSegEn">(1);
    place = amdvi::find_device_entry(registers, registers.segment_bits(caps), 0xc1a3);
    CHECK(place.exists);
    CHECK(place.address == 0x9108'3460);
}

TEST_CASE("E54: where the entry lies, 32 bits and 128 bits wide") {
    amdvi_interrupts u;
    CHECK(u.remap());
    CHECK(u.memory.trail == std::vector<std::uint64_t>{u.dte, u.dte + 8, u.dte + 16, u.dte + 24, 0x300'0108});
    u.widen();
    CHECK(u.remap());
    CHECK(u.memory.trail == std::vector<std::uint64_t>{u.dte, u.dte + 8, u.dte + 16, u.dte + 24, 0x300'02b0, 0x300'02b8});
    // Pass bits of the same entry: INIT, ExtINT and NMI.
    for (unsigned const mode : {4u, 5u, 7u})
        CHECK(u.is_forwarded(mode << 8));
}

TEST_CASE("E55: an entry of 32 bits") {
    amdvi_interrupts u;
    auto const answer = u.remap();
    REQUIRE(answer);
    CHECK(answer->how == delivery::remapped);
    CHECK(answer->index == 0x23);
    CHECK(answer->target == amdvi::interrupt_target{.destination = 3, .vector = 0x41});
    CHECK(answer->target.type == interrupt_type::fixed);
    CHECK_FALSE(answer->target.is_logical);
    CHECK(amdvi::to_entry_32(answer->target) == 0x0041'0301);
    // The other half of the word is another entry.
    u.memory[u.at] = 0x0000'0000'0041'0301;
    CHECK(u.code() == event::io_page_fault);
    CHECK(u.remap(0x22)->target.destination == 3);
}

TEST_CASE("E56: an entry of 128 bits with a destination of 32 bits") {
    amdvi_interrupts u;
    u.widen();
    auto const answer = u.remap();
    REQUIRE(answer);
    CHECK(answer->how == delivery::remapped);
    CHECK(answer->target == amdvi::interrupt_target{.destination = 0x0112'3456, .vector = 0x41});
    auto const e = amdvi::to_entry_128(answer->target);
    CHECK(e.word[0] == 0x0000'0000'1234'5601);
    CHECK(e.word[1] == 0x0100'0000'0000'0041);
}

// --- which way --------------------------------------------------------------------------------------------------------

TEST_CASE("amdvi interrupts: off, or without IV, everything is forwarded") {
    amdvi_interrupts u;
    u.registers.main.set<"IommuEn">(0);
    CHECK(u.is_forwarded());
    CHECK(u.memory.trail.empty());
    u.registers.main.set<"IommuEn">(1);
    u.memory[u.dte + 16] &= ~bit(0);
    u.memory[u.dte + 16] |= 3ull << 60 | 0xful << 1 | bit(52); // nothing of the entry counts
    u.memory[u.dte + 24] = ~std::uint64_t{0};
    for (unsigned mode = 0; mode < 8; ++mode)
        CHECK(u.is_forwarded(mode << 8 | 0x23, 0xfee0'0004));
}

TEST_CASE("amdvi interrupts: words 0 and 1 of the device table entry do not matter, but for the domain") {
    amdvi_interrupts u;
    u.memory[u.dte] = ~std::uint64_t{0};
    u.memory[u.dte + 8] = ~std::uint64_t{0};
    CHECK(u.remap());
    u.memory[u.at] = 0;
    u.check_record(0x2008'ffff'0000'00a5, 0xfee0'0000); // SA does not silence it either
}

TEST_CASE("amdvi interrupts: every delivery mode with every pass bit, destination mode and IntCtl") {
    for (unsigned mode = 0; mode < 8; ++mode)
        for (std::uint64_t passes = 0; passes < 8; ++passes)
            for (std::uint64_t int_ctl = 0; int_ctl < 3; ++int_ctl)
                for (bool const logical : {false, true}) {
                    amdvi_interrupts u;
                    u.memory[u.dte + 16] = 0x0300'0095 | passes << 56 | int_ctl << 60; // 1024 entries
                    u.memory[u.at] = 0x0041'0301'0000'0000;
                    u.memory[0x300'0508] = 0x0042'0301'0000'0000; // index 123h
                    bool const init = (passes & 1) != 0;
                    bool const ext_int = (passes & 2) != 0;
                    bool const nmi = (passes & 4) != 0;
                    bool const by_control = mode < 2;
                    bool const pass = mode == 4 ? nmi : mode == 5 ? init : ext_int;
                    unsigned type = 99; // none
                    if (by_control && int_ctl == 0) type = 5;
                    if (mode >= 4 && mode != 6 && !pass) type = 5;
                    if (mode >= 4 && mode != 6 && pass && logical) type = 6;
                    if (mode == 3 || mode == 6) type = 6;
                    std::uint32_t const data = mode << 8 | 0x8023; // the level does not matter
                    std::uint64_t const address = 0xfeef'f000 | (logical ? 4u : 0u);
                    CAPTURE(mode, passes, int_ctl, logical);
                    if (type != 99) {
                        u.check_record(0x8000'0000'0000'00a5 | std::uint64_t{type} << 57, address, true, data, address);
                        CHECK(u.memory.trail.size() == 4);
                    } else if (by_control && int_ctl == 2) {
                        auto const answer = u.remap(data, address);
                        REQUIRE(answer);
                        CHECK(answer->index == (mode == 0 ? 0x23u : 0x123u));
                        CHECK(answer->target.vector == (mode == 0 ? 0x41 : 0x42));
                        CHECK_FALSE(answer->target.is_logical); // the entry's
                    } else {
                        CHECK(u.is_forwarded(data, address));
                    }
                }
}

TEST_CASE("amdvi interrupts: tables of 2048 entries need both registers, and take every message") {
    for (std::uint64_t sup = 0; sup < 4; ++sup)
        for (std::uint64_t mode = 0; mode < 4; ++mode) {
            amdvi_interrupts u;
            u.efr2 = sup << 8;
            u.registers.main.set<"NumIntRemapMode">(mode);
            u.memory[u.dte + 16] = 0x2000'0000'0300'0097; // IntTabLen 11, no pass bits
            u.memory[0x300'0080 + 0x7ff * 4 - 4] = 0x0041'0301'0000'0000;
            auto const answer = u.remap(0xfff, 0xfee0'0004);
            CAPTURE(sup, mode);
            CHECK(static_cast<bool>(answer) == (sup == 1 && mode == 1));
            if (answer) CHECK(answer->index == 0x7ff);
        }
}

// --- faults -----------------------------------------------------------------------------------------------------------

TEST_CASE("amdvi interrupts: no device table entry, by policy") {
    amdvi_interrupts u;
    u.registers.table[0] = amdvi::device_table_base_register{0x8000'0000}; // E51: 128 entries
    u.check_record(0x1008'0000'0000'00a5, 0);
    CHECK(u.memory.trail.empty());
    u.rules.missing = amdvi::missing_entry::page_fault;
    u.check_record(0x2008'0000'0000'00a5, 0);
}

TEST_CASE("amdvi interrupts: each word of the device table entry unreadable") {
    for (unsigned n = 0; n < 4; ++n) {
        amdvi_interrupts u;
        u.memory.poison(u.dte + n * 8);
        CAPTURE(n);
        u.check_record(0x3208'0000'0000'00a5, u.dte); // Type 1
        CHECK(u.memory.trail.size() == n + 1);
    }
}

TEST_CASE("amdvi interrupts: every single bit of words 2 and 3 of the device table entry") {
    struct {
        std::uint64_t efr;
        std::uint64_t gone; // of the reserved bits of word 3
    } const features[] = {{0, 0},
                          {bit(55), 0x0000'ffff'ffff'cfff},  // vIommuSup
                          {bit(63), 0x0000'ffff'ffff'cfff},  // SNPSup
                          {bit(51), 0x00c0'0000'0000'0000},  // AttrFWSup
                          {bit(47), 0xff00'0000'0000'0000}}; // SnoopAttrSup
    for (auto const& f : features)
        for (unsigned n = 0; n < 128; ++n) {
            if (n >= 6 && n < 52) continue; // the table
            amdvi_interrupts u;
            u.efr = f.efr;
            u.memory[u.dte + 16 + n / 64 * 8] |= bit(n % 64);
            bool reserved = n == 52 || n == 53 || n == 60; // 60: IntCtl = 3
            if (n >= 64) reserved = ((~bit(53) & ~f.gone) >> (n - 64) & 1) != 0;
            CAPTURE(f.efr, n);
            if (reserved)
                u.check_record(0x1088'0000'0000'00a5, 0xfee0'0000 & ~std::uint64_t{3}, true, 0x23, 0xfee0'0003 & ~3ull);
            else if (n == 2 || n == 3) // IntTabLen of 11 or 13
                CHECK(u.code() == (n == 2 ? event::none : event::illegal_dev_table_entry));
            else
                CHECK(u.code() == event::none);
        }
}

TEST_CASE("amdvi interrupts: an illegal device table entry comes before everything, its address without bits 1:0") {
    amdvi_interrupts u;
    u.memory[u.dte + 16] = 0x0000'0000'0300'0099; // IntTabLen 12, IntCtl 0
    u.check_record(0x1008'0000'0000'00a5, 0xfee1'2344, true, 0x6ff, 0xfee1'2347);
    auto const f = u.remap().error();
    CHECK((f.detail & 0xffff) == static_cast<std::uint64_t>(amdvi::device_entry_error::interrupt_table));
    CHECK(f.at == fault_at::context);
    CHECK(f.descriptor == u.dte);
    u.memory[u.dte + 16] |= bit(52);
    u.check_record(0x1088'0000'0000'00a5, 0xfee0'0000);
}

TEST_CASE("amdvi interrupts: every length of the table") {
    for (unsigned length = 0; length < 16; ++length) {
        amdvi_interrupts u;
        u.efr2 = 1 << 8;
        u.registers.main.set<"NumIntRemapMode">(1);
        u.memory[u.dte + 16] = 0x2000'0000'0400'0021 | length << 1; // IG
        std::uint32_t const entries = 1u << length;
        for (std::uint64_t at = 0; at < 0x2000; at += 8)
            u.memory[0x400'0000 + at] = 0x0041'0301'0041'0301;
        CAPTURE(length);
        if (length >= 12) {
            CHECK(u.code(0) == event::illegal_dev_table_entry);
            continue;
        }
        CHECK(u.remap(entries - 1)->index == entries - 1);
        if (length < 11) {
            u.check_record(0x2008'0011'0000'00a5, 0xfee0'0000, true, entries); // IG does not silence it
            CHECK(u.memory.trail.size() == 4);
            CHECK(u.remap(entries).error().at == fault_at::input);
            CHECK(u.remap(entries).error().descriptor == 0);
        }
    }
}

TEST_CASE("amdvi interrupts: the interrupt table unreadable") {
    amdvi_interrupts u;
    u.memory.poison(u.at);
    u.check_record(0x4208'0011'0000'00a5, 0x300'010c);
    for (unsigned n = 0; n < 2; ++n) {
        amdvi_interrupts w;
        w.widen();
        w.memory[w.wide_at] = 2; // neither SupIOPF nor IG silence it
        w.memory[w.dte + 16] |= bit(5);
        w.memory.poison(w.wide_at + n * 8);
        CAPTURE(n);
        w.check_record(0x4208'0011'0000'00a5, w.wide_at);
        CHECK(w.remap().error().at == fault_at::table);
        CHECK(w.remap().error().entry == 0);
    }
}

TEST_CASE("amdvi interrupts: RemapEn = 0, and who silences it") {
    for (bool const wide : {false, true})
        for (bool const suppressed : {false, true})
            for (bool const ignored : {false, true}) {
                amdvi_interrupts u;
                if (wide) u.widen();
                std::uint64_t const low = suppressed ? 0xffff'fffe : 0xffff'fffc;
                u.memory[u.at] = low << 32 | 1;
                u.memory[u.wide_at] = ~std::uint64_t{0} << 32 | low;
                if (ignored) u.memory[u.dte + 16] |= bit(5);
                CAPTURE(wide, suppressed, ignored);
                u.check_record(0x2008'0011'0000'00a5, 0xfee0'0ff7, !suppressed && !ignored, 0x23, 0xfee0'0ff7);
                auto const f = u.remap().error();
                CHECK(f.descriptor == (wide ? u.wide_at : 0x300'010c));
                CHECK(f.entry == (wide ? u.memory[u.wide_at] : low));
            }
}

TEST_CASE("amdvi interrupts: a reserved bit, and who silences it") {
    for (bool const suppressed : {false, true})
        for (bool const ignored : {false, true}) {
            amdvi_interrupts u;
            u.memory[u.at] = 0x8041'0301'0000'0000 | (suppressed ? bit(33) : 0);
            if (ignored) u.memory[u.dte + 16] |= bit(5); // for unmapped interrupts only
            CAPTURE(suppressed, ignored);
            u.check_record(0x2098'0011'0000'00a5, 0xfee0'0000, !suppressed);
        }
}

// --- entries, bit by bit ------------------------------------------------------------------------------------------------

TEST_CASE("amdvi interrupts: every single bit of an entry of 32 bits, turned") {
    for (unsigned n = 0; n < 32; ++n) {
        amdvi_interrupts u;
        u.efr = ga_xt_guest; // all of it, off
        u.memory[u.at] = (0x0041'0301 ^ bit(n)) << 32;
        auto const answer = u.remap();
        CAPTURE(n);
        bool const reserved = n == 3 || n == 4 || n == 7 || n >= 24;
        CHECK(static_cast<bool>(answer) == (!reserved && n != 0));
        if (!answer) {
            CHECK((answer.error().detail & amdvi::fault_detail::reserved) == (reserved ? amdvi::fault_detail::reserved : 0));
            continue;
        }
        CHECK(answer->target == amdvi::interrupt_target{
                                    .destination = n >= 8 && n < 16 ? 3u ^ 1u << (n - 8) : 3u,
                                    .vector = static_cast<std::uint8_t>(n >= 16 ? 0x41u ^ 1u << (n - 16) : 0x41u),
                                    .type = n == 2 ? interrupt_type::arbitrated : interrupt_type::fixed,
                                    .is_logical = n == 6,
                                    .requests_eoi = n == 5,
                                });
        CHECK(amdvi::to_entry_32(answer->target, n == 1) == (0x0041'0301 ^ bit(n)));
    }
}

TEST_CASE("amdvi interrupts: every single bit of an entry of 128 bits, turned") {
    for (bool const extended : {false, true})
        for (bool const guests : {false, true})
            for (unsigned n = 0; n < 128; ++n) {
                amdvi_interrupts u;
                u.widen(guests ? ga_xt_guest : ga_xt, extended ? gaen | xten : gaen);
                u.memory[u.wide_at] = 0x5601;
                u.memory[u.wide_at + 8] = 0x41;
                u.memory[u.wide_at + n / 64 * 8] ^= bit(n % 64);
                auto const answer = u.remap();
                bool const upper = (n >= 16 && n < 32) || n >= 120; // of the destination
                bool reserved = n == 3 || n == 4 || (n >= 32 && n < 64) || (n >= 72 && n < 120) || (upper && !extended);
                if (n == 7) reserved = !guests; // else it is a guest's
                CAPTURE(extended, guests, n);
                CHECK(static_cast<bool>(answer) == (!reserved && n != 0));
                if (!answer) continue;
                CHECK(answer->how == (n == 7 ? delivery::guest : delivery::remapped));
                if (n == 7) continue;
                std::uint32_t destination = 0x56;
                if (n >= 8 && n < 32) destination ^= 1u << (n - 8);
                if (n >= 120) destination ^= 1u << (n - 120 + 24);
                amdvi::interrupt_target const expected{
                    .destination = destination,
                    .vector = static_cast<std::uint8_t>(n >= 64 && n < 72 ? 0x41u ^ 1u << (n - 64) : 0x41u),
                    .type = n == 2 ? interrupt_type::arbitrated : interrupt_type::fixed,
                    .is_logical = n == 6,
                    .requests_eoi = n == 5,
                };
                CHECK(answer->target == expected);
                auto const e = amdvi::to_entry_128(expected, n == 1);
                CHECK(e.word[0] == u.memory[u.wide_at]);
                CHECK(e.word[1] == u.memory[u.wide_at + 8]);
            }
}

TEST_CASE("amdvi interrupts: every single bit of a guest's entry, turned") {
    for (bool const extended : {false, true})
        for (unsigned n = 0; n < 128; ++n) {
            amdvi_interrupts u;
            u.widen(ga_xt_guest, extended ? gaen | xten : gaen);
            u.memory[u.wide_at] = 0x8765'4321'0000'5681;
            u.memory[u.wide_at + 8] = 0x0009'8765'4321'0041;
            u.memory[u.wide_at + n / 64 * 8] ^= bit(n % 64);
            auto const answer = u.remap();
            bool const upper = (n >= 16 && n < 32) || n >= 120;
            bool const reserved = n == 4 || n == 5 || (n >= 72 && n < 76) || (n >= 116 && n < 120) || (upper && !extended);
            CAPTURE(extended, n);
            if (n == 7) { // no guest's: the tag is reserved
                CHECK_FALSE(answer);
                continue;
            }
            CHECK(static_cast<bool>(answer) == (!reserved && n != 0));
            if (!answer) continue;
            CHECK(answer->how == delivery::guest);
            CHECK(answer->index == 0x23);
            std::uint32_t destination = 0x56;
            if (n >= 8 && n < 32) destination ^= 1u << (n - 8);
            if (n >= 120) destination ^= 1u << (n - 120 + 24);
            amdvi::guest_interrupt_target const expected{
                .vapic_root = 0x0009'8765'4321'0000 ^ (n >= 76 && n < 116 ? bit(n - 64) : 0),
                .tag = n >= 32 && n < 64 ? 0x8765'4321u ^ 1u << (n - 32) : 0x8765'4321u,
                .destination = destination,
                .vector = static_cast<std::uint8_t>(n >= 64 && n < 72 ? 0x41u ^ 1u << (n - 64) : 0x41u),
                .is_running = n == 6,
                .is_logged = n == 2,
                .is_quiet = n == 3,
            };
            CHECK(answer->guest == expected);
            auto const e = amdvi::to_entry_128(expected, n == 1);
            CHECK(e.word[0] == u.memory[u.wide_at]);
            CHECK(e.word[1] == u.memory[u.wide_at + 8]);
        }
}

TEST_CASE("amdvi interrupts: entries are as wide as GAEn and GASup say, destinations as XTEn and XTSup say") {
    struct {
        std::uint64_t efr;
        std::uint64_t control;
        bool wide;
        bool extended;
    } const cases[] = {{0, gaen | xten, false, false},  {ga_xt, 0, false, false},       {ga_xt, xten, false, false},
                       {ga, gaen, true, false},         {ga, gaen | xten, true, false}, {ga_xt, gaen, true, false},
                       {ga_xt, gaen | xten, true, true}};
    for (auto const& c : cases) {
        amdvi_interrupts u;
        u.widen(c.efr, c.control);
        auto const answer = u.remap();
        CAPTURE(c.efr, c.control);
        CHECK(u.memory.trail.size() == (c.wide ? 6 : 5));
        CHECK(static_cast<bool>(answer) == (!c.wide || c.extended));
        if (!c.wide) CHECK(answer->target.destination == 3);
    }
    CHECK(amdvi::interrupt_format{capabilities{ga_xt}, amdvi::control{gaen, 0}}.entry_size() == 16);
    CHECK(amdvi::interrupt_format{capabilities{ga_xt}, amdvi::control{0, 0}}.entry_size() == 4);
}

TEST_CASE("amdvi interrupts: faults come in order") {
    // Everything is wrong at once; what is found first is mended, and the next one shows.
    amdvi_interrupts u;
    u.registers.table[0] = amdvi::device_table_base_register{0x8000'0000};
    u.memory.poison(u.dte + 24);
    CHECK(u.code(0x6ff) == event::illegal_dev_table_entry);
    u.registers.table[0] = amdvi::device_table_base_register{0x8000'01ff};
    CHECK(u.code(0x6ff) == event::dev_tab_hardware_error);
    amdvi_interrupts v;
    v.memory[v.dte + 16] = 0x0000'0000'0300'0081 | bit(52); // IntTabLen 0, IntCtl 0
    v.memory[v.at] = 0xff00'0000ull << 32;
    v.memory.poison(v.at);
    CHECK(v.code(0x623) == event::illegal_dev_table_entry);
    v.memory[v.dte + 16] &= ~bit(52);
    CHECK(v.code(0x623) == event::invalid_device_request);
    CHECK(v.code(0x23) == event::invalid_device_request);
    v.memory[v.dte + 16] |= bit(61);
    CHECK(v.code() == event::io_page_fault);
    v.memory[v.dte + 16] |= 0x12;
    CHECK(v.code() == event::page_tab_hardware_error);
}

TEST_CASE("amdvi interrupts: constant expressions") {
    constexpr auto answer = [] {
        array<pa, 520> m{pa{0x8000'0000}}; // the device table's page, and one entry of an interrupt table
        (void)m.store(pa{0x8000'0010}, 0x2000'0000'8000'1001);
        (void)m.store(pa{0x8000'1000}, to_entry_32(amdvi::interrupt_target{.destination = 7, .vector = 0x31}));
        capabilities const caps{0};
        amdvi::control const registers{0x1, 0x8000'0000};
        return amdvi::interrupt_remapping{caps, registers, m}.remap({0, 0xfee0'0000, 0});
    }();
    STATIC_REQUIRE(answer);
    STATIC_REQUIRE(answer->target.destination == 7);
    STATIC_REQUIRE(answer->target.vector == 0x31);
    // Entries do not suppress faults unless they are told to.
    STATIC_REQUIRE(amdvi::to_entry_32(amdvi::interrupt_target{}) == 1);
    STATIC_REQUIRE(amdvi::to_entry_128(amdvi::interrupt_target{}).word[0] == 1);
    STATIC_REQUIRE(amdvi::to_entry_128(amdvi::guest_interrupt_target{}).word[0] == 0x81);
}

} // namespace stagewalk::test
