#!/usr/bin/env python3
"""Memory from an ELF core or from raw images, registers from options. Usage: inspect_image.py TOOL CAPTURE"""
import json
import struct

import inspect_capture

PAGE = 4096


def elf_core(pieces, phoff=64, gap=96, kind=4, bits=2, order=1, many=False):
    """As dump-guest-memory writes it: a note, then one segment for each piece; the data is not aligned to anything."""
    count = len(pieces) + 1
    data_at = phoff + 56 * count + (64 if many else 0)
    header = struct.pack("<4sBBBB8xHHIQQQIHHHHHH", b"\x7fELF", bits, order, 1, 0, kind, 62, 1, 0, phoff,
                         phoff + 56 * count if many else 0, 0, 64, 56, 0xffff if many else count, 64, 1 if many else 0, 0)
    headers = struct.pack("<IIQQQQQQ", 4, 0, data_at, 0, 0, gap, gap, 0)
    offset = data_at + gap
    body = b"N" * gap
    for address, data, size in pieces:
        headers += struct.pack("<IIQQQQQQ", 1, 0, offset, 0xffff_8880_0000_0000 + address & 2**64 - 1, address, len(data), size, 0)
        body += data
        offset += len(data)
    section = struct.pack("<IIQQQQIIQQ", 0, 0, 0, 0, 0, 0, 0, count, 0, 0) if many else b""
    return header.ljust(phoff, b"\0") + headers + section + body


