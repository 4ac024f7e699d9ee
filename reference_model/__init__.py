"""Kaleido, the reference model: rendering as sequence-to-sequence image synthesis (arXiv 2510.04236), small and
trainable here.

Where the paper's value is not known, the choice is this project's own and the docstring says so. README.md is the map:
the reading order, the data's path with its shapes, presets, commands.

Shapes, used throughout: b scenes, v views (r reference views, then t target views), n tokens in a view (its patches,
then its registers), d width, h heads, kv key heads, hkv those of q, k and v packed, c channels of a head, p side of a
patch in pixels; in attention u views whose keys are seen, m tokens of a window, bw windows of all scenes.
"""
