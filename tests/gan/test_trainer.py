import dataclasses
import math
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import noise_images, small_scorer

from gan import metric_names
from gan.averaging import recalibrated
from gan.checkpoint import Checkpoints, read
from gan.evaluation.scorer import Scorer
from gan.labels import Labels
from gan.models import build_discriminator, build_generator
from gan.tracker import NullTracker
from gan.trainer import Diverged, Schedule, Trainer
from gan.update import VALUES, Update


class Recorder(NullTracker):
    """Remembers every event in order."""

    def __init__(self) -> None:
        self.events: list[tuple[int, str]] = []
        self.values: dict[tuple[int, str], float] = {}
        self.samples: dict[int, np.ndarray] = {}

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self.events += [(step, key) for key in values]
        self.values |= {(step, key): value for key, value in values.items()}

    def image(self, step: int, key: str, pixels: np.ndarray) -> None:
        self.events.append((step, key))
        self.samples[step] = pixels

    def steps(self, key: str) -> list[int]:
        return [step for step, name in self.events if name == key]


def tiny_update(images: np.ndarray | None = None, **options: Any) -> Update:
    keras.utils.set_random_seed(0)
    generator = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3072, activation="tanh", name="d"), keras.layers.Reshape((32, 32, 3))],
        name="generator",
    )
    discriminator = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            keras.layers.Flatten(name="f"),
            keras.layers.Dropout(0.3, name="dropout"),
            keras.layers.Dense(1, name="out"),
        ],
        name="discriminator",
    )
    adam = keras.optimizers.Adam
    real = noise_images(60) if images is None else images
    labels = Labels(0.1, fresh=True)
    return Update(generator, discriminator, adam(1e-3), adam(1e-3), real, batch_size=4, labels=labels, **options)


class Pool:
    """Updates that are compiled once, for all tests; one test never gets the same one twice."""

    def __init__(self) -> None:
        self._made: list[tuple[Update, list[np.ndarray]]] = []  # each with the values that it began with
        self._taken = 0

    def begin(self) -> None:
        self._taken = 0

    def take(self) -> Update:
        if self._taken == len(self._made):
            update = tiny_update()
            self._made.append((update, [variable.numpy() for variable in self._variables(update)]))
        update, values = self._made[self._taken]
        self._taken += 1
        for variable, value in zip(self._variables(update), values, strict=True):
            variable.assign(value)
        vars(update).pop("run", None)  # a test's own
        return update

    @staticmethod
    def _variables(update: Update) -> list[keras.Variable]:
        owners = (update.generator, update.discriminator, update.g_optimizer, update.d_optimizer)
        return [variable for owner in owners for variable in owner.variables]


POOL = Pool()


@pytest.fixture(autouse=True)
def all_updates_are_free() -> None:
    POOL.begin()


def tiny_trainer(folder: Path, schedule: Schedule, recorder: Recorder) -> Trainer:
    return Trainer(POOL.take(), small_scorer(noise_images(60)), Checkpoints(folder), recorder, schedule)


FEW = {"num_images": 20, "final_num_images": 30}  # to score
SCHEDULE = Schedule(
    steps=25, log_every_steps=4, grid_every_steps=10, score_every_steps=6, checkpoint_every_steps=7, **FEW
)


def test_everything_happens_exactly_when_asked(tmp_path: Path) -> None:
    recorder = Recorder()
    assert tiny_trainer(tmp_path, SCHEDULE, recorder).run() is True
    assert recorder.steps(metric_names.D_LOSS) == [4, 8, 12, 16, 20, 24, 25]
    assert recorder.steps(metric_names.SAMPLES) == [0, 10, 20, 25]
    assert recorder.steps(metric_names.FID_PROXY) == [6, 12, 18, 24, 25]
    assert [f.name for f in Checkpoints(tmp_path).files()] == [f"step_{s:08d}.npz" for s in (14, 21, 25)]
    names = {
        metric_names.D_LOSS,
        metric_names.G_LOSS,
        metric_names.D_REAL,
        metric_names.D_FAKE,
        metric_names.STEPS_PER_SECOND,
    }
    assert {key for step, key in recorder.events if step == 4} == names


