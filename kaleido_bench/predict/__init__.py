"""Predicting: a protocol and an adapter in, a folder of predictions out. Nothing here knows a metric."""
