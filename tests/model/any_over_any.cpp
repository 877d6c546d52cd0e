// Any stage over any stage: tables at random, the naive models over each other, and the comparison.
#include "any_over_any.hpp"

#include "catch.hpp"
#include "host_memory.hpp"

#include <algorithm>
#include <cstdio>
#include <functional>
#include <tuple>

namespace any_over_any {

namespace {

using vtd_model::any_bit;
using vtd_model::bit;

std::uint64_t below(unsigned n) { return n >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << n) - 1; }
std::uint64_t mixed(std::uint64_t a) { return random_bits{a}(); }

} // namespace

// --- physical memory ---------------------------------------------------------------------------------------------------

void physical::clear(std::uint64_t noise) {
    ++age_;
    meddles = {};
    noise_ = noise;
    written.clear();
    reads.clear();
    updates.clear();
    attempts = 0;
    meddled_ = 1;
}

physical::word& physical::find(std::uint64_t at) noexcept {
    std::size_t const last = words_.size() - 1;
    std::size_t i = static_cast<std::size_t>(mixed(at)) & last;
    while (words_[i].age == age_ && words_[i].at != at)
        i = (i + 1) & last;
    word& w = words_[i];
    if (w.age != age_) {
        std::uint64_t const n = mixed(at ^ noise_);
        w = {at, (n & 7) == 0 ? mixed(n) : 0, age_, (n >> 3 & 63) == 0};
    }
    return w;
}

void physical::write(std::uint64_t at, std::uint64_t value) {
    find(at) = {at, value, age_, false};
    written.push_back(at);
}

void physical::undo() {
    for (auto u = updates.rbegin(); u != updates.rend(); ++u)
        find(u->at).value = u->old;
    reads.clear();
    updates.clear();
    attempts = 0;
    meddled_ = 1;
}

bool physical::read(std::uint64_t at, std::uint64_t& value) noexcept {
    reads.push_back(at);
    word const& w = find(at);
    value = w.missing ? 0 : w.value;
    return !w.missing;
}

int physical::replace(std::uint64_t at, std::uint64_t old, std::uint64_t fresh, std::uint64_t* found) noexcept {
    ++attempts;
    word& w = find(at);
    if (w.missing) return 2;
    if (attempts == meddles.first || (meddles.again && at == meddled_)) {
        meddled_ = at;
        updates.push_back({at, w.value, w.value ^ meddles.with});
        w.value ^= meddles.with;
    }
    if (found != nullptr) *found = w.value;
    if (w.value != old) return 1;
    w.value = fresh;
    updates.push_back({at, old, fresh});
    return 0;
}

sw::outcome<std::uint64_t, sw::memory_error> memory::load(sw::pa at) const noexcept {
    std::uint64_t value = 0;
    if (!of->read(at.value, value)) return sw::failure{sw::memory_error::outside};
    return value;
}

sw::outcome<bool, sw::memory_error> memory::compare_exchange(sw::pa at, std::uint64_t& expected,
                                                             std::uint64_t desired) const noexcept {
    int const how = of->replace(at.value, expected, desired, &expected);
    if (how == 2) return sw::failure{sw::memory_error::outside};
    return how == 0;
}

// --- what the library is told of a stage ---------------------------------------------------------------------------------

namespace {

smmu_model::stage const& arm(stage const& s) {
    if (s.of.is == format::smmu_first) return s.one;
    return s.two;
}
smmu_model::stage& arm(stage& s) {
    if (s.of.is == format::smmu_first) return s.one;
    return s.two;
}
// Descriptors hold addresses of 52 bits.
bool is_wide(stage const& s) { return s.of.g == 16 ? smmu_model::oas(s.smmu) == 52 : arm(s).ds; }

} // namespace

sw::smmu::table_shape shape_of(stage const& s) {
    auto const& a = arm(s);
    sw::smmu::table_shape shape;
    shape.root = s.root;
    shape.top = s.levels - 1;
    shape.input_size = a.iasize;
    shape.output_size = a.limit;
    shape.lg2_least = a.limit == 52 ? 6 : 4;
    shape.wide = is_wide(s);
    shape.upper = s.upper;
    shape.ignores_top_byte = s.ignores_top_byte;
    return shape;
}

sw::smmu::stage1_options first_options(stage const& s) {
    sw::smmu::stage1_options o;
    o.ignores_hierarchy = s.one.had;
    o.one_privilege = s.one.one_privilege;
    o.write_no_execute = s.one.wxn;
    o.no_unprivileged = s.one.pan;
    o.no_executable = s.one.epan;
    o.ignores_access = s.one.affd;
    o.updates_access = s.one.ha;
    o.updates_dirty = s.one.hd;
    o.updates_tables = s.one.haft;
    o.wide_index = s.one.aie;
    return o;
}

sw::smmu::stage2_options second_options(stage const& s) {
    sw::smmu::stage2_options o;
    o.execute_by_privilege = bit(s.smmu.idr3, 4);
    o.ignores_access = s.two.affd;
    o.updates_access = s.two.ha;
    o.updates_dirty = s.two.hd;
    o.updates_tables = s.two.haft;
    return o;
}

