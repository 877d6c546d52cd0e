#!/usr/bin/env python3
"""Writes seeds/commands_vtd/*: the worked examples of invalidation as inputs of commands_vtd.cpp (its head has the layout).

    tests/fuzz/make_command_seeds.py
"""
import pathlib
import struct

HERE = pathlib.Path(__file__).parent
LEGACY, SCALABLE, RESERVED, ABORT = range(4)

# ND 6, PSI, MAMV 18; DIT, PDS, MHMV 15.
CAP = 18 << 48 | 1 << 39 | 6
ECAP = 1 << 42 | 1 << 41 | 15 << 20
WIDE, NARROW = 0x1800, 0x1000


def write(name, *descriptors, cap=CAP, ecap=ECAP, iqa=WIDE, iqt=0, mode=SCALABLE, source=0x219, domain=7, pasid=0x12345,
          address=0x40000000, lg2=0, index=0x8013):
    data = struct.pack("<QQQQBHHIQBH", cap, ecap, iqa, iqt, mode, source, domain, pasid, address, lg2, index)
    for words in descriptors:
        data += struct.pack("<4Q", *(words + (0,) * (4 - len(words))))
    (HERE / "seeds" / "commands_vtd" / name).write_bytes(data)


def main():
    (HERE / "seeds" / "commands_vtd").mkdir(parents=True, exist_ok=True)
    context, iotlb, device = (0x0001021900070031,), (0x000700F2, 0x40000049), (0x0000021900040003, 0x400FF001)
    interrupts, wait = (0x0000801018000014,), (0x0000CAFE00000065, 0x12345678)
    pasid_iotlb, pasid_cache = (0x0001234500120036, 0x00007F8012200009), (0x0001234500120017,)
    pasid_device, response = (0x79A34567BEEF5198, 0x1122334455667801), (0x000123450219E019, 0xAA8)
    # Each type, in the modes that have it
    write("context", context, (0x11,), (0x00070021,))
    write("context_legacy", context, (0x11,), (0x00070021,), mode=LEGACY, iqa=NARROW)
    write("context_masks", *((0x0000021900070031 | fm << 48,) for fm in range(4)), mode=LEGACY, source=0x21E)
    write("iotlb", iotlb, (0xD2,), (0x000700E2,), (0x000700F2, 0x40001009))
    write("iotlb_legacy", iotlb, mode=LEGACY)
    write("iotlb_1g", (0x000700F2, 0x40000012), lg2=18)
    write("iotlb_large_entry", (0x000700F2, 0x40005000), lg2=18)
    write("iotlb_beyond_mamv", (0x000700F2, 19))
    write("iotlb_no_psi", iotlb, cap=CAP & ~(1 << 39))
    write("iotlb_narrow_domain", (0xFFF700F2, 0x40000049), cap=CAP & ~7)
    write("device", device, (0x0000021900040003, 0x40000000), (0x0000021900000003, 0x7FFFFFFFFFFFF001))
    write("device_pfsid", (0x79A0BEEF00135003, 1), source=0xBEEF)
    write("device_pfsid_missing", (0x79A0BEEF00135003, 1), ecap=ECAP & ~(1 << 41))
    write("interrupts", interrupts, (4,), (0x0000FFFF78000014,))
    write("interrupts_all", (0x0000FFFFF8000004,))
    write("interrupts_beyond_mhmv", interrupts, ecap=ECAP & ~(15 << 20))
    write("wait", wait, (0x5,), (0x45,), (0x15,))
    write("wait_drain_missing", (0x85,), ecap=ECAP & ~(1 << 42))
    write("pasid_iotlb", pasid_iotlb, (0x0001234500120026,), domain=0x12, address=0x7F8012200000)
    write("pasid_iotlb_leaves", (0x0001234500120036, 0x00007F8012200049), domain=0x12, address=0x7F8012200000)
    write("pasid_iotlb_all", (0x0001234500120036, 0x3F), domain=0x12)
    write("pasid_cache", pasid_cache, (0x00120007,), (0x37,), (0x27,), domain=0x12)
    write("pasid_device", pasid_device, (0x0001234502190008, 0x40000000), source=0xBEEF)
    write("response", response, (9, 4))
    every = context, iotlb, device, interrupts, wait, pasid_iotlb, pasid_cache, pasid_device, response
    for name, mode in ("legacy", LEGACY), ("scalable", SCALABLE), ("reserved", RESERVED), ("abort", ABORT):
        write(f"every_{name}", *every, mode=mode)
        write(f"every_{name}_narrow", *every, mode=mode, iqa=NARROW)
    # What is refused
    write("host_permission", (0xA,), ecap=ECAP | 1 << 55)
    write("type_high", (0x0201,), (0x0E05,), (0,))
    write("upper_words", *(words + (0,) * (2 - len(words)) + (1, 0) for words in every))
    write("reserved_bits", (0x51,), (0x112,), (0x23,), (0x24,), (0x105,), (0x66,), (0x67,), (8, 2), (0x29,))
    # Tails
    write("tail_last", iqt=0xFE0)
    write("tail_beyond", iqt=0x1000)
    write("tail_odd", iqt=0x10)
    write("tail_largest", iqa=NARROW | 7, iqt=0x7FFF0)


main()
