"""Jobs as tasks of Ray: a function is called for each of them, side by side, and what it returns comes back.

::

    this process  ──► function, name and arguments of a job ──►  a task, on any machine
                  ◄── what it returns, or an error ◄──

Tasks write nothing that this process could write: results come back as they get done, to be stored at once, and the
process that is asked again knows what is there. A task that is lost with its machine is run again on another one; an
error in it is an answer, and ends all others. So does Ctrl-C: tasks are told, and may save what they have.
"""

import contextlib
import importlib.util
import itertools
import logging
import os
import re
import signal
import socket
import sysconfig
import textwrap
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from worldmodel import import_extra
from worldmodel.cluster.config import ClusterConfig
from worldmodel.cluster.errors import portable
from worldmodel.config import ConfigError
from worldmodel.storage.files import absolute

logger = logging.getLogger(__name__)

LOCAL = "local"
"""The address of a Ray that is started on this machine, and ends with the command."""
MAX_RETRIES = 3
"""How often a task is run again that was lost with its machine or its process."""
PATIENCE = 0.2
"""Seconds after which a request to stop is seen."""
GRACE_SECONDS = 15
"""Seconds that tasks have to save what they have, once they are told to stop."""
REACH_SECONDS = 10
"""Seconds in which the first machine of a cluster must answer: Ray itself asks for minutes."""
LONGEST_REASON = 300
"""Characters of what Ray says of a task that was lost."""
PLACES = ("MINARI_DATASETS_PATH", "WORLDMODEL_FRAMES")
"""Variables that say where data lie: tasks have those of this process."""

Job = tuple[Any, ...]
"""Arguments of a function; what several jobs share is sent to a machine once."""


@contextlib.contextmanager
def connect(
    cluster: ClusterConfig, *, modules: tuple[str, ...] = (), shared: Path | None = None, progress: bool = True
) -> Iterator["Workers | None"]:
    """Workers for jobs, or None where the configuration asks for none; Ray is started, or joined, with the first job.

    If the calling program has called ``ray.init``, its Ray is taken, with the environment that it gives to tasks.

    Args:
        cluster: Which Ray, and how much of it a task has.
        modules: Modules of the user that tasks import, which other machines may lack: see :func:`modules_of`.
        shared: A folder that all machines must see, for tasks that write files.
        progress: Whether to show which jobs run.
    """
    if cluster.ray is None:
        yield None
        return
    workers = Workers(cluster, modules, shared, progress)
    try:
        yield workers
    finally:
        workers.close()


