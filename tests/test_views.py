import numpy as np
import pytest
import torch
from PIL import Image

from dataloader.loader import ViewDataset, ViewLoader
from dataloader.random_streams import derive_seed, permutation, seeded_draws
from dataloader.views import (
    CIFAR_STATISTICS,
    VIEW_NAMES,
    Cutout,
    cifar_view,
    imagenet_view,
)


def pixels_by_index(loader, epoch=0):
    return {
        int(i): view
        for index, views, _ in loader.epoch(epoch)
        for i, view in zip(index, views, strict=True)
    }


@pytest.mark.parametrize("view", [cifar_view, imagenet_view])
@pytest.mark.parametrize("size", [32, 224])
@pytest.mark.parametrize("name", VIEW_NAMES)
def test_shape_and_type(few_images, view, size, name):
    pixels = view(name, size)(few_images.image(0))
    assert pixels.shape == (3, size, size)
    assert pixels.dtype == torch.uint8


def test_test_view_at_native_size_is_the_image(few_images):
    pixels = cifar_view("test", 32)(few_images.image(3))
    assert np.array_equal(pixels.permute(1, 2, 0).numpy(), few_images.images[3])


def test_views_do_not_depend_on_batches_workers_or_order(few_images):
    def loader(**how):
        return ViewLoader(few_images, cifar_view("strong", 32), seed=7, **how)

    reference = pixels_by_index(loader(batch_size=40), epoch=2)
    for how in (
        {"batch_size": 7},
        {"batch_size": 16, "shuffle": True},
        {"batch_size": 3, "shuffle": True, "workers": 2},
    ):
        other = pixels_by_index(loader(**how), epoch=2)
        assert other.keys() == reference.keys()
        assert all(torch.equal(other[i], reference[i]) for i in reference), how


def test_persistent_workers_move_on_with_the_epoch(few_images):
    view = cifar_view("weak", 32)
    workers = ViewLoader(few_images, view, seed=1, batch_size=8, shuffle=True, workers=2)
    alone = ViewLoader(few_images, view, seed=1, batch_size=8, shuffle=True)
    for epoch in (0, 1, 5):
        theirs, mine = pixels_by_index(workers, epoch), pixels_by_index(alone, epoch)
        assert list(theirs) == list(mine)
        assert all(torch.equal(theirs[i], mine[i]) for i in mine)


def test_views_differ_between_epochs_seeds_and_images(few_images):
    def item(seed, epoch, index):
        return ViewDataset(few_images, cifar_view("weak", 32), seed=seed)[(epoch, index)][1]

    reference = item(0, 0, 0)
    assert torch.equal(item(0, 0, 0), reference)
    assert not torch.equal(item(1, 0, 0), reference)
    assert not torch.equal(item(0, 1, 0), reference)
    assert not torch.equal(item(0, 0, 1), reference)


def test_drawing_a_view_leaves_the_global_generator_alone(few_images):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    _ = ViewDataset(few_images, cifar_view("strong", 32), seed=0)[(0, 0)]
    assert torch.equal(torch.rand(4), expected)


def test_what_was_drawn_before_does_not_matter():
    with seeded_draws("views", 1, 2, 3):
        first = torch.rand(2)
    torch.rand(5)
    with seeded_draws("views", 1, 2, 3):
        assert torch.equal(torch.rand(2), first)
    assert derive_seed("views", 1, 2, 3) != derive_seed("order", 1, 2, 3)
    assert derive_seed("views", 1, 2, 3) != derive_seed("views", 1, 3, 2)


def test_each_epoch_is_a_permutation(few_images):
    loader = ViewLoader(few_images, cifar_view("test", 32), seed=0, batch_size=9, shuffle=True)
    orders = [torch.cat([index for index, _, _ in loader.epoch(e)]) for e in (0, 1)]
    assert len(loader) == 5
    assert all(sorted(order.tolist()) == list(range(40)) for order in orders)
    assert orders[0].tolist() != orders[1].tolist()
    assert sorted(permutation(10, "order", 1).tolist()) == list(range(10))


def test_labels_travel_with_their_images(few_images):
    loader = ViewLoader(few_images, cifar_view("test", 32), seed=0, batch_size=9, shuffle=True)
    for index, views, labels in loader.epoch(0):
        assert labels.tolist() == few_images.labels[index].tolist()
        expected = torch.from_numpy(few_images.images[index.numpy()]).permute(0, 3, 1, 2)
        assert torch.equal(views, expected)


def test_cutout_fills_one_square_clipped_at_the_border():
    white = Image.fromarray(np.full((32, 32, 3), 255, dtype=np.uint8))
    shapes = set()
    for seed in range(300):
        with seeded_draws("cutout", seed):
            pixels = np.asarray(Cutout(16)(white))
        rows, columns = np.nonzero((pixels == 0).all(-1))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert len(rows) == height * width  # a filled rectangle
        assert (pixels[pixels != 0] == 255).all()
        shapes.add((int(height), int(width)))
    sides = {side for shape in shapes for side in shape}
    assert min(sides) == 8  # a centre on the border leaves half of the square
    assert max(sides) == 16
    assert np.asarray(white).min() == 255  # the input is not painted on


def test_normalised_by_hand():
    views = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 1, 1)
    normal = CIFAR_STATISTICS.normalise(views)
    assert normal[0, 0].item() == pytest.approx(-0.4914 / 0.2023, rel=1e-5)
    assert normal[1, 2].item() == pytest.approx((1 - 0.4465) / 0.2010, rel=1e-5)


def test_strong_imagenet_tosses_a_coin_for_each_of_two_operations():
    coins = imagenet_view("strong", 32).transforms[3:5]
    assert [coin.p for coin in coins] == [0.5, 0.5]
    for coin in coins:
        operation = coin.transforms[0]
        assert (operation.num_ops, operation.magnitude, operation.num_magnitude_bins) == (1, 10, 11)
