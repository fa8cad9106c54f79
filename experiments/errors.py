"""What an error says, for one line."""

import os
import stat
from pathlib import Path


def first_line(error: BaseException) -> str:
    """The first line of an error's text; its name where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def explained(error: OSError) -> str:
    """What the system says; of a file that may not be used, whose it is and what helps, too."""
    if not isinstance(error, PermissionError) or error.filename is None:
        return str(error)
    refused = Path(os.path.abspath(os.fsdecode(error.filename)))
    return f"{error.strerror}: {refused} ({_remedy(refused)})"


def _remedy(refused: Path) -> str:
    """Who can mend the permissions of a file, and how; of what is not there, those of the folder that it belongs in."""
    place = next((each for each in (refused, *refused.parents) if os.access(each, os.F_OK)), Path("/"))
    try:
        owner, group = place.owner(), place.group()
    except KeyError:  # an id without a name
        owner, group = str(place.stat().st_uid), str(place.stat().st_gid)
    found = place.stat()
    what = "it" if place == refused else str(place)
    facts = f"{what} belongs to {owner}, group {group}, mode {stat.filemode(found.st_mode)}"
    if found.st_uid == os.geteuid():
        return f"{facts}: chmod u+rwX {place}"
    return f"{facts}: {owner} can open it to the group with chmod -R g+rwX {place}, and keep it so with umask 002"
