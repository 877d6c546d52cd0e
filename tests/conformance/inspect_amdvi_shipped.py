#!/usr/bin/env python3
"""stagewalk-inspect on the shipped AMD-Vi capture. Usage: inspect_amdvi_shipped.py TOOL CAPTURE"""
import json
import re

import inspect_capture

LINES, PAGES, DEVICE_PAGES = 1816, 480, 8
# The leaves of 00:07.0 by lg2 size: a page that stands in many slots is one.
LEAVES = {"12": 31, "13": 21, "14": 2, "21": 2, **{str(lg2): 1 for lg2 in range(15, 41) if lg2 not in (21, 39)}}


class Shipped(inspect_capture.Case):
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
        self.assertEqual(len(self.lines()), LINES)
        # Pages of 2^40 bytes among them, each checked to its last byte.
        self.assertEqual(len([line for line in self.lines() if line[5] == "10000000000"]), 4)
        self.assertEqual(self.check(self.shipped), (0, (LINES, LINES, 0, 0)))

    def test_second_slot_of_a_page(self):
        """A page larger than its slots: each slot has an entry of its own, and each is looked at."""
        pages = bytearray(inspect_capture.pathlib.Path(self.shipped, "pages.bin").read_bytes())
        last = self.json("walk", "1d8000000000", "--source", "80")["entries"][-1]
        self.assertEqual((last["level"], last["verdict"]), (4, "maps 1T at 0, one of 2 entries for the same page"))
        address = int(last["address"], 16)
        index = inspect_capture.pathlib.Path(self.shipped, "pages.idx").read_text()
        at = int(re.search(rf"(?m)^{address & ~0xfff:x} (\d+)$", index)[1]) + (address & 0xfff)
        self.assertEqual(pages[at:at + 8], int(last["words"][0], 16).to_bytes(8, "little"))
        pages[at:at + 8] = bytes(8)
        capture = self.copy()
        (capture / "pages.bin").write_bytes(pages)
        status, (checked, agree, disagree, undecidable) = self.check(capture)
        self.assertEqual((status, checked, undecidable), (1, LINES, 0))
        self.assertGreaterEqual(disagree, 1)
        self.assertEqual(self.translate(capture, ["80 - 1d7fffffffff r", "80 - 1d8000000000 r"])[0], "ok\t7fffffffff\trw\t40")
        self.assertIn("at 1d8000000000, expected at 8000000000", self.run_tool("check", "--capture", capture)[1].decode())

    def test_table_page_removed(self):
        first = next(line for line in self.lines() if line[0] == "0080" and line[4] == "rw")
        traced = self.json("walk", first[2], "--source", "80")
        self.assertEqual([e.get("level") for e in traced["entries"]], [None, 6, 5, 4, 3, 2, 1])
        page = int(traced["entries"][-1]["address"], 16) & ~0xfff
        capture = self.without(page)
        status, (checked, agree, disagree, undecidable) = self.check(capture)
        self.assertEqual((status, checked, disagree), (0, LINES, 0))
        self.assertGreaterEqual(undecidable, 1)
        self.assertEqual(self.translate(capture, [f"80 - {first[2]} r"]), [f"missing\t{page:x}"])
        self.assertIn(f"page {page:x} is not captured", self.run_tool("tree", "--capture", capture)[1].decode())

    def test_wrong_truth(self):
        lines = self.lines()
        at = next(i for i, line in enumerate(lines) if line[0] == "0080" and line[4] == "rw" and line[3] != line[2])
        lines[at][3] = f"{int(lines[at][3], 16) + 0x1000:x}"
        file = self.folder / "wrong.tsv"
        file.write_text("".join("\t".join(line) + "\n" for line in lines))
        self.assertEqual(self.check(self.shipped, "--truth", file), (1, (LINES, LINES - 1, 1, 0)))
        self.assertIn(b"host table, level 1, PTE", self.run_tool("check", "--capture", self.shipped, "--truth", file)[1])

    def test_translate_is_what_check_finds(self):
        asked = [line for line in self.lines() if line[4] in ("r", "w", "rw")]
        answers = self.translate(self.shipped, [f"{line[0]} {line[1]} {line[2]} {line[4]}" for line in asked])
        self.assertEqual([answer.split("\t")[:2] for answer in answers], [["ok", f"{int(line[3], 16):x}"] for line in asked])
        # Devices write interrupts to their range; memory it is for tables alone.
        self.assertEqual(self.translate(self.shipped, ["28 - fee01004 w", "0 - fee01004 w"]), ["interrupt\tfee01004"] * 2)
        self.assertEqual(self.translate(self.shipped, ["28 - fee01004 w"], "--no-ranges"), ["ok\tfee01004\trw\t-"])
        # HyperTransport's range is ordinary: QEMU translates there.
        self.assertEqual(self.translate(self.shipped, ["28 - fd00000000 w"]), ["ok\tfd00000000\trw\t-"])

    def test_devices(self):
        devices = {int(d["source_id"], 16): d for d in self.json("devices")["devices"]}
        # Every valid entry of the device table.
        self.assertEqual(sorted(devices), list(range(1024)))
        self.assertEqual(len([d for d in devices.values() if d["known_to_kernel"]]), 17)
        one = devices[0x80]
        self.assertEqual((one["bdf"], one["domain"], one["mode"], one["root"]), ("00:10.0", "DomainID 6", "host, Mode 6", "0x102d75000"))
        self.assertEqual(one["details"]["host tables"], "Mode 6, at 102d75000")
        self.assertEqual([devices[i]["mode"] for i in (0, 0x88, 0x90)], ["host, Mode 3", "host, Mode 4", "host, Mode 5"])
        self.assertTrue(devices[0x28]["bypasses"])
        self.assertEqual(devices[0x28]["details"]["interrupts"], "remapped by a table of 512 at 1025b2000")
        self.assertEqual((devices[0x100]["driver"], devices[0x300]["known_to_kernel"]), ("e1000e", False))
        self.assertEqual((devices[1]["bound"], devices[1]["mode"], devices[1]["why_not"]["meaning"]),
                         (False, "blocked (IR=IW=0)", "the device table entry does not grant the access (IR, IW)"))
        text = self.run_tool("devices", "--capture", self.shipped)[1].decode()
        self.assertIn("\n  1 006 more: blocked (IR=IW=0): 0001-0007, 0009-000f, 0011-0017,", text)

    def test_ranges(self):
        devices = {d["source_id"]: d for d in self.json("ranges")["devices"]}
        self.assertEqual(len(devices), 18)
        self.assertEqual((devices["0x300"]["same_tables_as"], devices["0x318"]["same_tables_as"]), ("0x38", "0x38"))
        self.assertEqual([d["invalid_entries"] + d["entries_not_captured"] for d in devices.values()], [0] * 18)
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
        self.assertEqual((answer["captured_pages"], answer["configuration_pages"]), (PAGES, DEVICE_PAGES))
        self.assertEqual(len(answer["domains"]), 12)
        self.assertEqual(sum(d["table_pages"] for d in answer["domains"]), PAGES - DEVICE_PAGES)
        self.assertEqual(sum(d["invalid_entries"] + d["entries_not_captured"] for d in answer["domains"]), 0)
        self.assertEqual(next(d for d in answer["domains"] if "0x38" in d["sources"])["leaves"], LEAVES)

    def test_tree(self):
        answer = self.json("tree")
        entries = [e for e in answer["entries"] if "address" in e]
        self.assertTrue(answer["complete"])
        self.assertEqual(len(entries), answer["entries_shown"])
        self.assertEqual(len({e["address"] for e in entries}), len(entries))
        self.assertEqual(len([e for e in entries if e["what"].startswith("device table entry")]), 1024)
        # Every captured page with a word that is not zero.
        words = memoryview(inspect_capture.pathlib.Path(self.shipped, "pages.bin").read_bytes()).cast("Q")
        present = set()
        for line in inspect_capture.pathlib.Path(self.shipped, "pages.idx").read_text().split("\n")[:-1]:
            address, offset = line.split()
            if any(words[int(offset) // 8:int(offset) // 8 + 512]):
                present.add(int(address, 16))
        self.assertEqual({int(e["address"], 16) & ~0xfff for e in entries}, present)

    def test_one_device_of_the_tree(self):
        answer = self.json("tree", "--source", "80", "--range", "0", "fff")
        self.assertEqual([e.get("level") for e in answer["entries"]], [None, 6, 5, 4, 3, 2, 1])
        traced = self.json("walk", "0", "--source", "80")
        self.assertEqual([e["words"] for e in answer["entries"]], [e["words"] for e in traced["entries"]])
        self.assertEqual(answer["entries"][1]["last_input"], "0x1ffffffffffffff")

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

    def test_device_table_pages(self):
        # A page of it may lack: what was left out is told for its devices.
        capture = self.without(0x4402000)
        self.assertEqual(self.translate(capture, ["100 - 0 r", "200 - ffffffff r"])[0], "missing\t4402000")
        self.assertEqual(len(self.json("devices", capture=capture)["devices"]), 1024 - 128 + 1)
        index = (capture / "pages.idx").read_text().split("\n")
        (capture / "pages.idx").write_text("\n".join(line for line in index if not line.startswith("440")))
        self.refused("devices", "--capture", capture,
                     saying=["pages.idx", "the device table at 4400000 (registers.DEVTAB_BASE) is not among the pages"])

    def test_80_columns(self):
        for command in (["devices"], ["devices", "--source", "80"], ["ranges"], ["stats"], ["tree"], ["walk", "1d0000000000", "--source", "80"]):
            status, out, err = self.run_tool(*command, "--capture", self.shipped)
            self.assertEqual(status, 0, err)
            self.assertEqual([line for line in out.decode().split("\n") if len(line) > 80], [], command)

    def test_demo(self):
        status, out, _ = self.run_tool("demo", "--capture", self.shipped)
        self.assertEqual(status, 0)
        self.assertRegex(out.decode(), r"(?m)^ +0  wrong$")
        self.assertIn("(of each page above 1G only 4 096)", out.decode())
        self.assertIn("Step by step", out.decode())


if __name__ == "__main__":
    inspect_capture.main()
