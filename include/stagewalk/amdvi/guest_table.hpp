/// \file
/// Guest tables (48882 2.2.6): the processor's long-mode format, 4 or 5 levels, pages of 4 KiB, 2 MiB and 1 GiB.
#pragma once

#include "../core/address.hpp"
#include "../core/field.hpp"
#include "../core/size.hpp"
#include "../walk/stage.hpp"
#include "event.hpp"
#include "policy.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace amdvi {

/// PML5E, PML4E, PDPE and PDE that lead to a table.
struct guest_table_entry : entry<64, field<"P", 0>,                // present
                                 field<"R/W", 1>,                  // grants writing
                                 field<"U/S", 2>,                  // grants users
                                 ignored_field<"PWT PCD", 4, 3>,   //
                                 field<"A", 5>,                    // accessed
                                 ignored_field<"IGN", 6>,          //
                                 field<"PS", 7>,                   // 0: leads to a table
                                 ignored_field<"IGN", 11, 8>,      //
                                 pointer_field<"Address", 51, 12>, // the table
                                 ignored_field<"IGN", 62, 52>,     //
                                 field<"NX", 63>                   // forbids executing; reserved without NXSup
                                 > {
    using entry::entry;
};

/// PDPE that maps 1 GiB (\p Lg2 = 30) or PDE that maps 2 MiB (\p Lg2 = 21).
template <unsigned Lg2>
struct guest_large_page : entry<64, field<"P", 0>,                 // present
                                field<"R/W", 1>,                   // grants writing
                                field<"U/S", 2>,                   // grants users
                                field<"PWT", 3>,                   // memory type, for others than the IOMMU
                                field<"PCD", 4>,                   //
                                field<"A", 5>,                     // accessed
                                field<"D", 6>,                     // dirty
                                field<"PS", 7>,                    // 1: maps a page
                                ignored_field<"G", 8>,             //
                                ignored_field<"IGN", 11, 9>,       //
                                field<"PAT", 12>,                  //
                                pointer_field<"Address", 51, Lg2>, // the page
                                ignored_field<"IGN", 62, 52>,      //
                                field<"NX", 63>                    // forbids executing; reserved without NXSup
                                > {
    using guest_large_page::entry::entry;
};

/// PTE: maps 4 KiB. Bit 7 is PAT, not PS.
struct guest_page : entry<64, field<"P", 0>,                // present
                          field<"R/W", 1>,                  // grants writing
                          field<"U/S", 2>,                  // grants users
                          field<"PWT", 3>,                  // memory type, for others than the IOMMU
                          field<"PCD", 4>,                  //
                          field<"A", 5>,                    // accessed
                          field<"D", 6>,                    // dirty
                          field<"PAT", 7>,                  //
                          ignored_field<"G", 8>,            //
                          ignored_field<"IGN", 11, 9>,      //
                          pointer_field<"Address", 51, 12>, // the page
                          ignored_field<"IGN", 62, 52>,     //
                          field<"NX", 63>                   // forbids executing; reserved without NXSup
                          > {
    using entry::entry;
};

/// How guest tables are used.
struct guest_table_options {
    access granted{read_write}; ///< DTE.IR and IW, where no host tables ask for them.
    bool no_execute{};          ///< EFR.NXSup.
    bool plain_addresses{};     ///< PASID 0: addresses are unsigned, not sign-extended.
    bool marks_accessed{true};  ///< A is set.
    bool marks_dirty{true};     ///< D is set.

    /// Options are equal field by field.
    friend constexpr bool operator==(guest_table_options const&, guest_table_options const&) = default;
};

/// The guest tables of one address space.
///
/// The format's own bits of `attributes`: PWT 3, PCD 4, PAT 7 (also for large pages), and 5 = for supervisors only (U/S = 0).
/// \tparam Input what it translates from.
/// \tparam Output what it translates to, and the space of its tables; a guest's addresses if nested.
template <class Input = iova, class Output = pa>
class guest_table {
public:
    using input = Input;   ///< What it translates from.
    using output = Output; ///< What it translates to, and the space of its tables.
    using code = event;    ///< Its fault code.

