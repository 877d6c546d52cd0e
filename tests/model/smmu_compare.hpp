// Between the library and the naive model: the same question to both, and whether they answer alike, field by field.
#pragma once

#include "smmu_model.hpp"

#include <stagewalk/memory/callback.hpp>
#include <stagewalk/memory/flat.hpp>
#include <stagewalk/memory/recording.hpp>
#include <stagewalk/memory/windowed.hpp>
#include <stagewalk/smmu/ats.hpp>
#include <stagewalk/smmu/event_record.hpp>
#include <stagewalk/smmu/iommu.hpp>
#include <stagewalk/walk/leaves.hpp>

#include <cstdint>
#include <cstdio>
#include <string>

namespace smmu_compare {

namespace sw = stagewalk;
using smmu_model::answer;
using smmu_model::ask;
using smmu_model::unit;
using wide = unsigned long long; // what %llx takes

template <class... Values>
std::string print(char const* format, Values... values) {
    char text[512];
    std::snprintf(text, sizeof text, format, values...);
    return text;
}

inline sw::smmu::capabilities capabilities_of(unit const& u) { return {u.idr0, u.idr1, u.idr3, u.idr5, u.aidr}; }

inline sw::smmu::control control_of(unit const& u) { return {u.strtab_base, u.strtab_base_cfg, u.cr0, u.cr2, u.gbpa}; }

inline sw::smmu::policy policy_of(unit const& u) {
    sw::smmu::policy p;
    if (u.oas_start_level) p.stage2_start = sw::smmu::start_level::by_size;
    if (u.clamp_sizes) p.sizes = sw::smmu::table_size::clamped;
    if (u.pointer_faults_late) p.pointer = sw::smmu::context_pointer::translated;
    return p;
}

// What asks for neither reading nor writing reads; the library is told so, unless it is told to fetch an instruction.
inline sw::smmu::request request_of(ask const& q) {
    sw::smmu::request r;
    r.source = q.stream;
    r.address = sw::iova{q.address};
    r.access = sw::none;
    if (q.read || (!q.write && !q.execute)) r.access = r.access | sw::read;
    if (q.write) r.access = r.access | sw::write;
    if (q.execute) r.access = r.access | sw::execute;
    if (q.privileged) r.access = r.access | sw::privileged;
    r.pasid = q.has_substream ? q.substream : sw::smmu::no_pasid;
    r.memory = {q.type, static_cast<sw::smmu::shareability>(q.sh)};
    r.type = static_cast<sw::smmu::request_type>(q.kind);
    return r;
}

// What comes in says of itself what it is: Device memory, and what is not cached at all, is outer shareable.
inline void make_possible(ask& q) {
    unsigned const types[] = {0xff, 0x44, 0x00, 0x04, 0x08, 0x0c, 0x4f, 0xf4, 0xbb, 0xcc, 0x88, 0x77, 0x33, 0x5a, 0xe9, 0xf0};
    q.type = types[q.type & 15];
    unsigned const shared[] = {0, 2, 3, 3};
    q.sh = q.type < 0x10 || q.type == 0x44 ? 2 : shared[q.sh & 3];
}

// --- what the library should say ---------------------------------------------------------------------------------------

using fault_type = sw::fault<sw::smmu::event>;

// Rows of the lists of C_BAD_STE and C_BAD_CD, as they are numbered there, and the enumerators. One row may have several, and
// rows that the library judges at once stand together: of those the order is not compared.
inline bool is_row(unsigned row, sw::smmu::stream_entry_error e) {
    using error = sw::smmu::stream_entry_error;
    switch (row) {
    case 1: return e == error::not_valid;
    case 3: return e == error::no_stage1;
    case 4: return e == error::no_stage2;
    case 5: return e == error::split_ats;
    case 6: return e == error::ats_stalls;
    case 8: return e == error::stream_world;
    case 9: return e == error::stall_disable;
    case 10: return e == error::substream_size;
    case 11: return e == error::two_level_contexts;
    case 12: return e == error::context_pointer;
    case 13: return e == error::stalls || e == error::does_not_stall || e == error::table_format; // rows 14 and 15 come before
    case 14: return e == error::stalls;
    case 15: return e == error::does_not_stall;
    case 16: return e == error::table_format;
    case 17: return e == error::updates;
    case 18: return e == error::dirty_updates;
    case 19: return e == error::table_updates;
    case 20: return e == error::stage2_granule;
    case 21: return e == error::stage2_table;
    case 22: return e == error::stage2_size;
    case 23: return e == error::stage2_start;
    case 25: return e == error::endianness;
    case 27: return e == error::vmid;
    default: return false;
    }
}
inline bool is_row(unsigned row, sw::smmu::context_error e) {
    using error = sw::smmu::context_error;
    switch (row) {
    case 1: return e == error::not_valid;
    case 2: return e == error::stall_disabled;
    case 3: return e == error::terminates;
    case 4: return e == error::stalls || e == error::does_not_stall;
    case 5: return e == error::endianness;
    case 6:
    case 7: return e == error::table_format;
    case 8: return e == error::updates || e == error::dirty_updates || e == error::table_updates;
    case 9: return e == error::asid;
    case 10: // half by half
    case 11:
    case 12: return e == error::size || e == error::granule || e == error::table;
    default: return false;
    }
}

inline bool has_flags(answer const& a) { return a.stage != 0; }

// DWORD 1 of the record, RAZ/WI in bit 63, and in bits 15:0 the rights that are missing.
inline std::uint64_t detail_of(answer const& a) {
    if (a.event == smmu_model::f_transl_forbidden) return std::uint64_t{a.rnw} << 35;
    if (!has_flags(a)) return 0;
    return a.missing | std::uint64_t{a.stall} << 31 | std::uint64_t{a.pnu} << 33 | std::uint64_t{a.ind} << 34 |
           std::uint64_t{a.rnw} << 35 | std::uint64_t{a.stage == 2} << 39 | std::uint64_t{a.cls} << 40 |
           std::uint64_t{a.ttrnw} << 44 | std::uint64_t{a.raz_wi} << 63;
}

// The fault that the library should report. Of C_BAD_STE and C_BAD_CD the detail is the library's own.
inline fault_type fault_of(answer const& a) {
    using namespace smmu_model;
    fault_type f;
    f.code = static_cast<sw::smmu::event>(a.event);
    f.stage = static_cast<sw::fault_stage>(a.stage);
    f.at = static_cast<sw::fault_at>(a.cls);
    f.level = static_cast<std::uint8_t>(a.table_level);
    f.reported = a.recorded;
    f.input = a.input;
    f.entry = a.entry;
    f.detail = detail_of(a);
    if (a.stage == 0) {
        f.descriptor = a.event == f_cd_fetch ? a.fetch_address : a.entry_at;
        f.intermediate = a.fetch_ipa;
    } else if (a.stage == 1) {
        // Nested, what a first-stage descriptor says is told with its intermediate address; that memory does not give or take it,
        // with both.
        bool const aborted = a.event == f_walk_eabt;
        f.descriptor = aborted || !a.behind ? a.fetch_address : a.fetch_ipa;
        f.intermediate = aborted ? a.fetch_ipa : 0;
        if (aborted && a.behind) f.entry = 0;
    } else {
        f.descriptor = a.fetch_address;
        f.intermediate = a.ipa;
    }
    return f;
}

inline bool same(fault_type f, answer const& a) {
    fault_type expected = fault_of(a);
    std::uint64_t const low = f.detail & 0xffff;
    if (a.event == smmu_model::c_bad_ste) {
        if (!is_row(a.row, static_cast<sw::smmu::stream_entry_error>(low))) return false;
        expected.detail |= low;
    }
    if (a.event == smmu_model::c_bad_cd) {
        if (!is_row(a.row, static_cast<sw::smmu::context_error>(low))) return false;
        expected.detail |= low;
    }
    // A table in Device memory, and no right missing: the library does not say which descriptor made it so.
    if (a.event == smmu_model::f_permission && a.missing == 0 && f.descriptor == 0) {
        expected.level = sw::no_level;
        expected.descriptor = expected.entry = 0;
    }
    return f == expected;
}

template <class Output>
bool same(sw::translation<Output> const& t, answer const& a) {
    std::uint64_t const rights = (a.r ? 1u : 0u) | (a.w ? 2u : 0u) | (a.x ? 4u : 0u);
    return t.output.value == a.address &&
           t.effective.bits == (rights | std::uint64_t{a.type} << 8 | std::uint64_t{a.sharing} << 16) && t.lg2_size == a.lg2 &&
           t.by == (a.bypassed ? sw::passage::bypassed : sw::passage::walked);
}

template <class Outcome>
bool agree(Outcome const& o, answer const& a) {
    return static_cast<bool>(o) == a.ok && (a.ok ? same(*o, a) : same(o.error(), a));
}

// The event record, whether it is written or not, and what a translation request is told.
template <class Outcome>
bool agree_outside(unit const& u, ask const& q, Outcome const& o, answer const& a) {
    auto const r = request_of(q);
    if (!o) {
        std::uint64_t expected[4]{};
        smmu_model::record(u, q, a, 0xbeef, expected);
        auto const e = sw::smmu::to_record(o.error(), r, capabilities_of(u), 0xbeef);
        for (unsigned w = 0; w < 4; ++w)
            if (e.word[w] != expected[w]) return false;
    }
    if (q.kind != smmu_model::translation_request) return true;
    auto const expected = smmu_model::complete(q, a);
    return sw::smmu::to_completion(o, r) == sw::smmu::ats_completion{static_cast<sw::smmu::ats_status>(expected.status),
                                                                     expected.r,
                                                                     expected.w,
                                                                     expected.x,
                                                                     expected.privileged,
                                                                     expected.address,
                                                                     expected.lg2};
}

// --- texts ---------------------------------------------------------------------------------------------------------

inline std::string text_of(fault_type const& f) {
    return print(
        "event %02x stage %d at %d level %u reported %d input %llx intermediate %llx descriptor %llx entry %llx detail %llx",
        static_cast<unsigned>(f.code), static_cast<int>(f.stage), static_cast<int>(f.at), static_cast<unsigned>(f.level),
        f.reported ? 1 : 0, static_cast<wide>(f.input), static_cast<wide>(f.intermediate), static_cast<wide>(f.descriptor),
        static_cast<wide>(f.entry), static_cast<wide>(f.detail));
}
inline std::string text_of(answer const& a) {
    if (!a.ok) return text_of(fault_of(a)) + print(" row %u", a.row);
    return print("ok output %llx rights %s%s%s type %02x sharing %u lg2 %u%s", static_cast<wide>(a.address), a.r ? "r" : "",
                 a.w ? "w" : "", a.x ? "x" : "", a.type, a.sharing, a.lg2, a.bypassed ? " bypassed" : "");
}
template <class Output>
std::string text_of(sw::translation<Output> const& t) {
    return print("ok output %llx attributes %llx lg2 %llu by %d", static_cast<wide>(t.output.value),
                 static_cast<wide>(t.effective.bits), static_cast<wide>(t.lg2_size), static_cast<int>(t.by));
}
template <class Outcome>
std::string difference(char const* where, Outcome const& o, answer const& a) {
    return print("%s\n  library: ", where) + (o ? text_of(*o) : text_of(o.error())) + "\n  model:   " + text_of(a) + "\n";
}
inline std::string text_of(unit const& u, ask const& q) {
    return print("idr0 %x idr1 %x idr3 %x idr5 %x aidr %x cr0 %x cr2 %x gbpa %x strtab_base %llx cfg %x start %d clamp %d late "
                 "%d\n",
                 u.idr0, u.idr1, u.idr3, u.idr5, u.aidr, u.cr0, u.cr2, u.gbpa, static_cast<wide>(u.strtab_base),
                 u.strtab_base_cfg, u.oas_start_level, u.clamp_sizes, u.pointer_faults_late) +
           print("kind %u stream %x address %llx %s%s%s%s substream %s%x type %02x sh %u\n", q.kind, q.stream,
                 static_cast<wide>(q.address), q.read ? "r" : "", q.write ? "w" : "", q.execute ? "x" : "",
                 q.privileged ? "p" : "", q.has_substream ? "" : "none ", q.substream, q.type, q.sh);
}

} // namespace smmu_compare
