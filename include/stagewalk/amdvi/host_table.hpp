/// \file
/// Host tables (48882 2.2.3): 1 to 6 levels, pages of any power of two from 4 KiB on, levels that may be skipped.
#pragma once

#include "../core/address.hpp"
#include "../core/field.hpp"
#include "../core/size.hpp"
#include "../walk/stage.hpp"
#include "coded_size.hpp"
#include "event.hpp"
#include "policy.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace amdvi {

/// PDE: leads to a table.
struct host_table_entry : entry<64, field<"PR", 0>,                          // present
                                ignored_field<"IGN", 4, 1>,                  // for software
                                field<"A", 5>,                               // accessed
                                ignored_field<"IGN", 8, 6>,                  // for software
                                field<"NextLevel", 11, 9>,                   // 1 to 6: the level of the table
                                pointer_field<"Next Table Address", 51, 12>, // the table
                                field<"IR", 61>,                             // grants reading
                                field<"IW", 62>,                             // grants writing
                                ignored_field<"IGN", 63>                     // for software
                                > {
    using entry::entry;
};

/// PTE: maps a page, of the size that its level spans (NextLevel 0) or that its address tells (NextLevel 7).
struct host_page : entry<64, field<"PR", 0>,                    // present
                         ignored_field<"IGN", 4, 1>,            // for software
                         field<"A", 5>,                         // accessed
                         field<"D", 6>,                         // dirty
                         ignored_field<"IGN", 8, 7>,            // for software
                         field<"NextLevel", 11, 9>,             // 0 or 7
                         pointer_field<"Page Address", 51, 12>, // the page; with NextLevel 7 its low bits tell its size
                         field<"PMC", 58, 57>,                  // page migration control; reserved where there is none
                         field<"U", 59>,                        // for ATS: only untranslated accesses
                         field<"FC", 60>,                       // accesses are coherent
                         field<"IR", 61>,                       // grants reading
                         field<"IW", 62>,                       // grants writing
                         ignored_field<"IGN", 63>               // for software
                         > {
    using entry::entry;
};

/// NextLevel of an entry that maps a page whose address tells its size.
inline constexpr std::uint64_t sized_page = 7;

/// What a device table entry says of its host tables.
struct host_table_options {
    access granted{read_write}; ///< DTE.IR and IW: what the device may do at all.
    bool keeps_accessed{};      ///< DTE.HAD: accessed bits are set.
    bool keeps_dirty{};         ///< DTE.HAD: dirty bits too.

    /// Options are equal field by field.
    friend constexpr bool operator==(host_table_options const&, host_table_options const&) = default;
};

/// The host tables of one domain. Levels are counted from 0 here, from 1 in the manual.
///
/// The format's own bits of `attributes` stand where the page's entry has them: U 59, FC 60. Executing is reading.
/// \tparam Input what it translates from: a device's address, or a guest-physical one under guest tables.
/// \tparam Output what it translates to, and the space of its tables.
template <class Input = iova, class Output = pa>
class host_table {
public:
    using input = Input;   ///< What it translates from.
    using output = Output; ///< What it translates to, and the space of its tables.
    using code = event;    ///< Its fault code.

    static constexpr fault_stage number = fault_stage::second; ///< It is a stage 2, wherever it is used.
    static constexpr unsigned levels_min = 1;                  ///< The shallowest tables.
    static constexpr unsigned levels_max = 6;                  ///< The deepest tables.
    /// The largest page is one of 2^this bytes: a larger one has no address of 52 bits.
    static constexpr std::uint64_t largest_page = 51;

    /// What the entries so far grant together.
    struct path {
        std::uint64_t rights{~std::uint64_t{0}}; ///< IR and IW, where the entries have them.
    };

    /// The fast lane: which bits of an entry to look at, and what they must be. Skipped levels are the law's.
    struct fast_lane {
        std::uint64_t table_mask; ///< An entry that leads to a table: what is reserved there, NextLevel, and what is wanted.
        std::uint64_t table_want; ///< PR, the rights needed, A where it is kept; NextLevel is added level by level.
        std::uint64_t page_mask;  ///< An entry that maps a page: what is reserved there, and what is wanted.
        std::uint64_t page_want;  ///< The same as for a table, and D for a write where it is kept.

        /// Whether entry \p e of \p level leads to the next table and grants what is needed.
        [[nodiscard, gnu::always_inline]] constexpr bool leads_on(std::uint64_t level, std::uint64_t e) const {
            return ((e & table_mask) ^ table_want) == level << next_level_at;
        }
        /// Whether entry \p e of \p level maps a page and grants what is needed.
        [[nodiscard, gnu::always_inline]] constexpr bool maps(std::uint64_t level, std::uint64_t e) const {
            if (level == levels_max - 1) return false;
            // NextLevel by itself: leaf_size() asks for it too.
            if ((e & next_level_bits) == 0) return (e & page_mask) == page_want;
            return (e & page_mask) == page_want && (e & next_level_bits) == next_level_bits && is_size_of(level, e);
        }
    };

