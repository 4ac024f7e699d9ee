"""Two runs against each other, or two conventions over one: what they have alike, and how sure a difference is.

Only `differences` scores anything, and imports torch.
"""
