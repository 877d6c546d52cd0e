// AMD-Vi guest tables: which addresses there are, what is reserved, who may do what, whom a fault names, and which bits are set,
// when, and how.
#include "catch.hpp"
#include "watched_memory.hpp"

#include <stagewalk/amdvi/guest_table.hpp>
#include <stagewalk/walk/leaves.hpp>
#include <stagewalk/walk/walk.hpp>

#include <cstdint>
#include <initializer_list>
#include <vector>

namespace stagewalk::test {
namespace {

using amdvi::event;
using guest = amdvi::guest_table<iova, pa>;
using tables = watched_memory<pa>;
using updates = std::vector<tables::update>;

constexpr std::uint64_t not_present = 0;
constexpr std::uint64_t denied = amdvi::fault_detail::present | amdvi::fault_detail::permission;
constexpr std::uint64_t reserved = amdvi::fault_detail::present | amdvi::fault_detail::reserved;

constexpr std::uint64_t no_execute = std::uint64_t{1} << 63;

// One path: the table of manual level n lies at n000000h, the page of the address of test at 123456000h.
struct setting {
    std::uint64_t levels{4};
    amdvi::guest_table_options options{read_write, false, false, false, false};
    amdvi::policy rules{};
    tables memory{};
    std::uint64_t in{0x7f12'3456'7abc};

    explicit setting(std::uint64_t depth = 4, std::uint64_t at = 0x7f12'3456'7abc) : levels{depth}, in{at} {
        for (std::uint64_t level = depth; level > 1; --level)
            entry(level) = (level - 1) << 24 | 7;
        entry(1) = 0x1'2345'6007;
    }
    [[nodiscard]] std::uint64_t place(std::uint64_t level) const { return (level << 24) + (in >> (3 + 9 * level) & 511) * 8; }
    std::uint64_t& entry(std::uint64_t level) { return memory[place(level)]; }
    [[nodiscard]] guest stage() const { return guest{levels, pa{levels << 24}, options, rules}; }
    // All marks are kept, as a unit does that has not been told otherwise.
    void keep_marks() { options.marks_accessed = options.marks_dirty = true; }

