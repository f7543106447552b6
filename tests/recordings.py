"""Small recordings in every format, made by the format's own library where it is kept, else as it is documented.

Each writer takes a folder, and episodes of frames uint8 ``(L + 1, H, W, 3)`` and actions float32 ``(L, A)``; it returns
what a user would name.
"""

import io
import json
import pickle
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import imageio_ffmpeg
import minari
import numpy as np
import torch
from PIL import Image

FPS = 10
SIDE = 64

Episodes = Sequence[tuple[np.ndarray, np.ndarray]]


def episodes(lengths: Sequence[int] = (6, 4, 9, 5), seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Frames that differ by more than a film blurs: a level of grey for each, with a red stripe that moves."""
    rng, made, shown = np.random.default_rng(seed), [], 0
    for length in lengths:
        frames = np.empty((length + 1, SIDE, SIDE, 3), np.uint8)
        for t in range(length + 1):
            frames[t] = 10 + shown % 30 * 8
            frames[t, :, (4 * t) % SIDE : (4 * t) % SIDE + 8, 0] = 255
            shown += 1
        made.append((frames, rng.uniform(-2, 3, (length, 2)).astype(np.float32)))
    return made


def aligned(actions: np.ndarray) -> np.ndarray:
    """Actions with a row for the last frame, which leads nowhere: NaN, as some record it."""
    return np.concatenate([actions, np.full_like(actions[:1], np.nan)])


def write_film(path: Path, frames: np.ndarray, codec: str = "libx264") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    quality = ["-crf", "10"]
    film = imageio_ffmpeg.write_frames(
        str(path), frames.shape[2:0:-1], fps=FPS, codec=codec, quality=None, output_params=quality, macro_block_size=1
    )
    film.send(None)
    for frame in frames:
        film.send(np.ascontiguousarray(frame))
    film.close()


def png(image: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, format="PNG")
    return out.getvalue()


def write_minari(folder: Path, data: Episodes, *, observe: Any = lambda frames: frames, **keywords: Any) -> Path:
    """Datasets as Minari makes them; ``observe`` turns frames into what is observed."""
    frames = np.zeros((1, SIDE, SIDE, 3), np.uint8)
    buffers = [
        minari.data_collector.EpisodeBuffer(
            observations=observe(frames),
            actions=actions,
            rewards=np.zeros(len(actions)),
            terminations=np.zeros(len(actions), bool),
            truncations=np.zeros(len(actions), bool),
        )
        for frames, actions in data
    ]

    def space(value: Any) -> gym.Space:
        if isinstance(value, dict):
            return gym.spaces.Dict({key: space(part) for key, part in value.items()})
        high = 255 if value.dtype == np.uint8 else np.inf if value.ndim == 2 else 1
        return gym.spaces.Box(-np.inf if value.ndim == 2 else 0, high, value.shape[1:], value.dtype)

    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
        dataset = minari.create_dataset_from_buffers(
            f"{folder.name}-v0",
            buffers,
            observation_space=space(observe(frames)),
            action_space=keywords.pop("action_space", gym.spaces.Box(-2, 3, (2,), np.float32)),
            **keywords,
        )
    return Path(dataset.storage.data_path).parent


def write_stable_worldmodel(folder: Path, data: Episodes, *, first: bool = False) -> Path:
    path = folder / "walk.h5"
    lengths = [len(frames) for frames, _ in data]
    with h5py.File(path, "w", libver="latest") as file:
        pixels = np.concatenate([frames for frames, _ in data])
        pixels = pixels.transpose(0, 3, 1, 2) if first else pixels
        file.create_dataset("pixels", data=pixels, chunks=(1, *pixels.shape[1:]))
        file["action"] = np.concatenate([aligned(actions) for _, actions in data])
        file["proprio"] = np.zeros((len(pixels), 4), np.float32)
        file["ep_len"] = np.array(lengths, np.int32)
        file["ep_offset"] = np.cumsum([0, *lengths[:-1]])
    return path


def write_dino_wm(folder: Path, data: Episodes, *, images: str = "pth", lengths: str = "pth") -> Path:
    """``images``: pth, mp4, or "deformable"; ``lengths``: pth or pkl."""
    longest = max(len(frames) for frames, _ in data)
    actions = torch.zeros(len(data), longest, 2)
    for i, (frames, done) in enumerate(data):
        actions[i, : len(done)] = torch.from_numpy(done)
        if images == "mp4":
            write_film(folder / f"obses/episode_{i:03d}.mp4", frames)
        else:
            path = folder / (f"{i:06d}/obses.pth" if images == "deformable" else f"obses/episode_{i:03d}.pth")
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(torch.from_numpy(frames), path)
    torch.save(actions, folder / ("rel_actions.pth" if images == "mp4" else "actions.pth"))
    rows = [len(frames) for frames, _ in data]
    if lengths == "pkl":
        (folder / "seq_lengths.pkl").write_bytes(pickle.dumps(rows))
    else:
        torch.save(torch.tensor(rows), folder / "seq_lengths.pth")
    return folder


def write_dino_wm_wall(folder: Path, data: Episodes) -> Path:
    """Episodes of one length, images of floats with their channels first."""
    (folder / "obses").mkdir()
    torch.save(torch.from_numpy(np.stack([aligned(actions) for _, actions in data])), folder / "actions.pth")
    for i, (frames, _) in enumerate(data):
        torch.save(torch.from_numpy(frames.transpose(0, 3, 1, 2)).float(), folder / f"obses/episode_{i:03d}.pth")
    return folder


def write_ogbench(folder: Path, data: Episodes, *, save: Callable[..., None] = np.savez) -> Path:
    path = folder / "visual-walk-v0.npz"
    terminals = np.concatenate([np.arange(len(frames)) == len(frames) - 1 for frames, _ in data])
    save(
        path,
        observations=np.concatenate([frames for frames, _ in data]),
        actions=np.concatenate([aligned(actions) for _, actions in data]),
        terminals=terminals.astype(np.float32),
    )
    return path


def write_lerobot(
    folder: Path, data: Episodes, *, version: str = "v3.0", films: bool = True, codec: str = "libx264"
) -> Path:
    """Tables by pyarrow, films by ffmpeg; of v3, two episodes share a file."""
    import pyarrow
    import pyarrow.parquet as parquet

    key, old = "observation.images.top", version == "v2.1"
    (folder / "meta").mkdir(parents=True)
    start = "chunk-{episode_chunk:03d}" if old else "chunk-{chunk_index:03d}"
    end = "episode_{episode_index:06d}" if old else "file-{file_index:03d}"
    info = {
        "codebase_version": version,
        "fps": FPS,
        "chunks_size": 1000,
        "total_episodes": len(data),
        "data_path": f"data/{start}/{end}.parquet",
        "video_path": f"videos/{start}/{{video_key}}/{end}.mp4" if old else f"videos/{{video_key}}/{start}/{end}.mp4",
        "features": {
            key: {
                "dtype": "video" if films else "image",
                "shape": [SIDE, SIDE, 3],
                "names": ["height", "width", "channels"],
            },
            "action": {"dtype": "float32", "shape": [2], "names": ["x", "y"]},
            "episode_index": {"dtype": "int64", "shape": [1], "names": None},
        },
    }
    (folder / "meta/info.json").write_text(json.dumps(info))
    rows: list[dict[str, Any]] = []
    groups = [[i] for i in range(len(data))] if old else [[0, 1], list(range(2, len(data)))]
    for file_index, group in enumerate(groups):
        place = {"episode_chunk": 0, "episode_index": group[0], "chunk_index": 0, "file_index": file_index}
        columns: dict[str, Any] = {
            "action": pyarrow.array(
                [row.tolist() for i in group for row in aligned(data[i][1])], pyarrow.list_(pyarrow.float32(), 2)
            ),
            "episode_index": [i for i in group for _ in data[i][0]],
        }
        if films:
            film = folder / info["video_path"].format(video_key=key, **place)
            write_film(film, np.concatenate([data[i][0] for i in group]), codec)
        else:
            columns[key] = [{"bytes": png(image), "path": "x.png"} for i in group for image in data[i][0]]
        table = folder / info["data_path"].format(**place)
        table.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(pyarrow.table(columns), table)
        shown = 0
        for i in group:
            rows.append({"episode_index": i, "tasks": ["walk"], "length": len(data[i][0])})
            if not old:
                rows[-1] |= {"data/chunk_index": 0, "data/file_index": file_index}
                rows[-1] |= {f"videos/{key}/chunk_index": 0, f"videos/{key}/file_index": file_index}
                rows[-1] |= {f"videos/{key}/from_timestamp": shown / FPS}
                shown += len(data[i][0])
                rows[-1] |= {f"videos/{key}/to_timestamp": shown / FPS}
    if old:
        (folder / "meta/episodes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        path = folder / "meta/episodes/chunk-000/file-000.parquet"
        path.parent.mkdir(parents=True)
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return folder
