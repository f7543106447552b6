"""What holds for every test: one thread, no display, an own Minari folder, checked shapes and types.

Everything is set while this file loads, before any package of the project is imported, so that doctests in the packages
and module-scoped fixtures get it too.
"""

import atexit
import importlib
import os
import secrets
import shutil
import sys
import tempfile

import jaxtyping
import pytest
from hypothesis import HealthCheck, settings

# One thread a process: pytest-xdist runs one process a core, and sums over threads may round differently.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_variable] = "1"
# No window, no sound, no interactive plots.
os.environ["SDL_VIDEODRIVER"] = "dummy"
os.environ["SDL_AUDIODRIVER"] = "dummy"
os.environ["PYGAME_HIDE_SUPPORT_PROMPT"] = "1"
os.environ["MPLBACKEND"] = "Agg"
# All Rays that tests start have one token: Ray keeps the first that it finds in a home folder, and homes change.
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
# Datasets that tests make must neither see nor touch those of the user.
_minari_root = tempfile.mkdtemp(prefix="worldmodel-minari-")
os.environ["MINARI_DATASETS_PATH"] = _minari_root
atexit.register(shutil.rmtree, _minari_root, ignore_errors=True)

_COMMON = {
    "deadline": None,  # the first example pays for imports and compilation
    "database": None,  # a run depends on nothing an earlier run left behind
    "suppress_health_check": [HealthCheck.too_slow],
}
settings.register_profile("default", derandomize=True, max_examples=50, **_COMMON)
settings.register_profile("explore", derandomize=False, max_examples=1000, **_COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

CHECKED_PACKAGES = ["envs", "worldmodel", "agents", "pretrain", "benchmarks"]
if any(name in sys.modules for name in CHECKED_PACKAGES):
    raise RuntimeError("the packages must not be imported before tests/conftest.py has installed its type checks")
# Checks every annotation, jaxtyping's shapes included, whenever an annotated function of ours is called. The numeric
# tower lets an int pass for a float, as type checkers do. A Protocol must be @runtime_checkable to be checked.
jaxtyping.install_import_hook(CHECKED_PACKAGES, "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")


@pytest.fixture
def without_type_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs a test as users run the code: for errors of our own on what the annotations forbid already."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture
def hub(tmp_path):
    """A hub of models on the loopback, for huggingface_hub with an empty cache and no login."""
    from hub_server import serving

    constants = pytest.importorskip("huggingface_hub.constants")
    with serving() as server:
        with pytest.MonkeyPatch.context() as patch:
            for name in [name for name in os.environ if name.startswith(("HF_", "HUGGINGFACE_", "TRANSFORMERS_"))]:
                patch.delenv(name)
            patch.setenv("HF_ENDPOINT", server.endpoint)
            patch.setenv("HF_HOME", str(tmp_path / "hub"))
            patch.setenv("HF_HUB_DISABLE_XET", "1")  # a storage of its own, which the loopback does not have
            importlib.reload(constants)
            yield server
        importlib.reload(constants)


def pytest_configure() -> None:
    """Limits a torch that some plugin imported before the variables above were set."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
