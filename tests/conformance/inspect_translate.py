#!/usr/bin/env python3
"""`stagewalk-inspect translate`: one exact line for each line of input. Usage: inspect_translate.py TOOL CAPTURE"""
import subprocess

import inspect_capture
from inspect_capture import Image, REGISTERS

PTE = 0xb000


def image():
    """Root table at 1000; what each device is there for stands beside it."""
    m = Image()
    m.put(0x1000, 0x2001, 0)                   # bus 0
    m.put(0x1020, 0x2001 | 1 << 3, 0)          # bus 2: a reserved bit
    m.put(0x1030, 0x777001, 0)                 # bus 3: a context table that was not captured
    device = lambda devfn, low, high: m.put(0x2000 + devfn * 16, low, high)
    device(0x00, 0x8001, 2 | 1 << 8)           # tables of 4 levels, domain 1
    device(0x08, 0x9 & ~8 | 2 << 2, 2)         # pass-through
    device(0x10, 0x8003, 2)                    # as 00, faults suppressed
    device(0x20, 0x8001 | 1 << 5, 2)           # a reserved bit
    device(0x28, 0x8001, 3)                    # 5 levels, which the unit lacks
    device(0x30, 0x8001 | 3 << 2, 2)           # a reserved type
    device(0x38, 0x8001 | 1 << 2, 2)           # device TLB, which the unit lacks
    device(0x40, 0x555001, 2)                  # tables that were not captured
    device(0x48, 0x9001, 1)                    # tables of 3 levels
    m.put(0x8000, 0x9003, 0x80 | 0x9003)       # level 4; the second entry has its reserved bit 7 set
    m.put(0x9000, 0xa003, 0x1_4000_0083, 0xc003)  # level 3: a table, 1 GiB at 140000000, another table
    m.put(0xa000, PTE | 3, 0x60_0083, 0x666003, PTE | 1)  # level 2: a table, 2 MiB, a table not captured, one for reads
    m.put(PTE, 0, 0x5003, 0x6001, 0x7002, 0, 0x8803, 0xfee0_0003)  # level 1: -, rw, r, w, -, reserved bit 11, FEEx
    m.put(0xc000, 0)
    return m


GOLDEN = [
    ("0 - 1234 r", "ok\t5234\trw\t12"),
    ("0 - 1234 w", "ok\t5234\trw\t12"),
    ("0000 - 0x1234 rw", "ok\t5234\trw\t12"),
    ("0 - 2fff r", "ok\t6fff\tr\t12"),
    ("0 - 2fff w", "fault\t5\t2\t1\tname=write_denied at=input addr=b010 reported=1"),
    ("0 - 2fff rw", "fault\t5\t2\t1\tname=write_denied at=input addr=b010 reported=1"),
    ("0 - 3000 w", "ok\t7000\tw\t12"),
    ("0 - 3000 r", "fault\t6\t2\t1\tname=read_denied at=input addr=b018 reported=1"),
    ("0 - 4000 r", "fault\t6\t2\t1\tname=read_denied at=input addr=b020 reported=1"),
    ("0 - 4000 w", "fault\t5\t2\t1\tname=write_denied at=input addr=b020 reported=1"),
    ("0 - 5000 r", "fault\tc\t2\t1\tname=table_reserved at=table addr=b028 reported=1"),
    ("0 - 6000 w", "fault\te\t2\t-\tname=output_in_interrupt_range at=input reported=1"),
    ("0 - 234567 w", "ok\t634567\trw\t21"),
    ("0 - 7fffffff r", "ok\t17fffffff\trw\t30"),
    ("0 - 400000 r", "missing\t666000"),
    ("0 - 601000 r", "ok\t5000\tr\t12"),
    ("0 - 601000 w", "fault\t5\t2\t2\tname=write_denied at=input addr=a018 reported=1"),
    ("0 - 80000000 r", "fault\t6\t2\t2\tname=read_denied at=input addr=c000 reported=1"),
    ("0 - 8000000000 r", "fault\tc\t2\t4\tname=table_reserved at=table addr=8008 reported=1"),
    ("0 - ffffffffffff r", "fault\t6\t2\t4\tname=read_denied at=input addr=8ff8 reported=1"),
    ("0 - 1000000000000 r", "fault\t4\t2\t-\tname=address_beyond_width at=input reported=1"),
    ("0 - ffffffffffffffff w", "fault\t4\t2\t-\tname=address_beyond_width at=input reported=1"),
    ("48 - 1234 r", "ok\t5234\trw\t12"),
    ("48 - 8000000000 r", "fault\t4\t2\t-\tname=address_beyond_width at=input reported=1"),
    ("8 - 123456789 rw", "ok\t123456789\trw\t-"),
    ("8 - 1000000000000 r", "fault\t4\t0\t-\tname=address_beyond_width at=input reported=1"),
    ("10 - 1234 r", "ok\t5234\trw\t12"),
    ("10 - 4000 w", "fault\t5\t2\t1\tname=write_denied at=input addr=b020 reported=0"),
    ("18 - 0 r", "fault\t2\t0\t-\tname=context_not_present at=context addr=2180 reported=1"),
    ("20 - 0 r", "fault\tb\t0\t-\tname=context_reserved at=context addr=2200 reported=1"),
    ("28 - 0 r", "fault\t3\t0\t-\tname=context_invalid at=context addr=2280 reported=1"),
    ("30 - 0 r", "fault\t3\t0\t-\tname=context_invalid at=context addr=2300 reported=1"),
    ("38 - 0 r", "fault\t3\t0\t-\tname=context_invalid at=context addr=2380 reported=1"),
    ("40 - 0 r", "missing\t555000"),
    ("100 - 0 r", "fault\t1\t0\t-\tname=root_not_present at=context addr=1010 reported=1"),
    ("200 - 0 r", "fault\ta\t0\t-\tname=root_reserved at=context addr=1020 reported=1"),
    ("300 - 0 r", "missing\t777000"),
    ("0 5 1234 r", "fault\t31\t0\t-\tname=pasid_in_legacy_mode at=context reported=1"),
    ("0 - fee00123 w", "interrupt\tfee00123"),
    ("0 - feefffff r", "fault\t29\t0\t-\tname=interrupt_request_illegal at=input reported=1"),
    ("8 - fee00000 rw", "fault\t29\t0\t-\tname=interrupt_request_illegal at=input reported=1"),
    ("8 - fee00000 w", "interrupt\tfee00000"),
    ("", "skip"),
    (" \t ", "skip"),
    ("# 0 - 1234 r", "skip"),
    ("  #", "skip"),
    ("\t0000 \t -  1234\tr \t", "ok\t5234\trw\t12"),
    ("0X0 - 0X1AbC r", "ok\t5abc\trw\t12"),
    ("00000000000000000000 - 00000000000000000000001234 r", "ok\t5234\trw\t12"),
]

