"""The voice services on this machine: real HTTP, real speech, real video, no key.

Written from the contracts alone; it shares no code with the client, so that one misreading cannot hide in both.
Importing this package imports nothing else.
"""
