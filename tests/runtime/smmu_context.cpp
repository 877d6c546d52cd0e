// Context descriptors: where they lie, every way in which they can be illegal and their order, what is not looked at, whose
// they are, and what becomes of the faults that they are asked about.
#include "smmu_unit.hpp"

#include <algorithm>
#include <cstdint>

namespace stagewalk::test {
namespace {

using smmu::context_error;
using error = context_error;

// The whole fault of an illegal descriptor.
void check_illegal(smmu_unit& u, error why) {
    check_event(u.translate(), event::c_bad_cd, of_configuration(u.cd_at, u.cd.word[0]), u.at(), static_cast<std::uint64_t>(why));
}

void write_descriptor(smmu_unit& u, std::uint64_t at) {
    for (std::uint64_t i = 0; i < 8; ++i)
        u.memory[at + i * 8] = u.cd.word[i];
}

// The worlds of stage 1.
enum class world { el1, el2, el2_e2h };
void enter(smmu_unit& u, world w) {
    u.ste.set<"STRW">(w == world::el1 ? 0 : 2);
    u.cr2 = w == world::el2_e2h ? 1 : 0;
}
constexpr world every_world[]{world::el1, world::el2, world::el2_e2h};

} // namespace

// --- where they lie --------------------------------------------------------------------------------------------------

TEST_CASE("smmu context descriptors: linear, 64 and 1024 in a leaf, at every edge") {
    // S1Fmt 0 and 3: index * 64. 1: 64 in a leaf. 2: 1024 in a leaf.
    for (std::uint64_t format = 0; format < 4; ++format)
        for (std::uint64_t max : {1u, 5u, 6u, 7u, 9u, 10u, 11u, 13u, 14u, 20u})
            for (std::uint64_t index : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{63}, std::uint64_t{64},
                                        std::uint64_t{1023}, std::uint64_t{1024}, (std::uint64_t{1} << max) - 1}) {
                if (index >> max != 0) continue;
                smmu_unit u;
                u.ste.set<"S1Fmt">(format);
                u.ste.set<"S1CDMax">(max);
                u.ste.set<"S1ContextPtr">(0x1'0000'0000);
                std::uint64_t const bits = format == 1 ? 6 : 10;
                bool const two = format == 1 || format == 2;
                std::uint64_t const level1 = 0x1'0000'0000 + (index >> bits) * 8;
                std::uint64_t const place = two ? 0x2'0000'0000 + (index & ((1u << bits) - 1)) * 64 : 0x1'0000'0000 + index * 64;
                u.write_configuration();
                if (two) u.memory[level1] = 0x2'0000'0001;
                write_descriptor(u, place);
                CAPTURE(format, max, index);
                REQUIRE(u.unit().translate(u.with_substream(static_cast<std::uint32_t>(index))));
                if (two) CHECK(u.memory.trail[4] == level1);
                CHECK(u.memory.trail[two ? 5 : 4] == place);
            }
}

TEST_CASE("smmu context descriptors: the low bits of S1ContextPtr that its table does not need are taken as 0") {
    struct {
        std::uint64_t format;
        std::uint64_t max;
        std::uint64_t base; // of 0000'00FF'FFFF'FFC0h
    } const cases[] = {
        {0, 0, 0xff'ffff'ffc0},  {0, 1, 0xff'ffff'ff80},  {0, 10, 0xff'ffff'0000}, {3, 10, 0xff'ffff'0000},
        {1, 0, 0xff'ffff'ffc0},  {1, 9, 0xff'ffff'ffc0},  {1, 10, 0xff'ffff'ff80}, {1, 20, 0xff'fffe'0000},
        {2, 13, 0xff'ffff'ffc0}, {2, 14, 0xff'ffff'ff80}, {2, 20, 0xff'ffff'e000},
    };
    for (auto const& c : cases) {
        smmu_unit u;
        u.ste.set<"S1Fmt">(c.format);
        u.ste.set<"S1CDMax">(c.max);
        u.ste.set<"S1DSS">(2);
        u.ste.set<"S1ContextPtr">(0xff'ffff'ffc0);
        CAPTURE(c.format, c.max);
        check_event(u.translate(), event::f_cd_fetch, of_configuration(c.base), u.at(), 0);
    }
}

