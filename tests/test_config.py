import dataclasses

import pytest
import yaml

from common.errors import UserError
from common.random_streams import derive_seed
from common.settings import known_settings, read_yaml
from engine.config import (
    StudentConfig,
    TeacherConfig,
    changed_settings,
    teacher_stream,
    to_yaml,
)
from engine.flags import RECIPE_FOLDER, read_recipe, resolve
from engine.torchrun import processes_here


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
    assert [(teacher.cell, teacher.seed) for teacher in teachers] == [("T2s", 1), ("T1w", 1)]


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
        ("common: {epochs: five}", "epochs is 'five': a whole number is needed"),
        ("common: {epochs: 1.5}", "epochs is '1.5': a whole number is needed"),
        ("common: {epochs: true}", "epochs is 'true': a whole number is needed"),
        ("common: {epochs: }", "epochs is empty: a whole number is needed"),
        ("common: {epochs: [1]}", "epochs is ['1']: a whole number is needed"),
        ("common: {epochs: 1:30}", "epochs is '1:30': a whole number is needed"),
        ("common: {epochs: 0x10}", "epochs is '0x10': a whole number is needed"),
        ("common: {epochs: 0o10}", "epochs is '0o10': a whole number is needed"),
        ("common: {epochs: 0b11}", "epochs is '0b11': a whole number is needed"),
        ("common: {epochs: 1_000}", "epochs is '1_000': a whole number is needed"),
        ("common: {epochs: 2026-01-02}", "epochs is '2026-01-02': a whole number is needed"),
        ("common: {epochs: \u0663}", "epochs is '\u0663': a whole number is needed"),
        ("common: {lr: .inf}", "lr is '.inf': a number is needed, such as 0.1 or 5e-4"),
        ("common: {lr: 1:30.5}", "lr is '1:30.5': a number is needed"),
        ("common: {lr: fast}", "lr is 'fast': a number is needed"),
        ("common: {lr: 1e999}", "--lr is inf: a finite number is needed"),
        ("common: {mean: [.5, {a: 1}]}", "mean is ['.5', {'a': '1'}]: a number is needed"),
        ("common: {arch: [a]}", "arch is ['a']: a word is needed"),
        ("common: {drop_last: maybe}", "drop_last is 'maybe': use no or yes"),
        ("common: {lr: 1, lr: 2}", "'lr' stands twice (line 1): keep one"),
        ("common:\n  lr: 1\nstudent: {}\ncommon:\n  lr: 2", "'common' stands twice (line 4)"),
        ("teacher: {a: 1, a: 2}", "'a' stands twice"),
        ("common: {[a]: 1}", "is no YAML file: line 1 has a name that is no word"),
        ("common: {epochs: !!int 5}", "is no YAML file: a tag"),
        ("teacher: 0", "section teacher is no mapping"),
        ("student: []", "section student is no mapping"),
        ('common: {output_dir: "a\\0b"}', "--output-dir is 'a\\x00b': use UTF-8, without NUL"),
        ("common: {dataset: ../up}", "--dataset is '../up', which names a folder"),
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
        (["--cell", "Sw", "--epochs", "x"], "argument --epochs: 'x': a whole number is needed"),
        (["--cell", "Sw", "--epochs", "1_0"], "argument --epochs: '1_0': a whole number is needed"),
        (["--cell", "Sw", "--seed", "\u0663"], "argument --seed: '\u0663': a whole number"),
        (["--cell", "Sw", "--lr", "nan"], "argument --lr: 'nan': a number is needed"),
        (["--cell", "Sw", "--dataset", "../recipes/cifar100"], "which names a folder: use letters"),
        (["--cell", "Sw", "--dataset", ""], "which names a folder: use letters"),
        (["--cell", "Sw", "--dataset", "a" * 101], "first a letter or a digit, at most 100"),
        (["--cell", "Sw", "--data-path", "\udcff"], "--data-path is '\\udcff': use UTF-8"),
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


def test_a_replicate_draws_for_each_number_once_whatever_the_view():
    weak, strong = (
        one(TeacherConfig, ["--dataset", "synthetic", "--cell", c]) for c in ("T2w", "T2s")
    )
    assert weak.stream == strong.stream == 2
    again = one(TeacherConfig, ["--dataset", "synthetic", "--cell", "T2w", "--seed", "2"])
    student = one(StudentConfig, ["--dataset", "synthetic", "--cell", "Sw", "--seed", "2"])
    assert len({weak.stream, again.stream, student.stream}) == 3


def test_no_two_streams_are_alike():
    teachers = {teacher_stream(number, seed) for number in range(1, 10) for seed in range(51)}
    students = {StudentConfig(cell="Sw", seed=seed).stream for seed in range(51)}
    assert len(teachers) == 9 * 51
    assert not teachers & students
    # What is drawn has further numbers in its key (epoch, index), and 32-bit words fill it up.
    hashed = [stream for stream in teachers if stream > 9]
    assert min(hashed) > 2**40
    assert len({derive_seed("views", stream, 0, 7) for stream in teachers | students}) == 10 * 51


def test_students_learn_from_the_teachers_of_their_seed():
    flags = ["--dataset", "synthetic", "--cells", "Sw", "T1w_Sw", "--seeds", "1", "3"]
    assert [config.teacher_seed for config in resolve(StudentConfig, flags)] == [1, 1, 3, 3]
    given = resolve(StudentConfig, [*flags, "--teacher-seed", "2"])
    assert [config.teacher_seed for config in given] == [2, 2, 2, 2]


