"""What an image file may hold, and what of it is seen: 8 bits of red, green and blue."""

import errno
import struct
import warnings
import zlib

import numpy as np
import PIL
import pytest
from PIL import Image, PngImagePlugin

from common.errors import UserError
from dataloader.images import read_rgb

READS_PREMULTIPLIED_GREY = int(PIL.__version__.partition(".")[0]) >= 12
RAMP = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
GREY = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)


def seen(path):
    image = read_rgb(path)
    assert image.mode == "RGB"
    return np.asarray(image)


def tiff(path, content, *, bits, photometric=1, order="<", **others):
    """A TIFF file of 16 x 16 pixels, written out: Pillow writes few kinds of what it reads."""
    names = {"sample": 339, "extra": 338}
    tags = {
        256: (16,), 257: (16,), 258: bits, 259: (1,), 262: (photometric,), 273: (8,),
        277: (len(bits),), 278: (16,), 279: (len(content),),
    } | {names[name]: value for name, value in others.items()}  # fmt: skip
    entries, beside = b"", b""
    for tag, values in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(values)}H", *values)
        if len(packed) > 4:
            beside, packed = (
                beside + packed,
                struct.pack(f"{order}I", 8 + len(content) + len(beside)),
            )
        entries += struct.pack(f"{order}HHI", tag, 3, len(values)) + packed.ljust(4, b"\0")
    mark = b"II*\0" if order == "<" else b"MM\0*"
    start = struct.pack(f"{order}I", 8 + len(content) + len(beside))
    directory = struct.pack(f"{order}H", len(tags)) + entries + bytes(4)
    path.write_bytes(mark + start + content + beside + directory)
    return path


class TestGreyOfSixteenBits:
    @pytest.mark.parametrize("kind", ["png", "tif"])
    def test_as_pillow_writes_it(self, tmp_path, kind):
        Image.fromarray(RAMP).save(tmp_path / f"a.{kind}")
        assert np.array_equal(seen(tmp_path / f"a.{kind}"), GREY)

    def test_of_a_portable_graymap(self, tmp_path):
        (tmp_path / "a.pgm").write_bytes(b"P5 16 16 65535\n" + RAMP.astype(">u2").tobytes())
        assert np.array_equal(seen(tmp_path / "a.pgm"), GREY)

    @pytest.mark.parametrize("order", ["<", ">"])
    def test_of_either_byte_order(self, tmp_path, order):
        path = tiff(
            tmp_path / "a.tif", RAMP.astype(f"{order}u2").tobytes(), bits=(16,), order=order
        )
        assert np.array_equal(seen(path), GREY)

    def test_where_white_is_zero(self, tmp_path):
        path = tiff(tmp_path / "a.tif", RAMP.astype("<u2").tobytes(), bits=(16,), photometric=0)
        assert np.array_equal(seen(path), 255 - GREY)

    def test_of_twelve_bits(self, tmp_path):
        levels = (RAMP >> 4).reshape(16, 8, 2).astype(np.uint32)  # two in three bytes
        packed = (levels[..., 0] << 12) | levels[..., 1]
        rows = np.stack([packed >> 16, packed >> 8 & 255, packed & 255], axis=2).astype(np.uint8)
        path = tiff(tmp_path / "a.tif", rows.tobytes(), bits=(12,))
        assert np.array_equal(seen(path), GREY)

    def test_of_a_plain_text_and_of_another_range(self, tmp_path):
        levels = " ".join(str(round(level * 1000 / 255)) for level in range(256))
        (tmp_path / "a.pgm").write_text(f"P2 16 16 1000 {levels}")
        assert np.abs(seen(tmp_path / "a.pgm").astype(int) - GREY).max() <= 1

    def test_as_older_pillows_open_it(self, tmp_path, monkeypatch):
        """Until Pillow 11 a PNG of 16 bits had mode I."""
        monkeypatch.setitem(PngImagePlugin._MODES, (16, 0), ("I", "I;16B"))
        Image.fromarray(RAMP).save(tmp_path / "a.png")
        assert Image.open(tmp_path / "a.png").mode == "I"
        assert np.array_equal(seen(tmp_path / "a.png"), GREY)


