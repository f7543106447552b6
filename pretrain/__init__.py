"""Pretraining: collect data, make training windows, train world models."""

from pretrain.collect import CollectConfig, collect
from pretrain.presets import PRESETS, PretrainConfig, preset
from pretrain.train import fit

__all__ = ["PRESETS", "CollectConfig", "PretrainConfig", "collect", "fit", "preset"]
