// AMD-Vi: a unit with caches against one without, over the same memory. Tables, device table entries and GCR3 tables are edited
// at random, and after each edit come the commands that the manual demands, no more of them: answers, faults and the tables' bits
// are the same, request by request.
#include "amdvi_arena.hpp"
#include "amdvi_compare.hpp"
#include "catch.hpp"

#include <stagewalk/amdvi/caches.hpp>
#include <stagewalk/amdvi/configure.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

namespace sw = stagewalk;
using namespace amdvi_arena;
using amdvi_compare::print;
using amdvi_compare::wide;
using sw::amdvi::device_table_entry;
using sw::amdvi::request;
using sw::amdvi::request_type;

// What an arena's words became.
using effect = std::vector<std::pair<std::size_t, std::uint64_t>>;

effect effect_of(arena const& a) {
    effect all;
    for (std::size_t i = 0; i < a.changes; ++i)
        all.emplace_back(a.log[i].index, a.words[a.log[i].index]);
    std::sort(all.begin(), all.end());
    all.erase(std::unique(all.begin(), all.end()), all.end());
    return all;
}

// A word that a translation was found through, and in which role: what has to be dropped if it changes depends on that.
struct met {
    std::size_t index;
    enum { device_entry, host, gcr3, guest } as;
};

template <class Stage>
constexpr bool is_host = false;
template <class In, class Out>
constexpr bool is_host<sw::amdvi::host_table<In, Out>> = true;

// Who asks, and for which page of 4 KiB.
struct asker {
    std::uint16_t source;
    std::uint32_t pasid;
    std::uint64_t page;
    std::vector<met> trail{}; // what is met on the way
    bool by_guest = false;    // GCR3 tables among it
    bool is_mapped = false;   // and where it leads
    sw::translation<sw::pa> to{};
};

struct findings {
    std::uint64_t requests = 0;
    std::uint64_t translated = 0;
    std::uint64_t updated = 0;
    std::uint64_t hits = 0;
    std::uint64_t loads = 0;       // with caches
    std::uint64_t plain_loads = 0; // without
    std::uint64_t table_edits = 0;
    std::uint64_t entry_edits = 0;
    std::uint64_t stale = 0;
    std::string first{};
};

template <class Caches>
class oracle {
public:
    oracle(random_bits& r, bool withholds) : random{r}, withholds_{withholds} {}

    findings found;

    // One unit, from its tables to its end. Nobody but the requests and the edits changes memory, and what fails fails always.
    void round(plan const& wish, unsigned requests) {
        b.build(random, a, wish);
        b.next_round(random, a);
        a.folds = false;
        a.rival_at = arena::none;
        a.changes = 0;
        undo.clear();
        caps = amdvi_compare::capabilities_of(b.u);
        registers = amdvi_compare::control_of(b.u);
        auto const settings = amdvi_compare::settings_of(b.u);
        auto load = [this](sw::pa at) { return this->load(at); };
        auto exchange = [this](sw::pa at, std::uint64_t& old, std::uint64_t fresh) -> sw::outcome<bool, int> {
            auto const how = a.replace(at.value, old, fresh, old);
            if (how == amdvi_model::failed) return sw::failure{2};
            return how == amdvi_model::done;
        };
        auto memory = sw::make_callback<sw::pa>(load, exchange);
        auto const caches = std::make_unique<Caches>();
        sw::amdvi::iommu const plain{caps, registers, memory, settings};
        sw::amdvi::iommu const kept{caps, registers, memory, settings, *caches};
        choose_askers(settings);
        if (askers.empty()) return;
        for (unsigned n = 0; n < requests; ++n) {
            if (random.one_in(8)) edit(kept);
            judge(plain, kept, next_request());
        }
        found.hits += caches->iotlb.counts().of(sw::tlb_count::hits);
    }

private:
    random_bits& random;
    bool withholds_;
    std::uint64_t loads_ = 0;
    arena& a = *[] {
        static arena memory;
        return &memory;
    }();
    builder b{};
    sw::amdvi::capabilities caps{};
    sw::amdvi::control registers{};
    std::vector<asker> askers{};
    std::vector<std::pair<std::size_t, std::uint64_t>> undo{}; // what edited words held before

    sw::outcome<std::uint64_t, int> load(sw::pa at) {
        ++loads_;
        std::uint64_t value = 0;
        if (!a.read(at.value, value)) return sw::failure{1};
        return value;
    }

    // --- who asks ---

