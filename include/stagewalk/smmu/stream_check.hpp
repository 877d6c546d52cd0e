/// \file
/// Which stream table entries are illegal (C_BAD_STE, IHI 0070 5.2 and 7.3.5), and what stage 2 the legal ones describe.
#pragma once

#include "../core/size.hpp"
#include "capabilities.hpp"
#include "control.hpp"
#include "policy.hpp"
#include "stage2.hpp"
#include "stage_shape.hpp"
#include "stream_table.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace smmu {

/// Why a stream table entry is illegal, in the order in which it is checked. Bits 15:0 of `fault::detail` of a c_bad_ste.
enum class stream_entry_error : std::uint16_t {
    none,               ///< It is legal.
    not_valid,          ///< V = 0.
    no_stage1,          ///< Stage 1 without S1P.
    no_stage2,          ///< Stage 2 without S2P.
    split_ats,          ///< EATS = 10 without nesting, with S2S, or in an SMMU that cannot.
    ats_stalls,         ///< EATS = 01 with S2S and stage 2.
    stream_world,       ///< STRW = x1.
    stall_disable,      ///< S1STALLD where the stall model is fixed.
    substream_size,     ///< S1CDMax above SSIDSIZE.
    two_level_contexts, ///< S1Fmt of two levels without CD2L.
    context_pointer,    ///< S1ContextPtr too wide.
    stalls,             ///< S2S where nothing stalls.
    does_not_stall,     ///< S2S = 0 where everything stalls.
    table_format,       ///< S2AA64 names tables that the SMMU does not have.
    updates,            ///< S2HA or S2HD without HTTU.
    dirty_updates,      ///< S2HD where only the access flag is updated.
    table_updates,      ///< S2HAFT without S2HA.
    stage2_granule,     ///< S2TG reserved or not implemented.
    stage2_table,       ///< S2TTB too wide.
    stage2_size,        ///< S2T0SZ out of range.
    stage2_start,       ///< S2SL0 reserved, or it does not fit S2T0SZ.
    endianness,         ///< S2ENDI that the SMMU does not have.
    vmid,               ///< S2VMID of more than 8 bits without VMID16.
};

/// Whether the entry's STRW field counts: stage 1 alone, in an SMMU with an EL2 stream world.
[[nodiscard]] constexpr bool uses_stream_world(stream_table_entry const& e, capabilities const& caps) {
    return caps.has<"S1P">() && caps.has<"HYP">() && e.configuration() == stream_configuration::stage1;
}

/// Whether S2DS counts in \p e.
[[nodiscard]] constexpr bool has_wide_stage2(stream_table_entry const& e, capabilities const& caps) {
    return caps.has<"DS">() && e.get<"S2DS">() != 0 && e.stage2_granule() != granule::k64;
}

/// The address of the stage-2 table: bits 51:4, in SMMUv3.0 47:4.
[[nodiscard]] constexpr std::uint64_t stage2_root(stream_table_entry const& e, capabilities const& caps) {
    return e.stage2_table() & low_mask(caps.minor_version() == 0 ? 48 : 52);
}

/// S2T0SZ, clamped where \p rules say so.
[[nodiscard]] constexpr std::uint64_t stage2_size(stream_table_entry const& e, capabilities const& caps, policy const& rules) {
    std::uint64_t const size = e.get<"S2T0SZ">();
    if (caps.minor_version() != 0 || rules.sizes == table_size::illegal) return size;
    return stage2_sizes(caps, e.stage2_granule(), has_wide_stage2(e, caps)).clamp(size);
}

/// min(S2PS, OAS) in bits.
[[nodiscard]] constexpr std::uint64_t stage2_output_size(stream_table_entry const& e, capabilities const& caps) {
    std::uint64_t const size = address_size(e.get<"S2PS">());
    return size < caps.output_size() ? size : caps.output_size();
}

/// What a stream lets its device do by ATS, its EATS field as it takes effect.
enum class ats_mode : std::uint64_t {
    off = 0,  ///< Nothing.
    full = 1, ///< It keeps physical addresses.
    split =
        2, ///< It keeps intermediate addresses, which pass stage 2 when they are used; only where CR0.ATSCHK has them checked.
};

