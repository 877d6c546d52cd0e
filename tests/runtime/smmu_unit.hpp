// An SMMU, its device and the tables that the worked examples share. A test states what it changes.
#pragma once

#include "catch.hpp"
#include "watched_memory.hpp"

#include <stagewalk/smmu/iommu.hpp>

#include <cstdint>
#include <ostream>
#include <vector>

namespace stagewalk {
inline namespace v0 {
namespace smmu {

// So that a failed check shows the manual's number.
inline std::ostream& operator<<(std::ostream& out, event e) {
    return out << std::hex << static_cast<unsigned>(e) << 'h' << std::dec;
}
inline std::ostream& operator<<(std::ostream& out, stream_entry_error e) {
    return out << "STE error " << static_cast<unsigned>(e);
}
inline std::ostream& operator<<(std::ostream& out, context_error e) { return out << "CD error " << static_cast<unsigned>(e); }

} // namespace smmu
} // namespace v0
} // namespace stagewalk

namespace stagewalk::test {

using smmu::event;

// What event_of says of a translation.
inline constexpr event mapped{0xff};

// The event alone.
template <class Outcome>
event event_of(Outcome const& result) {
    return result ? mapped : result.error().code;
}

// Bits 127:64 of an event record.
inline constexpr std::uint64_t is_privileged = 0x2'0000'0000;    // PnU, bit 97
inline constexpr std::uint64_t is_instruction = 0x4'0000'0000;   // InD, bit 98
inline constexpr std::uint64_t is_read = 0x8'0000'0000;          // RnW, bit 99
inline constexpr std::uint64_t is_stalled = 0x8000'0000;         // Stall, bit 95
inline constexpr std::uint64_t is_second = 0x80'0000'0000;       // S2, bit 103
inline constexpr std::uint64_t class_table = 0x100'0000'0000;    // CLASS, bits 105:104: TT
inline constexpr std::uint64_t class_input = 0x200'0000'0000;    // IN
inline constexpr std::uint64_t is_table_read = 0x1000'0000'0000; // TTRnW, bit 108
// What of `fault::detail` the record has.
template <class Outcome>
std::uint64_t record_of(Outcome const& result) {
    return result.error().detail & 0x0000'ffff'ffff'0000;
}
// And what it has not: the reason of a C_BAD_STE or C_BAD_CD, the rights that an F_PERMISSION lacked.
template <class Outcome>
std::uint64_t reason_of(Outcome const& result) {
    return result.error().detail & 0xffff;
}

// What a fault is to say, beside its event and flags.
struct smmu_place {
    fault_stage stage{fault_stage::configuration};
    fault_at at{fault_at::context};
    std::uint64_t level{no_level};
    std::uint64_t descriptor{};
    std::uint64_t entry{};
};

inline smmu_place of_configuration(std::uint64_t descriptor = 0, std::uint64_t entry = 0) {
    return {fault_stage::configuration, fault_at::context, no_level, descriptor, entry};
}
// The address itself, whatever the descriptors.
inline smmu_place of_input(fault_stage stage) { return {stage, fault_at::input, no_level, 0, 0}; }
// A descriptor. The level counts from 0: the manual's 3 less this.
inline smmu_place of_descriptor(fault_stage stage, std::uint64_t level, std::uint64_t descriptor, std::uint64_t entry) {
    return {stage, fault_at::input, level, descriptor, entry};
}
inline smmu_place of_abort(fault_stage stage, std::uint64_t level, std::uint64_t descriptor, std::uint64_t entry = 0) {
    return {stage, fault_at::table, level, descriptor, entry};
}

// Every field of the fault.
template <class Outcome>
void check_event(Outcome const& result, event code, smmu_place const& where, std::uint64_t input, std::uint64_t detail,
                 std::uint64_t intermediate = 0, bool reported = true) {
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
    CHECK(f.detail == detail);
    CHECK(f.reported == reported);
}

enum class smmu_kind { bypass, stage1, stage2, nested };

// SMMUv3.2, OAS 48, three granules, HTTU 3, HYP, ATS, everything of 16 bits, SIDSIZE 16, SSIDSIZE 20; linear stream table of 256
// entries at 88000000h, SID 2Ah, STE at 88000A80h.
// Stage 1: the context descriptor of example 5 at 92000000h, the tables of example 6 at 94000000h, VA 7F1234567ABCh to
// 123456ABCh. Stage 2: example 10, IPA 8012345678h to 312345678h. Nested, stage 1 lies `behind` stage 2, whose root has
// two more entries: 92000000h and 94000000h lead 2 MiB each 300000000h higher, the page of example 6 to 74005 6000h.
struct smmu_unit {
    using memory_type = watched_memory<pa>;

