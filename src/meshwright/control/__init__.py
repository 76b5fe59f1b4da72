"""The newest revision becomes a snapshot for each connected proxy; what each proxy took is held here."""

from meshwright.control.absent import AWAY_SECONDS
from meshwright.control.delivery import Delivery
from meshwright.control.lane import Lane
from meshwright.control.ledger import Tracker
from meshwright.control.loop import Control
from meshwright.control.pacing import Paced
from meshwright.control.standing import Held, Propagation, Proxy, ProxyStatus, Standing

__all__ = [
    "AWAY_SECONDS",
    "Control",
    "Delivery",
    "Held",
    "Lane",
    "Paced",
    "Propagation",
    "Proxy",
    "ProxyStatus",
    "Standing",
    "Tracker",
]
