/// \file
/// Many translations at once: their walks go on side by side, so that the memory's latency is paid once for several.
#pragma once

#include "../core/access.hpp"
#include "../core/attributes.hpp"
#include "../core/outcome.hpp"
#include "../core/range.hpp"
#include "../core/size.hpp"
#include "../core/translation.hpp"
#include "../walk/stage.hpp"
#include "../walk/update.hpp"
#include "../walk/walk.hpp"
#include "concept.hpp"

#include <cstddef>
#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace detail {

// How many walks go side by side: as many misses as a processor's first cache has room for, or nearly.
inline constexpr std::size_t lanes = 8;

// One level of all walks that are still under way. No load depends on another here.
template <std::uint64_t Level, class S, class M, class Outcome>
[[gnu::always_inline]] inline constexpr void descend_together(S const& s, M& m, fast_memory<M>& fast, typename S::input const* in,
                                                              std::size_t count, access a, typename S::output* table,
                                                              typename S::path* path, unsigned under_way, Outcome* out) {
    auto const lane = s.lane(a);
    if (small_tables<S> ? Level + 1 <= s.top() : Level < S::levels_min || Level <= s.top()) {
        for (std::size_t i = 0; i < count; ++i) {
            if ((under_way >> i & 1) == 0) continue;
            std::uint64_t index;
            if constexpr (small_tables<S>) {
                index = S::inner_index(Level, in[i]);
            } else {
                index = s.index(Level, in[i]);
            }
            auto const loaded = load_entry(fast, table[i], index);
            handing_over<S, M> const end{s, m, nullptr};
            if (!loaded) [[unlikely]] {
                out[i] = end.unreadable(in[i], Level, table[i], loaded.error());
                under_way &= ~(1u << i);
            } else if (Level == 0 || !lane.leads_on(Level, *loaded)) {
                out[i] = end_at(s, in[i], a, lane, Level, table[i], *loaded, path[i], end);
                under_way &= ~(1u << i);
            } else {
                S::carry(path[i], *loaded);
                table[i] = plain_target(s, *loaded);
            }
        }
    }
    if constexpr (Level > 0) {
        if (under_way != 0) descend_together<Level - 1>(s, m, fast, in, count, a, table, path, under_way, out);
    } else {
        for (std::size_t i = 0; i < count; ++i) {
            if ((under_way >> i & 1) != 0) out[i] = handing_over<S, M>{s, m, nullptr}.without_bottom(in[i]);
        }
    }
}

// Up to `lanes` walks.
template <class S, class M, class Outcome>
constexpr void walk_together(S const& s, M& m, typename S::input const* in, std::size_t count, access a, Outcome* out) {
    typename S::output table[lanes]{};
    typename S::path path[lanes]{};
    fast_memory<M> fast = m;
    handing_over<S, M> const end{s, m, nullptr};
    unsigned under_way = 0;
    for (std::size_t i = 0; i < count; ++i) {
        if (!s.admits(in[i])) [[unlikely]] {
            out[i] = end.refused(in[i]);
            continue;
        }
        if constexpr (small_tables<S>) {
            auto const lane = s.lane(a);
            auto const loaded = load_entry<true>(fast, s.root(), s.root_index(in[i]));
            if (!loaded) [[unlikely]] {
                out[i] = end.unreadable(in[i], s.top(), s.root(), loaded.error());
                continue;
            }
            if (s.top() == 0 || !lane.leads_on(s.top(), *loaded)) {
                out[i] = end_at(s, in[i], a, lane, s.top(), s.root(), *loaded, path[i], end);
                continue;
            }
            S::carry(path[i], *loaded);
            table[i] = plain_target(s, *loaded);
        } else {
            table[i] = s.root();
        }
        under_way |= 1u << i;
    }
    constexpr std::uint64_t from = small_tables<S> ? S::levels_max - 2 : S::levels_max - 1;
    if (under_way != 0) descend_together<from>(s, m, fast, in, count, a, table, path, under_way, out);
}

} // namespace detail

/// What a translator says of one address.
template <translator T>
using answer_of = outcome<translation<typename T::output>, typename T::fault_type>;

