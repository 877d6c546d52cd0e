// SMMUv3: a unit with caches against one without over the same memory. Page tables, context descriptors and stream table entries
// change, and each change is followed by the least that the manual asks for, chosen at random among what suffices. Answers,
// faults included, and what the memory holds afterwards stay alike.
#include "catch.hpp"
#include "host_memory.hpp"
#include "random_bits.hpp"

#include <stagewalk/smmu/configure.hpp>
#include <stagewalk/smmu/iommu.hpp>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <sstream>
#include <string>
#include <vector>

namespace {

namespace sw = stagewalk;
using sw::smmu::stream_world;
using config = sw::smmu::stream_configuration;

// Physical memory of 16 MiB with a log of what walks and configurators change.
struct store_memory {
    using address = sw::pa;
    using error = sw::memory_error;
    static constexpr std::uint64_t origin = 0x8000'0000;
    static constexpr std::uint64_t size = 16 << 20;

    struct change {
        std::size_t index;
        std::uint64_t old;
    };
    std::vector<std::uint64_t> words = std::vector<std::uint64_t>(size / 8);
    std::vector<change> log{};
    std::uint64_t used = 0;

    void clear() {
        std::fill_n(words.begin(), used / 8, 0);
        used = 0;
    }
    std::uint64_t take(std::uint64_t bytes) {
        used = (used + bytes - 1) / bytes * bytes;
        REQUIRE(used + bytes <= size);
        used += bytes;
        return origin + used - bytes;
    }
    std::uint64_t& at(std::uint64_t place) { return words[(place - origin) / 8]; }
    static bool has(sw::pa a) { return a.value % 8 == 0 && a.value - origin < size; }

    sw::outcome<std::uint64_t, error> load(sw::pa a) noexcept {
        if (!has(a)) return sw::failure{sw::memory_error::outside};
        return at(a.value);
    }
    sw::outcome<bool, error> compare_exchange(sw::pa a, std::uint64_t& expected, std::uint64_t desired) noexcept {
        if (!has(a)) return sw::failure{sw::memory_error::outside};
        std::uint64_t& word = at(a.value);
        bool const same = word == expected;
        if (same) {
            log.push_back({static_cast<std::size_t>((a.value - origin) / 8), word});
            word = desired;
        } else {
            expected = word;
        }
        return same;
    }
    sw::outcome<bool, error> store(sw::pa a, std::uint64_t value) noexcept {
        at(a.value) = value;
        return true;
    }
    void publish(sw::pa, std::uint64_t) noexcept {}
};

// Tables of 39 bits of input, of any granule.
struct shape {
    unsigned lg2 = 12;
    static constexpr unsigned input_bits = 39;

    int start() const { return lg2 == 16 ? 2 : 1; }
    unsigned shift(int level) const { return lg2 + static_cast<unsigned>(3 - level) * (lg2 - 3); }
    std::uint64_t tg0() const { return lg2 == 12 ? 0 : lg2 == 14 ? 2 : 1; }
    std::uint64_t tg1() const { return lg2 == 12 ? 2 : lg2 == 14 ? 1 : 3; }
    std::uint64_t sl0() const { return lg2 == 12 ? 1u : static_cast<unsigned>(3 - start()); }
    sw::smmu::granule granule() const {
        return lg2 == 12 ? sw::smmu::granule::k4 : lg2 == 14 ? sw::smmu::granule::k16 : sw::smmu::granule::k64;
    }
    bool may_block(int level) const { return level >= 2 || (level == 1 && lg2 == 12); }
    unsigned contiguous() const { return lg2 == 12 ? 16 : lg2 == 14 ? 128 : 32; } // pages of a contiguous group
};

// Entries that change together: one, or a contiguous group.
struct spot {
    std::uint64_t at = 0;
    std::uint64_t count = 1;
    std::uint64_t input = 0;
    int level = 3;
    std::uint64_t first = 0; // the value that it began with
};

struct tables {
    shape s;
    std::uint64_t root = 0;
    std::uint64_t high = 0; // the sign of the half
    std::vector<spot> spots;
    std::vector<std::uint64_t> inputs;
};

// One address space of stage 1.
struct space {
    stream_world world = stream_world::el1;
    unsigned vm = 0;
    bool nested = false;
    bool global = false;
    sw::smmu::context_descriptor cd;
    tables half[2];
};
struct machine_of {
    std::uint16_t vmid = 0;
    tables t;
    sw::smmu::stream_table_entry part; // what stage 2 says in a stream table entry
};
struct slot {
    std::uint64_t at = 0;
    unsigned space = 0;
    bool valid = false;
};
// One thing that a stream can be.
struct variant {
    config kind = config::abort;
    unsigned vm = 0;
    stream_world world = stream_world::el1;
    bool two_levels = false;
    std::uint64_t table = 0;
    std::uint64_t directory[2]{}; // level-1 descriptors
    slot slots[4]{};

