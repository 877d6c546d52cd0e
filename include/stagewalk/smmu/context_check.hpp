/// \file
/// Which context descriptors are illegal (C_BAD_CD, IHI 0070 5.4 and 7.3.11), and what stage 1 the legal ones describe.
#pragma once

#include "../core/size.hpp"
#include "capabilities.hpp"
#include "context_descriptor.hpp"
#include "control.hpp"
#include "policy.hpp"
#include "stage1.hpp"
#include "stage_shape.hpp"
#include "stream_check.hpp"
#include "stream_table.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace smmu {

/// Whose translations a stream uses (IHI 0070 3.3.4).
enum class stream_world : std::uint64_t {
    el1,     ///< A guest's or a process's: two halves, ASIDs, VMIDs.
    el2,     ///< A hypervisor's without E2H: one half, one privilege, no ASIDs.
    el2_e2h, ///< A hypervisor's with E2H: two halves and ASIDs.
};

/// The stream world of legal entry \p e.
[[nodiscard]] constexpr stream_world world_of(stream_table_entry const& e, capabilities const& caps, control const& registers) {
    if (!uses_stream_world(e, caps) || e.get<"STRW">() != 2) return stream_world::el1;
    return registers.cr2.get<"E2H">() != 0 ? stream_world::el2_e2h : stream_world::el2;
}

/// Why a context descriptor is illegal, in the order in which it is checked. Bits 15:0 of `fault::detail` of a c_bad_cd.
enum class context_error : std::uint16_t {
    none,           ///< It is legal.
    not_valid,      ///< V = 0.
    stall_disabled, ///< S with STE.S1STALLD.
    terminates,     ///< A = 0 where terminating means aborting.
    stalls,         ///< S where nothing stalls.
    does_not_stall, ///< S = 0 where everything stalls.
    endianness,     ///< ENDI that the SMMU does not have.
    table_format,   ///< AA64 names tables that the SMMU does not have.
    updates,        ///< HA or HD without HTTU.
    dirty_updates,  ///< HD where only the access flag is updated.
    table_updates,  ///< HAFT without HA.
    asid,           ///< ASID of more than 8 bits without ASID16.
    size,           ///< TxSZ of a half out of range.
    granule,        ///< TGx of a half reserved or not implemented.
    table,          ///< TTBx of a half too wide.
};

/// Whether DS counts in \p d.
[[nodiscard]] constexpr bool has_wide_tables(context_descriptor const& d, capabilities const& caps) {
    return caps.has<"DS">() && d.get<"DS">() != 0;
}

/// Whether half \p h of \p d has tables in stream world \p world.
[[nodiscard]] constexpr bool has_tables(context_descriptor const& d, half h, stream_world world) {
    if (world == stream_world::el2) return h == half::lower;
    return !d.is_disabled(h);
}

/// min(IPS, OAS) in bits.
[[nodiscard]] constexpr std::uint64_t stage1_output_size(context_descriptor const& d, capabilities const& caps) {
    std::uint64_t const size = address_size(d.get<"IPS">());
    return size < caps.output_size() ? size : caps.output_size();
}

/// TxSZ of half \p h, clamped where \p rules say so.
[[nodiscard]] constexpr std::uint64_t stage1_size(context_descriptor const& d, half h, capabilities const& caps,
                                                  policy const& rules) {
    if (caps.minor_version() != 0 || rules.sizes == table_size::illegal) return d.size(h);
    return size_limits{16, 39}.clamp(d.size(h));
}

namespace detail {

// The halves that have tables: their sizes first, then their granules, then their tables.
[[nodiscard]] constexpr context_error check_halves(context_descriptor const& d, stream_world world, capabilities const& caps,
                                                   policy const& rules) {
    bool const ds = has_wide_tables(d, caps);
    bool size = true;
    bool granules = true;
    bool tables = true;
    for (half const h : halves) {
        if (!has_tables(d, h, world)) continue;
        granule const g = d.granule_of(h);
        bool const narrow = g != granule::k64 && !ds;
        size = size && stage1_sizes(caps, g, ds).allow(stage1_size(d, h, caps, rules));
        granules = granules && caps.supports(g);
        tables = tables && d.table(h) <= low_mask(stage1_output_size(d, caps)) && !(narrow && d.table(h) > low_mask(48));
    }
    if (!size) return context_error::size;
    if (!granules) return context_error::granule;
    return tables ? context_error::none : context_error::table;
}

} // namespace detail

