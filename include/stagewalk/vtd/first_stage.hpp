/// \file
/// First-stage tables (VT-d 3.6 and 9.7): the processor's long-mode format, 4 or 5 levels, pages of 4 KiB, 2 MiB, 1 GiB.
#pragma once

#include "../core/address.hpp"
#include "../core/field.hpp"
#include "../walk/stage.hpp"
#include "capabilities.hpp"
#include "reason.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace vtd {

/// PML5E and PML4E: they never map a page, bit 7 is reserved.
struct first_stage_upper_entry : entry<64, field<"P", 0>,             // present
                                       field<"R/W", 1>,               // writing is granted
                                       field<"U/S", 2>,               // user requests are granted
                                       ignored_field<"IGN", 4, 3>,    //
                                       field<"A", 5>,                 // accessed
                                       ignored_field<"IGN", 6>,       //
                                       ignored_field<"IGN", 9, 8>,    //
                                       field<"EA", 10>,               // extended accessed, with EAFE
                                       ignored_field<"IGN", 11>,      //
                                       pointer_field<"ADDR", 51, 12>, // the next table
                                       ignored_field<"IGN", 63, 52>   //
                                       > {
    using entry::entry;
};

/// PDPE and PDE that lead to a table.
struct first_stage_table_entry : entry<64, field<"P", 0>,             // present
                                       field<"R/W", 1>,               // writing is granted
                                       field<"U/S", 2>,               // user requests are granted
                                       ignored_field<"IGN", 4, 3>,    //
                                       field<"A", 5>,                 // accessed
                                       ignored_field<"IGN", 6>,       //
                                       field<"PS", 7>,                // 0: leads to a table
                                       ignored_field<"IGN", 9, 8>,    //
                                       field<"EA", 10>,               // extended accessed, with EAFE
                                       ignored_field<"IGN", 11>,      //
                                       pointer_field<"ADDR", 51, 12>, // the next table
                                       ignored_field<"IGN", 63, 52>   //
                                       > {
    using entry::entry;
};

/// PDPE that maps 1 GiB (\p Lg2 = 30) or PDE that maps 2 MiB (\p Lg2 = 21).
template <unsigned Lg2>
struct first_stage_large_page : entry<64, field<"P", 0>,              // present
                                      field<"R/W", 1>,                // writing is granted
                                      field<"U/S", 2>,                // user requests are granted
                                      field<"PWT", 3>,                // memory type, index bit 0
                                      field<"PCD", 4>,                // memory type, index bit 1
                                      field<"A", 5>,                  // accessed
                                      field<"D", 6>,                  // dirty
                                      field<"PS", 7>,                 // 1: maps a page
                                      ignored_field<"G", 8>,          // there are no global entries
                                      ignored_field<"IGN", 9>,        //
                                      field<"EA", 10>,                // extended accessed, with EAFE
                                      ignored_field<"IGN", 11>,       //
                                      field<"PAT", 12>,               // memory type, index bit 2
                                      pointer_field<"ADDR", 51, Lg2>, // the page
                                      ignored_field<"IGN", 63, 52>    //
                                      > {
    using first_stage_large_page::entry::entry;
};

/// PTE: maps 4 KiB. Bit 7 is PAT, not PS.
struct first_stage_page : entry<64, field<"P", 0>,             // present
                                field<"R/W", 1>,               // writing is granted
                                field<"U/S", 2>,               // user requests are granted
                                field<"PWT", 3>,               // memory type, index bit 0
                                field<"PCD", 4>,               // memory type, index bit 1
                                field<"A", 5>,                 // accessed
                                field<"D", 6>,                 // dirty
                                field<"PAT", 7>,               // memory type, index bit 2
                                ignored_field<"G", 8>,         // there are no global entries
                                ignored_field<"IGN", 9>,       //
                                field<"EA", 10>,               // extended accessed, with EAFE
                                ignored_field<"IGN", 11>,      //
                                pointer_field<"ADDR", 51, 12>, // the page
                                ignored_field<"IGN", 63, 52>   //
                                > {
    using entry::entry;
};

