/// \file
/// Second-stage tables (VT-d 3.7 and 9.8): 3 to 5 levels, pages of 4 KiB, 2 MiB and 1 GiB.
#pragma once

#include "../core/address.hpp"
#include "../core/field.hpp"
#include "../walk/stage.hpp"
#include "capabilities.hpp"
#include "policy.hpp"
#include "reason.hpp"
#include "root_table.hpp"

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

/// How a second stage is used. All but the policy is scalable mode's.
struct second_stage_options {
    policy rules{};          ///< The points that the manual leaves open.
    bool accessed_dirty{};   ///< SSADE: A and D are set.
    bool snoops{true};       ///< PWSNP: without, an A/D update that is due is a fault.
    bool memory_types{};     ///< EMTE: EMT and IPAT count.
    bool alternate_rights{}; ///< SSIRWE: bits 61 and 62 grant, not 0 and 1.

    /// Options are equal field by field.
    friend constexpr bool operator==(second_stage_options const&, second_stage_options const&) = default;
};

/// The second stage of one domain, in legacy or scalable mode.
///
/// The format's own bits of `attributes` stand where the page's entry has them: EMT 5:3, IPAT 6, SNP 11.
/// \tparam Input what it translates from: a device's address, or a guest-physical one under a first stage.
/// \tparam Output what it translates to, and the space of its tables.
/// \tparam Mode whose fault codes it has; what legacy mode lacks (A/D bits, other places for the rights) costs nothing there.
template <class Input = iova, class Output = ipa, table_mode Mode = table_mode::legacy>
class second_stage {
    static_assert(Mode == table_mode::legacy || Mode == table_mode::scalable);
    static constexpr bool scalable = Mode == table_mode::scalable;

public:
    using input = Input;   ///< What it translates from.
    using output = Output; ///< What it translates to, and the space of its tables.
    using code = reason;   ///< Its fault code.

    static constexpr fault_stage number = fault_stage::second; ///< It is a stage 2 by its format, wherever it is used.
    static constexpr unsigned levels_min = 3;                  ///< The shallowest tables.
    static constexpr unsigned levels_max = 5;                  ///< The deepest tables.

    /// What the entries so far grant together.
    struct path {
        std::uint64_t rights{~std::uint64_t{0}}; ///< The bits that all entries have set.
    };

    /// The fast lane: which bits of an entry to look at, and what they must be. Who needs nothing is not served here.
    struct fast_lane {
        std::uint64_t table_mask; ///< An entry that leads to a table: PS, what is reserved there, and what is wanted.
        std::uint64_t table_want; ///< The rights needed, and A where it is kept.
        std::uint64_t page_mask;  ///< An entry that maps 4 KiB: what is reserved there, and what is wanted.
        std::uint64_t page_want;  ///< The same as for a table, and D for a write where it is kept.
        second_stage const* of;   ///< For large pages.
        bool trusts;              ///< Reserved bits are not looked at.

        /// Whether entry \p e of \p level leads to a table and grants what is needed.
        [[nodiscard, gnu::always_inline]] constexpr bool leads_on(std::uint64_t, std::uint64_t e) const {
            return (e & table_mask) == table_want;
        }
        /// Whether entry \p e of \p level maps a page and grants what is needed.
        [[nodiscard, gnu::always_inline]] constexpr bool maps(std::uint64_t level, std::uint64_t e) const {
            if (level == 0) return (e & page_mask) == page_want;
            if (level > 2 || (page_want & ~page_mask) != 0 || !of->is_leaf(level, e)) return false;
            return (e & ((trusts ? 0 : of->reserved(level, true)) | page_want)) == page_want;
        }
    };

