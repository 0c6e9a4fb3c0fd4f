"""The order in which waiting jobs are begun: owners take turns, and each owner's jobs go by priority, then by age."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Mapping

from backend.server.job_record import JobRecord

NEVER = -1
"""The turn of an owner none of whose jobs was begun yet."""


def queue_order(waiting: Iterable[JobRecord], turns: Mapping[str, int]) -> list[str]:
    """The ids of waiting jobs, the next one first.

    Those with `is_first` were being computed already and go before all others. Then it is the turn of the owner whose
    last one is longest ago, again and again, so that one who sends a hundred jobs does not keep out one who sends one.

    Args:
        turns: Of each owner, the number of the turn in which a job of theirs was begun last; it grows with every job.
    """
    first: list[JobRecord] = []
    of_owners: dict[str, list[JobRecord]] = {}
    for record in waiting:
        (first if record.is_first else of_owners.setdefault(record.owner, [])).append(record)
    order = [record.job for record in sorted(first, key=lambda record: record.number)]
    queues = {
        owner: deque(sorted(records, key=lambda record: (-record.priority, record.number)))
        for owner, records in of_owners.items()
    }
    next_owners = [(turns.get(owner, NEVER), queue[0].number, owner) for owner, queue in queues.items()]
    heapq.heapify(next_owners)
    turn = next_turn(turns)
    while next_owners:
        _, _, owner = heapq.heappop(next_owners)
        order.append(queues[owner].popleft().job)
        if queues[owner]:
            heapq.heappush(next_owners, (turn, queues[owner][0].number, owner))
            turn += 1
    return order


def next_turn(turns: Mapping[str, int]) -> int:
    """The number of the turn that comes now."""
    return max(turns.values(), default=NEVER) + 1
