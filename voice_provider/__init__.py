"""Voice cloning, text-to-speech and lip sync as scheduled, restartable, affordable Airflow work."""

__version__ = "0.1.0"
