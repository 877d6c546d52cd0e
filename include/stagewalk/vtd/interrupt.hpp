/// \file
/// Interrupt remapping (VT-d chapter 5, 9.10 to 9.12): what becomes of a write to FEEx_xxxxh.
#pragma once

#include "../core/fault.hpp"
#include "../core/field.hpp"
#include "../core/outcome.hpp"
#include "../memory/concept.hpp"
#include "../walk/update.hpp"
#include "capabilities.hpp"
#include "fault_record.hpp"
#include "policy.hpp"
#include "reason.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace vtd {

/// IRTA_REG, offset 0b8h (VT-d 11.4.19). A unit uses the value that GCMD.SIRTP latched.
struct interrupt_table_address : entry<64, pointer_field<"IRTA", 63, 12>, // the table
                                       field<"EIME", 11>,                 // extended interrupt mode: 32-bit destinations
                                       field<"S", 3, 0>                   // 2^(S + 1) entries
                                       > {
    using entry::entry;

    /// The number of entries.
    [[nodiscard]] constexpr std::uint64_t entries() const { return std::uint64_t{2} << get<"S">(); }
};

/// The address of an interrupt request (VT-d 5.1.2.2).
struct interrupt_address : entry<64, field<"FEE", 31, 20>,  // feeh
                                 field<"HANDLE", 19, 5>,    // handle 14:0
                                 field<"FORMAT", 4>,        // 1 remappable, 0 compatibility
                                 field<"SHV", 3>,           // the data holds a subhandle
                                 field<"HANDLE15", 2>,      // handle 15
                                 ignored_field<"IGN", 1, 0> //
                                 > {
    using entry::entry;

    /// The handle, 16 bits.
    [[nodiscard]] constexpr std::uint64_t handle() const { return get<"HANDLE15">() << 15 | get<"HANDLE">(); }
};

/// Interrupt remapping entry with IM = 0 (VT-d 9.10).
struct remapped_interrupt_entry : entry<128, field<"P", 0>, // present
                                        field<"FPD", 1>,    // faults of this entry are not recorded; counts even if P = 0
                                        field<"DM", 2>,     // destination mode: 0 physical, 1 logical
                                        field<"RH", 3>,     // redirection hint
                                        field<"TM", 4>,     // trigger mode: 0 edge, 1 level
                                        field<"DLM", 7, 5>, // delivery mode
                                        ignored_field<"AVAIL", 11, 8>, //
                                        field<"IM", 15>,               // 0
                                        field<"V", 23, 16>,            // vector
                                        field<"DST", 63, 32>,          // destination: 32 bits, or 8 in 47:40 without EIME
                                        field<"SID", 79, 64>,          // whose requests are accepted
                                        field<"SQ", 81, 80>,           // which bits of SID do not count
                                        field<"SVT", 83, 82>           // how the requester is verified
                                        > {
    using entry::entry;
};

/// Interrupt remapping entry with IM = 1 (VT-d 9.11).
struct posted_interrupt_entry : entry<128, field<"P", 0>, // present
                                      field<"FPD", 1>,    // faults of this entry are not recorded; counts even if P = 0
                                      ignored_field<"AVAIL", 11, 8>, //
                                      field<"URG", 14>,              // notify even while suppressed
                                      field<"IM", 15>,               // 1
                                      field<"VV", 23, 16>,           // virtual vector
                                      field<"PDAL", 63, 38>,         // descriptor address 31:6
                                      field<"SID", 79, 64>,          // whose requests are accepted
                                      field<"SQ", 81, 80>,           // which bits of SID do not count
                                      field<"SVT", 83, 82>,          // how the requester is verified
                                      field<"PDAH", 127, 96>         // descriptor address 63:32
                                      > {
    using entry::entry;

    /// The address of the posted-interrupt descriptor.
    [[nodiscard]] constexpr std::uint64_t descriptor() const { return get<"PDAH">() << 32 | get<"PDAL">() << 6; }
};