    // Mostly some whose requests pass; and none that the rest is not consistent with.
    void choose_askers(sw::amdvi::settings const& settings) {
        askers.clear();
        for (unsigned n = 0; n < 24 && askers.size() < 8; ++n) {
            ask const q = b.next_ask(random);
            asker fresh{q.device, q.has_pasid ? q.pasid : sw::amdvi::no_pasid, q.address & ~std::uint64_t{0xfff}};
            if (!askers.empty() && random.one_in(4)) fresh.page = askers[random.below(askers.size())].page;
            if (!askers.empty() && random.one_in(8)) fresh.pasid = askers[random.below(askers.size())].pasid;
            askers.push_back(fresh);
            follow(settings);
            if (!is_consistent() || (!askers.back().is_mapped && !random.one_in(4))) askers.pop_back();
        }
    }
    request next_request() {
        asker const& who = askers[random.below(askers.size())];
        static constexpr sw::access accesses[]{sw::read, sw::read, sw::write, sw::write, sw::read_write, sw::read | sw::execute,
                                               sw::none, sw::read};
        request r;
        r.source = who.source;
        r.pasid = who.pasid;
        r.address = sw::iova{who.page | (random.one_in(2) ? 0 : random.below(4096))};
        r.access = random.pick(accesses);
        if (random.one_in(4)) r.access = r.access | sw::privileged;
        if (random.one_in(5)) r.type = request_type::translation;
        if (random.one_in(30)) r.type = request_type::translated;
        return r;
    }

    // --- what their translations depend on ---

    void follow(sw::amdvi::settings const& settings) {
        asker* now = nullptr;
        std::vector<met>* trail = nullptr;
        auto load_and_note = [&](sw::pa at) {
            if (auto const i = a.index(at.value); i != static_cast<std::size_t>(arena::none)) trail->push_back({i, met::guest});
            return this->load(at);
        };
        auto memory = sw::make_callback<sw::pa>(load_and_note);
        sw::amdvi::iommu const watched{caps, registers, memory, settings};
        auto const note = [&](auto const& step) {
            using step_type = std::remove_cvref_t<decltype(step)>;
            if (trail->empty()) return;
            if constexpr (std::is_same_v<step_type, sw::configuration_step<device_table_entry>>) {
                for (met& m : *trail)
                    m.as = met::device_entry;
            } else if constexpr (std::is_same_v<step_type, sw::configuration_step<sw::amdvi::gcr3_table_entry>>) {
                now->by_guest = true;
                if (!trail->empty()) trail->back().as = met::gcr3;
            } else {
                using stage = std::remove_cvref_t<decltype(step.of)>;
                if constexpr (is_host<stage>) trail->back().as = met::host;
            }
        };
        for (asker& who : askers) {
            who.trail.clear();
            who.by_guest = false;
            now = &who;
            trail = &who.trail;
            request r;
            r.source = who.source;
            r.pasid = who.pasid;
            r.address = sw::iova{who.page};
            r.access = sw::privileged;
            auto const o = watched.translate(r, note);
            who.is_mapped = o && o->by == sw::passage::walked;
            if (who.is_mapped) who.to = *o;
        }
    }
    // --- edits ---

