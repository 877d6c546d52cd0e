#!/usr/bin/env python3
"""Writes seeds/walk_smmu/*: worked examples of SMMUv3 as inputs of walk_smmu.cpp (its head has the layout).

    tests/fuzz/make_smmu_seeds.py
"""
import pathlib
import struct

HERE = pathlib.Path(__file__).parent
READ, WRITE, EXECUTE, PRIVILEGED, SUBSTREAM = (1 << n for n in range(24, 29))
START_LEVEL, CLAMP, LATE, FOLDED, DENSE = 1, 2, 4, 8, 16

# Both stages, VMSAv8-64, everything updated, HYP, ATS, 16-bit ASIDs and VMIDs, CD2L, two-level stream tables.
IDR0 = 3 | 1 << 3 | 3 << 6 | 1 << 9 | 1 << 10 | 1 << 12 | 1 << 18 | 1 << 19 | 1 << 27
IDR1 = 16 | 20 << 6 | 1 << 26 | 1 << 27
IDR3 = 1 << 2 | 1 << 4 | 1 << 8 | 1 << 9 | 1 << 13 | 1 << 17 | 1 << 23
IDR5 = 5 | 7 << 4
WIDE = 6 | 7 << 4 | 1 << 7 | 1 << 10
VA, IPA = 0x00007F1234567ABC, 0x8012345678
SID = 0x2A
STE_AT, CD_AT = 0x88000A80, 0x92000000


def swap(words):
    return {at: int.from_bytes(word.to_bytes(8, "little"), "big") for at, word in words.items()}


def entry(at, *words):
    return {at + 8 * i: word for i, word in enumerate(words)}


def write(name, *changes, address=VA, access=READ, stream=SID, substream=0, idr0=IDR0, idr1=IDR1, idr3=IDR3, idr5=IDR5,
          gbpa=0, cfg=8, base=0x88000000, aidr=2, cr0=1, cr2=2, flags=0, kind=0, missing=0):
    words = {}
    for change in changes:
        words |= change
    data = struct.pack("<8I2Q5BH", idr0, idr1, idr3, idr5, gbpa, cfg, stream, substream | access, base, address, aidr, cr0, cr2,
                       flags, kind, missing)
    data += b"".join(struct.pack("<QQ", at, word) for at, word in words.items())
    (HERE / "seeds" / "walk_smmu" / name).write_bytes(data)


# Stage 1: 4 KiB, T0SZ 16, the lower half alone.
CD0, TTB0 = 0x0042E205C0003510, 0x94000000
MAIR = 0x0004FF44


def stage1(config=5, d1=0x100000000000, d2=0, d3=0, pointer=CD_AT):
    return entry(STE_AT, 1 | config << 1 | pointer, d1, d2, d3)


def context(d0=CD0, d1=TTB0, d2=0, at=CD_AT):
    return entry(at, d0, d1, d2, MAIR)


WALK = {0x940007F0: 0x94001003, 0x94001240: 0x94002003, 0x94002D10: 0x94003003, 0x94003B38: 0x0060000123456F47}
ONE = stage1() | context() | WALK
# Stage 2: S2T0SZ 24, SL0 1, 4 KiB: two concatenated tables.
S2 = 0x044D355800000017
TWO = entry(STE_AT, 0x0D, 0x100000000000, S2, 0xA0002000)
WALK2 = {0xA0003000: 0xA0010003, 0xA0010488: 0xA0011003, 0xA0011A28: 0x00000003123457FF}


def plain():
    write("off", cr0=0)
    write("off_abort", cr0=0, gbpa=1 << 20)
    write("off_wide", cr0=0, address=1 << 48)
    write("stream_beyond", stream=0x100)
    write("stream_missing", base=0x70000000)
    write("not_valid", entry(STE_AT, 0))
    write("abort", entry(STE_AT, 1))
    write("bypass", entry(STE_AT, 9, 0x100000000000))
    write("bypass_override", entry(STE_AT, 9, 0x2000000000 | 1 << 36 | 5 << 32))
    write("bypass_wide", entry(STE_AT, 9), address=1 << 48)
    write("bypass_substream", entry(STE_AT, 9), access=READ | SUBSTREAM)
    two_levels = dict(cfg=0x10210, base=0x90000000, stream=0x1234)
    write("two_levels", {0x90000090: 0x91000007}, entry(0x91000D00, 9), **two_levels)
    write("two_levels_noise", {0x90000090: 0x91000547}, entry(0x91000D00, 9), **two_levels)
    write("two_levels_span", {0x90000090: 0x9100000A}, **two_levels)