/// Why \p d is illegal in stream world \p world of an SMMU with \p caps, under stream table entry \p e, or `none`.
/// \param d the descriptor; its first four words count.
/// \param e the stream table entry that leads to it.
/// \param world the stream world.
/// \param caps the capabilities.
/// \param rules the open points.
[[nodiscard]] constexpr context_error check(context_descriptor const& d, stream_table_entry const& e, stream_world world,
                                            capabilities const& caps, policy const& rules = {}) {
    using error = context_error;
    bool const accessed = d.get<"HA">() != 0;
    bool const lower = has_tables(d, half::lower, world);
    bool const upper = has_tables(d, half::upper, world);
    if (d.get<"V">() == 0) return error::not_valid;
    if (d.get<"S">() != 0 && e.get<"S1STALLD">() != 0) return error::stall_disabled;
    if (d.get<"A">() == 0 && caps.has<"TERM_MODEL">()) return error::terminates;
    if (d.get<"S">() != 0 && caps.idr0.get<"STALL_MODEL">() == 1) return error::stalls;
    if (d.get<"S">() == 0 && caps.idr0.get<"STALL_MODEL">() == 2) return error::does_not_stall;
    std::uint64_t const order = caps.idr0.get<"TTENDIAN">();
    if ((lower || upper) && order != 0 && (order == 3) != (d.get<"ENDI">() != 0)) return error::endianness;
    if (d.get<"AA64">() == 0 || (caps.idr0.get<"TTF">() & 2) == 0) return error::table_format;
    if ((accessed || d.get<"HD">() != 0) && !caps.updates_access()) return error::updates;
    if (d.get<"HD">() != 0 && !caps.updates_dirty()) return error::dirty_updates;
    if (d.get<"HAFT">() != 0 && !accessed && caps.updates_tables()) return error::table_updates;
    if (world != stream_world::el2 && !caps.has<"ASID16">() && d.get<"ASID">() > 0xff) return error::asid;
    return detail::check_halves(d, world, caps, rules);
}

/// Where the tables of half \p h of \p d, with granule \p g, lie and how far they reach. Of a legal descriptor, and a half with
/// tables.
[[nodiscard, gnu::always_inline]] inline constexpr table_shape stage1_shape(context_descriptor const& d, half h, granule g,
                                                                            capabilities const& caps, policy const& rules = {}) {
    table_shape shape;
    shape.root = d.table(h);
    shape.input_size = 64 - stage1_size(d, h, caps, rules);
    shape.top = stage1_top(g, shape.input_size);
    shape.wide = g == granule::k64 ? caps.output_size() == 52 : has_wide_tables(d, caps);
    std::uint64_t const size = stage1_output_size(d, caps);
    shape.output_size = shape.wide || size < 48 ? size : 48;
    shape.lg2_least = size == 52 ? 6 : 4;
    shape.upper = h == half::upper;
    shape.ignores_top_byte = d.ignores_top_byte(h);
    return shape;
}

/// What else \p d says of half \p h in stream world \p world.
[[nodiscard]] constexpr stage1_options stage1_options_of(context_descriptor const& d, half h, stream_world world,
                                                         capabilities const& caps) {
    stage1_options options;
    options.ignores_hierarchy = caps.idr3.get<"HAD">() & (h == half::lower ? d.get<"HAD0">() : d.get<"HAD1">());
    options.one_privilege = world == stream_world::el2;
    options.write_no_execute = d.get<"WXN">();
    options.no_unprivileged = d.get<"PAN">();
    options.no_executable = d.get<"PAN">() & caps.idr3.get<"EPAN">() & d.get<"EPAN">();
    options.updates_access = d.get<"HA">();
    options.updates_dirty = d.get<"HA">() & d.get<"HD">();
    options.updates_tables = d.get<"HA">() & d.get<"HAFT">() & std::uint64_t{caps.updates_tables()};
    options.ignores_access = d.get<"AFFD">() & ~d.get<"HA">();
    options.wide_index = caps.idr3.get<"AIE">() & d.get<"AIE">();
    return options;
}

} // namespace smmu
} // namespace v0
} // namespace stagewalk
