#!/usr/bin/env python3
"""Writes seeds/invalidation_vtd/*: programs of invalidation_vtd.cpp for both modes.

    tests/fuzz/make_invalidation_vtd_seeds.py
"""
import pathlib
import random

SEEDS = pathlib.Path(__file__).parent / "seeds" / "invalidation_vtd"
REQUEST, FAR_REQUEST, EDIT, DESCRIPTOR, CLEAN_DESCRIPTOR, SHORT_DESCRIPTOR = 0, 3, 4, 5, 6, 7


def program(mode: int, steps: list[int], seed: int) -> bytes:
    """The steps in turn, each with eight bytes at random."""
    numbers = random.Random(seed)
    return bytes([mode]) + b"".join(bytes([step]) + numbers.randbytes(8) for step in steps)


def main() -> None:
    SEEDS.mkdir(parents=True, exist_ok=True)
    for mode, name in enumerate(("legacy", "scalable")):
        (SEEDS / f"{name}_requests").write_bytes(program(mode, [REQUEST] * 40, mode))
        (SEEDS / f"{name}_edits").write_bytes(program(mode, ([REQUEST] * 4 + [EDIT]) * 16, 2 + mode))
        steps = ([REQUEST] * 3 + [CLEAN_DESCRIPTOR, SHORT_DESCRIPTOR, DESCRIPTOR, FAR_REQUEST]) * 10
        (SEEDS / f"{name}_descriptors").write_bytes(program(mode, steps, 4 + mode))


if __name__ == "__main__":
    main()
