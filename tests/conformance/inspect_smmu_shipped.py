#!/usr/bin/env python3
"""stagewalk-inspect on a shipped SMMUv3 capture. Usage: inspect_smmu_shipped.py TOOL CAPTURE"""
import json
import re

import inspect_capture

# What each capture holds: lines of its truth, pages, those of page tables, what 00:10.0 is bound to, the leaves of 00:07.0 by lg2
# size, and the levels of a walk to a page.
FIGURES = {
    "smmuv3-s1-4k": {"lines": 1379, "pages": 309, "tables": 279, "domain": "ASID 5", "mode": "stage 1, 4K 48 bits",
                     "leaves": {"12": 75, "21": 2, "30": 1}, "root": "0x102169000", "levels": [None, None, None, 0, 1, 2, 3],
                     "stage": "1"},
    "smmuv3-s2-16k": {"lines": 1325, "pages": 781, "tables": 764, "domain": "VMID 5", "mode": "stage 2, 16K 44 bits",
                      "leaves": {"14": 75, "25": 2}, "root": "0x101d2c000", "levels": [None, None, 1, 2, 3], "stage": "2"},
}


class Shipped(inspect_capture.Case):
    def setUp(self):
        super().setUp()
        self.expected = FIGURES[inspect_capture.pathlib.Path(self.shipped).name]

    def json(self, command, *options, capture=None):
        status, out, err = self.run_tool(command, "--capture", capture or self.shipped, "--json", *options)
        self.assertEqual((status, err), (0, ""))
        answer = json.loads(out)
        self.assertEqual(answer["schema"], f"stagewalk-inspect.{command}/1")
        return answer

    def check(self, capture, *options):
        status, out, err = self.run_tool("check", "--capture", capture, *options)
        found = re.match(r"(\d+) checked, (\d+) agree, (\d+) disagree, (\d+) undecidable\n", out.decode())
        self.assertTrue(found, (out, err))
        return status, tuple(map(int, found.groups()))

    def lines(self):
        text = inspect_capture.pathlib.Path(self.shipped, "truth.tsv").read_text()
        return [line.split("\t") for line in text.split("\n") if line and not line.startswith("#")]

    def without(self, page):
        capture = self.copy()
        index = (capture / "pages.idx").read_text().split("\n")
        kept = [line for line in index if not line.startswith(f"{page:x} ")]
        self.assertEqual(len(kept), len(index) - 1)
        (capture / "pages.idx").write_text("\n".join(kept))
        return capture

    def test_in_full(self):
        n = self.expected["lines"]
        self.assertEqual(len(self.lines()), n)
        self.assertEqual(self.check(self.shipped), (0, (n, n, 0, 0)))

    def test_table_page_removed(self):
        first = next(line for line in self.lines() if line[0] == "0080" and line[4] == "rw")
        traced = self.json("walk", first[2], "--source", "80")
        self.assertEqual([e.get("level") for e in traced["entries"]], self.expected["levels"])
        page = int(traced["entries"][-1]["address"], 16) & ~0xfff
        capture = self.without(page)
        status, (checked, agree, disagree, undecidable) = self.check(capture)
        self.assertEqual((status, checked, disagree), (0, self.expected["lines"], 0))
        self.assertGreaterEqual(undecidable, 1)
        self.assertEqual(self.translate(capture, [f"80 - {first[2]} r"]), [f"missing\t{page:x}"])
        self.assertIn(f"page {page:x} is not captured", self.run_tool("tree", "--capture", capture)[1].decode())

    def test_wrong_truth(self):
        lines = self.lines()
        at = next(i for i, line in enumerate(lines) if line[0] == "0080" and line[4] == "rw" and line[3] != line[2])
        lines[at][3] = f"{int(lines[at][3], 16) + 0x1000:x}"
        file = self.folder / "wrong.tsv"
        file.write_text("".join("\t".join(line) + "\n" for line in lines))
        n = self.expected["lines"]
        self.assertEqual(self.check(self.shipped, "--truth", file), (1, (n, n - 1, 1, 0)))
        self.assertIn(f"stage {self.expected['stage']}, level 3, page".encode(),
                      self.run_tool("check", "--capture", self.shipped, "--truth", file)[1])

    def test_translate_is_what_check_finds(self):
        asked = [line for line in self.lines() if line[4] in ("r", "w", "rw")]
        answers = self.translate(self.shipped, [f"{line[0]} {line[1]} {line[2]} {line[4]}" for line in asked])
        self.assertEqual([answer.split("\t")[:2] for answer in answers], [["ok", f"{int(line[3], 16):x}"] for line in asked])
        # There is no interrupt range, whatever the options say.
        self.assertEqual(self.translate(self.shipped, ["28 - fee00000 w"]), ["ok\tfee00000\trw\t-"])
        self.assertEqual(self.translate(self.shipped, ["28 - fee00000 w"], "--no-ranges"), ["ok\tfee00000\trw\t-"])

    def test_devices(self):
        devices = {d["source_id"]: d for d in self.json("devices")["devices"]}
        self.assertEqual(len(devices), 15)
        one = devices["0x80"]
        self.assertEqual((one["bdf"], one["domain"], one["mode"], one["root"]),
                         ("00:10.0", self.expected["domain"], self.expected["mode"], self.expected["root"]))
        self.assertTrue(devices["0x28"]["bypasses"])
        self.assertEqual((devices["0x100"]["driver"], devices["0x300"]["known_to_kernel"]), ("e1000e", False))
        aborted = self.json("devices", "--source", "1")["devices"][0]
        self.assertEqual((aborted["bound"], aborted["why_not"]["meaning"]), (False, "the request is aborted without an event"))

    def test_ranges(self):
        devices = {d["source_id"]: d for d in self.json("ranges")["devices"]}
        self.assertEqual((devices["0x300"]["same_tables_as"], devices["0x318"]["same_tables_as"]), ("0x38", "0x38"))
        self.assertEqual([d["invalid_entries"] + d["entries_not_captured"] for d in devices.values()], [0] * 15)
        # Whatever the kernel mapped lies in a range, with the rights that it asked for.
        for line in self.lines():
            if not line[6].startswith("iommu_map"): continue
            device = devices[hex(int(line[0], 16))]
            ranges = devices[device.get("same_tables_as", device["source_id"])]["ranges"]
            first = int(line[2], 16)
            last = first + int(line[5], 16) - 1
            here = [r for r in ranges if int(r["first"], 16) <= first and last <= int(r["last"], 16)]
            self.assertEqual(len(here), 1, line)
            self.assertEqual(int(here[0]["output"], 16) + first - int(here[0]["first"], 16), int(line[3], 16), line)
            self.assertLessEqual(set(line[4]), set(here[0]["rights"]), line)

    def test_stats(self):
        answer = self.json("stats")
        self.assertEqual(answer["captured_pages"], self.expected["pages"])
        self.assertEqual(len(answer["domains"]), 12)
        self.assertEqual(sum(d["table_pages"] for d in answer["domains"]), self.expected["tables"])
        self.assertEqual(sum(d["invalid_entries"] + d["entries_not_captured"] for d in answer["domains"]), 0)
        self.assertEqual(next(d for d in answer["domains"] if "0x38" in d["sources"])["leaves"], self.expected["leaves"])

    def test_tree(self):
        answer = self.json("tree")
        entries = [e for e in answer["entries"] if "address" in e]
        self.assertTrue(answer["complete"])
        self.assertEqual(len(entries), answer["entries_shown"])
        self.assertEqual(len({e["address"] for e in entries}), len(entries))
        self.assertEqual(len([e for e in entries if e["what"].startswith("stream table entry")]), 1024)
        # Every captured page with a word that is not zero.
        words = memoryview(inspect_capture.pathlib.Path(self.shipped, "pages.bin").read_bytes()).cast("Q")
        present = set()
        for line in inspect_capture.pathlib.Path(self.shipped, "pages.idx").read_text().split("\n")[:-1]:
            address, offset = line.split()
            if any(words[int(offset) // 8:int(offset) // 8 + 512]):
                present.add(int(address, 16))
        self.assertEqual({int(e["address"], 16) & ~0xfff for e in entries}, present)

    def test_damage_anywhere(self):
        """Whatever a guest writes into its tables is answered, and in bounded time."""
        pages = bytearray(inspect_capture.pathlib.Path(self.shipped, "pages.bin").read_bytes())
        state = 1
        capture = self.copy()
        for _ in range(4):
            for _ in range(4000):
                state = state * 6364136223846793005 + 1442695040888963407 & 2**64 - 1
                pages[(state >> 20) % len(pages)] = state >> 56
            (capture / "pages.bin").write_bytes(pages)
            for command in (["devices"], ["ranges"], ["stats"], ["check"], ["tree"]):
                options = ["--max-loads", "1000000"] if command[0] in ("ranges", "stats", "tree") else []
                status, _, err = self.run_tool(*command, *options, "--capture", capture)
                self.assertIn(status, (0, 1), err)

    def test_stream_table_absent(self):
        meta = json.loads(inspect_capture.pathlib.Path(self.shipped, "meta.json").read_text())
        table = int(meta["registers"]["STRTAB_BASE"], 16) & 0xffffffffffff
        self.refused("devices", "--capture", self.without(table),
                     saying=["pages.idx", f"the stream table at {table:x} (registers.STRTAB_BASE) is not among the pages"])

    def test_80_columns(self):
        for command in (["devices"], ["devices", "--source", "80"], ["ranges"], ["stats"], ["tree"], ["walk", "126e4000", "--source", "80"]):
            status, out, err = self.run_tool(*command, "--capture", self.shipped)
            self.assertEqual(status, 0, err)
            self.assertEqual([line for line in out.decode().split("\n") if len(line) > 80], [], command)

    def test_demo(self):
        status, out, _ = self.run_tool("demo", "--capture", self.shipped)
        self.assertEqual(status, 0)
        self.assertRegex(out.decode(), r"(?m)^ +0  wrong$")
        self.assertIn("Step by step", out.decode())


if __name__ == "__main__":
    inspect_capture.main()
