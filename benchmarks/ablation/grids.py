"""Grids of variants for ``worldmodel ablate``: what is compared with what."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from agents.world_model.config import LONG


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A change of the full method.

    Attributes:
        name: What it is called.
        preset: Another preset to train in place of the grid's.
        train: Changed fields of the preset, by dotted path.
        simulated: Whether it makes sense only where training data are simulated.
        plan: Changed fields of the planner's configuration.
        actor_alone: Whether to measure the actor without search too, where there is one.
        untrained: Whether to measure the network with random weights in place of the trained one (images).
        traits: What it is, for findings that compare some variants with others.
    """

    name: str
    preset: str | None = None
    train: Mapping[str, Any] = field(default_factory=dict)
    simulated: bool = False
    plan: Mapping[str, Any] = field(default_factory=dict)
    actor_alone: bool = True
    untrained: bool = False
    traits: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Variants to compare; the first is the full method.

    Attributes:
        preset: What is trained; None: nothing, all variants plan with one checkpoint. :data:`OF_ENVIRONMENT`: the world
            model of an environment's comparison, as it is trained there; then variants that do not apply in the
            environment, or change nothing there, are left out.
        variants: The variants.
        measured: What tells how good a variant is: success of the agent, digits found in rollouts of videos, or what a
            linear probe reads off representations of images.
        reduced: Fields of the preset changed in all variants, so that the grid fits two cores.
        timed: Whether to show how long training took: for grids whose runs have the machine to themselves.
    """

    preset: str | None
    variants: tuple[Variant, ...]
    measured: Literal["success", "detection", "probe"] = "success"
    reduced: Mapping[str, Any] = field(default_factory=dict)
    timed: bool = False


OF_ENVIRONMENT = "of-environment"
"""In place of a preset's name: that of the world model in the environment's comparison."""

VIDEO_VICREG = {"weights.variance": 10.0, "weights.covariance": 100.0, "weights.contrast": 0.0, "centred": True}
"""Videos: EB-JEPA's regularisers."""
UNTRAINED = {"train_encoder": False, "learning_rate": 4e-3}
"""Videos: the encoder as initialised, and the learning rate that suits the predictor then."""
SHALLOW = {
    "model.stride": 4,
    "model.latent_channels": 16,
    "model.num_blocks": 2,
    "model.predictor_channels": (48, 96, 96),
    "model.predictor_blocks": 0,
}
"""Videos: latents of four times as many positions and a quarter of the channels, from one size of convolutions."""

SMALL_BATCHES = {"data.batch_size": 128}
"""Images: half the preset's batches."""

REFERENCE = {
    "propose": False, "cost": "summed", "horizon": 60, "num_samples": 100, "num_iterations": 3, "num_elites": 20,
    "init_std": 2.0, "temperature": 0.005, "keep_elites": 0.0, "replan_every": 8,
}  # fmt: skip
"""EB-JEPA's search, 160 times cheaper: two thirds of its horizon, half its samples, 3 of its 20 iterations, and a plan
for every 8 steps instead of every one."""

VICREG = {"weights.sigreg": 0.0, "weights.variance": 1.0, "weights.covariance": 80.0}
"""EB-JEPA's weights of VICReg for images, in place of SIGReg."""

SIGREG = {"weights.variance": 0.0, "weights.covariance": 0.0, "weights.sigreg": 10.0}
"""SIGReg in place of the terms of variance and covariance."""