@dataclass
class Workers:
    """Runs jobs as tasks of Ray; see :func:`connect`.

    Attributes:
        cluster: Which Ray, and how much of it a task has.
        modules: Modules of the user that tasks import.
        shared: A folder that all machines must see.
        progress: Whether to show which jobs run.
    """

    cluster: ClusterConfig
    modules: tuple[str, ...]
    shared: Path | None
    progress: bool
    _ray: Any = field(init=False, default=None)
    _mark: Path | None = field(init=False, default=None)
    _running: dict[Any, str] = field(init=False, default_factory=dict)
    _closing: contextlib.ExitStack = field(init=False, default_factory=contextlib.ExitStack)

    @property
    def resources(self) -> dict[str, float]:
        """What a task has, for records."""
        return {"cpus": self.cluster.ray_cpus, "gpus": self.cluster.ray_gpus}

    def map(
        self,
        function: Callable[..., Any],
        jobs: Mapping[str, Job],
        what: str,
        *,
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> Iterator[tuple[str, Any]]:
        """Calls a function for each job.

        Args:
            function: A function of a module that all machines have.
            jobs: The function's arguments by the jobs' names.
            what: What is done, for the progress bar.
            is_stopped: Whether to stop; asked now and then.

        Yields:
            The name of a job, and what the function returned, in the order in which they get done.

        Raises:
            ImportError: If Ray is not installed.
            ConnectionError: If there is no such cluster.
            ConfigError: If no machine has what a task needs.
            ChildProcessError: If a task was lost too often.
            Exception: What the function raised, as it was raised there where it can be told between processes.
        """
        if not jobs:
            return
        self._start()
        needs = {"num_cpus": self.cluster.ray_cpus, "num_gpus": self.cluster.ray_gpus, "max_retries": MAX_RETRIES}
        task = self._ray.remote(**needs)(_work)
        sent: dict[int, Any] = {}
        waiting = iter(jobs.items())
        with tqdm(total=len(jobs), desc=what, unit="job", disable=not self.progress or None) as bar:
            while not is_stopped():
                slots = self._slots()
                # Few more than can run: what nobody has asked for yet takes no memory.
                for name, job in itertools.islice(waiting, max(0, 2 * slots - len(self._running))):
                    for argument in job:
                        if id(argument) not in sent:
                            sent[id(argument)] = self._ray.put(argument)
                    arguments = [sent[id(argument)] for argument in job]
                    self._running[task.options(name=name).remote(function, Path.cwd(), self._mark, *arguments)] = name
                bar.set_postfix_str("; ".join(itertools.islice(self._running.values(), slots)))
                if not self._running:
                    return
                for done in self._ray.wait(list(self._running), timeout=PATIENCE)[0]:
                    name = self._running.pop(done)
                    yield name, self._result(done, name)
                    bar.update()

    def close(self) -> None:
        """Stops what still runs, and leaves the cluster."""
        with self._closing:
            if self._running:
                for task in self._running:
                    self._ray.cancel(task)
                self._ray.wait(list(self._running), num_returns=len(self._running), timeout=GRACE_SECONDS)
                self._running.clear()

    def _start(self) -> None:
        """Starts or joins Ray, once."""
        if self._ray is not None:
            return
        ray = import_ray()
        if not ray.is_initialized():
            _init(ray, str(self.cluster.ray), self.modules)
            self._closing.callback(ray.shutdown)
        self._ray = ray
        if not any(self._fits(node["Resources"]) for node in ray.nodes() if node["Alive"]):
            needs = f"{self.cluster.ray_cpus:g} cores and {self.cluster.ray_gpus:g} GPUs"
            if self.cluster.ray == LOCAL:
                raise ConfigError("cores and GPUs of a task (ray_cpus, ray_gpus)", "what this machine has", needs)
            logger.warning("no machine of the cluster has %s for a task; tasks wait for one that has", needs)
        if self.shared is not None:
            self.shared.mkdir(parents=True, exist_ok=True)
            self._mark = self.shared / f".seen-{uuid.uuid4().hex}"
            self._mark.touch()
            self._closing.callback(self._mark.unlink, missing_ok=True)

    def _fits(self, resources: Mapping[str, float]) -> bool:
        """Whether a machine has what a task needs."""
        return all(resources.get(kind, 0) >= count for kind, count in self._needs().items())

    def _slots(self) -> int:
        """How many tasks can run at once, about."""
        resources = self._ray.cluster_resources()
        return max(1, int(min(resources.get(kind, 0) / count for kind, count in self._needs().items())))

    def _needs(self) -> dict[str, float]:
        """What a task needs, by Ray's names."""
        gpus = self.cluster.ray_gpus
        return {"CPU": self.cluster.ray_cpus} | ({"GPU": gpus} if gpus else {})

    def _result(self, task: Any, name: str) -> Any:
        """What a task returned.

        Raises:
            ChildProcessError: If it was lost.
            Exception: What was raised in it.
        """
        try:
            result, error = self._ray.get(task)
        except self._ray.exceptions.RayError as lost:
            lines = str(lost).strip().splitlines() or [type(lost).__name__]
            told = lines[-1] if isinstance(lost, self._ray.exceptions.RayTaskError) else " ".join(lines)
            reason = textwrap.shorten(told, LONGEST_REASON, placeholder="…")
            raise ChildProcessError(
                f"the task {name!r} could not be brought to its end ({reason}); the same command goes on from what is "
                "kept"
            ) from lost
        if error is not None:
            raise error
        return result


def import_ray() -> Any:
    """Ray, which nothing needs but where it is asked for.

    Raises:
        ModuleNotFoundError: If it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anyone
    return import_extra("ray", "--ray")


def modules_of(*names: str | None) -> tuple[str, ...]:
    """Modules that names such as ``my_env:MyEnv-v0`` say are to be imported.

    Example:
        >>> modules_of("my_env:MyEnv-v0", "TwoRooms-v0", "observation[0:2]", "my.goals:reach", None)
        ('my_env', 'my.goals')
    """
    found = (re.fullmatch(r"([A-Za-z_][\w.]*):[\w./-]+", name) for name in names if name)
    return tuple(match[1] for match in found if match)


def _init(ray: Any, address: str, modules: tuple[str, ...]) -> None:
    """Starts or joins a Ray.

    Raises:
        ConnectionError: If there is no such cluster.
    """
    variables = {name: str(absolute(os.environ[name])) for name in PLACES if os.environ.get(name)}
    environment: dict[str, Any] = {"env_vars": {"OMP_NUM_THREADS": "1", **variables}}
    if files := _files(modules):
        environment["py_modules"] = files
    options: dict[str, Any] = {"include_dashboard": False} if address == LOCAL else {}
    previous = signal.getsignal(signal.SIGTERM)
    try:
        if address not in (LOCAL, "auto"):
            host, _, port = address.removeprefix("ray://").rpartition(":")
            socket.create_connection((host, int(port)), timeout=REACH_SECONDS).close()
        ray.init(address=address, runtime_env=environment, log_to_driver=False, logging_level=logging.ERROR, **options)
    except (OSError, ValueError, OverflowError, RuntimeError) as error:
        raise ConnectionError(
            f"ray must be 'local' or the address of a Ray cluster that can be reached, got {address!r}: {error}"
        ) from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, previous)  # Ray's own handler ends the process without a word


def _files(modules: tuple[str, ...]) -> list[str]:
    """Folders and files of the top packages of modules, but for those that are installed."""
    installed, found = Path(sysconfig.get_paths()["purelib"]), []
    for name in dict.fromkeys(module.partition(".")[0] for module in modules):
        spec = importlib.util.find_spec(name)
        places = [] if spec is None else [*(spec.submodule_search_locations or ()), *filter(None, [spec.origin])]
        found += [place for place in places[:1] if installed not in Path(place).parents]
    return found


def _work(function: Callable[..., Any], folder: Path, mark: Path | None, *arguments: Any) -> Any:
    """What a task does: it returns what the function returned and None, or None and an error."""
    torch.set_num_threads(1)  # with more of them, networks may give other last digits
    try:
        if folder.is_dir():
            os.chdir(folder)  # relative paths mean the same
        if mark is not None and not mark.exists():
            raise FileNotFoundError(
                f"{mark.parent} must be a folder that all machines see, got one that {socket.gethostname()} does not"
            )
        return function(*arguments), None
    except Exception as error:
        return None, portable(error)
