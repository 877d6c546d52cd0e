// What an SMMU caches, what it does not, and what each command drops.
#include "smmu_unit.hpp"

#include <stagewalk/smmu/caches.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <vector>

namespace {

using namespace stagewalk;
using smmu::iotlb_tag;
using smmu::stream_world;
using stagewalk::test::event;
using stagewalk::test::event_of;
using stagewalk::test::smmu_kind;
using stagewalk::test::smmu_unit;
using memory_type = smmu_unit::memory_type;
using caches_type = smmu::caches<pa, sets<512>, ways<16>, statistics::counting>;

template <class Unit, class Command>
auto carry_out(Unit const& unit, Command const& c) {
    std::uint64_t const word[2] = {c.word[0], c.word[1]};
    return unit.execute(word);
}

// The tables of smmu_unit, with caches.
struct cached_unit : smmu_unit {
    caches_type kept{};

    explicit cached_unit(smmu_kind k = smmu_kind::stage1) : smmu_unit{k} { write_configuration(); }
    auto cached() { return smmu::iommu{caps(), registers(), memory, rules, kept}; }
    // How many words an access reads.
    std::size_t loads(smmu::request const& r) {
        memory.forget();
        static_cast<void>(cached().translate(r));
        return memory.trail.size();
    }
    std::uint64_t& leaf() { return kind == smmu_kind::stage2 ? memory[s3] : first(l3); }
};

// Memory that calls back after a load: somebody changes tables meanwhile.
struct busy_memory {
    using address = pa;
    using error = memory_error;
    memory_type* under{};
    std::function<void(std::uint64_t)> after{};

