/// \file
/// Stage 1 of an SMMU over its stage 2, both made once: `nested`, and the same loads written by hand.
#pragma once

#include "smmu_chase.hpp"

namespace bench {

/// `nested::translate`.
template <class Guest, class M>
struct smmu_nested_walk {
    using outer_type = typename Guest::outer_type;
    using inner_type = typename Guest::inner_type;

    M memory;
    nested<outer_type, single<inner_type, M>, M> both;

    smmu_nested_walk(Guest const& g, M const& m) : memory{m}, both{g.outer(), g.inner(), memory} {}
    smmu_nested_walk(smmu_nested_walk const&) = delete;

    [[gnu::always_inline, gnu::flatten]] found operator()(iova in) const { return use(both.translate(in, read)); }
};

/// By hand: a checked chase whose every entry, and whose result, goes through another checked chase.
template <class Guest, class M>
class smmu_nested_chase {
    using outer_type = typename Guest::outer_type;
    using inner_type = typename Guest::inner_type;
    using through = smmu_through<inner_type, M, false>;

public:
    smmu_nested_chase(Guest const& g, M const& m) : inner_{g.inner(), m}, outer_{g.outer(), through{inner_, m}} {}

    [[gnu::always_inline]] found operator()(iova in) const { return use(look_up(in, read)); }

    [[nodiscard, gnu::always_inline]] outcome<translation<pa>, fault<smmu::event>> look_up(iova in, access a) const {
        auto first = outer_.look_up(in, a);
        if (!first) [[unlikely]]
            return failure{first.error()};
        auto second = inner_.look_up(first->output, a);
        if (!second) [[unlikely]]
            return failure{second.error()};
        return translation<pa>{second->output,
                               attributes::from_bits(first->effective.bits & (second->effective.bits | ~attributes::rights_mask)),
                               first->lg2_size < second->lg2_size ? first->lg2_size : second->lg2_size, passage::walked};
    }

private:
    smmu_checked_chase<inner_type, M> inner_;
    smmu_checked_chase<outer_type, through> outer_;
};

} // namespace bench
