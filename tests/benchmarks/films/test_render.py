import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from agents.evaluation.task import GoalImageConfig, make_task
from agents.saved import make_policy
from agents.world_model.config import PlannerConfig
from benchmarks.evaluation.manifests import load_manifest
from benchmarks.films import encoding
from benchmarks.films import render as video
from benchmarks.films.drawing import HEIGHT, RED, SCENE_SIZE, WIDTH, EpisodeFigure, PlanView, Scene
from benchmarks.films.render import RenderConfig, run
from envs.domain import domain_of
from envs.two_rooms.pictures.viewer import to_canvas
from worldmodel.checkpoint import load_pretrained

PLANNER = PlannerConfig(num_samples=12, num_elites=4, num_iterations=2, horizon=3)
RED_LEVELS = np.array([int(RED[i : i + 2], 16) for i in (1, 3, 5)])
MARGIN = (HEIGHT - SCENE_SIZE) // 2


def read_mp4(path):
    reader = imageio_ffmpeg.read_frames(str(path))
    meta = next(reader)
    width, height = meta["size"]
    return meta, np.stack([np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in reader])


def render(tmp_path, policy, **kwargs):
    defaults = {"manifest": "validation", "max_steps": 6, "hold_seconds": 0.25, "frames_per_step": 2, "progress": False}
    return run(RenderConfig(policy=str(policy), planner=PLANNER, output=tmp_path / "film", **(defaults | kwargs)))


def test_an_mp4_and_a_gif_of_the_same_length_are_written(tmp_path, checkpoint):
    mp4, gif = render(tmp_path, checkpoint)
    assert [path.name for path in (mp4, gif)] == ["film.mp4", "film.gif"]
    meta, frames = read_mp4(mp4)
    assert meta["size"] == (WIDTH, HEIGHT)
    assert meta["fps"] == 20
    assert len(frames) == 6 * 2 + 5
    assert all(frame.std() > 20 for frame in frames)
    assert np.abs(frames[0].astype(int) - frames[-1].astype(int)).max() > 60  # something moves
    image = Image.open(gif)
    assert image.n_frames == pytest.approx(len(frames) / 2, abs=4)  # equal frames are joined
    duration = 0
    for i in range(image.n_frames):
        image.seek(i)
        duration += image.info["duration"]
    assert duration == pytest.approx(1000 * len(frames) / 20, abs=100)
    assert gif.stat().st_size < encoding.MAX_GIF_BYTES


def test_policies_side_by_side_are_called_by_their_kind_or_by_their_folder(checkpoint, rgb_checkpoint):
    assert video.side_titles(["expert", str(checkpoint)]) == ["Scripted expert", "Planning in imagination"]
    several = video.side_titles([str(checkpoint), "random", str(rgb_checkpoint)])
    assert several == [checkpoint.name, "Random policy", rgb_checkpoint.name]


@pytest.mark.parametrize("policy", ["random", "expert"])
def test_policies_without_plans(tmp_path, policy):
    (path,) = render(tmp_path, policy, formats=("mp4",), episodes=(0, 3), max_steps=3)
    assert len(read_mp4(path)[1]) == 2 * (3 * 2 + 5)


@pytest.mark.parametrize("policy", ["random", "rgb"])
def test_an_environment_of_ones_own(tmp_path, rgb_env, rgb_checkpoint, policy):
    policy = rgb_checkpoint if policy == "rgb" else policy
    (path,) = render(tmp_path, policy, env_id=rgb_env, formats=("mp4",), episodes=(2,), max_steps=4)
    frames = read_mp4(path)[1]
    assert len(frames) == 4 * 2 + 5
    scene = frames[0, MARGIN:-MARGIN, MARGIN : MARGIN + SCENE_SIZE]
    assert np.abs(scene.reshape(-1, 3).mean(0) - (20, 24, 40)).max() < 40  # the environment's dark background


