#!/usr/bin/env python3
"""Writes seeds/commands_amdvi/*: the worked examples of AMD-Vi commands as inputs of commands_amdvi.cpp (its head has the layout).

    tests/fuzz/make_amdvi_command_seeds.py
"""
import pathlib
import struct

HERE = pathlib.Path(__file__).parent

# PreFSup, PPRSup, GTSup, IASup, InvIotlbTypeSup, vIommuSup; IotlbSup. A command buffer of 256 entries at 10000000h.
EFR = 1 << 55 | 1 << 54 | 1 << 6 | 1 << 4 | 1 << 1 | 1
IOTLBS = 1 << 24
BUFFER = 8 << 56 | 0x10000000


def write(name, *commands, efr=EFR, header=IOTLBS, head=0, tail=0x30, base=BUFFER, source=0xA5, domain=5, pasid=0x123,
          address=0x10000000, lg2=0):
    data = struct.pack("<QIIIQHHIQB", efr, header, head, tail, base, source, domain, pasid, address, lg2)
    for words in commands:
        data += struct.pack("<2Q", *words)
    (HERE / "seeds" / "commands_amdvi" / name).write_bytes(data)


def main():
    (HERE / "seeds" / "commands_amdvi").mkdir(parents=True, exist_ok=True)
    of_domain, of_pasid = 0x3000000500000000, 0x3000000500000123
    wait, entry, interrupts, everything = (0x1000000012345679, 0xFEED), (2 << 60 | 0xA5, 0), (5 << 60 | 0xA5, 0), (8 << 60, 0)
    page, pair, four = (of_domain, 0x723456000), (of_domain, 0x10000001), (of_domain, 0x10001001)
    large, straddling, all_pages = (of_domain, 0x100FF003), (of_domain, 0x3FFFF003), (of_domain, 0x7FFFFFFFFFFFF003)
    guest = (of_pasid, 0x7F12344FF005)
    device, device_all = (0x4ADE01A320BC01A3, 0x7F1234567004), (0x400001A3200001A3, 0x7FFFFFFFFFFFF001)
    prefetch, again = (0x60000000070000A5, 0x5000), (0x600ABCDE010000A5, 0x4015)
    response, guest_event, reset = (0x700ABCDE000000A5, 0x100300000004), (0x9075007700020418, 0x1234), (0xA000000080000077, 0)
    # Each command
    write("wait", wait, (0x1000000000000006, 0), (0x1000000000000004, 0))
    write("device_entry", entry, interrupts)
    write("pages", page, pair, four, large)
    write("page_large_entry", (of_domain, 0x10007000), lg2=9)
    write("pages_straddling", straddling, address=0x40000000)
    write("pages_all", all_pages, (of_domain, 0x7FFFFFFFFF001), (of_domain, 0xFFFFFFFFFF001))
    write("pages_top", (of_domain, 0xFFFFFFFFFFFFF000), address=0xFFFFFFFFFFFFE000)
    write("guest_pages", guest, (of_pasid, 0x7F12344FF007), (of_pasid, 0x7FFFFFFFFFFFF007), address=0x7F1234400000)
    write("device", device, device_all, source=0x1A3, pasid=0xABCDE, address=0x7F1234567000)
    write("device_type", *((device_all[0], device_all[1] | n << 4) for n in range(4)), source=0x1A3)
    write("prefetch", prefetch, again, (0x60000000070000A5, 0x5010), pasid=0xABCDE, address=0x4000)
    write("answers", response, guest_event, reset, (0xA000000008000077, 0))
    write("everything", everything)
    # What is refused
    every = wait, entry, page, large, guest, device, device_all, interrupts, prefetch, again, response, everything, guest_event, \
        reset
    write("every", *every)
    for name, bit in ("prefetch", 0), ("ppr", 1), ("guests", 4), ("all", 6), ("type", 54), ("viommu", 55):
        write(f"every_without_{name}", *every, (device_all[0], device_all[1] | 0x10), efr=EFR & ~(1 << bit))
    write("every_without_iotlbs", *every, header=0)
    write("every_reserved_low", *((d0 | 1 << 52, d1) for d0, d1 in every))
    write("every_reserved_high", *((d0, d1 | 1 << 11) for d0, d1 in every))
    write("other_opcodes", *((op << 60, 0) for op in (0, 0xB, 0xC, 0xD, 0xE, 0xF)))
    # Command buffers
    write("buffer_wrapped", head=0xFF0, tail=0x20)
    write("buffer_full", head=0x20, tail=0x10)
    write("buffer_tail_beyond", tail=0x1000)
    write("buffer_head_beyond", head=0x7FFF0, tail=0x10)
    write("buffer_reserved_length", base=0x10000000, tail=0x7FFF0)
    write("buffer_largest", base=BUFFER | 15 << 56, head=0x7FFF0, tail=0x7FFE0)


main()
