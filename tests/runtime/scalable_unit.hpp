// A unit in scalable mode, its device and the tables that the worked examples share (section 12 of docs/coverage.md). A test
// states what it changes.
#pragma once

#include "sheet_unit.hpp"
#include "watched_memory.hpp"

#include <stagewalk/vtd/ats.hpp>
#include <stagewalk/vtd/iommu.hpp>

#include <cstdint>
#include <vector>

namespace stagewalk::test {

using vtd::binding_kind;
using vtd::response;

// SID 0388h (03:11.0), RTA 10000000h, UCTP 21000000h, PASID directory 40000000h with PDTS 7, PASID 12345h in the table at
// 41000000h, RID_PASID 2 in the table at 42000000h; both PASIDs are bound alike. Second stage: the tables of example 3 and
// IOVA 0000123456789ABCh; first stage: those of example 13 and IOVA 00007F8012345678h. In a nested unit the first-stage
// tables lie 100000000h higher, behind the second stage of example 15.
struct scalable_unit {
    static constexpr std::uint16_t device = 0x0388;
    static constexpr std::uint32_t pasid = 0x12345;
    static constexpr std::uint32_t rid_pasid = 2;
    static constexpr std::uint64_t root = 0x1000'0030;
    static constexpr std::uint64_t upper = 0x1000'0038;
    static constexpr std::uint64_t context = 0x2100'0100;
    static constexpr std::uint64_t directory = 0x4000'2468;
    static constexpr std::uint64_t entry = 0x4100'0140;
    static constexpr std::uint64_t rid_directory = 0x4000'0000;
    static constexpr std::uint64_t rid_entry = 0x4200'0080;
    // The second-stage path.
    static constexpr std::uint64_t second_at = 0x1234'5678'9abc;
    static constexpr std::uint64_t s4 = 0x3000'0120;
    static constexpr std::uint64_t s3 = 0x3100'0688;
    static constexpr std::uint64_t s2 = 0x3200'0598;
    static constexpr std::uint64_t s1 = 0x3300'0c48;
    // The first-stage path.
    static constexpr std::uint64_t first_at = 0x7f80'1234'5678;
    static constexpr std::uint64_t f4 = 0x6000'07f8;
    static constexpr std::uint64_t f3 = 0x6100'0000;
    static constexpr std::uint64_t f2 = 0x6200'0488;
    static constexpr std::uint64_t f1 = 0x6300'0a28;
    // The second stage under it.
    static constexpr std::uint64_t behind = 0x1'0000'0000;
    static constexpr std::uint64_t n4 = 0x5000'0000;
    static constexpr std::uint64_t n3 = 0x5100'0008;

    using memory_type = watched_memory<ipa>;

