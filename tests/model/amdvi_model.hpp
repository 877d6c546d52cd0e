// A naive interpreter of AMD-Vi, from the specification alone: it includes nothing of the library and shares no code with it.
// Plain integers, one test after the other in the specification's order, bits by their printed numbers. Where the specification
// leaves something open, the comment says which reading is taken here.
//
// Memory requests, those of ATS among them, and interrupt messages. Left out: RMP checks, MARC apertures, the hardware vIOMMU,
// page requests, and what happens to an event after it was formed. A DTE is fetched anew each time.
#pragma once

#include <cstdint>
#include <functional>

namespace amdvi_model {

struct unit {
    std::uint64_t efr = 0;
    std::uint64_t efr2 = 0;
    std::uint64_t control = 0;
    std::uint64_t devtab_base[8]{};
    std::uint64_t exclusion_base = 0;
    std::uint64_t exclusion_limit = 0;
    bool iotlb = false; // IotlbSup of the PCI capability
    bool snp = false;   // SNP is enabled

    bool interrupt_range = true;             // false: FEE0_0000h to FEEF_FFFFh is nothing special
    bool past_table_page_fault = false;      // no DTE for a DeviceID is IO_PAGE_FAULT
    bool illegal_mode_page_fault = false;    // Mode 7, or more levels than there are, is IO_PAGE_FAULT
    bool guest_disabled_ignored = false;     // without GTEn GV counts as 0
    bool exclusion_translation_only = false; // the exclusion range is for translation requests alone
    bool ht_reserved = false;                // HyperTransport's ranges are special
    bool page_migration = false;             // bits 58:57 of a host leaf are not reserved
    bool permission_first = false;           // rights are judged before reserved bits
    bool host_accessed_leaf_only = false;    // only host leaves have A updated
    bool gcr3_pointers_as_root = false;      // GCR3 tables stand where the first of them stands: both system, or both guest
    bool write_protect_users_only = false;   // supervisors write whatever R/W says
};

// Kinds of requests.
constexpr unsigned untranslated = 0;
constexpr unsigned translation_request = 1; // ATS: which address and which rights? `write` unless NW is set
constexpr unsigned translated = 2;          // ATS: the device has asked before

// An atomic reads and writes. Neither counts as a read, and whoever executes reads.
struct ask {
    unsigned kind = untranslated;
    std::uint16_t device = 0;
    bool has_pasid = false;
    std::uint32_t pasid = 0;
    std::uint64_t address = 0;
    bool read = false;
    bool write = false;
    bool execute = false;
    bool privileged = false;
};

enum exchange { done = 0, changed = 1, failed = 2 };

// 64-bit little-endian words by their addresses. `read` says false where there is none. `replace` writes `fresh` where `old`
// still stands.
struct memory {
    std::function<bool(std::uint64_t at, std::uint64_t& value)> read;
    std::function<exchange(std::uint64_t at, std::uint64_t old, std::uint64_t fresh)> replace;
};

constexpr unsigned patience = 8; // so often a walk of tables starts again, because somebody else has changed an entry under it

// Event codes.
constexpr unsigned illegal_dev_table_entry = 1;
constexpr unsigned io_page_fault = 2;
constexpr unsigned dev_tab_hardware_error = 3;
constexpr unsigned page_tab_hardware_error = 4;
constexpr unsigned invalid_device_request = 8;

// Flags of events.
constexpr unsigned flag_gn = 0x001;
constexpr unsigned flag_nx = 0x002;
constexpr unsigned flag_us = 0x004;
constexpr unsigned flag_i = 0x008;
constexpr unsigned flag_pr = 0x010;
constexpr unsigned flag_rw = 0x020;
constexpr unsigned flag_pe = 0x040;
constexpr unsigned flag_rz = 0x080;
constexpr unsigned flag_tr = 0x100;

// What an access of the IOMMU's own is for.
constexpr unsigned for_request = 0;
constexpr unsigned for_reading = 1;  // of a guest table
constexpr unsigned for_updating = 2; // of A and D in one

struct answer {
    bool ok = false;

    std::uint64_t address = 0;
    unsigned lg2 = 64;     // of the smaller leaf; 64 where no table was walked
    bool bypassed = false; // no table was walked
    bool interrupt = false;
    bool r = false; // rights of a requester of this privilege: the device's, the guest's, the host's
    bool w = false;
    bool x = false;  // only guest tables know it
    bool u = false;  // bit 59 of the host leaf
    bool fc = false; // bit 60
    // Of the guest leaf.
    bool pwt = false;
    bool pcd = false;
    bool pat = false;
    bool supervisor_only = false; // U is 0 somewhere on the guest path

    unsigned event = 0;         // 0: refused without one
    bool recorded = false;      // if the log can be written
    bool once = false;          // SE: the device's next page faults are not recorded
    unsigned stage = 0;         // 0 configuration, 1 guest, 2 host
    unsigned flags = 0;         // as the event has them
    unsigned type = 0;          // of hardware errors and INVALID_DEVICE_REQUEST
    std::uint32_t domain = 0;   // as recorded: 0 where GN is set, or the event has none
    std::uint32_t pasid = 0;    // as recorded
    std::uint64_t reported = 0; // the event's second word
    std::uint64_t gpa = 0;      // of a fault of the host: what was looked for in its tables
    std::uint64_t entry_at = 0; // the entry to blame: of tables, the DTE or the IRTE; 0 where there is none
    std::uint64_t entry = 0;    // and its value (the DTE's first word); 0 where it cannot be read
    unsigned level = 0;         // 1 to 6 in page tables, 1 to 3 in GCR3 tables, 0 elsewhere and where there is none
    bool gcr3 = false;          // it is one of a GCR3 table
    bool behind = false;        // its address is a guest physical one,
    std::uint64_t system = 0;   // and this is what the host makes of it; otherwise the same

