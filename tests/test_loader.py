"""The loader: what is in a batch, in which order, and what does not change it."""

import pytest
import torch

from common.errors import UserError
from common.random_streams import derive_seed, generator, permutation, seeded_draws
from dataloader.loader import EpochBatches, ViewDataset, ViewLoader
from dataloader.views import cifar_view


def pixels_by_index(loader, epoch=0):
    return {
        int(i): view
        for index, views, _ in loader.epoch(epoch)
        for i, view in zip(index, views, strict=True)
    }


@pytest.mark.parametrize("name", ["weak", "strong"])
def test_views_do_not_depend_on_batches_workers_or_order(few_images, name):
    def loader(**how):
        return ViewLoader(few_images, cifar_view(name, 32), seed=7, **how)

    reference = pixels_by_index(loader(batch_size=40), epoch=2)
    for how in (
        {"batch_size": 7},
        {"batch_size": 16, "shuffle": True},
        {"batch_size": 3, "shuffle": True, "workers": 2},
    ):
        other = pixels_by_index(loader(**how), epoch=2)
        assert other.keys() == reference.keys()
        assert all(torch.equal(other[i], reference[i]) for i in reference), how


@pytest.mark.parametrize("parts", [1, 2, 3, 5])
def test_parts_are_the_whole_batch_in_order(few_images, parts):
    """40 images in batches of 13: the last batch is of 1, so most parts of it are empty."""

    def batches(part):
        how = {"seed": 7, "batch_size": 13, "shuffle": True, "part": part}
        return list(ViewLoader(few_images, cifar_view("strong", 32), **how).epoch(2))

    whole, split = batches((0, 1)), [batches((k, parts)) for k in range(parts)]
    assert [len(index) for index, _, _ in whole] == [13, 13, 13, 1]
    assert {len(part) for part in split} == {4}
    for step, batch in enumerate(whole):
        sizes = [len(part[step][0]) for part in split]
        assert sizes == sorted(sizes, reverse=True)
        assert max(sizes) - min(sizes) <= 1
        for field, expected in enumerate(batch):
            joined = torch.cat([part[step][field] for part in split])
            assert joined.dtype == expected.dtype
            assert torch.equal(joined, expected)


def test_empty_parts_come_from_workers_too(few_images):
    how = {"seed": 7, "batch_size": 13, "part": (1, 2), "workers": 2}
    sizes = [
        len(labels) for *_, labels in ViewLoader(few_images, cifar_view("weak", 32), **how).epoch(0)
    ]
    assert sizes == [6, 6, 6, 0]


def test_a_batch_holds_what_single_samples_are(few_images):
    dataset = ViewDataset(few_images, cifar_view("strong", 32), seed=3)
    keys = [(1, 5), (4, 0), (1, 39)]
    (index, views, labels), errors = dataset.__getitems__(keys)
    assert errors == []
    assert index.dtype == labels.dtype == torch.int64
    assert views.dtype == torch.uint8
    assert views.is_contiguous(memory_format=torch.channels_last)
    for k, key in enumerate(keys):
        one_index, view, label = dataset[key]
        assert (index[k], labels[k]) == (one_index, label)
        assert torch.equal(views[k], view)


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


def test_drawing_views_leaves_the_global_generator_alone(few_images):
    torch.manual_seed(3)
    expected = torch.rand(4)
    dataset = ViewDataset(few_images, cifar_view("strong", 32), seed=0)
    for draw in (lambda: dataset[(0, 0)], lambda: dataset.__getitems__([(0, 0), (0, 1)])):
        torch.manual_seed(3)
        draw()
        assert torch.equal(torch.rand(4), expected)


def test_what_was_drawn_before_does_not_matter():
    with seeded_draws("views", 1, 2, 3):
        first = torch.rand(2)
    torch.rand(5)
    with seeded_draws("views", 1, 2, 3) as seed:
        assert torch.equal(torch.rand(2), first)
    assert torch.equal(torch.rand(2, generator=generator("views", 1, 2, 3)), first)
    assert seed == derive_seed("views", 1, 2, 3)
    assert derive_seed("views", 1, 2, 3) != derive_seed("order", 1, 2, 3)
    assert derive_seed("views", 1, 2, 3) != derive_seed("views", 1, 3, 2)


