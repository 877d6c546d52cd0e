/// \file
/// The subjects of SMMUs: one of them, a given number of look-ups, nothing else. See subjects.cpp.
#include "../smmu_streams.hpp"
#include "../smmu_two_stages.hpp"

#include <cinttypes>
#include <cstdlib>
#include <string_view>

namespace {

using namespace bench;
using g = smmu::granule;

constexpr std::uint64_t pages = 2048;

// The loop, the next address, the use of a result.
struct smmu_frame {
    std::uint64_t bits;
    std::uint64_t lg2;

    [[gnu::always_inline]] found operator()(iova in) const {
        outcome<translation<pa>, fault<smmu::event>> const ready{
            translation<pa>{pa{in.value}, attributes::from_bits(bits), lg2, passage::walked}};
        return use(ready);
    }
};

template <class Tables, class M, class View>
std::uint64_t alone(bool ours, std::uint64_t count, View view) {
    using stage = typename Tables::stage_type;
    Tables const t{pages};
    M const m = view(t.ram());
    return ours ? independent(smmu_walk<M, stage>{t.stage(), m}, t.order(), 0, count)
                : independent(smmu_checked_chase<stage, M>{t.stage(), m}, t.order(), 0, count);
}

template <g First, g Second, class M, class View>
std::uint64_t both(bool ours, std::uint64_t count, View view) {
    using guest = smmu_guest<First, Second>;
    guest const t{pages};
    M const m = view(t.ram());
    smmu_nested_walk<guest, M> const walked{t, m};
    return ours ? independent(walked, t.order(), 0, count) : independent(smmu_nested_chase<guest, M>{t, m}, t.order(), 0, count);
}

template <class Tables, class M, class View>
std::uint64_t behind(bool ours, std::uint64_t count, View view) {
    smmu_bus<Tables> const b{pages};
    M const m = view(b.tables().ram());
    smmu_translate<M> const walked{b, m};
    return ours ? independent(walked, b.order(), 0, count) : independent(smmu_unit_chase<Tables, M>{b, m}, b.order(), 0, count);
}

template <class M, class View>
std::uint64_t subject_of(std::string_view name, bool ours, std::uint64_t count, View view) {
    if (name == "stage1-4K") return alone<smmu_process<g::k4>, M>(ours, count, view);
    if (name == "stage1-16K") return alone<smmu_process<g::k16>, M>(ours, count, view);
    if (name == "stage1-64K") return alone<smmu_process<g::k64>, M>(ours, count, view);
    if (name == "stage2-4K") return alone<smmu_domain<g::k4>, M>(ours, count, view);
    if (name == "stage2-16K") return alone<smmu_domain<g::k16>, M>(ours, count, view);
    if (name == "stage2-64K") return alone<smmu_domain<g::k64>, M>(ours, count, view);
    if (name == "nested-4K-4K") return both<g::k4, g::k4, M>(ours, count, view);
    if (name == "nested-4K-16K") return both<g::k4, g::k16, M>(ours, count, view);
    if (name == "nested-4K-64K") return both<g::k4, g::k64, M>(ours, count, view);
    if (name == "nested-16K-4K") return both<g::k16, g::k4, M>(ours, count, view);
    if (name == "nested-16K-16K") return both<g::k16, g::k16, M>(ours, count, view);
    if (name == "nested-16K-64K") return both<g::k16, g::k64, M>(ours, count, view);
    if (name == "nested-64K-4K") return both<g::k64, g::k4, M>(ours, count, view);
    if (name == "nested-64K-16K") return both<g::k64, g::k16, M>(ours, count, view);
    if (name == "nested-64K-64K") return both<g::k64, g::k64, M>(ours, count, view);
    if (name == "device-stage1-4K") return behind<smmu_process<g::k4>, M>(ours, count, view);
    if (name == "device-stage1-64K") return behind<smmu_process<g::k64>, M>(ours, count, view);
    if (name == "device-stage2-4K") return behind<smmu_domain<g::k4>, M>(ours, count, view);
    if (name == "device-stage2-64K") return behind<smmu_domain<g::k64>, M>(ours, count, view);
    if (name == "device-nested-4K-4K") return behind<smmu_guest<g::k4, g::k4>, M>(ours, count, view);
    if (name == "device-nested-16K-4K") return behind<smmu_guest<g::k16, g::k4>, M>(ours, count, view);
    if (name == "device-nested-64K-4K") return behind<smmu_guest<g::k64, g::k4>, M>(ours, count, view);
    if (name == "device-nested-4K-64K") return behind<smmu_guest<g::k4, g::k64>, M>(ours, count, view);
    return need(std::uint64_t{0}, "no such subject");
}

} // namespace

int main(int argc, char** argv) {
    need(argc == 3, "usage: bench_instructions_smmu SUBJECT COUNT");
    std::string_view const subject = argv[1];
    std::uint64_t const count = std::strtoull(argv[2], nullptr, 10);
    bool const ours = subject.ends_with("/walk");
    std::uint64_t sum = 0;
    if (subject == "frame") {
        smmu_process<g::k4> const t{pages};
        sum = independent(smmu_frame{t.order().zero(), t.order().lg2()}, t.order(), 0, count);
    } else if (auto const in_window = subject.find("/windowed/"); in_window != subject.npos) {
        sum = subject_of<windowed_ram<pa>>(subject.substr(0, in_window), ours, count, window_on<pa>);
    } else {
        sum = subject_of<flat<pa>>(subject.substr(0, subject.find("/flat/")), ours, count, bounded<pa>);
    }
    std::printf("%" PRIx64 "\n", sum);
}