/// Posted-interrupt descriptor (VT-d 9.12), 64 bytes.
struct posted_descriptor : entry<512, field<"PIR0", 63, 0>, // requested vectors 0 to 63
                                 field<"PIR1", 127, 64>,    // 64 to 127
                                 field<"PIR2", 191, 128>,   // 128 to 191
                                 field<"PIR3", 255, 192>,   // 192 to 255
                                 field<"ON", 256>,          // a notification is outstanding
                                 field<"SN", 257>,          // notifications are suppressed
                                 field<"NV", 279, 272>,     // notification vector
                                 field<"NDST", 319, 288>    // notification destination
                                 > {
    using entry::entry;
};

/// A write to the interrupt range.
struct interrupt_request {
    std::uint16_t source{};  ///< Requester id.
    std::uint64_t address{}; ///< FEEx_xxxxh.
    std::uint32_t data{};    ///< The DWORD written.
};

/// What is to be sent.
enum class delivery : std::uint8_t {
    unchanged, ///< The request as it is: remapping is off, or the compatibility format is let through.
    remapped,  ///< The message in `address` and `data`.
    posted,    ///< Vector `vector` into the descriptor at `descriptor`.
};

/// What becomes of an interrupt request.
struct interrupt_answer {
    delivery how{};             ///< What is to be sent.
    bool urgent{};              ///< Posted: URG.
    std::uint8_t vector{};      ///< Remapped: the vector. Posted: the virtual vector.
    std::uint32_t data{};       ///< Unchanged and remapped: the data of the message.
    std::uint64_t address{};    ///< Unchanged and remapped: the address of the message, upper 32 bits with EIME.
    std::uint64_t descriptor{}; ///< Posted: the address of the descriptor.
    std::uint32_t index{};      ///< The interrupt index, unless unchanged.
    bool quiet{};               ///< Posted: FPD, faults of the descriptor (27h, 28h) are not recorded.

    /// Answers are equal field by field.
    friend constexpr bool operator==(interrupt_answer const&, interrupt_answer const&) = default;
};

/// How interrupt remapping is set up (GSTS.IRES, GSTS.CFIS).
struct interrupt_settings {
    bool enabled{true};          ///< GSTS.IRES.
    bool compatibility_passes{}; ///< GSTS.CFIS: compatibility-format requests pass while EIME = 0.
    policy rules{};              ///< The points that the manual leaves open.
};

/// The interrupt remapping of a unit, over the memory that holds its table.
/// \tparam M the memory.
template <memory M>
class interrupt_remapping {
public:
    using fault_type = fault<reason>; ///< Its fault; `input` is the request's address, `detail` the interrupt index.

    /// \param caps the unit's capabilities.
    /// \param table IRTA_REG as GCMD.SIRTP latched it.
    /// \param m the memory that holds the table, alive as long as this object.
    /// \param set how it is set up.
    constexpr interrupt_remapping(capabilities const& caps, interrupt_table_address table, M& m, interrupt_settings set = {})
        : caps_{caps}, table_{table}, memory_{&m}, settings_{set} {}

