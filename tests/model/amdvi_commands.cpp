// AMD-Vi commands: the library against the naive predicates, on random commands, capabilities and tags; and every page around a
// random block.
#include "amdvi_scopes.hpp"
#include "catch.hpp"
#include "host_memory.hpp"
#include "random_bits.hpp"

#include <stagewalk/amdvi/command.hpp>

#include <cstdint>
#include <cstdio>

namespace {

namespace sw = stagewalk;
namespace model = amdvi_scopes;

std::uint64_t low(std::uint64_t lg2) { return lg2 >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << lg2) - 1; }

// What can occur: a few values each, so that commands and items agree often.
struct pool {
    random_bits& random;

    std::uint64_t source() {
        static constexpr std::uint64_t some[] = {0, 0xa5, 0xa6, 0x1a3, 0x41a3, 0x80a5, 0xffff};
        return random.pick(some);
    }
    std::uint64_t domain() {
        static constexpr std::uint64_t some[] = {0, 5, 6, 0x11, 0x105, 0x8005, 0xffff};
        return random.pick(some);
    }
    std::uint64_t pasid() {
        static constexpr std::uint64_t some[] = {0, 1, 0x123, 0x1230, 0xa'bcde, 0xf'ffff};
        return random.pick(some);
    }
    std::uint64_t address() {
        static constexpr std::uint64_t some[] = {0,
                                                 0x1000,
                                                 0x1000'0000,
                                                 0x1000'1000,
                                                 0x100f'f000,
                                                 0x3fff'f000,
                                                 0x7'2345'6000,
                                                 0x7f12'344f'f000,
                                                 0x000f'ffff'ffff'f000,
                                                 0x0007'ffff'ffff'f000,
                                                 0x0010'0000'0000'0000,
                                                 0x7fff'ffff'ffff'f000,
                                                 0xffff'8000'1234'5000,
                                                 0xffff'ffff'ffff'f000};
        return random.pick(some);
    }
    // With a size code of any size.
    std::uint64_t operand() {
        std::uint64_t const at = random.one_in(2) ? address() : random.any_width() & ~low(12);
        return random.one_in(2) ? at : at | (low(12 + random.below(52)) & ~low(12));
    }

    model::unit unit() {
        // Mostly everything is there.
        model::unit u{0x00c0'0000'0000'0053, 0x0100'0000};
        if (random.one_in(4)) {
            static constexpr unsigned features[] = {0, 1, 4, 6, 54, 55};
            u.efr ^= std::uint64_t{1} << random.pick(features);
        }
        if (random.one_in(16)) u.efr = random();
        if (random.one_in(16)) u.header = random() & 0xffff'ffff;
        return u;
    }
    model::words command(std::uint64_t op) {
        model::words w{{op << 60, 0}};
        std::uint64_t const p = pasid();
        switch (op) {
        case 1: w = {{w.d[0] | (random() & low(52)), random()}}; break;
        case 2:
        case 5: w.d[0] |= source(); break;
        case 3: w = {{w.d[0] | p | domain() << 32, operand() | random.below(8)}}; break;
        case 4:
            w.d[0] |=
                source() | (p >> 8 & 0xff) << 16 | random.below(256) << 24 | source() << 32 | (p & 0xff) << 48 | p >> 16 << 56;
            w.d[1] = operand() | random.below(2) | random.below(2) << 2 | (random.one_in(3) ? random.below(4) << 4 : 0);
            break;
        case 6:
            w.d[0] |= source() | random.below(256) << 24 | p << 32;
            w.d[1] = operand() | random.below(2) | random.below(2) << 2 | random.below(2) << 4;
            break;
        case 7: w = {{w.d[0] | source() | p << 32, random.below(2) << 2 | random.below(0x10000) << 32}}; break;
        case 9: w = {{w.d[0] | (random() & low(60)), random()}}; break;
        case 10: w.d[0] |= source() | random.below(2) << 27 | random.below(2) << 31; break;
        default: break;
        }
        if (random.one_in(16)) w.d[random.below(2)] ^= std::uint64_t{1} << random.below(64);
        return w;
    }
    // An item that has much in common with the command.
    model::item item(model::words const& w) {
        model::item i;
        auto const turned = [&](std::uint64_t value, unsigned width) {
            return random.one_in(4) ? value ^ std::uint64_t{1} << random.below(width) : value;
        };
        i.source = random.one_in(4) ? source() : turned(model::bits(w, 15, 0), 16);
        i.domain = random.one_in(4) ? domain() : turned(model::bits(w, 47, 32), 16);
        i.pasid = random.one_in(4) ? pasid() : turned(model::pasid_of(w), 20);
        static constexpr std::uint64_t sizes[] = {12, 12, 13, 16, 21, 21, 22, 30, 32, 39, 51, 57};
        std::uint64_t const size = random.pick(sizes);
        std::uint64_t at = random.one_in(4) ? address() : w.d[1];
        if (random.one_in(2)) at ^= std::uint64_t{1} << (12 + random.below(52));
        if (random.one_in(4)) at += random.one_in(2) ? 4096 : ~std::uint64_t{4095};
        i.first = at & ~low(size);
        i.last = at | low(size);
        return i;
    }
};

sw::amdvi::capabilities caps_of(model::unit const& u) {
    return sw::amdvi::capabilities{u.efr, 0, static_cast<std::uint32_t>(u.header)};
}

sw::amdvi::cache_tag tag_of(model::item const& i) {
    sw::amdvi::cache_tag t;
    t.source = static_cast<std::uint16_t>(i.source);
    t.domain = static_cast<std::uint16_t>(i.domain);
    t.pasid = static_cast<std::uint32_t>(i.pasid);
    t.page = sw::range<sw::iova>::between(sw::iova{i.first}, sw::iova{i.last});
    return t;
}

// Which caches each command can touch at all.
bool touches(std::uint64_t op, unsigned place) {
    switch (op) {
    case 2:
        return place == model::device_entry || place == model::guest_tables || place == model::gcr3 ||
               place == model::interrupt_table;
    case 3: return place >= model::host && place <= model::gcr3;
    case 4: return place == model::device;
    case 5: return place == model::interrupt || place == model::interrupt_table;
    case 6: return place == model::host || place == model::guest;
    case 8: return place != model::device;
    default: return false;
    }
}

} // namespace

