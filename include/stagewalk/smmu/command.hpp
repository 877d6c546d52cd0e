/// \file
/// Commands (IHI 0070 4): encoded, decoded, and turned into what each cache has to drop.
#pragma once

#include "../core/address.hpp"
#include "../core/field.hpp"
#include "../core/outcome.hpp"
#include "../core/range.hpp"
#include "../core/size.hpp"
#include "capabilities.hpp"
#include "context_check.hpp"
#include "control.hpp"
#include "granule.hpp"
#include "request.hpp"

#include <bit>
#include <cstddef>
#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace smmu {

/// The opcodes, with the manual's names.
enum class command_type : std::uint8_t {
    prefetch_config = 0x01, ///< A hint.
    prefetch_addr = 0x02,   ///< A hint.
    cfgi_ste = 0x03,        ///< The configuration of a stream.
    cfgi_ste_range = 0x04,  ///< The configuration of 2^(Range + 1) streams; with Range = 31 of all (CFGI_ALL).
    cfgi_cd = 0x05,         ///< A context descriptor.
    cfgi_cd_all = 0x06,     ///< The context descriptors of a stream.
    cfgi_vms_pidm = 0x07,   ///< MPAM.
    tlbi_nh_all = 0x10,     ///< Stage-1 translations of a VMID.
    tlbi_nh_asid = 0x11,    ///< Those of an ASID.
    tlbi_nh_va = 0x12,      ///< Those of an ASID at an address.
    tlbi_nh_vaa = 0x13,     ///< Those of every ASID at an address.
    tlbi_el3_all = 0x18,    ///< Secure.
    tlbi_el3_va = 0x1a,     ///< Secure.
    tlbi_el2_all = 0x20,    ///< Translations of the EL2 stream world.
    tlbi_el2_asid = 0x21,   ///< Those of an ASID.
    tlbi_el2_va = 0x22,     ///< Those of an ASID at an address.
    tlbi_el2_vaa = 0x23,    ///< Those of every ASID at an address.
    tlbi_s12_vmall = 0x28,  ///< All translations of a VMID.
    tlbi_s2_ipa = 0x2a,     ///< Stage-2 translations of a VMID at an address.
    tlbi_nsnh_all = 0x30,   ///< All translations but those of EL2.
    atc_inv = 0x40,         ///< A device's translations.
    pri_resp = 0x41,        ///< The answer to a page request.
    resume = 0x44,          ///< What becomes of a stalled access.
    stall_term = 0x45,      ///< All stalled accesses of a stream are terminated.
    sync = 0x46,            ///< Completion of all earlier ones.
};

/// CMD_PREFETCH_*, CMD_CFGI_* (IHI 0070 4.2 and 4.3).
struct configuration_command
    : entry<128, field<"OP", 7, 0>,  // opcode
            field<"SSec", 10>,       // Secure stream
            field<"SSV", 11>,        // there is a SubstreamID
            field<"SSID", 31, 12>,   // SubstreamID
            field<"SID", 63, 32>,    // StreamID
            field<"Leaf", 64>,       // the last level alone; PREFETCH_ADDR and _STE_RANGE use the bits otherwise
            field<"RangeH", 68, 65>, // Range[4:1], with Leaf as its bit 0
            field<"ADDRL", 75, 69>,  // PREFETCH_ADDR
            field<"ADDR", 127, 76>   //
            > {
    using entry::entry;
};

/// CMD_TLBI_* (IHI 0070 4.4).
struct tlb_command : entry<128, field<"OP", 7, 0>,        // opcode
                           field<"SSec", 10>,             // Secure stream
                           field<"NUM", 16, 12>,          // range: one less
                           field<"SCALE", 25, 20>,        // range: 2^SCALE granules each
                           field<"VMID", 47, 32>,         //
                           field<"ASID", 63, 48>,         //
                           field<"Leaf", 64>,             // no table above the leaves has changed
                           field<"TTL128", 71>,           // VMSAv9-128
                           field<"TTL", 73, 72>,          // the level of the leaves, the manual's; 0: any
                           field<"TG", 75, 74>,           // range: 1 4 KiB, 2 16 KiB, 3 64 KiB; 0: one address
                           pointer_field<"ADDR", 127, 76> // the first address
                           > {
    using entry::entry;
};

