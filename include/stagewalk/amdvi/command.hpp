/// \file
/// Commands (48882 2.4): encoded, decoded, and turned into what each cache has to drop.
#pragma once

#include "../core/address.hpp"
#include "../core/field.hpp"
#include "../core/outcome.hpp"
#include "../core/range.hpp"
#include "../core/size.hpp"
#include "capabilities.hpp"
#include "invalidation.hpp"
#include "request.hpp"

#include <cstddef>
#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace amdvi {

/// The opcodes, bits 63:60 of word 0, with the manual's names.
enum class command_type : std::uint8_t {
    completion_wait = 0x1,            ///< Completion of all earlier ones.
    invalidate_devtab_entry = 0x2,    ///< A device table entry.
    invalidate_iommu_pages = 0x3,     ///< Translations of a domain.
    invalidate_iotlb_pages = 0x4,     ///< Translations that a device keeps.
    invalidate_interrupt_table = 0x5, ///< Interrupt entries of a device.
    prefetch_iommu_pages = 0x6,       ///< A hint; with PreFSup.
    complete_ppr_request = 0x7,       ///< The answer to a page request; with PPRSup.
    invalidate_iommu_all = 0x8,       ///< All that the IOMMU caches; with IASup.
    insert_guest_event = 0x9,         ///< Into the event log of a guest; with vIommuSup.
    reset_vmmio = 0xa,                ///< The registers of a guest's IOMMU; with vIommuSup.
};

/// Why a command is not carried out. Each is an ILLEGAL_COMMAND_ERROR: the IOMMU stops in front of the command.
enum class command_error : std::uint8_t {
    none,         ///< It is carried out.
    opcode,       ///< There is no such command.
    no_feature,   ///< The IOMMU lacks the command, or a field of it that is used.
    reserved_bit, ///< A reserved bit is set.
};

/// COMPLETION_WAIT (48882 2.4.1).
struct completion_wait_command : entry<128, field<"s", 0>,                    // Store Data is written on completion
                                       field<"i", 1>,                         // Status.ComWaitInt is set on completion
                                       field<"f", 2>,                         // later commands start after it
                                       pointer_field<"Store Address", 51, 3>, // a system address
                                       field<"Opcode", 63, 60>,               // 1
                                       pointer_field<"Store Data", 127, 64>   // 8 bytes
                                       > {
    using entry::entry;
    static constexpr command_type type = command_type::completion_wait; ///< Its type.

    /// Whether an IOMMU with capabilities \p caps has all of it.
    [[nodiscard]] static constexpr bool is_supported(capabilities const&) { return true; }
    /// What it makes stale: nothing.
    [[nodiscard]] static constexpr invalidation stale() { return {}; }
};

/// INVALIDATE_DEVTAB_ENTRY (48882 2.4.2). Translations stay: software names their old domain in a command of its own.
struct device_entry_command : entry<128, field<"DeviceID", 15, 0>, // the device
                                    field<"Opcode", 63, 60>        // 2
                                    > {
    using entry::entry;
    static constexpr command_type type = command_type::invalidate_devtab_entry; ///< Its type.

    /// Whether an IOMMU with capabilities \p caps has all of it.
    [[nodiscard]] static constexpr bool is_supported(capabilities const&) { return true; }
    /// What it makes stale. The manual does not say that what was found through the entry's GCR3 root goes: it does here.
    [[nodiscard]] constexpr invalidation stale() const {
        cache_scope const device{.drops = true, .by_source = true};
        invalidation i;
        i.source = static_cast<std::uint16_t>(get<"DeviceID">());
        i.of(cache::device_entry) = i.of(cache::interrupt_table) = device;
        i.of(cache::guest_tables) = i.of(cache::gcr3) = device;
        return i;
    }
};

