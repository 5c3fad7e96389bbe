"""Probes, small heads trained on global vectors: what a frozen encoder knows about genre, emotion, key, singer ….

``labels`` and ``splits`` make the data, ``heads`` and ``fit`` train, ``metrics`` scores, ``checkpoint`` holds the file
format, ``report`` shows results; ``train`` and ``benchmark`` put them together. ``zero_shot`` needs no training.
"""
