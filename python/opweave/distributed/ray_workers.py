"""Workers of a Ray cluster for the program opweave, which calls main() with ADDRESS, COUNT, COMMAND...

The driver speaks to all workers through this one process, in lines. Standard input: first the question, then
``N LINE`` for worker N. Standard output: first the number of workers (or ``!`` and why there are none), then ``N LINE``
for what worker N says, and ``N !REASON`` where it was lost; another one takes its number. The end of standard input
ends all workers. Each worker is an actor of one CPU that runs COMMAND and passes lines on (docs/distributed.md).

ADDRESS is that of a Ray client server, or empty: then RAY_ADDRESS counts, and without it a cluster of this machine is
started. COUNT 0 takes a worker per CPU of the cluster.
"""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
from typing import Any

MISSING = 'Ray is not installed: pip install "opweave[ray]"'


class Hand:
    """One worker: runs the native program and passes lines on. An actor of Ray; it uses the standard library alone."""

    def __init__(self, command: list[str], question: str) -> None:
        import queue
        import subprocess
        import threading

        self._lines: queue.Queue[str] = queue.Queue()
        self._ending: str | None = None
        self._child = subprocess.Popen(
            self._here(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        threading.Thread(target=self._read, daemon=True).start()
        self.tell(question)

    @staticmethod
    def _here(command: list[str]) -> list[str]:
        """The command, or the program as it is installed on this node."""
        import os
        import shutil
        import sys

        beside = os.path.join(os.path.dirname(sys.executable), "opweave")
        if shutil.which(command[0]):
            return command
        return [beside if os.path.exists(beside) else "opweave", "worker"]

    def _read(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            self._lines.put(line.rstrip("\n"))
        code = self._child.wait()
        self._ending = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        self._lines.put("")

    def tell(self, line: str) -> None:
        """Pass a line to the program; one that has ended hears nothing."""
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(line + "\n")
            self._child.stdin.flush()
        except OSError:
            pass

    def next(self) -> tuple[list[str], str | None]:
        """Lines that it has said since, waiting some seconds for the first; and how it ended, if it has."""
        import queue

        lines = []
        try:
            lines.append(self._lines.get(timeout=5))
            while True:
                lines.append(self._lines.get_nowait())
        except queue.Empty:
            pass
        is_over = "" in lines
        return [line for line in lines if line], self._ending if is_over else None


class Speaker:
    """Speaks for all workers."""

    def __init__(self, ray: Any, command: list[str], question: str, count: int, output: Any) -> None:
        # Nodes need the program, not this package.
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        self._ray = ray
        self._command = command
        self._question = ray.put(question)  # travels to each node once
        self._output = output
        self._events: queue.Queue[tuple[Any, ...]] = queue.Queue()
        # Of its own thread each, as what is told must keep its order and must not wait for what is listened to. Said of
        # the methods, as a call through ray:// takes no group.
        for method, group in ((Hand.tell, "ears"), (Hand.next, "mouth")):
            ray.method(concurrency_group=group)(method)
        self._actor = ray.remote(num_cpus=1, max_restarts=0, concurrency_groups={"ears": 1, "mouth": 1})(Hand)
        self._hands: list[Any] = [None] * count
        self._turns = [0] * count
        self._say(str(count))
        for worker in range(count):
            self._start(worker)

    def _say(self, line: str) -> None:
        self._output.write(line + "\n")
        self._output.flush()

    def _start(self, worker: int) -> None:
        self._turns[worker] += 1
        self._hands[worker] = self._actor.remote(self._command, self._question)
        self._listen(worker)

    def _listen(self, worker: int) -> None:
        turn = self._turns[worker]
        future = self._hands[worker].next.remote().future()
        future.add_done_callback(lambda done: self._events.put(("heard", worker, turn, done)))

    def _lose(self, worker: int, reason: str) -> None:
        self._ray.kill(self._hands[worker])
        self._say(f"{worker} !{reason}")
        self._start(worker)

    def _heard(self, worker: int, turn: int, done: Any) -> None:
        if turn != self._turns[worker]:
            return
        if done.exception() is not None:
            self._lose(worker, f"Ray lost it ({type(done.exception()).__name__})")
            return
        lines, ending = done.result()
        for line in lines:
            self._say(f"{worker} {line}")
        if ending is None:
            self._listen(worker)
        else:
            self._lose(worker, ending)

    def _read(self) -> None:
        for line in sys.stdin:
            self._events.put(("told", line.rstrip("\n")))
        self._events.put(("over",))

    def run(self) -> None:
        """Pass lines on until standard input ends."""
        threading.Thread(target=self._read, daemon=True).start()
        while True:
            kind, *event = self._events.get()
            if kind == "over":
                break
            if kind == "told":
                number, _, line = event[0].partition(" ")
                self._hands[int(number)].tell.remote(line)
            else:
                self._heard(*event)
        for hand in self._hands:
            self._ray.kill(hand)


def _connect(ray: Any, address: str, count: int) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address:
        ray.init(address=address, **quiet)
    elif os.environ.get("RAY_ADDRESS"):
        ray.init(**quiet)
    else:
        ray.init(num_cpus=count or None, include_dashboard=False, **quiet)


def main(arguments: list[str]) -> int:
    """Exit code: 2 where there are no workers, with one line that says why."""
    address, count, command = arguments[0], int(arguments[1]), arguments[2:]
    # Whatever Ray prints must not come between our lines.
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    if not address and not os.environ.get("RAY_ADDRESS"):
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # a cluster of this machine alone writes no token
    question = sys.stdin.readline().rstrip("\n")
    try:
        import ray
    except ImportError:
        print(f"!{MISSING}", file=output, flush=True)
        return 2
    try:
        _connect(ray, address, count)
        count = count or int(ray.cluster_resources().get("CPU", 1))
    except Exception as error:  # whatever Ray raises, the driver shows one line
        print(f"!Ray does not start: {' '.join(str(error).split())[:300]}", file=output, flush=True)
        return 2
    # From here on Ray tells of every node that is lost in dozens of lines; the driver hears of its workers anyway.
    errors = os.dup(2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    try:
        Speaker(ray, command, question, count, output).run()
        ray.shutdown()
    except BaseException as error:
        os.dup2(errors, 2)
        print(f"error: Ray's side: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0
