// The SMMU's worked examples (section 12 of docs/coverage.md), bit by bit, by their numbers: those of stream table, context
// descriptors and translation.
#include "smmu_unit.hpp"

#include <cstdint>
#include <vector>

namespace stagewalk::test {
namespace {

using smmu::context_error;
using smmu::stream_entry_error;
using update = smmu_unit::memory_type::update;
using trail = std::vector<std::uint64_t>;

// A unit whose SSID leads to a context descriptor at `at`, which is written there as well.
void write_descriptor(smmu_unit& u, std::uint64_t at) {
    for (std::uint64_t i = 0; i < 8; ++i)
        u.memory[at + i * 8] = u.cd.word[i];
}

} // namespace

TEST_CASE("smmu example 1: a linear stream table") {
    smmu_unit u;
    REQUIRE(u.translate());
    CHECK(u.memory.trail[0] == 0x8800'0a80);
    auto const beyond = u.translate(u.from(0x100));
    check_event(beyond, event::c_bad_streamid, of_configuration(), u.at(), 0, 0, false);
    u.cr2 = 2; // RECINVSID
    check_event(u.translate(u.from(0x100)), event::c_bad_streamid, of_configuration(), u.at(), 0);
    u.strtab_base = 0x8800'1040;
    CHECK(u.registers().table(u.caps()) == 0x8800'0000);
    REQUIRE(u.translate());
    CHECK(u.memory.trail[0] == 0x8800'0a80);
}

TEST_CASE("smmu example 2: a stream table of two levels") {
    struct {
        std::uint32_t stream;
        std::uint64_t descriptor;
        std::uint64_t entry; // 0: C_BAD_STREAMID
    } const cases[] = {
        {0x1234, 0x0000'0000'9100'0007, 0x9100'0d00}, {0x123f, 0x0000'0000'9100'0007, 0x9100'0fc0},
        {0x1240, 0x0000'0000'9100'0007, 0},           {0x1234, 0x0000'0000'9100'000a, 0}, // Span 10
        {0x1234, 0x0000'0000'9100'0547, 0x9100'0d00},
    };
    for (auto const& c : cases) {
        smmu_unit u;
        u.strtab_base = 0x9000'0000;
        u.strtab_base_cfg = 0x0001'0210;
        u.memory[0x9000'0090] = c.descriptor;
        u.write_configuration();
        if (c.entry != 0)
            for (std::uint64_t i = 0; i < 8; ++i)
                u.memory[c.entry + i * 8] = u.ste.word[i];
        auto const answer = u.unit().translate(u.from(c.stream));
        CAPTURE(c.stream, c.descriptor);
        REQUIRE_FALSE(u.memory.trail.empty());
        CHECK(u.memory.trail[0] == 0x9000'0090);
        if (c.entry == 0) {
            CHECK(u.memory.trail.size() == 1);
            check_event(answer, event::c_bad_streamid, of_configuration(0x9000'0090, c.descriptor), u.at(), 0, 0, false);
        } else {
            REQUIRE(answer);
            CHECK(u.memory.trail[1] == c.entry);
        }
    }
}

TEST_CASE("smmu example 3: context descriptors in one and two levels") {
    struct {
        std::uint64_t d0;
        std::uint64_t level1;
        std::uint64_t descriptor;
    } const cases[] = {
        {0x8000'0000'9200'002b, 0x9200'0020, 0x9305'8d00},
        {0x8000'0000'9200'001b, 0x9200'0240, 0x9305'0d00},
        {0x8000'0000'9200'000b, 0, 0x9204'8d00},
    };
    for (auto const& c : cases) {
        smmu_unit u;
        u.ste.word[0] = c.d0;
        u.write_configuration();
        if (c.level1 != 0) u.memory[c.level1] = 0x9305'0001;
        write_descriptor(u, c.descriptor);
        auto r = u.with_substream(0x1234);
        auto const answer = u.unit().translate(r);
        CAPTURE(c.d0);
        REQUIRE(answer);
        CHECK(answer->output == pa{0x1'2345'6abc});
        std::size_t const at = c.level1 != 0 ? 5 : 4;
        if (c.level1 != 0) CHECK(u.memory.trail[4] == c.level1);
        CHECK(u.memory.trail[at] == c.descriptor);
        CHECK(u.unit().find(r)->pasid == 0x1234);
        r.pasid = 0x1'0000;
        check_event(u.unit().translate(r), event::c_bad_substreamid, of_configuration(0x8800'0a80, c.d0), u.at(), 0);
    }
    smmu::stream_table_entry const e(0x8000'0000'9200'002bu);
    CHECK(e.get<"V">() == 1);
    CHECK(e.configuration() == smmu::stream_configuration::stage1);
    CHECK(e.format() == smmu::context_format::two_levels_64k);
    CHECK(e.get<"S1ContextPtr">() == 0x9200'0000);
    CHECK(e.get<"S1CDMax">() == 16);
}

TEST_CASE("smmu example 4: requests without SubstreamID") {
    smmu_unit u;
    u.ste.word[0] = 0x8000'0000'9200'000b;
    u.ste.word[1] = 0x0000'1000'0000'00d6;
    CHECK(u.ste.get<"S1DSS">() == 2);
    CHECK(u.ste.get<"S1CIR">() == 1);
    CHECK(u.ste.get<"S1COR">() == 1);
    CHECK(u.ste.get<"S1CSH">() == 3);
    CHECK(u.ste.get<"SHCFG">() == 1);
    REQUIRE(u.translate());
    CHECK(u.memory.trail[4] == 0x9200'0000);
    check_event(u.translate(u.with_substream(0)), event::f_stream_disabled, of_configuration(0x8800'0a80, u.ste.word[0]), u.at(),
                0);
    u.ste.word[1] = 0x0000'1000'0000'00d4;
    CHECK(event_of(u.translate()) == event::f_stream_disabled);
    CHECK(u.translate(u.with_substream(0)));
    u.ste.word[1] = 0x0000'1000'0000'00d5;
    auto const passed = u.translate();
    REQUIRE(passed);
    CHECK(passed->output == pa{u.at()});
    CHECK(passed->by == passage::bypassed);
    CHECK(u.memory.trail.size() == 4);
}

TEST_CASE("smmu example 5: a context descriptor") {
    smmu::context_descriptor const d(0x0042'e205'c000'3510u);
    CHECK(d.get<"T0SZ">() == 16);
    CHECK(d.granule_of(smmu::half::lower) == smmu::granule::k4);
    CHECK(d.get<"IR0">() == 1);
    CHECK(d.get<"OR0">() == 1);
    CHECK(d.get<"SH0">() == 3);
    CHECK(d.get<"EPD0">() == 0);
    CHECK(d.get<"EPD1">() == 1);
    CHECK(d.get<"V">() == 1);
    CHECK(smmu::address_size(d.get<"IPS">()) == 48);
    CHECK(d.get<"AA64">() == 1);
    CHECK(d.get<"R">() == 1);
    CHECK(d.get<"A">() == 1);
    CHECK(d.get<"S">() == 0);
    CHECK(d.get<"ASET">() == 1);
    CHECK(d.get<"ASID">() == 0x42);
    CHECK(smmu::context_descriptor::make(0, 48, smmu::granule::k4, 48, 0x42).word[0] == 0x0042'e205'c000'3510);
    smmu::context_descriptor const both(0x0042'e205'b590'3510u);
    CHECK(both.get<"EPD1">() == 0);
    CHECK(both.get<"T1SZ">() == 16);
    CHECK(both.granule_of(smmu::half::upper) == smmu::granule::k4);
    smmu_unit u;
    u.cd.word[0] = 0x0042'ee05'c000'3510;
    CHECK(u.translate());
    u.idr0.set<"HTTU">(0);
    check_event(u.translate(), event::c_bad_cd, of_configuration(u.cd_at, 0x0042'ee05'c000'3510), u.at(),
                static_cast<std::uint64_t>(context_error::updates));
}

TEST_CASE("smmu example 6: a 4 KiB page of stage 1") {
    smmu_unit u;
    auto const found = u.translate();
    REQUIRE(found);
    CHECK(found->output == pa{0x1'2345'6abc});
    CHECK(found->lg2_size == 12);
    CHECK(found->by == passage::walked);
    CHECK(found->effective.rights().bits == (read | write).bits);
    CHECK(smmu::memory_in(found->effective) == smmu::memory_attributes{0xff, smmu::shareability::inner});
    CHECK(trail(u.memory.trail.begin() + 8, u.memory.trail.end()) == trail{0x9400'07f0, 0x9400'1240, 0x9400'2d10, 0x9400'3b38});
    for (access const a : {read, write, read_write, read | privileged, write | privileged})
        CHECK(u.translate(a));
    auto const fetched = u.translate(read | execute);
    check_event(fetched, event::f_permission, of_descriptor(fault_stage::first, 0, 0x9400'3b38, 0x0060'0001'2345'6f47), u.at(),
                class_input | is_read | is_instruction | 4);
    CHECK(event_of(u.translate(execute | privileged)) == event::f_permission);
}

TEST_CASE("smmu example 7: blocks of stage 1") {
    smmu_unit u;
    u.memory[u.l2] = 0x0000'0001'4000'0f01;
    auto found = u.translate(read | privileged);
    REQUIRE(found);
    CHECK(found->output == pa{0x1'4016'7abc});
    CHECK(found->lg2_size == 21);
    CHECK(event_of(u.translate(read)) == event::f_permission);
    u.memory[u.l1] = 0x0000'0002'4000'0f01;
    found = u.translate(read | privileged);
    REQUIRE(found);
    CHECK(found->output == pa{0x2'7456'7abc});
    CHECK(found->lg2_size == 30);
    u.memory[u.l0] = 0x0000'0002'4000'0f01;
    check_event(u.translate(read | privileged), event::f_translation,
                of_descriptor(fault_stage::first, 3, 0x9400'07f0, 0x0000'0002'4000'0f01), u.at(),
                class_input | is_read | is_privileged);
    smmu_unit v;
    v.memory[v.l3] = 0x0060'0001'2345'6f45;
    CHECK(event_of(v.translate()) == event::f_translation);
}

TEST_CASE("smmu example 8: 64 KiB tables of 52 bits") {
    smmu_unit u;
    u.widen();
    u.cd.word[0] = 0x0007'e206'c000'354c;
    u.cd.word[1] = 0x9600'0000;
    u.memory[0x9600'1578] = 0x0000'0000'9502'a003;
    u.memory[0xa'0000'9502'37b8] = 0x0000'0000'9503'3003;
    u.memory[0x3'0000'9503'8090] = 0x0000'1234'5678'ff43;
    std::uint64_t const at = 0x000a'bcde'f012'3456;
    auto const found = u.translate_at(at);
    REQUIRE(found);
    CHECK(found->output == pa{0xf'1234'5678'3456});
    CHECK(found->lg2_size == 16);
    CHECK(trail(u.memory.trail.begin() + 8, u.memory.trail.end()) == trail{0x9600'1578, 0xa'0000'9502'37b8, 0x3'0000'9503'8090});
    u.cd.word[0] = 0x0007'e205'c000'354c;
    check_event(u.translate_at(at), event::f_addr_size, of_descriptor(fault_stage::first, 2, 0x9600'1578, 0x9502'a003), at,
                class_input | is_read);
}

TEST_CASE("smmu example 10: stage 2 with two tables side by side") {
    smmu_unit u{smmu_kind::stage2};
    CHECK(u.ste.word[2] == 0x044d'3558'0000'0017);
    auto const found = u.translate();
    REQUIRE(found);
    CHECK(found->output == pa{0x3'1234'5678});
    CHECK(found->lg2_size == 12);
    CHECK(trail(u.memory.trail.begin() + 4, u.memory.trail.end()) == trail{0xa000'3000, 0xa001'0488, 0xa001'1a28});
    CHECK(u.find()->vmid() == 0x17);
    check_event(u.translate_at(0x100'0000'0000), event::f_translation, of_input(fault_stage::second), 0x100'0000'0000,
                class_input | is_second | is_read, 0x100'0000'0000);
}

TEST_CASE("smmu example 11: which start level fits which size") {
    struct {
        std::uint64_t t0sz;
        std::uint64_t sl0;
        bool legal;
    } const cases[] = {{24, 1, true},  {24, 2, true},  {25, 2, false}, {21, 1, true},
                       {20, 1, false}, {34, 1, false}, {30, 0, true},  {29, 0, false}};
    for (auto const& c : cases) {
        smmu_unit u{smmu_kind::stage2};
        u.ste.set<"S2T0SZ">(c.t0sz);
        u.ste.set<"S2SL0">(c.sl0);
        CAPTURE(c.t0sz, c.sl0);
        CHECK(u.entry_error() == (c.legal ? stream_entry_error::none : stream_entry_error::stage2_start));
    }
}

TEST_CASE("smmu example 12: two halves") {
    struct {
        std::uint64_t at;
        bool tbi0;
        bool tbi1;
        std::uint64_t first_load; // 0: F_TRANSLATION
    } const cases[] = {
        {0xffff'8000'1234'5678, false, false, 0x9500'0800},
        {0xaaff'8000'1234'5678, false, false, 0},
        {0xaaff'8000'1234'5678, true, false, 0},
        {0xaaff'8000'1234'5678, false, true, 0x9500'0800},
        {0xaaff'8000'1234'5678, true, true, 0x9500'0800},
        {0x0000'8000'0000'0000, false, false, 0x9400'0800},
        {0x0001'0000'0000'0000, false, false, 0},
        {0xffff'7fff'ffff'ffff, false, false, 0x9500'07f8},
        {0x5a00'0000'1234'5678, false, false, 0},
        {0x5a00'0000'1234'5678, true, false, 0x9400'0000},
        {0x5a00'0000'1234'5678, false, true, 0},
    };
    for (auto const& c : cases) {
        smmu_unit u;
        u.both_halves();
        u.cd.set<"TBI0">(c.tbi0);
        u.cd.set<"TBI1">(c.tbi1);
        u.memory[0x9500'0800] = 0x9500'1003;
        u.memory[0x9500'1000] = 0x9500'2003;
        u.memory[0x9500'2488] = 0x9500'3003;
        u.memory[0x9500'3a28] = 0x0000'0001'2345'6f43;
        CAPTURE(c.at, c.tbi0, c.tbi1);
        auto const answer = u.translate_at(c.at, read | privileged);
        REQUIRE(u.memory.trail.size() == (c.first_load == 0 ? 8 : (c.at & 0xffff'ffff'ffff) == 0x8000'1234'5678 ? 12 : 9));
        if (c.first_load == 0) {
            check_event(answer, event::f_translation, of_input(fault_stage::first), c.at, class_input | is_read | is_privileged);
        } else {
            CHECK(u.memory.trail[8] == c.first_load);
            if (u.memory.trail.size() == 12) {
                REQUIRE(answer);
                CHECK(answer->output == pa{0x1'2345'6678});
                CHECK(trail(u.memory.trail.begin() + 9, u.memory.trail.end()) == trail{0x9500'1000, 0x9500'2488, 0x9500'3a28});
            } else {
                // Nothing is mapped there; the event keeps the top byte.
                CHECK(event_of(answer) == event::f_translation);
                CHECK(answer.error().input == c.at);
            }
        }
        u.cd.set<"EPD1">(1);
        if ((c.at >> 55 & 1) != 0)
            check_event(u.translate_at(c.at, read | privileged), event::f_translation, of_input(fault_stage::first), c.at,
                        class_input | is_read | is_privileged);
    }
}

TEST_CASE("smmu example 13: what an event record says of the access") {
    smmu_unit u;
    u.memory[u.l3] = 0;
    auto const missed = [&](access a) { return u.translate(a); };
    CHECK(event_of(missed(write)) == event{0x10});
    CHECK(record_of(missed(write)) == 0x0000'0200'0000'0000);
    CHECK(missed(write).error().input == 0x0000'7f12'3456'7abc);
    CHECK(missed(write).error().intermediate == 0);
    CHECK(record_of(missed(read | privileged)) == 0x0000'020a'0000'0000);
    u.memory.poison(0x9400'1240);
    auto const aborted = u.translate(read);
    check_event(aborted, event{0x0b}, of_abort(fault_stage::first, 2, 0x9400'1240), u.at(), 0x0000'0108'0000'0000);
    smmu_unit v;
    v.memory[v.l3] = 0;
    v.cd.set<"S">(1);
    auto const stalled = v.translate(read);
    CHECK(record_of(stalled) == 0x0000'0208'8000'0000);
    CHECK(stalled.error().reported);
}

TEST_CASE("smmu example 15: access flag and dirty state of stage 1") {
    struct {
        bool updates;
        bool affd;
        access a;
        event code;
        std::uint64_t stored;
    } const cases[] = {
        {true, false, read, mapped, 0x0008'0001'2345'67c3},
        {true, false, write, mapped, 0x0008'0001'2345'6743},
        {false, false, read, event::f_access, 0x0008'0001'2345'63c3},
        {false, false, write, event::f_access, 0x0008'0001'2345'63c3},
        {false, true, read, mapped, 0x0008'0001'2345'63c3},
        {false, true, write, event::f_permission, 0x0008'0001'2345'63c3},
    };
    for (auto const& c : cases) {
        smmu_unit u;
        u.cd.set<"HA">(c.updates);
        u.cd.set<"HD">(c.updates);
        u.cd.set<"AFFD">(c.affd);
        u.memory[u.l3] = 0x0008'0001'2345'63c3;
        CAPTURE(c.updates, c.affd, c.a.bits);
        CHECK(event_of(u.translate(c.a)) == c.code);
        CHECK(u.memory[u.l3] == c.stored);
        CHECK(u.memory.updates.size() == (c.updates ? 1 : 0));
    }
}

TEST_CASE("smmu example 16: access flag and dirty state of stage 2") {
    smmu_unit u{smmu_kind::stage2};
    u.ste.set<"S2HA">(1);
    u.ste.set<"S2HD">(1);
    u.memory[u.s3] = 0x0008'0003'1234'537f;
    CHECK(u.translate(write));
    CHECK(u.memory[u.s3] == 0x0008'0003'1234'57ff);
    CHECK(u.memory.updates == std::vector<update>{{u.s3, 0x0008'0003'1234'537f, 0x0008'0003'1234'57ff}});
    u.ste.set<"S2HD">(0);
    u.memory[u.s3] = 0x0008'0003'1234'537f;
    auto const denied = u.translate(write);
    CHECK(event_of(denied) == event::f_permission);
    CHECK(record_of(denied) == (class_input | is_second));
    CHECK((u.memory[u.s3] & ~std::uint64_t{0x400}) == 0x0008'0003'1234'537f);
}

TEST_CASE("smmu example 17: the contiguous bit moves nothing") {
    smmu_unit u;
    u.cd.set<"T0SZ">(25);
    u.memory[0x9400'0008] = 0x9400'1003;
    u.memory[0x9400'1000] = 0x9400'2003;
    u.memory[0x9400'21b8] = 0x0010'0002'2003'7f43;
    auto const found = u.translate_at(0x4003'7123);
    REQUIRE(found);
    CHECK(found->output == pa{0x2'2003'7123});
    CHECK(trail(u.memory.trail.begin() + 8, u.memory.trail.end()) == trail{0x9400'0008, 0x9400'1000, 0x9400'21b8});
    CHECK(smmu::stage1<smmu::granule::k4>::contiguous_size(0) == 16);
}

TEST_CASE("smmu example 18: a 32 MiB block of 16 KiB tables") {
    smmu_unit u;
    u.cd.set<"T0SZ">(17);
    u.cd.set<"TG0">(2);
    u.cd.word[1] = 0xb000'0000;
    u.memory[0xb000'3d58] = 0xb000'4003;
    u.memory[0xb000'7378] = 0x0000'0005'4200'0f01;
    auto const found = u.translate_at(0x7abc'def0'1234, read | privileged);
    REQUIRE(found);
    CHECK(found->output == pa{0x5'42f0'1234});
    CHECK(found->lg2_size == 25);
    CHECK(trail(u.memory.trail.begin() + 8, u.memory.trail.end()) == trail{0xb000'3d58, 0xb000'7378});
    u.memory[0xb000'7378] = 0xb000'8003;
    u.memory[0xb000'8000 + 0x3c0 * 8] = 0x0000'0005'4200'0f03;
    CHECK(u.translate_at(0x7abc'def0'1234, read | privileged)->output == pa{0x5'4200'1234});
}

TEST_CASE("smmu example 20: addresses that are too wide") {
    smmu_unit b{smmu_kind::bypass};
    b.idr5.set<"OAS">(4); // 44 bits
    check_event(b.translate_at(0x1000'0000'0000), event::f_addr_size, of_input(fault_stage::first), 0x1000'0000'0000,
                class_input | is_read);
    CHECK(b.translate_at(0x0fff'ffff'ffff)->output == pa{0x0fff'ffff'ffff});
    b.cr0 = 0;
    check_event(b.translate_at(0x1000'0000'0000), event::none, of_configuration(), 0x1000'0000'0000, 0, 0, false);
    smmu_unit u;
    u.idr5.set<"OAS">(4);
    u.cd.set<"IPS">(2); // 40 bits
    for (std::uint64_t const leaf :
         {std::uint64_t{0x0000'2000'0000'0f43}, std::uint64_t{0x0000'2000'0000'0b43}, std::uint64_t{0x0000'2000'0000'0bc3}}) {
        u.memory[u.l3] = leaf;
        check_event(u.translate(write), event::f_addr_size, of_descriptor(fault_stage::first, 0, u.l3, leaf), u.at(),
                    class_input);
    }
}

} // namespace stagewalk::test
