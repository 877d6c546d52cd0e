#!/usr/bin/env python3
"""Writes seeds/walk_vtd/*: the worked examples of VT-d in both modes as inputs of walk_vtd.cpp (its head has the layout).

    tests/fuzz/make_seeds.py
"""
import pathlib
import struct

HERE = pathlib.Path(__file__).parent
R, W, RW = 1, 2, 3
UNTRANSLATED, TRANSLATION, TRANSLATED, PAGE = 0, 4, 8, 12
PASID, NO_WRITE, PRIVILEGED, EXECUTE = 16, 32, 64, 128
OFF, NO_RANGES, EACH_ENTRY, LARGEST, FOLDED, DENSE, MANUAL, BOTH_HALVES = 1, 2, 4, 8, 16, 32, 64, 128
REFUSE_TYPES, AT_RESERVED = 1 << 20, 1 << 21

# HAW 46, MGAW 48, SAGAW 39/48/57, SSLPS 2M and 1G, ZLR, ND 6; SC, PT, DT.
CAP = 47 << 16 | 0xE << 8 | 3 << 34 | 1 << 22 | 6
ECAP = 1 << 7 | 1 << 6 | 1 << 2
ROOT = {0x10000020: 0x20000001, 0x10000028: 0, 0x20000190: 0x30000001, 0x20000198: 0x702}
WALK = {0x30000120: 0x31000003, 0x31000688: 0x32000003, 0x32000598: 0x33000003, 0x33000C48: 0xABCDE000803}
IOVA = 0x0000123456789ABC


def write(name, *changes, address=IOVA, access=R, kind=UNTRANSLATED, cap=CAP, ecap=ECAP, root=0x10000000, source=0x219,
          haw=46, flags=0, length=4, missing=0, rest=0, words=ROOT | WALK):
    for change in changes:
        words = words | change
    data = struct.pack("<QQQQHBBBBHI", cap, ecap, root, address, source, haw, flags, access | kind, length, missing, rest)
    data += b"".join(struct.pack("<QQ", at, words[at]) for at in words)
    (HERE / "seeds" / "walk_vtd" / name).write_bytes(data)


# Scalable mode: everything but host permission tables; HAW 46, MGAW 48, PSS 20 bits.
SCAP = CAP | 1 << 60 | 1 << 56
SECAP = sum(1 << bit for bit in (1, 2, 6, 7, 25, 26, 29, 31, 33, 34, 40, 43, 45, 46, 47, 48, 49, 52, 53, 56, 57)) | 19 << 35
FIRST_IOVA = 0x00007F8012345678
# Device 03:11.0, upper half; PASID directory of 2^14 entries; PASID 12345h and RID_PASID 0.
CONFIGURATION = {0x10000030: 0, 0x10000038: 0x21000001, 0x21000100: 0x40000E0D, 0x21000108: 0, 0x21000110: 0, 0x21000118: 0,
                 0x40002468: 0x41000001, 0x40000000: 0x41000001}
FIRST = {0x600007F8: 0x61000007, 0x61000000: 0x62000007, 0x62000488: 0x63000007, 0x63000A28: 0x76543007}
SECOND = {0x50000120: 0x31000003, 0x31000688: 0x32000003, 0x32000598: 0x33000003, 0x33000C48: 0xABCDE000803}
# Nested: guest addresses 40000000h to 7FFFFFFFh are host addresses 140000000h and up.
OVER = {0x50000000: 0x51000003, 0x51000008: 0x140000083}
NESTED_FIRST = {0x1600007F8: 0x61000007, 0x161000000: 0x62000007, 0x162000488: 0x63000007, 0x163000A28: 0x76543007}


def entry(*words, at=0x41000140):
    return {at + 8 * i: w for i, w in enumerate(words + (0,) * (8 - len(words)))}


SS, FS, NEST = entry(0x50000289, 0x1800012), entry(0x41, 0x800001, 0x60000011), entry(0x500000C9, 0x1800012, 0x60000011)


def scalable(name, *changes, address=FIRST_IOVA, access=R, kind=PASID, pasid=0x12345, rest=0, cap=SCAP, ecap=SECAP, **more):
    write(f"scalable_{name}", *changes, address=address, access=access, kind=kind, cap=cap, ecap=ecap, root=0x10000400 | more.pop(
        "mode", 0), source=0x388, rest=pasid | rest | 1 << 24, words=CONFIGURATION, **more)


