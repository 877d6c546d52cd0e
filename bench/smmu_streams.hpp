/// \file
/// A device behind an SMMU: `smmu::iommu::translate` from the StreamID to an address, and the same by hand.
#pragma once

#include "smmu_chase.hpp"

namespace bench {

/// A linear stream table that leads one device to the tables of `Tables`: a `smmu_process` through a context descriptor (Config =
/// 101), a `smmu_domain` (110), or a `smmu_guest` through a context descriptor of its own (111).
template <class Tables>
class smmu_bus {
public:
    explicit smmu_bus(std::uint64_t pages) : tables_{pages} {
        write_down(table() + device * 64, stream());
        if constexpr (is_guest) {
            write_down(tables_.place_of(tables_.guest_spare()), context());
        } else if constexpr (is_first) {
            write_down(contexts(), context());
        }
        registers_.cr0.set<"SMMUEN">(1);
        registers_.base.set<"ADDR">(table().value);
        registers_.configuration.set<"LOG2SIZE">(8);
    }

    static constexpr std::uint32_t device = 16;
    static constexpr bool is_guest = requires(Tables const& t) { t.inner(); };
    static constexpr bool is_first = [] {
        if constexpr (is_guest) {
            return false;
        } else {
            return Tables::stage_type::number == fault_stage::first;
        }
    }();

    [[nodiscard]] Tables const& tables() const { return tables_; }
    [[nodiscard]] work const& order() const { return tables_.order(); }
    [[nodiscard]] smmu::control const& registers() const { return registers_; }
    [[nodiscard]] pa table() const { return tables_.spare(0); }

    /// The stream table entry.
    [[nodiscard]] smmu::stream_table_entry stream() const {
        auto const caps = smmu_registers();
        if constexpr (is_guest) {
            constexpr auto g = static_cast<smmu::granule>(Tables::inner_type::lg2_page);
            return smmu::with_stage2(smmu::stream_table_entry::make_stage1(tables_.guest_spare().value), caps,
                                     tables_.inner().root().value, smmu_bits, g, 1);
        } else if constexpr (is_first) {
            return smmu::stream_table_entry::make_stage1(contexts().value);
        } else {
            constexpr auto g = static_cast<smmu::granule>(Tables::stage_type::lg2_page);
            return smmu::with_stage2(smmu::stream_table_entry::make_bypass(), caps, tables_.stage().root().value, smmu_bits, g,
                                     1);
        }
    }
    /// The context descriptor, where there is one.
    [[nodiscard]] smmu::context_descriptor context() const {
        if constexpr (is_guest) {
            return context_of(tables_.outer());
        } else {
            return context_of(tables_.stage());
        }
    }

private:
    [[nodiscard]] pa contexts() const { return tables_.spare(1); }
    template <class Stage>
    [[nodiscard]] static smmu::context_descriptor context_of(Stage const& s) {
        return smmu::context_descriptor::make(s.root().value, smmu_bits, static_cast<smmu::granule>(Stage::lg2_page), smmu_bits,
                                              1);
    }
    template <class Entry>
    void write_down(pa at, Entry const& entry) {
        auto memory = bounded<pa>(tables_.ram());
        for (std::uint64_t i = 0; i < entry.words; ++i)
            need(static_cast<bool>(memory.store(at + i * 8, entry.word[i])), "no configuration entry");
    }

    Tables tables_;
    smmu::control registers_;
};

/// `smmu::iommu::translate`, everything on.
template <class M>
struct smmu_translate {
    M memory;
    smmu::iommu<M> unit;
    std::uint32_t device;

    template <class Bus>
    smmu_translate(Bus const& b, M const& m) : memory{m}, unit{smmu_registers(), b.registers(), memory}, device{b.device} {}
    smmu_translate(smmu_translate const&) = delete;

    [[gnu::always_inline]] found operator()(iova in) const {
        smmu::request r;
        r.source = device;
        r.address = in;
        return use(unit.translate(r));
    }
};

/// By hand: the first half of the stream table entry and, where there is one, of the context descriptor is read and held against
/// what one kind of stream has: no substreams, no overrides, one granule and size, no update, nothing but the addresses, the
/// ASID, the VMID, the memory attributes and what faults do differs. Then comes the checked chase, and the memory type.
template <class Tables, class M>
class smmu_unit_chase {
    using bus = smmu_bus<Tables>;

