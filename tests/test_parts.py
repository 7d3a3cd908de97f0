"""Nets that look at half of each image, when they are trained, asked and measured."""

import json

import pytest
import torch
from conftest import DATASET, IMAGE_SIZE, TINY, Bench, inputs
from test_side_by_side import result, same, several
from test_training import records, weights
from torchvision.models import VisionTransformer

import train_student
from common.errors import UserError
from dataloader.datasets import load_split
from engine.checkpoint import Header, load, load_model, save, seeing
from engine.config import StudentConfig, TeacherConfig
from engine.questions import parts_heard, questions_of
from evaluation.options import MeasureOptions, OverlapOptions
from evaluation.outputs import OutputStore
from evaluation.overlap_table import publish_overlap
from evaluation.report import Tables, overlaps_of, with_measures
from metrics.half_images import masks_of_half
from metrics.overlap import binarize
from models.parts import part_of, part_seen, see
from models.registry import build_model

FEW = ("--max-train-images", 300, "--max-test-images", 40, "--epochs", 2)
HALF = IMAGE_SIZE // 2


class TestParts:
    def test_columns_are_cut(self):
        image = torch.arange(6.0).expand(1, 3, 2, 6)
        assert part_of(image, "left")[0, 0, 0].tolist() == [0, 1, 2]
        assert part_of(image, "right")[0, 0, 0].tolist() == [3, 4, 5]
        assert part_of(image, "whole") is image

    def test_the_middle_of_an_odd_width_is_in_neither(self):
        image = torch.arange(5.0).expand(1, 3, 2, 5)
        assert part_of(image, "left")[0, 0, 0].tolist() == [0, 1]
        assert part_of(image, "right")[0, 0, 0].tolist() == [3, 4]

    def test_a_net_is_blind_to_the_other_half_until_it_sees_another(self):
        model, image = build_model("resnet8", 10).eval(), torch.randn(2, 3, 16, 16)
        weights, whole = dict(model.state_dict()), model(image)
        expected = model(part_of(image, "right"))
        torch.testing.assert_close(model(image[..., 8:]), expected)
        assert see(model, "right") is model
        assert torch.equal(model(image), expected)
        image[..., :8] = 0
        assert torch.equal(model(image), expected)
        assert part_seen(see(model, "left")) == "left"
        assert not torch.equal(model(image), expected)
        assert torch.equal(see(see(model, "whole"), "whole")(image), model(image))
        assert not torch.equal(whole, expected)
        assert model.state_dict().keys() == weights.keys()

    def test_who_is_asked_about_what(self):
        teachers = StudentConfig(cell="T1w_T2w_T3w_Sw").heard
        expected = {
            "trained": ["trained"] * 3,
            "whole": ["whole"] * 3,
            "halves": ["left", "right", "left"],
            "same-half": ["left"] * 3,
        }
        for see_, parts in expected.items():
            assert list(parts_heard(see_, teachers).values()) == parts
        config = StudentConfig(cell="T1w_T2w_Sw", teachers_see="halves")
        assert list(questions_of(config)) == ["T1w left", "T2w right"]
        assert list(questions_of(StudentConfig(cell="T1w_Sw"))) == ["T1w"]
        assert not questions_of(TeacherConfig(cell="T1w", sees="left"))


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """Two whole teachers, two halves and students of both; to be read, not changed."""
    folder = tmp_path_factory.mktemp("parts")
    (folder / "tiny.yaml").write_text(TINY)
    bench = Bench(folder / "runs", folder / "tiny.yaml")
    for cell in ("T1w", "T2w"):
        bench.teacher(cell, *FEW)
    bench.teacher("T1w+left", *FEW, "--sees", "left")
    bench.teacher("T2w+right", *FEW, "--sees", "right")
    bench.student("T1w_T2w_Sw", *FEW)
    bench.student("T1w+left_T2w+right_Sw", *FEW)
    for see_ in ("whole", "halves", "same-half"):
        bench.student(f"T1w_T2w_Sw+{see_}", *FEW, "--teachers-see", see_)
    return bench


def seen_in_test():
    return inputs(load_split(DATASET, "test", None, most=40))


