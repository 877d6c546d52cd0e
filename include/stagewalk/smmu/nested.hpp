/// \file
/// Stage 1 whose tables lie behind stage 2 (IHI 0070 3.4, Config = 111).
#pragma once

#include "../core/fault.hpp"
#include "../core/outcome.hpp"
#include "../memory/concept.hpp"
#include "event.hpp"
#include "stage2_translator.hpp"

#include <cstdint>

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
        auto word = fetch(a);
        if (!word) [[unlikely]]
            return failure{why_};
        return *word;
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
    // Deliberately not inlined: a walk calls it once per descriptor. What it returns fits two registers; the error, which does
    // not, is left in why_.
    [[nodiscard, gnu::noinline, gnu::flatten]] constexpr outcome<std::uint64_t, see_why> fetch(address a) noexcept {
        owed_update owed;
        auto t = second_->translate_here(a, read, owed);
        if (!t) [[unlikely]]
            return refused(a, read, t.error());
        if (spares_devices_ && is_device(*t)) [[unlikely]]
            return refused(a, read, forbidden());
        auto at = t->output;
        if (owed.is_owed()) [[unlikely]] {
            auto reached = settle_and_reach(a, at, owed);
            if (!reached) return failure{see_why{}};
            at = *reached;
        }
        auto loaded = memory_->load(at);
        if (!loaded) [[unlikely]] {
            why_ = aborted(a, at);
            return failure{see_why{}};
        }
        return *loaded;
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
    error why_{};
};

} // namespace smmu
} // namespace v0
} // namespace stagewalk
