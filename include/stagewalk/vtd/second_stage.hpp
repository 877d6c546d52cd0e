/// \file
/// Second-stage tables (VT-d 3.7 and 9.8): 3 to 5 levels, pages of 4 KiB, 2 MiB and 1 GiB.
#pragma once

#include "../core/address.hpp"
#include "../core/field.hpp"
#include "../walk/stage.hpp"
#include "capabilities.hpp"
#include "policy.hpp"
#include "reason.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace vtd {

/// PML5E and PML4E: they never map a page, bit 7 is reserved.
struct second_stage_upper_entry : entry<64,                            // bits
                                        field<"R", 0>,                 // grants reading
                                        field<"W", 1>,                 // grants writing; R = W = 0: not present
                                        ignored_field<"IGN", 6, 2>,    // for software
                                        field<"A", 8>,                 // accessed; ignored in legacy mode
                                        ignored_field<"IGN", 10, 9>,   // for software
                                        pointer_field<"ADDR", 51, 12>, // the next table, 4 KiB; bits 51:HAW are reserved
                                        ignored_field<"IGN", 61, 52>,  // for software
                                        ignored_field<"IGN", 63>       // for software
                                        > {
    using entry::entry;
};

/// PDPE and PDE that lead to a table.
struct second_stage_table_entry : entry<64,                            // bits
                                        field<"R", 0>,                 // grants reading
                                        field<"W", 1>,                 // grants writing; R = W = 0: not present
                                        ignored_field<"IGN", 6, 2>,    // for software
                                        field<"PS", 7>,                // page size: 0, this entry leads to a table
                                        field<"A", 8>,                 // accessed; ignored in legacy mode
                                        ignored_field<"IGN", 10, 9>,   // for software
                                        pointer_field<"ADDR", 51, 12>, // the next table, 4 KiB; bits 51:HAW are reserved
                                        ignored_field<"IGN", 61, 52>,  // for software
                                        ignored_field<"IGN", 63>       // for software
                                        > {
    using entry::entry;
};

/// PDPE that maps 1 GiB (\p Lg2 = 30) or PDE that maps 2 MiB (\p Lg2 = 21).
template <unsigned Lg2>
struct second_stage_large_page : entry<64,                             // bits
                                       field<"R", 0>,                  // grants reading
                                       field<"W", 1>,                  // grants writing; R = W = 0: not present
                                       ignored_field<"IGN", 2>,        // for software
                                       field<"EMT", 5, 3>,             // memory type; ignored in legacy mode
                                       field<"IPAT", 6>,               // ignore PAT; ignored in legacy mode
                                       field<"PS", 7>,                 // page size: 1, this entry maps a page
                                       field<"A", 8>,                  // accessed; ignored in legacy mode
                                       field<"D", 9>,                  // dirty; ignored in legacy mode
                                       ignored_field<"IGN", 10>,       // for software
                                       field<"SNP", 11>,               // snoop; reserved without ECAP.SC
                                       pointer_field<"ADDR", 51, Lg2>, // the page; bits 51:HAW are reserved
                                       ignored_field<"IGN", 61, 52>,   // for software
                                       ignored_field<"IGN", 63>        // for software
                                       > {
    using second_stage_large_page::entry::entry;
};

/// PTE: maps 4 KiB. Bit 7 is ignored, not PS.
struct second_stage_page : entry<64,                            // bits
                                 field<"R", 0>,                 // grants reading
                                 field<"W", 1>,                 // grants writing; R = W = 0: not present
                                 ignored_field<"IGN", 2>,       // for software
                                 field<"EMT", 5, 3>,            // memory type; ignored in legacy mode
                                 field<"IPAT", 6>,              // ignore PAT; ignored in legacy mode
                                 ignored_field<"IGN", 7>,       // no page size here: every entry maps a page
                                 field<"A", 8>,                 // accessed; ignored in legacy mode
                                 field<"D", 9>,                 // dirty; ignored in legacy mode
                                 ignored_field<"IGN", 10>,      // for software
                                 field<"SNP", 11>,              // snoop; reserved without ECAP.SC
                                 pointer_field<"ADDR", 51, 12>, // the page; bits 51:HAW are reserved
                                 ignored_field<"IGN", 61, 52>,  // for software
                                 ignored_field<"IGN", 63>       // for software
                                 > {
    using entry::entry;
};

