// SMMUv3 with both stages, out of bytes: a request of each kind, the library against the naive model: answers, records,
// completions, loads, and what the memory holds afterwards. The input, all little-endian: IDR0, IDR1, IDR3, IDR5, the request (32
// bits each; 19:0 SubstreamID, 27:24 read, write, execute, privileged, 28 with SubstreamID, 30:29 its kind), the address (64),
// AIDR, CR0, CR2, flags, the memory type (8 each), missing pages (16), the stream table entry (4 words; it is made a nested one),
// the context descriptor (4 words), then the tables as pairs of an address and its word.
#include "model/smmu_compare.hpp"
#include "model/smmu_model.hpp"

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

constexpr std::uint64_t ste_at = 0x8800'0000;

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

// Sixteen pages where they are asked for, or everywhere in turn.
struct tables {
    static constexpr std::uint64_t pages = 16;

    alignas(4096) std::uint64_t word[pages * 512];
    std::uint64_t number[pages];
    std::uint64_t used;
    std::uint64_t missing;
    bool folded;

    std::uint64_t* find(std::uint64_t page) {
        std::uint64_t i = folded ? page / 4096 % pages : pages;
        for (std::uint64_t k = 0; k < used && !folded; ++k)
            if (number[k] == page) i = k;
        return i < pages && (missing >> i & 1) == 0 ? word + i * 512 : nullptr;
    }
    void put(std::uint64_t at, std::uint64_t value) {
        std::uint64_t const page = at & ~std::uint64_t{0xfff};
        if (!folded && find(page) == nullptr && used < pages) number[used++] = page;
        if (auto* p = find(page)) p[at / 8 % 512] = value;
    }
    bool read(std::uint64_t at, std::uint64_t& value) {
        auto const* p = at % 8 == 0 ? find(at & ~std::uint64_t{0xfff}) : nullptr;
        if (p != nullptr) value = p[at / 8 % 512];
        return p != nullptr;
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

// What a real unit with both stages satisfies, by literal bits.
void make_possible(unit& u) {
    u.idr0 |= 3 | 8 | 1u << 27; // S1P, S2P, VMSAv8-64, two levels of stream tables
    u.idr0 &= ~(1u << 28);
    if ((u.idr0 >> 21 & 3) == 1) u.idr0 &= ~(3u << 21);
    if ((u.idr0 >> 24 & 3) == 3) u.idr0 &= ~(3u << 24);
    u.idr1 = (u.idr1 & ~0x3fu) | 16;
    if ((u.idr1 >> 6 & 31) > 20) u.idr1 &= ~(31u << 6);
    if ((u.idr5 >> 4 & 7) == 0) u.idr5 |= 1u << 4;
    if ((u.idr5 >> 4 & 3) == 0 || (u.idr5 >> 10 & 3) == 0) u.idr5 &= ~(1u << 7);
    if ((u.idr5 & 7) == 7) u.idr5 &= ~1u;
    if ((u.idr5 & 7) == 6 && ((u.aidr & 15) == 0 || (u.idr5 >> 6 & 3) == 0)) u.idr5 = (u.idr5 & ~7u) | 5;
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
    std::uint32_t const request = in.word();
    q.address = in.number(8);
    u.aidr = static_cast<std::uint32_t>(in.number(1));
    u.cr0 = static_cast<std::uint32_t>(in.number(1)) | 1;
    u.cr2 = static_cast<std::uint32_t>(in.number(1));
    auto const flags = in.number(1);
    auto const type = in.number(1);
    memory.missing = in.number(2);
    memory.used = 0;
    memory.folded = (flags & 8) != 0;
    std::memset(memory.word, 0, sizeof memory.word);
    u.oas_start_level = (flags & 1) != 0;
    u.clamp_sizes = (flags & 2) != 0;
    u.pointer_faults_late = (flags & 4) != 0;
    u.strtab_base = ste_at;
    q.substream = request & 0xfffff;
    q.read = (request >> 24 & 1) != 0;
    q.write = (request >> 25 & 1) != 0;
    q.execute = (request >> 26 & 1) != 0;
    q.privileged = (request >> 27 & 1) != 0;
    q.has_substream = (request >> 28 & 1) != 0;
    q.kind = (request >> 29 & 3) % 3;
    q.type = static_cast<unsigned>(type & 15);
    q.sh = static_cast<unsigned>(type >> 4 & 3);
    make_possible(u);
    smmu_compare::make_possible(q);
    std::uint64_t ste[4]{};
    for (std::uint64_t i = 0; i < 4; ++i) {
        ste[i] = in.number(8) | (i == 0 ? 0xf : 0); // V, Config 111
        memory.put(ste_at + i * 8, ste[i]);
    }
    // The context descriptor is in the page of S1ContextPtr as stage 2 would have it if it changed nothing.
    for (std::uint64_t i = 0; i < 4; ++i)
        memory.put((ste[0] & 0x00ff'ffff'ffff'ffc0) + i * 8, in.number(8));
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
    sw::recording<decltype(updater), 256> recorded{updater};
    sw::smmu::iommu watched{caps, registers, recorded, rules};

    // A device asks, and then uses what it was told.
    for (bool more = true; more;) {
        auto const r = request_of(q);
        auto const expect = [&](char const* where, auto const& o, answer const& a) {
            if (!agree(o, a)) differ(u, q, difference(where, o, a));
            if (!agree_outside(u, q, o, a)) differ(u, q, std::string(where) + ": record or completion\n");
            if (std::memcmp(memory.word, model.word, sizeof memory.word) != 0)
                differ(u, q, std::string(where) + ": memory differs\n");
            std::memcpy(memory.word, before.word, sizeof memory.word);
        };
        auto const check_loads = [&] {
            bool same = recorded.loads() == reads && reads <= 93; // see smmu_random.cpp
            for (std::size_t i = 0; same && i < reads; ++i)
                same = recorded.at(i).value == seen[i];
            if (!same) differ(u, q, print("%zu loads, the model %zu\n", recorded.loads(), reads));
            recorded.reset();
        };
        answer const whole = ask_model(8);
        expect("traced", watched.translate(r, [](auto const&) {}), whole);
        check_loads();
        answer const expected = ask_model(4);
        expect("recording", watched.translate(r), expected);
        check_loads();
        expect("windowed", sw::smmu::iommu{caps, registers, window, rules}.translate(r), expected);
        // Memory that cannot be written: updates are judged.
        smmu_model::memory judging = tables_of_model;
        judging.replace = [](std::uint64_t, std::uint64_t, std::uint64_t) { return smmu_model::done; };
        model = before;
        u.entry_words = 4;
        answer const judged = smmu_model::translate(u, q, judging);
        expect("callback", sw::smmu::iommu{caps, registers, loader, rules}.translate(r), judged);
        more = q.kind == smmu_model::translation_request && expected.ok;
        q.kind = smmu_model::translated;
        q.address = expected.address;
    }
    return 0;
}
