# SPDX-License-Identifier: Apache-2.0
# The pruning methods, from their papers, as hooks for vit_reference.Vit. Special rows come first and always stay; rows
# keep their original order except where a method's own order matters (ToMe); on ties the lower index wins. Counts are
# computed in double, decisions on scores in double. Each decision records how far it was from going the other way:
#   "cut"    |weakest kept - strongest dropped| / max      "match"  the same between a row's best and second-best target
#   "height" ATS: (second-nearest - nearest) / their gap   "order"  ATS: neighbours in rank, one sampled and one not
import math

import torch

from vit_reference import Method, Rows

DIFFRATE = {
    "T 0.6": ([197, 196, 180, 157, 130, 107, 86, 73, 63, 51, 40, 3], [197, 187, 167, 139, 114, 90, 76, 66, 57, 45, 37, 3]),
    "T 0.8": ([197, 197, 196, 186, 166, 147, 117, 103, 92, 80, 74, 3], [197, 196, 190, 172, 154, 125, 107, 96, 84, 78, 70, 3]),
    "T 1.0": ([197, 197, 196, 194, 188, 184, 178, 164, 156, 137, 129, 21], [197, 197, 196, 190, 186, 154, 148, 156, 145, 135, 125, 21]),
    "S 2.3": ([197, 192, 168, 143, 121, 105, 92, 74, 62, 45, 33, 3], [197, 180, 156, 127, 109, 98, 80, 66, 52, 37, 31, 3]),
    "S 2.9": ([197, 196, 190, 168, 150, 139, 129, 117, 99, 78, 58, 3], [197, 194, 176, 156, 141, 133, 121, 107, 88, 64, 56, 3]),
    "S 3.1": ([197, 197, 194, 180, 160, 147, 137, 129, 115, 92, 76, 3], [197, 196, 186, 164, 150, 141, 133, 121, 103, 78, 68, 3]),
    "B 8.7": ([197, 192, 172, 156, 131, 107, 90, 72, 56, 33, 17, 3], [197, 178, 162, 141, 115, 96, 78, 60, 47, 21, 13, 3]),
    "B 11.5": ([197, 197, 197, 188, 170, 154, 139, 123, 107, 72, 43, 3], [197, 197, 192, 178, 158, 145, 127, 111, 94, 50, 35, 3]),
    "B 12.5": ([197, 197, 196, 192, 184, 170, 154, 139, 129, 94, 58, 3], [197, 196, 194, 190, 176, 160, 145, 131, 115, 68, 47, 3]),
}
DIFFRATE_DEFAULT = {192: "T 0.8", 384: "S 2.9", 768: "B 11.5"}


def relative(a, b):
    top = max(abs(a), abs(b))
    return abs(a - b) / top if top > 0 else 0.0


def ranked(scores):
    """Positions from the highest score down; ties: the lower position first."""
    return torch.sort(scores.double(), descending=True, stable=True).indices


def top_k(scores, k, result):
    """Ascending positions of the k highest."""
    order = ranked(scores)
    if 0 < k < len(scores):
        result.margins.append(("cut", relative(scores[order[k - 1]].item(), scores[order[k]].item())))
    return order[:k].sort().values


def record(result, block, rows):
    result.stages.append(f"block {block}")
    result.kept.append(sorted(p for p in rows.patch.tolist() if p >= 0))


class SinglePrune(Method):
    """One prune after `after` blocks. Subclasses give scores and choose."""

    def __init__(self, model, after=4):
        self.special, self.after_blocks = model.special, after

    def after(self, block, rows, probs, result):
        if block != self.after_blocks - 1:
            return rows
        chosen = self.choose(rows, probs, result)
        keep = torch.zeros(len(rows), dtype=torch.bool)
        keep[chosen] = True
        keep[: self.special] = True
        rows = rows.take(keep.nonzero().flatten())
        record(result, block, rows)
        return rows


