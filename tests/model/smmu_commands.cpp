// SMMU commands: the library against the naive predicates, on random commands, capabilities and tags; and every range command
// page by page.
#include "catch.hpp"
#include "host_memory.hpp"
#include "random_bits.hpp"
#include "smmu_scopes.hpp"

#include <stagewalk/smmu/command.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdio>

namespace {

namespace sw = stagewalk;
namespace model = smmu_scopes;

constexpr std::uint64_t opcodes[] = {0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x10, 0x11, 0x12, 0x13, 0x20,
                                     0x21, 0x22, 0x23, 0x28, 0x2a, 0x30, 0x40, 0x41, 0x44, 0x45, 0x46};

// What can occur: a few values each, so that commands and items agree often.
struct pool {
    random_bits& random;

    std::uint64_t source() {
        static constexpr std::uint64_t some[] = {0, 1, 0x2a, 0x2b, 0x40, 0x1234, 0x1235, 0x8000'0000, 0xffff'ffff};
        return random.pick(some);
    }
    std::uint64_t pasid() {
        static constexpr std::uint64_t some[] = {0, 1, 0x40, 0x1234, 0xf'ffff};
        return random.pick(some);
    }
    std::uint64_t vmid() {
        static constexpr std::uint64_t some[] = {0, 1, 0x10, 0x17, 0x18, 0x117, 0xffff};
        return random.pick(some);
    }
    std::uint64_t asid() {
        static constexpr std::uint64_t some[] = {0, 0x42, 0x43, 0x142, 0xffff};
        return random.pick(some);
    }
    std::uint64_t address() {
        static constexpr std::uint64_t some[] = {0,
                                                 0x4000'0000,
                                                 0x4000'1000,
                                                 0x401f'f000,
                                                 0x4020'0000,
                                                 0x7f12'3456'7000,
                                                 0x0000'ffff'ffff'f000,
                                                 0xffff'0000'0000'0000,
                                                 0xffff'8000'1234'5000,
                                                 0xffff'ffff'ffff'0000,
                                                 0xffff'ffff'ffff'f000};
        return random.pick(some);
    }
    static std::uint64_t low(std::uint64_t lg2) { return lg2 >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << lg2) - 1; }

    model::unit unit() {
        model::unit u;
        // Mostly everything is there.
        u.idr0 = 0x0003'0603 | 1u << 18 | (random.one_in(4) ? random() & 0x0307'0603 : 0);
        if (random.one_in(3)) u.idr0 &= ~(std::uint64_t{1} << random.below(32));
        if (random.one_in(8)) u.idr0 = random() & 0xffff'ffff;
        u.idr3 = random.one_in(4) ? random() & 0xffff'ffff : 0x400;
        u.idr5 = random() & 0xffff'ffff;
        if (random.one_in(4)) u.idr1 = 0;
        u.cr0 = random.one_in(2) ? 1 : random() & 0xffff'ffff;
        return u;
    }
    model::words command(std::uint64_t op) {
        model::words w;
        w.d[0] = op;
        bool const by_source = op < 0x10 || op >= 0x40;
        if (by_source) {
            w.d[0] |= random.below(4) / 2 << 11 | pasid() << 12 | source() << 32;
            if (op == 0x40 || random.one_in(16)) w.d[0] |= random.below(2) << 9;
            if (op == 0x46) w.d[0] = op | random.below(4) << 12;
        } else {
            w.d[0] |= vmid() << 32 | asid() << 48;
            if (!random.one_in(3)) w.d[0] |= (random.one_in(2) ? random.below(4) : random.below(32)) << 12;
            if (!random.one_in(3)) w.d[0] |= random.below(random.one_in(4) ? 64 : 8) << 20;
        }
        if (random.one_in(16)) w.d[0] |= 1u << 10;
        w.d[1] = address() + (random.one_in(4) ? random.below(64) << 12 : 0);
        if (op == 0x40) {
            w.d[1] |= random.one_in(2) ? random.below(16) : random.below(64);
        } else if (by_source) {
            w.d[1] = random.below(32);
        } else {
            w.d[1] |= random.below(2) | random.below(4) << 8 | random.below(4) << 10;
        }
        if (random.one_in(32)) w.d[random.below(2)] ^= std::uint64_t{1} << (8 + random.below(56));
        return w;
    }
    // An item that has much in common with the command.
    model::item item(model::words const& w, model::place where) {
        model::item i;
        i.source =
            random.one_in(2) ? model::bits(w, 63, 32) ^ (random.one_in(2) ? std::uint64_t{1} << random.below(32) : 0) : source();
        i.pasid = random.one_in(2) ? model::bits(w, 31, 12) : pasid();
        if (where == model::device && random.one_in(3)) i.pasid = model::no_substream;
        if (where == model::stream_directory) i.covered = low(6 + 2 * random.below(3));
        if (where == model::context_directory) i.covered = low(6 + 4 * random.below(2));
        i.world = static_cast<model::world_of>(random.below(3));
        i.vmid =
            random.one_in(2) ? model::bits(w, 47, 32) ^ (random.one_in(4) ? std::uint64_t{1} << random.below(5) : 0) : vmid();
        i.asid = random.one_in(2) ? model::bits(w, 63, 48) : asid();
        i.global = random.one_in(4);
        static constexpr std::uint64_t sizes[] = {12, 12, 14, 16, 16, 21, 25, 29, 30, 36, 39};
        std::uint64_t const size = random.pick(sizes);
        std::uint64_t at = random.one_in(2) ? model::bits(w, 127, 76) << 12 : address();
        if (random.one_in(2)) at += std::uint64_t{1} << (12 + random.below(24));
        if (random.one_in(4)) at -= 4096;
        i.first = at & ~low(size);
        i.last = at | low(size);
        i.level = random.below(4);
        return i;
    }
};

sw::smmu::capabilities caps_of(model::unit const& u) {
    auto const low = [](std::uint64_t r) { return static_cast<std::uint32_t>(r); };
    return {low(u.idr0), low(u.idr1), low(u.idr3), low(u.idr5), 2};
}
sw::smmu::control registers_of(model::unit const& u) { return {0, 0, static_cast<std::uint32_t>(u.cr0)}; }

sw::smmu::cache_tag tag_of(model::item const& i) {
    sw::smmu::cache_tag t;
    t.source = static_cast<std::uint32_t>(i.source);
    t.covered = static_cast<std::uint32_t>(i.covered);
    t.pasid = static_cast<std::uint32_t>(i.pasid);
    t.world = static_cast<sw::smmu::stream_world>(i.world);
    t.vmid = static_cast<std::uint16_t>(i.vmid);
    t.asid = static_cast<std::uint16_t>(i.asid);
    t.global = i.global;
    t.addresses = sw::range<sw::iova>::between(sw::iova{i.first}, sw::iova{i.last});
    t.level = i.level;
    return t;
}

// Which caches each command can touch at all.
bool touches(std::uint64_t op, unsigned place) {
    switch (op) {
    case 0x03:
    case 0x04: return place <= model::context;
    case 0x05:
    case 0x06: return place == model::context || place == model::context_directory;
    case 0x28:
    case 0x30: return place >= model::stage1 && place <= model::stage2_tables;
    case 0x2a: return place == model::stage2 || place == model::stage2_tables;
    case 0x40: return place == model::device;
    default: return op >= 0x10 && op < 0x28 && (place == model::stage1 || place == model::stage1_tables);
    }
}

} // namespace

