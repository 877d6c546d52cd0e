/// \file
/// What do two stages cost over their 24 loads? Four levels each, 4K pages, no cache, every check on: two stages of one
/// format, and a unit's first over its second stage.
#include "report.hpp"
#include "two_stages.hpp"

#include <memory>

namespace {

using namespace bench;

template <class Ours, class Theirs, class Guest, class M>
void compare(std::string const& question, std::shared_ptr<Guest> const& g, M const& m) {
    auto const ours = std::make_shared<Ours>(*g, m);
    auto const theirs = std::make_shared<Theirs>(*g, m);
    measure(question, "walk", [g, ours] { return pairing<Ours>{*ours, g->order()}; });
    measure(question, "checked", [g, theirs] { return pairing<Theirs>{*theirs, g->order()}; });
}

void all() {
    for (std::uint64_t const pages : {8u, 2048u}) {
        auto const g = std::make_shared<guest>(pages);
        std::string const tail = pages == 8 ? "/4K/ws8" : "/4K/ws2k";
        compare<nested_walk<windowed_ram<pa>>, nested_chase<windowed_ram<pa>>>("nested/windowed" + tail, g,
                                                                               window_on<pa>(g->ram()));
        compare<nested_walk<flat<pa>>, nested_chase<flat<pa>>>("nested/flat" + tail, g, bounded<pa>(g->ram()));
    }
    auto const u = std::make_shared<unit_guest>(2048);
    compare<unit_nested_walk<windowed_ram<pa>>, unit_nested_chase<windowed_ram<pa>>>("nested/unit/windowed/4K/ws2k", u,
                                                                                     window_on<pa>(u->ram()));
    compare<unit_nested_walk<flat<pa>>, unit_nested_chase<flat<pa>>>("nested/unit/flat/4K/ws2k", u, bounded<pa>(u->ram()));
}

} // namespace

int main(int argc, char** argv) {
    benchmark::Initialize(&argc, argv);
    all();
    benchmark::RunSpecifiedBenchmarks();
}
