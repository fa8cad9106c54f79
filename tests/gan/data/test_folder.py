"""Folders of images as people have them: depths, classes, links, thumbnails, large photographs."""

import errno
import os
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from conftest import noise_images
from PIL import Image

from gan.data import folder
from gan.data.contract import DataError, DataWarning
from gan.data.dataset import Dataset, load_dataset

SIDE = np.linspace(0, 1, 32)
RAMP = np.add.outer(SIDE, SIDE) / 2  # (32, 32) from 0 to 1


def load(place: Path, class_id: int | str = "all", source: str = "folder") -> Dataset:
    return load_dataset(source, str(place), class_id, place.parent / "cache")


def fill(place: Path, values: np.ndarray, suffix: str = ".png", count: int = 40, **options: object) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    for k in range(count):
        Image.fromarray(values).save(place / f"{k:02d}{suffix}", **options)
    return place


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    return tmp_path / "images"


# --- what is white


@pytest.mark.parametrize(
    ("values", "white", "suffix", "options"),
    [
        (RAMP.astype(np.float32), 1, ".tif", {}),
        ((RAMP * 255).astype(np.float32), 255, ".tif", {}),
        ((RAMP * 4095).astype(np.uint16), 4095, ".png", {}),
        ((RAMP * 4095).astype(np.uint16), 4095, ".tif", {}),
        ((RAMP * 16383).astype(np.uint16), 16383, ".tif", {"compression": "tiff_lzw"}),
        ((RAMP * 50000).astype(np.uint16), 65535, ".png", {}),
        ((RAMP * 65535).astype(np.int32), 65535, ".tif", {}),
        ((RAMP * 255).astype(np.uint16), 255, ".png", {}),
        ((RAMP * 3000).astype(np.uint16), 4095, ".tif", {"tiffinfo": {281: 4095}}),  # MaxSampleValue
        ((RAMP * 12000).astype(np.uint16), 65535, ".pgm", {}),  # whose header says so
        ((RAMP * 12000).astype(np.uint16), 65535, ".jp2", {}),
        (RAMP.astype(np.float32), 1, ".pfm", {}),  # a PPM to Pillow, which scales those
    ],
)
def test_the_range_is_what_files_or_values_say(
    values: np.ndarray, white: float, suffix: str, options: dict[str, object], image_folder: Path
) -> None:
    images = load(fill(image_folder, values, suffix, **options)).train
    np.testing.assert_allclose(images[0, ..., 0], values / white * 255, atol=1.5)


@pytest.mark.parametrize(("dark", "high"), [(1, 110), (9, 600)])
def test_dark_images_of_a_series_stay_dark(dark: int, high: int, image_folder: Path) -> None:
    fill(image_folder, (RAMP * 4095).round().astype(np.uint16))
    for k in range(dark):
        Image.fromarray((RAMP * high).astype(np.uint16)).save(image_folder / f"zz_dark{k}.png")
    Image.fromarray(np.zeros((32, 32), np.uint16)).save(image_folder / "zzz_black.png")
    train = load(image_folder).train
    assert train[0].max() == 255
    assert [image.max() for image in train[40:-1]] == [round(high * 255 / 4095)] * dark


@pytest.mark.parametrize(
    ("most", "other", "count", "message"),
    [
        ((RAMP * 4095).astype(np.uint16), (RAMP * 65535).astype(np.uint16), 1, "40 of 41 go to 4,095 at most, x0.tif to 65,535"),
        ((RAMP * 3800).astype(np.uint16), (RAMP * 60000).astype(np.uint16), 40, "40 of 80 go to 3,800 at most"),
        ((RAMP * 65535).astype(np.uint16), (RAMP * 4095).astype(np.uint16), 5, "5 of 45 go to 4,095 at most"),
        (RAMP.astype(np.float32), (RAMP * 255).astype(np.float32), 40, "40 of 80 go to 1 at most, x0.tif to 255"),
        ((RAMP * 255).astype(np.float32), (RAMP * 0.9).astype(np.float32), 5, "5 of 45 go to 0.9 at most"),
    ],
)  # fmt: skip
def test_images_of_two_ranges_are_refused(
    most: np.ndarray, other: np.ndarray, count: int, message: str, image_folder: Path
) -> None:
    fill(image_folder, most, ".tif")
    for k in range(count):
        Image.fromarray(other).save(image_folder / f"x{k}.tif")
    with pytest.raises(DataError, match=f"images whose white value is clear; got '.* in .*{message}.*MaxSampleValue"):
        load(image_folder)