/// Translates \p count addresses for one access. Each answer, faults included, is what `translate` would have said; walks of a
/// `single` go on eight at a time, and where one sets A/D bits that another reads, the order among the eight is open, as it is
/// among a device's requests.
/// \param t the translator.
/// \param in the addresses.
/// \param count how many.
/// \param a what each request needs.
/// \param out the answers, as many.
template <translator T>
constexpr void translate_each(T const& t, typename T::input const* in, std::size_t count, access a, answer_of<T>* out) {
    if constexpr (requires { requires T::is_walk; }) {
        while (count != 0) {
            std::size_t const some = count < detail::lanes ? count : detail::lanes;
            detail::walk_together(t.of(), t.memory(), in, some, a, out);
            in += some;
            out += some;
            count -= some;
        }
    } else {
        for (std::size_t i = 0; i < count; ++i)
            out[i] = t.translate(in[i], a);
    }
}

/// A run of addresses that lead to a run of addresses, all with the same attributes.
/// \tparam In the input address type.
/// \tparam Out the output address type.
template <class In, class Out>
struct segment {
    range<In> input{};           ///< The input addresses, not none.
    Out output{};                ///< Where the first of them leads; the others follow.
    attributes effective{};      ///< The attributes of all.
    passage by{passage::walked}; ///< How they got there.

    /// Segments are equal that lead from and to the same places in the same way.
    friend constexpr bool operator==(segment const&, segment const&) = default;
};

/// Translates all addresses of \p what, in ascending order, and tells where they lead in as few segments as there are. Stops at
/// the first page that refuses, as a transfer does.
/// \param t the translator.
/// \param what the addresses; none is no segment.
/// \param a what each access needs.
/// \param emit called as `emit(segment)`; the segments before a fault are told before it is returned.
/// \return how many segments, or the fault of the first page that refuses: `fault::input` is its first address in the range.
template <translator T, class Emit>
constexpr outcome<std::uint64_t, typename T::fault_type> for_each_segment(T const& t, range<typename T::input> what, access a,
                                                                          Emit&& emit) {
    using in_type = typename T::input;
    using piece = segment<in_type, typename T::output>;
    std::uint64_t count = 0;
    if (what.empty()) return count;
    in_type at[detail::lanes]{};
    answer_of<T> answer[detail::lanes]{};
    piece run;
    std::uint64_t next = what.first().value; // the first address that belongs to no segment yet
    std::uint64_t const last = what.last().value;
    std::uint64_t lg2 = 12; // what the pages are thought to be
    // No page beyond the one that refuses is marked as used.
    constexpr std::size_t ahead = detail::may_update_tables<T> ? 1 : detail::lanes;
    while (true) {
        std::size_t some = 0;
        for (std::uint64_t a_next = next; some < ahead;) {
            at[some++] = in_type{a_next};
            std::uint64_t const end = a_next | low_mask(lg2);
            if (end >= last) break;
            a_next = end + 1;
        }
        translate_each(t, at, some, a, answer);
        for (std::size_t i = 0; i < some; ++i) {
            if (at[i].value != next) continue; // a page before was larger than thought
            if (!answer[i]) {
                if (!run.input.empty()) {
                    emit(static_cast<piece const&>(run));
                }
                return failure{answer[i].error()};
            }
            std::uint64_t const end = next | answer[i]->offset_mask();
            std::uint64_t const upto = end < last ? end : last;
            std::uint64_t const follows = run.output.value + run.input.span() + 1;
            if (!run.input.empty() && answer[i]->output.value == follows && answer[i]->effective == run.effective &&
                answer[i]->by == run.by) {
                run.input = range<in_type>::between(run.input.first(), in_type{upto});
            } else {
                if (!run.input.empty()) {
                    emit(static_cast<piece const&>(run));
                    ++count;
                }
                run = {range<in_type>::between(in_type{next}, in_type{upto}), answer[i]->output, answer[i]->effective,
                       answer[i]->by};
            }
            if (upto == last) {
                emit(static_cast<piece const&>(run));
                return count + 1;
            }
            next = upto + 1;
            lg2 = answer[i]->lg2_size < 64 ? answer[i]->lg2_size : 63;
            if (i + 1 < some && at[i + 1].value > next) break; // pages are smaller than thought
        }
    }
}

} // namespace v0
} // namespace stagewalk
