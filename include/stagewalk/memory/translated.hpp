/// \file
/// Memory behind a translation: what makes a nested walk out of a plain one.
#pragma once

#include "../core/access.hpp"
#include "../core/translation.hpp"
#include "concept.hpp"

#include <concepts>
#include <cstdint>

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
        auto word = fetch(a);
        if (!word) [[unlikely]]
            return failure{why_};
        return *word;
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
    struct see_why {};

    // Deliberately not inlined: a walk in this memory calls it once per descriptor, and five copies of the inner walk
    // in each of five levels would not stay in the instruction cache. What it returns fits two registers; the error,
    // which does not, is left in `why_`.
    [[nodiscard, gnu::noinline, gnu::flatten]] constexpr outcome<std::uint64_t, see_why> fetch(address a) noexcept {
        auto t = translator_.translate(a, load_needs_);
        if (!t) [[unlikely]] {
            why_ = {true, t.error(), {}};
            return failure{see_why{}};
        }
        auto loaded = memory_->load(t->output);
        if (!loaded) [[unlikely]] {
            why_ = {false, {}, loaded.error()};
            return failure{see_why{}};
        }
        return *loaded;
    }

    T translator_;
    M* memory_;
    LoadNeeds load_needs_;
    error why_{};
};

} // namespace v0
} // namespace stagewalk
