"""The catalogue: one module a family, each re-encoding published split files and rules as frozen protocols.

A family's module has `build(splits) -> list[Draft]`. `protocols/build_catalogue.py` runs them all.
"""