    std::uint32_t pasid(std::uint64_t n) const { return static_cast<std::uint32_t>(two_levels ? n * 32 : n); }
};
struct device {
    std::uint32_t source = 0;
    std::uint64_t at = 0;
    std::vector<variant> variants;
    std::size_t now = 0;
};

struct totals {
    std::uint64_t requests = 0;
    std::uint64_t translated = 0;
    std::uint64_t edits = 0;
    std::uint64_t commands = 0;
    std::uint64_t hits = 0;
    std::uint64_t stream_hits = 0;
};

template <class Caches>
class world {
public:
    world(std::uint64_t seed, bool invalidates) : random{seed}, invalidates_{invalidates} {}

    std::string problem;
    totals count;

    void run(std::uint64_t requests) {
        while (count.requests < requests && problem.empty())
            live();
    }

private:
    random_bits random;
    bool invalidates_;
    store_memory memory;
    sw::smmu::capabilities caps{};
    sw::smmu::control registers{};
    std::vector<space> spaces;
    std::vector<machine_of> machines;
    std::vector<device> devices;
    std::uint64_t directories[2]{};
    bool two_level_streams = false;
    unsigned machine_count = 0;
    sw::smmu::iommu<store_memory, Caches> const* unit = nullptr;
    sw::smmu::request recent[8]{};

    bool yes(std::uint64_t n) { return !random.one_in(n); }

    void live() {
        memory.clear();
        spaces.clear();
        machines.clear();
        devices.clear();
        build();
        Caches kept;
        sw::smmu::policy const rules;
        sw::smmu::iommu const cached{caps, registers, memory, rules, kept};
        sw::smmu::iommu const plain{caps, registers, memory, rules};
        unit = &cached;
        for (auto& r : recent)
            r = ask();
        for (unsigned n = 0; n < 600 && problem.empty(); ++n) {
            if (random.one_in(5)) {
                edit();
                ++count.edits;
            }
            sw::smmu::request& again = recent[random.below(8)];
            if (random.one_in(3)) again = ask();
            sw::smmu::request r = again;
            if (random.one_in(4)) r.access = access();
            std::uint64_t const before = count.translated;
            compare(cached, plain, r);
            // What is refused is asked less often again.
            if (count.translated == before && random.one_in(2)) again = ask();
        }
        count.hits += kept.iotlb.counts().of(sw::tlb_count::hits);
    }

    // --- one request to both ---

    template <class Plain>
    void compare(sw::smmu::iommu<store_memory, Caches> const& cached, Plain const& plain, sw::smmu::request const& r) {
        memory.log.clear();
        auto const got = cached.translate(r);
        std::vector<std::uint64_t> after;
        std::vector<store_memory::change> const mine = memory.log;
        for (auto const& c : mine)
            after.push_back(memory.words[c.index]);
        for (auto c = mine.rbegin(); c != mine.rend(); ++c)
            memory.words[c->index] = c->old;
        memory.log.clear();
        auto const expected = plain.translate(r);
        ++count.requests;
        count.translated += expected && expected->by == sw::passage::walked;
        bool alike = memory.log.size() == mine.size();
        for (std::size_t i = 0; i < mine.size() && alike; ++i)
            alike = memory.log[i].index == mine[i].index && memory.words[mine[i].index] == after[i];
        bool const same = static_cast<bool>(got) == static_cast<bool>(expected) &&
                          (got ? got->output == expected->output && got->effective.bits == expected->effective.bits &&
                                     got->lg2_size == expected->lg2_size && got->by == expected->by
                               : got.error() == expected.error());
        if (same && alike) return;
        std::ostringstream text;
        text << std::hex << (same ? "memory differs" : "answers differ") << " after " << std::dec << count.requests << std::hex
             << " requests: source " << r.source << " pasid " << r.pasid << " address " << r.address.value << " access "
             << r.access.bits << " type " << static_cast<unsigned>(r.type) << "\n";
        for (auto const* o : {&got, &expected}) {
            text << (o == &got ? "  cached: " : "  memory: ");
            if (*o) {
                text << (*o)->output.value << " attributes " << (*o)->effective.bits << " lg2 " << (*o)->lg2_size << "\n";
            } else {
                auto const& f = o->error();
                text << "event " << static_cast<unsigned>(f.code) << " stage " << static_cast<unsigned>(f.stage) << " descriptor "
                     << f.descriptor << " entry " << f.entry << " detail " << f.detail << "\n";
            }
        }
        text << "  updates " << mine.size() << " and " << memory.log.size() << "\n";
        problem = text.str();
    }

    // --- what there is ---