/// CMD_ATC_INV (IHI 0070 4.5.1).
struct device_command : entry<128, field<"OP", 7, 0>,        // 40h
                              field<"G", 9>,                 // every PASID
                              field<"SSec", 10>,             // Secure stream
                              field<"SSV", 11>,              // there is a SubstreamID
                              field<"SSID", 31, 12>,         // SubstreamID
                              field<"SID", 63, 32>,          // StreamID
                              field<"Size", 69, 64>,         // 2^Size pages of 4 KiB; 52 and more: all
                              pointer_field<"ADDR", 127, 76> // the first page
                              > {
    using entry::entry;
};

/// CMD_PRI_RESP (IHI 0070 4.5.2).
struct page_response_command : entry<128, field<"OP", 7, 0>,    // 41h
                                     field<"SSec", 10>,         // Secure stream
                                     field<"SSV", 11>,          // there is a SubstreamID
                                     field<"SSID", 31, 12>,     // SubstreamID
                                     field<"SID", 63, 32>,      // StreamID
                                     field<"PRGIndex", 72, 64>, // page request group
                                     field<"Resp", 77, 76>      // 0 failure, 1 invalid request, 2 success
                                     > {
    using entry::entry;
};

/// CMD_RESUME and CMD_STALL_TERM (IHI 0070 4.6).
struct stall_command : entry<128, field<"OP", 7, 0>, // opcode
                             field<"SSec", 10>,      // Secure stream
                             field<"Ac", 12>,        // RESUME: 1 the access is tried again
                             field<"Ab", 13>,        // RESUME, Ac = 0: 1 it is aborted, 0 it reads zero
                             field<"SID", 63, 32>,   // StreamID
                             field<"STAG", 79, 64>   // RESUME: which stalled access
                             > {
    using entry::entry;
};

/// CMD_SYNC (IHI 0070 4.7.3).
struct sync_command : entry<128, field<"OP", 7, 0>,              // 46h
                            field<"CS", 13, 12>,                 // completion: 0 none, 1 interrupt, 2 event
                            field<"MSH", 23, 22>,                // of the interrupt's write: shareability
                            field<"MSIAttr", 27, 24>,            // memory type
                            field<"MSIData", 63, 32>,            // data
                            pointer_field<"MSIAddress", 119, 66> // address; 0: none
                            > {
    using entry::entry;
};

namespace detail {

template <class Command>
[[nodiscard]] constexpr Command of_type(command_type t) {
    Command c;
    c.template set<"OP">(static_cast<std::uint64_t>(t));
    return c;
}

} // namespace detail

