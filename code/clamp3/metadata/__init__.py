"""Texts about music: written, translated and checked by language models, and captions of images.

`job` asks a model about each record; `sources` and `web` find material for it.
"""
