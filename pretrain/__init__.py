"""Pretraining: collect data, make training windows, train world models."""

from typing import TYPE_CHECKING

from worldmodel import exports

if TYPE_CHECKING:
    from pretrain.collection.collect import CollectConfig, collect
    from pretrain.config import PretrainConfig
    from pretrain.presets import PRESETS, preset
    from pretrain.train import fit

__getattr__ = exports(
    __name__,
    {
        "collection.collect": "CollectConfig collect",
        "config": "PretrainConfig",
        "presets": "PRESETS preset",
        "train": "fit",
    },
)
