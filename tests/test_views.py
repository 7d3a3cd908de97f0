"""Views as data: names, descriptions, the dial; their pixels against torchvision's transforms."""

import copy
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from common.errors import UserError
from common.random_streams import generator, seeded_draws
from dataloader import views
from dataloader.steps import Resize, between
from dataloader.views import (
    CIFAR_STATISTICS,
    GRID_LETTERS,
    VIEW_LETTERS,
    VIEW_NAMES,
    VIEWS,
    View,
    cifar_view,
    imagenet_view,
)

FAMILIES = [cifar_view, imagenet_view]
BICUBIC = v2.InterpolationMode.BICUBIC


def drawn(view, image, seed=0):
    return view(image, generator("views", 0, seed))


def torchvisions(transform, image, seed):
    """Its transforms draw from torch's default generator."""
    with seeded_draws("views", 0, seed):
        return transform(image)


@pytest.mark.parametrize("view", FAMILIES)
@pytest.mark.parametrize("size", [32, 224])
@pytest.mark.parametrize("name", VIEW_NAMES)
def test_shape_and_type(few_images, view, size, name):
    pixels = drawn(view(name, size), few_images.image(0))
    assert pixels.shape == (3, size, size)
    assert pixels.dtype == torch.uint8


def test_names_and_letters():
    assert VIEW_NAMES == ("weak", "strong", "autoaugment", "base", "test", "literature")
    assert VIEW_LETTERS == {"w": "weak", "s": "strong", "l": "literature"}
    assert GRID_LETTERS == {"w": "weak", "s": "strong"}


def test_reading_the_names_imports_nothing_heavy():
    heavy = "{'torch', 'torchvision', 'numpy', 'PIL'}"
    code = f"import sys, dataloader.views; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def crop(size, scale, interpolation=BICUBIC):
    return v2.RandomResizedCrop(size, scale=scale, interpolation=interpolation)


class TestAgainstTorchvision:
    """The same draws, and so the same pixels, from the same seed."""

    @staticmethod
    def transforms(size):
        jitter = v2.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4)
        return {
            (cifar_view, "weak"): [
                crop(size, (0.2, 1.0)),
                v2.RandomHorizontalFlip(),
                v2.RandomRotation(15),
            ],
            (cifar_view, "base"): [crop(size, (0.2, 1.0))],
            (cifar_view, "test"): [v2.Resize(size)],
            (cifar_view, "literature"): [
                v2.Resize(size),
                v2.RandomCrop(size, padding=round(size / 8)),
                v2.RandomHorizontalFlip(),
            ],
            (imagenet_view, "literature"): [
                v2.RandomResizedCrop(size),
                v2.RandomHorizontalFlip(),
            ],
            (imagenet_view, "weak"): [
                v2.RandomResizedCrop(size),
                v2.RandomHorizontalFlip(),
                jitter,
            ],
            (imagenet_view, "base"): [v2.RandomResizedCrop(size)],
            (imagenet_view, "test"): [v2.Resize(round(size * 256 / 224)), v2.CenterCrop(size)],
        }

    @pytest.mark.parametrize("size", [32, 77])
    @pytest.mark.parametrize("family", FAMILIES)
    @pytest.mark.parametrize("name", ["weak", "base", "test", "literature"])
    def test_equal_pixels(self, few_images, random, family, name, size):
        theirs = v2.Compose([*self.transforms(size)[family, name], v2.PILToTensor()])
        noise = random.integers(0, 256, (50, 61, 3), dtype=np.uint8)
        for seed in range(40):
            image = few_images.image(seed)
            if family is imagenet_view and seed % 2:
                image = Image.fromarray(noise)
            ours = drawn(family(name, size), image, seed)
            assert torch.equal(ours, torchvisions(theirs, image, seed)), seed

    def test_a_crop_that_never_fits_is_the_middle(self, random):
        wide = Image.fromarray(random.integers(0, 256, (4, 90, 3), dtype=np.uint8))
        theirs = v2.Compose([v2.RandomResizedCrop(32), v2.PILToTensor()])
        for image in (wide, wide.transpose(Image.Transpose.ROTATE_90)):
            ours = drawn(imagenet_view("base", 32), image, 0)
            assert torch.equal(ours, torchvisions(theirs, image, 0))


def test_test_view_at_native_size_is_the_image(few_images):
    pixels = drawn(cifar_view("test", 32), few_images.image(3))
    assert np.array_equal(pixels.permute(1, 2, 0).numpy(), few_images.images[3])


@pytest.mark.parametrize("shape", [(40, 60), (61, 40)])
def test_of_an_oblong_image_the_test_view_is_the_middle(random, shape):
    image = Image.fromarray(random.integers(0, 256, (*shape, 3), dtype=np.uint8))
    theirs = v2.Compose([v2.Resize(32), v2.CenterCrop(32), v2.PILToTensor()])
    assert torch.equal(drawn(cifar_view("test", 32), image), theirs(image))


