"""The image files of a folder and of the folders in it."""

import contextlib
import errno
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

with contextlib.suppress(ImportError):  # not required: Pillow reads HEIC files where it is installed
    import pillow_heif  # type: ignore[import-not-found]

    pillow_heif.register_heif_opener()

# Thumbnails, snapshots and bins, which systems and network drives leave in people's folders; and all names with a dot.
NOT_IMAGES = (
    "@eadir", "@__thumb", "@recycle", "@recently-snapshot", "@tmp", "@sharebin", "#recycle", "#snapshot", "~snapshot",
    "__macosx", "$recycle.bin", "system volume information", "lost+found",
)  # fmt: skip
NO_READER = {".pdf", ".palm"}  # which Pillow writes alone
# Images that Pillow has no reader for, and what helps.
FOREIGN = {
    **dict.fromkeys((".heic", ".heif", ".hif"), "pip install pillow-heif"),
    **dict.fromkeys(
        (".jxl", ".svg", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".avif"),
        "save them as JPEG or PNG",
    ),
}


@dataclass
class Listing:
    """What was found below a folder; all paths begin with it."""

    files: list[Path] = field(default_factory=list)  # images, sorted
    foreign: list[Path] = field(default_factory=list)  # images that nothing here can read
    lost: list[Path] = field(default_factory=list)  # links that cannot be followed
    closed: list[Path] = field(default_factory=list)  # folders that may not be entered
    others: Counter[str] = field(default_factory=Counter)  # how many other files there are, by extension


def list_images(root: Path) -> Listing:
    """List all images by extension, each folder once, links to folders followed.

    Raises PermissionError if the root itself may not be entered.
    """
    extensions = set(Image.registered_extensions()) - NO_READER
    listing, folders, links = Listing(), [root], list[Path]()
    seen = set()
    while folders or links:  # links last, so that an image keeps the name of its own folder
        folder = folders.pop() if folders else links.pop(0)
        if (identity := _identity(folder)) in seen:
            continue
        seen.add(identity)
        entries = _entries(folder)
        if entries is None and folder != root:
            listing.closed.append(folder)
        elif entries is None:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(root))
        for entry in entries or []:
            path = Path(entry.path)
            if entry.name.startswith(".") or entry.name.lower() in NOT_IMAGES:
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(path)
            elif os.path.isdir(path):  # a link into a folder that may not be entered is none
                links.append(path)
            else:
                _sort_in(path, extensions, listing)
    for paths in (listing.files, listing.foreign, listing.lost, listing.closed):
        paths.sort()
    return listing


def _entries(folder: Path) -> "list[os.DirEntry[str]] | None":
    """Return the entries of a folder by name; None for a folder that may not be entered."""
    if not os.access(folder, os.R_OK | os.X_OK):
        return None
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _sort_in(path: Path, extensions: set[str], listing: Listing) -> None:
    suffix = path.suffix.lower()
    if suffix in extensions:
        (listing.files if os.path.isfile(path) else listing.lost).append(path)
    elif suffix in FOREIGN:
        listing.foreign.append(path)
    else:
        listing.others[suffix or "no extension"] += 1


def remedies(foreign: list[Path]) -> str:
    """Say what makes images readable that nothing here can read: `12 .heic (pip install pillow-heif)`."""
    counts = Counter(path.suffix.lower() for path in foreign)
    return ", ".join(f"{count:,} {suffix} ({FOREIGN[suffix]})" for suffix, count in counts.most_common())
