import stat

import pytest

from backend.errors import BadInput, UnusableState
from backend.server.state_folder import CONFIG_FILE, SERVER_ID, prepare_state_folder, server_id_of


def test_a_new_folder_is_for_its_user_alone(tmp_path):
    prepare_state_folder(tmp_path / "a" / "state")

    assert stat.S_IMODE((tmp_path / "a" / "state").stat().st_mode) == 0o700


def test_an_empty_folder_is_taken_and_closed(tmp_path):
    (tmp_path / "state").mkdir(mode=0o755)

    prepare_state_folder(tmp_path / "state")

    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path):
    (tmp_path / "letters.txt").touch()
    tmp_path.chmod(0o755)

    with pytest.raises(BadInput, match="--state"):
        prepare_state_folder(tmp_path)

    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_a_configuration_may_be_there_before_the_first_start(tmp_path):
    (tmp_path / CONFIG_FILE).write_text("embedded_prior = true")

    prepare_state_folder(tmp_path)

    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_a_path_that_is_a_file_is_told(tmp_path):
    (tmp_path / "state").touch()

    with pytest.raises(UnusableState, match="cannot be used"):
        prepare_state_folder(tmp_path / "state")


def test_the_id_stays_and_every_state_has_its_own(tmp_path):
    prepare_state_folder(tmp_path / "a")
    prepare_state_folder(tmp_path / "b")

    first = server_id_of(tmp_path / "a")

    assert server_id_of(tmp_path / "a") == first
    assert server_id_of(tmp_path / "b") != first
    prepare_state_folder(tmp_path / "a")


def test_a_damaged_id_is_told(tmp_path):
    (tmp_path / SERVER_ID).write_text("../../x")

    with pytest.raises(UnusableState, match="damaged"):
        server_id_of(tmp_path)