sw::amdvi::policy amd_policy(stage const& s) {
    sw::amdvi::policy p;
    if (s.amd.permission_first) p.order = sw::amdvi::check_order::rights_first;
    if (s.amd.page_migration) p.migration = sw::amdvi::page_migration::supported;
    if (s.amd.host_accessed_leaf_only) p.accessed = sw::amdvi::host_accessed::leaves_only;
    if (s.amd.write_protect_users_only) p.protect = sw::amdvi::write_protect::users_only;
    return p;
}

// --- one stage, by the model of its architecture -------------------------------------------------------------------------

namespace {

struct words {
    std::function<bool(std::uint64_t at, std::uint64_t& value)> read;
    std::function<int(std::uint64_t at, std::uint64_t old, std::uint64_t fresh)> replace;
};

// The update of a leaf, not made yet.
struct debt {
    bool owed = false;
    std::uint64_t at = 0;
    std::uint64_t old = 0;
    std::uint64_t fresh = 0;
    unsigned level = 0;
};

answer failed(one_fault const& f) {
    answer a;
    a.faults = 1;
    a.fault[0] = f;
    return a;
}

answer told(vtd_model::answer const& v, std::uint64_t input) {
    answer a;
    a.ok = v.ok;
    a.output = v.output;
    a.attributes = v.attributes;
    a.lg2 = v.lg2;
    if (v.ok) return a;
    return failed({v.code, static_cast<unsigned>(v.stage), static_cast<unsigned>(v.at),
                   v.level < 0 ? no_level : static_cast<unsigned>(v.level), true, input, 0, v.descriptor, v.entry, 0});
}

answer by_vtd(stage const& s, std::uint64_t input, question const& q, words const& m, debt& leave) {
    using namespace vtd_scalable_model;
    vtd_scalable_model::memory const load{m.read, [&](std::uint64_t at, std::uint64_t old, std::uint64_t fresh) {
                                              return static_cast<exchange>(m.replace(at, old, fresh));
                                          }};
    vtd_scalable_model::debt owed;
    want w;
    w.r = q.r || q.x; // fetching is reading
    w.w = q.w;
    w.zero_length = q.zero_length;
    w.inquires = q.inquires;
    w.privileged = q.privileged;
    auto const a = s.of.is == format::vtd_first ? first(s.vtd, s.space, input, w, load, owed)
                                                : second(s.vtd, s.space, input, w, load, &owed);
    leave = {owed.owed, owed.at, owed.old, owed.fresh, static_cast<unsigned>(owed.level)};
    return told(a, input);
}

answer by_vtd_legacy(stage const& s, std::uint64_t input, question const& q, words const& m) {
    bool const r = (q.r || q.x) && !q.inquires;
    bool const w = q.w && !q.inquires;
    auto a = vtd_model::walk(s.vtd, s.levels, s.root, input, r, w, q.zero_length, m.read);
    if (a.ok && q.inquires && (a.attributes & 3) == 0) { // the leaf is named
        a.ok = false;
        a.code = 6;
        a.at = vtd_model::at_input;
    }
    return told(a, input);
}

// The bits that attributes show of a leaf, in the positions that the library documents.
std::uint64_t shown(stage const& s, std::uint64_t e) {
    auto const keep = [&](unsigned n) { return e & std::uint64_t{1} << n; };
    std::uint64_t const sh = arm(s).ds ? 0 : e & 0x300;
    std::uint64_t const common = sh | keep(51) | keep(52) | keep(53) | keep(54);
    if (s.of.is == format::smmu_second) return common | (e >> 2 & 15) << 3;
    return common | (e >> 2 & 7) << 3 | (keep(6) ^ 0x40) | (keep(11) ^ 0x800) | (s.one.aie ? keep(59) : 0);
}

answer by_smmu(stage const& s, std::uint64_t input, question const& q, words const& m, debt& leave) {
    using namespace smmu_model;
    bool const is_first = s.of.is == format::smmu_first;
    if (is_first) {
        // Bits above the input are all like the half, but for a top byte that is ignored.
        for (unsigned i = s.one.iasize; i < (s.ignores_top_byte ? 56u : 64u); ++i)
            if (smmu_model::bit(input, i) != s.upper) return failed({f_translation, 1, at_in, no_level, true, input, 0, 0, 0, 0});
    }
    std::uint64_t last = 0;
    smmu_model::memory const load{[&](std::uint64_t at, std::uint64_t& value) {
                                      bool const there = m.read(at, value);
                                      last = value;
                                      return there;
                                  },
                                  [&](std::uint64_t at, std::uint64_t old, std::uint64_t fresh) {
                                      return static_cast<exchange>(m.replace(at, old, fresh));
                                  }};
    smmu_model::debt owed;
    want w;
    w.w = q.w;
    w.x = q.x && !q.w;
    w.r = q.r && !w.x;
    w.privileged = q.privileged;
    w.asks = q.inquires;
    unsigned tries = 0;
    auto const a = is_first ? smmu_model::first(s.smmu, s.one, {}, input, w, load, owed, tries)
                            : smmu_model::second(s.smmu, s.two, input, w, load, owed);
    if (!a.ok) {
        unsigned const at = a.event == f_walk_eabt ? at_tt : a.cls;
        return failed({a.event, a.stage, at, a.table_level, true, input, 0, a.fetch_address, a.entry, a.missing});
    }
    leave = {owed.owed, owed.at, owed.old, owed.fresh, static_cast<unsigned>(3 - owed.level)};
    answer t;
    t.ok = true;
    t.output = a.address;
    t.lg2 = a.lg2;
    t.attributes = (a.r ? 1u : 0u) | (a.w ? 2u : 0u) | (a.x ? 4u : 0u) | shown(s, last);
    return t;
}

answer by_amd(stage const& s, std::uint64_t input, question const& q, words const& m, debt& leave) {
    using namespace amdvi_model;
    bool const is_host = s.of.is == format::amd_host;
    want w;
    w.r = q.r || q.x;
    w.w = q.w;
    w.x = q.x;
    w.user = !q.privileged;
    w.asks = q.inquires;
    // The model updates a leaf at once. Here that waits until the stage below has granted the access, so its entry has to be
    // known: levels are counted as the manual does.
    unsigned level = 0;
    unsigned next = 0;
    amdvi_model::memory const load{[&](std::uint64_t at, std::uint64_t& value) {
                                       level = next;
                                       bool const there = m.read(at, value);
                                       next = is_host ? amdvi_model::bits(value, 11, 9) : level - 1;
                                       return there;
                                   },
                                   [&](std::uint64_t at, std::uint64_t old, std::uint64_t fresh) {
                                       unsigned const leads = amdvi_model::bits(old, 11, 9);
                                       bool const leaf = is_host ? leads == 0 || leads == 7
                                                                 : level == 1 || (level < 4 && amdvi_model::bit(old, 7));
                                       if (!leaf) return static_cast<exchange>(m.replace(at, old, fresh));
                                       leave = {true, at, old, fresh, level - 1};
                                       return done;
                                   }};
    amdvi_model::answer a;
    for (unsigned tries = 0; tries <= patience; ++tries) {
        leave = {};
        next = s.levels;
        a = is_host ? host_once(s.amd, s.device, input, w, load) : guest_once(s.amd, s.device, s.pasid, s.root, input, w, load);
        if (!a.again) break;
    }
    if (!a.ok) {
        // The model does not tell what was being done: an entry that is broken is PR without PE.
        bool const broken = (a.flags & flag_pr) != 0 && (a.flags & flag_pe) == 0;
        unsigned const at = a.event == page_tab_hardware_error || broken ? 1 : 2;
        return failed({a.event, a.stage, at, a.level == 0 ? no_level : a.level - 1, true, input, 0, a.entry_at, a.entry,
                       std::uint64_t{a.flags} << 48});
    }
    answer t;
    t.ok = true;
    t.output = a.address;
    t.lg2 = a.lg2;
    t.attributes = (a.r ? 1u : 0u) | (a.w ? 2u : 0u) | (a.x ? 4u : 0u) | (a.pwt ? 8u : 0u) | (a.pcd ? 16u : 0u) |
                   (a.supervisor_only ? 32u : 0u) | (a.pat ? 128u : 0u) | std::uint64_t{a.u} << 59 | std::uint64_t{a.fc} << 60;
    return t;
}

answer by_one(stage const& s, std::uint64_t input, question const& q, words const& m, debt& leave) {
    switch (s.of.is) {
    case format::vtd_legacy: return by_vtd_legacy(s, input, q, m);
    case format::smmu_first:
    case format::smmu_second: return by_smmu(s, input, q, m, leave);
    case format::amd_host:
    case format::amd_guest: return by_amd(s, input, q, m, leave);
    default: return by_vtd(s, input, q, m, leave);
    }
}

unsigned number_of(format f) { return f == format::vtd_first || f == format::smmu_first || f == format::amd_guest ? 1 : 2; }

one_fault failed_update(stage const& s, std::uint64_t input, debt const& d) {
    unsigned code = 0;
    switch (s.of.is) {
    case format::vtd_first: code = 0x91; break;
    case format::vtd_second: code = 0x7d; break;
    case format::smmu_first:
    case format::smmu_second: code = smmu_model::f_walk_eabt; break;
    default: code = amdvi_model::page_tab_hardware_error; break;
    }
    return {code, number_of(s.of.is), 1, d.level, true, input, 0, d.at, d.old, 0};
}

// --- the stages over each other ---------------------------------------------------------------------------------------------

constexpr unsigned patience = 8;

// The fault of a stage, and the faults of what lies below it.
answer over(whose by, one_fault upper, answer const& lower) {
    if (by != own && by != of_output) upper.intermediate = upper.descriptor;
    answer a = failed(upper);
    a.by[0] = by;
    for (unsigned i = 0; i < lower.faults; ++i) {
        a.by[a.faults] = lower.by[i];
        a.fault[a.faults++] = lower.fault[i];
    }
    return a;
}

// Through stage `i` and all below it. `sizes` receives the page of each on the way of the output.
answer translate(std::vector<stage> const& all, std::size_t i, std::uint64_t input, question const& q, physical& m,
                 std::uint64_t* sizes) {
    bool const last = i + 1 == all.size();
    question reading;
    reading.r = true;
    question writing;
    writing.w = true;

    struct {
        whose by = own;
        answer why;
    } refused;
    // Where an address of this stage's tables is in physical memory.
    auto const reach = [&](std::uint64_t& at, whose by, question const& need) {
        if (last) return true;
        answer const a = translate(all, i + 1, at, need, m, nullptr);
        if (!a.ok) {
            refused.by = by;
            refused.why = a;
        }
        at = a.output;
        return a.ok;
    };
    words const tables{[&](std::uint64_t at, std::uint64_t& value) {
                           value = 0;
                           return reach(at, of_table, reading) && m.read(at, value);
                       },
                       [&](std::uint64_t at, std::uint64_t old, std::uint64_t fresh) {
                           return reach(at, of_update, writing) ? m.replace(at, old, fresh) : 2;
                       }};

    for (unsigned tries = 0;; ++tries) {
        debt owed;
        answer const a = by_one(all[i], input, q, tables, owed);
        if (!a.ok) return over(refused.by, a.fault[0], refused.why);
        answer both = a;
        if (sizes != nullptr) sizes[i] = a.lg2;
        if (!last) {
            answer const b = translate(all, i + 1, a.output, q, m, sizes);
            if (!b.ok) return over(of_output, {0, number_of(all[i].of.is), 2, no_level, true, input, a.output, 0, 0, 0}, b);
            both.output = b.output;
            both.lg2 = std::min(a.lg2, b.lg2);
            both.attributes = (a.attributes & ~std::uint64_t{7}) | (a.attributes & b.attributes & 7);
        }
        int const how = owed.owed ? tables.replace(owed.at, owed.old, owed.fresh) : 0;
        if (how == 1 && tries < patience) continue;
        if (how != 0) return over(refused.by, failed_update(all[i], input, owed), refused.why);
        return both;
    }
}

// --- stages at random ---------------------------------------------------------------------------------------------------------

unsigned stride(stage const& s) { return s.of.g - 3; }
unsigned shift(stage const& s, unsigned level) { return s.of.g + level * stride(s); }
bool is_arm(stage const& s) { return s.of.is == format::smmu_first || s.of.is == format::smmu_second; }
bool is_amd(stage const& s) { return s.of.is == format::amd_host || s.of.is == format::amd_guest; }

// The width of the input, the sign included.
unsigned input_width(stage const& s) {
    if (is_arm(s)) return arm(s).iasize;
    unsigned const width = std::min(12 + 9 * s.levels, 64u);
    bool const has_mgaw = s.of.is == format::vtd_second || s.of.is == format::vtd_legacy;
    return has_mgaw ? std::min(width, static_cast<unsigned>(s.vtd.cap >> 16 & 63) + 1) : width;
}
unsigned output_width(stage const& s) { return is_arm(s) ? arm(s).limit : is_amd(s) ? 52 : s.vtd.haw; }

bool may_be_leaf(stage const& s, unsigned level) {
    if (level == 0) return true;
    switch (s.of.is) {
    case format::vtd_first: return level == 1 || (level == 2 && bit(s.vtd.cap, 56));
    case format::vtd_second:
    case format::vtd_legacy: return level < 3 && bit(s.vtd.cap, 33 + level);
    case format::amd_guest: return level < 3;
    case format::amd_host: return level < 5;
    default: return level < (s.of.g == 12 ? is_wide(s) ? 4u : 3u : is_wide(s) ? 3u : 2u);
    }
}

stage random_stage(random_bits& random, kind of) {
    stage s;
    s.of = of;
    // VT-d: capabilities without contradiction.
    unsigned const mgaws[] = {48, 57, 52, 46, 42, 39, 64};
    unsigned const mgaw = random.pick(mgaws);
    unsigned const widest = std::min(mgaw, 52u);
    s.vtd.haw = random.one_in(2) ? widest : 36 + random.small(widest - 35);
    s.vtd.cap = std::uint64_t{mgaw - 1} << 16 | 7u << 9 | 6 | random.below(2) << 22 | random.below(2) << 56;
    std::uint64_t const sizes[] = {3, 3, 3, 1, 0};
    s.vtd.cap |= random.pick(sizes) << 34;
    s.vtd.ecap = random.below(2) << 7;
    s.vtd.each_entry = random.one_in(4);
    s.vtd.refuses_types = random.one_in(4);
    s.space.pgtt = 1;
    s.space.ssirwe = random.one_in(4);

    s.amd.efr = random.below(2) << 3 | std::uint64_t{1} << 61 | std::uint64_t{1} << 53;
    s.amd.control = (random.one_in(4) ? std::uint64_t{1} << 54 : 0) | (random.one_in(4) ? std::uint64_t{1} << 48 : 0);
    s.amd.permission_first = random.one_in(2);
    s.amd.page_migration = random.one_in(2);
    s.amd.host_accessed_leaf_only = random.one_in(2);
    s.amd.write_protect_users_only = random.one_in(2);
    s.device.ir = !random.one_in(16);
    s.device.iw = !random.one_in(16);
    unsigned const had[] = {0, 1, 3, 3};
    s.device.had = random.pick(had);
    s.pasid = random.one_in(2) ? 0 : 5;

    switch (of.is) {
    case format::vtd_first: s.levels = 4 + random.small(2); break;
    case format::vtd_second:
    case format::vtd_legacy: s.levels = 3 + random.small(3); break;
    case format::amd_guest: s.levels = 4 + random.small(2); break;
    case format::amd_host: s.levels = random.one_in(4) ? 1 + random.small(6) : 3 + random.small(3); break;
    default: {
        smmu_model::stage& a = arm(s);
        a.g = of.g;
        a.ds = of.g != 16 && random.one_in(2);
        bool const wide = of.g == 16 ? random.one_in(2) : a.ds;
        s.smmu.idr5 = wide ? 6 : 5;
        s.smmu.idr3 = static_cast<std::uint32_t>(random.below(2)) << 4;
        unsigned const limits[] = {48, 48, 44, 42, 40, 36, wide ? 52u : 48u, wide ? 52u : 48u};
        a.limit = random.pick(limits);
        unsigned const most = wide ? 52 : 48;
        if (of.is == format::smmu_first) {
            a.iasize = random.one_in(2) ? most : 17 + random.small(most - 16);
            s.levels = 1 + (a.iasize - 1 - a.g) / (a.g - 3);
        } else {
            // Up to 16 tables side by side.
            do {
                s.levels = 1 + random.small(of.g == 12 ? 5 : of.g == 14 ? 4 : 3);
                unsigned const least = shift(s, s.levels - 1) + 1;
                a.iasize = least + random.small(stride(s) + 4);
            } while (a.iasize > most || a.iasize < (random.one_in(4) ? 25u : 36u));
        }
        a.start = 3 - static_cast<int>(s.levels - 1);
        a.affd = random.one_in(4);
        a.ha = random.one_in(2);
        if (a.ha) a.affd = false;
        a.hd = a.ha && !random.one_in(4);
        a.haft = a.ha && random.one_in(2);
        if (of.is == format::smmu_first) {
            s.one.one_privilege = random.one_in(6);
            s.one.wxn = random.one_in(4);
            s.one.pan = random.one_in(4);
            s.one.epan = random.one_in(4);
            s.one.had = random.one_in(2);
            s.one.aie = random.one_in(2);
            s.upper = random.one_in(3);
            s.ignores_top_byte = random.one_in(2);
        }
    }
    }
    return s;
}

// The top table is aligned to its size.
unsigned lg2_root(stage const& s) {
    if (!is_arm(s)) return 12;
    unsigned const lg2 = arm(s).iasize - shift(s, s.levels - 1) + 3;
    return std::max(lg2, arm(s).limit == 52 ? 6u : 4u);
}

// Writes the root, and what a PASID table or device table entry would say, where the models want it.
void set_root(random_bits& random, stage& s, std::uint64_t root) {
    s.root = root;
    arm(s).table = root;
    s.device.root = root;
    s.device.mode = s.of.is == format::amd_host ? s.levels : 0;
    s.device.gpm = s.levels == 5 ? 1 : 0;
    std::uint64_t const snoops = random.one_in(8) ? 0 : 1u << 23;
    s.space.entry[0] = root | (s.levels - 2) << 2 | (random.one_in(2) ? 1u << 9 : 0);
    s.space.entry[1] = snoops | random.below(2) << 26;
    s.space.entry[2] = root | (s.levels == 5 ? 1u << 2 : 0) | random.below(2) << 4 | random.below(2) << 7;
}

// --- tables at random ----------------------------------------------------------------------------------------------------

class builder {
public:
    builder(random_bits& random, std::vector<stage>& stages, physical& memory)
        : random_{random}, stages_{stages}, memory_{memory}, care_{random.one_in(2) ? 1u : 12u} {
        for (auto& anchor : anchors_)
            anchor = random_();
        for (std::size_t i = stages_.size(); i-- > 0;)
            set_root(random_, stages_[i], somewhere(i, lg2_root(stages_[i])));
    }

