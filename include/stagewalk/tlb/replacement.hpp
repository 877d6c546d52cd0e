/// \file
/// Which entry of a set makes room for a new one.
#pragma once

#include "../core/size.hpp"
#include "geometry.hpp"

#include <bit>
#include <cstdint>

namespace stagewalk {
inline namespace v0 {

/// Replacement policies. Each keeps one word for a set, 0 at first: `touched(order, way)` is its value after a use, a hit or a
/// fill; `victim(order, random)` the way to give up. A policy whose `moves_on_hit` is false is told of fills alone, and a hit
/// writes nothing; of the others a hit writes only if the word changes.
namespace replace {

/// A tree of bits, each of which points away from the half that was used last: nearly LRU. Of a power of two of ways.
struct plru {
    static constexpr tlb_policy decides = tlb_policy::replacement; ///< What it decides.
    static constexpr bool moves_on_hit = true;                     ///< Whether a hit counts.

    /// The order after a use of \p way. Bit i is node i of the tree, 1 its root, 2i and 2i + 1 below i.
    template <std::uint64_t Ways>
    [[nodiscard, gnu::always_inline]] static constexpr std::uint64_t touched(std::uint64_t order, std::uint64_t way) {
        static_assert(std::has_single_bit(Ways), "plru needs a power of two of ways");
        std::uint64_t node = way + Ways;
        for (std::uint64_t n = Ways; n > 1; n /= 2) {
            std::uint64_t const upper = node / 2;
            order = (node & 1) != 0 ? order & ~(std::uint64_t{1} << upper) : order | std::uint64_t{1} << upper;
            node = upper;
        }
        return order;
    }
    /// The way to give up.
    template <std::uint64_t Ways>
    [[nodiscard]] static constexpr std::uint64_t victim(std::uint64_t order, std::uint64_t) {
        std::uint64_t node = 1;
        while (node < Ways)
            node = 2 * node + (order >> node & 1);
        return node - Ways;
    }
};

/// The one that was used longest ago, of at most 8. The order is a square of bits: row w says which ways w was used later than.
struct lru {
    static constexpr tlb_policy decides = tlb_policy::replacement; ///< What it decides.
    static constexpr bool moves_on_hit = true;                     ///< Whether a hit counts.

    /// The order after a use of \p way: later than all, and none later than it.
    template <std::uint64_t Ways>
    [[nodiscard, gnu::always_inline]] static constexpr std::uint64_t touched(std::uint64_t order, std::uint64_t way) {
        static_assert(Ways <= 8, "lru keeps the order of at most 8 ways");
        std::uint64_t const column = std::uint64_t{0x0101'0101'0101'0101} << way;
        return (order | std::uint64_t{0xff} << 8 * way) & ~column;
    }
    /// The way to give up: later than none.
    template <std::uint64_t Ways>
    [[nodiscard]] static constexpr std::uint64_t victim(std::uint64_t order, std::uint64_t) {
        std::uint64_t oldest = 0;
        for (std::uint64_t w = Ways; w-- > 0;) {
            if ((order >> 8 * w & ((1u << Ways) - 1)) == 0) oldest = w;
        }
        return oldest;
    }
};

/// The one that was filled longest ago. The order is a queue of ways, 4 bits each, the next victim in bits 3:0; exclusive-or with
/// the queue at first makes it begin as 0.
struct fifo {
    static constexpr tlb_policy decides = tlb_policy::replacement; ///< What it decides.
    static constexpr bool moves_on_hit = false;                    ///< Whether a hit counts.

    /// The order after a fill of \p way: it goes to the end. (Ways are also filled out of turn, where an entry was dropped.)
    template <std::uint64_t Ways>
    [[nodiscard]] static constexpr std::uint64_t touched(std::uint64_t order, std::uint64_t way) {
        constexpr std::uint64_t ones = 0x1111'1111'1111'1111;
        std::uint64_t const queue = order ^ at_first<Ways>;
        // The lowest 4 bits of zero are where the way stands.
        std::uint64_t const other = queue ^ way * ones;
        std::uint64_t const zero = (other - ones) & ~other & ones << 3;
        std::uint64_t const before = low_mask(static_cast<std::uint64_t>(std::countr_zero(zero)) & ~std::uint64_t{3});
        std::uint64_t const closed = (queue & before) | (queue >> 4 & ~before);
        return (closed | way << 4 * (Ways - 1)) ^ at_first<Ways>;
    }
    /// The way to give up.
    template <std::uint64_t Ways>
    [[nodiscard]] static constexpr std::uint64_t victim(std::uint64_t order, std::uint64_t) {
        return 15 & (order ^ at_first<Ways>);
    }

private:
    template <std::uint64_t Ways>
    static constexpr std::uint64_t at_first = 0xfedc'ba98'7654'3210 & low_mask(4 * Ways);
};

/// Any: a guest cannot plan which.
struct random {
    static constexpr tlb_policy decides = tlb_policy::replacement; ///< What it decides.
    static constexpr bool moves_on_hit = false;                    ///< Whether a hit counts.

    /// There is no order.
    template <std::uint64_t Ways>
    [[nodiscard]] static constexpr std::uint64_t touched(std::uint64_t order, std::uint64_t) {
        return order;
    }
    /// The way to give up.
    template <std::uint64_t Ways>
    [[nodiscard]] static constexpr std::uint64_t victim(std::uint64_t, std::uint64_t number) {
        return number % Ways;
    }
};

} // namespace replace
} // namespace v0
} // namespace stagewalk
