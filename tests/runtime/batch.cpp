// Many translations at once against one by one, faults included.
#include "catch.hpp"
#include "host_memory.hpp"
#include "model/random_tables.hpp"

#include <stagewalk/translate/batch.hpp>
#include <stagewalk/translate/cached.hpp>
#include <stagewalk/translate/nested.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace batch_tests {

namespace sw = stagewalk;
using random_tables::memory;
using random_tables::place;
using random_tables::tables;

sw::access some_access(random_bits& random) {
    constexpr std::uint64_t rights[] = {1, 2, 3, 1, 0, 4};
    constexpr std::uint64_t circumstances[] = {0, 0, 0, 8, 16, 32};
    return {random.pick(rights) | random.pick(circumstances)};
}

// `together` and `alone` are the same translator over two copies of memory.
template <class T>
void compare_each(T const& together, T const& alone, random_bits& random, std::vector<place> const& places) {
    for (std::size_t count = 0; count <= 20; ++count) {
        std::vector<typename T::input> in;
        for (std::size_t i = 0; i < count; ++i) {
            std::uint64_t const address = places[random.below(places.size())].in | random.below(0x4000);
            in.emplace_back(random.one_in(16) ? random() : address);
        }
        sw::access const a = some_access(random);
        std::vector<sw::answer_of<T>> out(count + 1);
        sw::translate_each(together, in.data(), count, a, out.data());
        for (std::size_t i = 0; i < count; ++i)
            REQUIRE(out[i] == alone.translate(in[i], a));
        REQUIRE(out[count] == sw::answer_of<T>{}); // not one too many
    }
}

// A range in segments, page by page.
template <class T>
using segment_of = sw::segment<typename T::input, typename T::output>;
template <class T>
struct told {
    std::vector<segment_of<T>> segments;
    bool ok = false;
    typename T::fault_type fault{};
};
template <class T>
told<T> page_by_page(T const& t, sw::range<typename T::input> what, sw::access a) {
    told<T> all;
    for (std::uint64_t next = what.first().value;;) {
        auto const o = t.translate(typename T::input{next}, a);
        if (!o) {
            all.fault = o.error();
            return all;
        }
        std::uint64_t const end = std::min(next | sw::low_mask(o->lg2_size), what.last().value);
        segment_of<T> const one{sw::range<typename T::input>::between(typename T::input{next}, typename T::input{end}), o->output,
                                o->effective, o->by};
        auto* const last = all.segments.empty() ? nullptr : &all.segments.back();
        if (last != nullptr && last->effective == one.effective && last->by == one.by &&
            one.output.value - last->output.value == next - last->input.first().value) {
            last->input = last->input.between(last->input.first(), one.input.last());
        } else {
            all.segments.push_back(one);
        }
        if (end == what.last().value) break;
        next = end + 1;
    }
    all.ok = true;
    return all;
}
template <class T>
std::size_t compare_segments(T const& together, T const& alone, sw::range<typename T::input> what, sw::access a) {
    told<T> const expected = page_by_page(alone, what, a);
    std::vector<segment_of<T>> segments;
    auto const o = sw::for_each_segment(together, what, a, [&](segment_of<T> const& s) { segments.push_back(s); });
    INFO(std::hex << what.first().value << " to " << what.last().value << ", access " << a.bits);
    REQUIRE(segments == expected.segments);
    REQUIRE(static_cast<bool>(o) == expected.ok);
    if (o) {
        REQUIRE(*o == segments.size());
    } else {
        REQUIRE(o.error() == expected.fault);
    }
    return segments.size();
}

template <class Make>
void one_stage(Make make, std::uint64_t seed) {
    random_bits random{seed};
    std::uint64_t segments = 0;
    for (std::uint64_t scene = 0; scene < sw::test::fewer(30); ++scene) {
        INFO("scene " << scene);
        auto const s = make(random, memory::origin);
        using stage_type = std::remove_cvref_t<decltype(s)>;
        using input = typename stage_type::input;
        memory a;
        tables<stage_type> made{s, random, a, memory::origin, memory::origin, 24};
        memory b = a;
        compare_each(sw::single{s, a}, sw::single{s, b}, random, made.places);
        REQUIRE(a.words == b.words);
        sw::tlb<sw::domain_tag, input, typename stage_type::output, sw::sets<4>> left;
        sw::tlb<sw::domain_tag, input, typename stage_type::output, sw::sets<4>> right;
        compare_each(sw::cached{sw::single{s, a}, left}, sw::cached{sw::single{s, b}, right}, random, made.places);
        for (int n = 0; n < 20; ++n) {
            input const first{made.places[random.below(made.places.size())].in + random.below(0x2000)};
            std::uint64_t const bytes = 1 + (random.any_width() & sw::low_mask(24));
            auto what = sw::range<input>{first, bytes};
            if (!what.valid()) what = sw::range<input>::between(first, input{~std::uint64_t{0}});
            // Walks ahead may leave marks behind the page that refuses, so each has a memory of its own.
            memory ahead = b;
            sw::access const need{random.one_in(2) ? 1u : 2u};
            segments += compare_segments(sw::single{s, ahead}, sw::single{s, b}, what, need);
        }
    }
    CHECK((!sw::test::all_cases() || segments > 50));
}

