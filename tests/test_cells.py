import pytest

from common.errors import UserError
from engine.cells import (
    StudentCell,
    TeacherCell,
    expand,
    grid_order,
    parse_cell,
    parse_student,
    parse_teacher,
    student_cells,
    teacher_cells,
    views_of,
)


def test_names_come_apart():
    cell = parse_student("T1s_T2w_Ss")
    assert cell.teachers == (TeacherCell(1, "s"), TeacherCell(2, "w"))
    assert [t.view for t in cell.teachers] == ["strong", "weak"]
    assert cell.view == "strong"
    assert parse_student("Sw").teachers == ()
    assert (parse_teacher("T3w").number, parse_teacher("T3w").view) == (3, "weak")


def test_a_view_beside_the_grid_has_cells_and_no_group():
    assert parse_student("T1l_Sl").view == "literature"
    assert views_of("T1l_T2w") == {"literature", "weak"}
    grid = [*teacher_cells(), *(cell for k in range(4) for cell in student_cells(k))]
    assert {letter for cell in grid for letter in cell.letters} == {"w", "s"}


def test_every_cell_of_the_grid_survives_its_name():
    cells = [*teacher_cells(), *(cell for k in range(4) for cell in student_cells(k))]
    assert [parse_cell(str(cell)) for cell in cells] == cells
    assert len(set(map(str, cells))) == len(cells) == 6 + 2 + 4 + 8 + 16


@pytest.mark.parametrize(("teachers", "count"), [(0, 2), (1, 4), (2, 8), (3, 16)])
def test_number_of_cells(teachers, count):
    cells = student_cells(teachers)
    assert len(cells) == count
    assert {tuple(t.number for t in cell.teachers) for cell in cells} == {(1, 2, 3)[:teachers]}


@pytest.mark.parametrize(
    "name",
    [
        *("", "S", "Sx", "T1w", "T1w_", "Sw_T1w", "T2w_T1w_Sw", "T1w_T1s_Sw", "T1ww_Sw", "T0w_Sw"),
        *("sw", "SW", "Sw ", " Sw", "Sw\n", "T\u0661w_Sw", "T\uff11w_Sw", "Sw+\u00e9", "T1w__Sw"),
    ],
)
def test_unknown_students_are_refused(name):
    with pytest.raises(UserError, match="unknown student cell"):
        parse_student(name)


@pytest.mark.parametrize(
    "name",
    ["", "T", "Tw", "T1", "T1x", "Sw", "T1w_Sw", "T10w", "t1w", "T1W", "T1w ", "T1w\n", "T\u0661w"],
)
def test_unknown_teachers_are_refused(name):
    with pytest.raises(UserError, match="unknown teacher cell"):
        parse_teacher(name)


def test_at_most_four_teachers():
    assert len(parse_student("T1w_T2w_T3w_T4w_Sw").teachers) == 4
    with pytest.raises(UserError, match=r"at most 4 .*LARGEST_ENSEMBLE in engine/cells\.py"):
        parse_student("T1w_T2w_T3w_T4w_T5w_Sw")


def test_each_part_carries_its_own_variant():
    cell = parse_student("T1s+wd-5e.4_T2w_Ss+T5")
    assert cell.teachers == (TeacherCell(1, "s", "wd-5e.4"), TeacherCell(2, "w"))
    assert (cell.letter, cell.variant) == ("s", "T5")
    assert str(cell) == "T1s+wd-5e.4_T2w_Ss+T5"
    plain = parse_student("T1s_T2w_Ss")
    assert cell != plain
    assert cell.teachers[1] == plain.teachers[1]
    assert parse_teacher("T1s+wd").number == parse_teacher("T1s").number == 1


@pytest.mark.parametrize("name", ["T1w+", "T1w+a+b", "T1w+a/b", "T1w+a b", "+T5", "T1w+\n"])
def test_a_variant_is_letters_digits_dots_and_dashes(name):
    with pytest.raises(UserError, match="unknown"):
        parse_cell(name)
    with pytest.raises(UserError, match="unknown student cell"):
        parse_student(f"{name}_Sw")


def test_a_name_is_as_long_as_a_folders_may_be():
    assert len(str(parse_student("T1w_Sw+" + "a" * 193))) == 200
    for read, name in (
        (parse_student, "T1w_Sw+" + "a" * 194),
        (parse_teacher, "T1w+" + "a" * 10**6),
        (parse_cell, "_" * 10**6),
    ):
        with pytest.raises(UserError, match="at most 200 characters") as error:
            read(name)
        assert len(str(error.value)) < 200


@pytest.mark.parametrize("name", ["0t", "T ", "\u0661T", "4T", "2T\n", "00T"])
def test_what_only_looks_like_a_group_is_refused(name):
    with pytest.raises(UserError, match="unknown"):
        expand([name])


def test_groups_take_a_variant():
    assert [str(c) for c in expand(["0T+T5", "1T+T5"])] == [
        "Sw+T5", "Ss+T5", "T1w_Sw+T5", "T1w_Ss+T5", "T1s_Sw+T5", "T1s_Ss+T5"
    ]  # fmt: skip
    assert [str(c) for c in expand(["T+wd"])] == [f"{cell}+wd" for cell in teacher_cells()]


def test_views_of_a_name_are_those_of_all_its_parts():
    assert views_of("T1w+s") == {"weak"}  # a variant's letters are no view
    assert views_of("T1s_T2s_Ss+w") == {"strong"}
    assert views_of("T1w_T2s") == {"weak", "strong"}  # teachers without a student
    with pytest.raises(UserError, match="unknown cell"):
        views_of("T1w_Sq")


def test_groups_and_names_mix():
    assert [str(c) for c in expand(["0T", "T1w_Ss"])] == ["Sw", "Ss", "T1w_Ss"]
    assert expand(["T"]) == teacher_cells()


def test_grid_order_puts_teachers_first_and_few_teachers_before_many():
    names = ["T1w_T2w_Sw", "Sw", "T2w", "T1w_Sw", "T1s"]
    ordered = sorted(map(parse_cell, names), key=grid_order)
    assert list(map(str, ordered)) == ["T1s", "T2w", "Sw", "T1w_Sw", "T1w_T2w_Sw"]
    assert isinstance(ordered[2], StudentCell)


def test_the_views_and_the_plain_form_of_a_cell():
    cell = parse_student("T1s+wd_T2w_Ss+T5")
    assert cell.letters == {"w", "s"}
    assert str(cell.plain) == "T1s_T2w_Ss"
    assert cell.plain.plain == cell.plain