    static constexpr fault_stage number = fault_stage::first; ///< It is a stage 1.
    static constexpr unsigned levels_min = 4;                 ///< The shallowest tables.
    static constexpr unsigned levels_max = 5;                 ///< The deepest tables.
    /// Format bit of `attributes`: only supervisors are granted (U/S = 0).
    static constexpr std::uint64_t privileged_only = 1u << 5;

    /// What the entries so far grant together.
    struct path {
        std::uint64_t rights{~std::uint64_t{0}}; ///< R/W and U/S, where the entries have them, and bit 63: not NX.
    };

    /// The fast lane: which bits of an entry to look at, and what they must be.
    struct fast_lane {
        std::uint64_t table_mask; ///< An entry that leads to a table: what is reserved there, and what is wanted.
        std::uint64_t page_mask;  ///< An entry that maps 4 KiB: what is reserved there, and what is wanted.
        std::uint64_t table_want; ///< P, the rights needed, A where it is set.
        std::uint64_t page_want;  ///< The same as for a table, and D for a write where it is set.
        bool trusts;              ///< Reserved bits are not looked at.

        /// Whether entry \p e of \p level leads to a table and grants what is needed.
        [[nodiscard, gnu::always_inline]] constexpr bool leads_on(std::uint64_t, std::uint64_t e) const {
            return (e & table_mask) == table_want;
        }
        /// Whether entry \p e of \p level maps a page and grants what is needed.
        [[nodiscard, gnu::always_inline]] constexpr bool maps(std::uint64_t level, std::uint64_t e) const {
            if (level == 0) return (e & page_mask) == page_want;
            if (level > 2) return false;
            return (e & (page_mask | page_size | (trusts ? 0 : misaligned(level)))) == (page_want | page_size);
        }
    };

    /// \param levels the depth of the tables, 4 or 5 (GPM = 1).
    /// \param root the address of the top table; bits 11:0 and 63:52 are dropped.
    /// \param options how they are used.
    /// \param rules the open points.
    constexpr guest_table(std::uint64_t levels, Output root, guest_table_options options = {}, policy const& rules = {})
        : root_{root.value & address_bits}, top_{levels == 5 ? 4u : 3u}, last_input_{low_mask(width())},
          half_{options.plain_addresses ? 0 : last_input_ / 2 + 1}, granted_{options.granted.bits & read_write.bits},
          flags_{(options.marks_accessed ? accessed : 0) | (options.marks_dirty ? dirty : 0) |
                 (options.no_execute ? no_execute : 0) | (rules.protect == write_protect::always ? binds_all : 0)} {}

    /// The same format over the tables of an address space: a unit keeps one and points it at them.
    /// \param levels the depth, 4 or 5.
    /// \param root the address of the top table; bits 11:0 and 63:52 are dropped.
    /// \param granted what the device may do.
    /// \param is_plain whether addresses are unsigned.
    [[nodiscard, gnu::always_inline]] constexpr guest_table with(std::uint64_t levels, Output root, access granted,
                                                                 bool is_plain) const {
        guest_table s = *this;
        s.root_ = Output{root.value & address_bits};
        s.top_ = levels == 5 ? 4u : 3u;
        s.last_input_ = low_mask(levels == 5 ? 57 : 48);
        s.half_ = is_plain ? 0 : s.last_input_ / 2 + 1;
        s.granted_ = granted.bits & read_write.bits;
        return s;
    }

    /// The same tables for who is bound by their rights alone, and not by those of a device.
    [[nodiscard]] constexpr guest_table without_device_rights() const {
        guest_table s = *this;
        s.granted_ = read_write.bits;
        return s;
    }

    /// The top table.
    [[nodiscard]] constexpr Output root() const { return root_; }
    /// The level of the top table: 3 or 4.
    [[nodiscard]] constexpr std::uint64_t top() const { return top_; }
    /// The width of the input address in bits: 48 or 57.
    [[nodiscard]] constexpr std::uint64_t width() const { return shift(top_) + 9; }
    /// The lg2 size that one entry of \p level spans.
    [[nodiscard]] static constexpr std::uint64_t shift(std::uint64_t level) { return 12 + 9 * level; }
    /// The index into a table of \p level.
    [[nodiscard]] static constexpr std::uint64_t index(std::uint64_t level, Input in) { return in.value >> shift(level) & 511; }

