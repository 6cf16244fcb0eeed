#!/usr/bin/env python3
"""Writes the golden files: every variant of heed as plain PyTorch, its outputs and all its gradients.

    python3 tests/golden/generate.py [case ...]          Debian's python3-torch, nothing else

A model is a stack of pre-norm blocks on packed rows x [T x D], every sequence by itself:

    x += mixer(rms_norm(x))
    x += (silu(y w_gate) * (y w_up)) w_down,   y = rms_norm(x)

It runs twice from the same float32 weights: in float64, which is the reference, and in float32, which says how far plain
single precision is from it. Gradients are those of dot(output, d_output). README.md describes the files.

The letters are those of docs/shapes.md: T rows, D width, H query heads, G kv heads, E head width, E_v value width, N state width, L layers.
Nothing here is fast or shared with the library: formulas as they are printed, loops over heads and positions.
"""

import json
import math
import pathlib
import random
import struct
import sys
from dataclasses import dataclass, field

import torch
from torch.nn.functional import silu, softplus

EPSILON = 1e-5  # of every norm
THETA = 10000.0  # of the rotation

D, H, E, F, N = 14, 4, 6, 11, 5
TAPS = 4  # of the short convolution
RANK = 3  # of the steps of mamba
GROUPS = 2  # of b and c, in mamba and in mamba2_grouped
DT_LIMITS = (0.15, 0.7)  # of mamba2_grouped
SEQUENCES = [7, 1, 12]


# ---------------------------------------------------------------------------------------------------------- the cases


@dataclass
class Mixer:
    kind: str
    heads: int = H  # query heads that are its own
    first: "Mixer" = None  # of side_by_side: the two that stand side by side, the heads of `first` come first
    second: "Mixer" = None

    def text(self):
        return f"side_by_side({self.first.text()} {self.second.text()})" if self.kind == "side_by_side" else self.kind


@dataclass
class Case:
    layers: list
    kv_heads: int = 2
    value_width: int = E
    mask: str = "causal"  # causal, bidirectional, or "window w": w visible keys, the row itself among them
    coefficients: tuple = (0.5, 0.5)  # of residual_value: of the first values, of the layer's own
    name: str = field(default="", init=False)

    @property
    def group(self):
        return H // self.kv_heads


STANDARD = Mixer("standard")
RESIDUAL = Mixer("residual_value")
LEARNED = Mixer("residual_value_learned")
SHARED = Mixer("shared_value")
REUSE = Mixer("score_reuse")
MAMBA = Mixer("mamba")
MAMBA2 = Mixer("mamba2")


