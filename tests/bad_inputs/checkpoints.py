"""What may be wrong with a checkpoint: the field of ``config.json``, its value, and what is said.

A value :data:`GONE` takes the field away. Words are of the one line, which names ``config.json`` too.
"""

import json
import math
from pathlib import Path

GONE = object()
INT = "must be an integer"

CONFIG = (
    ("", [1], r"must be JSON, an object: got a list"),
    ("", None, r"must be JSON, an object: got null"),
    ("format", "worldmodel.jepa/9", r"must have format 'worldmodel.jepa/1', got 'worldmodel.jepa/9'"),
    ("format", GONE, r"must have format 'worldmodel.jepa/1', got None"),
    ("evil", 1, r"must have the keys actor_critic?.*; it has an unknown evil|must have the keys data.*unknown evil"),
    ("model", GONE, r"must have the keys data, .*; it lacks model"),
    ("data", GONE, r"must have the keys data, .*; it lacks data"),
    ("training", GONE, r"it lacks training"),
    ("training", 5, r"must have an object 'training', got 5"),
    ("model", None, r"model must be an object with the fields of ModelConfig, got None"),
    ("data", None, r"data must be an object with the fields of DataSpec, got None"),
    ("data", [1], r"data must be an object with the fields of DataSpec, got \[1\]"),
    ("model.evil", 1, r"model must be an object with fields among encoder, .*, got 'evil'"),
    ("actor_critic", "x", r"actor_critic must be an object with the fields of ActorCriticConfig, got 'x'"),
    ("actor_critic", 5, r"actor_critic must be an object with the fields of ActorCriticConfig, got 5"),
    ("actor_critic", [1], r"actor_critic must be an object with the fields of ActorCriticConfig, got \[1\]"),
    ("actor_critic", [], r"actor_critic must be an object with the fields of ActorCriticConfig, got \[\]"),
    ("actor_critic", None, r"'actor_critic\.\S+' is unknown"),
    ("actor_critic.discount", "0.9", r"actor_critic.discount must be a number, got '0.9'"),
    ("actor_critic.discount", None, r"actor_critic.discount must be a number, got None"),
    ("actor_critic.discount", 1, r"actor_critic.discount must be less than 1, got 1"),
    ("actor_critic.relative_scale", 0.0, r"actor_critic.relative_scale must be greater than 0, got 0.0"),
    (
        "actor_critic.distance_scale",
        0.05,
        r"actor_critic must be an object with fields among hidden_dim, .*relative_scale, got 'distance_scale'",
    ),
    ("actor_critic.hidden_dim", "256", rf"actor_critic.hidden_dim {INT}, got '256'"),
    ("actor_critic.hidden_dim", -1, r"actor_critic.hidden_dim must be at least 1, got -1"),
    ("actor_critic.hidden_dim", 0, r"actor_critic.hidden_dim must be at least 1, got 0"),
    ("actor_critic.hidden_dim", 256.0, rf"actor_critic.hidden_dim {INT}, got 256.0"),
    ("actor_critic.hidden_dim", 128, r"'actor_critic\.\S+' must be F32 \[\S+.*\], got F32"),
    ("data.action_dim", "2", rf"data.action_dim {INT}, got '2'"),
    ("data.action_dim", -1, r"data.action_dim must be at least 1, got -1"),
    ("data.action_dim", 10**12, r"data.action_dim must be at most 10000, got 1000000000000"),
    ("data.action_dim", 10**30, r"data.action_dim must be (at most 10000|an integer of ordinary size), got 1000"),
    ("data.action_dim", 2.0, rf"data.action_dim {INT}, got 2.0"),
    ("data.action_dim", 3, r"data.action_low must be one number for each of action_dim = 3, got \(-2.45, -2.45\)"),
    ("data.action_low", 5, r"data.action_low must be a list of values, got 5"),
    ("data.action_low", None, r"data.action_low must be a list of values, got None"),
    ("data.action_low", ["a", "b"], r"data.action_low\[0\] must be a number, got 'a'"),
    ("data.action_low", [-2.45], r"data.action_low must be one number for each of action_dim = 2, got \(-2.45,\)"),
    ("data.action_low", [[1, 2], [3, 4]], r"data.action_low\[0\] must be a number, got \[1, 2\]"),
    ("data.action_low", [9, 9], r"data.action_low must be at most action_high, \(2.45, 2.45\), got \(9, 9\)"),
    ("data.action_low", [-math.inf] * 2, r"must be JSON, an object: numbers must be finite, got -Infinity"),
    ("data.action_max_norm", "2", r"data.action_max_norm must be a number, got '2'"),
    ("data.action_max_norm", [2], r"data.action_max_norm must be a number, got \(2,\)"),
    ("data.action_max_norm", True, r"data.action_max_norm must be a number, got True"),
    ("data.action_max_norm", -1, r"data.action_max_norm must be greater than 0, got -1"),
    ("data.action_max_norm", math.nan, r"numbers must be finite, got NaN"),
    ("data.action_max_norm", 1e-30, r"data.action_max_norm must be of the order of the bounds, 2.45, got 1e-30"),
    ("data.pixel_shape", "2x65", r"data.pixel_shape must be a list of values, got '2x65'"),
    ("data.pixel_shape", None, r"data.pixel_shape must be a list of values, got None"),
    ("data.pixel_shape", [0, 65, 65], r"data.pixel_shape\[0\] must be at least 1, got 0"),
    ("data.pixel_shape", [2, "65", 65], rf"data.pixel_shape\[1\] {INT}, got '65'"),
    ("data.pixel_shape", [2, 10**9, 10**9], r"data.pixel_shape\[1\] must be at most 16384, got 1000000000"),
    ("data.pixel_shape", [2, 65], r"data.pixel_shape must be .*, got \(2, 65\)"),
    ("data.pixel_shape", [2, 65, 65, 65], r"data.pixel_shape must be .*, got \(2, 65, 65, 65\)"),
    ("data.pixel_shape", [2.0, 65.0, 65.0], rf"data.pixel_shape\[0\] {INT}, got 2.0"),
    ("data.pixel_shape", [2, 64, 64], r"'model\.\S+' must be F32 \[\S+.*\], got F32"),
    ("data.position_low", "ab", r"data.position_low must be a list of values, got 'ab'"),
    ("data.position_low", [4.0] * 3, r"data.position_low must be as long as position_high, .*, got \(4.0, 4.0, 4.0\)"),
    ("data.position_low", [4.0], r"data.position_low must be as long as position_high, .*, got \(4.0,\)"),
    ("data.position_low", [60.0, 60.0], r"data.position_low must be less than position_high, .*, got \(60.0, 60.0\)"),
    ("data.position_low", [math.nan] * 2, r"numbers must be finite, got NaN"),
    ("data.position_low", None, r"data.position_low must be given with position_high, got None"),
    ("model.encoder", "resnet", r"model.encoder must be one of 'impala', 'strided', 'axial', 'vit', got 'resnet'"),
    ("model.encoder", 5, r"model.encoder must be one of 'impala', 'strided', 'axial', 'vit', got 5"),
    ("model.encoder", "axial", r"'model\.encoder\.\S+' is (missing|unknown)"),
    ("model.encoder_hidden_dim", 10**18, r"model.encoder_hidden_dim must be at most 16777216, got 1000000000000000000"),
    ("model.frame_skip", -1, r"model.frame_skip must be at least 1, got -1"),
    ("model.frame_skip", 0, r"model.frame_skip must be at least 1, got 0"),
    ("model.frame_skip", 2, r"'model.predictor.net.0.weight' must be F32 \[384, 68\], got F32 \[384, 72\]"),
    ("model.context", 2, r"'\S+' must be F32 \[.*\], got F32"),
    ("model.context", 0, r"model.context must be at least 1, got 0"),
    ("model.latent_dim", "32", rf"model.latent_dim {INT}, got '32'"),
    ("model.latent_dim", -1, r"model.latent_dim must be at least 2, got -1"),
    ("model.latent_dim", 0, r"model.latent_dim must be at least 2, got 0"),
    ("model.latent_dim", 32.5, rf"model.latent_dim {INT}, got 32.5"),
    ("model.latent_dim", None, rf"model.latent_dim {INT}, got None"),
    ("model.latent_dim", True, rf"model.latent_dim {INT}, got True"),
    ("model.latent_dim", math.inf, r"numbers must be finite, got Infinity"),
    (
        "model.predictor_hidden_dim",
        160_000,
        r"do not fit the architecture in config.json: 'model.predictor\.\S+' must be F32 \[160000\]",
    ),
    ("model.predictor_hidden_dim", 2**63, r"model.predictor_hidden_dim must be .*, got 9223372036854775808"),
    (
        "model.predictor_hidden_dim",
        30_000,
        r"do not fit the architecture in config.json: 'model.predictor\.\S+' must be F32 \[30000\]",
    ),
    ("model.predictor_layers", "2", rf"model.predictor_layers {INT}, got '2'"),
    ("model.predictor_layers", 0, r"'model.predictor\.\S+' (is|must be)"),
    ("model.predictor_layers", 10**6, r"model.predictor_layers must be at most 256, got 1000000"),
    ("model.predictor_layers", 2.0, rf"model.predictor_layers {INT}, got 2.0"),
)
"""Fields of a world model's."""

