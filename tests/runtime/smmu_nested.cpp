// SMMUv3, stage 1 over stage 2: which of the two refuses what, in which order, and what is told of it.
#include "smmu_unit.hpp"

#include <stagewalk/smmu/event_record.hpp>

#include <cstdint>
#include <vector>

namespace stagewalk::test {
namespace {

using smmu::granule;
using update = smmu_unit::memory_type::update;

constexpr auto both = smmu_kind::nested;

// The context descriptor, the four tables and the page each behind a page of stage 2 of its own; `leaf` 0 to 5 is what leads
// there.
struct scattered : smmu_unit {
    static constexpr std::uint64_t leaves[]{0xa006'0000, 0xa005'0000, 0xa005'0008, 0xa005'0010, 0xa005'0018, 0xa007'02b0};
    static constexpr std::uint64_t hosts[]{0x5'0000'3000, 0x9'1111'1000, 0x2'2222'2000,
                                           0xc'3333'3000, 0x1'4444'4000, 0x6'5555'5000};
    static constexpr std::uint64_t guests[]{cd_at, l0, l1, l2, l3, 0x1'2345'6abc};

    explicit scattered(std::uint64_t flags = 0x7fd) : smmu_unit{both} {
        memory[n_cd] = 0xa006'0003;
        memory[n_table] = 0xa005'0003;
        memory[n_out] = 0xa007'0003;
        memory.remove(where(l0));
        memory.remove(where(l1));
        memory.remove(where(l2));
        memory.remove(where(l3));
        for (unsigned i = 0; i < 6; ++i)
            memory[leaves[i]] = hosts[i] | flags | 2;
        entry(1) = 0x9400'1003;
        entry(2) = 0x9400'2003;
        entry(3) = 0x9400'3003;
        entry(4) = 0x0060'0001'2345'6f47;
    }
    std::uint64_t& leaf(unsigned i) { return memory[leaves[i]]; }
    // Physical address of what `guests` names.
    static std::uint64_t physical(unsigned i) { return hosts[i] | (guests[i] & 0xfff); }
    // The stage-1 descriptor behind leaf i, 1 to 4.
    std::uint64_t& entry(unsigned i) { return memory[physical(i)]; }

