"""Exit codes of all commands, in one place, so that no two mean the same by chance."""

from __future__ import annotations

EXIT_DONE = 0
EXIT_BUG = 1
EXIT_BAD_INPUT = 2
"""Also what a server refuses."""
EXIT_NOT_FINISHED = 3
"""There is no result yet, or the job was cancelled."""
EXIT_UNREACHABLE = 4
"""There is no server, it was lost, or it does not let this client in."""
EXIT_JOB_FAILED = 5
"""The server's job ended without a result."""
EXIT_STOPPED = 130  # 128 + SIGINT, as shells say it
