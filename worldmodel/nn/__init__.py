"""Parts of networks, losses, probes; devices, processes and random numbers of a training step."""
