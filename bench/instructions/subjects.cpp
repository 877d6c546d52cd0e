/// \file
/// One subject, a given number of look-ups, nothing else: `count_instructions` runs it with N and 2N under valgrind.
#include "../requester.hpp"

#include <cinttypes>
#include <cstdlib>
#include <string_view>

namespace {

using namespace bench;

constexpr std::uint64_t pages = 2048;

std::uint64_t on_domain(std::string_view subject, std::uint64_t count) {
    domain const d{pages, 12};
    auto const run = [&](auto const& s) { return independent(s, d.order(), 0, count); };
    auto const window = window_on<pa>(d.ram());
    auto const bounds = bounded<pa>(d.ram());
    using in_window = windowed_ram<pa>;
    using in_bounds = flat<pa>;
    if (subject == "frame") return run(frame{d});
    if (subject == "bare") return run(bare_chase{d});
    if (subject == "windowed/checked") return run(checked_chase<iova, pa, in_window>{d.stage(), window});
    if (subject == "windowed/walk") return run(walk_inlined<in_window>{d.stage(), window});
    if (subject == "windowed/called") return run(walk_called<in_window>{d.stage(), window});
    if (subject == "flat/checked") return run(checked_chase<iova, pa, in_bounds>{d.stage(), bounds});
    if (subject == "flat/walk") return run(walk_inlined<in_bounds>{d.stage(), bounds});
    if (subject == "flat/called") return run(walk_called<in_bounds>{d.stage(), bounds});
    return need(std::uint64_t{0}, "no such subject");
}

std::uint64_t on_guest(std::string_view subject, std::uint64_t count) {
    guest const g{pages};
    auto const run = [&](auto const& s) { return independent(s, g.order(), 0, count); };
    auto const window = window_on<pa>(g.ram());
    auto const bounds = bounded<pa>(g.ram());
    if (subject == "nested/windowed/checked") return run(nested_chase<windowed_ram<pa>>{g, window});
    if (subject == "nested/windowed/walk") return run(nested_walk<windowed_ram<pa>>{g, window});
    if (subject == "nested/flat/checked") return run(nested_chase<flat<pa>>{g, bounds});
    if (subject == "nested/flat/walk") return run(nested_walk<flat<pa>>{g, bounds});
    return need(std::uint64_t{0}, "no such subject");
}

std::uint64_t on_bus(std::string_view subject, std::uint64_t count) {
    bus const b{pages};
    auto const run = [&](auto const& s) { return independent(s, b.domain().order(), 0, count); };
    auto const window = window_on<pa>(b.domain().ram());
    auto const bounds = bounded<pa>(b.domain().ram());
    if (subject == "device/windowed/checked") return run(unit_chase<windowed_ram<pa>>{b, window});
    if (subject == "device/windowed/walk") return run(unit_translate<windowed_ram<pa>>{b, window});
    if (subject == "device/flat/checked") return run(unit_chase<flat<pa>>{b, bounds});
    if (subject == "device/flat/walk") return run(unit_translate<flat<pa>>{b, bounds});
    return need(std::uint64_t{0}, "no such subject");
}

template <class Subject, class Tables>
std::uint64_t run(Tables const& t, Subject const& s, std::uint64_t count) {
    return independent(s, t.order(), 0, count);
}

// Every kind of scalable mode: the tables alone, and behind a device.
template <class M, class View>
std::uint64_t on_scalable(std::string_view subject, std::uint64_t count, View view) {
    vtd::second_stage_options keeping;
    keeping.accessed_dirty = true;
    bool const ours = subject.ends_with("/walk");
    auto const either = [&](auto const& t, auto const& walked, auto const& chased) {
        return ours ? run(t, walked, count) : run(t, chased, count);
    };
    auto const alone = [&](auto const& t, auto format) {
        using stage = std::remove_cvref_t<decltype(t.stage())>;
        M const m = view(t.ram());
        return either(t, walk_inlined<M, stage>{t.stage(), m}, checked_chase<iova, pa, M, decltype(format)>{t.stage(), m});
    };
    auto const behind = [&](auto const& b, auto make_chase) {
        M const m = view(b.tables().ram());
        unit_translate<M> const walked{b, m};
        return either(b, walked, make_chase(b, m));
    };
    if (subject.starts_with("first/")) {
        process const p{pages, 12};
        return alone(p, process_format{p.stage()});
    }
    if (subject.starts_with("second/")) {
        scalable_domain const d{pages, 12};
        return alone(d, scalable_format{d.stage()});
    }
    if (subject.starts_with("second-ad/")) {
        scalable_domain const d{pages, 12, 0, keeping};
        return alone(d, scalable_format{d.stage()});
    }
    if (subject.starts_with("nested-unit/")) {
        unit_guest const g{pages};
        M const m = view(g.ram());
        unit_nested_walk<M> const walked{g, m};
        return either(g, walked, unit_nested_chase<M>{g, m});
    }
    if (subject.starts_with("device-first/"))
        return behind(scalable_bus<process>{pages}, [](auto const& b, M const& m) { return first_unit_chase<M>{b, m}; });
    if (subject.starts_with("device-second/"))
        return behind(scalable_bus<scalable_domain>{pages}, [](auto const& b, M const& m) { return second_unit_chase<M>{b, m}; });
    if (subject.starts_with("device-second-ad/"))
        return behind(scalable_bus<scalable_domain>{pages, keeping}, [](auto const& b, M const& m) {
            return second_unit_chase<M>{b, m};
        });
    if (subject.starts_with("device-nested/"))
        return behind(scalable_bus<unit_guest>{pages}, [](auto const& b, M const& m) { return nested_unit_chase<M>{b, m}; });
    return need(std::uint64_t{0}, "no such subject");
}

} // namespace

int main(int argc, char** argv) {
    need(argc == 3, "usage: bench_instructions SUBJECT COUNT");
    std::string_view const subject = argv[1];
    std::uint64_t const count = std::strtoull(argv[2], nullptr, 10);
    bool const in_window = subject.find("/windowed/") != subject.npos;
    bool const is_scalable = in_window || subject.find("/flat/") != subject.npos;
    auto const sum = subject.starts_with("nested/")   ? on_guest(subject, count)
                     : subject.starts_with("device/") ? on_bus(subject, count)
                     : is_scalable && in_window       ? on_scalable<windowed_ram<pa>>(subject, count, window_on<pa>)
                     : is_scalable                    ? on_scalable<flat<pa>>(subject, count, bounded<pa>)
                                                      : on_domain(subject, count);
    std::printf("%" PRIx64 "\n", sum);
}
