"""Geometric priors on permeable faces: continuity and soft manifold."""
