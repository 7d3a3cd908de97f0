"""Where a classifier looks: class activation maps of convolutional nets, attention rollout of ViTs.

In most convolutional nets a linear classifier follows the mean over positions of the last feature
map (``metrics.attention`` says where these are). The map of class c is then linear in the
features, so a data set needs one forward pass: keep the class maps, select the map of any target
later.

The classifier is only defined up to one vector added to all its rows: that shifts every logit of
an image alike, and the softmax does not notice. The maps of classes therefore have the mean over
classes subtracted, which removes any such vector. ``"class_sum"`` cannot be treated so (it would
be zero everywhere), and consequently depends on a part of the weights that no gradient of a
softmax loss ever moves. It is kept for comparison with the published code."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor, nn

from metrics.arrays import takes_arrays
from metrics.validation import check_labels

if TYPE_CHECKING:
    from torchvision.models import VisionTransformer

Entry = TypeVar("Entry")


@dataclass(frozen=True)
class ClassMaps:
    """features: the module that gives the last feature map, or, `before` it, is given it;
    classifier: the linear layer, or None where the features are the class maps themselves;
    rectified: whether the net applies a ReLU between the two."""

    features: str
    classifier: str | None
    before: bool = False
    rectified: bool = False


@dataclass(frozen=True)
class Rollout:
    """Attention of a transformer, from the class token through all layers."""


Source = ClassMaps | Rollout

# Our nets' convention, a user's, and that of other nets for small images.
POOLED = [
    ClassMaps("avgpool", name, before=True)
    for name in ("fc", "classifier", "classifier.0", "linear")
]
# By the names of torchvision's classes: to import them takes as long as to import torch.
TABLE: dict[str, Source | None] = {
    "VisionTransformer": Rollout(),
    "SwinTransformer": ClassMaps("permute", "head"),
    "EfficientNet": ClassMaps("features", "classifier.1"),
    "MobileNetV2": ClassMaps("features", "classifier.1"),
    "MNASNet": ClassMaps("layers", "classifier.1"),
    "ShuffleNetV2": ClassMaps("conv5", "fc"),
    "DenseNet": ClassMaps("features", "classifier", rectified=True),
    "SqueezeNet": ClassMaps("classifier.2", None),  # a convolution with a map for each class
    "ConvNeXt": None,  # a LayerNorm after the mean
    "MaxVit": None,
    "MobileNetV3": None,  # two layers
    "VGG": None,
    "AlexNet": None,
}


def source_of(model: nn.Module) -> Source | None:
    """Where the model's maps come from; None where it has none.

    A class outside the table has maps if it ends in modules `avgpool` and a linear `fc`, or one of
    the names in POOLED.
    """
    if known := entries_of(model, TABLE):
        return known[0]
    modules = dict(model.named_modules())
    linear = (
        source
        for source in POOLED
        if isinstance(modules.get(cast(str, source.classifier)), nn.Linear)
    )
    return next(linear, None) if "avgpool" in modules else None


def entries_of(model: nn.Module, table: Mapping[str, Entry]) -> list[Entry]:
    """Those of the classes of torchvision that the model is of, its own class first."""
    kinds = type(model).__mro__
    names = [kind.__name__ for kind in kinds if kind.__module__.startswith("torchvision.models.")]
    return [table[name] for name in names if name in table]


CLASS_SUM = "class_sum"
PREDICTED = "predicted"


@takes_arrays
def class_activation_map(
    model: nn.Module, images: Tensor, *, target: str | Tensor, source: ClassMaps | None = None
) -> Tensor:
    """Attention map of each image, as coarse as the last features. (B, 3, H, W) -> (B, h, w).

    Zhou et al. 2016, "Learning deep features for discriminative localization", equation 2, with
    the mean over classes subtracted (see the module's text). ``target`` is (B,) labels,
    ``"predicted"`` (the model's own arg-max) or ``"class_sum"`` (all classes' raw maps added).
    A torchvision ``VisionTransformer`` gets its ``attention_rollout``, which knows no classes:
    ``target`` is ignored there. ``source`` says where the maps of a net outside the table come
    from. Runs in eval mode without gradients; every module's training mode is restored, no hook
    stays behind.

    Raises:
        ValueError: images that are not (B, 3, H, W), another target, labels that are not (B,)
            or out of range, a model that has no maps (``source_of``), NaN or infinity.

    >>> from torchvision.models import resnet18
    >>> model, images = resnet18(num_classes=3), np.zeros((2, 3, 64, 64), np.float32)
    >>> class_activation_map(model, images, target=np.array([0, 2])).shape
    torch.Size([2, 2, 2])
    """
    if source is None and isinstance(source_of(model), Rollout):
        return attention_rollout(model, images)
    logits, features = forward_with_features(model, images, source)
    if isinstance(target, str) and target == PREDICTED:
        target = logits.argmax(dim=1)
    return maps_from_features(features, classifier_weight(model, features, source), target)


@takes_arrays
def forward_with_features(
    model: nn.Module, images: Tensor, source: ClassMaps | None = None
) -> tuple[Tensor, Tensor]:
    """Logits (B, C) and the last feature map (B, D, h, w), from one forward.

    Raises:
        ValueError: images that are not (B, 3, H, W), or a model that has no class maps.

    >>> from torchvision.models import resnet18
    >>> logits, features = forward_with_features(resnet18(num_classes=3), torch.zeros(2, 3, 64, 64))
    >>> logits.shape, features.shape
    (torch.Size([2, 3]), torch.Size([2, 512, 2, 2]))
    """
    check_images(images)
    source = source or _class_maps_of(model)  # before the forward pass: an unsuitable one fails
    with _inference(model), collected(model, source) as seen:
        logits = model(images)
    (features,) = seen
    return logits, features


@contextmanager
def collected(model: nn.Module, source: ClassMaps) -> Iterator[list[Tensor]]:
    """The feature maps that the source gives while the block lasts, with their gradients where the
    model has any."""
    seen: list[Tensor] = []

    def add(features: Tensor) -> None:
        seen.append(features.relu() if source.rectified else features)

    def given(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        add(arguments[0])

    def made(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        add(output)

    module = model.get_submodule(source.features)
    before = source.before
    with module.register_forward_pre_hook(given) if before else module.register_forward_hook(made):
        yield seen


def classifier_weight(
    model: nn.Module, features: Tensor, source: ClassMaps | None = None
) -> Tensor:
    """The (C, D) weight of the linear classifier of the features (B, D, h, w); the identity where
    each feature is already a class's.

    Raises:
        ValueError: a model that has no class maps.
    """
    source = source or _class_maps_of(model)
    if source.classifier is None:
        return torch.eye(features.shape[1], device=features.device)
    return cast(nn.Linear, model.get_submodule(source.classifier)).weight


@takes_arrays
def maps_from_features(features: Tensor, weight: Tensor, target: str | Tensor) -> Tensor:
    """Map of the target. (B, D, h, w) features, (C, D) classifier weight -> (B, h, w) float32.

    ``target`` as in ``select_maps``.

    >>> features, weight = np.ones((1, 2, 1, 2)), np.eye(2)
    >>> features[0, 0, 0] = 3, 1  # the first channel looks to the left
    >>> maps_from_features(features, weight, np.array([0]))
    tensor([[[1., 0.]]])
    """
    return select_maps(class_maps(features, weight), target)


@takes_arrays
def class_maps(features: Tensor, weight: Tensor) -> Tensor:
    """Raw map of every class. (B, D, h, w) features, (C, D) weight -> (B, C, h, w) float64.

    The spatial mean of class c's map is its logit without the bias. float64 because a vector
    common to all rows may be much larger than what is left once ``select_maps`` removes it.

    Raises:
        ValueError: shapes that do not fit, no samples, NaN or infinity.

    >>> class_maps(np.ones((1, 2, 1, 2)), np.array([[1.0, 2.0]]))
    tensor([[[[3., 3.]]]], dtype=torch.float64)
    """
    _check_features(features, weight)
    maps = torch.einsum("bdhw,cd->bchw", features.detach().double(), weight.detach().double())
    if not bool(torch.isfinite(maps).all()):
        raise ValueError("class maps: the features or the classifier contain NaN or infinity")
    return maps


@takes_arrays
def select_maps(maps: Tensor, target: str | Tensor) -> Tensor:
    """One map an image. (B, C, h, w) class maps -> (B, h, w) float32.

    (B,) labels select those classes' maps minus the mean over classes; ``"class_sum"`` adds all
    raw maps. What "predicted" means takes logits: pass their arg-max.

    Raises:
        ValueError: another target, or labels that are not (B,) or not in 0..C-1.

    >>> maps = class_maps(np.ones((1, 2, 1, 2)), np.array([[1.0, 2.0], [3.0, 6.0]]))
    >>> select_maps(maps, np.array([1])), select_maps(maps, CLASS_SUM)
    (tensor([[[3., 3.]]]), tensor([[[12., 12.]]]))
    """
    if isinstance(target, Tensor):
        return _map_of_labels(maps, target).float()
    if target != CLASS_SUM:
        raise ValueError(f"target: expected (B,) labels or {CLASS_SUM!r} here, got {target!r}")
    return maps.sum(dim=1).float()


def has_maps(model: nn.Module, images: Tensor) -> bool:
    """Whether the model has maps, and of such images (1, 3, H, W) ones that say where it looks; of
    the images only the shape matters."""
    source = source_of(model)
    if isinstance(source, Rollout):
        return cast(int, model.seq_length) > 2  # the class token and patches
    return source is not None and says_where(forward_with_features(model, images)[1])


def says_where(maps: Tensor) -> bool:
    """Whether maps (..., h, w) have more than one position: a single one is everywhere."""
    return maps.shape[-2:].numel() > 1


@takes_arrays
def attention_rollout(model: VisionTransformer, images: Tensor) -> Tensor:
    """Attention from the class token to each patch. (B, 3, H, W) -> (B, h, w), h * w patches.

    Abnar and Zuidema 2020, "Quantifying attention flow in transformers": every layer's attention,
    averaged over heads, plus the identity for the residual path, rows scaled to sum to one,
    multiplied through the layers. float32.

    Raises:
        ValueError: images that are not (B, 3, H, W), NaN or infinity.

    >>> from torchvision.models import VisionTransformer
    >>> model = VisionTransformer(32, 16, 1, 2, 8, 8, num_classes=3)
    >>> attention_rollout(model, torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 2, 2])
    """
    return attention_with_logits(model, images)[1]


@takes_arrays
def attention_with_logits(model: VisionTransformer, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (B, C) and ``attention_rollout`` (B, h, w), from one forward.

    Raises:
        ValueError: as ``attention_rollout``.
    """
    check_images(images)
    with _inference(model), _head_averaged_attention(model) as layers:
        logits = model(images)
    rollout = roll_out(torch.stack(layers))
    if not bool(torch.isfinite(rollout).all()):
        raise ValueError("attention: contains NaN or infinity")
    side = math.isqrt(rollout.shape[-1] - 1)
    return logits, rollout[:, 0, 1:].unflatten(1, (side, side)).float()


