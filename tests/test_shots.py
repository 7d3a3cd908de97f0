import torch

from dataloader.subsets import exponential_counts
from metrics.shots import members, shot_group_of_class


def test_the_limits_belong_to_the_middle():
    groups = shot_group_of_class(torch.tensor([101, 100, 20, 19, 5]))
    assert groups.tolist() == [0, 1, 1, 2, 2]


def test_cifar100_imb100_has_35_35_and_30_classes():
    groups = shot_group_of_class(torch.tensor(exponential_counts(500, 100, 100)))
    assert torch.bincount(groups).tolist() == [35, 35, 30]


def test_a_balanced_set_has_no_groups():
    assert shot_group_of_class(torch.full((10,), 500)) is None


def test_members_are_found_by_label_and_empty_groups_left_out():
    groups = torch.tensor([0, 2])
    found = members(groups, torch.tensor([1, 0, 1]))
    assert {name: mask.tolist() for name, mask in found.items()} == {
        "many": [False, True, False],
        "few": [True, False, True],
    }
