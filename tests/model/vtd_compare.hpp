// Between the library and the naive model: the same question to both, and whether they answer alike, field by field.
#pragma once

#include "vtd_model.hpp"

#include <stagewalk/stagewalk.hpp>

#include <cstdint>
#include <cstdio>
#include <string>

namespace vtd_compare {

namespace sw = stagewalk;
using vtd_model::answer;
using vtd_model::ask;
using vtd_model::unit;

// What every register pair of a real unit satisfies, by literal bits: the library asks for capabilities that are free
// of contradiction, and the scalable mode is not what is compared here.
inline void make_possible(unit& u) {
    if ((u.cap >> 9 & 7) == 0) u.cap |= 1u << 10;
    u.cap &= ~(std::uint64_t{1} << 8 | std::uint64_t{1} << 12);  // SAGAW bits 0 and 4
    u.cap &= ~(std::uint64_t{3} << 36);                          // SSLPS bits 2 and 3
    if ((u.cap >> 35 & 1) != 0) u.cap |= std::uint64_t{1} << 34; // 1 GiB without 2 MiB
    if ((u.cap & 7) == 7) u.cap ^= 1;
    u.haw = 32 + u.haw % 21;
    if ((u.cap >> 16 & 63) + 1 < u.haw) u.cap = (u.cap & ~(std::uint64_t{63} << 16)) | std::uint64_t{u.haw - 1} << 16;
    if ((u.rtaddr >> 10 & 3) == 1) u.ecap &= ~(std::uint64_t{1} << 43);
}

// A four-byte write that is not aligned touches two DWORDs; a request for it does not exist.
inline void make_possible(ask& q) {
    if (q.bytes == 4) q.address &= ~std::uint64_t{3};
    // A translation request has no data to write: it says with NW whether it asks for that right.
    if (q.type == vtd_model::translation) q.write = false;
}

inline sw::vtd::capabilities capabilities_of(unit const& u) { return {u.cap, u.ecap, u.haw}; }

inline sw::vtd::policy policy_of(unit const& u) {
    return {u.each_entry ? sw::vtd::rights_order::each_entry : sw::vtd::rights_order::after_leaf,
            u.largest ? sw::vtd::pass_through_width::largest : sw::vtd::pass_through_width::any_supported};
}

inline sw::vtd::settings settings_of(unit const& u) { return {u.on, u.ranges, policy_of(u)}; }

inline sw::access access_of(bool r, bool w, bool zero_length = false) {
    sw::access a = sw::none;
    if (r) a = a | sw::read;
    if (w) a = a | sw::write;
    if (zero_length) a = a | sw::zero_length;
    return a;
}

inline sw::vtd::request request_of(ask const& q) {
    sw::vtd::request r;
    r.source = static_cast<std::uint16_t>(q.source);
    r.address = sw::iova{q.address};
    r.access = access_of(q.read, q.write);
    r.pasid = q.has_pasid ? 0x12345 : sw::vtd::no_pasid;
    r.type = q.type == vtd_model::page_request ? sw::vtd::request_type::page : static_cast<sw::vtd::request_type>(q.type);
    r.bytes = q.bytes;
    r.no_write = q.no_write;
    return r;
}

template <class Output>
bool same(sw::translation<Output> const& t, answer const& a) {
    return t.output.value == a.output && t.effective.bits == a.attributes && t.lg2_size == a.lg2 &&
           static_cast<int>(t.by) == a.by;
}

inline bool same(sw::fault<sw::vtd::reason> const& f, answer const& a) {
    return static_cast<unsigned>(f.code) == a.code && static_cast<int>(f.stage) == a.stage && static_cast<int>(f.at) == a.at &&
           f.level == (a.level < 0 ? 0xff : a.level) && f.reported == a.reported && f.input == a.input && f.intermediate == 0 &&
           f.descriptor == a.descriptor && f.entry == a.entry && f.detail == 0;
}

template <class Outcome>
bool agree(Outcome const& o, answer const& a) {
    return static_cast<bool>(o) == a.ok && (a.ok ? same(*o, a) : same(o.error(), a));
}

template <class... Values>
std::string print(char const* format, Values... values) {
    char text[512];
    std::snprintf(text, sizeof text, format, values...);
    return text;
}

using wide = unsigned long long; // what %llx takes

inline std::string text_of(answer const& a) {
    if (a.ok)
        return print("ok output %llx attributes %llx lg2 %u by %d", static_cast<wide>(a.output), static_cast<wide>(a.attributes),
                     a.lg2, a.by);
    return print("fault %x stage %d at %d level %d reported %d input %llx descriptor %llx entry %llx", a.code, a.stage, a.at,
                 a.level, a.reported ? 1 : 0, static_cast<wide>(a.input), static_cast<wide>(a.descriptor),
                 static_cast<wide>(a.entry));
}

inline answer answer_of(sw::fault<sw::vtd::reason> const& f) {
    answer a;
    a.code = static_cast<unsigned>(f.code);
    a.stage = static_cast<int>(f.stage);
    a.at = static_cast<int>(f.at);
    a.level = f.level == 0xff ? -1 : f.level;
    a.reported = f.reported;
    a.input = f.input;
    a.descriptor = f.descriptor;
    a.entry = f.entry;
    return a;
}

template <class Output>
answer answer_of(sw::translation<Output> const& t) {
    answer a;
    a.ok = true;
    a.output = t.output.value;
    a.attributes = t.effective.bits;
    a.lg2 = static_cast<unsigned>(t.lg2_size);
    a.by = static_cast<int>(t.by);
    return a;
}

template <class Outcome>
std::string difference(char const* where, Outcome const& o, answer const& a) {
    return print("%s\n  library: %s\n  model:   %s\n", where, text_of(o ? answer_of(*o) : answer_of(o.error())).c_str(),
                 text_of(a).c_str());
}

inline std::string text_of(unit const& u, ask const& q) {
    return print("cap %llx ecap %llx haw %u rtaddr %llx on %d ranges %d each_entry %d largest %d\n"
                 "source %04x address %llx %s%s type %d pasid %d bytes %u no_write %d\n",
                 static_cast<wide>(u.cap), static_cast<wide>(u.ecap), u.haw, static_cast<wide>(u.rtaddr), u.on, u.ranges,
                 u.each_entry, u.largest, q.source, static_cast<wide>(q.address), q.read ? "r" : "", q.write ? "w" : "", q.type,
                 q.has_pasid, q.bytes, q.no_write);
}

} // namespace vtd_compare