def test_seeds_stay_what_they_are():
    """Published numbers hang on them."""
    assert derive_seed("views", 1, 2, 3) == 8099529853943861325
    assert 0 <= derive_seed("order", 0) < 2**63


def test_each_epoch_is_a_permutation(few_images):
    loader = ViewLoader(few_images, cifar_view("test", 32), seed=0, batch_size=9, shuffle=True)
    orders = [torch.cat([index for index, _, _ in loader.epoch(e)]) for e in (0, 1)]
    assert len(loader) == 5
    assert all(sorted(order.tolist()) == list(range(40)) for order in orders)
    assert orders[0].tolist() != orders[1].tolist()
    assert sorted(permutation(10, "order", 1).tolist()) == list(range(10))


@pytest.mark.parametrize("workers", [0, 2])
def test_labels_travel_with_their_images(few_images, workers):
    view = cifar_view("test", 32)
    loader = ViewLoader(few_images, view, seed=0, batch_size=9, shuffle=True, workers=workers)
    for index, views, labels in loader.epoch(0):
        assert labels.tolist() == few_images.labels[index].tolist()
        expected = torch.from_numpy(few_images.images[index.numpy()]).permute(0, 3, 1, 2)
        assert torch.equal(views, expected)


class TestLastBatch:
    @pytest.mark.parametrize(
        ("size", "drop_last", "sizes"),
        [
            (10, False, [4, 4, 2]),
            (10, True, [4, 4]),
            (8, False, [4, 4]),
            (8, True, [4, 4]),
            (3, True, [3]),  # the only batch stays
            (3, False, [3]),
        ],
    )
    def test_sizes(self, size, drop_last, sizes):
        batches = EpochBatches(size, 4, shuffle=True, seed=0, drop_last=drop_last)
        assert [len(keys) for keys in batches] == sizes
        assert len(batches) == len(sizes)

    def test_the_loader_drops_other_images_each_epoch(self, few_images):
        loader = ViewLoader(
            few_images, cifar_view("test", 32), seed=0, batch_size=12, shuffle=True, drop_last=True
        )
        seen = [set(pixels_by_index(loader, epoch)) for epoch in (0, 1)]
        assert len(loader) == 3
        assert [len(indices) for indices in seen] == [36, 36]
        assert seen[0] != seen[1]


class OneBad:
    """Images of which the one at index 2 cannot be read."""

    def __init__(self, images):
        self.images, self.labels = images, images.labels

    def __len__(self):
        return len(self.images)

    def image(self, index):
        if index == 2:
            raise UserError("cannot read 2")
        return self.images.image(index)


def test_an_unreadable_image_leaves_no_gap(few_images):
    dataset = ViewDataset(OneBad(few_images), cifar_view("weak", 32), seed=0)
    (index, views, labels), errors = dataset.__getitems__([(0, 1), (0, 2), (0, 3)])
    assert index.tolist() == [1, 3]
    assert labels.tolist() == few_images.labels[[1, 3]].tolist()
    assert torch.equal(views[1], dataset[(0, 3)][1])
    assert [str(error) for error in errors] == ["cannot read 2"]
    (index, views, _), _ = dataset.__getitems__([(0, 2)])
    assert index.shape == (0,)
    assert views.shape == (0, 3, 32, 32)


