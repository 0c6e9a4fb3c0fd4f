"""The thread of the jobs, with a manager that only counts."""

import threading

from backend.server.jobs import JobManager
from backend.server.jobs_thread import JobsThread


class CountingManager(JobManager):
    def __init__(self):
        self.ticks, self.has_ticked_twice = 0, threading.Event()

    def recover(self):
        pass

    def tick(self):
        self.ticks += 1
        if self.ticks == 2:
            self.has_ticked_twice.set()

    def shut_down(self, seconds, wait):
        pass


def test_requests_without_a_pause_do_not_keep_ticks_away():
    manager = CountingManager()
    thread = JobsThread(lambda: manager, lambda: None)
    thread.start()

    def ask_again(manager):
        if not manager.has_ticked_twice.is_set():
            thread.submit(ask_again)

    for _ in range(2):  # one is always waiting while the other is done
        thread.submit(ask_again)
    has_ticked = manager.has_ticked_twice.wait(20.0)
    manager.has_ticked_twice.set()
    thread.end(0.0)

    assert has_ticked
