#!/usr/bin/env python3
"""Classifies every image of a folder and its subfolders, on all cores.

    classify_folder.py MODEL FOLDER [--threads N]

Prints a line per image, in path order: class, probability, share of the multiply-accumulates, path. A file that cannot
be read is reported, and the others go on.
"""

import argparse
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lasnet

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=lasnet.default_threads())
    options = parser.parse_args()

    model = lasnet.load(options.model)
    paths = sorted(path for path in options.folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        print(f"{options.folder}: no images", file=sys.stderr)
        return 1

    of_thread = threading.local()  # sessions of one model share its weights

    def start() -> None:
        of_thread.session = lasnet.Session(model, threads=1)

    def classify(path: Path) -> str:
        result = of_thread.session.run(model.preprocess(path))
        [(name, probability)] = result.top(1)[0]
        return f"{name:<20} {100 * probability:5.1f} %  {100 * result.trace.macs_ratio:5.1f} % of the MACs  {path}"

    failed = 0
    with ThreadPoolExecutor(options.threads, initializer=start) as pool:
        for future in [pool.submit(classify, path) for path in paths]:
            try:
                print(future.result())
            except lasnet.Error as error:
                failed += 1
                print(error, file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except lasnet.Error as error:
        sys.exit(str(error))
