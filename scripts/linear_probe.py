#!/usr/bin/env python3
"""Linear baseline of an image-classification folder.

Softmax regression on the pixels of pictures scaled down to SIDE x SIDE: what a
classifier reaches that sees colours and coarse layout alone.  A network worth
its name must do clearly better.
"""

import argparse
import json
import sys
from pathlib import Path

try:
    import numpy as np
    from PIL import Image
except ImportError as error:
    sys.exit(f"error: {error}; install the packages python3-pil and python3-numpy")

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def list_classes(folder):
    """Return the sorted class names of one split."""
    if not folder.is_dir():
        sys.exit(f"error: {folder} is not a folder")
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


def load_split(folder, classes, side):
    """Load all pictures of one split as rows of pixels in 0..1, with labels."""
    rows, labels = [], []
    for label, name in enumerate(classes):
        for path in sorted((folder / name).glob("*")):
            if path.suffix.lower() not in SUFFIXES:
                continue
            with Image.open(path) as image:
                small = image.convert("RGB").resize((side, side), Image.BOX)
            rows.append(np.asarray(small, dtype=np.float32).ravel() / 255.0)
            labels.append(label)
    if not rows:
        sys.exit(f"error: no pictures below {folder}")
    return np.stack(rows), np.array(labels)


def with_mirrored(pixels, labels, side):
    """Append the left-right mirrored pictures."""
    mirrored = pixels.reshape(-1, side, side, 3)[:, :, ::-1].reshape(pixels.shape)
    return np.concatenate([pixels, mirrored]), np.concatenate([labels, labels])


def softmax(scores):
    """Turn rows of scores into rows of probabilities."""
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    return scores / scores.sum(axis=1, keepdims=True)


def fit(features, labels, classes, steps, decay):
    """Fit softmax regression by full-batch gradient descent with momentum."""
    onehot = np.eye(classes, dtype=np.float32)[labels]
    weights = np.zeros((features.shape[1], classes), dtype=np.float32)
    velocity = np.zeros_like(weights)
    # The loss's curvature is at most half the largest eigenvalue of the covariance.
    rate = 2.0 / np.linalg.norm(features.T @ features / len(features), 2)
    for _ in range(steps):
        error = softmax(features @ weights) - onehot
        gradient = features.T @ error / len(features) + decay * weights
        velocity = 0.9 * velocity - rate * gradient
        weights += velocity
    return weights


def probe(data, side, steps, decay):
    """Train on data/train, test on data/val and return the figures."""
    classes = list_classes(data / "train")
    train, train_labels = load_split(data / "train", classes, side)
    val, val_labels = load_split(data / "val", classes, side)
    count = len(train)
    train, train_labels = with_mirrored(train, train_labels, side)
    mean, spread = train.mean(axis=0), train.std(axis=0) + 1e-6
    train, val = ((np.hstack([(part - mean) / spread,
                              np.ones((len(part), 1), dtype=np.float32)]))
                  for part in (train, val))
    weights = fit(train, train_labels, len(classes), steps, decay)
    hits = (val @ weights).argmax(axis=1) == val_labels
    return {"random": round(1 / len(classes), 4),
            "linear_probe_top1": round(float(hits.mean()), 4),
            "n_train": count, "n_val": len(val)}


def parse_arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Softmax regression on the downscaled pixels of DATA/train, tested on "
                    "DATA/val; prints one JSON object.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with train/CLASS/* and val/CLASS/*")
    parser.add_argument("--side", type=int, default=16, help="side of the scaled-down pictures")
    parser.add_argument("--steps", type=int, default=400, help="gradient steps")
    parser.add_argument("--decay", type=float, default=0.01, help="weight decay")
    return parser.parse_args()


def main():
    """Run the program."""
    args = parse_arguments()
    print(json.dumps(probe(args.data, args.side, args.steps, args.decay)))


if __name__ == "__main__":
    main()
