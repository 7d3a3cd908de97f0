"""Other networks end to end: those that draw numbers, have no maps, or come from elsewhere."""

import json

import pytest
import torch
from conftest import DATASET, Bench, learner_of

import train_teacher
from common.errors import run_program
from common.files import sha256
from engine.checkpoint import load, load_model
from evaluation import calculate_agreement, calculate_ece, calculate_iou, report
from models.registry import build_model


@pytest.fixture
def bench(tmp_path, tiny_recipe):
    return Bench(tmp_path / "runs", tiny_recipe)


def where(bench):
    return ["--dataset", DATASET, "--output-dir", str(bench.folder), "--device", "cpu"]


def weights(run):
    return load(run.checkpoint("last"))[1]["model"]


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_a_net_that_draws_numbers_resumes_to_the_same_bits(bench, tmp_path, tiny_recipe):
    flags = ("--arch", "mobilenet_v2", "--image-size", 32, "--epochs", 2)
    flags += ("--max-train-images", 128, "--batch-size", 32)
    torch.manual_seed(1)
    whole = bench.student("Sw", *flags)
    other = Bench(tmp_path / "resumed", tiny_recipe)
    from engine.training_run import TrainingRun

    genuine, calls = TrainingRun.add, []

    def killed(self, record, num_classes):
        genuine(self, record, num_classes)
        calls.append(record)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(TrainingRun, "add", killed)
        other.student("Sw", *flags)
    assert len(calls) == 1
    torch.manual_seed(2)  # the state of the global generator means nothing
    assert same(weights(other.student("Sw", *flags)), weights(whole))


def test_what_is_drawn_differs_between_steps_and_seeds():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Dropout(0.5))
    net.register_parameter("unused", torch.nn.Parameter(torch.zeros(1)))
    ones = torch.ones(1, 64)

    def masks(seed, epoch):
        learner = learner_of(net, seed=seed)
        learner.start_epoch(epoch)
        return [learner.answer(ones) for _ in range(2)]

    first, second = masks(1, 0)
    assert not torch.equal(first, second)
    again = masks(1, 0)
    assert torch.equal(first, again[0])
    assert torch.equal(second, again[1])
    assert not torch.equal(first, masks(2, 0)[0])
    assert not torch.equal(first, masks(1, 1)[0])


def test_a_net_without_maps_is_said_so_measured_and_left_out_of_the_overlap(bench, capsys):
    few = ("--epochs", 1, "--max-train-images", 64)
    bench.teacher("T1w", *few)
    bench.teacher("T2w", "--arch", "mobilenet_v3_small", *few)  # another architecture
    assert "mobilenet_v3_small has no attention maps" in capsys.readouterr().out
    bench.student("T1w_T2w_Sw", *few)
    bench.student("T1w_Sw", *few)
    calculate_ece.main([*where(bench), "--cells", "T2w"])
    calculate_agreement.main([*where(bench), "--cells", "2T"])
    capsys.readouterr()
    calculate_iou.main([*where(bench), "--group", "T_S", "--cells", "1T", "2T"])
    out, err = capsys.readouterr()
    assert "left out: T1w_T2w_Sw: no attention maps are known of the net of T2w" in err
    assert [line.split()[0] for line in out.splitlines()[:2]] == ["cell", "T1w_Sw"]
    assert run_program(calculate_iou.main, [*where(bench), "--cells", "2T"]) == 2
    assert "has the models that this compares" in capsys.readouterr().err


def test_a_net_whose_maps_have_one_position_is_treated_likewise(bench, capsys):
    few = ("--epochs", 1, "--max-train-images", 64, "--max-test-images", 64)
    bench.teacher("T1w", *few)
    run = bench.teacher("T2w", "--arch", "shufflenet_v2_x0_5", *few)
    assert "shufflenet_v2_x0_5 has no attention maps at 16 pixels" in capsys.readouterr().out
    bench.student("T1w_T2w_Sw", *few)
    for _ in range(2):  # computed, then as they are kept
        assert run_program(calculate_iou.main, [*where(bench), "--cells", "2T"]) == 2
        assert "known of the net of T2w" in capsys.readouterr().err
        assert (run.outputs / "test-test-maps.npz").is_file()
    flags = [
        *where(bench),
        "--cells",
        "2T",
        "--image-size",
        "64",
        "--max-images",
        "32",
    ]  # two by two positions
    calculate_iou.main([*flags, "--group", "T_T"])


