"""Where a run computes: one device, or several processes that ``torchrun`` started."""

import os
import platform
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from objnerf.errors import InputError


@dataclass(frozen=True)
class Processes:
    """This process among those that share the work."""

    device: torch.device
    rank: int = 0
    count: int = 1

    @property
    def main(self) -> bool:
        """Whether this process writes the run folder."""
        return self.rank == 0

    @property
    def description(self) -> str:
        """The devices, for the log."""
        if self.device.type == "cuda":
            name = torch.cuda.get_device_name(self.device)
        else:
            kind = platform.processor() or platform.machine()
            name = f"{self.device.type} ({kind}, {torch.get_num_threads()} threads)"
        return name if self.count == 1 else f"{self.count} processes, each on {name}"

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network, with its gradients averaged over the processes in each backward pass.

        Each process then waits for a gradient of every parameter: add ``nothing_of`` to the loss.
        """
        if self.count == 1:
            return network
        return DistributedDataParallel(
            network, device_ids=[self.device] if self.device.type == "cuda" else None
        )

    def nothing_of(self, network: nn.Module) -> Tensor:
        """Zero, computed from every parameter, for steps that do not need all of them."""
        if self.count == 1:
            return torch.zeros((), device=self.device)
        return torch.stack([0 * parameter.sum() for parameter in network.parameters()]).sum()

    def average_before_steps(self, optimiser: torch.optim.Optimizer) -> None:
        """Let an optimiser average its gradients over the processes before each of its steps.

        For networks that are called several times, or differentiated twice, before they move; ``wrap``
        allows neither.
        """
        if self.count == 1:
            return

        def average(optimiser: torch.optim.Optimizer, arguments: Any, named: Any) -> None:
            for group in optimiser.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        dist.all_reduce(parameter.grad)
                        parameter.grad /= self.count

        optimiser.register_step_pre_hook(average)

    def without_sync(self, network: nn.Module) -> AbstractContextManager[None]:
        """While it is open, gradients stay with their own process (all but the last part of a step)."""
        return network.no_sync() if isinstance(network, DistributedDataParallel) else nullcontext()

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the processes, the same in all of them."""
        if self.count == 1:
            return values
        total = values.clone()
        dist.all_reduce(total)
        return total / self.count

    def agree(self, answer: bool) -> bool:
        """True in all processes if it is true in any."""
        if self.count == 1:
            return answer
        votes = torch.tensor(float(answer), device=self.device)
        dist.all_reduce(votes)
        return bool(votes > 0)

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            dist.barrier()


@contextmanager
def join_processes(device: str) -> Iterator[Processes]:
    """This process by itself, or together with those that ``torchrun`` started beside it.

    Args:
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps`` or ``auto`` (a GPU if there is one). Under torchrun
            each process takes the GPU of its local rank.
    Raises:
        InputError: no such device here.
    """
    chosen = choose_device(device)
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes(chosen)
        return
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=timedelta(minutes=30))
    try:
        yield Processes(chosen, dist.get_rank(), count)
    finally:
        dist.destroy_process_group()


def choose_device(name: str) -> torch.device:
    """The device that a user named.

    Raises:
        InputError: no name of a device, or there is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"--device {name}: expected auto, cpu, cuda, cuda:N or mps") from None
    here = {
        "cpu": 1,
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
    }
    if device.type not in here:
        raise InputError(f"--device {name}: expected auto, cpu, cuda, cuda:N or mps")
    if (device.index or 0) >= here[device.type]:
        found = f"{here[device.type]} of them" if here[device.type] else "none"
        raise InputError(f"--device {name}: torch {torch.__version__} finds {found} here; try --device cpu")
    return device


@contextmanager
def stopped_by_signal() -> Iterator[Callable[[], bool]]:
    """Yield a question that is answered with true after Ctrl-C or SIGTERM, so that a run can save and end.

    A second Ctrl-C interrupts at once, as usual.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    asked = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
