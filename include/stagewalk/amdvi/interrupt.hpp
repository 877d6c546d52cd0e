/// \file
/// Interrupt remapping (48882 2.2.5): what becomes of a device's interrupt message.
#pragma once

#include "../core/fault.hpp"
#include "../core/field.hpp"
#include "../core/outcome.hpp"
#include "../core/size.hpp"
#include "../memory/concept.hpp"
#include "capabilities.hpp"
#include "control.hpp"
#include "device_table.hpp"
#include "device_table_reader.hpp"
#include "event.hpp"
#include "event_record.hpp"
#include "policy.hpp"
#include "refusal.hpp"

#include <cstddef>
#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace amdvi {

/// Interrupt remapping entry of 32 bits, without Control.GAEn (48882 2.2.5). Here it is the low half of a word.
struct interrupt_entry_32 : entry<64, field<"RemapEn", 0>,            // there is a mapping
                                  field<"SupIOPF", 1>,                // page faults of this entry are not logged
                                  field<"IntType", 4, 2>,             // 0 fixed, 1 arbitrated
                                  field<"RqEoi", 5>,                  // an end-of-interrupt message is asked for
                                  field<"DM", 6>,                     // the destination is 0 physical, 1 logical
                                  field<"GuestMode", 7>,              // 0
                                  field<"Destination", 15, 8>,        // 8 bits
                                  field<"Vector", 23, 16>,            //
                                  ignored_field<"Next entry", 63, 32> //
                                  > {
    using entry::entry;
};

/// Interrupt remapping entry of 128 bits, with Control.GAEn, GuestMode = 0 (48882 2.2.5).
struct interrupt_entry_128 : entry<128, field<"RemapEn", 0>,            // there is a mapping
                                   field<"SupIOPF", 1>,                 // page faults of this entry are not logged
                                   field<"IntType", 4, 2>,              // 0 fixed, 1 arbitrated
                                   field<"RqEoi", 5>,                   // an end-of-interrupt message is asked for
                                   field<"DM", 6>,                      // the destination is 0 physical, 1 logical
                                   field<"GuestMode", 7>,               // 0
                                   field<"Destination 7:0", 15, 8>,     //
                                   field<"Destination 23:8", 31, 16>,   // with XTEn, else reserved
                                   field<"Vector", 71, 64>,             //
                                   field<"Destination 31:24", 127, 120> // with XTEn, else reserved
                                   > {
    using entry::entry;
};

/// Interrupt remapping entry of 128 bits with GuestMode = 1: into a guest's virtual APIC (48882 2.2.5).
struct guest_interrupt_entry : entry<128, field<"RemapEn", 0>,             // there is a mapping
                                     field<"SupIOPF", 1>,                  // page faults of this entry are not logged
                                     field<"GALogIntr", 2>,                // of a guest that does not run: into the GA log
                                     field<"GAPPIDis", 3>,                 // no processor is told by an interrupt
                                     field<"IsRun", 6>,                    // the guest's processor runs
                                     field<"GuestMode", 7>,                // 1
                                     field<"Destination 7:0", 15, 8>,      // where it runs
                                     field<"Destination 23:8", 31, 16>,    // with XTEn, else reserved
                                     field<"GATag", 63, 32>,               // for the GA log
                                     field<"Vector", 71, 64>,              // the guest's
                                     pointer_field<"vAPIC root", 115, 76>, // backing page, a system address
                                     field<"Destination 31:24", 127, 120>  // with XTEn, else reserved
                                     > {
    using entry::entry;
};

/// How a remapped interrupt is delivered: IntType.
enum class interrupt_type : std::uint8_t {
    fixed = 0,      ///< To its destination.
    arbitrated = 1, ///< To that one of its destinations that has the lowest priority.
};

/// Where a remapped interrupt goes.
struct interrupt_target {
    std::uint32_t destination{}; ///< The APIC's id: 8 bits, with XTEn 32.
    std::uint8_t vector{};       ///< The vector.
    interrupt_type type{};       ///< How it is delivered.
    bool is_logical{};           ///< Whether `destination` is logical.
    bool requests_eoi{};         ///< Whether an end-of-interrupt message is asked for.

    /// Targets are equal field by field.
    friend constexpr bool operator==(interrupt_target const&, interrupt_target const&) = default;
};

/// Where an interrupt for a guest goes.
struct guest_interrupt_target {
    std::uint64_t vapic_root{};  ///< The system address of the backing page of its virtual APIC, bits 51:12.
    std::uint32_t tag{};         ///< GATag: what the GA log calls it.
    std::uint32_t destination{}; ///< The physical id of the APIC where the guest runs: 8 bits, with XTEn 32.
    std::uint8_t vector{};       ///< The guest's vector.
    bool is_running{};           ///< IsRun: whether it runs.
    bool is_logged{};            ///< GALogIntr: if it does not, it is told by the GA log.
    bool is_quiet{};             ///< GAPPIDis: no processor is told by an interrupt.

