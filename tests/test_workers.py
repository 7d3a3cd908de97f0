import os

import pytest

from common import workers
from common.workers import available_cores, default_workers, group_quota


def test_this_machine():
    assert 1 <= available_cores() <= os.cpu_count()
    assert 1 <= default_workers() <= workers.MOST_WORKERS


@pytest.mark.parametrize(
    ("cores", "processes", "expected"), [(2, 1, 2), (8, 2, 4), (8, 3, 2), (1, 4, 1), (192, 1, 16)]
)
def test_a_share_of_the_cores(monkeypatch, cores, processes, expected):
    monkeypatch.setattr(workers, "available_cores", lambda: cores)
    assert default_workers(processes) == expected


def test_affinity_and_quota(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for quota, expected in ((1024.0, 8), (3.7, 3), (0.5, 1)):
        monkeypatch.setattr(workers, "group_quota", lambda quota=quota: quota)
        assert available_cores() == expected


class TestGroupQuota:
    def quota(self, tmp_path, own, files):
        for name, text in files.items():
            path = tmp_path / "groups" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (tmp_path / "own").write_text(own)
        return group_quota(tmp_path / "groups", tmp_path / "own")

    def test_none(self, tmp_path):
        assert group_quota(tmp_path / "no", tmp_path / "none") == 1024
        assert self.quota(tmp_path, "0::/\n", {"cpu.max": "max 100000\n"}) == 1024

    def test_version_2_smallest_of_the_groups_around(self, tmp_path):
        files = {
            "job/cpu.max": "400000 100000\n",
            "job/step/cpu.max": "250000 100000\n",
            "job/step/task/cpu.max": "max 100000\n",
            "other/cpu.max": "100000 100000\n",
        }
        assert self.quota(tmp_path, "0::/job/step/task\n", files) == 2.5

    def test_version_1(self, tmp_path):
        files = {
            "cpu/box/cpu.cfs_quota_us": "150000\n",
            "cpu/box/cpu.cfs_period_us": "100000\n",
            "cpu/cpu.cfs_quota_us": "-1\n",
            "cpu/cpu.cfs_period_us": "100000\n",
        }
        own = "3:memory:/elsewhere\n2:cpu,cpuacct:/box\n"
        assert self.quota(tmp_path, own, files) == 1.5
