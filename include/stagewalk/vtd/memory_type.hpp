/// \file
/// Memory types and snooping of an access (VT-d 3.10).
#pragma once

#include "../core/attributes.hpp"
#include "binding.hpp"
#include "second_stage.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace vtd {

/// Memory types as PAT, MTRR and EMT encode them (VT-d 3.10, processor manual chapter on memory cache control).
enum class memory_type : std::uint8_t {
    uncacheable = 0,      ///< UC.
    write_combining = 1,  ///< WC.
    write_through = 4,    ///< WT.
    write_protected = 5,  ///< WP.
    write_back = 6,       ///< WB.
    uncacheable_weak = 7, ///< UC-: an MTRR of type WC wins. PAT only.
};

/// The type of memory whose range type (MTRR or EMT) is \p range_type and whose PAT entry is \p page_type.
[[nodiscard]] constexpr memory_type combine(memory_type range_type, memory_type page_type) {
    using enum memory_type;
    switch (page_type) {
    case uncacheable: return uncacheable;
    case write_combining: return write_combining;
    case uncacheable_weak: return range_type == write_combining || range_type == write_protected ? write_combining : uncacheable;
    case write_back: return range_type == write_combining ? write_combining : range_type;
    case write_through: return range_type == uncacheable || range_type == write_combining ? uncacheable : write_through;
    case write_protected: return range_type == uncacheable || range_type == write_combining ? uncacheable : write_protected;
    }
    return uncacheable;
}

/// The memory type of PAT entry \p index (PAT * 4 + PCD * 2 + PWT) of \p pat, eight entries of 4 bits.
[[nodiscard]] constexpr memory_type pat_entry(std::uint32_t pat, std::uint64_t index) {
    return static_cast<memory_type>(pat >> (index & 7) * 4 & 7);
}

/// The PAT index that a first-stage translation's attributes name.
[[nodiscard]] constexpr std::uint64_t pat_index(attributes a) {
    return (a.bits >> 7 & 1) << 2 | (a.bits >> 4 & 1) << 1 | (a.bits >> 3 & 1);
}

/// The memory type of an access through binding \p b (VT-d 3.10).
/// \param b what the device is bound to.
/// \param first the first stage's attributes, where it has one.
/// \param second the second stage's attributes, where it has one.
/// \param range_type the type that the MTRRs give the output address.
[[nodiscard]] constexpr memory_type effective_type(binding const& b, attributes first, attributes second,
                                                   memory_type range_type) {
    if (!b.scalable) return memory_type::write_back;
    if (b.cache_disable) return memory_type::uncacheable;
    auto const emt = static_cast<memory_type>(second.bits >> 3 & 7);
    bool const ignore_pat = (second.bits >> 6 & 1) != 0;
    switch (b.kind) {
    case binding_kind::second_stage: return b.memory_types ? emt : memory_type::write_back;
    case binding_kind::first_stage: return combine(range_type, pat_entry(b.pat, pat_index(first)));
    case binding_kind::nested:
        if (!b.memory_types) return combine(range_type, pat_entry(b.pat, pat_index(first)));
        return ignore_pat ? emt : combine(emt, pat_entry(b.pat, pat_index(first)));
    default: return memory_type::write_back;
    }
}

/// Whether an access through binding \p b with attributes \p a is snooped.
/// \param b what the device is bound to.
/// \param a the translation's attributes.
/// \param no_snoop the request's own NS attribute.
[[nodiscard]] constexpr bool is_snooped(binding const& b, attributes a, bool no_snoop) {
    bool const second =
        b.kind == binding_kind::legacy_second_stage || b.kind == binding_kind::second_stage || b.kind == binding_kind::nested;
    return !no_snoop || b.pages_snoop || (second && (a.bits & second_stage_page::mask<"SNP">()) != 0);
}

} // namespace vtd
} // namespace v0
} // namespace stagewalk