    // Makes stage `i` lead `input` somewhere, and says where to.
    std::uint64_t lead(std::size_t i, std::uint64_t input) {
        stage const& s = stages_[i];
        input &= below(input_width(s));
        unsigned wish = random_.one_in(2) ? 0 : random_.small(s.levels);
        while (shift(s, wish) > output_width(s))
            --wish;
        std::uint64_t table = s.root;
        unsigned level = s.levels - 1;
        for (;;) {
            auto const key = std::tuple{i, level, input >> shift(s, level)};
            auto const known = slots_.find(key);
            slot const here = known != slots_.end() ? known->second : make(i, level, wish, input);
            if (known == slots_.end()) {
                slots_[key] = here;
                std::uint64_t const index =
                    input >> shift(s, level) & (level == s.levels - 1 ? ~std::uint64_t{0} : below(stride(s)));
                put(i + 1, table + index * 8, entry_of(s, level, here));
            }
            if (here.leaf) return (here.address & ~below(here.lg2)) | (input & below(here.lg2));
            table = here.address;
            level = here.next;
        }
    }

private:
    struct slot {
        bool leaf = false;
        unsigned next = 0;
        std::uint64_t address = 0;
        unsigned lg2 = 0; // of a leaf
    };

    // An address in the space that stage `i` leads to, mostly one that it and the next stage can have.
    std::uint64_t somewhere(std::size_t i, unsigned lg2) {
        stage const& s = stages_[i];
        unsigned width = output_width(s);
        if (i + 1 < stages_.size() && !random_.one_in(64)) width = std::min(width, input_width(stages_[i + 1]));
        if (random_.one_in(200)) width = 52;
        // Near one another, so that they share what lies below.
        std::uint64_t at = random_();
        if (!random_.one_in(3)) at = anchors_[i] ^ (at & below(random_.one_in(2) ? 21 : 33));
        return at & below(width) & ~below(lg2);
    }

