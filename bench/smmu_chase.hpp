/// \file
/// Look-ups in the tables of an SMMU: the library's walk, and the same written by hand for one granule, one depth and one
/// configuration.
#pragma once

#include "smmu_tables.hpp"

namespace bench {

/// `walk`, inlined into its caller.
template <class M, class Stage>
struct smmu_walk {
    Stage stage;
    M memory;

    [[gnu::always_inline, gnu::flatten]] found operator()(iova in) const { return use(walk(stage, memory, in, read)); }
};

/// Nothing is checked: index, load, mask.
template <class Stage>
struct smmu_bare_chase {
    static constexpr std::uint64_t top = smmu_top<static_cast<smmu::granule>(Stage::lg2_page), Stage::number>();
    static constexpr std::uint64_t address = bit_mask(47, Stage::lg2_page);

    std::byte const* ram;
    std::uint64_t root;

    template <class Tables>
    explicit smmu_bare_chase(Tables const& t) : ram{t.ram().data()}, root{t.stage().root().value} {}

    template <std::uint64_t Level>
    [[nodiscard, gnu::always_inline]] std::uint64_t down(std::uint64_t table, std::uint64_t in) const {
        std::uint64_t const mask = Level == top ? ~std::uint64_t{0} : low_mask(Stage::stride);
        std::uint64_t const index = in >> Stage::shift(Level) & mask;
        std::uint64_t const e =
            __atomic_load_n(reinterpret_cast<shared_word const*>(ram + table) + index, __ATOMIC_RELAXED) & address;
        if constexpr (Level == 0) {
            return e;
        } else {
            return down<Level - 1>(e, in);
        }
    }
    [[gnu::always_inline]] found operator()(iova in) const {
        return {down<top>(root, in.value) | (in.value & low_mask(Stage::lg2_page)), 0};
    }
};

/// What stage 1 asks of a descriptor and gives for it: no updates, no PAN, WXN or HAD, two privileges.
struct smmu_first_format {
    static constexpr std::uint64_t not_of_table = bit_mask(62, 59); ///< What a table forbids.

    [[nodiscard]] static std::uint64_t wants_of_page(access a) {
        return 3 | bit_mask(10, 10) | (a.covers(privileged) ? 0 : bit_mask(6, 6));
    }
    [[nodiscard]] static std::uint64_t looks_at_page(access a) { return (a.covers(write) ? bit_mask(7, 7) : 0); }
    [[nodiscard, gnu::always_inline]] static attributes grants(std::uint64_t e, access a) {
        bool const is_privileged = a.covers(privileged);
        std::uint64_t const user = e >> 6 & 1;
        std::uint64_t const reads = is_privileged ? 1 : user;
        std::uint64_t const writes = reads & (~e >> 7);
        std::uint64_t const bars = is_privileged ? (e >> 53 & 1) | (user & writes) : e >> 54 & 1;
        constexpr std::uint64_t shown = bit_mask(6, 6) | bit_mask(9, 8) | bit_mask(11, 11) | bit_mask(54, 51);
        return attributes::from_bits((e & bit_mask(4, 2)) << 1 | ((e & shown) ^ (bit_mask(6, 6) | bit_mask(11, 11))) | reads |
                                     writes << 1 | (bars ^ 1) << 2);
    }
};

/// What stage 2 does: no updates, no execution by privilege.
struct smmu_second_format {
    static constexpr std::uint64_t not_of_table = 0;

    [[nodiscard]] static std::uint64_t wants_of_page(access a) { return 3 | bit_mask(10, 10) | (a.bits & 3) << 6; }
    [[nodiscard]] static std::uint64_t looks_at_page(access) { return 0; }
    [[nodiscard, gnu::always_inline]] static attributes grants(std::uint64_t e, access) {
        constexpr std::uint64_t shown = bit_mask(9, 8) | bit_mask(54, 51);
        return attributes::from_bits((e & bit_mask(5, 2)) << 1 | (e & shown) | (e >> 6 & 3) | (e >> 6 & 1 & ~(e >> 54)) << 2);
    }
};

/// The same look-up by hand, with every check and every result of `walk`: what a good engineer writes who needs nothing else.
/// The output size is known at run time, the input size is 48 bits.
template <class Stage, class M>
class smmu_checked_chase {
    using input = typename Stage::input;
    using output = typename Stage::output;
    using format = std::conditional_t<Stage::number == fault_stage::first, smmu_first_format, smmu_second_format>;

public:
    using result = outcome<translation<output>, fault<smmu::event>>;
    static constexpr std::uint64_t top = smmu_top<static_cast<smmu::granule>(Stage::lg2_page), Stage::number>();

