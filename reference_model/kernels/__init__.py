"""Fused twins of plain functions. A kernel is right when it equals its twin, gradients too; the tests say so.

`action.py` is the door: the plain functions, the operators, and the choice between them. `action_triton.py` holds the
kernels and is imported only where Triton runs: on CUDA, or anywhere under TRITON_INTERPRET=1.
"""
