"""What the strong views draw, against the published tables, over thousands of draws."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import AutoAugment, AutoAugmentPolicy, InterpolationMode, v2
from torchvision.transforms.autoaugment import _apply_op

from common.random_streams import generator, seeded_draws
from dataloader import pipeline
from dataloader.pipeline import at_level, below, happens, normal, uniform
from dataloader.steps import Cutout
from dataloader.views import (
    CIFAR_AUTO_AUGMENT,
    CIFAR_OPERATIONS,
    CIFAR_SUB_POLICIES,
    IMAGENET_AUTO_AUGMENT,
    IMAGENET_AUTO_OPERATIONS,
    IMAGENET_OPERATIONS,
    IMAGENET_RAND_AUGMENT,
    IMAGENET_SUB_POLICIES,
    View,
    cifar_view,
    imagenet_view,
)

IMAGE = Image.new("RGB", (8, 8), (10, 20, 30))
DRAWS = 6000
NEAREST = InterpolationMode.NEAREST
TORCHVISIONS = tuple(AutoAugment()._augmentation_space(10, (8, 8)))
CIFAR = {one.name: one for one in CIFAR_OPERATIONS}
IMAGENET = {one.name: one for one in IMAGENET_OPERATIONS}


@pytest.fixture
def calls(monkeypatch):
    """Every call of `operate` is noted and changes nothing."""
    noted = []

    def note(name, image, magnitude=None, *, interpolation=None, fill=None):
        noted.append((name, magnitude, interpolation, fill))
        return image

    monkeypatch.setattr(pipeline, "operate", note)
    return noted


def snake(name):
    """Our name of torchvision's operation: ShearX is shear_x."""
    return f"{name[:-1]}_{name[-1]}".lower() if name[-1] in "XY" else name.lower()


def draw(step, calls, count=DRAWS):
    random = generator("distribution", 0)
    for _ in range(count):
        pipeline.perform((step,), 8, IMAGE, random)
    return calls


def within(count, expected, draws=DRAWS):
    """At most 4 standard deviations of a binomial count."""
    return abs(count - expected) <= 4 * np.sqrt(max(expected * (1 - expected / draws), 1))


def levels(table, name, *numbers):
    """All magnitudes drawn of an operation at given levels."""
    random = generator("levels", 0)
    return [pipeline._magnitude(table[name], level, random) for level in numbers]


class TestAutoAugment:
    def test_25_sub_policies_of_two(self):
        assert len(CIFAR_SUB_POLICIES) == 25
        assert all(len(pair) == 2 for pair in CIFAR_SUB_POLICIES)
        named = {name for pair in CIFAR_SUB_POLICIES for name, _, _ in pair}
        assert named == set(CIFAR)

    @pytest.mark.parametrize(
        ("policy", "ours"),
        [
            (AutoAugmentPolicy.CIFAR10, CIFAR_SUB_POLICIES),
            (AutoAugmentPolicy.IMAGENET, IMAGENET_SUB_POLICIES),
        ],
    )
    def test_has_torchvisions_sub_policies(self, policy, ours):
        """An independent copy of the published tables."""
        renamed = {snake(one): one for one in TORCHVISIONS}
        for theirs, own in zip(AutoAugment(policy).policies, ours, strict=True):
            assert theirs == tuple((renamed[name], *rest) for name, *rest in own)

    def test_how_often_each_operation_is_applied(self, calls):
        counts = Counter(name for name, *_ in draw(CIFAR_AUTO_AUGMENT, calls))
        for name in CIFAR:
            chances = [p for pair in CIFAR_SUB_POLICIES for one, p, _ in pair if one == name]
            assert within(counts[name], DRAWS * sum(chances) / 25), name

    def test_magnitudes_interpolations_and_fill(self, calls):
        seen = {}
        for name, magnitude, interpolation, fill in draw(CIFAR_AUTO_AUGMENT, calls):
            seen.setdefault(name, set()).add(magnitude)
            if interpolation is not None:
                assert fill == (128, 128, 128)
                assert interpolation == ("bicubic" if name == "shear_y" else "nearest")
        assert seen["invert"] == seen["equalize"] == seen["autocontrast"] == {None}
        assert {round(m, 9) for m in seen["rotate"]} == {round(2 * 30 / 9, 9)}  # one direction
        assert sorted(seen["shear_y"]) == pytest.approx(
            [-8 * 0.3 / 9, -7 * 0.3 / 9, 7 * 0.3 / 9, 8 * 0.3 / 9]
        )
        assert sorted(seen["translate_x"]) == pytest.approx(
            [-150 / 331, -150 / 331 * 8 / 9, 150 / 331 * 8 / 9, 150 / 331]
        )
        assert sorted(seen["contrast"]) == pytest.approx([0.3, 0.4, 1.6, 1.7])
        assert seen["posterize"] == {5}  # round(8 - 7 * 4 / 9)
        assert sorted(seen["solarize"]) == pytest.approx([256 - k * 256 / 9 for k in (8, 5, 3, 2)])

    def test_levels_of_the_whole_table(self):
        assert levels(CIFAR, "posterize", *range(10)) == [8, 8, 7, 7, 6, 6, 5, 5, 4, 4]
        assert levels(CIFAR, "solarize", 0, 9) == [256, 0]
        assert levels(CIFAR, "rotate", 0, 9) == [0, 30]

    def test_either_sign_half_of_the_times(self, calls):
        drawn = draw(CIFAR_AUTO_AUGMENT, calls)
        up = [magnitude > 0 for name, magnitude, *_ in drawn if name == "translate_y"]
        assert within(sum(up), len(up) / 2, len(up))