def test_an_image_that_stays_oblong_is_refused():
    with pytest.raises(UserError, match=r"40x32 .* not square"):
        drawn(View(32, (Resize(),)), Image.new("RGB", (40, 32)))


@pytest.mark.parametrize("family", FAMILIES)
def test_unknown_names_are_told_the_known_ones(family):
    with pytest.raises(UserError, match="'medium': use weak, strong, autoaugment, base, test"):
        family("medium", 32)


class TestDescription:
    def test_is_one_line_the_same_in_every_process(self):
        code = (
            "from dataloader.views import cifar_view; print(cifar_view('strong', 224).description)"
        )
        command = [sys.executable, "-c", code]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        assert text == cifar_view("strong", 224).description + "\n"

    def test_names_what_is_done(self):
        text = cifar_view("weak", 32).description
        assert "32 pixels" in text
        assert "Rotation(degrees=15" in text
        assert "interpolation=bicubic" in text

    def test_differs_where_the_view_does(self, monkeypatch):
        made = [
            family(name, size) for family in FAMILIES for name in VIEW_NAMES for size in (32, 9)
            if (family, name) != (cifar_view, "autoaugment")  # its strong view by another name
        ]  # fmt: skip
        made += [cifar_view("strong", 32, strength=s) for s in (0.2, 0.5, 0.8)]
        texts = {view.description for view in made}
        assert len(texts) == len(made)
        monkeypatch.setattr(views, "REVISION", views.REVISION + 1)
        assert made[0].description not in texts

    @pytest.mark.parametrize("family", FAMILIES)
    def test_tells_every_number_of_a_step(self, family):
        """Change any one field of any step, tables and their entries too: the text changes."""
        view = family("strong", 32)
        for changed in changes(view.steps):
            assert type(view)(32, changed).description != view.description, changed


def changes(value):
    """Every value that differs from `value` in one number, word or switch within."""
    if isinstance(value, tuple):
        for i, part in enumerate(value):
            yield from ((*value[:i], changed, *value[i + 1 :]) for changed in changes(part))
    elif hasattr(value, "__dataclass_fields__"):
        for name in value.__dataclass_fields__:
            for changed in changes(getattr(value, name)):
                yield type(value)(**{**vars(value), name: changed})
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, int | float):
        yield value + 1e-6
    else:
        yield f"not {value}"


@pytest.mark.parametrize("family", FAMILIES)
class TestStrength:
    def test_the_ends_are_the_named_views(self, family, few_images):
        for strength, name in ((0, "weak"), (0.0, "weak"), (1, "strong"), (1.0, "strong")):
            view = family("strong", 32, strength=strength)
            assert view == family(name, 32)
            for seed in range(10):
                image = few_images.image(seed)
                ours, named = (drawn(one, image, seed) for one in (view, family(name, 32)))
                assert torch.equal(ours, named)

    def test_other_views_have_no_strength(self, family):
        for name in ("weak", "base", "test"):
            assert family(name, 32, strength=0.3) == family(name, 32)

    @pytest.mark.parametrize("strength", [-0.1, 1.01, float("nan")])
    def test_out_of_range(self, family, strength):
        with pytest.raises(UserError, match="strength"):
            family("strong", 32, strength=strength)


def test_pictures_move_away_from_the_weak_view(few_images):
    """By mean distance from the shared steps alone, the same draws, all images."""
    weak = imagenet_view("weak", 32)

    def distance(strength):
        view = imagenet_view("strong", 32, strength=strength)
        pairs = [
            [drawn(one, few_images.image(seed % 40), seed).float() for one in (view, weak)]
            for seed in range(200)
        ]
        return np.mean([(a - b).abs().mean().item() for a, b in pairs])

    distances = [distance(s) for s in (0, 0.25, 0.5, 0.75, 1)]
    assert distances[0] == 0
    assert distances == sorted(distances)
    assert distances[-1] > 10


