#!/usr/bin/env python3
"""Writes seeds/walk_amdvi/*: devices of an AMD IOMMU as inputs of walk_amdvi.cpp (its head has the layout).

    tests/fuzz/make_amdvi_seeds.py
"""
import pathlib
import struct

SEEDS = pathlib.Path(__file__).parent / "seeds" / "walk_amdvi"
READ, WRITE, EXECUTE, PRIVILEGED, PASID, ASKING, TRANSLATED = (1 << n for n in range(24, 31))
(PAST_FAULT, MODE_FAULT, GUEST_IGNORED, EXCLUDED_ASKING, HT, MIGRATION, RIGHTS_FIRST, LEAF_ONLY, AS_ROOT, USERS_ONLY, NO_IOTLBS,
 SNP, NO_RANGE, FOLDED, OFF) = (1 << n for n in range(15))

# Everything but SNP: six host levels, five guest levels, three GCR3 levels, PASIDs of 20 bits, eight segments.
EFR = 0x7FFFFFFFFFFFFFFF & ~(3 << 10 | 3 << 12 | 3 << 14 | 7 << 21 | 0x1F << 32) | 2 << 10 | 1 << 12 | 2 << 14 | 1 << 21 | 19 << 32
EFR2 = 0x1FF
GTEN, GAEN, LONG, XTEN, TRP = 1 << 16, 1 << 17, 1 << 43, 1 << 50, 1 << 58
CONTROL = 1 | GTEN | TRP
TABLE, DEVICE = 0x800001FF, 0xA5

HOST_AT, GUEST_AT, THE_PASID = 0x723456789, 0x7F1234567ABC, 0x12345
V, TV, RW = 1, 2, 3 << 61
HOST0 = 0x6000000001000603
GUEST0 = V | TV | RW | 1 << 55 | 1 << 56
IOTLB, ONCE, SILENT, EXCLUDED = 1 << 32, 1 << 33, 1 << 34, 1 << 39
GCR3 = 0x5000000
INTERRUPTS = 0x2700000003000093  # 512 entries at 3000080h, all may pass


def guest(word0, word1=0x11 | IOTLB, root=GCR3):
    return word0 | (root >> 12 & 7) << 58, word1 | (root >> 15 & 0xFFFF) << 16 | (root >> 31 & 0x1FFFFF) << 43


HOST = {0x10000E0: 0x6000000001001401, 0x10018D0: 0x6000000001002201, 0x10022B0: 0x600000009ABCD001}
WALK = {0x5000488: 0x5001001, 0x5001A28: 0x6000001, 0x60007F0: 0x6001027, 0x6001240: 0x6002027, 0x6002D10: 0x6003027,
        0x6003B38: 0x123456067}
# Under host tables that map the first 8 GiB to itself, in pages of 1 GiB; so the guest's tables lie where they did.
OVER = {0x1000000 + 8 * i: 0x6000000000000001 | i << 30 for i in range(8)}


def write(name, *changes, word0=HOST0, word1=0x11 | IOTLB, word2=INTERRUPTS, word3=0, address=HOST_AT, request=READ, pasid=0,
          efr=EFR, efr2=EFR2, control=CONTROL, flags=0, table=TABLE, first=0, last=0, device=DEVICE, data=0x23, low=0, missing=0):
    words = {}
    for change in changes:
        words |= change
    data = struct.pack("<QQHHQQQHIQIBH", efr, control, efr2, flags, table, first, last, device, request | pasid, address, data,
                       low, missing)
    data += struct.pack("<4Q", word0, word1, word2, word3)
    data += b"".join(struct.pack("<QQ", at, word) for at, word in words.items())
    (SEEDS / name).write_bytes(data)


def write_guest(name, *changes, word0=GUEST0, word1=0x11 | IOTLB, root=GCR3, request=READ, **more):
    word0, word1 = guest(word0, word1, root)
    write(name, WALK, *changes, **dict(word0=word0, word1=word1, address=GUEST_AT, request=request | PASID, pasid=THE_PASID) | more)


def write_nested(name, *changes, word0=HOST0 & RW | 0x1000603 | GUEST0, **more):
    write_guest(name, OVER, *changes, word0=word0, **more)


