// A whole SMMU in a constant expression: stream table, context descriptor, tables of both stages, made with the encoders.
#include "catch.hpp"

#include <stagewalk/build/table.hpp>
#include <stagewalk/memory/array.hpp>
#include <stagewalk/smmu/iommu.hpp>

#include <cstdint>

// Inside, so that read, write and access are ours and not <unistd.h>'s.
namespace stagewalk::test {
namespace {

using smmu::event;
using smmu::granule;
using smmu::half;

// Both stages, VMSAv8-64, HTTU 2, HYP, 16-bit ASIDs and VMIDs; SIDSIZE 6; 48 bits, 4 KiB granule; SMMUv3.2.
constexpr smmu::capabilities caps{0x0004'128b, 0x0000'0006, 0, 0x15, 2};

constexpr pa origin{0x1000'0000};
constexpr smmu::control registers{origin.value, 6};
constexpr pa first_context = origin + 0x1000; // stream 1; nested its IPA is 1000h
constexpr pa first_table = origin + 0x2000;
constexpr pa second_table = origin + 0x8000; // of 8 KiB
constexpr pa nested_context = origin + 0x4000;

using unit_type = smmu::iommu<array<pa, 512 * 32> const>;
using middle = intermediate<pa>;
using first_stage = smmu::stage1<granule::k4, iova, pa>;
using guest_stage = smmu::stage1<granule::k4, iova, middle>;
using second_stage = smmu::stage2<granule::k4, middle, pa>;

struct setting {
    array<pa, 512 * 32> m{origin};
    bool made{true};
};

// The memory of a guest, whose address 0 is the page at origin + 4000h: enough for one table builder.
struct guest_memory {
    using address = middle;
    using error = memory_error;
    array<pa, 512 * 32>* of;

    static constexpr pa place(middle a) { return origin + 0x4000 + a.value; }
    constexpr outcome<std::uint64_t, error> load(middle a) noexcept { return of->load(place(a)); }
    constexpr outcome<bool, error> store(middle a, std::uint64_t v) noexcept { return of->store(place(a), v); }
    constexpr outcome<bool, error> compare_exchange(middle a, std::uint64_t& e, std::uint64_t d) noexcept {
        return of->compare_exchange(place(a), e, d);
    }
    constexpr void publish(middle, std::uint64_t) noexcept {}
};

constexpr smmu::stream_table_entry stage2_entry(smmu::stream_table_entry e, smmu::stream_configuration config) {
    e.set<"Config">(static_cast<std::uint64_t>(config));
    e.set<"S2VMID">(7);
    e.set<"S2T0SZ">(24);
    e.set<"S2SL0">(1);
    e.set<"S2PS">(5);
    e.set<"S2AA64">(1);
    e.set<"S2R">(1);
    e.set<"S2TTB">(second_table.value);
    return e;
}

constexpr setting make() {
    setting s;
    auto const put = [&](pa at, auto const& e) {
        for (std::uint64_t i = 0; i < e.words; ++i)
            s.made = s.made && s.m.store(at + i * 8, e.word[i]);
    };
    // Stream 0 aborts, 1 is stage 1, 2 stage 2, 3 both, 4 passes; 5 is not valid.
    put(origin, smmu::stream_table_entry::make_abort());
    put(origin + 1 * 64, smmu::stream_table_entry::make_stage1(first_context.value));
    put(origin + 2 * 64, stage2_entry(smmu::stream_table_entry::make_bypass(), smmu::stream_configuration::stage2));
    put(origin + 3 * 64, stage2_entry(smmu::stream_table_entry::make_stage1(0), smmu::stream_configuration::nested));
    put(origin + 4 * 64, smmu::stream_table_entry::make_bypass());
    put(first_context, smmu::context_descriptor::make(first_table.value, 48, granule::k4, 48, 0x42));
    put(nested_context, smmu::context_descriptor::make(0x1000, 39, granule::k4, 40, 0x43));

    bump_allocator<pa> pool{range<pa>{origin + 0x1'0000, 0x1'0000}};
    // Normal write-back, inner shareable, not to be executed.
    attributes const data = attributes::from_bits(3 | smmu::stage1<granule::k4>::memory(1, 3).bits | std::uint64_t{3} << 53);
    smmu::binding b;
    b.context = smmu::context_descriptor::make(first_table.value, 48, granule::k4, 48, 0x42);
    table own{smmu::stage1_of<granule::k4, pa>(b, half::lower, caps, {}), s.m, pool};
    s.made = s.made && own.map(range{iova{0x1234'5678'9000}, 0x1000}, pa{0xabcd'e000}, data);
    s.made = s.made && own.map(range{iova{0x4000'0000}, 0x4000'0000}, pa{0x8000'0000}, data);

    // The guest's first 16 KiB, and what it takes for 80'0000'0000h in the second table.
    attributes const ram = attributes::from_bits(7 | second_stage::memory(15, 3).bits);
    b.stream = stage2_entry({}, smmu::stream_configuration::nested);
    table behind{smmu::stage2_of<granule::k4, pa>(b, caps, {}), s.m, pool};
    s.made = s.made && behind.map(range{middle{0}, 0x4000}, origin + 0x4000, ram);
    s.made = s.made && behind.map(range{middle{0x80'0000'0000}, 0x4000'0000}, pa{0x7'0000'0000}, ram);

    guest_memory guest{&s.m};
    bump_allocator<middle> guest_pool{range<middle>{middle{0x2000}, 0x2000}};
    b.context = smmu::context_descriptor::make(0x1000, 39, granule::k4, 40, 0x43);
    table of_guest{smmu::stage1_of<granule::k4, middle>(b, half::lower, caps, {}), guest, guest_pool};
    s.made = s.made && of_guest.map(range{iova{0x4000'0000}, 0x20'0000}, middle{0x80'0020'0000}, data);
    return s;
}

constexpr setting world = make();
constexpr unit_type unit{caps, registers, world.m};

constexpr smmu::request ask(std::uint32_t stream, std::uint64_t at, access a = read) {
    return {.source = stream, .address = iova{at}, .access = a};
}

} // namespace

TEST_CASE("an SMMU's stage 1 is walked in a constant expression") {
    STATIC_REQUIRE(world.made);
    STATIC_REQUIRE(caps.contradiction() == smmu::capability_error::none);
    STATIC_REQUIRE(unit.translate(ask(1, 0x1234'5678'9abc))->output == pa{0xabcd'eabc});
    STATIC_REQUIRE(unit.translate(ask(1, 0x1234'5678'9abc, write))->lg2_size == 12);
    STATIC_REQUIRE(unit.translate(ask(1, 0x5234'5678))->output == pa{0x9234'5678});
    STATIC_REQUIRE(unit.translate(ask(1, 0x5234'5678))->lg2_size == 30);
    STATIC_REQUIRE(smmu::memory_in(unit.translate(ask(1, 0x4000'0000))->effective) ==
                   smmu::memory_attributes{0xff, smmu::shareability::inner});
    STATIC_REQUIRE(unit.find(ask(1, 0))->asid() == 0x42);
    // Entry 1 of the level-1 table under entry 0: a block of 1 GiB, AttrIndx 1, AP 01, ISH, AF, nG, PXN and UXN.
    STATIC_REQUIRE((*world.m.load(first_table) & 3) == 3);
    STATIC_REQUIRE(*world.m.load(pa{(*world.m.load(first_table) & 0xffff'f000) + 8}) == 0x0060'0000'8000'0f45);
}

TEST_CASE("an SMMU's stage 2 is walked in a constant expression, from its second table too") {
    STATIC_REQUIRE(unit.translate(ask(2, 0x1008))->output == origin + 0x5008);
    STATIC_REQUIRE(unit.translate(ask(2, 0x80'1234'5678, execute))->output == pa{0x7'1234'5678});
    STATIC_REQUIRE(unit.translate(ask(2, 0x80'1234'5678))->lg2_size == 30);
    STATIC_REQUIRE(*world.m.load(second_table + 0x1000) == 0x7'0000'07fd);
    STATIC_REQUIRE(unit.translate(ask(2, 0x100'0000'0000)).error().code == event::f_translation);
    STATIC_REQUIRE(unit.find(ask(2, 0))->vmid() == 7);
}

TEST_CASE("an SMMU's two stages are walked in a constant expression") {
    STATIC_REQUIRE(unit.translate(ask(3, 0x4012'3456, write))->output == pa{0x7'0032'3456});
    STATIC_REQUIRE(unit.translate(ask(3, 0x4012'3456))->lg2_size == 21);
    STATIC_REQUIRE(unit.translate(ask(3, 0x4012'3456))->effective.rights().bits == 3);
    constexpr auto absent = unit.translate(ask(3, 0x5000'0000));
    STATIC_REQUIRE(absent.error().code == event::f_translation);
    STATIC_REQUIRE(absent.error().detail == (std::uint64_t{0x208} << 32));
}

TEST_CASE("an SMMU that passes, aborts or refuses is a constant expression") {
    STATIC_REQUIRE(unit.translate(ask(4, 0xffff'ffff'ffff))->by == passage::bypassed);
    STATIC_REQUIRE(unit.translate(ask(0, 0)).error().code == event::none);
    STATIC_REQUIRE(unit.translate(ask(5, 0)).error().code == event::c_bad_ste);
    STATIC_REQUIRE(unit.translate(ask(64, 0)).error().code == event::c_bad_streamid);
    STATIC_REQUIRE_FALSE(unit.translate(ask(64, 0)).error().reported);
    STATIC_REQUIRE(unit.translate(ask(1, 0x1000)).error().level == 2);
}

} // namespace stagewalk::test
