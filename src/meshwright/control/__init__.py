"""The newest revision becomes a snapshot for each connected proxy; what each proxy took is held here."""

from meshwright.control.delivery import Delivery
from meshwright.control.loop import Control, reach
from meshwright.control.standing import Propagation, Proxy, ProxyStatus, Rejection

__all__ = ["Control", "Delivery", "Propagation", "Proxy", "ProxyStatus", "Rejection", "reach"]
