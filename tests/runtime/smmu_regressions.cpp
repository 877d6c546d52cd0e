// Defects of other models and drivers (section 9 of docs/coverage.md), one case each: it would fail with their behaviour. What
// has a case of its own elsewhere is named at the end, and so is what needs events as records, commands or a TLB.
#include "smmu_unit.hpp"

#include <cstdint>
#include <vector>

namespace stagewalk::test {
namespace {

using smmu::stream_entry_error;

} // namespace

// --- Q: QEMU ---------------------------------------------------------------------------------------------------------

TEST_CASE("Q1, B17: TBI1 is not TBI0") {
    smmu_unit u;
    u.both_halves();
    u.memory[0x9500'07f0] = 0x9400'1003;
    u.cd.set<"TBI0">(1);
    CHECK(u.translate_at(0x5a00'7f12'3456'7abc));
    CHECK(event_of(u.translate_at(0x5aff'7f12'3456'7abc)) == event::f_translation);
    u.cd.set<"TBI0">(0);
    u.cd.set<"TBI1">(1);
    CHECK(event_of(u.translate_at(0x5a00'7f12'3456'7abc)) == event::f_translation);
    CHECK(u.translate_at(0x5aff'7f12'3456'7abc));
}

TEST_CASE("Q2, G2, B20: Span stands for 2^(Span-1), and its fault is C_BAD_STREAMID") {
    smmu_unit u;
    u.strtab_base = 0x9000'0000;
    u.strtab_base_cfg = 0x1'0210;
    u.memory[0x9000'0000] = 0x9100'0003; // 4 entries
    for (std::uint32_t sid = 0; sid < 8; ++sid) {
        u.memory[0x9100'0000 + sid * 64] = 1; // V, Config = 0: silent
        CAPTURE(sid);
        CHECK(event_of(u.translate(u.from(sid))) == (sid < 4 ? event::none : event::c_bad_streamid));
    }
    for (std::uint64_t const span : {10u, 11u, 12u, 31u, 0u}) { // SPLIT is 8
        u.memory[0x9000'0000] = 0x9100'0000 | span;
        CHECK(event_of(u.translate(u.from(0))) == event::c_bad_streamid);
    }
    u.memory[0x9000'0000] = 0x9100'00c3; // bits 7:6 lie within the table
    CHECK(event_of(u.translate(u.from(3))) == event::none);
    CHECK(u.memory.trail[1] == 0x9100'00c0);
}

TEST_CASE("Q3: C_BAD_STREAMID without RECINVSID leaves no record") {
    smmu_unit u;
    CHECK_FALSE(u.translate(u.from(0x100)).error().reported);
    u.cr2 = 1; // E2H
    CHECK_FALSE(u.translate(u.from(0x100)).error().reported);
    u.cr2 = 2;
    CHECK(u.translate(u.from(0x100)).error().reported);
}

TEST_CASE("Q4, O6: the address size goes before access flag and permission, and tables have one too") {
    smmu_unit u;
    u.cd.set<"IPS">(2);
    u.memory[u.l3] = 0x0000'2000'0000'0b83;
    CHECK(event_of(u.translate(write)) == event::f_addr_size);
    u.memory[u.l1] = 0x0000'2000'0000'0003;
    CHECK(event_of(u.translate(write)) == event::f_addr_size);
    CHECK(u.translate(write).error().descriptor == u.l1);
}

TEST_CASE("Q5: a write through a read-only table finds the deeper fault first") {
    smmu_unit u;
    u.memory[u.l0] |= one_bit(62);
    u.memory[u.l2] = 0;
    CHECK(event_of(u.translate(write)) == event::f_translation);
    CHECK(u.translate(write).error().descriptor == u.l2);
}

TEST_CASE("Q6, O6: no block at level 0, nor at level 1 of 16 and 64 KiB without 52 bits") {
    smmu_chain k4{smmu_kind::stage1, 0, 16, 0};
    k4.entry(0) = k4.leaf(0, 0);
    CHECK(event_of(k4.translate_at(0)) == event::f_translation);
    smmu_chain k16{smmu_kind::stage2, 2, 17, 1};
    k16.entry(1) = k16.leaf(0, 1);
    CHECK(event_of(k16.translate_at(0)) == event::f_translation);
    smmu_chain k64{smmu_kind::stage2, 1, 16, 1};
    k64.entry(1) = k64.leaf(0, 1);
    CHECK(event_of(k64.translate_at(0)) == event::f_translation);
}

TEST_CASE("Q7: an entry of stage 2 alone may hold any S1CDMax and S1STALLD") {
    smmu_unit u{smmu_kind::stage2};
    u.ste.set<"S1CDMax">(31);
    u.ste.set<"S1STALLD">(1);
    u.idr0.set<"STALL_MODEL">(1);
    CHECK(u.translate());
}

TEST_CASE("Q8: the table of a half that nobody asks for is not translated") {
    smmu_unit u{smmu_kind::nested};
    u.both_halves();
    u.cd.word[2] = 0x0000'00ff'0000'0000; // stage 2 does not map it
    CHECK(u.translate());
    u.memory[0xa000'2000 + 0x3fc * 8] = 0;
    CHECK(event_of(u.translate_at(0xffff'8000'0000'0000)) == event::f_translation);
    // And the other one anew for each walk.
    auto const before = u.translate();
    u.memory[u.n_table] = 0;
    CHECK(event_of(u.translate()) == event::f_translation);
    u.memory[u.n_table] = 0x3'9400'07fd;
    CHECK(u.translate() == before);
}

TEST_CASE("Q9, B45: an address beyond the first of several tables side by side uses its own") {
    smmu_unit u{smmu_kind::stage2};
    u.memory[0xa000'2000] = 0x1'0000'07fd;
    u.memory[0xa000'3000] = 0x2'0000'07fd;
    u.memory[0xa000'3ff8] = 0x3'0000'07fd | 0xc000'0000;
    CHECK(u.translate_at(0x1234)->output == pa{0x1'0000'1234});
    CHECK(u.translate_at(0x80'0000'1234)->output == pa{0x2'0000'1234});
    CHECK(u.translate_at(0xff'ffff'ffff)->output == pa{0x3'ffff'ffff}); // the last byte of all
    CHECK(event_of(u.translate_at(0x100'0000'0000)) == event::f_translation);
}

TEST_CASE("Q10: the least S2T0SZ comes from IAS and not from S2PS, and SL0 may be too deep") {
    smmu_unit u{smmu_kind::stage2};
    u.ste.set<"S2PS">(0); // 32 bits out of 40
    u.memory[u.s3] = 0x1234'57ff;
    u.ste.set<"S2TTB">(0xa000'2000);
    CHECK(u.entry_error() == stream_entry_error::none);
    u.ste.set<"S2T0SZ">(25);
    u.ste.set<"S2SL0">(2); // 39 bits have no level 0
    CHECK(u.entry_error() == stream_entry_error::stage2_start);
}

TEST_CASE("Q11, G4, G5: a write-only page of stage 2 can be written and not read, whoever came before") {
    smmu_unit u{smmu_kind::stage2};
    u.memory[u.s3] = 0x3'1234'57bf;
    CHECK(u.translate(write));
    CHECK(event_of(u.translate(read)) == event::f_permission);
    CHECK(event_of(u.translate(read_write)) == event::f_permission);
    CHECK(event_of(u.translate(execute)) == event::f_permission);
    CHECK(u.translate(write)->effective.rights().bits == write.bits);
}

TEST_CASE("Q12, G12: privilege, execution and PAN count") {
    smmu_unit u;
    u.memory[u.l3] = 0x0060'0001'2345'6f07;
    CHECK(event_of(u.translate(read)) == event::f_permission);
    CHECK(u.translate(read | privileged));
    CHECK(event_of(u.translate(execute | privileged)) == event::f_permission);
    u.memory[u.l3] = 0x1'2345'6f47;
    u.cd.set<"PAN">(1);
    CHECK(event_of(u.translate(read | privileged)) == event::f_permission);
    CHECK(u.translate(read));
}

TEST_CASE("Q15: a half of 4 KiB does not narrow a half of 64 KiB, and pointers keep their upper bits") {
    smmu_unit u;
    u.widen();
    u.both_halves();
    u.cd.set<"TG1">(3);
    u.cd.set<"T1SZ">(22);
    u.cd.set<"IPS">(6);
    u.cd.set<"TTB1">(0x8'0000'9500'0000);
    u.memory[0x8'0000'9500'0000] = 0x9500'9003; // level 3 at 9'0000'9500'0000h
    u.memory[0x9'0000'9500'0000] = 0x2'f443;
    CHECK(u.translate_at(0xffff'fc00'0000'0012)->output == pa{0xf'0000'0002'0012});
    CHECK(u.translate()->output == pa{0x1'2345'6abc});
    // Context descriptors and stage-2 tables beyond 2^48.
    smmu_unit far;
    far.widen();
    far.ste.set<"S1ContextPtr">(0x8'0000'0000'0000);
    far.write_configuration();
    for (std::uint64_t i = 0; i < 8; ++i)
        far.memory[0x8'0000'0000'0000 + i * 8] = far.cd.word[i];
    CHECK(far.unit().translate(far.ask())->output == pa{0x1'2345'6abc});
    smmu_unit second{smmu_kind::stage2};
    second.widen();
    second.ste.set<"S2TG">(1);
    second.ste.set<"S2PS">(6);
    second.ste.set<"S2TTB">(0x8'0000'9500'0000);
    second.ste.set<"S2T0SZ">(24);
    second.memory[0x8'0000'9500'0000] = 0x4'0000'0000 | 0x4fd; // 512 MiB
    CHECK(second.translate_at(0x1234)->output == pa{0x4'0000'1234});
}

TEST_CASE("Q16, B16: where the address of a fetch goes, and that of a refused table") {
    smmu_unit u;
    u.write_configuration();
    u.memory.poison(u.cd_at);
    auto const fetch = u.unit().translate(u.ask());
    CHECK(fetch.error().code == event::f_cd_fetch);
    CHECK(fetch.error().descriptor == u.cd_at);
    smmu_unit n{smmu_kind::nested};
    n.memory[n.n_table] = 0;
    auto const table = n.translate(read);
    CHECK((table.error().detail >> 32) == 0x188); // the third word of the record: CLASS = TT, S2, RnW
    CHECK(table.error().intermediate == n.l0);
    CHECK(table.error().input == n.at());
}

TEST_CASE("Q17: bit 55 chooses the half and not the ranges") {
    smmu_unit u;
    u.both_halves();
    u.cd.set<"T0SZ">(39); // 25 bits
    u.cd.set<"T1SZ">(16);
    u.cd.set<"EPD1">(1);
    // Beyond the lower range and below the upper one: the lower half's affair, though neither maps it.
    u.cd.set<"R">(1);
    CHECK(event_of(u.translate_at(0x0000'8000'0000'0000)) == event::f_translation);
    CHECK(u.memory.trail.size() == 8);
    // In the upper range by its bits 47:0 alone.
    CHECK(event_of(u.translate_at(0x007f'8000'0000'0000)) == event::f_translation);
    u.cd.set<"EPD1">(0);
    CHECK(u.translate_at(0xffff'0000'0000'0000).error().descriptor == 0x9500'0000);
    CHECK(u.translate_at(0xff7f'0000'0000'0000).error().descriptor == 0);
}

TEST_CASE("Q18: stage-2 tables of VMSAv8-32 are C_BAD_STE and no end of the program") {
    for (std::uint64_t const ttf : {2u, 3u}) {
        smmu_unit u{smmu_kind::stage2};
        u.idr0.set<"TTF">(ttf);
        u.ste.set<"S2AA64">(0);
        CHECK(u.entry_error() == stream_entry_error::table_format);
    }
}

TEST_CASE("B15: one byte beyond T0SZ, for each granule") {
    for (std::uint64_t tg = 0; tg < 3; ++tg)
        for (std::uint64_t size = 16; size <= 39; ++size) {
            smmu_unit u;
            u.cd.set<"TG0">(tg);
            u.cd.set<"T0SZ">(size);
            std::uint64_t const end = std::uint64_t{1} << (64 - size);
            CAPTURE(tg, size);
            check_event(u.translate_at(end), event::f_translation, of_input(fault_stage::first), end, class_input | is_read);
            CHECK(u.translate_at(end - 1).error().level != no_level);
        }
}

TEST_CASE("B46: address bits 51:48 of a 64 KiB table stand in 15:12") {
    smmu_chain u{smmu_kind::stage2, 1, 22, 2};
    u.widen();
    u.ste.set<"S2PS">(6);
    u.entry(2) = 0x0000'0000'9700'a003;
    u.memory[0xa'0000'9700'0000] = u.leaf(0x5'0000, 3);
    CHECK(u.translate_at(0x12)->output == pa{0x5'0012});
}

// --- G: gem5 ---------------------------------------------------------------------------------------------------------

TEST_CASE("G1: SPLIT is 6, 8 or 10 and no granule, and leaves hold 64 or 1024 context descriptors") {
    smmu_unit u;
    u.strtab_base = 0x9000'0000;
    struct {
        std::uint32_t split;
        std::uint64_t first;
    } const cases[] = {{6, 0x9000'0240}, {8, 0x9000'0090}, {10, 0x9000'0020}, {7, 0x9000'0240}, {16, 0x9000'0240}};
    for (auto const& c : cases) {
        u.strtab_base_cfg = 0x1'0010 | c.split << 6;
        (void)u.translate(u.from(0x1234));
        CHECK(u.memory.trail[0] == c.first);
    }
    smmu_unit v;
    v.ste.word[0] = 0x8000'0000'9100'001b;
    v.memory[0x9100'0008] = 0x9200'0001; // 64 to 127
    CHECK(v.translate(v.with_substream(64)));
    CHECK(v.memory.trail[5] == v.cd_at);
    v.ste.word[0] = 0x8000'0000'9100'002b;
    CHECK(v.translate(v.with_substream(1024)));
    CHECK(v.memory.trail[5] == v.cd_at);
}

TEST_CASE("G2: V is no part of the address in a level-1 context descriptor") {
    smmu_unit u;
    u.ste.word[0] = 0x8000'0000'9100'001b;
    u.memory[0x9100'0000] = 0x9200'0001;
    CHECK(u.translate(u.with_substream(0)));
    CHECK(u.memory.trail[5] == 0x9200'0000);
}

TEST_CASE("G3, B39: nothing that software writes ends the program") {
    std::uint64_t state = 0x9e37'79b9'7f4a'7c15;
    auto const next = [&] {
        state ^= state << 13;
        state ^= state >> 7;
        return state ^= state << 17;
    };
    unsigned mapped_ones = 0;
    for (unsigned round = 0; round < 20'000; ++round) {
        smmu_unit u{round % 2 == 0 ? smmu_kind::nested : round % 4 == 1 ? smmu_kind::stage1 : smmu_kind::stage2};
        // Configuration with a few bits turned, now and then of noise.
        for (auto turns = next() % 4; turns > 0; --turns)
            u.ste.word[next() % 8] ^= one_bit(static_cast<unsigned>(next() % 64));
        for (auto turns = next() % 4; turns > 0; --turns)
            u.cd.word[next() % 8] ^= one_bit(static_cast<unsigned>(next() % 64));
        if (next() % 8 == 0) u.cd.word[next() % 8] = next();
        if (next() % 8 == 0) u.ste.word[next() % 8] = next();
        if (next() % 8 == 0) u.strtab_base_cfg = static_cast<std::uint32_t>(next());
        auto r = u.ask(access{next() % 16});
        if (next() % 4 == 0) r.pasid = static_cast<std::uint32_t>(next());
        if (next() % 4 == 0) r.address = iova{next()};
        mapped_ones += static_cast<bool>(u.translate(r));
    }
    CHECK(mapped_ones > 1000);
}

TEST_CASE("G6: a client's write asks stage 2 for no right to write tables and context descriptors") {
    smmu_unit u{smmu_kind::nested};
    u.memory[u.n_cd] = 0x3'9200'077d;
    u.memory[u.n_table] = 0x3'9400'077d;
    CHECK(u.translate(write));
}

TEST_CASE("G7: S2SL0 says where stage 2 starts") {
    // 40 bits: two tables of level 1, or one of level 0 with two entries.
    smmu_unit u{smmu_kind::stage2};
    u.ste.set<"S2SL0">(2);
    u.memory[0xa000'2008] = 0xa006'0003;
    u.memory[0xa006'0000] = 0xa001'0003;
    CHECK(u.translate()->output == pa{0x3'1234'5678});
    CHECK(u.memory.trail.size() == 4 + 4);
}

TEST_CASE("G8: the contiguous bit adds nothing to the address") {
    smmu_unit u;
    for (std::uint64_t page = 0; page < 16; ++page) {
        std::uint64_t const at = 0x7f12'3456'0000 + page * 0x1000;
        u.memory[0x9400'3b00 + page * 8] = (0x0010'0001'2340'0f43 & ~std::uint64_t{0xf000}) | page << 12;
        CHECK(u.translate_at(at | 0xabc)->output == pa{0x1'2340'0000 + page * 0x1000 + 0xabc});
        CHECK(u.translate_at(at)->lg2_size == 12);
    }
}

TEST_CASE("G11: a page of stage 1 that is larger than those of stage 2") {
    smmu_unit u{smmu_kind::nested};
    u.first(u.l1) = 0x0000'0001'0000'0f41; // 1 GiB
    u.memory[0xa003'0000 + 0x1a2 * 8] = 0xa004'0003;
    u.memory[0xa004'0000 + 0x167 * 8] = 0x6'0000'07ff;
    CHECK(u.translate()->output == pa{0x6'0000'0abc});
    CHECK(u.translate()->lg2_size == 12);
}

// --- O: OpenVMM ------------------------------------------------------------------------------------------------------

TEST_CASE("O1: PnU, InD, RnW, S2 and CLASS are bits 97, 98, 99, 103 and 105:104 of the record") {
    smmu_unit u{smmu_kind::stage2};
    u.memory[u.s3] = 0;
    CHECK(u.translate(execute | privileged).error().detail == (2u | 4u | 8u | 0x80u | 0x200u) * std::uint64_t{0x1'0000'0000});
}

TEST_CASE("O2: GBPA.ABORT is bit 20, CR2.E2H bit 0, RECINVSID bit 1, F_TLB_CONFLICT 20h") {
    smmu_unit u;
    u.cr0 = 0;
    u.gbpa = 2;
    CHECK(u.translate());
    u.gbpa = 0x10'0000;
    CHECK_FALSE(u.translate());
    u.cr0 = 1;
    u.ste.set<"STRW">(2);
    u.cr2 = 2;
    CHECK(static_cast<int>(u.find()->world) == static_cast<int>(smmu::stream_world::el2));
    u.cr2 = 1;
    CHECK(static_cast<int>(u.find()->world) == static_cast<int>(smmu::stream_world::el2_e2h));
    CHECK(static_cast<int>(event::f_tlb_conflict) == 0x20);
}

TEST_CASE("O4: each failure has its own event") {
    smmu_unit u;
    u.write_configuration();
    u.memory.poison(u.cd_at + 8);
    CHECK(event_of(u.unit().translate(u.ask())) == event{0x09});
    smmu_unit v;
    v.write_configuration();
    v.memory.poison(v.ste_at + 8);
    CHECK(event_of(v.unit().translate(v.ask())) == event{0x03});
    smmu_unit w;
    w.memory.poison(w.l2);
    CHECK(event_of(w.translate()) == event{0x0b});
    smmu_unit s;
    CHECK(event_of(s.translate(s.with_substream(1))) == event{0x08});
    s.cd.set<"EPD0">(1);
    CHECK(event_of(s.translate()) == event{0x10});
}

TEST_CASE("O5: TxSZ too small, TTB beyond IPS, HA and S are looked at, low bits of TTB are not") {
    smmu_unit u;
    u.cd.set<"T0SZ">(15);
    CHECK(u.descriptor_error() == smmu::context_error::size);
    u.cd.set<"T0SZ">(16);
    u.cd.set<"IPS">(0);
    u.cd.set<"TTB0">(0x1'0000'0000);
    CHECK(u.descriptor_error() == smmu::context_error::table);
    smmu_unit v;
    v.cd.set<"TTB0">(0x9400'0ff0);
    CHECK(v.translate());
    v.idr0.set<"HTTU">(0);
    v.cd.set<"HA">(1);
    CHECK(v.descriptor_error() == smmu::context_error::updates);
    v.cd.set<"HA">(0);
    v.idr0.set<"STALL_MODEL">(1);
    v.cd.set<"S">(1);
    CHECK(v.descriptor_error() == smmu::context_error::stalls);
}

TEST_CASE("O6: AFFD, APTable, R, and bypass beyond OAS") {
    smmu_unit u;
    u.memory[u.l3] = 0x1'2345'6b47;
    u.cd.set<"AFFD">(1);
    CHECK(u.translate());
    u.memory[u.l1] |= one_bit(61);
    CHECK(event_of(u.translate()) == event::f_permission);
    u.cd.set<"R">(0);
    CHECK_FALSE(u.translate().error().reported);
    smmu_unit b{smmu_kind::bypass};
    CHECK(event_of(b.translate_at(0x1'0000'0000'0000)) == event::f_addr_size);
}

TEST_CASE("O7, 9.5: addresses at the top wrap nowhere") {
    // A table at the top of 48 bits, its last entry.
    smmu_unit u;
    u.cd.set<"TTB0">(0xffff'ffff'f000);
    check_event(u.translate_at(0xffff'ffff'ffff), event::f_walk_eabt, of_abort(fault_stage::first, 3, 0xffff'ffff'fff8),
                0xffff'ffff'ffff, class_table | is_read);
    // The last stream of a table at the top of memory: beyond OAS, and not at its beginning.
    smmu_unit s;
    s.strtab_base = 0x00ff'ffff'ffff'ffc0;
    s.strtab_base_cfg = 16;
    check_event(s.translate(s.from(0xffff)), event::f_ste_fetch, of_configuration(0x00ff'ffff'ffff'ffc0), s.at(), 0);
    // The last byte of the upper half.
    smmu_unit h;
    h.both_halves();
    h.memory[0x9500'0ff8] = 0x9400'1003;
    h.memory[0x9400'1ff8] = 0xffff'c000'0000u | 0xf41;
    CHECK(h.translate_at(every_bit)->output == pa{0xffff'ffff'ffff});
}

// --- 9.4 and 9.5 -----------------------------------------------------------------------------------------------------

TEST_CASE("9.4: LOG2SIZE counts StreamIDs and not level-1 descriptors") {
    smmu_unit u;
    u.strtab_base = 0x9000'0000;
    u.strtab_base_cfg = 0x1'0208; // LOG2SIZE 8 of 16, SPLIT 8
    CHECK(event_of(u.translate(u.from(0x100))) == event::c_bad_streamid);
    CHECK(u.memory.trail.empty());
}

TEST_CASE("9.4: a tiny top table is aligned to 64 bytes where addresses have 52 bits") {
    smmu_chain u{smmu_kind::stage1, 1, 21, 1};
    u.widen();
    u.cd.set<"IPS">(6);
    u.cd.set<"TTB0">(0x9400'0030);
    CHECK(u.translate_at(0x10));
    CHECK(u.memory.trail[8] == 0x9400'0000);
}

TEST_CASE("9.5: TG0, TG1 and S2TG have the same granules in different orders") {
    using smmu::granule;
    granule const tg0[]{granule::k4, granule::k64, granule::k16, granule::none};
    granule const tg1[]{granule::none, granule::k16, granule::k4, granule::k64};
    for (std::uint64_t n = 0; n < 4; ++n) {
        smmu::context_descriptor d;
        d.word[0] = n << 6 | n << 22;
        CHECK(d.granule_of(smmu::half::lower) == tg0[n]);
        CHECK(d.granule_of(smmu::half::upper) == tg1[n]);
        smmu::stream_table_entry e;
        e.word[2] = n << 46;
        CHECK(e.stage2_granule() == tg0[n]);
    }
}

TEST_CASE("9.5: HD without HA is off") {
    smmu_unit u;
    u.cd.set<"HD">(1);
    u.memory[u.l3] = 0x0008'0001'2345'67c3;
    CHECK(event_of(u.translate(write)) == event::f_permission);
    smmu_unit s{smmu_kind::stage2};
    s.ste.set<"S2HD">(1);
    s.memory[s.s3] = 0x0008'0003'1234'577f;
    CHECK(event_of(s.translate(write)) == event::f_permission);
}

TEST_CASE("9.5: 16 KiB stage 2 of 48 bits starts at level 1 with two tables") {
    smmu_chain u{smmu_kind::stage2, 2, 16, 1};
    CHECK(u.translate_at(0));
    u.memory[0x9400'4000] = 0x9401'0003; // 2^47 is the second table's first entry
    CHECK(u.translate_at(0x8000'0000'0000)->output == pa{0x1'2345'0000 & ~std::uint64_t{0x3fff}});
    u.ste.set<"S2SL0">(3);
    CHECK(u.entry_error() == stream_entry_error::stage2_start);
}

TEST_CASE("9.5: bits above the input size do not index") {
    // TBI1: the top byte; and the ones of the upper half.
    smmu_unit u;
    u.both_halves();
    u.cd.set<"T1SZ">(25);
    u.cd.set<"TBI1">(1);
    CHECK(u.translate_at(0x12ff'ff80'0000'0000).error().descriptor == 0x9500'0000);
    CHECK(u.translate_at(0x12ff'ffff'ffff'ffff).error().descriptor == 0x9500'0ff8);
}

// Elsewhere: Q13, Q14, G9, G10, O3 and B18, B40 and the hits of Q11 and G4 concern events as records, commands or a TLB, and so
// do of Q16 the place in the record and bits 11:0 of the IPA, of O2 SSec, and of O7 CONS and CMD_SYNC; of 9.4 CFGI after L1STD,
// range commands and ATC_INV; of 9.5 InputAddr in the record and the end of a range. B21 is about registers that nobody decodes
// here. B19 for context descriptors: smmu_context.cpp; B22, B31 and B32: static/smmu_layout.cpp.

} // namespace stagewalk::test
