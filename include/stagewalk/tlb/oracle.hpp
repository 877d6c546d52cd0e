/// \file
/// Does a TLB ever say what it must not say any more? A test for policies of one's own.
#pragma once

#include "../core/access.hpp"
#include "../core/attributes.hpp"
#include "../core/outcome.hpp"
#include "../core/range.hpp"
#include "../core/size.hpp"
#include "../core/translation.hpp"
#include "tlb.hpp"

#include <cstdint>
#include <type_traits>

namespace stagewalk {
inline namespace v0 {

/// What is wrong with an answer of a TLB.
enum class oracle_verdict : std::uint64_t {
    nothing,   ///< No answer was wrong.
    stale,     ///< The answer had been dropped, or a fill that an invalidation had overtaken came in.
    uncovered, ///< The page is right, but this access has not been seen to pass.
    wrong,     ///< Nobody has ever put that in.
};

/// What the oracle found.
struct oracle_finding {
    oracle_verdict verdict{oracle_verdict::nothing}; ///< What was wrong.
    std::uint64_t step{};                            ///< At which step; how many there were if nothing was.
    std::uint64_t hits{};                            ///< How many right answers came before: none proves nothing.

    /// Whether something was wrong.
    [[nodiscard]] constexpr explicit operator bool() const { return verdict != oracle_verdict::nothing; }
    /// Findings are equal that say the same.
    friend constexpr bool operator==(oracle_finding const&, oracle_finding const&) = default;
};

/// Makes the tags that the oracle uses out of the numbers 0 to 3: four domains, of which two share a group of 64. Who has a tag
/// of his own brings a function of his own, best with two tags of one domain.
struct oracle_tags {
    /// Tag number \p n for a cache whose tag is a \p Tag.
    template <class Tag>
    [[nodiscard]] static constexpr Tag make(std::uint64_t n) {
        constexpr std::uint16_t domains[]{0, 1, 64, 0xffff};
        return Tag{domains[n]};
    }
};

namespace detail {

// Page tables in a few numbers. Four owners have eight slots each, a slot is four cells of one size, and what is mapped there, in
// pages of one, two or four cells, follows from the slot's generation. An edit is the next generation.
//
// What the cache may hold is kept apart for the last four generations of each slot: an entry enters that when it is put in, and
// leaves it when an invalidation must drop it, whether there has been an edit or not. Then each answer must be in it. What a
// cache drops beyond that is its own business.
template <class Cache, class Tags>
class oracle {
public:
    constexpr oracle(Cache& cache, std::uint64_t seed) : cache_{cache}, random_{seed} {}

    constexpr oracle_finding run(std::uint64_t steps) {
        for (std::uint64_t step = 0; step < steps; ++step) {
            take_step();
            if (verdict_ != oracle_verdict::nothing) return {verdict_, step, hits_};
        }
        return {oracle_verdict::nothing, steps, hits_};
    }

private:
    using tag = typename Cache::tag;
    using input = typename Cache::input;
    using output = typename Cache::output;
    using answer = translation<output>;

    static constexpr std::uint64_t owners = 4;
    static constexpr std::uint64_t slots = 8;
    static constexpr std::uint64_t cells = 4;
    static constexpr std::uint64_t window = 4;
    static constexpr std::uint64_t tag_bits = low_mask(48);

    struct area {
        std::uint64_t base;
        std::uint64_t lg2; // of a cell
    };
    static constexpr area where[slots]{
        {0, 12},
        {0x4000, 12},
        {0x8000, 12},
        {0x4000'0000, 16},
        {std::uint64_t{1} << 47, 21},
        {(std::uint64_t{1} << 47) + (std::uint64_t{1} << 23), 21},
        {std::uint64_t{1} << 63, 30},
        {~low_mask(53), 51},
    };

    // Some page of some owner at some time.
    struct page {
        bool present;
        std::uint64_t first;
        std::uint64_t lg2;
        std::uint64_t cell; // its first
        std::uint64_t output;
        std::uint64_t attributes;
        [[nodiscard]] constexpr std::uint64_t last() const { return first | low_mask(lg2); }
    };
    struct fill {
        bool pending{};
        bool overtaken{}; // an invalidation that concerns it came in
        fill_ticket ticket{};
        std::uint64_t owner{};
        std::uint64_t slot{};
        std::uint64_t generation{};
        std::uint64_t in{};
        access need{};
        access rights{};
    };

    [[nodiscard]] static constexpr std::uint64_t mixed(std::uint64_t a, std::uint64_t b) {
        std::uint64_t z = a * 0x9e37'79b9'7f4a'7c15 + b; // splitmix64
        z = (z ^ z >> 30) * 0xbf58'476d'1ce4'e5b9;
        z = (z ^ z >> 27) * 0x94d0'49bb'1331'11eb;
        return z ^ z >> 31;
    }
    constexpr std::uint64_t below(std::uint64_t n) { return mixed(++random_, 0) % n; }

    [[nodiscard]] static constexpr tag tag_of(std::uint64_t owner) {
        if constexpr (requires { Tags::template make<tag>(owner); }) {
            return Tags::template make<tag>(owner);
        } else {
            return Tags{}(owner);
        }
    }
    [[nodiscard]] static constexpr page page_at(std::uint64_t owner, std::uint64_t slot, std::uint64_t generation,
                                                std::uint64_t in) {
        std::uint64_t const all = mixed(owner << 8 | slot, generation);
        page p{all % 8 != 0, 0, where[slot].lg2 + (all >> 8) % 3, 0, 0, all >> 16 << 3};
        p.attributes |= (all >> 12 & 7) | (all >> 15 & 1); // most may be read
        p.first = in >> p.lg2 << p.lg2;
        p.cell = (p.first - where[slot].base) >> where[slot].lg2;
        p.output = mixed(all, p.cell) & low_mask(52) & ~low_mask(p.lg2);
        return p;
    }

    constexpr void take_step() {
        // Most of what happens concerns one place for a while: what is put in has to be met again.
        if (below(24) == 0) focus_ = below(owners * slots);
        std::uint64_t const which = below(8) == 0 ? below(owners * slots) : focus_;
        std::uint64_t const owner = which / slots;
        std::uint64_t const slot = which % slots;
        switch (below(16)) {
        case 0: edit(owner, slot); break;
        case 1:
            edit(owner, slot);
            drop_cells(owner, slot, 0, cells - 1);
            break;
        case 2: deliver(fills_[below(4)]); break;
        case 3: {
            std::uint64_t const first = below(cells);
            drop_cells(owner, slot, first, first + below(cells - first));
            break;
        }
        case 4: drop_many(owner); break;
        case 5: drop_by_mask(owner, slot); break;
        default: use(owner, slot);
        }
    }

    // An access: the cache, else a walk whose result is put in, now or after something else has happened.
    constexpr void use(std::uint64_t owner, std::uint64_t slot) {
        std::uint64_t const cell = where[slot].lg2;
        std::uint64_t const in = where[slot].base + (below(cells) << cell) + (mixed(below(4), 1) & low_mask(cell));
        constexpr std::uint64_t circumstances[]{0, 0, 0, 0, 0, privileged.bits, zero_length.bits, inquiring.bits};
        std::uint64_t const rights = below(2) == 0 ? read.bits : below(8);
        access const a{rights | circumstances[below(8)]};
        auto const found = cache_.find(input{in}, tag_of(owner), a);
        if (found) return judge(owner, slot, in, a, *found);
        fill f{true, false, cache_.begin(), owner, slot, generation_[owner][slot], in, a, {}};
        page const now = page_at(owner, slot, f.generation, in);
        if (!now.present || (a.bits & attributes::rights_mask & ~now.attributes) != 0) return;
        // Rights that need no further update, or those of this access alone.
        f.rights = {now.attributes & attributes::rights_mask & (below(2) == 0 ? a.bits : ~std::uint64_t{0})};
        if (below(4) == 0) {
            fills_[below(4)] = f;
        } else {
            deliver(f);
        }
    }
    constexpr void deliver(fill& f) {
        if (!f.pending) return;
        f.pending = false;
        std::uint64_t const age = generation_[f.owner][f.slot] - f.generation;
        if (age >= window) return;
        page const p = page_at(f.owner, f.slot, f.generation, f.in);
        answer const t{output{p.output | (f.in & low_mask(p.lg2))}, attributes::from_bits(p.attributes), p.lg2, passage::walked};
        if (!f.overtaken) held(f.owner, f.slot, p.cell, f.generation) |= (8 | f.rights.bits) << shift_of(f.need);
        cache_.insert(f.ticket, input{f.in}, t, tag_of(f.owner), f.need, f.rights);
    }
    constexpr void judge(std::uint64_t owner, std::uint64_t slot, std::uint64_t in, access a, answer const& t) {
        verdict_ = oracle_verdict::wrong;
        std::uint64_t const now = generation_[owner][slot];
        for (std::uint64_t age = 0; age < 2 * window && age <= now; ++age) {
            page const p = page_at(owner, slot, now - age, in);
            if (!(t ==
                  answer{output{p.output | (in & low_mask(p.lg2))}, attributes::from_bits(p.attributes), p.lg2, passage::walked}))
                continue;
            std::uint64_t const known = age < window ? held(owner, slot, p.cell, now - age) >> shift_of(a) & 15 : 0;
            verdict_ = oracle_verdict::stale;
            if (known == 0) continue;
            verdict_ = oracle_verdict::uncovered;
            if ((a.bits & attributes::rights_mask & ~known) != 0) continue;
            verdict_ = oracle_verdict::nothing;
            ++hits_;
            return;
        }
    }

    // The next generation, if there is room to remember what the cache may hold of the oldest one.
    constexpr void edit(std::uint64_t owner, std::uint64_t slot) {
        std::uint64_t const next = generation_[owner][slot] + 1;
        for (std::uint64_t cell = 0; cell < cells; ++cell) {
            if (held(owner, slot, cell, next) != 0) return drop_cells(owner, slot, 0, cells - 1);
        }
        generation_[owner][slot] = next;
    }

    constexpr void drop_cells(std::uint64_t owner, std::uint64_t slot, std::uint64_t first, std::uint64_t last) {
        std::uint64_t const lg2 = where[slot].lg2;
        std::uint64_t const from = where[slot].base + (first << lg2);
        std::uint64_t const to = (where[slot].base + (last << lg2)) | low_mask(lg2);
        cache_.invalidate(range<input>::between(input{from}, input{to}), tag_of(owner));
        forget(from, to, tag_of(owner).word(), tag_bits);
    }
    // Seldom so often that epochs go round, but not in a constant expression.
    constexpr void drop_many(std::uint64_t owner) {
        bool const all = below(4) == 0;
        bool const often = below(64) == 0 && !all && !std::is_constant_evaluated();
        std::uint64_t const times = often ? 4094 + below(5) : 1;
        for (std::uint64_t n = 0; n < times; ++n) {
            if (all) {
                cache_.invalidate_all();
            } else {
                cache_.invalidate_domain(tag_of(owner));
            }
        }
        forget(0, ~std::uint64_t{0}, tag_of(owner).word(), all ? 0 : low_mask(16));
    }
    constexpr void drop_by_mask(std::uint64_t owner, std::uint64_t slot) {
        constexpr std::uint64_t masks[]{tag_bits, 0xffff, 0, 0xff, tag_bits & ~std::uint64_t{0xffff}};
        std::uint64_t const which = masks[below(5)];
        std::uint64_t const first = where[slot].base;
        bool const everywhere = below(2) == 0;
        auto const pages = everywhere ? range<input>::all() : range<input>{input{first}, cells << where[slot].lg2};
        cache_.invalidate(pages, tag_of(owner), which);
        forget(pages.first().value, pages.last().value, tag_of(owner).word(), which);
    }

    // What must be gone now.
    constexpr void forget(std::uint64_t from, std::uint64_t to, std::uint64_t word, std::uint64_t which) {
        for (std::uint64_t owner = 0; owner < owners; ++owner) {
            if (((tag_of(owner).word() ^ word) & which) != 0) continue;
            for (std::uint64_t slot = 0; slot < slots; ++slot) {
                std::uint64_t const end = where[slot].base | low_mask(where[slot].lg2 + 2);
                if (end < from || to < where[slot].base) continue;
                for (std::uint64_t age = 0; age < window; ++age)
                    forget_pages(from, to, owner, slot, generation_[owner][slot] - age);
            }
            for (fill& f : fills_) {
                page const p = page_at(f.owner, f.slot, f.generation, f.in);
                if (f.owner == owner && p.first <= to && from <= p.last()) f.overtaken = true;
            }
        }
    }
    constexpr void forget_pages(std::uint64_t from, std::uint64_t to, std::uint64_t owner, std::uint64_t slot,
                                std::uint64_t generation) {
        for (std::uint64_t cell = 0; cell < cells; ++cell) {
            std::uint64_t& known = held(owner, slot, cell, generation);
            if (known == 0) continue;
            page const p = page_at(owner, slot, generation, where[slot].base + (cell << where[slot].lg2));
            if (p.first <= to && from <= p.last()) known = 0;
        }
    }

    // For each of the eight circumstances 4 bits: the rights, and whether there may be an entry.
    [[nodiscard]] static constexpr std::uint64_t shift_of(access a) { return (a.bits >> 3 & 7) * 4; }
    [[nodiscard]] constexpr std::uint64_t& held(std::uint64_t owner, std::uint64_t slot, std::uint64_t cell,
                                                std::uint64_t generation) {
        return held_[owner][slot][cell][generation % window];
    }

    Cache& cache_;
    std::uint64_t random_;
    std::uint64_t generation_[owners][slots]{};
    std::uint64_t held_[owners][slots][cells][window]{};
    fill fills_[4]{};
    std::uint64_t hits_{};
    std::uint64_t focus_{};
    oracle_verdict verdict_{oracle_verdict::nothing};
};

} // namespace detail

/// Drives \p cache, a `tlb` with any policies or whatever has its members `find`, `begin`, `insert`, `invalidate`,
/// `invalidate_domain` and `invalidate_all`, with accesses, edits, invalidations of every scope, and fills that these overtake,
/// all pseudo-random, against page tables of its own that fit in 5 KiB. Entries may be missing; none may answer that must be
/// gone, or an access that it has not been seen to let pass.
/// \tparam Tags makes the tags: called with 0 to 3.
/// \param cache empty at first, and used by nobody else.
/// \param seed another seed, another history.
/// \param steps how many; a hundred are enough for a gross error, a million take less than a second.
/// \return the first wrong answer, or that there was none.
template <class Cache, class Tags = oracle_tags>
[[nodiscard]] constexpr oracle_finding find_stale_entry(Cache& cache, std::uint64_t seed, std::uint64_t steps, Tags const& = {}) {
    return detail::oracle<Cache, Tags>{cache, seed}.run(steps);
}

} // namespace v0
} // namespace stagewalk
