// A naive interpreter of VT-d scalable mode, from the specification alone: it includes nothing of the library and shares
// no code with it. Plain integers, one test after the other in the specification's order, bits by their printed
// numbers. Where the specification leaves an order open, the comment says which one is taken here.
#pragma once

#include "vtd_model.hpp"

#include <cstdint>
#include <functional>

namespace vtd_scalable_model {

using vtd_model::any_bit;
using vtd_model::at_context;
using vtd_model::at_input;
using vtd_model::at_table;
using vtd_model::bit;

struct unit : vtd_model::unit {
    bool manual_fields = false; // AW, SSADE and SSPTPTR count where PGTT does not use them
    bool both_halves = false;   // reserved bits of either half of a root entry count
    bool refuses_types = false; // reserved encodings of EMT are reserved bits
    unsigned major = 1;         // version
};

struct ask : vtd_model::ask {
    std::uint32_t pasid = 0; // if has_pasid
    bool privileged = false; // PR, if has_pasid
    bool execute = false;    // ER: a read
};

constexpr int queued = 3;        // beside vtd_model::way: a page request that may go into the queue
constexpr int reserved_type = 4; // beside vtd_model::kind: AT = 11

struct answer : vtd_model::answer {
    std::uint64_t intermediate = 0; // where a second stage refused it
};

enum exchange { done = 0, changed = 1, failed = 2 };

// Words by their addresses. `read` says false where there is none. `replace` writes `fresh` where `old` still stands.
// Memory that cannot be written says that it is done.
struct memory {
    std::function<bool(std::uint64_t at, std::uint64_t& value)> read;
    std::function<exchange(std::uint64_t at, std::uint64_t old, std::uint64_t fresh)> replace;
};

constexpr unsigned patience = 8; // so often somebody else may change an entry under a walk

// --- what the tables say of an address space ---------------------------------------------------------------------

struct space {
    unsigned pgtt = 0;
    bool fpd = false;
    bool privileged = false;
    bool ssirwe = false;
    std::uint64_t entry[8]{}; // the PASID table entry
};

inline unsigned first_levels(space const& s) { return bit(s.entry[2], 2) ? 5 : 4; }
inline unsigned second_levels(space const& s) { return static_cast<unsigned>(s.entry[0] >> 2 & 7) + 2; }

// min(MGAW, AGAW)
inline unsigned second_width(unit const& u, unsigned levels) {
    unsigned const mgaw = static_cast<unsigned>(u.cap >> 16 & 63) + 1;
    unsigned const agaw = 12 + 9 * levels;
    return mgaw < agaw ? mgaw : agaw;
}

// What is asked of a stage. Who inquires needs nothing, and is told what there is.
struct want {
    bool r = false;
    bool w = false;
    bool zero_length = false;
    bool inquires = false;
    bool privileged = false;
};

// An update of a leaf, not made yet.
struct debt {
    bool owed = false;
    std::uint64_t at = 0; // in the space of the stage's tables
    std::uint64_t old = 0;
    std::uint64_t fresh = 0;
    int level = 0;
};

inline answer refuse(int stage, unsigned code, int where, std::uint64_t input, int level = -1, std::uint64_t descriptor = 0,
                     std::uint64_t entry = 0) {
    answer a;
    a.stage = stage;
    a.code = code;
    a.at = where;
    a.input = input;
    a.level = level;
    a.descriptor = descriptor;
    a.entry = entry;
    return a;
}

// --- the second stage -----------------------------------------------------------------------------------------------

// `leave` receives the leaf's update; without, it is made here.
inline answer second(unit const& u, space const& s, std::uint64_t input, want const& q, memory const& m, debt* leave) {
    unsigned const levels = second_levels(s);
    bool const ssade = bit(s.entry[0], 9);
    bool const snoops = bit(s.entry[1], 23);
    bool const emte = bit(s.entry[1], 26);
    unsigned const r_bit = s.ssirwe ? 61 : 0;
    unsigned const w_bit = s.ssirwe ? 62 : 1;
    bool const r = q.r && !q.inquires;
    bool const w = q.w && !q.inquires;

    if (any_bit(input, 63, second_width(u, levels))) return refuse(2, 0x84, at_input, input);

    bool const flush = q.zero_length && r && !w && bit(u.cap, 22);
    for (unsigned tries = 0;; ++tries) {
        bool all_r = true;
        bool all_w = true;
        answer lacks_r; // the first entry that does not grant the reading that is needed
        answer lacks_w; // and the writing
        std::uint64_t table = s.entry[0] & 0x000ffffffffff000;
        bool again = false;
        for (unsigned level = levels; !again; --level) { // 1 = PTE
            unsigned const shift = 12 + 9 * (level - 1);
            int const depth = static_cast<int>(level) - 1;
            std::uint64_t const at = table + (input >> shift & 511) * 8;
            std::uint64_t e = 0;
            if (!m.read(at, e)) return refuse(2, level == levels ? 0x7b : 0x78, at_table, input, depth, at);
            bool const er = bit(e, r_bit);
            bool const ew = bit(e, w_bit);
            if (!er && !ew) return refuse(2, 0x79, at_input, input, depth, at, e);
            if ((r && !er) || (w && !ew)) {
                answer const here = refuse(2, 0, at_input, input, depth, at, e);
                if (r && !er && lacks_r.level < 0) lacks_r = here;
                if (w && !ew && lacks_w.level < 0) lacks_w = here;
                if (u.each_entry && !flush) return refuse(2, w && !ew ? 0x85 : 0x86, at_input, input, depth, at, e);
            }
            bool const page_2m = level == 2 && bit(e, 7) && bit(u.cap, 34);
            bool const page_1g = level == 3 && bit(e, 7) && bit(u.cap, 35);
            bool const page = level == 1 || page_2m || page_1g;
            bool bad = bit(e, 62) && !s.ssirwe;
            if (u.haw <= 51) bad = bad || any_bit(e, 51, u.haw);
            if (!page) bad = bad || bit(e, 7) || bit(e, 11);
            if (page) bad = bad || (bit(e, 11) && !bit(u.ecap, 7));
            if (page_2m) bad = bad || any_bit(e, 20, 12);
            if (page_1g) bad = bad || any_bit(e, 29, 12);
            unsigned const emt = static_cast<unsigned>(e >> 3 & 7);
            if (page && emte && u.refuses_types) bad = bad || emt == 2 || emt == 3 || emt == 7;
            if (bad) return refuse(2, 0x7a, at_table, input, depth, at, e);
            all_r = all_r && er;
            all_w = all_w && ew;

            // Rights come after the leaf, and before anything is written into it.
            if (page) {
                answer blame = refuse(2, 0, at_input, input, depth, at, e);
                if (lacks_r.level >= 0) blame = lacks_r;
                if (lacks_w.level >= 0) blame = lacks_w;
                blame.code = 0x79;
                if (!all_r && !all_w) return blame;
                blame.code = 0x85;
                if (w && !all_w) return blame;
                blame.code = 0x86;
                if (r && !all_r && !flush) return blame;
            }
            std::uint64_t fresh = e;
            if (ssade) fresh |= 0x100;
            if (ssade && page && q.w && all_w) fresh |= 0x200;
            if (fresh != e) {
                if (!snoops) return refuse(2, 0x7c, at_table, input, depth, at, e);
                if (page && leave != nullptr) {
                    *leave = {true, at, e, fresh, depth};
                } else {
                    exchange const how = m.replace(at, e, fresh);
                    again = how == changed;
                    if (how == failed || (again && tries == patience)) return refuse(2, 0x7d, at_table, input, depth, at, e);
                }
            }
            if (!page) {
                table = e & 0x000ffffffffff000;
                continue;
            }
            if (again) break;
            std::uint64_t const size = std::uint64_t{1} << shift;
            answer a;
            a.ok = true;
            a.output = (e & 0x000ffffffffff000) / size * size + input % size;
            // A no-write inquiry leaves D alone, so it is promised writing only where D is set, or not kept.
            bool const promised = all_w && !(ssade && q.inquires && !q.w && !bit(e, 9));
            a.attributes = (all_r ? 1u : 0u) + (promised ? 2u : 0u) + (e & 0x878);
            a.lg2 = shift;
            return a;
        }
    }
}

// --- the first stage, alone or over the second ---------------------------------------------------------------------------

// What a second-stage fault becomes that was met at the first-stage entry at guest address `at`: missing rights get codes
// of their own.
inline answer met_at_table(answer a, std::uint64_t input, int level, bool root, std::uint64_t at, std::uint64_t entry) {
    unsigned code = 0;
    if (a.code == 0x85) code = 0x77;
    if (a.code == 0x86) code = root ? 0x75 : 0x76;
    if (code != 0) a = refuse(1, code, at_table, input, level, at, entry);
    a.input = input;
    a.intermediate = at;
    return a;
}

// Makes an update of the first-stage entry at `at`; over a second stage, that must grant writing.
inline exchange update_first(unit const& u, space const& s, std::uint64_t input, debt const& d, bool root, memory const& m,
                             answer& why) {
    std::uint64_t host = d.at;
    if (s.pgtt == 3) {
        want q;
        q.w = true;
        answer const a = second(u, s, d.at, q, m, nullptr);
        if (!a.ok) {
            why = met_at_table(a, input, d.level, root, d.at, d.old);
            return failed;
        }
        host = a.output;
    }
    exchange const how = m.replace(host, d.old, d.fresh);
    why = refuse(1, 0x91, at_table, input, d.level, d.at, d.old);
    return how;
}

inline answer first(unit const& u, space const& s, std::uint64_t input, want const& q, memory const& m, debt& leave) {
    unsigned const levels = first_levels(s);
    bool const nested = s.pgtt == 3;
    bool const ssade = bit(s.entry[0], 9);
    bool const snoops = bit(s.entry[1], 23);
    bool const wpe = bit(s.entry[2], 4);
    bool const eafe = bit(s.entry[2], 7);

    // Canonical: all bits from the highest translated one on are alike.
    unsigned const top = levels == 5 ? 56 : 47;
    for (unsigned i = top; i < 64; ++i)
        if (bit(input, i) != bit(input, top)) return refuse(1, 0x80, at_input, input);

    bool const bound = !q.privileged || wpe; // R/W binds
    for (unsigned tries = 0;; ++tries) {
        bool all_rw = true;
        bool all_us = true;
        answer lacks;
        std::uint64_t table = s.entry[2] & 0xfffffffffffff000;
        bool again = false;
        for (unsigned level = levels; !again; --level) { // 1 = PTE
            unsigned const shift = 12 + 9 * (level - 1);
            int const depth = static_cast<int>(level) - 1;
            bool const root = level == levels;
            std::uint64_t const at = table + (input >> shift & 511) * 8;
            std::uint64_t host = at;
            if (nested) {
                // With SSADE a read of a table counts as a write.
                want reads;
                reads.r = true;
                reads.w = ssade;
                answer const a = second(u, s, at, reads, m, nullptr);
                if (!a.ok) return met_at_table(a, input, depth, root, at, 0);
                host = a.output;
            }
            std::uint64_t e = 0;
            if (!m.read(host, e)) return refuse(1, root ? 0x73 : 0x70, at_table, input, depth, at);
            if (!bit(e, 0)) return refuse(1, 0x71, at_input, input, depth, at, e);
            bool const page_2m = level == 2 && bit(e, 7);
            bool const page_1g = level == 3 && bit(e, 7) && bit(u.cap, 56);
            bool const page = level == 1 || page_2m || page_1g;
            bool bad = false;
            if (u.haw <= 51) bad = bad || any_bit(e, 51, u.haw);
            if (!page) bad = bad || bit(e, 7);
            if (page_2m) bad = bad || any_bit(e, 20, 13);
            if (page_1g) bad = bad || any_bit(e, 29, 13);
            if (bad) return refuse(1, 0x72, at_table, input, depth, at, e);
            if (nested) {
                unsigned const width = second_width(u, second_levels(s));
                if (width <= 51 && any_bit(e, 51, width)) return refuse(1, 0x74, at_table, input, depth, at, e);
            }
            // A user request that meets a supervisor entry goes no further.
            if (!q.privileged && !bit(e, 2)) return refuse(1, 0x81, at_input, input, depth, at, e);
            all_rw = all_rw && bit(e, 1);
            all_us = all_us && bit(e, 2);
            bool const refuses = q.w && !q.inquires && bound && !bit(e, 1);
            if (refuses && lacks.level < 0) lacks = refuse(1, 0x85, at_input, input, depth, at, e);
            if (page && lacks.level >= 0) return lacks;

            bool const writes = all_rw || !bound;
            std::uint64_t fresh = e | 0x20;
            if (eafe) fresh |= 0x400;
            if (page && q.w && writes) fresh |= 0x40;
            if (fresh != e) {
                debt const update{true, at, e, fresh, depth};
                // Without snooping the need alone is the fault, at once.
                if (!snoops) return refuse(1, 0x90, at_table, input, depth, at, e);
                if (page) {
                    leave = update;
                } else {
                    answer why;
                    exchange const how = update_first(u, s, input, update, root, m, why);
                    again = how == changed;
                    if (how == failed || (again && tries == patience)) return why;
                }
            }
            if (!page) {
                table = e & 0x000ffffffffff000;
                continue;
            }
            std::uint64_t const size = std::uint64_t{1} << shift;
            answer a;
            a.ok = true;
            a.output = (e & 0x000ffffffffff000) / size * size + input % size;
            bool const pat = bit(e, level == 1 ? 7 : 12);
            // A no-write inquiry leaves D alone, so it is promised writing only where D is set.
            bool const promised = writes && !(q.inquires && !q.w && !bit(e, 6));
            a.attributes = 1u + (promised ? 2u : 0u) + (e & 0x18) + (pat ? 0x80u : 0u) + (all_us ? 0u : 0x20u);
            a.lg2 = shift;
            return a;
        }
    }
}

// --- responses -----------------------------------------------------------------------------------------------------------

inline answer reported_as(answer a, bool fpd, int type) {
    if (a.ok) return a;
    bool qualified = true;
    unsigned const unqualified[] = {0x0,  0x29, 0x30, 0x31, 0x32, 0x33, 0x34, 0x38, 0x39,
                                    0x3a, 0x40, 0x50, 0x58, 0x08, 0x01, 0x0a, 0x09};
    for (unsigned const code : unqualified)
        if (a.code == code) qualified = false;
    // S0 and SP: ATS tells the device.
    bool told = false;
    unsigned const recoverable[] = {0x51, 0x59, 0x5c, 0x5d, 0x70, 0x71, 0x72, 0x73, 0x74, 0x75, 0x76, 0x77,
                                    0x79, 0x80, 0x81, 0x83, 0x84, 0x85, 0x86, 0x90, 0x04, 0x05, 0x06};
    for (unsigned const code : recoverable)
        if (a.code == code) told = type == vtd_model::translation;
    a.reported = a.code != 0 && !(fpd && qualified) && !told;
    return a;
}

// What the device of a request is bound to. `f` receives the fault where there is one: then false.
inline bool find(unit const& u, ask const& q, memory const& m, space& s, answer& f) {
    f = answer{};
    f.input = q.address;
    auto const fails = [&](unsigned code) {
        f.code = code;
        return false;
    };
    s = space{};
    s.ssirwe = bit(u.rtaddr, 7) && bit(u.ecap, 57);
    bool const asks = q.type == vtd_model::translation;
    bool const translated = q.type == vtd_model::translated;
    bool const page_request = q.type == vtd_model::page_request;

    if (!bit(u.ecap, 43)) return fails(0x30);
    bool const er = q.execute && q.has_pasid; // without PASID, ER is 0
    if (er && !page_request && u.major >= 8) return fails(0x34);

    // Root entry: one half of it.
    std::uint64_t const root_at = (u.rtaddr & ~std::uint64_t{0xfff}) + (q.source >> 8 & 0xff) * 16;
    std::uint64_t half[2]{};
    f.descriptor = root_at;
    if (!m.read(root_at, half[0]) || !m.read(root_at + 8, half[1])) return fails(0x38);
    unsigned const mine = q.source >> 7 & 1;
    f.descriptor = root_at + 8 * mine;
    f.entry = half[mine];
    if (!bit(half[mine], 0)) return fails(0x39);
    for (unsigned h = 0; h < 2; ++h) {
        if (h != mine && !(u.both_halves && bit(half[h], 0))) continue;
        if (any_bit(half[h], 11, 1) || any_bit(half[h], 63, u.haw)) return fails(0x3a);
    }

    // Context entry.
    std::uint64_t const context_at = (half[mine] & ~std::uint64_t{0xfff}) + (q.source & 0x7f) * 32;
    std::uint64_t c[4]{};
    f.descriptor = context_at;
    f.entry = 0;
    for (unsigned i = 0; i < 4; ++i)
        if (!m.read(context_at + 8 * i, c[i])) return fails(0x40);
    f.entry = c[0];
    s.fpd = bit(c[0], 1);
    bool const dte = bit(c[0], 2);
    bool const paside = bit(c[0], 3);
    bool const pre = bit(c[0], 4);
    bool const eptr = bit(c[0], 6);
    if (!bit(c[0], 0)) return fails(0x41);
    bool bad = any_bit(c[0], 8, 7) || any_bit(c[0], 63, u.haw) || any_bit(c[1], 63, 21) || c[2] != 0 || c[3] != 0;
    bad = bad || (dte && !bit(u.ecap, 2)) || (paside && !bit(u.ecap, 40)) || (pre && !bit(u.ecap, 29));
    bad = bad || bit(c[0], 5); // HPTE: no host permission tables here
    bad = bad || (eptr && !bit(u.ecap, 56));
    bad = bad || (any_bit(c[1], 19, 0) && !bit(u.ecap, 49)) || (bit(c[1], 20) && !bit(u.ecap, 53));
    if (bad) return fails(0x42);
    unsigned const pdts = static_cast<unsigned>(c[0] >> 9 & 7);
    std::uint64_t const last_pasid = (std::uint64_t{1} << (pdts + 13)) - 1;
    std::uint64_t const rid_pasid = c[1] & 0xfffff;
    if (!dte && pre) return fails(0x43);
    if (rid_pasid > last_pasid) return fails(0x43);
    if (eptr && !paside) return fails(0x43);
    if ((asks || translated) && !dte) return fails(0x44);
    if (q.has_pasid) {
        // 45h is not for translated requests: 49h is. Without PASID support there is no width.
        if (!paside && !translated) return fails(0x45);
        unsigned const width = bit(u.ecap, 40) ? static_cast<unsigned>(u.ecap >> 35 & 31) + 1 : 0;
        if (q.pasid >= std::uint64_t{1} << width) return fails(0x89);
        if (q.pasid > last_pasid) return fails(0x46);
    }
    if (page_request && !pre) return fails(0x47);
    if (q.has_pasid && q.pasid == rid_pasid) return fails(0x48);
    if (q.has_pasid && translated && bit(u.ecap, 56) && !eptr) return fails(0x49);
    if (translated) return true;

    std::uint64_t const pasid = q.has_pasid ? q.pasid : rid_pasid;
    s.privileged = q.has_pasid ? q.privileged : bit(c[1], 20);

    // PASID directory entry.
    std::uint64_t const directory_at = (c[0] & ~std::uint64_t{0xfff}) + (pasid >> 6) * 8;
    std::uint64_t d = 0;
    f.descriptor = directory_at;
    f.entry = 0;
    if (!m.read(directory_at, d)) return fails(0x50);
    f.entry = d;
    s.fpd = s.fpd || bit(d, 1);
    if (!bit(d, 0)) return fails(0x51);
    if (any_bit(d, 11, 2) || any_bit(d, 63, u.haw)) return fails(0x52);

    // PASID table entry.
    std::uint64_t const pasid_at = (d & ~std::uint64_t{0xfff}) + (pasid & 63) * 64;
    std::uint64_t(&p)[8] = s.entry;
    f.descriptor = pasid_at;
    f.entry = 0;
    for (unsigned i = 0; i < 8; ++i)
        if (!m.read(pasid_at + 8 * i, p[i])) return fails(0x58);
    f.entry = p[0];
    s.fpd = s.fpd || bit(p[0], 1);
    if (!bit(p[0], 0)) return fails(0x59);

    s.pgtt = static_cast<unsigned>(p[0] >> 6 & 7);
    bool const no_second = s.pgtt == 1 || s.pgtt == 4; // AW, SSADE and SSPTPTR are ignored
    bool const no_first = s.pgtt == 2 || s.pgtt == 4;  // WPE, EAFE and FSPTPTR are ignored
    bad = bit(p[0], 5) || any_bit(p[0], 11, 10);
    bool const aw_set = any_bit(p[0], 4, 2);
    bool const ssade_set = bit(p[0], 9);
    bool const ssptptr_set = any_bit(p[0], 63, 12);
    if (u.manual_fields || !no_second) {
        bad = bad || ((aw_set || ssade_set || ssptptr_set) && !bit(u.ecap, 46));
        bad = bad || (ssade_set && !bit(u.ecap, 45));
    }
    if (!no_second) bad = bad || any_bit(p[0], 63, u.haw);
    unsigned const did_bits = 4 + 2 * static_cast<unsigned>(u.cap & 7);
    if (did_bits < 16) bad = bad || any_bit(p[1], 15, did_bits);
    bad = bad || any_bit(p[1], 22, 16) || any_bit(p[1], 31, 27);
    bad = bad || (bit(p[1], 23) && !bit(u.ecap, 48));                                             // PWSNP
    bad = bad || (bit(p[1], 24) && !bit(u.ecap, 7));                                              // PGSNP
    bad = bad || ((bit(p[1], 25) || bit(p[1], 26) || any_bit(p[1], 63, 32)) && !bit(u.ecap, 25)); // CD, EMTE, PAT
    bad = bad || (bit(p[2], 0) && !bit(u.ecap, 31));                                              // SRE
    bad = bad || bit(p[2], 1) || any_bit(p[2], 11, 8);
    bad = bad || ((any_bit(p[2], 3, 2) || bit(p[2], 4) || any_bit(p[2], 63, 12)) && !bit(u.ecap, 47)); // FSPM, WPE, FSPTPTR
    bad = bad || (bit(p[2], 7) && !bit(u.ecap, 34));                                                   // EAFE
    if (!no_first) bad = bad || any_bit(p[2], 63, u.haw);
    for (unsigned i = 3; i < 8; ++i)
        bad = bad || p[i] != 0;
    if (bad) return fails(0x5a);

    bool legal = false;
    if (s.pgtt == 1) legal = bit(u.ecap, 47);
    if (s.pgtt == 2) legal = bit(u.ecap, 46);
    if (s.pgtt == 3) legal = bit(u.ecap, 26);
    if (s.pgtt == 4) legal = bit(u.ecap, 6);
    if (!legal) return fails(0x5b);
    if (!no_second) {
        unsigned const aw = static_cast<unsigned>(p[0] >> 2 & 7);
        if (aw < 1 || aw > 3 || !bit(u.cap, 8 + aw)) return fails(0x5b);
    }
    if (!no_first) {
        unsigned const fspm = static_cast<unsigned>(p[2] >> 2 & 3);
        if (fspm > 1 || (fspm == 1 && !bit(u.cap, 60))) return fails(0x5b);
    }
    if (s.pgtt == 3 && any_bit(p[2], 63, second_width(u, second_levels(s)))) return fails(0x5b);
    if (page_request) return true;
    if (er && !bit(u.ecap, 30)) return fails(0x5c);
    if (s.privileged && !bit(p[2], 0)) return fails(0x5d);
    return true;
}

// One request in scalable mode; the other modes are the legacy model's, which knows no execute requests.
inline answer translate(unit const& u, ask const& q, memory const& m) {
    unsigned const ttm = static_cast<unsigned>(u.rtaddr >> 10 & 3);
    bool const asks = q.type == vtd_model::translation;
    bool const in_range = u.ranges && q.address >= 0xfee00000 && q.address <= 0xfeefffff;
    // AT = 11, and a write with AT = 01, which is a read: refused without a fault.
    if (u.on && (q.type == reserved_type || (asks && q.write))) {
        answer f;
        f.input = q.address;
        f.at = at_input;
        return reported_as(f, false, q.type);
    }
    bool const special = in_range && !q.has_pasid && (q.type == vtd_model::untranslated || asks);
    if (!u.on || special || ttm != 1) {
        answer a;
        static_cast<vtd_model::answer&>(a) = vtd_model::translate(u, q, m.read);
        return a;
    }

    space s;
    answer f;
    if (!find(u, q, m, s, f)) return reported_as(f, s.fpd, q.type);
    f = answer{};
    f.input = q.address;
    f.at = at_input;
    answer pass;
    pass.ok = true;
    pass.output = q.address;
    pass.lg2 = 64;
    if (q.type == vtd_model::page_request) {
        pass.by = queued;
        return pass;
    }

    // No tables: a translated request, or pass-through.
    if (q.type == vtd_model::translated || s.pgtt == 4) {
        if (any_bit(q.address, 63, u.haw)) {
            f.code = 0x83;
            return reported_as(f, s.fpd, q.type);
        }
        if (in_range && !asks) {
            f.code = 0x87;
            return reported_as(f, s.fpd, q.type);
        }
        pass.attributes = 3;
        pass.by = vtd_model::bypassed;
        return pass;
    }

    want w;
    w.r = q.read || q.execute;
    w.w = q.write;
    if (asks) w.w = !(q.no_write && bit(u.ecap, 33));
    w.zero_length = q.bytes == 0;
    w.inquires = asks;
    w.privileged = s.privileged;
    for (unsigned tries = 0;; ++tries) {
        answer a;
        debt of_first;
        debt of_second;
        std::uint64_t middle = 0;
        if (s.pgtt == 2) {
            a = second(u, s, q.address, w, m, &of_second);
        } else {
            a = first(u, s, q.address, w, m, of_first);
        }
        if (!a.ok) return reported_as(a, s.fpd, q.type);
        if (s.pgtt == 3) {
            middle = a.output;
            want rest = w;
            bool const first_writes = bit(a.attributes, 1);
            if (asks && !first_writes) rest.w = false; // what is not granted is not dirtied
            answer b = second(u, s, middle, rest, m, &of_second);
            if (!b.ok) {
                b.input = q.address;
                b.intermediate = middle;
                return reported_as(b, s.fpd, q.type);
            }
            bool const second_writes = bit(b.attributes, 1);
            if (asks && !second_writes && of_first.owed) {
                of_first.fresh = (of_first.fresh & ~std::uint64_t{0x40}) | (of_first.old & 0x40);
                of_first.owed = of_first.fresh != of_first.old;
            }
            answer both;
            both.ok = true;
            both.output = b.output;
            both.attributes = (a.attributes & b.attributes & 3) | (a.attributes & ~std::uint64_t{7}) | (b.attributes & 0x800);
            both.lg2 = a.lg2 < b.lg2 ? a.lg2 : b.lg2;
            a = both;
        }

        std::uint64_t from = a.output; // an access counts with its address, a translation request with its whole page
        std::uint64_t to = a.output;
        if (asks) {
            from = a.output >> a.lg2 << a.lg2;
            to = from + ((std::uint64_t{1} << a.lg2) - 1);
        }
        if (u.ranges && from <= 0xfeefffff && to >= 0xfee00000) {
            f.code = 0x87;
            f.stage = s.pgtt == 1 ? 1 : 2;
            return reported_as(f, s.fpd, q.type);
        }

        // Nothing refuses it: the leaves are marked, the second stage's and then the first's.
        if (of_second.owed) {
            exchange const how = m.replace(of_second.at, of_second.old, of_second.fresh);
            if (how == changed && tries < patience) continue;
            if (how != done) {
                answer why = refuse(2, 0x7d, at_table, q.address, of_second.level, of_second.at, of_second.old);
                if (s.pgtt == 3) why.intermediate = middle;
                return reported_as(why, s.fpd, q.type);
            }
        }
        if (of_first.owed) {
            answer why;
            bool const root = of_first.level == static_cast<int>(first_levels(s)) - 1;
            exchange const how = update_first(u, s, q.address, of_first, root, m, why);
            if (how == changed && tries < patience) continue;
            if (how != done) return reported_as(why, s.fpd, q.type);
        }
        return a;
    }
}

} // namespace vtd_scalable_model
