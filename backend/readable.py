"""Numbers as people read them."""

from __future__ import annotations

import math


def readable_bytes(count: int | float) -> str:
    """`1.4 GB`, with powers of 1000 as disks are sold."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def readable_seconds(seconds: float) -> str:
    """`0:48`, `12:05` or `3:07:00`; `?` for what is not known yet."""
    if not math.isfinite(seconds):
        return "?"
    whole = max(0, round(seconds))
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def readable_pace(steps_per_second: float) -> str:
    """`9.5 steps/s`; slow models are told in seconds per step; `? steps/s` for zero, which stands for not known yet."""
    if steps_per_second <= 0:
        return "? steps/s"
    if steps_per_second < 0.95:
        return f"{1 / steps_per_second:.1f} s/step"
    return f"{steps_per_second:.1f} steps/s"
