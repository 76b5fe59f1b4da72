"""Definitions in files: read every dialect, remember where every field stands."""
