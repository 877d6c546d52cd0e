/// \file
/// The device table: what a DeviceID is bound to (48882 2.2.2).
#pragma once

#include "../core/field.hpp"
#include "../core/size.hpp"
#include "capabilities.hpp"
#include "control.hpp"
#include "policy.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace amdvi {

/// Device table entry (48882 2.2.2.1): `entry = segment + index * 32`.
struct device_table_entry : entry<256, field<"V", 0>,                         // words 0 and 1 count
                                  field<"TV", 1>,                             // the translation fields count
                                  field<"CXLMemAttr", 6, 4>,                  //
                                  field<"HAD", 8, 7>,                         // host tables: 1 accessed, 3 and dirty bits
                                  field<"Mode", 11, 9>,                       // levels of the host tables; 0: none
                                  pointer_field<"HostPageTableRoot", 51, 12>, // the host root table, a system address
                                  field<"PPR", 52>,                           // page requests are allowed
                                  field<"GPRP", 53>,                          //
                                  field<"GIoV", 54>,                          // requests without PASID use PASID 0
                                  field<"GV", 55>,                            // guest translation
                                  field<"GLX", 57, 56>,                       // GCR3 levels less 1
                                  field<"GCR3 14:12", 60, 58>,                //
                                  field<"IR", 61>,                            // the device may read
                                  field<"IW", 62>,                            // the device may write
                                  field<"DomainID", 79, 64>,                  // tags what is cached
                                  field<"GCR3 30:15", 95, 80>,                //
                                  field<"I", 96>,                             // the device has an IOTLB: ATS is allowed
                                  field<"SE", 97>,                            // one page fault is logged, no more
                                  field<"SA", 98>,                            // none is
                                  field<"IoCtl", 100, 99>,                    // port I/O: 0 abort, 1 forward, 2 translate
                                  field<"Cache", 101>,                        // hint for ATS
                                  field<"SD", 102>,                           // reads of tables are not snooped
                                  field<"EX", 103>,                           // the exclusion range applies
                                  field<"SysMgt", 105, 104>,             // 0 abort, 1 forward all, 2 forward INTx, 3 translate
                                  field<"SATS", 106>,                    // secure ATS
                                  field<"GCR3 51:31", 127, 107>,         //
                                  field<"IV", 128>,                      // the interrupt fields count
                                  field<"IntTabLen", 132, 129>,          // lg2 of the interrupt table's entries
                                  field<"IG", 133>,                      // unmapped interrupts cause no event
                                  pointer_field<"IntTabRoot", 179, 134>, // the interrupt table
                                  field<"GPM", 183, 182>,                // guest tables of 4 (0) or 5 (1) levels
                                  field<"InitPass", 184>,                // INIT passes
                                  field<"EIntPass", 185>,                // ExtINT passes
                                  field<"NMIPass", 186>,                 // NMI passes
                                  field<"HPTMode", 187>,                 //
                                  field<"IntCtl", 189, 188>,             // 0 abort, 1 forward, 2 remap
                                  field<"Lint0Pass", 190>,               //
                                  field<"Lint1Pass", 191>,               //
                                  field<"VMTag", 203, 192>,              //
                                  field<"VMTagWrEn", 206>,               //
                                  field<"vImuEn", 207>,                  //
                                  field<"GDeviceID", 223, 208>,          //
                                  field<"GuestID", 239, 224>,            //
                                  ignored_field<"SW", 245>,              // for software
                                  field<"AttrV", 246>,                   // SnoopAttr and Mode0FC count
                                  field<"Mode0FC", 247>,                 //
                                  field<"SnoopAttr", 255, 248>           //
                                  > {
    using entry::entry;

    /// Whether host tables are walked. Of an entry that is legal.
    [[nodiscard]] constexpr bool has_host_tables() const { return get<"Mode">() != 0; }
    /// The root of the GCR3 tables, bits 51:12.
    [[nodiscard]] constexpr std::uint64_t gcr3_root() const {
        return get<"GCR3 14:12">() << 12 | get<"GCR3 30:15">() << 15 | get<"GCR3 51:31">() << 31;
    }
    /// Sets the root of the GCR3 tables; bits other than 51:12 are dropped.
    constexpr void set_gcr3_root(std::uint64_t root) {
        set<"GCR3 14:12">(root >> 12);
        set<"GCR3 30:15">(root >> 15);
        set<"GCR3 51:31">(root >> 31);
    }
};