    void build() {
        sw::smmu::identification_register_0 i0;
        i0.set<"S1P">(1);
        i0.set<"S2P">(yes(6));
        i0.set<"TTF">(2);
        i0.set<"HTTU">(random.below(4));
        i0.set<"HYP">(1);
        i0.set<"ATS">(1);
        i0.set<"ASID16">(1);
        i0.set<"VMID16">(1);
        i0.set<"VMW">(random.below(2));
        i0.set<"CD2L">(1);
        i0.set<"ST_LEVEL">(1);
        sw::smmu::identification_register_1 i1;
        i1.set<"SIDSIZE">(16);
        i1.set<"SSIDSIZE">(20);
        i1.set<"ATTR_PERMS_OVR">(1);
        i1.set<"ATTR_TYPES_OVR">(1);
        sw::smmu::identification_register_3 i3;
        i3.set<"HAD">(1);
        i3.set<"XNX">(1);
        i3.set<"FWB">(1);
        i3.set<"E0PD">(1);
        i3.set<"RIL">(random.below(2));
        sw::smmu::identification_register_5 i5;
        i5.set<"OAS">(5);
        i5.set<"GRAN4K">(1);
        i5.set<"GRAN16K">(1);
        i5.set<"GRAN64K">(1);
        auto const low = [](auto const& r) { return static_cast<std::uint32_t>(r.word[0]); };
        caps = {low(i0), low(i1), low(i3), low(i5), 2};

        two_level_streams = random.one_in(2);
        registers = {};
        registers.cr0.set<"SMMUEN">(1);
        registers.cr0.set<"ATSCHK">(1);
        registers.cr0.set<"VMW">(random.below(5));
        registers.cr2.set<"E2H">(random.below(2));
        std::uint64_t const table = memory.take(0x4000); // 256 entries, or two descriptors
        registers.base.set<"ADDR">(table);
        registers.configuration.set<"LOG2SIZE">(7);
        registers.configuration.set<"SPLIT">(6);
        registers.configuration.set<"FMT">(two_level_streams);
        std::uint64_t entries = table;
        if (two_level_streams) {
            entries = memory.take(0x2000);
            for (std::uint64_t n = 0; n < 2; ++n) {
                directories[n] = table + n * 8;
                memory.at(directories[n]) = (entries + n * 0x1000) | 7;
            }
        }

        static constexpr std::uint16_t vmids[] = {0, 1, 0x11, 0x101};
        for (unsigned v = 0; v < 3; ++v)
            add_machine(vmids[v == 2 ? 2 + random.below(2) : v]);
        static constexpr std::uint16_t asids[] = {0, 1, 0x101, 0x42, 7};
        // Without stage 2 every VMID is 0.
        machine_count = caps.idr0.get<"S2P">() != 0 ? 3 : 1;
        for (unsigned v = 0; v < machine_count; ++v)
            for (unsigned n = 0; n < 4; ++n)
                add_space(stream_world::el1, v, n % 2 != 0, asids[n]);
        stream_world const hypervisor = registers.cr2.get<"E2H">() != 0 ? stream_world::el2_e2h : stream_world::el2;
        // Without E2H there are no ASIDs: one address space.
        for (unsigned n = 0; n < (hypervisor == stream_world::el2 ? 1u : 2u); ++n)
            add_space(hypervisor, 0, false, asids[n]);

        static constexpr std::uint32_t sources[] = {0, 1, 2, 7, 64, 65};
        for (std::uint32_t const source : sources)
            add_device(source, entries, hypervisor);
    }

    std::uint64_t flags1(bool global) {
        std::uint64_t const rights[] = {1, 1, 1, 3, 0, 2};
        return (yes(10) ? 0x400u : 0u) | random.pick(rights) << 6 | random.below(8) << 2 | random.below(4) << 8 |
               std::uint64_t{!global} << 11 | random.below(2) << 51 | (random.one_in(4) ? random.below(4) << 53 : 0);
    }
    std::uint64_t flags2() {
        std::uint64_t const rights[] = {3, 3, 3, 1, 2, 0};
        std::uint64_t const types[] = {15, 15, 5, 10, 1};
        return (yes(10) ? 0x400u : 0u) | random.pick(rights) << 6 | random.pick(types) << 2 | random.below(4) << 8 |
               random.below(2) << 51 | (random.one_in(4) ? random.below(4) << 53 : 0);
    }
    std::uint64_t outputs(bool nested, unsigned shift) {
        std::uint64_t const at = nested ? 0x20'0000'0000 + (random.below(8) << 12) : random() & 0xffff'ffff'f000;
        return at >> shift << shift;
    }

