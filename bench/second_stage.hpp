/// \file
/// A second stage to look up in, the walk over it, and the same look-up written by hand.
#pragma once

#include "physical.hpp"

namespace bench {

/// A domain's tables in legacy mode.
using stage_type = vtd::second_stage<iova, pa>;
/// A domain's tables in scalable mode.
using scalable_stage_type = vtd::second_stage<iova, pa, vtd::table_mode::scalable>;

/// Every page is written to once.
template <class Stage, class M>
void write_to_all(Stage const& s, M& memory, std::uint64_t first, std::uint64_t pages, std::uint64_t lg2) {
    for (std::uint64_t i = 0; i < pages; ++i)
        need(static_cast<bool>(walk(s, memory, typename Stage::input{first + (i << lg2)}, write)), "a page is amiss");
}

/// Tables of `pages` pages of 2^lg2 bytes, written by our own builder. No page is larger, for the outputs are not
/// aligned to more. Where the stage keeps A and D, all are set already.
template <class Stage>
class tables_of {
public:
    template <class... Options>
    tables_of(std::uint64_t pages, std::uint64_t lg2, std::uint64_t spare_pages = 0, Options const&... options)
        : tables_{pages / 512 + pages / 262144 + 64}, ram_{(tables_ + spare_pages) << 12}, pool_{pa{0}, tables_},
          order_{pages, lg2}, stage_{scalable_unit_registers(), 4, *pool_.take(12), options...} {
        auto memory = bounded<pa>(ram_);
        table t{stage_, memory, pool_};
        auto const all = range<iova>::between(iova{order_.first()}, iova{order_.first() + (pages << lg2) - 1});
        need(static_cast<bool>(t.map(all, pa{std::uint64_t{1} << lg2}, read_write)), "the tables cannot be built");
        if constexpr (marking<Stage>) write_to_all(stage_, memory, order_.first(), pages, lg2);
    }

    [[nodiscard]] Stage const& stage() const { return stage_; }
    [[nodiscard]] block const& ram() const { return ram_; }
    [[nodiscard]] work const& order() const { return order_; }
    /// Spare page \p i: zeroed, no part of the tables.
    [[nodiscard]] pa spare(std::uint64_t i) const { return pa{(tables_ + i) << 12}; }

private:
    std::uint64_t tables_;
    block ram_;
    shuffled_pool<pa> pool_;
    work order_;
    Stage stage_;
};

/// A domain in legacy mode.
using domain = tables_of<stage_type>;
/// A domain in scalable mode.
using scalable_domain = tables_of<scalable_stage_type>;

/// What is there without any look-up: the loop, the next address, the use of a result.
struct frame {
    std::uint64_t bits;
    std::uint64_t lg2;

    explicit frame(domain const& d) : bits{d.order().zero()}, lg2{d.order().lg2()} {}

    [[gnu::always_inline]] found operator()(iova in) const {
        outcome<translation<pa>, fault<vtd::reason>> const ready{
            translation<pa>{pa{in.value}, attributes::from_bits(bits), lg2, passage::walked}};
        return use(ready);
    }
};

/// `walk`, inlined into its caller.
template <class M, class Stage = stage_type>
struct walk_inlined {
    Stage stage;
    M memory;

    [[gnu::always_inline, gnu::flatten]] found operator()(iova in) const { return use(walk(stage, memory, in, read)); }
};

/// `walk`, called: what a program pays that translates in many places.
template <class M>
struct walk_called {
    stage_type stage;
    M memory;

    [[gnu::noinline, gnu::flatten]] walk_outcome<stage_type, M> look_up(iova in, access a) const {
        return walk(stage, memory, in, a);
    }
    [[gnu::always_inline]] found operator()(iova in) const { return use(look_up(in, read)); }
};

/// Nothing is checked: index, load, mask.
struct bare_chase {
    std::byte const* ram;
    std::uint64_t root;
    std::uint64_t last; ///< The level of the pages.

    bare_chase(domain const& d) : ram{d.ram().data()}, root{d.stage().root().value}, last{(d.order().lg2() - 12) / 9} {}

    [[nodiscard, gnu::always_inline]] std::uint64_t load(std::uint64_t table, std::uint64_t index) const {
        return __atomic_load_n(reinterpret_cast<shared_word const*>(ram + table) + index, __ATOMIC_RELAXED) & address;
    }
    [[gnu::always_inline]] found operator()(iova in) const {
        std::uint64_t at = load(root, in.value >> 39 & 511);
        at = load(at, in.value >> 30 & 511);
        at = load(at, in.value >> 21 & 511);
        if (last == 1) return {at | (in.value & low_mask(21)), 0};
        at = load(at, in.value >> 12 & 511);
        return {at | (in.value & low_mask(12)), 0};
    }

    static constexpr std::uint64_t address = bit_mask(51, 12);
};

/// What the second stage of legacy mode asks of an entry.
struct legacy_format {
    std::uint64_t last_input;

    template <class Stage>
    explicit legacy_format(Stage const& s) : last_input{s.last_input().value} {}

