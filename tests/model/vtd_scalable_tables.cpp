// First-stage tables and second-stage tables of scalable mode: for_each_leaf against a plain enumeration of the same words
// and against walk(), and table.map against a std::map, then walked.
#include "catch.hpp"
#include "vtd_scalable_arena.hpp"
#include "vtd_scalable_compare.hpp"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstdio>
#include <iterator>
#include <map>
#include <string>
#include <vector>

namespace {

namespace sw = stagewalk;
using namespace vtd_scalable_compare;
using vtd_model::any_bit;
using vtd_model::bit;

using first_type = sw::vtd::first_stage<sw::iova, sw::ipa>;
using second_type = sw::vtd::second_stage<sw::iova, sw::ipa, sw::vtd::table_mode::scalable>;
using fault_type = sw::fault<sw::vtd::reason>;
using where_type = sw::range<sw::iova>;

constexpr std::uint64_t word_pages = 16;

struct words {
    std::uint64_t word[word_pages * 512]{};
    std::uint64_t missing = 0;
    bool read(std::uint64_t at, std::uint64_t& value) const {
        if (at % 8 != 0 || at >= word_pages * 4096 || (missing >> at / 4096 & 1) != 0) return false;
        value = word[at / 8];
        return true;
    }
};

// Either kind of tables.
struct kind {
    unit u;
    bool first = false;
    bool alternate = false; // second: rights in bits 61 and 62
    unsigned reach = 64;    // first: its addresses are below 2^reach
    unsigned levels = 0;
    std::uint64_t root = 0;

    unsigned width() const {
        unsigned const format = 12 + 9 * levels;
        unsigned const mgaw = static_cast<unsigned>(u.cap >> 16 & 63) + 1;
        return first || format < mgaw ? format : mgaw;
    }
    // The lg2 size of the largest page.
    unsigned largest() const {
        if (first) return bit(u.cap, 56) ? 30 : 21;
        return bit(u.cap, 35) ? 30 : bit(u.cap, 34) ? 21 : 12;
    }
    // How many parts of the address space are admitted, and the first and last address of each.
    unsigned parts() const { return first ? 2 : 1; }
    std::uint64_t low(unsigned part) const { return part == 0 ? 0 : std::uint64_t{0} - (std::uint64_t{1} << (width() - 1)); }
    std::uint64_t high(unsigned part) const {
        if (part == 1) return ~std::uint64_t{0};
        unsigned const bits = first ? width() - 1 : width();
        return bits == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << bits) - 1;
    }
};

// A page, or a fault (code not 0).
struct item {
    std::uint64_t first = 0;
    std::uint64_t last = 0;
    std::uint64_t output = 0;
    std::uint64_t attributes = 0;
    unsigned lg2 = 0;
    unsigned code = 0;
    int level = 0;
    std::uint64_t at = 0;
    std::uint64_t entry = 0;

    bool operator==(item const&) const = default;
};

// Bits 0 and 1 of `rights`: R and W (first stage: always, R/W); bit 2: U/S.
struct plain {
    kind const& k;
    words const& memory;
    std::vector<item> items{};
    std::uint64_t loads = 0;
    std::uint64_t tables = 0;
    std::uint64_t faults = 0;