def test_steps_per_call_changes_nothing_but_the_number_of_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same events, values, samples and weights; and no call goes past a step at which something is due."""
    results, calls = [], []
    run = Update.run
    monkeypatch.setattr(
        Update, "run", lambda self, first, count: calls.append((first, count)) or run(self, first, count)
    )
    due = sorted({s for every in (4, 10, 6, 7) for s in range(every, 25, every)} | {25})
    for count in (SCHEDULE.steps_per_call, 1, 3, 100):
        recorder = Recorder()
        trainer = tiny_trainer(tmp_path / str(count), dataclasses.replace(SCHEDULE, steps_per_call=count), recorder)
        calls.clear()
        trainer.run()
        results.append((recorder, trainer.update.state()))
        assert sum(made for _, made in calls) == 25
        assert all(made <= count for _, made in calls)
        assert set(due) <= {first + made - 1 for first, made in calls}

    def values(recorder: Recorder) -> dict[tuple[int, str], float]:
        return {key: value for key, value in recorder.values.items() if key[1] != metric_names.STEPS_PER_SECOND}

    usual, state = results[0]
    for recorder, other in results[1:]:
        assert recorder.events == usual.events
        assert values(recorder) == values(usual)
        for key, value in state.items():
            np.testing.assert_array_equal(value, other[key])


def test_slow_updates_are_not_made_many_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal waits for the end of a call."""
    trainer = tiny_trainer(tmp_path, Schedule(steps=24, **FEW), Recorder())
    clock, calls = [0.0], []

    class Slow:
        def __getattr__(self, name: str) -> object:
            return getattr(update, name)

        def run(self, first: int, count: int) -> tf.Tensor:
            clock[0] += 0.3 * count
            calls.append(count)
            return update.run(first, count)

    update, trainer.update = trainer.update, Slow()  # type: ignore[assignment]
    monkeypatch.setattr("gan.trainer.time.perf_counter", lambda: clock[0])
    trainer.run()
    assert calls == [1] + [3] * 7 + [2]


def test_a_best_score_in_another_extractor_is_not_taken_up(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path, SCHEDULE, Recorder())
    trainer.run()
    saved = Checkpoints(tmp_path).latest()
    assert saved.meta["fid_proxy_id"] == trainer.scorer.extractor.id
    other = dataclasses.replace(
        saved, arrays=dict(saved.arrays), meta={**saved.meta, "fid_proxy_id": "cifar_cnn-12345678"}
    )
    name = next(name for name in saved.arrays if name.startswith("generator/"))
    before = trainer.update.state()[name]
    other.arrays[name] = before + 1  # which is not taken either
    with pytest.raises(ValueError, match="its best score is in cifar_cnn-12345678"):
        trainer.restore(other)
    np.testing.assert_array_equal(trainer.update.state()[name], before)


def test_as_many_checkpoints_stay_as_asked(tmp_path: Path) -> None:
    schedule = dataclasses.replace(SCHEDULE, keep_checkpoints=2)
    tiny_trainer(tmp_path, schedule, Recorder()).run()
    assert [f.name for f in Checkpoints(tmp_path).files()] == ["step_00000021.npz", "step_00000025.npz"]


def test_points_are_means_since_the_last(tmp_path: Path) -> None:
    recorder = Recorder()
    tiny_trainer(tmp_path, SCHEDULE, recorder).run()
    update = tiny_update()
    values = np.array([update(step).numpy() for step in range(1, 9)])
    for column, name in enumerate(VALUES[:4]):
        assert recorder.values[8, name] == pytest.approx(values[4:, column].mean(), rel=1e-5)


def test_a_training_that_begins_leaves_the_checkpoints_of_another_alone(tmp_path: Path) -> None:
    schedule = Schedule(steps=4, **FEW)
    tiny_trainer(tmp_path, schedule, Recorder()).run()
    before = {file: file.read_bytes() for file in Checkpoints(tmp_path).all_files()}
    with pytest.raises(ValueError, match="has checkpoints of another training: restore one, or use another folder"):
        tiny_trainer(tmp_path, schedule, Recorder()).run()
    assert {file: file.read_bytes() for file in Checkpoints(tmp_path).all_files()} == before
    with pytest.raises(ValueError, match="keep must be at least 1; got 0"):
        Checkpoints(tmp_path).save(Checkpoints(tmp_path).latest(), keep=0)


