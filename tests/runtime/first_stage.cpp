// First-stage tables: what is canonical, what is reserved, who may do what, and which bits are set, when, and how.
#include "scalable_unit.hpp"

#include <cstdint>

namespace stagewalk::test {
namespace {

constexpr binding_kind first = binding_kind::first_stage;

using update = scalable_unit::memory_type::update;

// The top table of five levels lies at 64000000h and leads to the four below.
void deepen(scalable_unit& u) {
    u.change(2, ~std::uint64_t{0xfff} | 0xc, 0x6400'0000 | 0x4);
    u.memory[0x6400'0000 + (u.at() >> 48 & 511) * 8] = 0x6000'0007;
}

// A in every entry of the path, D in the leaf.
void use_up(scalable_unit& u) {
    for (unsigned level = 1; level <= 4; ++level)
        u.memory[u.first_entry(level)] |= level == 1 ? 0x60 : 0x20;
}

// What the tables of example 13 hold now.
std::vector<std::uint64_t> path_of(scalable_unit& u) { return {u.memory[u.f4], u.memory[u.f3], u.memory[u.f2], u.memory[u.f1]}; }

struct counting_trace {
    unsigned steps{};
    void operator()(auto const&) { ++steps; }
};

} // namespace

TEST_CASE("first stage: four levels admit what bit 47 extends, five what bit 56 does") {
    struct {
        std::uint64_t at;
        bool four;
        bool five;
    } const cases[] = {
        {0, true, true},
        {0x0000'7fff'ffff'ffff, true, true},
        {0x0000'8000'0000'0000, false, true},
        {0x00ff'ffff'ffff'ffff, false, true},
        {0x0100'0000'0000'0000, false, false},
        {0x7fff'ffff'ffff'ffff, false, false},
        {0x8000'0000'0000'0000, false, false},
        {0xfeff'ffff'ffff'ffff, false, false},
        {0xff00'0000'0000'0000, false, true},
        {0xffff'7fff'ffff'ffff, false, true},
        {0xffff'8000'0000'0000, true, true},
        {every_bit, true, true},
    };
    for (auto const& c : cases) {
        scalable_unit u{first};
        CAPTURE(c.at);
        CHECK((code_of(u.translate(u.ask_at(c.at))) == reason::not_canonical) == !c.four);
        CHECK((code_of(u.translate(u.typed_at(c.at, request_type::translation))) == reason::not_canonical) == !c.four);
        deepen(u);
        CHECK((code_of(u.translate(u.ask_at(c.at))) == reason::not_canonical) == !c.five);
    }
    // The width is FSPM's, whatever AW says.
    for (std::uint64_t aw = 0; aw < 8; ++aw) {
        scalable_unit u{first};
        u.address_width(aw);
        CHECK(u.translate());
        CHECK(code_of(u.translate(u.ask_at(one_bit(47)))) == reason::not_canonical);
    }
}

TEST_CASE("first stage: the upper half is walked like the lower, with the index of its own bits") {
    scalable_unit u{first};
    std::uint64_t const in = 0xffff'ff80'1234'5678;
    u.memory[0x6000'0ff8] = 0x6100'0007;
    auto const found = u.translate(u.ask_at(in));
    REQUIRE(found);
    CHECK(found->output == ipa{0x7654'3678});
    CHECK(u.memory.trail[15] == 0x6000'0ff8);
    deepen(u);
    u.memory[0x6400'0ff8] = 0x6000'0007;
    REQUIRE(u.translate(u.ask_at(in)));
    CHECK(u.memory.trail[15] == 0x6400'0ff8);
    CHECK(u.memory.trail[16] == 0x6000'0ff8);
}

TEST_CASE("first stage: every bit of every entry, as the manual's masks say") {
    struct {
        unsigned level; // the manual's
        std::uint64_t entry;
        std::uint64_t reserved; // beside 51:HAW
    } const forms[] = {
        {5, 0x6000'0007, 0x80}, {4, 0x6100'0007, 0x80},          {3, 0x6200'0007, 0}, {3, 0x1'8000'0087, 0x3fff'e000},
        {2, 0x6300'0007, 0},    {2, 0x1'4020'0087, 0x001f'e000}, {1, 0x7654'3007, 0},
    };
    for (std::uint64_t const haw : {39u, 46u, 48u}) {
        for (auto const& form : forms) {
            bool const leaf = form.level == 1 || (form.entry & 0x80) != 0;
            unsigned const size = 12 + 9 * (form.level - 1);
            for (unsigned n = 0; n < 64; ++n) {
                scalable_unit u{first};
                u.haw = haw;
                deepen(u);
                std::uint64_t const at = form.level == 5 ? 0x6400'0000 : u.first_entry(form.level);
                u.memory[at] = form.entry;
                auto const clean = u.translate();
                REQUIRE(clean);
                std::uint64_t const changed = form.entry ^ one_bit(n);
                u.memory[at] = changed;
                auto const answer = u.translate();
                CAPTURE(haw, form.level, form.entry, n);
                if (n == 0) {
                    CHECK(code_of(answer) == reason::first_stage_not_present);
                } else if (n == 2) {
                    CHECK(code_of(answer) == reason::user_denied);
                } else if ((n >= haw && n <= 51) || (form.reserved >> n & 1) != 0) {
                    check_place(answer, reason::first_stage_reserved, first_table(form.level - 1, at, changed), u.at());
                    // And whoever asks.
                    CHECK(code_of(u.translate(request_type::translation)) == reason::first_stage_reserved);
                    CHECK(code_of(u.translate(write | privileged)) == reason::first_stage_reserved);
                } else if (n == 7 && (form.level == 3 || form.level == 2)) {
                    CHECK((!answer || answer->output != clean->output)); // PS: another kind of entry
                } else if (n >= 12 && n < haw && !(leaf && n < size)) {
                    CHECK(code_of(answer) != reason::first_stage_reserved);
                    if (leaf) CHECK(answer->output.value == (clean->output.value ^ one_bit(n)));
                } else {
                    // Ignored, or no bit of the address.
                    REQUIRE(answer);
                    CHECK(answer->output == clean->output);
                    CHECK(answer->lg2_size == clean->lg2_size);
                }
            }
        }
    }
}

TEST_CASE("first stage: 1 GiB pages where the unit lacks them") {
    scalable_unit u{first};
    u.memory[u.f3] = 0x1'8000'0087;
    auto const found = u.translate();
    REQUIRE(found);
    CHECK(found->lg2_size == 30);
    u.cap.set<"FS1GP">(0);
    check_place(u.translate(), reason::first_stage_reserved, first_table(2, u.f3, 0x1'8000'00a7), u.at());
    // 2 MiB pages are always there, whatever the second stage has.
    u.memory[u.f3] = 0x6200'0007;
    u.memory[u.f2] = 0x1'4020'0087;
    u.cap.set<"SSLPS">(0);
    CHECK(u.translate()->lg2_size == 21);
}

TEST_CASE("first stage: an entry of all ones is no page, whoever asks") {
    for (unsigned level = 1; level <= 4; ++level) {
        for (auto const type : {request_type::untranslated, request_type::translation}) {
            scalable_unit u{first};
            use_up(u);
            u.memory[u.first_entry(level)] = every_bit;
            CAPTURE(level, static_cast<int>(type));
            check_place(u.translate(type), reason::first_stage_reserved, first_table(level - 1, u.first_entry(level), every_bit),
                        u.at(), type == request_type::untranslated);
        }
    }
}

TEST_CASE("first stage: who may do what") {
    struct {
        access a;
        bool writes;
    } const accesses[] = {{read, false}, {write, true}, {read_write, true}};
    for (unsigned level = 0; level <= 4; ++level) { // 0: no level lacks anything
        for (unsigned lacks = 0; lacks < 4; ++lacks) {
            for (unsigned how = 0; how < 32; ++how) {
                bool const no_user = (lacks & 1) != 0;
                bool const no_write = (lacks & 2) != 0;
                bool const supervisor = (how & 1) != 0;
                bool const with_pasid = (how & 2) != 0;
                bool const wpe = (how & 4) != 0;
                bool const sre = (how & 8) != 0;
                bool const used = (how & 16) != 0;
                for (auto const& c : accesses) {
                    scalable_unit u{first};
                    if (used) use_up(u);
                    if (level != 0) u.memory[u.first_entry(level)] &= ~std::uint64_t{(no_user ? 4u : 0u) | (no_write ? 2u : 0u)};
                    if (wpe) u.write_protect();
                    u.supervisor(sre);
                    auto r = u.ask(c.a);
                    if (with_pasid) {
                        if (supervisor) r.access = r.access | privileged;
                        u.memory[u.context + 8] |= one_bit(20); // RID_PRIV: not of this request
                    } else {
                        r.pasid = vtd::no_pasid;
                        if (supervisor) u.memory[u.context + 8] |= one_bit(20);
                        if (!supervisor) r.access = r.access | privileged; // says nothing
                    }
                    reason expected = reason::none;
                    if (supervisor) {
                        if (!sre)
                            expected = reason::supervisor_disabled;
                        else if (level != 0 && c.writes && wpe && no_write)
                            expected = reason::scalable_write_denied;
                    } else if (level != 0 && no_user) {
                        expected = reason::user_denied;
                    } else if (level != 0 && c.writes && no_write) {
                        expected = reason::scalable_write_denied;
                    }
                    CAPTURE(level, lacks, how, c.a.bits);
                    auto const answer = u.translate(r);
                    CHECK(code_of(answer) == expected);
                    if (!answer) continue;
                    bool const may_write = level == 0 || !no_write || (supervisor && !wpe);
                    CHECK(answer->effective.rights() == (may_write ? read_write : read));
                    CHECK(((answer->effective.bits >> 5 & 1) != 0) == (level != 0 && no_user));
                }
            }
        }
    }
}

TEST_CASE("first stage: a write blames the highest entry that lacks R/W, after the leaf has been judged") {
    scalable_unit u{first};
    use_up(u);
    u.memory[u.f3] &= ~std::uint64_t{2};
    u.memory[u.f1] &= ~std::uint64_t{2};
    check_place(u.translate(write), reason::scalable_write_denied, first_rights(2, u.f3, u.memory[u.f3]), u.at());
    u.memory[u.f1] |= one_bit(46);
    CHECK(code_of(u.translate(write)) == reason::first_stage_reserved);
    u.memory[u.f1] = 0;
    CHECK(code_of(u.translate(write)) == reason::first_stage_not_present);
}

TEST_CASE("first stage: a write sets A in every entry and D in the leaf, each by one compare-exchange, in order") {
    scalable_unit u{first};
    auto const found = u.translate(write);
    REQUIRE(found);
    CHECK(found->output == ipa{0x7654'3678});
    CHECK(u.memory.updates == std::vector<update>{{u.f4, 0x6100'0007, 0x6100'0027},
                                                  {u.f3, 0x6200'0007, 0x6200'0027},
                                                  {u.f2, 0x6300'0007, 0x6300'0027},
                                                  {u.f1, 0x7654'3007, 0x7654'3067}});
    CHECK(u.memory.attempts == 4);
    CHECK(u.memory.trail.size() == 19);
    // Nothing is due any more: nothing is written.
    for (access const a : {read, write, read_write, write | privileged}) {
        REQUIRE(u.translate(a));
        CHECK(u.memory.attempts == 0);
    }
}

TEST_CASE("first stage: a D bit is set by a write after a read (it was lost in QEMU)") {
    scalable_unit u{first};
    REQUIRE(u.translate(read));
    CHECK(path_of(u) == std::vector<std::uint64_t>{0x6100'0027, 0x6200'0027, 0x6300'0027, 0x7654'3027});
    REQUIRE(u.translate(write));
    CHECK(u.memory.updates == std::vector<update>{{u.f1, 0x7654'3027, 0x7654'3067}});
    // And if D was there without A.
    u.memory[u.f1] = 0x7654'3047;
    REQUIRE(u.translate(read));
    CHECK(u.memory[u.f1] == 0x7654'3067);
    // An atomic is a write.
    u.memory[u.f1] = 0x7654'3027;
    REQUIRE(u.translate(read_write));
    CHECK(u.memory[u.f1] == 0x7654'3067);
}

TEST_CASE("first stage: EA goes with A where EAFE says so, in the same exchange") {
    scalable_unit u{first};
    u.extended_accessed();
    REQUIRE(u.translate(write));
    CHECK(u.memory.updates == std::vector<update>{{u.f4, 0x6100'0007, 0x6100'0427},
                                                  {u.f3, 0x6200'0007, 0x6200'0427},
                                                  {u.f2, 0x6300'0007, 0x6300'0427},
                                                  {u.f1, 0x7654'3007, 0x7654'3467}});
    REQUIRE(u.translate(write));
    CHECK(u.memory.attempts == 0);
    // A alone is not enough.
    u.memory[u.f2] = 0x6300'0027;
    REQUIRE(u.translate(read));
    CHECK(u.memory.updates == std::vector<update>{{u.f2, 0x6300'0027, 0x6300'0427}});
    u.memory[u.f2] = 0x6300'0027;
    u.snoop(false);
    CHECK(code_of(u.translate(read)) == reason::first_stage_update_unsnooped);
}

TEST_CASE("first stage: large pages get A and D in their own entry") {
    scalable_unit u{first};
    u.memory[u.f2] = 0x1'4020'1087;
    REQUIRE(u.translate(write));
    CHECK(u.memory[u.f2] == 0x1'4020'10e7);
    CHECK(u.memory[u.f1] == 0x7654'3007);
    u.memory[u.f3] = 0x1'8000'0087;
    REQUIRE(u.translate(read));
    CHECK(u.memory[u.f3] == 0x1'8000'00a7);
    // A D bit in an entry that leads to a table is ignored.
    scalable_unit table{first};
    table.memory[table.f2] = 0x6300'0007;
    REQUIRE(table.translate(write));
    CHECK(table.memory[table.f2] == 0x6300'0027);
}

TEST_CASE("first stage: a walk that faults leaves A in what it used, and never D") {
    struct {
        void (*spoil)(scalable_unit&);
        access a;
        reason code;
        unsigned used; // entries that have A afterwards
    } const cases[] = {
        {[](scalable_unit& u) { u.memory[u.f2] = 0; }, write, reason::first_stage_not_present, 2},
        {[](scalable_unit& u) { u.memory[u.f1] = 0; }, write, reason::first_stage_not_present, 3},
        {[](scalable_unit& u) { u.memory[u.f1] |= one_bit(46); }, write, reason::first_stage_reserved, 3},
        {[](scalable_unit& u) { u.memory[u.f1] &= ~std::uint64_t{4}; }, write, reason::user_denied, 3},
        {[](scalable_unit& u) { u.memory[u.f1] &= ~std::uint64_t{2}; }, write, reason::scalable_write_denied, 3},
        {[](scalable_unit& u) { u.memory[u.f3] &= ~std::uint64_t{2}; }, write, reason::scalable_write_denied, 3},
        {[](scalable_unit& u) { u.memory.poison(u.f2); }, write, reason::first_stage_unreadable, 2},
        {[](scalable_unit& u) { u.memory[u.f1] = 0xfee0'0007; }, write, reason::scalable_output_in_interrupt_range, 3},
    };
    for (auto const& c : cases) {
        scalable_unit u{first};
        c.spoil(u);
        CHECK(code_of(u.translate(c.a)) == c.code);
        CHECK(u.memory.updates.size() == c.used);
        unsigned n = 0;
        for (auto const at : {u.f4, u.f3, u.f2, u.f1}) {
            CHECK((u.memory[at] & 0x40) == 0);
            CHECK(((u.memory[at] & 0x20) != 0) == (n < c.used));
            ++n;
        }
    }
    // Nothing at all where the address is refused.
    scalable_unit u{first};
    CHECK(code_of(u.translate(u.ask_at(one_bit(47), write))) == reason::not_canonical);
    CHECK(u.memory.attempts == 0);
}

TEST_CASE("first stage: a translation request sets D where it is granted writing (QEMU set it without)") {
    struct {
        bool listens;  // NWFS
        bool no_write; // NW
        bool writable;
        bool dirty;
    } const cases[] = {
        {true, false, true, true},  {true, true, true, false},   {false, true, true, true},
        {false, false, true, true}, {true, false, false, false}, {false, true, false, false},
    };
    for (auto const& c : cases) {
        scalable_unit u{first};
        u.ecap.set<"NWFS">(c.listens);
        if (!c.writable) u.memory[u.f3] &= ~std::uint64_t{2};
        auto r = u.typed(request_type::translation);
        r.no_write = c.no_write;
        CAPTURE(c.listens, c.no_write, c.writable);
        auto const found = u.translate(r);
        REQUIRE(found);
        if (!(c.listens && c.no_write)) CHECK(found->effective.rights() == (c.writable ? read_write : read));
        CHECK(u.memory[u.f1] == (c.dirty ? 0x7654'3067 : 0x7654'3027));
        CHECK((u.memory[u.f4] & 0x20) != 0);
    }
    // A privileged one writes where R/W does not bind it.
    scalable_unit u{first};
    u.memory[u.f1] = 0x7654'3005;
    REQUIRE(u.translate(u.typed(request_type::translation, read | privileged)));
    CHECK(u.memory[u.f1] == 0x7654'3065);
    u.memory[u.f1] = 0x7654'3005;
    u.write_protect();
    REQUIRE(u.translate(u.typed(request_type::translation, read | privileged)));
    CHECK(u.memory[u.f1] == 0x7654'3025);
}

TEST_CASE("first stage: without snooping an update that is due is refused, and one that is not due is no matter") {
    for (unsigned missing = 1; missing <= 4; ++missing) {
        scalable_unit u{first};
        u.snoop(false);
        use_up(u);
        CHECK(u.translate(write));
        u.memory[u.first_entry(missing)] &= ~std::uint64_t{0x20};
        CAPTURE(missing);
        std::uint64_t const e = u.memory[u.first_entry(missing)];
        check_place(u.translate(read), reason::first_stage_update_unsnooped, first_table(missing - 1, u.first_entry(missing), e),
                    u.at());
        CHECK(u.memory.attempts == 0);
    }
    scalable_unit u{first};
    u.snoop(false);
    use_up(u);
    u.memory[u.f1] &= ~std::uint64_t{0x40};
    CHECK(u.translate(read));
    CHECK(code_of(u.translate(write)) == reason::first_stage_update_unsnooped);
    CHECK(code_of(u.translate(request_type::translation)) == reason::first_stage_update_unsnooped);
    auto r = u.typed(request_type::translation);
    r.no_write = true;
    CHECK(u.translate(r));
    u.memory[u.f1] &= ~std::uint64_t{2};
    CHECK(u.translate(request_type::translation)); // no write is granted, so none is due
    // SMPWCS = 0 means the same.
    scalable_unit w{first};
    w.ecap.set<"SMPWCS">(0);
    w.snoop(false);
    CHECK(code_of(w.translate()) == reason::first_stage_update_unsnooped);
    use_up(w);
    CHECK(w.translate(write));
}

// --- races -------------------------------------------------------------------------------------------------------------

TEST_CASE("first stage: an entry that changes before its update is judged again, with the whole walk") {
    struct {
        char const* what;
        std::uint64_t changed_when; // before the exchange at this address, once
        void (*change)(scalable_unit&);
        reason code;
        std::uint64_t output;
    } const cases[] = {
        {"the page moves", scalable_unit::f1, [](scalable_unit& u) { u.memory[u.f1] = 0x1234'5007; }, reason::none, 0x1234'5678},
        {"the page goes", scalable_unit::f1, [](scalable_unit& u) { u.memory[u.f1] = 0; }, reason::first_stage_not_present, 0},
        {"the right goes", scalable_unit::f1, [](scalable_unit& u) { u.memory[u.f1] = 0x7654'3005; },
         reason::scalable_write_denied, 0},
        {"U/S goes", scalable_unit::f1, [](scalable_unit& u) { u.memory[u.f1] = 0x7654'3003; }, reason::user_denied, 0},
        {"a reserved bit comes", scalable_unit::f1, [](scalable_unit& u) { u.memory[u.f1] |= one_bit(50); },
         reason::first_stage_reserved, 0},
        {"A comes", scalable_unit::f1, [](scalable_unit& u) { u.memory[u.f1] |= 0x20; }, reason::none, 0x7654'3678},
        {"A and D come", scalable_unit::f1, [](scalable_unit& u) { u.memory[u.f1] |= 0x60; }, reason::none, 0x7654'3678},
        {"a table becomes a page", scalable_unit::f2, [](scalable_unit& u) { u.memory[u.f2] = 0x1'4020'0087; }, reason::none,
         0x1'4034'5678},
        {"the table above moves", scalable_unit::f2,
         [](scalable_unit& u) {
             u.memory[u.f2] = 0;
             u.memory[0x6600'0488] = 0x6300'0007;
             u.memory[u.f3] = 0x6600'0007;
         },
         reason::none, 0x7654'3678},
        {"the top entry goes", scalable_unit::f4, [](scalable_unit& u) { u.memory[u.f4] = 0; }, reason::first_stage_not_present,
         0},
        {"it goes to the interrupt range", scalable_unit::f1, [](scalable_unit& u) { u.memory[u.f1] = 0xfee0'1007; },
         reason::scalable_output_in_interrupt_range, 0},
    };
    for (auto const& c : cases) {
        scalable_unit u{first};
        bool done = false;
        u.memory.meddle = [&](std::uint64_t at) {
            if (at != c.changed_when || done) return;
            done = true;
            c.change(u);
        };
        CAPTURE(c.what);
        auto const answer = u.translate(write);
        CHECK(done);
        CHECK(code_of(answer) == c.code);
        if (answer) CHECK(answer->output == ipa{c.output});
        // Nothing that was not judged has been overwritten.
        for (auto const& made : u.memory.updates)
            CHECK((made.from ^ made.to) == ((made.from ^ made.to) & 0x60));
        if (c.code == reason::none && answer->lg2_size == 12) CHECK((u.memory[u.f1] & 0x60) == 0x60);
    }
}

TEST_CASE("first stage: a walk that starts again has forgotten what it met before") {
    for (bool const refused : {false, true}) {
        scalable_unit u{first};
        u.memory[u.f3] &= ~std::uint64_t{2};
        if (refused) u.memory[u.f1] &= ~std::uint64_t{2};
        bool done = false;
        u.memory.meddle = [&](std::uint64_t at) {
            if (at != u.f2 || done) return;
            done = true;
            u.memory[u.f3] |= 2; // R/W comes
            u.memory[u.f2] |= one_bit(58);
        };
        auto const answer = u.translate(write);
        CHECK(done);
        if (refused) {
            check_place(answer, reason::scalable_write_denied, first_rights(0, u.f1, 0x7654'3005), u.at());
        } else {
            CHECK(answer);
        }
    }
}

TEST_CASE("first stage: nobody's change is lost") {
    // Software clears D while the unit sets it: what the unit wrote was never based on a stale value.
    scalable_unit u{first};
    use_up(u);
    u.memory[u.f1] = 0x7654'3027;
    unsigned times = 0;
    u.memory.meddle = [&](std::uint64_t at) {
        if (at == u.f1 && times++ == 0) u.memory[u.f1] |= one_bit(58); // a software bit
    };
    REQUIRE(u.translate(write));
    CHECK(times == 2);
    CHECK(u.memory[u.f1] == (0x7654'3067 | one_bit(58)));
}

TEST_CASE("first stage: an entry that never keeps still ends the walk with 91h") {
    for (unsigned const level : {1u, 2u, 3u, 4u}) {
        scalable_unit u{first};
        std::uint64_t const at = u.first_entry(level);
        u.memory.meddle = [&](std::uint64_t a) {
            if (a == at) u.memory[at] ^= one_bit(58);
        };
        CAPTURE(level);
        auto const answer = u.translate(write);
        REQUIRE_FALSE(answer);
        CHECK(answer.error().code == reason::first_stage_update_failed);
        CHECK(answer.error().descriptor == at);
        CHECK(answer.error().level == level - 1);
        CHECK(answer.error().reported);
        CHECK(u.memory[at] == ((level == 1   ? 0x7654'3007
                                : level == 2 ? 0x6300'0007
                                : level == 3 ? 0x6200'0007
                                             : 0x6100'0007) |
                               (u.memory[at] & one_bit(58))));
        // It has been tried more than once, and not for ever.
        std::size_t const tried = u.memory.attempts - u.memory.updates.size();
        CHECK(tried >= max_restarts);
        CHECK(tried <= max_restarts + 1);
    }
    // One that does so for a while is served.
    scalable_unit u{first};
    unsigned left = max_restarts - 1;
    u.memory.meddle = [&](std::uint64_t a) {
        if (a == u.f1 && left != 0) {
            --left;
            u.memory[u.f1] ^= one_bit(58);
        }
    };
    CHECK(u.translate(write));
    CHECK(left == 0);
}

// --- the same answer by every way ----------------------------------------------------------------------------------------

TEST_CASE("first stage: memory that is only looked at gives the same answers and is not changed") {
    void (*const spoils[])(scalable_unit&) = {
        [](scalable_unit&) {},
        [](scalable_unit& u) { use_up(u); },
        [](scalable_unit& u) { u.snoop(false); },
        [](scalable_unit& u) { u.extended_accessed(); },
        [](scalable_unit& u) { u.memory[u.f1] = 0; },
        [](scalable_unit& u) { u.memory[u.f1] = 0x7654'3001; },
        [](scalable_unit& u) { u.memory[u.f2] = 0x1'4020'1087; },
        [](scalable_unit& u) { u.memory[u.f2] |= one_bit(51); },
        [](scalable_unit& u) { u.memory[u.f1] = 0xfee0'0007; },
        [](scalable_unit& u) { u.memory.remove(u.f2); },
        [](scalable_unit& u) { deepen(u); },
    };
    for (auto const& spoil : spoils) {
        for (access const a : {read, write, read_write, write | privileged, read | zero_length}) {
            for (auto const type : {request_type::untranslated, request_type::translation}) {
                scalable_unit u{first};
                spoil(u);
                auto const before = path_of(u);
                judged_only<scalable_unit::memory_type> looking{&u.memory};
                vtd::iommu const unit{u.caps(), vtd::root_table_address(u.root_register), looking, u.set};
                auto const r = u.typed(type, a);
                auto const looked = unit.translate(r);
                CHECK(path_of(u) == before);
                auto const acted = u.translate(r);
                CHECK(code_of(looked) == code_of(acted));
                if (looked && acted) CHECK(*looked == *acted);
                if (!looked && !acted) CHECK(looked.error() == acted.error());
            }
        }
    }
}

TEST_CASE("first stage: a traced walk gives the same answer and sets the same bits") {
    for (access const a : {read, write, read_write, write | privileged}) {
        for (unsigned seed = 0; seed < 64; ++seed) {
            scalable_unit plain{first};
            scalable_unit traced{first};
            for (scalable_unit* u : {&plain, &traced}) {
                for (unsigned level = 1; level <= 4; ++level) {
                    u->memory[u->first_entry(level)] ^= (seed >> (level - 1) & 1) << 5;
                    if ((seed & 0x10) != 0) u->memory[u->first_entry(seed & 3 ? 1 : 3)] ^= 2;
                    if ((seed & 0x20) != 0) u->memory[u->first_entry(seed & 2 ? 2 : 4)] ^= 4;
                }
            }
            counting_trace trace;
            auto const one = plain.translate(a);
            auto const other = traced.unit().translate(traced.ask(a), trace);
            CHECK(code_of(one) == code_of(other));
            if (one && other) CHECK(*one == *other);
            if (!one && !other) CHECK(one.error() == other.error());
            CHECK(path_of(plain) == path_of(traced));
            CHECK(trace.steps >= 5);
        }
    }
}

TEST_CASE("first stage: the attributes are those of the leaf") {
    scalable_unit u{first};
    struct {
        unsigned level;
        std::uint64_t entry;
        std::uint64_t bits;
    } const cases[] = {
        {1, 0x7654'3007, 0x03},   {1, 0x7654'300f, 0x0b},   {1, 0x7654'3017, 0x13},           {1, 0x7654'3087, 0x83},
        {1, 0x7654'3005, 0x01},   {2, 0x1'4020'0087, 0x03}, {2, 0x1'4020'1087, 0x83},         {2, 0x1'4020'109f, 0x9b},
        {3, 0x1'8000'1087, 0x83}, {3, 0x1'8000'0097, 0x13}, {1, 0xfff0'0000'7654'3107, 0x03},
    };
    for (auto const& c : cases) {
        scalable_unit v{first};
        v.memory[v.first_entry(c.level)] = c.entry;
        CAPTURE(c.level, c.entry);
        auto const found = v.translate();
        REQUIRE(found);
        CHECK(found->effective == attributes::from_bits(c.bits));
        CHECK(found->lg2_size == 12 + 9 * (c.level - 1));
        CHECK(found->by == passage::walked);
    }
    // PWT and PCD of entries that lead to tables say nothing.
    u.memory[u.f2] |= 0x18;
    CHECK(u.translate()->effective == attributes::from_bits(3));
}

TEST_CASE("first stage: what is encoded is decoded again") {
    scalable_unit u{first};
    vtd::first_stage<> const s{u.caps(), 4, pa{0x6000'0000}};
    CHECK(s.sizes() == (one_bit(12) | one_bit(21) | one_bit(30)));
    for (std::uint64_t const bits : {0x01u, 0x03u, 0x21u, 0x23u, 0x83u, 0x9bu, 0x0bu, 0x13u, 0xbbu}) {
        for (std::uint64_t const lg2 : {12u, 21u, 30u}) {
            auto const at = attributes::from_bits(bits);
            CAPTURE(bits, lg2);
            REQUIRE(s.can_encode(pa{0x40'0000'0000}, at));
            std::uint64_t const e = s.make_leaf(pa{0x40'0000'0000}, lg2, at);
            u.memory[u.first_entry(static_cast<unsigned>(s.leaf_level(lg2)) + 1)] = e;
            CHECK((e & s.reserved(s.leaf_level(lg2), true)) == 0);
            scalable_unit v{first};
            v.memory[v.first_entry(static_cast<unsigned>(s.leaf_level(lg2)) + 1)] = e;
            v.write_protect();
            auto const found = v.translate(read | privileged);
            REQUIRE(found);
            CHECK(found->effective == at);
            CHECK(found->lg2_size == lg2);
        }
    }
    CHECK_FALSE(s.can_encode(pa{one_bit(46)}, read_write));
    CHECK_FALSE(s.can_encode(pa{0x1000}, write)); // there is no write without read
    CHECK_FALSE(s.can_encode(pa{0x1000}, attributes::from_bits(0x43)));
    CHECK_FALSE(s.can_encode(pa{0x1001}, read_write));
    CHECK(s.make_table(pa{0x1000}, 1) == 0x1007);
    vtd::capabilities caps = u.caps();
    caps.cap.set<"FS1GP">(0);
    CHECK(vtd::first_stage<>(caps, 5, pa{0}).sizes() == (one_bit(12) | one_bit(21)));
    CHECK(vtd::first_stage<>(caps, 5, pa{0}).width() == 57);
}

} // namespace stagewalk::test