/// What makes a device table entry illegal (48882 2.2.2.1). `reserved_` means a reserved bit (RZ = 1), the others bad encodings.
enum class device_entry_error : std::uint16_t {
    none,                    ///< Nothing.
    beyond_table,            ///< There is no entry: the DeviceID is beyond the table.
    reserved_bits,           ///< A bit that no IOMMU of this kind knows is set.
    reserved_host_updates,   ///< HAD without HASup, or HAD = 3 without HDSup.
    reserved_guest,          ///< Guest translation fields without GTSup, or GV while it is off.
    reserved_guest_default,  ///< GIoV without GIoSup.
    reserved_page_response,  ///< GPRP without EPHSup.
    reserved_iotlb,          ///< I without IotlbSup.
    reserved_secure_ats,     ///< SATS without SATSSup.
    reserved_attributes,     ///< CXL, AttrV, Mode0FC or SnoopAttr without the feature.
    reserved_virtual_iommu,  ///< Fields of a hardware vIOMMU without vIommuSup.
    reserved_interrupt_mode, ///< IntCtl = 3.
    port_io,                 ///< IoCtl = 3.
    mode,                    ///< Mode of 7, or of more levels than there are.
    no_host_translation,     ///< A host root table while there is no host translation.
    host_updates,            ///< HAD = 2.
    identity,                ///< Mode = 0 while SNP is on.
    gcr3_levels,             ///< GLX of 3, or of more levels than there are.
    guest_levels,            ///< GPM of 2 or 3, or of 5 levels where there are 4.
    interrupt_table,         ///< IntTabLen of 12 or more.
};

/// Whether \p e means that a reserved bit is set: RZ of its event.
[[nodiscard]] constexpr bool is_reserved(device_entry_error e) {
    return e >= device_entry_error::reserved_bits && e <= device_entry_error::reserved_interrupt_mode;
}

/// What an IOMMU looks at in device table entries: masks of bits that must be zero, made once of its registers.
class device_entry_check {
public:
    /// \param caps the capabilities.
    /// \param registers the registers.
    /// \param rules the open points.
    /// \param snp whether SNP is on.
    constexpr device_entry_check(capabilities const& caps, control const& registers, policy const& rules, bool snp)
        : caps_{caps}, guests_{registers.translates_guests(caps)},
          ignores_guests_{caps.has<"GTSup">() && !guests_ && rules.guest == guest_disabled::ignored}, snp_{snp} {
        using dte = device_table_entry;
        // An entry with a suspect bit is looked at closely.
        suspect_[0] = dte::reserved(0) | (caps.has<"CXLIoSup">() ? 0 : dte::mask<"CXLMemAttr">()) |
                      (caps.has<"EPHSup">() ? 0 : dte::mask<"GPRP">()) |
                      (caps.host_levels() != 0 ? 0 : dte::mask<"HostPageTableRoot">());
        suspect_[1] = dte::reserved(1) | (caps.has<"SATSSup">() ? 0 : dte::mask<"SATS">());
        if (!guests_ && !ignores_guests_) {
            suspect_[0] |= guest_bits(0);
            suspect_[1] |= guest_bits(1);
        }
        if (!caps.has<"GIoSup">()) suspect_[0] |= dte::mask<"GIoV">();
        if (!caps.has<"IotlbSup">()) suspect_[1] |= dte::mask<"I">();
        suspect_[2] = caps.has<"GTSup">() ? 0 : dte::mask<"GPM">();
        for (std::uint64_t mode = 0; mode <= caps.host_levels(); ++mode)
            for (std::uint64_t updates = 0; updates < 4; ++updates)
                if (is_plain_depth(mode, updates)) plain_depths_ |= std::uint64_t{1} << (updates | mode << 2);
        for (std::uint64_t gcr3 = 0; gcr3 < 3; ++gcr3)
            for (std::uint64_t levels = 0; levels < 2; ++levels)
                if (is_plain_guest(gcr3, levels)) plain_guests_ |= std::uint64_t{1} << (gcr3 | levels << 2);
        if (!guests_) plain_guests_ = ~std::uint64_t{0};
    }