    // The way of an input to a leaf on `wanted`, as far as it is not there.
    template <class Leaf>
    void map(tables& t, std::uint64_t input, int wanted, Leaf const& leaf, bool group = false) {
        std::uint64_t table = t.root;
        for (int level = t.s.start();; ++level) {
            unsigned const shift = t.s.shift(level);
            std::uint64_t const mask = level == t.s.start() ? ~std::uint64_t{0} : (std::uint64_t{1} << (t.s.lg2 - 3)) - 1;
            std::uint64_t const in = input & ((std::uint64_t{1} << shape::input_bits) - 1);
            std::uint64_t const at = table + (in >> shift & mask) * 8;
            std::uint64_t& word = memory.at(at);
            if (level == wanted) {
                if (word != 0) return;
                std::uint64_t const pages = group ? t.s.contiguous() : 1;
                std::uint64_t const begin = at & ~(pages * 8 - 1);
                for (std::uint64_t n = 0; group && n < pages; ++n)
                    if (memory.at(begin + n * 8) != 0) return;
                std::uint64_t const value = leaf(shift) | (level == 3 ? 3u : 1u);
                for (std::uint64_t n = 0; n < pages; ++n)
                    memory.at(begin + n * 8) = value + (n << shift);
                t.spots.push_back({begin, pages, input >> shift << shift, level, value});
                t.spots.back().input &= ~((pages << shift) - 1);
                t.inputs.push_back(input);
                return;
            }
            if (word == 0) {
                word = memory.take(std::uint64_t{1} << t.s.lg2) | 3;
                t.spots.push_back({at, 1, input >> shift << shift, level, word});
            }
            if ((word & 3) != 3) return;
            table = word & 0xffff'ffff'f000;
        }
    }
    int level_for(shape const& s) {
        int const level = s.start() + static_cast<int>(random.below(static_cast<std::uint64_t>(4 - s.start())));
        return s.may_block(level) && random.one_in(3) ? level : 3;
    }
    shape any_shape() {
        unsigned const sizes[] = {12, 12, 14, 16};
        return {random.pick(sizes)};
    }

    void add_machine(std::uint16_t vmid) {
        machine_of m;
        m.vmid = vmid;
        m.t.s = any_shape();
        m.t.root = memory.take(std::uint64_t{1} << m.t.s.lg2);
        // What the tables of stage 1 lie in keeps its address.
        unsigned const block = m.t.s.shift(2);
        for (std::uint64_t at = store_memory::origin; at < store_memory::origin + store_memory::size;
             at += std::uint64_t{1} << block)
            map(m.t, at, 2, [&](unsigned) { return (at >> block << block) | 0x7fc; });
        m.t.inputs.clear();
        for (unsigned n = 0; n < 10; ++n) {
            std::uint64_t const at = 0x20'0000'0000 + (random.below(8) << 12) + (random.one_in(3) ? random.below(16) << 20 : 0);
            map(m.t, at, level_for(m.t.s), [&](unsigned shift) { return outputs(false, shift) | flags2(); });
        }
        m.t.inputs.push_back(0x20'0000'0000);
        map(
            m.t, 0x30'0000'0000, 3, [&](unsigned) { return outputs(false, 23) | 0x4fc | std::uint64_t{1} << 52; }, true);
        m.part.set<"S2VMID">(vmid);
        m.part.set<"S2T0SZ">(64 - shape::input_bits);
        m.part.set<"S2SL0">(m.t.s.sl0());
        m.part.set<"S2TG">(m.t.s.tg0());
        m.part.set<"S2PS">(5);
        m.part.set<"S2AA64">(1);
        m.part.set<"S2R">(1);
        m.part.set<"S2TTB">(m.t.root);
        vary(m);
        machines.push_back(m);
    }
    void vary(machine_of& m) {
        std::uint64_t const updates = caps.idr0.get<"HTTU">();
        bool const marks = updates >= 1 && random.one_in(2);
        m.part.set<"S2HA">(marks);
        m.part.set<"S2HD">(updates >= 2 && marks && random.one_in(2));
        m.part.set<"S2HAFT">(updates == 3 && marks && random.one_in(2));
        m.part.set<"S2AFFD">(random.below(2));
        m.part.set<"S2FWB">(random.one_in(4));
        m.part.set<"S2PTW">(random.one_in(4));
    }

