// SMMU commands: section S8 of docs/coverage.md and worked examples 13 and 19, word by word and condition by condition.
#include "catch.hpp"
#include "model/random_bits.hpp"
#include "model/smmu_scopes.hpp"

#include <stagewalk/smmu/command.hpp>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace stagewalk::test {
namespace {

using smmu::cache;
using smmu::cache_tag;
using smmu::command_error;
using smmu::command_type;
using smmu::granule;
using smmu::stream_world;

std::uint64_t bit(unsigned n) { return std::uint64_t{1} << n; }

// Everything that a command can ask for. A test takes away what it is about.
struct caps_of {
    smmu::identification_register_0 idr0{};
    smmu::identification_register_3 idr3{};
    smmu::identification_register_5 idr5{};

    caps_of() {
        idr0.set<"S1P">(1);
        idr0.set<"S2P">(1);
        idr0.set<"HYP">(1);
        idr0.set<"ATS">(1);
        idr0.set<"PRI">(1);
        idr3.set<"RIL">(1);
    }
    operator smmu::capabilities() const {
        auto const low = [](auto const& r) { return static_cast<std::uint32_t>(r.word[0]); };
        return {low(idr0), 0x510, low(idr3), low(idr5), 2};
    }
};
caps_of with_ds() {
    caps_of c;
    c.idr5.set<"DS">(1);
    return c;
}

auto decode(std::uint64_t d0, std::uint64_t d1, smmu::capabilities const& caps = caps_of{}, smmu::control const& registers = {}) {
    std::uint64_t const word[2]{d0, d1};
    return smmu::decode(word, caps, registers);
}
bool is_illegal(std::uint64_t d0, std::uint64_t d1, smmu::capabilities const& caps = caps_of{}) {
    auto const c = decode(d0, d1, caps);
    if (!c) CHECK(c.error() == command_error::illegal);
    return !c;
}
smmu::invalidation stale(std::uint64_t d0, std::uint64_t d1, smmu::capabilities const& caps = caps_of{},
                         smmu::control const& registers = {}) {
    auto const c = decode(d0, d1, caps, registers);
    REQUIRE(c);
    return c->stale;
}
template <class Command>
smmu::invalidation stale_of(Command const& c, smmu::capabilities const& caps = caps_of{}) {
    return stale(c.word[0], c.word[1], caps);
}

// The golden words of a command, and that they are decoded as they stand.
template <class Command>
void golden(Command const& c, std::uint64_t d0, std::uint64_t d1, command_type type) {
    CAPTURE(d0, d1);
    CHECK(c.word[0] == d0);
    CHECK(c.word[1] == d1);
    auto const decoded = decode(d0, d1);
    REQUIRE(decoded);
    CHECK(static_cast<unsigned>(decoded->type) == static_cast<unsigned>(type));
    CHECK(decoded->word[0] == d0);
    CHECK(decoded->word[1] == d1);
}

range<iova> from_to(std::uint64_t first, std::uint64_t last) { return range<iova>::between(iova{first}, iova{last}); }

cache_tag page(std::uint64_t at, std::uint64_t bytes = 4096) {
    cache_tag t;
    t.vmid = 0x17;
    t.asid = 0x42;
    t.level = 3;
    t.addresses = range<iova>{iova{at}, bytes};
    return t;
}
cache_tag of_stream(std::uint32_t source, std::uint32_t pasid = 0, std::uint32_t covered = 0) {
    cache_tag t;
    t.source = source;
    t.pasid = pasid;
    t.covered = covered;
    return t;
}

// The least that each opcode needs to be legal with everything there: all zero beside it.
constexpr std::uint64_t legal_opcodes[] = {0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x10, 0x11, 0x12, 0x13, 0x20,
                                           0x21, 0x22, 0x23, 0x28, 0x2a, 0x30, 0x40, 0x41, 0x44, 0x45, 0x46};
constexpr std::uint64_t by_address[] = {0x12, 0x13, 0x22, 0x23, 0x2a};

bool is_legal_opcode(std::uint64_t op) {
    for (std::uint64_t const o : legal_opcodes)
        if (o == op) return true;
    return false;
}

constexpr std::uint64_t tags = 0x0042'0017'0000'0000; // ASID 42h, VMID 17h

} // namespace

// --- words --------------------------------------------------------------------------------------------------------------------

