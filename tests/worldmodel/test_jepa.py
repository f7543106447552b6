"""The world model, its objective and its probes: shapes, rollouts, alignment of frames and actions."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from worldmodel.build import ENCODERS, PREDICTORS, DataSpec, ModelConfig, build_model, build_probe
from worldmodel.config import from_json, to_json
from worldmodel.jepa import JEPA
from worldmodel.nn.normalize import Normalizer
from worldmodel.nn.probes import Probe
from worldmodel.objective import LossWeights, Objective

DATA = DataSpec(
    pixel_shape=(2, 20, 24),
    action_dim=2,
    action_low=(-1.0, -1.0),
    action_high=(1.0, 1.0),
    position_low=(4.0, 4.0),
    position_high=(60.0, 60.0),
)
PREDICTION_ONLY = LossWeights(covariance=0.0, variance=0.0, temporal_similarity=0.0, inverse_dynamics=0.0)
EVERYTHING = LossWeights(
    covariance=2.0, variance=3.0, temporal_similarity=4.0, inverse_dynamics=5.0, centred=0.5, sigreg=0.1
)


def tiny_config(**changes) -> ModelConfig:
    settings = {
        "encoder": "strided",
        "latent_dim": 16,
        "encoder_channels": (8, 8),
        "encoder_hidden_dim": 32,
        "predictor": "mlp",
        "predictor_hidden_dim": 32,
        "frame_skip": 2,
    }
    return ModelConfig(**settings | changes)


def build(seed: int = 0, **changes) -> JEPA:
    torch.manual_seed(seed)
    return build_model(tiny_config(**changes), DATA)


def windows(b: int = 4, t: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels ``(b, t, 2, 20, 24)`` and blocks of two actions ``(b, t - 1, 4)``."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (b, t, *DATA.pixel_shape), dtype=torch.uint8, generator=generator)
    return pixels, torch.randn(b, t - 1, 4, generator=generator)


class Flat(nn.Module):
    """An encoder whose latent is the image: what is drawn in the pixels is where the agent is."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)