    /// Whether \p in is canonical, or of PASID 0 within the width.
    [[nodiscard]] constexpr bool admits(Input in) const { return in.value + half_ <= last_input_; }
    /// The addresses that are; the upper half is empty where they are unsigned.
    [[nodiscard]] constexpr ranges<Input, 2> admitted() const {
        if (half_ == 0) return {{range<Input>::between(Input{0}, Input{last_input_}), range<Input>{}}};
        return {{range<Input>::between(Input{0}, Input{half_ - 1}),
                 range<Input>::between(Input{0 - half_}, Input{~std::uint64_t{0}})}};
    }
    /// The fault of an address that is not.
    [[nodiscard]] constexpr event refuse(Input) const { return event::io_page_fault; }
    /// The fault of an entry that cannot be read.
    [[nodiscard]] constexpr event unreadable(std::uint64_t) const { return event::page_tab_hardware_error; }

    /// The fast lane for a request that needs \p a. Who needs nothing, or only asks, is not served.
    [[nodiscard, gnu::always_inline]] constexpr fast_lane lane(access a) const {
        return lane_over(reserved_everywhere(), a, false);
    }
    /// The fast lane for tables that we wrote.
    [[nodiscard, gnu::always_inline]] constexpr fast_lane trusting_lane(access a) const { return lane_over(0, a, true); }

    /// The law (48882 2.2.6): presence and reserved bits of each entry, and after the leaf the rights of all levels together with
    /// the device's.
    [[nodiscard]] constexpr judgement<event> judge(step const& at, access a, path& p, step& denied) const {
        using answer = judgement<event>;
        std::uint64_t const e = at.entry;
        if ((e & present) == 0) return answer::refuse(event::io_page_fault, fault_at::input, at);
        bool const leaf = is_leaf(at.level, e);
        if ((e & reserved(at.level, leaf)) != 0)
            return answer::refuse(event::io_page_fault, fault_at::table, at, fault_detail::present | fault_detail::reserved);
        carry(p, e);
        std::uint64_t const need = a.covers(inquiring) ? 0 : needs(a);
        if ((need & ~rights_in(e)) != 0 && denied == no_step) denied = at;
        if (!leaf) return answer::table(at.level - 1);
        if ((need & ~p.rights) != 0 || (!a.covers(inquiring) && (device_needs(a) & ~granted_) != 0))
            return answer::refuse(event::io_page_fault, fault_at::input, denied == no_step ? at : denied,
                                  fault_detail::present | fault_detail::permission);
        return answer::leaf(shift(at.level));
    }

    /// Entry \p at after its use: A, and D in the leaf of a write that is granted.
    [[nodiscard]] constexpr std::uint64_t marked(step const& at, access a, path const& p, bool leaf) const {
        if (a == none) return at.entry;
        bool const writes = leaf && a.covers(write) && grants(p, a).covers(write);
        return at.entry | (flags_ & (writes ? accessed | dirty : accessed));
    }
    /// Entries can always be updated.
    [[nodiscard]] static constexpr bool may_update() { return true; }
    /// Not needed: there is no refusal.
    [[nodiscard]] constexpr event update_refused() const { return event::page_tab_hardware_error; }
    /// The fault of an update that failed.
    [[nodiscard]] constexpr event update_failed() const { return event::page_tab_hardware_error; }
    /// The update of \p entry to \p desired without the dirty bit: host tables grant no writing.
    [[nodiscard]] static constexpr std::uint64_t not_dirtied(std::uint64_t entry, std::uint64_t desired) {
        return (desired & ~dirty) | (entry & dirty);
    }

