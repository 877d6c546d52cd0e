// Between the library and the naive model: the same question to both, and whether they answer alike, field by field.
#pragma once

#include "amdvi_model.hpp"

#include <stagewalk/amdvi/ats.hpp>
#include <stagewalk/amdvi/event_record.hpp>
#include <stagewalk/amdvi/iommu.hpp>
#include <stagewalk/memory/callback.hpp>
#include <stagewalk/memory/recording.hpp>
#include <stagewalk/memory/windowed.hpp>

#include <cstdint>
#include <cstdio>
#include <string>

namespace amdvi_compare {

namespace sw = stagewalk;
using amdvi_model::answer;
using amdvi_model::ask;
using amdvi_model::unit;
using wide = unsigned long long; // what %llx takes

template <class... Values>
std::string print(char const* format, Values... values) {
    char text[512];
    std::snprintf(text, sizeof text, format, values...);
    return text;
}

inline sw::amdvi::capabilities capabilities_of(unit const& u) {
    return sw::amdvi::capabilities{u.efr, u.efr2, u.iotlb ? sw::amdvi::capabilities::iotlbs : 0};
}

inline sw::amdvi::control control_of(unit const& u) {
    sw::amdvi::control c{u.control, u.devtab_base[0]};
    for (unsigned i = 1; i < 8; ++i)
        c.table[i] = sw::amdvi::device_table_base_register{u.devtab_base[i]};
    c.exclusion_base = sw::amdvi::exclusion_base_register{u.exclusion_base};
    c.exclusion_limit = sw::amdvi::exclusion_limit_register{u.exclusion_limit};
    return c;
}

inline sw::amdvi::settings settings_of(unit const& u) {
    using namespace sw::amdvi;
    settings s;
    s.snp = u.snp;
    s.interrupt_range = u.interrupt_range;
    if (u.ht_reserved) s.rules.ht = ht_range::reserved;
    if (u.exclusion_translation_only) s.rules.excluded = exclusion::translations;
    if (u.past_table_page_fault) s.rules.missing = missing_entry::page_fault;
    if (u.illegal_mode_page_fault) s.rules.mode = illegal_mode::page_fault;
    if (u.guest_disabled_ignored) s.rules.guest = guest_disabled::ignored;
    if (u.permission_first) s.rules.order = check_order::rights_first;
    if (u.page_migration) s.rules.migration = page_migration::supported;
    if (u.host_accessed_leaf_only) s.rules.accessed = host_accessed::leaves_only;
    if (u.gcr3_pointers_as_root) s.rules.pointers = gcr3_pointers::as_root;
    if (u.write_protect_users_only) s.rules.protect = write_protect::users_only;
    return s;
}

// What asks for nothing reads.
inline sw::amdvi::request request_of(ask const& q) {
    sw::amdvi::request r;
    r.source = q.device;
    r.address = sw::iova{q.address};
    r.access = sw::none;
    if (q.read || (!q.write && !q.execute)) r.access = r.access | sw::read;
    if (q.write) r.access = r.access | sw::write;
    if (q.execute) r.access = r.access | sw::execute;
    if (q.privileged) r.access = r.access | sw::privileged;
    r.pasid = q.has_pasid ? q.pasid : sw::amdvi::no_pasid;
    r.type = static_cast<sw::amdvi::request_type>(q.kind);
    return r;
}

// --- what the library should say ---------------------------------------------------------------------------------------

using fault_type = sw::fault<sw::amdvi::event>;

inline bool is_nested_host(answer const& a) { return a.stage == 2 && (a.flags & amdvi_model::flag_gn) != 0; }
// An entry behind host tables that memory does not give or take.
inline bool is_lost_behind(answer const& a) { return a.event == amdvi_model::page_tab_hardware_error && a.behind; }

// The fault that the library should report, but for what it adds to an illegal device table entry.
inline fault_type fault_of(ask const& q, answer const& a) {
    fault_type f;
    f.code = static_cast<sw::amdvi::event>(a.event);
    f.stage = a.gcr3 ? sw::fault_stage::configuration : static_cast<sw::fault_stage>(a.stage);
    f.level = a.level == 0 || a.gcr3 ? sw::no_level : static_cast<std::uint8_t>(a.level - 1);
    f.reported = a.recorded;
    f.input = q.address;
    f.intermediate = is_nested_host(a) ? a.gpa : is_lost_behind(a) ? a.entry_at : 0;
    f.descriptor = is_lost_behind(a) ? a.system : a.entry_at;
    f.entry = a.entry;
    std::uint64_t words[2]{};
    amdvi_model::record(q, a, words);
    f.detail = (words[0] & sw::amdvi::fault_detail::recorded) | (a.once ? sw::amdvi::fault_detail::once : 0);
    if (a.event == 0) f.detail = f.entry = f.descriptor = 0;
    return f;
}

// Of an entry that somebody else changes again and again, the last value depends on how often it was tried.
inline bool same(fault_type f, ask const& q, answer const& a) {
    fault_type expected = fault_of(q, a);
    if (a.tired) expected.entry = f.entry;
    expected.at = f.at; // the model does not tell
    // A page fault before a device table entry was read, and what makes one illegal: the reason must agree with RZ.
    bool const of_entry = a.event == amdvi_model::illegal_dev_table_entry ||
                          (a.event == amdvi_model::io_page_fault && a.stage == 0 && a.entry_at == 0 && a.entry == 0);
    if (of_entry) {
        auto const why = static_cast<sw::amdvi::device_entry_error>(f.detail & 0xffff);
        if (is_reserved(why) != ((a.flags & amdvi_model::flag_rz) != 0)) return false;
        if (why == sw::amdvi::device_entry_error::none ||
            (why == sw::amdvi::device_entry_error::beyond_table) != (a.entry_at == 0 && a.entry == 0))
            return false;
        expected.detail |= static_cast<std::uint64_t>(why);
    }
    if (a.event == 0) expected.detail = f.detail;
    // PASIDs that GCR3 tables do not cover are no entry's fault.
    if (a.event == amdvi_model::io_page_fault && a.stage == 1 && a.entry_at == 0 && f.stage == sw::fault_stage::configuration)
        expected.stage = f.stage;
    return f == expected;
}

template <class Output>
bool same(sw::translation<Output> const& t, answer const& a) {
    std::uint64_t const bits = (a.r ? 1u : 0u) | (a.w ? 2u : 0u) | (a.x ? 4u : 0u) | (a.pwt ? 8u : 0u) | (a.pcd ? 16u : 0u) |
                               (a.supervisor_only ? 32u : 0u) | (a.pat ? 128u : 0u) | std::uint64_t{a.u} << 59 |
                               std::uint64_t{a.fc} << 60;
    auto const by = a.bypassed ? sw::passage::bypassed : a.interrupt ? sw::passage::interrupt : sw::passage::walked;
    return t.output.value == a.address && t.effective.bits == bits && t.lg2_size == a.lg2 && t.by == by;
}

template <class Outcome>
bool agree(Outcome const& o, ask const& q, answer const& a) {
    return static_cast<bool>(o) == a.ok && (a.ok ? same(*o, a) : same(o.error(), q, a));
}

// The event log entry, and what a translation request is told.
template <class Outcome>
bool agree_outside(ask const& q, Outcome const& o, answer const& a) {
    auto const r = request_of(q);
    if (!o && a.event != 0) {
        std::uint64_t expected[2]{};
        amdvi_model::record(q, a, expected);
        auto const e = sw::amdvi::to_record(o.error(), r);
        if (e.word[0] != expected[0] || e.word[1] != expected[1]) return false;
    }
    if (q.kind != amdvi_model::translation_request) return true;
    auto const expected = amdvi_model::complete(q, a);
    return sw::amdvi::to_completion(o, r) == sw::amdvi::ats_completion{static_cast<sw::amdvi::ats_status>(expected.status),
                                                                       expected.r,
                                                                       expected.w,
                                                                       expected.x,
                                                                       a.ok && q.has_pasid && q.privileged,
                                                                       expected.untranslated_only,
                                                                       expected.address,
                                                                       expected.lg2};
}

// --- texts ---------------------------------------------------------------------------------------------------------

inline std::string text_of(fault_type const& f) {
    return print("event %x stage %d level %u reported %d input %llx intermediate %llx descriptor %llx entry %llx detail %llx",
                 static_cast<unsigned>(f.code), static_cast<int>(f.stage), static_cast<unsigned>(f.level), f.reported ? 1 : 0,
                 static_cast<wide>(f.input), static_cast<wide>(f.intermediate), static_cast<wide>(f.descriptor),
                 static_cast<wide>(f.entry), static_cast<wide>(f.detail));
}
inline std::string text_of(ask const& q, answer const& a) {
    if (!a.ok) return text_of(fault_of(q, a));
    return print("ok output %llx rights %s%s%s lg2 %u%s%s u%d fc%d pwt%d pcd%d pat%d s%d", static_cast<wide>(a.address),
                 a.r ? "r" : "", a.w ? "w" : "", a.x ? "x" : "", a.lg2, a.bypassed ? " bypassed" : "",
                 a.interrupt ? " interrupt" : "", a.u, a.fc, a.pwt, a.pcd, a.pat, a.supervisor_only);
}
template <class Output>
std::string text_of(sw::translation<Output> const& t) {
    return print("ok output %llx attributes %llx lg2 %llu by %d", static_cast<wide>(t.output.value),
                 static_cast<wide>(t.effective.bits), static_cast<wide>(t.lg2_size), static_cast<int>(t.by));
}
template <class Outcome>
std::string difference(char const* where, Outcome const& o, ask const& q, answer const& a) {
    return print("%s\n  library: ", where) + (o ? text_of(*o) : text_of(o.error())) + "\n  model:   " + text_of(q, a) + "\n";
}
inline std::string text_of(unit const& u, ask const& q) {
    return print("efr %llx efr2 %llx control %llx table %llx exclusion %llx %llx iotlb %d snp %d\n", static_cast<wide>(u.efr),
                 static_cast<wide>(u.efr2), static_cast<wide>(u.control), static_cast<wide>(u.devtab_base[0]),
                 static_cast<wide>(u.exclusion_base), static_cast<wide>(u.exclusion_limit), u.iotlb, u.snp) +
           print("past %d mode %d guest %d excl %d ht %d pmc %d perm %d leaf %d ptr %d wp %d\n", u.past_table_page_fault,
                 u.illegal_mode_page_fault, u.guest_disabled_ignored, u.exclusion_translation_only, u.ht_reserved,
                 u.page_migration, u.permission_first, u.host_accessed_leaf_only, u.gcr3_pointers_as_root,
                 u.write_protect_users_only) +
           print("kind %u device %x pasid %s%x address %llx %s%s%s%s\n", q.kind, q.device, q.has_pasid ? "" : "none ", q.pasid,
                 static_cast<wide>(q.address), q.read ? "r" : "", q.write ? "w" : "", q.execute ? "x" : "",
                 q.privileged ? "p" : "");
}

} // namespace amdvi_compare