def test_a_training_can_be_saved_before_its_first_update(tmp_path: Path) -> None:
    first = tiny_trainer(tmp_path, Schedule(steps=4, **FEW), Recorder())
    first.save()
    resumed = tiny_trainer(tmp_path, Schedule(steps=4, **FEW), Recorder())
    resumed.restore(Checkpoints(tmp_path).latest())
    assert resumed.step == 0
    assert resumed.run()


def test_the_probability_of_augmentation_is_a_curve(tmp_path: Path) -> None:
    recorder = Recorder()
    update = tiny_update(augment_target=0.5, augmentations=("color",))
    schedule = Schedule(steps=4, log_every_steps=2, **FEW)
    Trainer(update, small_scorer(noise_images(60)), Checkpoints(tmp_path), recorder, schedule).run()
    assert recorder.steps(metric_names.AUGMENT_PROBABILITY) == [2, 4]
    assert update.adaptive is not None
    assert recorder.values[4, metric_names.AUGMENT_PROBABILITY] == float(update.adaptive.probability)


def test_the_best_by_score_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = tiny_trainer(tmp_path, SCHEDULE, Recorder())
    scores = {6: 30.0, 12: 10.0, 18: 20.0, 24: 10.0, 25: 15.0}
    monkeypatch.setattr(trainer, "_scores", lambda *_: {metric_names.FID_PROXY: scores[trainer.step]})
    trainer.run()
    best = read(Checkpoints(tmp_path).best_file)
    assert (best.step, best.meta["best_score"]) == (12, 10.0)
    resumed = tiny_trainer(tmp_path, SCHEDULE, Recorder())
    resumed.restore(Checkpoints(tmp_path).latest())
    assert resumed.best_score == 10.0
    Checkpoints(tmp_path).best_file.unlink()  # as on another host, which has the state alone
    resumed.restore(Checkpoints(tmp_path).latest())
    assert resumed.best_score == math.inf


@pytest.mark.parametrize("at", [13, 21])  # the second with its checkpoint already there
def test_a_stopped_run_goes_on_to_the_same_end(tmp_path: Path, at: int) -> None:
    straight, first, second = Recorder(), Recorder(), Recorder()
    schedule = dataclasses.replace(SCHEDULE, steps_per_call=1)  # to stop at any step
    whole = tiny_trainer(tmp_path / "a", schedule, straight)
    whole.run()

    part = tiny_trainer(tmp_path / "b", schedule, first)
    assert part.run(should_stop=lambda: part.step == at) is False
    assert part.step == at
    resumed = tiny_trainer(tmp_path / "b", SCHEDULE, second)
    resumed.restore(Checkpoints(tmp_path / "b").latest())
    assert resumed.step == at
    assert resumed.run() is True

    for name, value in whole.update.state().items():
        np.testing.assert_array_equal(resumed.update.state()[name], value, err_msg=name)
    timed = metric_names.STEPS_PER_SECOND
    joined = {**first.values, **second.values}
    assert {k: v for k, v in joined.items() if k[1] != timed} == {
        k: v for k, v in straight.values.items() if k[1] != timed
    }
    np.testing.assert_array_equal(second.samples[25], straight.samples[25])


def test_more_steps_after_the_end(tmp_path: Path) -> None:
    """A run resumed with more steps agrees with one that had them from the start."""
    short, long, direct = Recorder(), Recorder(), Recorder()
    tiny_trainer(tmp_path / "a", Schedule(steps=10, log_every_steps=4, **FEW), short).run()
    more = tiny_trainer(tmp_path / "a", Schedule(steps=16, log_every_steps=4, **FEW), long)
    more.restore(Checkpoints(tmp_path / "a").latest())
    more.run()
    tiny_trainer(tmp_path / "b", Schedule(steps=16, log_every_steps=4, **FEW), direct).run()
    assert long.values[12, metric_names.D_LOSS] == direct.values[12, metric_names.D_LOSS]


