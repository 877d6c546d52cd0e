/// \file
/// Look-ups in the tables of an AMD IOMMU: the library's walk, and the same written by hand for one format and one depth.
#pragma once

#include "amdvi_tables.hpp"

#include <bit>

namespace bench {

/// `walk`, inlined into its caller.
template <class M, class Stage>
struct amdvi_walk {
    Stage stage;
    M memory;

    [[gnu::always_inline, gnu::flatten]] found operator()(iova in) const { return use(walk(stage, memory, in, read)); }
};

/// `walk`, called: what a program pays that translates in many places.
template <class M, class Stage>
struct amdvi_walk_called {
    Stage stage;
    M memory;

    [[gnu::noinline, gnu::flatten]] auto look_up(iova in, access a) const { return walk(stage, memory, in, a); }
    [[gnu::always_inline]] found operator()(iova in) const { return use(look_up(in, read)); }
};

/// Nothing is checked: index, load, mask.
template <unsigned Levels>
struct amdvi_bare_chase {
    std::byte const* ram;
    std::uint64_t root;
    std::uint64_t last;   ///< The level of the pages.
    std::uint64_t offset; ///< The mask of the offset within one.

    template <class Tables>
    explicit amdvi_bare_chase(Tables const& t)
        : ram{t.ram().data()}, root{t.stage().root().value}, last{(t.order().lg2() - 12) / 9}, offset{low_mask(t.order().lg2())} {
    }

    template <unsigned Level>
    [[nodiscard, gnu::always_inline]] std::uint64_t down(std::uint64_t table, std::uint64_t in) const {
        std::uint64_t const index = in >> (12 + 9 * Level) & 511;
        std::uint64_t const e = __atomic_load_n(reinterpret_cast<shared_word const*>(ram + table) + index, __ATOMIC_RELAXED);
        if constexpr (Level == 0) {
            return e & bit_mask(51, 12);
        } else {
            if (Level == 1 && last == 1) return e & bit_mask(51, 12);
            return down<Level - 1>(e & bit_mask(51, 12), in);
        }
    }
    [[gnu::always_inline]] found operator()(iova in) const {
        return {(down<Levels - 1>(root, in.value) & ~offset) | (in.value & offset), 0};
    }
};

/// What host tables ask of an entry. Rights and what is kept are known at run time.
class amdvi_host_format {
public:
    static constexpr std::uint64_t first_rights = bit_mask(62, 61); ///< What is carried from entry to entry.
    static constexpr unsigned page_levels = 5;                      ///< The lowest levels, where pages may be.

    template <class Stage>
    amdvi_host_format(Stage const& s, amdvi::host_table_options const& o)
        : last_input_{s.last_input().value}, granted_{(o.granted.bits & 3) << 61},
          accessed_{o.keeps_accessed ? bit_mask(5, 5) : 0}, dirty_{o.keeps_dirty ? bit_mask(6, 6) : 0} {}

    /// What one access wants.
    struct wanted {
        std::uint64_t table_mask, table, page_mask, page;
    };
    [[nodiscard, gnu::always_inline]] bool admits(std::uint64_t in, access a) const {
        return in <= last_input_ && ((a.bits & 3) << 61 & ~granted_) == 0;
    }
    [[nodiscard, gnu::always_inline]] wanted wants(access a) const {
        std::uint64_t const table = 1 | (a.bits & 3) << 61 | accessed_;
        std::uint64_t const page = table | (a.covers(write) ? dirty_ : 0);
        return {amdvi::host_table_entry::reserved() | next_level | table, table,
                amdvi::host_page::reserved() | bit_mask(58, 57) | next_level | page, page};
    }
    template <unsigned Level>
    [[nodiscard, gnu::always_inline]] static bool leads_on(wanted const& w, std::uint64_t e) {
        return (e & w.table_mask) == (w.table | Level << 9);
    }
    /// Whether the entry maps a page, and its size.
    template <unsigned Level>
    [[nodiscard, gnu::always_inline]] static bool maps(wanted const& w, std::uint64_t e, std::uint64_t& lg2) {
        constexpr std::uint64_t span = 12 + 9 * Level;
        lg2 = span;
        if ((e & w.page_mask) == w.page) return true;
        lg2 = static_cast<std::uint64_t>(std::countr_one((e & address) | low_mask(12))) + 1;
        return (e & w.page_mask) == (w.page | next_level) && lg2 > span && lg2 < span + 9 && lg2 < 52;
    }
    [[nodiscard, gnu::always_inline]] static std::uint64_t carried(std::uint64_t rights, std::uint64_t e) { return rights & e; }
    [[nodiscard, gnu::always_inline]] attributes grants(std::uint64_t e, std::uint64_t rights, std::uint64_t, access) const {
        return attributes::from_bits((rights & granted_) >> 61 | (e & bit_mask(60, 59)));
    }

private:
    static constexpr std::uint64_t next_level = bit_mask(11, 9);
    static constexpr std::uint64_t address = bit_mask(51, 12);