    /// What becomes of \p r. Order of checks: 2Bh, 2Ah, 25h, 20h, 21h, 23h, 22h, then the requester and the format by policy.
    [[nodiscard]] constexpr outcome<interrupt_answer, fault_type> remap(interrupt_request const& r) const noexcept {
        interrupt_answer const unchanged{delivery::unchanged, false, static_cast<std::uint8_t>(r.data), r.data, r.address};
        if (!settings_.enabled) {
            if (caps_.has<"IRREQ">()) return refuse(r, reason::interrupt_remapping_required, 0);
            return unchanged;
        }
        bool const extended = table_.get<"EIME">() != 0;
        if (!extended && caps_.has<"EIMER">()) return refuse(r, reason::interrupt_mode_required, 0);
        interrupt_address const address{r.address};
        if (address.get<"FORMAT">() == 0) {
            if (extended || !settings_.compatibility_passes) return refuse(r, reason::interrupt_compatibility_blocked, 0);
            return unchanged;
        }

        bool const subhandle = address.get<"SHV">() != 0;
        if (subhandle && r.data >> 16 != 0) return refuse(r, reason::interrupt_reserved, 0);
        std::uint64_t const index = address.handle() + (subhandle ? r.data & 0xffff : 0);
        std::uint64_t const table = table_.get<"IRTA">(); // beyond the host, the sum could wrap into low memory
        std::uint64_t const at = table + index * sizeof(remapped_interrupt_entry);
        if (index >= table_.entries() || ((table | (at + sizeof(remapped_interrupt_entry) - 1)) & caps_.beyond_host()) != 0)
            return refuse(r, reason::interrupt_index, index);

        std::uint64_t word[2]{};
        for (std::size_t i = 0; i < 2; ++i) {
            auto const loaded = memory_->load(typename M::address{at + i * 8});
            if (!loaded) return refuse(r, reason::interrupt_unreadable, index, at + i * 8);
            word[i] = *loaded;
        }
        remapped_interrupt_entry const e{word[0], word[1]};
        bool const quiet = e.get<"FPD">() != 0;
        if (e.get<"P">() == 0) return refuse(r, reason::interrupt_not_present, index, at, quiet);
        bool const bad_format = !is_well_formed(e, extended);
        bool const reserved_first = settings_.rules.interrupt == interrupt_order::reserved_first;
        if (reserved_first && bad_format) return refuse(r, reason::interrupt_entry_reserved, index, at, quiet);
        if (e.get<"SVT">() == 3 && settings_.rules.source_check == reserved_source_check::reserved)
            return refuse(r, reason::interrupt_entry_reserved, index, at, quiet);
        if (!is_source_accepted(e, r.source)) return refuse(r, reason::interrupt_source, index, at, quiet);
        if (bad_format) return refuse(r, reason::interrupt_entry_reserved, index, at, quiet);

        interrupt_answer answer;
        answer.index = static_cast<std::uint32_t>(index);
        if (e.get<"IM">() != 0) {
            posted_interrupt_entry const posted{word[0], word[1]};
            answer.how = delivery::posted;
            answer.urgent = posted.get<"URG">() != 0;
            answer.vector = static_cast<std::uint8_t>(posted.get<"VV">());
            answer.descriptor = posted.descriptor();
            answer.quiet = quiet;
            return answer;
        }
        std::uint64_t const destination = extended ? e.get<"DST">() : e.get<"DST">() >> 8 & 0xff;
        answer.how = delivery::remapped;
        answer.vector = static_cast<std::uint8_t>(e.get<"V">());
        answer.address =
            (destination >> 8) << 40 | 0xfee0'0000 | (destination & 0xff) << 12 | e.get<"RH">() << 3 | e.get<"DM">() << 2;
        answer.data = static_cast<std::uint32_t>(e.get<"TM">() << 15 | 1u << 14 | e.get<"DLM">() << 8 | e.get<"V">());
        return answer;
    }

private:
    // The reserved fields of an entry, those included that depend on its format, the mode and the capabilities.
    [[nodiscard]] constexpr bool is_well_formed(remapped_interrupt_entry const& e, bool extended) const {
        if (e.get<"IM">() != 0) {
            posted_interrupt_entry const p{e.word[0], e.word[1]};
            return caps_.cap.get<"PI">() != 0 && (p.word[0] & posted_interrupt_entry::reserved(0)) == 0 &&
                   (p.word[1] & posted_interrupt_entry::reserved(1)) == 0 && (p.descriptor() & caps_.beyond_host()) == 0;
        }
        std::uint64_t const mode = e.get<"DLM">();
        bool const destination_fits = extended || (e.get<"DST">() & ~std::uint64_t{0xff00}) == 0;
        return (e.word[0] & remapped_interrupt_entry::reserved(0)) == 0 &&
               (e.word[1] & remapped_interrupt_entry::reserved(1)) == 0 && mode != 3 && mode != 6 && destination_fits;
    }