TEST_CASE("SMMU commands: the caches are numbered as the model numbers them") {
    using sw::smmu::cache;
    CHECK(sw::smmu::cache_count == model::places);
    CHECK(static_cast<int>(cache::stream_directory) == model::stream_directory);
    CHECK(static_cast<int>(cache::stream) == model::stream);
    CHECK(static_cast<int>(cache::context_directory) == model::context_directory);
    CHECK(static_cast<int>(cache::context) == model::context);
    CHECK(static_cast<int>(cache::stage1) == model::stage1);
    CHECK(static_cast<int>(cache::stage2) == model::stage2);
    CHECK(static_cast<int>(cache::stage1_tables) == model::stage1_tables);
    CHECK(static_cast<int>(cache::stage2_tables) == model::stage2_tables);
    CHECK(static_cast<int>(cache::device) == model::device);
    CHECK(static_cast<int>(sw::smmu::stream_world::el1) == model::el1);
    CHECK(static_cast<int>(sw::smmu::stream_world::el2) == model::el2);
    CHECK(static_cast<int>(sw::smmu::stream_world::el2_e2h) == model::el2_e2h);
}

TEST_CASE("SMMU commands: random ones drop what the model drops, in every cache") {
    random_bits random{0x8301};
    pool some{random};
    std::uint64_t dropped[256][model::places]{};
    std::uint64_t kept[256][model::places]{};
    std::uint64_t illegal[256]{};
    std::uint64_t cases = 0;
    for (std::uint64_t round = 0, rounds = sw::test::fewer(60000); round < rounds; ++round) {
        model::unit const u = some.unit();
        model::words const w = some.command(round % 16 == 0 ? random.below(256) : random.pick(opcodes));
        std::uint64_t const op = w.d[0] & 0xff;
        CAPTURE(w.d[0], w.d[1], u.idr0, u.idr3, u.idr5, u.cr0);
        auto const c = sw::smmu::decode(w.d, caps_of(u), registers_of(u));
        bool const is_illegal = model::is_illegal(u, w);
        if (static_cast<bool>(c) == is_illegal) FAIL("illegal: " << is_illegal);
        if (!c) {
            if (c.error() != sw::smmu::command_error::illegal) FAIL("not CERROR_ILL");
            ++illegal[op];
            continue;
        }
        if (static_cast<std::uint64_t>(c->type) != op || c->word[0] != w.d[0] || c->word[1] != w.d[1]) FAIL("type or words");
        for (unsigned place = 0; place < model::places; ++place)
            for (unsigned n = 0; n < 6; ++n) {
                model::item const i = some.item(w, static_cast<model::place>(place));
                bool const expected = model::drops(u, w, static_cast<model::place>(place), i);
                ++(expected ? dropped : kept)[op][place];
                ++cases;
                if (c->stale.drops(static_cast<sw::smmu::cache>(place), tag_of(i)) != expected)
                    FAIL("cache " << place << " is to drop: " << expected << std::hex << " source " << i.source << " covered "
                                  << i.covered << " pasid " << i.pasid << " world " << i.world << " vmid " << i.vmid << " asid "
                                  << i.asid << " global " << i.global << " " << i.first << " to " << i.last << " level "
                                  << i.level);
            }
    }
    std::printf("SMMU commands: %llu cases\n", static_cast<unsigned long long>(cases));
    if (!sw::test::all_cases()) return;
    CHECK(cases >= 300000);
    for (std::uint64_t const op : opcodes)
        for (unsigned place = 0; place < model::places; ++place) {
            CAPTURE(op, place);
            CHECK(kept[op][place] > 0);
            CHECK((dropped[op][place] > 0) == touches(op, place));
            CHECK(illegal[op] > 0);
        }
}

