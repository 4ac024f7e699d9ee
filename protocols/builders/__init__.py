"""The catalogue: one module a family, each re-encoding published split files and rules as frozen protocols.

A family's module has `build(splits) -> list[Draft]`, which `protocols/build_catalogue.py` runs. One whose view ids the
user has to bring has `build()`, for `protocols/build_pending.py`, or is `on_disk`.
"""
