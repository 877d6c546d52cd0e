// Between the library and the naive model of scalable mode: the same question to both, and whether they answer alike.
#pragma once

#include "vtd_compare.hpp"
#include "vtd_scalable_model.hpp"

#include <stagewalk/stagewalk.hpp>

#include <cstdint>
#include <string>

namespace vtd_scalable_compare {

namespace sw = stagewalk;
using vtd_compare::print;
using vtd_compare::wide;
using vtd_scalable_model::answer;
using vtd_scalable_model::ask;
using vtd_scalable_model::unit;

// What every register pair of a real unit satisfies: the library asks for capabilities without contradiction.
inline void make_possible(unit& u) {
    bool const scalable = (u.ecap >> 43 & 1) != 0;
    vtd_compare::make_possible(u);
    if (scalable) u.ecap |= std::uint64_t{1} << 43;
    std::uint64_t const nesting = std::uint64_t{1} << 43 | std::uint64_t{1} << 46 | std::uint64_t{1} << 47;
    if ((u.ecap & nesting) != nesting) u.ecap &= ~(std::uint64_t{1} << 26);
    u.major &= 15;
}

// Requests that exist: a four-byte write is aligned, a PASID has 20 bits, an execute request is a read (without PASID it
// counts as any). The model of the other modes knows no execute requests.
inline void make_possible(unit const& u, ask& q) {
    if (q.bytes == 4) q.address &= ~std::uint64_t{3};
    q.pasid &= 0xfffff;
    if (!q.has_pasid) q.privileged = false;
    if (q.write || (u.rtaddr >> 10 & 3) != 1 || !u.on) q.execute = false;
    if (q.execute) q.read = true;
}

inline sw::vtd::capabilities capabilities_of(unit const& u) { return {u.cap, u.ecap, u.haw, std::uint64_t{u.major} << 4}; }

inline sw::vtd::policy policy_of(unit const& u) {
    sw::vtd::policy p;
    if (u.each_entry) p.second_stage_rights = sw::vtd::rights_order::each_entry;
    if (u.largest) p.pass_through = sw::vtd::pass_through_width::largest;
    if (u.manual_fields) p.unused = sw::vtd::unused_pasid_fields::manual;
    if (u.refuses_types) p.memory_type = sw::vtd::reserved_memory_type::refused;
    if (u.both_halves) p.root = sw::vtd::root_halves::both;
    return p;
}

inline sw::vtd::settings settings_of(unit const& u) { return {u.on, u.ranges, policy_of(u)}; }

inline sw::vtd::request request_of(ask const& q) {
    sw::vtd::request r;
    r.source = static_cast<std::uint16_t>(q.source);
    r.address = sw::iova{q.address};
    r.access = vtd_compare::access_of(q.read, q.write);
    if (q.execute) r.access = r.access | sw::execute;
    if (q.privileged) r.access = r.access | sw::privileged;
    r.pasid = q.has_pasid ? q.pasid : sw::vtd::no_pasid;
    sw::vtd::request_type const types[] = {sw::vtd::request_type::untranslated, sw::vtd::request_type::translation,
                                           sw::vtd::request_type::translated, sw::vtd::request_type::page,
                                           sw::vtd::request_type::reserved};
    r.type = types[q.type];
    r.bytes = q.bytes;
    r.no_write = q.no_write;
    return r;
}

inline bool same(sw::fault<sw::vtd::reason> f, answer const& a) {
    if (f.intermediate != a.intermediate) return false;
    f.intermediate = 0;
    return vtd_compare::same(f, a);
}

template <class Outcome>
bool agree(Outcome const& o, answer const& a) {
    return static_cast<bool>(o) == a.ok && (a.ok ? vtd_compare::same(*o, a) : same(o.error(), a));
}

inline std::string text_of(answer const& a) {
    return vtd_compare::text_of(a) + (a.ok ? "" : print(" intermediate %llx", static_cast<wide>(a.intermediate)));
}

template <class Outcome>
answer answer_of(Outcome const& o) {
    answer a;
    if (o) {
        static_cast<vtd_model::answer&>(a) = vtd_compare::answer_of(*o);
    } else {
        static_cast<vtd_model::answer&>(a) = vtd_compare::answer_of(o.error());
        a.intermediate = o.error().intermediate;
    }
    return a;
}

template <class Outcome>
std::string difference(char const* where, Outcome const& o, answer const& a) {
    return std::string(where) + "\n  library: " + text_of(answer_of(o)) + "\n  model:   " + text_of(a) + "\n";
}

inline std::string text_of(unit const& u, ask const& q) {
    return vtd_compare::text_of(u, q) + print("manual %d both %d types %d major %u pasid %x privileged %d execute %d\n",
                                              u.manual_fields, u.both_halves, u.refuses_types, u.major, q.pasid, q.privileged,
                                              q.execute);
}

} // namespace vtd_scalable_compare
