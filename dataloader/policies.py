"""The two strong views' tables of operations, as the published code has them.

CIFAR: AutoAugment's policy for CIFAR-10, Cubuk et al. 2019 (arXiv 1805.09501), table 7.
ImageNet: RandAugment, Cubuk et al. 2020 (arXiv 1909.13719), in the form "rand-n2-m10-mstd0.5".
"""

from __future__ import annotations

from dataloader.steps import AutoAugment, Operation, RandAugment

NEAREST = ("nearest",)
DRAWN = ("bilinear", "bicubic")

# Levels 0 to 9. Shear is a slope, translate a share of the side, rotate in degrees, posterize in
# bits kept, solarize a threshold; colour, contrast, sharpness and brightness are factors.
CIFAR_OPERATIONS = (
    Operation("shear_y", 0, 0, 0.3 / 9, either_sign=True, interpolations=("bicubic",)),
    Operation("translate_x", 0, 0, 150 / 331 / 9, either_sign=True, interpolations=NEAREST),
    Operation("translate_y", 0, 0, 150 / 331 / 9, either_sign=True, interpolations=NEAREST),
    Operation("rotate", 0, 0, 30 / 9, interpolations=NEAREST),
    Operation("color", 1, 1, 0.9 / 9, either_sign=True),
    Operation("contrast", 1, 1, 0.9 / 9, either_sign=True),
    Operation("sharpness", 1, 1, 0.9 / 9, either_sign=True),
    Operation("brightness", 1, 1, 0.9 / 9, either_sign=True),
    Operation("posterize", 8, 8, -4 / 9, whole="nearest"),
    Operation("solarize", 256, 256, -256 / 9),
    Operation("autocontrast"),
    Operation("equalize"),
    Operation("invert"),
)

# (operation, probability, level)
CIFAR_SUB_POLICIES = (
    (("invert", 0.1, None), ("contrast", 0.2, 6)),
    (("rotate", 0.7, 2), ("translate_x", 0.3, 9)),
    (("sharpness", 0.8, 1), ("sharpness", 0.9, 3)),
    (("shear_y", 0.5, 8), ("translate_y", 0.7, 9)),
    (("autocontrast", 0.5, None), ("equalize", 0.9, None)),
    (("shear_y", 0.2, 7), ("posterize", 0.3, 7)),
    (("color", 0.4, 3), ("brightness", 0.6, 7)),
    (("sharpness", 0.3, 9), ("brightness", 0.7, 9)),
    (("equalize", 0.6, None), ("equalize", 0.5, None)),
    (("contrast", 0.6, 7), ("sharpness", 0.6, 5)),
    (("color", 0.7, 7), ("translate_x", 0.5, 8)),
    (("equalize", 0.3, None), ("autocontrast", 0.4, None)),
    (("translate_y", 0.4, 3), ("sharpness", 0.2, 6)),
    (("brightness", 0.9, 6), ("color", 0.2, 8)),
    (("solarize", 0.5, 2), ("invert", 0.0, None)),
    (("equalize", 0.2, None), ("autocontrast", 0.6, None)),
    (("equalize", 0.2, None), ("equalize", 0.6, None)),
    (("color", 0.9, 9), ("equalize", 0.6, None)),
    (("autocontrast", 0.8, None), ("solarize", 0.2, 8)),
    (("brightness", 0.1, 3), ("color", 0.7, 0)),
    (("solarize", 0.4, 5), ("autocontrast", 0.9, None)),
    (("translate_y", 0.9, 9), ("translate_y", 0.7, 9)),
    (("autocontrast", 0.9, None), ("solarize", 0.8, 3)),
    (("equalize", 0.8, None), ("invert", 0.1, None)),
    (("translate_y", 0.7, 9), ("autocontrast", 0.9, None)),
)

# Levels up to 10, where posterize and solarize do least, and a factor is .1 at level 0.
IMAGENET_OPERATIONS = (
    Operation("autocontrast"),
    Operation("equalize"),
    Operation("invert"),
    Operation("rotate", 0, 0, 3, either_sign=True, interpolations=DRAWN),
    Operation("posterize", 8, 0, 0.4, whole="down"),
    Operation("solarize", 256, 0, 25.6, whole="down"),
    Operation("solarize_add", 0, 0, 11, whole="down"),
    Operation("color", 1, 0.1, 0.18),
    Operation("contrast", 1, 0.1, 0.18),
    Operation("brightness", 1, 0.1, 0.18),
    Operation("sharpness", 1, 0.1, 0.18),
    Operation("shear_x", 0, 0, 0.03, either_sign=True, interpolations=DRAWN),
    Operation("shear_y", 0, 0, 0.03, either_sign=True, interpolations=DRAWN),
    Operation("translate_x", 0, 0, 0.045, either_sign=True, interpolations=DRAWN),
    Operation("translate_y", 0, 0, 0.045, either_sign=True, interpolations=DRAWN),
)

CIFAR_AUTO_AUGMENT = AutoAugment(CIFAR_SUB_POLICIES, CIFAR_OPERATIONS, fill=(128, 128, 128))
IMAGENET_RAND_AUGMENT = RandAugment(
    IMAGENET_OPERATIONS,
    count=2,
    probability=0.5,
    level_mean=10,
    level_std=0.5,
    fill=(124, 116, 104),
)
