// The format laws for SMMU stage-1 tables, in three granules, of 48 and of 52 bits. The masks are those of the manual's
// descriptor formats (DDI 0487 D8.3): Arm reserves nothing, but an address must not be too wide.
#include "laws.hpp"

#include <stagewalk/smmu/stage1.hpp>

#include <cstdint>
#include <initializer_list>

namespace stagewalk::test {
namespace {

using smmu::event;
using smmu::granule;

enum class option {
    plain,
    no_hierarchy,
    no_execute,
    no_unprivileged,
    no_executable,
    one_privilege,
    no_access,
    updates,
    wide_index
};

struct variant {
    bool wide{};
    std::uint64_t output{48};
    bool upper{};
    bool ignores_top_byte{};
    option with{option::plain};
    bool is_privileged{};
};

constexpr std::uint64_t bit(unsigned n) { return std::uint64_t{1} << n; }

smmu::stage1_options options_of(option with) {
    smmu::stage1_options o;
    o.ignores_hierarchy = with == option::no_hierarchy;
    o.write_no_execute = with == option::no_execute;
    o.no_executable = with == option::no_executable;
    o.no_unprivileged = with == option::no_unprivileged || o.no_executable;
    o.one_privilege = with == option::one_privilege;
    o.ignores_access = with == option::no_access;
    o.updates_access = o.updates_dirty = o.updates_tables = with == option::updates;
    o.wide_index = with == option::wide_index;
    return o;
}

template <granule G>
law_book<smmu::stage1<G>> book(variant const& v) {
    constexpr bool k64 = G == granule::k64;
    constexpr std::uint64_t page = G == granule::k4 ? 12 : G == granule::k16 ? 14 : 16;
    smmu::table_shape shape;
    shape.root = 0x7000'0000;
    shape.input_size = v.wide ? 52 : G == granule::k16 ? 47 : 48;
    shape.top = v.wide ? (G == granule::k4 ? 4 : k64 ? 2 : 3) : (G == granule::k4 ? 3 : 2);
    shape.output_size = v.output;
    shape.wide = v.wide;
    shape.upper = v.upper;
    shape.ignores_top_byte = v.ignores_top_byte;
    law_book<smmu::stage1<G>> b{smmu::stage1<G>{shape, options_of(v.with)}, {}, {}};
    if (v.is_privileged) b.as = privileged;

    // Index, SH where it is, privileged only, global, DBM, Contiguous, PXN and UXN as the rights want them.
    bool const has_sh = !v.wide || k64;
    for (std::uint64_t rights : {1u, 3u, 5u, 7u})
        for (std::uint64_t index : {2u, 5u, 15u})
            for (std::uint64_t rest = 0; rest < 32; ++rest) {
                if (index > 7 && v.with != option::wide_index) continue;
                bool const writes = (rights & 2) != 0;
                bool const executes = (rights & 4) != 0;
                if (v.with == option::no_execute && writes && executes) continue;
                std::uint64_t const sh = rest & 3;
                if (!has_sh && sh != 0) continue;
                bool const dbm = (rest & 4) != 0;
                if (dbm && v.with == option::updates && !writes) continue; // such a page can be written
                std::uint64_t bits = rights | (index & 7) << 3 | (index >> 3) << 59 | sh << 8 | (dbm ? bit(51) : 0) |
                                     ((rest & 8) != 0 ? bit(52) : 0) | ((rest & 16) != 0 ? bit(11) : 0);
                if (!executes)
                    bits |= bit(53) | bit(54);
                else
                    bits |= v.is_privileged ? bit(54) : v.with == option::one_privilege ? 0 : (rest & 8) != 0 ? bit(53) : 0;
                if (v.is_privileged) bits |= bit(6);
                b.attribute_sets.push_back(attributes::from_bits(bits));
            }

    // Where a descriptor holds address bits, and which of them are too high.
    std::uint64_t const in_place = bit_mask(v.wide && !k64 ? 49 : 47, page);
    std::uint64_t const moved = !v.wide ? 0 : k64 ? bit_mask(15, 12) : bit_mask(9, 8);
    std::uint64_t const too_high = (in_place & ~low_mask(v.output)) | (v.output < 52 ? moved : 0);
    std::uint64_t const hierarchy = v.with == option::no_hierarchy ? 0 : bit_mask(62, 59);
    std::uint64_t const address = 0x5a5a'0000;
    constexpr auto code = event::f_addr_size;
    std::uint64_t const accessed = v.with == option::updates ? bit(10) : 0; // sound, and nothing left to do
    for (std::uint64_t level = 1; level <= shape.top; ++level)
        b.kinds.push_back(
            {level, false, address | 3 | accessed, too_high, ~(in_place | moved | hierarchy | 3), code, fault_at::input});
    // A leaf's attributes: AttrIndx, AP, SH, AF, nG, DBM, Contiguous, PXN, UXN; bit 59 with AIE.
    std::uint64_t const own =
        bit_mask(4, 2) | bit_mask(7, 6) | bit_mask(11, 8) | bit_mask(54, 51) | (v.with == option::wide_index ? bit(59) : 0) | 3;
    std::uint64_t const example = v.is_privileged ? 0x400 : 0x440;
    b.kinds.push_back({0, true, address | example | 3, too_high, ~(in_place | moved | own), code, fault_at::input});
    for (std::uint64_t level = 1; level <= shape.top; ++level) {
        bool const blocks =
            level == 1 || (level == 2 && (G == granule::k4 || v.wide)) || (level == 3 && G == granule::k4 && v.wide);
        if (!blocks) continue;
        std::uint64_t const size = page + level * (page - 3);
        std::uint64_t const of_block = in_place & ~low_mask(size);
        b.kinds.push_back({level, true, (bit(31) & of_block) | example | 1, too_high & ~(in_place & low_mask(size)),
                           ~(of_block | moved | own), code, fault_at::input});
    }
    if (v.is_privileged)
        for (auto& a : b.accesses)
            a = a | privileged;
    return b;
}

// The fast lane serves nobody whose data accesses must avoid executable pages too.
template <class Law>
void for_all_variants(Law law, bool has_lane = false) {
    auto const with = [&](variant const& v) {
        INFO("wide " << v.wide << " output " << v.output << " upper " << v.upper << " option " << static_cast<int>(v.with)
                     << " privileged " << v.is_privileged);
        law(book<granule::k4>(v));
        law(book<granule::k16>(v));
        law(book<granule::k64>(v));
    };
    for (bool const wide : {false, true})
        for (std::uint64_t const output : std::initializer_list<std::uint64_t>{44, 48, 52})
            if (wide || output < 52) with({wide, output});
    for (bool const wide : {false, true})
        for (auto const o : {option::no_hierarchy, option::no_execute, option::one_privilege, option::no_access, option::updates,
                             option::wide_index})
            with({wide, 48, !wide, wide, o, false});
    for (auto const o : {option::plain, option::no_unprivileged, option::no_executable, option::no_execute})
        if (!has_lane || o != option::no_executable) with({false, 44, false, true, o, true});
}

} // namespace

TEST_CASE("law, smmu stage 1: leaves read back as they were written") {
    for_all_variants([](auto const& b) { law_leaves_read_back(b); });
}

TEST_CASE("law, smmu stage 1: tables read back as they were written") {
    for_all_variants([](auto const& b) { law_tables_read_back(b); });
}

TEST_CASE("law, smmu stage 1: zero is never present") {
    for_all_variants([](auto const& b) { law_zero_is_absent(b); });
}

TEST_CASE("law, smmu stage 1: every address bit too high is a fault, every ignored bit is none") {
    unsigned kinds = 0;
    for_all_variants([&](auto const& b) {
        if (b.as != none) return; // the law asks for unprivileged reads
        law_reserved_and_ignored_bits(b);
        for (auto const& kind : b.kinds)
            CHECK((kind.reserved & kind.ignored) == 0);
        kinds += static_cast<unsigned>(b.kinds.size());
    });
    CHECK(kinds > 200);
}

TEST_CASE("law, smmu stage 1: shifts and indices fit together, up to the last address") {
    for_all_variants([](auto const& b) { law_geometry(b); });
}

TEST_CASE("law, smmu stage 1: the fast lane stays within the law") {
    for_all_variants([](auto const& b) { law_fast_lane_within_law(b, 11, 20'000); }, true);
}

TEST_CASE("law, smmu stage 1: the walk is the law") {
    for_all_variants([](auto const& b) { law_walk_is_the_law(b, 12, 10'000); });
}

TEST_CASE("law, smmu stage 1: a trusting walk differs at addresses too high alone") {
    for_all_variants([](auto const& b) { law_trusted_is_the_law(b, 13, 5'000); });
}

} // namespace stagewalk::test
