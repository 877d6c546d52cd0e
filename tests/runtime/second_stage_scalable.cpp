// Second-stage tables in scalable mode: codes, SSADE, memory types, IR and IW, and the policies that concern them.
#include "scalable_unit.hpp"

#include <cstdint>

namespace stagewalk::test {
namespace {

using update = scalable_unit::memory_type::update;

constexpr std::uint64_t path[]{scalable_unit::s1, scalable_unit::s2, scalable_unit::s3, scalable_unit::s4};

// A in every entry of the path, D in the leaf.
void use_up(scalable_unit& u) {
    for (auto const at : path)
        u.memory[at] |= at == u.s1 ? 0x300 : 0x100;
}

std::vector<std::uint64_t> path_of(scalable_unit& u) { return {u.memory[u.s4], u.memory[u.s3], u.memory[u.s2], u.memory[u.s1]}; }

struct counting_trace {
    unsigned steps{};
    void operator()(auto const&) { ++steps; }
};

} // namespace

TEST_CASE("scalable second stage: every bit of every entry, as the manual's masks say") {
    struct {
        unsigned level; // counted from 0
        std::uint64_t entry;
        std::uint64_t reserved; // beside 51:HAW and 62
        bool leaf;
    } const forms[] = {
        {3, 0x3100'0003, 0x880, false}, {2, 0x3200'0003, 0x800, false},      {2, 0x1'4000'0083, 0x3fff'f000, true},
        {1, 0x3300'0003, 0x800, false}, {1, 0x1'4020'0083, 0x1f'f000, true}, {0, 0xabc'de00'0003, 0, true},
    };
    for (bool const snoop_control : {true, false}) {
        for (std::uint64_t const haw : {44u, 46u, 48u}) {
            for (bool const marks : {false, true}) {
                for (auto const& form : forms) {
                    for (unsigned n = 2; n < 64; ++n) {
                        scalable_unit u;
                        u.haw = haw;
                        u.ecap.set<"SC">(snoop_control);
                        u.memory[u.s1] &= ~std::uint64_t{0x800};
                        if (marks) u.keep_accessed_dirty();
                        u.memory[path[form.level]] = form.entry ^ one_bit(n);
                        bool const bad = (n >= haw && n <= 51) || n == 62 || (form.reserved >> n & 1) != 0 ||
                                         (n == 11 && form.leaf && !snoop_control);
                        CAPTURE(snoop_control, haw, form.level, form.entry, n);
                        std::uint64_t const held = u.memory[path[form.level]];
                        auto const answer = u.translate();
                        if (bad) {
                            check_place(answer, reason::second_stage_reserved, table_entry(form.level, path[form.level], held),
                                        u.at());
                        } else if (!(n == 7 && form.level != 0) && (n < 12 || n >= 52)) {
                            REQUIRE(answer);
                        } else if (!(n == 7 && form.level != 0)) {
                            CHECK(code_of(answer) != reason::second_stage_reserved);
                        }
                    }
                }
            }
        }
    }
}

TEST_CASE("scalable second stage: large pages that the unit lacks, and PS at level 4 and 5") {
    for (std::uint64_t const sslps : {0u, 1u, 3u}) {
        scalable_unit u;
        u.cap.set<"SSLPS">(sslps);
        u.memory[u.s2] = 0x1'4020'0083;
        CHECK(code_of(u.translate()) == ((sslps & 1) != 0 ? reason::none : reason::second_stage_reserved));
        u.memory[u.s3] = 0x1'4000'0083;
        CHECK(code_of(u.translate()) == ((sslps & 2) != 0 ? reason::none : reason::second_stage_reserved));
        u.memory[u.s4] |= 0x80;
        CHECK(code_of(u.translate()) == reason::second_stage_reserved);
    }
    // A tree of three levels may have a 1 GiB page in its root table.
    scalable_unit u;
    u.address_width(1);
    u.change(0, ~std::uint64_t{0xfff}, 0x3500'0000);
    u.memory[0x3500'0008] = 0x1'4000'0083;
    auto const found = u.translate(u.ask_at(0x4567'89ab));
    REQUIRE(found);
    CHECK(found->output == ipa{0x1'4567'89ab});
    CHECK(found->lg2_size == 30);
    CHECK(u.memory.trail.size() == 16);
}

TEST_CASE("scalable second stage: rights of every pair of levels") {
    for (unsigned upper = 0; upper < 4; ++upper) {
        for (unsigned leaf = 0; leaf < 4; ++leaf) {
            for (access const a : {read, write, read_write}) {
                scalable_unit u;
                u.memory[u.s2] = 0x3300'0000 | upper;
                u.memory[u.s1] = 0xabc'de00'0000 | leaf;
                std::uint64_t const together = upper & leaf;
                reason expected = reason::none;
                if (together == 0) {
                    expected = reason::second_stage_not_present;
                } else if ((a.bits & 2 & ~together) != 0) {
                    expected = reason::scalable_write_denied;
                } else if ((a.bits & 1 & ~together) != 0) {
                    expected = reason::scalable_read_denied;
                }
                CAPTURE(upper, leaf, a.bits);
                CHECK(code_of(u.translate(a)) == expected);
                // Privilege is no matter here.
                CHECK(code_of(u.translate(a | privileged)) == expected);
                auto const asked = u.translate(request_type::translation);
                CHECK(static_cast<bool>(asked) == (together != 0));
                if (asked) CHECK(asked->effective.rights().bits == together);
            }
        }
    }
}

TEST_CASE("scalable second stage: a zero-length read is content with either right where ZLR says so") {
    for (std::uint64_t const right : {0u, 1u, 2u, 3u}) {
        for (bool const zlr : {false, true}) {
            scalable_unit u;
            u.cap.set<"ZLR">(zlr);
            u.memory[u.s1] = 0xabc'de00'0000 | right;
            auto r = u.ask(read);
            r.bytes = 0;
            reason const expected = right == 0                ? reason::second_stage_not_present
                                    : (right & 1) != 0 || zlr ? reason::none
                                                              : reason::scalable_read_denied;
            CAPTURE(right, zlr);
            CHECK(code_of(u.translate(r)) == expected);
            r.bytes = 1;
            CHECK(code_of(u.translate(r)) == (right == 0         ? reason::second_stage_not_present
                                              : (right & 1) != 0 ? reason::none
                                                                 : reason::scalable_read_denied));
        }
    }
    // It never sets D.
    scalable_unit u;
    u.cap.set<"ZLR">(1);
    u.keep_accessed_dirty();
    u.memory[u.s1] = 0xabc'de00'0002;
    auto r = u.ask(read);
    r.bytes = 0;
    REQUIRE(u.translate(r));
    CHECK(u.memory[u.s1] == 0xabc'de00'0102);
}

TEST_CASE("scalable second stage: without SSADE nothing is ever written") {
    scalable_unit u;
    u.snoop(false);
    for (access const a : {read, write, read_write}) {
        REQUIRE(u.translate(a));
        CHECK(u.memory.attempts == 0);
    }
    REQUIRE(u.translate(request_type::translation));
    CHECK(u.memory.attempts == 0);
}

TEST_CASE("scalable second stage: SSADE sets A in every entry and D in the leaf of a write") {
    scalable_unit u;
    u.keep_accessed_dirty();
    REQUIRE(u.translate(read));
    CHECK(u.memory.updates == std::vector<update>{{u.s4, 0x3100'0003, 0x3100'0103},
                                                  {u.s3, 0x3200'0003, 0x3200'0103},
                                                  {u.s2, 0x3300'0003, 0x3300'0103},
                                                  {u.s1, 0xabc'de00'0803, 0xabc'de00'0903}});
    REQUIRE(u.translate(read));
    CHECK(u.memory.attempts == 0);
    REQUIRE(u.translate(write));
    CHECK(u.memory.updates == std::vector<update>{{u.s1, 0xabc'de00'0903, 0xabc'de00'0b03}});
    REQUIRE(u.translate(read_write));
    CHECK(u.memory.attempts == 0);
    // A and D at once, and in a large page.
    u.memory[u.s2] = 0x1'4020'0083;
    REQUIRE(u.translate(read_write));
    CHECK(u.memory.updates == std::vector<update>{{u.s2, 0x1'4020'0083, 0x1'4020'0383}});
}

TEST_CASE("scalable second stage: a translation request sets D where it is granted writing, and only there") {
    struct {
        bool listens;
        bool no_write;
        std::uint64_t rights;
        bool dirty;
    } const cases[] = {
        {true, false, 3, true},  {true, true, 3, false}, {false, true, 3, true}, {true, false, 1, false},
        {false, true, 1, false}, {true, false, 2, true}, {true, true, 2, false},
    };
    for (auto const& c : cases) {
        scalable_unit u;
        u.keep_accessed_dirty();
        u.ecap.set<"NWFS">(c.listens);
        u.memory[u.s2] = 0x3300'0000 | c.rights;
        auto r = u.typed(request_type::translation);
        r.no_write = c.no_write;
        CAPTURE(c.listens, c.no_write, c.rights);
        REQUIRE(u.translate(r));
        CHECK(u.memory[u.s1] == (c.dirty ? 0xabc'de00'0b03 : 0xabc'de00'0903));
    }
}

TEST_CASE("scalable second stage: an upper entry gets A when it is used, the leaf after everything else") {
    struct {
        void (*spoil)(scalable_unit&);
        reason code;
        unsigned used;
    } const cases[] = {
        {[](scalable_unit& u) { u.memory[u.s1] = 0; }, reason::second_stage_not_present, 3},
        {[](scalable_unit& u) { u.memory[u.s2] = 0; }, reason::second_stage_not_present, 2},
        {[](scalable_unit& u) { u.memory[u.s2] |= 0x800; }, reason::second_stage_reserved, 2},
        {[](scalable_unit& u) { u.memory[u.s1] |= one_bit(62); }, reason::second_stage_reserved, 3},
        {[](scalable_unit& u) { u.memory[u.s4] &= ~std::uint64_t{2}; }, reason::scalable_write_denied, 3},
        {[](scalable_unit& u) { u.memory[u.s1] &= ~std::uint64_t{2}; }, reason::scalable_write_denied, 3},
        {[](scalable_unit& u) { u.memory[u.s1] = 0xfee0'0003; }, reason::scalable_output_in_interrupt_range, 3},
        {[](scalable_unit& u) { u.memory.remove(u.s1); }, reason::second_stage_unreadable, 3},
    };
    for (auto const& c : cases) {
        scalable_unit u;
        u.keep_accessed_dirty();
        c.spoil(u);
        CHECK(code_of(u.translate(write)) == c.code);
        CHECK(u.memory.updates.size() == c.used);
        unsigned n = 0;
        for (auto const at : {u.s4, u.s3, u.s2, u.s1}) {
            if (c.code == reason::second_stage_unreadable && at == u.s1) continue;
            CHECK(((u.memory[at] & 0x100) != 0) == (n < c.used));
            CHECK((u.memory[at] & 0x200) == 0);
            ++n;
        }
    }
    scalable_unit u;
    u.keep_accessed_dirty();
    CHECK(code_of(u.translate(u.ask_at(one_bit(48), write))) == reason::input_beyond_second_stage);
    CHECK(u.memory.attempts == 0);
}

TEST_CASE("scalable second stage: without snooping an update that is due is 7Ch, and one that is not due is no matter") {
    for (bool const capable : {true, false}) {
        for (unsigned level = 0; level < 4; ++level) {
            scalable_unit u;
            u.keep_accessed_dirty();
            u.snoop(false);
            if (!capable) u.ecap.set<"SMPWCS">(0);
            use_up(u);
            CHECK(u.translate(write));
            u.memory[path[level]] &= ~std::uint64_t{0x100};
            check_place(u.translate(read), reason::second_stage_update_unsnooped,
                        table_entry(level, path[level], u.memory[path[level]]), u.at());
            CHECK(u.memory.attempts == 0);
        }
        scalable_unit u;
        u.keep_accessed_dirty();
        u.snoop(false);
        use_up(u);
        u.memory[u.s1] &= ~std::uint64_t{0x200};
        CHECK(u.translate(read));
        CHECK(code_of(u.translate(write)) == reason::second_stage_update_unsnooped);
        // Reserved and absent entries are found first.
        u.memory[u.s1] |= one_bit(62);
        CHECK(code_of(u.translate(write)) == reason::second_stage_reserved);
    }
}

TEST_CASE("scalable second stage: an entry that changes before its update is judged again, with the whole walk") {
    struct {
        char const* what;
        std::uint64_t when;
        void (*change)(scalable_unit&);
        reason code;
        std::uint64_t output;
    } const cases[] = {
        {"the page moves", scalable_unit::s1, [](scalable_unit& u) { u.memory[u.s1] = 0x1'2345'0003; }, reason::none,
         0x1'2345'0abc},
        {"the page goes", scalable_unit::s1, [](scalable_unit& u) { u.memory[u.s1] = 0; }, reason::second_stage_not_present, 0},
        {"W goes", scalable_unit::s1, [](scalable_unit& u) { u.memory[u.s1] &= ~std::uint64_t{2}; },
         reason::scalable_write_denied, 0},
        {"a reserved bit comes", scalable_unit::s2, [](scalable_unit& u) { u.memory[u.s2] |= one_bit(62); },
         reason::second_stage_reserved, 0},
        {"A comes", scalable_unit::s3, [](scalable_unit& u) { u.memory[u.s3] |= 0x100; }, reason::none, 0xabc'de00'0abc},
        {"a table becomes a page", scalable_unit::s2, [](scalable_unit& u) { u.memory[u.s2] = 0x1'4020'0083; }, reason::none,
         0x1'4038'9abc},
        {"the top entry goes", scalable_unit::s2, [](scalable_unit& u) { u.memory[u.s2] = 0, u.memory[u.s4] = 0; },
         reason::second_stage_not_present, 0},
    };
    for (auto const& c : cases) {
        scalable_unit u;
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
    }
    for (auto const at : path) {
        scalable_unit u;
        u.keep_accessed_dirty();
        std::uint64_t const before = u.memory[at];
        u.memory.meddle = [&](std::uint64_t a) {
            if (a == at) u.memory[at] ^= one_bit(58);
        };
        CHECK(code_of(u.translate(write)) == reason::second_stage_update_failed);
        CHECK((u.memory[at] & ~one_bit(58)) == before);
        std::size_t const tried = u.memory.attempts - u.memory.updates.size();
        CHECK(tried >= max_restarts);
        CHECK(tried <= max_restarts + 1);
    }
}

TEST_CASE("scalable second stage: memory that is only looked at, and a traced walk, give the same answers") {
    void (*const spoils[])(scalable_unit&) = {
        [](scalable_unit&) {},
        [](scalable_unit& u) { u.keep_accessed_dirty(); },
        [](scalable_unit& u) { u.keep_accessed_dirty(), use_up(u); },
        [](scalable_unit& u) { u.keep_accessed_dirty(), u.snoop(false); },
        [](scalable_unit& u) { u.keep_accessed_dirty(), u.memory[u.s1] = 0xabc'de00'0801; },
        [](scalable_unit& u) { u.memory[u.s1] = 0xabc'de00'0802; },
        [](scalable_unit& u) { u.memory[u.s2] = 0x1'4020'0883; },
        [](scalable_unit& u) { u.memory[u.s3] = 0x1'4000'00bb; },
        [](scalable_unit& u) { u.memory[u.s4] = every_bit; },
        [](scalable_unit& u) { u.memory[u.s1] = 0; },
        [](scalable_unit& u) { u.memory[u.s1] = 0xfee0'0003; },
        [](scalable_unit& u) { u.memory.remove(u.s2); },
    };
    for (auto const& spoil : spoils) {
        for (auto const type : {request_type::untranslated, request_type::translation}) {
            for (access const a : {read, write, read_write}) {
                if (type == request_type::translation && a != read) continue;
                scalable_unit u;
                spoil(u);
                bool const there = static_cast<bool>(u.memory.load(ipa{u.s2}));
                auto const before = there ? path_of(u) : std::vector<std::uint64_t>{};
                judged_only<scalable_unit::memory_type> looking{&u.memory};
                vtd::iommu const unit{u.caps(), vtd::root_table_address(u.root_register), looking, u.set};
                auto const r = u.typed(type, a);
                auto const looked = unit.translate(r);
                if (there) CHECK(path_of(u) == before);
                scalable_unit other;
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
                if (there) CHECK(path_of(u) == path_of(other));
            }
        }
    }
}

TEST_CASE("scalable second stage: reserved encodings of EMT, as the policy says") {
    for (std::uint64_t emt = 0; emt < 8; ++emt) {
        bool const odd = emt == 2 || emt == 3 || emt == 7;
        for (unsigned const level : {0u, 1u, 2u}) {
            scalable_unit u;
            u.memory[path[level]] = (level == 0 ? 0xabc'de00'0003 : level == 1 ? 0x1'4020'0083 : 0x1'4000'0083) | emt << 3;
            CAPTURE(emt, level);
            u.change(1, 0, 0x0400'0000); // EMTE
            auto const accepted = u.translate();
            REQUIRE(accepted);
            CHECK((accepted->effective.bits >> 3 & 7) == emt);
            u.set.rules.memory_type = vtd::reserved_memory_type::refused;
            auto const answer = u.translate();
            if (odd) {
                check_place(answer, reason::second_stage_reserved, table_entry(level, path[level], u.memory[path[level]]),
                            u.at());
                CHECK(code_of(u.translate(request_type::translation)) == reason::second_stage_reserved);
            } else {
                CHECK(answer);
            }
            // Ignored without EMTE, and always in entries that lead to a table.
            u.change(1, 0x0400'0000, 0);
            CHECK(u.translate());
        }
        scalable_unit u;
        u.set.rules.memory_type = vtd::reserved_memory_type::refused;
        u.change(1, 0, 0x0400'0000);
        u.memory[u.s2] |= emt << 3;
        u.memory[u.s4] |= emt << 3;
        CHECK(u.translate());
    }
}

TEST_CASE("scalable second stage: rights before or after reserved bits, as the policy says") {
    scalable_unit u;
    u.memory[u.s2] = 0x3300'0801;
    CHECK(code_of(u.translate(write)) == reason::second_stage_reserved);
    u.set.rules.second_stage_rights = vtd::rights_order::each_entry;
    CHECK(code_of(u.translate(write)) == reason::scalable_write_denied);
    CHECK(code_of(u.translate(read)) == reason::second_stage_reserved);
}

TEST_CASE("SSIRWE: bits 61 and 62 grant, not 0 and 1, where the unit has SSIRWS") {
    for (bool const capable : {false, true}) {
        for (bool const asked : {false, true}) {
            for (std::uint64_t low = 0; low < 4; ++low) {
                for (std::uint64_t high = 0; high < 4; ++high) {
                    scalable_unit u;
                    u.ecap.set<"SSIRWS">(capable);
                    if (asked) u.root_register |= 0x80;
                    bool const alternate = capable && asked;
                    for (auto const at : path)
                        u.memory[at] |= alternate ? std::uint64_t{3} << 61 : 0;
                    u.memory[u.s1] = 0xabc'de00'0000 | low | high << 61;
                    std::uint64_t const rights = alternate ? high : low;
                    for (access const a : {read, write, read_write}) {
                        reason expected = reason::none;
                        if (rights == 0)
                            expected = reason::second_stage_not_present;
                        else if (!alternate && (high & 2) != 0)
                            expected = reason::second_stage_reserved; // bit 62
                        else if ((a.bits & 2 & ~rights) != 0)
                            expected = reason::scalable_write_denied;
                        else if ((a.bits & 1 & ~rights) != 0)
                            expected = reason::scalable_read_denied;
                        CAPTURE(capable, asked, low, high, a.bits);
                        CHECK(code_of(u.translate(a)) == expected);
                    }
                    if (rights != 0 && (alternate || (high & 2) == 0))
                        CHECK(u.translate(request_type::translation)->effective.rights().bits == rights);
                }
            }
        }
    }
    // Upper entries too, and A and D where they always are.
    scalable_unit u;
    u.ecap.set<"SSIRWS">(1);
    u.root_register |= 0x80;
    u.keep_accessed_dirty();
    for (auto const at : path)
        u.memory[at] = (u.memory[at] & ~std::uint64_t{3}) | std::uint64_t{3} << 61;
    REQUIRE(u.translate(write));
    CHECK(u.memory[u.s1] == (0xabc'de00'0b00 | std::uint64_t{3} << 61));
    u.memory[u.s3] &= ~one_bit(62);
    CHECK(code_of(u.translate(write)) == reason::scalable_write_denied);
    u.memory[u.s3] |= 3;
    CHECK(code_of(u.translate(write)) == reason::scalable_write_denied);
    // What is encoded is decoded again.
    vtd::second_stage<iova, ipa, vtd::table_mode::scalable> const s{u.caps(), 4, ipa{0x3000'0000}, {{}, true, true, false, true}};
    CHECK(s.make_leaf(ipa{0x1000}, 12, attributes{read}) == (one_bit(61) | 0x1000));
    CHECK(s.make_table(ipa{0x1000}, 1) == (std::uint64_t{3} << 61 | 0x1000));
}

} // namespace stagewalk::test
