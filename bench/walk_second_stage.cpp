/// \file
/// What does a walk cost over what its loads cost? VT-d second stage, four levels, every check on; in legacy mode, and
/// in scalable mode without A/D bits and with them, set already.
#include "report.hpp"
#include "second_stage.hpp"

#include <memory>

namespace {

using namespace bench;

template <class M>
void compare(std::string const& question, std::shared_ptr<domain> const& d, M const& m) {
    auto const beside = [&](std::string const& name, auto subject) {
        auto const kept = std::make_shared<decltype(subject)>(subject);
        measure(question, name, [d, kept] { return pairing<decltype(subject)>{*kept, d->order()}; });
    };
    beside("walk", walk_inlined<M>{d->stage(), m});
    beside("checked", checked_chase<iova, pa, M>{d->stage(), m});
    beside("bare", bare_chase{*d});
    beside("called", walk_called<M>{d->stage(), m});
}

template <class M>
void compare_scalable(std::string const& question, std::shared_ptr<scalable_domain> const& d, M const& m) {
    using ours_type = walk_inlined<M, scalable_stage_type>;
    using theirs_type = checked_chase<iova, pa, M, scalable_format>;
    auto const ours = std::make_shared<ours_type>(ours_type{d->stage(), m});
    auto const theirs = std::make_shared<theirs_type>(d->stage(), m);
    measure(question, "walk", [d, ours] { return pairing<ours_type>{*ours, d->order()}; });
    measure(question, "checked", [d, theirs] { return pairing<theirs_type>{*theirs, d->order()}; });
}

void all() {
    struct set {
        char const* name;
        std::uint64_t pages;
    };
    constexpr set sets[] = {{"ws8", 8}, {"ws2k", 2048}, {"ws64k", 65536}, {"ws1M", 1 << 20}, {"ws16M", 1 << 24}};
    for (std::uint64_t const lg2 : {12u, 21u}) {
        for (auto const& s : sets) {
            // The level of the leaves makes no difference to a cache: two sets are enough.
            if (lg2 == 21 && s.pages != 8 && s.pages != 65536) continue;
            auto const d = std::make_shared<domain>(s.pages, lg2);
            std::string const tail = std::string{lg2 == 12 ? "/4K/" : "/2M/"} + s.name;
            compare("walk/windowed" + tail, d, window_on<pa>(d->ram()));
            compare("walk/flat" + tail, d, bounded<pa>(d->ram()));
        }
    }
    for (bool const accessed_dirty : {false, true}) {
        vtd::second_stage_options options;
        options.accessed_dirty = accessed_dirty;
        auto const d = std::make_shared<scalable_domain>(2048, 12, 0, options);
        std::string const name = accessed_dirty ? "walk/scalable/ad" : "walk/scalable/plain";
        compare_scalable(name + "/windowed/4K/ws2k", d, window_on<pa>(d->ram()));
        compare_scalable(name + "/flat/4K/ws2k", d, bounded<pa>(d->ram()));
    }
}

} // namespace

int main(int argc, char** argv) {
    benchmark::Initialize(&argc, argv);
    all();
    benchmark::RunSpecifiedBenchmarks();
}
