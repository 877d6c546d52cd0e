// VT-d legacy mode: a unit, a request and tables out of bytes; the library against the naive model. The input, all
// little-endian: CAP, ECAP, RTADDR, the address (64 bits each), the source id (16), the host address width, flags, the
// request, its length (8 each), missing pages (16), then the tables as pairs of an address and its word.
#include "model/vtd_compare.hpp"
#include "model/vtd_model.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size);

namespace {

namespace sw = stagewalk;
using namespace vtd_compare;

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
};

tables memory;

[[noreturn]] void differ(unit const& u, ask const& q, std::string const& what) {
    std::fprintf(stderr, "%s%s", what.c_str(), text_of(u, q).c_str());
    std::abort();
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
    u.on = (flags & 1) == 0;
    u.ranges = (flags & 2) == 0;
    u.each_entry = (flags & 4) != 0;
    u.largest = (flags & 8) != 0;
    memory.clear((flags & 32) != 0 ? tables::dense : (flags & 16) != 0 ? tables::folded : tables::sparse, missing);
    q.read = (request & 1) != 0;
    q.write = (request & 2) != 0;
    if (!q.read && !q.write) q.read = true;
    q.type = static_cast<int>(request >> 2 & 3);
    q.has_pasid = (request & 16) != 0;
    q.no_write = (request & 32) != 0;
    if (u.haw >= 32 && u.haw <= 52) u.haw -= 32; // make_possible adds it
    make_possible(u);
    make_possible(q);
    for (int i = 0; i < 256 && !in.empty(); ++i) {
        std::uint64_t const at = in.number(8);
        memory.put(at, in.number(8));
    }

    // The model, and what it read.
    std::uint64_t seen[16]{};
    std::size_t reads = 0;
    vtd_model::memory const load = [&](std::uint64_t at, std::uint64_t& value) {
        if (reads < 16) seen[reads] = at;
        ++reads;
        return memory.read(at, value);
    };
    answer const expected = vtd_model::translate(u, q, load);
    std::size_t const expected_reads = reads;

    // The library.
    auto const caps = capabilities_of(u);
    auto const set = settings_of(u);
    sw::vtd::root_table_address const root{u.rtaddr};
    auto const r = request_of(q);
    auto loader = sw::make_callback<sw::ipa>([](sw::ipa at) -> sw::outcome<std::uint64_t, int> {
        std::uint64_t value = 0;
        if (!memory.read(at.value, value)) return sw::failure{1};
        return value;
    });
    auto window = sw::make_windowed<sw::ipa>([](sw::ipa page) -> std::uint64_t const* { return memory.find(page.value); });
    auto const expect = [&](char const* where, auto const& o) {
        if (!agree(o, expected)) differ(u, q, difference(where, o, expected));
    };
    sw::recording recorded{loader};
    sw::vtd::iommu unit_{caps, root, recorded, set};
    expect("recording", unit_.translate(r));
    bool same = recorded.loads() == expected_reads && expected_reads <= 4 + 5;
    for (std::size_t i = 0; same && i < expected_reads; ++i)
        same = recorded.at(i).value == seen[i];
    if (!same) differ(u, q, print("%zu loads, the model %zu\n", recorded.loads(), expected_reads));
    auto watch = [](auto const&) {}; // any tracer makes the walk take the exact lane
    expect("traced", unit_.translate(r, watch));
    expect("windowed", sw::vtd::iommu{caps, root, window, set}.translate(r));
    if (memory.how == tables::dense && memory.missing == 0) {
        sw::flat<sw::ipa> flat{memory.word, sizeof memory.word, sw::ipa{tables::origin}};
        expect("flat", sw::vtd::iommu{caps, root, flat, set}.translate(r));
    }

    // What the device can reach: bounded, in order, and as the model's walk says.
    auto const bound = unit_.find(r);
    if (bound && !bound->bypasses) {
        constexpr std::uint64_t max_loads = 600;
        std::uint64_t next = 0;
        auto const levels = static_cast<unsigned>(bound->context.levels());
        auto const end = sw::for_each_leaf(
            bound->stage, loader, sw::range<sw::iova>::all(),
            [&](sw::leaf<sw::vtd::second_stage<>> const& l) {
                auto const at = l.part.first().value;
                if (at < next) differ(u, q, "leaves out of order\n");
                next = l.part.last().value;
                for (auto const probe : {at, next}) {
                    answer const a = vtd_model::walk(u, levels, bound->stage.root().value, probe, false, false, false, load);
                    if (!a.ok || a.output - (probe - at) != l.first.output.value || a.attributes != l.first.effective.bits)
                        differ(u, q, print("leaf at %llx\n", static_cast<wide>(probe)));
                }
            },
            max_loads);
        if (end.loads > max_loads) differ(u, q, "too many loads\n");
    }
    return 0;
}
