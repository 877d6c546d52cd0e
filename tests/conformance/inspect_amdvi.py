#!/usr/bin/env python3
"""stagewalk-inspect on an AMD IOMMU made here. Usage: inspect_amdvi.py TOOL CAPTURE"""
import json
import re
import time

import inspect_capture
from inspect_capture import Image

# NX, guest translation, 6 host levels, 5 guest levels, GCR3 tables of 3 levels, PASIDs of 20 bits, 8 device table segments, GIoV,
# host accessed and dirty bits. Control: on, guest translation on, two segments.
EFR = 1 << 3 | 1 << 4 | 2 << 10 | 1 << 12 | 2 << 14 | 19 << 32 | 3 << 38 | 1 << 48 | 1 << 49 | 1 << 52
CONTROL = 1 | 1 << 16 | 1 << 34
REGISTERS = {"DEVTAB_BASE": "0x1000", "DEVTAB_BASE1": "0x2000", "CONTROL": hex(CONTROL), "EXT_FEATURES": hex(EFR), "EXT_FEATURES2": "0x0"}


def device(mode=0, root=0, rights=3, tv=1, domain=0, gcr3=None, glx=0, giov=0, gpm=0, had=0, iotlb=0, silent=0, excluded=0, interrupts=0):
    """The words of a device table entry."""
    at = gcr3 or 0
    return [1 | tv << 1 | had << 7 | mode << 9 | root | giov << 54 | (gcr3 is not None) << 55 | glx << 56 | (at >> 12 & 7) << 58 | rights << 61,
            domain | (at >> 15 & 0xffff) << 16 | iotlb << 32 | silent << 34 | excluded << 39 | at >> 31 << 43, gpm << 54 | interrupts, 0]


def pde(table, level, rights=3):
    return 1 | level << 9 | table | rights << 61


def pte(page, rights=3, lg2=None):
    size = 0 if lg2 is None else (1 << lg2 - 1) - 1 & ~0xfff | 7 << 9
    return 1 | page | size | rights << 61


RW, RO, SUPERVISOR, USED = 7, 5, 3, 0x60  # P, R/W and U/S of guest entries; A and D


def image():
    m = Image()
    for n, words in enumerate((
            device(3, 0x10000, domain=5),                                # 0: host tables
            device(domain=6),                                            # 1: identity
            device(rights=1, domain=7),                                  # 2: identity, read only
            device(tv=0, domain=8),                                      # 3: blocked
            device(rights=0, domain=9),                                  # 4: blocked
            [0, 0xffff, 0, 0],                                           # 5: not valid
            device(7, 0x10000),                                          # 6: illegal
            device(gcr3=0x4000, giov=1, domain=0xb),                     # 7: guest tables
            device(gcr3=0x6000, glx=1, domain=0xc),                      # 8: guest tables for PASIDs only
            device(3, 0x18000, gcr3=0x9000, domain=0xd),                 # 9: nested
            device(6, 0x30000, domain=0xe),                              # a: six levels
            device(3, 0x10000, had=3, iotlb=1, silent=1, domain=0xf, interrupts=0x2700000003000093),  # b
            device(3, 0x10000, rights=1, domain=0x10),                   # c: host tables, read only
            device(gcr3=0x8000, giov=1, gpm=1, domain=0x11),             # d: five levels
            device(3, 0x777000, domain=0x12))):                          # e: not captured
        m.put(0x1000 + 32 * n, *words)
    m.put(0x2000, *device(1, 0x14000, domain=0x13))                      # 8000: one level, in the other segment
    # Host tables of three levels.
    m.put(0x10000, pde(0x11000, 2), pte(0x4000_0000), pte(0x8000_0000, lg2=31), pte(0x8000_0000, lg2=31), pde(0x666000, 2),
          pde(0x13000, 1), pde(0x11000, 3), pte(0x8000_0000, lg2=29))
    m.put(0x11000, pde(0x12000, 1), pte(0x60_0000, 1), pde(0x12000, 1, 1), pde(0x12000, 1) | 1 << 60, pte(0xc0_0000, lg2=22),
          pte(0xc0_0000, lg2=22))
    m.put(0x12000, 0, pte(0x5000), pte(0x6000, 1), pte(0x7000, 2), pte(0x8000) & ~1, pte(0x9000) | 1 << 57, pde(0xa000, 1), 0,
          pte(0x10_4000, lg2=14), pte(0x10_4000, lg2=14), 0, pte(0x10_4000, lg2=14))
    m.put(0x13008, pte(0x9000))
    m.put(0x14008, pte(0x5000))
    # GCR3 tables.
    m.put(0x4000, 0x20001, 0, 0, 0x20001, 0x20003)
    m.put(0x6000, 0x7001, 0x777001)
    m.put(0x7028, 0x20001)
    m.put(0x8000, 0x28001)
    m.put(0x9000, 0x20001, 0x51001)
    # Guest tables of four and five levels.
    m.put(0x28000, 0x20000 | RW | USED)
    m.put(0x20000, 0x21000 | RW | USED, 0x50000 | RW | USED)
    m.put(0x20ff8, 0x21000 | RW | USED)
    m.put(0x21000, 0x22000 | RW | USED, 0x4000_0080 | RW | USED)
    m.put(0x22000, 0x23000 | RW | USED, 0x60_0080 | RO | USED, 0x60_2080 | RW | USED,
          0x24000 | RW | USED)
    m.put(0x23008, 0x5000 | RW | USED, 0x6000 | RO | USED, 0x7000 | SUPERVISOR | USED, 0x8000 | RW)
    m.put(0x24000, 0x5000 | RW)
    # The host tables below them.
    m.put(0x18000, pde(0x19000, 2))
    m.put(0x19000, pde(0x1a000, 1), 0, 0, pte(0xe0_0000, 1))
    m.put(0x1a000 + 8 * 5, pte(0x35000), pte(0x36000, 1), 0, pte(0x38000))
    m.put(0x1a000 + 8 * 9, pte(0x9000))
    m.put(0x1a000 + 8 * 0x20, *(pte(0x1000 * page) for page in range(0x20, 0x24)), pte(0x24000, 1))
    # Six levels: one entry skips to level 1, the last leads to a page of 2^40 in two slots.
    m.put(0x30000, pde(0x31000, 1))
    m.put(0x30000 + 8 * 127, pde(0x32000, 5))
    m.put(0x31008, pte(0x5000))
    m.put(0x32ff8, pde(0x33000, 4))
    m.put(0x33ff0, pte(1 << 40, lg2=40), pte(1 << 40, lg2=40))
    return m