    vtd::capability_register cap{};
    vtd::extended_capability_register ecap{};
    std::uint64_t haw{46};
    std::uint64_t version{0x10};
    std::uint64_t root_register{0x1000'0400};
    vtd::settings set{};
    memory_type memory{};
    binding_kind kind{};

    explicit scalable_unit(binding_kind k = binding_kind::second_stage) : kind{k} {
        cap.set<"MGAW">(47);
        cap.set<"SAGAW">(0b1110);
        cap.set<"SSLPS">(0b0011);
        cap.set<"ND">(6);
        cap.set<"FS1GP">(1);
        cap.set<"FS5LP">(1);
        ecap.set<"SC">(1);
        ecap.set<"PT">(1);
        ecap.set<"DT">(1);
        ecap.set<"ADMS">(1);
        ecap.set<"SMTS">(1);
        ecap.set<"FSTS">(1);
        ecap.set<"SSTS">(1);
        ecap.set<"SSADS">(1);
        ecap.set<"NEST">(1);
        ecap.set<"PASID">(1);
        ecap.set<"PSS">(19);
        ecap.set<"EAFS">(1);
        ecap.set<"NWFS">(1);
        ecap.set<"SRS">(1);
        ecap.set<"PRS">(1);
        ecap.set<"RPS">(1);
        ecap.set<"RPRIVS">(1);
        ecap.set<"SMPWCS">(1);
        ecap.set<"MTS">(1);
        memory[upper] = 0x2100'0001;
        memory[context] = 0x4000'0e1d; // P, DTE, PASIDE, PRE, PDTS 7
        memory[context + 8] = rid_pasid;
        memory[directory] = 0x4100'0001;
        memory[rid_directory] = 0x4200'0001;
        memory[s4] = 0x3100'0003;
        memory[s3] = 0x3200'0003;
        memory[s2] = 0x3300'0003;
        memory[s1] = 0xabc'de00'0803;
        memory[n4] = 0x5100'0003;
        memory[n3] = 0x1'4000'0083;
        std::uint64_t const up = k == binding_kind::nested ? behind : 0;
        memory[f4 + up] = 0x6100'0007;
        memory[f3 + up] = 0x6200'0007;
        memory[f2 + up] = 0x6300'0007;
        memory[f1 + up] = 0x7654'3007;
        switch (k) {
        case binding_kind::first_stage: bind(0x41, 0x0080'0001, 0x6000'0001); break;
        case binding_kind::nested: bind(0x5000'00c9, 0x0080'0001, 0x6000'0001); break;
        case binding_kind::pass_through: bind(0x101, 0x0080'0001, 0x1); break;
        default: bind(0x3000'0089, 0x0080'0012, 0x1); break;
        }
    }

    // Words 0 to 2 of both PASID entries.
    void bind(std::uint64_t q0, std::uint64_t q1, std::uint64_t q2) {
        for (auto const at : {entry, rid_entry}) {
            memory[at] = q0;
            memory[at + 8] = q1;
            memory[at + 16] = q2;
        }
    }
    // Changes bits of word `w` of both PASID entries.
    void change(unsigned w, std::uint64_t clear, std::uint64_t set_bits) {
        for (auto const at : {entry, rid_entry}) {
            std::uint64_t& word = memory[at + w * 8];
            word = (word & ~clear) | set_bits;
        }
    }
    void keep_accessed_dirty() { change(0, 0, 0x200); }                   // SSADE
    void snoop(bool on) { change(1, 0x0080'0000, on ? 0x0080'0000 : 0); } // PWSNP
    void write_protect() { change(2, 0, 0x10); }                          // WPE
    void extended_accessed() { change(2, 0, 0x80); }                      // EAFE
    void supervisor(bool on) { change(2, 1, on ? 1 : 0); }                // SRE
    void address_width(std::uint64_t aw) { change(0, 0x1c, aw << 2); }

    // Where the first-stage entry of the manual's level 1 to 4 lies, as the second stage or the host sees it.
    [[nodiscard]] std::uint64_t first_entry(unsigned level) const {
        constexpr std::uint64_t at[]{0, f1, f2, f3, f4};
        return at[level] + (kind == binding_kind::nested ? behind : 0);
    }
    [[nodiscard]] std::uint64_t at() const {
        return kind == binding_kind::first_stage || kind == binding_kind::nested ? first_at : second_at;
    }

    [[nodiscard]] vtd::capabilities caps() const { return {cap.word[0], ecap.word[0], haw, version}; }
    [[nodiscard]] vtd::iommu<memory_type> unit() { return {caps(), vtd::root_table_address(root_register), memory, set}; }

    auto translate(vtd::request const& r) {
        memory.forget();
        return unit().translate(r);
    }
    auto translate(access a = read) { return translate(ask(a)); }
    auto translate(request_type type) { return translate(typed(type)); }

    // With PASID.
    [[nodiscard]] vtd::request ask(access a = read) const { return ask_at(at(), a); }
    [[nodiscard]] vtd::request ask_at(std::uint64_t address, access a = read) const {
        vtd::request r;
        r.source = device;
        r.address = iova{address};
        r.access = a;
        r.pasid = pasid;
        return r;
    }
    [[nodiscard]] vtd::request typed(request_type type, access a = read) const {
        vtd::request r = ask(a);
        r.type = type;
        return r;
    }
    [[nodiscard]] vtd::request typed_at(std::uint64_t address, request_type type) const {
        vtd::request r = ask_at(address);
        r.type = type;
        return r;
    }
    // Without PASID.
    [[nodiscard]] static vtd::request plain(vtd::request r) {
        r.pasid = vtd::no_pasid;
        return r;
    }
};

// Every field of the fault.
template <class Outcome>
void check_place(Outcome const& result, reason code, place const& where, std::uint64_t input, bool reported = true,
                 std::uint64_t intermediate = 0) {
    REQUIRE_FALSE(result);
    auto const& f = result.error();
    CHECK(f.code == code);
    CHECK(static_cast<int>(f.stage) == static_cast<int>(where.stage));
    CHECK(static_cast<int>(f.at) == static_cast<int>(where.at));
    CHECK(std::uint64_t{f.level} == where.level);
    CHECK(f.descriptor == where.descriptor);
    CHECK(f.entry == where.entry);
    CHECK(f.input == input);
    CHECK(f.intermediate == intermediate);
    CHECK(f.detail == 0);
    CHECK(f.reported == reported);
}

// A first-stage entry as such, and the rights or the presence that one lacks. The level counts from 0.
inline place first_table(std::uint64_t level, std::uint64_t descriptor, std::uint64_t entry = 0) {
    return {fault_stage::first, fault_at::table, level, descriptor, entry};
}
inline place first_rights(std::uint64_t level, std::uint64_t descriptor, std::uint64_t entry) {
    return {fault_stage::first, fault_at::input, level, descriptor, entry};
}

// The kinds of request, untranslated first.
inline constexpr request_type every_type[]{request_type::untranslated, request_type::translation, request_type::translated,
                                           request_type::page};

} // namespace stagewalk::test