TEST_CASE("AMD-Vi commands: the caches are numbered as the model numbers them") {
    using sw::amdvi::cache;
    CHECK(sw::amdvi::cache_kinds == model::places);
    CHECK(static_cast<int>(cache::device_entry) == model::device_entry);
    CHECK(static_cast<int>(cache::host) == model::host);
    CHECK(static_cast<int>(cache::guest) == model::guest);
    CHECK(static_cast<int>(cache::host_tables) == model::host_tables);
    CHECK(static_cast<int>(cache::guest_tables) == model::guest_tables);
    CHECK(static_cast<int>(cache::gcr3) == model::gcr3);
    CHECK(static_cast<int>(cache::interrupt) == model::interrupt);
    CHECK(static_cast<int>(cache::interrupt_table) == model::interrupt_table);
    CHECK(static_cast<int>(cache::device) == model::device);
}

TEST_CASE("AMD-Vi commands: random ones drop what the model drops, in every cache") {
    random_bits random{0xa301};
    pool some{random};
    std::uint64_t dropped[16][model::places]{};
    std::uint64_t kept[16][model::places]{};
    std::uint64_t illegal[16]{};
    std::uint64_t cases = 0;
    for (std::uint64_t round = 0, rounds = sw::test::fewer(40000); round < rounds; ++round) {
        model::unit const u = some.unit();
        model::words const w = some.command(round % 16 == 0 ? random.below(16) : 1 + random.below(10));
        std::uint64_t const op = model::opcode(w);
        CAPTURE(w.d[0], w.d[1], u.efr, u.header);
        auto const c = sw::amdvi::decode(w.d, caps_of(u));
        bool const is_illegal = model::is_illegal(u, w);
        if (static_cast<bool>(c) == is_illegal) FAIL("illegal: " << is_illegal);
        if (!c) {
            using enum sw::amdvi::command_error;
            auto const expected = op == 0 || op > 10 ? opcode : model::is_reserved_bit_set(w) ? reserved_bit : no_feature;
            if (c.error() != expected) FAIL("reason");
            ++illegal[op];
            continue;
        }
        if (static_cast<std::uint64_t>(c->type) != op || c->word[0] != w.d[0] || c->word[1] != w.d[1]) FAIL("type or words");
        for (unsigned place = 0; place < model::places; ++place)
            for (unsigned n = 0; n < 8; ++n) {
                model::item const i = some.item(w);
                bool const expected = model::drops(w, static_cast<model::place>(place), i);
                ++(expected ? dropped : kept)[op][place];
                ++cases;
                if (c->stale.drops(static_cast<sw::amdvi::cache>(place), tag_of(i)) != expected)
                    FAIL("cache " << place << " is to drop: " << expected << std::hex << " source " << i.source << " domain "
                                  << i.domain << " pasid " << i.pasid << " " << i.first << " to " << i.last);
            }
    }
    std::printf("AMD-Vi commands: %llu cases\n", static_cast<unsigned long long>(cases));
    if (!sw::test::all_cases()) return;
    CHECK(cases >= 300000);
    for (std::uint64_t op = 0; op < 16; ++op) {
        CAPTURE(op);
        CHECK(illegal[op] > 0);
        for (unsigned place = 0; op >= 1 && op <= 10 && place < model::places; ++place) {
            CAPTURE(place);
            CHECK((kept[op][place] > 0) == (op != 8 || place == model::device));
            CHECK((dropped[op][place] > 0) == touches(op, place));
        }
    }
}