    slot make(std::size_t i, unsigned level, unsigned wish, std::uint64_t input) {
        stage const& s = stages_[i];
        slot made;
        made.leaf = level == 0 || (level <= wish && may_be_leaf(s, level));
        if (made.leaf) {
            made.lg2 = shift(s, level);
            bool const sized = s.of.is == format::amd_host && random_.one_in(3);
            if (sized) made.lg2 = std::min(made.lg2 + 1 + random_.small(8), 51u);
            made.address = somewhere(i, made.lg2);
            return made;
        }
        made.next = level - 1;
        // A level may be skipped whose bits are zero.
        if (s.of.is == format::amd_host)
            while (made.next > 0 && random_.one_in(2) && ((input >> shift(s, made.next) & 0x1ff) == 0 || random_.one_in(64)))
                --made.next;
        made.address = somewhere(i, s.of.g);
        return made;
    }

    // A word at an address of the space that stage `i` translates; below the last stage it is physical.
    void put(std::size_t i, std::uint64_t at, std::uint64_t value) {
        if (i == stages_.size()) return memory_.write(at, value);
        put(i + 1, lead(i, at), value);
    }

    // Accessed and dirty bits.
    std::uint64_t marked(std::uint64_t bits) { return random_.one_in(3) ? 0 : bits; }
    std::uint64_t often(std::uint64_t bits, unsigned but_once_in) { return random_.one_in(but_once_in * care_) ? 0 : bits; }
    std::uint64_t seldom(std::uint64_t bits, unsigned once_in) { return random_.one_in(once_in * care_) ? bits : 0; }

