/// \file
/// The 32 bytes that an SMMU writes into its event queue (IHI 0070 7.3), and the queue's own rules (7.2).
#pragma once

#include "../core/fault.hpp"
#include "../core/field.hpp"
#include "../core/size.hpp"
#include "capabilities.hpp"
#include "event.hpp"
#include "request.hpp"

#include <cstddef>
#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace smmu {

/// An event. Which fields count depends on its type.
struct event_record : entry<256, field<"TYPE", 7, 0>,                   // see event
                            field<"SSV", 11>,                           // there is a SubstreamID
                            field<"SubstreamID", 31, 12>,               //
                            field<"StreamID", 63, 32>,                  //
                            field<"STAG", 79, 64>,                      // of a stalled access; of others the unit's own reason
                            field<"GPCF", 80>,                          // granule protection check (RME)
                            field<"Stall", 95>,                         // the access waits
                            field<"PnU", 97>,                           // it is privileged
                            field<"InD", 98>,                           // it reads an instruction
                            field<"RnW", 99>,                           // it reads
                            field<"NSIPA", 102>,                        // Realm and Secure streams
                            field<"S2", 103>,                           // stage 2 refused
                            field<"CLASS", 105, 104>,                   // 0 CD, 1 TT, 2 IN
                            field<"TTRnW", 108>,                        // with CLASS = TT: a table was read, not updated
                            pointer_field<"InputAddr", 191, 128>,       // the address, as it came
                            pointer_field<"IPA or FetchAddr", 247, 195> // intermediate address 55:12, or fetch address 55:3
                            > {
    using entry::entry;
};

/// E_PAGE_REQUEST (IHI 0070 7.3.19): a hint of the device. The positions of its flags come from one source.
struct page_request_record : entry<256, field<"TYPE", 7, 0>,            // 24h
                                   field<"SSV", 11>,                    // there is a SubstreamID
                                   field<"SubstreamID", 31, 12>,        //
                                   field<"StreamID", 63, 32>,           //
                                   field<"uX", 97>,                     // unprivileged execution
                                   field<"uW", 98>,                     // unprivileged writing
                                   field<"uR", 99>,                     // unprivileged reading
                                   field<"pX", 101>,                    // privileged execution
                                   field<"pW", 102>,                    // privileged writing
                                   field<"pR", 103>,                    // privileged reading
                                   field<"Span", 115, 108>,             // pages after the first
                                   pointer_field<"InputAddr", 191, 140> // the page
                                   > {
    using entry::entry;
};

/// The record of fault \p f of request \p r. Whether it is written at all says `f.reported`.
/// \param f the fault; its code is an event's, and its `detail` as smmu::iommu makes it.
/// \param r the request that was refused.
/// \param caps the capabilities: bits of intermediate and fetch addresses beyond OAS are 0.
/// \param tag the stall tag of a stalled access, unlike those of all others of its StreamID that still wait.
[[nodiscard]] constexpr event_record to_record(fault<event> const& f, request const& r, capabilities const& caps,
                                               std::uint16_t tag = 0) {
    event_record e;
    e.set<"TYPE">(static_cast<std::uint64_t>(f.code));
    e.set<"StreamID">(r.source);
    bool const names_substream =
        f.code != event::f_stream_disabled && f.code != event::f_transl_forbidden && f.code != event::c_bad_substreamid;
    if (r.has_pasid() && (names_substream || f.code == event::c_bad_substreamid)) e.set<"SubstreamID">(r.pasid);
    if (r.has_pasid() && names_substream) e.set<"SSV">(1);

    bool const walked = is_stage_event(f.code) || f.code == event::f_walk_eabt || f.code == event::f_tlb_conflict;
    if (walked || f.code == event::f_uut) {
        e.word[1] |= f.detail & fault_detail::recorded;
    } else if (f.code == event::f_transl_forbidden) {
        e.word[1] |= f.detail & fault_detail::reading;
    }
    if (e.get<"Stall">() != 0) e.set<"STAG">(tag);
    if (walked || f.code == event::f_uut || f.code == event::f_transl_forbidden || f.code == event::f_bad_ats_treq)
        e.set<"InputAddr">(f.input);

    std::uint64_t const reach = low_mask(caps.output_size());
    if (is_stage_event(f.code) || f.code == event::f_tlb_conflict)
        e.set<"IPA or FetchAddr">(f.stage == fault_stage::second ? f.intermediate & reach & ~low_mask(12) : 0);
    if (f.code == event::f_walk_eabt || f.code == event::f_ste_fetch || f.code == event::f_cd_fetch ||
        f.code == event::f_vms_fetch)
        e.set<"IPA or FetchAddr">(f.descriptor & reach);
    return e;
}