    smmu_checked_chase(Stage const& s, M const& m, std::uint64_t output_size = smmu_bits)
        : memory_{m}, root_{s.root()}, too_high_{bit_mask(47, 12) & ~low_mask(output_size)} {}

    [[nodiscard, gnu::always_inline]] result look_up(input in, access a) const { return from(root_, in, a); }
    [[nodiscard]] output root() const { return root_; }

    /// The same from another root.
    [[nodiscard, gnu::always_inline]] result from(output root, input in, access a) const {
        if (in.value >> smmu_bits != 0) [[unlikely]]
            return refused(in, a, 0xff, output{0}, 0);
        M const memory = memory_; // its members in registers
        return down<top>(memory, root, in, a);
    }

    [[gnu::always_inline]] found operator()(input in) const { return use(look_up(in, read)); }

private:
    static constexpr std::uint64_t address = bit_mask(47, Stage::lg2_page);

    template <std::uint64_t Level>
    [[nodiscard, gnu::always_inline]] result down(M const& memory, output table, input in, access a) const {
        std::uint64_t const mask = Level == top ? ~std::uint64_t{0} : low_mask(Stage::stride);
        auto e = load<Level>(memory, table, in.value >> Stage::shift(Level) & mask);
        if (!e) [[unlikely]]
            return refused(in, a, Level, table, 0);
        std::uint64_t const want = format::wants_of_page(a);
        std::uint64_t const look = want | format::looks_at_page(a) | too_high_;
        if constexpr (Level == 0) {
            if ((*e & look) != want) [[unlikely]]
                return refused(in, a, Level, table, *e);
            return page<Stage::shift(0)>(in, *e, a);
        } else {
            if ((*e & (3 | format::not_of_table | too_high_)) != 3) [[unlikely]] {
                constexpr bool may_be_block = Level == 1 || (Level == 2 && Stage::lg2_page == 12);
                if (may_be_block && (*e & look) == (want ^ 2)) return page<Stage::shift(Level)>(in, *e, a);
                return refused(in, a, Level, table, *e);
            }
            return down<Level - 1>(memory, output{*e & address}, in, a);
        }
    }

    template <std::uint64_t Level>
    [[nodiscard, gnu::always_inline]] static auto load(M const& m, output table, std::uint64_t index) {
        if constexpr (windowed_memory<M const> && Level == top) {
            std::uint64_t const at = table.value + index * 8; // the top table may lie anywhere in a page
            return m.load_in_page(output{at & ~low_mask(12)}, at >> 3 & 511);
        } else if constexpr (windowed_memory<M const>) {
            return m.load_in_page(table + (index >> 9 << 12), index & 511);
        } else {
            return m.load(table + index * 8);
        }
    }

    template <std::uint64_t Lg2>
    [[nodiscard, gnu::always_inline]] static result page(input in, std::uint64_t e, access a) {
        constexpr std::uint64_t offset = low_mask(Lg2);
        return translation<output>{output{(e & address & ~offset) | (in.value & offset)}, format::grants(e, a), Lg2,
                                   passage::walked};
    }

    // Which fault it is would be found out here.
    [[nodiscard, gnu::cold, gnu::noinline]] static result refused(input in, access a, std::uint8_t level, output at,
                                                                  std::uint64_t e) {
        auto const code = (e & 1) == 0 ? smmu::event::f_translation : smmu::event::f_permission;
        return failure{fault<smmu::event>{code, Stage::number, fault_at::input, level, true, in.value, 0, at.value, e, a.bits}};
    }

    M memory_;
    output root_;
    std::uint64_t too_high_;
};

/// A guest's memory by hand: every address through a chase of stage 2.
/// \tparam SparesDevices whether tables in Device memory are refused (S2PTW): a unit does it, two stages alone do not.
template <class Stage, class M, bool SparesDevices = true>
struct smmu_through {
    using address = typename Stage::input;
    using error = memory_error;

    smmu_checked_chase<Stage, M> inner;
    M memory;

    /// The place of an intermediate address.
    [[nodiscard, gnu::always_inline]] outcome<pa, memory_error> reach(address at) const noexcept {
        auto t = inner.look_up(at, read);
        if (!t || (SparesDevices && (t->effective.bits & bit_mask(6, 5)) == 0)) [[unlikely]]
            return failure{memory_error::outside};
        return t->output;
    }
    [[nodiscard, gnu::always_inline]] outcome<std::uint64_t, memory_error> load(address at) const noexcept {
        auto place = reach(at);
        if (!place) [[unlikely]]
            return failure{memory_error::outside};
        return memory.load(*place);
    }
};

} // namespace bench
