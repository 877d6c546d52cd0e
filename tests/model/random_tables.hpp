// Random tables of any format, in a small memory: a few paths of each depth, most entries good, some with a bit that they should
// not have.
#pragma once

#include "random_bits.hpp"

#include <stagewalk/amdvi/guest_table.hpp>
#include <stagewalk/amdvi/host_table.hpp>
#include <stagewalk/smmu/stage1.hpp>
#include <stagewalk/vtd/first_stage.hpp>
#include <stagewalk/vtd/second_stage.hpp>

#include <cstdint>
#include <type_traits>
#include <vector>

namespace random_tables {

namespace sw = stagewalk;

// Physical memory: some pages of words. Whatever lies elsewhere cannot be read.
struct memory {
    using address = sw::pa;
    using error = sw::memory_error;
    static constexpr std::uint64_t origin = 0x5000'0000;
    static constexpr std::uint64_t pages = 64;

    std::vector<std::uint64_t> words = std::vector<std::uint64_t>(pages * 512);
    std::vector<std::uint64_t> updates{}; // by walks: places and values

    std::uint64_t* find(sw::pa at) noexcept {
        std::uint64_t const offset = at.value - origin;
        return offset % 8 == 0 && offset < pages * 4096 ? &words[offset / 8] : nullptr;
    }
    sw::outcome<std::uint64_t, error> load(sw::pa at) noexcept {
        auto const* const word = find(at);
        if (word == nullptr) return sw::failure{sw::memory_error::outside};
        return *word;
    }
    sw::outcome<bool, error> compare_exchange(sw::pa at, std::uint64_t& expected, std::uint64_t desired) noexcept {
        auto* const word = find(at);
        if (word == nullptr) return sw::failure{sw::memory_error::outside};
        bool const same = *word == expected;
        if (same) {
            *word = desired;
            updates.insert(updates.end(), {at.value, desired});
        } else {
            expected = *word;
        }
        return same;
    }
};

// An entry on the way to an input address.
struct place {
    std::uint64_t in = 0;
    std::uint64_t at = 0; // in physical memory
    std::uint64_t level = 0;
    bool is_table = false;
};

// Bits that decide how many entries one page takes are left alone: entries that then contradict each other may be cached in
// either way. So are addresses of tables, which would make one entry serve two ranges.
constexpr std::uint64_t noisy_bits = ~(sw::bit_mask(51, 9) | std::uint64_t{1} << 52);

// Tables of one stage. `base` is where their pages begin in the space of the tables, `physical` in memory.
template <class S>
class tables {
public:
    tables(S const& s, random_bits& random, memory& m, std::uint64_t base, std::uint64_t physical, std::uint64_t count)
        : s_{s}, random_{random}, memory_{m}, base_{base}, physical_{physical}, left_{count - 1} {
        fill(0, s.top(), 0);
    }
    std::vector<place> places;
    bool lands_low = S::number == sw::fault_stage::first && !std::is_same_v<typename S::output, sw::pa>;

    // A new value for what stands at a place.
    std::uint64_t leaf(std::uint64_t level) {
        std::uint64_t const lg2 = s_.shift(level);
        std::uint64_t output = random_() & sw::bit_mask(45, 12) & ~sw::low_mask(lg2);
        if (lands_low) output &= 0x3000;
        sw::attributes with{sw::access{random_.one_in(3) ? random_.below(8) : 7}};
        std::uint64_t e = s_.make_leaf(typename S::output{output}, lg2, with);
        if (random_.one_in(6)) e ^= std::uint64_t{1} << random_.below(64) & noisy_bits;
        if (random_.one_in(2)) e |= used_bits;
        return e;
    }
    void edit(std::uint64_t which, memory& a, memory& b) {
        place const& p = places[which];
        std::uint64_t& word = *a.find(sw::pa{p.at});
        std::uint64_t const before = word;
        switch (random_.below(5)) {
        case 0: word = p.is_table ? before ^ (std::uint64_t{1} << random_.below(64) & noisy_bits) : leaf(p.level); break;
        case 1: word &= ~used_bits; break; // not used since
        case 2: word ^= std::uint64_t{1} << random_.below(64) & noisy_bits; break;
        case 3: word ^= 3; break;
        default: word ^= p.is_table ? 0 : std::uint64_t{0x82}; break; // write protection of some formats
        }
        *b.find(sw::pa{p.at}) = word;
    }
    sw::range<typename S::input> span(std::uint64_t which) const {
        std::uint64_t const mask = sw::low_mask(s_.shift(places[which].level));
        return sw::range<typename S::input>::between(typename S::input{places[which].in & ~mask},
                                                     typename S::input{places[which].in | mask});
    }

private:
    // Accessed and dirty, of all formats: VT-d 5, 6 or 8, 9; AMD host 5, 6; Arm AF 10 and AP[2] 7.
    static constexpr std::uint64_t used_bits = S::number == sw::fault_stage::first ? 0x460 : 0x360;

