"""Each picture operation against its definition, and against Pillow's own of that name."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from dataloader.operations import GRADED, MOVING, PLAIN, operate
from dataloader.views import CIFAR_OPERATIONS, IMAGENET_OPERATIONS

GREY = (128, 128, 128)
NEUTRAL = {one.name: one.neutral for one in (*CIFAR_OPERATIONS, *IMAGENET_OPERATIONS)}


def picture(values):
    """Of a (H, W) or (H, W, 3) list of levels."""
    array = np.asarray(values, np.uint8)
    if array.ndim == 2:
        array = np.repeat(array[..., None], 3, axis=-1)
    return Image.fromarray(array)


def red(image):
    return np.asarray(image)[..., 0].tolist()


@pytest.fixture(params=["noise", "dark", "flat", "photograph"])
def image(request, random, few_images):
    noise = random.integers(0, 256, (21, 17, 3), dtype=np.uint8)
    return {
        "noise": Image.fromarray(noise),
        "dark": Image.fromarray(noise // 5 + 9),
        "flat": Image.new("RGB", (9, 9), (3, 200, 77)),
        "photograph": few_images.image(0),
    }[request.param]


def equal(a, b):
    return np.array_equal(np.asarray(a), np.asarray(b))


def test_every_operation_of_the_tables_exists():
    assert set(NEUTRAL) == {*MOVING, *GRADED, *PLAIN}


@pytest.mark.parametrize("name", sorted({*MOVING, *GRADED}))
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
def test_nothing_happens_at_the_neutral_magnitude(image, name, interpolation):
    before = np.array(image)
    after = operate(name, image, NEUTRAL[name], interpolation=interpolation, fill=GREY)
    assert equal(after, before)


@pytest.mark.parametrize("name", sorted(NEUTRAL))
def test_the_input_is_not_painted_on(image, name):
    before = np.array(image)
    operate(name, image, 3, fill=GREY)
    assert equal(image, before)


class TestAgainstPillow:
    @pytest.mark.parametrize(
        ("name", "theirs"),
        [
            ("autocontrast", ImageOps.autocontrast),
            ("equalize", ImageOps.equalize),
            ("invert", ImageOps.invert),
        ],
    )
    def test_plain(self, image, name, theirs):
        assert equal(operate(name, image), theirs(image))

    @pytest.mark.parametrize("name", ["Brightness", "Contrast", "Color", "Sharpness"])
    @pytest.mark.parametrize("factor", [0, 0.1, 0.55, 1.3, 1.9])
    def test_factors(self, image, name, factor):
        theirs = getattr(ImageEnhance, name)(image).enhance(factor)
        assert equal(operate(name.lower(), image, factor), theirs)

    @pytest.mark.parametrize("bits", [1, 3, 4, 7, 8])
    def test_posterize(self, image, bits):
        assert equal(operate("posterize", image, bits), ImageOps.posterize(image, bits))

    @pytest.mark.parametrize("threshold", [0, 1, 113.8, 217, 255, 256])
    def test_solarize(self, image, threshold):
        assert equal(operate("solarize", image, threshold), ImageOps.solarize(image, threshold))


class TestByHand:
    rows = ((10, 20, 30, 40),) * 2

    def moved(self, name, magnitude, rows=None):
        return red(operate(name, picture(rows or self.rows), magnitude, fill=GREY))

    def test_translate_goes_left_and_up(self):
        assert self.moved("translate_x", 0.25) == [[20, 30, 40, 128]] * 2
        assert self.moved("translate_x", -0.5) == [[128, 128, 10, 20]] * 2
        assert self.moved("translate_y", 0.5, [[1], [2], [3], [4]]) == [[3], [4], [128], [128]]
        assert self.moved("translate_y", -0.25, [[1], [2], [3], [4]]) == [[128], [1], [2], [3]]

    def test_shear_keeps_the_corner(self):
        """Row y of the result starts at slope * (y + 1/2) of the image, to the nearest pixel."""
        rows = [[10, 20, 30, 40]] * 4
        right = [10, 20, 30, 40]
        once, twice = [20, 30, 40, 128], [30, 40, 128, 128]
        assert self.moved("shear_x", 0.5, rows) == [right, once, once, twice]
        columns = np.transpose(rows).tolist()
        sheared = self.moved("shear_y", 0.5, columns)
        assert np.transpose(sheared).tolist() == self.moved("shear_x", 0.5, rows)

    def test_rotate_turns_counter_clockwise_and_fills_the_corners(self):
        assert self.moved("rotate", 90, [[1, 2], [3, 4]]) == [[2, 4], [1, 3]]
        turned = np.asarray(operate("rotate", picture(np.full((32, 32), 7)), 20, fill=(1, 2, 3)))
        assert turned[0, 0].tolist() == [1, 2, 3]
        assert turned[16, 16].tolist() == [7, 7, 7]

    def test_bilinear_and_bicubic_look_between_pixels(self):
        step = picture([[0, 0, 0, 100, 100, 100]] * 6)
        bilinear, bicubic = (
            red(operate("translate_x", step, 0.5 / 6, interpolation=way))[3]
            for way in ("bilinear", "bicubic")
        )
        assert bilinear[2] == 50
        assert bicubic[2] == 50
        assert bilinear[:2] == [0, 0]
        assert set(red(operate("translate_x", step, 0.5 / 6))[3]) == {0, 100}

    def test_bicubic_shear_fills_only_what_it_uncovers(self):
        white = picture(np.full((32, 32), 255))
        sheared = np.asarray(operate("shear_y", white, 0.3, interpolation="bicubic", fill=GREY))
        assert set(np.unique(sheared)) == {128, 255}
        assert (sheared[-1, -9:] == 128).all()
        assert (sheared[0] == 255).all()

    def test_levels(self):
        row = picture([[0, 100, 127, 128, 200, 255]])
        assert red(operate("invert", row)) == [[255, 155, 128, 127, 55, 0]]
        assert red(operate("posterize", row, 3)) == [[0, 96, 96, 128, 192, 224]]
        assert red(operate("solarize", row, 128)) == [[0, 100, 127, 127, 55, 0]]
        assert red(operate("solarize", row, 256)) == [[0, 100, 127, 128, 200, 255]]
        assert red(operate("solarize_add", row, 110)) == [[110, 210, 237, 128, 200, 255]]
        assert red(operate("solarize_add", row, 200)) == [[200, 255, 255, 128, 200, 255]]
        assert red(operate("autocontrast", picture([[50, 100, 150]]))) == [[0, 127, 255]]
        assert red(operate("brightness", row, 1.5)) == [[0, 150, 190, 192, 255, 255]]
        assert red(operate("contrast", picture([[100, 200]]), 0.5)) == [[125, 175]]

    def test_color_at_none_is_grey_and_at_two_is_twice_as_far_from_it(self):
        one = Image.new("RGB", (1, 1), (100, 150, 120))
        grey = operate("color", one, 0).getpixel((0, 0))
        assert len(set(grey)) == 1
        assert operate("color", one, 2).getpixel((0, 0)) == tuple(
            2 * c - g for c, g in zip((100, 150, 120), grey, strict=True)
        )

    def test_equalize_spreads_levels_evenly(self):
        ramp = np.arange(64 * 85).reshape(64, 85) // 85
        levels = np.unique(np.asarray(operate("equalize", picture(ramp))))
        assert len(levels) == 64
        assert (levels[0], levels[-1]) == (0, 255)
        assert np.ptp(np.diff(levels.astype(int))) <= 1

    def test_sharpness_smooths_below_one_and_overshoots_above(self):
        point = np.full((5, 5), 100)
        point[2, 2] = 126
        smooth, sharp = (operate("sharpness", picture(point), f) for f in (0, 2))
        assert red(smooth)[2][2] == 110  # (5 * 126 + 8 * 100) / 13
        assert red(sharp)[2][2] == 142
        assert red(smooth)[1][1] == 102  # (126 + 12 * 100) / 13
