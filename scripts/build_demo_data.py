#!/usr/bin/env python3
"""Build the demo's image-classification data set from Debian packages.

Cut-out photographs of objects (tuxpaint-stamps-default) are pasted onto
photographs (Debian wallpaper packages and gcompris-qt-data).  Objects are split between train and
val by instance, backgrounds by file, so that no object and no background of a
validation image is ever seen in training.  The result is

    OUT/train/CLASS/NAME.jpg     OUT/val/CLASS/NAME.jpg
    OUT/masks/val/CLASS/NAME.png (8-bit alpha of the object of the class)
    OUT/manifest.csv             OUT/classes.txt

and is the same byte for byte for the same arguments and package versions.
"""

import argparse
import csv
import io
import math
import os
import random
import shutil
import struct
import sys
import tempfile
from pathlib import Path

try:
    import numpy as np
    from PIL import Image, ImageEnhance, ImageFilter, ImageOps
except ImportError as error:
    sys.exit(f"error: {error}; install the packages python3-pil and python3-numpy")

STAMPS = Path("usr/share/tuxpaint/stamps")
MATE = Path("usr/share/backgrounds/mate/nature")
LOMIRI = Path("usr/share/backgrounds")
PLASMA = Path("usr/share/wallpapers")
MONUMENTS = Path("usr/share/gcompris-qt/rcc/explore_monuments.rcc")

MAMMAL_FOLDERS = ("", "apes/", "bears/", "bovines/", "camel/", "cats/", "deer/",
                  "dogs/", "equines/", "rodents/")

# Class -> glob patterns below STAMPS.
CLASSES = {
    "bird": ["animals/birds/*.png"],
    "coin": ["symbols/money/us/coins/*.png", "symbols/money/euro/coins/*.png",
             "symbols/money/canadian/coins/*.png", "symbols/money/japanese/*.png"],
    "flower": ["plants/flowers/*.png", "plants/flowers/plastic/*.png"],
    "fruit_vegetable": ["food/fruit/*.png", "food/vegetables/*.png",
                        "food/nuts/*.png", "food/spices/*.png"],
    "mammal": [f"animals/mammals/{folder}*.png" for folder in MAMMAL_FOLDERS]
              + ["animals/marsupials/*.png"],
    "road_sign": ["town/roadsigns/*.png"],
}

# Things of no class, pasted into some images of every class.
DISTRACTORS = ["household/*.png", "household/arttools/*.png", "household/dishes/*.png",
               "household/tools/*.png", "hobbies/*.png", "hobbies/music/*/*.png",
               "sports/*.png", "medical/*.png", "animals/insects/*.png",
               "animals/lizards/*.png", "animals/amphibians/*.png",
               "seasonal/halloween/grave-*.png", "plants/mushrooms/*.png",
               "plants/trees/*.png", "vehicles/auto/*.png", "vehicles/construction/*.png",
               "vehicles/race/*.png", "vehicles/ship/*.png", "military/vehicles/*.png"]

# Drawings, mirrored copies and things that do not belong to their folder's class.
EXCLUDED = {
    "animals/insects/bee", "animals/mammals/echidna", "animals/mammals/hedgehog",
    "food/vegetables/mushroom", "food/nuts/walnut_shelled", "household/tools/measuring_tape_mirror",
    "household/arttools/highlighter", "medical/tooth", "military/vehicles/bradley_mirror",
    "plants/trees/holly_leaves", "plants/trees/rambutan", "sports/football",
    "sports/rugby_goal_posts", "town/roadsigns/railroad_crossing",
    "town/roadsigns/stoplight_01_red", "town/roadsigns/stoplight_02_yellow",
    "town/roadsigns/stoplight_03_green", "town/roadsigns/traffic_cone",
    "town/roadsigns/xing_school_mirror", "vehicles/construction/dumper_mirror",
}

