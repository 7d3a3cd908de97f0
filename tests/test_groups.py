import pytest

from common.errors import DivergedError, UserError
from engine.cells import expand
from engine.config import StudentConfig, TeacherConfig
from engine.scheduling import MOST_SHARDS, cost, own_shard, share_out, side_by_side, train_each


def students(*names, seeds=(1,), **settings):
    cells = list(map(str, expand(names)))
    return [StudentConfig(cell=cell, seed=seed, **settings) for seed in seeds for cell in cells]


def cells(groups):
    return [[config.cell for config in group] for group in groups]


def test_students_of_one_view_and_seed_are_together():
    groups = side_by_side(students("0T", "1T", seeds=(1, 2)))
    weak, strong = ["Sw", "T1w_Sw", "T1s_Sw"], ["Ss", "T1w_Ss", "T1s_Ss"]
    assert cells(groups) == [weak, strong, weak, strong]
    assert [group[0].seed for group in groups] == [1, 1, 2, 2]


def test_the_whole_grid_is_two_groups():
    groups = side_by_side(students("0T", "1T", "2T", "3T"))
    assert [len(group) for group in groups] == [15, 15]


def test_teachers_are_alone_but_for_their_variants():
    names = list(map(str, expand(["T", "T2s+wd"])))
    groups = side_by_side([TeacherConfig(cell=name) for name in names])
    assert cells(groups) == [["T1w"], ["T2w"], ["T3w"], ["T1s"], ["T2s", "T2s+wd"], ["T3s"]]


@pytest.mark.parametrize(
    "setting",
    [
        {"dataset": "synthetic"},
        {"data_path": "elsewhere"},
        {"image_size": 32},
        {"batch_size": 64},
        {"drop_last": "yes"},
        {"workers": 3},
        {"holdout_fraction": 0.1},
        {"train_list": "list.txt"},
        {"on_bad_image": "skip"},
        {"strength": 0.5},
        {"amp": "bf16"},
    ],
    ids=str,
)
def test_what_sees_other_images_or_computes_otherwise_is_apart(setting):
    configs = [*students("Ss", "T1w_Ss"), *students("T1s_Ss", **setting)]
    assert cells(side_by_side(configs)) == [["Ss", "T1w_Ss"], ["T1s_Ss"]]


@pytest.mark.parametrize("setting", [{"loss": "other"}, {"ce_weight": 0.5}, {"temperature": 5.0}])
def test_what_learns_something_else_from_the_same_is_together(setting):
    configs = [*students("Ss", "T1w_Ss"), *students("T1s_Ss", **setting)]
    assert cells(side_by_side(configs)) == [["Ss", "T1w_Ss", "T1s_Ss"]]


def test_at_most_so_many_together_and_each_once():
    twice = [*students("0T", "1T", together=2), *students("Sw", together=2)]
    assert cells(side_by_side(twice)) == [
        ["Sw", "T1w_Sw"],
        ["T1s_Sw"],
        ["Ss", "T1w_Ss"],
        ["T1s_Ss"],
    ]


def test_cost_counts_students_and_each_groups_teachers_once():
    assert cost([]) == 0
    assert cost(students("Sw", epochs=7)) == 7
    assert cost(students("Sw", "T1w_Sw", "T1w_T2w_Sw", epochs=7)) == 7 * (3 + 2)
    assert cost(students("T1w_Sw", "T1w_Ss", epochs=7)) == 7 * (2 + 2)
    # 15 students of a view and the six teachers: 21, where one by one they cost 15 + 34
    grid = students("0T", "1T", "2T", "3T", epochs=1)
    assert cost(grid) == 2 * 21
    assert cost(students("0T", "1T", "2T", "3T", epochs=1, together=1)) == 2 * (15 + 34)