def predicted(bench, cell, images):
    with torch.no_grad():
        return load_model(bench.run(cell, 1).checkpoint("last"))[1](images).argmax(1)


class TestTraining:
    def test_a_teacher_keeps_its_half(self, bench):
        header, model = load_model(bench.run("T2w+right", 1).checkpoint("last"))
        assert header.sees == part_seen(model) == "right"
        images = seen_in_test()
        answers = model(images)
        images[..., :HALF] = 7
        assert torch.equal(model(images), answers)
        assert load(bench.run("T1w", 1).checkpoint("last"))[0].sees == "whole"
        assert not same(weights(bench.run("T2w+right", 1)), weights(bench.run("T2w", 1)))

    @pytest.mark.parametrize(
        ("cell", "parts"),
        [
            ("T1w_T2w_Sw", (slice(None), slice(None))),
            ("T1w_T2w_Sw+whole", (slice(None), slice(None))),
            ("T1w_T2w_Sw+halves", (slice(HALF), slice(HALF, None))),
            ("T1w_T2w_Sw+same-half", (slice(HALF), slice(HALF))),
            ("T1w+left_T2w+right_Sw", (slice(None), slice(None))),
        ],
    )
    def test_fidelity_is_to_the_teachers_as_they_teach(self, bench, cell, parts):
        recorded, images = records(bench.run(cell, 1))[-1]["validation"], seen_in_test()
        student = predicted(bench, cell, images)
        for teacher, part in zip(cell.split("_")[:-1], parts, strict=True):
            expected = (student == predicted(bench, teacher, images[..., part])).double().mean()
            assert recorded[f"fidelity_{teacher}"] == pytest.approx(expected.item(), abs=0.026)

    def test_whole_teachers_that_see_the_whole_teach_as_trained(self, bench):
        plain, whole, *others = (
            weights(bench.run(f"T1w_T2w_Sw{v}", 1)) for v in ("", "+whole", "+halves", "+same-half")
        )
        assert same(plain, whole)
        assert not any(same(plain, other) for other in others)

    def test_students_who_ask_otherwise_learn_side_by_side(self, bench):
        expected = result(bench.run("T1w_T2w_Sw+halves", 1))
        flags = [*map(str, FEW), "--resume", "never", "--teachers-see", "halves"]
        train_student.main(several(bench, "T1w_T2w_Sw+halves", "T1w_Sw+first", flags=flags))
        assert same(result(bench.run("T1w_T2w_Sw+halves", 1)), expected)
        teachers = json.loads(bench.run("T1w_Sw+first", 1).environment.read_text())["teachers"]
        assert set(teachers) == {"T1w"}


def test_a_net_of_a_fixed_size_is_refused():
    model = VisionTransformer(32, 16, 1, 1, 8, 8)
    with pytest.raises(UserError, match=r"tiny cannot see half of an image \(left\): its layers"):
        seeing(model, "left", 32, "tiny")


class TestCheckpoint:
    def test_one_older_than_the_field_sees_the_whole(self, tmp_path):
        save(
            tmp_path / "a.pt",
            Header("resnet8", 3, 16, 1),
            {"model": build_model("resnet8", 3).state_dict()},
        )
        content = torch.load(tmp_path / "a.pt", weights_only=True)
        del content["header"]["sees"]
        torch.save(content, tmp_path / "a.pt")
        assert load_model(tmp_path / "a.pt")[0].sees == "whole"

    @pytest.mark.parametrize("sees", ["top", 3, None])
    def test_an_unknown_part_is_refused(self, tmp_path, sees):
        header = Header("resnet8", 3, 16, 1, False, sees)
        save(tmp_path / "a.pt", header, {"model": build_model("resnet8", 3).state_dict()})
        with pytest.raises(UserError, match="its header is none"):
            load_model(tmp_path / "a.pt")


