"""The processes that train together: which rows of a batch each has, and what they tell each other.

torchrun starts them and accelerate joins them. What they say to each other here is numbers and JSON over a group of
their own on the CPU, which waits for as long as it takes: a process that dies ends its connections, so nobody hangs.
"""

import json
import os
import socket
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor

from pathline.train.signals import StopRequest

T = TypeVar("T")
PATIENCE = timedelta(days=2)
"""How long one process waits for another that works alone, such as on pairs of a whole data set."""
ASK = 0.5
"""Seconds between the moments at which the processes ask each other whether to stop."""


class ElsewhereError(RuntimeError):
    """Another process of the same run has failed; the message is what it said."""


class Processes:
    """This process, number ``rank`` of ``count``, with its ``device``; alone unless a launcher started several."""

    def __init__(self, device: torch.device, rank: int = 0, count: int = 1) -> None:
        self.device, self.rank, self.count = device, rank, count
        self._group: Any = None
        if count > 1:
            self._group = torch.distributed.new_group(backend="gloo", timeout=PATIENCE)

    @classmethod
    def joined(cls, *, cpu: bool) -> "Processes":
        """Those that the launcher started, joined by accelerate; on the CPU where there is nothing else to train on.

        Raises:
            RuntimeError: accelerate joined other processes than the launcher started.
        """
        from accelerate import PartialState

        started = _started()
        state = PartialState(
            cpu=cpu or (started > 1 and not torch.cuda.is_available() and not torch.xpu.is_available()),
            **_own_keys(),
        )
        if state.num_processes != started:
            raise RuntimeError(
                f"{started} processes were started, but accelerate joins {state.num_processes} ({state.distributed_type}): "
                "--cpu trains on the CPU"
            )
        return cls(torch.device(state.device or "cpu"), state.process_index, state.num_processes)

    @classmethod
    def started(cls, *, cpu: bool) -> "Processes":
        """Those of a launcher, or this one alone on the GPU if there is one."""
        return cls.joined(cpu=cpu) if _started() > 1 else cls.alone(cpu=cpu)

    @classmethod
    def alone(cls, *, cpu: bool) -> "Processes":
        """This one, whatever a launcher started, on the GPU if there is one."""
        return cls(torch.device("cuda" if torch.cuda.is_available() and not cpu else "cpu"))

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def rows(self, total: int) -> slice:
        """The rows of a batch of ``total`` that are this process's: together all, as evenly as can be."""
        return share_of(total, self.rank, self.count)

    def once(self, work: Callable[[], T]) -> T:
        """What ``work`` returns, a JSON value, when the first process does it; its failure is one of all.

        Raises:
            ElsewhereError: in the others, if it failed in the first.
        """
        if self.count == 1:
            return work()
        caught: Exception | None = None
        told: dict[str, Any] = {}
        if self.first:
            try:
                told = {"value": work()}
            except Exception as error:
                caught, told = error, {"error": str(error) or type(error).__name__}
        told = self._tell(told)
        if caught is not None:
            raise caught
        if "error" in told:
            raise ElsewhereError(f"process 0 has failed: {told['error']}")
        return told["value"]

    def same(self, what: str, value: str) -> None:
        """Refuse to go on where ``value`` is not that of the first process.

        Raises:
            ValueError: in every process, naming those that differ.
        """
        wrong = [float(value != self.once(lambda: value))]
        if self.most(*wrong)[0]:
            differ = "this process has others" if wrong[0] else "others differ"
            raise ValueError(f"{what} must be the same in all processes, {differ}: give all nodes the same files")

    def most(self, *values: float) -> list[float]:
        """The largest of each value over all processes."""
        if self.count == 1:
            return list(values)
        held = torch.tensor(values, dtype=torch.float64)
        torch.distributed.all_reduce(held, torch.distributed.ReduceOp.MAX, group=self._group)
        return held.tolist()

    def pool(self, value: Tensor) -> Tensor:
        """The sum of ``value`` over all processes, which the first one then holds in its place, and the others 0."""
        if self.count == 1:
            return value
        total = value.detach().to("cpu", copy=True)
        torch.distributed.all_reduce(total, group=self._group)
        value.copy_(total if self.first else torch.zeros_like(total))
        return total

    def of_first(self, value: Tensor) -> Tensor:
        """``value`` of the first process, on the CPU."""
        held = value.detach().to("cpu", copy=True).contiguous()
        torch.distributed.broadcast(held, 0, group=self._group)
        return held

    def gathered(self, value: Tensor) -> list[Tensor]:
        """``value`` of every process, by number, on the CPU."""
        if self.count == 1:
            return [value]
        held = value.detach().cpu()
        found = [torch.empty_like(held) for _ in range(self.count)]
        torch.distributed.all_gather(found, held, group=self._group)
        return found

    def leave(self) -> None:
        """Part from the others, when all have come here."""
        if self.count > 1 and torch.distributed.is_initialized():
            torch.distributed.barrier(group=self._group)
            torch.distributed.destroy_process_group()

    def _tell(self, value: Any) -> Any:
        text = json.dumps(value).encode() if self.first else b""
        size = torch.tensor([len(text)])
        torch.distributed.broadcast(size, 0, group=self._group)
        held = torch.frombuffer(bytearray(text), dtype=torch.uint8) if self.first else size.new_empty(int(size))
        held = held.to(torch.uint8)
        torch.distributed.broadcast(held, 0, group=self._group)
        return json.loads(bytes(held.tolist()))


class AskedToStop:
    """``number`` is the signal that any of the processes got, 0 before. They ask each other about twice a second."""

    def __init__(self, stop: StopRequest, processes: Processes) -> None:
        self._stop, self._processes = stop, processes
        self._agreed = 0
        self._left, self._steps, self._begin = 1, 1, time.perf_counter()

    def after_step(self) -> None:
        """A step is done: every process calls this."""
        if self._processes.count == 1:
            return
        self._left -= 1
        if self._left:
            return
        now = time.perf_counter()
        wish = 1.0
        if self._processes.first:  # its clock counts
            wish = min(1000.0, max(1.0, self._steps * ASK / max(now - self._begin, 1e-6)))
        number, steps = self._processes.most(self._stop.number, wish)
        self._agreed, self._left, self._steps, self._begin = int(number), int(steps), int(steps), now

    @property
    def number(self) -> int:
        """The signal, agreed upon."""
        return self._agreed if self._processes.count > 1 else self._stop.number


def _started() -> int:
    """How many processes the launcher started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def _own_keys() -> dict[str, Any]:
    """Arguments by which the processes of a restart meet apart: the store of the launcher still has the addresses of those
    that are gone, and who reads one of them before it is replaced waits for nobody."""
    kept = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == str(True)
    if not kept or restarts() == 0 or torch.distributed.is_initialized():
        return {}
    store = torch.distributed.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    prefixed = torch.distributed.PrefixStore(f"restart {restarts()}", store)
    return {"store": prefixed, "rank": int(os.environ["RANK"]), "world_size": _started()}


def share_of(total: int, k: int, parts: int) -> slice:
    """Part ``k`` of ``total`` rows divided into ``parts``: their sizes differ by one at most."""
    return slice(k * total // parts, (k + 1) * total // parts)


def job() -> "str | None":
    """What this run is called by the launcher that would start it again, None without one: the same after a restart only."""
    if "TORCHELASTIC_RESTART_COUNT" not in os.environ:
        return None
    named = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    # without an id the launcher itself tells runs apart: it outlives the processes that it starts again
    return named if named != "none" else f"{socket.gethostname()}/{os.getppid()}"


def restarts() -> int:
    """How often the launcher has started this run again."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
