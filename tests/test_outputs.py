import dataclasses

import numpy as np
import pytest
import torch
from conftest import DATASET, inputs, run_copy

import evaluation.outputs
from common.errors import UserError
from dataloader.datasets import load_split
from dataloader.images import FileImageSet, evenly_spaced
from dataloader.steps import Cutout
from dataloader.views import CIFAR_STATISTICS, VIEWS
from engine.checkpoint import Header, load_model, save
from engine.compute import Compute
from evaluation import calculate_agreement
from evaluation.answers import Features, collect
from evaluation.options import MeasureOptions
from evaluation.outputs import OutputStore
from metrics.attention import attention_rollout, class_activation_map
from models.frozen_teachers import FrozenTeachers
from models.registry import build_model


@pytest.fixture
def runs(taught, tmp_path):
    """A copy of the finished runs without outputs."""
    return run_copy(taught, tmp_path)


@pytest.fixture
def store(tmp_path):
    return OutputStore(MeasureOptions(dataset=DATASET, data_path=str(tmp_path / "data")))


def test_a_model_is_run_once_and_then_read(runs, store, tmp_path):
    first = store.answers(runs("T1w"))
    again = store.answers(runs("T1w"))
    assert len(store.forward_passes) == 1
    assert torch.equal(first.logits, again.logits)
    later = OutputStore(MeasureOptions(dataset=DATASET, data_path=str(tmp_path / "data")))
    assert torch.equal(later.answers(runs("T1w")).logits, first.logits)
    maps = later.maps(runs("T1w"))
    assert torch.equal(maps.of_class, store.maps(runs("T1w")).of_class)
    assert torch.equal(maps.logits, first.logits)
    assert (len(later.forward_passes), len(later.reused)) == (0, 2)
    assert "forward passes: 0" in later.summary()


@pytest.mark.parametrize("view", ["test", "strong"])
def test_stored_logits_are_the_models(runs, store, tmp_path, view):
    stored = store.answers(runs("T1s"), view=view)
    _, model = load_model(runs("T1s").checkpoint("last"))
    images = load_split(DATASET, "test", tmp_path)
    with torch.no_grad():
        expected = model(inputs(images, view))
    torch.testing.assert_close(stored.logits, expected, atol=1e-4, rtol=1e-4)
    assert stored.labels.tolist() == images.labels.tolist()


def test_all_models_see_the_same_pixels_and_another_seed_other_ones(runs, tmp_path, monkeypatch):
    seen = []
    genuine = evaluation.outputs.collect

    def watch(model, batches, compute, **more):
        batches = [(index, views, labels) for index, views, labels in batches]
        seen.append(torch.cat([views for _, views, _ in batches]))
        return genuine(model, batches, compute, **more)

    monkeypatch.setattr(evaluation.outputs, "collect", watch)
    for cell, seed, batch in (("T1w", 0, 256), ("T1w_Sw", 0, 64), ("T2s", 3, 256)):
        store = OutputStore(MeasureOptions(dataset=DATASET, view_seed=seed, batch_size=batch))
        store.answers(runs(cell), view="strong")
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])


def test_stored_maps_are_the_class_activation_maps_up_to_their_scale(runs, store, tmp_path):
    stored = store.maps(runs("T2w"))
    _, model = load_model(runs("T2w").checkpoint("last"))
    images = inputs(load_split(DATASET, "test", tmp_path))
    target = torch.arange(len(images)) % 10
    for choice in (target, "class_sum"):
        expected = class_activation_map(model, images, target=choice)
        scale = expected.abs().amax(dim=(1, 2), keepdim=True)
        torch.testing.assert_close(stored.select(choice), expected / scale, atol=2e-3, rtol=2e-3)
    assert stored.index.tolist() == list(range(len(images)))
    with pytest.raises(ValueError, match="got 'label'"):
        stored.select("label")


