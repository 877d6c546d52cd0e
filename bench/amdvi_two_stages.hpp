/// \file
/// Guest tables over host tables, both stages made once: `nested`, the unit's own nesting, and the same loads written by hand.
#pragma once

#include "amdvi_chase.hpp"

namespace bench {

/// `nested::translate`.
template <class M>
struct amdvi_nested_walk {
    M memory;
    nested<amdvi_guest::outer_type, single<amdvi_guest::inner_type, M>, M> both;

    amdvi_nested_walk(amdvi_guest const& g, M const& m) : memory{m}, both{g.outer(), g.inner(), memory} {}
    amdvi_nested_walk(amdvi_nested_walk const&) = delete;

    [[gnu::always_inline, gnu::flatten]] found operator()(iova in) const { return use(both.translate(in, read)); }
};

/// `amdvi::nested_walk`: what a unit does with a request once it has found both stages.
template <class M>
struct amdvi_unit_nested_walk {
    M memory;
    no_trace trace{};
    amdvi_guest::outer_type guest;
    amdvi::nested_walk<M, no_trace> mutable both;

    amdvi_unit_nested_walk(amdvi_guest const& g, M const& m) : memory{m}, guest{g.outer()}, both{g.inner(), memory, trace} {}
    amdvi_unit_nested_walk(amdvi_unit_nested_walk const&) = delete;

    [[gnu::always_inline, gnu::flatten]] found operator()(iova in) const {
        amdvi::nested_updates owed;
        return use(both.translate(guest, in, read, owed));
    }
};

/// A guest's memory by hand: every address through a chase of the host tables.
template <class M>
struct amdvi_through {
    using address = amdvi_guest::middle;
    using error = memory_error;

    amdvi_checked_chase<address, pa, M, amdvi_host_format> inner;
    M memory;

    [[nodiscard, gnu::always_inline]] outcome<std::uint64_t, memory_error> load(address at) const noexcept {
        auto t = inner.look_up(at, read);
        if (!t) [[unlikely]]
            return failure{memory_error::outside};
        return memory.load(t->output);
    }
};

/// By hand: a checked chase whose every entry, and whose result, goes through another checked chase.
/// \tparam IsUnit whether the format bits of the host's page count too, as a unit has it, or those of the guest's alone.
template <class M, bool IsUnit>
class amdvi_nested_chase {
public:
    using middle = amdvi_guest::middle;

    amdvi_nested_chase(amdvi_guest const& g, M const& m)
        : inner_{g.inner(), amdvi::host_table_options{}, m}, outer_{g.outer(), amdvi_of_unit, through()} {}

    [[gnu::always_inline]] found operator()(iova in) const { return use(look_up(in, read)); }

    [[nodiscard, gnu::always_inline]] outcome<translation<pa>, fault<amdvi::event>> look_up(iova in, access a) const {
        return joined(outer_.look_up(in, a), a);
    }
    /// The same from a guest root of its own.
    [[nodiscard, gnu::always_inline]] outcome<translation<pa>, fault<amdvi::event>> from(middle root, iova in, access a) const {
        return joined(outer_.from(root, in, a), a);
    }
    /// The guest's memory.
    [[nodiscard]] amdvi_through<M> through() const { return {inner_, inner_.memory()}; }
    /// The host's root table.
    [[nodiscard]] pa host_root() const { return inner_.root(); }

private:
    template <class First>
    [[nodiscard, gnu::always_inline]] outcome<translation<pa>, fault<amdvi::event>> joined(First first, access a) const {
        if (!first) [[unlikely]]
            return failure{first.error()};
        auto second = inner_.look_up(first->output, a);
        if (!second) [[unlikely]]
            return failure{second.error()};
        return translation<pa>{second->output, merged(first->effective.bits, second->effective.bits),
                               first->lg2_size < second->lg2_size ? first->lg2_size : second->lg2_size, passage::walked};
    }
    // Host tables know no right to execute: it is reading.
    [[nodiscard, gnu::always_inline]] static attributes merged(std::uint64_t first, std::uint64_t second) {
        if constexpr (IsUnit) {
            std::uint64_t const rights = first & ((second & 3) | (second & 1) << 2);
            return attributes::from_bits(rights | (first & ~attributes::rights_mask) | (second & ~attributes::rights_mask));
        } else {
            return attributes::from_bits(first & (second | ~attributes::rights_mask));
        }
    }

    amdvi_checked_chase<middle, pa, M, amdvi_host_format> inner_;
    amdvi_checked_chase<iova, middle, amdvi_through<M>, amdvi_guest_format> outer_;
};

} // namespace bench
