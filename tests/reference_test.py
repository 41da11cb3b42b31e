# SPDX-License-Identifier: Apache-2.0
"""The program against an independent implementation: results that tests/python/record_reference.py wrote down from a
PyTorch reference in float64. Every pruning method, at two levels; kept patches equal, logits within 1e-4.
Usage: reference_test.py PATH_OF_HEDGEROW. Standard library only."""
import json
import os
import pathlib
import subprocess
import sys
import unittest

HEDGEROW = ""
TESTS = pathlib.Path(__file__).resolve().parent
DATA = TESTS / "data" / "reference"
TOLERANCE = 1e-4


def classify(level, model, flags):
    """One JSON object a picture, by file name; None where this machine does not have the level."""
    run = subprocess.run([HEDGEROW, "classify", str(DATA), "--model", str(TESTS.parent / "models" / model), "--json",
                          "--logits", "--kept", "--threads", "1", *flags],
                         capture_output=True, text=True, timeout=300, env={**os.environ, "HEDGEROW_KERNELS": level})
    if "which this machine does not have" in run.stderr:
        return None
    assert run.returncode == 0, run.stderr
    return {pathlib.Path(row["path"]).name: row for row in map(json.loads, run.stdout.splitlines())}


def as_bits(patches):
    return f"{sum(1 << p for p in patches):x}"


class Reference(unittest.TestCase):
    def same_picture(self, ours, theirs, patches):
        self.assertEqual(len(ours["logits"]), len(theirs["logits"]))
        for a, b in zip(ours["logits"], theirs["logits"]):
            self.assertLess(abs(a - b), TOLERANCE)
        # The last block computes only the rows that the output needs.
        self.assertEqual(ours["kept"][:-1], theirs["rows"][:-1])
        mine = dict(zip(ours["stages"], map(as_bits, ours["kept_patches"])))
        last, before = f"block {len(theirs['rows']) - 1}", as_bits(range(patches))
        for stage, bits in theirs["stages"].items():
            if stage in mine:
                self.assertEqual(mine[stage], bits, stage)
            else:
                self.assertTrue(stage == last or bits == before, f"{stage} is missing among {list(mine)}")
            before = bits

    def level(self, level):
        recorded = json.loads((DATA / "reference.json").read_text())
        self.assertEqual(len(recorded["cases"]), 12)
        for case in recorded["cases"]:
            results = classify(level, recorded["model"], case["flags"])
            if results is None:
                self.skipTest(f"this machine does not have {level}")
            self.assertEqual(sorted(results), sorted(case["pictures"]))
            for name, theirs in case["pictures"].items():
                with self.subTest(flags=case["flags"], picture=name):
                    self.same_picture(results[name], theirs, recorded["patches"])

    def test_avx2(self):
        self.level("avx2")

    def test_avx512bf16(self):
        self.level("avx512bf16")


if __name__ == "__main__":
    HEDGEROW = sys.argv.pop(1)
    unittest.main(verbosity=2)
