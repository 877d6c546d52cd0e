#!/usr/bin/env python3
"""Writes seeds/tlb_vs_none/*: programs of tlb_vs_none.cpp, one for each of its TLBs and a few that go through one thing.

    tests/fuzz/make_tlb_seeds.py
"""
import pathlib
import random

SEEDS = pathlib.Path(__file__).parent / "seeds" / "tlb_vs_none"
LOOK_UP, FILL, BEGIN, END, PAGE, RANGE, DOMAIN, OTHER = 0, 5, 9, 10, 11, 13, 14, 15


def program(cache: int, steps: list[int], seed: int) -> bytes:
    """The steps in turn, each with numbers at random."""
    numbers = random.Random(seed)
    return bytes([cache]) + b"".join(bytes([step]) + numbers.randbytes(10) for step in steps)


def main() -> None:
    SEEDS.mkdir(parents=True, exist_ok=True)
    for cache in range(6):
        (SEEDS / f"cache_{cache}").write_bytes(program(cache, [FILL, LOOK_UP, PAGE, FILL, DOMAIN, LOOK_UP] * 8, cache))
    (SEEDS / "overtaken").write_bytes(program(2, [BEGIN, PAGE, END, LOOK_UP, BEGIN, DOMAIN, END, LOOK_UP] * 6, 10))
    (SEEDS / "ranges").write_bytes(program(4, [FILL] * 12 + [RANGE, LOOK_UP] * 12, 11))
    (SEEDS / "masks").write_bytes(program(4, ([FILL] * 4 + [OTHER, LOOK_UP]) * 8, 12))
    (SEEDS / "evictions").write_bytes(program(1, [FILL, FILL, LOOK_UP] * 20, 13))


if __name__ == "__main__":
    main()
