// Any stage over any stage: the library's `nested` against the naive models, composed in the most naive way. Each descriptor's
// address is translated by the stage below, the entry is read by plain memory, and then the output is translated.
//
// Here: the two sides in plain words, and how the library's stages are made. The composed model is in any_over_any.cpp.
#pragma once

#include "amdvi_model.hpp"
#include "random_bits.hpp"
#include "smmu_model.hpp"
#include "vtd_scalable_model.hpp"

#include <stagewalk/amdvi/guest_table.hpp>
#include <stagewalk/amdvi/host_table.hpp>
#include <stagewalk/smmu/stage1.hpp>
#include <stagewalk/smmu/stage2.hpp>
#include <stagewalk/translate/nested.hpp>
#include <stagewalk/vtd/first_stage.hpp>
#include <stagewalk/vtd/second_stage.hpp>

#include <cstdint>
#include <map>
#include <string>
#include <type_traits>
#include <vector>

namespace any_over_any {

namespace sw = stagewalk;

// --- plain words -----------------------------------------------------------------------------------------------------

enum class format { vtd_first, vtd_second, vtd_legacy, smmu_first, smmu_second, amd_host, amd_guest };

struct kind {
    format is = format::vtd_first;
    unsigned g = 12; // log2 of the granule
};

// A stage in the words of the model of its architecture.
struct stage {
    kind of;
    unsigned levels = 0;
    std::uint64_t root = 0;

    vtd_scalable_model::unit vtd;
    vtd_scalable_model::space space;

    smmu_model::unit smmu;
    smmu_model::stage_one one;
    smmu_model::stage_two two;
    bool upper = false;
    bool ignores_top_byte = false;

    amdvi_model::unit amd;
    amdvi_model::device device;
    std::uint32_t pasid = 0;
};

struct question {
    bool r = false;
    bool w = false;
    bool x = false;
    bool privileged = false;
    bool zero_length = false;
    bool inquires = false;
};

constexpr unsigned no_level = 0xff;

struct one_fault {
    unsigned code = 0;
    unsigned stage = 0;
    unsigned at = 0; // 0 configuration, 1 table, 2 input
    unsigned level = no_level;
    bool reported = true;
    std::uint64_t input = 0;
    std::uint64_t intermediate = 0;
    std::uint64_t descriptor = 0;
    std::uint64_t entry = 0;
    std::uint64_t detail = 0;

    bool operator==(one_fault const&) const = default;
};

enum whose { own = 0, of_table = 1, of_update = 2, of_output = 3 };

// A translation, or the faults from the uppermost stage down to the one that refused.
struct answer {
    bool ok = false;
    std::uint64_t output = 0;
    std::uint64_t attributes = 0;
    std::uint64_t lg2 = 0;
    bool walked = true;
    unsigned faults = 0;
    unsigned by[3]{};
    one_fault fault[3];

    bool operator==(answer const&) const = default;
};

// Physical memory. What was not written is noise: mostly zero, sometimes anything, sometimes not there.
class physical {
public:
    struct update {
        std::uint64_t at;
        std::uint64_t old;
        std::uint64_t fresh;
        bool operator==(update const&) const = default;
    };

    void clear(std::uint64_t noise);
    void write(std::uint64_t at, std::uint64_t value);
    void take_away(std::uint64_t at) { find(at).missing = true; }
    std::uint64_t peek(std::uint64_t at) { return find(at).value; }
    // Takes the updates back, and forgets what was done.
    void undo();

    bool read(std::uint64_t at, std::uint64_t& value) noexcept;
    int replace(std::uint64_t at, std::uint64_t old, std::uint64_t fresh, std::uint64_t* found = nullptr) noexcept;

    // Somebody else: changes a word just before it is replaced, at attempt `first`, and if `again` whenever it is tried again.
    struct meddler {
        unsigned first = 0;
        bool again = false;
        std::uint64_t with = 0; // these bits
    };
    meddler meddles;

    std::vector<std::uint64_t> written; // in this order, some words twice
    std::vector<std::uint64_t> reads;
    std::vector<update> updates; // somebody else's too
    unsigned attempts = 0;       // to replace a word

private:
    struct word {
        std::uint64_t at = 0;
        std::uint64_t value = 0;
        std::uint64_t age = 0;
        bool missing = false;
    };
    word& find(std::uint64_t at) noexcept;

