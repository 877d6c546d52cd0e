/// \file
/// Everything that a table maps: leaf by leaf, or merged into runs.
#pragma once

#include "../core/range.hpp"
#include "../core/translation.hpp"
#include "../memory/concept.hpp"
#include "stage.hpp"
#include "walk.hpp"

#include <concepts>
#include <cstdint>
#include <type_traits>

namespace stagewalk {
inline namespace v0 {

/// A mapped page, or the part of it that lies in the range that was asked for and in one slot of its table: a page that fills
/// several slots is several leaves. \tparam S the stage.
template <stage S>
struct leaf {
    range<typename S::input> part;         ///< The input addresses.
    translation<typename S::output> first; ///< Where the first of them leads, and how.
    step at;                               ///< The entry that maps it.
};

/// Neighbouring leaves that lead to neighbouring outputs with equal attributes.
/// \tparam S the stage.
template <stage S>
struct run {
    range<typename S::input> part; ///< The input addresses.
    typename S::output output;     ///< Where the first of them leads.
    attributes effective;          ///< What all of them grant.
    std::uint64_t leaves;          ///< How many leaves were merged.
    std::uint64_t smallest;        ///< The lg2 size of the smallest page.
    std::uint64_t largest;         ///< The lg2 size of the largest page.
};

/// How an enumeration ended.
struct enumeration {
    std::uint64_t leaves{}; ///< Leaves visited.
    std::uint64_t tables{}; ///< Tables entered, a shared one once for each way in.
    std::uint64_t loads{};  ///< Entries loaded.
    std::uint64_t faults{}; ///< Entries that are present and not valid, or could not be read.
    bool complete{true};    ///< False if the visitor stopped it before the end, or the bound on loads was reached.
    std::uint64_t resume{}; ///< If not complete: the first input address that is left.
};

/// The default bound on the loads of an enumeration: a hostile table that contains itself describes up to 2^45 leaves.
inline constexpr std::uint64_t default_max_loads = std::uint64_t{1} << 28;

/// Can be called with each \p Item that an enumeration finds.
template <class V, class Item>
concept visitor_of = requires(V& visit, Item const& item) {
    visit(item);
};

namespace detail {

template <class Visitor, class Item>
[[nodiscard]] constexpr bool show(Visitor& visit, Item const& item) {
    if constexpr (!std::invocable<Visitor&, Item const&>) {
        return true;
    } else if constexpr (std::is_void_v<std::invoke_result_t<Visitor&, Item const&>>) {
        visit(item);
        return true;
    } else {
        return static_cast<bool>(visit(item));
    }
}

template <class S, class M, class Visitor>
class enumerator {
public:
    constexpr enumerator(S const& s, M& m, Visitor& visit, std::uint64_t end, std::uint64_t max_loads)
        : stage_{s}, memory_{m}, visit_{visit}, end_{end}, max_loads_{max_loads} {}

    // One table, for the input addresses from first to last, which do not leave it. False stops everything.
    constexpr bool table(std::uint64_t level, typename S::output at, std::uint64_t first, std::uint64_t last,
                         typename S::path path) {
        ++result.tables;
        std::uint64_t const within = low_mask(stage_.shift(level));
        for (std::uint64_t from = first;;) {
            std::uint64_t const to = (from | within) < last ? (from | within) : last;
            if (!entry(level, at, from, to, path)) return false;
            if (to == last) return true;
            from = to + 1;
        }
    }

    enumeration result{};

private:
    constexpr bool stop(std::uint64_t at) {
        if (result.complete) result.resume = at;
        result.complete = false;
        return false;
    }

    // Nothing is left after the last address that was asked for.
    constexpr bool stop_after(std::uint64_t last) { return last == end_ ? false : stop(last + 1); }

    constexpr bool entry(std::uint64_t level, typename S::output table_at, std::uint64_t from, std::uint64_t to,
                         typename S::path path) {
        if (result.loads == max_loads_) return stop(from);
        ++result.loads;
        typename S::input const in{from};
        step at{level, (table_at + stage_.index(level, in) * 8).value, 0};
        auto const loaded = memory_.load(typename S::output{at.address});
        if (!loaded) {
            ++result.faults;
            auto const failed = unreadable_entry<S, M>(stage_, in, level, table_at, loaded.error());
            return show(visit_, failed.error()) || stop_after(to);
        }
        at.entry = *loaded;
        if (!stage_.is_present(at.entry)) return true;
        step denied = no_step;
        auto const j = stage_.judge(at, none, path, denied);
        if (j.is == verdict::leaf) {
            ++result.leaves;
            auto const part = range<typename S::input>::between(in, typename S::input{to});
            return show(visit_, leaf<S>{part, leaf_translation(stage_, in, none, at.entry, j.value, path), at}) || stop_after(to);
        }
        // Beyond what a skipping entry leads to, nothing is mapped.
        std::uint64_t last = to;
        if constexpr (skips_levels<S>) {
            if (j.is == verdict::table) {
                std::uint64_t const skipped = skipped_bits(stage_, level, j.value);
                if ((from & skipped) != 0) return true;
                last = (from | low_mask(stage_.shift(level))) & ~skipped;
                last = last < to ? last : to;
            }
        }
        if (j.is == verdict::refused || j.value >= level) {
            ++result.faults;
            auto const failed = refused_entry<S, M>(in, j);
            return show(visit_, failed.error()) || stop_after(to);
        }
        return table(j.value, stage_.target(at.entry), from, last, path);
    }

    S const& stage_;
    M& memory_;
    Visitor& visit_;
    std::uint64_t end_;
    std::uint64_t max_loads_;
};

template <class S, class Visitor>
struct run_merger {
    Visitor& visit;
    run<S> current{};
    bool stopped{};           // by the visitor
    std::uint64_t shown_to{}; // the last address of the run that it stopped at

    constexpr bool flush() {
        if (current.leaves != 0 && !show(visit, current)) {
            stopped = true;
            shown_to = current.part.last().value;
        }
        current = {};
        return !stopped;
    }
    constexpr bool operator()(leaf<S> const& l) {
        std::uint64_t const length = current.leaves == 0 ? 0 : current.part.span() + 1;
        bool const joins = current.leaves != 0 && l.part.first() == current.part.last() + 1 &&
                           l.first.output == current.output + length && l.first.effective == current.effective;
        std::uint64_t const lg2 = l.first.lg2_size;
        if (!joins) {
            if (!flush()) return false;
            current = {l.part, l.first.output, l.first.effective, 1, lg2, lg2};
            return true;
        }
        current.part = range<typename S::input>::between(current.part.first(), l.part.last());
        ++current.leaves;
        current.smallest = lg2 < current.smallest ? lg2 : current.smallest;
        current.largest = lg2 > current.largest ? lg2 : current.largest;
        return true;
    }
    // Nothing joins across an entry that is not valid.
    template <class Fault>
    constexpr bool operator()(Fault const& f) {
        return flush() && show(visit, f);
    }
};

} // namespace detail

/// Calls \p visit with every `leaf<S>` that \p s maps within \p where, in ascending order, and with the fault of every
/// entry that is present and not valid or could not be read, if \p visit can be called with one. Absent subtrees cost
/// one load. What an entry that skips levels does not reach is left out.
/// \param s the stage. Rights are not asked for; a leaf tells those that all levels grant together.
/// \param m the memory that holds its tables.
/// \param where the input addresses; those that the stage does not admit are left out.
/// \param visit returns nothing, or false to stop.
/// \param max_loads the bound on loads.
template <stage S, memory M, visitor_of<leaf<S>> Visitor>
    requires serves<M, typename S::output>
constexpr enumeration for_each_leaf(S const& s, M& m, range<typename S::input> where, Visitor&& visit,
                                    std::uint64_t max_loads = default_max_loads) {
    if (where.empty()) return {};
    detail::enumerator<S, M, std::remove_reference_t<Visitor>> all{s, m, visit, where.last().value, max_loads};
    // What is admitted may lie in two halves (Arm's TTB0 and TTB1, canonical addresses); a stage says where they are.
    for (auto const& part : s.admitted()) {
        auto const both = part.intersection(where);
        if (both.empty()) continue;
        if (!all.table(s.top(), s.root(), both.first().value, both.last().value, typename S::path{})) break;
    }
    return all.result;
}

/// The same with neighbouring leaves merged: \p visit is called with every `run<S>`.
template <stage S, memory M, visitor_of<run<S>> Visitor>
    requires serves<M, typename S::output>
constexpr enumeration for_each_run(S const& s, M& m, range<typename S::input> where, Visitor&& visit,
                                   std::uint64_t max_loads = default_max_loads) {
    detail::run_merger<S, std::remove_reference_t<Visitor>> merge{visit};
    enumeration result = for_each_leaf(s, m, where, merge, max_loads);
    if (!merge.stopped) merge.flush();
    if (merge.stopped) {
        result.complete = merge.shown_to == where.last().value;
        result.resume = merge.shown_to + 1;
    }
    return result;
}

} // namespace v0
} // namespace stagewalk
