"""Connections: ``VoiceHook`` and one small subclass for each service."""