    void add_space(stream_world w, unsigned vm, bool nested, std::uint16_t asid) {
        space s;
        s.world = w;
        s.vm = vm;
        s.nested = nested;
        s.global = random.one_in(3);
        s.cd.set<"V">(1);
        s.cd.set<"AA64">(1);
        s.cd.set<"IPS">(5);
        s.cd.set<"ASID">(asid);
        for (unsigned h = 0; h < 2; ++h) {
            tables& t = s.half[h];
            t.s = any_shape();
            t.root = memory.take(std::uint64_t{1} << t.s.lg2);
            t.high = h != 0 ? ~std::uint64_t{0} << shape::input_bits : 0;
            for (unsigned n = 0; n < 6; ++n) {
                std::uint64_t const at = (random.below(8) << 12) + (random.below(4) << 21) + (random.below(2) << 30);
                map(t, at | t.high, level_for(t.s), [&](unsigned shift) { return outputs(nested, shift) | flags1(s.global); });
            }
            map(
                t, 0x10'0000'0000 | t.high, 3,
                [&](unsigned) { return outputs(false, 23) | 0x440 | std::uint64_t{!s.global} << 11 | std::uint64_t{1} << 52; },
                true);
        }
        s.cd.set<"T0SZ">(64 - shape::input_bits);
        s.cd.set<"T1SZ">(64 - shape::input_bits);
        s.cd.set<"TG0">(s.half[0].s.tg0());
        s.cd.set<"TG1">(s.half[1].s.tg1());
        s.cd.set<"TTB0">(s.half[0].root);
        s.cd.set<"TTB1">(s.half[1].root);
        vary(s);
        spaces.push_back(s);
    }
    void vary(space& s) {
        std::uint64_t const updates = caps.idr0.get<"HTTU">();
        bool const marks = updates >= 1 && random.one_in(2);
        s.cd.set<"HA">(marks);
        s.cd.set<"HD">(updates >= 2 && marks && random.one_in(2));
        s.cd.set<"HAFT">(updates == 3 && marks && random.one_in(2));
        s.cd.set<"AFFD">(random.below(2));
        s.cd.set<"EPD0">(s.world != stream_world::el2 && random.one_in(8));
        s.cd.set<"EPD1">(random.one_in(8));
        s.cd.set<"TBI0">(random.below(2));
        s.cd.set<"TBI1">(random.below(2));
        s.cd.set<"WXN">(random.one_in(6));
        s.cd.set<"PAN">(random.one_in(4));
        s.cd.set<"R">(1);
        s.cd.set<"A">(random.below(2));
        s.cd.word[3] = 0xff44'4f04'f4bb'eeff;
        if (random.one_in(3)) s.cd.word[3] = 0x44ff'0044'0cff'44ff;
    }

    void add_device(std::uint32_t source, std::uint64_t entries, stream_world hypervisor) {
        device d;
        d.source = source;
        d.at = entries + source * std::uint64_t{64};
        d.variants.push_back({});
        d.variants.push_back({.kind = config::bypass});
        for (unsigned vm = 0; vm < machine_count; ++vm) {
            if (random.one_in(2)) d.variants.push_back(with_contexts(config::stage1, vm, stream_world::el1));
            if (caps.idr0.get<"S2P">() == 0) continue;
            if (random.one_in(2)) d.variants.push_back({.kind = config::stage2, .vm = vm});
            if (random.one_in(2)) d.variants.push_back(with_contexts(config::nested, vm, stream_world::el1));
        }
        d.variants.push_back(with_contexts(config::stage1, static_cast<unsigned>(random.below(machine_count)), hypervisor));
        d.now = choose(d);
        auto const e = entry_of(d.variants[d.now]);
        for (std::size_t w = 0; w < 8; ++w)
            memory.at(d.at + w * 8) = e.word[w];
        devices.push_back(d);
    }
    // Mostly one that translates.
    std::size_t choose(device const& d) { return random.one_in(8) ? random.below(2) : 2 + random.below(d.variants.size() - 2); }
    variant with_contexts(config kind, unsigned vm, stream_world w) {
        variant v{.kind = kind, .vm = vm, .world = w, .two_levels = random.one_in(2)};
        v.table = memory.take(0x2000);
        std::uint64_t contexts = v.table;
        if (v.two_levels) {
            contexts = memory.take(0x2000); // 128 descriptors
            for (std::uint64_t n = 0; n < 2; ++n) {
                v.directory[n] = v.table + n * 8;
                memory.at(v.directory[n]) = (contexts + n * 0x1000) | 1;
            }
        }
        for (std::uint64_t n = 0; n < 4; ++n) {
            v.slots[n].at = contexts + v.pasid(n) * std::uint64_t{64};
            v.slots[n].space = space_for(v);
            v.slots[n].valid = yes(8);
            if (!v.slots[n].valid) continue;
            for (std::size_t word = 0; word < 8; ++word)
                memory.at(v.slots[n].at + word * 8) = spaces[v.slots[n].space].cd.word[word];
        }
        return v;
    }
    unsigned space_for(variant const& v) {
        for (;;) {
            auto const n = static_cast<unsigned>(random.below(spaces.size()));
            space const& s = spaces[n];
            if (s.world == v.world && s.nested == (v.kind == config::nested) && (s.world != stream_world::el1 || s.vm == v.vm))
                return n;
        }
    }
    sw::smmu::stream_table_entry entry_of(variant const& v) {
        sw::smmu::stream_table_entry e;
        e.set<"V">(1);
        e.set<"Config">(static_cast<std::uint64_t>(v.kind));
        e.set<"SHCFG">(random.below(4));
        e.set<"MTCFG">(random.one_in(4));
        e.set<"MemAttr">(random.one_in(2) ? 15 : 5);
        e.set<"INSTCFG">(random.one_in(4) ? random.below(4) : 0);
        e.set<"PRIVCFG">(random.one_in(4) ? random.below(4) : 0);
        if (v.kind == config::abort || v.kind == config::bypass) return e;
        if (v.kind != config::stage1) {
            auto const& part = machines[v.vm].part;
            e.word[1] |= part.word[1];
            e.word[2] |= part.word[2];
            e.word[3] |= part.word[3];
        }
        e.set<"S2VMID">(machines[v.vm].vmid);
        e.set<"EATS">(random.below(v.kind == config::nested ? 3 : 2));
        if (v.kind == config::stage2) return e;
        e.set<"S1ContextPtr">(v.table);
        e.set<"S1CDMax">(v.two_levels ? 7 : 2);
        e.set<"S1Fmt">(v.two_levels);
        e.set<"S1DSS">(random.below(3));
        e.set<"STRW">(v.world == stream_world::el1 ? 0 : 2);
        return e;
    }