    /// \param caps the unit's capabilities. They must be free of contradiction().
    /// \param levels the depth of the tables, 3 to 5; anything else counts as the nearest of these.
    /// \param root the address of the top table; bits 11:0 and 63:52 are dropped.
    /// \param options how it is used.
    constexpr second_stage(capabilities const& caps, std::uint64_t levels, Output root, second_stage_options options = {})
        : root_{root.value & address_bits}, top_{(levels < 3   ? 3
                                                  : levels > 5 ? 5
                                                               : levels) -
                                                 1},
          last_input_{low_mask(caps.guest_address_width() < width() ? caps.guest_address_width() : width())},
          grants_at_{scalable && options.alternate_rights ? 61u : 0u},
          flags_{(caps.second_stage_2m() ? large_2m : 0) | (caps.second_stage_1g() ? large_1g : 0) |
                 (options.rules.second_stage_rights == rights_order::each_entry ? checks_each : 0) |
                 (options.rules.memory_type == reserved_memory_type::refused ? may_check_types : 0) |
                 (caps.cap.get<"ZLR">() != 0 ? zero_length_reads : 0)} {
        // Bits 51:HAW are address bits of the format that this host does not have.
        std::uint64_t const usable = grants_at_ != 0 ? bit_mask(62, 61) : 0;
        std::uint64_t const beyond = caps.beyond_host() & bit_mask(51, 12);
        bad_table_ = (second_stage_table_entry::reserved() & ~usable) | beyond;
        bad_page_ =
            (second_stage_page::reserved() & ~usable) | beyond | (caps.has<"SC">() ? 0 : second_stage_page::mask<"SNP">());
        keep(options.accessed_dirty, options.snoops, options.memory_types);
    }

    /// The same stage over other tables: a unit keeps one per depth and points it at a domain.
    [[nodiscard]] constexpr second_stage with_root(Output root) const {
        second_stage s = *this;
        s.root_ = Output{root.value & address_bits};
        return s;
    }

    /// The same stage over other tables, with what their PASID table entry says of A/D bits, snooping and memory types.
    [[nodiscard, gnu::always_inline]] constexpr second_stage with(Output root, bool accessed_dirty, bool snoops,
                                                                  bool memory_types) const requires scalable {
        second_stage s = *this;
        s.root_ = Output{root.value & address_bits};
        s.keep(accessed_dirty, snoops, memory_types);
        return s;
    }

    /// The top table.
    [[nodiscard]] constexpr Output root() const { return root_; }
    /// The level of the top table: 2, 3 or 4.
    [[nodiscard]] constexpr std::uint64_t top() const { return top_; }
    /// The width of the format's input address in bits (AGAW): 39, 48 or 57.
    [[nodiscard]] constexpr std::uint64_t width() const { return 12 + 9 * (top_ + 1); }
    /// The highest input address that is admitted: 2^min(MGAW, AGAW) - 1.
    [[nodiscard]] constexpr Input last_input() const { return Input{last_input_}; }
    /// The lg2 size that one entry of \p level spans.
    [[nodiscard]] static constexpr std::uint64_t shift(std::uint64_t level) { return 12 + 9 * level; }
    /// The index into a table of \p level.
    [[nodiscard]] static constexpr std::uint64_t index(std::uint64_t level, Input in) { return in.value >> shift(level) & 511; }

    /// Whether \p in is within min(MGAW, AGAW).
    [[nodiscard]] constexpr bool admits(Input in) const { return in.value <= last_input_; }
    /// The addresses that are.
    [[nodiscard]] constexpr ranges<Input, 1> admitted() const { return {{range<Input>::between(Input{0}, Input{last_input_})}}; }
    /// The fault of an address that is not.
    [[nodiscard]] constexpr reason refuse(Input) const {
        return scalable ? reason::input_beyond_second_stage : reason::address_beyond_width;
    }
    /// The fault of an entry of \p level that cannot be read.
    [[nodiscard]] constexpr reason unreadable(std::uint64_t level) const {
        if (scalable) return level == top_ ? reason::second_stage_root_unreadable : reason::second_stage_unreadable;
        return level == top_ ? reason::context_invalid : reason::table_unreadable;
    }

    /// The fast lane for a request that needs \p a.
    [[nodiscard, gnu::always_inline]] constexpr fast_lane lane(access a) const {
        return lane_over(bad_table_ | page_size, bad_page_, a, false);
    }
    /// The fast lane for tables that we wrote.
    [[nodiscard, gnu::always_inline]] constexpr fast_lane trusting_lane(access a) const {
        return lane_over(page_size, 0, a, true);
    }

