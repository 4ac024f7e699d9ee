"""The fused kernels equal their plain twins, gradients too: on a GPU as they are, elsewhere in Triton's interpreter."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import subprocess
import sys
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from reference_model import attention
from reference_model.attention import Gains
from reference_model.blocks import Attention, Block, FeedForward
from reference_model.kernels import action, stream
from reference_model.model import Kaleido, Views, make_rooms
from reference_model.positions import Actions, PoseActions, Rotations
from reference_model.presets import smoke

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None or (DEVICE == "cpu" and os.environ.get("TRITON_INTERPRET") != "1"),
    reason="Triton is not installed, or neither a GPU nor its interpreter (TRITON_INTERPRET=1) is there",
)


class Shape(NamedTuple):
    """Of a test's heads. A program's tokens lie in two views; heads, channels and angles are odd where they may be."""

    heads: int
    kv_heads: int
    channels: int
    pose: int
    timed: int = 0  # angles that turn with time
    groups: int = 1  # of 4-vectors of values and of the output that have a matrix of their own
    normed: bool = True


SHAPES = {
    "spatial": Shape(2, 2, 16, 0),
    "temporal": Shape(2, 2, 16, 8),
    "all pose": Shape(2, 2, 16, 16),
    "grouped queries": Shape(4, 2, 16, 8),
    "no power of two": Shape(2, 1, 24, 12),
    "with time": Shape(2, 2, 24, 8, timed=3),
    "video": Shape(2, 2, 16, 0, timed=4),
    "without norm": Shape(2, 2, 16, 8, normed=False),
    "split values": Shape(2, 2, 24, 16, timed=1, groups=2),
}
BATCH, VIEWS, PATCHES = 2, 3, 23


class Inputs(NamedTuple):
    qkv: Tensor
    q_gain: Tensor
    k_gain: Tensor
    actions: Actions


def draw(shape: Shape, kind: torch.dtype = torch.float32) -> Inputs:
    """Random matrices, no inverse of each other, so that one in another's place shows."""
    generator = torch.Generator().manual_seed(0)

    def rand(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator).to(DEVICE)

    def turn(*size: int) -> Rotations:
        angle = rand(*size)
        return Rotations(angle.cos(), angle.sin())

    pose = [rand(BATCH, VIEWS, groups, 4, 4) for groups in (1, 1, shape.groups, shape.groups)]
    pose[0] = pose[0].mT  # as it comes: a view of another
    actions = Actions(
        PoseActions(*pose) if shape.pose else None,
        turn(BATCH, VIEWS, 1, shape.timed) if shape.timed else None,
        turn(PATCHES, (shape.channels - shape.pose) // 2 - shape.timed),
    )
    packed = shape.heads + 2 * shape.kv_heads
    qkv = rand(BATCH, VIEWS, PATCHES, packed, shape.channels).to(kind).requires_grad_()
    gains = [(1 + 0.3 * rand(shape.channels)).requires_grad_() for _ in range(2)]
    return Inputs(qkv, gains[0], gains[1], actions)


def prepare(shape: Shape, inputs: Inputs, fused: bool) -> tuple[Tensor, Tensor, Tensor]:
    qkv, q_gain, k_gain, actions = inputs
    if fused:
        gains = (q_gain, k_gain) if shape.normed else (None, None)
        return action.prepare_qkv(qkv, shape.heads, *gains, actions)
    return attention.prepare_qkv(qkv, shape.heads, Gains(q_gain, k_gain) if shape.normed else None, actions)


def run(shape: Shape, inputs: Inputs, fused: bool) -> list[Tensor]:
    """q, k, v, an output, and the gradients of everything that learns, under fixed random weights of the outputs."""
    prepared = prepare(shape, inputs, fused)
    restore = action.restore_output if fused else attention.restore_output
    outputs = [*prepared, restore(prepared[0], inputs.actions)]
    generator = torch.Generator().manual_seed(1)
    weighted = [(x.float() * torch.randn(x.shape, generator=generator).to(DEVICE)).sum() for x in outputs]
    learned = inputs[: 3 if shape.normed else 1]
    return [*outputs, *torch.autograd.grad(torch.stack(weighted).sum(), learned)]  # pyright: ignore[reportCallIssue, reportArgumentType]


GRADIENT_OF_GAINS = 5  # where it begins in what `run` gives: q, k, v, an output, the gradient of qkv, then of the gains


def relative(got: Tensor, expected: Tensor) -> float:
    return ((got.double() - expected.double()).norm() / expected.double().norm()).item()


@needs_triton
@pytest.mark.parametrize("name", SHAPES)
def test_the_kernels_are_their_plain_twins_in_float32(name: str) -> None:
    inputs = draw(SHAPES[name])
    names = ("q", "k", "v", "out", "dqkv", "dq_gain", "dk_gain")
    pairs = zip(run(SHAPES[name], inputs, True), run(SHAPES[name], inputs, False), strict=True)
    for what, (got, expected) in zip(names, pairs, strict=False):
        assert got.shape == expected.shape
        assert relative(got.detach(), expected.detach()) < 1e-6, what


@needs_triton
def test_in_sixteen_bits_the_kernel_is_as_near_to_the_truth_as_its_twin() -> None:
    """Nearer, for it rounds once, at the end. (Float16 in the interpreter, which does not round to bfloat16.)"""
    shape = SHAPES["temporal"]
    inputs = draw(shape, torch.bfloat16 if DEVICE == "cuda" else torch.float16)
    exact = inputs._replace(qkv=inputs.qkv.detach().double().requires_grad_())
    truth = run(shape, exact, False)
    triples = zip(run(shape, inputs, True), run(shape, inputs, False), truth, strict=True)
    for place, (got, plain, true) in enumerate(triples):
        # The few numbers of a gain's gradient are mostly the rounding of what comes in, which both share and neither
        # can help: float32 arithmetic on the same bfloat16 gradients is up to 1.45 times as far off as the twin.
        slack = 1.1 if place < GRADIENT_OF_GAINS else 2.0
        assert relative(got.detach(), true.detach()) < (8e-3 if DEVICE == "cuda" else 1e-3)  # 8 bits or 11
        assert relative(got.detach(), true.detach()) < slack * relative(plain.detach(), true.detach()) + 1e-6


@needs_triton
def test_what_comes_out_lies_as_attention_wants_it() -> None:
    shape = SHAPES["grouped queries"]
    for x in prepare(shape, draw(shape), True):
        assert x.is_contiguous()


@needs_triton
@pytest.mark.parametrize("layout", ["transposed", "expanded"])
def test_gradients_in_any_layout_are_read_rightly(layout: str) -> None:
    """Attention's backward need not return what is contiguous."""
    shape = SHAPES["temporal"]
    inputs = draw(shape)
    queries = [prepare(shape, inputs, fused)[0] for fused in (True, False)]
    q = queries[0]
    grad = torch.ones(1, device=DEVICE).expand(q.shape)
    if layout == "transposed":
        grad = torch.randn(q.transpose(2, 3).shape, device=DEVICE).transpose(2, 3)
    got, expected = (torch.autograd.grad(x, inputs.qkv, grad)[0] for x in queries)
    assert relative(got, expected) < 1e-6


@needs_triton
def test_the_operators_keep_the_rules_of_the_dispatcher() -> None:
    """Shapes and strides of the fake kernels, the registration of the gradients, no aliasing (opcheck)."""
    inputs = draw(SHAPES["with time"])
    assert inputs.actions.pose is not None
    tables = action.expand_tables(inputs.actions, inputs.qkv)
    ops, checks = torch.ops.reference_model, ("test_schema", "test_faketensor", "test_autograd_registration")
    arguments = (*inputs[:3], *inputs.actions.pose[:3], *tables, 2)
    torch.library.opcheck(ops.prepare_qkv.default, arguments, test_utils=checks)
    x = torch.randn(BATCH, VIEWS, PATCHES, 2, 24, device=DEVICE, requires_grad=True)
    torch.library.opcheck(ops.act.default, (x, inputs.actions.pose.output, *tables, False, 1), test_utils=checks)


@needs_triton
def test_a_compiled_function_holds_the_kernels_without_a_break() -> None:
    shape = SHAPES["temporal"]
    inputs = draw(shape)

    def layer(qkv: Tensor, q_gain: Tensor, k_gain: Tensor, actions: Actions) -> Tensor:
        q, k, v = action.prepare_qkv(qkv * 2, shape.heads, q_gain, k_gain, actions)
        return action.restore_output(q + k + v, actions) * 3

    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    got, expected = (f(*inputs) for f in (compiled, layer))
    assert relative(got.detach(), expected.detach()) < 1e-6
    for a, b in zip(*(torch.autograd.grad(x.square().sum(), inputs[:3]) for x in (got, expected)), strict=True):
        assert relative(a, b) < 1e-5


@needs_triton
def test_the_kernels_compile_for_hopper_and_spill_no_register() -> None:
    """Needs no GPU: Triton brings its own assembler."""
    code = (
        "from reference_model.kernels.inspect_triton import report, report_stream\n"
        "for row in [*report(channels=128, pose=64, heads=4), *report_stream(768)]: print(*row)"
    )
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    rows = [line.split() for line in done.stdout.splitlines()]
    assert len(rows) == 8
    # 168 leave room for three programs on an SM, which is what the one needs that adds two gradients of the keys.
    assert all(int(registers) <= 168 and spilled == "0" for _, registers, spilled in rows)
    assert [name for name, registers, _ in rows if int(registers) > 128] in (["_prepare_backward_kernel"], [])


def test_the_plain_twin_is_attentions_definition() -> None:
    """In float64: norm, gain, then the 4x4 on 4-vectors and the turn of the halves, written as one matrix."""
    inputs = draw(Shape(1, 1, 12, 4))
    pose, _, (cos, sin) = inputs.actions
    assert pose is not None
    qkv, q_gain, k_gain = (x.detach().double() for x in inputs[:3])
    got = attention.prepare_qkv(qkv, 1, Gains(q_gain, k_gain), inputs.actions)
    b, v, n = 1, 2, 20
    for slot, x in enumerate(got):
        raw = qkv[b, v, n, slot]
        if slot < 2:
            raw = raw / (raw.square().mean() + 1e-6).sqrt() * (q_gain, k_gain)[slot]
        turn = torch.zeros(8, 8, dtype=torch.float64, device=raw.device)
        for i in range(4):  # by minus the angle
            turn[i, i], turn[i, i + 4], turn[i + 4, i + 4], turn[i + 4, i] = cos[n, i], sin[n, i], cos[n, i], -sin[n, i]
        whole = torch.block_diag(pose[slot][b, v, 0].double(), turn)
        assert torch.allclose(x[b, v, n, 0], whole @ raw, atol=1e-12)


@pytest.mark.parametrize(
    ("shape", "change", "word"),
    [
        (Shape(3, 2, 16, 8), {}, "a divisor"),
        (Shape(2, 2, 16, 8), {"position": 9}, "pose block"),
        (Shape(2, 2, 16, 8), {"position": 8}, "pose block"),
        (Shape(2, 2, 16, 8), {"pose": None}, "no matrices"),
        (Shape(2, 2, 16, 8), {"packed": 5}, "a divisor"),
        (Shape(2, 2, 24, 12, groups=2), {}, "matrices of shape"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shape: Shape, change: dict[str, int | None], word: str) -> None:
    inputs = draw(shape)
    qkv, actions = inputs.qkv[:, :, :, : change.get("packed")], inputs.actions
    if "position" in change:
        table = torch.zeros(PATCHES, change["position"] or 0)
        actions = actions._replace(position=Rotations(table, table))
    if "pose" in change:
        actions = actions._replace(pose=None)
    with pytest.raises(ValueError, match=word):
        action.prepare_qkv(qkv, shape.heads, inputs.q_gain, inputs.k_gain, actions)


def test_where_triton_or_its_gpu_is_missing_the_plain_twin_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert action.fused_device() is None
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 0))
    assert action.fused_device() is None
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(action.importlib.util, "find_spec", lambda name: None)
    assert action.fused_device() is None
    assert not action.takes(None, torch.zeros(1))
    assert not action.takes("cpu", torch.zeros(1, dtype=torch.float64))


def build_views(references: int) -> Views:
    poses = torch.eye(4, device=DEVICE).repeat(1, 3, 1, 1)
    poses[..., :3, 3] = torch.randn(1, 3, 3, device=DEVICE)
    intrinsics = torch.tensor([[40.0, 0, 16], [0, 40.0, 16], [0, 0, 1]], device=DEVICE).expand(1, 3, 3, 3)
    return Views(poses, intrinsics, references, 32, 32, torch.arange(3.0, device=DEVICE)[None])


def build(**changes: Any) -> Kaleido:
    """A model of every design that kernels touch, with weights that are nowhere zero."""
    design = {"time_channels": 4, "kv_heads": 1, "registers": 1, "value_action": "split", **changes}
    torch.manual_seed(0)
    model = Kaleido(dataclasses.replace(smoke().model, **design)).to(DEVICE)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    return model


def choose(model: Kaleido, fused: str | None) -> None:
    for module in model.modules():
        if isinstance(module, Attention | FeedForward | Block):
            module.fused = fused


@needs_triton
@pytest.mark.parametrize(
    ("changes", "references"),
    [
        ({"pose": "gta", "window": 2}, 2),
        ({"pose": "prope", "window": 2}, 1),
        ({"pose": "prope"}, 2),
        ({"pose": "gta", "value_action": "joint", "modulation": "block"}, 1),
        ({"pose_channels": 0, "mlp": "gelu", "qk_norm": False}, 2),
        ({"pose": "prope"}, 0),
        ({"references_see_targets": True}, 2),
    ],
)
def test_a_model_with_the_kernels_is_the_model_without_them(changes: dict[str, Any], references: int) -> None:
    """Prediction and the gradient of every weight, and of the tokens: GTA and PRoPE, time, grouped queries, registers,
    windows, any split into references and targets.
    """
    model, views = build(**changes), build_views(references)
    tokens, t = torch.randn(1, 3, 16, 192, device=DEVICE, requires_grad=True), torch.tensor([0.7], device=DEVICE)
    results: list[list[Tensor]] = []
    for fused in (DEVICE, None):
        choose(model, fused)
        out = model(tokens, t, views)
        learned = [tokens, *model.parameters()]
        results.append([out, *torch.autograd.grad(out.square().sum(), learned, allow_unused=True)])
    assert results[0][0].std() > 0.1
    for got, expected in zip(*results, strict=True):
        assert got is None if expected is None else relative(got.detach(), expected.detach()) < 1e-4


@needs_triton
@pytest.mark.parametrize("window", [0, 2])
def test_cached_references_with_the_kernels_are_those_without(window: int) -> None:
    """Keys and values of targets are written straight into the room behind the kept ones."""
    model, views = build(window=window).requires_grad_(False), build_views(2)
    tokens, t = torch.randn(1, 3, 16, 192, device=DEVICE), torch.tensor([0.7], device=DEVICE)
    results: list[Tensor] = []
    for fused in (DEVICE, None):
        choose(model, fused)
        rooms = make_rooms(model.encode_references(tokens[:, :2], views.take(0, 2, 2)), 1)
        results += [model.denoise(tokens[:, 2:], t, views.take(2, 3, 0), rooms) for _ in range(2)]
        results.append(model(tokens, t, views))
    for other in results[1:]:
        assert relative(other, results[0]) < 1e-5


@needs_triton
@pytest.mark.parametrize("patches", [1, 23, 70])
@pytest.mark.parametrize("width", [48, 64])
def test_sums_norms_and_gates_are_their_plain_twins(patches: int, width: int) -> None:
    """In float32, gradients too; vectors that a view's tokens share are slices of one tensor, as in a block."""
    generator = torch.Generator().manual_seed(0)
    x, branch = (torch.randn(2, 3, patches, width, generator=generator).to(DEVICE).requires_grad_() for _ in range(2))
    table = torch.randn(2, 3, 9, width, generator=generator).to(DEVICE).requires_grad_()
    shift, scale, gate = table.unbind(2)[3:6]

    def plain() -> list[Tensor]:
        m = table[:, :, :, None].unbind(2)[3:6]
        total = x + m[2] * branch
        first, second = torch.cat([x, branch], -1).chunk(2, -1)
        normed = [attention.normalise(y) * (1 + m[1]) + m[0] for y in (total, x)]
        return [total, *normed, torch.nn.functional.silu(first) * second, total]

    def fused() -> list[Tensor]:
        total, out = stream.add_normalise(x, branch, gate, scale, shift)
        alone = stream.normalise(x, scale, shift)
        return [total, out, alone, stream.swiglu(torch.cat([x, branch], -1)), stream.add(x, branch, gate)]

    weights = [torch.randn(y.shape, generator=generator).to(DEVICE) for y in plain()]
    for got, expected, weight in zip(fused(), plain(), weights, strict=True):
        assert relative(got.detach(), expected.detach()) < 1e-6
        pair = [
            torch.autograd.grad((y * weight).sum(), (x, branch, table), allow_unused=True, retain_graph=True)
            for y in (got, expected)
        ]
        for a, b in zip(*pair, strict=True):
            assert a is None if b is None else relative(a, b) < 2e-6
    both: list[tuple[Tensor, ...]] = []
    for way in (fused, plain):
        weighted = [(y * weight).sum() for y, weight in zip(way()[:2], weights, strict=False)]
        both.append(torch.autograd.grad(weighted[0] + weighted[1], (x, branch, table)))
    for a, b in zip(*both, strict=True):  # the gradients of the sum and of what is read of it meet
        assert relative(a, b) < 2e-6


@needs_triton
def test_in_sixteen_bits_the_sums_are_as_near_to_the_truth_as_their_twins() -> None:
    kind = torch.bfloat16 if DEVICE == "cuda" else torch.float16
    generator = torch.Generator().manual_seed(0)
    x, branch = (torch.randn(2, 3, 23, 64, generator=generator).to(DEVICE, kind) for _ in range(2))
    m = torch.randn(3, 2, 3, 64, generator=generator).to(DEVICE, kind)

    def plain(x: Tensor, branch: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
        total = x + m[0][:, :, None] * branch
        return total, attention.normalise(total) * (1 + m[1][:, :, None]) + m[2][:, :, None]

    truth = plain(x.double(), branch.double(), m.double())
    for got, twin, true in zip(stream.add_normalise(x, branch, *m), plain(x, branch, m), truth, strict=True):
        assert got.dtype == kind
        assert relative(got, true) < 1.1 * relative(twin, true)


@needs_triton
def test_the_operators_of_the_stream_keep_the_rules_of_the_dispatcher() -> None:
    x, branch = (torch.randn(2, 3, 5, 16, device=DEVICE, requires_grad=True) for _ in range(2))
    m = torch.randn(2, 3, 9, 16, device=DEVICE).unbind(2)
    ops, checks = torch.ops.reference_model, ("test_schema", "test_faketensor", "test_autograd_registration")
    total, _, roots = (y.detach() for y in ops.add_normalise(x, branch, *m[:3]))
    for operator, arguments in (
        (ops.normalise, (x, *m[:2])),
        (ops.add_gated, (x, branch, m[0])),
        (ops.add_normalise, (x, branch, *m[:3])),
        (ops.swiglu, (x,)),
        (ops.normalise_backward, (total, total, roots, m[0])),
        (ops.add_gated_backward, (total, total, m[0])),
        (ops.add_normalise_backward, (total, total, total, roots, total, m[0], m[1])),
        (ops.swiglu_backward, (total[..., :8], total)),
    ):
        torch.library.opcheck(operator.default, arguments, test_utils=checks)


@needs_triton
def test_a_compiled_block_is_pieces_that_only_attention_parts() -> None:
    """What the trainer compiles: predictions and gradients are those of the eager block, and a block breaks at its two
    attentions alone.
    """
    model, views = build(pose="prope"), build_views(2)
    choose(model, DEVICE)
    block, places = model.blocks[0], model.build_places(views)
    x = torch.randn(1, 3, 17, 64, device=DEVICE, requires_grad=True)
    modulation, references = torch.randn(1, 3, 9, 64, device=DEVICE), torch.tensor(2)
    explained = torch._dynamo.explain(block)(x, modulation, places, references)
    assert {reason.reason.split("\n")[0] for reason in explained.break_reasons} == {
        "Skip calling `torch.compiler.disable()`d function"
    }
    compiled = torch.compile(block, backend="aot_eager", dynamic=False)
    pair = [f(x, modulation, places, references)[0] for f in (compiled, block)]
    assert relative(pair[0].detach(), pair[1].detach()) < 1e-5
    grads = [torch.autograd.grad(y.square().sum(), [x, *block.parameters()]) for y in pair]
    assert all(relative(a, b) < 1e-5 for a, b in zip(*grads, strict=True))


class Launches(TorchDispatchMode):
    """The operators that a GPU would be asked to run: but for views, new tensors and what the interpreter does."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        returned = func._schema.returns
        view = any(x.alias_info is not None and not x.alias_info.is_write for x in returned)
        if not view and not any(word in func.name() for word in ("empty", "set_", "copy", "item", "promote", "detach")):
            self.names.append(func.name().partition("::")[2])
        return func(*args, **(kwargs or {}))


@needs_triton
def test_a_denoising_block_beside_cached_references_is_eighteen_launches() -> None:
    """One scene at a time is bound by them (docs/log.md): six products, two attentions, nine passes, the modulation.
    One of the passes, which writes into the room, is no operator.
    """
    model, views = build(pose="prope", kv_heads=2).requires_grad_(False), build_views(2)
    choose(model, DEVICE)
    tokens, block = torch.randn(1, 3, 16, 192, device=DEVICE), model.blocks[0]
    targets = views.take(2, 3, 0)
    with torch.inference_mode():
        rooms = make_rooms(model.encode_references(tokens[:, :2], views.take(0, 2, 2)), 1)
        x, places = model.embed_views(tokens[:, 2:], targets, None), model.build_places(targets)
        modulation = torch.randn(1, 1, 9, 64, device=DEVICE)
        with Launches() as launches:
            block(x, modulation, places, torch.tensor(0), rooms[0])
    assert len(launches.names) == 18 - 1, launches.names