@takes_arrays
def roll_out(attention: Tensor) -> Tensor:
    """Product over layers, first layer first, of row-normalised A + I. (L, B, N, N) -> (B, N, N).

    In float64, which an autocast region around it leaves alone.

    >>> roll_out(np.full((1, 1, 2, 2), 0.5))
    tensor([[[0.7500, 0.2500],
             [0.2500, 0.7500]]], dtype=torch.float64)
    """
    residual = torch.eye(attention.shape[-1], dtype=torch.float64, device=attention.device)
    mixed = attention.detach().double() + residual
    rollout, *later = mixed / mixed.sum(dim=-1, keepdim=True)
    for layer in later:
        rollout = layer @ rollout
    return rollout


def _map_of_labels(maps: Tensor, labels: Tensor) -> Tensor:
    check_labels(labels, maps.shape[0], maps.shape[1], name="target")
    rows = torch.arange(len(labels), device=maps.device)
    return maps[rows, labels.to(maps.device, torch.long)] - maps.mean(dim=1)


@contextmanager
def _inference(model: nn.Module) -> Iterator[None]:
    """Eval mode and no gradient."""
    with in_eval_mode(model), torch.no_grad():
        yield


@contextmanager
def in_eval_mode(model: nn.Module) -> Iterator[None]:
    """Eval mode while the block lasts; afterwards every module has the mode it had."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _class_maps_of(model: nn.Module) -> ClassMaps:
    source = source_of(model)
    if not isinstance(source, ClassMaps):
        raise ValueError(
            f"{type(model).__name__}: no class maps: expected a net of metrics/attention.py "
            "or modules `avgpool` and a linear `fc`"
        )
    return source


@contextmanager
def _head_averaged_attention(model: VisionTransformer) -> Iterator[list[Tensor]]:
    """Collects each layer's attention (B, N, N), first layer first, while the block lasts.

    torchvision's blocks ask for no weights; a pre-hook changes the question, a hook keeps the
    answer, and no code of the library is touched.
    """
    layers: list[Tensor] = []

    def ask(
        module: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return arguments, options | {"need_weights": True, "average_attn_weights": True}

    def record(module: nn.Module, arguments: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        layers.append(output[1])

    with ExitStack() as hooks:
        for block in model.encoder.layers:
            attention = block.self_attention
            hooks.enter_context(attention.register_forward_pre_hook(ask, with_kwargs=True))
            hooks.enter_context(attention.register_forward_hook(record))
        yield layers


def check_images(images: Tensor) -> None:
    """ValueError unless they are (B, 3, H, W)."""
    if images.ndim != 4 or images.shape[0] == 0 or images.shape[1] != 3:
        raise ValueError(f"images: expected shape (B, 3, H, W), got {tuple(images.shape)}")


def _check_features(features: Tensor, weight: Tensor) -> None:
    if features.ndim != 4 or 0 in features.shape:
        raise ValueError(f"features: expected shape (B, D, h, w), got {tuple(features.shape)}")
    if weight.ndim != 2 or weight.shape[1] != features.shape[1]:
        expected = f"(C, {features.shape[1]})"
        raise ValueError(f"weight: expected shape {expected}, got {tuple(weight.shape)}")