def test_what_is_shown_is_the_average_with_statistics_of_its_own(tmp_path: Path) -> None:
    """Scores, grids and what is saved are of one generator; training knows nothing of it, nor the end of a stop."""

    def trainer(folder: str, recorder: Recorder, recalibrate: bool = True) -> Trainer:
        update = Update(
            build_generator(4, width=4, seed=0), build_discriminator(width=2, seed=0),
            keras.optimizers.Adam(1e-3), keras.optimizers.Adam(1e-3), noise_images(60), batch_size=4, ema_decay=0.9,
        )  # fmt: skip
        scorer = small_scorer(noise_images(60))
        checkpoints = Checkpoints(tmp_path / folder)
        return Trainer(update, scorer, checkpoints, recorder, schedule, recalibrate=recalibrate)

    schedule = Schedule(steps=6, grid_every_steps=3, score_every_steps=3, checkpoint_every_steps=4, **FEW)
    plain, shown, rest = (Recorder() for _ in range(3))
    bare = trainer("a", plain, recalibrate=False)
    bare.run()
    whole = trainer("b", shown)
    whole.run()
    for name, value in bare.update.state().items():
        np.testing.assert_array_equal(whole.update.state()[name], value)
    assert whole.eval_generator() is whole.eval_generator() is not whole.update.eval_generator
    expected = recalibrated(whole.update.eval_generator)
    for a, b in zip(whole.eval_generator().variables, expected.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    assert shown.values[6, metric_names.FID_PROXY] == whole.scorer(expected, 20)[metric_names.FID]
    assert shown.values[6, metric_names.FID_PROXY] != plain.values[6, metric_names.FID_PROXY]

    resumed = trainer("b", rest)
    resumed.restore(Checkpoints(tmp_path / "b").find("4"))
    resumed.run()
    assert rest.values[6, metric_names.FID_PROXY] == shown.values[6, metric_names.FID_PROXY]
    np.testing.assert_array_equal(rest.samples[6], shown.samples[6])


def with_values(update: Update, change: Callable[[int, np.ndarray], None]) -> Update:
    """Replace what an update reports, as divergence would."""

    class Changed:
        def __getattr__(self, name: str) -> object:
            return getattr(update, name)

        def run(self, first: int, count: int) -> tf.Tensor:
            rows = update.run(first, count).numpy()
            for step, values in enumerate(rows, start=first):
                change(step, values)
            return tf.constant(rows)

    return Changed()  # type: ignore[return-value]


def test_a_divergence_comes_back_from_another_process() -> None:
    error = Diverged(12, "train/d_loss is nan", None)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_nan_is_seen_at_the_next_log_with_its_step(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path, SCHEDULE, Recorder())

    def nan_at_ten(step: int, values: np.ndarray) -> None:
        if step >= 10:
            values[1] = np.nan

    trainer.update = with_values(trainer.update, nan_at_ten)
    with pytest.raises(Diverged, match=r"train/g_loss is nan at step 10; last finite checkpoint: step 7"):
        trainer.run()
    assert trainer.step == 12
    assert [f.name for f in Checkpoints(tmp_path).files()] == ["step_00000007.npz"]


def test_nan_is_seen_before_it_is_scored(tmp_path: Path) -> None:
    recorder = Recorder()
    trainer = tiny_trainer(tmp_path, Schedule(steps=50, log_every_steps=40, score_every_steps=6, **FEW), recorder)

    def nan_at_five(step: int, values: np.ndarray) -> None:
        values[0] = np.nan if step >= 5 else values[0]

    trainer.update = with_values(trainer.update, nan_at_five)
    with pytest.raises(Diverged, match="train/d_loss is nan at step 5"):
        trainer.run()
    assert recorder.steps(metric_names.FID_PROXY) == []


@pytest.mark.parametrize("log_every_steps", [1, pytest.param(4, marks=pytest.mark.slow), 25])
def test_a_dead_update_is_seen_after_fifty_whatever_is_logged(tmp_path: Path, log_every_steps: int) -> None:
    schedule = Schedule(steps=120, log_every_steps=log_every_steps, checkpoint_every_steps=40, **FEW)
    trainer = tiny_trainer(tmp_path, schedule, Recorder())

    def dead(step: int, values: np.ndarray) -> None:
        if step > 4 and step != 6:  # one that lives starts the count anew
            values[VALUES.index("alive")] = 0

    trainer.update = with_values(trainer.update, dead)
    seen = {1: 56, 4: 56, 25: 75}[log_every_steps]
    with pytest.raises(Diverged, match=rf"no gradient in {seen - 6} updates.* at step {seen}; last finite.*: step 40"):
        trainer.run()


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path, SCHEDULE, Recorder())
    kernel = trainer.update.generator.get_layer("d").kernel
    kernel.assign(np.full(kernel.shape, np.inf))
    with pytest.raises(Diverged, match="last finite checkpoint: none"):
        trainer.save()
    assert not Checkpoints(tmp_path).files()


