/// \file
/// What does a walk of a process's tables cost? VT-d first stage, four levels, A and D set already, every check on.
#include "first_stage.hpp"
#include "report.hpp"

#include <memory>

namespace {

using namespace bench;

template <class M>
void compare(std::string const& question, std::shared_ptr<process> const& p, M const& m) {
    auto const beside = [&](std::string const& name, auto subject) {
        auto const kept = std::make_shared<decltype(subject)>(subject);
        measure(question, name, [p, kept] { return pairing<decltype(subject)>{*kept, p->order()}; });
    };
    beside("walk", walk_inlined<M, process_stage_type>{p->stage(), m});
    beside("checked", checked_chase<iova, pa, M, process_format>{p->stage(), m});
}

void all() {
    for (std::uint64_t const pages : {2048u, 65536u}) {
        auto const p = std::make_shared<process>(pages, 12);
        std::string const tail = pages == 2048 ? "/4K/ws2k" : "/4K/ws64k";
        compare("first/windowed" + tail, p, window_on<pa>(p->ram()));
        compare("first/flat" + tail, p, bounded<pa>(p->ram()));
    }
}

} // namespace

int main(int argc, char** argv) {
    benchmark::Initialize(&argc, argv);
    all();
    benchmark::RunSpecifiedBenchmarks();
}
