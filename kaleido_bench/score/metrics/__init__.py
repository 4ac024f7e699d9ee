"""Pixels in, numbers out: the metrics, what is done to images before them, and the weights they need.

Nothing here knows a data set or a run. `scorers` is what the road asks for; `oracles` is for tests and benchmarks.
"""