def first():
    write("first", ONE)
    write("first_write", ONE, access=WRITE)
    write("first_execute", ONE, access=READ | EXECUTE)
    write("first_block_2m", ONE, {0x94002D10: 0x0000000140000F01}, access=READ | PRIVILEGED)
    write("first_block_1g", ONE, {0x94001240: 0x0000000240000F01}, access=WRITE | PRIVILEGED)
    write("first_block_512g", ONE, {0x940007F0: 0x0000000240000F01})
    write("first_page_01", ONE, {0x94003B38: 0x0060000123456F45})
    write("first_address_size", ONE, context(0x0042E202C0003510), {0x94003B38: 0x0000200000000F43})
    write("first_upper", stage1(), context(0x0042E205B5903510, 0x95000000, TTB0), {0x94000800: 0x94001003},
          {0x94001000: 0x94002003, 0x94002488: 0x94003003, 0x94003A28: 0x0060000123456F47}, address=0xFFFF800012345678)
    write("first_tbi", stage1(), context(CD0 | 1 << 38), WALK, address=VA | 0x5A << 56)
    write("first_out_of_range", ONE, address=1 << 48)
    write("first_disabled", stage1(), context(CD0 | 1 << 14), WALK)
    write("first_e0pd", stage1(), context(CD0, TTB0 | 4), WALK)
    write("first_update", stage1(), context(0x0042EE05C0003510), WALK, {0x94003B38: 0x00080001234563C3}, access=WRITE)
    write("first_haft", stage1(), context(0x0042EE05C0003510, TTB0 | 8), WALK, {0x94003B38: 0x00080001234563C3})
    write("first_access", ONE, {0x94003B38: 0x00080001234563C3})
    write("first_affd", stage1(), context(CD0 | 1 << 35), WALK, {0x94003B38: 0x00080001234563C3}, access=WRITE)
    write("first_stall", stage1(), context(CD0 | 1 << 44), WALK, address=VA + 0x1000)
    write("first_raz", stage1(), context(CD0 & ~(1 << 46)), WALK, address=VA + 0x1000)
    write("first_tables_forbid", ONE, {0x94001240: 0x94002003 | 0xF << 59})
    write("first_pan", stage1(), context(CD0 | 1 << 40), WALK, access=READ | PRIVILEGED)
    write("first_big_endian", stage1(), context(CD0 | 1 << 15), swap(WALK))
    write("first_contiguous", ONE, {0x94003B38: 0x0070000123456F47})
    write("first_el2", stage1(d1=0x100080000000), context(), WALK)
    write("first_bad_context", stage1(), context(CD0 & ~(1 << 31)))
    write("first_64k_wide", stage1(), context(0x0007E206C000354C, 0x96000000), {0x96001578: 0x9502A003},
          {0xA0000950237B8: 0x95033003, 0x3000095038090: 0x000012345678FF43}, address=0x000ABCDEF0123456, idr5=WIDE, aidr=3)
    write("first_16k", stage1(), context(0x0042E205C0003510 & ~0xFF | 0x91, 0xB0000000), {0xB0003D58: 0xB0004003},
          {0xB0007378: 0x0000000542000F01}, address=0x7ABCDEF01234)
    write("first_ds", stage1(), context(0x0042E206C0003510, 0x94000000, 1 << 58), WALK, {0x94003B38: 0x0060000123456747},
          idr5=WIDE, aidr=3)
    write("substreams_64k", stage1(d1=0x1000000000D6, pointer=0x8000000092000020), {0x92000020: 0x93050001}, WALK,
          context(at=0x93058D00), substream=0x1234, access=READ | SUBSTREAM)
    write("substreams_4k", stage1(d1=0x1000000000D6, pointer=0x8000000092000010), {0x92000240: 0x93050001}, WALK,
          context(at=0x93050D00), substream=0x1234, access=READ | SUBSTREAM)
    write("substreams_linear", stage1(d1=0x1000000000D6, pointer=0x8000000092000000), WALK, context(at=0x92048D00),
          substream=0x1234, access=READ | SUBSTREAM)
    write("substream_disabled", stage1(d1=0x1000000000D6, pointer=0x8000000092000000), access=READ | SUBSTREAM)
    write("substream_default", stage1(d1=0x1000000000D6, pointer=0x8000000092000000), context(), WALK)
    write("substream_bypass", stage1(d1=0x1000000000D5, pointer=0x8000000092000000))
    write("substream_missing", stage1(d1=0x1000000000D4, pointer=0x8000000092000000))
    write("substream_beyond", stage1(d1=0x1000000000D6, pointer=0x8000000092000000), substream=0x10000,
          access=READ | SUBSTREAM)


