#!/usr/bin/env python3
"""The script `capture`. Usage: capture_test.py CASE --tool STAGEWALK-INSPECT --write-tables WRITE_TABLES

CASE: vtd, smmuv3, amdvi    a QEMU with tables that our encoders wrote; skipped (77) without that QEMU
      replay                a QMP server of our own with the tables that real kernels made, and with nested ones
      hostile               the same server with tables that nobody should write, and with mishaps
With --linux, vtd, smmuv3 and amdvi boot a kernel whose driver makes the tables: --kernel, or the newest of linux-image-amd64 or
linux-image-arm64 in /boot, with an initramfs made of a static busybox; skipped without one of these.
STAGEWALK_QEMU_X86 and STAGEWALK_QEMU_ARM name other QEMUs than those in PATH.
"""
from __future__ import annotations

import argparse
import collections
import importlib.machinery
import importlib.util
import json
import lzma
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
SCRIPT = HERE / "capture"
DATA = HERE.parent / "data"
SKIPPED = 77
PAGE = 4096

sys.dont_write_bytecode = True
loader = importlib.machinery.SourceFileLoader("capture", str(SCRIPT))
capture = importlib.util.module_from_spec(importlib.util.spec_from_loader("capture", loader))
sys.modules["capture"] = capture
loader.exec_module(capture)

options = argparse.Namespace()


def skip(reason: str) -> None:
    print(f"skipped: {reason}")
    sys.exit(SKIPPED)


def lines_of(kind: str, address: int, registers: dict[str, int]) -> list[dict]:
    """What write_tables says."""
    command = [options.write_tables, kind, f"{address:x}", *(f"{name}={value:x}" for name, value in registers.items())]
    out = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    return [json.loads(line) for line in out.splitlines()]


def pages_of(lines: list[dict]) -> dict[int, bytes]:
    return {int(line["page"], 16): bytes.fromhex(line.get("bytes", "00" * PAGE)) for line in lines if "page" in line}


