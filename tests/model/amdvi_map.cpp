// table.map over AMD-Vi host tables against a std::map of what was mapped: pages of all sizes from 4 KiB to 256 GiB, each in
// every slot that it covers, tables in the way, conflicts, an allocator that fails at every step.
#include "catch.hpp"
#include "host_memory.hpp"
#include "random_bits.hpp"

#include <stagewalk/amdvi/host_table.hpp>
#include <stagewalk/build/allocator.hpp>
#include <stagewalk/build/table.hpp>
#include <stagewalk/memory/callback.hpp>
#include <stagewalk/walk/leaves.hpp>
#include <stagewalk/walk/trusted.hpp>
#include <stagewalk/walk/walk.hpp>

#include <bit>
#include <cstdint>
#include <cstdio>
#include <initializer_list>
#include <iterator>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace {

namespace sw = stagewalk;

using stage_type = sw::amdvi::host_table<sw::iova, sw::pa>;

int const refusal = 2; // no word with it as its value would be a present entry

// Host memory for tables: page i of it has a number that is not i, so that neighbours in the tree are none in memory.
struct host {
    static constexpr std::uint64_t origin = 0x7000'0000;
    static constexpr std::uint64_t pages = 512;
    std::vector<std::uint64_t> word = std::vector<std::uint64_t>(pages * 512, 0xdeaddeaddeaddead);
    std::uint64_t stores = 0;
    std::uint64_t stores_left = ~std::uint64_t{0};
    std::set<std::uint64_t> unreadable{};

    std::uint64_t* find(std::uint64_t at) {
        return at % 8 == 0 && at - origin < pages * 4096 && unreadable.count(at) == 0 ? &word[(at - origin) / 8] : nullptr;
    }
    auto memory() {
        return sw::make_callback<sw::pa>(
            [this](sw::pa at) -> sw::outcome<std::uint64_t, int> {
                auto* const w = find(at.value);
                if (w == nullptr) return sw::failure{refusal};
                return *w;
            },
            [](sw::pa, std::uint64_t&, std::uint64_t) -> sw::outcome<bool, int> { return sw::failure{refusal}; },
            [this](sw::pa at, std::uint64_t value) -> sw::outcome<bool, int> {
                auto* const w = find(at.value);
                if (w == nullptr || stores_left == 0) return sw::failure{refusal};
                --stores_left;
                ++stores;
                *w = value;
                return true;
            });
    }
};

class allocator {
public:
    using address = sw::pa;

    sw::outcome<sw::pa, sw::out_of_tables> take(std::uint64_t lg2) noexcept {
        if (lg2 != 12 || fail_after == 0 || out.size() == host::pages) return sw::failure{sw::out_of_tables{}};
        --fail_after;
        std::uint64_t i = turn++ * 389 % host::pages;
        while (out.count(i) != 0)
            i = turn++ * 389 % host::pages;
        out.insert(i);
        return sw::pa{host::origin + i * 4096};
    }
    void give(sw::pa table, std::uint64_t lg2) noexcept {
        strange = strange || lg2 != 12 || out.erase((table.value - host::origin) / 4096) != 1;
    }

    std::set<std::uint64_t> out{}; // the pages that are in use
    std::uint64_t turn = 0;
    std::uint64_t fail_after = ~std::uint64_t{0};
    bool strange = false; // something was given back that was not taken
};

std::uint64_t low(std::uint64_t lg2) { return lg2 >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << lg2) - 1; }

struct mapping {
    std::uint64_t last;
    std::uint64_t output;
    std::uint64_t attributes;
};

using mappings = std::map<std::uint64_t, mapping>; // by first address

std::uint64_t const no_conflict = ~std::uint64_t{0};

std::uint64_t first_conflict(mappings const& all, std::uint64_t first, std::uint64_t last) {
    auto next = all.upper_bound(first);
    if (next != all.begin() && std::prev(next)->second.last >= first) return first;
    return next != all.end() && next->first <= last ? next->first : no_conflict;
}

// The contents of every table in use, to be compared byte for byte.
std::vector<std::uint64_t> contents(host const& h, allocator const& a) {
    std::vector<std::uint64_t> all;
    for (auto const page : a.out) {
        all.push_back(page);
        all.insert(all.end(), h.word.begin() + static_cast<std::ptrdiff_t>(page * 512),
                   h.word.begin() + static_cast<std::ptrdiff_t>(page * 512 + 512));
    }
    return all;
}