def test_images_of_two_ranges_are_read_where_they_say_so(image_folder: Path) -> None:
    fill(image_folder, (RAMP * 4095).astype(np.uint16), ".tif", tiffinfo={281: 4095})
    Image.fromarray((RAMP * 65535).astype(np.uint16)).save(image_folder / "x.tif", tiffinfo={281: 65535})
    assert [image.max() for image in load(image_folder).train] == [255] * 41
    fill(image_folder, (RAMP * 3000).astype(np.uint16), ".tif", tiffinfo={281: 3000})  # the greatest value of each
    with pytest.raises(DataError, match="40 of 41 go to 3,000 at most"):
        load(image_folder)


@pytest.mark.parametrize(
    ("values", "suffix", "message"),
    [
        (
            (RAMP * 3000).astype(np.uint16),
            ".png",
            "PNG with integers from 0 to 3,000 .*dark image or a smaller range",
        ),
        ((RAMP * 2000 - 1000).astype(np.int32), ".tif", "TIFF with integers from -1,000 to 1,000 .*below 0"),
        ((RAMP * 2 - 1).astype(np.float32), ".tif", "TIFF with floats from -1 to 1 .*below 0"),
        ((RAMP * 7).astype(np.float32), ".tif", "TIFF with floats from 0 to 7 .*MaxSampleValue"),
        ((RAMP * 1e6).astype(np.int32), ".tif", r"TIFF with integers from 0 to 1e\+06|1,000,000"),
        (
            np.eye(32, dtype=np.uint8),
            ".png",
            r"values 0 to 255; got 'train images uint8 from 0 to 1 in .*multiply by 255",
        ),
    ],
)
def test_an_ambiguous_range_is_refused(values: np.ndarray, suffix: str, message: str, image_folder: Path) -> None:
    fill(image_folder, values, suffix)
    with pytest.raises(DataError, match=message) as caught:
        load(image_folder)
    assert "\n" not in str(caught.value)