def second():
    write("second", TWO, WALK2, address=IPA)
    write("second_write", TWO, WALK2, address=IPA, access=WRITE)
    write("second_execute", TWO, WALK2, address=IPA, access=READ | EXECUTE)
    write("second_beyond", TWO, WALK2, address=1 << 40)
    write("second_wide", TWO, WALK2, address=1 << 48)
    update = entry(STE_AT, 0x0D, 0x100000000000, S2 | 3 << 55, 0xA0002000)
    write("second_update", update, WALK2, {0xA0011A28: 0x000800031234537F}, address=IPA, access=WRITE)
    write("second_read_update", update, WALK2, {0xA0011A28: 0x000800031234537F}, address=IPA)
    write("second_clean", TWO, WALK2, {0xA0011A28: 0x000800031234577F}, address=IPA, access=WRITE)
    write("second_fwb", entry(STE_AT, 0x0D, 0x100002000000, S2, 0xA0002000), WALK2, {0xA0011A28: 0x00000003123457DF},
          address=IPA)
    write("second_start", entry(STE_AT, 0x0D, 0x100000000000, S2 & ~0xC000000000, 0xA0002000), address=IPA)
    write("second_stall", entry(STE_AT, 0x0D, 0, S2 | 1 << 57, 0xA0002000), WALK2, address=IPA + 0x1000)
    write("second_big_endian", entry(STE_AT, 0x0D, 0, S2 | 1 << 52, 0xA0002000), swap(WALK2), address=IPA)


# Nested: IPA 40_0000_0000h to 7F_FFFF_FFFFh lead 1 GiB blocks of themselves less 40_0000_0000h.
def nested():
    shift = 0x4000000000
    over = {0xA0002800 + 8 * i: i << 30 | 0x7FD for i in range(4)}
    guest = context(d1=shift | TTB0) | {at: word | (shift if at != 0x94003B38 else 0) for at, word in WALK.items()}
    guest[0x94003B38] = 0x0060004023456F47
    ste = stage1(7, 0x100000000000, S2, 0xA0002000, shift | CD_AT)
    base = ste | over | guest
    write("nested", base, access=WRITE)
    write("nested_read_only", base, {0xA0002810: 2 << 30 | 0x77D})
    write("nested_device", base, {0xA0002810: 2 << 30 | 0x7C5})
    write("nested_unmapped_output", base, {0x94003B38: 0x0060002023456F47})
    write("nested_unmapped_context", base, {0xA0002810: 0})
    update = stage1(7, 0x100000000000, S2 | 3 << 55, 0xA0002000, shift | CD_AT)
    marking = context(0x0042EE05C0003510, shift | TTB0 | 8) | {0x94003B38: 0x00080040234563C3}
    write("nested_update", base, update, marking, {0xA0002810: 2 << 30 | 0x000800000000037D}, access=WRITE)
    write("nested_update_refused", base, marking, {0xA0002810: 2 << 30 | 0x77D}, access=WRITE)
    write("nested_update_over", base, marking, {0xA0002800: 0x77D}, access=WRITE)
    write("nested_bypass_first", entry(STE_AT, 0x800000000000000F | shift | CD_AT, 0x100000000001, S2, 0xA0002000), over,
          address=shift | 0x1234)


def layouts():
    write("folded_loop", {at: 0x0000000088000F43 for at in range(0, 2048, 8)}, flags=FOLDED)
    write("dense", entry(0x100000, 0x10100B, 0x100000000000), entry(0x101000, CD0, 0x102000, 0, MAIR), {0x1027F0: 0x103003},
          {0x103240: 0x104003, 0x104D10: 0x105003, 0x105B38: 0x0060000123456F47}, base=0x100000, stream=0, cfg=0, flags=DENSE)
    write("version_0", ONE, aidr=0)
    write("clamped", stage1(), context(CD0 & ~0x3F | 5), WALK, aidr=0, flags=CLAMP)
    write("lpae", TWO, WALK2, address=IPA, idr0=IDR0 | 4, idr5=7 << 4)


(HERE / "seeds" / "walk_smmu").mkdir(parents=True, exist_ok=True)
plain()
first()
second()
nested()
layouts()
