"""Starts the processes of a plan on this machine and watches them."""

from __future__ import annotations

import faulthandler
import multiprocessing
import multiprocessing.connection
import os
import pickle
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist

from opweave.run.errors import LaunchError, PeerError

_GRACE_S = 10.0  # for the others to report, after one process has failed
_STACKS_S = 5.0  # for processes that hang to write where they are


def launch(
    function: Callable[..., Any],
    processes: int,
    args: Sequence[Any] = (),
    *,
    timeout_s: float = 300.0,
    backend: str = "gloo",
    log_dir: str | os.PathLike[str] | None = None,
    threads: int = 1,
    start_method: Literal["spawn", "fork"] = "spawn",
    bound: bool = False,
) -> list[Any]:
    """Calls `function(rank, *args)` in `processes` new processes that form a process group; returns what they return.

    Output of rank r goes to `log_dir/rank<r>.log`, by default in a temporary folder that stays after a failure only.
    torch uses `threads` threads in each process. "spawn" needs a function that can be imported; "fork" starts faster
    and takes any, but the caller must not have used a GPU or threads of its own.
    With `bound`, each process stays on one of the cores that the caller may use: rank r on the one at place r mod their
    number. Processes that outnumber the cores then share each evenly, as `opweave.run.parallel.predict` has it.

    Raises LaunchError as soon as one process fails or is killed, naming it, its error and its log, or `timeout_s`
    seconds after the call (the logs then end with where each process was). No process outlives the call.
    """
    if bound and not hasattr(os, "sched_setaffinity"):
        raise LaunchError("bound: this system cannot bind a process to a core, expected Linux")
    folder = Path(log_dir or tempfile.mkdtemp(prefix="opweave-run-"))
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("rank*.*"):
        stale.unlink()
    rendezvous = folder / "rank.store"
    deadline = time.monotonic() + timeout_s
    context: Any = multiprocessing.get_context(start_method)
    call = _call_of(folder, function, tuple(args)) if start_method == "spawn" else (function, tuple(args))
    workers = [
        context.Process(
            target=_work,
            args=(
                rank,
                processes,
                call,
                backend,
                threads,
                str(folder),
                str(rendezvous),
                timeout_s,
                bound,
            ),
            daemon=True,
        )
        for rank in range(processes)
    ]
    try:
        for worker in workers:
            worker.start()
        _watch(workers, folder, deadline, timeout_s)
    finally:
        _end(workers)
        if isinstance(call, Path):
            call.unlink()
    results = []
    for rank in range(processes):
        with open(_result(folder, rank), "rb") as file:
            results.append(pickle.load(file))
    if log_dir is None:
        shutil.rmtree(folder)
    return results


_Call = tuple[Callable[..., Any], tuple[Any, ...]]


def _call_of(folder: Path, function: Callable[..., Any], args: tuple[Any, ...]) -> _Call | Path:
    """What new processes run, in a file.

    Through the pipe that starts a process large arguments would wait until it has imported torch, one after the other.
    """
    try:
        content = pickle.dumps((function, args))
    except Exception:  # what only a starting process may get, such as a lock, or nobody: it says which
        return function, args
    path = folder / "call.pickle"
    path.write_bytes(content)
    return path


def _work(
    rank: int,
    processes: int,
    call: _Call | Path,
    backend: str,
    threads: int,
    folder: str,
    rendezvous: str,
    timeout_s: float,
    bound: bool,
) -> None:
    """Body of one process. Leaves a .result or an .error file behind."""
    if bound:  # before any thread starts, so that all of them are
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {allowed[rank % len(allowed)]})
    log = open(f"{folder}/rank{rank}.log", "a", buffering=1)
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    sys.stdout = sys.stderr = log
    faulthandler.register(signal.SIGUSR1, log)
    torch.set_num_threads(threads)
    if backend == "gloo" and sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # all processes are on this machine
    try:
        if backend == "nccl":
            torch.cuda.set_device(rank)
        dist.init_process_group(
            backend,
            init_method=f"file://{rendezvous}",
            rank=rank,
            world_size=processes,
            timeout=timedelta(seconds=timeout_s),
        )
        function, args = pickle.loads(call.read_bytes()) if isinstance(call, Path) else call
        result = function(rank, *args)
        with open(f"{folder}/rank{rank}.partial", "wb") as file:
            pickle.dump(result, file)
        os.replace(f"{folder}/rank{rank}.partial", _result(Path(folder), rank))
        try:
            dist.barrier()  # a process that leaves early would look like a failure to those that still talk to it
        except RuntimeError:
            # This rank has done its part. Whoever is gone says why, by its own exit code.
            traceback.print_exc()
            log.flush()
            os._exit(0)
        dist.destroy_process_group()
    except BaseException as error:
        traceback.print_exc()
        kind = "peer" if isinstance(error, PeerError) or _is_closed_connection(error) else "own"
        Path(f"{folder}/rank{rank}.error").write_text(f"{kind}\n{type(error).__name__}: {error}\n")
        log.flush()
        # Skips destructors of a process group whose peers may be gone: they can hang.
        os._exit(1)


