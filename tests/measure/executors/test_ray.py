"""Two machines of one CPU each, as processes here: the real command, killed, cut and continued."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bench.api import register
from bench.cli import interrupt
from bench.errors import BenchError
from bench.measure.executors import ray
from tests.cli.test_cli import bench
from tests.docs.test_cluster import RAY_RUN, contents, here

UNLUCKY = """
import os, signal, sys, time
from pathlib import Path
from bench.api.purifier import Purifier
from bench.api import defense

MARKS = Path(os.environ["BENCH_MARKS_OF_THE_TEST"])

def first(name):
    try:
        os.close(os.open(MARKS / name, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True

class Unlucky(Purifier):
    def forward(self, x):
        if sys.argv[0].endswith("default_worker.py"):
            machine = os.getppid()
            if "--head" in Path(f"/proc/{machine}/cmdline").read_text():
                for _ in range(3000):  # the other shard is for the other machine
                    if (MARKS / "machine").exists():
                        break
                    time.sleep(0.1)
                if first("worker"):
                    os.kill(os.getpid(), signal.SIGKILL)
            elif first("machine"):
                os.kill(machine, signal.SIGKILL)
                time.sleep(60)
        return x

@defense("unlucky")
def unlucky(context):
    '''Loses a machine and then a worker; locally nothing.'''
    return Unlucky()
"""
RUN = ["run", "--dataset", "digits", "--images", "64", "--preset", "quick", "--control", "off"]
TASK = [*RUN, "--defense", "gaussian:runs=2,unlucky", "--attacks", "clean"]


@dataclass(frozen=True)
class Machines:
    """A running cluster of two. folder: all its processes carry it in their environment."""

    address: str
    folder: Path
    environment: dict[str, str]

    def processes(self, name: bytes = b"") -> list[int]:
        """Of the cluster, with `name` in their command line."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                ours = os.fsencode(self.folder) in (path / "environ").read_bytes()
                if ours and name in (path / "cmdline").read_bytes() != b"":
                    found.append(int(path.name))
            except OSError:
                continue
        return found


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    folder = Path(tempfile.mkdtemp(prefix="bench-test-", dir="/tmp"))  # sockets want a short path
    (folder / "marks").mkdir()
    (folder / "home").mkdir()
    environment = {
        "RAY_TMPDIR": str(folder),
        "HOME": str(folder / "home"),
        "BENCH_MARKS_OF_THE_TEST": str(folder / "marks"),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # all of it on the loopback address
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }
    running = Machines("", folder, environment)
    try:
        with subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("cluster.py"))],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            assert address, "the cluster did not start"
            yield replace(running, address=address)
            process.communicate(timeout=60)
        assert not running.processes()
    finally:
        for left in running.processes():
            os.kill(left, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def test_ctrl_c_keeps_what_is_done(machines: Machines, tmp_path: Path) -> None:
    command = shlex.split(RAY_RUN.replace("HEAD:6379", machines.address))[1:]
    process = subprocess.Popen(
        [sys.executable, "-m", "bench", *command, "--workers", "1", "--results", "cut"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, **machines.environment, "OMP_NUM_THREADS": "1"},
    )
    while process.poll() is None and not list((tmp_path / "cut").glob("*/records/**/*.json")):
        time.sleep(0.02)  # the first record is the signal
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == interrupt.CODE, said
    assert said.splitlines()[-1] == f"bench: {interrupt.MESSAGE}"
    assert "Traceback" not in said
    assert 0 < len(list((tmp_path / "cut").glob("*/records/**/*.json"))) < 6


def test_a_lost_worker_and_a_lost_machine_change_no_record(
    machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = tmp_path / "unlucky.py"
    plugin.write_text(UNLUCKY)
    arguments = [*TASK, "--plugin", "unlucky.py", "--save-adversarial"]
    over = ["--executor", "ray", "--address", machines.address, "--results", "cluster", "--json"]
    result = bench(*arguments, *over, cwd=tmp_path, **machines.environment)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["measured"] == 6
    assert result.stderr == ""
    assert {path.name for path in (machines.folder / "marks").iterdir()} == {"machine", "worker"}
    assert len(machines.processes(b"raylet/raylet")) == 1
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_MARKS_OF_THE_TEST", str(machines.folder / "marks"))
    here(*arguments, "--results", "here")
    register.PLUGINS["defense"].pop("unlucky")
    assert contents(tmp_path / "cluster") == contents(tmp_path / "here")
    points = [sorted((tmp_path / name).rglob("*.safetensors")) for name in ("cluster", "here")]
    assert [p.read_bytes() for p in points[0]] == [p.read_bytes() for p in points[1]] != []
    left = (path for path in (machines.folder / "home").rglob("*") if path.is_file())
    assert {path.parent.name for path in left} <= {"plugins"}  # the index of what is declared


def test_nothing_listens_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(BenchError, match=rf"no Ray head answers at 127.0.0.1:{port} \(Connection"):
        ray.reach(f"127.0.0.1:{port}")


def test_what_listens_there_is_no_head_of_ray() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        ray.reach(address)
        with pytest.raises(BenchError, match="within 3 s: is it a head of Ray"):
            ray.join(address, seconds=3)


@pytest.mark.slow
def test_a_cluster_of_its_own_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No token, no folder and no process stays, nothing listens outside; records are equal."""
    arguments = [*RUN, "--defense", "none", "--attacks", "clean"]
    result = bench(
        *arguments,
        "--executor",
        "ray",
        "--results",
        "own",
        cwd=tmp_path,
        HOME=str(tmp_path / "home"),
    )
    assert result.returncode == 0, result.stderr
    assert not (tmp_path / "home" / ".ray").exists()
    assert not list(Path(tempfile.gettempdir()).glob("bench-ray-*"))
    monkeypatch.chdir(tmp_path)
    here(*arguments, "--results", "here")
    assert contents(tmp_path / "own") == contents(tmp_path / "here")
