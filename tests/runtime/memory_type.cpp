// Memory types and snooping: section 4.8 of docs/coverage.md, with the processor manual's table of MTRR and PAT.
#include "scalable_unit.hpp"

#include <stagewalk/vtd/memory_type.hpp>

#include <cstdint>

namespace stagewalk::test {
namespace {

using vtd::memory_type;
using enum vtd::memory_type;

vtd::binding bound(binding_kind kind) {
    vtd::binding b;
    b.kind = kind;
    b.scalable = kind != binding_kind::legacy_second_stage;
    b.pat = 0x0007'0406; // PA0 WB, PA1 UC, PA2 WT, PA3 UC, PA4 UC-
    return b;
}

// A second-stage leaf's EMT and IPAT.
attributes second_leaf(unsigned emt, bool ipat = false) { return attributes::from_bits(3u | emt << 3 | (ipat ? 0x40u : 0u)); }

} // namespace

TEST_CASE("memory types: MTRR and PAT together") {
    // Rows MTRR, columns PAT UC, WC, WT, WP, WB, UC-.
    constexpr memory_type pats[]{uncacheable, write_combining, write_through, write_protected, write_back, uncacheable_weak};
    struct {
        memory_type range;
        memory_type with[6];
    } const rows[] = {
        {uncacheable, {uncacheable, write_combining, uncacheable, uncacheable, uncacheable, uncacheable}},
        {write_combining, {uncacheable, write_combining, uncacheable, uncacheable, write_combining, write_combining}},
        {write_through, {uncacheable, write_combining, write_through, write_protected, write_through, uncacheable}},
        {write_protected, {uncacheable, write_combining, write_through, write_protected, write_protected, write_combining}},
        {write_back, {uncacheable, write_combining, write_through, write_protected, write_back, uncacheable}},
    };
    for (auto const& row : rows) {
        for (unsigned i = 0; i < 6; ++i) {
            CAPTURE(static_cast<int>(row.range), static_cast<int>(pats[i]));
            CHECK(vtd::combine(row.range, pats[i]) == row.with[i]);
        }
    }
}

TEST_CASE("memory types: the PAT index is PAT, PCD, PWT of the first-stage leaf, by page size") {
    for (unsigned index = 0; index < 8; ++index) {
        std::uint64_t const low = (index & 1) << 3 | (index >> 1 & 1) << 4;
        for (unsigned level = 1; level <= 3; ++level) {
            scalable_unit u{binding_kind::first_stage};
            std::uint64_t const pat = index >> 2;
            std::uint64_t& e = u.memory[u.first_entry(level)];
            if (level == 1) e = 0x7654'3007 | low | pat << 7;
            if (level == 2) e = 0x1'4020'0087 | low | pat << 12;
            if (level == 3) e = 0x1'8000'0087 | low | pat << 12;
            auto const found = u.translate();
            REQUIRE(found);
            CAPTURE(index, level);
            CHECK(vtd::pat_index(found->effective) == index);
        }
    }
    for (unsigned index = 0; index < 8; ++index)
        CHECK(static_cast<unsigned>(vtd::pat_entry(0x7654'3210, index)) == index);
    CHECK(vtd::pat_entry(0xf, 0) == uncacheable_weak); // bit 3 is none of the type's
}

TEST_CASE("memory types: legacy and pass-through are write-back, CD is uncacheable") {
    for (auto const kind : {binding_kind::legacy_second_stage, binding_kind::pass_through, binding_kind::second_stage,
                            binding_kind::first_stage, binding_kind::nested}) {
        auto b = bound(kind);
        CAPTURE(static_cast<int>(kind));
        bool const legacy = kind == binding_kind::legacy_second_stage;
        if (legacy || kind == binding_kind::pass_through)
            CHECK(vtd::effective_type(b, {}, second_leaf(4), uncacheable) == write_back);
        b.memory_types = true;
        if (legacy || kind == binding_kind::pass_through)
            CHECK(vtd::effective_type(b, {}, second_leaf(4), uncacheable) == write_back);
        b.cache_disable = true;
        CHECK(vtd::effective_type(b, {}, second_leaf(6), write_back) == (legacy ? write_back : uncacheable));
    }
}

TEST_CASE("memory types: a second stage alone has EMT where EMTE says so") {
    auto b = bound(binding_kind::second_stage);
    for (unsigned const emt : {0u, 1u, 4u, 5u, 6u}) {
        b.memory_types = false;
        CHECK(vtd::effective_type(b, {}, second_leaf(emt), uncacheable) == write_back);
        b.memory_types = true;
        CHECK(static_cast<unsigned>(vtd::effective_type(b, {}, second_leaf(emt), write_back)) == emt);
    }
}

TEST_CASE("memory types: a first stage, alone or nested without EMTE, combines MTRR and PAT") {
    for (auto const kind : {binding_kind::first_stage, binding_kind::nested}) {
        auto b = bound(kind);
        struct {
            std::uint64_t bits; // PAT 7, PCD 4, PWT 3
            memory_type range;
            memory_type type;
        } const cases[] = {
            {0x00, write_back, write_back},    {0x00, write_combining, write_combining}, {0x08, write_back, uncacheable},
            {0x10, write_back, write_through}, {0x80, write_combining, write_combining}, {0x80, write_back, uncacheable},
        };
        b.pat = 0x0007'0406; // PA0 WB, PA1 UC, PA2 WT, PA3 UC, PA4 UC-
        for (auto const& c : cases) {
            CAPTURE(static_cast<int>(kind), c.bits, static_cast<int>(c.range));
            CHECK(vtd::effective_type(b, attributes::from_bits(3 | c.bits), second_leaf(0, true), c.range) == c.type);
        }
        // EMTE matters to the nested one only.
        b.memory_types = true;
        auto const with = vtd::effective_type(b, attributes::from_bits(3), second_leaf(1, true), write_back);
        CHECK(with == (kind == binding_kind::nested ? write_combining : write_back));
    }
}

TEST_CASE("memory types: nested with EMTE, EMT alone with IPAT, else EMT and PAT") {
    auto b = bound(binding_kind::nested);
    b.memory_types = true;
    b.pat = 0x4; // PA0 WT
    for (unsigned const emt : {0u, 1u, 4u, 5u, 6u}) {
        auto const first = attributes::from_bits(3);
        CHECK(static_cast<unsigned>(vtd::effective_type(b, first, second_leaf(emt, true), uncacheable)) == emt);
        CHECK(vtd::effective_type(b, first, second_leaf(emt), uncacheable) ==
              vtd::combine(static_cast<memory_type>(emt), write_through));
    }
    CHECK(vtd::effective_type(b, attributes::from_bits(3), second_leaf(6), uncacheable) == write_through);
}

TEST_CASE("snooping: NS = 0, PGSNP, or SNP where a second stage is used") {
    for (auto const kind : {binding_kind::legacy_second_stage, binding_kind::pass_through, binding_kind::second_stage,
                            binding_kind::first_stage, binding_kind::nested}) {
        bool const second =
            kind == binding_kind::legacy_second_stage || kind == binding_kind::second_stage || kind == binding_kind::nested;
        for (bool const pgsnp : {false, true}) {
            for (bool const snp : {false, true}) {
                auto b = bound(kind);
                b.pages_snoop = pgsnp;
                auto const a = attributes::from_bits(3u | (snp ? 0x800u : 0u));
                CAPTURE(static_cast<int>(kind), pgsnp, snp);
                CHECK(vtd::is_snooped(b, a, false));
                CHECK(vtd::is_snooped(b, a, true) == (pgsnp || (second && snp)));
            }
        }
    }
}

TEST_CASE("snooping: as a unit finds it") {
    scalable_unit u{binding_kind::nested};
    u.memory[u.n3] |= 0x800;
    CHECK(vtd::is_snooped(*u.unit().find(u.ask()), u.translate()->effective, true));
    u.memory[u.n3] &= ~std::uint64_t{0x800};
    CHECK_FALSE(vtd::is_snooped(*u.unit().find(u.ask()), u.translate()->effective, true));
    u.change(1, 0, 0x0100'0000);
    CHECK(vtd::is_snooped(*u.unit().find(u.ask()), u.translate()->effective, true));
}

} // namespace stagewalk::test