/// INVALIDATE_IOMMU_PAGES (48882 2.4.3). PASID counts with GN only.
struct pages_command : entry<128, field<"PASID", 19, 0>,       // guest translations: the PASID
                             field<"DomainID", 47, 32>,        // the domain
                             field<"Opcode", 63, 60>,          // 3
                             field<"S", 64>,                   // Address also tells a size
                             field<"PDE", 65>,                 // tables have changed too, not only leaves
                             field<"GN", 66>,                  // guest translations; reserved without GTSup
                             pointer_field<"Address", 127, 76> // see pages_of()
                             > {
    using entry::entry;
    static constexpr command_type type = command_type::invalidate_iommu_pages; ///< Its type.

    /// Whether an IOMMU with capabilities \p caps has all of it.
    [[nodiscard]] constexpr bool is_supported(capabilities const& caps) const { return get<"GN">() == 0 || caps.has<"GTSup">(); }
    /// What it makes stale. A page of the host may lie under any address of its domain's guests, so without GN all of them go.
    [[nodiscard]] constexpr invalidation stale() const {
        cache_scope const domain{.drops = true, .by_domain = true};
        bool const tables_too = get<"PDE">() != 0;
        invalidation i;
        i.domain = static_cast<std::uint16_t>(get<"DomainID">());
        i.pasid = static_cast<std::uint32_t>(get<"PASID">());
        i.addresses = pages_of(word[1]);
        cache_scope pages = domain;
        pages.by_address = true;
        if (get<"GN">() == 0) {
            i.of(cache::host) = pages;
            i.of(cache::guest) = domain;
            if (tables_too) i.of(cache::host_tables) = pages;
        } else {
            cache_scope space = domain;
            pages.by_pasid = space.by_pasid = true;
            i.of(cache::guest) = pages;
            if (tables_too) i.of(cache::guest_tables) = i.of(cache::gcr3) = space;
        }
        return i;
    }
};

/// INVALIDATE_IOTLB_PAGES (48882 2.4.4).
struct iotlb_command : entry<128, field<"DeviceID", 15, 0>,    // the device
                             field<"PASID 15:8", 23, 16>,      //
                             field<"Maxpend", 31, 24>,         // how many of them the device takes at a time
                             field<"QueueID", 47, 32>,         // whose count that is
                             field<"PASID 7:0", 55, 48>,       //
                             field<"PASID 19:16", 59, 56>,     //
                             field<"Opcode", 63, 60>,          // 4
                             field<"S", 64>,                   // Address also tells a size
                             field<"GN", 66>,                  // PASID counts; reserved without GTSup
                             field<"Type", 69, 68>,            // reserved without InvIotlbTypeSup
                             pointer_field<"Address", 127, 76> // see pages_of()
                             > {
    using entry::entry;
    static constexpr command_type type = command_type::invalidate_iotlb_pages; ///< Its type.

    /// The PASID.
    [[nodiscard]] constexpr std::uint32_t pasid() const {
        return static_cast<std::uint32_t>(get<"PASID 19:16">() << 16 | get<"PASID 15:8">() << 8 | get<"PASID 7:0">());
    }
    /// Sets the PASID, 20 bits.
    constexpr void set_pasid(std::uint32_t pasid) {
        set<"PASID 7:0">(pasid);
        set<"PASID 15:8">(pasid >> 8);
        set<"PASID 19:16">(pasid >> 16);
    }
    /// Whether an IOMMU with capabilities \p caps has all of it.
    [[nodiscard]] constexpr bool is_supported(capabilities const& caps) const {
        return caps.has<"IotlbSup">() && (get<"GN">() == 0 || caps.has<"GTSup">()) &&
               (get<"Type">() == 0 || caps.has<"InvIotlbTypeSup">());
    }
    /// What it makes stale. Without GN the PASIDs of the device's translations do not count, and Type never does.
    [[nodiscard]] constexpr invalidation stale() const {
        invalidation i;
        i.source = static_cast<std::uint16_t>(get<"DeviceID">());
        i.pasid = pasid();
        i.addresses = pages_of(word[1]);
        i.of(cache::device) = {.drops = true, .by_source = true, .by_pasid = get<"GN">() != 0, .by_address = true};
        return i;
    }
};

