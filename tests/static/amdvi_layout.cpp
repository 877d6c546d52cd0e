// Every field of every AMD-Vi register and structure against its place in the manual, and what the types must stay.
#include "catch.hpp"

#include <stagewalk/amdvi/event_record.hpp>
#include <stagewalk/amdvi/iommu.hpp>
#include <stagewalk/amdvi/log.hpp>
#include <stagewalk/amdvi/status.hpp>

#include <cstdint>
#include <type_traits>

namespace stagewalk::test {
namespace {

using namespace amdvi;

// Bits high down to low, counted over the whole structure, are the field and nothing else is.
template <class Entry, field_name Name>
constexpr bool lies(unsigned high, unsigned low) {
    Entry e;
    e.template set<Name>(~std::uint64_t{0});
    bool right = Entry::template mask<Name>() == bit_mask(high % 64, low % 64);
    for (unsigned w = 0; w < Entry::words; ++w)
        right = right && e.word[w] == (w == low / 64 ? bit_mask(high % 64, low % 64) : 0);
    return right;
}

#define LIES(entry, name, high, low) STATIC_REQUIRE(lies<entry, name>(high, low))

template <class T>
inline constexpr bool plain = std::is_trivially_copyable_v<T>&& std::is_standard_layout_v<T>;

} // namespace

TEST_CASE("the fields of the extended features lie where the manual has them") {
    using e = extended_feature_register;
    LIES(e, "PreFSup", 0, 0);
    LIES(e, "PPRSup", 1, 1);
    LIES(e, "XTSup", 2, 2);
    LIES(e, "NXSup", 3, 3);
    LIES(e, "GTSup", 4, 4);
    LIES(e, "GAPPISup", 5, 5);
    LIES(e, "IASup", 6, 6);
    LIES(e, "GASup", 7, 7);
    LIES(e, "HESup", 8, 8);
    LIES(e, "PCSup", 9, 9);
    LIES(e, "HATS", 11, 10);
    LIES(e, "GATS", 13, 12);
    LIES(e, "GLXSup", 15, 14);
    LIES(e, "SmiFSup", 17, 16);
    LIES(e, "SmiFRC", 20, 18);
    LIES(e, "GAMSup", 23, 21);
    LIES(e, "DualPprLogSup", 25, 24);
    LIES(e, "DualEventLogSup", 29, 28);
    LIES(e, "SATSSup", 31, 31);
    LIES(e, "PASmax", 36, 32);
    LIES(e, "USSup", 37, 37);
    LIES(e, "DevTblSegSup", 39, 38);
    LIES(e, "PprOvrflwEarlySup", 40, 40);
    LIES(e, "PprAutoRspSup", 41, 41);
    LIES(e, "MarcSup", 43, 42);
    LIES(e, "BlkStopMrkSup", 44, 44);
    LIES(e, "PerfOptSup", 45, 45);
    LIES(e, "MsiCapMmioSup", 46, 46);
    LIES(e, "SnoopAttrSup", 47, 47);
    LIES(e, "GIoSup", 48, 48);
    LIES(e, "HASup", 49, 49);
    LIES(e, "EPHSup", 50, 50);
    LIES(e, "AttrFWSup", 51, 51);
    LIES(e, "HDSup", 52, 52);
    LIES(e, "V2HDDisSup", 53, 53);
    LIES(e, "InvIotlbTypeSup", 54, 54);
    LIES(e, "vIommuSup", 55, 55);
    LIES(e, "VMGuardIOSup", 56, 56);
    LIES(e, "V2HADisSup", 61, 61);
    LIES(e, "ForcePhyDestSup", 62, 62);
    LIES(e, "SNPSup", 63, 63);
}

TEST_CASE("the fields of the extended features 2 lie where the manual has them") {
    using e = extended_feature_register_2;
    LIES(e, "CXLIoSup", 0, 0);
    LIES(e, "SevSnpIoSup", 1, 1);
    LIES(e, "TMPMSup", 2, 2);
    LIES(e, "GCR3TRPModeSup", 3, 3);
    LIES(e, "GAPPIDisSup", 4, 4);
    LIES(e, "SNPAVICSup", 7, 5);
    LIES(e, "NumIntRemapSup", 9, 8);
    LIES(e, "HTRangeIgnore", 11, 11);
}

TEST_CASE("the fields of the capability header lie where the manual has them") {
    using e = capability_header;
    LIES(e, "CapId", 7, 0);
    LIES(e, "CapPtr", 15, 8);
    LIES(e, "CapType", 18, 16);
    LIES(e, "CapRev", 23, 19);
    LIES(e, "IotlbSup", 24, 24);
    LIES(e, "HtTunnel", 25, 25);
    LIES(e, "NpCache", 26, 26);
    LIES(e, "EFRSup", 27, 27);
    LIES(e, "CapExt", 28, 28);
}

TEST_CASE("the fields of control lie where the manual has them") {
    using e = control_register;
    LIES(e, "IommuEn", 0, 0);
    LIES(e, "HtTunEn", 1, 1);
    LIES(e, "EventLogEn", 2, 2);
    LIES(e, "EventIntEn", 3, 3);
    LIES(e, "ComWaitIntEn", 4, 4);
    LIES(e, "InvTimeOut", 7, 5);
    LIES(e, "PassPW", 8, 8);
    LIES(e, "ResPassPW", 9, 9);
    LIES(e, "Coherent", 10, 10);
    LIES(e, "Isoc", 11, 11);
    LIES(e, "CmdBufEn", 12, 12);
    LIES(e, "PPRLogEn", 13, 13);
    LIES(e, "PPRIntEn", 14, 14);
    LIES(e, "PPREn", 15, 15);
    LIES(e, "GTEn", 16, 16);
    LIES(e, "GAEn", 17, 17);
    LIES(e, "SmiFEn", 22, 22);
    LIES(e, "SlfWBDis", 23, 23);
    LIES(e, "SmiFLogEn", 24, 24);
    LIES(e, "GAMEn", 27, 25);
    LIES(e, "GALogEn", 28, 28);
    LIES(e, "GAIntEn", 29, 29);
    LIES(e, "DualPprLogEn", 31, 30);
    LIES(e, "DualEventLogEn", 33, 32);
    LIES(e, "DevTblSegEn", 36, 34);
    LIES(e, "PrivAbrtEn", 38, 37);
    LIES(e, "PprAutoRspEn", 39, 39);
    LIES(e, "MarcEn", 40, 40);
    LIES(e, "BlkStopMrkEn", 41, 41);
    LIES(e, "PprAutoRspAon", 42, 42);
    LIES(e, "NumIntRemapMode", 44, 43);
    LIES(e, "EPHEn", 45, 45);
    LIES(e, "HADUpdate", 47, 46);
    LIES(e, "GDUpdateDis", 48, 48);
    LIES(e, "XTEn", 50, 50);
    LIES(e, "IntCapXTEn", 51, 51);
    LIES(e, "vCmdEn", 52, 52);
    LIES(e, "vIommuEn", 53, 53);
    LIES(e, "GAUpdateDis", 54, 54);
    LIES(e, "GAPPIEn", 55, 55);
    LIES(e, "TMPMEn", 56, 56);
    LIES(e, "GCR3TRPMode", 58, 58);
    LIES(e, "IRTCacheDis", 59, 59);
    LIES(e, "GstBufferTRPMode", 60, 60);
    LIES(e, "SNPAVICEn", 63, 61);
}

TEST_CASE("the fields of status lie where the manual has them") {
    using e = status_register;
    LIES(e, "EventOverflow", 0, 0);
    LIES(e, "EventLogInt", 1, 1);
    LIES(e, "ComWaitInt", 2, 2);
    LIES(e, "EventLogRun", 3, 3);
    LIES(e, "CmdBufRun", 4, 4);
    LIES(e, "PprOverflow", 5, 5);
    LIES(e, "PprInt", 6, 6);
    LIES(e, "PprLogRun", 7, 7);
    LIES(e, "GALogRun", 8, 8);
    LIES(e, "GALOverflow", 9, 9);
    LIES(e, "GAInt", 10, 10);
    LIES(e, "PprOverflowB", 11, 11);
    LIES(e, "PprLogActive", 12, 12);
    LIES(e, "EvtOverflowB", 15, 15);
    LIES(e, "EvtLogActive", 16, 16);
    LIES(e, "PprOverflowEarlyB", 17, 17);
    LIES(e, "PprOverflowEarly", 18, 18);
}

TEST_CASE("the fields of the device table base lie where the manual has them") {
    using e = device_table_base_register;
    LIES(e, "Size", 8, 0);
    LIES(e, "DevTabBase", 51, 12);
}

TEST_CASE("the fields of the exclusion base lie where the manual has them") {
    using e = exclusion_base_register;
    LIES(e, "ExEn", 0, 0);
    LIES(e, "Allow", 1, 1);
    LIES(e, "Exclusion range base", 51, 12);
}

TEST_CASE("the fields of the exclusion limit lie where the manual has them") {
    using e = exclusion_limit_register;
    LIES(e, "Exclusion range limit", 51, 12);
}

TEST_CASE("the fields of device table entries lie where the manual has them") {
    using e = device_table_entry;
    LIES(e, "V", 0, 0);
    LIES(e, "TV", 1, 1);
    LIES(e, "CXLMemAttr", 6, 4);
    LIES(e, "HAD", 8, 7);
    LIES(e, "Mode", 11, 9);
    LIES(e, "HostPageTableRoot", 51, 12);
    LIES(e, "PPR", 52, 52);
    LIES(e, "GPRP", 53, 53);
    LIES(e, "GIoV", 54, 54);
    LIES(e, "GV", 55, 55);
    LIES(e, "GLX", 57, 56);
    LIES(e, "GCR3 14:12", 60, 58);
    LIES(e, "IR", 61, 61);
    LIES(e, "IW", 62, 62);
    LIES(e, "DomainID", 79, 64);
    LIES(e, "GCR3 30:15", 95, 80);
    LIES(e, "I", 96, 96);
    LIES(e, "SE", 97, 97);
    LIES(e, "SA", 98, 98);
    LIES(e, "IoCtl", 100, 99);
    LIES(e, "Cache", 101, 101);
    LIES(e, "SD", 102, 102);
    LIES(e, "EX", 103, 103);
    LIES(e, "SysMgt", 105, 104);
    LIES(e, "SATS", 106, 106);
    LIES(e, "GCR3 51:31", 127, 107);
    LIES(e, "IV", 128, 128);
    LIES(e, "IntTabLen", 132, 129);
    LIES(e, "IG", 133, 133);
    LIES(e, "IntTabRoot", 179, 134);
    LIES(e, "GPM", 183, 182);
    LIES(e, "InitPass", 184, 184);
    LIES(e, "EIntPass", 185, 185);
    LIES(e, "NMIPass", 186, 186);
    LIES(e, "HPTMode", 187, 187);
    LIES(e, "IntCtl", 189, 188);
    LIES(e, "Lint0Pass", 190, 190);
    LIES(e, "Lint1Pass", 191, 191);
    LIES(e, "VMTag", 203, 192);
    LIES(e, "VMTagWrEn", 206, 206);
    LIES(e, "vImuEn", 207, 207);
    LIES(e, "GDeviceID", 223, 208);
    LIES(e, "GuestID", 239, 224);
    LIES(e, "SW", 245, 245);
    LIES(e, "AttrV", 246, 246);
    LIES(e, "Mode0FC", 247, 247);
    LIES(e, "SnoopAttr", 255, 248);
}

TEST_CASE("the fields of host table entries lie where the manual has them") {
    using e = host_table_entry;
    LIES(e, "PR", 0, 0);
    LIES(e, "A", 5, 5);
    LIES(e, "NextLevel", 11, 9);
    LIES(e, "Next Table Address", 51, 12);
    LIES(e, "IR", 61, 61);
    LIES(e, "IW", 62, 62);
}

TEST_CASE("the fields of host pages lie where the manual has them") {
    using e = host_page;
    LIES(e, "PR", 0, 0);
    LIES(e, "A", 5, 5);
    LIES(e, "D", 6, 6);
    LIES(e, "NextLevel", 11, 9);
    LIES(e, "Page Address", 51, 12);
    LIES(e, "PMC", 58, 57);
    LIES(e, "U", 59, 59);
    LIES(e, "FC", 60, 60);
    LIES(e, "IR", 61, 61);
    LIES(e, "IW", 62, 62);
}

TEST_CASE("the fields of GCR3 table entries lie where the manual has them") {
    using e = gcr3_table_entry;
    LIES(e, "V", 0, 0);
    LIES(e, "Address", 51, 12);
}

TEST_CASE("the fields of guest table entries lie where the manual has them") {
    using e = guest_table_entry;
    LIES(e, "P", 0, 0);
    LIES(e, "R/W", 1, 1);
    LIES(e, "U/S", 2, 2);
    LIES(e, "A", 5, 5);
    LIES(e, "PS", 7, 7);
    LIES(e, "Address", 51, 12);
    LIES(e, "NX", 63, 63);
}

TEST_CASE("the fields of guest pages of 2 MiB lie where the manual has them") {
    using e = guest_large_page<21>;
    LIES(e, "P", 0, 0);
    LIES(e, "R/W", 1, 1);
    LIES(e, "U/S", 2, 2);
    LIES(e, "PWT", 3, 3);
    LIES(e, "PCD", 4, 4);
    LIES(e, "A", 5, 5);
    LIES(e, "D", 6, 6);
    LIES(e, "PS", 7, 7);
    LIES(e, "PAT", 12, 12);
    LIES(e, "Address", 51, 21);
    LIES(e, "NX", 63, 63);
}

TEST_CASE("the fields of guest pages of 1 GiB lie where the manual has them") {
    using e = guest_large_page<30>;
    LIES(e, "P", 0, 0);
    LIES(e, "R/W", 1, 1);
    LIES(e, "U/S", 2, 2);
    LIES(e, "PWT", 3, 3);
    LIES(e, "PCD", 4, 4);
    LIES(e, "A", 5, 5);
    LIES(e, "D", 6, 6);
    LIES(e, "PS", 7, 7);
    LIES(e, "PAT", 12, 12);
    LIES(e, "Address", 51, 30);
    LIES(e, "NX", 63, 63);
}

TEST_CASE("the fields of guest pages lie where the manual has them") {
    using e = guest_page;
    LIES(e, "P", 0, 0);
    LIES(e, "R/W", 1, 1);
    LIES(e, "U/S", 2, 2);
    LIES(e, "PWT", 3, 3);
    LIES(e, "PCD", 4, 4);
    LIES(e, "A", 5, 5);
    LIES(e, "D", 6, 6);
    LIES(e, "PAT", 7, 7);
    LIES(e, "Address", 51, 12);
    LIES(e, "NX", 63, 63);
}

TEST_CASE("what no field of AMD-Vi names is reserved") {
    STATIC_REQUIRE(device_table_entry::reserved(0) == (bit_mask(3, 2) | bit_mask(63, 63)));
    STATIC_REQUIRE(device_table_entry::reserved(1) == 0);
    STATIC_REQUIRE(device_table_entry::reserved(2) == bit_mask(53, 52));
    STATIC_REQUIRE(device_table_entry::reserved(3) == (bit_mask(52, 48) | bit_mask(13, 12)));
    STATIC_REQUIRE(host_table_entry::reserved() == 0x1ff0'0000'0000'0000);
    STATIC_REQUIRE((host_page::reserved() | host_page::mask<"PMC">()) == 0x07f0'0000'0000'0000);
    STATIC_REQUIRE(gcr3_table_entry::reserved() == (bit_mask(63, 52) | bit_mask(11, 1)));
    STATIC_REQUIRE(guest_table_entry::reserved() == 0);
    STATIC_REQUIRE(guest_large_page<21>::reserved() == bit_mask(20, 13));
    STATIC_REQUIRE(guest_large_page<30>::reserved() == bit_mask(29, 13));
    STATIC_REQUIRE(guest_page::reserved() == 0);
}

TEST_CASE("what AMD-Vi hands around is plain data") {
    STATIC_REQUIRE(plain<capabilities>);
    STATIC_REQUIRE(plain<control>);
    STATIC_REQUIRE(plain<device_table_entry>);
    STATIC_REQUIRE(plain<binding>);
    STATIC_REQUIRE(plain<request>);
    STATIC_REQUIRE(plain<fault<event>>);
    STATIC_REQUIRE(sizeof(device_table_entry) == 32);
    STATIC_REQUIRE(sizeof(event_record) == 16);
}

} // namespace stagewalk::test
