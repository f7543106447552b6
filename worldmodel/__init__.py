"""World models that learn by predicting in latent space, and the planners that act with them."""

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worldmodel.checkpoint import load_pretrained
    from worldmodel.encoders import ENCODERS
    from worldmodel.image.jepa import ImageJEPA
    from worldmodel.jepa import JEPA
    from worldmodel.planning import PLANNERS, SamplingPlanner
    from worldmodel.predictors import PREDICTORS
    from worldmodel.video.jepa import VideoJEPA

__version__ = "0.1.0"


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
        return getattr(importlib.import_module(found[name]), name)

    return find


__getattr__ = exports(
    __name__,
    {
        "checkpoint": "load_pretrained",
        "encoders": "ENCODERS",
        "image.jepa": "ImageJEPA",
        "jepa": "JEPA",
        "planning": "PLANNERS SamplingPlanner",
        "predictors": "PREDICTORS",
        "video.jepa": "VideoJEPA",
    },
)
