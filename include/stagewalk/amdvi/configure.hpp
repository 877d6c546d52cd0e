/// \file
/// Device table entries as software makes them, and writes them while the IOMMU may be reading them (48882 2.2.2.1, 2.2.2.2).
#pragma once

#include "../core/access.hpp"
#include "../core/outcome.hpp"
#include "../core/range.hpp"
#include "../memory/concept.hpp"
#include "capabilities.hpp"
#include "command.hpp"
#include "device_table.hpp"
#include "gcr3_table.hpp"
#include "request.hpp"

#include <cstddef>
#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace amdvi {

/// An entry that refuses all memory requests (TV = 0). An entry of zeros lets all of them pass.
/// \param domain the DomainID of its events.
[[nodiscard]] constexpr device_table_entry make_blocked_entry(std::uint16_t domain) {
    device_table_entry e;
    e.set<"V">(1);
    e.set<"DomainID">(domain);
    return e;
}

/// An entry that lets requests pass untranslated, as far as \p granted has their rights.
/// \param domain the DomainID.
/// \param granted read and write, or less.
[[nodiscard]] constexpr device_table_entry make_identity_entry(std::uint16_t domain, access granted = read_write) {
    device_table_entry e = make_blocked_entry(domain);
    e.set<"TV">(1);
    e.set<"IR">(granted.covers(read));
    e.set<"IW">(granted.covers(write));
    return e;
}

/// Which bits host tables are to keep, DTE.HAD.
enum class host_updates : std::uint8_t {
    none = 0,               ///< None.
    accessed = 1,           ///< Accessed bits; with HASup.
    accessed_and_dirty = 3, ///< Dirty bits too; with HASup and HDSup.
};

/// An entry with host tables.
/// \param domain the DomainID.
/// \param levels their depth, 1 to 6 and no more than the IOMMU has.
/// \param root the root table, a system address, 4 KiB aligned.
/// \param granted what the device may do at all.
/// \param keeps which bits the tables keep.
[[nodiscard]] constexpr device_table_entry make_host_entry(std::uint16_t domain, std::uint64_t levels, std::uint64_t root,
                                                           access granted = read_write, host_updates keeps = host_updates::none) {
    device_table_entry e = make_identity_entry(domain, granted);
    e.set<"Mode">(levels);
    e.set<"HostPageTableRoot">(root);
    e.set<"HAD">(static_cast<std::uint64_t>(keeps));
    return e;
}

/// Guest tables, for with_guest().
struct guest_translation {
    std::uint64_t gcr3_root{}; ///< The GCR3 root table, 4 KiB aligned: a system address, or a guest's, see Control.GCR3TRPMode.
    std::uint64_t gcr3_levels{1}; ///< The depth of the GCR3 tables, 1 to 3.
    std::uint64_t levels{4};      ///< The depth of the guest tables, 4 or 5.
    bool serves_untagged{};       ///< GIoV: requests without PASID use PASID 0; with GIoSup.
    bool requests_pages{};        ///< PPR: the device may ask for pages; with PPRSup.

    /// Translations are equal field by field.
    friend constexpr bool operator==(guest_translation const&, guest_translation const&) = default;
};

/// Entry \p e with guest tables too: alone if it is an identity entry, over its host tables if it has some.
[[nodiscard]] constexpr device_table_entry with_guest(device_table_entry e, guest_translation const& guest) {
    e.set<"GV">(1);
    e.set<"GIoV">(guest.serves_untagged);
    e.set<"PPR">(guest.requests_pages);
    e.set<"GLX">(guest.gcr3_levels - 1);
    e.set<"GPM">(guest.levels - 4);
    e.set_gcr3_root(guest.gcr3_root);
    return e;
}

/// An interrupt table.
struct interrupt_table {
    std::uint64_t root{};        ///< Its system address, 128-byte aligned.
    std::uint64_t lg2_entries{}; ///< lg2 of the number of entries, 0 to 11.

