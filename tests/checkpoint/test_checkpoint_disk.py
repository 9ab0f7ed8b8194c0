"""Whatever stops a save, the file is the old one or the new one, whole; and what it leaves behind is cleared away."""

import errno
import os
import signal
import stat
import subprocess
import sys
import threading

import numpy as np
import pytest

import minima as mi
from minima.checkpoint import files

CALLS = ("open", "write", "fsync", "replace", "close")
OLD, NEW = {"step": 1, "a": [1.0] * 5}, {"step": 2, "a": [2.0] * 7}


class Disk:
    """Stands between a save and the disk: notes what is called, and lets one call fail."""

    def __init__(self, monkeypatch, fail=None, error=errno.ENOSPC, room=None):
        self.log = []
        self._fail, self._error, self._room = fail, error, room
        for name in CALLS:
            monkeypatch.setattr(os, name, self._between(name, getattr(os, name)))

    def _between(self, name, call):
        def replaced(*args, **kwargs):
            self.log.append(name)
            if len(self.log) == self._fail:
                if name == "close":
                    call(*args)
                raise OSError(self._error, os.strerror(self._error))
            if name == "write" and self._room is not None:
                descriptor, data = args
                if not self._room and len(data):
                    raise OSError(self._error, os.strerror(self._error))
                taken = call(descriptor, data[: min(self._room, 50)])  # a disk may take less than it is given
                self._room -= taken
                return taken
            return call(*args, **kwargs)

        return replaced


def saved(path, contents):
    mi.save(path, **contents, array=np.arange(100.0))


def found(path):
    loaded = mi.load(path)
    assert loaded.pop("array").tolist() == list(range(100))
    return loaded


def test_the_file_is_forced_to_the_disk_before_it_is_renamed_and_the_folder_afterwards(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        disk = Disk(patch)
        saved(tmp_path / "x", NEW)
    assert disk.log == ["open", "write", "write", "fsync", "replace", "close", "open", "fsync", "close"]
    assert found(tmp_path / "x") == NEW


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EACCES])
@pytest.mark.parametrize("fail", range(1, 10))
def test_a_call_that_fails_leaves_the_old_file_or_the_new_one_and_nothing_else(fail, error, tmp_path, monkeypatch):
    path = tmp_path / "x"
    saved(path, OLD)
    with monkeypatch.context() as patch:
        disk = Disk(patch, fail, error)
        with pytest.raises(OSError) as caught:
            saved(path, NEW)
    assert caught.value.errno == error
    assert str(caught.value) == f"[Errno {error}] save: {path} could not be written: {os.strerror(error)}"
    assert found(path) == (NEW if "replace" in disk.log[: fail - 1] else OLD)
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("first", [True, False])
def test_a_disk_that_is_full_after_any_number_of_bytes_leaves_the_old_file(first, tmp_path, monkeypatch):
    path = tmp_path / "x"
    saved(path, NEW)
    size = path.stat().st_size
    saved(path, OLD)
    if first:
        path.unlink()
    for room in [*range(0, size, 97), size - 1]:
        with monkeypatch.context() as patch:
            Disk(patch, room=room)
            with pytest.raises(OSError, match="No space left on device"):
                saved(path, NEW)
        assert os.listdir(tmp_path) == ([] if first else ["x"])
    if not first:
        assert found(path) == OLD
    with monkeypatch.context() as patch:
        Disk(patch, room=size)
        saved(path, NEW)
    assert found(path) == NEW


def test_an_interruption_by_the_keyboard_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "x"
    saved(path, OLD)

    def interrupted(descriptor):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            saved(path, NEW)
    assert found(path) == OLD and os.listdir(tmp_path) == ["x"]


LIMITED = """
import os, resource, sys
import numpy as np
import minima as mi
path = sys.argv[1]
mi.save(path, step=1, array=np.zeros(100))
size = os.path.getsize(path)
for limit in [*range(0, size, 131), size - 1]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        mi.save(path, step=2, array=np.ones(100))
    except OSError as error:
        print(error.errno, mi.load(path)["step"], len(os.listdir(os.path.dirname(path))))
resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
mi.save(path, step=2, array=np.ones(100))
print("at last", mi.load(path)["step"], len(os.listdir(os.path.dirname(path))))
"""


def run(script, *arguments):
    command = [sys.executable, "-W", "error", "-c", script, *map(str, arguments)]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}  # later Pythons warn of a fork beside threads
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.skipif(sys.platform == "win32", reason="limits are those of POSIX")
def test_a_limit_of_the_system_on_the_size_of_files_leaves_the_old_file(tmp_path):
    *limited, last = run(LIMITED, tmp_path / "x")
    assert set(limited) == {f"{errno.EFBIG} 1 1"} and len(limited) > 8
    assert last == "at last 2 1"


