"""How long the device waited for images, and when that is worth a word."""

import time

import pytest
import torch

from engine import loop as waiting
from engine.loop import Waiting

CPU = torch.device("cpu")


def test_waiting_is_the_loaders_time_not_the_consumers():
    waited = Waiting(CPU)
    for _ in range(2):
        start = time.perf_counter()
        for _ in waited.counted([(), ()]):
            time.sleep(0.05)
        assert time.perf_counter() - start >= 0.1
    assert waited.seconds < 0.01
    assert len(list(waited.counted((time.sleep(0.02),) for _ in range(3)))) == 3
    assert 0.06 <= waited.seconds < 0.2


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
def test_what_a_busy_gpu_does_not_wait_for_is_not_counted():
    def slow(seconds):
        for _ in range(4):
            time.sleep(seconds)
            yield ()

    busy, idle = Waiting(torch.device("cuda")), Waiting(torch.device("cuda"))
    for _ in busy.counted(slow(0.01)):
        torch.cuda._sleep(200_000_000)  # cycles: a tenth of a second
    for _ in idle.counted(slow(0.05)):
        pass
    assert busy.seconds < 0.05
    assert idle.seconds > 0.15