def test_a_net_too_deep_for_its_images_is_refused_before_anything_is_written(bench, capsys):
    flags = bench.flags("T1w", "--arch", "squeezenet1_1")
    assert run_program(train_teacher.main, flags) == 2
    assert "squeezenet1_1 cannot be built for 16 pixels" in capsys.readouterr().err
    assert not bench.run("T1w", 1).path.exists()


def test_a_net_measured_on_images_that_it_cannot_take(bench, capsys):
    bench.teacher(
        "T1w",
        "--arch",
        "squeezenet1_1",
        "--image-size",
        32,
        "--max-train-images",
        64,
        "--max-test-images",
        64,
    )
    flags = [*where(bench), "--cells", "T1w", "--image-size", "16"]
    assert run_program(calculate_ece.main, flags) == 2
    assert "(squeezenet1_1), asked about images of 16 pixels: its" in capsys.readouterr().err


def test_published_inceptions_transform_their_inputs_from_the_first_epoch_on(bench, tmp_path):
    torch.save(build_model("googlenet", 10, image_size=16).state_dict(), tmp_path / "w.pt")
    flags = ("--arch", "googlenet", "--pretrained", tmp_path / "w.pt", "--epochs", 0)
    run = bench.teacher("T1w", *flags)
    assert load_model(run.checkpoint("last"))[1].transform_input
    again = bench.teacher("T2w", *flags[:3], run.checkpoint("last"), *flags[4:])
    assert load_model(again.checkpoint("best"))[1].transform_input


def test_four_teachers(bench):
    few = ("--epochs", 1, "--max-train-images", 64)
    for k in range(1, 5):
        bench.teacher(f"T{k}w", *few)
    run = bench.student("T1w_T2w_T3w_T4w_Sw", *few)
    assert len(json.loads(run.environment.read_text())["teachers"]) == 4
    calculate_iou.main([*where(bench), "--cells", "T1w_T2w_T3w_T4w_Sw", "--group", "T_S"])
    rows = json.loads((bench.folder / DATASET / "iou_T_S.json").read_text())
    assert [row["pair"] for row in rows[:5]] == [
        "T1w_T2w_T3w_T4w-S", *(f"T{k}w-S" for k in range(1, 5))
    ]  # fmt: skip
    assert len(rows) == 1 + 4 + 6


class TestOwnTeachers:
    def weights_file(self, tmp_path, classes=10):
        torch.manual_seed(3)
        model = build_model("resnet8", classes)
        torch.save(model.state_dict(), tmp_path / "own.pt")
        return tmp_path / "own.pt", model.state_dict()

    def test_are_adopted_taught_by_and_measured(self, bench, tmp_path, capsys):
        file, state = self.weights_file(tmp_path)
        run = bench.teacher("T1w", "--pretrained", file, "--epochs", 0)
        assert same(weights(run), state)
        metrics = json.loads(run.metrics.read_text())
        assert metrics["epochs"] == metrics["last"]["epoch"] == 0
        assert metrics["last"]["gap_points"] is None
        record = json.loads(run.environment.read_text())
        assert record["pretrained"] == {"file": str(file), "sha256": sha256(file)}
        student = bench.student("T1w_Sw", "--epochs", 1)
        assert student.is_finished()
        calculate_ece.main([*where(bench), "--cells", "T1w"])
        (row,) = json.loads((bench.folder / DATASET / "ece.json").read_text())
        assert row["top1"] == pytest.approx(metrics["last"]["test"]["top1"])
        report.main(where(bench)[:4])
        table = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()}
        assert "T1w" in table
        before = run.checkpoint("last").stat().st_mtime_ns
        bench.teacher("T1w", "--pretrained", file, "--epochs", 0)
        assert run.checkpoint("last").stat().st_mtime_ns == before

    def test_of_other_classes_are_refused(self, bench, tmp_path, capsys):
        file, _ = self.weights_file(tmp_path, classes=7)
        flags = bench.flags("T1w", "--pretrained", file, "--epochs", 0)
        assert run_program(train_teacher.main, flags) == 2
        assert "has other classes than the 10 of" in capsys.readouterr().err
        assert not bench.run("T1w", 1).is_finished()

    def test_no_epoch_needs_weights(self, bench, capsys):
        assert run_program(train_teacher.main, bench.flags("T1w", "--epochs", 0)) == 2
        assert "--epochs 0 adopts trained weights" in capsys.readouterr().err