    static constexpr bool nests = bus::is_guest;
    static constexpr bool is_first = bus::is_first;

    // The chases: `near` reads what lies in M, `far` what lies behind it where two stages are nested.
    template <class T, bool Nests>
    struct chases {
        using near = smmu_checked_chase<typename T::stage_type, M>;
        using far = near;
    };
    template <class T>
    struct chases<T, true> {
        using near = smmu_checked_chase<typename T::inner_type, M>;
        using far = smmu_checked_chase<typename T::outer_type, smmu_through<typename T::inner_type, M>>;
    };
    using near_type = typename chases<Tables, nests>::near;
    using far_type = typename chases<Tables, nests>::far;

public:
    using result = outcome<translation<pa>, fault<smmu::event>>;

    smmu_unit_chase(bus const& b, M const& m)
        : memory_{m}, table_{b.table().value}, streams_{256}, device_{bus::device}, near_{near_of(b.tables(), m)}, far_{far_of(
                                                                                                                       b.tables(),
                                                                                                                       m)} {
        using s = smmu::stream_table_entry;
        using c = smmu::context_descriptor;
        auto const e = b.stream();
        auto const d = b.context();
        std::uint64_t const may[4] = {s::mask<"S1ContextPtr">() & low_mask(smmu_bits),
                                      s::reserved(1) | s::ignored(1) | s::mask<"S1DSS">() | s::mask<"S1CIR">() |
                                          s::mask<"S1COR">() | s::mask<"S1CSH">() | s::mask<"MEV">() | s::mask<"CONT">(),
                                      s::reserved(2) | s::ignored(2) | s::mask<"S2VMID">() | s::mask<"S2IR0">() |
                                          s::mask<"S2OR0">() | s::mask<"S2SH0">() | s::mask<"S2R">(),
                                      s::reserved(3) | (s::mask<"S2TTB">() & low_mask(smmu_bits))};
        std::uint64_t const may_context[3] = {c::mask<"IR0">() | c::mask<"OR0">() | c::mask<"SH0">() | c::mask<"R">() |
                                                  c::mask<"A">() | c::mask<"ASET">() | c::mask<"ASID">(),
                                              c::reserved(1) | (c::mask<"TTB0">() & low_mask(smmu_bits)),
                                              c::reserved(2) | c::mask<"TTB1">()};
        for (std::size_t w = 0; w < 4; ++w) {
            stream_look_[w] = ~may[w];
            stream_want_[w] = e.word[w] & ~may[w];
        }
        for (std::size_t w = 0; w < 3; ++w) {
            context_look_[w] = ~may_context[w];
            context_want_[w] = d.word[w] & ~may_context[w];
        }
    }

    [[gnu::always_inline]] found operator()(iova in) const { return use(look_up(in, read, smmu::memory_attributes{})); }

