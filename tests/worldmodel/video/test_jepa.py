"""Video-JEPA: shapes, rollouts one after the other and all at once, and its losses against closed forms."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from worldmodel.nn import losses
from worldmodel.nn.normalize import Normalizer
from worldmodel.video.build import VideoModelConfig, build_video_jepa
from worldmodel.video.heads import DetectionHead
from worldmodel.video.jepa import VideoJEPA
from worldmodel.video.networks import ResidualEncoder, UNetPredictor
from worldmodel.video.objective import VideoLossWeights, VideoObjective


def small_model(stride: int = 2, context: int = 2) -> VideoJEPA:
    torch.manual_seed(0)
    return VideoJEPA(
        ResidualEncoder(1, 4, hidden_channels=8, num_blocks=1, stride=stride),
        UNetPredictor(4, context, (8, 8, 8)),
        Normalizer((1, 16, 16), 0),
        context,
    )


class Drift(nn.Module):
    """Goes on as it went: twice the last latent minus the one before."""

    def forward(self, history):
        return 2 * history[:, -1] - history[:, -2]


class Pixels(nn.Module):
    """The image is its own latent."""

    def forward(self, images):
        return images


def videos(batch_size: int = 3, num_frames: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(256, (batch_size, num_frames, 1, 16, 16), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize(("stride", "side"), [(1, 16), (2, 8), (4, 4)])
def test_latents_keep_their_place(stride, side):
    model = small_model(stride)
    with torch.no_grad():
        assert model.encode(videos()).shape == (3, 6, 4, side, side)
        if stride == 4:  # here each position sees all of so small an image
            return
        # A change in one corner of the image leaves the latents of the opposite corner as they were.
        pixels = videos(1, 1)
        before = model.encode(pixels)
        pixels[..., :2, :2] = 255 - pixels[..., :2, :2]
        after = model.encode(pixels)
    assert not torch.equal(before[..., 0, 0], after[..., 0, 0])
    assert torch.equal(before[..., -1, -1], after[..., -1, -1])


def test_a_predictor_that_adds_nothing_repeats_the_last_latent():
    predictor = UNetPredictor(4, 3, (8, 16))
    nn.init.zeros_(predictor.head.weight)
    nn.init.zeros_(predictor.head.bias)
    history = torch.randn(2, 3, 4, 8, 8)
    assert torch.equal(predictor(history), history[:, -1])


def test_a_rollout_feeds_on_its_own_predictions():
    model = VideoJEPA(Pixels(), Drift(), Normalizer((1, 2, 2), 0))
    start = torch.tensor([1.0, 1.5]).view(1, 2, 1, 1, 1).expand(1, 2, 1, 2, 2)
    assert model.rollout(start, 4)[0, :, 0, 0, 0].tolist() == [2.0, 2.5, 3.0, 3.5]
    with pytest.raises(ValueError, match="history must hold 2 latents, got 1"):
        model.rollout(start[:, :1], 4)


@pytest.mark.parametrize("context", [1, 2, 3])
def test_rounds_end_in_the_rollout(context):
    model = small_model(context=context)
    with torch.no_grad():
        latents = model.encode(videos())
        rounds = model.unroll(latents, 3)
        rolled = model.rollout(latents[:, :context], 6 - context)
        for k, predicted in enumerate(rounds, 1):
            assert predicted.shape == (3, 6 - context, 4, 8, 8)
            torch.testing.assert_close(predicted[:, :k], rolled[:, : min(k, 6 - context)], rtol=1e-4, atol=1e-5)
        # The first round starts at every frame from true latents.
        last = model.predict(latents[:, 5 - context : 5])
        torch.testing.assert_close(rounds[0][:, -1], last, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=f"a video must have more than {context} frames, got {context}"):
        model.unroll(latents[:, :context], 1)


def test_the_objective_is_the_weighted_sum_of_closed_forms():
    model = VideoJEPA(Pixels(), Drift(), Normalizer((1, 16, 16), 0))
    objective = VideoObjective(model, 1, VideoLossWeights(variance=3.0, covariance=0.0), rollout_steps=2, projector=())
    pixels = videos()
    loss, terms, latents = objective(pixels)
    z = pixels.double() / 255
    first = 2 * z[:, 1:-1] - z[:, :-2]
    before = torch.cat([z[:, :2], first], dim=1)
    second = 2 * before[:, 1:-1] - before[:, :-2]
    prediction = ((first - z[:, 2:]).square().mean() + (second - z[:, 2:]).square().mean()) / 2
    variance = torch.relu(1 - (z.flatten().var() + 1e-4).sqrt())
    assert terms["prediction"].item() == pytest.approx(prediction.item(), rel=1e-4)
    assert terms["variance"].item() == pytest.approx(variance.item(), rel=1e-4)
    assert loss.item() == pytest.approx((prediction + 3 * variance).item(), rel=1e-4)
    torch.testing.assert_close(latents.double(), z, rtol=1e-4, atol=1e-5)


def test_regularisers_see_projected_positions(monkeypatch):
    monkeypatch.setattr("worldmodel.video.objective.SIGREG_ROWS", 2000)
    model = small_model()
    weights = VideoLossWeights(variance=1.0, covariance=2.0, sigreg=3.0)
    objective = VideoObjective(model, 4, weights, rollout_steps=1, projector=(8, 5), seed=2)
    loss, terms, latents = objective(videos(), step=7)
    rows = objective.projector(latents.permute(0, 1, 3, 4, 2).reshape(-1, 4)).detach()
    assert rows.shape == (3 * 6 * 8 * 8, 5)
    generator = torch.Generator().manual_seed(2 * 1_000_003 + 7)
    expected = {
        "variance": losses.variance(rows),
        "covariance": losses.covariance(rows),
        "sigreg": losses.sigreg(rows, generator=generator),
    }
    for name, value in expected.items():
        assert terms[name].item() == pytest.approx(value.item(), rel=1e-4), name
    total = terms["prediction"] + terms["variance"] + 2 * terms["covariance"] + 3 * terms["sigreg"]
    assert loss.item() == pytest.approx(total.item(), rel=1e-5)
    # Centred, what is the same in all frames is not seen.
    objective.centred = True
    centred = objective.projector(latents.permute(0, 1, 3, 4, 2).flatten(0, 1)).detach()
    rows = (centred - centred.mean(dim=0)).flatten(0, 2)
    terms = objective(videos(), step=7)[1]
    assert terms["variance"].item() == pytest.approx(losses.variance(rows).item(), rel=1e-4)
    assert terms["covariance"].item() == pytest.approx(losses.covariance(rows).item(), rel=1e-4)
    # With many positions SIGReg looks at some of them: the same ones at the same step.
    monkeypatch.setattr("worldmodel.video.objective.SIGREG_ROWS", 100)
    some = [objective(videos(), step=step)[1]["sigreg"].item() for step in (7, 7, 8)]
    assert some[0] == some[1] != some[2]
    assert some[0] != pytest.approx(terms["sigreg"].item(), rel=1e-4)


def test_contrast_tells_a_frame_from_others_at_the_same_position():
    model = VideoJEPA(Pixels(), Drift(), Normalizer((1, 16, 16), 0))
    weights = VideoLossWeights(variance=0.0, covariance=0.0, contrast=2.0)
    objective = VideoObjective(model, 1, weights, rollout_steps=2, projector=(), temperature=0.3)
    loss, terms, latents = objective(videos())
    expected = []
    for predicted in model.unroll(latents, 2):
        for y, x in ((y, x) for y in range(16) for x in range(16)):
            rows = predicted[..., y, x].reshape(-1, 1), latents[:, 2:, :, y, x].reshape(-1, 1)
            expected.append(losses.contrast(*rows, temperature=0.3).item())
    assert terms["contrast"].item() == pytest.approx(sum(expected) / len(expected), rel=1e-5)
    assert loss.item() == pytest.approx((terms["prediction"] + 2 * terms["contrast"]).item(), rel=1e-6)


def test_latents_and_predictions_tell_what_the_encoder_saw_before_training():
    torch.manual_seed(0)
    model = small_model()
    weights = VideoLossWeights(variance=0.0, covariance=0.0, random_target=3.0)
    objective = VideoObjective(model, 4, weights, rollout_steps=2, projector=())
    seen = model.encode(videos()).detach()
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.mul_(1.5)
    loss, terms, latents = objective(videos())
    assert (latents - seen).abs().max() > 0.1
    told = [(latents, seen), *((predicted, seen[:, 2:]) for predicted in model.unroll(latents, 2))]
    errors = [(objective.reader(a.flatten(0, 1)) - b.flatten(0, 1)).square().mean().item() for a, b in told]
    assert terms["random_target"].item() == pytest.approx(sum(errors) / 3, rel=1e-4)
    assert loss.item() == pytest.approx((terms["prediction"] + 3 * terms["random_target"]).item(), rel=1e-5)
    # It teaches what sees and what foretells; the target stays.
    terms_loss = loss - terms["prediction"]
    terms_loss.backward()
    for module in (model.encoder, model.predictor, objective.reader):
        assert all(parameter.grad is not None for parameter in module.parameters())
    assert all(parameter.grad is None for parameter in objective.random_encoder.parameters())


def test_latents_begin_standardised():
    model = small_model()
    before = model.encode(videos()).movedim(2, -1).flatten(0, -2)
    model.standardize(videos())
    after = model.encode(videos()).movedim(2, -1).flatten(0, -2)
    torch.testing.assert_close(after, (before - before.mean(dim=0)) / before.std(dim=0), rtol=1e-3, atol=1e-4)


def test_an_encoder_halves_what_patches_leave():
    encoder = ResidualEncoder(1, 5, hidden_channels=4, num_blocks=1, stride=16)
    assert encoder(torch.randn(2, 1, 32, 32)).shape == (2, 5, 2, 2)
    widths = [module.weight.shape[0] for module in encoder.net if isinstance(module, nn.Conv2d)]
    assert [*widths, encoder.head.weight.shape[0]] == [4, 8, 16, 5]
    assert ResidualEncoder(1, 5, stride=5)(torch.randn(1, 1, 20, 20)).shape == (1, 5, 4, 4)


def test_a_predictor_may_have_one_size_and_blocks():
    predictor = UNetPredictor(4, 2, (8,), blocks=2)
    history = torch.randn(3, 2, 4, 5, 7)
    assert predictor(history).shape == (3, 4, 5, 7)
    assert sum(p.numel() for p in predictor.blocks.parameters()) == 2 * 2 * (8 * 8 * 9 + 8)
    nn.init.zeros_(predictor.head.weight)
    nn.init.zeros_(predictor.head.bias)
    assert torch.equal(predictor(history), history[:, -1])


def test_everything_learns():
    objective = VideoObjective(small_model(), 4, VideoLossWeights(), rollout_steps=2, projector=(8,))
    optimizer = torch.optim.AdamW(objective.parameters(), lr=3e-3)
    history = []
    for step in range(30):
        loss, _, _ = objective(videos(), step)
        optimizer.zero_grad()
        loss.backward()
        assert all(parameter.grad is not None for parameter in objective.parameters())
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < 0.8 * history[0]


class Place(nn.Module):
    """Latents that tell where they are and nothing else, as convolutions can by their padding."""

    def forward(self, images):
        return torch.linspace(-2, 2, images[0, 0].numel()).view(1, *images.shape[1:]).expand_as(images).clone()


def test_latents_of_the_place_alone_count_as_collapsed_when_centred():
    model = VideoJEPA(Place(), Drift(), Normalizer((1, 16, 16), 0))
    weights = VideoLossWeights(variance=1.0, covariance=0.0)
    variances = {}
    for centred in (False, True):
        objective = VideoObjective(model, 1, weights, rollout_steps=1, projector=(), centred=centred)
        variances[centred] = objective(videos())[1]["variance"].item()
    assert variances[False] == 0.0
    assert variances[True] == pytest.approx(1 - 1e-2)  # the square root of 1e-4


def test_normalised_latents_are_on_one_scale():
    config = VideoModelConfig(latent_channels=8, hidden_channels=4, stride=4, predictor_channels=(4,), grid=4)
    plain, normalized = (build_video_jepa(replace(config, normalize_latents=on), (1, 16, 16)) for on in (False, True))
    with torch.no_grad():
        latents = normalized.encode(videos())
        rolled = normalized.rollout(latents[:, :2], 3)
        for values in (latents, rolled):
            torch.testing.assert_close(values.mean(dim=2), torch.zeros_like(values[:, :, 0]), atol=1e-4, rtol=0)
            squares = values.square().mean(dim=2)
            torch.testing.assert_close(squares, torch.ones_like(squares), atol=0.05, rtol=0)
        assert plain.encode(videos()).square().mean(dim=2).std() > 1e-4


def test_the_detection_head_has_a_logit_for_each_kind_in_each_cell():
    for cell in (1, 2, 4):
        logits = DetectionHead(3, cell, hidden_channels=4)(torch.randn(5, 3, 8 * cell, 8 * cell))
        assert logits.shape == (5, 2, 8, 8)