def colour_png(values: np.ndarray) -> bytes:
    """A PNG of 16-bit channels, (H, W, 3 or 4) uint16, which Pillow cannot write."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[values.shape[2]], 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    whole = [struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(whole)


def test_colours_of_16_bits_are_read_where_they_use_them(image_folder: Path) -> None:
    image_folder.mkdir()
    for white in (65535, 4095):
        content = colour_png(np.repeat((RAMP * white).astype(np.uint16)[..., None], 3, axis=2))
        for k in range(40):
            (image_folder / f"{k}.png").write_bytes(content)
        if white == 65535:
            np.testing.assert_allclose(load(image_folder).train[0, ..., 1], RAMP * 255, atol=1.5)
    with pytest.raises(
        DataError, match=r"several channels from 0 to .*only the upper 8 can be read.*; save them with 8 bits\)"
    ):
        load(image_folder)
    opaque = np.full((32, 32, 4), 65535, np.uint16)  # which says nothing of the colours
    opaque[..., :3] = (RAMP * 4095)[..., None]
    for k in range(40):
        (image_folder / f"{k}.png").write_bytes(colour_png(opaque))
    with pytest.raises(DataError, match="only the upper 8 can be read"):
        load(image_folder)


def test_a_tiff_in_which_0_is_white_is_shown_as_a_viewer_does(image_folder: Path) -> None:
    fill(image_folder, (RAMP * 65535).astype(np.uint16), ".tif")
    for file in image_folder.iterdir():
        content = file.read_bytes()
        black_is_zero = struct.pack("<HHIHH", 262, 3, 1, 1, 0)  # the tag PhotometricInterpretation
        assert content.count(black_is_zero) == 1
        file.write_bytes(content.replace(black_is_zero, struct.pack("<HHIHH", 262, 3, 1, 0, 0)))
    np.testing.assert_allclose(load(image_folder).train[0, ..., 0], 255 - RAMP * 255, atol=1.5)


def test_the_transparent_value_of_a_deep_png_is_white(image_folder: Path) -> None:
    values = (RAMP * 65535).astype(np.uint16)
    values[:, :16] = 1
    fill(image_folder, values, transparency=1)
    train = load(image_folder).train[0, ..., 0]
    assert (train[:, :15] == 255).all()
    np.testing.assert_allclose(train[:, 17:], (RAMP * 255)[:, 17:], atol=1.5)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["L", "RGB", "I;16"])
def test_a_tiff_that_is_turned_is_shown_as_a_viewer_does(kind: str, orientation: int, image_folder: Path) -> None:
    """Of 48x32 pixels, a bright corner: where it comes to is what EXIF says of the first row and column."""
    scene = np.zeros((32, 48), np.uint16 if kind == "I;16" else np.uint8)
    scene[:16, :24] = 65535 if kind == "I;16" else 255
    image = Image.fromarray(scene).convert("RGB") if kind == "RGB" else Image.fromarray(scene)
    image_folder.mkdir()
    for k in range(40):
        image.save(image_folder / f"{k}.tif", tiffinfo={274: orientation})
    train = load(image_folder).train[0, ..., 0]
    bright = {1: (0, 0), 2: (0, 1), 3: (1, 1), 4: (1, 0), 5: (0, 0), 6: (0, 1), 7: (1, 1), 8: (1, 0)}[orientation]
    corners = {(row, column): train[4 + 20 * row : 8 + 20 * row, 4 + 20 * column : 8 + 20 * column].mean()
               for row in (0, 1) for column in (0, 1)}  # fmt: skip
    assert corners == {place: 255 if place == bright else 0 for place in corners}


def test_images_that_show_nothing_are_said_with_numbers(image_folder: Path, tmp_path: Path) -> None:
    fill(image_folder, (RAMP * 12).astype(np.uint8))
    with pytest.warns(
        DataWarning, match=r"NEARLY CONSTANT: of 40 in folder .*mean is 5\.\d+, the least 0, the greatest 12"
    ):
        load(image_folder)
    images = np.concatenate([noise_images(40), np.full((60, 32, 32, 3), 255, np.uint8)])
    np.savez(tmp_path / "white.npz", images=images)
    with pytest.warns(DataWarning, match="of 100 in npz .* 60 show a single colour"):
        load(tmp_path / "white.npz", source="npz")
    images[:10] = noise_images(10) // 17  # as 12 bits that are taken for 16
    for wrong, said in (
        (images[:50], "10 show a single colour, 10 have no value above 31 and 10 none below 224; .* mean is"),
        (images[:40], "0 show a single colour, 10 have no value above 31 and 0 none below"),
        (255 - images[:40], "0 show a single colour, 0 have no value above 31 and 10 none below 224"),
    ):
        np.savez(tmp_path / "some.npz", images=wrong)
        with pytest.warns(DataWarning, match=said):
            load(tmp_path / "some.npz", source="npz")
    np.savez(tmp_path / "few.npz", images=np.concatenate([images[7:10], images[10:40]] * 2))
    load(tmp_path / "few.npz", source="npz")


# --- a sub-folder for each class


@pytest.fixture
def classes(image_folder: Path) -> Path:
    for k, name in enumerate(("8", "all", "ship", "two words")):
        fill(image_folder / name, noise_images(1, seed=k)[0])
    fill(image_folder / "ship" / "nested", noise_images(1, seed=9)[0], count=2)
    (image_folder / "empty").mkdir()
    Image.fromarray(noise_images(1, seed=10)[0]).save(image_folder / "beside.png")
    return image_folder


@pytest.mark.parametrize(
    ("class_id", "recorded", "seed", "count"),
    [("ship", "ship", 2, 42), (2, "ship", 2, 42), ("two words", "two words", 3, 40), (8, "8", 0, 40), (1, 1, 1, 40)],
)
def test_a_class_is_a_sub_folder(
    class_id: int | str, recorded: int | str, seed: int, count: int, classes: Path
) -> None:
    dataset = load(classes, class_id)
    assert (dataset.class_id, len(dataset.train)) == (recorded, count)
    np.testing.assert_array_equal(dataset.train[0], noise_images(1, seed=seed)[0])
    assert load(classes, dataset.class_id).sha256 == dataset.sha256  # as a resume has it


def test_a_number_that_may_be_a_name_is_refused(image_folder: Path) -> None:
    for name in ("000", "007", "010", "1_0", "0x1f", "5"):
        fill(image_folder / name, noise_images(1)[0])
    for class_id, name in ((7, "007"), (8, "010"), (10, "010, 1_0"), (31, "0x1f")):
        with pytest.raises(
            DataError, match=rf"class_id must be in quotation marks where .*{image_folder}; got {class_id} .*: {name}"
        ):
            load(image_folder, class_id)
    for plain, name in ((0, "000"), (1, "007"), (5, "5"), ("007", "007"), ("5", "5")):  # nothing else is meant
        assert load(image_folder, plain).class_id == name


def test_all_sub_folders_and_what_lies_beside_them(classes: Path) -> None:
    every = load(classes)
    assert (every.class_id, len(every.train)) == ("all", 163)
    assert "all of 4 sub-folders (8, all, ship, two words), 163 images" in every.description
    with pytest.warns(DataWarning, match=r"data\.class_id=8, the default of data=auto, is a class of CIFAR-10"):
        assert load(classes, 8, source="auto").sha256 == every.sha256
    assert load(classes, "two words", source="auto").class_id == "two words"


def test_a_sub_folder_is_found_however_its_accents_are_written(tmp_path: Path) -> None:
    """As macOS keeps names: a letter, then its accent. A keyboard gives one character."""
    apart, whole = "Mo\u0308we", "M\u00f6we"
    fill(tmp_path / "birds" / apart, noise_images(1)[0])
    assert load(tmp_path / "birds", whole).class_id == apart
    fill(tmp_path / "birds" / whole, noise_images(1, seed=1)[0], count=41)
    for name, count in ((apart, 40), (whole, 41)):  # both are there: each by its own name
        assert len(load(tmp_path / "birds", name).train) == count


def test_a_class_that_is_not_there_is_one_line(classes: Path, tmp_path: Path) -> None:
    for wrong, source in (("shipp", "folder"), ("shipp", "auto"), ("empty", "folder"), (4, "folder")):
        with pytest.raises(
            DataError, match=r"data\.class_id must be all or a sub-folder of .*: 8, all, ship, two words; got"
        ):
            load(classes, wrong, source)
    with pytest.raises(DataError, match=r"did you mean 'ship'\?"):
        load(classes, "shipp")
    flat = fill(tmp_path / "flat", noise_images(1)[0])
    with pytest.raises(
        DataError, match=r"data\.class_id must be all for folder .*, which has no sub-folders; got 'ship'"
    ):
        load(flat, "ship")
    for file in (classes / "all").iterdir():
        file.write_bytes(b"damaged")
    with pytest.warns(DataWarning, match="40 damaged"):  # the others keep their places
        assert load(classes, 2).class_id == "ship"
    with (
        pytest.warns(DataWarning, match="40 damaged"),
        pytest.raises(
            DataError, match=r"a class of .* \(8, ship, two words\) or all; got 1 \(no image of 1 can be read"
        ),
    ):
        load(classes, 1)
    fill(tmp_path / "few" / "a", noise_images(1)[0])
    fill(tmp_path / "few" / "b", noise_images(1)[0], count=3)
    with pytest.raises(DataError, match=r"at least 40 training images; got '3 in folder .*, class b'"):
        load(tmp_path / "few", "b")


# --- what is in people's folders


def test_thumbnails_and_what_other_programs_left_are_no_images(image_folder: Path) -> None:
    fill(image_folder, noise_images(1)[0])
    for name in (
        "@eaDir", ".ipynb_checkpoints", "__MACOSX", ".thumbnails", "sub/@eaDir", "sub/.hidden",
        "#snapshot/daily", "#recycle", "@tmp", "@Recently-Snapshot",
    ):  # fmt: skip
        fill(image_folder / name, noise_images(1, seed=1)[0])
    for name in ("._00.png", "Thumbs.db", "paper.pdf"):
        (image_folder / name).write_bytes(b"\0\x05\x16\x07")
    dataset = load(image_folder)
    assert len(dataset.train) == 40
    assert dataset.description.endswith("no labels, 40 images")


def test_links_to_folders_are_followed_once(image_folder: Path, tmp_path: Path) -> None:
    real = fill(tmp_path / "elsewhere", noise_images(1)[0])
    image_folder.mkdir()
    (image_folder / "cats").symlink_to(real)
    (image_folder / "again").symlink_to(image_folder / "cats")
    (real / "round").symlink_to(image_folder)
    (image_folder / "itself").symlink_to("itself")
    (image_folder / "lost.png").symlink_to("nowhere.png")
    with pytest.warns(DataWarning, match=r"1 of 41 files .* cannot be read and are left out: lost\.png"):
        dataset = load(image_folder)
    assert len(dataset.train) == 40
    ships = fill(tmp_path / "own" / "ships", noise_images(1)[0])
    for name in ("best", "winners"):  # before and after it in the order of names
        (ships.parent / name).symlink_to(ships)
    assert "1 sub-folders (ships), 40" in load(ships.parent).description  # a link takes nothing from the folder itself


def test_why_files_cannot_be_read_is_said(image_folder: Path) -> None:
    fill(image_folder, np.full((32, 32), np.nan, np.float32), ".tif", count=42)
    for _ in range(2):  # read, and from the cache
        with pytest.raises(DataError, match=r"can be read; got '0 of 42 in .*' \(42 with values that are not finite"):
            load(image_folder)
    fill(image_folder, noise_images(1)[0])
    (image_folder / "cut.png").write_bytes((image_folder / "00.png").read_bytes()[:500])
    (image_folder / "no.png").write_bytes(b"x")
    (image_folder / "lost.png").symlink_to("nowhere.png")
    with pytest.warns(
        DataWarning,
        match=r"and 35 more \(42 with values .*, 1 .*truncated.*, 1 damaged .*, 1 links that cannot be followed",
    ):
        load(image_folder)


def test_a_damaged_avif_is_left_out(image_folder: Path) -> None:
    """Pillow raises a plain RuntimeError for it."""
    fill(image_folder, noise_images(1)[0])
    file = image_folder / "odd.avif"
    Image.fromarray(noise_images(1)[0]).save(file)
    content = file.read_bytes()
    begin = content.index(b"mdat") + 4
    file.write_bytes(content[:begin] + bytes(64) + content[begin + 64 :])
    with pytest.warns(DataWarning, match=r"left out: odd\.avif \(1 Failed to decode"):
        assert len(load(image_folder).train) == 40


def test_what_could_not_be_read_once_is_tried_again(image_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(image_folder, noise_images(1)[0], count=42)
    opened = folder.Image.open

    def refused(stream: BinaryIO) -> Image.Image:
        if stream.name.endswith("00.png"):
            raise PermissionError(errno.EACCES, "Permission denied", stream.name)
        if stream.name.endswith("01.png"):
            raise MemoryError
        return opened(stream)

    with monkeypatch.context() as patch, pytest.warns(DataWarning, match="1 Permission denied, 1 MemoryError"):
        patch.setattr(folder.Image, "open", refused)
        assert len(load(image_folder).train) == 40
    assert len(load(image_folder).train) == 42


def test_a_link_into_a_folder_that_may_not_be_entered_is_left_out(
    image_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(image_folder, noise_images(1)[0])
    (image_folder / "link.png").symlink_to(image_folder / "private" / "x.png")
    real = os.stat

    def refused(path: object, *arguments: object, **options: object) -> os.stat_result:
        if str(path).endswith("link.png") and options.get("follow_symlinks", True):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "stat", refused)  # as root may all
    with pytest.warns(DataWarning, match=r"left out: link\.png \(1 links that cannot be followed"):
        assert len(load(image_folder).train) == 40


def test_a_folder_that_may_be_listed_but_not_entered_is_left_out(
    image_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By `data=auto` and by a resume as well; as root may all, the system's answer is made."""
    fill(image_folder, noise_images(1)[0], count=42)
    fill(image_folder / "closed", noise_images(1)[0], count=1)
    real_stat, may = os.stat, os.access

    def refused(path: object, *arguments: object, **options: object) -> os.stat_result:
        if Path(os.fsdecode(path)).parent.name == "closed":  # type: ignore[arg-type]
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real_stat(path, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "stat", refused)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "closed" and may(path, mode))
    with pytest.warns(DataWarning, match="1 folders in .* may not be entered and are left out: closed"):
        dataset = load(image_folder, source="auto")
    assert len(dataset.train) == 42
    with pytest.warns(DataWarning, match="may not be entered"):
        again = load_dataset("auto", str(image_folder), "all", image_folder.parent / "other")
    np.testing.assert_array_equal(again.train, dataset.train)