TEST_CASE("SMMU commands: every page around a random range, against the words of the command") {
    static constexpr std::uint64_t by_address[] = {0x12, 0x13, 0x22, 0x23, 0x2a};
    random_bits random{0x8302};
    std::uint64_t cases = 0;
    std::uint64_t dropped = 0;
    std::uint64_t at_top = 0;
    for (std::uint64_t round = 0, rounds = sw::test::fewer(3000); round < rounds; ++round) {
        model::unit u;
        u.idr0 = 0x0003'0603;
        u.idr3 = random.one_in(16) ? 0 : 0x400;
        u.idr5 = random.below(2) << 7;
        std::uint64_t const op = random.pick(by_address);
        std::uint64_t const tg = random.below(4);
        unsigned const lg2 = tg == 1 ? 12 : tg == 2 ? 14 : tg == 3 ? 16 : 12;
        std::uint64_t const num = random.below(32);
        std::uint64_t const scale = random.below(4) | (random.one_in(8) ? 32 : 0);
        std::uint64_t const ttl = random.below(4);
        bool const top = random.one_in(4);
        std::uint64_t const at = top ? ~std::uint64_t{0} << (lg2 + random.below(8)) : 0x4000'0000 + (random.below(4096) << 12);
        model::words const w{{op | num << 12 | scale << 20 | std::uint64_t{0x17} << 32 | std::uint64_t{0x42} << 48,
                              (at & ~std::uint64_t{0xfff}) | random.below(2) | ttl << 8 | tg << 10}};
        CAPTURE(w.d[0], w.d[1], u.idr3, u.idr5);
        auto const c = sw::smmu::decode(w.d, caps_of(u));
        REQUIRE(static_cast<bool>(c) != model::is_illegal(u, w));
        if (!c) continue;
        // The pages of the range, by counting: no sum of addresses that could overflow.
        bool const ranged = (u.idr3 & 0x400) != 0 && tg != 0;
        std::uint64_t const wide = (u.idr5 & 0x80) != 0 ? scale : scale & 31;
        std::uint64_t const pages = ranged ? (num + 1) << (wide < 39 ? wide : 39) : 1;
        std::uint64_t const first = at >> lg2;
        bool const is_stage2 = op == 0x2a;
        std::uint64_t const count = pages < 300 ? pages : 300;
        for (std::uint64_t n = 0; n < count + 8; ++n) {
            std::uint64_t const page = (first + n - 4) & pool::low(64 - lg2);
            bool const inside = page >= first && page - first < pages;
            model::item i;
            i.world = op >= 0x20 && op < 0x28 ? model::el2_e2h : model::el1;
            i.vmid = 0x17;
            i.asid = 0x42;
            i.level = random.below(3) + 1;
            i.first = page << lg2;
            i.last = i.first + pool::low(lg2);
            bool const any_level = !ranged || ttl == 0 || (ttl == 1 && tg == 2 && (u.idr5 & 0x80) == 0);
            bool const leaves = inside && (any_level || ttl == i.level);
            bool const tables = inside && (w.d[1] & 1) == 0;
            using sw::smmu::cache;
            CAPTURE(page, first, pages, i.level);
            if (c->stale.drops(is_stage2 ? cache::stage2 : cache::stage1, tag_of(i)) != leaves) FAIL("leaf");
            if (c->stale.drops(is_stage2 ? cache::stage2_tables : cache::stage1_tables, tag_of(i)) != tables) FAIL("table");
            if (c->stale.drops(is_stage2 ? cache::stage1 : cache::stage2, tag_of(i))) FAIL("the other stage");
            ++cases;
            dropped += leaves;
            at_top += top && leaves;
        }
    }
    std::printf("SMMU ranges: %llu pages\n", static_cast<unsigned long long>(cases));
    if (!sw::test::all_cases()) return;
    CHECK(cases >= 100000);
    CHECK(dropped > 10000);
    CHECK(at_top > 1000);
}