    std::uint64_t entry_of(stage const& s, unsigned level, slot const& here) {
        std::uint64_t const junk = random_();
        std::uint64_t e = here.address;
        bool const leaf = here.leaf;
        switch (s.of.is) {
        case format::vtd_first:
        case format::amd_guest:
            e |= often(1, 100) | often(2, 16) | often(4, 16) | marked(0x20);
            e |= junk & 0x7ff0000000000e18; // memory types, and bits for software
            if (leaf) e |= (level > 0 ? 0x80u | (junk & 0x1000) : junk & 0x80) | marked(0x40);
            if (s.of.is == format::vtd_first || amdvi_model::nx_sup(s.amd)) e |= seldom(std::uint64_t{1} << 63, 8);
            return e;
        case format::vtd_second:
        case format::vtd_legacy: {
            bool const moved = s.of.is == format::vtd_second && s.space.ssirwe;
            e |= (often(1, 24) | often(2, 12)) << (moved ? 61 : 0);
            e |= marked(0x100) | (junk & 0x8010000000000404) | (moved ? junk & 3 : 0);
            if (leaf) e |= (level > 0 ? 0x80u : junk & 0x80) | marked(0x200) | (junk & 0x78);
            if (leaf && bit(s.vtd.ecap, 7)) e |= junk & 0x800;
            return e;
        }
        case format::amd_host:
            e |= often(1, 100) | often(std::uint64_t{1} << 61, 24) | often(std::uint64_t{1} << 62, 12) | marked(0x20);
            e |= junk & 0x800000000000011e;
            if (!leaf) return e | std::uint64_t{here.next + 1} << 9;
            e |= marked(0x40) | (junk & 0x1800000000000000);
            if (here.lg2 != shift(s, level)) e = ((e | below(here.lg2 - 1)) & ~below(12)) | (e & 0xfff) | 0xe00;
            return e;
        default: break;
        }
        // Arm: with 52 bits the upper ones of the address stand elsewhere.
        if (is_wide(s)) {
            if (s.of.g == 16)
                e = (e & 0x0000ffffffff0000) | (e >> 48 & 15) << 12;
            else
                e = (e & 0x0003fffffffff000 & ~below(s.of.g)) | (e >> 50 & 3) << 8;
        }
        e &= 0x0003ffffffffffff;
        e |= (arm(s).ha || !leaf ? marked(0x400) : often(0x400, 12)) | (junk & 0x0780000000000000) | often(1, 100);
        bool const has_sh = !is_wide(s) || s.of.g == 16;
        if (!leaf) {
            e |= 2 | (junk & 0xfc);
            if (s.of.is == format::smmu_first) e |= seldom(junk & 0x7800000000000000, 6);
            return e;
        }
        e |= (level == 0 ? 2u : 0u) | (has_sh ? junk & 0x300 : 0) | (junk & 0x001800000000083c);
        if (s.of.is == format::smmu_first) {
            e |= often(0x40, 8) | seldom(0x80, 4) | seldom(std::uint64_t{1} << 53, 6) | seldom(std::uint64_t{1} << 54, 6);
            return e | (junk & 0x0800000000000000);
        }
        e |= often(0x40, 16) | often(0x80, 6);
        return e | seldom(junk & 0x0060000000000000, 4);
    }

