/// \file
/// From a request to its device table entry and guest tables, checked (48882 2.2.2, 2.2.6.3).
#pragma once

#include "../core/fault.hpp"
#include "../core/outcome.hpp"
#include "../memory/concept.hpp"
#include "../walk/trace.hpp"
#include "capabilities.hpp"
#include "control.hpp"
#include "device_table.hpp"
#include "device_table_reader.hpp"
#include "event.hpp"
#include "gcr3_table.hpp"
#include "policy.hpp"
#include "refusal.hpp"
#include "request.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace amdvi {

/// The device table entry of a request.
struct device_finding {
    device_table_entry entry{}; ///< The entry.
    std::uint64_t address{};    ///< Its address.

    /// Where it is, for an event.
    [[nodiscard]] constexpr configuration_place place() const { return {address, entry.word[0]}; }
};

/// Why the guest tables of a PASID are not found.
struct guest_refusal {
    nested_fault<event, fault<event>> why{}; ///< The fault: of the GCR3 tables, or of the host tables before one of them.
    bool is_behind{};                        ///< Whether the GCR3 table to blame lies behind host tables.

    /// Refusals are equal field by field.
    friend constexpr bool operator==(guest_refusal const&, guest_refusal const&) = default;
};

/// Finds what requests are bound to.
/// \tparam M the memory that holds the device table.
template <memory M>
class binding_lookup {
public:
    using address = typename M::address;         ///< The space of the tables.
    using refusal = outcome<bool, fault<event>>; ///< Nothing wrong, or the fault.

    /// \param caps the capabilities.
    /// \param registers the registers.
    /// \param rules the open points.
    /// \param snp whether SNP is on.
    /// \param m the memory, alive as long as this object.
    constexpr binding_lookup(capabilities const& caps, control const& registers, policy const& rules, bool snp, M& m)
        : caps_{caps}, registers_{registers}, rules_{rules}, check_{caps, registers, rules, snp},
          segment_bits_{registers.segment_bits(caps)}, memory_{&m} {}

    /// The capabilities.
    [[nodiscard]] constexpr capabilities const& caps() const { return caps_; }
    /// The registers.
    [[nodiscard]] constexpr control const& registers() const { return registers_; }
    /// The open points.
    [[nodiscard]] constexpr policy const& rules() const { return rules_; }
    /// What is looked at in device table entries.
    [[nodiscard]] constexpr device_entry_check const& check() const { return check_; }
    /// The memory.
    [[nodiscard]] constexpr M& memory_of_tables() const { return *memory_; }

    /// Reads the device table entry of \p r: each word once, in ascending order, as one snapshot of 256 bits as far as memory
    /// gives one. Its contents are not judged.
    template <class Trace>
    [[nodiscard, gnu::always_inline]] constexpr refusal read_entry(request const& r, device_finding& found, Trace& trace) const {
        auto const place = find_device_entry(registers_, segment_bits_, r.source);
        if (!place.exists) [[unlikely]]
            return failure{beyond_table(r)};
        found.address = place.address;
        if (!read_device_entry(*memory_, place, found.entry)) [[unlikely]]
            return failure{unreadable_entry(r, found.address)};
        trace(configuration_step<device_table_entry>{"device table", found.address, found.entry});
        return true;
    }

    /// The address of the device table entry of \p r, which lies in the table.
    [[nodiscard]] constexpr std::uint64_t address_of(request const& r) const {
        return find_device_entry(registers_, segment_bits_, r.source).address;
    }

    /// Judges the entry of \p found, which is valid, for memory requests.
    [[nodiscard, gnu::always_inline]] constexpr refusal judge_entry(request const& r, device_finding const& found) const {
        device_entry_error const error = check_.translation_error(found.entry);
        if (error != device_entry_error::none) [[unlikely]]
            return failure{illegal_entry(r, found, error)};
        return true;
    }

