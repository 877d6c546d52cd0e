/// \file
/// Stage-1 tables of VMSAv8-64 (DDI 0487 D8.3 to D8.5, IHI 0070 3.4 and 5.4): one half of a context's addresses.
#pragma once

#include "../core/address.hpp"
#include "../core/field.hpp"
#include "../walk/stage.hpp"
#include "capabilities.hpp"
#include "context_descriptor.hpp"
#include "translation_table.hpp"

#include <bit>
#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace smmu {

/// Stage-1 table descriptor. The address of the next table lies between bits 47 (with DS 49) and the granule; with 52-bit
/// addresses bits 15:12 (64 KiB) or 9:8 (DS) are its upper bits.
struct stage1_table_descriptor : entry<64, field<"valid", 0>,        //
                                       field<"type", 1>,             // 1
                                       ignored_field<"IGN", 7, 2>,   //
                                       field<"OA[51:50]", 9, 8>,     // with DS
                                       field<"AF", 10>,              // accessed, with HAFT
                                       ignored_field<"IGN", 11>,     //
                                       pointer_field<"OA", 49, 12>,  // the next table; 64 KiB: 15:12 are OA[51:48]
                                       ignored_field<"IGN", 58, 50>, //
                                       field<"PXNTable", 59>,        // nothing below is for privileged execution
                                       field<"UXNTable", 60>,        // nothing below is for unprivileged execution
                                       field<"APTable", 62, 61>,     // bit 0: no unprivileged access, bit 1: no writing
                                       field<"NSTable", 63>          // Secure streams
                                       > {
    using entry::entry;
};

/// Stage-1 page or block descriptor. The address lies between bits 47 (with DS 49) and the size; with 52-bit addresses bits 15:12
/// (64 KiB) or 9:8 (DS, in the place of SH) are its upper bits.
struct stage1_leaf_descriptor : entry<64, field<"valid", 0>,       //
                                      field<"type", 1>,            // 1 for a page, 0 for a block
                                      field<"AttrIndx", 4, 2>,     // which byte of MAIR
                                      field<"NS", 5>,              // Secure streams
                                      field<"AP[1]", 6>,           // unprivileged accesses are granted
                                      field<"AP[2]", 7>,           // read-only
                                      field<"SH", 9, 8>,           // shareability; with DS OA[51:50]
                                      field<"AF", 10>,             // accessed
                                      field<"nG", 11>,             // tagged with the ASID, else global
                                      pointer_field<"OA", 49, 12>, // the page; 64 KiB: 15:12 are OA[51:48]; a block: 16 is nT
                                      field<"GP", 50>,             // not for SMMUs
                                      field<"DBM", 51>,            // read-only here means clean
                                      field<"Contiguous", 52>,     // neighbours are alike
                                      field<"PXN", 53>,            // no privileged execution
                                      field<"UXN", 54>,            // no unprivileged execution; XN where there is one privilege
                                      ignored_field<"SW", 58, 55>, // for software
                                      field<"PBHA", 62, 59>,       // page-based hardware attributes; 59 is AttrIndx[3] with AIE
                                      ignored_field<"IGN", 63>     //
                                      > {
    using entry::entry;
};

/// What a context descriptor says of a half, beside the shape of its tables. Each is 0 or 1, as wide as a register.
struct stage1_options {
    bool ignores_hierarchy{}; ///< HAD: the attributes of tables count for nothing.
    bool one_privilege{};     ///< EL2 without E2H: no difference between privileged and unprivileged.
    bool write_no_execute{};  ///< WXN.
    bool no_unprivileged{};   ///< PAN: privileged data accesses avoid pages with unprivileged access.
    bool no_executable{};     ///< EPAN: and pages with unprivileged execution.
    bool ignores_access{};    ///< AFFD, without HA: a clear access flag is no fault.
    bool updates_access{};    ///< HA: the access flag is updated.
    bool updates_dirty{};     ///< HD with HA: the dirty state is updated.
    bool updates_tables{};    ///< HAFT with HA: the access flags of tables are updated.
    bool wide_index{};        ///< AIE: bit 59 is the fourth bit of the attribute index.