def scalable_seeds():
    # 8 to 11: configuration
    both = FIRST | FS
    scalable("first", both, access=W)
    scalable("first_read", both)
    scalable("root_absent", both, {0x10000038: 0})
    scalable("root_other_half", both, {0x10000030: 0x3})
    scalable("root_both_halves", both, {0x10000030: 0x3}, flags=BOTH_HALVES)
    scalable("context_absent_quiet", both, {0x21000100: 2})
    scalable("context_reserved", both, {0x21000100: 0x40000C81})
    scalable("pre_without_dte", both, {0x21000100: 0x40000E11})
    scalable("rid_pasid_beyond", both, {0x21000100: 0x4000000D, 0x21000108: 0x2000})
    scalable("pasid_beyond_directory", both, {0x21000100: 0x4000060D})
    scalable("pasid_beyond_unit", both, ecap=SECAP & ~(31 << 35))
    scalable("pasid_is_rid_pasid", both, {0x21000108: 0x12345})
    scalable("pasid_disabled", both, {0x21000100: 0x40000E05})
    scalable("ats_disabled", both, {0x21000100: 0x40000E09}, kind=PASID | TRANSLATION)
    scalable("page_request", both, {0x21000100: 0x40000E1D}, kind=PASID | PAGE)
    scalable("page_requests_disabled", both, kind=PASID | PAGE)
    scalable("translated", both, kind=TRANSLATED, address=0x12345678)
    scalable("translated_pasid", both, kind=TRANSLATED | PASID, address=0x12345678)
    scalable("translated_wide", both, kind=TRANSLATED, address=1 << 46)
    scalable("directory_absent", both, {0x40002468: 2})
    scalable("directory_reserved", both, {0x40002468: 0x41000005})
    scalable("entry_absent", both, {0x41000140: 0x42})
    scalable("entry_kind", both, {0x41000140: 0x50000349})
    scalable("entry_width", SECOND, entry(0x50000281, 0x1800012))
    scalable("unused_fields", both, {0x41000140: 0x49}, ecap=SECAP & ~(1 << 46 | 1 << 26))
    scalable("unused_fields_manual", both, {0x41000140: 0x49}, ecap=SECAP & ~(1 << 46 | 1 << 26), flags=MANUAL)
    scalable("rid", FIRST, entry(0x41, 0x800001, 0x60000011, at=0x41000000), kind=0)
    scalable("privileged", both, {0x41000150: 0x60000011}, kind=PASID | PRIVILEGED)
    scalable("supervisor_disabled", both, {0x41000150: 0x60000010}, kind=PASID | PRIVILEGED)
    scalable("execute", both, kind=PASID | EXECUTE)
    scalable("at_reserved", both, rest=AT_RESERVED)
    scalable("pass_through", entry(0x101, 0x1), address=0xFEE00000)
    scalable("pass_through_wide", entry(0x101, 0x1), address=1 << 46)
    # 12 to 14: first stage
    scalable("first_5", FIRST, entry(0x41, 0x800001, 0x64000015), {0x64000000: 0x60000007})
    scalable("upper_half", both, {0x60000800: 0x61000007}, address=0xFFFF800012345678)
    scalable("not_canonical", both, address=0x800000000000)
    scalable("supervisor_page", both, {0x63000A28: 0x76543003})
    scalable("write_refused", both, {0x63000A28: 0x76543005}, access=W)
    scalable("write_privileged", both, {0x63000A28: 0x76543005}, {0x41000150: 0x60000001}, access=W, kind=PASID | PRIVILEGED)
    scalable("upper_size", both, {0x600007F8: 0x61000087})
    scalable("first_2m", both, {0x62000488: 0x140201087})
    scalable("first_2m_reserved", both, {0x62000488: 0x140202087})
    scalable("first_1g", both, {0x61000000: 0x180000087}, access=W)
    scalable("extended_accessed", both, {0x41000150: 0x60000091}, access=W)
    scalable("unsnooped", both, {0x41000148: 1})
    scalable("unsnooped_marked", {at: e | 0x60 for at, e in FIRST.items()}, FS, {0x41000148: 1}, access=W)
    scalable("ats", both, kind=PASID | TRANSLATION)
    scalable("ats_read_only", both, {0x63000A28: 0x76543005}, kind=PASID | TRANSLATION)
    scalable("interrupt_output", both, {0x63000A28: 0xFEE00007})
    # 3 to 8: second stage
    scalable("second", SECOND, SS, address=IOVA)
    scalable("second_write", SECOND, SS, address=IOVA, access=W)
    scalable("second_unsnooped", SECOND, SS, {0x41000148: 0x12}, address=IOVA)
    scalable("second_neither", SECOND, SS, {0x32000598: 0x33000001, 0x33000C48: 0xABCDE000002}, address=IOVA)
    scalable("second_types", SECOND, SS, {0x41000148: 0x5800012, 0x33000C48: 0xABCDE00081B}, address=IOVA, rest=REFUSE_TYPES)
    scalable("second_alternate", {at: e | 3 << 61 for at, e in SECOND.items()}, SS, address=IOVA, mode=0x80)
    scalable("second_wide", SECOND, SS, address=1 << 48)
    # 15: nested
    nested = OVER | NESTED_FIRST | NEST
    scalable("nested", nested, access=W)
    scalable("nested_read_only", nested, {0x51000008: 0x140000081})
    scalable("nested_write_only", nested, {0x51000008: 0x140000082})
    scalable("nested_absent", nested, {0x51000008: 0})
    scalable("nested_marking", nested, {0x41000140: 0x500002C9}, access=W)
    scalable("nested_beyond", nested, {0x41000140: 0x500000C5, 0x1600007F8: 0x8061000007}, {0x50000008: 0x140000083})
    scalable("nested_root_beyond", nested, {0x41000140: 0x500000C5, 0x41000150: 0x8060000011})
    scalable("nested_small", nested, {0x51000008: 0x52000003, 0x52000800: 0x160000083, 0x52000840: 0x161000083,
                                      0x52000880: 0x162000083, 0x520008C0: 0x163000083, 0x52000D90: 0x176400083}, access=W)
    scalable("nested_ats", nested, kind=PASID | TRANSLATION)
    # Other layouts of memory
    scalable("folded_loop", {at: 0x10000001 for at in range(0x10000000, 0x10000400, 16)}, flags=FOLDED)


