# SPDX-License-Identifier: Apache-2.0
# Does the reference itself do what the papers say? Token counts by the published tables, and dense logits equal to a
# straightforward batch of the same weights. Random weights, seconds. Run: python3 tests/python/test_reference.py
import sys

try:
    import torch
except ImportError:
    print("skipped: PyTorch is not installed")
    sys.exit(0)

from prune_reference import DIFFRATE, METHODS
from vit_reference import Method, random_predictors, random_vit

torch.set_num_threads(1)
DYNAMICVIT = {0.9: [177, 159, 143], 0.8: [157, 126, 101], 0.7: [138, 97, 68], 0.6: [118, 71, 43], 0.5: [99, 50, 25]}
EVIT = {0.9: [179, 163, 148], 0.8: [159, 129, 105], 0.7: [140, 100, 72], 0.6: [120, 74, 46], 0.5: [100, 52, 28]}
EVIT_UNFUSED = {0.9: [178, 161, 145], 0.8: [158, 127, 102], 0.7: [139, 98, 69], 0.6: [119, 72, 44], 0.5: [99, 50, 26]}

model = random_vit(dim=64, heads=2)  # 197 rows, 12 blocks
model.t.update(random_predictors(64))
pixels = torch.randn(3, 224, 224, generator=torch.Generator().manual_seed(1))


def rows(name, **options):
    return model.forward(pixels, METHODS[name](model, **options)).rows


def test_published_counts():
    for name, table in (("dynamicvit", DYNAMICVIT), ("evit", EVIT), ("evit-unfused", EVIT_UNFUSED)):
        for keep, (a, b, c) in table.items():
            assert rows(name, keep=keep) == [197] * 3 + [a] * 3 + [b] * 3 + [c] * 3, (name, keep)
    assert rows("tome", r=13) == [197 - 13 * (i + 1) for i in range(12)]
    assert rows("tome", r=16)[-1] == 11 and rows("tome", r=100)[0] == 99  # at most half of what is not protected
    for name, (prune, merge) in DIFFRATE.items():
        now, expected = 197, []
        for p, m in zip(prune, merge):
            now = min(now, p, m)
            expected.append(now)
        assert rows("diffrate", rates=name) == expected, name


def test_single_prunes():
    assert rows("paper-evit", keep=0.5) == [197] * 3 + [99] * 9
    assert rows("paper-ats", keep=0.5) == [197] * 3 + [99] * 9
    assert rows("paper-l2", keep=0.5)[4] in (98, 99)
    assert rows("threshold-l2", rule="keep", value=0.7) == [197] * 3 + [138] * 9
    assert rows("threshold-l2", rule="quantile", value=0.25)[4] == 148
    assert rows("threshold-l2", rule="threshold", value=1e9)[4] == 1
    assert rows("threshold-l2", rule="threshold", value=1e9, floor=5)[4] == 6
    assert rows("threshold-l2", rule="mass", value=1.0)[4] >= 196
    assert rows("paper-ats", mass=0.5)[4] < rows("paper-ats", mass=0.9)[4]


def test_ats_never_grows_and_drops_the_weakest():
    counts = rows("ats")
    assert counts[:3] == [197] * 3 and counts[3] <= 196
    assert all(a >= b for a, b in zip(counts, counts[1:]))


def test_keeping_everything_changes_nothing():
    dense = model.forward(pixels, Method()).logits
    for name, options in (("dynamicvit", {"keep": 1.0}), ("evit", {"keep": 1.0}), ("paper-evit", {"keep": 1.0}),
                          ("tome", {"r": 0}), ("threshold-l2", {"value": 1.0})):
        assert torch.equal(model.forward(pixels, METHODS[name](model, **options)).logits, dense), name


def test_pruned_attention_equals_masked_attention():
    """Dropping rows is the same as hiding them as keys: the full grid with -inf logits gives the same CLS row."""
    import torch.nn.functional as F

    pruned = model.forward(pixels, METHODS["threshold-l2"](model, value=0.5))
    x = model.embed(pixels).x
    for i in range(12):
        name = f"blocks.{i}"
        hidden = torch.ones(197, dtype=torch.bool)
        if i >= 4:
            hidden[[0] + [1 + p for p in pruned.kept[0]]] = False
        else:
            hidden[:] = False
        q, k, v = model.linear(model.norm(x, name + ".norm1"), name + ".attn.qkv").reshape(197, 3, 2, 32).permute(1, 2, 0, 3)
        a = F.scaled_dot_product_attention(q, k, v, attn_mask=torch.zeros(197).masked_fill(hidden, -torch.inf).expand(197, 197))
        x = x + model.linear(a.transpose(0, 1).reshape(197, 64), name + ".attn.proj")
        x = x + model.linear(F.gelu(model.linear(model.norm(x, name + ".norm2"), name + ".mlp.fc1")), name + ".mlp.fc2")
    logits = model.linear(model.norm(x, "norm")[0], "head")
    assert (logits - pruned.logits).abs().max() < 1e-4


if __name__ == "__main__":
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            test()
            print("ok", name)
