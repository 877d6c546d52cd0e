// An AMD IOMMU, its device and the tables that the worked examples share. A test states what it changes.
#pragma once

#include "catch.hpp"
#include "watched_memory.hpp"

#include <stagewalk/amdvi/event_record.hpp>
#include <stagewalk/amdvi/iommu.hpp>

#include <cstdint>
#include <ostream>

namespace stagewalk {
inline namespace v0 {
namespace amdvi {

// So that a failed check shows the manual's number.
inline std::ostream& operator<<(std::ostream& out, event e) {
    return out << std::hex << static_cast<unsigned>(e) << 'h' << std::dec;
}
inline std::ostream& operator<<(std::ostream& out, device_entry_error e) {
    return out << "DTE error " << static_cast<unsigned>(e);
}
inline std::ostream& operator<<(std::ostream& out, invalid_request e) { return out << "type " << static_cast<unsigned>(e); }

} // namespace amdvi
} // namespace v0
} // namespace stagewalk

namespace stagewalk::test {

// What amdvi_event says of a translation.
inline constexpr amdvi::event amdvi_mapped{0xff};

// The event alone.
template <class Outcome>
amdvi::event amdvi_event(Outcome const& result) {
    return result ? amdvi_mapped : result.error().code;
}
// The twelve flags of an event, as the manual numbers them; 0 if there is none.
template <class Outcome>
std::uint64_t amdvi_flags(Outcome const& result) {
    return result ? 0 : result.error().detail >> 48 & 0xfff;
}
// Why a device table entry is illegal.
template <class Outcome>
amdvi::device_entry_error amdvi_why(Outcome const& result) {
    if (amdvi_event(result) != amdvi::event::illegal_dev_table_entry) return amdvi::device_entry_error::none;
    return amdvi::entry_error_of(result.error());
}
// The type of an INVALID_DEVICE_REQUEST; 99 if it is none.
template <class Outcome>
unsigned amdvi_type(Outcome const& result) {
    if (amdvi_event(result) != amdvi::event::invalid_device_request) return 99;
    return static_cast<unsigned>(amdvi::invalid_request_of(result.error()));
}
// Whether the address passes as it is, as memory.
template <class Outcome>
bool amdvi_passes(Outcome const& result, amdvi::request const& r) {
    return result && result->by == passage::bypassed && result->output.value == r.address.value && result->lg2_size == 64;
}
// Both words of the event log entry, and whether it is written.
template <class Outcome>
void check_words(Outcome const& result, amdvi::request const& r, std::uint64_t word0, std::uint64_t word1, bool reported = true) {
    REQUIRE_FALSE(result);
    auto const e = amdvi::to_record(result.error(), r);
    CHECK(e.word[0] == word0);
    CHECK(e.word[1] == word1);
    CHECK(result.error().reported == reported);
}

// Flags of an event, as `amdvi_flags` has them.
inline constexpr std::uint64_t flag_gn = 0x001;
inline constexpr std::uint64_t flag_nx = 0x002;
inline constexpr std::uint64_t flag_us = 0x004;
inline constexpr std::uint64_t flag_i = 0x008;
inline constexpr std::uint64_t flag_pr = 0x010;
inline constexpr std::uint64_t flag_rw = 0x020;
inline constexpr std::uint64_t flag_pe = 0x040;
inline constexpr std::uint64_t flag_rz = 0x080;
inline constexpr std::uint64_t flag_tr = 0x100;
inline constexpr std::uint64_t master_abort_type = 0x200;

enum class amdvi_kind { identity, host, guest, nested };

// Every feature but SNP, six host levels, five guest levels, three GCR3 levels, PASIDs of 20 bits, eight segments; one device
// table of 65536 entries at 80000000h, DeviceID A5h, DTE at 800014A0h.
// Host: the common tables, Mode 3, domain 11h, IOVA 723456789h to 9ABCD789h.
// Guest: GCR3 root 5000000h with GLX = 1, PASID 12345h, VA 7F1234567ABCh to 123456ABCh. Nested, the same addresses are the
// guest's; each of its seven pages lies behind a host page of its own.
struct amdvi_unit {
    using memory_type = watched_memory<pa>;

