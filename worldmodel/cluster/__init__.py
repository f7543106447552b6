"""Many jobs side by side, as tasks of Ray: on this machine, or on a cluster."""