TEST_CASE("SMMU commands: example 13, a stalled access is tried again") {
    golden(smmu::retry(0x2a, 0x203), 0x0000'002a'0000'1044, 0x203, command_type::resume);
}

TEST_CASE("SMMU commands: example 19, 300 pages in two commands, and one page") {
    auto const one = smmu::invalidate_address(stream_world::el1, 0x17, 0x42, iova{0x4000'0000}, true);
    golden(one, 0x0042'0017'0000'0012, 0x4000'0001, command_type::tlbi_nh_va);
    std::vector<smmu::tlb_command> all;
    smmu::for_each_range(one, 300, granule::k4, 0, [&](smmu::tlb_command const& c) { all.push_back(c); });
    REQUIRE(all.size() == 2);
    golden(all[0], 0x0042'0017'0020'a012, 0x4000'0401, command_type::tlbi_nh_va);
    golden(all[1], 0x0042'0017'0080'0012, 0x4002'c401, command_type::tlbi_nh_va);
    CHECK(stale_of(all[0]).addresses == from_to(0x4000'0000, 0x4002'bfff));
    CHECK(stale_of(all[1]).addresses == from_to(0x4002'c000, 0x4012'bfff));
    all.clear();
    smmu::for_each_range(one, 1, granule::k4, 0, [&](smmu::tlb_command const& c) { all.push_back(c); });
    REQUIRE(all.size() == 1);
    CHECK(all[0] == one);
    all.clear();
    auto const ipa = smmu::invalidate_intermediate(0x17, 0x4000'0000, false);
    golden(ipa, 0x0000'0017'0000'002a, 0x4000'0000, command_type::tlbi_s2_ipa);
    smmu::for_each_range(ipa, 1, granule::k4, 3, [&](smmu::tlb_command const& c) { all.push_back(c); });
    REQUIRE(all.size() == 1);
    golden(all[0], 0x0000'0017'0000'002a, 0x4000'0700, command_type::tlbi_s2_ipa);
    CHECK(is_illegal(0x0042'0017'0000'0012, 0x4000'0401));
}

TEST_CASE("SMMU commands: example helpers, configuration and SYNC") {
    golden(smmu::invalidate_stream(0x1234, true), 0x0000'1234'0000'0003, 1, command_type::cfgi_ste);
    golden(smmu::invalidate_streams(0, 32), 0x4, 0x1f, command_type::cfgi_ste_range);
    golden(smmu::invalidate_context(0x1234, 0x1234, true), 0x0000'1234'0123'4805, 1, command_type::cfgi_cd);
    golden(smmu::synchronise(), 0x46, 0, command_type::sync);
}

TEST_CASE("SMMU commands: every helper, word by word") {
    golden(smmu::invalidate_stream(0xffff'ffff, false), 0xffff'ffff'0000'0003, 0, command_type::cfgi_ste);
    golden(smmu::invalidate_streams(0x1234, 1), 0x0000'1234'0000'0004, 0, command_type::cfgi_ste_range);
    golden(smmu::invalidate_streams(0x1234, 7), 0x0000'1234'0000'0004, 6, command_type::cfgi_ste_range);
    golden(smmu::invalidate_streams(0x1234, 31), 0x0000'1234'0000'0004, 30, command_type::cfgi_ste_range);
    golden(smmu::invalidate_streams(0x1234, 32), 0x4, 31, command_type::cfgi_ste_range); // CFGI_ALL: no StreamID
    golden(smmu::invalidate_context(0x89ab'cdef, 0xf'ffff, false), 0x89ab'cdef'ffff'f805, 0, command_type::cfgi_cd);
    golden(smmu::invalidate_contexts(0x89ab'cdef), 0x89ab'cdef'0000'0006, 0, command_type::cfgi_cd_all);
    golden(smmu::invalidate_asid(stream_world::el1, 0xfedc, 0x4321), 0x4321'fedc'0000'0011, 0, command_type::tlbi_nh_asid);
    golden(smmu::invalidate_asid(stream_world::el2_e2h, 0xfedc, 0x4321), 0x4321'0000'0000'0021, 0, command_type::tlbi_el2_asid);
    golden(smmu::invalidate_asid(stream_world::el2, 0xfedc, 0x4321), 0x20, 0, command_type::tlbi_el2_all);
    golden(smmu::invalidate_stage1(stream_world::el1, 0xfedc), 0x0000'fedc'0000'0010, 0, command_type::tlbi_nh_all);
    golden(smmu::invalidate_stage1(stream_world::el2, 0xfedc), 0x20, 0, command_type::tlbi_el2_all);
    golden(smmu::invalidate_stage1(stream_world::el2_e2h, 0xfedc), 0x20, 0, command_type::tlbi_el2_all);
    golden(smmu::invalidate_vmid(0xfedc), 0x0000'fedc'0000'0028, 0, command_type::tlbi_s12_vmall);
    iova const at{0xffff'8765'4321'0fff};
    golden(smmu::invalidate_address(stream_world::el1, 0xfedc, 0x4321, at, false), 0x4321'fedc'0000'0012, 0xffff'8765'4321'0000,
           command_type::tlbi_nh_va);
    golden(smmu::invalidate_address(stream_world::el2_e2h, 0xfedc, 0x4321, at, true), 0x4321'0000'0000'0022,
           0xffff'8765'4321'0001, command_type::tlbi_el2_va);
    golden(smmu::invalidate_address(stream_world::el2, 0xfedc, 0x4321, at, true), 0x22, 0xffff'8765'4321'0001,
           command_type::tlbi_el2_va);
    golden(smmu::invalidate_intermediate(0xfedc, 0x8'1234'5fff, true), 0x0000'fedc'0000'002a, 0x8'1234'5001,
           command_type::tlbi_s2_ipa);
    golden(smmu::terminate(0x2a, 0xffff, true), 0x0000'002a'0000'2044, 0xffff, command_type::resume);
    golden(smmu::terminate(0x2a, 1, false), 0x0000'002a'0000'0044, 1, command_type::resume);
    golden(smmu::terminate_all(0x8000'0001), 0x8000'0001'0000'0045, 0, command_type::stall_term);
    golden(smmu::respond_to_page_group(0x2a, 0x1'2345, 0x1ff, 2), 0x0000'002a'1234'5841, 0x21ff, command_type::pri_resp);
    golden(smmu::respond_to_page_group(0x2a, smmu::no_pasid, 5, 1), 0x0000'002a'0000'0041, 0x1005, command_type::pri_resp);
    golden(smmu::invalidate_device(0x2a, 0x1'2345, iova{0x4000'5fff}, 0), 0x0000'002a'1234'5840, 0x4000'5000,
           command_type::atc_inv);
    golden(smmu::invalidate_device(0x2a, smmu::no_pasid, iova{0x4000'5fff}, 2), 0x0000'002a'0000'0040, 0x4000'4002,
           command_type::atc_inv);
    golden(smmu::invalidate_device(0x2a, 0, iova{~std::uint64_t{0}}, 52), 0x0000'002a'0000'0840, 52, command_type::atc_inv);
    golden(smmu::invalidate_device(0x2a, 0, iova{~std::uint64_t{0}}, 60), 0x0000'002a'0000'0840, 52, command_type::atc_inv);
}

TEST_CASE("SMMU commands: every field, a bit at each end") {
    smmu::configuration_command c;
    c.set<"OP">(0x81);
    c.set<"SSec">(1);
    c.set<"SSV">(1);
    c.set<"SSID">(0x8'0001);
    c.set<"SID">(0x8000'0001);
    CHECK(c.word[0] == 0x8000'0001'8000'1c81);
    c.set<"Leaf">(1);
    c.set<"RangeH">(15);
    c.set<"ADDRL">(0x41);
    CHECK(c.word[1] == 0x83f);
    c.set<"ADDR">(1);
    CHECK(c.word[1] == 0x183f);
    smmu::tlb_command t;
    t.set<"OP">(0x81);
    t.set<"SSec">(1);
    t.set<"NUM">(0x11);
    t.set<"SCALE">(0x21);
    t.set<"VMID">(0x8001);
    t.set<"ASID">(0x8001);
    CHECK(t.word[0] == 0x8001'8001'0211'1481);
    t.set<"Leaf">(1);
    t.set<"TTL128">(1);
    t.set<"TTL">(3);
    t.set<"TG">(3);
    t.set<"ADDR">(0x8000'0000'0000'1000);
    CHECK(t.word[1] == 0x8000'0000'0000'1f81);
    smmu::device_command d;
    d.set<"OP">(0x40);
    d.set<"G">(1);
    d.set<"SSec">(1);
    d.set<"SSV">(1);
    d.set<"SSID">(0x8'0001);
    d.set<"SID">(0x8000'0001);
    d.set<"Size">(0x21);
    d.set<"ADDR">(0x8000'0000'0000'1000);
    CHECK(d.word[0] == 0x8000'0001'8000'1e40);
    CHECK(d.word[1] == 0x8000'0000'0000'1021);
    smmu::page_response_command p;
    p.set<"PRGIndex">(0x101);
    p.set<"Resp">(3);
    p.set<"SSID">(0x8'0001);
    CHECK(p.word[0] == 0x8000'1000);
    CHECK(p.word[1] == 0x3101);
    smmu::stall_command s;
    s.set<"Ac">(1);
    s.set<"STAG">(0x8001);
    CHECK(s.word[0] == 0x1000);
    CHECK(s.word[1] == 0x8001);
    s.set<"Ab">(1);
    CHECK(s.word[0] == 0x3000);
    smmu::sync_command y;
    y.set<"CS">(3);
    y.set<"MSH">(3);
    y.set<"MSIAttr">(0xf);
    y.set<"MSIData">(0x8000'0001);
    y.set<"MSIAddress">(~std::uint64_t{0});
    CHECK(y.word[0] == 0x8000'0001'0fc0'3000);
    CHECK(y.word[1] == 0x00ff'ffff'ffff'fffc);
}

TEST_CASE("SMMU commands: S9.3 O3, the address stands where it belongs") {
    // Not shifted by four.
    CHECK(stale(0x12 | tags, 0x0000'7f12'3456'7001).addresses == from_to(0x7f12'3456'7000, 0x7f12'3456'7000));
    auto const i = stale(0x12 | tags, 0x0000'7f12'3456'7001);
    CHECK(i.drops(cache::stage1, page(0x7f12'3456'7000)));
    CHECK_FALSE(i.drops(cache::stage1, page(0x07f1'2345'6000)));
    CHECK_FALSE(i.drops(cache::stage1, page(0x7f12'3456'8000)));
    CHECK_FALSE(i.drops(cache::stage1, page(0x7f12'3456'6000)));
}

// --- CERROR_ILL
// -----------------------------------------------------------------------------------------------------------------

TEST_CASE("SMMU commands: CERROR codes are the manual's") {
    CHECK(static_cast<int>(command_error::none) == 0);
    CHECK(static_cast<int>(command_error::illegal) == 1);
    CHECK(static_cast<int>(command_error::fetch_failed) == 2);
    CHECK(static_cast<int>(command_error::device_sync) == 3);
}

TEST_CASE("SMMU commands: illegal, every reserved opcode, legal, the others and what is not of an opcode") {
    for (std::uint64_t op = 0; op < 256; ++op) {
        CAPTURE(op);
        CHECK(is_illegal(op, 0) == !is_legal_opcode(op));
        auto const c = decode(op, 0);
        if (c) CHECK(static_cast<unsigned>(c->type) == op);
    }
    // Secure, MPAM, device permission tables and what is implementation defined stay illegal whatever the registers say.
    smmu::capabilities const all{0xfdff'ffff, 0xffff'ffff, 0xffff'ffff, 0xffff'ffff, 4};
    for (std::uint64_t const op :
         {0x07u, 0x18u, 0x1au, 0x50u, 0x51u, 0x52u, 0x53u, 0x58u, 0x5au, 0x60u, 0x70u, 0x73u, 0x80u, 0x8fu})
        CHECK(is_illegal(op, 0, all));
}

TEST_CASE("SMMU commands: illegal, SSec in the Non-secure queue, legal, every other bit of word 0 that is not of the opcode") {
    for (std::uint64_t const op : legal_opcodes)
        for (unsigned n = 8; n < 64; ++n) {
            CAPTURE(op, n);
            CHECK(is_illegal(op | bit(n), 0) == (n == 10));
        }
}

TEST_CASE("SMMU commands: S9.3 O2, SSec is bit 10 and not bit 8") {
    CHECK_FALSE(is_illegal(0x103, 0));
    CHECK(is_illegal(0x403, 0));
}

TEST_CASE("SMMU commands: illegal, CFGI_CD and NH without stage 1") {
    caps_of without;
    without.idr0.set<"S1P">(0);
    for (std::uint64_t const op : legal_opcodes) {
        bool const needs = op == 0x05 || op == 0x06 || (op >= 0x10 && op <= 0x13);
        CAPTURE(op);
        CHECK(is_illegal(op, 0, without) == needs);
    }
}

TEST_CASE("SMMU commands: illegal, S12_VMALL and S2_IPA without stage 2") {
    caps_of without;
    without.idr0.set<"S2P">(0);
    for (std::uint64_t const op : legal_opcodes) {
        CAPTURE(op);
        CHECK(is_illegal(op, 0, without) == (op == 0x28 || op == 0x2a));
    }
}

TEST_CASE("SMMU commands: illegal, EL2 without HYP, ATC_INV without ATS, PRI_RESP without PRI") {
    caps_of hyp;
    hyp.idr0.set<"HYP">(0);
    caps_of ats;
    ats.idr0.set<"ATS">(0);
    caps_of pri;
    pri.idr0.set<"PRI">(0);
    for (std::uint64_t const op : legal_opcodes) {
        CAPTURE(op);
        CHECK(is_illegal(op, 0, hyp) == (op >= 0x20 && op <= 0x23));
        CHECK(is_illegal(op, 0, ats) == (op == 0x40));
        CHECK(is_illegal(op, 0, pri) == (op == 0x41));
    }
}

TEST_CASE("SMMU commands: illegal, RESUME and STALL_TERM where nothing stalls, legal in the other models") {
    for (std::uint64_t model = 0; model < 3; ++model)
        for (std::uint64_t const op : legal_opcodes) {
            caps_of c;
            c.idr0.set<"STALL_MODEL">(model);
            CAPTURE(op, model);
            CHECK(is_illegal(op, 0, c) == (model == 1 && (op == 0x44 || op == 0x45)));
        }
}

TEST_CASE("SMMU commands: S9.3 O7, illegal, SYNC with CS = 3, legal, CS = 0, 1, 2") {
    for (std::uint64_t cs = 0; cs < 4; ++cs)
        CHECK(is_illegal(0x46 | cs << 12, 0) == (cs == 3));
    // Those bits are something else elsewhere.
    CHECK_FALSE(is_illegal(0x44 | 3u << 12, 0));
    CHECK_FALSE(is_illegal(0x11 | 3u << 12, 0));
}

TEST_CASE("SMMU commands: S9.4, illegal, a range with NUM = SCALE = TTL = 0, legal, each of them, TG = 0, and without RIL") {
    caps_of without;
    without.idr3.set<"RIL">(0);
    for (std::uint64_t const op : by_address)
        for (std::uint64_t tg = 0; tg < 4; ++tg) {
            CAPTURE(op, tg);
            CHECK(is_illegal(op, tg << 10) == (tg != 0));
            CHECK_FALSE(is_illegal(op, tg << 10, without));
            for (std::uint64_t num = 1; num < 32; ++num)
                CHECK_FALSE(is_illegal(op | num << 12, tg << 10));
            for (std::uint64_t scale = 1; scale < 32; ++scale)
                CHECK_FALSE(is_illegal(op | scale << 20, tg << 10));
            for (std::uint64_t ttl = 1; ttl < 4; ++ttl)
                CHECK_FALSE(is_illegal(op, tg << 10 | ttl << 8));
            // The sixth bit of SCALE is one with DS alone.
            CHECK(is_illegal(op | bit(25), tg << 10) == (tg != 0));
            CHECK_FALSE(is_illegal(op | bit(25), tg << 10, with_ds()));
            // Bits nearby say nothing.
            CHECK(is_illegal(op | bit(11) | bit(17) | bit(18) | bit(19) | bit(26), tg << 10 | 0x81) == (tg != 0));
        }
    // What has no address has no range.
    for (std::uint64_t const op : {0x10u, 0x11u, 0x20u, 0x21u, 0x28u, 0x30u})
        for (std::uint64_t tg = 0; tg < 4; ++tg)
            CHECK_FALSE(is_illegal(op, tg << 10));
}

// --- ranges
// ---------------------------------------------------------------------------------------------------------------------

TEST_CASE("SMMU commands: NUM and SCALE, (NUM + 1) 2^SCALE granules from the address on") {
    std::uint64_t const base = 0x0040'0000'0000'0000;
    for (std::uint64_t tg = 1; tg < 4; ++tg)
        for (std::uint64_t num = 0; num < 32; ++num)
            for (std::uint64_t scale = 0; scale < 64; ++scale)
                for (bool const ds : {false, true}) {
                    std::uint64_t const lg2 = 10 + 2 * tg;
                    std::uint64_t const counts = !ds ? scale & 31 : scale < 39 ? scale : 39;
                    std::uint64_t const bytes = (num + 1) << counts << lg2;
                    smmu::capabilities const caps = ds ? with_ds() : caps_of{};
                    auto const i = stale(0x12 | num << 12 | scale << 20, base | 3u << 8 | tg << 10, caps);
                    if (i.addresses == from_to(base, base + (bytes - 1))) continue;
                    FAIL("TG " << tg << " NUM " << num << " SCALE " << scale << " DS " << ds);
                }
}

TEST_CASE("SMMU commands: SCALE has its sixth bit with DS alone, and at most 39") {
    auto const pages = [](std::uint64_t scale, smmu::capabilities const& caps) {
        return (stale(0x12 | 1u << 12 | scale << 20, 0x400, caps).addresses.span() + 1) >> 12;
    };
    CHECK(pages(31, caps_of{}) == bit(32));
    CHECK(pages(32, caps_of{}) == 2);
    CHECK(pages(63, caps_of{}) == bit(32));
    CHECK(pages(32, with_ds()) == bit(33));
    CHECK(pages(39, with_ds()) == bit(40));
    CHECK(pages(40, with_ds()) == bit(40));
    CHECK(pages(63, with_ds()) == bit(40));
}

TEST_CASE("SMMU commands: a range ends with its half, and does not wrap to address 0") {
    std::uint64_t const top = ~std::uint64_t{0xffff};
    for (std::uint64_t tg = 1; tg < 4; ++tg)
        for (std::uint64_t const op : by_address) {
            auto const i = stale(op | 31u << 12 | 31u << 20 | tags, top | tg << 10);
            CAPTURE(op, tg);
            CHECK(i.addresses == from_to(top, ~std::uint64_t{0}));
            cache const c = op == 0x2a ? cache::stage2 : cache::stage1;
            cache_tag last = page(~std::uint64_t{0xfff});
            cache_tag zero = page(0);
            last.world = zero.world = op >= 0x20 && op < 0x28 ? stream_world::el2_e2h : stream_world::el1;
            CHECK(i.drops(c, last));
            CHECK_FALSE(i.drops(c, zero));
        }
    // Exactly to the end, and one page more.
    CHECK(stale(0x12 | 15u << 12, top | 0x400).addresses == from_to(top, ~std::uint64_t{0}));
    CHECK(stale(0x12 | 16u << 12, top | 0x400).addresses == from_to(top, ~std::uint64_t{0}));
    CHECK(stale(0x12 | 14u << 12, top | 0x400).addresses == from_to(top, top + 0xefff));
    // The largest: 2^60 bytes.
    CHECK(stale(0x12 | 31u << 12 | 39u << 20, 0xc00, with_ds()).addresses == from_to(0, low_mask(60)));
}

TEST_CASE("SMMU commands: TG = 0 is one address, in a page of any size, NUM, SCALE and TTL say nothing") {
    for (std::uint64_t const op : by_address) {
        cache const c = op == 0x2a ? cache::stage2 : cache::stage1;
        auto const world = op >= 0x20 && op < 0x28 ? stream_world::el2_e2h : stream_world::el1;
        for (bool const ril : {false, true}) {
            caps_of caps;
            caps.idr3.set<"RIL">(ril);
            // Without RIL, TG says nothing either.
            std::uint64_t const fields = ril ? 0x200 : 0xe00;
            auto const i = stale(op | tags | 31u << 12 | 31u << 20, 0x4567'8001 | fields, caps);
            CAPTURE(op, ril);
            for (std::uint64_t const size : {4_KiB, 16_KiB, 64_KiB, 2_MiB, 32_MiB, 512_MiB, 1_GiB}) {
                std::uint64_t const at = 0x4567'8000 / size * size;
                for (std::uint64_t level = 0; level < 4; ++level) {
                    cache_tag t = page(at, size);
                    t.world = world;
                    t.level = level;
                    CHECK(i.drops(c, t));
                    t.addresses = range<iova>{iova{at + size}, size};
                    CHECK_FALSE(i.drops(c, t));
                    t.addresses = range<iova>{iova{at - size}, size};
                    CHECK_FALSE(i.drops(c, t));
                }
            }
        }
    }
}

TEST_CASE("SMMU commands: address bits below the granule say nothing in a range") {
    CHECK(stale(0x12 | 1u << 12, 0x4000'3800).addresses == from_to(0x4000'0000, 0x4000'7fff)); // 16 KiB
    CHECK(stale(0x12 | 1u << 12, 0x4000'fc00).addresses == from_to(0x4000'0000, 0x4001'ffff)); // 64 KiB
    CHECK(stale(0x12 | 1u << 12, 0x4000'3400).addresses == from_to(0x4000'3000, 0x4000'4fff)); // 4 KiB
}

TEST_CASE("SMMU commands: TTL names the level of the leaves, TTL = 1 with 16 KiB and no DS is any") {
    for (std::uint64_t tg = 1; tg < 4; ++tg)
        for (std::uint64_t ttl = 0; ttl < 4; ++ttl)
            for (std::uint64_t level = 1; level < 4; ++level)
                for (bool const ds : {false, true}) {
                    smmu::capabilities const caps = ds ? with_ds() : caps_of{};
                    auto const i = stale(0x12 | 1u << 12 | tags, 0x4000'0000 | ttl << 8 | tg << 10, caps);
                    bool const any = ttl == 0 || (ttl == 1 && tg == 2 && !ds);
                    cache_tag t = page(0x4000'0000);
                    t.level = level;
                    CAPTURE(tg, ttl, level, ds);
                    CHECK(i.drops(cache::stage1, t) == (any || ttl == level));
                    t.level = 0; // not known
                    CHECK(i.drops(cache::stage1, t));
                    CHECK(i.drops(cache::stage1_tables, t)); // of whatever level
                }
}

TEST_CASE("SMMU commands: Leaf keeps the tables, by address alone") {
    for (std::uint64_t const op : legal_opcodes) {
        if (op < 0x10 || op > 0x30) continue;
        bool addressed = false;
        for (std::uint64_t const o : by_address)
            addressed = addressed || o == op;
        cache_tag t = page(0x4000'0000);
        t.world = op >= 0x20 && op < 0x28 ? stream_world::el2_e2h : stream_world::el1;
        cache const tables = op == 0x2a ? cache::stage2_tables : cache::stage1_tables;
        cache const leaves = op == 0x2a ? cache::stage2 : cache::stage1;
        CAPTURE(op);
        CHECK(stale(op | tags, 0x4000'0000).drops(tables, t));
        CHECK(stale(op | tags, 0x4000'0001).drops(tables, t) == !addressed);
        CHECK(stale(op | tags, 0x4000'0000).drops(leaves, t));
        CHECK(stale(op | tags, 0x4000'0001).drops(leaves, t));
    }
}

// --- lists of ranges ---------------------------------------------------------------------------------------------------------

namespace {

struct covered {
    std::uint64_t commands{};
    bool ok{};
};

// That the commands are legal, one after the other without gap or overlap, and say no more and no less than the pages.
covered check_list(smmu::tlb_command const& one, std::uint64_t pages, granule g, std::uint64_t level, bool ds) {
    std::uint64_t const lg2 = smmu::lg2_of(g);
    std::uint64_t next = one.get<"ADDR">() >> lg2 << lg2;
    std::uint64_t left = pages;
    covered out{0, true};
    std::uint64_t const hint = g == granule::k16 && level == 1 ? 0 : level; // without DS it is none
    smmu_scopes::unit u;
    u.idr0 = 0x1'0603;
    u.idr3 = 0x400;
    u.idr5 = ds ? 0x80 : 0;
    smmu::for_each_range(one, pages, g, level, [&](smmu::tlb_command const& c) {
        ++out.commands;
        smmu_scopes::words const w{{c.word[0], c.word[1]}};
        out.ok = out.ok && !smmu_scopes::is_illegal(u, w);
        auto const decoded = decode(c.word[0], c.word[1], ds ? with_ds() : caps_of{});
        out.ok = out.ok && decoded;
        if (!decoded) return;
        // All that is not the range stays.
        out.ok = out.ok && c.get<"OP">() == one.get<"OP">() && c.get<"VMID">() == one.get<"VMID">() &&
                 c.get<"ASID">() == one.get<"ASID">() && c.get<"Leaf">() == one.get<"Leaf">();
        bool const single = c.get<"TG">() == 0;
        std::uint64_t const count = single ? 1 : (c.get<"NUM">() + 1) << c.get<"SCALE">();
        std::uint64_t const bytes = count << lg2;
        range<iova> const expected = single ? from_to(next, next) : from_to(next, next + (bytes - 1));
        out.ok = out.ok && count <= left && decoded->stale.addresses == expected;
        out.ok = out.ok && (single ? hint == 0 : decoded->stale.level == hint && c.get<"TTL">() == hint);
        next += bytes;
        left -= count < left ? count : left;
    });
    out.ok = out.ok && left == 0;
    return out;
}

} // namespace

TEST_CASE("SMMU commands: lists of ranges cover exactly the pages asked for, of every granule, and are legal") {
    random_bits random{0x8201};
    auto const one = smmu::invalidate_address(stream_world::el1, 0x17, 0x42, iova{0x0010'0000'0000'0000}, true);
    auto const ipa = smmu::invalidate_intermediate(0x17, 0, false);
    for (granule const g : {granule::k4, granule::k16, granule::k64})
        for (std::uint64_t level = 0; level < 4; ++level)
            for (bool const ds : {false, true}) {
                for (std::uint64_t pages = 1; pages <= 600; ++pages) {
                    CAPTURE(pages, level, ds, smmu::lg2_of(g));
                    if (!check_list(one, pages, g, level, ds).ok) FAIL("list");
                }
                for (unsigned n = 0; n < 1500; ++n) {
                    std::uint64_t const pages = (random() >> (28 + random.below(36))) % bit(36) + 1;
                    CAPTURE(pages, level, ds, smmu::lg2_of(g));
                    auto const list = check_list(one, pages, g, level, ds);
                    if (!list.ok) FAIL("list");
                    if (list.commands > 8) FAIL("more than five bits at a time leave");
                    if (!check_list(ipa, pages, g, level, ds).ok) FAIL("list, stage 2");
                }
                CHECK(check_list(one, bit(36), g, level, ds).commands == 1);
                CHECK(check_list(one, bit(37), g, level, ds).ok);
                CHECK(check_list(one, bit(36) - 1, g, level, ds).ok);
            }
    unsigned calls = 0;
    smmu::for_each_range(one, 0, granule::k4, 0, [&](smmu::tlb_command const&) { ++calls; });
    CHECK(calls == 0);
}

TEST_CASE("SMMU commands: no list of ranges is shorter") {
    // The fewest commands for n pages, over all first commands.
    constexpr std::size_t most = 4096;
    std::vector<unsigned> fewest(most + 1, 99);
    fewest[0] = 0;
    for (std::size_t n = 1; n <= most; ++n)
        for (std::size_t scale = 0; scale < 13; ++scale)
            for (std::size_t count = 1; count <= 32; ++count) {
                std::size_t const pages = count << scale;
                if (pages > n) break;
                if (fewest[n - pages] + 1 < fewest[n]) fewest[n] = fewest[n - pages] + 1;
            }
    auto const one = smmu::invalidate_address(stream_world::el1, 0x17, 0x42, iova{0x4000'0000}, true);
    for (std::size_t n = 1; n <= most; ++n) {
        unsigned commands = 0;
        smmu::for_each_range(one, n, granule::k4, 0, [&](smmu::tlb_command const&) { ++commands; });
        if (commands != fewest[n]) FAIL(n << " pages: " << commands << ", possible: " << fewest[n]);
    }
}

TEST_CASE("SMMU commands: a list that ends at the top of the space") {
    for (granule const g : {granule::k4, granule::k16, granule::k64})
        for (std::uint64_t const pages : {1u, 2u, 31u, 32u, 33u, 300u, 0x12345u}) {
            std::uint64_t const at = ~std::uint64_t{0} - ((pages << smmu::lg2_of(g)) - 1);
            auto const one = smmu::invalidate_address(stream_world::el1, 0x17, 0x42, iova{at}, true);
            CAPTURE(pages, smmu::lg2_of(g));
            CHECK(check_list(one, pages, g, 0, false).ok);
            CHECK(check_list(one, pages, g, 3, false).ok);
        }
}

TEST_CASE("SMMU commands: a command that was a range before is a list of its own") {
    auto one = smmu::invalidate_address(stream_world::el1, 0x17, 0x42, iova{0x4000'0000}, true);
    one.set<"NUM">(31);
    one.set<"SCALE">(7);
    one.set<"TTL">(2);
    one.set<"TG">(3);
    std::vector<smmu::tlb_command> all;
    smmu::for_each_range(one, 1, granule::k4, 0, [&](smmu::tlb_command const& c) { all.push_back(c); });
    REQUIRE(all.size() == 1);
    CHECK(all[0] == smmu::invalidate_address(stream_world::el1, 0x17, 0x42, iova{0x4000'0000}, true));
}

// --- scopes -----------------------------------------------------------------------------------------------------------------

TEST_CASE("SMMU commands: CFGI_STE_RANGE, every Range: 2^(Range + 1) streams, 31 all") {
    for (std::uint64_t range = 0; range < 32; ++range)
        for (std::uint32_t const source : {0u, 0x1234u, 0x8000'0001u, 0xffff'ffffu}) {
            auto const i = stale(0x04 | std::uint64_t{source} << 32, range);
            std::uint64_t const block = bit(static_cast<unsigned>(range) + 1);
            std::uint64_t const first = source / block * block;
            std::uint64_t const last = first + block - 1;
            CAPTURE(range, source);
            for (cache const c : {cache::stream, cache::context, cache::context_directory, cache::stream_directory}) {
                auto const drops = [&](std::uint64_t s) { return i.drops(c, of_stream(static_cast<std::uint32_t>(s), 7)); };
                CHECK(drops(source));
                CHECK(drops(first));
                CHECK(drops(last));
                if (first != 0) CHECK_FALSE(drops(first - 1));
                if (last != 0xffff'ffff) CHECK_FALSE(drops(last + 1));
            }
            // A directory entry of 256 streams goes as soon as one of them does.
            auto const drops = [&](std::uint64_t s) {
                return i.drops(cache::stream_directory, of_stream(static_cast<std::uint32_t>(s), 0, 0xff));
            };
            CHECK(drops(source & ~0xffu));
            CHECK(drops(last & ~std::uint64_t{0xff}));
            if (first >= 0x100) CHECK(drops((first & ~std::uint64_t{0xff}) - 0x100) == false);
            for (cache const c : {cache::stage1, cache::stage2, cache::stage1_tables, cache::stage2_tables, cache::device})
                CHECK_FALSE(i.scope(c).drops);
        }
    // CFGI_ALL reaches everybody.
    auto const all = stale_of(smmu::invalidate_streams(0x1234, 32));
    CHECK(all.drops(cache::stream, of_stream(0)));
    CHECK(all.drops(cache::stream, of_stream(0xffff'ffff)));
}

TEST_CASE("SMMU commands: CFGI_STE drops the stream and its contexts, with Leaf = 0 the directory entry too") {
    for (bool const leaf : {false, true}) {
        auto const i = stale_of(smmu::invalidate_stream(0x1234, leaf));
        CHECK(i.drops(cache::stream, of_stream(0x1234)));
        CHECK_FALSE(i.drops(cache::stream, of_stream(0x1235)));
        CHECK(i.drops(cache::context, of_stream(0x1234, 0xf'ffff)));
        CHECK_FALSE(i.drops(cache::context, of_stream(0x1235, 0)));
        CHECK(i.drops(cache::context_directory, of_stream(0x1234, 0x40, 0x3f)));
        CHECK(i.drops(cache::stream_directory, of_stream(0x1200, 0, 0xff)) == !leaf);
        CHECK_FALSE(i.drops(cache::stream_directory, of_stream(0x1300, 0, 0xff)));
        CHECK_FALSE(i.drops(cache::stage1, page(0)));
        CHECK_FALSE(i.drops(cache::device, of_stream(0x1234)));
    }
}

TEST_CASE("SMMU commands: CFGI_CD drops one context, with Leaf = 0 the directory entry too, CFGI_CD_ALL all") {
    for (bool const leaf : {false, true}) {
        auto const i = stale_of(smmu::invalidate_context(0x1234, 0x41, leaf));
        CHECK(i.drops(cache::context, of_stream(0x1234, 0x41)));
        CHECK_FALSE(i.drops(cache::context, of_stream(0x1234, 0x40)));
        CHECK_FALSE(i.drops(cache::context, of_stream(0x1235, 0x41)));
        CHECK(i.drops(cache::context_directory, of_stream(0x1234, 0x40, 0x3f)) == !leaf);
        CHECK_FALSE(i.drops(cache::context_directory, of_stream(0x1234, 0x80, 0x3f)));
        CHECK_FALSE(i.drops(cache::context_directory, of_stream(0x1235, 0x40, 0x3f)));
        CHECK_FALSE(i.drops(cache::stream, of_stream(0x1234)));
        CHECK_FALSE(i.drops(cache::stream_directory, of_stream(0x1234)));
    }
    auto const all = stale_of(smmu::invalidate_contexts(0x1234));
    CHECK(all.drops(cache::context, of_stream(0x1234, 0x41)));
    CHECK(all.drops(cache::context_directory, of_stream(0x1234, 0x40, 0x3f)));
    CHECK_FALSE(all.drops(cache::context, of_stream(0x1235, 0x41)));
    CHECK_FALSE(all.drops(cache::stream, of_stream(0x1234)));
}

TEST_CASE("SMMU commands: CFGI_CD names its SubstreamID whatever SSV says") {
    // There are drivers that leave SSV clear.
    auto const i = stale(0x0000'1234'0004'1005, 1);
    CHECK(i.drops(cache::context, of_stream(0x1234, 0x41)));
    CHECK_FALSE(i.drops(cache::context, of_stream(0x1234, 0)));
    CHECK(stale(0x0000'1234'0000'0005, 1).drops(cache::context, of_stream(0x1234, 0)));
    // Without substreams there is one, whatever the command names.
    smmu::capabilities const none{3, 0x10, 0, 0, 2};
    CHECK(stale(0x0000'1234'0004'1805, 1, none).drops(cache::context, of_stream(0x1234, 0)));
}

TEST_CASE("SMMU commands: VMW, VMID bits that an invalidation ignores, 0 to 4, not without IDR0.VMW") {
    for (std::uint32_t vmw = 0; vmw < 8; ++vmw)
        for (bool const has : {false, true})
            for (unsigned n = 0; n < 16; ++n)
                for (std::uint64_t const op : {0x10u, 0x11u, 0x12u, 0x13u, 0x28u, 0x2au}) {
                    caps_of c;
                    c.idr0.set<"VMW">(has);
                    smmu::control registers;
                    registers.cr0.set<"VMW">(vmw);
                    cache_tag t = page(0x4000'0000);
                    t.vmid = static_cast<std::uint16_t>(0x17 ^ bit(n));
                    bool const ignored = has && vmw <= 4 && n < vmw;
                    CAPTURE(vmw, has, n, op);
                    CHECK(stale(op | tags, 0x4000'0000, c, registers).drops(op == 0x2a ? cache::stage2 : cache::stage1, t) ==
                          ignored);
                }
}

TEST_CASE("SMMU commands: without stage 2 there are no VMIDs") {
    caps_of c;
    c.idr0.set<"S2P">(0);
    cache_tag t = page(0x4000'0000);
    t.vmid = 0;
    for (std::uint64_t const op : {0x10u, 0x11u, 0x12u, 0x13u})
        CHECK(stale(op | tags, 0x4000'0000, c).drops(cache::stage1, t));
}

TEST_CASE("SMMU commands: global translations stay by ASID, and go by address and with all") {
    for (bool const el2 : {false, true}) {
        std::uint64_t const family = el2 ? 0x20 : 0x10;
        cache_tag t = page(0x4000'0000);
        t.world = el2 ? stream_world::el2_e2h : stream_world::el1;
        t.global = true;
        for (std::uint16_t const asid : {std::uint16_t{0x42}, std::uint16_t{0x43}}) {
            t.asid = asid;
            CAPTURE(el2, asid);
            CHECK(stale(family | tags, 0).drops(cache::stage1, t));
            CHECK_FALSE(stale((family + 1) | tags, 0).drops(cache::stage1, t));
            CHECK(stale((family + 2) | tags, 0x4000'0000).drops(cache::stage1, t));
            CHECK(stale((family + 3) | tags, 0x4000'0000).drops(cache::stage1, t));
            t.global = false;
            CHECK(stale(family | tags, 0).drops(cache::stage1, t));
            CHECK(stale((family + 1) | tags, 0).drops(cache::stage1, t) == (asid == 0x42));
            CHECK(stale((family + 2) | tags, 0x4000'0000).drops(cache::stage1, t) == (asid == 0x42));
            CHECK(stale((family + 3) | tags, 0x4000'0000).drops(cache::stage1, t));
            t.global = true;
        }
    }
    // Without E2H there are no ASIDs.
    cache_tag t = page(0x4000'0000);
    t.world = stream_world::el2;
    CHECK(stale(0x22, 0x4000'0000).drops(cache::stage1, t));
    CHECK(stale_of(smmu::invalidate_asid(stream_world::el2, 0, 0x42)).drops(cache::stage1, t));
}

TEST_CASE("SMMU commands: no family reaches another world") {
    for (std::uint64_t const op : legal_opcodes) {
        if (op < 0x10 || op > 0x30) continue;
        bool const el2 = op >= 0x20 && op < 0x28;
        auto const i = stale(op | tags, 0x4000'0000);
        for (auto const world : {stream_world::el1, stream_world::el2, stream_world::el2_e2h})
            for (cache const c : {cache::stage1, cache::stage2, cache::stage1_tables, cache::stage2_tables}) {
                cache_tag t = page(0x4000'0000);
                t.world = world;
                if ((world != stream_world::el1) != el2) CHECK_FALSE(i.drops(c, t));
            }
        for (cache const c : {cache::stream_directory, cache::stream, cache::context_directory, cache::context, cache::device})
            CHECK_FALSE(i.scope(c).drops);
    }
    CHECK(stale(0x30, 0).drops(cache::stage2, page(0)));
    CHECK(stale(0x30, 0).drops(cache::stage1, page(0)));
}

TEST_CASE("SMMU commands: S2_IPA keeps stage 1 and what both stages made, NH keeps stage 2 alone") {
    auto const ipa = stale(0x2a | tags, 0x4000'0000);
    CHECK(ipa.drops(cache::stage2, page(0x4000'0000)));
    CHECK_FALSE(ipa.drops(cache::stage1, page(0x4000'0000)));
    for (std::uint64_t const op : {0x10u, 0x11u, 0x12u, 0x13u}) {
        CHECK_FALSE(stale(op | tags, 0x4000'0000).drops(cache::stage2, page(0x4000'0000)));
        CHECK_FALSE(stale(op | tags, 0x4000'0000).drops(cache::stage2_tables, page(0x4000'0000)));
    }
    for (cache const c : {cache::stage1, cache::stage2, cache::stage1_tables, cache::stage2_tables})
        CHECK(stale(0x28 | tags, 0).drops(c, page(0x4000'0000)));
}

TEST_CASE("SMMU commands: ATC_INV, 2^Size pages around the address, 52 and more everything") {
    for (std::uint64_t size = 0; size < 64; ++size)
        for (std::uint64_t const at : {std::uint64_t{0}, std::uint64_t{0x1234'5678'9abc'd000}, ~std::uint64_t{0xfff}}) {
            auto const i = stale(0x40 | std::uint64_t{0x2a} << 32, at | size);
            CAPTURE(size, at);
            std::uint64_t const within = low_mask(size < 52 ? size + 12 : 64);
            CHECK(i.addresses == from_to(at & ~within, at | within));
            if (size > 52) continue;
            auto const made = smmu::invalidate_device(0x2a, smmu::no_pasid, iova{at | 0xfff}, size);
            CHECK(stale_of(made).addresses == from_to(at & ~within, at | within));
            CHECK((made.word[1] & within & ~std::uint64_t{0xfff}) == 0);
        }
}

TEST_CASE("SMMU commands: ATC_INV, with a SubstreamID, without, and every one") {
    auto const drops = [](std::uint64_t d0, std::uint32_t source, std::uint32_t pasid) {
        cache_tag t = page(0x4000'0000);
        t.source = source;
        t.pasid = pasid;
        return stale(d0 | std::uint64_t{0x2a} << 32, 0x4000'0000).drops(cache::device, t);
    };
    std::uint64_t const with = 0x0000'0840 | 5u << 12;
    CHECK(drops(with, 0x2a, 5));
    CHECK_FALSE(drops(with, 0x2a, 4));
    CHECK_FALSE(drops(with, 0x2a, smmu::no_pasid));
    CHECK_FALSE(drops(with, 0x2b, 5));
    CHECK(drops(0x40, 0x2a, smmu::no_pasid));
    CHECK_FALSE(drops(0x40, 0x2a, 0));
    CHECK(drops(with | 0x200, 0x2a, 4));
    CHECK_FALSE(drops(with | 0x200, 0x2b, 5));
    // G without a SubstreamID says nothing, nor does the SubstreamID then.
    CHECK_FALSE(drops(0x240, 0x2a, 0));
    CHECK(drops(0x240 | 5u << 12, 0x2a, smmu::no_pasid));
}

TEST_CASE("SMMU commands: hints, answers and SYNC drop nothing") {
    for (std::uint64_t const op : {0x01u, 0x02u, 0x41u, 0x44u, 0x45u, 0x46u}) {
        auto const i = stale(op | std::uint64_t{0x2a} << 32, 0x4000'0000);
        for (auto const& scope : i.of)
            CHECK_FALSE(scope.drops);
    }
}

TEST_CASE("SMMU commands: made and judged at compile time") {
    constexpr auto c = smmu::invalidate_vmid(0x17);
    constexpr std::uint64_t word[2]{c.word[0], c.word[1]};
    constexpr auto d = smmu::decode(word, smmu::capabilities{3, 0, 0, 0, 2});
    static_assert(d && d->type == command_type::tlbi_s12_vmall && d->stale.vmid == 0x17);
    CHECK(d->stale.scope(cache::stage2).by_vmid);
}

} // namespace stagewalk::test