    /// Options are equal field by field.
    friend constexpr bool operator==(stage1_options const&, stage1_options const&) = default;
};

/// One half of stage 1.
///
/// The format's own bits of `attributes`: bits 5:3 AttrIndx and 59 AttrIndx[3] (AIE), 6 = privileged only (AP[1] clear), 9:8 SH
/// (not with DS), 11 = global (nG clear), 51 DBM, 52 Contiguous, 53 PXN, 54 UXN.
/// \tparam G the granule.
/// \tparam Input what it translates from.
/// \tparam Output what it translates to, and the space of its tables.
template <granule G, class Input = iova, class Output = pa>
class stage1 : public translation_table<G, Input, Output> {
    using base = translation_table<G, Input, Output>;
    using leaf_entry = stage1_leaf_descriptor;
    using table_entry = stage1_table_descriptor;
    using kind = typename base::kind;

public:
    using input = Input;   ///< What it translates from.
    using output = Output; ///< What it translates to, and the space of its tables.
    using code = event;    ///< Its fault code.

    static constexpr fault_stage number = fault_stage::first; ///< It is a stage 1.
    /// Format bit of `attributes`: only privileged requests are granted (AP[1] = 0).
    static constexpr std::uint64_t privileged_only = leaf_entry::mask<"AP[1]">();
    /// Format bit of `attributes`: the translation belongs to every ASID (nG = 0).
    static constexpr std::uint64_t global = leaf_entry::mask<"nG">();

    /// The attribute index of attributes \p a: which byte of MAIR.
    [[nodiscard]] static constexpr std::uint64_t attribute_index(attributes a) {
        return (a.bits >> 3 & 7) | (a.bits >> 59 & 1) << 3;
    }
    /// Format bits for byte \p index (0 to 7) of MAIR with shareability \p sharing (0 none, 2 outer, 3 inner).
    [[nodiscard]] static constexpr attributes memory(std::uint64_t index, std::uint64_t sharing) {
        return attributes::from_bits((index & 7) << 3 | (sharing & 3) << 8);
    }

    /// What the tables so far forbid.
    struct path {
        std::uint64_t forbidden{}; ///< APTable, UXNTable and PXNTable of all of them, in their places.
    };

    /// The fast lane: which bits of a descriptor to look at, and what they must be.
    struct fast_lane {
        std::uint64_t table_mask; ///< A table: its type, what it must not have, AF where tables keep one.
        std::uint64_t table_want; ///< What that must be.
        std::uint64_t leaf_mask;  ///< A page: its type, AF, the rights needed, address bits that are too high or out of place.
        std::uint64_t page_want;  ///< What that must be.
        stage1 const& of;         ///< Knows which levels may have blocks: rarely asked, so no register is kept for it.

        /// Whether descriptor \p e leads to a table and forbids nothing.
        [[nodiscard, gnu::always_inline]] constexpr bool leads_on(std::uint64_t, std::uint64_t e) const {
            return (e & table_mask) == table_want;
        }
        /// Whether descriptor \p e of \p level maps a page or block and grants what is needed.
        [[nodiscard, gnu::always_inline]] constexpr bool maps(std::uint64_t level, std::uint64_t e) const {
            return maps_but_for(of.merely_out_of_place(), level, e);
        }
        /// The same with no address bit out of place.
        [[nodiscard, gnu::always_inline]] constexpr bool maps_plainly(std::uint64_t level, std::uint64_t e) const {
            return maps_but_for(0, level, e);
        }

    private:
        [[nodiscard, gnu::always_inline]] constexpr bool maps_but_for(std::uint64_t bits, std::uint64_t level,
                                                                      std::uint64_t e) const {
            if (level == 0) return (e & leaf_mask & ~bits) == page_want;
            return of.may_be_block(level) && (e & leaf_mask & ~bits) == (page_want ^ 2);
        }
    };

    /// \param shape where the tables lie and how far they reach.
    /// \param options what else the context descriptor says.
    constexpr stage1(table_shape const& shape, stage1_options options = {}) : base{shape}, options_{options} {
        prepare(shape.wide && G != granule::k64);
    }

