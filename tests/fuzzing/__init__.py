"""Requests made from the published service model, valid, at the limits and broken, each from its number alone."""