    /// Targets are equal field by field.
    friend constexpr bool operator==(guest_interrupt_target const&, guest_interrupt_target const&) = default;
};

/// The entry of 32 bits that sends interrupts to \p to, of whose destination 8 bits count.
/// \param to where they go.
/// \param suppressed SupIOPF.
[[nodiscard]] constexpr std::uint32_t to_entry_32(interrupt_target const& to, bool suppressed = false) {
    interrupt_entry_32 e;
    e.set<"RemapEn">(1);
    e.set<"SupIOPF">(suppressed);
    e.set<"IntType">(static_cast<std::uint64_t>(to.type));
    e.set<"RqEoi">(to.requests_eoi);
    e.set<"DM">(to.is_logical);
    e.set<"Destination">(to.destination);
    e.set<"Vector">(to.vector);
    return static_cast<std::uint32_t>(e.word[0]);
}
/// The entry of 128 bits that sends interrupts to \p to. A destination of more than 8 bits needs Control.XTEn.
/// \param to where they go.
/// \param suppressed SupIOPF.
[[nodiscard]] constexpr interrupt_entry_128 to_entry_128(interrupt_target const& to, bool suppressed = false) {
    interrupt_entry_128 e;
    e.set<"RemapEn">(1);
    e.set<"SupIOPF">(suppressed);
    e.set<"IntType">(static_cast<std::uint64_t>(to.type));
    e.set<"RqEoi">(to.requests_eoi);
    e.set<"DM">(to.is_logical);
    e.set<"Destination 7:0">(to.destination);
    e.set<"Destination 23:8">(to.destination >> 8);
    e.set<"Destination 31:24">(to.destination >> 24);
    e.set<"Vector">(to.vector);
    return e;
}
/// The entry of 128 bits that sends interrupts to the guest \p to. A destination of more than 8 bits needs Control.XTEn.
/// \param to where they go.
/// \param suppressed SupIOPF.
[[nodiscard]] constexpr guest_interrupt_entry to_entry_128(guest_interrupt_target const& to, bool suppressed = false) {
    guest_interrupt_entry e;
    e.set<"RemapEn">(1);
    e.set<"SupIOPF">(suppressed);
    e.set<"GALogIntr">(to.is_logged);
    e.set<"GAPPIDis">(to.is_quiet);
    e.set<"IsRun">(to.is_running);
    e.set<"GuestMode">(1);
    e.set<"Destination 7:0">(to.destination);
    e.set<"Destination 23:8">(to.destination >> 8);
    e.set<"Destination 31:24">(to.destination >> 24);
    e.set<"GATag">(to.tag);
    e.set<"Vector">(to.vector);
    e.set<"vAPIC root">(to.vapic_root);
    return e;
}

/// An interrupt message of a device: a write to the interrupt range.
struct interrupt_request {
    std::uint16_t source{};  ///< DeviceID.
    std::uint64_t address{}; ///< FEEx_xxxxh; of it bit 2 counts: the destination is logical.
    std::uint32_t data{};    ///< What is written: vector in 7:0, delivery mode in 10:8; to be remapped, the index.
};

/// What is to be sent.
enum class delivery : std::uint8_t {
    forwarded, ///< The message as it is.
    remapped,  ///< An interrupt to `interrupt_answer::target`.
    guest,     ///< An interrupt to the guest at `interrupt_answer::guest`.
};

/// What becomes of an interrupt message.
struct interrupt_answer {
    delivery how{};                 ///< What is to be sent.
    std::uint32_t index{};          ///< The index in the interrupt table, unless forwarded.
    interrupt_target target{};      ///< Remapped: where it goes.
    guest_interrupt_target guest{}; ///< For a guest: where it goes.

    /// Answers are equal field by field.
    friend constexpr bool operator==(interrupt_answer const&, interrupt_answer const&) = default;
};

/// How the interrupt entries of an IOMMU look.
struct interrupt_format {
    bool is_wide{};           ///< Entries of 128 bits: GAEn and GASup.
    bool has_guests{};        ///< GuestMode is no reserved bit: GAMSup, with entries of 128 bits.
    bool wide_destinations{}; ///< Destinations of 32 bits: XTEn and XTSup, with entries of 128 bits.
    bool has_long_tables{};   ///< Tables of 2048 entries: NumIntRemapMode and NumIntRemapSup. Every message has an index.

    /// What \p registers make of \p caps.
    constexpr interrupt_format(capabilities const& caps, control const& registers)
        : is_wide{caps.has<"GASup">() && registers.main.get<"GAEn">() != 0}, has_guests{is_wide && caps.has<"GAMSup">()},
          wide_destinations{is_wide && caps.has<"XTSup">() && registers.main.get<"XTEn">() != 0},
          has_long_tables{caps.efr2.get<"NumIntRemapSup">() == 1 && registers.main.get<"NumIntRemapMode">() == 1} {}

