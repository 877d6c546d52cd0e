#!/usr/bin/env python3
"""Bad input: one clear line, exit status 2, nothing half-written; and hostile tables. Usage: inspect_bad_input.py TOOL CAPTURE"""
import json
import time

import inspect_capture
from inspect_capture import Image, REGISTERS

COMMANDS = [["devices"], ["ranges"], ["stats"], ["check"], ["tree"], ["walk", "0", "--source", "80"], ["translate", "--batch", "-"], ["demo"]]


class BadInput(inspect_capture.Case):
    def every_command_refuses(self, capture, saying):
        for command in COMMANDS:
            self.refused(*command, "--capture", capture, saying=saying)

    def with_meta(self, change):
        capture = self.copy("meta")
        meta = json.loads((capture / "meta.json").read_text())
        change(meta)
        (capture / "meta.json").write_text(json.dumps(meta))
        return capture

    def refuses_meta(self, change, saying):
        capture = self.with_meta(change)
        self.refused("devices", "--capture", capture, saying=["meta.json", saying])
        inspect_capture.shutil.rmtree(capture)

    def refuses_file(self, name, content, saying):
        capture = self.copy("file")
        (capture / name).write_bytes(content)
        self.refused("devices", "--capture", capture, saying=saying)
        inspect_capture.shutil.rmtree(capture)

    def test_absent_files(self):
        self.every_command_refuses(self.folder / "nowhere", "meta.json: cannot be opened")
        for name in ("meta.json", "pages.bin", "pages.idx"):
            capture = self.copy(name)
            (capture / name).unlink()
            self.every_command_refuses(capture, f"{name}: cannot be opened")
            (capture / name).mkdir()
            self.every_command_refuses(capture, f"{name}: cannot be read")

    def test_absent_batch(self):
        self.refused("translate", "--capture", self.shipped, "--batch", self.folder / "absent", saying="absent: cannot be opened")
        self.refused("translate", "--capture", self.shipped, "--batch", self.folder, saying="cannot be read")

    def test_root_table_absent(self):
        capture = self.copy()
        index = (capture / "pages.idx").read_text()
        self.assertTrue(index.startswith("101540000 0\n"))
        (capture / "pages.idx").write_text(index[len("101540000 0\n"):])
        self.every_command_refuses(capture, ["pages.idx", "root table at 101540000"])
        (capture / "pages.idx").write_text("")
        self.every_command_refuses(capture, "root table")

    def test_truncated_files(self):
        pages = inspect_capture.pathlib.Path(self.shipped, "pages.bin").read_bytes()
        self.refuses_file("pages.bin", pages[:-1], ["pages.bin", "truncated"])
        self.refuses_file("pages.bin", pages[:-4096], ["pages.idx", "beyond the end of pages.bin"])
        self.refuses_file("pages.bin", b"", ["pages.idx: line 1", "beyond the end of pages.bin"])
        index = inspect_capture.pathlib.Path(self.shipped, "pages.idx").read_bytes()
        self.refuses_file("pages.idx", index[:-8], ["pages.idx: line 281"])
        self.refuses_file("pages.idx", index[:-12], ["pages.idx: line 281", "truncated"])
        meta = inspect_capture.pathlib.Path(self.shipped, "meta.json").read_bytes()
        for length in (0, 1, 100, len(meta) - 1):
            self.refuses_file("meta.json", meta[:length], ["meta.json", "not JSON"])

    def test_pages_idx(self):
        for line, part in ((b"101540000 0\n101540000 4096\n", "line 2: page 101540000 is listed twice"),
                           (b"101540800 0\n", "line 1: page 101540800 is not aligned"),
                           (b"101540000 8\n", "offset 8 is not a multiple"),
                           (b"101540000 4398046511104\n", "offset 4398046511104 lies beyond"),
                           (b"101540000 99999999999999999999\n", "offset is not"), (b"101540000 -4096\n", "offset is not"),
                           (b"101540000 0x0\n", "offset is not"), (b"10154000g 0\n", "address is not"),
                           (b"10000000000000000 0\n", "address is not"), (b"101540000\n", "line 1: is not"), (b"\0\n", "line 1")):
            self.refuses_file("pages.idx", line, ["pages.idx", part])

    def test_meta_json(self):
        self.refuses_file("meta.json", b"\xff\xfe{}", "not JSON")
        for text in (b"[]", b"1", b"null", b'"x"'):
            self.refuses_file("meta.json", text, ["meta.json", "not an object"])
        self.refuses_file("meta.json", b"{}", "format is missing")
        for key in ("format", "registers"):
            self.refuses_meta(lambda m, k=key: m.pop(k), f"{key} is missing")
            self.refuses_meta(lambda m, k=key: m.update({k: 5}), f"{key} is not")
        for key in ("CAP", "ECAP", "GSTS", "RTADDR"):
            self.refuses_meta(lambda m, k=key: m["registers"].pop(k), f"registers.{key} is missing")
            for value, part in (("", "is not a hex"), ("zz", "is not a hex"), ("-1", "is not a hex"), ([], "is not a string"),
                                (None, "is not a string"), (1.5, "is not a string"), (-1, "is not a string"),
                                ("0x10000000000000000", "does not fit 64 bits")):
                self.refuses_meta(lambda m, k=key, v=value: m["registers"].update({k: v}), f"registers.{key} {part}")
        self.refuses_meta(lambda m: m.update(devices=5), "devices is not a list")
        self.refuses_meta(lambda m: m["devices"].append(5), "devices[16] is not an object")
        self.refuses_meta(lambda m: m["devices"][0].update(source_id=5), "devices[0].source_id is not a string")
        self.refuses_meta(lambda m: m["devices"][0].pop("source_id"), "devices[0].source_id is missing")
        self.refuses_meta(lambda m: m["devices"][0].update(bdf=[]), "devices[0].bdf is not a string")
        self.refuses_meta(lambda m: m["guest_ram"][0].update(size="0x0"), "guest_ram[0].size is 0")
        self.refuses_meta(lambda m: m["guest_ram"][0].update(gpa="0x800"), "guest_ram[0].gpa or size")
        for haw, part in ((0, "haw is 0"), (64, "haw is 64"), ("x", "haw is not a number"), ([], "haw is not a number")):
            self.refuses_meta(lambda m, h=haw: m.update(haw=h), part)

    def test_contradictory_registers(self):
        def registers(**change):
            return lambda m: m["registers"].update(change)

        cap = int(REGISTERS["CAP"], 16)
        self.refuses_meta(registers(GSTS="0x80000000"), "GSTS.TES is set without GSTS.RTPS")
        self.refuses_meta(registers(RTADDR="0x101540400"), "RTADDR.TTM selects scalable mode, but format is")
        self.refuses_meta(lambda m: m.update(format="vtd-scalable"), "RTADDR.TTM selects legacy mode, but format is")
        self.refuses_meta(registers(CAP=hex(cap & ~0x1f00)), "registers.CAP: SAGAW names no supported")
        self.refuses_meta(registers(CAP=hex(cap | 0x1000)), "registers.CAP: SAGAW has a reserved bit")
        self.refuses_meta(registers(CAP=hex(cap & ~(0xf << 34) | 2 << 34)), "registers.CAP: SSLPS")
        self.refuses_meta(registers(CAP=hex(cap | 7)), "registers.CAP: ND")
        self.refuses_meta(registers(CAP=hex(cap & ~(0x3f << 16))), "registers.CAP: MGAW")
        self.refuses_meta(registers(ECAP=hex(0xf00f4a | 1 << 26)), "registers.ECAP: NEST")
        self.refuses_meta(registers(VER="x"), "registers.VER is not a hex")

    def test_architectures(self):
        for name in ("riscv", "", "VTD", "smmuv2"):
            self.refuses_meta(lambda m, n=name: m.update(format=n), "unknown architecture")
        for name in ("amd", "amd-v1"):
            self.refuses_meta(lambda m, n=name: m.update(format=n), "registers.EXT_FEATURES is missing")
        self.every_command_refuses(self.with_meta(lambda m: m.update(format="unheard-of")), "unknown architecture")
        inspect_capture.shutil.rmtree(self.folder / "meta")

    def test_command_line(self):
        good = ["--capture", self.shipped]
        for arguments in ([], ["frobnicate"], ["devices"], ["devices", *good, "--frob"], ["walk", *good, "--source", "80"],
                          ["walk", *good, "12", "--source", "zz"], ["walk", *good, "xyz", "--source", "80"],
                          ["walk", *good, "12"], ["walk", *good, "10000000000000000", "--source", "80"],
                          ["walk", *good, "12", "--source", "10000"], ["walk", *good, "12", "--source", "00:20.0"],
                          ["walk", *good, "12", "--source", "80", "--pasid", "100000"], ["translate", *good],
                          ["ranges", *good, "--perm", "x"], ["ranges", *good, "--range", "5", "4"],
                          ["ranges", *good, "--source", "10000"], ["ranges", *good, "--min-size", "4Q"]):
            self.refused(*arguments, saying="stagewalk-inspect: ")

    def test_damage_anywhere(self):
        """Whatever a guest writes into its tables is answered, and in bounded time."""
        pages = bytearray(inspect_capture.pathlib.Path(self.shipped, "pages.bin").read_bytes())
        state = 1
        capture = self.copy()
        for _ in range(6):
            for _ in range(4000):
                state = state * 6364136223846793005 + 1442695040888963407 & 2**64 - 1
                pages[(state >> 20) % len(pages)] = state >> 56
            (capture / "pages.bin").write_bytes(pages)
            for command in COMMANDS[:5]:
                options = ["--max-loads", "1000000"] if command[0] in ("ranges", "stats", "tree") else []
                status, _, err = self.run_tool(*command, *options, "--capture", capture)
                self.assertIn(status, (0, 1), err)

    def test_table_that_contains_itself(self):
        m = Image()
        m.put(0x1000, 0x2001, 0)
        m.put(0x2000, 0x8001, 2)
        for i in range(512):
            m.put(0x8000 + 8 * i, 0x8003)
        capture = m.write(self.folder / "loop", REGISTERS, guest_ram=[{"gpa": "0x0", "size": "0x10000"}])
        began = time.monotonic()
        self.assertEqual(self.translate(capture, ["0 - 123456789abc r"]), ["ok\t8abc\trw\t12"])
        status, out, _ = self.run_tool("stats", "--capture", capture, "--max-loads", "1000000")
        self.assertEqual(status, 0)
        self.assertIn(b"stopped by --max-loads", out)
        status, out, _ = self.run_tool("ranges", "--capture", capture, "--max-loads", "100000")
        self.assertEqual(status, 0)
        self.assertIn(b"stopped after 100000 loads", out)
        status, out, _ = self.run_tool("ranges", "--capture", capture, "--limit", "10", "--json")
        self.assertEqual((status, len(json.loads(out)["devices"][0]["ranges"])), (0, 10))
        self.assertLess(time.monotonic() - began, 60)


