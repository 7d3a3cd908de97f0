"""Transformers for small images and a CPU: ViT-Lite of Hassani et al. 2021, "Escaping the big data
paradigm with compact transformers", table 1: six layers of width 256, four heads, an MLP of twice
the width. At 32 pixels and patches of 4, with 10 classes, that is 3.2 million weights.

torchvision's ViT with other sizes, so that its maps and its names of weights are as there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from torchvision.models import VisionTransformer

PATCHES = (4, 8)  # pixels of a side
HEAD_STD = 0.02  # torchvision's head starts at 0, all logits alike: some losses divide by a spread


def small_vit(patch: int, num_classes: int, image_size: int) -> VisionTransformer:
    """A freshly initialised net; normalised images (B, 3, H, W) to logits (B, C)."""
    from torchvision.models import VisionTransformer  # slow to import, and rarely needed

    model = VisionTransformer(
        image_size=image_size,
        patch_size=patch,
        num_layers=6,
        num_heads=4,
        hidden_dim=256,
        mlp_dim=512,
        num_classes=num_classes,
    )
    nn.init.trunc_normal_(model.heads.head.weight, std=HEAD_STD)
    return model
