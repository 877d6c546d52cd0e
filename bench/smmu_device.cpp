/// \file
/// What does a request of a device behind an SMMU cost without any cache? Stream table entry, context descriptor, then stage 1
/// (Config = 101), stage 2 (110), or both (111), where every table of stage 1 and its context descriptor lie behind stage 2.
#include "report.hpp"
#include "smmu_streams.hpp"

#include <memory>

namespace {

using namespace bench;

template <class Tables, class M>
void compare(std::string const& question, std::shared_ptr<smmu_bus<Tables>> const& b, M const& m) {
    using chase = smmu_unit_chase<Tables, M>;
    auto const ours = std::make_shared<smmu_translate<M>>(*b, m);
    auto const theirs = std::make_shared<chase>(*b, m);
    measure(question, "walk", [b, ours] { return pairing<smmu_translate<M>>{*ours, b->order()}; });
    measure(question, "checked", [b, theirs] { return pairing<chase>{*theirs, b->order()}; });
}

template <class Tables>
void stream(std::string const& name) {
    auto const b = std::make_shared<smmu_bus<Tables>>(2048);
    compare("smmu/" + name + "/windowed/ws2k", b, window_on<pa>(b->tables().ram()));
    compare("smmu/" + name + "/flat/ws2k", b, bounded<pa>(b->tables().ram()));
}

void all() {
    using g = smmu::granule;
    stream<smmu_process<g::k4>>("device/stage1/4K");
    stream<smmu_domain<g::k4>>("device/stage2/4K");
    // Stage 1 over stage 2.
    stream<smmu_guest<g::k4, g::k4>>("device/nested/4K/4K");
    stream<smmu_guest<g::k4, g::k16>>("device/nested/4K/16K");
    stream<smmu_guest<g::k4, g::k64>>("device/nested/4K/64K");
    stream<smmu_guest<g::k16, g::k4>>("device/nested/16K/4K");
    stream<smmu_guest<g::k16, g::k16>>("device/nested/16K/16K");
    stream<smmu_guest<g::k16, g::k64>>("device/nested/16K/64K");
    stream<smmu_guest<g::k64, g::k4>>("device/nested/64K/4K");
    stream<smmu_guest<g::k64, g::k16>>("device/nested/64K/16K");
    stream<smmu_guest<g::k64, g::k64>>("device/nested/64K/64K");
}

} // namespace

int main(int argc, char** argv) {
    benchmark::Initialize(&argc, argv);
    all();
    benchmark::RunSpecifiedBenchmarks();
}
