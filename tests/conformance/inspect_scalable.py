#!/usr/bin/env python3
"""stagewalk-inspect on VT-d scalable mode. Usage: inspect_scalable.py TOOL CAPTURE"""
import json
import re

import inspect_capture
from inspect_capture import Image

# CAP: 48 bits, 3 and 4 levels, first-stage pages of 1G. ECAP: scalable mode with both stages, nesting, PASIDs of 20 bits,
# RID_PASID and RID_PRIV, supervisor requests, snooped walks, pass-through.
ECAP = sum(1 << bit for bit in (53, 49, 48, 47, 46, 43, 40, 31, 26, 6)) | 19 << 35 | 0xf00f0a
REGISTERS = {"VER": "0x10", "CAP": "0x81d2008c222f0606", "ECAP": hex(ECAP), "GSTS": "0xc7000000", "RTADDR": "0x1400"}
SNOOP = 1 << 23


def image():
    m = Image()
    m.put(0x1000, 0x2001, 0)                    # bus 0, devices 00 to 0f
    m.put(0x2000, 0x3001 | 1 << 3, 0, 0, 0)     # device 0: PASIDs are allowed; without: 0
    m.put(0x2020, 0x3001, 0 | 1 << 20, 0, 0)    # function 1: no PASIDs; privileged
    m.put(0x2040, 0x3001 | 1 << 3 | 2, 4, 0, 0) # function 2: without PASID: 4, faults suppressed
    m.put(0x3000, 0x4001)
    entry = lambda pasid, *words: m.put(0x4000 + 64 * pasid, *words)
    entry(0, 1 << 6 | 1, 1 | SNOOP, 0x8001)                        # first stage, supervisor requests too
    entry(1, 0xc000 | 2 << 6 | 2 << 2 | 1, 2 | SNOOP)              # second stage
    entry(2, 0x10000 | 3 << 6 | 2 << 2 | 1, 3 | SNOOP, 0x8000)     # nested
    entry(3, 4 << 6 | 1, 4)                                        # pass-through
    entry(5, 5 << 6 | 1, 5)                                        # a reserved PGTT
    entry(6, 1 << 6 | 1, 6, 0x8000)                                # first stage whose walks do not snoop
    m.put(0x8000, 0x9007)
    m.put(0x8ff8, 0xe007)
    m.put(0x9000, 0xa007)
    m.put(0xa000, 0xb007, 0x60_0087)
    m.put(0xb000, 0, 0x5007, 0x6005, 0x7003, 0x7067)  # -, rw, r, supervisor only, rw with A and D
    m.put(0xeff8, 0x4000_0087)
    m.put(0xc000, 0xd003)
    m.put(0xd000, 0x4000_0083, 0x8000_0081)
    m.put(0x10000, 0x11003)
    m.put(0x11000, 0x12003)
    m.put(0x12000, 0x13003, 0, 0, 0xa0_0083)
    m.put(0x13000 + 8 * 5, 0x25003, 0x26001)
    m.put(0x13000 + 8 * 8, 0x8003, 0x9003, 0xa003, 0xb003)
    m.put(0x13000 + 8 * 14, 0xe003)
    return m


def fault(code, stage, level, name, at, address=None, reported=1):
    return f"fault\t{code}\t{stage}\t{level}\tname={name} at={at}" + (f" addr={address}" if address else "") + f" reported={reported}"


GOLDEN = [
    ("0 - 1234 r", "ok\t5234\trw\t12"), ("0 - 1234 rw", "ok\t5234\trw\t12"), ("0 - 2000 r", "ok\t6000\tr\t12"),
    ("0 - 2000 w", fault("85", 1, 1, "scalable_write_denied", "input", "b010")),
    ("0 - 3000 r", fault("81", 1, 1, "user_denied", "input", "b018")),
    ("1 - 3000 w", "ok\t7000\trw\t12"), ("1 - 2000 w", "ok\t6000\trw\t12"),  # R/W does not bind the privileged without WPE
    ("0 - 0 r", fault("71", 1, 1, "first_stage_not_present", "input", "b000")),
    ("0 - 200040 w", "ok\t600040\trw\t21"), ("0 - ffffffffc0000123 r", "ok\t40000123\trw\t30"),
    ("0 - 800000000000 r", fault("80", 1, "-", "not_canonical", "input")),
    ("0 0 1234 r", fault("48", 0, "-", "pasid_is_rid_pasid", "context", "2000")),
    ("1 1 1234 r", fault("45", 0, "-", "pasid_disabled", "context", "2020")),
    ("0 1 123 w", "ok\t40000123\trw\t30"), ("0 1 40000000 r", "ok\t80000000\tr\t30"),
    ("0 1 40000000 w", fault("85", 2, 3, "scalable_write_denied", "input", "d008")),
    ("0 1 80000000 r", fault("79", 2, 3, "second_stage_not_present", "input", "d010")),
    ("0 1 1000000000000 r", fault("84", 2, "-", "input_beyond_second_stage", "input")),
    ("0 2 1234 w", "ok\t25234\trw\t12"), ("0 2 2000 r", "ok\t26000\tr\t12"), ("0 2 200040 w", "ok\ta00040\trw\t21"),
    ("0 2 2000 w", fault("85", 1, 1, "scalable_write_denied", "input", "b010")),
    ("0 3 12345 rw", "ok\t12345\trw\t-"), ("0 3 fee00000 w", fault("87", 0, "-", "scalable_output_in_interrupt_range", "input")),
    ("0 4 0 r", fault("59", 0, "-", "pasid_entry_not_present", "context", "4100")),
    ("2 - 0 r", fault("59", 0, "-", "pasid_entry_not_present", "context", "4100", 0)),
    ("0 5 0 r", fault("5b", 0, "-", "pasid_entry_invalid", "context", "4140")),
    # An update that is due is judged, and never made.
    ("0 6 1234 r", fault("90", 1, 4, "first_stage_update_unsnooped", "table", "8000")),
    ("0 40 0 r", fault("51", 0, "-", "pasid_directory_not_present", "context", "3008")),
    ("0 2000 0 r", fault("46", 0, "-", "pasid_beyond_directory", "context", "2000")),
    ("8 - 0 r", fault("41", 0, "-", "scalable_context_not_present", "context", "2100")),
    ("80 - 0 r", fault("39", 0, "-", "scalable_root_not_present", "context", "1008")),
    ("0 - fee00004 w", "interrupt\tfee00004"), ("0 - fee00004 r", fault("29", 0, "-", "interrupt_request_illegal", "input")),
]