    std::uint64_t entry_address(std::uint16_t source, bool& exists) const {
        auto const place = sw::amdvi::find_device_entry(registers, registers.segment_bits(caps), source);
        exists = place.exists;
        return place.address;
    }
    // All zero where there is none.
    device_table_entry entry_of(std::uint16_t source) const {
        device_table_entry e;
        bool exists = false;
        std::uint64_t const at = entry_address(source, exists);
        for (std::uint64_t w = 0; exists && w < 4; ++w)
            e.word[w] = a.peek(at + 8 * w);
        return e;
    }
    // Devices that share a domain share the tables: the manual leaves that to software.
    static bool conflict(device_table_entry const& x, device_table_entry const& y) {
        auto const counts = [](device_table_entry const& e) { return (e.word[0] & 3) == 3; };
        if (!counts(x) || !counts(y) || x.get<"DomainID">() != y.get<"DomainID">()) return false;
        bool const both_guest = x.get<"GV">() != 0 && y.get<"GV">() != 0;
        if (x.get<"Mode">() != 0 && y.get<"Mode">() != 0 &&
            (x.get<"Mode">() != y.get<"Mode">() || x.get<"HostPageTableRoot">() != y.get<"HostPageTableRoot">()))
            return true;
        return both_guest && ((x.get<"Mode">() != 0) != (y.get<"Mode">() != 0) || x.get<"GLX">() != y.get<"GLX">() ||
                              x.get<"GPM">() != y.get<"GPM">() || x.gcr3_root() != y.gcr3_root());
    }
    static std::vector<std::size_t> tables_of(asker const& who) {
        std::vector<std::size_t> all;
        for (met const& m : who.trail)
            if (m.as != met::device_entry) all.push_back(m.index);
        std::sort(all.begin(), all.end());
        all.erase(std::unique(all.begin(), all.end()), all.end());
        return all;
    }
    // A page that has several entries has the same in each, and accessed and dirty bits in any of them: what is compared here
    // must have one entry, or no such bits.
    static bool is_torn(asker const& x, device_table_entry const& of_x, asker const& y, device_table_entry const& of_y) {
        auto const pasid = [](asker const& who) {
            return !who.by_guest ? sw::amdvi::no_pasid : who.pasid == sw::amdvi::no_pasid ? 0 : who.pasid;
        };
        constexpr std::uint64_t tag =
            device_table_entry::mask<"IR">() | device_table_entry::mask<"IW">() | device_table_entry::mask<"HAD">();
        if (!x.is_mapped || ((x.page ^ y.page) & ~sw::low_mask(x.to.lg2_size)) != 0 || x.by_guest != y.by_guest ||
            pasid(x) != pasid(y) || of_x.get<"DomainID">() != of_y.get<"DomainID">() ||
            ((of_x.word[0] ^ of_y.word[0]) & tag) != 0)
            return false;
        if (!y.is_mapped || x.to.lg2_size != y.to.lg2_size || x.to.effective.bits != y.to.effective.bits ||
            (x.to.output.value ^ y.to.output.value) >> x.to.lg2_size != 0)
            return true;
        return (x.by_guest || of_x.get<"HAD">() != 0) && tables_of(x) != tables_of(y);
    }
    // An entry that is also one of another kind changes there by the bits that the IOMMU sets here, and nobody invalidates.
    bool has_double_role() const {
        std::vector<std::pair<std::size_t, int>> roles;
        for (asker const& who : askers)
            for (met const& m : who.trail)
                roles.emplace_back(m.index, m.as);
        std::sort(roles.begin(), roles.end());
        roles.erase(std::unique(roles.begin(), roles.end()), roles.end());
        return std::adjacent_find(roles.begin(), roles.end(), [](auto const& x, auto const& y) { return x.first == y.first; }) !=
               roles.end();
    }
    bool is_consistent() const {
        if (has_double_role()) return false;
        for (asker const& x : askers)
            for (asker const& y : askers) {
                auto const of_x = entry_of(x.source);
                auto const of_y = entry_of(y.source);
                if (conflict(of_x, of_y) || is_torn(x, of_x, y, of_y)) return false;
            }
        return true;
    }

    // Changes something, and does what is owed.
    template <class Unit>
    void edit(Unit const& kept) {
        std::vector<std::pair<std::size_t, std::uint64_t>> fresh;
        bool of_entry = false;
        bool is_undo = false;
        if (!undo.empty() && (undo.size() > 4 || random.one_in(2))) {
            fresh.push_back(undo.back());
            undo.pop_back();
            is_undo = true;
        } else if (random.one_in(3)) {
            of_entry = true;
            choose_entry_edit(fresh);
        } else {
            choose_table_edit(fresh);
        }
        if (fresh.empty()) return;
        std::vector<device_table_entry> old;
        for (asker const& who : askers)
            old.push_back(entry_of(who.source));
        effect before;
        for (auto const& [i, value] : fresh) {
            before.emplace_back(i, a.words[i]);
            a.words[i] = value;
        }
        auto const askers_before = askers;
        follow(kept.setup());
        if (!is_consistent()) {
            for (auto const& [i, value] : before)
                a.words[i] = value;
            askers = askers_before;
            return;
        }
        if (!is_undo) undo.insert(undo.end(), before.begin(), before.end());
        ++(of_entry ? found.entry_edits : found.table_edits);
        if (!withholds_) {
            for (std::size_t n = 0; n < askers.size(); ++n)
                pay(kept, askers_before[n], old[n], fresh);
        }
    }
    template <class Unit, class Command>
    static void execute(Unit const& kept, Command const& c) {
        static_cast<void>(kept.execute({c.word[0], c.word[1]}));
    }
    template <class Unit>
    void pay(Unit const& kept, asker const& who, device_table_entry const& old, effect const& fresh) {
        auto const owed = sw::amdvi::owed_after(old, entry_of(who.source), who.source, {}, caps);
        for (std::size_t n = 0; n < owed.count; ++n)
            REQUIRE(kept.execute({owed.word[n][0], owed.word[n][1]}));
        auto const domain = static_cast<std::uint16_t>(old.get<"DomainID">());
        if (owed.count != 0 && old.get<"GV">() != 0 && random.one_in(2)) {
            for (asker const& other : askers)
                execute(kept, sw::amdvi::invalidate_pasid(domain, other.pasid == sw::amdvi::no_pasid ? 0 : other.pasid));
        }
        bool host = false;
        bool guest = false;
        for (met const& m : who.trail) {
            if (std::none_of(fresh.begin(), fresh.end(), [&](auto const& f) { return f.first == m.index; })) continue;
            host = host || m.as == met::host;
            guest = guest || m.as == met::guest || m.as == met::gcr3;
        }
        auto const page = sw::range<sw::iova>::between(sw::iova{who.page}, sw::iova{who.page | 0xfff});
        bool const leaves_only = random.one_in(2);
        if (guest) {
            std::uint32_t const pasid = who.pasid == sw::amdvi::no_pasid ? 0 : who.pasid;
            execute(kept, sw::amdvi::invalidate_pages(domain, pasid, page, leaves_only));
        }
        // Under which of its own addresses a guest has the page nobody knows: the whole domain is named.
        if (host)
            execute(kept, sw::amdvi::invalidate_pages(domain, sw::amdvi::no_pasid,
                                                      who.by_guest ? sw::range<sw::iova>::all() : page, leaves_only));
    }

