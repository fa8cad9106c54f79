"""Samples from the generator of a run; the data set is not needed.

    python experiments/generate.py                                     # 64 samples of the last run
    python experiments/generate.py best:gan num_images=1000 out=samples.npz
    python experiments/generate.py last seed=1 grid=4x12 out=grid.png
    python experiments/generate.py last interpolate=3:7 out=walk.gif
    python experiments/generate.py last latents=mine.npy out=folder/

`out` says by its name what is made: an image (.png), an animation (.gif), arrays `images`
(N, 32, 32, 3) uint8 and `latents` (N, latent_dim) float32 (.npz), a folder of one image
each, or the generator itself (.keras), which Keras opens without this project. Equal
seeds give equal latents in every run of the same latent_dim.
"""

import hashlib
import math
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from experiments.cli import entry
from experiments.cli.arguments import with_arguments
from experiments.cli.paths import shown
from experiments.cli.progress import Output, stage
from experiments.cli.stderr import native_stderr_to
from experiments.records.folders import Records, RunFolder, check_folder, make_folder
from experiments.reports.ending import end
from experiments.settings.rules import Interval, NotEmpty, setting
from experiments.settings.schema import RecordsConfig
from experiments.training.facts import read_records
from experiments.training.generator import find_checkpoint, load_generator, sample_latents, write_generator
from gan.arrays import read_npy, write_npz
from gan.errors import ConfigError
from gan.images import grid, save_frames, save_png

FRAMES = 16  # of a walk from one image to another
MOST_IN_A_GRID = 10_000
MOST_IN_A_GIF = 1000  # takes 20 seconds
NUM_IMAGES = 64  # by default


@dataclass
class Generation:
    run: str = setting("last", "run: MLflow id, name, folder, last, or best:<study>", NotEmpty())
    step: str = setting("last", "checkpoint: last, best (by in-run score) or a step", NotEmpty())
    num_images: int | None = setting(None, "images; by default 64, or as many as fill the grid", Interval(1, 10**6))
    seed: int | None = setting(None, "of the latents; 0 by default", Interval(0))
    out: str | None = setting(
        None, "file (.png, .gif, .npz, .keras) or folder; by default an image in the run's folder", NotEmpty()
    )
    grid: str | None = setting(None, "rows and columns of the image, as 8x8; by default nearly a square", NotEmpty())
    interpolate: str | None = setting(None, "two images by their numbers, as 3:7, and the way from one to the other")
    latents: str | None = setting(None, "your own latents, .npy (N, latent_dim), instead of a seed's", NotEmpty())
    overwrite: bool = setting(False, "replace what is at `out`")
    records: RecordsConfig = field(default_factory=RecordsConfig)