# Near-duplicates (one object from two angles, variants of one design): each
# group goes to one side of the split as a whole.
GROUPS = [
    ["animals/birds/heron_greatblue", "animals/birds/heron_greatblue_flying"],
    ["animals/mammals/bovines/gnu-baby", "animals/mammals/bovines/gnu-baby-stand"],
    ["animals/mammals/bovines/gnu-sitting", "animals/mammals/bovines/gnu-stand"],
    ["animals/mammals/pig_golden", "animals/mammals/pig_golden2"],
    ["animals/mammals/rodents/rabbit", "animals/mammals/rodents/rabbit-2"],
    ["food/fruit/apple_fuji", "food/fruit/apple_granny_smith", "food/fruit/apple_green",
     "food/fruit/apple_red", "food/fruit/apple_sierra_beauty"],
    ["food/fruit/Apricot_whole", "food/fruit/apricot"],
    ["food/fruit/Strawberry2", "food/fruit/strawberry"],
    ["food/fruit/mandarine", "food/fruit/orange"],
    ["food/fruit/sliced_lime", "food/fruit/sliced_orange"],
    ["food/vegetables/garlic", "food/vegetables/garlics"],
    ["food/vegetables/lettuce", "food/vegetables/redlettuce"],
    ["food/vegetables/pepper", "food/vegetables/yellowpepper"],
    ["plants/flowers/flower2", "plants/flowers/flower5"],
    ["plants/mushrooms/cep", "plants/mushrooms/cep-1", "plants/mushrooms/cep-2"],
    ["household/tools/wrench", "household/tools/wrench_adjustable"],
    ["household/arttools/scissors_small_closed", "household/arttools/scissors_small_open"],
    [f"symbols/money/euro/coins/{cents}" for cents in (
        "001", "002", "005", "010", "020", "050", "100", "200")],
    ["symbols/money/japanese/yen005", "symbols/money/japanese/yen050"],
    ["symbols/money/japanese/yen100", "symbols/money/japanese/yen500"],
    ["town/roadsigns/give_way_sign", "town/roadsigns/yield"],
    ["town/roadsigns/crossroads", "town/roadsigns/t-junction"],
    ["town/roadsigns/xing_ped", "town/roadsigns/xing_school"],
]

# Photographs that show no object of a class; those in MONUMENTS come on top.
BACKGROUNDS = (
    [MATE / f"{name}.jpg" for name in (
        "Aqua", "Blinds", "Dune", "GreenMeadow", "RainDrops", "Storm", "Wood")]
    + [LOMIRI / f"{name}.jpg" for name in (
        "Bridge_by_Sander_Klootwijk", "Dragonfly_by_Bolly", "Picture_1A_by_freespace",
        "Wine_by_Jakkub_Mede", "aitzgorri_by_Aitzol_Berasategi",
        "analogpattern_by_Peter_Nerlich", "greentock_by_Peter_Nerlich",
        "life_by_Aitzol_Berasategi", "picosdeeuropa_by_Aitzol_Berasategi",
        "sunset_by_Aitzol_Berasategi")]
    + [PLASMA / name / "contents/images" / size for name, size in (
        ("BytheWater", "2560x1600.jpg"), ("ColdRipple", "2560x1600.jpg"),
        ("ColorfulCups", "2560x1600.jpg"), ("DarkestHour", "2560x1600.jpg"),
        ("EveningGlow", "2560x1600.jpg"), ("FallenLeaf", "2560x1600.jpg"),
        ("Grey", "2560x1600.jpg"), ("Kite", "2560x1600.jpg"),
        ("OneStandsOut", "2560x1600.jpg"), ("Path", "2560x1600.jpg"),
        ("Volna", "5120x2880.jpg"), ("summer_1am", "2560x1600.jpg"))]
)

PACKAGE_OF = {MATE: "mate-backgrounds",
              LOMIRI: "lomiri-wallpapers-16.04", PLASMA: "plasma-workspace-wallpapers",
              MONUMENTS: "gcompris-qt-data"}

# Classes whose training objects may take any hue: shape tells them, not colour.
ANY_HUE = {"flower", "road_sign"}

VAL_SHARE = 0.3
MAX_OBJECT_SIDE = 300
BACKGROUND_SHORT_SIDE = 900
SMALLEST_BACKGROUND = 400
MANIFEST_FIELDS = ["file", "split", "class", "object", "object_source",
                   "background_source", "distractor_source", "x0", "y0", "x1", "y1"]


class BuildError(Exception):
    """A problem the user can mend; its text says how."""


def missing_package(path):
    """Return the Debian package that ships PATH (relative to the root)."""
    return next(package for place, package in PACKAGE_OF.items()
                if place in (path, *path.parents))


