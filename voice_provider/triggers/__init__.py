"""The waiting, on the triggerer."""
