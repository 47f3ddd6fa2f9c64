"""Jobs that are paid once: what is remembered, and what to do next; no Airflow in here."""
