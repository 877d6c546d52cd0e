/// \file
/// One table, downwards: an input address becomes an output address, or the manual's fault.
#pragma once

#include "../core/outcome.hpp"
#include "../core/translation.hpp"
#include "../memory/concept.hpp"
#include "stage.hpp"
#include "trace.hpp"
#include "update.hpp"

#include <cstdint>
#include <type_traits>

namespace stagewalk {
inline namespace v0 {

namespace detail {

template <class S, class M>
struct walk_fault_of {
    using type = fault<typename S::code>;
};

// Memory that is itself translated: its refusals are faults of another stage and are kept whole.
template <class S, class M>
    requires requires { typename M::error::refusal; }
struct walk_fault_of<S, M> {
    using type = nested_fault<typename S::code, typename M::error::refusal>;
};

} // namespace detail

/// The fault of a walk over \p S in memory \p M: `fault<S::code>`, or a `nested_fault` where the memory is itself
/// translated.
template <stage S, memory M>
using walk_fault = typename detail::walk_fault_of<S, M>::type;

/// What a walk over \p S in memory \p M returns.
template <stage S, memory M>
using walk_outcome = outcome<translation<typename S::output>, walk_fault<S, M>>;

namespace detail {

template <class S, class M>
[[nodiscard]] constexpr walk_outcome<S, M> fail(fault<typename S::code> const& f) {
    if constexpr (std::is_same_v<walk_fault<S, M>, fault<typename S::code>>) {
        return failure{f};
    } else {
        return failure{walk_fault<S, M>{nested_by::outer, f, {}}};
    }
}

template <class S, class M>
[[nodiscard, gnu::cold, gnu::noinline]] constexpr walk_outcome<S, M> refused_input(S const& s, typename S::input in) {
    return fail<S, M>(fault_of<S>(s.refuse(in), fault_at::input, in, no_step));
}

template <class S, class M>
[[nodiscard, gnu::cold, gnu::noinline]] constexpr walk_outcome<S, M>
unreadable_entry(S const& s, typename S::input in, std::uint64_t level, typename S::output table, typename M::error error) {
    step const at{level, (table + s.index(level, in) * 8).value, 0};
    auto f = fault_of<S>(s.unreadable(level), fault_at::table, in, at);
    if constexpr (requires { typename M::error::refusal; }) {
        if (error.refused) {
            f.intermediate = at.address;
            return failure{walk_fault<S, M>{nested_by::table, f, error.why}};
        }
    }
    return fail<S, M>(f);
}

template <class S, class M>
[[nodiscard]] constexpr walk_outcome<S, M> refused_entry(typename S::input in, judgement<typename S::code> const& j) {
    auto f = fault_of<S>(j.code, j.at, in, j.blame);
    f.detail = j.value;
    return fail<S, M>(f);
}

template <class S, class M>
[[nodiscard, gnu::cold, gnu::noinline]] constexpr walk_outcome<S, M> bottomless(typename S::input in, step const& at) {
    return fail<S, M>(fault_of<S>({}, fault_at::table, in, at));
}

template <class S>
[[nodiscard, gnu::always_inline]] inline constexpr translation<typename S::output>
leaf_translation(S const& s, typename S::input in, access a, std::uint64_t e, std::uint64_t lg2, typename S::path const& p) {
    std::uint64_t const offset = low_mask(lg2);
    return {typename S::output{(s.leaf_output(e, lg2).value & ~offset) | (in.value & offset)}, s.leaf_attributes(e, lg2, p, a),
            lg2, passage::walked};
}

// What the fast lane reads through: a copy of a view, whose members then stay in registers (an atomic load makes a
// compiler reload whatever it sees through a reference).
template <class M>
using fast_memory = std::conditional_t<view_memory<M>, M const, M&>;

// One entry. Memory with windows finds the table's page and needs no further look at the address; a table may be
// several pages long, or lie somewhere in one.
template <bool Small = false, class M>
[[nodiscard, gnu::always_inline]] inline constexpr outcome<std::uint64_t, typename M::error>
load_entry(M& m, typename M::address table, std::uint64_t index) {
    if constexpr (windowed_memory<M> && Small) {
        std::uint64_t const at = table.value + index * 8;
        return m.load_in_page(typename M::address{at & ~low_mask(12)}, at >> 3 & 511);
    } else if constexpr (windowed_memory<M>) {
        return m.load_in_page(table + (index >> 9 << 12), index & 511);
    } else {
        return m.load(table + index * 8);
    }
}

// The entry of `level` for `in`, in the table at `table`.
template <class S, class M>
[[nodiscard]] constexpr outcome<step, typename M::error> load_step(S const& s, M& m, typename S::input in, std::uint64_t level,
                                                                   typename S::output table) {
    auto const address = table + s.index(level, in) * 8;
    auto const loaded = m.load(address);
    if (!loaded) return failure{loaded.error()};
    return step{level, address.value, *loaded};
}

// An update that the memory refused, or that never met an entry which kept still.
template <class S, class M>
[[nodiscard, gnu::cold, gnu::noinline]] constexpr walk_outcome<S, M>
failed_update(S const& s, typename S::input in, step const& at, typename M::error const& error) {
    auto f = fault_of<S>(s.update_failed(), fault_at::table, in, at);
    if constexpr (requires { typename M::error::refusal; }) {
        if (error.refused) {
            f.intermediate = at.address;
            return failure{walk_fault<S, M>{nested_by::update, f, error.why}};
        }
    }
    return fail<S, M>(f);
}

// The exact lane: from entry `at` down, every entry judged by the law. Loads are bounded: a stage that does not lead
// downwards is cut off, with a fault that has no code, and a walk whose entries change under it starts again only so
// often. The leaf's update is made too, or left to the caller who asks for it.
template <class S, class M, class Trace>
[[nodiscard]] constexpr walk_outcome<S, M> judge_from(S const& s, M& m, typename S::input in, access a, step at,
                                                      typename S::path p, Trace& trace, owed_update* leave) {
    step denied = no_step;
    for (unsigned restarts = 0;;) {
        judgement<typename S::code> j = s.judge(at, a, p, denied);
        if constexpr (skips_levels<S>) {
            if (j.is == verdict::table && (in.value & skipped_bits(s, at.level, j.value)) != 0) j = s.refuse_skip(at);
        }
        trace(traced_step<S>{s, at, j});
        if (j.is == verdict::refused) return refused_entry<S, M>(in, j);
        if (j.is == verdict::table && j.value >= at.level) [[unlikely]]
            return bottomless<S, M>(in, at);
        std::uint64_t level = j.value;
        auto table = s.target(at.entry);
        bool changed = false;
        if constexpr (marking<S>) {
            owed_update const update{at, s.marked(at, a, p, j.is == verdict::leaf)};
            if (update.is_owed()) {
                if (!s.may_update()) return fail<S, M>(fault_of<S>(s.update_refused(), fault_at::table, in, at));
                if (j.is == verdict::leaf && leave != nullptr) {
                    *leave = update;
                } else {
                    typename M::error error{};
                    settled const how = settle(m, update, error);
                    changed = how == settled::changed;
                    if (how == settled::failed || (changed && restarts++ == max_restarts))
                        return failed_update<S, M>(s, in, at, error);
                }
            }
        }
        if (changed) {
            level = s.top();
            table = s.root();
            p = {};
            denied = no_step;
        } else if (j.is == verdict::leaf) {
            return leaf_translation(s, in, a, at.entry, j.value, p);
        }
        auto const next = load_step(s, m, in, level, table);
        if (!next) return unreadable_entry<S, M>(s, in, level, table, next.error());
        at = *next;
    }
}

template <class S, class M>
[[nodiscard, gnu::cold, gnu::noinline]] constexpr walk_outcome<S, M>
look_closer(S const& s, M& m, typename S::input in, access a, std::uint64_t level, typename S::output table, std::uint64_t e,
            typename S::path p, owed_update* leave) {
    no_trace trace;
    return judge_from(s, m, in, a, {level, (table + s.index(level, in) * 8).value, e}, p, trace, leave);
}

// An outcome that a cold function returned, copied part by part. Returned as it is, it would be built in the caller's
// result, which then lives in memory for the fast lane too: its address is known to that function.
template <class Outcome>
[[nodiscard, gnu::always_inline]] inline constexpr Outcome apart(Outcome const& cold) {
    if (cold) return *cold;
    return failure{cold.error()};
}

// The table that an entry leads to which the fast lane took. Formats whose addresses are scattered over the entry have a
// shorter way for those.
template <class S>
[[nodiscard, gnu::always_inline]] inline constexpr typename S::output plain_target(S const& s, std::uint64_t e) {
    if constexpr (requires { S::plain_target(e); }) {
        return S::plain_target(e);
    } else {
        return s.target(e);
    }
}

// How a walk ends: this one hands over what it found. Who goes on from there, and has no use for a translation in memory, brings
// an end of his own (memory/translated.hpp).
template <class S, class M>
struct handing_over {
    using result = walk_outcome<S, M>;

    S const& s;
    M& m;
    owed_update* leave;

    [[nodiscard, gnu::always_inline]] constexpr result found(typename S::input, translation<typename S::output> const& t) const {
        return t;
    }
    [[nodiscard, gnu::always_inline]] constexpr result refused(typename S::input in) const {
        return apart(refused_input<S, M>(s, in));
    }
    [[nodiscard, gnu::always_inline]] constexpr result unreadable(typename S::input in, std::uint64_t level,
                                                                  typename S::output table, typename M::error error) const {
        return apart(unreadable_entry<S, M>(s, in, level, table, error));
    }
    [[nodiscard, gnu::always_inline]] constexpr result closer(typename S::input in, access a, std::uint64_t level,
                                                              typename S::output table, std::uint64_t e,
                                                              typename S::path p) const {
        return apart(look_closer(s, m, in, a, level, table, e, p, leave));
    }
    [[nodiscard, gnu::always_inline]] constexpr result without_bottom(typename S::input in) const {
        return apart(bottomless<S, M>(in, {}));
    }
};

// An entry that does not lead on: the page that it maps, if the fast lane takes it. Formats whose addresses are scattered over
// the entry have a shorter way for those that it takes plainly.
template <class S, class Lane, class End>
[[nodiscard, gnu::always_inline]] inline constexpr typename End::result
end_at(S const& s, typename S::input in, access a, Lane const& lane, std::uint64_t level, typename S::output table,
       std::uint64_t e, typename S::path p, End const& end) {
    std::uint64_t const lg2 = S::leaf_size(level, e);
    if constexpr (requires { lane.maps_plainly(level, e); }) {
        std::uint64_t const offset = low_mask(lg2);
        auto page = S::plain_target(e);
        if (!lane.maps_plainly(level, e)) [[unlikely]] {
            if (!lane.maps(level, e)) return end.closer(in, a, level, table, e, p);
            page = s.leaf_output(e, lg2);
        }
        return end.found(in, {typename S::output{(page.value & ~offset) | (in.value & offset)}, s.plain_attributes(e, a), lg2,
                              passage::walked});
    } else {
        if (!lane.maps(level, e)) [[unlikely]]
            return end.closer(in, a, level, table, e, p);
        S::carry(p, e);
        return end.found(in, leaf_translation(s, in, a, e, lg2, p));
    }
}

// The fast lane: one level after the other, each with the level as a constant. A walk enters at the run-time top.
// Here, and wherever else a walk's result passes through, an outcome is no `const` local: g++ 12 would keep it in
// memory.
template <std::uint64_t Level, class S, class Fast, class Lane, class End>
[[nodiscard, gnu::always_inline]] inline constexpr typename End::result
descend(S const& s, Fast& fast, typename S::input in, access a, Lane const& lane, std::uint64_t top, typename S::output table,
        typename S::path p, End const& end) {
    constexpr bool always = Level < S::levels_min;
    constexpr std::uint64_t least_top = small_tables<S> ? Level + 1 : Level;
    if (always || least_top <= top) {
        std::uint64_t index;
        if constexpr (small_tables<S>) {
            index = S::inner_index(Level, in);
        } else {
            index = s.index(Level, in);
        }
        auto loaded = load_entry(fast, table, index);
        if (!loaded) [[unlikely]]
            return end.unreadable(in, Level, table, loaded.error());
        std::uint64_t const e = *loaded;
        if (Level == 0 || !lane.leads_on(Level, e)) [[unlikely]]
            return end_at(s, in, a, lane, Level, table, e, p, end);
        S::carry(p, e);
        table = plain_target(s, e);
    }
    if constexpr (Level > 0) {
        return descend<Level - 1>(s, fast, in, a, lane, top, table, p, end);
    } else {
        return end.without_bottom(in);
    }
}

// The same from a root that is unlike the other tables: it is read with the level known at run time only, so that all the others
// are whole tables with indices known beforehand.
template <class S, class Fast, class Lane, class End>
[[nodiscard, gnu::always_inline]] inline constexpr typename End::result
descend_from_root(S const& s, Fast& fast, typename S::output root, typename S::input in, access a, Lane const& lane,
                  End const& end) {
    typename S::path p{};
    std::uint64_t const top = s.top();
    auto loaded = load_entry<true>(fast, root, s.root_index(in));
    if (!loaded) [[unlikely]]
        return end.unreadable(in, top, root, loaded.error());
    std::uint64_t const e = *loaded;
    if (top == 0 || !lane.leads_on(top, e)) [[unlikely]]
        return end_at(s, in, a, lane, top, root, e, p, end);
    S::carry(p, e);
    return descend<S::levels_max - 2>(s, fast, in, a, lane, top, plain_target(s, e), p, end);
}

template <class S, class M, class End>
[[nodiscard, gnu::always_inline]] inline constexpr typename End::result
fast_walk_to(S const& s, M& m, typename S::output root, typename S::input in, access a, End const& end) {
    if (!s.admits(in)) [[unlikely]]
        return end.refused(in);
    fast_memory<M> fast = m;
    if constexpr (small_tables<S>) {
        return descend_from_root(s, fast, root, in, a, s.lane(a), end);
    } else {
        return descend<S::levels_max - 1>(s, fast, in, a, s.lane(a), s.top(), root, typename S::path{}, end);
    }
}

template <class S, class M>
[[nodiscard, gnu::always_inline]] inline constexpr walk_outcome<S, M>
fast_walk(S const& s, M& m, typename S::output root, typename S::input in, access a, owed_update* leave) {
    return fast_walk_to(s, m, root, in, a, handing_over<S, M>{s, m, leave});
}

// A walk that enters at a root table of its own: a unit keeps one stage per depth and never copies it for a domain.
// Not for a stage that starts again at its own root.
template <class S, class M>
    requires(!marking<S>)
[[nodiscard, gnu::always_inline]] inline constexpr walk_outcome<S, M> walk_from(S const& s, M& m, typename S::output root,
                                                                                typename S::input in, access a) {
    return fast_walk(s, m, root, in, a, nullptr);
}

template <class S, class M, class Trace>
[[nodiscard]] constexpr walk_outcome<S, M> exact_walk(S const& s, M& m, typename S::input in, access a, owed_update* leave,
                                                      Trace& trace) {
    if (!s.admits(in)) return refused_input<S, M>(s, in);
    auto const first = load_step(s, m, in, s.top(), s.root());
    if (!first) return unreadable_entry<S, M>(s, in, s.top(), s.root(), first.error());
    return judge_from(s, m, in, a, *first, typename S::path{}, trace, leave);
}

} // namespace detail

/// Translates \p in through the tables of \p s.
/// \param s the stage.
/// \param m the memory that holds its tables; A/D bits are set where it can be updated, and only judged where not.
/// \param in the input address.
/// \param a what the request needs.
/// \return the translation, or the manual's fault. At most `S::levels_max` loads, each entry loaded once; a walk whose
/// entries change while it sets A/D bits starts again, with as many loads, at most max_restarts times.
template <stage S, memory M>
    requires serves<M, typename S::output>
[[nodiscard]] constexpr auto walk(S const& s, M& m, typename S::input in, access a) {
    return detail::fast_walk(s, m, s.root(), in, a, nullptr);
}

/// The same, and \p trace is called with every step.
template <stage S, memory M, tracer_of<S> Trace>
    requires serves<M, typename S::output>
[[nodiscard]] constexpr auto walk(S const& s, M& m, typename S::input in, access a, Trace&& trace) {
    return detail::exact_walk(s, m, in, a, nullptr, trace);
}

/// Translates \p in, but leaves the update that the leaf needs in \p owed, or nothing to change: it is due only when nothing else
/// refuses the access, a second stage or a forbidden output. settle() makes it; if the entry has changed, walk again.
template <stage S, memory M>
    requires serves<M, typename S::output>
[[nodiscard]] constexpr auto walk_owing(S const& s, M& m, typename S::input in, access a, owed_update& owed) {
    owed = {};
    return detail::fast_walk(s, m, s.root(), in, a, &owed);
}

/// The same, and \p trace is called with every step.
template <stage S, memory M, tracer_of<S> Trace>
    requires serves<M, typename S::output>
[[nodiscard]] constexpr auto walk_owing(S const& s, M& m, typename S::input in, access a, owed_update& owed, Trace&& trace) {
    owed = {};
    return detail::exact_walk(s, m, in, a, &owed, trace);
}

} // namespace v0
} // namespace stagewalk
