// The unit, the device and the tables that the worked examples share. A test states what it changes. "Sheet" in a name stands
// for the worked examples, section 12 of docs/coverage.md.
#pragma once

#include "catch.hpp"
#include "sparse_memory.hpp"

#include <stagewalk/vtd/fault_record.hpp>
#include <stagewalk/vtd/iommu.hpp>

#include <cstdint>
#include <ostream>

namespace stagewalk {
inline namespace v0 {
namespace vtd {

// So that a failed check shows the manual's number.
inline std::ostream& operator<<(std::ostream& out, reason r) {
    return out << std::hex << static_cast<unsigned>(r) << 'h' << std::dec;
}

} // namespace vtd
} // namespace v0
} // namespace stagewalk

namespace stagewalk::test {

using vtd::reason;
using vtd::request_type;

// HAW 46, MGAW 48, SAGAW 39/48/57, SSLPS 0011, SC 1; SID 0219h, RTA 10000000h, CTP 20000000h, SSPTPTR 30000000h, AW 2,
// DID 7; IOVA 0000123456789ABCh through tables at 30000000h, 31000000h, 32000000h, 33000000h to 00000ABCDE000ABCh.
struct sheet_unit {
    static constexpr std::uint16_t device = 0x0219;
    static constexpr std::uint64_t at = 0x1234'5678'9abc;
    // Where each entry of the path lies.
    static constexpr std::uint64_t root = 0x1000'0020;
    static constexpr std::uint64_t context = 0x2000'0190;
    static constexpr std::uint64_t l4 = 0x3000'0120;
    static constexpr std::uint64_t l3 = 0x3100'0688;
    static constexpr std::uint64_t l2 = 0x3200'0598;
    static constexpr std::uint64_t l1 = 0x3300'0c48;

    vtd::capability_register cap{};
    vtd::extended_capability_register ecap{};
    std::uint64_t haw{46};
    std::uint64_t root_register{0x1000'0000};
    vtd::settings set{};
    sparse_memory<ipa> memory{};

    sheet_unit() {
        cap.set<"MGAW">(47);
        cap.set<"SAGAW">(0b1110);
        cap.set<"SSLPS">(0b0011);
        cap.set<"ND">(6);
        ecap.set<"SC">(1);
        ecap.set<"PT">(1);
        ecap.set<"DT">(1);
        ecap.set<"ADMS">(1);
        memory[root] = 0x2000'0001;
        memory[context] = 0x3000'0001;
        memory[context + 8] = 0x702;
        memory[l4] = 0x3100'0003;
        memory[l3] = 0x3200'0003;
        memory[l2] = 0x3300'0003;
        memory[l1] = 0xabc'de00'0803;
    }

    // Context entry TT (bits 3:2).
    void translation(vtd::translation_type type) {
        memory[context] = (memory[context] & ~std::uint64_t{0xc}) | static_cast<std::uint64_t>(type) << 2;
    }
    void quiet() { memory[context] |= 2; } // FPD
    // Context entry AW (bits 66:64).
    void address_width(std::uint64_t aw) { memory[context + 8] = (memory[context + 8] & ~std::uint64_t{7}) | aw; }

    [[nodiscard]] vtd::capabilities caps() const { return {cap.word[0], ecap.word[0], haw}; }

    auto translate(vtd::request const& r) {
        memory.trail.clear();
        vtd::iommu const unit{caps(), vtd::root_table_address(root_register), memory, set};
        return unit.translate(r);
    }
    auto translate(std::uint64_t address, access a = read) { return translate(ask(address, a)); }
    auto translate(access a = read) { return translate(at, a); }
    auto translate(request_type type) { return translate(typed(at, type)); }

    [[nodiscard]] static vtd::request ask(std::uint64_t address, access a = read) {
        vtd::request r;
        r.source = device;
        r.address = iova{address};
        r.access = a;
        return r;
    }
    [[nodiscard]] static vtd::request typed(std::uint64_t address, request_type type, access a = read) {
        vtd::request r = ask(address, a);
        r.type = type;
        return r;
    }
    [[nodiscard]] static vtd::request sized(std::uint64_t address, access a, std::uint32_t bytes) {
        vtd::request r = ask(address, a);
        r.bytes = bytes;
        return r;
    }
    [[nodiscard]] static vtd::request with_pasid(std::uint64_t address, std::uint32_t pasid = 1) {
        vtd::request r = ask(address);
        r.pasid = pasid;
        return r;
    }
};

// What a fault is to say, beside its code.
struct place {
    fault_stage stage{fault_stage::second};
    fault_at at{fault_at::table};
    std::uint64_t level{no_level};
    std::uint64_t descriptor{0};
    std::uint64_t entry{0};
};

// Root and context entries.
inline place configuration(std::uint64_t descriptor = 0, std::uint64_t entry = 0) {
    return {fault_stage::configuration, fault_at::context, no_level, descriptor, entry};
}
// A table entry as such. The level counts from 0, the manual's less one.
inline place table_entry(std::uint64_t level, std::uint64_t descriptor, std::uint64_t entry = 0) {
    return {fault_stage::second, fault_at::table, level, descriptor, entry};
}
// The rights that a table entry lacks.
inline place rights(std::uint64_t level, std::uint64_t descriptor, std::uint64_t entry) {
    return {fault_stage::second, fault_at::input, level, descriptor, entry};
}
// The address, whatever the entries.
inline place address_itself(fault_stage stage) { return {stage, fault_at::input, no_level, 0, 0}; }

// Every field of the fault.
template <class Outcome>
void check_fault(Outcome const& result, reason code, place const& where, std::uint64_t input = sheet_unit::at,
                 bool reported = true) {
    REQUIRE_FALSE(result);
    auto const& f = result.error();
    CHECK(f.code == code);
    CHECK(static_cast<int>(f.stage) == static_cast<int>(where.stage));
    CHECK(static_cast<int>(f.at) == static_cast<int>(where.at));
    CHECK(std::uint64_t{f.level} == where.level);
    CHECK(f.descriptor == where.descriptor);
    CHECK(f.entry == where.entry);
    CHECK(f.input == input);
    CHECK(f.intermediate == 0);
    CHECK(f.detail == 0);
    CHECK(f.reported == reported);
}

// The code alone, where another case has looked at the rest.
template <class Outcome>
reason code_of(Outcome const& result) {
    return result ? reason::none : result.error().code;
}

} // namespace stagewalk::test
