"""The embedded data set: small pictures of textured shapes, rendered from a seed in an instant.

Shape and texture together name the class; colour, position, size, rotation and clutter say nothing
about it. The pictures are the same bits on every machine: draws come from numpy's frozen
RandomState, and arithmetic is elementwise and correctly rounded (no sin, exp, sums or products of
matrices), so a hash of them can be tested.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np

from common.errors import UserError
from dataloader.image_list import load_listed
from dataloader.images import DataSet, ImageSet
from dataloader.views import CIFAR_STATISTICS, cifar_view

SIDE = 32  # pixels
CLUTTER = 3  # distractors behind the object, in each picture
NOISE = 12  # largest change to a channel of a pixel, in grey levels
CHUNK = 128  # pictures rendered at once: their arrays fit the cache; part of the data's definition
PER_CLASS = {"train": 120, "test": 50}

Inside = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (u, v) of one shape -> bool


def load_synthetic(split: str, *, per_class: int | None = None, seed: int = 0) -> ImageSet:
    """Render one split: 32x32 images of 10 classes, balanced, in shuffled order, with masks.

    split: "train" or "test", drawn from separate random streams; per_class: images of each class,
    by default 120 for train and 50 for test; seed: integer in [0, 2^32).
    Raises UserError for another split.
    """
    if split not in PER_CLASS:
        raise UserError(f"synthetic: no split {split!r}; choose from {', '.join(PER_CLASS)}")
    if per_class is None:
        per_class = PER_CLASS[split]
    random = np.random.RandomState([seed, list(PER_CLASS).index(split)])
    labels = random.permutation(np.repeat(np.arange(len(CLASS_NAMES), dtype=np.int64), per_class))
    images, masks = render(labels, random)
    return ImageSet(images, labels, CLASS_NAMES, masks)


def render(labels: np.ndarray, random: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of the classes `labels` (N,), integers in [0, 10).

    Returns images (N, 32, 32, 3) uint8 and masks (N, 32, 32) bool, True on the object. What is
    drawn from `random` does not depend on the labels: with the same generator state, changing a
    label changes that picture's object and nothing else.
    """
    images = np.empty((len(labels), SIDE, SIDE, 3), np.uint8)
    masks = np.empty((len(labels), SIDE, SIDE), bool)
    for start in range(0, len(labels), CHUNK):
        rows = slice(start, start + CHUNK)
        images[rows], masks[rows] = _render_chunk(labels[rows], random)
    return images, masks


