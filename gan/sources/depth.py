"""What is white in pictures of more than 8 bits a channel.

A 16-bit file may hold 12 bits of a camera, a float TIFF 0 to 1 or 0 to 255. The file says which,
or the values of all pictures of a folder together do; one that is dark by itself says nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, TiffTags

from gan.sources import DataError

PLAIN_BITS = (8, 10, 12, 14)  # of sensors; all beyond the last is 16 bits
BYTE = 255
DEEP = 65535
SCALED = ("PPM", "JPEG2000")  # Pillow brings these to the full 16 bits, by what the file says
TAGS = {tag.name: number for number, tag in TiffTags.TAGS_V2.items()}


@dataclass(frozen=True)
class Depth:
    """How far the values of one picture go, before it is brought to 8 bits."""

    kind: str  # pictures of a kind share what is white: format and type of number
    low: float
    high: float
    white: float | None  # what the file itself says


def is_deep(picture: Image.Image) -> bool:
    """Whether a picture that is open but not decoded has more than 8 bits a channel."""
    return picture.mode.startswith(("I", "F")) or _is_reduced(picture)


def _is_reduced(picture: Image.Image) -> bool:
    """Whether Pillow drops the lower 8 of 16 bits: it does so where there are several channels."""
    several = len(picture.getbands()) > 1
    return several and any(";16" in str(tile[3]) for tile in getattr(picture, "tile", ()))


def measure(picture: Image.Image) -> Depth:
    """The depth of a deep picture. Raises ValueError for values that are not finite."""
    reduced = _is_reduced(picture)  # before it is decoded
    kind = f"{picture.format} with {'several channels' if reduced else 'floats' if picture.mode == 'F' else 'integers'}"
    values = np.asarray(picture)
    if not np.isfinite(values).all():
        raise ValueError("values that are not finite")
    low, high = float(values.min()), float(values.max())
    if reduced:
        return Depth(kind, low * 257, high * 257, None)
    return Depth(kind, low, high, _said_white(picture))


def _said_white(picture: Image.Image) -> float | None:
    """What a file says of its range, where that is less than its type of number holds."""
    if picture.format in SCALED:
        return DEEP
    tags = getattr(picture, "tag_v2", {})
    if most := tags.get(TAGS["SMaxSampleValue"]) or tags.get(TAGS["MaxSampleValue"]):
        return float(np.max(most))
    bits = np.max(tags.get(TAGS["BitsPerSample"], 16))
    return float(2**bits - 1) if picture.mode != "F" and bits < 16 else None


def whites(depths: Sequence[Depth], place: str) -> list[float]:
    """What is white in each of a folder's deep pictures. Raises DataError where neither files nor values say it."""
    groups: dict[tuple[str, bool], list[Depth]] = {}
    for depth in depths:
        groups.setdefault((depth.kind, depth.white is None), []).append(depth)
    shared = {key: _white(key[0], alike, place) for key, alike in groups.items()}
    return [shared[depth.kind, depth.white is None] for depth in depths]


def _white(kind: str, alike: Sequence[Depth], place: str) -> float:
    """What all pictures of a kind share."""
    low, high = min(depth.low for depth in alike), max(depth.high for depth in alike)
    said = max(depth.white or 0 for depth in alike)
    if said:  # by some writers the greatest value of each file: the greatest of all is meant
        if low < 0 or high > said:
            raise _unclear(kind, low, high, place, f"their files say that {said:g} is white")
        return said
    if low < 0 or high > DEEP:
        raise _unclear(kind, low, high, place, "which goes below 0 or above 65,535")
    if high > 2 ** PLAIN_BITS[-1] - 1:  # no sensor has 15 bits
        return DEEP
    if kind.endswith("several channels"):
        raise _unclear(
            kind, low, high, place, "of 16 bits only the upper 8 can be read, and these hold next to nothing"
        )
    if kind.endswith("floats") and high <= 1:
        return 1
    if high <= BYTE and (high >= BYTE / 2 or not kind.endswith("floats")):
        return BYTE
    if high in [2**bits - 1 for bits in PLAIN_BITS]:  # there are white spots
        return high
    raise _unclear(kind, low, high, place, "which may be a dark picture or a smaller range")


def _unclear(kind: str, low: float, high: float, place: str, why: str) -> DataError:
    got = f"{kind} from {low:,.6g} to {high:,.6g} in {place}"
    remedy = f"{why}; save them with 8 bits, or as TIFF with the tag MaxSampleValue"
    return DataError("data.path", "pictures of which it is plain what is white", got, remedy)


def to_bytes(values: np.ndarray, white: float) -> np.ndarray:
    """(H, W) of any number -> uint8, `white` being 255."""
    return (values.astype(np.float64) * (BYTE / white)).clip(0, BYTE).astype(np.uint8)
