/// \file
/// Stage-2 tables of VMSAv8-64 (DDI 0487 D8.3 to D8.5, IHI 0070 3.4 and 5.2): what a guest's addresses are translated with.
#pragma once

#include "../core/address.hpp"
#include "../core/field.hpp"
#include "../walk/stage.hpp"
#include "capabilities.hpp"
#include "translation_table.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace smmu {

/// Stage-2 table descriptor. It forbids nothing; its address lies as in stage 1.
struct stage2_table_descriptor : entry<64, field<"valid", 0>,       //
                                       field<"type", 1>,            // 1
                                       ignored_field<"IGN", 7, 2>,  //
                                       field<"OA[51:50]", 9, 8>,    // with DS
                                       field<"AF", 10>,             // accessed, with HAFT
                                       ignored_field<"IGN", 11>,    //
                                       pointer_field<"OA", 49, 12>, // the next table; 64 KiB: 15:12 are OA[51:48]
                                       ignored_field<"IGN", 63, 50> //
                                       > {
    using entry::entry;
};

/// Stage-2 page or block descriptor. Its address lies as in stage 1.
struct stage2_leaf_descriptor : entry<64, field<"valid", 0>,       //
                                      field<"type", 1>,            // 1 for a page, 0 for a block
                                      field<"MemAttr", 5, 2>,      // memory type
                                      field<"S2AP[0]", 6>,         // reading is granted
                                      field<"S2AP[1]", 7>,         // writing is granted
                                      field<"SH", 9, 8>,           // shareability; with DS OA[51:50]
                                      field<"AF", 10>,             // accessed
                                      ignored_field<"FnXS", 11>,   // not for SMMUs
                                      pointer_field<"OA", 49, 12>, // the page; 64 KiB: 15:12 are OA[51:48]; a block: 16 is nT
                                      ignored_field<"IGN", 50>,    //
                                      field<"DBM", 51>,            // not writable here means clean
                                      field<"Contiguous", 52>,     // neighbours are alike
                                      field<"XN", 54, 53>,         // 0 all execute, 1 unprivileged, 2 nobody, 3 privileged
                                      field<"NS", 55>,             // Realm streams
                                      ignored_field<"SW", 58, 56>, // for software
                                      field<"PBHA", 62, 59>,       // page-based hardware attributes
                                      ignored_field<"IGN", 63>     //
                                      > {
    using entry::entry;
};

/// What a stream table entry says of stage 2, beside the shape of its tables. Each is 0 or 1, as wide as a register.
struct stage2_options {
    bool execute_by_privilege{}; ///< IDR3.XNX: both bits of XN count; else bit 54 alone.
    bool ignores_access{};       ///< S2AFFD, without S2HA: a clear access flag is no fault.
    bool updates_access{};       ///< S2HA: the access flag is updated.
    bool updates_dirty{};        ///< S2HD with S2HA: the dirty state is updated.
    bool updates_tables{};       ///< S2HAFT with S2HA: the access flags of tables are updated.

    /// Options are equal field by field.
    friend constexpr bool operator==(stage2_options const&, stage2_options const&) = default;
};

/// Stage 2.
///
/// The format's own bits of `attributes`: bits 6:3 MemAttr, 9:8 SH (not with S2DS), 51 DBM, 52 Contiguous, 54:53 XN.
/// \tparam G the granule.
/// \tparam Input what it translates from.
/// \tparam Output what it translates to, and the space of its tables.
template <granule G, class Input = ipa, class Output = pa>
class stage2 : public translation_table<G, Input, Output> {
    using base = translation_table<G, Input, Output>;
    using leaf_entry = stage2_leaf_descriptor;
    using kind = typename base::kind;

public:
    using input = Input;   ///< What it translates from.
    using output = Output; ///< What it translates to, and the space of its tables.
    using code = event;    ///< Its fault code.

    static constexpr fault_stage number = fault_stage::second; ///< It is a stage 2.

    /// The MemAttr field of attributes \p a.
    [[nodiscard]] static constexpr std::uint64_t memory_attribute(attributes a) { return a.bits >> 3 & 15; }
    /// Format bits for memory attribute \p type (4 bits) with shareability \p sharing (0 none, 2 outer, 3 inner).
    [[nodiscard]] static constexpr attributes memory(std::uint64_t type, std::uint64_t sharing) {
        return attributes::from_bits((type & 15) << 3 | (sharing & 3) << 8);
    }

    /// Nothing is carried from level to level: tables forbid nothing.
    struct path {};

    /// The fast lane: which bits of a descriptor to look at, and what they must be.
    struct fast_lane {
        std::uint64_t table_mask; ///< A table: its type, addresses too high, AF where tables keep one.
        std::uint64_t table_want; ///< What that must be.
        std::uint64_t leaf_mask;  ///< A page: its type, AF, the rights needed, address bits that are too high or out of place.
        std::uint64_t page_want;  ///< What that must be.
        stage2 const& of;         ///< Knows which levels may have blocks: rarely asked, so no register is kept for it.