    static constexpr unsigned lg2_size = 13;
    std::vector<word> words_ = std::vector<word>(std::size_t{1} << lg2_size);
    std::uint64_t age_ = 0;
    std::uint64_t noise_ = 0;
    std::uint64_t meddled_ = 1; // no word is there
};

// --- the library ---------------------------------------------------------------------------------------------------------

// The same memory for the library. Nothing of it is inlined into the many walks that are compiled here.
struct memory {
    using address = sw::pa;
    using error = sw::memory_error;

    physical* of;

    sw::outcome<std::uint64_t, error> load(sw::pa at) const noexcept;
    sw::outcome<bool, error> compare_exchange(sw::pa at, std::uint64_t& expected, std::uint64_t desired) const noexcept;
};

// The middle of three stages: what the host of a nested host takes for physical.
struct second_ipa_space {};
using second_ipa = sw::address<second_ipa_space>;

inline sw::vtd::capabilities vtd_capabilities(stage const& s) { return {s.vtd.cap, s.vtd.ecap, s.vtd.haw}; }
sw::smmu::table_shape shape_of(stage const& s);
sw::smmu::stage1_options first_options(stage const& s);
sw::smmu::stage2_options second_options(stage const& s);
sw::amdvi::policy amd_policy(stage const& s);

template <class S>
struct made;

template <class I, class O>
struct made<sw::vtd::first_stage<I, O>> {
    static constexpr kind of{format::vtd_first, 12};
    static sw::vtd::first_stage<I, O> from(stage const& s) {
        using vtd_model::bit;
        return {vtd_capabilities(s),
                s.levels,
                O{s.root},
                {bit(s.space.entry[2], 4), bit(s.space.entry[2], 7), bit(s.space.entry[1], 23), 64}};
    }
};

template <class I, class O, sw::vtd::table_mode Mode>
struct made<sw::vtd::second_stage<I, O, Mode>> {
    static constexpr kind of{Mode == sw::vtd::table_mode::legacy ? format::vtd_legacy : format::vtd_second, 12};
    static sw::vtd::second_stage<I, O, Mode> from(stage const& s) {
        using vtd_model::bit;
        sw::vtd::second_stage_options o;
        if (s.vtd.each_entry) o.rules.second_stage_rights = sw::vtd::rights_order::each_entry;
        if (s.vtd.refuses_types) o.rules.memory_type = sw::vtd::reserved_memory_type::refused;
        o.accessed_dirty = bit(s.space.entry[0], 9);
        o.snoops = bit(s.space.entry[1], 23);
        o.memory_types = bit(s.space.entry[1], 26);
        o.alternate_rights = s.space.ssirwe;
        return {vtd_capabilities(s), s.levels, O{s.root}, o};
    }
};

template <sw::smmu::granule G, class I, class O>
struct made<sw::smmu::stage1<G, I, O>> {
    static constexpr kind of{format::smmu_first, static_cast<unsigned>(sw::smmu::lg2_of(G))};
    static sw::smmu::stage1<G, I, O> from(stage const& s) { return {shape_of(s), first_options(s)}; }
};

template <sw::smmu::granule G, class I, class O>
struct made<sw::smmu::stage2<G, I, O>> {
    static constexpr kind of{format::smmu_second, static_cast<unsigned>(sw::smmu::lg2_of(G))};
    static sw::smmu::stage2<G, I, O> from(stage const& s) { return {shape_of(s), second_options(s)}; }
};

template <class I, class O>
struct made<sw::amdvi::host_table<I, O>> {
    static constexpr kind of{format::amd_host, 12};
    static sw::amdvi::host_table<I, O> from(stage const& s) {
        sw::access const granted = (s.device.ir ? sw::read : sw::none) | (s.device.iw ? sw::write : sw::none);
        return {s.levels, O{s.root}, {granted, s.device.had != 0, s.device.had == 3}, amd_policy(s)};
    }
};

template <class I, class O>
struct made<sw::amdvi::guest_table<I, O>> {
    static constexpr kind of{format::amd_guest, 12};
    static sw::amdvi::guest_table<I, O> from(stage const& s) {
        sw::access const granted = (s.device.ir ? sw::read : sw::none) | (s.device.iw ? sw::write : sw::none);
        return {s.levels,
                O{s.root},
                {granted, amdvi_model::nx_sup(s.amd), s.pasid == 0, amdvi_model::keeps_guest_a(s.amd),
                 amdvi_model::keeps_guest_d(s.amd)},
                amd_policy(s)};
    }
};

template <class Code>
void add(answer& a, sw::fault<Code> const& f) {
    a.fault[a.faults++] = {static_cast<unsigned>(f.code),
                           static_cast<unsigned>(f.stage),
                           static_cast<unsigned>(f.at),
                           f.level,
                           f.reported,
                           f.input,
                           f.intermediate,
                           f.descriptor,
                           f.entry,
                           f.detail};
}
template <class Code, class Inner>
void add(answer& a, sw::nested_fault<Code, Inner> const& f) {
    a.by[a.faults] = static_cast<unsigned>(f.by);
    add(a, f.outer);
    // A fault of the outer stage alone comes with an empty inner one: whatever stands there would be one too many.
    if (f.by != sw::nested_by::outer || !(f.inner == Inner{})) add(a, f.inner);
}

template <class Translator>
answer ask(Translator const& t, std::uint64_t input, sw::access a) {
    auto const o = t.translate(typename Translator::input{input}, a);
    answer plain;
    plain.ok = static_cast<bool>(o);
    if (o) {
        plain.output = o->output.value;
        plain.attributes = o->effective.bits;
        plain.lg2 = o->lg2_size;
        plain.walked = o->by == sw::passage::walked;
    } else {
        add(plain, o.error());
    }
    return plain;
}

template <class First, class Second>
answer through_two(std::vector<stage> const& s, std::uint64_t input, sw::access a, memory& m) {
    return ask(sw::nested{made<First>::from(s[0]), made<Second>::from(s[1]), m}, input, a);
}
template <class First, class Second, class Third>
answer through_three(std::vector<stage> const& s, std::uint64_t input, sw::access a, memory& m) {
    sw::nested const lower{made<Second>::from(s[1]), made<Third>::from(s[2]), m};
    return ask(sw::nested{made<First>::from(s[0]), lower, m}, input, a);
}

// --- the comparison ----------------------------------------------------------------------------------------------------

struct pile {
    std::vector<kind> of;
    answer (*translate)(std::vector<stage> const&, std::uint64_t, sw::access, memory&);
};

using tally = std::map<std::string, std::uint64_t>;

// Asks both sides as often as `cases` says, and counts what was reached.
void compare(pile const& p, std::uint64_t cases, std::uint64_t seed, tally& reached);

// Whether all was reached that has to be: every code of every stage, and whatever else at least so often.
void check(pile const& p, tally& reached, std::uint64_t least);

void compare_over_all(pile const (&piles)[5], std::uint64_t cases, std::uint64_t seed);

// One upper stage over all five lower ones.
template <class Upper>
void over_all(std::uint64_t cases, std::uint64_t seed) {
    using namespace sw;
    using vtd_second = vtd::second_stage<ipa, pa, vtd::table_mode::scalable>;
    using amd = amdvi::host_table<ipa, pa>;
    using s4 = smmu::stage2<smmu::granule::k4>;
    using s16 = smmu::stage2<smmu::granule::k16>;
    using s64 = smmu::stage2<smmu::granule::k64>;
    constexpr kind up = made<Upper>::of;
    pile const piles[]{{{up, made<vtd_second>::of}, through_two<Upper, vtd_second>},
                       {{up, made<s4>::of}, through_two<Upper, s4>},
                       {{up, made<s16>::of}, through_two<Upper, s16>},
                       {{up, made<s64>::of}, through_two<Upper, s64>},
                       {{up, made<amd>::of}, through_two<Upper, amd>}};
    compare_over_all(piles, cases, seed);
}

template <class First, class Second, class Third>
void over_two(std::uint64_t cases, std::uint64_t seed) {
    pile const p{{made<First>::of, made<Second>::of, made<Third>::of}, through_three<First, Second, Third>};
    tally reached;
    compare(p, cases, seed, reached);
    check(p, reached, cases / 1000);
}

} // namespace any_over_any