    static constexpr std::uint16_t device = 0xa5;
    static constexpr std::uint64_t table_at = 0x8000'0000;
    static constexpr std::uint64_t dte_at = 0x8000'14a0;
    static constexpr std::uint64_t host_at = 0x7'2345'6789;
    static constexpr std::uint64_t guest_at = 0x7f12'3456'7abc;
    static constexpr std::uint32_t pasid = 0x1'2345;
    // The entries of the common tables, the manual's levels 3 to 1.
    static constexpr std::uint64_t h3 = 0x100'00e0;
    static constexpr std::uint64_t h2 = 0x100'18d0;
    static constexpr std::uint64_t h1 = 0x100'22b0;
    // The entries of the guest, the first two of its GCR3 tables, and its page: as the guest sees them.
    static constexpr unsigned pieces = 7;
    static constexpr unsigned page = 6;
    static constexpr std::uint64_t g[pieces]{0x500'0488, 0x500'1a28, 0x600'07f0,   0x600'1240,
                                             0x600'2d10, 0x600'3b38, 0x1'2345'6abc};
    // Nested: the system's pages behind them, and the host leaves that lead there.
    static constexpr std::uint64_t behind[pieces]{0x5'0000'3000, 0x9'1111'1000, 0x2'2222'2000, 0xc'3333'3000,
                                                  0x1'4444'4000, 0x6'5555'5000, 0x3'6666'6000};
    static constexpr std::uint64_t leaves[pieces]{0x101'1000, 0x101'1008, 0x101'2000, 0x101'2008,
                                                  0x101'2010, 0x101'2018, 0x101'32b0};
    // The host entries above them.
    static constexpr std::uint64_t top_low = 0x100'0000;   // to 1010000h
    static constexpr std::uint64_t top_high = 0x100'0020;  // to 1014000h
    static constexpr std::uint64_t mid_gcr3 = 0x101'0140;  // to 1011000h
    static constexpr std::uint64_t mid_table = 0x101'0180; // to 1012000h
    static constexpr std::uint64_t mid_page = 0x101'48d0;  // to 1013000h

    amdvi::extended_feature_register efr{};
    amdvi::extended_feature_register_2 efr2{};
    amdvi::capability_header header{};
    amdvi::control registers{0, 0x8000'01ff};
    amdvi::policy rules{};
    bool snp{};
    bool interrupt_range{true};
    memory_type memory{};
    amdvi::device_table_entry dte{};
    amdvi_kind kind{};

    explicit amdvi_unit(amdvi_kind k = amdvi_kind::host) : kind{k} {
        efr.word[0] = 0x7fff'ffff'ffff'ffff;
        efr.set<"HATS">(2);
        efr.set<"GATS">(1);
        efr.set<"GLXSup">(2);
        efr.set<"PASmax">(19);
        efr2.word[0] = 0xfff;
        efr2.set<"NumIntRemapSup">(1);
        efr2.set<"HTRangeIgnore">(0);
        header.set<"IotlbSup">(1);
        registers.main.set<"IommuEn">(1);
        registers.main.set<"GTEn">(1);
        registers.main.set<"GCR3TRPMode">(1);

        dte.set<"V">(1);
        dte.set<"TV">(1);
        dte.set<"IR">(1);
        dte.set<"IW">(1);
        dte.set<"DomainID">(0x11);
        dte.set<"I">(1);
        if (has_host()) dte.word[0] |= 0x100'0600;
        if (has_guest()) {
            dte.set<"GV">(1);
            dte.set<"GLX">(1);
            dte.set_gcr3_root(0x500'0000);
        }
        if (k == amdvi_kind::host) {
            memory[h3] = 0x6000'0000'0100'1401;
            memory[h2] = 0x6000'0000'0100'2201;
            memory[h1] = 0x6000'0000'9abc'd001;
        }
        if (k == amdvi_kind::nested) {
            memory[top_low] = 0x6000'0000'0101'0401;
            memory[top_high] = 0x6000'0000'0101'4401;
            memory[mid_gcr3] = 0x6000'0000'0101'1201;
            memory[mid_table] = 0x6000'0000'0101'2201;
            memory[mid_page] = 0x6000'0000'0101'3201;
            for (unsigned i = 0; i < pieces; ++i)
                leaf(i) = 0x6000'0000'0000'0001 | behind[i];
        }
        if (has_guest()) {
            entry(0) = 0x500'1001;
            entry(1) = 0x600'0001;
            entry(2) = 0x600'1027; // P, R/W, U/S, A
            entry(3) = 0x600'2027;
            entry(4) = 0x600'3027;
            entry(5) = 0x1'2345'6067; // and D
        }
    }

    [[nodiscard]] bool has_host() const { return kind == amdvi_kind::host || kind == amdvi_kind::nested; }
    [[nodiscard]] bool has_guest() const { return kind == amdvi_kind::guest || kind == amdvi_kind::nested; }
    // The address that the unit translates, and what it becomes.
    [[nodiscard]] std::uint64_t at() const { return has_guest() ? guest_at : host_at; }
    [[nodiscard]] std::uint64_t to() const {
        switch (kind) {
        case amdvi_kind::identity: return host_at;
        case amdvi_kind::host: return 0x9abc'd789;
        case amdvi_kind::guest: return g[page];
        case amdvi_kind::nested: return where(page);
        }
        return 0;
    }
    // The system's address of piece i.
    [[nodiscard]] std::uint64_t where(unsigned i) const { return kind == amdvi_kind::nested ? behind[i] | (g[i] & 0xfff) : g[i]; }
    // Entry i of the guest, 0 to 5, wherever it lies; and the host leaf before it.
    std::uint64_t& entry(unsigned i) { return memory[where(i)]; }
    std::uint64_t& leaf(unsigned i) { return memory[leaves[i]]; }
    // Requests without PASID use PASID 0, whose tables are the same, and as an address of 47 bits.
    void by_default() {
        dte.set<"GIoV">(1);
        memory[where(0) & ~std::uint64_t{0xfff}] = entry(0);
        memory[where(1) & ~std::uint64_t{0xfff}] = entry(1);
    }

    [[nodiscard]] amdvi::capabilities caps() const {
        return amdvi::capabilities{efr.word[0], efr2.word[0], static_cast<std::uint32_t>(header.word[0])};
    }
    [[nodiscard]] amdvi::iommu<memory_type> unit() {
        return {caps(), registers, memory, amdvi::settings{rules, snp, interrupt_range}};
    }

    // Writes the device table entry where it belongs.
    void write_entry(std::uint64_t where_to = dte_at) {
        for (std::uint64_t i = 0; i < 4; ++i)
            memory[where_to + i * 8] = dte.word[i];
        memory.forget();
    }
    auto translate(amdvi::request const& r) {
        write_entry();
        return unit().translate(r);
    }
    auto translate(access a = read) { return translate(ask(a)); }
    auto translate_at(std::uint64_t address, access a = read) { return translate(ask_at(address, a)); }
    auto find(amdvi::request const& r) {
        write_entry();
        return unit().find(r);
    }

    // A request as the device makes it: with the PASID if there are guest tables.
    [[nodiscard]] amdvi::request ask(access a = read) const { return ask_at(at(), a); }
    [[nodiscard]] amdvi::request ask_at(std::uint64_t address, access a = read) const {
        amdvi::request r;
        r.source = device;
        r.address = iova{address};
        r.access = a;
        if (has_guest()) r.pasid = pasid;
        return r;
    }
    [[nodiscard]] amdvi::request untagged(std::uint64_t address, access a = read) const {
        auto r = ask_at(address, a);
        r.pasid = amdvi::no_pasid;
        return r;
    }
    [[nodiscard]] amdvi::request typed(amdvi::request_type type, access a = read) const {
        auto r = ask(a);
        r.type = type;
        return r;
    }
    // An ATS translation request; for writing unless it says no-write.
    [[nodiscard]] amdvi::request ats(access a = read_write) const { return typed(amdvi::request_type::translation, a); }
    // Why the device table entry is illegal.
    amdvi::device_entry_error entry_error() { return amdvi_why(translate()); }
};

inline constexpr amdvi_kind every_amdvi_kind[]{amdvi_kind::identity, amdvi_kind::host, amdvi_kind::guest, amdvi_kind::nested};

} // namespace stagewalk::test
