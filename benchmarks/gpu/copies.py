"""What comes back from the GPU to the host in the loops of training and of planning, and which lines ask for it.

The profiler counts copies as the device makes them, of all threads. The lines are found among the operations of the
thread that trains or plans: those that read a number, copy to the host, or have a result whose shape depends on values.
On a CPU nothing is copied; the lines that read numbers are found all the same.
"""

import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.gpu.acting import WHO, first_observation, policy_of
from benchmarks.gpu.config import GpuConfig
from benchmarks.gpu.training import EAGER, FURTHER, Finding, changes, watching
from benchmarks.records.provenance import ROOT
from pretrain.presets import preset
from pretrain.train import fit
from worldmodel.config import changed

EXPECTED = {
    "agents/world_model/agent.py": "the actions, which the environment takes",
    "pretrain/image/augmentation.py": "kornia's, which makes views; releases older than 0.9 may ask",
    "worldmodel/nn/looks.py": "whether an image looks unfamiliar decides what is computed",
    "worldmodel/planning/proposal.py": "whether the actor's plan is a number, once a plan",
    "worldmodel/planning/search.py": "whether costs are finite, twice a plan",
}
"""Files whose lines may ask for something, and for what."""
aten = torch.ops.aten
READS = (aten._local_scalar_dense, aten.equal, aten._linalg_check_errors)
"""Operations that bring a number to the host."""
SHAPES = (aten.nonzero, aten.masked_select, aten.bincount, aten._unique2, aten.unique_dim)
"""Operations that wait for a number, because their result's shape depends on it."""
FIRST, LAST = 5, 15
"""Steps of the training, or plans, between which is looked."""
TINY_FIRST, TINY_LAST = 1, 2
"""The same in a try."""


class Lines(TorchDispatchMode):
    """Counts what comes back to the host, by the line of this project that asks for it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Runs an operation, and counts it if something comes back."""
        result = func(*args, **(kwargs or {}))
        if _comes_back(func.overloadpacket, args, result):
            self.found[_line()] += 1
        return result


def _comes_back(operation: Any, args: tuple[Any, ...], result: Any) -> bool:
    if operation in READS or operation in SHAPES:
        return True
    if operation in (aten.index, aten.index_put_) and any(
        isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8) and index.device == args[0].device
        for index in args[1]
    ):
        return True  # a mask
    if operation in (aten._to_copy, aten.copy_):
        source = args[1] if operation is aten.copy_ else args[0]
        return isinstance(source, Tensor) and source.device.type != "cpu" and result.device.type == "cpu"
    return False


def _line() -> str:
    """The innermost line of this project that is running, but for this check."""
    frame: Any = sys._getframe(2)
    here = Path(__file__).parent
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(ROOT) and here not in path.parents and "site-packages" not in path.parts:
            return f"{path.relative_to(ROOT).as_posix()}:{frame.f_lineno}"
        frame = frame.f_back
    return "a library"


class Window:
    """Looks at what comes back between two steps.

    Args:
        device: "cuda" or "cpu".
        first: Steps before it begins to look.
        last: Steps until it ends.
    """

    def __init__(self, device: str, first: int, last: int) -> None:
        activities = [ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * (device == "cuda")]
        self.first, self.last = first, last
        self.lines, self.profile = Lines(), profile(activities=activities)
        self._step = 0

    def __call__(self, *arguments: Any) -> None:
        """Called behind each step."""
        self._step += 1
        if self._step == self.first:
            self.profile.start()
            self.lines.__enter__()
        elif self._step == self.last:
            self.lines.__exit__(None, None, None)
            self.profile.stop()

    def finding(self, device: str) -> Finding:
        """Copies of a step and the lines that asked for some, each with its number; lines not expected are faults."""
        steps, copies = self.last - self.first, self.copies()
        lines = {line: count / steps for line, count in sorted(self.lines.found.items())}
        measured = {"steps": steps, "copies_a_step": {name: n / steps for name, n in copies.items()}, "lines": lines}
        if device == "cpu":
            return Finding(measured)
        faults = [
            f"nothing may come back to the host from {line}, got {count:g} a step"
            for line, count in lines.items()
            if line.partition(":")[0] not in EXPECTED
        ]
        if copies["DtoH"] and not lines:
            faults.append(f"nothing may come back to the host, got {copies['DtoH']} copies of which no line is known")
        return Finding(measured, faults)

    def copies(self) -> dict[str, int]:
        """How many copies the device made to the host and from it."""
        names = [event.name for event in self.profile.events() or () if event.name.startswith("Memcpy")]
        return {kind: sum(kind in name for name in names) for kind in ("DtoH", "HtoD")}


def profile_training(config: GpuConfig, name: str) -> Finding:
    """Some steps of each stage of a training, without log, validation and checkpoint."""
    first, last = (TINY_FIRST, TINY_LAST) if config.tiny else (FIRST, LAST)
    named, given = changes(config, name, EAGER)
    steps = last + 1  # the last is logged
    further = [stage for stage in FURTHER if f"{stage}.num_steps" in given]
    lengths = ("num_steps", *(f"{stage}.num_steps" for stage in further))
    often = dict.fromkeys((*lengths, "log_every", "validate_every", "checkpoint_every"), steps)
    windows = {stage: Window(config.device, first, last) for stage in ("model", *further)}
    coming = iter([window for window in windows.values() for _ in range(steps)])
    with watching(lambda *_: next(coming)()):
        fit(changed(preset(named), {**given, **often, "output": str(config.runs / f"profile-{name}")}), name)
    return found_in(windows, config.device)


def profile_planning(config: GpuConfig, name: str) -> Finding:
    """Some plans and some actions of the actor alone, in one environment."""
    first, last = (TINY_FIRST, TINY_LAST) if config.tiny else (FIRST, LAST)
    windows = {who: Window(config.device, first, last) for who in WHO}
    for who, planner in WHO.items():
        agent, seen = policy_of(config, name, planner)
        shown = first_observation(name, seen, 1)
        for _ in range(last):
            agent.predict(shown, None, None, deterministic=True)
            windows[who]()
    return found_in(windows, config.device)


def found_in(windows: Mapping[str, Window], device: str) -> Finding:
    """What several windows saw, each under its name."""
    found = {name: window.finding(device) for name, window in windows.items()}
    return Finding(
        {name: one.measured for name, one in found.items()},
        [f"{name}: {fault}" for name, one in found.items() for fault in one.faults],
    )