class TestImageNetsAutoAugment:
    def test_25_sub_policies_of_its_operations(self):
        assert len(IMAGENET_SUB_POLICIES) == 25
        named = {name for pair in IMAGENET_SUB_POLICIES for name, _, _ in pair}
        assert named == {one.name for one in IMAGENET_AUTO_OPERATIONS}

    @pytest.mark.parametrize("operation", IMAGENET_AUTO_OPERATIONS, ids=lambda one: one.name)
    def test_pixels_are_torchvisions_at_every_level_and_sign(self, operation, few_images):
        """Its own table of magnitudes, of both signs where it draws one; grey fill. Its magnitudes
        are of 32 bits, which may round a pixel to its neighbour."""
        image, fill = few_images.image(7).resize((40, 40)), (128, 128, 128)
        name = next(one for one in TORCHVISIONS if snake(one) == operation.name)
        magnitudes, signed = AutoAugment()._augmentation_space(10, (40, 40))[name]
        plain = magnitudes.ndim == 0
        for level in [None] if plain else range(10):
            magnitude = 0.0 if plain else magnitudes[level].item()
            theirs = {
                _apply_op(image, name, sign * magnitude, NEAREST, list(fill)).tobytes()
                for sign in ((1, -1) if signed else (1,))
            }
            draws = (generator("signs", k) for k in range(12))
            ours = {at_level(operation, level, image, fill, one).tobytes() for one in draws}
            for some, others in ((ours, theirs), (theirs, ours)):
                assert all(any(alike(a, b) for b in others) for a in some), level

    def test_how_often_each_operation_is_applied_and_its_fill(self, calls):
        drawn = draw(IMAGENET_AUTO_AUGMENT, calls)
        counts = Counter(name for name, *_ in drawn)
        for name in counts:
            chances = [p for pair in IMAGENET_SUB_POLICIES for one, p, _ in pair if one == name]
            assert within(counts[name], DRAWS * sum(chances) / 25), name
        assert {fill for *_, way, fill in drawn if way} == {(128, 128, 128)}

    def test_only_imagenets_strong_view_changes(self):
        assert cifar_view("autoaugment", 32) == cifar_view("strong", 32)
        scripts, text = imagenet_view("strong", 32).steps, imagenet_view("autoaugment", 32).steps
        assert scripts[:-1] == text[:-1] == imagenet_view("weak", 32).steps
        assert (scripts[-1], text[-1]) == (IMAGENET_RAND_AUGMENT, IMAGENET_AUTO_AUGMENT)
        assert imagenet_view("autoaugment", 32, strength=0) == imagenet_view("weak", 32)


class TestRandAugment:
    def test_how_often_each_operation_is_applied(self, calls):
        counts = Counter(name for name, *_ in draw(IMAGENET_RAND_AUGMENT, calls))
        assert len(IMAGENET) == 15
        assert set(counts) == set(IMAGENET)
        for name in IMAGENET:
            assert within(counts[name], DRAWS * 2 * 0.5 / 15), name

    def test_how_many_are_applied(self, calls):
        counts = Counter()
        random = generator("distribution", 1)
        for _ in range(DRAWS):
            calls.clear()
            pipeline.perform((IMAGENET_RAND_AUGMENT,), 8, IMAGE, random)
            counts[len(calls)] += 1
        assert [within(counts[k], DRAWS * p) for k, p in enumerate((0.25, 0.5, 0.25))] == [True] * 3

    def test_level_is_cut_normal_and_drawn_anew(self, calls):
        """Half are 10; the mean of normal(10, .5) cut at 10 is 10 - .5 / sqrt(2 pi)."""
        sharp = [m for name, m, *_ in draw(IMAGENET_RAND_AUGMENT, calls) if name == "brightness"]
        drawn = (np.array(sharp) - 0.1) / 0.18
        assert drawn.max() <= 10 + 1e-9
        assert within((drawn > 10 - 1e-9).sum(), len(drawn) / 2, len(drawn))
        assert drawn.mean() == pytest.approx(10 - 0.5 / np.sqrt(2 * np.pi), abs=0.06)
        assert len(np.unique(drawn.round(6))) > len(drawn) / 3

    def test_magnitudes_interpolations_and_fill(self, calls):
        seen, ways = {}, {}
        for name, magnitude, interpolation, fill in draw(IMAGENET_RAND_AUGMENT, calls):
            seen.setdefault(name, []).append(magnitude)
            if interpolation is not None:
                ways.setdefault(name, Counter())[interpolation] += 1
                assert fill == (124, 116, 104)
        assert set(ways) == {"rotate", "shear_x", "shear_y", "translate_x", "translate_y"}
        for name, top in (("rotate", 30), ("shear_x", 0.3), ("translate_y", 0.45)):
            sizes = np.abs(seen[name])
            assert sizes.max() == pytest.approx(top)
            assert within((np.array(seen[name]) > 0).sum(), len(sizes) / 2, len(sizes))
            assert within(ways[name]["bicubic"], len(sizes) / 2, len(sizes))
        assert set(seen["posterize"]) == {3, 4}
        assert 210 < min(seen["solarize"]) < max(seen["solarize"]) == 256
        assert 85 < min(seen["solarize_add"]) < max(seen["solarize_add"]) == 110
        assert all(isinstance(m, int) for m in seen["solarize"])
        assert 1.5 < min(seen["color"]) < max(seen["color"]) == pytest.approx(1.9)

    def test_whole_numbers_survive_the_arithmetic_of_a_dial(self):
        for share in np.linspace(0.01, 1, 100):
            solarize = IMAGENET["solarize"].faded(share)
            assert pipeline._magnitude(solarize, 10, generator("levels")) == 256