def test_stored_features_are_what_the_classifier_makes_logits_of(runs, store):
    stored = store.features(runs("T2w"))
    answers = store.answers(runs("T2w"))
    _, model = load_model(runs("T2w").checkpoint("last"))
    scaled = stored.values.float() @ model.fc.weight.detach().T
    centred = answers.logits - answers.logits.mean(0)
    factor = (scaled * centred).sum() / scaled.square().sum()
    torch.testing.assert_close(factor * scaled, centred, atol=2e-3, rtol=2e-3)
    assert stored.values.dtype == torch.float16
    assert stored.values.abs().max() == 1
    assert torch.equal(stored.index, answers.index)
    assert len(store.forward_passes) == 1


def test_outputs_of_an_earlier_version_are_read_and_their_features_made_when_asked_for(
    runs, store, tmp_path
):
    """Earlier versions kept answers and maps alone."""
    features = store.features(runs("T1w"))
    (runs("T1w").outputs / "test-test-features.npz").unlink()
    later = OutputStore(MeasureOptions(dataset=DATASET, data_path=str(tmp_path / "data")))
    assert torch.equal(later.answers(runs("T1w")).logits, store.answers(runs("T1w")).logits)
    assert later.maps(runs("T1w")) is not None
    assert later.forward_passes == []
    assert torch.equal(later.features(runs("T1w")).values, features.values)
    assert len(later.forward_passes) == 1


def test_features_of_evenly_spaced_images_are_kept(runs, store, monkeypatch):
    every = store.features(runs("T1w"))
    monkeypatch.setattr(evaluation.outputs, "MOST_FEATURES", 20)
    some = OutputStore(MeasureOptions(dataset=DATASET)).features(runs("T1w"))
    assert some.index.tolist() == evenly_spaced(len(every.index), 20).tolist()
    wanted = Features(some.index, every.values[some.index].float()).halved().values
    torch.testing.assert_close(some.values, wanted, atol=2e-3, rtol=2e-3)


def test_features_are_kept_under_another_view_when_asked_for(runs, store):
    names = ["train-strong", "train-strong-features"]
    for ask, count in ((store.answers, 1), (store.features, 2)):
        assert ask(runs("T1w"), split="train", view="strong") is not None
        assert sorted(path.stem for path in runs("T1w").outputs.iterdir()) == names[:count]


def test_a_net_whose_classifier_is_not_found_is_named_and_not_asked_twice(runs, tmp_path, capsys):
    model = build_model("squeezenet1_1", 10, image_size=32)
    header = Header("squeezenet1_1", 10, 32, 3)
    save(runs("T1w").checkpoint("last"), header, {"model": model.state_dict()})
    where = ["--dataset", DATASET, "--output-dir", str(tmp_path / "runs"), "--device", "cpu"]
    calculate_agreement.main([*where, "--cells", "T1w_Sw", "--image-size", "32"])
    out, err = capsys.readouterr()
    assert "forward passes: 2" in out and "linear_cka" not in out
    said = "no CKA: T1w_Sw seed 1: no linear layer is seen to make the logits of T1w\n"
    assert said in err


def test_a_new_checkpoint_makes_the_outputs_anew(runs, store, tmp_path):
    before = store.answers(runs("T1w"))
    path = runs("T1w").checkpoint("last")
    other = build_model("resnet8", 10)
    save(path, Header("resnet8", 10, 32, 3), {"model": other.state_dict()})
    later = OutputStore(MeasureOptions(dataset=DATASET, data_path=str(tmp_path / "data")))
    assert not torch.equal(later.answers(runs("T1w")).logits, before.logits)
    assert len(later.forward_passes) == 1


@pytest.mark.parametrize("damage", [b"", b"PK half a file"])
def test_a_damaged_file_is_made_anew(runs, store, tmp_path, damage):
    before = store.answers(runs("T1w"))
    path = runs("T1w").outputs / "test-test.npz"
    path.write_bytes(damage)
    later = OutputStore(MeasureOptions(dataset=DATASET, data_path=str(tmp_path / "data")))
    assert torch.equal(later.answers(runs("T1w")).logits, before.logits)
    assert len(later.forward_passes) == 1


def test_a_model_that_answers_nan_is_named(runs, store):
    path = runs("T1w").checkpoint("last")
    model = build_model("resnet8", 10)
    torch.nn.init.constant_(model.fc.weight, 3e38)  # finite, and too large to add up
    save(path, Header("resnet8", 10, 32, 3), {"model": model.state_dict()})
    with pytest.raises(UserError, match=r"T1w.*last\.pt answers with NaN"):
        store.answers(runs("T1w"))
    assert not list(runs("T1w").outputs.glob("*"))


