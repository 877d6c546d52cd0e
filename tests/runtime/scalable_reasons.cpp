// One case for every fault reason that scalable mode has, each with its place, with the neighbours that it goes before and
// after, with what FPD does to it, and with what the requester is told.
#include "scalable_unit.hpp"

#include <cstdint>

namespace stagewalk::test {
namespace {

// An FPD bit of one of the three levels.
enum class quiet_by { nobody, context, directory, pasid_entry };

constexpr quiet_by every_level[]{quiet_by::context, quiet_by::directory, quiet_by::pasid_entry};

void hush(scalable_unit& u, quiet_by level) {
    switch (level) {
    case quiet_by::nobody: break;
    case quiet_by::context: u.memory[u.context] |= 2; break;
    case quiet_by::directory:
        u.memory[u.directory] |= 2;
        u.memory[u.rid_directory] |= 2;
        break;
    case quiet_by::pasid_entry: u.change(0, 0, 2); break;
    }
}

// A unit that `spoil` has spoilt meets `code`: FPD at the levels from `first_level` up to the PASID entry silences it (all
// three for what is found later), or none of them if it is not qualified.
template <class Spoil>
void check_silence(reason code, bool qualified, quiet_by last_met, binding_kind kind, Spoil const& spoil, access a = read) {
    CHECK(vtd::is_qualified(code) == qualified);
    for (quiet_by const level : every_level) {
        scalable_unit u{kind};
        spoil(u);
        CHECK(code_of(u.translate(a)) == code);
        CHECK(u.translate(a).error().reported);
        hush(u, level);
        // The entry's own text may have changed the code: it has not.
        auto const silent = u.translate(a);
        CAPTURE(static_cast<int>(level));
        REQUIRE_FALSE(silent);
        CHECK(silent.error().code == code);
        bool const met = static_cast<int>(level) <= static_cast<int>(last_met);
        CHECK(silent.error().reported == !(qualified && met));
    }
}

// A fault of the structures that no FPD precedes.
place here(std::uint64_t descriptor = 0, std::uint64_t entry = 0) { return configuration(descriptor, entry); }

constexpr binding_kind walked_kinds[]{binding_kind::second_stage, binding_kind::first_stage, binding_kind::nested};
constexpr binding_kind every_kind[]{binding_kind::second_stage, binding_kind::first_stage, binding_kind::nested,
                                    binding_kind::pass_through};

} // namespace

TEST_CASE("the device of the scalable unit is translated through every structure, in order, each word once") {
    scalable_unit u;
    auto const found = u.translate();
    REQUIRE(found);
    CHECK(found->output == ipa{0xabc'de00'0abc});
    std::vector<std::uint64_t> expected{u.root, u.upper};
    for (unsigned w = 0; w < 4; ++w)
        expected.push_back(u.context + w * 8);
    expected.push_back(u.directory);
    for (unsigned w = 0; w < 8; ++w)
        expected.push_back(u.entry + w * 8);
    for (auto const at : {u.s4, u.s3, u.s2, u.s1})
        expected.push_back(at);
    CHECK(u.memory.trail == expected);
    // Without PASID it is RID_PASID's entry.
    REQUIRE(u.translate(u.plain(u.ask())));
    CHECK(u.memory.trail[6] == u.rid_directory);
    CHECK(u.memory.trail[7] == u.rid_entry);
}

TEST_CASE("30h: scalable mode where the unit has none, and the reserved mode") {
    for (auto const type : every_type) {
        scalable_unit u;
        hush(u, quiet_by::context); // not qualified
        u.ecap.set<"SMTS">(0);
        check_place(u.translate(type), reason::root_pointer_invalid, here(), u.at());
        CHECK(u.memory.trail.empty());
        check_place(u.translate(u.plain(u.typed(type))), reason::root_pointer_invalid, here(), u.at());
        scalable_unit reserved;
        reserved.root_register = 0x1000'0800;
        check_place(reserved.translate(type), reason::root_pointer_invalid, here(), u.at());
        scalable_unit abort;
        abort.root_register = 0x1000'0c00;
        abort.ecap.set<"ADMS">(0);
        check_place(abort.translate(type), reason::root_pointer_invalid, here(), u.at());
    }
    // Before the execute request.
    scalable_unit u;
    u.version = 0x80;
    u.ecap.set<"SMTS">(0);
    CHECK(code_of(u.translate(read | execute)) == reason::root_pointer_invalid);
    CHECK_FALSE(vtd::is_qualified(reason::root_pointer_invalid));
}

TEST_CASE("30h: SSIRWE is an error in legacy mode only, and nothing where the unit lacks it") {
    scalable_unit u;
    u.root_register |= 0x80;
    u.ecap.set<"SSIRWS">(0);
    CHECK(u.translate());
    u.ecap.set<"SSIRWS">(1);
    CHECK(code_of(u.translate()) == reason::second_stage_not_present); // bits 61 and 62 are clear
    u.root_register = 0x1000'0080;
    for (auto const type : {request_type::untranslated, request_type::translation, request_type::translated})
        CHECK(code_of(u.translate(u.plain(u.typed(type)))) == reason::root_pointer_invalid);
    u.ecap.set<"SSIRWS">(0);
    CHECK(code_of(u.translate(u.plain(u.ask()))) == reason::root_not_present);
}

TEST_CASE("33h: abort-DMA mode, whatever the request") {
    for (auto const type : every_type) {
        scalable_unit u;
        hush(u, quiet_by::context);
        u.root_register = 0x1000'0c00;
        u.version = 0x80;
        check_place(u.translate(u.typed(type, read | execute)), reason::dma_aborted, here(), u.at());
        check_place(u.translate(u.plain(u.typed(type))), reason::dma_aborted, here(), u.at());
        CHECK(u.memory.trail.empty());
    }
}

TEST_CASE("34h: an execute request to a unit of major version 8") {
    scalable_unit u;
    hush(u, quiet_by::context);
    u.version = 0x80;
    for (auto const type : {request_type::untranslated, request_type::translation, request_type::translated})
        check_place(u.translate(u.typed(type, read | execute)), reason::execute_unsupported, here(), u.at());
    CHECK(u.memory.trail.empty());
    // Before the root entry, whatever ERS says.
    u.ecap.set<"ERS">(1);
    u.memory.remove(u.root);
    CHECK(code_of(u.translate(read | execute)) == reason::execute_unsupported);
    CHECK(code_of(u.translate(read)) == reason::scalable_root_unreadable);
    u.version = 0x7f;
    CHECK(code_of(u.translate(read | execute)) == reason::scalable_root_unreadable);
    u.version = 0xf0;
    CHECK(code_of(u.translate(read | execute)) == reason::execute_unsupported);
}

TEST_CASE("38h: the scalable root entry cannot be read") {
    for (auto const word : {scalable_unit::root, scalable_unit::upper}) {
        for (auto const type : every_type) {
            scalable_unit u;
            hush(u, quiet_by::context);
            u.memory.poison(word);
            check_place(u.translate(type), reason::scalable_root_unreadable, here(u.root), u.at());
        }
    }
    // Each bus has an entry of its own, and a device below 16 the same one.
    scalable_unit u;
    auto r = u.ask();
    r.source = 0xff00;
    u.memory.poison(0x1000'0ff0);
    check_place(u.translate(r), reason::scalable_root_unreadable, here(0x1000'0ff0), u.at());
    // A base beyond the host is kept and fails.
    u.root_register = 0x8000'0000'1000'0400;
    check_place(u.translate(), reason::scalable_root_unreadable, here(0x8000'0000'1000'0030), u.at());
}

TEST_CASE("39h: the half of the scalable root entry is not present") {
    for (auto const type : every_type) {
        scalable_unit u;
        hush(u, quiet_by::context);
        // P = 0 wins over everything else in the half.
        u.memory[u.upper] = every_bit - 1;
        check_place(u.translate(type), reason::scalable_root_not_present, here(u.upper, every_bit - 1), u.at());
        CHECK(u.memory.trail.size() == 2);
        // The other half does not help.
        u.memory[u.upper] = 0;
        u.memory[u.root] = 0x2100'0001;
        check_place(u.translate(type), reason::scalable_root_not_present, here(u.upper, 0), u.at());
    }
    // Devices 0 to 15 use the lower half.
    scalable_unit u;
    auto r = u.ask();
    r.source = 0x037f;
    check_place(u.translate(r), reason::scalable_root_not_present, here(u.root, 0), u.at());
    u.memory[u.root] = 0x2200'0001;
    check_place(u.translate(r), reason::scalable_context_unreadable, here(0x2200'0fe0), u.at());
    r.source = 0x0380;
    u.memory.remove(0x2100'0000);
    check_place(u.translate(r), reason::scalable_context_unreadable, here(0x2100'0000), u.at());
}

TEST_CASE("3Ah: reserved bits of the half of the scalable root entry") {
    for (unsigned n = 1; n < 64; ++n) {
        bool const bad = n < 12 || n >= 46;
        scalable_unit u;
        hush(u, quiet_by::context);
        u.memory[u.upper] = 0x2100'0001 | one_bit(n);
        CAPTURE(n);
        auto const answer = u.translate();
        if (bad) {
            check_place(answer, reason::scalable_root_reserved, here(u.upper, u.memory[u.upper]), u.at());
            CHECK(u.memory.trail.size() == 2);
        } else {
            CHECK(code_of(answer) != reason::scalable_root_reserved);
        }
    }
    for (auto const type : every_type) {
        scalable_unit u;
        u.memory[u.upper] |= 2;
        CHECK(code_of(u.translate(type)) == reason::scalable_root_reserved);
    }
}

TEST_CASE("3Ah: the half that is not used counts as the policy says") {
    scalable_unit u;
    u.memory[u.root] = 0x2200'0003;
    CHECK(u.translate());
    u.set.rules.root = vtd::root_halves::both;
    CHECK(code_of(u.translate()) == reason::scalable_root_reserved);
    // But only if it is present.
    u.memory[u.root] = 0x2200'0002;
    CHECK(u.translate());
    // And the used one must be present first.
    u.memory[u.root] = 0x2200'0003;
    u.memory[u.upper] = 0;
    CHECK(code_of(u.translate()) == reason::scalable_root_not_present);
    u.memory[u.upper] = 0x2100'0003;
    u.memory[u.root] = 0;
    CHECK(code_of(u.translate()) == reason::scalable_root_reserved);
}

TEST_CASE("40h: the scalable context entry cannot be read") {
    for (unsigned w = 0; w < 4; ++w) {
        for (auto const type : every_type) {
            scalable_unit u;
            u.memory.poison(u.context + w * 8);
            check_place(u.translate(type), reason::scalable_context_unreadable, here(u.context), u.at());
            // Not qualified: nobody has read FPD yet.
            hush(u, quiet_by::context);
            check_place(u.translate(type), reason::scalable_context_unreadable, here(u.context), u.at());
        }
    }
}

TEST_CASE("41h: the scalable context entry is not present") {
    for (auto const type : every_type) {
        scalable_unit u;
        u.memory[u.context] = every_bit - 3;
        u.memory[u.context + 8] = every_bit;
        check_place(u.translate(type), reason::scalable_context_not_present, here(u.context, every_bit - 3), u.at());
        CHECK(u.memory.trail.size() == 6);
        // FPD counts although P = 0.
        u.memory[u.context] = 2;
        check_place(u.translate(type), reason::scalable_context_not_present, here(u.context, 2), u.at(), false);
    }
}

TEST_CASE("42h: reserved bits of the scalable context entry") {
    for (unsigned w = 0; w < 4; ++w) {
        for (unsigned n = 0; n < 64; ++n) {
            bool bad = false;
            if (w == 0) bad = n == 5 || n == 6 || n == 7 || n == 8 || n >= 46; // HPTE and EPTR: this unit has neither
            if (w == 1) bad = n >= 21;
            if (w >= 2) bad = true;
            if (!bad) continue;
            scalable_unit u;
            u.memory[u.context + w * 8] ^= one_bit(n);
            CAPTURE(w, n);
            check_place(u.translate(), reason::scalable_context_reserved, here(u.context, u.memory[u.context]), u.at());
            CHECK(u.memory.trail.size() == 6);
            hush(u, quiet_by::context);
            check_place(u.translate(), reason::scalable_context_reserved, here(u.context, u.memory[u.context]), u.at(), false);
        }
    }
    for (auto const type : every_type) {
        scalable_unit u;
        // Before 43h: PRE without DTE.
        u.memory[u.context] = 0x4000'0e99;
        CHECK(code_of(u.translate(type)) == reason::scalable_context_reserved);
    }
}

TEST_CASE("42h: what a capability lends to the scalable context entry") {
    struct {
        char const* name;
        unsigned word;
        std::uint64_t bits;
        void (*without)(vtd::extended_capability_register&);
    } const cases[] = {
        {"DTE", 0, 0x4, [](auto& e) { e.template set<"DT">(0); }},
        {"PASIDE", 0, 0x8, [](auto& e) { e.template set<"PASID">(0); }},
        {"PRE", 0, 0x14, [](auto& e) { e.template set<"PRS">(0); }},
        {"RID_PASID", 1, 2, [](auto& e) { e.template set<"RPS">(0); }},
        {"RID_PRIV", 1, one_bit(20), [](auto& e) { e.template set<"RPRIVS">(0); }},
    };
    for (auto const& c : cases) {
        scalable_unit u;
        u.memory[u.context] = 0x4000'0e01;
        u.memory[u.context + 8] = 0;
        u.memory[u.rid_directory] = 0x4200'0001;
        u.memory[0x4200'0000] = 0x101; // PASID 0 passes through
        u.memory[0x4200'0010] = 1;     // SRE
        u.memory[u.rid_entry + 16] = 1;
        CAPTURE(c.name);
        auto const r = u.plain(u.ask());
        c.without(u.ecap);
        CHECK(u.translate(r));
        u.memory[u.context + c.word * 8] |= c.bits;
        check_place(u.translate(r), reason::scalable_context_reserved, here(u.context, u.memory[u.context]), u.at());
        scalable_unit with;
        u.ecap = with.ecap;
        CHECK(u.translate(r));
    }
    // Host permission tables are not implemented: HPTE stays reserved.
    scalable_unit u;
    u.ecap.set<"HPTS">(1);
    u.memory[u.context] |= 0x20;
    CHECK(code_of(u.translate()) == reason::scalable_context_reserved);
}

TEST_CASE("42h: reserved bits of a context entry that has nothing uncommon, for a request that has nothing uncommon") {
    for (unsigned w = 0; w < 4; ++w)
        for (unsigned n = 0; n < 64; ++n) {
            scalable_unit u;
            u.memory[u.context] = 0x4000'0001; // P, neither device-TLB nor PASIDs
            auto const r = u.plain(u.ask());
            REQUIRE(u.translate(r));
            u.memory[u.context + w * 8] ^= one_bit(n);
            bool bad = w >= 2;
            if (w == 0) bad = n == 5 || n == 6 || n == 7 || n == 8 || n >= 46; // HPTE and EPTR: this unit has neither
            if (w == 1) bad = n >= 21;
            CAPTURE(w, n);
            if (bad) {
                check_place(u.translate(r), reason::scalable_context_reserved, here(u.context, u.memory[u.context]), u.at());
            } else {
                CHECK(code_of(u.translate(r)) != reason::scalable_context_reserved);
            }
        }
}

TEST_CASE("43h: PRE without DTE") {
    for (auto const type : every_type) {
        scalable_unit u;
        u.memory[u.context] = 0x4000'0e19;
        check_place(u.translate(type), reason::scalable_context_invalid, here(u.context, 0x4000'0e19), u.at());
        // Before PASIDE = 0.
        u.memory[u.context] = 0x4000'0e11;
        check_place(u.translate(type), reason::scalable_context_invalid, here(u.context, 0x4000'0e11), u.at());
        check_place(u.translate(u.plain(u.typed(type))), reason::scalable_context_invalid, here(u.context, 0x4000'0e11), u.at());
        hush(u, quiet_by::context);
        check_place(u.translate(type), reason::scalable_context_invalid, here(u.context, 0x4000'0e13), u.at(), false);
    }
}

TEST_CASE("43h: RID_PASID beyond the directory, for every request through the entry") {
    for (std::uint64_t pdts = 0; pdts < 7; ++pdts) {
        std::uint64_t const beyond = std::uint64_t{1} << (pdts + 13);
        for (auto const type : every_type) {
            scalable_unit u;
            u.memory[u.context] = 0x4000'001d | pdts << 9;
            u.memory[u.context + 8] = beyond;
            CAPTURE(pdts);
            check_place(u.translate(type), reason::scalable_context_invalid, here(u.context, u.memory[u.context]), u.at());
            auto r = u.typed(type);
            r.pasid = 3;
            CHECK(code_of(u.translate(r)) == reason::scalable_context_invalid);
            CHECK(code_of(u.translate(u.plain(r))) == reason::scalable_context_invalid);
            u.memory[u.context + 8] = beyond - 1;
            CHECK(code_of(u.translate(r)) != reason::scalable_context_invalid);
            // 43h before DTE = 0 and PASIDE = 0.
            u.memory[u.context] = 0x4000'0001 | pdts << 9;
            u.memory[u.context + 8] = beyond;
            CHECK(code_of(u.translate(r)) == reason::scalable_context_invalid);
            CHECK(code_of(u.translate(u.plain(u.ask()))) == reason::scalable_context_invalid); // nothing else is uncommon there
            hush(u, quiet_by::context);
            CHECK_FALSE(u.translate(r).error().reported);
        }
    }
    scalable_unit u;
    u.memory[u.context + 8] = 0xfffff; // the last PASID of PDTS 7
    CHECK(u.translate());
}

TEST_CASE("43h: EPTR without PASIDE, where the unit has PTRS") {
    scalable_unit u;
    u.memory[u.context] = 0x4000'0e55;
    CHECK(code_of(u.translate()) == reason::scalable_context_reserved);
    u.ecap.set<"PTRS">(1);
    for (auto const type : every_type) {
        check_place(u.translate(u.plain(u.typed(type))), reason::scalable_context_invalid, here(u.context, 0x4000'0e55), u.at());
        check_place(u.translate(type), reason::scalable_context_invalid, here(u.context, 0x4000'0e55), u.at());
    }
    u.memory[u.context] = 0x4000'0e5d;
    CHECK(u.translate());
}

TEST_CASE("44h: translation and translated requests with DTE = 0") {
    for (auto const type : {request_type::translation, request_type::translated}) {
        scalable_unit u;
        u.memory[u.context] = 0x4000'0e09;
        check_place(u.translate(type), reason::device_tlb_disabled, here(u.context, 0x4000'0e09), u.at());
        check_place(u.translate(u.plain(u.typed(type))), reason::device_tlb_disabled, here(u.context, 0x4000'0e09), u.at());
        // Before PASIDE = 0 and before the address.
        u.memory[u.context] = 0x4000'0e01;
        check_place(u.translate(u.typed_at(every_bit, type)), reason::device_tlb_disabled, here(u.context, 0x4000'0e01),
                    every_bit);
        hush(u, quiet_by::context);
        check_place(u.translate(type), reason::device_tlb_disabled, here(u.context, 0x4000'0e03), u.at(), false);
    }
    scalable_unit u;
    u.memory[u.context] = 0x4000'0e09;
    CHECK(u.translate());
    CHECK(code_of(u.translate(request_type::page)) == reason::page_requests_disabled);
}

TEST_CASE("45h: a request with PASID with PASIDE = 0") {
    scalable_unit u;
    u.memory[u.context] = 0x4000'0e15;
    for (auto const type : {request_type::untranslated, request_type::translation, request_type::page})
        check_place(u.translate(type), reason::pasid_disabled, here(u.context, 0x4000'0e15), u.at());
    // Requests without PASID do not care.
    CHECK(u.translate(u.plain(u.ask())));
    CHECK(u.translate(u.plain(u.typed(request_type::translation))));
    CHECK(u.translate(u.plain(u.typed(request_type::page))));
    // Before the PASID's value: beyond PSS, beyond PDTS, RID_PASID.
    u.ecap.set<"PSS">(3);
    CHECK(code_of(u.translate()) == reason::pasid_disabled);
    u.memory[u.context] = 0x4000'0015;
    CHECK(code_of(u.translate()) == reason::pasid_disabled);
    auto r = u.ask();
    r.pasid = u.rid_pasid;
    CHECK(code_of(u.translate(r)) == reason::pasid_disabled);
    // And before PRE = 0.
    u.memory[u.context] = 0x4000'0e05;
    CHECK(code_of(u.translate(request_type::page)) == reason::pasid_disabled);
    hush(u, quiet_by::context);
    check_place(u.translate(), reason::pasid_disabled, here(u.context, 0x4000'0e07), u.at(), false);
    // No such fault exists for translated requests.
    CHECK(code_of(u.translate(request_type::translated)) != reason::pasid_disabled);
}

TEST_CASE("46h: a PASID beyond the directory") {
    for (std::uint64_t pdts = 0; pdts < 7; ++pdts) {
        scalable_unit u;
        u.memory[u.context] = 0x4000'001d | pdts << 9;
        auto r = u.ask();
        r.pasid = static_cast<std::uint32_t>(1) << (pdts + 13);
        CAPTURE(pdts);
        for (auto const type : every_type) {
            r.type = type;
            check_place(u.translate(r), reason::pasid_beyond_directory, here(u.context, u.memory[u.context]), u.at());
        }
        r.type = request_type::untranslated;
        --r.pasid;
        u.memory.remove(0x4000'0000 + (r.pasid >> 6) * 8);
        check_place(u.translate(r), reason::pasid_directory_unreadable, here(0x4000'0000 + (r.pasid >> 6) * 8), u.at());
        ++r.pasid;
        hush(u, quiet_by::context);
        check_place(u.translate(r), reason::pasid_beyond_directory, here(u.context, u.memory[u.context]), u.at(), false);
    }
    // 46h before PRE = 0.
    scalable_unit u;
    u.memory[u.context] = 0x4000'000d;
    CHECK(code_of(u.translate(request_type::page)) == reason::pasid_beyond_directory);
}

TEST_CASE("47h: a page request with PRE = 0") {
    scalable_unit u;
    u.memory[u.context] = 0x4000'0e0d;
    check_place(u.translate(request_type::page), reason::page_requests_disabled, here(u.context, 0x4000'0e0d), u.at());
    check_place(u.translate(u.plain(u.typed(request_type::page))), reason::page_requests_disabled, here(u.context, 0x4000'0e0d),
                u.at());
    // Before 48h.
    auto r = u.typed(request_type::page);
    r.pasid = u.rid_pasid;
    CHECK(code_of(u.translate(r)) == reason::page_requests_disabled);
    for (auto const type : {request_type::untranslated, request_type::translation, request_type::translated})
        CHECK(u.translate(type));
    hush(u, quiet_by::context);
    check_place(u.translate(request_type::page), reason::page_requests_disabled, here(u.context, 0x4000'0e0f), u.at(), false);
}

TEST_CASE("48h: a request whose PASID is RID_PASID") {
    for (auto const type : every_type) {
        scalable_unit u;
        auto r = u.typed(type);
        r.pasid = u.rid_pasid;
        check_place(u.translate(r), reason::pasid_is_rid_pasid, here(u.context, u.memory[u.context]), u.at());
        CHECK(u.translate(u.plain(r)));
        // Before the directory is read.
        u.memory.remove(u.rid_directory);
        CHECK(code_of(u.translate(r)) == reason::pasid_is_rid_pasid);
        hush(u, quiet_by::context);
        check_place(u.translate(r), reason::pasid_is_rid_pasid, here(u.context, u.memory[u.context]), u.at(), false);
        // Without RPS it is PASID 0.
        scalable_unit zero;
        zero.ecap.set<"RPS">(0);
        zero.memory[u.context + 8] = 0;
        r.pasid = 0;
        CHECK(code_of(zero.translate(r)) == reason::pasid_is_rid_pasid);
    }
}

TEST_CASE("49h: a translated request with PASID with EPTR = 0, where the unit has PTRS") {
    scalable_unit u;
    u.ecap.set<"PTRS">(1);
    check_place(u.translate(request_type::translated), reason::translated_pasid_disabled, here(u.context, 0x4000'0e1d), u.at());
    CHECK(u.translate(u.plain(u.typed(request_type::translated))));
    CHECK(u.translate(request_type::untranslated));
    CHECK(u.translate(request_type::translation));
    u.memory[u.context] |= 0x40;
    CHECK(u.translate(request_type::translated));
    // After 48h, before the address.
    u.memory[u.context] &= ~std::uint64_t{0x40};
    auto r = u.typed(request_type::translated);
    r.pasid = u.rid_pasid;
    CHECK(code_of(u.translate(r)) == reason::pasid_is_rid_pasid);
    CHECK(code_of(u.translate(u.typed_at(every_bit, request_type::translated))) == reason::translated_pasid_disabled);
    hush(u, quiet_by::context);
    check_place(u.translate(request_type::translated), reason::translated_pasid_disabled, here(u.context, 0x4000'0e1f), u.at(),
                false);
    u.ecap.set<"PTRS">(0);
    CHECK(u.translate(request_type::translated));
}

TEST_CASE("50h: the PASID directory entry cannot be read") {
    for (auto const type : {request_type::untranslated, request_type::translation, request_type::page}) {
        scalable_unit u;
        u.memory.poison(u.directory);
        check_place(u.translate(type), reason::pasid_directory_unreadable, here(u.directory), u.at());
        // Not qualified, even though the context entry's FPD was read.
        hush(u, quiet_by::context);
        check_place(u.translate(type), reason::pasid_directory_unreadable, here(u.directory), u.at());
        u.memory.poison(u.rid_directory);
        check_place(u.translate(u.plain(u.typed(type))), reason::pasid_directory_unreadable, here(u.rid_directory), u.at());
    }
    scalable_unit u;
    u.memory.poison(u.directory);
    CHECK(u.translate(request_type::translated)); // looks no PASID up
}

TEST_CASE("51h: the PASID directory entry is not present") {
    scalable_unit u;
    u.memory[u.directory] = every_bit - 3;
    check_place(u.translate(), reason::pasid_directory_not_present, here(u.directory, every_bit - 3), u.at());
    CHECK(u.memory.trail.size() == 7);
    check_place(u.translate(request_type::page), reason::pasid_directory_not_present, here(u.directory, every_bit - 3), u.at());
    // A translation request hears of it, and nothing is recorded.
    check_place(u.translate(request_type::translation), reason::pasid_directory_not_present, here(u.directory, every_bit - 3),
                u.at(), false);
    // FPD counts although P = 0, here and above.
    u.memory[u.directory] = 2;
    check_place(u.translate(), reason::pasid_directory_not_present, here(u.directory, 2), u.at(), false);
    u.memory[u.directory] = 0;
    hush(u, quiet_by::context);
    check_place(u.translate(), reason::pasid_directory_not_present, here(u.directory, 0), u.at(), false);
}

TEST_CASE("52h: reserved bits of the PASID directory entry") {
    for (unsigned n = 2; n < 64; ++n) {
        scalable_unit u;
        u.memory[u.directory] = 0x4100'0001 | one_bit(n);
        CAPTURE(n);
        bool const bad = n < 12 || n >= 46;
        if (bad) {
            check_place(u.translate(), reason::pasid_directory_reserved, here(u.directory, u.memory[u.directory]), u.at());
            CHECK(u.memory.trail.size() == 7);
            CHECK(u.translate(request_type::translation).error().reported);
            CHECK(code_of(u.translate(request_type::page)) == reason::pasid_directory_reserved);
        } else {
            CHECK(code_of(u.translate()) != reason::pasid_directory_reserved);
        }
    }
    check_silence(reason::pasid_directory_reserved, true, quiet_by::directory, binding_kind::second_stage,
                  [](scalable_unit& u) { u.memory[u.directory] |= 0x800; });
}

TEST_CASE("58h: the PASID table entry cannot be read") {
    for (unsigned w = 0; w < 8; ++w) {
        scalable_unit u;
        u.memory.poison(u.entry + w * 8);
        CAPTURE(w);
        for (auto const type : {request_type::untranslated, request_type::translation, request_type::page})
            check_place(u.translate(type), reason::pasid_entry_unreadable, here(u.entry), u.at());
        CHECK(u.translate(request_type::translated));
        // Not qualified, even though the FPD bits above were read.
        hush(u, quiet_by::context);
        hush(u, quiet_by::directory);
        check_place(u.translate(), reason::pasid_entry_unreadable, here(u.entry), u.at());
    }
}

TEST_CASE("59h: the PASID table entry is not present") {
    scalable_unit u;
    for (unsigned w = 0; w < 8; ++w)
        u.memory[u.entry + w * 8] = every_bit;
    u.memory[u.entry] = every_bit - 3;
    check_place(u.translate(), reason::pasid_entry_not_present, here(u.entry, every_bit - 3), u.at());
    CHECK(u.memory.trail.size() == 15);
    check_place(u.translate(request_type::page), reason::pasid_entry_not_present, here(u.entry, every_bit - 3), u.at());
    check_place(u.translate(request_type::translation), reason::pasid_entry_not_present, here(u.entry, every_bit - 3), u.at(),
                false);
    u.memory[u.entry] = 2;
    check_place(u.translate(), reason::pasid_entry_not_present, here(u.entry, 2), u.at(), false);
    for (auto const level : {quiet_by::context, quiet_by::directory}) {
        scalable_unit silent;
        silent.memory[u.entry] = 0;
        CHECK(silent.translate().error().reported);
        hush(silent, level);
        check_place(silent.translate(), reason::pasid_entry_not_present, here(u.entry, 0), u.at(), false);
    }
}

TEST_CASE("5Ah: reserved bits of the PASID table entry, whatever PGTT is") {
    for (auto const kind : every_kind) {
        for (unsigned w = 0; w < 8; ++w) {
            for (unsigned n = 0; n < 64; ++n) {
                bool bad = w == 3 || w >= 4; // HPT fields: this unit has none
                bool const second = kind == binding_kind::second_stage || kind == binding_kind::nested;
                bool const first = kind == binding_kind::first_stage || kind == binding_kind::nested;
                if (w == 0) bad = n == 5 || n == 10 || n == 11 || (second && n >= 46);
                if (w == 1) bad = (n >= 16 && n < 23) || (n >= 27 && n < 32);
                if (w == 2) bad = n == 1 || (n >= 8 && n < 12) || (first && n >= 46);
                scalable_unit u{kind};
                u.ecap.set<"HPTS">(n & 1); // those tables are not implemented, whatever the registers say
                std::uint64_t const before = u.memory[u.entry + w * 8];
                u.memory[u.entry + w * 8] = before ^ one_bit(n);
                CAPTURE(static_cast<int>(kind), w, n);
                auto const answer = u.translate();
                if (bad) {
                    check_place(answer, reason::pasid_entry_reserved, here(u.entry, u.memory[u.entry]), u.at());
                    CHECK(u.memory.trail.size() == 15);
                } else {
                    CHECK(code_of(answer) != reason::pasid_entry_reserved);
                }
            }
        }
    }
}

TEST_CASE("5Ah: before 5Bh and 5Dh, silenced by every FPD, told to translation requests as an abort") {
    auto const spoil = [](scalable_unit& u) { u.change(0, 0, 0x20); };
    check_silence(reason::pasid_entry_reserved, true, quiet_by::pasid_entry, binding_kind::second_stage, spoil);
    scalable_unit u;
    spoil(u);
    CHECK(u.translate(request_type::translation).error().reported);
    CHECK(code_of(u.translate(request_type::page)) == reason::pasid_entry_reserved);
    u.address_width(0);
    CHECK(code_of(u.translate()) == reason::pasid_entry_reserved);
    u.change(0, 0x1c0, 0x140); // a reserved PGTT
    CHECK(code_of(u.translate()) == reason::pasid_entry_reserved);
    u.supervisor(false);
    CHECK(code_of(u.translate(read | privileged)) == reason::pasid_entry_reserved);
}

TEST_CASE("5Ah: what a capability lends to the PASID table entry is reserved without it, whatever PGTT is") {
    struct {
        char const* name;
        unsigned word;
        std::uint64_t bits;
        void (*without)(scalable_unit&);
    } const cases[] = {
        {"PWSNP", 1, 0x0080'0000, [](auto& u) { u.ecap.template set<"SMPWCS">(0); }},
        {"PGSNP", 1, 0x0100'0000, [](auto& u) { u.ecap.template set<"SC">(0); }},
        {"CD", 1, 0x0200'0000, [](auto& u) { u.ecap.template set<"MTS">(0); }},
        {"EMTE", 1, 0x0400'0000, [](auto& u) { u.ecap.template set<"MTS">(0); }},
        {"PA0", 1, one_bit(33), [](auto& u) { u.ecap.template set<"MTS">(0); }},
        {"PA7", 1, one_bit(62), [](auto& u) { u.ecap.template set<"MTS">(0); }},
        {"SRE", 2, 1, [](auto& u) { u.ecap.template set<"SRS">(0); }},
        {"EAFE", 2, 0x80, [](auto& u) { u.ecap.template set<"EAFS">(0); }},
        {"DID", 1, 0x10, [](auto& u) { u.cap.template set<"ND">(0); }},
        {"DID 15", 1, 0x8000, [](auto& u) { u.cap.template set<"ND">(5); }},
    };
    for (auto const kind : every_kind) {
        for (auto const& c : cases) {
            scalable_unit u{kind};
            u.change(1, every_bit, 1);
            u.change(2, 1, 0);
            u.memory[u.s1] = 0xabc'de00'0003;
            for (unsigned level = 1; level <= 4; ++level)
                u.memory[u.first_entry(level)] |= 0x460; // A, EA, D
            CAPTURE(static_cast<int>(kind), c.name);
            u.change(c.word, 0, c.bits);
            CHECK(u.translate());
            c.without(u);
            check_place(u.translate(), reason::pasid_entry_reserved, here(u.entry, u.memory[u.entry]), u.at());
            u.change(c.word, c.bits, 0);
            CHECK(u.translate());
        }
    }
    // The first stage's fields in an entry that does not use them: reserved without FSTS, ignored with it.
    for (auto const bits : {std::uint64_t{0x4}, std::uint64_t{0x10}, std::uint64_t{0x1000}}) {
        scalable_unit u;
        u.ecap.set<"NEST">(0);
        u.change(2, 0, bits);
        CAPTURE(bits);
        CHECK(u.translate());
        u.ecap.set<"FSTS">(0);
        CHECK(code_of(u.translate()) == reason::pasid_entry_reserved);
    }
    // FSPTPTR above HAW and EAFE are ignored where no first stage is used.
    scalable_unit u;
    u.change(2, 0, one_bit(63) | 0x90);
    CHECK(u.translate());
    // SSADE, where the second stage is used.
    u.keep_accessed_dirty();
    CHECK(u.translate());
    u.ecap.set<"SSADS">(0);
    CHECK(code_of(u.translate()) == reason::pasid_entry_reserved);
}

TEST_CASE("5Ah: AW, SSADE and SSPTPTR where PGTT does not use them: the policy unused_pasid_fields") {
    using vtd::unused_pasid_fields;
    for (auto const kind : {binding_kind::first_stage, binding_kind::pass_through}) {
        for (std::uint64_t const bits : {std::uint64_t{0x8}, std::uint64_t{0x200}, std::uint64_t{0x1000}, one_bit(63)}) {
            scalable_unit u{kind};
            u.ecap.set<"NEST">(0);
            u.change(0, 0, bits);
            CAPTURE(static_cast<int>(kind), bits);
            // With SSTS the fields are ignored in either reading.
            CHECK(u.translate());
            u.set.rules.unused = unused_pasid_fields::manual;
            CHECK(u.translate());
            u.ecap.set<"SSTS">(0);
            check_place(u.translate(), reason::pasid_entry_reserved, here(u.entry, u.memory[u.entry]), u.at());
            u.set.rules.unused = unused_pasid_fields::ignore;
            CHECK(u.translate());
        }
        // SSADE without SSADS.
        scalable_unit u{kind};
        u.change(0, 0, 0x200);
        u.ecap.set<"SSADS">(0);
        CHECK(u.translate());
        u.set.rules.unused = unused_pasid_fields::manual;
        CHECK(code_of(u.translate()) == reason::pasid_entry_reserved);
    }
    // The leniency is for PGTT 001 and 100 alone: any other entry meets 5Ah before 5Bh.
    for (std::uint64_t const pgtt : {0u, 2u, 3u, 5u, 6u, 7u}) {
        scalable_unit u{binding_kind::first_stage};
        u.ecap.set<"NEST">(0);
        u.ecap.set<"SSTS">(0);
        u.change(0, 0x1c0, pgtt << 6);
        CAPTURE(pgtt);
        CHECK(code_of(u.translate()) == reason::pasid_entry_invalid);
        u.address_width(2);
        CHECK(code_of(u.translate()) == reason::pasid_entry_reserved);
    }
}

TEST_CASE("5Bh: AW names a depth that the unit lacks") {
    for (auto const kind : {binding_kind::second_stage, binding_kind::nested}) {
        for (std::uint64_t aw = 0; aw < 8; ++aw) {
            scalable_unit u{kind};
            u.address_width(aw);
            CAPTURE(static_cast<int>(kind), aw);
            if (aw < 1 || aw > 3) {
                check_place(u.translate(), reason::pasid_entry_invalid, here(u.entry, u.memory[u.entry]), u.at());
                CHECK(u.translate(request_type::translation).error().reported);
                CHECK(code_of(u.translate(request_type::page)) == reason::pasid_entry_invalid);
            } else {
                CHECK(code_of(u.translate()) != reason::pasid_entry_invalid);
                u.cap.set<"SAGAW">(0b1110 & ~(1u << aw));
                CHECK(code_of(u.translate()) == reason::pasid_entry_invalid);
            }
        }
    }
    // Ignored where no second stage is used.
    for (auto const kind : {binding_kind::first_stage, binding_kind::pass_through}) {
        scalable_unit u{kind};
        u.address_width(7);
        CHECK(u.translate());
    }
    check_silence(reason::pasid_entry_invalid, true, quiet_by::pasid_entry, binding_kind::second_stage,
                  [](scalable_unit& u) { u.address_width(0); });
    // Before 5Dh and before the address.
    scalable_unit u;
    u.address_width(0);
    u.supervisor(false);
    CHECK(code_of(u.translate(u.ask_at(every_bit, read | privileged))) == reason::pasid_entry_invalid);
}

TEST_CASE("5Bh: PGTT is reserved or unsupported") {
    for (std::uint64_t const pgtt : {0u, 5u, 6u, 7u}) {
        scalable_unit u;
        u.change(0, 0x1c0, pgtt << 6);
        CAPTURE(pgtt);
        check_place(u.translate(), reason::pasid_entry_invalid, here(u.entry, u.memory[u.entry]), u.at());
        check_place(u.translate(request_type::translation), reason::pasid_entry_invalid, here(u.entry, u.memory[u.entry]),
                    u.at());
    }
    for (auto const kind : every_kind) {
        scalable_unit u{kind};
        CAPTURE(static_cast<int>(kind));
        // Nothing is in the entry that would be reserved instead.
        u.change(0, every_bit, u.memory[u.entry] & 0x1c1);
        u.change(2, every_bit, 0);
        u.memory[0] = 0;
        u.ecap.set<"NEST">(0);
        switch (kind) {
        case binding_kind::first_stage: u.ecap.set<"FSTS">(0); break;
        case binding_kind::nested: break;
        case binding_kind::pass_through: u.ecap.set<"PT">(0); break;
        default: u.ecap.set<"SSTS">(0); break;
        }
        check_place(u.translate(), reason::pasid_entry_invalid, here(u.entry, u.memory[u.entry]), u.at());
        CHECK(code_of(u.translate(request_type::page)) == reason::pasid_entry_invalid);
    }
}

TEST_CASE("5Bh: FSPM is reserved or unsupported") {
    for (auto const kind : {binding_kind::first_stage, binding_kind::nested}) {
        for (std::uint64_t fspm = 0; fspm < 4; ++fspm) {
            scalable_unit u{kind};
            u.change(2, 0xc, fspm << 2);
            CAPTURE(static_cast<int>(kind), fspm);
            if (fspm > 1) {
                check_place(u.translate(), reason::pasid_entry_invalid, here(u.entry, u.memory[u.entry]), u.at());
            } else {
                CHECK(code_of(u.translate()) != reason::pasid_entry_invalid);
                u.cap.set<"FS5LP">(0);
                CHECK((code_of(u.translate()) == reason::pasid_entry_invalid) == (fspm == 1));
            }
        }
    }
}

TEST_CASE("5Bh: nested, FSPTPTR beyond min(MGAW, AGAW)") {
    scalable_unit u{binding_kind::nested};
    u.address_width(1); // 39 bits
    u.change(2, ~std::uint64_t{0xfff}, one_bit(39));
    check_place(u.translate(), reason::pasid_entry_invalid, here(u.entry, u.memory[u.entry]), u.at());
    u.change(2, ~std::uint64_t{0xfff}, one_bit(39) - 0x1000);
    CHECK(code_of(u.translate()) != reason::pasid_entry_invalid);
    // The bound is MGAW where that is smaller. A first stage alone has no such bound.
    u.address_width(2);
    u.cap.set<"MGAW">(40);
    u.haw = 41;
    u.change(2, ~std::uint64_t{0xfff}, one_bit(40));
    CHECK(code_of(u.translate()) != reason::pasid_entry_invalid);
    u.haw = 52;
    u.cap.set<"MGAW">(51);
    u.change(2, ~std::uint64_t{0xfff}, one_bit(48)); // AGAW 48
    check_place(u.translate(), reason::pasid_entry_invalid, here(u.entry, u.memory[u.entry]), u.at());
    u.change(0, 0x1c0, 0x40);
    CHECK(code_of(u.translate()) == reason::first_stage_root_unreadable);
}

TEST_CASE("5Ch: an execute request to a unit without ERS") {
    for (auto const kind : every_kind) {
        scalable_unit u{kind};
        for (unsigned level = 1; level <= 4; ++level)
            u.memory[u.first_entry(level)] |= 0x20;
        check_place(u.translate(read | execute), reason::execute_disabled, here(u.entry, u.memory[u.entry]), u.at());
        check_place(u.translate(u.typed(request_type::translation, read | execute)), reason::execute_disabled,
                    here(u.entry, u.memory[u.entry]), u.at(), false);
        // Before 5Dh and before the address.
        u.supervisor(false);
        CHECK(code_of(u.translate(u.ask_at(every_bit, read | execute | privileged))) == reason::execute_disabled);
        u.supervisor(true);
        u.ecap.set<"ERS">(1);
        CHECK(u.translate(read | execute));
    }
    check_silence(
        reason::execute_disabled, true, quiet_by::pasid_entry, binding_kind::second_stage, [](scalable_unit&) {}, read | execute);
}

TEST_CASE("5Dh: a privileged request with SRE = 0") {
    for (auto const kind : every_kind) {
        scalable_unit u{kind};
        u.supervisor(false);
        CAPTURE(static_cast<int>(kind));
        check_place(u.translate(read | privileged), reason::supervisor_disabled, here(u.entry, u.memory[u.entry]), u.at());
        check_place(u.translate(u.typed(request_type::translation, read | privileged)), reason::supervisor_disabled,
                    here(u.entry, u.memory[u.entry]), u.at(), false);
        CHECK(u.memory.trail.size() == 15);
        // Before the address.
        CHECK(code_of(u.translate(u.ask_at(one_bit(63), read | privileged))) == reason::supervisor_disabled);
        CHECK(u.translate(read));
        CHECK(u.translate(u.typed(request_type::page, read | privileged)));
        // Without PASID it is RID_PRIV that counts, and nothing that the request says.
        CHECK(u.translate(u.plain(u.ask(read | privileged))));
        u.memory[u.context + 8] |= one_bit(20);
        check_place(u.translate(u.plain(u.ask())), reason::supervisor_disabled, here(u.rid_entry, u.memory[u.rid_entry]), u.at());
        CHECK(u.translate(read)); // with PASID it is the request's own
        u.supervisor(true);
        CHECK(u.translate(u.plain(u.ask())));
    }
    check_silence(
        reason::supervisor_disabled, true, quiet_by::pasid_entry, binding_kind::first_stage,
        [](scalable_unit& u) { u.supervisor(false); }, read | privileged);
}

TEST_CASE("70h: a first-stage table below the root cannot be read") {
    scalable_unit u{binding_kind::first_stage};
    u.memory.poison(u.f3);
    check_place(u.translate(), reason::first_stage_unreadable, first_table(2, u.f3), u.at());
    check_place(u.translate(request_type::translation), reason::first_stage_unreadable, first_table(2, u.f3), u.at(), false);
    for (unsigned level = 1; level < 4; ++level)
        check_silence(reason::first_stage_unreadable, true, quiet_by::pasid_entry, binding_kind::first_stage,
                      [&](scalable_unit& v) { v.memory.poison(v.first_entry(level)); });
}

TEST_CASE("71h: a first-stage entry is not present") {
    for (unsigned level = 1; level <= 4; ++level) {
        scalable_unit u{binding_kind::first_stage};
        // P = 0: nothing else is looked at.
        u.memory[u.first_entry(level)] = every_bit - 1;
        check_place(u.translate(), reason::first_stage_not_present, first_rights(level - 1, u.first_entry(level), every_bit - 1),
                    u.at());
        check_place(u.translate(request_type::translation), reason::first_stage_not_present,
                    first_rights(level - 1, u.first_entry(level), every_bit - 1), u.at(), false);
        check_silence(reason::first_stage_not_present, true, quiet_by::pasid_entry, binding_kind::first_stage,
                      [&](scalable_unit& v) { v.memory[v.first_entry(level)] = 0; });
    }
}

TEST_CASE("72h: reserved bits of a first-stage entry") {
    scalable_unit u{binding_kind::first_stage};
    std::uint64_t const bad = 0x6200'0004 | one_bit(46) | 1;
    u.memory[u.f3] = bad;
    check_place(u.translate(), reason::first_stage_reserved, first_table(2, u.f3, bad), u.at());
    // Before U/S and before R/W.
    u.memory[u.f3] = bad & ~std::uint64_t{6};
    CHECK(code_of(u.translate(write)) == reason::first_stage_reserved);
    CHECK_FALSE(u.translate(request_type::translation).error().reported);
    check_silence(reason::first_stage_reserved, true, quiet_by::pasid_entry, binding_kind::first_stage,
                  [](scalable_unit& v) { v.memory[v.f4] |= 0x80; });
}

TEST_CASE("73h: the first-stage root table cannot be read") {
    for (std::uint64_t const five : {0u, 1u}) {
        scalable_unit u{binding_kind::first_stage};
        u.change(2, 0xc, five << 2);
        std::uint64_t const at = five != 0 ? 0x6000'0000 : u.f4;
        u.memory.poison(at);
        check_place(u.translate(), reason::first_stage_root_unreadable, first_table(3 + five, at), u.at());
        check_place(u.translate(request_type::translation), reason::first_stage_root_unreadable, first_table(3 + five, at),
                    u.at(), false);
    }
    check_silence(reason::first_stage_root_unreadable, true, quiet_by::pasid_entry, binding_kind::first_stage,
                  [](scalable_unit& u) { u.memory.poison(u.f4); });
}

TEST_CASE("74h: nested, the address of a first-stage entry beyond min(MGAW, AGAW)") {
    for (unsigned level = 1; level <= 4; ++level) {
        scalable_unit u{binding_kind::nested};
        u.address_width(1);
        u.change(0, ~std::uint64_t{0xfff}, 0x5100'0000); // the second stage's root is the PDPT
        CHECK(u.translate());
        std::uint64_t& e = u.memory[u.first_entry(level)];
        e = (e & 0xfff) | one_bit(39);
        std::uint64_t const at = u.first_entry(level) - u.behind;
        CAPTURE(level);
        check_place(u.translate(), reason::first_stage_address_width, first_table(level - 1, at, e), u.at());
        CHECK_FALSE(u.translate(request_type::translation).error().reported);
        // After presence and reserved bits, before U/S.
        e &= ~std::uint64_t{4};
        CHECK(code_of(u.translate()) == reason::first_stage_address_width);
        e |= one_bit(46);
        CHECK(code_of(u.translate()) == reason::first_stage_reserved);
        e &= ~std::uint64_t{1};
        CHECK(code_of(u.translate()) == reason::first_stage_not_present);
    }
    check_silence(reason::first_stage_address_width, true, quiet_by::pasid_entry, binding_kind::nested, [](scalable_unit& u) {
        u.address_width(1);
        u.change(0, ~std::uint64_t{0xfff}, 0x5100'0000);
        u.memory[u.f1 + u.behind] = one_bit(39) | 7;
    });
}

TEST_CASE("75h, 76h, 77h: nested, the second stage lacks a right on a first-stage table") {
    auto const spoil = [](std::uint64_t rights_left) {
        return [rights_left](scalable_unit& u) { u.memory[u.n3] = 0x1'4000'0080 | rights_left; };
    };
    scalable_unit u{binding_kind::nested};
    spoil(2)(u);
    place const root_place{fault_stage::first, fault_at::table, 3, u.f4, 0};
    check_place(u.translate(), reason::first_stage_root_not_readable, root_place, u.at(), true, u.f4);
    check_place(u.translate(request_type::translation), reason::first_stage_root_not_readable, root_place, u.at(), false, u.f4);
    check_silence(reason::first_stage_root_not_readable, true, quiet_by::pasid_entry, binding_kind::nested, spoil(2));
    // The PDPT of the first stage behind a page of its own.
    auto const lower = [](scalable_unit& v) {
        v.memory[v.f4 + v.behind] = 0x8000'0007;
        v.memory[v.n3 + 8] = 0x1'8000'0082;
    };
    lower(u);
    spoil(3)(u);
    check_place(u.translate(), reason::first_stage_table_not_readable, {fault_stage::first, fault_at::table, 2, 0x8000'0000, 0},
                u.at(), true, 0x8000'0000);
    CHECK_FALSE(u.translate(request_type::translation).error().reported);
    check_silence(reason::first_stage_table_not_readable, true, quiet_by::pasid_entry, binding_kind::nested, lower);
    // Reading is granted, setting A is not.
    scalable_unit w{binding_kind::nested};
    spoil(1)(w);
    check_place(w.translate(), reason::first_stage_table_not_writable,
                {fault_stage::first, fault_at::table, 3, w.f4, 0x6100'0007}, w.at(), true, w.f4);
    CHECK_FALSE(w.translate(request_type::translation).error().reported);
    check_silence(reason::first_stage_table_not_writable, true, quiet_by::pasid_entry, binding_kind::nested, spoil(1));
}

TEST_CASE("78h: a second-stage table below the root cannot be read") {
    for (auto const at : {scalable_unit::s3, scalable_unit::s2, scalable_unit::s1}) {
        scalable_unit u;
        u.memory.poison(at);
        std::uint64_t const level = at == u.s3 ? 2 : at == u.s2 ? 1 : 0;
        check_place(u.translate(), reason::second_stage_unreadable, table_entry(level, at), u.at());
        CHECK(u.translate(request_type::translation).error().reported);
        check_silence(reason::second_stage_unreadable, true, quiet_by::pasid_entry, binding_kind::second_stage,
                      [&](scalable_unit& v) { v.memory.poison(at); });
    }
}

TEST_CASE("79h: a second-stage entry grants nothing, or all together nothing") {
    constexpr std::uint64_t at[]{scalable_unit::s1, scalable_unit::s2, scalable_unit::s3, scalable_unit::s4};
    for (unsigned level = 0; level < 4; ++level) {
        scalable_unit u;
        u.memory[at[level]] = every_bit - 3; // garbage
        CAPTURE(level);
        for (access const a : {read, write, read_write})
            check_place(u.translate(a), reason::second_stage_not_present, rights(level, at[level], every_bit - 3), u.at());
        check_place(u.translate(request_type::translation), reason::second_stage_not_present,
                    rights(level, at[level], every_bit - 3), u.at(), false);
        check_silence(reason::second_stage_not_present, true, quiet_by::pasid_entry, binding_kind::second_stage,
                      [&](scalable_unit& v) { v.memory[at[level]] = 0; });
    }
    // Cumulative: R in one entry, W in another. A reserved bit in the leaf wins.
    scalable_unit u;
    u.memory[u.s2] = 0x3300'0001;
    u.memory[u.s1] = 0xabc'de00'0002;
    for (access const a : {read, write, read_write})
        CHECK(code_of(u.translate(a)) == reason::second_stage_not_present);
    check_place(u.translate(read), reason::second_stage_not_present, rights(0, u.s1, u.memory[u.s1]), u.at());
    check_place(u.translate(write), reason::second_stage_not_present, rights(1, u.s2, u.memory[u.s2]), u.at());
    CHECK(code_of(u.translate(request_type::translation)) == reason::second_stage_not_present);
    u.memory[u.s1] |= one_bit(62);
    CHECK(code_of(u.translate()) == reason::second_stage_reserved);
}

TEST_CASE("7Ah: reserved bits of a second-stage entry with R or W") {
    for (std::uint64_t const right : {1u, 2u, 3u}) {
        scalable_unit u;
        u.memory[u.s3] = 0x3200'0000 | right | one_bit(62);
        check_place(u.translate(), reason::second_stage_reserved, table_entry(2, u.s3, u.memory[u.s3]), u.at());
        CHECK(u.translate(request_type::translation).error().reported);
    }
    check_silence(reason::second_stage_reserved, true, quiet_by::pasid_entry, binding_kind::second_stage,
                  [](scalable_unit& u) { u.memory[u.s2] |= 0x800; });
    // An entry of all ones is no page, whoever asks.
    for (auto const type : {request_type::untranslated, request_type::translation}) {
        for (auto const at : {scalable_unit::s1, scalable_unit::s2, scalable_unit::s3, scalable_unit::s4}) {
            scalable_unit u;
            u.memory[at] = every_bit;
            CAPTURE(static_cast<int>(type), at);
            CHECK(code_of(u.translate(type)) == reason::second_stage_reserved);
        }
    }
}

TEST_CASE("7Bh: the second-stage root table cannot be read") {
    for (std::uint64_t const aw : {1u, 2u, 3u}) {
        scalable_unit u;
        u.address_width(aw);
        u.change(0, ~std::uint64_t{0xfff}, 0x7000'0000);
        std::uint64_t const in = 0x56'789a'bcde;
        std::uint64_t const at = 0x7000'0000 + (in >> (12 + 9 * (aw + 1)) & 511) * 8;
        check_place(u.translate(u.ask_at(in)), reason::second_stage_root_unreadable, table_entry(aw + 1, at), in);
        CHECK(u.translate(u.typed_at(in, request_type::translation)).error().reported);
    }
    check_silence(reason::second_stage_root_unreadable, true, quiet_by::pasid_entry, binding_kind::second_stage,
                  [](scalable_unit& u) { u.memory.poison(u.s4); });
}

TEST_CASE("7Ch: a second-stage A or D bit is due and the walk does not snoop") {
    auto const spoil = [](scalable_unit& u) {
        u.keep_accessed_dirty();
        u.snoop(false);
    };
    scalable_unit u;
    spoil(u);
    check_place(u.translate(), reason::second_stage_update_unsnooped, table_entry(3, u.s4, 0x3100'0003), u.at());
    CHECK(u.memory.attempts == 0);
    CHECK(u.translate(request_type::translation).error().reported);
    check_silence(reason::second_stage_update_unsnooped, true, quiet_by::pasid_entry, binding_kind::second_stage, spoil);
    // The leaf's alone; after the rights.
    for (auto const at : {u.s4, u.s3, u.s2})
        u.memory[at] |= 0x100;
    check_place(u.translate(), reason::second_stage_update_unsnooped, table_entry(0, u.s1, 0xabc'de00'0803), u.at());
    u.memory[u.s1] = 0xabc'de00'0801;
    CHECK(code_of(u.translate(write)) == reason::scalable_write_denied);
    u.memory[u.s1] = 0xabc'de00'0903;
    CHECK(u.translate());
    CHECK(code_of(u.translate(write)) == reason::second_stage_update_unsnooped); // D
    u.memory[u.s1] |= 0x200;
    CHECK(u.translate(write));
}

TEST_CASE("7Dh: a second-stage A or D bit could not be set") {
    for (auto const at : {scalable_unit::s4, scalable_unit::s2, scalable_unit::s1}) {
        auto const spoil = [&](scalable_unit& u) {
            u.keep_accessed_dirty();
            u.memory.freeze(at);
        };
        scalable_unit u;
        spoil(u);
        std::uint64_t const level = at == u.s4 ? 3 : at == u.s2 ? 1 : 0;
        std::uint64_t const before = u.memory[at];
        check_place(u.translate(), reason::second_stage_update_failed, table_entry(level, at, before), u.at());
        CHECK(u.translate(request_type::translation).error().reported);
        check_silence(reason::second_stage_update_failed, true, quiet_by::pasid_entry, binding_kind::second_stage, spoil);
    }
}

TEST_CASE("80h: an input that is not canonical") {
    for (auto const kind : {binding_kind::first_stage, binding_kind::nested}) {
        scalable_unit u{kind};
        std::uint64_t const bad = 0x0000'8000'0000'0000;
        check_place(u.translate(u.ask_at(bad)), reason::not_canonical, address_itself(fault_stage::first), bad);
        CHECK(u.memory.trail.size() == 15); // no table is read
        check_place(u.translate(u.typed_at(bad, request_type::translation)), reason::not_canonical,
                    address_itself(fault_stage::first), bad, false);
        u.memory.poison(u.first_entry(4));
        CHECK(code_of(u.translate(u.ask_at(bad))) == reason::not_canonical);
    }
    for (auto const level : every_level) {
        scalable_unit u{binding_kind::first_stage};
        hush(u, level);
        check_place(u.translate(u.ask_at(one_bit(62))), reason::not_canonical, address_itself(fault_stage::first), one_bit(62),
                    false);
    }
}

TEST_CASE("81h: a user request meets U/S = 0") {
    for (unsigned level = 1; level <= 4; ++level) {
        scalable_unit u{binding_kind::first_stage};
        std::uint64_t& e = u.memory[u.first_entry(level)];
        e &= ~std::uint64_t{4};
        CAPTURE(level);
        for (access const a : {read, write, read_write})
            check_place(u.translate(a), reason::user_denied, first_rights(level - 1, u.first_entry(level), e), u.at());
        check_place(u.translate(request_type::translation), reason::user_denied, first_rights(level - 1, u.first_entry(level), e),
                    u.at(), false);
        // Before R/W.
        e &= ~std::uint64_t{2};
        CHECK(code_of(u.translate(write)) == reason::user_denied);
        CHECK(u.translate(read | privileged));
        check_silence(reason::user_denied, true, quiet_by::pasid_entry, binding_kind::first_stage,
                      [&](scalable_unit& v) { v.memory[v.first_entry(level)] &= ~std::uint64_t{4}; });
    }
}

TEST_CASE("83h: a translated address above HAW") {
    scalable_unit u;
    std::uint64_t const beyond = one_bit(46);
    check_place(u.translate(u.typed_at(beyond, request_type::translated)), reason::output_beyond_host,
                address_itself(fault_stage::configuration), beyond);
    auto const last = u.translate(u.typed_at(beyond - 1, request_type::translated));
    REQUIRE(last);
    CHECK(last->output == ipa{beyond - 1});
    CHECK(last->by == passage::bypassed);
    hush(u, quiet_by::directory); // not met
    CHECK(u.translate(u.typed_at(beyond, request_type::translated)).error().reported);
    hush(u, quiet_by::context);
    CHECK_FALSE(u.translate(u.typed_at(beyond, request_type::translated)).error().reported);
}

TEST_CASE("83h: a pass-through address above HAW") {
    scalable_unit u{binding_kind::pass_through};
    std::uint64_t const beyond = one_bit(46);
    check_place(u.translate(u.ask_at(beyond)), reason::output_beyond_host, address_itself(fault_stage::configuration), beyond);
    check_place(u.translate(u.typed_at(beyond, request_type::translation)), reason::output_beyond_host,
                address_itself(fault_stage::configuration), beyond, false);
    CHECK(code_of(u.translate(u.plain(u.ask_at(every_bit)))) == reason::output_beyond_host);
    CHECK(u.translate(u.ask_at(beyond - 1)));
    for (auto const level : every_level) {
        scalable_unit silent{binding_kind::pass_through};
        hush(silent, level);
        CHECK_FALSE(silent.translate(u.ask_at(beyond)).error().reported);
    }
}

TEST_CASE("84h: a second-stage address above min(MGAW, AGAW)") {
    for (std::uint64_t const aw : {1u, 2u, 3u}) {
        for (std::uint64_t const mgaw : {46u, 48u, 57u}) {
            scalable_unit u;
            u.address_width(aw);
            u.cap.set<"MGAW">(mgaw - 1);
            std::uint64_t const agaw = 30 + 9 * aw;
            std::uint64_t const beyond = std::uint64_t{1} << (agaw < mgaw ? agaw : mgaw);
            CAPTURE(aw, mgaw);
            check_place(u.translate(u.ask_at(beyond)), reason::input_beyond_second_stage, address_itself(fault_stage::second),
                        beyond);
            CHECK(u.memory.trail.size() == 15);
            CHECK(code_of(u.translate(u.ask_at(every_bit))) == reason::input_beyond_second_stage);
            CHECK(code_of(u.translate(u.ask_at(beyond - 1))) != reason::input_beyond_second_stage);
            CHECK_FALSE(u.translate(u.typed_at(beyond, request_type::translation)).error().reported);
        }
    }
    for (auto const level : every_level) {
        scalable_unit u;
        hush(u, level);
        CHECK_FALSE(u.translate(u.ask_at(one_bit(48))).error().reported);
    }
}

TEST_CASE("85h: a write or an atomic without W") {
    for (auto const kind : walked_kinds) {
        scalable_unit u{kind};
        bool const first = kind != binding_kind::second_stage;
        std::uint64_t const table = first ? u.first_entry(2) : u.s2;
        u.memory[table] &= ~std::uint64_t{2};
        CAPTURE(static_cast<int>(kind));
        for (access const a : {write, read_write}) {
            auto const answer = u.translate(a);
            std::uint64_t const at = first ? u.f2 : u.s2;
            place const where{first ? fault_stage::first : fault_stage::second, fault_at::input, 1, at, u.memory[table]};
            REQUIRE_FALSE(answer);
            std::uint64_t const blamed = answer.error().entry | (first ? 0x20 : 0);
            CHECK(blamed == (where.entry | (first ? 0x20 : 0)));
            place exact = where;
            exact.entry = answer.error().entry;
            check_place(answer, reason::scalable_write_denied, exact, u.at());
        }
        CHECK(u.translate(read));
        CHECK(u.translate(request_type::translation));
        check_silence(
            reason::scalable_write_denied, true, quiet_by::pasid_entry, kind,
            [&](scalable_unit& v) { v.memory[table] &= ~std::uint64_t{2}; }, write);
    }
}

TEST_CASE("86h: a read or an atomic without R, in the second stage only") {
    scalable_unit u;
    u.memory[u.s1] = 0xabc'de00'0802;
    check_place(u.translate(read), reason::scalable_read_denied, rights(0, u.s1, u.memory[u.s1]), u.at());
    check_place(u.translate(read_write), reason::scalable_read_denied, rights(0, u.s1, u.memory[u.s1]), u.at());
    CHECK(u.translate(write));
    CHECK(u.translate(request_type::translation));
    check_silence(reason::scalable_read_denied, true, quiet_by::pasid_entry, binding_kind::second_stage,
                  [](scalable_unit& v) { v.memory[v.s1] = 0xabc'de00'0802; });
    // Nested: the leaf's output.
    scalable_unit n{binding_kind::nested};
    n.memory[n.f1 + n.behind] = 0x8000'0007;
    n.memory[n.n3 + 8] = 0x1'8000'0082;
    check_place(n.translate(read), reason::scalable_read_denied, rights(2, n.n3 + 8, n.memory[n.n3 + 8]), n.at(), true,
                0x8000'0678);
    CHECK(n.translate(write));
}

TEST_CASE("87h: the output lies in the interrupt range") {
    for (auto const kind : walked_kinds) {
        scalable_unit u{kind};
        if (kind == binding_kind::second_stage) {
            u.memory[u.s1] = 0xfee0'0003;
        } else if (kind == binding_kind::first_stage) {
            u.memory[u.f1] = 0xfee0'0067;
        } else {
            u.memory[u.f1 + u.behind] = 0x80a0'0067; // a page of the guest at 80000000h
            u.memory[u.n3 + 8] = 0x5200'0003;
            u.memory[0x5200'0028] = 0xfee0'0083;
        }
        place const where = address_itself(kind == binding_kind::first_stage ? fault_stage::first : fault_stage::second);
        CAPTURE(static_cast<int>(kind));
        check_place(u.translate(), reason::scalable_output_in_interrupt_range, where, u.at());
        check_place(u.translate(request_type::translation), reason::scalable_output_in_interrupt_range, where, u.at());
        CHECK(code_of(u.translate(u.plain(u.ask()))) == reason::scalable_output_in_interrupt_range);
        u.set.interrupt_ranges = false;
        CHECK(u.translate());
        u.set.interrupt_ranges = true;
        for (auto const level : every_level) {
            scalable_unit silent = u;
            hush(silent, level);
            check_place(silent.translate(), reason::scalable_output_in_interrupt_range, where, u.at(), false);
        }
    }
    // A translated address, and one that passes through with a PASID.
    scalable_unit u{binding_kind::pass_through};
    for (std::uint64_t const at : {0xfee0'0000u, 0xfeef'ffffu}) {
        check_place(u.translate(u.typed_at(at, request_type::translated)), reason::scalable_output_in_interrupt_range,
                    address_itself(fault_stage::configuration), at);
        check_place(u.translate(u.ask_at(at, write)), reason::scalable_output_in_interrupt_range,
                    address_itself(fault_stage::configuration), at);
    }
    CHECK(u.translate(u.ask_at(0xfedf'ffff)));
    CHECK(u.translate(u.typed_at(0xfef0'0000, request_type::translated)));
}

TEST_CASE("89h: a PASID wider than PSS") {
    for (std::uint64_t pss = 0; pss < 19; ++pss) {
        scalable_unit u;
        u.ecap.set<"PSS">(pss);
        auto r = u.ask();
        r.pasid = std::uint32_t{2} << pss;
        if (r.pasid == u.rid_pasid) u.memory[u.context + 8] = 0;
        CAPTURE(pss);
        for (auto const type : every_type) {
            r.type = type;
            check_place(u.translate(r), reason::pasid_beyond_unit, here(u.context, u.memory[u.context]), u.at());
        }
        --r.pasid;
        CHECK(code_of(u.translate(r)) != reason::pasid_beyond_unit);
    }
    // Before 46h, 47h and 48h.
    scalable_unit u;
    u.ecap.set<"PSS">(13);
    u.memory[u.context] = 0x4000'000d;
    CHECK(code_of(u.translate(request_type::page)) == reason::pasid_beyond_unit);
    hush(u, quiet_by::context);
    check_place(u.translate(), reason::pasid_beyond_unit, here(u.context, 0x4000'000f), u.at(), false);
}

TEST_CASE("90h: a first-stage A, EA or D bit is due and the walk does not snoop") {
    for (bool const capable : {true, false}) {
        scalable_unit u{binding_kind::first_stage};
        u.snoop(false);
        if (!capable) u.ecap.set<"SMPWCS">(0);
        check_place(u.translate(), reason::first_stage_update_unsnooped, first_table(3, u.f4, 0x6100'0007), u.at());
        check_place(u.translate(request_type::translation), reason::first_stage_update_unsnooped,
                    first_table(3, u.f4, 0x6100'0007), u.at(), false);
        CHECK(u.memory.attempts == 0);
        for (unsigned level = 1; level <= 4; ++level)
            u.memory[u.first_entry(level)] |= 0x20;
        CHECK(u.translate());
        check_place(u.translate(write), reason::first_stage_update_unsnooped, first_table(0, u.f1, 0x7654'3027), u.at());
        // After R/W.
        u.memory[u.f1] = 0x7654'3025;
        CHECK(code_of(u.translate(write)) == reason::scalable_write_denied);
    }
    check_silence(reason::first_stage_update_unsnooped, true, quiet_by::pasid_entry, binding_kind::first_stage,
                  [](scalable_unit& u) { u.snoop(false); });
}

TEST_CASE("91h: a first-stage A, EA or D bit could not be set, recorded even for a translation request") {
    for (unsigned const level : {1u, 3u, 4u}) {
        auto const spoil = [&](scalable_unit& u) { u.memory.freeze(u.first_entry(level)); };
        scalable_unit u{binding_kind::first_stage};
        spoil(u);
        std::uint64_t const before = u.memory[u.first_entry(level)];
        check_place(u.translate(), reason::first_stage_update_failed, first_table(level - 1, u.first_entry(level), before),
                    u.at());
        check_place(u.translate(request_type::translation), reason::first_stage_update_failed,
                    first_table(level - 1, u.first_entry(level), before), u.at());
        CHECK(vtd::response_to(reason::first_stage_update_failed, request_type::translation) == response::success_no_rights);
        check_silence(reason::first_stage_update_failed, true, quiet_by::pasid_entry, binding_kind::first_stage, spoil);
    }
}

// --- what the requester is told ----------------------------------------------------------------------------------------

namespace {

constexpr auto ur = response::unsupported_request;
constexpr auto ca = response::completer_abort;
constexpr auto s0 = response::success_no_rights;
constexpr auto sp = response::success_with_rights;
constexpr int never = -1; // such a request does not meet the fault

constexpr int told(response r) { return static_cast<int>(r); }

struct reason_line {
    unsigned code;
    bool qualified;
    int untranslated;
    int translation;
    int translated;
    bool page;
};

// Typed from the manual's table of fault reasons (VT-d appendix A), line by line.
constexpr reason_line reason_lines[] = {
    {0x30, false, told(ur), told(ca), told(ur), true},  {0x33, false, told(ur), told(ur), told(ur), true},
    {0x34, false, told(ur), told(ur), told(ur), false}, {0x38, false, told(ur), told(ca), told(ur), true},
    {0x39, false, told(ur), told(ur), told(ur), true},  {0x3a, false, told(ur), told(ca), told(ur), true},
    {0x40, false, told(ur), told(ca), told(ur), true},  {0x41, true, told(ur), told(ur), told(ur), true},
    {0x42, true, told(ur), told(ca), told(ur), true},   {0x43, true, told(ur), told(ca), told(ur), true},
    {0x44, true, never, told(ur), told(ur), false},     {0x45, true, told(ur), told(ur), never, true},
    {0x46, true, told(ur), told(ur), told(ur), true},   {0x47, true, never, never, never, true},
    {0x48, true, told(ur), told(ur), told(ur), true},   {0x49, true, never, never, told(ur), false},
    {0x50, false, told(ur), told(ca), told(ca), true},  {0x51, true, told(ur), told(s0), told(ur), true},
    {0x52, true, told(ur), told(ca), told(ca), true},   {0x58, false, told(ur), told(ca), told(ca), true},
    {0x59, true, told(ur), told(s0), told(ur), true},   {0x5a, true, told(ur), told(ca), told(ca), true},
    {0x5b, true, told(ur), told(ca), told(ca), true},   {0x5c, true, told(ur), told(s0), never, false},
    {0x5d, true, told(ur), told(s0), never, false},     {0x70, true, told(ur), told(s0), never, false},
    {0x71, true, told(ur), told(s0), never, false},     {0x72, true, told(ur), told(s0), never, false},
    {0x73, true, told(ur), told(s0), never, false},     {0x74, true, told(ur), told(s0), never, false},
    {0x75, true, told(ur), told(s0), never, false},     {0x76, true, told(ur), told(s0), never, false},
    {0x77, true, told(ur), told(s0), never, false},     {0x78, true, told(ur), told(ca), never, false},
    {0x79, true, told(ur), told(s0), never, false},     {0x7a, true, told(ur), told(ca), never, false},
    {0x7b, true, told(ur), told(ca), never, false},     {0x7c, true, told(ur), told(ca), never, false},
    {0x7d, true, told(ur), told(ca), never, false},     {0x80, true, told(ur), told(s0), never, false},
    {0x81, true, told(ur), told(s0), never, false},     {0x83, true, told(ur), told(s0), told(ur), false},
    {0x84, true, told(ur), told(s0), never, false},     {0x85, true, told(ur), told(sp), never, false},
    {0x86, true, told(ur), told(sp), never, false},     {0x87, true, told(ur), told(ca), told(ur), false},
    {0x89, true, told(ur), told(ur), told(ur), false},  {0x90, true, told(ur), told(s0), never, false},
    {0x91, true, told(ur), told(s0), never, false},     {0x60, true, never, never, told(ur), false},
    {0xa0, true, never, never, told(ca), false},        {0xa1, true, never, never, told(ca), false},
    {0xa2, true, never, never, told(ca), false},        {0xa3, true, never, never, told(ur), false},
    {0xa4, true, never, never, told(ur), false},        {0xa5, true, never, never, told(ur), false},
};

} // namespace

TEST_CASE("every reason of scalable mode is answered, qualified and recoverable as the table says") {
    for (reason_line const& row : reason_lines) {
        auto const code = static_cast<reason>(row.code);
        CAPTURE(row.code);
        CHECK(vtd::row_of(code).code == code);
        CHECK(vtd::is_qualified(code) == row.qualified);
        CHECK(vtd::row_of(code).qualified == row.qualified);
        struct {
            request_type type;
            int answer;
        } const columns[] = {{request_type::untranslated, row.untranslated},
                             {request_type::translation, row.translation},
                             {request_type::translated, row.translated}};
        for (auto const& c : columns) {
            if (c.answer == never) continue;
            CAPTURE(static_cast<int>(c.type));
            CHECK(told(vtd::response_to(code, c.type)) == c.answer);
            bool const success = c.answer == told(s0) || c.answer == told(sp);
            CHECK(vtd::is_recoverable(code, c.type) == (success && row.code != 0x91));
        }
        CHECK(vtd::response_to(code, request_type::page) == response::invalid_request);
        CHECK_FALSE(vtd::is_recoverable(code, request_type::page));
    }
}

} // namespace stagewalk::test