def find_stamps(root, patterns):
    """List the names (below STAMPS, no suffix) the patterns give, less EXCLUDED."""
    base = root / STAMPS
    names = []
    for pattern in patterns:
        found = sorted(path.relative_to(base).with_suffix("").as_posix()
                       for path in base.glob(pattern))
        if not found:
            raise BuildError(f"nothing matches {base / pattern}; "
                             "run: apt-get install tuxpaint-stamps-default")
        names += [name for name in found if name not in EXCLUDED]
    return names


def group_names(names):
    """Collect near-duplicates (GROUPS); every other name is a group of its own."""
    leader = {name: group[0] for group in GROUPS for name in group}
    groups = {}
    for name in names:
        groups.setdefault(leader.get(name, name), []).append(name)
    return list(groups.values())


def split_groups(groups, rng):
    """Share the groups out to train and val in random order.

    A group that would be most of val goes to train.
    """
    groups = list(groups)
    rng.shuffle(groups)
    wanted = math.ceil(VAL_SHARE * sum(map(len, groups)))
    split = {"train": [], "val": []}
    for group in groups:
        fits = 2 * len(group) <= wanted and len(split["val"]) + len(group) <= wanted
        split["val" if fits else "train"] += group
    return {side: sorted(items) for side, items in split.items()}


def load_object(root, name):
    """Load one stamp as RGBA, cut to its visible part and scaled down."""
    with Image.open(root / STAMPS / f"{name}.png") as image:
        rgba = image.convert("RGBA")
    visible = rgba.getchannel("A").point(lambda a: 255 if a > 16 else 0).getbbox()
    if visible is None:
        raise BuildError(f"{name}.png is fully transparent")
    rgba = rgba.crop(visible)
    rgba.thumbnail((MAX_OBJECT_SIDE, MAX_OBJECT_SIDE), Image.LANCZOS)
    return rgba


def read_source(root, path):
    """Return the bytes of a file, or say which package would bring it."""
    try:
        return (root / path).read_bytes()
    except FileNotFoundError:
        raise BuildError(f"{root / path} is missing; run: "
                         f"apt-get install {missing_package(path)}") from None


def read_rcc(data):
    """Yield (path, content) of each uncompressed file in a Qt resource archive."""
    magic, version, tree, contents, names = struct.unpack_from(">4s4I", data)
    if magic != b"qres" or version not in (2, 3):
        raise BuildError(f"{MONUMENTS} is not a Qt resource archive of version 2 or 3")

    def walk(index, parent):
        node = tree + 22 * index
        name_at, flags, first, second = struct.unpack_from(">IHII", data, node)
        name_at += names
        length = 2 * struct.unpack_from(">H", data, name_at)[0]
        path = parent / data[name_at + 6:name_at + 6 + length].decode("utf-16-be")
        if flags & 2:
            for child in range(second, second + first):
                yield from walk(child, path)
        elif flags == 0:
            start = contents + second
            size = struct.unpack_from(">I", data, start)[0]
            yield path, data[start + 4:start + 4 + size]

    yield from walk(0, Path())


def read_monuments(root):
    """Return the photographs in MONUMENTS as {place: encoded picture}."""
    found = {}
    for path, content in read_rcc(read_source(root, MONUMENTS)):
        if path.suffix == ".webp":
            found[MONUMENTS / path.parent.name / path.name] = content
    return dict(sorted(found.items()))


def load_background(content):
    """Decode one photograph; its short side becomes BACKGROUND_SHORT_SIDE at most."""
    with Image.open(io.BytesIO(content)) as image:
        image.draft("RGB", (BACKGROUND_SHORT_SIDE, BACKGROUND_SHORT_SIDE))
        rgb = image.convert("RGB")
    scale = min(1.0, BACKGROUND_SHORT_SIDE / min(rgb.size))
    return rgb.resize([round(side * scale) for side in rgb.size], Image.LANCZOS)


def load_backgrounds(root):
    """Load every photograph that is large enough, as {place: picture}."""
    photographs = {path: load_background(read_source(root, path)) for path in BACKGROUNDS}
    for place, content in read_monuments(root).items():
        image = load_background(content)
        if min(image.size) >= SMALLEST_BACKGROUND:
            photographs[place] = image
    return photographs


def recolour(rgb, rng, strength):
    """Vary brightness, contrast and tint by up to STRENGTH."""
    rgb = ImageEnhance.Brightness(rgb).enhance(rng.uniform(1 - strength, 1 + strength))
    rgb = ImageEnhance.Contrast(rgb).enhance(rng.uniform(1 - strength, 1 + strength))
    gains = [rng.uniform(1 - strength / 4, 1 + strength / 4) for _ in range(3)]
    table = [min(255, round(value * gain)) for gain in gains for value in range(256)]
    return rgb.point(table)


