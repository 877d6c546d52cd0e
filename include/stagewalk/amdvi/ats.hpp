/// \file
/// What a device is told that asks for a translation (48882 2.2.8, PCIe ATS).
#pragma once

#include "../core/access.hpp"
#include "../core/fault.hpp"
#include "../core/outcome.hpp"
#include "../core/size.hpp"
#include "../core/translation.hpp"
#include "event.hpp"
#include "host_table.hpp"
#include "request.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace amdvi {

/// The completion status of a translation request.
enum class ats_status : std::uint8_t {
    success,             ///< The rights tell, also that there are none.
    unsupported_request, ///< UR: there is no ATS here.
    completer_abort,     ///< CA: the configuration or a table is broken.
};

/// The completion of a translation request.
struct ats_completion {
    ats_status status{};        ///< The completion status.
    bool read{};                ///< R.
    bool write{};               ///< W.
    bool execute{};             ///< Exe: granted, to a request with a PASID that asked for it.
    bool privileged{};          ///< Priv, as in the request.
    bool untranslated_only{};   ///< U: the device must not keep it; it is to use the untranslated address.
    std::uint64_t address{};    ///< The page's address, if a right is granted.
    std::uint64_t lg2_size{12}; ///< The page's size; more than 12 sets S.

    /// Completions are equal field by field.
    friend constexpr bool operator==(ats_completion const&, ats_completion const&) = default;
};

/// The status of a translation request that was refused with \p f.
[[nodiscard]] constexpr ats_status status_of(fault<event> const& f) {
    if (is_refusal(f)) return ats_status::success;
    bool const unsupported = f.code == event::none || f.code == event::invalid_device_request;
    return unsupported ? ats_status::unsupported_request : ats_status::completer_abort;
}

/// The completion of translation request \p r, to which the unit answered \p answer.
template <class Output>
[[nodiscard]] constexpr ats_completion to_completion(outcome<translation<Output>, fault<event>> const& answer, request const& r) {
    ats_completion c;
    if (!answer) {
        c.status = status_of(answer.error());
        return c;
    }
    access const rights = answer->effective.rights();
    c.read = rights.covers(stagewalk::read);
    c.write = rights.covers(stagewalk::write);
    c.execute = c.read && r.has_pasid() && r.access.covers(stagewalk::execute) && rights.covers(stagewalk::execute);
    c.privileged = r.has_pasid() && r.access.covers(stagewalk::privileged);
    if (!c.read && !c.write) return c; // S = 0, no address
    c.untranslated_only = (answer->effective.bits & host_page::mask<"U">()) != 0;
    // Nothing translated is one page of any size: the smallest says least.
    if (answer->lg2_size < 64) c.lg2_size = answer->lg2_size;
    c.address = answer->output.value & ~low_mask(c.lg2_size);
    return c;
}

} // namespace amdvi
} // namespace v0
} // namespace stagewalk
