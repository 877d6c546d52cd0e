// Nested translation: first-stage tables and output behind a second stage, row by row of section 5 of docs/coverage.md.
#include "scalable_unit.hpp"

#include <stagewalk/memory/translated.hpp>

#include <cstdint>
#include <set>
#include <vector>

namespace stagewalk::test {
namespace {

using update = scalable_unit::memory_type::update;

// The tables of example 13 spread over the guest: each in a 1 GiB region of its own, and the page in a fifth. Region k of
// the guest lies at 1000000000h + k * 40000000h of the host.
struct scattered : scalable_unit {
    static constexpr std::uint64_t region = 0x4000'0000;
    static constexpr std::uint64_t host = 0x10'0000'0000;
    // The guest's addresses of the entries of level 4 to 1, and of the byte.
    static constexpr std::uint64_t guest[]{0x6000'07f8, 0x8000'0000, 0xc000'0488, 0x1'0000'0a28, 0x1'4000'3678};

    scattered() : scalable_unit{binding_kind::nested} {
        for (unsigned k = 1; k <= 5; ++k)
            second(k) = host + k * region + 0x83;
        entry_of(0) = 0x8000'0007;
        entry_of(1) = 0xc000'0007;
        entry_of(2) = 0x1'0000'0007;
        entry_of(3) = 0x1'4000'3007;
    }
    // The second stage's leaf for region k.
    std::uint64_t& second(unsigned k) { return memory[second_at_of(k)]; }
    static constexpr std::uint64_t second_at_of(unsigned k) { return 0x5100'0000 + k * 8; }
    // First-stage entry i, from the top.
    std::uint64_t& entry_of(unsigned i) { return memory[host + guest[i]]; }
    // A in every entry, D in the leaf, of the first stage.
    void use_first() {
        for (unsigned i = 0; i < 4; ++i)
            entry_of(i) |= i == 3 ? 0x60 : 0x20;
    }
    // The same of the second stage.
    void use_second() {
        memory[n4] |= 0x100;
        for (unsigned k = 1; k <= 5; ++k)
            second(k) |= 0x300;
    }
};

// Second-stage tables that are made as pages are mapped.
struct second_tables {
    scalable_unit& u;
    unsigned levels;
    std::uint64_t next{0x5800'0000};

    void map(std::uint64_t guest, std::uint64_t host, std::uint64_t rights = 3) {
        std::uint64_t table = 0x5000'0000;
        for (unsigned level = levels - 1; level > 0; --level) {
            std::uint64_t& e = u.memory[table + (guest >> (12 + 9 * level) & 511) * 8];
            if ((e & ~std::uint64_t{0xfff}) == 0) e = (next += 0x1000) | 3;
            table = e & ~std::uint64_t{0xfff};
        }
        u.memory[table + (guest >> 12 & 511) * 8] = (host & ~std::uint64_t{0xfff}) | rights;
    }
};

struct counting_trace {
    unsigned steps{};
    void operator()(auto const&) { ++steps; }
};

// The loads of a walk beyond the structures.
std::vector<std::uint64_t> table_loads(scalable_unit const& u) { return {u.memory.trail.begin() + 15, u.memory.trail.end()}; }

reason table_reason(unsigned i) {
    return i == 0 ? reason::first_stage_root_not_readable : reason::first_stage_table_not_readable;
}

} // namespace

TEST_CASE("nested: fourteen loads over 1 GiB pages, each first-stage entry behind its own walk") {
    scalable_unit u{binding_kind::nested};
    for (unsigned level = 1; level <= 4; ++level)
        u.memory[u.first_entry(level)] |= level == 1 ? 0x60 : 0x20;
    auto const found = u.translate(write);
    REQUIRE(found);
    CHECK(found->output == ipa{0x1'7654'3678});
    CHECK(found->lg2_size == 12);
    CHECK(table_loads(u) == std::vector<std::uint64_t>{u.n4, u.n3, 0x1'6000'07f8, u.n4, u.n3, 0x1'6100'0000, u.n4, u.n3,
                                                       0x1'6200'0488, u.n4, u.n3, 0x1'6300'0a28, u.n4, u.n3});
    CHECK(u.memory.attempts == 0);
}

TEST_CASE("nested: 24, 29 and 35 loads over 4 KiB pages that are scattered") {
    struct {
        std::uint64_t first_levels;
        unsigned second_levels;
        std::size_t loads;
    } const cases[] = {{4, 4, 24}, {5, 4, 29}, {5, 5, 35}, {4, 3, 19}, {4, 5, 29}, {5, 3, 23}};
    for (auto const& c : cases) {
        scalable_unit u{binding_kind::nested};
        u.memory.remove(u.n4);
        u.memory.remove(u.n3);
        u.address_width(c.second_levels - 2);
        if (c.first_levels == 5) u.change(2, ~std::uint64_t{0xfff} | 0xc, 0x6400'0004);
        second_tables s{u, c.second_levels};
        // Neighbours of the guest are no neighbours in the host, and the order is turned round.
        std::uint64_t const tables[]{0x6400'0000, 0x6000'0000, 0x6100'0000, 0x6200'0000, 0x6300'0000};
        std::uint64_t const hosts[]{0x9'0005'0000, 0x2'0004'1000, 0x7'0003'2000, 0x1'0002'3000, 0x5'0001'4000};
        std::uint64_t const entries[]{0x6000'0027, 0x6100'0027, 0x6200'0027, 0x6300'0027, 0x7654'3067};
        std::uint64_t const index[]{0, 0xff, 0, 0x91, 0x145};
        for (unsigned i = 0; i < 5; ++i) {
            s.map(tables[i], hosts[i]);
            u.memory[hosts[i] + index[i] * 8] = entries[i];
        }
        s.map(0x7654'3000, 0x3'1234'5000);
        CAPTURE(c.first_levels, c.second_levels);
        auto const found = u.translate(write);
        REQUIRE(found);
        CHECK(found->output == ipa{0x3'1234'5678});
        CHECK(found->lg2_size == 12);
        CHECK(u.memory.trail.size() == 15 + c.loads);
        CHECK(u.memory.attempts == 0);
    }
}

TEST_CASE("nested: the first stage's bits are set where its entries lie in the host") {
    scattered u;
    auto const found = u.translate(write);
    REQUIRE(found);
    CHECK(found->output == ipa{u.host + u.guest[4]});
    CHECK(u.memory.updates == std::vector<update>{{u.host + u.guest[0], 0x8000'0007, 0x8000'0027},
                                                  {u.host + u.guest[1], 0xc000'0007, 0xc000'0027},
                                                  {u.host + u.guest[2], 0x1'0000'0007, 0x1'0000'0027},
                                                  {u.host + u.guest[3], 0x1'4000'3007, 0x1'4000'3067}});
    REQUIRE(u.translate(write));
    CHECK(u.memory.attempts == 0);
}

TEST_CASE("nested: 75h, 76h: the second stage does not grant reading of a first-stage table") {
    for (bool const marks : {false, true}) {
        for (unsigned i = 0; i < 4; ++i) {
            scattered u;
            if (marks) u.keep_accessed_dirty();
            u.second(i + 1) = (u.second(i + 1) & ~std::uint64_t{3}) | 2;
            CAPTURE(marks, i);
            check_place(u.translate(), table_reason(i), first_table(3 - i, u.guest[i]), u.at(), true, u.guest[i]);
            check_place(u.translate(write), table_reason(i), first_table(3 - i, u.guest[i]), u.at(), true, u.guest[i]);
        }
    }
    // With five levels it is the level 5 table that is the root.
    scattered u;
    u.change(2, ~std::uint64_t{0xfff} | 0xc, 0x1'8000'0004);
    u.second(6) = u.host + 6 * u.region + 0x82;
    check_place(u.translate(), reason::first_stage_root_not_readable, first_table(4, 0x1'8000'0000), u.at(), true, 0x1'8000'0000);
    u.second(6) |= 1;
    u.memory[u.host + 0x1'8000'0000] = 0x6000'0007;
    CHECK(u.translate());
    u.second(1) ^= 1;
    check_place(u.translate(), reason::first_stage_table_not_readable, first_table(3, u.guest[0]), u.at(), true, u.guest[0]);
    // The right may be missing higher up in the second stage.
    scattered high;
    high.memory[high.n4] &= ~std::uint64_t{1};
    check_place(high.translate(), reason::first_stage_root_not_readable, first_table(3, high.guest[0]), high.at(), true,
                high.guest[0]);
}

TEST_CASE("nested: 77h: the second stage does not grant writing where a bit of a first-stage entry is due") {
    for (unsigned i = 0; i < 4; ++i) {
        scattered u;
        u.second(i + 1) &= ~std::uint64_t{2};
        CAPTURE(i);
        std::uint64_t const before = u.entry_of(i);
        check_place(u.translate(), reason::first_stage_table_not_writable, first_table(3 - i, u.guest[i], before), u.at(), true,
                    u.guest[i]);
        CHECK(u.entry_of(i) == before);
        check_place(u.translate(request_type::translation), reason::first_stage_table_not_writable,
                    first_table(3 - i, u.guest[i], before), u.at(), false, u.guest[i]);
        // Bits that are set already need no writing.
        u.entry_of(i) |= 0x20;
        CHECK(u.translate(read));
        CHECK(static_cast<bool>(u.translate(write)) == (i != 3));
        if (i == 3) {
            check_place(u.translate(write), reason::first_stage_table_not_writable, first_table(0, u.guest[3], before | 0x20),
                        u.at(), true, u.guest[3]);
            u.entry_of(3) |= 0x40;
            CHECK(u.translate(write));
        }
        // EA is such a bit too.
        u.extended_accessed();
        CHECK(code_of(u.translate(read)) == reason::first_stage_table_not_writable);
        for (unsigned k = 0; k < 4; ++k)
            u.entry_of(k) |= 0x400;
        CHECK(u.translate(read));
    }
}

TEST_CASE("nested: pre-set bits make a second stage that is read-only for tables work, without SSADE") {
    scattered u;
    u.use_first();
    for (unsigned k = 1; k <= 4; ++k)
        u.second(k) &= ~std::uint64_t{2};
    for (access const a : {read, write, read_write}) {
        CHECK(u.translate(a));
        CHECK(u.memory.attempts == 0);
    }
    // Even where the walk does not snoop.
    u.snoop(false);
    CHECK(u.translate(write));
}

TEST_CASE("nested: with SSADE a read of a first-stage table needs R and W, and sets D there") {
    for (unsigned i = 0; i < 4; ++i) {
        scattered u;
        u.keep_accessed_dirty();
        u.use_first();
        u.second(i + 1) &= ~std::uint64_t{2};
        CAPTURE(i);
        check_place(u.translate(), reason::first_stage_table_not_writable, first_table(3 - i, u.guest[i]), u.at(), true,
                    u.guest[i]);
    }
    scattered u;
    u.keep_accessed_dirty();
    u.use_first();
    REQUIRE(u.translate(read));
    CHECK((u.memory[u.n4] & 0x300) == 0x100);
    for (unsigned k = 1; k <= 4; ++k) {
        CAPTURE(k);
        CHECK((u.second(k) & 0x300) == 0x300);
    }
    CHECK((u.second(5) & 0x300) == 0x100); // the page was only read
    REQUIRE(u.translate(write));
    CHECK(u.memory.updates == std::vector<update>{{u.second_at_of(5), u.second(5) & ~std::uint64_t{0x200}, u.second(5)}});
    REQUIRE(u.translate(write));
    CHECK(u.memory.attempts == 0);
    // Without SSADE: nothing of the second stage.
    scattered plain;
    REQUIRE(plain.translate(write));
    CHECK((plain.memory[plain.n4] & 0x300) == 0);
    for (unsigned k = 1; k <= 5; ++k)
        CHECK((plain.second(k) & 0x300) == 0);
}

TEST_CASE("nested: 79h, 7Ah: a second-stage entry met on the way to a first-stage table, or to the page") {
    for (unsigned i = 0; i < 5; ++i) {
        scattered u;
        std::uint64_t const at = u.second_at_of(i + 1);
        u.use_first();
        u.second(i + 1) = 0xf00;
        CAPTURE(i);
        check_place(u.translate(), reason::second_stage_not_present, rights(2, at, 0xf00), u.at(), true, u.guest[i]);
        check_place(u.translate(write), reason::second_stage_not_present, rights(2, at, 0xf00), u.at(), true, u.guest[i]);
        check_place(u.translate(request_type::translation), reason::second_stage_not_present, rights(2, at, 0xf00), u.at(), false,
                    u.guest[i]);
        // All together nothing: W above, R here.
        u.memory[u.n4] &= ~std::uint64_t{1};
        u.second(i + 1) = u.host + (i + 1) * u.region + 0x81;
        CHECK(code_of(u.translate()) == (i == 0 ? reason::second_stage_not_present : reason::first_stage_root_not_readable));
        u.memory[u.n4] |= 1;
        std::uint64_t const bad = u.host + (i + 1) * u.region + 0x1083;
        u.second(i + 1) = bad;
        check_place(u.translate(), reason::second_stage_reserved, table_entry(2, at, bad), u.at(), true, u.guest[i]);
        check_place(u.translate(request_type::translation), reason::second_stage_reserved, table_entry(2, at, bad), u.at(), true,
                    u.guest[i]);
    }
}

TEST_CASE("nested: 78h, 7Bh: a second-stage table cannot be read") {
    for (unsigned i = 0; i < 5; ++i) {
        scattered u;
        u.use_first();
        u.memory.poison(u.second_at_of(i + 1));
        CAPTURE(i);
        check_place(u.translate(), reason::second_stage_unreadable, table_entry(2, u.second_at_of(i + 1)), u.at(), true,
                    u.guest[i]);
        CHECK(u.translate(request_type::translation).error().reported);
    }
    scattered u;
    u.memory.poison(u.n4);
    check_place(u.translate(), reason::second_stage_root_unreadable, table_entry(3, u.n4), u.at(), true, u.guest[0]);
}

TEST_CASE("nested: 73h, 70h: a first-stage entry cannot be read after a good second-stage walk") {
    for (unsigned i = 0; i < 4; ++i) {
        scattered u;
        u.memory.poison(u.host + u.guest[i]);
        CAPTURE(i);
        check_place(u.translate(), i == 0 ? reason::first_stage_root_unreadable : reason::first_stage_unreadable,
                    first_table(3 - i, u.guest[i]), u.at());
        CHECK_FALSE(u.translate(request_type::translation).error().reported);
    }
}

TEST_CASE("nested: 74h: the address of a first-stage entry beyond the second stage, at each level and for each page size") {
    struct {
        unsigned level; // counted from 0
        std::uint64_t entry;
        bool beyond;
    } const cases[] = {
        {3, one_bit(39) | 7, true},      {2, one_bit(39) | 7, true},
        {1, one_bit(39) | 7, true},      {0, one_bit(39) | 7, true},
        {2, one_bit(39) | 0x87, true},   {1, one_bit(39) | 0x87, true},
        {1, 0x1'4000'1087, false},       {2, 0x1'4000'1087, false},
        {2, one_bit(45) | 0x1087, true}, {0, (one_bit(39) - 0x1000) | 7, false},
    };
    for (auto const& c : cases) {
        scattered u;
        u.address_width(1);
        u.change(0, ~std::uint64_t{0xfff}, 0x5100'0000);
        u.second(511) = u.host + 511 * u.region + 0x83;
        u.memory[u.host + u.guest[3 - c.level]] = c.entry;
        CAPTURE(c.level, c.entry);
        auto const answer = u.translate();
        if (c.beyond) {
            check_place(answer, reason::first_stage_address_width, first_table(c.level, u.guest[3 - c.level], c.entry), u.at());
        } else {
            CHECK(answer);
        }
    }
    // MGAW below AGAW bounds it as well.
    scattered u;
    u.cap.set<"MGAW">(45);
    u.haw = 46;
    CHECK(u.translate());
    u.cap.set<"MGAW">(41);
    u.haw = 42;
    u.entry_of(3) = one_bit(41) | 7;
    CHECK(code_of(u.translate()) == reason::second_stage_not_present);
    u.cap.set<"MGAW">(40);
    u.haw = 41;
    CHECK(code_of(u.translate()) == reason::first_stage_reserved); // HAW again
}

TEST_CASE("nested: the final page's rights, both stages together") {
    for (unsigned first = 0; first < 2; ++first) { // R/W
        for (unsigned second = 0; second < 4; ++second) {
            for (access const a : {read, write, read_write}) {
                scattered u;
                u.entry_of(3) = 0x1'4000'3005 | first << 1;
                u.second(5) = (u.second(5) & ~std::uint64_t{3}) | second;
                reason expected = reason::none;
                if ((a.bits & 2) != 0 && first == 0) {
                    expected = reason::scalable_write_denied;
                } else if (second == 0) {
                    expected = reason::second_stage_not_present;
                } else if ((a.bits & 2 & ~second) != 0) {
                    expected = reason::scalable_write_denied;
                } else if ((a.bits & 1 & ~second) != 0) {
                    expected = reason::scalable_read_denied;
                }
                CAPTURE(first, second, a.bits);
                auto const answer = u.translate(a);
                CHECK(code_of(answer) == expected);
                if (expected != reason::none) {
                    // Nothing of the leaf is set.
                    CHECK((u.entry_of(3) & 0x60) == 0);
                    bool const by_first = (a.bits & 2) != 0 && first == 0;
                    CHECK(static_cast<int>(answer.error().stage) == (by_first ? 1 : 2));
                    CHECK(answer.error().intermediate == (by_first ? 0 : u.guest[4]));
                    CHECK(answer.error().input == u.at());
                } else {
                    CHECK(answer->effective.rights().bits == (second & (first != 0 ? 3u : 1u)));
                }
                auto const asked = u.translate(request_type::translation);
                if (second == 0) {
                    CHECK(code_of(asked) == reason::second_stage_not_present);
                } else {
                    REQUIRE(asked);
                    CHECK(asked->effective.rights().bits == (second & (first != 0 ? 3u : 1u)));
                }
            }
        }
    }
}

TEST_CASE("nested: a translation request sets D in both stages where both grant writing, and in neither else") {
    for (unsigned first = 0; first < 2; ++first) {
        for (unsigned second = 1; second < 4; ++second) {
            for (bool const no_write : {false, true}) {
                scattered u;
                u.keep_accessed_dirty();
                u.entry_of(3) = 0x1'4000'3005 | first << 1;
                u.second(5) = (u.second(5) & ~std::uint64_t{3}) | second;
                auto r = u.typed(request_type::translation);
                r.no_write = no_write;
                CAPTURE(first, second, no_write);
                REQUIRE(u.translate(r));
                bool const dirty = !no_write && first == 1 && (second & 2) != 0;
                CHECK((u.entry_of(3) & 0x60) == (dirty ? 0x60 : 0x20));
                CHECK((u.second(5) & 0x300) == (dirty ? 0x300 : 0x100));
            }
        }
    }
}

TEST_CASE("nested: a zero-length read of a page that the second stage makes write-only") {
    for (bool const zlr : {false, true}) {
        scattered u;
        u.cap.set<"ZLR">(zlr);
        u.second(5) &= ~std::uint64_t{1};
        auto r = u.ask(read);
        r.bytes = 0;
        CHECK(code_of(u.translate(r)) == (zlr ? reason::none : reason::scalable_read_denied));
        // Tables are read for their bytes.
        u.second(5) |= 1;
        u.second(2) &= ~std::uint64_t{1};
        CHECK(code_of(u.translate(r)) == reason::first_stage_table_not_readable);
    }
}

TEST_CASE("nested: privilege is the first stage's affair") {
    scattered u;
    u.entry_of(3) &= ~std::uint64_t{6}; // neither user nor writable
    CHECK(code_of(u.translate(read)) == reason::user_denied);
    CHECK(u.translate(read | privileged));
    CHECK(u.translate(write | privileged));
    CHECK((u.translate(read | privileged)->effective.bits & 0x20) != 0);
    u.write_protect();
    check_place(u.translate(write | privileged), reason::scalable_write_denied, first_rights(0, u.guest[3], u.entry_of(3)),
                u.at());
    u.change(2, 0x10, 0);
    // The second stage binds the supervisor like everybody.
    u.second(5) &= ~std::uint64_t{2};
    check_place(u.translate(write | privileged), reason::scalable_write_denied, rights(2, u.second_at_of(5), u.second(5)), u.at(),
                true, u.guest[4]);
    u.second(5) = (u.second(5) & ~std::uint64_t{3}) | 2;
    CHECK(code_of(u.translate(read | privileged)) == reason::scalable_read_denied);
}

TEST_CASE("nested: the smaller page counts") {
    struct {
        std::uint64_t first;
        std::uint64_t second;
    } const cases[] = {{12, 12}, {12, 21}, {12, 30}, {21, 12}, {21, 21}, {21, 30}, {30, 12}, {30, 21}, {30, 30}};
    for (auto const& c : cases) {
        scattered u;
        std::uint64_t const page = 0x2'0000'0000; // of the guest, region 8
        std::uint64_t const offset = u.at() & ((std::uint64_t{1} << c.first) - 1);
        std::uint64_t const ipa_of_byte = page + offset;
        if (c.first == 12) u.entry_of(3) = page | 7;
        if (c.first == 21) u.entry_of(2) = page | 0x87;
        if (c.first == 30) u.entry_of(1) = page | 0x87;
        if (c.second == 30) u.second(8) = 0x4'0000'0083;
        if (c.second < 30) u.second(8) = 0x5300'0003;
        std::uint64_t& directory = u.memory[0x5300'0000 + (ipa_of_byte >> 21 & 511) * 8];
        if (c.second == 21) directory = 0x4'0020'0083;
        if (c.second == 12) {
            directory = 0x5400'0003;
            u.memory[0x5400'0000 + (ipa_of_byte >> 12 & 511) * 8] = 0x4'0000'1003;
        }
        std::uint64_t const base = c.second == 30 ? 0x4'0000'0000 : c.second == 21 ? 0x4'0020'0000 : 0x4'0000'1000;
        CAPTURE(c.first, c.second);
        auto const found = u.translate();
        REQUIRE(found);
        CHECK(found->lg2_size == (c.first < c.second ? c.first : c.second));
        CHECK(found->output.value == base + (ipa_of_byte & ((std::uint64_t{1} << c.second) - 1)));
    }
}

TEST_CASE("nested: attributes are the first stage's leaf's, with SNP of the second stage's") {
    scattered u;
    u.entry_of(3) = 0x1'4000'309f | 0x67;
    u.second(5) |= 0x878; // SNP, IPAT, EMT 7
    auto const found = u.translate();
    REQUIRE(found);
    CHECK(found->effective == attributes::from_bits(0x89b));
    u.second(5) &= ~std::uint64_t{0x800};
    CHECK(u.translate()->effective == attributes::from_bits(0x9b));
}

TEST_CASE("nested: without snooping the second stage's bits are 7Ch, the first stage's 90h, in the order of the walk") {
    scattered u;
    u.snoop(false);
    check_place(u.translate(), reason::first_stage_update_unsnooped, first_table(3, u.guest[0], 0x8000'0007), u.at());
    u.keep_accessed_dirty();
    check_place(u.translate(), reason::second_stage_update_unsnooped, table_entry(3, u.n4, 0x5100'0003), u.at(), true,
                u.guest[0]);
    u.use_second();
    CHECK(code_of(u.translate()) == reason::first_stage_update_unsnooped);
    u.use_first();
    CHECK(u.translate(write));
    // D of the second stage's leaf for a first-stage table: reads count as writes.
    u.second(3) &= ~std::uint64_t{0x200};
    check_place(u.translate(read), reason::second_stage_update_unsnooped, table_entry(2, u.second_at_of(3), u.second(3)), u.at(),
                true, u.guest[2]);
    u.second(3) |= 0x200;
    // And D of the page itself only for writes.
    u.second(5) &= ~std::uint64_t{0x200};
    CHECK(u.translate(read));
    check_place(u.translate(write), reason::second_stage_update_unsnooped, table_entry(2, u.second_at_of(5), u.second(5)), u.at(),
                true, u.guest[4]);
    CHECK(u.memory.attempts == 0);
}

TEST_CASE("nested: updates that fail: 91h of the first stage, 7Dh of the second") {
    for (unsigned i = 0; i < 4; ++i) {
        scattered u;
        u.memory.freeze(u.host + u.guest[i]);
        CAPTURE(i);
        auto const answer = u.translate();
        REQUIRE_FALSE(answer);
        CHECK(answer.error().code == reason::first_stage_update_failed);
        CHECK(static_cast<int>(answer.error().stage) == 1);
        CHECK(answer.error().level == 3 - i);
        CHECK(answer.error().descriptor == u.guest[i]);
        CHECK(answer.error().input == u.at());
        CHECK(answer.error().reported);
        CHECK(u.translate(request_type::translation).error().reported);
    }
    for (unsigned i = 0; i < 5; ++i) {
        scattered u;
        u.keep_accessed_dirty();
        u.memory.freeze(u.second_at_of(i + 1));
        CAPTURE(i);
        check_place(u.translate(), reason::second_stage_update_failed, table_entry(2, u.second_at_of(i + 1), u.second(i + 1)),
                    u.at(), true, u.guest[i]);
    }
}

TEST_CASE("nested: entries that change under the walk") {
    struct {
        char const* what;
        std::uint64_t when;
        void (*change)(scattered&);
        reason code;
        std::uint64_t output;
    } const cases[] = {
        {"the guest's page moves", scattered::host + scattered::guest[3], [](scattered& u) { u.entry_of(3) = 0x1'4000'5007; },
         reason::none, scattered::host + 0x1'4000'5678},
        {"the guest's page goes", scattered::host + scattered::guest[3], [](scattered& u) { u.entry_of(3) = 0; },
         reason::first_stage_not_present, 0},
        {"the guest's table moves", scattered::host + scattered::guest[2],
         [](scattered& u) {
             u.entry_of(2) = 0;
             u.memory[u.host + 0x1'0000'1488] = 0x1'0000'0007;
             u.entry_of(1) = 0x1'0000'1007;
         },
         reason::none, scattered::host + scattered::guest[4]},
        {"the host takes the page away", scattered::second_at_of(5), [](scattered& u) { u.second(5) = 0; },
         reason::second_stage_not_present, 0},
        {"the host moves the page", scattered::second_at_of(5), [](scattered& u) { u.second(5) = 0x20'4000'0083; }, reason::none,
         0x20'4000'3678},
        {"the host makes a table read-only", scattered::second_at_of(2), [](scattered& u) { u.second(2) &= ~std::uint64_t{2}; },
         reason::first_stage_table_not_writable, 0},
        {"the guest's page goes as the host's leaf is marked", scattered::second_at_of(5),
         [](scattered& u) { u.entry_of(3) = 0; }, reason::first_stage_not_present, 0},
    };
    for (auto const& c : cases) {
        scattered u;
        u.keep_accessed_dirty();
        bool done = false;
        u.memory.meddle = [&](std::uint64_t at) {
            if (at != c.when || done) return;
            done = true;
            c.change(u);
        };
        CAPTURE(c.what);
        auto const answer = u.translate(write);
        CHECK(done);
        CHECK(code_of(answer) == c.code);
        if (answer) CHECK(answer->output == ipa{c.output});
        for (auto const& made : u.memory.updates)
            CHECK(((made.from ^ made.to) & ~std::uint64_t{0x360}) == 0);
    }
    // Never still.
    struct {
        std::uint64_t at;
        reason code;
    } const restless[] = {{scattered::host + scattered::guest[3], reason::first_stage_update_failed},
                          {scattered::host + scattered::guest[1], reason::first_stage_update_failed},
                          {scattered::second_at_of(5), reason::second_stage_update_failed},
                          {scattered::second_at_of(1), reason::second_stage_update_failed}};
    for (auto const& r : restless) {
        scattered u;
        u.keep_accessed_dirty();
        u.memory.meddle = [&](std::uint64_t at) {
            if (at == r.at) u.memory[at] ^= one_bit(58);
        };
        CHECK(code_of(u.translate(write)) == r.code);
        CHECK(u.memory.attempts < 100);
    }
}

TEST_CASE("nested: nothing of the leaves is set where the output is refused") {
    scattered u;
    u.keep_accessed_dirty();
    u.second(5) = 0x5300'0003;
    u.memory[0x5300'0000] = 0xfee0'0083;
    check_place(u.translate(write), reason::scalable_output_in_interrupt_range, address_itself(fault_stage::second), u.at());
    CHECK((u.entry_of(3) & 0x60) == 0);
    CHECK((u.memory[0x5300'0000] & 0x300) == 0);
    // An intermediate address in the range is nothing special.
    scattered through;
    through.entry_of(3) = 0xfee0'1007;
    auto const found = through.translate(write);
    REQUIRE(found);
    CHECK(found->output == ipa{through.host + 0xfee0'1678});
}

TEST_CASE("nested: memory that is only looked at, and a traced walk, give the same answers") {
    void (*const spoils[])(scattered&) = {
        [](scattered&) {},
        [](scattered& u) { u.keep_accessed_dirty(); },
        [](scattered& u) { u.use_first(); },
        [](scattered& u) { u.use_first(), u.keep_accessed_dirty(), u.use_second(); },
        [](scattered& u) { u.second(1) &= ~std::uint64_t{2}; },
        [](scattered& u) { u.second(4) &= ~std::uint64_t{2}; },
        [](scattered& u) { u.second(3) &= ~std::uint64_t{1}; },
        [](scattered& u) { u.second(5) &= ~std::uint64_t{2}; },
        [](scattered& u) { u.second(5) = 0; },
        [](scattered& u) { u.second(2) |= one_bit(62); },
        [](scattered& u) { u.snoop(false); },
        [](scattered& u) { u.keep_accessed_dirty(), u.snoop(false); },
        [](scattered& u) { u.entry_of(2) = 0x1'4000'1087; },
        [](scattered& u) { u.entry_of(1) |= one_bit(47); },
        [](scattered& u) { u.entry_of(3) = 0; },
        [](scattered& u) { u.memory.poison(u.host + u.guest[2]); },
        [](scattered& u) { u.memory[u.n4] = every_bit; },
    };
    auto const kept = [](scattered& u) {
        std::vector<std::uint64_t> all{u.memory[u.n4]};
        for (unsigned i = 0; i < 4; ++i)
            all.push_back(u.entry_of(i));
        for (unsigned k = 1; k <= 5; ++k)
            all.push_back(u.second(k));
        return all;
    };
    for (auto const& spoil : spoils) {
        for (auto const type : {request_type::untranslated, request_type::translation}) {
            for (access const a : {read, write, read_write, read | privileged}) {
                if (type == request_type::translation && a.covers(write)) continue;
                scattered u;
                spoil(u);
                auto const before = kept(u);
                judged_only<scalable_unit::memory_type> looking{&u.memory};
                vtd::iommu const unit{u.caps(), vtd::root_table_address(u.root_register), looking, u.set};
                auto const r = u.typed(type, a);
                auto const looked = unit.translate(r);
                CHECK(kept(u) == before);
                scattered other;
                spoil(other);
                counting_trace trace;
                auto const traced = other.unit().translate(r, trace);
                auto const acted = u.translate(r);
                CHECK(code_of(looked) == code_of(acted));
                CHECK(code_of(traced) == code_of(acted));
                if (looked && acted) CHECK(*looked == *acted);
                if (!looked && !acted) CHECK(looked.error() == acted.error());
                if (traced && acted) CHECK(*traced == *acted);
                if (!traced && !acted) CHECK(traced.error() == acted.error());
                CHECK(kept(u) == kept(other));
                CHECK(trace.steps > 4);
            }
        }
    }
}

TEST_CASE("nested: first-stage faults are told as of the first stage alone") {
    scattered u;
    u.entry_of(2) = 0;
    check_place(u.translate(), reason::first_stage_not_present, first_rights(1, u.guest[2], 0), u.at());
    u.entry_of(2) = 0x1'0000'0007 | one_bit(46);
    check_place(u.translate(), reason::first_stage_reserved, first_table(1, u.guest[2], u.entry_of(2)), u.at());
    u.entry_of(2) = 0x1'0000'0003;
    check_place(u.translate(), reason::user_denied, first_rights(1, u.guest[2], 0x1'0000'0003), u.at());
    // 84h does not exist here: what the second stage would not admit is 74h, and the input is 80h.
    CHECK(code_of(u.translate(u.ask_at(one_bit(48)))) == reason::not_canonical);
    CHECK(code_of(u.translate(u.ask_at(0xffff'ff80'0000'0000))) == reason::first_stage_not_present);
}

namespace {

// A host that a guest's unit knows nothing of: its addresses lie `moved` higher, some pages it refuses, some it lets nobody
// write.
constexpr std::uint64_t moved = 0x8000'0000'0000;

enum class host_refusal : std::uint8_t { none, absent, read_only };

struct host_translator {
    using input = ipa;
    using output = pa;
    using fault_type = fault<host_refusal>;

    std::set<std::uint64_t> const* absent;
    std::set<std::uint64_t> const* read_only;

    outcome<translation<pa>, fault_type> translate(ipa in, access a) const noexcept {
        fault_type f;
        f.input = in.value;
        if (absent->contains(in.value >> 12)) f.code = host_refusal::absent;
        if (read_only->contains(in.value >> 12) && a.covers(write)) f.code = host_refusal::read_only;
        if (f.code != host_refusal::none) return failure{f};
        return translation<pa>{pa{in.value + moved}, read_write, 12, passage::walked};
    }
};

// What the host has behind that: the guest's memory at its true address.
template <class Guest>
struct host_memory {
    using address = pa;
    using error = memory_error;
    Guest* of;

    outcome<std::uint64_t, error> load(pa a) noexcept { return of->load(ipa{a.value - moved}); }
    outcome<bool, error> compare_exchange(pa a, std::uint64_t& expected,
                                          std::uint64_t desired) noexcept requires updatable_memory<Guest> {
        return of->compare_exchange(ipa{a.value - moved}, expected, desired);
    }
};

// The same unit in a guest of that host.
template <class Unit>
struct guest_of {
    Unit* unit;
    std::set<std::uint64_t> absent{};
    std::set<std::uint64_t> read_only{};

    auto translate(vtd::request const& r) {
        unit->memory.trail.clear();
        using behind = host_memory<decltype(unit->memory)>;
        behind host{&unit->memory};
        translated<host_translator, behind> seen{{&absent, &read_only}, host};
        vtd::iommu const in_guest{unit->caps(), vtd::root_table_address(unit->root_register), seen, unit->set};
        return in_guest.translate(r);
    }
};

template <class Unit>
void check_every_refusal(Unit& u, vtd::request const& r) {
    guest_of<Unit> guest{&u};
    auto const fine = guest.translate(r);
    auto const path = u.memory.trail;
    REQUIRE(fine);
    REQUIRE(u.translate(r) == fine);
    REQUIRE(u.memory.trail == path);
    for (std::uint64_t const at : path) {
        CAPTURE(at);
        guest.absent = {at >> 12};
        auto const refused = guest.translate(r);
        // No such page, in a unit whose memory nobody translates.
        Unit without = u;
        without.memory.remove(at);
        auto const unreadable = without.translate(r);
        REQUIRE_FALSE(refused);
        REQUIRE_FALSE(unreadable);
        auto expected = unreadable.error();
        auto found = refused.error();
        // What the host refused of the page tables that lie in its memory, the fault names as the intermediate address.
        if (found.intermediate != expected.intermediate) {
            CHECK(found.stage != fault_stage::configuration);
            CHECK(found.intermediate == found.descriptor);
            found.intermediate = expected.intermediate;
        }
        CHECK(found == expected);
    }
}

} // namespace

TEST_CASE("a unit over translated memory: what the host refuses to read is an entry that cannot be read") {
    for (auto const kind : {binding_kind::second_stage, binding_kind::first_stage, binding_kind::nested}) {
        scalable_unit u{kind};
        CAPTURE(static_cast<int>(kind));
        static_cast<void>(u.translate()); // A is set where it is kept
        check_every_refusal(u, u.ask());
        check_every_refusal(u, u.plain(u.ask()));
    }
    sheet_unit legacy;
    check_every_refusal(legacy, legacy.ask(legacy.at));
}

TEST_CASE("a unit over translated memory: an update that the host refuses has failed") {
    struct {
        binding_kind kind;
        std::uint64_t at;
        reason code;
    } const cases[] = {
        {binding_kind::second_stage, scalable_unit::s4, reason::second_stage_update_failed},
        {binding_kind::second_stage, scalable_unit::s1, reason::second_stage_update_failed},
        {binding_kind::first_stage, scalable_unit::f4, reason::first_stage_update_failed},
        {binding_kind::first_stage, scalable_unit::f1, reason::first_stage_update_failed},
        {binding_kind::nested, scalable_unit::n4, reason::second_stage_update_failed},
        {binding_kind::nested, scalable_unit::f4 + scalable_unit::behind, reason::first_stage_update_failed},
        {binding_kind::nested, scalable_unit::f1 + scalable_unit::behind, reason::first_stage_update_failed},
    };
    for (auto const& c : cases) {
        scalable_unit u{c.kind};
        if (c.kind != binding_kind::nested || c.at == scalable_unit::n4) u.keep_accessed_dirty();
        guest_of<scalable_unit> guest{&u};
        CAPTURE(static_cast<int>(c.kind), c.at);
        guest.read_only = {c.at >> 12};
        auto const refused = guest.translate(u.ask());
        CHECK(code_of(refused) == c.code);
        if (!refused) CHECK(refused.error().at == fault_at::table);
        // Nothing has to change any more: then nothing is refused.
        guest.read_only.clear();
        REQUIRE(guest.translate(u.ask()));
        guest.read_only = {c.at >> 12};
        CHECK(guest.translate(u.ask()));
    }
}

} // namespace stagewalk::test