def turn_hue(rgb, degrees):
    """Turn the hue of every pixel."""
    hue, saturation, value = rgb.convert("HSV").split()
    shift = round(degrees / 360 * 256)
    hue = hue.point([(level + shift) % 256 for level in range(256)])
    return Image.merge("HSV", (hue, saturation, value)).convert("RGB")


def choose_hue(split, name, rng):
    """Choose by how many degrees to turn an object's hue."""
    if split == "train" and name in ANY_HUE and rng.random() < 0.3:
        return rng.uniform(-180, 180)
    return rng.uniform(-8, 8)


def crop_background(image, size, rng):
    """Cut a random square from a photograph and bring it to SIZE."""
    side = round(min(image.size) * rng.uniform(0.3, 1.0))
    x = rng.randint(0, image.width - side)
    y = rng.randint(0, image.height - side)
    crop = image.resize((size, size), Image.BILINEAR, (x, y, x + side, y + side), 3.0)
    if rng.random() < 0.5:
        crop = ImageOps.mirror(crop)
    return recolour(crop, rng, 0.25)


def vary_object(image, longest, hue, rng):
    """Flip, turn, recolour, squeeze and scale an object; its edge becomes soft."""
    if rng.random() < 0.5:
        image = ImageOps.mirror(image)
    alpha = image.getchannel("A")
    image = recolour(turn_hue(image.convert("RGB"), hue), rng, 0.25)
    image.putalpha(alpha)
    image = image.rotate(rng.uniform(-20, 20), Image.BICUBIC, expand=True)
    image = image.crop(image.getchannel("A").getbbox())
    width, height = image.size
    image = image.resize((round(width * rng.uniform(0.85, 1.18)), height), Image.BICUBIC)
    scale = longest / max(image.size)
    image = image.resize([max(1, round(side * scale)) for side in image.size],
                         Image.LANCZOS)
    image = ImageOps.expand(image, 2, (0, 0, 0, 0))
    soft = image.getchannel("A").filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.8)))
    image.putalpha(soft)
    return image


def choose_side(image, size, rng, low, high):
    """Choose an object's longest side; small sources are not blown up much."""
    wanted = size * rng.uniform(low, high)
    return round(max(size * low, min(wanted, 2.0 * max(image.size))))


def choose_place(image, size, rng):
    """Choose the top left corner; at most a tenth of the object lies outside."""
    place = []
    for side in image.size:
        margin = round(side * 0.1)
        place.append(rng.randint(-margin, size - side + margin))
    return tuple(place)


def paste(canvas, image, place):
    """Paste IMAGE over CANVAS and return the pasted alpha on the whole canvas."""
    alpha = Image.new("L", canvas.size, 0)
    alpha.paste(image.getchannel("A"), place)
    layer = Image.new("RGB", canvas.size)
    layer.paste(image.convert("RGB"), place)
    canvas.paste(layer, (0, 0), alpha)
    return alpha


def finish(image, rng):
    """Blur and add noise over the whole picture, so that edges tell nothing."""
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.0, 0.7)))
    noise = np.random.default_rng(rng.getrandbits(64))
    pixels = np.asarray(image, dtype=np.float32)
    pixels = pixels + noise.normal(0.0, rng.uniform(1.0, 6.0), pixels.shape)
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


def compose(target, distractor, background, hue, size, rng):
    """Make one picture; return it, the target's alpha and the target's box.

    HUE turns the target's hue, in degrees.
    """
    canvas = crop_background(background, size, rng)
    if distractor is not None:
        side = choose_side(distractor, size, rng, 0.15, 0.35)
        thing = vary_object(distractor, side, 0.0, rng)
        paste(canvas, thing, choose_place(thing, size, rng))
    thing = vary_object(target, choose_side(target, size, rng, 0.45, 0.75), hue, rng)
    alpha = paste(canvas, thing, choose_place(thing, size, rng))
    box = alpha.point(lambda a: 255 if a > 127 else 0).getbbox()
    return finish(canvas, rng), alpha, box


