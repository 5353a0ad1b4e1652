"""Servers and frameworks, tried one by one: `make matrix`."""