        /// Whether descriptor \p e leads to a table.
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
    /// \param options what else the stream table entry says.
    constexpr stage2(table_shape const& shape, stage2_options options = {})
        : base{shape}, table_want_{3 | (options.updates_tables ? accessed : 0)}, table_mask_{table_want_ | this->bad_address()},
          leaf_want_{3 | (options.ignores_access ? 0 : accessed)}, leaf_mask_{leaf_want_ | this->bad_address()},
          needs_accessed_{options.updates_access || options.ignores_access ? 0 : accessed},
          shown_{own_bits & ~(shape.wide && G != granule::k64 ? sharing_bits : 0)}, options_{options} {}

    /// The fast lane for a request that needs \p a.
    [[nodiscard, gnu::always_inline]] constexpr fast_lane lane(access a) const { return lane_over(table_mask_, leaf_mask_, a); }
    /// The fast lane for tables that we wrote.
    [[nodiscard, gnu::always_inline]] constexpr fast_lane trusting_lane(access a) const {
        return lane_over(table_mask_ & ~this->too_high(), leaf_mask_ & ~this->too_high(), a);
    }

    /// The law (IHI 0070 3.4, 7.3.12 to 7.3.16): validity, address size, access flag, permission.
    [[nodiscard]] constexpr judgement<event> judge(step const& at, access a, path&, step&) const {
        using answer = judgement<event>;
        std::uint64_t const e = at.entry;
        kind const is = this->kind_of(at.level, e);
        if (is == kind::invalid) return answer::refuse(event::f_translation, fault_at::input, at);
        if (this->is_too_wide(e, at.level, is == kind::leaf)) return answer::refuse(event::f_addr_size, fault_at::input, at);
        if (is == kind::table) return answer::table(at.level - 1);
        if (a != none && !is_accessible(e)) return answer::refuse(event::f_access, fault_at::input, at);
        std::uint64_t const granted = rights(e, a);
        std::uint64_t const missing = needs(a) & ~granted;
        if (a.covers(inquiring) ? granted == 0 : missing != 0)
            return answer::refuse(event::f_permission, fault_at::input, at, missing);
        return answer::leaf(base::shift(at.level));
    }

    /// Descriptor \p at after its use: AF, and the dirty state of a leaf that is written.
    [[nodiscard]] constexpr std::uint64_t marked(step const& at, access a, path const&, bool leaf) const {
        std::uint64_t const e = at.entry;
        if (a == none || !options_.updates_access) return e;
        if (!leaf) return options_.updates_tables ? e | accessed : e;
        return e | accessed | (is_clean(e) && a.covers(write) ? writable : 0);
    }
    /// Whether descriptors can be updated.
    [[nodiscard]] static constexpr bool may_update() { return true; }
    /// Never used: they can.
    [[nodiscard]] static constexpr event update_refused() { return event::f_walk_eabt; }
    /// The fault of an update that failed.
    [[nodiscard]] static constexpr event update_failed() { return event::f_walk_eabt; }

    /// Nothing is carried.
    [[gnu::always_inline]] static constexpr void carry(path&, std::uint64_t) {}
    /// What the page or block that \p e maps grants to a requester like that of \p a.
    [[nodiscard, gnu::always_inline]] constexpr attributes leaf_attributes(std::uint64_t e, std::uint64_t, path const&,
                                                                           access a) const {
        std::uint64_t const own = (e & type_bits) << 1 | (e & shown_);
        std::uint64_t const granted = is_accessible(e) ? rights(e, a) & ~(is_kept_clean(e, a) ? write.bits : 0) : 0;
        return attributes::from_bits(own | granted);
    }

    /// The same of a descriptor that the fast lane took for \p a: it is accessible.
    [[nodiscard, gnu::always_inline]] constexpr attributes plain_attributes(std::uint64_t e, access a) const {
        return attributes::from_bits((e & type_bits) << 1 | (e & shown_) | rights(e, a));
    }