def main():
    (HERE / "seeds" / "walk_vtd").mkdir(parents=True, exist_ok=True)
    # 1, 2: modes, root and context entries
    for name, bits in ("scalable", 0x400), ("reserved", 0x800), ("abort", 0xC00):
        write(f"mode_{name}", root=0x10000000 | bits, ecap=ECAP | 1 << 52)
    write("off", flags=OFF)
    write("root_absent", {0x10000020: 0})
    write("root_reserved", {0x10000028: 1})
    write("context_absent_quiet", {0x20000190: 2})
    write("context_width", {0x20000198: 0x706})
    write("context_reserved", {0x20000198: 0x782})
    write("context_domain", {0x20000198: 0x80002}, cap=CAP & ~7)
    write("context_type", {0x20000190: 0x3000000D})
    write("pass_through", {0x20000190: 0x30000009})
    write("pass_through_missing", {0x20000190: 0x30000009}, ecap=ECAP & ~(1 << 6))
    write("pass_through_smaller", {0x20000190: 0x30000009}, flags=LARGEST)
    write("pass_through_wide", {0x20000190: 0x30000009}, address=1 << 46)
    # 3, 4: walks
    write("page_4k")
    write("page_4k_no_snoop_control", ecap=ECAP & ~(1 << 7))
    write("page_2m", {0x32000598: 0x140200883})
    write("page_1g", {0x31000688: 0x180000083})
    write("levels_3", {0x20000198: 0x701, 0x30000688: 0x32000003}, address=0x3456789ABC)
    write("levels_5", {0x20000198: 0x703, 0x30000000: 0x34000003, 0x34000120: 0x31000003})
    # 5: reserved bits
    write("low_frame_bit", {0x32000598: 0x140201083})
    write("snp_in_table", {0x31000688: 0x32000803})
    write("bit_62", {0x31000688: 0x4000000032000003})
    write("bit_63", {0x31000688: 0x8000000032000003})
    write("beyond_host", {0x31000688: 0x400032000003})
    write("size_in_upper", {0x30000120: 0x31000083})
    # 6: widths
    write("width_39", {0x20000198: 0x701}, address=0x8000000000)
    write("width_39_last", {0x20000198: 0x701}, address=0x7FFFFFFFFF)
    write("width_mgaw", cap=(CAP & ~(63 << 16)) | 45 << 16, address=0x400000000000)
    # 7: rights
    write("write_refused", {0x32000598: 0x33000001}, access=W)
    write("neither", {0x32000598: 0x33000001, 0x33000C48: 0xABCDE000002}, access=RW)
    write("flush_write_only", {0x33000C48: 0xABCDE000002}, length=0)
    write("absent", {0x33000C48: 0xFFC}, access=W)
    write("order_each_entry", {0x32000598: 0x4000000033000001}, access=W, flags=EACH_ENTRY)
    # 8: interrupt range
    write("interrupt", address=0xFEE00ABC, access=W)
    write("interrupt_read", address=0xFEE00ABC)
    write("interrupt_flush", address=0xFEE00ABC, length=0)
    write("interrupt_range_off", address=0xFEE00ABC, flags=NO_RANGES)
    write("interrupt_output", {0x33000C48: 0xFEE00003})
    write("interrupt_beside", {0x32000598: 0xFEE00083}, address=0x123456700000)
    write("interrupt_asked", {0x20000190: 0x30000005, 0x32000598: 0xFEE00083}, address=0x123456700000, kind=TRANSLATION)
    # ATS, PASID, pages that are not there
    write("ats", {0x20000190: 0x30000005}, kind=TRANSLATION)
    write("ats_blocked", kind=TRANSLATION)
    write("ats_interrupt", {0x20000190: 0x30000005}, address=0xFEE00000, kind=TRANSLATION | NO_WRITE)
    write("translated", {0x20000190: 0x30000005}, kind=TRANSLATED)
    write("page_request", kind=PAGE)
    write("pasid", kind=PASID)
    write("table_missing", {0x32000598: 0x55555003})
    write("root_table_missing", {0x20000190: 0x55555001})
    # Other layouts of memory
    write("folded_loop", {at: 0x10000003 for at in range(0x10000000, 0x10000400, 16)}, flags=FOLDED)
    write("dense", {0x100020: 0x101001, 0x101190: 0x102001, 0x101198: 0x702, 0x102120: 0x103003, 0x103688: 0x104003,
                    0x104598: 0x10F003, 0x10FC48: 0xABCDE000003}, root=0x100000, flags=DENSE)
    scalable_seeds()


main()
