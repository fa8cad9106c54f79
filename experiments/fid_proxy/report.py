"""docs/fid_proxy.md and its figures, from the measured numbers alone."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from experiments.fid_proxy.measure import Numbers
from experiments.reports.statistics import mean, mean_and_std, standard_deviation
from gan.arrays import write_atomically

# Okabe & Ito's palette, which colour-blind readers can tell apart, and two greys.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999", "#B2A100")
COLLAPSED = 0.1  # coverage of 5,000 images
TARGETS = {"all": 0.95, "late": 0.8}  # of the rank agreement


def write_report(results: Numbers, out: Path) -> Path:
    """Write fid_proxy.md and images/fid_proxy_*.png under `out`, and return the page."""
    (out / "images").mkdir(parents=True, exist_ok=True)
    for name, draw in (
        ("disturbances", _draw_disturbances),
        ("modes", _draw_modes),
        ("sample_sizes", _draw_sample_sizes),
    ):
        _save(draw(results), out / "images" / f"fid_proxy_{name}.png")
    for of, agreement in results["agreement"].items():
        _save(_draw_agreement(agreement, results["about"]["steps"]), out / "images" / _agreement_png(of))
    page = out / "fid_proxy.md"
    write_atomically(page, _page(results).encode())
    return page


def _save(figure: matplotlib.figure.Figure, file: Path) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110)
    write_atomically(file, buffer.getvalue())


def _page(results: Numbers) -> str:
    about = results["about"]
    parts = [
        _introduction(results),
        _limits(about["classes"]),
        _noise(results),
        _disturbances(results["disturbances"]),
        _modes(results["modes"]),
        _sample_sizes(results),
        _agreement(results["agreement"], about),
        f"""## How this page was made

    {about["command"]}

made all text, tables and figures of this page, with the code of commit {about.get("mlflow.source.git.commit", "unknown")[:10]}\
{" with changes" if about.get("git_dirty") == "true" else ""}, {about["num_images"]:,} images per score and {about["seeds"]} \
seeds. Its trainings are kept, so a second call measures only what is new. These GANs were trained with the code of commit
{" and ".join(about["trained_at"])}.
""",
    ]
    return "\n".join(parts)


def _introduction(results: Numbers) -> str:
    proxy = results["proxy"]
    return f"""# The FID proxy, measured

`eval/fid_proxy` is the Fréchet distance between generated and real images in 64 features of a small network that
ships with the program (`{proxy["id"]}`): six 3×3 convolutions, trained on all ten classes of CIFAR-10 by
`python experiments/train_features.py` ({proxy["epochs"]} epochs, {proxy["minutes"]} minutes; it names the class of
{proxy["test_accuracy"]:.1%} of the test images). The features are the mean activations of its last three sizes
(16×16, 8×8, 4×4), standardised (the 4×4 ones to twice the deviation of the others) and projected by a PCA that
was fitted on all of CIFAR-10.

A number needs a scale. For CIFAR-10's {_plural(results["about"]["classes"][0])}, two random halves of the real images are
**{proxy["real_baseline"]:.2f}** apart and uniform noise is at **{proxy["noise_baseline"]:.0f}**; a run prints both at its start and beside its final score.
Compare scores only with the same extractor id, number of images and data set.
"""


def _disturbances(disturbances: Numbers) -> str:
    rows = []
    for name, kind in disturbances.items():
        scores = np.array(kind["scores"])
        cells = [
            f"{level:g}: {mean(row):.2f} ± {standard_deviation(row):.2f}"
            for level, row in zip(kind["levels"], scores, strict=True)
        ]
        rising = "yes" if (np.diff(scores, axis=0) > 0).all() else "NO"
        rows.append([f"{name} ({kind['unit']})", *cells, rising])
    table = _table(["disturbance", *(f"level {k}: score" for k in range(1, 6)), "rises for every seed"], rows)
    return f"""## Does it rise when images get worse?

Four fifths of the real images, chosen again for each seed, are damaged more and more. Mean ± standard deviation over seeds.