/// What a PASID table entry says of its first stage.
struct first_stage_options {
    bool write_protect{};     ///< WPE: R/W binds privileged requests too.
    bool extended_accessed{}; ///< EAFE: EA is set with A.
    bool snoops{true};        ///< PWSNP: without, an A/D update that is due is a fault.
    /// Nested: the addresses of its entries must be below 2^this (min of MGAW and AGAW of the second stage); else 64.
    std::uint64_t output_width{64};

    /// Options are equal field by field.
    friend constexpr bool operator==(first_stage_options const&, first_stage_options const&) = default;
};

/// The first stage of one address space. A, EA and D are set unconditionally; the fast lane takes entries that have
/// them already.
///
/// The format's own bits of `attributes`: PWT 3, PCD 4, PAT 7 (also for large pages), and 5 = for privileged requests
/// only (U/S = 0).
/// \tparam Input what it translates from.
/// \tparam Output what it translates to, and the space of its tables; a guest's addresses if nested.
template <class Input = iova, class Output = pa>
class first_stage {
    using page_entry = first_stage_page;

public:
    using input = Input;   ///< What it translates from.
    using output = Output; ///< What it translates to, and the space of its tables.
    using code = reason;   ///< Its fault code.

    static constexpr fault_stage number = fault_stage::first; ///< It is a stage 1.
    static constexpr unsigned levels_min = 4;                 ///< The shallowest tables.
    static constexpr unsigned levels_max = 5;                 ///< The deepest tables.
    /// Format bit of `attributes`: only privileged requests are granted (U/S = 0).
    static constexpr std::uint64_t privileged_only = 1u << 5;

    /// What the entries so far grant together.
    struct path {
        std::uint64_t rights{~std::uint64_t{0}}; ///< R/W and U/S, where the entries have them.
    };

    /// The fast lane: which bits of an entry to look at, and what they must be.
    struct fast_lane {
        std::uint64_t table_mask; ///< An entry that leads to a table: what is reserved there, and what is wanted.
        std::uint64_t table_want; ///< P, the rights needed, A (and EA) set already.
        std::uint64_t page_mask;  ///< An entry that maps 4 KiB: what is reserved there, and what is wanted.
        std::uint64_t page_want;  ///< The same as for a table, and D for a write.
        first_stage const* of;    ///< For large pages.
        bool trusts;              ///< Reserved bits are not looked at.

        /// Whether entry \p e of \p level leads to a table and grants what is needed.
        [[nodiscard, gnu::always_inline]] constexpr bool leads_on(std::uint64_t, std::uint64_t e) const {
            return (e & table_mask) == table_want;
        }
        /// Whether entry \p e of \p level maps a page and grants what is needed.
        [[nodiscard, gnu::always_inline]] constexpr bool maps(std::uint64_t level, std::uint64_t e) const {
            if (level == 0) return (e & page_mask) == page_want;
            if (level > 2 || page_want == nothing_at_all || !of->is_leaf(level, e)) return false;
            return (e & ((trusts ? 0 : of->reserved(level, true) | of->beyond_second_stage_) | page_want)) == page_want;
        }
    };

    /// \param caps the unit's capabilities. They must be free of contradiction().
    /// \param levels the depth of the tables, 4 or 5.
    /// \param root the 4 KiB aligned address of the top table.
    /// \param options what the PASID table entry says.
    constexpr first_stage(capabilities const& caps, std::uint64_t levels, Output root, first_stage_options options = {})
        : root_{root.value & address_bits}, top_{levels == 5 ? 4u : 3u}, beyond_host_{caps.beyond_host() & bit_mask(51, 12)},
          beyond_second_stage_{~low_mask(options.output_width) & address_bits}, flags_{flags_of(options) |
                                                                                       (caps.cap.get<"FS1GP">() != 0 ? large_1g
                                                                                                                     : 0)} {}

    /// The same stage over other tables.
    [[nodiscard]] constexpr first_stage with_root(Output root) const {
        first_stage s = *this;
        s.root_ = Output{root.value & address_bits};
        return s;
    }

