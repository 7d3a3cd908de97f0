"""Views that are made once for all models that are asked about them."""

import numpy as np
import pytest
import torch
from conftest import DATASET, run_copy

from common.errors import UserError
from dataloader.images import ImageSet
from dataloader.loader import ViewLoader
from dataloader.synthetic import load_synthetic
from dataloader.views import View, cifar_view
from evaluation.held_views import HeldViews
from evaluation.options import MeasureOptions
from evaluation.outputs import OutputStore

SIZE = 8
BYTES = 10 * 3 * SIZE**2  # of ten views


@pytest.fixture
def made(monkeypatch) -> list[str]:
    """The description of each view that is made."""
    made: list[str] = []
    genuine = View.picture

    def count(view, image, draws):
        made.append(view.description)
        return genuine(view, image, draws)

    monkeypatch.setattr(View, "picture", count)
    return made


def ten(view="strong", batch_size=4, **how):
    images = load_synthetic("train", per_class=1)
    return ViewLoader(images, cifar_view(view, SIZE), seed=0, batch_size=batch_size, **how)


def joined(batches):
    return [torch.cat(parts) for parts in zip(*batches, strict=True)]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_second_pass_is_the_first_and_makes_nothing(made, workers):
    held, loader = HeldViews(), ten(workers=workers)
    first = [tuple(map(torch.clone, batch)) for batch in held.batches("strong", loader)]
    made.clear()
    again = list(held.batches("strong", loader))
    assert made == []
    assert [len(index) for index, _, _ in again] == [4, 4, 2]
    for expected, parts in zip(first, again, strict=True):
        assert all(map(torch.equal, expected, parts))
    _, views, _ = again[0]
    assert views.is_contiguous(memory_format=torch.channels_last)
    assert not views.is_shared()


def test_other_views_and_other_batches(made):
    held = HeldViews()
    strong = joined(held.batches("strong", ten()))
    assert not torch.equal(joined(held.batches("weak", ten("weak")))[1], strong[1])
    made.clear()
    assert all(map(torch.equal, joined(held.batches("strong", ten(batch_size=3))), strong))
    assert made == []


def test_the_oldest_give_way_and_what_is_larger_than_all_is_not_held(made):
    held = HeldViews(most_bytes=2 * BYTES)
    for key in ("a", "b", "c", "b", "c"):
        list(held.batches(key, ten()))
    assert len(made) == 30
    list(held.batches("a", ten()))
    assert len(made) == 40
    small = HeldViews(most_bytes=BYTES - 1)
    for _ in range(2):
        list(small.batches("a", ten()))
    assert len(made) == 60


def test_a_pass_that_is_not_finished_is_not_held(made):
    held = HeldViews()
    next(held.batches("strong", ten()))
    made.clear()
    list(held.batches("strong", ten()))
    assert len(made) == 10


class Broken(ImageSet):
    """The third image cannot be read."""

    def image(self, index):
        if index == 2:
            raise UserError("image 2 is damaged")
        return super().image(index)


def test_images_that_cannot_be_read_are_left_out_again():
    images = load_synthetic("train", per_class=1)
    broken = Broken(images.images, images.labels, images.class_names)
    loader = ViewLoader(broken, cifar_view("weak", SIZE), seed=0, batch_size=4, on_bad_image="skip")
    held = HeldViews()
    first, again = (joined(held.batches("weak", loader)) for _ in range(2))
    assert all(map(torch.equal, first, again))
    assert again[0].tolist() == [0, 1, *range(3, 10)]


def test_models_are_asked_about_views_that_were_made_once(taught, tmp_path, made):
    find = run_copy(taught, tmp_path)
    store = OutputStore(MeasureOptions(dataset=DATASET))
    count = len(store.answers(find("T1w"), view="strong").index)
    assert len(made) == count
    together = store.answers(find("T2s"), view="strong")
    assert len(made) == count
    alone = OutputStore(MeasureOptions(dataset=DATASET))
    (find("T2s").outputs / "test-strong.npz").unlink()
    np.testing.assert_array_equal(alone.answers(find("T2s"), view="strong").logits, together.logits)
    assert len(made) == 2 * count