    unsigned purpose = for_request; // of the host's walk that failed
    bool again = false;             // the entry has changed meanwhile,
    bool leaf = false;              // and it maps the page of the request
    bool tired = false;             // it changed again and again
};

// --- bits -------------------------------------------------------------------------------------------------------------

inline bool bit(std::uint64_t value, unsigned n) { return (value >> n & 1) != 0; }
inline unsigned bits(std::uint64_t value, unsigned high, unsigned low) {
    return static_cast<unsigned>(value >> low & ((std::uint64_t{2} << (high - low)) - 1));
}
inline bool any(std::uint64_t value, unsigned high, unsigned low) {
    return (value >> low & ((std::uint64_t{2} << (high - low)) - 1)) != 0;
}
// 2^n or more
inline bool beyond(std::uint64_t value, unsigned n) { return n < 64 && value >> n != 0; }
inline std::uint64_t align(std::uint64_t value, unsigned lg2) { return lg2 > 63 ? 0 : value >> lg2 << lg2; }
inline std::uint64_t inside(std::uint64_t value, unsigned lg2) { return value - align(value, lg2); }
inline unsigned least(unsigned a, unsigned b) { return a < b ? a : b; }

constexpr std::uint64_t address_51_12 = 0x000ffffffffff000;
constexpr std::uint64_t address_51_6 = 0x000fffffffffffc0;

// --- what the registers say -----------------------------------------------------------------------------------------

inline bool is_on(unit const& u) { return bit(u.control, 0); }
inline bool xt_sup(unit const& u) { return bit(u.efr, 2); }
inline bool nx_sup(unit const& u) { return bit(u.efr, 3); }
inline bool gt_sup(unit const& u) { return bit(u.efr, 4); }
inline bool ga_sup(unit const& u) { return bit(u.efr, 7); }
inline unsigned gats(unit const& u) { return bits(u.efr, 13, 12); }
inline unsigned glx_sup(unit const& u) { return bits(u.efr, 15, 14); }
inline unsigned gam_sup(unit const& u) { return bits(u.efr, 23, 21); }
inline bool sats_sup(unit const& u) { return bit(u.efr, 31); }
inline unsigned pasid_width(unit const& u) { return bits(u.efr, 36, 32) + 1; }
inline bool us_sup(unit const& u) { return bit(u.efr, 37); }
inline bool snoop_attr_sup(unit const& u) { return bit(u.efr, 47); }
inline bool gio_sup(unit const& u) { return bit(u.efr, 48); }
inline bool ha_sup(unit const& u) { return bit(u.efr, 49); }
inline bool eph_sup(unit const& u) { return bit(u.efr, 50); }
inline bool attr_fw_sup(unit const& u) { return bit(u.efr, 51); }
inline bool hd_sup(unit const& u) { return bit(u.efr, 52); }
inline bool viommu_sup(unit const& u) { return bit(u.efr, 55); }
inline bool snp_sup(unit const& u) { return bit(u.efr, 63); }

// Levels of host tables; none if HATS is 3.
inline unsigned host_levels(unit const& u) {
    unsigned const levels[] = {4, 5, 6, 0};
    return levels[bits(u.efr, 11, 10)];
}
// The hardware leaves A or D of guest entries alone.
inline bool keeps_guest_a(unit const& u) { return !(bit(u.control, 54) && bit(u.efr, 61)); }
inline bool keeps_guest_d(unit const& u) { return !(bit(u.control, 48) && bit(u.efr, 53)); }
// The DTE's GCR3 root is a guest physical address.
inline bool guest_gcr3_root(unit const& u) { return bit(u.control, 58) && bit(u.efr2, 3); }
inline bool wide_irtes(unit const& u) { return bit(u.control, 17) && ga_sup(u); }
inline bool wide_destinations(unit const& u) { return bit(u.control, 50) && xt_sup(u) && wide_irtes(u); }
inline bool many_irtes(unit const& u) { return bits(u.control, 44, 43) == 1 && bits(u.efr2, 9, 8) == 1; }

// What DevTblSegEn selects. More segments than there may be count as one.
inline unsigned segment_bits(unit const& u) {
    unsigned const n = bits(u.control, 36, 34);
    return n > 3 || n > bits(u.efr, 39, 38) ? 0 : n;
}

// --- the device table ---------------------------------------------------------------------------------------------------

// A DTE as far as it is used; `guest` says that GV is honoured.
struct device {
    std::uint64_t word[4]{};
    std::uint64_t at = 0;
    bool found = false;