def test_final_score_has_a_name_of_its_own(tmp_path: Path) -> None:
    recorder = Recorder()
    trainer = tiny_trainer(tmp_path, Schedule(steps=1, num_images=20, final_num_images=30), recorder)
    trainer.run()
    score = trainer.final_scores()[metric_names.FINAL_FID_PROXY]
    assert recorder.values[1, metric_names.FINAL_FID_PROXY] == score != recorder.values[1, metric_names.FID_PROXY]


def count_images(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each look of a scorer takes, from now on."""
    counts: list[int] = []
    features = Scorer.features

    def counted(self: Scorer, generator: keras.Model, num_images: int, *, seed: int = 0) -> np.ndarray:
        counts.append(num_images)
        return features(self, generator, num_images, seed=seed)

    monkeypatch.setattr(Scorer, "features", counted)
    return counts


def test_the_last_score_and_the_final_one_share_their_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are what a scorer gives on its own, and the images are generated once."""
    schedule = Schedule(steps=2, num_images=20, final_num_images=300)
    trainer = tiny_trainer(tmp_path, schedule, recorder := Recorder())
    counts = count_images(monkeypatch)
    trainer.run()
    trainer.final_scores()
    assert counts == [300]
    for prefix, count in (("eval", 20), ("final", 300)):
        for name, value in metric_names.with_prefix(prefix, trainer.scorer(trainer.update.generator, count)).items():
            assert recorder.values[2, name] == pytest.approx(value, rel=1e-5)


def test_a_run_without_a_final_score_generates_no_more_images_than_it_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = tiny_trainer(tmp_path, Schedule(steps=2, num_images=20, final_num_images=0), Recorder())
    counts = count_images(monkeypatch)
    trainer.run()
    assert counts == [20]


def test_a_generator_that_is_not_finite_gets_no_score(tmp_path: Path) -> None:
    """Its images are NaN, and uint8 all the same."""
    recorder = Recorder()
    trainer = tiny_trainer(tmp_path, Schedule(steps=9, score_every_steps=3, **FEW), recorder)
    run = trainer.update.run

    def spoil(first: int, count: int) -> tf.Tensor:
        rows = run(first, count)
        if trainer.step + count == 6:  # after the losses of the call were computed
            bias = trainer.update.generator.layers[0].bias
            bias.assign(bias * np.nan)
        return rows

    trainer.update.run = spoil  # type: ignore[method-assign]
    with pytest.raises(Diverged, match=r"generator/d/bias is not finite at step 6; last finite checkpoint: none"):
        trainer.run()
    assert recorder.steps(metric_names.FID_PROXY) == [3]


@pytest.mark.parametrize("final", [False, True], ids=["in the run", "final"])
def test_a_score_that_is_no_number_is_not_recorded(
    final: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder()
    trainer = tiny_trainer(tmp_path, Schedule(steps=2, num_images=20, final_num_images=20), recorder)
    if final:
        trainer.run()
    monkeypatch.setattr(
        Scorer, "of_features", lambda self, fake: {metric_names.FID: float("inf"), metric_names.KID: 0.0}
    )
    key = metric_names.FINAL_FID_PROXY if final else metric_names.FID_PROXY
    with pytest.raises(Diverged, match=f"{key} is inf at step 2"):
        trainer.final_scores() if final else trainer.run()
    assert recorder.steps(key) == []