    void table(unsigned level, std::uint64_t at, std::uint64_t base, std::uint64_t first, std::uint64_t last,
               std::uint64_t rights) {
        if (items.size() > 5000) return; // tables that share tables grow without bound
        ++tables;
        std::uint64_t const size = std::uint64_t{1} << (12 + 9 * level);
        for (std::uint64_t i = 0; i < 512; ++i) {
            bool const top = level == k.levels - 1;
            if (k.first && top && (i >= 256) != bit(first, 63)) continue; // the other half
            std::uint64_t from = base + i * size;
            if (k.first && top && i >= 256) from |= ~((size << 9) - 1);
            std::uint64_t const to = from + (size - 1);
            if (to < first || from > last) continue;
            entry(level, at + i * 8, from, from < first ? first : from, to > last ? last : to, rights);
        }
    }

private:
    void entry(unsigned level, std::uint64_t at, std::uint64_t from, std::uint64_t first, std::uint64_t last,
               std::uint64_t rights) {
        item x;
        x.first = first;
        x.last = last;
        x.level = static_cast<int>(level);
        x.at = at;
        ++loads;
        std::uint64_t e = 0;
        bool const top = level == k.levels - 1;
        if (!memory.read(at, e)) {
            x.code = k.first ? (top ? 0x73 : 0x70) : (top ? 0x7b : 0x78);
            ++faults;
            items.push_back(x);
            return;
        }
        x.entry = e;
        std::uint64_t const granted = k.first ? (e & 6) | 1 : (k.alternate ? e >> 61 & 3 : e & 3);
        if (k.first ? !bit(e, 0) : granted == 0) return;
        bool const large =
            k.first ? level == 1 || (level == 2 && bit(k.u.cap, 56)) : level > 0 && level < 3 && bit(k.u.cap, 33 + level);
        bool const page = level == 0 || (large && bit(e, 7));
        bool bad = k.u.haw < 52 && any_bit(e, 51, k.u.haw);
        if (!page) bad = bad || bit(e, 7);
        if (page && level > 0) bad = bad || any_bit(e, 11 + 9 * level, k.first ? 13 : 12);
        if (!k.first) {
            bad = bad || (bit(e, 62) && !k.alternate);
            bad = bad || (bit(e, 11) && (!page || !bit(k.u.ecap, 7)));
        }
        if (bad) x.code = k.first ? 0x72 : 0x7a;
        if (!bad && k.first && k.reach < 52 && any_bit(e, 51, k.reach)) x.code = 0x74;
        rights &= granted;
        if (x.code != 0) {
            ++faults;
            items.push_back(x);
        } else if (page) {
            std::uint64_t const size = std::uint64_t{1} << (12 + 9 * level);
            x.output = (e & 0x000ffffffffff000) / size * size + (first - from);
            x.attributes = (rights & 3) | (e & 0x878);
            if (k.first)
                x.attributes =
                    (rights & 3) | (e & 0x18) | (bit(e, level == 0 ? 7 : 12) ? 0x80u : 0u) | (bit(rights, 2) ? 0u : 0x20u);
            x.lg2 = 12 + 9 * level;
            items.push_back(x);
        } else {
            table(level - 1, e & 0x000ffffffffff000, from, first, last, rights);
        }
    }
};

template <class S>
struct collector {
    std::vector<item> items{};
    void operator()(sw::leaf<S> const& l) {
        item x;
        x.first = l.part.first().value;
        x.last = l.part.last().value;
        x.output = l.first.output.value;
        x.attributes = l.first.effective.bits;
        x.lg2 = static_cast<unsigned>(l.first.lg2_size);
        x.level = static_cast<int>(l.at.level);
        x.at = l.at.address;
        x.entry = l.at.entry;
        items.push_back(x);
    }
    void operator()(fault_type const& f) {
        item x;
        x.first = f.input;
        x.code = static_cast<unsigned>(f.code);
        x.level = f.level;
        x.at = f.descriptor;
        x.entry = f.entry;
        items.push_back(x);
    }
};

// A fault tells its first address and no more.
std::vector<item> as_shown(std::vector<item> items) {
    for (auto& x : items)
        if (x.code != 0) x.last = 0;
    return items;
}

// A tree over pages 1 to 15.
class grower {
public:
    grower(random_bits& r, words& w, kind const& tables) : random{r}, memory{w}, k{tables}, at_ends{r.one_in(6)} {}
    std::uint64_t grow(unsigned level) {
        if (used == word_pages) return (1 + random.below(word_pages - 1)) * 4096; // one that is there already
        std::uint64_t const table = used++ * 4096;
        std::uint64_t* const entry = memory.word + table / 8;
        for (int i = 0; i < 512; ++i)
            entry[i] = 0;
        std::uint64_t const stretches = 1 + random.below(3);
        for (std::uint64_t n = 0; n < stretches; ++n) {
            std::uint64_t const starts[] = {0, 255, 256, 511, random.below(512)};
            std::uint64_t i = random.pick(starts);
            if (at_ends) i = level == k.levels - 1 ? 255 : n == 0 ? 511 : 0;
            std::uint64_t const length = at_ends ? 2 : level == 0 ? 1 + random.below(40) : 1 + random.below(4);
            std::uint64_t const rights = random.one_in(4) ? random.below(8) : 7;
            for (std::uint64_t left = length; left > 0 && i < 512; --left, ++i) {
                bool const page = level == 0 || (level < 3 && random.one_in(3));
                std::uint64_t e = k.first ? (rights & 6) | 1 : (k.alternate ? (rights & 3) << 61 | random.below(4) : rights & 3);
                if (page) {
                    e |= vtd_scalable_arena::random_target(random, k.u.haw < k.reach ? k.u.haw : k.reach, 12 + 9 * level);
                    if (level > 0) e |= 0x80;
                    if (random.one_in(4)) e |= random() & (k.first ? 0x98 : 0x878);
                    if (k.first && level > 0) e |= random.below(2) << 12;
                } else {
                    e |= grow(level - 1);
                }
                if (random.one_in(60)) e ^= std::uint64_t{1} << random.below(64);
                entry[i] = e;
            }
        }
        return table;
    }

private:
    random_bits& random;
    words& memory;
    kind const& k;
    bool at_ends; // something is mapped at both ends of every table, and in the middle of the top one
    std::uint64_t used = 1;
};

