/// \file
/// Naming and registering: every figure is called question/memory/pages/set/kind/subject, and `run` finds the peers of
/// a figure under the same name with another subject.
#pragma once

#include "physical.hpp"

#include <benchmark/benchmark.h>

#include <string>

namespace bench {

/// Registers both kinds: thr, independent look-ups, and lat, each of an address that depends on the last result.
/// \param make_subject called when the measurement starts; returns a pair-like thing with `subject` and `order`.
template <class MakeSubject>
void measure(std::string const& question, std::string const& subject, MakeSubject make_subject) {
    auto const body = [make_subject](benchmark::State& state, bool waits) {
        auto const& [looks_up, order] = make_subject();
        constexpr std::uint64_t batch = 1024;
        std::uint64_t from = 0;
        for ([[maybe_unused]] auto _ : state) {
            benchmark::DoNotOptimize(waits ? dependent(looks_up, order, from, batch) : independent(looks_up, order, from, batch));
            from += batch;
        }
        state.SetItemsProcessed(state.iterations() * std::int64_t{batch});
    };
    benchmark::RegisterBenchmark((question + "/thr/" + subject).c_str(), [body](benchmark::State& s) { body(s, false); });
    benchmark::RegisterBenchmark((question + "/lat/" + subject).c_str(), [body](benchmark::State& s) { body(s, true); });
}

/// A subject and the order in which it is asked.
template <class Subject>
struct pairing {
    Subject const& looks_up;
    work const& order;
};

} // namespace bench