    // --- requests ---

    sw::access access() {
        sw::access const some[] = {sw::read, sw::read, sw::write, sw::read_write, sw::execute, sw::execute | sw::read};
        return random.pick(some) | (random.one_in(3) ? sw::privileged : sw::none);
    }
    sw::smmu::request ask() {
        device const& d = devices[random.below(devices.size())];
        variant const& v = d.variants[d.now];
        sw::smmu::request r;
        r.source = random.one_in(64) ? 3 : d.source;
        r.access = access();
        std::uint64_t const n = random.below(4);
        if (v.table != 0 && yes(8)) r.pasid = v.pasid(n);
        if (random.one_in(40)) r.pasid = static_cast<std::uint32_t>(random.below(130));
        r.memory.type = random.one_in(2) ? 0xff : 0x44;
        tables const* t = &machines[v.vm].t;
        if (v.table != 0 && yes(8)) t = &spaces[v.slots[n].space].half[random.one_in(3)];
        r.address = sw::iova{t->inputs[random.below(t->inputs.size())] ^ (random.one_in(2) ? random.below(0x4000) : 0)};
        if (random.one_in(12)) r.address.value ^= random.below(256) << 56;
        if (random.one_in(12)) r.address.value += random.below(64) << 12;
        if (random.one_in(10))
            r.type = random.one_in(3) ? sw::smmu::request_type::translated : sw::smmu::request_type::translation;
        if (r.type == sw::smmu::request_type::translation) r.access = sw::read_write;
        return r;
    }

    // --- changes, and what they owe ---

    template <class Command>
    void execute(Command const& c) {
        if (!invalidates_) return;
        ++count.commands;
        std::uint64_t const word[2] = {c.word[0], c.word[1]};
        if (!unit->execute(word)) problem = "a command is illegal";
    }
    auto flush() {
        return [this](sw::smmu::owed_commands const& owed) {
            for (std::size_t n = 0; n < owed.count; ++n)
                execute(sw::smmu::tlb_command{owed.word[n][0], owed.word[n][1]});
        };
    }

    // Changes a spot. Says whether something of it may be cached, and whether that was one leaf.
    bool change(tables const& t, spot const& s, bool second, bool is_global, bool& one_leaf) {
        std::uint64_t const old = memory.at(s.at);
        bool const leaf = s.level == 3 || (old & 2) == 0;
        std::uint64_t next = s.first;
        std::uint64_t const output = (random() & 0xffff'ffff'f000) >> t.s.shift(s.level) << t.s.shift(s.level);
        if (s.count > 1) {
            std::uint64_t const bits[] = {0x80, 0x40, std::uint64_t{1} << 54, 0xc0, 1};
            std::uint64_t const flip = random.pick(bits);
            for (std::uint64_t n = 0; n < s.count; ++n)
                memory.at(s.at + n * 8) ^= flip;
            one_leaf = false;
            return (old & 1) != 0;
        }
        if (old == s.first || random.one_in(3)) {
            switch (random.below(leaf ? 7 : 3)) {
            case 0: next = 0; break;
            case 1: // a leaf in the place of a table, or elsewhere
                if (t.s.may_block(s.level)) next = output | (second ? flags2() : flags1(is_global)) | (s.level == 3 ? 3 : 1);
                break;
            case 2: next = leaf ? old ^ 0x400 : old ^ (second ? 0x400 : (random.below(7) + 1) << 60); break;
            case 3: next = old ^ 0x80; break;
            case 4: next = old ^ 0x40; break;
            case 5: next = old ^ std::uint64_t{1} << 54; break;
            default: next = old ^ std::uint64_t{1} << 51; break;
            }
        }
        memory.at(s.at) = next;
        one_leaf = leaf;
        return (old & 1) != 0 && next != old;
    }

