"""Predictions and ground truth in, numbers out.

Here is the road: `targets` and `truth` read the ground truth, `stream` and `share` bring pairs to the metrics,
`scoring` is all of it. `metrics` makes numbers of pixels, `results` a result of the numbers, `comparing` holds two
against each other.
"""
