/// \file
/// Root, context and PASID entries of VT-d for people, out of the library's own field lists.
#pragma once

#include "decode_fields.hpp"
#include "number.hpp"
#include "unit.hpp"

#include <stagewalk/stagewalk.hpp>

#include <string>
#include <utility>

namespace inspect {

/// Decodes configuration entries of one device.
class vtd_configuration_decoder {
    using root_entry = stagewalk::vtd::root_entry;
    using context_entry = stagewalk::vtd::context_entry;
    using scalable_root_entry = stagewalk::vtd::scalable_root_entry;
    using scalable_context_entry = stagewalk::vtd::scalable_context_entry;
    using pasid_directory_entry = stagewalk::vtd::pasid_directory_entry;
    using pasid_table_entry = stagewalk::vtd::pasid_table_entry;

public:
    /// \param source the device, for what an entry is called.
    vtd_configuration_decoder(stagewalk::vtd::capabilities const& caps, std::uint32_t source) : caps_{caps}, source_{source} {}

    [[nodiscard]] decoded_entry operator()(root_entry const& r, std::uint64_t at) const {
        decoded_entry e = decoded(r, at, "root entry, bus " + hex(source_ >> 8, 2));
        if (r.get<"P">() == 0) return absent(std::move(e));
        e.reserved = {r.word[0] & (root_entry::reserved(0) | caps_.beyond_host()), r.word[1]};
        e.verdict = "leads to the context table at " + hex(r.get<"CTP">());
        return e;
    }
    [[nodiscard]] decoded_entry operator()(context_entry const& c, std::uint64_t at) const {
        decoded_entry e = decoded(c, at, "context entry, " + device());
        if (c.get<"P">() == 0) return absent(std::move(e));
        e.reserved = {c.word[0] & (context_entry::reserved(0) | caps_.beyond_host()), c.word[1] & context_entry::reserved(1)};
        std::string const domain = "domain " + hex(c.get<"DID">());
        e.verdict = c.type() == stagewalk::vtd::translation_type::pass_through
                        ? "pass-through, " + domain
                        : domain + ", leads to the table at " + hex(c.get<"SSPTPTR">());
        return e;
    }
    [[nodiscard]] decoded_entry operator()(scalable_root_entry const& r, std::uint64_t at) const {
        decoded_entry e = decoded(r, at, "scalable root entry, bus " + hex(source_ >> 8, 2));
        bool const lower = r.get<"LP">() != 0;
        bool const upper = r.get<"UP">() != 0;
        if (lower) e.reserved[0] = r.word[0] & (scalable_root_entry::reserved(0) | caps_.beyond_host());
        if (upper) e.reserved[1] = r.word[1] & (scalable_root_entry::reserved(1) | caps_.beyond_host());
        e.verdict = "devices 00 to 0f: " + (lower ? "context table at " + hex(r.get<"LCTP">()) : std::string{"not present"}) +
                    "; 10 to 1f: " + (upper ? "context table at " + hex(r.get<"UCTP">()) : std::string{"not present"});
        return e;
    }
    [[nodiscard]] decoded_entry operator()(scalable_context_entry const& c, std::uint64_t at) const {
        decoded_entry e = decoded(c, at, "scalable context entry, " + device());
        if (c.get<"P">() == 0) return absent(std::move(e));
        for (std::size_t w = 0; w < scalable_context_entry::words; ++w)
            e.reserved[w] = c.word[w] & scalable_context_entry::reserved_with(w, caps_);
        e.verdict = "leads to the PASID directory at " + hex(c.get<"PASIDDIRPTR">()) + " for PASIDs up to " +
                    hex(c.last_pasid()) + "; without PASID: " + hex(c.get<"RID_PASID">());
        return e;
    }
    [[nodiscard]] decoded_entry operator()(pasid_directory_entry const& d, std::uint64_t at) const {
        decoded_entry e = decoded(d, at, "PASID directory entry");
        if (d.get<"P">() == 0) return absent(std::move(e));
        e.reserved[0] = d.word[0] & (pasid_directory_entry::reserved() | caps_.beyond_host());
        e.verdict = "leads to the PASID table at " + hex(d.get<"SMPTBLPTR">());
        return e;
    }
    [[nodiscard]] decoded_entry operator()(pasid_table_entry const& p, std::uint64_t at) const {
        decoded_entry e = decoded(p, at, "PASID table entry");
        if (p.get<"P">() == 0) return absent(std::move(e));
        for (std::size_t w = 0; w < pasid_table_entry::words; ++w)
            e.reserved[w] = p.word[w] & p.reserved_with(w, caps_, {});
        e.verdict = "domain " + hex(p.get<"DID">()) + ", ";
        switch (p.kind()) {
        case stagewalk::vtd::pasid_translation::pass_through: e.verdict += "pass-through"; return e;
        case stagewalk::vtd::pasid_translation::first_stage:
            e.verdict += "first stage, leads to the table at " + hex(p.get<"FSPTPTR">());
            return e;
        case stagewalk::vtd::pasid_translation::second_stage:
            e.verdict += "second stage, leads to the table at " + hex(p.get<"SSPTPTR">());
            return e;
        case stagewalk::vtd::pasid_translation::nested:
            e.verdict +=
                "first-stage tables at " + hex(p.get<"FSPTPTR">()) + " behind second-stage tables at " + hex(p.get<"SSPTPTR">());
            return e;
        }
        e.verdict += "translation by a reserved PGTT";
        return e;
    }

private:
    template <class Entry>
    static decoded_entry decoded(Entry const& from, std::uint64_t at, std::string what) {
        decoded_entry e;
        e.what = std::move(what);
        e.address = at;
        decode_fields(from, e);
        return e;
    }
    static decoded_entry absent(decoded_entry e) {
        e.verdict = "not present";
        return e;
    }
    [[nodiscard]] std::string device() const { return "device " + hex(source_ >> 3 & 31, 2) + " function " + hex(source_ & 7); }

    stagewalk::vtd::capabilities const& caps_;
    std::uint32_t source_;
};

} // namespace inspect