    /// Adds what \p e grants to the path.
    [[gnu::always_inline]] static constexpr void carry(path& p, std::uint64_t e) { p.rights &= rights_in(e); }
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
        access const rights = grants(p, a) & ~(is_kept_clean(e, a) ? write : none);
        return attributes::from_bits(rights.bits | (e & cache_bits) | pat | ((p.rights & user) != 0 ? 0 : privileged_only));
    }

    /// Whether \p e is anything but absent.
    [[nodiscard]] static constexpr bool is_present(std::uint64_t e) { return (e & present) != 0; }
    /// The page sizes, bit lg2 set for each.
    [[nodiscard]] static constexpr std::uint64_t sizes() { return 1u << 12 | 1u << 21 | 1u << 30; }
    /// The level whose entries map pages of 2^\p lg2 bytes.
    [[nodiscard]] static constexpr std::uint64_t leaf_level(std::uint64_t lg2) { return (lg2 - 12) / 9; }
    /// Whether a page at \p o with attributes \p at can be written down. What may be executed cannot be told without NXSup.
    [[nodiscard]] constexpr bool can_encode(Output o, attributes at) const {
        return at.rights().covers(read) && (at.bits & ~(attributes::rights_mask | format_bits)) == 0 &&
               (o.value & ~address_bits) == 0;
    }
    /// The entry that maps the page of 2^\p lg2 bytes at \p o; A and D are left to the unit. With NXSup it forbids executing
    /// unless \p at grants that.
    [[nodiscard]] constexpr std::uint64_t make_leaf(Output o, std::uint64_t lg2, attributes at) const {
        std::uint64_t const pat = at.bits & page_pat;
        return o.value | present | (at.rights().covers(write) ? writable : 0) | (at.bits & cache_bits) |
               ((at.bits & privileged_only) != 0 ? 0 : user) | (lg2 > 12 ? page_size | pat << 5 : pat) |
               (at.rights().covers(execute) ? 0 : flags_ & no_execute);
    }
    /// The entry that leads to the table at \p o; rights are left to the leaves.
    [[nodiscard]] static constexpr std::uint64_t make_table(Output o, std::uint64_t) {
        return o.value | present | writable | user;
    }

    /// The reserved bits of an entry of \p level.
    [[nodiscard]] constexpr std::uint64_t reserved(std::uint64_t level, bool leaf) const {
        return reserved_everywhere() | (level >= 3 ? page_size : leaf ? misaligned(level) : 0);
    }
    /// Whether a present entry of \p level maps a page.
    [[nodiscard]] static constexpr bool is_leaf(std::uint64_t level, std::uint64_t e) {
        return level == 0 || (level < 3 && (e & page_size) != 0);
    }

    /// Stages are equal that translate alike.
    friend constexpr bool operator==(guest_table const&, guest_table const&) = default;