GRIDS = {
    "planning": Grid(
        preset=None,
        variants=(
            Variant(name="full: MPPI"),
            Variant(name="CEM", plan={"planner": "cem"}),
            Variant(name="iCEM", plan={"planner": "icem"}),
            Variant(name="the actor alone", plan={"planner": "policy"}),
            Variant(name="no proposal by the actor", plan={"propose": False}),
            Variant(name="no warm start", plan={"warm_start": False}),
            Variant(name="no kept elites", plan={"keep_elites": 0.0}),
            Variant(name="coloured noise", plan={"noise_beta": 1.0}),
            Variant(name="mean executed, not the best", plan={"execute": "mean"}),
            Variant(name="horizon 1", plan={"horizon": 1}),
            Variant(name="horizon 6", plan={"horizon": 6}),
            Variant(name="8 samples", plan={"num_samples": 8}),
            Variant(name="16 samples", plan={"num_samples": 16}),
            Variant(name="128 samples", plan={"num_samples": 128}),
            Variant(name="long horizon, closest and stay", plan=LONG | {"cost": "reach", "noise_beta": 1.0}),
            Variant(name="… with white noise", plan=LONG | {"cost": "reach"}),
            Variant(name="long horizon, closest approach", plan=LONG | {"cost": "closest", "noise_beta": 1.0}),
            Variant(name="long horizon, summed distance", plan=LONG | {"cost": "summed", "noise_beta": 1.0}),
            Variant(name="long horizon, last distance", plan=LONG | {"cost": "last", "noise_beta": 1.0}),
        ),
    ),
    "training": Grid(
        preset=OF_ENVIRONMENT,
        variants=(
            Variant(name="full"),
            Variant(name="encoder axial", train={"model.encoder": "axial"}),
            Variant(name="encoder impala", train={"model.encoder": "impala", "model.encoder_channels": (16, 32, 32)}),
            Variant(name="encoder vit", train={"model.encoder": "vit", "model.patch": 8}),
            Variant(name="GRU predictor", train={"model.predictor": "gru"}),
            Variant(name="no action blocks", train={"model.frame_skip": 1}),
            Variant(name="one latent in a state", train={"model.context": 1}),
            Variant(name="two latents in a state", train={"model.context": 2}),
            Variant(name="reference data", train={"data.recipe": "reference"}, simulated=True),
            Variant(name="no variance", train={"weights.variance": 0.0}),
            Variant(name="no covariance", train={"weights.covariance": 0.0}),
            Variant(name="no temporal similarity", train={"weights.temporal_similarity": 0.0}),
            Variant(name="no inverse dynamics", train={"weights.inverse_dynamics": 0.0}),
            Variant(name="a linear inverse model alone", train={"idm_layers": 0}),
            Variant(name="no contrast", train={"weights.contrast": 0.0}),
            Variant(name="SIGReg for variance and covariance", train=SIGREG),
            Variant(name="no refinement", train={"refinement.num_steps": 0}),
            Variant(name="one imagined step", train={"policy.imagined_steps": 1}),
            Variant(name="no random actions for the critics", train={"policy.random_actions": 0}),
            Variant(name="a narrow goal", train={"policy.networks.relative_scale": 0.15}),
        ),
    ),
    "recipe": Grid(
        preset="two-rooms",
        timed=True,
        variants=(
            Variant(name="ours"),
            Variant(name="ours, the reference's search", plan=REFERENCE | {"horizon": 15}),
            # On two cores 8 s a step: these are a quarter of an hour and two hours.
            Variant(name="EB-JEPA, equal time", preset="two-rooms-paper", train={"num_steps": 105}, plan=REFERENCE),
            Variant(name="EB-JEPA, equal frames", preset="two-rooms-paper", train={"num_steps": 882}, plan=REFERENCE),
        ),
    ),
    "video": Grid(
        preset="moving-mnist",
        measured="detection",
        variants=(
            Variant(name="ours"),
            Variant(name="encoder untrained", train=UNTRAINED),
            Variant(name="no random targets", train={"weights.random_target": 0.0}),
            Variant(name="16 channels", train={"model.latent_channels": 16}),
            Variant(name="16 channels, untrained", train=UNTRAINED | {"model.latent_channels": 16}),
            Variant(name="64 channels", train={"model.latent_channels": 64}),
            Variant(name="64 channels, untrained", train=UNTRAINED | {"model.latent_channels": 64}),
            Variant(name="variance and covariance for the contrast", train=VIDEO_VICREG),
            Variant(name="SIGReg for the contrast", train=SIGREG | {"weights.contrast": 0.0}),
            Variant(name="one round of prediction", train={"rollout_steps": 1}),
            Variant(name="the encoder of one size, stride 4", train=SHALLOW),
            Variant(name="the encoder of one size, untrained", train=SHALLOW | UNTRAINED),
        ),
    ),
    "images": Grid(
        preset="images",
        measured="probe",
        reduced=SMALL_BATCHES,
        variants=(
            *(
                Variant(
                    name=method if projector else f"{method}, no projector",
                    train=weights if projector else {**weights, "projector": ()},
                    traits={"method": method, "projector": projector},
                )
                for method, weights in (("SIGReg", {}), ("VICReg", VICREG))
                for projector in (True, False)
            ),
            Variant(name="supervised", train={"objective": "supervised"}, traits={"method": "supervised"}),
            Variant(name="random weights", untrained=True, traits={"method": "random weights"}),
        ),
    ),
    "image-weights": Grid(
        preset="images",
        measured="probe",
        reduced=SMALL_BATCHES,
        variants=(
            *(
                Variant(
                    name=f"SIGReg {weight:g}",
                    train={"weights.sigreg": weight},
                    traits={"method": "SIGReg", "weight": weight},
                )
                for weight in (10.0, 0.1, 1.0, 100.0)
            ),
            *(
                Variant(
                    name=f"VICReg, std {std:g}, cov {cov:g}",
                    train=VICREG | {"weights.variance": std, "weights.covariance": cov},
                    traits={"method": "VICReg"},
                )
                for std in (1.0, 10.0, 100.0)
                for cov in (1.0, 10.0, 100.0)
            ),
        ),
    ),
}
"""Grids by name."""
