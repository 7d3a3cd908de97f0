"""Transformers that teach a transformer of finer patches: the paper's appendix E in miniature."""

import json

import pytest
import torch
from conftest import DATASET, Bench

from evaluation import calculate_iou
from evaluation.options import OverlapOptions
from metrics.overlap import set_overlap

RECIPE = """
common: {image_size: 16, batch_size: 16, epochs: 1, warmup_epochs: 0, schedule: cosine, workers: 0,
         optimizer: adamw, lr: 0.0005, weight_decay: 0.05, clip_norm: 1.0, device: cpu, amp: none,
         max_train_images: 60, max_test_images: 12}
teacher: {arch: vit_lite_8}
student: {arch: vit_lite_4, temperature: 3, ce_weight: 0.6}
"""


@pytest.fixture(scope="module")
def transformers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("transformers")
    (folder / "vit.yaml").write_text(RECIPE)
    bench = Bench(folder / "runs", folder / "vit.yaml")
    bench.teacher("T1w")
    bench.teacher("T2s")
    bench.student("T1w_T2s_Ss")
    return bench


@pytest.mark.parametrize("group", ["T_T", "T_S"])
def test_overlap_of_rollouts_of_different_grids(transformers, group):
    """2 x 2 patches of the teachers, 4 x 4 of the student, both resized to the image."""
    options = OverlapOptions(
        dataset=DATASET, output_dir=str(transformers.folder), group=group, device="cpu"
    )
    calculate_iou.measure(options)
    rows = json.loads((transformers.folder / DATASET / f"iou_{group}.json").read_text())
    pairs = {"T_T": [None], "T_S": ["T1w_T2s-S", "T1w-S", "T2s-S"]}
    assert [row.get("pair") for row in rows] == pairs[group]
    assert all(0 < row["iou"] < 1 and row["constant_maps"] == 0 for row in rows)


def test_a_coarse_and_a_fine_map_of_one_place_overlap():
    """The upper left quarter of the image, of a grid of 2 and of one of 4, at 8 pixels. Along one
    side the coarse one falls 1, 1, .875, .625, .375, the fine one 1, 1, 1, .75, .25: above .5 are,
    of their products, 4 x 4 pixels but the corner (.625^2) and 4 x 4 with it (.75^2)."""
    coarse, fine = torch.zeros(1, 2, 2), torch.zeros(1, 4, 4)
    coarse[0, 0, 0] = 1
    fine[0, :2, :2] = 1
    found = set_overlap([coarse, fine], 8, threshold=0.5)
    assert found.per_image.tolist() == pytest.approx([15 / 16])
