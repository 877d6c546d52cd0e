// From the StreamID to a checked stream table entry: where it lies, every way in which it can be illegal and their order, what
// is ignored, and what becomes of requests that no table translates.
#include "smmu_unit.hpp"

#include <algorithm>
#include <cstdint>

namespace stagewalk::test {
namespace {

using smmu::stream_entry_error;
using error = stream_entry_error;

constexpr smmu_kind every_kind[]{smmu_kind::bypass, smmu_kind::stage1, smmu_kind::stage2, smmu_kind::nested};

// The whole fault of an illegal entry.
void check_illegal(smmu_unit& u, error why) {
    check_event(u.translate(), event::c_bad_ste, of_configuration(u.ste_at, u.ste.word[0]), u.at(),
                static_cast<std::uint64_t>(why));
}

// A stream table of two levels, SPLIT and LOG2SIZE as said, at 90000000h.
void two_levels(smmu_unit& u, std::uint32_t split, std::uint32_t log2size) {
    u.strtab_base = 0x9000'0000;
    u.strtab_base_cfg = 0x1'0000 | split << 6 | log2size;
    u.idr1.set<"SIDSIZE">(32);
}

// The unit's entry at `at` as well.
void write_entry(smmu_unit& u, std::uint64_t at) {
    for (std::uint64_t i = 0; i < 8; ++i)
        u.memory[at + i * 8] = u.ste.word[i];
}

} // namespace

// --- C_BAD_STREAMID and F_STE_FETCH ----------------------------------------------------------------------------------

TEST_CASE("smmu C_BAD_STREAMID: beyond the smaller of LOG2SIZE and SIDSIZE") {
    struct {
        std::uint32_t log2size;
        std::uint32_t sidsize;
        std::uint32_t first_bad;
    } const cases[] = {{0, 16, 1}, {8, 16, 0x100}, {16, 16, 0x1'0000},    {20, 16, 0x1'0000},   {63, 7, 0x80},
                       {5, 0, 1},  {8, 32, 0x100}, {31, 32, 0x8000'0000}, {32, 31, 0x8000'0000}};
    for (auto const& c : cases) {
        smmu_unit u;
        u.strtab_base = 0;
        u.strtab_base_cfg = c.log2size;
        u.idr1.set<"SIDSIZE">(c.sidsize);
        u.write_configuration();
        write_entry(u, std::uint64_t{c.first_bad - 1} * 64);
        CAPTURE(c.log2size, c.sidsize);
        CHECK(u.unit().translate(u.from(c.first_bad - 1)));
        CHECK(event_of(u.unit().translate(u.from(c.first_bad))) == event::c_bad_streamid);
        CHECK(event_of(u.unit().translate(u.from(0xffff'ffff))) == event::c_bad_streamid);
    }
    // All 2^32 of them.
    smmu_unit u;
    u.strtab_base = 0;
    u.strtab_base_cfg = 32;
    u.idr1.set<"SIDSIZE">(32);
    u.write_configuration();
    write_entry(u, 0x3f'ffff'ffc0);
    CHECK(u.unit().translate(u.from(0xffff'ffff)));
}

TEST_CASE("smmu C_BAD_STREAMID: Span 0, and 12 to 31 which act like it") {
    for (std::uint32_t const split : {6u, 8u, 10u})
        for (std::uint64_t span = 0; span < 32; ++span) {
            smmu_unit u;
            two_levels(u, split, 16);
            u.memory[0x9000'0000] = 0x9100'0000 | span;
            u.write_configuration();
            write_entry(u, 0x9100'0000);
            auto const answer = u.unit().translate(u.from(0));
            CAPTURE(split, span);
            // Span SPLIT + 2 and above is too long for the second level.
            CHECK(event_of(answer) == (span >= 1 && span <= split + 1 ? mapped : event::c_bad_streamid));
            if (!answer) CHECK(answer.error().descriptor == 0x9000'0000);
        }
}

TEST_CASE("smmu C_BAD_STREAMID: an index at 2^(Span-1) and beyond") {
    for (std::uint64_t span = 1; span <= 11; ++span) {
        smmu_unit u;
        two_levels(u, 10, 16);
        u.memory[0x9000'0008] = 0x9100'0000 | span; // SIDs 400h to 7FFh
        u.write_configuration();
        std::uint32_t const entries = 1u << (span - 1);
        write_entry(u, 0x9100'0000 + (entries - 1) * 64);
        CAPTURE(span);
        CHECK(u.unit().translate(u.from(0x400 + entries - 1)));
        if (span < 11) CHECK(event_of(u.unit().translate(u.from(0x400 + entries))) == event::c_bad_streamid);
    }
}

TEST_CASE("smmu C_BAD_STREAMID: recorded with RECINVSID alone, whatever the cause") {
    for (bool const recorded : {false, true}) {
        smmu_unit u;
        two_levels(u, 8, 16);
        u.cr2 = recorded ? 2 : 0xd;
        u.write_configuration();
        u.memory[0x9000'0000] = 0x9100'0000;
        u.memory[0x9000'0008] = 0x9100'000a;
        u.memory[0x9000'0010] = 0x9100'0001;
        std::uint32_t const bad[]{0, 0x100, 0x201, 0x1'0000};
        std::uint64_t const where[]{0x9000'0000, 0x9000'0008, 0x9000'0010, 0};
        std::uint64_t const entries[]{0x9100'0000, 0x9100'000a, 0x9100'0001, 0};
        for (unsigned i = 0; i < 4; ++i)
            check_event(u.unit().translate(u.from(bad[i])), event::c_bad_streamid, of_configuration(where[i], entries[i]), u.at(),
                        0, 0, recorded);
    }
}

TEST_CASE("smmu stream table: SPLIT is 6, 8 or 10, and 6 where it is anything else") {
    for (std::uint32_t split = 0; split < 32; ++split) {
        smmu_unit u;
        two_levels(u, split, 16);
        u.memory[0x9000'0000] = 0;
        (void)u.translate(u.from(0x1234));
        CAPTURE(split);
        CHECK(u.memory.trail[0] == (split == 8 ? 0x9000'0090 : split == 10 ? 0x9000'0020 : 0x9000'0240));
    }
}

TEST_CASE("smmu stream table: FMT 1 alone has two levels, and only where the unit has them") {
    for (std::uint32_t fmt = 0; fmt < 4; ++fmt)
        for (bool const has : {true, false}) {
            smmu_unit u;
            u.strtab_base_cfg = fmt << 16 | 8 << 6 | 8;
            u.idr0.set<"ST_LEVEL">(has);
            (void)u.translate();
            CAPTURE(fmt, has);
            CHECK(u.memory.trail[0] == (fmt == 1 && has ? 0x8800'0000 : 0x8800'0a80));
        }
}

TEST_CASE("smmu stream table: the low bits of the base are taken as 0") {
    struct {
        std::uint32_t cfg;
        std::uint32_t sidsize;
        std::uint64_t base;
    } const linear[] = {{0, 16, 0x00ff'ffff'ffff'ffc0},
                        {1, 16, 0x00ff'ffff'ffff'ff80},
                        {8, 16, 0x00ff'ffff'ffff'c000},
                        {20, 16, 0x00ff'ffff'fc00'0000},
                        {20, 8, 0x00ff'ffff'fc00'0000},
                        {50, 32, 0},
                        {63, 32, 0}};
    for (auto const& c : linear) {
        smmu_unit u;
        u.strtab_base = ~std::uint64_t{0};
        u.strtab_base_cfg = c.cfg;
        u.idr1.set<"SIDSIZE">(c.sidsize);
        CAPTURE(c.cfg);
        CHECK(u.registers().table(u.caps()) == c.base);
    }
    struct {
        std::uint32_t split;
        std::uint32_t log2size;
        std::uint32_t sidsize;
        std::uint64_t base;
    } const levels[] = {{6, 6, 16, 0x00ff'ffff'ffff'ffc0},   {6, 0, 16, 0x00ff'ffff'ffff'ffc0},
                        {6, 9, 16, 0x00ff'ffff'ffff'ffc0},   {6, 10, 16, 0x00ff'ffff'ffff'ff80},
                        {8, 16, 16, 0x00ff'ffff'ffff'f800},  {10, 32, 32, 0x00ff'ffff'fe00'0000},
                        {10, 13, 16, 0x00ff'ffff'ffff'ffc0}, {10, 14, 16, 0x00ff'ffff'ffff'ff80},
                        {8, 20, 10, 0x00ff'ffff'ffff'8000}}; // the programmed size, not that of SIDSIZE
    for (auto const& c : levels) {
        smmu_unit u;
        u.strtab_base = ~std::uint64_t{0};
        u.strtab_base_cfg = 0x1'0000 | c.split << 6 | c.log2size;
        u.idr1.set<"SIDSIZE">(c.sidsize);
        CAPTURE(c.split, c.log2size);
        CHECK(u.registers().table(u.caps()) == c.base);
    }
}

TEST_CASE("smmu stream table: LOG2SIZE up to SPLIT uses the first level-1 descriptor alone") {
    smmu_unit u;
    two_levels(u, 8, 8);
    u.memory[0x9000'0000] = 0x9100'0009;
    u.write_configuration();
    write_entry(u, 0x9100'0000 + 0xff * 64);
    CHECK(u.unit().translate(u.from(0xff)));
    CHECK(event_of(u.unit().translate(u.from(0x100))) == event::c_bad_streamid);
    u.strtab_base_cfg = 0x1'0000 | 8 << 6 | 3;
    CHECK(event_of(u.unit().translate(u.from(8))) == event::c_bad_streamid);
}

TEST_CASE("smmu stream table: L2Ptr loses the bits within its table") {
    for (std::uint64_t span = 1; span <= 11; ++span) {
        smmu_unit u;
        two_levels(u, 10, 16);
        u.memory[0x9000'0000] = 0xff70'0000'000f'ffe0 | span; // bits 63:56 and 5 mean nothing
        // Bits [5+(Span-1):0] are 0. Beyond 2^48 the fetch fails, and says where.
        std::uint64_t const table = 0x0070'0000'000f'ffff & ~((std::uint64_t{64} << (span - 1)) - 1);
        CAPTURE(span);
        check_event(u.translate(u.from(0)), event::f_ste_fetch, of_configuration(table), u.at(), 0);
    }
}

TEST_CASE("smmu F_STE_FETCH: a stream table that cannot be read") {
    for (unsigned word = 0; word < 4; ++word) {
        smmu_unit u;
        u.write_configuration();
        u.memory.poison(u.ste_at + word * 8);
        check_event(u.unit().translate(u.ask()), event::f_ste_fetch, of_configuration(u.ste_at), u.at(), 0);
    }
    smmu_unit u;
    two_levels(u, 8, 16);
    u.memory[0x9000'0090] = 0x9100'0007;
    CHECK(event_of(u.translate(u.from(0x1234))) == event::f_ste_fetch);
    check_event(u.translate(u.from(0x1234)), event::f_ste_fetch, of_configuration(0x9100'0d00), u.at(), 0);
    u.memory.poison(0x9000'0090);
    check_event(u.translate(u.from(0x1234)), event::f_ste_fetch, of_configuration(0x9000'0090), u.at(), 0);
    // Beyond OAS nothing is read at all.
    smmu_unit w;
    w.idr5.set<"OAS">(0);
    w.strtab_base = 0x1'0000'0000;
    w.memory[0x1'0000'0a80] = 0x1;
    check_event(w.translate(), event::f_ste_fetch, of_configuration(0x1'0000'0a80), w.at(), 0);
    CHECK(w.memory.trail.empty());
    // All is well below.
    w.strtab_base = 0x8800'0000;
    w.memory[w.l3] = 0x0060'0000'2345'6f47;
    CHECK(w.translate());
}

// --- C_BAD_STE, row by row -------------------------------------------------------------------------------------------

TEST_CASE("smmu C_BAD_STE: V = 0") {
    for (auto const kind : every_kind) {
        smmu_unit u{kind};
        CHECK(u.entry_error() == error::none);
        u.ste.set<"V">(0);
        check_illegal(u, error::not_valid);
    }
}

TEST_CASE("smmu C_BAD_STE: stage 1 in a unit without") {
    for (auto const kind : every_kind) {
        smmu_unit u{kind};
        u.idr0.set<"S1P">(0);
        bool const bad = kind == smmu_kind::stage1 || kind == smmu_kind::nested;
        CHECK(u.entry_error() == (bad ? error::no_stage1 : error::none));
        if (bad) check_illegal(u, error::no_stage1);
    }
}

TEST_CASE("smmu C_BAD_STE: stage 2 in a unit without") {
    for (auto const kind : every_kind) {
        smmu_unit u{kind};
        u.idr0.set<"S2P">(0);
        bool const bad = kind == smmu_kind::stage2 || kind == smmu_kind::nested;
        CHECK(u.entry_error() == (bad ? error::no_stage2 : error::none));
        if (bad) check_illegal(u, error::no_stage2);
    }
}

TEST_CASE("smmu C_BAD_STE: EATS = 10 without nesting, with S2S, or in a unit with NS1ATS") {
    for (auto const kind : every_kind)
        for (bool const stalls : {false, true})
            for (bool const cannot : {false, true})
                for (bool const ats : {false, true}) {
                    smmu_unit u{kind};
                    u.ste.set<"EATS">(2);
                    u.ste.set<"S2S">(stalls);
                    u.idr0.set<"NS1ATS">(cannot);
                    u.idr0.set<"ATS">(ats);
                    bool const bad = ats && kind != smmu_kind::bypass && (kind != smmu_kind::nested || stalls || cannot);
                    CAPTURE(static_cast<int>(kind), stalls, cannot, ats);
                    CHECK(u.entry_error() == (bad ? error::split_ats : error::none));
                }
    smmu_unit u{smmu_kind::stage2};
    u.ste.set<"EATS">(2);
    check_illegal(u, error::split_ats);
}

TEST_CASE("smmu C_BAD_STE: EATS = 01 where stage 2 stalls") {
    for (auto const kind : every_kind)
        for (std::uint64_t eats = 0; eats < 2; ++eats)
            for (bool const stalls : {false, true})
                for (bool const ats : {false, true}) {
                    smmu_unit u{kind};
                    u.ste.set<"EATS">(eats);
                    u.ste.set<"S2S">(stalls);
                    u.idr0.set<"ATS">(ats);
                    bool const bad = ats && eats == 1 && stalls && (kind == smmu_kind::stage2 || kind == smmu_kind::nested);
                    CAPTURE(static_cast<int>(kind), eats, stalls, ats);
                    CHECK(u.entry_error() == (bad ? error::ats_stalls : error::none));
                }
    smmu_unit u{smmu_kind::stage2};
    u.ste.set<"EATS">(1);
    u.ste.set<"S2S">(1);
    check_illegal(u, error::ats_stalls);
}

TEST_CASE("smmu C_BAD_STE: STRW = x1 where it is used") {
    for (auto const kind : every_kind)
        for (std::uint64_t strw = 0; strw < 4; ++strw)
            for (bool const hyp : {false, true}) {
                smmu_unit u{kind};
                u.ste.set<"STRW">(strw);
                u.idr0.set<"HYP">(hyp);
                bool const bad = kind == smmu_kind::stage1 && hyp && (strw & 1) != 0;
                CAPTURE(static_cast<int>(kind), strw, hyp);
                CHECK(u.entry_error() == (bad ? error::stream_world : error::none));
            }
    smmu_unit u;
    u.ste.set<"STRW">(1);
    check_illegal(u, error::stream_world);
}

TEST_CASE("smmu C_BAD_STE: S1STALLD where the stall model is fixed") {
    for (auto const kind : every_kind)
        for (std::uint64_t model = 0; model < 3; ++model) {
            smmu_unit u{kind};
            u.ste.set<"S1STALLD">(1);
            u.ste.set<"S2S">(model == 2); // what the model asks for
            u.cd.set<"S">(model == 2);
            u.idr0.set<"STALL_MODEL">(model);
            bool const bad = model != 0 && (kind == smmu_kind::stage1 || kind == smmu_kind::nested);
            CAPTURE(static_cast<int>(kind), model);
            CHECK(u.entry_error() == (bad ? error::stall_disable : error::none));
        }
    smmu_unit u;
    u.ste.set<"S1STALLD">(1);
    u.idr0.set<"STALL_MODEL">(1);
    check_illegal(u, error::stall_disable);
}

TEST_CASE("smmu C_BAD_STE: S1CDMax above SSIDSIZE") {
    for (auto const kind : {smmu_kind::stage1, smmu_kind::nested, smmu_kind::stage2})
        for (std::uint64_t size = 0; size <= 20; size += 5)
            for (std::uint64_t max = 0; max < 32; ++max) {
                smmu_unit u{kind};
                u.idr1.set<"SSIDSIZE">(size);
                u.ste.set<"S1CDMax">(max);
                bool const bad = kind != smmu_kind::stage2 && size != 0 && max > size;
                CAPTURE(static_cast<int>(kind), size, max);
                CHECK(u.entry_error() == (bad ? error::substream_size : error::none));
            }
    smmu_unit u;
    u.ste.set<"S1CDMax">(21);
    check_illegal(u, error::substream_size);
}

TEST_CASE("smmu C_BAD_STE: two levels of context descriptors without CD2L") {
    for (std::uint64_t format = 0; format < 4; ++format)
        for (std::uint64_t max : {0u, 5u})
            for (std::uint64_t size : {0u, 20u})
                for (bool const has : {false, true}) {
                    smmu_unit u;
                    u.ste.set<"S1Fmt">(format);
                    u.ste.set<"S1CDMax">(max);
                    u.idr1.set<"SSIDSIZE">(size);
                    u.idr0.set<"CD2L">(has);
                    bool const bad = (format == 1 || format == 2) && max != 0 && size != 0 && !has;
                    CAPTURE(format, max, size, has);
                    CHECK(u.entry_error() == (bad ? error::two_level_contexts : error::none));
                }
    smmu_unit u{smmu_kind::nested};
    u.ste.set<"S1Fmt">(2);
    u.ste.set<"S1CDMax">(5);
    u.idr0.set<"CD2L">(0);
    check_illegal(u, error::two_level_contexts);
}

TEST_CASE("smmu C_BAD_STE: S1ContextPtr beyond OAS, nested beyond IAS") {
    smmu_unit u;
    u.idr5.set<"OAS">(2); // 40 bits
    u.cd.set<"IPS">(2);
    u.ste.set<"S1ContextPtr">(0xff'ffff'ffc0);
    CHECK(u.entry_error() == error::none);
    u.ste.set<"S1ContextPtr">(0x100'0000'0000);
    check_illegal(u, error::context_pointer);
    u.rules.pointer = smmu::context_pointer::translated; // not for physical pointers
    check_illegal(u, error::context_pointer);
    // SMMUv3.0 does not look: the fetch fails.
    u.aidr = 0;
    check_event(u.translate(), event::f_cd_fetch, of_configuration(0x100'0000'0000), u.at(), 0);
    // IAS is 40 bits at least where VMSAv8-32 is there too.
    smmu_unit n{smmu_kind::nested};
    n.idr5.set<"OAS">(1); // 36 bits
    n.ste.set<"S2T0SZ">(28);
    n.ste.set<"S1ContextPtr">(0xf'ffff'ffc0);
    CHECK(n.entry_error() == error::none);
    n.ste.set<"S1ContextPtr">(0x10'0000'0000);
    check_illegal(n, error::context_pointer);
    n.idr0.set<"TTF">(3);
    CHECK(n.entry_error() == error::none);
    n.ste.set<"S1ContextPtr">(0x100'0000'0000);
    check_illegal(n, error::context_pointer);
}

TEST_CASE("smmu policy: a nested S1ContextPtr beyond IAS may be left to stage 2") {
    smmu_unit u{smmu_kind::nested};
    u.ste.set<"S1ContextPtr">(0x1'0000'0000'0000);
    check_illegal(u, error::context_pointer);
    u.rules.pointer = smmu::context_pointer::translated;
    auto const answer = u.translate();
    REQUIRE_FALSE(answer);
    CHECK(answer.error().code == event::f_translation);
    CHECK(answer.error().intermediate == 0x1'0000'0000'0000);
    CHECK(record_of(answer) == (is_second | is_read)); // CLASS = CD
}

TEST_CASE("smmu C_BAD_STE: S2S where nothing stalls") {
    for (auto const kind : every_kind)
        for (bool const stalls : {false, true}) {
            smmu_unit u{kind};
            u.idr0.set<"STALL_MODEL">(1);
            u.ste.set<"S2S">(stalls);
            bool const bad = stalls && u.uses_second();
            CHECK(u.entry_error() == (bad ? error::stalls : error::none));
            if (bad) check_illegal(u, error::stalls);
        }
}

TEST_CASE("smmu C_BAD_STE: S2S = 0 where everything stalls") {
    for (auto const kind : every_kind)
        for (bool const stalls : {false, true}) {
            smmu_unit u{kind};
            u.idr0.set<"STALL_MODEL">(2);
            u.cd.set<"S">(1);
            u.ste.set<"S2S">(stalls);
            bool const bad = !stalls && u.uses_second();
            CHECK(u.entry_error() == (bad ? error::does_not_stall : error::none));
            if (bad) check_illegal(u, error::does_not_stall);
        }
}

TEST_CASE("smmu C_BAD_STE: S2AA64 names tables that the unit has not") {
    for (auto const kind : every_kind) {
        smmu_unit u{kind};
        u.ste.set<"S2AA64">(0);
        CHECK(u.entry_error() == (u.uses_second() ? error::table_format : error::none));
        if (u.uses_second()) check_illegal(u, error::table_format);
        smmu_unit without{kind};
        without.idr0.set<"TTF">(1);
        without.ste.set<"S2AA64">(1);
        CHECK(without.entry_error() == (u.uses_second() ? error::table_format : error::none));
    }
}

TEST_CASE("smmu C_BAD_STE: hardware updates of stage 2 that the unit does not make") {
    for (std::uint64_t httu = 0; httu < 4; ++httu)
        for (std::uint64_t bits = 0; bits < 8; ++bits)
            for (auto const kind : every_kind) {
                smmu_unit u{kind};
                bool const ha = (bits & 1) != 0;
                bool const hd = (bits & 2) != 0;
                bool const haft = (bits & 4) != 0;
                u.idr0.set<"HTTU">(httu);
                u.ste.set<"S2HA">(ha);
                u.ste.set<"S2HD">(hd);
                u.ste.set<"S2HAFT">(haft);
                error const expected = !u.uses_second()           ? error::none
                                       : httu == 0 && (ha || hd)  ? error::updates
                                       : httu == 1 && hd          ? error::dirty_updates
                                       : httu == 3 && haft && !ha ? error::table_updates
                                                                  : error::none;
                CAPTURE(httu, bits, static_cast<int>(kind));
                CHECK(u.entry_error() == expected);
                if (expected != error::none) check_illegal(u, expected);
            }
}

TEST_CASE("smmu C_BAD_STE: S2TG reserved or not implemented") {
    // 00 4 KiB, 01 64 KiB, 10 16 KiB: the order of TG0.
    for (std::uint64_t has = 0; has < 8; ++has)
        for (std::uint64_t tg = 0; tg < 4; ++tg)
            for (auto const kind : every_kind) {
                smmu_unit u{kind};
                u.idr5.set<"GRAN4K">(has & 1);
                u.idr5.set<"GRAN64K">(has >> 1 & 1);
                u.idr5.set<"GRAN16K">(has >> 2 & 1);
                u.ste.set<"S2TG">(tg);
                u.ste.set<"S2T0SZ">(24); // 40 bits: level 1 of 4 KiB and 64 KiB's level 2 and 16 KiB's level 2
                bool const bad = u.uses_second() && (has >> tg & 1) == 0;
                CAPTURE(has, tg);
                CHECK(u.entry_error() == (bad ? error::stage2_granule : error::none));
                if (bad) check_illegal(u, error::stage2_granule);
            }
}

TEST_CASE("smmu C_BAD_STE: S2TTB beyond S2PS, beyond OAS, beyond 48 bits") {
    constexpr std::uint64_t sizes[]{32, 36, 40, 42, 44, 48, 52, 52}; // 7 needs VMSAv9-128 and counts as 6 here
    for (std::uint64_t oas = 0; oas < 7; ++oas)
        for (std::uint64_t ps = 0; ps < 8; ++ps)
            for (std::uint64_t tg = 0; tg < 3; ++tg)
                for (bool const ds : {false, true}) {
                    smmu_unit u{smmu_kind::stage2};
                    if (oas == 6) u.widen();
                    u.idr5.set<"OAS">(oas);
                    u.idr5.set<"VAX">(1);
                    u.idr5.set<"DS">(1);
                    u.ste.set<"S2PS">(ps);
                    u.ste.set<"S2TG">(tg);
                    u.ste.set<"S2DS">(ds);
                    u.ste.set<"S2T0SZ">(32);
                    u.ste.set<"S2SL0">(tg == 0 ? 0 : 1);
                    u.ste.set<"S2T0SZ">(tg == 0 ? 33 : 34);
                    std::uint64_t limit = std::min(sizes[oas], sizes[ps]);
                    if (tg != 1 && !ds) limit = std::min<std::uint64_t>(limit, 48);
                    CAPTURE(oas, ps, tg, ds);
                    u.ste.set<"S2TTB">(low_mask(limit) & ~std::uint64_t{15});
                    CHECK(u.entry_error() == error::none);
                    if (limit == 52) continue;
                    u.ste.set<"S2TTB">(std::uint64_t{1} << limit);
                    check_illegal(u, error::stage2_table);
                }
    // Bits 55:52 are VMSAv9-128's.
    smmu_unit u{smmu_kind::stage2};
    u.ste.word[3] |= 0x00f0'0000'0000'0000;
    CHECK(u.translate());
    // Bits 51:48 do not exist in SMMUv3.0.
    u.ste.word[3] |= 0x00ff'0000'0000'0000;
    CHECK(u.entry_error() == error::stage2_table);
    u.aidr = 0;
    CHECK(u.translate());
}

TEST_CASE("smmu C_BAD_STE: S2T0SZ out of the range of its version, STT, granule and S2DS") {
    constexpr std::uint64_t oas_bits[]{32, 36, 40, 42, 44, 48, 52};
    for (std::uint32_t minor = 0; minor < 3; ++minor)
        for (bool const stt : {false, true})
            for (bool const ds : {false, true})
                for (std::uint64_t tg = 0; tg < 3; ++tg)
                    for (std::uint64_t oas = 0; oas < 7; ++oas)
                        for (bool const lpae : {false, true}) {
                            if (minor == 0 && oas == 6) continue;
                            smmu_unit u{smmu_kind::stage2};
                            u.aidr = minor;
                            u.idr5.set<"OAS">(oas);
                            u.idr5.set<"VAX">(1);
                            u.idr5.set<"DS">(1);
                            u.idr0.set<"TTF">(lpae ? 3 : 2);
                            u.idr3.set<"STT">(stt);
                            u.ste.set<"S2TTB">(0);
                            u.ste.set<"S2TG">(tg);
                            u.ste.set<"S2DS">(ds);
                            std::uint64_t const ias = lpae ? std::max<std::uint64_t>(40, oas_bits[oas]) : oas_bits[oas];
                            std::uint64_t const most = !stt ? 39 : tg == 1 ? 47 : 48;
                            std::uint64_t const floor = minor == 0 ? 0 : tg == 1 || ds ? 12 : 16;
                            std::uint64_t const least = std::max(64 - ias, floor);
                            for (std::uint64_t size = 0; size < 64; ++size) {
                                u.ste.set<"S2T0SZ">(size);
                                auto const found = u.entry_error();
                                bool const right = (found == error::stage2_size) == (size < least || size > most);
                                CAPTURE(minor, stt, ds, tg, oas, lpae, size);
                                if (!right) CHECK(right);
                                if (found != error::stage2_start && found != error::none) CHECK(found == error::stage2_size);
                            }
                        }
}

TEST_CASE("smmu C_BAD_STE: S2SL0 and S2T0SZ that do not go together, all of them") {
    // Granule, S2SL0_2:S2SL0, the narrowest and widest input.
    struct row {
        std::uint64_t tg;
        std::uint64_t code;
        std::uint64_t least;
        std::uint64_t most;
        bool wants_ds;
        bool wants_stt;
    };
    constexpr row rows[] = {
        {0, 4, 49, 52, true, false},  {0, 2, 40, 52, false, false}, {0, 1, 31, 43, false, false}, {0, 0, 22, 34, false, false},
        {0, 3, 16, 25, false, true},  {2, 3, 48, 52, true, false},  {2, 2, 37, 51, false, false}, {2, 1, 26, 40, false, false},
        {2, 0, 16, 29, false, false}, {1, 2, 43, 52, false, false}, {1, 1, 30, 46, false, false}, {1, 0, 17, 33, false, false},
    };
    for (bool const stt : {true, false})
        for (bool const ds : {true, false})
            for (std::uint64_t tg = 0; tg < 3; ++tg)
                for (std::uint64_t code = 0; code < 8; ++code)
                    for (std::uint64_t size = 12; size <= 48; ++size) {
                        smmu_unit u{smmu_kind::stage2};
                        u.widen();
                        u.idr3.set<"STT">(stt);
                        u.ste.set<"S2DS">(ds);
                        u.ste.set<"S2TTB">(0);
                        u.ste.set<"S2TG">(tg);
                        u.ste.set<"S2SL0">(code & 3);
                        u.ste.set<"S2SL0_2">(code >> 2);
                        u.ste.set<"S2T0SZ">(size);
                        std::uint64_t const bits = 64 - size;
                        bool const in_range = size >= (tg == 1 || ds ? 12u : 16u) && size <= (!stt ? 39u : tg == 1 ? 47u : 48u);
                        // The third bit counts for 4 KiB with S2DS alone.
                        std::uint64_t const effective = tg == 0 && ds ? code : code & 3;
                        bool fits = false;
                        for (auto const& r : rows)
                            fits = fits || (r.tg == tg && r.code == effective && r.least <= bits && bits <= r.most &&
                                            (!r.wants_ds || ds) && (!r.wants_stt || stt));
                        error const expected = !in_range ? error::stage2_size : fits ? error::none : error::stage2_start;
                        auto const found = u.entry_error();
                        if (found != expected) {
                            CAPTURE(stt, ds, tg, code, size);
                            CHECK(found == expected);
                        }
                    }
    smmu_unit u{smmu_kind::stage2};
    u.ste.set<"S2SL0">(3);
    check_illegal(u, error::stage2_start);
}

TEST_CASE("smmu policy: the start level may have to fit the address size, as in a processor") {
    struct {
        std::uint64_t oas;
        std::uint64_t tg;
        std::uint64_t sl0;
        std::uint64_t t0sz;
        bool ds;
        bool fits;
    } const cases[] = {
        {2, 0, 2, 24, false, false}, {3, 0, 2, 24, false, false}, {4, 0, 2, 24, false, true}, {2, 0, 1, 24, false, true},
        {2, 2, 2, 24, false, false}, {3, 2, 2, 24, false, true},  {2, 2, 1, 24, false, true}, {4, 1, 2, 20, false, true},
        {2, 1, 1, 24, false, true},  {5, 2, 3, 16, true, false},  {6, 2, 3, 16, true, true},  {5, 2, 2, 16, true, true},
        {6, 0, 4, 12, true, true},
    };
    for (auto const& c : cases) {
        smmu_unit u{smmu_kind::stage2};
        u.widen();
        u.idr5.set<"OAS">(c.oas);
        u.ste.set<"S2TG">(c.tg);
        u.ste.set<"S2DS">(c.ds);
        u.ste.set<"S2SL0">(c.sl0 & 3);
        u.ste.set<"S2SL0_2">(c.sl0 >> 2);
        u.ste.set<"S2T0SZ">(c.t0sz);
        CAPTURE(c.oas, c.tg, c.sl0);
        CHECK(u.entry_error() == error::none);
        u.rules.stage2_start = smmu::start_level::by_size;
        CHECK(u.entry_error() == (c.fits ? error::none : error::stage2_start));
    }
}

TEST_CASE("smmu policy: SMMUv3.0 may clamp S2T0SZ") {
    smmu_unit u{smmu_kind::stage2};
    u.memory[0xa000'2000] = 0;
    u.ste.set<"S2SL0">(2);
    u.ste.set<"S2T0SZ">(10);
    u.rules.sizes = smmu::table_size::clamped;
    CHECK(u.entry_error() == error::stage2_size); // from SMMUv3.1 on there is no choice
    u.aidr = 0;
    // 48 bits: IAS.
    CHECK(event_of(u.translate_at(0x8000'0000'0000)) == event::f_translation);
    CHECK(u.memory.trail[4] == 0xa000'2800);
    u.rules = {};
    CHECK(u.entry_error() == error::stage2_size);
    u.rules.sizes = smmu::table_size::clamped;
    // 39: 25 bits.
    u.ste.set<"S2SL0">(0);
    u.ste.set<"S2T0SZ">(45);
    CHECK(event_of(u.translate_at(0x1ff'ffff)) == event::f_translation);
    CHECK(u.memory.trail[4] == 0xa000'2078);
    check_event(u.translate_at(0x200'0000), event::f_translation, of_input(fault_stage::second), 0x200'0000,
                class_input | is_second | is_read, 0x200'0000);
}

TEST_CASE("smmu C_BAD_STE: S2ENDI that the unit has not") {
    for (std::uint64_t const order : {0u, 2u, 3u})
        for (bool const big : {false, true})
            for (auto const kind : every_kind) {
                smmu_unit u{kind};
                u.idr0.set<"TTENDIAN">(order);
                u.cd.set<"ENDI">(order == 3);
                u.ste.set<"S2ENDI">(big);
                bool const bad = u.uses_second() && ((order == 2 && big) || (order == 3 && !big));
                CAPTURE(order, big);
                CHECK(u.entry_error() == (bad ? error::endianness : error::none));
                if (bad) check_illegal(u, error::endianness);
            }
}

TEST_CASE("smmu C_BAD_STE: S2VMID of more than 8 bits, where it tags something") {
    for (auto const kind : every_kind)
        for (bool const wide : {false, true})
            for (bool const s2p : {false, true})
                for (std::uint64_t strw : {0u, 2u})
                    for (std::uint64_t const vmid : {0xffu, 0x100u, 0x8000u}) {
                        smmu_unit u{kind};
                        if (!s2p && u.uses_second()) continue;
                        u.idr0.set<"VMID16">(wide);
                        u.idr0.set<"S2P">(s2p);
                        u.ste.set<"STRW">(strw);
                        u.ste.set<"S2VMID">(vmid);
                        bool const used = kind != smmu_kind::bypass && s2p && !(kind == smmu_kind::stage1 && strw == 2);
                        bool const bad = used && !wide && vmid > 0xff;
                        CAPTURE(static_cast<int>(kind), wide, s2p, strw, vmid);
                        CHECK(u.entry_error() == (bad ? error::vmid : error::none));
                        if (bad) check_illegal(u, error::vmid);
                    }
}

// --- their order -----------------------------------------------------------------------------------------------------

TEST_CASE("smmu C_BAD_STE: of two faults the earlier row is named") {
    struct fault_of_entry {
        error why;
        unsigned excludes; // faults with a common bit cannot come together
        void (*spoil)(smmu_unit&);
    };
    fault_of_entry const faults[] = {
        {error::not_valid, 0, [](smmu_unit& u) { u.ste.set<"V">(0); }},
        {error::no_stage1, 0, [](smmu_unit& u) { u.idr0.set<"S1P">(0); }},
        {error::no_stage2, 0, [](smmu_unit& u) { u.idr0.set<"S2P">(0); }},
        {error::split_ats, 1,
         [](smmu_unit& u) {
             u.ste.set<"EATS">(2);
             u.idr0.set<"NS1ATS">(1);
         }},
        {error::ats_stalls, 1 | 2,
         [](smmu_unit& u) {
             u.ste.set<"EATS">(1);
             u.ste.set<"S2S">(1);
         }},
        {error::stall_disable, 0,
         [](smmu_unit& u) {
             u.ste.set<"S1STALLD">(1);
             if (u.idr0.get<"STALL_MODEL">() == 0) u.idr0.set<"STALL_MODEL">(1);
         }},
        {error::substream_size, 0, [](smmu_unit& u) { u.ste.set<"S1CDMax">(21); }},
        {error::two_level_contexts, 0,
         [](smmu_unit& u) {
             u.ste.set<"S1Fmt">(1);
             if (u.ste.get<"S1CDMax">() == 0) u.ste.set<"S1CDMax">(1);
             u.idr0.set<"CD2L">(0);
         }},
        {error::context_pointer, 0, [](smmu_unit& u) { u.ste.set<"S1ContextPtr">(std::uint64_t{1} << 50); }},
        {error::stalls, 4,
         [](smmu_unit& u) {
             u.ste.set<"S2S">(1);
             u.idr0.set<"STALL_MODEL">(1);
         }},
        {error::does_not_stall, 2 | 4,
         [](smmu_unit& u) {
             u.ste.set<"S2S">(0);
             u.idr0.set<"STALL_MODEL">(2);
         }},
        {error::table_format, 0, [](smmu_unit& u) { u.ste.set<"S2AA64">(0); }},
        {error::updates, 8,
         [](smmu_unit& u) {
             u.idr0.set<"HTTU">(0);
             u.ste.set<"S2HA">(1);
         }},
        {error::dirty_updates, 8,
         [](smmu_unit& u) {
             u.idr0.set<"HTTU">(1);
             u.ste.set<"S2HD">(1);
         }},
        {error::table_updates, 8, [](smmu_unit& u) { u.ste.set<"S2HAFT">(1); }},
        {error::stage2_granule, 0, [](smmu_unit& u) { u.ste.set<"S2TG">(3); }},
        {error::stage2_table, 0, [](smmu_unit& u) { u.ste.set<"S2TTB">(std::uint64_t{1} << 50); }},
        {error::stage2_size, 0, [](smmu_unit& u) { u.ste.set<"S2T0SZ">(15); }},
        {error::stage2_start, 0, [](smmu_unit& u) { u.ste.set<"S2SL0">(3); }},
        {error::endianness, 0,
         [](smmu_unit& u) {
             u.idr0.set<"TTENDIAN">(2);
             u.ste.set<"S2ENDI">(1);
         }},
        {error::vmid, 0,
         [](smmu_unit& u) {
             u.idr0.set<"VMID16">(0);
             u.ste.set<"S2VMID">(0x100);
         }},
    };
    unsigned pairs = 0;
    for (auto const& first : faults) {
        smmu_unit alone{smmu_kind::nested};
        first.spoil(alone);
        CHECK(alone.entry_error() == first.why);
        for (auto const& second : faults) {
            if (second.why <= first.why || (first.excludes & second.excludes) != 0) continue;
            smmu_unit u{smmu_kind::nested};
            first.spoil(u);
            second.spoil(u);
            CAPTURE(static_cast<int>(first.why), static_cast<int>(second.why));
            CHECK(u.entry_error() == first.why);
            ++pairs;
        }
    }
    CHECK(pairs == 21 * 20 / 2 - 6);
    // STRW counts for stage 1 alone: after ATS, before what stage 1 says.
    smmu_unit u;
    u.ste.set<"STRW">(1);
    u.ste.set<"S1CDMax">(21);
    CHECK(u.entry_error() == error::stream_world);
    u.ste.set<"EATS">(2);
    CHECK(u.entry_error() == error::split_ats);
    smmu_unit v;
    v.ste.set<"STRW">(3);
    v.ste.set<"S1STALLD">(1);
    v.idr0.set<"STALL_MODEL">(1);
    CHECK(v.entry_error() == error::stream_world);
}

TEST_CASE("smmu C_BAD_STE: before everything that the SubstreamID or the address may do wrong") {
    smmu_unit u{smmu_kind::bypass};
    auto r = u.with_substream(5);
    r.address = iova{every_bit};
    u.ste.set<"V">(0);
    CHECK(event_of(u.translate(r)) == event::c_bad_ste);
    u.ste.set<"V">(1);
    CHECK(event_of(u.translate(r)) == event::c_bad_substreamid);
    r.pasid = smmu::no_pasid;
    CHECK(event_of(u.translate(r)) == event::f_addr_size);
}

// --- what is ignored -------------------------------------------------------------------------------------------------

TEST_CASE("smmu Config: 0xx aborts in silence, whatever else the entry holds") {
    for (std::uint64_t config = 0; config < 4; ++config)
        for (bool const noise : {false, true}) {
            smmu_unit u;
            u.idr0.word[0] = 0x8;
            if (noise)
                for (auto& w : u.ste.word)
                    w = every_bit;
            u.ste.set<"V">(1);
            u.ste.set<"Config">(config);
            check_event(u.translate(), event::none, of_configuration(u.ste_at, u.ste.word[0]), u.at(), 0, 0, false);
            CHECK(u.memory.trail.size() == 4);
            CHECK(event_of(u.translate(u.with_substream(3))) == event::none);
            u.ste.set<"V">(0);
            CHECK(event_of(u.translate()) == event::c_bad_ste);
        }
}

TEST_CASE("smmu Config: 100 to 111 use the stages that their bits name") {
    struct {
        smmu_kind kind;
        bool first;
        bool second;
        std::uint64_t output;
    } const cases[] = {{smmu_kind::bypass, false, false, 0x80'1234'5678},
                       {smmu_kind::stage1, true, false, 0x1'2345'6abc},
                       {smmu_kind::stage2, false, true, 0x3'1234'5678},
                       {smmu_kind::nested, true, true, 0x7'4005'6abc}};
    for (auto const& c : cases) {
        smmu_unit u{c.kind};
        auto const found = u.translate();
        REQUIRE(found);
        CHECK(found->output == pa{c.output});
        CHECK(static_cast<int>(found->by) == static_cast<int>(c.kind == smmu_kind::bypass ? passage::bypassed : passage::walked));
        auto const b = u.find();
        CHECK(b->uses_stage1 == c.first);
        CHECK(b->uses_stage2 == c.second);
    }
}

TEST_CASE("smmu Config: stage-1 fields mean nothing where stage 1 is off") {
    for (auto const kind : {smmu_kind::bypass, smmu_kind::stage2}) {
        smmu_unit u{kind};
        u.idr0.set<"STALL_MODEL">(1);
        u.idr0.set<"CD2L">(0);
        auto const plain = u.translate();
        REQUIRE(plain);
        u.ste.word[0] |= 0xf8ff'ffff'ffff'fff0; // S1Fmt, S1ContextPtr, S1CDMax
        u.ste.set<"S1DSS">(3);
        u.ste.set<"S1CIR">(3);
        u.ste.set<"S1COR">(3);
        u.ste.set<"S1CSH">(1);
        u.ste.set<"S1STALLD">(1);
        u.ste.set<"S1PIE">(1);
        u.ste.set<"S1MPAM">(1);
        CHECK(u.translate() == plain);
    }
}

TEST_CASE("smmu Config: stage-2 fields mean nothing where stage 2 is off") {
    for (auto const kind : {smmu_kind::bypass, smmu_kind::stage1}) {
        smmu_unit u{kind};
        u.idr0.set<"STALL_MODEL">(1);
        u.idr0.set<"HTTU">(0);
        u.idr0.set<"TTENDIAN">(2);
        auto const plain = u.translate();
        REQUIRE(plain);
        for (std::uint64_t const noise : {every_bit, 0xffff'ffff'0000'0000u & ~(std::uint64_t{1} << 51)}) {
            u.ste.word[2] = noise & ~std::uint64_t{0xffff}; // S2VMID is not one of them
            u.ste.word[3] = every_bit;
            u.ste.set<"S2FWB">(1);
            u.ste.set<"S2HWU">(15);
            CHECK(u.translate() == plain);
        }
    }
}

TEST_CASE("smmu STE: words 4 to 7 and the fields of absent features mean nothing") {
    for (auto const kind : every_kind) {
        smmu_unit u{kind};
        auto const plain = u.translate();
        REQUIRE(plain);
        for (unsigned w = 4; w < 8; ++w)
            u.ste.word[w] = every_bit;
        u.ste.set<"CONT">(15);
        u.ste.set<"SW">(15);
        u.ste.set<"MEV">(1);
        u.ste.set<"DRE">(1);
        u.ste.set<"DCP">(1);
        u.ste.set<"PPAR">(1);
        u.ste.set<"NSCFG">(3);
        u.ste.set<"ALLOCCFG">(15);
        u.ste.word[0] |= 0x0700'0000'0000'0000; // 58:56
        CHECK(u.translate() == plain);
        CHECK(u.memory.trail[0] == u.ste_at);
    }
}

// --- substreams ------------------------------------------------------------------------------------------------------

TEST_CASE("smmu C_BAD_SUBSTREAMID: a SubstreamID where stage 1 is off") {
    for (auto const kind : {smmu_kind::bypass, smmu_kind::stage2})
        for (std::uint32_t const ssid : {0u, 1u, 0xf'ffffu}) {
            smmu_unit u{kind};
            u.ste.set<"S1CDMax">(20);
            check_event(u.translate(u.with_substream(ssid)), event::c_bad_substreamid, of_configuration(u.ste_at, u.ste.word[0]),
                        u.at(), 0);
        }
}

TEST_CASE("smmu C_BAD_SUBSTREAMID: a SubstreamID where there are no substreams") {
    for (std::uint64_t const size : {0u, 20u})
        for (std::uint32_t const ssid : {0u, 1u, 0xf'ffffu}) {
            smmu_unit u;
            u.idr1.set<"SSIDSIZE">(size);
            u.ste.set<"S1CDMax">(size == 0 ? 20 : 0); // SSIDSIZE = 0 acts like S1CDMax = 0
            CHECK(event_of(u.translate(u.with_substream(ssid))) == event::c_bad_substreamid);
            // Without, the one context descriptor is used, whatever S1DSS and S1Fmt say.
            for (std::uint64_t dss = 0; dss < 4; ++dss) {
                u.ste.set<"S1DSS">(dss);
                u.ste.set<"S1Fmt">(dss);
                CHECK(u.translate());
                CHECK(u.memory.trail[4] == u.cd_at);
                CHECK(u.find()->pasid == smmu::no_pasid);
            }
        }
}

TEST_CASE("smmu C_BAD_SUBSTREAMID: a SubstreamID at 2^S1CDMax and beyond") {
    for (std::uint64_t max = 1; max <= 20; ++max) {
        smmu_unit u;
        u.ste.set<"S1CDMax">(max);
        std::uint32_t const bad = 1u << max;
        CAPTURE(max);
        u.write_configuration();
        for (std::uint64_t i = 0; i < 8; ++i)
            u.memory[0x9000'0000 + std::uint64_t{bad - 1} * 64 + i * 8] = u.cd.word[i];
        u.ste.set<"S1ContextPtr">(0x9000'0000);
        CHECK(u.translate(u.with_substream(bad - 1)));
        CHECK(event_of(u.translate(u.with_substream(bad))) == event::c_bad_substreamid);
        CHECK(event_of(u.translate(u.with_substream(0xffff'fffe))) == event::c_bad_substreamid);
    }
}

TEST_CASE("smmu S1DSS: what becomes of requests without SubstreamID, with 0, and with another") {
    for (auto const kind : {smmu_kind::stage1, smmu_kind::nested})
        for (std::uint64_t dss = 0; dss < 4; ++dss) {
            smmu_unit u{kind};
            u.ste.set<"S1CDMax">(4);
            u.ste.set<"S1DSS">(dss);
            u.write_configuration();
            for (std::uint64_t i = 0; i < 8; ++i)
                u.memory[u.where(u.cd_at) + 64 + i * 8] = u.cd.word[i];
            u.cd.set<"ASID">(0x50);
            auto const asid_of = [&](smmu::request const& r) {
                auto const b = u.find(r);
                return !b ? std::uint64_t{0} : b->uses_stage1 ? std::uint64_t{b->asid()} : 1;
            };
            CAPTURE(static_cast<int>(kind), dss);
            CHECK(asid_of(u.with_substream(1)) == 0x42);
            if (dss == 2) {
                CHECK(asid_of(u.ask()) == 0x50);
                CHECK(u.find(u.ask())->pasid == 0);
                CHECK(event_of(u.translate(u.with_substream(0))) == event::f_stream_disabled);
            } else {
                CHECK(asid_of(u.with_substream(0)) == 0x50);
            }
            if (dss == 0 || dss == 3)
                check_event(u.translate(), event::f_stream_disabled, of_configuration(u.ste_at, u.ste.word[0]), u.at(), 0);
            if (dss == 1) CHECK(asid_of(u.ask()) == 1);
        }
}

TEST_CASE("smmu S1DSS = 01: stage 1 is passed by, stage 2 is not, and what passes fits IAS") {
    smmu_unit u;
    u.ste.set<"S1CDMax">(4);
    u.ste.set<"S1DSS">(1);
    u.cd.set<"V">(0); // nobody looks
    auto const passed = u.translate_at(0xffff'ffff'ffff);
    REQUIRE(passed);
    CHECK(passed->output == pa{0xffff'ffff'ffff});
    check_event(u.translate_at(0x1'0000'0000'0000), event::f_addr_size, of_input(fault_stage::first), 0x1'0000'0000'0000,
                class_input | is_read);
    smmu_unit n{smmu_kind::nested};
    n.ste.set<"S1CDMax">(4);
    n.ste.set<"S1DSS">(1);
    n.cd.set<"V">(0);
    CHECK(n.translate_at(0x80'1234'5678)->output == pa{0x3'1234'5678});
    CHECK(n.memory.trail.size() == 4 + 3);
    check_event(n.translate_at(0x1'0000'0000'0000), event::f_addr_size, of_input(fault_stage::first), 0x1'0000'0000'0000,
                class_input | is_read);
    check_event(n.translate_at(0x100'0000'0000), event::f_translation, of_input(fault_stage::second), 0x100'0000'0000,
                class_input | is_second | is_read, 0x100'0000'0000);
}

// --- without translation ---------------------------------------------------------------------------------------------

TEST_CASE("smmu F_ADDR_SIZE: bypass beyond OAS, stage 2 alone beyond IAS") {
    smmu_unit b{smmu_kind::bypass};
    b.idr5.set<"OAS">(1); // 36 bits
    b.idr0.set<"TTF">(3); // IAS 40
    CHECK(b.translate_at(0xf'ffff'ffff));
    check_event(b.translate_at(0x10'0000'0000, write | privileged), event::f_addr_size, of_input(fault_stage::first),
                0x10'0000'0000, class_input | is_privileged);
    smmu_unit s{smmu_kind::stage2};
    s.idr5.set<"OAS">(1);
    s.idr0.set<"TTF">(3);
    s.ste.set<"S2R">(0);
    // Up to 2^40 it is stage 2's affair, beyond that of the bypassed stage 1, and recorded whatever S2R is.
    CHECK(event_of(s.translate_at(0xff'ffff'ffff)) == event::f_translation);
    check_event(s.translate_at(0x100'0000'0000), event::f_addr_size, of_input(fault_stage::first), 0x100'0000'0000,
                class_input | is_read);
    s.ste.set<"S2S">(1);
    check_event(s.translate_at(0x100'0000'0000), event::f_addr_size, of_input(fault_stage::first), 0x100'0000'0000,
                class_input | is_read);
}

TEST_CASE("smmu off: bypass with GBPA, or abort, and never an event") {
    for (auto const kind : every_kind) {
        smmu_unit u{kind};
        u.cr0 = 0x1c; // everything but SMMUEN
        u.ste.set<"V">(0);
        auto const passed = u.translate_at(0xffff'ffff'ffff, read_write | execute | privileged);
        REQUIRE(passed);
        CHECK(passed->output == pa{0xffff'ffff'ffff});
        CHECK(passed->by == passage::bypassed);
        CHECK(passed->lg2_size == 64);
        CHECK(passed->effective.rights().bits == 7);
        CHECK(u.memory.trail.empty());
        check_event(u.translate_at(0x1'0000'0000'0000), event::none, of_configuration(), 0x1'0000'0000'0000, 0, 0, false);
        u.gbpa = 0x0010'0000;
        check_event(u.translate_at(0x1000), event::none, of_configuration(), 0x1000, 0, 0, false);
    }
    // Nobody looks at the StreamID, the SubstreamID or the tables.
    smmu_unit u;
    u.cr0 = 0;
    auto r = u.with_substream(0xf'ffff);
    r.source = 0xffff'ffff;
    r.address = iova{0x1234};
    CHECK(u.translate(r)->output == pa{0x1234});
}

// --- capabilities ----------------------------------------------------------------------------------------------------

TEST_CASE("smmu capabilities: what no unit can say of itself") {
    using smmu::capability_error;
    struct {
        capability_error why;
        void (*spoil)(smmu_unit&);
    } const cases[] = {
        {capability_error::none, [](smmu_unit&) {}},
        {capability_error::no_stage,
         [](smmu_unit& u) {
             u.idr0.set<"S1P">(0);
             u.idr0.set<"S2P">(0);
         }},
        {capability_error::none, [](smmu_unit& u) { u.idr0.set<"S1P">(0); }},
        {capability_error::table_format, [](smmu_unit& u) { u.idr0.set<"TTF">(1); }},
        {capability_error::table_format, [](smmu_unit& u) { u.idr0.set<"TTF">(0); }},
        {capability_error::none, [](smmu_unit& u) { u.idr0.set<"TTF">(3); }},
        {capability_error::no_granule, [](smmu_unit& u) { u.idr5.word[0] = 5; }},
        {capability_error::none, [](smmu_unit& u) { u.idr1.set<"SIDSIZE">(32); }},
        {capability_error::stream_size, [](smmu_unit& u) { u.idr1.set<"SIDSIZE">(33); }},
        {capability_error::substream_size, [](smmu_unit& u) { u.idr1.set<"SSIDSIZE">(21); }},
        {capability_error::stream_levels, [](smmu_unit& u) { u.idr0.set<"ST_LEVEL">(0); }},
        {capability_error::none,
         [](smmu_unit& u) {
             u.idr0.set<"ST_LEVEL">(0);
             u.idr1.set<"SIDSIZE">(6);
         }},
        {capability_error::endianness, [](smmu_unit& u) { u.idr0.set<"TTENDIAN">(1); }},
        {capability_error::stall_model, [](smmu_unit& u) { u.idr0.set<"STALL_MODEL">(3); }},
        {capability_error::output_size, [](smmu_unit& u) { u.idr5.set<"OAS">(7); }},
        {capability_error::none, [](smmu_unit& u) { u.idr5.set<"OAS">(6); }},
        {capability_error::output_size,
         [](smmu_unit& u) {
             u.idr5.set<"OAS">(6);
             u.aidr = 0;
         }},
        {capability_error::output_size,
         [](smmu_unit& u) {
             u.idr5.set<"OAS">(6);
             u.idr5.set<"GRAN64K">(0);
         }},
        {capability_error::none, [](smmu_unit& u) { u.widen(); }},
        {capability_error::small_descriptors,
         [](smmu_unit& u) {
             u.widen();
             u.idr5.set<"VAX">(0);
         }},
    };
    for (auto const& c : cases) {
        smmu_unit u;
        c.spoil(u);
        CHECK(static_cast<int>(u.caps().contradiction()) == static_cast<int>(c.why));
    }
}

} // namespace stagewalk::test
