/// \file
/// The subjects of AMD IOMMUs: one of them, a given number of look-ups, nothing else. See subjects.cpp.
#include "../amdvi_devices.hpp"

#include <cinttypes>
#include <cstdlib>
#include <string_view>

namespace {

using namespace bench;

constexpr std::uint64_t pages = 2048;

// The loop, the next address, the use of a result.
struct amdvi_frame {
    std::uint64_t bits;
    std::uint64_t lg2;

    [[gnu::always_inline]] found operator()(iova in) const {
        outcome<translation<pa>, fault<amdvi::event>> const ready{
            translation<pa>{pa{in.value}, attributes::from_bits(bits), lg2, passage::walked}};
        return use(ready);
    }
};

struct question {
    std::string_view subject; // walk, called, checked or bare
    std::uint64_t count;
};

template <class Tables, unsigned Levels, class M>
std::uint64_t alone(question const& q, Tables const& t, M const& m) {
    using stage = typename Tables::stage_type;
    auto const run = [&](auto const& s) { return independent(s, t.order(), 0, q.count); };
    if (q.subject == "walk") return run(amdvi_walk<M, stage>{t.stage(), m});
    if (q.subject == "called") return run(amdvi_walk_called<M, stage>{t.stage(), m});
    if (q.subject == "bare") return run(amdvi_bare_chase<Levels>{t});
    return run(amdvi_chase_of<Tables, M, Levels>{t.stage(), t.options(), m});
}

template <class Ours, class Theirs, class M>
std::uint64_t both(question const& q, M const& m, amdvi_guest const& g) {
    Ours const ours{g, m};
    Theirs const theirs{g, m};
    return q.subject == "walk" ? independent(ours, g.order(), 0, q.count) : independent(theirs, g.order(), 0, q.count);
}

template <class Tables, class M, class View>
std::uint64_t behind(question const& q, View view) {
    amdvi_bus<Tables> const b{pages};
    M const m = view(b.tables().ram());
    amdvi_translate<M> const walked{b, m};
    return q.subject == "walk" ? independent(walked, b.order(), 0, q.count)
                               : independent(amdvi_unit_chase<Tables, M>{b, m}, b.order(), 0, q.count);
}

template <class M, class View>
std::uint64_t answer(std::string_view kind, question const& q, View view) {
    auto const host = [&]<unsigned Levels>(std::integral_constant<unsigned, Levels>, std::uint64_t lg2,
                                           amdvi::host_table_options const& options = {}) {
        amdvi_domain const t{pages, lg2, Levels, options};
        return alone<amdvi_domain, Levels, M>(q, t, view(t.ram()));
    };
    auto const guest = [&](std::uint64_t lg2) {
        amdvi_process const t{pages, lg2, 4, amdvi_of_unit};
        return alone<amdvi_process, 4, M>(q, t, view(t.ram()));
    };
    std::integral_constant<unsigned, 3> const three;
    std::integral_constant<unsigned, 4> const four;
    std::integral_constant<unsigned, 6> const six;
    if (kind == "host-4-4K") return host(four, 12);
    if (kind == "host-4-2M") return host(four, 21);
    if (kind == "host-4-64K") return host(four, 16);
    if (kind == "host-3-4K") return host(three, 12);
    if (kind == "host-6-4K") return host(six, 12);
    if (kind == "host-ad-4-4K") return host(four, 12, amdvi_keeping);
    if (kind == "guest-4-4K") return guest(12);
    if (kind == "guest-4-2M") return guest(21);
    if (kind == "device-host") return behind<amdvi_domain, M>(q, view);
    if (kind == "device-guest") return behind<amdvi_process, M>(q, view);
    if (kind == "device-nested") return behind<amdvi_guest, M>(q, view);
    amdvi_guest const g{pages};
    M const m = view(g.ram());
    if (kind == "nested") return both<amdvi_nested_walk<M>, amdvi_nested_chase<M, false>>(q, m, g);
    if (kind == "nested-unit") return both<amdvi_unit_nested_walk<M>, amdvi_nested_chase<M, true>>(q, m, g);
    return need(std::uint64_t{0}, "no such subject");
}

} // namespace

int main(int argc, char** argv) {
    need(argc == 3, "usage: bench_instructions_amdvi SUBJECT COUNT");
    std::string_view const name = argv[1];
    question const q{name.substr(name.rfind('/') + 1), std::strtoull(argv[2], nullptr, 10)};
    std::uint64_t sum = 0;
    if (name == "frame") {
        amdvi_domain const t{pages};
        sum = independent(amdvi_frame{t.order().zero(), t.order().lg2()}, t.order(), 0, q.count);
    } else if (auto const in_window = name.find("/windowed/"); in_window != name.npos) {
        sum = answer<windowed_ram<pa>>(name.substr(0, in_window), q, window_on<pa>);
    } else {
        sum = answer<flat<pa>>(name.substr(0, name.find("/flat/")), q, bounded<pa>);
    }
    std::printf("%" PRIx64 "\n", sum);
}
