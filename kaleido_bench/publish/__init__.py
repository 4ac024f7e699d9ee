"""Results in, tables and pages out: pure, without clock or torch.

Only `reported`, `boards`, `site.subjects` and `site.folder` read or write files.
"""