    /// Finds the guest root table of \p pasid through the GCR3 tables of \p entry.
    /// \param entry the device table entry.
    /// \param pasid the PASID.
    /// \param behind the memory that the guest's addresses are of; the unit's own if there are no host tables.
    /// \param trace the tracer.
    /// \return the last GCR3 table entry, or the fault as the tables give it: without flags of the request.
    template <memory Behind, class Trace>
    [[nodiscard]] constexpr outcome<gcr3_table_entry, guest_refusal>
    find_guest(device_table_entry const& entry, std::uint64_t pasid, Behind& behind, Trace& trace) const {
        std::uint64_t const levels = entry.get<"GLX">();
        if (!gcr3_covers(levels, pasid, caps_)) [[unlikely]]
            return failure{refused_gcr3(0, 0, false)};
        bool const nests = entry.has_host_tables();
        bool const root_is_guests = registers_.is_gcr3_root_guest(caps_);
        gcr3_table_entry e = gcr3_table_entry::make(entry.gcr3_root());
        for (std::uint64_t level = levels + 1; level-- > 0;) {
            bool const is_behind = nests && (root_is_guests || (level != levels && rules_.pointers == gcr3_pointers::guest));
            std::uint64_t const at = e.table() + gcr3_index(level, pasid) * 8;
            if (is_behind) {
                auto loaded = behind.load(typename Behind::address{at});
                if (!loaded) [[unlikely]]
                    return failure{unreadable_gcr3<Behind>(at, loaded.error(), true)};
                e = gcr3_table_entry{*loaded};
            } else {
                auto loaded = memory_->load(address{at});
                if (!loaded) [[unlikely]]
                    return failure{unreadable_gcr3<M>(at, loaded.error(), false)};
                e = gcr3_table_entry{*loaded};
            }
            trace(configuration_step<gcr3_table_entry>{"GCR3 table", at, e});
            constexpr std::uint64_t valid = gcr3_table_entry::mask<"V">();
            if ((e.word[0] & (gcr3_table_entry::reserved() | valid)) != valid) [[unlikely]]
                return failure{refused_gcr3(at, e.word[0], is_behind)};
        }
        return e;
    }

    /// Whether request \p r is a user's: all are where the IOMMU does not tell.
    [[nodiscard, gnu::always_inline]] constexpr bool is_user(request const& r) const {
        return !(caps_.has<"USSup">() && r.access.covers(privileged));
    }

    /// The fault of request \p r to an entry that translates nothing (TV = 0).
    [[nodiscard, gnu::cold, gnu::noinline]] constexpr fault<event> not_valid(request r, device_finding found) const {
        fault<event> f;
        f.code = event::io_page_fault;
        f.at = fault_at::context;
        f.descriptor = found.address;
        f.entry = found.entry.word[0];
        f.detail = flags_of(r.access);
        return refused_by_tables(f, r,
                                 {r.has_pasid() ? r.pasid : no_guest, found.entry.get<"DomainID">(), is_user(r),
                                  found.entry.get<"SA">() != 0, found.entry.get<"SE">() != 0});
    }

private:
    // Cold functions take requests and findings by value: those whose address they knew would live in memory on the hot path too.
    [[nodiscard, gnu::cold, gnu::noinline]] constexpr fault<event> beyond_table(request r) const {
        std::uint64_t const why = type_of(device_entry_error::beyond_table);
        if (rules_.missing == missing_entry::illegal_entry)
            return refused_by_configuration(event::illegal_dev_table_entry, r, {}, why);
        fault<event> f;
        f.code = event::io_page_fault;
        f.at = fault_at::context;
        f.detail = why | flags_of(r.access);
        return refused_by_tables(f, r, {r.has_pasid() ? r.pasid : no_guest, 0, is_user(r), false, false});
    }
    [[nodiscard, gnu::cold, gnu::noinline]] static constexpr fault<event> unreadable_entry(request r, std::uint64_t at) {
        return refused_by_configuration(event::dev_tab_hardware_error, r, {at, 0}, fault_detail::master_abort);
    }
    [[nodiscard, gnu::cold, gnu::noinline]] constexpr fault<event> illegal_entry(request r, device_finding found,
                                                                                 device_entry_error error) const {
        if (error != device_entry_error::mode || rules_.mode == illegal_mode::illegal_entry)
            return refused_by_configuration(event::illegal_dev_table_entry, r, found.place(), type_of(error));
        return not_valid(r, found);
    }

    // GCR3 entry `e` at `at`, which is not valid, or has a reserved bit; both 0: there is none for the PASID.
    [[nodiscard, gnu::cold, gnu::noinline]] static constexpr guest_refusal refused_gcr3(std::uint64_t at, std::uint64_t e,
                                                                                        bool is_behind) {
        fault<event> f;
        f.code = event::io_page_fault;
        f.at = fault_at::context;
        f.descriptor = at;
        f.entry = e;
        if ((e & gcr3_table_entry::mask<"V">()) != 0) f.detail = fault_detail::present | fault_detail::reserved;
        return {{nested_by::outer, f, {}}, is_behind};
    }
    // The GCR3 entry at `at`, which cannot be read.
    template <class Tables>
    [[nodiscard, gnu::cold, gnu::noinline]] static constexpr guest_refusal
    unreadable_gcr3(std::uint64_t at, typename Tables::error error, bool is_behind) {
        fault<event> f;
        f.code = event::page_tab_hardware_error;
        f.at = fault_at::context;
        f.descriptor = at;
        if constexpr (requires { typename Tables::error::refusal; }) {
            if (error.refused) {
                f.intermediate = at;
                return {{nested_by::table, f, outer_fault(error.why)}, is_behind};
            }
        }
        return {{nested_by::outer, f, {}}, is_behind};
    }

    capabilities caps_;
    control registers_;
    policy rules_;
    device_entry_check check_;
    std::uint64_t segment_bits_;
    M* memory_;
};

} // namespace amdvi
} // namespace v0
} // namespace stagewalk
