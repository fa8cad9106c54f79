"""What is white in images of more than 8 bits a channel.

A 16-bit file may hold 12 bits of a camera, a float TIFF 0 to 1 or 0 to 255. The file says which,
or the values of all images of a folder together do; one that is dark by itself says nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, TiffTags

from gan.data.contract import DataError

PLAIN_BITS = (8, 10, 12, 14)  # of sensors; all beyond the last is 16 bits
BYTE = 255
DEEP = 65535
FULL_SCALES = (1, BYTE, *(2**bits - 1 for bits in PLAIN_BITS[1:]), DEEP)
SEVERAL = "several channels"
SCALED = ("PPM", "JPEG2000")  # Pillow brings their integers to the full 16 bits, by what the file says
WHITE_IS_ZERO = 0  # of the tag PhotometricInterpretation
DIM = 4  # an image that goes to a quarter of the greatest value or less may have been saved with fewer bits
FEW_DIM = 0.25  # fraction of such images that any series may have
FEW_FULL = 0.1  # fraction of images that end exactly where fewer bits do
TAGS = {tag.name: number for number, tag in TiffTags.TAGS_V2.items()}


@dataclass(frozen=True)
class Depth:
    """How far the values of one image go, before it is brought to 8 bits."""

    kind: str  # images of a kind share what is white: format and type of number
    low: float
    high: float
    white: float | None  # what the file itself says
    file: str = ""  # its name, for messages


def is_deep(image: Image.Image) -> bool:
    """Return whether an image that is open but not decoded has more than 8 bits a channel."""
    return image.mode.startswith(("I", "F")) or _is_reduced(image)


def _is_reduced(image: Image.Image) -> bool:
    """Return whether Pillow drops the lower 8 of 16 bits: it does so where there are several channels."""
    several = len(image.getbands()) > 1
    return several and any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))


def measure(image: Image.Image, file: str) -> Depth:
    """Measure the depth of a deep image.

    Args:
        image: that is open, and not decoded.
        file: its name, for messages.

    Raises:
        ValueError: for values that are not finite.
    """
    reduced = _is_reduced(image)  # before it is decoded
    kind = f"{image.format} with {SEVERAL if reduced else 'floats' if image.mode == 'F' else 'integers'}"
    values = np.asarray(image)
    if not np.isfinite(values).all():
        raise ValueError("with values that are not finite, such as NaN")
    if image.mode.endswith("A"):  # how opaque it is says nothing of what is white
        values = values[..., :-1]
    low, high = float(values.min()), float(values.max())
    if reduced:
        return Depth(kind, low * 257, high * 257, None, file)
    return Depth(kind, low, high, _stated_white(image), file)


def is_negative(image: Image.Image) -> bool:
    """Return whether 0 is white in a deep TIFF, which Pillow inverts only where it has 8 bits or fewer."""
    return is_deep(image) and getattr(image, "tag_v2", {}).get(TAGS["PhotometricInterpretation"]) == WHITE_IS_ZERO


def _stated_white(image: Image.Image) -> float | None:
    """Return the greatest value that a file names, if that is less than its type of number holds."""
    if image.format in SCALED and image.mode != "F":  # PFM is PPM to Pillow
        return DEEP
    tags = getattr(image, "tag_v2", {})
    if most := tags.get(TAGS["SMaxSampleValue"]) or tags.get(TAGS["MaxSampleValue"]):
        return float(np.max(most))
    bits = np.max(tags.get(TAGS["BitsPerSample"], 16))
    return float(2**bits - 1) if image.mode != "F" and bits < 16 else None


def whites(depths: Sequence[Depth], place: str) -> list[float]:
    """Return the white value of each deep image of a folder. Raises DataError if neither files nor values say it."""
    # Some writers say the greatest value of each file: only where all say a full scale is it meant as one.
    plain = all(depth.white in FULL_SCALES for depth in depths if depth.white is not None)
    keys = [(depth.kind, depth.white is None, depth.white if plain else None) for depth in depths]
    groups: dict[tuple[str, bool, float | None], list[Depth]] = {}
    for key, depth in zip(keys, depths, strict=True):
        groups.setdefault(key, []).append(depth)
    shared = {}
    for key, alike in groups.items():
        shared[key] = _white(key[0], alike, place)
        if len({depth.white for depth in alike}) > 1 or alike[0].white is None:
            _check_one_range(key[0], alike, shared[key], place)
    return [shared[key] for key in keys]


def _check_one_range(kind: str, alike: Sequence[Depth], white: float, place: str) -> None:
    """Raise DataError for images of which a good part may have been saved with another range than the brightest."""
    highs = [depth.high for depth in alike if depth.high > 0]  # black is black in any range
    greatest = max(highs, default=0)

    def check(some: list[float], few: float) -> None:
        if some and len(some) >= few * len(highs):
            brightest = next(depth.file for depth in alike if depth.high == greatest)
            why = f"{len(some):,} of {len(alike):,} go to {max(some):,.6g} at most, {brightest} to {greatest:,.6g}"
            raise _unclear(kind, min(depth.low for depth in alike), greatest, place, why)

    check([high for high in highs if high <= greatest / DIM], FEW_DIM)
    for scale in FULL_SCALES:
        if scale < min(white, greatest):
            least = 0.5 if scale == 1 and kind.endswith("floats") else scale  # floats need not come to 1
            check([high for high in highs if least <= high <= scale], FEW_FULL)


def _white(kind: str, alike: Sequence[Depth], place: str) -> float:
    """Return the white value that all images of a kind share."""
    low, high = min(depth.low for depth in alike), max(depth.high for depth in alike)
    stated = max(depth.white or 0 for depth in alike)
    if stated:  # by some writers the greatest value of each file: the greatest of all is meant
        if low < 0 or high > stated:
            raise _unclear(kind, low, high, place, f"their files say that {stated:g} is white")
        return stated
    if low < 0 or high > DEEP:
        raise _unclear(kind, low, high, place, "which goes below 0 or above 65,535")
    if high > 2 ** PLAIN_BITS[-1] - 1:  # no sensor has 15 bits
        return DEEP
    if kind.endswith(SEVERAL):
        raise _unclear(
            kind, low, high, place, "of 16 bits only the upper 8 can be read, and these hold next to nothing"
        )
    if kind.endswith("floats") and high <= 1:
        return 1
    if high <= BYTE and (high >= BYTE / 2 or not kind.endswith("floats")):
        return BYTE
    if high in [2**bits - 1 for bits in PLAIN_BITS]:  # there are white spots
        return high
    raise _unclear(kind, low, high, place, "which may be a dark image or a smaller range")


def _unclear(kind: str, low: float, high: float, place: str, why: str) -> DataError:
    got = f"{kind} from {low:,.6g} to {high:,.6g} in {place}"
    # Of several channels Pillow keeps too little for a tag to help.
    tag = "" if kind.endswith(SEVERAL) else ", or as TIFF with the tag MaxSampleValue"
    remedy = f"{why}; save them with 8 bits{tag}"
    return DataError("data.path", "images whose white value is clear", got, remedy)


def to_bytes(values: np.ndarray, white: float) -> np.ndarray:
    """Convert (H, W) of any number to uint8, `white` becoming 255."""
    return (values.astype(np.float64) * (BYTE / white)).round().clip(0, BYTE).astype(np.uint8)
