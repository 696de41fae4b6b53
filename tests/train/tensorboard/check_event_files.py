#!/usr/bin/env python3
"""A run that is stopped once and resumed: TensorBoard's reader finds the figures of log.csv, each epoch once.

    check_event_files.py LASNET WORK_FOLDER
"""

import csv
import pathlib
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

EPOCHS = 4
SIDE = 40
COLUMNS = {"loss/total": "train_loss", "loss/validation": "val_loss", "accuracy/train_top1": "train_top1",
           "accuracy/top1": "val_top1", "accuracy/top5": "val_top5", "schedule/learning_rate": "lr"}
DYNAMIC_COLUMNS = {"macs/validation": "macs_ratio", "macs/train": "train_macs_ratio",
                   "macs/deviation_over_images": "macs_ratio_std",
                   "schedule/gumbel_temperature": "gumbel_temperature"}


def png(seed: int) -> bytes:
    """Noise, brighter for odd seeds."""
    noise = random.Random(seed)
    rows = b"".join(b"\0" + bytes(noise.randrange(100) + 100 * (seed % 2) for _ in range(3 * SIDE)) for _ in range(SIDE))

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def make_images(folder: pathlib.Path) -> None:
    for part, count in (("train", 24), ("val", 8)):
        for number in range(count):
            path = folder / part / ("dark", "bright")[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(number))


def train_in_two_parts(program: str, data: pathlib.Path, out: pathlib.Path) -> None:
    """The first part is stopped when the log has an epoch of fine-tuning."""
    command = [program, "train", "--data", str(data), "-o", str(out), "--arch", "resnet18", "--width", "0.125", "--stem",
               "small", "--granularity", "4-4-2-1", "--size", "32", "--batch", "8", "--threads", "1", "--epochs",
               str(EPOCHS), "--pretrain-epochs", "2", "--alpha-features", "1", "--tensorboard"]
    begun = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    log = out / "log.csv"
    while begun.poll() is None and not (log.exists() and "\nfinetune" in log.read_text()):
        time.sleep(0.02)
    begun.send_signal(signal.SIGINT)
    begun.wait(timeout=120)
    subprocess.run([program, "train", "--resume", "-o", str(out)], check=True, stdout=subprocess.DEVNULL)


def check_phase(folder: pathlib.Path, rows: list[dict[str, str]], dynamic: bool) -> None:
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0, "scalars": 0})
    events.Reload()
    tags = set(events.Tags()["scalars"])
    columns = COLUMNS | (DYNAMIC_COLUMNS if dynamic else {})
    if dynamic:
        columns |= {"rate/" + name[2:]: name for name in rows[0] if name.startswith("r_")}
        parts = [[point.value for point in events.Scalars(f"loss/{part}")]
                 for part in ("classification", "distillation", "features", "budget")]
        for row, *losses in zip(rows, *parts):
            assert abs(sum(losses) - float(row["train_loss"])) < 1e-4 * sum(losses), (row["train_loss"], losses)
    assert set(columns) <= tags, set(columns) - tags
    assert {"speed/images_per_s", "speed/share_waiting_for_images", "loss/classification"} <= tags, tags
    for tag, column in columns.items():
        points = events.Scalars(tag)
        assert [point.step for point in points] == [int(row["epoch"]) for row in rows], (tag, points)
        for point, row in zip(points, rows):
            assert abs(point.value - float(row[column])) <= 1e-3 * abs(point.value) + 6e-6, (tag, point, row[column])
    settings = events.Tensors("settings/text_summary" if "settings/text_summary" in events.Tags()["tensors"] else "settings")
    text = settings[0].tensor_proto.string_val[0].decode()
    assert "| pretrain_epochs | 2 |" in text, text
    assert events.SummaryMetadata("settings").plugin_data.plugin_name == "text"


def main() -> None:
    program, work = sys.argv[1], pathlib.Path(sys.argv[2])
    shutil.rmtree(work, ignore_errors=True)
    make_images(work / "data")
    train_in_two_parts(program, work / "data", work / "out")
    with open(work / "out" / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for phase, dynamic in (("pretrain", False), ("finetune", True)):
        check_phase(work / "out" / "tensorboard" / phase, [row for row in rows if row["phase"] == phase], dynamic)
    files = list((work / "out" / "tensorboard" / "finetune").iterdir())
    assert len(files) == 2, files
    print(f"TensorBoard reads {len(rows)} epochs of a run in two parts")


if __name__ == "__main__":
    main()
