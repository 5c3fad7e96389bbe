"""Inputs to vectors.

`clamp3` is the API, `encoder` the way of an input to its vector, `windows` and `batching` cut and compute, `extract`
fills folders, `passages` are vectors of parts.
"""