    std::uint64_t last_input_;
    std::uint64_t granted_;
    std::uint64_t accessed_;
    std::uint64_t dirty_;
};

/// What guest tables ask. Rights, NX, what is marked and whether addresses are signed are known at run time; R/W binds all.
class amdvi_guest_format {
public:
    static constexpr std::uint64_t first_rights = ~std::uint64_t{0}; ///< What is carried from entry to entry.
    static constexpr unsigned page_levels = 3;                       ///< The lowest levels, where pages may be.

    template <class Stage>
    amdvi_guest_format(Stage const& s, amdvi::guest_table_options const& o)
        : half_{o.plain_addresses ? 0 : std::uint64_t{1} << (s.width() - 1)}, last_input_{low_mask(s.width())},
          granted_{o.granted.bits & 3}, marks_{(o.marks_accessed ? bit_mask(5, 5) : 0) | (o.marks_dirty ? bit_mask(6, 6) : 0)},
          bad_{o.no_execute ? 0 : no_execute} {}

    /// What one access wants.
    struct wanted {
        std::uint64_t table_mask, table, page_mask, page;
    };
    [[nodiscard, gnu::always_inline]] bool admits(std::uint64_t in, access a) const {
        std::uint64_t const of_device = (a.bits & 3) | (a.covers(execute) ? 1 : 0);
        return in + half_ <= last_input_ && (of_device & ~granted_) == 0;
    }
    [[nodiscard, gnu::always_inline]] wanted wants(access a) const {
        std::uint64_t const user = a.covers(privileged) ? 0 : bit_mask(2, 2);
        std::uint64_t const table = 1 | (a.bits & 2) | user | (marks_ & bit_mask(5, 5));
        std::uint64_t const page = table | (a.covers(write) ? marks_ & bit_mask(6, 6) : 0);
        std::uint64_t const closed = bad_ | (a.covers(execute) ? no_execute : 0);
        return {closed | bit_mask(7, 7) | table, table, closed | page, page};
    }
    template <unsigned Level>
    [[nodiscard, gnu::always_inline]] static bool leads_on(wanted const& w, std::uint64_t e) {
        return (e & w.table_mask) == w.table;
    }
    /// Whether the entry maps a page, and its size.
    template <unsigned Level>
    [[nodiscard, gnu::always_inline]] static bool maps(wanted const& w, std::uint64_t e, std::uint64_t& lg2) {
        lg2 = 12 + 9 * Level;
        if constexpr (Level == 0) return (e & w.page_mask) == w.page;
        constexpr std::uint64_t large = bit_mask(7, 7);
        return (e & (w.page_mask | large | (low_mask(12 + 9 * Level) & ~low_mask(13)))) == (w.page | large);
    }
    [[nodiscard, gnu::always_inline]] static std::uint64_t carried(std::uint64_t rights, std::uint64_t e) {
        return rights & (e ^ no_execute);
    }
    [[nodiscard, gnu::always_inline]] attributes grants(std::uint64_t e, std::uint64_t rights, std::uint64_t lg2,
                                                        access a) const {
        if (!a.covers(privileged) && (rights & 4) == 0) return {};
        std::uint64_t const pat = lg2 > 12 ? e >> 5 & bit_mask(7, 7) : e & bit_mask(7, 7);
        std::uint64_t const all = (1 | (rights & 2) | rights >> 63 << 2) & (granted_ | (granted_ & 1) << 2);
        return attributes::from_bits(all | (e & bit_mask(4, 3)) | pat | (~rights & 4) << 3);
    }

private:
    static constexpr std::uint64_t no_execute = bit_mask(63, 63);

