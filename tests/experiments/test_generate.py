"""Samples from a run: what is made, that it is the right thing, and what is refused."""

from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import RunProgram
from PIL import Image

from experiments.generate import FRAMES, Generation, main
from experiments.settings.schema import RecordsConfig
from experiments.training.generator import load_generator, write_generator
from experiments.training.start import Run
from gan import randomness
from gan.errors import ConfigError
from gan.images import grid, unscale
from gan.models import build_generator


def wanted(made: Run, **changes: object) -> Generation:
    settings: dict[str, object] = {"records": RecordsConfig(root=made.config.records.root), **changes}
    return Generation(**settings)  # type: ignore[arg-type]


def test_arrays_hold_the_images_of_their_latents(untrained_run: Run, tmp_path: Path) -> None:
    Path(untrained_run.config.data.path or "").unlink()  # the data set is not needed
    out = tmp_path / "new" / "x.npz"
    for seed in (1, 1, 2):
        main(wanted(untrained_run, num_images=600, seed=seed, out=str(out), overwrite=True))
        with np.load(out) as arrays:
            images, latents = arrays["images"], arrays["latents"]
        if seed == 1:
            first = latents
        assert images.shape == (600, 32, 32, 3)
        assert images.dtype == np.uint8
        assert latents.shape == (600, 100)
        assert latents.dtype == np.float32
    assert not np.array_equal(first, latents)
    generator = load_generator(untrained_run.config, untrained_run.folder.checkpoints.latest())
    np.testing.assert_array_equal(images[:500], unscale(generator.predict_on_batch(latents[:500])))
    assert abs(latents.mean()) < 0.02
    assert abs(latents.std() - 1) < 0.02


def test_a_picture_is_a_grid_row_by_row(untrained_run: Run, tmp_path: Path) -> None:
    image, arrays = tmp_path / "x.png", tmp_path / "x.npz"
    main(wanted(untrained_run, grid="2x5", out=str(image)))
    main(wanted(untrained_run, num_images=10, out=str(arrays)))
    np.testing.assert_array_equal(np.asarray(Image.open(image)), grid(np.load(arrays)["images"], 2, 5))
    # Seven images in three columns leave two places white.
    main(wanted(untrained_run, num_images=7, out=str(image), overwrite=True))
    pixels = np.asarray(Image.open(image))
    assert pixels.shape == ((3 * 34 + 2) * 3, (3 * 34 + 2) * 3, 3)
    assert (pixels[-102:, -102:] == 255).all()
    assert not (pixels[:102, -102:] == 255).all()


def test_a_folder_holds_one_image_each_and_latents_can_be_ones_own(untrained_run: Run, tmp_path: Path) -> None:
    mine = np.random.default_rng(3).standard_normal((11, 100))
    np.save(tmp_path / "mine.npy", mine)
    main(wanted(untrained_run, latents=str(tmp_path / "mine.npy"), out=str(tmp_path / "folder"), step="3"))
    names = sorted(file.name for file in (tmp_path / "folder").iterdir())
    assert names == [f"{k:02d}.png" for k in range(11)]
    generator = load_generator(untrained_run.config, untrained_run.folder.checkpoints.find("3"))
    expected = unscale(generator.predict_on_batch(mine.astype(np.float32)))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "folder" / "07.png")), expected[7])


def test_calls_do_not_replace_the_images_of_each_other(untrained_run: Run, tmp_path: Path) -> None:
    for seed in (1, 2):
        np.save(tmp_path / "mine.npy", np.random.default_rng(seed).standard_normal((4, 100)))
        main(wanted(untrained_run, latents=str(tmp_path / "mine.npy")))
    for changes in ({"num_images": 4}, {"grid": "1x4"}, {"interpolate": "0:1"}, {"interpolate": "1:2"}):
        main(wanted(untrained_run, **changes))
    files = list((untrained_run.folder.path / "generated").iterdir())
    assert len({file.read_bytes() for file in files}) == len(files) == 6