/// The configuration of \p source. \p leaf: the level-1 descriptor that leads to it has not changed.
[[nodiscard]] constexpr configuration_command invalidate_stream(std::uint32_t source, bool leaf) {
    auto c = detail::of_type<configuration_command>(command_type::cfgi_ste);
    c.set<"SID">(source);
    c.set<"Leaf">(leaf);
    return c;
}
/// The configuration of the 2^\p lg2_count streams around \p source; \p lg2_count is 1 to 32, and 32 means all.
[[nodiscard]] constexpr configuration_command invalidate_streams(std::uint32_t source, std::uint64_t lg2_count) {
    auto c = detail::of_type<configuration_command>(command_type::cfgi_ste_range);
    c.set<"SID">(lg2_count > 31 ? 0 : source);
    c.word[1] = lg2_count > 31 ? 31 : lg2_count == 0 ? 0 : lg2_count - 1;
    return c;
}
/// The context descriptor \p pasid of \p source. \p leaf: the level-1 descriptor that leads to it has not changed.
[[nodiscard]] constexpr configuration_command invalidate_context(std::uint32_t source, std::uint32_t pasid, bool leaf) {
    auto c = detail::of_type<configuration_command>(command_type::cfgi_cd);
    c.set<"SSV">(1);
    c.set<"SSID">(pasid);
    c.set<"SID">(source);
    c.set<"Leaf">(leaf);
    return c;
}
/// Every context descriptor of \p source.
[[nodiscard]] constexpr configuration_command invalidate_contexts(std::uint32_t source) {
    auto c = detail::of_type<configuration_command>(command_type::cfgi_cd_all);
    c.set<"SID">(source);
    return c;
}
/// The stage-1 translations of \p asid, not the global ones, in stream world \p world. In EL2 without E2H there are no ASIDs, and
/// all go.
[[nodiscard]] constexpr tlb_command invalidate_asid(stream_world world, std::uint16_t vmid, std::uint16_t asid) {
    if (world == stream_world::el2) return detail::of_type<tlb_command>(command_type::tlbi_el2_all);
    bool const el1 = world == stream_world::el1;
    auto c = detail::of_type<tlb_command>(el1 ? command_type::tlbi_nh_asid : command_type::tlbi_el2_asid);
    c.set<"VMID">(el1 ? vmid : 0);
    c.set<"ASID">(asid);
    return c;
}
/// The stage-1 translations of \p vmid in stream world \p world, of every ASID and global; in EL2 of all.
[[nodiscard]] constexpr tlb_command invalidate_stage1(stream_world world, std::uint16_t vmid) {
    bool const el1 = world == stream_world::el1;
    auto c = detail::of_type<tlb_command>(el1 ? command_type::tlbi_nh_all : command_type::tlbi_el2_all);
    c.set<"VMID">(el1 ? vmid : 0);
    return c;
}
/// All translations of \p vmid.
[[nodiscard]] constexpr tlb_command invalidate_vmid(std::uint16_t vmid) {
    auto c = detail::of_type<tlb_command>(command_type::tlbi_s12_vmall);
    c.set<"VMID">(vmid);
    return c;
}
/// The stage-1 translations of \p at in stream world \p world and \p asid. \p leaves_only: no table above the leaves has changed.
[[nodiscard]] constexpr tlb_command invalidate_address(stream_world world, std::uint16_t vmid, std::uint16_t asid, iova at,
                                                       bool leaves_only) {
    bool const el1 = world == stream_world::el1;
    auto c = detail::of_type<tlb_command>(el1 ? command_type::tlbi_nh_va : command_type::tlbi_el2_va);
    c.set<"VMID">(el1 ? vmid : 0);
    c.set<"ASID">(world == stream_world::el2 ? 0 : asid);
    c.set<"Leaf">(leaves_only);
    c.set<"ADDR">(at.value);
    return c;
}
/// The stage-2 translations of intermediate address \p at. Translations by both stages are not dropped: invalidate_stage1()
/// follows. \p leaves_only: no table above the leaves has changed.
[[nodiscard]] constexpr tlb_command invalidate_intermediate(std::uint16_t vmid, std::uint64_t at, bool leaves_only) {
    auto c = detail::of_type<tlb_command>(command_type::tlbi_s2_ipa);
    c.set<"VMID">(vmid);
    c.set<"Leaf">(leaves_only);
    c.set<"ADDR">(at);
    return c;
}
/// The command \p one, of one address, for \p pages pages from that address on: \p emit is called with as few range commands as
/// there must be (IHI 0070 4.4.1). For SMMUs with IDR3.RIL.
/// \param one invalidate_address() or invalidate_intermediate().
/// \param pages how many, of granule \p g; the range ends within its half.
/// \param g the granule of the tables.
/// \param level the manual's level of the leaves, 1 to 3, where all are on one; 0: on any.
/// \param emit called as `emit(tlb_command const&)`.
template <class Emit>
constexpr void for_each_range(tlb_command one, std::uint64_t pages, granule g, std::uint64_t level, Emit&& emit) {
    std::uint64_t at = one.get<"ADDR">();
    if (g == granule::k16 && level == 1) level = 0; // the hint that is none
    while (pages != 0) {
        std::uint64_t scale = static_cast<std::uint64_t>(std::countr_zero(pages));
        scale = scale < 31 ? scale : 31;
        std::uint64_t const bits = pages >> scale & 31;
        std::uint64_t const number = bits != 0 ? bits : 32; // 32 at the largest scale
        // A range of one page says nothing that the hardware accepts, unless the level is named.
        bool const ranged = number != 1 || scale != 0 || level != 0;
        tlb_command c = one;
        c.set<"ADDR">(at);
        c.set<"NUM">(ranged ? number - 1 : 0);
        c.set<"SCALE">(ranged ? scale : 0);
        c.set<"TTL">(ranged ? level : 0);
        c.set<"TG">(!ranged ? 0 : g == granule::k4 ? 1 : g == granule::k16 ? 2 : 3);
        emit(static_cast<tlb_command const&>(c));
        at += number << (scale + lg2_of(g));
        pages -= number << scale;
    }
}
/// The translations that the device \p source keeps of 2^\p lg2_pages pages of 4 KiB around \p at; 52: all.
/// \param source the StreamID.
/// \param pasid the SubstreamID, or no_pasid.
/// \param at an address anywhere in the range.
/// \param lg2_pages how many pages, as a logarithm.
[[nodiscard]] constexpr device_command invalidate_device(std::uint32_t source, std::uint32_t pasid, iova at,
                                                         std::uint64_t lg2_pages) {
    auto c = detail::of_type<device_command>(command_type::atc_inv);
    c.set<"SSV">(pasid != no_pasid);
    c.set<"SSID">(pasid != no_pasid ? pasid : 0);
    c.set<"SID">(source);
    c.set<"Size">(lg2_pages < 52 ? lg2_pages : 52);
    c.set<"ADDR">(lg2_pages < 52 ? at.value & ~low_mask(lg2_pages + 12) : 0);
    return c;
}
/// What becomes of the stalled access \p tag of \p source: it is tried again.
[[nodiscard]] constexpr stall_command retry(std::uint32_t source, std::uint16_t tag) {
    auto c = detail::of_type<stall_command>(command_type::resume);
    c.set<"Ac">(1);
    c.set<"SID">(source);
    c.set<"STAG">(tag);
    return c;
}
/// What becomes of the stalled access \p tag of \p source: it ends, \p aborts, or reads zero and writes nothing.
[[nodiscard]] constexpr stall_command terminate(std::uint32_t source, std::uint16_t tag, bool aborts) {
    auto c = retry(source, tag);
    c.set<"Ac">(0);
    c.set<"Ab">(aborts);
    return c;
}
/// All stalled accesses of \p source end.
[[nodiscard]] constexpr stall_command terminate_all(std::uint32_t source) {
    auto c = detail::of_type<stall_command>(command_type::stall_term);
    c.set<"SID">(source);
    return c;
}
/// The answer to page request group \p group of \p source.
/// \param source the StreamID.
/// \param pasid the SubstreamID of the request, or no_pasid.
/// \param group the page request group index, 9 bits.
/// \param code 0 failure, 1 invalid request, 2 success.
[[nodiscard]] constexpr page_response_command respond_to_page_group(std::uint32_t source, std::uint32_t pasid,
                                                                    std::uint16_t group, std::uint8_t code) {
    auto c = detail::of_type<page_response_command>(command_type::pri_resp);
    c.set<"SSV">(pasid != no_pasid);
    c.set<"SSID">(pasid != no_pasid ? pasid : 0);
    c.set<"SID">(source);
    c.set<"PRGIndex">(group);
    c.set<"Resp">(code);
    return c;
}
/// Completion of all earlier commands, without a signal.
[[nodiscard]] constexpr sync_command synchronise() { return detail::of_type<sync_command>(command_type::sync); }

