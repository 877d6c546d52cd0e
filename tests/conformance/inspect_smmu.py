#!/usr/bin/env python3
"""stagewalk-inspect on an SMMUv3 made here. Usage: inspect_smmu.py TOOL CAPTURE"""
import json
import re
import struct
import time

import inspect_capture
from inspect_capture import Image

# Both stages, VMSAv8-64, access flag and dirty state, 16-bit ASIDs and VMIDs, context tables of two levels, both byte orders,
# stream tables of two levels. StreamIDs and SubstreamIDs of 8 bits. 44 bits out, all granules. SMMUv3.1.
IDR0 = 3 | 2 << 2 | 2 << 6 | 1 << 12 | 1 << 18 | 1 << 19 | 1 << 26 | 1 << 27
REGISTERS = {"IDR0": hex(IDR0), "IDR1": hex(8 | 8 << 6), "IDR3": hex(1 << 2 | 1 << 4), "IDR5": hex(4 | 7 << 4), "AIDR": "0x1",
             "CR0": "0x0", "CR0ACK": "0x1", "CR2": "0x2", "GBPA": "0x0",
             "STRTAB_BASE": "0x1000", "STRTAB_BASE_CFG": hex(8 | 6 << 6 | 1 << 16)}
TOP = 0xffffffffffffffff


def context(asid, ttb0, t0sz=25, tg0=0, ttb1=None, extra=0):
    """The words of a context descriptor: 44 bits out, AA64, R, A."""
    upper = 1 << 30 if ttb1 is None else 25 << 16 | 2 << 22
    return [t0sz | tg0 << 6 | upper | 1 << 31 | 4 << 32 | 1 << 41 | 1 << 45 | 1 << 46 | asid << 48 | extra, ttb0, ttb1 or 0, 0xff44]


def stage2(ttb, t0sz=24, sl0=1, tg=0, vmid=7, extra=0):
    """Words 2 and 3 of a stream table entry: 44 bits out, AA64, R."""
    return [vmid | (t0sz | sl0 << 6 | tg << 14 | 4 << 16 | 1 << 19 | 1 << 26) << 32 | extra, ttb]


def stream(config, contexts=0, log2=0, form=0, default=0, below=(0, 0)):
    return [1 | config << 1 | form << 4 | contexts | log2 << 59, default, *below]


RW, RO, PRIVILEGED = 0x440, 0x4c0, 0x400                           # AF and AP of a leaf of stage 1
page2 = lambda address, rights: address | rights << 6 | 0x400 | 0x3f  # a page of stage 2, write-back