    /// \param levels the depth of the tables, DTE.Mode: 1 to 6; anything else counts as the nearest of these.
    /// \param root the address of the top table; bits 11:0 and 63:52 are dropped.
    /// \param options what the device table entry says.
    /// \param rules the open points.
    constexpr host_table(std::uint64_t levels, Output root, host_table_options options = {}, policy const& rules = {})
        : root_{root.value & address_bits}, top_{top_of(levels)}, last_input_{low_mask(shift(top_) + 9)},
          bad_page_{host_page::reserved() | (rules.migration == page_migration::supported ? 0 : host_page::mask<"PMC">())},
          granted_{rights_of(options.granted)}, kept_{kept_by(options)},
          marks_tables_{rules.accessed == host_accessed::leaves_only ? 0 : accessed}, kept_in_tables_{marks_tables_ & kept_},
          rights_first_{rules.order == check_order::rights_first} {}

    /// The same format over the tables of a device: a unit keeps one and points it at them.
    /// \param levels the depth; 1 to 6, as above.
    /// \param root the address of the top table; bits 11:0 and 63:52 are dropped.
    /// \param options what the device table entry says.
    [[nodiscard, gnu::always_inline]] constexpr host_table with(std::uint64_t levels, Output root,
                                                                host_table_options const& options) const {
        host_table s = *this;
        s.root_ = Output{root.value & address_bits};
        s.top_ = top_of(levels);
        s.last_input_ = low_mask(shift(s.top_) + 9);
        s.granted_ = rights_of(options.granted);
        s.kept_ = kept_by(options);
        s.kept_in_tables_ = marks_tables_ & s.kept_;
        return s;
    }

    /// The same tables for who is bound by their rights alone, and not by those of a device.
    [[nodiscard]] constexpr host_table without_device_rights() const {
        host_table s = *this;
        s.granted_ = readable | writable;
        return s;
    }

    /// The top table.
    [[nodiscard]] constexpr Output root() const { return root_; }
    /// The level of the top table: Mode - 1.
    [[nodiscard]] constexpr std::uint64_t top() const { return top_; }
    /// The lg2 size that one entry of \p level spans.
    [[nodiscard]] static constexpr std::uint64_t shift(std::uint64_t level) { return 12 + 9 * level; }
    /// The index into a table of \p level; the top one of six has 128 entries.
    [[nodiscard]] static constexpr std::uint64_t index(std::uint64_t level, Input in) { return in.value >> shift(level) & 511; }
    /// The highest input address that the tables cover.
    [[nodiscard]] constexpr Input last_input() const { return Input{last_input_}; }

    /// Whether the tables cover \p in.
    [[nodiscard]] constexpr bool admits(Input in) const { return in.value <= last_input_; }
    /// The addresses that they cover.
    [[nodiscard]] constexpr ranges<Input, 1> admitted() const { return {{range<Input>::between(Input{0}, last_input())}}; }
    /// The fault of an address that they do not.
    [[nodiscard]] constexpr event refuse(Input) const { return event::io_page_fault; }
    /// The fault of an entry that cannot be read.
    [[nodiscard]] constexpr event unreadable(std::uint64_t) const { return event::page_tab_hardware_error; }

    /// The fast lane for a request that needs \p a. Who needs nothing, or only asks, is not served.
    [[nodiscard, gnu::always_inline]] constexpr fast_lane lane(access a) const {
        return lane_over(host_table_entry::reserved(), bad_page_, a);
    }
    /// The fast lane for tables that we wrote.
    [[nodiscard, gnu::always_inline]] constexpr fast_lane trusting_lane(access a) const { return lane_over(0, 0, a); }

    /// The law (48882 2.2.3): presence, reserved bits, rights, NextLevel and page size.
    [[nodiscard]] constexpr judgement<event> judge(step const& at, access a, path& p, step&) const {
        using answer = judgement<event>;
        std::uint64_t const e = at.entry;
        if ((e & present) == 0) return answer::refuse(event::io_page_fault, fault_at::input, at);
        std::uint64_t const next = host_table_entry{e}.get<"NextLevel">();
        bool const leaf = next == 0 || next == sized_page;
        carry(p, e);
        bool const lacks = (needs(a) & ~(p.rights & granted_)) != 0;
        if (lacks && rights_first_ != 0) return denied_at(at);
        if ((e & (leaf ? bad_page_ : host_table_entry::reserved())) != 0)
            return answer::refuse(event::io_page_fault, fault_at::table, at, fault_detail::present | fault_detail::reserved);
        if (lacks) return denied_at(at);
        bool const well_formed = leaf ? at.level < levels_max - 1 && (next == 0 || is_size_of(at.level, e)) : next - 1 < at.level;
        if (!well_formed) return answer::refuse(event::io_page_fault, fault_at::table, at, fault_detail::present);
        return leaf ? answer::leaf(leaf_size(at.level, e)) : answer::table(next - 1);
    }