def choose_by_rule(scores, rule, value, floor, result):
    """top-k: int(value * m), at least 1. threshold: score >= value. quantile: ceil((1 - value) * m) highest.
    mass: the smallest set, highest first, whose share of the sum reaches value. Then at least `floor`."""
    m, s = len(scores), scores.double()
    order = ranked(s)
    if rule == "keep":
        k = max(1, int(m * value))
    elif rule == "threshold":
        k = int((s >= value).sum())
        result.margins += [("cut", relative(x, value)) for x in s.tolist()]
    elif rule == "quantile":
        k = math.ceil((1 - value) * m)
    else:
        share = s[order].cumsum(0) / s.sum()
        k = min(m, int((share < value).sum()) + 1)
        result.margins += [("cut", relative(x, value)) for x in share.tolist()]
    k = max(k, min(floor, m))
    return top_k(s, k, result)


class ThresholdL2(SinglePrune):
    """Length of the token vector; patches only take part."""

    def __init__(self, model, after=4, rule="keep", value=0.7, floor=0):
        super().__init__(model, after)
        self.rule, self.value, self.floor = rule, value, floor

    def choose(self, rows, probs, result):
        norms = rows.x[self.special:].norm(dim=1)
        return self.special + choose_by_rule(norms, self.rule, self.value, self.floor, result)


class PaperL2(SinglePrune):
    """int(S * keep) of all S rows by length, CLS ranked like any other, then CLS forced in: at 197 rows and 50 %, 98
    rows if CLS is among the highest, else 99."""

    def __init__(self, model, after=4, keep=0.7):
        super().__init__(model, after)
        self.keep = keep

    def choose(self, rows, probs, result):
        return top_k(rows.x.norm(dim=1), max(1, int(len(rows) * self.keep)), result)


class PaperEvit(SinglePrune):
    """int(P * keep) of P patches by CLS attention of the last dense block, mean over heads."""

    def __init__(self, model, after=4, keep=0.7):
        super().__init__(model, after)
        self.keep = keep

    def scores(self, rows, probs):
        return probs[:, 0, self.special:].mean(0)

    def choose(self, rows, probs, result):
        scores = self.scores(rows, probs)
        return self.special + top_k(scores, max(1, int(len(scores) * self.keep)), result)


class PaperAts(PaperEvit):
    """CLS attention times the length of the token leaving that block; by ratio, or (mass given) the smallest set, highest
    first, whose share reaches it."""

    def __init__(self, model, after=4, keep=0.7, mass=None):
        super().__init__(model, after, keep)
        self.mass = mass

    def scores(self, rows, probs):
        return super().scores(rows, probs) * rows.x[self.special:].norm(dim=1)

    def choose(self, rows, probs, result):
        if self.mass is None:
            return super().choose(rows, probs, result)
        return self.special + choose_by_rule(self.scores(rows, probs), "mass", self.mass, 1, result)


class GivenSet(SinglePrune):
    """Keeps a given set of patches: checks what follows a choice whose scores cannot be known (a random gate)."""

    def __init__(self, model, patches, after=4):
        super().__init__(model, after)
        self.patches = patches

    def choose(self, rows, probs, result):
        return self.special + torch.tensor(sorted(self.patches), dtype=torch.int64)


class DynamicVit(Method):
    """Rao et al. 2021: before blocks 3, 6, 9, int(P * keep^stage) patches by the predictor's log-probability of index 0."""

    def __init__(self, model, keep=0.7, blocks=(3, 6, 9)):
        self.model, self.keep, self.blocks, self.patches = model, keep, blocks, None

    def predict(self, stage, x):
        m, name = self.model, f"score_predictor.{stage}."
        gelu = torch.nn.functional.gelu
        h = gelu(m.linear(m.norm(x, name + "in_conv.0", eps=1e-5), name + "in_conv.1"))
        half = h.shape[1] // 2
        h = torch.cat([h[:, :half], h[:, half:].mean(0, keepdim=True).expand(len(h), -1)], dim=1)
        h = gelu(m.linear(h, name + "out_conv.0"))
        h = gelu(m.linear(h, name + "out_conv.2"))
        return m.linear(h, name + "out_conv.4").log_softmax(-1)[:, 0]

    def before(self, block, rows, result):
        special = self.model.special
        self.patches = self.patches or len(rows) - special
        if block not in self.blocks:
            return rows
        stage = self.blocks.index(block)
        k = int(self.patches * self.keep ** (stage + 1))
        chosen = special + top_k(self.predict(stage, rows.x[special:]), k, result)
        rows = rows.take(torch.cat([torch.arange(special), chosen]))
        record(result, block, rows)
        return rows


