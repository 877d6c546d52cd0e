/// \file
/// Invalidation by registers (VT-d 6.5.1), the way before the queue: what a write to CCMD_REG or IOTLB_REG makes stale.
#pragma once

#include "../core/field.hpp"
#include "capabilities.hpp"
#include "command.hpp"
#include "root_table.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace vtd {

/// CCMD_REG, offset 028h (VT-d 11.4): context caches.
struct context_command_register : entry<64, field<"DID", 15, 0>, // domain
                                        field<"SID", 31, 16>,    // requester
                                        field<"FM", 33, 32>,     // which bits of SID do not count: none, 2, 2:1, 2:0
                                        field<"CAIG", 60, 59>,   // what was done, as CIRG; 0 nothing
                                        field<"CIRG", 62, 61>,   // 1 all, 2 those of a domain, 3 those of a source
                                        field<"ICC", 63>         // 1 starts, 0 done
                                        > {
    using entry::entry;
};

/// IOTLB_REG, offset IRO * 16 + 8 (VT-d 11.4).
struct iotlb_register : entry<64, field<"DID", 47, 32>, // domain
                              field<"DW", 48>,          // drain writes
                              field<"DR", 49>,          // drain reads
                              field<"IAIG", 58, 57>,    // what was done, as IIRG; 0 nothing
                              field<"IIRG", 61, 60>,    // 1 all, 2 those of a domain, 3 pages of a domain
                              field<"IVT", 63>          // 1 starts, 0 done
                              > {
    using entry::entry;
};

/// IVA_REG, offset IRO * 16 (VT-d 11.4): the pages that IOTLB_REG means.
struct invalidate_address_register : entry<64, field<"AM", 5, 0>,        // 2^AM pages
                                           field<"IH", 6>,               // no table above the leaves has changed
                                           pointer_field<"ADDR", 63, 12> // the first page
                                           > {
    using entry::entry;
};

/// What a write to one of the registers comes to.
/// \tparam Register the register.
template <class Register>
struct register_answer {
    Register value;       ///< What software reads when it is done.
    invalidation stale{}; ///< What it makes stale.
};

/// Whether a unit takes invalidations by registers: of a major version up to 5, in legacy mode, with the queue off.
/// \param queue_enabled GSTS.QIES.
/// \param mode the latched translation table mode.
/// \param caps the unit's capabilities.
[[nodiscard]] constexpr bool takes_register_invalidation(bool queue_enabled, table_mode mode, capabilities const& caps) {
    return caps.major_version() <= 5 && !queue_enabled && mode == table_mode::legacy;
}

/// What a write of \p written to CCMD_REG comes to. Without ICC it starts nothing; a unit that does not take it answers CAIG = 0.
/// \param written what is written.
/// \param queue_enabled GSTS.QIES.
/// \param mode the latched translation table mode.
/// \param caps the unit's capabilities.
[[nodiscard]] constexpr register_answer<context_command_register>
invalidate_by_register(context_command_register written, bool queue_enabled, table_mode mode, capabilities const& caps) {
    register_answer<context_command_register> answer{written};
    if (written.get<"ICC">() == 0) return answer;
    answer.value.set<"ICC">(0);
    answer.value.set<"CAIG">(0);
    context_cache_command d;
    d.set<"G">(written.get<"CIRG">());
    d.set<"DID">(written.get<"DID">());
    d.set<"SID">(written.get<"SID">());
    d.set<"FM">(written.get<"FM">());
    if (!takes_register_invalidation(queue_enabled, mode, caps) || !d.is_valid(caps)) return answer;
    answer.value.set<"CAIG">(written.get<"CIRG">());
    answer.stale = d.stale(mode, caps);
    return answer;
}

/// What a write of \p written to IOTLB_REG comes to, with \p pages in IVA_REG. Without IVT it starts nothing; a unit that does
/// not take it answers IAIG = 0, also for more pages than MAMV allows. A unit without CAP.PSI drops the whole domain for its
/// pages.
/// \param written what is written.
/// \param pages what IVA_REG holds.
/// \param queue_enabled GSTS.QIES.
/// \param mode the latched translation table mode.
/// \param caps the unit's capabilities.
[[nodiscard]] constexpr register_answer<iotlb_register> invalidate_by_register(iotlb_register written,
                                                                               invalidate_address_register pages,
                                                                               bool queue_enabled, table_mode mode,
                                                                               capabilities const& caps) {
    register_answer<iotlb_register> answer{written};
    if (written.get<"IVT">() == 0) return answer;
    answer.value.set<"IVT">(0);
    answer.value.set<"IAIG">(0);
    bool const coarser = written.get<"IIRG">() == 3 && caps.cap.get<"PSI">() == 0;
    iotlb_command d;
    d.set<"G">(coarser ? 2 : written.get<"IIRG">());
    d.set<"DID">(written.get<"DID">());
    d.set<"AM">(pages.get<"AM">());
    d.set<"IH">(pages.get<"IH">());
    d.set<"ADDR">(pages.get<"ADDR">());
    if (!takes_register_invalidation(queue_enabled, mode, caps) || !d.is_valid(caps)) return answer;
    answer.value.set<"IAIG">(d.get<"G">());
    answer.stale = d.stale(mode, caps);
    return answer;
}

} // namespace vtd
} // namespace v0
} // namespace stagewalk