    /// The size of an entry in bytes.
    [[nodiscard]] constexpr std::uint64_t entry_size() const { return is_wide ? 16 : 4; }
};

/// The interrupt remapping of an IOMMU, over the memory that holds its tables.
/// \tparam M the memory, of system addresses.
template <memory M>
class interrupt_remapping {
public:
    using fault_type = fault<event>; ///< Its fault; `input` is the message's address.

    /// \param caps the capabilities.
    /// \param registers the registers.
    /// \param m the memory that holds device table and interrupt tables, alive as long as this object.
    /// \param rules the open points.
    constexpr interrupt_remapping(capabilities const& caps, control const& registers, M& m, policy const& rules = {})
        : check_{caps, registers, rules, false}, format_{caps, registers}, registers_{registers}, rules_{rules},
          segment_bits_{registers.segment_bits(caps)}, memory_{&m} {}

    /// What becomes of \p r. Whether DTE.V is set does not matter, DTE.IV does: without it the message is forwarded.
    [[nodiscard]] constexpr outcome<interrupt_answer, fault_type> remap(interrupt_request const& r) const noexcept {
        constexpr interrupt_answer forwarded{};
        if (registers_.main.get<"IommuEn">() == 0) return forwarded;
        device_entry_place const place = find_device_entry(registers_, segment_bits_, r.source);
        if (!place.exists) {
            bool const illegal = rules_.missing == missing_entry::illegal_entry;
            return refuse(r, illegal ? event::illegal_dev_table_entry : event::io_page_fault, {},
                          type_of(device_entry_error::beyond_table));
        }
        device_table_entry dte;
        if (!read_device_entry(*memory_, place, dte))
            return refuse(r, event::dev_tab_hardware_error, {place.address, 0}, fault_detail::master_abort);
        if (dte.get<"IV">() == 0) return forwarded;
        configuration_place const of_device{place.address, dte.word[0]};
        if (auto const error = check_.interrupt_error(dte); error != device_entry_error::none)
            return refuse(r, event::illegal_dev_table_entry, of_device, type_of(error));
        auto const invalid = [&](invalid_request why) {
            return refuse(r, event::invalid_device_request, of_device, type_of(why));
        };

        std::uint64_t index = r.data & low_mask(11);
        if (!format_.has_long_tables) {
            switch (route_of(r, dte)) {
            case route::pass: return forwarded;
            case route::closed: return invalid(invalid_request::interrupt_closed);
            case route::bad: return invalid(invalid_request::bad_interrupt);
            case route::by_control: break;
            }
            index = r.data & low_mask(9);
        }
        if (dte.get<"IntCtl">() == 0) return invalid(invalid_request::interrupt_closed);
        if (dte.get<"IntCtl">() == 1) return forwarded;
        return look_up(r, dte, index);
    }

private:
    // What a message's delivery mode makes of it, before IntCtl is asked.
    enum class route : std::uint8_t { pass, closed, bad, by_control };

    [[nodiscard]] static constexpr route route_of(interrupt_request const& r, device_table_entry const& dte) {
        bool passes = false;
        switch (r.data >> 8 & 7) {
        case 0:                           // fixed
        case 1: return route::by_control; // lowest priority
        case 2: return route::pass;       // SMI
        case 4: passes = dte.get<"NMIPass">() != 0; break;
        case 5: passes = dte.get<"InitPass">() != 0; break;
        case 7: passes = dte.get<"EIntPass">() != 0; break;
        default: return route::bad;
        }
        if (!passes) return route::closed;
        return (r.address & 4) == 0 ? route::pass : route::bad; // such interrupts have no logical destination
    }

    [[nodiscard]] constexpr outcome<interrupt_answer, fault_type>
    look_up(interrupt_request const& r, device_table_entry const& dte, std::uint64_t index) const {
        std::uint64_t const domain = dte.get<"DomainID">() << fault_detail::domain_at;
        if (index >> dte.get<"IntTabLen">() != 0) return refuse(r, event::io_page_fault, {}, domain, fault_at::input);
        std::uint64_t const at = dte.get<"IntTabRoot">() + index * format_.entry_size();
        std::uint64_t word[2]{};
        for (std::uint64_t i = 0; i < (format_.is_wide ? 2 : 1); ++i) {
            auto const loaded = memory_->load(typename M::address{(at & ~low_mask(3)) + i * 8});
            if (!loaded)
                return refuse(r, event::page_tab_hardware_error, {at, 0}, domain | fault_detail::master_abort, fault_at::table);
            word[i] = *loaded;
        }
        if (!format_.is_wide) word[0] = word[0] >> (8 * (at & 4)) & low_mask(32);

        interrupt_entry_128 const e{word[0], word[1]}; // its first byte is that of every entry
        auto const page_fault = [&](std::uint64_t flags, bool quiet) {
            return refuse(r, event::io_page_fault, {at, word[0]}, domain | flags, fault_at::table, quiet);
        };
        bool const suppressed = e.get<"SupIOPF">() != 0;
        if (e.get<"RemapEn">() == 0) return page_fault(0, suppressed || dte.get<"IG">() != 0);
        interrupt_answer answer;
        answer.index = static_cast<std::uint32_t>(index);
        bool const is_good = !format_.is_wide            ? decode(answer, interrupt_entry_32{word[0]})
                             : e.get<"GuestMode">() == 0 ? decode(answer, e)
                                                         : decode(answer, guest_interrupt_entry{word[0], word[1]});
        if (!is_good) return page_fault(fault_detail::present | fault_detail::reserved, suppressed);
        return answer;
    }