    static constexpr std::uint32_t stream = 0x2a;
    static constexpr std::uint64_t ste_at = 0x8800'0a80;
    static constexpr std::uint64_t cd_at = 0x9200'0000;
    static constexpr std::uint64_t first_at = 0x7f12'3456'7abc;
    static constexpr std::uint64_t second_at = 0x80'1234'5678;
    static constexpr std::uint64_t behind = 0x3'0000'0000;
    // The descriptors of stage 1, the manual's levels 0 to 3, as stage 1 sees them.
    static constexpr std::uint64_t l0 = 0x9400'07f0;
    static constexpr std::uint64_t l1 = 0x9400'1240;
    static constexpr std::uint64_t l2 = 0x9400'2d10;
    static constexpr std::uint64_t l3 = 0x9400'3b38;
    // Those of stage 2, levels 1 to 3.
    static constexpr std::uint64_t s1 = 0xa000'3000;
    static constexpr std::uint64_t s2 = 0xa001'0488;
    static constexpr std::uint64_t s3 = 0xa001'1a28;
    // Those of stage 2 for what stage 1 needs, nested: roots, context descriptor, tables, page.
    static constexpr std::uint64_t n_root = 0xa000'2010;
    static constexpr std::uint64_t n_cd = 0xa002'0480;
    static constexpr std::uint64_t n_table = 0xa002'0500;
    static constexpr std::uint64_t n_root_out = 0xa000'2020;
    static constexpr std::uint64_t n_out = 0xa003'08d0;

