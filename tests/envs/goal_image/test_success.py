import numpy as np
import pytest
from gymnasium.spaces import Box, Dict

from envs.goal_image.success import Moment, Value, find_function, is_key, own_success


def test_parts_of_values():
    value = Value(Dict(a=Dict(b=Box(-1, 1, (2, 3)))), "a.b[1:4]", 2)
    assert (value.dim, value.tolerance) == (3, 2.0)
    seen = np.arange(6.0).reshape(2, 3)
    assert value.read(Moment({"a": {"b": seen}}, {})).tolist() == [1, 2, 3]
    assert value.distance(np.zeros((5, 3)), [0, 3, 4]).tolist() == [5.0] * 5
    with pytest.raises(ValueError, match="must be numbers, got 'word'"):
        Value(Box(0, 1, (1,)), "info.x", 1).read(Moment(None, {"x": "word"}))


def test_what_the_environment_reports():
    assert [own_success(None, info) for info in ({"success": 1}, {"is_success": False, "success": True}, {})] == [
        True,
        False,
        None,
    ]


def test_keys_and_functions():
    assert [is_key(success) for success in ("place", "info.x", "own", "", "math:hypot", abs)] == [True] * 2 + [
        False
    ] * 4
    assert find_function("goals", "math:hypot")(3, 4) == 5
    assert find_function("goals", abs) is abs
    assert find_function("goals", "") is None
    with pytest.raises(ValueError, match="goals must be one of 'explore', a function, 'module:function', got 3"):
        find_function("goals", 3, ("explore",))