    [[nodiscard]] bool admits(std::uint64_t in) const { return in <= last_input; }
    /// What has to be set in every entry, and in a page's beside it.
    [[nodiscard]] static std::uint64_t wants(access a) { return a.bits & 3; }
    [[nodiscard]] static std::uint64_t wants_of_page(access) { return 0; }
    [[nodiscard]] static attributes grants(std::uint64_t e, std::uint64_t rights) {
        return attributes::from_bits((rights & 3) | (e & (bit_mask(6, 3) | bit_mask(11, 11))));
    }
};

/// The same of scalable mode, where SSADE is not known before.
struct scalable_format : legacy_format {
    std::uint64_t accessed;
    std::uint64_t dirty;

    template <class Stage>
    explicit scalable_format(Stage const& s)
        : legacy_format{s}, accessed{s.keeps_accessed_dirty() ? bit_mask(8, 8) : 0}, dirty{s.keeps_accessed_dirty()
                                                                                               ? bit_mask(9, 9)
                                                                                               : 0} {}

    [[nodiscard]] std::uint64_t wants(access a) const { return (a.bits & 3) | accessed; }
    [[nodiscard]] std::uint64_t wants_of_page(access a) const { return a.covers(write) ? dirty : 0; }
};

/// The same look-up by hand, with every check and every result of `walk`, for one format with four levels: what a good
/// engineer writes who needs nothing else.
template <class Input, class Output, class M, class Format = legacy_format>
class checked_chase {
public:
    using result = outcome<translation<Output>, fault<vtd::reason>>;

    template <class Stage>
    checked_chase(Stage const& s, M const& m)
        : memory_{m}, root_{s.root()}, format_{s}, bad_table_{s.reserved(1, false) | large}, bad_page_{s.reserved(0, true)},
          bad_2m_{s.reserved(1, true)}, bad_1g_{s.reserved(2, true)} {}

    [[nodiscard, gnu::always_inline]] result look_up(Input in, access a) const { return from(root_, in, a); }

    [[nodiscard]] Output root() const { return root_; }

    /// The same from another root.
    [[nodiscard, gnu::always_inline]] result from(Output root, Input in, access a) const {
        if (!format_.admits(in.value)) [[unlikely]]
            return refused(in, a, 0xff, Output{0}, 0);
        M const memory = memory_; // its members in registers
        std::uint64_t const want = format_.wants(a);
        std::uint64_t const page_want = want | format_.wants_of_page(a);
        std::uint64_t const table_mask = bad_table_ | want;

        auto e3 = load(memory, root, in.value >> 39 & 511);
        if (!e3 || (*e3 & table_mask) != want) [[unlikely]]
            return refused(in, a, 3, root, e3 ? *e3 : 0);
        Output const t2{*e3 & address};
        auto e2 = load(memory, t2, in.value >> 30 & 511);
        if (!e2 || (*e2 & table_mask) != want) [[unlikely]] {
            if (e2 && (*e2 & (bad_1g_ | large | page_want)) == (large | page_want)) return page(in, *e2, *e2 & *e3, 30);
            return refused(in, a, 2, t2, e2 ? *e2 : 0);
        }
        Output const t1{*e2 & address};
        auto e1 = load(memory, t1, in.value >> 21 & 511);
        if (!e1 || (*e1 & table_mask) != want) [[unlikely]] {
            if (e1 && (*e1 & (bad_2m_ | large | page_want)) == (large | page_want)) return page(in, *e1, *e1 & *e2 & *e3, 21);
            return refused(in, a, 1, t1, e1 ? *e1 : 0);
        }
        Output const t0{*e1 & address};
        auto e0 = load(memory, t0, in.value >> 12 & 511);
        if (!e0 || (*e0 & (bad_page_ | page_want)) != page_want) [[unlikely]]
            return refused(in, a, 0, t0, e0 ? *e0 : 0);
        return page(in, *e0, *e0 & *e1 & *e2 & *e3, 12);
    }

    [[gnu::always_inline]] found operator()(Input in) const { return use(look_up(in, read)); }

private:
    static constexpr std::uint64_t address = bit_mask(51, 12);
    static constexpr std::uint64_t large = bit_mask(7, 7);

    [[nodiscard, gnu::always_inline]] static auto load(M const& m, Output table, std::uint64_t index) {
        if constexpr (windowed_memory<M const>) {
            return m.load_in_page(table, index);
        } else {
            return m.load(table + index * 8);
        }
    }

    [[nodiscard, gnu::always_inline]] static result page(Input in, std::uint64_t e, std::uint64_t rights, std::uint64_t lg2) {
        std::uint64_t const offset = low_mask(lg2);
        return translation<Output>{Output{(e & address & ~offset) | (in.value & offset)}, Format::grants(e, rights), lg2,
                                   passage::walked};
    }

    // Which fault it is would be found out here.
    [[nodiscard, gnu::cold, gnu::noinline]] static result refused(Input in, access a, std::uint8_t level, Output at,
                                                                  std::uint64_t e) {
        auto const code = level == 0xff                        ? vtd::reason::address_beyond_width
                          : (e & 3) != 0 && (a.bits & ~e) == 0 ? vtd::reason::table_reserved
                                                               : vtd::reason::read_denied;
        return failure{fault<vtd::reason>{code, fault_stage::second, fault_at::table, level, true, in.value, 0, at.value, e, 0}};
    }

    M memory_;
    Output root_;
    Format format_;
    std::uint64_t bad_table_;
    std::uint64_t bad_page_;
    std::uint64_t bad_2m_;
    std::uint64_t bad_1g_;
};

} // namespace bench
