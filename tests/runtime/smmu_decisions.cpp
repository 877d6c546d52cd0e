// Rules of an SMMU that no other file holds: encoders of stage 2, and what is decided where the manual leaves a gap.
#include "smmu_unit.hpp"

#include <stagewalk/smmu/event_record.hpp>

#include <cstdint>

namespace stagewalk::test {
namespace {

using smmu::granule;

TEST_CASE("smmu decisions: stage 2 starts as low as its tables allow, side by side where that saves a level") {
    smmu_unit const u;
    auto const caps =
        smmu::capabilities{static_cast<std::uint32_t>(u.idr0.word[0]), static_cast<std::uint32_t>(u.idr1.word[0]),
                           static_cast<std::uint32_t>(u.idr3.word[0]), static_cast<std::uint32_t>(u.idr5.word[0]), 2};
    struct row {
        granule g;
        std::uint64_t input_size;
        std::uint64_t top; // the manual's level is 3 less this
    };
    // 4 KiB: level 1 serves 31 to 43 bits, level 2 22 to 34. 16 KiB: level 1 37 to 48 (two tables for 48), level 2 26 to 40.
    // 64 KiB: level 1 43 and more, level 2 30 to 46.
    row const rows[] = {{granule::k4, 32, 1},  {granule::k4, 34, 1},  {granule::k4, 35, 2},  {granule::k4, 40, 2},
                        {granule::k4, 43, 2},  {granule::k4, 44, 3},  {granule::k4, 48, 3},  {granule::k16, 40, 1},
                        {granule::k16, 41, 2}, {granule::k16, 48, 2}, {granule::k64, 46, 1}, {granule::k64, 47, 2}};
    for (auto const& r : rows) {
        CAPTURE(smmu::lg2_of(r.g), r.input_size);
        CHECK(smmu::lowest_stage2_top(caps, r.g, r.input_size, false) == r.top);
        auto const e = smmu::with_stage2(smmu::stream_table_entry::make_bypass(), caps, 0xa000'0000, r.input_size, r.g, 0x17);
        CHECK(smmu::check(e, caps) == smmu::stream_entry_error::none);
        auto const shape = smmu::stage2_shape(e, r.g, caps);
        CHECK(shape.top == r.top);
        CHECK(shape.input_size == r.input_size);
        CHECK(shape.root == 0xa000'0000);
        CHECK(e.configuration() == smmu::stream_configuration::stage2);
        auto const both =
            smmu::with_stage2(smmu::stream_table_entry::make_stage1(0x9200'0000), caps, 0xa000'0000, r.input_size, r.g, 0x17);
        CHECK(both.configuration() == smmu::stream_configuration::nested);
        CHECK(smmu::check(both, caps) == smmu::stream_entry_error::none);
    }
    CHECK(smmu::lowest_stage2_top(caps, granule::k4, 60, false) == smmu::no_top);
    CHECK(smmu::lowest_stage2_top(caps, granule::k64, 15, false) == smmu::no_top);
}

TEST_CASE("smmu decisions: every VAX but 0 lets 64 KiB tables translate 52 bits") {
    for (std::uint32_t vax = 0; vax < 4; ++vax) {
        smmu::capabilities const caps{0x2, 0, 0, 0x76u | vax << 10, 2};
        CAPTURE(vax);
        CHECK(smmu::stage1_sizes(caps, granule::k64, false).least == (vax == 0 ? 16u : 12u));
        CHECK(smmu::stage1_sizes(caps, granule::k4, false).least == 16);
    }
}

TEST_CASE("smmu decisions: an event queue of more than 2^19 records counts as one of 2^19") {
    for (std::uint64_t const size : {19u, 20u, 31u, 63u, 64u, 200u}) {
        smmu::event_queue q;
        q.lg2_size = size;
        q.enabled = true;
        q.prod = (1u << 19) - 1;
        CAPTURE(size);
        CHECK_FALSE(q.is_full());
        CHECK(q.next() == ((1u << 19) - 1) * 32u);
        CHECK(q.take({}) == smmu::event_delivery::written);
        CHECK(q.prod == 1u << 19);
        CHECK(q.is_full());
        CHECK(q.take({}) == smmu::event_delivery::dropped);
        CHECK(q.prod == ((1u << 31) | (1u << 19)));
    }
}

// A translated request of a stream with ATS, at an address that a unit of 48 bits may or may not have.
auto used_at(smmu_unit& u, std::uint64_t at) {
    auto r = u.ask_at(at, read);
    r.type = smmu::request_type::translated;
    return u.translate(r);
}

TEST_CASE(
    "smmu decisions: translated requests pass unchecked where there is ATS, nothing is to be checked, and the address is one") {
    smmu_unit u{smmu_kind::stage1};
    u.ste.set<"V">(0); // nobody looks
    CHECK(used_at(u, 0xffff'ffff'ffff));
    CHECK(event_of(used_at(u, 0x1'0000'0000'0000)) == event::c_bad_ste);
    u.idr0.set<"ATS">(0);
    CHECK(event_of(used_at(u, 0x1000)) == event::c_bad_ste);
    u.ste.set<"V">(1);
    CHECK(event_of(used_at(u, 0x1000)) == event::f_transl_forbidden);
}

TEST_CASE("smmu decisions: what has been translated whole is a physical address or f_addr_size") {
    smmu_unit u{smmu_kind::stage1};
    u.cr0 = 0x11; // SMMUEN, ATSCHK
    u.ste.set<"EATS">(1);
    CHECK(used_at(u, 0xffff'ffff'ffff));
    auto const wide = used_at(u, 0x1'0000'0000'0000);
    CHECK(event_of(wide) == event::f_addr_size);
    CHECK(wide.error().stage == fault_stage::first);
    CHECK(wide.error().at == fault_at::input);
    // Not even one that stage 2 could take: with VMSAv8-32 intermediate addresses have 40 bits.
    u.idr0.set<"TTF">(3);
    u.idr5.set<"OAS">(0);
    u.cd.set<"IPS">(0);
    CHECK(used_at(u, 0xffff'ffff));
    CHECK(event_of(used_at(u, 0x1'0000'0000)) == event::f_addr_size);
}

TEST_CASE("smmu decisions: an entry that aborts everything is never taken for one that lets pass") {
    for (std::uint64_t config = 0; config < 4; ++config)
        for (std::uint32_t minor = 0; minor < 4; ++minor)
            for (auto const start : {smmu::start_level::any, smmu::start_level::by_size})
                for (std::uint64_t const d2 :
                     {std::uint64_t{0}, std::uint64_t{1} << 51, std::uint64_t{1} << 51 | std::uint64_t{1} << 57}) {
                    smmu_unit u{smmu_kind::bypass};
                    u.aidr = minor;
                    u.rules.stage2_start = start;
                    u.ste = smmu::stream_table_entry{1 | config << 1, std::uint64_t{0}, d2};
                    CAPTURE(config, minor, d2);
                    auto const answer = u.translate(u.ask_at(0x1000, read));
                    REQUIRE_FALSE(answer);
                    CHECK(answer.error().code == event::none);
                    CHECK_FALSE(answer.error().reported);
                }
}

} // namespace
} // namespace stagewalk::test