TEST_CASE("translations of one stage together are those alone") {
    using sw::vtd::table_mode;
    one_stage(random_tables::vtd_second<table_mode::legacy>{}, 1);
    one_stage(random_tables::vtd_second<table_mode::scalable>{true}, 2);
    one_stage(random_tables::vtd_first{}, 3);
    one_stage(random_tables::arm_first{true}, 4);
    one_stage(random_tables::amd_host{true}, 5);
    one_stage(random_tables::amd_guest{true}, 6);
}

TEST_CASE("translations of two stages together are those alone") {
    random_bits random{7};
    for (std::uint64_t scene = 0; scene < sw::test::fewer(30); ++scene) {
        using host = sw::vtd::second_stage<sw::ipa, sw::pa, sw::vtd::table_mode::scalable>;
        using guest = sw::vtd::first_stage<sw::iova, sw::ipa>;
        std::uint64_t const host_root = memory::origin + 16 * 4096;
        host const s2{random_tables::vtd_caps(), 4, sw::pa{host_root}};
        guest const s1{random_tables::vtd_caps(), 4, sw::ipa{0}};
        memory a;
        tables<host> const below{s2, random, a, host_root, host_root, 24};
        auto const leaf =
            std::find_if(below.places.begin(), below.places.end(), [](place const& p) { return p.in < 0x1000 && p.level == 0; });
        if (leaf == below.places.end()) continue;
        for (std::uint64_t n = 0; n < 16; ++n)
            *a.find(sw::pa{leaf->at + n * 8}) = s2.make_leaf(sw::pa{memory::origin + n * 4096}, 12, sw::read_write);
        tables<guest> const above{s1, random, a, 0, memory::origin, 16};
        memory b = a;
        compare_each(sw::nested{s1, s2, a}, sw::nested{s1, s2, b}, random, above.places);
        REQUIRE(a.words == b.words);
    }
}

namespace {

struct hole {
    std::uint64_t at = 0;
    bool operator==(hole const&) const = default;
};

// Blocks of 2 MiB: a hole, one page, pages of 64 KiB or 4 KiB; neighbours often go on where the one before ends.
struct blocks {
    using input = sw::iova;
    using output = sw::pa;
    using fault_type = hole;
    std::uint64_t seed;

    static std::uint64_t mixed(std::uint64_t a, std::uint64_t b) { return random_bits{a * 0x10001 ^ b}(); }
    sw::outcome<sw::translation<sw::pa>, hole> translate(sw::iova in, sw::access) const noexcept {
        std::uint64_t const block = in.value >> 21;
        std::uint64_t const what = mixed(seed, block);
        if (what % 16 == 0) return sw::failure{hole{in.value}};
        std::uint64_t const lg2 = what % 16 < 5 ? 21 : what % 16 < 9 ? 16 : 12;
        // Runs of pages: one in eight begins another.
        std::uint64_t const page = in.value >> lg2;
        bool const apart = mixed(what, page) % 8 == 0;
        std::uint64_t const to = in.value ^ (apart ? std::uint64_t{1} << 40 : 0);
        sw::attributes const with{mixed(what, page + 1) % 16 == 0 ? sw::read : sw::read_write};
        return sw::translation<sw::pa>{sw::pa{to}, with, lg2, sw::passage::walked};
    }
};
// Everything in one piece, or in two.
struct halves {
    using input = sw::iova;
    using output = sw::pa;
    using fault_type = hole;
    std::uint64_t lg2;

    sw::outcome<sw::translation<sw::pa>, hole> translate(sw::iova in, sw::access) const noexcept {
        return sw::translation<sw::pa>{sw::pa{in.value}, sw::attributes{sw::read}, lg2,
                                       lg2 == 64 ? sw::passage::bypassed : sw::passage::walked};
    }
};

} // namespace

TEST_CASE("segments of a range are those page by page") {
    random_bits random{8};
    std::size_t most = 0;
    for (std::uint64_t n = 0; n < sw::test::fewer(1500); ++n) {
        blocks const t{n};
        std::uint64_t const bases[] = {0, 0x1234'5678'9000, 0x7fff'ffff'ff80'0000, ~std::uint64_t{0} - 0x7f'ffff};
        sw::iova const first{random.pick(bases) + random.below(0x40'0000)};
        std::uint64_t const last = random.one_in(8) ? first.value : first.value + (random.any_width() & 0x3f'ffff);
        auto what = sw::range<sw::iova>::between(first, sw::iova{last});
        if (random.one_in(8) && first.value > bases[3]) what = what.between(first, sw::iova{~std::uint64_t{0}});
        most = std::max(most, compare_segments(t, t, what, sw::read));
    }
    CHECK((!sw::test::all_cases() || most > 50));
}

TEST_CASE("a range may be all addresses") {
    auto const all = sw::range<sw::iova>::all();
    CHECK(compare_segments(halves{64}, halves{64}, all, sw::read) == 1);
    CHECK(compare_segments(halves{63}, halves{63}, all, sw::read) == 1);
    CHECK(compare_segments(halves{60}, halves{60}, all, sw::read) == 1);
    auto const end = sw::range<sw::iova>::between(sw::iova{~std::uint64_t{0} - 5}, sw::iova{~std::uint64_t{0}});
    CHECK(compare_segments(halves{12}, halves{12}, end, sw::read) == 1);
}

TEST_CASE("no range is no segment") {
    auto const o = sw::for_each_segment(halves{12}, sw::range<sw::iova>{}, sw::read, [](auto const&) { FAIL("a segment"); });
    REQUIRE(o);
    CHECK(*o == 0);
}

} // namespace batch_tests
