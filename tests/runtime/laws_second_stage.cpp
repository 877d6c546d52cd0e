// The format laws for VT-d second-stage tables. The masks are those of the manual's table (VT-d 9.8), for each set of
// capabilities.
#include "laws.hpp"

#include <stagewalk/vtd/second_stage.hpp>

#include <cstdint>
#include <initializer_list>
#include <string>

namespace stagewalk::test {
namespace {

using second = vtd::second_stage<ipa, pa>;

struct variant {
    std::uint64_t levels{4};
    std::uint64_t haw{46};
    bool snoop{true};
    std::uint64_t sslps{3};
    vtd::policy rules{};
    bool zero_length_reads{};
};

law_book<second> book(variant const& v) {
    vtd::capability_register cap;
    cap.set<"MGAW">(56);
    cap.set<"SAGAW">(0b1110);
    cap.set<"SSLPS">(v.sslps);
    cap.set<"ZLR">(v.zero_length_reads);
    vtd::extended_capability_register ecap;
    ecap.set<"SC">(v.snoop);
    vtd::capabilities const caps{cap.word[0], ecap.word[0], v.haw};
    law_book<second> b{second{caps, v.levels, pa{0x1000}, {v.rules}}, {}, {}};

    // Rights, EMT, IPAT, SNP: every combination that the unit has.
    for (std::uint64_t rights = 1; rights <= 3; ++rights)
        for (std::uint64_t rest = 0; rest < 32; ++rest)
            if (v.snoop || (rest & 16) == 0)
                b.attribute_sets.push_back(attributes::from_bits(rights | (rest & 15) << 3 | (rest & 16) << 7));

    constexpr auto code = vtd::reason::table_reserved;
    std::uint64_t const high = std::uint64_t{1} << 62 | (bit_mask(51, 12) & ~low_mask(v.haw));
    std::uint64_t const leaf_high = high | (v.snoop ? 0 : 0x800);
    std::uint64_t const software = bit_mask(60, 52) | std::uint64_t{5} << 61 | 1u << 10 | 1u << 2;
    std::uint64_t const accessed = 1u << 8; // legacy mode and SSADE = 0 ignore A and D
    std::uint64_t const address = 0x0000'0000'5a5a'5000;
    auto const table = [&](std::uint64_t level, std::uint64_t reserved) {
        b.kinds.push_back({level, false, address | 3, reserved, software | accessed | bit_mask(6, 3) | 1u << 9, code});
    };
    for (std::uint64_t level = 3; level < v.levels; ++level)
        table(level, high | 0x880);
    table(2, high | 0x800 | ((v.sslps & 2) == 0 ? 0x80 : 0));
    table(1, high | 0x800 | ((v.sslps & 1) == 0 ? 0x80 : 0));
    if ((v.sslps & 2) != 0) b.kinds.push_back({2, true, 0x1'c000'0083, leaf_high | 0x3fff'f000, software, code});
    if ((v.sslps & 1) != 0) b.kinds.push_back({1, true, 0x1'4020'0083, leaf_high | 0x001f'f000, software, code});
    b.kinds.push_back({0, true, address | 3, leaf_high, software | 1u << 7, code});
    // A and D change nothing that a walk of legacy mode says.
    for (auto& kind : b.kinds)
        if (kind.leaf) kind.ignored |= 0x300;
    return b;
}

std::vector<variant> variants() {
    std::vector<variant> all;
    for (std::uint64_t const levels : std::initializer_list<std::uint64_t>{3, 4, 5})
        for (std::uint64_t const haw : std::initializer_list<std::uint64_t>{36, 46, 52})
            for (bool const snoop : {true, false})
                for (std::uint64_t const sslps : std::initializer_list<std::uint64_t>{0, 1, 3})
                    all.push_back({levels, haw, snoop, sslps, {}, false});
    variant each;
    each.rules.second_stage_rights = vtd::rights_order::each_entry;
    all.push_back(each);
    each.zero_length_reads = true;
    all.push_back(each);
    each.rules = {};
    all.push_back(each);
    return all;
}

template <class Law>
void for_all_variants(Law law) {
    for (auto const& v : variants()) {
        INFO("levels " << v.levels << " HAW " << v.haw << " SC " << v.snoop << " SSLPS " << v.sslps);
        law(book(v));
    }
}

} // namespace

TEST_CASE("law, second stage: leaves read back as they were written") {
    for_all_variants([](auto const& b) { law_leaves_read_back(b); });
}

TEST_CASE("law, second stage: tables read back as they were written") {
    for_all_variants([](auto const& b) { law_tables_read_back(b); });
}

TEST_CASE("law, second stage: zero is never present") {
    for_all_variants([](auto const& b) { law_zero_is_absent(b); });
}

TEST_CASE("law, second stage: every reserved bit is a fault, every ignored bit is none") {
    for_all_variants([](auto const& b) {
        law_reserved_and_ignored_bits(b);
        // No bit of any kind is left out of the account: rights, PS, address and attributes are the rest.
        for (auto const& kind : b.kinds) {
            std::uint64_t const named =
                kind.reserved | kind.ignored | 3 | 0x80 | (bit_mask(51, 12) & ~kind.reserved) | (kind.leaf ? 0x878 : 0);
            CHECK(named == ~std::uint64_t{0});
            CHECK((kind.reserved & kind.ignored) == 0);
        }
    });
}

TEST_CASE("law, second stage: shifts and indices fit together, up to the last address") {
    for_all_variants([](auto const& b) { law_geometry(b); });
}

TEST_CASE("law, second stage: the fast lane stays within the law") {
    for_all_variants([](auto const& b) { law_fast_lane_within_law(b, 1, 20'000); });
}

TEST_CASE("law, second stage: the walk is the law") {
    for_all_variants([](auto const& b) { law_walk_is_the_law(b, 2, 10'000); });
}

TEST_CASE("law, second stage: a trusting walk differs at reserved bits alone") {
    for_all_variants([](auto const& b) { law_trusted_is_the_law(b, 3, 5'000); });
}

TEST_CASE("a trusting walk still refuses what rights do not grant") {
    auto const b = book({});
    trusted const s{b.of};
    std::uint64_t entries[] = {0x2003, 0x3003, 0x4003, 0x5001};
    unsigned loads = 0;
    auto memory = make_callback<pa>([&](pa) -> outcome<std::uint64_t, memory_error> { return entries[loads++ & 3]; });
    CHECK(walk(s, memory, ipa{0}, read));
    loads = 0;
    CHECK(walk(s, memory, ipa{0}, write).error().code == vtd::reason::write_denied);
    loads = 0;
    entries[2] = 0;
    CHECK(walk(s, memory, ipa{0}, read).error().level == 1);
}

} // namespace stagewalk::test
