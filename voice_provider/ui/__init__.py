"""The page in Airflow's UI: voices, jobs, results and money; served by Airflow's API server, below ``/voice``."""