/// INVALIDATE_INTERRUPT_TABLE (48882 2.4.5).
struct interrupt_table_command : entry<128, field<"DeviceID", 15, 0>, // the device
                                       field<"Opcode", 63, 60>        // 5
                                       > {
    using entry::entry;
    static constexpr command_type type = command_type::invalidate_interrupt_table; ///< Its type.

    /// Whether an IOMMU with capabilities \p caps has all of it.
    [[nodiscard]] static constexpr bool is_supported(capabilities const&) { return true; }
    /// What it makes stale.
    [[nodiscard]] constexpr invalidation stale() const {
        invalidation i;
        i.source = static_cast<std::uint16_t>(get<"DeviceID">());
        i.of(cache::interrupt) = i.of(cache::interrupt_table) = {.drops = true, .by_source = true};
        return i;
    }
};

/// PREFETCH_IOMMU_PAGES (48882 2.4.6): a hint, but for Inval.
struct prefetch_command : entry<128, field<"DeviceID", 15, 0>,    // the device
                                field<"PFCount", 31, 24>,         // how many pages
                                field<"PASID", 51, 32>,           // with GN: the PASID
                                field<"Opcode", 63, 60>,          // 6
                                field<"S", 64>,                   // Address also tells a size
                                field<"GN", 66>,                  // PASID counts; reserved without GTSup
                                field<"Inval", 68>,               // what is cached of the addresses is dropped before
                                pointer_field<"Address", 127, 76> // see pages_of()
                                > {
    using entry::entry;
    static constexpr command_type type = command_type::prefetch_iommu_pages; ///< Its type.

    /// Whether an IOMMU with capabilities \p caps has all of it.
    [[nodiscard]] constexpr bool is_supported(capabilities const& caps) const {
        return caps.has<"PreFSup">() && (get<"GN">() == 0 || caps.has<"GTSup">());
    }
    /// What it makes stale: with Inval the translations of the addresses. It does not name the device's domain, so those of every
    /// domain go.
    [[nodiscard]] constexpr invalidation stale() const {
        invalidation i;
        i.source = static_cast<std::uint16_t>(get<"DeviceID">());
        i.pasid = static_cast<std::uint32_t>(get<"PASID">());
        i.addresses = pages_of(word[1]);
        if (get<"Inval">() == 0) return i;
        bool const guest = get<"GN">() != 0;
        i.of(cache::guest) = {.drops = true, .by_pasid = guest, .by_address = true};
        if (!guest) i.of(cache::host) = {.drops = true, .by_address = true};
        return i;
    }
};

/// COMPLETE_PPR_REQUEST (48882 2.4.7).
struct page_response_command : entry<128, field<"DeviceID", 15, 0>,          // the device
                                     field<"PASID", 51, 32>,                 // with GN: the PASID
                                     field<"Opcode", 63, 60>,                // 7
                                     field<"GN", 66>,                        // PASID counts; reserved without GTSup
                                     field<"Completion Tag 8:0", 104, 96>,   // the page request group
                                     field<"Completion Tag 11:9", 107, 105>, //
                                     field<"Completion Tag 15:12", 111, 108> // the response code
                                     > {
    using entry::entry;
    static constexpr command_type type = command_type::complete_ppr_request; ///< Its type.

    /// Whether an IOMMU with capabilities \p caps has all of it.
    [[nodiscard]] constexpr bool is_supported(capabilities const& caps) const {
        return caps.has<"PPRSup">() && (get<"GN">() == 0 || caps.has<"GTSup">());
    }
    /// What it makes stale: nothing.
    [[nodiscard]] static constexpr invalidation stale() { return {}; }
};

