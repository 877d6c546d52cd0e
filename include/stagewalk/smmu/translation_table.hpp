/// \file
/// Translation tables of VMSAv8-64: the geometry and the addresses that stage 1 and stage 2 have in common (DDI 0487 D8.2 and
/// D8.3).
#pragma once

#include "../core/address.hpp"
#include "../core/range.hpp"
#include "../core/size.hpp"
#include "../walk/stage.hpp"
#include "event.hpp"
#include "granule.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace smmu {

/// Where the tables of a stage lie and how far they reach.
struct table_shape {
    std::uint64_t root{};        ///< The address of the top table. Bits within its size are taken as 0.
    std::uint64_t top{};         ///< Its level: 0 for the manual's level 3, 4 for its level -1.
    std::uint64_t input_size{};  ///< The width of the input addresses in bits, 16 to 52.
    std::uint64_t output_size{}; ///< Addresses in the tables are below 2^this: min(IPS or S2PS, OAS, 48 unless wide).
    std::uint64_t lg2_least{4};  ///< The top table has at least 2^this bytes: 6 where IPS or S2PS is 52 bits, as it takes effect.
    bool wide{};                 ///< Descriptors hold addresses of 52 bits; then the largest blocks exist too.
    bool upper{};                ///< The upper half: bits above the input size are 1.
    bool ignores_top_byte{};     ///< Bits 63:56 of an input address are not looked at.

    /// Shapes are equal field by field.
    friend constexpr bool operator==(table_shape const&, table_shape const&) = default;
};

/// What stage 1 and stage 2 have in common.
/// \tparam G the granule.
/// \tparam Input what is translated.
/// \tparam Output what it is translated to, and the space of the tables.
template <granule G, class Input, class Output>
class translation_table {
public:
    using input = Input;   ///< What it translates from.
    using output = Output; ///< What it translates to, and the space of its tables.
    using code = event;    ///< Its fault code.

    static constexpr std::uint64_t lg2_page = lg2_of(G);  ///< The lg2 size of the smallest page.
    static constexpr std::uint64_t lg2_table = lg2_page;  ///< The lg2 size of a full table.
    static constexpr std::uint64_t stride = lg2_page - 3; ///< The input bits that a full table translates.
    static constexpr bool small_tables = true;            ///< The top table may be smaller than a page.
    static constexpr unsigned levels_min = 1;             ///< The shallowest tables.
    static constexpr unsigned levels_max = G == granule::k4 ? 5 : G == granule::k16 ? 4 : 3; ///< The deepest tables.

    /// \param shape where the tables lie and how far they reach; checked, as a descriptor of an SMMU is.
    constexpr explicit translation_table(table_shape const& shape)
        : top_{shape.top}, block_levels_{blocks(shape.wide)}, range_mask_{~low_mask(shape.input_size) &
                                                                          low_mask(shape.ignores_top_byte ? 56 : 64)},
          range_want_{shape.upper ? range_mask_ : 0}, input_mask_{low_mask(shape.input_size)},
          upper_{shape.wide ? upper_bits : 0}, beyond_{~low_mask(shape.output_size) & low_mask(56)} {
        // No shape, however wrong, may lead a walk out of these arrays.
        if (top_ >= levels_max) top_ = levels_max - 1;
        std::uint64_t const wanted = shape.input_size > shift(top_) ? shape.input_size - shift(top_) : 0;
        std::uint64_t const root_bits = wanted < stride + 4 ? wanted : stride + 4;
        std::uint64_t const lg2_root = root_bits + 3 > shape.lg2_least ? root_bits + 3 : shape.lg2_least;
        root_ = Output{shape.root & ~low_mask(lg2_root)};
        root_shift_ = shift(top_);
        root_mask_ = low_mask(root_bits);
    }

