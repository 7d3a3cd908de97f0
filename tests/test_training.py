"""Whole runs in miniature, started as a user starts them."""

import dataclasses
import json
import resource
import shutil
import signal

import pytest
import torch
import yaml
from conftest import DATASET, IMAGE_SIZE, Bench, inputs

import train_student
import train_teacher
from common.errors import DivergedError, UserError, run_program
from common.files import sha256
from dataloader.datasets import load_split
from engine import checkpoint, loop
from engine.checkpoint import Header, load, load_model, save
from engine.config import StudentConfig
from engine.data import load_data
from engine.processes import Ranks
from engine.run import RunDirectory
from models.registry import build_model


@pytest.fixture
def bench(tmp_path, tiny_recipe):
    return Bench(tmp_path / "runs", tiny_recipe)


@pytest.fixture
def with_teachers(taught, tmp_path):
    """A copy of the finished teachers, free to be damaged."""
    for cell in ("T1w", "T2s"):
        shutil.copytree(taught.run(cell, 1).path.parent, tmp_path / f"runs/{DATASET}/{cell}")
    return Bench(tmp_path / "runs", taught.recipe)


def weights(run, which="last"):
    return load(run.checkpoint(which))[1]["model"]


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def records(run):
    return [json.loads(line) for line in run.epochs.read_text().splitlines()]


def without_times(run):
    return [
        {k: v for k, v in record.items() if k not in ("seconds", "crc32")}
        for record in records(run)
    ]


def test_a_student_run_leaves_everything_that_the_readme_names(with_teachers):
    run = with_teachers.student("T1w_T2s_Ss")
    assert yaml.safe_load(run.config.read_text())["cell"] == "T1w_T2s_Ss"
    assert [record["epoch"] for record in records(run)] == [1, 2, 3]
    last = records(run)[-1]
    assert last["lr"] == pytest.approx(0.01)
    for split in ("train", "validation"):
        for teacher in ("T1w", "T2s", "ensemble"):
            assert 0 <= last[split][f"fidelity_{teacher}"] <= 1
            assert last[split][f"kl_{teacher}_to_student_nats"] >= 0
            assert 0 <= last[split][f"entropy_{teacher}_nats"] <= 2.303
    gap = 100 * (last["train"]["top1"] - last["validation"]["top1"])
    assert last["gap_points"] == pytest.approx(gap)
    metrics = json.loads(run.metrics.read_text())
    assert metrics["selected_on"] == "test"
    assert metrics["last"]["test"] == last["validation"]
    assert metrics["best"]["test"]["top1"] == max(r["validation"]["top1"] for r in records(run))
    environment = json.loads(run.environment.read_text())
    teacher = with_teachers.run("T2s", 1).checkpoint("last")
    assert environment["teachers"]["T2s"]["sha256"] == sha256(teacher)
    assert "epoch 3/3" in run.log.read_text()


def test_validation_figures_are_those_of_the_checkpoint(taught):
    """The recorded fidelity, by running both checkpoints again on the test images."""
    run = taught.run("T1w_Sw", 1)
    images = load_split(DATASET, "test", run.path)
    given = inputs(images)
    with torch.no_grad():
        student = load_model(run.checkpoint("last"))[1](given).argmax(1)
        teacher = load_model(taught.run("T1w", 1).checkpoint("last"))[1](given).argmax(1)
    recorded = records(run)[-1]["validation"]
    labels = torch.from_numpy(images.labels)
    assert recorded["top1"] == pytest.approx((student == labels).double().mean().item(), abs=0.004)
    agreement = (student == teacher).double().mean().item()
    assert recorded["fidelity_T1w"] == pytest.approx(agreement, abs=0.004)


class KilledError(Exception):
    pass