class MemoryImage(inspect_capture.Case):
    def setUp(self):
        super().setUp()
        shipped = inspect_capture.pathlib.Path(self.shipped)
        meta = json.loads((shipped / "meta.json").read_text())["registers"]
        self.registers = ["--vtd-root", meta["RTADDR"], "--cap", meta["CAP"], "--ecap", meta["ECAP"]]
        self.truth = shipped / "truth.tsv"
        data = (shipped / "pages.bin").read_bytes()
        self.pages = {}
        for line in (shipped / "pages.idx").read_text().split("\n")[:-1]:
            address, offset = line.split()
            self.pages[int(address, 16)] = data[int(offset):int(offset) + PAGE]
        self.batch = self.folder / "batch"
        lines = [line.split("\t") for line in self.truth.read_text().split("\n") if line and not line.startswith("#")]
        self.batch.write_text("".join(f"{l[0]} {l[1]} {l[2]} {access}\n" for l in lines for access in ("r", "w", "rw")))

    def runs(self, gap=PAGE):
        """The pages in pieces that are contiguous, or that have at most `gap` between them, which is filled with zeros."""
        pieces = []
        for address in sorted(self.pages):
            if pieces and address - pieces[-1][0] - len(pieces[-1][1]) < gap:
                pieces[-1][1].extend(bytes(address - pieces[-1][0] - len(pieces[-1][1])))
                pieces[-1][1].extend(self.pages[address])
            else:
                pieces.append((address, bytearray(self.pages[address])))
        return [(address, bytes(data), len(data)) for address, data in pieces]

    def core(self, content, name="core"):
        (self.folder / name).write_bytes(content)
        return self.folder / name

    def same_answers(self, *arguments):
        expected = self.run_tool("translate", "--capture", self.shipped, "--batch", self.batch)
        self.assertEqual(expected[0], 0)
        self.assertEqual(self.run_tool("translate", *arguments, *self.registers, "--batch", self.batch), expected)
        status, out, err = self.run_tool("check", *arguments, *self.registers, "--truth", self.truth)
        self.assertEqual((status, out.split(b"\n")[0], err), (0, b"1365 checked, 1365 agree, 0 disagree, 0 undecidable", ""))

    def test_elf_core(self):
        self.same_answers("--core", self.core(elf_core(self.runs())))
        self.same_answers("--core", self.core(elf_core(self.runs(), gap=93)))
        self.same_answers("--core", self.core(elf_core(self.runs(), many=True)))
        # Pieces that overlap, as of a system that knows a page by several addresses; and memory that the file leaves out.
        pieces = self.runs()
        self.same_answers("--core", self.core(elf_core([pieces[0], *pieces, (0x7000_0000, b"", 1 << 20)])))

    def test_missing_pages(self):
        address = 0x102f15000
        self.assertIn(address, self.pages)
        del self.pages[address]
        core = self.core(elf_core(self.runs()))
        self.batch.write_text("80 - 126e6000 w\n")
        status, out, _ = self.run_tool("translate", "--core", core, *self.registers, "--batch", self.batch)
        self.assertEqual((status, out), (0, b"missing\t102f15000\n"))
        status, out, _ = self.run_tool("check", "--core", core, *self.registers, "--truth", self.truth)
        self.assertNotIn(b" 0 undecidable", out.split(b"\n")[0])
        self.assertIn(b" 0 disagree", out.split(b"\n")[0])

    def test_raw_images(self):
        pieces = self.runs(16 << 20)
        options = []
        for address, data, _ in pieces:
            options += ["--ram", self.core(data, f"ram{address:x}"), "--base", hex(address)]
        self.same_answers(*options)
        # The same in one file.
        whole = self.core(b"".join(data for _, data, _ in pieces), "whole")
        options, offset = [], 0
        for address, data, size in pieces:
            options += ["--ram", whole, "--base", f"{address:x}:{offset:x}:{size:x}"]
            offset += size
        self.same_answers(*options)

    def test_other_commands(self):
        core = self.core(elf_core(self.runs()))
        for command in (["devices"], ["ranges"], ["stats"], ["tree"], ["walk", "126e6040", "--source", "80"]):
            status, out, err = self.run_tool(*command, "--core", core, *self.registers, "--json")
            self.assertEqual((status, err), (0, ""), command)
            self.assertEqual(json.loads(out)["capture"], "core")

    def test_registers(self):
        core = self.core(elf_core(self.runs()))
        for i in (0, 2, 4):
            self.refused("devices", "--core", core, *self.registers[:i], *self.registers[i + 2:],
                         saying=f"{self.registers[i]} is missing")
        self.refused("devices", "--core", core, *self.registers, "--haw", "60", saying="--haw is 60")
        self.refused("devices", "--core", core, *self.registers, "--gsts", "80000000", saying="GSTS.TES is set without")
        self.refused("devices", "--core", core, *self.registers[2:], "--vtd-root", "5000", saying=["core", "root table at 5000 (--vtd-root)"])
        self.refused("devices", "--capture", self.shipped, *self.registers, saying="meta.json")
        self.refused("devices", "--capture", self.shipped, "--core", core, *self.registers, saying="only one of")
        self.refused("devices", *self.registers, saying="one of --capture, --core and --ram")
        self.refused("check", "--core", core, *self.registers, saying="--truth is missing")
        for option in ("--cap", "--vtd-root", "--haw", "--gsts"):
            self.refused("devices", "--core", core, *self.registers, option, "xyz", saying=option)
        self.batch.write_text("80 - 126e6000 w\n")
        status, out, _ = self.run_tool("translate", "--core", core, *self.registers, "--gsts", "0", "--batch", self.batch)
        self.assertEqual((status, out), (0, b"ok\t126e6000\trw\t-\n"))

    def test_bad_cores(self):
        good = elf_core(self.runs())

        def refuses(content, *saying):
            self.refused("devices", "--core", self.core(content), *self.registers, saying=["core", *saying])
        refuses(b"", "is empty")
        refuses(b"hello, world" * 100, "not an ELF file", "--ram")
        refuses(b"KDUMP   " + bytes(4096), "kdump-compressed", "dump-guest-memory without -z")
        refuses(b"makedumpfile\0" + bytes(4096), "kdump-compressed", "dump-guest-memory without -z")
        refuses(b"PAGEDU64" + bytes(4096), "Windows")
        refuses(elf_core(self.runs(), bits=1), "64-bit")
        refuses(elf_core(self.runs(), order=2), "little-endian")
        refuses(elf_core(self.runs(), kind=2), "not a core")
        refuses(elf_core([]), "holds no memory")
        for length in (4, 15, 40, 63, 64, 100, len(good) // 2, len(good) - 1):
            refuses(good[:length], "truncated")
        refuses(good[:32] + b"\xff" * 8 + good[40:], "truncated")
        refuses(elf_core([(0xffff_ffff_ffff_f000, bytes(8192), 8192)]), "passes 2^64")
        self.refused("devices", "--core", self.folder, *self.registers, saying="no regular file")
        self.refused("devices", "--core", self.folder / "absent", *self.registers, saying="absent: cannot be opened")

    def test_bad_images(self):
        image = self.core(bytes(8192), "ram")

        def refuses(saying, *arguments):
            self.refused("devices", *arguments, *self.registers, saying=saying)
        refuses("root table", "--ram", image)
        refuses("each --ram needs one", "--ram", image, "--ram", image, "--base", "0")
        refuses("there is no --ram", "--core", image, "--base", "0")
        refuses("overlap", "--ram", image, "--base", "0", "--ram", image, "--base", "1000")
        refuses("not aligned", "--ram", image, "--base", "800")
        refuses("pass 2^64", "--ram", image, "--base", "fffffffffffff000")
        refuses("truncated", "--ram", image, "--base", "0:0:3000")
        refuses("truncated", "--ram", image, "--base", "0:2000")
        refuses("truncated", "--ram", self.core(bytes(5000), "odd"))
        refuses("--base", "--ram", image, "--base", "0:0:0:0")
        refuses("--base", "--ram", image, "--base", "x")
        refuses("absent: cannot be opened", "--ram", self.folder / "absent")


if __name__ == "__main__":
    inspect_capture.main()