kind random_kind(random_bits& random, bool first) {
    kind k;
    k.u = vtd_scalable_arena::random_unit(random);
    if (random.one_in(2)) k.u.cap |= std::uint64_t{63} << 16; // the whole table is admitted
    make_possible(k.u);
    k.first = first;
    k.alternate = !first && random.one_in(3);
    k.reach = first && random.one_in(3) ? 39 : 64;
    k.levels = first ? 4 + random.small(2) : 3 + random.small(3);
    return k;
}

first_type stage_of(kind const& k, first_type*) {
    return {capabilities_of(k.u), k.levels, sw::ipa{k.root}, {false, true, true, k.reach}};
}
second_type stage_of(kind const& k, second_type*) {
    return {capabilities_of(k.u), k.levels, sw::ipa{k.root}, {policy_of(k.u), true, true, false, k.alternate}};
}

using tally = std::map<std::string, std::uint64_t>;

void show(tally const& reached) {
    for (auto const& [name, count] : reached)
        std::printf("%10llu  %s\n", static_cast<wide>(count), name.c_str());
}

template <class S>
void enumerate(std::uint64_t seed) {
    random_bits random{seed};
    static words memory;
    tally reached;
    for (std::uint64_t round = 0, rounds = sw::test::fewer(3000); round < rounds; ++round) {
        kind k = random_kind(random, S::number == sw::fault_stage::first);
        k.root = grower{random, memory, k}.grow(k.levels - 1);
        memory.missing = random.one_in(16) ? 1u << (1 + random.below(word_pages - 1)) : 0;
        auto load = sw::make_callback<sw::ipa>([](sw::ipa at) -> sw::outcome<std::uint64_t, int> {
            std::uint64_t value = 0;
            if (!memory.read(at.value, value)) return sw::failure{1};
            return value;
        });
        S const stage = stage_of(k, static_cast<S*>(nullptr));
        where_type where = where_type::all();
        if (random.one_in(2)) {
            unsigned const part = random.small(k.parts());
            std::uint64_t const span = k.high(part) - k.low(part);
            std::uint64_t const from = k.low(part) + (span == ~std::uint64_t{0} ? random() : random() % (span + 1));
            std::uint64_t const bytes = random.any_width();
            where = where_type::between(sw::iova{from}, sw::iova{from + bytes < from ? ~std::uint64_t{0} : from + bytes});
        }

        plain expected{k, memory};
        for (unsigned part = 0; part < k.parts(); ++part) {
            std::uint64_t const from = std::max(k.low(part), where.first().value);
            std::uint64_t const to = std::min(k.high(part), where.last().value);
            if (from <= to) expected.table(k.levels - 1, k.root, 0, from, to, 7);
        }
        if (expected.items.size() > 5000) continue;
        ++reached["tables"];

        collector<S> found;
        auto const end = sw::for_each_leaf(stage, load, where, found);
        INFO("round " << round);
        REQUIRE(found.items == as_shown(expected.items));
        REQUIRE(end.complete);
        REQUIRE(end.loads == expected.loads);
        REQUIRE(end.tables == expected.tables);
        REQUIRE(end.faults == expected.faults);

        std::uint64_t gap = where.first().value; // what lies between must lead nowhere
        for (auto const& x : expected.items) {
            auto const first = sw::walk(stage, load, sw::iova{x.first}, sw::none);
            auto const last = sw::walk(stage, load, sw::iova{x.last}, sw::none);
            bool alike = true;
            if (x.code != 0) {
                alike = !first && !last && static_cast<unsigned>(first.error().code) == x.code &&
                        first.error().code == last.error().code;
                ++reached[print("fault %02x", x.code)];
            } else {
                alike = first && last && first->output.value == x.output && last->output.value == x.output + (x.last - x.first) &&
                        first->effective.bits == x.attributes && last->effective == first->effective && first->lg2_size == x.lg2;
                ++reached[print("lg2 %u", x.lg2)];
                if (k.first) ++reached[bit(x.first, 63) ? "upper half" : "lower half"];
                if (x.last == k.high(k.parts() - 1)) ++reached["the last byte admitted"];
                if (k.first && x.last == k.high(0)) ++reached["the last byte of the lower half"];
                if (k.first && x.first == k.low(1)) ++reached["the first byte of the upper half"];
            }
            if (!alike) FAIL("walk does not agree at " << std::hex << x.first);
            if (x.first > gap) {
                bool const nothing =
                    !sw::walk(stage, load, sw::iova{gap}, sw::none) && !sw::walk(stage, load, sw::iova{x.first - 1}, sw::none);
                if (!nothing) FAIL("something was left out before " << std::hex << x.first);
            }
            gap = x.last + 1;
        }
    }
    show(reached);
    if (!sw::test::all_cases()) return;
    bool const first = S::number == sw::fault_stage::first;
    std::vector<char const*> wanted{"lg2 12", "lg2 21", "lg2 30", "the last byte admitted"};
    char const* const more[2][6] = {{"fault 78", "fault 7a", "fault 7b"},
                                    {"fault 70", "fault 72", "fault 74", "upper half", "the last byte of the lower half",
                                     "the first byte of the upper half"}};
    for (auto const* name : more[first ? 1 : 0])
        if (name != nullptr) wanted.push_back(name);
    for (auto const* name : wanted) {
        INFO(name);
        CHECK(reached[name] >= 10);
    }
}

