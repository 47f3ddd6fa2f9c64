"""What every service needs behind it: state, files, jobs, time, limits, faults. It knows no service."""
