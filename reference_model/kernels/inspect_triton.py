"""What the assembler makes of the kernels for a GPU that need not be there: registers and spills. For tests and for
tuning (`python -m reference_model.kernels.inspect_triton`).
"""

# pyright: reportMissingImports=false, reportUnknownParameterType=false, reportMissingParameterType=false
# pyright: reportAttributeAccessIssue=false, reportPrivateUsage=false

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from reference_model.kernels import action_triton as kernels
from reference_model.kernels import stream_triton

HALVES = (
    *("qkv", "q", "k", "v", "dq", "dk", "dv", "dqkv", "x", "out", "branch", "gate", "scale", "shift", "total"),
    *("dtotal", "dout", "dx", "dbranch", "packed", "dpacked", "dk_more", "dv_more"),
)
SINGLES = (
    *("q_gain", "k_gain", "dgains", "matrices", "query", "key", "value", "cos", "sin", "time_cos", "time_sin"),
    *("roots", "sums"),
)


class Report(NamedTuple):
    name: str
    registers: int  # of each thread; 128 leave room for 16 warps on an SM
    spilled: int  # bytes


def assemble(kernel, constants: dict[str, int | bool], capability: int, warps: int) -> Report:
    """Compile one kernel for bfloat16 tensors and read the assembler's report."""
    pointers = {**dict.fromkeys(HALVES, "*bf16"), **dict.fromkeys(SINGLES, "*fp32"), "epsilon": "fp32"}
    names = kernel.arg_names
    signature = {name: "constexpr" if name in constants else pointers.get(name, "i32") for name in names}
    aligned = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(names) if signature[name].startswith("*")}
    source = ASTSource(kernel, signature, constexprs={k: constants[k] for k in names if k in constants}, attrs=aligned)
    target = GPUTarget("cuda", capability, 32)
    built = triton.compile(source, target=target, options={"num_warps": warps})
    assembler = Path(triton.__file__).parent / "backends/nvidia/bin/ptxas"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "kernel.ptx").write_text(built.asm["ptx"])
        command = [assembler, "-v", f"--gpu-name=sm_{capability}a", f"{folder}/kernel.ptx", "-o", f"{folder}/kernel"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    registers, spilled = (
        re.search(pattern, said) for pattern in (r"Used (\d+) registers", r"(\d+) bytes spill stores")
    )
    if registers is None or spilled is None:
        raise RuntimeError(f"the assembler's report on {kernel.__name__} has another form: {said}")
    return Report(kernel.__name__, int(registers[1]), int(spilled[1]))


def report(channels: int, pose: int, heads: int, *, timed: int = 0, groups: int = 1, cap: int = 90) -> list[Report]:
    """All kernels of the actions for one shape of head, the backward one twice: without and with gradients to add.
    `timed` angles turn with time, values have `groups` of matrices; compute capability 90 is Hopper.
    """
    shape = kernels.layout(channels, (channels - pose) // 2, timed)
    packed = {**shape, "HEADS": heads, "KV": heads, "NORMED": True, "QUERY": 1, "KEY": 1, "VALUE": groups}
    single = {**shape, "HEADS": heads, "GROUPS": groups, "TRANSPOSED": True, "SIGN": 1}
    return [
        assemble(kernels._prepare_kernel, packed, cap, kernels.WARPS),
        assemble(kernels._prepare_backward_kernel, {**packed, "MORE": False}, cap, kernels.WARPS),
        assemble(kernels._prepare_backward_kernel, {**packed, "MORE": True}, cap, kernels.WARPS),
        assemble(kernels._act_kernel, single, cap, kernels.WARPS),
    ]


def report_stream(width: int, *, cap: int = 90) -> list[Report]:
    """What stands between the matrix products, at one width."""
    shape = stream_triton.size(width)
    both = {**shape, "ADD": True, "NORM": True}
    tile = {"ROWS": stream_triton.TILE // 128, "COLUMNS": 128}
    return [
        assemble(stream_triton._forward_kernel, both, cap, stream_triton.WARPS),
        assemble(stream_triton._backward_kernel, both, cap, stream_triton.WARPS),
        assemble(stream_triton._swiglu_kernel, tile, cap, stream_triton.SWIGLU_WARPS),
        assemble(stream_triton._swiglu_backward_kernel, tile, cap, stream_triton.SWIGLU_WARPS),
    ]


if __name__ == "__main__":
    for channels, pose, timed, groups in (
        (128, 64, 0, 1),
        (128, 0, 0, 1),
        (64, 32, 0, 1),
        (96, 48, 8, 1),
        (128, 64, 8, 2),
    ):
        for row in report(channels, pose, 4, timed=timed, groups=groups):
            print(channels, pose, timed, groups, *row)  # noqa: T201
    for width in (256, 512, 768, 2560):
        for row in report_stream(width):
            print(width, *row)  # noqa: T201
