/// \file
/// What does a request of a device behind an AMD IOMMU cost without any cache? Device table entry, then host tables; or GCR3
/// table, then guest tables; or both, where the GCR3 table and every guest table lie behind the host tables.
#include "amdvi_devices.hpp"
#include "report.hpp"

#include <memory>

namespace {

using namespace bench;

template <class Tables, class M>
void compare(std::string const& question, std::shared_ptr<amdvi_bus<Tables>> const& b, M const& m) {
    using chase = amdvi_unit_chase<Tables, M>;
    auto const ours = std::make_shared<amdvi_translate<M>>(*b, m);
    auto const theirs = std::make_shared<chase>(*b, m);
    measure(question, "walk", [b, ours] { return pairing<amdvi_translate<M>>{*ours, b->order()}; });
    measure(question, "checked", [b, theirs] { return pairing<chase>{*theirs, b->order()}; });
    if constexpr (std::is_same_v<Tables, amdvi_domain>) {
        using alone = amdvi_walk<M, typename Tables::stage_type>;
        auto const plain = std::make_shared<alone>(alone{b->tables().stage(), m});
        measure(question, "stage", [b, plain] { return pairing<alone>{*plain, b->order()}; });
    }
}

template <class Tables>
void device(std::string const& name) {
    for (std::uint64_t const pages : {8u, 2048u}) {
        auto const b = std::make_shared<amdvi_bus<Tables>>(pages);
        std::string const set = pages == 8 ? "/ws8" : "/ws2k";
        compare("amdvi/device/" + name + "/windowed" + set, b, window_on<pa>(b->tables().ram()));
        compare("amdvi/device/" + name + "/flat" + set, b, bounded<pa>(b->tables().ram()));
    }
}

void all() {
    device<amdvi_domain>("host");
    device<amdvi_process>("guest");
    device<amdvi_guest>("nested");
}

} // namespace

int main(int argc, char** argv) {
    benchmark::Initialize(&argc, argv);
    all();
    benchmark::RunSpecifiedBenchmarks();
}
