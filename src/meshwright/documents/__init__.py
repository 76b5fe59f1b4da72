"""Definitions in files: read every dialect, remember where every field stands."""

from meshwright.documents.findings import CODES
from meshwright.documents.load import Loaded, load
from meshwright.documents.project_file import load_project
from meshwright.documents.settings import Environment, LoadSettings, Project, find_project
from meshwright.documents.sources import Sources

__all__ = [
    "CODES",
    "Environment",
    "LoadSettings",
    "Loaded",
    "Project",
    "Sources",
    "find_project",
    "load",
    "load_project",
]
