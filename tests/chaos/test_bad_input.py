"""Random input at every door: success, or one line of an error. Never a stack trace or a half-made record.

The doors are called in this process: what stands before them in the programs only prints
their errors. `test_run.py` and `test_optuna_search.py` try the programs themselves.
EXPLORE=1 in the environment tries other cases each time.
"""

import io
import json
import os
import pickle
import string
import tarfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import THOROUGH, batch, noise_images
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from experiments.cli.arguments import parse_arguments
from experiments.cli.compose import GROUPS, compose_config
from experiments.cli.overrides import expand_sweep, quote_texts
from experiments.evaluate import Evaluation
from experiments.records.folders import Records, RunFolder
from experiments.settings.rules import check, describe, text_keys
from experiments.settings.schema import Config
from experiments.training.facts import read_records
from gan.checkpoint import Checkpoint, CheckpointError, Checkpoints, read
from gan.data.contract import DataWarning
from gan.data.dataset import load_dataset
from gan.errors import ConfigError
from gan.evaluation.weights import CIFAR_CNN_FILE, FOLDER, find_weights
from sweeps.spec.read_plan import read_plan

PART = 1 if THOROUGH else 10  # of the cases, one in so many

Door = Callable[[], Any]
TRIED: Counter[str] = Counter()  # cases by door and outcome


def many(cases: int) -> settings:
    unfit = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    same = "EXPLORE" not in os.environ  # cases are the same each time unless others are asked for
    return settings(
        max_examples=cases // PART,
        deadline=None,
        suppress_health_check=unfit,
        print_blob=True,
        database=None,
        derandomize=same,
    )


