"""dmrifw: reconstruct microstructure from diffusion MRI by inverting the Bloch-Torrey equation."""
