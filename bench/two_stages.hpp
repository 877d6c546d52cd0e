/// \file
/// Two stages, one over the other, to look up in: `nested`, and the same 24 loads written by hand.
#pragma once

#include "first_stage.hpp"

namespace bench {

using outer_stage = vtd::second_stage<iova, ipa>;
using inner_stage = vtd::second_stage<ipa, pa>;

/// The two stages of a unit that nests: first stage over second stage.
using unit_middle = intermediate<pa>;
using unit_outer_stage = vtd::first_stage<iova, unit_middle>;
using unit_inner_stage = vtd::second_stage<unit_middle, pa, vtd::table_mode::scalable>;

/// A guest's tables of `pages` 4K pages in memory that a host stage maps in 4K pages. Neither stage's tables lie in
/// order.
template <class Outer, class Inner>
class guest_of {
    using middle = typename Inner::input;

public:
    explicit guest_of(std::uint64_t pages, std::uint64_t spare_pages = 0)
        : ram_{(guest_pages + host_tables + spare_pages) << 12}, host_pool_{pa{0}, host_tables}, guest_pool_{middle{0},
                                                                                                             guest_tables},
          order_{pages, 12}, outer_{scalable_unit_registers(), 4, *guest_pool_.take(12)}, inner_{scalable_unit_registers(), 4,
                                                                                                 *host_pool_.take(12)} {
        auto host_memory = bounded<pa>(ram_);
        table host{inner_, host_memory, host_pool_};
        auto const all = range<middle>::between(middle{0}, middle{(guest_pages << 12) - 1});
        need(static_cast<bool>(host.map(all, pa{host_tables << 12}, read_write)), "the host's tables cannot be built");

        flat<middle> guest_memory{ram_.data() + (host_tables << 12), guest_pages << 12, middle{0}};
        table own{outer_, guest_memory, guest_pool_};
        auto const part = range<iova>::between(iova{order_.first()}, iova{order_.first() + (pages << 12) - 1});
        need(static_cast<bool>(own.map(part, middle{guest_tables << 12}, read_write)), "the guest's tables cannot be built");
        if constexpr (marking<Outer>) write_to_all(outer_, guest_memory, order_.first(), pages, 12);
    }

    [[nodiscard]] Outer const& outer() const { return outer_; }
    [[nodiscard]] Inner const& inner() const { return inner_; }
    [[nodiscard]] block const& ram() const { return ram_; }
    [[nodiscard]] work const& order() const { return order_; }
    /// Spare page \p i: zeroed, no part of the tables.
    [[nodiscard]] pa spare(std::uint64_t i) const { return pa{(guest_pages + host_tables + i) << 12}; }

private:
    static constexpr std::uint64_t guest_tables = 1024;
    static constexpr std::uint64_t guest_pages = guest_tables + 4096;
    // An odd number: what the host maps is never aligned to more than 4K.
    static constexpr std::uint64_t host_tables = 127;

    block ram_;
    shuffled_pool<pa> host_pool_;
    shuffled_pool<middle> guest_pool_;
    work order_;
    Outer outer_;
    Inner inner_;
};

/// Two stages of one format.
using guest = guest_of<outer_stage, inner_stage>;
/// The two stages of a unit that nests. SSADE = 0.
using unit_guest = guest_of<unit_outer_stage, unit_inner_stage>;

/// `nested::translate`.
template <class M>
struct nested_walk {
    M memory;
    nested<outer_stage, single<inner_stage, M>, M> both;

    nested_walk(guest const& g, M const& m) : memory{m}, both{g.outer(), g.inner(), memory} {}
    nested_walk(nested_walk const&) = delete;

    [[gnu::always_inline, gnu::flatten]] found operator()(iova in) const { return use(both.translate(in, read)); }
};

/// `vtd::nested_walk`: what a unit does with a request once it has found both stages.
template <class M>
struct unit_nested_walk {
    M memory;
    no_trace trace{};
    vtd::nested_walk<iova, M, no_trace> mutable both;

    unit_nested_walk(unit_guest const& g, M const& m) : memory{m}, both{g.outer(), g.inner(), memory, trace} {}
    unit_nested_walk(unit_nested_walk const&) = delete;

    [[gnu::always_inline, gnu::flatten]] found operator()(iova in) const {
        vtd::nested_updates owed;
        return use(both.translate(in, read, owed));
    }
};

/// By hand: a checked chase whose every entry, and whose result, goes through another checked chase.
template <class M, class Middle = ipa, class OuterFormat = legacy_format, class InnerFormat = legacy_format>
class nested_chase {
public:
    template <class Guest>
    nested_chase(Guest const& g, M const& m) : inner_{g.inner(), m}, outer_{g.outer(), through{inner_, m}} {}

    [[gnu::always_inline]] found operator()(iova in) const { return use(look_up(in, read)); }

    [[nodiscard, gnu::always_inline]] outcome<translation<pa>, fault<vtd::reason>> look_up(iova in, access a) const {
        return joined(outer_.look_up(in, a), a);
    }
    /// The same from a first-stage root of its own; `second` is what the second stage begins at, the same as ever.
    [[nodiscard, gnu::always_inline]] outcome<translation<pa>, fault<vtd::reason>> from(Middle first, pa second, iova in,
                                                                                        access a) const {
        if (second != inner_.root()) [[unlikely]]
            return failure{fault<vtd::reason>{}};
        return joined(outer_.from(first, in, a), a);
    }

private:
    template <class First>
    [[nodiscard, gnu::always_inline]] outcome<translation<pa>, fault<vtd::reason>> joined(First first, access a) const {
        if (!first) [[unlikely]]
            return failure{first.error()};
        auto second = inner_.look_up(first->output, a);
        if (!second) [[unlikely]]
            return failure{second.error()};
        return translation<pa>{second->output,
                               attributes::from_bits(first->effective.bits & (second->effective.bits | ~attributes::rights_mask)),
                               first->lg2_size < second->lg2_size ? first->lg2_size : second->lg2_size, passage::walked};
    }

    using host_chase = checked_chase<Middle, pa, M, InnerFormat>;

    // The guest's memory.
    struct through {
        using address = Middle;
        using error = memory_error;

        host_chase inner;
        M memory;

        [[nodiscard, gnu::always_inline]] outcome<std::uint64_t, memory_error> load(Middle at) const noexcept {
            auto t = inner.look_up(at, read);
            if (!t) [[unlikely]]
                return failure{memory_error::outside};
            return memory.load(t->output);
        }
    };

    host_chase inner_;
    checked_chase<iova, Middle, through, OuterFormat> outer_;
};

/// The unit's two stages by hand. Its second stage never sets EMT, IPAT or SNP, so the format bits are the first stage's.
template <class M>
using unit_nested_chase = nested_chase<M, unit_middle, process_format, scalable_format>;

} // namespace bench
