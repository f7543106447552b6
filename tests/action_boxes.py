"""Boxes of actions that are awkward, for tests of what may leave them."""

from collections.abc import Iterator

import hypothesis.strategies as st
import numpy as np
from gymnasium import spaces

CORNERS = (-3e38, -2.45, -1.0, -0.1, -1e-45, 0.0, 1e-45, 1e-30, 0.1, 0.3, 0.7, 1.0, 16777217.0, 3e38)
"""Of single precision; among them numbers that it does not hold."""
FAR_CORNERS = (-1.7e308, -1e300, -1e39, -5e-324, 5e-324, 1e300, 1.7e308)
"""Of double precision only."""
MAX_NORMS = (1e-300, 1e-40, 1e-3, 0.7, 2.45, 1e30, 3e38, 1e300)


@st.composite
def action_boxes(draw: st.DrawFn, shapes: tuple[tuple[int, ...], ...] = ((1,), (3,), (2, 2), ())) -> spaces.Box:
    """Bounded boxes: asymmetric, without 0, of a single point, huge, tiny, in both precisions and several shapes."""
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    shape = draw(st.sampled_from(shapes))
    special = st.sampled_from(CORNERS if dtype is np.float32 else CORNERS + FAR_CORNERS)
    corner = st.one_of(special, st.floats(-10.0, 10.0))
    pairs = st.one_of(st.tuples(corner, corner), corner.map(lambda c: (c, c))).map(sorted)
    size = int(np.prod(shape))
    low, high = np.array(draw(st.lists(pairs, min_size=size, max_size=size)), dtype).T
    return spaces.Box(low.reshape(shape), high.reshape(shape), dtype=dtype)


@st.composite
def max_norms(draw: st.DrawFn, box: spaces.Box) -> float | None:
    """None, or a norm bound: small, large, or such that its square over- or underflows."""
    if not bool(((box.low <= 0) & (box.high >= 0)).all()):
        return None
    return draw(st.one_of(st.none(), st.sampled_from(MAX_NORMS)))


def outside(box: spaces.Box, num: int, seed: int) -> np.ndarray:
    """Actions ``(num, *box.shape)`` float64 that lie anywhere: inside, at the corners, just beyond, far away."""
    rng = np.random.default_rng(seed)
    shape = (num, *box.shape)
    low, high = np.broadcast_to(box.low, shape).astype(np.float64), np.broadcast_to(box.high, shape).astype(np.float64)
    with np.errstate(over="ignore"):
        choices = list(_choices(low, high, rng.random(shape), rng.normal(size=shape)))
    return np.choose(rng.integers(len(choices), size=shape), choices)


def _choices(low: np.ndarray, high: np.ndarray, unit: np.ndarray, normal: np.ndarray) -> Iterator[np.ndarray]:
    yield low * (1 - unit) + high * unit
    yield low
    yield high
    yield np.nextafter(low.astype(np.float32), np.float32(-np.inf)).astype(np.float64)
    yield np.nextafter(high.astype(np.float32), np.float32(np.inf)).astype(np.float64)
    yield normal
    yield 1e300 * normal
    yield np.copysign(np.inf, normal)