    /// Entry \p at leads to a table more than one level down, and the address has a bit of a level between.
    [[nodiscard]] static constexpr judgement<event> refuse_skip(step const& at) {
        return judgement<event>::refuse(event::io_page_fault, fault_at::table, at, fault_detail::present);
    }

    /// Entry \p at after its use: A, and D in the leaf of a write that is granted.
    [[nodiscard]] constexpr std::uint64_t marked(step const& at, access a, path const& p, bool leaf) const {
        if (a == none) return at.entry;
        if (!leaf) return at.entry | kept_in_tables_;
        bool const writes = a.covers(write) && (p.rights & granted_ & writable) != 0;
        return at.entry | (kept_ & (writes ? accessed | dirty : accessed));
    }
    /// Entries can always be updated.
    [[nodiscard]] static constexpr bool may_update() { return true; }
    /// Not needed: there is no refusal.
    [[nodiscard]] constexpr event update_refused() const { return event::page_tab_hardware_error; }
    /// The fault of an update that failed.
    [[nodiscard]] constexpr event update_failed() const { return event::page_tab_hardware_error; }

    /// Adds what \p e grants to the path.
    [[gnu::always_inline]] static constexpr void carry(path& p, std::uint64_t e) { p.rights &= e; }
    /// The lg2 size of the page that entry \p e of \p level maps.
    [[nodiscard]] static constexpr std::uint64_t leaf_size(std::uint64_t level, std::uint64_t e) {
        return (e & next_level_bits) == 0 ? shift(level) : coded_size(e);
    }
    /// The table that an entry leads to.
    [[nodiscard]] static constexpr Output target(std::uint64_t e) { return Output{e & address_bits}; }
    /// The page of 2^\p lg2 bytes that an entry maps.
    [[nodiscard]] static constexpr Output leaf_output(std::uint64_t e, std::uint64_t lg2) {
        return Output{e & address_bits & ~low_mask(lg2)};
    }
    /// The effective attributes of the page that \p e maps.
    [[nodiscard]] constexpr attributes leaf_attributes(std::uint64_t e, std::uint64_t, path const& p, access a) const {
        std::uint64_t const rights = (p.rights & granted_) >> rights_at;
        return attributes::from_bits((rights & ~(is_kept_clean(e, a) ? write.bits : 0)) | (e & format_bits));
    }

    /// Whether \p e is anything but absent.
    [[nodiscard]] static constexpr bool is_present(std::uint64_t e) { return (e & present) != 0; }
    /// The page sizes that can be written, bit lg2 set for each: all from 4 KiB to 256 GiB. Some hardware errs with 512 GiB.
    [[nodiscard]] constexpr std::uint64_t sizes() const { return bit_mask(top_ == 0 ? 20 : top_ == 1 ? 29 : 38, 12); }
    /// The level whose entries map pages of 2^\p lg2 bytes.
    [[nodiscard]] static constexpr std::uint64_t leaf_level(std::uint64_t lg2) { return (lg2 - 12) / 9; }
    /// Whether a page at \p o with attributes \p at can be written down.
    [[nodiscard]] constexpr bool can_encode(Output o, attributes at) const {
        return (at.bits & ~(read_write.bits | format_bits)) == 0 && (o.value & ~address_bits) == 0;
    }
    /// The entry that maps the page of 2^\p lg2 bytes at \p o; A and D are left to the unit. It stands in every slot that the
    /// page covers.
    [[nodiscard]] static constexpr std::uint64_t make_leaf(Output o, std::uint64_t lg2, attributes at) {
        std::uint64_t const size = shift(leaf_level(lg2)) == lg2 ? o.value : with_coded_size(o.value, lg2) | next_level_bits;
        return size | present | rights_of(at.rights()) | at.format_bits();
    }
    /// The entry of \p level that leads to the table at \p o; rights are left to the leaves.
    [[nodiscard]] static constexpr std::uint64_t make_table(Output o, std::uint64_t level) {
        return o.value | present | level << next_level_at | readable | writable;
    }