/// The ATS mode of legal entry \p e (IHI 0070 5.2, EATS). There is no device permission table: EATS = 3 is off.
[[nodiscard]] constexpr ats_mode ats_mode_of(stream_table_entry const& e, capabilities const& caps, control const& registers) {
    if (!caps.has<"ATS">() || e.configuration() == stream_configuration::bypass) return ats_mode::off;
    if (e.get<"EATS">() == 1) return ats_mode::full;
    return e.get<"EATS">() == 2 && registers.cr0.get<"ATSCHK">() != 0 ? ats_mode::split : ats_mode::off;
}

namespace detail {

[[nodiscard]] constexpr stream_entry_error check_ats(stream_table_entry const& e, capabilities const& caps) {
    using error = stream_entry_error;
    if (!caps.has<"ATS">() || e.configuration() == stream_configuration::bypass) return error::none;
    bool const stalls = e.get<"S2S">() != 0;
    bool const nested = e.configuration() == stream_configuration::nested;
    if (e.get<"EATS">() == 2 && (!nested || stalls || caps.has<"NS1ATS">())) return error::split_ats;
    if (e.get<"EATS">() == 1 && stalls && e.has_stage2()) return error::ats_stalls;
    return error::none;
}

[[nodiscard]] constexpr stream_entry_error check_stage1(stream_table_entry const& e, capabilities const& caps,
                                                        policy const& rules) {
    using error = stream_entry_error;
    if (e.get<"S1STALLD">() != 0 && caps.idr0.get<"STALL_MODEL">() != 0) return error::stall_disable;
    if (caps.substream_size() != 0) {
        if (e.get<"S1CDMax">() > caps.substream_size()) return error::substream_size;
        if (e.get<"S1CDMax">() != 0 && e.format() != context_format::linear && !caps.has<"CD2L">())
            return error::two_level_contexts;
    }
    if (caps.minor_version() == 0) return error::none;
    bool const nested = e.has_stage2();
    if (nested && rules.pointer == context_pointer::translated) return error::none;
    std::uint64_t const reach = low_mask(nested ? caps.intermediate_size() : caps.output_size());
    return e.get<"S1ContextPtr">() > reach ? error::context_pointer : error::none;
}

[[nodiscard]] constexpr stream_entry_error check_stage2(stream_table_entry const& e, capabilities const& caps,
                                                        policy const& rules) {
    using error = stream_entry_error;
    bool const accessed = e.get<"S2HA">() != 0;
    if (e.get<"S2S">() != 0 && caps.idr0.get<"STALL_MODEL">() == 1) return error::stalls;
    if (e.get<"S2S">() == 0 && caps.idr0.get<"STALL_MODEL">() == 2) return error::does_not_stall;
    if (e.get<"S2AA64">() == 0 || (caps.idr0.get<"TTF">() & 2) == 0) return error::table_format;
    if ((accessed || e.get<"S2HD">() != 0) && !caps.updates_access()) return error::updates;
    if (e.get<"S2HD">() != 0 && !caps.updates_dirty()) return error::dirty_updates;
    if (e.get<"S2HAFT">() != 0 && !accessed && caps.updates_tables()) return error::table_updates;
    granule const g = e.stage2_granule();
    if (!caps.supports(g)) return error::stage2_granule;
    bool const ds = has_wide_stage2(e, caps);
    std::uint64_t const table = stage2_root(e, caps);
    if (table > low_mask(stage2_output_size(e, caps)) || (g != granule::k64 && !ds && table > low_mask(48)))
        return error::stage2_table;
    std::uint64_t const size = smmu::stage2_size(e, caps, rules);
    if (!stage2_sizes(caps, g, ds).allow(size)) return error::stage2_size;
    std::uint64_t const top = stage2_top(caps, g, ds, e.get<"S2SL0">(), e.get<"S2SL0_2">());
    if (top == no_top || !stage2_reaches(g, top, 64 - size)) return error::stage2_start;
    if (rules.stage2_start == start_level::by_size && !stage2_start_fits(g, top, caps.output_size())) return error::stage2_start;
    std::uint64_t const order = caps.idr0.get<"TTENDIAN">();
    if (order != 0 && (order == 3) != (e.get<"S2ENDI">() != 0)) return error::endianness;
    return error::none;
}

} // namespace detail

