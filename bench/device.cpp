/// \file
/// What does a request of a device cost without any cache? Legacy mode: root entry, context entry, walk. Scalable mode:
/// root, context, PASID directory and PASID table entry, then first stage, second stage, or both.
#include "report.hpp"
#include "requester.hpp"

#include <memory>

namespace {

using namespace bench;

template <class M>
void compare(std::string const& question, std::shared_ptr<bus> const& b, M const& m) {
    auto const ours = std::make_shared<unit_translate<M>>(*b, m);
    auto const theirs = std::make_shared<unit_chase<M>>(*b, m);
    auto const plain = std::make_shared<walk_inlined<M>>(walk_inlined<M>{b->domain().stage(), m});
    measure(question, "walk", [b, ours] { return pairing<unit_translate<M>>{*ours, b->domain().order()}; });
    measure(question, "checked", [b, theirs] { return pairing<unit_chase<M>>{*theirs, b->domain().order()}; });
    measure(question, "stage", [b, plain] { return pairing<walk_inlined<M>>{*plain, b->domain().order()}; });
}

template <class Chase, class Tables, class M>
void compare_scalable(std::string const& question, std::shared_ptr<scalable_bus<Tables>> const& b, M const& m) {
    auto const ours = std::make_shared<unit_translate<M>>(*b, m);
    auto const theirs = std::make_shared<Chase>(*b, m);
    measure(question, "walk", [b, ours] { return pairing<unit_translate<M>>{*ours, b->order()}; });
    measure(question, "checked", [b, theirs] { return pairing<Chase>{*theirs, b->order()}; });
}

template <template <class> class Chase, class Tables>
void scalable(std::string const& kind) {
    auto const b = std::make_shared<scalable_bus<Tables>>(2048);
    auto const& ram = b->tables().ram();
    compare_scalable<Chase<windowed_ram<pa>>>("device/" + kind + "/windowed/4K/ws2k", b, window_on<pa>(ram));
    compare_scalable<Chase<flat<pa>>>("device/" + kind + "/flat/4K/ws2k", b, bounded<pa>(ram));
}

void all() {
    for (std::uint64_t const pages : {8u, 2048u}) {
        auto const b = std::make_shared<bus>(pages);
        std::string const tail = pages == 8 ? "/4K/ws8" : "/4K/ws2k";
        compare("device/windowed" + tail, b, window_on<pa>(b->domain().ram()));
        compare("device/flat" + tail, b, bounded<pa>(b->domain().ram()));
    }
    scalable<first_unit_chase, process>("first");
    scalable<second_unit_chase, scalable_domain>("second");
    scalable<nested_unit_chase, unit_guest>("nested");
}

} // namespace

int main(int argc, char** argv) {
    benchmark::Initialize(&argc, argv);
    all();
    benchmark::RunSpecifiedBenchmarks();
}