GN, US, PR, WR, PE, RZ = (1 << bit for bit in (48, 50, 52, 53, 54, 55))
of = lambda domain: domain << 32
guest = lambda pasid: GN | US | pasid << 32


def fault(code, stage, level, name, at, flags=0, addr=None, ipa=None, reported=1):
    return (f"fault\t{code}\t{stage}\t{level}\tname={name} at={at}" + (f" addr={addr}" if addr else "") +
            (f" ipa={ipa}" if ipa else "") + (f" flags={flags:x}" if flags else "") + f" reported={reported}")


def page_fault(stage, level, flags, addr=None, ipa=None, at="input", reported=1):
    return fault("2", stage, level, "IO_PAGE_FAULT", at, flags, addr, ipa, reported)


illegal = lambda why, addr=None: fault("1", 0, "-", "ILLEGAL_DEV_TABLE_ENTRY", "context", why, addr)
no_pasids = lambda pasid, addr: fault("8", 0, "-", "INVALID_DEVICE_REQUEST", "context", GN | pasid << 32 | 7 << 57, addr)
GOLDEN = [
    # Host tables.
    ("0 - 1234 r", "ok\t5234\trw\t12"), ("0 - 1234 rw", "ok\t5234\trw\t12"), ("0 - 0 r", page_fault(2, 1, of(5), "12000")),
    ("0 - 0 w", page_fault(2, 1, of(5) | WR, "12000")), ("0 - 2fff r", "ok\t6fff\tr\t12"),
    ("0 - 2fff w", page_fault(2, 1, of(5) | PR | PE | WR, "12010")), ("0 - 3000 r", page_fault(2, 1, of(5) | PR | PE, "12018")),
    ("0 - 3000 w", "ok\t7000\tw\t12"), ("0 - 4000 r", page_fault(2, 1, of(5), "12020")),
    ("0 - 5000 r", page_fault(2, 1, of(5) | PR | RZ, "12028", at="table")),
    ("0 - 6000 r", page_fault(2, 1, of(5) | PR, "12030", at="table")),           # no table below level 1
    ("0 - 8123 r", "ok\t104123\trw\t14"), ("0 - a000 r", page_fault(2, 1, of(5), "12050")), ("0 - bfff w", "ok\t107fff\trw\t14"),
    ("0 - 234567 r", "ok\t634567\tr\t21"), ("0 - 234567 w", page_fault(2, 2, of(5) | PR | PE | WR, "11008")),
    ("0 - 401000 r", "ok\t5000\tr\t12"), ("0 - 401000 w", page_fault(2, 2, of(5) | PR | PE | WR, "11010")),
    ("0 - 601000 r", page_fault(2, 2, of(5) | PR | RZ, "11018", at="table")),    # FC belongs to leaves
    ("0 - a12345 w", "ok\te12345\trw\t22"), ("0 - 40000010 r", "ok\t40000010\trw\t30"),
    ("0 - bfffffff w", "ok\tbfffffff\trw\t31"), ("0 - c0000000 w", "ok\tc0000000\trw\t31"), ("0 - 100000000 r", "missing\t666000"),
    ("0 - 140001000 r", "ok\t9000\trw\t12"), ("0 - 140201000 r", page_fault(2, 3, of(5) | PR, "10028", at="table")),
    ("0 - 180000000 r", page_fault(2, 3, of(5) | PR, "10030", at="table")),      # the level of the table itself
    ("0 - 1c0000000 r", page_fault(2, 3, of(5) | PR, "10038", at="table")),      # a size of another level
    ("0 - 8000000000 r", page_fault(2, "-", of(5))), ("0 1 1000 r", no_pasids(1, "1000")),
    ("8000 - 1234 w", "ok\t5234\trw\t12"), ("8000 - 200000 r", page_fault(2, "-", of(0x13))),
    ("b - 1234 w", "ok\t5234\trw\t12"), ("b - 0 r", page_fault(2, 1, of(0xf), "12000", reported=0)),
    ("c - 1234 r", "ok\t5234\tr\t12"), ("c - 1234 w", page_fault(2, 3, of(0x10) | PR | PE | WR, "10000")), ("e - 0 r", "missing\t777000"),
    ("a - 1234 w", "ok\t5234\trw\t12"), ("a - 0 r", page_fault(2, 1, of(0xe), "31000")),
    ("a - 200000 r", page_fault(2, 6, of(0xe) | PR, "30000", at="table")),
    ("a - 1ffffffffffffff r", page_fault(2, 6, of(0xe) | PR, "30000", at="table")),
    ("a - 200000000000000 r", page_fault(2, 6, of(0xe), "30008")), ("a - fffffeffffffffff r", page_fault(2, 4, of(0xe), "33fe8")),
    ("a - ffffff0000000000 w", "ok\t10000000000\trw\t40"), ("a - ffffffffffffffff r", "ok\t1ffffffffff\trw\t40"),
    # No tables.
    ("1 - 123456789abcdef0 rw", "ok\t123456789abcdef0\trw\t-"), ("1 0 5 r", no_pasids(0, "1020")), ("2 - 5 r", "ok\t5\tr\t-"),
    ("2 - 5 w", page_fault(0, "-", of(7) | PR | PE | WR, "1040", at="context")),
    ("3 - 5 r", page_fault(0, "-", of(8), "1060", at="context")), ("4 - 5 r", page_fault(0, "-", of(9) | PR | PE, "1080", at="context")),
    ("5 - 5 w", "ok\t5\trw\t-"), ("5 7 5 w", "ok\t5\trw\t-"), ("6 - 5 r", illegal(13, "10c0")), ("7f - 5 r", "ok\t5\trw\t-"),
    ("80 - 5 r", illegal(1)), ("8080 - 5 r", illegal(1)), ("ffff - 5 w", illegal(1 | WR)), ("10000 - 5 r", "error\tsource_id is too large"),
    # Guest tables.
    ("7 - 1234 w", "ok\t5234\trw\t12"), ("7 0 1234 w", "ok\t5234\trw\t12"), ("7 - 2000 r", "ok\t6000\tr\t12"),
    ("7 - 2000 w", page_fault(1, 1, guest(0) | PR | PE | WR, "23010")), ("7 - 3000 r", page_fault(1, 1, guest(0) | PR | PE, "23018")),
    ("7 - 0 r", page_fault(1, 1, guest(0), "23000")), ("7 - 234567 r", "ok\t634567\tr\t21"), ("7 - 40000010 r", "ok\t40000010\trw\t30"),
    ("7 - 400000 r", page_fault(1, 2, guest(0) | PR | RZ, "22010", at="table")),
    ("7 - 8000000000 r", "missing\t50000"), ("7 - 800000000000 r", page_fault(1, 4, guest(0), "20800")),
    ("7 - ffffff8000001234 r", page_fault(1, "-", guest(0))), ("7 3 ffffff8000001234 r", "ok\t5234\trw\t12"),
    ("7 3 800000000000 r", page_fault(1, "-", guest(3))), ("7 1 0 r", page_fault(0, "-", guest(1), "4008", at="context")),
    ("7 4 0 r", page_fault(0, "-", guest(4) | PR | RZ, "4020", at="context")), ("7 200 0 r", page_fault(0, "-", guest(0x200), at="context")),
    ("8 - 1234 r", "ok\t1234\trw\t-"), ("8 5 1234 r", "ok\t5234\trw\t12"), ("8 200 0 r", "missing\t777000"),
    ("8 400 0 r", page_fault(0, "-", guest(0x400), "6010", at="context")), ("d - 1234 r", "ok\t5234\trw\t12"),
    ("d - 200000000000000 r", page_fault(1, "-", guest(0))),
    # Nested.
    ("9 - 5010 w", "ok\t35010\trw\t12"), ("9 - 7010 r", page_fault(2, 1, of(0xd), "1a038")), ("9 0 1234 w", "ok\t35234\trw\t12"),
    ("9 0 2000 r", "ok\t36000\tr\t12"), ("9 0 2000 w", page_fault(1, 1, guest(0) | PR | PE | WR, "23010")),
    ("9 0 4000 r", "ok\t38000\trw\t12"), ("9 0 200040 r", "ok\te00040\tr\t21"),
    ("9 0 40000000 r", page_fault(2, 3, guest(0), "18008", "40000000")),
    ("9 0 8000000000 r", page_fault(2, 1, guest(0), "1a280", "50000")), ("9 1 0 r", page_fault(2, 1, guest(1), "1a288", "51000")),
    ("7 - 600000 r", "ok\t5000\trw\t12"),                                       # an accessed bit that host tables do not let be set
    ("9 0 600000 r", page_fault(2, 1, guest(0) | PR | PE | WR, "1a120", "24000")),
    ("9 2 0 r", page_fault(0, "-", guest(2), "9010", at="context")),
]


