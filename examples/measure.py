"""Three models that this project knows nothing of, measured: a student of two teachers, in NumPy.

python examples/measure.py [FOLDER]
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the checkout, installed or not

import numpy as np
from scipy.special import softmax

import metrics
from dataloader.synthetic import load_synthetic
from evaluation.measure import main


def spectrum(images: np.ndarray) -> np.ndarray:
    """How strong the low frequencies of grey images are. (N, H, W, 3) -> (N, 81)."""
    grey = images.mean(axis=3)
    return np.abs(np.fft.fft2(grey))[:, :9, :9].reshape(len(grey), -1) / 1e4


def trained(x: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Weights (D, C) of a linear model, by 300 steps down the cross-entropy's gradient."""
    weights = np.zeros((x.shape[1], truth.shape[1]))
    for _ in range(300):
        weights -= 0.5 * x.T @ (softmax(x @ weights, axis=1) - truth) / len(x)
    return weights


parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
parser.add_argument("folder", nargs="?", default="measured", type=Path)
folder = parser.parse_args().folder
train, test = load_synthetic("train"), load_synthetic("test")
x, x_test = (spectrum(part.images) - spectrum(train.images).mean(0) for part in (train, test))
classes = np.eye(train.num_classes)[train.labels]
nets = {f"teacher{k}": trained(x[k::2], classes[k::2]) for k in range(2)}  # half of the images each
nets["student"] = trained(x, np.mean([softmax(x @ net, axis=1) for net in nets.values()], axis=0))
logits = {name: x_test @ weights for name, weights in nets.items()}

low, high = metrics.interval(metrics.top1_agreement, logits["teacher0"], logits["student"])
print(f"the student agrees with its first teacher on {low:.0%} to {high:.0%} of the images\n")

folder.mkdir(parents=True, exist_ok=True)
for name, answers in logits.items():
    np.savez(folder / f"{name}.npz", logits=answers, labels=test.labels)
files = [str(folder / f"{name}.npz") for name in nets]
main([*files, "--student", "student", "--output-dir", str(folder)])