struct request {
    std::uint64_t first;
    std::uint64_t bytes;
    std::uint64_t output;
    std::uint64_t attributes;
};

// Nothing of a level above 3 is written in pages: the largest page has 256 GiB.
std::uint64_t largest_of(std::uint64_t mode) { return mode == 1 ? 20 : mode == 2 ? 29 : 38; }

// Not too many pages or tables, where input and output are alike in so many low bits.
void limit(request& r, std::uint64_t alike) {
    std::uint64_t const of_tables = std::uint64_t{12} << (21 + (alike - 12) / 9 * 9);
    for (std::uint64_t const most : {std::uint64_t{700} << alike, of_tables})
        if (r.bytes > most) r.bytes = most;
}

request random_request(random_bits& random, std::uint64_t mode, mappings const& all) {
    std::uint64_t const top = low(12 + 9 * mode);
    std::uint64_t const lg2 = 12 + random.below(random.one_in(2) ? 10 : largest_of(mode) - 11);
    request r{};
    r.bytes = (1 + random.below(40)) << lg2;
    if (lg2 > 12 && random.one_in(2)) r.bytes += random.below(8) << 12;
    // Like the input in its low bits, so that large pages fit, or not; and not too many pages or tables.
    std::uint64_t const alike = random.one_in(4) ? 12 : random.one_in(2) ? lg2 : 12 + random.below(largest_of(mode) - 11);
    limit(r, alike);
    // Not far apart, so that they meet, and mostly just below a boundary, so that they cross it.
    std::uint64_t const bases[] = {0, 0x10'0000, 0x3fe0'0000, 0x4000'0000 - 0x5000, 0x7f'c000'0000, top / 2 - 0x1f'ffff};
    r.first = (random.pick(bases) + (random.below(64) << lg2)) & top;
    if (random.one_in(5)) r.first = random() & top & ~low(lg2);
    if (random.one_in(8)) r.first = top - (r.bytes - 1); // up to the last byte
    if (!all.empty() && random.one_in(5)) {
        auto const& some = *all.begin();
        r.first = some.first + (random.below(4) << 12);       // on top of another
        if (random.one_in(2)) r.first = some.second.last + 1; // just behind it
    }
    if (random.one_in(20)) r.first = top + 1 - random.below(3) * 0x1000; // past the end, at once or later
    r.first &= ~std::uint64_t{0xfff};
    r.output = (random() & low(52) & ~low(alike)) | (r.first & low(alike));
    if (random.one_in(8)) r.output = low(52) - (r.bytes - 1);
    r.output &= ~std::uint64_t{0xfff};
    if (random.one_in(12)) r.output = low(52) - 0xfff; // the second page of it is too high
    limit(r, static_cast<std::uint64_t>(std::countr_zero((r.first - r.output) | std::uint64_t{1} << 38)));
    r.attributes = random.below(4) | (random.one_in(3) ? random.below(4) << 59 : 0);
    if (random.one_in(20)) r.attributes |= std::uint64_t{4} << random.below(55);
    return r;
}

// An empty table in a slot of 2^lg2 bytes at `base`: no page takes that slot any more.
struct wall {
    std::uint64_t base;
    std::uint64_t lg2;
};

// The largest page around `p` of mapping `m`, with these walls.
std::uint64_t largest_page(std::uint64_t mode, mappings::value_type const& m, std::vector<wall> const& walls, std::uint64_t p) {
    for (std::uint64_t lg2 = largest_of(mode); lg2 > 12; --lg2) {
        std::uint64_t const page = p & ~low(lg2);
        if (page < m.first || (p | low(lg2)) > m.second.last) continue;
        if (((m.second.output + (page - m.first)) & low(lg2)) != 0) continue;
        bool is_free = true;
        for (auto const& w : walls)
            is_free = is_free && !(w.lg2 <= lg2 && (w.base & ~low(lg2)) == page);
        if (is_free) return lg2;
    }
    return 12;
}

