"""What `train.py` is made of: where views come from, how much is trained, several processes, what is said and kept."""
