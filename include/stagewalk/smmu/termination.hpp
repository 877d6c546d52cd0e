/// \file
/// What becomes of a refused access: whether it is told, stalls, aborts or reads zero (IHI 0070 3.12, CD.S, R and A, STE.S2S and
/// S2R).
#pragma once

#include "../core/access.hpp"
#include "../core/address.hpp"
#include "../core/fault.hpp"
#include "capabilities.hpp"
#include "context_descriptor.hpp"
#include "control.hpp"
#include "event.hpp"
#include "stream_table.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace smmu {

/// The flags of an event record that the access and the place of fault \p f give; see `fault_detail`.
/// \param f the fault: its code, stage, place and missing rights count.
/// \param need what the access needed, after the overrides of the stream table entry.
/// \param caps the capabilities: from SMMUv3.1 on an atomic operation that may not read is told as a read.
[[nodiscard]] constexpr std::uint64_t flags_of(fault<event> const& f, access need, capabilities const& caps) {
    bool const second = f.stage == fault_stage::second;
    std::uint64_t const place = !second && f.code != event::f_walk_eabt ? 2 : static_cast<std::uint64_t>(f.at);
    bool const missing_read =
        f.code == event::f_permission && place == 2 && (f.detail & read.bits) != 0 && caps.minor_version() >= 1;
    bool const reads = !need.covers(write) || (need.covers(read) && missing_read);
    return (need.covers(privileged) ? fault_detail::privileged : 0) | (need.covers(execute) ? fault_detail::instruction : 0) |
           (reads ? fault_detail::reading : 0) | (second ? fault_detail::second_stage : 0) | place << fault_detail::class_at;
}

/// Whether event \p e of a translation request is told: one that must not be, and what is broken where CR2.REC_CFG_ATS says so;
/// never what a stage does not grant (IHI 0070 3.9.1).
[[nodiscard]] constexpr bool is_told_of_translation(event e, capabilities const& caps, control const& registers) {
    return e == event::f_bad_ats_treq ||
           (!is_stage_event(e) && caps.has<"ATSRECERR">() && registers.cr2.get<"REC_CFG_ATS">() != 0);
}

namespace detail {

[[nodiscard]] constexpr fault<event> terminated(fault<event> f, bool stalls, bool records, bool aborts) {
    if (!is_stage_event(f.code)) return f;
    f.reported = stalls || records;
    if (stalls) f.detail |= fault_detail::stalled;
    if (!stalls && !aborts) f.detail |= fault_detail::reads_zero;
    return f;
}

} // namespace detail

/// Fault \p f of stage 1 itself, of input address \p at, with what becomes of the access.
/// \param f the fault.
/// \param context the context descriptor.
/// \param at the input address.
/// \param need what the access needed, after overrides.
/// \param caps the capabilities.
/// \param registers the registers.
[[nodiscard, gnu::cold, gnu::noinline]] constexpr fault<event> refused_by_stage1(fault<event> f,
                                                                                 context_descriptor const& context, iova at,
                                                                                 access need, capabilities const& caps,
                                                                                 control const& registers) {
    f.input = at.value;
    f.detail |= flags_of(f, need, caps);
    if (need.covers(inquiring)) {
        f.reported = is_told_of_translation(f.code, caps, registers);
        return f;
    }
    return detail::terminated(f, context.get<"S">() != 0, context.get<"R">() != 0, context.get<"A">() != 0);
}

/// Fault \p f of stage 2, of input address \p at, with what becomes of the access. It always aborts or stalls.
/// \param f the fault; its place says what stage 2 was to translate.
/// \param stream the stream table entry.
/// \param at the input address.
/// \param need what the access needed, after overrides.
/// \param caps the capabilities.
/// \param registers the registers.
[[nodiscard, gnu::cold, gnu::noinline]] constexpr fault<event> refused_by_stage2(fault<event> f, stream_table_entry const& stream,
                                                                                 iova at, access need, capabilities const& caps,
                                                                                 control const& registers) {
    f.input = at.value;
    f.detail |= flags_of(f, need, caps);
    if (need.covers(inquiring)) {
        f.reported = is_told_of_translation(f.code, caps, registers);
        return f;
    }
    return detail::terminated(f, stream.get<"S2S">() != 0, stream.get<"S2R">() != 0, true);
}

} // namespace smmu
} // namespace v0
} // namespace stagewalk
