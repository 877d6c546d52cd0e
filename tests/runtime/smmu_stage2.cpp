// Stage 2, alone and under stage 1: every fault by its cause, tables side by side, who may do what, updates, and what stage 2
// says of stage 1's own accesses.
#include "smmu_unit.hpp"

#include <stagewalk/memory/recording.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace stagewalk::test {
namespace {

using update = smmu_unit::memory_type::update;

constexpr smmu_kind second = smmu_kind::stage2;
constexpr smmu_kind both = smmu_kind::nested;

std::uint64_t swapped(std::uint64_t v) {
    std::uint64_t r = 0;
    for (unsigned i = 0; i < 8; ++i)
        r |= (v >> i * 8 & 0xff) << (56 - i * 8);
    return r;
}

// The flags of a fault of stage 2 that the input address met.
constexpr std::uint64_t of_second = class_input | is_second;

struct chain_case {
    std::uint64_t tg;
    std::uint64_t size;
    int start;
    bool wide;
};
constexpr chain_case chains[] = {{0, 16, 0, false}, {0, 24, 1, false}, {0, 12, -1, true}, {0, 12, 0, true}, {2, 16, 1, false},
                                 {2, 12, 0, true},  {2, 28, 2, false}, {1, 16, 1, false}, {1, 12, 1, true}, {1, 34, 2, false}};

smmu_chain chain(chain_case const& c) { return smmu_chain{second, c.tg, c.size, c.start, c.wide}; }

} // namespace

// --- geometry --------------------------------------------------------------------------------------------------------

