"""Weights for elsewhere: how close exported towers are to those they come from, and what a model card says of them."""