    /// The same stage over other tables, with what their PASID table entry says: a unit keeps one per depth.
    [[nodiscard, gnu::always_inline]] constexpr first_stage with(Output root, first_stage_options options) const {
        first_stage s = *this;
        s.root_ = Output{root.value & address_bits};
        s.beyond_second_stage_ = ~low_mask(options.output_width) & address_bits;
        s.flags_ = (flags_ & large_1g) | flags_of(options);
        return s;
    }

    /// The top table.
    [[nodiscard]] constexpr Output root() const { return root_; }
    /// The level of the top table: 3 or 4.
    [[nodiscard]] constexpr std::uint64_t top() const { return top_; }
    /// The width of the input address in bits, sign included: 48 or 57.
    [[nodiscard]] constexpr std::uint64_t width() const { return 12 + 9 * (top_ + 1); }
    /// The lg2 size that one entry of \p level spans.
    [[nodiscard]] static constexpr std::uint64_t shift(std::uint64_t level) { return 12 + 9 * level; }
    /// The index into a table of \p level.
    [[nodiscard]] static constexpr std::uint64_t index(std::uint64_t level, Input in) { return in.value >> shift(level) & 511; }

    /// Whether \p in is canonical: its upper bits repeat the highest one that is translated.
    [[nodiscard]] constexpr bool admits(Input in) const { return in.value + half() <= low_mask(width()); }
    /// The canonical addresses, lower and upper half.
    [[nodiscard]] constexpr ranges<Input, 2> admitted() const {
        return {{range<Input>::between(Input{0}, Input{half() - 1}),
                 range<Input>::between(Input{0 - half()}, Input{~std::uint64_t{0}})}};
    }
    /// The fault of an address that is not.
    [[nodiscard]] constexpr reason refuse(Input) const { return reason::not_canonical; }
    /// The fault of an entry of \p level that cannot be read.
    [[nodiscard]] constexpr reason unreadable(std::uint64_t level) const {
        return level == top_ ? reason::first_stage_root_unreadable : reason::first_stage_unreadable;
    }

    /// The fast lane for a request that needs \p a.
    [[nodiscard, gnu::always_inline]] constexpr fast_lane lane(access a) const {
        std::uint64_t const bad = beyond_host_ | beyond_second_stage_;
        return lane_over(bad | page_size, bad, a, false);
    }
    /// The fast lane for tables that we wrote.
    [[nodiscard, gnu::always_inline]] constexpr fast_lane trusting_lane(access a) const {
        return lane_over(page_size, 0, a, true);
    }

    /// The law (VT-d 3.6 and chapter 7): presence, reserved bits, the reach of a nested entry, U/S at once, and R/W of
    /// all levels together after the leaf.
    [[nodiscard]] constexpr judgement<reason> judge(step const& at, access a, path& p, step& denied) const {
        std::uint64_t const e = at.entry;
        using answer = judgement<reason>;
        if ((e & present) == 0) return answer::refuse(reason::first_stage_not_present, fault_at::input, at);
        bool const leaf = is_leaf(at.level, e);
        if ((e & reserved(at.level, leaf)) != 0) return answer::refuse(reason::first_stage_reserved, fault_at::table, at);
        if ((e & beyond_second_stage_ & (leaf ? ~low_mask(shift(at.level)) : ~std::uint64_t{0})) != 0)
            return answer::refuse(reason::first_stage_address_width, fault_at::table, at);
        if ((e & user) == 0 && needs_user(a)) return answer::refuse(reason::user_denied, fault_at::input, at);
        bool const refuses_write = a.covers(write) && binds(a) && !a.covers(inquiring);
        if (refuses_write && (e & writable) == 0 && denied == no_step) denied = at;
        carry(p, e);
        if (!leaf) return answer::table(at.level - 1);
        if (refuses_write && (p.rights & writable) == 0)
            return answer::refuse(reason::scalable_write_denied, fault_at::input, denied);
        return answer::leaf(leaf_size(at.level, e));
    }

