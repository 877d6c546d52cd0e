#!/usr/bin/env python3
"""Writes seeds/commands_smmu/*: the worked examples of SMMU commands as inputs of commands_smmu.cpp (its head has the layout).

    tests/fuzz/make_smmu_command_seeds.py
"""
import pathlib
import struct

HERE = pathlib.Path(__file__).parent
EL1, EL2, E2H = range(3)
GLOBAL, NO_SUBSTREAM = 4, 8

# Both stages, HYP, ATS, PRI, VMW; RIL; DS.
IDR0 = 3 | 1 << 9 | 1 << 10 | 1 << 16 | 1 << 17
IDR3 = 1 << 10
DS = 1 << 7
TAGS = 0x0042001700000000  # ASID 42h, VMID 17h


def write(name, *commands, idr0=IDR0, idr3=IDR3, idr5=0, cr0=1, source=0x2A, pasid=0, vmid=0x17, asid=0x42, address=0x40000000,
          lg2=0, covered=0, flags=EL1 | 3 << 4):
    data = struct.pack("<6I2HQ3B", idr0, idr3, idr5, cr0, source, pasid, vmid, asid, address, lg2, covered, flags)
    for words in commands:
        data += struct.pack("<2Q", *words)
    (HERE / "seeds" / "commands_smmu" / name).write_bytes(data)


def main():
    (HERE / "seeds" / "commands_smmu").mkdir(parents=True, exist_ok=True)
    of_stream = 0x2A << 32
    ste, ste_range, cd, cd_all = (of_stream | 3, 1), (of_stream | 4, 7), (of_stream | 0x1234805, 1), (of_stream | 6, 0)
    ranges = (TAGS | 0x20A012, 0x40000401), (TAGS | 0x800012, 0x4002C401)
    ipa, va = (0x17 << 32 | 0x2A, 0x40000700), (TAGS | 0x12, 0x40000001)
    atc, response = (of_stream | 0x1234840, 0x40000009), (of_stream | 0x1234841, 0x2005)
    retry, end, sync = (of_stream | 0x1044, 0x203), (of_stream | 0x45, 0), (0x46, 0)
    # Each family
    write("stream", ste, (of_stream | 3, 0), source=0x2A, covered=8)
    write("stream_range", ste_range, (4, 31), (of_stream | 4, 0), source=0x2F, covered=8)
    write("context", cd, (of_stream | 0x1234005, 0), cd_all, pasid=0x1234, covered=6)
    write("ranges", *ranges)
    write("one_address", va, (TAGS | 0x13, 0x40000000), lg2=9)
    write("global", va, (TAGS | 0x11, 0), (TAGS | 0x10, 0), asid=7, flags=EL1 | GLOBAL | 3 << 4)
    write("stage2", ipa, (0x17 << 32 | 0x28, 0), (0x30, 0))
    write("stage2_block", (0x17 << 32 | 0x2A, 0x40000600), (0x17 << 32 | 0x2A, 0x40000700), lg2=9, flags=EL1 | 2 << 4)
    write("el2", (0x20, 0), (0x22, 0x40000000), (0x21, 0), (0x23, 0x40000000), flags=EL2 | 3 << 4)
    write("el2_e2h", (0x42 << 48 | 0x21, 0), (0x42 << 48 | 0x22, 0x40000000), flags=E2H | 3 << 4)
    write("device", atc, (of_stream | 0x40, 52), pasid=0x1234)
    write("device_every_substream", (of_stream | 0x1234A40, 0x4000003F), pasid=5)
    write("device_without_substream", (of_stream | 0x40, 0x40000005), flags=NO_SUBSTREAM)
    write("answers", response, retry, (of_stream | 0x2044, 1), end)
    write("sync", sync, (0xCAFE00000F801046, 0x12345678), (0x2046, 0), (0x3046, 0))
    write("hints", (of_stream | 1, 0), (of_stream | 2, 0x40000000))
    # Ranges with everything
    write("range_16k", (TAGS | 0x11012, 0x40000900), (TAGS | 0x11012, 0x40000800), flags=EL1 | 1 << 4)
    write("range_64k", (TAGS | 0x1F12, 0x40000C00))
    write("range_top", (TAGS | 0x1F1F012, 0xFFFFFFFFFFFF0400), address=0xFFFFFFFFFFFFF000)
    write("range_scale", (TAGS | 0x3F01012, 0x400), (TAGS | 0x2001012, 0x400), (TAGS | 0x2000012, 0x400), idr5=DS)
    write("range_scale_narrow", (TAGS | 0x3F01012, 0x400), (TAGS | 0x2001012, 0x400), (TAGS | 0x2000012, 0x400))
    write("range_empty", (TAGS | 0x12, 0x40000401), (0x17 << 32 | 0x2A, 0x40000800), (0x22, 0xC00))
    write("range_without_ril", *ranges, ipa, idr3=0)
    write("wildcards", va, ipa, (0x17 << 32 | 0x28, 0), cr0=1 | 4 << 6, vmid=0x18)
    write("wildcards_reserved", va, cr0=1 | 5 << 6, vmid=0x16)
    # What is refused
    every = ste, ste_range, cd, cd_all, *ranges, va, ipa, (0x20, 0), (0x17 << 32 | 0x28, 0), (0x30, 0), atc, response, \
        retry, end, sync
    write("every", *every)
    write("every_secure", *((d0 | 0x400, d1) for d0, d1 in every))
    write("every_without_stage1", *every, idr0=IDR0 & ~2)
    write("every_without_stage2", *every, idr0=IDR0 & ~1)
    write("every_without_hyp", *every, idr0=IDR0 & ~(1 << 9))
    write("every_without_ats", *every, idr0=IDR0 & ~(1 << 10 | 1 << 16))
    write("every_that_stalls_not", *every, idr0=IDR0 | 1 << 24)
    write("other_opcodes", *((op, 0) for op in (0, 7, 8, 0x14, 0x18, 0x1A, 0x24, 0x29, 0x42, 0x47, 0x50, 0x58, 0x70, 0x80, 0xFF)))


main()