    /// The fast lane for a request that needs \p a.
    [[nodiscard, gnu::always_inline]] constexpr fast_lane lane(access a) const { return lane_over(0, a); }
    /// The fast lane for tables that we wrote.
    [[nodiscard, gnu::always_inline]] constexpr fast_lane trusting_lane(access a) const { return lane_over(this->too_high(), a); }

    /// The law (IHI 0070 3.4, 7.3.12 to 7.3.16): validity, address size, access flag, permission, each table's forbidding
    /// together at the leaf.
    [[nodiscard]] constexpr judgement<event> judge(step const& at, access a, path& p, step&) const {
        using answer = judgement<event>;
        std::uint64_t const e = at.entry;
        kind const is = this->kind_of(at.level, e);
        if (is == kind::invalid) return answer::refuse(event::f_translation, fault_at::input, at);
        if (this->is_too_wide(e, at.level, is == kind::leaf)) return answer::refuse(event::f_addr_size, fault_at::input, at);
        if (is == kind::table) {
            if (!options_.ignores_hierarchy) p.forbidden |= e & hierarchy;
            return answer::table(at.level - 1);
        }
        if (a != none && !is_accessible(e)) return answer::refuse(event::f_access, fault_at::input, at);
        std::uint64_t const granted = rights(e, p, a);
        std::uint64_t const missing = needs(a) & ~granted;
        if (a.covers(inquiring) ? granted == 0 : missing != 0)
            return answer::refuse(event::f_permission, fault_at::input, at, missing);
        return answer::leaf(base::shift(at.level));
    }

    /// Descriptor \p at after its use: AF, and the dirty state of a leaf that is written.
    [[nodiscard]] constexpr std::uint64_t marked(step const& at, access a, path const& p, bool leaf) const {
        std::uint64_t const e = at.entry;
        if (a == none || !options_.updates_access) return e;
        if (!leaf) return options_.updates_tables ? e | accessed : e;
        bool const dirties =
            options_.updates_dirty && (e & dirty_managed) != 0 && a.covers(write) && (rights(e, p, a) & write.bits) != 0;
        return (e | accessed) & ~(dirties ? read_only : 0);
    }
    /// Whether descriptors can be updated.
    [[nodiscard]] static constexpr bool may_update() { return true; }
    /// Never used: they can.
    [[nodiscard]] static constexpr event update_refused() { return event::f_walk_eabt; }
    /// The fault of an update that failed.
    [[nodiscard]] static constexpr event update_failed() { return event::f_walk_eabt; }

    /// The update \p desired of descriptor \p entry without the dirty state: a second stage grants no writing.
    [[nodiscard]] static constexpr std::uint64_t not_dirtied(std::uint64_t entry, std::uint64_t desired) {
        return desired | (entry & read_only);
    }

    /// Nothing: the fast lane takes no table that forbids something.
    [[gnu::always_inline]] static constexpr void carry(path&, std::uint64_t) {}
    /// What the page or block that \p e maps grants to a requester like that of \p a.
    [[nodiscard, gnu::always_inline]] constexpr attributes leaf_attributes(std::uint64_t e, std::uint64_t, path const& p,
                                                                           access a) const {
        std::uint64_t const own = (e & index_bits) << 1 | ((e & shown_) ^ (privileged_only | global));
        std::uint64_t const granted = is_accessible(e) ? rights(e, p, a) & ~(is_kept_clean(e, a) ? write.bits : 0) : 0;
        return attributes::from_bits(own | granted);
    }

    /// The same of a descriptor that the fast lane took for \p a: it is accessible, and no table forbids anything.
    [[nodiscard, gnu::always_inline]] constexpr attributes plain_attributes(std::uint64_t e, access a) const {
        return attributes::from_bits((e & index_bits) << 1 | ((e & shown_) ^ (privileged_only | global)) | rights(e, path{}, a));
    }

