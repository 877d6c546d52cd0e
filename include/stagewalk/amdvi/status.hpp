/// \file
/// What an AMD IOMMU tells of its logs and its command buffer: the Status Register (48882 3.4).
#pragma once

#include "../core/field.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace amdvi {

/// Status Register, offset 2020h (48882 3.4).
struct status_register : entry<64, field<"EventOverflow", 0>,  // an event was lost; logging has stopped
                               field<"EventLogInt", 1>,        // an event was logged
                               field<"ComWaitInt", 2>,         // a COMPLETION_WAIT with i is done
                               field<"EventLogRun", 3>,        // events are logged
                               field<"CmdBufRun", 4>,          // commands are carried out
                               field<"PprOverflow", 5>,        // as of the event log
                               field<"PprInt", 6>,             //
                               field<"PprLogRun", 7>,          //
                               field<"GALogRun", 8>,           //
                               field<"GALOverflow", 9>,        //
                               field<"GAInt", 10>,             //
                               field<"PprOverflowB", 11>,      //
                               field<"PprLogActive", 12>,      //
                               field<"EvtOverflowB", 15>,      //
                               field<"EvtLogActive", 16>,      //
                               field<"PprOverflowEarlyB", 17>, //
                               field<"PprOverflowEarly", 18>   //
                               > {
    using entry::entry;

    /// What software's writing of \p value does: ones clear the overflow and interrupt bits, the others cannot be written.
    constexpr void acknowledge(std::uint64_t value) {
        constexpr std::uint64_t cleared = mask<"EventOverflow">() | mask<"EventLogInt">() | mask<"ComWaitInt">() |
                                          mask<"PprOverflow">() | mask<"PprInt">() | mask<"GALOverflow">() | mask<"GAInt">() |
                                          mask<"PprOverflowB">() | mask<"EvtOverflowB">() | mask<"PprOverflowEarlyB">() |
                                          mask<"PprOverflowEarly">();
        word[0] &= ~(value & cleared);
    }
};

} // namespace amdvi
} // namespace v0
} // namespace stagewalk
