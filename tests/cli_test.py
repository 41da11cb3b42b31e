# SPDX-License-Identifier: Apache-2.0
"""The program as a black box: exit codes, one-line errors, JSON, request files, overlays, skipped pictures.
Usage: cli_test.py PATH_OF_HEDGEROW. Standard library only; models are random, pictures are drawn here."""
import json
import math
import os
import pathlib
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import zlib

HEDGEROW = ""
TINY = "random:dim=64,heads=2,layers=12,patch=8,image=64,classes=10,predictors=1"
PATCHES, LAYERS, CLASSES = 64, 12, 10
METHODS = ["none", "threshold-l2", "dynamicvit", "evit", "evit-unfused", "ats", "tome", "diffrate", "paper-l2",
           "paper-dynamicvit", "paper-evit", "paper-ats"]


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, seed):
    rows = b"".join(b"\0" + bytes((x * 7 * seed + y * (3 + seed) + c * 40) % 256 for x in range(width) for c in range(3))
                    for y in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def png_size(data):
    """Width and height of a PNG whose chunks are whole."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, pixels = 8, b""
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length:at + 12 + length])[0] == zlib.crc32(kind + body)
        if kind == b"IDAT":
            pixels += body
        at += 12 + length
    width, height = struct.unpack(">II", data[16:24])
    assert len(zlib.decompress(pixels)) == height * (1 + 3 * width)
    return width, height


def run(*args, env=None):
    return subprocess.run([HEDGEROW, *map(str, args)], capture_output=True, text=True, timeout=300,
                          env={**os.environ, **(env or {})})


class Cli(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.holder = tempfile.TemporaryDirectory()
        cls.dir = pathlib.Path(cls.holder.name)
        cls.pictures = cls.dir / "pictures"
        (cls.pictures / "below").mkdir(parents=True)
        cls.names = ["a.png", "b.png", "below/c.png"]
        for i, name in enumerate(cls.names):
            (cls.pictures / name).write_bytes(png(70 + 20 * i, 64 + 9 * i, i + 1))
        (cls.pictures / "notes.md").write_text("not a picture")

    @classmethod
    def tearDownClass(cls):
        cls.holder.cleanup()

    def classify(self, *args, model=TINY):
        return run("classify", "--model", model, *args)

    def results(self, *args):
        done = self.classify("--json", *args)
        self.assertEqual(done.returncode, 0, done.stderr)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def refused(self, done, *words):
        """Nothing done, and one line on stderr that has all the words."""
        self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
        self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
        self.assertEqual(done.stdout, "")
        for word in words:
            self.assertIn(word, done.stderr)

    def test_version_help_and_kernels(self):
        self.assertRegex(run("--version").stdout, r"^hedgerow \d+\.\d+\.\d+\n$")
        self.assertIn("--prune", run("classify", "--help").stdout)
        listed = run("--kernels", env={"HEDGEROW_KERNELS": "scalar"})
        self.assertEqual(listed.returncode, 0)
        self.assertRegex(listed.stdout, r"(?m)^\* scalar ")

    def test_a_forced_kernel_level_is_the_one_in_use(self):
        done = run("classify", "--model", TINY, "--threads", 1, self.pictures / "a.png", env={"HEDGEROW_KERNELS": "scalar"})
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("(scalar, f32, 1 thread)", done.stderr)
        self.refused(run("classify", "--model", TINY, self.pictures, env={"HEDGEROW_KERNELS": "abacus"}), "abacus", "scalar")

    def test_text_names_each_picture(self):
        done = self.classify(self.pictures)
        self.assertEqual(done.returncode, 0, done.stderr)
        for name in self.names:
            self.assertIn(name, done.stdout)
        self.assertNotIn("notes.md", done.stdout + done.stderr)

    def test_the_summary_is_on_stderr(self):
        for args in ([], ["--json"]):
            done = self.classify(self.pictures, *args)
            self.assertRegex(done.stderr, r"3 pictures in [\d.]+ s: [\d.]+ pictures/s; reading alone [\d.]+, computing alone [\d.]+;")
            self.assertNotIn("pictures/s", done.stdout)
            self.assertIn("1 picture in", self.classify(self.pictures / "a.png", *args).stderr)

    def test_text_says_how_many_patches_are_left_and_what_rows_count(self):
        for args, words in (([], "64 of 64 patches left; rows 65 x11, 1;"),
                            (["--prune", "threshold-l2", "--keep", 0.5], "32 of 64 patches left; rows 65 x3, 33 x8, 1;"),
                            (["--prune", "evit", "--keep", 0.5], "9 rows and a fused one left of 64 patches; rows 65 x3, 34 x3,"),
                            (["--prune", "tome", "--merge-r", 3], "31 merged rows left of 64 patches;")):
            self.assertIn(words, self.classify(self.pictures / "a.png", *args).stdout)
        self.assertIn("CLS counted", self.classify(self.pictures / "a.png").stderr)
        self.assertIn("CLS and the fused row counted", self.classify(self.pictures / "a.png", "--prune", "evit").stderr)

    def test_json_has_the_promised_fields(self):
        for r, name in zip(self.results(self.pictures, "--logits", "--top", 3), self.names):
            self.assertEqual(r["path"], str(self.pictures / name))
            self.assertEqual(len(r["top"]), 3)
            self.assertEqual(len(r["kept"]), LAYERS)
            self.assertEqual(r["kept"][:-1], [PATCHES + 1] * (LAYERS - 1))
            self.assertEqual((r["special"], r["grid"]), (1, [8, 8]))
            self.assertNotIn("note", r)
            self.assertEqual(len(r["logits"]), CLASSES)
            self.assertGreater(r["macs"], 0)
            logits = [struct.unpack("f", struct.pack("f", v))[0] for v in r["logits"]]
            highest = max(logits)
            sum_exp = math.fsum(math.exp(v - highest) for v in logits)
            order = sorted(range(CLASSES), key=lambda i: (-logits[i], i))
            for t, index in zip(r["top"], order):
                self.assertEqual(t["index"], index)
                self.assertAlmostEqual(t["p"], math.exp(logits[index] - highest) / sum_exp, places=12)
                self.assertIsInstance(t["label"], str)

    def test_numbers_are_the_shortest_that_read_back(self):
        done = self.classify("--json", "--logits", self.pictures / "a.png")
        logits = json.loads(done.stdout, parse_float=str)["logits"]
        single = lambda text: struct.pack("f", float(text))
        for text in map(str, logits):
            digits = len(text.split("e")[0].replace("-", "").replace(".", "").strip("0"))
            fewer = [n for n in range(1, digits) if single(f"{float(text):.{n - 1}e}") == single(text)]
            self.assertEqual(fewer, [], text)

    def test_every_method_runs_without_further_flags(self):
        dense = self.results(self.pictures / "a.png")[0]
        for method in METHODS[1:]:
            with self.subTest(method=method):
                r = self.results(self.pictures / "a.png", "--prune", method)[0]
                self.assertLess(r["macs"], dense["macs"])
                self.assertLess(r["kept"][-2], PATCHES + 1)
                self.assertEqual(r["kept"], sorted(r["kept"], reverse=True))

    def test_batch_threads_and_order_change_nothing(self):
        base = {r["path"]: r for r in self.results(self.pictures, "--logits", "--prune", "ats", "--batch", 3)}
        paths = [self.pictures / n for n in reversed(self.names)]
        for args in (["--batch", 1], ["--batch", 2, "--threads", 1], ["--layout", "padded-max"]):
            for r in self.results(*paths, "--logits", "--prune", "ats", *args):
                self.assertEqual(r["logits"], base[r["path"]]["logits"], args)

    def test_a_range_of_rates_is_drawn_by_content_and_seed(self):
        args = ["--prune", "paper-l2", "--keep", "0.2:0.9"]
        forth = {r["path"]: r["kept"] for r in self.results(self.pictures, *args)}
        back = {r["path"]: r["kept"] for r in self.results(*[self.pictures / n for n in reversed(self.names)], *args)}
        self.assertEqual(forth, back)
        self.assertGreater(len({tuple(k) for k in forth.values()}), 1)
        other = {r["path"]: r["kept"] for r in self.results(self.pictures, *args, "--seed", 7)}
        self.assertNotEqual(forth, other)

    def test_kept_patches_agree_with_kept_rows(self):
        r = self.results(self.pictures / "a.png", "--kept", "--prune", "threshold-l2", "--keep", 0.5)[0]
        self.assertEqual(len(r["stages"]), len(r["kept_patches"]))
        self.assertEqual(len(r["kept_patches"][0]), PATCHES // 2)
        self.assertEqual(r["kept_patches"][0], sorted(set(r["kept_patches"][0])))
        self.assertEqual(r["kept"][4], PATCHES // 2 + 1)
        merged = self.results(self.pictures / "a.png", "--kept", "--prune", "tome", "--merge-r", 5)[0]
        self.assertEqual(len(merged["kept_patches"][0]), PATCHES - 5)
        self.assertEqual(len(merged["merged"][0]), 5)

    def test_every_rule_is_open_to_methods_that_prune_once(self):
        picture = self.pictures / "a.png"
        for method in ("threshold-l2", "paper-l2", "paper-evit", "paper-ats", "paper-dynamicvit"):
            rows = self.results(picture, "--prune", method, "--quantile", 0.25)[0]["kept"][4]
            self.assertEqual(rows, PATCHES * 3 // 4 + 1, method)
            rows = self.results(picture, "--prune", method, "--threshold", 1e9, "--floor", 5)[0]["kept"][4]
            self.assertEqual(rows, 5 + 1, method)
            if method != "paper-dynamicvit":
                few, many = (self.results(picture, "--prune", method, "--mass", m)[0]["kept"][4] for m in (0.3, 0.8))
                self.assertTrue(1 < few < many <= PATCHES + 1, method)

    def test_a_threshold_that_keeps_nothing_says_so(self):
        args = [self.pictures, "--prune", "threshold-l2", "--threshold", 1e9]
        for r in self.results(*args):
            self.assertEqual(r["kept"][4], 1)
            self.assertIn("no patch reaches the threshold", r["note"])
        done = self.classify(*args)
        self.assertEqual(done.stdout.count("note: no patch reaches the threshold"), 3)
        self.assertIn("3 of 3 pictures kept no patch", done.stderr)
        self.assertNotIn("note", self.results(*args, "--floor", 1)[0])

    def test_keep_final_means_the_same_for_every_method(self):
        for method in ("threshold-l2", "dynamicvit", "evit", "evit-unfused", "paper-l2", "paper-dynamicvit", "paper-evit", "paper-ats"):
            for share in (1, 0.5, 0.25, 0.1):
                with self.subTest(method=method, share=share):
                    r = self.results(self.pictures / "a.png", "--prune", method, "--keep-final", share, "--kept")[0]
                    fused = method == "evit" and r["kept"][-2] < PATCHES + 1
                    left = r["kept"][-2] - 1 - fused
                    if method in ("paper-l2", "paper-dynamicvit") and share < 1:  # CLS has its place; if it loses, a patch stays for it
                        left -= left == int(share * PATCHES) + 1
                    self.assertEqual(left, int(share * PATCHES))
                    if method != "evit":  # where a fused row may be among those that stay
                        self.assertEqual(len(r["kept_patches"][-1]), r["kept"][-2] - 1)
        for share, r in ((1, 0), (0.5, 3), (0.25, 4)):
            done = self.classify(self.pictures / "a.png", "--prune", "tome", "--keep-final", share, "--json", "--kept")
            self.assertIn(f"tome --merge-r {r},", done.stderr)
            self.assertEqual(len(json.loads(done.stdout)["kept_patches"][-1]) if r else PATCHES, PATCHES - r * (LAYERS - 1))
        for method in ("none", "ats", "diffrate"):
            self.refused(self.classify(self.pictures, "--prune", method, "--keep-final", 0.5), "--keep-final", method)
        for args, words in ((["--keep", 0.5, "--keep-final", 0.5], ["--keep-final", "found 2"]), (["--keep-final", 0], ["--keep-final", "found 0"]),
                            (["--keep-final", 1.5], ["--keep-final", "1.5"])):
            self.refused(self.classify(self.pictures, "--prune", "evit", *args), *words)

    def test_keep_final_is_solved_for_each_size(self):
        file = self.dir / "sizes.jsonl"
        file.write_text('{"path": "pictures/a.png", "size": 96}\n{"path": "pictures/a.png"}\n')
        rows = [r["kept"][-2] for r in self.results("--requests", file, "--prune", "dynamicvit", "--keep-final", 0.5)]
        self.assertEqual(rows, [72 + 1, 32 + 1])
        self.refused(self.classify("--requests", file, "--prune", "tome", "--keep-final", 0.5), "tome", "pictures/a.png")

    def test_the_default_model_says_what_it_knows(self):
        done = run("classify", "--json", self.pictures / "a.png")  # coloured stripes
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("no --model: hedgerow-vit-mini knows twelve drawn shapes and no photographs", done.stderr)
        self.assertLess(json.loads(done.stdout)["top"][0]["p"], 0.8)
        self.assertIn("perhaps none of the twelve", json.loads(done.stdout)["note"])
        self.assertIn("1 of 1 picture may show nothing", done.stderr)
        self.assertNotIn("no --model", run("classify", "--model", "hedgerow-vit-mini", self.pictures / "a.png").stderr)

    def test_requests_have_rates_and_sizes_of_their_own(self):
        file = self.dir / "requests.jsonl"
        lines = [{"path": "pictures/a.png", "keep": 0.25}, {"path": "pictures/b.png"},
                 {"path": str(self.pictures / "below/c.png"), "keep": 1, "size": 96}]
        file.write_text("\n".join(map(json.dumps, lines)) + "\n")
        rows = [r["kept"][4] for r in self.results("--requests", file, "--prune", "paper-evit", "--keep", 0.5)]
        self.assertEqual(rows, [PATCHES // 4 + 1, PATCHES // 2 + 1, 144 + 1])

    def test_hostile_requests_are_refused_with_their_line(self):
        file = self.dir / "hostile.jsonl"
        good = '{"path": "pictures/a.png"}\n'
        for bad, word in (("{", "JSON"), ("[]", "object"), ("{}", "path"), ('{"path": 3}', "path"),
                          ('{"path": "x", "keep": 2}', "keep"), ('{"path": "x", "keep": 0}', "keep"),
                          ('{"path": "x", "size": 1e99}', "size"), ('{"path": "x", "size": -1}', "size"),
                          ('{"path": "x", "speed": 1}', "speed"), ("[" * 5000, "line 2"), ('{"path": "\\u0000"}', "zero")):
            with self.subTest(bad=bad[:40]):
                file.write_text(good + bad + "\n")
                self.refused(self.classify("--requests", file, "--prune", "paper-l2"), "line 2", word)

    def test_lists_and_labels(self):
        (self.dir / "list.txt").write_text("pictures/b.png\r\npictures/a.png\n")
        for name in (self.dir / "list.txt", f"@{self.dir / 'list.txt'}"):
            self.assertEqual([os.path.basename(r["path"]) for r in self.results(name)], ["b.png", "a.png"])
        found = {os.path.basename(r["path"]): r for r in self.results(self.pictures)}
        labels = self.dir / "labels.csv"
        right, wrong = found["a.png"]["top"][0]["index"], found["b.png"]["top"][1]["index"]
        labels.write_text(f"file,label\na.png,{right}\nb.png,{wrong}\n")
        done = self.classify(self.pictures, "--labels", labels)
        self.assertIn("top-1 50.00 %, top-5 100.00 % of 2 pictures", done.stderr)
        labels.write_text(f"a.png,{CLASSES}\n")
        self.refused(self.classify(self.pictures, "--labels", labels), "line 1", str(CLASSES))

    def test_damaged_pictures_are_skipped_by_name(self):
        folder = self.dir / "damaged"
        folder.mkdir()
        whole = png(64, 64, 3)
        (folder / "good.png").write_bytes(whole)
        (folder / "short.png").write_bytes(whole[:200])
        (folder / "text.jpg").write_text("hello")
        (folder / "empty.jpeg").write_bytes(b"")
        done = self.classify(folder, folder / "missing.png", "--json")
        self.assertEqual(done.returncode, 1)
        self.assertEqual([os.path.basename(json.loads(x)["path"]) for x in done.stdout.splitlines()], ["good.png"])
        skipped = [line for line in done.stderr.splitlines() if "skipped: " in line]
        self.assertEqual(len(skipped), 4, done.stderr)
        for name in ("short.png", "text.jpg", "empty.jpeg", "missing.png"):
            self.assertTrue(any(name in line for line in skipped), name)
        (folder / "good.png").unlink()
        self.assertEqual(self.classify(folder).returncode, 2)

    def test_nothing_to_do_is_an_error(self):
        empty = self.dir / "empty"
        empty.mkdir()
        self.refused(self.classify(empty), "no JPEG or PNG")
        self.refused(self.classify(), "wanted pictures")

    def test_overlays_are_whole_pictures(self):
        for method in ("evit", "tome", "ats"):
            folder = self.dir / f"overlay-{method}"
            done = self.classify(self.pictures, "--prune", method, "--overlay", folder)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(sorted(p.name for p in folder.iterdir()), ["a.png", "b.png", "c.png"])
            for file in folder.iterdir():
                width, height = png_size(file.read_bytes())
                self.assertGreater(width, 2 * height if method == "evit" else height // 4)

    def test_no_overlay_replaces_a_picture_or_a_foreign_file(self):
        folder = self.dir / "in-place"
        (folder / "below").mkdir(parents=True)
        whole = png(64, 64, 3)
        (folder / "a.png").write_bytes(whole)
        (folder / "below/b.png").write_bytes(whole)
        other = self.dir / "elsewhere"
        other.mkdir()
        (other / "a.png").symlink_to(folder / "a.png")
        os.link(folder / "below/b.png", other / "b.png")
        foreign = self.dir / "foreign"
        foreign.mkdir()
        (foreign / "a.png").write_bytes(png(20, 20, 1))
        dangling = self.dir / "dangling"
        dangling.mkdir()
        (dangling / "a.png").symlink_to(self.dir / "nowhere.png")
        a, b = folder / "a.png", folder / "below/b.png"
        for args, name in (([a, "--overlay", folder], "in-place/a.png is one of the pictures"),
                           ([folder, "--overlay", folder], "in-place/a.png is one of the pictures"),
                           ([b, a, "--overlay", other], "elsewhere/b.png is one of the pictures"),
                           ([a, "--overlay", other], "elsewhere/a.png is one of the pictures"),
                           ([other / "a.png", "--overlay", folder], "in-place/a.png is one of the pictures"),
                           ([a, "--overlay", foreign], "foreign/a.png is there and no overlay"),
                           ([a, "--overlay", dangling], "dangling/a.png is there and no overlay")):
            with self.subTest(args=args):
                self.refused(self.classify("--prune", "evit", *args), name)
        self.assertEqual((a.read_bytes(), b.read_bytes()), (whole, whole))
        self.assertEqual((foreign / "a.png").read_bytes(), png(20, 20, 1))
        self.assertEqual([p.name for p in sorted(folder.rglob("*"))], ["a.png", "below", "b.png"])
        # From inside the folder, as one would type it.
        done = subprocess.run([HEDGEROW, "classify", "--model", TINY, "a.png", "--overlay", "."], cwd=folder, capture_output=True, text=True)
        self.refused(done, "./a.png is one of the pictures")
        self.assertEqual(a.read_bytes(), whole)

    def test_overlays_are_replaced_by_overlays_and_left_out_of_folders(self):
        folder = self.dir / "again"
        folder.mkdir()
        (folder / "a.png").write_bytes(png(64, 64, 3))
        seen = folder / "seen"
        for left_out, method in ((False, "evit"), (True, "tome")):
            done = self.classify(folder, "--prune", method, "--overlay", seen, "--json")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(len(done.stdout.splitlines()), 1)
            self.assertEqual("note: 1 overlay left out" in done.stderr, left_out)
            self.assertIn(b"tEXtSoftware\0hedgerow overlay", (seen / "a.png").read_bytes()[:100])
            self.assertEqual([p.name for p in seen.iterdir()], ["a.png"])
            size, before = png_size((seen / "a.png").read_bytes()), size if left_out else None
        self.assertNotEqual(size, before)
        # Named by itself an overlay is a picture like any other, and safe.
        was = (seen / "a.png").read_bytes()
        self.assertEqual(len(self.results(seen / "a.png")), 1)
        self.refused(self.classify(seen / "a.png", "--overlay", seen), "seen/a.png is one of the pictures")
        self.assertEqual((seen / "a.png").read_bytes(), was)
        self.refused(self.classify(seen), "no JPEG or PNG")

    def test_reports_replace_reports_only(self):
        file = self.dir / "kept.json"
        for text in ("{}", "[1]", '{"kept": [65]}\n', "notes"):
            file.write_text(text)
            self.refused(run("bench", "vit", "--models", TINY, "--json", file), "kept.json is there and no report")
            self.refused(run("bench", "attention", "--json", file), "kept.json is there and no report")
            self.assertEqual(file.read_text(), text)

    def test_bad_flags_are_one_line(self):
        a = self.pictures / "a.png"
        for args, words in ((["--prune", "guess"], ["guess", "threshold-l2"]), (["--keep", "0.5"], ["--keep", "none"]),
                            (["--prune", "evit", "--keep", "1.5"], ["--keep", "1.5"]),
                            (["--prune", "evit", "--keep", "0.2:0.4"], ["--keep", "paper-*"]),
                            (["--prune", "ats", "--threshold", "1"], ["--threshold", "threshold-l2"]),
                            (["--prune", "threshold-l2", "--threshold", "1", "--mass", "0.5"], ["--mass", "one of them"]),
                            (["--batch", "0"], ["--batch"]), (["--dtype", "f8"], ["--dtype"]), (["--layout", "x"], ["--layout"]),
                            (["--threads", "many"], ["--threads"]), (["--top", "0"], ["--top"]), (["--nonsense"], ["--nonsense"]),
                            (["--logits"], ["--json"]), (["--size", "65"], ["65"]), (["--crop", "tall"], ["--crop"]),
                            (["--std", "1,0,1"], ["--std"]), (["--mean", "1,2"], ["--mean"]),
                            (["--prune", "diffrate", "--diffrate", "Q 1"], ["Q 1"]),
                            (["--prune", "paper-l2", "--prune-after", "12"], ["12"]), (["--labels", "missing.csv"], ["missing.csv"]),
                            (["--requests", "missing.jsonl"], ["missing.jsonl"]), (["--overlay", str(a)], [str(a)])):
            with self.subTest(args=args):
                self.refused(self.classify(a, *args), *words)
        self.refused(self.classify(a, model="no-such-model"), "no-such-model")
        self.refused(self.classify(a, model="random:dim=65,heads=2"), "65")

    def test_a_gpu_is_refused_by_a_build_without_it(self):
        a = self.pictures / "a.png"
        words = ("'cuda'", "is not part of this build; configure with -DHEDGEROW_CUDA=ON")
        if "cuda" in run("--kernels").stdout:
            self.skipTest("this build has the CUDA backend")
        self.refused(self.classify(a, "--device", "cuda"), *words)
        self.refused(self.classify(a, "--device", "cuda", "--dtype", "f32", "--json"), *words)
        self.refused(run("classify", "--model", TINY, a, env={"HEDGEROW_KERNELS": "cuda"}), *words, "HEDGEROW_KERNELS")
        self.refused(run("bench", "vit", "--models", TINY, "--device", "cuda"), *words)
        self.refused(run("bench", "attention", "--device", "cuda"), *words)

    def test_half_precision_is_for_gpus(self):
        for done in (self.classify(self.pictures / "a.png", "--dtype", "f16"),
                     run("bench", "vit", "--models", TINY, "--dtypes", "f16"),
                     run("bench", "attention", "--dtypes", "f32,f16")):
            self.refused(done, "wanted f32 or bf16", "found f16")
        for done in (self.classify(self.pictures / "a.png", "--dtype", "fp8"),
                     run("bench", "vit", "--models", TINY, "--dtypes", "fp8"),
                     run("bench", "attention", "--dtypes", "fp8")):
            self.refused(done, "wanted f32 or bf16", "found fp8")

    def test_preprocessing_can_be_overridden(self):
        base = self.results(self.pictures / "a.png", "--logits")[0]["logits"]
        for args in (["--mean", "0.5,0.5,0.5"], ["--std", "0.5,0.5,0.5"], ["--resize", "100"], ["--crop", "none"],
                     ["--crop", "0.7"], ["--interpolation", "bilinear"]):
            with self.subTest(args=args):
                self.assertNotEqual(self.results(self.pictures / "a.png", "--logits", *args)[0]["logits"], base)

    def test_info_describes_a_checkpoint(self):
        done = run("info", TINY)
        self.assertEqual(done.returncode, 0, done.stderr)
        for word in ("12 blocks, width 64, 2 heads of 32", "64 patches + 1 special", "DynamicViT", *METHODS):
            self.assertIn(word, done.stdout)
        self.refused(run("info", "nowhere/at/all"), "nowhere/at/all")
        self.refused(run("info", TINY, self.dir / "missing.png"), "missing.png")

    def test_info_shows_what_a_threshold_is_compared_with(self):
        self.assertRegex(run("info", TINY).stdout, r"scores of threshold-l2 after 4 blocks on noise")
        done = run("info", TINY, self.pictures / "a.png", self.pictures / "b.png")
        self.assertEqual(done.returncode, 0, done.stderr)
        shown = re.search(r"after 4 blocks on 2 pictures, patches alone:\s+lowest ([\d.]+), 10 % below [\d.]+, 50 % below ([\d.]+), "
                          r"90 % below [\d.]+, highest ([\d.]+)", done.stdout)
        low, half, high = map(float, shown.groups())
        rows = lambda at: sum(r["kept"][4] - 1 for r in self.results(self.pictures / "a.png", self.pictures / "b.png",
                                                                     "--prune", "threshold-l2", "--threshold", at))
        self.assertEqual((rows(0.99 * low), rows(1.01 * high)), (2 * PATCHES, 0))
        self.assertTrue(0.8 * PATCHES < rows(half) < 1.2 * PATCHES, rows(half))

    def test_bench_writes_what_it_measured(self):
        file = self.dir / "bench.json"
        done = run("bench", "vit", "--models", TINY, "--batches", "1,2", "--dtypes", "f32", "--rounds", 3, "--threads", 1,
                   "--methods", "paper-l2,ats", "--layouts", "ragged,padded", "--json", file)
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = json.loads(file.read_text())["results"]
        self.assertEqual(len(rows), 2 * 5)
        for row in rows:
            self.assertGreater(row["images_per_s"], 0)
            self.assertLessEqual(row["p50_ms"], row["p99_ms"])
            self.assertGreater(row["share_of_peak"], 0)
        dense = [r for r in rows if r["method"] == "none"]
        self.assertEqual([r["arithmetic_gain"] for r in dense], [1, 1])
        ragged = [r for r in rows if r["method"] == "paper-l2" and r["layout"] == "ragged"]
        self.assertTrue(all(r["arithmetic_gain"] > 1.1 for r in ragged))

    def test_bench_attention_writes_what_it_measured(self):
        file = self.dir / "attention.json"
        done = run("bench", "attention", "--batches", "1,3", "--lengths", "5,20", "--heads", 2, "--threads", 1,
                   "--seconds", 0, "--json", file)
        self.assertEqual(done.returncode, 0, done.stderr)
        measured = json.loads(file.read_text())
        self.assertEqual(len(measured["sweep"]), 2 * 2 * 2)
        self.assertEqual({row["dtype"] for row in measured["sweep"]}, {"f32", "bf16"})
        for row in measured["sweep"]:
            self.assertGreater(row["us"], 0)
            self.assertAlmostEqual(row["gflops"] / row["peak_gflops"] / row["share_of_peak"], 1, delta=0.9)
            self.assertNotIn("host_us", row)
        self.assertEqual((len(measured["call"]), len(measured["layer"])), (4, 2))

    def test_bench_imposes_recorded_counts(self):
        counts = self.dir / "counts.jsonl"
        kept = [65, 65, 65, 50, 40, 30, 30, 20, 20, 10, 10, 1]
        counts.write_text(json.dumps({"kept": kept}) + "\n")
        file = self.dir / "imposed.json"
        done = run("bench", "vit", "--models", TINY, "--batches", "2", "--dtypes", "f32", "--rounds", 1, "--threads", 1,
                   "--methods", "ats", "--layouts", "ragged", "--counts", counts, "--json", file)
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = json.loads(file.read_text())["results"]
        self.assertGreater(rows[1]["arithmetic_gain"], 1.5)
        counts.write_text('{"kept": [1, -5]}\n')
        self.refused(run("bench", "vit", "--models", TINY, "--counts", counts, "--methods", "ats"), "line 1", "kept")

    def test_bench_finds_the_same_counts_by_quantile(self):
        file = self.dir / "rules.json"
        done = run("bench", "vit", "--models", TINY, "--batches", "3", "--dtypes", "f32", "--rounds", 1, "--threads", 1, "--methods",
                   "threshold-l2,ats", "--layouts", "ragged", "--rules", "rate,quantile,mass,told", "--batch-invariant", "--json", file)
        self.assertEqual(done.returncode, 0, done.stderr)
        results = json.loads(file.read_text())["results"]
        ats = {r["rule"]: r["macs_per_image"] for r in results if r["method"] == "ats"}
        self.assertEqual(sorted(ats), ["rate", "told"])
        self.assertEqual(ats["rate"], ats["told"])
        rows = [r for r in results if r["method"] == "threshold-l2"]
        self.assertEqual([r["rule"] for r in rows], ["rate", "quantile", "mass"])
        self.assertEqual(rows[0]["macs_per_image"], rows[1]["macs_per_image"])
        self.assertAlmostEqual(rows[0]["macs_per_image"] / rows[2]["macs_per_image"], 1, delta=0.1)
        self.refused(run("bench", "vit", "--models", TINY, "--methods", "threshold-l2", "--rules", "best"), "--rules", "best")

    def test_interrupt_ends_after_the_batch_at_hand(self):
        many = self.dir / "many.txt"
        many.write_text("pictures/a.png\n" * 20000)
        out = self.dir / "interrupted.jsonl"
        with out.open("w") as stream:
            process = subprocess.Popen([HEDGEROW, "classify", "--model", TINY, "--json", str(many)], stdout=stream,
                                       stderr=subprocess.PIPE, text=True)
            end = time.time() + 60
            while out.stat().st_size == 0 and time.time() < end:
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 1, stderr)
        lines = out.read_text().splitlines()
        self.assertGreater(len(lines), 0)
        self.assertLess(len(lines), 20000)
        for line in lines:
            json.loads(line)
        self.assertIn(f"interrupted: {len(lines)} of 20000", stderr)


if __name__ == "__main__":
    HEDGEROW = os.path.abspath(sys.argv.pop(1))
    unittest.main()