def image(linear=False):
    m = Image()
    at = (lambda n: 0x2000 + 64 * n)
    if not linear:
        m.put(0x1000, 0x2007, 0x3004, 0, 0x300c)  # 64 streams, 8, none, a reserved Span
    m.put(at(0), *stream(5, 0x4000))                                    # stage 1, both halves
    m.put(at(1), *stream(4))                                            # bypass
    m.put(at(2), *stream(6, below=stage2(0x10000)))                     # stage 2
    m.put(at(3), *stream(7, 0x4000, below=stage2(0x10000, vmid=8)))     # nested, with the same tables
    m.put(at(4), *stream(5, 0x6000, 8, 1, 2))                           # substreams, two levels; without: 0
    m.put(at(5), *stream(6, below=stage2(0x10000, t0sz=10)))            # illegal
    m.put(at(6), *stream(0))                                            # aborts
    m.put(at(7), 0)
    m.put(at(8), *stream(5, 0x4040))                                    # big-endian tables
    m.put(at(9), *stream(5, 0x4080))                                    # an illegal context descriptor
    m.put(at(10), *stream(5, 0x77000))                                  # one that is not captured
    m.put(at(11), *stream(6, below=stage2(0x24000, t0sz=32, sl0=1, tg=2, vmid=9)))  # 16K
    m.put(at(12), *stream(5, 0x5000, 3, 0, 1))                          # substreams, linear; without: bypass
    m.put(at(13), *stream(7, 0x7000, below=stage2(0x10000)))            # a context descriptor that stage 2 does not map
    if not linear:
        m.put(0x3000, *stream(4))
    m.put(0x4000, *context(5, 0x8000, ttb1=0xc000))
    m.put(0x4040, *context(6, 0x20000, extra=1 << 15))
    m.put(0x4080, *context(6, 0x8000, t0sz=50))
    m.put(0x5000 + 64 * 2, *context(0xa, 0x8000))
    m.put(0x6000, 0x7001)
    m.put(0x7000, *context(0xb, 0x8000))
    m.put(0x7000 + 64 * 3, *context(0xc, 0x8000, extra=1 << 35))        # a clear access flag is no fault
    # Stage 1, 39 bits: levels 1 to 3.
    m.put(0x8000, 0x9003, 0x4000_0001 | RW, 0x666003, 0xb003)
    m.put(0x9000, 0xa003, 0x60_0001 | RW, 0xa003 | 1 << 62, 0x20_0000_0003 << 8)
    m.put(0xa000, 0, 0x5003 | RW, 0x6003 | RO, 0x7003 | PRIVILEGED, 0x8043, 1 << 45 | 3 | RW, 0x9001 | RW)
    m.put(0xb000 + 8 * 0x1f7, 0xd003)
    m.put(0xd000, 0x3000_0003 | RW)                                     # FEE00000
    m.put(0xc000 + 8 * 511, 0x8000_0001 | RW)                           # the last GiB
    # Stage 2, 40 bits: two tables of level 1 side by side.
    m.put(0x10000, 0x12003)
    m.put(0x11000, 0x1_0000_0000 | 3 << 6 | 0x400 | 0x3d)
    m.put(0x12000, 0x13003, 0xa0_0001 | 3 << 6 | 0x43c, 0, 0xe0_0001 | 1 << 6 | 0x43c)
    m.put(0x13000 + 8 * 4, page2(0x4000, 1), page2(0x35000, 3), page2(0x36000, 1), 0)
    m.put(0x13000 + 8 * 8, page2(0x8000, 1), page2(0x9000, 1), page2(0xa000, 1), page2(0xb000, 1))
    # Stage 1, big-endian.
    for address, word in ((0x20000, 0x21003), (0x21000, 0x22003), (0x22008, 0x5003 | RW)):
        m.put(address, struct.unpack("<Q", struct.pack(">Q", word))[0])
    # Stage 2, 16K, 32 bits: levels 2 and 3; of the second table three of four pages are not captured.
    m.put(0x24000 + 8, 0x28003)
    m.put(0x28000, page2(0x5_0000, 3), page2(0x5_4000, 2))
    return m


def fault(code, stage, level, name, at, flags=0, addr=None, ipa=None, reported=1):
    return (f"fault\t{code}\t{stage}\t{level}\tname={name} at={at}" + (f" addr={addr}" if addr else "") +
            (f" ipa={ipa}" if ipa else "") + (f" flags={flags:x}" if flags else "") + f" reported={reported}")