/// What an SMMU caches (IHI 0070 3.17 and 3.21).
enum class cache : std::uint8_t {
    stream_directory,  ///< Level-1 stream table descriptors.
    stream,            ///< Stream table entries.
    context_directory, ///< Level-1 context descriptors.
    context,           ///< Context descriptors.
    stage1,            ///< Translations by stage 1, and by both stages at once.
    stage2,            ///< Translations by stage 2 alone, also of intermediate addresses.
    stage1_tables,     ///< Table descriptors of stage 1.
    stage2_tables,     ///< Table descriptors of stage 2.
    device,            ///< Translations that a device keeps.
};
/// The number of enumerators of `cache`.
inline constexpr std::size_t cache_count = 9;

/// What identifies a cached thing. Fields that its cache does not use are left alone.
struct cache_tag {
    std::uint32_t source{};        ///< StreamID; of a directory entry one that it covers.
    std::uint32_t covered{};       ///< Of a directory entry: the bits of StreamID or SubstreamID that vary below it.
    std::uint32_t pasid{no_pasid}; ///< SubstreamID; no_pasid for translations of a device that have none, 0 for the one CD.
    stream_world world{stream_world::el1}; ///< Whose translation it is.
    std::uint16_t vmid{};                  ///< VMID; 0 without stage 2.
    std::uint16_t asid{};                  ///< ASID.
    bool global{};                         ///< It belongs to every ASID.
    range<iova> addresses{};               ///< The input addresses that it translates, for stage 2 intermediate ones.
    /// The manual's level of the leaf, 1 to 3: of stage 1's, also for both stages at once; of stage 2's in `cache::stage2`. 0:
    /// not known.
    std::uint64_t level{};
};