def test_a_folder_that_is_overwritten_holds_the_new_images_alone(untrained_run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    for count in (12, 3):
        main(wanted(untrained_run, num_images=count, out=str(folder), overwrite=True))
        (folder / "mine.png").touch()
    assert sorted(file.name for file in folder.iterdir()) == ["0.png", "1.png", "2.png", "mine.png"]


def test_numbered_images_of_others_are_not_overwritten(untrained_run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for names in (["2023.png", "20240105.png"], ["0.png", "2.png"], ["0.png", "01.png"]):
        for name in names:
            (folder / name).touch()
        with pytest.raises(ConfigError, match=rf"out must be a folder whose numbered images.*{names[1]} of yours"):
            main(wanted(untrained_run, num_images=2, out=str(folder), overwrite=True))
        assert sorted(file.name for file in folder.iterdir()) == sorted(names)
        for name in names:
            (folder / name).unlink()


def test_a_walk_is_a_strip_or_a_gif(untrained_run: Run, tmp_path: Path) -> None:
    main(wanted(untrained_run, interpolate="3:7", seed=5, out=str(tmp_path / "x.npz")))
    main(wanted(untrained_run, interpolate="3:7", seed=5))
    main(wanted(untrained_run, interpolate="3:7", seed=5, out=str(tmp_path / "x.gif")))
    with np.load(tmp_path / "x.npz") as arrays:
        bank = randomness.latents(5, "pictures", 8, 100)
        np.testing.assert_allclose(arrays["latents"][[0, -1]], np.asarray(bank)[[3, 7]], rtol=1e-5)
        strip = grid(arrays["images"], 1, FRAMES)
    default_file = untrained_run.folder.path / "generated" / "step_00000006_seed_5_walk_3_to_7.png"
    np.testing.assert_array_equal(np.asarray(Image.open(default_file)), strip)
    with Image.open(tmp_path / "x.gif") as animation:
        assert animation.n_frames == 2 * FRAMES - 2  # type: ignore[attr-defined]
        assert animation.size == (128, 128)


def test_a_walk_may_end_at_any_image(untrained_run: Run, tmp_path: Path) -> None:
    main(wanted(untrained_run, interpolate="3:1500", out=str(tmp_path / "x.gif")))
    with Image.open(tmp_path / "x.gif") as animation:
        assert animation.n_frames == 2 * FRAMES - 2  # type: ignore[attr-defined]


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")  # Keras' own
def test_the_generator_opens_in_keras_alone(untrained_run: Run, tmp_path: Path) -> None:
    main(wanted(untrained_run, out=str(tmp_path / "g.keras")))
    latents = np.random.default_rng(0).standard_normal((4, 100), np.float32)
    images_of_step = load_generator(untrained_run.config, untrained_run.folder.checkpoints.latest()).predict_on_batch(
        latents
    )
    alone = keras.models.load_model(tmp_path / "g.keras").predict_on_batch(latents)
    np.testing.assert_allclose(alone, images_of_step, atol=1e-5)
    assert [file.name for file in tmp_path.glob("*.keras")] == ["g.keras"]


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")  # Keras' own
def test_a_generator_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_generator(tmp_path / "g.keras", build_generator(seed=1))
    assert not list(tmp_path.iterdir())


def test_mistakes_are_one_line_and_nothing_is_written(untrained_run: Run, tmp_path: Path) -> None:
    existing = tmp_path / "there.png"
    existing.write_bytes(b"mine")
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").touch()
    np.save(tmp_path / "narrow.npy", np.zeros((3, 7)))
    np.save(tmp_path / "many.npy", np.zeros((10_001, 100), np.float32))
    np.save(tmp_path / "nan.npy", np.full((3, 100), np.nan))
    np.save(tmp_path / "object.npy", np.array([{}], object))
    np.savez(tmp_path / "several.npz", a=np.zeros(3))
    (tmp_path / "empty.npy").touch()
    for changes, message in (
        ({"run": "nosuch"}, "run must be last, or a run's MLflow id, name or folder; got 'nosuch'"),
        ({"run": "best:gan"}, "run must be the winner of a finished search; got 'best:gan'"),
        ({"run": "best:../x"}, "best:<study>"),
        ({"step": "7"}, "there is no checkpoint of step 7"),
        ({"out": "x.jpeg"}, "out must be a .png, .gif, .npz, .keras or a folder; got 'x.jpeg'"),
        ({"out": str(existing)}, "overwrite=true replaces it"),
        ({"out": str(full)}, "overwrite=true replaces the images 0.png"),
        ({"out": str(existing / "x.png")}, "out must be"),
        ({"grid": "8*8"}, "grid must be rows x columns, as 8x8"),
        ({"grid": "0x8"}, "grid must be rows x columns, as 8x8"),
        ({"grid": "999x999"}, "at most 10,000 places"),
        ({"grid": "2x2", "num_images": 5}, "grid must be of 5 places, one an image; got '2x2'"),
        ({"num_images": 20_000}, "num_images must be at most 10,000 for one image; got 20000 (out=images.npz or"),
        ({"latents": str(tmp_path / "many.npy")}, "latents must be at most 10,000 for one image; got 10001"),
        ({"interpolate": "3"}, "two different images by their numbers"),
        ({"interpolate": "3:3"}, "two different images by their numbers"),
        ({"interpolate": "1:2", "grid": "2x2"}, "grid must be absent with interpolate="),
        ({"interpolate": "1:2", "num_images": 5}, "num_images must be absent with interpolate="),
        ({"out": str(tmp_path / "g.keras"), "num_images": 5}, "num_images must be absent with a .keras file"),
        ({"out": str(tmp_path / "g.keras"), "grid": "2x2"}, "grid must be absent with a .keras file"),
        ({"out": str(tmp_path / "g.keras"), "interpolate": "1:2"}, "interpolate must be absent with a .keras file"),
        ({"out": str(tmp_path / "g.keras"), "seed": 1}, "seed must be absent with a .keras file"),
        ({"out": str(tmp_path / "g.gif"), "num_images": 1001}, "num_images must be at most 1,000 for an animation"),
        ({"latents": str(tmp_path / "narrow.npy"), "seed": 1}, "seed must be absent with latents=, which are your own"),
        ({"latents": "nosuch.npy"}, "No such file"),
        ({"latents": str(tmp_path / "narrow.npy")}, "latents must be (N, 100), as the run's generator takes them"),
        ({"latents": str(tmp_path / "nan.npy")}, "some are NaN or infinite"),
        ({"latents": str(tmp_path / "object.npy")}, "no .npy of plain numbers"),
        ({"latents": str(tmp_path / "several.npz")}, "it holds an .npz"),
        ({"latents": str(tmp_path / "empty.npy")}, "no .npy of plain numbers"),
    ):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(ConfigError) as caught:
            main(wanted(untrained_run, **changes))
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
        assert sorted(tmp_path.rglob("*")) == before
    assert existing.read_bytes() == b"mine"
    for file in untrained_run.folder.checkpoints.all_files():
        file.unlink()
    untrained_run.folder.checkpoints.note.write_text("the search is over")
    with pytest.raises(ConfigError, match=r"run must be one that has checkpoints; got .*the search is over"):
        main(wanted(untrained_run, out=str(tmp_path / "new.png")))


def test_a_checkpoint_of_other_networks_is_one_line_and_nothing_is_written(untrained_run: Run, tmp_path: Path) -> None:
    file = untrained_run.folder.config
    file.write_text(file.read_text().replace("latent_dim: 100", "latent_dim: 7"))
    with pytest.raises(ConfigError, match=r"step must be one whose checkpoint fits the run's config\.yaml; got 6 "):
        main(wanted(untrained_run, out=str(tmp_path / "new" / "x.png")))
    assert not (tmp_path / "new").exists()


def test_the_way_between_two_latents_is_spherical() -> None:
    a, b = np.eye(3, dtype=np.float32)[0] * 2, np.eye(3, dtype=np.float32)[1] * 4
    way = randomness.slerp(a, b, 5)
    np.testing.assert_allclose(way[[0, -1]], [a, b], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(way, axis=1), [2, 2.5, 3, 3.5, 4], rtol=1e-6)
    np.testing.assert_allclose(np.arctan2(way[:, 1], way[:, 0]), np.linspace(0, np.pi / 2, 5), atol=1e-6)
    np.testing.assert_allclose(randomness.slerp(a, 2 * a, 3)[:, 0], [2, 3, 4])
    np.testing.assert_allclose(randomness.slerp(a, -a, 3)[:, 0], [2, 0, -2])


def test_the_program_makes_a_picture_of_the_last_run(untrained_run: Run, program: RunProgram, tmp_path: Path) -> None:
    root = f"records.root={untrained_run.config.records.root}"
    done = program(root, script="experiments/generate.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    default_file = untrained_run.folder.path / "generated" / "step_00000006_seed_0.png"
    assert done.stdout.splitlines()[:2] == ["now      generating", "run      mine, step 6"]
    assert f"{default_file.relative_to(tmp_path)} (64 images)" in done.stdout
    assert done.stderr == ""
    with Image.open(default_file) as image:
        assert image.size == ((8 * 34 + 2) * 3,) * 2
    wrong = program(root, "nun_images=3", script="experiments/generate.py", cwd=tmp_path)
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("error: an argument must be one of run, ")
    assert "did you mean 'num_images'?" in wrong.stderr
