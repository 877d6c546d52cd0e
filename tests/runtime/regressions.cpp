// Bugs that others shipped, each named as in the project's list of rivals, where VT-d legacy mode can have them.
#include "sheet_unit.hpp"

#include <stagewalk/build/table.hpp>
#include <stagewalk/memory/callback.hpp>
#include <stagewalk/memory/recording.hpp>
#include <stagewalk/translate/single.hpp>
#include <stagewalk/vtd/first_stage.hpp>
#include <stagewalk/walk/leaves.hpp>
#include <stagewalk/walk/trusted.hpp>

#include <cstdint>
#include <initializer_list>
#include <map>
#include <set>
#include <vector>

namespace stagewalk::test {
namespace {

using domain = vtd::second_stage<iova, ipa>;
using host = vtd::second_stage<ipa, pa>;

std::uint64_t bit(unsigned n) { return std::uint64_t{1} << n; }

struct own_tables {
    sheet_unit unit;
    sparse_memory<pa> memory;
    host stage;
    bump_allocator<pa> pool;
    table<host, sparse_memory<pa>, bump_allocator<pa>> built;

    explicit own_tables(std::uint64_t levels = 4, std::uint64_t tables = 64)
        : stage{unit.caps(), levels, pa{0x10'0000}}, pool{range<pa>{pa{0x10'1000}, tables << 12}}, built{stage, memory, pool} {
        for (std::uint64_t n = 0; n <= tables; ++n)
            memory[0x10'0000 + (n << 12)] = 0;
    }
    auto find(std::uint64_t at, access a = none) { return walk(stage, memory, ipa{at}, a); }
    // The whole content, for "as it was before".
    std::vector<std::uint64_t> image(std::uint64_t tables = 64) {
        std::vector<std::uint64_t> words;
        for (std::uint64_t at = 0x10'0000; at < 0x10'1000 + (tables << 12); at += 8)
            words.push_back(memory[at]);
        return words;
    }
};

} // namespace

TEST_CASE("B1: rights are the AND of all levels, in every one of the 4^4 combinations") {
    for (unsigned n = 0; n < 256; ++n) {
        sheet_unit u;
        std::uint64_t const at[] = {u.l1, u.l2, u.l3, u.l4};
        std::uint64_t together = 3;
        bool absent = false;
        for (unsigned level = 0; level < 4; ++level) {
            std::uint64_t const rights = n >> 2 * level & 3;
            u.memory[at[level]] = (u.memory[at[level]] & ~std::uint64_t{3}) | rights;
            together &= rights;
            absent = absent || rights == 0;
        }
        CAPTURE(n);
        for (access const a : {read, write, read_write}) {
            auto const found = u.translate(a);
            CHECK(static_cast<bool>(found) == (!absent && (a.bits & ~together) == 0));
            if (found) CHECK(found->effective.rights().bits == together);
        }
    }
}

TEST_CASE("B8, B10: a fault record tells no PASID from PASID 0 and holds PASID fffffh") {
    sheet_unit u;
    fault<reason> const f;
    vtd::request r = u.ask(0, write);
    CHECK(vtd::to_record(u.caps(), f, r).get<"PP">() == 0);
    CHECK(vtd::to_record(u.caps(), f, r).get<"PV">() == 0);
    r.pasid = 0;
    CHECK(vtd::to_record(u.caps(), f, r).get<"PP">() == 1);
    r.pasid = 0xf'ffff;
    CHECK(vtd::to_record(u.caps(), f, r).word[1] == (bit(63) | 0x0fff'ff00'8000'0219));
}

TEST_CASE("B13, B27: neither the input nor the output may be an interrupt by accident") {
    sheet_unit u;
    u.memory[u.l1] = 0xfee0'0003;
    CHECK(code_of(u.translate(write)) == reason::output_in_interrupt_range);
    CHECK(u.translate(0xfee0'0000, write)->by == passage::interrupt);
}

TEST_CASE("B19: every single bit of a valid context entry, turned") {
    for (unsigned n = 0; n < 128; ++n) {
        sheet_unit u;
        u.memory[u.context + n / 64 * 8] ^= bit(n % 64);
        auto const code = code_of(u.translate());
        CAPTURE(n);
        if (n == 0)
            CHECK(code == reason::context_not_present);
        else if (n == 1 || (n >= 67 && n <= 70) || (n >= 72 && n <= 87)) // FPD, software's, DID
            CHECK(code == reason::none);
        else if (n == 2) // TT = 01, which the unit has
            CHECK(code == reason::none);
        else if (n == 3) // TT = 10: passes
            CHECK(code == reason::none);
        else if (n >= 12 && n < 46) // elsewhere: no table there, or one of another kind
            CHECK((code == reason::context_invalid || code == reason::read_denied));
        else if (n == 64) // AW = 3: reads the same table as one of five levels
            CHECK(code == reason::read_denied);
        else if (n == 65 || n == 66)
            CHECK(code == reason::context_invalid);
        else
            CHECK(code == reason::context_reserved);
    }
}

TEST_CASE("B34: the last byte of the input range is in, the next is out, and 2^64 is not computed") {
    for (std::uint64_t const levels : std::initializer_list<std::uint64_t>{3, 4, 5}) {
        sheet_unit u;
        u.haw = 46;
        u.cap.set<"MGAW">(56);
        domain const s{u.caps(), levels, ipa{0x3000'0000}};
        std::uint64_t const last = low_mask(12 + 9 * levels);
        CAPTURE(levels);
        CHECK(s.admits(iova{last}));
        CHECK_FALSE(s.admits(iova{last + 1}));
        CHECK(s.admitted().begin()->last() == iova{last});
        u.memory[0x3000'0ff8] = 0x3000'0003; // the last entry leads to itself
        CHECK(walk(s, u.memory, iova{last}, read)->output == ipa{0x3000'0fff});
        CHECK(walk(s, u.memory, iova{last + 1}, read).error().code == reason::address_beyond_width);
        CHECK(walk(s, u.memory, iova{~std::uint64_t{0}}, read).error().code == reason::address_beyond_width);
    }
}

TEST_CASE("B36: neighbouring pages with unlike rights stay two leaves and one is writable") {
    own_tables t;
    REQUIRE(t.built.map(range{ipa{0x1000}, 4_KiB}, pa{0x5000}, read));
    REQUIRE(t.built.map(range{ipa{0x2000}, 4_KiB}, pa{0x6000}, read_write));
    CHECK_FALSE(t.find(0x1fff, write));
    CHECK(t.find(0x2000, write)->output == pa{0x6000});
    unsigned runs = 0;
    for_each_run(t.stage, t.memory, range<ipa>::all(), [&](run<host> const&) { ++runs; });
    CHECK(runs == 2);
}

TEST_CASE("B37: a mapping that runs out of tables at step k leaves everything as it was, for every k") {
    // A range that needs 3 tables at the one end and 2 more at the other.
    range const where{ipa{2_MiB - 4_KiB}, 1_GiB + 8_KiB};
    unsigned successes = 0;
    for (std::uint64_t k = 0; k < 8; ++k) {
        own_tables t{4, 64};
        REQUIRE(t.built.map(range{ipa{256_TiB - 4_KiB}, 4_KiB}, pa{0}, read)); // something is there already
        bump_allocator<pa> few{range<pa>{pa{0x12'0000}, k << 12}};
        auto const before = t.image(4);
        table scarce{t.stage, t.memory, few};
        auto const done = scarce.map(where, pa{0x7f'f000}, read_write);
        CAPTURE(k);
        if (done) {
            ++successes;
            CHECK(t.find(2_MiB + 5, write)->output == pa{0x7f'f000 + 4_KiB + 5});
            continue;
        }
        CHECK(done.error().why == map_error::out_of_tables);
        CHECK(few.taken() == 0);
        CHECK(t.image(4) == before);
        CHECK_FALSE(t.find(2_MiB));
    }
    CHECK(successes > 0);
    CHECK(successes < 8);
}

TEST_CASE("B37: a mapping that meets another one leaves everything as it was") {
    own_tables t;
    REQUIRE(t.built.map(range{ipa{16_MiB}, 4_KiB}, pa{0x5000}, read));
    auto const before = t.image();
    auto const taken = t.pool.taken();
    for (std::uint64_t const first : {std::uint64_t{0}, 14_MiB, 16_MiB}) {
        auto const done = t.built.map(range{ipa{first}, 64_MiB}, pa{0}, read_write);
        CAPTURE(first);
        REQUIRE_FALSE(done);
        CHECK(done.error().why == map_error::already_mapped);
        CHECK(done.error().at <= 16_MiB);
        CHECK(t.image() == before);
        CHECK(t.pool.taken() == taken);
    }
    // A leaf is never taken for a table.
    REQUIRE(t.built.map(range{ipa{1_GiB}, 1_GiB}, pa{1_GiB}, read));
    CHECK(t.built.map(range{ipa{1_GiB + 4_KiB}, 4_KiB}, pa{0}, read).error().why == map_error::already_mapped);
    // Nor is somebody else's nonsense.
    t.memory[0x10'0000 + 8] = 0x4000'0000'0010'1003;
    CHECK(t.built.map(range{ipa{512_GiB}, 4_KiB}, pa{0}, read).error().why == map_error::broken_table);
}

TEST_CASE("a table that is reached in two ways, or leads to itself, ends a mapping and is never gone below") {
    // Somebody else's tables: two neighbouring entries of level 1 lead to one table. What the pages hold looks like entries.
    own_tables t;
    t.memory[0x10'0000] = 0x10'1003;
    t.memory[0x10'1000] = 0x10'2003;
    t.memory[0x10'2000] = 0x10'3003;
    t.memory[0x10'2008] = 0x10'3003;
    for (std::uint64_t at = 0; at < 0x1'0000; at += 8)
        t.memory[at] = 3;
    bump_allocator<pa> pool{range<pa>{pa{0x10'4000}, 8 << 12}};
    table adopted{t.stage, t.memory, pool};
    auto const done = adopted.map(range{ipa{0}, 4_MiB}, pa{0x1000}, read_write);
    REQUIRE_FALSE(done);
    CHECK(done.error() == map_failure{map_error::already_mapped, 2_MiB});
    for (std::uint64_t at = 0; at < 0x1'0000; at += 8)
        CHECK(t.memory[at] == 3);
    // One below them is reached twice too, by its two ends: it takes one new table, and the second one is given back.
    for (std::uint64_t at = 0; at < 0x1000; at += 8)
        t.memory[0x10'3000 + at] = 0;
    t.memory[0x10'1008] = 0x10'2003;
    t.memory[0x10'2000] = 0;
    t.memory[0x10'2008] = 0x10'3003;
    for (std::uint64_t n = 2; n < 512; ++n)
        t.memory[0x10'2000 + n * 8] = 0x10'3003;
    REQUIRE(adopted.map(range{ipa{1_MiB}, 4_KiB}, pa{0x1000}, read_write));
    CHECK(pool.taken() == 1);
    // The root leads to itself.
    own_tables loop;
    for (std::uint64_t n = 0; n < 512; ++n)
        loop.memory[0x10'0000 + n * 8] = 0x10'0003;
    CHECK(loop.built.map(range{ipa{0}, 8_KiB}, pa{0}, read).error().why == map_error::already_mapped);
    CHECK(loop.pool.taken() == 0);
}

TEST_CASE("a mapping that a memory ends half-way gives back the tables that it has not used") {
    struct failing : sparse_memory<pa> {
        std::uint64_t left{};
        outcome<bool, error> store(pa a, std::uint64_t value) noexcept {
            if (left-- == 0) return failure{memory_error::outside};
            return sparse_memory<pa>::store(a, value);
        }
    };
    // Three tables are chained with three stores; each is cleared with 512 before the next is taken off the chain. One store
    // fails. A table that could not be cleared is given back; those above it are linked as they are.
    for (std::uint64_t const k : {0u, 1u, 2u, 3u, 100u, 514u, 515u, 1026u, 1027u}) {
        own_tables t;
        failing memory;
        for (std::uint64_t n = 0; n < 8; ++n)
            memory[0x10'0000 + (n << 12)] = 0;
        bump_allocator<pa> pool{range<pa>{pa{0x10'1000}, 7 << 12}};
        table built{t.stage, memory, pool};
        memory.left = k;
        auto const done = built.map(range{ipa{0x1000}, 4_KiB}, pa{0x1000}, read);
        CAPTURE(k);
        REQUIRE_FALSE(done);
        CHECK(done.error().why == map_error::unreadable);
        CHECK(pool.taken() == (k < 515 ? 0 : k < 1027 ? 1 : 2));
        CHECK((memory[0x10'0000] != 0) == (k >= 515));
    }
}

TEST_CASE("a mapping does not cross the hole between the halves of a canonical space") {
    own_tables t;
    vtd::first_stage<iova, pa> const s{t.unit.caps(), 4, pa{0x10'0000}};
    table built{s, t.memory, t.pool};
    auto const across = range<iova>::between(iova{0x7fff'ffff'f000}, iova{0xffff'8000'0000'0fff});
    CHECK(built.map(across, pa{0}, read_write).error().why == map_error::beyond_input);
    CHECK(built.map(range{iova{0x7fff'ffff'f000}, 4_KiB}, pa{0x1000}, read_write));
    CHECK(built.map(range{iova{0xffff'8000'0000'0000}, 4_KiB}, pa{0x2000}, read_write));
    CHECK(built.map(range<iova>::between(iova{~std::uint64_t{0xfff}}, iova{~std::uint64_t{0}}), pa{0x3000}, read_write));
}

TEST_CASE("B43: a mapping that ends exactly where a table ends") {
    for (std::uint64_t const end : std::initializer_list<std::uint64_t>{2_MiB, 1_GiB, 512_GiB, 1_TiB}) {
        own_tables t;
        CAPTURE(end);
        REQUIRE(t.built.map(range{ipa{end - 8_KiB}, 8_KiB}, pa{0x4000}, read));
        CHECK(t.find(end - 1)->output == pa{0x5fff});
        CHECK_FALSE(t.find(end));
        CHECK_FALSE(t.find(end - 8_KiB - 1));
        CHECK(t.pool.taken() == 3);
    }
}

TEST_CASE("B48: every way in answers an address beyond the width with an error") {
    sheet_unit u;
    domain const s{u.caps(), 3, ipa{0x3000'0000}};
    for (std::uint64_t const beyond : std::initializer_list<std::uint64_t>{bit(39), bit(48), bit(63), ~std::uint64_t{0}}) {
        CAPTURE(beyond);
        CHECK(walk(s, u.memory, iova{beyond}, read).error().code == reason::address_beyond_width);
        CHECK(walk(s, u.memory, iova{beyond}, read, no_trace{}).error().code == reason::address_beyond_width);
        CHECK(single{s, u.memory}.translate(iova{beyond}, none).error().code == reason::address_beyond_width);
        CHECK(walk(trusted{s}, u.memory, iova{beyond}, read).error().code == reason::address_beyond_width);
        CHECK(for_each_leaf(s, u.memory, range<iova>::between(iova{beyond}, iova{~std::uint64_t{0}}), [](leaf<domain> const&) {
              }).loads == 0);
        own_tables t{3};
        auto const page = beyond & ~low_mask(12);
        CHECK(t.built.map(range{ipa{page}, 4_KiB}, pa{0}, read).error().why == map_error::beyond_input);
    }
}

TEST_CASE("B50, B51: a reader never sees half a mapping: filled, published, then entered with one store") {
    own_tables t;
    t.memory.stored.clear();
    REQUIRE(t.built.map(range{ipa{0x1000}, 4_KiB}, pa{0x5000}, read_write));
    // The entry of the root table, through which a reader comes, is the last store of all.
    REQUIRE_FALSE(t.memory.stored.empty());
    CHECK(t.memory.stored.back().at == 0x10'0000);
    // No entry leads to a table before the table is complete.
    std::map<std::uint64_t, std::uint64_t> words;
    std::set<std::uint64_t> entered{0x10'0000};
    for (auto const& s : t.memory.stored) {
        words[s.at] = s.value;
        std::uint64_t const of = s.at & ~low_mask(12);
        bool const live = entered.contains(of);
        if (live) CHECK(s.at == 0x10'0000); // the one store that a reader can notice
    }
    // Every new table was published whole, and every entry after it was stored.
    unsigned whole = 0;
    for (auto const& p : t.memory.published)
        whole += p.value == 4096;
    CHECK(whole == 3);
    CHECK(t.memory.published.back() == sparse_memory<pa>::pair{0x10'0000, 8});
}

TEST_CASE("B52: the depth comes from AW, and a root table of another depth is read as such") {
    sheet_unit u;
    // Tables of four levels under AW = 1: the entry that would lead to a PDPT is taken for one that leads to a PD.
    u.address_width(1);
    std::uint64_t const in = 0x34'5678'9abc;
    u.memory[0x3000'0000 + (in >> 30) * 8] = 0x3100'0003;
    u.memory[0x3100'0000 + (in >> 21 & 511) * 8] = 0x3200'0003;
    u.memory[0x3200'0000 + (in >> 12 & 511) * 8] = 0x7'7003;
    auto const found = u.translate(in);
    REQUIRE(found);
    CHECK(found->output == ipa{0x7'7abc});
    CHECK(u.memory.trail.size() == 7);
    CHECK(u.memory.trail[4] == 0x3000'0000 + (in >> 30) * 8);
    // A 1 GiB leaf in the root table of three levels is one; in that of four it is a fault.
    u.memory[0x3000'0000 + (in >> 30) * 8] = 0x4000'0083;
    CHECK(u.translate(in)->lg2_size == 30);
    u.address_width(2);
    u.memory[0x3000'0000 + (in >> 39) * 8] = 0x4000'0083;
    CHECK(code_of(u.translate(in)) == reason::table_reserved);
}

TEST_CASE("B54: a large page keeps its attributes bit for bit and none of its low bits become address") {
    own_tables t;
    auto const attributes_of = attributes::from_bits(0x869); // R, EMT 5, IPAT, SNP
    REQUIRE(t.built.map(range{ipa{0}, 1_GiB}, pa{3_GiB}, attributes_of));
    CHECK(t.find(0x1234'5678)->output == pa{3_GiB + 0x1234'5678});
    CHECK(t.find(0x1234'5678)->effective == attributes_of);
    CHECK(t.find(0x1234'5678)->lg2_size == 30);
    CHECK(t.memory[0x10'1000] == (3_GiB | 0x869 | 0x80));
    REQUIRE(t.built.map(range{ipa{1_GiB}, 2_MiB}, pa{6_MiB}, attributes_of));
    CHECK(t.find(1_GiB + 0x1f'ffff)->output == pa{8_MiB - 1});
    CHECK(t.find(1_GiB)->effective == attributes_of);
}

TEST_CASE("B56: regions that end at the top of the space") {
    for (std::uint64_t const levels : std::initializer_list<std::uint64_t>{3, 4, 5}) {
        own_tables t{levels};
        std::uint64_t const last = t.stage.admitted().begin()->last().value;
        CAPTURE(levels);
        REQUIRE(t.built.map(range<ipa>::between(ipa{last - 0x1fff}, ipa{last}), pa{0x4000}, read_write));
        CHECK(t.find(last)->output == pa{0x5fff});
        CHECK(t.built.map(range<ipa>::between(ipa{last - 0x3fff}, ipa{last + 0x1000}), pa{0}, read).error().why ==
              map_error::beyond_input);
        CHECK(t.built.map(range<ipa>::between(ipa{0x1000}, ipa{~std::uint64_t{0}}), pa{0}, read).error().why ==
              map_error::beyond_input);
        CHECK(t.built.map(range{ipa{~std::uint64_t{0xfff}}, 0x2000}, pa{0}, read).error().why == map_error::bad_range);
    }
    // The output's top, too: it must not wrap into low memory.
    own_tables t;
    CHECK(t.built.map(range{ipa{0}, 8_KiB}, pa{~std::uint64_t{0xfff}}, read).error().why == map_error::cannot_encode);
    CHECK(t.built.map(range{ipa{0}, 8_KiB}, pa{64_TiB - 8_KiB}, read));
}

TEST_CASE("B57: one table under two parents has the rights of each way in") {
    sheet_unit u;
    u.memory[u.l3] = 0x3200'0001;
    u.memory[u.l3 + 8] = 0x3200'0003;
    CHECK(code_of(u.translate(write)) == reason::write_denied);
    auto const other = u.translate(u.at + 1_GiB, write);
    REQUIRE(other);
    CHECK(other->output == ipa{0xabc'de00'0abc});
    CHECK(u.translate(read)->effective.rights() == read);
}

TEST_CASE("B58: every word is loaded once, on the fast way and on the slow one") {
    for (std::uint64_t const leaf :
         std::initializer_list<std::uint64_t>{0xabc'de00'0803ull, 0xabc'de00'0801ull, 0x0ull, 0x4000'0abc'de00'0803ull}) {
        sheet_unit u;
        u.memory[u.l1] = leaf;
        recording<sparse_memory<ipa>> watched{u.memory};
        vtd::iommu const unit{u.caps(), vtd::root_table_address(u.root_register), watched};
        (void)unit.translate(u.ask(u.at, write));
        CAPTURE(leaf);
        CHECK(watched.each_once());
        CHECK(watched.loads() == 8);
        CHECK(watched.updates() == 0);
    }
}

TEST_CASE("B58: an entry that changes under the walk is judged as it was read") {
    sheet_unit u;
    // Every further look at the same address would find something else.
    std::map<std::uint64_t, unsigned> looks;
    auto changing = make_callback<ipa>([&](ipa a) -> outcome<std::uint64_t, memory_error> {
        if (looks[a.value]++ > 0) return 0xffff'ffff'ffff'ffff;
        return u.memory.load(a);
    });
    vtd::iommu const unit{u.caps(), vtd::root_table_address(u.root_register), changing};
    CHECK(unit.translate(u.ask(u.at, write))->output == ipa{0xabc'de00'0abc});
    looks.clear();
    u.memory[u.l1] = 0xabc'de00'0801;
    CHECK(unit.translate(u.ask(u.at, write)).error().entry == 0xabc'de00'0801);
}

TEST_CASE("B60: an entry of all ones is a reserved bit and no failed read") {
    sheet_unit u;
    u.memory[u.l2] = ~std::uint64_t{0};
    CHECK(code_of(u.translate()) == reason::table_reserved);
    u.memory[u.root] = ~std::uint64_t{0};
    CHECK(code_of(u.translate()) == reason::root_reserved);
}

TEST_CASE("no input makes a unit do anything but answer") {
    // Registers and entries of all zeros and all ones, together.
    for (unsigned n = 0; n < 64; ++n) {
        sheet_unit u;
        auto const choose = [&](unsigned which) { return (n >> which & 1) != 0 ? ~std::uint64_t{0} : 0; };
        u.root_register = choose(0);
        u.memory[u.root] = choose(1) & 0x2000'0001;
        u.memory[u.context] = choose(2);
        u.memory[u.context + 8] = choose(3);
        u.memory[u.l4] = choose(4);
        for (std::uint64_t const at : {std::uint64_t{0}, u.at, ~std::uint64_t{0}}) {
            (void)u.translate(at, choose(5) != 0 ? read_write : none);
            CHECK(u.memory.trail.size() <= 9);
        }
    }
}

} // namespace stagewalk::test
