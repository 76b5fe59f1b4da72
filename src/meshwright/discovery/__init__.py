"""Endpoints of virtual nodes that DNS does not tell: from AWS Cloud Map, and from the proxies themselves."""

from meshwright.discovery.cloud_map import CloudMap
from meshwright.discovery.found import Fault, Found, Row, Source
from meshwright.discovery.memory import Memory
from meshwright.discovery.registrations import Held, Registrations, Registree

__all__ = ["CloudMap", "Fault", "Found", "Held", "Memory", "Registrations", "Registree", "Row", "Source"]