SEEDS.mkdir(parents=True, exist_ok=True)
ACCESSES = {"read": READ, "write": WRITE, "atomic": READ | WRITE, "execute": READ | EXECUTE, "kernel": READ | PRIVILEGED}
for name, request in ACCESSES.items():
    write(f"host_{name}", HOST, request=request)
    write_guest(f"guest_{name}", request=request)
    write_nested(f"nested_{name}", request=request)
for name, request in {"asking": ASKING | READ | WRITE, "asking_no_write": ASKING | READ, "translated": TRANSLATED | WRITE}.items():
    write(f"host_{name}", HOST, request=request)
    write(f"host_{name}_closed", HOST, request=request, word1=0x11)
    write_guest(f"guest_{name}", request=request)
    write_nested(f"nested_{name}", request=request)
    write(f"identity_{name}", word0=V | TV | RW, request=request)
    write(f"none_{name}", word0=0, request=request)

# Devices without tables, and entries that are illegal.
write("blocked", word0=V)
write("identity_closed", word0=V | TV | 1 << 61, request=WRITE)
write("reserved", HOST, word0=HOST0 | 8)
write("mode_7", HOST, word0=HOST0 | 7 << 9)
write("mode_7_fault", HOST, word0=HOST0 | 7 << 9, flags=MODE_FAULT)
write("no_host", HOST, efr=EFR | 3 << 10)
write("snp", word0=V | TV | RW, flags=SNP)
write("past_table", HOST, table=0x80000000)
write("past_table_fault", HOST, table=0x80000000, flags=PAST_FAULT)
write("segments", HOST, control=CONTROL | 3 << 34, device=0xC1A3)
write("off", HOST, flags=OFF)
write("excluded", HOST, first=0x723456003, last=0x723457000)
write("excluded_asking", HOST, first=0x723456001, last=0x723457000, flags=EXCLUDED_ASKING, word1=0x11 | IOTLB | EXCLUDED)
write("excluded_snp", HOST, first=0x723456003, last=0x723457000, efr=EFR | 1 << 63)
write("excluded_empty", HOST, first=0x723400003, last=0x723300000)
write("silent", {0x10000E0: 0}, word1=0x11 | SILENT)
write("once", {0x10000E0: 0}, word1=0x11 | ONCE)
for at in (0xFEE00000, 0xFDF8000000, 0xFDF9100000, 0xFDFC000000, 0xFD00000000):
    for request in (READ, WRITE):
        write(f"range_{at:x}_{request >> 24}", HOST, address=at, request=request, flags=HT)

# Host tables.
KEPT = HOST0 | 3 << 7
write("host_update", HOST, word0=KEPT, request=WRITE)
write("host_update_leaf", HOST, word0=KEPT, flags=LEAF_ONLY)
write("host_2m", HOST, {0x10018D0: 0x60000000C0200001})
write("host_4m", HOST, {0x10018D0: 0x60000000401FFE01})
write("host_4m_asking", HOST, {0x10018D0: 0x78000000401FFE01}, request=ASKING | READ)
write("host_size", HOST, {0x10022B0: 0x60000000C02FFE01})
write("host_ones", HOST, {0x10022B0: 0x600FFFFFFFFFFE01})
write("host_self", HOST, {0x10018D0: 0x6000000001001401})
write("host_read_only", HOST, {0x10000E0: 0x2000000001001401}, request=WRITE)
write("host_bit_52", HOST, {0x10022B0: 0x201000009ABCD001}, request=WRITE)
write("host_bit_52_rights_first", HOST, {0x10022B0: 0x201000009ABCD001}, request=WRITE, flags=RIGHTS_FIRST)
write("host_migration", HOST, {0x10022B0: 0x620000009ABCD001}, flags=MIGRATION)
write("host_beyond", HOST, address=0x8723456789)
write("host_skip", {0x2000000: 0x6000000002001401, 0x2001488: 0x6000000002002201, 0x2002A28: 0x6000000077777001},
      word0=0x6000000002000803, address=0x12345678)
write("host_folded", HOST, flags=FOLDED, word0=KEPT, request=WRITE)
write("host_missing", HOST, missing=4)
write("table_missing", HOST, missing=1)

