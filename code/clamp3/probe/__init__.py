"""Small heads trained on global vectors: what a frozen encoder knows about genre, emotion, key, singer ….

``labels`` and ``splits`` say what is learned from what, ``heads`` and ``fit`` train, ``metrics`` judges, ``checkpoint``
keeps, ``report`` shows; ``train`` and ``benchmark`` put them together. ``zero_shot`` needs no training at all.
"""
