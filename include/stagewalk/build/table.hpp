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

    /// Maps \p at to the same number of bytes from \p to on, in the largest pages that fit.
    /// All or nothing: on failure the tree is as it was, and every table taken has been given back. Two things leave a part of
    /// the range mapped: a memory that refuses a load or a store half-way (`map_error::unreadable`), and tables that somebody
    /// else made and that the range reaches in two ways (`map_error::already_mapped`).
    /// Readers never see half of it wrong: a table is filled before an entry leads to it.
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
        if (!survey(work, stage_.top(), stage_.root().value, true)) return failure{work.problem};
        if (!take_tables(work)) return failure{work.problem};
        bool const written = write(work, stage_.top(), stage_.root());
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

    // Calls visit(entry index's input address, last input address of the part that lies in it) for each entry of a
    // table of `level`.
    template <class Visit>
    constexpr bool for_each_part(job& work, std::uint64_t level, std::uint64_t first, std::uint64_t last, Visit visit) {
        std::uint64_t const rest = low_mask(stage_.shift(level));
        for (std::uint64_t at = first;;) {
            std::uint64_t const end = (at | rest) < last ? (at | rest) : last;
            if (!visit(work, at, end)) return false;
            if (end == last) return true;
            at = end + 1;
        }
    }

    [[nodiscard]] constexpr bool is_page(job const& work, std::uint64_t level, std::uint64_t first, std::uint64_t last) const {
        std::uint64_t const lg2 = stage_.shift(level);
        return (stage_.sizes() >> lg2 & 1) != 0 && is_aligned(first | (first + work.distance), lg2) &&
               last - first == low_mask(lg2);
    }

    struct place {
        std::uint64_t level;
        output table;
    };

    // Where a present entry leads, by the law. Always downwards.
    [[nodiscard]] constexpr outcome<place, map_error> follow(step const& at) const {
        typename S::path p{};
        step denied = no_step;
        auto const judged = stage_.judge(at, none, p, denied);
        if (judged.is == verdict::leaf) return failure{map_error::already_mapped};
        if (judged.is == verdict::refused || judged.value >= at.level) return failure{map_error::broken_table};
        return place{judged.value, stage_.target(at.entry)};
    }

    // Counts the tables that are missing and finds every conflict, before anything is changed.
    constexpr bool survey(job& work, std::uint64_t level, std::uint64_t table_at, bool exists) {
        return survey(work, level, table_at, exists, work.first, work.last);
    }
    constexpr bool survey(job& job_, std::uint64_t level, std::uint64_t table_at, bool exists, std::uint64_t first,
                          std::uint64_t last) {
        return for_each_part(job_, level, first, last, [&](job& work, std::uint64_t from, std::uint64_t to) {
            step at{level, table_at + stage_.index(level, input{from}) * 8, 0};
            if (exists) {
                auto const loaded = memory_->load(output{at.address});
                if (!loaded) return fail(work, map_error::unreadable, from);
                at.entry = *loaded;
            }
            if (!stage_.is_present(at.entry)) {
                if (is_page(work, level, from, to)) return true;
                if (level == 0) return fail(work, map_error::cannot_encode, from);
                ++work.tables;
                return survey(work, level - 1, 0, false, from, to);
            }
            // A table stays where it is, even an empty one: hardware may know it.
            auto const next = follow(at);
            if (!next) return fail(work, next.error(), from);
            return survey(work, next->level, next->table.value, true, from, to);
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

    constexpr bool write(job& work, std::uint64_t level, output table_at) {
        return write(work, level, table_at, work.first, work.last);
    }
    constexpr bool write(job& job_, std::uint64_t level, output table_at, std::uint64_t first, std::uint64_t last) {
        return for_each_part(job_, level, first, last, [&](job& work, std::uint64_t from, std::uint64_t to) {
            output const entry_at = table_at + stage_.index(level, input{from}) * 8;
            auto const loaded = memory_->load(entry_at);
            if (!loaded) return fail(work, map_error::unreadable, from);
            if (stage_.is_present(*loaded)) {
                auto const below = follow({level, entry_at.value, *loaded});
                if (!below) return fail(work, below.error(), from);
                return write(work, below->level, below->table, from, to);
            }
            if (is_page(work, level, from, to)) {
                std::uint64_t const e = stage_.make_leaf(output{from + work.distance}, stage_.shift(level), work.with);
                return put(work, entry_at, e, from);
            }
            output const fresh = work.spare;
            auto const next = memory_->load(fresh);
            if (!next) return fail(work, map_error::unreadable, from);
            work.spare = output{*next};
            --work.tables;
            for (std::uint64_t i = 0; i < low_mask(lg2_table); i += 8)
                if (!memory_->store(fresh + i, 0)) return fail(work, map_error::unreadable, from);
            if (!write(work, level - 1, fresh, from, to)) return false;
            memory_->publish(fresh, low_mask(lg2_table) + 1);
            return put(work, entry_at, stage_.make_table(fresh), from);
        });
    }

    constexpr bool put(job& work, output entry_at, std::uint64_t e, std::uint64_t from) {
        if (!memory_->store(entry_at, e)) return fail(work, map_error::unreadable, from);
        memory_->publish(entry_at, 8);
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