class TestMeasuring:
    @pytest.fixture
    def store(self, bench):
        options = MeasureOptions(dataset=DATASET, output_dir=str(bench.folder))
        return OutputStore(options)

    def test_a_half_teacher_answers_about_its_half(self, bench, store):
        run = bench.run("T2w+right", 1)
        found = store.answers(run).predictions
        assert torch.equal(found, predicted(bench, "T2w+right", seen_in_test()))
        assert store.maps(run).of_class.shape[-2:] == (4, 2)

    def test_teachers_are_asked_as_they_taught_and_outputs_do_not_mix(self, bench, store):
        teacher, images = bench.run("T2w", 1), seen_in_test()
        expected = {
            "": images, "+whole": images, "+halves": images[..., HALF:],
            "+same-half": images[..., :HALF],
        }  # fmt: skip
        for _ in range(2):
            assert torch.equal(store.answers(teacher).predictions, predicted(bench, "T2w", images))
            for variant, seen in expected.items():
                student = bench.run(f"T1w_T2w_Sw{variant}", 1)
                found = store.answers(teacher, like=student)
                assert torch.equal(found.predictions, predicted(bench, "T2w", seen)), variant
        names = {path.stem for path in teacher.outputs.glob("*.npz")}
        parts = ("", "-whole", "-right", "-left")
        kinds = ("", "-maps", "-features")
        assert names == {f"test-test{part}{kind}" for part in parts for kind in kinds}

    def test_overlap_in_the_image_and_as_published(self, bench):
        """Of a left and a right half: nothing in the image, and something place by place."""
        students = ("T1w+left_T2w+right_Sw", "T1w_T2w_Sw", "T1w_T2w_Sw+halves")
        for group in ("T_T", "T_S"):
            options = OverlapOptions(
                dataset=DATASET, output_dir=str(bench.folder), cells=students, group=group
            )
            publish_overlap(options)
        rows = {
            group: {
                row["cell"]: row
                for row in json.loads((options.folder / f"iou_{group}.json").read_text())
                if row.get("pair") in (None, "T1w_T2w-S", "T1w+left_T2w+right-S")
            }
            for group in ("T_T", "T_S")
        }
        halves = rows["T_T"]["T1w+left_T2w+right"]
        assert halves["iou_in_image"] == 0
        assert halves["iou"] > 0
        assert "object_iou" not in halves
        assert halves["cell"] and rows["T_T"]["T1w_T2w"].get("iou_in_image") is None
        assert rows["T_S"]["T1w_T2w_Sw+halves"]["iou_in_image"] == 0
        asked = rows["T_T"]["T1w_T2w_Sw+halves"]  # of whole teachers
        assert asked["iou_in_image"] == 0 and asked["iou"] != rows["T_T"]["T1w_T2w"]["iou"]
        cells = [{"cell": str(cell), "seeds": 1} for cell in students]
        overlaps = overlaps_of([bench.run(cell, 1) for cell in students])
        reported = with_measures(cells, Tables(options.folder), overlaps)
        assert [row["iou_teachers"] for row in reported] == [
            rows["T_T"][name]["iou"]
            for name in ("T1w+left_T2w+right", "T1w_T2w", "T1w_T2w_Sw+halves")
        ]
        assert rows["T_S"]["T1w_T2w_Sw"].get("iou_in_image") is None


class TestMasksOfHalves:
    def test_they_stand_in_their_place(self):
        maps = torch.tensor([[[0.0, 1.0], [0.0, 1.0]]])
        left = masks_of_half(maps, 4, right=False)[0]
        right = masks_of_half(maps, 4, right=True)[0]
        assert left.int().tolist() == [[0, 1, 0, 0]] * 4
        assert right.int().tolist() == [[0, 0, 0, 1]] * 4

    def test_of_an_odd_size_the_middle_is_nobodys(self):
        maps = torch.rand(3, 4, 2, generator=torch.Generator().manual_seed(0))
        left, right = (
            masks_of_half(maps, 7, right=right, threshold=0.1) for right in (False, True)
        )
        assert left[..., :3].any() and not left[..., 3:].any()
        assert right[..., 4:].any() and not right[..., :4].any()
        assert torch.equal(left[..., :3], right[..., 4:])
        assert torch.equal(left[..., :3], binarize(maps, (7, 3), threshold=0.1))

    def test_one_pixel_has_no_halves(self):
        with pytest.raises(ValueError, match="size: expected two pixels"):
            masks_of_half(torch.rand(1, 2, 2), 1, right=True)
