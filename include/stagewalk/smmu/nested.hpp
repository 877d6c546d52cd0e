/// \file
/// Stage 1 whose tables lie behind stage 2 (IHI 0070 3.4, Config = 111).
#pragma once

#include "../core/fault.hpp"
#include "../core/outcome.hpp"
#include "../memory/concept.hpp"
#include "event.hpp"
#include "stage2_translator.hpp"

#include <cstdint>
#include <type_traits>

namespace stagewalk {
inline namespace v0 {
namespace smmu {

/// Why something behind stage 2 could not be read or updated.
struct stage2_refusal {
    using refusal = fault<event>; ///< The fault.

    bool refused{}; ///< Always, when there is anything wrong: a physical abort is a fault here too.
    refusal why{};  ///< The fault. Its input is the intermediate address.

    /// Refusals are equal that have equal faults.
    friend constexpr bool operator==(stage2_refusal const&, stage2_refusal const&) = default;
};

/// The memory in which a guest's context descriptors and stage-1 tables lie: each address goes through stage 2.
/// It remembers why its last load failed, so two threads do not share one.
/// \tparam M the memory behind stage 2.
/// \tparam Trace called with every step of stage 2.
template <memory M, class Trace>
class guest_tables {
    using translator = stage2_translator<M, Trace>;

public:
    using address = typename translator::input; ///< Intermediate addresses.
    using error = stage2_refusal;               ///< The fault.

    /// \param second stage 2, alive as long as this object.
    /// \param m the memory behind it, alive as long as this object.
    /// \param caps the capabilities.
    /// \param stream the stream table entry.
    constexpr guest_tables(translator const& second, M& m, capabilities const& caps, stream_table_entry const& stream)
        : second_{&second}, memory_{&m}, spares_devices_{stream.get<"S2PTW">() != 0}, forces_{caps.has<"FWB">() &&
                                                                                              stream.get<"S2FWB">() != 0} {}

    /// The 64 bits at \p a.
    [[nodiscard, gnu::always_inline]] constexpr outcome<std::uint64_t, error> load(address a) noexcept {
        std::uint64_t const word = fetch(a);
        if (failed_) [[unlikely]] {
            failed_ = false;
            return failure{why_};
        }
        return word;
    }

    /// Replaces the 64 bits at \p a if they still are \p expected. Stage 2 must grant writing.
    constexpr outcome<bool, error> compare_exchange(address a, std::uint64_t& expected,
                                                    std::uint64_t desired) noexcept requires updatable_memory<M> {
        auto const at = reach(a, write);
        if (!at) return failure{why_};
        auto const done = memory_->compare_exchange(*at, expected, desired);
        if (!done) return failure{aborted(a, *at)};
        if (!*done) why_ = aborted(a, *at); // of who gives up
        return *done;
    }

    /// Whether an update of the 64 bits at \p a would be allowed. Nothing is changed.
    [[nodiscard]] constexpr outcome<bool, error> check_update(address a) noexcept {
        auto const at = reach(a, write, false);
        if (!at) return failure{why_};
        if constexpr (checks_updates<M>) {
            if (!memory_->check_update(*at)) return failure{aborted(a, *at)};
        }
        return true;
    }

    /// Says nothing: why() tells.
    struct see_why {};

    /// The physical address of \p a, for \p need, or why() not. What it returns fits two registers; the fault would not.
    /// \param a the intermediate address.
    /// \param need read or write.
    /// \param marks whether stage 2 notes the access.
    /// \param restarts how often it has been tried before.
    [[nodiscard]] constexpr outcome<typename M::address, see_why> reach(address a, access need, bool marks = true,
                                                                        unsigned restarts = 0) noexcept {
        for (;; ++restarts) {
            owed_update owed;
            auto t = second_->translate(a, need, owed);
            if (!t) [[unlikely]]
                return refused(a, need, t.error());
            if (spares_devices_ && is_device(*t)) [[unlikely]]
                return refused(a, need, forbidden());
            if (!owed.is_owed() || !marks) return t->output;
            settled const how = second_->settle_leaf(owed);
            if (how == settled::done) return t->output;
            if (how == settled::failed || restarts == max_restarts) return refused(a, need, second_->failed_update(a, owed));
        }
    }

    /// Why the last thing that failed did; of an entry that did not keep still, an abort.
    [[nodiscard]] constexpr error const& why() const { return why_; }

private:
    using place = typename M::address;

    // Deliberately not inlined: a walk calls it once per descriptor. It returns one register, and leaves in failed_ and why_ that
    // it has nothing to return: so whatever is not plain is one call in tail position, as in memory/translated.hpp.
    [[nodiscard, gnu::noinline, gnu::flatten]] constexpr std::uint64_t fetch(address a) noexcept {
        if constexpr (std::is_same_v<Trace, no_trace>) {
            if (second_->is_plain()) [[likely]]
                return second_->translate_to(a, read, going_on{*this});
        }
        return fetch_exactly(a);
    }

    // The end of a plain walk of stage 2: the descriptor is loaded.
    struct going_on {
        using result = std::uint64_t;

        guest_tables& self;

        [[nodiscard, gnu::always_inline]] constexpr result found(address in, translation<place> const& t) const {
            if (self.spares_devices_ && self.is_device(t)) [[unlikely]]
                return self.forbidden_word(in);
            return self.load_at(in, t.output);
        }
        [[nodiscard, gnu::always_inline]] constexpr result refused(address in) const { return self.refused_address(in); }
        template <class Why>
        [[nodiscard, gnu::always_inline]] constexpr result unreadable(address in, std::uint64_t level, place table,
                                                                      Why why) const {
            return self.unreadable_table(in, level, table, why);
        }
        template <class Path>
        [[nodiscard, gnu::always_inline]] constexpr result closer(address in, access, std::uint64_t level, place table,
                                                                  std::uint64_t e, Path) const {
            return self.look_closer(in, level, table, e);
        }
        [[nodiscard, gnu::always_inline]] constexpr result without_bottom(address in) const {
            return self.refused_address(in); // never: level 0 is entered always
        }
    };

    template <class GoOn>
    [[nodiscard]] constexpr std::uint64_t resume(address in, GoOn const& go_on) noexcept {
        owed_update owed;
        auto const walked = second_->resume([&]<class S>(S const& s, M& m) {
            return go_on(stagewalk::detail::handing_over<S, M>{s, m, &owed}, typename S::path{});
        });
        return finish(in, walked, owed);
    }
    [[nodiscard, gnu::cold, gnu::noinline]] constexpr std::uint64_t refused_address(address in) noexcept {
        return resume(in, [&](auto const& end, auto) { return end.refused(in); });
    }
    template <class Why>
    [[nodiscard, gnu::cold, gnu::noinline]] constexpr std::uint64_t unreadable_table(address in, std::uint64_t level, place table,
                                                                                     Why why) noexcept {
        return resume(in, [&](auto const& end, auto) { return end.unreadable(in, level, table, why); });
    }
    [[nodiscard, gnu::cold, gnu::noinline]] constexpr std::uint64_t look_closer(address in, std::uint64_t level, place table,
                                                                                std::uint64_t e) noexcept {
        return resume(in, [&](auto const& end, auto path) { return end.closer(in, read, level, table, e, path); });
    }
    // Stage 2 traced, or of the other byte order.
    [[nodiscard, gnu::cold, gnu::noinline]] constexpr std::uint64_t fetch_exactly(address a) noexcept {
        owed_update owed;
        auto const walked = second_->translate(a, read, owed);
        return finish(a, walked, owed);
    }

    [[nodiscard]] constexpr std::uint64_t finish(address a, typename translator::answer const& walked,
                                                 owed_update const& owed) noexcept {
        if (!walked) return without_word(refused(a, read, walked.error()));
        if (spares_devices_ && is_device(*walked)) return forbidden_word(a);
        if (!owed.is_owed()) return load_at(a, walked->output);
        auto const reached = settle_and_reach(a, walked->output, owed);
        return reached ? load_at(a, *reached) : without_word(see_why{});
    }
    [[nodiscard, gnu::always_inline]] constexpr std::uint64_t load_at(address a, place at) noexcept {
        auto loaded = memory_->load(at);
        if (!loaded) [[unlikely]]
            return aborted_word(a, at);
        return *loaded;
    }
    // Of something that has left its fault in why_.
    template <class Refused>
    constexpr std::uint64_t without_word(Refused) noexcept {
        failed_ = true;
        return 0;
    }
    [[nodiscard, gnu::cold, gnu::noinline]] constexpr std::uint64_t forbidden_word(address a) noexcept {
        return without_word(refused(a, read, forbidden()));
    }
    [[nodiscard, gnu::cold, gnu::noinline]] constexpr std::uint64_t aborted_word(address a, place at) noexcept {
        why_ = aborted(a, at);
        return without_word(see_why{});
    }
    // The update that a translation for reading left is made; if its entry has changed, it is all to be done again.
    [[nodiscard, gnu::cold, gnu::noinline]] constexpr outcome<typename M::address, see_why>
    settle_and_reach(address a, typename M::address at, owed_update const& owed) noexcept {
        settled const how = second_->settle_leaf(owed);
        if (how == settled::done) return at;
        if (how == settled::failed) return refused(a, read, second_->failed_update(a, owed));
        return reach(a, read, true, 1);
    }
    [[nodiscard, gnu::cold, gnu::noinline]] constexpr failure<see_why> refused(address a, access need,
                                                                               fault<event> why) noexcept {
        why.at = fault_at::table;
        why.input = why.intermediate = a.value;
        if (why.code == event::f_permission && need == read) why.detail |= fault_detail::table_read;
        why_ = {true, why};
        return failure{see_why{}};
    }
    // A stage-1 table in Device memory, which S2PTW forbids.
    [[nodiscard]] static constexpr fault<event> forbidden() {
        fault<event> f;
        f.code = event::f_permission;
        f.stage = fault_stage::second;
        return f;
    }

    [[nodiscard]] constexpr bool is_device(translation<typename M::address> const& t) const {
        std::uint64_t const code = stage2<granule::k4>::memory_attribute(t.effective);
        return forces_ ? (code & 4) == 0 : (code & 12) == 0;
    }

    [[nodiscard, gnu::cold, gnu::noinline]] static constexpr error aborted(address a, typename M::address at) {
        fault<event> f;
        f.code = event::f_walk_eabt;
        f.stage = fault_stage::first;
        f.at = fault_at::table;
        f.input = f.intermediate = a.value;
        f.descriptor = at.value;
        return {true, f};
    }

    translator const* second_;
    M* memory_;
    bool spares_devices_; // S2PTW
    bool forces_;         // S2FWB
    bool failed_{};       // the last load, for as long as nobody has been told
    error why_{};
};

} // namespace smmu
} // namespace v0
} // namespace stagewalk
