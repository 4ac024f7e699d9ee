"""Rows in, a result out: its means, what is said beside them, and whether it holds. No torch, and no image is read."""