    [[nodiscard]] static constexpr bool is_source_accepted(remapped_interrupt_entry const& e, std::uint16_t source) {
        std::uint64_t const sid = e.get<"SID">();
        switch (e.get<"SVT">()) {
        case 0: return true;
        case 1: {
            constexpr std::uint64_t ignored[]{0, 4, 6, 7};
            return ((sid ^ source) & ~ignored[e.get<"SQ">()] & 0xffff) == 0;
        }
        case 2: return sid >> 8 <= (source >> 8u) && (source >> 8u) <= (sid & 0xff);
        default: return false;
        }
    }

    [[nodiscard, gnu::cold]] constexpr outcome<interrupt_answer, fault_type>
    refuse(interrupt_request const& r, reason code, std::uint64_t index, std::uint64_t at = 0, bool quiet = false) const {
        fault_type f;
        f.code = code;
        f.at = at != 0 ? fault_at::table : fault_at::input;
        f.reported = !(quiet && is_qualified(code));
        f.input = r.address;
        f.descriptor = at;
        f.detail = index;
        return failure{f};
    }

    capabilities caps_;
    interrupt_table_address table_;
    M* memory_;
    interrupt_settings settings_;
};

/// The record of fault \p f of interrupt request \p r, F set: the interrupt index takes the place of the address.
[[nodiscard]] constexpr fault_record to_record(fault<reason> const& f, interrupt_request const& r) {
    fault_record record;
    record.set<"FI">((f.detail & 0xffff) << 48);
    record.set<"SID">(r.source);
    record.set<"FR">(static_cast<std::uint64_t>(f.code));
    record.set<"F">(1);
    return record;
}

/// What posting an interrupt asks for.
struct notification {
    bool due{};                  ///< Whether a notification is to be sent.
    std::uint8_t vector{};       ///< Its vector (NV).
    std::uint32_t destination{}; ///< Its destination (NDST): 32 bits, or the xAPIC id in 15:8.
};

/// Posts \p vector into the descriptor at \p at (VT-d 5.2.3): sets its bit, and ON if a notification is due.
/// \param m the memory that holds the descriptor.
/// \param at the descriptor's address, 64-byte aligned.
/// \param vector the virtual vector.
/// \param urgent URG of the remapping entry.
/// \return what is to be sent, or 27h (it cannot be accessed) or 28h (reserved fields are set).
template <updatable_memory M>
[[nodiscard]] constexpr outcome<notification, reason> post(M& m, typename M::address at, std::uint8_t vector,
                                                           bool urgent) noexcept {
    posted_descriptor d;
    for (std::size_t w = 4; w < posted_descriptor::words; ++w) {
        auto const loaded = m.load(at + w * 8);
        if (!loaded) return failure{reason::posted_descriptor_unreadable};
        d.word[w] = *loaded;
        if ((d.word[w] & posted_descriptor::reserved(w)) != 0) return failure{reason::posted_descriptor_reserved};
    }
    auto const set = [&](std::uint64_t offset, std::uint64_t seen, auto const& desired_of, std::uint64_t& judged) {
        for (unsigned tries = 0; tries < max_restarts; ++tries) {
            judged = seen;
            auto const done = m.compare_exchange(at + offset, seen, desired_of(seen));
            if (!done) return false;
            if (*done) return true;
        }
        return false;
    };
    std::uint64_t const request_at = std::uint64_t{vector} / 64 * 8;
    auto const requests = m.load(at + request_at);
    std::uint64_t judged = 0;
    if (!requests || !set(
                         request_at, *requests, [&](std::uint64_t w) { return w | std::uint64_t{1} << (vector % 64u); }, judged))
        return failure{reason::posted_descriptor_unreadable};

    // ON changes together with the decision, on the very value that it was made on.
    auto const is_due = [&](std::uint64_t w) { return (w & 1) == 0 && (urgent || (w & 2) == 0); };
    if (!set(
            32, d.word[4], [&](std::uint64_t w) { return is_due(w) ? w | 1 : w; }, judged))
        return failure{reason::posted_descriptor_unreadable};
    d.word[4] = judged;
    return notification{is_due(judged), static_cast<std::uint8_t>(d.get<"NV">()), static_cast<std::uint32_t>(d.get<"NDST">())};
}

} // namespace vtd
} // namespace v0
} // namespace stagewalk
