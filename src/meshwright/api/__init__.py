"""The HTTP API: App Mesh's own 38 operations, and ours under /meshwright/v1/."""