@pytest.mark.parametrize(("moment", "fatal"), [("write_epochs", 2), ("best", 1), ("last", 2)])
def test_a_run_killed_anywhere_resumes_to_the_same_bits(with_teachers, monkeypatch, moment, fatal):
    """Killed just before the `fatal`-th write of one of the three files an epoch writes."""
    import engine.checkpoint

    whole = with_teachers.student("T1w_Ss")
    expected = (weights(whole), weights(whole, "best"), without_times(whole))
    shutil.rmtree(whole.path)

    target, name = (
        (RunDirectory, "write_epochs") if moment == "write_epochs" else (engine.checkpoint, "save")
    )
    genuine, calls = getattr(target, name), []

    def kill(path, *args):
        if moment == "write_epochs" or path.name == f"{moment}.pt":
            calls.append(path)
            if len(calls) == fatal:
                raise KilledError
        return genuine(path, *args)

    with monkeypatch.context() as patch:
        patch.setattr(target, name, kill)
        with pytest.raises(KilledError):
            with_teachers.student("T1w_Ss")
    resumed = with_teachers.student("T1w_Ss")
    assert same(weights(resumed), expected[0])
    assert same(weights(resumed, "best"), expected[1])
    assert without_times(resumed) == expected[2]


def validated_as(monkeypatch, *top1):
    """What validation finds in the epochs to come."""
    genuine, figures = loop.Course._validated, iter(top1)

    def changed(self, runs, trained):
        tested = genuine(self, runs, trained)
        tested[0]["validation"]["top1"] = next(figures)
        return tested

    monkeypatch.setattr(loop.Course, "_validated", changed)


def test_the_best_epoch_is_in_best_pt_where_a_repeated_epoch_has_other_bits(bench, monkeypatch):
    """As on a GPU: killed between the two files of the second epoch, whose bits come but once."""
    genuine, saved = checkpoint.save, []

    def kill(path, header, state):
        saved.append(path.name)
        if len(saved) == 4:
            raise KilledError
        genuine(path, header, state)

    with monkeypatch.context() as patch:
        validated_as(patch, 0.5, 0.6)
        patch.setattr(checkpoint, "save", kill)
        with pytest.raises(KilledError):
            bench.student("Sw")
    with monkeypatch.context() as patch:
        validated_as(patch, 0.49, 0.49)
        run = bench.student("Sw")
    best = json.loads(run.metrics.read_text())["best"]
    assert load(run.checkpoint("best"))[0].epoch == best["epoch"]
    assert best["test"]["top1"] == max(r["validation"]["top1"] for r in records(run))


class TestBestOfAnotherEpoch:
    """An earlier version wrote best.pt before last.pt."""

    @pytest.fixture
    def run(self, bench, monkeypatch):
        """Two epochs of three, of which the second is the best; best.pt is of the third."""
        with monkeypatch.context() as patch:
            validated_as(patch, 0.5, 0.6)
            with pytest.raises(StopIteration):
                bench.student("Sw")
        run = bench.run("Sw", 1)
        header, state = load(run.checkpoint("best"))
        save(run.checkpoint("best"), dataclasses.replace(header, epoch=3), state)
        return run

    def test_it_is_written_from_last_pt_where_that_is_the_best(self, run, bench, monkeypatch):
        before = weights(run)
        validated_as(monkeypatch, 0.4)
        bench.student("Sw")
        assert load(run.checkpoint("best"))[0].epoch == 2
        assert same(weights(run, "best"), before)

    def test_else_a_run_goes_on_if_it_is_the_best_again(self, run, bench, monkeypatch, capsys):
        header, state = load(run.checkpoint("last"))
        save(run.checkpoint("last"), header, state | {"best_epoch": 1})
        with monkeypatch.context() as patch:
            validated_as(patch, 0.4)
            assert run_program(train_student.main, bench.flags("Sw")) == 2
        assert "best.pt is of epoch 3, the best is 1: put it back" in capsys.readouterr().err
        assert not run.is_finished()
        save(run.checkpoint("last"), header, state | {"best_epoch": 1})
        validated_as(monkeypatch, 0.7)
        assert load(bench.student("Sw").checkpoint("best"))[0].epoch == 3


def test_a_finished_run_is_left_alone_and_never_replaces_it_only_on_demand(with_teachers, capsys):
    run = with_teachers.teacher("T1w")
    assert "finished" in capsys.readouterr().out
    before = run.metrics.stat().st_mtime_ns
    with_teachers.teacher("T1w")
    assert run.metrics.stat().st_mtime_ns == before
    with_teachers.teacher("T1w", "--resume", "never")
    assert run.metrics.stat().st_mtime_ns > before