![Response to disturbances](images/fid_proxy_disturbances.png)

{table}
"""


def _modes(modes: Numbers) -> str:
    names = list(next(iter(modes.values())))
    rows = [[images, *(mean_and_std(scores[name]) for name in names)] for images, scores in modes.items()]
    return f"""## Does it rise when variety is lost?

Real images are put into ten clusters (k-means in the features of another network). Some clusters are removed, and the
rest is drawn with replacement. The last row repeats 100 images. (Both sets hold the same images here, so the kernel
distance starts below 0, and the distance to the nearest image is 0.)

![Missing modes](images/fid_proxy_modes.png)

{_table(["", *names], rows)}
"""


def _sample_sizes(results: Numbers) -> str:
    sizes = results["sample_sizes"]
    names = [name for name in next(iter(sizes.values())) if name != "expected_excess"]
    rows = []
    for count, scores in sizes.items():
        left = np.mean(scores["fid_proxy"]) - scores["expected_excess"]
        cells = [mean_and_std(scores[name]) for name in names]
        rows.append([f"{int(count):,}", cells[0], f"{scores['expected_excess']:.2f}", f"{left:.2f}", *cells[1:]])
    head = ["images", names[0], "expected excess", "what is left", *names[1:]]
    return f"""## How many images?

One generator (the first of those below, at its end) with other latents for each seed. The Fréchet distance of few images is too
high, by an amount that falls as 1/N. Therefore scores of different N are not comparable. (The expected excess is that of
two samples of one Gaussian with the real images' covariance.)

![Number of images](images/fid_proxy_sample_sizes.png)

{_table(head, rows)}
"""


def _agreement_png(of: str) -> str:
    return f"fid_proxy_agreement_{of}.png"


def _agreement(by_class: Numbers, about: Numbers) -> str:
    first, agreement = next(iter(by_class.items()))
    runs = list(dict.fromkeys(row["run"] for row in agreement["rows"]))
    when = list(next(iter(agreement["proxy"].values())))
    among = [
        [pair, *(f"{value:.3f}" for value in ranks.values())] for pair, ranks in agreement["among_references"].items()
    ]
    readings = [
        [
            reading,
            *(f"{ranks[reference][w]:.3f}" for reference in ("resnet", "rotation", "both networks") for w in when),
        ]
        for reading, ranks in agreement["readings"].items()
    ]
    last = {row["run"]: row for row in agreement["rows"]}
    ends = [
        [
            run,
            f"{row['step']:,}",
            *(f"{row['scores'][n]:.3g}" for n in row["scores"]),
            *(f"{row[n]:.3g}" for n in agreement["proxy"]),
        ]
        for run, row in last.items()
    ]
    collapsed = [run for run, row in last.items() if row["scores"]["coverage"] < COLLAPSED]
    return f"""## Does it rank generators as others do?

{len(agreement["rows"])} generators of {_plural(first)}: checkpoints of {len(runs)} different trainings ({", ".join(runs)}), each of
{about["steps"]:,} updates. The references have other weights, seeds and tasks:

- `resnet`: residual blocks trained on the classes, with the same images and the same optimiser;
- `rotation`: strided convolutions that learned which way is up, and never saw a class;
- `random_cnn`: the proxy's architecture with random weights;
- the sliced Wasserstein distance of pixels, without a network;
- both networks: the mean of the ranks by `resnet` and `rotation`.

Numbers are Spearman's rank correlation of the proxy with the Fréchet distance in each reference's features. *Late* is
after the middle of the training. *Better half* is the better half of the late generators by the reference, where ranking
is hardest. The agreement of the references with each other shows how much can be expected of the proxy.

![Agreement, {_plural(first)}](images/{_agreement_png(first)})

{_ranks(agreement)}

The same among the references:

{_table(["references", *when], among)}

Our targets, {" and ".join(f"{when} ≥ {target}" for when, target in TARGETS.items())}:

{_targets(agreement)}
{"".join(_other_class(of, other) for of, other in by_class.items() if of != first)}
The last checkpoint of each training on {_plural(first)} (proxy metrics, then the references); collapsed, with a coverage below {COLLAPSED}:
{", ".join(collapsed) or "none"}.

{_table(["run", "step", *next(iter(last.values()))["scores"], *agreement["proxy"]], ends)}

The same network read in other ways, against `resnet`, `rotation` and both. The proxy's reading was chosen among these
by the checkpoints of this page, which flatters it a little:

{_table(["features", *(f"{reference}, {w}" for reference in ("resnet", "rotation", "both networks") for w in when)], readings)}
"""


def _ranks(agreement: Numbers) -> str:
    rows = [[name, *(f"{value:.3f}" for value in ranks.values())] for name, ranks in agreement["proxy"].items()]
    return _table(["reference", *next(iter(agreement["proxy"].values()))], rows)


def _targets(agreement: Numbers) -> str:
    return "\n".join(
        f"- {reference}: "
        + ", ".join(f"{when} {'met' if ranks[when] >= target else 'NOT MET'}" for when, target in TARGETS.items())
        for reference, ranks in agreement["proxy"].items()
    )


def _other_class(of: str, agreement: Numbers) -> str:
    return f"""
### {_plural(of).capitalize()}

The same trainings with {_plural(of)}, {len(agreement["rows"])} generators, against the same references:

![Agreement, {_plural(of)}](images/{_agreement_png(of)})

{_ranks(agreement)}

{_targets(agreement)}
"""


def _plural(of: str) -> str:
    return f"{of}s"


def _noise(results: Numbers) -> str:
    sizes = results["sample_sizes"]
    rows = next(iter(results["agreement"].values()))["rows"]
    finals = {row["run"]: row["scores"]["fid_proxy"] for row in rows}
    curves: dict[str, list[float]] = {}
    for row in rows:
        curves.setdefault(row["run"], []).append(row["scores"]["fid_proxy"])
    same = [score for run, score in finals.items() if "tutorial-" in run]
    late = [np.abs(np.diff(curves[run][len(curves[run]) // 2 :])).mean() for run in curves if "tutorial-" in run]
    lines = [
        [
            f"latents, {int(count):,} images",
            f"{standard_deviation(scores['fid_proxy']):.3f}",
            f"{len(scores['fid_proxy'])} banks",
        ]
        for count, scores in sizes.items()
    ]
    lines.append(["training seed", f"{standard_deviation(same):.3f}", f"{len(same)} tutorial runs at their end"])
    lines.append(["time", f"{np.mean(late):.3f}", "neighbouring late checkpoints of the tutorial runs"])
    lines.append(["settings", f"{standard_deviation(list(finals.values())):.3f}", f"{len(finals)} runs at their end"])
    return f"""## How large is the noise?

The standard deviation of the score, by what changes; for `time`, the mean step from one score to the next. Few training seeds
give only a rough value: [the results](results.md) have it from six and more. A difference between two settings must therefore
be confirmed on fresh seeds.

{_table(["what changes", "fid_proxy varies by", "over"], lines)}
"""


def _limits(classes: Sequence[str]) -> str:
    return f"""## What it cannot see

- **Memorisation.** A generator that repeats training images scores perfectly. `eval/nn_distance` watches for that: the
  median feature distance of generated images to the nearest training image, relative to that of held-out test images.
  New images have about 1; far below 1 they are copies. (Blurred, typical images also lie near: look at them.) It is left
  out if no images are held out, or all images are alike. It sees mirrored copies badly.
- **What the mean of an activation loses**: where in the image something is, and fine texture beyond 32×32.
- **Other kinds of images.** The network knows CIFAR-10's classes. Generators were ranked for
  {", ".join(map(_plural, classes))}, everything else was measured on {_plural(classes[0])}. This page says nothing about
  drawings, faces or other classes.
- **Differences below the noise** of the next section, and generators whose scores lie that close together.
"""


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _figure(rows: int, columns: int, width: float, height: float) -> tuple[matplotlib.figure.Figure, Any]:
    figure = matplotlib.figure.Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _errorbar(
    axis: Any, x: Sequence[float], scores: np.ndarray | list[list[float]], colour: str, label: str | None = None
) -> None:
    """Draw mean ± standard deviation at each x. scores: those of each x, one a seed."""
    deviations = [standard_deviation(row) for row in scores]
    axis.errorbar(x, [mean(row) for row in scores], deviations, label=label, color=colour, marker="o", capsize=3)


def _draw_disturbances(results: Numbers) -> matplotlib.figure.Figure:
    figure, axes = _figure(2, 3, 11, 6)
    for axis, (name, kind) in zip(axes.flat, results["disturbances"].items(), strict=True):
        scores = np.array(kind["scores"])
        axis.plot(kind["levels"], scores, color="#999999", linewidth=0.8)
        _errorbar(axis, kind["levels"], scores, COLOURS[0])
        axis.set(title=name, xlabel=kind["unit"], ylabel="FID proxy", ylim=(0, None))
    return figure


def _draw_modes(results: Numbers) -> matplotlib.figure.Figure:
    modes = results["modes"]
    figure, axes = _figure(1, 2, 10, 4)
    labels = [label.partition(" ")[0] if "clusters" in label else "100\nimages" for label in modes]
    for axis, names, label in zip(
        axes.flat, (["fid_proxy"], ["coverage", "density"]), ("FID proxy", "fraction"), strict=True
    ):
        for name, colour in zip(names, COLOURS, strict=False):
            _errorbar(axis, range(len(labels)), [scores[name] for scores in modes.values()], colour, name)
        axis.set(xlabel="clusters removed, of 10", ylabel=label, ylim=(0, None))
        axis.set_xticks(range(len(labels)), labels)
        axis.legend(frameon=False)
    return figure


def _draw_sample_sizes(results: Numbers) -> matplotlib.figure.Figure:
    sizes = results["sample_sizes"]
    figure, axes = _figure(1, 3, 12, 3.8)
    counts = [int(count) for count in sizes]
    for axis, name in zip(axes.flat, ("fid_proxy", "kid_proxy", "coverage"), strict=True):
        _errorbar(axis, counts, [scores[name] for scores in sizes.values()], COLOURS[0])
        axis.set(xlabel="images", ylabel=name)
    return figure


def _draw_agreement(agreement: Numbers, steps: int) -> matplotlib.figure.Figure:
    references = list(agreement["proxy"])
    columns = 2
    figure, axes = _figure(-(-len(references) // columns), columns, 10, 4.2 * -(-len(references) // columns))
    runs = list(dict.fromkeys(row["run"] for row in agreement["rows"]))
    middle = steps / 2
    for axis in axes.flat[len(references) :]:
        axis.remove()
    for axis, reference in zip(axes.flat, references, strict=False):
        for run, colour in zip(runs, COLOURS, strict=False):
            rows = [row for row in agreement["rows"] if row["run"] == run]
            x, y = [row["scores"]["fid_proxy"] for row in rows], [row[reference] for row in rows]
            late = [row["step"] > middle for row in rows]
            axis.scatter(x, y, 26, [colour if is_late else "none" for is_late in late], edgecolors=colour, label=run)
        ranks = agreement["proxy"][reference]
        title = f"{reference}: {ranks['all']:.3f}, late (filled) {ranks['late']:.3f}"
        ylabel = f"mean rank by {reference}" if reference == "both networks" else f"distance by {reference}"
        axis.set(title=title, xscale="log", yscale="log", xlabel="FID proxy", ylabel=ylabel)
        for scale in (axis.xaxis, axis.yaxis):
            scale.set_major_locator(LogLocator(subs=(1, 2, 5)))
            scale.set_major_formatter(StrMethodFormatter("{x:g}"))
            scale.set_minor_formatter(NullFormatter())
    axes.flat[0].legend(frameon=False, fontsize=8)
    return figure