    /// Entry \p at after its use: A, EA, and D in the leaf of a write that is granted.
    [[nodiscard]] constexpr std::uint64_t marked(step const& at, access a, path const& p, bool leaf) const {
        if (a == none) return at.entry;
        bool const writes = leaf && a.covers(write) && grants_write(p, a);
        return at.entry | used() | (writes ? dirty : 0);
    }
    /// Whether entries can be updated: the walk snoops.
    [[nodiscard]] constexpr bool may_update() const { return (flags_ & walks_snoop) != 0; }
    /// The fault where they cannot and an update is due.
    [[nodiscard]] constexpr reason update_refused() const { return reason::first_stage_update_unsnooped; }
    /// The fault of an update that failed.
    [[nodiscard]] constexpr reason update_failed() const { return reason::first_stage_update_failed; }
    /// \p owed without the dirty bit: a second stage grants no writing.
    [[nodiscard]] static constexpr std::uint64_t not_dirtied(std::uint64_t entry, std::uint64_t desired) {
        return (desired & ~dirty) | (entry & dirty);
    }

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
    /// What the page of 2^\p lg2 bytes that \p e maps grants to a requester like that of \p a.
    [[nodiscard]] constexpr attributes leaf_attributes(std::uint64_t e, std::uint64_t lg2, path const& p, access a) const {
        std::uint64_t const pat = lg2 > 12 ? (e & large_pat) >> 5 : e & page_pat;
        return attributes::from_bits(read.bits | (grants_write(p, a) && !is_kept_clean(e, a) ? write.bits : 0) |
                                     (e & cache_bits) | pat | ((p.rights & user) != 0 ? 0 : privileged_only));
    }

    /// Whether \p e is anything but absent.
    [[nodiscard]] static constexpr bool is_present(std::uint64_t e) { return (e & present) != 0; }
    /// The page sizes that the unit supports, bit lg2 set for each.
    [[nodiscard]] constexpr std::uint64_t sizes() const { return 1u << 12 | 1u << 21 | (has_1g() ? 1u << 30 : 0u); }
    /// The level whose entries map pages of 2^\p lg2 bytes.
    [[nodiscard]] static constexpr std::uint64_t leaf_level(std::uint64_t lg2) { return (lg2 - 12) / 9; }
    /// Whether a page at \p o with attributes \p at can be written down.
    [[nodiscard]] constexpr bool can_encode(Output o, attributes at) const {
        return at.rights().covers(read) && (at.bits & ~(read_write.bits | format_bits)) == 0 &&
               (o.value & (~address_bits | beyond_host_ | beyond_second_stage_)) == 0;
    }
    /// The entry that maps the page of 2^\p lg2 bytes at \p o; A and D are left to the unit.
    [[nodiscard]] static constexpr std::uint64_t make_leaf(Output o, std::uint64_t lg2, attributes at) {
        std::uint64_t const pat = at.bits & page_pat;
        return o.value | present | (at.rights().covers(write) ? writable : 0) | (at.bits & cache_bits) |
               ((at.bits & privileged_only) != 0 ? 0 : user) | (lg2 > 12 ? page_size | pat << 5 : pat);
    }
    /// The entry that leads to the table at \p o; rights are left to the leaves.
    [[nodiscard]] static constexpr std::uint64_t make_table(Output o, std::uint64_t) {
        return o.value | present | writable | user;
    }

    /// The reserved bits of an entry of \p level.
    [[nodiscard]] constexpr std::uint64_t reserved(std::uint64_t level, bool leaf) const {
        if (level >= 3) return first_stage_upper_entry::reserved() | beyond_host_;
        if (level == 0) return page_entry::reserved() | beyond_host_;
        if (!leaf) return first_stage_table_entry::reserved() | beyond_host_ | (level == 2 && !has_1g() ? page_size : 0);
        return (level == 1 ? first_stage_large_page<21>::reserved() : first_stage_large_page<30>::reserved()) | beyond_host_;
    }
    /// Whether a present entry of \p level maps a page.
    [[nodiscard]] constexpr bool is_leaf(std::uint64_t level, std::uint64_t e) const {
        return level == 0 || ((level == 1 || (level == 2 && has_1g())) && (e & page_size) != 0);
    }

