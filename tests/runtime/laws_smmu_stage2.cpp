// The format laws for SMMU stage-2 tables, in three granules, of 48 and of 52 bits, with up to 16 tables side by side. The masks
// are those of the manual's descriptor formats (DDI 0487 D8.3).
#include "laws.hpp"

#include <stagewalk/smmu/stage2.hpp>

#include <cstdint>
#include <initializer_list>

namespace stagewalk::test {
namespace {

using smmu::event;
using smmu::granule;

enum class option { plain, no_access, updates, one_execute };

struct variant {
    bool wide{};
    std::uint64_t output{48};
    bool side_by_side{};
    option with{option::plain};
    bool is_privileged{};
};

constexpr std::uint64_t bit(unsigned n) { return std::uint64_t{1} << n; }

template <granule G>
law_book<smmu::stage2<G>> book(variant const& v) {
    constexpr bool k64 = G == granule::k64;
    constexpr std::uint64_t page = G == granule::k4 ? 12 : G == granule::k16 ? 14 : 16;
    smmu::table_shape shape;
    shape.root = 0x7000'0000;
    // Side by side: 16 tables of level 1 (4 KiB), 2 (64 KiB), 2 (16 KiB).
    shape.input_size = v.side_by_side ? (G == granule::k4 ? 43 : k64 ? 46 : 40) : v.wide ? 52 : G == granule::k16 ? 47 : 48;
    shape.top = v.side_by_side ? (G == granule::k4 ? 2 : 1)
                : v.wide       ? (G == granule::k4 ? 4
                                  : k64            ? 2
                                                   : 3)
                               : (G == granule::k4 ? 3 : 2);
    shape.output_size = v.output;
    shape.wide = v.wide;
    smmu::stage2_options o;
    o.execute_by_privilege = v.with != option::one_execute;
    o.ignores_access = v.with == option::no_access;
    o.updates_access = o.updates_dirty = o.updates_tables = v.with == option::updates;
    law_book<smmu::stage2<G>> b{smmu::stage2<G>{shape, o}, {}, {}};
    if (v.is_privileged) b.as = privileged;

    // MemAttr, SH where it is, DBM, Contiguous, XN as the rights want it.
    bool const has_sh = !v.wide || k64;
    for (std::uint64_t rights : {1u, 2u, 3u, 5u, 7u})
        for (std::uint64_t type : {0u, 6u, 15u})
            for (std::uint64_t rest = 0; rest < 32; ++rest) {
                if (type != 6 && rest % 8 != 3 && has_sh) continue; // each type, not with everything
                std::uint64_t const sh = rest & 3;
                if (!has_sh && sh != 0) continue;
                bool const dbm = (rest & 4) != 0;
                if (dbm && v.with == option::updates && (rights & 2) == 0) continue; // such a page can be written
                bool const executes = (rights & 4) != 0;
                bool const by_some = (rest & 16) != 0;
                // Of 53 and 54, nobody executes with 10; the unprivileged alone with 01, the privileged alone with 11.
                std::uint64_t const xn = v.with == option::one_execute ? (executes ? 0u : 2u)
                                         : !executes                   ? 2u
                                         : !by_some                    ? 0u
                                         : v.is_privileged             ? 3u
                                                                       : 1u;
                b.attribute_sets.push_back(attributes::from_bits(rights | type << 3 | sh << 8 | (dbm ? bit(51) : 0) |
                                                                 ((rest & 8) != 0 ? bit(52) : 0) | xn << 53));
            }

    std::uint64_t const in_place = bit_mask(v.wide && !k64 ? 49 : 47, page);
    std::uint64_t const moved = !v.wide ? 0 : k64 ? bit_mask(15, 12) : bit_mask(9, 8);
    std::uint64_t const too_high = (in_place & ~low_mask(v.output)) | (v.output < 52 ? moved : 0);
    std::uint64_t const address = 0x5a5a'0000;
    std::uint64_t const accessed = v.with == option::updates ? bit(10) : 0;
    constexpr auto code = event::f_addr_size;
    for (std::uint64_t level = 1; level <= shape.top; ++level)
        b.kinds.push_back({level, false, address | 3 | accessed, too_high, ~(in_place | moved | 3), code, fault_at::input});
    // A leaf's attributes: MemAttr, S2AP, SH, AF, DBM, Contiguous, XN.
    std::uint64_t const own = bit_mask(10, 2) | bit_mask(54, 51) | 3;
    b.kinds.push_back({0, true, address | 0x4fc | 3, too_high, ~(in_place | moved | own), code, fault_at::input});
    for (std::uint64_t level = 1; level <= shape.top; ++level) {
        bool const blocks =
            level == 1 || (level == 2 && (G == granule::k4 || v.wide)) || (level == 3 && G == granule::k4 && v.wide);
        if (!blocks) continue;
        std::uint64_t const of_block = in_place & ~low_mask(page + level * (page - 3));
        b.kinds.push_back({level, true, (bit(31) & of_block) | 0x4fc | 1, too_high & ~(in_place & ~of_block),
                           ~(of_block | moved | own), code, fault_at::input});
    }
    return b;
}

template <class Law>
void for_all_variants(Law law) {
    auto const with = [&](variant const& v) {
        INFO("wide " << v.wide << " output " << v.output << " side by side " << v.side_by_side << " option "
                     << static_cast<int>(v.with) << " privileged " << v.is_privileged);
        law(book<granule::k4>(v));
        law(book<granule::k16>(v));
        law(book<granule::k64>(v));
    };
    for (bool const wide : {false, true})
        for (std::uint64_t const output : std::initializer_list<std::uint64_t>{44, 48, 52})
            if (wide || output < 52) with({wide, output});
    for (bool const wide : {false, true})
        for (auto const o : {option::plain, option::no_access, option::updates, option::one_execute})
            for (bool const is_privileged : {false, true})
                with({wide, 48, true, o, is_privileged});
}

} // namespace

TEST_CASE("law, smmu stage 2: leaves read back as they were written") {
    for_all_variants([](auto const& b) { law_leaves_read_back(b); });
}

TEST_CASE("law, smmu stage 2: tables read back as they were written") {
    for_all_variants([](auto const& b) { law_tables_read_back(b); });
}

TEST_CASE("law, smmu stage 2: zero is never present") {
    for_all_variants([](auto const& b) { law_zero_is_absent(b); });
}

TEST_CASE("law, smmu stage 2: every address bit too high is a fault, every ignored bit is none") {
    for_all_variants([](auto const& b) {
        law_reserved_and_ignored_bits(b);
        for (auto const& kind : b.kinds)
            CHECK((kind.reserved & kind.ignored) == 0);
    });
}

TEST_CASE("law, smmu stage 2: shifts and indices fit together, up to the last address") {
    for_all_variants([](auto const& b) { law_geometry(b); });
}

TEST_CASE("law, smmu stage 2: the fast lane stays within the law") {
    for_all_variants([](auto const& b) { law_fast_lane_within_law(b, 21, 20'000); });
}

TEST_CASE("law, smmu stage 2: the walk is the law") {
    for_all_variants([](auto const& b) { law_walk_is_the_law(b, 22, 10'000); });
}

TEST_CASE("law, smmu stage 2: a trusting walk differs at addresses too high alone") {
    for_all_variants([](auto const& b) { law_trusted_is_the_law(b, 23, 5'000); });
}

} // namespace stagewalk::test
