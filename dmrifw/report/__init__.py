"""Signals as datasets with their provenance, in netCDF, zarr and CSV files and from images; the page of a run."""

from dmrifw.report.dataset import mesh_hash, signal_dataset, software_versions
from dmrifw.report.files import CSV_HEADER, read_signal, read_signals, read_walls, write_csv, write_dataset
from dmrifw.report.frames import FrameWriter, frames, write_shape
from dmrifw.report.images import read_image
from dmrifw.report.page import Fact, Figure, Page, Setting, write_page

__all__ = [
    "CSV_HEADER",
    "Fact",
    "Figure",
    "FrameWriter",
    "Page",
    "Setting",
    "frames",
    "mesh_hash",
    "read_image",
    "read_signal",
    "read_signals",
    "read_walls",
    "signal_dataset",
    "software_versions",
    "write_csv",
    "write_dataset",
    "write_page",
    "write_shape",
]
