/// \file
/// What an ATS translation request is answered with (VT-d 4.1).
#pragma once

#include "../core/outcome.hpp"
#include "../core/translation.hpp"
#include "binding.hpp"
#include "memory_type.hpp"
#include "reason.hpp"
#include "request.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace vtd {

/// The completion of a translation request.
struct ats_completion {
    bool success{};             ///< Completion status "success"; else `refused` says which other.
    response refused{};         ///< UR or CA, unless success.
    bool read{};                ///< R.
    bool write{};               ///< W.
    bool untranslated_only{};   ///< U: the device must access the page with untranslated requests.
    bool no_snoop{};            ///< N: the device must not set No Snoop.
    bool privileged{};          ///< The rights are those of privileged requests.
    std::uint64_t address{};    ///< The page's address, if a right is granted.
    std::uint64_t lg2_size{12}; ///< The page's size; more than 12 sets S.

    /// Completions are equal field by field.
    friend constexpr bool operator==(ats_completion const&, ats_completion const&) = default;
};

/// The completion of translation request \p r, which the unit answered with \p answer through binding \p b.
/// A recoverable fault is a success without the rights that are missing.
template <class Output>
[[nodiscard]] constexpr ats_completion to_completion(outcome<translation<Output>, fault<reason>> const& answer, binding const& b,
                                                     request const& r) {
    ats_completion c;
    if (!answer) {
        c.refused = answer.error().code == reason::none ? response::unsupported_request
                                                        : response_to(answer.error().code, request_type::translation);
        c.success = c.refused == response::success_no_rights || c.refused == response::success_with_rights;
        return c;
    }
    c.success = true;
    access const rights = answer->effective.rights();
    c.read = rights.covers(stagewalk::read);
    c.write = rights.covers(stagewalk::write);
    if (answer->by == passage::interrupt) {
        c.untranslated_only = c.write;
        return c;
    }
    c.privileged = b.privileged && r.has_pasid();
    c.no_snoop = is_snooped(b, answer->effective, true);
    if (!c.read && !c.write) return c; // S = 0, no address
    if (answer->lg2_size < 64) c.lg2_size = answer->lg2_size;
    c.address = answer->output.value & ~low_mask(c.lg2_size);
    return c;
}

} // namespace vtd
} // namespace v0
} // namespace stagewalk