# Guest tables alone, and over host tables.
CLEAN = {0x60007F0: 0x6001007, 0x6001240: 0x6002007, 0x6002D10: 0x6003007, 0x6003B38: 0x123456007}
BOTH = HOST0 & RW | 0x1000603 | GUEST0
PLAIN = {0x5000000: 0x5001001, 0x5001000: 0x6000001}
for kind, write_it, word0 in (("guest", write_guest, GUEST0), ("nested", write_nested, BOTH)):
    write_it(f"{kind}_update", CLEAN, word0=word0 | (3 << 7 if kind == "nested" else 0), request=WRITE)
    write_it(f"{kind}_no_update", CLEAN, control=CONTROL | 1 << 48 | 1 << 54, request=WRITE)
    write_it(f"{kind}_asking_clean", CLEAN, request=ASKING | READ)
    write_it(f"{kind}_2m", {0x6002D10: 0x1234000E7})
    write_it(f"{kind}_1g", {0x6001240: 0x1400000E7})
    write_it(f"{kind}_pasid_beyond", pasid=0x7FFFF)
    write_it(f"{kind}_not_canonical", address=1 << 50)
    write_it(f"{kind}_upper", address=0xFFFF << 48 | 1 << 47 | GUEST_AT)
    write_it(f"{kind}_default_upper", PLAIN, pasid=0, address=1 << 47 | GUEST_AT)
    write_it(f"{kind}_2m_asking", {0x6002D10: 0x1234000E7}, request=ASKING | READ | EXECUTE)
    write_it(f"{kind}_gcr3_reserved", {0x5001A28: 0x6000003})
    write_it(f"{kind}_default", PLAIN, word0=word0 | 1 << 54, request=READ, pasid=0)
    write_it(f"{kind}_five", {0x5001A28: 0x6004001, 0x6004000: 0x6000027}, word2=INTERRUPTS | 1 << 54)
    write_it(f"{kind}_off", control=CONTROL & ~GTEN)
    write_it(f"{kind}_ignored", control=CONTROL & ~GTEN, flags=GUEST_IGNORED)
    write_it(f"{kind}_read_only_kernel", {0x6003B38: 0x123456025}, request=WRITE | PRIVILEGED, flags=USERS_ONLY)
    write_it(f"{kind}_folded", CLEAN, word0=word0 | 3 << 7, flags=FOLDED, request=WRITE)
word0, word1 = guest(GUEST0 | 1 << 54)
write("guest_untagged", WALK, PLAIN, word0=word0, word1=word1, address=GUEST_AT)
write("guest_none", HOST, request=READ | PASID)
write_nested("nested_system_root", control=CONTROL & ~TRP)
write_nested("nested_as_root", control=CONTROL & ~TRP, flags=AS_ROOT)
write_nested("nested_unmapped_tables", {0x1000000: 0})
write_nested("nested_unmapped_output", {0x1000020: 0})
write_nested("nested_read_only_tables", CLEAN, {0x1000000: 0x2000000000000001}, request=WRITE)
write_nested("nested_behind_missing", {0x1000000: 0x6000000140000001})

# Interrupts.
WIDE = {0x30002B0: 0x0000000012345601, 0x30002B8: 0x0100000000000041}
GUEST_MODE = {0x30002B0: 0x123456780000C1C5 & ~0x38, 0x30002B8: 0x0000012345678041}
write("interrupt", {0x3000108: 0x0041030100000000})
write("interrupt_wide", WIDE, control=CONTROL | GAEN | XTEN)
write("interrupt_guest", GUEST_MODE, control=CONTROL | GAEN)
write("interrupt_long", {0x3001E80: 0x00410301}, word2=INTERRUPTS | 11 << 1, control=CONTROL | LONG, data=0x780)
write("interrupt_missing")
write("interrupt_idle", {0x3000108: 0})
write("interrupt_quiet", {0x3000108: 0x0041030200000000})
write("interrupt_illegal", word2=INTERRUPTS | 15 << 1)
for mode in range(8):
    write(f"interrupt_mode_{mode}", {0x3000108: 0x0041030100000000}, data=0x23 | mode << 8, low=4 * (mode & 1))