/// Why \p e is illegal in an SMMU with \p caps, or `none`. An entry that aborts everything is legal whatever else it holds.
/// \param e the entry; its first four words count.
/// \param caps the capabilities.
/// \param rules the open points.
[[nodiscard]] constexpr stream_entry_error check(stream_table_entry const& e, capabilities const& caps,
                                                 policy const& rules = {}) {
    using error = stream_entry_error;
    if (e.get<"V">() == 0) return error::not_valid;
    if (e.configuration() == stream_configuration::abort) return error::none;
    if (e.has_stage1() && !caps.has<"S1P">()) return error::no_stage1;
    if (e.has_stage2() && !caps.has<"S2P">()) return error::no_stage2;
    if (auto const bad = detail::check_ats(e, caps); bad != error::none) return bad;
    bool const by_world = uses_stream_world(e, caps);
    if (by_world && (e.get<"STRW">() & 1) != 0) return error::stream_world;
    if (e.has_stage1())
        if (auto const bad = detail::check_stage1(e, caps, rules); bad != error::none) return bad;
    if (e.has_stage2())
        if (auto const bad = detail::check_stage2(e, caps, rules); bad != error::none) return bad;
    bool const tagged =
        e.configuration() != stream_configuration::bypass && caps.has<"S2P">() && !(by_world && e.get<"STRW">() != 0);
    if (tagged && !caps.has<"VMID16">() && e.get<"S2VMID">() > 0xff) return error::vmid;
    return error::none;
}

/// Where the stage-2 tables of \p e, with granule \p g, lie and how far they reach. Of a legal entry with stage 2.
[[nodiscard, gnu::always_inline]] inline constexpr table_shape stage2_shape(stream_table_entry const& e, granule g,
                                                                            capabilities const& caps, policy const& rules = {}) {
    bool const ds = has_wide_stage2(e, caps);
    table_shape shape;
    shape.root = stage2_root(e, caps);
    shape.top = stage2_top(caps, g, ds, e.get<"S2SL0">(), e.get<"S2SL0_2">());
    shape.input_size = 64 - stage2_size(e, caps, rules);
    shape.wide = g == granule::k64 ? caps.output_size() == 52 : ds;
    std::uint64_t const size = stage2_output_size(e, caps);
    shape.output_size = shape.wide || size < 48 ? size : 48;
    shape.lg2_least = size == 52 ? 6 : 4;
    return shape;
}

/// An entry with stage 2 alone, or \p e with stage 2 under its stage 1. Faults are recorded and abort; tables are fetched as
/// cacheable, inner shareable memory; stage-1 tables in Device memory are refused (S2PTW). Tables start at lowest_stage2_top().
/// \param e the entry to add stage 2 to: of make_bypass() or make_stage1().
/// \param caps the capabilities.
/// \param table the table, aligned to its size, and to 64 bytes.
/// \param input_size the width of intermediate addresses in bits; stage2_sizes() says which are legal.
/// \param g the granule.
/// \param vmid the VMID that tags the translations.
[[nodiscard]] constexpr stream_table_entry with_stage2(stream_table_entry e, capabilities const& caps, std::uint64_t table,
                                                       std::uint64_t input_size, granule g, std::uint16_t vmid) {
    bool const ds = caps.has<"DS">() && g != granule::k64 && (input_size > 48 || caps.output_size() > 48);
    std::uint64_t const start = to_start_level(g, lowest_stage2_top(caps, g, input_size, ds));
    e.set<"Config">(static_cast<std::uint64_t>(e.has_stage1() ? stream_configuration::nested : stream_configuration::stage2));
    e.set<"S2VMID">(vmid);
    e.set<"S2T0SZ">(64 - input_size);
    e.set<"S2SL0">(start & 3);
    e.set<"S2SL0_2">(start >> 2);
    e.set<"S2IR0">(1);
    e.set<"S2OR0">(1);
    e.set<"S2SH0">(3);
    e.set<"S2TG">(to_tg0(g));
    e.set<"S2PS">(caps.idr5.get<"OAS">());
    e.set<"S2AA64">(1);
    e.set<"S2DS">(ds);
    e.set<"S2PTW">(1);
    e.set<"S2R">(1);
    e.set<"S2TTB">(table);
    return e;
}

/// What else \p e says of stage 2.
[[nodiscard]] constexpr stage2_options stage2_options_of(stream_table_entry const& e, capabilities const& caps) {
    stage2_options options;
    options.execute_by_privilege = caps.idr3.get<"XNX">();
    options.updates_access = e.get<"S2HA">();
    options.updates_dirty = e.get<"S2HA">() & e.get<"S2HD">();
    options.updates_tables = e.get<"S2HA">() & e.get<"S2HAFT">() & std::uint64_t{caps.updates_tables()};
    options.ignores_access = e.get<"S2AFFD">() & ~e.get<"S2HA">();
    return options;
}

} // namespace smmu
} // namespace v0
} // namespace stagewalk
