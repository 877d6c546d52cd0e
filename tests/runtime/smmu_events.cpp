// The SMMU's event records bit by bit, what becomes of a fault (S, R and A, S2S and S2R), and its event queue.
#include "smmu_unit.hpp"

#include <stagewalk/smmu/event_record.hpp>

#include <cstdint>
#include <ostream>
#include <vector>

namespace stagewalk {
inline namespace v0 {
namespace smmu {

inline std::ostream& operator<<(std::ostream& out, event_delivery d) { return out << "delivery " << static_cast<unsigned>(d); }

} // namespace smmu
} // namespace v0
} // namespace stagewalk

namespace stagewalk::test {
namespace {

using smmu::event_delivery;
using smmu::event_record;
using smmu::request_type;

constexpr auto both = smmu_kind::nested;
constexpr auto second = smmu_kind::stage2;

// The record of a request that fails, as it would be stored.
event_record record_for(smmu_unit& u, smmu::request const& r, std::uint16_t tag = 0) {
    auto const answer = u.translate(r);
    if (answer) FAIL("translated");
    return smmu::to_record(answer.error(), r, u.caps(), tag);
}

void check_words(event_record const& e, std::uint64_t w0, std::uint64_t w1, std::uint64_t w2, std::uint64_t w3) {
    CHECK(e.word[0] == w0);
    CHECK(e.word[1] == w1);
    CHECK(e.word[2] == w2);
    CHECK(e.word[3] == w3);
}

event_record made(std::uint64_t w0, std::uint64_t w1 = 0, std::uint64_t w2 = 0, std::uint64_t w3 = 0) {
    event_record e;
    e.word[0] = w0;
    e.word[1] = w1;
    e.word[2] = w2;
    e.word[3] = w3;
    return e;
}

} // namespace

// --- the records, by type ----------------------------------------------------------------------------------------------

TEST_CASE("smmu record 01: F_UUT has the access as it came, and no stage") {
    fault<event> f;
    f.code = event::f_uut;
    f.input = 0x5a00'0000'1234'5678;
    f.detail = smmu::fault_detail::privileged | smmu::fault_detail::instruction | smmu::fault_detail::reading;
    smmu_unit u;
    check_words(smmu::to_record(f, u.with_substream(0x12345), u.caps()), 0x0000'002a'1234'5801, 0x0000'000e'0000'0000,
                0x5a00'0000'1234'5678, 0);
}

TEST_CASE("smmu record 02: C_BAD_STREAMID, of a linear table and of two levels") {
    smmu_unit u;
    auto r = u.from(0x100);
    check_words(record_for(u, r), 0x0000'0100'0000'0002, 0, 0, 0);
    r.pasid = 0xfffff;
    check_words(record_for(u, r), 0x0000'0100'ffff'f802, 0, 0, 0);
    r.source = 0xffff'ffff;
    r.pasid = 0;
    check_words(record_for(u, r), 0xffff'ffff'0000'0802, 0, 0, 0);
    u.strtab_base = 0x9000'0000;
    u.strtab_base_cfg = 0x0001'0210;
    u.memory[0x9000'0090] = 0x9100'000a;
    check_words(record_for(u, u.from(0x1234)), 0x0000'1234'0000'0002, 0, 0, 0);
}

TEST_CASE("smmu record 03: F_STE_FETCH has its address in word 3") {
    smmu_unit u;
    u.write_configuration();
    u.memory.poison(u.ste_at + 8);
    check_words(record_for(u, u.ask(write | privileged)), 0x0000'002a'0000'0003, 0, 0, 0x8800'0a80);
    u.strtab_base_cfg = 0x0001'0210; // two levels: the level-1 table is not there
    u.strtab_base = 0x9000'0000;
    check_words(record_for(u, u.from(0x1234)), 0x0000'1234'0000'0003, 0, 0, 0x9000'0090);
    // An address beyond OAS is not read, and its upper bits are not told.
    u.memory[0x9000'0090] = 0x0041'0000'9100'0007;
    check_words(record_for(u, u.from(0x1234)), 0x0000'1234'0000'0003, 0, 0, 0x0000'0000'9100'0d00);
}

TEST_CASE("smmu record 04: C_BAD_STE tells no reason") {
    smmu_unit u;
    u.ste.set<"V">(0);
    check_words(record_for(u, u.ask()), 0x0000'002a'0000'0004, 0, 0, 0);
    check_words(record_for(u, u.with_substream(0xabcde)), 0x0000'002a'abcd'e804, 0, 0, 0);
}

TEST_CASE("smmu record 05: F_BAD_ATS_TREQ has the address") {
    smmu_unit u;
    auto r = u.with_substream(0x1);
    r.type = request_type::translation;
    check_words(record_for(u, r), 0x0000'002a'0000'1805, 0, 0x7f12'3456'7abc, 0);
    u.cr0 = 0;
    check_words(record_for(u, r), 0x0000'002a'0000'1805, 0, 0x7f12'3456'7abc, 0);
}

TEST_CASE("smmu record 06: F_STREAM_DISABLED has the StreamID alone") {
    smmu_unit u;
    u.ste.word[0] = 0x8000'0000'9200'000b; // S1CDMax 16
    u.ste.word[1] = 0x0000'1000'0000'00d6; // S1DSS 10
    u.strtab_base_cfg = 0xd;
    u.strtab_base = 0x8800'0000;
    auto r = u.with_substream(0);
    check_words(record_for(u, r), 0x0000'002a'0000'0006, 0, 0, 0);
    u.ste.set<"S1DSS">(0);
    check_words(record_for(u, u.ask(write)), 0x0000'002a'0000'0006, 0, 0, 0);
    // Example 4, StreamID 1234h.
    r.source = 0x1234;
    u.write_configuration();
    for (std::uint64_t i = 0; i < 8; ++i)
        u.memory[0x8804'8d00 + i * 8] = u.ste.word[i] | (i == 1 ? 2 : 0);
    auto const answer = u.unit().translate(r);
    REQUIRE_FALSE(answer);
    check_words(smmu::to_record(answer.error(), r, u.caps()), 0x0000'1234'0000'0006, 0, 0, 0);
}

TEST_CASE("smmu record 07: F_TRANSL_FORBIDDEN has the address and RnW, and no SubstreamID") {
    smmu_unit u;
    u.cr0 = 0x11; // ATSCHK
    for (access const a : {read, write, read_write, read | privileged, execute}) {
        auto r = u.with_substream(0x77, a);
        r.type = request_type::translated;
        CAPTURE(a.bits);
        check_words(record_for(u, r), 0x0000'002a'0000'0007, a.covers(write) ? 0 : 0x0000'0008'0000'0000, 0x7f12'3456'7abc, 0);
    }
}

TEST_CASE("smmu record 08: C_BAD_SUBSTREAMID has the SubstreamID without SSV") {
    smmu_unit u;
    check_words(record_for(u, u.with_substream(0x12345)), 0x0000'002a'1234'5008, 0, 0, 0);
    u.ste.word[0] = 0x8000'0000'9200'002b; // two levels, and no level-1 descriptor
    u.ste.word[1] = 0x0000'1000'0000'00d6; // S1DSS 10: SubstreamID 0 is meant
    check_words(record_for(u, u.ask()), 0x0000'002a'0000'0008, 0, 0, 0);
    check_words(record_for(u, u.with_substream(5)), 0x0000'002a'0000'5008, 0, 0, 0);
}

TEST_CASE("smmu record 09: F_CD_FETCH has its physical address in word 3, nested too") {
    smmu_unit u;
    u.write_configuration();
    u.memory.poison(u.cd_at);
    check_words(record_for(u, u.ask(write)), 0x0000'002a'0000'0009, 0, 0, 0x9200'0000);
    smmu_unit n{both};
    n.write_configuration();
    n.memory.poison(n.where(n.cd_at) + 8);
    check_words(record_for(n, n.ask(write)), 0x0000'002a'0000'0009, 0, 0, 0x3'9200'0000);
}

TEST_CASE("smmu record 0A: C_BAD_CD tells no reason") {
    smmu_unit u;
    u.cd.set<"V">(0);
    check_words(record_for(u, u.ask()), 0x0000'002a'0000'000a, 0, 0, 0);
}

TEST_CASE("smmu record 0B: F_WALK_EABT of each stage, with the class of what was wanted") {
    smmu_unit u; // example 13
    u.memory.poison(u.l1);
    check_words(record_for(u, u.ask()), 0x0000'002a'0000'000b, 0x0000'0108'0000'0000, 0x7f12'3456'7abc, 0x9400'1240);
    smmu_unit n{both};
    n.memory.poison(n.where(n.l3));
    check_words(record_for(n, n.ask(write | privileged)), 0x0000'002a'0000'000b, 0x0000'0102'0000'0000, 0x7f12'3456'7abc,
                0x3'9400'3b38);
    struct {
        std::uint64_t descriptor;
        std::uint64_t flags;
    } const cases[] = {{smmu_unit::n_cd, 0x0000'0088'0000'0000},
                       {smmu_unit::n_table, 0x0000'0188'0000'0000},
                       {smmu_unit::n_out, 0x0000'0288'0000'0000}};
    for (auto const& c : cases) {
        smmu_unit v{both};
        v.memory.poison(c.descriptor);
        CAPTURE(c.descriptor);
        check_words(record_for(v, v.ask()), 0x0000'002a'0000'000b, c.flags, 0x7f12'3456'7abc, c.descriptor);
    }
    smmu_unit s{second};
    s.memory.poison(s.s2);
    check_words(record_for(s, s.ask(read | execute)), 0x0000'002a'0000'000b, 0x0000'028c'0000'0000, 0x80'1234'5678, s.s2);
    // An update that memory refuses.
    smmu_unit f;
    f.cd.set<"HA">(1);
    f.first(f.l3) &= ~std::uint64_t{0x400};
    f.memory.freeze(f.l3);
    check_words(record_for(f, f.ask(write)), 0x0000'002a'0000'000b, 0x0000'0100'0000'0000, 0x7f12'3456'7abc, f.l3);
}

TEST_CASE("smmu record 10: F_TRANSLATION, example 13") {
    smmu_unit u;
    u.first(u.l3) = 0;
    check_words(record_for(u, u.ask(write)), 0x0000'002a'0000'0010, 0x0000'0200'0000'0000, 0x7f12'3456'7abc, 0);
    check_words(record_for(u, u.ask(read | privileged)), 0x0000'002a'0000'0010, 0x0000'020a'0000'0000, 0x7f12'3456'7abc, 0);
    check_words(record_for(u, u.ask(execute)), 0x0000'002a'0000'0010, 0x0000'020c'0000'0000, 0x7f12'3456'7abc, 0);
    u.cd.set<"S">(1);
    check_words(record_for(u, u.ask(), 0x203), 0x0000'002a'0000'0010, 0x0000'0208'8000'0203, 0x7f12'3456'7abc, 0);
    CHECK(record_for(u, u.ask(), 0x203).get<"STAG">() == 0x203);
    // The top byte of the address stays.
    u.cd.set<"S">(0);
    u.cd.set<"TBI0">(1);
    check_words(record_for(u, u.ask_at(0x5a00'7f12'3456'7abc)), 0x0000'002a'0000'0010, 0x0000'0208'0000'0000,
                0x5a00'7f12'3456'7abc, 0);
    // Stage 2: the intermediate address, its low 12 bits 0.
    smmu_unit s{second};
    s.memory[s.s3] = 0;
    check_words(record_for(s, s.ask()), 0x0000'002a'0000'0010, 0x0000'0288'0000'0000, 0x80'1234'5678, 0x80'1234'5000);
    smmu_unit n{both};
    n.memory[n.n_out] = 0;
    check_words(record_for(n, n.ask(write)), 0x0000'002a'0000'0010, 0x0000'0280'0000'0000, 0x7f12'3456'7abc, 0x1'2345'6000);
    n.memory[n.n_table] = 0;
    check_words(record_for(n, n.ask(write)), 0x0000'002a'0000'0010, 0x0000'0180'0000'0000, 0x7f12'3456'7abc, 0x9400'0000);
    n.memory[n.n_cd] = 0;
    check_words(record_for(n, n.ask(write)), 0x0000'002a'0000'0010, 0x0000'0080'0000'0000, 0x7f12'3456'7abc, 0x9200'0000);
}

TEST_CASE("smmu record 11: F_ADDR_SIZE of a bypass, of stage 1 and of stage 2") {
    smmu_unit b{smmu_kind::bypass};
    check_words(record_for(b, b.ask_at(0xffff'0000'0000'0123, write)), 0x0000'002a'0000'0011, 0x0000'0200'0000'0000,
                0xffff'0000'0000'0123, 0);
    smmu_unit u;
    u.cd.set<"IPS">(2);
    u.first(u.l3) = 0x0000'2000'0000'0f43;
    check_words(record_for(u, u.ask(read)), 0x0000'002a'0000'0011, 0x0000'0208'0000'0000, 0x7f12'3456'7abc, 0);
    smmu_unit s{second};
    s.ste.set<"S2PS">(2);
    s.memory[s.s3] = 0x0000'0100'0000'07ff;
    check_words(record_for(s, s.ask()), 0x0000'002a'0000'0011, 0x0000'0288'0000'0000, 0x80'1234'5678, 0x80'1234'5000);
}

TEST_CASE("smmu record 12: F_ACCESS") {
    smmu_unit u;
    u.first(u.l3) &= ~std::uint64_t{0x400};
    check_words(record_for(u, u.with_substream(smmu::no_pasid, write)), 0x0000'002a'0000'0012, 0x0000'0200'0000'0000,
                0x7f12'3456'7abc, 0);
    smmu_unit n{both};
    n.memory[n.n_table] &= ~std::uint64_t{0x400};
    check_words(record_for(n, n.ask(privileged)), 0x0000'002a'0000'0012, 0x0000'018a'0000'0000, 0x7f12'3456'7abc, 0x9400'0000);
}

TEST_CASE("smmu record 13: F_PERMISSION, and TTRnW with CLASS = TT alone") {
    smmu_unit u;
    u.first(u.l3) |= 0x80;
    check_words(record_for(u, u.ask(write)), 0x0000'002a'0000'0013, 0x0000'0200'0000'0000, 0x7f12'3456'7abc, 0);
    smmu_unit n{both};
    n.memory[n.n_out] = 0x7'4000'077d;
    check_words(record_for(n, n.ask(write)), 0x0000'002a'0000'0013, 0x0000'0280'0000'0000, 0x7f12'3456'7abc, 0x1'2345'6000);
    n.memory[n.n_table] = 0x3'9400'07bd; // not readable
    check_words(record_for(n, n.ask(write)), 0x0000'002a'0000'0013, 0x0000'1180'0000'0000, 0x7f12'3456'7abc, 0x9400'0000);
    check_words(record_for(n, n.ask(read)), 0x0000'002a'0000'0013, 0x0000'1188'0000'0000, 0x7f12'3456'7abc, 0x9400'0000);
    n.memory[n.n_table] = 0x3'9400'077d; // not writable
    n.cd.set<"HA">(1);
    n.first(n.l3) &= ~std::uint64_t{0x400};
    check_words(record_for(n, n.ask(read)), 0x0000'002a'0000'0013, 0x0000'0188'0000'0000, 0x7f12'3456'7abc, 0x9400'3000);
    n.memory[n.n_cd] = 0x3'9200'07bd;
    check_words(record_for(n, n.ask(write)), 0x0000'002a'0000'0013, 0x0000'0080'0000'0000, 0x7f12'3456'7abc, 0x9200'0000);
}

TEST_CASE("smmu record 20, 21, 25: what only other units raise") {
    smmu_unit u;
    fault<event> f;
    f.stage = fault_stage::second;
    f.input = 0x1234'5678;
    f.intermediate = 0x9abc'def0;
    f.descriptor = 0xffff'ffff'ffff'ffff;
    f.code = event::f_tlb_conflict;
    f.detail = smmu::fault_detail::second_stage | smmu::fault_detail::reading;
    check_words(smmu::to_record(f, u.ask(), u.caps()), 0x0000'002a'0000'0020, 0x0000'0088'0000'0000, 0x1234'5678, 0x9abc'd000);
    f.code = event::f_cfg_conflict;
    check_words(smmu::to_record(f, u.with_substream(2), u.caps()), 0x0000'002a'0000'2821, 0, 0, 0);
    f.code = event::f_vms_fetch;
    check_words(smmu::to_record(f, u.ask(), u.caps()), 0x0000'002a'0000'0025, 0, 0, 0x0000'ffff'ffff'fff8);
}

TEST_CASE("smmu record 24: E_PAGE_REQUEST is what its fields say") {
    smmu::page_request_record e;
    e.set<"TYPE">(static_cast<std::uint64_t>(event::e_page_request));
    e.set<"SSV">(1);
    e.set<"SubstreamID">(0x12345);
    e.set<"StreamID">(0x2a);
    e.set<"uW">(1);
    e.set<"pR">(1);
    e.set<"Span">(0xff);
    e.set<"InputAddr">(0x7f12'3456'7000);
    CHECK(e.word[0] == 0x0000'002a'1234'5824);
    CHECK(e.word[1] == 0x000f'f084'0000'0000);
    CHECK(e.word[2] == 0x7f12'3456'7000);
    CHECK(e.word[3] == 0);
    using record = smmu::page_request_record;
    CHECK(record::mask<"uX">() == std::uint64_t{1} << 33);
    CHECK(record::mask<"uW">() == std::uint64_t{1} << 34);
    CHECK(record::mask<"uR">() == std::uint64_t{1} << 35);
    CHECK(record::mask<"pX">() == std::uint64_t{1} << 37);
    CHECK(record::mask<"pW">() == std::uint64_t{1} << 38);
    CHECK(record::mask<"pR">() == std::uint64_t{1} << 39);
    CHECK(sizeof e == 32);
}

// --- the rules ------------------------------------------------------------------------------------------------------------

TEST_CASE("smmu record: SSV and the SubstreamID of a walk's fault") {
    smmu_unit u;
    u.ste.word[0] = 0x8000'0000'9200'000b;
    u.ste.word[1] = 0x0000'1000'0000'00d6;
    u.write_configuration();
    for (std::uint64_t i = 0; i < 8; ++i)
        u.memory[0x9200'0000 + 0x1234 * 64 + i * 8] = u.cd.word[i];
    u.first(u.l3) = 0;
    check_words(record_for(u, u.with_substream(0x1234)), 0x0000'002a'0123'4810, 0x0000'0208'0000'0000, 0x7f12'3456'7abc, 0);
    // The default substream is not one that the request has named.
    check_words(record_for(u, u.ask()), 0x0000'002a'0000'0010, 0x0000'0208'0000'0000, 0x7f12'3456'7abc, 0);
}

TEST_CASE("smmu record: PnU and InD as the entry overrides them, InD only of reads") {
    struct {
        access asked;
        std::uint64_t privcfg;
        std::uint64_t instcfg;
        std::uint64_t flags;
    } const cases[] = {
        {read, 0, 0, 0x208},
        {read | privileged, 1, 1, 0x20a},
        {read | privileged | execute, 0, 0, 0x20e},
        {read | privileged | execute, 2, 2, 0x208},
        {read, 3, 3, 0x20e},
        {write, 3, 3, 0x202},
        {write | execute, 0, 0, 0x200},
        {read_write | execute, 0, 3, 0x200},
    };
    for (auto const& c : cases) {
        smmu_unit u;
        u.first(u.l3) = 0;
        u.ste.set<"PRIVCFG">(c.privcfg);
        u.ste.set<"INSTCFG">(c.instcfg);
        CAPTURE(c.asked.bits, c.privcfg, c.instcfg);
        CHECK(record_for(u, u.ask(c.asked)).word[1] == c.flags << 32);
        u.idr1.set<"ATTR_PERMS_OVR">(0);
        bool const fetches = c.asked.covers(execute) && !c.asked.covers(write);
        std::uint64_t const raw =
            0x200u | (c.asked.covers(privileged) ? 2u : 0u) | (fetches ? 4u : 0u) | (c.asked.covers(write) ? 0u : 8u);
        CHECK(record_for(u, u.ask(c.asked)).word[1] == raw << 32);
    }
}

TEST_CASE("smmu record: an atomic that lacks the right to read says RnW = 1, from SMMUv3.1 on") {
    for (std::uint32_t const minor : {0u, 1u, 2u, 4u})
        for (std::uint64_t rights = 0; rights < 4; ++rights) { // S2AP
            smmu_unit u{second};
            u.aidr = minor;
            u.memory[u.s3] = (u.memory[u.s3] & ~std::uint64_t{0xc0}) | rights << 6;
            CAPTURE(minor, rights);
            auto const r = u.ask(read_write);
            if (rights == 3) {
                CHECK(u.translate(r));
                continue;
            }
            bool const lacks_read = (rights & 1) == 0;
            CHECK(record_for(u, r).word[1] == (lacks_read && minor >= 1 ? 0x0000'0288'0000'0000u : 0x0000'0280'0000'0000u));
            if ((rights & 2) == 0) CHECK(record_for(u, u.ask(write)).word[1] == 0x0000'0280'0000'0000u);
        }
    // Other faults of an atomic are those of a write.
    smmu_unit u{second};
    u.memory[u.s3] = 0;
    CHECK(record_for(u, u.ask(read_write)).word[1] == 0x0000'0280'0000'0000u);
}

TEST_CASE("smmu record: no bit of IPA and FetchAddr beyond OAS") {
    constexpr std::uint64_t bits[]{32, 36, 40, 42, 44, 48, 52};
    for (std::uint64_t oas = 0; oas < 7; ++oas) {
        smmu_unit u;
        u.idr5.set<"OAS">(oas);
        fault<event> f;
        f.stage = fault_stage::second;
        f.intermediate = f.descriptor = every_bit;
        std::uint64_t const reach = (std::uint64_t{1} << bits[oas]) - 1;
        CAPTURE(oas);
        for (event const e : {event::f_translation, event::f_addr_size, event::f_access, event::f_permission}) {
            f.code = e;
            CHECK(smmu::to_record(f, u.ask(), u.caps()).word[3] == (reach & ~std::uint64_t{0xfff}));
        }
        for (event const e : {event::f_ste_fetch, event::f_cd_fetch, event::f_walk_eabt}) {
            f.code = e;
            CHECK(smmu::to_record(f, u.ask(), u.caps()).word[3] == (reach & ~std::uint64_t{7}));
        }
    }
}

TEST_CASE("smmu record: a stage-1 fault has no IPA, whatever the fault says") {
    smmu_unit u;
    fault<event> f;
    f.code = event::f_permission;
    f.stage = fault_stage::first;
    f.intermediate = f.descriptor = every_bit;
    CHECK(smmu::to_record(f, u.ask(), u.caps()).word[3] == 0);
}

TEST_CASE("smmu record: STAG only where Stall, and nothing else of bits 79:64") {
    smmu_unit u;
    u.first(u.l3) |= 0x80;
    CHECK((record_for(u, u.ask(write), 0xffff).word[1] & 0xffff'ffff) == 0);
    u.cd.set<"S">(1);
    CHECK((record_for(u, u.ask(write), 0xffff).word[1] & 0xffff'ffff) == 0x8000'ffff);
    CHECK((record_for(u, u.ask(write), 0).word[1] & 0xffff'ffff) == 0x8000'0000);
}

// --- what becomes of an access -------------------------------------------------------------------------------------------

TEST_CASE("smmu S, R and A of a context: reported, stalled, reading zero, and the record") {
    struct {
        event code;
        std::uint64_t entry;
    } const causes[] = {{event::f_translation, 0},
                        {event::f_addr_size, 0x0000'2000'0000'0f43},
                        {event::f_access, 0x0060'0001'2345'6b47},
                        {event::f_permission, 0x0060'0001'2345'6fc7}};
    for (auto const& c : causes)
        for (std::uint64_t bits = 0; bits < 8; ++bits) {
            smmu_unit u;
            bool const s = (bits & 4) != 0;
            bool const r = (bits & 2) != 0;
            bool const a = (bits & 1) != 0;
            u.cd.set<"S">(s);
            u.cd.set<"R">(r);
            u.cd.set<"A">(a);
            u.cd.set<"IPS">(2);
            u.first(u.l3) = c.entry;
            CAPTURE(static_cast<unsigned>(c.code), s, r, a);
            auto const answer = u.translate(write);
            REQUIRE_FALSE(answer);
            auto const& f = answer.error();
            CHECK(f.code == c.code);
            CHECK(f.reported == (s || r));
            CHECK(((f.detail & smmu::fault_detail::stalled) != 0) == s);
            CHECK(((f.detail & smmu::fault_detail::reads_zero) != 0) == (!s && !a));
            CHECK(smmu::to_record(f, u.ask(write), u.caps(), 9).word[1] == (0x0000'0200'0000'0000u | (s ? 0x8000'0009u : 0u)));
        }
    // Everything else is told, and aborts.
    for (std::uint64_t bits = 0; bits < 8; ++bits) {
        smmu_unit u;
        u.cd.set<"S">(bits >> 2);
        u.cd.set<"R">(bits >> 1 & 1);
        u.cd.set<"A">(bits & 1);
        u.memory.poison(u.l2);
        auto const answer = u.translate();
        CHECK(event_of(answer) == event::f_walk_eabt);
        CHECK(answer.error().reported);
        CHECK((answer.error().detail & (smmu::fault_detail::stalled | smmu::fault_detail::reads_zero)) == 0);
    }
}

TEST_CASE("smmu S2S and S2R: faults of stage 2 of each class, whatever the context says") {
    for (std::uint64_t const at : {smmu_unit::n_cd, smmu_unit::n_table, smmu_unit::n_out})
        for (std::uint64_t bits = 0; bits < 32; ++bits) {
            smmu_unit u{both};
            bool const s2s = (bits & 1) != 0;
            bool const s2r = (bits & 2) != 0;
            u.ste.set<"S2S">(s2s);
            u.ste.set<"S2R">(s2r);
            u.cd.set<"S">(bits >> 2 & 1);
            u.cd.set<"R">(bits >> 3 & 1);
            u.cd.set<"A">(bits >> 4);
            u.memory[at] = 0;
            CAPTURE(at, bits);
            auto const answer = u.translate();
            REQUIRE_FALSE(answer);
            auto const& f = answer.error();
            CHECK(f.code == event::f_translation);
            CHECK(f.reported == (s2s || s2r));
            CHECK(((f.detail & smmu::fault_detail::stalled) != 0) == s2s);
            CHECK((f.detail & smmu::fault_detail::reads_zero) == 0);
            auto const e = smmu::to_record(f, u.ask(), u.caps(), 0x8001);
            CHECK(e.get<"Stall">() == s2s);
            CHECK(e.get<"STAG">() == (s2s ? 0x8001 : 0));
        }
}

TEST_CASE("smmu: what passes stage 1 by and is too wide aborts and is told, whatever S2S and S2R say") {
    for (std::uint64_t bits = 0; bits < 4; ++bits) {
        smmu_unit u{second};
        u.ste.set<"S2S">(bits & 1);
        u.ste.set<"S2R">(bits >> 1);
        check_event(u.translate_at(0x1'0000'0000'0000), event::f_addr_size, of_input(fault_stage::first), 0x1'0000'0000'0000,
                    class_input | is_read);
    }
}

// --- merging ---------------------------------------------------------------------------------------------------------------

TEST_CASE("smmu merge: identical records, where MEV allows it, and 01 to 04 without") {
    for (std::uint64_t type = 1; type < 0x26; ++type)
        for (bool const mev : {false, true}) {
            CAPTURE(type, mev);
            auto const e = made(type | 0x2a'0000'0000, 0x0000'0208'0000'0000, 0x7f12'3456'7abc, 0x1000);
            CHECK(smmu::may_merge(e, e, mev) == (mev || type <= 4));
            auto const stalled = made(type | 0x2a'0000'0000, 0x0000'0208'8000'0000, 0x7f12'3456'7abc, 0x1000);
            CHECK_FALSE(smmu::may_merge(stalled, stalled, mev));
            CHECK_FALSE(smmu::may_merge(e, stalled, mev));
            CHECK_FALSE(smmu::may_merge(stalled, e, mev));
        }
}

TEST_CASE("smmu merge: every bit counts, but those of the address within a page where there is one") {
    for (std::uint64_t const type : {0x02u, 0x03u, 0x04u, 0x05u, 0x06u, 0x07u, 0x08u, 0x09u, 0x0au, 0x0bu, 0x10u, 0x11u, 0x12u,
                                     0x13u, 0x20u, 0x21u, 0x24u, 0x25u}) {
        bool const within = type == 7 || type == 0xb || (type >= 0x10 && type <= 0x13) || type == 0x20;
        for (unsigned n = 0; n < 256; ++n) {
            if (n == 95) continue; // Stall
            auto const e = made(type);
            auto other = e;
            other.word[n / 64] ^= one_bit(n % 64);
            CAPTURE(type, n);
            if (n < 8) {
                CHECK_FALSE(smmu::may_merge(e, other, true));
                continue;
            }
            CHECK(smmu::may_merge(e, other, true) == (within && n >= 128 && n < 140));
        }
    }
}

TEST_CASE("smmu merge: faults of one page, not of two, and not of a read and a write") {
    smmu_unit u;
    u.first(u.l3) = 0;
    auto const one = record_for(u, u.ask());
    CHECK(smmu::may_merge(one, record_for(u, u.ask_at(u.at() ^ 0xfff)), true));
    CHECK_FALSE(smmu::may_merge(one, record_for(u, u.ask_at(u.at() ^ 0xfff)), false));
    CHECK_FALSE(smmu::may_merge(one, record_for(u, u.ask_at(u.at() ^ 0x1000)), true));
    CHECK_FALSE(smmu::may_merge(one, record_for(u, u.ask(write)), true));
    u.ste.set<"V">(0);
    CHECK(smmu::may_merge(record_for(u, u.ask()), record_for(u, u.ask_at(0, write)), false));
}

// --- the queue ---------------------------------------------------------------------------------------------------------------

TEST_CASE("smmu event queue: the index wraps, and the wrap bit turns") {
    for (std::uint64_t const lg2 : {0u, 1u, 2u, 5u, 19u}) {
        smmu::event_queue q;
        q.lg2_size = lg2;
        q.enabled = true;
        std::uint32_t const size = 1u << lg2;
        // Twice over each end.
        for (std::uint32_t const from : {size - 1, 2 * size - 1}) {
            q.prod = q.cons = from;
            for (std::uint32_t n = from; n < from + 4; ++n) {
                CAPTURE(lg2, n);
                CHECK(q.next() == n % size * 32u);
                CHECK(q.prod == n % (2 * size));
                CHECK(q.take(made(0x10)) == event_delivery::written);
                CHECK(q.is_full() == (size == 1));
                q.cons = q.prod;
                CHECK_FALSE(q.is_full());
            }
        }
    }
}

TEST_CASE("smmu event queue: full, one overflow until it is acknowledged") {
    smmu::event_queue q;
    q.lg2_size = 2;
    q.enabled = true;
    q.prod = q.cons = 6; // index 2, the second time round
    for (unsigned i = 0; i < 4; ++i) {
        CHECK_FALSE(q.is_full());
        CHECK(q.take(made(0x10)) == event_delivery::written);
    }
    CHECK(q.prod == 2);
    CHECK(q.is_full());
    CHECK_FALSE(q.has_overflowed());
    CHECK(q.take(made(0x10)) == event_delivery::dropped);
    CHECK(q.prod == 0x8000'0002);
    CHECK(q.has_overflowed());
    CHECK(q.take(made(0x02)) == event_delivery::dropped);
    CHECK(q.prod == 0x8000'0002);
    // Software makes room, and acknowledges later: records go in, and the flag stays.
    q.cons = 7;
    CHECK_FALSE(q.is_full());
    CHECK(q.take(made(0x10)) == event_delivery::written);
    CHECK(q.prod == 0x8000'0003);
    CHECK(q.take(made(0x10)) == event_delivery::dropped);
    CHECK(q.prod == 0x8000'0003);
    q.cons |= 0x8000'0000;
    CHECK_FALSE(q.has_overflowed());
    CHECK(q.is_full()); // the flags are no part of the index
    CHECK(q.take(made(0x10)) == event_delivery::dropped);
    CHECK(q.prod == 3);
    CHECK(q.has_overflowed());
}

TEST_CASE("smmu event queue: off or failed, records vanish without a word") {
    for (bool const full : {false, true}) {
        smmu::event_queue q;
        q.lg2_size = 3;
        q.prod = full ? 8 : 0;
        auto const before = q.prod;
        CHECK(q.take(made(0x10)) == event_delivery::ignored);
        q.enabled = true;
        q.failed = true;
        CHECK(q.take(made(0x10)) == event_delivery::ignored);
        CHECK(q.prod == before);
    }
}

TEST_CASE("smmu event queue: what stalls waits, and is never lost") {
    auto const stalled = made(0x10, 0x8000'0000);
    smmu::event_queue q;
    q.lg2_size = 0;
    CHECK(q.take(stalled) == event_delivery::waits);
    q.enabled = true;
    q.failed = true;
    CHECK(q.take(stalled) == event_delivery::waits);
    q.failed = false;
    CHECK(q.take(stalled) == event_delivery::written);
    CHECK(q.is_full());
    CHECK(q.take(stalled) == event_delivery::waits);
    CHECK(q.prod == 1);
    CHECK_FALSE(q.has_overflowed());
    q.cons = 1;
    CHECK(q.take(stalled) == event_delivery::written);
    CHECK(q.prod == 0);
}

TEST_CASE("smmu event queue: a record goes where the index was, all 32 bytes of it") {
    smmu_unit u;
    u.first(u.l3) = 0;
    std::vector<event_record> stored(4);
    smmu::event_queue q;
    q.lg2_size = 2;
    q.enabled = true;
    q.prod = q.cons = 3;
    for (access const a : {read, write}) {
        auto const e = record_for(u, u.ask(a));
        std::uint64_t const at = q.next();
        REQUIRE(q.take(e) == event_delivery::written);
        stored[at / sizeof(event_record)] = e;
    }
    check_words(stored[3], 0x0000'002a'0000'0010, 0x0000'0208'0000'0000, 0x7f12'3456'7abc, 0);
    check_words(stored[0], 0x0000'002a'0000'0010, 0x0000'0200'0000'0000, 0x7f12'3456'7abc, 0);
}

} // namespace stagewalk::test
