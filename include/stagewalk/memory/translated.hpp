/// \file
/// Memory behind a translation: what makes a nested walk out of a plain one.
#pragma once

#include "../core/access.hpp"
#include "../core/translation.hpp"
#include "../walk/walk.hpp"
#include "concept.hpp"

#include <concepts>
#include <cstdint>
#include <type_traits>

namespace stagewalk {
inline namespace v0 {

/// Why translated memory could not be read: the translation refused, or the memory behind it failed.
/// \tparam Refusal the translator's fault.
/// \tparam Error the memory's error.
template <class Refusal, class Error>
struct translated_error {
    using refusal = Refusal; ///< The translator's fault.

    bool refused{}; ///< Whether the translation refused.
    Refusal why{};  ///< If it did: its fault.
    Error failed{}; ///< If it did not: what the memory reported.

    /// Errors are equal that have equal parts.
    friend constexpr bool operator==(translated_error const&, translated_error const&) = default;
};

/// What a load needs of the translation before it: the right to read.
struct needs_read {
    /// As an access.
    constexpr operator access() const { return read; }
};

/// Serves \p T's input addresses out of \p M: every address is translated for itself, then loaded.
///
/// A stage-1 walk in a guest's memory, seen through stage 2, *is* the nested walk. Each descriptor's own address is
/// translated, not the base of its table: a 64 KiB stage-1 table may lie behind sixteen unrelated 4 KiB pages.
/// It remembers why its last load failed, so two threads do not share one.
/// \tparam T a translator whose output is what \p M serves; it is copied, so let it be a view such as `single`.
/// \tparam M the memory behind the translation.
/// \tparam LoadNeeds becomes the access that a load needs: `needs_read`, or an `access` that is known at run time.
template <class T, memory M, class LoadNeeds = needs_read>
    requires std::same_as<typename T::output, typename M::address>
class translated {
public:
    using address = typename T::input;                                         ///< The address type: T's input.
    using error = translated_error<typename T::fault_type, typename M::error>; ///< Refused or failed.

    /// \param translator translates every address.
    /// \param m the memory behind it, alive as long as this object.
    /// \param load_needs what a load needs of the translation; a unit that counts table reads as writes says read_write.
    constexpr translated(T const& translator, M& m, LoadNeeds load_needs = {})
        : translator_{translator}, memory_{&m}, load_needs_{load_needs} {}

    /// The 64 bits at \p a.
    [[nodiscard, gnu::always_inline]] constexpr outcome<std::uint64_t, error> load(address a) noexcept {
        std::uint64_t const word = fetch(a);
        if (!last_) [[unlikely]] {
            auto const told = last_;
            last_ = true;
            return failure{told.error()};
        }
        return word;
    }

    /// Replaces the 64 bits at \p a if they still are \p expected. Needs the translation to grant writing.
    constexpr outcome<bool, error> compare_exchange(address a, std::uint64_t& expected,
                                                    std::uint64_t desired) noexcept requires updatable_memory<M> {
        auto const t = translator_.translate(a, write);
        if (!t) return failure{error{true, t.error(), {}}};
        auto const done = memory_->compare_exchange(t->output, expected, desired);
        if (!done) return failure{error{false, {}, done.error()}};
        return *done;
    }

    /// Whether an update of the 64 bits at \p a would be allowed, for memory that cannot be written.
    [[nodiscard]] constexpr outcome<bool, error> check_update(address a) noexcept requires(!updatable_memory<M>) {
        auto const t = translator_.translate(a, write);
        if (!t) return failure{error{true, t.error(), {}}};
        if constexpr (checks_updates<M>) {
            auto const allowed = memory_->check_update(t->output);
            if (!allowed) return failure{error{false, {}, allowed.error()}};
        }
        return true;
    }

private:
    // Deliberately not inlined: a walk in this memory calls it once per descriptor, and five copies of the inner walk in each of
    // five levels would not stay in the instruction cache. It returns one register, and leaves in last_ why it has nothing to
    // return: so whatever is not plain is one call in tail position, and the plain way needs no room on the stack.
    [[nodiscard, gnu::noinline, gnu::flatten]] constexpr std::uint64_t fetch(address a) noexcept {
        if constexpr (is_one_walk) {
            auto const& s = translator_.of();
            return detail::fast_walk_to(s, translator_.memory(), s.root(), a, load_needs_, going_on<decltype(s)>{*this});
        } else {
            return fetch_from(translator_.translate(a, load_needs_));
        }
    }

    static constexpr bool is_one_walk = requires { requires T::is_walk; };

    // The end of a walk that is the whole translation: the entry is loaded.
    template <class S>
    struct going_on {
        using result = std::uint64_t;
        using path = typename std::remove_cvref_t<S>::path;
        using place = typename T::output;

        translated& self;

        [[nodiscard, gnu::always_inline]] constexpr result found(address, translation<place> const& t) const {
            return self.load_at(t.output);
        }
        [[nodiscard, gnu::always_inline]] constexpr result refused(address in) const { return self.refused_address(in); }
        template <class Why>
        [[nodiscard, gnu::always_inline]] constexpr result unreadable(address in, std::uint64_t level, place table,
                                                                      Why why) const {
            return self.unreadable_table(in, level, table, why);
        }
        [[nodiscard, gnu::always_inline]] constexpr result closer(address in, access, std::uint64_t level, place table,
                                                                  std::uint64_t e, path p) const {
            return self.look_closer(in, level, table, e, p);
        }
        [[nodiscard, gnu::always_inline]] constexpr result without_bottom(address in) const { return self.bottomless(in); }
    };

    // Where a walk ends that takes none of these ways.
    [[nodiscard]] constexpr auto handing_over() const noexcept {
        auto const& s = translator_.of();
        auto& m = translator_.memory();
        return detail::handing_over<std::remove_cvref_t<decltype(s)>, std::remove_reference_t<decltype(m)>>{s, m, nullptr};
    }
    [[nodiscard, gnu::cold, gnu::noinline]] constexpr std::uint64_t refused_address(address in) noexcept {
        return fetch_from(handing_over().refused(in));
    }
    template <class Why>
    [[nodiscard, gnu::cold, gnu::noinline]] constexpr std::uint64_t unreadable_table(address in, std::uint64_t level,
                                                                                     typename T::output table, Why why) noexcept {
        return fetch_from(handing_over().unreadable(in, level, table, why));
    }
    template <class Path>
    [[nodiscard, gnu::cold, gnu::noinline]] constexpr std::uint64_t
    look_closer(address in, std::uint64_t level, typename T::output table, std::uint64_t e, Path p) noexcept {
        return fetch_from(handing_over().closer(in, load_needs_, level, table, e, p));
    }
    [[nodiscard, gnu::cold, gnu::noinline]] constexpr std::uint64_t bottomless(address in) noexcept {
        return fetch_from(handing_over().without_bottom(in));
    }

    template <class Walked>
    [[nodiscard, gnu::always_inline]] constexpr std::uint64_t fetch_from(Walked walked) noexcept {
        if (!walked) [[unlikely]] {
            last_ = failure{error{true, walked.error(), {}}};
            return 0;
        }
        return load_at(walked->output);
    }
    [[nodiscard, gnu::always_inline]] constexpr std::uint64_t load_at(typename M::address at) noexcept {
        auto loaded = memory_->load(at);
        if (!loaded) [[unlikely]]
            return unreadable_word(loaded.error());
        return *loaded;
    }
    [[nodiscard, gnu::cold, gnu::noinline]] constexpr std::uint64_t unreadable_word(typename M::error why) noexcept {
        last_ = failure{error{false, {}, why}};
        return 0;
    }

    T translator_;
    M* memory_;
    LoadNeeds load_needs_;
    outcome<bool, error> last_{true}; // why the last load failed, for as long as nobody has been told
};

} // namespace v0
} // namespace stagewalk
