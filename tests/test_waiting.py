"""How long the device waited for images, and when that is worth a word."""

import time

import pytest
import torch

from engine import waiting
from engine.waiting import Waiting

CPU = torch.device("cpu")


class Clock:
    """Time that passes when it is told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def slow(self, seconds, count):
        for _ in range(count):
            self.now += seconds
            yield ()


def test_waiting_is_the_loaders_time_not_the_consumers(monkeypatch):
    clock, waited = Clock(), Waiting(CPU)
    monkeypatch.setattr(waiting, "perf_counter", clock)
    for _ in range(2):
        for _ in waited.counted(clock.slow(1.0, 3)):
            clock.now += 100.0  # a step
    assert waited.seconds == 6.0


@pytest.mark.parametrize(
    ("device", "seconds", "workers", "told"),
    [
        ("cuda", 5.0, 2, "waited for images 50% of the training time: more --workers would help"),
        ("cuda", 5.0, 0, "made its images 50% of the training time: more --workers would help"),
        ("cuda", 5.0, 8, "waited for images 50% of the training time"),  # a core each already
        ("cuda", 0.5, 2, "waited for images 5% of the training time"),
        ("cpu", 5.0, 2, "waited for images 50% of the training time"),  # steps need the cores
        ("cpu", 5.0, 0, "made its images 50% of the training time"),
    ],
)
def test_more_workers_are_advised_where_they_can_help(monkeypatch, device, seconds, workers, told):
    monkeypatch.setattr(waiting, "available_cores", lambda: 8)
    waited = Waiting(torch.device(device))
    waited.seconds = seconds
    assert waited.told(10.0, workers) == told


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_what_a_busy_gpu_does_not_wait_for_is_not_counted(needs_values):
    def slow(seconds):
        for _ in range(4):
            time.sleep(seconds)
            yield ()

    busy, idle = Waiting(torch.device("cuda")), Waiting(torch.device("cuda"))
    for _ in busy.counted(slow(0.05)):
        torch.cuda._sleep(2_000_000_000)  # cycles: a second
    for _ in idle.counted(slow(0.05)):
        pass
    assert busy.seconds < idle.seconds / 2
