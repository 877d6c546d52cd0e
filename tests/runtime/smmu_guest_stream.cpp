// A guest's stream table entry under a host's stage 2.
#include "smmu_unit.hpp"

#include <stagewalk/smmu/guest_stream.hpp>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace stagewalk::test {
namespace {

using smmu::nest;
using smmu::stream_entry_error;
using smmu::stream_table_entry;

constexpr auto both = smmu_kind::nested;

// What the guest is shown: no stage 2.
smmu::capabilities shown(smmu_unit u) {
    u.idr0.set<"S2P">(0);
    u.idr0.set<"HYP">(0);
    u.idr0.set<"ATS">(0);
    return u.caps();
}
smmu::capabilities shown() { return shown(smmu_unit{both}); }

// Stage 2 of the host: that of example 10.
stream_table_entry host_entry() {
    smmu_unit const u{smmu_kind::stage2};
    return u.ste;
}
stream_table_entry guest_entry() { return stream_table_entry::make_stage1(0x9200'0000); }

// The bits of word w that a guest's stage 1 brings along, by their printed numbers.
std::uint64_t passed(std::size_t w) {
    if (w == 0) return 0xf8ff'ffff'ffff'fff0; // S1Fmt 5:4, S1ContextPtr 55:6, S1CDMax 63:59
    if (w == 1) return 0x0000'0000'0800'00ff; // S1DSS, S1CIR, S1COR and S1CSH 7:0, S1STALLD 91
    return 0;
}
// And those that are nobody's: software's and the implementation's.
std::uint64_t for_nobody(std::size_t w) {
    if (w == 1) return 0xfff0'0000'00f0'0000;
    if (w == 2) return 0x0000'0000'ffff'0000;
    if (w == 4) return 0xffff;
    return 0;
}

} // namespace

TEST_CASE("smmu guest stream: each Config of the guest") {
    for (std::uint64_t config = 0; config < 8; ++config) {
        stream_table_entry guest = guest_entry();
        guest.set<"Config">(config);
        auto const made = nest(guest, shown(), host_entry());
        CAPTURE(config);
        if (config >= 6) {
            REQUIRE_FALSE(made);
            CHECK(made.error() == stream_entry_error::no_stage2);
            continue;
        }
        REQUIRE(made);
        stream_table_entry expected = host_entry();
        if (config < 4) expected = stream_table_entry::make_abort();
        if (config == 5) {
            expected.word[0] = 0x9200'000f;
            expected.word[1] |= 0xd4; // S1CIR, S1COR, S1CSH; without substreams S1DSS says nothing
        }
        CHECK(made->entry == expected);
        CHECK(made->dropped[1] == 0x0000'1000'0000'0000); // SHCFG
        for (std::size_t w : {0u, 2u, 3u, 4u, 5u, 6u, 7u})
            CHECK(made->dropped[w] == 0);
    }
}

TEST_CASE("smmu guest stream: an entry that is not valid, whatever it holds") {
    stream_table_entry guest = guest_entry();
    guest.set<"V">(0);
    CHECK(nest(guest, shown(), host_entry()).error() == stream_entry_error::not_valid);
    guest.word[0] = every_bit - 1;
    CHECK(nest(guest, shown(), host_entry()).error() == stream_entry_error::not_valid);
}

TEST_CASE("smmu guest stream: every bit of the guest's entry passes, is told, or is nobody's") {
    for (std::uint64_t const config : {0u, 4u, 5u}) {
        stream_table_entry guest;
        guest.set<"V">(1);
        guest.set<"Config">(config);
        guest.set<"S1CDMax">(config == 5 ? 16 : 0);
        auto const plain = nest(guest, shown(), host_entry());
        REQUIRE(plain);
        for (std::size_t w = 0; w < 8; ++w)
            for (unsigned n = 0; n < 64; ++n) {
                if (w == 0 && n < 4) continue;                            // V and Config
                if (w == 0 && n >= 59 && config == 5) continue;           // S1CDMax has a test of its own
                if (w == 0 && n >= 48 && n < 56 && config == 5) continue; // beyond OAS it is illegal
                stream_table_entry changed = guest;
                changed.word[w] ^= one_bit(n);
                auto const made = nest(changed, shown(), host_entry());
                CAPTURE(config, w, n);
                REQUIRE(made);
                bool const passes = config == 5 && (passed(w) >> n & 1) != 0;
                bool const is_owned = (passed(w) >> n & 1) != 0;
                stream_table_entry expected = plain->entry;
                if (passes) expected.word[w] ^= one_bit(n);
                CHECK(made->entry == expected);
                for (std::size_t k = 0; k < 8; ++k)
                    CHECK(made->dropped[k] == (k == w && !is_owned ? one_bit(n) & ~for_nobody(w) : 0));
            }
    }
}

TEST_CASE("smmu guest stream: every bit of the host's entry stays, but where the guest's stage 1 is") {
    for (std::uint64_t const config : {4u, 5u}) {
        stream_table_entry guest;
        guest.set<"V">(1);
        guest.set<"Config">(config);
        guest.set<"S1CDMax">(config == 5 ? 16 : 0);
        auto const plain = nest(guest, shown(), host_entry());
        for (std::size_t w = 0; w < 8; ++w)
            for (unsigned n = 0; n < 64; ++n) {
                if (w == 0 && n < 4) continue;
                stream_table_entry host = host_entry();
                host.word[w] ^= one_bit(n);
                auto const made = nest(guest, shown(), host);
                CAPTURE(config, w, n);
                REQUIRE(made);
                stream_table_entry expected = plain->entry;
                if (config == 4 || (passed(w) >> n & 1) == 0) expected.word[w] ^= one_bit(n);
                CHECK(made->entry == expected);
            }
    }
    // Nothing of it where the guest aborts.
    stream_table_entry host = host_entry();
    host.word[1] = every_bit;
    CHECK(nest(stream_table_entry::make_abort(), shown(), host)->entry == stream_table_entry::make_abort());
}

TEST_CASE("smmu guest stream: an illegal entry of the guest gives its own error, by what the guest was shown") {
    struct {
        stream_entry_error error;
        void (*spoil)(stream_table_entry&, smmu_unit&);
    } const cases[] = {
        {stream_entry_error::no_stage1, [](stream_table_entry&, smmu_unit& u) { u.idr0.set<"S1P">(0); }},
        {stream_entry_error::no_stage2, [](stream_table_entry& e, smmu_unit&) { e.set<"Config">(7); }},
        {stream_entry_error::stall_disable,
         [](stream_table_entry& e, smmu_unit& u) {
             e.set<"S1STALLD">(1);
             u.idr0.set<"STALL_MODEL">(1);
         }},
        {stream_entry_error::substream_size,
         [](stream_table_entry& e, smmu_unit& u) {
             e.set<"S1CDMax">(9);
             u.idr1.set<"SSIDSIZE">(8);
         }},
        {stream_entry_error::two_level_contexts,
         [](stream_table_entry& e, smmu_unit& u) {
             e.set<"S1CDMax">(9);
             e.set<"S1Fmt">(1);
             u.idr0.set<"CD2L">(0);
         }},
        {stream_entry_error::context_pointer,
         [](stream_table_entry& e, smmu_unit& u) {
             e.set<"S1ContextPtr">(std::uint64_t{1} << 40);
             u.idr5.set<"OAS">(2);
         }},
    };
    for (auto const& c : cases) {
        stream_table_entry guest = guest_entry();
        smmu_unit u{both};
        REQUIRE(nest(guest, shown(u), host_entry()));
        c.spoil(guest, u);
        auto const made = nest(guest, shown(u), host_entry());
        CAPTURE(static_cast<unsigned>(c.error));
        REQUIRE_FALSE(made);
        CHECK(made.error() == c.error);
        // Of an entry that aborts nothing is illegal.
        guest.set<"Config">(0);
        CHECK(nest(guest, shown(u), host_entry())->entry == stream_table_entry::make_abort());
    }
}

TEST_CASE("smmu guest stream: entries that mean the same become the same") {
    auto const entry = [](std::uint64_t w0, std::uint64_t w1 = 0) {
        stream_table_entry e;
        e.word[0] = w0;
        e.word[1] = w1;
        return e;
    };
    auto const alike = [](stream_table_entry const& a, stream_table_entry const& b, smmu::capabilities const& caps) {
        auto const one = nest(a, caps, host_entry());
        auto const other = nest(b, caps, host_entry());
        return one && other && one->entry == other->entry;
    };
    // Reserved encodings.
    CHECK(alike(entry(0x8000'0000'9200'003b, 3), entry(0x8000'0000'9200'000b, 0), shown()));
    CHECK_FALSE(alike(entry(0x8000'0000'9200'001b), entry(0x8000'0000'9200'000b), shown()));
    CHECK_FALSE(alike(entry(0x8000'0000'9200'000b, 1), entry(0x8000'0000'9200'000b, 2), shown()));
    // No substreams: neither their format nor their default counts.
    for (std::uint64_t fmt = 0; fmt < 4; ++fmt)
        for (std::uint64_t dss = 0; dss < 4; ++dss) {
            CHECK(alike(entry(0x9200'000b | fmt << 4, dss), entry(0x9200'000b), shown()));
            smmu_unit u{both};
            u.idr1.set<"SSIDSIZE">(0);
            for (std::uint64_t const max : {0u, 1u, 20u, 31u})
                CHECK(alike(entry(0x9200'000b | fmt << 4 | max << 59, dss), entry(0x9200'000b), shown(u)));
        }
    // An entry without stage 1 may hold anything there.
    for (std::uint64_t const config : {0u, 2u, 4u, 6u, 8u}) {
        bool const aborts = config < 8;
        CHECK(alike(entry(0xf8ff'ffff'ffff'fff1 | config, every_bit), aborts ? entry(1) : entry(9), shown()));
    }
}

TEST_CASE("smmu guest stream: a guest without substreams has none in the host's unit, which does") {
    smmu_unit u{both};
    smmu_unit guest_unit{both};
    guest_unit.idr1.set<"SSIDSIZE">(0);
    stream_table_entry guest = guest_entry();
    guest.set<"S1CDMax">(5);
    guest.set<"S1DSS">(0); // would be F_STREAM_DISABLED
    auto const made = nest(guest, shown(guest_unit), u.ste);
    REQUIRE(made);
    u.ste = made->entry;
    CHECK(u.translate()->output == pa{0x7'4005'6abc});
    CHECK(event_of(u.translate(u.with_substream(1))) == event::c_bad_substreamid);
}

TEST_CASE("smmu guest stream: the entry is legal for the host, and translates as both stages one after the other") {
    // The guest's unit over what it takes for physical memory.
    smmu_unit guest{smmu_kind::stage1};
    guest.cd.set<"HA">(1);
    for (std::uint64_t const config : {0u, 4u, 5u})
        for (bool const stalls : {false, true})
            for (access const a : {read, write, read | execute}) {
                smmu_unit host{both};
                host.cd = guest.cd;
                stream_table_entry wish = guest.ste;
                wish.set<"Config">(config);
                wish.set<"S1STALLD">(!stalls);
                auto const made = nest(wish, shown(), host_entry());
                CAPTURE(config, stalls, a.bits);
                REQUIRE(made);
                CHECK(check(made->entry, host.caps()) == stream_entry_error::none);
                host.ste = made->entry;
                host.cd.set<"S">(stalls);
                std::uint64_t const at = config == 4 ? 0x1'2345'6abc : host.at();
                auto const found = host.translate_at(at, a);

                // One after the other.
                smmu_unit one{smmu_kind::stage1};
                one.ste = wish;
                one.ste.set<"S1STALLD">(0);
                one.cd = guest.cd;
                auto const between = one.translate_at(at, a);
                if (!between) {
                    REQUIRE_FALSE(found);
                    CHECK(found.error().code == between.error().code);
                    CHECK(found.error().reported == between.error().reported);
                    continue;
                }
                smmu_unit two{both};
                two.ste = host_entry();
                auto const end = two.translate_at(between->output.value, a);
                REQUIRE(static_cast<bool>(found) == static_cast<bool>(end));
                if (!end) {
                    CHECK(found.error().code == end.error().code);
                    continue;
                }
                CHECK(found->output == end->output);
                CHECK(found->effective.rights() == (between->effective.rights() & end->effective.rights()));
            }
}

TEST_CASE("smmu guest stream: substreams and their default pass, as the guest has them") {
    for (std::uint64_t dss = 0; dss < 3; ++dss) {
        smmu_unit u{both};
        stream_table_entry guest = stream_table_entry::make_stage1(0x9200'0000, 4);
        guest.set<"S1DSS">(dss);
        auto const made = nest(guest, shown(), u.ste);
        REQUIRE(made);
        u.ste = made->entry;
        CAPTURE(dss);
        auto const plain = u.translate();
        CHECK(event_of(plain) == (dss == 0 ? event::f_stream_disabled : dss == 1 ? event::f_translation : mapped));
        CHECK(event_of(u.translate(u.with_substream(0))) == (dss == 2 ? event::f_stream_disabled : mapped));
        CHECK(event_of(u.translate(u.with_substream(16))) == event::c_bad_substreamid);
    }
}

TEST_CASE("smmu: an entry that aborts does so in every version, under every policy, with whatever else it holds") {
    for (std::uint32_t minor = 0; minor < 5; ++minor)
        for (auto const start : {smmu::start_level::any, smmu::start_level::by_size})
            for (std::uint64_t config = 0; config < 4; ++config)
                for (unsigned n = 63; n < 256; ++n) {
                    smmu_unit u{smmu_kind::bypass};
                    u.aidr = minor;
                    u.rules.stage2_start = start;
                    u.ste = {};
                    u.ste.word[0] = 1 | config << 1;
                    if (n > 63) u.ste.word[n / 64] = one_bit(n % 64);
                    auto const answer = u.translate_at(0x1234);
                    if (!answer && answer.error().code == event::none && !answer.error().reported) continue;
                    CAPTURE(minor, config, n);
                    FAIL("not aborted");
                }
}

} // namespace stagewalk::test