/// The second stage of one domain.
///
/// The format's own bits of `attributes` stand where the page's entry has them: EMT 5:3, IPAT 6, SNP 11.
/// \tparam Input what it translates from: a device's address in legacy mode, a guest-physical one under a first stage.
/// \tparam Output what it translates to, and the space of its tables.
template <class Input = iova, class Output = ipa> class second_stage {
public:
    using input = Input;   ///< What it translates from.
    using output = Output; ///< What it translates to, and the space of its tables.
    using code = reason;   ///< Its fault code.

    static constexpr fault_stage number = fault_stage::second; ///< It is a stage 2 by its format, wherever it is used.
    static constexpr unsigned levels_min = 3;                  ///< The shallowest tables.
    static constexpr unsigned levels_max = 5;                  ///< The deepest tables.

    /// What the entries so far grant together.
    struct path {
        std::uint64_t rights{read_write.bits}; ///< R and W, where the entries have them.
    };

    /// The fast lane: which bits of an entry to look at, and what they must be. Who needs nothing is not served here.
    struct fast_lane {
        std::uint64_t
            table_mask;          ///< An entry that leads to a table: PS, what is reserved there, and the rights needed.
        std::uint64_t page_mask; ///< An entry that maps 4 KiB: what is reserved there, and the rights needed.
        std::uint64_t want;      ///< What is to be found: exactly the rights needed.
        second_stage const* of;  ///< For large pages.
        bool trusts;             ///< Reserved bits are not looked at.

        /// Whether entry \p e of \p level leads to a table and grants what is needed.
        [[nodiscard, gnu::always_inline]] constexpr bool leads_on(std::uint64_t, std::uint64_t e) const {
            return (e & table_mask) == want;
        }
        /// Whether entry \p e of \p level maps a page and grants what is needed.
        [[nodiscard, gnu::always_inline]] constexpr bool maps(std::uint64_t level, std::uint64_t e) const {
            if (level == 0) return (e & page_mask) == want;
            if (level > 2 || !of->is_leaf(level, e)) return false;
            return (e & ((trusts ? 0 : of->reserved(level, true)) | (want & read_write.bits))) == want;
        }
    };

    /// \param caps the unit's capabilities. They must be free of contradiction().
    /// \param levels the depth of the tables, 3 to 5; anything else counts as the nearest of these.
    /// \param root the address of the top table; bits 11:0 and 63:52 are dropped.
    /// \param rules how points are decided that the manual leaves open.
    constexpr second_stage(capabilities const& caps, std::uint64_t levels, Output root, policy rules = {})
        : root_{root.value & address_bits}, top_{(levels < 3   ? 3
                                                  : levels > 5 ? 5
                                                               : levels) -
                                                 1},
          last_input_{low_mask(caps.guest_address_width() < width() ? caps.guest_address_width() : width())},
          zero_length_reads_{caps.cap.get<"ZLR">()}, rules_{rules} {
        // Bits 51:HAW are address bits of the format that this host does not have.
        std::uint64_t const beyond = caps.beyond_host() & bit_mask(51, 12);
        std::uint64_t const no_snoop = caps.ecap.get<"SC">() != 0 ? 0 : second_stage_page::mask<"SNP">();
        bad_upper_ = second_stage_upper_entry::reserved() | beyond;
        bad_table_ = second_stage_table_entry::reserved() | beyond;
        bad_page_ = second_stage_page::reserved() | beyond | no_snoop;
        bad_2m_ = second_stage_large_page<21>::reserved() | beyond | no_snoop;
        bad_1g_ = second_stage_large_page<30>::reserved() | beyond | no_snoop;
        large_ = (caps.second_stage_2m() ? 1u << 1 : 0u) | (caps.second_stage_1g() ? 1u << 2 : 0u);
    }

    /// The same stage over other tables: a unit keeps one per depth and points it at a domain.
    [[nodiscard]] constexpr second_stage with_root(Output root) const {
        second_stage s = *this;
        s.root_ = output{root.value & address_bits};
        return s;
    }

    /// The top table.
    [[nodiscard]] constexpr Output root() const { return root_; }
    /// The level of the top table: 2, 3 or 4.
    [[nodiscard]] constexpr std::uint64_t top() const { return top_; }
    /// The width of the format's input address in bits (AGAW): 39, 48 or 57.
    [[nodiscard]] constexpr std::uint64_t width() const { return 12 + 9 * (top_ + 1); }
    /// The lg2 size that one entry of \p level spans.
    [[nodiscard]] static constexpr std::uint64_t shift(std::uint64_t level) { return 12 + 9 * level; }
    /// The index into a table of \p level.
    [[nodiscard]] static constexpr std::uint64_t index(std::uint64_t level, Input in) {
        return in.value >> shift(level) & 511;
    }

    /// Whether \p in is within min(MGAW, AGAW).
    [[nodiscard]] constexpr bool admits(Input in) const { return in.value <= last_input_; }
    /// The addresses that are.
    [[nodiscard]] constexpr ranges<Input, 1> admitted() const {
        return {{range<Input>::between(Input{0}, Input{last_input_})}};
    }
    /// The fault of an address that is not.
    [[nodiscard]] constexpr reason refuse(Input) const { return reason::address_beyond_width; }
    /// The fault of an entry of \p level that cannot be read.
    [[nodiscard]] constexpr reason unreadable(std::uint64_t level) const {
        return level == top_ ? reason::context_invalid : reason::table_unreadable;
    }

    /// The fast lane for a request that needs \p a.
    [[nodiscard, gnu::always_inline]] constexpr fast_lane lane(access a) const {
        std::uint64_t const need = needs(a);
        return {bad_table_ | page_size | need, bad_page_ | need, need != 0 ? need : ~std::uint64_t{0}, this, false};
    }
    /// The fast lane for tables that we wrote.
    [[nodiscard, gnu::always_inline]] constexpr fast_lane trusting_lane(access a) const {
        std::uint64_t const need = needs(a);
        return {page_size | need, need, need != 0 ? need : ~std::uint64_t{0}, this, true};
    }

    /// The law (VT-d 3.7 and chapter 7): presence, reserved bits, and after the leaf the rights of all levels together.
    [[nodiscard]] constexpr judgement<reason> judge(step const& at, access a, path& p, step& denied) const {
        std::uint64_t const e = at.entry;
        std::uint64_t const need = needs(a);
        if ((e & read_write.bits) == 0) return judgement<reason>::refuse(denial(need), fault_at::input, at);
        if (denied == no_step && (need & ~e) != 0) denied = at;
        if (rules_.second_stage_rights == rights_order::each_entry && (need & ~e) != 0 && !flushes(a, e))
            return judgement<reason>::refuse(denial(need & ~e), fault_at::input, at);
        bool const leaf = is_leaf(at.level, e);
        if ((e & reserved(at.level, leaf)) != 0)
            return judgement<reason>::refuse(reason::table_reserved, fault_at::table, at);
        carry(p, e);
        if (!leaf) return judgement<reason>::table(next_level(at.level, e));
        if ((need & ~p.rights) != 0 && !flushes(a, p.rights))
            return judgement<reason>::refuse(denial(need & ~p.rights), fault_at::input, denied);
        return judgement<reason>::leaf(leaf_size(at.level, e));
    }

    /// Adds what \p e grants to the path.
    [[gnu::always_inline]] static constexpr void carry(path& p, std::uint64_t e) { p.rights &= e; }
    /// The level of the table that an entry of \p level leads to.
    [[nodiscard]] static constexpr std::uint64_t next_level(std::uint64_t level, std::uint64_t) { return level - 1; }
    /// The lg2 size of the page that an entry of \p level maps.
    [[nodiscard]] static constexpr std::uint64_t leaf_size(std::uint64_t level, std::uint64_t) { return shift(level); }
    /// The table that an entry leads to.
    [[nodiscard]] static constexpr Output target(std::uint64_t e) { return Output{e & address_bits}; }
    /// The page of 2^\p lg2 bytes that an entry maps.
    [[nodiscard]] static constexpr Output leaf_output(std::uint64_t e, std::uint64_t lg2) {
        return Output{e & address_bits & ~low_mask(lg2)};
    }
    /// The effective attributes of the page that \p e maps.
    [[nodiscard]] static constexpr attributes leaf_attributes(std::uint64_t e, path const& p) {
        return attributes::from_bits((p.rights & read_write.bits) | (e & format_bits));
    }

    /// Whether \p e is anything but absent.
    [[nodiscard]] static constexpr bool is_present(std::uint64_t e) { return (e & read_write.bits) != 0; }
    /// The page sizes that the unit supports, bit lg2 set for each.
    [[nodiscard]] constexpr std::uint64_t sizes() const {
        return 1u << 12 | (large_ & 1u << 1) << 20 | (large_ & 1u << 2) << 28;
    }
    /// The level whose entries map pages of 2^\p lg2 bytes.
    [[nodiscard]] static constexpr std::uint64_t leaf_level(std::uint64_t lg2) { return (lg2 - 12) / 9; }
    /// Whether a page at \p o with attributes \p at can be written down: a right at all, an address and bits that the
    /// unit has.
    [[nodiscard]] constexpr bool can_encode(Output o, attributes at) const {
        std::uint64_t const e = o.value | at.bits;
        return (at.bits & read_write.bits) != 0 && (at.bits & ~(read_write.bits | format_bits)) == 0 &&
               (e & bad_page_) == 0 && (o.value & ~address_bits) == 0;
    }
    /// The entry that maps the page of 2^\p lg2 bytes at \p o.
    [[nodiscard]] static constexpr std::uint64_t make_leaf(Output o, std::uint64_t lg2, attributes at) {
        return o.value | (at.bits & (read_write.bits | format_bits)) | (lg2 > 12 ? page_size : 0);
    }
    /// The entry that leads to the table at \p o; rights are left to the leaves.
    [[nodiscard]] static constexpr std::uint64_t make_table(Output o) { return o.value | read_write.bits; }

    /// The reserved bits of an entry of \p level.
    [[nodiscard]] constexpr std::uint64_t reserved(std::uint64_t level, bool leaf) const {
        if (level >= 3) return bad_upper_;
        if (!leaf) return bad_table_ | ((large_ >> level & 1) != 0 ? 0 : page_size);
        return level == 0 ? bad_page_ : level == 1 ? bad_2m_ : bad_1g_;
    }
    /// Whether a present entry of \p level maps a page.
    [[nodiscard]] constexpr bool is_leaf(std::uint64_t level, std::uint64_t e) const {
        return level == 0 || ((large_ >> level & 1) != 0 && (e & page_size) != 0);
    }

    /// Stages are equal that translate alike.
    friend constexpr bool operator==(second_stage const&, second_stage const&) = default;

private:
    static constexpr std::uint64_t page_size = second_stage_table_entry::mask<"PS">();
    static constexpr std::uint64_t address_bits = second_stage_page::mask<"ADDR">();
    static constexpr std::uint64_t format_bits =
        second_stage_page::mask<"EMT">() | second_stage_page::mask<"IPAT">() | second_stage_page::mask<"SNP">();
    static_assert(second_stage_page::mask<"R">() == read.bits && second_stage_page::mask<"W">() == write.bits,
                  "the rights of an access are compared with entries as they are");

    // The format knows no execute right: fetching is reading.
    [[nodiscard]] static constexpr std::uint64_t needs(access a) {
        return (a.bits & read_write.bits) | (a.bits & execute.bits) / execute.bits;
    }
    [[nodiscard]] static constexpr reason denial(std::uint64_t missing) {
        return (missing & write.bits) != 0 ? reason::write_denied : reason::read_denied;
    }
    // A zero-length read is content with either right where CAP.ZLR says so.
    [[nodiscard]] constexpr bool flushes(access a, std::uint64_t rights) const {
        return zero_length_reads_ != 0 && a.covers(read | zero_length) && !a.covers(write) &&
               (rights & read_write.bits) != 0;
    }

    Output root_;
    std::uint64_t top_;
    std::uint64_t last_input_;
    std::uint64_t bad_upper_{};
    std::uint64_t bad_table_{};
    std::uint64_t bad_page_{};
    std::uint64_t bad_2m_{};
    std::uint64_t bad_1g_{};
    std::uint64_t large_{}; // bit L: entries of level L may map a page
    std::uint64_t zero_length_reads_;
    policy rules_;
};

} // namespace vtd
} // namespace v0
} // namespace stagewalk
