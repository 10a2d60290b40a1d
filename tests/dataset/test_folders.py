"""One writer at a time, folders that appear when they are complete, and nothing in the way of a later run."""

import os
import subprocess
import sys
import threading
from contextlib import ExitStack

import pytest

from objnerf.dataset.folders import LOCK_PREFIX, atomic_folder, only_writer, sweep
from objnerf.errors import InputError

#: Holds the lock of the folder in its first argument until it is killed; says when it has it.
_HOLDER = """
import sys, time
from objnerf.dataset.folders import only_writer
with only_writer(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_another_process_is_named_and_its_death_gives_the_folder_back(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        words = rf"another process is writing there \(process {holder.pid} on "
        with pytest.raises(InputError, match=words), only_writer(tmp_path):
            pass
        holder.kill()
    with only_writer(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [LOCK_PREFIX]
    assert list(tmp_path.iterdir()) == []


def test_shards_work_side_by_side_and_a_whole_run_beside_none(tmp_path):
    def refused(**how: object) -> bool:
        with ExitStack() as stack:
            try:
                stack.enter_context(only_writer(tmp_path, **how))
            except InputError:
                return True
            return False

    first, second = ({"shared": True, "part": f"{index}-of-2"} for index in (1, 2))
    with only_writer(tmp_path, **first):
        assert refused()
        assert refused(**first)
        with only_writer(tmp_path, **second):
            assert refused()
    with only_writer(tmp_path):
        assert refused(**first)
    assert not refused()
    assert list(tmp_path.iterdir()) == []


def test_of_many_that_come_and_go_one_is_inside_at_a_time(tmp_path):
    """Lock files are removed by their last holder; nobody may end up with a lock on a removed one."""
    inside, most, entered = 0, 0, 0
    counting = threading.Lock()

    def come_and_go() -> None:
        nonlocal inside, most, entered
        for _ in range(200):
            try:
                with only_writer(tmp_path):
                    with counting:
                        inside, entered = inside + 1, entered + 1
                        most = max(most, inside)
                    with counting:
                        inside -= 1
            except InputError:
                continue

    threads = [threading.Thread(target=come_and_go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, inside) == (1, 0)
    assert entered > 0
    assert list(tmp_path.iterdir()) == []


def test_without_locks_in_the_file_system_the_work_is_done_all_the_same(tmp_path, monkeypatch):
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with only_writer(tmp_path), only_writer(tmp_path):
        pass


def test_a_file_in_the_folders_place_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="expected a folder, found a file"), only_writer(place):
            pass


def test_a_folder_appears_when_it_is_complete(tmp_path):
    target = tmp_path / "deep" / "target"
    with atomic_folder(target) as building:
        (building / "a").write_text("a")
        assert not target.exists()
        with pytest.raises(InputError, match=f"{target}: another process"), atomic_folder(target):
            pass
    assert (target / "a").read_text() == "a"
    assert [path.name for path in target.parent.iterdir()] == ["target"]
    # As any folder that the user makes.
    (tmp_path / "plain").mkdir()
    assert target.stat().st_mode == (tmp_path / "plain").stat().st_mode
    with pytest.raises(InputError, match="found one that contains files"), atomic_folder(target):
        pass


def test_what_failed_or_was_killed_leaves_the_place_free(tmp_path):
    target = tmp_path / "target"
    with pytest.raises(IsADirectoryError), atomic_folder(target) as building:
        building.write_text("a folder is no file")
    assert list(tmp_path.iterdir()) == []
    # What is left by a process that was killed is not part of the next one's work.
    with atomic_folder(target) as building:
        name = building.name
    target.rmdir()
    (tmp_path / name).mkdir()
    (tmp_path / name / "left").touch()
    with atomic_folder(target) as building:
        (building / "b").touch()
    assert [path.name for path in target.iterdir()] == ["b"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_link_to_an_empty_folder_is_filled_where_it_leads(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    with atomic_folder(tmp_path / "link") as building:
        (building / "a").touch()
    assert os.readlink(tmp_path / "link") == "disk"
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["a"]


def test_sweeping_takes_what_killed_writers_left_and_nothing_else(tmp_path):
    with only_writer(tmp_path):
        for name in (".tmp-a.png", "a.png", ".hidden"):
            (tmp_path / name).touch()
        sweep([tmp_path, tmp_path / "not_there"])
        assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden", LOCK_PREFIX, "a.png"]