    /// Whether a page at \p o with attributes \p at can be written down: reading at least, and an address and bits that there
    /// are.
    [[nodiscard]] constexpr bool can_encode(Output o, attributes at) const {
        std::uint64_t const known = attributes::rights_mask | index_bits << 1 | shown_;
        return at.rights().covers(read) && (at.bits & ~known) == 0 && this->has_place(o.value);
    }
    /// The descriptor that maps 2^\p lg2 bytes at \p o, with its access flag set. Without the right to execute, PXN and UXN are
    /// both set, unless the attributes set one of them themselves.
    [[nodiscard]] constexpr std::uint64_t make_leaf(Output o, std::uint64_t lg2, attributes at) const {
        std::uint64_t const own = at.bits & (own_bits | index_bit_3);
        bool const bars = !at.rights().covers(execute) && (own & (no_privileged | no_unprivileged)) == 0;
        return this->with_address(o.value) | (own ^ (privileged_only | global)) | (at.bits >> 1 & index_bits) | accessed |
               (at.rights().covers(write) ? 0 : read_only) | (bars ? no_privileged | no_unprivileged : 0) |
               (lg2 == base::lg2_page ? 3 : 1);
    }

    /// Stages are equal that translate alike.
    friend constexpr bool operator==(stage1 const&, stage1 const&) = default;

private:
    static constexpr std::uint64_t index_bits = leaf_entry::mask<"AttrIndx">();
    static constexpr std::uint64_t index_bit_3 = std::uint64_t{1} << 59;
    static constexpr std::uint64_t unprivileged = leaf_entry::mask<"AP[1]">();
    static constexpr std::uint64_t read_only = leaf_entry::mask<"AP[2]">();
    static constexpr std::uint64_t sharing_bits = leaf_entry::mask<"SH">();
    static constexpr std::uint64_t accessed = leaf_entry::mask<"AF">();
    static constexpr std::uint64_t dirty_managed = leaf_entry::mask<"DBM">();
    static constexpr std::uint64_t no_privileged = leaf_entry::mask<"PXN">();
    static constexpr std::uint64_t no_unprivileged = leaf_entry::mask<"UXN">();
    static constexpr std::uint64_t own_bits = unprivileged | sharing_bits | leaf_entry::mask<"nG">() | dirty_managed |
                                              leaf_entry::mask<"Contiguous">() | no_privileged | no_unprivileged;
    static constexpr std::uint64_t no_unprivileged_below = std::uint64_t{1} << 61; // APTable[0]
    static constexpr std::uint64_t read_only_below = std::uint64_t{1} << 62;       // APTable[1]
    static constexpr std::uint64_t hierarchy =
        table_entry::mask<"PXNTable">() | table_entry::mask<"UXNTable">() | table_entry::mask<"APTable">();
    // What the fast lane wants of a descriptor that it must not take: bits that its mask does not have.
    static constexpr std::uint64_t nothing_at_all = ~std::uint64_t{0};

    // An instruction is read with the right to execute, and written like data.
    [[nodiscard]] static constexpr std::uint64_t needs(access a) { return fetches(a) ? execute.bits : a.bits & read_write.bits; }
    [[nodiscard]] static constexpr bool fetches(access a) { return (a.bits & (execute.bits | write.bits)) == execute.bits; }
    [[nodiscard, gnu::always_inline]] constexpr bool is_accessible(std::uint64_t e) const { return (~e & needs_accessed_) == 0; }
    // Whether somebody who only asks, and not for writing, would leave unseen that the page gets dirty.
    [[nodiscard, gnu::always_inline]] constexpr bool is_kept_clean(std::uint64_t e, access a) const {
        return (a.bits & (inquiring.bits | write.bits)) == inquiring.bits && is_clean(e);
    }
    [[nodiscard, gnu::always_inline]] constexpr bool is_clean(std::uint64_t e) const {
        return options_.updates_dirty && (e & (dirty_managed | read_only)) == (dirty_managed | read_only);
    }

    // Bit \p Mask of a word, as 0 or 1.
    template <std::uint64_t Mask>
    [[nodiscard, gnu::always_inline]] static constexpr std::uint64_t bit(std::uint64_t word) {
        return word >> std::countr_zero(Mask) & 1;
    }