class TestNoSingle:
    """BatchNorm cannot normalise by one image where a feature map has one pixel."""

    @pytest.mark.parametrize(
        ("size", "batch_size", "drop_last", "sizes"),
        [
            (9, 4, False, [4, 5]),
            (9, 4, True, [4, 4]),
            (10, 4, False, [4, 4, 2]),
            (5, 4, False, [5]),
            (3, 2, False, [3]),
            (8, 4, False, [4, 4]),
            (3, 4, True, [3]),
        ],
    )
    def test_a_last_batch_of_one_joins_the_one_before(self, size, batch_size, drop_last, sizes):
        how = {"shuffle": True, "seed": 0, "drop_last": drop_last}
        batches = EpochBatches(size, batch_size, no_single=True, **how)
        assert [len(keys) for keys in batches] == sizes
        assert len(batches) == len(sizes)
        plain = [key for keys in EpochBatches(size, batch_size, **how) for key in keys]
        assert [key for keys in batches for key in keys] == plain

    @pytest.mark.parametrize("parts", [2, 3, 5])
    @pytest.mark.parametrize("size", range(2, 30))
    def test_no_part_is_of_one_and_together_they_are_the_batch(self, size, parts):
        how = {"shuffle": True, "seed": 3, "no_single": True}
        whole = list(EpochBatches(size, 12, **how))
        split = [list(EpochBatches(size, 12, part=(k, parts), **how)) for k in range(parts)]
        for step, keys in enumerate(whole):
            pieces = [part[step] for part in split]
            assert [key for piece in pieces for key in piece] == keys
            assert all(len(piece) != 1 for piece in pieces)
            if len(keys) >= 2 * parts:  # what it always was
                sizes = [len(piece) for piece in pieces]
                assert max(sizes) - min(sizes) <= 1

    @pytest.mark.parametrize(
        ("readable", "whole"),
        [
            ([0, 1, 2, 3, 8], [[0, 1, 2, 3, 8]]),  # the last joins
            ([1, 4, 5, 6, 7, 8, 9], [[1, 4, 5, 6, 7], [8, 9]]),  # the first
            ([0, 1, 5, 8], [[0, 1, 5, 8]]),  # two of them
            ([1, 9], [[1, 9]]),  # an empty one between
            ([4, 5], [[4, 5]]),
        ],
    )
    def test_where_images_were_left_out(self, few_images, readable, whole):
        images = OnlyReadable(few_images.subset(range(10)), readable)

        def batches(part):
            how = {"seed": 0, "batch_size": 4, "part": part}
            loader = ViewLoader(
                images, cifar_view("test", 32), no_single=True, on_bad_image="skip", **how
            )
            return [index.tolist() for index, _, _ in loader.epoch(0)], loader.skipped

        assert batches((0, 1)) == (whole, 10 - len(readable))

    def test_parts_of_batches_stay_as_many(self, few_images):
        """Each process waits for the others at every batch."""
        images = OnlyReadable(few_images.subset(range(12)), [0, 1, 3, 5, 6, 7, 8, 9, 10, 11])
        how = {"seed": 0, "batch_size": 4, "no_single": True, "on_bad_image": "skip"}
        loaders = [ViewLoader(images, cifar_view("test", 32), part=(k, 2), **how) for k in range(2)]
        first, second = ([i.tolist() for i, _, _ in loader.epoch(0)] for loader in loaders)
        assert first == [[0, 1, 5], [], [8, 9]]
        assert second == [[3, 6, 7], [], [10, 11]]

    def test_one_image_alone_is_refused(self, few_images):
        images = OnlyReadable(few_images, [7])
        how = {"seed": 0, "batch_size": 4, "no_single": True, "on_bad_image": "skip"}
        with pytest.raises(UserError, match="one image alone can be read"):
            list(ViewLoader(images, cifar_view("test", 32), **how).epoch(0))


class OnlyReadable(OneBad):
    """Images of which only some can be read."""

    def __init__(self, images, readable):
        super().__init__(images)
        self.readable = readable

    def image(self, index):
        if index not in self.readable:
            raise UserError(f"cannot read {index}")
        return self.images.image(index)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_pass_without_images_is_refused(few_images, workers):
    images = OnlyReadable(few_images, [])
    how = {"seed": 0, "batch_size": 40, "on_bad_image": "skip", "workers": workers}
    with pytest.raises(UserError, match="none of 40 images can be read"):
        list(ViewLoader(images, cifar_view("test", 32), **how).epoch(0))
