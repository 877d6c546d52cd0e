// AMD-Vi host tables: what they cover, what is reserved, where NextLevel may lead, what a size code means, who may do what in
// which order, and which bits are set, when, and how.
#include "catch.hpp"
#include "watched_memory.hpp"

#include <stagewalk/amdvi/host_table.hpp>
#include <stagewalk/walk/leaves.hpp>
#include <stagewalk/walk/walk.hpp>

#include <cstdint>
#include <memory>
#include <vector>

namespace stagewalk::test {
namespace {

using amdvi::event;
using host = amdvi::host_table<iova, pa>;
using tables = watched_memory<pa>;
using updates = std::vector<tables::update>;

// The three flags of an event that tables decide.
constexpr std::uint64_t not_present = 0;
constexpr std::uint64_t bad = amdvi::fault_detail::present;
constexpr std::uint64_t denied = bad | amdvi::fault_detail::permission;
constexpr std::uint64_t reserved = bad | amdvi::fault_detail::reserved;

constexpr std::uint64_t rw = std::uint64_t{3} << 61;

std::uint64_t table_at(std::uint64_t address, std::uint64_t next) { return rw | address | next << 9 | 1; }

// One path: the table of manual level n lies at n000000h, the page of the address of test at 9ABCD000h.
struct setting {
    std::uint64_t mode{3};
    amdvi::host_table_options options{};
    amdvi::policy rules{};
    tables memory{};
    std::uint64_t in{0x7'2345'6789};

    explicit setting(std::uint64_t of_mode = 3, std::uint64_t at = 0x7'2345'6789) : mode{of_mode}, in{at} {
        for (std::uint64_t level = mode; level > 1; --level)
            entry(level) = table_at((level - 1) << 24, level - 1);
        entry(1) = rw | 0x9abc'd001;
    }
    [[nodiscard]] std::uint64_t place(std::uint64_t level) const {
        return (level << 24) + (in >> (3 + 9 * level) & (level == 6 ? 127 : 511)) * 8;
    }
    std::uint64_t& entry(std::uint64_t level) { return memory[place(level)]; }
    [[nodiscard]] host stage() const { return host{mode, pa{mode << 24}, options, rules}; }

