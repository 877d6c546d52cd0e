// Memory types: what MAIR, MemAttr and the overrides mean, and how the stages combine them.
#include "smmu_unit.hpp"

#include <cstdint>

namespace stagewalk::test {
namespace {

using smmu::memory_attributes;
using smmu::shareability;

constexpr auto nsh = shareability::none;
constexpr auto osh = shareability::outer;
constexpr auto ish = shareability::inner;

template <class Outcome>
memory_attributes type_of(Outcome const& found) {
    REQUIRE(found);
    return smmu::memory_in(found->effective);
}
void check_type(memory_attributes found, std::uint64_t type, shareability sharing) {
    CHECK(found.type == type);
    CHECK(static_cast<int>(found.sharing) == static_cast<int>(sharing));
}
// Device and wholly non-cacheable memory is outer shareable.
shareability shared_as(std::uint64_t type, shareability s) { return (type & 0xf0) == 0 || type == 0x44 ? osh : s; }

} // namespace

TEST_CASE("smmu memory type: every byte of MAIR, in every place") {
    for (std::uint64_t index = 0; index < 8; ++index)
        for (std::uint64_t byte = 0; byte < 256; ++byte) {
            smmu_unit u;
            u.cd.word[3] = 0x3333'3333'3333'3333;
            u.cd.word[3] = (u.cd.word[3] & ~(std::uint64_t{0xff} << index * 8)) | byte << index * 8;
            u.memory[u.l3] = 0x1'2345'6f43 | index << 2;
            // 0000xxxx is the Device type of bits 3:2, whatever 1:0 are.
            std::uint64_t const expected = byte < 16 ? byte & 0xc : byte;
            auto const found = type_of(u.translate());
            if (found.type != expected || found.sharing != shared_as(expected, ish)) {
                CAPTURE(index, byte);
                check_type(found, expected, shared_as(expected, ish));
            }
            CHECK(found.is_device() == (byte < 16));
        }
}

TEST_CASE("smmu memory type: SH of a page, and what Device and non-cacheable memory make of it") {
    constexpr shareability expected[]{nsh, nsh, osh, ish}; // 01 is reserved
    for (std::uint64_t sh = 0; sh < 4; ++sh)
        for (std::uint64_t const byte : {0xffu, 0x44u, 0x04u, 0x4fu, 0xf4u}) {
            smmu_unit u;
            u.cd.word[3] = byte;
            u.memory[u.l3] = 0x1'2345'6c43 | sh << 8;
            check_type(type_of(u.translate()), byte, shared_as(byte, expected[sh]));
        }
}

TEST_CASE("smmu memory type: AIE takes the fourth bit of the index from the page, and beyond 7 is 7") {
    for (bool const has : {true, false})
        for (bool const on : {true, false})
            for (std::uint64_t index = 0; index < 16; ++index) {
                smmu_unit u;
                u.idr3.set<"AIE">(has);
                u.cd.set<"AIE">(on);
                u.cd.word[3] = 0xf7f6'f5f4'f3f2'f1ff;
                u.memory[u.l3] = 0x1'2345'6f43 | (index & 7) << 2 | (index >> 3) << 59;
                std::uint64_t const byte = has && on && index > 7 ? 7 : index & 7;
                CAPTURE(has, on, index);
                CHECK(type_of(u.translate()).type == (u.cd.word[3] >> byte * 8 & 0xff));
            }
}

TEST_CASE("smmu memory type: stage 1 alone does not look at what the request or the entry says") {
    smmu_unit u;
    u.ste.set<"MTCFG">(1);
    u.ste.set<"MemAttr">(1);
    u.ste.set<"SHCFG">(2);
    auto r = u.ask();
    r.memory = {0x00, osh};
    check_type(type_of(u.translate(r)), 0xff, ish);
}

TEST_CASE("smmu memory type: stage 2 makes weaker, never stronger") {
    // MAIR byte of stage 1, MemAttr of stage 2, both together.
    struct {
        std::uint64_t first;
        std::uint64_t memattr;
        std::uint64_t expected;
    } const cases[] = {
        // Device beats Normal, and the stricter Device wins.
        {0xff, 0, 0x00},
        {0xff, 1, 0x04},
        {0xff, 2, 0x08},
        {0xff, 3, 0x0c},
        {0x44, 3, 0x0c},
        {0x00, 3, 0x00},
        {0x04, 3, 0x04},
        {0x08, 3, 0x08},
        {0x0c, 3, 0x0c},
        {0x0c, 2, 0x08},
        {0x0c, 0, 0x00},
        {0x08, 1, 0x04},
        {0x04, 2, 0x04},
        {0x00, 0xf, 0x00},
        {0x04, 0xf, 0x04},
        {0x0c, 0x5, 0x0c},
        {0x08, 0xa, 0x08},
        // Normal: inner and outer each.
        {0xff, 0xf, 0xff},
        {0xff, 0x5, 0x44},
        {0xff, 0xa, 0xbb},
        {0xff, 0x7, 0x4f},
        {0xff, 0xd, 0xf4},
        {0xff, 0xe, 0xfb},
        {0xff, 0xb, 0xbf},
        {0xff, 0x9, 0xb4},
        {0xff, 0x6, 0x4b},
        {0x44, 0xf, 0x44},
        {0x44, 0xa, 0x44},
        {0xbb, 0xf, 0xbb},
        {0xbb, 0xa, 0xbb},
        {0xbb, 0x5, 0x44},
        {0x4f, 0xf, 0x4f},
        {0x4f, 0xa, 0x4b},
        {0xf4, 0xa, 0xb4},
        {0xf4, 0x7, 0x44},
        // Allocation hints are stage 1's, transient ones too.
        {0xee, 0xa, 0xaa},
        {0xdd, 0xf, 0xdd},
        {0x77, 0xa, 0x33},
        {0x77, 0xf, 0x77},
        {0xcc, 0xa, 0x88},
    };
    for (auto const& c : cases) {
        smmu_unit u{smmu_kind::nested};
        u.cd.word[3] = c.first << 8;
        u.memory[u.n_out] = 0x7'4000'07c1 | c.memattr << 2;
        CAPTURE(c.first, c.memattr);
        check_type(type_of(u.translate()), c.expected, shared_as(c.expected, ish));
        // The same without stage 1.
        smmu_unit s{smmu_kind::stage2};
        s.memory[s.s3] = 0x3'1234'57c3 | c.memattr << 2;
        auto r = s.ask();
        r.memory = {c.first, ish};
        check_type(type_of(s.translate(r)), c.expected, shared_as(c.expected, ish));
    }
}

TEST_CASE("smmu memory type: S2FWB") {
    struct {
        std::uint64_t first;
        std::uint64_t memattr;
        std::uint64_t expected;
    } const cases[] = {
        // 000 to 011: Device, the stricter of two.
        {0xff, 0, 0x00},
        {0xff, 1, 0x04},
        {0xff, 3, 0x0c},
        {0x44, 2, 0x08},
        {0x0c, 1, 0x04},
        {0x00, 3, 0x00},
        {0x04, 3, 0x04},
        {0x08, 0, 0x00},
        // 101: non-cacheable, or the Device that stage 1 says; 100 like it.
        {0xff, 5, 0x44},
        {0x44, 5, 0x44},
        {0xbb, 5, 0x44},
        {0x00, 5, 0x00},
        {0x08, 5, 0x08},
        {0xff, 4, 0x44},
        {0x04, 4, 0x04},
        // 110: write-back, whatever stage 1 says.
        {0xff, 6, 0xff},
        {0x44, 6, 0xff},
        {0xbb, 6, 0xff},
        {0x00, 6, 0xff},
        {0x0c, 6, 0xff},
        {0xaa, 6, 0xee},
        {0x4f, 6, 0xff},
        // 111: as stage 1 says.
        {0xff, 7, 0xff},
        {0x44, 7, 0x44},
        {0xbb, 7, 0xbb},
        {0x00, 7, 0x00},
        {0x0c, 7, 0x0c},
        {0xaa, 7, 0xaa},
        // 111x: the same without tag access.
        {0x44, 0xe, 0xff},
        {0xbb, 0xf, 0xbb},
    };
    for (auto const& c : cases) {
        smmu_unit u{smmu_kind::nested};
        u.ste.set<"S2FWB">(1);
        u.ste.set<"S2PTW">(0);
        u.cd.word[3] = c.first << 8;
        u.memory[u.n_out] = 0x7'4000'07c1 | c.memattr << 2;
        CAPTURE(c.first, c.memattr);
        // What stage 1 made outer shareable stays so.
        check_type(type_of(u.translate()), c.expected, shared_as(c.expected, shared_as(c.first, ish)));
        // A unit without FWB ignores the bit.
        if (c.memattr == 6 && c.first == 0x00) {
            u.idr3.set<"FWB">(0);
            CHECK(type_of(u.translate()).type == 0x00);
        }
    }
}

TEST_CASE("smmu memory type: S2FWB with MemAttr 111 is write-back where stage 1 is off") {
    for (std::uint64_t const incoming : {0x00u, 0x04u, 0x44u, 0xffu}) {
        smmu_unit u{smmu_kind::stage2};
        u.ste.set<"S2FWB">(1);
        u.memory[u.s3] = 0x3'1234'57df; // 111
        auto r = u.ask();
        r.memory = {incoming, ish};
        CAPTURE(incoming);
        check_type(type_of(u.translate(r)), 0xff, shared_as(incoming, ish));
    }
}

TEST_CASE("smmu memory type: the wider of two shareabilities") {
    constexpr shareability of[]{nsh, nsh, osh, ish};
    for (std::uint64_t first = 0; first < 4; ++first)
        for (std::uint64_t second = 0; second < 4; ++second) {
            smmu_unit u{smmu_kind::nested};
            u.first(u.l3) = 0x1'2345'6c47 | first << 8;
            u.memory[u.n_out] = 0x7'4000'04fd | second << 8;
            bool const any_outer = first == 2 || second == 2;
            bool const any_inner = first == 3 || second == 3;
            CAPTURE(first, second);
            check_type(type_of(u.translate()), 0xff, any_outer ? osh : any_inner ? ish : nsh);
            // SHCFG 01 leaves what the request says.
            smmu_unit s{smmu_kind::stage2};
            s.memory[s.s3] = 0x3'1234'54ff | second << 8;
            auto r = s.ask();
            r.memory = {0xff, of[first]};
            check_type(type_of(s.translate(r)), 0xff, any_outer ? osh : any_inner ? ish : nsh);
        }
}

TEST_CASE("smmu memory type: with DS the shareability of stage 1 is the context descriptor's, of its half") {
    for (std::uint64_t sh = 0; sh < 4; ++sh) {
        constexpr shareability of[]{nsh, nsh, osh, ish};
        smmu_chain u{smmu_kind::stage1, 0, 16, 0};
        u.widen();
        u.cd.set<"DS">(1);
        u.cd.set<"SH0">(sh);
        u.cd.set<"SH1">(3 - sh);
        u.cd.word[3] = 0x4400;
        check_type(type_of(u.translate_at(0)), 0x44, osh);
        u.cd.word[3] = 0xff00;
        check_type(type_of(u.translate_at(0)), 0xff, of[sh]);
        u.cd.set<"EPD1">(0);
        u.cd.set<"TG1">(2);
        u.cd.set<"T1SZ">(16);
        u.cd.set<"TTB1">(0x9400'0000);
        check_type(type_of(u.translate_at(0xffff'0000'0000'0000)), 0xff, of[3 - sh]);
        // Not with 64 KiB.
        smmu_chain k{smmu_kind::stage1, 1, 16, 1};
        k.widen();
        k.cd.set<"DS">(1);
        k.cd.word[3] = 0xff00;
        k.cd.set<"SH0">(sh);
        k.entry(3) = k.leaf(0x2'0000 | 0x200, 3);
        check_type(type_of(k.translate_at(0)), 0xff, osh);
    }
}

TEST_CASE("smmu memory type: MTCFG, MemAttr and SHCFG of an entry, where stage 1 is off") {
    // What MemAttr means by itself.
    struct {
        std::uint64_t memattr;
        std::uint64_t type;
    } const types[] = {{0, 0x00}, {1, 0x04}, {2, 0x08}, {3, 0x0c}, {5, 0x44}, {0xf, 0xff}, {0xa, 0xbb}, {7, 0x4f}, {0xd, 0xf4}};
    constexpr shareability of_shcfg[]{nsh, osh, osh, ish}; // 01: incoming, which is outer here
    for (auto const kind : {smmu_kind::bypass, smmu_kind::stage2, smmu_kind::stage1})
        for (bool const has : {true, false})
            for (bool const replaces : {true, false})
                for (auto const& t : types)
                    for (std::uint64_t shcfg = 0; shcfg < 4; ++shcfg) {
                        smmu_unit u{kind};
                        if (kind == smmu_kind::stage1) { // passed by
                            u.ste.set<"S1CDMax">(4);
                            u.ste.set<"S1DSS">(1);
                        }
                        u.idr1.set<"ATTR_TYPES_OVR">(has);
                        u.ste.set<"MTCFG">(replaces);
                        u.ste.set<"MemAttr">(t.memattr);
                        u.ste.set<"SHCFG">(shcfg);
                        u.memory[u.s3] = 0x3'1234'54ff; // write-back, not shareable: takes nothing away
                        auto r = u.ask();
                        r.memory = {0xee, osh};
                        std::uint64_t const type = has && replaces ? t.type : 0xee;
                        shareability const s = has ? of_shcfg[shcfg] : osh;
                        CAPTURE(static_cast<int>(kind), has, replaces, t.memattr, shcfg);
                        check_type(type_of(u.translate(r)), type, shared_as(type, s));
                    }
}

TEST_CASE("smmu memory type: GBPA's overrides while the unit is off") {
    for (bool const has : {true, false})
        for (std::uint32_t shcfg = 0; shcfg < 4; ++shcfg)
            for (std::uint32_t const memattr : {0u, 1u, 5u, 0xau, 0xfu})
                for (bool const replaces : {true, false}) {
                    constexpr shareability of_shcfg[]{nsh, osh, osh, ish};
                    smmu_unit u;
                    u.cr0 = 0;
                    u.idr1.set<"ATTR_TYPES_OVR">(has);
                    u.gbpa = shcfg << 12 | memattr | (replaces ? 0x10 : 0);
                    auto r = u.ask();
                    r.memory = {0xee, osh};
                    std::uint64_t const own = memattr == 0     ? 0x00
                                              : memattr == 1   ? 0x04
                                              : memattr == 5   ? 0x44
                                              : memattr == 0xa ? 0xbb
                                                               : 0xff;
                    std::uint64_t const type = has && replaces ? own : 0xee;
                    CAPTURE(has, shcfg, memattr, replaces);
                    check_type(type_of(u.translate(r)), type, shared_as(type, has ? of_shcfg[shcfg] : osh));
                }
}

} // namespace stagewalk::test
