"""Predictions and ground truth in, numbers out: the metrics, the rows they give, and the result made of the rows."""