# A process per call, which kills itself there: a kill at every point between two calls.
KILLED = """
import os, signal, sys
import numpy as np
import minima as mi
path, calls, save = sys.argv[1], sys.argv[2].split(","), sys.argv[3]
count = 0

def deadly(call):
    def replaced(*args, **kwargs):
        global count
        count += 1
        if count == fatal:
            if call is os_write:
                call(args[0], args[1][: len(args[1]) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*args, **kwargs)
    return replaced

os_write = os.write
for fatal in range(1, 100):
    if not (child := os.fork()):
        for name in calls:
            setattr(os, name, deadly(getattr(os, name)))
        exec(save)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if not status:
        break
    left = len(os.listdir(os.path.dirname(path))) - 1
    step = mi.load(path)["step"]
    mi.save(path, step=1)
    print(os.WTERMSIG(status), left, step, *os.listdir(os.path.dirname(path)), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_killed_at_any_call_leaves_a_whole_file_and_one_orphan_at_most(tmp_path):
    path = tmp_path / "x"
    saved(path, OLD)
    lines = run(KILLED, path, ",".join(CALLS), "mi.save(path, step=2, array=np.arange(100.0))")
    expected = [(0, 1), *[(1, 1)] * 4, *[(0, 2)] * 4]  # killed before the temporary file, before the renaming, after it
    assert lines == [f"{int(signal.SIGKILL)} {orphans} {step} x" for orphans, step in expected]
    assert mi.load(path)["step"] == 2


# Orphans -------------------------------------------------------------------------------------------------------------

ORPHAN = ".x.0123456789abcdef.tmp"
OTHERS = [
    ".x.tmp",
    ".y.0123456789abcdef.tmp",
    "x.0123456789abcdef.tmp",
    ".x.0123456789ABCDEF.tmp",
    ".x.0.tmp",
    ".xx.tmp",
]


def test_a_save_clears_orphans_of_its_own_file_and_nothing_else(tmp_path):
    for name in (ORPHAN, *OTHERS):
        (tmp_path / name).write_bytes(b"half")
    mi.save(tmp_path / "x", step=1)
    assert sorted(os.listdir(tmp_path)) == sorted([*OTHERS, "x"])


@pytest.mark.skipif(files.fcntl is None, reason="needs locks")
def test_the_file_of_a_writer_that_lives_is_no_orphan(tmp_path):
    fcntl = pytest.importorskip("fcntl")
    with (tmp_path / ORPHAN).open("wb") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        mi.save(tmp_path / "x", step=1)
        assert sorted(os.listdir(tmp_path)) == [ORPHAN, "x"]
    mi.save(tmp_path / "x", step=1)
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.skipif(files.fcntl is None, reason="needs locks")
def test_a_file_taken_for_an_orphan_before_it_was_locked_is_made_anew(tmp_path, monkeypatch):
    lock = files.fcntl.flock
    stolen = []

    def slow(descriptor, operation):
        if not stolen:
            stolen.extend(os.listdir(tmp_path))
            (tmp_path / stolen[0]).unlink()
        lock(descriptor, operation)

    monkeypatch.setattr(files.fcntl, "flock", slow)
    mi.save(tmp_path / "x", step=1)
    assert len(stolen) == 1 and os.listdir(tmp_path) == ["x"] and mi.load(tmp_path / "x") == {"step": 1}


def test_where_locks_are_unknown_files_are_saved_and_orphans_left(tmp_path, monkeypatch):
    def unknown(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", unknown)
    (tmp_path / ORPHAN).write_bytes(b"half")
    mi.save(tmp_path / "x", step=1)
    assert mi.load(tmp_path / "x") == {"step": 1} and sorted(os.listdir(tmp_path)) == [ORPHAN, "x"]


def test_on_windows_the_system_itself_guards_files_that_are_open(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "fcntl", None)
    (tmp_path / ORPHAN).write_bytes(b"half")
    for step in (1, 2):
        mi.save(tmp_path / "x", step=step)
    assert mi.load(tmp_path / "x") == {"step": 2} and os.listdir(tmp_path) == ["x"]


# Places --------------------------------------------------------------------------------------------------------------


def test_a_link_is_followed_and_stays_a_link(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "x").symlink_to(tmp_path / "far" / "y")
    for step in (1, 2):
        mi.save(tmp_path / "x", step=step)
    assert (tmp_path / "x").is_symlink() and mi.load(tmp_path / "far" / "y") == {"step": 2}
    assert os.listdir(tmp_path / "far") == ["y"]


def test_a_file_has_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    mi.save(tmp_path / "x", step=1)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_a_folder_in_the_place_of_the_file_and_a_missing_folder_are_named(tmp_path):
    with pytest.raises(IsADirectoryError, match=f"save: {tmp_path} could not be written: a folder has this name$"):
        mi.save(tmp_path, step=1)
    path = tmp_path / "none" / "x"
    with pytest.raises(FileNotFoundError, match=f"save: {path} could not be written: No such file or directory$"):
        mi.save(path, step=1)


def test_paths_may_be_strings_and_relative(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mi.save("x", step=1)
    assert mi.load("x") == {"step": 1} and os.listdir(tmp_path) == ["x"]


def test_readers_see_whole_files_while_many_write(tmp_path):
    path = tmp_path / "x"
    mi.save(path, step=0, array=np.zeros(1000))
    seen, stop = [], threading.Event()

    def write(step):
        for _ in range(10):
            mi.save(path, step=step, array=np.full(1000, float(step)))

    def read():
        while not stop.is_set():
            loaded = mi.load(path)
            assert (loaded["array"] == loaded["step"]).all()
            seen.append(loaded["step"])

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(step,)) for step in (1, 2, 3)]
    reader.start()
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    stop.set()
    reader.join()
    assert len(seen) > 3 and os.listdir(tmp_path) == ["x"]
