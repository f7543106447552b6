"""Why and how fast: speed, latency, failures, maps, representations."""
