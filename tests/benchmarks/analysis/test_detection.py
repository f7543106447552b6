"""``worldmodel detect``: a table beside baselines, a film, and clear errors."""

import json
import re
import shutil
from dataclasses import replace

import imageio.v3 as iio
import numpy as np
import pytest

from benchmarks.analysis.detection import (
    FORECASTS,
    MODEL,
    PARTICLES,
    UNTRAINED,
    DetectConfig,
    margin,
    over_seeds,
    run,
    summary_rows,
    table,
    videos_name,
)
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
    three = replace(TINY, data=replace(TINY.data, num_digits=3))
    configs = {
        "trained": TINY,
        "untrained": replace(TINY, train_encoder=False),
        "supervised": replace(TINY, supervised=True),
        "three": replace(three, train_encoder=False),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pretrain.video.training.NUM_VIDEOS", 8)
        patch.setattr("pretrain.video.training.NORMALIZATION_VIDEOS", 8)
        return {
            name: fit(replace(config, output=str(folder / name)), name="moving-mnist")
            for name, config in configs.items()
        }


def test_a_table_and_a_film(runs, tmp_path, capsys):
    config = DetectConfig(
        checkpoint=str(runs["trained"]),
        untrained=runs["untrained"],
        supervised=runs["supervised"],
        particles=True,
        num_videos=70,
        shown=2,
        output=tmp_path / "d.json",
    )
    record = run(config)
    assert read_record(config.output) == record
    assert record.key == {"analysis": "detection", "videos": "2 digits", "seed": 0}
    assert [row["policy"] for row in record.rows] == list(FORECASTS)
    assert record.config["horizons"] == [1, 2, 3]
    for row in record.rows:
        assert len(row["reference"]) == len(row["strict"]) == 3
        assert row["strict_mean"] == pytest.approx(np.mean(row["strict"]))
    # Nothing has been learned here, and particles know where digits were.
    found = {row["policy"]: row for row in record.rows}
    assert found[PARTICLES]["strict"][0] > 0.9 > 0.3 > found[MODEL]["strict"][0]
    assert "particles" in capsys.readouterr().out
    lines = table([record]).markdown().splitlines()
    assert lines[0].startswith("| forecast | mAP | AP_1 | AP_2 | AP_3 |")
    assert len(lines) == 2 + len(FORECASTS)
    for suffix in (".gif", ".mp4"):
        film = iio.imread(config.output.with_suffix(suffix))
        assert len(film) == 5
        assert film.shape[1] > 2 * film.shape[2]  # five rows, two videos
        assert film.std() > 10

    commands = [training["command"] for training in record.facts["trainings"].values()]
    for command, name in zip(commands, ("trained", "untrained", "supervised"), strict=True):
        assert command.startswith("worldmodel pretrain moving-mnist --seed 0 ")
        assert "--model.latent-channels 4 " in command
        assert ("--no-train-encoder " in command) == (name == "untrained")
        assert ("--supervised " in command) == (name == "supervised")
        assert command.endswith(f"--output {runs[name]}")

    rows = list(summary_rows(record))
    assert [row["policy"] for row in rows] == list(FORECASTS)
    assert rows[0]["map_reference"] == round(found[MODEL]["reference_mean"], 4)
    assert rows[0]["train_minutes"] is not None
    assert rows[-1]["train_minutes"] is None
    (difference,) = margin([record], "strict_mean")
    assert difference == found[MODEL]["strict_mean"] - found[UNTRAINED]["strict_mean"]


def test_over_seeds_by_hand():
    assert over_seeds([0.5]) == "0.500"
    # Student's t for two degrees of freedom is 4.3027; the standard error of 1, 2, 3 is 1 / sqrt(3).
    assert over_seeds([0.1, 0.2, 0.3], "+") == "+0.200 [-0.048, +0.448]"


def test_what_cannot_be_measured_is_refused(runs, tmp_path):
    trained = runs["trained"]
    asked = {"checkpoint": str(trained), "num_videos": 1, "shown": 0, "progress": False}
    with pytest.raises(ValueError, match="untrained must be a run with --no-train-encoder, got"):
        run(DetectConfig(**asked, untrained=trained))
    with pytest.raises(ValueError, match="supervised must be a run with --supervised, got"):
        run(DetectConfig(**asked, supervised=trained))
    with pytest.raises(ValueError, match=r"must be trained on videos of 2 digits and 5 frames, got 3 digits and 5"):
        run(DetectConfig(**asked, untrained=runs["three"]))
    with pytest.raises(ValueError, match="num_videos must be at least 1, got 0"):
        run(DetectConfig(checkpoint=str(trained), num_videos=0))
    with pytest.raises(ValueError, match=r"checkpoint must be a directory or one of .*, got"):
        run(DetectConfig(checkpoint=str(tmp_path / "nothing")))


def test_videos_in_words():
    assert videos_name(VideoDataConfig()) == "2 digits"
    assert videos_name(VideoDataConfig(num_digits=1)) == "1 digit"
    assert videos_name(VideoDataConfig(num_digits=3, background=0.5)) == "3 digits, textured background"


def test_a_run_that_goes_on_is_refused(runs, tmp_path):
    unfinished = tmp_path / "run"
    shutil.copytree(runs["trained"], unfinished)
    path = unfinished / "config.json"
    told = json.loads(path.read_text())
    assert told["training"]["step"] == 4
    told["training"]["step"] = 3
    path.write_text(json.dumps(told))
    message = f"{re.escape(str(unfinished))} must be trained to its end, to step 4, got step 3"
    with pytest.raises(ValueError, match=message):
        run(DetectConfig(checkpoint=str(unfinished), num_videos=1, shown=0, progress=False))
