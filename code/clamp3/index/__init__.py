"""Vectors of a folder, their ranking, and search in them; how well a search does is measured in `clamp3.retrieval`.

`search` answers a query, `vectors` loads a folder, `ranking` and `ties` order it.
"""
