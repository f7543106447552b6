"""Two processes train like one: statistics and gradients of the joint batch, and whole runs.

The processes are started as users start them: a script launched through lightning-fabric. Each compares its own numbers
with those of one process on the joint batch, computed beside it, and rank 0 writes what it saw.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pretrain.loop.run_log import read_metrics
from worldmodel.checkpoint import load_pretrained

ROOT = Path(__file__).parents[3]

PROGRAM = """
import json, sys
import torch
from lightning_fabric import Fabric
from pretrain.image.training import view_seed
from pretrain.loop.processes import any_process, leave_processes
from worldmodel.build import DataSpec, ModelConfig, build_model
from worldmodel.nn.distributed import gather_batch
from worldmodel.image.encoders import ResNet18
from worldmodel.image.jepa import ImageJEPA
from worldmodel.image.objective import ImageLossWeights, ImageObjective
from worldmodel.nn.normalize import Normalizer
from worldmodel.objective import LossWeights, Objective
from worldmodel.video.jepa import VideoJEPA
from worldmodel.video.networks import ResidualEncoder, UNetPredictor
from worldmodel.video.objective import VideoLossWeights, VideoObjective

NO_TERM = dict(covariance=0.0, variance=0.0, temporal_similarity=0.0, inverse_dynamics=0.0)
WEIGHTS = {
    "vicreg": LossWeights(**NO_TERM | dict(covariance=8.0, variance=16.0, contrast=1.0)),
    "sigreg": LossWeights(**NO_TERM | dict(sigreg=1.0)),
    "all": LossWeights(covariance=8.0, variance=16.0, temporal_similarity=2.0, inverse_dynamics=1.0, sigreg=1.0),
}
DATA = DataSpec(pixel_shape=(2, 20, 20), action_dim=2, action_low=(-1.0, -1.0), action_high=(1.0, 1.0))
CONFIG = ModelConfig(encoder="strided", latent_dim=16, encoder_channels=(8, 8), predictor="mlp",
                     predictor_hidden_dim=32, frame_skip=1)

def objective(weights):
    torch.manual_seed(0)
    return Objective(build_model(CONFIG, DATA), weights, rollout_steps=3)

def video_objective(weights, centred=False, projector=(16, 8)):
    torch.manual_seed(0)
    model = VideoJEPA(ResidualEncoder(2, 8, stride=5), UNetPredictor(8, 2, (8, 8)), Normalizer((2, 20, 20), 0))
    return VideoObjective(model, 8, weights, rollout_steps=2, projector=projector, centred=centred)

def contrast_video_objective(weights):
    return video_objective(weights, projector=())

def centred_video_objective(weights):
    return video_objective(weights, centred=True)

class ImageViews(torch.nn.Module):
    # Two frames of each video for views, so that batches come first.

    def __init__(self, weights):
        super().__init__()
        encoder = ResNet18((2, 20, 20), width=4)  # with batch normalisation, as the projector
        model = ImageJEPA(encoder, Normalizer((2, 20, 20), 0), encoder.latent_dim)
        self.objective = ImageObjective(model, weights, projector=(16, 8))

    def forward(self, pixels, step):
        return self.objective(pixels[:, :2].transpose(0, 1).contiguous(), step)

def image_objective(weights):
    torch.manual_seed(0)
    return ImageViews(weights)

torch.set_num_threads(1)
generator = torch.Generator().manual_seed(1)
pixels = torch.randint(256, (8, 4, 2, 20, 20), dtype=torch.uint8, generator=generator)
pixels[4:] //= 4  # the halves must differ in distribution, or statistics of one half would do
actions = torch.randn(8, 3, 2, generator=generator)
CASES = {name: (objective, weights, (pixels, actions)) for name, weights in WEIGHTS.items()}
CASES["video vicreg"] = video_objective, VideoLossWeights(), (pixels,)
CONTRAST = VideoLossWeights(variance=0.0, covariance=0.0, contrast=1.0)
CASES["video contrast"] = contrast_video_objective, CONTRAST, (pixels,)
CASES["video centred"] = centred_video_objective, VideoLossWeights(), (pixels,)
CASES["video sigreg"] = video_objective, VideoLossWeights(variance=0.0, covariance=0.0, sigreg=1.0), (pixels,)
VICREG = ImageLossWeights(sigreg=0.0, variance=1.0, covariance=80.0)
CASES["image vicreg"] = image_objective, VICREG, (pixels,)
CASES["image sigreg"] = image_objective, ImageLossWeights(sigreg=10.0), (pixels,)
alone = {}
for name, (make, weights, inputs) in CASES.items():
    module = make(weights)
    loss, terms, _ = module(*inputs, 5)
    loss.backward()
    gradients = {key: parameter.grad for key, parameter in module.named_parameters()}
    running = {key: buffer.clone() for key, buffer in module.named_buffers() if "running" in key}
    alone[name] = {key: float(term) for key, term in terms.items()}, gradients, running