def test_large_sets_keep_the_maps_of_evenly_spaced_images():
    assert evenly_spaced(10, 200_000).tolist() == list(range(10))
    chosen = torch.from_numpy(evenly_spaced(50_000, 2**28 // (1000 * 128)))
    assert (len(chosen), chosen[0], chosen[-1]) == (2097, 0, 49_999)
    steps = chosen.diff()
    assert steps.max() - steps.min() <= 1
    assert evenly_spaced(7, 0).tolist() == []


def test_a_vision_transformer_teaches_learns_and_is_looked_at():
    torch.manual_seed(0)
    model = build_model("vit_b_16", 10, image_size=32)
    images = torch.randn(3, 3, 32, 32)
    logits = FrozenTeachers([model])(images)
    assert logits.shape == (1, 3, 10)

    statistics = CIFAR_STATISTICS
    compute = Compute(torch.device("cpu"), "none", statistics)
    views = (images * 40 + 128).clamp(0, 255).byte()
    batch = (torch.arange(3), views, torch.tensor([0, 1, 2]))
    answers, maps = collect(
        model.eval(), [batch], compute, most=3, mapped=torch.tensor([0, 2]), keep_logits=True
    )
    assert answers.logits.shape == (3, 10)
    assert answers.labels.tolist() == answers.index.tolist() == [0, 1, 2]
    assert maps.index.tolist() == [0, 2]
    expected = attention_rollout(model, compute.inputs(views))[[0, 2]]
    scale = expected.amax(dim=(1, 2), keepdim=True)
    torch.testing.assert_close(
        maps.select(torch.tensor([7, 1])), expected / scale, atol=1e-3, rtol=1e-3
    )


def test_where_no_image_can_be_read_one_line_says_so():
    compute = Compute(torch.device("cpu"), "none", CIFAR_STATISTICS)
    none = torch.empty(0, dtype=torch.long)
    with pytest.raises(UserError, match="none of the images could be read"):
        collect(torch.nn.Identity(), [], compute, most=3, mapped=none, keep_logits=True)


def passes_of(runs, **options):
    store = OutputStore(MeasureOptions(dataset=DATASET, **options))
    store.answers(runs("T1w"), view="strong")
    return len(store.forward_passes)


def test_another_view_of_the_same_name_makes_the_outputs_anew(runs, monkeypatch):
    assert (passes_of(runs), passes_of(runs)) == (1, 0)
    harsher = tuple(
        dataclasses.replace(view, cifar=(*view.cifar, Cutout(side=20)))
        if view.name == "strong"
        else view
        for view in VIEWS
    )
    monkeypatch.setattr("dataloader.views.VIEWS", harsher)
    assert passes_of(runs) == 1


def test_other_images_or_labels_make_the_outputs_anew(runs, monkeypatch):
    assert (passes_of(runs), passes_of(runs)) == (1, 0)
    images = load_split(DATASET, "test", None)
    other = images.images.copy()
    other[7, 3, 3, 0] ^= 1
    for changed in (
        dataclasses.replace(images, images=other),
        dataclasses.replace(images, labels=images.labels[::-1].copy()),
        images.subset(np.arange(100)),
    ):
        monkeypatch.setattr("engine.source.load_split", lambda *_, of=changed, **__: of)
        assert (passes_of(runs), passes_of(runs)) == (1, 0)


def test_files_have_a_fingerprint_of_names_labels_and_sizes(tmp_path):
    def fingerprint(*entries):
        return FileImageSet.of(tmp_path, entries, ("a", "b")).fingerprint()

    (tmp_path / "x").write_bytes(b"12")
    (tmp_path / "y").write_bytes(b"34")
    first = fingerprint(("x", 0), ("y", 1))
    assert first == fingerprint(("x", 0), ("y", 1))
    assert len({first, fingerprint(("x", 0), ("y", 0)), fingerprint(("y", 0), ("x", 1))}) == 3
    (tmp_path / "y").write_bytes(b"345")
    assert fingerprint(("x", 0), ("y", 1)) != first
