"""What can be wrong with a protocol, found without any model.

`protocols` looks at one, `rivals` at several beside each other, `data` at the data set of one; `findings` is what they
say, `advice` what to do about it.
"""