    /// Tables are equal field by field.
    friend constexpr bool operator==(interrupt_table const&, interrupt_table const&) = default;
};

/// Entry \p e with remapped interrupts (IntCtl = 2). INIT, NMI and the like stay closed.
[[nodiscard]] constexpr device_table_entry with_interrupts(device_table_entry e, interrupt_table const& table) {
    e.set<"IV">(1);
    e.set<"IntTabLen">(table.lg2_entries);
    e.set<"IntTabRoot">(table.root);
    e.set<"IntCtl">(2);
    return e;
}

/// Entry \p e fit for hardware with erratum 63: who forwards all system management messages must also grant writing.
[[nodiscard]] constexpr device_table_entry with_erratum_63(device_table_entry e) {
    if (e.get<"SysMgt">() == 1) e.set<"IW">(1);
    return e;
}

/// The commands that a change of a device table entry owes, in order, two words each. A COMPLETION_WAIT of the caller's follows.
struct owed_commands {
    std::uint64_t word[4][2]{}; ///< The commands.
    std::size_t count{};        ///< How many there are.

    /// Adds command \p c.
    template <class Command>
    constexpr void add(Command const& c) {
        word[count][0] = c.word[0];
        word[count][1] = c.word[1];
        ++count;
    }
};

/// How a device takes invalidations of its IOTLB.
struct iotlb_queue {
    std::uint8_t outstanding{1}; ///< How many at a time (Maxpend).
    std::uint16_t id{};          ///< QueueID: the DeviceID, of a virtual function that of its physical function.

    /// Queues are equal field by field.
    friend constexpr bool operator==(iotlb_queue const&, iotlb_queue const&) = default;
};

/// What is owed when entry \p old of device \p source becomes \p fresh.
///
/// The domain is the old one: it tags what is cached. A device keeps what it was told, also while V was 0 and every address was
/// told to be its own. The commands name no PASID. That they also drop what guest tables gave is not confirmed: of an entry with
/// GV each PASID in use still owes invalidate_pasid(), and of a device with an IOTLB invalidate_device() with the PASID. The
/// caller knows them.
/// \param old the entry that was there.
/// \param fresh the entry that is there now.
/// \param source the DeviceID.
/// \param queue how the device takes invalidations.
/// \param caps the capabilities: without IotlbSup no device has an IOTLB.
[[nodiscard]] constexpr owed_commands owed_after(device_table_entry const& old, device_table_entry const& fresh,
                                                 std::uint16_t source, iotlb_queue const& queue, capabilities const& caps) {
    owed_commands owed;
    if (old == fresh) return owed;
    owed.add(invalidate_device_entry(source));
    bool const was_valid = old.get<"V">() != 0;
    if (was_valid && old.get<"TV">() != 0 && (old.has_host_tables() || old.get<"GV">() != 0))
        owed.add(invalidate_domain(static_cast<std::uint16_t>(old.get<"DomainID">())));
    bool const interrupts = old.word[2] != fresh.word[2] || old.word[3] != fresh.word[3];
    if (interrupts && old.get<"IV">() != 0) owed.add(invalidate_interrupts(source));
    bool const had_iotlb = was_valid ? old.get<"I">() != 0 : fresh.get<"V">() != 0 && fresh.get<"I">() != 0;
    if (had_iotlb && caps.has<"IotlbSup">())
        owed.add(invalidate_device(source, no_pasid, range<iova>::all(), queue.outstanding, queue.id));
    return owed;
}

