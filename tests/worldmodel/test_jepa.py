"""The world model, its objective and its probes: shapes, rollouts, alignment of frames and actions."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from worldmodel.build import ENCODERS, PREDICTORS, DataSpec, ModelConfig, build_model, build_probe
from worldmodel.config import changed, from_json, to_json
from worldmodel.jepa import JEPA, state_dim
from worldmodel.nn import losses
from worldmodel.nn.normalize import Normalizer
from worldmodel.nn.probes import Probe
from worldmodel.objective import LossWeights, Objective, Refinement, prediction_loss

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
    covariance=2.0, variance=3.0, temporal_similarity=4.0, inverse_dynamics=5.0, contrast=0.5, sigreg=0.1
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

    def forward(self, states: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        return states[:, -2:] + actions.unflatten(-1, (-1, 2)).sum(dim=-2)


def position_model(frame_skip: int, context: int = 1) -> JEPA:
    """A model whose latent is a position in the plane and whose predictions are exact."""
    normalizer = Normalizer((2, 1, 1), 2)
    normalizer.pixel_std.fill_(1.0)
    model = JEPA(Flat(), AddDisplacements(), normalizer, 2, frame_skip, context)
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


def test_images_are_redrawn_only_where_they_are_unlike_the_training_images():
    model = build()
    pixels = torch.zeros(64, *DATA.pixel_shape, dtype=torch.uint8)
    for i, image in enumerate(pixels):
        image[:, i % 16 : i % 16 + 4, i % 20 : i % 20 + 4] = 200
    dark = (pixels * 0.5).to(torch.uint8)
    assert torch.equal(model.redraw(dark), dark)  # nothing is known yet
    model.fit_normalization(pixels, torch.randn(8, 4))
    assert torch.equal(model.redraw(pixels), pixels)
    assert torch.equal(model.redraw(dark), pixels)
    assert torch.equal(model.redraw(dark.movedim(1, -1)), pixels)


def test_images_of_many_channels_stay_as_they_are():
    data = DataSpec(pixel_shape=(5, 20, 24), action_dim=2, action_low=(-1.0, -1.0), action_high=(1.0, 1.0))
    model = build_model(tiny_config(), data)
    pixels = torch.randint(256, (8, *data.pixel_shape), dtype=torch.uint8)
    model.fit_normalization(pixels, torch.randn(8, 4))
    assert torch.equal(model.redraw(pixels // 2), pixels // 2)


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


@pytest.mark.parametrize("context", [1, 2])
@pytest.mark.parametrize("predictor", PREDICTORS)
def test_a_rollout_is_repeated_prediction(predictor, context):
    model = build(predictor=predictor, context=context)
    pixels, actions = windows()
    start = state = model.at_rest(model.encode(pixels[:, 0]))
    rolled = model.rollout(start, actions)
    assert rolled.shape == (4, 3, model.state_dim)
    for t in range(3):
        state = model.predict(state, actions[:, t])
        assert torch.equal(rolled[:, t], state)


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
        ({"encoder": "mlp"}, "encoder must be one of 'impala', 'strided', 'axial', 'vit', got 'mlp'"),
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


@pytest.mark.parametrize("context", [1, 3])
@pytest.mark.parametrize("rollout_steps", [1, 2, 3, 8])
def test_predictions_start_from_every_state(rollout_steps, context):
    """The prediction loss against a plain double loop over starts and steps."""
    model = build(context=context)
    pixels, actions = windows(t=3 + context)
    model.fit_normalization(pixels, actions)
    _, metrics, latents = Objective(model, PREDICTION_ONLY, rollout_steps=rollout_steps)(pixels, actions)
    longest = min(rollout_steps, 3)
    errors: list[list[torch.Tensor]] = [[] for _ in range(longest)]
    for start in range(3):
        now = start + context - 1  # the frame of this state
        state = model.states(latents[:, start : now + 1], actions[:, start:now])[:, 0]
        for k in range(min(longest, 3 - start)):
            state = model.predict(state, actions[:, now + k])
            errors[k].append(F.mse_loss(model.latest(state), latents[:, now + k + 1]))
    expected = torch.stack([torch.stack(of_step).mean() for of_step in errors]).mean()
    assert metrics["prediction"].item() == pytest.approx(expected.item(), rel=1e-5)
    states, following = model.states(latents, actions), actions[:, context - 1 :]
    assert prediction_loss(model, states, following, rollout_steps).item() == pytest.approx(expected.item(), rel=1e-5)
    # The refinement's loss is the same, of latents that are given.
    assert Refinement(model, rollout_steps)(latents, actions, 7)[0].item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_refinement_teaches_the_predictor_alone():
    model = build(context=2)
    pixels, actions = windows()
    latents = model.encode(pixels).detach()
    refinement = Refinement(model.requires_grad_(False), rollout_steps=2)
    model.predictor.requires_grad_(True)
    optimizer = torch.optim.Adam(model.predictor.parameters(), lr=1e-2)
    seen = []
    for _ in range(60):
        loss, metrics = refinement(latents, actions)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append(loss.item())
    assert set(metrics) == {"prediction"}
    assert seen[-1] < 0.2 * seen[0]
    assert torch.equal(model.encode(pixels), latents)
    assert all(parameter.grad is not None for parameter in model.predictor.parameters())


def test_the_loss_is_the_weighted_sum_of_its_terms():
    pixels, actions = windows()
    loss, terms, latents = Objective(build(), EVERYTHING, rollout_steps=2)(pixels, actions)
    # The map before the contrast begins as identity.
    torch.testing.assert_close(terms["contrast"], losses.contrast(latents[:, 0], latents[:, -1]))
    expected = (
        terms["prediction"]
        + 2.0 * terms["covariance"]
        + 3.0 * terms["variance"]
        + 4.0 * terms["temporal_similarity"]
        + 5.0 * terms["inverse_dynamics"]
        + 0.5 * terms["contrast"]
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


@pytest.mark.parametrize("context", [1, 2, 4])
def test_blocks_of_actions_are_aligned_with_frames(context):
    """With exact latents and an exact predictor the loss is zero; with actions shifted by one block it is not."""
    generator = torch.Generator().manual_seed(0)
    actions = torch.randint(-3, 4, (8, 5, 3 * 2), generator=generator).float()
    displacements = actions.unflatten(-1, (3, 2)).sum(dim=2).cumsum(dim=1)
    positions = 100 + torch.cat([torch.zeros(8, 1, 2), displacements], dim=1)
    pixels = positions.to(torch.uint8)[..., None, None]
    objective = Objective(position_model(3, context), PREDICTION_ONLY, rollout_steps=6 - context)
    _, aligned, latents = objective(pixels, actions)
    assert torch.equal(latents, positions)
    assert aligned["prediction"].item() == 0.0
    for shift in (1, -1):
        assert objective(pixels, actions.roll(shift, dims=1))[1]["prediction"].item() > 1.0
    model = objective.model
    states, following = model.states(latents, actions), actions[:, context - 1 :]
    # A rollout comes to the very states that frames and actions make.
    assert torch.equal(model.rollout(states[:, 0], following), states[:, 1:])


def test_inverse_dynamics_read_the_action_from_what_was_done_and_how_latents_change():
    model = build(context=2)
    pixels, actions = windows(t=5)
    model.fit_normalization(pixels, actions)
    weights = changed(PREDICTION_ONLY, {"inverse_dynamics": 1.0})
    objective = Objective(model, weights, rollout_steps=1)
    _, terms, latents = objective(pixels, actions)
    wanted, errors = model.normalizer.actions(actions), []
    for t in range(1, 4):  # frames that have one before them and one behind
        changes = latents[:, t] - latents[:, t - 1], latents[:, t + 1] - latents[:, t]
        state = wanted[:, t - 1], latents[:, t - 1], latents[:, t]
        seen = torch.cat([*state, latents[:, t + 1]], dim=-1), torch.cat([wanted[:, t - 1], *changes], dim=-1)
        heads = zip(objective.inverse_models, seen, strict=True)
        errors += [F.mse_loss(head(inputs), wanted[:, t]) for head, inputs in heads]
    assert terms["inverse_dynamics"].item() == pytest.approx(torch.stack(errors).mean().item(), rel=1e-5)


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


def test_a_state_by_hand():
    """The actions between its latents first, oldest first, normalised; its newest latent last."""
    model = position_model(frame_skip=2, context=3)
    model.normalizer.action_mean.copy_(torch.tensor([1.0, -1.0]))
    model.normalizer.action_std.copy_(torch.tensor([2.0, 0.5]))
    latents = torch.arange(10.0).view(1, 5, 2)
    actions = torch.tensor([[[1.0, -1.0, 3.0, 0.0], [0.0, 0.0, 1.0, 1.0], [5.0, 5.0, 5.0, 5.0], [9.0, 9.0, 9.0, 9.0]]])
    states = model.states(latents, actions)
    blocks = torch.tensor([[0.0, 0.0, 1.0, 2.0], [-0.5, 2.0, 0.0, 4.0], [2.0, 12.0, 2.0, 12.0]])
    assert states.shape == (1, 3, model.state_dim) == (1, 3, 2 * 4 + 3 * 2)
    assert model.state_dim == state_dim(2, 4, 3)
    torch.testing.assert_close(states[0, 0], torch.cat([blocks[0], blocks[1], latents[0, :3].flatten()]))
    torch.testing.assert_close(states[0, 1], torch.cat([blocks[1], blocks[2], latents[0, 1:4].flatten()]))
    assert torch.equal(model.latest(states), latents[:, 2:])


@pytest.mark.parametrize("context", [1, 2, 3])
def test_states_depend_on_their_own_latents_and_actions_alone(context):
    model = build(context=context)
    pixels, actions = windows(t=6)
    model.fit_normalization(pixels, actions)
    latents = model.encode(pixels)
    states = model.states(latents, actions)
    assert states.shape == (4, 7 - context, 16 * context + 4 * (context - 1))
    for t in range(7 - context):
        alone = model.states(latents[:, t : t + context], actions[:, t : t + context - 1])
        assert torch.equal(states[:, t : t + 1], alone)


@pytest.mark.parametrize("predictor", sorted(PREDICTORS))
def test_a_predicted_state_is_the_old_one_moved_on(predictor):
    model = build(predictor=predictor, context=3).eval()
    pixels, actions = windows(t=7)
    model.fit_normalization(pixels, actions)
    states = model.states(model.encode(pixels), actions)[:, 0]
    rolled = model.rollout(states, actions[:, 2:6])
    for t in range(3):
        before = states if t == 0 else rolled[:, t - 1]
        assert torch.equal(rolled[:, t, :4], before[:, 4:8])
        assert torch.equal(rolled[:, t, 4:8], model.normalizer.actions(actions[:, 2 + t]))
        assert torch.equal(rolled[:, t, 8:-16], before[:, 8 + 16 :])
        assert not torch.equal(model.latest(rolled[:, t]), model.latest(before))


@pytest.mark.parametrize("predictor", sorted(PREDICTORS))
def test_a_prediction_depends_on_all_of_a_state(predictor):
    model = build(predictor=predictor, context=2)
    state, action = torch.randn(1, model.state_dim, requires_grad=True), torch.randn(1, 4)
    predicted = model.latest(model.predict(state, action))
    (gradient,) = torch.autograd.grad((predicted * torch.arange(16.0)).sum(), state)
    assert bool((gradient != 0).all())


@pytest.mark.parametrize("context", [1, 3])
def test_a_state_at_rest_was_there_before_and_its_actions_were_average(context):
    model = build(context=context)
    pixels, actions = windows()
    model.fit_normalization(pixels, 1.0 + 2.0 * actions)
    latents = model.encode(pixels[:, 0])
    idle = model.idle_action.repeat(model.frame_skip)
    still = latents[:, None].expand(-1, context, -1)
    expected = model.states(still, idle.expand(4, context - 1, -1))[:, 0]
    torch.testing.assert_close(model.at_rest(latents), expected)
    assert float(idle.abs().max()) > 0.1  # in the environment's units
    assert torch.equal(model.at_rest(latents[0]), model.at_rest(latents)[0])


def test_without_context_a_latent_is_a_state():
    """The same weights whatever the context but the predictor's, and the same numbers bit for bit."""
    model = build().eval()
    assert list(build(context=2).state_dict()) == list(model.state_dict())
    assert model.state_dim == model.latent_dim
    pixels, actions = windows()
    latents = model.encode(pixels)
    for same in (model.states(latents, actions), model.at_rest(latents), model.latest(latents)):
        assert torch.equal(same, latents)