    auto operator()(access a = read) {
        memory.forget();
        return walk(stage(), memory, iova{in}, a);
    }
    auto at(std::uint64_t other, access a = read) {
        memory.forget();
        return walk(stage(), memory, iova{other}, a);
    }
};

// An IO_PAGE_FAULT with these flags at the entry of manual level `level`.
template <class Outcome>
bool is_fault(Outcome const& found, std::uint64_t flags, std::uint64_t level) {
    return !found && found.error().code == event::io_page_fault && found.error().detail == flags &&
           found.error().level == level - 1 && found.error().stage == fault_stage::second;
}

std::vector<std::uint64_t> entries_of(setting& s) {
    std::vector<std::uint64_t> all;
    for (std::uint64_t level = 1; level <= s.mode; ++level)
        all.push_back(s.entry(level));
    return all;
}

struct counting_trace {
    unsigned steps{};
    void operator()(auto const&) { ++steps; }
};

} // namespace

TEST_CASE("amdvi host tables: each mode covers what its levels index and not one address more") {
    for (std::uint64_t mode = 1; mode <= 6; ++mode) {
        std::uint64_t const last = mode == 6 ? every_bit : (std::uint64_t{1} << (12 + 9 * mode)) - 1;
        CAPTURE(mode);
        setting s{mode, last};
        CHECK(s.stage().admits(iova{last}));
        CHECK(s.stage().last_input() == iova{last});
        CHECK(s.stage().admitted().begin()[0] == range<iova>::between(iova{0}, iova{last}));
        auto const found = s();
        REQUIRE(found);
        CHECK(found->output == pa{0x9abc'dfff});
        CHECK(s.memory.trail.size() == mode);
        // The very highest index: 511, and 127 at level 6.
        CHECK(s.memory.trail[0] == (mode << 24) + (mode == 6 ? 127 * 8 : 511 * 8));
        if (mode == 6) continue;
        for (unsigned bit = static_cast<unsigned>(12 + 9 * mode); bit < 64; ++bit) {
            CAPTURE(bit);
            for (std::uint64_t const beyond : {last + 1, last | one_bit(bit), one_bit(bit), every_bit}) {
                for (access const a : {read, write, read_write | inquiring, none}) {
                    auto const refused = s.at(beyond, a);
                    REQUIRE_FALSE(refused);
                    CHECK(refused.error().code == event::io_page_fault);
                    CHECK(refused.error().detail == not_present);
                    CHECK(refused.error().at == fault_at::input);
                    CHECK(refused.error().level == no_level);
                    CHECK(refused.error().descriptor == 0);
                    CHECK(s.memory.trail.empty()); // before any read
                }
            }
        }
    }
}

TEST_CASE("amdvi host tables: all 64 bits of an address are looked at in mode 6") {
    setting s{6, 0x8000'0000'0000'1000};
    s.entry(1) = rw | 0x7000'0001;
    REQUIRE(s());
    CHECK(s()->output == pa{0x7000'0000});
    // Indices 64, 0, 0, 0, 0, 1.
    CHECK(s.memory.trail == std::vector<std::uint64_t>{0x600'0200, 0x500'0000, 0x400'0000, 0x300'0000, 0x200'0000, 0x100'0008});
    for (unsigned bit = 0; bit < 64; ++bit) {
        CAPTURE(bit);
        CHECK(static_cast<bool>(s.at(s.in ^ one_bit(bit))) == (bit < 12));
    }
    setting top{6, every_bit};
    CHECK(top()->output == pa{0x9abc'dfff});
    CHECK(top.memory.trail[0] == 0x600'03f8);
    CHECK_FALSE(top.at(every_bit >> 1));
}

TEST_CASE("amdvi host tables: a depth that there is not counts as the nearest, and a root has 40 bits") {
    CHECK(host{0, pa{0x1000}} == host{1, pa{0x1000}});
    CHECK(host{7, pa{0x1000}} == host{6, pa{0x1000}});
    CHECK(host{every_bit, pa{0x1000}} == host{6, pa{0x1000}});
    CHECK_FALSE(host{2, pa{0x1000}} == host{3, pa{0x1000}});
    CHECK(host{4, pa{every_bit}}.root() == pa{0x000f'ffff'ffff'f000});
    CHECK(host{4, pa{0x1fff}}.root() == pa{0x1000});
}

TEST_CASE("amdvi host tables: every bit of every entry, as the manual's masks say") {
    for (bool const pmc : {false, true}) {
        setting sound{6, 0x7e12'3456'789a'bcde};
        if (pmc) sound.rules.migration = amdvi::page_migration::supported;
        for (std::uint64_t level = 1; level <= 6; ++level) {
            for (bool const coded : {false, true}) {
                setting s = sound;
                std::uint64_t const bad_mask = level > 1 && !coded ? 0x1ff0'0000'0000'0000
                                               : pmc               ? 0x01f0'0000'0000'0000
                                                                   : 0x07f0'0000'0000'0000;
                if (coded && level > 5) continue;
                if (coded)
                    s.entry(level) = rw | 1 | 0xe00 | (((std::uint64_t{1} << (4 + 9 * level)) - 1) & ~std::uint64_t{0xfff});
                auto const clean = s();
                REQUIRE(clean);
                for (unsigned n = 0; n < 64; ++n) {
                    setting t = s;
                    t.entry(level) ^= one_bit(n);
                    auto const found = t();
                    CAPTURE(pmc, level, coded, n);
                    if ((bad_mask >> n & 1) != 0) {
                        CHECK(is_fault(found, reserved, level));
                        CHECK(found.error().at == fault_at::table);
                        CHECK(found.error().descriptor == t.place(level));
                        CHECK(found.error().entry == t.entry(level));
                        // Whoever asks for what.
                        for (access const a : {none, write, read_write, execute, read | inquiring, read_write | inquiring})
                            CHECK(is_fault(t(a), reserved, level));
                    } else if (n == 0) {
                        CHECK(is_fault(found, not_present, level));
                        CHECK(found.error().at == fault_at::input);
                    } else if (n == 61) {
                        CHECK(is_fault(found, denied, level));
                    } else if (n < 9 || n == 63 || (pmc && (n == 57 || n == 58) && (level == 1 || coded))) {
                        CHECK(found == clean);
                    } else if (n == 59 || n == 60) {
                        REQUIRE(found);
                        CHECK(found->effective.bits == (clean->effective.bits ^ one_bit(n)));
                        CHECK(found->output == clean->output);
                    } else if (n == 62) {
                        CHECK(found->effective.rights() == read);
                    }
                }
            }
        }
    }
}

TEST_CASE("amdvi host tables: an absent entry may hold anything else") {
    for (std::uint64_t level = 1; level <= 6; ++level)
        for (std::uint64_t const e : {std::uint64_t{0}, every_bit & ~std::uint64_t{1}, std::uint64_t{0x1ff0'0000'0000'0e00}}) {
            setting s{6, 0x7e12'3456'789a'bcde};
            s.entry(level) = e;
            CAPTURE(level, e);
            for (access const a : {read, write, execute, none, read_write | inquiring})
                CHECK(is_fault(s(a), not_present, level));
        }
}

TEST_CASE("amdvi host tables: FC copied into a PDE is a reserved bit, and so is U") {
    for (unsigned const n : {59u, 60u}) {
        setting s;
        s.entry(2) |= one_bit(n);
        CHECK(is_fault(s(), reserved, 2));
        s = setting{};
        s.entry(1) |= one_bit(n);
        CHECK(s()->effective.bits == (3 | one_bit(n)));
    }
}

TEST_CASE("amdvi host tables: NextLevel leads strictly downwards") {
    for (std::uint64_t level = 1; level <= 6; ++level) {
        for (std::uint64_t next = 1; next <= 6; ++next) {
            setting s{6, 0};
            s.entry(level) = table_at(next << 24, next);
            CAPTURE(level, next);
            for (access const a : {read, write, none, read | inquiring}) {
                auto const found = s(a);
                if (next < level) {
                    CHECK(found);
                    CHECK(s.memory.trail.size() == 6 - (level - next - 1));
                } else {
                    CHECK(is_fault(found, bad, level));
                    CHECK(found.error().at == fault_at::table);
                    CHECK(s.memory.trail.size() == 7 - level);
                }
            }
        }
    }
}

TEST_CASE("amdvi host tables: a PDE that leads to its own table ends after as many loads as there are levels") {
    for (std::uint64_t level = 1; level <= 6; ++level) {
        setting s{6, 0};
        for (std::uint64_t next = level; next <= 6; ++next) {
            s.entry(level) = table_at(level << 24, next);
            CHECK(is_fault(s(), bad, level));
            CHECK(s.memory.trail.size() == 7 - level);
        }
        // One page as the table of every level: each time one level down.
        for (std::uint64_t next = 1; next <= 5; ++next)
            s.memory[next * 0x1000 + 0x800'0000] = 0;
        setting t{6, 0};
        for (std::uint64_t n = 0; n < 512; ++n)
            t.memory[0x600'0000 + n * 8] = table_at(0x600'0000, level);
        CHECK_FALSE(t());
        CHECK(t.memory.trail.size() <= 6);
        auto const end = for_each_leaf(
            t.stage(), t.memory, range<iova>::all(), [](auto const&) {}, 100'000);
        CHECK(end.loads <= 100'000);
    }
}

TEST_CASE("amdvi host tables: skipped levels must have no bit of the address") {
    struct {
        std::uint64_t level;
        std::uint64_t next;
        std::uint64_t mask;
    } const cases[] = {
        {4, 2, 0x0000'007f'c000'0000},
        {4, 1, 0x0000'007f'ffe0'0000},
        {3, 1, 0x0000'0000'3fe0'0000},
        {6, 1, 0x01ff'ffff'ffe0'0000},
        {5, 3, 0x0000'ff80'0000'0000},
        {5, 2, 0x0000'ffff'c000'0000},
        {5, 1, 0x0000'ffff'ffe0'0000},
        {6, 4, 0x01ff'0000'0000'0000},
        {6, 3, 0x01ff'ff80'0000'0000},
        {6, 2, 0x01ff'ffff'c000'0000},
        {2, 1, 0},
        {3, 2, 0},
        {4, 3, 0},
        {5, 4, 0},
        {6, 5, 0},
    };
    for (auto const& c : cases) {
        CAPTURE(c.level, c.next);
        CHECK(skipped_bits(host{6, pa{0}}, c.level - 1, c.next - 1) == c.mask);
        for (std::uint64_t mode = c.level; mode <= 6; ++mode) {
            // Every bit that is not skipped is set.
            std::uint64_t const covered = mode == 6 ? every_bit : (std::uint64_t{1} << (12 + 9 * mode)) - 1;
            setting s{mode, covered & ~c.mask};
            s.entry(c.level) = table_at(c.next << 24, c.next);
            auto const found = s();
            REQUIRE(found);
            CHECK(found->output == pa{0x9abc'dfff});
            CHECK(found->lg2_size == 12);
            CHECK(s.memory.trail.size() == mode - (c.level - c.next - 1));
            for (unsigned n = 0; n < 64; ++n) {
                if ((c.mask >> n & 1) == 0) continue;
                CAPTURE(mode, n);
                for (access const a : {read, none, read | inquiring}) {
                    auto const refused = s.at(s.in | one_bit(n), a);
                    CHECK(is_fault(refused, bad, c.level));
                    CHECK(refused.error().at == fault_at::table);
                    CHECK(refused.error().descriptor == s.place(c.level));
                    CHECK(s.memory.trail.size() == mode - c.level + 1); // the table behind is not read
                }
            }
        }
    }
}

TEST_CASE("amdvi host tables: two skips in one path, and a page below a skip") {
    setting s{6, 0x0000'0000'8000'0123}; // level 3 has index 2
    s.entry(6) = table_at(0x300'0000, 3);
    s.entry(3) = table_at(0x100'0000, 1);
    auto const found = s();
    REQUIRE(found);
    CHECK(found->output == pa{0x9abc'd123});
    CHECK(s.memory.trail.size() == 3);
    CHECK(is_fault(s.at(s.in | one_bit(21)), bad, 3));
    CHECK(is_fault(s.at(s.in | one_bit(39)), bad, 6));
    // A large page right behind a skip, by its level's size and by a code.
    s.entry(3) = rw | 0x1'4000'0001;
    CHECK(s()->output == pa{0x1'4000'0123});
    CHECK(s()->lg2_size == 30);
    s.entry(3) = rw | 0x1'3fff'fe01;
    CHECK(s()->output == pa{0x1'0000'0123});
    CHECK(s()->lg2_size == 31);
}

TEST_CASE("amdvi host tables: a page of its level's size at every level but the sixth") {
    for (std::uint64_t level = 1; level <= 6; ++level) {
        setting s{6, 0x7fff'ffff'ffff'fabc};
        std::uint64_t const lg2 = 3 + 9 * level;
        std::uint64_t const page = (one_bit(51) | one_bit(static_cast<unsigned>(lg2 < 51 ? lg2 : 51))) & ~low_mask(lg2);
        // Bits of the address below the page's size are ignored.
        for (std::uint64_t const below : {std::uint64_t{0}, low_mask(lg2) & 0x000f'ffff'ffff'f000}) {
            s.entry(level) = rw | page | below | 1;
            auto const found = s(write);
            CAPTURE(level, below);
            if (level == 6) {
                CHECK(is_fault(found, bad, 6));
                CHECK(found.error().at == fault_at::table);
                CHECK(is_fault(s(none), bad, 6));
            } else {
                REQUIRE(found);
                CHECK(found->lg2_size == 12 + 9 * (level - 1));
                std::uint64_t const mask = low_mask(12 + 9 * (level - 1));
                CHECK(found->output.value == (((page | below) & ~mask) | (s.in & mask)));
            }
        }
    }
}

TEST_CASE("amdvi host tables: every size code at every level") {
    unsigned good = 0;
    for (std::uint64_t level = 1; level <= 6; ++level) {
        for (unsigned lg2 = 13; lg2 <= 53; ++lg2) { // 53: bits 51:12 are all ones
            setting s{6, 0x7fff'ffff'ffff'fabc};
            std::uint64_t const ones = low_mask(lg2 - 1) & 0x000f'ffff'ffff'f000;
            std::uint64_t const above = lg2 < 52 ? (one_bit(51) | one_bit(lg2)) & 0x000f'ffff'ffff'f000 : 0;
            s.entry(level) = rw | 0xe01 | above | ones;
            bool const in_range = level < 6 && lg2 > 3 + 9 * level && lg2 < 12 + 9 * level && lg2 <= 51;
            for (access const a : {read, write, none, read_write | inquiring}) {
                auto const found = s(a);
                CAPTURE(level, lg2, a.bits);
                if (!in_range) {
                    CHECK(is_fault(found, bad, level));
                    CHECK(found.error().at == fault_at::table);
                    continue;
                }
                REQUIRE(found);
                CHECK(found->lg2_size == lg2);
                CHECK(found->output.value == ((above & ~low_mask(lg2)) | (s.in & low_mask(lg2))));
                ++good;
            }
        }
    }
    // 8 sizes for each of four levels, and 2^49, 2^50 and 2^51 of the fifth.
    CHECK(good == 4 * (4 * 8 + 3));
}

TEST_CASE("amdvi host tables: the example codes of the manual's table of page sizes") {
    struct {
        std::uint64_t low; // address bits, the rest of them being x
        std::uint64_t lg2;
    } const codes[] = {{0x0, 13}, {0x1, 14}, {0x3, 15}, {0x7, 16}, {0xf, 17}, {0x1f, 18}, {0x3f, 19}, {0x7f, 20}};
    for (auto const& c : codes) {
        setting s{1, 0xf'fabc};
        s.entry(1) = rw | 0xe01 | 0xa'aa00'0000 | c.low << 12;
        REQUIRE(s());
        CHECK(s()->lg2_size == c.lg2);
        CHECK(amdvi::coded_size(s.entry(1) & 0x000f'ffff'ffff'f000) == c.lg2);
    }
    CHECK(amdvi::coded_size(0x000f'ffff'ffff'f000) == 53);
    CHECK(amdvi::coded_size(0x7fff'ffff'ffff'f000) == 64);
    CHECK(amdvi::coded_size(every_bit) == 65);
    CHECK(amdvi::coded_size(0) == 13);
    for (std::uint64_t lg2 = 13; lg2 <= 64; ++lg2) {
        CAPTURE(lg2);
        for (std::uint64_t const base : {std::uint64_t{0}, ~low_mask(lg2)}) {
            std::uint64_t const coded = amdvi::with_coded_size(base, lg2);
            CHECK(amdvi::coded_size(coded) == lg2);
            CHECK((coded & ~low_mask(lg2)) == base);
            CHECK((coded & 0xfff) == 0);
        }
    }
}

TEST_CASE("amdvi host tables: any slot that a page covers gives the same answer") {
    for (std::uint64_t level = 1; level <= 4; ++level) {
        std::uint64_t const span = 3 + 9 * level;
        for (std::uint64_t lg2 = span + 1; lg2 <= span + 8; ++lg2) {
            std::uint64_t const first = std::uint64_t{3} << lg2 & low_mask(span + 9); // the page's input address
            std::uint64_t const to = std::uint64_t{5} << lg2;
            setting s{level + 1, first};
            std::uint64_t const slots = std::uint64_t{1} << (lg2 - span);
            for (std::uint64_t n = 0; n < slots; ++n)
                s.memory[s.place(level) + n * 8] = rw | 0xe01 | amdvi::with_coded_size(to, lg2);
            CAPTURE(level, lg2);
            for (std::uint64_t n = 0; n < slots; ++n) {
                std::uint64_t const in = first + (n << span) + 0xab8;
                auto const found = s.at(in, write);
                REQUIRE(found);
                REQUIRE(found->output.value == to + (in - first));
                REQUIRE(found->lg2_size == lg2);
                REQUIRE(s.memory.trail.back() == s.place(level) + n * 8); // the addressed slot and no other
            }
            CHECK_FALSE(s.at(first + (slots << span)));
            // A bit in one of them stays there.
            s.options.keeps_accessed = s.options.keeps_dirty = true;
            REQUIRE(s.at(first + low_mask(lg2), write));
            CHECK((s.memory[s.place(level) + (slots - 1) * 8] & 0x60) == 0x60);
            CHECK((s.memory[s.place(level)] & 0x60) == 0);
        }
    }
}

TEST_CASE("amdvi host tables: rights are those that the device and every entry grant together") {
    // One withholder or two: the device (0), or the entry of a level.
    for (std::uint64_t device = 0; device < 4; ++device) {
        for (std::uint64_t level = 1; level <= 4; ++level) {
            for (std::uint64_t entry = 0; entry < 4; ++entry) {
                setting s{4};
                s.options.granted = access{device};
                s.entry(level) = (s.entry(level) & ~rw) | entry << 61;
                CAPTURE(device, level, entry);
                for (access const a : {none, read, write, read_write, execute, read | execute, read | zero_length,
                                       read | privileged, write | privileged}) {
                    std::uint64_t const need = (a.bits & 3) | (a.covers(execute) ? 1 : 0);
                    auto const found = s(a);
                    if ((need & ~(device & entry)) == 0) {
                        REQUIRE(found);
                        CHECK(found->effective.bits == (device & entry));
                    } else {
                        // The first that withholds ends it: the device does so at the top.
                        std::uint64_t const by = (need & ~device) != 0 ? 4 : level;
                        CHECK(is_fault(found, denied, by));
                        CHECK(found.error().at == fault_at::input);
                        CHECK(s.memory.trail.size() == 5 - by);
                    }
                }
                // Who only asks is told.
                for (access const a : {read | inquiring, read_write | inquiring}) {
                    auto const found = s(a);
                    REQUIRE(found);
                    CHECK(found->effective.bits == (device & entry));
                }
            }
        }
    }
}

TEST_CASE("amdvi host tables: rights accumulate over levels that each withhold another") {
    setting s{4};
    s.entry(4) &= ~one_bit(62);
    s.entry(2) &= ~one_bit(61);
    CHECK(is_fault(s(read), denied, 2));
    CHECK(is_fault(s(write), denied, 4));
    CHECK(is_fault(s(read_write), denied, 4));
    CHECK(s(none)->effective.bits == 0);
    CHECK(s(read_write | inquiring)->effective.bits == 0);
    // Both are denied where the second of them is lost.
    s.entry(4) |= one_bit(62);
    CHECK(is_fault(s(read_write), denied, 2));
    CHECK(s(write)->effective.rights() == write);
    // Without the device's own rights, for the reading of tables.
    s.options.granted = none;
    CHECK(is_fault(s(write), denied, 4));
    CHECK(walk(s.stage().without_device_rights(), s.memory, iova{s.in}, write));
}

TEST_CASE("amdvi host tables: the checks of one entry come in the manual's order") {
    // Each pair of defects of one entry, met together: the first wins. Skipped bits are those of the address.
    std::uint64_t const absent = 1;                 // turned off
    std::uint64_t const reserved_bit = one_bit(55); // turned on
    std::uint64_t const no_right = one_bit(61);     // turned off
    for (bool const rights_first : {false, true}) {
        setting s{4, 0x80'4030'1000};
        if (rights_first) s.rules.order = amdvi::check_order::rights_first;
        std::uint64_t const forms[] = {
            table_at(0x100'0000, 1), // skips bits that are set
            table_at(0x300'0000, 3), // not downwards
            rw | 0x5fff'fe01,        // a size that is none of level 3's
            table_at(0x200'0000, 2), // nothing wrong with it
        };
        for (std::uint64_t const form : forms) {
            bool const is_good = form == forms[3];
            for (unsigned defects = 0; defects < 8; ++defects) {
                std::uint64_t e = form;
                if ((defects & 1) != 0) e &= ~absent;
                if ((defects & 2) != 0) e |= reserved_bit;
                if ((defects & 4) != 0) e &= ~no_right;
                s.entry(3) = e;
                std::uint64_t const first = (defects & 1) != 0                                            ? not_present
                                            : (defects & 2) != 0 && !((defects & 4) != 0 && rights_first) ? reserved
                                            : (defects & 4) != 0                                          ? denied
                                                                                                          : bad;
                CAPTURE(rights_first, e, defects);
                if (defects == 0 && is_good)
                    CHECK(s());
                else
                    CHECK(is_fault(s(), first, 3));
                // Who needs the other right is not denied by this one.
                if (defects == 4 && is_good) CHECK(s(write));
            }
        }
        // The sixth level has no pages: after reserved bits and rights.
        setting top{6, 0};
        if (rights_first) top.rules.order = amdvi::check_order::rights_first;
        for (std::uint64_t const next : {0u, 7u}) {
            top.entry(6) = rw | next << 9 | 1;
            CHECK(is_fault(top(), bad, 6));
            top.entry(6) |= one_bit(60) | one_bit(59); // a leaf's, and not reserved
            CHECK(is_fault(top(), bad, 6));
            top.entry(6) &= ~one_bit(61);
            CHECK(is_fault(top(), denied, 6));
            top.entry(6) |= one_bit(57);
            CHECK(is_fault(top(), rights_first ? denied : reserved, 6));
            top.rules.migration = amdvi::page_migration::supported;
            CHECK(is_fault(top(), denied, 6));
            top.rules.migration = amdvi::page_migration::reserved;
        }
    }
}

TEST_CASE("amdvi host tables: a right that lacks above ends the walk before anything below is read") {
    for (std::uint64_t const broken : {std::uint64_t{0}, rw | one_bit(55) | 1, rw | 0x600'0c01}) {
        setting s;
        s.entry(3) &= ~one_bit(62);
        s.entry(2) = broken;
        CHECK(is_fault(s(write), denied, 3));
        CHECK(s.memory.trail.size() == 1);
        CHECK_FALSE(s(read));
        CHECK(s.memory.trail.size() == 2);
        CHECK(s().error().level == 1);
    }
    setting s;
    s.entry(3) &= ~one_bit(62);
    s.memory.remove(0x200'0000);
    CHECK(is_fault(s(write), denied, 3));
    CHECK(s().error().code == event::page_tab_hardware_error);
}

TEST_CASE("amdvi host tables: an entry that cannot be read is a hardware error at its address") {
    for (std::uint64_t mode = 1; mode <= 6; ++mode)
        for (std::uint64_t level = 1; level <= mode; ++level) {
            setting s{mode, 0x12'3456};
            s.memory.poison(s.place(level));
            for (access const a : {read, write, none, read | inquiring}) {
                auto const found = s(a);
                REQUIRE_FALSE(found);
                CHECK(found.error().code == event::page_tab_hardware_error);
                CHECK(found.error().at == fault_at::table);
                CHECK(found.error().level == level - 1);
                CHECK(found.error().descriptor == s.place(level));
                CHECK(found.error().entry == 0);
                CHECK(found.error().detail == 0);
                CHECK(found.error().input == s.in);
            }
        }
}

TEST_CASE("amdvi host tables: accessed and dirty bits by HAD, by kind of request and by policy") {
    for (bool const leaves_only : {false, true}) {
        for (std::uint64_t had = 0; had < 4; ++had) { // bit 0 accessed, bit 1 dirty
            for (access const a : {none, read, write, read_write, execute, read | zero_length, inquiring, read | inquiring,
                                   read_write | inquiring, write | inquiring}) {
                setting s{4};
                s.options.keeps_accessed = (had & 1) != 0;
                s.options.keeps_dirty = (had & 2) != 0;
                if (leaves_only) s.rules.accessed = amdvi::host_accessed::leaves_only;
                std::vector<std::uint64_t> expected = entries_of(s);
                // D goes with A: there is no HAD that keeps it alone.
                bool const accessed = (had & 1) != 0 && a != none;
                bool const dirty = had == 3 && a.covers(write);
                for (std::size_t n = 0; n < expected.size(); ++n)
                    if (accessed && (n == 0 || !leaves_only)) expected[n] |= 0x20;
                if (dirty) expected[0] |= 0x40;
                CAPTURE(leaves_only, had, a.bits);
                REQUIRE(s(a));
                CHECK(entries_of(s) == expected);
                std::size_t const changes = !accessed ? 0 : leaves_only ? 1 : 4;
                CHECK(s.memory.updates.size() == changes);
                CHECK(s.memory.trail.size() == 4);
                // From the top down, the leaf last and once.
                for (std::size_t n = 0; n < changes; ++n)
                    CHECK(s.memory.updates[n].at == s.place(changes - n));
                // Again: nothing is left to do.
                REQUIRE(s(a));
                CHECK(s.memory.attempts == 0);
                CHECK(s.memory.trail.size() == 4);
                // With memory that cannot be updated the answer is the same.
                setting t{4};
                t.options = s.options;
                judged_only<tables> looks{&t.memory};
                CHECK(walk(t.stage(), looks, iova{t.in}, a));
                CHECK(entries_of(t) == entries_of(*std::make_unique<setting>(4)));
            }
        }
    }
}

TEST_CASE("amdvi host tables: D is for a write that is granted, and only in the leaf") {
    setting s{3};
    s.options = {read_write, true, true};
    s.entry(2) &= ~one_bit(62);
    CHECK(is_fault(s(write), denied, 2));
    CHECK((s.entry(3) & 0x60) == 0x20); // it was good
    CHECK((s.entry(2) & 0x60) == 0);
    CHECK((s.entry(1) & 0x60) == 0);
    // A leaf that cannot be written never gets D.
    setting t{3};
    t.options = {read_write, true, true};
    t.entry(1) &= ~one_bit(62);
    CHECK(is_fault(t(write), denied, 1));
    CHECK((t.entry(2) & 0x60) == 0x20);
    CHECK((t.entry(1) & 0x60) == 0);
    REQUIRE(t(read_write | inquiring));
    CHECK((t.entry(1) & 0x60) == 0x20);
    // Nor one that the device must not write.
    setting u{3};
    u.options = {read, true, true};
    REQUIRE(u(read_write | inquiring));
    CHECK((u.entry(1) & 0x60) == 0x20);
    CHECK(u(read_write | inquiring)->effective.rights() == read);
    // Bit 6 of a PDE is nobody's.
    setting v{3};
    v.options = {read_write, true, true};
    v.entry(3) |= 0x40;
    REQUIRE(v(write));
    CHECK((v.entry(3) & 0x60) == 0x60);
    CHECK((v.entry(2) & 0x60) == 0x20);
}

TEST_CASE("amdvi host tables: a fault leaves A in the entries above that were good, and in no other") {
    struct {
        std::uint64_t entry;
        std::uint64_t flags;
    } const cases[] = {{0, not_present}, {rw | one_bit(52) | 1, reserved}, {rw | 0x200'0401, bad}, {rw | 0x4000'0e01, bad}};
    for (auto const& c : cases) {
        setting s{4};
        s.options = {read_write, true, true};
        s.entry(2) = c.entry;
        CHECK(is_fault(s(write), c.flags, 2));
        CHECK(s.memory.updates == updates{{s.place(4), table_at(0x300'0000, 3), table_at(0x300'0000, 3) | 0x20},
                                          {s.place(3), table_at(0x200'0000, 2), table_at(0x200'0000, 2) | 0x20}});
        CHECK(s.entry(2) == c.entry);
        CHECK((s.entry(1) & 0x60) == 0);
    }
    // Skipped bits that are set: the entry is not good.
    setting s{4, 0x40'4000'0000};
    s.options = {read_write, true, true};
    s.entry(4) = table_at(0x200'0000, 2);
    CHECK(is_fault(s(), bad, 4));
    CHECK(s.memory.attempts == 0);
}

TEST_CASE("amdvi host tables: an update is exchanged with the very value that was judged") {
    setting s{3};
    s.options = {read_write, true, true};
    REQUIRE(s(write));
    std::uint64_t const leaf = rw | 0x9abc'd001;
    CHECK(s.memory.updates == updates{{s.place(3), table_at(0x200'0000, 2), table_at(0x200'0000, 2) | 0x20},
                                      {s.place(2), table_at(0x100'0000, 1), table_at(0x100'0000, 1) | 0x20},
                                      {s.place(1), leaf, leaf | 0x60}});
    // With A there, D alone is left, by the next write.
    s.entry(1) = leaf | 0x20;
    REQUIRE(s(read));
    CHECK(s.memory.attempts == 0);
    REQUIRE(s(write));
    CHECK(s.memory.updates == updates{{s.place(1), leaf | 0x20, leaf | 0x60}});
}

TEST_CASE("amdvi host tables: an entry that changes before its update is judged again, from the root") {
    for (std::uint64_t level = 1; level <= 3; ++level) {
        // The rival moves the page, denies, takes it away, or sets the same bits first.
        for (int rival = 0; rival < 4; ++rival) {
            setting s{3};
            s.options = {read_write, true, true};
            bool done = false;
            s.memory.meddle = [&](std::uint64_t at) {
                if (done || at != s.place(level)) return;
                done = true;
                std::uint64_t& e = s.entry(level);
                if (rival == 0) {
                    if (level == 1) e = rw | 0x5555'5001;
                    e |= one_bit(3); // software's
                }
                if (rival == 1) e &= ~one_bit(62);
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
                CHECK(found->output == pa{level == 1 && rival == 0 ? 0x5555'5789u : 0x9abc'd789u});
                CHECK((s.entry(1) & 0x60) == 0x60);
                CHECK((s.entry(2) & 0x20) == 0x20);
            }
            // Down to the entry, and again as far as it went.
            std::uint64_t const again = rival == 0 || rival == 3 ? 3 : 4 - level;
            CHECK(s.memory.trail.size() == 4 - level + again);
        }
    }
}

TEST_CASE("amdvi host tables: an entry that never keeps still is a hardware error after eight restarts") {
    for (std::uint64_t level = 1; level <= 3; ++level) {
        setting s{3};
        s.options = {read_write, true, true};
        s.memory.meddle = [&](std::uint64_t at) {
            if (at == s.place(level)) s.entry(level) ^= one_bit(2); // software's
        };
        auto const found = s(write);
        REQUIRE_FALSE(found);
        CAPTURE(level);
        CHECK(found.error().code == event::page_tab_hardware_error);
        CHECK(found.error().at == fault_at::table);
        CHECK(found.error().level == level - 1);
        CHECK(found.error().descriptor == s.place(level));
        CHECK(found.error().detail == 0);
        CHECK(s.memory.trail.size() == (4 - level) * (max_restarts + 1));
        CHECK(s.memory.attempts == (max_restarts + 1) + (3 - level));
    }
    // Eight times, and then it keeps still.
    setting s{3};
    s.options = {read_write, true, true};
    unsigned left = max_restarts;
    s.memory.meddle = [&](std::uint64_t at) {
        if (at == s.place(1) && left > 0) {
            --left;
            s.entry(1) ^= one_bit(2);
        }
    };
    CHECK(s(write));
}

TEST_CASE("amdvi host tables: an update that memory refuses is a hardware error at the entry") {
    for (std::uint64_t level = 1; level <= 3; ++level) {
        setting s{3};
        s.options = {read_write, true, true};
        s.memory.freeze(s.place(level));
        auto const found = s(read);
        REQUIRE_FALSE(found);
        CAPTURE(level);
        CHECK(found.error().code == event::page_tab_hardware_error);
        CHECK(found.error().descriptor == s.place(level));
        CHECK(s.memory.updates.size() == 3 - level);
        // Not one that is not due.
        s.options = {};
        CHECK(s(read));
        s.options = {read_write, true, true};
        s.entry(level) |= 0x60;
        CHECK(s(write));
    }
}

TEST_CASE("amdvi host tables: the leaf's update can be left to whoever asks for it") {
    setting s{3};
    s.options = {read_write, true, true};
    owed_update owed;
    auto const found = walk_owing(s.stage(), s.memory, iova{s.in}, write, owed);
    REQUIRE(found);
    CHECK(owed.of == step{0, s.place(1), rw | 0x9abc'd001});
    CHECK(owed.desired == (rw | 0x9abc'd061));
    CHECK((s.entry(1) & 0x60) == 0);
    CHECK((s.entry(2) & 0x20) == 0x20);
    memory_error error{};
    CHECK(settle(s.memory, owed, error) == settled::done);
    CHECK((s.entry(1) & 0x60) == 0x60);
    CHECK(walk_owing(s.stage(), s.memory, iova{s.in}, write, owed));
    CHECK_FALSE(owed.is_owed());
}

TEST_CASE("amdvi host tables: who only asks is told what there is") {
    struct {
        bool keeps;
        bool is_dirty;
        bool writable;
        access asks;
        std::uint64_t rights;
        bool dirties;
    } const cases[] = {
        {true, false, true, read, 1, false},        // a write that D would not see is not granted
        {true, true, true, read, 3, false},         // D is set already
        {false, false, true, read, 3, false},       // D is not kept
        {true, false, true, read_write, 3, true},   // it counts as made
        {true, true, true, read_write, 3, false},   // again
        {true, false, false, read_write, 1, false}, // it is not granted
        {true, true, false, read, 1, false},        {false, false, true, read_write, 3, false},
    };
    for (auto const& c : cases) {
        setting s;
        s.options = {read_write, c.keeps, c.keeps};
        s.entry(1) = (c.writable ? rw : one_bit(61)) | 0x9abc'd001 | (c.is_dirty ? 0x40 : 0);
        auto const found = s(c.asks | inquiring);
        CAPTURE(c.keeps, c.is_dirty, c.writable, c.asks.bits);
        REQUIRE(found);
        CHECK(found->effective.bits == c.rights);
        CHECK(((s.entry(1) & 0x40) != 0) == (c.is_dirty || c.dirties));
        CHECK(((s.entry(1) & 0x20) != 0) == c.keeps);
        // The plain access with A there: the same rights, whatever D is.
        CHECK(s(read)->effective.bits == (c.writable ? 3u : 1u));
    }
    // HAD = 1 keeps no D: nothing is hidden.
    setting s;
    s.options = {read_write, true, false};
    CHECK(s(read | inquiring)->effective.rights() == read_write);
    // Whatever else is wrong is a fault for it too.
    s.entry(2) = 0;
    CHECK(is_fault(s(read | inquiring), not_present, 2));
}

TEST_CASE("amdvi host tables: U and FC are told, and change no answer") {
    for (std::uint64_t more = 0; more < 4; ++more) {
        setting s;
        s.entry(1) |= more << 59;
        for (access const a : {read, write, none, read | inquiring, read_write | inquiring}) {
            auto const found = s(a);
            REQUIRE(found);
            CHECK(found->effective.bits == (3 | more << 59));
            CHECK(found->output == pa{0x9abc'd789});
        }
        s.entry(2) = rw | 0xc020'0001 | more << 59;
        CHECK(s()->effective.bits == (3 | more << 59));
        s.entry(2) = rw | 0x401f'fe01 | more << 59;
        CHECK(s()->effective.bits == (3 | more << 59));
    }
}

TEST_CASE("amdvi host tables: a traced walk sees one step per load, the refused skip too") {
    setting s{4, 0x40'4000'0000};
    counting_trace trace;
    CHECK(walk(s.stage(), s.memory, iova{s.in}, read, trace));
    CHECK(trace.steps == 4);
    s.entry(4) = table_at(0x200'0000, 2);
    std::vector<verdict> seen;
    auto const found = walk(s.stage(), s.memory, iova{s.in}, read, [&](auto const& step) { seen.push_back(step.judged.is); });
    CHECK(is_fault(found, bad, 4));
    CHECK(seen == std::vector<verdict>{verdict::refused});
}

namespace {

// The common table set of the worked examples: Mode 3, root 1000000h.
struct worked {
    tables memory{};
    worked() {
        memory[0x100'00e0] = 0x6000'0000'0100'1401;
        memory[0x100'18d0] = 0x6000'0000'0100'2201;
        memory[0x100'22b0] = 0x6000'0000'9abc'd001;
    }
    auto at(std::uint64_t in, access a) { return walk(host{3, pa{0x100'0000}}, memory, iova{in}, a); }
    auto operator()(access a) { return at(0x7'2345'6789, a); }
};

} // namespace

TEST_CASE("amdvi example E1: three levels, 4 KiB") {
    worked t;
    for (access const a : {read, write}) {
        auto const found = t(a);
        REQUIRE(found);
        CHECK(found->output == pa{0x9abc'd789});
        CHECK(found->lg2_size == 12);
        CHECK(found->effective == attributes{read_write});
    }
}

TEST_CASE("amdvi example E2: NextLevel 0 at level 2 maps 2 MiB") {
    worked t;
    t.memory[0x100'18d0] = 0x6000'0000'c020'0001;
    CHECK(t(write)->output == pa{0xc025'6789});
    CHECK(t(write)->lg2_size == 21);
}

TEST_CASE("amdvi example E4: NextLevel 7 at level 2 maps 4 MiB in two slots") {
    worked t;
    t.memory[0x100'18d0] = t.memory[0x100'18d8] = 0x6000'0000'401f'fe01;
    CHECK(t(write)->output == pa{0x4005'6789});
    CHECK(t(write)->lg2_size == 22);
    CHECK(t.at(0x7'2365'6789, write)->output == pa{0x4025'6789});
}

TEST_CASE("amdvi example E6: 2 MiB is no size of level 1") {
    worked t;
    t.memory[0x100'22b0] = 0x6000'0000'c02f'fe01;
    CHECK(is_fault(t(read), bad, 1));
    CHECK(is_fault(t(write), bad, 1));
}

TEST_CASE("amdvi example E7: a level-2 entry that names level 2 and points to itself") {
    worked t;
    t.memory[0x100'18d0] = 0x6000'0000'0100'1401;
    CHECK(is_fault(t(read), bad, 2));
    CHECK(t.memory.trail.size() == 2);
}

TEST_CASE("amdvi example E8: a level-1 entry that names level 1") {
    worked t;
    t.memory[0x100'22b0] = 0x6000'0000'9abc'd201;
    CHECK(is_fault(t(read), bad, 1));
}

TEST_CASE("amdvi example E9: NextLevel 7 with all address bits ones") {
    worked t;
    t.memory[0x100'22b0] = 0x600f'ffff'ffff'fe01;
    CHECK(is_fault(t(read), bad, 1));
}

TEST_CASE("amdvi example E10: a PDE that grants reading alone") {
    worked t;
    t.memory[0x100'00e0] = 0x2000'0000'0100'1401;
    CHECK(is_fault(t(write), denied, 3));
    CHECK(t(read)->effective == attributes{read});
}

TEST_CASE("amdvi example E11: PR = 0 with everything else set") {
    worked t;
    t.memory[0x100'22b0] = 0x6000'0000'9abc'd000;
    CHECK(is_fault(t(write), not_present, 1));
    CHECK(is_fault(t(read), not_present, 1));
}

TEST_CASE("amdvi example E12: bit 52 of a leaf is reserved") {
    worked t;
    t.memory[0x100'22b0] = 0x6010'0000'9abc'd001;
    CHECK(is_fault(t(read), reserved, 1));
}

TEST_CASE("amdvi example E14: an address above 2^39 is no alias of the one below") {
    worked t;
    auto const found = t.at(0x87'2345'6789, read);
    REQUIRE_FALSE(found);
    CHECK(found.error().detail == not_present);
    CHECK(found.error().input == 0x87'2345'6789);
    CHECK(t.memory.trail.empty());
}

TEST_CASE("amdvi examples E15 and E17: level 3 is skipped, bit 39 is not") {
    tables m;
    m[0x200'0000] = 0x6000'0000'0200'1401;
    m[0x200'0008] = 0x6000'0000'0200'3401;
    m[0x200'1488] = m[0x200'3488] = 0x6000'0000'0200'2201;
    m[0x200'2a28] = 0x6000'0000'7777'7001;
    host const s{4, pa{0x200'0000}};
    CHECK(walk(s, m, iova{0x1234'5678}, read)->output == pa{0x7777'7678});
    CHECK(walk(s, m, iova{0x80'1234'5678}, read)->output == pa{0x7777'7678});
    CHECK(m.trail == std::vector<std::uint64_t>{0x200'0000, 0x200'1488, 0x200'2a28, 0x200'0008, 0x200'3488, 0x200'2a28});
    // Bit 30 belongs to the level that is skipped.
    CHECK(is_fault(walk(s, m, iova{0x5234'5678}, read), bad, 4));
}

TEST_CASE("amdvi examples E30 to E36: leaf words for a size") {
    struct {
        std::uint64_t at;
        std::uint64_t lg2;
        std::uint64_t level;
        std::uint64_t word;
    } const cases[] = {
        {0x4'0000, 13, 1, 0x6000'0000'0004'0e01},    {0x4'0000, 14, 1, 0x6000'0000'0004'1e01},
        {0x4'0000, 16, 1, 0x6000'0000'0004'7e01},    {0x1230'0000, 20, 1, 0x6000'0000'1237'fe01},
        {0x4000'0000, 29, 2, 0x6000'0000'4fff'fe01}, {0x1'0000'0000, 31, 3, 0x6000'0001'3fff'fe01},
        {0, 38, 3, 0x6000'001f'ffff'fe01},
    };
    for (auto const& c : cases) {
        CAPTURE(c.at, c.lg2);
        CHECK(host::make_leaf(pa{c.at}, c.lg2, read_write) == c.word);
        CHECK(host::leaf_level(c.lg2) == c.level - 1);
        CHECK(host::leaf_size(c.level - 1, c.word) == c.lg2);
        CHECK(host::leaf_output(c.word, c.lg2) == pa{c.at});
        setting s{4};
        s.entry(c.level) = c.word;
        CHECK(s(write)->output.value == c.at + (s.in & low_mask(c.lg2)));
    }
    // Sizes of a level have no code.
    CHECK(host::make_leaf(pa{0x9abc'd000}, 12, read_write) == 0x6000'0000'9abc'd001);
    CHECK(host::make_leaf(pa{0xc020'0000}, 21, write) == 0x4000'0000'c020'0001);
    CHECK(host::make_leaf(pa{0x4000'0000}, 30, attributes::from_bits(1 | one_bit(60))) == 0x3000'0000'4000'0001);
    CHECK(host::make_table(pa{0x100'1000}, 2) == 0x6000'0000'0100'1401);
    CHECK(host::make_table(pa{0x100'2000}, 1) == 0x6000'0000'0100'2201);
}

TEST_CASE("amdvi host tables: what can be written down") {
    host const s{4, pa{0x1000}};
    CHECK(s.can_encode(pa{0x000f'ffff'ffff'f000}, read));
    CHECK(s.can_encode(pa{0}, none));
    CHECK(s.can_encode(pa{0}, attributes::from_bits(3 | one_bit(59) | one_bit(60))));
    CHECK_FALSE(s.can_encode(pa{one_bit(52)}, read));
    CHECK_FALSE(s.can_encode(pa{0x1001}, read));
    CHECK_FALSE(s.can_encode(pa{0x1800}, read));
    for (unsigned n = 2; n < 64; ++n)
        CHECK(s.can_encode(pa{0x1000}, attributes::from_bits(1 | one_bit(n))) == (n == 59 || n == 60));
    // Each depth has the sizes of its levels, from 4 KiB up to 256 GiB.
    CHECK(host{1, pa{0}}.sizes() == bit_mask(20, 12));
    CHECK(host{2, pa{0}}.sizes() == bit_mask(29, 12));
    for (std::uint64_t mode = 3; mode <= 6; ++mode)
        CHECK(host{mode, pa{0}}.sizes() == bit_mask(38, 12));
}

TEST_CASE("amdvi host tables: leaves of skipped levels and of several slots are listed where they are") {
    setting s{4, 0};
    s.entry(4) = table_at(0x200'0000, 2);           // skips level 3: only the first gigabyte of 512 is there
    s.memory[0x400'0008] = table_at(0x100'0000, 1); // skips two: only the first 2 MiB
    s.memory[0x200'0008] = s.memory[0x200'0010] = rw | amdvi::with_coded_size(0x8000'0000, 22) | 0xe01;
    using some = range<iova>;
    std::vector<leaf<host>> seen;
    auto const all = for_each_leaf(s.stage(), s.memory, some::all(), [&](leaf<host> const& l) { seen.push_back(l); });
    CHECK(all.complete);
    CHECK(all.faults == 0);
    REQUIRE(seen.size() == 4);
    CHECK(seen[0].part == some(iova{0}, 0x1000));
    CHECK(seen[1].part == some(iova{0x20'0000}, 0x20'0000));
    CHECK(seen[1].first.output == pa{0x8020'0000}); // the second half of its page comes first: the slot is odd
    CHECK(seen[1].first.lg2_size == 22);
    CHECK(seen[2].part == some(iova{0x40'0000}, 0x20'0000));
    CHECK(seen[2].first.output == pa{0x8000'0000});
    CHECK(seen[3].part == some(iova{0x80'0000'0000}, 0x1000));
    CHECK(all.tables == 4); // that of level 1 twice
    // Each leaf is what a walk finds, at both of its ends; between them a walk finds nothing.
    for (auto const& l : seen) {
        auto const first = walk(s.stage(), s.memory, l.part.first(), none);
        auto const last = walk(s.stage(), s.memory, l.part.last(), none);
        REQUIRE(first);
        REQUIRE(last);
        CHECK(*first == l.first);
        CHECK(last->output.value == l.first.output.value + l.part.span());
    }
    CHECK_FALSE(s.at(0x4000'0000));
    CHECK_FALSE(s.at(0x80'0020'0000));
    // Asked for parts: beyond what a skip leads to there is nothing, and no load below.
    auto const beyond = for_each_leaf(s.stage(), s.memory, some::between(iova{0x4000'0000}, iova{0x7f'ffff'ffff}),
                                      [&](leaf<host> const&) { FAIL("a leaf where none can be"); });
    CHECK(beyond.complete);
    CHECK(beyond.loads == 1);
    auto const across = for_each_leaf(s.stage(), s.memory, some::between(iova{0x3fff'f000}, iova{0x80'0000'0fff}),
                                      [&](leaf<host> const& l) { CHECK(l.part == some(iova{0x80'0000'0000}, 0x1000)); });
    CHECK(across.leaves == 1);
    CHECK(across.loads == 4);
    // Stopped in the middle, it goes on where it ended, past the gap.
    seen.clear();
    std::uint64_t from = 0;
    for (int pieces = 0; pieces < 100; ++pieces) {
        auto const piece = for_each_leaf(
            s.stage(), s.memory, some::between(iova{from}, iova{0xff'ffff'ffff}), [&](leaf<host> const& l) { seen.push_back(l); },
            100);
        if (piece.complete) break;
        REQUIRE(piece.resume > from);
        from = piece.resume;
    }
    CHECK(seen.size() == 4);
}

TEST_CASE("amdvi host tables: pages of several slots merge into runs, and so do their parts") {
    setting s{2, 0};
    s.entry(2) = table_at(0x100'0000, 1);
    for (std::uint64_t n = 0; n < 16; ++n)
        s.memory[0x100'0000 + n * 8] = rw | amdvi::with_coded_size(0x7'0000, 16) | 0xe01;
    for (std::uint64_t n = 16; n < 20; ++n)
        s.memory[0x100'0000 + n * 8] = rw | (0x7'0000 + n * 0x1000) | 1;
    std::vector<run<host>> seen;
    auto const show = [&](run<host> const& r) { seen.push_back(r); };
    CHECK(for_each_run(s.stage(), s.memory, range<iova>::all(), show).complete);
    REQUIRE(seen.size() == 1);
    CHECK(seen[0].part == range<iova>(iova{0}, 0x1'4000));
    CHECK(seen[0].output == pa{0x7'0000});
    CHECK(seen[0].leaves == 20);
    CHECK(seen[0].smallest == 12);
    CHECK(seen[0].largest == 16);
    // One slot of it is missing: two runs, each leading where the page does.
    s.memory[0x100'0000 + 5 * 8] = 0;
    seen.clear();
    for_each_run(s.stage(), s.memory, range<iova>::all(), show);
    REQUIRE(seen.size() == 2);
    CHECK(seen[0].part == range<iova>(iova{0}, 0x5000));
    CHECK(seen[1].part == range<iova>(iova{0x6000}, 0xe000));
    CHECK(seen[1].output == pa{0x7'6000});
    // The last address of all, in mode 6.
    setting top{6, every_bit};
    seen.clear();
    CHECK(for_each_run(top.stage(), top.memory, range<iova>::all(), show).complete);
    REQUIRE(seen.size() == 1);
    CHECK(seen[0].part == range<iova>::between(iova{every_bit - 0xfff}, iova{every_bit}));
}

TEST_CASE("amdvi host tables: what an enumeration finds wrong is what the law says") {
    struct {
        std::uint64_t entry;
        std::uint64_t flags;
    } const cases[] = {{rw | one_bit(52) | 1, reserved},
                       {rw | 0x200'0401, bad},   // not downwards
                       {rw | 0x200'0c01, bad},   // upwards
                       {rw | 0x4000'0e01, bad}}; // 8 KiB at level 2
    for (auto const& c : cases) {
        setting s{3};
        s.entry(2) = c.entry;
        std::vector<fault<event>> faults;
        struct {
            std::vector<fault<event>>& all;
            void operator()(leaf<host> const&) { FAIL("no leaf is left"); }
            void operator()(fault<event> const& f) { all.push_back(f); }
        } visit{faults};
        auto const end = for_each_leaf(s.stage(), s.memory, range<iova>::all(), visit);
        CHECK(end.faults == 1);
        REQUIRE(faults.size() == 1);
        CHECK(faults[0].detail == c.flags);
        CHECK(faults[0].descriptor == s.place(2));
    }
}

} // namespace stagewalk::test
