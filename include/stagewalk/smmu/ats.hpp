/// \file
/// What a device is told that asks for a translation (IHI 0070 3.9.1, PCIe ATS).
#pragma once

#include "../core/outcome.hpp"
#include "../core/size.hpp"
#include "../core/translation.hpp"
#include "event.hpp"
#include "request.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace smmu {

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
    bool execute{};             ///< Exe: granted, to a request with a SubstreamID that asked for it.
    bool privileged{};          ///< Priv, as in the request.
    std::uint64_t address{};    ///< The page's address, if a right is granted; intermediate where the stages are split.
    std::uint64_t lg2_size{12}; ///< The page's size; more than 12 sets S.

    /// Completions are equal field by field.
    friend constexpr bool operator==(ats_completion const&, ats_completion const&) = default;
};

/// The status of a translation request that was refused with \p e.
[[nodiscard]] constexpr ats_status status_of(event e) {
    // A silent refusal is that of a stream that aborts everything.
    if (e == event::none || e == event::f_bad_ats_treq) return ats_status::unsupported_request;
    return is_stage_event(e) ? ats_status::success : ats_status::completer_abort;
}

/// The completion of translation request \p r, to which the unit answered \p answer.
template <class Output>
[[nodiscard]] constexpr ats_completion to_completion(outcome<translation<Output>, fault<event>> const& answer, request const& r) {
    ats_completion c;
    if (!answer) {
        c.status = status_of(answer.error().code);
        return c;
    }
    access const rights = answer->effective.rights();
    c.read = rights.covers(stagewalk::read);
    c.write = rights.covers(stagewalk::write);
    c.execute = c.read && r.has_pasid() && r.access.covers(stagewalk::execute) && rights.covers(stagewalk::execute);
    c.privileged = r.has_pasid() && r.access.covers(stagewalk::privileged);
    if (!c.read && !c.write) return c; // S = 0, no address
    // Nothing translated is one page of any size: the smallest says least.
    if (answer->lg2_size < 64) c.lg2_size = answer->lg2_size;
    c.address = answer->output.value & ~low_mask(c.lg2_size);
    return c;
}

} // namespace smmu
} // namespace v0
} // namespace stagewalk
