"""Diffusion times that enter an inversion in stages."""