// --- mapping ---------------------------------------------------------------------------------------------------------

struct host {
    static constexpr std::uint64_t origin = 0x7000'0000;
    static constexpr std::uint64_t pages = 2048;
    alignas(4096) std::uint64_t word[pages * 512];
};

struct mapping {
    std::uint64_t last;
    std::uint64_t output;
    std::uint64_t attributes;
};

template <class S>
void map_and_walk(std::uint64_t seed) {
    constexpr bool first = S::number == sw::fault_stage::first;
    random_bits random{seed};
    static host h;
    tally reached;
    for (std::uint64_t round = 0, rounds = sw::test::fewer(200, 20); round < rounds; ++round) {
        kind k = random_kind(random, first);
        if (k.u.haw < 34) k.u.haw = 34;
        k.root = host::origin;
        sw::test::flat<sw::ipa> memory{h.word, sizeof h.word, sw::ipa{host::origin}};
        sw::bump_allocator<sw::ipa> tables{sw::range<sw::ipa>{sw::ipa{host::origin + 4096}, sizeof h.word - 4096}};
        for (std::uint64_t i = 0; i < 512; ++i)
            h.word[i] = 0;
        make_possible(k.u);
        S const stage = stage_of(k, static_cast<S*>(nullptr));
        sw::table tree{stage, memory, tables};
        std::map<std::uint64_t, mapping> all; // by first address
        std::uint64_t const out_width = k.u.haw < k.reach ? k.u.haw : k.reach;

        for (int n = 0; n < 30; ++n) {
            unsigned const part = random.small(k.parts());
            std::uint64_t const lg2s[] = {12, 12, 12, 21, 30};
            std::uint64_t const lg2 = random.pick(lg2s);
            std::uint64_t const bytes = (1 + random.below(lg2 == 30 ? 2 : 6)) << lg2;
            std::uint64_t const span = k.high(part) - k.low(part);
            std::uint64_t from = k.low(part) + (random() & span);
            if (random.one_in(4)) from = k.high(part) - (bytes - 1);
            if (random.one_in(4)) from = k.low(part);
            if (random.one_in(8)) from = k.high(part) - (bytes / 2 - 1); // over the end
            from = from >> lg2 << lg2;
            std::uint64_t const last = from + (bytes - 1);
            if (last < from) continue; // no such range
            std::uint64_t output = (random() & ((std::uint64_t{1} << out_width) - 1)) >> lg2 << lg2;
            if (random.one_in(4)) output += std::uint64_t{random.below(16)} << 12;
            if (random.one_in(12)) output = (std::uint64_t{1} << out_width) - (bytes >> 1 >> 12 << 12);
            std::uint64_t const alike = from | output | std::uint64_t{1} << k.largest();
            if (bytes >> std::countr_zero(alike) > 8192) continue; // too many small pages
            std::uint64_t attributes = 1 + random.below(3);
            if (random.one_in(2)) attributes |= random() & (first ? 0xb8 : 0x878);
            if (random.one_in(24)) attributes |= std::uint64_t{1} << (8 + random.below(56));

            auto next = all.upper_bound(from);
            bool const taken =
                (next != all.end() && next->first <= last) || (next != all.begin() && std::prev(next)->second.last >= from);
            bool const beyond = from < k.low(part) || last > k.high(part);
            bool writable = (output + (bytes - 1)) >> out_width == 0;
            writable = writable && (attributes & ~std::uint64_t{first ? 0xbb : 0x87b}) == 0;
            if (first) writable = writable && (attributes & 1) != 0; // every page can be read
            if (!first) writable = writable && ((attributes & 0x800) == 0 || bit(k.u.ecap, 7));
            auto const done = tree.map(where_type{sw::iova{from}, bytes}, sw::ipa{output}, sw::attributes::from_bits(attributes));
            INFO(std::hex << from << " to " << last << " out " << output << " attributes " << attributes);
            if (beyond || !writable || taken) {
                REQUIRE(!done);
                auto const why = done.error().why;
                REQUIRE(why == (beyond      ? sw::map_error::beyond_input
                                : !writable ? sw::map_error::cannot_encode
                                            : sw::map_error::already_mapped));
                ++reached[print("refused %d", static_cast<int>(why))];
                continue;
            }
            REQUIRE(done);
            all[from] = {last, output, attributes};
            ++reached[first ? (part == 0 ? "mapped in the lower half" : "mapped in the upper half") : "mapped"];
        }

        for (auto const& [from, m] : all) {
            std::uint64_t const probes[] = {from, m.last, from + random.below(m.last - from + 1)};
            for (auto const at : probes) {
                // Who uses it sets A and D; the answer is the same before and after.
                bool const privileged = first && (m.attributes & 0x20) != 0;
                sw::access const need = sw::access{m.attributes & 3} | (privileged ? sw::privileged : sw::none);
                for (int again = 0; again < 2; ++again) {
                    auto const t = sw::walk(stage, memory, sw::iova{at}, need);
                    REQUIRE(t);
                    REQUIRE(t->output.value == m.output + (at - from));
                    // Unless WPE says so, R/W does not bind privileged requests.
                    REQUIRE(t->effective.bits == (m.attributes | (privileged ? 2u : 0u)));
                    ++reached[print("lg2 %u", static_cast<unsigned>(t->lg2_size))];
                }
                REQUIRE((at & ~std::uint64_t{0xfff}) >= (from & ~std::uint64_t{0xfff}));
                auto const refused = sw::walk(stage, memory, sw::iova{at}, sw::write);
                if ((m.attributes & 2) == 0) {
                    REQUIRE(!refused);
                    ++reached["write refused"];
                }
            }
            auto const behind = all.find(m.last + 1);
            if (behind == all.end() && m.last != ~std::uint64_t{0})
                REQUIRE(!sw::walk(stage, memory, sw::iova{m.last + 1}, sw::none));
        }

        // All that was mapped is found again.
        std::uint64_t bytes = 0;
        sw::for_each_leaf(stage, memory, where_type::all(), [&](sw::leaf<S> const& l) { bytes += l.part.span() + 1; });
        std::uint64_t expected = 0;
        for (auto const& [from, m] : all)
            expected += m.last - from + 1;
        REQUIRE(bytes == expected);
    }
    show(reached);
    if (!sw::test::all_cases()) return;
    for (auto const* name : {"lg2 12", "lg2 21", "lg2 30", "refused 2", "refused 3", "refused 4", "write refused"}) {
        INFO(name);
        CHECK(reached[name] >= 10);
    }
    CHECK(reached[first ? "mapped in the upper half" : "mapped"] >= 10);
}

} // namespace

TEST_CASE("every leaf of random first-stage tables is found in both halves, and walk agrees", "[vtd][leaves]") {
    enumerate<first_type>(7);
}

TEST_CASE("every leaf of random scalable second-stage tables is found, and walk agrees", "[vtd][leaves]") {
    enumerate<second_type>(8);
}

TEST_CASE("ranges mapped in first-stage tables are walked in both halves", "[vtd][map]") { map_and_walk<first_type>(9); }

TEST_CASE("ranges mapped in scalable second-stage tables are walked", "[vtd][map]") { map_and_walk<second_type>(10); }
