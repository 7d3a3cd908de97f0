"""Nets from elsewhere, asked about a folder of images: their logits, and where they look."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from common.errors import UserError
from dataloader.folder import load_folder
from dataloader.images import FileImageSet, evenly_spaced
from dataloader.loader import ViewLoader
from dataloader.views import (
    CIFAR_STATISTICS,
    IMAGENET_STATISTICS,
    VIEW_FAMILIES,
    Statistics,
)
from dataloader.worker_processes import living_workers
from engine.checkpoint import blamed_on, read_net
from engine.compute import Compute, enough_memory, pick_device
from engine.progress import Progress
from evaluation.answers import MOST_FEATURES, NO_CLASSIFIER, Features, SeenFeatures
from evaluation.model_files import CAM, ROLLOUT, Maps, ModelFile, check_finite
from evaluation.model_options import USUAL_SIZE, ModelOptions
from metrics.agreement import ensemble_logits
from metrics.attention import (
    ClassMaps,
    Rollout,
    attention_rollout,
    class_activation_map,
    class_maps,
    classifier_weight,
    forward_with_features,
    says_where,
    source_of,
)
from metrics.gradient_maps import grad_cam, last_features
from models.rehearsal import rehearsal

GRAD_CAM = "Grad-CAM"
STATISTICS = {"cifar": CIFAR_STATISTICS, "imagenet": IMAGENET_STATISTICS}
NEAR = 1e-3  # of the largest logit: how far float32 may put a mean of maps from it


@dataclass(frozen=True)
class Look:
    """How a net's maps are made: images (B, 3, H, W) and classes (B,) to maps (B, h, w)."""

    kind: str
    maps: Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Question:
    """The images that nets are asked about, and how they see them."""

    images: FileImageSet
    compute: Compute
    options: ModelOptions

    @classmethod
    def of(cls, options: ModelOptions) -> Question:
        """UserError where the folder, the device or the statistics are none."""
        images = load_folder(Path(options.images or ""))
        return cls(images, Compute.measuring(options.device, _statistics(options)), options)

    @property
    def size(self) -> int:
        """Pixels of the images' side."""
        return self.options.image_size or USUAL_SIZE

    @property
    def names(self) -> np.ndarray:
        """Each image's path below the folder."""
        return np.array([self.images.relative_path(k) for k in range(len(self.images))])

    def inputs(self, name: str, rows: np.ndarray) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of these images: positions in `rows`, and what the net `name` is given."""
        loader = ViewLoader(
            self.images.subset(rows),
            VIEW_FAMILIES[self.options.views]("test", self.size),
            seed=0,
            batch_size=self.options.batch_size,
            workers=self.options.workers,
            pin_memory=pick_device(self.options.device).type == "cuda",
        )
        progress = Progress(name, total=len(loader), done=0, logs=[])
        remedy = "a smaller --batch-size"
        with living_workers(), closing(progress), enough_memory(f"{name} asked", remedy):
            for index, views, _ in loader.epoch(0):
                yield index, self.compute.inputs(views)
                progress.step()

    def labels(self, classes: int) -> np.ndarray | None:
        """Those of the class folders, sorted, where there are as many as the nets know classes."""
        if self.images.num_classes == classes:
            return self.images.labels
        print(
            f"no labels: {self.options.images} has {self.images.num_classes} class folders, the "
            f"nets know {classes} classes: --labels gives them",
            file=sys.stderr,
        )
        return None


def ask_nets(options: ModelOptions) -> list[ModelFile]:
    """What each net says of the images, and where it looks for the class that their ensemble (of
    all but the student) predicts."""
    question = Question.of(options)
    nets = dict(read_given(text, question.size) for text in options.models)
    if len(nets) < len(options.models):
        raise UserError("two nets have one name: name each, NAME=FILE:ARCH")
    looks = looks_of(nets, options, question.size)
    answered = {name: _answers(name, model, question) for name, model in nets.items()}
    asked = {name: logits for name, (logits, _) in answered.items()}
    if len({logits.shape for logits in asked.values()}) > 1:
        each = ", ".join(f"{name} {logits.shape[1]}" for name, logits in asked.items())
        raise UserError(f"the nets know different numbers of classes: {each}")
    teachers = [net for name, net in asked.items() if name != options.student] or [*asked.values()]
    target = ensemble_logits(torch.stack(teachers)).argmax(1)
    labels = question.labels(teachers[0].shape[1])
    return [
        ModelFile(
            name, logits.numpy(), labels, question.names,
            maps=_maps(name, nets[name], looks[name], target, question) if name in looks else None,
            features=features,
        )
        for name, (logits, features) in answered.items()
    ]  # fmt: skip


def read_given(text: str, image_size: int) -> tuple[str, nn.Module]:
    """The name and the net that FILE:ARCH, NAME=FILE:ARCH, or, of a checkpoint of this project,
    FILE alone mean."""
    name, (path, arch) = "", _file_and_arch(text)
    if not path.exists() and "=" in text:
        name, _, place = text.partition("=")
        path, arch = _file_and_arch(place)
    model, said = read_net(path, arch or None, image_size)
    with blamed_on(f"{path}, asked about images of {image_size} pixels: "):
        rehearsal(model, image_size)
    if said:
        print(f"{path}: {'; '.join(said)}")
    return name or path.stem, model


def _file_and_arch(place: str) -> tuple[Path, str]:
    if Path(place).exists() or ":" not in place:
        return Path(place), ""
    path, _, arch = place.rpartition(":")
    return Path(path), arch


def looks_of(nets: Mapping[str, nn.Module], options: ModelOptions, size: int) -> dict[str, Look]:
    """How the maps of each net are made; those that have none are named on stderr. UserError where
    a layer is named and no net needs it, or has it."""
    unknown = [name for name, net in nets.items() if _known(net) is None]
    if options.classifier and not options.map_layer:
        raise UserError("--classifier is given what --map-layer names: give both")
    if options.map_layer and not unknown:
        raise UserError("--map-layer is for nets in no table, and where these look is known")
    if unknown and not options.map_layer and options.maps:
        print(
            f"no maps: {' and '.join(unknown)}: --map-layer names the last feature map",
            file=sys.stderr,
        )
    wanted = nets.items() if options.maps else ()
    looks = {name: _look(name, net, options, size) for name, net in wanted}
    return {name: look for name, look in looks.items() if look is not None}


def _known(net: nn.Module) -> ClassMaps | Rollout | None:
    return source_of(net) or last_features(net)


def _look(name: str, net: nn.Module, options: ModelOptions, size: int) -> Look | None:
    source = source_of(net)
    if isinstance(source, Rollout):
        return Look(ROLLOUT, lambda images, _: attention_rollout(net, images))
    if source is not None and options.grad_cam == "no":
        return Look(CAM, lambda images, target: class_activation_map(net, images, target=target))
    features = source or last_features(net)
    if features is None and options.map_layer is None:
        return None
    if features is None:
        features = _named_layers(name, net, options)
        if features.classifier is not None and options.grad_cam == "no":
            check_classifier(name, net, features, size)
            return Look(CAM, partial(_class_map, net, features))
    return Look(GRAD_CAM, partial(_grad_cam, net, features))


def _class_map(net: nn.Module, source: ClassMaps, images: Tensor, target: Tensor) -> Tensor:
    return class_activation_map(net, images, target=target, source=source)


def _grad_cam(net: nn.Module, source: ClassMaps, images: Tensor, target: Tensor) -> Tensor:
    return grad_cam(net, images, target=target, source=source)


def _named_layers(name: str, net: nn.Module, options: ModelOptions) -> ClassMaps:
    """The layers that the flags name; UserError where the net has none of that name."""
    known = dict(net.named_modules())
    for flag, layer in (("--map-layer", options.map_layer), ("--classifier", options.classifier)):
        if layer is not None and layer not in known:
            tops = ", ".join(child for child, _ in net.named_children())
            raise UserError(
                f"{flag} {layer} is no layer of {name}: it has {tops}, and what is in them"
            )
    if options.classifier and not isinstance(known[options.classifier], nn.Linear):
        raise UserError(f"--classifier {options.classifier} of {name} is no linear layer")
    return ClassMaps(options.map_layer or "", options.classifier)


def check_classifier(name: str, net: nn.Module, source: ClassMaps, size: int) -> None:
    """UserError unless the net's logits are what the classifier makes of the mean over positions of
    the source's features: only then are its class maps what they are called."""
    image = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with blamed_on(f"{name}: "):
        logits, features = forward_with_features(net, image, source)
        means = class_maps(features, classifier_weight(net, features, source)).mean(dim=(2, 3))
    bias = cast(nn.Linear, net.get_submodule(source.classifier or "")).bias
    made = means if bias is None else means + bias.detach()
    if made.shape != logits.shape or (made - logits).abs().max() > NEAR * logits.abs().max():
        raise UserError(
            f"{name}: its logits are not what --classifier {source.classifier} makes of the mean "
            f"of --map-layer {source.features}: leave --classifier out, for Grad-CAM"
        )


