#!/usr/bin/env python3
"""`stagewalk-inspect check`: exact figures and exit statuses. Usage: inspect_check.py TOOL CAPTURE"""
import json
import re

import inspect_capture
from inspect_capture import Image

TOP = 0xffffffffffffffff


class Check(inspect_capture.Case):
    def check(self, capture, truth=None, *options):
        """Status, (checked, agree, disagree, undecidable), all of the output."""
        if isinstance(truth, list):
            file = self.folder / "truth.tsv"
            file.write_text("# a comment\n\n" + "".join("\t".join(line) + "\ttest\n" for line in truth))
            truth = file
        status, out, err = self.run_tool("check", "--capture", capture, *(["--truth", truth] if truth else []), *options)
        found = re.match(r"(\d+) checked, (\d+) agree, (\d+) disagree, (\d+) undecidable\n", out.decode())
        self.assertTrue(found, (out, err))
        figures = tuple(map(int, found.groups()))
        self.assertEqual(figures[0], sum(figures[1:]))
        return status, figures, out.decode()

    def each(self, capture, cases):
        """Every case by itself: (line, what becomes of it: A, D or U)."""
        for line, verdict in cases:
            status, figures, out = self.check(capture, [line.split()])
            self.assertEqual(figures, (1, verdict == "A", verdict == "D", verdict == "U"), (line, out))
            self.assertEqual(status, 0 if verdict == "A" else 1, line)

    # --- the shipped capture ---------------------------------------------------------------------------------------
    def lines(self):
        return [line for line in (self.shipped_truth()).split("\n") if line and not line.startswith("#")]

    def shipped_truth(self):
        with open(f"{self.shipped}/truth.tsv", encoding="utf-8") as file:
            return file.read()

    def test_shipped_capture_in_full(self):
        n = len(self.lines())
        self.assertEqual(n, 1365)
        status, figures, out = self.check(self.shipped, f"{self.shipped}/truth.tsv")
        self.assertEqual((status, figures), (0, (n, n, 0, 0)), out)

    def test_table_page_removed(self):
        # The leaf table below 00:10.0's run of 40 pages.
        traced = json.loads(self.run_tool("walk", "10000001000", "--source", "80", "--capture", self.shipped, "--json")[1])
        page = int(traced["entries"][-1]["address"], 16) & ~0xfff
        capture = self.copy()
        index = (capture / "pages.idx").read_text().split("\n")
        kept = [line for line in index if not line.startswith(f"{page:x} ")]
        self.assertEqual(len(kept), len(index) - 1)
        (capture / "pages.idx").write_text("\n".join(kept))
        status, figures, out = self.check(capture)
        gone = [line for line in self.lines() if line.startswith("0080\t") and int(line.split("\t")[2], 16) >> 21 == 0x10000001000 >> 21]
        self.assertGreater(len(gone), 2)
        self.assertEqual((status, figures), (0, (1365, 1365 - len(gone), 0, len(gone))), out)
        self.assertIn(f"{page:x}", out)
        # Only such lines: nothing agrees, so the status is 1.
        truth = self.folder / "gone.tsv"
        truth.write_text("\n".join(gone) + "\n")
        status, figures, out = self.check(capture, truth)
        self.assertEqual((status, figures), (1, (len(gone), 0, 0, len(gone))), out)

    def test_wrong_truth(self):
        truth = self.shipped_truth().replace("0080\t-\t10000001000\t103083000\trw\t28000", "0080\t-\t10000001000\t103083000\trw\t29000")
        self.assertNotEqual(truth, self.shipped_truth())
        file = self.folder / "wrong.tsv"
        file.write_text(truth)
        status, figures, out = self.check(self.shipped, file)
        self.assertEqual((status, figures[1:]), (1, (1364, 1, 0)), out)
        # The first byte that does not agree is the one behind the run, and its walk is shown.
        self.assertIn("at 10000029000, expected at 1030ab000", out)
        self.assertIn("second stage, level 1, PTE", out)
        status, out, _ = self.run_tool("check", "--capture", self.shipped, "--truth", file, "--json")
        answer = json.loads(out)
        self.assertEqual((status, answer["disagree"], answer["disagreements"][0]["iova"]), (1, 1, "0x10000029000"))

    def test_no_lines(self):
        self.assertEqual(self.check(self.shipped, [])[:2], (1, (0, 0, 0, 0)))

    # --- the meaning of each kind of line ---------------------------------------------------------------------------
    def made(self, **meta):
        """00: 0 rw, 1000 r, 2000 w, 3000 -, 4000 rw next to 5000 rw, 200000 2M, then a missing table. 08: pass-through.
        10: 4 levels whose last page maps. 18: a context entry that is not valid."""
        m = Image()
        m.put(0x1000, 0x2001, 0)
        m.put(0x2000, 0x8001, 2)
        m.put(0x2080, 0x9, 2)
        m.put(0x2100, 0xd001, 2)
        m.put(0x2180, 0x8011, 2)
        m.put(0x8000, 0x9003)
        m.put(0x9000, 0xa003)
        m.put(0xa000, 0xb003, 0x60_0083, 0x80_0083, 0x666003)
        m.put(0xb000, 0x10003, 0x11001, 0x12002, 0, 0x20003, 0x21003)
        m.put(0xbff8, 0x5ff003)
        m.put(0xdff8, 0xe003)
        m.put(0xeff8, 0xf003)
        m.put(0xfff8, 0x4000_0083)
        return m.write(self.folder / "made", **meta)

    def test_rights(self):
        self.each(self.made(), [
            ("0 - 0 10000 rw 1000", "A"), ("0 - 0 10000 r 1000", "D"), ("0 - 0 10000 w 1000", "A"), ("0 - 0 10000 ? 1000", "A"),
            ("0 - 0 - !w 1000", "D"), ("0 - 0 - - 1000", "D"), ("0 - 0 10001 rw 1000", "D"), ("0 - 0 10000 rw 1001", "D"),
            ("0 - 1000 11000 rw 1000", "D"), ("0 - 1000 11000 r 1000", "A"), ("0 - 1000 11000 w 1000", "D"),
            ("0 - 1000 11000 ? 1000", "A"), ("0 - 1000 12000 ? 1000", "D"), ("0 - 1000 - !w 1000", "A"), ("0 - 1000 - - 1000", "D"),
            ("0 - 1000 11000 !w 1000", "A"), ("0 - 1000 13000 !w 1000", "D"),
            ("0 - 2000 12000 w 1000", "A"), ("0 - 2000 12000 r 1000", "D"), ("0 - 2000 12000 rw 1000", "D"),
            ("0 - 2000 12000 ? 1000", "A"), ("0 - 2000 - !w 1000", "D"), ("0 - 2000 - - 4", "D"),
            ("0 - 3000 - - 1000", "A"), ("0 - 3000 13000 ? 1000", "D"), ("0 - 3000 13000 r 1000", "D"), ("0 - 3000 - !w 1000", "D"),
            ("18 - 0 - - 1000", "A"), ("18 - 0 0 r 1000", "D"), ("ffff - 0 - - 10000000000000000", "A"),
            ("0 5 0 10000 rw 1000", "D"), ("0 5 0 - - 1000", "A")])

    def test_every_byte_counts(self):
        self.each(self.made(), [
            ("0 - 4000 20000 rw 2000", "A"), ("0 - 4000 20000 rw 2001", "D"), ("0 - 4fff 20fff rw 2", "A"),
            ("0 - 4ffe 20ffe ? 1002", "A"), ("0 - 4ffe 20ffe ? 1003", "D"), ("0 - 6000 - - 1f9000", "A"),
            ("0 - 6000 - - 1f9001", "D"), ("0 - 200000 600000 rw 400000", "A"), ("0 - 2fffff 6fffff rw 300001", "A"),
            ("0 - 1ff000 5ff000 rw 401000", "A"), ("0 - 3ff 103ff rw 1", "A"),
            # Whatever happens after it, a step that the capture cannot decide makes the line undecidable.
            ("0 - 200000 600000 rw 400001", "U"), ("0 - 600000 - - 4", "U"), ("0 - 600000 0 ? 4", "U"), ("0 - 600000 - !w 4", "U")])

    def test_top_of_the_space(self):
        self.each(self.made(), [
            ("10 - ffffffe00000 40000000 rw 200000", "A"), ("10 - ffffffffffff 401fffff rw 1", "A"),
            ("10 - ffffffffffff 401fffff rw 2", "D"), ("10 - 1000000000000 - - ffff000000000000", "A"),
            (f"10 - {TOP:x} - - 1", "A"), ("10 - 0 - - 10000000000000000", "D"), ("10 - 0 - - ffffffe00000", "A"),
            ("10 - 0 - - ffffffe00001", "D"), (f"0 - {TOP:x} {TOP:x} ? 1", "D")])

    def test_pass_through(self):
        self.each(self.made(), [
            ("8 - 0 0 rw 1000", "A"), ("8 - 0 0 r 1000", "D"), ("8 - 0 0 ? 1000000000000", "A"), ("8 - 0 0 ? 1000000000001", "D"),
            ("8 - 1000 2000 ? 1000", "D"), ("8 - 0 - !w 1000", "D"), ("8 - 1000000000000 - - 1000", "A"),
            # Range rules are off.
            ("8 - fee00000 fee00000 rw 100000", "A")])
        self.each(self.made(haw=40), [("8 - 0 0 rw 10000000000", "A"), ("8 - 0 0 rw 10000000001", "D")])

    def test_bad_truth(self):
        capture = self.made()
        file = self.folder / "bad.tsv"
        good = "0\t-\t0\t10000\trw\t1000\tx\n"
        for line, part in {"0\t-\t0\t10000\trw\t1000": "7 columns", "0\t-\t0": "7 columns",
                           "10000\t-\t0\t0\trw\t1\tx": "source_id", "0\t100000\t0\t0\trw\t1\tx": "pasid",
                           "0\t-\tx\t0\trw\t1\tx": "iova", "0\t-\t10000000000000000\t0\trw\t1\tx": "iova",
                           "0\t-\t0\ty\trw\t1\tx": "gpa", "0\t-\t0\t-\trw\t1\tx": "gpa is missing",
                           "0\t-\t0\t0\tx\t1\tx": "perms", "0\t-\t0\t0\trw\t0\tx": "size is 0", "0\t-\t0\t0\trw\tz\tx": "size",
                           f"0\t-\t1\t0\trw\t{TOP:x}\tx": "A", f"0\t-\t2\t0\trw\t{TOP:x}\tx": "pass 2^64",
                           f"0\t-\t0\t2\trw\t{TOP:x}\tx": "gpa and size pass 2^64",
                           "0\t-\t1\t-\t-\t10000000000000000\tx": "pass 2^64"}.items():
            file.write_text(good + line + "\n")
            if part == "A":
                self.assertIn(self.run_tool("check", "--capture", capture, "--truth", file)[0], (0, 1), line)
            else:
                self.refused("check", "--capture", capture, "--truth", file, saying=["bad.tsv", "line 2", part])
        self.refused("check", "--capture", capture, saying="truth.tsv")
        self.refused("check", "--capture", capture, "--truth", self.folder / "absent", saying="absent")


if __name__ == "__main__":
    inspect_capture.main()
