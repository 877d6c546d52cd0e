/// \file
/// Tables that we own: mapping ranges.
#pragma once

#include "../core/attributes.hpp"
#include "../core/outcome.hpp"
#include "../core/range.hpp"
#include "../core/size.hpp"
#include "../memory/concept.hpp"
#include "../walk/stage.hpp"
#include "allocator.hpp"

#include <bit>
#include <concepts>
#include <cstdint>

namespace stagewalk {
inline namespace v0 {

/// Why a range could not be mapped.
enum class map_error : std::uint64_t {
    bad_range,      ///< The range is empty, or it would pass the top of the space.
    misaligned,     ///< An end of the range or the output is not a multiple of the smallest page.
    beyond_input,   ///< The stage does not admit an address of the range.
    cannot_encode,  ///< The format has no way to write this output or these attributes.
    already_mapped, ///< A page of the range is mapped, or a table stands where a large page would go.
    broken_table,   ///< An entry on the way is not valid: somebody else writes these tables.
    unreadable,     ///< The memory refused a load or a store.
    out_of_tables,  ///< The allocator had no table left.
};

/// Why a range could not be mapped, and where.
struct map_failure {
    map_error why{};    ///< The reason.
    std::uint64_t at{}; ///< The input address at which it was found.

    /// Failures are equal field by field.
    friend constexpr bool operator==(map_failure const&, map_failure const&) = default;
};

/// The page tables of a stage that we write ourselves. One writer at a time; hardware and walkers may read meanwhile.
/// \tparam S the stage; its root table must be cleared before the first use.
/// \tparam M the memory that holds the tables.
/// \tparam A where new tables come from.
template <encodable S, table_memory M, table_allocator A>
    requires serves<M, typename S::output> && std::same_as<typename A::address, typename S::output>
class table {
public:
    using input = typename S::input;   ///< What it translates from.
    using output = typename S::output; ///< What it translates to, and the space of its tables.

    /// \param s the stage.
    /// \param m the memory that holds its tables, alive as long as this object.
    /// \param a where new tables come from, alive as long as this object.
    constexpr table(S const& s, M& m, A& a) : stage_{s}, memory_{&m}, allocator_{&a} {}

    /// The stage.
    [[nodiscard]] constexpr S const& of() const { return stage_; }

    /// Maps \p at to the same number of bytes from \p to on, in the largest pages that fit. All or nothing: on failure the tree
    /// is as it was, and every table taken has been given back. Two things leave a part of the range mapped: a memory that
    /// refuses a load or a store half-way (`map_error::unreadable`; what then lies in a table that it does not let be linked is
    /// lost but for that table), and tables that somebody else made and that the range reaches in two ways
    /// (`map_error::already_mapped`). Readers never see half of it wrong: a table is filled before an entry leads to it.
    /// \return the number of bytes less one (2^64 bytes do not fit 64 bits), or why not.
    constexpr outcome<std::uint64_t, map_failure> map(range<input> at, output to, attributes with) noexcept {
        std::uint64_t const smallest = static_cast<std::uint64_t>(std::countr_zero(stage_.sizes()));
        if (at.empty()) return failure{map_failure{map_error::bad_range, at.valid() ? 0 : ~std::uint64_t{0}}};
        std::uint64_t const first = at.first().value;
        if (!is_aligned(first | to.value | (at.span() + 1), smallest)) return failure{map_failure{map_error::misaligned, first}};
        if (!stage_.admits(at.first())) return failure{map_failure{map_error::beyond_input, first}};
        if (!admits_all(at)) return failure{map_failure{map_error::beyond_input, at.last().value}};
        if (to.value + at.span() < to.value || !stage_.can_encode(to, with) ||
            !stage_.can_encode(output{(to.value + at.span()) & ~low_mask(smallest)}, with))
            return failure{map_failure{map_error::cannot_encode, first}};

        job work{at.first().value, at.last().value, to.value - first, with, 0, output{}, {}};
        place const root{stage_.top(), stage_.root(), false};
        if (!survey(work, root, work.first, work.last)) return failure{work.problem};
        if (!take_tables(work)) return failure{work.problem};
        bool const written = write(work, root, work.first, work.last);
        give_back(work); // what a table that is reached in two ways did not need, or a failure left
        if (!written) return failure{work.problem};
        return at.span();
    }

private:
    static constexpr std::uint64_t lg2_table = stagewalk::lg2_table<S>;

    struct job {
        std::uint64_t first; // what is to be mapped, both ends inclusive
        std::uint64_t last;
        std::uint64_t distance; // output - input, modulo 2^64
        attributes with;
        std::uint64_t tables; // survey: how many new tables it takes; write: how many are spare
        output spare;         // write: the new tables, chained through their first words
        map_failure problem;
    };

    constexpr bool fail(job& work, map_error why, std::uint64_t at) const {
        work.problem = {why, at};
        return false;
    }

    // Between the halves of a canonical space, both ends of a range are admitted and its middle is not.
    [[nodiscard]] constexpr bool admits_all(range<input> const& at) const {
        for (auto const& part : stage_.admitted())
            if (part.contains(at)) return true;
        return false;
    }

    // A table of `level`. One that is `fresh` has no entry in use, or is still to be made.
    struct place {
        std::uint64_t level;
        output table;
        bool fresh;
    };

    // Calls visit(first input address, last input address, lg2 size of the page that maps them or 0) for each part of the range
    // that one entry of a table serves, or the several of one page.
    template <class Visit>
    constexpr bool for_each_part(job& work, place const& here, std::uint64_t first, std::uint64_t last, Visit visit) {
        for (std::uint64_t at = first;;) {
            std::uint64_t const lg2 = page_size(work, here, at, last);
            std::uint64_t const rest = low_mask(lg2 != 0 ? lg2 : stage_.shift(here.level));
            std::uint64_t const end = (at | rest) < last ? (at | rest) : last;
            if (!visit(work, at, end, lg2)) return false;
            if (end == last) return true;
            at = end + 1;
        }
    }

    // The largest page that can begin at `at` in a table; 0 if there is none.
    [[nodiscard]] constexpr std::uint64_t page_size(job const& work, place const& here, std::uint64_t at,
                                                    std::uint64_t last) const {
        std::uint64_t const span = stage_.shift(here.level);
        auto const fits = [&](std::uint64_t lg2) {
            return (stage_.sizes() >> lg2 & 1) != 0 && is_aligned(at | (at + work.distance), lg2) && last - at >= low_mask(lg2);
        };
        if (!fits(span)) return 0;
        std::uint64_t const of_several_slots = low_mask(stage_.shift(here.level + 1)) & ~low_mask(span + 1);
        for (std::uint64_t left = stage_.sizes() & of_several_slots; left != 0;) {
            std::uint64_t const lg2 = static_cast<std::uint64_t>(std::bit_width(left)) - 1;
            if (fits(lg2) && are_free(here, at, lg2 - span)) return lg2;
            left &= low_mask(lg2);
        }
        return span;
    }

    // Whether none of 2^`lg2` slots is in use.
    [[nodiscard]] constexpr bool are_free(place const& here, std::uint64_t at, std::uint64_t lg2) const {
        if (here.fresh) return true;
        for (std::uint64_t i = 0; i <= low_mask(lg2); ++i) {
            auto const loaded = memory_->load(here.table + (stage_.index(here.level, input{at}) + i) * 8);
            if (!loaded || stage_.is_present(*loaded)) return false;
        }
        return true;
    }

    // Where a present entry leads, by the law. Always downwards.
    [[nodiscard]] constexpr outcome<place, map_error> follow(step const& at) const {
        typename S::path p{};
        step denied = no_step;
        auto const judged = stage_.judge(at, none, p, denied);
        if (judged.is == verdict::leaf) return failure{map_error::already_mapped};
        if (judged.is == verdict::refused || judged.value >= at.level) return failure{map_error::broken_table};
        if (skipped_bits(stage_, at.level, judged.value) != 0) return failure{map_error::broken_table}; // we skip no level
        return place{judged.value, stage_.target(at.entry), false};
    }

    // Counts the tables that are missing and finds every conflict, before anything is changed.
    constexpr bool survey(job& job_, place const& here, std::uint64_t first, std::uint64_t last) {
        return for_each_part(job_, here, first, last, [&](job& work, std::uint64_t from, std::uint64_t to, std::uint64_t lg2) {
            step at{here.level, (here.table + stage_.index(here.level, input{from}) * 8).value, 0};
            if (!here.fresh) {
                auto const loaded = memory_->load(output{at.address});
                if (!loaded) return fail(work, map_error::unreadable, from);
                at.entry = *loaded;
            }
            if (!stage_.is_present(at.entry)) {
                if (lg2 != 0) return true;
                if (here.level == 0) return fail(work, map_error::cannot_encode, from);
                ++work.tables;
                return survey(work, {here.level - 1, output{}, true}, from, to);
            }
            // A table stays where it is, even an empty one: hardware may know it.
            auto const next = follow(at);
            if (!next) return fail(work, next.error(), from);
            return survey(work, *next, from, to);
        });
    }

    // Takes all tables at once, so that writing cannot run out of them half-way.
    constexpr bool take_tables(job& work) {
        std::uint64_t const wanted = work.tables;
        for (work.tables = 0; work.tables < wanted; ++work.tables) {
            auto const got = allocator_->take(lg2_table);
            bool const chained = got && memory_->store(*got, work.spare.value);
            if (!chained) {
                if (got) allocator_->give(*got, lg2_table);
                give_back(work);
                return fail(work, got ? map_error::unreadable : map_error::out_of_tables, work.first);
            }
            work.spare = *got;
        }
        return true;
    }

    // The spare tables. Memory that loses their chain loses the rest of them.
    constexpr void give_back(job& work) {
        for (bool chained = true; chained && work.tables > 0; --work.tables) {
            output const one = work.spare;
            auto const next = memory_->load(one);
            chained = static_cast<bool>(next);
            if (chained) work.spare = output{*next};
            allocator_->give(one, lg2_table);
        }
    }

    constexpr bool write(job& job_, place const& here, std::uint64_t first, std::uint64_t last) {
        return for_each_part(job_, here, first, last, [&](job& work, std::uint64_t from, std::uint64_t to, std::uint64_t lg2) {
            output const entry_at = here.table + stage_.index(here.level, input{from}) * 8;
            auto const loaded = memory_->load(entry_at);
            if (!loaded) return fail(work, map_error::unreadable, from);
            if (stage_.is_present(*loaded)) {
                auto const below = follow({here.level, entry_at.value, *loaded});
                if (!below) return fail(work, below.error(), from);
                return write(work, *below, from, to);
            }
            if (lg2 != 0) {
                std::uint64_t const e = stage_.make_leaf(output{from + work.distance}, lg2, work.with);
                return put(work, entry_at, e, from, std::uint64_t{1} << (lg2 - stage_.shift(here.level)));
            }
            output const fresh = work.spare;
            auto const next = memory_->load(fresh);
            if (!next) return fail(work, map_error::unreadable, from);
            work.spare = output{*next};
            --work.tables;
            if (!clear(fresh)) {
                allocator_->give(fresh, lg2_table);
                return fail(work, map_error::unreadable, from);
            }
            // What memory lets be written only in part is linked all the same: tables hang in it.
            bool const written = write(work, {here.level - 1, fresh, true}, from, to);
            memory_->publish(fresh, low_mask(lg2_table) + 1);
            if (put(work, entry_at, stage_.make_table(fresh, here.level), from, 1)) return written;
            allocator_->give(fresh, lg2_table);
            return false;
        });
    }

    constexpr bool clear(output fresh) {
        for (std::uint64_t i = 0; i < low_mask(lg2_table); i += 8)
            if (!memory_->store(fresh + i, 0)) return false;
        return true;
    }

    // The entry `e`, in as many slots as its page covers.
    constexpr bool put(job& work, output entry_at, std::uint64_t e, std::uint64_t from, std::uint64_t slots) {
        for (std::uint64_t i = 0; i < slots; ++i)
            if (!memory_->store(entry_at + i * 8, e)) return fail(work, map_error::unreadable, from);
        memory_->publish(entry_at, slots * 8);
        return true;
    }

    S stage_;
    M* memory_;
    A* allocator_;
};

/// `table{stage, memory, allocator}` deduces all.
template <encodable S, table_memory M, table_allocator A>
table(S, M&, A&) -> table<S, M, A>;

} // namespace v0
} // namespace stagewalk
