"""Captures for the tests of stagewalk-inspect: small ones made here, and damaged copies of the shipped one."""
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

# CAP: 48 bits, 3 and 4 levels, 4K/2M/1G, 16-bit domain ids. ECAP: pass-through, no device TLB, no snoop control.
REGISTERS = {"VER": "0x10", "CAP": "0x80d2008c222f0686", "ECAP": "0x0000000000f00f4a", "GSTS": "0xc7000000",
             "RTADDR": "0x0000000000001000"}


class Image:
    """Guest memory, 64 bits at a time."""

    def __init__(self):
        self.pages = {}

    def put(self, address, *words):
        for i, word in enumerate(words):
            at = address + 8 * i
            page = self.pages.setdefault(at & ~0xfff, bytearray(4096))
            page[at & 0xfff:(at & 0xfff) + 8] = word.to_bytes(8, "little")

    def write(self, folder, registers=REGISTERS, **meta):
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "meta.json").write_text(json.dumps({"name": "made", "format": "vtd-legacy", "registers": registers, **meta}))
        with open(folder / "pages.bin", "wb") as data, open(folder / "pages.idx", "w") as index:
            for n, (address, page) in enumerate(sorted(self.pages.items())):
                data.write(page)
                index.write(f"{address:x} {n * 4096}\n")
        return folder


class Case(unittest.TestCase):
    """A test with a folder of its own. `tool` and `shipped` come from the command line."""
    tool = None
    shipped = None

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="stagewalk-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def copy(self, name="copy"):
        return pathlib.Path(shutil.copytree(self.shipped, self.folder / name, copy_function=shutil.copyfile))

    def run_tool(self, *arguments, stdin=b""):
        done = subprocess.run([self.tool, *map(str, arguments)], input=stdin, capture_output=True, timeout=120, check=False)
        return done.returncode, done.stdout, done.stderr.decode()

    def translate(self, capture, lines, *options):
        """The answers to `lines` (bytes, or a list of texts), as a list of texts."""
        data = lines if isinstance(lines, bytes) else "".join(line + "\n" for line in lines).encode()
        batch = self.folder / "batch"
        batch.write_bytes(data)
        status, out, err = self.run_tool("translate", "--capture", capture, "--batch", batch, *options)
        self.assertEqual((status, err), (0, ""))
        text = out.decode()
        self.assertTrue(text == "" or text.endswith("\n"))
        return text.split("\n")[:-1]

    def refused(self, *arguments, saying):
        """The tool ends with status 2, prints nothing, and says one line with each of `saying` in it."""
        status, out, err = self.run_tool(*arguments)
        self.assertEqual((status, out), (2, b""), err)
        self.assertEqual(err.count("\n"), 1, err)
        for part in [saying] if isinstance(saying, str) else saying:
            self.assertIn(part, err)


def main():
    Case.tool, Case.shipped = sys.argv[1:3]
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
