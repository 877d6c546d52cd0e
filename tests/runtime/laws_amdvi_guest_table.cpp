// The format laws for AMD-Vi guest tables, of 4 and 5 levels, with and without NXSup. The masks are those of the processor's
// long-mode entries (48882 2.2.6, 24593 5.3), which have no reserved bit but in the addresses of large pages and PS where no page
// can be.
#include "laws.hpp"

#include <stagewalk/amdvi/guest_table.hpp>

#include <cstdint>

namespace stagewalk::test {
namespace {

using guest = amdvi::guest_table<iova, pa>;

struct variant {
    std::uint64_t levels{4};
    amdvi::guest_table_options options{};
    amdvi::policy rules{};
    bool is_privileged{};
};

law_book<guest> book(variant const& v) {
    law_book<guest> b{guest{v.levels, pa{0x7000'0000}, v.options, v.rules}, {}, {}};
    for (access const more : {read | inquiring, read_write | inquiring, read | privileged | inquiring, read | execute,
                              execute | privileged, read_write | privileged})
        b.accesses.push_back(more);
    if (v.is_privileged) b.as = privileged;
    // Rights, PWT, PCD, PAT; for supervisors U/S too. Whatever can be read can be executed without NXSup.
    bool const nx = v.options.no_execute;
    for (std::uint64_t rights : {1u, 3u, 5u, 7u})
        for (std::uint64_t rest = 0; rest < 16; ++rest) {
            if (!nx && (rights & 4) == 0) continue;
            if ((rest & 8) != 0 && !v.is_privileged) continue;
            if ((rights & 2) == 0 && v.is_privileged && v.rules.protect == amdvi::write_protect::users_only) continue;
            if (!v.options.granted.covers({rights & 3})) continue;
            b.attribute_sets.push_back(
                attributes::from_bits(rights | (rest & 3) << 3 | (rest & 4) << 5 | ((rest & 8) != 0 ? 0x20 : 0)));
        }

    constexpr auto code = amdvi::event::io_page_fault;
    std::uint64_t const high = nx ? 0 : 0x8000'0000'0000'0000;
    // Sound, and nothing left to do.
    std::uint64_t const accessed = v.options.marks_accessed ? 0x20 : 0;
    std::uint64_t const used = accessed | (v.options.marks_dirty ? 0x40 : 0);
    // Software's bits 62:52 and 11:9, G, D of a table, A; PWT and PCD of a table.
    std::uint64_t const ignored = 0x7ff0'0000'0000'0f20;
    for (std::uint64_t level = 1; level < v.levels; ++level)
        b.kinds.push_back({level, false, 0x5a5a'5007 | accessed, high | (level > 2 ? 0x80 : 0), ignored | 0x58, code});
    b.kinds.push_back({0, true, 0x5a5a'5007 | used, high, ignored | 0x40, code});
    b.kinds.push_back({1, true, 0x1'4020'0087 | used, high | 0x001f'e000, ignored | 0x40, code});
    b.kinds.push_back({2, true, 0x1'c000'0087 | used, high | 0x3fff'e000, ignored | 0x40, code});
    return b;
}

template <class Law>
void for_all_variants(Law law) {
    for (std::uint64_t const levels : {4u, 5u})
        for (bool const nx : {false, true})
            for (bool const plain : {false, true})
                for (bool const is_privileged : {false, true}) {
                    INFO("levels " << levels << " NX " << nx << " plain " << plain << " privileged " << is_privileged);
                    law(book({levels, {read_write, nx, plain}, {}, is_privileged}));
                }
    variant v;
    v.options.no_execute = true;
    v.options.marks_dirty = false;
    law(book(v));
    v.options.marks_accessed = false;
    law(book(v));
    v.rules.protect = amdvi::write_protect::users_only;
    law(book(v));
    v.is_privileged = true;
    law(book(v));
    v.options.granted = read;
    law(book(v));
}

} // namespace

TEST_CASE("law, amdvi guest tables: leaves read back as they were written") {
    for_all_variants([](auto const& b) {
        if (!b.attribute_sets.empty()) law_leaves_read_back(b);
    });
}

TEST_CASE("law, amdvi guest tables: tables read back as they were written") {
    for_all_variants([](auto const& b) { law_tables_read_back(b); });
}

TEST_CASE("law, amdvi guest tables: zero is never present") {
    for_all_variants([](auto const& b) { law_zero_is_absent(b); });
}

TEST_CASE("law, amdvi guest tables: every reserved bit is a fault, every ignored bit is none") {
    unsigned kinds = 0;
    for_all_variants([&](auto const& b) {
        law_reserved_and_ignored_bits(b);
        // No bit is left out of the account: P, R/W, U/S, PS or PAT, the address, and a leaf's PWT, PCD and PAT are the rest; NX
        // where it is none.
        for (auto const& kind : b.kinds) {
            std::uint64_t const rest = 0x800f'ffff'ffff'f087 | (kind.leaf ? 0x18 : 0);
            CHECK((kind.reserved | kind.ignored | rest) == ~std::uint64_t{0});
            CHECK((kind.reserved & kind.ignored) == 0);
        }
        kinds += static_cast<unsigned>(b.kinds.size());
    });
    CHECK(kinds > 100);
}

TEST_CASE("law, amdvi guest tables: shifts and indices fit together, up to the last address") {
    for_all_variants([](auto const& b) { law_geometry(b); });
}

TEST_CASE("law, amdvi guest tables: the fast lane stays within the law") {
    for_all_variants([](auto const& b) { law_fast_lane_within_law(b, 31, 20'000); });
}

TEST_CASE("law, amdvi guest tables: the walk is the law") {
    for_all_variants([](auto const& b) { law_walk_is_the_law(b, 32, 10'000); });
}

TEST_CASE("law, amdvi guest tables: a trusting walk differs at reserved bits alone") {
    for_all_variants([](auto const& b) { law_trusted_is_the_law(b, 33, 5'000); });
}

} // namespace stagewalk::test
