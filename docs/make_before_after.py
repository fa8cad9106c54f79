"""Draw docs/images/before_after.gif: two runs side by side as they train, equal latents at equal steps, with their scores.

    python experiments/run.py experiment=tutorial seed=101 name=before train.steps=5000 train.grid_every_steps=250 \
        train.precision=mixed_bfloat16
    python experiments/run.py experiment=tuned seed=101 name=after train.steps=5000 train.grid_every_steps=250 \
        train.precision=mixed_bfloat16
    python docs/make_before_after.py before=before after=after
"""

from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageDraw

from experiments.cli import entry
from experiments.cli.arguments import with_arguments
from experiments.records import journal
from experiments.records.folders import Records, RunFolder
from experiments.settings.rules import NotEmpty, setting
from experiments.settings.schema import RecordsConfig
from gan import metric_names
from gan.errors import ConfigError
from gan.images import evenly

FILE = Path(__file__).parent / "images" / "before_after.gif"
FRAMES = 11  # at most
MILLISECONDS, AT_THE_END = 450, 4000  # that a frame stays
SIDE, GAP, LINE = 400, 20, 52  # pixels: of a grid, between the two, of the words below
TITLES = ("the tutorial's settings", "tuned settings")


@dataclass
class Pair:
    before: str = setting("before", "run: name, folder or MLflow id", NotEmpty())
    after: str = setting("after", "run: name, folder or MLflow id", NotEmpty())
    records: RecordsConfig = field(default_factory=RecordsConfig)


def main(args: Pair) -> int:
    records = Records.at(args.records.root)
    runs = [records.find_run(args.before, "before"), records.find_run(args.after, "after")]
    samples = [run.sample_files for run in runs]
    steps = sorted(set(samples[0]) & set(samples[1]))
    if len(steps) < 2:
        raise ConfigError("after", "a run with samples at the steps of the other", args.after)
    frames = [_frame(step, [files[step] for files in samples], runs) for step in evenly(steps, FRAMES)]
    durations = [*[MILLISECONDS] * (len(frames) - 1), AT_THE_END]
    sheets = [
        frame.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=3, dither=Image.Dither.NONE) for frame in frames
    ]
    sheets[0].save(FILE, save_all=True, append_images=sheets[1:], duration=durations, loop=0, optimize=True)
    print(f"{FILE.relative_to(Path.cwd())}, {len(sheets)} frames, {FILE.stat().st_size / 1e6:.2f} MB")
    return 0


def _frame(step: int, files: list[Path], runs: list[RunFolder]) -> Image.Image:
    """Return one frame: two grids, and below each the settings and the newest score so far."""
    sheet = Image.new("RGB", (2 * SIDE + GAP, SIDE + LINE), "white")
    draw = ImageDraw.Draw(sheet)
    for column, (file, run, title) in enumerate(zip(files, runs, TITLES, strict=True)):
        left = column * (SIDE + GAP)
        with Image.open(file) as grid:
            sheet.paste(grid.convert("RGB").resize((SIDE, SIDE), Image.Resampling.NEAREST), (left, 0))
        score = _score(run, step)
        draw.text((left + 4, SIDE + 4), title, fill="black", font_size=18)
        words = f"{step:,} updates" + (f", FID proxy {score:.3g}" if score is not None else "")
        draw.text((left + 4, SIDE + 27), words, fill="#444444", font_size=18)
    return sheet


def _score(run: RunFolder, step: int) -> float | None:
    """Return the newest in-run score at a step, None before the first."""
    scores = dict(zip(*journal.curve(run.journal, metric_names.FID_PROXY), strict=True))
    return max((s, value) for s, value in scores.items() if s <= step)[1] if scores and min(scores) <= step else None


if __name__ == "__main__":
    entry.run(with_arguments(Pair, main, __doc__))
