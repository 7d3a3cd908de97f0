import re

from engine.progress import Epochs, Progress


def places(total, **epochs):
    progress = Progress("15 students", total=total, done=0, logs=[], **epochs)
    said = []
    for _ in range(total):
        progress.step()
        said.append(re.sub(r"[\d,]+ images/s", "N images/s", progress.place()))
    return said


def test_epochs_begin_and_end_with_their_own_batches_and_the_test_follows():
    assert places(6, epochs=Epochs(2, 2, 256)) == [
        "epoch 1/2  batch 1/2  N images/s",
        "epoch 1/2  batch 2/2  N images/s",
        "epoch 2/2  batch 1/2  N images/s",
        "epoch 2/2  batch 2/2  N images/s",
        "test  N images/s",
        "test  N images/s",
    ]


def test_without_epochs_batches_are_counted():
    assert places(2) == ["batch 1/2", "batch 2/2"]
