"""The command line: ``worldmodel COMMAND``.

A table of commands; each command's module is imported only when the command is called, so ``worldmodel --help`` is
immediate.
"""

import atexit
import importlib
import io
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from worldmodel import __version__, explain

COMMANDS = {
    "collect": ("run a policy in an environment and write a Minari dataset", "pretrain.collection.collect"),
    "moving-mnist": ("write Moving MNIST videos: pictures, and the canonical file", "pretrain.video.export"),
    "pretrain": ("train a model: worldmodel pretrain PRESET", "pretrain.train"),
    "probe": ("measure image representations: linear probe, nearest neighbours", "benchmarks.analysis.image_probe"),
    "train-rl": ("train a reinforcement learning baseline", "pretrain.rl.train"),
    "evaluate": ("measure success rate and latency of an agent", "benchmarks.evaluation.success"),
    "render": ("make a video of an agent planning", "benchmarks.films.render"),
    "demo": ("evaluate the shipped agent, with a video", "benchmarks.demo"),
    "headline": ("evaluate every training seed on every published manifest", "benchmarks.evaluation.headline"),
    "appearance": ("measure what success is kept when scenes look otherwise", "benchmarks.evaluation.appearance"),
    "latency": ("draw success against planning latency", "benchmarks.analysis.latency"),
    "export": ("write a world model as ONNX files, or torch.export", "worldmodel.export.folder"),
    "attribute": ("find out whether the model or the search fails episodes", "benchmarks.analysis.attribution"),
    "ablate": ("measure what each piece of the method is worth", "benchmarks.ablation.ablate"),
    "maps": ("draw latent distances beside the true ones", "benchmarks.analysis.maps"),
    "detect": ("find digits in what a Video-JEPA imagines, beside baselines", "benchmarks.analysis.detection"),
    "compare": ("compare world model, RL and offline agents", "benchmarks.comparison.compare"),
    "tune": ("choose the hyperparameters of a contender of the comparison", "benchmarks.comparison.tune"),
    "report": ("write the comparison as one HTML file", "benchmarks.comparison.page"),
    "push": ("upload a checkpoint and its model card; hub:NAME reads it", "benchmarks.sharing.push"),
    "models": ("list shipped checkpoints, and those of a hub in the cache", "benchmarks.sharing.models"),
    "time-export": ("time the exported actor beside PyTorch", "benchmarks.analysis.exported"),
    "gpu-check": ("check training, planning and memory on a GPU", "benchmarks.gpu.check"),
    "speed": ("time environment, data, training and planning", "benchmarks.analysis.speed"),
}
"""Command → what it does, and the module whose ``main(argv)`` does it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: Arguments without the program's name; ``sys.argv`` by default.

    Returns:
        The exit status: 0; 1 after an error in what was asked for; 2 for arguments that are not understood; 130 after
        Ctrl-C.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.stdout.write(_usage())
        return 0
    if arguments[0] == "--version":
        sys.stdout.write(f"worldmodel {__version__}\n")
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        sys.stderr.write(f"worldmodel: command must be one of {', '.join(map(repr, COMMANDS))}, got {name!r}\n")
        return 2
    _prepare()
    try:
        importlib.import_module(COMMANDS[name][1]).main(rest)
    except KeyboardInterrupt as interruption:
        what = str(interruption) or "interrupted; the same command goes on from what was saved"
        sys.stderr.write(f"\nworldmodel {name}: {what}\n")
        return 130
    except (ValueError, OSError, FloatingPointError, ImportError, LookupError, MemoryError) as error:
        told = explain(error, name) if isinstance(error, ImportError) else None
        sys.stderr.write(f"worldmodel {name}: {told or _describe(error)}\n")
        return 1
    return 0


def _prepare() -> None:
    """Sets up what commands rely on: a quiet log, a console that takes any character, a cache, SIGTERM as Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # consoles that are not UTF-8 show a question mark
    try:
        Path.home()
    except RuntimeError:  # older versions of matplotlib need a folder for their cache
        folder = tempfile.mkdtemp(prefix="worldmodel-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ.setdefault("MPLCONFIGDIR", folder)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for client in ("httpx", "httpx2"):  # what fetches from a hub tells of every request
        logging.getLogger(client).setLevel(logging.WARNING)
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def _describe(error: BaseException) -> str:
    """An error in one line."""
    import errno

    if isinstance(error, OSError) and error.errno == errno.ENOSPC and "full" not in str(error):
        return f"the disk is full ({error}); what was written is kept: free some space and run the same command again"
    if isinstance(error, MemoryError):
        return f"there is not enough memory: {error}" if str(error) else "there is not enough memory"
    if isinstance(error, OSError) and error.strerror and error.filename is None:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def _usage() -> str:
    lines = "".join(f"  {name:12s} {text}\n" for name, (text, _) in COMMANDS.items())
    return (
        "usage: worldmodel COMMAND [options]\n\n"
        "learn a world model from pixels, plan with it in Gymnasium, compare it with RL\n\n"
        f"commands:\n{lines}\nworldmodel COMMAND --help explains a command.\n"
    )


if __name__ == "__main__":
    sys.exit(main())