class Evit(Method):
    """Liang et al. 2022: between attention and MLP of blocks 3, 6, 9, ceil(keep * candidates) by CLS attention; what is
    dropped becomes one row, weighted by that attention (not renormalised), which is a candidate like any other later."""

    def __init__(self, model, keep=0.7, fuse=True, blocks=(3, 6, 9)):
        self.special, self.keep, self.fuse, self.blocks = model.special, keep, fuse, blocks

    def between(self, block, rows, probs, k, result):
        if block not in self.blocks:
            return rows
        candidates = len(rows) - self.special
        count = math.ceil(self.keep * candidates)
        if count < candidates:
            scores = probs[:, 0, self.special:].mean(0)
            chosen = top_k(scores, count, result)
            dropped = torch.ones(candidates, dtype=torch.bool)
            dropped[chosen] = False
            kept = rows.take(torch.cat([torch.arange(self.special), self.special + chosen]))
            if self.fuse:
                fused = (scores[dropped, None] * rows.x[self.special:][dropped]).sum(0, keepdim=True)
                kept = Rows(torch.cat([kept.x, fused]), torch.cat([kept.patch, torch.tensor([-1])]),
                            torch.cat([kept.size, torch.ones_like(kept.size[:1])]))
            rows = kept
        record(result, block, rows)
        return rows


class Ats(Method):
    """Fayyaz et al. 2022, one picture at a time: blocks 3 to 11. P heights (P = patches at the start) from the smallest
    non-zero value of the min-max-normalised cumulative score to 1; each takes its nearest entry. Rows not taken leave
    after the softmax: they are still keys and values of this block."""

    def __init__(self, model, first=3):
        self.special, self.first, self.heights = model.special, first, None

    def query_rows(self, block, rows, probs, v, result):
        self.heights = self.heights or len(rows) - self.special
        if block < self.first:
            return None
        length = v.permute(1, 0, 2).reshape(len(rows), -1).norm(dim=1)
        scores = (probs[:, 0].sum(0) * length)[self.special:].double()
        sampled = self.sample(scores, result)
        chosen = torch.cat([torch.arange(self.special), self.special + sampled])
        record(result, block, rows.take(chosen))
        return chosen

    def sample(self, scores, result):
        if len(scores) < 2:
            return torch.arange(len(scores))
        order = torch.sort(scores, stable=True).indices
        cdf = (scores[order] / scores.sum()).cumsum(0)
        cdf = (cdf - cdf[0]) / (cdf[-1] - cdf[0])
        start = cdf[cdf > 0].min()
        heights = start + (1 - start) * torch.arange(self.heights, dtype=torch.float64) / (self.heights - 1)
        distance = (heights[:, None] - cdf[None]).abs()
        near = distance.argmin(1)  # the first of equals
        two, where = distance.topk(2, dim=1, largest=False)
        gap = (cdf[where[:, 1]] - cdf[where[:, 0]]).abs()
        result.margins.append(("height", ((two[:, 1] - two[:, 0]) / gap).min().item()))
        taken = torch.zeros(len(scores), dtype=torch.bool)
        taken[near] = True
        edge = (taken[1:] != taken[:-1]).nonzero().flatten().tolist()
        ranks = scores[order].tolist()
        result.margins += [("order", relative(ranks[j], ranks[j + 1])) for j in edge]
        return order[taken].sort().values


def best_matches(similarity, result, rows_that_count=None):
    """Index and value of each row's best column (ties: the lower one); margins for the rows that count."""
    value, index = similarity.max(1)
    index = (similarity == value[:, None]).int().argmax(1)
    for i in range(len(similarity)) if rows_that_count is None else rows_that_count:
        others = similarity[i].clone()
        others[index[i]] = -math.inf
        second = others.max().item()
        if second > -math.inf:
            result.margins.append(("match", relative(value[i].item(), second)))
    return index, value


