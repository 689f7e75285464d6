"""Data to figures, and figures to files. Nothing here reads results or runs a network."""

from __future__ import annotations

from bench.pictures.data import (
    Axis,
    Bars,
    Chart,
    Frame,
    Histograms,
    Journey,
    Panel,
    Point,
    Scatter,
    Series,
    Spot,
    Strip,
    Strips,
    Trajectories,
)
from bench.pictures.files import SUFFIXES, check_suffix, encode

__all__ = [
    "SUFFIXES",
    "Axis",
    "Bars",
    "Chart",
    "Frame",
    "Histograms",
    "Journey",
    "Panel",
    "Point",
    "Scatter",
    "Series",
    "Spot",
    "Strip",
    "Strips",
    "Trajectories",
    "check_suffix",
    "encode",
]
