"""Weights made by others, brought into the network."""