    /// The top table.
    [[nodiscard]] constexpr Output root() const { return root_; }
    /// The level of the top table; the manual's is 3 - top().
    [[nodiscard]] constexpr std::uint64_t top() const { return top_; }
    /// The lg2 size that one entry of \p level spans.
    [[nodiscard]] static constexpr std::uint64_t shift(std::uint64_t level) { return lg2_page + stride * level; }
    /// The index into a table of \p level. The top table may be up to 16 tables long (concatenation).
    [[nodiscard, gnu::always_inline]] constexpr std::uint64_t index(std::uint64_t level, Input in) const {
        return level == top_ ? root_index(in) : inner_index(level, in);
    }
    /// The index into the top table.
    [[nodiscard, gnu::always_inline]] constexpr std::uint64_t root_index(Input in) const {
        return in.value >> root_shift_ & root_mask_;
    }
    /// The index into any other table, of \p level.
    [[nodiscard, gnu::always_inline]] static constexpr std::uint64_t inner_index(std::uint64_t level, Input in) {
        return in.value >> shift(level) & low_mask(stride);
    }

    /// Whether \p in is in the range that the tables translate.
    [[nodiscard]] constexpr bool admits(Input in) const { return (in.value & range_mask_) == range_want_; }
    /// The addresses that the tables translate. Where the top byte is ignored, those with a top byte like bit 55.
    [[nodiscard]] constexpr ranges<Input, 1> admitted() const {
        std::uint64_t const first = range_want_ != 0 ? ~input_mask_ : 0;
        return {{range<Input>::between(Input{first}, Input{first | input_mask_})}};
    }
    /// The fault of an address that is not in the range.
    [[nodiscard]] static constexpr event refuse(Input) { return event::f_translation; }
    /// The fault of a descriptor that cannot be read.
    [[nodiscard]] static constexpr event unreadable(std::uint64_t) { return event::f_walk_eabt; }

    /// Whether \p e is anything but invalid.
    [[nodiscard]] static constexpr bool is_present(std::uint64_t e) { return (e & 1) != 0; }
    /// The lg2 size of the page or block that a descriptor of \p level maps. The contiguous hint is not taken.
    [[nodiscard]] static constexpr std::uint64_t leaf_size(std::uint64_t level, std::uint64_t) { return shift(level); }
    /// The table that a descriptor leads to.
    [[nodiscard]] constexpr Output target(std::uint64_t e) const { return Output{address_in(e)}; }
    /// The address in a descriptor, of a table or of a page, that the fast lane took plainly: no bit of it is out of place.
    [[nodiscard, gnu::always_inline]] static constexpr Output plain_target(std::uint64_t e) { return Output{e & narrow_address}; }
    /// The page or block of 2^\p lg2 bytes that a descriptor maps.
    [[nodiscard]] constexpr Output leaf_output(std::uint64_t e, std::uint64_t lg2) const {
        return Output{address_in(e) & ~low_mask(lg2)};
    }

    /// The page and block sizes, bit lg2 set for each.
    [[nodiscard]] constexpr std::uint64_t sizes() const {
        std::uint64_t all = std::uint64_t{1} << lg2_page;
        for (std::uint64_t level = 1; level <= top_; ++level)
            if ((block_levels_ >> level & 1) != 0) all |= std::uint64_t{1} << shift(level);
        return all;
    }
    /// The level whose descriptors map 2^\p lg2 bytes.
    [[nodiscard]] static constexpr std::uint64_t leaf_level(std::uint64_t lg2) { return (lg2 - lg2_page) / stride; }
    /// The descriptor that leads to the table at \p o.
    [[nodiscard]] constexpr std::uint64_t make_table(Output o, std::uint64_t) const { return with_address(o.value) | 3; }

    /// The lg2 size of the group of neighbours that the Contiguous bit of a descriptor of \p level announces, or that of the
    /// descriptor alone where the bit means nothing (DDI 0487 D8.7.1).
    [[nodiscard]] static constexpr std::uint64_t contiguous_size(std::uint64_t level) {
        constexpr std::uint64_t group = G == granule::k4 ? 4 : 5;
        if (level > (G == granule::k4 ? 2 : 1)) return shift(level);
        return shift(level) + (G == granule::k16 && level == 0 ? 7 : group);
    }