    [[nodiscard, gnu::always_inline]] result look_up(iova in, access a, smmu::memory_attributes incoming) const {
        M const memory = memory_;
        if (device_ >= streams_) [[unlikely]]
            return refused(in);
        std::uint64_t e[4];
        if (!read_entry(memory, pa{table_ + device_ * 64}, e) || differs(e, stream_look_, stream_want_)) [[unlikely]]
            return refused(in);
        if constexpr (nests) {
            return both(memory, e, in, a);
        } else if constexpr (is_first) {
            std::uint64_t d[4];
            if (!read_entry(memory, pa{e[0] & bit_mask(47, 6)}, d) || differs(d, context_look_, context_want_)) [[unlikely]]
                return refused(in);
            auto t = near_.from(pa{d[1] & root_mask<typename Tables::stage_type>()}, in, a);
            if (!t) [[unlikely]]
                return refused(in);
            return translation<pa>{t->output, smmu::to_attributes(t->effective.rights(), first_type(d, t->effective)),
                                   t->lg2_size, passage::walked};
        } else {
            auto t = near_.from(pa{e[3] & root_mask<typename Tables::stage_type>()}, iova{in.value}, a);
            if (!t) [[unlikely]]
                return refused(in);
            return translation<pa>{t->output, smmu::to_attributes(t->effective.rights(), second_type(incoming, t->effective)),
                                   t->lg2_size, passage::walked};
        }
    }

private:
    template <class Stage>
    static constexpr std::uint64_t root_mask() {
        constexpr std::uint64_t least = lg2_top_table<Stage>() < 4 ? 4 : lg2_top_table<Stage>();
        return bit_mask(47, least);
    }
    [[nodiscard, gnu::always_inline]] result both(M const& memory, std::uint64_t const (&e)[4], iova in, access a) const {
        if ((e[3] & root_mask<typename Tables::inner_type>()) != near_.root().value) [[unlikely]]
            return refused(in);
        smmu_through<typename Tables::inner_type, M> const guest{near_, memory};
        auto at = guest.reach(typename Tables::middle{e[0] & bit_mask(47, 6)});
        std::uint64_t d[4];
        if (!at || !read_entry(memory, *at, d) || differs(d, context_look_, context_want_)) [[unlikely]]
            return refused(in);
        auto first = far_.from(typename Tables::middle{d[1] & root_mask<typename Tables::outer_type>()}, in, a);
        if (!first) [[unlikely]]
            return refused(in);
        auto second = near_.look_up(first->output, a);
        if (!second) [[unlikely]]
            return refused(in);
        access const rights = first->effective.rights() & second->effective.rights();
        return translation<pa>{second->output,
                               smmu::to_attributes(rights, second_type(first_type(d, first->effective), second->effective)),
                               first->lg2_size < second->lg2_size ? first->lg2_size : second->lg2_size, passage::walked};
    }

    [[nodiscard, gnu::always_inline]] static smmu::memory_attributes first_type(std::uint64_t const (&d)[4], attributes at) {
        return smmu::stage1_memory(d[3] >> (at.bits >> 3 & 7) * 8 & 0xff, at.bits >> 8 & 3);
    }
    [[nodiscard, gnu::always_inline]] static smmu::memory_attributes second_type(smmu::memory_attributes first, attributes at) {
        return smmu::combine(first, at.bits >> 3 & 15, at.bits >> 8 & 3, false);
    }
    template <std::size_t N>
    [[nodiscard, gnu::always_inline]] static bool read_entry(M const& memory, pa at, std::uint64_t (&words)[N]) {
        for (std::size_t i = 0; i < N; ++i) {
            auto loaded = memory.load(at + i * 8);
            if (!loaded) [[unlikely]]
                return false;
            words[i] = *loaded;
        }
        return true;
    }
    template <std::size_t N, std::size_t K>
    [[nodiscard, gnu::always_inline]] static bool differs(std::uint64_t const (&words)[N], std::uint64_t const (&look)[K],
                                                          std::uint64_t const (&want)[K]) {
        std::uint64_t any = 0;
        for (std::size_t i = 0; i < K; ++i)
            any |= (words[i] & look[i]) ^ want[i];
        return any != 0;
    }
    [[nodiscard, gnu::cold, gnu::noinline]] static failure<fault<smmu::event>> refused(iova in) {
        return {fault<smmu::event>{smmu::event::c_bad_ste, fault_stage::configuration, fault_at::context, 0xff, true, in.value, 0,
                                   0, 0, 0}};
    }

    static near_type near_of(Tables const& t, M const& m) {
        if constexpr (nests) {
            return near_type{t.inner(), m};
        } else {
            return near_type{t.stage(), m};
        }
    }
    static far_type far_of(Tables const& t, M const& m) {
        if constexpr (nests) {
            return far_type{t.outer(), smmu_through<typename Tables::inner_type, M>{near_of(t, m), m}};
        } else {
            return near_of(t, m);
        }
    }

    M memory_;
    std::uint64_t table_;
    std::uint64_t streams_;
    std::uint64_t device_;
    std::uint64_t stream_look_[4];
    std::uint64_t stream_want_[4];
    std::uint64_t context_look_[3];
    std::uint64_t context_want_[3];
    near_type near_;
    far_type far_;
};

} // namespace bench