ERRORS = {
    "0 - 1234": "four fields", "0 - 1234 r r": "four fields", "0 1234 r": "four fields", "x": "four fields",
    "0 - 1234 R": "none of r, w, rw", "0 - 1234 wr": "none of r, w, rw",
    "10000 - 0 r": "source_id is too large", "10000000000000000 - 0 r": "source_id is too large",
    "g - 0 r": "source_id is not", "-1 - 0 r": "source_id is not", "0x - 0 r": "source_id is not",
    "0 100000 0 r": "pasid does not fit", "0 10000000000000000 0 r": "pasid does not fit", "0 -- 0 r": "pasid is neither",
    "0 - 10000000000000000 r": "iova does not fit", "0 - - r": "iova is not", "0 - 0x r": "iova is not",
    "0 - 12 34 r": "four fields", "0\v- 0 r": "four fields", "\u00e4 - 0 r": "source_id is not",
}


class Translate(inspect_capture.Case):
    def setUp(self):
        super().setUp()
        self.made = image().write(self.folder / "made")

    def test_every_kind_of_answer(self):
        answers = self.translate(self.made, [line for line, _ in GOLDEN])
        self.assertEqual(len(answers), len(GOLDEN))
        for (line, expected), answer in zip(GOLDEN, answers):
            self.assertEqual(answer, expected, line)

    def test_without_address_range_rules(self):
        asked = ["0 - fee00123 w", "0 - 6010 w", "8 - fee00000 r", "8 - fee00000 w"]
        self.assertEqual(self.translate(self.made, asked, "--no-ranges"),
                         ["fault\t5\t2\t3\tname=write_denied at=input addr=9018 reported=1",
                          "ok\tfee00010\trw\t12", "ok\tfee00000\trw\t-", "ok\tfee00000\trw\t-"])

    def test_malformed_lines(self):
        asked = [text for line in ERRORS for text in (line, "0 - 1234 r")]
        answers = self.translate(self.made, asked)
        self.assertEqual(answers[1::2], ["ok\t5234\trw\t12"] * len(ERRORS))
        for (line, part), answer in zip(ERRORS.items(), answers[::2]):
            kind, text = answer.split("\t")
            self.assertEqual(kind, "error", line)
            self.assertIn(part, text, line)

    def test_line_ends(self):
        ok = "ok\t5234\trw\t12"
        self.assertEqual(self.translate(self.made, b""), [])
        self.assertEqual(self.translate(self.made, b"\n"), ["skip"])
        self.assertEqual(self.translate(self.made, b"0 - 1234 r"), [ok])
        self.assertEqual(self.translate(self.made, b"0 - 1234 r\r\n\r\n0 - 1234 r\r"), [ok, "skip", ok])
        self.assertEqual(self.translate(self.made, b"0 - 1234 r\n\n"), [ok, "skip"])

    def test_bytes_that_are_no_text(self):
        answers = self.translate(self.made, b"0 - 1234\0 r\n\0\n0 - 1\r234 r\n\xff\xfe\n0 - 1234 r\n")
        self.assertEqual([a.split("\t")[0] for a in answers], ["error"] * 4 + ["ok"])

    def test_lines_that_are_too_long(self):
        long = b"0 - " + b"0" * 3_000_000 + b"1234 r"
        answers = self.translate(self.made, long + b"\n0 - 1234 r\n#" + b"x" * 2_000_000 + b"\n" + long)
        self.assertEqual(answers, ["error\tthe line is too long", "ok\t5234\trw\t12", "skip", "error\tthe line is too long"])
        for length in range(2**20 - 2, 2**20 + 3):
            answers = self.translate(self.made, b"#" * length + b"\n0 - 1234 r\n")
            self.assertEqual(answers, ["skip", "ok\t5234\trw\t12"], length)
            answers = self.translate(self.made, b"0 - 1234 r\n" + b"#" * length)
            self.assertEqual(answers, ["ok\t5234\trw\t12", "skip"], length)

    def test_more_than_a_buffer(self):
        lines = [f"0 - {0x1000 + i % 0x1000:x} r" for i in range(200_000)]
        answers = self.translate(self.made, lines)
        self.assertEqual(answers, [f"ok\t{0x5000 + i % 0x1000:x}\trw\t12" for i in range(200_000)])

    def test_a_program_that_waits_for_each_answer(self):
        with subprocess.Popen([self.tool, "translate", "--capture", self.made, "--batch", "-"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, bufsize=0) as tool:
            answers = tool.stdout
            for line, expected in GOLDEN[:5]:
                tool.stdin.write((line + "\n").encode())
                received = b""
                while not received.endswith(b"\n"):
                    received += answers.read(1)
                self.assertEqual(received.decode(), expected + "\n")
            tool.stdin.close()
            self.assertEqual(tool.wait(), 0)

    def test_modes_of_the_root_table_register(self):
        for mode, ecap, code, name in ((2, 0xf00f4a, "30", "root_pointer_invalid"), (3, 0xf00f4a, "30", "root_pointer_invalid"),
                                       (3, 0xf00f4a | 1 << 52, "33", "dma_aborted")):
            capture = image().write(self.folder / "mode",
                                    {**REGISTERS, "RTADDR": hex(0x1000 | mode << 10), "ECAP": hex(ecap)})
            self.assertEqual(self.translate(capture, ["0 - 1234 r"]), [f"fault\t{code}\t0\t-\tname={name} at=context reported=1"])

    def test_translation_that_is_off(self):
        capture = image().write(self.folder / "off", {**REGISTERS, "GSTS": "0x0"})
        self.assertEqual(self.translate(capture, ["0 - 123456789abcdef0 rw", "ffff - fee00000 r"]),
                         ["ok\t123456789abcdef0\trw\t-", "ok\tfee00000\trw\t-"])

    def test_host_address_width(self):
        # With 32 bits an address bit above them is reserved; without `haw` the width is MGAW, 48 bits.
        memory = image()
        memory.put(PTE + 7 * 8, 0x1_0000_0003)
        self.assertEqual(self.translate(memory.write(self.folder / "wide"), ["0 - 7000 r"]), ["ok\t100000000\trw\t12"])
        for haw in (32, "0x20", "32"):
            self.assertEqual(self.translate(memory.write(self.folder / "narrow", haw=haw), ["0 - 7000 r"]),
                             ["fault\tc\t2\t1\tname=table_reserved at=table addr=b038 reported=1"])

    def test_json(self):
        import json
        answers = [json.loads(a) for a in self.translate(self.made, ["0 - 1234 r", "0 - 4000 w", "#", "?"], "--json")]
        self.assertEqual([a["result"] for a in answers], ["ok", "fault", "skip", "error"])
        self.assertEqual(answers[0]["address"], "0x5234")
        self.assertEqual(answers[1]["code"], "0x5")
        self.assertEqual({a["schema"] for a in answers}, {"stagewalk-inspect.translate/1"})


if __name__ == "__main__":
    inspect_capture.main()
