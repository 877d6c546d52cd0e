/// \file
/// Who may use a TLB at the same time.
#pragma once

#include "geometry.hpp"

#include <bit>
#include <cstdint>
#include <type_traits>

namespace stagewalk {
inline namespace v0 {
namespace detail {

// A lock that counts its readers, in two to the word: the lowest bit is the writer's.
class shared_lock {
public:
    // Whether there is no writer; then the reader is counted.
    [[nodiscard]] bool try_enter() noexcept {
        if ((__atomic_fetch_add(&state_, 2, __ATOMIC_SEQ_CST) & 1) == 0) return true;
        leave();
        return false;
    }
    void enter() noexcept {
        while (!try_enter()) {
            while ((__atomic_load_n(&state_, __ATOMIC_RELAXED) & 1) != 0) {}
        }
    }
    void leave() noexcept { __atomic_fetch_sub(&state_, 2, __ATOMIC_RELEASE); }

    void lock() noexcept {
        while ((__atomic_fetch_or(&state_, 1, __ATOMIC_SEQ_CST) & 1) != 0) {
            while ((__atomic_load_n(&state_, __ATOMIC_RELAXED) & 1) != 0) {}
        }
        while (__atomic_load_n(&state_, __ATOMIC_ACQUIRE) != 1) {
            // Readers come and go: who sees the bit leaves at once.
        }
    }
    void unlock() noexcept { __atomic_fetch_and(&state_, ~std::uintptr_t{1}, __ATOMIC_RELEASE); }

private:
    std::uintptr_t state_{};
};

// A line of its own.
struct alignas(64) gate : shared_lock {};

// 64-bit atomics that the processor does by itself.
template <class>
inline constexpr bool entry_atomics = __atomic_always_lock_free(sizeof(std::uint64_t), nullptr);

} // namespace detail

/// Guard policies. A guard's `state<Sets, Groups>` lives in the TLB:
///
/// - between `begin_read(set)` and `end_read(set, what it returned)` a look-up reads the set; the latter says whether what was
///   read belongs together;
/// - `write(set, f)` calls \p f, which changes the set, alone;
/// - `enter(group)` and `leave(group)` enclose an access that uses a translation; `drain(group)` returns when every access that
///   was inside has left, whoever enters meanwhile waits.
///
/// docs/concurrency.md has the argument why that suffices.
namespace guard {

/// One thread, and constant expressions.
struct none {
    static constexpr tlb_policy decides = tlb_policy::guard; ///< What it decides.
    static constexpr bool is_shared = false;                 ///< Whether threads may share the TLB.
    static constexpr std::uint64_t gates = 0;                ///< How many gates hold accesses.

    /// Nothing to keep.
    template <std::uint64_t Sets, std::uint64_t Groups>
    struct state {
        /// Nothing to do.
        [[nodiscard, gnu::always_inline]] constexpr std::uint32_t begin_read(std::uint64_t) const { return 0; }
        /// Nobody else writes.
        [[nodiscard, gnu::always_inline]] constexpr bool end_read(std::uint64_t, std::uint32_t) const { return true; }
        /// Calls \p f.
        template <class F>
        constexpr void write(std::uint64_t, F&& f) const {
            f();
        }
        /// Nothing to do.
        constexpr void enter(std::uint64_t) const {}
        /// Nothing to do.
        constexpr void leave(std::uint64_t) const {}
        /// Nobody else is inside.
        constexpr void drain(std::uint64_t) const {}
    };
};

/// A counter for each set, odd while it is written. A look-up writes nothing and never waits: one that meets a writer is a miss.
struct seqlock {
    static constexpr tlb_policy decides = tlb_policy::guard; ///< What it decides.
    static constexpr bool is_shared = true;                  ///< Whether threads may share the TLB.
    static constexpr std::uint64_t gates = 1;                ///< How many gates hold accesses.

    /// The counters.
    template <std::uint64_t Sets, std::uint64_t Groups>
    class state {
        static_assert(detail::entry_atomics<std::integral_constant<std::uint64_t, Sets>>,
                      "a shared TLB needs lock-free 64-bit atomics, which this target lacks: use guard::none and a lock");

    public:
        /// The counter.
        [[nodiscard, gnu::always_inline]] std::uint32_t begin_read(std::uint64_t set) const {
            return __atomic_load_n(&sequence_[set], __ATOMIC_ACQUIRE);
        }
        /// Whether no writer was there, nor has been since.
        [[nodiscard, gnu::always_inline]] bool end_read(std::uint64_t set, std::uint32_t before) const {
            __atomic_thread_fence(__ATOMIC_ACQUIRE);
            return (before & 1) == 0 && __atomic_load_n(&sequence_[set], __ATOMIC_RELAXED) == before;
        }
        /// Calls \p f with the counter odd.
        template <class F>
        void write(std::uint64_t set, F&& f) {
            std::uint32_t before = __atomic_load_n(&sequence_[set], __ATOMIC_RELAXED) & ~1U;
            while (!__atomic_compare_exchange_n(&sequence_[set], &before, before + 1, true, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
                before &= ~1U;
            __atomic_thread_fence(__ATOMIC_RELEASE);
            f();
            __atomic_store_n(&sequence_[set], before + 2, __ATOMIC_RELEASE);
        }
        /// An access begins.
        void enter(std::uint64_t) { gate_.enter(); }
        /// It ends.
        void leave(std::uint64_t) { gate_.leave(); }
        /// Waits for the accesses inside.
        void drain(std::uint64_t) {
            gate_.lock();
            gate_.unlock();
        }

    private:
        std::uint32_t sequence_[Sets]{};
        detail::gate gate_;
    };
};

/// \p N locks, a power of two, each for its share of the sets: a look-up counts itself in and out, a writer has the lock to
/// itself. And as many gates, each for its share of the groups.
template <std::uint64_t N = 16>
struct sharded {
    static_assert(std::has_single_bit(N), "the number of shards is a power of two");
    static constexpr tlb_policy decides = tlb_policy::guard; ///< What it decides.
    static constexpr bool is_shared = true;                  ///< Whether threads may share the TLB.
    static constexpr std::uint64_t gates = N;                ///< How many gates hold accesses.

    /// The locks.
    template <std::uint64_t Sets, std::uint64_t Groups>
    class state {
        static_assert(detail::entry_atomics<std::integral_constant<std::uint64_t, Sets>>,
                      "a shared TLB needs lock-free 64-bit atomics, which this target lacks: use guard::none and a lock");

    public:
        /// Enters the shard, unless there is a writer.
        [[nodiscard, gnu::always_inline]] std::uint32_t begin_read(std::uint64_t set) {
            return lock_[set % N].try_enter() ? 1 : 0;
        }
        /// Whether there was none; leaves.
        [[nodiscard, gnu::always_inline]] bool end_read(std::uint64_t set, std::uint32_t entered) {
            if (entered != 0) lock_[set % N].leave();
            return entered != 0;
        }
        /// Calls \p f alone in the shard.
        template <class F>
        void write(std::uint64_t set, F&& f) {
            lock_[set % N].lock();
            f();
            lock_[set % N].unlock();
        }
        /// An access begins.
        void enter(std::uint64_t group) { gate_[group % N].enter(); }
        /// It ends.
        void leave(std::uint64_t group) { gate_[group % N].leave(); }
        /// Waits for the accesses inside.
        void drain(std::uint64_t group) {
            gate_[group % N].lock();
            gate_[group % N].unlock();
        }

    private:
        detail::gate lock_[N];
        detail::gate gate_[N];
    };
};

/// One lock for all: a look-up counts itself in and out, writers have it to themselves. Small; for TLBs that threads seldom
/// share.
struct shared_spin : sharded<1> {};

} // namespace guard
} // namespace v0
} // namespace stagewalk