    // Each: whether the entry has no reserved bit or type; if so, what it says.
    [[nodiscard]] static constexpr bool decode(interrupt_answer& answer, interrupt_entry_32 const& e) {
        if ((e.word[0] & interrupt_entry_32::reserved()) != 0 || e.get<"GuestMode">() != 0) return false;
        answer.target.destination = static_cast<std::uint32_t>(e.get<"Destination">());
        return decode_common(answer, e);
    }
    [[nodiscard]] constexpr bool decode(interrupt_answer& answer, interrupt_entry_128 const& e) const {
        if (!is_well_formed(e)) return false;
        answer.target.destination = destination_of(e);
        return decode_common(answer, e);
    }
    [[nodiscard]] constexpr bool decode(interrupt_answer& answer, guest_interrupt_entry const& e) const {
        if (!format_.has_guests || !is_well_formed(e)) return false;
        answer.how = delivery::guest;
        answer.guest.vapic_root = e.get<"vAPIC root">();
        answer.guest.tag = static_cast<std::uint32_t>(e.get<"GATag">());
        answer.guest.destination = destination_of(e);
        answer.guest.vector = static_cast<std::uint8_t>(e.get<"Vector">());
        answer.guest.is_running = e.get<"IsRun">() != 0;
        answer.guest.is_logged = e.get<"GALogIntr">() != 0;
        answer.guest.is_quiet = e.get<"GAPPIDis">() != 0;
        return true;
    }
    template <class Entry>
    [[nodiscard]] static constexpr bool decode_common(interrupt_answer& answer, Entry const& e) {
        answer.how = delivery::remapped;
        answer.target.vector = static_cast<std::uint8_t>(e.template get<"Vector">());
        answer.target.type = static_cast<interrupt_type>(e.template get<"IntType">());
        answer.target.is_logical = e.template get<"DM">() != 0;
        answer.target.requests_eoi = e.template get<"RqEoi">() != 0;
        return e.template get<"IntType">() <= 1;
    }
    template <class Entry>
    [[nodiscard]] constexpr bool is_well_formed(Entry const& e) const {
        bool const wide = e.template get<"Destination 23:8">() != 0 || e.template get<"Destination 31:24">() != 0;
        return (e.word[0] & Entry::reserved(0)) == 0 && (e.word[1] & Entry::reserved(1)) == 0 &&
               (!wide || format_.wide_destinations);
    }
    template <class Entry>
    [[nodiscard]] static constexpr std::uint32_t destination_of(Entry const& e) {
        return static_cast<std::uint32_t>(e.template get<"Destination 31:24">() << 24 |
                                          e.template get<"Destination 23:8">() << 8 | e.template get<"Destination 7:0">());
    }

    // RW stays clear: an interrupt is no access. An invalid_device_request has no I: its type tells.
    [[nodiscard, gnu::cold]] static constexpr outcome<interrupt_answer, fault_type>
    refuse(interrupt_request const& r, event code, configuration_place const& blamed, std::uint64_t detail,
           fault_at where = fault_at::context, bool quiet = false) {
        fault_type f;
        f.code = code;
        f.at = where;
        f.reported = !quiet;
        f.input = r.address;
        f.descriptor = blamed.address;
        f.entry = blamed.entry;
        f.detail = detail | (code == event::invalid_device_request ? 0 : fault_detail::interrupt);
        return failure{f};
    }

    device_entry_check check_;
    interrupt_format format_;
    control registers_;
    policy rules_;
    std::uint64_t segment_bits_;
    M* memory_;
};

/// The event log entry of fault \p f of interrupt message \p r. Whether it is written at all says `f.reported`.
[[nodiscard]] constexpr event_record to_record(fault<event> const& f, interrupt_request const& r) {
    return to_record(f, r.source);
}

} // namespace amdvi
} // namespace v0
} // namespace stagewalk
