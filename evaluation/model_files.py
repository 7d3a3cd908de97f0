"""Files of a model's outputs, of whatever framework, as docs/measure.md says: read, and refused
where they could mean two things."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from common.checked_zip import MAGIC, read_any_npz, read_npz
from common.errors import DamagedError, UserError, shown
from common.files import parse_json, regular
from evaluation.answers import KEY, SUFFIXES, AttentionMaps, Features, Kept, by_rows, read
from evaluation.model_options import OUTPUTS
from metrics.attention import says_where

NPY = b"\x93NUMPY"
OPTIONAL = ("labels", "index", "classes", "maps", "maps_kind", "image_size", "features", "key")
COUNTS = {"maps": None, "features": None}  # in a key: of how many images they are
SUM_WITHIN = 1e-3  # of 1
LEAST = 1e-12  # of a probability, whose logarithm is taken
CAM, ROLLOUT, OF_NO_KIND = "CAM", "rollout", "given"


@dataclass(frozen=True)
class Maps:
    """Where a model looks on n of its N images. kind: how the maps are made; of two kinds they are
    not compared. rows: (n,) int64, of the outputs, which of them; of_class: (n, C, h, w), or
    (n, 1, h, w) of one class or of none; image_size: pixels of the images' side, if it is known."""

    kind: str
    rows: np.ndarray
    of_class: torch.Tensor
    image_size: int | None


@dataclass(frozen=True)
class ModelFile:
    """A model's outputs. logits: (N, C) floating point; labels: (N,) int64; index: (N,) numbers or
    names of the images; classes: (C,) names of the columns; features: of rows of the outputs;
    said: what was done to them."""

    name: str
    logits: np.ndarray
    labels: np.ndarray | None = None
    index: np.ndarray | None = None
    classes: np.ndarray | None = None
    maps: Maps | None = None
    features: Features | None = None
    said: str = ""


@dataclass(frozen=True)
class Labels:
    """Of a file of their own: (N,) int64, and the (N,) images that they are of, if it says so."""

    name: str
    values: np.ndarray
    index: np.ndarray | None = None


def named_files(given: tuple[str, ...]) -> dict[str, Path]:
    """The files by their models' names: NAME=FILE, or FILE alone, named as the file is, or, where
    several are called so, by as much of the path as tells them apart.

    UserError where a file is given twice, or a name.
    """
    named: list[tuple[str, Path]] = []
    alone: list[Path] = []
    for text in given:
        name, equals, path = text.partition("=")
        if Path(text).exists() or not equals:
            alone.append(Path(text))
        else:
            named.append((name, Path(path)))
    named += zip(_names_apart(alone), alone, strict=True)
    if any(len(set(each)) < len(given) for each in zip(*named, strict=True)):
        raise UserError("a file is given twice, or two have one name: name each, NAME=FILE")
    return dict(named)


