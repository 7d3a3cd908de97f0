import dataclasses

import pytest
import yaml

from dataloader.errors import UserError
from engine.config import (
    StudentConfig,
    TeacherConfig,
    changed_settings,
    to_yaml,
)
from engine.flags import RECIPE_FOLDER, read_recipe, resolve


def recipe(tmp_path, text):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return str(path)


def one(config_class, argv):
    (config,) = resolve(config_class, argv)
    return config


def test_flags_over_role_over_common_over_defaults(tmp_path):
    path = recipe(tmp_path, "common: {epochs: 5, lr: 1}\nstudent: {epochs: 7}\nteacher: {lr: 3}\n")
    config = one(StudentConfig, ["--cell", "Sw", "--recipe", path, "--batch-size", "32"])
    assert (config.epochs, config.lr, config.batch_size, config.momentum) == (7, 1.0, 32, 0.9)
    assert isinstance(config.lr, float)
    assert one(TeacherConfig, ["--cell", "T1w", "--recipe", path]).epochs == 5


def test_several_cells_and_seeds_are_all_their_pairs():
    configs = resolve(
        StudentConfig, ["--dataset", "synthetic", "--cells", "0T", "T1w_Sw", "--seeds", "2", "3"]
    )
    pairs = [(config.cell, config.seed) for config in configs]
    assert pairs == [(cell, seed) for seed in (2, 3) for cell in ("Sw", "Ss", "T1w_Sw")]
    assert {config.epochs for config in configs} == {10}
    teachers = resolve(TeacherConfig, ["--dataset", "synthetic", "--cells", "T2s", "T1w"])
    assert [(teacher.cell, teacher.seed) for teacher in teachers] == [("T2s", 2), ("T1w", 1)]


def test_every_setting_has_a_flag_and_a_help_text():
    for setting in dataclasses.fields(StudentConfig):
        assert setting.metadata["help"], setting.name
    config = one(
        StudentConfig, ["--dataset", "synthetic", "--cell", "Sw", "--milestones", "3", "5"]
    )
    assert config.milestones == (3, 5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("common: {epoch: 5}", "unknown setting 'epoch', did you mean 'epochs'"),
        ("common: {epochs: five}", "epochs is 'five', which is not int"),
        ("common: {epochs: 1.5}", "epochs is 1.5, which is not int"),
        ("common: {epochs: true}", "epochs is True, which is not int"),
        ("common: {schedule: linear}", "schedule is 'linear': use multistep or cosine"),
        ("common: {milestones: [1, x]}", "milestones is"),
        ("pupil: {epochs: 5}", "unknown section 'pupil'"),
        ("common: 3", "section common is no mapping"),
        ("[1, 2]", "is no recipe"),
        ("common: {a: [", "is no YAML file"),
        ("!!python/object/apply:os.system ['true']", "is no YAML file"),
        ("common: {epochs: -1}", "--epochs is -1: at least 0"),
        ("student: {ce_weight: 1.5}", "--ce-weight is 1.5: at least 0 and at most 1"),
        ("student: {temperature: 0}", "--temperature is 0.0: above 0"),
    ],
)
def test_bad_recipes_are_told_in_one_line(tmp_path, text, message):
    with pytest.raises(UserError) as error:
        resolve(StudentConfig, ["--cell", "Sw", "--recipe", recipe(tmp_path, text)])
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--cell", "Sw", "--epoch", "3"], "unrecognized arguments: --epoch"),
        (["--cell", "Sw", "--epochs", "x"], "invalid int value"),
        (["--cell", "T1w"], "unknown student cell"),
        ([], "--cell is needed, or --cells for several"),
        (["--cell", "Sw", "--cells", "Ss"], "use --cell or --cells, not both"),
        (["--cells", "Sw", "--seed", "1", "--seeds", "2"], "use --seed or --seeds, not both"),
        (["--cells", "Sw", "T9x_Sw"], "unknown student cell 'T9x_Sw'"),
        (["--cells", "T"], "unknown student cell 'T1w'"),
        (["--cell", "Sw", "--recipe", "gone.yaml"], "no recipe at gone.yaml"),
        (["--cell", "Sw", "--dataset", "MNIST"], "--dataset MNIST has no recipe of its own, "),
    ],
)
def test_bad_flags_are_told_in_one_line(flags, message):
    with pytest.raises(UserError) as error:
        resolve(StudentConfig, flags)
    assert message in str(error.value)


def test_the_saved_settings_are_the_settings(tmp_path):
    config = one(StudentConfig, ["--dataset", "synthetic", "--cell", "T1w_Ss"])
    saved = yaml.safe_load(to_yaml(config))
    assert changed_settings(saved, config) == []
    faster = dataclasses.replace(config, workers=8, device="cpu", output_dir="elsewhere")
    assert changed_settings(saved, faster) == []
    other = dataclasses.replace(config, epochs=99)
    assert changed_settings(saved, other) == ["--epochs was 10, now 99"]


def test_a_teachers_number_is_its_seed_and_students_have_streams_of_their_own():
    weak = one(TeacherConfig, ["--dataset", "synthetic", "--cell", "T2w"])
    strong = one(TeacherConfig, ["--dataset", "synthetic", "--cell", "T2s"])
    student = one(StudentConfig, ["--dataset", "synthetic", "--cell", "Sw", "--seed", "2"])
    assert weak.seed == weak.stream == strong.stream == 2
    assert student.stream != weak.stream


@pytest.mark.parametrize("path", sorted(RECIPE_FOLDER.glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_recipes_are_valid_for_both_roles(path):
    for config_class, cell in ((TeacherConfig, "T1w"), (StudentConfig, "T1w_Sw")):
        config = config_class(cell=cell, **read_recipe(path, config_class))
        assert config.lr == 0.1


def test_the_published_protocol():
    teacher = one(TeacherConfig, ["--dataset", "CIFAR100", "--cell", "T1s"])
    assert (teacher.arch, teacher.epochs, teacher.milestones) == ("resnet50", 61, (25, 40, 60))
    assert (teacher.pretrained, teacher.image_size) == ("resnet50.pt", 224)
    student = one(StudentConfig, ["--dataset", "CIFAR100_imb100", "--cell", "T1s_Ss"])
    assert (student.arch, student.epochs, student.milestones) == ("resnet18", 175, (160, 165, 170))
    assert (student.temperature, student.ce_weight, student.pretrained) == (3.0, 0.6, "none")
    shared = (student.lr, student.momentum, student.weight_decay, student.batch_size)
    assert shared == (0.1, 0.9, 0.0, 128)
    assert student.warmup_epochs == 8


def test_a_flag_that_is_no_or_yes_needs_no_value():
    assert one(StudentConfig, ["--cell", "Sw"]).sync_batchnorm == "no"
    for given in (["--sync-batchnorm"], ["--sync-batchnorm", "yes"]):
        assert one(StudentConfig, ["--cell", "Sw", *given]).sync_batchnorm == "yes"
    flags = ["--deterministic", "--cell", "Sw", "--drop-last", "no"]
    assert one(StudentConfig, flags).deterministic == "yes"


@pytest.mark.parametrize("recipe", ["cifar100", "cifar100_imb100", "imagenet", "imagenet_lt"])
def test_the_published_recipes_run_in_bf16(recipe):
    flags = ["--cell", "Sw", "--recipe", str(RECIPE_FOLDER / f"{recipe}.yaml")]
    assert one(StudentConfig, flags).amp == "bf16"
    assert one(StudentConfig, [*flags, "--amp", "none"]).amp == "none"