def halves(first, second):
    return Mixer("side_by_side", first=Mixer(first, H // 2), second=Mixer(second, H // 2))


CASES = {
    "standard_mha": Case([STANDARD] * 2, kv_heads=4),
    "standard_gqa": Case([STANDARD] * 2),
    "standard_mqa": Case([STANDARD] * 2, kv_heads=1),
    "standard_window": Case([STANDARD] * 2, mask="window 4"),
    "value_width": Case([STANDARD, LEARNED, SHARED, halves("standard", "mamba2")], value_width=5),
    "standard_bidirectional": Case([STANDARD] * 2, mask="bidirectional"),
    "residual_value": Case([STANDARD, RESIDUAL, RESIDUAL]),
    "residual_value_learned": Case([STANDARD, LEARNED, LEARNED]),
    "shared_value": Case([STANDARD, SHARED, SHARED]),
    "score_reuse": Case([STANDARD, REUSE, STANDARD]),
    "score_reuse_chain": Case([STANDARD, REUSE, REUSE]),
    "score_reuse_partial": Case([STANDARD, halves("standard", "score_reuse"), halves("standard", "score_reuse")]),
    "mamba": Case([MAMBA, halves("standard", "mamba")]),
    "mamba2": Case([MAMBA2] * 2),
    "mamba2_grouped": Case([Mixer("mamba2_grouped")] * 2),
    "recurrent_heads": Case([halves("standard", "mamba2")] * 2),
    "all_five": Case([STANDARD, LEARNED, SHARED, REUSE, halves("standard", "mamba2")]),
}
for key, value in CASES.items():
    value.name = key


# -------------------------------------------------------------------------------------------------------- the weights


def normal(deviation, mean=0.0):
    return lambda source: source.gauss(mean, deviation)


def uniform(low, high):
    return lambda source: source.uniform(low, high)


def mixer_tensors(case, mixer, prefix):
    """Yields (name, rows, cols, draw)."""
    if mixer.kind == "side_by_side":
        yield from mixer_tensors(case, mixer.first, prefix + "first.")
        yield from mixer_tensors(case, mixer.second, prefix + "second.")
        return
    rows = normal(1 / math.sqrt(D))
    width = mixer.heads * case.value_width  # of what comes out of the heads
    if mixer.kind == "mamba":
        yield prefix + "w_z", D, width, rows
        yield prefix + "w_x", D, width, rows
        yield prefix + "conv", TAPS, width, normal(0.5)
        yield prefix + "conv_bias", 1, width, normal(0.2)
        for projection, size in (("w_low", RANK), ("w_b", GROUPS * N), ("w_c", GROUPS * N)):
            yield prefix + projection, width, size, normal(2 / math.sqrt(width))  # of small numbers, behind a silu
        yield prefix + "w_dt", RANK, width, normal(1 / math.sqrt(RANK))
        yield prefix + "dt_bias", 1, width, normal(0.5, -1.0)
        yield prefix + "a_log", N, width, uniform(math.log(0.5), math.log(4))
        yield prefix + "d", 1, width, normal(0.2, 1.0)
    elif mixer.kind in ("mamba2", "mamba2_grouped"):
        grouped = mixer.kind == "mamba2_grouped"
        state = GROUPS * N if grouped else N
        yield prefix + "w_z", D, width, rows
        yield prefix + "w_x", D, width, rows
        yield prefix + "w_b", D, state, rows
        yield prefix + "w_c", D, state, rows
        yield prefix + "w_dt", D, mixer.heads, rows
        for channels, size in (("x", width), ("b", state), ("c", state)):
            yield prefix + "conv_" + channels, TAPS, size, normal(0.5)
            yield prefix + "conv_" + channels + "_bias", 1, size, normal(0.2)
        yield prefix + "dt_bias", 1, mixer.heads, normal(0.5, -1.0)  # steps around softplus(-1) = 0.3
        yield prefix + "a_log", 1, mixer.heads, uniform(math.log(0.5), math.log(4))
        yield prefix + "d", 1, width if grouped else mixer.heads, normal(0.2, 1.0)
        yield prefix + "norm", 1, width, normal(0.2, 1.0)
    else:
        kv_heads = mixer.heads // case.group
        if mixer.kind != "score_reuse":
            yield prefix + "w_q", D, mixer.heads * E, normal(1.5 / math.sqrt(D))
            yield prefix + "w_k", D, kv_heads * E, normal(1.5 / math.sqrt(D))
        if mixer.kind != "shared_value":
            yield prefix + "w_v", D, kv_heads * case.value_width, rows
        if mixer.kind == "residual_value_learned":
            yield prefix + "from_first", 1, 1, normal(0.2, 0.5)
            yield prefix + "from_own", 1, 1, normal(0.2, 0.5)
    yield prefix + "w_o", width, D, normal(0.7 / math.sqrt(width))


def tensors(case):
    for layer, mixer in enumerate(case.layers):
        prefix = f"layers.{layer}."
        yield prefix + "norm.weight", 1, D, normal(0.2, 1.0)
        yield from mixer_tensors(case, mixer, prefix + "mixer.")
        yield prefix + "feed_forward_norm.weight", 1, D, normal(0.2, 1.0)
        yield prefix + "feed_forward.w_gate", D, F, normal(1 / math.sqrt(D))
        yield prefix + "feed_forward.w_up", D, F, normal(1 / math.sqrt(D))
        yield prefix + "feed_forward.w_down", F, D, normal(0.7 / math.sqrt(F))


def drawn(name, rows, cols, draw):
    """Float32 numbers that depend on the name alone, whatever the versions of Python and PyTorch."""
    source = random.Random("heed golden " + name)
    return torch.tensor([[draw(source) for _ in range(cols)] for _ in range(rows)], dtype=torch.float64).float()


# ------------------------------------------------------------------------------------------------------ the reference


def rms_norm(x, weight):
    return x * torch.rsqrt((x * x).mean(dim=-1, keepdim=True) + EPSILON) * weight


def rotate(x):
    """Half-split pairs (i, i + E/2) turned by position * theta^(-2i/E)."""
    half = x.shape[1] // 2
    frequency = THETA ** (-torch.arange(half, dtype=x.dtype) / half)
    angle = torch.arange(x.shape[0], dtype=x.dtype)[:, None] * frequency  # [T x E/2]
    a, b = x[:, :half], x[:, half:]
    return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], dim=1)


def hidden_keys(mask, rows):
    i, j = torch.arange(rows)[:, None], torch.arange(rows)[None, :]
    if mask == "bidirectional":
        return torch.zeros(rows, rows, dtype=torch.bool)
    if mask == "causal":
        return j > i
    return (j > i) | (j <= i - int(mask.removeprefix("window ")))


def heads_of(x, width):
    return list(x.split(width, dim=1))