    auto operator()(access a = read) {
        memory.forget();
        return walk(stage(), memory, iova{in}, a);
    }
    auto at(std::uint64_t other, access a = read) {
        memory.forget();
        return walk(stage(), memory, iova{other}, a);
    }
};

// An IO_PAGE_FAULT with these flags that names the entry of manual level `level`.
template <class Outcome>
bool is_fault(Outcome const& found, std::uint64_t flags, std::uint64_t level) {
    return !found && found.error().code == event::io_page_fault && found.error().detail == flags &&
           found.error().level == level - 1 && found.error().stage == fault_stage::first;
}

std::vector<std::uint64_t> entries_of(setting& s) {
    std::vector<std::uint64_t> all;
    for (std::uint64_t level = 1; level <= s.levels; ++level)
        all.push_back(s.entry(level));
    return all;
}

} // namespace

TEST_CASE("amdvi guest tables: signed addresses are canonical, those of PASID 0 are unsigned") {
    struct {
        std::uint64_t at;
        bool canonical[2]; // of 4 and 5 levels
        bool plain[2];
    } const cases[] = {
        {0, {true, true}, {true, true}},
        {0x0000'7fff'ffff'ffff, {true, true}, {true, true}},
        {0x0000'8000'0000'0000, {false, true}, {true, true}},
        {0x0000'ffff'ffff'ffff, {false, true}, {true, true}},
        {0x0001'0000'0000'0000, {false, true}, {false, true}},
        {0x00ff'ffff'ffff'ffff, {false, true}, {false, true}},
        {0x0100'0000'0000'0000, {false, false}, {false, true}},
        {0x01ff'ffff'ffff'ffff, {false, false}, {false, true}},
        {0x0200'0000'0000'0000, {false, false}, {false, false}},
        {0x7fff'ffff'ffff'ffff, {false, false}, {false, false}},
        {0x8000'0000'0000'0000, {false, false}, {false, false}},
        {0xfeff'ffff'ffff'ffff, {false, false}, {false, false}},
        {0xff00'0000'0000'0000, {false, true}, {false, false}},
        {0xffff'7fff'ffff'ffff, {false, true}, {false, false}},
        {0xffff'8000'0000'0000, {true, true}, {false, false}},
        {every_bit, {true, true}, {false, false}},
    };
    for (auto const& c : cases)
        for (std::uint64_t const levels : {4u, 5u})
            for (bool const plain : {false, true}) {
                setting s{levels, c.at};
                s.options.plain_addresses = plain;
                bool const admitted = (plain ? c.plain : c.canonical)[levels - 4];
                CAPTURE(c.at, levels, plain);
                CHECK(s.stage().admits(iova{c.at}) == admitted);
                bool listed = false;
                for (auto const& part : s.stage().admitted())
                    listed = listed || (!part.empty() && part.contains(iova{c.at}));
                CHECK(listed == admitted);
                for (access const a : {read, write, none, read_write | inquiring}) {
                    auto const found = s(a);
                    if (admitted) {
                        REQUIRE(found);
                        CHECK(found->output.value == (0x1'2345'6000 | (c.at & 0xfff)));
                        CHECK(s.memory.trail.size() == levels);
                    } else {
                        REQUIRE_FALSE(found);
                        CHECK(found.error().code == event::io_page_fault);
                        CHECK(found.error().detail == not_present);
                        CHECK(found.error().at == fault_at::input);
                        CHECK(found.error().level == no_level);
                        CHECK(s.memory.trail.empty()); // before any read
                    }
                }
            }
    CHECK(guest{4, pa{0}}.width() == 48);
    CHECK(guest{5, pa{0}}.width() == 57);
    CHECK(guest{3, pa{0}} == guest{4, pa{0}});
    CHECK(guest{4, pa{every_bit}}.root() == pa{0x000f'ffff'ffff'f000});
}

TEST_CASE("amdvi guest tables: the highest addresses have the highest index") {
    for (std::uint64_t const levels : {4u, 5u}) {
        setting s{levels, every_bit};
        REQUIRE(s());
        CHECK(s.memory.trail[0] == (levels << 24) + 511 * 8);
        setting u{levels, low_mask(levels == 4 ? 48 : 57)};
        u.options.plain_addresses = true;
        REQUIRE(u());
        CHECK(u.memory.trail[0] == (levels << 24) + 511 * 8);
        // What is at once in the upper half of both is the same page.
        CHECK(u()->output == s()->output);
    }
}

TEST_CASE("amdvi guest tables: every bit of every entry, as the manual's masks say") {
    struct {
        std::uint64_t level;
        std::uint64_t entry;
        std::uint64_t bad;
    } const forms[] = {
        {5, 0x400'0007, 0x80}, {4, 0x300'0007, 0x80},           {3, 0x200'0007, 0},    {3, 0x1'8000'0087, 0x3fff'e000},
        {2, 0x100'0007, 0},    {2, 0x1'4020'0087, 0x001f'e000}, {1, 0x1'2345'6007, 0},
    };
    for (bool const nx : {false, true}) {
        for (auto const& form : forms) {
            setting s{5, 0x34'5678'9abc'def0};
            s.options.no_execute = nx;
            s.entry(form.level) = form.entry;
            auto const clean = s();
            REQUIRE(clean);
            bool const leaf = form.level == 1 || (form.entry & 0x80) != 0;
            for (unsigned n = 0; n < 64; ++n) {
                setting t = s;
                t.entry(form.level) = form.entry ^ one_bit(n);
                auto const found = t();
                CAPTURE(nx, form.level, form.entry, n);
                if ((form.bad >> n & 1) != 0 || (n == 63 && !nx)) {
                    CHECK(is_fault(found, reserved, form.level));
                    CHECK(found.error().at == fault_at::table);
                    CHECK(found.error().descriptor == t.place(form.level));
                    CHECK(found.error().entry == t.entry(form.level));
                    for (access const a : {none, write, execute, read | privileged, read_write | inquiring})
                        CHECK(is_fault(t(a), reserved, form.level));
                } else if (n == 0) {
                    CHECK(is_fault(found, not_present, form.level));
                } else if (n == 2) {
                    CHECK(is_fault(found, denied, form.level));
                    CHECK(found.error().at == fault_at::input);
                } else if (n == 1) {
                    CHECK(found->effective.rights() == (read | execute));
                } else if (n == 63) {
                    CHECK(found->effective.rights() == read_write);
                    CHECK(is_fault(t(read | execute), denied, form.level));
                } else if (n == 7 && (form.level == 2 || form.level == 3)) {
                    CHECK((!found || found->output != clean->output)); // PS: another kind of entry
                } else if (leaf && (n == 3 || n == 4)) {
                    CHECK(found->effective.bits == (clean->effective.bits ^ one_bit(n)));
                } else if (leaf && n == (form.level == 1 ? 7u : 12u)) {
                    CHECK(found->effective.bits == (clean->effective.bits ^ 0x80)); // PAT
                    CHECK(found->output == clean->output);
                } else if (n >= 12 && n < 52) {
                    if (leaf)
                        CHECK(found->output.value == (clean->output.value ^ one_bit(n)));
                    else
                        CHECK_FALSE(found == clean);
                } else {
                    CHECK(found == clean); // ignored
                }
            }
        }
    }
}

TEST_CASE("amdvi guest tables: an absent entry may hold anything else") {
    for (std::uint64_t level = 1; level <= 5; ++level)
        for (std::uint64_t const e : {std::uint64_t{0}, every_bit & ~std::uint64_t{1}}) {
            setting s{5};
            s.entry(level) = e;
            for (access const a : {read, write, execute, none, read | privileged, read_write | inquiring}) {
                CHECK(is_fault(s(a), not_present, level));
                CHECK(s().error().at == fault_at::input);
            }
        }
}

TEST_CASE("amdvi guest tables: PS makes a page at levels 2 and 3 and is reserved above") {
    for (std::uint64_t level = 1; level <= 5; ++level) {
        setting s{5, 0xff'7f12'3456'7abc};
        s.entry(level) = 0x3'c000'0087;
        auto const found = s(write);
        CAPTURE(level);
        if (level > 3) {
            CHECK(is_fault(found, reserved, level));
        } else {
            REQUIRE(found);
            std::uint64_t const lg2 = 3 + 9 * level;
            CHECK(found->lg2_size == lg2);
            CHECK(found->output.value == (0x3'c000'0000 | (s.in & low_mask(lg2))));
            CHECK(s.memory.trail.size() == 6 - level);
            CHECK(((found->effective.bits & 0x80) != 0) == (level == 1)); // there it is PAT
        }
    }
    for (std::uint64_t level = 0; level < 5; ++level) {
        CHECK(guest::is_leaf(level, 0x81) == (level < 3));
        CHECK(guest::is_leaf(level, 0x01) == (level == 0));
    }
    // PS at level 4 of four levels too: there are no pages of 512 GiB.
    setting s;
    s.entry(4) = 0x87;
    CHECK(is_fault(s(), reserved, 4));
}

TEST_CASE("amdvi guest tables: the lowest and the highest address bits of each page size") {
    struct {
        std::uint64_t level;
        std::uint64_t bits;
    } const cases[] = {{1, 0x000f'ffff'ffff'f000}, {2, 0x000f'ffff'ffe0'0000}, {3, 0x000f'ffff'c000'0000}};
    for (auto const& c : cases) {
        setting s;
        s.entry(c.level) = c.bits | 7 | (c.level > 1 ? 0x80 : 0);
        CHECK(s()->output.value == (c.bits | (s.in & low_mask(3 + 9 * c.level))));
        // And software's bits beside them.
        s.entry(c.level) |= 0x7ff0'0000'0000'0f00;
        CHECK(s()->output.value == (c.bits | (s.in & low_mask(3 + 9 * c.level))));
        CHECK(s()->effective.bits == 7);
    }
}

TEST_CASE("amdvi guest tables: U/S, R/W and NX of every level, for users and supervisors") {
    for (bool const always : {true, false}) {
        for (bool const nx : {false, true}) {
            for (std::uint64_t level = 1; level <= 4; ++level) {
                for (std::uint64_t lacks = 0; lacks < 8; ++lacks) { // bit 0 U/S, bit 1 R/W, bit 2: NX is set
                    if (!nx && (lacks & 4) != 0) continue;
                    setting s;
                    s.options.no_execute = nx;
                    s.rules.protect = always ? amdvi::write_protect::always : amdvi::write_protect::users_only;
                    std::uint64_t& e = s.entry(level);
                    if ((lacks & 1) != 0) e &= ~std::uint64_t{4};
                    if ((lacks & 2) != 0) e &= ~std::uint64_t{2};
                    if ((lacks & 4) != 0) e |= no_execute;
                    for (std::uint64_t kind = 1; kind < 8; ++kind) {
                        for (bool const super : {false, true}) {
                            access const a = access{kind} | (super ? privileged : none);
                            bool const no_user = !super && (lacks & 1) != 0;
                            bool const no_write = (kind & 2) != 0 && (lacks & 2) != 0 && (!super || always);
                            bool const no_fetch = (kind & 4) != 0 && (lacks & 4) != 0;
                            std::uint64_t rights = no_user ? 0 : 7;
                            if ((lacks & 2) != 0 && (!super || always)) rights &= ~std::uint64_t{2};
                            if ((lacks & 4) != 0) rights &= ~std::uint64_t{4};
                            CAPTURE(always, nx, level, lacks, kind, super);
                            auto const found = s(a);
                            if (no_user || no_write || no_fetch) {
                                CHECK(is_fault(found, denied, level));
                                CHECK(found.error().at == fault_at::input);
                                CHECK(found.error().descriptor == s.place(level));
                                CHECK(s.memory.trail.size() == 4); // rights count after the leaf
                            } else {
                                REQUIRE(found);
                                CHECK(found->effective.bits == (rights | ((lacks & 1) != 0 ? 0x20 : 0)));
                            }
                            auto const asked = s(a | inquiring);
                            REQUIRE(asked);
                            CHECK(asked->effective.bits == (rights | ((lacks & 1) != 0 ? 0x20 : 0)));
                        }
                    }
                }
            }
        }
    }
}

TEST_CASE("amdvi guest tables: a right that one level withholds and one that another does") {
    setting s;
    s.options.no_execute = true;
    s.entry(4) |= no_execute;
    s.entry(3) &= ~std::uint64_t{2};
    s.entry(2) &= ~std::uint64_t{4};
    CHECK(is_fault(s(read), denied, 2));
    CHECK(is_fault(s(write), denied, 3));
    CHECK(is_fault(s(execute), denied, 4));
    CHECK(is_fault(s(read_write), denied, 3));
    CHECK(is_fault(s(write | privileged), denied, 3));
    CHECK(is_fault(s(read | execute | privileged), denied, 4));
    CHECK(s(read | privileged)->effective.bits == (1 | 0x20));
    s.rules.protect = amdvi::write_protect::users_only;
    CHECK(s(write | privileged)->effective.bits == (3 | 0x20));
    CHECK(is_fault(s(write), denied, 3));
}

TEST_CASE("amdvi guest tables: absent or reserved further down comes before a right that lacks") {
    for (std::uint64_t level = 1; level <= 3; ++level) {
        setting s;
        s.entry(4) &= ~std::uint64_t{6};
        s.entry(level) |= no_execute; // reserved without NXSup
        CHECK(is_fault(s(write), reserved, level));
        s.entry(level) = 0;
        CHECK(is_fault(s(write), not_present, level));
        s.memory.poison(s.place(level));
        CHECK(s(write).error().code == event::page_tab_hardware_error);
    }
    // Of one entry that is reserved and absent, absent.
    setting s;
    s.entry(2) = no_execute;
    CHECK(is_fault(s(), not_present, 2));
}

TEST_CASE("amdvi guest tables: the device's own rights bind too, and then the leaf is named") {
    for (std::uint64_t device = 0; device < 4; ++device) {
        for (std::uint64_t kind = 1; kind < 8; ++kind) {
            for (access const who : {none, privileged, zero_length}) {
                setting s;
                s.options.granted = access{device};
                access const a = access{kind} | who;
                std::uint64_t const need = (kind & 3) | ((kind & 4) != 0 ? 1 : 0);
                CAPTURE(device, a.bits);
                auto const found = s(a);
                if ((need & ~device) != 0) {
                    CHECK(is_fault(found, denied, 1));
                    CHECK(found.error().descriptor == s.place(1));
                    // An entry that withholds is to blame before the device.
                    s.entry(3) &= ~std::uint64_t{4};
                    CHECK(is_fault(s(a), denied, who == privileged ? 1 : 3));
                } else {
                    REQUIRE(found);
                    CHECK(found->effective.bits == (device | ((device & 1) != 0 ? 4 : 0)));
                }
            }
        }
        // Who only asks is told; fetching is reading.
        setting s;
        s.options.granted = access{device};
        for (access const a : {read | inquiring, read_write | inquiring, read | execute | inquiring})
            CHECK(s(a)->effective.bits == (device | ((device & 1) != 0 ? 4 : 0)));
    }
}

TEST_CASE("amdvi guest tables: an entry that cannot be read is a hardware error at its address") {
    for (std::uint64_t level = 1; level <= 5; ++level) {
        setting s{5};
        s.memory.poison(s.place(level));
        for (access const a : {read, write, none, read | inquiring, execute | privileged}) {
            auto const found = s(a);
            REQUIRE_FALSE(found);
            CHECK(found.error().code == event::page_tab_hardware_error);
            CHECK(found.error().at == fault_at::table);
            CHECK(found.error().level == level - 1);
            CHECK(found.error().descriptor == s.place(level));
            CHECK(found.error().detail == 0);
        }
    }
}

TEST_CASE("amdvi guest tables: accessed and dirty bits, each of which may be off") {
    for (std::uint64_t marks = 0; marks < 4; ++marks) { // bit 0 accessed, bit 1 dirty
        for (std::uint64_t const leaf : {1u, 2u, 3u}) {
            for (access const a : {none, read, write, read_write, execute, read | zero_length, write | privileged, inquiring,
                                   read | inquiring, read_write | inquiring}) {
                setting s;
                if (leaf > 1) s.entry(leaf) = 0x1'4000'0087;
                s.options.marks_accessed = (marks & 1) != 0;
                s.options.marks_dirty = (marks & 2) != 0;
                auto expected = entries_of(s);
                bool const accessed = (marks & 1) != 0 && a != none;
                bool const dirty = (marks & 2) != 0 && a.covers(write);
                for (std::size_t n = leaf - 1; n < 4; ++n)
                    if (accessed) expected[n] |= 0x20;
                if (dirty) expected[leaf - 1] |= 0x40;
                CAPTURE(marks, leaf, a.bits);
                REQUIRE(s(a));
                CHECK(entries_of(s) == expected);
                CHECK(s.memory.updates.size() == (accessed ? 5 - leaf : dirty ? 1 : 0));
                CHECK(s.memory.trail.size() == 5 - leaf);
                if (!s.memory.updates.empty()) CHECK(s.memory.updates.back().at == s.place(leaf));
                // Again: nothing is left to do.
                REQUIRE(s(a));
                CHECK(s.memory.attempts == 0);
            }
        }
    }
}

TEST_CASE("amdvi guest tables: D is for a write that is granted") {
    for (bool const super : {false, true}) {
        access const who = super ? privileged : none;
        setting s;
        s.keep_marks();
        s.entry(3) &= ~std::uint64_t{2};
        CHECK(is_fault(s(write | who), denied, 3));
        // Rights are judged after the leaf: the entries above it have been used, the leaf has not.
        CHECK((s.entry(4) & 0x60) == 0x20);
        CHECK((s.entry(3) & 0x60) == 0x20);
        CHECK((s.entry(2) & 0x60) == 0x20);
        CHECK((s.entry(1) & 0x60) == 0);
        REQUIRE(s(read_write | inquiring | who));
        CHECK((s.entry(1) & 0x60) == 0x20);
        // A supervisor writes where the policy lets it.
        s.rules.protect = amdvi::write_protect::users_only;
        REQUIRE(s(read_write | inquiring | who));
        CHECK((s.entry(1) & 0x60) == (super ? 0x60 : 0x20));
        // Not for a device that must not write.
        setting t;
        t.keep_marks();
        t.options.granted = read;
        CHECK(is_fault(t(write | who), denied, 1));
        CHECK((t.entry(1) & 0x60) == 0);
        REQUIRE(t(read_write | inquiring | who));
        CHECK((t.entry(1) & 0x60) == 0x20);
    }
    // Nor for a user who is not let in.
    setting s;
    s.keep_marks();
    s.entry(2) &= ~std::uint64_t{4};
    REQUIRE(s(read_write | inquiring));
    CHECK((s.entry(1) & 0x40) == 0);
    // Bit 6 of an entry that leads to a table is nobody's.
    setting t;
    t.keep_marks();
    t.entry(2) |= 0x40;
    REQUIRE(t(write));
    CHECK((t.entry(2) & 0x60) == 0x60);
    CHECK((t.entry(3) & 0x60) == 0x20);
}

TEST_CASE("amdvi guest tables: who only asks is told what there is") {
    struct {
        bool keeps;
        bool is_dirty;
        access asks;
        std::uint64_t rights;
        bool dirties;
    } const cases[] = {
        {true, false, read, 5, false},           {true, true, read, 7, false},       {false, false, read, 7, false},
        {true, false, read_write, 7, true},      {true, true, read_write, 7, false}, {false, false, read_write, 7, false},
        {true, false, read | execute, 5, false},
    };
    for (auto const& c : cases)
        for (access const who : {none, privileged}) {
            setting s;
            s.options.marks_accessed = true;
            s.options.marks_dirty = c.keeps;
            if (c.is_dirty) s.entry(1) |= 0x40;
            auto const found = s(c.asks | inquiring | who);
            CAPTURE(c.keeps, c.is_dirty, c.asks.bits);
            REQUIRE(found);
            CHECK(found->effective.bits == c.rights);
            CHECK(((s.entry(1) & 0x40) != 0) == (c.is_dirty || c.dirties));
            CHECK((s.entry(1) & 0x20) != 0);
        }
    // A user without U gets nothing at all, a supervisor does.
    setting s;
    s.entry(3) &= ~std::uint64_t{4};
    CHECK(s(read_write | inquiring)->effective.bits == 0x20);
    CHECK(s(read_write | inquiring | privileged)->effective.bits == (7 | 0x20));
    // Absent is a fault for it too.
    s.entry(2) = 0;
    CHECK(is_fault(s(read | inquiring), not_present, 2));
}

TEST_CASE("amdvi guest tables: an entry that changes before its update is judged again, from the root") {
    for (std::uint64_t level = 1; level <= 4; ++level) {
        for (int rival = 0; rival < 4; ++rival) {
            setting s;
            s.keep_marks();
            bool done = false;
            s.memory.meddle = [&](std::uint64_t at) {
                if (done || at != s.place(level)) return;
                done = true;
                std::uint64_t& e = s.entry(level);
                if (rival == 0) e = level == 1 ? 0x5555'5007 : e | one_bit(9);
                if (rival == 1) e &= ~std::uint64_t{2};
                if (rival == 2) e = 0;
                if (rival == 3) e |= 0x60;
            };
            auto const found = s(write);
            CAPTURE(level, rival);
            REQUIRE(done);
            if (rival == 1) {
                CHECK(is_fault(found, denied, level));
            } else if (rival == 2) {
                CHECK(is_fault(found, not_present, level));
            } else {
                REQUIRE(found);
                CHECK(found->output == pa{level == 1 && rival == 0 ? 0x5555'5abcu : 0x1'2345'6abcu});
                CHECK((s.entry(1) & 0x60) == 0x60);
            }
            CHECK(s.memory.trail.size() == 5 - level + (rival == 2 ? 5 - level : 4));
        }
    }
}

TEST_CASE("amdvi guest tables: what a rival withheld for a moment is not held against the walk") {
    // The first try finds no U in the top entry, which is back when the update is due: the restart must forget it.
    setting s;
    s.keep_marks();
    s.entry(4) &= ~std::uint64_t{4};
    s.memory.meddle = [&](std::uint64_t at) {
        if (at == s.place(4)) s.entry(4) |= 4;
    };
    CHECK(s(write));
    CHECK(s(write)->effective.bits == 7);
}

TEST_CASE("amdvi guest tables: an update that never succeeds or is refused is a hardware error at the entry") {
    for (std::uint64_t level = 1; level <= 4; ++level) {
        setting s;
        s.keep_marks();
        s.memory.meddle = [&](std::uint64_t at) {
            if (at == s.place(level)) s.entry(level) ^= one_bit(9);
        };
        auto const restless = s(write);
        REQUIRE_FALSE(restless);
        CHECK(restless.error().code == event::page_tab_hardware_error);
        CHECK(restless.error().descriptor == s.place(level));
        CHECK(restless.error().detail == 0);
        CHECK(s.memory.trail.size() == (5 - level) * (max_restarts + 1));
        setting t;
        t.keep_marks();
        t.memory.freeze(t.place(level));
        auto const refused = t(write);
        REQUIRE_FALSE(refused);
        CHECK(refused.error().code == event::page_tab_hardware_error);
        CHECK(refused.error().at == fault_at::table);
        CHECK(refused.error().descriptor == t.place(level));
        t.entry(level) |= 0x60;
        CHECK(t(write)); // nothing is due
    }
}

TEST_CASE("amdvi guest tables: a host that grants no writing takes the dirty bit out of an update and nothing else") {
    std::uint64_t const leaf = 0x1'2345'6007;
    CHECK(guest::not_dirtied(leaf, leaf | 0x60) == (leaf | 0x20));
    CHECK(guest::not_dirtied(leaf | 0x40, leaf | 0x60) == (leaf | 0x60));
    CHECK(guest::not_dirtied(leaf | 0x60, leaf | 0x60) == (leaf | 0x60));
    CHECK(guest::not_dirtied(leaf, leaf) == leaf);
}

TEST_CASE("amdvi example E26: indices of a 48-bit address") {
    setting s{4, 0x7f12'3456'7abc};
    REQUIRE(s());
    CHECK(s.memory.trail == std::vector<std::uint64_t>{0x400'07f0, 0x300'0240, 0x200'0d10, 0x100'0b38});
    CHECK(s()->output == pa{0x1'2345'6abc});
}

TEST_CASE("amdvi example E27: a 2 MiB page whose bit 12 is PAT") {
    setting s{4, 0x7f12'3456'7abc};
    s.entry(2) = 0x0000'0001'2340'00e7;
    CHECK(s()->output == pa{0x1'2356'7abc});
    CHECK(s()->lg2_size == 21);
    s.entry(2) = 0x0000'0001'2340'10e7;
    CHECK(s()->output == pa{0x1'2356'7abc});
    CHECK(s()->effective.bits == (7 | 0x80));
}

TEST_CASE("amdvi example E28: indices of a 57-bit address of PASID 0") {
    setting s{5, 0x0034'5678'9abc'def0};
    s.options.plain_addresses = true;
    REQUIRE(s());
    CHECK(s.memory.trail == std::vector<std::uint64_t>{0x500'0000 + 52 * 8, 0x400'0000 + 172 * 8, 0x300'0000 + 482 * 8,
                                                       0x200'0000 + 213 * 8, 0x100'0000 + 461 * 8});
    CHECK(s()->output == pa{0x1'2345'6ef0});
}

TEST_CASE("amdvi example E29: bit 63 without and with NXSup") {
    setting s{4, 0x7f12'3456'7abc};
    s.entry(1) = 0x8000'0001'2345'6067;
    CHECK(is_fault(s(), reserved, 1));
    s.options.no_execute = true;
    REQUIRE(s(write));
    CHECK(s(write)->output == pa{0x1'2345'6abc});
    CHECK(s(write)->effective.bits == 3);
    CHECK(is_fault(s(execute), denied, 1));
}

TEST_CASE("amdvi guest tables: what can be written down, and how") {
    guest const s{4, pa{0x1000}};
    guest const with_nx{4, pa{0x1000}, {read_write, true}};
    CHECK(s.make_leaf(pa{0x1'2345'6000}, 12, read_write) == 0x1'2345'6007);
    CHECK(s.make_leaf(pa{0x1'2345'6000}, 12, read) == 0x1'2345'6005);
    CHECK(with_nx.make_leaf(pa{0x1'2345'6000}, 12, read_write) == 0x8000'0001'2345'6007);
    CHECK(with_nx.make_leaf(pa{0x1'2345'6000}, 12, read | execute) == 0x1'2345'6005);
    CHECK(s.make_leaf(pa{0x4020'0000}, 21, attributes::from_bits(3 | 0x18)) == 0x4020'009f);
    CHECK(s.make_leaf(pa{0x4020'0000}, 21, attributes::from_bits(3 | 0x80)) == 0x4020'1087);
    CHECK(s.make_leaf(pa{0x1'2345'6000}, 12, attributes::from_bits(3 | 0x80)) == 0x1'2345'6087);
    CHECK(s.make_leaf(pa{0x4000'0000}, 30, attributes::from_bits(1 | 0x20)) == 0x4000'0081);
    CHECK(s.make_table(pa{0x1000}, 3) == 0x1007);
    CHECK(s.sizes() == (one_bit(12) | one_bit(21) | one_bit(30)));
    CHECK(s.can_encode(pa{0x000f'ffff'ffff'f000}, read));
    CHECK_FALSE(s.can_encode(pa{one_bit(52)}, read));
    CHECK_FALSE(s.can_encode(pa{0x1001}, read));
    CHECK_FALSE(s.can_encode(pa{0}, none));
    CHECK_FALSE(s.can_encode(pa{0}, write)); // there is no write without read
    CHECK_FALSE(s.can_encode(pa{0}, execute));
    for (unsigned n = 1; n < 64; ++n)
        CHECK(s.can_encode(pa{0x1000}, attributes::from_bits(1 | one_bit(n))) == (n < 6 || n == 7));
}

TEST_CASE("amdvi guest tables: leaves are listed in both halves, or in the one of PASID 0") {
    for (bool const plain : {false, true}) {
        setting s{4, 0};
        s.options.plain_addresses = plain;
        s.memory[0x400'0000 + 511 * 8] = 0x300'0007;
        std::vector<std::uint64_t> seen;
        auto const end = for_each_leaf(s.stage(), s.memory, range<iova>::all(),
                                       [&](leaf<guest> const& l) { seen.push_back(l.part.first().value); });
        CHECK(end.complete);
        CHECK(seen == std::vector<std::uint64_t>{0, plain ? 0xff80'0000'0000 : 0xffff'ff80'0000'0000});
    }
}

} // namespace stagewalk::test