    std::uint64_t half_;
    std::uint64_t last_input_;
    std::uint64_t granted_;
    std::uint64_t marks_;
    std::uint64_t bad_;
};

/// The same look-up by hand, with every check and every result of `walk`, for one format with `Levels` levels: what a good
/// engineer writes who needs nothing else.
template <class Input, class Output, class M, class Format, unsigned Levels = 4>
class amdvi_checked_chase {
public:
    using result = outcome<translation<Output>, fault<amdvi::event>>;

    template <class Stage, class Options>
    amdvi_checked_chase(Stage const& s, Options const& o, M const& m) : memory_{m}, root_{s.root()}, format_{s, o} {}

    [[nodiscard, gnu::always_inline]] result look_up(Input in, access a) const { return from(root_, in, a); }

    [[nodiscard]] Output root() const { return root_; }
    [[nodiscard]] M const& memory() const { return memory_; }

    /// The same from another root.
    [[nodiscard, gnu::always_inline]] result from(Output root, Input in, access a) const {
        if (!format_.admits(in.value, a)) [[unlikely]]
            return refused(in, a, 0xff, Output{0}, 0);
        M const memory = memory_; // its members in registers
        return down<Levels - 1>(memory, format_.wants(a), root, in, a, Format::first_rights);
    }

    [[gnu::always_inline]] found operator()(Input in) const { return use(look_up(in, read)); }

private:
    static constexpr std::uint64_t address = bit_mask(51, 12);

    template <unsigned Level>
    [[nodiscard, gnu::always_inline]] result down(M const& memory, typename Format::wanted const& w, Output table, Input in,
                                                  access a, std::uint64_t rights) const {
        auto e = load(memory, table, in.value >> (12 + 9 * Level) & 511);
        if (!e) [[unlikely]]
            return refused(in, a, Level, table, 0);
        if constexpr (Level > 0) {
            if (Format::template leads_on<Level>(w, *e)) [[likely]]
                return down<Level - 1>(memory, w, Output{*e & address}, in, a, Format::carried(rights, *e));
        }
        if constexpr (Level < Format::page_levels) {
            std::uint64_t lg2 = 0;
            if (Format::template maps<Level>(w, *e, lg2)) [[likely]] {
                std::uint64_t const offset = low_mask(lg2);
                return translation<Output>{Output{(*e & address & ~offset) | (in.value & offset)},
                                           format_.grants(*e, Format::carried(rights, *e), lg2, a), lg2, passage::walked};
            }
        }
        return refused(in, a, Level, table, *e);
    }

    [[nodiscard, gnu::always_inline]] static auto load(M const& m, Output table, std::uint64_t index) {
        if constexpr (windowed_memory<M const>) {
            return m.load_in_page(table, index);
        } else {
            return m.load(table + index * 8);
        }
    }

    // Which fault it is would be found out here.
    [[nodiscard, gnu::cold, gnu::noinline]] static result refused(Input in, access a, std::uint8_t level, Output at,
                                                                  std::uint64_t e) {
        return failure{fault<amdvi::event>{amdvi::event::io_page_fault, fault_stage::second, fault_at::table, level, true,
                                           in.value, 0, at.value, e, a.bits}};
    }

    M memory_;
    Output root_;
    Format format_;
};

/// The chase of the tables `Tables`.
template <class Tables>
using amdvi_format_of =
    std::conditional_t<Tables::stage_type::number == fault_stage::first, amdvi_guest_format, amdvi_host_format>;
template <class Tables, class M, unsigned Levels = 4>
using amdvi_chase_of = amdvi_checked_chase<iova, pa, M, amdvi_format_of<Tables>, Levels>;

} // namespace bench
