"""Makes the helpers in tests/ importable from every test, and keeps torch to one thread."""

import os
import sys
from pathlib import Path

# Read when huggingface_hub is imported: no test may reach the network.
os.environ["HF_HUB_OFFLINE"] = "1"

import torch

sys.path.insert(0, str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parent / "protocol"))  # for the fake server
torch.set_num_threads(1)
