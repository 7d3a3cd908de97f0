"""Models' outputs brought to the same images in one order, and to the same classes in one order."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from common.errors import UserError, shown
from evaluation.model_files import Labels, ModelFile, class_numbers, reordered


def same_images(
    models: Sequence[ModelFile], labels: Labels | None, *, allow_subset: bool
) -> tuple[list[ModelFile], list[str]]:
    """The models with the rows and columns of all in one order, each with the labels that are known
    (None where no file has any), and notes on what was done.

    Files that have an `index` are joined by it, those that name their `classes` by these; what only
    some of them have says nothing of the others, and is refused. UserError where images, classes or
    labels differ.
    """
    images, notes = _common_index(models, allow_subset=allow_subset)
    orders = _columns(models)
    shapes = {model.logits.shape[1] for model in models}
    if len(shapes) > 1:
        counts = ", ".join(f"{model.name} {model.logits.shape[1]}" for model in models)
        raise UserError(f"the models are of different numbers of classes: {counts}")
    joined = [
        reordered(model, _rows(model, images), columns)
        for model, columns in zip(models, orders, strict=True)
    ]
    known = [(model.name, model.labels) for model in joined if model.labels is not None]
    if labels is not None:
        known.append((labels.name, _of_images(labels, images, joined[0])))
    for name, found in known[1:]:
        _check_same(found, known[0][1], f"{name} and {known[0][0]}", images)
    agreed = known[0][1] if known else None
    return [dataclasses.replace(model, labels=agreed) for model in joined], notes


def _common_index(
    models: Sequence[ModelFile], *, allow_subset: bool
) -> tuple[np.ndarray | None, list[str]]:
    """The images that all models were asked about, in order, or None where no file names them."""
    if not _all_or_none(models, "index"):
        counts = {len(model.logits) for model in models}
        if len(counts) > 1:
            each = ", ".join(f"{model.name} {len(model.logits)}" for model in models)
            raise UserError(
                f"different numbers of images: {each}: give each file an index, and --allow-subset "
                "takes those that all have"
            )
        return None, []
    sets = [model.index for model in models if model.index is not None]
    if len({names.dtype.kind for names in sets}) > 1:
        raise UserError("index is text in some files and numbers in others: use one of both")
    common, everything = sets[0], sets[0]
    for names in sets[1:]:
        common, everything = np.intersect1d(common, names), np.union1d(everything, names)
    if len(common) == 0:
        raise UserError("the files have no image in common: their index names others")
    if len(common) < len(everything) and not allow_subset:
        raise UserError(
            f"the files are of different images: {len(common)} of {len(everything)} are in all: "
            "--allow-subset takes these"
        )
    left_out = len(everything) - len(common)
    notes = [f"{left_out} of {len(everything)} images are not in all files: left out"]
    return np.sort(common), notes if left_out else []


def _all_or_none(models: Sequence[ModelFile], what: str) -> bool:
    """Whether all files have the array; UserError where only some do."""
    without = [model.name for model in models if getattr(model, what) is None]
    if without and len(without) < len(models):
        raise UserError(
            f"{' and '.join(without)} {'has' if len(without) == 1 else 'have'} no {what}, and the "
            "other files do: give it to all or to none"
        )
    return not without


def _rows(model: ModelFile, images: np.ndarray | None) -> np.ndarray:
    if images is None or model.index is None:
        return np.arange(len(model.logits))
    order = model.index.argsort()
    return order[np.searchsorted(model.index, images, sorter=order)]


def _columns(models: Sequence[ModelFile]) -> list[np.ndarray]:
    """Of each model, where its columns stand for the classes of the first, in their order."""
    if not _all_or_none(models, "classes"):
        return [np.arange(model.logits.shape[1]) for model in models]
    names = [model.classes for model in models if model.classes is not None]
    for model, index in zip(models, names, strict=True):
        others = np.setxor1d(index, names[0]) if index.dtype.kind == names[0].dtype.kind else index
        if len(others):
            raise UserError(
                f"{model.name} and {models[0].name} are of different classes: "
                f"{shown(others[0].item())} is one of them alone"
            )
    return [name.argsort()[names[0].argsort().argsort()] for name in names]


def _of_images(labels: Labels, images: np.ndarray | None, model: ModelFile) -> np.ndarray:
    """The labels of the images, from a file of their own: by its index, or, where only the models
    have one, row k being of image k."""
    values, where = labels.values, f"{labels.name}: labels"
    if images is None and labels.index is not None:
        raise UserError(f"{labels.name} has an index, and the models' files have none")
    if images is not None:
        values = values[_places(labels, images)]
    return class_numbers(values, where, model.logits.shape)


def _places(labels: Labels, images: np.ndarray) -> np.ndarray:
    index = np.arange(len(labels.values)) if labels.index is None else labels.index
    if index.dtype.kind != images.dtype.kind or not np.isin(images, index).all():
        raise UserError(
            f"{labels.name} has no label of some of the images that the models' index names: "
            "give it an index too"
        )
    order = index.argsort()
    return order[np.searchsorted(index, images, sorter=order)]


def _check_same(a: np.ndarray, b: np.ndarray, names: str, images: np.ndarray | None) -> None:
    differ = np.flatnonzero(a != b)
    if len(differ) == 0:
        return
    first = differ[0] if images is None else shown(images[differ[0]].item())
    same_set = np.array_equal(np.sort(a), np.sort(b))
    reason = "they have the same ones in another order" if same_set else "other labels"
    remedy = "give both an index" if same_set and images is None else "are these the same images?"
    raise UserError(
        f"{names} differ in {len(differ)} of {len(a)} labels, first of image {first}: {reason}: "
        f"{remedy}"
    )