class Scalable(inspect_capture.Case):
    def setUp(self):
        super().setUp()
        self.made = image().write(self.folder / "made", REGISTERS, format="vtd-scalable")

    def json(self, command, *options):
        status, out, err = self.run_tool(command, "--capture", self.made, "--json", *options)
        self.assertEqual((status, err), (0, ""))
        return json.loads(out)

    def check(self, capture, truth=None):
        more = []
        if truth is not None:
            file = self.folder / "truth.tsv"
            file.write_text("\t".join(truth.split()) + "\ttest\n")
            more = ["--truth", file]
        status, out, err = self.run_tool("check", "--capture", capture, *more)
        found = re.match(r"(\d+) checked, (\d+) agree, (\d+) disagree, (\d+) undecidable\n", out.decode())
        self.assertTrue(found, (out, err))
        return status, tuple(map(int, found.groups()))

    def test_shipped_capture_in_full(self):
        self.assertEqual(self.check(self.shipped), (0, (1329, 1329, 0, 0)))

    def test_table_page_removed(self):
        capture = self.copy()
        index = (capture / "pages.idx").read_text().split("\n")
        (capture / "pages.idx").write_text("\n".join(line for line in index if not line.startswith("102fec000 ")))
        status, (checked, agree, disagree, undecidable) = self.check(capture)
        self.assertEqual((status, checked, disagree), (0, 1329, 0))
        self.assertGreater(undecidable, 2)

    def test_translate(self):
        answers = self.translate(self.made, [line for line, _ in GOLDEN])
        for (line, expected), answer in zip(GOLDEN, answers):
            self.assertEqual(answer, expected, line)
        self.assertEqual((self.folder / "made" / "pages.bin").stat().st_size % 4096, 0)

    def test_lacking_pages(self):
        for page, line in ((0x13000, "0 2 1234 r"), (0xb000, "0 2 1234 r"), (0x4000, "0 3 0 r"), (0x3000, "0 - 0 r"),
                           (0x2000, "0 - 0 r"), (0x8000, "0 - 0 r")):
            m = image()
            del m.pages[page]
            self.assertEqual(self.translate(m.write(self.folder / "less", REGISTERS, format="vtd-scalable"), [line]), [f"missing\t{page:x}"])

    def test_check(self):
        for line, verdict in (("0 - 1000 5000 rw 1000", "A"), ("0 - 2000 6000 r 1000", "A"), ("0 - 2000 6000 rw 1000", "D"),
                              ("0 - 1000 5000 ? 3000", "D"), ("0 - 3000 - - 1000", "A"), ("1 - 3000 7000 rw 1000", "A"),
                              ("0 1 0 40000000 rw 40000000", "A"), ("0 1 0 40000000 rw 40000001", "D"),
                              ("0 1 40000000 80000000 r 40000000", "A"), ("0 1 40000000 - !w 40000000", "A"),
                              ("0 1 80000000 - - ffffffff80000000", "A"), ("0 2 1000 25000 rw 1000", "A"),
                              ("0 2 2000 26000 r 1000", "A"), ("0 2 200000 a00000 rw 200000", "A"),
                              ("0 2 200000 a00000 rw 200001", "D"), ("0 3 0 0 rw 1000000000000", "A"),
                              ("0 - 800000000000 - - ffff000000000000", "A"), ("0 - 800000000000 - - ffff7fffc0000000", "A"),
                              ("0 - 800000000000 - - ffff7fffc0000001", "D"), ("0 - ffffffffc0000000 40000000 rw 40000000", "A")):
            status, figures = self.check(self.made, line)
            self.assertEqual((status, figures), (0 if verdict == "A" else 1, (1, verdict == "A", verdict == "D", 0)), line)

    def test_devices(self):
        bound = [(d["source_id"], d["pasid"], d.get("mode")) for d in self.json("devices")["devices"]]
        first, second = "first stage, 4 levels", "second stage, 4 levels"
        self.assertEqual(bound[:6], [("0x0", None, first), ("0x0", "0x1", second), ("0x0", "0x2", "nested, 4 over 4 levels"),
                                     ("0x0", "0x3", "pass-through"), ("0x0", "0x5", None), ("0x0", "0x6", first)])
        self.assertEqual([d["pasid"] for d in self.json("devices", "--source", "0", "--pasid", "2")["devices"]], ["0x2"])
        self.assertEqual([d["source_id"] for d in self.json("devices", "--pasid", "1")["devices"]], ["0x0", "0x1", "0x2"])

    def test_ranges_of_nested_tables(self):
        ranges = self.json("ranges", "--source", "0", "--pasid", "2")["devices"][0]["ranges"]
        self.assertEqual([(r["first"], r["last"], r["output"], r["rights"]) for r in ranges],
                         [("0x1000", "0x1fff", "0x25000", "rw"), ("0x2000", "0x2fff", "0x26000", "r"),
                          ("0x200000", "0x3fffff", "0xa00000", "rw")])

    def test_walk_and_record(self):
        entries = self.json("walk", "1234", "--source", "0", "--pasid", "2")["entries"]
        # Root, context, directory, PASID; 4 first-stage entries with 4 second-stage ones each; 4 for the page.
        self.assertEqual(len(entries), 4 + 4 * 5 + 4)
        self.assertEqual(entries[-1]["what"], "second stage of the page, level 1, PTE")
        record = self.json("walk", "40000000", "--write", "--source", "0", "--pasid", "1")["record"]["words"]
        self.assertEqual(record, ["0x40000000", "0x8000018580000000"])

    def test_tree(self):
        entries = self.json("tree", "--source", "0", "--pasid", "2")["entries"]
        self.assertEqual([e["address"] for e in entries[:5]], ["0x1000", "0x2000", "0x3000", "0x4080", "0x8000"])
        self.assertEqual({e.get("read_address") for e in entries if "first stage" in e["what"]} - {None},
                         {e["address"] for e in entries if "first stage" in e["what"]})
        self.assertIn("0x11000", [e.get("address") for e in entries])

    def test_loops_of_tables(self):
        m = image()
        # A PASID directory of 2^14 entries, each a PASID table of first-stage tables that contain themselves.
        m.put(0x2000, 0x20001 | 1 << 3 | 7 << 9, 0)
        for page in range(32):
            m.put(0x20000 + 4096 * page, *[0x5_0001] * 512)
        for i in range(64):
            m.put(0x5_0000 + 64 * i, 1 << 6 | 1, SNOOP, 0x5_1000)
        m.put(0x5_1000, *[0x5_1007] * 512)
        capture = m.write(self.folder / "loop", REGISTERS, format="vtd-scalable")
        for command in (["tree"], ["tree", "--range", "0", "fffffff", "--max-entries", "5000"],
                        ["ranges", "--source", "0", "--pasid", "7", "--max-loads", "100000"],
                        ["devices", "--source", "0"]):
            status, _, _ = self.run_tool(*command, "--capture", capture)
            self.assertEqual(status, 0, command)

    def test_contradictions(self):
        self.assertEqual(self.translate(image().write(self.folder / "x", {**REGISTERS, "ECAP": "0xf00f4a"}, format="vtd-sm"), ["0 - 0 r"]),
                         [fault("30", 0, "-", "root_pointer_invalid", "context")])
        self.refused("devices", "--capture", image().write(self.folder / "y", {**REGISTERS, "RTADDR": "0x1000"}, format="vtd-scalable"),
                     saying="RTADDR.TTM selects legacy mode")
        m = image()
        del m.pages[0x1000]
        self.refused("devices", "--capture", m.write(self.folder / "z", REGISTERS, format="vtd-scalable"), saying="root table at 1000")

    def test_80_columns(self):
        for command in (["devices"], ["ranges"], ["stats"], ["tree"], ["walk", "1234", "--source", "0", "--pasid", "2"]):
            for capture in (self.made, self.shipped):
                status, out, err = self.run_tool(*command[:4] if capture is self.shipped else command, "--capture", capture)
                self.assertEqual(status, 0, err)
                self.assertEqual([line for line in out.decode().split("\n") if len(line) > 80], [], command)

    def test_demo(self):
        status, out, _ = self.run_tool("demo", "--capture", self.shipped)
        self.assertEqual(status, 0)
        self.assertRegex(out.decode(), r"(?m)^ +0  wrong$")


if __name__ == "__main__":
    inspect_capture.main()
