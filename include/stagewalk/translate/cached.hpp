/// \file
/// A translator with a TLB before it.
#pragma once

#include "../core/access.hpp"
#include "../core/attributes.hpp"
#include "../core/outcome.hpp"
#include "../core/translation.hpp"
#include "../tlb/tlb.hpp"
#include "../walk/walk.hpp"
#include "concept.hpp"

#include <concepts>
#include <type_traits>

namespace stagewalk {
inline namespace v0 {
/// The rights under which a translation by \p T answers other accesses of the same circumstances as well: those that it grants,
/// or, where an access may have to set an accessed or dirty bit first, those of the access \p a alone that has passed.
template <class T>
[[nodiscard, gnu::always_inline]] inline constexpr access rights_seen(attributes effective, access a) {
    if constexpr (detail::may_update_tables<T>) {
        return a & effective.rights();
    } else {
        return effective.rights();
    }
}

/// Asks a TLB first, then the translator, and puts in what the translator found. A refusal is never kept: it is found again
/// each time, so faults are the translator's own.
///
/// Whatever changes tables invalidates the TLB, as it would hardware's. `translate` may answer, while an invalidation runs,
/// what was true before it; `translate_and` is for accesses that must have ended when `tlb::wait` returns.
/// \tparam T the translator.
/// \tparam Cache a `tlb` of its spaces.
template <translator T, class Cache>
    requires std::same_as<typename Cache::input, typename T::input> && std::same_as<typename Cache::output, typename T::output>
class cached {
public:
    using input = typename T::input;           ///< What it translates from.
    using output = typename T::output;         ///< What it translates to.
    using fault_type = typename T::fault_type; ///< Its fault: the translator's.
    using tag = typename Cache::tag;           ///< Whose translations they are.

    /// \param t the translator; copied.
    /// \param c the TLB, alive as long as this object; others may use it too, under other tags.
    /// \param whose the tag of all its translations.
    constexpr cached(T const& t, Cache& c, tag const& whose = {}) : translator_{t}, cache_{&c}, tag_{whose} {}

    /// Translates \p in for \p a.
    [[nodiscard, gnu::always_inline]] constexpr outcome<translation<output>, fault_type> translate(input in,
                                                                                                   access a) const noexcept {
        auto hit = cache_->find(in, tag_, a);
        if (hit) [[likely]]
            return *hit;
        return detail::apart(walk_and_keep(in, a));
    }

    /// Translates \p in for \p a and calls \p use with the outcome, all before a `wait` of the TLB that began meanwhile returns.
    /// \param in the input address.
    /// \param a what the request needs.
    /// \param use called as `use(outcome)`; short, and without a wait or another
    /// `translate_and` of this TLB in it.
    /// \return what \p use returns.
    template <class Use>
    constexpr decltype(auto) translate_and(input in, access a, Use&& use) const noexcept {
        inside<Cache> const here{*cache_, tag_};
        return use(translate(in, a));
    }

    /// The translator behind the TLB.
    [[nodiscard]] constexpr T const& behind() const { return translator_; }

private:
    [[nodiscard, gnu::noinline]] constexpr outcome<translation<output>, fault_type> walk_and_keep(input in,
                                                                                                  access a) const noexcept {
        fill_ticket const ticket = cache_->begin();
        auto found = translator_.translate(in, a);
        if (found && lasts(a)) cache_->insert(ticket, in, *found, tag_, a, rights_seen<T>(found->effective, a));
        return found;
    }

    // Whether the answer stays true until somebody invalidates. What an inquiry that is no write is granted depends on the dirty
    // bit, and a write through this very TLB may set that.
    [[nodiscard]] static constexpr bool lasts(access a) {
        return !detail::may_update_tables<T> || (a & (inquiring | write)) != inquiring;
    }

    T translator_;
    Cache* cache_;
    tag tag_;
};

/// `cached{translator, tlb}` and `cached{translator, tlb, tag}` deduce all.
template <translator T, class Cache>
cached(T, Cache&) -> cached<T, Cache>;
/// The same with a tag.
template <translator T, class Cache>
cached(T, Cache&, typename Cache::tag) -> cached<T, Cache>;

} // namespace v0
} // namespace stagewalk