assert gather_batch(actions) is actions  # one process: nothing to gather

fabric = Fabric(accelerator="cpu", devices=2)
fabric.launch()
half = slice(4 * fabric.global_rank, 4 * fabric.global_rank + 4)
report = {"stop": [any_process(fabric, fabric.global_rank == rank) for rank in (0, 1, 2)]}
for name, (make, weights, inputs) in CASES.items():
    module = make(weights)
    wrapped = fabric.setup(module)
    loss, terms, _ = wrapped(*(tensor[half] for tensor in inputs), 5)
    fabric.backward(loss)
    terms_alone, gradients_alone, running_alone = alone[name]
    scale = max(float(gradient.abs().max()) for gradient in gradients_alone.values())
    differences = [
        float((parameter.grad - gradients_alone[key]).abs().max()) / scale
        for key, parameter in module.named_parameters()
    ]
    moved = [float((module.get_buffer(key) - value).abs().max()) for key, value in running_alone.items()]
    report[name] = {
        "gradient": max(differences),
        "running": max(moved, default=0.0),
        "terms": {key: [float(fabric.all_reduce(term)), terms_alone[key]] for key, term in terms.items()},
        "own_terms": {key: float(term) for key, term in terms.items()},
    }
seeds = fabric.all_gather(torch.tensor(view_seed(3, 4)))
report["view_seeds"] = seeds.tolist()
if fabric.global_rank == 0:
    open(sys.argv[1], "w").write(json.dumps(report))
leave_processes()
"""


def environment() -> dict[str, str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("MASTER_", "LOCAL_", "NODE_"))}
    return inherited | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> dict:
    """What two processes saw."""
    folder = tmp_path_factory.mktemp("distributed")
    (folder / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "program.py", "report.json"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "report.json").read_text())


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        *(
            ("vicreg", 1e-5),
            ("sigreg", 1e-5),
            ("all", 1e-5),
            ("video vicreg", 1e-5),
            ("video contrast", 1e-5),
            ("video centred", 1e-5),
            ("video sigreg", 1e-5),
        ),
        *(("image vicreg", 1e-4), ("image sigreg", 1e-4)),  # through 20 batch normalisations
    ],
)
def test_gradients_equal_those_of_one_process_on_the_joint_batch(report, name, tolerance):
    assert report[name]["gradient"] < tolerance


@pytest.mark.parametrize(
    ("name", "terms"),
    [
        ("vicreg", ["variance", "covariance", "contrast"]),
        ("sigreg", ["sigreg"]),
        ("video vicreg", ["variance", "covariance"]),
        ("video centred", ["variance", "covariance"]),
        ("video sigreg", ["sigreg"]),
        ("image vicreg", ["variance", "covariance"]),
        ("image sigreg", ["sigreg"]),
    ],
)
def test_each_process_sees_the_statistics_of_the_joint_batch(report, name, terms):
    for term in terms:
        _, alone = report[name]["terms"][term]
        assert report[name]["own_terms"][term] == pytest.approx(alone, rel=1e-4), term


def test_every_term_averages_to_that_of_one_process(report):
    for term, (averaged, alone) in report["all"]["terms"].items():
        assert averaged == pytest.approx(alone, rel=1e-4), term


def test_batch_normalisation_counts_the_joint_batch(report):
    assert report["image vicreg"]["running"] < 1e-5


def test_each_process_draws_views_of_its_own(report):
    first, second = report["view_seeds"]
    assert first != second


def test_both_processes_stop_when_one_wants_to(report):
    assert report["stop"] == [True, True, False]


def test_a_run_on_two_processes_trains(tmp_path):
    # Without inverse dynamics, too: a part of the module without gradients would stop data parallelism.
    arguments = [
        *("--accelerator", "cpu", "--devices", "2", "--num-steps", "4", "--rollout-steps", "2"),
        *("--log-every", "2", "--validate-every", "4", "--checkpoint-every", "2"),
        *("--data.num-frames", "4", "--data.batch-size", "4", "--weights.inverse-dynamics", "0"),
        *("--model.encoder", "strided", "--model.latent-dim", "16", "--model.encoder-channels", "8", "8"),
        *("--model.predictor", "mlp", "--model.predictor-hidden-dim", "32"),
        *("--refinement.num-steps", "2", "--refinement.batch-size", "4", "--refinement.rollout-steps", "2"),
        *("--policy.num-steps", "2", "--policy.batch-size", "4"),
        *("--trajectories.count", "4", "--trajectories.num-frames", "4"),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "worldmodel", "pretrain", "two-rooms", "--output", str(tmp_path / "run"), *arguments],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert [row["step"] for row in read_metrics(tmp_path / "run")] == [2, 4, 4, 6, 6, 8, 8]
    loaded = load_pretrained(tmp_path / "run")
    assert loaded.config["training"]["step"] == 8
    assert loaded.actor_critic is not None