def test_an_environment_that_is_wrapped(tmp_path):
    shown = GoalImageConfig(size=32, goal_steps=5)
    (path,) = render(tmp_path, "random", env_id="Pendulum-v1", goal_image=shown, formats=("mp4",), max_steps=2)
    frame = read_mp4(path)[1][0]
    scene = frame[MARGIN:-MARGIN, MARGIN : MARGIN + SCENE_SIZE]
    assert (scene == 255).mean() > 0.5  # as Pendulum renders it, on white
    with pytest.raises(ValueError, match="goal_image must be given with --env-id only"):
        render(tmp_path, "random", goal_image=shown)


def test_plans_are_recorded_with_their_imagined_candidates(checkpoint):
    manifest = load_manifest("validation")
    task = make_task(manifest.env_id, manifest.env_kwargs)
    policy, observation = make_policy(str(checkpoint), task, planner=PLANNER, record=True)
    probe = load_pretrained(checkpoint).probe
    scenes = video.record_episode(
        policy, task, manifest, 0, observation=observation, probe=probe, max_steps=9, num_candidates=8
    )
    assert [scene.step for scene in scenes] == list(range(10))
    assert [scene.plan.step for scene in scenes] == [0, 0, 0, 0, 4, 4, 4, 4, 8, 8]
    np.testing.assert_allclose(scenes[0].position, manifest.episodes[0]["start"], atol=1e-5)
    np.testing.assert_allclose(scenes[0].info["goal"], manifest.episodes[0]["goal"], atol=1e-5)
    plan = scenes[0].plan
    assert plan.duration == 4
    assert plan.best.shape == plan.elite.shape == (2,)
    assert plan.path.shape == (4, 2)  # where it starts, and three steps ahead
    assert [candidates.shape for candidates in plan.candidates] == [(8, 4, 2), (8, 4, 2)]
    assert (np.isclose(plan.candidates[0][:, 0], plan.path[0], atol=1e-4)).all()  # all start from one place


def test_an_episode_ends_soon_after_the_goal():
    manifest = load_manifest("validation")
    task = make_task(manifest.env_id, manifest.env_kwargs)
    policy, observation = make_policy("expert", task)
    scenes = video.record_episode(policy, task, manifest, 0, observation=observation, steps_after_success=3)
    assert [scene.success for scene in scenes[-5:]] == [False, True, True, True, True]


def scene(step, position, plan=None):
    return Scene(
        step=step,
        domain=domain_of("TwoRooms-v0"),
        info={"layout": (32, 18), "goal": np.array([50.0, 50.0])},
        position=np.array(position),
        distance=10.0,
        plan=plan,
    )


def pixel(frame, position):
    column, row = (MARGIN + to_canvas(np.array(position), SCENE_SIZE)).astype(int)
    return frame[row, column].astype(int)


def test_the_agent_is_drawn_where_it_is_and_moves_between_steps():
    figure = EpisodeFigure([scene(0, [10.0, 10.0]), scene(1, [20.0, 10.0])], "title", "subtitle")
    for fraction, x in ((0.0, 10.0), (0.5, 15.0)):
        assert np.abs(pixel(figure.frame(0, fraction), [x, 10.0]) - RED_LEVELS).max() < 12
    assert np.abs(pixel(figure.frame(0), [15.0, 10.0]) - RED_LEVELS).max() > 60


def test_plans_are_drawn_over_the_scene_and_costs_beside_it():
    path = np.array([[10.0, 40.0], [25.0, 40.0]])
    plan = PlanView(
        step=0,
        duration=2,
        best=np.array([2.0, 1.0]),
        elite=np.array([3.0, 1.5]),
        path=path,
        candidates=(path[None] + [0.0, 5.0], path[None] + [0.0, 10.0]),
        num_elites=1,
    )
    with_plan = EpisodeFigure([scene(0, [10.0, 10.0], plan), scene(1, [10.0, 10.0], plan)], "t", "s")
    without = EpisodeFigure([scene(0, [10.0, 10.0]), scene(1, [10.0, 10.0])], "t", "s")
    plain, first, second = without.frame(0), with_plan.frame(0), with_plan.frame(1)
    assert np.abs(pixel(first, [17.0, 40.0]) - pixel(plain, [17.0, 40.0])).max() > 60  # the plan
    # The elite of the first iteration is shown first, that of the second later.
    for frame, seen, unseen in ((first, 45.0, 50.0), (second, 50.0, 45.0)):
        assert np.abs(pixel(frame, [17.0, seen]) - pixel(plain, [17.0, seen])).max() > 40
        assert (pixel(frame, [17.0, unseen]) == pixel(plain, [17.0, unseen])).all()


