/// \file
/// What a StreamID and SubstreamID are bound to.
#pragma once

#include "capabilities.hpp"
#include "context_check.hpp"
#include "context_descriptor.hpp"
#include "control.hpp"
#include "policy.hpp"
#include "request.hpp"
#include "stage1.hpp"
#include "stage2.hpp"
#include "stream_check.hpp"
#include "stream_table.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace smmu {

/// What the stream table and the context descriptors say of a device, checked.
struct binding {
    stream_table_entry stream{};           ///< The stream table entry; a request that is not traced reads words 0 to 3 alone.
    context_descriptor context{};          ///< The context descriptor where stage 1 is used; the same.
    bool uses_stage1{};                    ///< Stage 1 translates.
    bool uses_stage2{};                    ///< Stage 2 translates.
    stream_world world{stream_world::el1}; ///< Whose translations they are.
    std::uint32_t pasid{no_pasid};         ///< The SubstreamID used; no_pasid where there are no substreams.

    /// Bound to nothing. Member by member: cleared as one, g++ would do it with a string instruction, which takes as long as a
    /// walk.
    constexpr binding() {}

    /// The VMID.
    [[nodiscard]] constexpr std::uint16_t vmid() const { return static_cast<std::uint16_t>(stream.get<"S2VMID">()); }
    /// The ASID. Of a binding that uses stage 1.
    [[nodiscard]] constexpr std::uint16_t asid() const { return static_cast<std::uint16_t>(context.get<"ASID">()); }
    /// Whether stage-1 tables are big-endian.
    [[nodiscard]] constexpr bool is_stage1_swapped() const { return context.get<"ENDI">() != 0; }
    /// Whether stage-2 tables are big-endian.
    [[nodiscard]] constexpr bool is_stage2_swapped() const { return stream.get<"S2ENDI">() != 0; }

    /// Bindings are equal field by field.
    friend constexpr bool operator==(binding const&, binding const&) = default;
};

/// What \p r needs, after the overrides of its stream table entry \p e. Only what reads alone can be an instruction.
[[nodiscard, gnu::always_inline]] inline constexpr access needs(request const& r, stream_table_entry const& e,
                                                                capabilities const& caps) {
    bool const overrides = caps.has<"ATTR_PERMS_OVR">();
    bool is_privileged = r.access.covers(privileged);
    bool fetches = r.access.covers(execute);
    if (overrides && e.get<"PRIVCFG">() >= 2) is_privileged = e.get<"PRIVCFG">() == 3;
    if (overrides && e.get<"INSTCFG">() >= 2) fetches = e.get<"INSTCFG">() == 3;
    access need = r.access & read_write;
    if (r.access.covers(execute) && !need.covers(write)) need = read; // also where INSTCFG makes data of it
    if (fetches && !need.covers(write)) need = read | execute;
    return is_privileged ? need | privileged : need;
}

/// Calls \p f with a constant of the granule \p g: the choice at the door between walks that know theirs. \p g is not `none`.
template <class F>
[[nodiscard, gnu::always_inline]] inline constexpr auto with_granule(granule g, F&& f) {
    switch (g) {
    case granule::k16: return f(std::integral_constant<granule, granule::k16>{});
    case granule::k64: return f(std::integral_constant<granule, granule::k64>{});
    default: return f(std::integral_constant<granule, granule::k4>{});
    }
}

/// Half \p h of the stage 1 of \p b, which has tables there, with granule \p G.
/// \tparam G the granule of the half.
/// \tparam Output the space of its tables: that of the unit, or the intermediate one if nested.
template <granule G, class Output>
[[nodiscard, gnu::always_inline]] inline constexpr stage1<G, iova, Output>
stage1_of(binding const& b, half h, capabilities const& caps, policy const& rules) {
    return {stage1_shape(b.context, h, G, caps, rules), stage1_options_of(b.context, h, b.world, caps)};
}

/// The stage 2 of \p b with granule \p G.
/// \tparam G the granule of its tables.
/// \tparam Output the space of its tables.
template <granule G, class Output>
[[nodiscard, gnu::always_inline]] inline constexpr stage2<G, intermediate<Output>, Output>
stage2_of(binding const& b, capabilities const& caps, policy const& rules) {
    return {stage2_shape(b.stream, G, caps, rules), stage2_options_of(b.stream, caps)};
}

} // namespace smmu
} // namespace v0
} // namespace stagewalk