/// Which entries of one cache a command drops.
struct cache_scope {
    bool drops{};      ///< Any at all.
    bool by_source{};  ///< Those of the StreamIDs alone.
    bool by_pasid{};   ///< Those of the SubstreamID alone.
    bool by_vmid{};    ///< Those of the VMID alone.
    bool by_asid{};    ///< Those of the ASID alone, and global ones where addresses count.
    bool by_address{}; ///< Those that translate one of the addresses alone.
};

/// What a command makes stale: the least that must be dropped. Dropping more is always allowed.
struct invalidation {
    std::uint32_t source{};      ///< The StreamID.
    std::uint32_t source_mask{}; ///< Its bits that do not count.
    std::uint32_t pasid{};       ///< The SubstreamID.
    std::uint16_t vmid{};        ///< The VMID.
    std::uint16_t vmid_mask{};   ///< Its bits that do not count (CR0.VMW).
    std::uint16_t asid{};        ///< The ASID.
    bool el2{};                  ///< The EL2 stream worlds, else EL1's.
    std::uint64_t level{};       ///< The leaves are on this level of the manual; 0: on any.
    range<iova> addresses{};     ///< The addresses.
    cache_scope of[cache_count]; ///< By cache.

    /// The scope of cache \p c.
    [[nodiscard]] constexpr cache_scope& scope(cache c) { return of[static_cast<std::size_t>(c)]; }
    /// The scope of cache \p c.
    [[nodiscard]] constexpr cache_scope const& scope(cache c) const { return of[static_cast<std::size_t>(c)]; }

    /// Whether what cache \p c holds under tag \p t must be dropped.
    [[nodiscard]] constexpr bool drops(cache c, cache_tag const& t) const {
        cache_scope const& s = scope(c);
        if (!s.drops) return false;
        bool const directory = c == cache::stream_directory;
        if (s.by_source && ((t.source ^ source) & ~source_mask & ~(directory ? t.covered : 0)) != 0) return false;
        std::uint32_t const below = c == cache::context_directory ? t.covered : 0;
        if (s.by_pasid && ((t.pasid ^ pasid) & ~below) != 0) return false;
        bool const translation = c == cache::stage1 || c == cache::stage2;
        if (translation || c == cache::stage1_tables || c == cache::stage2_tables) {
            if ((t.world != stream_world::el1) != el2) return false;
        }
        if (s.by_vmid && ((t.vmid ^ vmid) & ~vmid_mask) != 0) return false;
        // Without ASIDs every translation is global. By ASID alone the global ones stay; at an address they go.
        bool const everyones = t.global || t.world == stream_world::el2;
        if (s.by_asid && (everyones ? !s.by_address : t.asid != asid)) return false;
        if (s.by_address && !addresses.overlaps(t.addresses)) return false;
        return !(s.by_address && translation && level != 0 && t.level != 0 && t.level != level);
    }
};