def test_other_settings_are_refused_in_the_same_directory(with_teachers):
    with pytest.raises(UserError, match=r"--epochs was 3, now 2.*--resume never"):
        with_teachers.teacher("T1w", "--epochs", 2)


def test_seeds_make_the_difference_between_teachers(taught, bench):
    again = bench.teacher("T1w")
    assert same(weights(again), weights(taught.run("T1w", 1)))
    assert not same(weights(again), weights(bench.teacher("T2w")))
    assert not same(weights(again), weights(bench.student("Sw")))  # of another stream


def test_a_distilled_student_learns_from_its_teachers(with_teachers):
    """With all weight on the labels it is the baseline, with less it is not."""
    baseline = with_teachers.student("Sw")
    labels = with_teachers.student("T1w_Sw", "--ce-weight", 1)
    assert same(weights(baseline), weights(labels))
    taught = with_teachers.student("T1w_Sw", "--resume", "never")
    assert not same(weights(baseline), weights(taught))


def test_the_held_out_share_selects_and_the_test_set_only_tests(bench):
    run = bench.student("Sw", "--holdout-fraction", 0.2)
    metrics = json.loads(run.metrics.read_text())
    assert metrics["selected_on"] == "holdout"
    top1 = [record["validation"]["top1"] for record in records(run)]
    assert metrics["best"]["epoch"] == top1.index(max(top1)) + 1
    full = json.loads(bench.student("Ss").metrics.read_text())["train_images"]
    assert metrics["train_images"] < full
    assert metrics["last"]["test"]["top1"] != top1[-1]


def test_mixed_precision_on_the_cpu(bench):
    run = bench.teacher("T1w", "--amp", "bf16", "--epochs", 1)
    assert weights(run)["fc.weight"].dtype == torch.float32
    assert records(run)[0]["train"]["loss"] < 3


def test_tensorboard_gets_the_epochs_where_it_is_installed(bench):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = bench.teacher("T1w", "--epochs", 2)
    events = EventAccumulator(str(run.tensorboard)).Reload()
    top1 = [event.value for event in events.Scalars("validation/top1")]
    assert top1 == pytest.approx([record["validation"]["top1"] for record in records(run)])


