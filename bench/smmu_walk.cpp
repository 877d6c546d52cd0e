/// \file
/// What does a walk over an SMMU's tables cost over what its loads cost? Stage 1 and stage 2, each granule, in cache and in
/// memory, every check on.
#include "report.hpp"
#include "smmu_chase.hpp"

#include <memory>

namespace {

using namespace bench;

template <class M, class Tables>
void compare(std::string const& question, std::shared_ptr<Tables> const& t, M const& m) {
    using stage = typename Tables::stage_type;
    auto const beside = [&](std::string const& name, auto subject) {
        auto const kept = std::make_shared<decltype(subject)>(subject);
        measure(question, name, [t, kept] { return pairing<decltype(subject)>{*kept, t->order()}; });
    };
    beside("walk", smmu_walk<M, stage>{t->stage(), m});
    beside("checked", smmu_checked_chase<stage, M>{t->stage(), m});
    beside("bare", smmu_bare_chase<stage>{*t});
}

template <class Tables>
void granule(std::string const& name) {
    for (std::uint64_t const pages : {std::uint64_t{2048}, std::uint64_t{1} << 24}) {
        auto const t = std::make_shared<Tables>(pages);
        std::string const set = pages == 2048 ? "/ws2k" : "/ws16M";
        compare("smmu/" + name + "/windowed" + set, t, window_on<pa>(t->ram()));
        compare("smmu/" + name + "/flat" + set, t, bounded<pa>(t->ram()));
    }
}

void all() {
    granule<smmu_process<smmu::granule::k4>>("stage1/4K");
    granule<smmu_process<smmu::granule::k16>>("stage1/16K");
    granule<smmu_process<smmu::granule::k64>>("stage1/64K");
    granule<smmu_domain<smmu::granule::k4>>("stage2/4K");
    granule<smmu_domain<smmu::granule::k16>>("stage2/16K");
    granule<smmu_domain<smmu::granule::k64>>("stage2/64K");
}

} // namespace

int main(int argc, char** argv) {
    benchmark::Initialize(&argc, argv);
    all();
    benchmark::RunSpecifiedBenchmarks();
}
