// From the DeviceID to a checked device table entry: where it lies, every field of it, every way in which it can be illegal, and
// what becomes of requests that no table translates.
#include "amdvi_unit.hpp"

#include <cstdint>
#include <vector>

namespace stagewalk::test {
namespace {

using amdvi::device_entry_error;
using amdvi::event;
using dte = amdvi::device_table_entry;
using error = device_entry_error;

// Bit n of the entry, 0 to 255.
void flip(dte& e, unsigned n) { e.word[n / 64] ^= one_bit(n % 64); }

// A unit with no feature but host tables of six levels.
amdvi_unit bare(amdvi_kind k = amdvi_kind::host) {
    amdvi_unit u{k};
    u.efr.word[0] = 0x800;
    u.efr2.word[0] = 0;
    u.header.word[0] = 0;
    u.dte.set<"I">(0);
    return u;
}

// A field alone in an entry is those bits, in get and in set, and it is cut to its width.
template <field_name Name>
void check_field(unsigned word, unsigned hi, unsigned lo) {
    CAPTURE(word, hi, lo);
    std::uint64_t const width = low_mask(hi - lo + 1);
    dte e;
    e.set<Name>(every_bit);
    CHECK(e.word[word] == width << lo);
    for (unsigned w = 0; w < 4; ++w)
        if (w != word) CHECK(e.word[w] == 0);
    e = {};
    e.word[word] = one_bit(lo);
    CHECK(e.get<Name>() == 1);
    for (auto& w : e.word)
        w = every_bit;
    e.set<Name>(0);
    CHECK(e.word[word] == ~(width << lo));
}
// A field that is an address keeps it in place.
template <field_name Name>
void check_pointer(unsigned word, unsigned hi, unsigned lo) {
    CAPTURE(word, hi, lo);
    dte e;
    e.set<Name>(every_bit);
    CHECK(e.word[word] == bit_mask(hi, lo));
    CHECK(e.get<Name>() == bit_mask(hi, lo));
}

// What is wrong with an entry, and RZ of its event.
void check_illegal(amdvi_unit& u, amdvi::request const& r, error why, bool reserved) {
    auto const answer = u.translate(r);
    CHECK(amdvi_why(answer) == why);
    std::uint64_t const gn = r.has_pasid() ? flag_gn : 0;
    CHECK(amdvi_flags(answer) == ((reserved ? flag_rz : 0) | gn));
    if (answer) return;
    CHECK(answer.error().descriptor == u.dte_at);
    CHECK(answer.error().entry == u.dte.word[0]);
    CHECK(answer.error().reported);
    CHECK(u.memory.trail.size() == 4);
    // find() judges like translate().
    auto const found = u.find(r);
    REQUIRE_FALSE(found);
    CHECK(found.error() == answer.error());
}

} // namespace

// --- fields --------------------------------------------------------------------------------------------------------------------

TEST_CASE("amdvi DTE: every field stands where the manual has it") {
    check_field<"V">(0, 0, 0);
    check_field<"TV">(0, 1, 1);
    check_field<"CXLMemAttr">(0, 6, 4);
    check_field<"HAD">(0, 8, 7);
    check_field<"Mode">(0, 11, 9);
    check_pointer<"HostPageTableRoot">(0, 51, 12);
    check_field<"PPR">(0, 52, 52);
    check_field<"GPRP">(0, 53, 53);
    check_field<"GIoV">(0, 54, 54);
    check_field<"GV">(0, 55, 55);
    check_field<"GLX">(0, 57, 56);
    check_field<"GCR3 14:12">(0, 60, 58);
    check_field<"IR">(0, 61, 61);
    check_field<"IW">(0, 62, 62);
    check_field<"DomainID">(1, 15, 0);
    check_field<"GCR3 30:15">(1, 31, 16);
    check_field<"I">(1, 32, 32);
    check_field<"SE">(1, 33, 33);
    check_field<"SA">(1, 34, 34);
    check_field<"IoCtl">(1, 36, 35);
    check_field<"Cache">(1, 37, 37);
    check_field<"SD">(1, 38, 38);
    check_field<"EX">(1, 39, 39);
    check_field<"SysMgt">(1, 41, 40);
    check_field<"SATS">(1, 42, 42);
    check_field<"GCR3 51:31">(1, 63, 43);
    check_field<"IV">(2, 0, 0);
    check_field<"IntTabLen">(2, 4, 1);
    check_field<"IG">(2, 5, 5);
    check_pointer<"IntTabRoot">(2, 51, 6);
    check_field<"GPM">(2, 55, 54);
    check_field<"InitPass">(2, 56, 56);
    check_field<"EIntPass">(2, 57, 57);
    check_field<"NMIPass">(2, 58, 58);
    check_field<"HPTMode">(2, 59, 59);
    check_field<"IntCtl">(2, 61, 60);
    check_field<"Lint0Pass">(2, 62, 62);
    check_field<"Lint1Pass">(2, 63, 63);
    check_field<"VMTag">(3, 11, 0);
    check_field<"VMTagWrEn">(3, 14, 14);
    check_field<"vImuEn">(3, 15, 15);
    check_field<"GDeviceID">(3, 31, 16);
    check_field<"GuestID">(3, 47, 32);
    check_field<"AttrV">(3, 54, 54);
    check_field<"Mode0FC">(3, 55, 55);
    check_field<"SnoopAttr">(3, 63, 56);
}

TEST_CASE("amdvi DTE: what no field has is reserved") {
    CHECK(dte::reserved(0) == 0x8000'0000'0000'000c);
    CHECK(dte::reserved(1) == 0);
    CHECK(dte::reserved(2) == 0x0030'0000'0000'0000);
    CHECK(dte::reserved(3) == 0x001f'0000'0000'3000);
}

TEST_CASE("amdvi DTE: the GCR3 root is put together from three parts, and taken apart again") {
    for (unsigned bit = 12; bit < 52; ++bit) {
        dte e;
        e.set_gcr3_root(one_bit(bit));
        CAPTURE(bit);
        CHECK(e.gcr3_root() == one_bit(bit));
        std::uint64_t const in0 = bit < 15 ? one_bit(bit + 46) : 0;
        std::uint64_t const in1 = bit < 15 ? 0 : bit < 31 ? one_bit(bit + 1) : one_bit(bit + 12);
        CHECK(e.word[0] == in0);
        CHECK(e.word[1] == in1);
    }
    dte e;
    e.set_gcr3_root(every_bit);
    CHECK(e.word[0] == 0x1c00'0000'0000'0000);
    CHECK(e.word[1] == 0xffff'f800'ffff'0000);
    CHECK(e.gcr3_root() == 0x000f'ffff'ffff'f000);
    e.set_gcr3_root(0xfff);
    CHECK(e.gcr3_root() == 0);
    CHECK(e == dte{});
}

TEST_CASE("amdvi example E20: GCR3 root 7654321000h in an entry with GLX = 1, GIoV and GV") {
    dte e;
    e.word[0] = 0x65c0'0000'0000'0003;
    e.word[1] = 0x0007'6000'a864'0030;
    CHECK(e.gcr3_root() == 0x76'5432'1000);
    CHECK(e.get<"GCR3 14:12">() == 1);
    CHECK(e.get<"GCR3 30:15">() == 0xa864);
    CHECK(e.get<"GCR3 51:31">() == 0xec);
    CHECK(e.get<"GLX">() == 1);
    CHECK(e.get<"GIoV">() == 1);
    CHECK(e.get<"GV">() == 1);
    CHECK(e.get<"IR">() == 1);
    CHECK(e.get<"IW">() == 1);
    CHECK(e.get<"DomainID">() == 0x30);
    // The unit reads the PASID's entry there.
    amdvi_unit u{amdvi_kind::guest};
    u.dte = e;
    auto const answer = u.translate();
    CHECK(amdvi_event(answer) == event::page_tab_hardware_error);
    CHECK(answer.error().descriptor == 0x76'5432'1488);
}

TEST_CASE("amdvi example E22: the guest part that user space hands over is a whole entry but for host fields") {
    dte e;
    e.word[0] = 0x76c0'0000'0000'0003;
    e.word[1] = 0xabcd'e800'e246'0000;
    e.word[2] = 0x0040'0000'0000'0000;
    CHECK(e.gcr3_root() == 0x000a'bcde'f123'5000);
    CHECK(e.get<"GLX">() == 2);
    CHECK(e.get<"GIoV">() == 1);
    CHECK(e.get<"GV">() == 1);
    CHECK(e.get<"PPR">() == 0);
    CHECK(e.get<"GPM">() == 1);
    CHECK(e.get<"Mode">() == 0);
    CHECK(e.get<"DomainID">() == 0);
    amdvi_unit u{amdvi_kind::guest};
    u.dte = e;
    CHECK(u.entry_error() == error::none);
    u.efr.set<"GLXSup">(1);
    CHECK(u.entry_error() == error::gcr3_levels);
}

// --- where the entry lies ------------------------------------------------------------------------------------------------------

TEST_CASE("amdvi device table: entries are read in four words, ascending, and nothing else of the configuration is") {
    for (auto const k : every_amdvi_kind) {
        amdvi_unit u{k};
        CHECK(u.translate());
        REQUIRE(u.memory.trail.size() >= 4);
        for (unsigned w = 0; w < 4; ++w)
            CHECK(u.memory.trail[w] == u.dte_at + w * 8);
    }
    amdvi_unit u{amdvi_kind::identity};
    CHECK(u.translate());
    CHECK(u.memory.trail.size() == 4);
    CHECK(u.memory.attempts == 0);
}

TEST_CASE("amdvi example E51: a table of 4 KiB has 128 entries") {
    amdvi_unit u{amdvi_kind::identity};
    u.registers.table[0] = amdvi::device_table_base_register{0x8000'0000};
    CHECK(u.registers.table[0].entries() == 128);
    auto r = u.ask();
    CHECK(amdvi_why(u.translate(r)) == error::beyond_table); // A5h
    CHECK(u.memory.trail.empty());
    u.write_entry(u.table_at + 127 * 32);
    r.source = 127;
    CHECK(u.translate(r));
    r.source = 128;
    CHECK(amdvi_why(u.translate(r)) == error::beyond_table);
}

TEST_CASE("amdvi example E52: a table of 2 MiB has 65536 entries") {
    amdvi_unit u{amdvi_kind::identity};
    CHECK(u.registers.table[0].entries() == 65536);
    auto r = u.ask();
    r.source = 0xffff;
    u.write_entry(0x801f'ffe0);
    CHECK(u.unit().translate(r));
    CHECK(u.memory.trail.front() == 0x801f'ffe0);
    r.source = 0xa5;
    CHECK(u.translate(r));
    CHECK(u.memory.trail.front() == 0x8000'14a0);
    r.source = 0;
    u.memory[0x8000'0000] = 0;
    u.memory.forget();
    CHECK(amdvi_passes(u.unit().translate(r), r)); // V = 0
    CHECK(u.memory.trail.front() == 0x8000'0000);
}

TEST_CASE("amdvi device table: Size counts in 128 entries, whatever it is") {
    for (std::uint64_t size = 0; size < 512; ++size) {
        amdvi_unit u{amdvi_kind::identity};
        u.registers.table[0] = amdvi::device_table_base_register{0x8000'0000 | size};
        u.dte.set<"V">(0);
        std::uint64_t const entries = (size + 1) * 128;
        auto r = u.ask();
        r.source = static_cast<std::uint16_t>(entries - 1);
        u.write_entry(u.table_at + (entries - 1) * 32);
        CAPTURE(size);
        CHECK(amdvi_passes(u.unit().translate(r), r));
        if (entries > 0xffff) continue;
        r.source = static_cast<std::uint16_t>(entries);
        CHECK(amdvi_why(u.unit().translate(r)) == error::beyond_table);
        r.source = 0xffff;
        CHECK(amdvi_why(u.unit().translate(r)) == error::beyond_table);
    }
}

TEST_CASE("amdvi device table: the base is bits 51:12, and the reserved bits of the register do nothing") {
    amdvi_unit u{amdvi_kind::identity};
    u.registers.table[0] = amdvi::device_table_base_register{0xfff0'0000'8000'0ff0};
    CHECK(u.registers.table[0].entries() == 0x1f1 * 128);
    CHECK(u.translate());
    CHECK(u.memory.trail.front() == u.dte_at);
    u.registers.table[0] = amdvi::device_table_base_register{0x000f'ffff'ffff'f001};
    u.write_entry(0x10'0000'0000'0000 - 0x1000 + 0x14a0);
    CHECK(u.unit().translate(u.ask())); // the table runs past bit 51
}

TEST_CASE("amdvi device table: DevTblSegEn selects by the top bits of the DeviceID and masks the index") {
    struct {
        std::uint64_t enabled;
        std::uint16_t source;
        unsigned segment;
        std::uint64_t offset;
    } const cases[] = {
        {0, 0xc1a3, 0, 0xc1a3 * 32}, {1, 0xc1a3, 1, 0x8'3460},    {2, 0xc1a3, 3, 0x3460},      {3, 0xc1a3, 6, 0x3460},
        {0, 0xffff, 0, 0xffff * 32}, {1, 0xffff, 1, 0x7fff * 32}, {2, 0xffff, 3, 0x3fff * 32}, {3, 0xffff, 7, 0x1fff * 32},
        {1, 0x7fff, 0, 0x7fff * 32}, {2, 0x7fff, 1, 0x3fff * 32}, {3, 0x7fff, 3, 0x1fff * 32}, {1, 0x8000, 1, 0},
        {2, 0x8000, 2, 0},           {3, 0x8000, 4, 0},           {2, 0x4000, 1, 0},           {3, 0x4000, 2, 0},
        {3, 0x2000, 1, 0},           {3, 0x1fff, 0, 0x1fff * 32}, {3, 0xe000, 7, 0},           {2, 0x3fff, 0, 0x3fff * 32},
        {4, 0xc1a3, 0, 0xc1a3 * 32}, {5, 0xffff, 0, 0xffff * 32}, {6, 0x8000, 0, 0x8000 * 32}, {7, 0x2000, 0, 0x2000 * 32},
    };
    for (auto const& c : cases) {
        amdvi_unit u{amdvi_kind::identity};
        u.registers.main.set<"DevTblSegEn">(c.enabled);
        for (std::uint64_t s = 0; s < 8; ++s)
            u.registers.table[s] = amdvi::device_table_base_register{0x8000'01ff + s * 0x100'0000};
        std::uint64_t const at = 0x8000'0000 + c.segment * 0x100'0000 + c.offset;
        u.write_entry(at);
        auto r = u.ask();
        r.source = c.source;
        CAPTURE(c.enabled, c.source);
        CHECK(u.unit().translate(r));
        CHECK(u.memory.trail.front() == at);
    }
}

TEST_CASE("amdvi device table: no more segments than DevTblSegSup, and asking for more is as one") {
    for (std::uint64_t has = 0; has < 4; ++has)
        for (std::uint64_t wants = 0; wants < 8; ++wants) {
            amdvi_unit u;
            u.efr.set<"DevTblSegSup">(has);
            u.registers.main.set<"DevTblSegEn">(wants);
            CAPTURE(has, wants);
            CHECK(u.registers.segment_bits(u.caps()) == (wants <= has ? wants : 0));
        }
}

TEST_CASE("amdvi device table: the masked index is held against the Size of its own segment") {
    for (std::uint64_t const enabled : {1u, 2u, 3u}) {
        for (std::uint64_t s = 0; s < std::uint64_t{1} << enabled; ++s) {
            amdvi_unit u{amdvi_kind::identity};
            u.registers.main.set<"DevTblSegEn">(enabled);
            for (auto& t : u.registers.table)
                t = amdvi::device_table_base_register{0x9000'01ff};
            u.registers.table[s] = amdvi::device_table_base_register{0x8000'0001}; // 256 entries
            u.write_entry(u.table_at + 255 * 32);
            auto r = u.ask();
            r.source = static_cast<std::uint16_t>(s << (16 - enabled) | 255);
            CAPTURE(enabled, s);
            CHECK(u.unit().translate(r));
            ++r.source;
            CHECK(amdvi_why(u.unit().translate(r)) == error::beyond_table);
        }
    }
}

TEST_CASE("amdvi device table: a DeviceID beyond it is an illegal entry at address 0, or by policy a page fault of domain 0") {
    for (access const a : {read, write, read_write, execute}) {
        for (bool const tagged : {false, true}) {
            for (auto const type :
                 {amdvi::request_type::untranslated, amdvi::request_type::translation, amdvi::request_type::translated}) {
                amdvi_unit u{tagged ? amdvi_kind::guest : amdvi_kind::host};
                u.registers.table[0] = amdvi::device_table_base_register{0x8000'0000};
                u.registers.table[1] = amdvi::device_table_base_register{0x8000'01ff};
                auto const r = [&] {
                    auto q = u.typed(type, a);
                    q.source = 0x80;
                    return q;
                }();
                CAPTURE(a.bits, tagged, static_cast<unsigned>(type));
                std::uint64_t const common = (a.covers(write) ? flag_rw : 0) | (tagged ? flag_gn : 0) |
                                             (type == amdvi::request_type::translation ? flag_tr : 0);
                std::uint64_t const who = tagged ? 0x2345'0001'0080 : 0x80;
                auto const answer = u.translate(r);
                CHECK(amdvi_why(answer) == error::beyond_table);
                check_words(answer, r, 0x1000'0000'0000'0000 | common << 48 | who, 0);
                CHECK(answer.error().descriptor == 0);
                CHECK(u.memory.trail.empty());

                u.rules.missing = amdvi::missing_entry::page_fault;
                auto const other = u.translate(r);
                std::uint64_t const more = tagged ? flag_us | (a.covers(execute) ? flag_nx : 0) : 0;
                check_words(other, r, 0x2000'0000'0000'0000 | (common | more) << 48 | who, 0,
                            type != amdvi::request_type::translation);
                CHECK(u.memory.trail.empty());
                auto const found = u.find(r);
                REQUIRE_FALSE(found);
                CHECK(found.error() == other.error());
            }
        }
    }
}

TEST_CASE("amdvi DEV_TAB_HARDWARE_ERROR: each of the four words, with the address of the entry") {
    for (unsigned w = 0; w < 4; ++w)
        for (access const a : {read, write})
            for (auto const k : every_amdvi_kind) {
                amdvi_unit u{k};
                u.memory.poison(u.dte_at + w * 8);
                auto const answer = u.translate(a);
                CAPTURE(w, a.bits);
                // No PASID, no domain.
                std::uint64_t const word0 = a == write ? 0x3220'0000'0000'00a5 : 0x3200'0000'0000'00a5;
                check_words(answer, u.ask(a), word0, u.dte_at);
                CHECK(u.memory.trail.size() == w + 1);
                CHECK(answer.error().entry == 0);
            }
    amdvi_unit u;
    u.memory.poison(u.dte_at);
    check_words(u.translate(u.ats()), u.ats(), 0x3320'0000'0000'00a5, u.dte_at);
}

// --- V, TV, Mode, GV -----------------------------------------------------------------------------------------------------------

TEST_CASE("amdvi DTE: V = 0 lets everything pass, whatever else the entry says") {
    for (unsigned b = 1; b < 256; ++b) {
        auto u = bare();
        u.dte = {};
        flip(u.dte, b);
        CAPTURE(b);
        auto const r = u.ask(read_write);
        CHECK(amdvi_passes(u.translate(r), r));
    }
    for (auto const k : every_amdvi_kind)
        for (auto const type :
             {amdvi::request_type::untranslated, amdvi::request_type::translation, amdvi::request_type::translated}) {
            amdvi_unit u{k};
            u.dte.word[0] = ~std::uint64_t{1};
            for (unsigned w = 1; w < 4; ++w)
                u.dte.word[w] = every_bit;
            auto const r = u.typed(type, read_write);
            auto const answer = u.translate(r);
            CHECK(amdvi_passes(answer, r));
            if (answer) CHECK(answer->effective.rights() == read_write);
            CHECK(u.memory.trail.size() == 4);
            auto const found = u.find(r);
            REQUIRE(found);
            CHECK(found->kind == amdvi::binding_kind::bypass);
        }
}

TEST_CASE("amdvi example E18: TV = 0 refuses as not present, and is no pass-through") {
    amdvi_unit u{amdvi_kind::identity};
    u.dte = {};
    u.dte.word[0] = 1;
    u.dte.word[1] = 0x11;
    check_words(u.translate_at(0x5000), u.ask_at(0x5000), 0x2000'0011'0000'00a5, 0x5000);
    check_words(u.translate_at(0x5000, write), u.ask_at(0x5000, write), 0x2020'0011'0000'00a5, 0x5000);
    auto const answer = u.translate_at(0x5000);
    CHECK(answer.error().descriptor == u.dte_at);
    CHECK(answer.error().entry == 1);
}

TEST_CASE("amdvi DTE: TV = 0 refuses whatever Mode, GV, IR and IW say, and their encodings do not count") {
    for (std::uint64_t mode = 0; mode < 8; ++mode)
        for (bool const gv : {false, true})
            for (std::uint64_t rights = 0; rights < 4; ++rights) {
                amdvi_unit u{amdvi_kind::host};
                u.dte.set<"TV">(0);
                u.dte.set<"Mode">(mode);
                u.dte.set<"GV">(gv);
                u.dte.set<"GIoV">(gv);
                u.dte.set<"GLX">(3);
                u.dte.set<"GPM">(3);
                u.dte.set<"HAD">(2);
                u.dte.set<"IR">(rights & 1);
                u.dte.set<"IW">(rights >> 1);
                CAPTURE(mode, gv, rights);
                auto const answer = u.translate(write);
                CHECK(amdvi_event(answer) == event::io_page_fault);
                CHECK(amdvi_flags(answer) == flag_rw);
                CHECK(u.memory.trail.size() == 4);
                auto const found = u.find(u.ask(write));
                REQUIRE_FALSE(found);
                CHECK(found.error() == answer.error());
            }
}

TEST_CASE("amdvi DTE: of untagged requests Mode and GV make identity, host tables, guest tables or both") {
    struct {
        std::uint64_t mode;
        bool gv;
        bool giov;
        amdvi::binding_kind kind;
    } const cases[] = {
        {0, false, false, amdvi::binding_kind::identity}, {0, false, true, amdvi::binding_kind::identity},
        {3, false, false, amdvi::binding_kind::host},     {3, false, true, amdvi::binding_kind::host},
        {0, true, false, amdvi::binding_kind::identity},  {0, true, true, amdvi::binding_kind::guest},
        {3, true, false, amdvi::binding_kind::host},      {3, true, true, amdvi::binding_kind::nested},
    };
    for (auto const& c : cases) {
        amdvi_unit u{c.mode == 0 ? amdvi_kind::guest : amdvi_kind::nested};
        u.by_default();
        u.dte.set<"GV">(c.gv);
        u.dte.set<"GIoV">(c.giov);
        bool const guest = c.kind == amdvi::binding_kind::guest || c.kind == amdvi::binding_kind::nested;
        auto const r = u.untagged(guest ? u.guest_at : u.g[u.page]);
        CAPTURE(c.mode, c.gv, c.giov);
        auto const answer = u.translate(r);
        REQUIRE(answer);
        CHECK(answer->output.value == u.where(u.page));
        CHECK((answer->by == passage::bypassed) == (c.kind == amdvi::binding_kind::identity));
        auto const found = u.find(r);
        REQUIRE(found);
        CHECK(found->kind == c.kind);
        CHECK(found->pasid == (guest ? 0 : amdvi::no_pasid));
        CHECK(found->guest_root == (guest ? 0x600'0000 : 0));
        CHECK(found->entry == u.dte);
    }
}

TEST_CASE("amdvi find: what a request with PASID is bound to, with stages that translate like the unit") {
    for (auto const k : {amdvi_kind::guest, amdvi_kind::nested}) {
        amdvi_unit u{k};
        auto const found = u.find(u.ask());
        REQUIRE(found);
        CHECK(found->kind == (k == amdvi_kind::guest ? amdvi::binding_kind::guest : amdvi::binding_kind::nested));
        CHECK(found->pasid == u.pasid);
        CHECK(found->guest_root == 0x600'0000);
        CHECK(found->guest_levels() == 4);
        if (k == amdvi_kind::guest) {
            auto const stage = u.unit().guest_stage_of(*found);
            auto const direct = walk(stage, u.memory, iova{u.guest_at}, write);
            REQUIRE(direct);
            CHECK(direct->output.value == u.to());
        } else {
            CHECK(u.unit().nested_guest_stage_of(*found).root().value == 0x600'0000);
            CHECK(u.unit().nested_guest_stage_of(*found).width() == 48);
            CHECK(u.unit().nested_host_stage_of(*found).root().value == 0x100'0000);
            CHECK(u.unit().nested_host_stage_of(*found).top() == 2);
        }
    }
    amdvi_unit u;
    auto const found = u.find(u.ask());
    REQUIRE(found);
    auto const stage = u.unit().host_stage_of(*found);
    auto const direct = walk(stage, u.memory, iova{u.host_at}, read);
    REQUIRE(direct);
    CHECK(direct->output.value == u.to());
}

TEST_CASE("amdvi find: the address, the kind of request and IommuEn do not matter, a refusal is that of translate") {
    amdvi_unit u;
    u.registers.main.set<"IommuEn">(0);
    u.dte.set<"I">(0);
    auto r = u.ats();
    r.address = iova{0xfee0'0000};
    CHECK(u.find(r));
    amdvi_unit v{amdvi_kind::nested};
    for (unsigned i = 0; i < 2; ++i) { // the GCR3 tables
        std::uint64_t const kept = v.entry(i);
        v.entry(i) = 0;
        auto const answer = v.translate();
        auto const found = v.find(v.ask());
        REQUIRE_FALSE(found);
        CHECK(found.error() == answer.error());
        v.entry(i) = kept;
        v.leaf(i) ^= 1;
        auto const other = v.translate();
        auto const again = v.find(v.ask());
        REQUIRE_FALSE(again);
        CHECK(again.error() == other.error());
        v.leaf(i) ^= 1;
    }
    for (unsigned i = 0; i < 2; ++i) {
        amdvi_unit w{amdvi_kind::nested};
        w.memory.poison(w.where(i));
        auto const answer = w.translate();
        auto const found = w.find(w.ask());
        REQUIRE_FALSE(found);
        CHECK(found.error() == answer.error());
        CHECK(found.error().descriptor == w.where(i));
    }
    v.dte.set<"GV">(0);
    auto const found = v.find(v.ask());
    REQUIRE_FALSE(found);
    CHECK(amdvi_type(found) == 7);
}

TEST_CASE("amdvi DTE: Mode is the depth of the host tables, 1 to 6") {
    for (std::uint64_t mode = 1; mode <= 6; ++mode) {
        amdvi_unit u;
        u.dte.set<"Mode">(mode);
        u.dte.set<"HostPageTableRoot">(0x200'0000);
        for (std::uint64_t level = mode; level > 1; --level)
            u.memory[0x200'0000 + (mode - level) * 0x1000] =
                0x6000'0000'0000'0001 | (0x200'0000 + (mode - level + 1) * 0x1000) | (level - 1) << 9;
        u.memory[0x200'0000 + (mode - 1) * 0x1000] = 0x6000'0000'9abc'd001;
        CAPTURE(mode);
        auto const answer = u.translate_at(0x789);
        REQUIRE(answer);
        CHECK(answer->output.value == 0x9abc'd789);
        CHECK(u.memory.trail.size() == 4 + mode);
        // One byte beyond is not covered, and no entry is read.
        if (mode == 6) continue;
        auto const beyond = u.translate_at(std::uint64_t{1} << (12 + 9 * mode));
        CHECK(amdvi_event(beyond) == event::io_page_fault);
        CHECK(amdvi_flags(beyond) == 0);
        CHECK(u.memory.trail.size() == 4);
    }
}

TEST_CASE("amdvi DTE: the host root is bits 51:12") {
    amdvi_unit u;
    u.dte.set<"HostPageTableRoot">(0x000f'ffff'ffff'f000);
    u.memory[0x000f'ffff'ffff'f0e0] = 0x6000'0000'0100'1401;
    CHECK(u.translate());
    CHECK(u.memory.trail[4] == 0x000f'ffff'ffff'f0e0);
}

// --- reserved bits -------------------------------------------------------------------------------------------------------------

TEST_CASE("amdvi DTE: each bit of an entry on a unit without features") {
    for (unsigned b = 0; b < 256; ++b) {
        auto u = bare();
        flip(u.dte, b);
        unsigned const w = b / 64;
        unsigned const n = b % 64;
        auto const is = [&](unsigned word, unsigned hi, unsigned lo) { return w == word && n >= lo && n <= hi; };
        auto const want = is(0, 3, 2) || is(0, 63, 63)     ? error::reserved_bits
                          : is(0, 6, 4)                    ? error::reserved_attributes
                          : is(0, 8, 7)                    ? error::reserved_host_updates
                          : is(0, 11, 11)                  ? error::mode // 7
                          : is(0, 53, 53)                  ? error::reserved_page_response
                          : is(0, 54, 54)                  ? error::reserved_guest_default
                          : is(0, 60, 55)                  ? error::reserved_guest
                          : is(1, 31, 16) || is(1, 63, 43) ? error::reserved_guest
                          : is(1, 32, 32)                  ? error::reserved_iotlb
                          : is(1, 42, 42)                  ? error::reserved_secure_ats
                          : is(2, 55, 54)                  ? error::reserved_guest
                                                           : error::none;
        auto const answer = u.translate();
        CAPTURE(b);
        CHECK(amdvi_why(answer) == want);
        if (want == error::none)
            CHECK((amdvi_event(answer) == event::illegal_dev_table_entry) == false);
        else
            CHECK(amdvi_flags(answer) == (want == error::mode ? 0 : flag_rz));
        // With V = 0 it would be nothing.
        u.dte.set<"V">(0);
        CHECK(u.translate());
        // The masks for TV = 0 are the same.
        if (want == error::none || want == error::mode) continue;
        u.dte.set<"V">(1);
        u.dte.set<"TV">(0);
        CHECK(u.entry_error() == want);
    }
}

TEST_CASE("amdvi DTE: each bit of an entry on a unit with every feature") {
    for (auto const k : {amdvi_kind::host, amdvi_kind::identity, amdvi_kind::guest})
        for (bool const on : {false, true})
            for (unsigned b = 0; b < 256; ++b) {
                amdvi_unit u{k};
                u.registers.main.set<"GTEn">(on);
                if (!on) u.dte.set<"GV">(0);
                flip(u.dte, b);
                bool const guest = k == amdvi_kind::guest;
                auto want = b == 2 || b == 3 || b == 63 ? error::reserved_bits
                            : b == 8                    ? error::host_updates // HAD = 2
                            : b == 55 && !on            ? error::reserved_guest
                                                        : error::none;
                if (b == 11 && k == amdvi_kind::host) want = error::mode;     // 3 becomes 7
                if (on && guest && b == 57) want = error::gcr3_levels;        // GLX 1 becomes 3
                if (on && guest && b == 128 + 55) want = error::guest_levels; // GPM = 2
                if (on && !guest && b == 128 + 55) want = error::none;        // no guest
                CAPTURE(static_cast<int>(k), on, b);
                CHECK(u.entry_error() == want);
            }
}

TEST_CASE("amdvi DTE: every reserved bit that depends on a feature, by that feature alone") {
    struct {
        void (*lack)(amdvi_unit&);
        void (*use)(amdvi_unit&);
        error why;
    } const cases[] = {
        {[](auto& u) { u.efr2.template set<"CXLIoSup">(0); }, [](auto& u) { u.dte.template set<"CXLMemAttr">(1); },
         error::reserved_attributes},
        {[](auto& u) { u.efr2.template set<"CXLIoSup">(0); }, [](auto& u) { u.dte.template set<"CXLMemAttr">(4); },
         error::reserved_attributes},
        {[](auto& u) { u.efr.template set<"HASup">(0); }, [](auto& u) { u.dte.template set<"HAD">(1); },
         error::reserved_host_updates},
        {[](auto& u) { u.efr.template set<"HASup">(0); }, [](auto& u) { u.dte.template set<"HAD">(2); },
         error::reserved_host_updates},
        {[](auto& u) { u.efr.template set<"HASup">(0); }, [](auto& u) { u.dte.template set<"HAD">(3); },
         error::reserved_host_updates},
        {[](auto& u) { u.efr.template set<"HDSup">(0); }, [](auto& u) { u.dte.template set<"HAD">(3); },
         error::reserved_host_updates},
        {[](auto& u) { u.efr.template set<"EPHSup">(0); }, [](auto& u) { u.dte.template set<"GPRP">(1); },
         error::reserved_page_response},
        {[](auto& u) { u.efr.template set<"GIoSup">(0); }, [](auto& u) { u.dte.template set<"GIoV">(1); },
         error::reserved_guest_default},
        {[](auto& u) { u.header.template set<"IotlbSup">(0); }, [](auto& u) { u.dte.template set<"I">(1); },
         error::reserved_iotlb},
        {[](auto& u) { u.efr.template set<"SATSSup">(0); }, [](auto& u) { u.dte.template set<"SATS">(1); },
         error::reserved_secure_ats},
        {[](auto& u) { u.efr.template set<"GTSup">(0); }, [](auto& u) { u.dte.template set<"GV">(1); }, error::reserved_guest},
        {[](auto& u) { u.efr.template set<"GTSup">(0); }, [](auto& u) { u.dte.template set<"GLX">(1); }, error::reserved_guest},
        {[](auto& u) { u.efr.template set<"GTSup">(0); }, [](auto& u) { u.dte.set_gcr3_root(0x4000); }, error::reserved_guest},
        {[](auto& u) { u.efr.template set<"GTSup">(0); }, [](auto& u) { u.dte.set_gcr3_root(0x8000); }, error::reserved_guest},
        {[](auto& u) { u.efr.template set<"GTSup">(0); }, [](auto& u) { u.dte.set_gcr3_root(0x8000'0000); },
         error::reserved_guest},
        {[](auto& u) { u.efr.template set<"GTSup">(0); }, [](auto& u) { u.dte.template set<"GPM">(1); }, error::reserved_guest},
    };
    unsigned row = 0;
    for (auto const& c : cases) {
        for (bool const tv : {true, false})
            for (bool const on : {true, false})
                for (auto const policy : {amdvi::guest_disabled::reserved, amdvi::guest_disabled::ignored}) {
                    amdvi_unit u;
                    u.registers.main.set<"GTEn">(on);
                    u.rules.guest = policy;
                    u.dte.set<"TV">(tv);
                    u.dte.set<"I">(0);
                    u.dte.set<"GPRP">(0);
                    CAPTURE(row, tv, on, static_cast<unsigned>(policy));
                    c.lack(u);
                    CHECK(u.entry_error() == error::none);
                    c.use(u);
                    check_illegal(u, u.ask(), c.why, true);
                }
        ++row;
    }
    // HAD = 1 needs no HDSup.
    amdvi_unit u;
    u.efr.set<"HDSup">(0);
    u.dte.set<"HAD">(1);
    CHECK(u.entry_error() == error::none);
}

TEST_CASE("amdvi DTE: GV while guest translation is off is a reserved bit, or by policy nothing at all") {
    amdvi_unit u{amdvi_kind::guest};
    u.by_default();
    u.registers.main.set<"GTEn">(0);
    check_illegal(u, u.ask(), error::reserved_guest, true);
    u.dte.set<"GV">(0); // GIoV, GLX and the GCR3 root alone do nothing
    auto const untagged = u.untagged(u.guest_at);
    CHECK(amdvi_passes(u.translate(untagged), untagged));
    u.dte.set<"GV">(1);
    u.rules.guest = amdvi::guest_disabled::ignored;
    CHECK(amdvi_passes(u.translate(untagged), untagged));
    CHECK(u.memory.trail.size() == 4);
    CHECK(amdvi_type(u.translate()) == 7); // with PASID
    u.dte.set<"GLX">(3);
    u.dte.set<"GPM">(3);
    CHECK(amdvi_passes(u.translate(untagged), untagged));
    auto const found = u.find(untagged);
    REQUIRE(found);
    CHECK(found->kind == amdvi::binding_kind::identity);
    // Without GTSup the policy has nothing to say.
    u.efr.set<"GTSup">(0);
    check_illegal(u, untagged, error::reserved_guest, true);
    // And GTEn does not make up for it.
    u.registers.main.set<"GTEn">(1);
    check_illegal(u, untagged, error::reserved_guest, true);
}

// --- encodings -----------------------------------------------------------------------------------------------------------------

TEST_CASE("amdvi DTE: Mode beyond HATS is illegal, or by policy not present") {
    for (std::uint64_t hats = 0; hats < 3; ++hats)
        for (std::uint64_t mode = 0; mode < 8; ++mode) {
            amdvi_unit u;
            u.efr.set<"HATS">(hats);
            u.dte.set<"Mode">(mode);
            bool const legal = mode <= hats + 4;
            CAPTURE(hats, mode);
            CHECK(u.entry_error() == (legal ? error::none : error::mode));
            if (legal) continue;
            check_illegal(u, u.ask(), error::mode, false);
            u.rules.mode = amdvi::illegal_mode::page_fault;
            auto const answer = u.translate(write);
            CHECK(amdvi_event(answer) == event::io_page_fault);
            check_words(answer, u.ask(write), 0x2020'0011'0000'00a5, u.host_at);
            CHECK(u.memory.trail.size() == 4);
        }
}

TEST_CASE("amdvi example E19d: Mode 7") {
    amdvi_unit u;
    u.dte.word[0] = 0x6000'0000'0100'0e03;
    check_words(u.translate(), u.ask(), 0x1000'0000'0000'00a5, 0x7'2345'6788);
    check_words(u.translate(write), u.ask(write), 0x1020'0000'0000'00a5, 0x7'2345'6788);
}

TEST_CASE("amdvi DTE: HATS = 3 is no host translation: any Mode is too large, and a root is illegal whatever the policy") {
    for (auto const policy : {amdvi::illegal_mode::illegal_entry, amdvi::illegal_mode::page_fault}) {
        amdvi_unit u{amdvi_kind::identity};
        u.rules.mode = policy;
        u.efr.set<"HATS">(3);
        CHECK(u.entry_error() == error::none);
        for (std::uint64_t mode = 0; mode < 8; ++mode) {
            u.dte.set<"Mode">(mode);
            for (std::uint64_t const root : {one_bit(12), one_bit(51)}) {
                u.dte.set<"HostPageTableRoot">(root);
                check_illegal(u, u.ask(), error::no_host_translation, false);
            }
            u.dte.set<"HostPageTableRoot">(0);
            if (mode == 0) continue;
            if (policy == amdvi::illegal_mode::illegal_entry)
                check_illegal(u, u.ask(), error::mode, false);
            else
                CHECK(amdvi_event(u.translate()) == event::io_page_fault);
        }
        u.dte.set<"HostPageTableRoot">(0x1000);
        u.dte.set<"TV">(0); // nothing of it counts
        CHECK(u.entry_error() == error::none);
        amdvi_unit v{amdvi_kind::guest};
        v.efr.set<"HATS">(3);
        CHECK(v.translate());
    }
    // Elsewhere a root without Mode is nothing.
    amdvi_unit u{amdvi_kind::identity};
    u.dte.set<"HostPageTableRoot">(0x100'0000);
    CHECK(u.translate());
}

TEST_CASE("amdvi DTE: HAD = 2 with TV = 1") {
    for (auto const k : every_amdvi_kind) {
        amdvi_unit u{k};
        u.dte.set<"HAD">(2);
        check_illegal(u, u.ask(), error::host_updates, false);
        u.efr.set<"HDSup">(0);
        check_illegal(u, u.ask(), error::host_updates, false);
        u.dte.set<"TV">(0);
        CHECK(u.entry_error() == error::none);
        for (std::uint64_t const had : {0u, 1u, 3u}) {
            amdvi_unit v{k};
            v.dte.set<"HAD">(had);
            CHECK(v.translate());
        }
    }
}

TEST_CASE("amdvi DTE: IoCtl = 3 with V = 1, whatever TV says") {
    for (auto const k : every_amdvi_kind)
        for (bool const tv : {false, true}) {
            amdvi_unit u{k};
            u.dte.set<"TV">(tv);
            u.dte.set<"IoCtl">(3);
            check_illegal(u, u.ask(), error::port_io, false);
            for (std::uint64_t const legal : {0u, 1u, 2u}) {
                u.dte.set<"IoCtl">(legal);
                CHECK(u.entry_error() == error::none);
            }
        }
}

TEST_CASE("amdvi DTE: Mode = 0 while SNP is on") {
    for (auto const k : every_amdvi_kind) {
        amdvi_unit u{k};
        u.snp = true;
        if (u.has_host()) {
            CHECK(u.translate());
            continue;
        }
        check_illegal(u, u.ask(), error::identity, false);
        u.dte.set<"TV">(0);
        CHECK(u.entry_error() == error::none);
        u.dte.set<"V">(0);
        CHECK(u.translate());
    }
}

TEST_CASE("amdvi DTE: GLX of 3, or beyond GLXSup, where there is a guest") {
    for (auto const k : {amdvi_kind::guest, amdvi_kind::nested})
        for (std::uint64_t sup = 0; sup < 3; ++sup)
            for (std::uint64_t glx = 0; glx < 4; ++glx) {
                amdvi_unit u{k};
                u.efr.set<"GLXSup">(sup);
                u.dte.set<"GLX">(glx);
                CAPTURE(static_cast<int>(k), sup, glx);
                if (glx > sup)
                    check_illegal(u, u.ask(), error::gcr3_levels, false);
                else
                    CHECK(u.entry_error() == error::none);
                // A request without PASID that uses no guest makes no difference.
                CHECK(amdvi_why(u.translate(u.untagged(0x1000))) == (glx > sup ? error::gcr3_levels : error::none));
                u.dte.set<"GV">(0);
                CHECK(amdvi_why(u.translate(u.untagged(0x1000))) == error::none);
            }
    amdvi_unit u{amdvi_kind::guest};
    u.efr.set<"GLXSup">(3); // no IOMMU says so
    u.dte.set<"GLX">(3);
    CHECK(u.entry_error() == error::gcr3_levels);
}

TEST_CASE("amdvi DTE: GPM of 2 or 3, or 1 without five guest levels, where there is a guest") {
    for (auto const k : {amdvi_kind::guest, amdvi_kind::nested})
        for (bool const five : {false, true})
            for (std::uint64_t gpm = 0; gpm < 4; ++gpm) {
                amdvi_unit u{k};
                u.efr.set<"GATS">(five);
                u.dte.set<"GPM">(gpm);
                bool const legal = gpm == 0 || (gpm == 1 && five);
                CAPTURE(static_cast<int>(k), five, gpm);
                if (legal)
                    CHECK(u.entry_error() == error::none);
                else
                    check_illegal(u, u.ask(), error::guest_levels, false);
                u.dte.set<"GV">(0);
                CHECK(amdvi_why(u.translate(u.untagged(0x1000))) == error::none);
            }
}

TEST_CASE("amdvi DTE: reserved bits go before encodings") {
    for (bool const five : {false, true}) {
        amdvi_unit u{amdvi_kind::guest};
        u.efr.set<"GATS">(five);
        u.efr.set<"SATSSup">(0);
        u.dte.set<"GLX">(3);
        u.dte.set<"GPM">(3);
        u.dte.set<"HAD">(2);
        u.dte.set<"Mode">(7);
        u.dte.set<"IoCtl">(3);
        CHECK(amdvi_flags(u.translate()) == flag_gn);
        u.dte.set<"SATS">(1);
        CHECK(amdvi_flags(u.translate()) == (flag_gn | flag_rz));
        u.dte.set<"SATS">(0);
        u.dte.word[0] |= 4;
        CHECK(amdvi_flags(u.translate()) == (flag_gn | flag_rz));
        u.rules.mode = amdvi::illegal_mode::page_fault;
        CHECK(u.entry_error() == error::reserved_bits);
    }
}

TEST_CASE("amdvi DTE: interrupt fields and the words 2 and 3 do not count for memory") {
    for (auto const k : every_amdvi_kind) {
        amdvi_unit u{k};
        u.dte.word[2] = 0xff3f'ffff'ffff'ffff; // all but GPM
        u.dte.word[3] = every_bit;
        CHECK(u.translate());
    }
}

// --- capabilities --------------------------------------------------------------------------------------------------------------

TEST_CASE("amdvi capabilities: host levels, guest levels, PASID width") {
    for (std::uint64_t hats = 0; hats < 4; ++hats)
        CHECK(amdvi::capabilities{hats << 10}.host_levels() == (hats == 3 ? 0 : hats + 4));
    CHECK_FALSE(amdvi::capabilities{0}.five_guest_levels());
    CHECK(amdvi::capabilities{0x1000}.five_guest_levels());
    for (std::uint64_t max = 0; max < 32; ++max)
        CHECK(amdvi::capabilities{max << 32}.pasid_size() == max + 1);
    CHECK_FALSE(amdvi::capabilities{std::uint64_t{1} << 49}.keeps_host_dirty());
    CHECK_FALSE(amdvi::capabilities{std::uint64_t{1} << 52}.keeps_host_dirty());
    CHECK(amdvi::capabilities{std::uint64_t{9} << 49}.keeps_host_dirty());
    CHECK(amdvi::capabilities{}.host_levels() == 4);
    CHECK_FALSE(amdvi::capabilities{}.has<"IotlbSup">());
    CHECK(amdvi::capabilities{0}.has<"IotlbSup">());
    CHECK_FALSE(amdvi::capabilities{every_bit, every_bit, ~(1u << 24)}.has<"IotlbSup">());
}

TEST_CASE("amdvi capabilities: each feature bit is where the manual has it") {
    auto const in_efr = [](auto has, unsigned bit) {
        CAPTURE(bit);
        CHECK(has(amdvi::capabilities{one_bit(bit)}));
        CHECK_FALSE(has(amdvi::capabilities{~one_bit(bit)}));
    };
    in_efr([](auto const& c) { return c.template has<"PreFSup">(); }, 0);
    in_efr([](auto const& c) { return c.template has<"PPRSup">(); }, 1);
    in_efr([](auto const& c) { return c.template has<"XTSup">(); }, 2);
    in_efr([](auto const& c) { return c.template has<"NXSup">(); }, 3);
    in_efr([](auto const& c) { return c.template has<"GTSup">(); }, 4);
    in_efr([](auto const& c) { return c.template has<"IASup">(); }, 6);
    in_efr([](auto const& c) { return c.template has<"GASup">(); }, 7);
    in_efr([](auto const& c) { return c.template has<"SATSSup">(); }, 31);
    in_efr([](auto const& c) { return c.template has<"USSup">(); }, 37);
    in_efr([](auto const& c) { return c.template has<"SnoopAttrSup">(); }, 47);
    in_efr([](auto const& c) { return c.template has<"GIoSup">(); }, 48);
    in_efr([](auto const& c) { return c.template has<"HASup">(); }, 49);
    in_efr([](auto const& c) { return c.template has<"EPHSup">(); }, 50);
    in_efr([](auto const& c) { return c.template has<"AttrFWSup">(); }, 51);
    in_efr([](auto const& c) { return c.template has<"HDSup">(); }, 52);
    in_efr([](auto const& c) { return c.template has<"V2HDDisSup">(); }, 53);
    in_efr([](auto const& c) { return c.template has<"InvIotlbTypeSup">(); }, 54);
    in_efr([](auto const& c) { return c.template has<"vIommuSup">(); }, 55);
    in_efr([](auto const& c) { return c.template has<"V2HADisSup">(); }, 61);
    in_efr([](auto const& c) { return c.template has<"ForcePhyDestSup">(); }, 62);
    in_efr([](auto const& c) { return c.template has<"SNPSup">(); }, 63);
    auto const in_efr2 = [](auto has, unsigned bit) {
        CAPTURE(bit);
        CHECK(has(amdvi::capabilities{0, one_bit(bit)}));
        CHECK_FALSE(has(amdvi::capabilities{0, ~one_bit(bit)}));
    };
    in_efr2([](auto const& c) { return c.template has<"CXLIoSup">(); }, 0);
    in_efr2([](auto const& c) { return c.template has<"SevSnpIoSup">(); }, 1);
    in_efr2([](auto const& c) { return c.template has<"GCR3TRPModeSup">(); }, 3);
    in_efr2([](auto const& c) { return c.template has<"HTRangeIgnore">(); }, 11);
    amdvi::extended_feature_register const all{every_bit};
    CHECK(all.mask<"HATS">() == 0xc00);
    CHECK(all.mask<"GATS">() == 0x3000);
    CHECK(all.mask<"GLXSup">() == 0xc000);
    CHECK(all.mask<"GAMSup">() == 0xe0'0000);
    CHECK(all.mask<"PASmax">() == 0x1f'0000'0000);
    CHECK(all.mask<"DevTblSegSup">() == 0xc0'0000'0000);
    CHECK(amdvi::extended_feature_register_2::mask<"NumIntRemapSup">() == 0x300);
    CHECK(amdvi::capability_header::mask<"CapId">() == 0xff);
    CHECK(amdvi::capability_header::mask<"CapType">() == 0x7'0000);
    CHECK(amdvi::capability_header::mask<"CapRev">() == 0xf8'0000);
    CHECK(amdvi::capability_header::mask<"IotlbSup">() == 0x100'0000);
    CHECK(amdvi::capability_header::mask<"NpCache">() == 0x400'0000);
    CHECK(amdvi::capability_header::mask<"EFRSup">() == 0x800'0000);
}

TEST_CASE("amdvi capabilities: registers that no IOMMU can have") {
    using amdvi::capability_error;
    constexpr std::uint64_t gt = 0x10;
    CHECK(amdvi::capabilities{}.contradiction() == capability_error::none);
    CHECK(amdvi_unit{}.caps().contradiction() == capability_error::none);
    // QEMU shows the reserved GATS = 2: no reason to refuse the whole unit.
    for (std::uint64_t const gats : {2u, 3u}) {
        CHECK(amdvi::capabilities{gt | gats << 12}.contradiction() == capability_error::none);
        CHECK(amdvi::capabilities{gt | gats << 12}.five_guest_levels());
    }
    CHECK(amdvi::capabilities{gt | 3 << 14}.contradiction() == capability_error::gcr3_levels);
    CHECK(amdvi::capabilities{3 << 14}.contradiction() == capability_error::none);
    CHECK(amdvi::capabilities{std::uint64_t{20} << 32}.contradiction() == capability_error::pasid_size);
    CHECK(amdvi::capabilities{std::uint64_t{19} << 32}.contradiction() == capability_error::none);
    CHECK(amdvi::capabilities{0, 0x200}.contradiction() == capability_error::interrupt_table_size);
    CHECK(amdvi::capabilities{0, 0x100}.contradiction() == capability_error::none);
}

TEST_CASE("amdvi control: each bit that counts is where the manual has it") {
    using amdvi::control_register;
    CHECK(control_register::mask<"IommuEn">() == one_bit(0));
    CHECK(control_register::mask<"EventLogEn">() == one_bit(2));
    CHECK(control_register::mask<"EventIntEn">() == one_bit(3));
    CHECK(control_register::mask<"ComWaitIntEn">() == one_bit(4));
    CHECK(control_register::mask<"InvTimeOut">() == bit_mask(7, 5));
    CHECK(control_register::mask<"Coherent">() == one_bit(10));
    CHECK(control_register::mask<"CmdBufEn">() == one_bit(12));
    CHECK(control_register::mask<"PPRLogEn">() == one_bit(13));
    CHECK(control_register::mask<"PPREn">() == one_bit(15));
    CHECK(control_register::mask<"GTEn">() == one_bit(16));
    CHECK(control_register::mask<"GAEn">() == one_bit(17));
    CHECK(control_register::mask<"GAMEn">() == bit_mask(27, 25));
    CHECK(control_register::mask<"DualEventLogEn">() == bit_mask(33, 32));
    CHECK(control_register::mask<"DevTblSegEn">() == bit_mask(36, 34));
    CHECK(control_register::mask<"PrivAbrtEn">() == bit_mask(38, 37));
    CHECK(control_register::mask<"NumIntRemapMode">() == bit_mask(44, 43));
    CHECK(control_register::mask<"EPHEn">() == one_bit(45));
    CHECK(control_register::mask<"HADUpdate">() == bit_mask(47, 46));
    CHECK(control_register::mask<"GDUpdateDis">() == one_bit(48));
    CHECK(control_register::mask<"XTEn">() == one_bit(50));
    CHECK(control_register::mask<"GAUpdateDis">() == one_bit(54));
    CHECK(control_register::mask<"TMPMEn">() == one_bit(56));
    CHECK(control_register::mask<"GCR3TRPMode">() == one_bit(58));
    CHECK(control_register::mask<"SNPAVICEn">() == bit_mask(63, 61));
}

TEST_CASE("amdvi control: switches that need a feature do nothing without it") {
    amdvi::control c{every_bit, 0};
    amdvi::capabilities const full{0x7fff'ffff'ffff'ffff, every_bit};
    CHECK(c.translates_guests(full));
    CHECK(c.is_gcr3_root_guest(full));
    CHECK_FALSE(c.marks_guest_accessed(full));
    CHECK_FALSE(c.marks_guest_dirty(full));
    amdvi::capabilities const none{0, 0};
    CHECK_FALSE(c.translates_guests(none));
    CHECK_FALSE(c.is_gcr3_root_guest(none));
    CHECK(c.marks_guest_accessed(none));
    CHECK(c.marks_guest_dirty(none));
    amdvi::control const off{0, 0};
    CHECK_FALSE(off.translates_guests(full));
    CHECK_FALSE(off.is_gcr3_root_guest(full));
    CHECK(off.marks_guest_accessed(full));
    CHECK(off.marks_guest_dirty(full));
    // Each for itself: V2HDDisSup is bit 53, V2HADisSup bit 61.
    CHECK(c.marks_guest_accessed(amdvi::capabilities{one_bit(53)}));
    CHECK_FALSE(c.marks_guest_dirty(amdvi::capabilities{one_bit(53)}));
    CHECK_FALSE(c.marks_guest_accessed(amdvi::capabilities{one_bit(61)}));
    CHECK(c.marks_guest_dirty(amdvi::capabilities{one_bit(61)}));
    c.main = amdvi::control_register{one_bit(48)};
    CHECK(c.marks_guest_accessed(full));
    CHECK_FALSE(c.marks_guest_dirty(full));
    c.main = amdvi::control_register{one_bit(54)};
    CHECK_FALSE(c.marks_guest_accessed(full));
    CHECK(c.marks_guest_dirty(full));
}

TEST_CASE("amdvi capabilities: GTSup, NXSup and the update switches reach the walk") {
    amdvi_unit u{amdvi_kind::guest};
    u.entry(5) = 0x8000'0001'2345'6007; // NX, no A, no D
    CHECK(u.translate(write));
    CHECK(u.memory.updates.size() == 1);
    CHECK(u.entry(5) == 0x8000'0001'2345'6067);
    u.efr.set<"NXSup">(0);
    auto const answer = u.translate();
    CHECK(amdvi_flags(answer) == (flag_gn | flag_us | flag_pr | flag_rz));
    struct {
        bool no_accessed;
        bool no_dirty;
        std::uint64_t after;
    } const cases[] = {{false, false, 0x67}, {true, false, 0x47}, {false, true, 0x27}, {true, true, 0x07}};
    for (auto const& c : cases)
        for (bool const sup : {false, true}) {
            amdvi_unit v{amdvi_kind::guest};
            v.efr.set<"V2HADisSup">(sup);
            v.efr.set<"V2HDDisSup">(sup);
            v.registers.main.set<"GAUpdateDis">(c.no_accessed);
            v.registers.main.set<"GDUpdateDis">(c.no_dirty);
            for (unsigned i = 2; i < 6; ++i)
                v.entry(i) &= ~std::uint64_t{0x60};
            CAPTURE(c.no_accessed, c.no_dirty, sup);
            CHECK(v.translate(write));
            CHECK((v.entry(5) & 0xff) == (sup ? c.after : 0x67));
            CHECK((v.entry(2) & 0xff) == (sup && c.no_accessed ? 0x07 : 0x27));
        }
}

} // namespace stagewalk::test