def main(args: Generation) -> int:
    console = Output(highlight=False, soft_wrap=True, markup=False)
    file_latents = _read_latents(args.latents) if args.latents is not None else None
    shape, ends, count = _plan(args, file_latents)
    folder = Records.at(args.records.root).find_run(args.run, "run")
    config, _ = read_records(folder, "run")
    if file_latents is not None and file_latents.shape[1] != config.model.latent_dim:
        rule = f"(N, {config.model.latent_dim}), as the run's generator takes them"
        raise ConfigError("latents", rule, f"{file_latents.shape} in {args.latents}")
    checkpoint = find_checkpoint(folder, args.step, console)
    kind = _kind(args)
    if kind == "generator":
        for key in ("num_images", "seed", "grid", "interpolate", "latents"):
            if (value := getattr(args, key)) is not None:
                raise ConfigError(key, "absent with a .keras file, which holds no images", value)
    if kind == "GIF" and ends is None and count > MOST_IN_A_GIF:
        key = "num_images" if file_latents is None else "latents"
        raise ConfigError(key, f"at most {MOST_IN_A_GIF:,} for an animation", count, "out=folder/ takes more")
    if kind == "image" and shape[0] * shape[1] > MOST_IN_A_GRID:
        rule = f"at most {MOST_IN_A_GRID:,} for one image"
        raise ConfigError(
            "num_images" if file_latents is None else "latents", rule, count, "out=images.npz or out=folder/ takes more"
        )
    out = _out(args, kind, folder, checkpoint.step, file_latents)

    with native_stderr_to(), stage(console, "generating"):
        from gan import randomness
        from gan.evaluation.scorer import images_of

        generator = load_generator(config, checkpoint)
        make_folder(out if kind == "folder" else out.parent, "out")
        latents = file_latents
        if latents is None:
            latents = sample_latents(args.seed or 0, count, config.model.latent_dim)
        if ends is not None:
            latents = randomness.slerp(latents[ends[0]], latents[ends[1]], FRAMES)
        if kind == "generator":
            write_generator(out, generator)
        else:
            _write(out, kind, images_of(generator, latents), latents, shape)

    many = "" if kind == "generator" else f" ({len(latents):,} images)"
    console.print(f"run      {folder.name}, step {checkpoint.step:,}\n{kind:<8} {shown(out)}{many}")
    end(folder.records, console, "experiments/evaluate.py", folder.name)
    return 0


def _plan(args: Generation, file_latents: np.ndarray | None) -> tuple[tuple[int, int], tuple[int, int] | None, int]:
    """Return the grid's rows and columns, the ends of the walk, and how many latents are drawn.

    Raises ConfigError.
    """
    places, ends = _rows_columns(args), _ends(args)
    if file_latents is not None and args.seed is not None:
        raise ConfigError("seed", "absent with latents=, which are your own", args.seed)
    for key, value in (("interpolate", ends), ("latents", file_latents)):
        if value is not None and args.num_images is not None:
            raise ConfigError("num_images", f"absent with {key}=, which says how many", args.num_images)
    if ends is not None:
        if places is not None:
            raise ConfigError("grid", "absent with interpolate=, which makes a strip", args.grid)
        if file_latents is not None and max(ends) >= len(file_latents):
            raise ConfigError("interpolate", f"below {len(file_latents)}, the number of latents", args.interpolate)
        return (1, FRAMES), ends, max(ends) + 1
    count = len(file_latents) if file_latents is not None else args.num_images
    if places is None:
        count = count or NUM_IMAGES
        columns = math.ceil(math.sqrt(count))
        return (math.ceil(count / columns), columns), None, count
    if count not in (None, places[0] * places[1]):
        raise ConfigError("grid", f"of {count:,} places, one an image", args.grid)
    return places, None, places[0] * places[1]


def _rows_columns(args: Generation) -> tuple[int, int] | None:
    if args.grid is None:
        return None
    match = re.fullmatch(r"(\d{1,4})x(\d{1,4})", args.grid)
    rows, columns = map(int, match.groups()) if match else (0, 0)
    if not 0 < rows * columns <= MOST_IN_A_GRID:
        raise ConfigError("grid", f"rows x columns, as 8x8, at most {MOST_IN_A_GRID:,} places", args.grid)
    return rows, columns


def _ends(args: Generation) -> tuple[int, int] | None:
    if args.interpolate is None:
        return None
    match = re.fullmatch(r"(\d{1,6}):(\d{1,6})", args.interpolate)
    if match is None or match[1] == match[2]:
        raise ConfigError("interpolate", "two different images by their numbers, as 3:7", args.interpolate)
    return int(match[1]), int(match[2])


def _read_latents(path: str) -> np.ndarray:
    file = Path(path).expanduser()
    rule = "an .npy file of finite numbers (N, latent_dim)"
    try:
        latents = read_npy(file)
    except (OSError, ValueError) as error:
        raise ConfigError("latents", rule, path, getattr(error, "strerror", None) or str(error)) from error
    if latents.ndim != 2 or latents.dtype.kind not in "fiu" or not latents.size:
        raise ConfigError("latents", rule, path, f"it holds {latents.dtype} {latents.shape}")
    with np.errstate(over="ignore"):  # said below
        latents = latents.astype(np.float32)
    if not np.isfinite(latents).all():
        raise ConfigError("latents", rule, path, "some are NaN or infinite")
    return latents