    /// The law (VT-d 3.7 and chapter 7): presence, reserved bits, and after the leaf the rights of all levels together.
    [[nodiscard]] constexpr judgement<reason> judge(step const& at, access a, path& p, step& denied) const {
        using answer = judgement<reason>;
        std::uint64_t const e = at.entry;
        std::uint64_t const here = granted(e);
        std::uint64_t const need = needs(a);
        if (here == 0) return answer::refuse(absence(need), fault_at::input, at);
        // The first entry to blame; one that withholds writing before one that withholds only reading, as in the code.
        std::uint64_t const missing = need & ~here;
        if (missing != 0 && (denied == no_step || (missing & granted(denied.entry) & write.bits) != 0)) denied = at;
        if ((flags_ & checks_each) != 0 && (need & ~here) != 0 && !flushes(a, here))
            return answer::refuse(denial(need & ~here), fault_at::input, at);
        bool const leaf = is_leaf(at.level, e);
        if ((e & reserved(at.level, leaf)) != 0 || (leaf && has_bad_type(e)))
            return answer::refuse(reserved_code(), fault_at::table, at);
        carry(p, e);
        if (!leaf) return answer::table(at.level - 1);
        std::uint64_t const together = granted(p.rights);
        if (together == 0 && (scalable || a.covers(inquiring)) && a != none)
            return answer::refuse(absence(need), fault_at::input, denied == no_step ? at : denied);
        if ((need & ~together) != 0 && !flushes(a, together))
            return answer::refuse(denial(need & ~together), fault_at::input, denied);
        return answer::leaf(leaf_size(at.level, e));
    }

    /// Entry \p at after its use: A, and D in the leaf of a write that is granted, where SSADE has them kept.
    [[nodiscard]] constexpr std::uint64_t marked(step const& at, access a, path const& p, bool leaf) const requires scalable {
        if (!keeps_accessed_dirty() || a == none) return at.entry;
        bool const writes = leaf && a.covers(write) && (granted(p.rights) & write.bits) != 0;
        return at.entry | accessed | (writes ? dirty : 0);
    }
    /// Whether entries can be updated: the walk snoops.
    [[nodiscard]] constexpr bool may_update() const { return (flags_ & walks_snoop) != 0; }
    /// The fault where they cannot and an update is due.
    [[nodiscard]] constexpr reason update_refused() const { return reason::second_stage_update_unsnooped; }
    /// The fault of an update that failed.
    [[nodiscard]] constexpr reason update_failed() const { return reason::second_stage_update_failed; }
    /// Whether A and D are kept: then a read of a table that this stage translates counts as a write.
    [[nodiscard]] constexpr bool keeps_accessed_dirty() const { return kept_ != 0; }

    /// Adds what \p e grants to the path.
    [[gnu::always_inline]] static constexpr void carry(path& p, std::uint64_t e) { p.rights &= e; }
    /// The lg2 size of the page that an entry of \p level maps.
    [[nodiscard]] static constexpr std::uint64_t leaf_size(std::uint64_t level, std::uint64_t) { return shift(level); }
    /// The table that an entry leads to.
    [[nodiscard]] static constexpr Output target(std::uint64_t e) { return Output{e & address_bits}; }
    /// The page of 2^\p lg2 bytes that an entry maps.
    [[nodiscard]] static constexpr Output leaf_output(std::uint64_t e, std::uint64_t lg2) {
        return Output{e & address_bits & ~low_mask(lg2)};
    }
    /// The effective attributes of the page that \p e maps.
    [[nodiscard]] constexpr attributes leaf_attributes(std::uint64_t e, std::uint64_t, path const& p, access a) const {
        return attributes::from_bits((granted(p.rights) & ~(is_kept_clean(e, a) ? write.bits : 0)) | (e & format_bits));
    }

