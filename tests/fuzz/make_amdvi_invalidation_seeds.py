#!/usr/bin/env python3
"""Writes seeds/invalidation_amdvi/*: programs of invalidation_amdvi.cpp.

    tests/fuzz/make_amdvi_invalidation_seeds.py
"""
import pathlib
import random

SEEDS = pathlib.Path(__file__).parent / "seeds" / "invalidation_amdvi"
COMMAND, ENTRY, HOST, GUEST, GCR3, REQUEST = 0, 1, 2, 3, 4, 5


def step(what: int, numbers: random.Random) -> bytes:
    """One step: its kind in bits 2:0 of the first byte, and as many bytes as it reads, or a few more."""
    first = what | numbers.randrange(32) << 3
    if what == COMMAND:
        opcode = numbers.choice([2, 3, 3, 3, 6, 8])
        low = {2: numbers.randrange(4), 3: numbers.randrange(4) << 32 | numbers.randrange(4), 8: 0}.get(opcode, 1)
        high = 0 if opcode in (2, 8) else numbers.randrange(64) << 12 | numbers.choice([0, 1, 4, 5])
        return bytes([first]) + (opcode << 60 | low).to_bytes(8, "big") + high.to_bytes(8, "big")
    if what == GCR3:
        return bytes([first])
    count = {ENTRY: 1, HOST: 2, GUEST: 2, REQUEST: 3 if first & 128 else 2}[what]
    return bytes([first]) + bytes(numbers.randrange(256) & 0x3F for _ in range(count))


def program(steps: list[int], seed: int) -> bytes:
    numbers = random.Random(seed)
    return b"".join(step(what, numbers) for what in steps)


def main() -> None:
    SEEDS.mkdir(parents=True, exist_ok=True)
    for name, kinds in (("commands", [COMMAND]), ("entries", [ENTRY]), ("host", [HOST]), ("guest", [GUEST]), ("gcr3", [GCR3])):
        (SEEDS / name).write_bytes(program(([REQUEST] * 6 + kinds) * 12, len(name)))
    (SEEDS / "all").write_bytes(program([REQUEST, REQUEST, REQUEST, HOST, REQUEST, GUEST, ENTRY, REQUEST, COMMAND, GCR3] * 12, 9))


if __name__ == "__main__":
    main()
