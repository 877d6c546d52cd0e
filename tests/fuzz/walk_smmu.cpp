// SMMUv3: a unit, a request and tables out of bytes; the library against the naive model, answers, loads and what the memory
// holds afterwards. The input, all little-endian: IDR0, IDR1, IDR3, IDR5, GBPA, STRTAB_BASE_CFG, StreamID, SubstreamID (32 bits
// each; in the last, bits 31:24 are the request), STRTAB_BASE, the address (64 each), AIDR, CR0, CR2, flags (8 each), the memory
// type (8), missing pages (16), then the tables as pairs of an address and its word.
#include "model/smmu_compare.hpp"
#include "model/smmu_model.hpp"

#include <stagewalk/memory/byte_swapped.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size);

namespace {

namespace sw = stagewalk;
using namespace smmu_compare;

class input {
public:
    input(std::uint8_t const* data, std::size_t size) : at_{data}, left_{size} {}

    [[nodiscard]] bool empty() const { return left_ == 0; }
    // The next bytes as a number; what is not there is zero.
    std::uint64_t number(std::size_t bytes) {
        std::uint64_t n = 0;
        for (std::size_t i = 0; i < bytes && left_ > 0; ++i, ++at_, --left_)
            n |= std::uint64_t{*at_} << (8 * i);
        return n;
    }
    std::uint32_t word() { return static_cast<std::uint32_t>(number(4)); }

private:
    std::uint8_t const* at_;
    std::size_t left_;
};

// Sixteen pages, and three ways to lay them out.
struct tables {
    enum layout { sparse, folded, dense };
    static constexpr std::uint64_t pages = 16;
    static constexpr std::uint64_t origin = 0x100000; // dense: the first page

    alignas(4096) std::uint64_t word[pages * 512];
    std::uint64_t number[pages]; // sparse: the address of each page
    std::uint64_t used;
    std::uint64_t missing;
    layout how;

