/// \file
/// What do guest tables over host tables of an AMD IOMMU cost over their 24 loads? Four levels each, 4K pages, no cache, every
/// check on, both stages made once: through the generic translator, and the unit's own nesting.
#include "amdvi_two_stages.hpp"
#include "report.hpp"

#include <memory>

namespace {

using namespace bench;

template <class Ours, class Theirs, class M>
void compare(std::string const& question, std::shared_ptr<amdvi_guest> const& g, M const& m) {
    auto const ours = std::make_shared<Ours>(*g, m);
    auto const theirs = std::make_shared<Theirs>(*g, m);
    measure(question, "walk", [g, ours] { return pairing<Ours>{*ours, g->order()}; });
    measure(question, "checked", [g, theirs] { return pairing<Theirs>{*theirs, g->order()}; });
}

template <class M>
void both_ways(std::string const& tail, std::shared_ptr<amdvi_guest> const& g, M const& m) {
    compare<amdvi_nested_walk<M>, amdvi_nested_chase<M, false>>("amdvi/nested" + tail, g, m);
    compare<amdvi_unit_nested_walk<M>, amdvi_nested_chase<M, true>>("amdvi/nested/unit" + tail, g, m);
}

void all() {
    for (std::uint64_t const pages : {8u, 2048u}) {
        auto const g = std::make_shared<amdvi_guest>(pages);
        std::string const set = pages == 8 ? "/ws8" : "/ws2k";
        both_ways("/windowed" + set, g, window_on<pa>(g->ram()));
        both_ways("/flat" + set, g, bounded<pa>(g->ram()));
    }
}

} // namespace

int main(int argc, char** argv) {
    benchmark::Initialize(&argc, argv);
    all();
    benchmark::RunSpecifiedBenchmarks();
}