/// INVALIDATE_IOMMU_ALL (48882 2.4.8).
struct everything_command : entry<128, field<"Opcode", 63, 60> // 8
                                  > {
    using entry::entry;
    static constexpr command_type type = command_type::invalidate_iommu_all; ///< Its type.

    /// Whether an IOMMU with capabilities \p caps has all of it.
    [[nodiscard]] static constexpr bool is_supported(capabilities const& caps) { return caps.has<"IASup">(); }
    /// What it makes stale: everything, save what the devices keep.
    [[nodiscard]] static constexpr invalidation stale() {
        invalidation i;
        for (cache_scope& s : i.scope)
            s.drops = true;
        i.of(cache::device).drops = false;
        return i;
    }
};

/// INSERT_GUEST_EVENT (48882 2.4): an event log entry whose other bits are here as they are there.
struct guest_event_command : entry<128, field<"Event 31:0", 31, 0>,       //
                                   field<"GuestID", 47, 32>,              // the guest
                                   field<"Event 59:48", 59, 48>,          //
                                   field<"Opcode", 63, 60>,               // 9
                                   pointer_field<"Event 127:64", 127, 64> //
                                   > {
    using entry::entry;
    static constexpr command_type type = command_type::insert_guest_event; ///< Its type.

    /// Whether an IOMMU with capabilities \p caps has all of it.
    [[nodiscard]] static constexpr bool is_supported(capabilities const& caps) { return caps.has<"vIommuSup">(); }
    /// What it makes stale: nothing.
    [[nodiscard]] static constexpr invalidation stale() { return {}; }
};

/// RESET_VMMIO (48882 2.4).
struct guest_reset_command : entry<128, field<"GuestID", 15, 0>, // the guest
                                   field<"All", 27>,             // every guest
                                   field<"vCmd", 31>,            // its command buffer too
                                   field<"Opcode", 63, 60>       // 0ah
                                   > {
    using entry::entry;
    static constexpr command_type type = command_type::reset_vmmio; ///< Its type.

    /// Whether an IOMMU with capabilities \p caps has all of it.
    [[nodiscard]] static constexpr bool is_supported(capabilities const& caps) { return caps.has<"vIommuSup">(); }
    /// What it makes stale: nothing.
    [[nodiscard]] static constexpr invalidation stale() { return {}; }
};

/// One decoded command.
struct command {
    command_type type{};     ///< What it is.
    std::uint64_t word[2]{}; ///< Its words, for the fields of what drops nothing.
    invalidation stale{};    ///< What it makes stale.
};

namespace detail {

template <class Command>
[[nodiscard]] constexpr outcome<command, command_error> decode_as(std::uint64_t const (&word)[2], capabilities const& caps) {
    Command const c{word[0], word[1]};
    if (((word[0] & Command::reserved(0)) | (word[1] & Command::reserved(1))) != 0) return failure{command_error::reserved_bit};
    if (!c.is_supported(caps)) return failure{command_error::no_feature};
    return command{Command::type, {word[0], word[1]}, c.stale()};
}

// A command of which only the opcode is set.
template <class Command>
[[nodiscard]] constexpr Command of_type() {
    Command c;
    c.template set<"Opcode">(static_cast<std::uint64_t>(Command::type));
    return c;
}

// Bits 63:12 and S.
template <class Command>
constexpr void set_pages(Command& c, range<iova> pages) {
    std::uint64_t const operand = block_around(pages);
    c.template set<"Address">(operand);
    c.template set<"S">(operand & 1);
}

// PASID and GN, if there is one.
template <class Command>
constexpr void set_pasid(Command& c, std::uint32_t pasid) {
    if (pasid == no_pasid) return;
    c.template set<"GN">(1);
    if constexpr (requires { c.set_pasid(pasid); })
        c.set_pasid(pasid);
    else
        c.template set<"PASID">(pasid);
}

} // namespace detail