class TestSharingOut:
    def test_one_part_has_all(self):
        grid = students("0T", "1T")
        (all_of_it,) = share_out(grid, 1)
        assert all_of_it == [config for group in side_by_side(grid) for config in group]

    def test_two_parts_are_the_two_views(self):
        for part, view in zip(share_out(students("3T"), 2), "ws", strict=True):
            assert [config.cell[-2:] for config in part] == [f"S{view}"] * 8

    def test_a_group_is_cut_where_that_pays(self):
        # A view's three students and two teachers cost 5, so three parts of whole groups would be
        # 5, 5 and 0. Cut at a cost of at most 4; at most 3 would need a fourth part.
        parts = share_out(students("0T", "1T", epochs=1), 3)
        assert cells(parts) == [["Sw", "T1w_Sw"], ["T1s_Sw", "Ss"], ["T1w_Ss", "T1s_Ss"]]
        assert [cost(part) for part in parts] == [3, 3, 4]

    def test_whole_seeds_where_they_are_even(self):
        parts = share_out(students("0T", "1T", seeds=(1, 2, 3)), 3)
        assert [{config.seed for config in part} for part in parts] == [{1}, {2}, {3}]

    def test_teachers_evenly(self):
        teachers = [TeacherConfig(cell=str(cell)) for cell in expand(["T"])]
        assert [len(part) for part in share_out(teachers, 4)] == [2, 2, 2, 0]

    def test_more_parts_than_runs_leave_the_last_empty(self):
        assert cells(share_out(students("0T"), 4)) == [["Sw"], ["Ss"], [], []]
        assert share_out([], 2) == [[], []]

    @pytest.mark.parametrize("parts", [1, 2, 3, 5, 8, 13])
    def test_each_run_is_in_one_part(self, parts):
        grid = students("0T", "1T", "2T", "3T", seeds=(1, 2))
        shared = share_out(grid, parts)
        assert len(shared) == parts
        everything = [config for part in shared for config in part]
        assert len(everything) == len(grid)
        assert set(everything) == set(grid)


def test_diverged_groups_are_named_after_all_others_are_done():
    done = []

    def train(group, ranks):
        done.append(group)
        if group[0] in "ac":
            raise DivergedError(f"{group[0]} diverged")

    with pytest.raises(DivergedError, match=r"^a diverged; c diverged$"):
        train_each(["a", "b", "c", "d"], train)
    assert done == ["a", "b", "c", "d"]


def test_any_other_error_stops_at_once():
    def train(group, ranks):
        raise UserError(group[0])

    with pytest.raises(UserError, match=r"^a$"):
        train_each(["a", "b"], train)


class TestShards:
    def of_slurm(self, number, count, first, last, **more):
        names = {"ID": number, "COUNT": count, "MIN": first, "MAX": last} | more
        return own_shard({f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in names.items()})

    def test_by_its_own_variable_before_slurms(self):
        assert own_shard({}) == (1, 1)
        assert own_shard({"SHARD": "2/8"}) == (2, 8)
        assert own_shard({"SHARD": "8/8", "SLURM_ARRAY_TASK_ID": "3"}) == (8, 8)

    @pytest.mark.parametrize(
        "text",
        [
            *("0/8", "9/8", "2", "2/", "a/b", "-1/2", "1/2/3", "1/8\n2", "\u0661/2"),
            *("1/1000001", "1/99999999999", "1/" + "9" * 5000),
        ],
    )
    def test_nonsense_is_refused(self, text):
        with pytest.raises(UserError, match="use 1/8 to 8/8"):
            own_shard({"SHARD": text})

    def test_what_is_empty_is_not_set(self):
        assert own_shard({"SHARD": "", "SLURM_ARRAY_TASK_ID": ""}) == (1, 1)
        assert own_shard({"SHARD": " 2/8 "}) == (2, 8)

    def test_more_shards_than_runs_leave_empty_parts(self):
        configs = [StudentConfig(cell=cell) for cell in ("Sw", "Ss")]
        parts = share_out(configs, MOST_SHARDS // 10)
        assert len(parts) == MOST_SHARDS // 10
        assert cells(parts[:3]) == [["Sw"], ["Ss"], []]

    @pytest.mark.parametrize("name", ["ID", "COUNT", "MIN", "MAX", "STEP"])
    @pytest.mark.parametrize("value", ["x", "-1", "1.0", "9" * 5000, "\u0661"])
    def test_nonsense_of_slurm_is_refused_by_name(self, name, value):
        with pytest.raises(UserError, match=f"SLURM_ARRAY_TASK_{name} is ") as error:
            self.of_slurm(*(1, 2, 1, 2), **{name: value})
        assert len(str(error.value)) < 200

    def test_slurms_array_from_0_from_1_and_in_steps(self):
        assert [self.of_slurm(k, 4, 0, 3) for k in range(4)] == [(k, 4) for k in (1, 2, 3, 4)]
        assert [self.of_slurm(k, 4, 1, 4) for k in range(1, 5)] == [(k, 4) for k in (1, 2, 3, 4)]
        assert self.of_slurm(10, 3, 5, 15, STEP=5) == (2, 3)

    def test_an_array_with_gaps_is_refused(self):
        for number in (0, 2, 5):
            with pytest.raises(UserError, match="gaps: set SHARD"):
                self.of_slurm(number, 3, 0, 5)
        with pytest.raises(UserError, match="not all that goes with it"):
            own_shard({"SLURM_ARRAY_TASK_ID": "3"})
