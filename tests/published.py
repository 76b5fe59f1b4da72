"""The App Mesh service model that AWS published, as pinned botocore ships it; for conformance tests only."""

from __future__ import annotations

from typing import Any

import botocore.session
from botocore.loaders import Loader
from botocore.model import ServiceModel


def description() -> dict[str, Any]:
    """The whole document: operations, shapes."""
    found: dict[str, Any] = Loader().load_service_model("appmesh", "service-2", api_version="2019-01-25")
    return found


def paginators() -> dict[str, Any]:
    """The paginated operations and their members."""
    found = botocore.session.Session().get_component("data_loader").load_service_model("appmesh", "paginators-1")
    pages: dict[str, Any] = found["pagination"]
    return pages


def service() -> ServiceModel:
    """The model that botocore itself works with."""
    return ServiceModel(description())
