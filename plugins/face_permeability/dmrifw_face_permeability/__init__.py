"""A learnable permeability on every face of a tetrahedral grid."""
