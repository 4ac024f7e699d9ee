"""Training the reference model from the harness: a call is checked in full, then carried out.

Beside the adapter this is the only room that imports the reference model, inside functions. What can be wrong with a
call is said here, before anything is begun, as a `BenchError`; the trainer itself is `reference_model.train`.
"""
