"""Sensors: wait for a voice, for speech, for a lip sync."""
