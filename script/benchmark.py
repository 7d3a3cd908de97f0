"""Time the measures: medians over several runs, and ratios of alternatives timed in turns.

Sizes are those of CIFAR-100's test set (10,000 images of 100 classes) and of 1,000 classes.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

if __name__ == "__main__":  # imports start at this checkout, installed or not
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch

from common.errors import OneLineParser, run_program
from common.files import write_json, write_text
from dataloader.images import ImageSet
from dataloader.loader import ViewLoader
from dataloader.synthetic import load_synthetic
from dataloader.views import CIFAR_STATISTICS, cifar_view
from engine.cells import Cell, student_cells, teacher_cells
from engine.checkpoint import Header, load_model, save
from engine.compute import Compute
from engine.run import RunDirectory, Runs
from evaluation.options import MeasureOptions
from evaluation.outputs import OutputStore
from metrics.agreement import agreement_per_sample, correct_per_sample, kl_divergence_per_sample
from metrics.attention import class_activation_map
from metrics.bootstrap import bootstrap_calibration_error, bootstrap_intervals
from metrics.calibration import (
    brier_score_per_sample,
    expected_calibration_error,
    negative_log_likelihood_per_sample,
)
from metrics.information import mutual_information, predictive_entropy_per_sample
from metrics.overlap import binarize, intersection_over_union, set_overlap
from models.registry import build_model
from script.timing import count, medians, timed

IMAGES, CLASSES, SIDE = 10_000, 100, 32


def main(argv: Sequence[str] | None = None) -> None:
    """Print a line for each measure, then the evaluation of a 2T grid by both routes."""
    parser = OneLineParser(description=__doc__)
    parser.add_argument("--repeats", type=count, default=5)
    repeats = parser.parse_args(argv).repeats
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, {repeats} repeats")
    torch.manual_seed(0)
    for name, action in measures().items():
        print(f"{name:<62} {medians([action], repeats)[0] * 1e3:10.1f} ms", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        compare_evaluations(Path(folder), repeats)


def measures() -> dict[str, Callable[[], object]]:
    """The timed measures by name, their inputs drawn once."""
    maps = [torch.rand(IMAGES, 8, 8) for _ in range(3)]
    p, q = torch.randn(IMAGES, CLASSES), torch.randn(IMAGES, CLASSES)
    wide, wide_labels = torch.randn(IMAGES, 1000), torch.randint(1000, (IMAGES,))
    labels = torch.randint(CLASSES, (IMAGES,))
    a, b = p.argmax(1), q.argmax(1)
    return {
        "IoU of 3 models over 10,000 images of 32x32, stored maps": lambda: set_overlap(maps, SIDE),
        "ECE of 10,000 x 1,000 logits": lambda: expected_calibration_error(wide, wide_labels),
        "mutual information of 10,000 predictions": lambda: mutual_information(
            a, b, CLASSES, correction="grassberger"
        ),
        "bootstrap of all measures, 1,000 resamples of 10,000": lambda: bootstrap_all(p, q, labels),
    }


def bootstrap_all(p: torch.Tensor, q: torch.Tensor, labels: torch.Tensor) -> None:
    """Intervals of every measure that is a mean, and of ECE."""
    bootstrap_intervals(
        {
            "top1": correct_per_sample(p, labels),
            "nll": negative_log_likelihood_per_sample(p, labels),
            "brier": brier_score_per_sample(p, labels),
            "fidelity": agreement_per_sample(p, q),
            "kl_p_to_q": kl_divergence_per_sample(p, q),
            "kl_q_to_p": kl_divergence_per_sample(q, p),
            "entropy_p": predictive_entropy_per_sample(p),
            "entropy_q": predictive_entropy_per_sample(q),
        }
    )
    bootstrap_calibration_error(p, labels)


def compare_evaluations(folder: Path, repeats: int) -> None:
    """Overlap of each 2T cell's three models: from stored outputs, and by running them anew."""
    teachers = [cell for cell in teacher_cells() if cell.number <= 2]
    cells: list[Cell] = [*teachers, *student_cells(2)]
    runs = {str(cell): make_run(folder, cell) for cell in cells}
    triples = [[*map(str, cell.teachers), str(cell)] for cell in student_cells(2)]

    def stored() -> None:
        evaluate_stored(runs, triples)

    def anew() -> None:
        evaluate_anew(runs, triples)

    def first() -> None:
        for run in runs.values():
            for path in run.outputs.glob("*"):
                path.unlink()
        stored()

    rounds = [(timed(anew), timed(first), timed(stored)) for _ in range(max(1, repeats // 2))]
    slow, cold, warm = (statistics.median(times) for times in zip(*rounds, strict=True))
    print(f"2T grid, 8 cells x 3 models over {len(test_images())} images of 32x32 (ResNet-20):")
    print(f"{'  each cell runs its models anew':<62} {slow:10.2f} s")
    print(f"{'  each model run once, outputs written':<62} {cold:10.2f} s  {slow / cold:5.1f}x")
    print(f"{'  outputs there already':<62} {warm:10.2f} s  {slow / warm:5.1f}x")


def evaluate_stored(runs: dict[str, RunDirectory], triples: Sequence[Sequence[str]]) -> None:
    """Overlaps by way of the output store."""
    store = OutputStore(MeasureOptions(dataset="synthetic", device="cpu"))
    for triple in triples:
        kept = [maps for name in triple if (maps := store.maps(runs[name])) is not None]
        target = (kept[0].logits + kept[1].logits).argmax(1)
        set_overlap([maps.select(target) for maps in kept], SIDE)


def evaluate_anew(runs: dict[str, RunDirectory], triples: Sequence[Sequence[str]]) -> None:
    """Overlaps as the published code finds them: every cell loads and runs its models."""
    compute = Compute(torch.device("cpu"), "none", CIFAR_STATISTICS)
    for triple in triples:
        models = [compute.place(load_model(runs[name].checkpoint("last"))[1]) for name in triple]
        loader = ViewLoader(test_images(), cifar_view("test", SIDE), seed=0, batch_size=256)
        for _, views, _ in loader.epoch(0):
            images = compute.inputs(views)
            with torch.no_grad():
                target = sum(model(images) for model in models[:2]).argmax(1)
            maps = [class_activation_map(model, images, target=target) for model in models]
            intersection_over_union(torch.stack([binarize(heatmap, SIDE) for heatmap in maps]))


def make_run(folder: Path, cell: Cell) -> RunDirectory:
    """A finished run with an untrained ResNet-20: speed does not depend on the weights."""
    run = Runs(folder, "synthetic").of(cell, 1)
    model = build_model("resnet20", 10)
    save(run.checkpoint("last"), Header("resnet20", 10, SIDE, 1), {"model": model.state_dict()})
    write_text(
        run.config, f"{{cell: {cell}, image_size: {SIDE}, dataset: synthetic, workers: 0}}\n"
    )
    write_json(run.metrics, {"last": {}})
    return run


def test_images() -> ImageSet:
    """The embedded test images."""
    return load_synthetic("test")


if __name__ == "__main__":
    sys.exit(run_program(main, if_interrupted="run the command again"))
