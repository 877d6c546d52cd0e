/// \file
/// The event log and the PPR log of an AMD IOMMU (48882 2.5 and 2.6): what becomes of their entries.
#pragma once

#include "../core/field.hpp"
#include "control.hpp"
#include "ring.hpp"
#include "status.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace amdvi {

/// What becomes of an entry of a log.
enum class log_delivery : std::uint8_t {
    written, ///< It goes into the log.
    dropped, ///< The log is full: it is lost, the log says that something was, and stops.
    ignored, ///< It is lost without a word: the log is off, or has stopped.
};

/// A log: its ring, and what the registers mean for the next entry. The Status Register is one for both logs and the command
/// buffer; whoever has it lends it.
/// \tparam Code the field of an entry that says what it is; only entries with it belong here.
/// \tparam Enable the bit of the Control Register that turns it on.
/// \tparam Signal the bit of the Control Register that lets it send interrupts.
/// \tparam Run the bit of the Status Register that says that it runs.
/// \tparam Overflow the bit of the Status Register that says that an entry was lost.
/// \tparam Arrived the bit of the Status Register that says that there is an entry; it is set whatever \p Signal says.
template <field_name Code, field_name Enable, field_name Signal, field_name Run, field_name Overflow, field_name Arrived>
struct ring_log {
    ring entries{}; ///< Base, head and tail.
    bool enabled{}; ///< Whether it was on when switched() was told last.

    /// Takes account of one more entry. After `written` the caller stores it where `entries.write_at()` said before the call, and
    /// only then shows the new tail to software.
    /// \param record the entry; only its type counts.
    /// \param status the Status Register.
    template <class Record>
        requires(Record::bits == 128 && Record::template has<Code>())
    constexpr log_delivery take([[maybe_unused]] Record const& record, status_register& status) {
        if (status.get<Run>() == 0) return log_delivery::ignored;
        if (entries.is_full()) {
            status.set<Overflow>(1);
            status.set<Run>(0);
            return log_delivery::dropped;
        }
        entries.append();
        status.set<Arrived>(1);
        return log_delivery::written;
    }
    /// Takes account of a write of the Control Register: a log that is turned on runs, unless an overflow is not acknowledged.
    /// One that has stopped must be turned off and on again.
    /// \param on whether the log is on now, see is_on().
    /// \param status the Status Register.
    constexpr void switched(bool on, status_register& status) {
        if (!on)
            status.set<Run>(0);
        else if (!enabled)
            status.set<Run>(status.get<Overflow>() == 0);
        enabled = on;
    }

    /// Whether the log is on by the Control Register \p registers.
    [[nodiscard]] static constexpr bool is_on(control_register registers) {
        return registers.get<"IommuEn">() != 0 && registers.get<Enable>() != 0;
    }
    /// Whether \p what became of an entry is told by an interrupt.
    [[nodiscard]] static constexpr bool is_signalled(log_delivery what, control_register registers) {
        return what != log_delivery::ignored && registers.get<Signal>() != 0;
    }
};

/// The event log (48882 2.5).
using event_log = ring_log<"EventCode", "EventLogEn", "EventIntEn", "EventLogRun", "EventOverflow", "EventLogInt">;
/// The PPR log (48882 2.6).
using ppr_log = ring_log<"PPRCode", "PPRLogEn", "PPRIntEn", "PprLogRun", "PprOverflow", "PprInt">;

} // namespace amdvi
} // namespace v0
} // namespace stagewalk