def attention(case, mixer, w, x, below):
    """softmax(mask(q k^T / sqrt(E))) v w_o, with the probabilities or the values of lower layers where the kind says so."""
    rows = x.shape[0]
    if mixer.kind == "score_reuse":
        scores = next(signals["scores"] for signals in reversed(below) if "scores" in signals)[: mixer.heads]
    else:
        q = [rotate(head) for head in heads_of(x @ w["w_q"], E)]  # H x [T x E]
        k = [rotate(head) for head in heads_of(x @ w["w_k"], E)]  # G x [T x E]
        hidden = hidden_keys(case.mask, rows)
        scores = [
            torch.softmax((q[h] @ k[h // case.group].T / math.sqrt(E)).masked_fill(hidden, -math.inf), dim=1)
            for h in range(mixer.heads)
        ]
    first = next((signals["values"] for signals in below if "values" in signals), None)
    if mixer.kind == "shared_value":
        values = first
    else:
        values = heads_of(x @ w["w_v"], case.value_width)
        if mixer.kind == "residual_value":
            values = [case.coefficients[0] * a + case.coefficients[1] * b for a, b in zip(first, values)]
        elif mixer.kind == "residual_value_learned":
            values = [w["from_first"] * a + w["from_own"] * b for a, b in zip(first, values)]
    mixed = [scores[h] @ values[h // case.group] for h in range(mixer.heads)]
    return torch.cat(mixed, dim=1) @ w["w_o"], {"scores": scores, "values": values}


def short_conv(x, taps, bias):
    """silu(bias + sum_j taps[j] x_{t-3+j}), with zeros before the first row."""
    padded = torch.cat([x.new_zeros(TAPS - 1, x.shape[1]), x])
    return silu(sum(taps[j] * padded[j : j + x.shape[0]] for j in range(TAPS)) + bias)


def mamba(case, mixer, w, x):
    """h_tn = exp(dt_t a_n) h_{t-1,n} + dt_t u_t b_tn,   y_t = sum_n c_tn h_tn + d u_t,   out = (y * silu(z)) w_o."""
    u = short_conv(x @ w["w_x"], w["conv"], w["conv_bias"])  # [T x C]
    dt = softplus(u @ w["w_low"] @ w["w_dt"] + w["dt_bias"])  # [T x C]
    a = -torch.exp(w["a_log"])  # [N x C]
    of_group = u.shape[1] // GROUPS  # channels that read the same b and c

    def by_channel(projection):
        return (u @ projection).reshape(-1, GROUPS, N).repeat_interleave(of_group, dim=1).transpose(1, 2)  # [T x N x C]

    b, c = by_channel(w["w_b"]), by_channel(w["w_c"])
    state = torch.zeros_like(a)
    rows = []
    for t in range(x.shape[0]):
        state = torch.exp(dt[t] * a) * state + dt[t] * u[t] * b[t]
        rows.append((c[t] * state).sum(dim=0) + w["d"][0] * u[t])
    return (torch.stack(rows) * silu(x @ w["w_z"])) @ w["w_o"], {}


def mamba2(case, mixer, w, x):
    """S_t = exp(dt_t A) S_{t-1} + dt_t B_t x_t^T,   y_t = S_t^T C_t + d x_t,   out = rms_norm(y * silu(z)) w_o.

    mamba2_grouped: B and C in groups of heads, a norm for each group with the gate behind it, limits of dt, a d for every
    channel."""
    grouped = mixer.kind == "mamba2_grouped"
    groups = GROUPS if grouped else 1
    inner = short_conv(x @ w["w_x"], w["conv_x"], w["conv_x_bias"])  # [T x H E_v]
    b = short_conv(x @ w["w_b"], w["conv_b"], w["conv_b_bias"])  # [T x groups N]
    c = short_conv(x @ w["w_c"], w["conv_c"], w["conv_c_bias"])  # [T x groups N]
    dt = softplus(x @ w["w_dt"] + w["dt_bias"])  # [T x H]
    if grouped:
        dt = dt.clamp(*DT_LIMITS)
    a = -torch.exp(w["a_log"])  # [1 x H]
    heads = []
    for h, head in enumerate(heads_of(inner, case.value_width)):
        group = slice(h * groups // mixer.heads * N, (h * groups // mixer.heads + 1) * N)
        d = w["d"][0, h * case.value_width : (h + 1) * case.value_width] if grouped else w["d"][0, h]
        state = x.new_zeros(N, case.value_width)
        rows = []
        for t in range(x.shape[0]):
            state = torch.exp(dt[t, h] * a[0, h]) * state + dt[t, h] * torch.outer(b[t, group], head[t])
            rows.append(c[t, group] @ state + d * head[t])
        heads.append(torch.stack(rows))
    y, gate = torch.cat(heads, dim=1), silu(x @ w["w_z"])
    if not grouped:
        return rms_norm(y * gate, w["norm"]) @ w["w_o"], {}
    normed = [rms_norm(*pair) for pair in zip(y.chunk(groups, dim=1), w["norm"].chunk(groups, dim=1))]
    return (torch.cat(normed, dim=1) * gate) @ w["w_o"], {}


def part(weights, prefix):
    return {name[len(prefix) :]: tensor for name, tensor in weights.items() if name.startswith(prefix)}


def mix(case, mixer, w, x, below):
    if mixer.kind == "side_by_side":
        y_first, first = mix(case, mixer.first, part(w, "first."), x, below)
        y_second, second = mix(case, mixer.second, part(w, "second."), x, below)
        both = {key: first.get(key, []) + second.get(key, []) for key in {**first, **second}}
        return y_first + y_second, both
    recurrence = {"mamba": mamba, "mamba2": mamba2, "mamba2_grouped": mamba2}.get(mixer.kind)
    return recurrence(case, mixer, w, x) if recurrence else attention(case, mixer, w, x, below)


def forward(case, weights, x):
    below = []  # what the lower layers publish: probabilities by query head, values by kv head
    for layer, mixer in enumerate(case.layers):
        w = part(weights, f"layers.{layer}.")
        mixed, signals = mix(case, mixer, part(w, "mixer."), rms_norm(x, w["norm.weight"]), below)
        x = x + mixed
        y = rms_norm(x, w["feed_forward_norm.weight"])
        x = x + (silu(y @ w["feed_forward.w_gate"]) * (y @ w["feed_forward.w_up"])) @ w["feed_forward.w_down"]
        below.append(signals)
    return x


def results(case, weights, x, d_output, dtype):
    """output and grad.<name> of every weight and of x, computed in dtype."""
    leaves = {name: tensor.to(dtype).requires_grad_() for name, tensor in {**weights, "x": x}.items()}
    packed = leaves["x"]
    output = torch.cat([forward(case, leaves, rows) for rows in packed.split(SEQUENCES)])
    output.backward(d_output.to(dtype))
    return {"output": output.detach(), **{"grad." + name: leaf.grad for name, leaf in leaves.items()}}


# ---------------------------------------------------------------------------------------------------------- the files


def write_safetensors(path, named, metadata):
    """8-byte length, JSON header, raw data; float64 before float32, so that everything is aligned."""
    header, data = {"__metadata__": metadata}, b""
    for name, tensor in sorted(named.items(), key=lambda item: (item[1].dtype != torch.float64, item[0])):
        kind, code = ("F64", "d") if tensor.dtype == torch.float64 else ("F32", "f")
        numbers = tensor.flatten().tolist()
        raw = struct.pack(f"<{len(numbers)}{code}", *numbers)
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def generate(case, folder):
    weights = {name: drawn(name, rows, cols, draw) for name, rows, cols, draw in tensors(case)}
    x = drawn("x", sum(SEQUENCES), D, normal(1.0))
    d_output = drawn("d_output", sum(SEQUENCES), D, normal(1.0))
    reference = results(case, weights, x, d_output, torch.float64)
    single = results(case, weights, x, d_output, torch.float32)
    metadata = {
        "case": case.name,
        "layers": " ".join(mixer.text() for mixer in case.layers),
        "width": str(D),
        "heads": str(H),
        "kv_heads": str(case.kv_heads),
        "head_width": str(E),
        "hidden": str(F),
        "state_width": str(N),
        "conv_taps": str(TAPS),
        "mask": case.mask,
        "coefficients": " ".join(map(str, case.coefficients)),
        "sequences": " ".join(map(str, SEQUENCES)),
    }
    if case.value_width != E:
        metadata["value_width"] = str(case.value_width)
    for name, exact in reference.items():
        error = (single[name].double() - exact).abs().max() / exact.abs().max()
        metadata["err32." + name] = f"{error.item():.3e}"
    path = folder / (case.name + ".safetensors")
    write_safetensors(path, {**weights, "x": x, "d_output": d_output, **reference}, metadata)
    worst = max((float(text), name) for name, text in metadata.items() if name.startswith("err32."))
    print(f"{path.name:38} {path.stat().st_size:7} bytes   largest err32 {worst[0]:.1e} ({worst[1][6:]})")


def main():
    torch.set_num_threads(1)
    for name in sys.argv[1:] or CASES:
        if name not in CASES:
            sys.exit(f"no case {name}; there are {', '.join(CASES)}")
        generate(CASES[name], pathlib.Path(__file__).resolve().parent)


if __name__ == "__main__":
    main()