def _names_apart(paths: Sequence[Path]) -> list[str]:
    parts = [Path(f"{path}".removesuffix(path.suffix)).parts for path in paths]
    for depth in range(1, max(map(len, parts), default=0) + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{path}" for path in paths]


def read_model(path: Path, name: str, npy: str | None) -> ModelFile:
    """The outputs in a file. npy: what an .npy file holds, which has no names for it.

    UserError when it is neither an .npz nor an .npy file or is damaged, says nothing or two things
    of what its numbers are, or holds what no classifier's outputs are.
    """
    if _kind(path) == NPY:
        return _of_npy(path, name, npy)
    arrays, all_names = read_any_npz(path, (*OUTPUTS, *OPTIONAL))
    which = [output for output in OUTPUTS if output in arrays]
    if len(which) != 1:
        found = " and ".join(which) or f"{shown(all_names)}, and neither {' nor '.join(OUTPUTS)}"
        raise UserError(f"{path} holds {found}: name its outputs by one of the two")
    logits, said = _checked(arrays[which[0]], which[0], path)
    if unused := [other for other in all_names if other not in (*OUTPUTS, *OPTIONAL)]:
        said = "; ".join(filter(None, [said, f"{path}: not used: {', '.join(unused)}"]))
    count = len(logits)
    labels = arrays.get("labels")
    return ModelFile(
        name,
        logits,
        None if labels is None else class_numbers(labels, f"{path}: labels", logits.shape),
        _names_of(arrays.get("index"), f"{path}: index", count),
        _names_of(arrays.get("classes"), f"{path}: classes", logits.shape[1]),
        _maps(arrays, path, count),
        _features(arrays, path, count),
        said,
    )


def read_labels(path: Path) -> Labels:
    """Class numbers, from an .npy file or from `labels` (and `index`) of an .npz file."""
    if _kind(path) == NPY:
        arrays = {"labels": _mapped(path)}
    else:
        arrays, names = read_any_npz(path, ("labels", "index"))
        if "labels" not in arrays:
            raise UserError(f"{path} holds {shown(names)}: name the class numbers labels")
    values = class_numbers(arrays["labels"], f"{path}: labels")
    return Labels(str(path), values, _names_of(arrays.get("index"), f"{path}: index", len(values)))


def class_numbers(
    labels: np.ndarray, where: str, outputs: tuple[int, ...] | None = None
) -> np.ndarray:
    """(N,) int64 of (N,) or (N, 1); UserError where they are anything but whole numbers from 0, one
    for each row of outputs of that shape and below its classes."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2:
        raise UserError(
            f"{where} have shape {labels.shape}: one class number an image is needed (an arg-max "
            "of what is there)"
        )
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise UserError(
            f"{where} are {labels.dtype} of shape {labels.shape}: (N,) integers are needed"
        )
    count, classes = outputs or (len(labels), np.iinfo(np.int64).max)
    if len(labels) != count:
        raise UserError(f"{where}: {len(labels)} for {count} rows of outputs")
    wrong = labels[(labels < 0) | (labels >= classes)]
    if len(wrong):
        raise UserError(f"{where}: {wrong[0]} is none of the class numbers 0 to {classes - 1}")
    return labels.astype(np.int64)


def _kind(path: Path) -> bytes:
    try:
        with regular(path).open("rb") as file:
            head = file.read(len(NPY))
    except FileNotFoundError:
        raise UserError(f"there is no file {path}") from None
    if head == NPY or head.startswith(MAGIC):
        return head[: len(NPY)]
    raise UserError(f"{path} is neither an .npz nor an .npy file: write it with numpy.savez")


def _of_npy(path: Path, name: str, npy: str | None) -> ModelFile:
    if npy is None:
        raise UserError(
            f"{path} does not say what its numbers are: --npy logits or --npy probabilities does"
        )
    logits, said = _checked(_mapped(path), npy, path)
    return ModelFile(name, logits, said=said)


def _mapped(path: Path) -> np.ndarray:
    """The array of an .npy file, which stays on the disk until its parts are asked for."""
    try:
        # "c": torch takes no memory that may not be written to; nothing is written to the file.
        return np.load(path, mmap_mode="c", allow_pickle=False)
    except Exception as error:  # a damaged file can raise nearly anything
        raise DamagedError(f"{path} is truncated or damaged ({error})") from None


def _checked(outputs: np.ndarray, what: str, path: Path) -> tuple[np.ndarray, str]:
    """Logits, and what was done for it; UserError where they are none."""
    if outputs.ndim != 2 or outputs.dtype.kind != "f":
        raise UserError(
            f"{path}: {what} are {outputs.dtype} of shape {outputs.shape}: floating point of shape "
            "(images, classes) is needed"
        )
    images, classes = outputs.shape
    if images == 0 or classes < 2:
        raise UserError(f"{path}: {what} are of {images} images and {classes} classes: too few")
    outputs = _in_torch(outputs)
    if what == "probabilities":
        return _logarithms(outputs, path)
    for rows in by_rows(images):
        check_finite(outputs[rows], rows.start, f"{path}: {what}")
    return outputs, ""


def _in_torch(values: np.ndarray) -> np.ndarray:
    """In a type that torch has, and float16 that is in memory in float32, which holds it as it
    is; what is on the disk stays there."""
    if values.dtype.byteorder == ">" or values.dtype.itemsize > 8:
        values = values.astype(np.float64 if values.dtype.itemsize >= 8 else np.float32)
    small = values.dtype == np.float16 and not isinstance(values, np.memmap)
    return values.astype(np.float32) if small else values


def check_finite(block: np.ndarray, start: int, where: str) -> None:
    """UserError names the first row with a NaN or an infinity; `start` is the block's first."""
    fine = np.isfinite(block).all(axis=1)
    if fine.all():
        return
    row = int(fine.argmin())
    kind = "a NaN" if np.isnan(block[row]).any() else "an infinity"
    remedy = "save them in float32, float16 ends at 65504" if kind[-1] == "y" else "leave it out"
    raise UserError(f"{where} of row {start + row} hold {kind}: {remedy}")


def _logarithms(probabilities: np.ndarray, path: Path) -> tuple[np.ndarray, str]:
    """Logits whose softmax the probabilities are, once they add up to exactly 1."""
    kind = np.promote_types(probabilities.dtype, np.float32)
    logits, clipped, furthest = np.empty(probabilities.shape, kind), 0, 0.0
    for rows in by_rows(len(probabilities)):
        block = probabilities[rows].astype(np.float64)
        check_finite(block, rows.start, f"{path}: probabilities")
        furthest = max(furthest, _distance_from_one(block, rows.start, path))
        clipped += int((block < LEAST).sum())
        logits[rows] = np.log(block.clip(LEAST))
    return logits, (
        f"{path}: logarithms of probabilities; {clipped} under {LEAST:g} were taken as {LEAST:g}, "
        f"sums up to {furthest:.0e} away from 1 were scaled to it"
    )


def _distance_from_one(block: np.ndarray, start: int, path: Path) -> float:
    """The largest of a row's sum from 1; UserError where rows are no probabilities."""
    if block.min() < 0:
        row = int((block.min(axis=1) < 0).argmax())
        raise UserError(
            f"{path}: probabilities of row {start + row} are negative: are they logits?"
        )
    away = np.abs(block.sum(axis=1) - 1)
    if away.max() > SUM_WITHIN:
        row = int((away > SUM_WITHIN).argmax())
        raise UserError(
            f"{path}: probabilities of row {start + row} add up to {block[row].sum():.4g}, not to "
            "1: name them logits if they are"
        )
    return float(away.max())


def _names_of(values: np.ndarray | None, where: str, count: int) -> np.ndarray | None:
    """(count,) numbers or texts, each once; UserError where they are anything else."""
    if values is None:
        return None
    if values.ndim != 1 or values.dtype.kind not in "iuUS":
        raise UserError(
            f"{where} is {values.dtype} of shape {values.shape}: one number or text each is needed"
        )
    if len(values) != count:
        raise UserError(f"{where}: {len(values)} for {count}")
    if values.dtype.kind == "S":
        values = _decoded(values, where)
    names, times = np.unique(values, return_counts=True)
    if len(names) < count:
        raise UserError(
            f"{where}: {shown(names[times > 1][0].item())} stands twice, once is needed"
        )
    return values if values.dtype.kind == "U" else values.astype(np.int64)


def _decoded(values: np.ndarray, where: str) -> np.ndarray:
    try:
        return np.char.decode(values, "utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{where} holds bytes that are no UTF-8: {error}") from None


def _maps(arrays: Mapping[str, np.ndarray], path: Path, count: int) -> Maps | None:
    if "maps" not in arrays:
        return _stored_maps(arrays, path)
    maps = arrays["maps"]
    if maps.ndim != 3 or len(maps) != count or 0 in maps.shape or maps.dtype.kind != "f":
        raise UserError(
            f"{path}: maps are {maps.dtype} of shape {maps.shape}: floating point of shape "
            f"({count}, h, w) is needed"
        )
    for rows in by_rows(count):
        check_finite(maps[rows].reshape(len(maps[rows]), -1), rows.start, f"{path}: maps")
    of_class = torch.from_numpy(_in_torch(maps))[:, None]
    kind = str(arrays.get("maps_kind", OF_NO_KIND))
    return Maps(kind, np.arange(count), of_class, _image_size(arrays.get("image_size"), path))


def _features(arrays: Mapping[str, np.ndarray], path: Path, count: int) -> Features | None:
    if "features" not in arrays:
        return _stored_features(arrays, path)
    features = arrays["features"]
    if features.ndim != 2 or features.dtype.kind != "f" or len(features) != count:
        raise UserError(
            f"{path}: features are {features.dtype} of shape {features.shape}: floating point of "
            f"shape ({count}, D) is needed"
        )
    check_finite(features, 0, f"{path}: features")
    return Features(torch.arange(count), torch.from_numpy(_in_torch(features)))


def _image_size(given: np.ndarray | None, path: Path) -> int | None:
    if given is None:
        return None
    if given.ndim or given.dtype.kind not in "iu" or not 1 <= given <= 10_000:
        raise UserError(
            f"{path}: image_size is {shown(given.tolist())}: pixels of a side are needed"
        )
    return int(given)


def _stored_maps(arrays: Mapping[str, np.ndarray], path: Path) -> Maps | None:
    kept = _beside(arrays, path, AttentionMaps)
    if kept is None or not says_where(kept.class_sum):
        return None
    kind = ROLLOUT if kept.of_class.shape[1] == 1 else CAM
    rows = np.flatnonzero(np.isin(arrays["index"], kept.index.numpy()))
    return Maps(kind, rows, kept.of_class, int(kept.image_size))


def _stored_features(arrays: Mapping[str, np.ndarray], path: Path) -> Features | None:
    kept = _beside(arrays, path, Features)
    if kept is None:
        return None
    rows = np.flatnonzero(np.isin(arrays["index"], kept.index.numpy()))
    return Features(torch.from_numpy(rows), kept.values)


def _beside(arrays: Mapping[str, np.ndarray], path: Path, kind: type[Kept]) -> Kept | None:
    """What evaluation/outputs.py keeps of some of the images, beside a checkpoint's answers, which
    have a key."""
    if "key" not in arrays:
        return None
    beside = path.with_name(path.stem + SUFFIXES[kind])
    try:
        key = str(read_npz(beside, KEY)["key"])
    except DamagedError:
        return None
    return read(beside, key, kind) if _same_outputs(key, str(arrays["key"])) else None


def _same_outputs(*keys: str) -> bool:
    """Whether both keys (`OutputStore`) are of one model and the same images; those of maps and of
    features say how many besides."""
    first, second = ({**parse_json(key, "a key of outputs"), **COUNTS} for key in keys)
    return first == second


def reordered(model: ModelFile, rows: np.ndarray, columns: np.ndarray) -> ModelFile:
    """The model on these of its rows, its classes in the order of these columns."""
    return dataclasses.replace(
        model,
        logits=_taken(model.logits, rows, columns),
        labels=None if model.labels is None else columns.argsort()[model.labels[rows]],
        index=None if model.index is None else model.index[rows],
        classes=None if model.classes is None else model.classes[columns],
        maps=None if model.maps is None else _chosen(model.maps, rows, columns),
        features=None if model.features is None else _on_rows(model.features, rows),
    )


def _taken(logits: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """A copy only where one is needed."""
    if not np.array_equal(rows, np.arange(len(logits))):
        logits = logits[rows]
    same = np.array_equal(columns, np.arange(logits.shape[1]))
    return logits if same else logits[:, columns]


def _chosen(maps: Maps, rows: np.ndarray, columns: np.ndarray) -> Maps:
    order, now = _placed(maps.rows, rows)
    of_class = maps.of_class[torch.from_numpy(order)]
    if of_class.shape[1] > 1:
        of_class = of_class[:, torch.from_numpy(columns)]
    return dataclasses.replace(maps, rows=now, of_class=of_class)


def _on_rows(features: Features, rows: np.ndarray) -> Features:
    order, now = map(torch.from_numpy, _placed(features.index.numpy(), rows))
    return Features(now, features.values[order])


def _placed(known: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of something known of the rows `known`: what of it stays where `rows` are taken, in their
    order, and the numbers that its rows have then."""
    new_row = np.full(max(rows.max(), known.max(initial=0)) + 1, -1)
    new_row[rows] = np.arange(len(rows))
    now = new_row[known]
    order = now.argsort(kind="stable")
    order = order[now[order] >= 0]
    return order, now[order]
