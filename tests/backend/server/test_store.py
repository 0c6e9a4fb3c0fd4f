"""The database and the folders of a server's jobs."""

import sqlite3
import stat

import pytest

from backend.errors import UnusableState
from backend.server.job_record import JobRecord
from backend.server.store import JobStore


def record(job="a1", key="key-000001", **fields):
    given = {"owner": "ann", "task": "text", "title": "a cube", "status": "queued", "number": 1}
    return JobRecord(job=job, key=key, **(given | fields))


def test_the_folders_are_for_this_user_alone(tmp_path):
    with JobStore(tmp_path / "state") as store:
        store.make_job_folder("a1")
        folders = [store.folder, store.jobs_folder, store.job_folder("a1"), store.job_folder("a1") / "updates"]

        assert {stat.S_IMODE(folder.stat().st_mode) for folder in folders} == {0o700}


def test_one_owner_has_a_key_once_only(tmp_path):
    with JobStore(tmp_path) as store:
        store.add(record())

        with pytest.raises(sqlite3.IntegrityError):
            store.add(record("b2"))
        store.add(record("b2", owner="bob"))
        assert [each.job for each in store.jobs()] == ["a1", "b2"]


def test_what_fails_halfway_changes_nothing(tmp_path):
    with JobStore(tmp_path) as store:
        store.add(record())
        store.add_update(record(updates=1), "update-1")

        with pytest.raises(sqlite3.IntegrityError):
            store.add_update(record(updates=2, step=9), "update-1")

        assert store.jobs() == [record(updates=1)]
        assert store.has_update("a1", "update-1")
        assert not store.has_update("a1", "update-2")


def test_forgetting_a_job_forgets_the_keys_of_its_updates(tmp_path):
    with JobStore(tmp_path) as store:
        store.add(record())
        store.add_update(record(updates=1), "update-1")

        store.forget(["a1"])

        assert store.jobs() == []
        assert not store.has_update("a1", "update-1")


def test_a_folder_in_use_by_another_server_says_so(tmp_path):
    with JobStore(tmp_path), pytest.raises(UnusableState, match="in use by another server"):
        JobStore(tmp_path)


def test_a_folder_is_free_again_when_the_other_has_closed_it(tmp_path):
    JobStore(tmp_path).close()

    with JobStore(tmp_path) as store:
        assert store.jobs() == []


def test_a_database_of_another_schema_version_is_left_alone(tmp_path):
    JobStore(tmp_path).close()
    with sqlite3.connect(tmp_path / "jobs.sqlite") as database:
        database.execute("PRAGMA user_version = 7")
    database.close()

    with pytest.raises(UnusableState, match="schema version 7, this server reads version 1"):
        JobStore(tmp_path)


def test_a_database_of_something_else_is_left_alone(tmp_path):
    with sqlite3.connect(tmp_path / "jobs.sqlite") as database:
        database.execute("CREATE TABLE songs (title TEXT)")
    database.close()

    with pytest.raises(UnusableState, match="of something else"):
        JobStore(tmp_path)


def test_a_damaged_database_says_what_to_do(tmp_path):
    (tmp_path / "jobs.sqlite").write_bytes(b"this is no database" * 100)

    with pytest.raises(UnusableState, match=r"damaged .* put a copy in its place"):
        JobStore(tmp_path)


def test_a_state_folder_that_cannot_be_made_says_so(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(UnusableState, match="cannot be made"):
        JobStore(tmp_path / "file" / "state")


def test_only_whole_checkpoints_count(tmp_path):
    with JobStore(tmp_path) as store:
        store.make_job_folder("a1")
        checkpoints = store.job_folder("a1") / "run" / "checkpoints"
        assert not store.has_checkpoint("a1")
        (checkpoints / "step-000020.partial").mkdir(parents=True)
        assert not store.has_checkpoint("a1")
        (checkpoints / "step-000010").mkdir()

        assert store.has_checkpoint("a1")


def test_the_size_of_a_folder_is_that_of_its_files(tmp_path):
    with JobStore(tmp_path) as store:
        store.make_job_folder("a1")
        store.submit_file("a1").write_bytes(b"x" * 1000)
        store.update_file("a1", 1).write_bytes(b"x" * 500)

        assert store.folder_bytes("a1") == 1500