class TestFewImages:
    """Nets that end in maps of one pixel, by which BatchNorm cannot normalise one image."""

    NET = ("--arch", "shufflenet_v2_x0_5", "--image-size", 32, "--epochs", 1)
    FEW = ("--max-train-images", 12, "--max-test-images", 3, "--batch-size", 4)  # long-tailed: 5

    def test_a_last_batch_of_one(self, bench):
        run = bench.teacher("T1w", *self.NET, *self.FEW)
        assert records(run)[0]["train"]["loss"] > 0
        run = bench.student("T1w_Sw", *self.NET, *self.FEW, "--teacher-batchnorm", "batch")
        assert json.loads(run.metrics.read_text())["train_images"] == 5

    @pytest.mark.parametrize(
        "flags",
        [
            ("--batch-size", 500, "--max-train-images", 40),
            ("--batch-size", 500, "--max-train-images", 40, "--drop-last", "yes"),
            ("--batch-size", 2, "--max-train-images", 12, "--drop-last", "yes"),
            ("--max-train-images", 3),  # long-tailed: 2
        ],
    )
    def test_less_than_a_batch_trains(self, bench, flags):
        few = ("--max-test-images", 8, "--epochs", 1)
        assert len(records(bench.student("Sw", *few, *flags))) == 1

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            (("--max-train-images", 1), "too few images to train on: 1 of at least 2"),
            (("--holdout-fraction", 0.999), "leaves no image to train on: lower it"),
            (("--holdout-fraction", 0.5, "--max-train-images", 1), "leaves no image"),
        ],
    )
    def test_too_few_are_refused_before_training(self, bench, capsys, flags, message):
        assert run_program(train_student.main, bench.flags("Sw", *flags)) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
        assert not bench.run("Sw", 1).path.exists()

    def test_each_process_needs_two_of_a_batch(self):
        config = StudentConfig(dataset=DATASET, cell="Sw", batch_size=4, device="cpu")
        with pytest.raises(UserError, match="--batch-size 4 is of all 3 processes"):
            load_data(config, Ranks(rank=1, size=3))

    def test_adopting_weights_needs_no_training_image(self, taught, bench):
        weights = bench.folder.parent / "weights.pt"
        torch.save(load(taught.run("T1w", 1).checkpoint("last"))[1]["model"], weights)
        flags = ("--pretrained", weights, "--epochs", 0, "--max-train-images", 1)
        assert bench.teacher("T2w", *flags, "--max-test-images", 8).is_finished()

    @pytest.mark.parametrize("held_out", [0, 0.2])
    def test_all_batches_of_adopting_weights_are_counted(self, bench, monkeypatch, held_out):
        made = []

        class Kept(loop.Progress):
            def __init__(self, *args, **settings):
                super().__init__(*args, **settings)
                made.append(self)

        monkeypatch.setattr(loop, "Progress", Kept)
        file = bench.folder.parent / "weights.pt"
        torch.save(build_model("resnet8", 10).state_dict(), file)
        flags = ("--pretrained", file, "--epochs", 0, "--max-test-images", 8, "--batch-size", 4)
        bench.teacher("T1w", *flags, "--holdout-fraction", held_out)
        (progress,) = made
        assert progress.total == progress.done == 2

    def test_the_weights_that_it_began_with_stay_on_record(self, bench):
        file = bench.folder.parent / "weights.pt"
        flags = ("--pretrained", file, "--epochs", 0, "--max-test-images", 8)
        torch.save(build_model("resnet8", 10).state_dict(), file)
        first = sha256(file)
        run = bench.teacher("T1w", *flags)
        run.metrics.unlink()
        torch.save(build_model("resnet8", 10).state_dict(), file)
        assert bench.teacher("T1w", *flags) == run
        record = json.loads(run.environment.read_text())
        assert len(record["sessions"]) == 2
        assert record["pretrained"]["sha256"] == first != sha256(file)

    def test_a_run_goes_on_without_the_file_that_it_began_with(self, bench, capsys):
        file = bench.folder.parent / "weights.pt"
        torch.save(build_model("resnet8", 10).state_dict(), file)
        flags = ("--pretrained", file, "--epochs", 1, "--max-train-images", 32)
        run = bench.teacher("T1w", *flags)
        before, trained = run.read_metrics(), weights(run)
        run.metrics.unlink()
        file.unlink()
        bench.teacher("T1w", *flags)
        assert run.read_metrics() == before
        assert same(weights(run), trained)
        assert run_program(train_teacher.main, bench.flags("T1w", *flags, "--resume", "never")) == 2
        assert "no weights at" in capsys.readouterr().err
        assert run.is_finished()