    void choose_table_edit(effect& fresh) {
        asker const& who = askers[random.below(askers.size())];
        std::vector<std::size_t> words;
        for (met const& m : who.trail)
            if (m.as != met::device_entry) words.push_back(m.index);
        if (words.empty()) return;
        std::size_t const i = words[random.below(words.size())];
        std::uint64_t value = a.words[i];
        switch (random.below(10)) {
        case 0: value ^= 1; break;
        case 1: value &= ~std::uint64_t{0x60}; break; // accessed and dirty
        case 2: value ^= std::uint64_t{1} << (61 + random.below(2)); break;
        case 3: value ^= std::uint64_t{1} << (1 + random.below(2)); break;
        case 4: value ^= std::uint64_t{1} << 63; break;
        case 5:
        case 6: value ^= std::uint64_t{1} << (12 + random.below(40)); break;
        case 7: value = (value & 0xfff0000000000fff) | (a.words[words[random.below(words.size())]] & 0x000ffffffffff000); break;
        case 8: value = 0; break;
        default: value ^= std::uint64_t{1} << random.below(64); break;
        }
        fresh.emplace_back(i, value);
    }
    void choose_entry_edit(effect& fresh) {
        std::uint16_t const source = askers[random.below(askers.size())].source;
        bool exists = false;
        std::uint64_t const at = entry_address(source, exists);
        if (!exists || !a.has(at)) return;
        device_table_entry e = entry_of(source);
        switch (random.below(16)) {
        case 0: e.word[0] ^= 1; break;
        case 1: e.word[0] ^= 2; break;
        case 2:
        case 3: set_bits(e.word[0], 62, 61, random.below(4)); break;
        case 4: set_bits(e.word[0], 8, 7, random.below(4)); break;
        case 5: e.word[0] ^= std::uint64_t{1} << 55; break;
        case 6: e.word[0] ^= std::uint64_t{1} << 54; break;
        case 7: set_bits(e.word[0], 11, 9, random.below(7)); break;
        case 8: e.word[1] ^= std::uint64_t{1} << 32; break;
        case 9: e.word[1] ^= std::uint64_t{1} << (33 + random.below(2)); break;
        case 10: e.word[1] ^= std::uint64_t{1} << 39; break;
        case 11: e.word[1] ^= std::uint64_t{1} << random.below(16); break;
        case 12: e.word[1] ^= std::uint64_t{64} << random.below(10); break;       // of the same group
        case 13: e = entry_of(askers[random.below(askers.size())].source); break; // another's domain, or its tables
        case 14: set_bits(e.word[1], 15, 0, entry_of(askers[random.below(askers.size())].source).word[1]); break;
        default: e.word[random.below(4)] ^= std::uint64_t{1} << random.below(64); break;
        }
        for (std::uint64_t w = 0; w < 4; ++w)
            if (e.word[w] != a.peek(at + 8 * w)) fresh.emplace_back(a.index(at + 8 * w), e.word[w]);
    }

    // --- the verdict ---

