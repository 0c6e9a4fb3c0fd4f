"""The examples of the protocol's tests are of use here too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "protocol"))
