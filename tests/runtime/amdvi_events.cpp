// The AMD IOMMU's event records bit by bit (worked examples of the log words), its texts, and the logs' rules: rings, overflow,
// and pointers that somebody hostile wrote.
#include "catch.hpp"

#include <stagewalk/amdvi/event_record.hpp>
#include <stagewalk/amdvi/event_text.hpp>
#include <stagewalk/amdvi/log.hpp>
#include <stagewalk/amdvi/ring.hpp>
#include <stagewalk/amdvi/status.hpp>

#include <cstdint>
#include <ostream>
#include <set>
#include <string>

namespace stagewalk {
inline namespace v0 {
namespace amdvi {

inline std::ostream& operator<<(std::ostream& out, log_delivery d) { return out << "delivery " << static_cast<unsigned>(d); }

} // namespace amdvi
} // namespace v0
} // namespace stagewalk

namespace stagewalk::test {
namespace {

using amdvi::control_register;
using amdvi::device_entry_error;
using amdvi::event;
using amdvi::event_log;
using amdvi::hardware_error;
using amdvi::log_delivery;
using amdvi::ring;
using amdvi::ring_base_register;
using amdvi::status_register;
using namespace amdvi::fault_detail;

template <class Record>
void check_words(Record const& e, std::uint64_t w0, std::uint64_t w1) {
    CHECK(e.word[0] == w0);
    CHECK(e.word[1] == w1);
}

fault<event> made(event code, std::uint64_t detail, std::uint64_t input, std::uint64_t descriptor = 0) {
    fault<event> f;
    f.code = code;
    f.detail = detail;
    f.input = input;
    f.descriptor = descriptor;
    return f;
}
constexpr amdvi::request from{0xa5};

// A log of 256 entries at 10000000h, and the register by which it runs.
struct running_log {
    event_log log{{ring_base_register{0x0800'0000'1000'0000}}, true};
    status_register status{0x8}; // EventLogRun

    running_log(std::uint64_t head, std::uint64_t tail) {
        log.entries.head = head;
        log.entries.tail = tail;
    }
    log_delivery take() { return log.take(amdvi::event_record{}, status); }
    void control(std::uint64_t value) { log.switched(event_log::is_on(control_register{value}), status); }
};

template <class Log, class Record>
constexpr bool takes = requires(Log log, Record record, status_register status) {
    log.take(record, status);
};

} // namespace

// --- records ----------------------------------------------------------------------------------------------------------

TEST_CASE("E48: IO_PAGE_FAULT of a user of PASID 2ABCDh") {
    auto const f = made(event::io_page_fault, of_pasid(0x2abcd) | user | present | writing | permission, 0x7f12'3456'7abc);
    auto const e = amdvi::to_record(f, amdvi::request{0x418});
    check_words(e, 0x2075'abcd'0002'0418, 0x7f12'3456'7abc);
    CHECK(e.pasid() == 0x2abcd);
    CHECK(e.is_written());
    CHECK_FALSE(amdvi::event_record{}.is_written());
}

TEST_CASE("E49: the record of a translation request that found nothing, if it were formed") {
    auto const f = made(event::io_page_fault, translation | std::uint64_t{0x11} << domain_at, 0x5000);
    CHECK(amdvi::is_refusal(f));
    check_words(amdvi::to_record(f, from), 0x2100'0011'0000'00a5, 0x5000);
}

TEST_CASE("E50: ILLEGAL_DEV_TABLE_ENTRY with a reserved bit") {
    auto const f = made(event::illegal_dev_table_entry, reserved | static_cast<std::uint64_t>(device_entry_error::reserved_bits),
                        0x7'2345'6789, 0x8000'14a0);
    check_words(amdvi::to_record(f, from), 0x1080'0000'0000'00a5, 0x7'2345'6788);
}

TEST_CASE("E10, E11, E12, E18 and E19: flags of a page fault in the log") {
    std::uint64_t const domain = std::uint64_t{0x11} << domain_at;
    auto const record = [&](std::uint64_t flags) {
        return amdvi::to_record(made(event::io_page_fault, domain | flags, 0x5000), from);
    };
    check_words(record(0), 0x2000'0011'0000'00a5, 0x5000);
    check_words(record(writing), 0x2020'0011'0000'00a5, 0x5000);
    check_words(record(present | permission), 0x2050'0011'0000'00a5, 0x5000);
    check_words(record(present | writing | permission), 0x2070'0011'0000'00a5, 0x5000);
    check_words(record(present), 0x2010'0011'0000'00a5, 0x5000);
    check_words(record(present | reserved), 0x2090'0011'0000'00a5, 0x5000);
    check_words(record(present | writing | reserved), 0x20b0'0011'0000'00a5, 0x5000);
    check_words(record(interrupt), 0x2008'0011'0000'00a5, 0x5000);
    check_words(record(amdvi::fault_detail::execute | user), 0x2006'0011'0000'00a5, 0x5000);
}

TEST_CASE("amdvi record: each bit of the detail from 16 to 59 is in its place, no other counts") {
    for (auto const code : {event::illegal_dev_table_entry, event::io_page_fault, event::dev_tab_hardware_error,
                            event::page_tab_hardware_error, event::invalid_device_request})
        for (unsigned n = 0; n < 64; ++n) {
            std::uint64_t const bit = std::uint64_t{1} << n;
            auto const e = amdvi::to_record(made(code, bit, 0), std::uint16_t{0x8001});
            CAPTURE(static_cast<int>(code), n);
            CHECK(e.word[0] == ((n >= 16 && n < 60 ? bit : 0) | 0x8001 | static_cast<std::uint64_t>(code) << 60));
            CHECK(e.word[1] == 0);
        }
}

TEST_CASE("amdvi record: the second word, by code") {
    constexpr std::uint64_t input = 0xfedc'ba98'7654'3217;
    constexpr std::uint64_t entry = 0x0001'2345'6789'abc8;
    auto const word = [&](event code, std::uint64_t detail = 0) {
        return amdvi::to_record(made(code, detail, input, entry), from).word[1];
    };
    CHECK(word(event::illegal_dev_table_entry) == 0xfedc'ba98'7654'3214);
    CHECK(word(event::io_page_fault) == input);
    CHECK(word(event::dev_tab_hardware_error) == entry);
    CHECK(word(event::page_tab_hardware_error) == entry);
    CHECK(word(event::invalid_device_request) == input);
    // Where there is no device table entry, nothing is said of the address; any other error keeps it.
    for (unsigned e = 0; e <= static_cast<unsigned>(device_entry_error::interrupt_table); ++e) {
        bool const missing = e == static_cast<unsigned>(device_entry_error::beyond_table);
        CAPTURE(e);
        CHECK(word(event::illegal_dev_table_entry, e) == (missing ? 0 : input & ~std::uint64_t{3}));
        CHECK(word(event::io_page_fault, e) == (missing ? 0 : input));
    }
}

TEST_CASE("amdvi record: the fields are where the manual has them") {
    amdvi::event_record e{0x8000'0000'0000'0000 | std::uint64_t{5} << 57};
    CHECK(e.get<"Type">() == 5);
    CHECK(e.get<"EventCode">() == 8);
    struct {
        std::uint64_t set;
        std::uint64_t flags; // of the 12 bits
    } const flags[] = {{amdvi::event_record::mask<"GN">(), 0x001}, {amdvi::event_record::mask<"NX">(), 0x002},
                       {amdvi::event_record::mask<"US">(), 0x004}, {amdvi::event_record::mask<"I">(), 0x008},
                       {amdvi::event_record::mask<"PR">(), 0x010}, {amdvi::event_record::mask<"RW">(), 0x020},
                       {amdvi::event_record::mask<"PE">(), 0x040}, {amdvi::event_record::mask<"RZ">(), 0x080},
                       {amdvi::event_record::mask<"TR">(), 0x100}};
    for (auto const& f : flags)
        CHECK(f.set == f.flags << 48);
    CHECK(amdvi::event_record::reserved(0) == 0x17f0'0000); // bits 28 and 26:20
}

TEST_CASE("amdvi record: what the entries that are only read have where") {
    amdvi::counter_record const c{0xa000'0000'0000'0000, 0x1234'5678'9abc'def1};
    CHECK(c.get<"EventCode">() == 0xa);
    CHECK(c.get<"Counter">() == 0x1234'5678'9abc'def1);
    CHECK(amdvi::counter_record::reserved(0) == low_mask(60));
    amdvi::rmp_record const r{0xd123'abcd'00ef'0418, 0x1234'5678'9abc'def1};
    CHECK(r.get<"DeviceID">() == 0x418);
    CHECK(r.get<"RMP Flags">() == 0xef);
    CHECK(r.get<"VMTag">() == 0xabcd);
    CHECK(r.get<"Flags">() == 0x123);
    CHECK(r.get<"EventCode">() == 0xd);
    CHECK(r.get<"Address">() == 0x1234'5678'9abc'def1);
    CHECK(amdvi::rmp_record::reserved(0) == 0xff00'0000);
    amdvi::ppr_record const p{0x1180'0000'0000'0000, ~std::uint64_t{0}};
    CHECK(p.get<"GN">() == 1);
    CHECK(p.get<"RZ">() == 1);
    CHECK(p.get<"Address">() == ~std::uint64_t{0});
    CHECK(amdvi::ppr_record::reserved(0) == (low_mask(60) & ~low_mask(46) & ~bit_mask(50, 49) & ~bit_mask(56, 53)));
    amdvi::invalid_ppr_record const i{0x9fff'0000'0000'0000, ~std::uint64_t{0}};
    CHECK(i.get<"Flags">() == 0x7ff);
    CHECK(i.get<"Address">() == ~std::uint64_t{0});
    CHECK(amdvi::invalid_ppr_record::reserved(0) == 0x0000'c000'0000'0000);
    CHECK(amdvi::command_event_record::reserved(0) == (low_mask(60) & ~low_mask(16) & ~bit_mask(58, 57)));
    CHECK(amdvi::command_event_record{0, ~std::uint64_t{0}}.get<"Address">() == ~std::uint64_t{0});
    CHECK(amdvi::event_record{0xf000'0000, ~std::uint64_t{0}}.get<"Address">() == ~std::uint64_t{0});
    amdvi::event_record const marks{0x5000'0000'0000'0000 | 0x4800'0000};
    CHECK(marks.get<"vNR">() == 1);
    CHECK(marks.get<"vEvent">() == 0);
    CHECK(marks.get<"vPtr">() == 1);
    CHECK(marks.get<"vCmd">() == 0);
}

TEST_CASE("amdvi record: commands that fail") {
    check_words(amdvi::illegal_command(0x1000'0ff0), 0x5000'0000'0000'0000, 0x1000'0ff0);
    check_words(amdvi::command_failed(0x1000'0ff0, hardware_error::master_abort), 0x6200'0000'0000'0000, 0x1000'0ff0);
    check_words(amdvi::command_failed(0x1234'5678, hardware_error::target_abort), 0x6400'0000'0000'0000, 0x1234'5678);
    check_words(amdvi::command_failed(0x1234'5678, hardware_error::data_error), 0x6600'0000'0000'0000, 0x1234'5678);
    check_words(amdvi::device_timed_out(0x1a3, 0x1000'0ff7), 0x7000'0000'0000'01a3, 0x1000'0ff0);
}

TEST_CASE("amdvi record: page requests") {
    amdvi::request r{0x418, iova{0x7f12'3456'7abc}, read_write, 0x2abcd};
    check_words(amdvi::invalid_page_request(r, 0x3ff), 0x9001'0bff'abcd'0418, 0x7f12'3456'7abc);
    amdvi::capabilities const plain{0};
    amdvi::capabilities const supervisors{std::uint64_t{1} << 37};
    check_words(amdvi::page_request(r, 0x155, plain), 0x1164'0955'abcd'0418, 0x7f12'3456'7000);
    r.access = read | stagewalk::execute | privileged;
    check_words(amdvi::page_request(r, 0x155, plain), 0x1146'0955'abcd'0418, 0x7f12'3456'7000);
    check_words(amdvi::page_request(r, 0x155, supervisors), 0x1106'0955'abcd'0418, 0x7f12'3456'7000);
    r.access = write;
    check_words(amdvi::page_request(r, 0x155, supervisors), 0x1160'0955'abcd'0418, 0x7f12'3456'7000);
    r.pasid = 0xfffff;
    check_words(amdvi::page_request(r, 0x400, supervisors), 0x1160'3c00'ffff'0418, 0x7f12'3456'7000); // 10 bits of tag
    r.pasid = amdvi::no_pasid;
    check_words(amdvi::page_request(r, 1, plain), 0x1020'0001'0000'0418, 0x7f12'3456'7000);
    check_words(amdvi::invalid_page_request(r, 1), 0x9000'0001'0000'0418, 0x7f12'3456'7abc);
    CHECK(amdvi::page_request(r, 1, plain).is_written());
    CHECK_FALSE(amdvi::ppr_record{}.is_written());
}

// --- texts ------------------------------------------------------------------------------------------------------------

TEST_CASE("amdvi texts: every event and reason has a name and a line of its own") {
    std::set<std::string> names;
    std::set<std::string> lines;
    auto const take = [&](std::string const& name, std::string const& line) {
        CAPTURE(name, line);
        CHECK(names.insert(name).second);
        CHECK(lines.insert(line).second);
        CHECK(name.find("unknown") == std::string::npos);
        CHECK(line.find("this library") == std::string::npos);
    };
    for (unsigned n = 0; n <= 0xe; ++n)
        take(amdvi::name_of(static_cast<event>(n)), amdvi::text_of(static_cast<event>(n)));
    for (unsigned n = 0; n < 8; ++n) {
        auto const e = static_cast<amdvi::invalid_request>(n);
        take(std::string{"request "} + amdvi::name_of(e), amdvi::text_of(e));
    }
    for (unsigned n = 0; n <= static_cast<unsigned>(device_entry_error::interrupt_table); ++n) {
        auto const e = static_cast<device_entry_error>(n);
        take(std::string{"entry "} + amdvi::name_of(e), amdvi::text_of(e));
    }
    CHECK(std::string{amdvi::name_of(event::page_tab_hardware_error)} == "PAGE_TAB_HARDWARE_ERROR");
    CHECK(std::string{amdvi::name_of(static_cast<event>(0xf))} == "unknown");
    CHECK(std::string{amdvi::name_of(static_cast<amdvi::invalid_request>(8))} == "unknown");
    CHECK(std::string{amdvi::name_of(static_cast<device_entry_error>(99))} == "unknown");
    CHECK(std::string{amdvi::text_of(event::command_hardware_error)} ==
          "the command could not be read, or its store could not be made");
    auto const entry_says = [](device_entry_error e, char const* what) {
        return std::string{amdvi::text_of(e)}.find(what) != std::string::npos;
    };
    CHECK(entry_says(device_entry_error::reserved_interrupt_mode, "IntCtl has the reserved value 3"));
    CHECK(entry_says(device_entry_error::port_io, "IoCtl has the reserved value 3"));
    CHECK(entry_says(device_entry_error::host_updates, "HAD has the reserved value 2"));
    CHECK(entry_says(device_entry_error::mode, "Mode has the reserved value 7, or more host levels than the unit"));
    CHECK(std::string{amdvi::text_of(static_cast<event>(0xf))} == "an event that this library does not raise");
    CHECK(std::string{amdvi::text_of(static_cast<amdvi::invalid_request>(8))} == "a reason that this library does not give");
    CHECK(std::string{amdvi::text_of(static_cast<device_entry_error>(99))} == "an error that this library does not raise");
}

// --- rings ------------------------------------------------------------------------------------------------------------

TEST_CASE("amdvi ring: base and length") {
    ring_base_register const base{0xf5ff'ffff'ffff'ffff};
    CHECK(base.get<"Base">() == 0x000f'ffff'ffff'f000);
    CHECK(base.get<"Length">() == 5);
    for (std::uint64_t length = 0; length < 16; ++length) {
        ring_base_register const r{length << 56};
        CAPTURE(length);
        CHECK(r.is_valid() == (length >= 8));
        CHECK(r.entries() == (length >= 8 ? std::uint64_t{1} << length : 256));
        CHECK(r.bytes() == r.entries() * 16);
    }
}

TEST_CASE("amdvi ring: fills, wraps and empties, for every length") {
    for (std::uint64_t length = 8; length < 16; ++length) {
        ring r{ring_base_register{0x1000'0000 | length << 56}, 0, 0};
        std::uint64_t const entries = std::uint64_t{1} << length;
        r.head = r.tail = (entries - 3) * 16;
        CAPTURE(length);
        CHECK(r.is_empty());
        unsigned wrong = 0;
        for (std::uint64_t n = 0; n < entries - 1; ++n) {
            wrong += r.is_full() || r.pending() != n || r.write_at() != 0x1000'0000 + (entries - 3 + n) % entries * 16;
            r.append();
        }
        CHECK(wrong == 0);
        CHECK(r.is_full());
        CHECK(r.tail == (entries - 4) * 16);
        for (std::uint64_t n = 0; n < entries - 1; ++n) {
            wrong += r.is_empty() || r.read_at() != 0x1000'0000 + (entries - 3 + n) % entries * 16;
            r.consume();
        }
        CHECK(wrong == 0);
        CHECK(r.is_empty());
        CHECK(r.is_sound());
        ring other = r;
        CHECK(other == r);
        other.append();
        CHECK(other != r);
    }
}

TEST_CASE("amdvi ring: hostile pointers end every loop, within the ring") {
    std::uint64_t const some[] = {0,      1,       0xf,     0x10,    0xff0,   0xfff,      0x1000,
                                  0x1010, 0x7fff0, 0x7ffff, 0x80000, 0x80010, 0xffff'fff, 0xffff'ffff'ffff'ffff};
    for (std::uint64_t const length : {0u, 7u, 8u, 11u, 15u})
        for (std::uint64_t const head : some)
            for (std::uint64_t const tail : some) {
                ring r{ring_base_register{0x1000'0000 | length << 56}, head, tail};
                std::uint64_t const bytes = r.base.bytes();
                std::uint64_t const from_head = (head & 0x7fff0) % bytes;
                std::uint64_t const from_tail = (tail & 0x7fff0) % bytes;
                CAPTURE(length, head, tail);
                CHECK(r.is_sound() == (length >= 8 && (head & 0x7fff0) < bytes && (tail & 0x7fff0) < bytes));
                CHECK(r.pending() == (from_tail + bytes - from_head) % bytes / 16);
                CHECK(r.write_at() == 0x1000'0000 + from_tail);
                std::uint64_t taken = 0;
                bool outside = false;
                while (!r.is_empty() && taken <= r.base.entries()) {
                    outside = outside || r.read_at() < 0x1000'0000 || r.read_at() >= 0x1000'0000 + bytes || r.read_at() % 16 != 0;
                    r.consume();
                    ++taken;
                }
                CHECK(taken < r.base.entries());
                CHECK_FALSE(outside);
            }
}

// --- logs -------------------------------------------------------------------------------------------------------------

TEST_CASE("amdvi log: an entry moves the tail and sets EventLogInt, whether or not it interrupts") {
    running_log r{0x10, 0xff0};
    CHECK(r.log.entries.write_at() == 0x1000'0ff0);
    CHECK(r.take() == log_delivery::written);
    CHECK(r.log.entries.tail == 0);
    CHECK(r.status.word[0] == 0xa); // EventLogRun, EventLogInt
    CHECK_FALSE(event_log::is_signalled(log_delivery::written, control_register{0x5}));
    CHECK(event_log::is_signalled(log_delivery::written, control_register{0xd})); // EventIntEn
    CHECK(event_log::is_signalled(log_delivery::dropped, control_register{0xd}));
    CHECK_FALSE(event_log::is_signalled(log_delivery::ignored, control_register{0xd}));
}

TEST_CASE("amdvi log: a full log overflows once, then is silent until it is turned off and on") {
    running_log r{0x10, 0};
    CHECK(r.log.entries.is_full());
    CHECK(r.take() == log_delivery::dropped);
    CHECK(r.log.entries.tail == 0);
    CHECK(r.status.word[0] == 1); // EventOverflow; EventLogRun is clear
    r.log.entries.head = 0x80;    // software has read some
    CHECK(r.take() == log_delivery::ignored);
    CHECK(r.log.entries.tail == 0);

    constexpr std::uint64_t on = 0x5;
    constexpr std::uint64_t off = 0x1;
    r.control(on);
    CHECK(r.take() == log_delivery::ignored);
    r.control(off); // before the overflow is acknowledged
    r.control(on);
    CHECK(r.take() == log_delivery::ignored);
    r.status.acknowledge(1);
    CHECK(r.take() == log_delivery::ignored);
    r.control(on); // it is on already
    CHECK(r.take() == log_delivery::ignored);
    r.control(off);
    r.control(on);
    CHECK(r.take() == log_delivery::written);
    CHECK(r.status.word[0] == 0xa);
}

TEST_CASE("amdvi log: it runs with IommuEn alone") {
    running_log r{0, 0};
    r.control(0x4);
    CHECK(r.status.word[0] == 0);
    CHECK(r.take() == log_delivery::ignored);
    r.control(0x5);
    CHECK(r.take() == log_delivery::written);
    r.control(0x1); // EventLogEn
    CHECK(r.take() == log_delivery::ignored);
    CHECK_FALSE(event_log::is_on(control_register{~std::uint64_t{0x1}}));
    CHECK_FALSE(event_log::is_on(control_register{~std::uint64_t{0x4}}));
    CHECK(event_log::is_on(control_register{0x5}));
}

TEST_CASE("amdvi log: the PPR log has bits of its own") {
    amdvi::ppr_log log;
    status_register status;
    log.entries = {ring_base_register{0x0800'0000'2000'0000}, 0x20, 0};
    log.switched(amdvi::ppr_log::is_on(control_register{0x2001}), status);
    CHECK(status.word[0] == 0x80); // PprLogRun
    CHECK(log.take(amdvi::ppr_record{}, status) == log_delivery::written);
    CHECK(status.word[0] == 0xc0); // PprInt
    CHECK(log.take(amdvi::ppr_record{}, status) == log_delivery::dropped);
    CHECK(status.word[0] == 0x60); // PprOverflow
    CHECK_FALSE(amdvi::ppr_log::is_on(control_register{~std::uint64_t{0x2000}}));
    CHECK(amdvi::ppr_log::is_signalled(log_delivery::written, control_register{0x4000}));
    CHECK_FALSE(amdvi::ppr_log::is_signalled(log_delivery::written, control_register{0xbfff}));
}

TEST_CASE("amdvi log: two logs and the commands share one status register") {
    running_log events{0x10, 0xff0};
    amdvi::ppr_log requests{{ring_base_register{0x0800'0000'2000'0000}, 0x20, 0}, false};
    status_register& status = events.status;
    status.set<"CmdBufRun">(1);
    requests.switched(true, status);
    CHECK(status.word[0] == 0x98); // EventLogRun, CmdBufRun, PprLogRun
    CHECK(events.take() == log_delivery::written);
    CHECK(requests.take(amdvi::ppr_record{}, status) == log_delivery::written);
    CHECK(status.word[0] == 0xda); // EventLogInt, PprInt
    status.acknowledge(0x40);
    CHECK(status.word[0] == 0x9a);
    CHECK(events.take() == log_delivery::dropped);
    CHECK(status.word[0] == 0x93); // EventOverflow, EventLogInt, CmdBufRun, PprLogRun
    requests.switched(false, status);
    CHECK(status.word[0] == 0x13);
}

TEST_CASE("amdvi log: each takes its own entries only") {
    STATIC_REQUIRE(takes<event_log, amdvi::event_record>);
    STATIC_REQUIRE(takes<event_log, amdvi::command_event_record>);
    STATIC_REQUIRE(takes<event_log, amdvi::invalid_ppr_record>);
    STATIC_REQUIRE(takes<event_log, amdvi::counter_record>);
    STATIC_REQUIRE(takes<event_log, amdvi::rmp_record>);
    STATIC_REQUIRE(takes<amdvi::ppr_log, amdvi::ppr_record>);
    STATIC_REQUIRE_FALSE(takes<event_log, amdvi::ppr_record>);
    STATIC_REQUIRE_FALSE(takes<amdvi::ppr_log, amdvi::event_record>);
}

TEST_CASE("amdvi log: fills to the last entry but one, at any place, and takes none too many") {
    for (std::uint64_t const start : {0u, 0x10u, 0x7f0u, 0xfe0u, 0xff0u}) {
        running_log r{start, start};
        unsigned written = 0;
        while (written < 1000 && r.take() == log_delivery::written)
            ++written;
        CAPTURE(start);
        CHECK(written == 255);
    }
}

TEST_CASE("amdvi status: ones clear the bits of overflow and interrupt, no others") {
    status_register s{~std::uint64_t{0}};
    s.acknowledge(0);
    CHECK(s.word[0] == ~std::uint64_t{0});
    s.acknowledge(2);
    CHECK(s.word[0] == ~std::uint64_t{2});
    s.acknowledge(~std::uint64_t{0});
    CHECK((s.word[0] & 0x7ffff) == 0x17198); // the run and active bits, and what is reserved
}

TEST_CASE("amdvi record: constant expressions") {
    constexpr auto e = amdvi::to_record(fault<event>{.code = event::io_page_fault, .input = 0x5000, .detail = present}, from);
    STATIC_REQUIRE(e.word[0] == 0x2010'0000'0000'00a5);
    STATIC_REQUIRE(amdvi::illegal_command(0x1000).word[1] == 0x1000);
    STATIC_REQUIRE(master_abort == std::uint64_t{1} << 57);
}

} // namespace stagewalk::test
