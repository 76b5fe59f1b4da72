"""Bootstrap and run one Envoy."""