    void fill(std::uint64_t page, std::uint64_t level, std::uint64_t in) {
        constexpr std::uint64_t indices[] = {0, 1, 2, 3, 255, 511};
        std::uint64_t const slots = level == s_.top() ? 3 : 5;
        for (std::uint64_t n = 0; n < slots; ++n) {
            std::uint64_t const index = n == 0 ? 0 : indices[random_.below(6)];
            std::uint64_t const at = physical_ + page * 4096 + index * 8;
            std::uint64_t& word = *memory_.find(sw::pa{at});
            if (word != 0) continue;
            std::uint64_t below = in | index << s_.shift(level);
            if (level == s_.top() && index > 255 && S::number == sw::fault_stage::first) below |= ~sw::low_mask(s_.shift(level));
            bool const may_end = level == 0 || (s_.sizes() >> s_.shift(level) & 1) != 0;
            if (level > 0 && left_ > 0 && (!may_end || n == 0 || random_.one_in(2))) {
                std::uint64_t const next = ++used_;
                --left_;
                word =
                    s_.make_table(typename S::output{base_ + next * 4096}, level) | (random_.one_in(2) ? used_bits & 0x420 : 0);
                places.push_back({below, at, level, true});
                fill(next, level - 1, below);
            } else if (may_end) {
                word = leaf(level);
                places.push_back({below, at, level, false});
            }
        }
    }

    S s_;
    random_bits& random_;
    memory& memory_;
    std::uint64_t base_;
    std::uint64_t physical_;
    std::uint64_t left_;
    std::uint64_t used_ = 0;
};

// --- stages of each format -------------------------------------------------------------------------------------------------

inline sw::vtd::capabilities vtd_caps() {
    // MGAW 48, SAGAW 3, 4 and 5 levels, SSLPS both, FS1GP; SC, PT.
    return {std::uint64_t{47} << 16 | std::uint64_t{14} << 8 | std::uint64_t{3} << 34 | std::uint64_t{1} << 56, 0xc0, 46};
}

struct vtd_first {
    auto operator()(random_bits& random, std::uint64_t root) const {
        sw::vtd::first_stage_options o;
        o.write_protect = random.one_in(2);
        o.extended_accessed = random.one_in(2);
        return sw::vtd::first_stage<>{vtd_caps(), random.one_in(2) ? 4u : 5u, sw::pa{root}, o};
    }
};
template <sw::vtd::table_mode Mode>
struct vtd_second {
    bool marks = false;
    auto operator()(random_bits& random, std::uint64_t root) const {
        sw::vtd::second_stage_options o;
        o.accessed_dirty = marks;
        return sw::vtd::second_stage<sw::iova, sw::pa, Mode>{vtd_caps(), 3 + random.below(2), sw::pa{root}, o};
    }
};
inline sw::smmu::table_shape arm_shape(std::uint64_t root) {
    sw::smmu::table_shape shape;
    shape.root = root;
    shape.top = 3;
    shape.input_size = 48;
    shape.output_size = 48;
    return shape;
}
struct arm_first {
    bool marks = false;
    auto operator()(random_bits& random, std::uint64_t root) const {
        sw::smmu::stage1_options o;
        o.write_no_execute = random.one_in(4);
        o.no_unprivileged = random.one_in(4);
        o.one_privilege = random.one_in(4);
        o.updates_access = marks;
        o.updates_dirty = marks;
        o.updates_tables = marks && random.one_in(2);
        return sw::smmu::stage1<sw::smmu::granule::k4>{arm_shape(root), o};
    }
};
struct amd_host {
    bool marks = false;
    auto operator()(random_bits& random, std::uint64_t root) const {
        sw::amdvi::host_table_options o;
        o.keeps_accessed = marks;
        o.keeps_dirty = marks && random.one_in(2);
        return sw::amdvi::host_table<>{3 + random.below(2), sw::pa{root}, o};
    }
};
struct amd_guest {
    bool marks = true;
    auto operator()(random_bits& random, std::uint64_t root) const {
        sw::amdvi::guest_table_options o;
        o.no_execute = random.one_in(2);
        o.marks_accessed = marks;
        o.marks_dirty = marks;
        return sw::amdvi::guest_table<>{4, sw::pa{root}, o};
    }
};

} // namespace random_tables
