// Requests of every kind, in the order of the manual's steps: which of two simultaneous faults wins, the ranges that are no
// memory, the exclusion range, ATS, and where requests with and without PASID go.
#include "amdvi_unit.hpp"

#include <stagewalk/amdvi/ats.hpp>

#include <cstdint>
#include <vector>

namespace stagewalk::test {
namespace {

using amdvi::event;
using amdvi::request_type;

constexpr std::uint64_t first_interrupt = 0xfee0'0000;
constexpr std::uint64_t last_interrupt = 0xfeef'ffff;
constexpr std::uint64_t first_ht = 0xfd'0000'0000;
constexpr std::uint64_t last_ht = 0xff'ffff'ffff;

constexpr access every_access[]{read, write, read_write, execute, read | execute};

// The exclusion range, pages of these addresses included.
void exclude(amdvi_unit& u, std::uint64_t first, std::uint64_t last, bool everybody) {
    u.registers.exclusion_base = amdvi::exclusion_base_register{(first & ~std::uint64_t{0xfff}) | (everybody ? 3u : 1u)};
    u.registers.exclusion_limit = amdvi::exclusion_limit_register{last & ~std::uint64_t{0xfff}};
}

template <class Outcome>
bool is_interrupt(Outcome const& result, amdvi::request const& r) {
    return result && result->by == passage::interrupt && result->output.value == r.address.value &&
           result->effective.rights() == write;
}

amdvi::ats_completion complete(amdvi_unit& u, amdvi::request const& r) { return amdvi::to_completion(u.translate(r), r); }

// --- the order -----------------------------------------------------------------------------------------------------------------

// What a step of the manual's order makes of a request: the event, its reason, PR, PE, RZ and Type; a pass is an event of its
// own. With how many loads.
struct verdict_of {
    event code;
    std::uint64_t flags;
    std::uint64_t loads;
};

constexpr std::uint64_t some_flags = flag_pr | flag_pe | flag_rz | 0xe00;

struct step_of_order {
    char const* name;
    void (*spoil)(amdvi_unit&, amdvi::request&);
    verdict_of result;
    std::uint64_t address; // that it needs, or 0
    int pasid;             // 1: needs one, -1: needs none
};

step_of_order const order[] = {
    {"off", [](amdvi_unit& u, amdvi::request&) { u.registers.main.set<"IommuEn">(0); }, {amdvi_mapped, 0, 0}, 0, 0},
    {"interrupt window", [](amdvi_unit&, amdvi::request&) {}, {event::invalid_device_request, 0, 0}, 0xfee0'1000, -1},
    {"beyond the table",
     [](amdvi_unit& u, amdvi::request&) { u.registers.table[0] = amdvi::device_table_base_register{0x8000'0000}; },
     {event::illegal_dev_table_entry, 0, 0},
     0,
     0},
    {"unreadable entry",
     [](amdvi_unit& u, amdvi::request&) { u.memory.poison(u.dte_at + 16); },
     {event::dev_tab_hardware_error, 0x200, 3},
     0,
     0},
    {"not valid", [](amdvi_unit& u, amdvi::request&) { u.dte.set<"V">(0); }, {amdvi_mapped, 0, 4}, 0, 0},
    {"reserved bit",
     [](amdvi_unit& u, amdvi::request&) { u.dte.word[0] |= 4; },
     {event::illegal_dev_table_entry, flag_rz, 4},
     0,
     0},
    {"encoding", [](amdvi_unit& u, amdvi::request&) { u.dte.set<"IoCtl">(3); }, {event::illegal_dev_table_entry, 0, 4}, 0, 0},
    {"no ATS", [](amdvi_unit& u, amdvi::request&) { u.dte.set<"I">(0); }, {event::invalid_device_request, 0x200, 4}, 0, 0},
    {"HyperTransport",
     [](amdvi_unit& u, amdvi::request&) { u.rules.ht = amdvi::ht_range::reserved; },
     {event::invalid_device_request, 0xc00, 4},
     first_ht,
     -1},
    {"no translation", [](amdvi_unit& u, amdvi::request&) { u.dte.set<"TV">(0); }, {event::io_page_fault, 0, 4}, 0, 0},
    {"exclusion", [](amdvi_unit& u, amdvi::request&) { exclude(u, 0, every_bit >> 12, true); }, {amdvi_mapped, 0, 4}, 0, -1},
    {"PASID without guest", [](amdvi_unit&, amdvi::request& r) { r.pasid = 5; }, {event::invalid_device_request, 0xe00, 4}, 0, 1},
    {"beyond the tables", [](amdvi_unit&, amdvi::request&) {}, {event::io_page_fault, 0, 4}, first_ht, 0},
    {"reserved bit in a table",
     [](amdvi_unit& u, amdvi::request&) {
         u.dte.set<"Mode">(4);
         u.memory[0x100'0000] = 0x6010'0000'0000'0001; // below 2^39
         u.memory[0x100'0008] = 0x6010'0000'0000'0001;
     },
     {event::io_page_fault, flag_pr | flag_rz, 5},
     0,
     0},
};

} // namespace

TEST_CASE("amdvi order: of two faults at once, the one of the earlier step") {
    std::size_t const n = std::size(order);
    for (std::size_t i = 0; i < n; ++i)
        for (std::size_t j = i; j < n; ++j) {
            auto const& first = order[i];
            auto const& second = order[j];
            if (first.address != 0 && second.address != 0 && first.address != second.address) continue;
            if (first.pasid * second.pasid < 0) continue;
            if (i == n - 2 && j == n - 1) continue; // Mode 4 covers the address
            amdvi_unit u;
            auto r = u.ask();
            bool const ats = i == 7 || j == 7;
            if (ats) r.type = request_type::translation;
            if (first.address + second.address != 0) r.address = iova{first.address != 0 ? first.address : second.address};
            first.spoil(u, r);
            if (i != j) second.spoil(u, r);
            CAPTURE(first.name, second.name);
            auto const answer = u.translate(r);
            auto want = first.result;
            if (i == 0 && ats) want.code = event::none;
            if (i == 0 && ats) CHECK_FALSE(answer.error().reported);
            CHECK(amdvi_event(answer) == want.code);
            CHECK((amdvi_flags(answer) & some_flags) == want.flags);
            CHECK(u.memory.trail.size() == want.loads);
        }
}

TEST_CASE("amdvi order: identity without rights comes after all of the entry, and before no table") {
    amdvi_unit u{amdvi_kind::identity};
    u.dte.set<"IR">(0);
    u.dte.set<"IW">(0);
    CHECK(amdvi_flags(u.translate()) == (flag_pr | flag_pe));
    exclude(u, 0, every_bit >> 12, true);
    CHECK(amdvi_passes(u.translate(), u.ask()));
    u.dte.set<"TV">(0);
    CHECK(amdvi_flags(u.translate()) == 0);
}

TEST_CASE("amdvi order: a translated request needs I and nothing behind it") {
    for (auto const k : every_amdvi_kind) {
        amdvi_unit u{k};
        u.dte.set<"TV">(0);
        u.dte.set<"IR">(0);
        u.dte.set<"IW">(0);
        auto const r = u.typed(request_type::translated, read_write);
        CHECK(amdvi_passes(u.translate(r), r));
        CHECK(u.memory.trail.size() == 4);
        u.dte.set<"IoCtl">(3);
        CHECK(amdvi_event(u.translate(r)) == event::illegal_dev_table_entry);
        u.dte.set<"IoCtl">(0);
        u.dte.set<"I">(0);
        auto const answer = u.translate(r);
        CHECK(amdvi_type(answer) == 1);
        CHECK((amdvi_flags(answer) & flag_tr) == 0);
        CHECK(answer.error().descriptor == u.dte_at);
    }
}

// --- off -----------------------------------------------------------------------------------------------------------------------

TEST_CASE("amdvi IommuEn = 0: everything passes, interrupts too, and a translation request is refused without a word") {
    for (auto const k : every_amdvi_kind)
        for (std::uint64_t const at : {std::uint64_t{0}, first_interrupt, first_ht, every_bit})
            for (access const a : every_access) {
                amdvi_unit u{k};
                u.registers.main.set<"IommuEn">(0);
                u.rules.ht = amdvi::ht_range::reserved;
                u.dte.word[0] = every_bit;
                auto r = u.ask_at(at, a);
                CAPTURE(static_cast<int>(k), at, a.bits);
                auto const answer = u.translate(r);
                CHECK(amdvi_passes(answer, r));
                if (answer) CHECK(answer->effective.rights() == read_write);
                r.type = request_type::translated;
                CHECK(amdvi_passes(u.translate(r), r));
                r.type = request_type::translation;
                auto const asked = u.translate(r);
                CHECK(amdvi_event(asked) == event::none);
                CHECK_FALSE(asked.error().reported);
                CHECK(asked.error().input == at);
                CHECK(complete(u, r).status == amdvi::ats_status::unsupported_request);
                CHECK(u.memory.trail.empty());
            }
}

TEST_CASE("amdvi IommuEn: the other bits of the control register turn nothing on") {
    amdvi_unit u;
    u.registers.main = amdvi::control_register{~std::uint64_t{1}};
    CHECK(amdvi_passes(u.translate(), u.ask()));
    u.registers.main = amdvi::control_register{1};
    auto const answer = u.translate();
    REQUIRE(answer);
    CHECK(answer->by == passage::walked);
}

// --- the interrupt window ------------------------------------------------------------------------------------------------------

TEST_CASE("amdvi interrupt window: a plain write is an interrupt, all else is of type 0, and no entry is read") {
    for (auto const k : {amdvi_kind::identity, amdvi_kind::host})
        for (std::uint64_t const at : {first_interrupt, first_interrupt + 0x1000, last_interrupt})
            for (access const a : every_access)
                for (access const p : {none, privileged})
                    for (auto const type : {request_type::untranslated, request_type::translation}) {
                        amdvi_unit u{k};
                        auto r = u.ask_at(at, a | p);
                        r.type = type;
                        auto const answer = u.translate(r);
                        CAPTURE(static_cast<int>(k), at, a.bits, p.bits, static_cast<unsigned>(type));
                        CHECK(u.memory.trail.empty());
                        if (type == request_type::untranslated && a == write) {
                            CHECK(is_interrupt(answer, r));
                            continue;
                        }
                        bool const tr = type == request_type::translation;
                        check_words(answer, r, tr ? 0x8100'0000'0000'00a5 : 0x8000'0000'0000'00a5, at);
                    }
}

TEST_CASE("amdvi interrupt window: one byte below and one above are memory") {
    for (std::uint64_t const at : {first_interrupt - 1, last_interrupt + 1})
        for (access const a : {read, write}) {
            amdvi_unit u{amdvi_kind::identity};
            CHECK(amdvi_passes(u.translate_at(at, a), u.ask_at(at, a)));
            CHECK(u.memory.trail.size() == 4);
        }
    // And so are the aliases of the window above 4 GiB.
    amdvi_unit u{amdvi_kind::identity};
    CHECK(amdvi_passes(u.translate_at(0x1'fee0'0000, write), u.ask_at(0x1'fee0'0000, write)));
}

TEST_CASE("amdvi interrupt window: not for requests with PASID, nor translated ones, nor where it is turned off") {
    amdvi_unit u{amdvi_kind::identity};
    auto const r = [&] {
        auto q = u.ask_at(first_interrupt, write);
        q.type = request_type::translated;
        return q;
    }();
    CHECK(amdvi_passes(u.translate(r), r));
    CHECK(u.memory.trail.size() == 4);
    u.interrupt_range = false;
    for (access const a : every_access)
        CHECK(amdvi_passes(u.translate_at(first_interrupt, a), u.ask_at(first_interrupt, a)));
    for (auto const k : {amdvi_kind::guest, amdvi_kind::nested}) {
        amdvi_unit v{k};
        auto const answer = v.translate_at(first_interrupt, write); // with PASID
        CHECK(amdvi_event(answer) == event::io_page_fault);
        CHECK(v.memory.trail.size() > 4);
        v.by_default();
        auto const untagged = v.untagged(first_interrupt, write);
        CHECK(is_interrupt(v.translate(untagged), untagged));
    }
}

// --- HyperTransport ------------------------------------------------------------------------------------------------------------

TEST_CASE("amdvi HyperTransport range: ordinary memory by default, and where EFR2 says to ignore it") {
    for (bool const ignored : {false, true}) {
        amdvi_unit u{amdvi_kind::identity};
        if (ignored) {
            u.rules.ht = amdvi::ht_range::reserved;
            u.efr2.set<"HTRangeIgnore">(1);
        }
        for (std::uint64_t const at :
             {first_ht, std::uint64_t{0xfd'f800'0000}, std::uint64_t{0xfd'f910'0000}, std::uint64_t{0xfd'fc00'0000}, last_ht})
            for (access const a : {read, write}) {
                CAPTURE(ignored, at, a.bits);
                CHECK(amdvi_passes(u.translate_at(at, a), u.ask_at(at, a)));
            }
    }
}

TEST_CASE("amdvi HyperTransport range: its parts and their borders") {
    struct {
        std::uint64_t at;
        unsigned type; // of a plain read, with SysMgt = 0, IoCtl = 0; 99: memory
    } const cases[] = {
        {first_ht - 1, 99},
        {first_ht, 6},
        {0xfd'f7ff'ffff, 6},
        {0xfd'f800'0000, 0},
        {0xfd'f8ff'ffff, 0},
        {0xfd'f900'0000, 6},
        {0xfd'f90f'ffff, 6},
        {0xfd'f910'0000, 4},
        {0xfd'f91f'ffff, 4},
        {0xfd'f920'0000, 6},
        {0xfd'fbff'ffff, 6},
        {0xfd'fc00'0000, 2},
        {0xfd'fdff'ffff, 2},
        {0xfd'fe00'0000, 6},
        {last_ht, 6},
        {last_ht + 1, 99},
        {0xfd'ffff'ffff, 6},
        {0xfe'0000'0000, 6},
        {first_interrupt + 0x100'0000'0000, 99},
    };
    for (auto const& c : cases) {
        amdvi_unit u{amdvi_kind::identity};
        u.rules.ht = amdvi::ht_range::reserved;
        auto const answer = u.translate_at(c.at);
        CAPTURE(c.at);
        CHECK(amdvi_type(answer) == c.type);
        if (c.type == 99) CHECK(amdvi_passes(answer, u.ask_at(c.at)));
        if (!answer) check_words(answer, u.ask_at(c.at), 0x8000'0000'0000'00a5 | std::uint64_t{c.type} << 57, c.at);
    }
}

TEST_CASE("amdvi HyperTransport interrupts: a plain write passes unless IntCtl closes it") {
    for (bool const iv : {false, true})
        for (std::uint64_t control = 0; control < 4; ++control)
            for (access const a : every_access)
                for (auto const type : {request_type::untranslated, request_type::translation}) {
                    amdvi_unit u{amdvi_kind::identity};
                    u.rules.ht = amdvi::ht_range::reserved;
                    u.dte.set<"IV">(iv);
                    u.dte.set<"IntCtl">(control);
                    auto r = u.ask_at(0xfd'f800'1000, a);
                    r.type = type;
                    CAPTURE(iv, control, a.bits, static_cast<unsigned>(type));
                    auto const answer = u.translate(r);
                    bool const plain = a == write && type == request_type::untranslated;
                    if (!plain)
                        CHECK(amdvi_type(answer) == 0);
                    else if (iv && control == 0)
                        CHECK(amdvi_type(answer) == 5);
                    else
                        CHECK(is_interrupt(answer, r));
                }
}

TEST_CASE("amdvi HyperTransport system management: SysMgt") {
    struct {
        std::uint64_t rule;
        unsigned of_write; // the type; 99 passes
        unsigned of_others;
        unsigned of_asking;
    } const cases[] = {{0, 3, 4, 4}, {1, 99, 99, 4}, {2, 99, 4, 4}, {3, 99, 99, 99}};
    for (auto const& c : cases)
        for (access const a : every_access)
            for (auto const type : {request_type::untranslated, request_type::translation}) {
                amdvi_unit u{amdvi_kind::identity};
                u.rules.ht = amdvi::ht_range::reserved;
                u.dte.set<"SysMgt">(c.rule);
                auto r = u.ask_at(0xfd'f910'0000, a);
                r.type = type;
                CAPTURE(c.rule, a.bits, static_cast<unsigned>(type));
                auto const answer = u.translate(r);
                bool const asks = type == request_type::translation;
                CHECK(amdvi_type(answer) == (asks ? c.of_asking : a == write ? c.of_write : c.of_others));
                // Only SysMgt = 3 asks the entry for rights.
                u.dte.set<"IR">(0);
                u.dte.set<"IW">(0);
                auto const strict = u.translate(r);
                if (answer && !asks) CHECK(amdvi_passes(strict, r) == (c.rule != 3));
            }
}

TEST_CASE("amdvi HyperTransport port I/O: IoCtl") {
    for (std::uint64_t rule = 0; rule < 3; ++rule)
        for (access const a : every_access)
            for (auto const type : {request_type::untranslated, request_type::translation}) {
                amdvi_unit u{amdvi_kind::identity};
                u.rules.ht = amdvi::ht_range::reserved;
                u.dte.set<"IoCtl">(rule);
                u.dte.set<"IR">(0);
                u.dte.set<"IW">(0);
                auto r = u.ask_at(0xfd'fc00'0000, a);
                r.type = type;
                CAPTURE(rule, a.bits, static_cast<unsigned>(type));
                auto const answer = u.translate(r);
                bool const asks = type == request_type::translation;
                if (rule == 2)
                    CHECK((asks ? amdvi_mapped : event::io_page_fault) == amdvi_event(answer));
                else if (rule == 1 && !asks)
                    CHECK(amdvi_passes(answer, r));
                else
                    CHECK(amdvi_type(answer) == 2);
            }
}

TEST_CASE("amdvi HyperTransport range: judged before TV, not for requests with PASID, nor for translated ones") {
    amdvi_unit u{amdvi_kind::identity};
    u.rules.ht = amdvi::ht_range::reserved;
    u.dte.set<"TV">(0);
    u.dte.set<"IoCtl">(1);
    CHECK(amdvi_passes(u.translate_at(0xfd'fc00'0000), u.ask_at(0xfd'fc00'0000)));
    u.dte.set<"IoCtl">(2);
    CHECK(amdvi_event(u.translate_at(0xfd'fc00'0000)) == event::io_page_fault);
    auto r = u.ask_at(first_ht);
    r.type = request_type::translated;
    CHECK(amdvi_passes(u.translate(r), r));
    u.dte.set<"V">(0);
    CHECK(amdvi_passes(u.translate_at(first_ht), u.ask_at(first_ht)));
    amdvi_unit v{amdvi_kind::guest};
    v.rules.ht = amdvi::ht_range::reserved;
    CHECK(amdvi_event(v.translate_at(first_ht)) == event::io_page_fault);
}

// --- the exclusion range -------------------------------------------------------------------------------------------------------

TEST_CASE("amdvi example E19b: the exclusion range reaches to the last byte of its last page") {
    amdvi_unit u;
    u.dte.word[0] = 0x6000'0000'0100'0603;
    u.dte.word[1] = 0x0000'0080'0000'0011;
    u.registers.exclusion_base = amdvi::exclusion_base_register{0xa000'0001};
    u.registers.exclusion_limit = amdvi::exclusion_limit_register{0xa0ff'f000};
    for (std::uint64_t const at : {0xa000'0000, 0xa0ff'ffff, 0xa080'0000})
        for (access const a : every_access) {
            CAPTURE(at, a.bits);
            CHECK(amdvi_passes(u.translate_at(at, a), u.ask_at(at, a)));
            CHECK(u.memory.trail.size() == 4);
        }
    u.memory[0x100'0010] = 0;
    for (std::uint64_t const at : {0x9fff'ffff, 0xa100'0000}) {
        CHECK(amdvi_event(u.translate_at(at, write)) == event::io_page_fault);
        CHECK(u.memory.trail.size() == 5);
    }
    // The low bits of both registers are no address.
    u.registers.exclusion_base = amdvi::exclusion_base_register{0xfff0'0000'a000'0ffd};
    u.registers.exclusion_limit = amdvi::exclusion_limit_register{0xfff0'0000'a0ff'ffff};
    CHECK(u.translate_at(0xa000'0000));
    CHECK(u.translate_at(0xa0ff'ffff));
    CHECK_FALSE(u.translate_at(0x9fff'ffff));
    CHECK_FALSE(u.translate_at(0xa100'0000));
}

TEST_CASE("amdvi exclusion range: for devices with EX, or all by Allow, where ExEn is set and SNPSup is not") {
    for (unsigned bits = 0; bits < 16; ++bits) {
        bool const enabled = (bits & 1) != 0;
        bool const allow = (bits & 2) != 0;
        bool const ex = (bits & 4) != 0;
        bool const snp = (bits & 8) != 0;
        amdvi_unit u;
        u.registers.exclusion_base = amdvi::exclusion_base_register{0xa000'0000 | (bits & 3)};
        u.registers.exclusion_limit = amdvi::exclusion_limit_register{0xa000'0000};
        u.dte.set<"EX">(ex);
        u.efr.set<"SNPSup">(snp);
        CAPTURE(enabled, allow, ex, snp);
        bool const passes = enabled && !snp && (allow || ex);
        CHECK(amdvi_passes(u.translate_at(0xa000'0123, write), u.ask_at(0xa000'0123, write)) == passes);
    }
}

TEST_CASE("amdvi exclusion range: empty where the limit is below the base, all where it is all") {
    amdvi_unit u;
    exclude(u, 0xa000'1000, 0xa000'0000, true);
    CHECK_FALSE(u.translate_at(0xa000'0000));
    CHECK_FALSE(u.translate_at(0xa000'1000));
    exclude(u, 0xa000'0000, 0xa000'0000, true); // one page
    CHECK(u.translate_at(0xa000'0fff));
    CHECK_FALSE(u.translate_at(0xa000'1000));
    exclude(u, 0, 0x000f'ffff'ffff'f000, true);
    CHECK(u.translate_at(0));
    CHECK(u.translate_at(0x000f'ffff'ffff'ffff));
    CHECK_FALSE(u.translate_at(0x0010'0000'0000'0000));
    u.registers.exclusion_base = amdvi::exclusion_base_register{2}; // no ExEn
    CHECK(u.registers.excluded(u.caps()).empty());
}

TEST_CASE("amdvi exclusion range: every request, or by policy translation requests alone, but none with PASID") {
    for (auto const policy : {amdvi::exclusion::all, amdvi::exclusion::translations})
        for (auto const k : every_amdvi_kind) {
            amdvi_unit u{k};
            u.by_default();
            u.rules.excluded = policy;
            exclude(u, u.guest_at & 0xffff'ffff'f000, u.guest_at, false);
            u.dte.set<"EX">(1);
            auto r = u.untagged(u.guest_at, write);
            CAPTURE(static_cast<unsigned>(policy), static_cast<int>(k));
            bool const plain = policy == amdvi::exclusion::all || k == amdvi_kind::identity;
            CHECK(amdvi_passes(u.translate(r), r) == plain);
            r.type = request_type::translation;
            CHECK(amdvi_passes(u.translate(r), r));
            // With PASID, guest tables know the address.
            if (!u.has_guest()) continue;
            r.pasid = u.pasid;
            CHECK_FALSE(amdvi_passes(u.translate(r), r));
        }
}

TEST_CASE("amdvi exclusion range: it passes with all rights, whatever the entry grants, but not before TV") {
    amdvi_unit u{amdvi_kind::identity};
    exclude(u, 0xa000'0000, 0xa000'0000, true);
    u.dte.set<"IR">(0);
    u.dte.set<"IW">(0);
    auto const answer = u.translate_at(0xa000'0000, read_write);
    REQUIRE(answer);
    CHECK(answer->effective.rights() == read_write);
    u.dte.set<"TV">(0);
    CHECK(amdvi_event(u.translate_at(0xa000'0000)) == event::io_page_fault);
    u.dte.set<"V">(0);
    CHECK(u.translate_at(0xa000'0000));
}

// --- identity ------------------------------------------------------------------------------------------------------------------

TEST_CASE("amdvi example E19: identity with IR alone") {
    amdvi_unit u{amdvi_kind::identity};
    u.dte = {};
    u.dte.word[0] = 0x2000'0000'0000'0003;
    u.dte.word[1] = 0x11;
    CHECK(amdvi_passes(u.translate_at(0xdea'dbee'f000), u.ask_at(0xdea'dbee'f000)));
    check_words(u.translate_at(0xdea'dbee'f000, write), u.ask_at(0xdea'dbee'f000, write), 0x2070'0011'0000'00a5, 0xdea'dbee'f000);
    u.dte = {}; // E19a
    CHECK(amdvi_passes(u.translate_at(0xdea'dbee'f000, write), u.ask_at(0xdea'dbee'f000, write)));
}

TEST_CASE("amdvi identity: IR and IW grant, all 64 bits pass, and a translation request is told the rights") {
    for (std::uint64_t rights = 0; rights < 4; ++rights)
        for (access const a : every_access)
            for (std::uint64_t const at : {std::uint64_t{0}, std::uint64_t{0x1234'5678}, every_bit}) {
                amdvi_unit u{amdvi_kind::identity};
                u.dte.set<"IR">(rights & 1);
                u.dte.set<"IW">(rights >> 1);
                // An instruction is read.
                std::uint64_t const need = (a.covers(write) ? 2u : 0u) | (a.covers(read) || a.covers(execute) ? 1u : 0u);
                auto r = u.ask_at(at, a);
                CAPTURE(rights, a.bits, at);
                auto const answer = u.translate(r);
                if ((need & ~rights) == 0) {
                    CHECK(amdvi_passes(answer, r));
                    CHECK(answer->effective.rights() == access{rights});
                } else {
                    CHECK(amdvi_event(answer) == event::io_page_fault);
                    CHECK(amdvi_flags(answer) == (flag_pr | flag_pe | (a.covers(write) ? flag_rw : 0)));
                    CHECK(answer.error().descriptor == u.dte_at);
                    CHECK(answer.error().reported);
                }
                r.type = request_type::translation;
                auto const asked = u.translate(r);
                REQUIRE(asked);
                CHECK(asked->output.value == at);
                CHECK(asked->effective.rights() == access{rights});
            }
}

// --- routes --------------------------------------------------------------------------------------------------------------------

TEST_CASE("amdvi routes: requests with and without PASID for each GV and GIoV") {
    // What the three cells say without and with PASID: host or identity 0, guest 1, type 7 2.
    struct {
        bool gv;
        bool giov;
        int untagged;
        int tagged;
    } const cases[] = {{false, false, 0, 2}, {false, true, 0, 2}, {true, false, 0, 1}, {true, true, 1, 1}};
    for (auto const& c : cases)
        for (auto const k : {amdvi_kind::guest, amdvi_kind::nested})
            for (bool const tagged : {false, true})
                for (access const a : {read, write}) {
                    amdvi_unit u{k};
                    u.by_default();
                    u.dte.set<"GV">(c.gv);
                    u.dte.set<"GIoV">(c.giov);
                    int const want = tagged ? c.tagged : c.untagged;
                    auto r = u.untagged(want == 0 ? u.g[u.page] : u.guest_at, a);
                    if (tagged) r.pasid = u.pasid;
                    CAPTURE(c.gv, c.giov, static_cast<int>(k), tagged, a.bits);
                    auto const answer = u.translate(r);
                    if (want == 2) {
                        check_words(answer, r, 0x8e01'2345'0001'00a5, u.guest_at);
                        CHECK(u.memory.trail.size() == 4);
                        r.type = request_type::translation;
                        check_words(u.translate(r), r, 0x8f01'2345'0001'00a5, u.guest_at);
                        continue;
                    }
                    REQUIRE(answer);
                    CHECK(answer->output.value == u.where(u.page));
                    CHECK((answer->by == passage::bypassed) == (want == 0 && k == amdvi_kind::guest));
                }
}

TEST_CASE("amdvi routes: a PASID finds its own tables, and PASID 0 with PASID is not a request without") {
    amdvi_unit u{amdvi_kind::guest};
    auto r = u.ask();
    r.pasid = 0; // no GIoV is needed
    u.memory[0x500'0000] = 0x500'1001;
    u.memory[0x500'1000] = 0x600'0001;
    CHECK(u.translate(r));
    CHECK(u.memory.trail[4] == 0x500'0000);
    CHECK(u.memory.trail[5] == 0x500'1000);
    r.pasid = amdvi::no_pasid;
    CHECK(amdvi_passes(u.translate(r), r));
}

TEST_CASE("amdvi examples E23 to E25: PASIDs and their GCR3 tables") {
    struct {
        std::uint64_t glx;
        std::uint32_t pasid;
        std::vector<std::uint64_t> offsets;
    } const cases[] = {{0, 0x123, {0x918}}, {1, 0x1'2345, {0x488, 0xa28}}, {2, 0xa'bcde, {0x10, 0xaf0, 0x6f0}},
                       {0, 0x1ff, {0xff8}}, {1, 0x3'ffff, {0xff8, 0xff8}}, {2, 0xf'ffff, {0x18, 0xff8, 0xff8}}};
    for (auto const& c : cases) {
        amdvi_unit u{amdvi_kind::guest};
        u.dte.set<"GLX">(c.glx);
        u.dte.set_gcr3_root(0xa00'0000);
        std::uint64_t table = 0xa00'0000;
        for (std::size_t i = 0; i < c.offsets.size(); ++i) {
            bool const last = i + 1 == c.offsets.size();
            u.memory[table + c.offsets[i]] = last ? 0x600'0001 : table + 0x1001;
            table += 0x1000;
        }
        auto r = u.ask();
        r.pasid = c.pasid;
        CAPTURE(c.glx, c.pasid);
        CHECK(u.translate(r));
        for (std::size_t i = 0; i < c.offsets.size(); ++i)
            CHECK(u.memory.trail[4 + i] == 0xa00'0000 + i * 0x1000 + c.offsets[i]);
        CHECK(u.memory.attempts == 0); // GCR3 tables have no accessed bit
    }
}

TEST_CASE("amdvi PASID: beyond GLX or PASmax it is not present and does not alias") {
    struct {
        std::uint64_t glx;
        std::uint64_t max;
        std::uint32_t pasid;
        bool fits;
    } const cases[] = {{0, 19, 0x1ff, true},     {0, 19, 0x200, false},    {0, 19, 0x8'0123, false}, {1, 19, 0x3'ffff, true},
                       {1, 19, 0x4'0000, false}, {1, 19, 0xa'bcde, false}, {2, 19, 0xf'ffff, true},  {2, 19, 0x10'0000, false},
                       {2, 15, 0xffff, true},    {2, 15, 0x1'0000, false}, {0, 7, 0xff, true},       {0, 7, 0x100, false},
                       {1, 0, 1, true},          {1, 0, 2, false}};
    for (auto const& c : cases)
        for (auto const k : {amdvi_kind::guest, amdvi_kind::nested})
            for (access const a : {read, write}) {
                amdvi_unit u{k};
                u.dte.set<"GLX">(c.glx);
                u.efr.set<"PASmax">(c.max);
                auto r = u.ask(a);
                r.pasid = c.pasid;
                CAPTURE(c.glx, c.max, c.pasid, a.bits);
                auto const answer = u.translate(r);
                bool const refused = u.memory.trail.size() == 4;
                CHECK(refused == !c.fits);
                if (c.fits) continue;
                CHECK(amdvi_event(answer) == event::io_page_fault);
                CHECK(amdvi_flags(answer) == (flag_gn | flag_us | (a == write ? flag_rw : 0)));
                r.type = request_type::translation;
                CHECK(complete(u, r).status == amdvi::ats_status::success);
            }
}

TEST_CASE("amdvi addresses: canonical with a PASID, unsigned with PASID 0, refused before a guest table is read") {
    struct {
        std::uint64_t gpm;
        bool zero;
        std::uint64_t at;
        bool fits;
    } const cases[] = {
        {0, false, 0x0000'7fff'ffff'ffff, true},
        {0, false, 0x0000'8000'0000'0000, false},
        {0, false, 0xffff'8000'0000'0000, true},
        {0, false, 0xffff'7fff'ffff'ffff, false},
        {0, false, every_bit, true},
        {0, true, 0x0000'ffff'ffff'ffff, true},
        {0, true, 0x0001'0000'0000'0000, false},
        {0, true, every_bit, false},
        {0, true, 0xffff'8000'0000'0000, false},
        {0, true, 0x0000'8000'0000'0000, true},
        {1, false, 0x00ff'ffff'ffff'ffff, true},
        {1, false, 0x0100'0000'0000'0000, false},
        {1, false, 0xff00'0000'0000'0000, true},
        {1, false, 0xfeff'ffff'ffff'ffff, false},
        {1, true, 0x01ff'ffff'ffff'ffff, true},
        {1, true, 0x0200'0000'0000'0000, false},
        {1, false, 0x0000'8000'0000'0000, true},
        {1, true, 0xff00'0000'0000'0000, false},
    };
    for (auto const& c : cases)
        for (bool const tagged : {false, true}) {
            if (!c.zero && !tagged) continue;
            amdvi_unit u{amdvi_kind::guest};
            u.by_default();
            u.dte.set<"GPM">(c.gpm);
            auto r = u.ask_at(c.at, write);
            r.pasid = !tagged ? amdvi::no_pasid : c.zero ? 0 : u.pasid;
            CAPTURE(c.gpm, c.zero, c.at, tagged);
            auto const answer = u.translate(r);
            CHECK(amdvi_event(answer) == event::io_page_fault); // not mapped
            CHECK(amdvi_flags(answer) == (flag_gn | flag_us | flag_rw));
            CHECK(u.memory.trail.size() == (c.fits ? 7 : 6));
            CHECK((answer.error().descriptor == 0) == !c.fits);
        }
}

// --- what is told, and what is not ---------------------------------------------------------------------------------------------

TEST_CASE("amdvi SA and SE: page faults are silent, or say that they are the device's last, other events care for neither") {
    struct {
        amdvi_kind kind;
        void (*spoil)(amdvi_unit&);
        event code;
        bool silent;
    } const cases[] = {
        {amdvi_kind::identity, [](auto& u) { u.dte.template set<"IW">(0); }, event::io_page_fault, true},
        {amdvi_kind::host, [](auto& u) { u.memory[u.h1] = 0; }, event::io_page_fault, true},
        {amdvi_kind::host, [](auto& u) { u.memory[u.h1] |= one_bit(52); }, event::io_page_fault, true},
        {amdvi_kind::host, [](auto& u) { u.memory[u.h2] = 0x6000'0000'0100'1401; }, event::io_page_fault, true},
        {amdvi_kind::host, [](auto& u) { u.dte.template set<"TV">(0); }, event::io_page_fault, true},
        {amdvi_kind::host, [](auto& u) { u.memory.remove(u.h2); }, event::page_tab_hardware_error, false},
        {amdvi_kind::guest, [](auto& u) { u.entry(0) = 0; }, event::io_page_fault, true},
        {amdvi_kind::guest, [](auto& u) { u.entry(5) = 0; }, event::io_page_fault, true},
        {amdvi_kind::guest, [](auto& u) { u.memory.remove(u.where(2)); }, event::page_tab_hardware_error, false},
        {amdvi_kind::guest, [](auto& u) { u.memory.remove(u.where(1)); }, event::page_tab_hardware_error, false},
        {amdvi_kind::guest, [](auto& u) { u.dte.template set<"GV">(0); }, event::invalid_device_request, false},
        {amdvi_kind::nested, [](auto& u) { u.leaf(3) = 0; }, event::io_page_fault, true},
        {amdvi_kind::nested, [](auto& u) { u.leaf(6) = 0; }, event::io_page_fault, true},
        {amdvi_kind::nested, [](auto& u) { u.leaf(0) = 0; }, event::io_page_fault, true},
        {amdvi_kind::nested, [](auto& u) { u.memory.remove(u.leaves[6]); }, event::page_tab_hardware_error, false},
        {amdvi_kind::host, [](auto& u) { u.dte.template set<"IoCtl">(3); }, event::illegal_dev_table_entry, false},
        {amdvi_kind::host, [](auto& u) { u.memory.poison(u.dte_at); }, event::dev_tab_hardware_error, false},
    };
    unsigned row = 0;
    for (auto const& c : cases) {
        for (bool const sa : {false, true})
            for (bool const se : {false, true}) {
                amdvi_unit u{c.kind};
                u.dte.set<"SA">(sa);
                u.dte.set<"SE">(se);
                c.spoil(u);
                CAPTURE(row, sa, se);
                auto const answer = u.translate(write);
                CHECK(amdvi_event(answer) == c.code);
                CHECK(answer.error().reported == !(sa && c.silent));
                CHECK(((answer.error().detail & amdvi::fault_detail::once) != 0) == (se && c.silent && !sa));
                // The event itself does not tell.
                CHECK((amdvi::to_record(answer.error(), u.ask()).word[0] & 0xffff) == u.device);
            }
        ++row;
    }
}

TEST_CASE("amdvi translation requests: what is missing is an answer, what is broken an event with TR") {
    struct {
        amdvi_kind kind;
        void (*spoil)(amdvi_unit&);
        event code;
        bool reported;
        amdvi::ats_status status;
    } const cases[] = {
        {amdvi_kind::host, [](auto& u) { u.memory[u.h1] = 0; }, event::io_page_fault, false, amdvi::ats_status::success},
        {amdvi_kind::host, [](auto& u) { u.memory[u.h3] = 0; }, event::io_page_fault, false, amdvi::ats_status::success},
        {amdvi_kind::host, [](auto& u) { u.dte.template set<"TV">(0); }, event::io_page_fault, false, amdvi::ats_status::success},
        {amdvi_kind::host, [](auto& u) { u.dte.template set<"Mode">(2); }, event::io_page_fault, false,
         amdvi::ats_status::success},
        {amdvi_kind::host, [](auto& u) { u.memory[u.h1] |= one_bit(52); }, event::io_page_fault, true,
         amdvi::ats_status::completer_abort},
        {amdvi_kind::host, [](auto& u) { u.memory[u.h2] = 0x6000'0000'0100'1401; }, event::io_page_fault, true,
         amdvi::ats_status::completer_abort},
        {amdvi_kind::host, [](auto& u) { u.memory.remove(u.h3); }, event::page_tab_hardware_error, true,
         amdvi::ats_status::completer_abort},
        {amdvi_kind::host, [](auto& u) { u.memory.poison(u.dte_at); }, event::dev_tab_hardware_error, true,
         amdvi::ats_status::completer_abort},
        {amdvi_kind::host, [](auto& u) { u.dte.template set<"HAD">(2); }, event::illegal_dev_table_entry, true,
         amdvi::ats_status::completer_abort},
        {amdvi_kind::host, [](auto& u) { u.dte.template set<"I">(0); }, event::invalid_device_request, true,
         amdvi::ats_status::unsupported_request},
        {amdvi_kind::guest, [](auto& u) { u.dte.template set<"GV">(0); }, event::invalid_device_request, true,
         amdvi::ats_status::unsupported_request},
        {amdvi_kind::guest, [](auto& u) { u.entry(1) = 0; }, event::io_page_fault, false, amdvi::ats_status::success},
        {amdvi_kind::guest, [](auto& u) { u.entry(1) |= 2; }, event::io_page_fault, true, amdvi::ats_status::completer_abort},
        {amdvi_kind::guest, [](auto& u) { u.entry(2) = 0; }, event::io_page_fault, false, amdvi::ats_status::success},
        {amdvi_kind::guest, [](auto& u) { u.entry(2) |= 0x80; }, event::io_page_fault, true, amdvi::ats_status::completer_abort},
        {amdvi_kind::nested, [](auto& u) { u.leaf(0) = 0; }, event::io_page_fault, false, amdvi::ats_status::success},
        {amdvi_kind::nested, [](auto& u) { u.leaf(2) = 0; }, event::io_page_fault, false, amdvi::ats_status::success},
        {amdvi_kind::nested, [](auto& u) { u.leaf(4) &= ~one_bit(61); }, event::io_page_fault, false, amdvi::ats_status::success},
        {amdvi_kind::nested, [](auto& u) { u.leaf(6) = 0; }, event::io_page_fault, false, amdvi::ats_status::success},
        {amdvi_kind::nested, [](auto& u) { u.leaf(6) |= one_bit(55); }, event::io_page_fault, true,
         amdvi::ats_status::completer_abort},
        {amdvi_kind::nested, [](auto& u) { u.memory.remove(u.where(3)); }, event::page_tab_hardware_error, true,
         amdvi::ats_status::completer_abort},
    };
    unsigned row = 0;
    for (auto const& c : cases) {
        amdvi_unit u{c.kind};
        c.spoil(u);
        CAPTURE(row);
        auto const answer = u.translate(u.ats());
        CHECK(amdvi_event(answer) == c.code);
        CHECK(answer.error().reported == c.reported);
        CHECK((amdvi_flags(answer) & flag_tr) != 0);
        auto const told = complete(u, u.ats());
        amdvi::ats_completion want;
        want.status = c.status;
        CHECK(told == want);
        // The first of a device with SE is one that is told.
        u.dte.set<"SE">(1);
        auto const again = u.translate(u.ats());
        bool const is_last = c.reported && c.code == event::io_page_fault;
        CHECK(((again.error().detail & amdvi::fault_detail::once) != 0) == is_last);
        // Silence does not change the answer.
        u.dte.set<"SA">(1);
        CHECK(complete(u, u.ats()) == want);
        ++row;
    }
}

// --- ATS completions -----------------------------------------------------------------------------------------------------------

TEST_CASE("amdvi ATS: the rights of host tables, however they are withheld") {
    for (unsigned where = 0; where < 4; ++where)
        for (std::uint64_t rights = 0; rights < 4; ++rights)
            for (access const a : {read, read_write}) {
                amdvi_unit u;
                std::uint64_t const kept = ~(std::uint64_t{3} << 61) | rights << 61;
                if (where == 0) u.dte.word[0] &= kept;
                if (where == 1) u.memory[u.h3] &= kept;
                if (where == 2) u.memory[u.h2] &= kept;
                if (where == 3) u.memory[u.h1] &= kept;
                CAPTURE(where, rights, a.bits);
                auto const c = complete(u, u.ats(a));
                CHECK(c.status == amdvi::ats_status::success);
                CHECK(c.read == ((rights & 1) != 0));
                CHECK(c.write == ((rights & 2) != 0));
                CHECK_FALSE(c.execute);
                CHECK_FALSE(c.privileged);
                CHECK_FALSE(c.untranslated_only);
                CHECK(c.address == (rights == 0 ? 0 : 0x9abc'd000));
                CHECK(c.lg2_size == 12);
            }
}

TEST_CASE("amdvi ATS: page sizes, and U of the host page") {
    amdvi_unit u;
    u.memory[u.h2] = 0x6800'0000'c020'0001; // U, 2 MiB
    auto c = complete(u, u.ats());
    CHECK(c.untranslated_only);
    CHECK(c.address == 0xc020'0000);
    CHECK(c.lg2_size == 21);
    u.memory[u.h2] = 0x6000'0000'401f'fe01; // 4 MiB
    c = complete(u, u.ats());
    CHECK_FALSE(c.untranslated_only);
    CHECK(c.address == 0x4000'0000);
    CHECK(c.lg2_size == 22);
    u.memory[u.h2] = 0x0800'0000'c020'0001; // nothing is granted: nothing is told
    c = complete(u, u.ats());
    CHECK(c == amdvi::ats_completion{});
    amdvi_unit v{amdvi_kind::nested};
    v.leaf(6) |= one_bit(59);
    CHECK(complete(v, v.ats()).untranslated_only);
    v.leaf(6) ^= one_bit(59);
    v.leaf(5) |= one_bit(59); // of a table it is not told
    CHECK_FALSE(complete(v, v.ats()).untranslated_only);
}

TEST_CASE("amdvi ATS: what is not translated is one small page") {
    struct {
        void (*set)(amdvi_unit&);
        bool read;
        bool write;
    } const cases[] = {
        {[](auto& u) { u.dte.template set<"V">(0); }, true, true},
        {[](auto&) {}, true, true},
        {[](auto& u) { u.dte.template set<"IR">(0); }, false, true},
        {[](auto& u) { u.dte.template set<"IW">(0); }, true, false},
        {[](auto& u) { exclude(u, 0, every_bit >> 12, true); }, true, true},
    };
    for (auto const& k : cases) {
        amdvi_unit u{amdvi_kind::identity};
        k.set(u);
        auto const c = complete(u, u.ats());
        CHECK(c.status == amdvi::ats_status::success);
        CHECK(c.read == k.read);
        CHECK(c.write == k.write);
        CHECK(c.address == 0x7'2345'6000);
        CHECK(c.lg2_size == 12);
    }
}

TEST_CASE("amdvi ATS: read, write, execute and privilege of guest tables") {
    for (auto const k : {amdvi_kind::guest, amdvi_kind::nested})
        for (bool const rw : {false, true})
            for (bool const us : {false, true})
                for (bool const nx : {false, true})
                    for (access const p : {none, privileged})
                        for (access const x : {none, execute})
                            for (bool const knows : {false, true}) {
                                amdvi_unit u{k};
                                u.efr.set<"USSup">(knows);
                                u.entry(4) = 0x600'3021 | (rw ? 2u : 0u) | (us ? 4u : 0u) | (nx ? one_bit(63) : 0);
                                auto const r = u.ats(read_write | p | x);
                                auto const c = complete(u, r);
                                CAPTURE(static_cast<int>(k), rw, us, nx, p.bits, x.bits, knows);
                                bool const in = us || (p == privileged && knows);
                                CHECK(c.status == amdvi::ats_status::success);
                                CHECK(c.read == in);
                                CHECK(c.write == (in && rw));
                                CHECK(c.execute == (in && !nx && x == execute));
                                CHECK(c.privileged == (p == privileged));
                                CHECK(c.address == (in ? u.to() & ~std::uint64_t{0xfff} : 0));
                            }
}

TEST_CASE("amdvi ATS: host rights withhold execution with reading, and a request without PASID is told of neither") {
    amdvi_unit u{amdvi_kind::nested};
    u.leaf(6) &= ~one_bit(61);
    auto c = complete(u, u.ats(read_write | execute));
    CHECK_FALSE(c.read);
    CHECK_FALSE(c.execute);
    CHECK(c.write);
    u.dte.set<"IW">(0);
    c = complete(u, u.ats(read_write | execute));
    CHECK_FALSE(c.write);
    CHECK(c.address == 0);
    amdvi_unit v{amdvi_kind::guest};
    v.by_default();
    auto r = v.untagged(v.guest_at, read_write | execute | privileged);
    r.type = request_type::translation;
    c = complete(v, r);
    CHECK(c.read);
    CHECK(c.write);
    CHECK_FALSE(c.execute);
    CHECK_FALSE(c.privileged);
}

TEST_CASE("amdvi ATS: a request for writing dirties what it may write, without it a clean page is told to be read-only") {
    for (access const a : {read, read_write})
        for (bool const dirty : {false, true})
            for (bool const writable : {false, true}) {
                amdvi_unit u;
                u.dte.set<"HAD">(3);
                u.memory[u.h1] = 0x2000'0000'9abc'd001 | (dirty ? 0x40u : 0u) | (writable ? one_bit(62) : 0);
                CAPTURE(a.bits, dirty, writable);
                auto const c = complete(u, u.ats(a));
                bool const asked = a == read_write;
                CHECK(c.read);
                CHECK(c.write == (writable && (asked || dirty)));
                CHECK(((u.memory[u.h1] & 0x40) != 0) == (dirty || (asked && writable)));
                CHECK((u.memory[u.h1] & 0x20) != 0);
                // Without D there is nothing to lose.
                amdvi_unit v;
                v.dte.set<"HAD">(1);
                v.memory[v.h1] = u.memory[u.h1] & ~std::uint64_t{0x40};
                CHECK(complete(v, v.ats(a)).write == writable);
                // The same of a guest.
                amdvi_unit g{amdvi_kind::guest};
                g.entry(5) = 0x1'2345'6005 | (dirty ? 0x40u : 0u) | (writable ? 2u : 0u);
                auto const d = complete(g, g.ats(a));
                CHECK(d.write == (writable && (asked || dirty)));
                CHECK(((g.entry(5) & 0x40) != 0) == (dirty || (asked && writable)));
            }
}

TEST_CASE("amdvi requests: a translation request asks even if it names no right") {
    amdvi_unit u;
    auto const answer = u.translate(u.ats(none));
    REQUIRE(answer);
    CHECK(answer->effective.rights() == read_write);
}

TEST_CASE("amdvi requests: the answer is the same with a tracer, and it sees the entries in order") {
    for (auto const k : every_amdvi_kind)
        for (access const a : {read, write, execute}) {
            amdvi_unit u{k};
            auto const plain = u.translate(a);
            std::vector<std::uint64_t> seen;
            u.memory.forget();
            auto const traced = u.unit().translate(u.ask(a), [&](auto const& s) {
                if constexpr (requires { s.table; })
                    seen.push_back(s.address);
                else
                    seen.push_back(s.at.address);
            });
            REQUIRE(plain);
            CHECK(plain == traced);
            CHECK(seen.front() == u.dte_at);
            CHECK(seen.size() == (k == amdvi_kind::identity ? 1u
                                  : k == amdvi_kind::host   ? 4u
                                  : k == amdvi_kind::guest  ? 7u
                                                            : 28u));
        }
}

} // namespace stagewalk::test
