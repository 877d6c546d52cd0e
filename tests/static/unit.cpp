// A whole unit in a constant expression: root table, context table, page tables.
#include "catch.hpp"

#include <stagewalk/build/table.hpp>
#include <stagewalk/memory/array.hpp>
#include <stagewalk/vtd/fault_record.hpp>
#include <stagewalk/vtd/iommu.hpp>
#include <stagewalk/vtd/reason_text.hpp>

#include <cstdint>
#include <string_view>

// Inside, so that read, write and access are ours and not <unistd.h>'s.
namespace stagewalk::test {
namespace {

using vtd::reason;

// MGAW 48, 3 to 5 levels, 2 MiB and 1 GiB pages; pass-through and device-TLBs; HAW 46.
constexpr vtd::capabilities caps{std::uint64_t{3} << 34 | 47u << 16 | 0xe00 | 6, 0xc4, 46};
using domain = vtd::second_stage<iova, pa>;

constexpr pa origin{0x1000'0000};
constexpr pa context_table = origin + 0x1000;
constexpr pa domain_table = origin + 0x2000;
constexpr std::uint16_t device = 0x0219;

struct setting {
    array<pa, 512 * 8> m{origin};
    bool made{true};
};

constexpr setting make() {
    setting s;
    domain const tables{caps, 4, domain_table};
    bump_allocator<pa> pool{range<pa>{origin + 0x3000, 0x5000}};
    table t{tables, s.m, pool};
    s.made = static_cast<bool>(t.map(range{iova{0x1234'5678'9000}, 0x1000}, pa{0xabcd'e000}, attributes::from_bits(0x803)));
    auto const put = [&](pa at, auto const& e) {
        for (std::uint64_t i = 0; i < e.words; ++i)
            s.made = s.made && s.m.store(at + i * 8, e.word[i]);
    };
    put(origin + (device >> 8) * 16, vtd::root_entry::make(context_table.value));
    put(context_table + (device & 0xff) * 16,
        vtd::context_entry::make(vtd::translation_type::untranslated_only, domain_table.value, 4, 7));
    put(context_table + 8 * 16, vtd::context_entry::make(vtd::translation_type::pass_through, 0, 5, 8));
    put(context_table + 9 * 16, vtd::context_entry(2)); // P = 0, FPD = 1
    return s;
}

constexpr setting world = make();
constexpr vtd::iommu unit{caps, vtd::root_table_address(origin.value), world.m};

constexpr vtd::request ask(std::uint64_t at, access a = read, std::uint16_t source = device) {
    return {.source = source, .address = iova{at}, .access = a};
}

} // namespace

TEST_CASE("a device's request is translated in a constant expression") {
    STATIC_REQUIRE(world.made);
    STATIC_REQUIRE(unit.translate(ask(0x1234'5678'9abc))->output == pa{0xabcd'eabc});
    STATIC_REQUIRE(unit.translate(ask(0x1234'5678'9abc, write))->lg2_size == 12);
    STATIC_REQUIRE(unit.translate(ask(0x1234'5678'9abc))->effective == attributes::from_bits(0x803));
    STATIC_REQUIRE(unit.translate(ask(0x1234'5678'9abc))->by == passage::walked);
    STATIC_REQUIRE(unit.find(ask(0))->domain == 7);
    STATIC_REQUIRE(unit.legacy_stage_of(*unit.find(ask(0))) == domain{caps, 4, domain_table});
}

TEST_CASE("pass-through is a constant expression") {
    STATIC_REQUIRE(unit.translate(ask(0x3fff'ffff'ffff, write, 0x0208))->output == pa{0x3fff'ffff'ffff});
    STATIC_REQUIRE(unit.translate(ask(0x1000, write, 0x0208))->by == passage::bypassed);
    STATIC_REQUIRE(unit.translate(ask(0x4000'0000'0000, write, 0x0208)).error().code == reason::address_beyond_width);
    STATIC_REQUIRE(unit.find(ask(0, read, 0x0208))->kind == vtd::binding_kind::pass_through);
}

TEST_CASE("faults of a unit are constant expressions, down to the record") {
    constexpr auto absent = unit.translate(ask(0x1234'5678'a000, write));
    STATIC_REQUIRE_FALSE(absent);
    STATIC_REQUIRE(absent.error().code == reason::write_denied);
    STATIC_REQUIRE(absent.error().level == 0);
    STATIC_REQUIRE(absent.error().reported);
    constexpr auto record = vtd::to_record(caps, absent.error(), ask(0x1234'5678'a000, write));
    STATIC_REQUIRE(record.word[0] == 0x1234'5678'a000);
    STATIC_REQUIRE(record.word[1] == 0x8000'0005'0000'0219);

    constexpr auto quiet = unit.translate(ask(0, read, 0x0209));
    STATIC_REQUIRE(quiet.error().code == reason::context_not_present);
    STATIC_REQUIRE_FALSE(quiet.error().reported);
    STATIC_REQUIRE(unit.translate(ask(0, read, 0x0319)).error().code == reason::root_not_present);
    STATIC_REQUIRE(unit.translate(ask(0xfee0'0000)).error().code == reason::interrupt_request_illegal);
}

TEST_CASE("a fault has a name and a sentence in a constant expression") {
    STATIC_REQUIRE(std::string_view{vtd::name(reason::table_reserved)} == "table_reserved");
    STATIC_REQUIRE(std::string_view{vtd::name(reason{0xee})} == "unknown");
    STATIC_REQUIRE(std::string_view{vtd::text(reason::table_reserved)}.size() > 10);
}

} // namespace stagewalk::test