    /// Whether a valid entry \p e honours guest translation.
    [[nodiscard]] constexpr bool has_guest(device_table_entry const& e) const { return guests_ && e.get<"GV">() != 0; }

    /// What is wrong with the words 0 and 1, and GPM, of a valid entry \p e, in the order of the manual: reserved bits,
    /// encodings.
    [[nodiscard, gnu::always_inline]] constexpr device_entry_error translation_error(device_table_entry const& e) const {
        // Plainly good: nothing suspect, port I/O not 3, tables as deep as they may be.
        using dte = device_table_entry;
        std::uint64_t const suspects = (e.word[0] & suspect_[0]) | (e.word[1] & suspect_[1]) | (e.word[2] & suspect_[2]);
        std::uint64_t const depth = e.word[0] >> 7 & 31; // HAD and Mode
        static_assert(dte::mask<"HAD">() == 3u << 7 && dte::mask<"Mode">() == 7u << 9);
        if (suspects == 0 && (~e.word[1] & dte::mask<"IoCtl">()) != 0 && e.get<"TV">() != 0 &&
            (plain_depths_ >> depth & 1) != 0 &&
            (e.get<"GV">() == 0 || (plain_guests_ >> (e.get<"GLX">() | e.get<"GPM">() << 2) & 1) != 0)) [[likely]]
            return device_entry_error::none;
        return judge(e);
    }

    /// What is wrong with the words 2 and 3 of an entry \p e whose IV is set.
    [[nodiscard]] constexpr device_entry_error interrupt_error(device_table_entry const& e) const {
        using dte = device_table_entry;
        using error = device_entry_error;
        if ((e.word[2] & dte::reserved(2)) != 0 || (e.word[3] & dte::reserved(3)) != 0) return error::reserved_bits;
        bool const machines = caps_.has<"vIommuSup">() || caps_.has<"SNPSup">();
        constexpr std::uint64_t machine_bits = dte::mask<"VMTag">() | dte::mask<"VMTagWrEn">() | dte::mask<"vImuEn">() |
                                               dte::mask<"GDeviceID">() | dte::mask<"GuestID">();
        if (!machines && (e.word[3] & machine_bits) != 0) return error::reserved_virtual_iommu;
        if (!caps_.has<"AttrFWSup">() && (e.get<"AttrV">() | e.get<"Mode0FC">()) != 0) return error::reserved_attributes;
        if (!caps_.has<"SnoopAttrSup">() && e.get<"SnoopAttr">() != 0) return error::reserved_attributes;
        if (e.get<"IntCtl">() == 3) return error::reserved_interrupt_mode;
        if (e.get<"IntTabLen">() >= 12) return error::interrupt_table;
        return error::none;
    }

private:
    // The bits of word `w` that belong to guest translation alone.
    [[nodiscard]] static constexpr std::uint64_t guest_bits(unsigned w) {
        using dte = device_table_entry;
        return w == 0 ? dte::mask<"GIoV">() | dte::mask<"GV">() | dte::mask<"GLX">() | dte::mask<"GCR3 14:12">()
                      : dte::mask<"GCR3 30:15">() | dte::mask<"GCR3 51:31">();
    }

    // Whether judge() has nothing to say of Mode and HAD.
    [[nodiscard]] constexpr bool is_plain_depth(std::uint64_t mode, std::uint64_t updates) const {
        if ((snp_ && mode == 0) || updates == 2) return false;
        return updates == 0 || (updates == 1 ? caps_.has<"HASup">() : caps_.keeps_host_dirty());
    }
    // The same of GLX and GPM.
    [[nodiscard]] constexpr bool is_plain_guest(std::uint64_t gcr3, std::uint64_t levels) const {
        return gcr3 <= caps_.efr.get<"GLXSup">() && levels <= (caps_.five_guest_levels() ? 1u : 0u);
    }

