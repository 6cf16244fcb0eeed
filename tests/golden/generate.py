#!/usr/bin/env python3
"""Writes the golden files: every variant of heed as plain PyTorch, its outputs and all its gradients.

    python3 tests/golden/generate.py [case ...]          Debian's python3-torch, nothing else

A model is a stack of blocks on packed rows x [T x D], every sequence by itself. Unless a case says otherwise they are

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
from torch.nn.functional import gelu, silu, softplus

EPSILON = 1e-5  # of every norm
THETA = 10000.0  # of the rotation

D, H, E, F, N = 14, 4, 6, 11, 5
TAPS = 4  # of the short convolution
RANK = 3  # of the steps of mamba
GROUPS = 2  # of b and c, in mamba and in mamba2_grouped
DT_LIMITS = (0.15, 0.7)  # of mamba2_grouped
MEMORY = 9  # rows of the memory layer
SOFT_CAP = 1.5
NORM_EPSILON = 1e-6  # of the norms of queries and keys
YARN = {"theta": 100.0, "factor": 4.0, "original": 64, "fast": 4.0, "slow": 1.0}
# Rotary positions for longer contexts, of a first context of so many positions.
SCALING = {"factor": 4.0, "original": 8, "positions": 16, "low": 1.0, "high": 4.0}
LONG_FACTORS = [1.5, 2.0, 5.0]  # E / 2, for positions beyond `original`
SEQUENCES = [7, 1, 12]


# ---------------------------------------------------------------------------------------------------------- the cases


@dataclass
class Mixer:
    kind: str
    heads: int = H  # query heads that are its own
    first: "Mixer" = None  # of side_by_side: the two that stand side by side, the heads of `first` come first
    second: "Mixer" = None  # of in_parallel: the two that have all heads each
    index: int = 0  # of residual_value_plus: its number among the readers; of residual_value_dense: the layers below

    def text(self):
        return f"{self.kind}({self.first.text()} {self.second.text()})" if self.first else self.kind


@dataclass
class Case:
    layers: list
    kv_heads: int = 2
    value_width: int = E
    # causal; bidirectional; "window w": w visible keys, the row itself among them; "prefix p": p keys that all rows see;
    # "chunked c": only keys of the row's own c; "streaming s w": a window of w, and the first s keys
    mask: str = "causal"
    coefficients: tuple = (0.5, 0.5)  # of residual values: of the first values, of the layer's own
    # of attention, any of: biases norm_per_head norm_whole soft_cap sinks alibi rotary_part yarn linear ntk dynamic llama3
    # longrope
    options: str = ""
    form: str = "pre_norm"  # of a block; or post_norm, parallel, sandwich
    norm: str = "rms_norm"  # or layer_norm
    feed_forward: str = "swiglu"  # or relu, gelu, each with biases; geglu_tanh
    neutreno: float = 0.4  # lambda
    name: str = field(default="", init=False)

    @property
    def group(self):
        return H // self.kv_heads

    def has(self, option):
        return option in self.options.split()


# Where the scores of a kind of attention come from, and where its values.
PARTS = {
    "standard": ("computed", "projected"),
    "residual_value": ("computed", "residual"),
    "residual_value_learned": ("computed", "residual_learned"),
    "residual_value_per_head": ("computed", "residual_per_head"),
    "residual_value_plus": ("computed", "residual_plus"),
    "residual_value_dense": ("computed", "residual_dense"),
    "neutreno": ("computed", "projected"),
    "neutreno_residual_value": ("computed", "residual"),
    "standard_normed": ("computed", "projected"),
    "shared_value": ("computed", "first"),
    "shared_value_nearest": ("computed", "nearest"),
    "score_reuse": ("reused", "projected"),
    "score_reuse_residual_value": ("reused", "residual"),
    "score_reuse_shared_value": ("reused", "first"),
    "shared_key": ("shared", "projected"),
    "cross_layer": ("shared", "nearest"),
    "shared_key_value": ("shared", "first"),
    "cross_attention": ("memory", "memory"),
}

STANDARD = Mixer("standard")
RESIDUAL = Mixer("residual_value")
LEARNED = Mixer("residual_value_learned")
PER_HEAD = Mixer("residual_value_per_head")
HOLDER = Mixer("coefficient_holder")
NEUTRENO = Mixer("neutreno")
NEUTRENO_RESIDUAL = Mixer("neutreno_residual_value")
SHARED = Mixer("shared_value")
NEAREST = Mixer("shared_value_nearest")
REUSE = Mixer("score_reuse")
MAMBA = Mixer("mamba")
MAMBA2 = Mixer("mamba2")


def halves(first, second):
    return Mixer("side_by_side", first=Mixer(first, H // 2), second=Mixer(second, H // 2))


def plus(number):
    return Mixer("residual_value_plus", index=number)


def dense(below):
    return Mixer("residual_value_dense", index=below)


PARALLEL = Mixer("in_parallel", first=Mixer("standard_normed"), second=Mixer("mamba2"))

CASES = {
    "standard_mha": Case([STANDARD] * 2, kv_heads=4),
    "standard_gqa": Case([STANDARD] * 2),
    "standard_mqa": Case([STANDARD] * 2, kv_heads=1),
    "standard_window": Case([STANDARD] * 2, mask="window 4"),
    "value_width": Case([STANDARD, LEARNED, SHARED, halves("standard", "mamba2")], value_width=5),
    "standard_bidirectional": Case([STANDARD] * 2, mask="bidirectional"),
    "residual_value": Case([STANDARD, RESIDUAL, RESIDUAL]),
    "residual_value_learned": Case([STANDARD, LEARNED, LEARNED]),
    "residual_value_per_head": Case([STANDARD, PER_HEAD, PER_HEAD]),
    "residual_value_plus": Case([HOLDER, STANDARD, plus(0), plus(1)]),
    "residual_value_sparse": Case([STANDARD, STANDARD, RESIDUAL], coefficients=(5.0, 1.0)),
    "residual_value_dense": Case([STANDARD, dense(1), dense(2)]),
    "neutreno": Case([STANDARD, NEUTRENO, NEUTRENO]),
    "neutreno_residual_value": Case([STANDARD, NEUTRENO_RESIDUAL, NEUTRENO_RESIDUAL], neutreno=0.2),
    "shared_value": Case([STANDARD, SHARED, SHARED]),
    "shared_value_anchors": Case([STANDARD, NEAREST, STANDARD, NEAREST]),
    "parallel": Case([PARALLEL] * 2),
    "score_reuse": Case([STANDARD, REUSE, STANDARD]),
    "score_reuse_chain": Case([STANDARD, REUSE, REUSE]),
    "score_reuse_partial": Case([STANDARD, halves("standard", "score_reuse"), halves("standard", "score_reuse")]),
    "score_reuse_values": Case(
        [STANDARD, Mixer("score_reuse_residual_value"), halves("shared_value", "score_reuse_shared_value")]
    ),
    "cross_layer": Case([STANDARD, Mixer("cross_layer"), Mixer("cross_layer")]),
    "shared_keys": Case([STANDARD, SHARED, Mixer("shared_key_value")]),
    "biases_norm_per_head": Case([STANDARD, Mixer("shared_key")], options="biases norm_per_head"),
    "norm_whole_soft_cap": Case([STANDARD] * 2, options="norm_whole soft_cap"),
    "alibi_sinks": Case([STANDARD, REUSE], options="alibi sinks"),
    "rotary_part": Case([STANDARD] * 2, options="rotary_part"),
    "rotary_yarn": Case([STANDARD] * 2, options="yarn"),
    "mask_prefix": Case([STANDARD] * 2, mask="prefix 5"),
    "mask_chunked": Case([STANDARD] * 2, mask="chunked 4"),
    "mask_streaming": Case([STANDARD] * 2, mask="streaming 2 3"),
    "rotary_linear": Case([STANDARD] * 2, options="linear"),
    "rotary_ntk": Case([STANDARD] * 2, options="ntk"),
    "rotary_dynamic": Case([STANDARD] * 2, options="dynamic"),
    "rotary_llama3": Case([STANDARD] * 2, options="llama3"),
    "rotary_longrope": Case([STANDARD] * 2, options="longrope"),
    "block_post_norm": Case([STANDARD] * 2, form="post_norm", norm="layer_norm", feed_forward="relu"),
    "block_parallel": Case([STANDARD] * 2, form="parallel", norm="layer_norm", feed_forward="gelu"),
    "block_sandwich": Case([STANDARD] * 2, form="sandwich", feed_forward="geglu_tanh"),
    "cross_attention": Case([Mixer("memory"), STANDARD, Mixer("cross_attention")], options="biases norm_per_head soft_cap"),
    "cross_attention_sinks": Case([Mixer("memory"), STANDARD, Mixer("cross_attention")], options="sinks"),
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


def readers(case):
    return sum(mixer.kind == "residual_value_plus" for mixer in case.layers)


def mixer_tensors(case, mixer, prefix):
    """Yields (name, rows, cols, draw)."""
    if mixer.first:
        yield from mixer_tensors(case, mixer.first, prefix + "first.")
        yield from mixer_tensors(case, mixer.second, prefix + "second.")
        return
    if mixer.kind == "coefficient_holder":
        yield prefix + "logits", 1, readers(case), normal(0.5)
        yield prefix + "scale", 1, 1, normal(0.2, readers(case) + 1)
        return
    rows = normal(1 / math.sqrt(D))
    if mixer.kind == "memory":
        yield prefix + "rows", MEMORY, D, normal(1.0)
        return
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
        scores, values = PARTS[mixer.kind]
        kv_heads = mixer.heads // case.group
        projections = {
            "q": (mixer.heads * E, 1.5, scores != "reused"),
            "k": (kv_heads * E, 1.5, scores in ("computed", "memory")),
            "v": (kv_heads * case.value_width, 1.0, values not in ("first", "nearest")),
        }
        for letter, (size, gain, present) in projections.items():
            if not present:
                continue
            yield prefix + "w_" + letter, D, size, normal(gain / math.sqrt(D))
            if case.has("biases"):
                yield prefix + "b_" + letter, 1, size, normal(0.3)
            if letter != "v" and (case.has("norm_per_head") or case.has("norm_whole")):
                yield prefix + letter + "_norm", 1, E if case.has("norm_per_head") else size, normal(0.2, 1.0)
        if case.has("sinks") and scores in ("computed", "shared", "memory"):
            yield prefix + "sinks", 1, mixer.heads, normal(0.5)
        if values in ("residual_learned", "residual_per_head"):
            count = 1 if values == "residual_learned" else kv_heads
            yield prefix + "from_first", 1, count, normal(0.2, 0.5)
            yield prefix + "from_own", 1, count, normal(0.2, 0.5)
        elif values == "residual_plus":
            yield prefix + "from_own", 1, 1, normal(0.2, 0.5)
        elif values == "residual_dense":
            yield prefix + "from_layers", 1, mixer.index + 1, normal(0.2, 0.5)
        if mixer.kind == "standard_normed":
            yield prefix + "o_norm", 1, width, normal(0.2, 1.0)
        if case.has("biases"):
            yield prefix + "b_o", 1, D, normal(0.3)
    yield prefix + "w_o", width, D, normal(0.7 / math.sqrt(width))


def tensors(case):
    for layer, mixer in enumerate(case.layers):
        prefix = f"layers.{layer}."
        if mixer.kind == "coefficient_holder":  # nothing else is in its block
            yield from mixer_tensors(case, mixer, prefix + "mixer.")
            continue
        yield from norm_tensors(case, prefix + "norm")
        yield from mixer_tensors(case, mixer, prefix + "mixer.")
        if case.form == "sandwich":
            yield from norm_tensors(case, prefix + "mixer_out_norm")
        if case.form != "parallel":
            yield from norm_tensors(case, prefix + "feed_forward_norm")
        gated = case.feed_forward in ("swiglu", "geglu_tanh")
        if gated:
            yield prefix + "feed_forward.w_gate", D, F, normal(1 / math.sqrt(D))
        yield prefix + "feed_forward.w_up", D, F, normal(1 / math.sqrt(D))
        yield prefix + "feed_forward.w_down", F, D, normal(0.7 / math.sqrt(F))
        if not gated:
            yield prefix + "feed_forward.b_up", 1, F, normal(0.3)
            yield prefix + "feed_forward.b_down", 1, D, normal(0.3)
        if case.form == "sandwich":
            yield from norm_tensors(case, prefix + "feed_forward_out_norm")


def norm_tensors(case, name):
    yield name + ".weight", 1, D, normal(0.2, 1.0)
    if case.norm == "layer_norm":
        yield name + ".bias", 1, D, normal(0.2)


def drawn(name, rows, cols, draw):
    """Float32 numbers that depend on the name alone, whatever the versions of Python and PyTorch."""
    source = random.Random("heed golden " + name)
    return torch.tensor([[draw(source) for _ in range(cols)] for _ in range(rows)], dtype=torch.float64).float()


# ------------------------------------------------------------------------------------------------------ the reference


def rms_norm(x, weight, epsilon=EPSILON):
    return x * torch.rsqrt((x * x).mean(dim=-1, keepdim=True) + epsilon) * weight


def frequencies(case, pairs, dtype):
    """theta^(-2i/r) of r/2 pairs, and the magnitude. YaRN: i pairs blend from f to f / factor."""
    i = torch.arange(pairs, dtype=dtype)
    if not case.has("yarn"):
        return scaled(case, THETA ** (-i / pairs), 2 * pairs)
    theta, factor, original, fast, slow = YARN.values()
    f = theta ** (-i / pairs)

    def pair_that_turns(times):
        return 2 * pairs * math.log(original / (2 * math.pi * times)) / (2 * math.log(theta))

    low, high = math.floor(pair_that_turns(fast)), math.ceil(pair_that_turns(slow))
    low, high = max(low, 0), min(high, 2 * pairs - 1)
    ramp = ((i - low) / (high - low)).clamp(0, 1)
    return f / factor * ramp + f * (1 - ramp), 0.1 * math.log(factor) + 1


def scaled(case, f, width):
    """The other scalings of SCALING, of the frequencies f of `width` features, and the magnitude."""
    factor, original, positions, low, high = SCALING.values()
    i = torch.arange(width // 2, dtype=f.dtype)
    if case.has("linear"):
        return f / factor, 1.0
    if case.has("ntk"):
        return (THETA * factor ** (width / (width - 2))) ** (-2 * i / width), 1.0
    if case.has("dynamic"):
        stretch = factor * positions / original - (factor - 1)
        return (THETA * stretch ** (width / (width - 2))) ** (-2 * i / width), 1.0
    if case.has("llama3"):
        wavelength = 2 * math.pi / f
        blend = (original / wavelength - low) / (high - low)
        between = (1 - blend) * f / factor + blend * f
        return torch.where(wavelength < original / high, f, torch.where(wavelength > original / low, f / factor, between)), 1.0
    if case.has("longrope"):
        return f / torch.tensor(LONG_FACTORS, dtype=f.dtype), math.sqrt(1 + math.log(factor) / math.log(original))
    return f, 1.0


def rotate(case, x):
    """Pairs turned by position * frequency: half-split pairs (i, i + E/2) of the whole head, or with rotary_part neighbours
    (2i, 2i + 1) of its first four features."""
    if case.has("alibi"):
        return x
    width = 4 if case.has("rotary_part") else x.shape[1]
    frequency, magnitude = frequencies(case, width // 2, x.dtype)
    angle = torch.arange(x.shape[0], dtype=x.dtype)[:, None] * frequency  # [T x r/2]
    cosine, sine = magnitude * angle.cos(), magnitude * angle.sin()
    if case.has("rotary_part"):
        a, b = x[:, 0:width:2], x[:, 1:width:2]
        turned = torch.stack([a * cosine - b * sine, b * cosine + a * sine], dim=2).flatten(1)
        return torch.cat([turned, x[:, width:]], dim=1)
    a, b = x[:, : width // 2], x[:, width // 2 :]
    return torch.cat([a * cosine - b * sine, b * cosine + a * sine], dim=1)


def project(case, w, letter, x):
    """norm(x w + b) by head, as far as there are a norm and a bias."""
    y = x @ w["w_" + letter]
    if case.has("biases"):
        y = y + w["b_" + letter]
    norm = w.get(letter + "_norm")
    if norm is not None and case.has("norm_whole"):
        y = rms_norm(y, norm, NORM_EPSILON)
    heads = heads_of(y, case.value_width if letter == "v" else E)
    return [rms_norm(head, norm, NORM_EPSILON) for head in heads] if norm is not None and case.has("norm_per_head") else heads


def softmax(case, mixer, w, logits, hidden):
    """Rows of probabilities of every head. ALiBi: minus 2^(-8 (h + 1) / H) |i - j|. A sink is one more column, dropped."""
    if case.has("soft_cap"):
        logits = [SOFT_CAP * torch.tanh(z / SOFT_CAP) for z in logits]
    if case.has("alibi"):
        i = torch.arange(logits[0].shape[0], dtype=logits[0].dtype)
        logits = [z - 2.0 ** (-8 * (h + 1) / mixer.heads) * (i[:, None] - i[None, :]).abs() for h, z in enumerate(logits)]
    logits = [z.masked_fill(hidden, -math.inf) for z in logits]
    if not case.has("sinks"):
        return [torch.softmax(z, dim=1) for z in logits]
    columns = [w["sinks"][0, h].expand(z.shape[0], 1) for h, z in enumerate(logits)]
    return [torch.softmax(torch.cat([z, s], dim=1), dim=1)[:, :-1] for z, s in zip(logits, columns)]


def hidden_keys(mask, rows):
    i, j = torch.arange(rows)[:, None], torch.arange(rows)[None, :]
    if mask == "bidirectional":
        return torch.zeros(rows, rows, dtype=torch.bool)
    if mask == "causal":
        return j > i
    kind, *numbers = mask.split()
    if kind == "prefix":
        return (j > i) & (j >= int(numbers[0]))
    if kind == "chunked":
        return (j > i) | (i // int(numbers[0]) != j // int(numbers[0]))
    if kind == "streaming":
        return (j > i) | ((j <= i - int(numbers[1])) & (j >= int(numbers[0])))
    return (j > i) | (j <= i - int(numbers[0]))  # window


def heads_of(x, width):
    return list(x.split(width, dim=1))


def nearest(below, signal):
    return next(signals[signal] for signals in reversed(below) if signal in signals)


def attention(case, mixer, w, x, below):
    """(a v) w_o + b_o, a and v from where the kind says: from x, from the memory, or from layers below."""
    rows = x.shape[0]
    scores_from, values_from = PARTS[mixer.kind]
    memory = nearest(below, "memory") if scores_from == "memory" else None
    published = {}
    if scores_from == "reused":
        scores = nearest(below, "scores")[: mixer.heads]
    else:
        q = project(case, w, "q", x)  # H x [T x E]
        if memory is not None:
            k, hidden = project(case, w, "k", memory), torch.zeros(rows, MEMORY, dtype=torch.bool)  # G x [S_m x E]
        else:
            q, hidden = [rotate(case, head) for head in q], hidden_keys(case.mask, rows)
            if scores_from == "shared":
                k = nearest(below, "keys")
            else:
                published["keys"] = k = [rotate(case, head) for head in project(case, w, "k", x)]  # G x [T x E]
        scores = softmax(case, mixer, w, [q[h] @ k[h // case.group].T / math.sqrt(E) for h in range(mixer.heads)], hidden)
    first = next((signals["values"] for signals in below if "values" in signals), None)
    if values_from in ("first", "nearest"):
        values = first if values_from == "first" else nearest(below, "values")
    else:
        own = values = project(case, w, "v", x if memory is None else memory)
        published["own"] = own  # before they are mixed
        if values_from == "residual":
            values = [case.coefficients[0] * a + case.coefficients[1] * b for a, b in zip(first, values)]
        elif values_from == "residual_learned":
            values = [w["from_first"] * a + w["from_own"] * b for a, b in zip(first, values)]
        elif values_from == "residual_per_head":
            values = [w["from_first"][0, g] * first[g] + w["from_own"][0, g] * own[g] for g in range(len(own))]
        elif values_from == "residual_plus":
            from_first = below[0]["coefficients"][mixer.index]
            values = [from_first * a + w["from_own"] * b for a, b in zip(first, own)]
        elif values_from == "residual_dense":
            layers = [signals["own"] for signals in below] + [own]
            values = [sum(w["from_layers"][0, i] * layers[i][g] for i in range(len(layers))) for g in range(len(own))]
    if memory is None:
        published.update(scores=scores, values=values)
    o = [scores[h] @ values[h // case.group] for h in range(mixer.heads)]
    if mixer.kind.startswith("neutreno"):
        groups = [h // case.group for h in range(mixer.heads)]
        o = [o_h + case.neutreno * (first[g] - values[g]) for o_h, g in zip(o, groups)]
    o = torch.cat(o, dim=1)
    if mixer.kind == "standard_normed":
        o = rms_norm(o, w["o_norm"])
    y = o @ w["w_o"]
    return y + w["b_o"] if case.has("biases") else y, published


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
    if mixer.kind == "in_parallel":
        y_first, first = mix(case, mixer.first, part(w, "first."), x, below)
        return y_first + mix(case, mixer.second, part(w, "second."), x, below)[0], first
    if mixer.kind == "side_by_side":
        y_first, first = mix(case, mixer.first, part(w, "first."), x, below)
        kv_heads = mixer.first.heads // case.group
        rest = [{k: v[kv_heads:] if k in ("values", "keys") else v for k, v in signals.items()} for signals in below]
        y_second, second = mix(case, mixer.second, part(w, "second."), x, rest)
        both = {key: first.get(key, []) + second.get(key, []) for key in {**first, **second}}
        return y_first + y_second, both
    if mixer.kind == "memory":
        return torch.zeros_like(x), {"memory": w["rows"]}
    recurrence = {"mamba": mamba, "mamba2": mamba2, "mamba2_grouped": mamba2}.get(mixer.kind)
    return recurrence(case, mixer, w, x) if recurrence else attention(case, mixer, w, x, below)


def norm(case, w, name, x):
    if case.norm == "rms_norm":
        return rms_norm(x, w[name + ".weight"])
    centred = x - x.mean(dim=-1, keepdim=True)
    return rms_norm(centred, w[name + ".weight"]) + w[name + ".bias"]


def feed_forward(case, w, y):
    up = y @ w["feed_forward.w_up"]
    if case.feed_forward == "swiglu":
        hidden = silu(y @ w["feed_forward.w_gate"]) * up
    elif case.feed_forward == "geglu_tanh":
        hidden = gelu(y @ w["feed_forward.w_gate"], approximate="tanh") * up
    else:
        activation = torch.relu if case.feed_forward == "relu" else gelu
        hidden = activation(up + w["feed_forward.b_up"])
        return hidden @ w["feed_forward.w_down"] + w["feed_forward.b_down"]
    return hidden @ w["feed_forward.w_down"]


def forward(case, weights, x):
    below = []  # what the lower layers publish: probabilities by query head, values by kv head
    for layer, mixer in enumerate(case.layers):
        w = part(weights, f"layers.{layer}.")
        if mixer.kind == "coefficient_holder":
            below.append({"coefficients": w["mixer.scale"][0] * torch.softmax(w["mixer.logits"][0], dim=0)})
            continue
        normed = x if case.form == "post_norm" else norm(case, w, "norm", x)
        mixed, signals = mix(case, mixer, part(w, "mixer."), normed, below)
        if case.form == "pre_norm":
            x = x + mixed
            x = x + feed_forward(case, w, norm(case, w, "feed_forward_norm", x))
        elif case.form == "post_norm":
            x = norm(case, w, "norm", x + mixed)
            x = norm(case, w, "feed_forward_norm", x + feed_forward(case, w, x))
        elif case.form == "parallel":
            x = x + mixed + feed_forward(case, w, normed)
        else:
            x = x + norm(case, w, "mixer_out_norm", mixed)
            x = x + norm(case, w, "feed_forward_out_norm", feed_forward(case, w, norm(case, w, "feed_forward_norm", x)))
        below.append(signals)
    return x


def results(case, weights, x, d_output, dtype):
    """output and grad.<name> of every weight and of x, computed in dtype."""
    leaves = {name: tensor.to(dtype).requires_grad_() for name, tensor in {**weights, "x": x}.items()}
    packed = leaves["x"]
    output = torch.cat([forward(case, leaves, rows) for rows in packed.split(SEQUENCES)])
    output.backward(d_output.to(dtype))
    gradients = {"grad." + name: leaf.grad for name, leaf in leaves.items()}  # none where nothing was read: zero
    zeros = {"grad." + name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    return {"output": output.detach(), **{name: zeros[name] if d is None else d for name, d in gradients.items()}}


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
    if any(mixer.kind.startswith("neutreno") for mixer in case.layers):
        metadata["neutreno"] = str(case.neutreno)
    if case.value_width != E:
        metadata["value_width"] = str(case.value_width)
    if case.options:
        metadata["options"] = case.options
    if (case.form, case.norm, case.feed_forward) != ("pre_norm", "rms_norm", "swiglu"):
        metadata["block"] = f"{case.form} {case.norm} {case.feed_forward}"
    for name, exact in reference.items():
        error = (single[name].double() - exact).abs().max() / exact.abs().max().clamp(min=1e-300)
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
