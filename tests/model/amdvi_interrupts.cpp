// Interrupt messages to an AMD IOMMU: the library against the naive interpreter, on random registers, entries and messages.
#include "amdvi_model.hpp"
#include "catch.hpp"
#include "host_memory.hpp"
#include "random_bits.hpp"

#include <stagewalk/amdvi/event_record.hpp>
#include <stagewalk/amdvi/interrupt.hpp>
#include <stagewalk/memory/concept.hpp>

#include <cstdint>
#include <cstdio>
#include <map>

namespace {

namespace sw = stagewalk;
namespace model = amdvi_model;

// Words by their addresses; what is not there cannot be read.
struct words {
    using address = sw::pa;
    using error = sw::memory_error;

    std::map<std::uint64_t, std::uint64_t> at;

    sw::outcome<std::uint64_t, error> load(address a) noexcept {
        auto const found = at.find(a.value);
        if (found == at.end()) return sw::failure{sw::memory_error::outside};
        return found->second;
    }
};

std::uint64_t bit(unsigned n) { return std::uint64_t{1} << n; }

} // namespace

TEST_CASE("AMD-Vi interrupts: random ones become what the model makes of them") {
    random_bits random{0xa304};
    constexpr std::uint64_t table = 0x300'0000;
    constexpr std::uint64_t features = 0x84 | 1u << 21; // GASup, XTSup, GAMSup
    std::uint64_t events[16]{};
    std::uint64_t ways[3]{};
    std::uint64_t silent = 0;
    for (std::uint64_t round = 0, rounds = sw::test::fewer(100000); round < rounds; ++round) {
        model::unit u;
        u.efr = random.one_in(4) ? random() : features | random.below(4) << 38 | (random() & (bit(47) | bit(51) | bit(55)));
        u.efr2 = random.one_in(8) ? random() : random.below(2) << 8;
        u.control = random.one_in(8) ? random()
                                     : 1 | random.below(2) << 17 | random.below(2) << 50 | random.below(2) << 43 |
                                           (random.one_in(4) ? random.below(8) << 34 : 0);
        u.past_table_page_fault = random.one_in(2);
        for (auto& base : u.devtab_base)
            base = 0x8000'0000 | (random.one_in(8) ? random.below(4) : 0x1ff);
        model::message const m{
            static_cast<std::uint16_t>(random.one_in(4) ? random() : 0xa5), 0xfee0'0000 | (random() & 0xf'ffff),
            static_cast<std::uint32_t>(random.one_in(4) ? random()
                                                        : random.below(16) | (random.one_in(4) ? random.below(8) << 8 : 0))};

        words memory;
        std::uint64_t const dte[4] = {random(), random(),
                                      bit(0) | random.below(13) << 1 | random.below(2) << 5 | table | random.below(8) << 56 |
                                          (random.one_in(4) ? random.below(4) : 2) << 60,
                                      random.one_in(4) ? random.any_width() : bit(53)};
        // The entry of every segment that the DeviceID may select.
        for (unsigned n = 0; n < 4; ++n)
            for (std::uint64_t w = 0; w < 4; ++w)
                if (!random.one_in(100)) memory.at[0x8000'0000 + (m.device & (0xffffu >> n)) * 32 + w * 8] = dte[w];
        if (random.one_in(16)) {
            auto& word = memory.at[0x8000'0000 + m.device * 32u + 16];
            word ^= bit(random.small(64));
        }
        for (std::uint64_t at = 0; at < 16 * 16; at += 16) {
            bool const guest = random.one_in(2);
            std::uint64_t low = random.below(8) == 0 ? random() : (random() & 0xff07) | (guest ? 0x80 : 0);
            std::uint64_t high = random.below(256);
            if (guest) {
                low |= random() & ~std::uint64_t{0xffff'ffff};
                high |= random() & 0x000f'ffff'ffff'f000;
            }
            if (random.one_in(4)) high |= random() & 0xff00'0000'0000'0000;
            if (random.one_in(4)) low |= random() & 0xffff'0000;
            if (random.one_in(8)) low ^= bit(random.small(64));
            if (random.one_in(8)) high ^= bit(random.small(64));
            if (random.one_in(2)) low |= low << 32; // entries of 32 bits
            low |= random.one_in(4) ? 0 : 1;
            if (!random.one_in(50)) memory.at[table + at] = low;
            if (!random.one_in(50)) memory.at[table + at + 8] = high;
        }

        sw::amdvi::capabilities const caps{u.efr, u.efr2};
        sw::amdvi::control registers{u.control, 0};
        for (unsigned n = 0; n < 8; ++n)
            registers.table[n] = sw::amdvi::device_table_base_register{u.devtab_base[n]};
        sw::amdvi::policy rules;
        if (u.past_table_page_fault) rules.missing = sw::amdvi::missing_entry::page_fault;
        sw::amdvi::interrupt_remapping const unit{caps, registers, memory, rules};
        sw::amdvi::interrupt_request const r{m.device, m.address, m.data};
        auto const answer = unit.remap(r);

        model::memory const seen{[&](std::uint64_t at, std::uint64_t& value) {
                                     auto const found = memory.at.find(at);
                                     if (found != memory.at.end()) value = found->second;
                                     return found != memory.at.end();
                                 },
                                 {}};
        model::delivery const expected = model::remap(u, m, seen);

        CAPTURE(round, u.efr, u.efr2, u.control, m.device, m.address, m.data, dte[2], dte[3]);
        if (static_cast<bool>(answer) != expected.ok) FAIL("delivered: " << expected.ok);
        if (!answer) {
            std::uint64_t record[2]{};
            model::record(m.device, expected.fault, record);
            auto const e = sw::amdvi::to_record(answer.error(), r);
            if (e.word[0] != record[0]) FAIL(std::hex << "word 0 " << e.word[0] << " instead of " << record[0]);
            if (e.word[1] != record[1]) FAIL(std::hex << "word 1 " << e.word[1] << " instead of " << record[1]);
            if (answer.error().reported != expected.fault.recorded) FAIL("reported");
            if (answer.error().descriptor != expected.fault.entry_at) FAIL("descriptor");
            if (answer.error().entry != expected.fault.entry) FAIL("entry");
            ++events[expected.fault.event];
            silent += !expected.fault.recorded;
            continue;
        }
        ++ways[static_cast<unsigned>(answer->how)];
        if ((answer->how == sw::amdvi::delivery::forwarded) != expected.forwarded) FAIL("forwarded");
        if ((answer->how == sw::amdvi::delivery::guest) != expected.guest) FAIL("guest");
        auto const& t = answer->target;
        auto const& g = answer->guest;
        if (answer->how == sw::amdvi::delivery::remapped &&
            (t.destination != expected.destination || t.vector != expected.vector ||
             static_cast<unsigned>(t.type) != expected.type || t.is_logical != expected.logical ||
             t.requests_eoi != expected.request_eoi))
            FAIL("target");
        if (answer->how == sw::amdvi::delivery::guest &&
            (g.destination != expected.destination || g.vector != expected.vector || g.tag != expected.tag ||
             g.vapic_root != expected.vapic || g.is_running != expected.is_running || g.is_logged != expected.log ||
             g.is_quiet != expected.no_notice))
            FAIL("guest's target");
    }
    std::printf("AMD-Vi interrupts: %llu forwarded, %llu remapped, %llu to guests, %llu silent faults\n",
                static_cast<unsigned long long>(ways[0]), static_cast<unsigned long long>(ways[1]),
                static_cast<unsigned long long>(ways[2]), static_cast<unsigned long long>(silent));
    if (!sw::test::all_cases()) return;
    for (auto const way : ways)
        CHECK(way > 1000);
    for (unsigned const code : {1u, 2u, 3u, 4u, 8u}) {
        CAPTURE(code);
        CHECK(events[code] > 200);
    }
    CHECK(silent > 500);
}