def _render_chunk(
    labels: np.ndarray, random: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    canvas = _background(len(labels), random)
    for _ in range(CLUTTER):
        canvas = _add_distractor(canvas, random)
    shape, texture = np.divmod(labels, len(TEXTURES))
    canvas, mask = _add_object(canvas, shape, texture, random)
    return _add_noise(_half_negative(canvas, random), random), mask


def _background(n: int, random: np.random.RandomState) -> np.ndarray:
    """A fade from one random dark colour at the left edge to another at the right."""
    left, right = _uniform(random, 0, 112, (2, n, 1, 1, 3))
    across = np.arange(SIDE, dtype=np.float32)[:, None] / (SIDE - 1)
    fade = (left + (right - left) * across).astype(np.uint8)
    return np.broadcast_to(fade, (n, SIDE, SIDE, 3))


def _add_distractor(canvas: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """Paint a small bar or blob, plain or textured, anywhere on each picture."""
    n = len(canvas)
    x, y = _place(random, n, margin=0, max_slope=1)
    half_width, half_height = _uniform(random, 1.5, 6, (2, n, 1, 1))
    shape = random.randint(0, 2, n, np.int64)
    inside = _choose((_square, _disc), shape, x / half_width, y / half_height)
    texture = random.randint(0, len(TEXTURES) + 1, n, np.int64)
    pattern = _texture(texture, x, y, random)
    return _paint(canvas, inside, pattern, _colour(random, 0, 176, n), _colour(random, 0, 176, n))


def _add_object(
    canvas: np.ndarray, shape: np.ndarray, texture: np.ndarray, random: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    n = len(canvas)
    x, y = _place(random, n, margin=13, max_slope=0.3)
    radius = _uniform(random, 10, 14, (n, 1, 1))
    mask = _choose(tuple(SHAPES.values()), shape, x / radius, y / radius)
    lighter_second = random.randint(0, 2, (n, 1, 1), np.uint8) == 1
    pattern = _texture(texture, x, y, random) == lighter_second
    middle, light = _colour(random, 96, 176, n), _colour(random, 176, 256, n)
    return _paint(canvas, mask, pattern, middle, light), mask


def _place(
    random: np.random.RandomState, n: int, *, margin: float, max_slope: float
) -> tuple[np.ndarray, np.ndarray]:
    """Each pixel's coordinates (n, 32, 32), in pixels, about random centres on tilted axes.

    The axes lie along (1, slope): a rotation without trigonometry.
    """
    column, row = _uniform(random, margin, SIDE - margin, (2, n, 1, 1))
    slope = _uniform(random, -max_slope, max_slope, (n, 1, 1))
    norm = np.sqrt(1 + slope * slope)
    middles = np.arange(SIDE, dtype=np.float32) + np.float32(0.5)
    x, y = middles[None, :] - column, middles[:, None] - row
    return (x + slope * y) / norm, (y - slope * x) / norm


def _texture(
    kind: np.ndarray, x: np.ndarray, y: np.ndarray, random: np.random.RandomState
) -> np.ndarray:
    """Where the second colour goes; a kind past the textures is plain."""
    period = _uniform(random, 5, 7, (len(kind), 1, 1))
    shift_x, shift_y = _uniform(random, 0, 1, (2, len(kind), 1, 1))
    x, y = x / period + shift_x, y / period + shift_y
    return _choose((*TEXTURES.values(), _plain), kind, x - np.floor(x), y - np.floor(y))


def _colour(random: np.random.RandomState, low: int, high: int, n: int) -> np.ndarray:
    return random.randint(low, high, (n, 1, 1, 3), np.uint8)


def _paint(
    canvas: np.ndarray,
    inside: np.ndarray,
    pattern: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
) -> np.ndarray:
    """Cover `inside` with the first colour, and with the second one where `pattern`."""
    colour = np.where(pattern[..., None], second, first)
    return np.where(inside[..., None], colour, canvas)


def _half_negative(canvas: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """Turn about half of the pictures negative, lest every object be light on dark."""
    negative = random.randint(0, 2, (len(canvas), 1, 1, 1), np.uint8) == 1
    return np.where(negative, 255 - canvas, canvas)


def _add_noise(canvas: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    noise = random.randint(-NOISE, NOISE + 1, canvas.shape, np.int8)
    return np.clip(canvas.astype(np.int16) + noise, 0, 255).astype(np.uint8)


def _uniform(
    random: np.random.RandomState, low: float, high: float, shape: tuple[int, ...]
) -> np.ndarray:
    return (low + (high - low) * random.random_sample(shape)).astype(np.float32)


def _choose(tests: Sequence[Inside], kind: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Apply to each picture the test its `kind` (n,) selects."""
    result = np.empty(u.shape, bool)
    for index, test in enumerate(tests):
        rows = kind == index
        result[rows] = test(u[rows], v[rows])
    return result


# Shapes, about the origin, in units of the object's radius.


def _disc(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return u * u + v * v <= 1


def _square(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(u), np.abs(v)) <= 0.875


def _triangle(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return (v <= 0.75) & (2 * np.abs(u) <= v + 1.125)


def _ring(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _disc(u, v) & ~_disc(2 * u, 2 * v)


def _cross(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    u, v = np.abs(u), np.abs(v)
    return (np.maximum(u, v) <= 1) & (np.minimum(u, v) <= 0.3125)


# Textures, on a unit tile that repeats.


def _striped(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return v < 0.5


def _spotted(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _disc(2.5 * u - 1.25, 2.5 * v - 1.25)


def _plain(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.zeros(u.shape, bool)


SHAPES = {"disc": _disc, "square": _square, "triangle": _triangle, "ring": _ring, "cross": _cross}
TEXTURES = {"striped": _striped, "spotted": _spotted}
CLASS_NAMES = tuple(f"{shape}_{texture}" for shape in SHAPES for texture in TEXTURES)


@functools.cache
def _rendered(split: str) -> ImageSet:
    """Once in a process, which may train and measure many nets: rendering takes as long as asking
    one of them. All share the arrays, which nobody writes to."""
    return load_synthetic(split)


SYNTHETIC = DataSet(
    load=lambda root, split, list_path: _rendered(split),
    class_names=lambda root: CLASS_NAMES,
    load_list=load_listed,
    view=cifar_view,
    statistics=CIFAR_STATISTICS,
)
