"""Pretraining: collect data, make training windows, train world models."""

from pretrain.collection.collect import CollectConfig, collect
from pretrain.config import PretrainConfig
from pretrain.presets import PRESETS, preset
from pretrain.train import fit

__all__ = ["PRESETS", "CollectConfig", "PretrainConfig", "collect", "fit", "preset"]
