"""Signals as xarray datasets, in netCDF, zarr and CSV files, with what is needed to know where they came from."""

from dmrifw.report.dataset import mesh_hash, signal_dataset, software_versions
from dmrifw.report.files import CSV_HEADER, read_signal, read_signals, write_csv, write_dataset

__all__ = [
    "CSV_HEADER",
    "mesh_hash",
    "read_signal",
    "read_signals",
    "signal_dataset",
    "software_versions",
    "write_csv",
    "write_dataset",
]