    outcome<std::uint64_t, error> load(pa a) noexcept {
        auto const found = under->load(a);
        if (after) after(a.value);
        return found;
    }
};

// --- commands -------------------------------------------------------------------------------------------------------

struct page {
    std::uint64_t at;
    std::uint64_t lg2;
};
// In sets of their own, so that none makes room for another.
constexpr page pages[] = {{0x4000'2000, 12}, {0x4000'1000, 12}, {0x4001'0000, 16},           {0x4080'0000, 21},
                          {0xc000'0000, 30}, {0x9000, 12},      {0xffff'8000'1234'5000, 12}, {0xffff'ffff'ffff'f000, 12}};
constexpr std::uint16_t vmids[] = {0, 1, 0x11, 0x41};
constexpr std::uint16_t asids[] = {0, 1, 0x101};
constexpr std::uint32_t sources[] = {0, 1, 2, 3, 0x10, 0x2a, 0x2b, 0x10'002a};
constexpr std::uint32_t pasids[] = {0, 1, 0x40, 0xf'ffff};

std::vector<iotlb_tag> tags() {
    std::vector<iotlb_tag> all;
    for (std::uint16_t const v : vmids) {
        for (std::uint16_t const a : asids) {
            all.push_back({v, a, stream_world::el1, true, false});
            all.push_back({v, a, stream_world::el1, true, true});
        }
        all.push_back({v, 0, stream_world::el1, false, true});
    }
    all.push_back({0, 0, stream_world::el2, true, false});
    for (std::uint16_t const a : asids)
        all.push_back({0, a, stream_world::el2_e2h, true, false});
    return all;
}
void populate(caches_type& c) {
    for (iotlb_tag const& t : tags())
        for (page const& p : pages)
            c.iotlb.insert(c.iotlb.begin(), iova{p.at},
                           translation<pa>{pa{0x1'0000'0000}, attributes{read_write}, p.lg2, passage::walked}, t, stagewalk::read,
                           stagewalk::read);
    std::uint64_t const words[4] = {1, 2, 3, 4};
    for (std::uint32_t const s : sources) {
        c.streams.insert(c.streams.begin(), s, words);
        for (std::uint32_t const p : pasids)
            c.contexts.insert(c.contexts.begin(), caches_type::key_of(s, p), words);
    }
}
bool has(caches_type& c, iotlb_tag const& t, page const& p) {
    return static_cast<bool>(c.iotlb.find(iova{p.at}, t, stagewalk::read));
}

struct tlb_operands {
    std::uint64_t op, vmid, asid, at, num, scale, ttl, tg, leaf;
    [[nodiscard]] smmu::tlb_command command() const {
        return smmu::tlb_command{op | num << 12 | scale << 20 | vmid << 32 | asid << 48, at | leaf | ttl << 8 | tg << 10};
    }
};

// What the manual demands of a translation.
enum class fate { stays, may_go, goes };

// By counting pages of 4 KiB: no sum of addresses that could overflow.
bool reaches(tlb_operands const& o, page const& p) {
    std::uint64_t const lg2 = o.tg == 0 ? 12 : 10 + 2 * o.tg;
    std::uint64_t const first = o.at >> lg2 << (lg2 - 12);
    std::uint64_t const count = o.tg == 0 ? 1 : ((o.num + 1) << o.scale) << (lg2 - 12);
    std::uint64_t const begin = p.at >> 12;
    std::uint64_t const length = std::uint64_t{1} << (p.lg2 - 12);
    return first < begin + length && begin < first + count;
}
fate fate_of(tlb_operands const& o, std::uint64_t vmw, iotlb_tag const& t, page const& p) {
    bool const el1 = t.world == stream_world::el1;
    bool const vmid = ((t.vmid ^ o.vmid) & ~((std::uint64_t{1} << vmw) - 1)) == 0;
    bool const asid = t.asid == o.asid || t.world == stream_world::el2;
    auto const must = [](bool b) { return b ? fate::goes : fate::stays; };
    // Global translations are not told apart: at an address those of every ASID go.
    auto const at_address = [&](bool whose) {
        if (!whose || !reaches(o, p)) return fate::stays;
        return asid ? fate::goes : fate::may_go;
    };
    switch (o.op) {
    case 0x10: return must(el1 && vmid && t.by_stage1);
    case 0x11: return must(el1 && vmid && t.by_stage1 && asid);
    case 0x12: return at_address(el1 && vmid && t.by_stage1);
    case 0x13: return must(el1 && vmid && t.by_stage1 && reaches(o, p));
    case 0x20: return must(!el1);
    case 0x21: // of no ASID, so kept as those of 0
        if (t.world == stream_world::el2) return o.asid == 0 ? fate::may_go : fate::stays;
        return must(!el1 && asid);
    case 0x22: return at_address(!el1);
    case 0x23: return must(!el1 && reaches(o, p));
    case 0x28:
        if (el1 && vmid) return fate::goes;
        // Groups of 64: VMIDs that share one, and EL2 with VMID 0.
        return ((t.vmid ^ o.vmid) & 63 & ~((std::uint64_t{1} << vmw) - 1)) == 0 ? fate::may_go : fate::stays;
    case 0x2a: return must(el1 && vmid && !t.by_stage1 && reaches(o, p));
    default: return must(el1);
    }
}

smmu::capabilities all_caps(bool vmw) {
    smmu_unit u;
    u.idr0.set<"VMW">(vmw);
    u.idr3.set<"RIL">(1);
    return u.caps();
}

} // namespace

TEST_CASE("SMMU caches: each TLB command drops what it must and no more than is said") {
    constexpr std::uint64_t ops[] = {0x10, 0x11, 0x12, 0x13, 0x20, 0x21, 0x22, 0x23, 0x28, 0x2a, 0x30};
    constexpr std::uint64_t addresses[] = {0x8000,      0x4000'0000, 0x4000'1000,           0x4001'3000,
                                           0x409f'f000, 0xffff'f000, 0xffff'8000'1234'5000, 0xffff'ffff'ffff'f000};
    struct ranged {
        std::uint64_t num, scale, ttl, tg;
    };
    constexpr ranged ranges[] = {{0, 0, 0, 0}, {3, 7, 2, 0}, {0, 0, 3, 1}, {1, 0, 0, 1}, {15, 0, 3, 1},
                                 {0, 9, 2, 1}, {3, 0, 1, 2}, {0, 5, 3, 2}, {0, 0, 3, 3}, {31, 20, 0, 3}};
    auto const all = tags();
    caches_type full;
    populate(full);
    std::uint64_t cases = 0, gone = 0, spared = 0;
    auto const judge = [&](tlb_operands const& o, std::uint64_t vmw) {
        smmu::control registers;
        registers.cr0.set<"VMW">(vmw);
        std::uint64_t const word[2] = {o.command().word[0], o.command().word[1]};
        auto const decoded = smmu::decode(word, all_caps(true), registers);
        CAPTURE(word[0], word[1], vmw);
        REQUIRE(decoded);
        caches_type c;
        populate(c);
        c.drop(decoded->stale);
        for (iotlb_tag const& t : all)
            for (page const& p : pages) {
                ++cases;
                bool const is_there = has(c, t, p);
                fate const f = fate_of(o, vmw, t, p);
                CAPTURE(t.vmid, t.asid, static_cast<int>(t.world), t.by_stage1, t.by_stage2, p.at, p.lg2);
                if (f == fate::goes && is_there) FAIL("stale");
                if (f == fate::stays && !is_there) FAIL("dropped for nothing");
                gone += !is_there;
                spared += is_there;
            }
        std::uint64_t words[4];
        for (std::uint32_t const s : sources)
            if (full.streams.find(s, words) && !c.streams.find(s, words)) FAIL("no TLB command drops configuration");
    };
    for (iotlb_tag const& t : all)
        for (page const& p : pages)
            REQUIRE(has(full, t, p));
    for (std::uint64_t const op : ops) {
        bool const by_address = op == 0x12 || op == 0x13 || op == 0x22 || op == 0x23 || op == 0x2a;
        bool const by_vmid = op < 0x20 || op == 0x28 || op == 0x2a;
        bool const by_asid = op == 0x11 || op == 0x12 || op == 0x21 || op == 0x22;
        for (std::uint64_t const vmw : {0u, 4u}) {
            for (std::uint64_t const vmid : {0x0u, 0x1u, 0x11u, 0x17u}) {
                if (!by_vmid && (vmid != 1 || vmw != 0)) continue;
                for (std::uint64_t const asid : {0x0u, 0x1u, 0x101u, 0x55u}) {
                    if (!by_asid && asid != 1) continue;
                    if (!by_address) {
                        judge({op, vmid, asid, 0x4000'0000, 0, 0, 0, 0, 0}, vmw);
                        continue;
                    }
                    for (std::uint64_t const at : addresses)
                        for (ranged const& r : ranges) {
                            // The cells of the matrix that differ in VMID or ASID alone need not have every range.
                            if (r.tg > 1 && (vmw != 0 || asid == 0x55 || vmid == 0x17)) continue;
                            judge({op, vmid, asid, at, r.num, r.scale, r.ttl, r.tg, (at >> 12) & 1}, vmw);
                        }
                }
            }
        }
    }
    CHECK(cases > 200'000);
    CHECK(gone > 10'000);
    CHECK(spared > 10'000);
}

TEST_CASE("SMMU caches: each configuration command drops the entries of its streams and no others") {
    caches_type full; // what finds room
    populate(full);
    for (std::uint64_t const op : {0x03u, 0x04u, 0x05u, 0x06u})
        for (std::uint32_t const sid : {0x0u, 0x1u, 0x2u, 0x2au, 0x2bu, 0x10'002au, 0x7u})
            for (std::uint64_t const ssid : {0x0u, 0x1u, 0x40u, 0xf'ffffu, 0x2u})
                for (std::uint64_t const low : {0u, 1u, 3u, 5u, 20u, 31u}) {
                    if (op != 0x04 && low > 1) continue;
                    std::uint64_t const word[2] = {op | (ssid & 1) << 11 | ssid << 12 | std::uint64_t{sid} << 32, low};
                    auto const decoded = smmu::decode(word, all_caps(false));
                    CAPTURE(word[0], word[1]);
                    REQUIRE(decoded);
                    caches_type c;
                    populate(c);
                    c.drop(decoded->stale);
                    for (std::uint32_t const s : sources) {
                        bool const covered = op == 0x04 ? low == 31 || s >> (low + 1) == sid >> (low + 1) : s == sid;
                        std::uint64_t words[4];
                        CAPTURE(s);
                        CHECK(c.streams.find(s, words) == (full.streams.find(s, words) && !(covered && op <= 0x04)));
                        for (std::uint32_t const p : pasids) {
                            std::uint64_t const key = caches_type::key_of(s, p);
                            bool const goes = covered && (op != 0x05 || p == ssid);
                            CHECK(c.contexts.find(key, words) == (full.contexts.find(key, words) && !goes));
                        }
                    }
                    CHECK(has(c, tags()[0], pages[0]));
                }
}

TEST_CASE("SMMU caches: commands that drop nothing leave everything") {
    for (std::uint64_t const op : {0x01u, 0x02u, 0x40u, 0x44u, 0x45u, 0x46u}) {
        std::uint64_t const word[2] = {op | std::uint64_t{0x2a} << 32, 0};
        auto const decoded = smmu::decode(word, all_caps(false));
        CAPTURE(op);
        REQUIRE(decoded);
        caches_type c;
        populate(c);
        c.drop(decoded->stale);
        std::uint64_t words[4];
        CHECK(c.streams.find(0x2a, words));
        for (iotlb_tag const& t : tags())
            CHECK(has(c, t, pages[0]));
    }
}

// --- requests -------------------------------------------------------------------------------------------------------

TEST_CASE("SMMU caches: a hit reads nothing, in every configuration") {
    for (auto const k : {smmu_kind::bypass, smmu_kind::stage1, smmu_kind::stage2, smmu_kind::nested}) {
        cached_unit u{k};
        CAPTURE(static_cast<int>(k));
        auto const r = u.ask();
        CHECK(u.loads(r) != 0);
        CHECK(u.loads(r) == 0);
        auto const hit = u.cached().translate(r);
        auto const walked = u.unit().translate(r);
        REQUIRE(hit);
        REQUIRE(walked);
        CHECK(hit->output == walked->output);
        CHECK(hit->effective.bits == walked->effective.bits);
        CHECK(hit->lg2_size == walked->lg2_size);
    }
}

TEST_CASE("SMMU caches: a request that is traced sees memory and leaves nothing behind") {
    cached_unit u;
    static_cast<void>(u.cached().translate(u.ask(), [](auto const&) {}));
    CHECK(u.loads(u.ask()) != 0);
    u.leaf() += 0x1000; // stale on purpose
    auto const traced = u.cached().translate(u.ask(), [](auto const&) {});
    auto const cached = u.cached().translate(u.ask());
    REQUIRE(traced);
    REQUIRE(cached);
    CHECK(traced->output == cached->output + 0x1000);
}

TEST_CASE("SMMU caches: a fault is never kept") {
    for (auto const k : {smmu_kind::stage1, smmu_kind::stage2, smmu_kind::nested}) {
        cached_unit u{k};
        std::uint64_t const leaf = u.leaf();
        u.leaf() = 0;
        CHECK(event_of(u.cached().translate(u.ask())) == event::f_translation);
        u.leaf() = leaf; // what was not valid owes nothing
        CHECK(event_of(u.cached().translate(u.ask())) == stagewalk::test::mapped);
    }
    // The library keeps no configuration that refuses.
    cached_unit u;
    u.memory[u.ste_at] &= ~std::uint64_t{1};
    CHECK(event_of(u.cached().translate(u.ask())) == event::c_bad_ste);
    u.memory[u.ste_at] |= 1;
    CHECK(event_of(u.cached().translate(u.ask())) == stagewalk::test::mapped);
}

TEST_CASE("SMMU caches: requests of ATS pass the TLB by") {
    cached_unit u;
    u.ste.set<"EATS">(1);
    u.write_configuration();
    CHECK(u.loads(u.ask()) != 0);
    auto asks = u.ask(read_write);
    asks.type = smmu::request_type::translation;
    CHECK(u.loads(asks) != 0);
    CHECK(u.loads(asks) != 0);
    auto told = u.ask();
    told.type = smmu::request_type::translated;
    auto const through = u.cached().translate(told);
    REQUIRE(through);
    CHECK(through->output.value == told.address.value);
}

TEST_CASE("SMMU caches: an address with a tag in its top byte is translated and not kept") {
    cached_unit u;
    u.cd.set<"TBI0">(1);
    u.write_configuration();
    auto const tagged = u.ask_at(u.at() | std::uint64_t{0x5a} << 56);
    CHECK(event_of(u.cached().translate(tagged)) == stagewalk::test::mapped);
    CHECK(u.loads(tagged) != 0);
}

TEST_CASE("SMMU caches: the first write after a read marks the page dirty") {
    cached_unit u;
    u.cd.set<"HA">(1);
    u.cd.set<"HD">(1);
    u.leaf() = (u.leaf() | std::uint64_t{1} << 51 | 0x80) & ~std::uint64_t{0x400}; // DBM, read-only, AF clear
    u.write_configuration();
    REQUIRE(u.cached().translate(u.ask()));
    CHECK((u.leaf() & 0x480) == 0x480);
    REQUIRE(u.cached().translate(u.ask()));
    REQUIRE(u.cached().translate(u.ask(stagewalk::write)));
    CHECK((u.leaf() & 0x480) == 0x400);
    CHECK(u.loads(u.ask(stagewalk::write)) == 0);
}

TEST_CASE("SMMU caches: a read that hits grants no write, and no other privilege") {
    cached_unit u;
    u.leaf() |= 0x80; // read-only
    REQUIRE(u.cached().translate(u.ask()));
    CHECK(event_of(u.cached().translate(u.ask(stagewalk::write))) == event::f_permission);
    u.leaf() &= ~std::uint64_t{0x40}; // the privileged alone
    REQUIRE(u.cached().translate(u.ask(stagewalk::read | privileged)));
    REQUIRE(carry_out(u.cached(), smmu::invalidate_stage1(stream_world::el1, 0)));
    REQUIRE(u.cached().translate(u.ask(stagewalk::read | privileged)));
    CHECK(event_of(u.cached().translate(u.ask())) == event::f_permission);
}

TEST_CASE("SMMU caches: translate_and hands the answer over") {
    cached_unit u;
    auto const unit = u.cached();
    for (int n = 0; n < 2; ++n) {
        auto const out = unit.translate_and(u.ask(), [](auto const& answer) { return answer ? answer->output.value : 0; });
        CHECK(out == 0x1'2345'6abc);
    }
}

TEST_CASE("SMMU caches: an illegal command is told and drops nothing") {
    cached_unit u;
    REQUIRE(u.cached().translate(u.ask()));
    std::uint64_t const word[2] = {0xff, 0};
    auto const refused = u.cached().execute(word);
    REQUIRE_FALSE(refused);
    CHECK(refused.error() == smmu::command_error::illegal);
    CHECK(u.loads(u.ask()) == 0);
}

TEST_CASE("SMMU caches: without caches a command is decoded and no more") {
    smmu_unit u;
    auto const done = carry_out(u.unit(), smmu::invalidate_vmid(7));
    REQUIRE(done);
    CHECK(done->type == smmu::command_type::tlbi_s12_vmall);
    CHECK(done->stale.vmid == 7);
}

TEST_CASE("SMMU caches: a translation found while it was invalidated is not kept") {
    cached_unit u;
    busy_memory busy{&u.memory};
    smmu::iommu const unit{u.caps(), u.registers(), busy, u.rules, u.kept};
    bool once = true;
    busy.after = [&](std::uint64_t at) {
        if (at != u.l3 || !once) return;
        once = false;
        u.leaf() += 0x1000;
        static_cast<void>(carry_out(unit, smmu::invalidate_address(stream_world::el1, 0, 0x42, iova{u.at()}, true)));
    };
    auto const before = unit.translate(u.ask());
    auto const after = unit.translate(u.ask());
    REQUIRE(before);
    REQUIRE(after);
    CHECK(after->output == before->output + 0x1000);
}

TEST_CASE("SMMU caches: a context descriptor behind an entry that was invalidated meanwhile is not kept") {
    cached_unit u;
    busy_memory busy{&u.memory};
    smmu::iommu const unit{u.caps(), u.registers(), busy, u.rules, u.kept};
    constexpr std::uint64_t elsewhere = 0x9300'0000;
    for (std::uint64_t i = 0; i < 8; ++i)
        u.memory[elsewhere + i * 8] = u.cd.word[i];
    u.memory[elsewhere + 8] = 0x9500'0000; // other tables
    u.memory[0x9500'0000] = 0;
    bool once = true;
    busy.after = [&](std::uint64_t at) {
        if (at != u.ste_at + 24 || !once) return; // all that counts of the entry has been read
        once = false;
        u.memory[u.ste_at] = (u.memory[u.ste_at] & ~std::uint64_t{0xffff'ffc0}) | elsewhere;
        static_cast<void>(carry_out(unit, smmu::invalidate_stream(u.stream, true)));
        static_cast<void>(carry_out(unit, smmu::invalidate_stage1(stream_world::el1, 0)));
    };
    static_cast<void>(unit.translate(u.ask()));
    CHECK(event_of(unit.translate(u.ask())) == event::f_translation);
}

TEST_CASE("SMMU caches: a stage-1 block over small pages of stage 2 goes whole") {
    cached_unit u{smmu_kind::nested};
    // 2 MiB of stage 1 over two pages of 4 KiB.
    std::uint64_t const block = u.at() & ~std::uint64_t{0x1f'ffff};
    u.first(u.l2) = std::uint64_t{0x1'2340'0000} | 0x745;
    u.memory[u.n_out + 8] = 0; // the page after stays unmapped
    std::uint64_t const page_at = block + (0x1'2345'6000 & 0x1f'ffff);
    auto const r = u.ask_at(page_at);
    REQUIRE(u.cached().translate(r));
    u.first(u.l2) = 0;
    auto c = smmu::invalidate_address(stream_world::el1, 0x17, 0x42, iova{block}, true);
    c.set<"VMID">(u.ste.get<"S2VMID">());
    REQUIRE(carry_out(u.cached(), c));
    CHECK(event_of(u.cached().translate(r)) == event::f_translation);
}

TEST_CASE("SMMU caches: a stream that moves to another VMID leaves nothing stale, and others keep theirs") {
    cached_unit u{smmu_kind::stage2};
    constexpr std::uint32_t other = 0x2b;
    for (std::uint64_t i = 0; i < 8; ++i)
        u.memory[u.ste_at + 64 + i * 8] = u.ste.word[i];
    auto const theirs = u.from(other);
    REQUIRE(u.cached().translate(u.ask()));
    REQUIRE(u.cached().translate(theirs));
    CHECK(u.loads(theirs) == 0);
    u.ste.set<"S2VMID">(0x18);
    u.ste.set<"S2TTB">(0xb000'0000);
    u.memory[0xb000'1000] = 0; // no descriptor at level 1
    u.write_configuration();
    REQUIRE(carry_out(u.cached(), smmu::invalidate_stream(u.stream, true)));
    CHECK(event_of(u.cached().translate(u.ask())) == event::f_translation);
    CHECK(u.loads(theirs) == 0);
}