class Amdvi(inspect_capture.Case):
    def setUp(self):
        super().setUp()
        self.made = self.write("made")

    def write(self, name, m=None, registers=REGISTERS, **meta):
        return (m or image()).write(self.folder / name, registers, **{"format": "amd", **meta})

    def json(self, command, *options, capture=None):
        status, out, err = self.run_tool(command, "--capture", capture or self.made, "--json", *options)
        self.assertEqual((status, err), (0, ""))
        return json.loads(out)

    def test_translate(self):
        answers = self.translate(self.made, [line for line, _ in GOLDEN])
        for (line, expected), answer in zip(GOLDEN, answers):
            self.assertEqual(answer, expected, line)

    def test_off(self):
        capture = self.write("off", None, {**REGISTERS, "CONTROL": "0x0"})
        self.assertEqual(self.translate(capture, ["0 - 1234 w", "6 3 ffffffffffffffff r"]), ["ok\t1234\trw\t-", "ok\tffffffffffffffff\trw\t-"])
        for command in ("devices", "ranges", "stats", "tree"):
            self.json(command, capture=capture)

    def test_guest_translation_off(self):
        capture = self.write("off", None, {**REGISTERS, "CONTROL": hex(CONTROL & ~(1 << 16))})
        self.assertEqual(self.translate(capture, ["7 - 1234 r", "0 - 1234 r"]), [illegal(4 | RZ, "10e0"), "ok\t5234\trw\t12"])

    def test_root_of_gcr3_is_the_guests(self):
        # GCR3TRPMode. The host tables map the GCR3 table where it lies, but not that of one more device.
        m = image()
        m.put(0x1000 + 32 * 15, *device(3, 0x18000, gcr3=0x4000, domain=0x14))
        capture = self.write("trp", m, {**REGISTERS, "EXT_FEATURES2": "0x8", "CONTROL": hex(CONTROL | 1 << 58)})
        self.assertEqual(self.translate(capture, ["9 0 1234 w", "f 0 1234 r", "7 - 1234 w"]),
                         ["ok\t35234\trw\t12", page_fault(2, 1, guest(0), "1a020", "4000"), "ok\t5234\trw\t12"])
        traced = self.json("walk", "1234", "--source", "9", "--pasid", "0", capture=capture)["entries"]
        self.assertEqual([e["what"].split(",")[0] for e in traced],
                         ["device table entry"] + ["host table of the GCR3 entry"] * 3 + ["GCR3 table entry"] +
                         (["host table of the next entry"] * 3 + ["guest table"]) * 4 + ["host table of the page"] * 3)
        tree = self.json("tree", "--source", "9", capture=capture)["entries"]
        self.assertEqual([(e["what"].split(",")[0], e.get("read_address")) for e in tree[:3]],
                         [("device table entry", None), ("GCR3 table entry", "0x9000"), ("guest table", "0x20000")])
        # An update that is allowed is worth no look, one that is refused is.
        self.assertEqual(len(self.json("walk", "4000", "--source", "9", "--pasid", "0", capture=capture)["entries"]), len(traced))
        refused = self.json("walk", "600000", "--source", "9", "--pasid", "0", capture=capture)["entries"][-1]
        self.assertEqual((refused["what"], refused["address"]), ("host table of the update, level 1, PTE", "0x1a120"))

    def test_exclusion_range(self):
        lines = ["0 - fff r", "0 - 1000 w", "0 - 2fff w", "0 - 3000 r", "3 - 1000 r", "5 - 1000 r", "7 0 2000 w", "b - 1000 r"]
        for allow, of_b in ((1, "ok\t1000\trw\t-"), (0, "ok\t5000\trw\t12")):
            capture = self.write(f"excluded{allow}", None, {**REGISTERS, "EXCLUSION_BASE": hex(0x1001 | allow << 1), "EXCLUSION_LIMIT": "0x2000"})
            answers = self.translate(capture, lines)
            golden = dict(GOLDEN)
            self.assertEqual(answers[1:3], ["ok\t1000\trw\t-", "ok\t2fff\trw\t-"] if allow else ["ok\t5000\trw\t12", golden["0 - 2fff w"]])
            self.assertEqual(answers[3:], [golden["0 - 3000 r"], page_fault(0, "-", of(8), "1060", at="context"), "ok\t1000\trw\t-",
                                           golden["7 - 2000 w"], of_b])
            file = self.folder / "truth.tsv"
            file.write_text("".join("\t".join(line.split()) + "\ttest\n" for line in (
                ["0 - 1000 1000 rw 2000", "0 - 0 - - 1000", "0 - 3000 7000 w 1000", "1 - 0 0 rw 4000"] if allow else ["0 - 1000 5000 rw 1000"])))
            self.assertEqual(self.run_tool("check", "--capture", capture, "--truth", file)[0], 0)
            self.assertIn("1000-2fff", self.json("devices", capture=capture)["unit"]["excluded"])

    def test_lacking_pages(self):
        for page, line in ((0x1000, "0 - 1234 r"), (0x10000, "0 - 1234 r"), (0x12000, "0 - 1234 r"), (0x13000, "0 - 140001000 r"),
                           (0x4000, "7 - 0 r"), (0x23000, "7 - 1234 r"), (0x9000, "9 0 0 r"), (0x20000, "9 0 1234 r"), (0x1a000, "9 0 1234 r")):
            m = image()
            del m.pages[page]
            self.assertEqual(self.translate(self.write("less", m), [line]), [f"missing\t{page:x}"])

    def test_check(self):
        file = self.folder / "truth.tsv"
        for line, verdict in (("0 - 1000 5000 rw 1000", "A"), ("0 - 1000 5000 rw 1001", "D"), ("0 - 2000 6000 r 1000", "A"),
                              ("0 - 2000 - !w 1000", "A"), ("0 - 3000 7000 w 1000", "A"), ("0 - 4000 - - 4000", "A"), ("0 - 4000 - - 4001", "D"),
                              ("0 - 8000 104000 rw 2000", "A"), ("0 - 8000 104000 rw 4000", "D"), ("0 - a000 - - 1000", "A"),
                              ("0 - 200000 600000 r 200000", "A"), ("0 - 401000 5000 r 1000", "A"), ("0 - 600000 - - 200000", "A"),
                              ("0 - 800000 c00000 rw 400000", "A"), ("0 - c00000 - - 3f400000", "A"), ("0 - 40000000 40000000 rw 40000000", "A"),
                              ("0 - 80000000 80000000 rw 80000000", "A"), ("0 - 80000000 80000000 rw 80000001", "U"),
                              ("0 - 100000000 - - 1", "U"), ("0 - 140002000 - - 3fffe000", "A"), ("0 - 140001000 9000 rw 1000", "A"),
                              ("0 - 140000000 - - 1001", "D"), ("0 - 140200000 - - fffffffebfe00000", "A"),
                              ("1 - 0 0 rw 10000000000000000", "A"), ("2 - 0 0 r 10000000000000000", "A"), ("3 - 0 - - 10000000000000000", "A"),
                              ("4 - 0 - - 10000000000000000", "A"), ("5 - 0 0 rw 10000000000000000", "A"), ("6 - 0 - - 10000000000000000", "A"),
                              ("80 - 0 - - 10000000000000000", "A"), ("a - 2000 - - fffffeffffffe000", "A"), ("a - 2000 - - fffffeffffffe001", "D"),
                              ("a - ffffff0000000000 10000000000 rw 10000000000", "A"), ("8000 - 2000 - - ffffffffffffe000", "A"),
                              ("7 - 1000 5000 rw 1000", "A"), ("7 - 3000 - - 1000", "A"), ("7 - 200000 600000 r 200000", "A"),
                              ("7 - 40000000 40000000 rw 40000000", "A"), ("7 - 80000000 - - 7f80000000", "A"), ("7 - 8000000000 - - 1", "U"),
                              ("7 - 10000000000 - - ff0000000000", "D"), ("7 - 10000000000 - - fe8000000000", "A"),
                              ("7 - 1000000000000 - - ffff000000000000", "A"), ("7 3 10000000000 - - fffffe8000001001", "D"),
                              ("7 3 10000000000 - - fffffe8000000000", "A"), ("7 3 ffffff8000001000 5000 rw 1000", "A"),
                              ("7 1 0 - - 10000000000000000", "A"), ("8 - 0 0 rw 10000000000000000", "A"), ("8 5 1000 5000 rw 1000", "A"),
                              ("8 200 0 - - 1", "U"), ("9 - 5000 35000 rw 1000", "A"), ("9 0 1000 35000 rw 1000", "A"),
                              ("9 0 200000 e00000 r 200000", "A"), ("9 0 40000000 - - 40000000", "A"), ("9 0 8000000000 - - 8000000000", "A"),
                              ("9 0 40000000 - - 7fc0000000", "A"), ("9 1 0 - - 10000000000000000", "A"), ("9 0 600000 - - 1000", "A"), ("e - 0 - - 8000000000", "U"),
                              ("e - 8000000000 - - ffffff8000000000", "A"), ("0 - fee00000 fee00000 rw 100000", "A")):
            file.write_text("\t".join(line.split()) + "\ttest\n")
            status, out, err = self.run_tool("check", "--capture", self.made, "--truth", file)
            found = re.match(r"1 checked, (\d) agree, (\d) disagree, (\d) undecidable\n", out.decode())
            self.assertTrue(found, (line, out, err))
            self.assertEqual(found.groups(), tuple(str(int(verdict == v)) for v in "ADU"), (line, out))
            self.assertEqual(status, 0 if verdict == "A" else 1, line)

    def test_devices(self):
        answer = self.json("devices")
        devices = {(int(d["source_id"], 16), d["pasid"] and int(d["pasid"], 16)): d for d in answer["devices"]}
        self.assertEqual(sorted((s, -1 if p is None else p) for s, p in devices),
                         [(0, -1), (1, -1), (2, -1), (3, -1), (4, -1), (6, -1), (7, -1), (7, 3), (7, 4), (8, -1), (8, 5), (8, 0x200), (9, -1),
                          (9, 0), (9, 1), (10, -1), (11, -1), (12, -1), (13, -1), (14, -1), (0x8000, -1)])
        modes = {key: d.get("mode") for key, d in devices.items()}
        for key, mode in (((0, None), "host, Mode 3"), ((1, None), "identity"), ((2, None), "identity, read only"), ((3, None), "blocked (TV=0)"),
                          ((4, None), "blocked (IR=IW=0)"), ((6, None), None), ((7, None), "guest, 4 levels"), ((7, 3), "guest, 4 levels"),
                          ((7, 4), None), ((8, None), "identity"), ((8, 5), "guest, 4 levels"), ((9, None), "host, Mode 3"),
                          ((9, 0), "nested, 4 levels over Mode 3"), ((9, 1), "nested, 4 levels over Mode 3"), ((10, None), "host, Mode 6"),
                          ((13, None), "guest, 5 levels"), ((0x8000, None), "host, Mode 1")):
            self.assertEqual(modes[key], mode, key)
        self.assertEqual((devices[9, 0]["root"], devices[9, 0]["second_root"], devices[9, 0]["domain"]), ("0x20000", "0x18000", "DomainID d"))
        self.assertEqual(devices[11, None]["details"],
                         {"rights": "rw", "host tables": "Mode 3, at 10000, accessed and dirty bits kept", "IOTLB": "yes, ATS is allowed",
                          "page faults": "not logged",
                          "interrupts": "remapped by a table of 512 at 3000080, INIT passes, ExtINT passes, NMI passes"})
        self.assertEqual(devices[8, None]["details"]["guest tables"],
                         "4 levels, GCR3 table of 2 levels at 6000; requests without PASID pass unchanged")
        self.assertEqual(devices[6, None]["why_not"]["meaning"], "the device table entry's Mode has the reserved value 7, or more host levels than the unit")
        self.assertEqual(devices[8, 0x200]["why_not"], {"result": "missing", "page": "0x777000"})
        self.assertEqual(answer["unit"]["segment 1"], "128, table at 2000")
        absent = self.json("devices", "--source", "5")["devices"]
        self.assertEqual([(d["mode"], d["bypasses"]) for d in absent], [("bypass (V=0)", True)])

    def test_ranges(self):
        devices = {(d["source_id"], d.get("pasid")): d for d in self.json("ranges")["devices"]}
        self.assertNotIn(("0x3", None), devices)  # blocked, and nobody knows it
        ranges = lambda *key: [(r["first"][2:], r["last"][2:], r["output"][2:], r["rights"], r["pages"]) for r in devices[key]["ranges"]]
        self.assertEqual(ranges("0x0", None),
                         [("1000", "1fff", "5000", "rw", 1), ("2000", "2fff", "6000", "r", 1), ("3000", "3fff", "7000", "w", 1),
                          ("8000", "9fff", "104000", "rw", 1), ("b000", "bfff", "107000", "rw", 1), ("200000", "3fffff", "600000", "r", 1),
                          ("401000", "402fff", "5000", "r", 2), ("403000", "403fff", "7000", "-", 1),
                          ("408000", "409fff", "104000", "r", 1), ("40b000", "40bfff", "107000", "r", 1), ("800000", "bfffff", "c00000", "rw", 1),
                          ("40000000", "ffffffff", "40000000", "rw", 2), ("140001000", "140001fff", "9000", "rw", 1)])
        self.assertEqual((devices["0x0", None]["invalid_entries"], devices["0x0", None]["entries_not_captured"]), (7, 512))
        self.assertEqual(ranges("0x1", None), [("0", "ffffffffffffffff", "0", "rw", 1)])
        self.assertEqual(ranges("0x2", None), [("0", "ffffffffffffffff", "0", "r", 1)])
        self.assertEqual(ranges("0xa", None), [("1000", "1fff", "5000", "rw", 1), ("ffffff0000000000", "ffffffffffffffff", "10000000000", "rw", 1)])
        self.assertEqual({r[3] for r in ranges("0xc", None)}, {"r", "-"})
        self.assertEqual(ranges("0x7", "0x3")[-1], ("ffffff8040000000", "ffffff807fffffff", "40000000", "rw", 1))
        self.assertEqual(ranges("0x9", "0x0")[:4],
                         [("1000", "1fff", "35000", "rw", 1), ("2000", "2fff", "36000", "r", 1), ("4000", "4fff", "38000", "rw", 1),
                          ("200000", "3fffff", "e00000", "r", 1)])

    def test_stats(self):
        domains = {tuple(d["sources"]): d for d in self.json("stats")["domains"]}
        # A page in several slots counts once, one that lacks a slot once for each of its parts.
        self.assertEqual(domains["0x0",]["leaves"], {"12": 7, "14": 4, "21": 1, "22": 1, "30": 1, "31": 1})
        self.assertEqual(domains["0xa",]["leaves"], {"12": 1, "40": 1})

    def test_tree(self):
        answer = self.json("tree")
        self.assertTrue(answer["complete"])
        seen = {e.get("read_address", e["address"]) for e in answer["entries"] if "words" in e and e["words"]}
        for address in (0x1000, 0x1060, 0x10c0, 0x2000, 0x10028, 0x11018, 0x12058, 0x13008, 0x14008, 0x4020, 0x7028, 0x8000, 0x9008, 0x20ff8,
                        0x22010, 0x23020, 0x28000, 0x19018, 0x303f8, 0x31008, 0x33ff8):
            self.assertIn(hex(address), seen)
        self.assertNotIn("0x10a0", seen)
        nested = self.json("tree", "--source", "9")["entries"]
        self.assertEqual([e["address"] for e in nested[:3]], ["0x1120", "0x9000", "0x20000"])
        self.assertEqual({e["intermediate"] for e in nested if e["what"].startswith("host")}, {True})
        lacking = [(e["address"], e["verdict"]) for e in nested if not e.get("words", True)]
        self.assertEqual(lacking[0], ("0x50000", "from input 8000000000 on: cannot be read: host tables refuse it"))
        skips = self.json("tree", "--source", "0", "--range", "140000000", "17fffffff")["entries"]
        self.assertEqual([(e["address"], e.get("first_input"), e["verdict"]) for e in skips[1:]],
                         [("0x10028", "0x140000000", "leads to the table at 13000, of level 1"), ("0x13008", "0x140001000", "maps 4K at 9000")])
        self.assertEqual(len(self.json("tree", "--source", "0", "--range", "140200000", "17fffffff")["entries"]), 2)
        self.assertEqual({e["pasid"] for e in self.json("tree", "--source", "7", "--pasid", "3")["entries"] if "level" in e}, {"0x3"})
        self.assertEqual([e["what"].split(",")[0] for e in self.json("tree", "--source", "7", "--pasid", "203")["entries"]], ["device table entry"])

    def test_80_columns(self):
        for command in (["devices"], ["devices", "--source", "9"], ["ranges"], ["stats"], ["tree"], ["walk", "1234", "--source", "9", "--pasid", "0"],
                        ["walk", "0", "--source", "7"]):
            status, out, err = self.run_tool(*command, "--capture", self.made)
            self.assertEqual(status, 0, err)
            self.assertEqual([line for line in out.decode().split("\n") if len(line) > 80], [], command)

    # --- registers ---------------------------------------------------------------------------------------------------
    def refuses(self, saying, **change):
        registers = {key: value for key, value in {**REGISTERS, **change}.items() if value is not None}
        capture = self.write("bad", None, registers)
        for command in (["devices"], ["check"], ["tree"], ["translate", "--batch", "-"]):
            self.refused(*command, "--capture", capture, saying=["bad", saying])

    def test_registers(self):
        for key in REGISTERS:
            if key != "EXT_FEATURES2": self.refuses(f"meta.json: registers.{key} is missing", **{key: None})
            self.refuses(f"registers.{key} is not a hexadecimal number", **{key: "x"})
        for key, value, what in (("EXT_FEATURES", EFR | 3 << 14, "GLXSup"), ("EXT_FEATURES", EFR | 31 << 32, "PASmax"),
                                 ("EXT_FEATURES2", 2 << 8, "NumIntRemapSup")):
            self.refuses(f"registers.{key}: {what}", **{key: hex(value)})
        self.refuses("registers.CAP_HEADER does not fit 32 bits", CAP_HEADER="0x100000000")
        self.refuses("the device table at 999000 (registers.DEVTAB_BASE) is not among the pages", DEVTAB_BASE="0x999000", DEVTAB_BASE1="0x999000")
        # QEMU has a GATS of 2. Without IotlbSup nobody has an IOTLB.
        self.assertEqual(self.translate(self.write("qemu", None, {**REGISTERS, "EXT_FEATURES": hex(EFR ^ 3 << 12)}), ["0 - 1234 r"]), ["ok\t5234\trw\t12"])
        self.assertEqual(self.translate(self.write("old", None, {**REGISTERS, "CAP_HEADER": "0x0"}), ["b - 1234 r"]), [illegal(7 | RZ, "1160")])

    def test_memory_image(self):
        m = image()
        ram = self.folder / "ram"
        ram.write_bytes(b"".join(bytes(m.pages.get(page, bytes(4096))) for page in range(0, 0x40000, 4096)))
        option = lambda key: "--" + key.lower().replace("_", "-")
        arguments = ["--ram", ram, *(part for key, value in REGISTERS.items() for part in (option(key), value))]
        batch = self.folder / "batch"
        lines = [(line, answer) for line, answer in GOLDEN if "missing" not in answer]
        batch.write_text("".join(line + "\n" for line, _ in lines))
        status, out, err = self.run_tool("translate", *arguments, "--batch", batch)
        self.assertEqual((status, err, out.decode().split("\n")[:-1]), (0, "", [answer for _, answer in lines]))
        for key in ("DEVTAB_BASE", "DEVTAB_BASE1", "EXT_FEATURES"):
            at = arguments.index(option(key))
            self.refused("devices", *arguments[:at], *arguments[at + 2:], saying=f"{option(key)} is missing")
        self.refused("devices", *arguments, "--cap", "0", saying="others are of")
        self.refused("devices", *arguments, "--haw", "40", saying="--haw does not apply")
        batch.write_text("0 - 1234 r\n")
        alone = ["--ram", ram, "--devtab-base", "1000", "--ext-features", REGISTERS["EXT_FEATURES"]]
        self.assertEqual(self.run_tool("translate", *alone, "--batch", batch)[1], b"ok\t5234\trw\t12\n")
        self.assertEqual(self.run_tool("translate", *alone, "--control", "0", "--batch", batch)[1], b"ok\t1234\trw\t-\n")

    # --- hostile tables ----------------------------------------------------------------------------------------------
    def survives(self, capture):
        for command in (["devices"], ["ranges", "--max-loads", "200000", "--limit", "2000"], ["stats", "--max-loads", "200000"],
                        ["tree", "--max-loads", "200000", "--max-entries", "5000"]):
            began = time.monotonic()
            status, _, err = self.run_tool(*command, "--capture", capture)
            self.assertIn(status, (0, 2), (command, err))
            self.assertLess(time.monotonic() - began, 60, command)

    def test_loops_of_tables(self):
        m = image()
        # 128 devices whose GCR3 tables of 3 levels contain themselves, half of them behind host tables that map everything there.
        for n in range(128):
            nested = {"mode": 1, "root": 0x41000} if n % 2 else {}
            m.put(0x1000 + 32 * n, *device(gcr3=0x40000, glx=2, giov=n & 2 and 1, domain=n, **nested))
        m.put(0x40000, *[0x40001] * 512)
        m.put(0x41000, *[pte(0x40000)] * 512)
        self.survives(self.write("gcr3", m))
        # Guest and host tables that contain themselves.
        m = image()
        m.put(0x9000, *[0x20001] * 512)
        m.put(0x20000, *[0x20000 | RW | USED] * 512)
        m.put(0x18000, *[pde(0x18000, level % 7) for level in range(512)])
        m.put(0x30000, *[pde(0x30000, level % 8) for level in range(512)])
        self.survives(self.write("loop", m))

    def test_largest_table(self):
        for change in ({"DEVTAB_BASE": "0x1ff", "CONTROL": "0x10001"}, {"DEVTAB_BASE": "0xffffffffffffffff", "DEVTAB_BASE1": "0x11ff"}):
            m = image()
            m.put(0, 0)
            self.survives(self.write("large", m, {**REGISTERS, **change}))
        # So many addresses that are all alike are one step.
        file = self.folder / "truth.tsv"
        file.write_text("a\t-\t200000\t-\t-\t1ffffffffe00000\ttest\n")
        began = time.monotonic()
        self.assertEqual(self.run_tool("check", "--capture", self.made, "--truth", file)[0], 0)
        self.assertLess(time.monotonic() - began, 10)

    def test_damage_anywhere(self):
        state = 7
        def number():
            nonlocal state
            state = state * 6364136223846793005 + 1442695040888963407 & 2**64 - 1
            return state >> 24
        for n in range(24):
            m = image()
            pages = sorted(m.pages)
            for _ in range(400):
                m.pages[pages[number() % len(pages)]][number() % 4096] = number() & 0xff
            for _ in range(n % 3):
                del m.pages[pages[number() % len(pages)]]
                pages = sorted(m.pages)
            registers = dict(REGISTERS)
            for _ in range(n % 4):
                key = list(registers)[number() % len(registers)]
                registers[key] = hex(int(registers[key], 16) ^ 1 << number() % 64)
            capture = self.write("damaged", m, registers)
            self.survives(capture)
            batch = self.folder / "batch"
            batch.write_text("".join(f"{number() % 16:x} {'-' if number() % 2 else number() % 8} {number() & 0xffffffffff:x} rw\n" for _ in range(500)))
            status, out, err = self.run_tool("translate", "--capture", capture, "--batch", batch)
            self.assertIn((status, out.count(b"\n")), ((0, 500), (2, 0)), err)
            status, _, err = self.run_tool("walk", "1234", "--source", "9", "--pasid", "0", "--capture", capture)
            self.assertIn(status, (0, 2), err)
            inspect_capture.shutil.rmtree(capture)


if __name__ == "__main__":
    inspect_capture.main()
