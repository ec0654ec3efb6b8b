"""The same trained networks through every backend: how far their answers differ."""