    /// Whether \p e is anything but absent.
    [[nodiscard]] constexpr bool is_present(std::uint64_t e) const { return granted(e) != 0; }
    /// The page sizes that the unit supports, bit lg2 set for each.
    [[nodiscard]] constexpr std::uint64_t sizes() const {
        return 1u << 12 | (flags_ & large_2m) << 20 | (flags_ & large_1g) << 28;
    }
    /// The level whose entries map pages of 2^\p lg2 bytes.
    [[nodiscard]] static constexpr std::uint64_t leaf_level(std::uint64_t lg2) { return (lg2 - 12) / 9; }
    /// Whether a page at \p o with attributes \p at can be written down: a right at all, an address and bits that the
    /// unit has.
    [[nodiscard]] constexpr bool can_encode(Output o, attributes at) const {
        std::uint64_t const e = o.value | at.format_bits();
        return (at.bits & read_write.bits) != 0 && (at.bits & ~(read_write.bits | format_bits)) == 0 && (e & bad_page_) == 0 &&
               (o.value & ~address_bits) == 0;
    }
    /// The entry that maps the page of 2^\p lg2 bytes at \p o; A and D are left to the unit.
    [[nodiscard]] constexpr std::uint64_t make_leaf(Output o, std::uint64_t lg2, attributes at) const {
        return o.value | (at.bits & read_write.bits) << grants_at() | (at.bits & format_bits) | (lg2 > 12 ? page_size : 0);
    }
    /// The entry that leads to the table at \p o; rights are left to the leaves.
    [[nodiscard]] constexpr std::uint64_t make_table(Output o, std::uint64_t) const {
        return o.value | read_write.bits << grants_at();
    }

    /// The reserved bits of an entry of \p level.
    [[nodiscard]] constexpr std::uint64_t reserved(std::uint64_t level, bool leaf) const {
        if (!leaf || level >= 3) return bad_table_ | (has_large(level) ? 0 : page_size);
        return bad_page_ | (low_mask(shift(level)) & ~low_mask(12));
    }
    /// Whether a present entry of \p level maps a page.
    [[nodiscard]] constexpr bool is_leaf(std::uint64_t level, std::uint64_t e) const {
        return level == 0 || (has_large(level) && (e & page_size) != 0);
    }

    /// Stages are equal that translate alike.
    friend constexpr bool operator==(second_stage const&, second_stage const&) = default;

private:
    static constexpr std::uint64_t page_size = second_stage_table_entry::mask<"PS">();
    static constexpr std::uint64_t accessed = second_stage_page::mask<"A">();
    static constexpr std::uint64_t dirty = second_stage_page::mask<"D">();
    static constexpr std::uint64_t address_bits = second_stage_page::mask<"ADDR">();
    static constexpr std::uint64_t format_bits =
        second_stage_page::mask<"EMT">() | second_stage_page::mask<"IPAT">() | second_stage_page::mask<"SNP">();
    static_assert(((second_stage_upper_entry::reserved() | second_stage_page::reserved() |
                    second_stage_large_page<30>::reserved() | second_stage_page::mask<"SNP">() | page_size | accessed | dirty |
                    read_write.bits) &
                   inquiring.bits) == 0,
                  "the fast lane refuses who only asks by wanting a bit that it never looks at");
    static_assert(second_stage_upper_entry::reserved() == (second_stage_table_entry::reserved() | page_size) &&
                      second_stage_large_page<21>::reserved() == (second_stage_page::reserved() | bit_mask(20, 12)) &&
                      second_stage_large_page<30>::reserved() == (second_stage_page::reserved() | bit_mask(29, 12)),
                  "what is reserved follows from what is reserved in an entry that leads on and in a small page");
    static_assert(second_stage_page::mask<"R">() == read.bits && second_stage_page::mask<"W">() == write.bits,
                  "the rights of an access have the order of those of an entry");

    // Flags, in one word: a stage is copied for each request, and a byte stored into what is copied as words stalls.
    static constexpr std::uint64_t large_2m = 1u << 1;        // entries of level 1 may map a page
    static constexpr std::uint64_t large_1g = 1u << 2;        // those of level 2
    static constexpr std::uint64_t walks_snoop = 1u << 3;     // PWSNP
    static constexpr std::uint64_t checks_each = 1u << 4;     // rights are looked at in each entry
    static constexpr std::uint64_t may_check_types = 1u << 6; // reserved memory types are refused where types count
    static constexpr std::uint64_t zero_length_reads = 1u << 7;
    // Reserved memory types are refused here. The fast lane does not look at types: it wants this bit, as of who only asks.
    static constexpr std::uint64_t checks_types = inquiring.bits;
    static_assert(checks_types == 1u << 5);