    smmu::identification_register_0 idr0{};
    smmu::identification_register_1 idr1{};
    smmu::identification_register_3 idr3{};
    smmu::identification_register_5 idr5{};
    std::uint32_t aidr{2};
    std::uint64_t strtab_base{0x8800'0000};
    std::uint32_t strtab_base_cfg{8};
    std::uint32_t cr0{1};
    std::uint32_t cr2{};
    std::uint32_t gbpa{};
    smmu::policy rules{};
    memory_type memory{};
    smmu::stream_table_entry ste{};
    smmu::context_descriptor cd{};
    smmu_kind kind{};

    explicit smmu_unit(smmu_kind k = smmu_kind::stage1) : kind{k} {
        idr0.set<"S1P">(1);
        idr0.set<"S2P">(1);
        idr0.set<"TTF">(2);
        idr0.set<"HTTU">(3);
        idr0.set<"HYP">(1);
        idr0.set<"ATS">(1);
        idr0.set<"ASID16">(1);
        idr0.set<"VMID16">(1);
        idr0.set<"CD2L">(1);
        idr0.set<"ST_LEVEL">(1);
        idr1.set<"SIDSIZE">(16);
        idr1.set<"SSIDSIZE">(20);
        idr1.set<"ATTR_PERMS_OVR">(1);
        idr1.set<"ATTR_TYPES_OVR">(1);
        idr3.set<"HAD">(1);
        idr3.set<"XNX">(1);
        idr3.set<"FWB">(1);
        idr3.set<"E0PD">(1);
        idr3.set<"EPAN">(1);
        idr5.set<"OAS">(5);
        idr5.set<"GRAN4K">(1);
        idr5.set<"GRAN16K">(1);
        idr5.set<"GRAN64K">(1);

        switch (k) {
        case smmu_kind::bypass: ste.word[0] = 0x9; break;
        case smmu_kind::stage1: ste.word[0] = 0x9200'000b; break;
        case smmu_kind::stage2: ste.word[0] = 0xd; break;
        case smmu_kind::nested: ste.word[0] = 0x9200'000f; break;
        }
        ste.word[1] = 0x0000'1000'0000'0000;
        if (uses_second()) {
            ste.word[2] = 0x044d'3558'0000'0017;
            ste.word[3] = 0xa000'2000;
        }
        cd.word[0] = 0x0042'e205'c000'3510;
        cd.word[1] = 0x9400'0000;
        cd.word[3] = 0x0004'ff44;

        std::uint64_t const up = k == smmu_kind::nested ? behind : 0;
        memory[up + l0] = 0x9400'1003;
        memory[up + l1] = 0x9400'2003;
        memory[up + l2] = 0x9400'3003;
        memory[up + l3] = 0x0060'0001'2345'6f47;
        memory[s1] = 0xa001'0003;
        memory[s2] = 0xa001'1003;
        memory[s3] = 0x3'1234'57ff;
        if (k == smmu_kind::nested) {
            memory[n_root] = 0xa002'0003;
            memory[n_cd] = 0x3'9200'07fd;
            memory[n_table] = 0x3'9400'07fd;
            memory[n_root_out] = 0xa003'0003;
            memory[n_out] = 0x7'4000'07fd;
        }
    }

    [[nodiscard]] bool uses_second() const { return kind == smmu_kind::stage2 || kind == smmu_kind::nested; }
    // The descriptor of stage 1 of that address, wherever it lies.
    std::uint64_t& first(std::uint64_t descriptor) { return memory[where(descriptor)]; }
    [[nodiscard]] std::uint64_t where(std::uint64_t descriptor) const {
        return descriptor + (kind == smmu_kind::nested ? behind : 0);
    }
    [[nodiscard]] std::uint64_t at() const {
        return kind == smmu_kind::stage1 || kind == smmu_kind::nested ? first_at : second_at;
    }

    // 52 bits, with small descriptors too.
    void widen() {
        idr5.set<"OAS">(6);
        idr5.set<"VAX">(1);
        idr5.set<"DS">(1);
    }
    // Both halves have tables; the upper one's begin at 95000000h.
    void both_halves() {
        cd.word[0] = 0x0042'e205'b590'3510;
        cd.word[2] = 0x9500'0000;
    }

    [[nodiscard]] smmu::capabilities caps() const {
        auto const low = [](auto const& r) { return static_cast<std::uint32_t>(r.word[0]); };
        return {low(idr0), low(idr1), low(idr3), low(idr5), aidr};
    }
    [[nodiscard]] smmu::control registers() const { return {strtab_base, strtab_base_cfg, cr0, cr2, gbpa}; }
    [[nodiscard]] smmu::iommu<memory_type> unit() { return {caps(), registers(), memory, rules}; }

    // Writes the stream table entry and the context descriptor where they belong.
    void write_configuration() {
        for (std::uint64_t i = 0; i < 8; ++i) {
            memory[ste_at + i * 8] = ste.word[i];
            memory[where(cd_at) + i * 8] = cd.word[i];
        }
        memory.forget();
    }
    auto translate(smmu::request const& r) {
        write_configuration();
        return unit().translate(r);
    }
    auto translate(access a = read) { return translate(ask(a)); }
    auto translate_at(std::uint64_t address, access a = read) { return translate(ask_at(address, a)); }
    auto find(smmu::request const& r) {
        write_configuration();
        return unit().find(r);
    }
    auto find() { return find(ask()); }

    [[nodiscard]] smmu::request ask(access a = read) const { return ask_at(at(), a); }
    [[nodiscard]] static smmu::request ask_at(std::uint64_t address, access a = read) {
        smmu::request r;
        r.source = stream;
        r.address = iova{address};
        r.access = a;
        return r;
    }
    [[nodiscard]] smmu::request with_substream(std::uint32_t substream, access a = read) const {
        smmu::request r = ask(a);
        r.pasid = substream;
        return r;
    }
    [[nodiscard]] smmu::request from(std::uint32_t source) const {
        smmu::request r = ask();
        r.source = source;
        return r;
    }
    // Why the stream table entry is illegal.
    smmu::stream_entry_error entry_error() {
        auto const answer = translate();
        auto found = smmu::stream_entry_error::none;
        if (event_of(answer) == event::c_bad_ste) found = static_cast<smmu::stream_entry_error>(reason_of(answer));
        // The unit may know plain entries at a glance: the law says the same.
        CHECK(smmu::check(ste, caps(), rules) == found);
        return found;
    }
    // Why the context descriptor is.
    smmu::context_error descriptor_error() {
        auto const answer = translate();
        auto found = smmu::context_error::none;
        if (event_of(answer) == event::c_bad_cd) found = static_cast<smmu::context_error>(reason_of(answer));
        CHECK(smmu::check(cd, ste, smmu::world_of(ste, caps(), registers()), caps(), rules) == found);
        return found;
    }
};

// A unit whose tables lead to descriptor 0 of each level: `table(L)` is that of the manual's level L, and the input addresses
// that go there are small. Granules are named as TG0 and S2TG name them: 0 4 KiB, 1 64 KiB, 2 16 KiB.
struct smmu_chain : smmu_unit {
    int start;
    std::uint64_t page; // lg2

