// Laws that every table format has to keep, whatever its bits mean. A format brings a `law_book`: its stage, and what its
// manual says of reserved and ignored bits, written down by hand and not taken from the library.
#pragma once

#include "catch.hpp"

#include <stagewalk/memory/callback.hpp>
#include <stagewalk/walk/stage.hpp>
#include <stagewalk/walk/trusted.hpp>
#include <stagewalk/walk/walk.hpp>

#include <bit>
#include <cstdint>
#include <random>
#include <vector>

namespace stagewalk::test {

// One kind of entry at one level: a sound example and what its bits are.
template <class Code>
struct entry_kind {
    std::uint64_t level{};
    bool leaf{};
    std::uint64_t example{};  // accepted as it stands, every right granted
    std::uint64_t reserved{}; // each of these bits alone makes it a fault
    std::uint64_t ignored{};  // none of these bits changes anything
    Code reserved_code{};     // the fault of a reserved bit
    // Where it is found: in the entry as such, or in the address that it holds (Arm F_ADDR_SIZE).
    fault_at reserved_at{fault_at::table};
};

template <encodable S>
struct law_book {
    S of;
    std::vector<attributes> attribute_sets;          // what a page can be given
    std::vector<entry_kind<typename S::code>> kinds; // every kind at every level
    std::vector<access> accesses{
        none, read, write, read_write, execute, read | zero_length, read | privileged, write | privileged};
    access as{none}; // for whom the attribute sets are: rights may depend on privilege
};

template <encodable S>
judgement<typename S::code> judged(S const& s, std::uint64_t level, std::uint64_t e, access a) {
    typename S::path p{};
    step denied = no_step;
    return s.judge({level, 0x5000, e}, a, p, denied);
}

// Whether that is what a reserved bit of this book's entries leads to.
template <encodable S>
bool is_reserved_fault(law_book<S> const& book, judgement<typename S::code> const& j) {
    if (j.is != verdict::refused) return false;
    for (auto const& kind : book.kinds)
        if (kind.reserved != 0 && kind.reserved_code == j.code && kind.reserved_at == j.at) return true;
    return j.at == fault_at::table;
}

// Any input address that the stage admits, in its first part. Where levels may be skipped, about every other level's index is
// zero: what a skipping entry asks for.
template <encodable S>
typename S::input admitted_input(S const& s, std::uint64_t number, std::uint64_t zeros = 0) {
    auto const part = s.admitted().begin()[0];
    if constexpr (skips_levels<S>) {
        for (std::uint64_t level = 0; level <= s.top(); ++level)
            if ((zeros >> level & 1) != 0) number &= ~(low_mask(s.shift(level + 1)) & ~low_mask(s.shift(level)));
    }
    return typename S::input{part.first().value | (number & (part.first().value ^ part.last().value))};
}

// Tables of a single path, an entry for each level: it serves that of the level which the walk has come to. Entries that skip
// levels are met at the level that they lead to, and not in the order of loads.
template <encodable S>
class single_path {
public:
    explicit single_path(S const& s) : of_{s} { restart(); }
    void restart() {
        loads = 0;
        level_ = of_.top();
    }
    std::uint64_t next() {
        ++loads;
        std::uint64_t const e = entry[level_];
        auto const j = judged(of_, level_, e, none);
        if (j.is == verdict::table && j.value < level_) level_ = j.value;
        return e;
    }

