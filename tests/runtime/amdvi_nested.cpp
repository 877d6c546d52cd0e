// AMD-Vi, guest tables over host tables: whose address each pointer is, which of the two refuses what and what is told of it,
// accessed and dirty bits of both, page sizes, rights and attributes.
#include "amdvi_unit.hpp"
#include "host_memory.hpp"

#include <stagewalk/amdvi/ats.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <vector>

namespace stagewalk::test {
namespace {

using amdvi::event;
using amdvi::request_type;
using update = amdvi_unit::memory_type::update;

constexpr auto both = amdvi_kind::nested;
constexpr std::uint64_t ir = std::uint64_t{1} << 61;
constexpr std::uint64_t iw = std::uint64_t{1} << 62;

// The host entries that lead to piece i: the top, the middle, the leaf.
std::uint64_t top_of(unsigned i) { return i == amdvi_unit::page ? amdvi_unit::top_high : amdvi_unit::top_low; }
std::uint64_t mid_of(unsigned i) {
    return i < 2 ? amdvi_unit::mid_gcr3 : i < amdvi_unit::page ? amdvi_unit::mid_table : amdvi_unit::mid_page;
}

// A request of each kind: the guest's tables grant them all to everybody.
constexpr access some_access[]{read, write, read_write, execute, read | privileged, write | privileged};

// Flags of the request itself.
std::uint64_t flags_of(access a) {
    return flag_gn | (a.covers(write) ? flag_rw : 0) | (a.covers(execute) ? flag_nx : 0) | (a.covers(privileged) ? 0 : flag_us);
}
// Flags that a host fault before piece i has of the request.
std::uint64_t flags_behind(unsigned i, access a) {
    return i == amdvi_unit::page ? flags_of(a) : flags_of(a) & (flag_gn | flag_us);
}

template <class Outcome>
void check_host_fault(Outcome const& result, amdvi_unit const& u, unsigned i, std::uint64_t flags, std::uint64_t descriptor,
                      amdvi::request const& r, bool reported = true) {
    REQUIRE_FALSE(result);
    auto const& f = result.error();
    CHECK(f.code == event::io_page_fault);
    CHECK(amdvi_flags(result) == flags);
    CHECK(f.stage == fault_stage::second);
    CHECK(f.descriptor == descriptor);
    CHECK(f.input == r.address.value);
    CHECK(f.intermediate == u.g[i]);
    // PASID 12345h instead of a domain, and the address that the device asked for.
    check_words(result, r, 0x2000'2345'0001'00a5 | flags << 48, u.guest_at, reported);
}

} // namespace

TEST_CASE("amdvi nested: every pointer of the guest goes through the host tables, in this order and no other") {
    for (access const a : some_access) {
        amdvi_unit u{both};
        auto const answer = u.translate(a);
        REQUIRE(answer);
        CHECK(answer->output.value == u.where(u.page));
        CHECK(answer->lg2_size == 12);
        CHECK(answer->by == passage::walked);
        std::vector<std::uint64_t> want;
        for (unsigned w = 0; w < 4; ++w)
            want.push_back(u.dte_at + w * 8);
        for (unsigned i = 0; i < u.pieces; ++i) {
            want.insert(want.end(), {top_of(i), mid_of(i), u.leaves[i]});
            if (i < u.page) want.push_back(u.where(i));
        }
        CHECK(u.memory.trail == want);
        CHECK(u.memory.attempts == 0);

        // A tracer sees the same.
        std::vector<std::uint64_t> seen;
        auto const traced = u.unit().translate(u.ask(a), [&](auto const& s) {
            if constexpr (requires { s.table; })
                seen.push_back(s.address);
            else
                seen.push_back(s.at.address);
        });
        CHECK(traced == answer);
        // The guest's entries by the address that the guest knows.
        want.erase(want.begin() + 1, want.begin() + 4);
        for (unsigned i = 0; i < u.page; ++i)
            std::replace(want.begin(), want.end(), u.where(i), u.g[i]);
        CHECK(seen == want);
    }
}

TEST_CASE("amdvi nested: whose address each GCR3 pointer is") {
    for (std::uint64_t const mode : {0u, 3u})
        for (bool const has : {false, true})
            for (bool const on : {false, true})
                for (auto const policy : {amdvi::gcr3_pointers::guest, amdvi::gcr3_pointers::as_root})
                    for (std::uint64_t glx = 0; glx < 3; ++glx) {
                        amdvi_unit u{both};
                        u.efr2.set<"GCR3TRPModeSup">(has);
                        u.registers.main.set<"GCR3TRPMode">(on);
                        u.rules.pointers = policy;
                        u.dte.set<"Mode">(mode);
                        u.dte.set<"GLX">(glx);
                        u.memory[0x101'1010] = 0x6000'0007'7777'7001; // behind 5002000h
                        constexpr std::uint64_t host_pages[]{u.behind[0], u.behind[1], 0x7'7777'7000};
                        bool const root_is_guests = mode != 0 && has && on;
                        auto r = u.ask(write);
                        r.pasid = 0x0'00de & 0x1ff;
                        std::vector<std::uint64_t> want;
                        for (std::uint64_t n = 0; n <= glx; ++n) {
                            bool const is_guests =
                                mode != 0 && (root_is_guests || (n > 0 && policy == amdvi::gcr3_pointers::guest));
                            std::uint64_t const offset = n == glx ? 0xde * 8 : 0;
                            std::uint64_t const guests = host_pages[n] + offset;
                            std::uint64_t const systems = 0x500'0000 + n * 0x1000 + offset;
                            std::uint64_t const entry = n == glx ? 0x600'0001 : 0x500'0001 + (n + 1) * 0x1000;
                            u.memory[guests] = is_guests ? entry : 0;
                            u.memory[systems] = is_guests ? 0 : entry;
                            want.push_back(is_guests ? guests : systems);
                        }
                        // The guest's tables and its page are always its own.
                        std::uint64_t const root = mode == 0 ? 0x600'07f0 : u.where(2);
                        want.push_back(root);
                        if (mode == 0)
                            for (unsigned i = 2; i < u.page; ++i) {
                                u.memory[u.g[i]] = u.entry(i);
                                u.entry(i) = 0;
                            }
                        CAPTURE(mode, has, on, static_cast<unsigned>(policy), glx);
                        auto const answer = u.translate(r);
                        REQUIRE(answer);
                        CHECK(answer->output.value == (mode == 0 ? u.g[u.page] : u.where(u.page)));
                        std::vector<std::uint64_t> read_there;
                        for (std::uint64_t const at : u.memory.trail)
                            if (std::find(want.begin(), want.end(), at) != want.end()) read_there.push_back(at);
                        CHECK(read_there == want);
                        // find() goes the same way.
                        auto const found = u.find(r);
                        REQUIRE(found);
                        CHECK(found->guest_root == 0x600'0000);
                    }
}

// --- host faults ---------------------------------------------------------------------------------------------------------------

TEST_CASE("amdvi nested: a host fault before each piece of the guest's, with its flags, the GVA, the GPA and the PASID") {
    struct {
        std::uint64_t clear;
        std::uint64_t set;
        std::uint64_t flags;
    } const causes[] = {{1, 0, 0},
                        {0, one_bit(52), flag_pr | flag_rz},
                        {0, one_bit(57), flag_pr | flag_rz},
                        {0, 0x200, flag_pr},                                     // NextLevel 1 at level 1
                        {0x000f'ffff'ffff'f000, 0x000f'ffff'ffff'fe00, flag_pr}, // a page of no size
                        {ir | iw, 0, flag_pr | flag_pe}};
    for (auto const& c : causes)
        for (unsigned i = 0; i < amdvi_unit::pieces; ++i)
            for (access const a : some_access) {
                amdvi_unit u{both};
                u.leaf(i) = (u.leaf(i) & ~c.clear) | c.set;
                CAPTURE(c.clear, c.set, i, a.bits);
                auto const answer = u.translate(a);
                check_host_fault(answer, u, i, c.flags | flags_behind(i, a), u.leaves[i], u.ask(a));
                CHECK(answer.error().entry == u.leaf(i));
                CHECK(std::uint64_t{answer.error().level} == 0);
                CHECK(answer.error().reported);
                CHECK(u.memory.updates.empty());
                CHECK(u.memory.trail.size() == 4 + 4 * i + 3);
            }
}

TEST_CASE("amdvi nested: the upper host entries refuse too") {
    for (bool const mid : {false, true})
        for (unsigned i = 0; i < amdvi_unit::pieces; ++i) {
            amdvi_unit u{both};
            std::uint64_t const at = mid ? mid_of(i) : top_of(i);
            u.memory[at] = 0;
            // The first piece behind it.
            unsigned first = 0;
            while ((mid ? mid_of(first) : top_of(first)) != at)
                ++first;
            CAPTURE(mid, i);
            auto const answer = u.translate(write);
            check_host_fault(answer, u, first, flags_behind(first, write), at, u.ask(write));
            CHECK(std::uint64_t{answer.error().level} == (mid ? 1 : 2));
        }
}

TEST_CASE("amdvi nested: tables need host reading, the page what the request needs") {
    for (unsigned i = 0; i < amdvi_unit::pieces; ++i)
        for (std::uint64_t const missing : {ir, iw})
            for (access const a : some_access) {
                amdvi_unit u{both};
                u.leaf(i) &= ~missing;
                bool const needs = i < u.page      ? missing == ir
                                   : missing == iw ? a.covers(write)
                                                   : a.covers(read) || a.covers(execute);
                CAPTURE(i, missing, a.bits);
                auto const answer = u.translate(a);
                if (needs)
                    check_host_fault(answer, u, i, flag_pr | flag_pe | flags_behind(i, a), u.leaves[i], u.ask(a));
                else
                    CHECK(answer);
            }
}

TEST_CASE("amdvi nested: IR and IW of the device bind its access and no table") {
    for (std::uint64_t rights = 0; rights < 4; ++rights)
        for (access const a : some_access) {
            amdvi_unit u{both};
            for (unsigned i = 2; i < u.page; ++i)
                u.entry(i) &= ~std::uint64_t{0x60}; // updates too
            u.dte.set<"IR">(rights & 1);
            u.dte.set<"IW">(rights >> 1);
            std::uint64_t const need = (a.covers(write) ? 2u : 0u) | (a.covers(read) || a.covers(execute) ? 1u : 0u);
            CAPTURE(rights, a.bits);
            auto const answer = u.translate(a);
            CHECK(u.entry(4) == 0x600'3027);
            if ((need & ~rights) == 0) {
                REQUIRE(answer);
                CHECK((answer->effective.rights() & read_write) == access{rights});
            } else {
                check_host_fault(answer, u, u.page, flag_pr | flag_pe | flags_of(a), u.top_high, u.ask(a));
            }
        }
}

TEST_CASE("amdvi nested: an address of the guest's that the host tables do not cover is not present") {
    for (unsigned i = 0; i < amdvi_unit::pieces; ++i)
        for (std::uint64_t const far : {one_bit(39), one_bit(51)}) {
            amdvi_unit u{both};
            if (i == 0)
                u.dte.set_gcr3_root(0x500'0000 | far);
            else
                u.entry(i - 1) |= far;
            CAPTURE(i, far);
            auto const answer = u.translate(write);
            CHECK(amdvi_event(answer) == event::io_page_fault);
            CHECK(amdvi_flags(answer) == flags_behind(i, write));
            CHECK(answer.error().stage == fault_stage::second);
            CHECK(answer.error().descriptor == 0);
            CHECK(answer.error().intermediate == (u.g[i] | far));
            CHECK(u.memory.trail.size() == 4 + 4 * i);
            check_words(answer, u.ask(write), 0x2000'2345'0001'00a5 | flags_behind(i, write) << 48, u.guest_at);
        }
}

// --- the guest's own faults ----------------------------------------------------------------------------------------------------

TEST_CASE("amdvi nested: the guest's own faults tell the request's flags, and the entry as the guest knows it") {
    struct {
        unsigned piece;
        std::uint64_t clear;
        std::uint64_t set;
        std::uint64_t flags;
    } const cases[] = {
        {0, 1, 0, 0},
        {0, 0, 2, flag_pr | flag_rz},
        {0, 0, one_bit(11), flag_pr | flag_rz},
        {1, 1, 0, 0},
        {1, 0, one_bit(63), flag_pr | flag_rz},
        {1, 0, one_bit(52), flag_pr | flag_rz},
        {2, 1, 0, 0},
        {2, 0, 0x80, flag_pr | flag_rz},
        {3, 1, 0, 0},
        {3, 0, 0x2080, flag_pr | flag_rz}, // 1 GiB, bit 13
        {4, 0, 0x2080, flag_pr | flag_rz}, // 2 MiB, bit 13
        {5, 1, 0, 0},
        {5, 2, 0, flag_pr | flag_pe},
        {2, 2, 0, flag_pr | flag_pe},
        {4, 4, 0, flag_pr | flag_pe},
    };
    unsigned row = 0;
    for (auto const& c : cases) {
        amdvi_unit u{both};
        u.entry(c.piece) = (u.entry(c.piece) & ~c.clear) | c.set;
        CAPTURE(row);
        auto const answer = u.translate(write);
        check_words(answer, u.ask(write), 0x2000'2345'0001'00a5 | (c.flags | flags_of(write)) << 48, u.guest_at);
        CHECK(answer.error().descriptor == u.g[c.piece]);
        CHECK(answer.error().entry == u.entry(c.piece));
        CHECK(answer.error().stage == (c.piece < 2 ? fault_stage::configuration : fault_stage::first));
        CHECK(u.memory.updates.empty());
        ++row;
    }
}

TEST_CASE("amdvi nested: the guest's rights are judged before the host tables are asked for its page") {
    amdvi_unit u{both};
    u.entry(3) &= ~std::uint64_t{2};
    u.leaf(6) = 0;
    auto const answer = u.translate(write);
    CHECK(amdvi_flags(answer) == (flag_pr | flag_pe | flags_of(write)));
    CHECK(answer.error().descriptor == u.g[3]); // the first that withholds
    CHECK(answer.error().stage == fault_stage::first);
    // But not before the host tables refuse a table further down.
    u.leaf(5) = 0;
    check_host_fault(u.translate(write), u, 5, flags_behind(5, write), u.leaves[5], u.ask(write));
}

TEST_CASE("amdvi nested: an entry that cannot be read is told by the system's address, host or guest") {
    for (access const a : {read, write, execute})
        for (unsigned i = 0; i < amdvi_unit::pieces; ++i) {
            // Bits 58:57: nobody answered. No US, no NX.
            std::uint64_t const common = 0x4200'2345'0001'00a5 | flag_gn << 48;
            std::uint64_t const rw = a == write ? flag_rw << 48 : 0;
            amdvi_unit u{both};
            u.memory.poison(u.leaves[i]);
            CAPTURE(a.bits, i);
            auto const of_host = u.translate(a);
            check_words(of_host, u.ask(a), common | (i == u.page ? rw : 0), u.leaves[i]);
            CHECK(of_host.error().intermediate == u.g[i]);
            if (i == u.page) continue;
            amdvi_unit v{both};
            v.memory.poison(v.where(i));
            auto const of_guest = v.translate(a);
            check_words(of_guest, v.ask(a), common | rw, v.where(i));
            CHECK(of_guest.error().intermediate == v.g[i]);
            CHECK(of_guest.error().reported);
        }
}

// --- accessed and dirty bits ---------------------------------------------------------------------------------------------------

TEST_CASE("amdvi nested: accessed and dirty bits of the guest are written where the host tables say") {
    for (access const a : {read, write}) {
        amdvi_unit u{both};
        for (unsigned i = 2; i < u.page; ++i)
            u.entry(i) &= ~std::uint64_t{0x60};
        CHECK(u.translate(a));
        std::vector<update> want;
        for (unsigned i = 2; i < u.page; ++i) {
            std::uint64_t const before = i == 5 ? 0x1'2345'6007 : 0x600'1007 + (i - 2) * 0x1000;
            want.push_back({u.where(i), before, before | (i == 5 && a == write ? 0x60u : 0x20u)});
        }
        CHECK(u.memory.updates == want);
    }
}

TEST_CASE("amdvi nested: a guest's update needs host writing, and its refusal is a write") {
    for (unsigned i = 2; i < amdvi_unit::page; ++i)
        for (access const a : {read, write, execute}) {
            amdvi_unit u{both};
            for (unsigned k = 0; k < u.page; ++k)
                u.leaf(k) &= ~iw; // reading is enough for what is marked
            CHECK(u.translate(a));
            u.entry(i) &= ~std::uint64_t{0x20};
            CAPTURE(i, a.bits);
            auto const answer = u.translate(a);
            std::uint64_t const flags = flag_gn | flag_us | flag_pr | flag_pe | flag_rw;
            check_host_fault(answer, u, i, flags, u.leaves[i], u.ask(a));
            CHECK(u.memory.updates.empty());
            // The GCR3 tables are never written.
            u.leaf(i) |= iw;
            CHECK(u.translate(a));
            CHECK(u.memory.updates.size() == 1);
        }
}

TEST_CASE("amdvi nested: host accessed and dirty bits of tables, updates and the page") {
    for (std::uint64_t const had : {0u, 1u, 3u})
        for (bool const leaves_only : {false, true})
            for (bool const owes : {false, true}) // the guest's entries need updates
                for (access const a : {read, write}) {
                    amdvi_unit u{both};
                    u.dte.set<"HAD">(had);
                    u.rules.accessed = leaves_only ? amdvi::host_accessed::leaves_only : amdvi::host_accessed::tables_too;
                    if (owes)
                        for (unsigned i = 2; i < u.page; ++i)
                            u.entry(i) &= ~std::uint64_t{0x60};
                    CAPTURE(had, leaves_only, owes, a.bits);
                    CHECK(u.translate(a));
                    for (unsigned i = 0; i < u.pieces; ++i) {
                        bool const written = i == u.page ? a == write : owes && i >= 2;
                        std::uint64_t const want = had == 0 ? 0 : had == 1 ? 0x20 : written ? 0x60 : 0x20;
                        CAPTURE(i);
                        CHECK((u.leaf(i) & 0x60) == want);
                        std::uint64_t const above = had == 0 || leaves_only ? 0 : 0x20;
                        CHECK((u.memory[mid_of(i)] & 0x60) == above);
                        CHECK((u.memory[top_of(i)] & 0x60) == above);
                    }
                }
}

TEST_CASE("amdvi nested: HAD = 1 and read-only pages get no dirty bit") {
    amdvi_unit u{both};
    u.dte.set<"HAD">(3);
    u.leaf(6) &= ~iw;
    CHECK_FALSE(u.translate(write));
    CHECK((u.leaf(6) & 0x60) == 0);
    CHECK(u.translate(read));
    CHECK((u.leaf(6) & 0x60) == 0x20);
}

TEST_CASE("amdvi nested: the leaves are updated when nothing refuses, the host's first") {
    amdvi_unit u{both};
    u.dte.set<"HAD">(3);
    u.entry(5) &= ~std::uint64_t{0x60};
    CHECK(u.translate(write));
    REQUIRE(u.memory.updates.size() >= 2);
    auto const& list = u.memory.updates;
    // The host's page, the host's page of the guest's table being written, the guest's entry.
    REQUIRE(list.size() >= 3);
    CHECK(list[list.size() - 3].at == u.leaves[6]);
    CHECK(list[list.size() - 2].at == u.leaves[5]);
    CHECK(list[list.size() - 2].to == (0x6000'0000'0000'0061 | u.behind[5]));
    CHECK(list[list.size() - 1].at == u.where(5));

    // A host that refuses the page leaves the guest's entry alone.
    amdvi_unit v{both};
    v.entry(5) &= ~std::uint64_t{0x60};
    v.leaf(6) &= ~iw;
    CHECK_FALSE(v.translate(write));
    CHECK((v.entry(5) & 0x60) == 0);
    // A guest that refuses the access has neither updated.
    amdvi_unit w{both};
    w.dte.set<"HAD">(3);
    w.entry(5) = 0x1'2345'6005;
    CHECK_FALSE(w.translate(write));
    CHECK((w.leaf(6) & 0x60) == 0);
    CHECK((w.entry(5) & 0x60) == 0);
    // A host that refuses the guest's update has marked the page.
    amdvi_unit x{both};
    x.dte.set<"HAD">(3);
    x.entry(5) &= ~std::uint64_t{0x60};
    x.leaf(5) &= ~iw;
    check_host_fault(x.translate(write), x, 5, flag_gn | flag_us | flag_pr | flag_pe | flag_rw, x.leaves[5], x.ask(write));
    CHECK((x.leaf(6) & 0x60) == 0x60);
}

TEST_CASE("amdvi nested: an update that memory does not take is told by the system's address") {
    for (unsigned i = 2; i < amdvi_unit::page; ++i)
        for (access const a : {read, write}) {
            amdvi_unit u{both};
            u.entry(i) &= ~std::uint64_t{0x20};
            u.memory.freeze(u.where(i));
            CAPTURE(i, a.bits);
            check_words(u.translate(a), u.ask(a), a == write ? 0x4221'2345'0001'00a5 : 0x4201'2345'0001'00a5, u.where(i));
        }
    for (unsigned i = 0; i < amdvi_unit::pieces; ++i)
        for (access const a : {read, write}) {
            amdvi_unit u{both};
            u.dte.set<"HAD">(1);
            u.memory.freeze(u.leaves[i]);
            CAPTURE(i, a.bits);
            auto const answer = u.translate(a);
            bool const rw = i == u.page && a == write;
            check_words(answer, u.ask(a), rw ? 0x4221'2345'0001'00a5 : 0x4201'2345'0001'00a5, u.leaves[i]);
            CHECK(answer.error().intermediate == u.g[i]);
        }
}

TEST_CASE("amdvi nested: a host dirty bit that a guest's update needs, and memory does not take") {
    for (unsigned i = 2; i < amdvi_unit::page; ++i) {
        amdvi_unit u{both};
        u.dte.set<"HAD">(3);
        CHECK(u.translate()); // A everywhere
        u.entry(i) &= ~std::uint64_t{0x20};
        u.memory.freeze(u.leaves[i]);
        CAPTURE(i);
        auto const answer = u.translate();
        check_words(answer, u.ask(), 0x4221'2345'0001'00a5, u.leaves[i]); // a write, though the request reads
        CHECK(answer.error().intermediate == u.g[i]);
    }
}

TEST_CASE("amdvi nested: who changes an entry under the walk makes it start again, not for ever") {
    struct {
        unsigned piece;
        bool host;
    } const cases[] = {{2, false}, {4, false}, {5, false}, {0, true}, {3, true}, {5, true}, {6, true}};
    for (auto const& c : cases) {
        amdvi_unit u{both};
        u.dte.set<"HAD">(c.host ? 1 : 0);
        if (!c.host) u.entry(c.piece) &= ~std::uint64_t{0x20};
        std::uint64_t const at = c.host ? u.leaves[c.piece] : u.where(c.piece);
        bool once = true;
        u.memory.meddle = [&](std::uint64_t where) {
            if (where == at && once) u.memory[where] ^= one_bit(c.host ? 1 : 57); // for software
            if (where == at) once = false;
        };
        CAPTURE(c.piece, c.host);
        auto const answer = u.translate();
        REQUIRE(answer);
        CHECK(answer->output.value == u.to());
        CHECK((u.memory[at] & 0x20) != 0);
        // And for ever.
        amdvi_unit v{both};
        v.dte.set<"HAD">(c.host ? 1 : 0);
        if (!c.host) v.entry(c.piece) &= ~std::uint64_t{0x20};
        std::size_t tries = 0;
        v.memory.meddle = [&](std::uint64_t where) {
            if (where != at) return;
            v.memory[where] ^= one_bit(c.host ? 1 : 57);
            ++tries;
        };
        check_words(v.translate(), v.ask(), 0x4201'2345'0001'00a5, at);
        CHECK(tries == max_restarts + 1);
        CHECK((v.memory[at] & 0x20) == 0);
    }
}

TEST_CASE("amdvi nested: an entry that becomes another under the walk is judged anew") {
    amdvi_unit u{both};
    u.entry(5) &= ~std::uint64_t{0x20};
    u.memory.meddle = [&](std::uint64_t where) {
        if (where == u.where(5)) u.entry(5) = 0;
    };
    auto const answer = u.translate();
    CHECK(amdvi_event(answer) == event::io_page_fault);
    CHECK(amdvi_flags(answer) == flags_of(read));
    amdvi_unit v{both};
    v.dte.set<"HAD">(1);
    v.memory.meddle = [&](std::uint64_t where) {
        if (where == v.leaves[6]) v.leaf(6) = 0;
    };
    check_host_fault(v.translate(), v, v.page, flags_of(read), v.leaves[6], v.ask());
}

// --- translation requests ------------------------------------------------------------------------------------------------------

TEST_CASE("amdvi nested: a translation request dirties only what both grant") {
    for (bool const guest : {false, true})
        for (bool const host : {false, true})
            for (bool const device : {false, true})
                for (access const a : {read, read_write}) {
                    amdvi_unit u{both};
                    u.dte.set<"HAD">(3);
                    u.dte.set<"IW">(device);
                    u.entry(5) = guest ? 0x1'2345'6007 : 0x1'2345'6005;
                    if (!host) u.leaf(6) &= ~iw;
                    CAPTURE(guest, host, device, a.bits);
                    auto const answer = u.translate(u.ats(a));
                    REQUIRE(answer);
                    bool const granted = guest && host && device;
                    bool const asked = a == read_write;
                    CHECK(answer->effective.rights().covers(read));
                    // Without asking, a write that D should see is not granted.
                    CHECK(answer->effective.rights().covers(write) == (granted && asked));
                    CHECK((u.entry(5) & 0x60) == (granted && asked ? 0x60 : 0x20));
                    CHECK((u.leaf(6) & 0x60) == (granted && asked ? 0x60 : 0x20));
                }
}

TEST_CASE("amdvi nested: a translation request takes no dirty bit away") {
    for (bool const accessed : {false, true})
        for (access const a : {read, read_write}) {
            amdvi_unit u{both};
            u.entry(5) = 0x1'2345'6047 | (accessed ? 0x20u : 0u);
            u.leaf(6) &= ~iw; // the guest would grant writing, the host does not
            auto const answer = u.translate(u.ats(a));
            REQUIRE(answer);
            CAPTURE(accessed, a.bits);
            CHECK_FALSE(answer->effective.rights().covers(write));
            CHECK(u.entry(5) == 0x1'2345'6067);
        }
}

TEST_CASE("amdvi nested: a request to look, of a page that is dirty already, is told of writing") {
    amdvi_unit u{both};
    u.dte.set<"HAD">(3);
    u.leaf(6) |= 0x40;
    auto answer = u.translate(u.ats(read));
    REQUIRE(answer);
    CHECK(answer->effective.rights() == (read_write | execute));
    u.leaf(6) ^= 0x40; // the host's is clean
    answer = u.translate(u.ats(read));
    REQUIRE(answer);
    CHECK(answer->effective.rights() == (read | execute));
    u.leaf(6) |= 0x40;
    u.entry(5) ^= 0x40; // the guest's is
    answer = u.translate(u.ats(read));
    REQUIRE(answer);
    CHECK(answer->effective.rights() == (read | execute));
}

TEST_CASE("amdvi nested: a translation request still needs the tables, and is told silently") {
    for (unsigned i = 0; i < amdvi_unit::page; ++i) {
        amdvi_unit u{both};
        u.leaf(i) &= ~ir;
        auto const r = u.ats();
        auto const answer = u.translate(r);
        CAPTURE(i);
        check_host_fault(answer, u, i, flag_tr | flag_pr | flag_pe | flag_gn | flag_us, u.leaves[i], r, false);
    }
}

// --- sizes, rights, attributes -------------------------------------------------------------------------------------------------

TEST_CASE("amdvi nested: the smaller of the guest's and the host's page") {
    struct {
        std::uint64_t guest;
        std::uint64_t host;
    } const sizes[] = {{12, 12}, {12, 13}, {12, 20}, {12, 21}, {12, 30}, {21, 12}, {21, 13}, {21, 20}, {21, 21}, {21, 22},
                       {21, 30}, {21, 31}, {30, 12}, {30, 16}, {30, 21}, {30, 29}, {30, 30}, {30, 31}, {30, 38}};
    for (auto const& s : sizes) {
        amdvi_unit u{both};
        // The guest's page is of 1'00000000h on, at an offset that all sizes have.
        std::uint64_t const in_page = u.guest_at & low_mask(s.guest);
        std::uint64_t const output = 0x1'0000'0000 & ~low_mask(s.guest);
        if (s.guest == 12) u.entry(5) = output | 0x67;
        if (s.guest == 21) u.entry(4) = output | 0xe7;
        if (s.guest == 30) u.entry(3) = output | 0xe7;
        std::uint64_t const gpa = output | in_page;
        std::uint64_t const level = (s.host - 12) / 9; // 0 to 2
        std::uint64_t const base = std::uint64_t{0x2'0000'0000'0000};
        std::uint64_t const index3 = gpa >> 30 & 511;
        std::uint64_t const index2 = gpa >> 21 & 511;
        std::uint64_t const index1 = gpa >> 12 & 511;
        std::uint64_t const word =
            0x6000'0000'0000'0001 | base | (12 + 9 * level == s.host ? 0 : 0xe00 | amdvi::with_coded_size(0, s.host));
        if (level == 2) u.memory[0x100'0000 + index3 * 8] = word;
        if (level < 2) u.memory[0x100'0000 + index3 * 8] = 0x6000'0000'0200'0401;
        if (level == 1) u.memory[0x200'0000 + index2 * 8] = word;
        if (level < 1) {
            u.memory[0x200'0000 + index2 * 8] = 0x6000'0000'0200'1201;
            u.memory[0x200'1000 + index1 * 8] = word;
        }
        CAPTURE(s.guest, s.host);
        auto const answer = u.translate();
        REQUIRE(answer);
        CHECK(answer->lg2_size == std::min(s.guest, s.host));
        CHECK(answer->output.value == (base | (gpa & low_mask(s.host))));
    }
}

TEST_CASE("amdvi nested: rights of guest, host and device together") {
    for (std::uint64_t bits = 0; bits < 128; ++bits) {
        bool const g_write = (bits & 1) != 0;
        bool const g_user = (bits & 2) != 0;
        bool const g_execute = (bits & 4) != 0;
        bool const h_read = (bits & 8) != 0;
        bool const h_write = (bits & 16) != 0;
        bool const d_read = (bits & 32) != 0;
        bool const d_write = (bits & 64) != 0;
        for (access const who : {none, privileged}) {
            amdvi_unit u{both};
            u.entry(5) = 0x1'2345'6061 | (g_write ? 2u : 0u) | (g_user ? 4u : 0u) | (g_execute ? 0 : one_bit(63));
            u.leaf(6) = (u.leaf(6) & ~(ir | iw)) | (h_read ? ir : 0) | (h_write ? iw : 0);
            u.dte.set<"IR">(d_read);
            u.dte.set<"IW">(d_write);
            bool const in = g_user || who == privileged;
            access const want{(in && h_read && d_read ? 1u : 0u) | (in && g_write && h_write && d_write ? 2u : 0u) |
                              (in && g_execute && h_read && d_read ? 4u : 0u)};
            CAPTURE(bits, who.bits);
            auto const asked = u.translate(u.ats(read_write | execute | who));
            REQUIRE(asked);
            CHECK(asked->effective.rights() == want);
            for (access const a : {read, write, execute, read_write}) {
                auto const answer = u.translate(a | who);
                CHECK(static_cast<bool>(answer) == want.covers(a));
                if (answer) CHECK(answer->effective.rights() == want);
                if (!answer) CHECK(amdvi_flags(answer) == (flags_of(a | who) | flag_pr | flag_pe));
            }
        }
    }
}

TEST_CASE("amdvi nested: whether R/W binds supervisors is for a policy, the host's IW is not") {
    amdvi_unit u{both};
    u.entry(5) = 0x1'2345'6065;
    CHECK_FALSE(u.translate(write | privileged));
    u.rules.protect = amdvi::write_protect::users_only;
    CHECK(u.translate(write | privileged));
    CHECK_FALSE(u.translate(write));
    u.leaf(6) &= ~iw;
    CHECK_FALSE(u.translate(write | privileged));
    u.leaf(6) |= iw;
    u.efr.set<"USSup">(0); // nobody is a supervisor
    CHECK_FALSE(u.translate(write | privileged));
}

TEST_CASE("amdvi nested: attributes of the guest's page, and of the host's page behind it") {
    for (unsigned bits = 0; bits < 32; ++bits) {
        amdvi_unit u{both};
        std::uint64_t const of_guest = (bits & 7) == 0 ? 0 : (bits & 1) << 3 | (bits & 2) << 3 | (bits & 4) << 5;
        std::uint64_t const of_host = std::uint64_t{bits >> 3} << 59;
        u.entry(5) |= of_guest;
        u.leaf(6) |= of_host;
        for (unsigned i = 0; i < u.page; ++i)
            u.leaf(i) |= std::uint64_t{3} << 59; // of tables it does not matter
        CAPTURE(bits);
        auto const answer = u.translate();
        REQUIRE(answer);
        CHECK(answer->effective.format_bits() == (of_guest | of_host));
    }
}

// --- depths --------------------------------------------------------------------------------------------------------------------

TEST_CASE("amdvi nested: guest tables of 4 and 5 levels over host tables of 1 to 6") {
    for (std::uint64_t gpm = 0; gpm < 2; ++gpm)
        for (std::uint64_t mode = 1; mode <= 6; ++mode)
            for (std::uint64_t glx = 0; glx < 3; ++glx) {
                amdvi_unit u{both};
                u.dte.set<"GPM">(gpm);
                u.dte.set<"Mode">(mode);
                u.dte.set<"GLX">(glx);
                u.dte.set_gcr3_root(0x1000);
                u.dte.set<"HostPageTableRoot">(0x200'0000);
                for (std::uint64_t level = mode; level > 1; --level)
                    u.memory[0x200'0000 + (mode - level) * 0x1000] =
                        0x6000'0000'0000'0001 | (0x200'0000 + (mode - level + 1) * 0x1000) | (level - 1) << 9;
                std::uint64_t const last = 0x200'0000 + (mode - 1) * 0x1000;
                // Page n of the guest is at 3'0000'0000h + n * 4 GiB.
                auto const system = [](std::uint64_t gpa) { return (gpa >> 12) * 0x1'0000'0000 + 0x1000 + (gpa & 0xfff); };
                for (std::uint64_t n = 1; n < 16; ++n)
                    u.memory[last + n * 8] = 0x6000'0000'0000'0001 | system(n << 12);
                std::uint64_t table = 0x1000;
                for (std::uint64_t level = glx + 1; level-- > 0; table += 0x1000)
                    u.memory[system(table) + (5u >> 9 * level & 511) * 8] = (table + 0x1000) | 1;
                std::uint64_t const va = 0x1234'5678;
                for (std::uint64_t level = 4 + gpm; level-- > 0; table += 0x1000)
                    u.memory[system(table) + (va >> (12 + 9 * level) & 511) * 8] = (table + 0x1000) | 0x67;
                auto r = u.ask_at(va, write);
                r.pasid = 5;
                CAPTURE(gpm, mode, glx);
                auto const answer = u.translate(r);
                REQUIRE(answer);
                CHECK(answer->output.value == system(table | 0x678));
                std::uint64_t const tables = glx + 1 + 4 + gpm;
                CHECK(u.memory.trail.size() == 4 + tables * (mode + 1) + mode);
            }
}

TEST_CASE("amdvi nested: host tables may skip levels under a guest's tables, and bits between are refused") {
    amdvi_unit u{both};
    // Mode 4, straight to level 2: bits 38:30 of every guest address must be zero.
    u.dte.set<"Mode">(4);
    u.dte.set<"HostPageTableRoot">(0x200'0000);
    u.memory[0x200'0000] = 0x6000'0000'0101'0401;
    u.entry(5) = 0x500'1067; // a page that is there
    auto const answer = u.translate();
    REQUIRE(answer);
    CHECK(answer->output.value == (u.behind[1] | 0xabc));
    CHECK(u.memory.trail.size() == 31);
    u.entry(5) = 0x1'2345'6067;
    auto const refused = u.translate(write);
    check_host_fault(refused, u, u.page, flag_pr | flags_of(write), 0x200'0000, u.ask(write));
}

// --- no PASID ------------------------------------------------------------------------------------------------------------------

TEST_CASE("amdvi nested: without PASID, GIoV is PASID 0 in events too") {
    amdvi_unit u{both};
    u.by_default();
    auto const r = u.untagged(u.guest_at, write);
    REQUIRE(u.translate(r));
    u.leaf(6) &= ~iw;
    check_words(u.translate(r), r, 0x2075'0000'0000'00a5, u.guest_at);
    u.entry(5) = 0;
    check_words(u.translate(r), r, 0x2025'0000'0000'00a5, u.guest_at);
    u.memory.poison(u.where(4));
    check_words(u.translate(r), r, 0x4221'0000'0000'00a5, u.where(4));
    // Without GIoV the address is the guest's physical one, and the event has the domain.
    u.dte.set<"GIoV">(0);
    auto const plain = u.untagged(u.g[6], write);
    check_words(u.translate(plain), plain, 0x2070'0011'0000'00a5, u.g[6]);
    CHECK(u.translate(u.untagged(u.g[6])));
}

// --- memory page by page -------------------------------------------------------------------------------------------------------

TEST_CASE("amdvi windows: entries of every page of the device table, GCR3 tables and tables of both are found") {
    for (auto const k : every_amdvi_kind)
        for (unsigned const source : {0x0000u, 0x00a5u, 0x007fu, 0x0080u, 0x1fa3u, 0xffffu})
            for (access const a : {read, write}) {
                amdvi_unit u{k};
                u.dte.set<"HAD">(3);
                u.write_entry(u.table_at + source * 32);
                auto r = u.ask(a);
                r.source = static_cast<std::uint16_t>(source);
                // The same words, as pages of host memory.
                std::map<std::uint64_t, std::array<std::uint64_t, 512>> pages;
                auto const walked = u.unit().translate(r);
                REQUIRE(walked);
                auto const trail = u.memory.trail;
                for (std::uint64_t const at : trail) {
                    auto const loaded = u.memory.load(pa{at});
                    REQUIRE(loaded);
                    pages[at >> 12][at >> 3 & 511] = little_endian(*loaded & ~std::uint64_t{0x60});
                }
                for (unsigned w = 0; w < 4; ++w) {
                    std::uint64_t const at = u.table_at + source * 32 + w * 8;
                    pages[at >> 12][at >> 3 & 511] = little_endian(u.dte.word[w]);
                }
                auto m = make_windowed<pa>([&](pa page) -> std::uint64_t* {
                    auto const found = pages.find(page.value >> 12);
                    return (page.value & 0xfff) == 0 && found != pages.end() ? found->second.data() : nullptr;
                });
                amdvi::iommu const unit{u.caps(), u.registers, m, amdvi::settings{u.rules, u.snp, u.interrupt_range}};
                CAPTURE(static_cast<int>(k), source, a.bits);
                auto const answer = unit.translate(r);
                REQUIRE(answer);
                CHECK(answer->output == walked->output);
                CHECK(answer->effective == walked->effective);
                if (k == amdvi_kind::identity) continue;
                std::uint64_t const leaf = k == amdvi_kind::host ? u.h1 : u.has_host() ? u.leaves[u.page] : u.g[5];
                CHECK((little_endian(pages[leaf >> 12][leaf >> 3 & 511]) & 0x60) == (a == write ? 0x60 : 0x20));
            }
}

} // namespace stagewalk::test
