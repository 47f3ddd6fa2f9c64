"""``voice-provider demo``: the flagship DAG on this machine, with a throwaway Airflow and no key."""
