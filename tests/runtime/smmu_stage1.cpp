// Stage 1: which halves and ranges, at which level tables start and where blocks may be, every fault by its cause, who may do
// what, and which descriptors are updated, when, and how.
#include "smmu_unit.hpp"

#include <stagewalk/memory/recording.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace stagewalk::test {
namespace {

using update = smmu_unit::memory_type::update;
using trail = std::vector<std::uint64_t>;

constexpr smmu_kind first = smmu_kind::stage1;

std::uint64_t swapped(std::uint64_t v) {
    std::uint64_t r = 0;
    for (unsigned i = 0; i < 8; ++i)
        r |= (v >> i * 8 & 0xff) << (56 - i * 8);
    return r;
}

// Where a legal table starts, the manual's level (DDI 0487 D8.2.4): granule as TG0, sizes from and to.
struct start_row {
    std::uint64_t tg;
    std::uint64_t from;
    std::uint64_t to;
    int level;
    bool wide;
    bool small;
};
constexpr start_row start_rows[] = {
    {0, 12, 15, -1, true, false}, {0, 16, 24, 0, false, false}, {0, 25, 33, 1, false, false}, {0, 34, 39, 2, false, false},
    {0, 40, 42, 2, false, true},  {0, 43, 48, 3, false, true},  {2, 12, 15, 0, true, false},  {2, 16, 16, 0, false, false},
    {2, 17, 27, 1, false, false}, {2, 28, 38, 2, false, false}, {2, 39, 39, 3, false, false}, {2, 40, 48, 3, false, true},
    {1, 12, 15, 1, true, false},  {1, 16, 21, 1, false, false}, {1, 22, 34, 2, false, false}, {1, 35, 39, 3, false, false},
    {1, 40, 47, 3, false, true},
};

} // namespace

// --- geometry --------------------------------------------------------------------------------------------------------

TEST_CASE("smmu stage 1: every TxSZ starts at its level, with the index of the last address") {
    constexpr std::uint64_t pages[]{12, 16, 14};
    for (auto const& r : start_rows)
        for (std::uint64_t size = r.from; size <= r.to; ++size)
            for (bool const upper : {false, true}) {
                smmu_unit u;
                if (r.wide) u.widen();
                if (r.small) u.idr3.set<"STT">(1);
                u.both_halves();
                u.cd.set<"DS">(r.wide);
                constexpr std::uint64_t tg1[]{2, 3, 1};
                u.cd.set<"TG0">(r.tg);
                u.cd.set<"T0SZ">(size);
                u.cd.set<"TG1">(tg1[r.tg]);
                u.cd.set<"T1SZ">(size);
                std::uint64_t const page = pages[r.tg];
                std::uint64_t const shift = page + static_cast<std::uint64_t>(3 - r.level) * (page - 3);
                std::uint64_t const bits = 64 - size;
                std::uint64_t const index = ((std::uint64_t{1} << bits) - 1) >> shift;
                std::uint64_t const at = upper ? every_bit : (std::uint64_t{1} << bits) - 1;
                CAPTURE(r.tg, size, upper);
                // Nothing lies there: the fault names the first descriptor.
                auto const answer = u.translate_at(at);
                REQUIRE_FALSE(answer);
                CHECK(std::uint64_t{answer.error().level} == static_cast<std::uint64_t>(3 - r.level));
                CHECK(answer.error().descriptor == (upper ? 0x9500'0000 : 0x9400'0000) + index * 8);
                CHECK(index < (std::uint64_t{1} << (page - 3))); // no tables side by side
                // One further is not in the range.
                std::uint64_t const beyond = upper ? every_bit << bits ^ one_bit(static_cast<unsigned>(bits)) : at + 1;
                check_event(u.translate_at(beyond), event::f_translation, of_input(fault_stage::first), beyond,
                            class_input | is_read);
            }
}

