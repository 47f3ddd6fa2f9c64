"""The vendors' wire dialects: what to send and how to read the answer; no I/O and no Airflow."""