class AddDisplacements(nn.Module):
    """The exact predictor of positions: adds a block's displacements."""

    def forward(self, latents: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        return latents + actions.unflatten(-1, (-1, latents.shape[-1])).sum(dim=-2)


def position_model(frame_skip: int) -> JEPA:
    """A model whose latent is a position in the plane and whose predictions are exact."""
    normalizer = Normalizer((2, 1, 1), 2)
    normalizer.pixel_std.fill_(1.0)
    model = JEPA(Flat(), AddDisplacements(), normalizer, 2, frame_skip)
    model.norm = nn.Identity()
    return model


def test_latents_keep_the_leading_dimensions():
    model = build()
    pixels, _ = windows()
    assert model.encode(pixels).shape == (4, 4, 16)
    assert model.encode(pixels[:, 0]).shape == (4, 16)
    assert model.encode(pixels[0, 0]).shape == (16,)
    assert model.encode(pixels[None]).shape == (1, 4, 4, 16)
    assert torch.allclose(model.encode(pixels)[1, 2], model.encode(pixels[1, 2]), atol=1e-5)


def test_hwc_and_chw_images_have_the_same_latents():
    model = build()
    pixels, _ = windows()
    assert torch.equal(model.encode(pixels), model.encode(pixels.movedim(-3, -1)))
    assert torch.equal(model.encode(pixels), model.encode(pixels.movedim(-3, -1).contiguous()))


def test_pixels_of_another_shape_raise():
    with pytest.raises(
        ValueError, match=r"pixels must have shape \(..., 2, 20, 24\) or \(..., 20, 24, 2\), got \(4, 3, 20, 24\)"
    ):
        build().encode(torch.zeros(4, 3, 20, 24, dtype=torch.uint8))


def test_encoding_leaves_the_pixels_alone():
    model = build()
    pixels, _ = windows()
    for images in (pixels, pixels.float()):
        before = images.clone()
        model.encode(images)
        assert torch.equal(images, before)


@pytest.mark.parametrize(("encoder", "predictor"), list(itertools.product(ENCODERS, PREDICTORS)))
def test_every_encoder_works_with_every_predictor(encoder, predictor):
    model = build(encoder=encoder, predictor=predictor)
    pixels, actions = windows()
    model.fit_normalization(pixels, actions)
    loss, metrics, latents = Objective(model, EVERYTHING, rollout_steps=2)(pixels, actions)
    loss.backward()
    assert latents.shape == (4, 4, 16)
    assert torch.isfinite(loss)
    assert set(metrics) >= {"prediction", "variance", "covariance", "temporal_similarity", "inverse_dynamics", "sigreg"}
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    assert any(p.grad.abs().sum() > 0 for p in model.encoder.parameters())


@pytest.mark.parametrize("predictor", PREDICTORS)
def test_a_rollout_is_repeated_prediction(predictor):
    model = build(predictor=predictor)
    pixels, actions = windows()
    start = latents = model.encode(pixels[:, 0])
    rolled = model.rollout(start, actions)
    assert rolled.shape == (4, 3, 16)
    for t in range(3):
        latents = model.predict(latents, actions[:, t])
        assert torch.equal(rolled[:, t], latents)


def test_a_rollout_does_not_see_the_future():
    model = build()
    pixels, actions = windows()
    start = model.encode(pixels[:, 0])
    changed = actions.clone()
    changed[:, 1] += 1.0
    before, after = model.rollout(start, actions), model.rollout(start, changed)
    assert torch.equal(before[:, 0], after[:, 0])
    assert not torch.equal(before[:, 1], after[:, 1])
    assert not torch.equal(before[:, 2], after[:, 2])


def test_gradients_flow_through_a_rollout_to_every_action():
    model = build()
    pixels, actions = windows()
    actions.requires_grad_()
    rolled = model.rollout(model.encode(pixels[:, 0]), actions)
    (gradient,) = torch.autograd.grad(rolled[:, -1].square().sum() + rolled[:, -1, 0].sum(), actions)
    assert torch.isfinite(gradient).all()
    assert (gradient.abs().sum(dim=-1) > 0).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": "vit"}, "encoder must be one of 'impala', 'strided', 'axial', got 'vit'"),
        ({"predictor": "rnn"}, "predictor must be one of 'gru', 'mlp', got 'rnn'"),
    ],
)
def test_unknown_components_raise(without_type_checks, changes, message):
    with pytest.raises(ValueError, match=message):
        build(**changes)


def test_configurations_survive_json_and_unknown_fields_raise():
    config = tiny_config(encoder_channels=(3, 5))
    assert from_json(ModelConfig, to_json(config)) == config
    assert from_json(DataSpec, to_json(DATA)) == DATA
    with pytest.raises(ValueError, match=r"ModelConfig must be .* fields among .*latent_dim.*, got 'latent_dims'"):
        from_json(ModelConfig, {"latent_dims": 3})


def test_normalisation_gives_pixels_and_actions_zero_mean_and_unit_deviation():
    pixels, actions = windows(b=64)
    actions = 3.0 * actions + torch.tensor([1.0, -2.0, 1.0, -2.0])
    normalizer = Normalizer(DATA.pixel_shape, 2)
    normalizer.fit(pixels, actions)
    images, scaled = normalizer.pixels(pixels), normalizer.actions(actions).unflatten(-1, (2, 2))
    for values, dims in ((images, (0, 2, 3)), (scaled, (0, 1, 2))):
        assert torch.allclose(values.mean(dim=dims), torch.zeros(2), atol=1e-4)
        assert torch.allclose(values.std(dim=dims), torch.ones(2), atol=1e-3)
    assert normalizer.action_mean.tolist() == pytest.approx([1.0, -2.0], abs=0.3)


def test_normalisation_of_constant_data_is_finite():
    normalizer = Normalizer((2, 2, 2), 1)
    images = torch.full((3, 2, 2, 2), 9, dtype=torch.uint8)
    images[0, 1] = 0  # one channel is all the same
    normalizer.fit(images, torch.zeros(3, 1))
    assert torch.equal(normalizer.pixels(images)[:, 0], torch.zeros(3, 2, 2))
    assert normalizer.pixels(images).isfinite().all()
    assert torch.equal(normalizer.actions(torch.zeros(1, 1)), torch.zeros(1, 1))


