"""Where a net without class maps looks: Grad-CAM, from the gradients of a class's score.

Selvaraju et al. 2017, "Grad-CAM: visual explanations from deep networks via gradient-based
localization". Where a linear classifier follows the mean over positions, it is the positive part of
the class activation map; elsewhere (several layers, a normalisation in between) it is a local
approximation of what such a map would be. Maps of the two kinds are not compared."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metrics.arrays import takes_arrays
from metrics.attention import ClassMaps, check_images, collected, entries_of, in_eval_mode
from metrics.validation import check_finite, check_labels

BEFORE_POOLING = ClassMaps("avgpool", None, before=True)
LAST_FEATURES: dict[str, ClassMaps] = {  # of nets that have no class maps
    "VGG": BEFORE_POOLING,
    "AlexNet": BEFORE_POOLING,
    "MobileNetV3": BEFORE_POOLING,
    "ConvNeXt": BEFORE_POOLING,
    "MaxVit": ClassMaps("classifier", None, before=True),
}


def last_features(model: nn.Module) -> ClassMaps | None:
    """Where the last feature map of a net without class maps is found; None where it is in no
    table."""
    return next(iter(entries_of(model, LAST_FEATURES)), None)


@takes_arrays
def grad_cam(
    model: nn.Module, images: Tensor, *, target: Tensor, source: ClassMaps | None = None
) -> Tensor:
    """Attention map of each image for its ``target`` class. (B, 3, H, W), (B,) -> (B, h, w).

    ReLU(sum_d a_d A_d), A being the last feature map (B, D, h, w) and a_d the mean over positions
    of the score's gradient by A_d (equations 1 and 2). The score is the class's logit minus the
    mean over classes: what is added to all logits alike changes no prediction, and must not change
    the map. A map may be 0 everywhere: nothing there speaks for the class. ``source`` says where
    the features of a net outside the table are. Runs in eval mode; no gradient is left behind.

    Raises:
        ValueError: images that are not (B, 3, H, W), labels that are not (B,) or out of range, a
            net whose features are not known or not (B, D, h, w), NaN or infinity.

    >>> from torchvision.models import mobilenet_v3_small
    >>> model, images = mobilenet_v3_small(num_classes=3), np.zeros((2, 3, 64, 64), np.float32)
    >>> grad_cam(model, images, target=np.array([0, 2])).shape
    torch.Size([2, 2, 2])
    """
    check_images(images)
    source = source or last_features(model)
    if source is None:
        raise ValueError(
            f"{type(model).__name__}: say where its features are: source=ClassMaps(...)"
        )
    with torch.enable_grad(), in_eval_mode(model):
        features, slopes = _with_slopes(model, images, target, source)
    weights = slopes.double().mean(dim=(2, 3))
    maps = torch.einsum("bd,bdhw->bhw", weights, features.double()).relu()
    check_finite(maps, name="maps")
    return maps.float()


def _with_slopes(
    model: nn.Module, images: Tensor, target: Tensor, source: ClassMaps
) -> tuple[Tensor, Tensor]:
    """The features (B, D, h, w) and the gradients by them of each image's score."""
    with collected(model, source) as seen:
        # Of the images: so features have a gradient where the weights are frozen.
        logits = model(images.detach().requires_grad_())
    (features,) = seen
    if features.ndim != 4:
        raise ValueError(f"{source.features}: expected (B, D, h, w), got {tuple(features.shape)}")
    check_labels(target, *logits.shape, name="target")
    chosen = logits.gather(1, target.to(logits.device, torch.long)[:, None])[:, 0]
    (slopes,) = torch.autograd.grad((chosen - logits.mean(dim=1)).sum(), features)
    return features.detach(), slopes
