"""How long the server is told to wait, by a clock that the test sets."""

from backend.server.beats import LEAST_PATIENCE_SECONDS, PATIENCE_IN_STEPS, PHASE_PATIENCE_SECONDS, Beats


def patience_over(durations):
    """What is said before each of these steps, and after the last."""
    said, now = [], [0.0]
    beats = Beats(lambda step, patience: said.append(patience), lambda: now[0])
    for step, seconds in enumerate([*durations, 0.0]):
        beats.step(step)
        now[0] += seconds
    return said


def test_steps_are_waited_for_by_the_slowest_of_late():
    assert patience_over([40.0, 2.0, 3.0, 2.0])[3:] == [60.0, 60.0]
    assert PATIENCE_IN_STEPS == 20


def test_the_first_step_has_all_the_time_and_says_nothing_of_the_others():
    assert patience_over([500.0, 0.1, 0.1]) == [
        PHASE_PATIENCE_SECONDS,
        PHASE_PATIENCE_SECONDS,
        LEAST_PATIENCE_SECONDS,
        LEAST_PATIENCE_SECONDS,
    ]


def test_a_phase_begins_anew():
    said, now = [], [0.0]
    beats = Beats(lambda step, patience: said.append(patience), lambda: now[0])
    for step in range(4):
        beats.step(step)
        now[0] += 1.0

    beats.phase(4)
    now[0] += 300.0
    beats.step(4)

    assert said[-2:] == [PHASE_PATIENCE_SECONDS, PHASE_PATIENCE_SECONDS]