    /// Tables are equal that lie in one place and reach as far.
    friend constexpr bool operator==(translation_table const&, translation_table const&) = default;

protected:
    static constexpr std::uint64_t narrow_address = bit_mask(47, lg2_page); ///< Address bits of a descriptor, not wide.
    /// Where the upper address bits of a wide descriptor are.
    static constexpr std::uint64_t moved_bits = G == granule::k64 ? bit_mask(15, 12) : bit_mask(9, 8);
    /// How far up they belong.
    static constexpr std::uint64_t moved_by = G == granule::k64 ? 36 : 42;
    /// All address bits that only wide descriptors have, moved or not.
    static constexpr std::uint64_t upper_bits = moved_bits | (G == granule::k64 ? 0 : bit_mask(49, 48));

    /// The address in descriptor \p e.
    [[nodiscard, gnu::always_inline]] constexpr std::uint64_t address_in(std::uint64_t e) const {
        return (e & in_place()) | (e & moved()) << moved_by;
    }
    /// \p address as a descriptor holds it.
    [[nodiscard]] constexpr std::uint64_t with_address(std::uint64_t address) const {
        return (address & in_place()) | (address >> moved_by & moved());
    }
    /// Whether \p address can be written down and read again.
    [[nodiscard]] constexpr bool has_place(std::uint64_t address) const {
        return address_in(with_address(address)) == address && (address & beyond_) == 0;
    }
    /// Whether a descriptor of \p level may map a block.
    [[nodiscard, gnu::always_inline]] constexpr bool may_be_block(std::uint64_t level) const {
        return (block_levels_ >> level & 1) != 0;
    }
    /// The bits that a plain descriptor does not have, of a table or of a page: addresses too high, or out of place.
    [[nodiscard]] constexpr std::uint64_t bad_address() const { return too_high() | out_of_place(); }
    /// Those that are too high, and in place.
    [[nodiscard]] constexpr std::uint64_t too_high() const { return beyond_ & narrow_address; }
    /// The bits in which a descriptor holds address bits that plain_target() would miss.
    [[nodiscard]] constexpr std::uint64_t out_of_place() const { return upper_; }
    /// Those that are out of place, but not too high: all that keeps a page from being plain that has them.
    [[nodiscard]] constexpr std::uint64_t merely_out_of_place() const {
        return upper_ & ~((beyond_ & in_place()) | (beyond_ >> moved_by & moved()));
    }

    /// What a descriptor is, before its address is looked at.
    enum class kind : std::uint8_t {
        invalid, ///< Nothing.
        table,   ///< Leads to a table.
        leaf,    ///< Maps a page or a block.
    };
    /// What descriptor \p e of \p level is (DDI 0487 D8.3.1).
    [[nodiscard]] constexpr kind kind_of(std::uint64_t level, std::uint64_t e) const {
        if ((e & 1) == 0) return kind::invalid;
        if (level == 0) return (e & 2) != 0 ? kind::leaf : kind::invalid;
        if ((e & 2) != 0) return kind::table;
        return may_be_block(level) ? kind::leaf : kind::invalid;
    }
    /// Whether the address of descriptor \p e, a leaf of \p level or a table, is too wide.
    [[nodiscard]] constexpr bool is_too_wide(std::uint64_t e, std::uint64_t level, bool leaf) const {
        return (address_in(e) & beyond_ & (leaf ? ~low_mask(shift(level)) : ~std::uint64_t{0})) != 0;
    }

private:
    // The address bits of a descriptor that are where they belong, and those that are not.
    [[nodiscard, gnu::always_inline]] constexpr std::uint64_t in_place() const { return narrow_address | (upper_ & ~moved_bits); }
    [[nodiscard, gnu::always_inline]] constexpr std::uint64_t moved() const { return upper_ & moved_bits; }

    [[nodiscard]] static constexpr std::uint64_t blocks(bool large) {
        if (G == granule::k4) return large ? 0b1110 : 0b0110;
        return large ? 0b110 : 0b010;
    }

    Output root_{};
    std::uint64_t top_;
    std::uint64_t block_levels_; // bit L: descriptors of level L may map a block
    std::uint64_t range_mask_;   // the bits of an input address that must all be alike
    std::uint64_t range_want_;
    std::uint64_t input_mask_;
    std::uint64_t upper_;  // the address bits of a descriptor that a narrow one does not have
    std::uint64_t beyond_; // address bits that no output may have
    std::uint64_t root_shift_{};
    std::uint64_t root_mask_{};
};

} // namespace smmu
} // namespace v0
} // namespace stagewalk
