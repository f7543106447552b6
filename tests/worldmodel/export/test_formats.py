"""Parts compute what the model computes, whatever the networks, the format and the batch size."""

import pytest

from exporting import assert_equal, by_onnxruntime, by_torch, save
from worldmodel.checkpoint import load_pretrained
from worldmodel.encoders import ENCODERS
from worldmodel.export.formats import to_onnx, to_program
from worldmodel.export.parts import parts_of


@pytest.mark.parametrize("checkpoint", ["two-rooms", "pendulum"])
def test_programs_of_torch_are_equal_for_any_batch(checkpoint):
    pretrained = load_pretrained(checkpoint)
    for name, part in parts_of(pretrained).items():
        assert_equal(pretrained, name, part, by_torch(to_program(part)))


@pytest.mark.parametrize("encoder", sorted({*ENCODERS} - {"strided"}))
def test_every_other_encoder_becomes_onnx(encoder, tmp_path):
    pretrained = load_pretrained(save(tmp_path / "tiny", encoder=encoder, acts=False))
    part = parts_of(pretrained)["encoder"]
    assert_equal(pretrained, "encoder", part, by_onnxruntime(to_onnx(part), part))


def test_the_gru_becomes_onnx_and_states_may_be_longer(tmp_path):
    pretrained = load_pretrained(save(tmp_path / "tiny", predictor="gru", context=3, frame_skip=2))
    for name in ("state", "predictor"):
        part = parts_of(pretrained)[name]
        assert_equal(pretrained, name, part, by_onnxruntime(to_onnx(part), part))


@pytest.mark.parametrize("convert", [to_onnx, to_program])
def test_files_tell_nothing_of_the_machine(convert, tmp_path):
    part = parts_of(load_pretrained(save(tmp_path / "tiny")))["actor"]
    assert b".py" not in convert(part)


def test_a_part_holds_no_more_than_it_needs_and_leaves_the_model_whole(tmp_path):
    pretrained = load_pretrained(save(tmp_path / "tiny"))
    parts = parts_of(pretrained)
    held = {name: " ".join(dict(part.module.named_parameters())) for name, part in parts.items()}
    for name, needs, others in (
        ("encoder", "encoder", "predictor"),
        ("predictor", "predictor", "encoder"),
        ("actor", "actor", "critics"),
        ("critic", "critics", "actor"),
    ):
        assert f"owner.{needs}." in held[name]
        assert f"owner.{others}." not in held[name]
    assert None not in (pretrained.model.predictor, pretrained.model.looks, pretrained.actor_critic.critics)
