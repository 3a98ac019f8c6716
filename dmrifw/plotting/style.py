"""Colours and type that all figures share."""

from __future__ import annotations

# Okabe and Ito's palette, which colour-blind readers can tell apart; lines differ in style too.
BLUE, VERMILLION, YELLOW, GREEN, PURPLE, SKY, ORANGE = (
    "#0072b2",
    "#d55e00",
    "#f0e442",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#e69f00",
)
CYCLE = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
INK, RULE, TRUE_SURFACE = "#22272e", "#dde2e7", "#b9c4ce"

STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.8,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
}