    /// Stages are equal that translate alike.
    friend constexpr bool operator==(first_stage const&, first_stage const&) = default;

private:
    static constexpr std::uint64_t present = page_entry::mask<"P">();
    static constexpr std::uint64_t writable = page_entry::mask<"R/W">();
    static constexpr std::uint64_t user = page_entry::mask<"U/S">();
    static constexpr std::uint64_t accessed = page_entry::mask<"A">();
    static constexpr std::uint64_t dirty = page_entry::mask<"D">();
    static constexpr std::uint64_t extended_accessed = page_entry::mask<"EA">();
    static constexpr std::uint64_t page_size = first_stage_table_entry::mask<"PS">();
    static constexpr std::uint64_t cache_bits = page_entry::mask<"PWT">() | page_entry::mask<"PCD">();
    static constexpr std::uint64_t page_pat = page_entry::mask<"PAT">();
    static constexpr std::uint64_t large_pat = first_stage_large_page<21>::mask<"PAT">();
    static constexpr std::uint64_t address_bits = page_entry::mask<"ADDR">();
    static constexpr std::uint64_t format_bits = cache_bits | page_pat | privileged_only;
    static_assert(large_pat == page_pat << 5);

    // Flags, in one word: a stage is copied for each request, and a byte stored into what is copied as words stalls. EAFE stands
    // where an entry has EA.
    static constexpr std::uint64_t write_protect = 1u << 0; // WPE
    static constexpr std::uint64_t walks_snoop = 1u << 1;   // PWSNP
    static constexpr std::uint64_t large_1g = 1u << 2;      // FS1GP
    static_assert((extended_accessed & (write_protect | walks_snoop | large_1g)) == 0);

    [[nodiscard, gnu::always_inline]] static constexpr std::uint64_t flags_of(first_stage_options const& options) {
        return (options.write_protect ? write_protect : 0) | (options.snoops ? walks_snoop : 0) |
               (options.extended_accessed ? extended_accessed : 0);
    }
    [[nodiscard]] constexpr bool has_1g() const { return (flags_ & large_1g) != 0; }
    [[nodiscard]] constexpr std::uint64_t half() const { return std::uint64_t{1} << (width() - 1); }
    [[nodiscard]] constexpr std::uint64_t used() const { return accessed | (flags_ & extended_accessed); }
    [[nodiscard]] static constexpr bool needs_user(access a) { return !a.covers(privileged) && a != none; }
    // R/W does not bind a privileged requester unless WPE says so.
    [[nodiscard, gnu::always_inline]] constexpr bool binds(access a) const {
        return !a.covers(privileged) || (flags_ & write_protect) != 0;
    }
    [[nodiscard]] constexpr bool grants_write(path const& p, access a) const { return (p.rights & writable) != 0 || !binds(a); }
    // Who only asks, and not for writing, leaves D as it is: writing to a page whose D is clear would go unseen.
    [[nodiscard, gnu::always_inline]] static constexpr bool is_kept_clean(std::uint64_t e, access a) {
        return (a.bits & (inquiring.bits | write.bits)) == inquiring.bits && (e & dirty) == 0;
    }
    // What the fast lane wants of an entry that it must not take: all bits set. No mask has the bits that software may use, so
    // no entry under a mask equals it.
    static constexpr std::uint64_t nothing_at_all = ~std::uint64_t{0};

    // Who needs nothing, or only asks, is not served.
    [[nodiscard, gnu::always_inline]] constexpr fast_lane lane_over(std::uint64_t bad_table, std::uint64_t bad_page, access a,
                                                                    bool trusts) const {
        bool const nobody = a == none || a.covers(inquiring);
        std::uint64_t const table =
            present | used() | (a.covers(privileged) ? 0 : user) | (a.covers(write) && binds(a) ? writable : 0);
        std::uint64_t const page = table | (a.covers(write) ? dirty : 0);
        return {
            bad_table | table, nobody ? nothing_at_all : table, bad_page | page, nobody ? nothing_at_all : page, this, trusts};
    }

    Output root_;
    std::uint64_t top_;
    std::uint64_t beyond_host_;
    std::uint64_t beyond_second_stage_;
    std::uint64_t flags_;
};

} // namespace vtd
} // namespace v0
} // namespace stagewalk