    void clear(layout l, std::uint64_t without) {
        std::memset(word, 0, sizeof word);
        used = 0;
        missing = without;
        how = l;
    }
    std::uint64_t* find(std::uint64_t page) {
        std::uint64_t i = pages;
        if (how == folded) i = page / 4096 % pages;
        if (how == dense) i = (page - origin) / 4096;
        if (how == sparse)
            for (std::uint64_t k = 0; k < used; ++k)
                if (number[k] == page) i = k;
        return i < pages && (missing >> i & 1) == 0 ? word + i * 512 : nullptr;
    }
    void put(std::uint64_t at, std::uint64_t value) {
        std::uint64_t const page = at & ~std::uint64_t{0xfff};
        auto* p = find(page);
        if (p == nullptr && how == sparse && used < pages) {
            number[used++] = page;
            p = find(page);
        }
        if (p != nullptr) p[at / 8 % 512] = value;
    }
    bool read(std::uint64_t at, std::uint64_t& value) {
        auto const* p = at % 8 == 0 ? find(at & ~std::uint64_t{0xfff}) : nullptr;
        if (p == nullptr) return false;
        value = p[at / 8 % 512];
        return true;
    }
    smmu_model::exchange replace(std::uint64_t at, std::uint64_t& old, std::uint64_t fresh) {
        auto* p = at % 8 == 0 ? find(at & ~std::uint64_t{0xfff}) : nullptr;
        if (p == nullptr) return smmu_model::failed;
        std::uint64_t& w = p[at / 8 % 512];
        bool const alike = w == old;
        old = w;
        if (alike) w = fresh;
        return alike ? smmu_model::done : smmu_model::changed;
    }
};

tables memory; // the library's
tables model;  // the model's
tables before; // as they were

[[noreturn]] void differ(unit const& u, ask const& q, std::string const& what) {
    std::fprintf(stderr, "%s%s", what.c_str(), text_of(u, q).c_str());
    std::abort();
}

// What a real unit satisfies, by literal bits: the library asks for capabilities without contradiction.
void make_possible(unit& u) {
    auto const field = [](std::uint32_t value, unsigned high, unsigned low) { return smmu_model::bits(value, high, low); };
    auto const set = [](std::uint32_t& word, unsigned high, unsigned low, std::uint32_t value) {
        std::uint32_t const mask = ((2u << (high - low)) - 1) << low;
        word = (word & ~mask) | (value << low & mask);
    };
    if (field(u.idr0, 1, 0) == 0) u.idr0 |= 3;
    u.idr0 |= 8; // VMSAv8-64
    if (field(u.idr0, 22, 21) == 1) set(u.idr0, 22, 21, 0);
    if (field(u.idr0, 25, 24) == 3) set(u.idr0, 25, 24, 0);
    if (field(u.idr0, 28, 27) > 1) set(u.idr0, 28, 27, 1);
    if (field(u.idr1, 5, 0) > 32) set(u.idr1, 5, 0, field(u.idr1, 5, 0) - 31);
    if (field(u.idr1, 10, 6) > 20) set(u.idr1, 10, 6, field(u.idr1, 10, 6) - 11);
    if (field(u.idr1, 5, 0) >= 7) set(u.idr0, 28, 27, 1);
    if (field(u.idr5, 6, 4) == 0) set(u.idr5, 4, 4, 1);
    if (field(u.idr5, 5, 4) == 0 || field(u.idr5, 11, 10) == 0) set(u.idr5, 7, 7, 0);
    if (field(u.idr5, 2, 0) == 7) set(u.idr5, 2, 0, 6);
    if (field(u.idr5, 2, 0) == 6 && (field(u.aidr, 3, 0) == 0 || field(u.idr5, 7, 6) == 0)) set(u.idr5, 2, 0, 5);
}

// All that a stage maps: bounded, in order, and as walk() says.
template <class S, class M>
void enumerate(unit const& u, ask const& q, S const& stage, M& loader) {
    constexpr std::uint64_t max_loads = 600;
    std::uint64_t next = 0;
    auto const end = sw::for_each_leaf(
        stage, loader, sw::range<typename S::input>::all(),
        [&](sw::leaf<S> const& l) {
            auto const at = l.part.first().value;
            if (at < next) differ(u, q, "leaves out of order\n");
            next = l.part.last().value;
            for (auto const probe : {at, next}) {
                auto const t = sw::walk(stage, loader, typename S::input{probe}, sw::none);
                if (!t || t->output.value - (probe - at) != l.first.output.value || t->effective != l.first.effective)
                    differ(u, q, print("leaf at %llx\n", static_cast<wide>(probe)));
            }
        },
        max_loads);
    if (end.loads > max_loads) differ(u, q, "too many loads\n");
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    input in{data, size};
    unit u;
    ask q;
    u.idr0 = in.word();
    u.idr1 = in.word();
    u.idr3 = in.word();
    u.idr5 = in.word();
    u.gbpa = in.word();
    u.strtab_base_cfg = in.word();
    q.stream = in.word();
    std::uint32_t const request = in.word();
    u.strtab_base = in.number(8);
    q.address = in.number(8);
    u.aidr = static_cast<std::uint32_t>(in.number(1));
    u.cr0 = static_cast<std::uint32_t>(in.number(1));
    u.cr2 = static_cast<std::uint32_t>(in.number(1));
    auto const flags = in.number(1);
    auto const type = in.number(1);
    auto const missing = in.number(2);
    u.oas_start_level = (flags & 1) != 0;
    u.clamp_sizes = (flags & 2) != 0;
    u.pointer_faults_late = (flags & 4) != 0;
    memory.clear((flags & 16) != 0 ? tables::dense : (flags & 8) != 0 ? tables::folded : tables::sparse, missing);
    q.substream = request & 0xfffff;
    q.read = (request >> 24 & 1) != 0;
    q.write = (request >> 25 & 1) != 0;
    q.execute = (request >> 26 & 1) != 0;
    q.privileged = (request >> 27 & 1) != 0;
    q.has_substream = (request >> 28 & 1) != 0;
    q.type = static_cast<unsigned>(type & 15);
    q.sh = static_cast<unsigned>(type >> 4 & 3);
    make_possible(u);
    smmu_compare::make_possible(q);
    for (int i = 0; i < 256 && !in.empty(); ++i) {
        std::uint64_t const at = in.number(8);
        memory.put(at, in.number(8));
    }
    before = memory;

    // The model, and what it read.
    std::uint64_t seen[256]{};
    std::size_t reads = 0;
    smmu_model::memory tables_of_model;
    tables_of_model.read = [&](std::uint64_t at, std::uint64_t& value) {
        if (reads < 256) seen[reads] = at;
        ++reads;
        return model.read(at, value);
    };
    tables_of_model.replace = [](std::uint64_t at, std::uint64_t old, std::uint64_t fresh) {
        return model.replace(at, old, fresh);
    };
    // Who is not traced reads the halves of STE and CD that count.
    auto const ask_model = [&](unsigned words) {
        model = before;
        reads = 0;
        u.entry_words = words;
        return smmu_model::translate(u, q, tables_of_model);
    };

    // The library.
    auto const caps = capabilities_of(u);
    auto const registers = control_of(u);
    auto const rules = policy_of(u);
    auto const r = request_of(q);
    if (caps.contradiction() != sw::smmu::capability_error::none) differ(u, q, "a contradiction\n");
    auto load = [](sw::pa at) -> sw::outcome<std::uint64_t, int> {
        std::uint64_t value = 0;
        if (!memory.read(at.value, value)) return sw::failure{1};
        return value;
    };
    auto loader = sw::make_callback<sw::pa>(load);
    auto updater =
        sw::make_callback<sw::pa>(load, [](sw::pa at, std::uint64_t& old, std::uint64_t fresh) -> sw::outcome<bool, int> {
            auto const how = memory.replace(at.value, old, fresh);
            if (how == smmu_model::failed) return sw::failure{2};
            return how == smmu_model::done;
        });
    auto window = sw::make_windowed<sw::pa>([](sw::pa page) -> std::uint64_t* { return memory.find(page.value); });
    auto const expect = [&](char const* where, auto const& o, answer const& a) {
        if (!agree(o, a)) differ(u, q, difference(where, o, a));
        if (std::memcmp(memory.word, model.word, sizeof memory.word) != 0)
            differ(u, q, std::string(where) + ": memory differs\n");
        std::memcpy(memory.word, before.word, sizeof memory.word);
    };
    sw::recording<decltype(updater), 256> recorded{updater};
    sw::smmu::iommu watched{caps, registers, recorded, rules};
    auto const check_loads = [&] {
        bool same = recorded.loads() == reads && reads <= 93; // see smmu_random.cpp
        for (std::size_t i = 0; same && i < reads; ++i)
            same = recorded.at(i).value == seen[i];
        if (!same) differ(u, q, print("%zu loads, the model %zu\n", recorded.loads(), reads));
    };
    answer const whole = ask_model(8);
    expect("traced", watched.translate(r, [](auto const&) {}), whole); // any tracer makes the walk take the exact lane
    check_loads();
    answer const expected = ask_model(4);
    recorded.reset();
    expect("recording", watched.translate(r), expected);
    check_loads();
    expect("windowed", sw::smmu::iommu{caps, registers, window, rules}.translate(r), expected);
    if (memory.how == tables::dense && memory.missing == 0) {
        sw::flat<sw::pa> flat{memory.word, sizeof memory.word, sw::pa{tables::origin}};
        expect("flat", sw::smmu::iommu{caps, registers, flat, rules}.translate(r), expected);
    }
    // Memory that cannot be written: updates are judged.
    tables_of_model.replace = [](std::uint64_t, std::uint64_t, std::uint64_t) { return smmu_model::done; };
    answer const judged = ask_model(4);
    sw::smmu::iommu reader{caps, registers, loader, rules};
    expect("callback", reader.translate(r), judged);

    // What the device can reach.
    auto const bound = reader.find(r);
    if (!bound) return 0;
    sw::byte_swapped<decltype(loader)> swapped{loader};
    if (bound->uses_stage2)
        reader.with_stage2(*bound, [&](auto const& stage) {
            bound->is_stage2_swapped() ? enumerate(u, q, stage, swapped) : enumerate(u, q, stage, loader);
        });
    if (!bound->uses_stage1 || bound->uses_stage2) return 0;
    for (auto const h : {sw::smmu::half::lower, sw::smmu::half::upper}) {
        if (!sw::smmu::has_tables(bound->context, h, bound->world)) continue;
        reader.with_stage1(*bound, h, [&](auto const& stage) {
            bound->is_stage1_swapped() ? enumerate(u, q, stage, swapped) : enumerate(u, q, stage, loader);
        });
    }
    return 0;
}
