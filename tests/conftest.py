from pathlib import Path

import numpy as np
import pytest

from dataloader.image_set import ImageSet
from dataloader.synthetic import load_synthetic

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def few_images() -> ImageSet:
    """40 embedded images, 4 a class."""
    return load_synthetic("train", per_class=4)


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def tiny_recipe(tmp_path) -> Path:
    """A recipe that trains in a second: the embedded long-tailed set, three epochs of resnet8."""
    path = tmp_path / "tiny.yaml"
    path.write_text(
        "common: {arch: resnet8, image_size: 32, batch_size: 128, epochs: 3, lr: 0.1,\n"
        "         warmup_epochs: 1, milestones: [2], workers: 0, device: cpu}\n"
        "student: {temperature: 3, ce_weight: 0.6}\n"
    )
    return path
