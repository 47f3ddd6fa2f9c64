"""The voice services on this machine: real HTTP, real speech, real video, no key.

Written from the contracts alone; it shares no code with the client, so that one misreading cannot hide in both.
Importing this package imports nothing else.
"""

# The key of the account "main". A word of its own: Airflow masks a connection's key wherever it appears in a log.
API_KEY = "emulator-key-0"