@pytest.mark.parametrize("rollout_steps", [1, 2, 3, 8])
def test_predictions_start_from_every_frame(rollout_steps):
    """The prediction loss against a plain double loop over starts and steps."""
    model = build()
    pixels, actions = windows(t=4)
    _, metrics, latents = Objective(model, PREDICTION_ONLY, rollout_steps=rollout_steps)(pixels, actions)
    longest = min(rollout_steps, 3)
    errors: list[list[torch.Tensor]] = [[] for _ in range(longest)]
    for start in range(3):
        z = latents[:, start]
        for k in range(min(longest, 3 - start)):
            z = model.predict(z, actions[:, start + k])
            errors[k].append(F.mse_loss(z, latents[:, start + k + 1]))
    expected = torch.stack([torch.stack(of_step).mean() for of_step in errors]).mean()
    assert metrics["prediction"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_loss_is_the_weighted_sum_of_its_terms():
    pixels, actions = windows()
    loss, terms, _ = Objective(build(), EVERYTHING, rollout_steps=2)(pixels, actions)
    centred = 3.0 * terms["centred_variance"] + 2.0 * terms["centred_covariance"]
    expected = (
        terms["prediction"]
        + 2.0 * terms["covariance"]
        + 3.0 * terms["variance"]
        + 4.0 * terms["temporal_similarity"]
        + 5.0 * terms["inverse_dynamics"]
        + 0.5 * centred
        + 0.1 * terms["sigreg"]
    )
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_terms_without_weight_are_left_out():
    pixels, actions = windows()
    objective = Objective(build(), PREDICTION_ONLY, rollout_steps=2)
    loss, terms, latents = objective(pixels, actions)
    assert list(terms) == ["prediction"]
    assert loss.item() == terms["prediction"].item()
    assert not latents.requires_grad
    loss.backward()
    # Data parallelism does not take parameters that get no gradient.
    assert all(parameter.grad is not None for parameter in objective.parameters())


def test_sigregs_directions_depend_on_the_step_alone():
    pixels, actions = windows()
    objective = Objective(build(), EVERYTHING, rollout_steps=1, seed=3)
    values = [objective(pixels, actions, step)[1]["sigreg"].item() for step in (0, 1, 0)]
    assert values[0] == values[2] != values[1]


def test_blocks_of_actions_are_aligned_with_frames():
    """With exact latents and an exact predictor the loss is zero; with actions shifted by one block it is not."""
    generator = torch.Generator().manual_seed(0)
    actions = torch.randint(-3, 4, (8, 5, 3 * 2), generator=generator).float()
    displacements = actions.unflatten(-1, (3, 2)).sum(dim=2).cumsum(dim=1)
    positions = 100 + torch.cat([torch.zeros(8, 1, 2), displacements], dim=1)
    pixels = positions.to(torch.uint8)[..., None, None]
    objective = Objective(position_model(frame_skip=3), PREDICTION_ONLY, rollout_steps=5)
    _, aligned, latents = objective(pixels, actions)
    assert torch.equal(latents, positions)
    assert aligned["prediction"].item() == 0.0
    for shift in (1, -1):
        assert objective(pixels, actions.roll(shift, dims=1))[1]["prediction"].item() > 1.0
    assert torch.equal(objective.model.rollout(latents[:, 0], actions), latents[:, 1:])


def test_a_probe_reads_the_quantity_in_its_units_and_trains_alone():
    model = build()
    probe = build_probe(tiny_config(), DATA)
    pixels, _ = windows()
    latents = model.encode(pixels)
    read = probe(latents)
    assert read.shape == (4, 4, 2)
    (read - torch.tensor([10.0, 20.0])).square().mean().backward()
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(parameter.grad is not None for parameter in probe.parameters())


def test_a_probe_maps_minus_one_and_one_to_the_ends_of_the_range():
    probe = Probe(1, [4.0, -1.0], [60.0, 1.0])
    probe.net[0].weight.data.fill_(1.0)
    probe.net[0].bias.data.zero_()
    latents = torch.tensor([[-1.0], [0.0], [1.0]])
    assert torch.allclose(probe(latents), torch.tensor([[4.0, -1.0], [32.0, 0.0], [60.0, 1.0]]))


def test_without_positions_there_is_no_probe():
    data = DataSpec(pixel_shape=(1, 8, 8), action_dim=1, action_low=(0.0,), action_high=(1.0,))
    assert build_probe(tiny_config(), data) is None


def test_images_of_one_colour_are_refused():
    blank = torch.full((4, 2, 3, 8, 8), 7, dtype=torch.uint8)
    blank[:, :, 1] = 9
    normalizer = Normalizer((3, 8, 8), 2)
    with pytest.raises(ValueError, match=r"images must show something, got 8 that are of one colour, \[7, 9, 7\]"):
        normalizer.fit(blank)
    blank[3, 1, 2, 7, 7] = 8
    normalizer.fit(blank)


@pytest.mark.parametrize("encoder", sorted(ENCODERS))
@pytest.mark.parametrize("context", [1, 2, 3])
def test_a_frame_is_seen_with_those_before_it(encoder, context):
    model = build(encoder=encoder, context=context).eval()
    pixels, actions = windows(b=2, t=6)
    model.fit_normalization(pixels, actions)
    states = model.encode_video(pixels)
    assert states.shape == (2, 7 - context, model.state_dim) == (2, 7 - context, 16 * context)
    for t in range(7 - context):  # each depends on its own frames alone
        torch.testing.assert_close(states[:, t : t + 1], model.encode_video(pixels[:, t : t + context]))
    moving, goals = model.encode_states_and_goals(pixels)
    torch.testing.assert_close(moving, states)
    torch.testing.assert_close(goals, model.latest(model.encode(pixels[:, context - 1 :])))


@pytest.mark.parametrize("predictor", sorted(PREDICTORS))
def test_a_predicted_state_is_the_old_one_moved_on(predictor):
    model = build(predictor=predictor, context=3).eval()
    pixels, actions = windows(t=7)
    states = model.encode_video(pixels)[:, 0]
    rolled = model.rollout(states, actions[:, 2:6])
    for t in range(3):
        before = states if t == 0 else rolled[:, t - 1]
        assert torch.equal(rolled[:, t, :-16], before[:, 16:])
        assert not torch.equal(model.latest(rolled[:, t]), model.latest(before))


@pytest.mark.parametrize("context", [1, 3])
def test_a_goal_is_a_frame_that_does_not_move(context):
    model = build(context=context).eval()
    image = windows(b=3, t=1)[0]
    still = image.expand(-1, context, -1, -1, -1)
    torch.testing.assert_close(model.encode(image), model.encode_video(still))
    hwc = still.movedim(2, -1)
    torch.testing.assert_close(model.encode_video(hwc), model.encode_video(still))


def test_without_context_a_model_is_what_it_was():
    """The same weights, and the same numbers bit for bit, as the encoder gives for each image by itself."""
    model = build().eval()
    assert list(build(context=2).state_dict()) == list(model.state_dict())
    assert model.state_dim == model.latent_dim
    pixels, _ = windows()
    alone = model.norm(model.encoder(model.normalizer.pixels(pixels)).float()).unflatten(0, pixels.shape[:2])
    for encoded in (model.encode(pixels), model.encode_video(pixels)):
        assert torch.equal(encoded, alone)


@pytest.mark.parametrize("context", [1, 2])
def test_the_objective_aligns_latents_and_actions(context):
    """With frames in front, latent t is still that of the frame that action t is taken in."""
    model = build(context=context)
    objective = Objective(model, EVERYTHING, rollout_steps=2)
    pixels, actions = windows(t=3 + context)
    _, _, latents = objective(pixels, actions[:, :3])
    assert latents.shape[1] == actions[:, :3].shape[1] + 1
    torch.testing.assert_close(latents, model.latest(model.encode_video(pixels)).detach())
