"""Writes the datasheet from the files and from measurements.json."""

from pathlib import Path

MEASUREMENTS = Path(__file__).parent / "measurements.json"