    random_bits& random_;
    std::vector<stage>& stages_;
    physical& memory_;
    std::uint64_t anchors_[3]{};
    unsigned care_; // how good the tables are
    std::map<std::tuple<std::size_t, unsigned, std::uint64_t>, slot> slots_;
};

std::uint64_t random_input(random_bits& random, stage const& s) {
    unsigned const width = input_width(s);
    std::uint64_t in = random() & below(width);
    if (random.one_in(4)) in &= below(random.one_in(2) ? 21 : 33);
    bool const is_signed = s.of.is == format::vtd_first || (s.of.is == format::amd_guest && s.pasid != 0);
    if (is_signed && (in >> (width - 1) & 1) != 0) in |= ~below(width);
    if (s.of.is == format::smmu_first && s.upper) in |= ~below(width);
    if (s.of.is == format::smmu_first && s.ignores_top_byte) in ^= random() & ~below(56);
    if (random.one_in(60)) in ^= std::uint64_t{1} << random.below(64);
    if (random.one_in(100)) in = random();
    return in;
}

question random_question(random_bits& random) {
    question q;
    unsigned const n = random.small(10);
    q.r = n < 4 || n == 6 || n == 7;
    q.w = n == 4 || n == 5 || n == 6;
    q.x = n > 6;
    q.privileged = random.one_in(3);
    q.inquires = random.one_in(8);
    q.zero_length = q.r && !q.w && random.one_in(8);
    return q;
}

sw::access access_of(question const& q) {
    return (q.r ? sw::read : sw::none) | (q.w ? sw::write : sw::none) | (q.x ? sw::execute : sw::none) |
           (q.privileged ? sw::privileged : sw::none) | (q.zero_length ? sw::zero_length : sw::none) |
           (q.inquires ? sw::inquiring : sw::none);
}

// Something somewhere in the tables is not as it should be.
void spoil(random_bits& random, physical& m) {
    auto const any = [&] { return m.written[static_cast<std::size_t>(random.below(m.written.size()))]; };
    std::uint64_t const at = any();
    std::uint64_t const old = m.peek(at);
    unsigned const telling[] = {0,  0,  1,  1,  2,  5,  6,  7,  7,  8,  9,  10, 11, 12, 13,
                                20, 36, 47, 48, 51, 52, 53, 54, 60, 61, 61, 62, 62, 63};
    switch (random.small(8)) {
    case 0: return m.take_away(at);
    case 1: return m.write(at, 0);
    case 2: return m.write(at, old ^ std::uint64_t{1} << random.below(64));
    case 3: return m.write(at, random.one_in(4) ? random() : m.peek(any()));
    case 4: return m.write(at, old & ~(std::uint64_t{3} << (random.one_in(2) ? 61 : 0)));
    default: return m.write(at, old ^ std::uint64_t{1} << random.pick(telling));
    }
}

// --- texts ---------------------------------------------------------------------------------------------------------------------

using wide = unsigned long long; // what %llx takes

template <class... Values>
std::string print(char const* format, Values... values) {
    char text[512];
    std::snprintf(text, sizeof text, format, values...);
    return text;
}

std::string name_of(kind k) {
    char const* const names[] = {"vtd first", "vtd second", "vtd legacy", "smmu 1", "smmu 2", "amd host", "amd guest"};
    std::string name = names[static_cast<int>(k.is)];
    if (k.is == format::smmu_first || k.is == format::smmu_second) name += k.g == 12 ? " 4K" : k.g == 14 ? " 16K" : " 64K";
    return name;
}

std::string code_of(std::size_t stage, unsigned code) { return print("stage %zu: code %02x", stage, code); }

std::string text_of(answer const& a) {
    if (a.ok)
        return print("ok %llx attributes %llx lg2 %llu walked %d\n", static_cast<wide>(a.output), static_cast<wide>(a.attributes),
                     static_cast<wide>(a.lg2), a.walked ? 1 : 0);
    std::string s = "refused\n";
    for (unsigned i = 0; i < a.faults; ++i) {
        auto const& f = a.fault[i];
        s += print("    by %u code %x stage %u at %u level %u reported %d input %llx intermediate %llx descriptor %llx entry "
                   "%llx detail %llx\n",
                   a.by[i], f.code, f.stage, f.at, f.level, f.reported ? 1 : 0, static_cast<wide>(f.input),
                   static_cast<wide>(f.intermediate), static_cast<wide>(f.descriptor), static_cast<wide>(f.entry),
                   static_cast<wide>(f.detail));
    }
    return s;
}

std::string text_of(std::vector<std::uint64_t> const& reads, std::vector<physical::update> const& updates) {
    std::string s = "    reads";
    for (auto const at : reads)
        s += print(" %llx", static_cast<wide>(at));
    for (auto const& u : updates)
        s += print("\n    update %llx: %llx to %llx", static_cast<wide>(u.at), static_cast<wide>(u.old),
                   static_cast<wide>(u.fresh));
    return s + "\n";
}

} // namespace