def test_older_students_learnt_from_the_teachers_of_seed_1():
    plain, taught = (StudentConfig(cell=cell, seed=2, teacher_seed=2) for cell in ("Sw", "T1w_Sw"))
    saved = [{"cell": config.cell, "seed": 2} for config in (plain, taught)]
    assert changed_settings(saved[0], plain) == []
    assert changed_settings(saved[1], taught) == ["--teacher-seed was 1, now 2"]


@pytest.mark.parametrize("path", sorted(RECIPE_FOLDER.glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_recipes_are_valid_for_both_roles(path):
    for config_class, cell in ((TeacherConfig, "T1w"), (StudentConfig, "T1w_Sw")):
        config = config_class(cell=cell, **read_recipe(path, config_class))
        literature = {0.05} if path.stem.startswith("literature") else {0.1, 0.2}
        assert config.lr in (literature if config.optimizer == "sgd" else {5e-4})


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


def test_numbers_and_switches_are_read_as_they_are_naturally_written(tmp_path):
    """YAML 1.1 itself reads `5e-4` as text, `010` as 8 and `yes` as True."""
    text = """
common: {weight_decay: 5e-4, lr: 1e-3, epochs: 010, momentum: "0.5", drop_last: yes}
student: {temperature: 4., decay: .5, deterministic: off, milestones: 5, dataset: 2020}
teacher:
"""
    config = one(StudentConfig, ["--cell", "Sw", "--recipe", recipe(tmp_path, text)])
    assert (config.weight_decay, config.lr, config.epochs, config.momentum) == (5e-4, 1e-3, 10, 0.5)
    assert (config.temperature, config.decay, config.milestones) == (4.0, 0.5, (5,))
    assert (config.drop_last, config.deterministic, config.dataset) == ("yes", "no", "2020")
    teacher = one(TeacherConfig, ["--cell", "T1w", "--recipe", recipe(tmp_path, text)])
    assert teacher.drop_last == "yes"


@pytest.mark.parametrize(
    ("written", "meant"),
    [("yes", "yes"), ("True", "yes"), ("on", "yes"), ("'no'", "no"), ("OFF", "no"), ("no", "no")],
)
def test_a_switch_in_a_recipe(tmp_path, written, meant):
    path = recipe(tmp_path, f"common: {{drop_last: {written}}}")
    assert one(StudentConfig, ["--cell", "Sw", "--recipe", path]).drop_last == meant


def test_saved_settings_are_read_back_as_they_were(tmp_path):
    """Words that YAML 1.1 takes for something else among them."""
    path = tmp_path / "config.yaml"
    for words in ({}, {"data_path": "1:30", "arch": "null", "pretrained": "5e-4", "device": "~"}):
        numbers = {"lr": 1e-05, "weight_decay": 5e-4, "milestones": (5,), "mean": (0.1, 0.2, 1e-9)}
        config = StudentConfig(cell="T1w_Ss", std=(1.0, 0.5, 0.25), drop_last="yes",
                               **numbers, **words)  # fmt: skip
        path.write_text(to_yaml(config))
        assert StudentConfig(**known_settings(StudentConfig, read_yaml(path), path)) == config


def test_a_file_is_read_as_it_is_now_whatever_was_made_of_it_before(tmp_path):
    path = tmp_path / "config.yaml"
    for text in ("a: [1]", "a: [2]", "a: [1]"):
        path.write_text(text)
        assert read_yaml(path) == {"a": [text[4]]}
        read_yaml(path)["a"].append("3")


def test_flags_that_name_several_add_up_and_of_single_values_the_last_counts():
    flags = ["--dataset", "synthetic", "--cells", "Sw", "--seeds", "1", "--cells", "T1w_Sw", "Ss"]
    flags += ["--seeds", "2", "--milestones", "3", "--milestones", "5", "--lr", "1", "--lr", "2"]
    configs = resolve(StudentConfig, flags)
    assert [(c.cell, c.seed) for c in configs] == [
        (cell, seed) for seed in (1, 2) for cell in ("Sw", "T1w_Sw", "Ss")
    ]
    assert {(c.milestones, c.lr) for c in configs} == {((3, 5), 2.0)}
    flags = ["--dataset", "synthetic", "--cell", "Sw", "--cell", "Ss", "--seed", "3", "--seed", "4"]
    pairs = [(c.cell, c.seed) for c in resolve(StudentConfig, flags)]
    assert pairs == [("Sw", 3), ("Ss", 3), ("Sw", 4), ("Ss", 4)]


@pytest.mark.parametrize("value", ["", "x", "0", "-1", "1.5", "9" * 5000, "\u0663"])
def test_nonsense_in_torchruns_variable_leaves_help_alone(value):
    assert processes_here({"LOCAL_WORLD_SIZE": value}) == 1


EXTREMES = (1e308, -1e308, 1e39, 1e-320, 1e-31, 1e10, float("inf"), float("-inf"), float("nan"))


@pytest.mark.parametrize("name", ["lr", "weight_decay", "temperature", "decay", "momentum"])
@pytest.mark.parametrize("value", EXTREMES)
def test_a_number_that_float32_cannot_compute_with_is_refused(name, value):
    with pytest.raises(UserError, match=rf"^--{name.replace('_', '-')} is .*"):
        StudentConfig(cell="Sw", **{name: value})


def test_a_flag_that_is_no_or_yes_needs_no_value():
    assert one(StudentConfig, ["--cell", "Sw"]).sync_batchnorm == "no"
    for given in (["--sync-batchnorm"], ["--sync-batchnorm", "yes"]):
        assert one(StudentConfig, ["--cell", "Sw", *given]).sync_batchnorm == "yes"
    flags = ["--deterministic", "--cell", "Sw", "--drop-last", "no"]
    assert one(StudentConfig, flags).deterministic == "yes"