def test_images_without_a_reader_are_counted(image_folder: Path) -> None:
    image_folder.mkdir()
    for k in range(50):
        (image_folder / f"{k}.jxl").write_bytes(b"x")
        (image_folder / f"{k}.npy").write_bytes(b"x")
    with pytest.raises(DataError, match=r"it holds 0, beside 50 \.jxl \(save them as JPEG or PNG\), 50 of \.npy"):
        load(image_folder)
    (image_folder / "one.heic").write_bytes(b"x")
    fill(image_folder, noise_images(1)[0])
    with pytest.warns(DataWarning, match=r"51 of 91 images .* no reader for them: 50 \.jxl .*, 1 \.heic \(pip install"):
        assert len(load(image_folder).train) == 40


def test_folders_that_may_not_be_entered_are_named(image_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(image_folder, noise_images(1)[0])
    fill(image_folder / "private", noise_images(1, seed=1)[0])
    may = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: Path(path).name != "private" and may(path, mode)
    )  # as root may all
    with pytest.warns(DataWarning, match=r"1 folders in .* may not be entered and are left out: private"):
        assert len(load(image_folder).train) == 40
    with pytest.raises(DataError, match=r"data\.path must be readable; got .*private"):
        load(image_folder / "private")


def test_large_photographs_are_told_of_and_read_in_draft(image_folder: Path) -> None:
    rng = np.random.default_rng(0)
    scene = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize(
        (2048, 1536), Image.Resampling.BICUBIC
    )
    image_folder.mkdir()
    for k in range(40):
        (scene if k == 0 else scene.resize((64, 48))).save(image_folder / f"{k:02d}.jpg", quality=92)
    drafts: list[tuple[int, int]] = []
    train = load_dataset(
        "folder", str(image_folder), "all", image_folder.parent / "cache", lambda *so_far: drafts.append(so_far)
    ).train
    assert drafts == [(k, 40) for k in range(1, 41)]
    with Image.open(image_folder / "00.jpg") as whole:
        exact = np.asarray(folder._fitted(whole))
    assert np.abs(train[0].astype(int) - exact).max() <= 4
    with Image.open(image_folder / "01.jpg") as small:
        np.testing.assert_array_equal(train[1], folder._fitted(small))  # nothing to be spared


def test_images_read_by_an_earlier_version_are_read_anew(image_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(image_folder, noise_images(1)[0])
    load(image_folder)
    monkeypatch.setattr(folder, "VERSION", folder.VERSION + 1)
    load(image_folder)
    assert len(list((image_folder.parent / "cache").glob("data-*.npz"))) == 2


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    """As in a zip that was made on Windows."""
    place = fill(tmp_path / os.fsdecode(b"b\xfccher"), noise_images(1)[0])
    (place / os.fsdecode(b"\xe9.png")).write_bytes(b"nothing")
    with pytest.warns(DataWarning, match=r"left out: \udce9\.png"):
        assert len(load(place).train) == 40