void compare(pile const& p, std::uint64_t cases, std::uint64_t seed, tally& reached) {
    cases = sw::test::fewer(cases);
    random_bits random{seed};
    static physical m;
    unsigned const harmless[] = {2, 3, 4, 55, 56, 57, 58, 63};
    for (std::uint64_t n = 0; n < cases; ++n) {
        m.clear(random());
        std::vector<stage> stages;
        for (kind const of : p.of)
            stages.push_back(random_stage(random, of));
        builder build{random, stages, m};
        std::uint64_t const input = random_input(random, stages[0]);
        std::uint64_t output = build.lead(0, input);
        for (std::size_t i = 1; i < stages.size() && !random.one_in(24); ++i)
            output = build.lead(i, output);
        for (unsigned k = random.one_in(3) ? 1 + random.small(2) : 0; k > 0; --k)
            spoil(random, m);
        question const q = random_question(random);
        if (random.one_in(4)) {
            // Somebody else changes an entry just before it is updated: once, or whenever it is tried again. What is changed
            // again and again is not what the entry is: one stage alone has one patience for its tables and its leaf.
            bool const again = random.one_in(3);
            m.meddles = {1 + random.small(3), again, std::uint64_t{1} << (again ? random.pick(harmless) : random.small(64))};
        }

        std::uint64_t sizes[3]{};
        answer const expected = translate(stages, 0, input, q, m, sizes);
        auto const reads = m.reads;
        auto const updates = m.updates;
        auto const attempts = m.attempts;
        m.undo();
        memory through{&m};
        answer const got = p.translate(stages, input, access_of(q), through);
        if (got != expected || m.reads != reads || m.updates != updates || m.attempts != attempts) {
            std::string over;
            for (stage const& s : stages)
                over += name_of(s.of) + print(", %u levels, root %llx\n", s.levels, static_cast<wide>(s.root));
            FAIL("case " << n << ", seed " << seed << "\n"
                         << over << "input " << std::hex << input << " access " << access_of(q).bits
                         << "\nlibrary: " << text_of(got) << text_of(m.reads, m.updates) << "model: " << text_of(expected)
                         << text_of(reads, updates));
        }

        if (expected.ok) {
            ++reached["ok"];
            ++reached[print("rights %u", static_cast<unsigned>(expected.attributes & 7))];
            if (!updates.empty()) ++reached["updates"];
            if (m.meddles.first != 0 && attempts >= m.meddles.first) ++reached["restarts"];
            if (sizes[0] < sizes[1]) ++reached["smaller page over larger"];
            if (sizes[0] > sizes[1]) ++reached["larger page over smaller"];
            if (sizes[0] == sizes[1]) ++reached["page over page of its size"];
            if (sizes[0] > stages[0].of.g && sizes[1] > stages[1].of.g) ++reached["block over block"];
        }
        if (expected.ok) continue;
        // Whose fault it is, from the uppermost stage down: the last one's is its own.
        char const* const names[] = {"own", "table", "update", "output"};
        std::string who;
        for (unsigned i = 0; i < expected.faults; ++i)
            who += (i == 0 ? "" : ", ") + std::string{names[expected.by[i]]};
        ++reached[who];
        unsigned const ends = expected.faults - 1;
        ++reached[code_of(ends, expected.fault[ends].code)];
    }
}

