"""Formats of exported parts: each is traced once with any batch size, and written in one of them."""

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from worldmodel.export.parts import Part

BATCH = "batch"
"""Name of the first dimension of each input and output, which may have any size."""
MAX_BATCH = 2**31 - 1
"""Largest batch; torch 2.6 takes one without a limit for its own mark of no limit."""
OPSET = 18
"""Version of ONNX's operators; that which torch writes without conversion."""


@dataclass(frozen=True)
class Format:
    """A format of files.

    Attributes:
        convert: The bytes of the file of a part.
        suffix: How the names of its files end.
        needs: Packages that it takes, beside torch.
    """

    convert: Callable[[Part], bytes]
    suffix: str
    needs: tuple[str, ...] = ()


def to_onnx(part: Part) -> bytes:
    """An ONNX model, with the names of the part's inputs and output."""
    inputs, outputs = [port.name for port in part.inputs], [part.output.name]
    with _quiet():
        program = torch.onnx.export(
            trace(part), input_names=inputs, output_names=outputs, opset_version=OPSET, dynamo=True, verbose=False
        )
    assert program is not None
    model = program.model_proto
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = BATCH
    model.graph.ClearField("value_info")  # the exporter's own names of that dimension
    for node in model.graph.node:
        node.ClearField("metadata_props")  # of the exporter's own, longer than the operators
    return model.SerializeToString()


def to_program(part: Part) -> bytes:
    """A program that ``torch.export.load`` reads; its inputs are given in order."""
    buffer = io.BytesIO()
    with _quiet():
        torch.export.save(trace(part), buffer)
    return buffer.getvalue()


def trace(part: Part) -> torch.export.ExportedProgram:
    """The operations of a part, for batches of any size."""
    examples = tuple(torch.zeros(2, *port.shape, dtype=port.dtype) for port in part.inputs)  # 1 would be a constant
    any_batch = {"inputs": tuple({0: torch.export.Dim(BATCH, max=MAX_BATCH)} for _ in examples)}
    with torch.no_grad():
        program = torch.export.export(part.module, examples, dynamic_shapes=any_batch, strict=False)
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)  # where in whose files it was traced
    return program


FORMATS = {
    "onnx": Format(to_onnx, ".onnx", ("onnx", "onnxscript")),
    "torch-export": Format(to_program, ".pt2"),
}
"""Formats by name."""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps what torch says of its own insides from people who can do nothing about it."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
