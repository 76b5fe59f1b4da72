"""What proxies told elsewhere, by witnesses that can be asked: OpenTelemetry, AWS X-Ray, AWS CloudWatch.

The one rule: a witness tells which proxy spoke and when; what that means is judged by whoever asks.
"""

from meshwright.telemetry.witness import Told, Witness

__all__ = ["Told", "Witness"]
