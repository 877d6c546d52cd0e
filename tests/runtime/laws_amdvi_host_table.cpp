// The format laws for AMD-Vi host tables, of every depth. The masks are those of the manual's figures of PDE and PTE (48882
// 2.2.3).
#include "laws.hpp"

#include <stagewalk/amdvi/host_table.hpp>

#include <cstdint>

namespace stagewalk::test {
namespace {

using host = amdvi::host_table<iova, pa>;

struct variant {
    std::uint64_t mode{4};
    amdvi::host_table_options options{};
    amdvi::policy rules{};
};

law_book<host> book(variant const& v) {
    law_book<host> b{host{v.mode, pa{0x7000'0000}, v.options, v.rules}, {}, {}};
    for (access const more : {read | inquiring, read_write | inquiring, inquiring})
        b.accesses.push_back(more);
    // Rights, U and FC. What the device may not do cannot be read back.
    for (std::uint64_t const rights : {0u, 1u, 2u, 3u})
        for (std::uint64_t const rest : {0u, 1u, 2u, 3u})
            if (v.options.granted.covers({rights})) b.attribute_sets.push_back(attributes::from_bits(rights | rest << 59));

    constexpr auto code = amdvi::event::io_page_fault;
    bool const pmc = v.rules.migration == amdvi::page_migration::supported;
    std::uint64_t const bad_page = pmc ? 0x01f0'0000'0000'0000 : 0x07f0'0000'0000'0000;
    std::uint64_t const ignored_page = 0x8000'0000'0000'01fe | (pmc ? 0x0600'0000'0000'0000u : 0);
    // Sound, and nothing left to do.
    std::uint64_t const used = v.options.keeps_accessed ? v.options.keeps_dirty ? 0x60 : 0x20 : 0;
    std::uint64_t const plain = 0x6000'0000'0000'0001 | used;
    for (std::uint64_t level = 1; level < v.mode; ++level)
        for (std::uint64_t next = 1; next <= level; ++next) // to the next level, and past some
            b.kinds.push_back(
                {level, false, plain | 0x5a5a'5000 | next << 9, 0x1ff0'0000'0000'0000, 0x8000'0000'0000'01fe, code});
    for (std::uint64_t level = 0; level < v.mode && level < 5; ++level) {
        std::uint64_t const slot = std::uint64_t{1} << (12 + 9 * level);
        // Of the size that the level spans: bits of the address below it are ignored.
        b.kinds.push_back({level, true, plain | slot << 1, bad_page, ignored_page | ((slot - 1) & ~std::uint64_t{0xfff}), code});
        // Four times that: the code is 01, and all ones below. With NextLevel 7 no bit of it is ignored.
        std::uint64_t const coded = slot << 3 | ((slot * 4 - 1) & ~std::uint64_t{0xfff} & ~(slot << 1));
        if (level < 4) b.kinds.push_back({level, true, plain | coded | 0xe00, bad_page, ignored_page, code});
    }
    return b;
}

template <class Law>
void for_all_variants(Law law) {
    for (std::uint64_t mode = 1; mode <= 6; ++mode) {
        INFO("mode " << mode);
        law(book({mode}));
    }
    variant v;
    v.options = {read_write, true, false};
    law(book(v));
    v.options = {read_write, true, true};
    law(book(v));
    v.rules.accessed = amdvi::host_accessed::leaves_only;
    law(book(v));
    v = {};
    v.rules.order = amdvi::check_order::rights_first;
    law(book(v));
    v = {};
    v.rules.migration = amdvi::page_migration::supported;
    law(book(v));
    v.options.granted = read;
    law(book(v));
}

} // namespace

TEST_CASE("law, amdvi host tables: leaves read back as they were written") {
    for_all_variants([](auto const& b) { law_leaves_read_back(b); });
}

TEST_CASE("law, amdvi host tables: tables read back as they were written") {
    unsigned books = 0;
    for_all_variants([&](auto const& b) {
        // With fewer rights of the device than the law asks for, every entry denies.
        auto const lane = b.of.lane(write);
        if ((lane.page_want & ~lane.page_mask) != 0) return;
        law_tables_read_back(b);
        ++books;
    });
    CHECK(books == 11);
}

TEST_CASE("law, amdvi host tables: zero is never present") {
    for_all_variants([](auto const& b) { law_zero_is_absent(b); });
}

TEST_CASE("law, amdvi host tables: every reserved bit is a fault, every ignored bit is none") {
    unsigned kinds = 0;
    for_all_variants([&](auto const& b) {
        law_reserved_and_ignored_bits(b);
        // No bit is left out of the account: presence, NextLevel, rights, the address, U and FC are the rest.
        for (auto const& kind : b.kinds) {
            std::uint64_t const rest = 0x600f'ffff'ffff'fe01 | (kind.leaf ? 0x1800'0000'0000'0000u : 0);
            CHECK((kind.reserved | kind.ignored | rest) == ~std::uint64_t{0});
            CHECK((kind.reserved & kind.ignored) == 0);
        }
        kinds += static_cast<unsigned>(b.kinds.size());
    });
    CHECK(kinds > 100);
}

TEST_CASE("law, amdvi host tables: shifts and indices fit together, up to the last address") {
    for_all_variants([](auto const& b) { law_geometry(b); });
}

TEST_CASE("law, amdvi host tables: the fast lane stays within the law") {
    for_all_variants([](auto const& b) { law_fast_lane_within_law(b, 21, 30'000); });
}

TEST_CASE("law, amdvi host tables: the walk is the law, skipped levels too") {
    for_all_variants([](auto const& b) { law_walk_is_the_law(b, 22, 20'000); });
}

TEST_CASE("law, amdvi host tables: a trusting walk differs at reserved bits alone") {
    for_all_variants([](auto const& b) { law_trusted_is_the_law(b, 23, 10'000); });
}

} // namespace stagewalk::test
