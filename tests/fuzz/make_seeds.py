#!/usr/bin/env python3
"""Writes seeds/walk_vtd/*: the worked examples of VT-d legacy mode as inputs of walk_vtd.cpp (its head has the layout).

    tests/fuzz/make_seeds.py
"""
import pathlib
import struct

HERE = pathlib.Path(__file__).parent
R, W, RW = 1, 2, 3
UNTRANSLATED, TRANSLATION, TRANSLATED, PAGE = 0, 4, 8, 12
PASID, NO_WRITE = 16, 32
OFF, NO_RANGES, EACH_ENTRY, LARGEST, FOLDED, DENSE = 1, 2, 4, 8, 16, 32

# HAW 46, MGAW 48, SAGAW 39/48/57, SSLPS 2M and 1G, ZLR, ND 6; SC, PT, DT.
CAP = 47 << 16 | 0xE << 8 | 3 << 34 | 1 << 22 | 6
ECAP = 1 << 7 | 1 << 6 | 1 << 2
ROOT = {0x10000020: 0x20000001, 0x10000028: 0, 0x20000190: 0x30000001, 0x20000198: 0x702}
WALK = {0x30000120: 0x31000003, 0x31000688: 0x32000003, 0x32000598: 0x33000003, 0x33000C48: 0xABCDE000803}
IOVA = 0x0000123456789ABC


def write(name, *changes, address=IOVA, access=R, kind=UNTRANSLATED, cap=CAP, ecap=ECAP, root=0x10000000, source=0x219,
          haw=46, flags=0, length=4, missing=0):
    words = ROOT | WALK
    for change in changes:
        words |= change
    data = struct.pack("<QQQQHBBBBH", cap, ecap, root, address, source, haw, flags, access | kind, length, missing)
    data += b"".join(struct.pack("<QQ", at, words[at]) for at in words)
    (HERE / "seeds" / "walk_vtd" / name).write_bytes(data)


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


main()