/// Why a command is not carried out: CMDQ_CONS.ERR (IHI 0070 7.1).
enum class command_error : std::uint8_t {
    none = 0,         ///< Nothing.
    illegal = 1,      ///< CERROR_ILL: no such command, or its fields make none.
    fetch_failed = 2, ///< CERROR_ABT: the queue could not be read.
    device_sync = 3,  ///< CERROR_ATC_INV_SYNC: a device did not answer.
};

/// One decoded command.
struct command {
    command_type type{};     ///< What it is.
    std::uint64_t word[2]{}; ///< Its words, for the fields of what drops nothing.
    invalidation stale{};    ///< What it makes stale.
};

namespace detail {

// SCALE as it counts: bit 25 with DS alone, and at most 39.
[[nodiscard]] constexpr std::uint64_t scale_of(tlb_command const& c, capabilities const& caps) {
    std::uint64_t const scale = c.get<"SCALE">();
    if (!caps.has<"DS">()) return scale & 31;
    return scale < 39 ? scale : 39;
}
// The addresses of a TLB command: one, or a range that ends with its half.
[[nodiscard]] constexpr range<iova> addresses_of(tlb_command const& c, capabilities const& caps) {
    std::uint64_t const at = c.get<"ADDR">();
    constexpr granule sizes[4] = {granule::none, granule::k4, granule::k16, granule::k64};
    granule const g = caps.has<"RIL">() ? sizes[c.get<"TG">()] : granule::none;
    if (g == granule::none) return range<iova>::between(iova{at}, iova{at});
    std::uint64_t const scale = scale_of(c, caps);
    std::uint64_t const first = at & ~low_mask(lg2_of(g));
    std::uint64_t const span = ((c.get<"NUM">() + 1) << (scale + lg2_of(g))) - 1; // at most 2^60
    std::uint64_t const last = first + span < first ? ~std::uint64_t{0} : first + span;
    return range<iova>::between(iova{first}, iova{last});
}
// The level that a range command names, if it does.
[[nodiscard]] constexpr std::uint64_t level_of(tlb_command const& c, capabilities const& caps) {
    if (!caps.has<"RIL">() || c.get<"TG">() == 0) return 0;
    bool const unknown = c.get<"TTL">() == 1 && c.get<"TG">() == 2 && !caps.has<"DS">();
    return unknown ? 0 : c.get<"TTL">();
}

// What translations of stage 1 a command drops; the tables above the leaves go unless it says that they have not changed.
constexpr void drop_stage1(invalidation& i, tlb_command const& c, cache_scope scope) {
    i.scope(cache::stage1) = scope;
    if (!scope.by_address || c.get<"Leaf">() == 0) i.scope(cache::stage1_tables) = scope;
}

[[nodiscard]] constexpr invalidation stale_by(command_type type, tlb_command const& c, capabilities const& caps,
                                              control const& registers) {
    invalidation i;
    std::uint64_t const ignored = registers.cr0.get<"VMW">();
    i.vmid = static_cast<std::uint16_t>(c.get<"VMID">());
    i.vmid_mask = static_cast<std::uint16_t>(caps.has<"VMW">() && ignored <= 4 ? low_mask(ignored) : 0);
    i.asid = static_cast<std::uint16_t>(c.get<"ASID">());
    i.addresses = addresses_of(c, caps);
    i.level = level_of(c, caps);
    bool const tagged = caps.has<"S2P">(); // else every VMID is 0, whatever the command says
    switch (type) {
    case command_type::tlbi_nh_all: drop_stage1(i, c, {.drops = true, .by_vmid = tagged}); break;
    case command_type::tlbi_nh_asid: drop_stage1(i, c, {.drops = true, .by_vmid = tagged, .by_asid = true}); break;
    case command_type::tlbi_nh_va:
        drop_stage1(i, c, {.drops = true, .by_vmid = tagged, .by_asid = true, .by_address = true});
        break;
    case command_type::tlbi_nh_vaa: drop_stage1(i, c, {.drops = true, .by_vmid = tagged, .by_address = true}); break;
    case command_type::tlbi_el2_all: drop_stage1(i, c, {.drops = true}); break;
    case command_type::tlbi_el2_asid: drop_stage1(i, c, {.drops = true, .by_asid = true}); break;
    case command_type::tlbi_el2_va: drop_stage1(i, c, {.drops = true, .by_asid = true, .by_address = true}); break;
    case command_type::tlbi_el2_vaa: drop_stage1(i, c, {.drops = true, .by_address = true}); break;
    case command_type::tlbi_s2_ipa: {
        cache_scope const scope{.drops = true, .by_vmid = true, .by_address = true};
        i.scope(cache::stage2) = scope;
        if (c.get<"Leaf">() == 0) i.scope(cache::stage2_tables) = scope;
        break;
    }
    default: { // TLBI_S12_VMALL, TLBI_NSNH_ALL
        cache_scope const scope{.drops = true, .by_vmid = type == command_type::tlbi_s12_vmall};
        i.scope(cache::stage1) = i.scope(cache::stage2) = scope;
        i.scope(cache::stage1_tables) = i.scope(cache::stage2_tables) = scope;
    }
    }
    i.el2 = type >= command_type::tlbi_el2_all && type <= command_type::tlbi_el2_vaa;
    return i;
}

[[nodiscard]] constexpr invalidation stale_by(command_type type, configuration_command const& c, capabilities const& caps) {
    invalidation i;
    cache_scope const streams{.drops = true, .by_source = true};
    cache_scope const one{.drops = true, .by_source = true, .by_pasid = true};
    bool const leaf = c.get<"Leaf">() != 0;
    i.source = static_cast<std::uint32_t>(c.get<"SID">());
    // Whatever SSV says: drivers leave it clear. Without substreams there is one descriptor.
    i.pasid = caps.substream_size() == 0 ? 0 : static_cast<std::uint32_t>(c.get<"SSID">());
    switch (type) {
    case command_type::cfgi_ste_range:
        i.source_mask = static_cast<std::uint32_t>(low_mask((c.word[1] & 31) + 1));
        [[fallthrough]];
    case command_type::cfgi_ste:
        i.scope(cache::stream) = streams;
        if (type == command_type::cfgi_ste_range || !leaf) i.scope(cache::stream_directory) = streams;
        [[fallthrough]];
    case command_type::cfgi_cd_all:
        i.scope(cache::context) = streams;
        i.scope(cache::context_directory) = streams;
        break;
    default: // CFGI_CD
        i.scope(cache::context) = one;
        if (!leaf) i.scope(cache::context_directory) = one;
    }
    return i;
}

[[nodiscard]] constexpr invalidation stale_by(device_command const& c) {
    invalidation i;
    i.source = static_cast<std::uint32_t>(c.get<"SID">());
    i.pasid = c.get<"SSV">() != 0 ? static_cast<std::uint32_t>(c.get<"SSID">()) : no_pasid;
    std::uint64_t const lg2 = c.get<"Size">() >= 52 ? 64 : c.get<"Size">() + 12;
    i.addresses = range<iova>::between(iova{c.get<"ADDR">() & ~low_mask(lg2)}, iova{c.get<"ADDR">() | low_mask(lg2)});
    // With a SubstreamID that counts, or without: what has none. G reaches every SubstreamID.
    i.scope(cache::device) = {
        .drops = true, .by_source = true, .by_pasid = c.get<"SSV">() == 0 || c.get<"G">() == 0, .by_address = true};
    return i;
}

// Whether an SMMU with these capabilities knows the command at all (IHI 0070 4.1.3).
[[nodiscard]] constexpr bool is_known(std::uint64_t op, capabilities const& caps) {
    bool const stage1 = caps.has<"S1P">();
    bool const stage2 = caps.has<"S2P">();
    switch (static_cast<command_type>(op)) {
    case command_type::prefetch_config:
    case command_type::prefetch_addr:
    case command_type::cfgi_ste:
    case command_type::cfgi_ste_range:
    case command_type::tlbi_nsnh_all:
    case command_type::sync: return true;
    case command_type::cfgi_cd:
    case command_type::cfgi_cd_all:
    case command_type::tlbi_nh_all:
    case command_type::tlbi_nh_asid:
    case command_type::tlbi_nh_va:
    case command_type::tlbi_nh_vaa: return stage1;
    case command_type::tlbi_el2_all:
    case command_type::tlbi_el2_asid:
    case command_type::tlbi_el2_va:
    case command_type::tlbi_el2_vaa: return caps.has<"HYP">();
    case command_type::tlbi_s12_vmall:
    case command_type::tlbi_s2_ipa: return stage2;
    case command_type::atc_inv: return caps.has<"ATS">();
    case command_type::pri_resp: return caps.has<"PRI">();
    case command_type::resume:
    case command_type::stall_term: return caps.idr0.get<"STALL_MODEL">() != 1;
    case command_type::cfgi_vms_pidm: // MPAM
    case command_type::tlbi_el3_all:  // Secure
    case command_type::tlbi_el3_va: break;
    }
    return false;
}

} // namespace detail

