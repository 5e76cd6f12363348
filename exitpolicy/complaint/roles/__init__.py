"""Decide who attacked and who was attacked: the role of each address, and the candidates."""