/// Writes device table entries with stores of 64 bits. The IOMMU reads all 256 bits at once: between the stores it must not see a
/// mixture that lets a request through which neither the old entry nor the new one would. Both are legal.
///
/// Memory requests look at words 0 and 1 and at GPM. A change of one of these is one store; root and depth of host tables lie in
/// one word, so tables can grow a level unnoticed. A change of several goes through an entry with V = 1 and TV = 0, which
/// refuses: requests that come in between are lost, and cause events unless SA is set; none goes astray. An entry whose V was 0
/// let all requests pass, and does so until the new first word is there.
///
/// What an IOMMU has cached it may use until the owed commands have completed, with the new entry's rights: new tables are better
/// given a new DomainID.
/// \tparam M the memory that holds the device table.
template <table_memory M>
class configurator {
public:
    using address = typename M::address;          ///< The space of the device table.
    using error = typename M::error;              ///< What the memory reports.
    using result = outcome<owed_commands, error>; ///< The commands that the change owes, or what the memory reports.

    /// \param caps the capabilities.
    /// \param m the memory, alive as long as this object.
    constexpr configurator(capabilities const& caps, M& m) : caps_{caps}, memory_{&m} {}

    /// Makes \p e the entry of \p source, which lies at \p at.
    /// \param at the entry's address.
    /// \param e what it becomes.
    /// \param source the DeviceID.
    /// \return the commands that are owed; none if nothing has changed. Where memory fails half-way, requests are answered as by
    /// one of both entries, or refused; what is owed then is owed_after() the entry that was there.
    constexpr result set(address at, device_table_entry const& e, std::uint16_t source) {
        return set(at, e, source, iotlb_queue{1, source});
    }
    /// The same for a device with an IOTLB.
    /// \param at the entry's address.
    /// \param e what it becomes.
    /// \param source the DeviceID.
    /// \param queue how the device takes invalidations.
    constexpr result set(address at, device_table_entry const& e, std::uint16_t source, iotlb_queue const& queue) {
        device_table_entry old;
        for (std::size_t w = 0; w < device_table_entry::words; ++w) {
            auto const loaded = memory_->load(at + w * 8);
            if (!loaded) return failure{loaded.error()};
            old.word[w] = *loaded;
        }
        auto const changes = [&](std::size_t w) { return old.word[w] != e.word[w]; };
        unsigned const seen_by_requests =
            (changes(0) ? 1u : 0u) + (changes(1) ? 1u : 0u) + (old.get<"GPM">() != e.get<"GPM">() ? 1u : 0u);
        bool const steps_aside = seen_by_requests > 1 && old.get<"V">() != 0;
        if (steps_aside)
            if (auto const stored = put(at, make_blocked_entry(0).word[0]); !stored) return failure{stored.error()};
        // Words 3 and 2 in this order, so that what IV makes count is there; the other way round where it stops to count.
        bool const interrupts_come = e.get<"IV">() != 0;
        std::size_t const order[]{interrupts_come ? 3u : 2u, interrupts_come ? 2u : 3u, 1u};
        for (std::size_t const w : order)
            if (changes(w))
                if (auto const stored = put(at + w * 8, e.word[w]); !stored) return failure{stored.error()};
        if (changes(0) || steps_aside)
            if (auto const stored = put(at, e.word[0]); !stored) return failure{stored.error()};
        return owed_after(old, e, source, queue, caps_);
    }

    /// Makes \p e the GCR3 table entry at \p at: the last one of \p pasid, in one store.
    /// \param at the entry's address.
    /// \param e what it becomes; all zero takes it away.
    /// \param domain the DomainID of the devices that use the table.
    /// \param pasid the PASID.
    /// \return the command that is owed; devices with IOTLBs are owed invalidate_device() with the PASID besides.
    constexpr result set(address at, gcr3_table_entry const& e, std::uint16_t domain, std::uint32_t pasid) {
        if (auto const stored = put(at, e.word[0]); !stored) return failure{stored.error()};
        owed_commands owed;
        owed.add(invalidate_pasid(domain, pasid));
        return owed;
    }

private:
    constexpr outcome<bool, error> put(address at, std::uint64_t value) {
        if (auto const stored = memory_->store(at, value); !stored) return failure{stored.error()};
        memory_->publish(at, 8);
        return true;
    }

    capabilities caps_;
    M* memory_;
};

} // namespace amdvi
} // namespace v0
} // namespace stagewalk
