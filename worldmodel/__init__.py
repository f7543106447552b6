"""World models that learn by predicting in latent space, and the planners that act with them."""

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worldmodel.checkpoint import load_pretrained
    from worldmodel.encoders import ENCODERS
    from worldmodel.image.jepa import ImageJEPA
    from worldmodel.jepa import JEPA
    from worldmodel.planning import PLANNERS, ActionBounds, SamplingPlanner, SearchOptions
    from worldmodel.predictors import PREDICTORS
    from worldmodel.video.jepa import VideoJEPA

__version__ = "0.2.0"


EXTRAS = {
    "stable_baselines3": "rl",
    "sb3_contrib": "rl",
    "sklearn": "images,video",
    "scipy": "video",
    "imageio": "video",
    "imageio_ffmpeg": "video",
    "moviepy": "video",
    "pytorch_optimizer": "images,video",
    "pooch": "images,video",
    "kornia": "images",
    "mujoco": "mujoco",
    "gymnasium_robotics": "mujoco",
    "pymunk": "pusht",
    "pyarrow": "lerobot",
    "tensorboard": "tensorboard",
    "wandb": "wandb",
    "ray": "ray",
    "huggingface_hub": "hub",
    "onnx": "export",
    "onnxscript": "export",
    "onnxruntime": "export",
}
"""Modules that are not installed with the package alone, and the extras that bring each."""


def explain(error: ImportError, needed_by: str) -> str | None:
    """Says in one line how to get what an import lacked; None if no extra brings it.

    Example:
        >>> explain(ModuleNotFoundError("No module named 'ray'", name="ray"), "tune")
        "tune needs ray: pip install 'worldmodel[ray]'"
    """
    module = (error.name or "").partition(".")[0]
    if module not in EXTRAS or not isinstance(error, ModuleNotFoundError):
        return None
    return f"{needed_by} needs {module}: pip install 'worldmodel[{EXTRAS[module]}]'"


def import_extra(module: str, needed_by: str) -> Any:
    """A module that an extra brings.

    Args:
        module: Its name, such as ``pyarrow.parquet``.
        needed_by: What needs it, for the message.

    Raises:
        ModuleNotFoundError: If it is not installed; one line says which extra brings it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if text := explain(error, needed_by):
            raise ModuleNotFoundError(text) from error
        raise


def exports(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """A package's ``__getattr__``: a module is imported when a name of it is first used, for each takes seconds.

    Args:
        package: Name of the package.
        homes: Modules of the package, and the names that each gives to its top, with spaces between.
    """
    found = {name: f"{package}.{module}" for module, names in homes.items() for name in names.split()}

    def find(name: str) -> Any:
        if name not in found:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            return getattr(importlib.import_module(found[name]), name)
        except ModuleNotFoundError as error:
            if text := explain(error, f"{package}.{name}"):
                raise ModuleNotFoundError(text, name=error.name) from error
            raise

    return find


__getattr__ = exports(
    __name__,
    {
        "checkpoint": "load_pretrained",
        "encoders": "ENCODERS",
        "image.jepa": "ImageJEPA",
        "jepa": "JEPA",
        "planning": "PLANNERS ActionBounds SamplingPlanner SearchOptions",
        "predictors": "PREDICTORS",
        "video.jepa": "VideoJEPA",
    },
)
