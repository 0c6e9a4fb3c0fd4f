import json
import logging
import stat

from backend.server.log import MOST_REASONS_OF_ONE, REFUSAL_PERIOD_SECONDS, LogHandler, ServerLog


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_is_json_with_the_time_in_a_private_file(tmp_path):
    log = ServerLog(tmp_path / "log.jsonl")

    log.write("job-begun", job="a1", sentence="line\nbreak \u2028")

    (line,) = lines(tmp_path / "log.jsonl")
    assert (line["event"], line["level"], line["job"], line["sentence"]) == (
        "job-begun", "info", "a1", "line\nbreak \u2028",
    )  # fmt: skip
    assert line["at"].endswith("Z")
    assert stat.S_IMODE((tmp_path / "log.jsonl").stat().st_mode) == 0o600


def test_the_same_refusal_is_told_once_a_period_with_its_count(tmp_path):
    now = [0.0]
    log = ServerLog(tmp_path / "log.jsonl", clock=lambda: now[0])
    for index in range(1000):
        log.refusal("ann", f"bad-message mesh.faces[{index}, 2]")
    now[0] = REFUSAL_PERIOD_SECONDS + 1
    log.refusal("ann", "bad-message mesh.faces[7, 1]")

    first, second = lines(tmp_path / "log.jsonl")
    assert first["reason"] == "bad-message mesh.faces[]"
    assert second["repeated"] == 999


def test_each_client_and_reason_is_told(tmp_path):
    log = ServerLog(tmp_path / "log.jsonl")
    for who in ("ann", "bob"):
        for reason in ("too-many", "unknown-job"):
            log.refusal(who, reason)

    assert len(lines(tmp_path / "log.jsonl")) == 4


def test_one_that_invents_reasons_does_not_flood_the_log(tmp_path):
    log = ServerLog(tmp_path / "log.jsonl", clock=lambda: 0.0)
    for index in range(5000):
        log.refusal("mallory", f"bad-message x{index}")

    found = lines(tmp_path / "log.jsonl")
    assert len(found) == MOST_REASONS_OF_ONE + 1
    assert found[-1]["reason"] == "others"


def test_reasons_of_before_do_not_come_on_top_of_those_of_now(tmp_path):
    now = [0.0]
    log = ServerLog(tmp_path / "log.jsonl", clock=lambda: now[0])
    for index in range(MOST_REASONS_OF_ONE):
        log.refusal("ann", f"bad-message old_{index}")
    now[0] = REFUSAL_PERIOD_SECONDS + 1
    before = len(lines(tmp_path / "log.jsonl"))

    for age in ("new", "old"):
        for index in range(MOST_REASONS_OF_ONE):
            log.refusal("ann", f"bad-message {age}_{index}")

    assert len(lines(tmp_path / "log.jsonl")) - before == MOST_REASONS_OF_ONE + 1  # and the others together


def test_a_long_log_is_begun_anew_and_two_older_ones_are_kept(tmp_path):
    log = ServerLog(tmp_path / "log.jsonl", most_bytes=1000)
    for index in range(100):
        log.write("event", number=index)

    files = sorted(path.name for path in tmp_path.iterdir())
    assert files in (["log.jsonl", "log.jsonl.1", "log.jsonl.2"], ["log.jsonl.1", "log.jsonl.2"])
    assert all(path.stat().st_size < 1200 for path in tmp_path.iterdir())
    newest = sorted(line["number"] for path in tmp_path.iterdir() for line in lines(path))
    assert newest == list(range(newest[0], 100))  # none of the newest is missing


def test_a_disk_that_cannot_be_written_stops_nothing(tmp_path):
    log = ServerLog(tmp_path / "not there" / "log.jsonl")

    log.write("event")
    (tmp_path / "not there").mkdir()
    log.write("event")

    assert len(lines(tmp_path / "not there" / "log.jsonl")) == 1


def test_what_python_logs_is_there_with_its_traceback(tmp_path):
    log = ServerLog(tmp_path / "log.jsonl")
    logger = logging.getLogger("test_log.example")
    logger.addHandler(LogHandler(log))
    logger.propagate = False
    try:
        raise ValueError("seven")
    except ValueError:
        logger.exception("it failed")

    (line,) = lines(tmp_path / "log.jsonl")
    assert (line["level"], line["message"]) == ("error", "it failed")
    assert "ValueError: seven" in line["traceback"]