    // What a leaf under these tables grants to a requester like that of a (DDI 0487 D8.4). Each truth is 0 or 1.
    [[nodiscard, gnu::always_inline]] constexpr std::uint64_t rights(std::uint64_t e, path const& p, access a) const {
        std::uint64_t const no = p.forbidden;
        std::uint64_t const clean = bit<dirty_managed>(e) & options_.updates_dirty;
        std::uint64_t const writes = (bit<read_only>(~e) | clean) & bit<read_only_below>(~no);
        std::uint64_t const bars_user = bit<no_unprivileged>(e) | bit<table_entry::mask<"UXNTable">()>(no);
        std::uint64_t const bars_writable = options_.write_no_execute;
        if (options_.one_privilege) [[unlikely]]
            return granted(1, writes, bars_user | (bars_writable & writes));
        std::uint64_t const user = bit<unprivileged>(e) & bit<no_unprivileged_below>(~no);
        if (!a.covers(privileged)) return granted(user, user & writes, bars_user | (bars_writable & user & writes));
        std::uint64_t const bars = bit<no_privileged>(e) | bit<table_entry::mask<"PXNTable">()>(no);
        std::uint64_t const avoided = options_.no_unprivileged & (user | (options_.no_executable & (bars_user ^ 1)));
        return granted(avoided ^ 1, (avoided ^ 1) & writes, bars | (user & writes) | (bars_writable & writes));
    }
    [[nodiscard, gnu::always_inline]] static constexpr std::uint64_t granted(std::uint64_t reads, std::uint64_t writes,
                                                                             std::uint64_t bars) {
        return reads * read.bits | writes * write.bits | (bars ^ 1) * execute.bits;
    }

    // The fast lane serves who reads or writes data; who fetches, asks or needs nothing goes by the law. Without a look at the
    // bits that a trusted descriptor does not have.
    [[nodiscard, gnu::always_inline]] constexpr fast_lane lane_over(std::uint64_t but, access a) const {
        bool const is_privileged = a.covers(privileged);
        bool const plain = (a.bits & (execute.bits | inquiring.bits)) == 0 && (a.bits & read_write.bits) != 0;
        static_assert(read_only == write.bits << 6);
        return {table_mask_ & ~but, table_want_, (leaf_mask_[is_privileged] & ~but) | (a.bits & write.bits) << 6,
                plain ? leaf_want_[is_privileged] : nothing_at_all, *this};
    }
    // Each option, 0 or 1, times the bits that it decides about.
    [[gnu::always_inline]] constexpr void prepare(bool shared_by_tables) {
        std::uint64_t const kept = options_.updates_tables * accessed;
        std::uint64_t const flag = (options_.ignores_access ^ 1) * accessed;
        std::uint64_t const two = options_.one_privilege ^ 1;
        table_want_ = 3 | kept;
        table_mask_ = table_want_ | this->bad_address() | (options_.ignores_hierarchy ^ 1) * hierarchy;
        needs_accessed_ = flag & ~(options_.updates_access * accessed);
        shown_ = (own_bits & ~(shared_by_tables ? sharing_bits : 0)) | options_.wide_index * index_bit_3;
        leaf_want_[0] = 3 | flag | two * unprivileged;
        leaf_mask_[0] = leaf_want_[0] | this->bad_address();
        leaf_want_[1] = 3 | flag | (0 - (two & options_.no_executable)); // all ones: nothing at all
        leaf_mask_[1] = 3 | flag | (two & options_.no_unprivileged) * unprivileged | this->bad_address();
    }

    std::uint64_t needs_accessed_{}; // AF, where a leaf must have it
    std::uint64_t shown_{};          // the bits of a leaf that attributes show in their places
    std::uint64_t table_mask_{};
    std::uint64_t table_want_{};
    std::uint64_t leaf_mask_[2]{}; // for unprivileged and privileged requests
    std::uint64_t leaf_want_[2]{};
    stage1_options options_;
};

} // namespace smmu
} // namespace v0
} // namespace stagewalk
