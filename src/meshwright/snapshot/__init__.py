"""Graph and one proxy become Envoy resources."""
