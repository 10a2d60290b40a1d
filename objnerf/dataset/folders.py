"""Folders that one process writes at a time, and folders that appear only when they are complete.

A lock is the operating system's own (``flock``): it ends with the process that holds it, however that ends,
so that none is left behind by a process that was killed.
"""

import errno
import os
import shutil
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from objnerf.errors import InputError

try:
    import fcntl
except ImportError:  # Windows has no flock, and nothing is locked there
    fcntl = None  # type: ignore[assignment]

#: Readers of datasets and runs pass over names that begin like this.
TEMPORARY_PREFIX = ".tmp-"

#: Files that a lock is held on.
LOCK_PREFIX = f"{TEMPORARY_PREFIX}lock"

#: What a file system says that has no locks, as some network file systems have not.
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


class FolderInUse(InputError):
    """Another process writes to the folder."""


@contextmanager
def only_writer(
    folder: str | os.PathLike[str], *, shared: bool = False, part: str | None = None
) -> Iterator[None]:
    """Make a folder and hold the right to write to it; another process is refused until it is given back.

    Where the file system has no locks nobody is refused.

    Args:
        folder: made when missing.
        shared: let others in who ask for it shared as well.
        part: the name of a part of the work in a shared folder, which is held alone.
    Raises:
        FolderInUse: another process writes there.
        InputError: a file is in the folder's place.
        OSError: the folder cannot be made or written to.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise InputError(f"{folder}: expected a folder, found a file") from error
    with _locked(folder / LOCK_PREFIX, folder, shared):
        if part is None:
            yield
            return
        with _locked(folder / f"{LOCK_PREFIX}-{part}", folder, shared=False):
            yield


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; on success it becomes ``path``, on failure it goes.

    What a process left there that was killed is removed first.

    Raises:
        FolderInUse: another process is writing it.
        InputError: ``path`` exists and is not an empty folder.
        OSError: the folder beside ``path`` cannot be written to.
    """
    # Where a link leads: the link itself can't be replaced by a folder.
    path = Path(path).resolve()
    _refuse_filled(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(TEMPORARY_PREFIX + path.name)
    with _locked(path.with_name(f"{temporary.name}.lock"), path, shared=False):
        # Whoever held the lock before us may have finished.
        _refuse_filled(path)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        try:
            yield temporary
            os.replace(temporary, path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def sweep(folders: Iterable[Path]) -> None:
    """Remove the temporary files that killed writers left in some folders.

    Only for who holds the right to write there alone: a temporary file may be somebody's at work.
    """
    for folder in folders:
        for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
            if not path.name.startswith(LOCK_PREFIX):
                path.unlink(missing_ok=True)


def _refuse_filled(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: expected a new or empty folder to write to, found a file")
    if path.exists() and any(path.iterdir()):
        raise InputError(f"{path}: expected a new or empty folder to write to, found one that contains files")


@contextmanager
def _locked(path: Path, folder: Path, shared: bool) -> Iterator[None]:
    """Hold the lock that a file stands for.

    Args:
        path: the file; made when missing, and removed by the last who held it.
        folder: what the lock is for, to be named in the message.
    """
    if fcntl is None:
        yield
        return
    descriptor = _acquire(path, folder, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
    try:
        yield
    finally:
        with suppress(OSError):
            # Only who holds it alone may remove the file: others would go on to hold a lock on nothing.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
        os.close(descriptor)


def _acquire(path: Path, folder: Path, kind: int) -> int:
    """An open file that the lock is held on."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            # Whoever held it before may have removed the file after we opened it.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                    _say_who(descriptor)
                    return descriptor
        except BlockingIOError:
            who = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise FolderInUse(
                f"{folder}: another process is writing there ({who}); wait until it has ended, or name "
                "another folder"
            ) from None
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return descriptor
            os.close(descriptor)
            raise
        os.close(descriptor)


def _say_who(descriptor: int) -> None:
    """Write into a lock's file who holds it; a full disk keeps nobody from working."""
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
