"""Studies of many short runs: what is trained, on which devices, what the outcomes say (benchmarks/ablations.py)."""
