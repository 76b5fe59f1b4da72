"""Meshwright: a self-hosted control plane for App Mesh definitions, driven by CI builds.

Importing the package does nothing; `meshwright.cli` is the way in.
"""
