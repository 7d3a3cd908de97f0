"""Where a class is seen: Parchami-Araghi et al. 2024, "Good teachers explain"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.errors import UserError
from common.settings import option
from losses.loss import CLASS_MAPS, FIXED_CLASSIFIER, PerImage, Seen
from losses.maps import label_map, to_common_size

if TYPE_CHECKING:
    import torch

OF_LABEL, OF_TEACHERS = MAP_CLASSES = ("label", "teachers")


def map_cosine(student_map: torch.Tensor, teacher_map: torch.Tensor) -> torch.Tensor:
    """1 - cosine of the angle between the maps, mean over images.

    (B, h, w) each, the larger average-pooled to the smaller h x w; a scalar in float32. ValueError
    when the shapes do not fit.
    """
    if student_map.ndim != 3 or teacher_map.ndim != 3 or len(student_map) != len(teacher_map):
        raise ValueError(
            f"maps must be (B, h, w), got {tuple(student_map.shape)} and {tuple(teacher_map.shape)}"
        )
    return _per_image(student_map, teacher_map).mean()


def _per_image(student_map: torch.Tensor, teacher_map: torch.Tensor) -> torch.Tensor:
    from torch.nn.functional import normalize

    first, second = (
        normalize(each.flatten(1)) for each in to_common_size(student_map, teacher_map)
    )
    return 1 - (first * second).sum(-1)


@dataclass(frozen=True, kw_only=True)
class ClassMap(PerImage):
    """`map_cosine` of class activation maps, mean over teachers. A map has the mean over classes
    removed: the softmax does not see a vector that all rows of the classifier share."""

    needs = frozenset({CLASS_MAPS, FIXED_CLASSIFIER})
    in_validation = False
    published_weight = 1.0

    map_class: str = option(
        OF_LABEL, "whose map class_map compares: the label's, the teachers'", choices=MAP_CLASSES
    )

    @property
    def asks_labels(self) -> bool:
        """For whose map it is."""
        return self.map_class == OF_LABEL

    def per_image(self, seen: Seen) -> torch.Tensor:
        """Of one class for all: the label, or that of the teachers' mean logits."""
        import torch

        classes = seen.labels if self.map_class == OF_LABEL else seen.taught.mean(0).argmax(-1)
        of_all = [label_map(maps, classes) for maps in (seen.maps, *seen.teacher_maps)]
        if any(heatmap[0].numel() == 1 for heatmap in of_all):
            raise UserError(
                "--loss class_map compares places, and maps of the student or a teacher have a "
                "single one: take another --arch or a larger --image-size"
            )
        heatmap, *taught = of_all
        return torch.stack([_per_image(heatmap, of_teacher) for of_teacher in taught])