class TestCutout:
    def test_one_square_clipped_at_the_border(self):
        white = Image.new("RGB", (32, 32), (255, 255, 255))
        shapes = set()
        for seed in range(300):
            random = generator("cutout", seed)
            pixels = np.asarray(pipeline.perform((Cutout(16),), 32, white, random))
            rows, columns = np.nonzero((pixels == 0).all(-1))
            height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
            assert len(rows) == height * width  # a filled rectangle
            assert (pixels[pixels != 0] == 255).all()
            shapes.add((int(height), int(width)))
        sides = {side for shape in shapes for side in shape}
        assert min(sides) == 8  # a centre on the border leaves half of the square
        assert max(sides) == 16
        assert np.asarray(white).min() == 255  # the input is not painted on

    def test_no_side_no_square(self):
        white = Image.new("RGB", (8, 8), (255, 255, 255))
        pixels = np.asarray(pipeline.perform((Cutout(0.3),), 8, white, generator("cutout")))
        assert pixels.min() == 255


class TestDraws:
    def test_ranges_and_means(self):
        random = generator("draws", 0)
        uniforms = [uniform(2, 5, random) for _ in range(4000)]
        normals = [normal(10, 0.5, random) for _ in range(4000)]
        belows = Counter(below(3, random) for _ in range(3000))
        coins = sum(happens(0.2, random) for _ in range(4000))
        assert 2 <= min(uniforms) < max(uniforms) < 5
        assert np.mean(uniforms) == pytest.approx(3.5, abs=0.06)
        assert (np.mean(normals), np.std(normals)) == pytest.approx((10, 0.5), abs=0.04)
        assert set(belows) == {0, 1, 2}
        assert all(within(count, 1000, 3000) for count in belows.values())
        assert within(coins, 800, 4000)
        assert not any(happens(0, random) for _ in range(100))

    def test_a_sure_thing_draws_nothing(self):
        fresh, used = generator("draws", 1), generator("draws", 1)
        assert happens(1, used)
        assert torch.equal(used.get_state(), fresh.get_state())


def test_geometry_uncovers_the_published_fill():
    """Each geometric operation at its largest level, on white: what is not white is the fill."""
    white, random = Image.new("RGB", (40, 40), (255, 255, 255)), generator("levels")
    for table, level, fill in (
        (CIFAR_OPERATIONS, 9, CIFAR_AUTO_AUGMENT.fill),
        (IMAGENET_OPERATIONS, 10, IMAGENET_RAND_AUGMENT.fill),
    ):
        for operation in table:
            if operation.interpolations:
                moved = np.asarray(at_level(operation, level, white, fill, random)).reshape(-1, 3)
                uncovered = moved[(moved != 255).any(axis=1)]
                assert len(uncovered) > 100, operation.name
                assert (uncovered == fill).all(), operation.name


def test_mean_and_spread_are_torchvisions_once_it_fills_with_grey(few_images):
    """Its AutoAugment has the same operations but for shear, rotation's sign and the fill."""
    theirs = v2.Compose([v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10, fill=128), v2.PILToTensor()])

    def torchvisions(image, seed):
        with seeded_draws("views", seed):
            return theirs(image)

    def moments(view):
        views = [view(few_images.image(seed % 40), seed) for seed in range(1200)]
        channels = torch.stack(views).float().transpose(0, 1).flatten(1)
        return torch.stack([channels.mean(1), channels.std(1)]) / 255

    def under(step):
        view = View(32, (step,))
        return lambda image, seed: view(image, generator("views", seed))

    ours = moments(under(CIFAR_AUTO_AUGMENT))
    assert torch.allclose(ours, moments(torchvisions), atol=0.005)
    black = under(replace(CIFAR_AUTO_AUGMENT, fill=(0, 0, 0)))
    assert not torch.allclose(ours, moments(black), atol=0.005)


def alike(a, b):
    """Whether the pixels of two images differ by 1 at most."""
    first, second = (np.frombuffer(one, np.uint8).astype(int) for one in (a, b))
    return abs(first - second).max() <= 1