def registers_of(lines: list[dict]) -> dict[str, int]:
    return {line["register"]: int(line["value"], 16) for line in lines if "register" in line}


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="stagewalk-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.out = self.folder / "taken" / "one"
        self.out.parent.mkdir()

    def run_capture(self, where: str, *more: object) -> subprocess.CompletedProcess:
        return subprocess.run([sys.executable, str(SCRIPT), "--qmp", where, "--out", str(self.out), *map(str, more)],
                              capture_output=True, text=True, timeout=300, check=False)

    def captured(self, where: str, *more: object) -> dict[int, bytes]:
        done = self.run_capture(where, *more)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return self.read_pages()

    def refused(self, status: int, kind: str, where: str, *more: object, saying: str = "") -> None:
        """The script ends with this status and error, and leaves nothing behind."""
        done = self.run_capture(where, *more)
        self.assertEqual((done.returncode, done.stdout), (status, ""), done.stderr)
        self.assertRegex(done.stderr, rf"\Acapture: error\[{kind}\]: [^\n]*{saying}[^\n]*\n\Z")
        self.assertEqual(list(self.out.parent.iterdir()), [])

    def read_pages(self, folder: pathlib.Path | None = None) -> dict[int, bytes]:
        folder = folder or self.out
        data = (folder / "pages.bin").read_bytes()
        index = [line.split() for line in (folder / "pages.idx").read_text().splitlines()]
        pages = {int(address, 16): data[int(offset):int(offset) + PAGE] for address, offset in index}
        self.assertEqual(len(pages), len(index))
        return pages

    def same_pages(self, found: dict[int, bytes], expected: dict[int, bytes]) -> None:
        self.assertEqual(sorted(found.keys() ^ expected.keys()), [])
        self.assertEqual([address for address in found if found[address] != expected[address]], [])

    def tool(self, *arguments: object, status: int = 0) -> str:
        done = subprocess.run([options.tool, *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False)
        self.assertEqual(done.returncode, status, done.stdout[-500:] + done.stderr)
        return done.stdout

    def compare(self, lines: list[dict], nested: bool = False) -> None:
        """The tool finds in the capture exactly what write_tables mapped."""
        mappings = [line for line in lines if "iova" in line]
        self.assertGreater(len(mappings), 0)
        pages = collections.defaultdict(dict)  # of each device: first address -> mapping
        for m in mappings:
            pages[int(m["source"], 16)][int(m["iova"], 16)] = m

        # translate: the first and the last byte of each page, and their neighbours
        asked, expected = [], []
        for source, of_source in pages.items():
            mapped = {(first, first + (1 << m["lg2_size"]) - 1) for first, m in of_source.items()}
            for first, m in of_source.items():
                last, prefix = first + (1 << m["lg2_size"]) - 1, f"{source:x} {(m['pasid'] or '-').removeprefix('0x')}"
                for at in (first, last):
                    asked.append(f"{prefix} {at:x} {m['rights']}")
                    expected.append(f"ok\t{int(m['output'], 16) + at - first:x}\t{m['rights']}\t{m['lg2_size']}")
                if m["rights"] == "r":
                    asked.append(f"{prefix} {first:x} w")
                    expected.append("fault")
                for at in (first - 1, last + 1):
                    if at >= 0 and not any(low <= at <= high for low, high in mapped):
                        asked.append(f"{prefix} {at:x} r")
                        expected.append("fault")
        batch = self.folder / "batch"
        batch.write_text("".join(line + "\n" for line in asked))
        answers = self.tool("translate", "--capture", self.out, "--batch", batch).splitlines()
        self.assertEqual([a if e != "fault" else a.split("\t")[0] for a, e in zip(answers, expected, strict=True)], expected)

        # tree: complete, nothing missing, and its leaves are the pages; shared tables are shown for their first device
        tree = json.loads(self.tool("tree", "--json", "--capture", self.out))
        self.assertTrue(tree["complete"])
        found = collections.defaultdict(set)
        for e in tree["entries"]:
            self.assertNotIn("not captured", e.get("verdict", ""))
            if not e.get("intermediate", True) and (leaf := re.match(r"maps \S+ at ([0-9a-f]+)", e["verdict"])):
                found[int(e["source_id"], 16)].add((int(e["first_input"], 16), int(e["last_input"], 16), int(leaf[1], 16)))
        self.assertEqual(set(found), {source for source in pages if source != 0x28})
        for source, leaves in found.items():
            covered = 0
            for first, last, output in leaves:
                m = next(m for start, m in pages[source].items() if start <= first and last < start + (1 << m["lg2_size"]))
                if not nested:
                    self.assertEqual(output, int(m["output"], 16))
                covered += last - first + 1
            self.assertEqual(covered, sum(1 << m["lg2_size"] for m in pages[source].values()))

        # check: agrees with the mappings as known translations
        truth = self.folder / "truth.tsv"
        truth.write_text("".join(
            "\t".join([m["source"][2:], (m["pasid"] or "-").removeprefix("0x"), m["iova"][2:], m["output"][2:], m["rights"],
                       f"{1 << m['lg2_size']:x}", "write_tables"]) + "\n" for m in mappings))
        self.tool("check", "--capture", self.out, "--truth", truth)


# --- a QEMU ------------------------------------------------------------------------------------------------------------

class Machine:
    """A QEMU whose processor sleeps, with its QMP and qtest sockets."""

    def __init__(self, case: Case, program: str, arguments: list[str]):
        self.qmp = case.folder / "qmp"
        control = case.folder / "qtest"
        self.process = subprocess.Popen(
            [program, *arguments, "-nodefaults", "-display", "none", "-monitor", "none", "-serial", "none",
             "-qmp", f"unix:{self.qmp},server=on,wait=off", "-qtest", f"unix:{control},server=on,wait=off", "-qtest-log", "/dev/null"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        case.addCleanup(self.end)
        self.where = f"unix:{self.qmp}"
        self.socket = socket.socket(socket.AF_UNIX)
        case.addCleanup(self.socket.close)
        self.socket.settimeout(30)
        for _ in range(600):
            try:
                self.socket.connect(str(control))
                break
            except OSError:
                if self.process.poll() is not None:
                    raise AssertionError(f"QEMU ended: {self.process.stderr.read()}") from None
                time.sleep(0.1)
        self.answers = self.socket.makefile("r")
        case.addCleanup(self.answers.close)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def qtest(self, command: str) -> str:
        self.socket.sendall(command.encode() + b"\n")
        while True:
            word, _, rest = self.answers.readline().strip().partition(" ")
            if word == "IRQ":
                continue
            if word != "OK":
                raise AssertionError(f"qtest: {command[:60]}: {word} {rest}")
            return rest

    def read(self, address: int, size: int) -> int:
        return int(self.qtest(f"{'readl' if size == 4 else 'readq'} {address:#x}"), 16)

    def write(self, address: int, size: int, value: int) -> None:
        self.qtest(f"{'writel' if size == 4 else 'writeq'} {address:#x} {value:#x}")

    def load(self, pages: dict[int, bytes]) -> None:
        for address, data in pages.items():
            if any(data):
                self.qtest(f"write {address:#x} {PAGE:#x} 0x{data.hex()}")

    def is_running(self) -> bool:
        qemu = capture.Qemu(self.where, 30)
        try:
            return qemu.execute("query-status")["running"]
        finally:
            qemu.close()

    def execute(self, command: str) -> None:
        qemu = capture.Qemu(self.where, 30)
        qemu.execute(command)
        qemu.close()


def need(program: str) -> str:
    wanted = os.environ.get("STAGEWALK_QEMU_ARM" if program.endswith("aarch64") else "STAGEWALK_QEMU_X86") or program
    found = shutil.which(wanted)
    if not found:
        skip(f"{wanted} is not installed")
    return found


class Emulated(Case):
    """What the three IOMMUs have in common."""
    architecture: type[capture.Collector]
    capabilities: tuple[str, ...]
    at = 0x1000000

    def start(self, *more: str) -> Machine:
        raise NotImplementedError

    def enable(self, machine: Machine, registers: dict[str, int]) -> None:
        raise NotImplementedError

    def register(self, machine: Machine, name: str, value: int | None = None) -> int:
        offset, size = self.architecture.layout[name]
        place = self.architecture.default_address + offset
        if value is None:
            return machine.read(place, size)
        machine.write(place, size, value)
        return value

    def prepared(self, kind: str, *more: str) -> tuple[Machine, list[dict]]:
        machine = self.start(*more)
        lines = lines_of(kind, self.at, {name: self.register(machine, name) for name in self.capabilities})
        machine.load(pages_of(lines))
        self.enable(machine, registers_of(lines))
        return machine, lines

    def check_kind(self, kind: str, form: str, *more: str) -> None:
        machine, lines = self.prepared(kind, *more)
        self.assertTrue(machine.is_running())
        self.same_pages(self.captured(machine.where), pages_of(lines))
        self.assertTrue(machine.is_running())
        meta = json.loads((self.out / "meta.json").read_text())
        self.assertEqual(meta["format"], form)
        for name, value in registers_of(lines).items():
            self.assertEqual(int(meta["registers"][name], 16), value)
        self.assertIn("1234:0x11e8", "".join(d["pci_id"] for d in meta["devices"] if d["source_id"] == "0020"))
        self.assertFalse((self.out / "truth.tsv").exists())
        self.compare(lines)

    def check_off(self) -> None:
        machine = self.start()
        self.refused(1, "iommu-disabled", machine.where)
        self.assertTrue(machine.is_running())

    def check_stopped(self, kind: str) -> None:
        """A machine that was stopped stays so. The filters leave pages out."""
        machine, lines = self.prepared(kind)
        machine.execute("stop")
        pages = self.captured(machine.where, "--source-id", "03:00.0", "--architecture", self.architecture.name)
        self.assertFalse(machine.is_running())
        self.assertLess(set(pages), set(pages_of(lines)))
        self.out = self.out.with_name("two")
        window = next(m for m in lines if m.get("source") == "0x20" and m["lg2_size"] == 12)
        fewer = self.captured(machine.where, "--source-id", "20", "--iova-window", window["iova"], window["iova"])
        self.assertLess(len(fewer), 16)
        batch = self.folder / "batch"
        batch.write_text(f"20 - {window['iova']} r\n")
        answer = self.tool("translate", "--capture", self.out, "--batch", batch)
        self.assertEqual(answer.split("\t")[:2], ["ok", window["output"][2:]])
        machine.execute("cont")


class Vtd(Emulated):
    architecture = capture.Vtd
    capabilities = ("CAP", "ECAP")

    def start(self, *more):
        rom = self.folder / "halt.rom"
        rom.write_bytes(b"\xff" * 0xfff0 + b"\xfa\xf4\xeb\xfd".ljust(16, b"\xff"))  # cli; hlt; jmp
        return Machine(self, need("qemu-system-x86_64"),
                       ["-machine", "q35", "-accel", "tcg", "-bios", str(rom), "-m", "512",
                        *(more or ("-device", "intel-iommu,aw-bits=48")), "-device", "edu,addr=4"])

    def enable(self, machine, registers):
        self.register(machine, "RTADDR", registers["RTADDR"])
        self.register(machine, "GCMD", 1 << 30)  # SRTP
        self.register(machine, "GCMD", 1 << 31)  # TE
        self.assertEqual(self.register(machine, "GSTS") >> 30, 3)

    def test_legacy(self):
        self.check_kind("vtd-legacy", "vtd-legacy")

    def test_scalable(self):
        self.check_kind("vtd-second", "vtd-scalable", "-device", "intel-iommu,aw-bits=48,x-scalable-mode=on")

    def test_stopped(self):
        self.check_stopped("vtd-legacy")

    def test_off(self):
        self.check_off()

    def test_none(self):
        self.refused(1, "no-iommu", self.start("-device", "edu,addr=5").where)


class Amdvi(Vtd):
    architecture = capture.Amd
    capabilities = ("EXT_FEATURES",)

    def start(self, *more):
        return super().start(*(more or ("-device", "amd-iommu")))

    def enable(self, machine, registers):
        self.register(machine, "DEVTAB_BASE", registers["DEVTAB_BASE"])
        self.register(machine, "CONTROL", registers["CONTROL"])

    def test_legacy(self):
        self.check_kind("amd-host", "amd")

    def test_scalable(self):
        machine, _ = self.prepared("amd-host")
        self.refused(1, "no-iommu", machine.where, "--architecture", "vtd")

    def test_stopped(self):
        self.check_stopped("amd-host")


class Smmuv3(Emulated):
    architecture = capture.Smmu
    capabilities = ("IDR0", "IDR1", "IDR3", "IDR5", "AIDR")
    at = 0x48000000

    def start(self, *more):
        code = self.folder / "wfi.bin"
        code.write_bytes(struct.pack("<II", 0xd503207f, 0x17ffffff))  # wfi; b .-4
        return Machine(self, need("qemu-system-aarch64"),
                       ["-machine", "virt,acpi=off,gic-version=3,iommu=smmuv3", "-cpu", "max", "-accel", "tcg", "-m", "512",
                        "-device", f"loader,file={code},addr=0x41000000,cpu-num=0", *more, "-device", "edu,addr=4"])

    def enable(self, machine, registers):
        for name, value in registers.items():
            self.register(machine, name, value)
        self.register(machine, "CR0", 1)
        self.assertEqual(self.register(machine, "CR0ACK"), 1)

    def test_stage1(self):
        self.check_kind("smmu-stage1", "smmuv3")

    def test_stage2(self):
        shown = subprocess.run([need("qemu-system-aarch64"), "-device", "arm-smmuv3,help"], capture_output=True, text=True, check=False)
        if "stage=" not in shown.stdout:
            self.skipTest("this QEMU has no stage 2")
        self.check_kind("smmu-stage2", "smmuv3", "-global", "arm-smmuv3.stage=2")

    def test_stopped(self):
        self.check_stopped("smmu-stage1")

    def test_off(self):
        self.check_off()


# --- a kernel in a QEMU ------------------------------------------------------------------------------------------------

INIT = """#!/bin/busybox sh
/bin/busybox mount -t proc none /proc
/bin/busybox mount -t sysfs none /sys
/bin/busybox insmod /e1000.ko
/bin/busybox ifconfig eth0 up
/bin/busybox sleep 2
for device in /sys/kernel/iommu_groups/*/devices/*; do
    group=${device%/devices/*}
    echo "GROUP ${device##*/} $(/bin/busybox cat $group/type)"
done
echo READY
while :; do /bin/busybox sleep 1000; done
"""


def cpio(files: list[tuple[str, int, bytes, int]]) -> bytes:
    """An initramfs: name, mode, contents, minor number of a device with major 5."""
    archive = b""
    for number, (name, mode, data, minor) in enumerate([*files, ("TRAILER!!!", 0, b"", 0)], 1):
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 5 if minor else 0, minor, len(name) + 1, 0)
        for part in (b"070701" + b"".join(b"%08X" % f for f in fields) + name.encode() + b"\0", data):
            archive += part + bytes(-len(archive + part) % 4)
    return archive


def is_static(program: pathlib.Path, machine: int) -> bool:
    """Whether it is a program for `machine` (ELF's number) that needs no loader."""
    data = program.read_bytes() if program.is_file() else b""
    if data[:5] != b"\x7fELF\2" or struct.unpack_from("<H", data, 18) != (machine,):
        return False
    start, = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    return all(struct.unpack_from("<I", data, start + i * size) != (3,) for i in range(count))


class Linux(Case):
    """The tables are a kernel's. A network adapter has its rings in memory: where, it and its descriptors tell."""
    program = "qemu-system-x86_64"
    machine: tuple[str, ...] = ()
    append = ""
    console = "ttyS0"
    suffix, elf = "amd64", 62
    form = ""

    @classmethod
    def find_system(cls) -> None:
        """The kernel, the adapter's module and busybox, or the end."""
        kernels = [options.kernel] if options.kernel else sorted(
            map(str, pathlib.Path("/boot").glob(f"vmlinuz-*-{cls.suffix}")), key=lambda name: list(map(int, re.findall(r"\d+", name))))
        if not kernels:
            skip(f"there is no kernel (package linux-image-{cls.suffix}, or --kernel)")
        cls.kernel = pathlib.Path(kernels[-1])
        root = cls.kernel.resolve().parent.parent
        modules = pathlib.Path(options.modules or root / "lib" / "modules" / cls.kernel.name.removeprefix("vmlinuz-"))
        cls.module = next((m for m in sorted(modules.glob("kernel/**/e1000.ko*")) if m.suffix in (".ko", ".xz")), None)
        if cls.module is None:
            skip(f"there is no e1000.ko (or .ko.xz) in {modules} (--modules)")
        candidates = [options.busybox or root / "bin" / "busybox", root / "usr" / "bin" / "busybox", shutil.which("busybox") or ""]
        cls.busybox = next((path for path in map(pathlib.Path, candidates) if is_static(path, cls.elf)), None)
        if cls.busybox is None:
            skip(f"there is no static busybox for {cls.suffix} (package busybox-static, or --busybox)")

    def initramfs(self) -> pathlib.Path:
        data = self.module.read_bytes()
        folders = [(name, 0o40755, b"", 0) for name in ("bin", "dev", "proc", "sys")]
        image = self.folder / "initramfs"
        image.write_bytes(cpio([*folders, ("dev/console", 0o20600, b"", 1), ("init", 0o100755, INIT.encode(), 0),
                                ("bin/busybox", 0o100755, self.busybox.read_bytes(), 0),
                                ("e1000.ko", 0o100644, lzma.decompress(data) if self.module.suffix == ".xz" else data, 0)]))
        return image

    def boot(self) -> tuple[str, str]:
        """The QMP address of a machine that is ready, and what its console said."""
        console, qmp = self.folder / "console", self.folder / "qmp"
        process = subprocess.Popen(
            [need(self.program), *self.machine, "-m", "1G", "-nodefaults", "-display", "none", "-monitor", "none",
             "-serial", f"file:{console}", "-qmp", f"unix:{qmp},server=on,wait=off", "-kernel", str(self.kernel),
             "-initrd", str(self.initramfs()), "-append", f"console={self.console} panic=-1 {self.append}", "-no-reboot",
             "-netdev", "user,id=n,restrict=on", "-device", "e1000,netdev=n,addr=5,romfile="],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        text = ""
        for _ in range(500):
            time.sleep(1)
            text = console.read_text(errors="replace") if console.exists() else ""
            if re.search(r"^READY", text, re.M) or process.poll() is not None:
                break
        self.assertRegex(text, r"(?m)^READY", text[-2000:])
        return f"unix:{qmp}", text

    def test_kernel(self):
        where, console = self.boot()
        types = dict(re.findall(r"GROUP 0000:(\S+) ([\w-]+)", console))
        self.assertTrue(types["00:05.0"].startswith("DMA"), types)
        pages = self.captured(where)
        meta = json.loads((self.out / "meta.json").read_text())
        self.assertEqual(meta["format"], self.form)
        tree = json.loads(self.tool("tree", "--json", "--capture", self.out))
        self.assertTrue(tree["complete"])
        self.assertFalse([e for e in tree["entries"] if "not captured" in e.get("verdict", "")])
        devices = {d["source_id"]: d for d in json.loads(self.tool("devices", "--json", "--capture", self.out))["devices"]}
        self.assertFalse(devices["0x28"]["bypasses"])

        # What the adapter was told, and what its first descriptors say: device addresses, all of them mapped.
        qemu = capture.Qemu(where, 30)
        qemu.execute("stop")
        adapter = next(d for bus in qemu.execute("query-pci") for d in bus["devices"] if d["slot"] == 5)
        bar = adapter["regions"][0]["address"]
        rings = {name: qemu.words(bar + at, 1, 4)[0] | qemu.words(bar + at + 4, 1, 4)[0] << 32
                 for name, at in (("receive", 0x2800), ("transmit", 0x3800))}
        asked = [f"28 - {ring:x} r" for ring in rings.values()]
        answers = self.translate(asked)
        self.assertEqual([a[0] for a in answers], ["ok", "ok"], asked)
        buffers = qemu.words(int(answers[0][1], 16), 64, 8)[::2]
        qemu.close()
        self.assertGreater(len([b for b in buffers if b]), 16)
        self.assertEqual({a[0] for a in self.translate([f"28 - {b:x} w" for b in buffers if b])}, {"ok"})
        print(f"{self.form}: {len(pages)} pages, {tree['entries_shown']} entries, {len(devices)} devices, rings {rings}",
              file=sys.stderr)

    def translate(self, asked: list[str]) -> list[list[str]]:
        batch = self.folder / "batch"
        batch.write_text("".join(line + "\n" for line in asked))
        return [line.split("\t") for line in self.tool("translate", "--capture", self.out, "--batch", batch).splitlines()]


class VtdLinux(Linux):
    machine = ("-machine", "q35", "-accel", "tcg", "-device", "intel-iommu,aw-bits=48")
    append = "intel_iommu=on iommu.strict=1 iommu.passthrough=0"
    form = "vtd-legacy"


class AmdviLinux(Linux):
    machine = ("-machine", "q35", "-accel", "tcg", "-device", "amd-iommu")
    # QEMU 7.2 loses the timer's interrupt when Linux remaps it.
    append = "nointremap iommu.strict=1 iommu.passthrough=0"
    form = "amd"


class Smmuv3Linux(Linux):
    program = "qemu-system-aarch64"
    machine = ("-machine", "virt,gic-version=3,iommu=smmuv3", "-cpu", "cortex-a57", "-accel", "tcg")
    append = "iommu.strict=1 iommu.passthrough=0"
    console = "ttyAMA0"
    suffix, elf = "arm64", 183
    form = "smmuv3"


# --- a QMP server of our own -------------------------------------------------------------------------------------------

class Server:
    """Answers what the script asks, as QEMU would."""

    def __init__(self, case: Case, kind: type[capture.Collector], registers: dict[str, int], pages: dict[int, bytes],
                 ram: list[tuple[int, int]], tcp: bool = False):
        self.kind, self.registers, self.pages, self.ram = kind, registers, pages, ram
        self.tree = f"bus: main-system-bus\n  dev: {kind.tree_name}, id \"\"\n    mmio {kind.default_address:016x}/1000\n"
        self.running = True
        self.log: list[str] = []
        self.reads: collections.Counter[int] = collections.Counter()
        self.close_after = self.delay = None
        if tcp:
            self.listener = socket.create_server(("127.0.0.1", 0))
            self.where = f"127.0.0.1:{self.listener.getsockname()[1]}"
        else:
            self.listener = socket.socket(socket.AF_UNIX)
            self.where = f"unix:{case.folder}/server{id(self)}"
            self.listener.bind(self.where.removeprefix("unix:"))
            self.listener.listen()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()
        case.addCleanup(self.listener.close)

    def serve(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with client, client.makefile("rw", encoding="utf-8") as stream:
                try:
                    self.talk(stream)
                except (OSError, ValueError):
                    continue  # the script went away

    def talk(self, stream) -> None:
        def say(answer: dict) -> None:
            stream.write(json.dumps(answer) + "\r\n")
            stream.flush()

        say({"QMP": {"version": {}, "capabilities": []}})
        for line in stream:
            asked = json.loads(line)
            name = asked["execute"]
            self.log.append(name)
            if self.close_after is not None and len(self.log) > self.close_after:
                return
            say({"event": "NOISE"})
            if name == "human-monitor-command":
                if self.delay:
                    time.sleep(self.delay)
                answer = self.monitor(asked["arguments"]["command-line"])
            elif name in ("stop", "cont"):
                self.running, answer = name == "cont", {}
            else:
                answer = {"query-status": {"running": self.running}, "qmp_capabilities": {}, "query-pci": [],
                          "query-version": {"qemu": {"major": 0, "minor": 1, "micro": 2}, "package": ""}}[name]
            say({"return": answer, "id": asked["id"]})

    def monitor(self, command: str) -> str:
        if command == "info qtree":
            return self.tree.replace("\n", "\r\n")
        if command == "info mtree -f":
            regions = "".join(f"  {first:016x}-{last:016x} (prio 0, ram): ram\n" for first, last in self.ram)
            return ('FlatView #0\n AS "other", root: x\n  0000000000000000-ffffffffffffffff (prio 0, ram): wrong\n'
                    f'FlatView #1\n AS "memory", root: system\n Root memory region: system\n{regions}'
                    f"  {self.kind.default_address:016x}-{self.kind.default_address + 0x3fff:016x} (prio 0, i/o): unit\n")
        count, size, address = re.fullmatch(r"xp /(\d+)x([wg]) (0x[0-9a-f]+)", command).groups()
        count, size, address = int(count), 4 if size == "w" else 8, int(address, 16)
        if count == 1:
            words = [self.register(address - self.kind.default_address, size)]
        else:
            self.reads[address] += 1
            if not any(first <= address <= last for first, last in self.ram):
                raise AssertionError(f"page {address:x} is no RAM and must not be read")
            words = struct.unpack("<512Q", self.pages.get(address, bytes(PAGE)))
        text = ""
        for i in range(0, count, 2):
            text += f"{address + i * size:016x}:" + "".join(f" 0x{word:0{2 * size}x}" for word in words[i:i + 2]) + "\n"
        return text

    def register(self, offset: int, size: int) -> int:
        for name, place in self.kind.layout.items():
            if place == (offset, size):
                return self.registers.get(name, 0)
        if self.kind is capture.Vtd and offset - (self.registers["CAP"] >> 24 & 0x3ff) * 16 in (0, 8):
            return 0
        raise AssertionError(f"there is no register of {size} bytes at {offset:x}")


LARGE = [(0, 0x7fffffff), (0x100000000, 0x17fffffff)]


class Replay(Case):
    """Tables that real kernels made: the script finds each page, and no other."""

    def shipped(self, name: str, kind: type[capture.Collector], tcp: bool = False) -> None:
        folder = DATA / name
        meta, pages = json.loads((folder / "meta.json").read_text()), self.read_pages(folder)
        registers = {key: int(value, 16) for key, value in meta["registers"].items()}
        ram = [(int(piece["gpa"], 16), int(piece["gpa"], 16) + int(piece["size"], 16) - 1) for piece in meta["guest_ram"]]
        server = Server(self, kind, registers, pages, ram, tcp)
        self.same_pages(self.captured(server.where), pages)
        self.assertEqual(set(server.reads.values()), {1})
        self.assertEqual([name for name in server.log if name in ("stop", "cont")], ["stop", "cont"])
        made = json.loads((self.out / "meta.json").read_text())
        self.assertEqual((made["format"], made["guest_ram"]), (meta["format"], meta["guest_ram"]))
        for key in set(registers) - {"FRCD0_LO", "FRCD0_HI"}:
            self.assertEqual(made["registers"][key], meta["registers"][key], key)
        self.tool("check", "--capture", self.out, "--truth", folder / "truth.tsv")

    def test_vtd_legacy(self):
        self.shipped("vtd-legacy", capture.Vtd)

    def test_vtd_first_stage(self):
        self.shipped("vtd-sm-fs", capture.Vtd)

    def test_smmu_stage1(self):
        self.shipped("smmuv3-s1-4k", capture.Smmu)

    def test_smmu_stage2(self):
        self.shipped("smmuv3-s2-16k", capture.Smmu)

    def test_amd(self):
        self.shipped("amd-v1", capture.Amd, tcp=True)

    def made(self, table_kind: str, kind: type[capture.Collector], registers: dict[str, int], at: int = 0x1000000) -> Server:
        lines = lines_of(table_kind, at, registers)
        server = Server(self, kind, {**registers, **registers_of(lines)}, pages_of(lines), LARGE)
        self.same_pages(self.captured(server.where), pages_of(lines))
        self.assertEqual(set(server.reads.values()), {1})
        self.compare(lines, "nested" in table_kind)
        return server

    # CAP: 48 bits, 3 and 4 levels, 4K/2M/1G, first-stage 1G. ECAP: scalable mode, first and second stage, nesting, snooped walks.
    VTD = {"CAP": 0x81d2008c222f0606, "ECAP": 0x0001c80004f00f4a, "GSTS": 0xc0000000}
    # Stages 1 and 2, 16-bit StreamIDs, 48 bits, three granules.
    SMMU = {"IDR0": 0x0d44101b, "IDR1": 0x02730010, "IDR3": 0x1414, "IDR5": 0x75, "AIDR": 1, "CR0": 1, "CR0ACK": 1}
    # Guest translation, 6 host levels, 4 guest levels, 3 GCR3 levels, PASIDs of 20 bits.
    AMD = {"EXT_FEATURES": 0x13_0000_8850}

    def test_vtd_nested(self):
        self.made("vtd-nested", capture.Vtd, self.VTD)

    def test_vtd_first_stage_of_ours(self):
        self.made("vtd-first", capture.Vtd, self.VTD)

    def test_smmu_stage2_of_ours(self):
        self.made("smmu-stage2", capture.Smmu, self.SMMU)

    def test_smmu_nested(self):
        self.made("smmu-nested", capture.Smmu, self.SMMU)

    def test_amd_guest(self):
        self.made("amd-guest", capture.Amd, self.AMD)

    def test_amd_nested(self):
        self.made("amd-nested", capture.Amd, self.AMD)


def table(entries: dict[int, int]) -> bytes:
    words = [0] * 512
    for index, entry in entries.items():
        words[index] = entry
    return struct.pack("<512Q", *words)


class Hostile(Case):
    """Tables that lead in circles or nowhere, and mishaps. The folder is whole or absent, and the machine goes on."""
    RAM = [(0, 0xffffff)]

    def server(self, kind: type[capture.Collector], registers: dict[str, int], pages: dict[int, bytes]) -> Server:
        return Server(self, kind, registers, pages, self.RAM)

    def vtd(self, pages: dict[int, bytes], context: int = 0x3001, root: dict[int, int] | None = None) -> Server:
        """Device 00:04.0 with four levels from 3000 on, or what `context` says."""
        return self.server(capture.Vtd, {**Replay.VTD, "RTADDR": 0x1000},
                           {0x1000: table(root or {0: 0x2001}), 0x2000: table({0x40: context, 0x41: 0x102}), **pages})

    def check_end(self, server: Server) -> None:
        self.assertLessEqual(set(server.reads.values()), {1})
        self.assertEqual([name for name in server.log if name in ("stop", "cont")][-2:], ["stop", "cont"])
        self.assertTrue(server.running)

    def loops(self, server: Server, pages: set[int]) -> None:
        self.assertEqual(set(self.captured(server.where)), pages)
        self.check_end(server)
        self.assertTrue(json.loads(self.tool("tree", "--json", "--capture", self.out, "--max-loads", "1000000"))["entries"])

    def test_loop_to_itself(self):
        self.loops(self.vtd({0x3000: table({i: 0x3003 for i in range(512)})}), {0x1000, 0x2000, 0x3000})

    def test_loop_through_configuration(self):
        self.loops(self.vtd({0x3000: table({0: 0x2003, 5: 0x1003, 511: 0x4003})}, root={0: 0x2001, 254: 0x1001}),
                   {0, 0x1000, 0x2000, 0x3000, 0x4000})

    def test_loop_smmu(self):
        registers = {**Replay.SMMU, "STRTAB_BASE": 0x10000, "STRTAB_BASE_CFG": 1 << 16 | 6 << 6 | 16}
        # Stream 1 has its context descriptor in the stream table itself, and tables that lead there.
        streams = [0] * 512
        streams[8] = 0x1000b | 0x40
        self.assertEqual(streams[8] & 0xf, 0xb)
        streams[0] = 0x10007  # L1 descriptor, span 7
        descriptor = [1 << 41 | 1 << 31 | 16 | 1 << 30, 0x10000, 0, 0, 0, 0, 0, 0]
        streams[8:16] = [0x10080 | 0xb, 0, 0, 0, 0, 0, 0, 0]
        streams[16:24] = descriptor
        streams[100:200] = [0x10003] * 100
        server = self.server(capture.Smmu, registers, {0x10000: struct.pack("<512Q", *streams)})
        pages = self.captured(server.where)
        self.assertLessEqual({0x10000}, set(pages))
        self.assertLess(len(pages), 32)
        self.check_end(server)

    def test_loop_amd(self):
        dte = [0x3000 | 6 << 9 | 3, 0, 0, 0]
        host = {i: 0x3000 | i % 6 << 9 | 1 for i in range(512)}
        server = self.server(capture.Amd, {**Replay.AMD, "DEVTAB_BASE": 0x2000, "CONTROL": 1},
                             {0x2000: struct.pack("<512Q", *dte * 128), 0x3000: table(host)})
        self.loops(server, {0x2000, 0x3000})

    def test_outside_ram(self):
        for what, context, pages in (("second-stage tables of 00:04.0.*77000000000 is not RAM", 0x77000000001, {}),
                                     ("table of level 2 .*fed90000 is not RAM", 0x3001, {0x3000: table({1: 0xfed90003})}),
                                     ("table of level 0 .*ffffffffff000 is not RAM", 0x3001,
                                      {0x3000: table({1: 0x4003}), 0x4000: table({2: 0x5003}), 0x5000: table({3: 0xffffffffff003})})):
            server = self.vtd(pages, context)
            self.refused(1, "outside-ram", server.where, saying=what)
            self.check_end(server)

    def test_outside_ram_configuration(self):
        self.refused(1, "outside-ram", self.vtd({}, root={14: 0x99000001}).where, saying="context table of bus 07, entry 0 at 99000000")
        server = self.server(capture.Vtd, {**Replay.VTD, "RTADDR": 0x55555000}, {})
        self.refused(1, "outside-ram", server.where, saying="root table")
        server = self.server(capture.Smmu, {**Replay.SMMU, "STRTAB_BASE": 0xfffff0000, "STRTAB_BASE_CFG": 16}, {})
        self.refused(1, "outside-ram", server.where, saying="stream table from 0")
        server = self.server(capture.Amd, {**Replay.AMD, "DEVTAB_BASE": 0xfff000 | 1, "CONTROL": 1}, {})
        self.refused(1, "outside-ram", server.where, saying="device table, entry 80 at 1000000: 1000000 is not RAM")

    def test_keep_going(self):
        server = self.vtd({0x3000: table({1: 0x88000000003, 2: 0x4003, 3: 0x99000000003}), 0x4000: table({})})
        done = self.run_capture(server.where, "--keep-going")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len(re.findall(r"^capture: warning: outside-ram: ", done.stderr, re.M)), 2)
        self.assertEqual(set(self.read_pages()), {0x1000, 0x2000, 0x3000, 0x4000})
        meta = json.loads((self.out / "meta.json").read_text())
        self.assertEqual((meta["problem_count"], len(meta["problems"])), (2, 2))
        self.assertIn("88000000000 is not RAM", " ".join(meta["problems"]))
        self.assertIn("is not captured", self.tool("tree", "--capture", self.out))

    def test_not_mapped(self):
        """A first stage whose tables the second stage does not map."""
        pasid = [0, 0] + [0x7000, 0, 0, 0, 0, 0]
        pasid[0] = 0x6000 | 2 << 2 | 3 << 6 | 1
        pages = {0x1000: table({0: 0x2001}), 0x2000: table({0x20 * 4: 0x4001}), 0x4000: table({0: 0x5001}),
                 0x5000: table(dict(enumerate(pasid))), 0x6000: table({0: 0x6003})}
        server = self.server(capture.Vtd, {**Replay.VTD, "RTADDR": 0x1400}, pages)
        # 6000 leads to itself, four levels down: GPA 7000 is a page that entry 7 would map, and it is zero.
        self.refused(1, "not-mapped", server.where, saying="7000 is not mapped by the second-stage tables of 00:04.0 PASID 0")
        self.check_end(server)

    def test_limit(self):
        everywhere = {0x3000 + i * PAGE: table({j: 0x3000 + (i * 37 + j) % 512 * PAGE | 3 for j in range(512)}) for i in range(512)}
        server = self.vtd(everywhere)
        self.refused(1, "limit", server.where, "--limit", 100, saying="more than 100 pages")
        self.check_end(server)
        self.refused(1, "limit", server.where, "--limit", 1, saying="more than 1 pages")

    def test_random(self):
        """Whatever is in the tables, the script ends, each page is read once, and what it writes can be read."""
        chance = random.Random(1)
        for round_number in range(12):
            kind, registers = ((capture.Vtd, {**Replay.VTD, "RTADDR": 0x1000 | round_number % 2 << 10}),
                               (capture.Smmu, {**Replay.SMMU, "STRTAB_BASE": 0x1000, "STRTAB_BASE_CFG": 1 << 16 | 8 << 6 | 16}),
                               (capture.Amd, {**Replay.AMD, "DEVTAB_BASE": 0x1003, "CONTROL": 0x10001}))[round_number % 3]
            pages = {}
            for page in range(1, 24):
                words = []
                for _ in range(512):
                    word = chance.getrandbits(64) if chance.random() < 0.3 else 0
                    word &= 0xfff0000000000fff | chance.randrange(1, 26) << 12
                    words.append(word | chance.choice((0, 1, 3, 5, 7, 0xb)) if word else 0)
                pages[page * PAGE] = struct.pack("<512Q", *words)
            server = self.server(kind, registers, pages)
            done = self.run_capture(server.where, "--limit", 64, *(("--keep-going",) if chance.random() < 0.7 else ()))
            self.assertIn(done.returncode, (0, 1), done.stderr)
            self.check_end(server)
            if done.returncode == 0:
                self.tool("tree", "--capture", self.out, "--max-loads", "100000")
                shutil.rmtree(self.out)
            self.assertEqual(list(self.out.parent.iterdir()), [])

    # --- mishaps ---

    def test_no_connection(self):
        self.refused(2, "cannot-connect", f"unix:{self.folder}/nobody", saying="No such file")
        self.refused(2, "cannot-connect", "localhost:1")
        self.refused(2, "cannot-connect", "nonsense")
        silent = socket.socket(socket.AF_UNIX)
        self.addCleanup(silent.close)
        silent.bind(f"{self.folder}/silent")
        silent.listen()
        self.refused(2, "cannot-connect", f"unix:{self.folder}/silent", "--timeout", 0.2, saying="one client at a time")

    def test_connection_lost(self):
        whole = self.vtd({})
        self.captured(whole.where)
        shutil.rmtree(self.out)
        for after in range(1, len(whole.log), 3):
            server = self.vtd({})
            server.close_after = after
            self.refused(2, "bad-answer", server.where, saying="(connection was closed|cannot be sent)")

    def test_folder(self):
        server = self.vtd({})
        self.out.mkdir()
        done = self.run_capture(server.where)
        self.assertEqual((done.returncode, server.log), (2, []))
        self.assertIn("error[cannot-write]", done.stderr)
        self.assertEqual(list(self.out.iterdir()), [])
        self.out = self.folder / "absent" / "one"
        self.assertIn("error[cannot-write]", self.run_capture(server.where).stderr)

    def test_which_unit(self):
        server = self.vtd({})
        tree = server.tree
        server.tree = "bus: main-system-bus\n  dev: virtio-iommu-pci, id \"\"\n"
        self.refused(1, "no-iommu", server.where, saying="virtio-iommu keeps no tables")
        server.tree = tree * 2
        self.refused(1, "no-iommu", server.where, saying="several")
        self.refused(1, "no-iommu", server.where, "--architecture", "amd")
        self.captured(server.where, "--architecture", "vtd", "--address", "fed90000")
        shutil.rmtree(self.out)
        server.registers["GSTS"] = 0
        server.tree = tree
        self.refused(1, "iommu-disabled", server.where, saying="GSTS.TES = 0")
        server.registers.update(GSTS=0xc0000000, RTADDR=0x1c00)
        self.refused(1, "unsupported-mode", server.where, saying="TTM = 3")
        self.assertTrue(server.running)

    def test_ended_by_a_signal(self):
        server = self.vtd({})
        server.delay = 0.3
        process = subprocess.Popen([sys.executable, str(SCRIPT), "--qmp", server.where, "--out", str(self.out)])
        for _ in range(200):
            if "stop" in server.log:
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(60), 128 + signal.SIGTERM)
        self.check_end(server)
        self.assertEqual(list(self.out.parent.iterdir()), [])

    def test_translations_are_not_invented(self):
        self.captured(self.vtd({}).where)
        self.assertFalse((self.out / "truth.tsv").exists())
        notes = " ".join(json.loads((self.out / "meta.json").read_text())["notes"])
        self.assertIn("There is no truth.tsv", notes)


CASES: dict[str, type[Case]] = {"vtd": Vtd, "smmuv3": Smmuv3, "amdvi": Amdvi, "replay": Replay, "hostile": Hostile}
LINUX: dict[str, type[Case]] = {"vtd": VtdLinux, "smmuv3": Smmuv3Linux, "amdvi": AmdviLinux}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--tool", required=True, help="stagewalk-inspect")
    parser.add_argument("--write-tables", required=True, help="what write_tables.cpp became")
    parser.add_argument("--linux", action="store_true", help="boot a kernel (of vtd, smmuv3, amdvi)")
    parser.add_argument("--kernel", help="that kernel; it is best called vmlinuz-VERSION")
    parser.add_argument("--modules", help="the folder of its modules (default: ../lib/modules/VERSION beside the kernel's folder)")
    parser.add_argument("--busybox", help="a static busybox (default: ../bin/busybox beside the kernel's folder, or that in PATH)")
    parser.add_argument("--test", action="append", help="only this test of the case, as test_NAME; again for more")
    parser.add_argument("-v", "--verbose", action="store_true")
    parser.parse_args(namespace=options)
    if options.linux and options.case not in LINUX:
        parser.error(f"--linux: not of {options.case}")
    case = (LINUX if options.linux else CASES)[options.case]
    if options.case in LINUX:
        need("qemu-system-aarch64" if options.case == "smmuv3" else "qemu-system-x86_64")
    if options.linux:
        case.find_system()
    names = options.test or unittest.defaultTestLoader.getTestCaseNames(case)
    done = unittest.TextTestRunner(verbosity=2 if options.verbose else 1).run(unittest.TestSuite(map(case, names)))
    sys.exit(not done.wasSuccessful())


if __name__ == "__main__":
    main()