    std::uint64_t entry[16]{}; // by level
    unsigned loads{};

private:
    S const& of_;
    std::uint64_t level_{};
};

inline bool same(auto const& a, auto const& b) {
    return a.is == b.is && a.at == b.at && a.code == b.code && a.value == b.value && a.blame == b.blame;
}

// Outputs at the bottom, at the top and in between, aligned to the page.
template <encodable S>
std::vector<typename S::output> sample_outputs(S const& s, std::uint64_t lg2) {
    std::vector<typename S::output> outputs;
    for (unsigned n = static_cast<unsigned>(lg2); n < 64; ++n)
        for (std::uint64_t const value : {std::uint64_t{1} << n, low_mask(n + 1) & ~low_mask(lg2)})
            if (typename S::output const o{value}; s.can_encode(o, attributes{read})) outputs.push_back(o);
    outputs.push_back(typename S::output{0});
    return outputs;
}

// What is written as a leaf is read back as that leaf: address, size, attributes.
template <encodable S>
void law_leaves_read_back(law_book<S> const& book) {
    unsigned seen = 0;
    for (std::uint64_t lg2 = 0; lg2 < 64; ++lg2) {
        if ((book.of.sizes() >> lg2 & 1) == 0) continue;
        std::uint64_t const level = S::leaf_level(lg2);
        REQUIRE(level <= book.of.top());
        // A page covers a slot of its level, or several and not all that an entry of the next level spans.
        REQUIRE(lg2 >= book.of.shift(level));
        REQUIRE(lg2 < book.of.shift(level + 1));
        for (auto const output : sample_outputs(book.of, lg2)) {
            for (attributes const at : book.attribute_sets) {
                CAPTURE(lg2, output.value, at.bits);
                REQUIRE(book.of.can_encode(output, at));
                std::uint64_t const e = book.of.make_leaf(output, lg2, at);
                REQUIRE(book.of.is_present(e));
                access const need = at.rights() | book.as;
                auto const j = judged(book.of, level, e, need);
                REQUIRE(j.is == verdict::leaf);
                REQUIRE(j.value == lg2);
                typename S::path p{};
                S::carry(p, e);
                REQUIRE(book.of.leaf_output(e, lg2) == output);
                REQUIRE(book.of.leaf_attributes(e, lg2, p, need) == at);
                REQUIRE(S::leaf_size(level, e) == lg2);
                // The entry is its fields and nothing besides: written again it is the same word.
                REQUIRE(book.of.make_leaf(book.of.leaf_output(e, lg2), lg2, book.of.leaf_attributes(e, lg2, p, need)) == e);
                ++seen;
            }
        }
    }
    CHECK(seen > 0);
}

// What is written as a table is read back as that table, one level down, with every right left to the leaves.
template <encodable S>
void law_tables_read_back(law_book<S> const& book) {
    for (std::uint64_t level = 1; level <= book.of.top(); ++level) {
        for (auto const output : sample_outputs(book.of, 12)) {
            CAPTURE(level, output.value);
            std::uint64_t const e = book.of.make_table(output, level);
            REQUIRE(book.of.is_present(e));
            for (access const a : {none, read, write, read_write}) {
                auto const j = judged(book.of, level, e, a);
                REQUIRE(j.is == verdict::table);
                REQUIRE(j.value < level);
                REQUIRE(j.value == level - 1);
            }
            REQUIRE(book.of.target(e) == output);
        }
    }
}

// A cleared table maps nothing; nor does an aligned address, with which freed tables are chained.
template <encodable S>
void law_zero_is_absent(law_book<S> const& book) {
    CHECK_FALSE(book.of.is_present(0));
    for (unsigned n = 12; n < 64; ++n)
        CHECK_FALSE(book.of.is_present(std::uint64_t{1} << n));
    for (std::uint64_t level = 0; level <= book.of.top(); ++level)
        for (access const a : book.accesses) {
            CAPTURE(level, a.bits);
            CHECK(judged(book.of, level, 0, a).is == verdict::refused);
            auto const lane = book.of.lane(a);
            CHECK_FALSE((level > 0 && lane.leads_on(level, 0)));
            CHECK_FALSE(lane.maps(level, 0));
        }
}

// Every bit of every kind of entry: reserved ones are faults, each alone, ignored ones change nothing.
template <encodable S>
void law_reserved_and_ignored_bits(law_book<S> const& book) {
    for (auto const& kind : book.kinds) {
        auto const sound = judged(book.of, kind.level, kind.example, read);
        CAPTURE(kind.level, kind.leaf, kind.example);
        REQUIRE(sound.is == (kind.leaf ? verdict::leaf : verdict::table));
        typename S::path p{};
        S::carry(p, kind.example);
        for (unsigned n = 0; n < 64; ++n) {
            std::uint64_t const bit = std::uint64_t{1} << n;
            std::uint64_t const e = kind.example ^ bit;
            CAPTURE(n);
            auto const j = judged(book.of, kind.level, e, read);
            if ((kind.reserved & bit) != 0) {
                REQUIRE(j.is == verdict::refused);
                REQUIRE(j.at == kind.reserved_at);
                REQUIRE(j.code == kind.reserved_code);
                REQUIRE(j.blame == step{kind.level, 0x5000, e});
                auto const lane = book.of.lane(read);
                REQUIRE_FALSE((kind.level > 0 && lane.leads_on(kind.level, e)));
                REQUIRE_FALSE(lane.maps(kind.level, e));
            } else if ((kind.ignored & bit) != 0) {
                REQUIRE(same(j, sound));
                typename S::path q{};
                S::carry(q, e);
                if (kind.leaf) {
                    REQUIRE(book.of.leaf_output(e, sound.value) == book.of.leaf_output(kind.example, sound.value));
                    REQUIRE(book.of.leaf_attributes(e, sound.value, q, read) ==
                            book.of.leaf_attributes(kind.example, sound.value, p, read));
                } else {
                    REQUIRE(book.of.target(e) == book.of.target(kind.example));
                }
            }
        }
    }
}

// The geometry: what an entry spans, what its index is, and where the last admitted address lies.
template <encodable S>
void law_geometry(law_book<S> const& book) {
    using input = typename S::input;
    S const& s = book.of;
    for (std::uint64_t level = 0; level <= s.top(); ++level) {
        std::uint64_t const span = std::uint64_t{1} << s.shift(level);
        CAPTURE(level);
        if (level > 0) REQUIRE(s.shift(level) > s.shift(level - 1));
        for (std::uint64_t n = 0; n < 4; ++n) {
            REQUIRE(s.index(level, input{n * span}) == n);
            REQUIRE(s.index(level, input{n * span + span - 1}) == n);
        }
        // What a table of the level below covers is what one entry spans.
        if (level > 0) {
            std::uint64_t const below = std::uint64_t{1} << s.shift(level - 1);
            REQUIRE(s.index(level - 1, input{span - below}) == span / below - 1);
            REQUIRE(s.index(level - 1, input{span}) == 0);
        }
    }
    for (auto const& part : s.admitted()) {
        if (part.empty()) continue;
        REQUIRE(s.admits(part.first()));
        REQUIRE(s.admits(part.last()));
        if (part.last().value != ~std::uint64_t{0}) REQUIRE_FALSE(s.admits(part.last() + 1));
        // Every bit in which addresses differ is looked at by some level: there is nothing above the top table's index.
        std::uint64_t seen = low_mask(s.shift(0));
        for (std::uint64_t level = 0; level <= s.top(); ++level)
            seen |= s.index(level, part.last()) << s.shift(level);
        REQUIRE(((part.first().value ^ part.last().value) & ~seen) == 0);
        // The top table may be 16 tables side by side where it may be small too.
        std::uint64_t const entries = std::uint64_t{1} << (lg2_table<S> - 3);
        REQUIRE(s.index(s.top(), part.last()) < entries * (small_tables<S> ? 16 : 1));
    }
}

// Entries that are nearly right: a sound one with a few bits turned, or noise.
template <encodable S>
class entry_source {
public:
    entry_source(law_book<S> const& book, std::uint64_t seed) : book_{book}, random_{seed} {}
    std::uint64_t operator()(std::uint64_t level) {
        std::uint64_t e = 0;
        std::vector<std::uint64_t> fitting;
        for (auto const& kind : book_.kinds)
            if (kind.level == level) fitting.push_back(kind.example);
        if (fitting.empty() || random_() % 16 == 0) return random_();
        e = fitting[random_() % fitting.size()];
        for (auto turns = random_() % 4; turns > 0; --turns)
            e ^= std::uint64_t{1} << random_() % 64;
        return e;
    }
    std::uint64_t number() { return random_(); }

private:
    law_book<S> const& book_;
    std::mt19937_64 random_;
};

// The fast lane never says yes where the law does not; where the law does and the entry grants the rights by itself, the
// lane says yes too, or it would not be fast.
template <encodable S>
void law_fast_lane_within_law(law_book<S> const& book, std::uint64_t seed, unsigned rounds) {
    entry_source next{book, seed};
    unsigned tables = 0;
    unsigned leaves = 0;
    unsigned slow = 0;
    unsigned wrong = 0;
    for (unsigned round = 0; round < rounds; ++round) {
        std::uint64_t const level = next.number() % (book.of.top() + 1);
        std::uint64_t const e = next(level);
        access const a = book.accesses[next.number() % book.accesses.size()];
        auto const lane = book.of.lane(a);
        auto const j = judged(book.of, level, e, a);
        bool const leads = level > 0 && lane.leads_on(level, e);
        bool const maps = !leads && lane.maps(level, e);
        bool right = true;
        if (leads) right = j.is == verdict::table && j.value == level - 1;
        if (maps) right = j.is == verdict::leaf && j.value == S::leaf_size(level, e);
        if (!right && ++wrong < 4) {
            CAPTURE(level, e, a.bits);
            CHECK(right);
        }
        tables += leads;
        leaves += maps;
        bool owes = false; // whatever has something to remember may be slow
        if constexpr (marking<S>) owes = book.of.marked({level, 0x5000, e}, a, typename S::path{}, true) != e;
        slow += !leads && !maps && j.is == verdict::leaf && a == read && !owes;
    }
    CHECK(wrong == 0);
    // The law was not tested on faults alone.
    if (book.of.top() > 0) CHECK(tables > rounds / 50);
    CHECK(leaves > rounds / 50);
    CHECK(slow == 0);
}

// Whatever the entries are, the walk says what the law says, from the same loads.
template <encodable S>
void law_walk_is_the_law(law_book<S> const& book, std::uint64_t seed, unsigned rounds) {
    entry_source next{book, seed};
    unsigned wrong = 0;
    unsigned good = 0;
    unsigned skipping = 0;
    single_path path{book.of};
    for (unsigned round = 0; round < rounds; ++round) {
        for (std::uint64_t level = 0; level <= book.of.top(); ++level)
            path.entry[level] = next(level);
        auto memory = make_callback<typename S::output>(
            [&](typename S::output) -> outcome<std::uint64_t, memory_error> { return path.next(); });
        auto const in = admitted_input(book.of, next.number(), next.number());
        access const a = book.accesses[next.number() % book.accesses.size()];
        path.restart();
        auto const fast = walk(book.of, memory, in, a);
        unsigned const fast_loads = path.loads;
        path.restart();
        auto const exact = walk(book.of, memory, in, a, no_trace{});
        bool const right = fast == exact && fast_loads == path.loads && path.loads <= S::levels_max;
        if (!right && ++wrong < 4) {
            CAPTURE(round, in.value, a.bits, path.entry[0], path.entry[1], path.entry[2], path.entry[3], path.entry[4]);
            CHECK(right);
        }
        good += static_cast<bool>(fast);
        skipping += fast && fast->lg2_size < book.of.shift(book.of.top() + 1 - path.loads);
    }
    CHECK(wrong == 0);
    CHECK(good > rounds / 100);
    if constexpr (skips_levels<S>) {
        if (book.of.top() > 1) CHECK(skipping > rounds / 200);
    } else {
        CHECK(skipping == 0);
    }
}

// A trusting walk differs at most where an entry has a reserved bit.
template <encodable S>
    requires trustable<S>
void law_trusted_is_the_law(law_book<S> const& book, std::uint64_t seed, unsigned rounds) {
    entry_source next{book, seed};
    trusted const trusting{book.of};
    unsigned wrong = 0;
    unsigned good = 0;
    single_path path{book.of};
    for (unsigned round = 0; round < rounds; ++round) {
        bool sound = true;
        for (std::uint64_t level = 0; level <= book.of.top(); ++level) {
            std::uint64_t e = next(level);
            for (int tries = 0; is_reserved_fault(book, judged(book.of, level, e, none)) && tries < 64; ++tries)
                e = next(level);
            path.entry[level] = e;
            sound = sound && !is_reserved_fault(book, judged(book.of, level, e, none));
        }
        if (!sound) continue;
        auto memory = make_callback<typename S::output>(
            [&](typename S::output) -> outcome<std::uint64_t, memory_error> { return path.next(); });
        auto const in = admitted_input(book.of, next.number(), next.number());
        access const a = book.accesses[next.number() % book.accesses.size()];
        path.restart();
        auto const expected = walk(book.of, memory, in, a);
        path.restart();
        auto const found = walk(trusting, memory, in, a);
        if (!(found == expected) && ++wrong < 4) {
            CAPTURE(round, in.value, a.bits, path.entry[0], path.entry[1], path.entry[2], path.entry[3], path.entry[4]);
            CHECK(found == expected);
        }
        good += static_cast<bool>(found);
    }
    CHECK(wrong == 0);
    CHECK(good > rounds / 100);
}

} // namespace stagewalk::test
