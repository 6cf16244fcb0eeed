#!/usr/bin/env python3
"""Writes the backend node tests of ONNX as vector files (docs/conformance.md).

    python3 tests/conformance/convert.py onnx/backend/test/data/node vectors [OPERATOR...]

Every folder with a model.onnx of one node and its test_data_set_*/*.pb becomes a text file; without operators, all those
that the runner knows. Needs nothing but Python: the few messages of ONNX's protocol are read here.
"""

import pathlib
import struct
import sys

OPERATORS = {"Attention", "CausalConvWithState", "LayerNormalization", "LinearAttention", "RMSNormalization", "RotaryEmbedding"}

# TensorProto.DataType: our name, struct's letter; bfloat16 is the upper half of a float
TYPES = {1: ("f32", "f"), 2: ("u8", "B"), 3: ("i8", "b"), 4: ("u16", "H"), 5: ("i16", "h"), 6: ("i32", "i"), 7: ("i64", "q"),
         9: ("bool", "?"), 10: ("f16", "e"), 11: ("f64", "d"), 12: ("u32", "I"), 13: ("u64", "Q"), 16: ("bf16", "H")}


class NotConverted(Exception):
    """Says why a folder is left out."""


def varint(data, at):
    value, shift = 0, 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def signed(value):
    return value - (1 << 64) if value >> 63 else value


def fields(data):
    """Yields (number, value) of a message: integers as they are, everything else as bytes."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        wire = key & 7
        if wire == 0:
            value, at = varint(data, at)
        elif wire == 1:
            value, at = data[at:at + 8], at + 8
        elif wire == 2:
            size, at = varint(data, at)
            value, at = data[at:at + size], at + size
        elif wire == 5:
            value, at = data[at:at + 4], at + 4
        else:
            raise NotConverted(f"wire type {wire}")
        yield key >> 3, value


def integers(value):
    """A repeated integer: packed, or one of its elements."""
    if isinstance(value, int):
        return [signed(value)]
    values, at = [], 0
    while at < len(value):
        number, at = varint(value, at)
        values.append(signed(number))
    return values


def read_tensor(data):
    """TensorProto: (name, type, dims, values)"""
    name, code, dims, raw, numbers = "", 0, [], None, []
    for number, value in fields(data):
        if number == 1:
            dims += integers(value)
        elif number == 2:
            code = value
        elif number == 8:
            name = value.decode()
        elif number == 9:
            raw = value
        elif number in (4, 10):  # float_data, double_data
            letter, size = ("f", 4) if number == 4 else ("d", 8)
            numbers += struct.unpack(f"<{len(value) // size}{letter}", value)
        elif number in (5, 7, 11):  # int32_data, int64_data, uint64_data
            numbers += integers(value)
    if code not in TYPES:
        raise NotConverted(f"tensor '{name}' of data type {code}")
    kind, letter = TYPES[code]
    if raw is not None:
        numbers = list(struct.unpack(f"<{len(raw) // struct.calcsize(letter)}{letter}", raw))
    elif kind == "f16":  # int32_data holds the bits
        numbers = [struct.unpack("<e", struct.pack("<H", bits))[0] for bits in numbers]
    if kind == "bf16":
        numbers = [struct.unpack("<f", struct.pack("<I", bits << 16))[0] for bits in numbers]
    return name, kind, dims, numbers


def read_attribute(data):
    """AttributeProto: (name, text)"""
    name, texts = "", {}
    for number, value in fields(data):
        if number == 1:
            name = value.decode()
        elif number == 2:
            texts["f"] = "%.9g" % struct.unpack("<f", value)[0]
        elif number == 3:
            texts["i"] = str(signed(value))
        elif number == 4:
            texts["s"] = value.decode()
        elif number == 20:
            texts["kind"] = {1: "f", 2: "i", 3: "s"}.get(value)
    kind = texts.pop("kind", None) or next(iter(texts), None)
    if kind is None:
        raise NotConverted(f"attribute '{name}' is neither a number nor a word")
    return name, texts.get(kind, "0")  # zero is not written


def read_model(data):
    """ModelProto of one node: (operator, opset, its inputs, its outputs, attributes, the graph's inputs and outputs)"""
    opset, graph = 0, b""
    for number, value in fields(data):
        if number == 7:
            graph = value
        elif number == 8:
            set_ = dict(fields(value))
            if not set_.get(1):  # the default domain
                opset = set_.get(2, 0)
    nodes = [value for number, value in fields(graph) if number == 1]
    if len(nodes) != 1:
        raise NotConverted(f"{len(nodes)} nodes")
    node = list(fields(nodes[0]))
    names = [[value.decode() for number, value in node if number == which] for which in (1, 2)]
    operator = next(value.decode() for number, value in node if number == 4)
    attributes = [read_attribute(value) for number, value in node if number == 5]
    infos = [[dict(fields(value))[1].decode() for number, value in fields(graph) if number == which] for which in (11, 12)]
    return operator, opset, names[0], names[1], attributes, infos


def text_of(kind, value):
    if kind == "f64":
        return "%.17g" % value
    return "%.9g" % value if kind.startswith(("f", "b")) and kind != "bool" else str(int(value))


def tensor_lines(word, file, name):
    own_name, kind, dims, values = read_tensor(file.read_bytes())
    header = [word, own_name or name, kind, str(len(dims)), *map(str, dims)]
    return [" ".join(header), " ".join(text_of(kind, value) for value in values)]


def in_order(folder, pattern):
    return sorted(folder.glob(pattern), key=lambda file: int(file.stem.split("_")[-1]))


def convert(folder, operators):
    """Yields (name, lines) for every data set of a folder."""
    operator, opset, inputs, outputs, attributes, infos = read_model((folder / "model.onnx").read_bytes())
    if operator not in operators:
        raise NotConverted(operator)
    for number, data in enumerate(in_order(folder, "test_data_set_*")):
        name = folder.name if number == 0 else f"{folder.name}_{number}"
        lines = [f"test {name}", f"op {operator}", f"opset {opset}"]
        lines.append(" ".join(["node_inputs", *(given or "_" for given in inputs)]))
        lines.append(" ".join(["node_outputs", *(given or "_" for given in outputs)]))
        lines += [f"attr {key} {text}" for key, text in sorted(attributes)]
        for word, names in zip(("input", "output"), infos):
            for name_, file in zip(names, in_order(data, f"{word}_*.pb")):
                lines += tensor_lines(word, file, name_)
        yield name, lines


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    source, target = map(pathlib.Path, sys.argv[1:3])
    operators = set(sys.argv[3:]) or OPERATORS
    target.mkdir(parents=True, exist_ok=True)
    written = 0
    for model in sorted(source.glob("*/model.onnx")):
        try:
            for name, lines in convert(model.parent, operators):
                (target / f"{name}.txt").write_text("\n".join(lines) + "\n")
                written += 1
        except NotConverted as reason:
            if len(sys.argv) > 3:
                print(f"{model.parent.name}: left out: {reason}", file=sys.stderr)
    print(f"{written} vector files in {target}")


if __name__ == "__main__":
    main()