    // The rights that an entry grants, in the positions of `access`.
    [[nodiscard, gnu::always_inline]] constexpr std::uint64_t granted(std::uint64_t e) const {
        return e >> grants_at() & read_write.bits;
    }
    // The format knows no execute right: fetching is reading. Who only asks needs nothing.
    [[nodiscard]] static constexpr std::uint64_t needs(access a) { return a.covers(inquiring) ? 0 : fetching_reads(a); }
    [[nodiscard]] static constexpr std::uint64_t fetching_reads(access a) {
        return (a.bits & read_write.bits) | (a.bits & execute.bits) / execute.bits;
    }
    // The position of the R bit; W is the next.
    [[nodiscard, gnu::always_inline]] constexpr std::uint64_t grants_at() const { return scalable ? grants_at_ : 0; }
    // What the fast lane wants of an entry that it must not take: all bits set. No mask has the bits that software may use, so
    // no entry under a mask equals it.
    static constexpr std::uint64_t nothing_at_all = ~std::uint64_t{0};

    [[nodiscard, gnu::always_inline]] constexpr fast_lane lane_over(std::uint64_t bad_table, std::uint64_t bad_page, access a,
                                                                    bool trusts) const {
        // Who needs nothing, or only asks, is not served.
        std::uint64_t const need = fetching_reads(a);
        std::uint64_t const asks = a.bits & inquiring.bits;
        std::uint64_t table = need;
        std::uint64_t page = need;
        if constexpr (scalable) {
            table = need << grants_at() | (kept_ & accessed);
            page = table | (a.covers(write) ? kept_ : 0);
        }
        return {bad_table | table,
                (need == 0 ? nothing_at_all : table) | asks,
                bad_page | page,
                (need == 0 ? nothing_at_all : page) | asks | refused_types(),
                this,
                trusts};
    }
    [[nodiscard, gnu::always_inline]] constexpr std::uint64_t refused_types() const {
        return scalable ? flags_ & checks_types : 0;
    }
    // Who only asks, and not for writing, leaves D as it is: writing to a page whose D is kept and clear would go unseen.
    [[nodiscard, gnu::always_inline]] constexpr bool is_kept_clean(std::uint64_t e, access a) const {
        if constexpr (!scalable) return false;
        return (a.bits & (inquiring.bits | write.bits)) == inquiring.bits && (~e & kept_ & dirty) != 0;
    }
    [[gnu::always_inline]] constexpr void keep(bool accessed_dirty, bool snoops, bool memory_types) {
        kept_ = scalable && accessed_dirty ? accessed | dirty : 0;
        flags_ = (flags_ & ~(walks_snoop | checks_types)) | (snoops ? walks_snoop : 0) |
                 (scalable && memory_types && (flags_ & may_check_types) != 0 ? checks_types : 0);
    }
    [[nodiscard]] constexpr bool has_large(std::uint64_t level) const { return level < 3 && (flags_ >> level & 1) != 0; }
    [[nodiscard]] constexpr reason absence(std::uint64_t need) const {
        return scalable ? reason::second_stage_not_present : denial(need);
    }
    [[nodiscard]] constexpr reason denial(std::uint64_t missing) const {
        bool const writes = (missing & write.bits) != 0;
        if (scalable) return writes ? reason::scalable_write_denied : reason::scalable_read_denied;
        return writes ? reason::write_denied : reason::read_denied;
    }
    [[nodiscard]] constexpr reason reserved_code() const {
        return scalable ? reason::second_stage_reserved : reason::table_reserved;
    }
    // A zero-length read is content with either right where CAP.ZLR says so.
    [[nodiscard]] constexpr bool flushes(access a, std::uint64_t rights) const {
        return (flags_ & zero_length_reads) != 0 && a.covers(read | zero_length) && !a.covers(write) && rights != 0;
    }
    [[nodiscard]] constexpr bool has_bad_type(std::uint64_t e) const {
        std::uint64_t const type = second_stage_page{e}.get<"EMT">();
        return (flags_ & checks_types) != 0 && (type == 2 || type == 3 || type == 7);
    }

    Output root_;
    std::uint64_t top_;
    std::uint64_t last_input_;
    std::uint64_t bad_table_{};
    std::uint64_t bad_page_{};
    std::uint64_t kept_{};    // A and D, where they are kept
    std::uint64_t grants_at_; // the position of the R bit
    std::uint64_t flags_;
};

} // namespace vtd
} // namespace v0
} // namespace stagewalk
