"""Procedural worlds: the only thing the reference model ever learns from. Rendered on the device, during training.

`scenes.py` draws what is there, `cameras.py` from where it is seen, `textures.py` how it looks, `render.py` turns
rays into pixels, `export.py` writes held-out worlds to disk. World units: the objects fill about the unit ball; z is
up.
"""
