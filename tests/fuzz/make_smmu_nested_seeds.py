#!/usr/bin/env python3
"""Writes seeds/walk_smmu_nested/*: both stages of SMMUv3 as inputs of walk_smmu_nested.cpp (its head has the layout).

    tests/fuzz/make_smmu_nested_seeds.py
"""
import pathlib
import struct

SEEDS = pathlib.Path(__file__).parent / "seeds" / "walk_smmu_nested"
READ, WRITE, EXECUTE, PRIVILEGED, SUBSTREAM, ASKING, TRANSLATED = (1 << n for n in range(24, 31))
ON, CHECKED = 1, 0x11
START_LEVEL, CLAMP, LATE, FOLDED = 1, 2, 4, 8

# Everything updated, ATS, ATSRECERR, 16-bit ASIDs and VMIDs, CD2L.
IDR0 = 3 | 1 << 3 | 3 << 6 | 1 << 10 | 1 << 12 | 1 << 18 | 1 << 19 | 1 << 23 | 1 << 27
IDR1 = 16 | 20 << 6 | 1 << 26 | 1 << 27
IDR3 = 1 << 2 | 1 << 4 | 1 << 8 | 1 << 9 | 1 << 13 | 1 << 17
IDR5 = 5 | 7 << 4
VA = 0x00007F1234567ABC
CD_AT, TTB0, MAIR = 0x92000000, 0x94000000, 0x0004FF44
D1 = 0x100000000000
S2 = 0x044D355800000017  # S2T0SZ 24, SL0 1, 4 KiB, S2PTW, S2R
S2_HTTU, S2S = 3 << 55, 1 << 57
CD0 = 0x0042E205C0003510
CD_HTTU, CD_S, CD_BIG = 3 << 42, 1 << 44, 1 << 15
CLEAN1, CLEAN2 = 0x00080001234563C3, 0x000800000000037D
# Stage 2: the first four GiB and the fifth in blocks of 1 GiB, each of itself.
OVER = {0xA0002000 + 8 * i: i << 30 | 0x7FD for i in range(5)}
WALK = {0x940007F0: 0x94001003, 0x94001240: 0x94002003, 0x94002D10: 0x94003003, 0x94003B38: 0x0000000123456F47}


def write(name, *changes, address=VA, request=READ, substream=0, idr0=IDR0, idr1=IDR1, idr3=IDR3, idr5=IDR5, aidr=2, cr0=ON,
          cr2=2, flags=0, kind=0, missing=0, eats=0, d0=CD_AT, d1=D1, d2=S2, cd=(CD0, TTB0, 0, MAIR)):
    words = OVER | WALK
    for change in changes:
        words |= change
    data = struct.pack("<5IQ5BH", idr0, idr1, idr3, idr5, request | substream, address, aidr, cr0, cr2, flags, kind, missing)
    data += struct.pack("<8Q", d0, d1 | eats << 28, d2, 0xA0002000, *cd)
    data += b"".join(struct.pack("<QQ", at, word) for at, word in words.items())
    (SEEDS / name).write_bytes(data)


SEEDS.mkdir(parents=True, exist_ok=True)
for name, request in {"read": READ, "write": WRITE, "atomic": READ | WRITE, "execute": READ | EXECUTE,
                      "kernel": READ | PRIVILEGED}.items():
    write(name, request=request)
marking = dict(d2=S2 | S2_HTTU, cd=(CD0 | CD_HTTU, TTB0 | 8, 0, MAIR))
clean = {0x94003B38: CLEAN1, 0xA0002010: 2 << 30 | CLEAN2, 0xA0002020: 4 << 30 | CLEAN2}
write("update", clean, request=WRITE, **marking)
write("update_refused", clean, {0xA0002010: 2 << 30 | 0x77D}, request=WRITE, **marking)
write("update_of_output_refused", clean, {0xA0002020: 4 << 30 | 0x77D}, request=WRITE, **marking)
write("device", {0xA0002010: 2 << 30 | 0x7C1})
write("forced", d1=D1 | 1 << 25)
write("unmapped_output", {0xA0002020: 0})
write("unmapped_tables", {0xA0002010: 0}, d2=S2 | S2S)
write("big_endian", {at: int.from_bytes(word.to_bytes(8, "little"), "big") for at, word in WALK.items()},
      cd=(CD0 | CD_BIG, TTB0, 0, MAIR))
write("substreams", d0=CD_AT | 2 << 59, request=READ | SUBSTREAM)
write("bypass_first", d0=CD_AT | 2 << 59, d1=D1 | 1, address=0x123456ABC)
write("folded", flags=FOLDED)
for eats in range(4):
    for cr0 in (ON, CHECKED):
        write(f"asking_{eats}_{cr0:x}", request=ASKING | READ | WRITE, eats=eats, cr0=cr0)
        write(f"translated_{eats}_{cr0:x}", request=TRANSLATED | WRITE, eats=eats, cr0=cr0, address=0x123456ABC)
for eats, mode in ((1, "full"), (2, "split")):
    ask = dict(eats=eats, cr0=CHECKED, cr2=0xA)
    for name, request in {"no_write": READ, "writing": READ | WRITE, "executing": READ | EXECUTE}.items():
        write(f"{mode}_{name}", clean, request=ASKING | request, **ask, **marking)
    read_only = {0xA0002020: 4 << 30 | 0x77D}
    write(f"{mode}_read_only", clean, read_only, request=ASKING | READ | WRITE, **ask, **marking)
    write(f"{mode}_unmapped", {0xA0002020: 0}, request=ASKING | READ, **ask)
    write(f"{mode}_bad_context", request=ASKING | READ, cd=(0, 0, 0, 0), **ask)
    write(f"{mode}_bypass_first", d0=CD_AT | 2 << 59, d1=D1 | 1, address=0x123456ABC, request=ASKING | READ | WRITE, **ask)
    write(f"{mode}_broken_table", {0x94001240: 0x1000000094002003}, request=ASKING | READ, missing=2, **ask)
