// Interrupt remapping: section 9 of docs/coverage.md and worked example 20, every fault and their order.
#include "sheet_unit.hpp"

#include <stagewalk/memory/array.hpp>
#include <stagewalk/vtd/interrupt.hpp>

#include <cstdint>
#include <vector>

namespace stagewalk::test {
namespace {

using vtd::delivery;
using vtd::interrupt_order;
using vtd::reserved_source_check;

constexpr std::uint64_t base = 0x5000'0000;

std::uint64_t bit(unsigned n) { return std::uint64_t{1} << n; }

// Example 20: 65536 entries at 50000000h, EIME = 0, HAW 46, PI; entry 8013h delivers vector 41h to 5 for requester 0219h.
struct interrupt_unit {
    vtd::capability_register cap{};
    vtd::extended_capability_register ecap{};
    vtd::interrupt_table_address table{base | 0xf};
    vtd::interrupt_settings set{};
    sparse_memory<ipa> memory{};
    std::uint64_t lo{base + 0x8'0130};
    std::uint64_t hi{base + 0x8'0138};

    interrupt_unit() {
        cap.set<"MGAW">(47);
        cap.set<"PI">(1);
        memory[lo] = 0x0000'0500'0041'0001;
        memory[hi] = 0x0000'0000'0004'0219;
    }
    auto remap(std::uint64_t address = 0xfee0'021c, std::uint32_t data = 3, std::uint16_t source = 0x0219) {
        memory.trail.clear();
        vtd::interrupt_remapping const unit{{cap.word[0], ecap.word[0], 46}, table, memory, set};
        return unit.remap({source, address, data});
    }
    auto remap_from(std::uint16_t source) { return remap(0xfee0'021c, 3, source); }
    // The same entry as a posted one, its descriptor at 12345678C0h.
    void post() {
        memory[lo] = 0x3456'78c0'00b2'8001;
        memory[hi] = 0x0000'0012'0004'0219;
    }
};

// Every field of the fault; the detail is the interrupt index.
template <class Outcome>
void check_interrupt_fault(Outcome const& o, reason code, std::uint64_t index, std::uint64_t at, bool reported = true,
                           std::uint64_t input = 0xfee0'021c) {
    REQUIRE_FALSE(o);
    auto const& f = o.error();
    CHECK(f.code == code);
    CHECK(f.reported == reported);
    CHECK(static_cast<int>(f.at) == static_cast<int>(at != 0 ? fault_at::table : fault_at::input));
    CHECK(f.input == input);
    CHECK(f.descriptor == at);
    CHECK(f.detail == index);
}

// A descriptor whose words change under each compare-exchange, as often as it is told to.
class restless {
public:
    using address = ipa;
    using error = memory_error;

    std::uint64_t word[8]{};
    std::uint64_t flips[8]{}; // what changes in a word ...
    unsigned times[8]{};      // ... and how often
    bool readable[8]{true, true, true, true, true, true, true, true};
    bool writable[8]{true, true, true, true, true, true, true, true};
    unsigned exchanges = 0;

    outcome<std::uint64_t, error> load(ipa a) noexcept {
        if (!readable[index(a)]) return failure{memory_error::outside};
        return word[index(a)];
    }
    outcome<bool, error> compare_exchange(ipa a, std::uint64_t& expected, std::uint64_t desired) noexcept {
        std::size_t const i = index(a);
        ++exchanges;
        if (!writable[i]) return failure{memory_error::outside};
        if (times[i] > 0) {
            --times[i];
            word[i] ^= flips[i];
        }
        bool const same = word[i] == expected;
        expected = word[i];
        if (same) word[i] = desired;
        return same;
    }
    auto post(std::uint8_t vector = 0x41, bool urgent = false) { return vtd::post(*this, ipa{0x1000}, vector, urgent); }

private:
    static std::size_t index(ipa a) { return (a.value - 0x1000) / 8; }
};

constexpr std::uint64_t on = 1;
constexpr std::uint64_t sn = 2;

} // namespace

TEST_CASE("example 20: a subhandle, an entry, a message") {
    interrupt_unit u;
    auto const answer = u.remap();
    REQUIRE(answer);
    CHECK(static_cast<int>(answer->how) == static_cast<int>(delivery::remapped));
    CHECK(answer->index == 0x8013);
    CHECK(answer->vector == 0x41);
    CHECK(answer->address == 0xfee0'5000);
    CHECK(answer->data == 0x4041);
    CHECK(u.memory.trail == std::vector<std::uint64_t>{u.lo, u.hi});
}

TEST_CASE("example 20: half the table is too small") {
    interrupt_unit u;
    u.table.set<"S">(0xe);
    CHECK(u.table.entries() == 32768);
    check_interrupt_fault(u.remap(), reason::interrupt_index, 0x8013, 0);
    CHECK(u.memory.trail.empty());
}

TEST_CASE("example 20: the neighbour is not the requester") {
    interrupt_unit u;
    check_interrupt_fault(u.remap_from(0x021a), reason::interrupt_source, 0x8013, u.lo);
}

TEST_CASE("example 20: 32-bit destinations with EIME, reserved bits without") {
    interrupt_unit u;
    u.memory[u.lo] = 0x0001'2345'0041'0001;
    check_interrupt_fault(u.remap(), reason::interrupt_entry_reserved, 0x8013, u.lo);
    u.table.set<"EIME">(1);
    auto const answer = u.remap();
    REQUIRE(answer);
    CHECK(answer->address == 0x0001'2300'fee4'5000);
    CHECK(answer->data == 0x4041);
}

TEST_CASE("example 20: a range of buses") {
    interrupt_unit u;
    u.memory[u.hi] = 0x8'0507;
    for (unsigned bus = 0; bus < 256; ++bus)
        for (unsigned const function : {0u, 0xffu}) {
            CAPTURE(bus, function);
            CHECK(static_cast<bool>(u.remap_from(static_cast<std::uint16_t>(bus << 8 | function))) == (bus >= 5 && bus <= 7));
        }
    // Start above end holds no bus at all: the bytes are not swapped.
    u.memory[u.hi] = 0x8'0705;
    for (unsigned bus = 0; bus < 256; ++bus)
        CHECK(code_of(u.remap_from(static_cast<std::uint16_t>(bus << 8))) == reason::interrupt_source);
    u.memory[u.hi] = 0x8'00ff;
    CHECK(u.remap_from(0xffff));
    CHECK(u.remap_from(0));
    u.memory[u.hi] = 0x8'ffff;
    CHECK(u.remap_from(0xff00));
    CHECK_FALSE(u.remap_from(0xfeff));
}

TEST_CASE("fault 20h: a subhandle with bits above 15") {
    interrupt_unit u;
    for (unsigned n = 16; n < 32; ++n) {
        CAPTURE(n);
        check_interrupt_fault(u.remap(0xfee0'021c, 3u | 1u << n), reason::interrupt_reserved, 0, 0);
        // Without SHV the data is not looked at: handle 8010h itself.
        CHECK(code_of(u.remap(0xfee0'0214, 3u | 1u << n)) == reason::interrupt_not_present);
    }
    CHECK(u.memory.trail.size() == 2);
}

TEST_CASE("fault 21h: the index is beyond the table, for every size") {
    for (unsigned s = 0; s < 16; ++s) {
        interrupt_unit u;
        u.table.set<"S">(s);
        std::uint64_t const entries = std::uint64_t{2} << s;
        CHECK(u.table.entries() == entries);
        u.memory[base + (entries - 1) * 16] = 0x0000'0500'0041'0001;
        auto const ask = [&](std::uint64_t index) { // by handle and, beyond it, subhandle
            std::uint64_t const handle = index < 0x10000 ? index : 0xffff;
            return u.remap(0xfee0'0018 | (handle & 0x7fff) << 5 | handle >> 15 << 2, static_cast<std::uint32_t>(index - handle));
        };
        CAPTURE(s);
        CHECK(ask(entries - 1));
        CHECK(code_of(ask(entries)) == reason::interrupt_index);
        CHECK(ask(entries).error().detail == entries);
    }
}

TEST_CASE("fault 21h: handle and subhandle make 17 bits") {
    interrupt_unit u;
    u.memory[base] = 0x0000'0500'0041'0001; // where a sum of 16 bits would lead to
    u.memory[base + 0xf'fff0] = 0x0000'0500'0041'0001;
    check_interrupt_fault(u.remap(0xfeef'fffc, 1), reason::interrupt_index, 0x10000, 0, true, 0xfeef'fffc);
    check_interrupt_fault(u.remap(0xfeef'fffc, 0xffff), reason::interrupt_index, 0x1fffe, 0, true, 0xfeef'fffc);
    CHECK(u.remap(0xfeef'fffc, 0)->index == 0xffff);
    CHECK(u.remap(0xfee0'0018, 0xffff)->index == 0xffff);
    CHECK(u.remap(0xfee0'0018, 0)->index == 0);
}

TEST_CASE("fault 21h: the entry lies above HAW") {
    interrupt_unit u;
    std::uint64_t const top = bit(46);
    u.table = vtd::interrupt_table_address{(top - 4096) | 0xf};
    u.memory[top - 16] = 0x0000'0500'0041'0001; // entry 255, the last below
    u.memory[top] = 0x0000'0500'0041'0001;      // entry 256
    CHECK(u.remap(0xfee0'0010 | 255 << 5)->index == 255);
    check_interrupt_fault(u.remap(0xfee0'0010 | 256 << 5), reason::interrupt_index, 256, 0, true, 0xfee0'0010 | 256 << 5);
    // A table at the very top does not go on at address 0.
    u.table = vtd::interrupt_table_address{0xffff'ffff'ffff'f00f};
    u.memory[0] = 0x0000'0500'0041'0001;
    CHECK(code_of(u.remap(0xfee0'0010 | 256 << 5)) == reason::interrupt_index);
    CHECK(code_of(u.remap(0xfee0'0010)) == reason::interrupt_index);
}

TEST_CASE("fault 22h: the entry is not present, and nothing else of it counts") {
    interrupt_unit u;
    u.memory[u.lo] = ~std::uint64_t{3};
    u.memory[u.hi] = ~std::uint64_t{0};
    check_interrupt_fault(u.remap(), reason::interrupt_not_present, 0x8013, u.lo);
    u.memory[u.lo] = 2; // FPD counts all the same
    check_interrupt_fault(u.remap(), reason::interrupt_not_present, 0x8013, u.lo, false);
}

TEST_CASE("fault 23h: either half of the entry cannot be read") {
    for (bool const upper : {false, true}) {
        interrupt_unit u;
        u.memory[u.lo] = 0x3; // FPD does not silence it
        u.memory.poison(upper ? u.hi : u.lo);
        CAPTURE(upper);
        check_interrupt_fault(u.remap(), reason::interrupt_unreadable, 0x8013, upper ? u.hi : u.lo);
    }
}

TEST_CASE("fault 24h: every single bit of a remapped entry, turned") {
    for (bool const extended : {false, true})
        for (unsigned n = 0; n < 128; ++n) {
            interrupt_unit u;
            u.table.set<"EIME">(extended);
            u.memory[u.lo] = extended ? 0x0001'2345'0041'0001 : 0x0000'0500'0041'0001;
            u.memory[n < 64 ? u.lo : u.hi] ^= bit(n % 64);
            bool const reserved = (n >= 12 && n <= 14) || (n >= 24 && n <= 31) || n >= 84 ||
                                  (!extended && ((n >= 32 && n <= 39) || (n >= 48 && n <= 63)));
            reason expected = reserved ? reason::interrupt_entry_reserved : reason::none;
            if (n == 0) expected = reason::interrupt_not_present;
            if (n == 15) expected = reason::interrupt_entry_reserved; // IM: what was the vector's is no descriptor
            if (n >= 64 && n < 80) expected = reason::interrupt_source;
            if (n == 82) expected = reason::none;              // SVT = 00
            if (n == 83) expected = reason::interrupt_source;  // SVT = 11
            if (n == 15 && !extended) expected = reason::none; // the destination of 8 bits lies within PDA
            CAPTURE(extended, n);
            CHECK(code_of(u.remap()) == expected);
        }
}

TEST_CASE("fault 24h: reserved delivery modes") {
    for (unsigned mode = 0; mode < 8; ++mode) {
        interrupt_unit u;
        u.memory[u.lo] |= mode << 5;
        bool const reserved = mode == 3 || mode == 6;
        CAPTURE(mode);
        CHECK(code_of(u.remap()) == (reserved ? reason::interrupt_entry_reserved : reason::none));
        if (!reserved) CHECK(u.remap()->data == (0x4041u | mode << 8));
    }
}

TEST_CASE("fault 24h: every single bit of a posted entry, turned") {
    for (unsigned n = 0; n < 128; ++n) {
        interrupt_unit u;
        u.post();
        u.memory[n < 64 ? u.lo : u.hi] ^= bit(n % 64);
        bool const reserved = (n >= 2 && n <= 7) || n == 12 || n == 13 || (n >= 24 && n <= 37) || (n >= 84 && n <= 95) ||
                              n >= 96 + 46 - 32; // PDA above HAW
        reason expected = reserved ? reason::interrupt_entry_reserved : reason::none;
        if (n == 0) expected = reason::interrupt_not_present;
        if (n == 15) expected = reason::interrupt_entry_reserved; // the descriptor's address is no destination
        if (n >= 64 && n < 80) expected = reason::interrupt_source;
        if (n == 83) expected = reason::interrupt_source;
        CAPTURE(n);
        CHECK(code_of(u.remap()) == expected);
    }
}

TEST_CASE("fault 24h: a posted entry without CAP.PI") {
    interrupt_unit u;
    u.post();
    u.cap.set<"PI">(0);
    check_interrupt_fault(u.remap(), reason::interrupt_entry_reserved, 0x8013, u.lo);
}

TEST_CASE("fault 25h: the compatibility format, row by row") {
    for (unsigned row = 0; row < 8; ++row) {
        interrupt_unit u;
        bool const on_ = (row & 1) != 0;
        bool const extended = (row & 2) != 0;
        bool const passes = (row & 4) != 0;
        u.set.enabled = on_;
        u.set.compatibility_passes = passes;
        u.table.set<"EIME">(extended);
        auto const answer = u.remap(0xfee0'520c, 0x4041);
        CAPTURE(on_, extended, passes);
        if (on_ && (extended || !passes)) {
            check_interrupt_fault(answer, reason::interrupt_compatibility_blocked, 0, 0, true, 0xfee0'520c);
        } else {
            REQUIRE(answer);
            CHECK(static_cast<int>(answer->how) == static_cast<int>(delivery::unchanged));
            CHECK(answer->address == 0xfee0'520c);
            CHECK(answer->data == 0x4041);
            CHECK(answer->vector == 0x41);
        }
        CHECK(u.memory.trail.empty());
    }
}

TEST_CASE("fault 26h: SQ says which bits of the requester count") {
    std::uint32_t const keeps[] = {0xffff, 0xfffb, 0xfff9, 0xfff8};
    for (unsigned sq = 0; sq < 4; ++sq) {
        interrupt_unit u;
        u.memory[u.hi] = 0x4'0219 | sq << 16;
        unsigned wrong = 0;
        for (std::uint32_t s = 0; s < 0x10000; ++s)
            wrong += code_of(u.remap_from(static_cast<std::uint16_t>(s))) !=
                     ((s & keeps[sq]) == (0x0219 & keeps[sq]) ? reason::none : reason::interrupt_source);
        CAPTURE(sq);
        CHECK(wrong == 0);
    }
    interrupt_unit u;
    u.memory[u.hi] = 0x3'0219; // SVT = 00: everybody, whatever SQ
    CHECK(u.remap_from(0xffff));
}

TEST_CASE("fault 26h or 24h: the reserved SVT, by policy") {
    for (auto const order : {interrupt_order::source_first, interrupt_order::reserved_first}) {
        interrupt_unit u;
        u.set.rules.interrupt = order;
        u.memory[u.hi] = 0xc'0219;
        check_interrupt_fault(u.remap(), reason::interrupt_source, 0x8013, u.lo);
        u.set.rules.source_check = reserved_source_check::reserved;
        check_interrupt_fault(u.remap(), reason::interrupt_entry_reserved, 0x8013, u.lo);
    }
}

TEST_CASE("fault 29h: an access to FEEx_xxxxh that is no interrupt request") {
    sheet_unit u;
    CHECK(code_of(u.translate(0xfee0'0000, read)) == reason::interrupt_request_illegal);
    CHECK(code_of(u.translate(u.sized(0xfee0'0000, write, 8))) == reason::interrupt_request_illegal);
    CHECK_FALSE(vtd::is_qualified(reason::interrupt_request_illegal));
}

TEST_CASE("fault 2ah: ECAP.EIMER blocks everything while EIME = 0") {
    interrupt_unit u;
    u.ecap.set<"EIMER">(1);
    check_interrupt_fault(u.remap(), reason::interrupt_mode_required, 0, 0);
    u.set.compatibility_passes = true;
    CHECK(code_of(u.remap(0xfee0'0000)) == reason::interrupt_mode_required);
    CHECK(u.memory.trail.empty());
    u.table.set<"EIME">(1);
    u.memory[u.lo] = 0x0000'0005'0041'0001;
    CHECK(u.remap());
}

TEST_CASE("fault 2bh: ECAP.IRREQ blocks everything while interrupt remapping is off") {
    interrupt_unit u;
    u.set.enabled = false;
    CHECK(u.remap()->address == 0xfee0'021c); // passes without it
    u.ecap.set<"IRREQ">(1);
    check_interrupt_fault(u.remap(), reason::interrupt_remapping_required, 0, 0);
    CHECK(code_of(u.remap(0xfee0'0000)) == reason::interrupt_remapping_required);
    u.set.enabled = true;
    CHECK(u.remap());
}

TEST_CASE("interrupt faults come in the manual's order") {
    interrupt_unit u;
    // Everything is wrong at once; what is found first is mended, and the next one shows.
    u.table = vtd::interrupt_table_address{base | 0xe};
    u.memory[u.lo] = 0x0001'0500'0041'0000;
    u.memory.poison(u.lo);
    CHECK(code_of(u.remap(0xfee0'021c, 0x1'0003)) == reason::interrupt_reserved);
    CHECK(code_of(u.remap()) == reason::interrupt_index);
    u.table.set<"S">(0xf);
    CHECK(code_of(u.remap_from(0x021a)) == reason::interrupt_unreadable);
    interrupt_unit v;
    v.memory[v.lo] = 0x0001'0500'0041'0000;
    CHECK(code_of(v.remap_from(0x021a)) == reason::interrupt_not_present);
    v.memory[v.lo] |= 1;
    CHECK(code_of(v.remap_from(0x021a)) == reason::interrupt_source);
    CHECK(code_of(v.remap()) == reason::interrupt_entry_reserved);
    v.memory[v.lo] = 0x0000'0500'0041'0001;
    CHECK(code_of(v.remap()) == reason::none);
}

TEST_CASE("interrupt faults: policy tells whether reserved fields or the requester come first") {
    interrupt_unit u;
    u.memory[u.lo] |= bit(12);
    CHECK(code_of(u.remap_from(0x021a)) == reason::interrupt_source);
    u.set.rules.interrupt = interrupt_order::reserved_first;
    CHECK(code_of(u.remap_from(0x021a)) == reason::interrupt_entry_reserved);
    u.memory[u.lo] = 0x0000'0500'0041'0000; // absent comes before both
    CHECK(code_of(u.remap_from(0x021a)) == reason::interrupt_not_present);
}

TEST_CASE("interrupt faults: FPD silences 22h, 24h and 26h, and no other") {
    interrupt_unit u;
    u.memory[u.lo] |= 2;
    CHECK(u.remap());
    CHECK_FALSE(u.remap_from(0x021a).error().reported);
    u.memory[u.lo] |= bit(12);
    CHECK_FALSE(u.remap().error().reported);
    u.memory[u.lo] = 2;
    CHECK_FALSE(u.remap().error().reported);
    CHECK(u.remap(0xfee0'021c, 0x1'0003).error().reported);
    u.table.set<"S">(0);
    CHECK(u.remap().error().reported);
    using vtd::is_qualified;
    for (unsigned n = 0x20; n <= 0x2b; ++n) {
        bool const qualified = n == 0x22 || n == 0x24 || n == 0x26 || n == 0x27 || n == 0x28;
        CAPTURE(n);
        CHECK(is_qualified(static_cast<reason>(n)) == qualified);
    }
}

TEST_CASE("what an interrupt request is made of: every bit of the address") {
    interrupt_unit u;
    u.memory[base + 0x8000 * 16] = 0x0000'0600'0042'0001; // handle 8000h
    CHECK(u.remap(0xfee0'0014, 0)->vector == 0x42);
    CHECK(u.remap(0xfee0'0014, 0xffff'ffff)->vector == 0x42); // no SHV: the data does not count
    CHECK(u.remap(0xfee0'0017, 0)->vector == 0x42);           // bits 1:0 are ignored
    for (unsigned n = 0; n < 15; ++n) {
        u.memory[base + (bit(n) << 4)] = 0x0000'0600'0043'0001;
        CAPTURE(n);
        CHECK(u.remap(0xfee0'0010 | bit(n + 5), 0)->index == bit(n));
        CHECK(u.remap(0xfee0'0018, static_cast<std::uint32_t>(bit(n)))->index == bit(n));
    }
}

TEST_CASE("the message of a remapped interrupt: every field in its place") {
    interrupt_unit u;
    u.memory[u.lo] = 0x0000'ff00'00ff'001d | 7u << 5; // DM, RH, TM, DLM 7
    CHECK(u.remap()->address == 0xfeef'f00c);
    CHECK(u.remap()->data == 0xc7ff);
    u.memory[u.lo] = 0x0000'0000'0000'0005; // DM alone
    CHECK(u.remap()->address == 0xfee0'0004);
    u.memory[u.lo] = 0x0000'0000'0000'0009; // RH alone
    CHECK(u.remap()->address == 0xfee0'0008);
    u.memory[u.lo] = 0x0000'0000'0000'0011; // TM alone
    CHECK(u.remap()->data == 0xc000);
    u.table.set<"EIME">(1);
    u.memory[u.lo] = 0xffff'ffff'0001'0001;
    CHECK(u.remap()->address == 0xffff'ff00'feef'f000);
    // Without EIME the id lies in 47:40, with it in 63:32.
    u.memory[u.lo] = 0x0000'0500'0041'0001;
    CHECK(u.remap()->address == 0x0000'0500'fee0'0000);
}

TEST_CASE("posted: what is to be posted, and where") {
    interrupt_unit u;
    u.post();
    auto const answer = u.remap();
    REQUIRE(answer);
    CHECK(static_cast<int>(answer->how) == static_cast<int>(delivery::posted));
    CHECK(answer->descriptor == 0x12'3456'78c0);
    CHECK(answer->vector == 0xb2);
    CHECK(answer->index == 0x8013);
    CHECK_FALSE(answer->urgent);
    CHECK_FALSE(answer->quiet);
    u.memory[u.lo] |= bit(14) | 2;
    CHECK(u.remap()->urgent);
    CHECK(u.remap()->quiet); // for the faults of the descriptor
}

TEST_CASE("posting: each of the 256 vectors sets its bit and no other") {
    for (unsigned vector = 0; vector < 256; ++vector) {
        restless m;
        m.word[4] = 0x0500'00f2'0000 | std::uint64_t{0xabcd} << 48;
        auto const sent = m.post(static_cast<std::uint8_t>(vector));
        CAPTURE(vector);
        REQUIRE(sent);
        CHECK(sent->due);
        CHECK(sent->vector == 0xf2);
        CHECK(sent->destination == 0xabcd'0500);
        for (unsigned w = 0; w < 4; ++w)
            CHECK(m.word[w] == (w == vector / 64 ? bit(vector % 64) : 0));
        CHECK(m.word[4] == ((0x0500'00f2'0000 | std::uint64_t{0xabcd} << 48) | on));
    }
}

TEST_CASE("posting: a notification is due iff ON = 0 and (URG or SN = 0)") {
    for (unsigned row = 0; row < 8; ++row) {
        restless m;
        bool const was_on = (row & 1) != 0;
        bool const suppressed = (row & 2) != 0;
        bool const urgent = (row & 4) != 0;
        m.word[1] = 0x8000'0000'0000'0000;
        m.word[4] = (was_on ? on : 0) | (suppressed ? sn : 0);
        auto const sent = m.post(0x41, urgent);
        bool const due = !was_on && (urgent || !suppressed);
        CAPTURE(was_on, suppressed, urgent);
        REQUIRE(sent);
        CHECK(sent->due == due);
        CHECK(m.word[4] == ((was_on || due ? on : 0) | (suppressed ? sn : 0)));
        CHECK(m.word[1] == 0x8000'0000'0000'0002); // the request is posted in any case, beside others
    }
}

TEST_CASE("posting: the decision is made on the very value that ON is set in") {
    SECTION("somebody else sets ON first: only one notification") {
        restless m;
        m.flips[4] = on;
        m.times[4] = 1;
        auto const sent = m.post();
        REQUIRE(sent);
        CHECK_FALSE(sent->due);
        CHECK(m.word[4] == on);
    }
    SECTION("somebody clears ON meanwhile: the notification is due after all") {
        restless m;
        m.word[4] = on;
        m.flips[4] = on;
        m.times[4] = 1;
        auto const sent = m.post();
        REQUIRE(sent);
        CHECK(sent->due);
        CHECK(m.word[4] == on);
    }
    SECTION("somebody sets SN meanwhile") {
        restless m;
        m.flips[4] = sn;
        m.times[4] = 1;
        auto const sent = m.post();
        REQUIRE(sent);
        CHECK_FALSE(sent->due);
        CHECK(m.word[4] == sn);
    }
    SECTION("somebody moves the target meanwhile: the notification goes to the new one") {
        restless m;
        m.flips[4] = std::uint64_t{7} << 32 | 0x31 << 16;
        m.times[4] = 1;
        auto const sent = m.post();
        REQUIRE(sent);
        CHECK(sent->due);
        CHECK(sent->vector == 0x31);
        CHECK(sent->destination == 7);
    }
    SECTION("other requests come meanwhile: none is lost") {
        restless m;
        m.flips[1] = 0x8000'0000'0000'0000;
        m.times[1] = 1;
        REQUIRE(m.post());
        CHECK(m.word[1] == 0x8000'0000'0000'0002);
    }
}

TEST_CASE("fault 27h: any part of the descriptor cannot be read or written") {
    for (unsigned w = 0; w < 8; ++w) {
        restless m;
        m.readable[w] = false;
        auto const sent = m.post();
        bool const needed = w == 1 || w >= 4;
        CAPTURE(w);
        CHECK(static_cast<bool>(sent) == !needed);
        if (!sent) CHECK(sent.error() == reason::posted_descriptor_unreadable);
        restless n;
        n.writable[w] = false;
        auto const stored = n.post();
        CHECK(static_cast<bool>(stored) == (w != 1 && w != 4));
        if (!stored) CHECK(stored.error() == reason::posted_descriptor_unreadable);
    }
    array<ipa, 8> beside{ipa{0x1000}};
    CHECK(vtd::post(beside, ipa{0x2000}, 1, false).error() == reason::posted_descriptor_unreadable);
    CHECK(vtd::post(beside, ipa{0x1000}, 1, false)->due);
}

TEST_CASE("fault 27h: a descriptor that never stands still ends the attempts") {
    for (unsigned const w : {1u, 4u}) {
        restless m;
        m.flips[w] = 0x10'0000;
        m.times[w] = ~0u;
        auto const sent = m.post();
        CAPTURE(w);
        REQUIRE_FALSE(sent);
        CHECK(sent.error() == reason::posted_descriptor_unreadable);
        CHECK(m.exchanges <= 2 * max_restarts);
    }
}

TEST_CASE("fault 28h: every reserved bit of the descriptor, and no other") {
    for (unsigned n = 0; n < 512; ++n) {
        restless m;
        m.word[n / 64] = bit(n % 64);
        bool const reserved = (n >= 258 && n <= 271) || (n >= 280 && n <= 287) || n >= 320;
        auto const sent = m.post();
        CAPTURE(n);
        CHECK(static_cast<bool>(sent) == !reserved);
        if (sent) continue;
        CHECK(sent.error() == reason::posted_descriptor_reserved);
        CHECK(m.exchanges == 0); // nothing was posted
        CHECK(m.word[1] == 0);
    }
}

TEST_CASE("the record of an interrupt fault holds the index in 63:48") {
    interrupt_unit u;
    auto const o = u.remap_from(0x021a);
    REQUIRE_FALSE(o);
    auto const r = vtd::to_record(o.error(), vtd::interrupt_request{0x021a, 0xfee0'021c, 3});
    CHECK(r.word[0] == 0x8013'0000'0000'0000);
    CHECK(r.word[1] == 0x8000'0026'0000'021a);
    fault<reason> f;
    f.code = reason::interrupt_index;
    f.detail = 0x1'8013; // an index of 17 bits leaves nothing below 48
    CHECK(vtd::to_record(f, vtd::interrupt_request{0xffff, 0, 0}).word[0] == 0x8013'0000'0000'0000);
    CHECK(vtd::to_record(f, vtd::interrupt_request{0xffff, 0, 0}).word[1] == 0x8000'0021'0000'ffff);
}

TEST_CASE("example 18: the records of DMA faults, bit by bit") {
    vtd::capability_register cap;
    cap.set<"MGAW">(47);
    cap.set<"SAGAW">(0b1110);
    vtd::extended_capability_register ecap;
    vtd::capabilities const caps{cap.word[0], ecap.word[0], 46};
    fault<reason> f;
    vtd::request r;
    r.source = 0x0219;
    r.address = iova{0x7f00'0000'1234};
    r.pasid = 0x12345;
    r.access = write;
    f.code = reason::scalable_write_denied;
    CHECK(vtd::to_record(caps, f, r).word[0] == 0x0000'7f00'0000'1000);
    CHECK(vtd::to_record(caps, f, r).word[1] == 0x8123'4585'8000'0219);
    r.pasid = vtd::no_pasid;
    r.access = read;
    f.code = reason::read_denied;
    CHECK(vtd::to_record(caps, f, r).word[1] == 0xc000'0006'0000'0219);
    r.source = 0x0388;
    r.pasid = 3;
    r.access = read_write | privileged;
    f.code = reason::scalable_read_denied;
    CHECK(vtd::to_record(caps, f, r).word[1] == 0xc000'0386'b000'0388);
}

TEST_CASE("the record of a DMA fault: every kind of request, and PASIDs at both ends (B8, B10)") {
    vtd::capability_register cap;
    cap.set<"MGAW">(47);
    cap.set<"SAGAW">(0b0100);
    vtd::extended_capability_register ecap;
    ecap.set<"DT">(1);
    fault<reason> f;
    f.code = reason::scalable_read_denied;
    struct {
        request_type type;
        access rights;
        std::uint32_t pasid;
        std::uint64_t high; // without F, FR and SID
    } const cases[] = {
        {request_type::untranslated, write, vtd::no_pasid, 0},
        {request_type::untranslated, read, vtd::no_pasid, 0x4000'0000'0000'0000},
        {request_type::untranslated, read_write, vtd::no_pasid, 0x4000'0000'1000'0000},
        {request_type::untranslated, read | privileged | execute, vtd::no_pasid, 0x4000'0000'0000'0000},
        {request_type::untranslated, read, 0, 0x4000'0000'8000'0000},
        {request_type::untranslated, write | privileged, 0xfffff, 0x0fff'ff00'a000'0000},
        {request_type::untranslated, read | execute, 1, 0x4000'0100'c000'0000},
        {request_type::untranslated, read | privileged | execute, 1, 0x4000'0100'e000'0000},
        {request_type::untranslated, write | execute, 1, 0x0000'0100'8000'0000},
        {request_type::translation, read, vtd::no_pasid, 0x5000'0000'0000'0000},
        {request_type::translation, read | privileged, 2, 0x5000'0200'a000'0000},
        {request_type::translated, write, vtd::no_pasid, 0x2000'0000'0000'0000},
        {request_type::translated, read, vtd::no_pasid, 0x6000'0000'0000'0000},
        {request_type::page, read, vtd::no_pasid, 0x0000'0000'1000'0000},
        {request_type::page, write | privileged, 3, 0x0000'0300'b000'0000},
    };
    for (auto const& c : cases) {
        vtd::request r;
        r.source = 0x1234;
        r.address = iova{0xffff'8000'0000'1fff};
        r.type = c.type;
        r.access = c.rights;
        r.pasid = c.pasid;
        CAPTURE(c.high);
        auto const of = [&] { return vtd::to_record({cap.word[0], ecap.word[0], 46}, f, r); };
        ecap.set<"DT">(1);
        CHECK(of().word[1] == (c.high | 0x8000'0086'0000'1234));
        CHECK(of().word[0] == 0x8000'0000'1000); // above the widest table there is nothing
        // AT is a device-TLB's.
        ecap.set<"DT">(0);
        CHECK(of().word[1] == ((c.high & ~std::uint64_t{0x3000'0000'0000'0000}) | 0x8000'0086'0000'1234));
    }
    // A unit without second-stage tables records what its first stage translates.
    cap.set<"SAGAW">(0);
    vtd::request r;
    r.address = iova{0xff12'3456'789a'bcde};
    CHECK(vtd::to_record({cap.word[0], 0, 46}, f, r).word[0] == 0x3456'789a'b000);
    cap.set<"FS5LP">(1);
    CHECK(vtd::to_record({cap.word[0], 0, 46}, f, r).word[0] == 0x0112'3456'789a'b000);
}

TEST_CASE("interrupts are remapped and posted at compile time") {
    constexpr auto answer = [] {
        array<ipa, 512> m{ipa{0x1000}};
        (void)m.store(ipa{0x1010}, 0x0000'0500'0041'0001);
        (void)m.store(ipa{0x1018}, 0x4'0219);
        vtd::interrupt_remapping const unit{vtd::capabilities{0, 0, 46}, vtd::interrupt_table_address{0x1000}, m};
        return *unit.remap({0x0219, 0xfee0'0030, 0});
    }();
    CHECK(answer.address == 0xfee0'5000);
    constexpr bool due = [] {
        array<ipa, 8> m{ipa{0x1000}};
        return vtd::post(m, ipa{0x1000}, 7, false)->due;
    }();
    CHECK(due);
}

} // namespace stagewalk::test