    // The entry by value: one whose address a cold function knows would live in memory on the hot path too.
    [[nodiscard, gnu::cold, gnu::noinline]] constexpr device_entry_error judge(device_table_entry e) const {
        using dte = device_table_entry;
        using error = device_entry_error;
        if ((e.word[0] & dte::reserved(0)) != 0 || (e.word[1] & dte::reserved(1)) != 0) return error::reserved_bits;
        if (!caps_.has<"CXLIoSup">() && e.get<"CXLMemAttr">() != 0) return error::reserved_attributes;
        if (!caps_.has<"HASup">() && e.get<"HAD">() != 0) return error::reserved_host_updates;
        if (!caps_.keeps_host_dirty() && e.get<"HAD">() == 3) return error::reserved_host_updates;
        if (!caps_.has<"EPHSup">() && e.get<"GPRP">() != 0) return error::reserved_page_response;
        if (!caps_.has<"GIoSup">() && e.get<"GIoV">() != 0) return error::reserved_guest_default;
        if (!caps_.has<"GTSup">()) {
            constexpr std::uint64_t but_default = guest_bits(0) & ~dte::mask<"GIoV">();
            if ((e.word[0] & but_default) != 0 || (e.word[1] & guest_bits(1)) != 0 || e.get<"GPM">() != 0)
                return error::reserved_guest;
        }
        if (!guests_ && !ignores_guests_ && e.get<"GV">() != 0) return error::reserved_guest;
        if (!caps_.has<"IotlbSup">() && e.get<"I">() != 0) return error::reserved_iotlb;
        if (!caps_.has<"SATSSup">() && e.get<"SATS">() != 0) return error::reserved_secure_ats;

        if (e.get<"IoCtl">() == 3) return error::port_io;
        if (e.get<"TV">() == 0) return error::none;
        if (caps_.host_levels() == 0 && e.get<"HostPageTableRoot">() != 0) return error::no_host_translation;
        if (e.get<"Mode">() == 7 || e.get<"Mode">() > caps_.host_levels()) return error::mode;
        if (e.get<"HAD">() == 2) return error::host_updates;
        if (snp_ && e.get<"Mode">() == 0) return error::identity;
        if (!has_guest(e)) return error::none;
        if (e.get<"GLX">() == 3 || e.get<"GLX">() > caps_.efr.get<"GLXSup">()) return error::gcr3_levels;
        if (e.get<"GPM">() > (caps_.five_guest_levels() ? 1u : 0u)) return error::guest_levels;
        return error::none;
    }

    capabilities caps_;
    std::uint64_t suspect_[3]{};
    std::uint64_t plain_depths_{}; // by HAD and Mode: whether they are good
    std::uint64_t plain_guests_{}; // by GLX and GPM: the same
    bool guests_;                  // guest translation is on
    bool ignores_guests_;          // it is off, and GV is no error
    bool snp_;
};

/// Where the entry of a device is.
struct device_entry_place {
    bool exists{};           ///< Whether the table reaches so far.
    std::uint64_t address{}; ///< The entry's address.
    std::uint64_t table{};   ///< The table, or its segment.
    std::uint64_t index{};   ///< The entry's index.
};

/// Finds the entry of DeviceID \p source in the table, or in its segment, that \p registers describe.
[[nodiscard, gnu::always_inline]] constexpr device_entry_place
find_device_entry(control const& registers, std::uint64_t segment_bits, std::uint16_t source) {
    std::uint64_t const index = source & (0xffffu >> segment_bits);
    device_table_base_register const base = registers.table[source >> (16 - segment_bits)];
    std::uint64_t const table = base.get<"DevTabBase">();
    return {index < base.entries(), table + index * 32, table, index};
}

} // namespace amdvi
} // namespace v0
} // namespace stagewalk