R, S2, TT, IN, TTR = 1 << 35, 1 << 39, 1 << 40, 2 << 40, 1 << 44
unmapped = lambda level, flags, addr=None, stage=1, ipa=None, at="input": fault("10", stage, level, "F_TRANSLATION", at, flags, addr, ipa)
denied = lambda level, flags, addr, missing, stage=1, ipa=None: fault("13", stage, level, "F_PERMISSION", "input", flags | missing, addr, ipa)
GOLDEN = [
    # Stage 1.
    ("0 - 1234 r", "ok\t5234\trw\t12"), ("0 - 1234 w", "ok\t5234\trw\t12"), ("0 - 1234 rw", "ok\t5234\trw\t12"),
    ("0 - 0 r", unmapped(3, IN | R, "a000")), ("0 - 0 w", unmapped(3, IN, "a000")),
    ("0 - 2fff r", "ok\t6fff\tr\t12"), ("0 - 2fff w", denied(3, IN, "a010", 2)), ("0 - 3000 r", denied(3, IN | R, "a018", 1)),
    ("0 - 4000 r", fault("12", 1, 3, "F_ACCESS", "input", IN | R, "a020")),
    ("0 - 5000 r", fault("11", 1, 3, "F_ADDR_SIZE", "input", IN | R, "a028")),
    ("0 - 6000 r", unmapped(3, IN | R, "a030")),                        # 01 is no page at level 3
    ("0 - 234567 w", "ok\t634567\trw\t21"), ("0 - 7fffffff r", "ok\t7fffffff\trw\t30"),
    ("0 - 401000 r", "ok\t5000\tr\t12"), ("0 - 401000 w", denied(3, IN, "a008", 2)),  # APTable
    ("0 - 80000000 r", "missing\t666000"), ("0 - fee00123 w", "ok\t30000123\trw\t12"), ("0 - fee00123 r", "ok\t30000123\trw\t12"),
    ("0 - 7fffffffff r", unmapped(1, IN | R, "8ff8")), ("0 - 8000000000 r", unmapped("-", IN | R)),
    ("0 - ffffffffc0000010 r", "ok\t80000010\trw\t30"), ("0 - ffffffff80000000 r", unmapped(1, IN | R, "cff0")),
    ("0 - ffffff7fffffffff r", unmapped("-", IN | R)), ("0 - ffffffffffffffff w", "ok\tbfffffff\trw\t30"),
    ("0 0 1234 r", fault("8", 0, "-", "C_BAD_SUBSTREAMID", "context", 0, "2000")),
    # Bypass, abort, illegal, absent.
    ("1 - 123456789 rw", "ok\t123456789\trw\t-"), ("1 - 100000000000 r", fault("11", 1, "-", "F_ADDR_SIZE", "input", IN | R)),
    ("5 - 0 r", fault("4", 0, "-", "C_BAD_STE", "context", 19, "2140")),
    ("6 - 0 r", fault("-", 0, "-", "none", "context", 0, "2180", reported=0)),
    ("7 - 0 r", fault("4", 0, "-", "C_BAD_STE", "context", 1, "21c0")),
    ("9 - 0 r", fault("a", 0, "-", "C_BAD_CD", "context", 12, "4080")), ("a - 0 r", "missing\t77000"),
    ("40 - 5 r", "ok\t5\trw\t-"), ("48 - 0 r", fault("2", 0, "-", "C_BAD_STREAMID", "context", 0, "1008")),
    ("80 - 0 r", fault("2", 0, "-", "C_BAD_STREAMID", "context", 0, "1010")),
    ("ff - 0 r", fault("2", 0, "-", "C_BAD_STREAMID", "context", 0, "1018")), ("100 - 0 r", "error\tsource_id is too large"),
    # Stage 2.
    ("2 - 5010 w", "ok\t35010\trw\t12"), ("2 - 6010 w", denied(3, IN | S2, "13030", 2, 2, "6010")),
    ("2 - 7010 r", unmapped(3, IN | R | S2, "13038", 2, "7010")), ("2 - 234567 r", "ok\ta34567\trw\t21"),
    ("2 - 8012345678 r", "ok\t112345678\trw\t30"), ("2 - 10000000000 r", unmapped("-", IN | R | S2, None, 2, "10000000000")),
    ("2 - 100000000000 r", fault("11", 1, "-", "F_ADDR_SIZE", "input", IN | R)),
    ("2 0 0 r", fault("8", 0, "-", "C_BAD_SUBSTREAMID", "context", 0, "2080")),
    ("b - 2001234 w", "ok\t51234\trw\t14"), ("b - 2004000 r", denied(3, IN | R | S2, "28008", 1, 2, "2004000")),
    ("b - 2800000 r", "missing\t29000"), ("b - 0 r", unmapped(2, IN | R | S2, "24000", 2)),
    # Nested.
    ("3 - 1234 w", "ok\t35234\trw\t12"), ("3 - 2000 r", "ok\t36000\tr\t12"), ("3 - 200040 r", "ok\te00040\tr\t21"),
    ("3 - 2000 w", denied(3, IN, "a010", 2)), ("3 - 200040 w", denied(2, IN | S2, "12018", 2, 2, "600040")),
    ("3 - 40000000 r", unmapped(1, IN | R | S2, "10008", 2, "40000000")),
    ("3 - ffffffffc0000010 r", unmapped(3, TT | R | S2, "13060", 2, "cff8", "table")),
    ("3 - fee00000 r", unmapped(3, TT | R | S2, "13068", 2, "d000", "table")),
    ("d - 0 r", unmapped(3, R | S2, "13038", 2, "7000", "context")),
    # Substreams.
    ("4 - 1234 r", "ok\t5234\trw\t12"), ("4 0 1234 r", fault("6", 0, "-", "F_STREAM_DISABLED", "context", 0, "2100")),
    ("4 3 4000 r", "ok\t8000\trw\t12"), ("4 1 0 r", fault("a", 0, "-", "C_BAD_CD", "context", 1, "7040")),
    ("4 40 0 r", fault("8", 0, "-", "C_BAD_SUBSTREAMID", "context", 0, "6008")),
    ("4 100 0 r", fault("8", 0, "-", "C_BAD_SUBSTREAMID", "context", 0, "2100")),
    ("c - 1234 r", "ok\t1234\trw\t-"), ("c 2 1234 r", "ok\t5234\trw\t12"),
    # Big-endian.
    ("8 - 1234 w", "ok\t5234\trw\t12"), ("8 - 2000 r", unmapped(3, IN | R, "22010")),
]


