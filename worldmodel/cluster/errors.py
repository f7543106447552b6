"""Errors on their way from one process to another."""

import pickle

ERRORS = (ValueError, FloatingPointError, ImportError, LookupError, MemoryError, OSError)
"""Kinds of errors that commands tell in a line; others stand for faults in the program."""


def portable(error: Exception) -> Exception:
    """An error that another process can read: itself, or one of its kind with its message."""
    try:
        if str(pickle.loads(pickle.dumps(error))) == str(error):
            return error
    except Exception:
        pass
    kind = next((kind for kind in ERRORS if isinstance(error, kind)), None)
    return RuntimeError(f"{type(error).__name__}: {error}") if kind is None else kind(str(error))