void check(pile const& p, tally& reached, std::uint64_t least) {
    if (!sw::test::all_cases()) return;
    for (std::size_t i = 0; i < p.of.size(); ++i) {
        std::vector<unsigned> codes;
        switch (p.of[i].is) {
        case format::vtd_first: codes = {0x70, 0x71, 0x72, 0x73, 0x80, 0x81, 0x85, 0x90, 0x91}; break;
        case format::vtd_second: codes = {0x78, 0x79, 0x7a, 0x7b, 0x7c, 0x7d, 0x84, 0x85, 0x86}; break;
        case format::vtd_legacy: codes = {0x3, 0x4, 0x5, 0x6, 0x7, 0xc}; break;
        case format::smmu_first:
        case format::smmu_second: codes = {0xb, 0x10, 0x11, 0x12, 0x13}; break;
        default: codes = {0x2, 0x4}; break;
        }
        for (unsigned const code : codes) {
            INFO(name_of(p.of[i]) << ": " << code_of(i, code));
            CHECK(reached[code_of(i, code)] >= 1);
        }
    }
    std::vector<std::string> wanted{"smaller page over larger",
                                    "larger page over smaller",
                                    "block over block",
                                    "rights 1",
                                    "rights 3",
                                    "updates",
                                    "restarts",
                                    "own",
                                    "table, own",
                                    "update, own",
                                    "output, own"};
    if (p.of.size() == 3)
        for (char const* name :
             {"table, table, own", "table, output, own", "update, output, own", "output, table, own", "output, output, own"})
            wanted.push_back(name);
    for (auto const& name : wanted) {
        INFO(name);
        CHECK(reached[name] >= least);
    }
    CHECK(reached["ok"] >= 20 * least);
}

void compare_over_all(pile const (&piles)[5], std::uint64_t cases, std::uint64_t seed) {
    for (pile const& p : piles) {
        INFO(name_of(p.of[0]) << " over " << name_of(p.of[1]));
        tally reached;
        compare(p, cases, ++seed, reached);
        check(p, reached, cases / 1000);
    }
}

} // namespace any_over_any