    /// Stages are equal that translate alike.
    friend constexpr bool operator==(host_table const&, host_table const&) = default;

private:
    static constexpr std::uint64_t present = host_page::mask<"PR">();
    static constexpr std::uint64_t accessed = host_page::mask<"A">();
    static constexpr std::uint64_t dirty = host_page::mask<"D">();
    static constexpr std::uint64_t readable = host_page::mask<"IR">();
    static constexpr std::uint64_t writable = host_page::mask<"IW">();
    static constexpr std::uint64_t rights_at = 61; // where IR and IW are, in the order of `access`
    static constexpr std::uint64_t next_level_bits = host_page::mask<"NextLevel">();
    static constexpr std::uint64_t next_level_at = 9;
    static constexpr std::uint64_t address_bits = host_page::mask<"Page Address">();
    static constexpr std::uint64_t format_bits = host_page::mask<"U">() | host_page::mask<"FC">();
    static_assert(readable == read.bits << rights_at && writable == write.bits << rights_at);

    // Whether the size that entry `e` tells is one of its level: more than the entry spans, less than one of the next level does.
    [[nodiscard, gnu::always_inline]] static constexpr bool is_size_of(std::uint64_t level, std::uint64_t e) {
        std::uint64_t const lg2 = coded_size(e & address_bits);
        return lg2 > shift(level) && lg2 < shift(level + 1) && lg2 <= largest_page;
    }
    [[nodiscard]] static constexpr judgement<event> denied_at(step const& at) {
        return judgement<event>::refuse(event::io_page_fault, fault_at::input, at,
                                        fault_detail::present | fault_detail::permission);
    }
    [[nodiscard, gnu::always_inline]] static constexpr std::uint64_t top_of(std::uint64_t levels) {
        return levels - 1 < levels_max ? levels - 1 : levels == 0 ? 0 : levels_max - 1;
    }
    [[nodiscard, gnu::always_inline]] static constexpr std::uint64_t kept_by(host_table_options const& o) {
        return o.keeps_accessed * accessed | (o.keeps_accessed & o.keeps_dirty) * dirty;
    }
    [[nodiscard]] static constexpr std::uint64_t rights_of(access a) { return (a.bits & read_write.bits) << rights_at; }
    // The rights that an access needs, in the positions of an entry. The format knows no execute right: fetching is reading. Who
    // only asks needs nothing.
    [[nodiscard]] static constexpr std::uint64_t needs(access a) {
        return a.covers(inquiring) ? 0 : rights_of(fetching_reads(a));
    }
    [[nodiscard]] static constexpr access fetching_reads(access a) {
        return {a.bits | (a.bits & execute.bits) / (execute.bits / read.bits)};
    }
    // Who only asks, and not for writing, leaves D as it is: writing to a page whose D is kept and clear would go unseen.
    [[nodiscard, gnu::always_inline]] constexpr bool is_kept_clean(std::uint64_t e, access a) const {
        return (a.bits & (inquiring.bits | write.bits)) == inquiring.bits && (~e & kept_ & dirty) != 0;
    }
    // Bits for software, which no mask of the fast lane has: it wants one of them where it must not take any entry.
    static constexpr std::uint64_t withheld_at = rights_at - 1;  // shifts rights that the device lacks down to bits 1 and 2
    static constexpr std::uint64_t for_inquiring = 1u << 3;      // of who only asks
    static constexpr std::uint64_t for_who_needs_none = 1u << 4; // of who needs no right
    static_assert(((host_table_entry::reserved() | host_page::reserved() | host_page::mask<"PMC">() | next_level_bits | present |
                    accessed | dirty | readable | writable) &
                   bit_mask(4, 1)) == 0);

    [[nodiscard, gnu::always_inline]] constexpr fast_lane lane_over(std::uint64_t bad_table, std::uint64_t bad_page,
                                                                    access a) const {
        std::uint64_t const need = rights_of(fetching_reads(a));
        std::uint64_t const table = present | need | kept_in_tables_;
        std::uint64_t const page = present | need | (kept_ & (accessed | (a.covers(write) ? dirty : 0)));
        std::uint64_t const nobody = (need & ~granted_) >> withheld_at |
                                     (a.bits & inquiring.bits) / inquiring.bits * for_inquiring |
                                     (need == 0 ? for_who_needs_none : 0);
        return {bad_table | next_level_bits | table, table | nobody, bad_page | page, page | nobody};
    }

    Output root_;
    std::uint64_t top_;
    std::uint64_t last_input_;
    std::uint64_t bad_page_;
    std::uint64_t granted_;        // the device's rights, in the positions of an entry, and nothing else
    std::uint64_t kept_;           // A and D, where they are kept
    std::uint64_t marks_tables_;   // A, where entries that lead to tables would get it
    std::uint64_t kept_in_tables_; // A, where entries that lead to tables get it
    // A flag of 64 bits: a stage is copied for each request, and a byte stored into what is copied as words stalls.
    std::uint64_t rights_first_; // rights before reserved bits
};

} // namespace amdvi
} // namespace v0
} // namespace stagewalk
