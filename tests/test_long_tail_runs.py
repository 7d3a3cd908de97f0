"""Long-tailed runs: results by many-, medium- and few-shot classes, and ImageNet-LT's lists."""

import json

import numpy as np
import pytest
import torch
from conftest import DATASET, Bench, inputs
from test_bad_images import photographs

from dataloader.datasets import load_split
from engine.checkpoint import load_model
from engine.sums import EpochSums
from evaluation import calculate_agreement, calculate_ece, report
from losses.loss import Seen
from metrics.calibration import expected_calibration_error


def rows_of(taught, name):
    return json.loads((taught.folder / DATASET / f"{name}.json").read_text())


def test_sums_by_shots_are_means_over_each_groups_samples():
    logits = torch.eye(4)[[0, 1, 2, 3, 0, 1]]
    labels = torch.tensor([0, 1, 2, 2, 3, 1])
    sums = EpochSums([], torch.device("cpu"), torch.tensor([0, 1, 2, 2]))
    for part in (slice(0, 4), slice(4, 6)):
        sums.update({}, Seen(logits[part], None, labels[part]))
    means = sums.means()
    assert means["top1_many"] == 1.0  # label 0, predicted 0
    assert means["top1_medium"] == 1.0  # labels 1, 1
    assert means["top1_few"] == pytest.approx(1 / 3)  # labels 2, 2, 3 predicted 2, 3, 0
    assert "fidelity_ensemble_many" not in means


def test_every_table_with_accuracy_has_the_groups(taught, tmp_path, capsys):
    where = ["--dataset", DATASET, "--output-dir", str(taught.folder)]
    calculate_ece.main([*where, "--cells", "T1w_Sw"])
    calculate_agreement.main([*where, "--cells", "T1w_Sw"])
    capsys.readouterr()
    report.main(where)
    table = capsys.readouterr().out
    train, test = (load_split(DATASET, split, tmp_path) for split in ("train", "test"))
    counts = np.bincount(train.labels)
    few = torch.from_numpy((counts < 20)[test.labels])
    images = inputs(test)
    labels = torch.from_numpy(test.labels)
    with torch.no_grad():
        student, teacher = (
            load_model(taught.run(cell, 1).checkpoint("last"))[1](images)
            for cell in ("T1w_Sw", "T1w")
        )
    top1_few = (student.argmax(1) == labels)[few].double().mean().item()
    agreement_few = (student.argmax(1) == teacher.argmax(1))[few].double().mean().item()

    ece = next(row for row in rows_of(taught, "ece") if row["cell"] == "T1w_Sw")
    assert ece["top1_few"] == pytest.approx(top1_few)
    expected = expected_calibration_error(student[few], labels[few])
    assert ece["ece_few"] == pytest.approx(expected, abs=1e-3)
    agreement = next(row for row in rows_of(taught, "agreement") if row["cell"] == "T1w_Sw")
    assert agreement["fidelity_few"] == pytest.approx(agreement_few)
    result = next(row for row in rows_of(taught, "results") if row["cell"] == "T1w_Sw")
    assert result["top1_few"] == pytest.approx(100 * top1_few, abs=0.5)
    assert result["fidelity_few"] == pytest.approx(100 * agreement_few, abs=0.5)
    assert "top1_medium" in table.splitlines()[0]


class TestImageNetLT:
    @pytest.fixture
    def root(self, tmp_path):
        """Two classes with 6 and 2 training images, and lists of all three splits."""
        root = photographs(tmp_path / "data")
        train = [
            f"train/n{c:08d}/train_{i}.JPEG {c}" for c, n in ((0, 6), (1, 2)) for i in range(n)
        ]
        rest = [f"train/n{1:08d}/train_{i}.JPEG 1" for i in range(2, 6)]
        test = [f"val/n{c:08d}/val_{i}.JPEG {c}" for c in (0, 1) for i in range(6)]
        for name, lines in (("train", train), ("val", rest), ("test", test)):
            (root / f"ImageNet_LT_{name}.txt").write_text("\n".join(lines) + "\n")
        return root

    @pytest.fixture
    def bench(self, tmp_path, tiny_recipe, root):
        class LongTailBench(Bench):
            def flags(self, cell, *flags):
                where = ["--dataset", "ImageNet_LT", "--data-path", str(root)]
                return [*super().flags(cell, "--batch-size", 4, *flags), *where]

        return LongTailBench(tmp_path / "runs", tiny_recipe)

    def metrics(self, bench):
        path = bench.folder / "ImageNet_LT" / "Sw" / "seed1" / "metrics.json"
        return json.loads(path.read_text())

    def test_the_validation_list_selects_and_the_test_list_tests(self, bench):
        bench.student("Sw")
        metrics = self.metrics(bench)
        assert metrics["selected_on"] == "validation"
        assert (metrics["train_images"], metrics["test_images"]) == (8, 12)
        lines = bench.run("Sw", 1).path.parents[2] / "ImageNet_LT" / "Sw" / "seed1" / "epochs.jsonl"
        last = json.loads(lines.read_text().splitlines()[-1])
        assert last["validation"] != metrics["last"]["test"]

    def test_without_it_the_test_list_does_both(self, bench, root):
        (root / "ImageNet_LT_val.txt").unlink()
        bench.student("Sw")
        assert self.metrics(bench)["selected_on"] == "test"

    def test_lists_in_a_folder_of_their_own(self, bench, root, tmp_path):
        lists = tmp_path / "lists"
        lists.mkdir()
        for path in root.glob("ImageNet_LT_*.txt"):
            path.rename(lists / path.name)
        bench.student("Sw", "--list-path", lists)
        assert self.metrics(bench)["train_images"] == 8