TEST_CASE("AMD-Vi commands: the encoded block holds the range, and no smaller one does") {
    random_bits random{0xa302};
    unsigned sizes[65]{};
    for (std::uint64_t round = 0, rounds = sw::test::fewer(200000); round < rounds; ++round) {
        std::uint64_t first = random.any_width();
        std::uint64_t last = random.one_in(2) ? first + random.any_width() : first | random.any_width();
        if (random.one_in(2)) last = first + random.below(0x10000);
        if (last < first) {
            std::uint64_t const other = first;
            first = last;
            last = other;
        }
        CAPTURE(first, last);
        auto const c = sw::amdvi::invalidate_pages(5, sw::amdvi::no_pasid,
                                                   sw::range<sw::iova>::between(sw::iova{first}, sw::iova{last}), true);
        model::words const w{{c.word[0], c.word[1]}};
        unsigned const lg2 = model::lg2_of(w);
        ++sizes[lg2];
        // The smallest: by trying all.
        unsigned smallest = 12;
        while (smallest < 64 && first >> smallest != last >> smallest)
            ++smallest;
        if (smallest > 52) smallest = 64;
        if (lg2 != smallest) FAIL("lg2 " << lg2 << " instead of " << smallest);
        if (lg2 < 64 && w.d[1] >> lg2 != first >> lg2) FAIL("another block");
        auto const pages = sw::amdvi::pages_of(w.d[1]);
        if (pages.first().value != (lg2 == 64 ? 0 : first & ~low(lg2))) FAIL("first");
        if (pages.last().value != (lg2 == 64 ? low(64) : first | low(lg2))) FAIL("last");
        if (lg2 == 64 && w.d[1] != 0x7fff'ffff'ffff'f001) FAIL("everything");
    }
    if (!sw::test::all_cases()) return;
    for (unsigned lg2 = 12; lg2 <= 64; ++lg2) {
        CAPTURE(lg2);
        CHECK((sizes[lg2] > 0) == (lg2 <= 52 || lg2 == 64));
    }
}

TEST_CASE("AMD-Vi commands: the blocks of a range are its pages, each once, and as few as can be") {
    random_bits random{0xa303};
    std::uint64_t many = 0;
    for (std::uint64_t round = 0, rounds = sw::test::fewer(4000); round < rounds; ++round) {
        std::uint64_t const pages = 1 + random.below(random.one_in(2) ? 64 : 5000);
        std::uint64_t base = random.any_width() & ~low(12);
        if (random.one_in(8)) base = low(64) - (pages << 12) + 1; // up to the very top
        if (random.one_in(8)) base = 0;
        if (base + ((pages << 12) - 1) < base) continue;
        std::uint64_t const last = base + ((pages << 12) - 1);
        CAPTURE(base, pages);
        // Bytes within the first and the last page are widened.
        auto const asked = sw::range<sw::iova>::between(sw::iova{base + random.below(4096)},
                                                        sw::iova{last - (pages == 1 ? 0 : random.below(4096))});
        std::uint64_t next = base;
        std::uint64_t count = 0;
        std::uint64_t previous = 0;
        bool falling = false;
        sw::amdvi::for_each_block(asked, [&](sw::range<sw::iova> block) {
            std::uint64_t const size = block.span() + 1;
            if (block.first().value != next) FAIL("a gap");
            if ((size & (size - 1)) != 0 || size < 4096 || next % size != 0) FAIL("no block");
            if (sw::amdvi::pages_of(sw::amdvi::block_around(block)) != block) FAIL("no command names it");
            // As few as can be: first they grow, then they shrink, and none has an equal neighbour that makes a block with it.
            if (count > 0 && size <= previous) falling = true;
            if (falling && size >= previous && !(size == previous && (next - previous) % (2 * size) != 0)) FAIL("too many");
            previous = size;
            next += size;
            ++count;
        });
        if (next != last + 1) FAIL("not all");
        many += count > 4;
    }
    if (!sw::test::all_cases()) return;
    CHECK(many > 500);
}
