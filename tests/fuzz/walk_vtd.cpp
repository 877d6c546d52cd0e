// VT-d, both modes: a unit, a request and tables out of bytes; the library against the naive models, answers and what the
// memory holds afterwards. The input, all little-endian: CAP, ECAP, RTADDR, the address (64 bits each), the source id (16),
// the host address width, flags, the request, its length (8 each), missing pages (16), PASID and the rest (32), then the
// tables as pairs of an address and its word.
#include "model/vtd_scalable_compare.hpp"
#include "model/vtd_scalable_model.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size);

namespace {

namespace sw = stagewalk;
using namespace vtd_scalable_compare;

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
    vtd_scalable_model::exchange replace(std::uint64_t at, std::uint64_t& old, std::uint64_t fresh) {
        auto* p = at % 8 == 0 ? find(at & ~std::uint64_t{0xfff}) : nullptr;
        if (p == nullptr) return vtd_scalable_model::failed;
        std::uint64_t& w = p[at / 8 % 512];
        bool const alike = w == old;
        old = w;
        if (alike) w = fresh;
        return alike ? vtd_scalable_model::done : vtd_scalable_model::changed;
    }
};

tables memory; // the library's
tables model;  // the model's
tables before; // as they were

[[noreturn]] void differ(unit const& u, ask const& q, std::string const& what) {
    std::fprintf(stderr, "%s%s", what.c_str(), text_of(u, q).c_str());
    std::abort();
}

