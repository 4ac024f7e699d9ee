"""Fused twins of plain functions. A kernel is right when it equals its twin, gradients too; the tests say so.

Three doors: `action.py` (what stands around attention), `across.py` (attention across views, nothing cut or joined),
`stream.py` (sums, norms, gates, SwiGLU). Each has its operators and says what its twins are; `action_triton.py` and
`stream_triton.py` hold the kernels and are imported only where Triton runs: on CUDA, or anywhere under
TRITON_INTERPRET=1. `rendering.py` is the door to the worlds' renderer in `tracing.py`.
"""