TEST_CASE("smmu C_BAD_SUBSTREAMID: a level-1 context descriptor that is not valid, or leads beyond OAS") {
    struct {
        std::uint64_t format;
        std::uint64_t entry;
        event code;
        std::uint64_t fetched;
    } const cases[] = {
        {1, 0x9300'0000, event::c_bad_substreamid, 0},
        {1, 0x0001'0000'0000'0001, event::c_bad_substreamid, 0},
        {1, 0x0080'0000'0000'0001, event::c_bad_substreamid, 0},
        {1, 0xff00'ffff'ffff'f001, event::f_cd_fetch, 0xffff'ffff'f040}, // 63:56 mean nothing
        {1, 0x9300'0fff, event::f_cd_fetch, 0x9300'0040},                // nor do 11:1
        {2, 0x9300'f001, event::f_cd_fetch, 0x9300'0040},                // nor 15:12 with leaves of 64 KiB
        {1, 0x9300'f001, event::f_cd_fetch, 0x9300'f040},
    };
    for (auto const& c : cases) {
        smmu_unit u;
        u.ste.set<"S1Fmt">(c.format);
        u.ste.set<"S1CDMax">(5);
        u.ste.set<"S1ContextPtr">(0x9100'0000);
        u.memory[0x9100'0000] = c.entry;
        CAPTURE(c.format, c.entry);
        auto const answer = u.translate(u.with_substream(1));
        if (c.code == event::c_bad_substreamid)
            check_event(answer, c.code, of_configuration(0x9100'0000, c.entry), u.at(), 0);
        else
            check_event(answer, c.code, of_configuration(c.fetched), u.at(), 0);
    }
    // By default, S1DSS = 10, too.
    smmu_unit u;
    u.ste.set<"S1Fmt">(1);
    u.ste.set<"S1CDMax">(5);
    u.ste.set<"S1DSS">(2);
    u.ste.set<"S1ContextPtr">(0x9100'0000);
    u.memory[0x9100'0000] = 0;
    CHECK(event_of(u.translate()) == event::c_bad_substreamid);
}

TEST_CASE("smmu F_CD_FETCH: a context descriptor or its level 1 that cannot be read") {
    for (unsigned word = 0; word < 4; ++word) {
        smmu_unit u;
        u.write_configuration();
        u.memory.poison(u.cd_at + word * 8);
        check_event(u.unit().translate(u.ask()), event::f_cd_fetch, of_configuration(u.cd_at), u.at(), 0);
    }
    smmu_unit u;
    u.ste.set<"S1Fmt">(2);
    u.ste.set<"S1CDMax">(20);
    u.ste.set<"S1ContextPtr">(0x9100'0000);
    u.memory.poison(0x9100'1ff8);
    check_event(u.translate(u.with_substream(0xf'ffff)), event::f_cd_fetch, of_configuration(0x9100'1ff8), u.at(), 0);
    // Behind stage 2 it is the physical address that is named.
    smmu_unit n{smmu_kind::nested};
    n.memory.poison(0x3'9200'0000);
    auto const answer = n.translate();
    REQUIRE_FALSE(answer);
    CHECK(answer.error().code == event::f_cd_fetch);
    CHECK(answer.error().descriptor == 0x3'9200'0000);
    CHECK(answer.error().reported);
    CHECK(answer.error().detail == 0);
}

TEST_CASE("smmu nested: a level-1 context descriptor that leads beyond IAS") {
    smmu_unit u{smmu_kind::nested};
    u.ste.set<"S1Fmt">(1);
    u.ste.set<"S1CDMax">(5);
    u.write_configuration();
    u.memory[0x3'9200'0000] = 0x1'0000'0000'0001; // 2^48
    auto const answer = u.unit().translate(u.with_substream(1));
    check_event(answer, event::c_bad_substreamid, of_configuration(0x9200'0000, 0x1'0000'0000'0001), u.at(), 0);
    u.memory[0x3'9200'0000] = 0x9200'2001;
    write_descriptor(u, 0x3'9200'2040);
    CHECK(u.unit().translate(u.with_substream(1)));
}

TEST_CASE("smmu nested: stage 2 refuses a context descriptor, CLASS = CD") {
    struct {
        std::uint64_t leaf;
        event code;
        std::uint64_t missing;
    } const cases[] = {
        {0x3'9200'07fc, event::f_translation, 0},
        {0x1'0003'9200'03fd & ~std::uint64_t{0x1'0000'0000'0000}, event::f_access, 0},
        {0x3'9200'07bd, event::f_permission, 1}, // write-only
        {0x3'9200'077d, mapped, 0},              // read-only is enough
    };
    for (auto const& c : cases) {
        smmu_unit u{smmu_kind::nested};
        u.memory[u.n_cd] = c.leaf;
        auto const answer = u.translate(write | privileged);
        CAPTURE(c.leaf);
        CHECK(event_of(answer) == c.code);
        if (answer) continue;
        auto const& f = answer.error();
        CHECK(record_of(answer) == (is_second | is_privileged)); // a client write, CLASS = CD, and TTRnW is for TT
        CHECK(reason_of(answer) == c.missing);
        CHECK(static_cast<int>(f.stage) == 2);
        CHECK(static_cast<int>(f.at) == static_cast<int>(fault_at::context));
        CHECK(f.input == u.at());
        CHECK(f.intermediate == 0x9200'0000);
        CHECK(f.descriptor == u.n_cd);
        CHECK(f.entry == c.leaf);
        CHECK(f.reported);
    }
    // A table of stage 2 that cannot be read on the way.
    smmu_unit u{smmu_kind::nested};
    u.memory.poison(u.n_root);
    auto const answer = u.translate();
    REQUIRE_FALSE(answer);
    CHECK(answer.error().code == event::f_walk_eabt);
    CHECK(record_of(answer) == (is_second | is_read));
    CHECK(answer.error().descriptor == u.n_root);
}

TEST_CASE("smmu nested: S2R and S2S say what becomes of a fault before a context descriptor") {
    for (bool const stalls : {false, true})
        for (bool const records : {false, true}) {
            smmu_unit u{smmu_kind::nested};
            u.ste.set<"S2S">(stalls);
            u.ste.set<"S2R">(records);
            u.memory[u.n_cd] = 0;
            auto const answer = u.translate();
            CAPTURE(stalls, records);
            CHECK(event_of(answer) == event::f_translation);
            CHECK(answer.error().reported == (stalls || records));
            CHECK(record_of(answer) == (is_second | is_read | (stalls ? is_stalled : 0)));
        }
}

TEST_CASE("smmu nested: a fault before a context descriptor tells the access as the overrides make it") {
    smmu_unit u{smmu_kind::nested};
    u.memory[u.n_cd] = 0;
    u.ste.set<"PRIVCFG">(3);
    CHECK(record_of(u.translate(read)) == (is_second | is_read | is_privileged));
    u.ste.set<"PRIVCFG">(2);
    u.ste.set<"INSTCFG">(3);
    CHECK(record_of(u.translate(read | privileged)) == (is_second | is_read | is_instruction));
}

// --- C_BAD_CD, row by row --------------------------------------------------------------------------------------------

TEST_CASE("smmu C_BAD_CD: V = 0") {
    smmu_unit u;
    CHECK(u.descriptor_error() == error::none);
    u.cd.word[0] &= ~std::uint64_t{0x8000'0000};
    check_illegal(u, error::not_valid);
}

TEST_CASE("smmu C_BAD_CD: S under STE.S1STALLD") {
    for (bool const disabled : {false, true})
        for (bool const stalls : {false, true}) {
            smmu_unit u;
            u.ste.set<"S1STALLD">(disabled);
            u.cd.set<"S">(stalls);
            CHECK(u.descriptor_error() == (disabled && stalls ? error::stall_disabled : error::none));
            if (disabled && stalls) check_illegal(u, error::stall_disabled);
        }
}

TEST_CASE("smmu C_BAD_CD: A = 0 where terminating means aborting") {
    for (bool const model : {false, true})
        for (bool const aborts : {false, true}) {
            smmu_unit u;
            u.idr0.set<"TERM_MODEL">(model);
            u.cd.set<"A">(aborts);
            CHECK(u.descriptor_error() == (model && !aborts ? error::terminates : error::none));
            if (model && !aborts) check_illegal(u, error::terminates);
        }
}

TEST_CASE("smmu C_BAD_CD: S where nothing stalls, S = 0 where everything does") {
    for (std::uint64_t model = 0; model < 3; ++model)
        for (bool const stalls : {false, true}) {
            smmu_unit u;
            u.idr0.set<"STALL_MODEL">(model);
            u.cd.set<"S">(stalls);
            error const expected = model == 1 && stalls    ? error::stalls
                                   : model == 2 && !stalls ? error::does_not_stall
                                                           : error::none;
            CHECK(u.descriptor_error() == expected);
            if (expected != error::none) check_illegal(u, expected);
        }
}

TEST_CASE("smmu C_BAD_CD: ENDI that the unit has not, unless no half has tables") {
    for (std::uint64_t const order : {0u, 2u, 3u})
        for (bool const big : {false, true})
            for (std::uint64_t epd = 0; epd < 4; ++epd)
                for (auto const w : every_world) {
                    smmu_unit u;
                    enter(u, w);
                    u.both_halves();
                    u.idr0.set<"TTENDIAN">(order);
                    u.cd.set<"ENDI">(big);
                    u.cd.set<"EPD0">(epd & 1);
                    u.cd.set<"EPD1">(epd >> 1);
                    bool const looked_at = epd != 3 || w == world::el2; // where EPD counts for nothing
                    bool const bad = looked_at && ((order == 2 && big) || (order == 3 && !big));
                    CAPTURE(order, big, epd, static_cast<int>(w));
                    CHECK(u.descriptor_error() == (bad ? error::endianness : error::none));
                    if (bad) check_illegal(u, error::endianness);
                }
}

TEST_CASE("smmu C_BAD_CD: AA64 = 0, in every world") {
    for (auto const w : every_world)
        for (std::uint64_t const ttf : {2u, 3u}) {
            smmu_unit u;
            enter(u, w);
            u.idr0.set<"TTF">(ttf); // VMSAv8-32 is not implemented here, even where a unit has it
            CHECK(u.descriptor_error() == error::none);
            u.cd.set<"AA64">(0);
            check_illegal(u, error::table_format);
        }
    smmu_unit u;
    u.idr0.set<"TTF">(1);
    check_illegal(u, error::table_format);
}

TEST_CASE("smmu C_BAD_CD: hardware updates that the unit does not make") {
    for (std::uint64_t httu = 0; httu < 4; ++httu)
        for (std::uint64_t bits = 0; bits < 8; ++bits) {
            smmu_unit u;
            bool const ha = (bits & 1) != 0;
            bool const hd = (bits & 2) != 0;
            bool const haft = (bits & 4) != 0;
            u.idr0.set<"HTTU">(httu);
            u.cd.set<"HA">(ha);
            u.cd.set<"HD">(hd);
            u.cd.set<"HAFT">(haft);
            error const expected = httu == 0 && (ha || hd)    ? error::updates
                                   : httu == 1 && hd          ? error::dirty_updates
                                   : httu == 3 && haft && !ha ? error::table_updates
                                                              : error::none;
            CAPTURE(httu, bits);
            CHECK(u.descriptor_error() == expected);
            if (expected != error::none) check_illegal(u, expected);
        }
}

TEST_CASE("smmu C_BAD_CD: ASID of more than 8 bits, in worlds that have ASIDs") {
    for (auto const w : every_world)
        for (bool const wide : {false, true})
            for (std::uint64_t const asid : {0xffu, 0x100u, 0x8000u}) {
                smmu_unit u;
                enter(u, w);
                u.idr0.set<"ASID16">(wide);
                u.cd.set<"ASID">(asid);
                bool const bad = w != world::el2 && !wide && asid > 0xff;
                CAPTURE(static_cast<int>(w), wide, asid);
                CHECK(u.descriptor_error() == (bad ? error::asid : error::none));
                if (bad) check_illegal(u, error::asid);
            }
}

TEST_CASE("smmu C_BAD_CD: TxSZ out of the range of STT, granule, VAX and DS") {
    for (bool const upper : {false, true})
        for (bool const stt : {false, true})
            for (bool const vax : {false, true})
                for (bool const has_ds : {false, true})
                    for (bool const ds : {false, true})
                        for (std::uint64_t tg = 0; tg < 3; ++tg)
                            for (std::uint64_t size = 0; size < 64; ++size) {
                                if (has_ds && !vax) continue;
                                smmu_unit u;
                                u.idr3.set<"STT">(stt);
                                u.idr5.set<"VAX">(vax);
                                u.idr5.set<"DS">(has_ds);
                                u.both_halves();
                                u.cd.set<"DS">(ds);
                                constexpr std::uint64_t tg1[]{2, 3, 1};
                                if (upper) {
                                    u.cd.set<"T1SZ">(size);
                                    u.cd.set<"TG1">(tg1[tg]);
                                } else {
                                    u.cd.set<"T0SZ">(size);
                                    u.cd.set<"TG0">(tg);
                                }
                                std::uint64_t const least = vax && (tg == 1 || (has_ds && ds)) ? 12 : 16;
                                std::uint64_t const most = !stt ? 39 : tg == 1 ? 47 : 48;
                                bool const bad = size < least || size > most;
                                auto const found = u.descriptor_error();
                                if ((found == error::size) != bad || (!bad && found != error::none)) {
                                    CAPTURE(upper, stt, vax, has_ds, ds, tg, size);
                                    CHECK(found == (bad ? error::size : error::none));
                                }
                            }
    smmu_unit u;
    u.cd.set<"T0SZ">(15);
    check_illegal(u, error::size);
    u.cd.set<"T0SZ">(40);
    check_illegal(u, error::size);
}

TEST_CASE("smmu policy: SMMUv3.0 may clamp TxSZ to 16 and 39") {
    smmu_unit u;
    u.rules.sizes = smmu::table_size::clamped;
    u.cd.set<"T0SZ">(3);
    check_illegal(u, error::size); // from SMMUv3.1 on there is no choice
    u.aidr = 0;
    CHECK(u.translate()->output == pa{0x1'2345'6abc}); // as with 16
    u.cd.set<"T0SZ">(63);
    u.memory[0x9400'0078] = 0; // 39: 25 bits
    CHECK(event_of(u.translate_at(0x1ff'ffff)) == event::f_translation);
    CHECK(u.memory.trail[8] == 0x9400'0078);
    check_event(u.translate_at(0x200'0000), event::f_translation, of_input(fault_stage::first), 0x200'0000,
                class_input | is_read);
    u.rules = {};
    check_illegal(u, error::size);
}

TEST_CASE("smmu C_BAD_CD: a granule that is reserved or not implemented, in the encoding of its half") {
    // 4 KiB, 64 KiB, 16 KiB as TG0; TG1 has 16, 4 and 64 as 1, 2, 3, and 0 is reserved.
    for (std::uint64_t has = 0; has < 8; ++has)
        for (std::uint64_t tg = 0; tg < 4; ++tg) {
            smmu_unit u;
            u.idr5.set<"GRAN4K">(has & 1);
            u.idr5.set<"GRAN64K">(has >> 1 & 1);
            u.idr5.set<"GRAN16K">(has >> 2 & 1);
            u.cd.set<"TG0">(tg);
            CAPTURE(has, tg);
            bool const bad = (has >> tg & 1) == 0;
            CHECK(u.descriptor_error() == (bad ? error::granule : error::none));
            if (bad) check_illegal(u, error::granule);
            smmu_unit v;
            v.idr5 = u.idr5;
            v.both_halves();
            v.cd.set<"EPD0">(1);
            v.cd.set<"TG1">(tg);
            constexpr std::uint64_t of_tg1[]{3, 2, 0, 1}; // which bit of `has`
            bool const bad1 = tg == 0 || (has >> of_tg1[tg] & 1) == 0;
            CHECK(v.descriptor_error() == (bad1 ? error::granule : error::none));
        }
}

TEST_CASE("smmu C_BAD_CD: TTB beyond IPS, beyond OAS, beyond 48 bits") {
    constexpr std::uint64_t sizes[]{32, 36, 40, 42, 44, 48, 52, 52};
    for (bool const upper : {false, true})
        for (std::uint64_t oas = 0; oas < 7; ++oas)
            for (std::uint64_t ips = 0; ips < 8; ++ips)
                for (std::uint64_t tg = 0; tg < 3; ++tg)
                    for (bool const ds : {false, true}) {
                        smmu_unit u;
                        u.widen();
                        u.idr5.set<"OAS">(oas);
                        u.ste.set<"S1ContextPtr">(0x1000'0000);
                        u.strtab_base = 0x2000'0000;
                        u.both_halves();
                        u.cd.set<"IPS">(ips);
                        u.cd.set<"DS">(ds);
                        constexpr std::uint64_t tg1[]{2, 3, 1};
                        u.cd.set<"TG0">(tg);
                        u.cd.set<"TG1">(tg1[tg]);
                        std::uint64_t limit = std::min(sizes[oas], sizes[ips]);
                        if (tg != 1 && !ds) limit = std::min<std::uint64_t>(limit, 48);
                        auto const answer_for = [&](std::uint64_t table) {
                            if (upper)
                                u.cd.set<"TTB1">(table);
                            else
                                u.cd.set<"TTB0">(table);
                            return smmu::check(u.cd, u.ste, smmu::stream_world::el1, u.caps(), u.rules);
                        };
                        if (upper)
                            u.cd.set<"TTB0">(0);
                        else
                            u.cd.set<"TTB1">(0);
                        CAPTURE(upper, oas, ips, tg, ds);
                        CHECK(answer_for(low_mask(limit) & ~std::uint64_t{15}) == error::none);
                        CHECK(answer_for(std::uint64_t{1} << limit) == error::table);
                        CHECK(answer_for(std::uint64_t{1} << 55) == error::table);
                    }
    smmu_unit u;
    u.cd.set<"TTB0">(0x1'0000'0000'0000);
    check_illegal(u, error::table);
}

TEST_CASE("smmu EPD: what a half without tables holds is not looked at") {
    for (bool const upper : {false, true})
        for (auto const w : every_world) {
            smmu_unit u;
            enter(u, w);
            u.both_halves();
            auto const spoil = [&](unsigned how) {
                smmu_unit v = u;
                if (upper) {
                    if (how == 0) v.cd.set<"T1SZ">(63);
                    if (how == 1) v.cd.set<"TG1">(0);
                    if (how == 2) v.cd.set<"TTB1">(0x1'0000'0000'0000);
                } else {
                    if (how == 0) v.cd.set<"T0SZ">(63);
                    if (how == 1) v.cd.set<"TG0">(3);
                    if (how == 2) v.cd.set<"TTB0">(0x1'0000'0000'0000);
                }
                return v;
            };
            for (unsigned how = 0; how < 3; ++how) {
                auto v = spoil(how);
                CAPTURE(upper, static_cast<int>(w), how);
                // A hypervisor without E2H has no upper half; its lower one has tables, whatever EPD0 says.
                bool const exists = !(upper && w == world::el2);
                error const why = how == 0 ? error::size : how == 1 ? error::granule : error::table;
                CHECK(v.descriptor_error() == (exists ? why : error::none));
                if (upper)
                    v.cd.set<"EPD1">(1);
                else
                    v.cd.set<"EPD0">(1);
                CHECK(v.descriptor_error() == (!upper && w == world::el2 ? why : error::none));
            }
        }
}

TEST_CASE("smmu EPD: a request in a half without tables is an F_TRANSLATION, before its range is looked at") {
    smmu_unit u;
    u.both_halves();
    u.cd.set<"EPD0">(1);
    check_event(u.translate(), event::f_translation, of_input(fault_stage::first), u.at(), class_input | is_read);
    check_event(u.translate_at(0x0070'0000'0000'0000, write), event::f_translation, of_input(fault_stage::first),
                0x0070'0000'0000'0000, class_input);
    u.memory[0x9500'0ff8] = 0;
    CHECK(event_of(u.translate_at(every_bit)) == event::f_translation);
    CHECK(u.memory.trail.size() == 9); // the upper half is walked
}

TEST_CASE("smmu C_BAD_CD: of two faults the earlier row is named") {
    struct fault_of_descriptor {
        error why;
        unsigned excludes;
        void (*spoil)(smmu_unit&);
    };
    fault_of_descriptor const faults[] = {
        {error::not_valid, 0, [](smmu_unit& u) { u.cd.set<"V">(0); }},
        {error::stall_disabled, 1 | 2,
         [](smmu_unit& u) {
             u.ste.set<"S1STALLD">(1);
             u.cd.set<"S">(1);
         }},
        {error::terminates, 0,
         [](smmu_unit& u) {
             u.cd.set<"A">(0);
             u.idr0.set<"TERM_MODEL">(1);
         }},
        {error::stalls, 1 | 4,
         [](smmu_unit& u) {
             u.idr0.set<"STALL_MODEL">(1);
             u.cd.set<"S">(1);
         }},
        {error::does_not_stall, 2 | 4, [](smmu_unit& u) { u.idr0.set<"STALL_MODEL">(2); }},
        {error::endianness, 0,
         [](smmu_unit& u) {
             u.idr0.set<"TTENDIAN">(2);
             u.cd.set<"ENDI">(1);
         }},
        {error::table_format, 0, [](smmu_unit& u) { u.cd.set<"AA64">(0); }},
        {error::updates, 8,
         [](smmu_unit& u) {
             u.idr0.set<"HTTU">(0);
             u.cd.set<"HA">(1);
         }},
        {error::dirty_updates, 8,
         [](smmu_unit& u) {
             u.idr0.set<"HTTU">(1);
             u.cd.set<"HD">(1);
         }},
        {error::table_updates, 8, [](smmu_unit& u) { u.cd.set<"HAFT">(1); }},
        {error::asid, 0,
         [](smmu_unit& u) {
             u.idr0.set<"ASID16">(0);
             u.cd.set<"ASID">(0x100);
         }},
        {error::size, 0, [](smmu_unit& u) { u.cd.set<"T0SZ">(15); }},
        {error::granule, 0, [](smmu_unit& u) { u.cd.set<"TG0">(3); }},
        {error::table, 0, [](smmu_unit& u) { u.cd.set<"TTB0">(0x1'0000'0000'0000); }},
    };
    for (auto const& first : faults) {
        smmu_unit alone;
        first.spoil(alone);
        CHECK(alone.descriptor_error() == first.why);
        for (auto const& second : faults) {
            if (second.why <= first.why || (first.excludes & second.excludes) != 0) continue;
            smmu_unit u;
            first.spoil(u);
            second.spoil(u);
            CAPTURE(static_cast<int>(first.why), static_cast<int>(second.why));
            CHECK(u.descriptor_error() == first.why);
        }
    }
}

TEST_CASE("smmu C_BAD_CD: every single bit of a valid descriptor, turned") {
    // B19: the descriptor of example 5 with IDR5.DS = 0, STT = 0, STALL_MODEL = 0, HTTU = 3.
    for (unsigned n = 0; n < 256; ++n) {
        smmu_unit u;
        u.cd.word[n / 64] ^= one_bit(n % 64);
        u.write_configuration();
        auto const found = u.unit().find(u.ask());
        CAPTURE(n);
        error expected = error::none;
        if (n == 31)
            expected = error::not_valid;
        else if (n == 41)
            expected = error::table_format;
        else if (n == 4 || n == 5 || n == 30) // T0SZ 0 and 48; the upper half, whose T1SZ is 0
            expected = error::size;
        else if (n == 67) // HAFT without HA
            expected = error::table_updates;
        else if (n >= 112 && n <= 119) // TTB0[55:48]
            expected = error::table;
        CHECK(event_of(found) == (expected == error::none ? mapped : event::c_bad_cd));
        if (!found) CHECK(reason_of(found) == static_cast<std::uint64_t>(expected));
    }
}

// --- worlds ----------------------------------------------------------------------------------------------------------

TEST_CASE("smmu stream worlds: STRW counts for stage 1 alone, where there is a hypervisor's world") {
    struct {
        smmu_kind kind;
        bool hyp;
        std::uint64_t strw;
        bool e2h;
        smmu::stream_world expected;
    } const cases[] = {
        {smmu_kind::stage1, true, 0, false, smmu::stream_world::el1},
        {smmu_kind::stage1, true, 0, true, smmu::stream_world::el1},
        {smmu_kind::stage1, true, 2, false, smmu::stream_world::el2},
        {smmu_kind::stage1, true, 2, true, smmu::stream_world::el2_e2h},
        {smmu_kind::stage1, false, 2, false, smmu::stream_world::el1},
        {smmu_kind::stage1, false, 3, true, smmu::stream_world::el1},
        {smmu_kind::nested, true, 2, false, smmu::stream_world::el1},
        {smmu_kind::nested, true, 3, true, smmu::stream_world::el1},
        {smmu_kind::stage2, true, 2, false, smmu::stream_world::el1},
        {smmu_kind::bypass, true, 2, true, smmu::stream_world::el1},
    };
    for (auto const& c : cases) {
        smmu_unit u{c.kind};
        u.idr0.set<"HYP">(c.hyp);
        u.ste.set<"STRW">(c.strw);
        u.cr2 = c.e2h ? 1 : 0;
        auto const b = u.find();
        REQUIRE(b);
        CHECK(static_cast<int>(b->world) == static_cast<int>(c.expected));
    }
}

TEST_CASE("smmu any-EL2: one half, one privilege, no EPD, no E0PD, no PAN") {
    smmu_unit u;
    enter(u, world::el2);
    u.both_halves();
    u.cd.set<"EPD0">(1);
    u.cd.set<"E0PD0">(1);
    u.cd.set<"PAN">(1);
    u.cd.set<"EPAN">(1);
    CHECK(u.translate());
    // Bit 55 chooses nothing: the upper bits must be 0, and TBI0 is the only one.
    check_event(u.translate_at(0xffff'8000'1234'5678), event::f_translation, of_input(fault_stage::first), 0xffff'8000'1234'5678,
                class_input | is_read);
    CHECK(u.memory.trail.size() == 8);
    u.cd.set<"TBI1">(1);
    CHECK(event_of(u.translate_at(0xaa00'7f12'3456'7abc)) == event::f_translation);
    u.cd.set<"TBI0">(1);
    CHECK(u.translate_at(0xaa00'7f12'3456'7abc)->output == pa{0x1'2345'6abc});
    CHECK(event_of(u.translate_at(0x0080'7f12'3456'7abc)) == event::f_translation); // bit 55
    // AP[1] counts as 1, and bit 54 alone bars execution.
    for (std::uint64_t ap = 0; ap < 4; ++ap)
        for (std::uint64_t xn = 0; xn < 4; ++xn)
            for (bool const wxn : {false, true})
                for (bool const user : {false, true}) {
                    u.cd.set<"WXN">(wxn);
                    u.memory[u.l3] = 0x1'2345'6f07 | ap << 6 | xn << 53;
                    access const who = user ? none : privileged;
                    bool const writes = ap < 2;
                    CAPTURE(ap, xn, wxn, user);
                    CHECK(event_of(u.translate(read | who)) == mapped);
                    CHECK(event_of(u.translate(write | who)) == (writes ? mapped : event::f_permission));
                    CHECK(event_of(u.translate(execute | who)) ==
                          ((xn & 2) == 0 && !(wxn && writes) ? mapped : event::f_permission));
                }
    // Of the hierarchical attributes XNTable and APTable[1] count.
    u.cd.set<"WXN">(0);
    u.memory[u.l3] = 0x1'2345'6f07;
    struct {
        unsigned bit;
        event reads;
        event writes;
        event executes;
    } const tables[] = {{59, mapped, mapped, mapped},
                        {60, mapped, mapped, event::f_permission},
                        {61, mapped, mapped, mapped},
                        {62, mapped, event::f_permission, mapped}};
    for (auto const& t : tables) {
        u.memory[u.l1] = 0x9400'2003 | one_bit(t.bit);
        CAPTURE(t.bit);
        CHECK(event_of(u.translate(read)) == t.reads);
        CHECK(event_of(u.translate(write)) == t.writes);
        CHECK(event_of(u.translate(execute)) == t.executes);
    }
}

TEST_CASE("smmu EL2-E2H: two halves, privilege and EPD, as at EL1") {
    smmu_unit u;
    enter(u, world::el2_e2h);
    u.both_halves();
    u.memory[0x9500'0800] = 0;
    (void)u.translate_at(0xffff'8000'1234'5678);
    CHECK(u.memory.trail[8] == 0x9500'0800);
    u.memory[u.l3] = 0x1'2345'6f07; // AP = 00
    CHECK(event_of(u.translate(read)) == event::f_permission);
    CHECK(u.translate(read | privileged));
    u.cd.set<"EPD0">(1);
    CHECK(event_of(u.translate(read | privileged)) == event::f_translation);
}

// --- what becomes of faults ------------------------------------------------------------------------------------------

TEST_CASE("smmu CD.S, R and A: which stage-1 faults are recorded, stall, abort or read zero") {
    struct {
        event code;
        void (*spoil)(smmu_unit&);
    } const causes[] = {
        {event::f_translation, [](smmu_unit& u) { u.memory[u.l3] = 0; }},
        {event::f_translation, [](smmu_unit& u) { u.cd.set<"EPD0">(1); }},
        {event::f_translation, [](smmu_unit& u) { u.cd.set<"T0SZ">(20); }},
        {event::f_addr_size, [](smmu_unit& u) { u.cd.set<"IPS">(0); }},
        {event::f_access, [](smmu_unit& u) { u.memory[u.l3] = 0x1'2345'6b47; }},
        {event::f_permission, [](smmu_unit& u) { u.memory[u.l3] = 0x1'2345'6f07; }},
    };
    for (auto const& c : causes)
        for (unsigned bits = 0; bits < 8; ++bits) {
            smmu_unit u;
            bool const stalls = (bits & 1) != 0;
            bool const records = (bits & 2) != 0;
            bool const aborts = (bits & 4) != 0;
            u.cd.set<"S">(stalls);
            u.cd.set<"R">(records);
            u.cd.set<"A">(aborts);
            c.spoil(u);
            auto const answer = u.translate();
            CAPTURE(static_cast<int>(c.code), stalls, records, aborts);
            REQUIRE(event_of(answer) == c.code);
            CHECK(answer.error().reported == (stalls || records));
            CHECK((answer.error().detail >> 31 & 1) == stalls);
            CHECK((answer.error().detail >> 63) == (!stalls && !aborts));
        }
}

TEST_CASE("smmu CD.S, R and A: other events are recorded and abort") {
    smmu_unit u;
    u.cd.set<"R">(0);
    u.cd.set<"A">(0);
    u.memory.poison(u.l1);
    auto const aborted = u.translate();
    CHECK(event_of(aborted) == event::f_walk_eabt);
    CHECK(aborted.error().reported);
    CHECK((aborted.error().detail >> 63) == 0);
    u.cd.set<"S">(1);
    CHECK((u.translate().error().detail >> 31 & 1) == 0);
    u.cd.set<"T0SZ">(15);
    CHECK(u.translate().error().reported);
    CHECK(event_of(u.translate()) == event::c_bad_cd);
}

TEST_CASE("smmu STE.S2S and S2R: which stage-2 faults are recorded and stall") {
    for (auto const kind : {smmu_kind::stage2, smmu_kind::nested}) {
        struct {
            event code;
            std::uint64_t leaf;
        } const causes[] = {{event::f_translation, 0},
                            {event::f_addr_size, 0x1'0003'1234'57ff},
                            {event::f_access, 0x3'1234'53ff},
                            {event::f_permission, 0x3'1234'573f}};
        for (auto const& c : causes)
            for (unsigned bits = 0; bits < 4; ++bits) {
                smmu_unit u{kind};
                bool const stalls = (bits & 1) != 0;
                bool const records = (bits & 2) != 0;
                u.ste.set<"S2S">(stalls);
                u.ste.set<"S2R">(records);
                if (kind == smmu_kind::nested) u.cd.set<"A">(0); // stage 2 always aborts
                u.idr5.set<"VAX">(1);
                u.idr5.set<"OAS">(c.code == event::f_addr_size ? 4 : 5); // 44 bits
                // A page where stage 2 maps one, or a block nested.
                if (kind == smmu_kind::nested)
                    u.memory[u.n_out] = c.leaf == 0 ? 0
                                                    : (c.leaf & 0xfff & ~std::uint64_t{2}) |
                                                          (c.code == event::f_addr_size ? 0x1000'0000'0000 : 0x7'4000'0000);
                else
                    u.memory[u.s3] = c.code == event::f_addr_size ? 0x1003'1234'57ff : c.leaf;
                auto const answer = u.translate();
                CAPTURE(static_cast<int>(kind), static_cast<int>(c.code), stalls, records);
                REQUIRE(event_of(answer) == c.code);
                CHECK(answer.error().reported == (stalls || records));
                CHECK(record_of(answer) == (class_input | is_second | is_read | (stalls ? is_stalled : 0)));
                CHECK((answer.error().detail >> 63) == 0);
                CHECK(answer.error().intermediate == (kind == smmu_kind::nested ? 0x1'2345'6abc : 0x80'1234'5678));
                CHECK(answer.error().input == u.at());
            }
    }
}

} // namespace stagewalk::test