    template <class Plain, class Kept>
    void judge(Plain const& plain, Kept const& kept, request const& r) {
        ++found.requests;
        a.changes = 0;
        loads_ = 0;
        auto const got = kept.translate(r);
        found.loads += std::exchange(loads_, 0);
        effect const got_memory = effect_of(a);
        a.rewind();
        auto const expected = plain.translate(r);
        found.plain_loads += loads_;
        effect const expected_memory = effect_of(a);
        if (expected && expected->by == sw::passage::walked) ++found.translated;
        if (!expected_memory.empty()) ++found.updated;
        bool const alike = got ? expected && *got == *expected : !expected && got.error() == expected.error();
        if (alike && got_memory == expected_memory) return;
        if (found.stale++ != 0) return;
        auto const text = [](auto const& o) { return o ? amdvi_compare::text_of(*o) : amdvi_compare::text_of(o.error()); };
        found.first = print("request %llu: source %x pasid %x address %llx access %llx type %llu\n",
                            static_cast<wide>(found.requests), static_cast<unsigned>(r.source), r.pasid,
                            static_cast<wide>(r.address.value), static_cast<wide>(r.access.bits), static_cast<wide>(r.type)) +
                      "cached:   " + text(got) + "\nexpected: " + text(expected) + "\n";
        auto const e = entry_of(r.source);
        found.first += print("entry %llx %llx %llx %llx\n", static_cast<wide>(e.word[0]), static_cast<wide>(e.word[1]),
                             static_cast<wide>(e.word[2]), static_cast<wide>(e.word[3]));
        for (auto const& [i, value] : got_memory)
            found.first += print("cached wrote %zx: %llx\n", i, static_cast<wide>(value));
        for (auto const& [i, value] : expected_memory)
            found.first += print("expected wrote %zx: %llx\n", i, static_cast<wide>(value));
    }
};

using sw::statistics::counting;
using usual = sw::amdvi::caches<sw::pa, counting>;
using small = sw::amdvi::caches<sw::pa, counting, sw::sets<4>, sw::ways<2>, sw::groups<2>>;
using guarded = sw::amdvi::caches<sw::pa, counting, sw::sets<16>, sw::ways<3>, sw::replace::lru, sw::guard::seqlock>;

template <class Caches>
findings run(std::uint64_t requests, std::uint64_t seed, plan const& wish, bool withholds = false) {
    random_bits random{seed};
    oracle<Caches> o{random, withholds};
    while (o.found.requests < requests && (withholds || o.found.stale == 0))
        o.round(wish, 128);
    auto const& f = o.found;
    std::printf(
        "%llu requests, %llu translated, %llu with updates; %llu hits, %llu of %llu loads; edits: %llu tables, %llu entries; "
        "%llu stale\n",
        static_cast<wide>(f.requests), static_cast<wide>(f.translated), static_cast<wide>(f.updated), static_cast<wide>(f.hits),
        static_cast<wide>(f.loads), static_cast<wide>(f.plain_loads), static_cast<wide>(f.table_edits),
        static_cast<wide>(f.entry_edits), static_cast<wide>(f.stale));
    return f;
}

// The same answers, and not because nothing was cached.
void check(findings const& f) {
    INFO(f.first);
    CHECK(f.stale == 0);
    CHECK(f.hits > f.requests / 20);
    CHECK(f.loads < f.plain_loads / 4 * 3);
    CHECK(f.updated > f.requests / 400);
}

} // namespace

TEST_CASE("AMD-Vi caches over host tables answer as memory does", "[amdvi]") {
    check(run<usual>(sw::test::fewer(100'000, 10'000), 1, {by_host, 0, 0}));
}
TEST_CASE("AMD-Vi caches over guest tables answer as memory does", "[amdvi]") {
    check(run<usual>(sw::test::fewer(100'000, 10'000), 2, {by_guest, 0, 0}));
}
TEST_CASE("AMD-Vi caches over nested tables answer as memory does", "[amdvi]") {
    check(run<usual>(sw::test::fewer(100'000, 10'000), 3, {by_both, 0, 0}));
}
TEST_CASE("AMD-Vi caches that are small and have two groups of domains answer as memory does", "[amdvi]") {
    check(run<small>(sw::test::fewer(100'000, 10'000), 4, {}));
}
TEST_CASE("AMD-Vi caches that threads could share answer as memory does", "[amdvi]") {
    check(run<guarded>(sw::test::fewer(100'000, 10'000), 5, {}));
}
TEST_CASE("AMD-Vi caches answer otherwise if nobody invalidates them", "[amdvi]") {
    for (unsigned const kind : {by_host, by_guest, by_both}) {
        auto const f = run<usual>(sw::test::fewer(4'000, 2'000), 6, {kind, 0, 0}, true);
        CHECK(f.stale > f.requests / 100);
    }
}
TEST_CASE("AMD-Vi caches answer five million requests as memory does", "[amdvi][long]") {
    check(run<usual>(2'500'000, 100, {}));
    check(run<small>(2'500'000, 101, {}));
}
