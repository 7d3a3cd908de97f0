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
    assert places(6, epochs=Epochs.of([2, 2], [256, 256])) == [
        "epoch 1/2  batch 1/2  N images/s",
        "epoch 1/2  batch 2/2  N images/s",
        "epoch 2/2  batch 1/2  N images/s",
        "epoch 2/2  batch 2/2  N images/s",
        "test  N images/s",
        "test  N images/s",
    ]


def test_an_epoch_without_a_test_has_fewer_batches():
    epochs = Epochs.of([1, 3], [100, 200])
    assert epochs.images_a_batch == 75
    assert [place.split("  N")[0] for place in places(4, epochs=epochs)] == [
        "epoch 1/2  batch 1/1",
        *(f"epoch 2/2  batch {k}/3" for k in (1, 2, 3)),
    ]


def test_without_epochs_batches_are_counted():
    assert places(2) == ["batch 1/2", "batch 2/2"]
