/// \file
/// What a page request makes stale by itself (VT-d chapter 7).
#pragma once

#include "binding.hpp"
#include "capabilities.hpp"
#include "command.hpp"
#include "request.hpp"
#include "root_table.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace vtd {

/// What page request \p r makes stale on its way into the queue: whatever the unit may have cached of its page, so that the
/// device finds what software does about it. Under a second stage of a nested translation nobody knows which pages those are: its
/// whole domain. A request that is refused has no binding, and makes nothing stale.
/// \param b what the device of \p r is bound to, as iommu::find() says.
/// \param r the page request.
/// \param caps the unit's capabilities.
[[nodiscard]] constexpr invalidation stale_by_page_request(binding const& b, request const& r, capabilities const& caps) {
    switch (b.kind) {
    case binding_kind::legacy_second_stage: return {}; // legacy mode refuses page requests
    case binding_kind::first_stage:
        return invalidate_pasid_iotlb(b.domain, b.pasid, r.address, 0, false).stale(table_mode::scalable, caps);
    case binding_kind::second_stage:
    case binding_kind::pass_through: return invalidate_iotlb(b.domain, r.address, 0, false).stale(table_mode::scalable, caps);
    case binding_kind::nested: break;
    }
    return invalidate_iotlb(b.domain).stale(table_mode::scalable, caps);
}

} // namespace vtd
} // namespace v0
} // namespace stagewalk