def _kind(args: Generation) -> str:
    """Return what is made: an image, GIF, arrays, generator or folder. Raises ConfigError."""
    if args.out is None:
        return "image"
    out = Path(args.out).expanduser()
    if out.is_dir() or args.out.endswith("/") or not out.suffix:
        return "folder"
    kinds = {".png": "image", ".gif": "GIF", ".npz": "arrays", ".keras": "generator"}
    if out.suffix.lower() not in kinds:
        raise ConfigError("out", "a .png, .gif, .npz, .keras or a folder", args.out)
    return kinds[out.suffix.lower()]


def _name(args: Generation, step: int, latents: np.ndarray | None) -> str:
    """Return a name that other images do not have. latents: from the user's file."""
    source = (
        f"seed_{args.seed or 0}" if latents is None else f"latents_{hashlib.sha256(latents.tobytes()).hexdigest()[:8]}"
    )
    parts = [f"step_{step:08d}", source]
    if args.num_images not in (None, NUM_IMAGES):
        parts.append(f"{args.num_images}_images")
    if args.grid is not None:
        parts.append(args.grid)
    if args.interpolate is not None:
        parts.append(f"walk_{args.interpolate.replace(':', '_to_')}")
    return "_".join(parts)


def _out(args: Generation, kind: str, folder: RunFolder, step: int, latents: np.ndarray | None) -> Path:
    """Return the file or folder to write. Raises ConfigError."""
    if args.out is None:
        place = folder.path / "generated"
        check_folder(place, "run")
        return place / f"{_name(args, step, latents)}.png"
    out = Path(args.out).expanduser()
    if kind == "folder" and out.is_dir() and any(out.iterdir()) and not args.overwrite:
        raise ConfigError(
            "out", "an empty folder or a new one", args.out, "overwrite=true replaces the images 0.png, 1.png, ..."
        )
    numbers = _numbered(out) if kind == "folder" and out.is_dir() else []
    if [int(file.stem) for file in numbers] != [*range(len(numbers))] or len({len(f.stem) for f in numbers}) > 1:
        rule = "a folder whose numbered images, 0.png and so on, an earlier call has made"
        raise ConfigError("out", rule, args.out, f"it has {numbers[-1].name} of yours: another folder")
    if kind != "folder" and out.exists() and not args.overwrite:
        raise ConfigError("out", "new", args.out, "overwrite=true replaces it")
    check_folder(out if kind == "folder" else out.parent, "out")
    return out


def _numbered(folder: Path) -> list[Path]:
    """Return the images in a folder that have numbers for names, in their order."""
    files = [file for file in folder.iterdir() if re.fullmatch(r"[0-9]+\.png", file.name)]
    return sorted(files, key=lambda file: int(file.stem))


def _write(out: Path, kind: str, images: np.ndarray, latents: np.ndarray, shape: tuple[int, int]) -> None:
    if kind == "arrays":
        write_npz(out, {"images": images, "latents": latents})
    elif kind == "folder":
        for file in _numbered(out):  # of another call, which may have made more of them
            file.unlink()
        digits = len(str(len(images) - 1))
        for index, image in enumerate(images):
            save_png(out / f"{index:0{digits}d}.png", image)
    elif kind == "GIF":
        save_frames(out, images)
    else:
        rest = shape[0] * shape[1] - len(images)
        blank = np.full((rest, *images.shape[1:]), 255, np.uint8)
        save_png(out, grid(np.concatenate([images, blank]), *shape))


if __name__ == "__main__":
    entry.run(with_arguments(Generation, main, __doc__))
