"""Results in, tables and pages out. No clock and no torch; only `reported`, `boards` and `site.folder` touch the disk."""
