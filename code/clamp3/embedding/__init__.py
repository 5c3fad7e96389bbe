"""Inputs to vectors.

`clamp3` is the API, `encoder` the way of an input to its vector, `windows` and `batching` cut and compute, `extract`
fills folders, `passages` are vectors of parts; `encoded` is what the API returns, `reward` makes numbers of generated
music.
"""
