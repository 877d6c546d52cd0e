/// \file
/// Two stages, one over the other, to look up in: `nested`, and the same 24 loads written by hand.
#pragma once

#include "second_stage.hpp"

namespace bench {

using outer_stage = vtd::second_stage<iova, ipa>;
using inner_stage = vtd::second_stage<ipa, pa>;

/// A guest's tables of `pages` 4K pages in memory that a host stage maps in 4K pages. Neither stage's tables lie in
/// order.
class guest {
public:
    explicit guest(std::uint64_t pages)
        : ram_{(guest_pages + host_tables) << 12}, host_pool_{pa{0}, host_tables}, guest_pool_{ipa{0}, guest_tables},
          order_{pages, 12}, outer_{unit_registers(), 4, *guest_pool_.take(12)}, inner_{unit_registers(), 4,
                                                                                        *host_pool_.take(12)} {
        auto host_memory = bounded<pa>(ram_);
        table host{inner_, host_memory, host_pool_};
        auto const all = range<ipa>::between(ipa{0}, ipa{(guest_pages << 12) - 1});
        need(static_cast<bool>(host.map(all, pa{host_tables << 12}, read_write)), "the host's tables cannot be built");

        flat<ipa> guest_memory{ram_.data() + (host_tables << 12), guest_pages << 12, ipa{0}};
        table own{outer_, guest_memory, guest_pool_};
        auto const part = range<iova>::between(iova{order_.first()}, iova{order_.first() + (pages << 12) - 1});
        need(static_cast<bool>(own.map(part, ipa{guest_tables << 12}, read_write)), "the guest's tables cannot be built");
    }

    [[nodiscard]] outer_stage const& outer() const { return outer_; }
    [[nodiscard]] inner_stage const& inner() const { return inner_; }
    [[nodiscard]] block const& ram() const { return ram_; }
    [[nodiscard]] work const& order() const { return order_; }

private:
    static constexpr std::uint64_t guest_tables = 1024;
    static constexpr std::uint64_t guest_pages = guest_tables + 4096;
    // An odd number: what the host maps is never aligned to more than 4K.
    static constexpr std::uint64_t host_tables = 127;

    block ram_;
    shuffled_pool<pa> host_pool_;
    shuffled_pool<ipa> guest_pool_;
    work order_;
    outer_stage outer_;
    inner_stage inner_;
};

/// `nested::translate`.
template <class M>
struct nested_walk {
    M memory;
    nested<outer_stage, single<inner_stage, M>, M> both;

    nested_walk(guest const& g, M const& m) : memory{m}, both{g.outer(), g.inner(), memory} {}
    nested_walk(nested_walk const&) = delete;

    [[gnu::always_inline, gnu::flatten]] found operator()(iova in) const { return use(both.translate(in, read)); }
};

/// By hand: a checked chase whose every entry, and whose result, goes through another checked chase.
template <class M>
class nested_chase {
public:
    nested_chase(guest const& g, M const& m) : inner_{g.inner(), m}, outer_{g.outer(), through{inner_, m}} {}

    [[gnu::always_inline]] found operator()(iova in) const { return use(look_up(in, read)); }

    [[nodiscard, gnu::always_inline]] outcome<translation<pa>, fault<vtd::reason>> look_up(iova in, access a) const {
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
    using host_chase = checked_chase<ipa, pa, M>;

    // The guest's memory.
    struct through {
        using address = ipa;
        using error = memory_error;

        host_chase inner;
        M memory;

        [[nodiscard, gnu::always_inline]] outcome<std::uint64_t, memory_error> load(ipa at) const noexcept {
            auto t = inner.look_up(at, read);
            if (!t) [[unlikely]]
                return failure{memory_error::outside};
            return memory.load(t->output);
        }
    };

    host_chase inner_;
    checked_chase<iova, ipa, through> outer_;
};

} // namespace bench