VIDEO = (
    ("model.head_channels", 10**9, r"model.head_channels must be at most 16777216, got 1000000000"),
    (
        "model.head_channels",
        10**7,
        r"do not fit the architecture in config.json: 'decoder\.\S+' must be F32 \[10000000\]",
    ),
    ("model.context", 1000, r"'model.predictor\S+' must be F32 \[.*\], got F32"),
    ("model.grid", 7, r"frames must be square, with a side .* model.grid \(7\), got 64 × 64"),
    ("data.pixel_shape", [64, 64], r"data.pixel_shape must be .*, got \(64, 64\)"),
    ("data.pixel_shape", [1, 63, 63], r"frames must be square, with a side .*, got 63 × 63"),
    ("training", GONE, r"it lacks training"),
    ("model", 5, r"model must be an object with the fields of VideoModelConfig, got 5"),
)
"""Fields of a Video-JEPA's, read when it is loaded."""
DETECT = (
    ("training.config", GONE, r"must say in 'training.config' how it was trained"),
    ("training.config.train_encoder", 1, r"must say in 'training.config' how it was trained, with a 'train_encoder'"),
    (
        "training.config.heads",
        GONE,
        r"training.config.heads must be an object with the fields of HeadsConfig, got None",
    ),
    ("training.config.heads", 5, r"training.config.heads must be an object with the fields of HeadsConfig, got 5"),
    ("training.config.data.digits", "/etc", r"digits must be one of .*: /etc must hold t10k-images-idx3-ubyte"),
    ("training.config.data.num_digits", 10**9, r"training.config.data.num_digits must be at most 1000, got 1000000000"),
    ("training.config.data.evil", 1, r"training.config.data must be an object with fields among .*, got 'evil'"),
    ("training.config.data.num_frames", 10**9, r"videos of 1000000000 frames .* must fit into memory, got .* (TB|PB)"),
    ("training.config.data.size", 128, r"training.config.data.size must be 64, got 128"),
)
"""Fields of a Video-JEPA's, read by ``worldmodel detect``."""
TENSORS = (
    ("actor_critic.actor.0.weight", math.nan, r"must hold finite numbers, got some in 'actor_critic.actor.0.weight'"),
    ("actor_critic.step_size", "gone", r"'actor_critic.step_size' is missing"),
    ("actor_critic.low", math.nan, r"must hold finite numbers, got some in 'actor_critic.low' that are not"),
    ("model.encoder", math.inf, r"must hold finite numbers, got some in 'model.encoder\S+' that are not"),
    ("probe", "gone", r"'probe\.\S+' is missing"),
    ("model.encoder", "gone", r"'model.encoder\S+' is missing"),
    ("evil.weight", "new", r"'evil.weight' is unknown"),
    ("", "float16", r"'\S+' must be F32 \[.*\], got F16 \["),
    ("", "float64", r"'\S+' must be F32 \[.*\], got F64 \["),
)
"""Tensors of a world model whose names begin so, what becomes of them, and what is said."""
BYTES = (
    ("empty", b"", r"model.safetensors must be a safetensors file"),
    ("text", b"no weights at all, just text", r"model.safetensors must be a safetensors file"),
    ("huge header", b"\xff" * 8 + b"{}", r"model.safetensors do not fit the architecture .* is missing"),
    ("deep header", (99_999).to_bytes(8, "little") + b"[" * 99_999, r"model.safetensors must be a safetensors file"),
    ("list for a header", (2).to_bytes(8, "little") + b"[]", r"model.safetensors must be a safetensors file"),
)
"""Bytes of ``model.safetensors``."""


def change_config(folder: Path, field: str, value: object) -> None:
    """Sets, adds or removes a field of a ``config.json`` by its dotted path; the empty path is all of it."""
    path = folder / "config.json"
    content = {"": json.loads(path.read_text())}
    place, (*parents, last) = content, ["", *filter(None, field.split("."))]
    for parent in parents:
        place = place[parent]
    place[last] = value
    if value is GONE:
        del place[last]
    path.write_text(json.dumps(content[""]))