/// Decodes one command of the Non-secure queue.
/// \param word its two words.
/// \param caps the capabilities.
/// \param registers CR0.VMW says which bits of a VMID do not count.
/// \return the command, or CERROR_ILL. Reserved bits are not looked at.
[[nodiscard]] constexpr outcome<command, command_error> decode(std::uint64_t const (&word)[2], capabilities const& caps,
                                                               control const& registers = {}) {
    std::uint64_t const op = word[0] & 0xff;
    if (!detail::is_known(op, caps) || configuration_command{word[0]}.get<"SSec">() != 0) return failure{command_error::illegal};
    command c{static_cast<command_type>(op), {word[0], word[1]}, {}};
    switch (c.type) {
    case command_type::cfgi_ste:
    case command_type::cfgi_ste_range:
    case command_type::cfgi_cd:
    case command_type::cfgi_cd_all: c.stale = detail::stale_by(c.type, configuration_command{word[0], word[1]}, caps); break;
    case command_type::atc_inv: c.stale = detail::stale_by(device_command{word[0], word[1]}); break;
    case command_type::sync:
        if (sync_command{word[0], word[1]}.get<"CS">() == 3) return failure{command_error::illegal};
        break;
    case command_type::prefetch_config:
    case command_type::prefetch_addr:
    case command_type::pri_resp:
    case command_type::resume:
    case command_type::stall_term: break;
    default: {
        tlb_command const t{word[0], word[1]};
        bool const by_address = c.type == command_type::tlbi_nh_va || c.type == command_type::tlbi_nh_vaa ||
                                c.type == command_type::tlbi_el2_va || c.type == command_type::tlbi_el2_vaa ||
                                c.type == command_type::tlbi_s2_ipa;
        bool const empty = t.get<"NUM">() == 0 && detail::scale_of(t, caps) == 0 && t.get<"TTL">() == 0;
        if (by_address && caps.has<"RIL">() && t.get<"TG">() != 0 && empty) return failure{command_error::illegal};
        c.stale = detail::stale_by(c.type, t, caps, registers);
    }
    }
    return c;
}

} // namespace smmu
} // namespace v0
} // namespace stagewalk
