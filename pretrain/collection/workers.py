"""Episodes recorded in several processes, which write nothing: only the process that asked for them does.

::

    this process  ──► number of an episode ──►  worker: environment, policy
                  ◄── the episode, or an error ◄──

Workers are processes of this machine, or tasks of Ray, which record some episodes each.

Processes are started anew (spawn), so that they share no handle of a simulator or a window with this process. One whose
connection ends, because this process is gone, ends too.
"""

import contextlib
import itertools
import multiprocessing
import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from envs.domain import find_spec
from pretrain.collection.episodes import Source
from pretrain.collection.shards import RecordedEpisode
from worldmodel.cluster.errors import portable
from worldmodel.cluster.jobs import Workers

EPISODES_PER_TASK = 8
"""Episodes for which a task makes environment and policy once; the dataset is the same for any number of them."""
PATIENCE = 0.2
"""Seconds after which a request to stop is seen, and that a worker has to end."""


def record_in_processes(
    source: Source, indices: Sequence[int], num_workers: int, is_stopped: Callable[[], bool]
) -> Generator[tuple[int, RecordedEpisode], None, None]:
    """Records episodes in several processes.

    Args:
        source: All that an episode depends on, beside its number.
        indices: Their numbers.
        num_workers: How many processes.
        is_stopped: Whether to stop; asked now and then.

    Yields:
        The number of an episode, and the episode, in the order in which they get done.

    Raises:
        ChildProcessError: If a worker dies.
        Exception: The error of a worker, as it was raised there where it can be told between processes.
    """
    context, spec, waiting = multiprocessing.get_context("spawn"), find_spec(source.env_id), iter(indices)
    workers: dict[Any, SpawnProcess] = {}
    busy: dict[Any, int] = {}
    try:
        for first in list(itertools.islice(waiting, num_workers)):
            ours, theirs = context.Pipe()
            workers[ours] = context.Process(target=_work, args=(theirs, source, spec))
            with _ctrl_c_held_back():
                workers[ours].start()
            theirs.close()
            _ask(ours, workers[ours], first)
            busy[ours] = first
        while busy and not is_stopped():
            for connection in wait(list(busy), timeout=PATIENCE):
                index, following = busy.pop(connection), next(waiting, None)
                episode = _receive(connection, workers[connection], index)
                if following is not None:  # so that it works on meanwhile
                    _ask(connection, workers[connection], following)
                    busy[connection] = following
                yield index, episode
    finally:
        for connection, process in workers.items():
            connection.close()
            process.terminate()
        for process in workers.values():
            process.join(PATIENCE)
            if process.is_alive():
                process.kill()
                process.join()
            process.close()


def record_in_tasks(
    source: Source, indices: Sequence[int], workers: Workers, is_stopped: Callable[[], bool]
) -> Generator[tuple[int, RecordedEpisode], None, None]:
    """Records episodes in tasks of Ray; for the rest see :func:`record_in_processes`."""
    spec, jobs = find_spec(source.env_id), {}
    for first in range(0, len(indices), EPISODES_PER_TASK):
        some = tuple(indices[first : first + EPISODES_PER_TASK])
        jobs[f"episodes {some[0]} to {some[-1]}"] = (source, spec, some)
    for _, episodes in workers.map(_record_some, jobs, "record", is_stopped=is_stopped):
        yield from episodes


def _record_some(source: Source, spec: EnvSpec, indices: tuple[int, ...]) -> list[tuple[int, RecordedEpisode]]:
    """What a task does."""
    _register(spec, source.env_id)
    with source.open() as recorder:
        return [(index, recorder.record(index)) for index in indices]


@contextlib.contextmanager
def _ctrl_c_held_back() -> Iterator[None]:
    """Holds Ctrl-C back: from this process for a moment, from those that it starts meanwhile for ever.

    It reaches all processes of a terminal, and it is for this one to decide.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ask(connection: Any, process: SpawnProcess, index: int) -> None:
    try:
        connection.send(index)
    except ConnectionError:
        raise _death(process, index) from None


def _receive(connection: Any, process: SpawnProcess, index: int) -> RecordedEpisode:
    try:
        answer = connection.recv()
    except (EOFError, ConnectionError):
        raise _death(process, index) from None
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _death(process: SpawnProcess, index: int) -> ChildProcessError:
    process.join(10 * PATIENCE)
    return ChildProcessError(
        f"worker process {process.pid} died with exit code {process.exitcode} in episode {index}; "
        "the same command goes on from what is kept"
    )


def _register(spec: EnvSpec, env_id: str) -> None:
    """Registers an environment here that was registered by whoever started this, not by a module."""
    try:
        find_spec(env_id)
    except ValueError:
        gym.registry[spec.id] = spec


def _work(connection: Connection, source: Source, spec: EnvSpec) -> None:
    """What a worker does: it records the episodes that it is asked for, until nobody is there any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _register(spec, source.env_id)
    recorder = None
    with contextlib.ExitStack() as closing, contextlib.suppress(EOFError, ConnectionError):
        while True:
            index = connection.recv()
            try:
                recorder = recorder or closing.enter_context(source.open())
                answer: RecordedEpisode | BaseException = recorder.record(index)
            except Exception as error:
                answer = portable(error)
            connection.send(answer)
