// A hypervisor walks and builds its own tables through its direct map: every physical page has a virtual address.
// machines: host clang aarch64 clang-aarch64-none riscv64 s390x
#include <stagewalk/build/table.hpp>
#include <stagewalk/memory/windowed.hpp>
#include <stagewalk/vtd/second_stage.hpp>
#include <stagewalk/walk/leaves.hpp>
#include <stagewalk/walk/trusted.hpp>

#include <cstdint>

namespace sw = stagewalk;

using domain = sw::vtd::second_stage<sw::ipa, sw::pa>;

struct direct_map {
    std::uintptr_t base;
    std::uint64_t last_page;
    std::uint64_t* operator()(sw::pa page) const noexcept {
        if (page.value > last_page) return nullptr;
        return reinterpret_cast<std::uint64_t*>(base + static_cast<std::uintptr_t>(page.value));
    }
};

using host_memory = sw::windowed<sw::pa, direct_map>;

bool guest_to_host(domain const& of, host_memory const& m, std::uint64_t in, std::uint64_t& out) {
    auto const found = walk(of, m, sw::ipa{in}, sw::read);
    if (found) out = found->output.value;
    return static_cast<bool>(found);
}

bool own_to_host(domain const& of, host_memory const& m, std::uint64_t in, std::uint64_t& out) {
    auto const found = walk(sw::trusted{of}, m, sw::ipa{in}, sw::write);
    if (found) out = found->output.value;
    return static_cast<bool>(found);
}

bool give_ram(domain const& of, host_memory& m, sw::bump_allocator<sw::pa>& pool, std::uint64_t at, std::uint64_t bytes) {
    sw::table t{of, m, pool};
    return static_cast<bool>(t.map(sw::range{sw::ipa{at}, bytes}, sw::pa{at}, sw::read_write));
}

std::uint64_t mapped_bytes(domain const& of, host_memory& m) {
    std::uint64_t bytes = 0;
    for_each_run(of, m, sw::range<sw::ipa>::all(), [&](sw::run<domain> const& r) { bytes += r.part.span() + 1; });
    return bytes;
}