def _answers(name: str, net: nn.Module, question: Question) -> tuple[Tensor, Features | None]:
    """Logits (N, C) float32, and features of evenly spaced images where they are found."""
    everything = np.arange(len(question.images))
    featured = torch.from_numpy(evenly_spaced(len(everything), MOST_FEATURES))
    seen = SeenFeatures(net, question.size, featured)
    net, parts = question.compute.place(net), []
    with torch.no_grad():
        for index, inputs in question.inputs(name, everything):
            with seen.of(index):
                parts.append(net(inputs).float().cpu())
    logits, features = torch.cat(parts), seen.so_far()
    check_finite(logits.numpy(), 0, f"{name}: the logits")
    if features is None:
        print(f"no CKA: {NO_CLASSIFIER} {name}", file=sys.stderr)
    return logits, features


def _maps(name: str, net: nn.Module, look: Look, target: Tensor, question: Question) -> Maps | None:
    """Where the net looks on evenly spaced images; None where a map is a single position."""
    rows = evenly_spaced(len(question.images), question.options.maps)
    parts = []
    for index, inputs in question.inputs(f"{name}, {look.kind}", rows):
        classes = target[torch.from_numpy(rows)[index]].to(inputs.device)
        with blamed_on(f"{name}: "):
            parts.append(look.maps(inputs, classes).cpu())
    maps = torch.cat(parts)
    if not says_where(maps):
        print(f"no maps: {name} has one position at {question.size} pixels", file=sys.stderr)
        return None
    return Maps(look.kind, rows, maps[:, None], question.size)


def _statistics(options: ModelOptions) -> Statistics:
    if not options.mean and not options.std:
        return STATISTICS[options.views]
    if (len(options.mean), len(options.std)) != (3, 3):
        raise UserError("--mean and --std: give three numbers each, of red, green and blue")
    return Statistics(options.mean, options.std)
