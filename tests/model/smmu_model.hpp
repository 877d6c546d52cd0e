// A naive interpreter of SMMUv3 with VMSAv8-64, from the specification alone: it includes nothing of the library and shares
// no code with it. Plain integers, one test after the other in the specification's order, bits by their printed
// numbers. Where the specification leaves something open, the comment says which reading is taken here.
//
// Transactions of Non-secure streams, ordinary ones and those of ATS. Left out: VMSAv8-32 LPAE (but bit 0 of IDR0.TTF widens
// IAS), D128, RME, MPAM, DPT, permission indirection and overlays, translation hardening, NoTagAccess. Their ID bits count as 0.
#pragma once

#include <cstdint>
#include <functional>

namespace smmu_model {

struct unit {
    std::uint32_t idr0 = 0;
    std::uint32_t idr1 = 0;
    std::uint32_t idr3 = 0;
    std::uint32_t idr5 = 0;
    std::uint32_t aidr = 0;
    std::uint32_t cr0 = 0;
    std::uint32_t cr2 = 0;
    std::uint32_t gbpa = 0;
    std::uint64_t strtab_base = 0;
    std::uint32_t strtab_base_cfg = 0;

    bool oas_start_level = false;     // a second-stage start level that OAS does not justify is C_BAD_STE
    bool clamp_sizes = false;         // SMMUv3.0: T0SZ, T1SZ and S2T0SZ out of range count as the nearest that is in it
    bool pointer_faults_late = false; // Config 111: S1ContextPtr beyond IAS is left to the second stage
    unsigned entry_words = 8;         // so many words of STE and CD are read; what counts here is in the first 4
};

// Kinds of transactions.
constexpr unsigned ordinary = 0;
constexpr unsigned translation_request = 1; // ATS: which address and which rights? `write` unless NW is set
constexpr unsigned translated = 2;          // ATS: the device has asked before

// An atomic reads and writes. Neither counts as a read. `execute` is InD and `privileged` PnU, both as they come in.
struct ask {
    unsigned kind = ordinary;
    std::uint32_t stream = 0;
    bool has_substream = false;
    std::uint32_t substream = 0;
    std::uint64_t address = 0;
    bool read = false;
    bool write = false;
    bool execute = false;
    bool privileged = false;
    unsigned type = 0xff; // the memory type that comes in, like a byte of MAIR
    unsigned sh = 3;      // and its shareability, like a field SH
};

enum exchange { done = 0, changed = 1, failed = 2 };

// 64-bit little-endian words by their addresses. `read` says false where there is none. `replace` writes `fresh` where `old`
// still stands.
struct memory {
    std::function<bool(std::uint64_t at, std::uint64_t& value)> read;
    std::function<exchange(std::uint64_t at, std::uint64_t old, std::uint64_t fresh)> replace;
};

constexpr unsigned patience = 8; // so often somebody else may change an entry under a walk

constexpr unsigned c_bad_streamid = 0x02;
constexpr unsigned f_ste_fetch = 0x03;
constexpr unsigned c_bad_ste = 0x04;
constexpr unsigned f_bad_ats_treq = 0x05;
constexpr unsigned f_stream_disabled = 0x06;
constexpr unsigned f_transl_forbidden = 0x07;
constexpr unsigned c_bad_substreamid = 0x08;
constexpr unsigned f_cd_fetch = 0x09;
constexpr unsigned c_bad_cd = 0x0a;
constexpr unsigned f_walk_eabt = 0x0b;
constexpr unsigned f_translation = 0x10;
constexpr unsigned f_addr_size = 0x11;
constexpr unsigned f_access = 0x12;
constexpr unsigned f_permission = 0x13;

constexpr unsigned at_cd = 0; // CLASS
constexpr unsigned at_tt = 1;
constexpr unsigned at_in = 2;

constexpr unsigned no_level = 0xff;

struct answer {
    bool ok = false;

    std::uint64_t address = 0;
    unsigned lg2 = 64;     // of the smaller leaf; 64 where no table was walked
    bool bypassed = false; // no table was walked
    bool r = false;        // rights of a requester of this privilege, after both stages
    bool w = false;
    bool x = false;
    unsigned mair = 0;       // the byte that the first-stage leaf names
    unsigned s2_memattr = 0; // MemAttr of the second-stage leaf
    unsigned sh = 0;         // shareability of the first stage: of the leaf, or with DS of the context descriptor
    unsigned s2_sh = 0;      // and of the second
    unsigned type = 0;       // all together: the memory type, like a byte of MAIR
    unsigned sharing = 0;    // and the shareability, like a field SH

    unsigned event = 0;    // 0: aborted in silence
    bool recorded = false; // if the queue can be written
    bool stall = false;
    bool raz_wi = false; // terminated without an abort; false where it stalls
    unsigned stage = 0;  // 0 none
    unsigned cls = 0;
    std::uint64_t input = 0;
    std::uint64_t ipa = 0;           // of a fault of the second stage: all of it
    std::uint64_t fetch_address = 0; // of the descriptor to blame (physical) or of the fetch; 0 where there is none
    bool behind = false;             // nested: that is a first-stage descriptor, L1CD or CD,
    std::uint64_t fetch_ipa = 0;     // and this is its IPA
    std::uint64_t entry = 0;         // the descriptor to blame, or the first word of the STE, L1STD, L1CD or CD
    std::uint64_t entry_at = 0;      // where those of the configuration stand (a CD: as its table says)
    unsigned missing = 0;            // of F_PERMISSION: bit 0 read, 1 write, 2 execute
    bool pnu = false;
    bool ind = false;
    bool rnw = false;
    bool ttrnw = false;              // of F_PERMISSION with CLASS TT
    unsigned table_level = no_level; // of the descriptor to blame: 0 is level 3
    std::uint32_t substream = 0;     // of C_BAD_SUBSTREAMID
    unsigned row = 0;                // of the lists of C_BAD_STE and C_BAD_CD