class Smmu(inspect_capture.Case):
    def setUp(self):
        super().setUp()
        self.made = self.write("made")

    def write(self, name, m=None, registers=REGISTERS, **meta):
        return (m or image()).write(self.folder / name, registers, **{"format": "smmuv3", **meta})

    def json(self, command, *options, capture=None):
        status, out, err = self.run_tool(command, "--capture", capture or self.made, "--json", *options)
        self.assertEqual((status, err), (0, ""))
        return json.loads(out)

    def test_translate(self):
        answers = self.translate(self.made, [line for line, _ in GOLDEN])
        for (line, expected), answer in zip(GOLDEN, answers):
            self.assertEqual(answer, expected, line)

    def test_linear_stream_table(self):
        capture = self.write("linear", image(True), {**REGISTERS, "STRTAB_BASE": "0x2000", "STRTAB_BASE_CFG": "0x5"})
        within = [(line, answer) for line, answer in GOLDEN if int(line.split()[0], 16) < 16]
        self.assertEqual(self.translate(capture, [line for line, _ in within]), [answer for _, answer in within])
        self.assertEqual(self.translate(capture, ["20 - 0 r"]), [fault("2", 0, "-", "C_BAD_STREAMID", "context")])

    def test_off(self):
        for gbpa, answers in (("0x0", ["ok\t1234\trw\t-", fault("-", 0, "-", "none", "context", reported=0)]),
                              ("0x100000", [fault("-", 0, "-", "none", "context", reported=0)] * 2)):
            capture = self.write("off", None, {**REGISTERS, "CR0ACK": "0x0", "GBPA": gbpa})
            self.assertEqual(self.translate(capture, ["0 - 1234 r", "0 - 100000000000 r"]), answers)
            for command in ("devices", "ranges", "stats", "tree"):
                self.json(command, capture=capture)
        registers = {key: value for key, value in REGISTERS.items() if key != "CR0ACK"}
        self.assertEqual(self.translate(self.write("cr0", None, {**registers, "CR0": "0x1"}), ["0 - 1234 r"]), ["ok\t5234\trw\t12"])

    def test_invalid_streams_need_not_be_reported(self):
        capture = self.write("quiet", None, {**REGISTERS, "CR2": "0x0"})
        self.assertEqual(self.translate(capture, ["80 - 0 r"]),
                         [fault("2", 0, "-", "C_BAD_STREAMID", "context", 0, "1010", reported=0)])

    def test_lacking_pages(self):
        for page, line in ((0x2000, "0 - 1234 r"), (0x4000, "0 - 1234 r"), (0xa000, "0 - 1234 r"), (0x13000, "3 - 1234 r"),
                           (0xa000, "3 - 1234 r"), (0x6000, "4 - 0 r"), (0x7000, "4 3 0 r"), (0x10000, "2 - 0 r")):
            m = image()
            del m.pages[page]
            self.assertEqual(self.translate(self.write("less", m), [line]), [f"missing\t{page:x}"])

    def test_check(self):
        file = self.folder / "truth.tsv"
        for line, verdict in (("0 - 1000 5000 rw 1000", "A"), ("0 - 1000 5000 rw 1001", "D"), ("0 - 2000 6000 r 1000", "A"),
                              ("0 - 2000 - !w 1000", "A"), ("0 - 3000 - - 1fd000", "A"), ("0 - 3000 - - 1fd001", "D"),
                              ("0 - 200000 600000 rw 200000", "A"), ("0 - 40000000 40000000 rw 40000000", "A"),
                              ("0 - 80000000 - - 1", "U"), ("0 - fee00000 30000000 rw 1000", "A"),
                              ("0 - c0000000 - - 3ee00000", "A"), ("0 - c0000000 - - 3ee00001", "D"),
                              ("0 - fee01000 - - ffffffff011ff000", "D"), ("0 - fee01000 - - fffffffec11ff000", "A"),
                              ("0 - fee01000 - - fffffffec11ff001", "D"), ("0 - 8000000000 - - ffffff0000000000", "A"),
                              ("0 - ffffffffc0000000 80000000 rw 40000000", "A"),
                              ("1 - 0 0 rw 100000000000", "A"), ("1 - 0 0 rw 100000000001", "D"),
                              (f"1 - 100000000000 - - {TOP - 0xfffffffffff:x}", "A"), ("6 - 0 - - 10000000000000000", "A"),
                              ("2 - 5000 35000 rw 1000", "A"), ("2 - 7000 - - 1000", "A"), ("2 - 200000 a00000 rw 200000", "A"),
                              ("2 - 8000000000 100000000 rw 40000000", "A"), ("2 - 8040000000 - - ffffff7fc0000000", "A"),
                              ("b - 2000000 50000 rw 4000", "A"), ("b - 2004000 54000 w 4000", "A"), ("b - 2008000 - - 7f8000", "A"),
                              ("b - 2008000 - - 7f8001", "U"), ("b - 2800000 - - 1", "U"), ("b - 0 - - 2000000", "A"),
                              ("3 - 1000 35000 rw 1000", "A"), ("3 - 2000 36000 r 1000", "A"), ("3 - 200000 e00000 r 200000", "A"),
                              ("3 - 40000000 - - 40000000", "A"), ("3 - ffffff8000000000 - - 8000000000", "A"),
                              ("3 - 8000000000 - - ffffff8000000000", "A"), ("4 3 4000 8000 rw 1000", "A"), ("4 - 4000 - - 1000", "A"),
                              ("8 - 1000 5000 rw 1000", "A"), ("c - 0 0 rw 100000000000", "A"), ("d - 0 - - 10000000000000000", "A")):
            file.write_text("\t".join(line.split()) + "\ttest\n")
            status, out, err = self.run_tool("check", "--capture", self.made, "--truth", file)
            found = re.match(r"1 checked, (\d) agree, (\d) disagree, (\d) undecidable\n", out.decode())
            self.assertTrue(found, (line, out, err))
            self.assertEqual(found.groups(), tuple(str(int(verdict == v)) for v in "ADU"), (line, out))
            self.assertEqual(status, 0 if verdict == "A" else 1, line)

    def test_devices(self):
        devices = self.json("devices")["devices"]
        self.assertEqual([(d["source_id"], d["pasid"], d.get("domain"), d.get("mode")) for d in devices], [
            ("0x0", None, "VMID 0 ASID 5", "stage 1, 4K 39 + 39 bits"), ("0x1", None, "", "bypass"),
            ("0x2", None, "VMID 7", "stage 2, 4K 40 bits"), ("0x3", None, "VMID 8 ASID 5", "nested, 4K 39 + 39 over 4K 40 bits"),
            ("0x4", None, "VMID 0 ASID b", "stage 1, 4K 39 bits"), ("0x4", "0x3", "VMID 0 ASID c", "stage 1, 4K 39 bits"),
            ("0x5", None, None, None), ("0x8", None, "VMID 0 ASID 6", "stage 1, 4K 39 bits"), ("0x9", None, None, None),
            ("0xa", None, None, None), ("0xb", None, "VMID 9", "stage 2, 16K 32 bits"), ("0xc", None, "", "bypass (S1DSS)"),
            ("0xc", "0x2", "VMID 0 ASID a", "stage 1, 4K 39 bits"), ("0xd", None, None, None), ("0x40", None, "", "bypass")])
        bound = {(d["source_id"], d["pasid"]): d for d in devices}
        self.assertEqual((bound["0x3", None]["root"], bound["0x3", None]["second_root"]), ("0x8000", "0x10000"))
        self.assertEqual(bound["0x4", None]["details"]["substreams"], "2^8, two levels of 4K; requests without one use substream 0")
        self.assertEqual(bound["0x8", None]["details"]["byte order"], "stage 1: big-endian")
        self.assertEqual(bound["0x5", None]["why_not"]["meaning"],
                         "the stream table entry's address size is out of range (S2T0SZ)")
        self.assertEqual(bound["0xa", None]["why_not"], {"result": "missing", "page": "0x77000"})
        self.assertEqual([d["pasid"] for d in self.json("devices", "--source", "4", "--pasid", "3")["devices"]], ["0x3"])
        self.assertEqual(self.json("devices", "--source", "6")["devices"][0]["why_not"]["name"], "none")

    def ranges(self, *options):
        return [(r["first"], r["last"], r["output"], r["rights"], r["pages"])
                for r in self.json("ranges", *options)["devices"][0]["ranges"]]

    def test_ranges(self):
        lower = [("0x1000", "0x1fff", "0x5000", "rw", 1), ("0x2000", "0x2fff", "0x6000", "r", 1), ("0x3000", "0x4fff", "0x7000", "-", 2),
                 ("0x200000", "0x3fffff", "0x600000", "rw", 1),
                 ("0x401000", "0x402fff", "0x5000", "r", 2), ("0x403000", "0x404fff", "0x7000", "-", 2),
                 ("0x40000000", "0x7fffffff", "0x40000000", "rw", 1), ("0xfee00000", "0xfee00fff", "0x30000000", "rw", 1)]
        upper = [("0xffffffffc0000000", "0xffffffffffffffff", "0x80000000", "rw", 1)]
        self.assertEqual(self.ranges("--source", "0"), lower + upper)
        self.assertEqual(self.ranges("--source", "2"), [
            ("0x4000", "0x4fff", "0x4000", "r", 1), ("0x5000", "0x5fff", "0x35000", "rw", 1), ("0x6000", "0x6fff", "0x36000", "r", 1),
            ("0x8000", "0xbfff", "0x8000", "r", 4), ("0x200000", "0x3fffff", "0xa00000", "rw", 1),
            ("0x600000", "0x7fffff", "0xe00000", "r", 1), ("0x8000000000", "0x803fffffff", "0x100000000", "rw", 1)])
        self.assertEqual(self.ranges("--source", "3"), [
            ("0x1000", "0x1fff", "0x35000", "rw", 1), ("0x2000", "0x2fff", "0x36000", "r", 1), ("0x4000", "0x4fff", "0x8000", "-", 1),
            ("0x200000", "0x3fffff", "0xe00000", "r", 1), ("0x401000", "0x402fff", "0x35000", "r", 2),
            ("0x404000", "0x404fff", "0x8000", "-", 1)])
        self.assertEqual(self.ranges("--source", "8"), [("0x1000", "0x1fff", "0x5000", "rw", 1)])
        self.assertEqual(self.ranges("--source", "4", "--pasid", "3")[3], ("0x4000", "0x4fff", "0x8000", "rw", 1))
        self.assertEqual(self.ranges("--source", "b"), [("0x2000000", "0x2003fff", "0x50000", "rw", 1), ("0x2004000", "0x2007fff", "0x54000", "w", 1)])
        self.assertEqual(self.json("ranges", "--source", "b")["devices"][0]["entries_not_captured"], 1536)

    def test_every_range_is_what_a_request_meets(self):
        for device in self.json("ranges")["devices"]:
            pasid = device.get("pasid", "-").removeprefix("0x")
            for r in device["ranges"]:
                for at in (int(r["first"], 16), int(r["last"], 16)):
                    for access in ("r", "w"):
                        answer = self.translate(self.made, [f"{device['source_id']} {pasid} {at:x} {access}"])[0].split("\t")
                        self.assertEqual(answer[0] == "ok", access in r["rights"], (device["source_id"], r, access, answer))
                        if answer[0] == "ok":
                            self.assertEqual(int(answer[1], 16), int(r["output"], 16) + at - int(r["first"], 16))

    def test_walk_and_record(self):
        answer = self.json("walk", "234567", "--source", "3", "--write")
        self.assertEqual([(e["what"].split(",")[0], e.get("level")) for e in answer["entries"]],
                         [("level-1 stream table descriptor", None), ("stream table entry", None)] +
                         [("stage 2 of the context descriptor", n) for n in (1, 2, 3)] + [("context descriptor", None)] +
                         [("stage 2 of the next descriptor", n) for n in (1, 2, 3)] + [("stage 1", 1)] +
                         [("stage 2 of the next descriptor", n) for n in (1, 2, 3)] + [("stage 1", 2)] +
                         [("stage 2 of the page", n) for n in (1, 2)])
        self.assertEqual((answer["answer"]["name"], answer["answer"]["level"], answer["answer"]["ipa"]), ("F_PERMISSION", 2, "0x634567"))
        self.assertEqual(answer["record"]["words"], ["0x300000013", "0x28000000000", "0x234567", "0x634000"])
        record = lambda *options: self.json("walk", *options)["record"]
        self.assertEqual(record("0", "--source", "4", "--pasid", "40")["words"], ["0x400040008", "0x0", "0x0", "0x0"])
        self.assertEqual(record("0", "--source", "c", "--pasid", "2")["words"], ["0xc00002810", "0x20800000000", "0x0", "0x0"])
        self.assertIsNone(record("0", "--source", "6"))
        status, out, _ = self.run_tool("walk", "1234", "--source", "8", "--capture", self.made)
        self.assertIn(b"stage 1, level 3, page at 22008", out)
        self.assertIn(b"maps 4K at 5000", out)

    def test_level_minus_one(self):
        # 52 bits through 4K: five levels, from the manual's level -1.
        m = Image()
        m.put(0x2000, *stream(5, 0x4000))
        words = context(5, 0x8000, t0sz=12)
        m.put(0x4000, words[0] & ~(7 << 32) | 6 << 32, words[1], 1 << 58, words[3])
        for n in range(4):
            m.put(0x8000 + 0x1000 * n + (8 if n == 0 else 0), 0x9003 + 0x1000 * n)
        m.put(0xc008, 0x5003 | RW)
        m.put(0x8010, 2)
        capture = self.write("wide", m, {**REGISTERS, "IDR5": hex(6 | 7 << 4 | 1 << 7 | 1 << 10), "STRTAB_BASE": "0x2000", "STRTAB_BASE_CFG": "0x6"})
        self.assertEqual(self.translate(capture, ["0 - 1000000001234 r", "0 - 2000000000000 r"]),
                         ["ok\t5234\trw\t12", unmapped(-1, IN | R, "8010")])
        answer = self.json("walk", "1000000001234", "--source", "0", capture=capture)
        self.assertEqual([e.get("level") for e in answer["entries"]], [None, None, -1, 0, 1, 2, 3])

    def test_tree(self):
        answer = self.json("tree")
        self.assertTrue(answer["complete"])
        entries = [e for e in answer["entries"] if "words" in e and e["words"]]
        seen = {e.get("read_address", e["address"]) for e in entries}
        m = image()
        for address in (0x1000, 0x1018, 0x2000, 0x2340, 0x4000, 0x4080, 0x5080, 0x6000, 0x70c0, 0x8018, 0xa030, 0xbfb8, 0xcff8, 0x11000, 0x13058,
                        0x22008, 0x28008):
            self.assertIn(hex(address), seen)
            self.assertIn(address & ~0xfff, m.pages)
        nested = self.json("tree", "--source", "3")["entries"]
        self.assertEqual([e["address"] for e in nested[:3]], ["0x1000", "0x20c0", "0x4000"])
        self.assertEqual(nested[2]["read_address"], "0x4000")
        self.assertEqual({e["intermediate"] for e in nested if "stage 2" in e["what"]}, {True})
        alone = self.json("tree", "--source", "2", "--range", "5000", "5fff")["entries"]
        self.assertEqual([(e["address"], e.get("first_input")) for e in alone],
                         [("0x1000", None), ("0x2080", None), ("0x10000", "0x0"), ("0x12000", "0x0"), ("0x13028", "0x5000")])
        lacking = [e for e in self.json("tree", "--source", "b")["entries"] if not e.get("words")]
        self.assertEqual([(e["address"], e["verdict"]) for e in lacking], [("0x29000", "from input 2800000 on: page 29000 is not captured")])
        self.assertEqual({e["pasid"] for e in self.json("tree", "--source", "4", "--pasid", "3")["entries"] if "level" in e}, {"0x3"})

    def test_80_columns(self):
        for command in (["devices"], ["devices", "--source", "3"], ["ranges"], ["stats"], ["tree"], ["walk", "1234", "--source", "3"],
                        ["walk", "0", "--source", "3"]):
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
            if key not in ("CR0", "CR0ACK"): self.refuses(f"meta.json: registers.{key} is missing", **{key: None})
            if key != "CR0": self.refuses(f"registers.{key} is not a hexadecimal number", **{key: "x"})
            if key not in ("CR0", "STRTAB_BASE"): self.refuses(f"registers.{key} does not fit 32 bits", **{key: "0x100000000"})
        self.refuses("registers.CR0 is missing", CR0=None, CR0ACK=None)
        for key, value, what in (("IDR0", IDR0 & ~3, "S1P and S2P"), ("IDR0", IDR0 & ~8, "TTF"), ("IDR5", 4, "no granule"), ("IDR1", 33, "SIDSIZE"),
                                 ("IDR1", 8 | 21 << 6, "SSIDSIZE"), ("IDR0", IDR0 & ~(1 << 27), "ST_LEVEL"), ("IDR0", IDR0 | 1 << 21, "TTENDIAN"),
                                 ("IDR0", IDR0 | 3 << 24, "STALL_MODEL"), ("IDR5", 7 | 7 << 4, "OAS"), ("IDR5", 4 | 15 << 4, "DS")):
            self.refuses(f"registers.{key}: {what}", **{key: hex(value)})
        self.refuses("the stream table at 9999000 (registers.STRTAB_BASE) is not among the pages", STRTAB_BASE="0x9999000")

    def test_memory_image(self):
        m = image()
        ram = self.folder / "ram"
        ram.write_bytes(b"".join(bytes(m.pages.get(page, bytes(4096))) for page in range(0, 0x30000, 4096)))
        option = lambda key: "--" + key.lower().replace("_", "-")
        needed = [key for key in REGISTERS if not key.startswith(("CR", "GB"))]
        arguments = ["--ram", ram, *(part for key in needed for part in (option(key), REGISTERS[key]))]
        batch = self.folder / "batch"
        lines = [(line, answer) for line, answer in GOLDEN if "missing" not in answer and "STREAMID" not in answer]
        batch.write_text("".join(line + "\n" for line, _ in lines))
        status, out, err = self.run_tool("translate", *arguments, "--batch", batch)
        self.assertEqual((status, err, out.decode().split("\n")[:-1]), (0, "", [answer for _, answer in lines]))
        for key in needed:
            at = arguments.index(option(key))
            self.refused("devices", *arguments[:at], *arguments[at + 2:], saying=f"{option(key)} is missing")
        self.refused("devices", *arguments, "--cap", "0", saying="others are of")
        self.refused("devices", *arguments, "--haw", "40", saying="--haw does not apply")
        self.refused("devices", "--ram", ram, saying="registers of the IOMMU are missing")
        at = arguments.index("--idr5")
        self.refused("devices", *arguments[:at + 1], "0", *arguments[at + 2:], saying="--idr5: no granule")
        batch.write_text("0 - 1234 r\n")
        self.assertEqual(self.run_tool("translate", *arguments, "--cr0", "0", "--batch", batch)[1], b"ok\t1234\trw\t-\n")

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
        # 64 streams of 2^8 substreams whose tables contain themselves; behind tables of stage 2 that do so too.
        for n in range(64):
            m.put(0x2000 + 64 * n, *stream(7 if n % 2 else 5, 0x5000, 8, 1, 2, stage2(0x10000)))
        m.put(0x5000, *[0x6001] * 512)
        for n in range(64):
            m.put(0x6000 + 64 * n, *context(n, 0x8000, ttb1=0x8000))
        m.put(0x8000, *[0x8443 | 1 << 51] * 512)
        m.put(0x10000, *[0x10000 | 0x7ff] * 1024)
        self.survives(self.write("loop", m))

    def test_largest_tables(self):
        for change in ({"STRTAB_BASE_CFG": hex(63 | 6 << 6 | 1 << 16)}, {"STRTAB_BASE_CFG": hex(63), "STRTAB_BASE": "0x0"}):
            m = image()
            m.put(0, 0)
            self.survives(self.write("large", m, {**REGISTERS, "IDR1": hex(32 | 20 << 6), "STRTAB_BASE": "0x0", **change}))

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
                registers[key] = hex((int(registers[key], 16) ^ 1 << number() % (64 if key == "STRTAB_BASE" else 32)))
            capture = self.write("damaged", m, registers)
            self.survives(capture)
            batch = self.folder / "batch"
            batch.write_text("".join(f"{number() % 16:x} {'-' if number() % 2 else number() % 8} {number() & 0xffffffffff:x} rw\n" for _ in range(500)))
            status, out, err = self.run_tool("translate", "--capture", capture, "--batch", batch)
            self.assertIn((status, out.count(b"\n")), ((0, 500), (2, 0)), err)
            status, _, err = self.run_tool("walk", "1234", "--source", "3", "--capture", capture)
            self.assertIn(status, (0, 2), err)
            inspect_capture.shutil.rmtree(capture)


if __name__ == "__main__":
    inspect_capture.main()
