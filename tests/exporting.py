"""Exported parts: tiny checkpoints to export, ways to run what was exported, and that it gives what the model gives."""

import io
from dataclasses import replace

import numpy as np
import onnxruntime
import torch

from worldmodel.build import ActorCriticConfig, DataSpec, ModelConfig, build_actor_critic, build_model
from worldmodel.checkpoint import WORLD_MODEL

TOLERANCE = 1e-4
DATA = DataSpec(
    pixel_shape=(2, 20, 24), action_dim=2, action_low=(-1.0, -2.0), action_high=(1.0, 2.0), action_max_norm=1.5
)
MODEL = ModelConfig(latent_dim=8, encoder_channels=(4, 16), encoder_hidden_dim=16, predictor_hidden_dim=16)


def save(folder, *, acts=True, **changes):
    """A tiny model that has learned nothing, as a checkpoint."""
    torch.manual_seed(0)
    config, networks = replace(MODEL, **changes), ActorCriticConfig(hidden_dim=16) if acts else None
    model = build_model(config, DATA)
    model.fit_normalization(torch.randint(256, (8, 2, 20, 24), dtype=torch.uint8), 3 + torch.randn(8, 2))
    parts = {"model": model, "actor_critic": build_actor_critic(networks, config, DATA) if acts else None}
    WORLD_MODEL.save(folder, parts, {"model": config, "data": DATA, "actor_critic": networks})
    return folder


def assert_equal(pretrained, name, part, compute):
    """A part gives what the model itself gives, for batches of several sizes."""
    model, actor_critic = pretrained.model, pretrained.actor_critic
    methods = {
        "encoder": lambda: model.encode,
        "state": lambda: lambda *inputs: model.states(*inputs)[:, 0],
        "predictor": lambda: model.predict,
        "actor": lambda: actor_critic.policy,
        "critic": lambda: actor_critic.cost_to_go,
    }
    random = torch.Generator().manual_seed(0)
    for size in (1, 2, 7):
        inputs = [torch.randint(256, (size, *port.shape), generator=random).to(port.dtype) for port in part.inputs]
        inputs = [x if x.dtype == torch.uint8 else (x - 128) / 64 for x in inputs]
        with torch.no_grad():
            wanted = methods[name]()(*inputs).numpy()
        assert wanted.shape == (size, *part.output.shape)
        np.testing.assert_allclose(compute(*(x.numpy() for x in inputs)), wanted, atol=TOLERANCE, rtol=0)


def by_onnxruntime(model, part):
    session = onnxruntime.InferenceSession(model)
    for given, ports in ((session.get_inputs(), part.inputs), (session.get_outputs(), [part.output])):
        assert [one.name for one in given] == [port.name for port in ports]
        assert [one.shape for one in given] == [["batch", *port.shape] for port in ports]
    return lambda *inputs: session.run(None, {p.name: x for p, x in zip(part.inputs, inputs, strict=True)})[0]


def by_torch(program):
    module = torch.export.load(io.BytesIO(program)).module()
    return lambda *inputs: module(*map(torch.from_numpy, inputs)).detach().numpy()
