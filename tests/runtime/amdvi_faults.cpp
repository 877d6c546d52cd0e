// AMD-Vi events as the 16 bytes of the event log: every code that a memory request can meet, every flag by its name, and what
// else a fault tells.
#include "amdvi_unit.hpp"

#include <cstdint>

namespace stagewalk::test {
namespace {

using amdvi::event;
using amdvi::request_type;

// What a fault says beside its event: who found it, what was being done, and the entry to blame.
template <class Outcome>
void check_blame(Outcome const& result, fault_stage stage, fault_at at, std::uint64_t level, std::uint64_t descriptor,
                 std::uint64_t entry) {
    REQUIRE_FALSE(result);
    auto const& f = result.error();
    CHECK(static_cast<int>(f.stage) == static_cast<int>(stage));
    CHECK(static_cast<int>(f.at) == static_cast<int>(at));
    CHECK(std::uint64_t{f.level} == level);
    CHECK(f.descriptor == descriptor);
    CHECK(f.entry == entry);
}

} // namespace

// --- numbers -------------------------------------------------------------------------------------------------------------------

TEST_CASE("amdvi events: codes and types are the manual's numbers") {
    constexpr event codes[]{event::none,
                            event::illegal_dev_table_entry,
                            event::io_page_fault,
                            event::dev_tab_hardware_error,
                            event::page_tab_hardware_error,
                            event::illegal_command_error,
                            event::command_hardware_error,
                            event::iotlb_inv_timeout,
                            event::invalid_device_request,
                            event::invalid_ppr_request,
                            event::event_counter_zero,
                            event::guest_event_fault,
                            event::viommu_hardware_error,
                            event::rmp_page_fault,
                            event::rmp_hardware_error};
    unsigned number = 0;
    for (event const e : codes)
        CHECK(static_cast<unsigned>(e) == number++);
    using amdvi::invalid_request;
    constexpr invalid_request types[]{invalid_request::interrupt_range, invalid_request::no_iotlb,
                                      invalid_request::port_io,         invalid_request::system_management,
                                      invalid_request::system_request,  invalid_request::interrupt_closed,
                                      invalid_request::bad_interrupt,   invalid_request::pasid};
    number = 0;
    for (invalid_request const t : types)
        CHECK(static_cast<unsigned>(t) == number++);
}

TEST_CASE("amdvi events: flags are bits 56:48 of the first word, in the manual's order") {
    namespace bits = amdvi::fault_detail;
    constexpr std::uint64_t flags[]{bits::guest,   bits::execute,    bits::user,     bits::interrupt,  bits::present,
                                    bits::writing, bits::permission, bits::reserved, bits::translation};
    unsigned bit = 48;
    for (std::uint64_t const f : flags)
        CHECK(f == one_bit(bit++));
    CHECK(bits::of_pasid(0xa'bcde) == 0x0001'bcde'000a'0000);
    CHECK(bits::of_pasid(0xfff0'0000) == bits::guest); // 20 bits
    CHECK(bits::recorded == 0x0fff'ffff'ffff'0000);
}

// --- the worked examples -------------------------------------------------------------------------------------------------------

TEST_CASE("amdvi example E10: a write through a read-only table, and the read that succeeds is told of no more") {
    amdvi_unit u;
    u.memory[u.h3] = 0x2000'0000'0100'1401;
    auto const answer = u.translate(write);
    check_words(answer, u.ask(write), 0x2070'0011'0000'00a5, 0x7'2345'6789);
    check_blame(answer, fault_stage::second, fault_at::input, 2, u.h3, 0x2000'0000'0100'1401);
    auto const good = u.translate(read);
    REQUIRE(good);
    CHECK(good->output.value == 0x9abc'd789);
    CHECK(good->effective.rights() == read);
}

TEST_CASE("amdvi example E11: not present, and RW is told") {
    amdvi_unit u;
    u.memory[u.h1] = 0x6000'0000'9abc'd000;
    check_words(u.translate(write), u.ask(write), 0x2020'0011'0000'00a5, 0x7'2345'6789);
    check_words(u.translate(read), u.ask(read), 0x2000'0011'0000'00a5, 0x7'2345'6789);
    check_words(u.translate(read_write), u.ask(read_write), 0x2020'0011'0000'00a5, 0x7'2345'6789);
    check_blame(u.translate(), fault_stage::second, fault_at::input, 0, u.h1, 0x6000'0000'9abc'd000);
}

TEST_CASE("amdvi example E12: a reserved bit") {
    amdvi_unit u;
    u.memory[u.h1] = 0x6010'0000'9abc'd001;
    check_words(u.translate(), u.ask(), 0x2090'0011'0000'00a5, 0x7'2345'6789);
    check_words(u.translate(write), u.ask(write), 0x20b0'0011'0000'00a5, 0x7'2345'6789);
    check_blame(u.translate(), fault_stage::second, fault_at::table, 0, u.h1, 0x6010'0000'9abc'd001);
}

TEST_CASE("amdvi examples E6 to E9: a bad encoding is PR without RZ") {
    struct {
        std::uint64_t at;
        std::uint64_t entry;
        std::uint64_t level;
    } const cases[] = {{amdvi_unit::h1, 0x6000'0000'c02f'fe01, 0},  // 2 MiB at level 1
                       {amdvi_unit::h2, 0x6000'0000'0100'1401, 1},  // to itself
                       {amdvi_unit::h1, 0x6000'0000'9abc'd201, 0},  // a table under level 1
                       {amdvi_unit::h1, 0x600f'ffff'ffff'fe01, 0}}; // a page of 2^53
    for (auto const& c : cases) {
        amdvi_unit u;
        u.memory[c.at] = c.entry;
        CAPTURE(c.entry);
        check_words(u.translate(), u.ask(), 0x2010'0011'0000'00a5, 0x7'2345'6789);
        check_words(u.translate(write), u.ask(write), 0x2030'0011'0000'00a5, 0x7'2345'6789);
        check_blame(u.translate(), fault_stage::second, fault_at::table, c.level, c.at, c.entry);
        CHECK(u.memory.trail.size() <= 7);
    }
}

TEST_CASE("amdvi example E14: an address above the tables does not alias") {
    amdvi_unit u;
    auto const answer = u.translate_at(0x87'2345'6789);
    check_words(answer, u.ask_at(0x87'2345'6789), 0x2000'0011'0000'00a5, 0x87'2345'6789);
    check_blame(answer, fault_stage::second, fault_at::input, no_level, 0, 0);
    CHECK(u.memory.trail.size() == 4);
}

TEST_CASE("amdvi example E48: a user's write that is denied, with GN and PASID 2ABCDh") {
    for (auto const k : {amdvi_kind::guest, amdvi_kind::nested}) {
        amdvi_unit u{k};
        u.memory[(u.where(0) & ~std::uint64_t{0xfff}) | 0xaa8] = 0x500'1001; // 2ABCDh >> 9 is 155h
        u.memory[(u.where(1) & ~std::uint64_t{0xfff}) | 0xe68] = 0x600'0001; // and the rest 1CDh
        u.entry(5) &= ~std::uint64_t{2};
        u.write_entry(u.table_at + 0x418 * 32);
        auto r = u.ask(write);
        r.source = 0x418;
        r.pasid = 0x2'abcd;
        check_words(u.unit().translate(r), r, 0x2075'abcd'0002'0418, 0x7f12'3456'7abc);
        // A supervisor's has no US.
        r.access = write | privileged;
        check_words(u.unit().translate(r), r, 0x2071'abcd'0002'0418, 0x7f12'3456'7abc);
    }
}

TEST_CASE("amdvi example E49: a translation request's page fault is formed, but not logged") {
    amdvi_unit u;
    u.memory[u.h1] = 0;
    auto const r = u.ats(read);
    check_words(u.translate(r), r, 0x2100'0011'0000'00a5, 0x7'2345'6789, false);
    check_words(u.translate(u.ats()), u.ats(), 0x2120'0011'0000'00a5, 0x7'2345'6789, false);
}

TEST_CASE("amdvi example E50: a reserved bit in a device table entry") {
    amdvi_unit u;
    u.dte.word[0] |= 8;
    check_words(u.translate_at(0x1003), u.ask_at(0x1003), 0x1080'0000'0000'00a5, 0x1000); // bits 63:2
    check_words(u.translate_at(every_bit, write), u.ask_at(every_bit, write), 0x10a0'0000'0000'00a5, 0xffff'ffff'ffff'fffc);
    check_words(u.translate(u.ats()), u.ats(), 0x11a0'0000'0000'00a5, 0x7'2345'6788);
    check_words(u.translate(u.ats(read)), u.ats(read), 0x1180'0000'0000'00a5, 0x7'2345'6788);
    check_blame(u.translate(), fault_stage::configuration, fault_at::context, no_level, u.dte_at, u.dte.word[0]);
    amdvi_unit v{amdvi_kind::guest};
    v.dte.word[0] |= 8;
    // With a PASID: GN, but neither US nor NX.
    check_words(v.translate(execute), v.ask(execute), 0x1081'2345'0001'00a5, 0x7f12'3456'7abc);
}

// --- each flag -----------------------------------------------------------------------------------------------------------------

TEST_CASE("amdvi flag RW: the request writes, whatever is wrong with it") {
    for (access const a : {read, write, read_write, execute})
        for (bool const ats : {false, true}) {
            std::uint64_t const rw = a.covers(write) ? flag_rw : 0;
            auto const typed = [&](amdvi_unit const& u) {
                return u.typed(ats ? request_type::translation : request_type::untranslated, a);
            };
            std::uint64_t const tr = ats ? flag_tr : 0;
            CAPTURE(a.bits, ats);
            amdvi_unit u;
            u.dte.word[0] |= 4;
            CHECK(amdvi_flags(u.translate(typed(u))) == (flag_rz | rw | tr)); // code 1
            amdvi_unit v;
            v.memory[v.h2] = 0;
            CHECK(amdvi_flags(v.translate(typed(v))) == (rw | tr)); // code 2
            amdvi_unit w;
            w.memory.poison(w.dte_at);
            CHECK(amdvi_flags(w.translate(typed(w))) == (master_abort_type | rw | tr)); // code 3
            amdvi_unit x;
            x.memory.poison(x.h2);
            CHECK(amdvi_flags(x.translate(typed(x))) == (master_abort_type | rw | tr)); // code 4
            amdvi_unit y;
            auto r = typed(y);
            r.pasid = 1;
            CHECK(amdvi_flags(y.translate(r)) == (0xe00 | flag_gn | tr)); // code 8: there is no RW
        }
}

TEST_CASE("amdvi flags GN, NX and US: of guest translation only") {
    for (auto const k : every_amdvi_kind)
        for (bool const knows : {false, true})
            for (access const p : {none, privileged})
                for (access const a : {read, write, execute}) {
                    amdvi_unit u{k};
                    u.efr.set<"USSup">(knows);
                    if (u.has_host())
                        u.memory[k == amdvi_kind::host ? u.h1 : u.leaves[u.page]] = 0;
                    else if (u.has_guest())
                        u.entry(5) = 0;
                    else
                        u.dte.word[0] &= ~(std::uint64_t{3} << 61);
                    CAPTURE(static_cast<int>(k), knows, p.bits, a.bits);
                    std::uint64_t want = a == write ? flag_rw : 0;
                    if (k == amdvi_kind::identity) want |= flag_pr | flag_pe;
                    if (u.has_guest()) {
                        want |= flag_gn | (a == execute ? flag_nx : 0);
                        if (!(knows && p == privileged)) want |= flag_us;
                    }
                    auto const answer = u.translate(a | p);
                    CHECK(amdvi_event(answer) == event::io_page_fault);
                    CHECK(amdvi_flags(answer) == want);
                }
}

TEST_CASE("amdvi flag NX: an instruction that no table lets be executed") {
    for (auto const k : {amdvi_kind::guest, amdvi_kind::nested})
        for (unsigned i = 2; i < 6; ++i) {
            amdvi_unit u{k};
            u.entry(i) |= one_bit(63);
            CAPTURE(static_cast<int>(k), i);
            auto const answer = u.translate(execute);
            check_words(answer, u.ask(execute), 0x2057'2345'0001'00a5, u.guest_at);
            check_blame(answer, fault_stage::first, fault_at::input, 5 - i, u.g[i], u.entry(i));
            CHECK(u.translate(read_write));
            // Without NXSup the bit is reserved, for everybody.
            u.efr.set<"NXSup">(0);
            check_words(u.translate(), u.ask(), 0x2095'2345'0001'00a5, u.guest_at);
            check_words(u.translate(execute), u.ask(execute), 0x2097'2345'0001'00a5, u.guest_at);
        }
}

TEST_CASE("amdvi flags PR and PE: identity, host and guest rights") {
    amdvi_unit u{amdvi_kind::identity};
    u.dte.set<"IR">(0);
    check_words(u.translate(), u.ask(), 0x2050'0011'0000'00a5, u.host_at);
    check_words(u.translate(read_write), u.ask(read_write), 0x2070'0011'0000'00a5, u.host_at);
    check_words(u.translate(execute), u.ask(execute), 0x2050'0011'0000'00a5, u.host_at);
    CHECK(u.translate(write));
    amdvi_unit v;
    v.dte.set<"IW">(0);
    check_words(v.translate(write), v.ask(write), 0x2070'0011'0000'00a5, v.host_at);
    check_blame(v.translate(write), fault_stage::second, fault_at::input, 2, v.h3, 0x6000'0000'0100'1401);
    amdvi_unit w{amdvi_kind::guest};
    w.dte.set<"IR">(0);
    check_words(w.translate(), w.ask(), 0x2055'2345'0001'00a5, w.guest_at);
    check_blame(w.translate(), fault_stage::first, fault_at::input, 0, w.g[5], w.entry(5)); // the device alone: the leaf
    check_words(w.translate(execute), w.ask(execute), 0x2057'2345'0001'00a5, w.guest_at);
    CHECK(w.translate(write));
    w.entry(3) &= ~std::uint64_t{4};
    check_blame(w.translate(), fault_stage::first, fault_at::input, 2, w.g[3], w.entry(3)); // else the first that withholds
}

TEST_CASE("amdvi flag RZ: each reserved bit of host entries, with the policy for page migration") {
    for (bool const leaf : {false, true})
        for (bool const migrates : {false, true})
            for (unsigned b = 0; b < 64; ++b) {
                amdvi_unit u;
                u.rules.migration = migrates ? amdvi::page_migration::supported : amdvi::page_migration::reserved;
                u.memory[leaf ? u.h1 : u.h2] |= one_bit(b);
                bool const reserved = leaf ? b >= 52 && b <= (migrates ? 56 : 58) : b >= 52 && b <= 60;
                CAPTURE(leaf, migrates, b);
                auto const answer = u.translate(read);
                CHECK(((amdvi_flags(answer) & flag_rz) != 0) == reserved);
                if (reserved) check_words(answer, u.ask(), 0x2090'0011'0000'00a5, u.host_at);
            }
}

TEST_CASE("amdvi flag RZ: each reserved bit of GCR3 entries") {
    for (unsigned piece = 0; piece < 2; ++piece)
        for (unsigned b = 1; b < 64; ++b) {
            amdvi_unit u{amdvi_kind::guest};
            u.entry(piece) |= one_bit(b);
            bool const reserved = b < 12 || b > 51;
            CAPTURE(piece, b);
            auto const answer = u.translate(write);
            CHECK(((amdvi_flags(answer) & flag_rz) != 0) == reserved);
            if (!reserved) continue;
            check_words(answer, u.ask(write), 0x20b5'2345'0001'00a5, u.guest_at);
            check_blame(answer, fault_stage::configuration, fault_at::context, no_level, u.g[piece], u.entry(piece));
            u.entry(piece) &= ~std::uint64_t{1}; // not valid goes first
            check_words(u.translate(write), u.ask(write), 0x2025'2345'0001'00a5, u.guest_at);
        }
}

TEST_CASE("amdvi flag I: never of a memory request") {
    for (auto const k : every_amdvi_kind)
        for (std::uint64_t const at : {std::uint64_t{0xfee0'0000}, std::uint64_t{0xfd'f800'0000}, std::uint64_t{0x1000}}) {
            amdvi_unit u{k};
            u.rules.ht = amdvi::ht_range::reserved;
            u.dte.word[0] &= ~(std::uint64_t{3} << 61);
            u.dte.set<"IV">(1);
            auto r = u.untagged(at);
            CHECK((amdvi_flags(u.translate(r)) & flag_i) == 0);
            r.type = request_type::translation;
            CHECK((amdvi_flags(u.translate(r)) & flag_i) == 0);
        }
}

// --- hardware errors -----------------------------------------------------------------------------------------------------------

TEST_CASE("amdvi PAGE_TAB_HARDWARE_ERROR: each entry of host tables and guest tables, by its own address") {
    for (std::uint64_t const at : {amdvi_unit::h3, amdvi_unit::h2, amdvi_unit::h1}) {
        amdvi_unit u;
        u.memory.poison(at);
        auto const answer = u.translate();
        check_words(answer, u.ask(), 0x4200'0011'0000'00a5, at);
        CHECK(answer.error().input == u.host_at);
        CHECK(answer.error().entry == 0);
        check_words(u.translate(write), u.ask(write), 0x4220'0011'0000'00a5, at);
        check_words(u.translate(u.ats(read)), u.ats(read), 0x4300'0011'0000'00a5, at);
    }
    for (unsigned i = 0; i < 6; ++i) {
        amdvi_unit u{amdvi_kind::guest};
        u.memory.poison(u.g[i]);
        CAPTURE(i);
        check_words(u.translate(), u.ask(), 0x4201'2345'0001'00a5, u.g[i]);
        CHECK(u.translate().error().entry == 0);
        CHECK(u.translate().error().intermediate == 0);
        check_words(u.translate(execute), u.ask(execute), 0x4201'2345'0001'00a5, u.g[i]); // no NX, no US
        check_words(u.translate(write), u.ask(write), 0x4221'2345'0001'00a5, u.g[i]);
    }
}

TEST_CASE("amdvi PAGE_TAB_HARDWARE_ERROR: accessed and dirty bits that memory does not take") {
    for (std::uint64_t const at : {amdvi_unit::h3, amdvi_unit::h2, amdvi_unit::h1}) {
        amdvi_unit u;
        u.dte.set<"HAD">(1);
        u.memory.freeze(at);
        check_words(u.translate(), u.ask(), 0x4200'0011'0000'00a5, at);
    }
    amdvi_unit u;
    u.dte.set<"HAD">(3);
    for (std::uint64_t const at : {u.h3, u.h2, u.h1})
        u.memory[at] |= 0x20;
    u.memory.freeze(u.h1);
    CHECK(u.translate(read));
    check_words(u.translate(write), u.ask(write), 0x4220'0011'0000'00a5, u.h1);
    // Only the leaf gets D, and what is refused gets nothing.
    amdvi_unit v;
    v.dte.set<"HAD">(3);
    CHECK(v.translate(write));
    CHECK((v.memory[v.h3] & 0x60) == 0x20);
    CHECK((v.memory[v.h2] & 0x60) == 0x20);
    CHECK((v.memory[v.h1] & 0x60) == 0x60);
    amdvi_unit w;
    w.dte.set<"HAD">(3);
    w.memory[w.h1] &= ~one_bit(62);
    CHECK_FALSE(w.translate(write));
    CHECK((w.memory[w.h1] & 0x60) == 0);
    CHECK((w.memory[w.h2] & 0x60) == 0x20); // the way there was good
    for (unsigned i = 2; i < 6; ++i) {
        amdvi_unit g{amdvi_kind::guest};
        g.entry(i) &= ~std::uint64_t{0x20};
        g.memory.freeze(g.g[i]);
        check_words(g.translate(), g.ask(), 0x4201'2345'0001'00a5, g.g[i]);
    }
}

TEST_CASE("amdvi HAD: 0 marks nothing, 1 A, 3 A and D, and Control.HADUpdate is not looked at") {
    for (std::uint64_t const had : {0u, 1u, 3u})
        for (std::uint64_t mode = 0; mode < 4; ++mode)
            for (bool const leaves_only : {false, true})
                for (access const a : {read, write, read_write}) {
                    amdvi_unit u;
                    u.registers.main.set<"HADUpdate">(mode);
                    u.rules.accessed = leaves_only ? amdvi::host_accessed::leaves_only : amdvi::host_accessed::tables_too;
                    u.dte.set<"HAD">(had);
                    CHECK(u.translate(a));
                    CAPTURE(had, mode, leaves_only, a.bits);
                    CHECK((u.memory[u.h2] & 0x60) == (had == 0 || leaves_only ? 0 : 0x20));
                    CHECK((u.memory[u.h1] & 0x60) == (had == 0 ? 0 : had == 3 && a.covers(write) ? 0x60 : 0x20));
                }
}

// --- who is told ---------------------------------------------------------------------------------------------------------------

TEST_CASE("amdvi events: all 16 bits of DeviceID and domain, all 20 of the PASID, all 64 of the address") {
    for (unsigned b = 0; b < 16; ++b) {
        amdvi_unit u;
        u.memory[u.h1] = 0;
        u.dte.set<"DomainID">(one_bit(b));
        u.write_entry(u.table_at + one_bit(b) * 32);
        auto r = u.ask();
        r.source = static_cast<std::uint16_t>(one_bit(b));
        CAPTURE(b);
        check_words(u.unit().translate(r), r, 0x2000'0000'0000'0000 | one_bit(b + 32) | one_bit(b), u.host_at);
    }
    for (unsigned b = 0; b < 20; ++b) {
        amdvi_unit u{amdvi_kind::guest};
        u.dte.set<"GLX">(2);
        u.dte.set_gcr3_root(0xb00'0000);
        u.memory[0xb00'0000] = 0;
        auto r = u.ask();
        r.pasid = static_cast<std::uint32_t>(one_bit(b));
        CAPTURE(b);
        check_words(u.translate(r), r, 0x2005'0000'0000'00a5 | (b < 16 ? one_bit(b + 32) : one_bit(b)), u.guest_at);
    }
    for (unsigned b = 2; b < 64; ++b) {
        amdvi_unit u;
        u.dte.set<"TV">(0);
        check_words(u.translate_at(one_bit(b)), u.ask_at(one_bit(b)), 0x2000'0011'0000'00a5, one_bit(b));
    }
}

TEST_CASE("amdvi faults: what the event does not tell is asked for by name") {
    using amdvi::device_entry_error;
    using amdvi::invalid_request;
    amdvi_unit u;
    u.dte.set<"Mode">(7);
    CHECK(amdvi::entry_error_of(u.translate().error()) == device_entry_error::mode);
    CHECK_FALSE(amdvi::is_once(u.translate().error()));
    fault<event> beyond;
    beyond.code = event::io_page_fault;
    beyond.detail = amdvi::type_of(device_entry_error::beyond_table);
    CHECK(amdvi::entry_error_of(beyond) == device_entry_error::beyond_table);
    beyond.descriptor = 0x1000;
    CHECK(amdvi::entry_error_of(beyond) == device_entry_error::none);
    for (unsigned type = 0; type < 8; ++type) {
        fault<event> f;
        f.code = event::invalid_device_request;
        f.detail = amdvi::type_of(static_cast<invalid_request>(type)) | amdvi::fault_detail::translation;
        CHECK(amdvi::invalid_request_of(f) == static_cast<invalid_request>(type));
        CHECK_FALSE(amdvi::is_once(f));
        CHECK(amdvi::entry_error_of(f) == device_entry_error::none);
    }
    fault<event> page;
    page.code = event::io_page_fault;
    page.detail = amdvi::fault_detail::once;
    CHECK(amdvi::is_once(page));
    CHECK(amdvi::entry_error_of(page) == device_entry_error::none);
}

TEST_CASE("amdvi events: TV = 0 with a PASID has GN, US and the PASID, and no domain") {
    amdvi_unit u{amdvi_kind::guest};
    u.dte.set<"TV">(0);
    check_words(u.translate(), u.ask(), 0x2005'2345'0001'00a5, u.guest_at);
    check_words(u.translate(execute), u.ask(execute), 0x2007'2345'0001'00a5, u.guest_at);
    check_words(u.translate(write | privileged), u.ask(write | privileged), 0x2021'2345'0001'00a5, u.guest_at);
    check_words(u.translate(u.ats()), u.ats(), 0x2125'2345'0001'00a5, u.guest_at, false);
    auto const plain = u.untagged(0x5000, execute); // nor NX without
    check_words(u.translate(plain), plain, 0x2000'0011'0000'00a5, 0x5000);
}

} // namespace stagewalk::test