    // One command by address for all that a spot maps.
    void at_spot(sw::smmu::tlb_command c, tables const& t, spot const& s, bool one_leaf) {
        unsigned const shift = t.s.shift(s.level);
        c.set<"ADDR">(s.input);
        if (one_leaf) {
            c.set<"ADDR">(s.input + (random.below(std::uint64_t{1} << (shift - 12)) << 12));
            c.set<"Leaf">(random.below(2));
            return execute(c);
        }
        sw::smmu::for_each_range(c, s.count << (shift - t.s.lg2), t.s.granule(), 0, [&](auto const& part) { execute(part); });
    }

    void edit_stage1() {
        space const& sp = spaces[random.below(spaces.size())];
        tables const& t = sp.half[random.below(2)];
        spot const& s = t.spots[random.below(t.spots.size())];
        bool one_leaf = false;
        if (!change(t, s, false, sp.global, one_leaf)) return;
        bool const el1 = sp.world == stream_world::el1;
        bool const tagged = caps.idr0.get<"S2P">() != 0;
        std::uint16_t const vmid = machines[sp.vm].vmid;
        auto const asid = static_cast<std::uint16_t>(sp.cd.get<"ASID">());
        bool const ranges = one_leaf || caps.idr3.get<"RIL">() != 0;
        switch (random.below(8)) {
        case 0:
        case 1:
        case 2:
            if (ranges) return at_spot(sw::smmu::invalidate_address(sp.world, vmid, asid, sw::iova{0}, false), t, s, one_leaf);
            break;
        case 3:
            if (ranges) {
                auto c = sw::smmu::invalidate_address(sp.world, vmid, 0xbad, sw::iova{0}, false);
                c.set<"OP">(
                    static_cast<std::uint64_t>(el1 ? sw::smmu::command_type::tlbi_nh_vaa : sw::smmu::command_type::tlbi_el2_vaa));
                return at_spot(c, t, s, one_leaf);
            }
            break;
        case 4:
        case 5:
            if (!sp.global) return execute(sw::smmu::invalidate_asid(sp.world, vmid, asid));
            break;
        case 6:
            if (el1 && tagged) return execute(sw::smmu::invalidate_vmid(vmid));
            break;
        default:
            if (el1 && random.one_in(4)) return execute(sw::smmu::tlb_command{0x30, 0});
        }
        execute(sw::smmu::invalidate_stage1(sp.world, vmid));
    }

    // Context descriptors that were read through stage 2 are no translations: nothing but CFGI drops them.
    void forget_contexts_behind(unsigned vm) {
        for (device const& d : devices)
            if (d.variants[d.now].kind == config::nested && d.variants[d.now].vm == vm)
                execute(sw::smmu::invalidate_contexts(d.source));
    }
    void edit_stage2() {
        auto const vm = static_cast<unsigned>(random.below(machines.size()));
        machine_of const& m = machines[vm];
        if (caps.idr0.get<"S2P">() == 0) return;
        spot const& s = m.t.spots[random.below(m.t.spots.size())];
        // What the tables of stage 1 lie in goes seldom.
        if (s.input < 0x20'0000'0000 && yes(4)) return;
        bool one_leaf = false;
        if (!change(m.t, s, true, false, one_leaf)) return;
        forget_contexts_behind(vm);
        if ((one_leaf || caps.idr3.get<"RIL">() != 0) && yes(3)) {
            at_spot(sw::smmu::invalidate_intermediate(m.vmid, 0, false), m.t, s, one_leaf);
            return execute(sw::smmu::invalidate_stage1(stream_world::el1, m.vmid));
        }
        execute(random.one_in(4) ? sw::smmu::tlb_command{0x30, 0} : sw::smmu::invalidate_vmid(m.vmid));
    }

