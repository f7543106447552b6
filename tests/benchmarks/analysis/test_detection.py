"""``worldmodel detect``: a table beside baselines, a film, and clear errors."""

from dataclasses import replace

import imageio.v3 as iio
import numpy as np
import pytest

from benchmarks.analysis.detection import DetectConfig, run, table
from benchmarks.records.store import read_record
from pretrain.train import fit
from pretrain.video.config import HeadsConfig, VideoConfig, VideoDataConfig
from worldmodel.video.build import VideoModelConfig

TINY = VideoConfig(
    model=VideoModelConfig(
        latent_channels=4, hidden_channels=8, num_blocks=1, stride=8, predictor_channels=(8,), head_channels=8
    ),
    data=VideoDataConfig(num_frames=5, batch_size=4),
    heads=HeadsConfig(num_steps=2, batch_size=4),
    rollout_steps=1,
    projector=(),
    num_steps=2,
    accelerator="cpu",
    precision="32-true",
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pretrain.video.training.NUM_VIDEOS", 8)
        patch.setattr("pretrain.video.training.NORMALIZATION_VIDEOS", 8)
        trained = fit(replace(TINY, output=str(folder / "trained")))
        untrained = fit(replace(TINY, train_encoder=False, output=str(folder / "untrained")))
    return trained, untrained


def test_a_table_and_a_film(runs, tmp_path, capsys):
    trained, untrained = runs
    config = DetectConfig(
        checkpoint=str(trained), untrained=untrained, num_videos=70, shown=2, output=tmp_path / "d.json"
    )
    record = run(config)
    assert read_record(config.output) == record
    names = [
        "Video-JEPA",
        "last latent copied",
        "frames seen, no forecast",
        "untrained encoder",
        "oracle, constant velocity",
    ]
    assert [row["forecast"] for row in record.rows] == names
    assert record.config["horizons"] == [1, 2, 3]
    for row in record.rows:
        assert len(row["reference"]) == len(row["strict"]) == 3
        assert row["strict_mean"] == pytest.approx(np.mean(row["strict"]))
    # Nothing has been learned here, and the oracle knows where digits were.
    assert record.rows[-1]["strict"][0] > 0.3 > record.rows[0]["strict"][0]
    assert "oracle" in capsys.readouterr().out
    lines = table(record).markdown().splitlines()
    assert lines[0].startswith("| forecast | mAP | AP_1 | AP_2 | AP_3 |")
    assert len(lines) == 7
    for suffix in (".gif", ".mp4"):
        film = iio.imread(config.output.with_suffix(suffix))
        assert len(film) == 5
        assert film.shape[1] > film.shape[2]  # three rows, two videos
        assert film.std() > 10


def test_what_cannot_be_measured_is_refused(runs, tmp_path):
    trained, _ = runs
    with pytest.raises(ValueError, match="untrained must be a run with --no-train-encoder, got"):
        run(DetectConfig(checkpoint=str(trained), untrained=trained, num_videos=1, shown=0, progress=False))
    with pytest.raises(ValueError, match="num_videos must be at least 1, got 0"):
        run(DetectConfig(checkpoint=str(trained), num_videos=0))
    with pytest.raises(ValueError, match=r"checkpoint must be a directory or one of .*, got"):
        run(DetectConfig(checkpoint=str(tmp_path / "nothing")))
