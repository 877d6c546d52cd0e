// Requests of every kind through a unit in scalable mode: ATS translation and translated requests, page requests, no-write,
// zero-length reads, pass-through, and the interrupt range.
#include "scalable_unit.hpp"

#include <stagewalk/vtd/page_request.hpp>

#include <cstdint>

namespace stagewalk::test {
namespace {

constexpr std::uint64_t first_interrupt = 0xfee0'0000;
constexpr std::uint64_t last_interrupt = 0xfeef'ffff;

constexpr binding_kind walked_kinds[]{binding_kind::second_stage, binding_kind::first_stage, binding_kind::nested};
constexpr binding_kind every_kind[]{binding_kind::second_stage, binding_kind::first_stage, binding_kind::nested,
                                    binding_kind::pass_through};

// What translation request `r` is answered with.
vtd::ats_completion complete(scalable_unit& u, vtd::request const& r) {
    auto const answer = u.translate(r);
    auto const b = u.unit().find(r);
    return vtd::to_completion(answer, b ? *b : vtd::binding{}, r);
}

vtd::ats_completion refusal(response how) {
    vtd::ats_completion c;
    c.success = how == response::success_no_rights || how == response::success_with_rights;
    c.refused = how;
    return c;
}

vtd::request ats(scalable_unit const& u, access a = read) { return u.typed(request_type::translation, a); }

// Maps 1 GiB of identity around the interrupt range in the unit's second stage.
void identity(scalable_unit& u) {
    u.memory[0x3000'0000] = 0x3500'0003;
    u.memory[0x3500'0018] = 0xc000'0083;
}

} // namespace

TEST_CASE("a translation request is completed with R and W of the tables, the page and its size") {
    struct {
        std::uint64_t rights;
        bool no_write;
        bool read;
        bool write;
    } const cases[] = {{1, false, true, false}, {2, false, false, true}, {3, false, true, true}, {1, true, true, false}};
    for (auto const& c : cases) {
        for (bool const large : {false, true}) {
            scalable_unit u;
            if (large)
                u.memory[u.s2] = 0x1'4020'0080 | c.rights;
            else
                u.memory[u.s1] = 0xabc'de00'0000 | c.rights;
            auto r = ats(u);
            r.no_write = c.no_write;
            CAPTURE(c.rights, c.no_write, large);
            auto const got = complete(u, r);
            CHECK(got.success);
            CHECK(got.read == c.read);
            CHECK(got.write == c.write);
            CHECK_FALSE(got.untranslated_only);
            CHECK(got.address == (large ? 0x1'4020'0000 : 0xabc'de00'0000));
            CHECK(got.lg2_size == (large ? 21 : 12));
            CHECK_FALSE(got.no_snoop);
            CHECK_FALSE(got.privileged);
        }
    }
}

TEST_CASE("a translation request that meets a recoverable fault is a success without rights, and is not recorded") {
    struct {
        binding_kind kind;
        void (*spoil)(scalable_unit&);
        reason code;
    } const cases[] = {
        {binding_kind::second_stage, [](auto& u) { u.memory[u.directory] = 0; }, reason::pasid_directory_not_present},
        {binding_kind::second_stage, [](auto& u) { u.memory[u.entry] = 0; }, reason::pasid_entry_not_present},
        {binding_kind::second_stage, [](auto& u) { u.memory[u.s1] = 0; }, reason::second_stage_not_present},
        {binding_kind::first_stage, [](auto& u) { u.memory[u.f1] = 0; }, reason::first_stage_not_present},
        {binding_kind::first_stage, [](auto& u) { u.memory[u.f1] = 0x7654'3003; }, reason::user_denied},
        {binding_kind::first_stage, [](auto& u) { u.memory.remove(u.f2); }, reason::first_stage_unreadable},
        {binding_kind::first_stage, [](auto& u) { u.memory[u.f2] |= one_bit(50); }, reason::first_stage_reserved},
        {binding_kind::first_stage, [](auto& u) { u.snoop(false); }, reason::first_stage_update_unsnooped},
        {binding_kind::nested, [](auto& u) { u.memory[u.n3] ^= 2; }, reason::first_stage_table_not_writable},
    };
    for (auto const& c : cases) {
        scalable_unit u{c.kind};
        c.spoil(u);
        CAPTURE(c.code);
        auto const r = ats(u);
        CHECK(code_of(u.translate(r)) == c.code);
        CHECK_FALSE(u.translate(r).error().reported);
        CHECK(u.translate(u.ask()).error().reported);
        CHECK(complete(u, r) == refusal(response::success_no_rights));
    }
}

TEST_CASE("a translation request that meets any other fault is refused, and recorded") {
    struct {
        void (*spoil)(scalable_unit&);
        reason code;
        response how;
    } const cases[] = {
        {[](auto& u) { u.memory.poison(u.root); }, reason::scalable_root_unreadable, response::completer_abort},
        {[](auto& u) { u.memory[u.upper] = 0; }, reason::scalable_root_not_present, response::unsupported_request},
        {[](auto& u) { u.memory[u.context] = 0; }, reason::scalable_context_not_present, response::unsupported_request},
        {[](auto& u) { u.memory[u.context] |= 0x80; }, reason::scalable_context_reserved, response::completer_abort},
        {[](auto& u) { u.memory[u.context] = 0x4000'0e09; }, reason::device_tlb_disabled, response::unsupported_request},
        {[](auto& u) { u.memory[u.directory] |= 4; }, reason::pasid_directory_reserved, response::completer_abort},
        {[](auto& u) { u.change(0, 0, 0x20); }, reason::pasid_entry_reserved, response::completer_abort},
        {[](auto& u) { u.address_width(0); }, reason::pasid_entry_invalid, response::completer_abort},
        {[](auto& u) { u.memory.remove(u.s2); }, reason::second_stage_unreadable, response::completer_abort},
        {[](auto& u) { u.memory[u.s2] |= 0x800; }, reason::second_stage_reserved, response::completer_abort},
        {[](auto& u) { u.memory[u.s1] = 0xfee0'0003; }, reason::scalable_output_in_interrupt_range, response::completer_abort},
    };
    for (auto const& c : cases) {
        scalable_unit u;
        c.spoil(u);
        CAPTURE(c.code);
        auto const r = ats(u);
        CHECK(code_of(u.translate(r)) == c.code);
        CHECK(u.translate(r).error().reported);
        CHECK(complete(u, r) == refusal(c.how));
    }
    // A unit that is off refuses silently.
    scalable_unit u;
    u.set.enabled = false;
    CHECK(complete(u, ats(u)) == refusal(response::unsupported_request));
    CHECK_FALSE(u.translate(ats(u)).error().reported);
}

TEST_CASE("a translation request with a length of writing is refused without a fault, and so is the reserved type") {
    scalable_unit u;
    for (auto const& r : {u.typed(request_type::translation, write), u.typed(request_type::reserved)}) {
        auto const answer = u.translate(r);
        REQUIRE_FALSE(answer);
        CHECK(answer.error().code == reason::none);
        CHECK_FALSE(answer.error().reported);
        CHECK(u.memory.trail.empty());
    }
    CHECK(vtd::response_to(reason::none, request_type::reserved) == response::unsupported_request);
}

TEST_CASE("91h is recorded although the translation request is a success without rights") {
    scalable_unit u{binding_kind::first_stage};
    u.memory.freeze(u.f1);
    CHECK(u.translate(ats(u)).error().reported);
    CHECK(complete(u, ats(u)) == refusal(response::success_no_rights));
    u.change(0, 0, 2); // FPD
    CHECK_FALSE(u.translate(ats(u)).error().reported);
}

TEST_CASE("a translation request of a first stage: privilege, write protection, no-write") {
    scalable_unit u{binding_kind::first_stage};
    u.memory[u.f1] = 0x7654'3001; // neither user nor writable
    auto const user = complete(u, ats(u));
    CHECK(user == refusal(response::success_no_rights));
    auto const supervisor = complete(u, ats(u, read | privileged));
    CHECK(supervisor.success);
    CHECK(supervisor.read);
    CHECK(supervisor.write);
    CHECK(supervisor.privileged);
    CHECK(supervisor.address == 0x7654'3000);
    u.write_protect();
    CHECK_FALSE(complete(u, ats(u, read | privileged)).write);
    // By RID_PRIV the rights are the privileged ones, but nobody asked for them.
    u.memory[u.context + 8] |= one_bit(20);
    auto const by_entry = complete(u, u.plain(ats(u)));
    CHECK(by_entry.read);
    CHECK_FALSE(by_entry.privileged);
    u.supervisor(false);
    CHECK(complete(u, ats(u, read | privileged)) == refusal(response::success_no_rights));
    // D is what no-write leaves alone.
    scalable_unit w{binding_kind::first_stage};
    auto r = ats(w);
    r.no_write = true;
    CHECK(complete(w, r).read);
    CHECK(w.memory[w.f1] == 0x7654'3027);
    r.no_write = false;
    CHECK(complete(w, r).write);
    CHECK(w.memory[w.f1] == 0x7654'3067);
}

TEST_CASE("a no-write translation request is granted writing only where no dirty bit would miss it") {
    // D as it lies in the leaf of each stage; whether the second stage keeps it.
    for (auto const kind : walked_kinds)
        for (bool const listens : {false, true})
            for (bool const keeps : {false, true})
                for (bool const first : {false, true})
                    for (bool const second : {false, true}) {
                        scalable_unit u{kind};
                        u.ecap.set<"NWFS">(listens);
                        if (keeps && kind != binding_kind::first_stage) u.keep_accessed_dirty();
                        if (first) u.memory[u.first_entry(1)] |= 0x40;
                        if (second) {
                            u.memory[u.s1] |= 0x200;
                            u.memory[u.n3] |= 0x200;
                        }
                        // The leaf under the nested page is a large one that the first-stage tables lie in too: with A and D
                        // kept, reading them dirties it.
                        if (kind == binding_kind::nested && keeps && !second) continue;
                        bool const uses_first = kind != binding_kind::second_stage;
                        bool const uses_second = kind != binding_kind::first_stage;
                        bool const seen = (!uses_first || first) && (!uses_second || !keeps || second);
                        auto r = ats(u);
                        r.no_write = true;
                        CAPTURE(kind, listens, keeps, first, second);
                        auto const dirty_before = u.memory[u.first_entry(1)] & 0x40;
                        auto const got = complete(u, r);
                        CHECK(got.success);
                        CHECK(got.read);
                        CHECK(got.write == (!listens || seen));
                        if (listens) CHECK((u.memory[u.first_entry(1)] & 0x40) == dirty_before);
                        r.no_write = false;
                        CHECK(complete(u, r).write);
                    }
    // Write-only, and not to be written: nothing is left.
    scalable_unit u;
    u.keep_accessed_dirty();
    u.memory[u.s1] = 0xabc'de00'0802;
    auto r = ats(u);
    r.no_write = true;
    auto const got = complete(u, r);
    CHECK(got.success);
    CHECK_FALSE(got.read);
    CHECK_FALSE(got.write);
    CHECK(got.address == 0);
    CHECK(u.memory[u.s1] == 0xabc'de00'0902);
}

TEST_CASE("an execute request carries a PASID, without one the flag says nothing") {
    for (bool const late : {false, true}) {
        scalable_unit u;
        u.version = late ? 0x80 : 0x10;
        auto const code = late ? reason::execute_unsupported : reason::execute_disabled;
        CHECK(code_of(u.translate(u.ask(read | execute))) == code);
        CHECK(u.translate(u.plain(u.ask(read | execute))));
    }
    // Legacy mode knows neither.
    scalable_unit u;
    u.version = 0x80;
    u.root_register = 0x1000'0000;
    CHECK(code_of(u.translate(u.ask(read | execute))) == reason::pasid_in_legacy_mode);
    CHECK(code_of(u.translate(u.plain(u.ask(read | execute)))) == code_of(u.translate(u.plain(u.ask(read)))));
}

TEST_CASE("nested: a translation request that no right is left for") {
    scalable_unit u{binding_kind::nested};
    u.memory[u.f2 + u.behind] = 0x8020'0085; // a 2 MiB page without R/W
    u.memory[u.n3 + 8] = 0x1'8000'0082;      // behind a page without R
    auto const got = complete(u, ats(u));
    CHECK(got.success);
    CHECK_FALSE(got.read);
    CHECK_FALSE(got.write);
    CHECK(got.address == 0);
    CHECK(got.lg2_size == 12);
    CHECK_FALSE(got.untranslated_only);
}

TEST_CASE("the N bit of a completion is PGSNP, and SNP where a second stage is used") {
    for (auto const kind : every_kind) {
        for (bool const pgsnp : {false, true}) {
            for (bool const snp : {false, true}) {
                scalable_unit u{kind};
                u.change(1, 0x0100'0000, pgsnp ? 0x0100'0000 : 0);
                u.memory[u.s1] = 0xabc'de00'0003 | (snp ? 0x800u : 0u);
                u.memory[u.n3] = 0x1'4000'0083 | (snp ? 0x800u : 0u);
                u.memory[u.f1] = 0x7654'3007 | (snp ? 0x800u : 0u); // ignored there
                bool const second = kind == binding_kind::second_stage || kind == binding_kind::nested;
                CAPTURE(static_cast<int>(kind), pgsnp, snp);
                CHECK(complete(u, ats(u)).no_snoop == (pgsnp || (second && snp)));
            }
        }
    }
}

TEST_CASE("translated requests pass untouched, whatever the PASID tables say") {
    for (auto const kind : every_kind) {
        scalable_unit u{kind};
        u.memory.remove(u.directory);
        for (access const a : {read, write, read_write}) {
            auto r = u.typed(request_type::translated, a);
            r.address = iova{0x1234'5678'9abc};
            auto const found = u.translate(r);
            REQUIRE(found);
            CHECK(found->output == ipa{0x1234'5678'9abc});
            CHECK(found->by == passage::bypassed);
            CHECK(found->lg2_size == 64);
            CHECK(u.memory.trail.size() == 6);
            CHECK(u.translate(u.plain(r)));
        }
    }
}

TEST_CASE("a page request is queued, refused as an invalid request, and never an interrupt") {
    for (auto const kind : every_kind) {
        scalable_unit u{kind};
        for (auto const& r : {u.typed(request_type::page), u.plain(u.typed(request_type::page))}) {
            auto const found = u.translate(r);
            REQUIRE(found);
            CHECK(found->by == passage::queued);
            CHECK(u.memory.trail.size() == 15); // no page table is read
        }
        CHECK(u.translate(u.plain(u.typed_at(first_interrupt, request_type::page)))->by == passage::queued);
        CHECK(u.translate(u.typed_at(every_bit, request_type::page))->by == passage::queued);
        u.memory[u.entry] = 0;
        CHECK(code_of(u.translate(request_type::page)) == reason::pasid_entry_not_present);
        CHECK(u.translate(request_type::page).error().reported);
        CHECK(vtd::response_to(reason::pasid_entry_not_present, request_type::page) == response::invalid_request);
    }
}

TEST_CASE("a page request makes stale what may be cached of its page") {
    using vtd::cache;
    for (auto const kind : every_kind) {
        scalable_unit u{kind};
        auto const r = u.typed(request_type::page);
        auto const b = u.unit().find(r);
        REQUIRE(b);
        auto const stale = vtd::stale_by_page_request(*b, r, u.caps());
        std::uint64_t const page = u.at() & ~std::uint64_t{0xfff};
        auto const drops = [&](cache c, std::uint64_t at, std::uint32_t pasid, std::uint16_t domain) {
            return stale.drops(c, {.domain = domain, .pasid = pasid, .page = {iova{at}, 4096}});
        };
        CAPTURE(kind);
        bool const second = kind == binding_kind::second_stage || kind == binding_kind::pass_through;
        bool const nested = kind == binding_kind::nested;
        for (std::uint64_t const at : {page - 4096, page, page + 4096})
            for (std::uint32_t const pasid : {u.pasid, u.rid_pasid})
                for (int const other : {0, 1}) {
                    auto const domain = static_cast<std::uint16_t>(b->domain + other);
                    bool const mine = other == 0;
                    bool const exact = mine && pasid == u.pasid && at == page;
                    CAPTURE(at, pasid, other);
                    // Only pages of the PASID, or of the domain, or for nested tables all of the domain.
                    CHECK(drops(cache::second_iotlb, at, pasid, domain) == (mine && (nested || (second && at == page))));
                    CHECK(drops(cache::second_structure, at, pasid, domain) == (mine && (nested || (second && at == page))));
                    CHECK(drops(cache::first_iotlb, at, pasid, domain) == (second || nested ? mine : exact));
                    CHECK(drops(cache::first_structure, at, pasid, domain) == (second || nested ? mine : exact));
                    CHECK_FALSE(drops(cache::pasid, at, pasid, domain));
                    CHECK_FALSE(drops(cache::context, at, pasid, domain));
                    CHECK_FALSE(drops(cache::device, at, pasid, domain));
                }
    }
}

TEST_CASE("pass-through: the output is the input, and nobody asks for rights") {
    scalable_unit u{binding_kind::pass_through};
    for (std::uint64_t const at : {std::uint64_t{0}, std::uint64_t{0x1234'5678'9abc}, one_bit(46) - 1}) {
        for (access const a : {read, write, read_write, read | privileged}) {
            auto const found = u.translate(u.ask_at(at, a));
            REQUIRE(found);
            CHECK(found->output == ipa{at});
            CHECK(found->by == passage::bypassed);
            CHECK(found->effective.rights() == read_write);
            CHECK(u.memory.trail.size() == 15);
        }
    }
    auto const got = complete(u, u.typed_at(0x1234'5678'9abc, request_type::translation));
    CHECK(got.success);
    CHECK(got.read);
    CHECK(got.write);
    CHECK(got.address == 0x1234'5678'9000);
    CHECK(got.lg2_size == 12);
}

TEST_CASE("requests without PASID are those of RID_PASID, with RID_PRIV") {
    scalable_unit u;
    u.memory[u.entry] = 0;
    CHECK(u.translate(u.plain(u.ask())));
    CHECK(code_of(u.translate()) == reason::pasid_entry_not_present);
    u.memory[u.context + 8] = 0x12344;
    u.memory[0x4100'0100] = 0x101;
    u.memory[0x4100'0110] = 1;
    CHECK(u.translate(u.plain(u.ask()))->by == passage::bypassed);
    auto const b = u.unit().find(u.plain(u.ask(read | privileged)));
    REQUIRE(b);
    CHECK(b->pasid == 0x12344);
    CHECK_FALSE(b->privileged);
    u.memory[u.context + 8] |= one_bit(20);
    CHECK(u.unit().find(u.plain(u.ask()))->privileged);
    // PASID 0 where the unit has no RID_PASID.
    scalable_unit zero;
    zero.ecap.set<"RPS">(0);
    zero.memory[zero.context + 8] = 0;
    zero.memory[0x4200'0000] = 0x101;
    CHECK(zero.translate(zero.plain(zero.ask()))->by == passage::bypassed);
}

TEST_CASE("the binding says what the entries do") {
    scalable_unit u{binding_kind::nested};
    u.bind(0x5000'02cd, 0x7654'3210'0700'0abc, 0x6000'0095);
    auto const b = u.unit().find(u.ask(read | privileged));
    REQUIRE(b);
    vtd::binding expected;
    expected.kind = binding_kind::nested;
    expected.scalable = true;
    expected.privileged = true;
    expected.domain = 0xabc;
    expected.pasid = u.pasid;
    expected.first_root = 0x6000'0000;
    expected.first_levels = 5;
    expected.second_root = 0x5000'0000;
    expected.second_levels = 5;
    expected.write_protect = true;
    expected.extended_accessed = true;
    expected.accessed_dirty = true;
    expected.walks_snoop = false;
    expected.pages_snoop = true;
    expected.cache_disable = true;
    expected.memory_types = true;
    expected.pat = 0x7654'3210;
    CHECK(*b == expected);
    u.snoop(true);
    expected.walks_snoop = true;
    u.change(0, 0, 2);
    expected.quiet = true;
    expected.privileged = false;
    CHECK(*u.unit().find(u.ask()) == expected);
}

TEST_CASE("every field of a PASID entry reaches its place, and no other") {
    using vtd::pasid_table_entry;
    auto const nested = pasid_table_entry::make_nested(0x6000'0000, 5, 0x5000'0000, 4, 0x1234);
    CHECK(nested.word[0] == 0x5000'00c9);
    CHECK(nested.word[1] == 0x1234);
    CHECK(nested.word[2] == 0x6000'0004);
    CHECK(pasid_table_entry::make_first_stage(0x6000'0000, 4, 1).word[0] == 0x41);
    CHECK(pasid_table_entry::make_first_stage(0x6000'0000, 4, 1).word[2] == 0x6000'0000);
    CHECK(pasid_table_entry::make_second_stage(0x5000'0000, 3, 1).word[0] == 0x5000'0085);
    CHECK(pasid_table_entry::make_pass_through(0xffff).word[0] == 0x101);
    CHECK(pasid_table_entry::make_pass_through(0xffff).word[1] == 0xffff);
    CHECK(vtd::pasid_directory_entry::make(0x4100'0000).word[0] == 0x4100'0001);
    CHECK(vtd::scalable_context_entry::make(0x4000'0000, 7).word[0] == 0x4000'0e01);
    CHECK(vtd::scalable_root_entry::make(0x1000, 0x2000).word[0] == 0x1001);
    CHECK(vtd::scalable_root_entry::make(0x1000, 0x2000).word[1] == 0x2001);
    for (std::uint64_t pdts = 0; pdts < 8; ++pdts)
        CHECK(vtd::scalable_context_entry::make(0, pdts).last_pasid() == (std::uint64_t{1} << (pdts + 13)) - 1);
}

// --- FEE00000h to FEEFFFFFh ----------------------------------------------------------------------------------------------

TEST_CASE("FEEx in scalable mode, row 1: without PASID a DWORD write is an interrupt") {
    for (auto const kind : every_kind) {
        scalable_unit u{kind};
        for (std::uint64_t const at : {first_interrupt, last_interrupt - 3}) {
            auto r = u.plain(u.ask_at(at, write));
            auto const found = u.translate(r);
            REQUIRE(found);
            CHECK(found->by == passage::interrupt);
            CHECK(u.memory.trail.empty());
            for (std::uint32_t const bytes : {0u, 1u, 2u, 3u, 8u, 64u}) {
                r.bytes = bytes;
                check_place(u.translate(r), reason::interrupt_request_illegal, address_itself(fault_stage::configuration), at);
            }
        }
    }
}

TEST_CASE("FEEx in scalable mode, rows 2 and 3: without PASID other requests are 29h, save zero-length reads") {
    scalable_unit u;
    u.memory[u.context] |= 2; // not qualified
    auto r = u.plain(u.ask_at(first_interrupt, read));
    check_place(u.translate(r), reason::interrupt_request_illegal, address_itself(fault_stage::configuration), first_interrupt);
    r.access = read_write;
    check_place(u.translate(r), reason::interrupt_request_illegal, address_itself(fault_stage::configuration), first_interrupt);
    r.access = read;
    r.bytes = 0;
    CHECK(u.translate(r)->by == passage::bypassed);
    CHECK(u.memory.trail.empty());
    // Before the mode is looked at.
    u.root_register = 0x1000'0800;
    CHECK(u.translate(r));
}

TEST_CASE("FEEx in scalable mode, row 4: with PASID the range is like any other") {
    scalable_unit u;
    identity(u);
    check_place(u.translate(u.ask_at(first_interrupt, write)), reason::scalable_output_in_interrupt_range,
                address_itself(fault_stage::second), first_interrupt);
    u.memory[0x3500'0018] = 0x1'0000'0083;
    auto const found = u.translate(u.ask_at(first_interrupt, write));
    REQUIRE(found);
    CHECK(found->by == passage::walked);
    CHECK(found->output == ipa{0x1'3ee0'0000});
    scalable_unit through{binding_kind::pass_through};
    check_place(through.translate(through.ask_at(last_interrupt, write)), reason::scalable_output_in_interrupt_range,
                address_itself(fault_stage::configuration), last_interrupt);
    CHECK(through.translate(through.ask_at(last_interrupt + 1, write)));
    CHECK(through.translate(through.ask_at(first_interrupt - 1, write)));
}

TEST_CASE("FEEx in scalable mode, rows 5 and 6: a translation request without PASID is no fault") {
    for (auto const kind : every_kind) {
        scalable_unit u{kind};
        for (bool const listens : {false, true})
            for (bool const no_write : {false, true}) {
                u.ecap.set<"NWFS">(listens);
                auto r = u.plain(u.typed_at(first_interrupt + 0x123, request_type::translation));
                r.no_write = no_write;
                auto const got = complete(u, r);
                vtd::ats_completion expected;
                expected.success = true;
                expected.write = expected.untranslated_only = !(listens && no_write);
                CHECK(got == expected);
            }
    }
    // With PASID it is translated: by a pass-through entry to itself.
    scalable_unit through{binding_kind::pass_through};
    CHECK(through.translate(through.typed_at(first_interrupt, request_type::translation)));
}

TEST_CASE("FEEx in scalable mode, row 7: a translated request in the range is 87h") {
    scalable_unit u;
    for (std::uint64_t const at : {first_interrupt, last_interrupt}) {
        for (auto const& r : {u.typed_at(at, request_type::translated), u.plain(u.typed_at(at, request_type::translated))}) {
            check_place(u.translate(r), reason::scalable_output_in_interrupt_range, address_itself(fault_stage::configuration),
                        at);
            // HAW first.
        }
    }
    CHECK(u.translate(u.typed_at(first_interrupt - 1, request_type::translated)));
    CHECK(u.translate(u.typed_at(last_interrupt + 1, request_type::translated)));
}

TEST_CASE("FEEx in scalable mode, rows 8 and 9: the output's byte for an access, the whole page for a translation request") {
    for (auto const kind : walked_kinds) {
        for (std::uint64_t const in_page : {0x0u, 0x0f'ffffu, 0x10'0000u, 0x1f'ffffu}) {
            scalable_unit u{kind};
            std::uint64_t const at = (u.at() & ~std::uint64_t{0x1f'ffff}) | in_page;
            if (kind == binding_kind::second_stage) u.memory[u.s2] = 0xfee0'0083;
            if (kind == binding_kind::first_stage) u.memory[u.f2] = 0xfee0'00e7;
            if (kind == binding_kind::nested) {
                u.memory[u.f2 + u.behind] = 0x80a0'00e7;
                u.memory[u.n3 + 8] = 0x5200'0003;
                u.memory[0x5200'0028] = 0xfee0'0083;
            }
            CAPTURE(static_cast<int>(kind), in_page);
            bool const inside = in_page < 0x10'0000;
            CHECK(code_of(u.translate(u.ask_at(at))) == (inside ? reason::scalable_output_in_interrupt_range : reason::none));
            CHECK(code_of(u.translate(u.typed_at(at, request_type::translation))) == reason::scalable_output_in_interrupt_range);
        }
    }
    // A 1 GiB page that only contains the range.
    scalable_unit u;
    identity(u);
    CHECK(u.translate(u.ask_at(0xc000'0000)));
    CHECK(code_of(u.translate(u.typed_at(0xc000'0000, request_type::translation))) == reason::scalable_output_in_interrupt_range);
    CHECK(code_of(u.translate(u.ask_at(0xfeef'ffff))) == reason::scalable_output_in_interrupt_range);
    CHECK(u.translate(u.ask_at(0xfef0'0000)));
    u.set.interrupt_ranges = false;
    CHECK(u.translate(u.typed_at(0xc000'0000, request_type::translation)));
    CHECK(u.translate(u.plain(u.ask_at(0xfee0'0000))));
}

TEST_CASE("a zero-length read needs what a read needs in a first stage") {
    scalable_unit u{binding_kind::first_stage};
    auto r = u.ask(read);
    r.bytes = 0;
    CHECK(u.translate(r));
    CHECK(u.memory[u.f1] == 0x7654'3027); // a read
    u.memory[u.f1] = 0x7654'3003;
    u.cap.set<"ZLR">(1);
    CHECK(code_of(u.translate(r)) == reason::user_denied);
}

} // namespace stagewalk::test
