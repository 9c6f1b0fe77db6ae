"""Gradient-Guided Annealing sweeps."""