    void set_entry(device& d, std::size_t now) {
        sw::smmu::configurator by{caps, registers, memory};
        d.now = now;
        if (!by.set(sw::pa{d.at}, entry_of(d.variants[now]), d.source, flush())) problem = "a stream table entry cannot be set";
    }
    void set_context(device const& d, variant const& v, std::uint64_t n) {
        sw::smmu::configurator by{caps, registers, memory};
        sw::smmu::context_descriptor target = spaces[v.slots[n].space].cd;
        if (!v.slots[n].valid) target.set<"V">(0);
        if (!by.set(sw::pa{v.slots[n].at}, target, d.source, v.pasid(n), entry_of(v), flush()))
            problem = "a context descriptor cannot be set";
    }
    void edit_space() {
        auto const which = static_cast<unsigned>(random.below(spaces.size()));
        vary(spaces[which]);
        for (device const& d : devices)
            for (variant const& v : d.variants)
                for (std::uint64_t n = 0; n < 4; ++n)
                    if (v.table != 0 && v.slots[n].space == which) set_context(d, v, n);
    }
    void edit_machine() {
        auto const vm = static_cast<unsigned>(random.below(machines.size()));
        vary(machines[vm]);
        for (device& d : devices) {
            variant const& v = d.variants[d.now];
            if ((v.kind == config::stage2 || v.kind == config::nested) && v.vm == vm) set_entry(d, d.now);
        }
    }

    void edit() {
        device& d = devices[random.below(devices.size())];
        variant& v = d.variants[d.now];
        switch (random.below(16)) {
        default: return edit_stage1();
        case 0:
        case 1:
        case 2: return edit_stage2();
        case 3:
        case 4: return set_entry(d, choose(d));
        case 5: return set_entry(d, d.now);
        case 6:
            if (v.table != 0) {
                std::uint64_t const n = random.below(4);
                if (random.one_in(2)) v.slots[n].space = space_for(v);
                v.slots[n].valid = yes(4);
                set_context(d, v, n);
            }
            return;
        case 7: return random.one_in(4) ? edit_space() : edit_machine();
        case 8: // a level-1 context descriptor
            if (v.two_levels) {
                std::uint64_t& word = memory.at(v.directory[random.below(2)]);
                if ((word & 1) != 0 && yes(4)) return;
                word ^= 1;
                if (random.one_in(2)) return execute(sw::smmu::invalidate_contexts(d.source));
                for (std::uint64_t n = 0; n < 128; n += 32)
                    execute(sw::smmu::invalidate_context(d.source, static_cast<std::uint32_t>(n), false));
            }
            return;
        case 9: { // a level-1 stream table descriptor
            if (!two_level_streams) return;
            std::uint64_t const n = random.below(2);
            std::uint64_t& word = memory.at(directories[n]);
            if ((word & 7) != 0 && yes(8)) return;
            word ^= 7;
            switch (random.below(3)) {
            case 0: return execute(sw::smmu::invalidate_streams(0, 32));
            case 1: return execute(sw::smmu::invalidate_streams(static_cast<std::uint32_t>(n * 64 + random.below(64)), 6));
            default:
                for (device const& one : devices)
                    execute(sw::smmu::invalidate_stream(one.source, false));
                return;
            }
        }
        }
    }
};

template <class Caches>
std::string run(std::uint64_t requests, std::uint64_t seed, bool invalidates, totals& sum) {
    world<Caches> w{seed, invalidates};
    w.run(requests);
    sum = w.count;
    std::printf("%llu requests, %llu walked, %llu edits, %llu commands, %llu hits\n",
                static_cast<unsigned long long>(sum.requests), static_cast<unsigned long long>(sum.translated),
                static_cast<unsigned long long>(sum.edits), static_cast<unsigned long long>(sum.commands),
                static_cast<unsigned long long>(sum.hits));
    return w.problem;
}

using large = sw::smmu::caches<sw::pa, sw::statistics::counting>;
using small = sw::smmu::caches<sw::pa, sw::sets<8>, sw::ways<2>, sw::groups<4>, sw::statistics::counting>;

void holds(std::uint64_t requests, std::uint64_t seed, bool is_large) {
    totals sum;
    std::string const problem = is_large ? run<large>(requests, seed, true, sum) : run<small>(requests, seed, true, sum);
    INFO("seed " << seed);
    if (!problem.empty()) FAIL(problem);
    if (!sw::test::all_cases()) return;
    CHECK(sum.translated > requests / 5);
    CHECK(sum.hits > sum.translated / 8);
}

} // namespace

TEST_CASE("SMMU caches give no stale answer while tables and configuration change", "[smmu]") {
    holds(sw::test::fewer(400'000), 0x5701, true);
}
TEST_CASE("small SMMU caches give no stale answer while tables and configuration change", "[smmu]") {
    holds(sw::test::fewer(300'000), 0x5702, false);
}
TEST_CASE("SMMU caches without the invalidations give stale answers", "[smmu]") {
    totals sum;
    CHECK_FALSE(run<large>(20'000, 0x5703, false, sum).empty());
}
TEST_CASE("four million requests find no stale answer in SMMU caches", "[smmu][long]") {
    for (std::uint64_t seed = 0x5710; seed < 0x5714; ++seed)
        holds(1'000'000, seed, seed % 2 == 0);
}