// All that a stage maps: bounded, in order, and as walk() says.
template <class S, class M, class Check>
void enumerate(unit const& u, ask const& q, S const& stage, M& loader, Check const& check) {
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
                check(l, at, probe);
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
    u.cap = in.number(8);
    u.ecap = in.number(8);
    u.rtaddr = in.number(8);
    q.address = in.number(8);
    q.source = static_cast<std::uint32_t>(in.number(2));
    u.haw = static_cast<unsigned>(in.number(1));
    auto const flags = in.number(1);
    auto const request = in.number(1);
    q.bytes = static_cast<std::uint32_t>(in.number(1));
    auto const missing = in.number(2);
    auto const rest = in.number(4);
    u.on = (flags & 1) == 0;
    u.ranges = (flags & 2) == 0;
    u.each_entry = (flags & 4) != 0;
    u.largest = (flags & 8) != 0;
    memory.clear((flags & 32) != 0 ? tables::dense : (flags & 16) != 0 ? tables::folded : tables::sparse, missing);
    u.manual_fields = (flags & 64) != 0;
    u.both_halves = (flags & 128) != 0;
    q.read = (request & 1) != 0;
    q.write = (request & 2) != 0;
    if (!q.read && !q.write) q.read = true;
    q.type = static_cast<int>(request >> 2 & 3);
    q.has_pasid = (request & 16) != 0;
    q.no_write = (request & 32) != 0;
    q.privileged = (request & 64) != 0;
    q.execute = (request & 128) != 0;
    q.pasid = static_cast<std::uint32_t>(rest & 0xfffff);
    u.refuses_types = (rest >> 20 & 1) != 0;
    if ((rest >> 21 & 1) != 0) q.type = vtd_scalable_model::reserved_type;
    u.major = static_cast<unsigned>(rest >> 24);
    if (u.haw >= 32 && u.haw <= 52) u.haw -= 32; // make_possible adds it
    make_possible(u);
    make_possible(u, q);
    for (int i = 0; i < 256 && !in.empty(); ++i) {
        std::uint64_t const at = in.number(8);
        memory.put(at, in.number(8));
    }
    before = memory;
    model = memory;

    // The model, and what it read.
    std::uint64_t seen[128]{};
    std::size_t reads = 0;
    vtd_scalable_model::memory tables_of_model;
    tables_of_model.read = [&](std::uint64_t at, std::uint64_t& value) {
        if (reads < 128) seen[reads] = at;
        ++reads;
        return model.read(at, value);
    };
    tables_of_model.replace = [](std::uint64_t at, std::uint64_t old, std::uint64_t fresh) {
        return model.replace(at, old, fresh);
    };
    answer const expected = vtd_scalable_model::translate(u, q, tables_of_model);
    std::size_t const expected_reads = reads;

    // The library.
    auto const caps = capabilities_of(u);
    auto const set = settings_of(u);
    sw::vtd::root_table_address const root{u.rtaddr};
    auto const r = request_of(q);
    auto load = [](sw::ipa at) -> sw::outcome<std::uint64_t, int> {
        std::uint64_t value = 0;
        if (!memory.read(at.value, value)) return sw::failure{1};
        return value;
    };
    auto loader = sw::make_callback<sw::ipa>(load);
    auto updater =
        sw::make_callback<sw::ipa>(load, [](sw::ipa at, std::uint64_t& old, std::uint64_t fresh) -> sw::outcome<bool, int> {
            auto const how = memory.replace(at.value, old, fresh);
            if (how == vtd_scalable_model::failed) return sw::failure{2};
            return how == vtd_scalable_model::done;
        });
    auto window = sw::make_windowed<sw::ipa>([](sw::ipa page) -> std::uint64_t* { return memory.find(page.value); });
    auto const expect = [&](char const* where, auto const& o, answer const& a) {
        if (!agree(o, a)) differ(u, q, difference(where, o, a));
        if (std::memcmp(memory.word, model.word, sizeof memory.word) != 0)
            differ(u, q, std::string(where) + ": memory differs\n");
        std::memcpy(memory.word, before.word, sizeof memory.word);
    };
    sw::recording<decltype(updater), 128> recorded{updater};
    sw::vtd::iommu unit_{caps, root, recorded, set};
    expect("recording", unit_.translate(r), expected);
    // Configuration 2 + 4 + 1 + 8, a nested walk 5 + 5 * 6, its updates 5 * 5; it starts again at most so often.
    bool same_loads = recorded.loads() == expected_reads && expected_reads <= (15 + 35 + 25) * (1 + sw::max_restarts);
    for (std::size_t i = 0; same_loads && i < expected_reads && i < 128; ++i)
        same_loads = recorded.at(i).value == seen[i];
    if (!same_loads) differ(u, q, print("%zu loads, the model %zu\n", recorded.loads(), expected_reads));
    auto watch = [](auto const&) {}; // any tracer makes the walk take the exact lane
    expect("traced", unit_.translate(r, watch), expected);
    expect("windowed", sw::vtd::iommu{caps, root, window, set}.translate(r), expected);
    if (memory.how == tables::dense && memory.missing == 0) {
        sw::flat<sw::ipa> flat{memory.word, sizeof memory.word, sw::ipa{tables::origin}};
        expect("flat", sw::vtd::iommu{caps, root, flat, set}.translate(r), expected);
    }
    // Memory that cannot be written: updates are judged.
    model = before;
    tables_of_model.replace = [](std::uint64_t, std::uint64_t, std::uint64_t) { return vtd_scalable_model::done; };
    sw::vtd::iommu reader{caps, root, loader, set};
    expect("callback", reader.translate(r), vtd_scalable_model::translate(u, q, tables_of_model));

    // What the device can reach.
    auto const bound = reader.find(r);
    if (!bound) return 0;
    auto const nothing = [](auto const&, std::uint64_t, std::uint64_t) {};
    switch (bound->kind) {
    case sw::vtd::binding_kind::legacy_second_stage: {
        auto const stage = reader.legacy_stage_of(*bound);
        auto const levels = static_cast<unsigned>(bound->second_levels);
        enumerate(u, q, stage, loader, [&](auto const& l, std::uint64_t at, std::uint64_t probe) {
            auto const a = vtd_model::walk(u, levels, bound->second_root, probe, false, false, false, tables_of_model.read);
            if (!a.ok || a.output - (probe - at) != l.first.output.value || a.attributes != l.first.effective.bits)
                differ(u, q, print("the model's leaf at %llx\n", static_cast<wide>(probe)));
        });
        break;
    }
    case sw::vtd::binding_kind::second_stage: enumerate(u, q, reader.second_stage_of(*bound), loader, nothing); break;
    case sw::vtd::binding_kind::first_stage: enumerate(u, q, reader.first_stage_of(*bound), loader, nothing); break;
    default: break;
    }
    return 0;
}