    auto ask_it(smmu::request const& r) {
        for (std::uint64_t i = 0; i < 8; ++i) {
            memory[ste_at + i * 8] = ste.word[i];
            memory[hosts[0] + i * 8] = cd.word[i];
        }
        memory.forget();
        return unit().translate(r);
    }
    auto ask_it(access a = read) { return ask_it(ask(a)); }
};

// CLASS of what is behind leaf i.
fault_at class_of(unsigned i) { return i == 0 ? fault_at::context : i < 5 ? fault_at::table : fault_at::input; }
std::uint64_t class_bits(unsigned i) { return i == 0 ? 0 : i < 5 ? class_table : class_input; }

smmu_place behind(unsigned i, std::uint64_t leaf) { return {fault_stage::second, class_of(i), 0, scattered::leaves[i], leaf}; }

} // namespace

// --- the table of faults ------------------------------------------------------------------------------------------------------

TEST_CASE("smmu nesting: a stage-2 fault before a context descriptor, a table or the page, with its IPA") {
    struct {
        event code;
        std::uint64_t clear;
        std::uint64_t set;
        std::uint64_t missing;
    } const causes[] = {{event::f_translation, 1, 0, 0},
                        {event::f_addr_size, 0, 0x0000'1000'0000'0000, 0},
                        {event::f_access, 0x400, 0, 0},
                        {event::f_permission, 0x40, 0, 1}};
    for (auto const& c : causes)
        for (unsigned i = 0; i < 6; ++i)
            for (access const a : {read, read | privileged, write | privileged}) {
                scattered u;
                u.ste.set<"S2PS">(4); // 44 bits
                REQUIRE(u.ask_it(a));
                u.leaf(i) = (u.leaf(i) & ~c.clear) | c.set;
                std::uint64_t const client = (a.covers(write) ? 0 : is_read) | (a.covers(privileged) ? is_privileged : 0);
                CAPTURE(static_cast<unsigned>(c.code), i, a.bits);
                auto const answer = u.ask_it(a);
                if (i == 5 && a.covers(write) && c.code == event::f_permission) {
                    CHECK(answer); // who writes does not need to read
                    continue;
                }
                std::uint64_t const table_read = c.code == event::f_permission && i > 0 && i < 5 ? is_table_read : 0;
                check_event(answer, c.code, behind(i, u.leaf(i)), u.at(),
                            class_bits(i) | is_second | client | table_read | c.missing, scattered::guests[i]);
                // The record: no low bits of the IPA, the client's address in full.
                auto const e = smmu::to_record(answer.error(), u.ask(a), u.caps());
                CHECK(e.word[2] == 0x7f12'3456'7abc);
                CHECK(e.word[3] == (scattered::guests[i] & ~std::uint64_t{0xfff}));
                CHECK(u.memory.updates.empty());
            }
}

TEST_CASE("smmu nesting: aborts of both stages' descriptors name the physical one") {
    for (unsigned i = 0; i < 6; ++i) {
        scattered u;
        u.memory.poison(scattered::leaves[i]);
        CAPTURE(i);
        auto const of_second = u.ask_it(write);
        CHECK(event_of(of_second) == event::f_walk_eabt);
        CHECK(record_of(of_second) == (class_bits(i) | is_second));
        CHECK(smmu::to_record(of_second.error(), u.ask(write), u.caps()).word[3] == scattered::leaves[i]);
        CHECK(of_second.error().reported);
        if (i == 5) continue;
        scattered v;
        v.memory.poison(scattered::physical(i));
        auto const of_first = v.ask_it(write);
        CHECK(event_of(of_first) == (i == 0 ? event::f_cd_fetch : event::f_walk_eabt));
        CHECK(record_of(of_first) == (i == 0 ? 0 : class_table));
        CHECK(of_first.error().intermediate == scattered::guests[i]);
        CHECK(smmu::to_record(of_first.error(), v.ask(write), v.caps()).word[3] == scattered::physical(i));
    }
}

TEST_CASE("smmu nesting: S2PTW looks at tables and contexts, not at the page, with forced write-back too") {
    for (bool const ptw : {false, true})
        for (bool const fwb : {false, true})
            for (bool const has_fwb : {false, true})
                for (std::uint64_t memattr = 0; memattr < 16; ++memattr)
                    for (unsigned i = 0; i < 6; ++i) {
                        scattered u;
                        u.idr3.set<"FWB">(has_fwb);
                        u.ste.set<"S2PTW">(ptw);
                        u.ste.set<"S2FWB">(fwb);
                        u.leaf(i) = (u.leaf(i) & ~std::uint64_t{0x3c}) | memattr << 2;
                        bool const device = fwb && has_fwb ? (memattr & 4) == 0 : memattr < 4;
                        CAPTURE(ptw, fwb, has_fwb, memattr, i);
                        auto const answer = u.ask_it(write);
                        if (!ptw || !device || i == 5) {
                            CHECK(answer);
                            continue;
                        }
                        CHECK(event_of(answer) == event::f_permission);
                        CHECK(record_of(answer) == (class_bits(i) | is_second | (i == 0 ? 0 : is_table_read)));
                        CHECK(answer.error().intermediate == scattered::guests[i]);
                    }
    // F_ACCESS outranks it; an update through it has TTRnW = 0.
    scattered u;
    u.leaf(1) = (u.leaf(1) & ~std::uint64_t{0x43c});
    CHECK(event_of(u.ask_it()) == event::f_access);
}

TEST_CASE("smmu nesting: no right to execute is needed for tables, nor that of a privilege") {
    for (access const a : {read, read | execute, read | privileged, read | execute | privileged}) {
        scattered u;
        for (unsigned i = 0; i < 5; ++i)
            u.leaf(i) |= std::uint64_t{3} << 53 | std::uint64_t{1} << 54;
        u.entry(4) = 0x1'2345'6f47;
        if (a == (read | execute | privileged)) u.entry(4) = 0x1'2345'6f87;
        CAPTURE(a.bits);
        CHECK(u.ask_it(a));
    }
}

// --- granules -----------------------------------------------------------------------------------------------------------------

TEST_CASE("smmu nesting: tables of each granule behind pages of each granule that are no neighbours") {
    constexpr std::uint64_t page[]{12, 16, 14}; // by TG0 and S2TG
    constexpr std::uint64_t level3[]{0x30, 0x31, 0x32};
    for (std::uint64_t tg = 0; tg < 3; ++tg)
        for (std::uint64_t s2tg = 0; s2tg < 3; ++s2tg) {
            smmu_unit u{both};
            // Stage 1: two levels, from 2 on. Stage 2: a single level 3 table per region is made as pages are mapped.
            std::uint64_t const g1 = page[tg];
            std::uint64_t const g2 = page[s2tg];
            std::uint64_t const iasize = g1 + 2 * (g1 - 3);
            u.cd.set<"TG0">(tg);
            u.cd.set<"T0SZ">(64 - iasize);
            u.cd.set<"TTB0">(0x4000'0000);
            u.ste.set<"S2TG">(s2tg);
            u.ste.set<"S2T0SZ">(30);               // 34 bits
            u.ste.set<"S2SL0">(s2tg == 0 ? 0 : 1); // level 2
            u.ste.set<"S2TTB">(0xb'0000'0000);
            std::uint64_t const stride = g2 - 3;
            std::uint64_t tables = 0xb'1000'0000;
            std::uint64_t hosts = 0x7'0000'0000;
            std::vector<std::uint64_t> known; // IPA, and where it is
            auto const map = [&](std::uint64_t ipa_at) {
                std::uint64_t const from = ipa_at & ~low_mask(g2);
                for (std::size_t i = 0; i < known.size(); i += 2)
                    if (known[i] == from) return known[i + 1] | (ipa_at & low_mask(g2));
                std::uint64_t& top = u.memory[0xb'0000'0000 + (ipa_at >> (g2 + stride)) * 8];
                if (top == 0) {
                    top = tables | 3;
                    tables += 0x1'0000;
                }
                // The next page of the guest lies lower in the host, and not next to it.
                hosts -= 0x3'0000;
                u.memory[(top & ~std::uint64_t{0xfff}) + (ipa_at >> g2 & low_mask(stride)) * 8] = hosts | 0x7ff;
                known.insert(known.end(), {from, hosts});
                return hosts | (ipa_at & low_mask(g2));
            };
            u.write_configuration();
            std::uint64_t const cd = map(0x9200'0000);
            for (std::uint64_t i = 0; i < 8; ++i)
                u.memory[cd + i * 8] = u.cd.word[i];
            std::uint64_t const entries = std::uint64_t{1} << (g1 - 3);
            for (std::uint64_t const first_index : {std::uint64_t{0}, entries / 3, entries - 1})
                for (std::uint64_t const index : {std::uint64_t{1}, entries / 2 + 1, entries - 1}) {
                    std::uint64_t const table = 0x5000'0000 + (first_index << 17);
                    std::uint64_t const output = 0x1'0000'0000 + (index << 16);
                    u.memory[map(0x4000'0000 + first_index * 8)] = table | 3;
                    u.memory[map(table + index * 8)] = output | 0x747;
                    std::uint64_t const offset = low_mask(g1) & 0xa9b8;
                    std::uint64_t const expected = map(output | offset);
                    std::uint64_t const at = first_index << (g1 + g1 - 3) | index << g1 | offset;
                    CAPTURE(level3[tg], level3[s2tg], first_index, index);
                    u.memory.forget();
                    auto const found = u.unit().translate(u.ask_at(at));
                    REQUIRE(found);
                    CHECK(found->output == pa{expected});
                    CHECK(found->lg2_size == (g1 < g2 ? g1 : g2));
                    // 4 words of the entry; CD: 2 and 4 words; two descriptors: 2 and 1 each; the page: 2.
                    CHECK(u.memory.trail.size() == 4 + 2 + 4 + 2 * 3 + 2);
                }
        }
}

TEST_CASE("smmu nesting: every byte of a block goes where stage 2 has its page") {
    smmu_unit u{both};
    u.first(u.l2) = 0x0000'0001'2340'0f41; // 2 MiB
    u.memory[u.n_out] = 0xa004'0003;
    for (std::uint64_t i = 0; i < 512; ++i)
        u.memory[0xa004'0000 + i * 8] = i % 7 == 3 ? 0 : (0x6'0000'0000 + ((i * 0x137 % 512) << 12)) | 0x7ff;
    std::uint64_t const at = u.at() & ~std::uint64_t{0x1f'ffff};
    for (std::uint64_t i = 0; i < 512; ++i)
        for (std::uint64_t const offset : {0x000u, 0x7ffu, 0xfffu}) {
            std::uint64_t const in = at | i << 12 | offset;
            CAPTURE(i, offset);
            auto const found = u.translate_at(in);
            if (i % 7 == 3) {
                check_event(found, event::f_translation, of_descriptor(fault_stage::second, 0, 0xa004'0000 + i * 8, 0), in,
                            class_input | is_second | is_read, 0x1'2340'0000 | i << 12 | offset);
                continue;
            }
            REQUIRE(found);
            CHECK(found->output == pa{0x6'0000'0000 | (i * 0x137 % 512) << 12 | offset});
            CHECK(found->lg2_size == 12);
        }
}

// --- updates ------------------------------------------------------------------------------------------------------------------

TEST_CASE("smmu nesting: a client's write needs no right to write tables and contexts") {
    scattered u;
    for (unsigned i = 0; i < 5; ++i)
        u.leaf(i) &= ~std::uint64_t{0x80};
    for (access const a : {read, write, read_write})
        CHECK(u.ask_it(a));
    // Nor do descriptors that are marked already.
    u.cd.set<"HA">(1);
    u.cd.set<"HD">(1);
    u.cd.set<"HAFT">(1);
    for (unsigned i = 1; i < 4; ++i)
        u.entry(i) |= 0x400;
    u.entry(4) |= std::uint64_t{1} << 51;
    for (access const a : {read, write, read_write})
        CHECK(u.ask_it(a));
    CHECK(u.memory.attempts == 0);
}

TEST_CASE("smmu nesting: an update of each stage-1 descriptor needs the right to write its page") {
    for (unsigned i = 1; i < 5; ++i)
        for (access const a : {read, write}) {
            scattered u;
            u.cd.set<"HA">(1);
            u.cd.set<"HAFT">(1);
            u.entry(4) &= ~std::uint64_t{0x400};
            u.leaf(i) &= ~std::uint64_t{0x80};
            CAPTURE(i, a.bits);
            std::uint64_t const before = u.entry(i);
            check_event(u.ask_it(a), event::f_permission, behind(i, u.leaf(i)), u.at(),
                        class_table | is_second | (a == read ? is_read : 0) | 2, scattered::guests[i]);
            CHECK(u.entry(i) == before);
            u.leaf(i) |= 0x80;
            CHECK(u.ask_it(a));
            CHECK(u.entry(i) == (before | 0x400));
        }
}

TEST_CASE("smmu nesting: before a stage-1 descriptor is written, its page is dirty at stage 2") {
    scattered u{0x33d | std::uint64_t{1} << 51}; // clean, AF = 0, readable
    for (unsigned i = 0; i < 6; ++i)
        u.leaf(i) |= 0x40;
    u.cd.set<"HA">(1);
    u.cd.set<"HD">(1);
    u.cd.set<"HAFT">(1);
    u.ste.set<"S2HA">(1);
    u.ste.set<"S2HD">(1);
    u.entry(4) = 0x0008'0001'2345'63c7;
    std::vector<std::uint64_t> start;
    for (unsigned i = 0; i < 6; ++i)
        start.push_back(u.leaf(i));
    REQUIRE(u.ask_it(write));
    std::vector<update> expected;
    expected.push_back({scattered::leaves[0], start[0], start[0] | 0x400});
    for (unsigned i = 1; i < 4; ++i) {
        expected.push_back({scattered::leaves[i], start[i], start[i] | 0x400});         // reading
        expected.push_back({scattered::leaves[i], start[i] | 0x400, start[i] | 0x480}); // before the descriptor is written
        std::uint64_t const e = u.entry(i) & ~std::uint64_t{0x400};
        expected.push_back({scattered::physical(i), e, e | 0x400});
    }
    expected.push_back({scattered::leaves[4], start[4], start[4] | 0x400});
    expected.push_back({scattered::leaves[4], start[4] | 0x400, start[4] | 0x480});
    expected.push_back({scattered::physical(4), 0x0008'0001'2345'63c7, 0x0008'0001'2345'6747});
    expected.push_back({scattered::leaves[5], start[5], start[5] | 0x480}); // the page, at last
    CHECK(u.memory.updates == expected);
    CHECK(u.leaf(0) == (start[0] | 0x400)); // contexts are read only
    // Everything is marked: nothing more to do.
    REQUIRE(u.ask_it(write));
    CHECK(u.memory.attempts == 0);
}

TEST_CASE("smmu nesting: a page that stage 2 refuses leaves nothing of the leaves marked") {
    for (access const a : {read, write}) {
        scattered u;
        u.cd.set<"HA">(1);
        u.cd.set<"HD">(1);
        u.ste.set<"S2HA">(1);
        u.ste.set<"S2HD">(1);
        u.entry(4) = 0x0008'0001'2345'63c7;
        u.leaf(5) &= ~std::uint64_t{0x4c0}; // no right at all, AF = 0
        std::uint64_t const page = u.leaf(5);
        CHECK(event_of(u.ask_it(a)) == event::f_permission);
        CHECK(u.entry(4) == 0x0008'0001'2345'63c7);
        CHECK(u.leaf(5) == page);
        CHECK(u.memory.updates.empty());
    }
}

TEST_CASE("smmu nesting: an update that memory refuses is of the stage whose descriptor it is") {
    scattered u;
    u.cd.set<"HA">(1);
    u.entry(4) &= ~std::uint64_t{0x400};
    u.memory.freeze(scattered::physical(4));
    auto const of_first = u.ask_it(write);
    CHECK(event_of(of_first) == event::f_walk_eabt);
    CHECK(record_of(of_first) == class_table);
    CHECK(of_first.error().descriptor == scattered::physical(4));
    CHECK(of_first.error().intermediate == scattered::guests[4]);
    scattered v;
    v.ste.set<"S2HA">(1);
    v.leaf(5) &= ~std::uint64_t{0x400};
    v.memory.freeze(scattered::leaves[5]);
    auto const of_second = v.ask_it(write);
    CHECK(event_of(of_second) == event::f_walk_eabt);
    CHECK(record_of(of_second) == (class_input | is_second));
    CHECK(of_second.error().descriptor == scattered::leaves[5]);
    v.leaf(5) |= 0x400;
    v.leaf(2) &= ~std::uint64_t{0x400};
    v.memory.freeze(scattered::leaves[2]);
    CHECK(record_of(v.ask_it(write)) == (class_table | is_second));
    v.leaf(2) |= 0x400;
    v.leaf(0) &= ~std::uint64_t{0x400};
    v.memory.freeze(scattered::leaves[0]);
    CHECK(record_of(v.ask_it(write)) == is_second);
}

// --- the order ----------------------------------------------------------------------------------------------------------------

TEST_CASE("smmu nesting: stage 1's own fault comes before stage 2's of the output") {
    struct {
        event code;
        std::uint64_t entry;
    } const causes[] = {{event::f_translation, 0},
                        {event::f_addr_size, 0x0000'0100'0000'0f47},
                        {event::f_access, 0x0060'0001'2345'6b47},
                        {event::f_permission, 0x0060'0001'2345'6fc7}};
    for (auto const& c : causes) {
        scattered u;
        u.cd.set<"IPS">(2); // 40 bits
        u.leaf(5) = 0;
        CHECK(record_of(u.ask_it(write)) == (class_input | is_second));
        u.entry(4) = c.entry;
        CAPTURE(static_cast<unsigned>(c.code));
        auto const answer = u.ask_it(write);
        check_event(answer, c.code, of_descriptor(fault_stage::first, 0, scattered::guests[4], c.entry), u.at(),
                    class_input | (c.code == event::f_permission ? 2u : 0u));
    }
}

TEST_CASE("smmu nesting: what is owed to a stage-1 leaf is asked of stage 2 before the output is") {
    scattered u;
    u.cd.set<"HA">(1);
    u.entry(4) &= ~std::uint64_t{0x400};
    u.leaf(4) &= ~std::uint64_t{0x80};
    u.leaf(5) = 0;
    check_event(u.ask_it(read), event::f_permission, behind(4, u.leaf(4)), u.at(), class_table | is_second | is_read | 2,
                scattered::guests[4]);
    u.leaf(4) |= 0x80;
    CHECK(record_of(u.ask_it(read)) == (class_input | is_second | is_read));
    CHECK((u.entry(4) & 0x400) == 0);
}

TEST_CASE("smmu nesting: an upper table's fault comes before a lower one's") {
    for (unsigned i = 0; i < 5; ++i) {
        scattered u;
        for (unsigned k = i; k < 6; ++k)
            u.leaf(k) = 0;
        CAPTURE(i);
        auto const answer = u.ask_it();
        CHECK(answer.error().intermediate == scattered::guests[i]);
        if (i == 0) continue;
        // A descriptor that leads nowhere comes before the table that it would lead to.
        u.leaf(i) = scattered::hosts[i] | 0x7ff;
        u.entry(i) = 0;
        check_event(u.ask_it(), event::f_translation, of_descriptor(fault_stage::first, 4 - i, scattered::guests[i], 0), u.at(),
                    class_input | is_read);
    }
}

TEST_CASE("smmu nesting: the half that nobody asks for is not looked at") {
    scattered u;
    u.both_halves();
    u.cd.word[2] = 0x00ff'ffff'0000; // nothing there at stage 2
    auto const found = u.ask_it();
    REQUIRE(found);
    CHECK(found->output == pa{scattered::physical(5)});
    for (auto const at : u.memory.trail)
        CHECK(at != 0x00ff'ffff'0000);
}

// --- both together ------------------------------------------------------------------------------------------------------------

TEST_CASE("smmu nesting: rights are what both grant, the size is the smaller") {
    for (std::uint64_t ap = 0; ap < 4; ++ap)
        for (std::uint64_t s2ap = 0; s2ap < 4; ++s2ap)
            for (bool const by_kernel : {false, true})
                for (access const a : {read, write, read_write}) {
                    scattered u;
                    u.entry(4) = 0x1'2345'6f07 | ap << 6;
                    u.leaf(5) = (u.leaf(5) & ~std::uint64_t{0xc0}) | s2ap << 6;
                    std::uint64_t const one = (by_kernel || (ap & 1) != 0) ? ((ap & 2) != 0 ? 1u : 3u) : 0u;
                    CAPTURE(ap, s2ap, by_kernel, a.bits);
                    auto const answer = u.ask_it(by_kernel ? a | privileged : a);
                    if ((a.bits & ~one) != 0) {
                        REQUIRE_FALSE(answer);
                        CHECK(static_cast<int>(answer.error().stage) == 1);
                        CHECK(reason_of(answer) == (a.bits & ~one));
                    } else if ((a.bits & ~s2ap) != 0) {
                        REQUIRE_FALSE(answer);
                        CHECK(static_cast<int>(answer.error().stage) == 2);
                        CHECK(reason_of(answer) == (a.bits & ~s2ap));
                        CHECK(answer.error().intermediate == scattered::guests[5]);
                    } else {
                        REQUIRE(answer);
                        CHECK((answer->effective.rights().bits & 3) == (one & s2ap));
                        CHECK(answer->lg2_size == 12);
                    }
                }
}

TEST_CASE("smmu nesting: an identity at stage 2 changes nothing, nor one at stage 1") {
    // Stage 2: 512 GiB in blocks of 1 GiB, each of itself.
    auto const add_identity = [](smmu_unit& u) {
        u.ste.set<"S2TTB">(0xb'0000'0000);
        for (std::uint64_t i = 0; i < 1024; ++i)
            u.memory[0xb'0000'0000 + i * 8] = i << 30 | 0x7fd;
    };
    struct {
        std::uint64_t entry; // of level 3
        access asked;
    } const cases[] = {{0x1'2345'6f47, read},           {0x1'2345'6f47, write},
                       {0x1'2345'6fc7, write},          {0x1'2345'6f07, read},
                       {0x1'2345'6b47, read},           {0, read},
                       {0x1'2345'6f47, read | execute}, {0x1'2345'6f87, read | privileged},
                       {0x0008'0001'2345'6bc7, write}};
    for (auto const& c : cases)
        for (bool const marks : {false, true}) {
            smmu_unit alone{smmu_kind::stage1};
            smmu_unit nested{both};
            add_identity(nested);
            for (auto* u : {&alone, &nested}) {
                u->cd.set<"HA">(marks);
                u->cd.set<"HD">(marks);
                u->memory[u->l0] = 0x9400'1003;
                u->memory[u->l1] = 0x9400'2003;
                u->memory[u->l2] = 0x9400'3003;
                u->memory[u->l3] = c.entry;
                for (std::uint64_t i = 0; i < 8; ++i) {
                    u->memory[u->ste_at + i * 8] = u->ste.word[i];
                    u->memory[u->cd_at + i * 8] = u->cd.word[i];
                }
                u->memory.forget();
            }
            auto const r = alone.ask(c.asked);
            auto const one = alone.unit().translate(r);
            auto const two = nested.unit().translate(r);
            CAPTURE(c.entry, c.asked.bits, marks);
            REQUIRE(static_cast<bool>(one) == static_cast<bool>(two));
            if (one) CHECK(*one == *two);
            if (!one) CHECK(one.error() == two.error());
            CHECK(alone.memory[alone.l3] == nested.memory[nested.l3]);
        }
    // Stage 1: its low 512 GiB in blocks of 1 GiB, each of itself.
    for (std::uint64_t const leaf : std::vector<std::uint64_t>{0x3'1234'57ff, 0x3'1234'577f, 0x3'1234'53ff, 0x3'1234'57bf, 0})
        for (access const a : {read, write, read | execute, read | execute | privileged}) {
            smmu_unit alone{smmu_kind::stage2};
            smmu_unit nested{both};
            for (auto* u : {&alone, &nested})
                u->memory[u->s3] = leaf;
            nested.first((nested.l0 & ~std::uint64_t{0xff8}) | 8) = 0x9400'1003; // 512 GiB to 1 TiB
            std::uint64_t const l1 = (nested.l1 & ~std::uint64_t{0xfff});
            nested.first(l1) = std::uint64_t{512} << 30 | (a.covers(privileged) ? 0x701 : 0x741);
            nested.memory[nested.n_root] = 0xa002'0003;
            auto const one = alone.translate_at(0x80'1234'5678, a);
            auto const two = nested.translate_at(0x80'1234'5678, a);
            CAPTURE(leaf, a.bits);
            REQUIRE(static_cast<bool>(one) == static_cast<bool>(two));
            if (one) {
                CHECK(one->output == two->output);
                CHECK(one->effective.rights() == two->effective.rights());
                CHECK(one->lg2_size == two->lg2_size);
            } else {
                CHECK(one.error() == two.error());
            }
        }
}

TEST_CASE("smmu nesting: loads of a walk over pages are those of both stages for each address") {
    scattered u;
    REQUIRE(u.ask_it());
    // Stream table entry 4, context 3 and 4, descriptors 3 and 1 each, page 3: stage 2 has three levels.
    CHECK(u.memory.trail.size() == 4 + 3 + 4 + 4 * (3 + 1) + 3);
    u.cd.set<"HA">(1);
    u.entry(4) &= ~std::uint64_t{0x400};
    REQUIRE(u.ask_it());
    // The leaf's update: asked beforehand, and made.
    CHECK(u.memory.trail.size() == 4 + 3 + 4 + 4 * (3 + 1) + 3 + 3 + 3);
    CHECK(u.memory.attempts == 1);
}

TEST_CASE("smmu nesting: a leaf that does not keep still is walked again, and given up in the end") {
    for (unsigned const i : {4u, 5u})
        for (unsigned const times : {1u, 8u, 9u}) {
            scattered u;
            u.cd.set<"HA">(1);
            u.ste.set<"S2HA">(1);
            u.entry(4) &= ~std::uint64_t{0x400};
            u.leaf(5) &= ~std::uint64_t{0x400};
            std::uint64_t const at = i == 4 ? scattered::physical(4) : scattered::leaves[5];
            unsigned left = times;
            u.memory.meddle = [&](std::uint64_t where) {
                if (where != at || left == 0) return;
                --left;
                u.memory[at] ^= std::uint64_t{1} << 55;
            };
            CAPTURE(i, times);
            auto const answer = u.ask_it();
            CHECK(static_cast<bool>(answer) == (times < 9));
            if (answer) continue;
            CHECK(event_of(answer) == event::f_walk_eabt);
            CHECK(record_of(answer) == (i == 4 ? class_table | is_read : class_input | is_second | is_read));
        }
}

} // namespace stagewalk::test
