// A TLB against a list of what ought to be in it: the input is a program of look-ups, fills, overtaken fills and invalidations.
// Its first byte picks the TLB's policies; each step reads as many bytes as it needs numbers.
#include "model/tlb_against_map.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size);

namespace {

using namespace stagewalk;

// Numbers out of bytes, as wide as they have to be.
struct numbers {
    std::uint8_t const* at;
    std::size_t left;

    std::uint64_t operator()(std::uint64_t n) {
        std::uint64_t number = 0;
        for (std::uint64_t bound = n - 1; bound != 0 && left > 0; bound >>= 8, --left)
            number = number << 8 | *at++;
        return number % n;
    }
};

template <class... Policies>
void run(numbers& next) {
    using cache_type = tlb<tlb_against_map::owner, iova, pa, statistics::counting, Policies...>;
    auto const cache = std::make_unique<cache_type>();
    tlb_against_map::judge<cache_type> judge{*cache};
    for (unsigned step = 0; next.left > 0 && step < 400; ++step) {
        char const* const wrong = judge.step(next);
        if (wrong == nullptr) continue;
        std::fprintf(stderr, "step %u: %s\n", step, wrong);
        std::abort();
    }
}

} // namespace

int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    numbers next{data, size};
    switch (next(6)) {
    case 0: run<sets<1>, ways<2>>(next); break;
    case 1: run<sets<1>, ways<4>, replace::lru>(next); break;
    case 2: run<sets<4>, ways<2>, replace::plru>(next); break;
    case 3: run<sets<8>, ways<3>, replace::fifo, groups<1>>(next); break;
    case 4: run<sets<16>, ways<4>, groups<4>>(next); break;
    default: run<sets<2>, ways<16>, replace::fifo, groups<256>>(next); break;
    }
    return 0;
}