// Puts an empty table into the slot of table level `level` around `at`.
void build_wall(host& h, allocator& take, stage_type const& s, std::uint64_t at, std::uint64_t level) {
    std::uint64_t table = s.root().value;
    for (std::uint64_t l = s.top(); l >= level; --l) {
        std::uint64_t& e = *h.find(table + s.index(l, sw::iova{at}) * 8);
        if ((e & 1) == 0) {
            std::uint64_t const fresh = take.take(12)->value;
            for (std::uint64_t i = 0; i < 512; ++i)
                *h.find(fresh + i * 8) = 0;
            e = 0x6000'0000'0000'0001 | fresh | l << 9;
        }
        table = e & 0x000f'ffff'ffff'f000;
    }
}

} // namespace

TEST_CASE("amdvi: mapping random ranges leaves what a std::map says, or nothing changed", "[amdvi][map]") {
    random_bits random{7};
    std::map<std::string, std::uint64_t> reached;
    for (std::uint64_t round = 0, rounds = sw::test::fewer(48, 6); round < rounds; ++round) {
        host h;
        allocator take;
        auto memory = h.memory();
        std::uint64_t const mode = 1 + round % 6;
        std::uint64_t const top = low(12 + 9 * mode);
        auto const root = *take.take(12);
        for (std::uint64_t i = 0; i < 512; ++i)
            *h.find(root.value + i * 8) = 0;
        stage_type const stage{mode, root};
        sw::table tree{stage, memory, take};
        mappings all;
        std::vector<wall> walls;

        for (int n = 0; n < 30; ++n) {
            if (mode > 1 && random.one_in(3) && walls.size() < 12) {
                std::uint64_t const level = 1 + random.below(mode - 1 < 3 ? mode - 1 : 3);
                std::uint64_t const lg2 = 12 + 9 * level;
                std::uint64_t const bases[] = {0, 0x3fe0'0000, 0x4000'0000, 0x7f'c000'0000, random()};
                std::uint64_t const base = (random.pick(bases) + (random.below(40) << lg2)) & top & ~low(lg2);
                if (first_conflict(all, base, base | low(lg2)) == no_conflict) {
                    build_wall(h, take, stage, base, level);
                    walls.push_back({base, lg2});
                }
            }
            request const r = random_request(random, mode, all);
            std::uint64_t const last = r.first + (r.bytes - 1);
            sw::range<sw::iova> const at{sw::iova{r.first}, r.bytes};
            auto const before = contents(h, take);
            std::uint64_t const stores = h.stores;
            auto const unchanged = [&] { return contents(h, take) == before && !take.strange; };
            auto const map = [&] { return tree.map(at, sw::pa{r.output}, sw::attributes::from_bits(r.attributes)); };

            bool const wraps = last < r.first;
            bool const beyond = last > top || r.first > top;
            bool const unwritable =
                r.output + (r.bytes - 1) > low(52) || (r.attributes & ~std::uint64_t{0x1800'0000'0000'0003}) != 0;
            std::uint64_t const conflict = wraps ? no_conflict : first_conflict(all, r.first, last);
            if (wraps || beyond || unwritable || conflict != no_conflict) {
                auto const done = map();
                REQUIRE(!done);
                REQUIRE(unchanged());
                REQUIRE(h.stores == stores); // not even for a moment
                auto const f = done.error();
                if (wraps) {
                    REQUIRE(f == sw::map_failure{sw::map_error::bad_range, ~std::uint64_t{0}});
                    ++reached["bad range"];
                } else if (beyond) {
                    REQUIRE(f == sw::map_failure{sw::map_error::beyond_input, r.first > top ? r.first : last});
                    ++reached["beyond input"];
                } else if (unwritable) {
                    REQUIRE(f == sw::map_failure{sw::map_error::cannot_encode, r.first});
                    ++reached["cannot encode"];
                } else {
                    REQUIRE(f.why == sw::map_error::already_mapped);
                    bool const near = f.at >= r.first && f.at <= conflict && conflict - f.at <= low(38);
                    REQUIRE(near);
                    ++reached["already mapped"];
                }
                continue;
            }

            // Every number of tables that is too few, then enough.
            bool out_of_pages = false;
            for (std::uint64_t given = 0;; given = given < 10 ? given + 1 : given + given / 2) {
                take.fail_after = given;
                auto const done = map();
                if (done) {
                    REQUIRE(*done == r.bytes - 1);
                    break;
                }
                REQUIRE(done.error() == sw::map_failure{sw::map_error::out_of_tables, r.first});
                REQUIRE(unchanged());
                ++reached["out of tables"];
                out_of_pages = given > host::pages;
                if (out_of_pages) break;
            }
            take.fail_after = ~std::uint64_t{0};
            REQUIRE(!take.strange);
            if (out_of_pages) {
                ++reached["no table left"];
                break;
            }
            all[r.first] = {last, r.output, r.attributes};
            ++reached["mapped"];
        }

        // Every slot: it leads where the mapping does, in the largest page; and its page stands in all of its slots.
        std::uint64_t bytes = 0; // modulo 2^64
        for (auto const& [first, m] : all)
            bytes += m.last - first + 1;
        std::uint64_t found = 0;
        std::uint64_t wrong = 0;
        std::uint64_t page_end = 0; // the last address of the page that the last leaf belonged to
        std::uint64_t page_entry = 0;
        auto const end = sw::for_each_leaf(stage, memory, sw::range<sw::iova>::all(), [&](sw::leaf<stage_type> const& l) {
            std::uint64_t const in = l.part.first().value;
            found += l.part.span() + 1;
            auto const m = std::prev(all.upper_bound(in));
            std::uint64_t const lg2 = l.first.lg2_size;
            bool good = in >= m->first && l.part.last().value <= m->second.last &&
                        l.first.output.value == m->second.output + (in - m->first) &&
                        l.first.effective.bits == m->second.attributes && lg2 == largest_page(mode, *m, walls, in) &&
                        l.at.level == (lg2 - 12) / 9 && l.part.span() == low(12 + 9 * l.at.level);
            if (in == 0 || in > page_end) {
                good = good && (in & low(lg2)) == 0;
                page_end = in | low(lg2);
                page_entry = l.at.entry;
                ++reached["lg2 " + std::to_string(lg2)];
            } else {
                good = good && page_entry == l.at.entry && (in | low(lg2)) == page_end;
                ++reached["a further slot of a page"];
            }
            // The walk says the same, at both ends of the slot.
            auto const at_first = sw::walk(stage, memory, l.part.first(), sw::none);
            auto const at_last = sw::walk(sw::trusted{stage}, memory, l.part.last(), l.first.effective.rights());
            good = good && at_first && *at_first == l.first && at_last &&
                   at_last->output.value == l.first.output.value + l.part.span();
            if (!good && ++wrong < 4) FAIL_CHECK("at " << std::hex << in << " lg2 " << std::dec << lg2 << " mode " << mode);
        });
        REQUIRE(wrong == 0);
        REQUIRE(end.complete);
        REQUIRE(end.faults == 0);
        REQUIRE(found == bytes);
        REQUIRE(end.tables == take.out.size()); // none leaked, none shared
        for (auto const& [first, m] : all) {
            if (first > 0 && first_conflict(all, first - 1, first - 1) == no_conflict)
                REQUIRE(!sw::walk(stage, memory, sw::iova{first - 1}, sw::none));
            if (m.last < top && first_conflict(all, m.last + 1, m.last + 1) == no_conflict)
                REQUIRE(!sw::walk(stage, memory, sw::iova{m.last + 1}, sw::none));
            if (m.last == top) ++reached["the last byte of mode " + std::to_string(mode)];
            for (auto const& w : walls)
                if (w.base >= first && w.base <= m.last) ++reached["a table in the way"];
        }
    }
    for (auto const& [name, count] : reached)
        std::printf("%10llu  %s\n", static_cast<unsigned long long>(count), name.c_str());
    if (!sw::test::all_cases()) return;
    for (char const* const name : {"mapped", "already mapped", "bad range", "beyond input", "cannot encode", "out of tables",
                                   "a table in the way", "a further slot of a page"}) {
        INFO(name);
        CHECK(reached[name] >= 5);
    }
    for (std::uint64_t n = 12; n <= 38; ++n) {
        INFO("lg2 " << n);
        CHECK(reached["lg2 " + std::to_string(n)] >= 5);
    }
    for (int mode = 1; mode <= 6; ++mode)
        CHECK(reached["the last byte of mode " + std::to_string(mode)] >= 1);
}

namespace {

// Tables of one depth, the root at the first page that is taken.
struct setting {
    host h{};
    allocator take{};
    decltype(std::declval<host&>().memory()) memory = h.memory();
    stage_type stage;
    sw::table<stage_type, decltype(memory), allocator> tree;

    explicit setting(std::uint64_t mode) : stage{mode, cleared(mode)}, tree{stage, memory, take} {}
    sw::pa cleared(std::uint64_t) {
        auto const root = *take.take(12);
        for (std::uint64_t i = 0; i < 512; ++i)
            *h.find(root.value + i * 8) = 0;
        return root;
    }
    auto map(std::uint64_t first, std::uint64_t bytes, std::uint64_t to) {
        return tree.map(sw::range{sw::iova{first}, bytes}, sw::pa{to}, sw::read_write);
    }
    // The lg2 sizes of all leaves, one per slot.
    std::vector<std::uint64_t> sizes() {
        std::vector<std::uint64_t> all;
        sw::for_each_leaf(stage, memory, sw::range<sw::iova>::all(),
                          [&](sw::leaf<stage_type> const& l) { all.push_back(l.first.lg2_size); });
        return all;
    }
};

using sizes = std::vector<std::uint64_t>;

} // namespace

TEST_CASE("amdvi map: a page of several slots needs every one of them free", "[amdvi][map]") {
    // 16 MiB in eight slots of 2 MiB, with an empty table in each slot in turn.
    for (std::uint64_t slot = 0; slot < 8; ++slot) {
        setting s{3};
        build_wall(s.h, s.take, s.stage, slot << 21, 1);
        REQUIRE(s.map(0, 0x100'0000, 0x4000'0000));
        // The halves without it are whole, down to its own slot, which holds two pages of 1 MiB, 256 slots each.
        std::vector<std::uint64_t> expected;
        for (std::uint64_t n = 0; n < 8; ++n) {
            if (n == slot) {
                expected.insert(expected.end(), 512, 20);
            } else {
                std::uint64_t const apart = n ^ slot;
                expected.push_back(apart >= 4 ? 23 : apart >= 2 ? 22 : 21);
            }
        }
        CHECK(s.sizes() == expected);
        CHECK(s.take.out.size() == 3); // no new table
        for (std::uint64_t in = 0; in < 0x100'0000; in += 0x8'1000)
            CHECK(sw::walk(s.stage, s.memory, sw::iova{in}, sw::write)->output == sw::pa{0x4000'0000 + in});
    }
}

TEST_CASE("amdvi map: a page in the way is found whatever its slot, and nothing is stored", "[amdvi][map]") {
    for (std::uint64_t slot = 0; slot < 16; ++slot) {
        setting s{2};
        REQUIRE(s.map(slot << 12, 0x1000, 0x5000'0000));
        std::uint64_t const stores = s.h.stores;
        auto const done = s.map(0, 0x1'0000, 0x4000'0000);
        REQUIRE(!done);
        CHECK(done.error() == sw::map_failure{sw::map_error::already_mapped, slot << 12});
        CHECK(s.h.stores == stores);
        // A page of several slots is in the way with each of them.
        setting t{2};
        REQUIRE(t.map(0, 0x1'0000, 0x4000'0000));
        CHECK(t.map(slot << 12, 0x1000, 0x5000'0000).error() == sw::map_failure{sw::map_error::already_mapped, slot << 12});
    }
}

TEST_CASE("amdvi map: a slot that cannot be read stops the page before anything is stored", "[amdvi][map]") {
    for (std::uint64_t slot = 0; slot < 16; ++slot) {
        setting s{1};
        s.h.unreadable.insert(s.stage.root().value + slot * 8);
        auto const done = s.map(0, 0x1'0000, 0x4000'0000);
        REQUIRE(!done);
        CHECK(done.error() == sw::map_failure{sw::map_error::unreadable, slot << 12});
        CHECK(s.h.stores == 0);
    }
}

TEST_CASE("amdvi map: a memory that refuses a store half-way is said so, and no table is lost", "[amdvi][map]") {
    for (std::uint64_t left = 0; left < 1200; left += left < 20 ? 1 : 37) {
        setting s{2};
        s.h.stores_left = left;
        auto const done = s.map(0, 0x1'0000, 0x4000'0000); // chained, cleared (511), 16 slots, the entry above
        if (left >= 1 + 511 + 16 + 1) {
            CHECK(done);
            continue;
        }
        REQUIRE(!done);
        CHECK(done.error().why == sw::map_error::unreadable);
        CHECK_FALSE(s.take.strange);
    }
    // Two tables are taken; the first store into one of them fails. Both come back, only the root stays.
    setting two{3};
    two.h.stores_left = 2;
    CHECK(two.map(0, 0x1000, 0).error() == sw::map_failure{sw::map_error::unreadable, 0});
    CHECK(two.take.out.size() == 1);
    CHECK_FALSE(two.take.strange);
    // In a table that is there: some slots are written, each of them rightly.
    setting s{1};
    s.h.stores_left = 5;
    CHECK(s.map(0, 0x1'0000, 0x4000'0000).error() == sw::map_failure{sw::map_error::unreadable, 0});
    CHECK(s.sizes() == sizes{16, 16, 16, 16, 16});
    CHECK(sw::walk(s.stage, s.memory, sw::iova{0x4123}, sw::write)->output == sw::pa{0x4000'4123});
}

TEST_CASE("amdvi map: all slots of a page are published together, a table before what leads to it", "[amdvi][map]") {
    struct published {
        std::uint64_t at;
        std::uint64_t bytes;
        bool operator==(published const&) const = default;
    };
    struct watched {
        using address = sw::pa;
        using error = int;
        host& h;
        std::vector<published>& all;
        sw::outcome<std::uint64_t, int> load(sw::pa at) noexcept { return *h.find(at.value); }
        sw::outcome<bool, int> store(sw::pa at, std::uint64_t value) noexcept {
            *h.find(at.value) = value;
            return true;
        }
        sw::outcome<bool, int> compare_exchange(sw::pa, std::uint64_t&, std::uint64_t) noexcept { return sw::failure{refusal}; }
        void publish(sw::pa at, std::uint64_t bytes) noexcept { all.push_back({at.value, bytes}); }
    };
    setting s{2};
    std::vector<published> all;
    watched memory{s.h, all};
    sw::table tree{s.stage, memory, s.take};
    // 64 KiB, 4 KiB, 1 MiB in the table below, and then 4 MiB in two slots of the root.
    REQUIRE(tree.map(sw::range{sw::iova{0x4'0000}, 0x1'1000}, sw::pa{0x4'0000}, sw::read));
    std::uint64_t const root = s.stage.root().value;
    std::uint64_t const below = *s.h.find(root) & 0x000f'ffff'ffff'f000;
    CHECK(all == std::vector<published>{{below + 64 * 8, 16 * 8}, {below + 80 * 8, 8}, {below, 4096}, {root, 8}});
    all.clear();
    REQUIRE(tree.map(sw::range{sw::iova{0x10'0000}, 0x10'0000}, sw::pa{0}, sw::read));
    REQUIRE(tree.map(sw::range{sw::iova{0x40'0000}, 0x40'0000}, sw::pa{0}, sw::read));
    CHECK(all == std::vector<published>{{below + 256 * 8, 256 * 8}, {root + 16, 16}});
}

TEST_CASE("amdvi map: the largest pages, and nothing above 256 GiB", "[amdvi][map]") {
    setting s{4};
    REQUIRE(s.map(0, std::uint64_t{1} << 40, 0)); // 1 TiB: four pages in 1024 slots of 1 GiB
    auto const all = s.sizes();
    CHECK(all == std::vector<std::uint64_t>(1024, 38));
    CHECK(s.take.out.size() == 3);
    auto const found = sw::walk(s.stage, s.memory, sw::iova{0x9f'1234'5678}, sw::write);
    CHECK(found->output == sw::pa{0x9f'1234'5678});
    // In the last page that an address has, and at the last address of an output.
    setting t{6};
    REQUIRE(t.map(~std::uint64_t{0x1fff}, 0x2000, 0x000f'ffff'ffff'e000));
    CHECK(t.sizes() == sizes{13, 13});
    CHECK(sw::walk(t.stage, t.memory, sw::iova{~std::uint64_t{0}}, sw::write)->output == sw::pa{0x000f'ffff'ffff'ffff});
    CHECK(t.take.out.size() == 6);
    // More than there are outputs; and no page at all without a level that has it.
    CHECK(t.tree.map(sw::range<sw::iova>::all(), sw::pa{0}, sw::read).error().why == sw::map_error::cannot_encode);
    setting u{1};
    REQUIRE(u.map(0, 0x20'0000, 0));
    CHECK(u.sizes() == std::vector<std::uint64_t>(512, 20));
    CHECK(u.take.out.size() == 1);
    CHECK(u.map(0x20'0000, 0x1000, 0).error() == sw::map_failure{sw::map_error::beyond_input, 0x20'0000});
}

TEST_CASE("amdvi map: a range is cut into the largest aligned pages from its first address on", "[amdvi][map]") {
    setting s{3};
    // 0x7000 to 0x49000: pages of 4, 32, 64 (three), 32 and 4 KiB.
    REQUIRE(s.map(0x7000, 0x4'2000, 0x10'0000'7000));
    sizes expected{12};
    expected.insert(expected.end(), 8, 15);
    expected.insert(expected.end(), 16, 16);
    expected.insert(expected.end(), 32, 17);
    expected.insert(expected.end(), 8, 15);
    expected.push_back(12);
    CHECK(s.sizes() == expected);
    // An output that is unlike in bit 13 allows 8 KiB and no more.
    setting t{3};
    REQUIRE(t.map(0, 0x1'0000, 0x2000));
    CHECK(t.sizes() == sizes(16, 13));
}

TEST_CASE("amdvi map: tables that somebody else wrote", "[amdvi][map]") {
    struct {
        std::uint64_t entry; // of level 2, the address of its table left out
        sw::map_error why;
    } const cases[] = {
        {0x6000'0000'0000'0001, sw::map_error::already_mapped}, // a page of 1 GiB
        {0x6000'0000'3fff'fe01, sw::map_error::already_mapped}, // a page of 2 GiB
        {0x6010'0000'0000'0401, sw::map_error::broken_table},   // a reserved bit
        {0x6000'0000'0000'0601, sw::map_error::broken_table},   // not downwards
        {0x6000'0000'0000'0e01, sw::map_error::broken_table},   // no size of its level
        {0x6000'0000'0000'0201, sw::map_error::broken_table},   // skips a level, as we never do
    };
    for (auto const& c : cases) {
        setting s{3};
        s.h.word[(s.stage.root().value - host::origin) / 8] = c.entry;
        auto const done = s.map(0x1000, 0x1000, 0);
        CAPTURE(c.entry);
        REQUIRE(!done);
        CHECK(done.error() == sw::map_failure{c.why, 0x1000});
        CHECK(s.h.stores == 0);
    }
    // Tables that grant less are used as they are: rights are left to the leaves that we write.
    setting s{2};
    build_wall(s.h, s.take, s.stage, 0, 1);
    s.h.word[(s.stage.root().value - host::origin) / 8] &= ~(std::uint64_t{1} << 62);
    REQUIRE(s.map(0, 0x1000, 0));
    CHECK(!sw::walk(s.stage, s.memory, sw::iova{0}, sw::write));
    CHECK(sw::walk(s.stage, s.memory, sw::iova{0}, sw::read));
}

TEST_CASE("amdvi map: one table that is reached in two ways is not filled twice", "[amdvi][map]") {
    setting s{2};
    build_wall(s.h, s.take, s.stage, 0, 1);
    std::uint64_t const root = (s.stage.root().value - host::origin) / 8;
    s.h.word[root + 1] = s.h.word[root];                     // slots 0 and 1 share the table below
    auto const done = s.map(0x1f'f000, 0x2'0000, 0x1f'f000); // the last page of one way, and the first 31 of the other
    CHECK(done);
    auto const again = s.map(0x20'0000 + 0x1f'f000, 0x1000, 0);
    REQUIRE(!again);
    CHECK(again.error().why == sw::map_error::already_mapped);
    // A range that meets itself there.
    setting t{2};
    build_wall(t.h, t.take, t.stage, 0, 1);
    std::uint64_t const other = (t.stage.root().value - host::origin) / 8;
    t.h.word[other + 1] = t.h.word[other];
    auto const met = t.map(0, 0x40'0000, 0);
    REQUIRE(!met);
    CHECK(met.error() == sw::map_failure{sw::map_error::already_mapped, 0x20'0000});
    CHECK_FALSE(t.take.strange);
}