TEST_CASE("smmu stage 1: the table's low bits are taken as 0, 64 bytes at least with an IPS of 52") {
    struct {
        std::uint64_t tg;
        std::uint64_t size;
        std::uint64_t ips;
        bool wide;
        std::uint64_t root; // of ..FFF0h
    } const cases[] = {
        {0, 16, 5, false, 0x9fff'f000}, {0, 24, 5, false, 0x9fff'fff0}, {0, 25, 5, false, 0x9fff'f000},
        {0, 33, 5, false, 0x9fff'fff0}, {0, 31, 5, false, 0x9fff'ffc0}, {0, 32, 5, false, 0x9fff'ffe0},
        {2, 16, 5, false, 0x9fff'fff0}, {2, 17, 5, false, 0x9fff'c000}, {1, 16, 5, false, 0x9fff'fe00},
        {1, 22, 5, false, 0x9fff'0000}, {0, 12, 6, true, 0x9fff'ff80},  {0, 15, 6, true, 0x9fff'ffc0},
        {0, 24, 6, true, 0x9fff'ffc0},  {0, 24, 5, true, 0x9fff'fff0},  {2, 15, 6, true, 0x9fff'ffc0},
        {1, 21, 6, false, 0x9fff'ffc0},
    };
    for (auto const& c : cases) {
        smmu_unit u;
        if (c.ips == 6 || c.wide) u.widen();
        u.cd.set<"TG0">(c.tg);
        u.cd.set<"T0SZ">(c.size);
        u.cd.set<"IPS">(c.ips);
        u.cd.set<"DS">(c.wide);
        u.cd.set<"TTB0">(0x9fff'fff0);
        CAPTURE(c.tg, c.size, c.ips, c.wide);
        CHECK(u.translate_at(0).error().descriptor == c.root);
    }
}

TEST_CASE("smmu stage 1: blocks where they may be, and nowhere else, with their offset and without their low bits") {
    // Granule, 52-bit addresses, and the levels with blocks.
    struct {
        std::uint64_t tg;
        bool wide;
        std::uint64_t size;
        int start;
        std::vector<int> blocks;
    } const cases[] = {
        {0, false, 16, 0, {1, 2}}, {0, true, 12, -1, {0, 1, 2}}, {2, false, 16, 0, {2}},
        {2, true, 12, 0, {1, 2}},  {1, false, 16, 1, {2}},       {1, true, 12, 1, {1, 2}},
    };
    for (auto const& c : cases)
        for (int level = c.start; level < 3; ++level) {
            smmu_chain u{first, c.tg, c.size, c.start, c.wide};
            bool legal = false;
            for (int const b : c.blocks)
                legal = legal || b == level;
            std::uint64_t const span = std::uint64_t{1} << u.shift(level);
            std::uint64_t const base = c.wide && level == (c.tg == 0 ? 0 : 1) ? span : 0x40'0000'0000 & ~(span - 1);
            CAPTURE(c.tg, c.wide, level);
            // Bits of the address below the size, nT among them, are nobody's.
            std::uint64_t const noise = (span - 1) & 0x0000'0fff'ffff'0000 & ~std::uint64_t{0xffff};
            u.entry(level) = u.leaf(base | noise, level);
            std::uint64_t const at = span - 8;
            auto const found = u.translate_at(at);
            if (!legal) {
                check_event(
                    found, event::f_translation,
                    of_descriptor(fault_stage::first, static_cast<std::uint64_t>(3 - level), u.table(level), u.entry(level)), at,
                    class_input | is_read);
                continue;
            }
            REQUIRE(found);
            CHECK(found->output == pa{base + at});
            CHECK(found->lg2_size == u.shift(level));
        }
    // Without 52 bits a 64 KiB granule has no 4 TiB block, even where VAX is 52.
    smmu_chain u{first, 1, 12, 1, true};
    u.idr5.set<"OAS">(5);
    u.cd.set<"IPS">(5);
    u.entry(1) = u.leaf(0, 1);
    CHECK(event_of(u.translate_at(0)) == event::f_translation);
}

TEST_CASE("smmu stage 1: 52 bits of 4 KiB and 16 KiB descriptors: 51:50 are where SH was") {
    for (std::uint64_t const tg : {0u, 2u}) {
        smmu_chain u{first, tg, 12, tg == 0 ? -1 : 0, true};
        u.cd.set<"SH0">(2);
        u.entry(3) = 0x0003'2345'6789'c747;
        auto const found = u.translate_at(0x123);
        REQUIRE(found);
        CHECK(found->output == pa{0xf'2345'6789'c123});
        // The shareability is the context descriptor's.
        CHECK(smmu::memory_in(found->effective).sharing == smmu::shareability::outer);
        // A table's 9:8 are address bits too.
        u.entry(2) = 0x0000'0000'9700'0203;
        u.memory[0x8'0000'9700'0000] = u.leaf(0x4000, 3);
        CHECK(u.translate_at(0x10)->output == pa{0x4010});
        // Without CD.DS they are not, and 49:48 mean nothing.
        smmu_chain n{first, tg, 16, 0};
        n.widen();
        n.entry(2) = n.table(3) | 0x0003'0000'0000'0303;
        n.entry(3) = 0x0003'2345'6789'c747;
        CHECK(n.translate_at(0)->output == pa{0x2345'6789'c000});
        // Nor in a unit that has not got DS.
        n.cd.set<"DS">(1);
        n.idr5.set<"DS">(0);
        CHECK(n.translate_at(0)->output == pa{0x2345'6789'c000});
    }
}

// --- halves ----------------------------------------------------------------------------------------------------------

TEST_CASE("smmu stage 1: bit 55 chooses the half, and each half has its size, granule, table and TBI") {
    smmu_unit u;
    u.both_halves();
    u.cd.set<"T0SZ">(25); // 4 KiB, level 1
    u.cd.set<"TG1">(3);   // 64 KiB, level 2
    u.cd.set<"T1SZ">(24);
    struct {
        std::uint64_t at;
        std::uint64_t descriptor; // 0: not in the range
        std::uint64_t level;
    } const cases[] = {
        {0x0000'007f'ffff'ffff, 0x9400'0ff8, 2},
        {0x0000'0080'0000'0000, 0, 0},
        {0xffff'ff00'0000'0000, 0x9500'0000, 1},
        {0xffff'feff'ffff'ffff, 0, 0},
        {0xffff'ff7f'ffff'ffff, 0x9500'1ff8, 0xbad},
        {0x0080'0000'0000'0000, 0, 0},
        {0xff7f'ffff'ffff'ffff, 0, 0},
    };
    for (auto const& c : cases) {
        CAPTURE(c.at);
        auto const answer = u.translate_at(c.at);
        REQUIRE_FALSE(answer);
        if (c.descriptor == 0) {
            check_event(answer, event::f_translation, of_input(fault_stage::first), c.at, class_input | is_read);
        } else if (c.level != 0xbad) {
            CHECK(answer.error().descriptor == c.descriptor);
            CHECK(std::uint64_t{answer.error().level} == c.level);
        } else {
            // 40 bits of 64 KiB: bits 39:29, here 3FFh.
            CHECK(answer.error().descriptor == c.descriptor);
        }
    }
}

TEST_CASE("smmu stage 1: TBI0 and TBI1 each ignore the top byte of their own half") {
    for (unsigned tbi = 0; tbi < 4; ++tbi)
        for (bool const upper : {false, true})
            for (std::uint64_t const top : {0x00u, 0x01u, 0x5au, 0x80u, 0xfeu, 0xffu}) {
                smmu_unit u;
                u.both_halves();
                u.cd.set<"TBI0">(tbi & 1);
                u.cd.set<"TBI1">(tbi >> 1);
                u.memory[0x9500'07f0] = 0x9400'1003; // the upper half shares the tables below
                std::uint64_t const at = top << 56 | (upper ? 0x00ff'7f12'3456'7abc : 0x0000'7f12'3456'7abc);
                bool const ignored = (tbi >> (upper ? 1 : 0) & 1) != 0;
                bool const fine = ignored || top == (upper ? 0xff : 0);
                CAPTURE(tbi, upper, top);
                auto const answer = u.translate_at(at);
                CHECK(event_of(answer) == (fine ? mapped : event::f_translation));
                if (fine) CHECK(answer->output == pa{0x1'2345'6abc});
                // Bits 54:48 are looked at, whatever TBI says.
                CHECK(event_of(u.translate_at(at ^ one_bit(52))) == event::f_translation);
            }
}

TEST_CASE("smmu stage 1: E0PD closes a half to unprivileged accesses") {
    for (bool const has : {true, false})
        for (unsigned closed = 0; closed < 4; ++closed)
            for (bool const upper : {false, true})
                for (access const who : {none, privileged}) {
                    smmu_unit u;
                    u.idr3.set<"E0PD">(has);
                    u.both_halves();
                    u.cd.set<"E0PD0">(closed & 1);
                    u.cd.set<"E0PD1">(closed >> 1);
                    u.memory[0x9500'07f0] = 0x9400'1003;
                    std::uint64_t const at = upper ? 0xffff'7f12'3456'7abc : 0x0000'7f12'3456'7abc;
                    bool const bad = has && (closed >> (upper ? 1 : 0) & 1) != 0 && who == none;
                    CAPTURE(has, closed, upper, who.bits);
                    auto const answer = u.translate_at(at, read | who);
                    if (!bad)
                        CHECK(answer);
                    else
                        check_event(answer, event::f_translation, of_input(fault_stage::first), at, class_input | is_read);
                }
    // The overridden privilege counts.
    smmu_unit u;
    u.cd.set<"E0PD0">(1);
    u.ste.set<"PRIVCFG">(3);
    CHECK(u.translate(read));
    u.ste.set<"PRIVCFG">(2);
    CHECK(event_of(u.translate(read | privileged)) == event::f_translation);
}

// --- faults, by cause ------------------------------------------------------------------------------------------------

TEST_CASE("smmu F_TRANSLATION: an invalid descriptor of each level and granule") {
    for (std::uint64_t tg = 0; tg < 3; ++tg) {
        int const start = tg == 1 ? 1 : 0;
        for (int level = start; level <= 3; ++level)
            for (std::uint64_t const type : {0u, 1u, 2u}) {
                if (type == 1 && level < 3) continue; // blocks have their own case
                smmu_chain u{first, tg, 16, start};
                u.entry(level) = (0xffff'ffff'ffff'fffc & ~std::uint64_t{3}) | type;
                CAPTURE(tg, level, type);
                check_event(
                    u.translate_at(0x10), event::f_translation,
                    of_descriptor(fault_stage::first, static_cast<std::uint64_t>(3 - level), u.table(level), u.entry(level)),
                    0x10, class_input | is_read);
            }
    }
}

TEST_CASE("smmu F_WALK_EABT: a descriptor of each level that cannot be read") {
    for (std::uint64_t tg = 0; tg < 3; ++tg) {
        int const start = tg == 1 ? 1 : 0;
        for (int level = start; level <= 3; ++level) {
            smmu_chain u{first, tg, 16, start};
            u.memory.poison(u.table(level));
            CAPTURE(tg, level);
            check_event(u.translate_at(0x10, write | privileged), event::f_walk_eabt,
                        of_abort(fault_stage::first, static_cast<std::uint64_t>(3 - level), u.table(level)), 0x10,
                        class_table | is_privileged);
        }
    }
}

TEST_CASE("smmu F_ADDR_SIZE: every descriptor whose address is too wide, before its use") {
    constexpr std::uint64_t sizes[]{32, 36, 40, 42, 44, 48};
    for (std::uint64_t tg = 0; tg < 3; ++tg) {
        int const start = tg == 1 ? 1 : 0;
        for (int level = start; level <= 3; ++level)
            for (std::uint64_t ips = 0; ips < 5; ++ips)
                for (bool const by_oas : {false, true}) {
                    smmu_chain u{first, tg, 16, start};
                    if (by_oas)
                        u.idr5.set<"OAS">(ips);
                    else
                        u.cd.set<"IPS">(ips);
                    u.entry(3) = u.leaf(0, 3);
                    CAPTURE(tg, level, ips, by_oas);
                    CHECK(u.translate_at(0x10));
                    std::uint64_t const sound = u.entry(level);
                    for (std::uint64_t n = sizes[ips]; n < 48; ++n) {
                        u.entry(level) = sound | one_bit(static_cast<unsigned>(n));
                        check_event(u.translate_at(0x10), event::f_addr_size,
                                    of_descriptor(fault_stage::first, static_cast<std::uint64_t>(3 - level), u.table(level),
                                                  u.entry(level)),
                                    0x10, class_input | is_read);
                    }
                    // The bit below is in.
                    if (level == 3 && sizes[ips] > 32) {
                        u.entry(3) = u.leaf(one_bit(static_cast<unsigned>(sizes[ips] - 1)), 3);
                        CHECK(u.translate_at(0x10));
                    }
                }
    }
}

TEST_CASE("smmu F_ADDR_SIZE: address bits 51:48 of 64 KiB descriptors, with an OAS of 52 and a smaller IPS") {
    for (int level = 1; level <= 3; ++level)
        for (unsigned n = 12; n < 16; ++n) {
            smmu_chain u{first, 1, 16, 1};
            u.entry(3) = u.leaf(0, 3);
            std::uint64_t const sound = u.entry(level);
            u.entry(level) |= one_bit(n);
            // Without 52 bits they mean nothing.
            CHECK(u.translate_at(0x10)->output == pa{0x10});
            u.widen();
            CAPTURE(level, n);
            CHECK(event_of(u.translate_at(0x10)) == event::f_addr_size);
            u.cd.set<"IPS">(6);
            if (level == 3)
                CHECK(u.translate_at(0x10)->output == pa{one_bit(n + 36) + 0x10});
            else
                CHECK(event_of(u.translate_at(0x10)) == event::f_walk_eabt); // there is no table
            u.entry(level) = sound;
            CHECK(u.translate_at(0x10));
        }
}

TEST_CASE("smmu F_ADDR_SIZE: of a block its base alone counts, before access flag and permission") {
    smmu_chain u{first, 0, 16, 0};
    u.cd.set<"IPS">(0);
    u.entry(2) = u.leaf(0x1'0000'0000, 2);
    CHECK(event_of(u.translate_at(0)) == event::f_addr_size);
    u.entry(2) = u.leaf(0x1'0000'0000, 2) & ~std::uint64_t{0x440}; // no AF, privileged only
    CHECK(event_of(u.translate_at(0)) == event::f_addr_size);
    u.entry(2) = u.leaf(0xffe0'0000 | 0x1f'f000, 2);
    CHECK(u.translate_at(0x1f'ffff)->output == pa{0xffff'ffff});
}

TEST_CASE("smmu F_ACCESS: a clear access flag that nobody sets, before permission") {
    for (std::uint64_t tg = 0; tg < 3; ++tg) {
        int const start = tg == 1 ? 1 : 0;
        for (int const level : {2, 3}) {
            smmu_chain u{first, tg, 16, start};
            u.entry(level) = u.leaf(0, level) & ~std::uint64_t{0x440}; // AP = 00 too
            check_event(u.translate_at(0x10), event::f_access,
                        of_descriptor(fault_stage::first, static_cast<std::uint64_t>(3 - level), u.table(level), u.entry(level)),
                        0x10, class_input | is_read);
            u.cd.set<"AFFD">(1);
            CHECK(event_of(u.translate_at(0x10)) == event::f_permission);
            CHECK(u.translate_at(0x10, read | privileged));
            CHECK(u.memory.updates.empty());
        }
    }
}

TEST_CASE("smmu F_PERMISSION: what is missing, and how the record tells the access") {
    struct {
        std::uint64_t leaf;
        access a;
        std::uint64_t flags;
        std::uint64_t missing;
    } const cases[] = {
        {0x1'2345'6f07, read, is_read, 1},
        {0x1'2345'6f07, write, 0, 2},
        {0x1'2345'6f07, read_write, is_read, 3}, // an atomic: the missing read is named
        {0x1'2345'6f87, read_write, is_read, 3},
        {0x1'2345'6fc7, read_write, 0, 2},
        {0x1'2345'6fc7, write | privileged, is_privileged, 2},
        {0x0040'0001'2345'6f47, execute, is_read | is_instruction, 4},
        {0x0020'0001'2345'6fc7, execute | privileged, is_read | is_instruction | is_privileged, 4},
    };
    for (auto const& c : cases) {
        smmu_unit u;
        u.memory[u.l3] = c.leaf;
        CAPTURE(c.leaf, c.a.bits);
        check_event(u.translate(c.a), event::f_permission, of_descriptor(fault_stage::first, 0, u.l3, c.leaf), u.at(),
                    class_input | c.flags | c.missing);
        // SMMUv3.0 tells an atomic as a write.
        u.aidr = 0;
        if (c.a == read_write) CHECK(record_of(u.translate(c.a)) == class_input);
    }
}

// --- rights ----------------------------------------------------------------------------------------------------------

TEST_CASE("smmu stage 1: who may do what, for every AP, PXN, UXN, WXN, PAN and EPAN") {
    // AP[2:1]: what data accesses the privileged and the others have.
    constexpr char const* of_privileged[]{"rw", "rw", "r", "r"};
    constexpr char const* of_others[]{"", "rw", "", "r"};
    for (std::uint64_t ap = 0; ap < 4; ++ap)
        for (std::uint64_t xn = 0; xn < 4; ++xn) // bit 0 PXN, bit 1 UXN
            for (unsigned mode = 0; mode < 16; ++mode)
                for (bool const is_user : {true, false}) {
                    bool const wxn = (mode & 1) != 0;
                    bool const pan = (mode & 2) != 0;
                    bool const epan = (mode & 4) != 0;
                    bool const has_epan = (mode & 8) != 0;
                    smmu_unit u;
                    u.idr3.set<"EPAN">(has_epan);
                    u.cd.set<"WXN">(wxn);
                    u.cd.set<"PAN">(pan);
                    u.cd.set<"EPAN">(epan);
                    u.memory[u.l3] = 0x1'2345'6f07 | ap << 6 | xn << 53;
                    std::string const data = is_user ? of_others[ap] : of_privileged[ap];
                    bool reads = data.find('r') != data.npos;
                    bool writes = data.find('w') != data.npos;
                    bool const user_writes = ap == 1;
                    bool executes =
                        is_user ? (xn & 2) == 0 && !(wxn && user_writes) : (xn & 1) == 0 && !user_writes && !(wxn && writes);
                    bool const user_page = ap == 1 || ap == 3;
                    if (!is_user && pan && (user_page || (epan && has_epan && (xn & 2) == 0))) reads = writes = false;
                    access const who = is_user ? none : privileged;
                    CAPTURE(ap, xn, wxn, pan, epan, has_epan, is_user);
                    struct {
                        access a;
                        bool granted;
                    } const asked[] = {{read, reads},
                                       {write, writes},
                                       {read_write, reads && writes},
                                       {execute, executes},
                                       {read | execute, executes},
                                       {write | execute, writes},
                                       {read_write | execute, reads && writes}};
                    for (auto const& ask : asked) {
                        auto const answer = u.translate(ask.a | who);
                        if (event_of(answer) != (ask.granted ? mapped : event::f_permission)) {
                            CAPTURE(ask.a.bits);
                            CHECK(event_of(answer) == (ask.granted ? mapped : event::f_permission));
                        }
                        if (answer)
                            CHECK(answer->effective.rights().bits ==
                                  ((reads ? 1u : 0) | (writes ? 2u : 0) | (executes ? 4u : 0)));
                    }
                }
}

TEST_CASE("smmu stage 1: hierarchical attributes of each level, each alone and together, and HAD") {
    // Bits 59 PXNTable, 60 UXNTable, 61 APTable[0], 62 APTable[1].
    for (unsigned at_level = 0; at_level < 3; ++at_level)
        for (std::uint64_t bits = 0; bits < 16; ++bits)
            for (bool const had : {false, true})
                for (std::uint64_t const ap : {0u, 1u, 3u}) {
                    smmu_unit u;
                    u.cd.set<"HAD0">(had);
                    std::uint64_t const at[]{u.l0, u.l1, u.l2};
                    u.memory[at[at_level]] |= bits << 59;
                    u.memory[at[(at_level + 1) % 3]] |= std::uint64_t{1} << 63; // NSTable is not ours
                    u.memory[u.l3] = 0x1'2345'6f07 | ap << 6;
                    std::uint64_t const effective = had ? 0 : bits;
                    bool const user = (ap & 1) != 0 && (effective & 4) == 0;
                    bool const writable = (ap & 2) == 0 && (effective & 8) == 0;
                    CAPTURE(at_level, bits, had, ap);
                    auto const granted = [&](access a) { return event_of(u.translate(a)) == mapped; };
                    CHECK(granted(read) == user);
                    CHECK(granted(write) == (user && writable));
                    CHECK(granted(read | privileged));
                    CHECK(granted(write | privileged) == writable);
                    CHECK(granted(execute) == ((effective & 2) == 0));
                    CHECK(granted(execute | privileged) == ((effective & 1) == 0 && !(user && writable)));
                }
    // HAD without IDR3.HAD does not exist; HAD1 is the other half's.
    smmu_unit u;
    u.memory[u.l1] |= one_bit(61);
    u.cd.set<"HAD1">(1);
    CHECK(event_of(u.translate()) == event::f_permission);
    u.cd.set<"HAD0">(1);
    CHECK(u.translate());
    u.idr3.set<"HAD">(0);
    CHECK(event_of(u.translate()) == event::f_permission);
}

TEST_CASE("smmu stage 1: a table that forbids never faults before the leaf does") {
    smmu_unit u;
    u.memory[u.l0] |= std::uint64_t{15} << 59;
    u.memory[u.l3] = 0;
    CHECK(event_of(u.translate(write)) == event::f_translation);
    u.memory[u.l3] = 0x1'2345'6b47;
    CHECK(event_of(u.translate(write)) == event::f_access);
    u.memory[u.l3] = 0x1'2345'6f47;
    check_event(u.translate(write), event::f_permission, of_descriptor(fault_stage::first, 0, u.l3, 0x1'2345'6f47), u.at(),
                class_input | 2);
    u.cd.set<"IPS">(0);
    CHECK(event_of(u.translate(write)) == event::f_addr_size);
    u.memory.poison(u.l2);
    CHECK(event_of(u.translate(write)) == event::f_walk_eabt);
}

TEST_CASE("smmu stage 1: PAN and EPAN see what tables forbid") {
    smmu_unit u;
    u.cd.set<"PAN">(1);
    CHECK(event_of(u.translate(read | privileged)) == event::f_permission);
    u.memory[u.l1] |= one_bit(61); // no unprivileged access below
    CHECK(u.translate(read | privileged));
    u.cd.set<"EPAN">(1);
    u.memory[u.l3] = 0x1'2345'6f07;
    CHECK(event_of(u.translate(read | privileged)) == event::f_permission);
    u.memory[u.l1] |= one_bit(60); // no unprivileged execution below
    CHECK(u.translate(read | privileged));
}

TEST_CASE("smmu requests: PRIVCFG and INSTCFG override what the request says") {
    for (bool const has : {true, false})
        for (std::uint64_t priv = 0; priv < 4; ++priv)
            for (std::uint64_t inst = 0; inst < 4; ++inst)
                for (access const who : {none, privileged})
                    for (access const what : {read, execute, read | execute, write, write | execute, read_write}) {
                        smmu_unit u;
                        u.idr1.set<"ATTR_PERMS_OVR">(has);
                        u.ste.set<"PRIVCFG">(priv);
                        u.ste.set<"INSTCFG">(inst);
                        u.memory[u.l3] = 0;
                        auto const answer = u.translate(what | who);
                        bool const is_priv = has && priv >= 2 ? priv == 3 : who == privileged;
                        bool const writes = what.covers(write);
                        bool const fetches = !writes && (has && inst >= 2 ? inst == 3 : what.covers(execute));
                        CAPTURE(has, priv, inst, who.bits, what.bits);
                        CHECK(record_of(answer) == (class_input | (is_priv ? is_privileged : 0) | (fetches ? is_instruction : 0) |
                                                    (writes ? 0 : is_read)));
                        // And it counts.
                        u.memory[u.l3] = 0x0060'0001'2345'6f07;
                        bool const granted = is_priv && !fetches;
                        CHECK(event_of(u.translate(what | who)) == (granted ? mapped : event::f_permission));
                    }
}

// --- updates ---------------------------------------------------------------------------------------------------------

TEST_CASE("smmu stage 1: AF, AFFD, HA, HD and DBM: every combination, and what is stored") {
    for (unsigned mode = 0; mode < 8; ++mode)
        for (unsigned bits = 0; bits < 8; ++bits)
            for (access const a : {read, write, read_write}) {
                bool const ha = (mode & 1) != 0;
                bool const hd = (mode & 2) != 0;
                bool const affd = (mode & 4) != 0;
                bool const af = (bits & 1) != 0;
                bool const dbm = (bits & 2) != 0;
                bool const ro = (bits & 4) != 0;
                smmu_unit u;
                u.cd.set<"HA">(ha);
                u.cd.set<"HD">(hd);
                u.cd.set<"AFFD">(affd);
                std::uint64_t const leaf = 0x1'2345'6b47 | (af ? 0x400 : 0) | (dbm ? one_bit(51) : 0) | (ro ? 0x80 : 0);
                u.memory[u.l3] = leaf;
                bool const writes = a.covers(write);
                bool const dirty_managed = ha && hd && dbm; // HD without HA is off
                event expected = mapped;
                std::uint64_t stored = leaf;
                if (!af && !ha && !affd) {
                    expected = event::f_access;
                } else if (writes && ro && !dirty_managed) {
                    expected = event::f_permission;
                } else {
                    if (ha) stored |= 0x400;
                    if (writes && ro) stored &= ~std::uint64_t{0x80};
                }
                CAPTURE(ha, hd, affd, af, dbm, ro, a.bits);
                auto const answer = u.translate(a);
                CHECK(event_of(answer) == expected);
                if (expected == event::f_permission && ha && !af)
                    CHECK((u.memory[u.l3] | 0x400) == (leaf | 0x400)); // whether AF is written then is nobody's business
                else
                    CHECK(u.memory[u.l3] == stored);
                CHECK(u.memory.updates.size() == (u.memory[u.l3] != leaf ? 1 : 0));
            }
}

TEST_CASE("smmu stage 1: writeable-clean counts as writable for WXN and for privileged execution") {
    smmu_unit u;
    u.cd.set<"HA">(1);
    u.memory[u.l3] = 0x1'2345'6fc7 | one_bit(51); // DBM, AP = 11
    CHECK(u.translate(execute | privileged));
    CHECK(u.translate(execute));
    u.cd.set<"WXN">(1);
    CHECK(u.translate(execute));
    u.cd.set<"HD">(1);
    CHECK(event_of(u.translate(execute)) == event::f_permission);
    u.cd.set<"WXN">(0);
    CHECK(u.translate(execute));
    CHECK(event_of(u.translate(execute | privileged)) == event::f_permission);
    CHECK(u.memory[u.l3] == (0x1'2345'6fc7 | one_bit(51))); // nobody wrote
}

TEST_CASE("smmu stage 1: a table that makes the page read-only keeps it clean") {
    smmu_unit u;
    u.cd.set<"HA">(1);
    u.cd.set<"HD">(1);
    u.memory[u.l2] |= one_bit(62);
    u.memory[u.l3] = 0x1'2345'6fc7 | one_bit(51);
    CHECK(event_of(u.translate(write)) == event::f_permission);
    CHECK(u.memory.updates.empty());
    CHECK(u.translate(read));
    CHECK(u.memory.updates.empty());
}

TEST_CASE("smmu stage 1: HAFT sets the access flag of each table on the way, where the unit does that") {
    for (std::uint64_t const httu : {3u, 2u, 1u})
        for (bool const ha : {true, false})
            for (bool const haft : {true, false}) {
                if (!ha && haft && httu == 3) continue; // illegal
                smmu_unit u;
                u.idr0.set<"HTTU">(httu);
                u.cd.set<"HA">(ha);
                u.cd.set<"HAFT">(haft);
                bool const works = httu == 3 && ha && haft;
                CAPTURE(httu, ha, haft);
                REQUIRE(u.translate());
                if (!works) {
                    CHECK(u.memory.updates.empty());
                    continue;
                }
                CHECK(u.memory.updates == std::vector<update>{{u.l0, 0x9400'1003, 0x9400'1403},
                                                              {u.l1, 0x9400'2003, 0x9400'2403},
                                                              {u.l2, 0x9400'3003, 0x9400'3403}});
                REQUIRE(u.translate());
                CHECK(u.memory.updates.empty());
            }
    // While it descends, and after the address size is found fine: a fault further down leaves it set.
    smmu_unit u;
    u.cd.set<"HA">(1);
    u.cd.set<"HAFT">(1);
    u.memory[u.l2] = 0x2000'0000'0000'0003 | one_bit(47);
    u.cd.set<"IPS">(4);
    CHECK(event_of(u.translate()) == event::f_addr_size);
    CHECK(u.memory[u.l0] == 0x9400'1403);
    CHECK(u.memory[u.l1] == 0x9400'2403);
    CHECK(u.memory[u.l2] == (0x2000'0000'0000'0003 | one_bit(47)));
}

TEST_CASE("smmu stage 1: an entry that changes before its update, once and for ever") {
    smmu_unit u;
    u.cd.set<"HA">(1);
    u.memory[u.l3] = 0x1'2345'6b47;
    bool done = false;
    u.memory.meddle = [&](std::uint64_t at) {
        if (done) return;
        done = true;
        u.memory[at] = 0x1'7777'7b47;
    };
    auto const answer = u.translate();
    REQUIRE(answer);
    CHECK(answer->output == pa{0x1'7777'7abc});
    CHECK(u.memory[u.l3] == 0x1'7777'7f47);
    CHECK(u.memory.updates.size() == 1);
    // It became invalid.
    smmu_unit v;
    v.cd.set<"HA">(1);
    v.memory[v.l3] = 0x1'2345'6b47;
    v.memory.meddle = [&](std::uint64_t at) { v.memory[at] = 0; };
    CHECK(event_of(v.translate()) == event::f_translation);
    CHECK(v.memory[v.l3] == 0);
    // It never keeps still: bounded, and then an abort of the update.
    smmu_unit w;
    w.cd.set<"HA">(1);
    w.memory[w.l3] = 0x1'2345'6b47;
    std::uint64_t next = 0;
    w.memory.meddle = [&](std::uint64_t at) { w.memory[at] = 0x1'0000'0b47 + (++next << 12); };
    auto const given_up = w.translate();
    CHECK(event_of(given_up) == event::f_walk_eabt);
    CHECK(given_up.error().descriptor == w.l3);
    CHECK(w.memory.attempts == 9);
    CHECK(w.memory.updates.empty());
}

TEST_CASE("smmu F_WALK_EABT: an update that the memory refuses") {
    smmu_unit u;
    u.cd.set<"HA">(1);
    u.memory[u.l3] = 0x1'2345'6b47;
    u.memory.freeze(u.l3);
    check_event(u.translate(write), event::f_walk_eabt, of_abort(fault_stage::first, 0, u.l3, 0x1'2345'6b47), u.at(),
                class_table);
}

TEST_CASE("smmu stage 1: memory that cannot be written counts updates as made") {
    smmu_unit u;
    u.cd.set<"HA">(1);
    u.cd.set<"HD">(1);
    u.memory[u.l3] = 0x0008'0001'2345'63c3;
    u.write_configuration();
    judged_only<smmu_unit::memory_type> dump{&u.memory};
    smmu::iommu const unit{u.caps(), u.registers(), dump};
    CHECK(unit.translate(u.ask(write))->output == pa{0x1'2345'6abc});
    CHECK(u.memory[u.l3] == 0x0008'0001'2345'63c3);
}

TEST_CASE("smmu stage 1: big-endian tables, read and updated") {
    smmu_unit u;
    u.cd.set<"ENDI">(1);
    u.cd.set<"HA">(1);
    u.cd.set<"HD">(1);
    u.cd.set<"HAFT">(1);
    for (auto const at : {u.l0, u.l1, u.l2})
        u.memory[at] = swapped(u.memory[at]);
    u.memory[u.l3] = swapped(0x0008'0001'2345'63c3);
    auto const found = u.translate(write);
    REQUIRE(found);
    CHECK(found->output == pa{0x1'2345'6abc});
    CHECK(u.memory[u.l3] == swapped(0x0008'0001'2345'6743));
    CHECK(u.memory[u.l0] == swapped(0x9400'1403));
    u.memory[u.l3] = swapped(0);
    CHECK(event_of(u.translate()) == event::f_translation);
    // The fault names the value that was judged.
    u.memory[u.l3] = swapped(0x1'2345'6f07);
    CHECK(u.translate().error().entry == 0x1'2345'6f07);
    // Little-endian tables are noise to it.
    smmu_unit v;
    v.cd.set<"ENDI">(1);
    CHECK(event_of(v.translate()) == event::f_translation);
    // Both halves obey it.
    u.both_halves();
    u.cd.set<"ENDI">(1);
    u.cd.set<"HAFT">(0);
    u.memory[0x9500'07f0] = swapped(0x9400'1003);
    u.memory[u.l3] = swapped(0x1'2345'6f47);
    CHECK(u.translate_at(0xffff'7f12'3456'7abc)->output == pa{0x1'2345'6abc});
}

// --- what changes nothing --------------------------------------------------------------------------------------------

TEST_CASE("smmu stage 1: the contiguous hint and the bits for software change nothing") {
    for (std::uint64_t tg = 0; tg < 3; ++tg)
        for (int const level : {2, 3}) {
            smmu_chain u{first, tg, 16, tg == 1 ? 1 : 0};
            std::uint64_t const span = std::uint64_t{1} << u.shift(level);
            u.entry(level) = u.leaf(span * 3, level); // its group would begin at another address
            auto const plain = u.translate_at(span - 8);
            REQUIRE(plain);
            CHECK(plain->output == pa{span * 4 - 8});
            for (unsigned const n : {5u, 11u, 48u, 49u, 50u, 51u, 52u, 55u, 56u, 57u, 58u, 59u, 60u, 61u, 62u, 63u}) {
                u.entry(level) = u.leaf(span * 3, level) | one_bit(n);
                CAPTURE(tg, level, n);
                CHECK(u.translate_at(span - 8) == plain);
            }
        }
    // A table's.
    for (unsigned const n : {2u, 3u, 4u, 5u, 6u, 7u, 8u, 9u, 10u, 11u, 48u, 49u, 50u, 51u, 52u, 53u, 54u, 55u, 58u, 63u}) {
        smmu_unit u;
        auto const plain = u.translate();
        u.memory[u.l1] |= one_bit(n);
        CAPTURE(n);
        CHECK(u.translate() == plain);
    }
}

TEST_CASE("smmu stage 1: each entry is read once, as many as there are levels") {
    struct {
        std::uint64_t tg;
        std::uint64_t size;
        int start;
        bool wide;
    } const cases[] = {{0, 16, 0, false}, {0, 12, -1, true}, {0, 39, 2, false},
                       {2, 16, 0, false}, {2, 39, 3, false}, {1, 16, 1, false}};
    for (auto const& c : cases) {
        smmu_chain u{first, c.tg, c.size, c.start, c.wide};
        u.write_configuration();
        recording<smmu_unit::memory_type> watched{u.memory};
        smmu::iommu const unit{u.caps(), u.registers(), watched};
        REQUIRE(unit.translate(u.ask_at(0x10)));
        CHECK(watched.loads() == 4 + 4 + static_cast<std::size_t>(4 - c.start));
        CHECK(watched.each_once());
        CHECK(watched.updates() == 0);
        // A fault costs no more.
        watched.reset();
        u.entry(3) = 0;
        CHECK_FALSE(unit.translate(u.ask_at(0x10)));
        CHECK(watched.loads() == 4 + 4 + static_cast<std::size_t>(4 - c.start));
        CHECK(watched.each_once());
    }
}

} // namespace stagewalk::test
