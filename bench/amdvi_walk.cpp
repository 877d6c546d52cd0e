/// \file
/// What does a walk over an AMD IOMMU's tables cost over what its loads cost? Host tables of each depth and with each way to tell
/// a page's size, without A and D and with them, and guest tables; every check on.
#include "amdvi_chase.hpp"
#include "report.hpp"

#include <memory>

namespace {

using namespace bench;

template <unsigned Levels, class M, class Tables>
void compare(std::string const& question, std::shared_ptr<Tables> const& t, M const& m) {
    using stage = typename Tables::stage_type;
    auto const beside = [&](std::string const& name, auto subject) {
        auto const kept = std::make_shared<decltype(subject)>(subject);
        measure(question, name, [t, kept] { return pairing<decltype(subject)>{*kept, t->order()}; });
    };
    beside("walk", amdvi_walk<M, stage>{t->stage(), m});
    beside("checked", amdvi_chase_of<Tables, M, Levels>{t->stage(), t->options(), m});
    beside("bare", amdvi_bare_chase<Levels>{*t});
    beside("called", amdvi_walk_called<M, stage>{t->stage(), m});
}

struct set {
    char const* name;
    std::uint64_t pages;
};

template <class Tables, unsigned Levels = 4, class... Options>
void tables(std::string const& name, std::uint64_t lg2, std::initializer_list<set> sets, Options const&... options) {
    for (auto const& s : sets) {
        auto const t = std::make_shared<Tables>(s.pages, lg2, Levels, options...);
        compare<Levels>("amdvi/" + name + "/windowed/" + s.name, t, window_on<pa>(t->ram()));
        compare<Levels>("amdvi/" + name + "/flat/" + s.name, t, bounded<pa>(t->ram()));
    }
}

void all() {
    auto const every = {set{"ws8", 8}, {"ws2k", 2048}, {"ws64k", 65536}, {"ws1M", 1 << 20}, {"ws16M", 1 << 24}};
    tables<amdvi_domain>("host/4/4K", 12, every);
    // The level of the leaves makes no difference to a cache: two sets are enough.
    tables<amdvi_domain>("host/4/2M", 21, {{"ws8", 8}, {"ws64k", 65536}});
    tables<amdvi_domain>("host/4/64K", 16, {{"ws8", 8}, {"ws2k", 2048}});
    tables<amdvi_domain, 3>("host/3/4K", 12, {{"ws2k", 2048}});
    tables<amdvi_domain, 6>("host/6/4K", 12, {{"ws2k", 2048}});
    tables<amdvi_domain>("host/ad/4/4K", 12, {{"ws2k", 2048}}, amdvi_keeping);
    tables<amdvi_process>("guest/4/4K", 12, every, amdvi_of_unit);
    tables<amdvi_process>("guest/4/2M", 21, {{"ws8", 8}, {"ws64k", 65536}}, amdvi_of_unit);
}

} // namespace

int main(int argc, char** argv) {
    benchmark::Initialize(&argc, argv);
    all();
    benchmark::RunSpecifiedBenchmarks();
}