def _is_closed_connection(error: BaseException) -> bool:
    text = str(error)
    return any(sign in text for sign in ("Connection closed by peer", "Connection reset by peer", "Broken pipe"))


def _result(folder: Path, rank: int) -> Path:
    return folder / f"rank{rank}.result"


def _has_failed(code: int | None, folder: Path, rank: int) -> bool:
    """Ended, but not well: by itself with exit code 0 before its function returned, too."""
    return code is not None and (code != 0 or not _result(folder, rank).exists())


def _watch(workers: list[Any], folder: Path, deadline: float, timeout_s: float) -> None:
    """Returns when all processes have ended well."""
    while True:
        # Asked once per round: a process that ends between two questions would count as neither failed nor running.
        codes = [worker.exitcode for worker in workers]
        failed = [rank for rank, code in enumerate(codes) if _has_failed(code, folder, rank)]
        if failed:
            grace = time.monotonic() + _GRACE_S
            while time.monotonic() < grace and any(worker.exitcode is None for worker in workers):
                time.sleep(0.05)
            raise LaunchError(_failure(workers, folder, failed))
        running = [rank for rank, code in enumerate(codes) if code is None]
        if not running:
            return
        left = deadline - time.monotonic()
        if left <= 0:
            # Asked again, since only a process that has not been asked for its exit code still owns its number.
            ranks = [rank for rank in running if workers[rank].exitcode is None]
            if not ranks:
                continue
            _write_stacks([workers[rank].pid for rank in ranks], [folder / f"rank{rank}.log" for rank in ranks])
            noun = "rank" if len(ranks) == 1 else "ranks"
            raise LaunchError(
                f"{noun} {', '.join(map(str, ranks))} did not end within {timeout_s:g} s\n"
                f"logs, with where they were: {folder}"
            )
        multiprocessing.connection.wait([workers[rank].sentinel for rank in running], min(left, 1.0))


def _write_stacks(pids: list[int], logs: list[Path]) -> None:
    """Asks processes to write where they are, and waits until their logs have grown and then stand still."""

    def sizes() -> list[int]:
        return [log.stat().st_size if log.exists() else 0 for log in logs]

    before = sizes()
    for pid in pids:
        os.kill(pid, signal.SIGUSR1)
    deadline = time.monotonic() + _STACKS_S
    last = before
    while time.monotonic() < deadline:
        time.sleep(0.2)
        now = sizes()
        if now == last and all(size > old for size, old in zip(now, before, strict=True)):
            return
        last = now


def _failure(workers: list[Any], folder: Path, first: list[int]) -> str:
    """One line on who failed first: killed, else gone without a word, else with an error that no other one caused."""

    def rank_of_blame(rank: int) -> tuple[int, int]:
        code = workers[rank].exitcode
        if code <= 0:
            return (0 if code < 0 else 1, rank not in first)
        error = folder / f"rank{rank}.error"
        caused_by_peer = error.exists() and error.read_text().startswith("peer\n")
        return (3 if caused_by_peer else 2, rank not in first)

    failed = [rank for rank, worker in enumerate(workers) if _has_failed(worker.exitcode, folder, rank)]
    culprit = min(failed, key=rank_of_blame)
    code = workers[culprit].exitcode
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = "unknown"
        what = f"rank {culprit} ended with signal {-code} ({name})"
    elif code == 0:
        what = f"rank {culprit} ended before its function returned"
    else:
        error = folder / f"rank{culprit}.error"
        reason = error.read_text().split("\n", 1)[1].strip() if error.exists() else "no error was reported"
        what = f"rank {culprit} ended with exit code {code}: {reason}"
    others = [str(rank) for rank in range(len(workers)) if rank != culprit]
    ended = f"; the other ranks ({', '.join(others)}) were ended" if others else ""
    return f"{what}{ended}\nlog: {folder / f'rank{culprit}.log'}"


def _end(workers: list[Any]) -> None:
    alive = [worker for worker in workers if worker.pid is not None and worker.is_alive()]
    for worker in alive:
        worker.terminate()
    deadline = time.monotonic() + 2.0
    for worker in alive:
        worker.join(max(0.0, deadline - time.monotonic()))
        if worker.is_alive():
            worker.kill()
            worker.join()
