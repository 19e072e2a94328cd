"""C99 source of an integer model: header, source, an example and a Makefile. The same model gives the same text."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mmkd.deploy.c import kernels
from mmkd.deploy.c.example import MAKEFILE, main_source
from mmkd.deploy.c.plan import Place, plan
from mmkd.deploy.c.text import comment, float_text, string, table
from mmkd.deploy.integer import (
    FloatInput,
    IntegerAdd,
    IntegerAffine,
    IntegerConcat,
    IntegerConv,
    IntegerInput,
    IntegerLayer,
    IntegerMean,
    IntegerModel,
)

FILES = ("student.h", "student.c", "main.c", "Makefile")


@dataclass(frozen=True)
class Source:
    """The source of a student.

    Attributes:
        files: name -> text.
        arena: bytes of memory for its maps.
        weights: bytes of its constants, without labels and the few numbers of each layer.
    """

    files: Mapping[str, str]
    arena: int
    weights: int


@dataclass
class _Body:
    """What has been written of `student.c`."""

    tables: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    weights: int = 0

    def table(self, kind: str, name: str, values: Iterable[object], size: int) -> str:
        """Add a constant array of numbers of `size` bytes; returns its name."""
        listed = list(values)
        self.tables.append(table(kind, name, listed))
        self.weights += size * len(listed)
        return name

    def layer(self, kind: str, name: str, **numbers: object) -> None:
        """Add the numbers of a layer."""
        lines = [f"    .{key} = {value}," for key, value in numbers.items()]
        self.tables.append("\n".join([f"static const {kind} {name} = {{", *lines, "};", ""]))


def write_source(model: IntegerModel, labels: Sequence[str], facts: Sequence[str], channels: Sequence[str]) -> Source:
    """The source of a model.

    Args:
        labels: names of the classes, in the order of the logits.
        facts: lines that stand in a comment at the top of each file.
        channels: names of the channels of a raw window, with their units where those are known.
    """
    places, arena = plan(model)
    body = _Body()
    for number, layer in enumerate(model.layers):
        _write_layer(body, f"layer{number}", layer, model, places)
    head = "\n".join(["/*", *(f" * {comment(line)}" for line in facts), " */", ""])
    files = {
        "student.h": head + _header(model, labels, arena, body.weights, channels),
        "student.c": head + _source(body, labels, model.floats),
        "main.c": head + main_source(model.floats),
        "Makefile": MAKEFILE,
    }
    return Source(files, arena, body.weights)


def _at(place: Place) -> str:
    return f"arena + {place.offset}" if place.offset else "arena"


def _write_layer(body: _Body, name: str, layer: IntegerLayer, model: IntegerModel, places: Mapping[str, Place]) -> None:
    """Add the tables of a layer, and its call."""
    channels, length = model.shapes[layer.output]
    sources = [_at(places[each]) for each in layer.inputs]
    if isinstance(layer, IntegerConcat):
        return  # its parts are where it is
    if isinstance(layer, IntegerConv):
        _write_convolution(body, name, layer, model, places)
        target = "0, logits" if layer.logits else f"{_at(places[layer.output])}, 0"
        body.calls.append(f"convolve(&{name}, {sources[0]}, {target});")
        return
    out = places[layer.output]
    if isinstance(layer, FloatInput | IntegerInput):
        _write_input(body, name, layer, length)
        body.calls.append(f"standardise(&{name}, window, {_at(out)});")
    elif isinstance(layer, IntegerAffine):
        body.used.add("affine")
        body.layer(
            "affine",
            name,
            multiplier=body.table("int32_t", f"{name}_multiplier", layer.multiplier, 4),
            bias=body.table("int32_t", f"{name}_bias", layer.bias, 4),
            channels=channels,
            length=length,
            out_row=out.row,
            shift=layer.shift,
            lowest=layer.lowest,
        )
        body.calls.append(f"scale(&{name}, {sources[0]}, {_at(out)});")
    elif isinstance(layer, IntegerAdd):
        body.used.add("addition")
        body.layer(
            "addition",
            name,
            first=layer.multipliers[0],
            second=layer.multipliers[1],
            bias=layer.bias,
            channels=channels,
            length=length,
            out_row=out.row,
            shift=layer.shift,
            lowest=layer.lowest,
        )
        body.calls.append(f"add(&{name}, {sources[0]}, {sources[1]}, {_at(out)});")
    else:
        _write_mean(body, name, layer, channels, length, out.row)
        body.calls.append(f"mean(&{name}, {sources[0]}, {_at(out)});")


def _write_convolution(
    body: _Body, name: str, layer: IntegerConv, model: IntegerModel, places: Mapping[str, Place]
) -> None:
    in_channels, in_length = model.shapes[layer.inputs[0]]
    out_channels, out_length = model.shapes[layer.output]
    body.layer(
        "convolution",
        name,
        weight=body.table("int8_t", f"{name}_weight", layer.weight.transpose(0, 2, 1).ravel(), 1),
        bias=body.table("int32_t", f"{name}_bias", layer.bias, 4),
        multiplier=body.table("int32_t", f"{name}_multiplier", layer.multiplier, 4),
        in_channels=in_channels,
        in_length=in_length,
        out_channels=out_channels,
        out_length=out_length,
        out_row=out_channels if layer.logits else places[layer.output].row,
        taps=layer.weight.shape[2],
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        group_in=layer.weight.shape[1],
        group_out=out_channels // layer.groups,
        shift=layer.shift,
        zero_in=layer.zero_in,
        zero_out=layer.zero_out,
        lowest=layer.lowest,
    )


def _write_input(body: _Body, name: str, layer: FloatInput | IntegerInput, length: int) -> None:
    numbers: dict[str, object] = {"channel": body.table("uint16_t", f"{name}_channel", layer.channels, 2)}
    if isinstance(layer, FloatInput):
        numbers["centre"] = body.table("float", f"{name}_centre", map(float_text, layer.centre), 4)
        numbers["factor"] = body.table("float", f"{name}_factor", map(float_text, layer.factor), 4)
    else:
        numbers["centre"] = body.table("int32_t", f"{name}_centre", layer.centre, 4)
        numbers["multiplier"] = body.table("int32_t", f"{name}_multiplier", layer.multiplier, 4)
        numbers["shift"] = layer.shift
    body.layer("view", name, **numbers, channels=len(layer.channels), length=length, zero=layer.zero)


def _write_mean(body: _Body, name: str, layer: IntegerMean, channels: int, length: int, row: int) -> None:
    body.used.add("average")
    body.layer(
        "average",
        name,
        channels=channels,
        out_length=length,
        out_row=row,
        samples=layer.length,
        step=layer.step,
        multiplier=layer.multiplier,
        shift=layer.shift,
        zero_in=layer.zero_in,
        zero_out=layer.zero_out,
    )


def _source(body: _Body, labels: Sequence[str], floats: bool) -> str:
    used = body.used
    parts = [
        kernels.SHIFT_DOWN if used & {"affine", "addition"} else "",
        kernels.CUT,
        kernels.REQUANTISE,
        kernels.FLOAT_INPUT if floats else kernels.INTEGER_INPUT,
        kernels.CONVOLUTION,
        kernels.AFFINE if "affine" in used else "",
        kernels.ADDITION if "addition" in used else "",
        kernels.AVERAGE if "average" in used else "",
        *body.tables,
    ]
    names = [f"    {string(label)}," for label in labels]
    calls = [f"    {line}" for line in body.calls]
    return "\n".join(
        [
            '#include "student.h"',
            "",
            *(part for part in parts if part),
            "const char *const student_labels[STUDENT_CLASSES] = {",
            *names,
            "};",
            "",
            "static int8_t arena[STUDENT_ARENA_BYTES];",
            "",
            "int student_classify(const student_sample *window, int32_t *logits)",
            "{",
            "    int32_t k;",
            "    int best = 0;",
            *calls,
            "    for (k = 1; k < STUDENT_CLASSES; k++) {",
            "        if (logits[k] > logits[best]) {",
            "            best = (int)k;",
            "        }",
            "    }",
            "    return best;",
            "}",
            "",
        ]
    )


def _header(model: IntegerModel, labels: Sequence[str], arena: int, weights: int, channels: Sequence[str]) -> str:
    lines = ["channels of a window:"]
    for number, (text, unit) in enumerate(zip(channels, model.units, strict=True)):
        scale = "" if model.floats else f"; a count is {np.format_float_positional(unit)} of its unit"
        lines.append(f"  {number}: {text}{scale}")
    lines += ["classes:", *(f"  {number}: {label}" for number, label in enumerate(labels))]
    return "\n".join(
        [
            "#ifndef MMKD_STUDENT_H",
            "#define MMKD_STUDENT_H",
            "",
            "#include <stdint.h>",
            "",
            "#ifdef __cplusplus",
            'extern "C" {',
            "#endif",
            "",
            f"#define STUDENT_CHANNELS {model.channels}",
            f"#define STUDENT_WINDOW {model.window}",
            f"#define STUDENT_CLASSES {len(labels)}",
            f"#define STUDENT_ARENA_BYTES {arena}",
            f"#define STUDENT_WEIGHT_BYTES {weights}",
            "#define STUDENT_LOGIT_ONE 1024",
            "",
            "/*",
            *(f" * {comment(line)}" for line in lines),
            " */",
            f"typedef {'float' if model.floats else 'int16_t'} student_sample;",
            "",
            "extern const char *const student_labels[STUDENT_CLASSES];",
            "",
            "/*",
            " * The class of a raw window: STUDENT_WINDOW samples of the first channel, then those of the next one.",
            " * logits: STUDENT_CLASSES numbers that are written, in units of 1 / STUDENT_LOGIT_ONE.",
            " * Returns the number of the class with the largest logit, the first one of equal ones.",
            " * Its memory is static: one call at a time.",
            " */",
            "int student_classify(const student_sample *window, int32_t *logits);",
            "",
            "#ifdef __cplusplus",
            "}",
            "#endif",
            "",
            "#endif",
            "",
        ]
    )