/// Decodes one command of the command buffer.
/// \param word its two words.
/// \param caps the capabilities.
/// \return the command, or why it is an ILLEGAL_COMMAND_ERROR.
[[nodiscard]] constexpr outcome<command, command_error> decode(std::uint64_t const (&word)[2], capabilities const& caps) {
    switch (static_cast<command_type>(word[0] >> 60)) {
    case command_type::completion_wait: return detail::decode_as<completion_wait_command>(word, caps);
    case command_type::invalidate_devtab_entry: return detail::decode_as<device_entry_command>(word, caps);
    case command_type::invalidate_iommu_pages: return detail::decode_as<pages_command>(word, caps);
    case command_type::invalidate_iotlb_pages: return detail::decode_as<iotlb_command>(word, caps);
    case command_type::invalidate_interrupt_table: return detail::decode_as<interrupt_table_command>(word, caps);
    case command_type::prefetch_iommu_pages: return detail::decode_as<prefetch_command>(word, caps);
    case command_type::complete_ppr_request: return detail::decode_as<page_response_command>(word, caps);
    case command_type::invalidate_iommu_all: return detail::decode_as<everything_command>(word, caps);
    case command_type::insert_guest_event: return detail::decode_as<guest_event_command>(word, caps);
    case command_type::reset_vmmio: return detail::decode_as<guest_reset_command>(word, caps);
    }
    return failure{command_error::opcode};
}

/// Completion: \p data is written to \p store when all earlier commands are done.
/// \param store a system address, a multiple of 8 below 2^52.
/// \param data what is written, 8 bytes.
/// \param flush f: later commands start after it.
[[nodiscard]] constexpr completion_wait_command wait_and_write(std::uint64_t store, std::uint64_t data, bool flush) {
    auto c = detail::of_type<completion_wait_command>();
    c.set<"s">(1);
    c.set<"f">(flush);
    c.set<"Store Address">(store);
    c.set<"Store Data">(data);
    return c;
}
/// Completion by interrupt: Status.ComWaitInt is set when all earlier commands are done, and signalled with
/// Control.ComWaitIntEn.
/// \param flush f: later commands start after it.
[[nodiscard]] constexpr completion_wait_command wait_and_interrupt(bool flush) {
    auto c = detail::of_type<completion_wait_command>();
    c.set<"i">(1);
    c.set<"f">(flush);
    return c;
}
/// Later commands start when all earlier ones are done.
[[nodiscard]] constexpr completion_wait_command fence() {
    auto c = detail::of_type<completion_wait_command>();
    c.set<"f">(1);
    return c;
}

/// The device table entry of \p source.
[[nodiscard]] constexpr device_entry_command invalidate_device_entry(std::uint16_t source) {
    auto c = detail::of_type<device_entry_command>();
    c.set<"DeviceID">(source);
    return c;
}

/// The translations of a block around \p pages: by host tables, or by guest tables of \p pasid.
/// \param domain the DomainID.
/// \param pasid the PASID of guest translations, 20 bits; no_pasid means host tables.
/// \param pages the addresses, not none; block_around() tells how many more they become.
/// \param leaves_only no table above the leaves has changed.
[[nodiscard]] constexpr pages_command invalidate_pages(std::uint16_t domain, std::uint32_t pasid, range<iova> pages,
                                                       bool leaves_only) {
    auto c = detail::of_type<pages_command>();
    c.set<"DomainID">(domain);
    c.set<"PDE">(!leaves_only);
    detail::set_pasid(c, pasid);
    detail::set_pages(c, pages);
    return c;
}
/// All translations of \p domain, and the tables above them.
[[nodiscard]] constexpr pages_command invalidate_domain(std::uint16_t domain) {
    return invalidate_pages(domain, no_pasid, range<iova>::all(), false);
}
/// All guest translations of \p pasid in \p domain, and the tables above them.
[[nodiscard]] constexpr pages_command invalidate_pasid(std::uint16_t domain, std::uint32_t pasid) {
    return invalidate_pages(domain, pasid, range<iova>::all(), false);
}

