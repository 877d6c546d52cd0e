// Every field of every SMMU structure and register against its place in the manual: B31 and B32 (fields of STE and CD off), B33
// (one off shifts all that follow), B14 and B22 (no C++ bit-fields). And what the types must stay.
#include "catch.hpp"

#include <stagewalk/smmu/iommu.hpp>
#include <stagewalk/walk/trusted.hpp>

#include <cstdint>
#include <type_traits>

namespace stagewalk::test {
namespace {

using namespace smmu;

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

TEST_CASE("B31: stream table entries and their level 1 lie where the manual has them") {
    LIES(stream_table_descriptor, "Span", 4, 0);
    LIES(stream_table_descriptor, "L2Ptr", 55, 6);
    using e = stream_table_entry;
    LIES(e, "V", 0, 0);
    LIES(e, "Config", 3, 1);
    LIES(e, "S1Fmt", 5, 4);
    LIES(e, "S1ContextPtr", 55, 6);
    LIES(e, "S1CDMax", 63, 59);
    LIES(e, "S1DSS", 65, 64);
    LIES(e, "S1CIR", 67, 66);
    LIES(e, "S1COR", 69, 68);
    LIES(e, "S1CSH", 71, 70);
    LIES(e, "S2HWU", 75, 72);
    LIES(e, "DRE", 76, 76);
    LIES(e, "CONT", 80, 77);
    LIES(e, "DCP", 81, 81);
    LIES(e, "PPAR", 82, 82);
    LIES(e, "MEV", 83, 83);
    LIES(e, "SW", 87, 84);
    LIES(e, "S1PIE", 88, 88);
    LIES(e, "S2FWB", 89, 89);
    LIES(e, "S1MPAM", 90, 90);
    LIES(e, "S1STALLD", 91, 91);
    LIES(e, "EATS", 93, 92);
    LIES(e, "STRW", 95, 94);
    LIES(e, "MemAttr", 99, 96);
    LIES(e, "MTCFG", 100, 100);
    LIES(e, "ALLOCCFG", 104, 101);
    LIES(e, "SHCFG", 109, 108);
    LIES(e, "NSCFG", 111, 110);
    LIES(e, "PRIVCFG", 113, 112);
    LIES(e, "INSTCFG", 115, 114);
    LIES(e, "S2VMID", 143, 128);
    LIES(e, "S2T0SZ", 165, 160);
    LIES(e, "S2SL0", 167, 166);
    LIES(e, "S2IR0", 169, 168);
    LIES(e, "S2OR0", 171, 170);
    LIES(e, "S2SH0", 173, 172);
    LIES(e, "S2TG", 175, 174);
    LIES(e, "S2PS", 178, 176);
    LIES(e, "S2AA64", 179, 179);
    LIES(e, "S2ENDI", 180, 180);
    LIES(e, "S2AFFD", 181, 181);
    LIES(e, "S2PTW", 182, 182);
    LIES(e, "S2HD", 183, 183);
    LIES(e, "S2HA", 184, 184);
    LIES(e, "S2S", 185, 185);
    LIES(e, "S2R", 186, 186);
    LIES(e, "S2HAFT", 187, 187);
    LIES(e, "S2PIE", 188, 188);
    LIES(e, "S2POE", 189, 189);
    LIES(e, "DPT_VMATCH", 191, 190);
    LIES(e, "S2NSW", 192, 192);
    LIES(e, "S2NSA", 193, 193);
    LIES(e, "S2SL0_2", 194, 194);
    LIES(e, "S2DS", 195, 195);
    LIES(e, "S2TTB", 247, 196);
    LIES(e, "S2SKL", 254, 253);
    LIES(e, "PARTID", 287, 272);
    LIES(e, "S_S2T0SZ", 293, 288);
    LIES(e, "S_S2SL0", 295, 294);
    LIES(e, "S_S2TG", 303, 302);
    LIES(e, "MECID", 319, 304);
    LIES(e, "PMG", 327, 320);
    LIES(e, "MPAM_NS", 328, 328);
    LIES(e, "AssuredOnly", 329, 329);
    LIES(e, "TL0", 330, 330);
    LIES(e, "TL1", 331, 331);
    LIES(e, "VMSPtr", 375, 332);
    LIES(e, "S2SW", 384, 384);
    LIES(e, "S2SA", 385, 385);
    LIES(e, "S_S2SL0_2", 386, 386);
    LIES(e, "S_S2TTB", 439, 388);
    LIES(e, "S_S2SKL", 446, 445);
    LIES(e, "S2POI", 511, 448);
}

TEST_CASE("B32: context descriptors and their level 1 lie where the manual has them") {
    LIES(context_table_descriptor, "V", 0, 0);
    LIES(context_table_descriptor, "L2Ptr", 55, 12);
    using d = context_descriptor;
    LIES(d, "T0SZ", 5, 0);
    LIES(d, "TG0", 7, 6);
    LIES(d, "IR0", 9, 8);
    LIES(d, "OR0", 11, 10);
    LIES(d, "SH0", 13, 12);
    LIES(d, "EPD0", 14, 14);
    LIES(d, "ENDI", 15, 15);
    LIES(d, "T1SZ", 21, 16);
    LIES(d, "TG1", 23, 22);
    LIES(d, "IR1", 25, 24);
    LIES(d, "OR1", 27, 26);
    LIES(d, "SH1", 29, 28);
    LIES(d, "EPD1", 30, 30);
    LIES(d, "V", 31, 31);
    LIES(d, "IPS", 34, 32);
    LIES(d, "AFFD", 35, 35);
    LIES(d, "WXN", 36, 36);
    LIES(d, "UWXN", 37, 37);
    LIES(d, "TBI0", 38, 38);
    LIES(d, "TBI1", 39, 39);
    LIES(d, "PAN", 40, 40);
    LIES(d, "AA64", 41, 41);
    LIES(d, "HD", 42, 42);
    LIES(d, "HA", 43, 43);
    LIES(d, "S", 44, 44);
    LIES(d, "R", 45, 45);
    LIES(d, "A", 46, 46);
    LIES(d, "ASET", 47, 47);
    LIES(d, "ASID", 63, 48);
    LIES(d, "NSCFG0", 64, 64);
    LIES(d, "HAD0", 65, 65);
    LIES(d, "E0PD0", 66, 66);
    LIES(d, "HAFT", 67, 67);
    LIES(d, "TTB0", 119, 68);
    LIES(d, "PnCH", 122, 122);
    LIES(d, "EPAN", 123, 123);
    LIES(d, "HWU0", 127, 124);
    LIES(d, "NSCFG1", 128, 128);
    LIES(d, "HAD1", 129, 129);
    LIES(d, "E0PD1", 130, 130);
    LIES(d, "AIE", 131, 131);
    LIES(d, "TTB1", 183, 132);
    LIES(d, "DS", 186, 186);
    LIES(d, "PIE", 187, 187);
    LIES(d, "HWU1", 191, 188);
    LIES(d, "MAIR0", 223, 192);
    LIES(d, "MAIR1", 255, 224);
    LIES(d, "AMAIR0", 287, 256);
    LIES(d, "AMAIR1", 319, 288);
    LIES(d, "PARTID", 367, 352);
    LIES(d, "PMG", 375, 368);
    LIES(d, "PIIU", 431, 384);
    LIES(d, "PIIP", 495, 448);
}

TEST_CASE("stage-1 and stage-2 descriptors lie where the manual has them") {
    using t = stage1_table_descriptor;
    LIES(t, "valid", 0, 0);
    LIES(t, "type", 1, 1);
    LIES(t, "AF", 10, 10);
    LIES(t, "PXNTable", 59, 59);
    LIES(t, "UXNTable", 60, 60);
    LIES(t, "APTable", 62, 61);
    LIES(t, "NSTable", 63, 63);
    using l = stage1_leaf_descriptor;
    LIES(l, "AttrIndx", 4, 2);
    LIES(l, "NS", 5, 5);
    LIES(l, "AP[1]", 6, 6);
    LIES(l, "AP[2]", 7, 7);
    LIES(l, "SH", 9, 8);
    LIES(l, "AF", 10, 10);
    LIES(l, "nG", 11, 11);
    LIES(l, "GP", 50, 50);
    LIES(l, "DBM", 51, 51);
    LIES(l, "Contiguous", 52, 52);
    LIES(l, "PXN", 53, 53);
    LIES(l, "UXN", 54, 54);
    LIES(l, "PBHA", 62, 59);
    using s = stage2_leaf_descriptor;
    LIES(s, "MemAttr", 5, 2);
    LIES(s, "S2AP[0]", 6, 6);
    LIES(s, "S2AP[1]", 7, 7);
    LIES(s, "SH", 9, 8);
    LIES(s, "AF", 10, 10);
    LIES(s, "FnXS", 11, 11);
    LIES(s, "DBM", 51, 51);
    LIES(s, "Contiguous", 52, 52);
    LIES(s, "XN", 54, 53);
    LIES(s, "NS", 55, 55);
    LIES(s, "PBHA", 62, 59);
    LIES(stage2_table_descriptor, "AF", 10, 10);
}

TEST_CASE("the SMMU's identification registers lie where the manual has them") {
    using r0 = identification_register_0;
    LIES(r0, "S2P", 0, 0);
    LIES(r0, "S1P", 1, 1);
    LIES(r0, "TTF", 3, 2);
    LIES(r0, "COHACC", 4, 4);
    LIES(r0, "BTM", 5, 5);
    LIES(r0, "HTTU", 7, 6);
    LIES(r0, "DORMHINT", 8, 8);
    LIES(r0, "HYP", 9, 9);
    LIES(r0, "ATS", 10, 10);
    LIES(r0, "NS1ATS", 11, 11);
    LIES(r0, "ASID16", 12, 12);
    LIES(r0, "MSI", 13, 13);
    LIES(r0, "SEV", 14, 14);
    LIES(r0, "ATOS", 15, 15);
    LIES(r0, "PRI", 16, 16);
    LIES(r0, "VMW", 17, 17);
    LIES(r0, "VMID16", 18, 18);
    LIES(r0, "CD2L", 19, 19);
    LIES(r0, "VATOS", 20, 20);
    LIES(r0, "TTENDIAN", 22, 21);
    LIES(r0, "ATSRECERR", 23, 23);
    LIES(r0, "STALL_MODEL", 25, 24);
    LIES(r0, "TERM_MODEL", 26, 26);
    LIES(r0, "ST_LEVEL", 28, 27);
    LIES(r0, "RME_IMPL", 30, 30);
    using r1 = identification_register_1;
    LIES(r1, "SIDSIZE", 5, 0);
    LIES(r1, "SSIDSIZE", 10, 6);
    LIES(r1, "PRIQS", 15, 11);
    LIES(r1, "EVENTQS", 20, 16);
    LIES(r1, "CMDQS", 25, 21);
    LIES(r1, "ATTR_PERMS_OVR", 26, 26);
    LIES(r1, "ATTR_TYPES_OVR", 27, 27);
    LIES(r1, "ECMDQ", 31, 31);
    using r3 = identification_register_3;
    LIES(r3, "HAD", 2, 2);
    LIES(r3, "PBHA", 3, 3);
    LIES(r3, "XNX", 4, 4);
    LIES(r3, "PPS", 5, 5);
    LIES(r3, "MPAM", 7, 7);
    LIES(r3, "FWB", 8, 8);
    LIES(r3, "STT", 9, 9);
    LIES(r3, "RIL", 10, 10);
    LIES(r3, "BBML", 12, 11);
    LIES(r3, "E0PD", 13, 13);
    LIES(r3, "PTWNNC", 14, 14);
    LIES(r3, "DPT", 15, 15);
    LIES(r3, "PASIDTT", 16, 16);
    LIES(r3, "EPAN", 17, 17);
    LIES(r3, "S1PI", 18, 18);
    LIES(r3, "S2PI", 19, 19);
    LIES(r3, "S2PO", 20, 20);
    LIES(r3, "THE", 21, 21);
    LIES(r3, "MTEPERM", 22, 22);
    LIES(r3, "AIE", 23, 23);
    using r5 = identification_register_5;
    LIES(r5, "OAS", 2, 0);
    LIES(r5, "GRAN4K", 4, 4);
    LIES(r5, "GRAN16K", 5, 5);
    LIES(r5, "GRAN64K", 6, 6);
    LIES(r5, "DS", 7, 7);
    LIES(r5, "D128", 8, 8);
    LIES(r5, "VAX", 11, 10);
    LIES(r5, "STALL_MAX", 31, 16);
    LIES(architecture_register, "MINOR", 3, 0);
    LIES(architecture_register, "MAJOR", 7, 4);
}

TEST_CASE("the SMMU's control registers lie where the manual has them") {
    LIES(control_register_0, "SMMUEN", 0, 0);
    LIES(control_register_0, "PRIQEN", 1, 1);
    LIES(control_register_0, "EVENTQEN", 2, 2);
    LIES(control_register_0, "CMDQEN", 3, 3);
    LIES(control_register_0, "ATSCHK", 4, 4);
    LIES(control_register_0, "VMW", 8, 6);
    LIES(control_register_0, "DPT_WALK_EN", 10, 10);
    LIES(control_register_2, "E2H", 0, 0);
    LIES(control_register_2, "RECINVSID", 1, 1);
    LIES(control_register_2, "PTM", 2, 2);
    LIES(control_register_2, "REC_CFG_ATS", 3, 3);
    LIES(global_bypass_register, "MemAttr", 3, 0);
    LIES(global_bypass_register, "MTCFG", 4, 4);
    LIES(global_bypass_register, "ALLOCCFG", 11, 8);
    LIES(global_bypass_register, "SHCFG", 13, 12);
    LIES(global_bypass_register, "PRIVCFG", 17, 16);
    LIES(global_bypass_register, "INSTCFG", 19, 18);
    LIES(global_bypass_register, "ABORT", 20, 20);
    LIES(global_bypass_register, "Update", 31, 31);
    LIES(stream_table_base_register, "ADDR", 55, 6);
    LIES(stream_table_base_register, "RA", 62, 62);
    LIES(stream_table_configuration_register, "LOG2SIZE", 5, 0);
    LIES(stream_table_configuration_register, "SPLIT", 10, 6);
    LIES(stream_table_configuration_register, "FMT", 17, 16);
}

TEST_CASE("the SMMU's structures are made as the manual has them") {
    STATIC_REQUIRE(stream_table_descriptor::make(0x9100'0000, 6).word[0] == 0x9100'0007);
    STATIC_REQUIRE(context_table_descriptor::make(0x9305'0000).word[0] == 0x9305'0001);
    STATIC_REQUIRE(stream_table_entry::make_abort().word[0] == 1);
    STATIC_REQUIRE(stream_table_entry::make_bypass().word[0] == 9);
    STATIC_REQUIRE(stream_table_entry::make_bypass().word[1] == 0x1000'0000'0000);
    constexpr auto e = stream_table_entry::make_stage1(0x9200'0000, 16, context_format::two_levels_64k, 0x17);
    STATIC_REQUIRE(e.word[0] == 0x8000'0000'9200'002b);
    STATIC_REQUIRE(e.word[1] == 0x0000'1000'0000'00d6);
    STATIC_REQUIRE(e.word[2] == 0x17);
    constexpr auto d = context_descriptor::make(0x9400'0000, 48, granule::k4, 48, 0x42);
    STATIC_REQUIRE(d.word[0] == 0x0042'e205'c000'3510);
    STATIC_REQUIRE(d.word[1] == 0x9400'0000);
    STATIC_REQUIRE(context_descriptor::make(0, 52, granule::k64, 52, 0).word[0] == 0x0000'e206'c000'354c);
    STATIC_REQUIRE(context_descriptor::make(0, 47, granule::k16, 40, 0).word[0] == 0x0000'e202'c000'3591);
    STATIC_REQUIRE(d.memory_attribute(0) == 0x44);
    STATIC_REQUIRE(d.memory_attribute(1) == 0xff);
    STATIC_REQUIRE(d.memory_attribute(2) == 0x04);
}

TEST_CASE("the SMMU's encodings of granules and sizes") {
    STATIC_REQUIRE(to_tg0(granule::k4) == 0);
    STATIC_REQUIRE(to_tg0(granule::k64) == 1);
    STATIC_REQUIRE(to_tg0(granule::k16) == 2);
    STATIC_REQUIRE(to_tg1(granule::k16) == 1);
    STATIC_REQUIRE(to_tg1(granule::k4) == 2);
    STATIC_REQUIRE(to_tg1(granule::k64) == 3);
    STATIC_REQUIRE(address_size(0) == 32);
    STATIC_REQUIRE(address_size(3) == 42);
    STATIC_REQUIRE(address_size(6) == 52);
    STATIC_REQUIRE(to_address_size(33) == 1);
    STATIC_REQUIRE(to_address_size(48) == 5);
    STATIC_REQUIRE(to_address_size(52) == 6);
    STATIC_REQUIRE(to_start_level(granule::k4, 0) == 3);
    STATIC_REQUIRE(to_start_level(granule::k4, 1) == 0);
    STATIC_REQUIRE(to_start_level(granule::k4, 3) == 2);
    STATIC_REQUIRE(to_start_level(granule::k4, 4) == 4);
    STATIC_REQUIRE(to_start_level(granule::k16, 3) == 3);
    STATIC_REQUIRE(to_start_level(granule::k64, 2) == 2);
    // The groups of the contiguous hint: 64 KiB, 32 MiB, 16 GiB; 2 MiB, 1 GiB; 2 MiB, 16 GiB.
    STATIC_REQUIRE(stage1<granule::k4>::contiguous_size(0) == 16);
    STATIC_REQUIRE(stage1<granule::k4>::contiguous_size(1) == 25);
    STATIC_REQUIRE(stage1<granule::k4>::contiguous_size(2) == 34);
    STATIC_REQUIRE(stage1<granule::k4>::contiguous_size(3) == 39);
    STATIC_REQUIRE(stage2<granule::k16>::contiguous_size(0) == 21);
    STATIC_REQUIRE(stage2<granule::k16>::contiguous_size(1) == 30);
    STATIC_REQUIRE(stage2<granule::k16>::contiguous_size(2) == 36);
    STATIC_REQUIRE(stage2<granule::k64>::contiguous_size(0) == 21);
    STATIC_REQUIRE(stage2<granule::k64>::contiguous_size(1) == 34);
    STATIC_REQUIRE(stage2<granule::k64>::contiguous_size(2) == 42);
}

TEST_CASE("the SMMU's types stay plain, its stages are stages") {
    STATIC_REQUIRE(sizeof(stream_table_entry) == 64);
    STATIC_REQUIRE(sizeof(context_descriptor) == 64);
    STATIC_REQUIRE(sizeof(stream_table_descriptor) == 8);
    STATIC_REQUIRE(sizeof(context_table_descriptor) == 8);
    STATIC_REQUIRE(sizeof(event) == 1);
    STATIC_REQUIRE(plain<capabilities>);
    STATIC_REQUIRE(plain<control>);
    STATIC_REQUIRE(plain<stream_table_entry>);
    STATIC_REQUIRE(plain<context_descriptor>);
    STATIC_REQUIRE(std::is_trivially_copyable_v<stage1<granule::k4>>);
    STATIC_REQUIRE(std::is_trivially_copyable_v<stage2<granule::k64>>);
    STATIC_REQUIRE(stage<stage1<granule::k4>>);
    STATIC_REQUIRE(stage<stage1<granule::k16>>);
    STATIC_REQUIRE(stage<stage2<granule::k64>>);
    STATIC_REQUIRE(encodable<stage1<granule::k64>>);
    STATIC_REQUIRE(encodable<stage2<granule::k16>>);
    STATIC_REQUIRE(marking<stage1<granule::k4>>);
    STATIC_REQUIRE(marking<stage2<granule::k4>>);
    STATIC_REQUIRE(trustable<stage1<granule::k16>>);
    STATIC_REQUIRE(trustable<stage2<granule::k4>>);
    // The tables of a guest are in its own space.
    STATIC_REQUIRE(
        std::is_same_v<stage1<granule::k4, iova, intermediate<pa>>::output, stage2<granule::k4, intermediate<pa>, pa>::input>);
}

} // namespace stagewalk::test