private:
    static constexpr std::uint64_t present = guest_page::mask<"P">();
    static constexpr std::uint64_t writable = guest_page::mask<"R/W">();
    static constexpr std::uint64_t user = guest_page::mask<"U/S">();
    static constexpr std::uint64_t accessed = guest_page::mask<"A">();
    static constexpr std::uint64_t dirty = guest_page::mask<"D">();
    static constexpr std::uint64_t no_execute = guest_page::mask<"NX">();
    static constexpr std::uint64_t page_size = guest_table_entry::mask<"PS">();
    static constexpr std::uint64_t cache_bits = guest_page::mask<"PWT">() | guest_page::mask<"PCD">();
    static constexpr std::uint64_t page_pat = guest_page::mask<"PAT">();
    static constexpr std::uint64_t large_pat = guest_large_page<21>::mask<"PAT">();
    static constexpr std::uint64_t address_bits = guest_page::mask<"Address">();
    static constexpr std::uint64_t format_bits = cache_bits | page_pat | privileged_only;
    static_assert(large_pat == page_pat << 5);

    // Flags, in one word: a stage is copied for each request, and a byte stored into what is copied as words stalls. What is set
    // in entries, and NX where it exists, stand where entries have them.
    static constexpr std::uint64_t binds_all = 1u << 1; // R/W binds supervisors too
    static_assert(((accessed | dirty | no_execute) & binds_all) == 0);

    [[nodiscard]] constexpr std::uint64_t reserved_everywhere() const { return ~flags_ & no_execute; }
    // The bits of a large page's address that must be zero; bit 12 is PAT.
    [[nodiscard]] static constexpr std::uint64_t misaligned(std::uint64_t level) {
        return level == 1 ? guest_large_page<21>::reserved() : level == 2 ? guest_large_page<30>::reserved() : 0;
    }
    // An entry's rights, each granted where its bit is set.
    [[nodiscard, gnu::always_inline]] static constexpr std::uint64_t rights_in(std::uint64_t e) { return e ^ no_execute; }

    // R/W does not bind a supervisor unless the policy says so.
    [[nodiscard, gnu::always_inline]] constexpr bool binds(access a) const {
        return !a.covers(privileged) || (flags_ & binds_all) != 0;
    }
    [[nodiscard, gnu::always_inline]] static constexpr bool is_user(access a) { return !a.covers(privileged) && a != none; }
    // The rights that an access needs of the entries, in their positions.
    [[nodiscard, gnu::always_inline]] constexpr std::uint64_t needs(access a) const {
        return (is_user(a) ? user : 0) | (a.covers(write) && binds(a) ? writable : 0) | (a.covers(execute) ? no_execute : 0);
    }
    // And of the device: fetching is reading.
    [[nodiscard, gnu::always_inline]] static constexpr std::uint64_t device_needs(access a) {
        return (a.bits | (a.bits & execute.bits) / (execute.bits / read.bits)) & read_write.bits;
    }
    // The rights of a requester like that of `a`. Who needs nothing looks as a user's device would, were it let in.
    [[nodiscard]] constexpr access grants(path const& p, access a) const {
        if (is_user(a) && (p.rights & user) == 0) return none;
        access all = read;
        if ((p.rights & writable) != 0 || !binds(a)) all = all | write;
        if ((p.rights & no_execute) != 0) all = all | execute;
        return all & access{granted_ | ((granted_ & read.bits) != 0 ? execute.bits : 0)};
    }
    // Who only asks, and not for writing, leaves D as it is: writing to a page whose D is kept and clear would go unseen.
    [[nodiscard, gnu::always_inline]] constexpr bool is_kept_clean(std::uint64_t e, access a) const {
        return (a.bits & (inquiring.bits | write.bits)) == inquiring.bits && (~e & flags_ & dirty) != 0;
    }
    // Bits for software, which no mask of the fast lane has: it wants one of them where it must not take any entry.
    static constexpr std::uint64_t withheld_at = 9;                             // bits 9 and 10: of a right that the device lacks
    static constexpr std::uint64_t for_inquiring = 1u << 11;                    // of who only asks
    static constexpr std::uint64_t for_who_needs_none = std::uint64_t{1} << 52; // of who needs nothing
    static_assert(((guest_large_page<21>::reserved() | guest_large_page<30>::reserved() | page_size | present | writable | user |
                    accessed | dirty | no_execute) &
                   (bit_mask(11, 9) | for_who_needs_none)) == 0);

    [[nodiscard, gnu::always_inline]] constexpr fast_lane lane_over(std::uint64_t bad, access a, bool trusts) const {
        std::uint64_t const nobody = (device_needs(a) & ~granted_) << withheld_at |
                                     (a.bits & inquiring.bits) / inquiring.bits * for_inquiring |
                                     (a == none ? for_who_needs_none : 0);
        std::uint64_t const need = needs(a);
        std::uint64_t const wanted = present | (need & ~no_execute) | (flags_ & accessed);
        std::uint64_t const page = wanted | (a.covers(write) ? flags_ & dirty : 0);
        std::uint64_t const closed = bad | (need & no_execute);
        return {closed | page_size | wanted, closed | page, wanted | nobody, page | nobody, trusts};
    }

    Output root_;
    std::uint64_t top_;
    std::uint64_t last_input_;
    std::uint64_t half_;    // what signed addresses are moved up by, to become unsigned ones; 0 where they are unsigned
    std::uint64_t granted_; // the device's rights, as in `access`
    std::uint64_t flags_;
};

} // namespace amdvi
} // namespace v0
} // namespace stagewalk
