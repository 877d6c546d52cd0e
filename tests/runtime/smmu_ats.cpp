// ATS: what a device is told that asks for a translation, and what becomes of what it has been told.
#include "smmu_unit.hpp"

#include <stagewalk/smmu/ats.hpp>
#include <stagewalk/smmu/event_record.hpp>

#include <cstdint>
#include <ostream>
#include <vector>

namespace stagewalk {
inline namespace v0 {
namespace smmu {

inline std::ostream& operator<<(std::ostream& out, ats_status s) { return out << "status " << static_cast<unsigned>(s); }

} // namespace smmu
} // namespace v0
} // namespace stagewalk

namespace stagewalk::test {
namespace {

using smmu::ats_status;
using smmu::request_type;
using update = smmu_unit::memory_type::update;

constexpr auto both = smmu_kind::nested;
constexpr auto first = smmu_kind::stage1;
constexpr auto second = smmu_kind::stage2;

// A unit whose stream has ATS, translated requests being checked.
smmu_unit with_ats(smmu_kind k, std::uint64_t eats = 1) {
    smmu_unit u{k};
    u.cr0 = 0x11; // SMMUEN, ATSCHK
    u.ste.set<"EATS">(eats);
    return u;
}

smmu::request typed(smmu::request r, request_type t) {
    r.type = t;
    return r;
}

auto ask_for(smmu_unit& u, access a = read_write) { return u.translate(typed(u.ask(a), request_type::translation)); }
auto use(smmu_unit& u, std::uint64_t at, access a = read) {
    return u.translate(typed(u.ask_at(at, a), request_type::translated));
}
// Exe is told to whom has asked for it with a SubstreamID: as if this had been the request.
smmu::request with_execute(smmu_unit const& u, access a) { return u.with_substream(1, a | execute); }
smmu::ats_completion completion_of(smmu_unit& u, access a = read_write) {
    return smmu::to_completion(ask_for(u, a), with_execute(u, a));
}

// A completion without rights, address and size.
void check_refused(smmu::ats_completion const& c, ats_status s) {
    smmu::ats_completion expected;
    expected.status = s;
    CHECK(c == expected);
}

// The rights as R, W, Exe in bits 0 to 2.
unsigned rights_in(smmu::ats_completion const& c) { return (c.read ? 1u : 0u) | (c.write ? 2u : 0u) | (c.execute ? 4u : 0u); }

struct config_error {
    event code;
    void (*spoil)(smmu_unit&);
};

config_error const config_errors[] = {
    {event::c_bad_streamid, [](smmu_unit& u) { u.strtab_base_cfg = 5; }},
    {event::f_ste_fetch, [](smmu_unit& u) { u.memory.poison(u.ste_at); }},
    {event::c_bad_ste, [](smmu_unit& u) { u.ste.set<"V">(0); }},
    {event::f_stream_disabled,
     [](smmu_unit& u) {
         u.ste.set<"S1CDMax">(4);
         u.ste.set<"S1DSS">(0);
     }},
    {event::c_bad_substreamid,
     [](smmu_unit& u) {
         u.ste.set<"S1CDMax">(10);
         u.ste.set<"S1Fmt">(1);
         u.ste.set<"S1DSS">(2);
         u.cd.word[0] &= ~std::uint64_t{1}; // what stands there is a level-1 descriptor without V
     }},
    {event::f_cd_fetch, [](smmu_unit& u) { u.memory.poison(u.where(u.cd_at)); }},
    {event::c_bad_cd, [](smmu_unit& u) { u.cd.set<"V">(0); }},
    {event::f_walk_eabt, [](smmu_unit& u) { u.memory.poison(u.where(u.l2)); }},
};

} // namespace

// --- who may ask -----------------------------------------------------------------------------------------------------------

TEST_CASE("smmu ATS: SMMUEN = 0 is UR and F_BAD_ATS_TREQ, whatever GBPA says") {
    for (std::uint32_t const gbpa : {0u, 1u << 20})
        for (std::uint32_t const cr0 : {0x00u, 0x10u}) {
            smmu_unit u = with_ats(first);
            u.cr0 = cr0;
            u.gbpa = gbpa;
            check_event(ask_for(u), event::f_bad_ats_treq, of_configuration(), u.at(), 0);
            check_refused(completion_of(u), ats_status::unsupported_request);
            CHECK(u.memory.trail.empty());
            check_event(use(u, 0x1234, write), event::f_transl_forbidden, of_configuration(), 0x1234, 0);
            check_event(use(u, 0x1234, read), event::f_transl_forbidden, of_configuration(), 0x1234, is_read);
        }
}

TEST_CASE("smmu ATS: EATS, ATSCHK and Config, request by request") {
    for (smmu_kind const k : {smmu_kind::bypass, first, second, both})
        for (std::uint64_t eats = 0; eats < 4; ++eats)
            for (bool const checks : {false, true})
                for (bool const has : {false, true}) {
                    smmu_unit u = with_ats(k, eats);
                    u.cr0 = checks ? 0x11 : 0x01;
                    u.idr0.set<"ATS">(has);
                    bool const bad = has && eats == 2 && k != smmu_kind::bypass && k != both;
                    bool const full = has && k != smmu_kind::bypass && eats == 1;
                    bool const split = has && k == both && eats == 2 && checks;
                    CAPTURE(static_cast<int>(k), eats, checks, has);
                    auto const asked = ask_for(u);
                    auto const told = smmu::to_completion(asked, u.ask());
                    auto const used = use(u, 0x80'1234'5678);
                    if (bad) {
                        CHECK(event_of(asked) == event::c_bad_ste);
                        CHECK_FALSE(asked.error().reported);
                        check_refused(told, ats_status::completer_abort);
                        CHECK(event_of(used) == (checks ? event::c_bad_ste : mapped)); // bad only where there is ATS
                        continue;
                    }
                    if (full || split) {
                        REQUIRE(asked);
                        CHECK(told.status == ats_status::success);
                        std::uint64_t const page = k == second         ? 0x3'1234'5000
                                                   : k == both && full ? 0x7'4005'6000
                                                                       : 0x1'2345'6000;
                        CHECK(told.address == page);
                        CHECK(rights_in(told) == 3);
                    } else {
                        check_event(asked, event::f_bad_ats_treq, of_configuration(u.ste_at, u.ste.word[0]), u.at(), 0);
                        check_refused(told, ats_status::unsupported_request);
                    }
                    if (!checks && has) {
                        REQUIRE(used);
                        CHECK(used->output == pa{0x80'1234'5678});
                        CHECK(static_cast<int>(used->by) == static_cast<int>(passage::bypassed));
                        CHECK(u.memory.trail.empty()); // nothing is looked at
                    } else if (full) {
                        REQUIRE(used);
                        CHECK(used->output == pa{0x80'1234'5678});
                        CHECK(static_cast<int>(used->by) == static_cast<int>(passage::bypassed));
                        CHECK(u.memory.trail.size() == 4); // the stream table entry
                    } else if (split) {
                        REQUIRE(used);
                        CHECK(used->output == pa{0x3'1234'5678});
                        CHECK(static_cast<int>(used->by) == static_cast<int>(passage::walked));
                    } else {
                        check_event(used, event::f_transl_forbidden, of_configuration(u.ste_at, u.ste.word[0]), 0x80'1234'5678,
                                    is_read);
                    }
                }
}

TEST_CASE("smmu ATS: a stream that aborts everything refuses in silence") {
    for (std::uint64_t config = 0; config < 4; ++config) {
        smmu_unit u = with_ats(first);
        u.ste.set<"Config">(config);
        CAPTURE(config);
        check_event(ask_for(u), event::none, of_configuration(u.ste_at, u.ste.word[0]), u.at(), 0, 0, false);
        check_refused(completion_of(u), ats_status::unsupported_request);
        check_event(use(u, 0x1000), event::none, of_configuration(u.ste_at, u.ste.word[0]), 0x1000, 0, 0, false);
    }
}

TEST_CASE("smmu ATS: what is wrong with the stream comes before what it lets be done") {
    smmu_unit u = with_ats(first, 0);
    u.ste.set<"V">(0);
    CHECK(event_of(ask_for(u)) == event::c_bad_ste);
    CHECK(event_of(use(u, 0x1000)) == event::c_bad_ste);
    CHECK(use(u, 0x1000).error().reported);
    // And that comes before substreams and contexts.
    smmu_unit v = with_ats(first, 0);
    v.cd.set<"V">(0);
    auto r = v.with_substream(7);
    CHECK(event_of(v.translate(typed(r, request_type::translation))) == event::f_bad_ats_treq);
    CHECK(event_of(v.translate(typed(r, request_type::translated))) == event::f_transl_forbidden);
    v.ste.set<"EATS">(1);
    CHECK(event_of(v.translate(typed(r, request_type::translation))) == event::c_bad_substreamid);
    CHECK(v.translate(typed(r, request_type::translated))); // it has passed all that
}

// --- what is wrong -----------------------------------------------------------------------------------------------------------

TEST_CASE("smmu ATS: errors of the configuration and of memory are CA, and told where REC_CFG_ATS says so") {
    for (auto const& c : config_errors)
        for (smmu_kind const k : {first, both})
            for (unsigned bits = 0; bits < 8; ++bits) {
                smmu_unit u = with_ats(k);
                bool const can = (bits & 1) != 0;
                bool const wants = (bits & 2) != 0;
                bool const streams = (bits & 4) != 0; // RECINVSID
                u.idr0.set<"ATSRECERR">(can);
                u.cr2 = (wants ? 8u : 0u) | (streams ? 2u : 0u);
                c.spoil(u);
                CAPTURE(static_cast<unsigned>(c.code), static_cast<int>(k), can, wants, streams);
                auto const answer = ask_for(u);
                CHECK(event_of(answer) == c.code);
                CHECK(answer.error().reported == (can && wants && (streams || c.code != event::c_bad_streamid)));
                CHECK((answer.error().detail & is_stalled) == 0);
                check_refused(smmu::to_completion(answer, u.ask()), ats_status::completer_abort);
                // An ordinary request is told of as ever.
                CHECK(u.translate().error().reported == (streams || c.code != event::c_bad_streamid));
            }
}

TEST_CASE("smmu ATS: what stage 1 does not map is success without rights, without an event, and never stalls") {
    struct {
        event code;
        std::uint64_t entry;
    } const causes[] = {{event::f_translation, 0},
                        {event::f_addr_size, 0x0000'2000'0000'0f43},
                        {event::f_access, 0x0060'0001'2345'6b47},
                        {event::f_permission, 0x0060'0001'2345'6f07}}; // privileged only, and nobody executes
    for (auto const& c : causes)
        for (unsigned bits = 0; bits < 16; ++bits) {
            smmu_unit u = with_ats(bits >= 8 ? both : first);
            u.cd.set<"S">(bits >> 2 & 1);
            u.cd.set<"R">(bits >> 1 & 1);
            u.cd.set<"A">(bits & 1);
            u.cd.set<"IPS">(2);
            u.idr0.set<"ATSRECERR">(1);
            u.cr2 = 8;
            u.first(u.l3) = c.entry;
            CAPTURE(static_cast<unsigned>(c.code), bits);
            auto const answer = ask_for(u);
            CHECK(event_of(answer) == c.code);
            CHECK_FALSE(answer.error().reported);
            CHECK((answer.error().detail & (smmu::fault_detail::stalled | smmu::fault_detail::reads_zero)) == 0);
            check_refused(smmu::to_completion(answer, u.ask()), ats_status::success);
        }
}

TEST_CASE("smmu ATS: what stage 2 does not map, for contexts, tables and pages") {
    for (std::uint64_t const at : {smmu_unit::n_cd, smmu_unit::n_table, smmu_unit::n_out})
        for (std::uint64_t const leaf :
             {std::uint64_t{0}, std::uint64_t{0x3'9400'03fd}, std::uint64_t{0x3'9400'073d}, std::uint64_t{0x1000'0000'07fd}})
            for (unsigned bits = 0; bits < 4; ++bits) {
                smmu_unit u = with_ats(both);
                u.ste.set<"S2PS">(3);
                u.ste.set<"S2R">(bits & 1);
                u.idr0.set<"ATSRECERR">(bits >> 1);
                u.cr2 = 8;
                u.memory[at] = leaf;
                CAPTURE(at, leaf, bits);
                auto const answer = ask_for(u);
                REQUIRE_FALSE(answer);
                CHECK(is_stage_event(answer.error().code));
                CHECK(static_cast<int>(answer.error().stage) == 2);
                CHECK_FALSE(answer.error().reported);
                CHECK((answer.error().detail & is_stalled) == 0);
                check_refused(smmu::to_completion(answer, u.ask()), ats_status::success);
            }
    // An address beyond IAS.
    smmu_unit u = with_ats(second);
    auto const r = typed(u.ask_at(0x1'0000'0000'0000), request_type::translation);
    auto const answer = u.translate(r);
    CHECK(event_of(answer) == event::f_addr_size);
    CHECK_FALSE(answer.error().reported);
    check_refused(smmu::to_completion(answer, r), ats_status::success);
}

TEST_CASE("smmu ATS: a stage 2 whose table cannot be read is CA") {
    for (std::uint64_t const at : {smmu_unit::n_cd, smmu_unit::n_table, smmu_unit::n_out})
        for (bool const told : {false, true}) {
            smmu_unit u = with_ats(both);
            u.idr0.set<"ATSRECERR">(1);
            u.cr2 = told ? 8 : 0;
            u.memory.poison(at);
            CAPTURE(at, told);
            auto const answer = ask_for(u);
            CHECK(event_of(answer) == event::f_walk_eabt);
            CHECK(answer.error().reported == told);
            check_refused(smmu::to_completion(answer, u.ask()), ats_status::completer_abort);
        }
}

// --- the rights --------------------------------------------------------------------------------------------------------------

TEST_CASE("smmu ATS: the rights of stage 1, of each kind of requester") {
    for (std::uint64_t ap = 0; ap < 4; ++ap)
        for (std::uint64_t xn = 0; xn < 4; ++xn) // UXN, PXN
            for (bool const by_kernel : {false, true})
                for (bool const no_write : {false, true})
                    for (bool const fetches : {false, true}) {
                        smmu_unit u = with_ats(first);
                        u.first(u.l3) = 0x1'2345'6f07 | ap << 6 | xn << 53;
                        access a = no_write ? read : read_write;
                        if (fetches) a = a | execute;
                        if (by_kernel) a = a | privileged;
                        bool const reads = by_kernel || (ap & 1) != 0;
                        bool const writes = reads && (ap & 2) == 0;
                        bool const runs = by_kernel ? (xn & 1) == 0 && ap != 1 : (xn & 2) == 0;
                        CAPTURE(ap, xn, by_kernel, no_write, fetches);
                        auto const answer = ask_for(u, a);
                        auto const c = smmu::to_completion(answer, with_execute(u, a));
                        CHECK(c.status == ats_status::success);
                        CHECK(static_cast<bool>(answer) == (reads || writes || runs));
                        if (!answer) CHECK(event_of(answer) == event::f_permission);
                        CHECK(rights_in(c) == ((reads ? 1u : 0u) | (writes ? 2u : 0u) | (reads && runs ? 4u : 0u)));
                        CHECK(c.address == (reads ? 0x1'2345'6000u : 0u));
                        CHECK(c.lg2_size == 12);
                        CHECK(c.privileged == by_kernel);
                        CHECK_FALSE(smmu::to_completion(answer, u.ask(a | execute)).execute); // there is no SubstreamID
                        CHECK_FALSE(smmu::to_completion(answer, u.ask(a)).privileged);
                        CHECK_FALSE(smmu::to_completion(answer, u.with_substream(1, a & ~execute)).execute);
                    }
}

TEST_CASE("smmu ATS: the rights of stage 2, and both together") {
    for (std::uint64_t s2ap = 0; s2ap < 4; ++s2ap)
        for (std::uint64_t xn = 0; xn < 4; ++xn)
            for (bool const by_kernel : {false, true}) {
                access const a = by_kernel ? read_write | privileged : read_write;
                bool const reads = (s2ap & 1) != 0;
                bool const runs = reads && (xn == 0 || xn == (by_kernel ? 3u : 1u));
                smmu_unit u = with_ats(second);
                u.memory[u.s3] = 0x3'1234'573f | s2ap << 6 | xn << 53;
                CAPTURE(s2ap, xn, by_kernel);
                auto const c = completion_of(u, a);
                CHECK(c.status == ats_status::success);
                CHECK(rights_in(c) == ((s2ap & 3) | (runs ? 4u : 0u)));
                CHECK(c.address == (s2ap != 0 ? 0x3'1234'5000u : 0u));
                for (std::uint64_t ap = 0; ap < 4; ++ap) {
                    smmu_unit n = with_ats(both);
                    n.first(n.l3) = 0x1'2345'6f07 | ap << 6;
                    n.memory[n.n_out] = 0x7'4000'073d | s2ap << 6 | xn << 53;
                    bool const reads1 = by_kernel || (ap & 1) != 0;
                    bool const writes1 = reads1 && (ap & 2) == 0;
                    bool const runs1 = !by_kernel || ap != 1;
                    unsigned const expected = (reads && reads1 ? 1u : 0u) | ((s2ap & 2) != 0 && writes1 ? 2u : 0u) |
                                              (runs && reads1 && runs1 ? 4u : 0u);
                    CAPTURE(ap);
                    auto const told = completion_of(n, a);
                    CHECK(told.status == ats_status::success);
                    CHECK(rights_in(told) == expected);
                    CHECK(told.address == ((expected & 3) != 0 ? 0x7'4005'6000u : 0u));
                    // What is granted is granted to an ordinary request, and what is not is not.
                    access const rest = by_kernel ? privileged : none;
                    CHECK(static_cast<bool>(n.translate(read | rest)) == ((expected & 1) != 0));
                    CHECK(static_cast<bool>(n.translate(write | rest)) == ((expected & 2) != 0));
                    if ((expected & 1) != 0)
                        CHECK(static_cast<bool>(n.translate(read | execute | rest)) == ((expected & 4) != 0));
                }
            }
}

TEST_CASE("smmu ATS: Priv is that of a request with a SubstreamID") {
    smmu_unit u = with_ats(first);
    u.ste.word[0] = 0x8000'0000'9200'000b;
    u.ste.set<"S1DSS">(1);
    for (access const a : {read_write, read_write | privileged}) {
        auto const r = typed(u.with_substream(0, a), request_type::translation);
        auto const c = smmu::to_completion(u.translate(r), r);
        CHECK(c.privileged == a.covers(privileged));
        CHECK(rights_in(c) == 3);
    }
}

TEST_CASE("smmu ATS: the size is the smaller of both leaves, a bypass is a page") {
    struct {
        bool block1;
        bool block2;
        std::uint64_t lg2;
        std::uint64_t address;
    } const cases[] = {{false, true, 12, 0x7'4005'6000},
                       {true, true, 21, 0x7'4000'0000},
                       {true, false, 12, 0x6'6666'6000},
                       {false, false, 12, 0x6'6666'6000}};
    for (auto const& c : cases) {
        smmu_unit u = with_ats(both);
        // Bits 20:0 of the address are 167ABCh with a block.
        if (c.block1) u.first(u.l2) = 0x0000'0001'2340'0f41;
        if (!c.block2) {
            u.memory[u.n_out] = 0xa004'0003;
            u.memory[0xa004'0000 + (c.block1 ? 0x167 : 0x56) * 8] = 0x6'6666'67ff;
        }
        CAPTURE(c.block1, c.block2);
        auto const told = completion_of(u);
        CHECK(told.lg2_size == c.lg2);
        CHECK(told.address == c.address);
    }
    smmu_unit u = with_ats(first);
    u.first(u.l1) = 0x0000'0000'4000'0f41; // 1 GiB
    CHECK(completion_of(u).lg2_size == 30);
    CHECK(completion_of(u).address == 0x4000'0000);
    smmu_unit v = with_ats(first);
    v.ste.set<"S1CDMax">(1);
    v.ste.set<"S1DSS">(1); // without SubstreamID stage 1 is passed by
    auto const told = completion_of(v);
    CHECK(told.address == (v.at() & ~std::uint64_t{0xfff}));
    CHECK(told.lg2_size == 12);
    CHECK(rights_in(told) == 7);
}

// --- what is marked ----------------------------------------------------------------------------------------------------------

TEST_CASE("smmu ATS: a request for writing dirties what both stages let be written, and nothing else") {
    // DBM in both leaves; each may be clean, read-only or written already.
    constexpr std::uint64_t leaf1[]{0x0008'0001'2345'63c7, 0x0000'0001'2345'63c7, 0x0008'0001'2345'6347};
    constexpr std::uint64_t leaf2[]{0x0008'0007'4000'037d, 0x0000'0007'4000'037d, 0x0008'0007'4000'03fd};
    for (unsigned i = 0; i < 3; ++i)
        for (unsigned k = 0; k < 3; ++k)
            for (bool const no_write : {false, true})
                for (bool const marks : {false, true}) { // HD and S2HD
                    smmu_unit u = with_ats(both);
                    u.cd.set<"HA">(1);
                    u.cd.set<"HD">(marks);
                    u.ste.set<"S2HA">(1);
                    u.ste.set<"S2HD">(marks);
                    u.first(u.l3) = leaf1[i];
                    u.memory[u.n_out] = leaf2[k];
                    bool const writes1 = i == 2 || (i == 0 && marks);
                    bool const writes2 = k == 2 || (k == 0 && marks);
                    bool const dirties = !no_write && writes1 && writes2;
                    // With NW what is clean stays clean, and is not writable.
                    bool const granted = no_write ? i == 2 && k == 2 : writes1 && writes2;
                    CAPTURE(i, k, no_write, marks);
                    auto const c = completion_of(u, no_write ? read : read_write);
                    CHECK(c.read);
                    CHECK(c.write == granted);
                    std::uint64_t const after1 = (leaf1[i] | 0x400) & ~(dirties && i == 0 ? std::uint64_t{0x80} : 0);
                    std::uint64_t const after2 = leaf2[k] | 0x400 | (dirties && k == 0 ? 0x80 : 0);
                    CHECK(u.first(u.l3) == after1);
                    CHECK(u.memory[u.n_out] == after2);
                    // What was told holds for the ordinary request.
                    u.memory.forget();
                    auto const used = u.unit().translate(u.ask(c.write ? write : read));
                    CHECK(used);
                    CHECK(u.memory.updates.empty());
                }
}

TEST_CASE("smmu ATS: one stage alone is marked as its own rights say") {
    for (bool const no_write : {false, true})
        for (bool const read_only : {false, true}) {
            smmu_unit u = with_ats(first);
            u.cd.set<"HA">(1);
            u.cd.set<"HD">(1);
            std::uint64_t const before = 0x0008'0001'2345'63c7 & ~(read_only ? std::uint64_t{1} << 51 : 0);
            u.first(u.l3) = before;
            CAPTURE(no_write, read_only);
            CHECK(completion_of(u, no_write ? read : read_write).write == (!no_write && !read_only));
            CHECK(u.first(u.l3) == ((before | 0x400) & ~(no_write || read_only ? std::uint64_t{0} : 0x80)));
            smmu_unit s = with_ats(second);
            s.ste.set<"S2HA">(1);
            s.ste.set<"S2HD">(1);
            std::uint64_t const leaf = 0x0008'0003'1234'537f & ~(read_only ? std::uint64_t{1} << 51 : 0);
            s.memory[s.s3] = leaf;
            CHECK(completion_of(s, no_write ? read : read_write).write == (!no_write && !read_only));
            CHECK(s.memory[s.s3] == (leaf | 0x400 | (no_write || read_only ? 0 : 0x80)));
        }
    // Nothing granted at all: nothing becomes dirty.
    smmu_unit u = with_ats(first);
    u.cd.set<"HA">(1);
    u.cd.set<"HD">(1);
    u.first(u.l3) = 0x0068'0001'2345'6787;
    check_refused(completion_of(u), ats_status::success);
    CHECK((u.first(u.l3) & 0x80) != 0);
}

// --- split stages ------------------------------------------------------------------------------------------------------------

TEST_CASE("smmu ATS split: the answer is stage 1's, and stage 2 of the output is not looked at") {
    smmu_unit u = with_ats(both, 2);
    u.memory[u.n_out] = 0;
    u.first(u.l3) = 0x1'2345'6fc7; // read-only
    auto const answer = ask_for(u);
    REQUIRE(answer);
    CHECK(answer->output == pa{0x1'2345'6abc});
    CHECK(answer->lg2_size == 12);
    auto const c = smmu::to_completion(answer, u.ask());
    CHECK(c.address == 0x1'2345'6000);
    CHECK(rights_in(c) == 1);
    // Later the intermediate address goes through stage 2, which has the last word, and is told of.
    check_event(use(u, 0x1'2345'6abc), event::f_translation, of_descriptor(fault_stage::second, 1, u.n_out, 0), 0x1'2345'6abc,
                class_input | is_second | is_read, 0x1'2345'6abc);
    u.memory[u.n_out] = 0x7'4000'077d;
    CHECK(use(u, 0x1'2345'6abc)->output == pa{0x7'4005'6abc});
    CHECK(event_of(use(u, 0x1'2345'6abc, write)) == event::f_permission);
    u.ste.set<"S2R">(0);
    CHECK_FALSE(use(u, 0x1'2345'6abc, write).error().reported);
    check_event(use(u, 0x1'0000'0000'0000), event::f_addr_size, of_input(fault_stage::first), 0x1'0000'0000'0000,
                class_input | is_read);
}

TEST_CASE("smmu ATS split: tables and context lie behind stage 2 all the same") {
    for (std::uint64_t const at : {smmu_unit::n_cd, smmu_unit::n_table}) {
        smmu_unit u = with_ats(both, 2);
        u.memory[at] = 0;
        auto const answer = ask_for(u);
        CHECK(event_of(answer) == event::f_translation);
        CHECK_FALSE(answer.error().reported);
        check_refused(smmu::to_completion(answer, u.ask()), ats_status::success);
    }
}

TEST_CASE("smmu ATS split: where stage 1 is passed by, the address is intermediate already") {
    smmu_unit u = with_ats(both, 2);
    u.ste.set<"S1CDMax">(1);
    u.ste.set<"S1DSS">(1);
    auto const r = typed(u.ask_at(0x80'1234'5678, read_write), request_type::translation);
    auto const answer = u.translate(r);
    REQUIRE(answer);
    CHECK(answer->output == pa{0x80'1234'5678});
    auto const c = smmu::to_completion(answer, r);
    CHECK(c.address == 0x80'1234'5000);
    CHECK(c.lg2_size == 12);
    CHECK(use(u, 0x80'1234'5678)->output == pa{0x3'1234'5678});
    // With whole ATS it is stage 2's answer.
    u.ste.set<"EATS">(1);
    CHECK(u.translate(r)->output == pa{0x3'1234'5678});
    // And ordinary requests pass stage 2 in any case.
    u.ste.set<"EATS">(2);
    CHECK(u.translate_at(0x80'1234'5678)->output == pa{0x3'1234'5678});
}

TEST_CASE("smmu ATS split: stage 1 is marked dirty as it grants writing itself") {
    for (bool const locked : {false, true}) {
        smmu_unit u = with_ats(both, 2);
        u.cd.set<"HA">(1);
        u.cd.set<"HD">(1);
        u.first(u.l3) = 0x0008'0001'2345'63c7;
        u.memory[u.n_out] = 0x7'4000'077d; // stage 2 grants no writing of the page
        if (locked) u.memory[u.n_table] &= ~std::uint64_t{0x80};
        auto const c = completion_of(u);
        CHECK(c.status == ats_status::success);
        CHECK(c.write == !locked);
        CHECK(u.first(u.l3) == (locked ? 0x0008'0001'2345'63c7u : 0x0008'0001'2345'6747u));
    }
    // Somebody else changes the leaf: the walk starts again, and gives up in the end.
    smmu_unit u = with_ats(both, 2);
    u.cd.set<"HA">(1);
    u.first(u.l3) = 0x1'2345'6347;
    unsigned meddled = 0;
    u.memory.meddle = [&](std::uint64_t at) {
        if (at == u.where(u.l3) && meddled++ < 3) u.first(u.l3) ^= std::uint64_t{1} << 55;
    };
    CHECK(completion_of(u).read);
    CHECK(meddled == 4);
    u.first(u.l3) = 0x1'2345'6347;
    u.memory.meddle = [&](std::uint64_t at) {
        if (at == u.where(u.l3)) u.first(u.l3) ^= std::uint64_t{1} << 55;
    };
    CHECK(event_of(ask_for(u)) == event::f_walk_eabt);
    check_refused(completion_of(u), ats_status::completer_abort);
}

TEST_CASE("smmu ATS: translated requests stall at stage 2 as ordinary ones, and change what they write") {
    smmu_unit u = with_ats(both, 2);
    u.ste.set<"S2HA">(1);
    u.ste.set<"S2HD">(1);
    u.memory[u.n_out] = 0x0008'0007'4000'037d;
    REQUIRE(use(u, 0x1'2345'6abc, write));
    CHECK(u.memory[u.n_out] == 0x0008'0007'4000'07fd);
    // EATS = 10 bars S2S, so that nothing stalls.
    u.ste.set<"S2S">(1);
    CHECK(event_of(use(u, 0x1'2345'6abc)) == event::c_bad_ste);
}

TEST_CASE("smmu ATS: the status of each event") {
    for (unsigned n = 0; n < 256; ++n) {
        auto const e = static_cast<event>(n);
        ats_status const expected = n == 0 || n == 5         ? ats_status::unsupported_request
                                    : n >= 0x10 && n <= 0x13 ? ats_status::success
                                                             : ats_status::completer_abort;
        CAPTURE(n);
        CHECK(smmu::status_of(e) == expected);
    }
}

} // namespace stagewalk::test
