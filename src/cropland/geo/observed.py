"""When a scene was taken, by what its files say."""

from collections.abc import Mapping
from datetime import UTC, datetime

__all__ = ["observed_in", "parse_time"]

# Of an acquisition before that of a file, which a program may have written much later.
TAGS = ("ACQUISITIONDATETIME", "TIFFTAG_DATETIME")


def observed_in(tags: Mapping[str, str]) -> datetime | None:
    """The time in the tags of a file, UTC. Source: GDAL's IMAGERY domain; TIFF 6.0, DateTime."""
    return next((time for tag in TAGS if (time := parse_time(tags.get(tag))) is not None), None)


def parse_time(text: str | None) -> datetime | None:
    """2024-05-01T10:20:30Z or 2024:05:01 10:20:30, UTC where no zone is named; None for anything else."""
    date, _, rest = (text or "").strip().replace(" ", "T", 1).partition("T")
    try:
        time = datetime.fromisoformat(f"{date.replace(':', '-')}T{rest or '00:00'}")
    except ValueError:
        return None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