def test_gifs_are_made_smaller_until_they_fit(tmp_path, rng, caplog, monkeypatch):
    monkeypatch.setattr(encoding, "GIF_QUALITIES", ((1, 192, 64), (2, 96, 48)))
    frames = [Image.fromarray(rng.integers(0, 255, (108, 192, 3), np.uint8)) for _ in range(4)]
    encoding.write_gif(tmp_path / "large.gif", frames, 10, max_bytes=10**9)
    assert not caplog.text
    encoding.write_gif(tmp_path / "small.gif", frames, 10, max_bytes=1)
    large, small = Image.open(tmp_path / "large.gif"), Image.open(tmp_path / "small.gif")
    assert (large.size, large.n_frames) == ((192, 108), 4)
    assert (small.size, small.n_frames) == ((96, 54), 2)
    assert "more than" in caplog.text


def test_gifs_keep_the_colours_that_mean_something(tmp_path):
    frame = EpisodeFigure([scene(0, [10.0, 10.0]), scene(1, [10.0, 10.0])], "title", "subtitle").frame(0)
    encoding.write_gif(tmp_path / "a.gif", [Image.fromarray(frame).resize((800, 450))] * 2, 10)
    shown = np.asarray(Image.open(tmp_path / "a.gif").convert("RGB").resize((WIDTH, HEIGHT)))
    assert np.abs(pixel(shown, [10.0, 10.0]) - RED_LEVELS).max() < 25


def test_a_failed_drawing_leaves_no_file(tmp_path):
    def frames():
        yield np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        raise RuntimeError("drawing failed")

    with pytest.raises(RuntimeError, match="drawing failed"):
        encoding.write_mp4(tmp_path / "a.mp4", frames(), 20)
    assert not list(tmp_path.glob("*a.mp4*"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames_per_step": 0}, "frames_per_step must be at least 1, got 0"),
        ({"fps": 1_000_000}, "fps must be at most 240, got 1000000"),
        ({"hold_seconds": -1.0}, "hold_seconds must be at least 0, got -1.0"),
        ({"hold_seconds": 1e9}, "hold_seconds must be at most 60, got 1000000000.0"),
        ({"num_candidates": 0}, "num_candidates must be at least 1, got 0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"fps": 0}, "fps must be at least 1, got 0"),
        ({"episodes": ()}, r"episodes must be at least one value, got \(\)"),
        ({"episodes": (500,)}, "episodes of 'validation' must be from 0 to 499, got 500"),
        ({"formats": ()}, r"formats must be at least one value, got \(\)"),
        ({"policy": "clever"}, "policy must be one of 'random', 'expert'"),
        ({"env_id": "Nowhere-v0"}, "env_id must be a registered Gymnasium environment"),
    ],
)
def test_bad_requests(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        render(tmp_path, **({"policy": "random"} | change))


def test_policies_play_side_by_side(checkpoint, tmp_path):
    config = RenderConfig(
        policy="expert",
        compare=("random", str(checkpoint)),
        manifest="validation",
        episodes=(0,),
        max_steps=6,
        frames_per_step=1,
        hold_seconds=0.1,
        output=tmp_path / "beside",
        formats=("mp4",),
        planner=PLANNER,
        progress=False,
    )
    (path,) = run(config)
    reader = imageio_ffmpeg.read_frames(str(path))
    width, height = next(reader)["size"]
    film = [np.frombuffer(frame, np.uint8).reshape(height, width, 3).astype(int) for frame in reader]
    assert len(film) == 6 + 2
    # All start in the same place and go on in ways of their own.
    panels = [[frame[62:342, 16 + 296 * i : 16 + 296 * i + 280] for i in range(3)] for frame in (film[0], film[-1])]
    before, after = (np.abs(expert - random).mean() for expert, random, _ in panels)
    assert before < 1
    assert after > 2 * before
