"""How good a retrieval is: ranks and metrics, Fréchet distance, maps. Searching itself is `clamp3.index`."""
