/// \file
/// Device table entries and GCR3 table entries of an AMD IOMMU for people, out of the library's own field lists.
#pragma once

#include "amdvi_registers.hpp"
#include "answer_text.hpp"
#include "decode_fields.hpp"
#include "number.hpp"
#include "unit.hpp"

#include <stagewalk/amdvi/device_table.hpp>
#include <stagewalk/amdvi/event_text.hpp>
#include <stagewalk/amdvi/gcr3_table.hpp>
#include <stagewalk/amdvi/policy.hpp>
#include <stagewalk/stagewalk.hpp>

#include <string>
#include <utility>

namespace inspect {

/// What a device table entry lets its device do at all.
[[nodiscard]] inline stagewalk::access rights_of(stagewalk::amdvi::device_table_entry const& e) {
    return {e.get<"IR">() | e.get<"IW">() << 1};
}

/// Decodes configuration entries of one device.
class amdvi_configuration_decoder {
    using device_table_entry = stagewalk::amdvi::device_table_entry;
    using gcr3_table_entry = stagewalk::amdvi::gcr3_table_entry;

public:
    /// \param source the device, for what an entry is called.
    amdvi_configuration_decoder(amdvi_registers const& registers, stagewalk::amdvi::policy const& rules, std::uint32_t source)
        : check_{registers.caps, registers.control, rules, false}, source_{source} {}

    [[nodiscard]] decoded_entry operator()(device_table_entry const& d, std::uint64_t at) {
        using stagewalk::amdvi::device_entry_error;
        gcr3_left_ = d.get<"GLX">() + 1;
        decoded_entry e = decoded(d, at, "device table entry, device " + bdf_text(source_));
        std::string const domain = "domain " + hex(d.get<"DomainID">());
        std::string const rights = std::string{"rights "} + rights_text(rights_of(d));
        if (d.get<"V">() == 0) {
            e.verdict = "not valid: requests pass unchanged";
            return e;
        }
        if (auto const bad = check_.translation_error(d); bad != device_entry_error::none) {
            e.verdict = std::string{"refused: ILLEGAL_DEV_TABLE_ENTRY, "} + text_of(bad);
            return e;
        }
        if (d.get<"TV">() == 0) {
            e.verdict = "translates nothing, " + domain;
            return e;
        }
        std::string const host = "the table at " + hex(d.get<"HostPageTableRoot">());
        std::string const guest = "the GCR3 table at " + hex(d.gcr3_root());
        bool const nested = d.has_host_tables();
        if (!check_.has_guest(d)) {
            bool const passes = rights_of(d) != stagewalk::none;
            e.verdict = domain + ", " + rights +
                        (nested   ? ", leads to " + host
                         : passes ? ", addresses pass unchanged"
                                  : ": nothing passes");
        } else {
            e.verdict = domain + ", " + rights + ", leads to " + guest + (nested ? " over " + host : "");
            if (d.get<"GIoV">() == 0)
                e.verdict += nested ? "; without PASID only to the latter" : "; without PASID addresses pass unchanged";
        }
        return e;
    }
    /// One of the device table entry that was decoded last, from the top down.
    [[nodiscard]] decoded_entry operator()(gcr3_table_entry const& g, std::uint64_t at) {
        // A hostile table has no more levels than its device table entry says.
        gcr3_left_ -= gcr3_left_ != 0;
        return of_level(g, at, gcr3_left_);
    }
    /// One of level \p level, 0 the last.
    [[nodiscard]] static decoded_entry of_level(gcr3_table_entry const& g, std::uint64_t at, std::uint64_t level) {
        decoded_entry e = decoded(g, at, "GCR3 table entry");
        if (g.get<"V">() == 0) {
            e.reserved[0] = 0;
            e.verdict = "not valid";
        } else if (e.reserved[0] != 0) {
            e.verdict = "refused: IO_PAGE_FAULT, a GCR3 table entry has a reserved bit set";
        } else {
            e.verdict = std::string{"leads to the "} + (level == 0 ? "guest" : "GCR3") + " table at " + hex(g.table());
        }
        return e;
    }

private:
    template <class Entry>
    static decoded_entry decoded(Entry const& from, std::uint64_t at, std::string what) {
        decoded_entry e;
        e.what = std::move(what);
        e.address = at;
        decode_fields(from, e);
        for (std::size_t w = 0; w < Entry::words; ++w)
            e.reserved[w] = from.word[w] & Entry::reserved(w);
        return e;
    }

    stagewalk::amdvi::device_entry_check check_;
    std::uint32_t source_;
    std::uint64_t gcr3_left_{};
};

} // namespace inspect