class TestDialSteps:
    weak, strong = VIEWS[0].cifar, VIEWS[1].cifar

    def test_half_way_by_hand(self):
        crop_step, flip, rotation, auto, square = between(self.weak, self.strong, 0.5)
        assert (crop_step, flip) == self.weak[:2]
        assert (rotation.degrees, rotation.probability) == (7.5, 1)
        assert (square.side, square.probability) == (8, 0.5)
        assert auto.fill == (128, 128, 128)
        assert auto.sub_policies[1] == (("rotate", 0.35, 2), ("translate_x", 0.15, 9))
        by_name = {operation.name: operation for operation in auto.operations}
        assert by_name["rotate"].slope == pytest.approx(15 / 9)
        assert (by_name["posterize"].offset, by_name["posterize"].slope) == (8, -2 / 9)
        assert by_name["color"].slope == pytest.approx(0.45 / 9)

    def test_rand_augment_half_way_by_hand(self):
        weak, strong = VIEWS[0].imagenet, VIEWS[1].imagenet
        *shared, rand = between(weak, strong, 0.5)
        assert tuple(shared) == weak
        assert rand.probability == 0.25
        at_ten = {one.name: one.offset + 10 * one.slope for one in rand.operations}
        assert at_ten["color"] == pytest.approx(1.45)  # half of the way from 1 to 1.9
        assert at_ten["posterize"] == pytest.approx(6)  # of 8 bits to 4
        assert at_ten["solarize"] == 256
        assert at_ten["solarize_add"] == 55
        assert at_ten["rotate"] == 15

    @pytest.mark.parametrize("family", ["cifar", "imagenet"])
    def test_every_number_is_monotone(self, family):
        """Each probability, and each magnitude's distance from neutral, at every level."""
        weak, strong = (getattr(VIEWS[i], family) for i in (0, 1))

        def numbers(strength):
            for step in between(weak, strong, strength):
                if step in weak and step in strong:
                    continue
                yield from falling_or_rising(step)

        rows = np.array([list(numbers(s)) for s in (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)])
        assert (np.diff(rows, axis=0) >= 0).all()
        assert (rows[-1] > rows[0]).sum() > 20


def falling_or_rising(step):
    """Numbers of a step that grow with the strength."""
    if hasattr(step, "degrees"):
        yield -step.degrees
    elif hasattr(step, "side"):
        yield from (step.side, step.probability)
    else:
        yield getattr(step, "probability", 0)
        for sub_policy in getattr(step, "sub_policies", ()):
            yield from (probability for _, probability, _ in sub_policy)
        for one in step.operations:
            if one.neutral is not None:
                yield from (abs(one.offset + one.slope * k - one.neutral) for k in range(10))


def test_a_view_travels_to_another_process():
    view = cifar_view("strong", 32, strength=0.5)
    assert copy.deepcopy(view) == view  # by the protocol that workers use, nothing unpickled


def test_normalised_by_hand():
    views_ = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 1, 1)
    normal = CIFAR_STATISTICS.normalise(views_)
    assert normal[0, 0].item() == pytest.approx(-0.4914 / 0.2023, rel=1e-5)
    assert normal[1, 2].item() == pytest.approx((1 - 0.4465) / 0.2010, rel=1e-5)
    assert views_[1, 0].item() == 255  # the input is not written on


class TestElongatedImages:
    """Resized whole, one of 1 x 4,000 pixels took a gigabyte, a longer one ended the program."""

    def noise(self, width, height):
        random = np.random.default_rng(0)
        return Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))

    def whole(self, image, size):
        """The test view's plain rule, as torchvision has it."""
        steps = [v2.Resize(size * 256 // 224), v2.CenterCrop(size)]
        return v2.Compose([*steps, v2.PILToTensor()])(image)

    @pytest.mark.parametrize("sides", [(24, 192), (192, 24), (9, 72), (31, 245), (7, 50), (1, 8)])
    def test_up_to_eight_times_as_long_as_wide_nothing_changes(self, sides):
        image = self.noise(*sides)
        assert torch.equal(drawn(imagenet_view("test", 56), image), self.whole(image, 56))

    @pytest.mark.parametrize("sides", [(24, 193), (24, 900), (901, 24), (3, 500)])
    def test_beyond_the_middle_is_seen_all_the_same(self, sides):
        image = self.noise(*sides)
        difference = drawn(imagenet_view("test", 56), image).int() - self.whole(image, 56).int()
        assert difference.abs().float().mean() < 4  # of noise: a shift by less than a pixel of it

    @pytest.mark.parametrize("view", FAMILIES)
    @pytest.mark.parametrize("name", VIEW_NAMES)
    @pytest.mark.parametrize("sides", [(1, 1), (2, 3), (3, 1), (1, 60_000), (2**25, 1)])
    def test_views_of_any_sides(self, view, name, sides):
        pixels = drawn(view(name, 32), Image.new("RGB", sides, (9, 90, 200)), 0)
        assert pixels.shape == (3, 32, 32)
        if name in ("base", "test"):
            assert (pixels == torch.tensor([9, 90, 200], dtype=torch.uint8).view(3, 1, 1)).all()


def test_a_view_by_itself_draws_from_torchs_global_generator(few_images):
    image, view = few_images.image(0), cifar_view("strong", 32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        alone = view(image)
    assert torch.equal(alone, view(image, torch.Generator().manual_seed(5)))
