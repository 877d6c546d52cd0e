// The memory policies: what they serve, what they refuse, and what they hand on.
#include "catch.hpp"
#include "host_memory.hpp"
#include "sparse_memory.hpp"

#include <stagewalk/memory/array.hpp>
#include <stagewalk/memory/callback.hpp>
#include <stagewalk/memory/recording.hpp>
#include <stagewalk/memory/translated.hpp>
#include <stagewalk/translate/nested.hpp>
#include <stagewalk/vtd/first_stage.hpp>
#include <stagewalk/vtd/second_stage.hpp>

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <map>

namespace stagewalk::test {
namespace {

constexpr std::uint64_t all = ~std::uint64_t{0};

struct block {
    alignas(8) std::uint64_t word[512]{};
    block() {
        for (std::uint64_t i = 0; i < 512; ++i)
            word[i] = little_endian(0xaa00 + i);
    }
    unsigned char* bytes() { return reinterpret_cast<unsigned char*>(word); }
};

template <class Memory>
bool serves_at(Memory& m, std::uint64_t at) {
    return static_cast<bool>(m.load(typename Memory::address{at}));
}

} // namespace

TEST_CASE("flat serves the first and the last word and nothing around them") {
    block b;
    flat m{b.bytes(), 4096, pa{0x1000}};
    CHECK(*m.load(pa{0x1000}) == 0xaa00);
    CHECK(*m.load(pa{0x1ff8}) == 0xaa00 + 511);
    for (std::uint64_t const at :
         {std::uint64_t{0xff8}, std::uint64_t{0x2000}, std::uint64_t{0}, all - 7, all, std::uint64_t{1} << 63,
          (std::uint64_t{1} << 63) + 0x1000, (std::uint64_t{1} << 61) + 0x1000}) {
        CAPTURE(at);
        CHECK_FALSE(m.load(pa{at}));
        CHECK_FALSE(m.store(pa{at}, 1));
        std::uint64_t expected = 0;
        CHECK_FALSE(m.compare_exchange(pa{at}, expected, 1));
    }
    CHECK(m.load(pa{0x2000}).error() == memory_error::outside);
}

TEST_CASE("flat refuses misaligned addresses") {
    block b;
    flat m{b.bytes(), 4096, pa{0x1000}};
    for (std::uint64_t offset = 1; offset < 8; ++offset) {
        CAPTURE(offset);
        CHECK_FALSE(serves_at(m, 0x1000 + offset));
        CHECK_FALSE(serves_at(m, 0x1ff8 + offset));
        CHECK_FALSE(serves_at(m, 0x1000 - offset));
    }
}

TEST_CASE("flat over a misaligned block serves nothing") {
    block b;
    for (unsigned offset = 1; offset < 8; ++offset) {
        flat m{b.bytes() + offset, 4096 - 8, pa{0x1000}};
        CAPTURE(offset);
        CHECK_FALSE(serves_at(m, 0x1000));
        CHECK_FALSE(serves_at(m, 0x1008));
    }
}

TEST_CASE("flat over less than a word serves nothing, and never a last piece") {
    block b;
    for (std::uint64_t bytes = 0; bytes < 8; ++bytes) {
        flat m{b.bytes(), bytes, pa{0}};
        CAPTURE(bytes);
        CHECK_FALSE(serves_at(m, 0));
        CHECK_FALSE(serves_at(m, all - 7));
    }
    flat m{b.bytes(), 20, pa{0}};
    CHECK(serves_at(m, 0));
    CHECK(serves_at(m, 8));
    CHECK_FALSE(serves_at(m, 16));
}

TEST_CASE("flat at the top of the space ends there and does not wrap") {
    block b;
    flat m{b.bytes(), 4096, pa{all - 0xfff}};
    CHECK(*m.load(pa{all - 7}) == 0xaa00 + 511);
    CHECK(*m.load(pa{all - 0xfff}) == 0xaa00);
    CHECK_FALSE(serves_at(m, 0));
    CHECK_FALSE(serves_at(m, all - 0x1007));
}

TEST_CASE("flat swaps only what is still there, and says what it found") {
    block b;
    flat m{b.word, pa{0}};
    std::uint64_t expected = 0xaa01;
    CHECK(*m.compare_exchange(pa{8}, expected, 0xbb) == true);
    CHECK(*m.load(pa{8}) == 0xbb);
    expected = 0xaa01;
    CHECK(*m.compare_exchange(pa{8}, expected, 0xcc) == false);
    CHECK(expected == 0xbb);
    CHECK(*m.load(pa{8}) == 0xbb);
    CHECK(*m.store(pa{8}, 0xdd));
    CHECK(*m.load(pa{8}) == 0xdd);
}

TEST_CASE("B14: memory is little-endian whatever the host") {
    block b;
    flat m{b.word, pa{0}};
    REQUIRE(m.store(pa{0}, 0x0102'0304'0506'0708));
    CHECK(b.bytes()[0] == 0x08);
    CHECK(b.bytes()[7] == 0x01);
    array<pa, 1> a{pa{0}};
    REQUIRE(a.store(pa{0}, 0x0102'0304'0506'0708));
    unsigned char bytes[8];
    std::memcpy(bytes, a.words(), 8);
    CHECK(bytes[0] == 0x08);
    CHECK(bytes[7] == 0x01);
    CHECK(*a.load(pa{0}) == 0x0102'0304'0506'0708);
}

TEST_CASE("array serves its words and nothing around them") {
    array<pa, 3> m{pa{0x1000}};
    REQUIRE(m.store(pa{0x1010}, 7));
    CHECK(*m.load(pa{0x1010}) == 7);
    for (std::uint64_t const at : {std::uint64_t{0xff8}, std::uint64_t{0x1018}, std::uint64_t{0x1004}, all - 7}) {
        CAPTURE(at);
        CHECK_FALSE(m.load(pa{at}));
        CHECK_FALSE(m.store(pa{at}, 1));
        std::uint64_t expected = 0;
        CHECK_FALSE(m.compare_exchange(pa{at}, expected, 1));
    }
    std::uint64_t expected = 7;
    CHECK(*m.compare_exchange(pa{0x1010}, expected, 8) == true);
    CHECK(*m.compare_exchange(pa{0x1010}, expected, 9) == false);
    CHECK(expected == 8);
}

TEST_CASE("windowed finds page by page, with holes") {
    block one;
    block two;
    std::vector<std::uint64_t> asked;
    auto m = make_windowed<ipa>([&](ipa page) -> std::uint64_t* {
        asked.push_back(page.value);
        return page.value == 0x1000 ? one.word : page.value == 0xffff'ffff'ffff'f000 ? two.word : nullptr;
    });
    CHECK(*m.load(ipa{0x1ff8}) == 0xaa00 + 511);
    CHECK(*m.load(ipa{all - 7}) == 0xaa00 + 511);
    CHECK(asked == std::vector<std::uint64_t>{0x1000, 0xffff'ffff'ffff'f000});
    for (std::uint64_t const at : std::initializer_list<std::uint64_t>{0x2000, 0x0, 0xff8})
        CHECK(m.load(ipa{at}) == outcome<std::uint64_t, memory_error>{failure{memory_error::outside}});
    asked.clear();
    CHECK_FALSE(serves_at(m, 0x1004));
    CHECK_FALSE(m.store(ipa{0x1004}, 1));
    CHECK(asked.empty()); // a misaligned address is not worth a question
    CHECK(*m.load_in_page(ipa{0x1000}, 5) == 0xaa05);
    CHECK_FALSE(m.load_in_page(ipa{0x2000}, 5));
    CHECK(*m.store(ipa{0x1008}, 3));
    CHECK(little_endian(one.word[1]) == 3);
    CHECK_FALSE(m.store(ipa{0x2008}, 3));
    std::uint64_t expected = 3;
    CHECK(*m.compare_exchange(ipa{0x1008}, expected, 4) == true);
    CHECK(*m.compare_exchange(ipa{0x1008}, expected, 5) == false);
    CHECK(expected == 4);
    CHECK_FALSE(m.compare_exchange(ipa{0x2008}, expected, 5));
}

TEST_CASE("a callback's own errors come back as they are") {
    enum class link : std::uint8_t { down = 3 };
    std::map<std::uint64_t, std::uint64_t> words{{0x1000, 42}};
    auto m = make_callback<pa>([&](pa a) -> outcome<std::uint64_t, link> {
        auto const found = words.find(a.value);
        if (found == words.end()) return failure{link::down};
        return found->second;
    });
    CHECK(*m.load(pa{0x1000}) == 42);
    CHECK(m.load(pa{0x1008}).error() == link::down);

    auto full = make_callback<pa>([&](pa a) -> outcome<std::uint64_t, link> { return words[a.value]; },
                                  [&](pa a, std::uint64_t& expected, std::uint64_t desired) -> outcome<bool, link> {
                                      if (a.value == 0) return failure{link::down};
                                      bool const same = words[a.value] == expected;
                                      expected = words[a.value];
                                      if (same) words[a.value] = desired;
                                      return same;
                                  },
                                  [&](pa a, std::uint64_t value) -> outcome<bool, link> {
                                      if (a.value == 0) return failure{link::down};
                                      words[a.value] = value;
                                      return true;
                                  });
    STATIC_REQUIRE(table_memory<decltype(full)>);
    std::uint64_t expected = 42;
    CHECK(*full.compare_exchange(pa{0x1000}, expected, 43) == true);
    CHECK(full.compare_exchange(pa{0}, expected, 43).error() == link::down);
    CHECK(*full.store(pa{0x1000}, 44));
    CHECK(full.store(pa{0}, 44).error() == link::down);
    CHECK(*full.load(pa{0x1000}) == 44);
}

TEST_CASE("recording counts loads and updates and keeps their addresses") {
    block b;
    flat inner{b.word, pa{0}};
    recording<flat<pa>, 4> m{inner};
    CHECK(m.loads() == 0);
    CHECK(m.each_once());
    (void)m.load(pa{8});
    (void)m.load(pa{16});
    CHECK(m.each_once());
    CHECK_FALSE(m.load(pa{0x1000})); // a failed load is one too
    (void)m.load(pa{8});
    CHECK(m.loads() == 4);
    CHECK_FALSE(m.each_once());
    CHECK(m.at(0) == pa{8});
    CHECK(m.at(2) == pa{0x1000});
    (void)m.load(pa{24}); // beyond the capacity: counted only
    CHECK(m.loads() == 5);
    std::uint64_t expected = 0xaa00;
    CHECK(*m.compare_exchange(pa{0}, expected, 1));
    CHECK(m.updates() == 1);
    m.reset();
    CHECK(m.loads() == 0);
    CHECK(m.updates() == 0);
    CHECK(m.each_once());
}

// --- behind a translation ---------------------------------------------------------------------------------------

namespace {

using device_stage = vtd::second_stage<iova, ipa>;
using host_stage = vtd::second_stage<ipa, pa>;

constexpr vtd::capabilities caps{std::uint64_t{3} << 34 | 47u << 16 | 0xe00, 0x80, 46};

// Stage 2 of three levels at 10000000h, whose last table maps guest pages 0 to 511 one by one.
struct guest_memory {
    sparse_memory<pa> host;
    host_stage second{caps, 3, pa{0x1000'0000}};

    guest_memory() {
        host[0x1000'0000] = 0x1000'1003;
        host[0x1000'1000] = 0x1000'2003;
    }
    std::uint64_t& mapping(std::uint64_t guest_page) { return host[0x1000'2000 + guest_page * 8]; }
    void map(std::uint64_t guest_page, std::uint64_t host_page, std::uint64_t rights = 3) {
        mapping(guest_page) = host_page << 12 | rights;
        host[host_page << 12] = 0;
    }
    translated<single<host_stage, sparse_memory<pa>>, sparse_memory<pa>> view() { return {single{second, host}, host}; }
};

} // namespace

TEST_CASE("translated translates every address for itself") {
    guest_memory g;
    // Guest pages 16 and 17 are neighbours, their host pages are not, and lie the wrong way round.
    g.map(16, 0x77);
    g.map(17, 0x33);
    g.host[0x7'7ff8] = 1;
    g.host[0x3'3000] = 2;
    g.host[0x7'8000] = 3; // what one would read by translating the base alone
    auto m = g.view();
    CHECK(*m.load(ipa{0x1'0ff8}) == 1);
    CHECK(*m.load(ipa{0x1'1000}) == 2);
}

TEST_CASE("translated says whether the translation refused or the memory failed") {
    guest_memory g;
    g.map(16, 0x77);
    g.host.remove(0x7'7000);
    auto m = g.view();
    auto const failed = m.load(ipa{0x1'0008});
    REQUIRE_FALSE(failed);
    CHECK_FALSE(failed.error().refused);
    CHECK(failed.error().failed == memory_error::outside);
    auto const refused = m.load(ipa{0x1'1008});
    REQUIRE_FALSE(refused);
    CHECK(refused.error().refused);
    CHECK(refused.error().why.code == vtd::reason::read_denied);
    CHECK(refused.error().why.input == 0x1'1008);
    CHECK(refused.error().why.descriptor == 0x1000'2000 + 17 * 8);
}

TEST_CASE("translated updates only where the translation grants writing") {
    guest_memory g;
    g.map(16, 0x77, 1);
    auto m = g.view();
    std::uint64_t expected = 0;
    auto const refused = m.compare_exchange(ipa{0x1'0000}, expected, 5);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().refused);
    CHECK(refused.error().why.code == vtd::reason::write_denied);
    CHECK(g.host[0x7'7000] == 0);
    g.map(16, 0x77, 3);
    CHECK(*m.compare_exchange(ipa{0x1'0000}, expected, 5) == true);
    CHECK(g.host[0x7'7000] == 5);
    CHECK(*m.compare_exchange(ipa{0x1'0000}, expected, 6) == false);
    CHECK(expected == 5);
    g.host.remove(0x7'7000);
    auto const failed = m.compare_exchange(ipa{0x1'0000}, expected, 6);
    REQUIRE_FALSE(failed);
    CHECK_FALSE(failed.error().refused);
}

TEST_CASE("memory that cannot be written says through all its layers whether an update would be allowed") {
    guest_memory g;
    g.map(16, 0x77, 3);
    g.map(17, 0x78, 1);
    auto host = make_callback<pa>([&](pa a) { return g.host.load(a); });
    translated guest{single{g.second, host}, host};
    STATIC_REQUIRE(checks_updates<decltype(guest)>);
    recording watched{guest};
    STATIC_REQUIRE(checks_updates<decltype(watched)>);
    CHECK(watched.check_update(ipa{0x1'0000}));
    CHECK(watched.check_update(ipa{0x1'1000}).error().refused);
    // A guest's guest: page 1 of it lies in page 17 of the guest, which the host does not let anybody write.
    using inner_address = address<struct inner_space>;
    using inner_stage = vtd::second_stage<inner_address, ipa>;
    for (std::uint64_t n = 1; n <= 3; ++n)
        g.map(n, 0x90 + n);
    g.host[0x9'1000] = 0x2003;
    g.host[0x9'2000] = 0x3003;
    g.host[0x9'3000] = 0x1'0003;
    g.host[0x9'3008] = 0x1'1003;
    translated deep{single{inner_stage{caps, 3, ipa{0x1000}}, watched}, watched};
    CHECK(deep.check_update(inner_address{0}));
    auto const refused = deep.check_update(inner_address{0x1000});
    REQUIRE_FALSE(refused);
    CHECK_FALSE(refused.error().refused);
    CHECK(refused.error().failed.refused);
    CHECK(refused.error().failed.why.code == vtd::reason::write_denied);
}

namespace {

struct no_view {
    using address = pa;
    using error = memory_error;
    [[maybe_unused]] static constexpr bool is_view = false;
    unsigned loads{};
    outcome<std::uint64_t, error> load(pa) noexcept {
        ++loads;
        return failure{memory_error::outside};
    }
};

} // namespace

TEST_CASE("who says that it is no view is none") {
    STATIC_REQUIRE_FALSE(view_memory<no_view>);
    no_view m;
    CHECK_FALSE(walk(host_stage{caps, 3, pa{0}}, m, ipa{0}, read));
    CHECK(m.loads == 1);
}

// --- two stages -------------------------------------------------------------------------------------------------

namespace {

// A device stage of three levels whose root, middle and last tables are guest pages 1, 2 and 3, and whose page is 4.
struct two_stages : guest_memory {
    device_stage first{caps, 3, ipa{0x1000}};
    static constexpr iova in{0x0000'0010'0123'4abc};

    two_stages() {
        map(1, 0x91);
        map(2, 0x82);
        map(3, 0x73);
        map(4, 0x64);
        entry(2) = 0x2003;
        entry(1) = 0x3003;
        entry(0) = 0x4003;
    }
    // Stage 1's entry for `in` at a level, where it lies in the host.
    std::uint64_t& entry(std::uint64_t level) { return host[host_at(level)]; }
    static std::uint64_t guest_at(std::uint64_t level) { return (3 - level) * 0x1000 + device_stage::index(level, in) * 8; }
    static std::uint64_t host_at(std::uint64_t level) {
        std::uint64_t const page[] = {0x73, 0x82, 0x91};
        return (page[level] << 12) + device_stage::index(level, in) * 8;
    }
    auto translate(access a = read) {
        host.trail.clear();
        nested both{first, second, host};
        return both.translate(in, a);
    }
};

} // namespace

TEST_CASE("nested: three levels over three levels are 15 loads, each where its own translation says") {
    two_stages t;
    auto const found = t.translate();
    REQUIRE(found);
    CHECK(found->output == pa{0x6'4abc});
    CHECK(found->lg2_size == 12);
    REQUIRE(t.host.trail.size() == 3 * 4 + 3);
    CHECK(t.host.trail[3] == two_stages::host_at(2));
    CHECK(t.host.trail[7] == two_stages::host_at(1));
    CHECK(t.host.trail[11] == two_stages::host_at(0));
}

TEST_CASE("nested: rights are what both stages grant, the smaller page wins") {
    two_stages t;
    t.entry(0) = 0x4001;
    CHECK(t.translate()->effective.rights() == read);
    t.entry(0) = 0x4003;
    t.mapping(4) = 0x6'4001;
    CHECK(t.translate()->effective.rights() == read);
    // A 2 MiB page of stage 1 over 4 KiB of stage 2: in 100 1234 abch, offset 34abch of guest page 0 leads to page 34h.
    t.entry(1) = 0x83;
    t.map(0x34, 0x55);
    auto const found = t.translate();
    REQUIRE(found);
    CHECK(found->output == pa{0x5'5abc});
    CHECK(found->lg2_size == 12);
    // And the other way round.
    t.host[0x1000'1000 + 8] = 0x4000'0083; // guest 2 MiB to 4 MiB is one page
    t.entry(1) = 0x3003;
    t.entry(0) = 0x23'4003;
    auto const other = t.translate();
    REQUIRE(other);
    CHECK(other->output == pa{0x4003'4abc});
    CHECK(other->lg2_size == 12);
    t.entry(1) = 0x20'0083;
    CHECK(t.translate()->lg2_size == 21);
}

TEST_CASE("nested: a fault of stage 1 is stage 1's own") {
    two_stages t;
    t.entry(1) = 0x4000'0000'0000'3003;
    auto const refused = t.translate();
    REQUIRE_FALSE(refused);
    CHECK(refused.error().by == nested_by::outer);
    CHECK(refused.error().outer.code == vtd::reason::table_reserved);
    CHECK(refused.error().outer.level == 1);
    CHECK(refused.error().outer.descriptor == two_stages::guest_at(1));
    CHECK(refused.error().outer.input == two_stages::in.value);
    CHECK(refused.error().inner == fault<vtd::reason>{});
}

TEST_CASE("nested: a table that stage 2 refuses is named, with the address of the descriptor") {
    for (std::uint64_t level = 0; level < 3; ++level) {
        two_stages t;
        t.mapping(3 - level) = 0;
        auto const refused = t.translate();
        CAPTURE(level);
        REQUIRE_FALSE(refused);
        auto const& f = refused.error();
        CHECK(f.by == nested_by::table);
        // What the outer stage says of an entry that cannot be read.
        CHECK(f.outer.code == (level == 2 ? vtd::reason::context_invalid : vtd::reason::table_unreadable));
        CHECK(f.outer.at == fault_at::table);
        CHECK(f.outer.level == level);
        CHECK(f.outer.input == two_stages::in.value);
        CHECK(f.outer.intermediate == two_stages::guest_at(level));
        CHECK(f.outer.descriptor == two_stages::guest_at(level));
        CHECK(f.inner.code == vtd::reason::read_denied);
        CHECK(f.inner.input == two_stages::guest_at(level)); // the descriptor, not the table's base
        CHECK(f.inner.descriptor == 0x1000'2000 + (3 - level) * 8);
    }
}

TEST_CASE("nested: a table behind a good translation that cannot be read is stage 1's fault") {
    for (std::uint64_t level = 0; level < 3; ++level) {
        two_stages t;
        t.host.remove(two_stages::host_at(level));
        auto const refused = t.translate();
        CAPTURE(level);
        REQUIRE_FALSE(refused);
        CHECK(refused.error().by == nested_by::outer);
        CHECK(refused.error().outer.code == (level == 2 ? vtd::reason::context_invalid : vtd::reason::table_unreadable));
        CHECK(refused.error().outer.descriptor == two_stages::guest_at(level));
    }
}

TEST_CASE("nested: an output that stage 2 refuses names both addresses") {
    two_stages t;
    t.mapping(4) = 0x6'4001;
    auto const refused = t.translate(write);
    REQUIRE_FALSE(refused);
    auto const& f = refused.error();
    CHECK(f.by == nested_by::output);
    CHECK(f.outer.code == vtd::reason::none);
    CHECK(f.outer.at == fault_at::input);
    CHECK(f.outer.input == two_stages::in.value);
    CHECK(f.outer.intermediate == 0x4abc);
    CHECK(f.inner.code == vtd::reason::write_denied);
    CHECK(f.inner.input == 0x4abc);
    CHECK(t.translate(read));
    // Reading stage 1's tables takes no write right of stage 2's.
    t.mapping(4) = 0x6'4003;
    t.mapping(1) = 0x9'1001;
    CHECK(t.translate(write));
}

TEST_CASE("nested: a leaf is marked only when the inner translation grants the access, and on what was judged") {
    guest_memory g;
    for (std::uint64_t n = 1; n <= 5; ++n)
        g.map(n, 0x90 + n);
    // Four levels in guest pages 1 to 4, used before but for the leaf; the page is 5.
    for (std::uint64_t n = 1; n <= 4; ++n)
        g.host[(0x90 + n) << 12] = (n + 1) << 12 | (n < 4 ? 0x27 : 0x07);
    vtd::first_stage<iova, ipa> const first{caps, 4, ipa{0x1000}};
    nested both{first, g.second, g.host};
    STATIC_REQUIRE(marking<vtd::first_stage<iova, ipa>>);
    g.mapping(5) = 0x9'5001;
    auto const refused = both.translate(iova{0xabc}, write);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().by == nested_by::output);
    CHECK(g.host[0x9'4000] == 0x5007);
    g.mapping(5) = 0x9'5003;
    g.mapping(4) = 0x9'4001;
    auto const kept = both.translate(iova{0xabc}, write);
    REQUIRE_FALSE(kept);
    CHECK(kept.error().by == nested_by::update);
    CHECK(kept.error().outer.code == first.update_failed());
    CHECK(kept.error().outer.intermediate == 0x4000);
    CHECK(kept.error().inner.code == vtd::reason::write_denied);
    g.mapping(4) = 0x9'4003;
    CHECK(both.translate(iova{0xabc}, write)->output == pa{0x9'5abc});
    CHECK(g.host[0x9'4000] == 0x5067);
}

TEST_CASE("nested: an output that is no memory stays what the inner translation says") {
    struct own {
        using input = ipa;
        using output = pa;
        using fault_type = fault<vtd::reason>;
        passage by{};
        outcome<translation<pa>, fault_type> translate(ipa a, access) const noexcept {
            return translation<pa>{pa{a.value}, read_write, 64, a.value < 0x4000 ? passage::walked : by};
        }
    };
    sparse_memory<pa> m;
    m[0x1000] = 0x2003;
    m[0x2000] = 0x3003;
    m[0x3000] = 0x4003;
    device_stage const first{caps, 3, ipa{0x1000}};
    auto const through = [&](passage by) { return nested{first, own{by}, m}.translate(iova{0}, read)->by; };
    CHECK(through(passage::walked) == passage::walked);
    CHECK(through(passage::bypassed) == passage::walked);
    CHECK(through(passage::interrupt) == passage::interrupt);
}

TEST_CASE("nested: its memory may be translated itself") {
    two_stages t;
    // The host is a guest too: its addresses below 1 GiB lie at 4 GiB of the machine.
    using machine_address = address<struct machine_below>;
    sparse_memory<machine_address> machine;
    machine[0x8000'0000] = 0x1'0000'0083;
    vtd::second_stage<pa, machine_address> const third{caps, 3, machine_address{0x8000'0000}};
    for (std::uint64_t const page :
         std::initializer_list<std::uint64_t>{0x1000'0000, 0x1000'1000, 0x1000'2000, 0x9'1000, 0x8'2000, 0x7'3000})
        for (std::uint64_t i = 0; i < 4096; i += 8)
            machine[0x1'0000'0000 + page + i] = t.host[page + i];
    translated host{single{third, machine}, machine};
    nested both{t.first, t.second, host};
    CHECK(both.translate(two_stages::in, read)->output == pa{0x6'4abc});
    machine[0x8000'0000] = 0;
    auto const refused = both.translate(two_stages::in, read);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().by == nested_by::table);
    CHECK(refused.error().inner.by == nested_by::table);
    CHECK(refused.error().inner.inner.code == vtd::reason::read_denied);
}

TEST_CASE("nested: three stages compose") {
    two_stages t;
    // The third stage maps host addresses below 1 GiB to 4 GiB and up.
    using last_stage = vtd::second_stage<pa, address<struct machine>>;
    using machine_address = address<struct machine>;
    sparse_memory<machine_address> machine;
    machine[0x8000'0000] = 0x1'0000'0083;
    last_stage third{caps, 3, machine_address{0x8000'0000}};
    // The two inner stages' memory lies where the third stage says.
    for (std::uint64_t const page :
         std::initializer_list<std::uint64_t>{0x1000'0000, 0x1000'1000, 0x1000'2000, 0x9'1000, 0x8'2000, 0x7'3000})
        for (std::uint64_t i = 0; i < 4096; i += 8)
            machine[0x1'0000'0000 + page + i] = t.host[page + i];
    nested inner{t.second, single{third, machine}, machine};
    nested outer{t.first, inner, machine};
    auto const found = outer.translate(two_stages::in, read);
    REQUIRE(found);
    CHECK(found->output == machine_address{0x1'0006'4abc});
    CHECK(found->lg2_size == 12);
}

} // namespace stagewalk::test
