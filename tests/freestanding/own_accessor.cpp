// Memory behind the user's own functions: what a machine without lock-free 64-bit atomics brings, and a debugger's stub.
#include <stagewalk/build/table.hpp>
#include <stagewalk/memory/callback.hpp>
#include <stagewalk/vtd/iommu.hpp>

#include <cstdint>

namespace sw = stagewalk;

namespace {

// Stands for the user's accessor; the walk must not need anything else.
struct words {
    std::uint64_t* base;
    std::uint64_t count;
    sw::outcome<std::uint64_t, int> operator()(sw::pa a) const {
        if (a.value / 8 >= count || (a.value & 7) != 0) return sw::failure{-14};
        return base[static_cast<std::uintptr_t>(a.value / 8)];
    }
    sw::outcome<bool, int> operator()(sw::pa a, std::uint64_t& expected, std::uint64_t desired) const {
        if (a.value / 8 >= count || (a.value & 7) != 0) return sw::failure{-14};
        std::uint64_t& word = base[static_cast<std::uintptr_t>(a.value / 8)];
        bool const same = word == expected;
        expected = word;
        if (same) word = desired;
        return same;
    }
    sw::outcome<bool, int> operator()(sw::pa a, std::uint64_t value) const {
        if (a.value / 8 >= count || (a.value & 7) != 0) return sw::failure{-14};
        base[static_cast<std::uintptr_t>(a.value / 8)] = value;
        return true;
    }
};

} // namespace

bool translate(std::uint64_t* base, std::uint64_t count, std::uint64_t cap, std::uint64_t root, std::uint16_t source,
               std::uint64_t in, std::uint64_t& out) {
    auto ram = sw::make_callback<sw::pa>(words{base, count});
    sw::vtd::iommu const unit{sw::vtd::capabilities{cap, 0}, sw::vtd::root_table_address(root), ram};
    sw::vtd::request r;
    r.source = source;
    r.address = sw::iova{in};
    auto const found = unit.translate(r);
    if (found) out = found->output.value;
    return static_cast<bool>(found);
}

bool map_page(std::uint64_t* base, std::uint64_t count, std::uint64_t cap, std::uint64_t root, std::uint64_t in,
              std::uint64_t out) {
    words const all{base, count};
    auto ram = sw::make_callback<sw::pa>(all, all, all);
    sw::bump_allocator<sw::pa> pool{sw::range{sw::pa{root + 4096}, 0x10'0000}};
    sw::table t{sw::vtd::second_stage<sw::ipa, sw::pa>{sw::vtd::capabilities{cap, 0}, 4, sw::pa{root}}, ram, pool};
    return static_cast<bool>(t.map(sw::range{sw::ipa{in}, 4096}, sw::pa{out}, sw::read_write));
}