TEST_CASE("smmu stage 2: 2, 4, 8 and 16 tables side by side, with the wide index and the aligned base") {
    struct {
        std::uint64_t tg;
        std::uint64_t sl0;
        std::uint64_t size;
        std::uint64_t shift;
        bool wide;
        std::uint64_t base; // of 9FFF'FFF0h
    } const cases[] = {
        {0, 1, 24, 30, false, 0x9fff'e000},
        {0, 1, 23, 30, false, 0x9fff'c000},
        {0, 1, 22, 30, false, 0x9fff'8000},
        {0, 1, 21, 30, false, 0x9fff'0000},
        {0, 0, 33, 21, false, 0x9fff'e000},
        {0, 0, 30, 21, false, 0x9fff'0000},
        {0, 2, 15, 39, true, 0x9fff'e000},
        {0, 2, 12, 39, true, 0x9fff'0000},
        {2, 2, 16, 36, false, 0x9fff'8000},
        {2, 2, 13, 36, true, 0x9ffc'0000},
        {2, 1, 27, 25, false, 0x9fff'8000},
        {2, 1, 24, 25, false, 0x9ffc'0000},
        {2, 0, 38, 14, false, 0x9fff'8000},
        {2, 0, 35, 14, false, 0x9ffc'0000},
        {1, 1, 21, 29, false, 0x9ffe'0000},
        {1, 1, 18, 29, false, 0x9ff0'0000},
        {1, 0, 34, 16, false, 0x9ffe'0000},
        {1, 0, 31, 16, false, 0x9ff0'0000},
        // And the smallest ones: two entries; with S2PS of 52 bits 64 bytes.
        {0, 2, 24, 39, false, 0x9fff'fff0},
        {0, 2, 24, 39, true, 0x9fff'ffc0},
        {0, 2, 16, 39, false, 0x9fff'f000},
    };
    for (auto const& c : cases) {
        smmu_unit u{second};
        if (c.wide) u.widen();
        u.ste.set<"S2DS">(c.wide);
        u.ste.set<"S2PS">(c.wide ? 6 : 5);
        u.ste.set<"S2TG">(c.tg);
        u.ste.set<"S2SL0">(c.sl0);
        u.ste.set<"S2T0SZ">(c.size);
        u.ste.set<"S2TTB">(0x9fff'fff0);
        CAPTURE(c.tg, c.sl0, c.size);
        CHECK(u.translate_at(0).error().descriptor == c.base);
        std::uint64_t const last = low_mask(64 - c.size);
        CHECK(u.translate_at(last).error().descriptor == c.base + (last >> c.shift) * 8);
        // The first page that is out.
        if (64 - c.size < 48 || c.wide) {
            if (64 - c.size < (c.wide ? 52 : 48))
                check_event(u.translate_at(last + 1), event::f_translation, of_input(fault_stage::second), last + 1,
                            of_second | is_read, last + 1);
        }
    }
}

TEST_CASE("smmu stage 2: each of 16 tables is walked by itself") {
    for (std::uint64_t n = 0; n < 16; ++n) {
        smmu_unit u{second};
        u.ste.set<"S2T0SZ">(21);
        u.ste.set<"S2TTB">(0xb000'0000);
        std::uint64_t const ipa_at = n << 39 | 0x12'3456;
        u.memory[0xb000'0000 + n * 0x1000] = 0x1'0000'07fd | n << 36;
        CAPTURE(n);
        CHECK(u.translate_at(ipa_at)->output == pa{n << 36 | 0x1'0012'3456});
    }
}

TEST_CASE("smmu stage 2: blocks where they may be, and nowhere else") {
    struct {
        chain_case of;
        std::vector<int> blocks;
    } const cases[] = {{chains[0], {1, 2}}, {chains[2], {0, 1, 2}}, {chains[3], {0, 1, 2}}, {chains[4], {2}},
                       {chains[5], {1, 2}}, {chains[7], {2}},       {chains[8], {1, 2}}};
    for (auto const& c : cases)
        for (int level = c.of.start; level < 3; ++level) {
            auto u = chain(c.of);
            bool legal = false;
            for (int const b : c.blocks)
                legal = legal || b == level;
            std::uint64_t const span = std::uint64_t{1} << u.shift(level);
            std::uint64_t const base = c.of.wide && level == (c.of.tg == 0 ? 0 : 1) ? span : 0x40'0000'0000 & ~(span - 1);
            u.entry(level) = u.leaf(base | ((span - 1) & 0x0fff'ffff'0000), level);
            CAPTURE(c.of.tg, c.of.size, c.of.wide, level);
            auto const found = u.translate_at(span - 8);
            if (legal) {
                REQUIRE(found);
                CHECK(found->output == pa{base + span - 8});
                CHECK(found->lg2_size == u.shift(level));
            } else {
                check_event(
                    found, event::f_translation,
                    of_descriptor(fault_stage::second, static_cast<std::uint64_t>(3 - level), u.table(level), u.entry(level)),
                    span - 8, of_second | is_read, span - 8);
            }
        }
}

TEST_CASE("smmu stage 2: 52 bits of 4 KiB and 16 KiB descriptors, and the shareability of S2SH0") {
    for (auto const& c : {chains[2], chains[3], chains[5]}) {
        auto u = chain(c);
        u.ste.set<"S2SH0">(2);
        u.entry(3) = 0x0003'2345'6789'c7ff;
        auto const found = u.translate_at(0x123);
        REQUIRE(found);
        CHECK(found->output == pa{0xf'2345'6789'c123});
        CHECK(smmu::memory_in(found->effective).sharing == smmu::shareability::outer);
        u.entry(2) = 0x0000'0000'9700'0203;
        u.memory[0x8'0000'9700'0000] = u.leaf(0x4000, 3);
        CHECK(u.translate_at(0x10)->output == pa{0x4010});
        u.ste.set<"S2PS">(5);
        CHECK(event_of(u.translate_at(0x10)) == event::f_addr_size);
    }
}

TEST_CASE("smmu stage 2: 52 bits of 64 KiB descriptors") {
    auto u = chain(chains[8]);
    u.entry(3) = u.leaf(0x1234'5678'f000 & ~std::uint64_t{0x4fd}, 3);
    CHECK(u.translate_at(0x123)->output == pa{0xf'1234'5678'0123});
    u.ste.set<"S2PS">(5);
    CHECK(event_of(u.translate_at(0x123)) == event::f_addr_size);
    u.idr5.set<"OAS">(5); // 15:12 mean nothing
    u.ste.set<"S2T0SZ">(16);
    CHECK(u.translate_at(0x123)->output == pa{0x1234'5678'0123});
}

// --- faults, by cause ------------------------------------------------------------------------------------------------

TEST_CASE("smmu stage 2 F_TRANSLATION: the range, and no top byte is ignored") {
    smmu_unit u{second};
    for (std::uint64_t const at : {0x100'0000'0000u, 0x8000'0000'0000u, 0x100'1234'5678u})
        check_event(u.translate_at(at, write), event::f_translation, of_input(fault_stage::second), at, of_second, at);
    // Beyond IAS it is stage 1 that says so.
    CHECK(record_of(u.translate_at(0x5a00'0080'1234'5678)) == (class_input | is_read));
    CHECK(event_of(u.translate_at(0x5a00'0080'1234'5678)) == event::f_addr_size);
}

TEST_CASE("smmu stage 2 F_TRANSLATION: an invalid descriptor of each level and granule") {
    for (auto const& c : chains)
        for (int level = c.start; level <= 3; ++level)
            for (std::uint64_t const type : {0u, 1u, 2u}) {
                if (type == 1 && level < 3) continue;
                auto u = chain(c);
                u.entry(level) = (every_bit & ~std::uint64_t{3}) | type;
                CAPTURE(c.tg, c.start, level, type);
                check_event(
                    u.translate_at(0x10), event::f_translation,
                    of_descriptor(fault_stage::second, static_cast<std::uint64_t>(3 - level), u.table(level), u.entry(level)),
                    0x10, of_second | is_read, 0x10);
            }
}

TEST_CASE("smmu stage 2 F_WALK_EABT: a descriptor of each level that cannot be read") {
    for (auto const& c : chains)
        for (int level = c.start; level <= 3; ++level) {
            auto u = chain(c);
            u.memory.poison(u.table(level));
            u.ste.set<"S2R">(0); // it is recorded all the same
            CAPTURE(c.tg, c.start, level);
            auto const answer = u.translate_at(0x10);
            REQUIRE_FALSE(answer);
            CHECK(answer.error().code == event::f_walk_eabt);
            CHECK(record_of(answer) == (of_second | is_read));
            CHECK(answer.error().descriptor == u.table(level));
            CHECK(answer.error().reported);
        }
}

TEST_CASE("smmu stage 2 F_ADDR_SIZE: every descriptor whose address is too wide") {
    constexpr std::uint64_t sizes[]{32, 36, 40, 42, 44, 48};
    for (auto const& c : chains)
        for (int level = c.start; level <= 3; ++level)
            for (std::uint64_t ps = 0; ps < 5; ++ps) {
                auto u = chain(c);
                u.ste.set<"S2PS">(ps);
                u.entry(3) = u.leaf(0, 3);
                std::uint64_t const sound = u.entry(level);
                CAPTURE(c.tg, c.start, level, ps);
                REQUIRE(u.translate_at(0x10));
                for (std::uint64_t n = sizes[ps]; n < (c.wide && c.tg != 1 ? 50 : 48); ++n) {
                    u.entry(level) = sound | one_bit(static_cast<unsigned>(n));
                    check_event(
                        u.translate_at(0x10), event::f_addr_size,
                        of_descriptor(fault_stage::second, static_cast<std::uint64_t>(3 - level), u.table(level), u.entry(level)),
                        0x10, of_second | is_read, 0x10);
                }
            }
    // OAS counts too.
    smmu_unit u{second};
    u.idr5.set<"OAS">(2);
    u.memory[u.s3] = 0x100'1234'57ff;
    CHECK(event_of(u.translate()) == event::f_addr_size);
}

TEST_CASE("smmu stage 2 F_ACCESS: a clear access flag, before permission, after the address size") {
    for (auto const& c : chains) {
        auto u = chain(c);
        u.entry(3) = u.leaf(0, 3) & ~std::uint64_t{0x4c0}; // S2AP = 00 too
        check_event(u.translate_at(0x10), event::f_access, of_descriptor(fault_stage::second, 0, u.table(3), u.entry(3)), 0x10,
                    of_second | is_read, 0x10);
        u.ste.set<"S2AFFD">(1);
        check_event(u.translate_at(0x10), event::f_permission, of_descriptor(fault_stage::second, 0, u.table(3), u.entry(3)),
                    0x10, of_second | is_read | 1, 0x10);
        CHECK(u.memory.updates.empty());
        u.ste.set<"S2PS">(0);
        u.entry(3) |= one_bit(40);
        CHECK(event_of(u.translate_at(0x10)) == event::f_addr_size);
    }
}

TEST_CASE("smmu stage 2 F_PERMISSION: what is missing, and how the record tells the access") {
    struct {
        std::uint64_t s2ap;
        access a;
        std::uint64_t flags;
        std::uint64_t missing;
    } const cases[] = {
        {0, read, is_read, 1},
        {1, write, 0, 2},
        {2, read, is_read, 1},
        {2, read_write, is_read, 1},
        {1, read_write, 0, 2},
        {0, read_write, is_read, 3},
        {0, execute, is_read | is_instruction, 5}, // to fetch takes the right to read as well
        {2, execute, is_read | is_instruction, 5},
        {1, write | privileged, is_privileged, 2},
    };
    for (auto const& c : cases) {
        smmu_unit u{second};
        u.memory[u.s3] = 0x3'1234'573f | c.s2ap << 6;
        CAPTURE(c.s2ap, c.a.bits);
        check_event(u.translate(c.a), event::f_permission, of_descriptor(fault_stage::second, 0, u.s3, u.memory[u.s3]), u.at(),
                    of_second | c.flags | c.missing, u.at());
        u.aidr = 0;
        if (c.a == read_write) CHECK(record_of(u.translate(c.a)) == of_second);
    }
}

// --- rights ----------------------------------------------------------------------------------------------------------

TEST_CASE("smmu stage 2: who may do what, for every S2AP and XN, with and without XNX") {
    // XN as bits 54:53: who executes, u unprivileged, p privileged.
    constexpr char const* with_xnx[]{"up", "u", "", "p"};
    constexpr char const* without[]{"up", "up", "", ""};
    for (bool const xnx : {true, false})
        for (std::uint64_t s2ap = 0; s2ap < 4; ++s2ap)
            for (std::uint64_t xn = 0; xn < 4; ++xn)
                for (bool const is_user : {true, false}) {
                    smmu_unit u{second};
                    u.idr3.set<"XNX">(xnx);
                    u.memory[u.s3] = 0x3'1234'573f | s2ap << 6 | xn << 53;
                    bool const reads = (s2ap & 1) != 0;
                    bool const writes = (s2ap & 2) != 0;
                    std::string const who = xnx ? with_xnx[xn] : without[xn];
                    bool const executes = reads && who.find(is_user ? 'u' : 'p') != who.npos;
                    access const p = is_user ? none : privileged;
                    CAPTURE(xnx, s2ap, xn, is_user);
                    struct {
                        access a;
                        bool granted;
                    } const asked[] = {{read, reads},
                                       {write, writes},
                                       {read_write, reads && writes},
                                       {execute, executes},
                                       {read | execute, executes},
                                       {write | execute, writes}};
                    for (auto const& ask : asked) {
                        auto const answer = u.translate(ask.a | p);
                        CAPTURE(ask.a.bits);
                        CHECK(event_of(answer) == (ask.granted ? mapped : event::f_permission));
                        if (answer)
                            CHECK(answer->effective.rights().bits ==
                                  ((reads ? 1u : 0) | (writes ? 2u : 0) | (executes ? 4u : 0)));
                    }
                }
}

TEST_CASE("smmu stage 2: tables forbid nothing") {
    smmu_unit u{second};
    auto const plain = u.translate(read_write);
    REQUIRE(plain);
    for (unsigned n = 2; n < 64; ++n) {
        if (n >= 12 && n < 48) continue; // the address
        u.memory[u.s1] = 0xa001'0003 | one_bit(n);
        CAPTURE(n);
        CHECK(u.translate(read_write) == plain);
    }
}

TEST_CASE("smmu nested: both stages must grant, and stage 1 is asked first") {
    for (std::uint64_t ap = 0; ap < 4; ++ap)
        for (std::uint64_t s2ap = 0; s2ap < 4; ++s2ap)
            for (std::uint64_t xn = 0; xn < 4; ++xn)
                for (access const a : {read, write, execute}) {
                    smmu_unit u{both};
                    u.first(u.l3) = 0x1'2345'6f07 | ap << 6;
                    u.memory[u.n_out] = 0x7'4000'073d | s2ap << 6 | xn << 53;
                    bool const first_grants = a == execute ? true : a == read ? (ap & 1) != 0 : ap == 1;
                    bool const second_grants = a == read    ? (s2ap & 1) != 0
                                               : a == write ? (s2ap & 2) != 0
                                                            : (s2ap & 1) != 0 && xn < 2;
                    auto const answer = u.translate(a);
                    CAPTURE(ap, s2ap, xn, a.bits);
                    REQUIRE(event_of(answer) == (first_grants && second_grants ? mapped : event::f_permission));
                    if (answer) continue;
                    CHECK(static_cast<int>(answer.error().stage) == (first_grants ? 2 : 1));
                    CHECK((record_of(answer) & is_second) == (first_grants ? is_second : 0));
                    CHECK(answer.error().intermediate == (first_grants ? 0x1'2345'6abc : 0));
                }
}

// --- updates ---------------------------------------------------------------------------------------------------------

TEST_CASE("smmu stage 2: AF, S2AFFD, S2HA, S2HD and DBM: every combination, and what is stored") {
    for (unsigned mode = 0; mode < 8; ++mode)
        for (unsigned bits = 0; bits < 8; ++bits)
            for (access const a : {read, write, read_write}) {
                bool const ha = (mode & 1) != 0;
                bool const hd = (mode & 2) != 0;
                bool const affd = (mode & 4) != 0;
                bool const af = (bits & 1) != 0;
                bool const dbm = (bits & 2) != 0;
                bool const ro = (bits & 4) != 0;
                smmu_unit u{second};
                u.ste.set<"S2HA">(ha);
                u.ste.set<"S2HD">(hd);
                u.ste.set<"S2AFFD">(affd);
                std::uint64_t const leaf = 0x3'1234'537f | (af ? 0x400 : 0) | (dbm ? one_bit(51) : 0) | (ro ? 0 : 0x80);
                u.memory[u.s3] = leaf;
                bool const writes = a.covers(write);
                event expected = mapped;
                std::uint64_t stored = leaf;
                if (!af && !ha && !affd) {
                    expected = event::f_access;
                } else if (writes && ro && !(ha && hd && dbm)) {
                    expected = event::f_permission;
                } else {
                    if (ha) stored |= 0x400;
                    if (writes && ro) stored |= 0x80;
                }
                CAPTURE(ha, hd, affd, af, dbm, ro, a.bits);
                CHECK(event_of(u.translate(a)) == expected);
                if (expected == event::f_permission && ha && !af)
                    CHECK((u.memory[u.s3] | 0x400) == (leaf | 0x400));
                else
                    CHECK(u.memory[u.s3] == stored);
            }
}

TEST_CASE("smmu stage 2: S2HAFT sets the access flag of each table on the way, where the unit does that") {
    for (std::uint64_t const httu : {3u, 2u}) {
        smmu_unit u{second};
        u.idr0.set<"HTTU">(httu);
        u.ste.set<"S2HA">(1);
        u.ste.set<"S2HAFT">(1);
        REQUIRE(u.translate());
        if (httu == 3)
            CHECK(u.memory.updates == std::vector<update>{{u.s1, 0xa001'0003, 0xa001'0403}, {u.s2, 0xa001'1003, 0xa001'1403}});
        else
            CHECK(u.memory.updates.empty());
    }
}

TEST_CASE("smmu stage 2: an entry that changes before its update, once and for ever") {
    for (auto const kind : {second, both}) {
        smmu_unit u{kind};
        u.ste.set<"S2HA">(1);
        std::uint64_t const at = kind == second ? u.s3 : u.n_out;
        std::uint64_t const type = kind == second ? 3 : 1;
        u.memory[at] = 0x3'1200'03fc | type;
        bool done = false;
        u.memory.meddle = [&](std::uint64_t where) {
            if (where != at || done) return;
            done = true;
            u.memory[at] = 0x5'4400'03fc | type;
        };
        auto const answer = u.translate();
        REQUIRE(answer);
        CHECK(answer->output.value == (kind == second ? 0x5'4400'0678 : 0x5'4405'6abc));
        CHECK(u.memory[at] == (0x5'4400'07fc | type));
        std::uint64_t next = 0;
        u.memory[at] = 0x3'1200'03fc | type;
        u.memory.meddle = [&](std::uint64_t where) {
            if (where == at) u.memory[at] = (0x5'0000'03fc | type) + (++next << 21);
        };
        auto const given_up = u.translate();
        CHECK(event_of(given_up) == event::f_walk_eabt);
        CHECK(record_of(given_up) == (of_second | is_read));
        CHECK(given_up.error().descriptor == at);
        CHECK(u.memory.attempts <= 20);
    }
}

TEST_CASE("smmu stage 2: big-endian tables, read and updated, stage 1's are not concerned") {
    smmu_unit u{second};
    u.ste.set<"S2ENDI">(1);
    u.ste.set<"S2HA">(1);
    u.ste.set<"S2HD">(1);
    u.memory[u.s1] = swapped(u.memory[u.s1]);
    u.memory[u.s2] = swapped(u.memory[u.s2]);
    u.memory[u.s3] = swapped(0x0008'0003'1234'537f);
    CHECK(u.translate(write)->output == pa{0x3'1234'5678});
    CHECK(u.memory[u.s3] == swapped(0x0008'0003'1234'57ff));
    for (unsigned order = 0; order < 4; ++order) {
        smmu_unit n{both};
        n.ste.set<"S2ENDI">(order & 1);
        n.cd.set<"ENDI">(order >> 1);
        n.ste.set<"S2HA">(1);
        n.cd.set<"HA">(1);
        n.memory[n.n_out] &= ~std::uint64_t{0x400};
        n.first(n.l3) &= ~std::uint64_t{0x400};
        if ((order & 1) != 0)
            for (auto const at : {n.n_root, n.n_cd, n.n_table, n.n_root_out, n.n_out})
                n.memory[at] = swapped(n.memory[at]);
        if ((order & 2) != 0)
            for (auto const at : {n.l0, n.l1, n.l2, n.l3})
                n.first(at) = swapped(n.first(at));
        CAPTURE(order);
        CHECK(n.translate()->output == pa{0x7'4005'6abc});
        CHECK(n.first(n.l3) == ((order & 2) != 0 ? swapped(0x0060'0001'2345'6f47) : 0x0060'0001'2345'6f47));
        CHECK(n.memory[n.n_out] == ((order & 1) != 0 ? swapped(0x7'4000'07fd) : 0x7'4000'07fd));
    }
}

// --- under stage 1 ---------------------------------------------------------------------------------------------------

TEST_CASE("smmu nested: every address of stage 1 goes through stage 2, each entry once in order") {
    smmu_unit u{both};
    auto const found = u.translate();
    REQUIRE(found);
    CHECK(found->output == pa{0x7'4005'6abc});
    CHECK(found->lg2_size == 12); // the smaller of 4 KiB and 2 MiB
    std::vector<std::uint64_t> expected;
    for (unsigned w = 0; w < 4; ++w)
        expected.push_back(u.ste_at + w * 8);
    expected.push_back(u.n_root);
    expected.push_back(u.n_cd);
    for (unsigned w = 0; w < 4; ++w)
        expected.push_back(0x3'9200'0000 + w * 8);
    for (auto const at : {u.l0, u.l1, u.l2, u.l3}) {
        expected.push_back(u.n_root);
        expected.push_back(u.n_table);
        expected.push_back(u.where(at));
    }
    expected.push_back(u.n_root_out);
    expected.push_back(u.n_out);
    CHECK(u.memory.trail == expected);
    // A block of stage 1 over pages of stage 2: the smaller size again.
    u.first(u.l1) = 0x0000'0001'0000'0f41;
    auto const block = u.translate();
    REQUIRE(!block); // bits 29:21 of the address are 1A2h: nothing there
    u.memory[0xa003'0000 + 0x1a2 * 8] = 0x7'5000'07fd;
    CHECK(u.translate()->lg2_size == 21);
    CHECK(u.translate()->output == pa{0x7'5016'7abc});
}

TEST_CASE("smmu nested: one block of stage 1 covers unlike pages of stage 2") {
    smmu_unit u{both};
    u.first(u.l2) = 0x0000'0001'2340'0f41; // 2 MiB at IPA 123400000h
    u.memory[u.n_out] = 0xa004'0003;
    u.memory[0xa004'0000] = 0x6'0000'07ff;
    u.memory[0xa004'0008] = 0x9'9999'07ff & ~std::uint64_t{0xf800};
    u.memory[0xa004'0010] = 0;
    std::uint64_t const at = u.at() & ~std::uint64_t{0x1f'ffff};
    CHECK(u.translate_at(at | 0x123)->output == pa{0x6'0000'0123});
    CHECK(u.translate_at(at | 0x1123)->output == pa{0x9'9999'0123});
    CHECK(u.translate_at(at | 0x1123)->lg2_size == 12);
    check_event(u.translate_at(at | 0x2123), event::f_translation, of_descriptor(fault_stage::second, 0, 0xa004'0010, 0),
                at | 0x2123, of_second | is_read, 0x1'2340'2123);
}

TEST_CASE("smmu nested: stage 2 refuses a descriptor of stage 1, CLASS = TT") {
    for (unsigned level = 0; level < 4; ++level) {
        struct {
            std::uint64_t leaf;
            event code;
            std::uint64_t flags;
        } const causes[] = {
            {0, event::f_translation, 0},
            {0x3'9400'03ff, event::f_access, 0},
            {0x3'9400'07bf, event::f_permission, is_table_read | 1},
            {0x1003'9400'07ff, event::f_addr_size, 0},
        };
        for (auto const& c : causes)
            for (access const a : {read, write | privileged, execute}) {
                smmu_unit u{both};
                u.idr5.set<"OAS">(4); // 44 bits
                // Each table in a page of its own: level 0 to 3 at 94000000h, 94001000h, ...
                u.memory[u.n_table] = 0xa005'0003;
                for (std::uint64_t i = 0; i < 4; ++i)
                    u.memory[0xa005'0000 + i * 8] = 0x3'9400'07ff + (i << 12);
                if (event_of(u.translate(a)) != (a == execute ? event::f_permission : mapped)) FAIL("not sound");
                u.memory[0xa005'0000 + level * 8] = c.leaf;
                std::uint64_t const at[]{u.l0, u.l1, u.l2, u.l3};
                std::uint64_t const flags = a == read ? is_read : a == execute ? is_read | is_instruction : is_privileged;
                CAPTURE(level, static_cast<int>(c.code), a.bits);
                check_event(u.translate(a), c.code,
                            smmu_place{fault_stage::second, fault_at::table, 0, 0xa005'0000 + level * 8, c.leaf}, u.at(),
                            class_table | is_second | flags | c.flags, at[level]);
                u.ste.set<"S2R">(0);
                CHECK_FALSE(u.translate(a).error().reported);
                u.ste.set<"S2S">(1);
                CHECK(u.translate(a).error().reported);
                CHECK((u.translate(a).error().detail & is_stalled) != 0);
            }
    }
}

TEST_CASE("smmu nested: aborts name the physical descriptor, and whose it was") {
    smmu_unit u{both};
    u.memory.poison(u.where(u.l1));
    auto const of_first = u.translate();
    REQUIRE_FALSE(of_first);
    CHECK(of_first.error().code == event::f_walk_eabt);
    CHECK(static_cast<int>(of_first.error().stage) == 1);
    CHECK(of_first.error().descriptor == 0x3'9400'1240);
    CHECK(record_of(of_first) == (class_table | is_read));
    smmu_unit v{both};
    v.memory.poison(v.n_table);
    auto const of_table = v.translate();
    CHECK(event_of(of_table) == event::f_walk_eabt);
    CHECK(of_table.error().descriptor == v.n_table);
    CHECK(record_of(of_table) == (class_table | is_second | is_read));
    smmu_unit w{both};
    w.memory.poison(w.n_out);
    auto const of_page = w.translate(write);
    CHECK(event_of(of_page) == event::f_walk_eabt);
    CHECK(of_page.error().descriptor == w.n_out);
    CHECK(record_of(of_page) == of_second);
}

TEST_CASE("smmu nested: stage 1's own faults have no IPA and no S2") {
    smmu_unit u{both};
    u.first(u.l2) = 0;
    auto const absent = u.translate();
    CHECK(event_of(absent) == event::f_translation);
    CHECK(record_of(absent) == (class_input | is_read));
    CHECK(absent.error().intermediate == 0);
    CHECK(static_cast<int>(absent.error().stage) == 1);
    // Its addresses are limited by IPS; then stage 2's range counts.
    smmu_unit v{both};
    v.first(v.l3) = 0x0000'0100'0000'0f47; // 2^40
    auto const beyond = v.translate();
    check_event(beyond, event::f_translation, of_input(fault_stage::second), v.at(), of_second | is_read, 0x100'0000'0abc);
    v.cd.set<"IPS">(2);
    CHECK(event_of(v.translate()) == event::f_addr_size);
    CHECK(record_of(v.translate()) == (class_input | is_read));
    // A table beyond stage 2's range.
    smmu_unit w{both};
    w.first(w.l1) = 0x0000'0100'0000'0003;
    auto const table = w.translate();
    CHECK(event_of(table) == event::f_translation);
    CHECK(record_of(table) == (class_table | is_second | is_read));
    CHECK(table.error().intermediate == 0x100'0000'0d10);
}

TEST_CASE("smmu nested: S2PTW forbids stage-1 tables and context descriptors in Device memory") {
    for (bool const ptw : {true, false})
        for (bool const fwb : {false, true})
            for (std::uint64_t memattr = 0; memattr < 16; ++memattr)
                for (bool const of_context : {true, false}) {
                    smmu_unit u{both};
                    u.ste.set<"S2PTW">(ptw);
                    u.ste.set<"S2FWB">(fwb);
                    std::uint64_t& leaf = u.memory[of_context ? u.n_cd : u.n_table];
                    leaf = (leaf & ~std::uint64_t{0x3c}) | memattr << 2;
                    bool const device = fwb ? (memattr & 4) == 0 : memattr < 4;
                    auto const answer = u.translate(write);
                    CAPTURE(ptw, fwb, memattr, of_context);
                    CHECK(event_of(answer) == (ptw && device ? event::f_permission : mapped));
                    if (!answer) {
                        CHECK(record_of(answer) == (is_second | (of_context ? 0 : class_table | is_table_read)));
                        CHECK(answer.error().intermediate == (of_context ? u.cd_at : u.l0));
                    }
                }
    // Stage 2 alone does not look.
    smmu_unit u{second};
    u.memory[u.s3] &= ~std::uint64_t{0x3c};
    CHECK(u.translate());
}

TEST_CASE("smmu nested: a client's write needs no right to write stage 1's tables, an update does") {
    for (bool const updates : {false, true})
        for (access const a : {read, write}) {
            smmu_unit u{both};
            u.cd.set<"HA">(updates);
            u.memory[u.n_cd] &= ~std::uint64_t{0x80};
            u.memory[u.n_table] &= ~std::uint64_t{0x80};
            CAPTURE(updates, a.bits);
            CHECK(u.translate(a)); // AF is set already
            if (!updates) continue;
            u.first(u.l3) &= ~std::uint64_t{0x400};
            check_event(u.translate(a), event::f_permission,
                        smmu_place{fault_stage::second, fault_at::table, 1, u.n_table, 0x3'9400'077d}, u.at(),
                        class_table | is_second | (a == read ? is_read : 0) | 2, u.l3);
            CHECK(u.memory.updates.empty());
        }
}

TEST_CASE("smmu nested: stage 1's update marks stage 2's page dirty, reading does not") {
    smmu_unit u{both};
    u.cd.set<"HA">(1);
    u.ste.set<"S2HA">(1);
    u.ste.set<"S2HD">(1);
    std::uint64_t const clean = 0x0008'0003'9400'037d; // DBM, S2AP = 01, AF = 0
    u.memory[u.n_table] = clean;
    REQUIRE(u.translate(write));
    CHECK(u.memory[u.n_table] == (clean | 0x400));
    u.first(u.l3) &= ~std::uint64_t{0x400};
    REQUIRE(u.translate(read));
    CHECK(u.memory[u.n_table] == (clean | 0x480));
    CHECK(u.first(u.l3) == 0x0060'0001'2345'6f47);
    // Nor does the fetch of a context descriptor.
    u.memory[u.n_cd] = 0x0008'0003'9200'037d;
    REQUIRE(u.translate(write));
    CHECK(u.memory[u.n_cd] == 0x0008'0003'9200'077d);
}

TEST_CASE("smmu nested: nothing of stage 1 is marked dirty where stage 2 refuses the access") {
    smmu_unit u{both};
    u.cd.set<"HA">(1);
    u.cd.set<"HD">(1);
    u.first(u.l3) = 0x0008'0001'2345'67c7;
    u.memory[u.n_out] = 0x7'4000'077d; // read-only
    CHECK(event_of(u.translate(write)) == event::f_permission);
    CHECK((u.first(u.l3) & 0x80) != 0);
    u.memory[u.n_out] = 0x7'4000'07fd;
    CHECK(u.translate(write));
    CHECK(u.first(u.l3) == 0x0008'0001'2345'6747);
}

TEST_CASE("smmu nested: tables of 64 KiB behind pages of 4 KiB are read where each descriptor is") {
    smmu_chain u{both, 1, 22, 2};
    // Stage 2 is that of the unit: 4 KiB, 40 bits, but for the tables: pages that are not side by side.
    u.ste.word[2] = 0x044d'3558'0000'0017;
    u.ste.word[3] = 0xa000'2000;
    u.memory[u.n_table] = 0xa005'0003;
    u.memory[0xa005'0000] = 0x3'1111'07ff & ~std::uint64_t{0xf000};
    u.memory[0xa005'0000 + 0x1f * 8] = 0x3'2222'07ff;                 // 9401F000h
    u.memory[0xa005'0000 + 9 * 8] = 0x3'3333'07ff;                    // 94009000h
    u.memory[0x3'3333'0000] = 0x9401'0003;                            // level 2, entry 1200h
    u.memory[0x3'2222'0ff8] = 0x1'2345'0447 & ~std::uint64_t{0xf000}; // level 3, entry 1FFFh
    u.memory[u.n_out] = 0x7'4000'07fd;
    std::uint64_t const at = std::uint64_t{0x1200} << 29 | std::uint64_t{0x1fff} << 16 | 0x6abc;
    auto const found = u.translate_at(at);
    REQUIRE(found);
    CHECK(found->output == pa{0x7'4005'6abc});
}

TEST_CASE("smmu stage 2: the contiguous hint and the bits for software change nothing") {
    for (auto const& c : chains)
        for (int const level : {2, 3}) {
            auto u = chain(c);
            if (level < c.start) continue;
            std::uint64_t const span = std::uint64_t{1} << u.shift(level);
            u.entry(level) = u.leaf(span * 3, level);
            auto const plain = u.translate_at(span - 8);
            REQUIRE(plain);
            CHECK(plain->output == pa{span * 4 - 8});
            for (unsigned const n : {11u, 50u, 51u, 52u, 55u, 56u, 57u, 58u, 59u, 60u, 61u, 62u, 63u}) {
                u.entry(level) = u.leaf(span * 3, level) | one_bit(n);
                CAPTURE(c.tg, level, n);
                CHECK(u.translate_at(span - 8) == plain);
            }
        }
}

TEST_CASE("smmu stage 2: each entry is read once, as many as there are levels") {
    for (auto const& c : chains) {
        auto u = chain(c);
        u.write_configuration();
        recording<smmu_unit::memory_type> watched{u.memory};
        smmu::iommu const unit{u.caps(), u.registers(), watched};
        REQUIRE(unit.translate(u.ask_at(0x10)));
        CHECK(watched.loads() == 4 + static_cast<std::size_t>(4 - c.start));
        CHECK(watched.each_once());
    }
}

} // namespace stagewalk::test
