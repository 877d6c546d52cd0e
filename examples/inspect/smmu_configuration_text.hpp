/// \file
/// Stream table entries and context descriptors of an SMMU for people, out of the library's own field lists.
#pragma once

#include "decode_fields.hpp"
#include "number.hpp"
#include "smmu_registers.hpp"
#include "unit.hpp"

#include <stagewalk/smmu/binding.hpp>
#include <stagewalk/smmu/event_text.hpp>
#include <stagewalk/stagewalk.hpp>

#include <string>
#include <utility>

namespace inspect {

/// Decodes configuration entries of one stream; the stream table entry must come before its context descriptors.
class smmu_configuration_decoder {
    using stream_table_descriptor = stagewalk::smmu::stream_table_descriptor;
    using stream_table_entry = stagewalk::smmu::stream_table_entry;
    using context_table_descriptor = stagewalk::smmu::context_table_descriptor;
    using context_descriptor = stagewalk::smmu::context_descriptor;
    using half = stagewalk::smmu::half;

public:
    /// \param source the stream, for what an entry is called.
    smmu_configuration_decoder(smmu_registers const& registers, stagewalk::smmu::policy const& rules, std::uint32_t source)
        : registers_{registers}, rules_{rules}, source_{source} {}

    [[nodiscard]] decoded_entry operator()(stream_table_descriptor const& d, std::uint64_t at) const {
        std::uint64_t const split = registers_.control.split();
        std::uint64_t const first = source_ & ~stagewalk::low_mask(split);
        decoded_entry e = decoded(d, at, "level-1 stream table descriptor, streams from " + hex(first));
        if (!d.is_valid(split)) {
            e.verdict = d.get<"Span">() == 0 ? "leads nowhere" : "leads nowhere: Span is reserved or beyond SPLIT";
        } else {
            e.verdict =
                "leads to the table of " + count_text(std::uint64_t{1} << d.stream_bits()) + " entries at " + hex(d.table());
        }
        return e;
    }
    [[nodiscard]] decoded_entry operator()(stream_table_entry const& s, std::uint64_t at) {
        using stagewalk::smmu::stream_configuration;
        stream_ = s;
        decoded_entry e = decoded(s, at, "stream table entry, stream " + hex(source_));
        if (s.get<"V">() == 0) {
            e.verdict = "not valid";
        } else if (auto const bad = check(s, registers_.caps, rules_); bad != stagewalk::smmu::stream_entry_error::none) {
            e.verdict = std::string{"refused: C_BAD_STE, "} + text_of(bad);
        } else {
            std::string const contexts = s.get<"S1CDMax">() == 0 || registers_.caps.substream_size() == 0
                                             ? "the context descriptor at " + hex(s.get<"S1ContextPtr">())
                                             : "the table of 2^" + std::to_string(s.get<"S1CDMax">()) +
                                                   " context descriptors at " + hex(s.get<"S1ContextPtr">());
            std::string const vmid = "VMID " + hex(s.get<"S2VMID">());
            std::string const second = hex(stagewalk::smmu::stage2_root(s, registers_.caps));
            switch (s.configuration()) {
            case stream_configuration::abort: e.verdict = "aborts, without an event"; break;
            case stream_configuration::bypass: e.verdict = "bypasses both stages"; break;
            case stream_configuration::stage1: e.verdict = "stage 1, leads to " + contexts; break;
            case stream_configuration::stage2: e.verdict = "stage 2, " + vmid + ", leads to the table at " + second; break;
            case stream_configuration::nested:
                e.verdict = "nested, leads to " + contexts + ", behind stage 2, " + vmid + ", with the table at " + second;
                break;
            }
        }
        return e;
    }
    [[nodiscard]] decoded_entry operator()(context_table_descriptor const& d, std::uint64_t at) const {
        decoded_entry e = decoded(d, at, "level-1 context descriptor");
        e.verdict = d.get<"V">() == 0 ? "not valid" : "leads to the table of context descriptors at " + hex(d.get<"L2Ptr">());
        return e;
    }
    [[nodiscard]] decoded_entry operator()(context_descriptor const& c, std::uint64_t at) const {
        decoded_entry e = decoded(c, at, "context descriptor");
        auto const world = world_of(stream_, registers_.caps, registers_.control);
        if (c.get<"V">() == 0) {
            e.verdict = "not valid";
        } else if (auto const bad = check(c, stream_, world, registers_.caps, rules_);
                   bad != stagewalk::smmu::context_error::none) {
            e.verdict = std::string{"refused: C_BAD_CD, "} + text_of(bad);
        } else {
            e.verdict = world == stagewalk::smmu::stream_world::el2 ? "no ASID" : "ASID " + hex(c.get<"ASID">());
            bool any = false;
            for (half const h : {half::lower, half::upper}) {
                if (!has_tables(c, h, world)) continue;
                e.verdict += std::string{any ? " and" : ", leads"} + " to the table at " + hex(c.table(h)) +
                             (h == half::lower ? "" : " (upper half)");
                any = true;
            }
            if (!any) e.verdict += ", no tables";
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

    smmu_registers const& registers_;
    stagewalk::smmu::policy rules_;
    std::uint32_t source_;
    stream_table_entry stream_;
};

} // namespace inspect
