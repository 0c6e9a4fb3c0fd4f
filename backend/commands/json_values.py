"""Values of ours as JSON can say them, for the lines that commands print for programs."""

from __future__ import annotations

import math
from typing import Any


def json_value(value: Any) -> Any:
    """What JSON can say of a value: tuples become lists, paths text, and what is no finite number null."""
    if isinstance(value, dict):
        return {name: json_value(each) for name, each in value.items()}
    if isinstance(value, tuple | list):
        return [json_value(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)