    smmu_chain(smmu_kind k, std::uint64_t tg, std::uint64_t size, int start_level, bool wide = false)
        : smmu_unit{k}, start{start_level}, page{tg == 0   ? 12u
                                                 : tg == 1 ? 16u
                                                           : 14u} {
        if (wide) widen();
        if (wide) idr5.set<"DS">(1);
        cd.set<"TG0">(tg);
        cd.set<"T0SZ">(size);
        cd.set<"DS">(wide);
        cd.set<"IPS">(wide ? 6 : 5);
        ste.set<"S2TG">(tg);
        ste.set<"S2T0SZ">(size);
        ste.set<"S2DS">(wide);
        ste.set<"S2PS">(wide ? 6 : 5);
        ste.set<"S2TTB">(0x9400'0000);
        std::uint64_t const sl0 =
            tg == 0 ? (start == 3 ? 3 : static_cast<std::uint64_t>(2 - start) & 3) : static_cast<std::uint64_t>(3 - start);
        ste.set<"S2SL0">(start < 0 ? 0 : sl0);
        ste.set<"S2SL0_2">(start < 0);
        if (start < 0) ste.set<"S2SL0">(0);
        for (int level = start; level < 3; ++level)
            entry(level) = table(level + 1) | 3;
        entry(3) = leaf(0x1'2345'0000, 3);
    }
    [[nodiscard]] std::uint64_t shift(int level) const { return page + static_cast<std::uint64_t>(3 - level) * (page - 3); }
    [[nodiscard]] std::uint64_t table(int level) const {
        return 0x9400'0000 + 0x1'0000 * static_cast<std::uint64_t>(level - start);
    }
    std::uint64_t& entry(int level) { return memory[table(level)]; }
    // A page or block of everybody: AP or S2AP 01 and 11, AF, inner shareable where SH is there.
    [[nodiscard]] std::uint64_t leaf(std::uint64_t output, int level) const {
        std::uint64_t const rights = uses_second() ? 0x4fd : 0x444;
        return output | rights | (level == 3 ? 3u : 1u);
    }
};

} // namespace stagewalk::test