def test_colours_of_sixteen_bits(tmp_path):
    levels = np.repeat(RAMP[..., None], 3, axis=2).astype("<u2")
    path = tiff(tmp_path / "a.tif", levels.tobytes(), bits=(16, 16, 16), photometric=2)
    assert np.array_equal(seen(path), GREY)


@pytest.mark.parametrize(
    ("dtype", "bits", "sample"), [("<f4", 32, 3), ("<u4", 32, 1), ("<i4", 32, 2), ("<i2", 16, 2)]
)
def test_levels_of_no_known_range_are_refused(tmp_path, dtype, bits, sample):
    path = tiff(tmp_path / "a.tif", RAMP.astype(dtype).tobytes(), bits=(bits,), sample=(sample,))
    with pytest.raises(UserError, match=r"a\.tif: its levels \(mode [IF]\) have no known range"):
        read_rgb(path)


def test_floating_point_is_refused_in_other_formats(tmp_path):
    (tmp_path / "a.pfm").write_bytes(b"Pf\n2 2\n-1.0\n" + bytes(16))
    with pytest.raises(UserError, match=r"\(mode F\) have no known range"):
        read_rgb(tmp_path / "a.pfm")


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("1", "png"), ("L", "png"), ("L", "jpeg"), ("LA", "png"), ("P", "png"), ("P", "gif"),
        ("PA", "tiff"), ("RGBA", "png"), ("RGBA", "webp"), ("RGBX", "tiff"), ("CMYK", "jpeg"),
        ("CMYK", "tiff"), ("YCbCr", "jpeg"), ("LAB", "tiff"), ("1", "ppm"),
    ],
)  # fmt: skip
def test_modes_of_eight_bits_are_as_pillow_has_them(tmp_path, mode, kind):
    path = tmp_path / "a.JPEG"  # a PNG named JPEG is among ImageNet's
    if mode == "LAB":
        pixels = Image.frombytes("LAB", (16, 16), GREY.tobytes())
    else:
        pixels = Image.fromarray(GREY).convert("L").convert("RGB").convert(mode)
    pixels.save(path, kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = np.asarray(Image.open(path).convert("RGB"))
    assert np.array_equal(seen(path), expected)


@pytest.mark.skipif(not READS_PREMULTIPLIED_GREY, reason="this Pillow knows no such file")
def test_premultiplied_grey(tmp_path):
    path = tiff(tmp_path / "a.tif", bytes([255]) * 512, bits=(8, 8), extra=(1,))
    assert Image.open(path).mode == "La"
    assert (seen(path) == 255).all()


def odd_palette(path):
    image = Image.fromarray(GREY).convert("P")
    image.save(path, "PNG", transparency=bytes(range(256)))


def odd_exif(path):
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 271, 2, 5000, 90000) + bytes(4)
    Image.fromarray(GREY).save(path, "JPEG", exif=exif)


def odd_animation(path):
    Image.fromarray(GREY).save(path, "PNG")
    content = path.read_bytes()
    chunk = b"acTL" + bytes(8)
    whole = struct.pack(">I", 8) + chunk + struct.pack(">I", zlib.crc32(chunk))
    path.write_bytes(content[:33] + whole + content[33:])


@pytest.mark.parametrize("make", [odd_palette, odd_exif, odd_animation])
def test_odd_metadata_are_read_without_a_word(tmp_path, make, recwarn, capfd):
    path = tmp_path / "a.png"
    make(path)
    warnings.simplefilter("always")
    for _ in range(2):
        assert seen(path).shape == (16, 16, 3)
    assert not list(recwarn)
    assert capfd.readouterr().err == ""


def test_a_bomb_stays_an_error(tmp_path, monkeypatch):
    Image.fromarray(GREY).save(tmp_path / "a.png")
    for most in (200, 100):  # over it, and over twice as many
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
        with pytest.raises(UserError, match="decompression bomb"):
            read_rgb(tmp_path / "a.png")


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_what_the_machine_lacks_is_not_the_images_fault(tmp_path, monkeypatch, number):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")

    def full(*arguments, **options):
        raise OSError(number, "no room")

    monkeypatch.setattr("PIL.Image.open", full)
    with pytest.raises(OSError, match="no room"):
        read_rgb(tmp_path / "a.png")