/// The translations of a block around \p pages that the device \p source keeps.
/// \param source the DeviceID.
/// \param pasid the PASID, 20 bits; no_pasid means every translation.
/// \param pages the addresses, not none; block_around() tells how many more they become.
/// \param outstanding how many such invalidations the device takes at a time (Maxpend).
/// \param queue whose count that is (QueueID): the DeviceID, of a virtual function that of its physical function.
[[nodiscard]] constexpr iotlb_command invalidate_device(std::uint16_t source, std::uint32_t pasid, range<iova> pages,
                                                        std::uint8_t outstanding, std::uint16_t queue) {
    auto c = detail::of_type<iotlb_command>();
    c.set<"DeviceID">(source);
    c.set<"Maxpend">(outstanding);
    c.set<"QueueID">(queue);
    detail::set_pasid(c, pasid);
    detail::set_pages(c, pages);
    return c;
}

/// The interrupt entries of \p source.
[[nodiscard]] constexpr interrupt_table_command invalidate_interrupts(std::uint16_t source) {
    auto c = detail::of_type<interrupt_table_command>();
    c.set<"DeviceID">(source);
    return c;
}

/// A hint that \p source will need \p count pages from \p pages on.
/// \param source the DeviceID.
/// \param pasid the PASID, 20 bits, or no_pasid.
/// \param pages the addresses, not none.
/// \param count PFCount.
/// \param again whether what is cached of them is dropped before.
[[nodiscard]] constexpr prefetch_command prefetch(std::uint16_t source, std::uint32_t pasid, range<iova> pages,
                                                  std::uint8_t count, bool again) {
    auto c = detail::of_type<prefetch_command>();
    c.set<"DeviceID">(source);
    c.set<"PFCount">(count);
    c.set<"Inval">(again);
    detail::set_pasid(c, pasid);
    detail::set_pages(c, pages);
    return c;
}

/// The answer to page request group \p group of \p source.
/// \param source the DeviceID.
/// \param pasid the PASID of the request, or no_pasid.
/// \param group the page request group index, 9 bits.
/// \param code 0 success, 1 invalid request, 15 failure.
[[nodiscard]] constexpr page_response_command respond_to_page_group(std::uint16_t source, std::uint32_t pasid,
                                                                    std::uint16_t group, std::uint8_t code) {
    auto c = detail::of_type<page_response_command>();
    c.set<"DeviceID">(source);
    c.set<"Completion Tag 8:0">(group);
    c.set<"Completion Tag 15:12">(code);
    detail::set_pasid(c, pasid);
    return c;
}

/// All that the IOMMU caches.
[[nodiscard]] constexpr everything_command invalidate_all() { return detail::of_type<everything_command>(); }

/// Puts an event into the log of \p guest.
/// \param guest the GuestID.
/// \param event0 word 0 of the event log entry; bits 63:60 and 47:32 make way for the opcode and \p guest.
/// \param event1 word 1 of it.
[[nodiscard]] constexpr guest_event_command insert_guest_event(std::uint16_t guest, std::uint64_t event0, std::uint64_t event1) {
    guest_event_command c{event0, event1};
    c.set<"GuestID">(guest);
    c.set<"Opcode">(static_cast<std::uint64_t>(command_type::insert_guest_event));
    return c;
}

/// Resets the registers of the IOMMU of \p guest, and with \p commands_too what it has of commands.
[[nodiscard]] constexpr guest_reset_command reset_guest(std::uint16_t guest, bool commands_too) {
    auto c = detail::of_type<guest_reset_command>();
    c.set<"GuestID">(guest);
    c.set<"vCmd">(commands_too);
    return c;
}
/// The same of every guest.
[[nodiscard]] constexpr guest_reset_command reset_all_guests(bool commands_too) {
    auto c = detail::of_type<guest_reset_command>();
    c.set<"All">(1);
    c.set<"vCmd">(commands_too);
    return c;
}

} // namespace amdvi
} // namespace v0
} // namespace stagewalk
