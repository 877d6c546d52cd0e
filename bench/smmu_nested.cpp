/// \file
/// What do stage 1 and stage 2 of an SMMU cost over their loads, one over the other? Every pair of granules, no cache, every
/// check on, both stages made once.
#include "report.hpp"
#include "smmu_two_stages.hpp"

#include <memory>

namespace {

using namespace bench;

template <class Guest, class M>
void compare(std::string const& question, std::shared_ptr<Guest> const& g, M const& m) {
    using ours_type = smmu_nested_walk<Guest, M>;
    using theirs_type = smmu_nested_chase<Guest, M>;
    auto const ours = std::make_shared<ours_type>(*g, m);
    auto const theirs = std::make_shared<theirs_type>(*g, m);
    measure(question, "walk", [g, ours] { return pairing<ours_type>{*ours, g->order()}; });
    measure(question, "checked", [g, theirs] { return pairing<theirs_type>{*theirs, g->order()}; });
}

template <smmu::granule First, smmu::granule Second>
void pair(std::string const& name) {
    auto const g = std::make_shared<smmu_guest<First, Second>>(2048);
    compare("smmu/nested/" + name + "/windowed/ws2k", g, window_on<pa>(g->ram()));
    compare("smmu/nested/" + name + "/flat/ws2k", g, bounded<pa>(g->ram()));
}

void all() {
    using g = smmu::granule;
    pair<g::k4, g::k4>("4K/4K");
    pair<g::k4, g::k16>("4K/16K");
    pair<g::k4, g::k64>("4K/64K");
    pair<g::k16, g::k4>("16K/4K");
    pair<g::k16, g::k16>("16K/16K");
    pair<g::k16, g::k64>("16K/64K");
    pair<g::k64, g::k4>("64K/4K");
    pair<g::k64, g::k16>("64K/16K");
    pair<g::k64, g::k64>("64K/64K");
}

} // namespace

int main(int argc, char** argv) {
    benchmark::Initialize(&argc, argv);
    all();
    benchmark::RunSpecifiedBenchmarks();
}
