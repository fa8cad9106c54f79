import hashlib
import os
import pickle
import subprocess
import sys
import tarfile
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, batch, noise_images
from filelock import FileLock, Timeout
from PIL import Image

import gan.cache
from gan.data import cifar10, folder
from gan.data.contract import DataError, DataWarning
from gan.data.dataset import _warn_if_constant, load_dataset
from gan.downloads import DownloadError
from gan.errors import ConfigError
from gan.images import scale, unscale


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def archive_of(folder: Path, file: Path) -> Path:
    with tarfile.open(file, "w:gz") as archive:
        archive.add(folder / "cifar-10-batches-py", "cifar-10-batches-py")
    return file


# --- CIFAR-10


def test_cifar10_layout_class_and_channel_order(cifar: Path, cache: Path) -> None:
    dataset = load_dataset("cifar10", str(cifar), 8, cache)
    expected = np.concatenate([noise_images(100, seed=k)[8::10] for k in range(5)])
    np.testing.assert_array_equal(dataset.train, expected)
    np.testing.assert_array_equal(dataset.test, noise_images(100, seed=5)[8::10])
    assert dataset.train.dtype == np.uint8
    assert "class 8 (ship)" in dataset.description


def test_cifar10_from_the_inner_folder_the_archive_and_the_prepared_file(
    cifar: Path, cache: Path, tmp_path: Path
) -> None:
    outer = load_dataset("cifar10", str(cifar), 8, cache)
    inner = load_dataset("cifar10", str(cifar / "cifar-10-batches-py"), 8, cache)
    archive = load_dataset("cifar10", str(archive_of(cifar, tmp_path / "c.tar.gz")), 8, cache)
    again = load_dataset("cifar10", str(cifar), 8, cache)
    assert len({d.sha256 for d in (outer, inner, archive, again)}) == 1


def test_classes_by_name_and_all(cifar: Path, cache: Path) -> None:
    by_index = load_dataset("auto", str(cifar), 3, cache)
    by_name = load_dataset("auto", str(cifar), "cat", cache)
    every = load_dataset("auto", str(cifar), "all", cache)
    assert by_index.sha256 == by_name.sha256
    assert (by_index.class_id, by_name.class_id, every.class_id) == (3, 3, "all")
    assert len(by_index.train) == 50
    assert len(every.train) == 500


def test_both_spellings_of_numpys_core_are_read(cifar: Path, cache: Path) -> None:
    """The public archive's pickles name numpy.core, those of NumPy 2 numpy._core."""
    for name, spelling in (("data_batch_1", b"numpy.core"), ("data_batch_2", b"numpy._core")):
        file = cifar / "cifar-10-batches-py" / name
        content = file.read_bytes().replace(b"numpy._core", b"numpy.core")
        file.write_bytes(content.replace(b"numpy.core", spelling))
        assert spelling in file.read_bytes()
    assert len(load_dataset("cifar10", str(cifar), 8, cache).train) == 50


class Attack:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch pwned",)