class Tome(Method):
    """Bolya et al. 2023: in every block the rows at even places each propose to their most similar row at an odd place
    (mean key over heads, cosine); the r best pairs merge, weighted by size. What leaves: rows at even places that did not
    merge, then all rows at odd places; the next block alternates over that order. Special rows never merge."""

    uses_size = True

    def __init__(self, model, r=13):
        self.special, self.r = model.special, r

    def between(self, block, rows, probs, k, result):
        r = min(self.r, (len(rows) - self.special) // 2)
        if r > 0:
            rows = self.merge(rows, k, r, result)
        record(result, block, rows)
        return rows

    def merge(self, rows, k, r, result):
        metric = k.mean(0)
        metric = metric / metric.norm(dim=1, keepdim=True)
        even, odd = torch.arange(0, len(rows), 2), torch.arange(1, len(rows), 2)
        similarity = metric[even] @ metric[odd].T
        similarity[0] = -math.inf  # CLS
        if self.special == 2:
            similarity[:, 0] = -math.inf  # the distillation row
        merging = ranked(similarity.max(1).values)[: r]
        best, value = best_matches(similarity, result, merging.tolist())
        top_k(value, r, result)  # for its margin
        stays = torch.ones(len(even), dtype=torch.bool)
        stays[merging] = False
        x, size = rows.x * rows.size[:, None], rows.size.clone()
        for i in sorted(merging.tolist()):
            x[odd[best[i]]] += x[even[i]]
            size[odd[best[i]]] += size[even[i]]
        x = x / size[:, None]
        unmerged = even[stays]
        if self.special == 2:  # the distillation row (first of the odd ones) stays at place 1
            order = torch.cat([unmerged[:1], odd[:1], unmerged[1:], odd[1:]])
        else:
            order = torch.cat([unmerged, odd])
        return Rows(x, rows.patch, size).take(order)


class DiffRate(Method):
    """Chen et al. 2023: in every block, patches by CLS attention: those past the prune count leave; those past the merge
    count are averaged (plain mean) into the most similar kept patch, whose size grows by similarity times size. The lists
    are for 196 patches; for another grid they are scaled in proportion (rounded, at least 1)."""

    uses_size = True

    def __init__(self, model, rates=None):
        self.special, self.patches = model.special, None
        self.prune, self.merge = DIFFRATE[rates or DIFFRATE_DEFAULT[model.dim]]

    def between(self, block, rows, probs, k, result):
        scores = probs[:, 0, self.special:].mean(0)
        self.patches = self.patches or len(rows) - self.special
        stay = min(self.scaled(self.prune[block]), len(rows) - self.special)
        into = min(self.scaled(self.merge[block]), stay)
        alive = top_k(scores, stay, result)
        kept = top_k(scores, into, result)
        if into < stay:
            rows = self.average(rows, kept, sorted(set(alive.tolist()) - set(kept.tolist())), result)
        rows = rows.take(torch.cat([torch.arange(self.special), self.special + kept]))
        record(result, block, rows)
        return rows

    def scaled(self, entry):
        return max(1, math.floor((entry - 1) * self.patches / 196 + 0.5))  # the lists count CLS

    def average(self, rows, kept, sources, result):
        target, source = self.special + kept, self.special + torch.tensor(sources)
        unit = rows.x / rows.x.norm(dim=1, keepdim=True)
        best, value = best_matches(unit[source] @ unit[target].T, result)
        x, size, count = rows.x.clone(), rows.size.clone(), torch.ones(len(rows), dtype=rows.x.dtype)
        for i, to in enumerate(target[best].tolist()):
            x[to] += rows.x[source[i]]
            count[to] += 1
            size[to] += value[i] * rows.size[source[i]]
        return Rows(x / count[:, None], rows.patch, size)


METHODS = {
    "none": lambda model, **o: Method(),
    "threshold-l2": ThresholdL2,
    "dynamicvit": DynamicVit,
    "evit": Evit,
    "evit-unfused": lambda model, **o: Evit(model, fuse=False, **o),
    "ats": Ats,
    "tome": Tome,
    "diffrate": DiffRate,
    "paper-l2": PaperL2,
    "paper-evit": PaperEvit,
    "paper-ats": PaperAts,
}
