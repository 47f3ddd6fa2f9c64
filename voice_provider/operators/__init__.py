"""Operators: upload, clone, speak, lip sync, delete."""