class Sources:
    """All objects and backgrounds, loaded once, with their split."""

    def __init__(self, root, seed):
        self.objects = {}
        self.split = {}
        for name, patterns in [*CLASSES.items(), ("distractor", DISTRACTORS)]:
            stamps = find_stamps(root, patterns)
            self.objects.update((stamp, load_object(root, stamp)) for stamp in stamps)
            self.split[name] = split_groups(group_names(stamps),
                                            random.Random(f"{seed}/{name}"))
        self.photographs = load_backgrounds(root)
        self.split["background"] = split_groups([[path] for path in self.photographs],
                                                random.Random(f"{seed}/background"))

    def draw(self, split, name, index, distractor_share, rng):
        """Choose object, distractor (or None) and background for one picture."""
        objects = self.split[name][split]
        distractor = None
        if rng.random() < distractor_share:
            distractor = rng.choice(self.split["distractor"][split])
        return objects[index % len(objects)], distractor, rng.choice(
            self.split["background"][split])


def write_class(out, sources, split, name, count, args, writer):
    """Write the pictures of one class and split, and their manifest lines."""
    folder = Path(split, name)
    (out / folder).mkdir(parents=True)
    if split == "val":
        (out / "masks" / folder).mkdir(parents=True)
    for index in range(count):
        rng = random.Random(f"{args.seed}/{split}/{name}/{index}")
        target, distractor, background = sources.draw(
            split, name, index, args.distractor_share, rng)
        image, alpha, box = compose(
            sources.objects[target], sources.objects.get(distractor),
            sources.photographs[background], choose_hue(split, name, rng), args.size, rng)
        stem = f"{name}_{index:05d}"
        image.save(out / folder / f"{stem}.jpg", quality=92)
        if split == "val":
            alpha.save(out / "masks" / folder / f"{stem}.png")
        writer.writerow([f"{folder}/{stem}.jpg", split, name, target,
                         f"{STAMPS}/{target}.png", background,
                         f"{STAMPS}/{distractor}.png" if distractor else "", *box])


def write_all(out, sources, args):
    """Write every class of both splits, classes.txt and manifest.csv below OUT."""
    counts = {"train": args.train_per_class, "val": args.val_per_class}
    (out / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    with open(out / "manifest.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(MANIFEST_FIELDS)
        for split, count in counts.items():
            for name in CLASSES:
                write_class(out, sources, split, name, count, args, writer)
                instances = len(sources.split[name][split])
                print(f"{split}/{name}: {count} images of {instances} objects", flush=True)


def build(args):
    """Build the data set in a temporary folder beside OUT, then rename it."""
    out = Path(args.out)
    if out.exists():
        raise BuildError(f"{out} exists already; remove it or choose another --out")
    out.parent.mkdir(parents=True, exist_ok=True)
    print("loading objects and backgrounds", flush=True)
    sources = Sources(Path(args.root), args.seed)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        write_all(partial, sources, args)
        os.chmod(partial, 0o755)
        os.rename(partial, out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    print(f"wrote {out}")


def positive(text):
    """Parse a positive integer argument."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def picture_size(text):
    """Parse the picture size: room for the smallest object is needed."""
    value = int(text)
    if value < 32:
        raise argparse.ArgumentTypeError("must be at least 32")
    return value


def share(text):
    """Parse a share between 0 and 1."""
    value = float(text)
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError("must lie between 0 and 1")
    return value


def parse_arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Build the demo's image-classification data set from Debian packages: "
                    "cut-out objects (tuxpaint-stamps-default) on photographs "
                    "(mate-backgrounds, lomiri-wallpapers-16.04, "
                    "plasma-workspace-wallpapers, gcompris-qt-data).",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--out", required=True, help="folder to make; must not exist")
    parser.add_argument("--seed", type=int, default=0, help="seed of every random choice")
    parser.add_argument("--size", type=picture_size, default=224,
                        help="side of a picture in pixels")
    parser.add_argument("--train-per-class", type=positive, default=1100,
                        help="training pictures of each class")
    parser.add_argument("--val-per-class", type=positive, default=260,
                        help="validation pictures of each class")
    parser.add_argument("--distractor-share", type=share, default=0.25,
                        help="share of pictures that also show a thing of no class")
    parser.add_argument("--root", default="/", help="where the Debian packages are unpacked")
    return parser.parse_args()


def main():
    """Run the program; problems the user can mend go to stderr with status 1."""
    try:
        build(parse_arguments())
    except (BuildError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
