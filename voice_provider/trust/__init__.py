"""Whose voice it is, and where a result comes from: consent, origin, provenance."""