    /// Whether a page at \p o with attributes \p at can be written down: a right at all, and an address and bits that there are.
    /// There is no right to execute without that to read.
    [[nodiscard]] constexpr bool can_encode(Output o, attributes at) const {
        std::uint64_t const known = attributes::rights_mask | type_bits << 1 | shown_;
        return (at.bits & read_write.bits) != 0 && (!at.rights().covers(execute) || at.rights().covers(read)) &&
               (at.bits & ~known) == 0 && this->has_place(o.value);
    }
    /// The descriptor that maps 2^\p lg2 bytes at \p o, with its access flag set. Without the right to execute, XN says nobody,
    /// unless the attributes set it themselves.
    [[nodiscard]] constexpr std::uint64_t make_leaf(Output o, std::uint64_t lg2, attributes at) const {
        std::uint64_t const own = at.bits & own_bits;
        bool const bars = !at.rights().covers(execute) && (own & leaf_entry::mask<"XN">()) == 0;
        return this->with_address(o.value) | own | (at.bits >> 1 & type_bits) | accessed |
               (at.rights().covers(read) ? readable : 0) | (at.rights().covers(write) ? writable : 0) |
               (bars ? nobody_executes : 0) | (lg2 == base::lg2_page ? 3 : 1);
    }

    /// Stages are equal that translate alike.
    friend constexpr bool operator==(stage2 const&, stage2 const&) = default;

private:
    static constexpr std::uint64_t type_bits = leaf_entry::mask<"MemAttr">();
    static constexpr std::uint64_t readable = leaf_entry::mask<"S2AP[0]">();
    static constexpr std::uint64_t writable = leaf_entry::mask<"S2AP[1]">();
    static constexpr std::uint64_t sharing_bits = leaf_entry::mask<"SH">();
    static constexpr std::uint64_t accessed = leaf_entry::mask<"AF">();
    static constexpr std::uint64_t dirty_managed = leaf_entry::mask<"DBM">();
    static constexpr std::uint64_t nobody_executes = std::uint64_t{1} << 54; // with or without XNX
    static constexpr std::uint64_t by_privilege = std::uint64_t{1} << 53;    // the other bit of XN
    static constexpr std::uint64_t own_bits =
        sharing_bits | dirty_managed | leaf_entry::mask<"Contiguous">() | leaf_entry::mask<"XN">();
    // What the fast lane wants of a descriptor that it must not take: bits that its mask does not have.
    static constexpr std::uint64_t nothing_at_all = ~std::uint64_t{0};

    // To fetch an instruction takes the right to read as well; to write one, that of data.
    [[nodiscard]] static constexpr std::uint64_t needs(access a) {
        return fetches(a) ? read.bits | execute.bits : a.bits & read_write.bits;
    }
    [[nodiscard]] static constexpr bool fetches(access a) { return (a.bits & (execute.bits | write.bits)) == execute.bits; }
    [[nodiscard, gnu::always_inline]] constexpr bool is_accessible(std::uint64_t e) const { return (~e & needs_accessed_) == 0; }
    [[nodiscard, gnu::always_inline]] constexpr bool is_clean(std::uint64_t e) const {
        return options_.updates_dirty && (e & (dirty_managed | writable)) == dirty_managed;
    }
    // Whether somebody who only asks, and not for writing, would leave unseen that the page gets dirty.
    [[nodiscard, gnu::always_inline]] constexpr bool is_kept_clean(std::uint64_t e, access a) const {
        return (a.bits & (inquiring.bits | write.bits)) == inquiring.bits && is_clean(e);
    }

    // What a leaf grants to a requester like that of a (DDI 0487 D8.4.2).
    [[nodiscard, gnu::always_inline]] constexpr std::uint64_t rights(std::uint64_t e, access a) const {
        bool const reads = (e & readable) != 0;
        bool const writes = (e & writable) != 0 || is_clean(e);
        return (reads ? read.bits : 0) | (writes ? write.bits : 0) |
               (reads && executes(e, a.covers(privileged)) ? execute.bits : 0);
    }
    [[nodiscard]] constexpr bool executes(std::uint64_t e, bool is_privileged) const {
        bool const upper = (e & nobody_executes) != 0;
        if (!options_.execute_by_privilege) return !upper;
        bool const lower = (e & by_privilege) != 0;
        return is_privileged ? upper == lower : !upper;
    }

    // The fast lane serves who reads or writes data; who fetches, asks or needs nothing goes by the law.
    [[nodiscard, gnu::always_inline]] constexpr fast_lane lane_over(std::uint64_t table_mask, std::uint64_t leaf_mask,
                                                                    access a) const {
        static_assert(readable == read.bits << 6 && writable == write.bits << 6);
        std::uint64_t const right = (a.bits & read_write.bits) << 6;
        bool const plain = (a.bits & (execute.bits | inquiring.bits)) == 0 && right != 0;
        return {table_mask, table_want_, leaf_mask | right, plain ? leaf_want_ | right : nothing_at_all, *this};
    }

    std::uint64_t table_want_;
    std::uint64_t table_mask_;
    std::uint64_t leaf_want_;
    std::uint64_t leaf_mask_;
    std::uint64_t needs_accessed_; // AF, where a leaf must have it
    std::uint64_t shown_;          // the bits of a leaf that attributes show in their places
    stage2_options options_;
};

} // namespace smmu
} // namespace v0
} // namespace stagewalk
