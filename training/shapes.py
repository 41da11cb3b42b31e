# SPDX-License-Identifier: Apache-2.0
# The dozen outlines that hedgerow-vit-mini tells apart, as polygons in the unit square [-1, 1] x [-1, 1] (y down).
# Each function draws one member of its class at random: a list of (value, points), painted in order, 255 to fill and 0
# to cut a hole.
import numpy as np


def _arc(cx, cy, rx, ry, start=0.0, end=2 * np.pi, steps=48):
    t = np.linspace(start, end, steps)
    return np.stack([cx + rx * np.cos(t), cy + ry * np.sin(t)], axis=1)


def _box(x0, y0, x1, y1):
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


def circle(rng):
    return [(255, _arc(0, 0, 1, rng.uniform(0.82, 1)))]


def ring(rng):
    ry, hole = rng.uniform(0.82, 1), rng.uniform(0.45, 0.68)
    return [(255, _arc(0, 0, 1, ry)), (0, _arc(0, 0, hole, hole * ry))]


def star(rng):
    points, inner = rng.integers(5, 7), rng.uniform(0.36, 0.5)
    angle = np.arange(2 * points) * np.pi / points - np.pi / 2
    radius = np.where(np.arange(2 * points) % 2 == 0, 1.0, inner)
    return [(255, np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1))]


def triangle(rng):
    angle = np.array([0, 2, 4]) * np.pi / 3 - np.pi / 2 + rng.uniform(-0.22, 0.22, 3)
    return [(255, np.stack([np.cos(angle), np.sin(angle)], axis=1))]


def cross(rng):
    a, b, reach = rng.uniform(0.2, 0.34), rng.uniform(0.2, 0.34), rng.uniform(0.8, 1)
    return [(255, _box(-a, -1, a, 1)), (255, _box(-reach, -b, reach, b))]


def crescent(rng):
    shift, radius = rng.uniform(0.4, 0.62), rng.uniform(0.72, 0.85)
    return [(255, _arc(0, 0, 1, 1)), (0, _arc(shift, 0, radius, radius))]


def arrow(rng):
    shaft, neck, head = rng.uniform(0.14, 0.26), rng.uniform(-0.25, 0.15), rng.uniform(0.55, 0.8)
    return [(255, np.array([[-shaft, 1], [-shaft, neck], [-head, neck], [0, -1], [head, neck], [shaft, neck], [shaft, 1]]))]


def heart(rng):
    t = np.linspace(0, 2 * np.pi, 64)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return [(255, np.stack([x / 17, (y - 2.5) / 17 * rng.uniform(0.9, 1.08)], axis=1))]


def house(rng):
    wall, eaves, ridge = rng.uniform(0.6, 0.78), rng.uniform(-0.3, 0), rng.uniform(0.05, 0.2)
    door, side = rng.uniform(0.13, 0.2), rng.choice([-1, 1])
    return [
        (255, _box(side * 0.45 - 0.12, -0.95, side * 0.45 + 0.12, eaves)),
        (255, np.array([[-wall - ridge, eaves], [0, -1], [wall + ridge, eaves]])),
        (255, _box(-wall, eaves, wall, 0.95)),
        (0, _box(-door - side * 0.25, 0.4, door - side * 0.25, 0.96)),
        (0, _box(side * 0.32 - 0.14, 0.15, side * 0.32 + 0.14, 0.45)),
    ]


def tree(rng):
    tiers, trunk = rng.integers(2, 4), rng.uniform(0.1, 0.17)
    parts = [(255, _box(-trunk, 0.4, trunk, 1))]
    for i in range(tiers):
        top, bottom = -1 + i * 0.42, -1 + (i + 1.35) * 1.5 / tiers
        half = 0.42 + 0.36 * (i + 1) / tiers
        parts.append((255, np.array([[0, top], [half, min(bottom, 0.62)], [-half, min(bottom, 0.62)]])))
    return parts


def fish(rng):
    height, tail = rng.uniform(0.4, 0.56), rng.uniform(0.4, 0.6)
    return [
        (255, _arc(0.22, 0, 0.78, height)),
        (255, np.array([[-0.35, 0], [-1, -tail], [-0.8, 0], [-1, tail]])),
        (0, _arc(0.62, -height * 0.3, 0.09, 0.09)),
    ]


def key(rng):
    bow, shaft, teeth = rng.uniform(0.36, 0.46), rng.uniform(0.09, 0.14), rng.uniform(0.22, 0.34)
    centre = -1 + bow
    parts = [
        (255, _arc(centre, 0, bow, bow)),
        (0, _arc(centre, 0, bow * 0.52, bow * 0.52)),
        (255, _box(centre + bow * 0.9, -shaft, 1, shaft)),
    ]
    for x in (0.4, 0.8):
        parts.append((255, _box(x, 0, x + rng.uniform(0.13, 0.2), shaft + teeth)))
    return parts


CLASSES = [circle, ring, star, triangle, cross, crescent, arrow, heart, house, tree, fish, key]
NAMES = [f.__name__ for f in CLASSES]