/// Whether \p later may be left out because \p earlier says the same (IHI 0070 7.3.1): STE.MEV allows it, or it is a
/// configuration event whose repetition says nothing. A stalled access is always told.
/// \param earlier a record that software has not yet seen.
/// \param later the record that is due.
/// \param merges STE.MEV of the stream.
[[nodiscard]] constexpr bool may_merge(event_record const& earlier, event_record const& later, bool merges) {
    if (earlier.get<"Stall">() != 0 || later.get<"Stall">() != 0) return false;
    auto const type = static_cast<event>(later.get<"TYPE">());
    if (!merges && !(type >= event::f_uut && type <= event::c_bad_ste)) return false;
    bool const within_page =
        is_stage_event(type) || type == event::f_walk_eabt || type == event::f_transl_forbidden || type == event::f_tlb_conflict;
    for (std::size_t w = 0; w < event_record::words; ++w) {
        std::uint64_t const counts = w == 2 && within_page ? ~low_mask(12) : ~std::uint64_t{0};
        if (((earlier.word[w] ^ later.word[w]) & counts) != 0) return false;
    }
    return true;
}

/// What becomes of a record.
enum class event_delivery : std::uint8_t {
    written, ///< It goes into the queue.
    dropped, ///< It is lost, and the queue says that something was.
    ignored, ///< It is lost without a word: the queue is off, or failed.
    waits,   ///< The access stays stalled, and is told or tried again when there is room.
};

/// The registers of the event queue (IHI 0070 6.3.29 to 6.3.31), and what they mean for the next record.
struct event_queue {
    std::uint64_t lg2_size{}; ///< EVENTQ_BASE.LOG2SIZE: 2^this records of 32 bytes; more than 19 counts as 19.
    std::uint32_t prod{};     ///< EVENTQ_PROD: index and wrap bit, and OVFLG in bit 31.
    std::uint32_t cons{};     ///< EVENTQ_CONS: index and wrap bit, and OVACKFLG in bit 31.
    bool enabled{};           ///< CR0.EVENTQEN.
    bool failed{};            ///< GERROR.EVENTQ_ABT_ERR is active.

    /// Whether it has no room: the indices are equal, the wrap bits are not.
    [[nodiscard]] constexpr bool is_full() const { return ((prod ^ cons) & low_mask(bits() + 1)) == std::uint64_t{1} << bits(); }
    /// Whether a loss is not acknowledged yet.
    [[nodiscard]] constexpr bool has_overflowed() const { return ((prod ^ cons) >> 31) != 0; }
    /// Where in the queue the next record goes, in bytes.
    [[nodiscard]] constexpr std::uint64_t next() const { return (prod & low_mask(bits())) * sizeof(event_record); }

    /// Takes account of record \p e. After `written` the caller stores it where next() said before the call, and only then shows
    /// the new `prod` to software.
    constexpr event_delivery take(event_record const& e) {
        bool const stalled = e.get<"Stall">() != 0;
        if (!enabled || failed) return stalled ? event_delivery::waits : event_delivery::ignored;
        if (is_full()) {
            if (stalled) return event_delivery::waits;
            if (!has_overflowed()) prod ^= std::uint32_t{1} << 31;
            return event_delivery::dropped;
        }
        std::uint64_t const index = (prod + 1) & low_mask(bits() + 1);
        prod = static_cast<std::uint32_t>((prod & (std::uint64_t{1} << 31)) | index);
        return event_delivery::written;
    }

private:
    [[nodiscard]] constexpr std::uint64_t bits() const { return lg2_size < 19 ? lg2_size : 19; }
};

} // namespace smmu
} // namespace v0
} // namespace stagewalk