@pytest.mark.parametrize("where", ["folder", "archive"])
def test_a_pickle_that_runs_something_is_refused(
    where: str, cifar: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (cifar / "cifar-10-batches-py" / "data_batch_2").write_bytes(pickle.dumps({b"data": Attack()}))
    path = cifar if where == "folder" else archive_of(cifar, tmp_path / "c.tar.gz")
    once = r"^data\.path must be an undamaged CIFAR-10 batch file; got "
    with pytest.raises(DataError, match=once + r".*data_batch_2.*system, which is no array"):
        load_dataset("cifar10", str(path), 8, cache)
    assert not (tmp_path / "pwned").exists()


def damaged_batches() -> dict[str, bytes]:
    good = batch(noise_images(10), np.arange(10))
    whole = pickle.dumps(good)
    return {
        "empty": b"",
        "truncated": whole[: len(whole) // 2],
        "no pickle": b"\x00" * 100,
        "a list": pickle.dumps([1, 2]),
        "wrong width": pickle.dumps({**good, b"data": np.zeros((10, 100), np.uint8)}),
        "wrong dtype": pickle.dumps({**good, b"data": np.zeros((10, 3072), np.float32)}),
        "too few labels": pickle.dumps({**good, b"labels": [1]}),
        "label out of range": pickle.dumps({**good, b"labels": [10] * 10}),
    }


def test_a_folder_above_cifar10_is_not_taken_for_images(cifar: Path, cache: Path, tmp_path: Path) -> None:
    above = cifar.parent
    Image.fromarray(noise_images(1)[0]).save(above / "screenshot.png")
    with pytest.raises(DataError, match=rf"data.path must be .* CIFAR-10's own; got .* \(did you mean '{cifar}'\?"):
        load_dataset("auto", str(above), 8, cache)


@pytest.mark.parametrize("damage", damaged_batches())
def test_damaged_batches_are_one_clear_line(damage: str, cifar: Path, cache: Path) -> None:
    (cifar / "cifar-10-batches-py" / "data_batch_3").write_bytes(damaged_batches()[damage])
    with pytest.raises(
        DataError, match=r"data\.path must be an undamaged CIFAR-10 batch file; got .*data_batch_3"
    ) as caught:
        load_dataset("cifar10", str(cifar), 8, cache)
    assert "\n" not in str(caught.value)
    assert not list(cache.glob("*.npz"))


def test_a_missing_batch_and_a_damaged_archive(cifar: Path, cache: Path, tmp_path: Path) -> None:
    archive = archive_of(cifar, tmp_path / "c.tar.gz")
    archive.write_bytes(archive.read_bytes()[:5000])
    with pytest.raises(DataError, match=r"undamaged CIFAR-10 \.tar\.gz"):
        load_dataset("auto", str(archive), 8, cache)
    (cifar / "cifar-10-batches-py" / "test_batch").unlink()
    with pytest.raises(DataError, match="a batch file is missing"):
        load_dataset("auto", str(cifar), 8, cache)
    with pytest.raises(DataError, match="archive with test_batch"):
        load_dataset("auto", str(archive_of(cifar, tmp_path / "d.tgz")), 8, cache)


def test_changed_files_are_decoded_anew(cifar: Path, cache: Path) -> None:
    before = load_dataset("cifar10", str(cifar), 8, cache)
    content = batch(noise_images(100, seed=99), np.arange(100) % 10)
    (cifar / "cifar-10-batches-py" / "data_batch_1").write_bytes(pickle.dumps(content))
    assert load_dataset("cifar10", str(cifar), 8, cache).sha256 != before.sha256


def test_a_damaged_prepared_file_is_made_anew(cifar: Path, cache: Path) -> None:
    before = load_dataset("cifar10", str(cifar), 8, cache)
    (prepared,) = cache.glob("*.npz")
    prepared.write_bytes(prepared.read_bytes()[:1000])
    assert load_dataset("cifar10", str(cifar), 8, cache).sha256 == before.sha256


def test_eight_processes_that_start_together_read_whole_files(cifar: Path, cache: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from gan.data.dataset import load_dataset;"
        f"print(load_dataset('cifar10', {str(cifar)!r}, 8, Path({str(cache)!r})).sha256)"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(8)
    ]
    results = [p.communicate(timeout=120) for p in processes]
    assert {out.strip() for out, _ in results} == {load_dataset("cifar10", str(cifar), 8, cache).sha256}
    assert [err for _, err in results] == [""] * 8
    assert len(list(cache.glob("*.npz"))) == 1
    assert not list(cache.glob("*.tmp"))


def test_the_real_cifar10(real_cifar: Path) -> None:
    dataset = load_dataset("auto", str(real_cifar), "ship", real_cifar / "cache")
    assert dataset.train.shape == (5000, 32, 32, 3)
    assert dataset.test.shape == (1000, 32, 32, 3)
    # Ships: the upper half (sky) is brighter than the lower (water).
    assert dataset.train[:, :16].mean() > dataset.train[:, 16:].mean() + 10


# --- Keras' cache and the download


@pytest.mark.parametrize("name", ["cifar-10-batches-py-target/cifar-10-batches-py", "cifar-10-batches-py"])
def test_keras_cache_is_found_without_a_download(name: str, cifar: Path, cache: Path) -> None:
    place = Path(os.environ["KERAS_HOME"]) / "datasets" / name
    place.parent.mkdir(parents=True)
    (cifar / "cifar-10-batches-py").rename(place)
    assert load_dataset("auto", None, 8, cache).source == "cifar10"


def test_half_a_download_is_not_taken_for_the_data_set(
    cifar: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process is unpacking, or was killed while it did."""
    import keras

    place = Path(os.environ["KERAS_HOME"]) / "datasets" / "cifar-10-batches-py-target" / "cifar-10-batches-py"
    place.mkdir(parents=True)
    (cifar / "cifar-10-batches-py" / "data_batch_1").rename(place / "data_batch_1")

    def finish(*_: object, **__: object) -> None:
        for file in (cifar / "cifar-10-batches-py").iterdir():
            file.rename(place / file.name)

    monkeypatch.setattr(keras.utils, "get_file", finish)
    assert len(load_dataset("auto", None, 8, cache).train) == 50


def test_half_an_archive_is_downloaded_again(cifar: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras writes it in place, so a download that was interrupted leaves its beginning."""
    import keras

    datasets = Path(os.environ["KERAS_HOME"]) / "datasets"
    datasets.mkdir(parents=True)
    for name in ("cifar-10-batches-py-target_archive", "cifar-10-batches-py.tar.gz"):
        (datasets / name).write_bytes(b"\x1f\x8b half of it")

    def download(*_: object, **__: object) -> None:
        (cifar / "cifar-10-batches-py").rename(datasets / "cifar-10-batches-py")

    monkeypatch.setattr(keras.utils, "get_file", download)
    assert len(load_dataset("auto", None, 8, cache).train) == 50


def test_a_whole_archive_in_keras_cache_is_read(cifar: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = Path(os.environ["KERAS_HOME"]) / "datasets"
    datasets.mkdir(parents=True)
    archive = archive_of(cifar, datasets / "cifar-10-batches-py.tar.gz")
    monkeypatch.setattr(cifar10, "ARCHIVE_SHA256", hashlib.sha256(archive.read_bytes()).hexdigest())
    assert len(load_dataset("auto", None, 8, cache).train) == 50


def test_download_is_keras_own_and_lands_in_its_cache(
    cifar: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    calls = []

    def download(*_: object, **__: object) -> None:
        calls.append(1)
        place = Path(os.environ["KERAS_HOME"]) / "datasets" / "cifar-10-batches-py-target"
        place.mkdir(parents=True)
        (cifar / "cifar-10-batches-py").rename(place / "cifar-10-batches-py")

    monkeypatch.setattr(keras.utils, "get_file", download)
    for _ in range(2):
        assert len(load_dataset("cifar10", None, 8, cache).train) == 50
    assert calls == [1]


def test_without_network_auto_warns_and_cifar10_refuses(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    def fail(*_: object, **__: object) -> None:
        raise Exception("URL fetch failure on https://example.org:\n no route")

    monkeypatch.setattr(keras.utils, "get_file", fail)
    with pytest.warns(DataWarning, match=r"CANNOT BE DOWNLOADED \(URL fetch failure.*no route\)"):
        dataset = load_dataset("auto", None, 8, cache)
    assert dataset.source == "embedded"
    assert dataset.description == "built-in drawings, class 8 (ship), 5,000 images"
    assert (len(dataset.train), len(dataset.test)) == (5000, 1000)
    with pytest.raises(DataError, match=r"cannot be downloaded.*|place of CIFAR-10"):
        load_dataset("cifar10", None, 8, cache)


@pytest.mark.parametrize("may_write", [True, False])
def test_one_process_downloads_whatever_its_records(
    may_write: bool, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock lies beside what it protects, if that place can be written."""

    def download(*_: object, **__: object) -> None:
        with pytest.raises(Timeout):
            FileLock((tmp_path if may_write else cache) / "download.lock", timeout=0).acquire()
        raise DownloadError("no network")

    monkeypatch.setattr(cifar10, "download", download)
    monkeypatch.setattr(cifar10, "keras_homes", lambda: [tmp_path])
    monkeypatch.setattr(os, "access", lambda path, mode: may_write)
    with pytest.raises(DownloadError):
        cifar10.of_keras(cache)


def test_the_built_in_drawings_are_never_sold_as_cats(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(cache: Path) -> str:
        raise DownloadError("no network")

    monkeypatch.setattr(cifar10, "of_keras", no_network)
    with (
        pytest.warns(DataWarning),
        pytest.raises(DataError, match=r"data\.class_id must be 8 \(ship\) for the built-in drawings; got 'cat'"),
    ):
        load_dataset("auto", None, "cat", cache)


# --- npz


def test_npz_with_and_without_labels(tmp_path: Path, cache: Path) -> None:
    images, labels = noise_images(100), np.arange(100) % 2
    np.savez(tmp_path / "a.npz", images=images, labels=labels, test_images=images[:4], test_labels=labels[:4])
    np.testing.assert_array_equal(load_dataset("npz", str(tmp_path / "a.npz"), 1, cache).train, images[1::2])
    assert len(load_dataset("npz", str(tmp_path / "a.npz"), 1, cache).test) == 2
    assert len(load_dataset("npz", str(tmp_path / "a.npz"), "all", cache).train) == 100
    with pytest.raises(DataError, match=r"data\.class_id must be a class of .* \(0, 1\) or all; got 8"):
        load_dataset("npz", str(tmp_path / "a.npz"), 8, cache)
    np.savez(tmp_path / "more.npz", images=images, labels=labels + 99)  # not CIFAR-10's ten classes
    assert load_dataset("npz", str(tmp_path / "more.npz"), 100, cache).description.endswith("class 100, 50 images")
    with pytest.warns(DataWarning, match=r"training on all images of .*a\.npz, which have 2 labels"):
        of_all = load_dataset("auto", str(tmp_path / "a.npz"), 8, cache)  # the default, which means ships
    assert (len(of_all.train), of_all.class_id) == (100, "all")
    np.savez(tmp_path / "b.npz", images=images)
    assert len(load_dataset("auto", str(tmp_path / "b.npz"), 8, cache).train) == 100
    (tmp_path / "b.npz").rename(tmp_path / "B.NPZ")
    assert load_dataset("auto", str(tmp_path / "B.NPZ"), 8, cache).source == "npz"


def test_npz_that_cannot_be_used(tmp_path: Path, cache: Path) -> None:
    ones = noise_images(50) % 2
    cases = {
        "(N, 32, 32, 3) uint8; got 'float32": {"images": np.zeros((50, 32, 32, 3), np.float32)},
        "(N, 32, 32, 3) uint8; got 'uint8 (50, 28, 28)": {"images": np.zeros((50, 28, 28), np.uint8)},
        "an array `images`": {"pictures": noise_images(50)},
        "one integer label an image; got 'labels int64 (3,)": {"images": noise_images(50), "labels": np.zeros(3, int)},
        "at least 40 training images; got '5 in": {"images": noise_images(5)},
        "values 0 to 255; got 'test images uint8 from 0 to 1": {"images": noise_images(50), "test_images": ones},
        "of plain arrays": {"images": np.array([{}], object)},
    }
    for message, arrays in cases.items():
        np.savez(tmp_path / "x.npz", **arrays)
        with pytest.raises(DataError) as caught:
            load_dataset("npz", str(tmp_path / "x.npz"), "all", cache)
        assert message in str(caught.value)
    (tmp_path / "x.npz").write_bytes(b"PK nothing")
    with pytest.raises(DataError, match="plain arrays"):
        load_dataset("npz", str(tmp_path / "x.npz"), "all", cache)


# --- folder


def test_folder_of_images_of_any_kind(tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "images"
    (folder / "more").mkdir(parents=True)
    for k in range(38):
        Image.fromarray(noise_images(1, seed=k)[0]).save(folder / f"{k:02d}.png")
    # A wide image, red in the middle square and blue outside of it: the crop is all red.
    wide = Image.new("RGB", (300, 100), "blue")
    wide.paste("red", (100, 0, 200, 100))
    wide.save(folder / "more" / "wide.webp", lossless=True)
    Image.new("RGBA", (64, 64), (0, 255, 0, 255)).save(folder / "zz.png")
    Image.new("L", (40, 50), 128).save(folder / "zzz.jpg")
    (folder / "notes.txt").write_text("not an image")
    (folder / "broken.png").write_bytes(b"\x89PNG nothing")
    with pytest.warns(DataWarning, match=r"1 of 42 files .* left out: broken\.png"):
        dataset = load_dataset("folder", str(folder), "all", cache)
    assert dataset.train.shape == (41, 32, 32, 3)
    np.testing.assert_array_equal(dataset.train[0], noise_images(1, seed=0)[0])
    reds = [image for image in dataset.train if (image[:, 1:-1, 0] > 250).all() and (image[..., 1] == 0).all()]
    assert len(reds) == 1
    assert (dataset.train[-1] == 128).all()
    with pytest.warns(DataWarning, match=r"broken\.png"):  # from the prepared file, the warning stays
        assert load_dataset("auto", str(folder), 8, cache).sha256 == dataset.sha256


def test_folders_that_cannot_be_used(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"at least 40 images; got .*empty.*it holds 0"):
        load_dataset("folder", str(tmp_path / "empty"), "all", cache)
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises(DataError, match="a folder of images"):
        load_dataset("folder", str(tmp_path / "file.txt"), "all", cache)
    with pytest.raises(DataError, match=r"a folder, an \.npz file or CIFAR-10's"):
        load_dataset("auto", str(tmp_path / "file.txt"), "all", cache)
    with pytest.raises(DataError, match="an existing file or folder"):
        load_dataset("auto", str(tmp_path / "nowhere"), "all", cache)
    with pytest.raises(DataError, match="given for data=folder"):
        load_dataset("folder", None, "all", cache)
    with pytest.raises(DataError, match="absent for data=embedded"):
        load_dataset("embedded", str(tmp_path), "all", cache)


def test_images_look_as_a_viewer_shows_them(tmp_path: Path, cache: Path) -> None:
    ramp = np.linspace(0, 65535, 32 * 32).reshape(32, 32).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "a_16bit.png")
    Image.new("RGBA", (32, 32), (255, 0, 0, 0)).save(tmp_path / "b_clear.png")
    Image.new("CMYK", (32, 32), (0, 255, 255, 0)).save(tmp_path / "c_cmyk.jpg")
    turned = Image.new("RGB", (32, 64), "blue")
    turned.paste("red", (0, 32, 32, 64))
    exif = Image.Exif()
    exif[274] = 3  # upside down
    turned.save(tmp_path / "d_turned.png", exif=exif)
    for k in range(40):
        Image.fromarray(noise_images(1)[0]).save(tmp_path / f"z{k}.png")
    deep, clear, cmyk, upright = load_dataset("folder", str(tmp_path), "all", cache).train[:4]
    np.testing.assert_allclose(deep[..., 0], ramp / 257, atol=1)
    assert (clear == 255).all()
    assert cmyk.mean(axis=(0, 1))[0] > 200 > 60 > cmyk.mean(axis=(0, 1))[1]
    assert (upright[:10] == (255, 0, 0)).all()


def test_a_folder_of_which_nothing_can_be_read(tmp_path: Path, cache: Path) -> None:
    for k in range(50):
        (tmp_path / f"{k}.jpg").write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"at least 40 images that can be read; got '0 of 50 in "):
        load_dataset("folder", str(tmp_path), "all", cache)


def test_cifar10_has_ten_classes(cifar: Path, cache: Path) -> None:
    with pytest.raises(DataError, match=r"data\.class_id must be 0 to 9.*; got 10"):
        load_dataset("cifar10", str(cifar), 10, cache)


def test_a_class_of_what_has_no_labels_is_refused(npz: Path, cache: Path) -> None:
    with pytest.raises(DataError, match=r"data\.class_id must be all for npz .*, which has no labels; got 3"):
        load_dataset("npz", str(npz), 3, cache)


def test_what_may_not_be_read_is_one_line(npz: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:  # as root may read anything
        raise PermissionError(13, "Permission denied", str(npz))

    monkeypatch.setattr(folder, "fingerprint", refuse)
    with pytest.raises(DataError, match=r"data\.path must be readable; got .*images\.npz.*Permission denied"):
        load_dataset("folder", str(folder_of(npz)), "all", cache)


def folder_of(npz: Path) -> Path:
    for k in range(40):
        Image.new("RGB", (32, 32)).save(npz.parent / f"{k}.png")
    return npz.parent


# --- values


def test_unscale_inverts_the_tutorials_scaling() -> None:
    every = np.arange(256, dtype=np.uint8)
    scaled = scale(every).numpy()
    np.testing.assert_allclose(scaled, every / 127.5 - 1, atol=1e-6)
    np.testing.assert_array_equal(unscale(scaled), every)
    assert unscale(np.array([-1.2, 1.2], np.float32)).tolist() == [0, 255]


def test_no_other_warning_comes_from_loading(cifar: Path, cache: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_dataset("cifar10", str(cifar), 8, cache)


def test_a_folder_that_another_process_takes_back_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a refused command leaves is removed, while another one may be about to use it."""
    real = gan.cache.FileLock

    def first(file: Path) -> FileLock:
        monkeypatch.setattr(gan.cache, "FileLock", real)
        Path(file).parent.rmdir()
        return real(file)

    monkeypatch.setattr(gan.cache, "FileLock", first)
    with gan.cache.locked(tmp_path / "c" / "x"), pytest.raises(Timeout):
        FileLock(tmp_path / "c" / "x.lock", timeout=0).acquire()
    FileLock(tmp_path / "c" / "x.lock", timeout=0).acquire().__exit__(None, None, None)


def test_a_source_of_no_such_name_is_no_other_source(npz: Path, cache: Path) -> None:
    for path in (None, str(npz)):
        with pytest.raises(ConfigError, match=r"data\.source must be one of auto, .*; got 'folders' \(did you mean"):
            load_dataset("folders", path, "all", cache)


def test_a_class_that_auto_cannot_give_is_refused(cache: Path, tmp_path: Path) -> None:
    images = np.arange(40 * 32 * 32 * 3, dtype=np.uint32).astype(np.uint8).reshape(40, 32, 32, 3)
    np.savez(tmp_path / "unlabelled.npz", images=images)
    with pytest.raises(DataError, match=r"data.class_id must be all for npz .*, which has no labels; got 3"):
        load_dataset("auto", str(tmp_path / "unlabelled.npz"), 3, cache)
    (tmp_path / "flat").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "flat" / f"{number}.png")
    with pytest.raises(
        DataError, match=r"data.class_id must be all for folder .*, which has no sub-folders; got 'horse'"
    ):
        load_dataset("auto", str(tmp_path / "flat"), "horse", cache)


def test_looking_for_constant_images_takes_little_memory() -> None:
    images = np.random.default_rng(0).integers(0, 256, (10_000, 32, 32, 3), np.uint8)
    tracemalloc.start()
    _warn_if_constant(images, "noise")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1.5 * images.nbytes
