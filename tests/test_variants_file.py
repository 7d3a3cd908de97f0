"""What the variants in names set, told by a file (--variants), and the scripts that use one."""

import re
import subprocess
from pathlib import Path

import pytest

from common.errors import UserError
from engine.cells import parse_cell
from engine.config import StudentConfig, TeacherConfig, changed_settings
from engine.flags import resolve
from engine.scheduling import side_by_side

ROOT = Path(__file__).parent.parent
CAUSES = ROOT / "script/causes.yaml"


@pytest.fixture
def variants(tmp_path):
    path = tmp_path / "variants.yaml"
    path.write_text(
        "kl: {ce_weight: 0}\nhot: {temperature: 9, ce_weight: 0.3}\nleft: {sees: left}\nsame:\n"
    )
    return str(path)


def resolved(config_class, path, *argv):
    return resolve(config_class, ["--dataset", "synthetic", "--variants", path, *argv])


def test_each_cell_has_the_settings_of_its_own_variant(variants):
    cells = ("T1w_Sw", "T1w_Sw+kl", "T1w_Sw+hot", "T1w+left_Sw", "T1w_Sw+same")
    plain, *others = resolved(StudentConfig, variants, "--cells", *cells)
    assert [config.cell for config in (plain, *others)] == list(cells)
    assert [config.ce_weight for config in others] == [0, 0.3, 0.6, 0.6]
    assert [config.temperature for config in others] == [3, 9, 3, 3]
    assert (plain.ce_weight, plain.variants) == (0.6, variants)
    whole, half = resolved(TeacherConfig, variants, "--cells", "T1w", "T1w+left", "--seeds", "3")
    assert (whole.sees, half.sees, half.seed) == ("whole", "left", 3)


def test_flags_are_over_variants(variants):
    cells = ("--cells", "T1w_Sw", "T1w_Sw+hot", "--ce-weight", "0.5")
    assert [c.ce_weight for c in resolved(StudentConfig, variants, *cells)] == [0.5, 0.5]


def test_variants_of_tasks_learn_side_by_side(variants):
    cells = ("--cells", "T1w_Sw", "T1w_Sw+kl", "T1w_Sw+hot", "--seeds", "1", "2")
    groups = side_by_side(resolved(StudentConfig, variants, *cells))
    assert [len(group) for group in groups] == [3, 3]
    assert [config.teacher_seed for group in groups for config in group] == [1, 1, 1, 2, 2, 2]


def test_the_file_may_move(variants):
    (config,) = resolved(StudentConfig, variants, "--cell", "T1w_Sw+kl")
    assert not changed_settings({**vars(config), "variants": "elsewhere.yaml"}, config)


@pytest.mark.parametrize(
    ("text", "cell", "message"),
    [
        ("kl: {}", "T1w_Sw+hot", "variants.yaml has no variant hot, which T1w_Sw+hot names"),
        ("kl: 3", "T1w_Sw+kl", "section kl is no mapping"),
        ("kl: {ce_wait: 0}", "T1w_Sw+kl", "unknown setting 'ce_wait', did you mean 'ce_weight'"),
        ("kl: {ce_weight: 2}", "T1w_Sw+kl", "--ce-weight is 2"),
        ("kl: {ce_weight: x}", "T1w_Sw+kl", "ce_weight is 'x': a number is needed"),
        ("kl: {sees: left}", "T1w_Sw+kl", "unknown setting 'sees'"),
        ("[kl]", "T1w_Sw+kl", "it is no file of variants"),
        (None, "T1w_Sw+kl", "no file of variants at"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, cell, message):
    path = tmp_path / "variants.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=re.escape(message)):
        resolved(StudentConfig, str(path), "--cell", cell)


class TestScripts:
    def cells(self, script, tmp_path, **variables):
        """What a script asks the launcher for, call by call: (program, cells)."""
        asked = tmp_path / "asked"
        asked.write_text("")
        python = tmp_path / "python"
        python.write_text(
            f'#!/bin/sh\ncase $1 in *launch.py) echo "$2 $SEEDS: $CELLS" >> {asked};; esac\n'
        )
        python.chmod(0o755)
        subprocess.run(
            ["bash", str(ROOT / "script" / script)], check=True,
            env={"PATH": "/usr/bin:/bin", "PYTHON": str(python), **variables},
        )  # fmt: skip
        return [
            (*head.split(), cells.split())
            for head, cells in (line.split(":") for line in asked.read_text().splitlines())
        ]

    def test_the_study_is_11_teachers_and_34_students_a_replicate(self, tmp_path):
        calls = self.cells("study.sh", tmp_path, SEEDS="1 2")
        assert [call[:2] for call in calls] == [
            (f"train_{role}.py", seed)
            for seed in "12"
            for role in ("teacher", "teacher", "student")
        ]
        (_, _, first), (_, _, second), (_, _, named) = calls[:3]
        teachers = {str(cell) for cell in map(parse_cell, first + second)}
        assert len(teachers) == 11
        students = resolved(StudentConfig, str(CAUSES), "--cells", *named)
        assert len(students) == len({config.cell for config in students}) == 34
        assert {str(t) for config in students for t in config.heard} == teachers
        assert [len(group) for group in side_by_side(students)] == [17, 17]
        at_once = side_by_side(resolved(TeacherConfig, str(CAUSES), "--cells", *first, *second))
        assert [len(group) for group in at_once] == [2, 1, 1, 7]

    def test_the_arms_of_causes_all_have_their_settings(self, tmp_path):
        first, second, named = (call[-1] for call in self.cells("causes.sh", tmp_path))
        teachers = resolved(TeacherConfig, str(CAUSES), "--cells", *first, *second)
        students = resolved(StudentConfig, str(CAUSES), "--cells", *named)
        assert {str(t) for config in students for t in config.heard} == {t.cell for t in teachers}
        assert {c.ce_weight for c in students} == {1, 0.9, 0.6, 0.2, 0}
        assert {c.temperature for c in students} == {1, 3, 10}
        assert {c.teachers_see for c in students} == {"trained", "whole", "halves", "same-half"}
        doses = {c.map_correlation for c in teachers if c.beside}
        assert doses == {0, 0.25, 0.5, 0.75, 0.95}
        assert len({c.map_weight for c in teachers if c.beside}) == 1
        assert [c.cell for c in teachers if c.map_placebo == "yes"] == ["T2w+placebo95"]