    bool lacks_read = false; // the right that was missing first
};

// --- bits -------------------------------------------------------------------------------------------------------------

inline bool bit(std::uint64_t value, unsigned n) { return (value >> n & 1) != 0; }
inline unsigned bits(std::uint64_t value, unsigned high, unsigned low) {
    return static_cast<unsigned>(value >> low & ((std::uint64_t{2} << (high - low)) - 1));
}
// 2^n or more
inline bool beyond(std::uint64_t value, unsigned n) { return n < 64 && value >> n != 0; }
inline std::uint64_t align(std::uint64_t value, unsigned lg2) { return lg2 > 63 ? 0 : value >> lg2 << lg2; }
inline unsigned least(unsigned a, unsigned b) { return a < b ? a : b; }
inline unsigned greatest(unsigned a, unsigned b) { return a > b ? a : b; }

inline std::uint64_t swapped(std::uint64_t value) {
    std::uint64_t other = 0;
    for (unsigned i = 0; i < 8; ++i)
        other |= (value >> (8 * i) & 0xff) << (56 - 8 * i);
    return other;
}

constexpr std::uint64_t address_55_4 = 0x00fffffffffffff0;
constexpr std::uint64_t address_51_4 = 0x000ffffffffffff0;
constexpr std::uint64_t address_47_4 = 0x0000fffffffffff0;
constexpr std::uint64_t address_55_6 = 0x00ffffffffffffc0;
constexpr std::uint64_t address_55_12 = 0x00fffffffffff000;

// --- what the registers say -----------------------------------------------------------------------------------------

inline unsigned size_of(unsigned code) { // of OAS, IPS and S2PS
    unsigned const sizes[] = {32, 36, 40, 42, 44, 48, 52, 56};
    return sizes[code];
}
inline unsigned oas(unit const& u) { return least(size_of(bits(u.idr5, 2, 0)), 52); }         // 56 bits only with D128
inline unsigned ias(unit const& u) { return bit(u.idr0, 2) ? greatest(oas(u), 40) : oas(u); } // bit 2: LPAE
inline unsigned minor(unit const& u) { return bits(u.aidr, 3, 0); }
inline unsigned httu(unit const& u) { return bits(u.idr0, 7, 6); }

// The order of TG0 and S2TG. 0: reserved, or not implemented.
inline unsigned granule(unit const& u, unsigned code) {
    if (code == 0 && bit(u.idr5, 4)) return 12;
    if (code == 1 && bit(u.idr5, 6)) return 16;
    if (code == 2 && bit(u.idr5, 5)) return 14;
    return 0;
}
// The order of TG1.
inline unsigned upper_granule(unit const& u, unsigned code) {
    if (code == 1 && bit(u.idr5, 5)) return 14;
    if (code == 2 && bit(u.idr5, 4)) return 12;
    if (code == 3 && bit(u.idr5, 6)) return 16;
    return 0;
}

inline unsigned largest_size(unit const& u, unsigned g) { // TxSZ and S2T0SZ
    if (!bit(u.idr3, 9)) return 39;
    return g == 16 ? 47 : 48;
}

// --- the stages -----------------------------------------------------------------------------------------------------------

// What both stages have.
struct stage {
    unsigned g = 0; // log2 of the granule
    bool ds = false;
    unsigned iasize = 0;
    int start = 0;
    unsigned limit = 0; // bits of an output address
    std::uint64_t table = 0;
    bool big = false;
    bool affd = false;
    bool ha = false;
    bool hd = false;
    bool haft = false;
    unsigned sh = 0;     // with DS
    bool stalls = false; // S
    bool records = false;
};

struct stage_two : stage {
    bool ptw = false;
    bool fwb = false;
};

struct stage_one : stage {
    bool nested = false;
    bool one_privilege = false; // any-EL2
    bool wxn = false;
    bool pan = false;
    bool epan = false;
    bool had = false;
    bool aie = false;
    bool aborts = false; // A
    std::uint64_t mair = 0;
};

inline unsigned stride(stage const& s) { return s.g - 3; }
inline unsigned shift(stage const& s, int level) { return s.g + static_cast<unsigned>(3 - level) * stride(s); }

// Every address is below the effective size, and below 2^48 unless the granule is 64K or DS is on.
inline unsigned output_limit(unit const& u, unsigned size_code, unsigned g, bool ds) {
    unsigned const size = least(size_of(size_code), oas(u));
    return g == 16 || ds ? size : least(size, 48);
}

// Bits below the size of the start table count as 0. That it has 64 bytes at least with an effective size of 52 bits is taken
// for every granule, with DS and without.
inline std::uint64_t table_base(unit const& u, stage const& s, std::uint64_t field, unsigned size_code) {
    unsigned const lg2 = s.iasize - shift(s, s.start) + 3;
    unsigned const lowest = least(size_of(size_code), oas(u)) == 52 ? 6 : 4;
    return align(field, greatest(lg2, lowest));
}

inline bool is_table(std::uint64_t e, int level) { return level < 3 && (e & 3) == 3; }
inline bool is_leaf(unit const& u, stage const& s, std::uint64_t e, int level) {
    if (level == 3) return (e & 3) == 3;
    if ((e & 3) != 1) return false;
    if (level == 2) return true;
    if (level == 1 && s.g == 12) return true;
    if (level == 1 && s.g == 14) return s.ds;
    if (level == 1 && s.g == 16) return oas(u) >= 52;
    if (level == 0 && s.g == 12) return s.ds;
    return false;
}

// OA or next table. With 64K the bits 15:12 count wherever OAS has 52 bits, whatever the effective size is.
inline std::uint64_t address_in(unit const& u, stage const& s, std::uint64_t e) {
    if (s.g == 16) {
        std::uint64_t const low = e & 0x0000ffffffff0000;
        return oas(u) >= 52 ? low | std::uint64_t{bits(e, 15, 12)} << 48 : low;
    }
    if (s.ds) return align(e & 0x0003ffffffffffff, s.g) | std::uint64_t{bits(e, 9, 8)} << 50;
    return align(e & 0x0000ffffffffffff, s.g);
}

inline std::uint64_t descriptor_at(stage const& s, std::uint64_t table, std::uint64_t input, int level) {
    std::uint64_t index = input & ((std::uint64_t{1} << s.iasize) - 1); // bits above iasize never index
    index >>= shift(s, level);
    if (level != s.start) index &= (std::uint64_t{1} << stride(s)) - 1; // the start table may be concatenated
    return table + index * 8;
}

inline bool read_descriptor(stage const& s, memory const& m, std::uint64_t at, std::uint64_t& e) {
    if (!m.read(at, e)) return false;
    if (s.big) e = swapped(e);
    return true;
}
inline exchange replace_descriptor(stage const& s, memory const& m, std::uint64_t at, std::uint64_t old, std::uint64_t fresh) {
    return s.big ? m.replace(at, swapped(old), swapped(fresh)) : m.replace(at, old, fresh);
}

// What is asked of a stage.
struct want {
    bool r = false;
    bool w = false;
    bool x = false; // an instruction read, which needs r no more than the stage says
    bool privileged = false;
    bool implicit = false; // by the SMMU itself
    bool asks = false;     // a translation request: lacking a right is no fault, unless there is none at all
    unsigned cls = at_in;
};

// An update of a leaf, not made yet.
struct debt {
    bool owed = false;
    std::uint64_t at = 0;  // physical
    std::uint64_t ipa = 0; // of a first-stage descriptor in nested translation
    std::uint64_t old = 0;
    std::uint64_t fresh = 0;
    int level = 0;
};

inline answer refuse(unsigned number, unsigned event, unsigned cls, std::uint64_t fetch_address = 0, int level = 9,
                     std::uint64_t entry = 0) {
    answer a;
    a.entry = entry;
    a.stage = number;
    a.event = event;
    a.cls = cls;
    a.fetch_address = fetch_address;
    a.table_level = level > 3 ? no_level : static_cast<unsigned>(3 - level);
    return a;
}

// --- the second stage -----------------------------------------------------------------------------------------------

// `leave` receives the leaf's update.
inline answer second(unit const& u, stage_two const& s, std::uint64_t ipa, want const& q, memory const& m, debt& leave) {
    auto const refused = [&](unsigned event, std::uint64_t at = 0, int level = 9, std::uint64_t entry = 0) {
        answer a = refuse(2, event, q.cls, at, level, entry);
        a.ipa = ipa;
        return a;
    };
    if (beyond(ipa, s.iasize)) return refused(f_translation);

    for (unsigned tries = 0;; ++tries) {
        std::uint64_t table = s.table;
        bool again = false;
        for (int level = s.start; !again; ++level) {
            std::uint64_t const at = descriptor_at(s, table, ipa, level);
            std::uint64_t e = 0;
            if (!read_descriptor(s, m, at, e)) return refused(f_walk_eabt, at, level);
            bool const leaf = is_leaf(u, s, e, level);
            if (!leaf && !is_table(e, level)) return refused(f_translation, at, level, e);
            std::uint64_t const output = leaf ? align(address_in(u, s, e), shift(s, level)) : address_in(u, s, e);
            if (beyond(output, s.limit)) return refused(f_addr_size, at, level, e);

            std::uint64_t fresh = e;
            answer a;
            if (!leaf) {
                if (s.haft) fresh |= 0x400;
            } else {
                if (!bit(e, 10) && !s.ha && !s.affd) return refused(f_access, at, level, e);
                unsigned const memattr = bits(e, 5, 2);
                bool const device = s.fwb ? !bit(memattr, 2) : bits(memattr, 3, 2) == 0;
                bool const clean = s.hd && bit(e, 51) && !bit(e, 7); // writable, and not written yet
                bool const r = bit(e, 6);
                bool const w = bit(e, 7) || clean;
                bool x = !bit(e, 54);
                if (bit(u.idr3, 4)) {
                    unsigned const xn = bits(e, 54, 53);
                    x = q.privileged ? xn == 0 || xn == 3 : xn == 0 || xn == 1;
                }
                x = x && r;
                answer lacks = refused(f_permission, at, level, e);
                if ((q.r || q.x) && !r) lacks.missing |= 1; // an instruction is read
                if (q.w && !w) lacks.missing |= 2;
                if (q.x && !x) lacks.missing |= 4;
                if (q.implicit && s.ptw && device) return lacks;
                bool const refuses_read = (q.r && !r) || (q.x && !x);
                bool const refuses = refuses_read || (q.w && !w);
                if (q.asks ? !r && !w && !x : refuses) {
                    lacks.lacks_read = refuses_read;
                    return lacks;
                }
                if (s.ha) fresh |= 0x400;
                if (q.w && clean) fresh |= 0x80;
                a.ok = true;
                a.lg2 = shift(s, level);
                a.address = output | (ipa & ((std::uint64_t{1} << a.lg2) - 1));
                a.r = r;
                a.w = w && !(q.asks && !q.w && clean); // with NW the page stays clean: nobody may write it
                a.x = x;
                a.s2_memattr = memattr;
                a.s2_sh = s.ds ? s.sh : bits(e, 9, 8);
            }
            if (leaf) leave = debt{};
            if (fresh != e) {
                if (leaf) {
                    leave = {true, at, ipa, e, fresh, level};
                } else {
                    exchange const how = replace_descriptor(s, m, at, e, fresh);
                    again = how == changed;
                    if (how == failed || (again && tries == patience)) return refused(f_walk_eabt, at, level, e);
                }
            }
            if (again) break;
            if (leaf) return a;
            table = output;
        }
    }
}

// The second stage under an access that the SMMU makes itself: data, whatever the transaction is. An update is a write; that it
// reads too was granted when its descriptor was read. The second stage's leaf is marked, unless this is a `check`.
inline answer implicit(unit const& u, stage_two const& s, std::uint64_t ipa, bool writes, unsigned cls, memory const& m,
                       bool check = false) {
    want q;
    q.r = !writes;
    q.w = writes;
    q.privileged = true; // of no consequence: nothing is executed
    q.implicit = true;
    q.cls = cls;
    for (unsigned tries = 0;; ++tries) {
        debt owed;
        answer a = second(u, s, ipa, q, m, owed);
        if (a.event == f_permission && cls == at_tt) a.ttrnw = !writes;
        if (!a.ok || check || !owed.owed) return a;
        exchange const how = replace_descriptor(s, m, owed.at, owed.old, owed.fresh);
        if (how == done) return a;
        if (how == changed && tries < patience) continue;
        a = refuse(2, f_walk_eabt, cls, owed.at, owed.level, owed.old);
        a.ipa = ipa;
        return a;
    }
}

// --- the first stage, alone or over the second ---------------------------------------------------------------------------

// Makes an update of a first-stage descriptor. In nested translation the second stage must grant writing, and marks its own
// leaf for that. `why` receives the fault.
inline exchange update_first(unit const& u, stage_one const& s, stage_two const& two, debt const& d, memory const& m,
                             answer& why) {
    std::uint64_t at = d.at;
    if (s.nested) {
        answer const a = implicit(u, two, d.ipa, true, at_tt, m);
        if (!a.ok) {
            why = a;
            return failed;
        }
        at = a.address;
    }
    why = refuse(1, f_walk_eabt, at_tt, at, d.level, d.old);
    why.behind = s.nested;
    if (s.nested) why.fetch_ipa = d.ipa;
    return replace_descriptor(s, m, at, d.old, d.fresh);
}

// `leave` receives the leaf's update. `tries` counts how often an entry has changed.
inline answer first(unit const& u, stage_one const& s, stage_two const& two, std::uint64_t va, want const& q, memory const& m,
                    debt& leave, unsigned& tries) {
    for (;; ++tries) {
        std::uint64_t table = s.table;
        bool no_user = false; // APTable[0], and so on
        bool read_only = false;
        bool no_user_execute = false;
        bool no_privileged_execute = false;
        bool again = false;
        for (int level = s.start; !again; ++level) {
            std::uint64_t const ipa = descriptor_at(s, table, va, level);
            std::uint64_t at = ipa;
            if (s.nested) {
                answer const a = implicit(u, two, ipa, false, at_tt, m);
                if (!a.ok) return a;
                at = a.address;
            }
            std::uint64_t e = 0;
            auto const refused = [&](unsigned event, unsigned cls) {
                answer a = refuse(1, event, cls, at, level, e);
                a.behind = s.nested;
                if (s.nested) a.fetch_ipa = ipa;
                return a;
            };
            if (!read_descriptor(s, m, at, e)) return refused(f_walk_eabt, at_tt);
            bool const leaf = is_leaf(u, s, e, level);
            if (!leaf && !is_table(e, level)) return refused(f_translation, at_in);
            std::uint64_t const output = leaf ? align(address_in(u, s, e), shift(s, level)) : address_in(u, s, e);
            if (beyond(output, s.limit)) return refused(f_addr_size, at_in);

            if (!leaf) {
                if (!s.had) {
                    no_user = no_user || bit(e, 61);
                    read_only = read_only || bit(e, 62);
                    no_user_execute = no_user_execute || bit(e, 60);
                    no_privileged_execute = no_privileged_execute || bit(e, 59);
                }
                std::uint64_t const fresh = s.haft ? e | 0x400 : e;
                if (fresh != e) {
                    answer why;
                    exchange const how = update_first(u, s, two, {true, at, ipa, e, fresh, level}, m, why);
                    again = how == changed;
                    if (how == failed || (again && tries == patience)) return why;
                }
                table = output;
                continue;
            }

            if (!bit(e, 10) && !s.ha && !s.affd) return refused(f_access, at_in);

            bool const clean = s.hd && bit(e, 51) && bit(e, 7);
            bool const user = bit(e, 6) && !no_user;
            bool const writable = (!bit(e, 7) || clean) && !read_only;
            bool const uxn = bit(e, 54) || no_user_execute; // XN where there is one privilege
            bool const pxn = bit(e, 53) || no_privileged_execute;
            bool const user_w = user && writable;
            // Executing needs no reading: what may only be executed is executed.
            bool const user_x = !uxn && !(s.wxn && user_w);
            bool r = true;
            bool w = writable;
            bool x = false;
            if (s.one_privilege) {
                x = !uxn && !(s.wxn && writable);
            } else if (q.privileged) {
                x = !pxn && !user_w && !(s.wxn && writable);
                bool const users = user || (s.epan && user_x);
                if (s.pan && users) r = w = false;
            } else {
                r = user;
                w = user_w;
                x = user_x;
            }
            bool const refuses = (q.r && !r) || (q.x && !x) || (q.w && !w);
            if (q.asks ? !r && !w && !x : refuses) {
                answer lacks = refused(f_permission, at_in);
                lacks.lacks_read = (q.r && !r) || (q.x && !x);
                lacks.missing = (q.r && !r ? 1u : 0u) | (q.w && !w ? 2u : 0u) | (q.x && !x ? 4u : 0u);
                return lacks;
            }

            std::uint64_t fresh = e;
            if (s.ha) fresh |= 0x400;
            if (q.w && w && clean) fresh &= ~std::uint64_t{0x80};
            leave = debt{};
            if (fresh != e) leave = {true, at, ipa, e, fresh, level};
            answer a;
            a.ok = true;
            a.lg2 = shift(s, level);
            a.address = output | (va & ((std::uint64_t{1} << a.lg2) - 1));
            a.r = r;
            a.w = w && !(q.asks && !q.w && clean);
            a.x = x;
            unsigned index = bits(e, 4, 2);
            if (s.aie && bit(e, 59)) index = 7; // 8 and more
            a.mair = static_cast<unsigned>(s.mair >> (8 * index) & 0xff);
            a.sh = s.ds ? s.sh : bits(e, 9, 8);
            return a;
        }
    }
}

// --- the stream table entry ---------------------------------------------------------------------------------------------

// STRW counts.
inline bool has_world(unit const& u, std::uint64_t const (&e)[8]) {
    return bit(u.idr0, 1) && bit(u.idr0, 9) && bits(e[0], 3, 1) == 5;
}

constexpr int reserved_start = 9;

// S2SL0 and S2SL0_2.
inline int second_start(unit const& u, unsigned g, bool ds, unsigned sl0, bool sl0_2) {
    int const sl = static_cast<int>(sl0);
    if (g == 12) {
        if (ds && sl0_2) return sl0 == 0 ? -1 : reserved_start;
        if (sl0 == 3) return bit(u.idr3, 9) ? 3 : reserved_start;
        return 2 - sl;
    }
    if (g == 14 && sl0 == 3) return ds ? 0 : reserved_start;
    if (g == 16 && sl0 == 3) return reserved_start;
    return 3 - sl;
}

// The first row of the list of C_BAD_STE that applies; 0 if none. `two` receives the second stage.
inline unsigned bad_ste(unit const& u, std::uint64_t const (&e)[8], stage_two& two) {
    unsigned const config = bits(e[0], 3, 1);
    bool const one_on = config == 5 || config == 7;
    bool const two_on = config == 6 || config == 7;
    unsigned const stall_model = bits(u.idr0, 25, 24);
    unsigned const endian = bits(u.idr0, 22, 21);
    unsigned const ssidsize = bits(u.idr1, 10, 6);

    if (!bit(e[0], 0)) return 1;
    if (config < 4) return 0;
    if (one_on && !bit(u.idr0, 1)) return 3;
    if (two_on && !bit(u.idr0, 0)) return 4;

    bool const s2s = bit(e[2], 185 - 128);
    unsigned const eats = bits(e[1], 93 - 64, 92 - 64);
    if (bit(u.idr0, 10) && config != 4) {
        if (eats == 2 && (config != 7 || s2s || bit(u.idr0, 11))) return 5;
        if (eats == 1 && s2s && two_on) return 6; // in v3.0 too only with the second stage
    }
    unsigned const strw = bits(e[1], 95 - 64, 94 - 64);
    bool const world = has_world(u, e);
    if (world && bit(strw, 0)) return 8;

    if (one_on) {
        if (bit(e[1], 91 - 64) && stall_model != 0) return 9;
        unsigned const cdmax = bits(e[0], 63, 59);
        unsigned const fmt = bits(e[0], 5, 4);
        if (ssidsize != 0 && cdmax > ssidsize) return 10;
        if (ssidsize != 0 && cdmax != 0 && (fmt == 1 || fmt == 2) && !bit(u.idr0, 19)) return 11;
        std::uint64_t const pointer = e[0] & address_55_6;
        if (minor(u) >= 1) {
            if (config == 5 && beyond(pointer, oas(u))) return 12;
            if (config == 7 && beyond(pointer, ias(u)) && !u.pointer_faults_late) return 12;
        }
    }

    if (two_on) {
        bool const aa64 = bit(e[2], 179 - 128);
        bool const ha = bit(e[2], 184 - 128);
        bool const hd = bit(e[2], 183 - 128);
        two.fwb = bit(e[1], 89 - 64) && bit(u.idr3, 8);
        if (two.fwb && !aa64) return 13;
        if (s2s && stall_model == 1) return 14;
        if (!s2s && stall_model == 2) return 15;
        if (!aa64 || !bit(u.idr0, 3)) return 16;
        if ((ha || hd) && httu(u) == 0) return 17;
        if (hd && httu(u) == 1) return 18;
        two.haft = bit(e[2], 187 - 128) && httu(u) == 3;
        if (two.haft && !ha) return 19;
        two.ha = ha;
        two.hd = ha && hd;
        two.g = granule(u, bits(e[2], 175 - 128, 174 - 128));
        if (two.g == 0) return 20;
        bool const ds = bit(e[3], 195 - 192) && bit(u.idr5, 7);
        two.ds = ds && two.g != 16;
        unsigned const ps = bits(e[2], 178 - 128, 176 - 128);
        two.limit = output_limit(u, ps, two.g, two.ds);
        std::uint64_t const ttb = e[3] & (minor(u) == 0 ? address_47_4 : address_51_4); // bits above are RES0
        if (beyond(ttb, two.limit)) return 21;

        unsigned size = bits(e[2], 165 - 128, 160 - 128);
        unsigned smallest = 64 - ias(u);
        if (minor(u) >= 1) smallest = greatest(smallest, two.g == 16 || ds ? 12 : 16);
        unsigned const largest = largest_size(u, two.g);
        if (minor(u) == 0 && u.clamp_sizes) size = least(greatest(size, smallest), largest);
        if (size < smallest || size > largest) return 22;
        two.iasize = 64 - size;
        two.start = second_start(u, two.g, two.ds, bits(e[2], 167 - 128, 166 - 128), bit(e[3], 194 - 192));
        if (two.start == reserved_start) return 23;
        unsigned const levels = static_cast<unsigned>(3 - two.start);
        if (two.iasize < levels * stride(two) + two.g + 1) return 23;
        if (two.iasize > levels * stride(two) + two.g + stride(two) + 4) return 23;
        if (u.oas_start_level) {
            if (two.g == 12 && two.start == 0 && oas(u) < 44) return 23;
            if (two.g == 14 && two.start == 1 && oas(u) < 42) return 23;
            if (two.g == 16 && two.start == 1 && oas(u) < 44) return 23;
            if (two.g == 12 && two.start == -1 && oas(u) < 52) return 23;
            if (two.g == 14 && two.start == 0 && oas(u) < 52) return 23;
        }
        two.table = table_base(u, two, ttb, ps);
        two.big = bit(e[2], 180 - 128);
        if (two.big && endian == 2) return 25;
        if (!two.big && endian == 3) return 25;
        two.affd = bit(e[2], 181 - 128) && !ha;
        two.ptw = bit(e[2], 182 - 128) && config == 7;
        two.sh = bits(e[2], 173 - 128, 172 - 128);
        two.stalls = s2s;
        two.records = bit(e[2], 186 - 128);
    }

    bool const uses_vmid = config != 4 && bit(u.idr0, 0) && !(world && strw != 0);
    if (!bit(u.idr0, 18) && uses_vmid && bits(e[2], 143 - 128, 136 - 128) != 0) return 27;
    return 0;
}

// Fetches the entry of a stream. `f` receives the fault where there is one: then false.
inline bool find_ste(unit const& u, std::uint32_t stream, memory const& m, std::uint64_t (&e)[8], answer& f) {
    auto const fails = [&](unsigned event, std::uint64_t at, std::uint64_t entry = 0) {
        f.event = event;
        if (event == f_ste_fetch) f.fetch_address = at;
        f.entry_at = at;
        f.entry = entry;
        return false;
    };
    auto const fetch = [&](std::uint64_t at, std::uint64_t& value) { return !beyond(at, oas(u)) && m.read(at, value); };

    std::uint64_t const sid = stream;
    unsigned const log2size = bits(u.strtab_base_cfg, 5, 0);
    std::uint64_t const base = u.strtab_base & address_55_6;
    if (beyond(sid, least(log2size, bits(u.idr1, 5, 0)))) return fails(c_bad_streamid, 0);

    std::uint64_t ste = 0;
    bool const two_levels = bits(u.strtab_base_cfg, 17, 16) == 1 && bits(u.idr0, 28, 27) != 0;
    if (!two_levels) {
        ste = align(base, log2size + 6) + sid * 64;
    } else {
        unsigned split = bits(u.strtab_base_cfg, 10, 6);
        if (split != 6 && split != 8 && split != 10) split = 6;
        unsigned const l1_bits = log2size > split ? log2size - split : 0;
        std::uint64_t const l1 = align(base, greatest(6, l1_bits + 3)) + (sid >> split) * 8;
        std::uint64_t l1std = 0;
        if (!fetch(l1, l1std)) return fails(f_ste_fetch, l1);
        unsigned const span = bits(l1std, 4, 0);
        if (span == 0 || span > 11) return fails(c_bad_streamid, l1, l1std);
        if (span > split + 1) return fails(c_bad_streamid, l1, l1std);
        std::uint64_t const index = sid & ((std::uint64_t{1} << split) - 1);
        if (beyond(index, span - 1)) return fails(c_bad_streamid, l1, l1std);
        ste = align(l1std & address_55_6, span + 5) + index * 64;
    }
    for (unsigned i = 0; i < u.entry_words; ++i)
        if (!fetch(ste + 8 * i, e[i])) return fails(f_ste_fetch, ste);
    f.entry_at = ste;
    f.entry = e[0];
    return true;
}

// --- the context descriptor -----------------------------------------------------------------------------------------------

// The first row of the list of C_BAD_CD that applies; 0 if none.
inline unsigned bad_cd(unit const& u, std::uint64_t const (&e)[8], std::uint64_t const (&c)[8]) {
    unsigned const stall_model = bits(u.idr0, 25, 24);
    unsigned const endian = bits(u.idr0, 22, 21);
    bool const el2 = has_world(u, e) && bits(e[1], 95 - 64, 94 - 64) == 2;
    bool const one_half = el2 && !bit(u.cr2, 0); // any-EL2
    bool const epd[] = {bit(c[0], 14) && !one_half, bit(c[0], 30) || one_half};
    bool const s = bit(c[0], 44);
    bool const ha = bit(c[0], 43);
    bool const hd = bit(c[0], 42);
    bool const ds = bit(c[2], 186 - 128) && bit(u.idr5, 7);

    if (!bit(c[0], 31)) return 1;
    if (bit(e[1], 91 - 64) && s) return 2;
    if (bit(u.idr0, 26) && !bit(c[0], 46)) return 3;
    if (stall_model == 1 && s) return 4;
    if (stall_model == 2 && !s) return 4;
    if (!(epd[0] && epd[1])) {
        if (endian == 2 && bit(c[0], 15)) return 5;
        if (endian == 3 && !bit(c[0], 15)) return 5;
    }
    if (!bit(c[0], 41)) return 6;
    if (!bit(u.idr0, 3)) return 7;
    if ((ha || hd) && httu(u) == 0) return 8;
    if (hd && httu(u) == 1) return 8;
    if (bit(c[1], 67 - 64) && !ha && httu(u) == 3) return 8;
    if (!bit(u.idr0, 12) && !one_half && bits(c[0], 63, 56) != 0) return 9;
    unsigned const granules[] = {granule(u, bits(c[0], 7, 6)), upper_granule(u, bits(c[0], 23, 22))};
    unsigned const sizes[] = {bits(c[0], 5, 0), bits(c[0], 21, 16)};
    for (unsigned half = 0; half < 2; ++half) {
        if (epd[half]) continue;
        // The limits of TxSZ need a granule. One that is not there has 4K's.
        unsigned const g = granules[half];
        bool const wide = bits(u.idr5, 11, 10) != 0 && (g == 16 || ds);
        bool const clamps = minor(u) == 0 && u.clamp_sizes;
        if (!clamps && (sizes[half] < (wide ? 12u : 16u) || sizes[half] > largest_size(u, g))) return 10;
    }
    for (unsigned half = 0; half < 2; ++half)
        if (!epd[half] && granules[half] == 0) return 11;
    for (unsigned half = 0; half < 2; ++half) {
        if (epd[half]) continue;
        unsigned const g = granules[half];
        if (beyond(c[1 + half] & address_55_4, output_limit(u, bits(c[0], 34, 32), g, ds && g != 16))) return 12;
    }
    return 0;
}

// Fetches the context descriptor that `substream` names. `f` receives the fault where there is one: then false.
inline bool find_cd(unit const& u, std::uint64_t const (&e)[8], stage_two const& two, std::uint32_t substream, memory const& m,
                    std::uint64_t (&c)[8], answer& f) {
    bool const nested = bits(e[0], 3, 1) == 7;
    // From an address of the tables to a physical one.
    auto const reach = [&](std::uint64_t at, std::uint64_t& physical) {
        physical = at;
        if (!nested) return true;
        answer const a = implicit(u, two, at, false, at_cd, m);
        if (!a.ok) f = a;
        physical = a.address;
        return a.ok;
    };
    auto const fetch = [&](std::uint64_t at, std::uint64_t& value) { return !beyond(at, oas(u)) && m.read(at, value); };

    unsigned const cdmax = bits(u.idr1, 10, 6) == 0 ? 0 : bits(e[0], 63, 59);
    unsigned const fmt = bits(e[0], 5, 4);
    // Bits of S1ContextPtr below the alignment of the table count as 0.
    std::uint64_t const pointer = e[0] & address_55_6;
    std::uint64_t at = 0;
    if (cdmax == 0) {
        at = pointer;
    } else if (fmt == 0 || fmt == 3) {
        at = align(pointer, cdmax + 6) + std::uint64_t{substream} * 64;
    } else {
        unsigned const lower = fmt == 1 ? 6 : 10;
        unsigned const l1_bits = cdmax > lower ? cdmax - lower : 0;
        std::uint64_t const l1 = align(pointer, greatest(6, l1_bits + 3)) + std::uint64_t{substream >> lower} * 8;
        std::uint64_t physical = 0;
        if (!reach(l1, physical)) return false;
        std::uint64_t l1cd = 0;
        if (!fetch(physical, l1cd)) {
            f = refuse(0, f_cd_fetch, at_cd, physical);
            f.behind = nested;
            if (nested) f.fetch_ipa = l1;
            return false;
        }
        // With 64K leaves the bits 15:12 count as 0 like those below.
        std::uint64_t const leaf = align(l1cd & address_55_12, lower + 6);
        if (!bit(l1cd, 0) || beyond(leaf, nested ? ias(u) : oas(u))) {
            f = refuse(0, c_bad_substreamid, at_cd);
            f.substream = substream;
            f.entry_at = l1;
            f.entry = l1cd;
            return false;
        }
        at = leaf + (substream & ((std::uint64_t{1} << lower) - 1)) * 64;
    }
    std::uint64_t physical = 0;
    if (!reach(at, physical)) return false;
    for (unsigned i = 0; i < u.entry_words; ++i) {
        if (fetch(physical + 8 * i, c[i])) continue;
        f = refuse(0, f_cd_fetch, at_cd, physical);
        f.behind = nested;
        if (nested) f.fetch_ipa = at;
        return false;
    }
    f.entry_at = at;
    f.entry = c[0];
    return true;
}

// The half that translates an address. False where none does: F_TRANSLATION.
inline bool choose_half(unit const& u, std::uint64_t const (&e)[8], std::uint64_t const (&c)[8], std::uint64_t va,
                        bool privileged, stage_one& s) {
    bool const el2 = has_world(u, e) && bits(e[1], 95 - 64, 94 - 64) == 2;
    s.one_privilege = el2 && !bit(u.cr2, 0);
    unsigned const half = s.one_privilege ? 0 : static_cast<unsigned>(va >> 55 & 1);
    s.nested = bits(e[0], 3, 1) == 7;
    s.stalls = bit(c[0], 44);
    s.records = bit(c[0], 45);
    s.aborts = bit(c[0], 46);
    if (half == 0 && bit(c[0], 14) && !s.one_privilege) return false;
    if (half == 1 && bit(c[0], 30)) return false;

    unsigned size = half == 0 ? bits(c[0], 5, 0) : bits(c[0], 21, 16);
    if (minor(u) == 0 && u.clamp_sizes) size = least(greatest(size, 16), 39);
    s.iasize = 64 - size;
    unsigned const top = bit(c[0], 38 + half) ? 55 : 63;
    for (unsigned i = s.iasize; i <= top; ++i)
        if (bit(va, i) != (half == 1)) return false;
    bool const e0pd = bit(c[1 + half], 2) && bit(u.idr3, 13);
    if (e0pd && !privileged && !s.one_privilege) return false;

    s.g = half == 0 ? granule(u, bits(c[0], 7, 6)) : upper_granule(u, bits(c[0], 23, 22));
    s.ds = bit(c[2], 186 - 128) && bit(u.idr5, 7) && s.g != 16;
    s.start = 3 - static_cast<int>((s.iasize - 1 - s.g) / stride(s));
    unsigned const ips = bits(c[0], 34, 32);
    s.limit = output_limit(u, ips, s.g, s.ds);
    s.table = table_base(u, s, c[1 + half] & address_55_4, ips);
    s.big = bit(c[0], 15);
    s.ha = bit(c[0], 43);
    s.hd = s.ha && bit(c[0], 42);
    s.haft = s.ha && bit(c[1], 67 - 64) && httu(u) == 3;
    s.affd = bit(c[0], 35) && !s.ha;
    s.sh = half == 0 ? bits(c[0], 13, 12) : bits(c[0], 29, 28);
    s.wxn = bit(c[0], 36);
    s.pan = bit(c[0], 40);
    s.epan = bit(c[1], 123 - 64) && bit(u.idr3, 17);
    s.had = bit(c[1 + half], 1) && bit(u.idr3, 2);
    s.aie = bit(c[2], 131 - 128) && bit(u.idr3, 23);
    s.mair = c[3];
    return true;
}

// --- memory types -----------------------------------------------------------------------------------------------------------

enum cacheable { non_cacheable = 0, write_through = 1, write_back = 2 };

struct cache {
    cacheable how = write_back;
    bool transient = false;
    bool read_allocates = true;
    bool write_allocates = true;
};
struct memory_type {
    bool device = false;
    unsigned strictness = 3; // Device: 3 nGnRnE, 2 nGnRE, 1 nGRE, 0 GRE
    cache outer;             // Normal
    cache inner;
    unsigned sh = 0; // 0 NSH, 2 OSH, 3 ISH
};

inline cache cache_of(unsigned nibble) {
    cache c;
    c.read_allocates = bit(nibble, 1);
    c.write_allocates = bit(nibble, 0);
    c.transient = !bit(nibble, 3);
    c.how = bit(nibble, 2) ? write_back : write_through;
    if (nibble == 4) c = {non_cacheable, false, false, false};
    return c;
}
inline unsigned nibble_of(cache const& c) {
    if (c.how == non_cacheable) return 4;
    unsigned const hints = (c.read_allocates ? 2u : 0u) | (c.write_allocates ? 1u : 0u);
    // There is no transient write-back that never allocates: its place is that of non-cacheable.
    bool const transient = c.transient && !(c.how == write_back && hints == 0);
    return (transient ? 0u : 8u) | (c.how == write_back ? 4u : 0u) | hints;
}
inline unsigned sharing_of(unsigned sh) { return sh == 2 || sh == 3 ? sh : 0; } // 01 is reserved, and shares nothing

inline memory_type from_mair(unsigned byte, unsigned sh) {
    memory_type t;
    t.device = bits(byte, 7, 4) == 0;
    t.strictness = 3 - bits(byte, 3, 2); // reserved ones too: the bits dd
    t.outer = cache_of(bits(byte, 7, 4));
    t.inner = cache_of(bits(byte, 3, 0));
    t.sh = sharing_of(sh);
    return t;
}
// Stage 2's MemAttr without FWB, and that of STE and GBPA. Where 00 is reserved it is taken as NC.
inline cacheable cacheable_of(unsigned two_bits) {
    return two_bits == 3 ? write_back : two_bits == 2 ? write_through : non_cacheable;
}
inline memory_type from_memattr(unsigned memattr, unsigned sh) {
    memory_type t;
    t.device = bits(memattr, 3, 2) == 0;
    t.strictness = 3 - bits(memattr, 1, 0);
    t.outer.how = cacheable_of(bits(memattr, 3, 2));
    t.inner.how = cacheable_of(bits(memattr, 1, 0));
    t.sh = sharing_of(sh);
    return t;
}

inline bool is_cacheless(memory_type const& t) {
    return t.device || (t.outer.how == non_cacheable && t.inner.how == non_cacheable);
}
inline cache weaker(cache c, cacheable most) {
    if (c.how > most) c.how = most;
    return c;
}
inline memory_type through_second(memory_type t, bool first_is_on, unsigned memattr, unsigned sh, bool fwb) {
    unsigned const strictness = 3 - bits(memattr, 1, 0);
    unsigned const other = sharing_of(sh);
    if (is_cacheless(t)) t.sh = 2; // also where what comes of it is cached (DDI 0487 leaves that open)
    if (t.sh == 2 || other == 2)
        t.sh = 2;
    else if (other == 3)
        t.sh = 3;
    if (fwb) {
        unsigned const code = bits(memattr, 2, 0);
        if (code < 4) {
            t.strictness = t.device ? greatest(t.strictness, strictness) : strictness;
            t.device = true;
        } else if (code < 6) {
            t.outer.how = t.inner.how = non_cacheable;
        } else if (code == 6 || !first_is_on) {
            // Hints come from the first stage, if it has any.
            if (t.device || t.outer.how == non_cacheable) t.outer = cache{};
            if (t.device || t.inner.how == non_cacheable) t.inner = cache{};
            t.outer.how = t.inner.how = write_back;
            t.device = false;
        }
        return t;
    }
    if (bits(memattr, 3, 2) == 0) {
        t.strictness = t.device ? greatest(t.strictness, strictness) : strictness;
        t.device = true;
        return t;
    }
    t.outer = weaker(t.outer, cacheable_of(bits(memattr, 3, 2)));
    t.inner = weaker(t.inner, cacheable_of(bits(memattr, 1, 0)));
    return t;
}

// What comes in, as STE or GBPA override it.
inline memory_type incoming_memory(unit const& u, ask const& q, std::uint64_t memattr, std::uint64_t mtcfg, std::uint64_t shcfg) {
    memory_type t = from_mair(q.type, q.sh);
    if (!bit(u.idr1, 27)) return t;
    if (bit(mtcfg, 0)) t = from_memattr(bits(memattr, 3, 0), t.sh);
    if (bits(shcfg, 1, 0) != 1) t.sh = sharing_of(bits(shcfg, 1, 0));
    return t;
}

inline answer leave(answer a, memory_type const& t) {
    a.type = t.device ? (3 - t.strictness) << 2 : nibble_of(t.outer) << 4 | nibble_of(t.inner);
    a.sharing = is_cacheless(t) ? 2 : t.sh;
    return a;
}

// --- a transaction -----------------------------------------------------------------------------------------------------------

inline answer bypass(std::uint64_t address) {
    answer a;
    a.ok = true;
    a.address = address;
    a.bypassed = true;
    a.r = a.w = a.x = true;
    return a;
}

// What `one` and `two` do with an input. Where the first stage's leaf is to be marked, the second stage is asked at once whether
// it grants that; then it judges the output. The marks come last: the first stage's leaf, through the second stage, and then the
// second stage's leaf over the output.
// Whoever asks for both marks the first stage's leaf dirty only where both stages grant writing. With `split` the answer is the
// first stage's: the second one only stands before its tables.
inline answer walk(unit const& u, stage_one const* one, stage_two const* two, bool split, std::uint64_t input, want const& q,
                   memory const& m) {
    stage_two const nothing;
    stage_two const& under = two != nullptr ? *two : nothing;
    for (unsigned tries = 0;; ++tries) {
        answer a = bypass(input);
        debt of_first;
        debt of_second;
        if (one != nullptr) {
            unsigned tries_of_nested = 0; // one stage alone has one patience, for its tables and its leaf
            a = first(u, *one, under, input, q, m, of_first, two != nullptr ? tries_of_nested : tries);
            if (!a.ok) return a;
            if (of_first.owed && two != nullptr) {
                answer const b = implicit(u, *two, of_first.ipa, true, at_tt, m, true);
                if (!b.ok) return b;
            }
        }
        std::uint64_t const ipa = a.address;
        if (two != nullptr && !split) {
            want through = q;
            if (q.asks && one != nullptr) through.w = q.w && a.w;
            answer const b = second(u, *two, ipa, through, m, of_second);
            if (!b.ok) return b;
            if (q.asks && !b.w) of_first.fresh |= of_first.old & 0x80;
            if (of_first.fresh == of_first.old) of_first.owed = false;
            a.address = b.address;
            a.lg2 = least(a.lg2, b.lg2);
            a.bypassed = false;
            a.r = a.r && b.r;
            a.w = a.w && b.w;
            a.x = a.x && b.x;
            a.s2_memattr = b.s2_memattr;
            a.s2_sh = b.s2_sh;
        }
        if (of_first.owed) {
            answer why;
            exchange const how = update_first(u, *one, under, of_first, m, why);
            if (how == changed && tries < patience) continue;
            if (how != done) return why;
        }
        if (of_second.owed) {
            exchange const how = replace_descriptor(*two, m, of_second.at, of_second.old, of_second.fresh);
            if (how == changed && tries < patience) continue;
            if (how != done) {
                answer why = refuse(2, f_walk_eabt, at_in, of_second.at, of_second.level, of_second.old);
                why.ipa = ipa;
                return why;
            }
        }
        return a;
    }
}

inline answer translate(unit const& u, ask const& incoming, memory const& m) {
    std::uint64_t const address = incoming.address;
    answer f;
    f.input = address;
    bool const on = bit(u.cr0, 0);
    bool const checked = bit(u.cr0, 4); // ATSCHK
    if (!on && incoming.kind != ordinary) {
        f.event = incoming.kind == translated ? f_transl_forbidden : f_bad_ats_treq;
        f.recorded = true;
        f.rnw = !incoming.write;
        return f;
    }
    // Unchecked it passes, if there is ATS at all and such an address.
    if (on && incoming.kind == translated && !checked && bit(u.idr0, 10) && !beyond(address, oas(u)))
        return leave(bypass(address), from_mair(incoming.type, incoming.sh));
    if (!on) {
        if (bit(u.gbpa, 20) || beyond(address, oas(u))) return f;
        return leave(bypass(address), incoming_memory(u, incoming, u.gbpa, u.gbpa >> 4, u.gbpa >> 12));
    }

    want q;
    q.w = incoming.write;
    bool const reads = incoming.read || !incoming.write;
    q.x = !incoming.write && incoming.execute; // an instruction that writes is data
    q.privileged = incoming.privileged;
    q.asks = incoming.kind == translation_request;
    bool const extended = bit(u.idr0, 23) && bit(u.cr2, 3); // ATSRECERR, REC_CFG_ATS
    // Everything that leaves an event leaves through here. Nothing that is wrong with a translation request stalls. What a stage
    // does not grant is not told of one, and what is broken only where the registers say so.
    auto const fails = [&](answer a) {
        a.input = address;
        a.pnu = q.privileged;
        a.ind = q.x;
        a.rnw = !incoming.write;
        bool const atomic = incoming.write && incoming.read;
        if (atomic && a.event == f_permission && a.cls == at_in && a.lacks_read && minor(u) >= 1) a.rnw = true;
        a.lacks_read = false;
        if (q.asks) {
            bool const granting = a.event >= f_translation && a.event <= f_permission;
            a.recorded = a.recorded && (a.event == f_bad_ats_treq || (!granting && extended));
            a.stall = a.raz_wi = false;
        }
        return a;
    };
    auto const configuration = [&](unsigned event) {
        answer a;
        a.event = event;
        a.recorded = true;
        a.entry_at = f.entry_at;
        a.entry = f.entry;
        return a;
    };

    std::uint64_t e[8]{};
    if (!find_ste(u, incoming.stream, m, e, f)) {
        f.recorded = f.event != c_bad_streamid || bit(u.cr2, 1);
        return fails(f);
    }
    stage_two two;
    unsigned const ste_row = bad_ste(u, e, two);
    if (ste_row != 0) {
        f = configuration(c_bad_ste);
        f.row = ste_row;
        return fails(f);
    }
    unsigned const config = bits(e[0], 3, 1);
    if (config < 4) {
        answer quiet = configuration(0);
        quiet.recorded = false;
        return fails(quiet);
    }
    bool two_on = config == 6 || config == 7;
    bool one_on = config == 5 || config == 7;
    // EATS as it takes effect: 11 is off without DPT, and so is 10 without ATSCHK.
    unsigned const eats = bits(e[1], 93 - 64, 92 - 64);
    bool const full = bit(u.idr0, 10) && config != 4 && eats == 1;
    bool const split = bit(u.idr0, 10) && config != 4 && eats == 2 && checked;
    if (incoming.kind == translation_request && !full && !split) return fails(configuration(f_bad_ats_treq));
    if (incoming.kind == translated) {
        if (!full && !split) return fails(configuration(f_transl_forbidden));
        one_on = false;
        two_on = split;
    }

    if (bit(u.idr1, 26)) {
        unsigned const priv = bits(e[1], 113 - 64, 112 - 64);
        unsigned const inst = bits(e[1], 115 - 64, 114 - 64);
        if (priv >= 2) q.privileged = priv == 3;
        if (inst >= 2 && !incoming.write) q.x = inst == 3;
    }
    q.r = reads && !q.x;

    // Substreams.
    unsigned const cdmax = bits(u.idr1, 10, 6) == 0 ? 0 : bits(e[0], 63, 59);
    if (incoming.kind != translated && incoming.has_substream && (!one_on || cdmax == 0 || beyond(incoming.substream, cdmax))) {
        f = configuration(c_bad_substreamid);
        f.substream = incoming.substream;
        return fails(f);
    }
    if (one_on && cdmax != 0) {
        unsigned const dss = bits(e[1], 65 - 64, 64 - 64);
        if (!incoming.has_substream && (dss == 0 || dss == 3)) return fails(configuration(f_stream_disabled));
        if (incoming.has_substream && incoming.substream == 0 && dss == 2) return fails(configuration(f_stream_disabled));
        if (!incoming.has_substream && dss == 1) one_on = false;
    }

    // Without the first stage. These terminate and are recorded, whatever the bits S and R say.
    if (!one_on && beyond(address, config == 4 || (incoming.kind == translated && full) ? oas(u) : ias(u))) {
        f = refuse(1, f_addr_size, at_in);
        f.recorded = true;
        return fails(f);
    }
    memory_type const before = incoming_memory(u, incoming, e[1] >> (96 - 64), e[1] >> (100 - 64), e[1] >> (108 - 64));
    if (!one_on && split && q.asks) two_on = false; // the address is an intermediate one already
    if (!one_on && !two_on) return leave(bypass(address), before);

    // F_TRANSLATION, F_ADDR_SIZE, F_ACCESS and F_PERMISSION can stall, or go unrecorded. A alone says whether an access that is
    // terminated gets RAZ/WI, also where nothing is recorded; F_WALK_EABT aborts.
    stage_one one;
    auto const fault = [&](answer a) {
        bool const quiet = a.event >= f_translation && a.event <= f_permission;
        a.recorded = true;
        if (quiet) {
            stage const& s = a.stage == 2 ? static_cast<stage const&>(two) : static_cast<stage const&>(one);
            a.stall = s.stalls;
            a.recorded = s.stalls || s.records;
            a.raz_wi = a.stage == 1 && !s.stalls && !one.aborts;
        }
        return fails(a);
    };

    if (one_on) {
        std::uint64_t c[8]{};
        f = answer{};
        if (!find_cd(u, e, two, incoming.has_substream ? incoming.substream : 0, m, c, f)) return fault(f);
        unsigned const cd_row = bad_cd(u, e, c);
        if (cd_row != 0) {
            f = configuration(c_bad_cd);
            f.row = cd_row;
            return fails(f);
        }
        if (!choose_half(u, e, c, address, q.privileged, one)) return fault(refuse(1, f_translation, at_in));
    }
    answer const a = walk(u, one_on ? &one : nullptr, two_on ? &two : nullptr, split && q.asks, address, q, m);
    if (!a.ok) return fault(a);
    memory_type after = before;
    if (one_on) after = from_mair(a.mair, a.sh);
    if (two_on && !(split && q.asks)) after = through_second(after, one_on, a.s2_memattr, a.s2_sh, two.fwb);
    return leave(a, after);
}

// --- the completion of a translation request ------------------------------------------------------------------------------

struct completion {
    unsigned status = 0; // 0 success, 1 UR, 2 CA
    bool r = false;
    bool w = false;
    bool x = false;
    bool privileged = false;
    std::uint64_t address = 0;
    unsigned lg2 = 12;
};

// A stream that aborts everything refuses in silence: UR.
inline completion complete(ask const& q, answer const& a) {
    completion c;
    if (!a.ok) {
        if (a.event == 0 || a.event == f_bad_ats_treq)
            c.status = 1;
        else if (a.event < f_translation || a.event > f_permission)
            c.status = 2;
        return c;
    }
    c.r = a.r;
    c.w = a.w;
    c.x = a.x && a.r && q.execute && q.has_substream; // only to whom asks for it, with a PASID
    c.privileged = q.privileged && q.has_substream;
    if (!c.r && !c.w) return c;
    if (!a.bypassed) c.lg2 = a.lg2;
    c.address = align(a.address, c.lg2);
    return c;
}

// --- the record -----------------------------------------------------------------------------------------------------------

// The 32 bytes of the event of a failed transaction, if it is recorded.
inline void record(unit const& u, ask const& q, answer const& a, unsigned stag, std::uint64_t (&d)[4]) {
    std::uint64_t const known = (std::uint64_t{1} << oas(u)) - 1; // bits of IPA and FetchAddr above OAS are 0
    std::uint64_t const flags = std::uint64_t{a.pnu} << 33 | std::uint64_t{a.ind} << 34 | std::uint64_t{a.rnw} << 35;
    d[0] = a.event | std::uint64_t{q.stream} << 32;
    d[1] = d[2] = d[3] = 0;
    if (a.event == c_bad_substreamid) {
        d[0] |= std::uint64_t{a.substream & 0xfffff} << 12;
    } else if (a.event != f_stream_disabled && a.event != f_transl_forbidden && q.has_substream) {
        d[0] |= 1u << 11 | std::uint64_t{q.substream & 0xfffff} << 12;
    }
    bool const translating = a.event >= f_translation && a.event <= f_permission;
    if (a.event == f_bad_ats_treq) d[2] = a.input; // where its flags stand is not known
    if (a.event == f_transl_forbidden) {
        d[1] = std::uint64_t{a.rnw} << 35;
        d[2] = a.input;
    }
    if (translating || a.event == f_walk_eabt) {
        d[1] = flags | std::uint64_t{a.stage == 2} << 39 | std::uint64_t{a.cls} << 40;
        d[2] = a.input;
    }
    if (translating) {
        d[1] |= std::uint64_t{a.ttrnw} << 44;
        if (a.stall) d[1] |= std::uint64_t{1} << 31 | (stag & 0xffff);
        d[3] = a.ipa & known & address_55_12;
    }
    if (a.event == f_ste_fetch || a.event == f_cd_fetch || a.event == f_walk_eabt)
        d[3] = a.fetch_address & known & 0x00fffffffffffff8;
}

} // namespace smmu_model