def knock(name: str, door: Door) -> Any:
    """What comes out; None for an error, which then is one line of some use."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        try:
            result = door()
        except (ConfigError, CheckpointError) as error:
            line = str(error)
            assert "\n" not in line
            assert 10 < len(line) < 2000
            assert "Traceback" not in line
            TRIED[f"{name}: an error"] += 1
            return None
    TRIED[f"{name}: success"] += 1
    return result


@pytest.fixture(scope="module", autouse=True)
def enough_cases() -> Iterator[None]:
    yield
    print("\n" + "\n".join(f"{count:5d} {entry}" for entry, count in sorted(TRIED.items())))
    assert sum(TRIED.values()) >= 2000 // PART or len(TRIED) < 16, TRIED  # unless only some of the tests were run


KEYS = [
    *describe(Config),
    "data",
    "experiment",
    "model",
    "train",
    "hydra.verbose",
    "search.trials",
    "+model.x",
    "~seed",
]
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12)
NUMBERS = st.one_of(st.integers(-(10**20), 10**20), st.integers(-2, 40), st.floats(), st.floats(0, 1)).map(str)
OWN_WORDS = st.sampled_from(["null", "true", "ship", "auto", "tutorial", "fresh", "last", "all", "mine", "../x", "~/x"])
PLAIN = st.one_of(
    NUMBERS, OWN_WORDS, WORDS, st.sampled_from(["${seed}", "${x}", "${oc.env:HOME}", "'", "[", "{a:", "\\"])
)
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5).map(lambda xs: f"[{','.join(xs)}]"),
        st.lists(inner, max_size=3).map(lambda xs: "{" + ",".join(f"k{i}:{x}" for i, x in enumerate(xs)) + "}"),
        st.lists(inner, max_size=4).map(lambda xs: f"choice({','.join(xs)})"),
        st.lists(inner, max_size=4).map(",".join),
        st.lists(inner, min_size=1, max_size=3).map(lambda xs: f"interval({','.join(xs)})"),
        st.lists(inner, min_size=1, max_size=3).map(lambda xs: f"range({','.join(xs)})"),
        inner.map(lambda x: f"tag(log,{x})"),
        inner.map(lambda x: f"int({x})"),
        inner.map(lambda x: f"shuffle({x})"),
        inner.map(lambda x: f"glob({x})"),
    ),
    max_leaves=6,
)


@st.composite
def typo(draw: st.DrawFn, word: str) -> str:
    place, letter = draw(st.integers(0, len(word))), draw(st.sampled_from(string.ascii_lowercase + "._=@+~/"))
    return word[:place] + letter + word[place + draw(st.integers(0, 1)) :]


OVERRIDE = st.one_of(
    st.builds("{}={}".format, st.sampled_from(KEYS), VALUES),
    st.builds("{}={}".format, st.sampled_from(KEYS).flatmap(typo), PLAIN),
    WORDS,
)


def valid(config: Config) -> None:
    """A configuration that was let in keeps every rule."""
    check(config)
    for key in ("optim.generator_learning_rate", "train.label_noise"):
        section, name = key.split(".")
        assert np.isfinite(getattr(getattr(config, section), name))


@many(500)
@given(st.lists(OVERRIDE, min_size=1, max_size=3))
def test_overrides(overrides: list[str]) -> None:
    def door() -> Config:
        return compose_config(quote_texts(overrides, text_keys(Config), GROUPS))

    config = knock("overrides", door)
    if config is not None:
        valid(config)
        if config.name is not None:  # a name is a folder below runs/, whatever it is
            assert (Records(Path("/r")).runs / config.name).resolve().parent == Path("/r/runs")


@many(150)
@given(st.lists(OVERRIDE, min_size=1, max_size=3))
def test_sweeps(overrides: list[str]) -> None:
    def door() -> list[Config]:
        jobs = expand_sweep(quote_texts(overrides, text_keys(Config), GROUPS, multirun=True))
        return [compose_config(job) for job in jobs[:3]]

    for config in knock("multirun", door) or []:
        valid(config)


@many(400)
@given(
    st.lists(st.one_of(OVERRIDE, st.builds("search.{}={}".format, st.sampled_from(
        ["trials", "hours", "steps", "workers", "sampler", "pruner", "study", "seed", "retries", "confirm.top", "space"]
    ), VALUES)), min_size=1, max_size=3)
)  # fmt: skip
def test_spaces(overrides: list[str]) -> None:
    plan = knock("spaces", lambda: read_plan(overrides))
    if plan is not None:
        valid(plan.config)
        assert plan.space
        assert plan.budget >= 2
        for key, value in plan.baseline.items():  # trial 0 can be trained
            valid(compose_config(plan.trial_overrides({key: value})))


YAML = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), WORDS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(WORDS, inner, max_size=3)),
    max_leaves=8,
)
SECTIONS = ["model", "train", "optim", "data", "eval", "records", "seed", "name", "defaults", "hydra", "x"]


@many(250)
@given(
    content=st.one_of(
        st.dictionaries(st.sampled_from(SECTIONS), YAML, max_size=3).map(lambda d: yaml.safe_dump(d).encode()),
        st.dictionaries(
            st.sampled_from(SECTIONS),
            st.dictionaries(st.sampled_from([k.rpartition(".")[2] for k in describe(Config)]), YAML),
        ).map(lambda d: yaml.safe_dump(d).encode()),
        st.binary(max_size=60),
        st.sampled_from([b"!!python/object/apply:os.system ['touch owned']", b"a: &a [*a]", b"{", b"\t:", b"- 1"]),
    ),
    header=st.sampled_from(["# @package _global_\n", ""]),
)
def test_presets(content: bytes, header: str, tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir(exist_ok=True)
    (tmp_path / "experiment" / "mine.yaml").write_bytes(header.encode() + content)
    config = knock("presets", lambda: compose_config(["experiment=mine"], str(tmp_path)))
    if config is not None:
        valid(config)
    assert not Path("owned").exists()


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """A few bytes changed, a part lost, something appended, or something else altogether."""
    data = bytearray(content)
    kind = draw(st.sampled_from(["bytes", "cut", "more", "else"]))
    if kind == "bytes":
        # Half of the places are at the ends, where the formats keep their words.
        spots = st.one_of(st.integers(0, len(data) - 1), st.integers(0, min(300, len(data)) - 1))
        spots = st.one_of(spots, spots.map(lambda k: len(data) - 1 - k))
        for spot in draw(st.lists(spots, min_size=1, max_size=8)):
            data[spot] = draw(st.integers(0, 255))
    elif kind == "cut":
        del data[draw(st.integers(0, len(data))) :]
    elif kind == "more":
        data += draw(st.binary(min_size=1, max_size=20))
    else:
        return draw(st.binary(max_size=200))
    return bytes(data)


def npz_bytes(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


ARRAYS = st.sampled_from(
    [
        npz_bytes(images=noise_images(41)),
        npz_bytes(images=noise_images(41), labels=np.arange(41) % 2),
        npz_bytes(images=noise_images(41).astype(np.float32)),
        npz_bytes(images=noise_images(3)),
        npz_bytes(images=np.uint8(3)),
        npz_bytes(images=np.zeros((41, 32, 32), np.uint8)),
        npz_bytes(images=noise_images(41), labels=np.array(["a"] * 41)),
        npz_bytes(images=noise_images(41), labels=np.arange(41) - 50),
        npz_bytes(images=noise_images(41), test_images=noise_images(2)[..., 0]),
        npz_bytes(images=np.array([{}], object)),
        npz_bytes(pictures=noise_images(41)),
    ]
)


@many(200)
@given(content=st.one_of(ARRAYS, ARRAYS.flatmap(damaged)), class_id=st.sampled_from(["all", 0, 1, 8, "ship"]))
def test_npz(content: bytes, class_id: int | str, tmp_path: Path) -> None:
    file = tmp_path / "x.npz"
    file.write_bytes(content)
    dataset = knock("npz", lambda: load_dataset("auto", str(file), class_id, tmp_path / "cache"))
    if dataset is not None:
        assert dataset.train.dtype == np.uint8
        assert dataset.train.shape[1:] == (32, 32, 3)


def image_bytes(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(noise_images(1)[0]).resize((40, 36)).save(buffer, kind)
    return buffer.getvalue()


IMAGES = {kind: image_bytes(kind) for kind in ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "ICO", "PPM", "AVIF")}


@many(150)
@given(
    data=st.data(),
    kind=st.sampled_from(list(IMAGES)),
    suffix=st.sampled_from([".png", ".jpg", ".tif", ".ico", ".gif", ".eps"]),
)
def test_picture_files(data: st.DataObject, kind: str, suffix: str, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    if not folder.exists():
        folder.mkdir()
        for k in range(40):
            (folder / f"{k}.png").write_bytes(IMAGES["PNG"])
    for old in folder.glob("odd.*"):
        old.unlink()
    (folder / f"odd{suffix}").write_bytes(data.draw(damaged(IMAGES[kind])))
    dataset = knock("images", lambda: load_dataset("folder", str(folder), "all", tmp_path / "cache"))
    assert dataset is not None  # one bad image is left out
    assert len(dataset.train) in (40, 41)


def cifar_batch() -> bytes:
    return pickle.dumps(batch(noise_images(10), np.arange(10)), protocol=2)


class Harm:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path("owned").touch, ())


CIFAR = cifar_batch()


@many(150)
@given(
    content=st.one_of(damaged(CIFAR), st.just(pickle.dumps(Harm()))),
    packed=st.booleans(),
    place=st.sampled_from(["", "../", "/", "a/"]),
)
def test_cifar10(content: bytes, packed: bool, place: str, tmp_path: Path) -> None:
    names = [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]
    contents = {name: content if name == "data_batch_3" else CIFAR for name in names}
    if packed:
        path = tmp_path / "cifar.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            for name, data in contents.items():
                member = tarfile.TarInfo(f"{place}{name}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    else:
        path = tmp_path / "batches"
        path.mkdir(exist_ok=True)
        for name, data in contents.items():
            (path / name).write_bytes(data)
    dataset = knock("cifar10", lambda: load_dataset("cifar10", str(path), "all", tmp_path / "cache"))
    assert dataset is None or dataset.train.shape[1:] == (32, 32, 3)
    assert not Path("owned").exists()
    beside = {"cache", "cifar.tar.gz", "batches"}
    assert {path.name for path in tmp_path.iterdir()} <= beside  # nothing was written elsewhere


@many(150)
@given(content=st.binary(max_size=300), gzipped=st.booleans())
def test_archives(content: bytes, gzipped: bool, tmp_path: Path) -> None:
    file = tmp_path / "x.tar.gz"
    file.write_bytes((b"\x1f\x8b\x08" if gzipped else b"") + content)
    assert knock("archives", lambda: load_dataset("auto", str(file), 8, tmp_path / "cache")) is None


def checkpoint_bytes(folder: Path) -> bytes:
    file = Checkpoints(folder).save(Checkpoint(2, {"a": np.arange(50.0), "b": np.float32(1)}, {"best_score": None}))
    return file.read_bytes()


@many(250)
@given(data=st.data())
def test_checkpoints(data: st.DataObject, tmp_path: Path) -> None:
    """What is read is what was saved, or an error: CRC-32 sees every changed byte of an array."""
    file = tmp_path / "step_00000002.npz"
    content = checkpoint_bytes(tmp_path)
    file.write_bytes(data.draw(st.one_of(damaged(content), ARRAYS.flatmap(damaged))))
    arrays = knock("checkpoints", lambda: read(file))
    if arrays is not None and "a" in arrays.arrays:
        np.testing.assert_array_equal(arrays.arrays["a"], np.arange(50.0))
    file.write_bytes(content)


WEIGHTS = (FOLDER / CIFAR_CNN_FILE).read_bytes()


@many(60)
@given(content=damaged(WEIGHTS))
def test_extractor_weights(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "weights.npz"
    file.write_bytes(content)
    weights = knock("weights", lambda: find_weights("cifar_cnn", str(file)))
    assert weights is None or weights.arrays


@many(150)
@given(data=st.data(), name=st.sampled_from(["config.yaml", "run.json"]))
def test_records(data: st.DataObject, name: str, tmp_path: Path) -> None:
    """A run's own files, damaged."""
    folder = RunFolder(tmp_path / "runs" / "run")
    folder.path.mkdir(parents=True, exist_ok=True)
    facts = {"dataset": {"sha256": "a", "description": "b"}, "tags": {}, "params": {}, "created": 1}
    contents = {"config.yaml": yaml.safe_dump({"model": {"dropout": 0.3}}), "run.json": json.dumps(facts)}
    for file_name, text in contents.items():
        (folder.path / file_name).write_text(text)
    (folder.path / name).write_bytes(data.draw(damaged(contents[name].encode())))
    found = knock("records", lambda: read_records(folder))
    if found is not None:
        valid(found[0])


@many(200)
@given(st.lists(st.one_of(OVERRIDE, st.builds("{}={}".format, st.sampled_from([*describe(Evaluation)]), VALUES))))
def test_arguments(arguments: list[str]) -> None:
    args = knock("arguments", lambda: parse_arguments(Evaluation, arguments))
    if args is not None:
        check(args)