class Output(inspect_capture.Case):
    """What the commands for people and programs print, as far as others rely on it."""

    def json(self, *arguments):
        status, out, err = self.run_tool(*arguments, "--capture", self.shipped, "--json")
        self.assertEqual((status, err), (0, ""))
        answer = json.loads(out)
        self.assertEqual(answer["schema"], f"stagewalk-inspect.{arguments[0]}/1")
        return answer

    def test_devices(self):
        devices = {d["source_id"]: d for d in self.json("devices")["devices"]}
        self.assertEqual(len(devices), 17)
        self.assertTrue(devices["0x28"]["bypasses"])
        self.assertEqual((devices["0x100"]["driver"], devices["0x100"]["root"]), ("e1000e", "0x101892000"))
        self.assertFalse(devices["0x300"]["known_to_kernel"])

    def test_ranges(self):
        run = {"first": "0x10000001000", "last": "0x10000028fff", "output": "0x103083000", "rights": "rw", "attributes": "0x0",
               "pages": 40, "smallest_lg2": 12, "largest_lg2": 12}
        def ranges(*options):
            return self.json("ranges", *options)["devices"]
        self.assertEqual(len(ranges()), 17)
        one = ranges("--bdf", "00:10.0")[0]["ranges"]
        self.assertIn(run, one)
        self.assertEqual(len(one), 31)
        self.assertEqual(ranges("--source", "0080", "--has", "10000012345")[0]["ranges"], [run])
        self.assertEqual(ranges("--source", "80", "--range", "0x10000028fff", "0x1ffffffffff")[0]["ranges"], [run])
        self.assertEqual(len(ranges("--source", "80", "--perm", "rw")[0]["ranges"]), 19)
        self.assertEqual(len(ranges("--source", "80", "--min-size", "160K")[0]["ranges"]), 4)
        self.assertEqual(len(ranges("--source", "80", "--limit", "3")[0]["ranges"]), 3)
        self.assertEqual(ranges("--source", "28")[0]["ranges"][0]["last"], "0xffffffffffff")

    def test_walk(self):
        answer = self.json("walk", "126e6040", "--source", "80")
        self.assertEqual([e["words"][0] for e in answer["entries"][:2]], ["0x10154b001", "0x102f15001"])
        self.assertEqual([e.get("level") for e in answer["entries"]], [None, None, 4, 3, 2, 1])
        self.assertIn({"name": "SSPTPTR", "bits": "63:12", "ignored": False, "value": "0x102f15000"}, answer["entries"][1]["fields"])
        self.assertEqual((answer["answer"]["code"], answer["answer"]["level"]), ("0x6", 1))
        self.assertEqual(answer["record"]["words"], ["0x126e6000", "0xc000000600000080"])

    def test_stats(self):
        answer = self.json("stats")
        self.assertEqual(answer["captured_pages"], 281)
        self.assertEqual(len(answer["domains"]), 12)
        self.assertEqual(sum(d["table_pages"] for d in answer["domains"]) + answer["configuration_pages"], 281)
        self.assertEqual(sum(d["invalid_entries"] + d["entries_not_captured"] for d in answer["domains"]), 0)

    def test_80_columns_and_no_colour(self):
        for command in (["devices"], ["ranges"], ["stats"], ["tree"], ["walk", "126e6040", "--source", "80"], ["demo"]):
            status, out, err = self.run_tool(*command, "--capture", self.shipped)
            self.assertEqual(status, 0, err)
            self.assertNotIn(b"\033", out)
            self.assertEqual([line for line in out.decode().split("\n") if len(line) > 80], [], command)

    def test_demo(self):
        status, out, _ = self.run_tool("demo", "--capture", self.shipped)
        text = out.decode()
        self.assertEqual(status, 0)
        self.assertRegex(text, r"(?m)^ +0  wrong$")
        self.assertIn("2 645 674  reach the address that they must", text)
        self.assertIn("host stage 2, level 1, PTE", text)
        self.assertIn("In short", text)


if __name__ == "__main__":
    inspect_capture.main()
