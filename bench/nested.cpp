/// \file
/// What do two stages cost over their 24 loads? Four levels each, 4K pages, no cache, every check on.
#include "report.hpp"
#include "two_stages.hpp"

#include <memory>

namespace {

using namespace bench;

template <class M>
void compare(std::string const& question, std::shared_ptr<guest> const& g, M const& m) {
    auto const ours = std::make_shared<nested_walk<M>>(*g, m);
    auto const theirs = std::make_shared<nested_chase<M>>(*g, m);
    measure(question, "walk", [g, ours] { return pairing<nested_walk<M>>{*ours, g->order()}; });
    measure(question, "checked", [g, theirs] { return pairing<nested_chase<M>>{*theirs, g->order()}; });
}

void all() {
    for (std::uint64_t const pages : {8u, 2048u}) {
        auto const g = std::make_shared<guest>(pages);
        std::string const tail = pages == 8 ? "/4K/ws8" : "/4K/ws2k";
        compare("nested/windowed" + tail, g, window_on<pa>(g->ram()));
        compare("nested/flat" + tail, g, bounded<pa>(g->ram()));
    }
}

} // namespace

int main(int argc, char** argv) {
    benchmark::Initialize(&argc, argv);
    all();
    benchmark::RunSpecifiedBenchmarks();
}