    bool guest = false;
    bool giov = false;
    unsigned mode = 0;
    unsigned had = 0;
    std::uint64_t root = 0;
    unsigned glx = 0;
    std::uint64_t gcr3 = 0;
    unsigned gpm = 0;
    bool ir = false;
    bool iw = false;
};

inline answer refuse(unsigned stage, unsigned event, unsigned flags = 0, std::uint64_t at = 0, unsigned level = 0,
                     std::uint64_t entry = 0) {
    answer a;
    a.stage = stage;
    a.event = event;
    a.flags = flags;
    a.entry_at = a.system = at;
    a.level = level;
    a.entry = entry;
    if (event == dev_tab_hardware_error || event == page_tab_hardware_error) a.type = 1; // master abort
    return a;
}
// What is wrong with a request of this device.
inline answer refuse(device const& d, unsigned event, unsigned flags = 0) { return refuse(0, event, flags, d.at, 0, d.word[0]); }

inline answer invalid_request(device const& d, unsigned type) {
    answer a = refuse(d, invalid_device_request);
    a.type = type;
    return a;
}

// The Size of a segment is compared as it stands, however many DeviceIDs fall into the segment.
inline bool find_device(unit const& u, std::uint16_t id, memory const& m, device& d, answer& why) {
    unsigned const n = segment_bits(u);
    std::uint64_t const base = u.devtab_base[id >> (16 - n)];
    unsigned const index = id & (0xffffu >> n);
    if (index >= (bits(base, 8, 0) + 1) * 128) {
        why = refuse(0, u.past_table_page_fault ? io_page_fault : illegal_dev_table_entry);
        return false;
    }
    d.at = (base & address_51_12) + std::uint64_t{index} * 32;
    for (unsigned n_word = 0; n_word < 4; ++n_word) {
        if (!m.read(d.at + 8 * n_word, d.word[n_word])) {
            why = refuse(0, dev_tab_hardware_error, 0, d.at);
            return false;
        }
    }
    d.found = true;
    std::uint64_t const w0 = d.word[0];
    std::uint64_t const w1 = d.word[1];
    d.had = bits(w0, 8, 7);
    d.mode = bits(w0, 11, 9);
    d.root = w0 & address_51_12;
    d.giov = bit(w0, 54);
    d.guest = bit(w0, 55) && gt_sup(u) && bit(u.control, 16); // GTEn
    d.glx = bits(w0, 57, 56);
    d.gcr3 =
        std::uint64_t{bits(w0, 60, 58)} << 12 | std::uint64_t{bits(w1, 31, 16)} << 15 | std::uint64_t{bits(w1, 63, 43)} << 31;
    d.ir = bit(w0, 61);
    d.iw = bit(w0, 62);
    d.gpm = bits(d.word[2], 55, 54);
    return true;
}

constexpr unsigned fine = 0;
constexpr unsigned reserved_bits = 1;
constexpr unsigned bad_encoding = 2;
constexpr unsigned bad_mode = 3; // which a policy makes a page fault

// Words 0 and 1, and GPM, of a DTE with V=1.
inline unsigned judge_for_memory(unit const& u, device const& d) {
    std::uint64_t const w0 = d.word[0];
    std::uint64_t const w1 = d.word[1];
    bool const tv = bit(w0, 1);

    if (any(w0, 3, 2) || bit(w0, 63)) return reserved_bits;
    if (any(w0, 6, 4) && !bit(u.efr2, 0)) return reserved_bits;
    if (d.had != 0 && !ha_sup(u)) return reserved_bits;
    if (d.had == 3 && !hd_sup(u)) return reserved_bits;
    if (bit(w0, 53) && !eph_sup(u)) return reserved_bits;
    if (bit(w0, 54) && !gio_sup(u)) return reserved_bits;
    if (!gt_sup(u) && (bit(w0, 55) || d.glx != 0 || d.gcr3 != 0)) return reserved_bits;
    if (bit(w0, 55) && !d.guest && !u.guest_disabled_ignored) return reserved_bits;
    if (bit(w1, 32) && !u.iotlb) return reserved_bits;
    if (bit(w1, 42) && !sats_sup(u)) return reserved_bits;
    if (d.gpm != 0 && !gt_sup(u)) return reserved_bits;

    if (bits(w1, 36, 35) == 3) return bad_encoding; // IoCtl
    if (!tv) return fine;
    if (host_levels(u) == 0 && d.root != 0) return bad_encoding; // whatever Mode is
    if (d.mode == 7 || d.mode > host_levels(u)) return u.illegal_mode_page_fault ? bad_mode : bad_encoding;
    if (d.had == 2) return bad_encoding;
    if (u.snp && d.mode == 0) return bad_encoding;
    if (d.guest) {
        if (d.glx == 3 || d.glx > glx_sup(u)) return bad_encoding;
        if (d.gpm >= 2 || (d.gpm == 1 && gats(u) == 0)) return bad_encoding;
    }
    return fine;
}

// Words 2 and 3 of a DTE with IV=1. V is not looked at.
inline unsigned judge_for_interrupts(unit const& u, device const& d) {
    std::uint64_t const w2 = d.word[2];
    std::uint64_t const w3 = d.word[3];
    if (any(w2, 53, 52)) return reserved_bits;
    if (any(w3, 52, 48) || any(w3, 13, 12)) return reserved_bits;
    if ((any(w3, 11, 0) || any(w3, 47, 14)) && !viommu_sup(u) && !snp_sup(u)) return reserved_bits;
    if (any(w3, 55, 54) && !attr_fw_sup(u)) return reserved_bits;
    if (any(w3, 63, 56) && !snoop_attr_sup(u)) return reserved_bits;
    if (bits(w2, 61, 60) == 3) return reserved_bits; // IntCtl
    if (bits(w2, 4, 1) >= 12) return bad_encoding;   // IntTabLen
    return fine;
}

// --- host tables ----------------------------------------------------------------------------------------------------------

// What is asked of tables.
struct want {
    bool r = false;
    bool w = false;
    bool x = false;
    bool user = false;
    bool asks = false; // a translation request: lacking a right is no fault
    bool own = false;  // by the IOMMU itself: the DTE's IR and IW do not count
};

// log2 of the size that the address field of a leaf with NextLevel 7 names
inline unsigned size_code(std::uint64_t e) {
    unsigned n = 12;
    while (n < 52 && bit(e, n))
        ++n;
    return n + 1;
}

// Tables are updated on the way, the leaf at the end.
inline answer host_once(unit const& u, device const& d, std::uint64_t address, want const& q, memory const& m) {
    bool r = q.own || d.ir;
    bool w = q.own || d.iw;
    std::uint64_t table = d.root;
    if (beyond(address, 12 + 9 * d.mode)) {
        answer a = refuse(2, io_page_fault);
        a.gpa = address;
        return a;
    }
    for (unsigned level = d.mode;;) {
        unsigned const shift = 12 + 9 * (level - 1);
        std::uint64_t const at = table + 8 * (address >> shift & (level == 6 ? 0x7f : 0x1ff));
        std::uint64_t e = 0;
        auto const refused = [&](unsigned event, unsigned flags) {
            answer a = refuse(2, event, flags, at, level, e);
            a.gpa = address;
            return a;
        };
        if (!m.read(at, e)) return refused(page_tab_hardware_error, 0);
        if (!bit(e, 0)) return refused(io_page_fault, 0);

        unsigned const next = bits(e, 11, 9);
        bool const leaf = next == 0 || next == 7; // in a level 6 entry too, as far as the reserved bits go
        std::uint64_t reserved = 0x1ff0000000000000;
        if (leaf) reserved = u.page_migration ? 0x01f0000000000000 : 0x07f0000000000000;
        r = r && bit(e, 61);
        w = w && bit(e, 62);
        bool const lacks = !q.asks && ((q.r && !r) || (q.w && !w));
        if (lacks && u.permission_first) return refused(io_page_fault, flag_pr | flag_pe);
        if ((e & reserved) != 0) return refused(io_page_fault, flag_pr | flag_rz);
        if (lacks) return refused(io_page_fault, flag_pr | flag_pe);

        std::uint64_t fresh = e;
        answer a;
        if (leaf) {
            if (level == 6) return refused(io_page_fault, flag_pr);
            unsigned const lg2 = next == 0 ? shift : size_code(e);
            if (next == 7 && (lg2 <= shift || lg2 >= shift + 9 || lg2 > 51)) return refused(io_page_fault, flag_pr);
            bool const marks = d.had == 3;
            if (d.had != 0) fresh |= 0x20;
            if (marks && q.w && w) fresh |= 0x40;
            // Whoever asks to read is not told of a right to write to a clean page.
            if (q.asks && !q.w && marks && !bit(e, 6)) w = false;
            a.ok = true;
            a.address = align(e & address_51_12, lg2) | inside(address, lg2);
            a.lg2 = lg2;
            a.r = r;
            a.w = w;
            a.u = bit(e, 59);
            a.fc = bit(e, 60);
        } else {
            if (next >= level) return refused(io_page_fault, flag_pr);
            if (align(inside(address, shift), 12 + 9 * next) != 0) return refused(io_page_fault, flag_pr);
            if (d.had != 0 && !u.host_accessed_leaf_only) fresh |= 0x20;
        }
        if (fresh != e) {
            exchange const how = m.replace(at, e, fresh);
            if (how != done) {
                a = refused(page_tab_hardware_error, 0);
                a.again = how == changed;
                a.leaf = leaf;
                return a;
            }
        }
        if (leaf) return a;
        table = e & address_51_12;
        level = next;
    }
}

// An entry that has changed before it could be updated makes these tables be walked again. In nested translation that of the page
// makes the guest's be walked again instead: `leaves_page`.
inline answer host(unit const& u, device const& d, std::uint64_t address, want const& q, memory const& m,
                   bool leaves_page = false) {
    for (unsigned tries = 0;; ++tries) {
        answer a = host_once(u, d, address, q, m);
        if (!a.again || (leaves_page && a.leaf)) return a;
        if (tries < patience) continue;
        a.again = false;
        a.tired = true;
        return a;
    }
}

// --- guest tables, alone or over the host's --------------------------------------------------------------------------------

// Where an entry of GCR3 or guest tables stands. `behind` the host's tables its address is a guest physical one; they must grant
// the reading or, for an update, the writing, and are marked for it.
inline answer locate(unit const& u, device const& d, std::uint64_t at, bool behind, unsigned purpose, memory const& m) {
    answer a;
    a.ok = true;
    a.address = at;
    if (!behind) return a;
    want q;
    q.own = true;
    q.r = purpose == for_reading;
    q.w = purpose == for_updating;
    a = host(u, d, at, q, m);
    if (!a.ok) a.purpose = purpose;
    return a;
}

// The base of the guest's root table.
inline answer gcr3(unit const& u, device const& d, std::uint32_t pasid, memory const& m) {
    if (beyond(pasid, 9 * (d.glx + 1)) || beyond(pasid, pasid_width(u))) return refuse(1, io_page_fault);
    bool const nested = d.mode != 0;
    bool const root_behind = nested && guest_gcr3_root(u);
    std::uint64_t table = d.gcr3;
    for (unsigned level = d.glx + 1; level > 0; --level) {
        bool const behind = level == d.glx + 1 || u.gcr3_pointers_as_root ? root_behind : nested;
        std::uint64_t const at = table + 8 * (pasid >> (9 * (level - 1)) & 0x1ff);
        answer const place = locate(u, d, at, behind, for_reading, m);
        if (!place.ok) return place;
        std::uint64_t e = 0;
        auto const refused = [&](unsigned event, unsigned flags) {
            answer a = refuse(1, event, flags, at, level, e);
            a.gcr3 = true;
            a.behind = behind;
            a.system = place.address;
            return a;
        };
        if (!m.read(place.address, e)) return refused(page_tab_hardware_error, 0);
        if (!bit(e, 0)) return refused(io_page_fault, 0);
        if (any(e, 11, 1) || any(e, 63, 52)) return refused(io_page_fault, flag_pr | flag_rz);
        table = e & address_51_12;
    }
    answer a;
    a.ok = true;
    a.address = table;
    return a;
}

// PASID 0 has unsigned addresses, the others have canonical ones.
inline bool in_range(unsigned levels, std::uint32_t pasid, std::uint64_t address) {
    unsigned const width = 12 + 9 * levels;
    if (pasid == 0) return !beyond(address, width);
    std::uint64_t const high = address >> (width - 1);
    return high == 0 || high == ~std::uint64_t{0} >> (width - 1);
}

// An update of a guest entry, not made yet.
struct debt {
    std::uint64_t at = 0; // guest physical in nested translation
    std::uint64_t old = 0;
    std::uint64_t fresh = 0;
    unsigned level = 0;
};

// Makes it. In nested translation the host must grant writing, for which its tables are walked once more.
inline answer settle(unit const& u, device const& d, debt const& owed, memory const& m) {
    answer a;
    a.ok = true;
    if (owed.fresh == owed.old) return a;
    bool const nested = d.mode != 0;
    answer const place = locate(u, d, owed.at, nested, for_updating, m);
    if (!place.ok) return place;
    exchange const how = m.replace(place.address, owed.old, owed.fresh);
    if (how == done) return a;
    a = refuse(1, page_tab_hardware_error, 0, owed.at, owed.level, owed.old);
    a.behind = nested;
    a.system = place.address;
    a.again = how == changed;
    return a;
}

// Rights are judged together, when the leaf has been read. Then the host judges the output and marks its leaf, and the guest's
// leaf is marked last.
inline answer guest_once(unit const& u, device const& d, std::uint32_t pasid, std::uint64_t root, std::uint64_t address,
                         want const& q, memory const& m) {
    bool const nested = d.mode != 0;
    unsigned const levels = d.gpm == 1 ? 5 : 4;
    if (!in_range(levels, pasid, address)) return refuse(1, io_page_fault);

    bool every_u = true;
    bool every_w = true;
    bool no_nx = true;
    bool blamed = false; // an entry withholds a right that is needed
    answer lacks;
    std::uint64_t table = root;
    for (unsigned level = levels;; --level) {
        unsigned const shift = 12 + 9 * (level - 1);
        std::uint64_t const at = table + 8 * (address >> shift & 0x1ff);
        answer const place = locate(u, d, at, nested, for_reading, m);
        if (!place.ok) return place;
        std::uint64_t e = 0;
        auto const refused = [&](unsigned event, unsigned flags) {
            answer a = refuse(1, event, flags, at, level, e);
            a.behind = nested;
            a.system = place.address;
            return a;
        };
        if (!m.read(place.address, e)) return refused(page_tab_hardware_error, 0);
        if (!bit(e, 0)) return refused(io_page_fault, 0);
        bool const ps = bit(e, 7) && level != 1;
        if (bit(e, 63) && !nx_sup(u)) return refused(io_page_fault, flag_pr | flag_rz);
        if (ps && level >= 4) return refused(io_page_fault, flag_pr | flag_rz);
        if (ps && level == 2 && any(e, 20, 13)) return refused(io_page_fault, flag_pr | flag_rz);
        if (ps && level == 3 && any(e, 29, 13)) return refused(io_page_fault, flag_pr | flag_rz);

        bool const free_to_write = !q.user && u.write_protect_users_only;
        every_u = every_u && bit(e, 2);
        every_w = every_w && (bit(e, 1) || free_to_write);
        no_nx = no_nx && !bit(e, 63);
        bool const refuses = (q.user && !bit(e, 2)) || (q.w && !bit(e, 1) && !free_to_write) || (q.x && bit(e, 63));
        if (refuses && !blamed) {
            lacks = refused(io_page_fault, flag_pr | flag_pe);
            blamed = true;
        }
        debt owed{at, e, e, level};
        if (keeps_guest_a(u)) owed.fresh |= 0x20;

        bool const leaf = ps || level == 1;
        if (!leaf) {
            answer const a = settle(u, d, owed, m);
            if (!a.ok) return a;
            table = e & address_51_12;
            continue;
        }

        bool const passes = every_u || !q.user;
        answer a;
        a.ok = true;
        a.r = passes;
        a.w = passes && every_w;
        a.x = passes && no_nx;
        if (!nested) {
            a.r = a.r && d.ir;
            a.w = a.w && d.iw;
            a.x = a.x && a.r;
            bool const refuses_too = (q.r && !d.ir) || (q.w && !d.iw);
            if (refuses_too && !blamed) {
                lacks = refused(io_page_fault, flag_pr | flag_pe);
                blamed = true;
            }
        }
        if (blamed && !q.asks) return lacks;
        a.lg2 = shift;
        a.address = align(e & address_51_12, shift) | inside(address, shift);
        a.pwt = bit(e, 3);
        a.pcd = bit(e, 4);
        a.pat = bit(e, level == 1 ? 7 : 12);
        a.supervisor_only = !every_u;
        if (nested) {
            want through;
            through.r = q.r;
            through.w = q.w && a.w; // nobody marks what the guest does not let be written
            through.asks = q.asks;
            answer const b = host(u, d, a.address, through, m, true);
            if (!b.ok) return b;
            a.address = b.address;
            a.lg2 = least(a.lg2, b.lg2);
            a.r = a.r && b.r;
            a.w = a.w && b.w;
            a.x = a.x && b.r;
            a.u = b.u;
            a.fc = b.fc;
        }
        if (keeps_guest_d(u)) {
            if (q.w && a.w) owed.fresh |= 0x40;
            if (q.asks && !q.w && !bit(e, 6)) a.w = false;
        }
        answer b = settle(u, d, owed, m);
        b.leaf = b.again;
        return b.ok ? a : b;
    }
}

// GCR3 tables are not updated: they are looked at once. In nested translation a change on the way to the page and one of the page
// are counted apart.
inline answer guest(unit const& u, device const& d, std::uint32_t pasid, std::uint64_t address, want const& q, memory const& m) {
    answer const base = gcr3(u, d, pasid, m);
    if (!base.ok) return base;
    unsigned tries = 0;
    unsigned page_tries = 0;
    for (;;) {
        answer a = guest_once(u, d, pasid, base.address, address, q, m);
        if (!a.again) return a;
        bool const of_page = d.mode != 0 && a.leaf;
        if ((of_page ? page_tries++ : tries++) < patience) {
            if (of_page) tries = 0;
            continue;
        }
        a.again = false;
        a.tired = true;
        return a;
    }
}

// --- a request ----------------------------------------------------------------------------------------------------------------

inline answer bypass(std::uint64_t address) {
    answer a;
    a.ok = true;
    a.address = address;
    a.bypassed = true;
    a.r = a.w = true;
    return a;
}
inline answer to_interrupts(std::uint64_t address) {
    answer a;
    a.ok = true;
    a.address = address;
    a.interrupt = true;
    a.w = true;
    return a;
}

// What every event keeps of the flags, and what it says besides. `a` has what was found out where it arose.
inline answer formed(answer a, device const& d, std::uint64_t address, bool with_pasid, std::uint32_t pasid) {
    unsigned known = 0xfff;
    if (a.event == illegal_dev_table_entry) known = flag_gn | flag_i | flag_rw | flag_rz | flag_tr;
    if (a.event == dev_tab_hardware_error) known = flag_i | flag_rw | flag_tr;
    if (a.event == page_tab_hardware_error) known = flag_gn | flag_i | flag_rw | flag_tr;
    if (a.event == invalid_device_request) known = flag_gn | flag_tr;
    a.flags &= known;
    if (with_pasid && (known & flag_gn) != 0) a.pasid = pasid & 0xfffff;
    bool const has_domain = a.event == io_page_fault || a.event == page_tab_hardware_error;
    if (!with_pasid && has_domain && d.found) a.domain = bits(d.word[1], 15, 0);
    a.reported = address;
    if (a.event == illegal_dev_table_entry) a.reported = align(address, 2);
    if (a.event == dev_tab_hardware_error || a.event == page_tab_hardware_error) a.reported = a.system;
    // Nothing is reported of a DeviceID that has no DTE.
    if ((a.event == illegal_dev_table_entry || a.event == io_page_fault) && !d.found) a.reported = 0;
    return a;
}

inline answer translate(unit const& u, ask const& q, memory const& m) {
    std::uint64_t const address = q.address;
    bool const asks = q.kind == translation_request;
    bool const untagged = !q.has_pasid && q.kind != translated; // what may be more than memory
    bool const plain_write = q.write && !q.read && !q.execute && !asks;
    device d;

    want wanted;
    wanted.w = q.write;
    wanted.x = q.execute;
    wanted.r = q.read || q.execute || !q.write;
    wanted.user = !(us_sup(u) && q.privileged);
    wanted.asks = asks;

    // Everything that leaves an event leaves through here. Before it is known which tables are used, a PASID is the request's.
    auto const fails = [&](answer a, bool by_guest = false) {
        bool const with_pasid = q.has_pasid || by_guest;
        bool const writes = a.purpose == for_request ? q.write : a.purpose == for_updating;
        if (writes) a.flags |= flag_rw;
        if (asks) a.flags |= flag_tr;
        if (with_pasid) {
            a.flags |= flag_gn;
            if (wanted.user) a.flags |= flag_us;
            if (q.execute && a.purpose == for_request) a.flags |= flag_nx;
        }
        a = formed(a, d, address, with_pasid, q.has_pasid ? q.pasid : 0);
        a.recorded = true;
        if (a.event == io_page_fault) {
            if (asks) a.recorded = (a.flags & flag_pr) != 0 && (a.flags & flag_pe) == 0; // the others are only told to the device
            if (d.found && bit(d.word[1], 34)) a.recorded = false;                       // SA
            a.once = a.recorded && d.found && bit(d.word[1], 33);                        // SE
        }
        return a;
    };

    if (!is_on(u)) return asks ? answer{} : bypass(address);

    if (u.interrupt_range && untagged && address >= 0xfee00000 && address <= 0xfeefffff)
        return plain_write ? to_interrupts(address) : fails(invalid_request(d, 0));

    answer why;
    if (!find_device(u, q.device, m, d, why)) return fails(why);
    if (!bit(d.word[0], 0)) return bypass(address);
    unsigned const verdict = judge_for_memory(u, d);
    if (verdict == reserved_bits) return fails(refuse(d, illegal_dev_table_entry, flag_rz));
    if (verdict == bad_encoding) return fails(refuse(d, illegal_dev_table_entry));
    if (verdict == bad_mode) return fails(refuse(d, io_page_fault));

    bool const iotlb = bit(d.word[1], 32); // I
    if (q.kind == translated) return iotlb ? bypass(address) : fails(invalid_request(d, 1));
    if (asks && !iotlb) return fails(invalid_request(d, 1));

    if (u.ht_reserved && !bit(u.efr2, 11) && untagged && address >= 0xfd00000000 && address <= 0xffffffffff) {
        bool as_memory = false;
        if (address >= 0xfdf8000000 && address <= 0xfdf8ffffff) { // interrupts and EOI
            if (!plain_write) return fails(invalid_request(d, 0));
            if (bit(d.word[2], 0) && bits(d.word[2], 61, 60) == 0) return fails(invalid_request(d, 5));
            return to_interrupts(address);
        }
        if (address >= 0xfdf9100000 && address <= 0xfdf91fffff) { // system management
            unsigned const sys_mgt = bits(d.word[1], 41, 40);
            if (sys_mgt == 3)
                as_memory = true;
            else if (asks)
                return fails(invalid_request(d, 4));
            else if (sys_mgt == 0)
                return fails(invalid_request(d, plain_write ? 3 : 4));
            else if (sys_mgt == 1 || plain_write)
                return bypass(address);
            else
                return fails(invalid_request(d, 4));
        }
        if (address >= 0xfdfc000000 && address <= 0xfdfdffffff) { // port I/O
            unsigned const io_ctl = bits(d.word[1], 36, 35);
            if (io_ctl == 2)
                as_memory = true;
            else if (asks || io_ctl == 0)
                return fails(invalid_request(d, 2));
            else
                return bypass(address);
        }
        if (!as_memory) return fails(invalid_request(d, 6));
    }

    if (!bit(d.word[0], 1)) return fails(refuse(d, io_page_fault)); // TV

    // An excluded page: nothing is checked.
    if (bit(u.exclusion_base, 0) && !snp_sup(u) && untagged && (asks || !u.exclusion_translation_only)) {
        bool const honoured = bit(u.exclusion_base, 1) || bit(d.word[1], 39);
        std::uint64_t const first = u.exclusion_base & address_51_12;
        std::uint64_t const last = (u.exclusion_limit & address_51_12) | 0xfff;
        if (honoured && address >= first && address <= last) return bypass(address);
    }

    if (q.has_pasid && !d.guest) return fails(invalid_request(d, 7));
    bool const by_guest = d.guest && (q.has_pasid || d.giov);

    if (!by_guest && d.mode == 0) {
        bool const lacks = (wanted.r && !d.ir) || (wanted.w && !d.iw);
        if (lacks && !asks) return fails(refuse(d, io_page_fault, flag_pr | flag_pe));
        answer a = bypass(address);
        a.r = d.ir;
        a.w = d.iw;
        return a;
    }
    answer const a = by_guest ? guest(u, d, q.has_pasid ? q.pasid : 0, address, wanted, m) : host(u, d, address, wanted, m);
    return a.ok ? a : fails(a, by_guest);
}

// --- the completion of a translation request ------------------------------------------------------------------------------

struct completion {
    unsigned status = 0; // 0 success, 1 unsupported request, 2 completer abort
    bool r = false;
    bool w = false;
    bool x = false;
    bool untranslated_only = false; // U
    std::uint64_t address = 0;
    unsigned lg2 = 12;
};

inline completion complete(ask const& q, answer const& a) {
    completion c;
    if (!a.ok) {
        if (a.event == 0 || a.event == invalid_device_request)
            c.status = 1;
        else if (a.event != io_page_fault || ((a.flags & flag_pr) != 0 && (a.flags & flag_pe) == 0))
            c.status = 2;
        return c;
    }
    c.r = a.r;
    c.w = a.w;
    c.x = a.x && a.r && q.execute && q.has_pasid; // only to whom asks for it, with a PASID
    if (!c.r && !c.w) return c;
    c.untranslated_only = a.u;
    if (!a.bypassed) c.lg2 = a.lg2;
    c.address = align(a.address, c.lg2);
    return c;
}

// --- the record -----------------------------------------------------------------------------------------------------------

// The 16 bytes of the event of a failed request or message, if it is recorded.
inline void record(std::uint16_t id, answer const& a, std::uint64_t (&words)[2]) {
    words[0] = id | std::uint64_t{a.flags} << 48 | std::uint64_t{a.event} << 60;
    if ((a.flags & flag_gn) != 0)
        words[0] |= std::uint64_t{a.pasid >> 16 & 0xf} << 16 | std::uint64_t{a.pasid & 0xffff} << 32;
    else
        words[0] |= std::uint64_t{a.domain & 0xffff} << 32;
    words[0] |= std::uint64_t{a.type} << 57; // 58:57 or 59:57
    words[1] = a.reported;
}
inline void record(ask const& q, answer const& a, std::uint64_t (&words)[2]) { record(q.device, a, words); }

// --- interrupts -----------------------------------------------------------------------------------------------------------

struct message {
    std::uint16_t device = 0;
    std::uint64_t address = 0;
    std::uint32_t data = 0;
};

struct delivery {
    bool ok = false;
    bool forwarded = false; // as it is
    std::uint32_t destination = 0;
    unsigned vector = 0;
    unsigned type = 0; // 0 fixed, 1 arbitrated
    bool logical = false;
    bool request_eoi = false;
    bool guest = false; // GuestMode: to a virtual APIC. The destination is a physical one.
    std::uint32_t tag = 0;
    std::uint64_t vapic = 0;
    bool is_running = false;
    bool log = false;       // GALogIntr
    bool no_notice = false; // GAPPIDis
    std::uint64_t entry_at = 0;
    answer fault;
};

// Nothing says RW of an interrupt, though it comes as a write.
inline delivery remap(unit const& u, message const& msg, memory const& m) {
    delivery forwarded;
    forwarded.ok = forwarded.forwarded = true;
    device d;
    auto const fails = [&](answer a, bool quiet = false) {
        a.flags |= flag_i;
        delivery out;
        out.fault = formed(a, d, msg.address, false, 0);
        out.fault.recorded = !quiet;
        return out;
    };

    if (!is_on(u)) return forwarded;
    answer why;
    if (!find_device(u, msg.device, m, d, why)) return fails(why);
    std::uint64_t const w2 = d.word[2];
    if (!bit(w2, 0)) return forwarded; // IV
    unsigned const verdict = judge_for_interrupts(u, d);
    if (verdict == reserved_bits) return fails(refuse(d, illegal_dev_table_entry, flag_rz));
    if (verdict == bad_encoding) return fails(refuse(d, illegal_dev_table_entry));

    std::uint64_t index = bits(msg.data, 10, 0);
    if (!many_irtes(u)) {
        unsigned const mode = bits(msg.data, 10, 8);
        bool const logical = bit(msg.address, 2);
        if (mode == 2) return forwarded; // SMI
        if (mode == 3 || mode == 6) return fails(invalid_request(d, 6));
        if (mode == 4 || mode == 5 || mode == 7) {
            unsigned const pass = mode == 4 ? 58 : mode == 5 ? 56 : 57; // NMI, INIT, ExtINT
            if (!bit(w2, pass)) return fails(invalid_request(d, 5));
            if (logical) return fails(invalid_request(d, 6));
            return forwarded;
        }
        index = bits(msg.data, 8, 0); // bit 8 is set in those of lowest priority
    }
    unsigned const int_ctl = bits(w2, 61, 60);
    if (int_ctl == 0) return fails(invalid_request(d, 5));
    if (int_ctl == 1) return forwarded;

    // Whoever is past the table is recorded always.
    if (beyond(index, bits(w2, 4, 1))) return fails(refuse(0, io_page_fault));
    bool const wide = wide_irtes(u);
    std::uint64_t const at = (w2 & address_51_6) + index * (wide ? 16 : 4);
    std::uint64_t low = 0;
    std::uint64_t high = 0;
    bool const there = m.read(align(at, 3), low) && (!wide || m.read(at + 8, high));
    if (!there) return fails(refuse(0, page_tab_hardware_error, 0, at));
    if (!wide) low = bit(at, 2) ? low >> 32 : low & 0xffffffff;

    bool const quiet = bit(low, 1);                                                               // SupIOPF
    if (!bit(low, 0)) return fails(refuse(0, io_page_fault, 0, at, 0, low), quiet || bit(w2, 5)); // IG
    auto const refused = [&] { return fails(refuse(0, io_page_fault, flag_pr | flag_rz, at, 0, low), quiet); };

    delivery out;
    out.ok = true;
    out.entry_at = at;
    out.guest = bit(low, 7);
    if (out.guest && (!wide || gam_sup(u) == 0)) return refused();
    if (!out.guest) {
        out.type = bits(low, 4, 2);
        out.request_eoi = bit(low, 5);
        out.logical = bit(low, 6);
        if (out.type > 1) return refused();
    }
    out.destination = bits(low, 15, 8);
    if (!wide) {
        if (any(low, 31, 24)) return refused();
        out.vector = bits(low, 23, 16);
        return out;
    }
    out.vector = bits(high, 7, 0);
    if (wide_destinations(u)) {
        out.destination = bits(low, 31, 8) | bits(high, 63, 56) << 24;
    } else {
        if (any(low, 31, 16) || any(high, 63, 56)) return refused();
    }
    if (out.guest) {
        out.log = bit(low, 2);
        out.no_notice = bit(low, 3);
        out.is_running = bit(low, 6);
        out.tag = bits(low, 63, 32);
        out.vapic = high & address_51_12;
        if (any(low, 5, 4)) return refused(); // RqEoi's place is reserved here
        if (any(high, 11, 8) || any(high, 55, 52)) return refused();
    } else {
        if (any(low, 63, 32) || any(high, 55, 8)) return refused();
    }
    return out;
}

} // namespace amdvi_model