class TestErrors:
    def fails(self, program, argv, capsys, code=UserError.exit_code):
        assert run_program(program, argv) == code
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "Traceback" not in error
        return error

    def test_missing_teacher(self, bench, capsys):
        error = self.fails(train_student.main, bench.flags("T3w_Sw"), capsys)
        assert "teacher T3w of T3w_Sw is missing" in error
        place = f"--output-dir {bench.folder} --recipe {bench.recipe}\n"
        command = f"train_teacher.py --dataset synthetic_imb10 --cell T3w {place}"
        assert command in error
        assert not bench.run("T3w_Sw", 1).path.exists()

    def test_unfinished_teacher(self, with_teachers, capsys):
        with_teachers.run("T1w", 1).metrics.unlink()
        error = self.fails(train_student.main, with_teachers.flags("T1w_Sw"), capsys)
        assert "teacher T1w of T1w_Sw is not finished" in error

    def test_truncated_teacher(self, with_teachers, capsys):
        path = with_teachers.run("T1w", 1).checkpoint("last")
        path.write_bytes(path.read_bytes()[:1000])
        error = self.fails(train_student.main, with_teachers.flags("T1w_Sw"), capsys)
        assert "truncated" in error
        assert "last.pt" in error

    def test_teacher_of_other_classes(self, with_teachers, capsys):
        path = with_teachers.run("T1w", 1).checkpoint("last")
        other = build_model("resnet8", 7)
        save(path, Header("resnet8", 7, IMAGE_SIZE, 3), {"model": other.state_dict()})
        error = self.fails(train_student.main, with_teachers.flags("T1w_Sw"), capsys)
        assert "has 7 classes, synthetic_imb10 has 10" in error

    def test_teacher_of_another_image_size(self, with_teachers, capsys):
        argv = with_teachers.flags("T1w_Sw", "--image-size", 40)
        error = self.fails(train_student.main, argv, capsys)
        assert f"trained at {IMAGE_SIZE} pixels, the student's --image-size is 40" in error

    def test_teacher_that_changed_meanwhile(self, with_teachers, capsys):
        run = with_teachers.student("T1w_Sw")
        run.metrics.unlink()
        path = with_teachers.run("T1w", 1).checkpoint("last")
        torch.save(torch.load(path, weights_only=True) | {"note": 1}, path)
        error = self.fails(train_student.main, with_teachers.flags("T1w_Sw"), capsys)
        assert "teacher T1w" in error
        assert "changed since" in error

    def test_loss_that_explodes_keeps_the_last_good_epoch(self, bench, capsys):
        argv = bench.flags("Sw", "--lr", 1000, "--weight-decay", 1000, "--epochs", 2)
        error = self.fails(train_student.main, argv, capsys, DivergedError.exit_code)
        assert "the loss became" in error
        assert "Sw  stopped: Sw seed 1: the loss became" in bench.run("Sw", 1).log.read_text()
        assert not bench.run("Sw", 1).checkpoint("last").exists()

    def test_full_disk(self, bench, capsys):
        """The limit on file size stands in for the disk: both make the write fail halfway."""
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        try:
            error = self.fails(train_student.main, bench.flags("Sw"), capsys)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, handler)
        assert "File too large" in error
        run = bench.run("Sw", 1)
        assert not list(run.path.glob("*.pt"))
        assert not list(run.path.glob(".*"))

    def test_damaged_records(self, with_teachers, capsys):
        run = with_teachers.run("T1w", 1)
        run.metrics.unlink()
        run.epochs.write_text("{half a li")
        error = self.fails(train_teacher.main, with_teachers.flags("T1w"), capsys)
        assert "epochs.jsonl, line 1 is damaged" in error
        assert "start anew with --resume never" in error

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            (["--arch", "resnet19"], "unknown architecture"),
            (["--pretrained", "gone.pt"], "no weights at gone.pt"),
            (["--train-list", "gone.txt"], "cannot read the image list gone.txt"),
            (["--device", "abacus"], "--device abacus"),
            (["--device", "cuda:99"], "--device cuda:99"),
            (["--holdout-fraction", "0.0001"], "leaves no image"),
        ],
    )
    def test_bad_values(self, bench, capsys, flags, message):
        assert message in self.fails(train_student.main, bench.flags("Sw", *flags), capsys)
        assert not bench.run("Sw", 1).path.exists()


def test_a_run_says_how_long_it_waited_for_images(bench, capsys):
    run = bench.student("Sw", "--epochs", 1)
    said = [line for line in capsys.readouterr().out.splitlines() if "made its images" in line]
    assert len(said) == 1
    share = int(said[0].split("images ")[1].split("%")[0])
    assert 0 < share < 100  # without workers the views are made in the step
    assert said[0] in run.log.read_text()


def test_a_run_is_not_resumed_under_another_view(bench, monkeypatch, capsys):
    run = bench.student("Ss", "--epochs", 1)
    run.metrics.unlink()
    monkeypatch.setattr("dataloader.views.REVISION", "other")
    assert run_program(train_student.main, bench.flags("Ss", "--epochs", 1)) == 2
    assert "changed since it began" in capsys.readouterr().err


def test_at_strength_0_the_strong_view_trains_as_the_weak_one(bench):
    weak, strong = bench.student("Sw"), bench.student("Ss", "--strength", 0)
    assert same(weights(weak), weights(strong))
    assert not same(weights(weak), weights(bench.student("Ss", "--resume", "never")))
    assert yaml.safe_load(strong.config.read_text())["strength"] == 1.0
