#!/usr/bin/env python3
"""`stagewalk-inspect tree`: every entry that is present, once. Usage: inspect_tree.py TOOL CAPTURE"""
import json

import inspect_capture


class Tree(inspect_capture.Case):
    def tree(self, *options):
        status, out, err = self.run_tool("tree", "--capture", self.shipped, "--json", *options)
        self.assertEqual((status, err), (0, ""))
        answer = json.loads(out)
        self.assertEqual(answer["schema"], "stagewalk-inspect.tree/1")
        return answer

    def test_everything_once(self):
        answer = self.tree()
        entries = [e for e in answer["entries"] if "address" in e]
        self.assertTrue(answer["complete"])
        self.assertEqual(len(entries), answer["entries_shown"])
        self.assertEqual(len({e["address"] for e in entries}), len(entries))
        self.assertEqual(len([e for e in answer["entries"] if "shared_table" in e]), answer["shared_tables"])
        self.assertGreater(answer["shared_tables"], 0)
        # Every captured page with an entry that is not zero.
        words = memoryview(inspect_capture.pathlib.Path(self.shipped, "pages.bin").read_bytes()).cast("Q")
        present = set()
        for line in inspect_capture.pathlib.Path(self.shipped, "pages.idx").read_text().split("\n")[:-1]:
            address, offset = line.split()
            if any(words[int(offset) // 8:int(offset) // 8 + 512]):
                present.add(int(address, 16))
        self.assertEqual({int(e["address"], 16) & ~0xfff for e in entries}, present)

    def test_one_device(self):
        answer = self.tree("--source", "80", "--range", "126e6000", "126e6fff")
        self.assertEqual([e["depth"] for e in answer["entries"]], [1, 2, 3, 4, 5, 6])
        self.assertEqual([e.get("level") for e in answer["entries"]], [None, None, 4, 3, 2, 1])
        last = answer["entries"][-1]
        self.assertEqual((last["source_id"], last["first_input"], last["last_input"]), ("0x80", "0x126e6000", "0x126e6fff"))
        traced = json.loads(self.run_tool("walk", "126e6000", "--source", "80", "--capture", self.shipped, "--json")[1])
        self.assertEqual([e["address"] for e in answer["entries"]], [e["address"] for e in traced["entries"]])
        self.assertEqual([e["words"] for e in answer["entries"]], [e["words"] for e in traced["entries"]])

    def test_bounds(self):
        self.assertEqual({e["depth"] for e in self.tree("--depth", "2")["entries"]}, {1, 2})
        cut = self.tree("--max-entries", "10")
        self.assertEqual((cut["entries_shown"], cut["complete"]), (10, False))
        self.assertFalse(self.tree("--max-loads", "1000")["complete"])

    def test_lacking_page(self):
        capture = self.copy()
        index = (capture / "pages.idx").read_text()
        (capture / "pages.idx").write_text("\n".join(line for line in index.split("\n") if not line.startswith("102f15000 ")))
        status, out, _ = self.run_tool("tree", "--capture", capture, "--source", "80")
        self.assertEqual(status, 0)
        self.assertIn(b"page 102f15000 is not captured", out)


if __name__ == "__main__":
    inspect_capture.main()
