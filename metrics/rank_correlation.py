"""Spearman's rank correlation, along the last dimension of tensors."""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor


def spearman(x: Tensor, y: Tensor) -> Tensor:
    """Rank correlation along the last dimension, ties at their mean rank; 0 where one of both is
    constant, since it orders nothing. Two (..., C) -> (...); Spearman 1904."""
    ranks = [torch.from_numpy(np.asarray(rankdata(v.numpy(), axis=-1))) for v in (x, y)]
    a, b = (own - own.mean(dim=-1, keepdim=True) for own in ranks)
    scale = (a.square().sum(-1) * b.square().sum(-1)).sqrt()
    return torch.where(scale > 0, (a * b).sum(-1) / scale.clamp_min(1e-12), 0.0)
