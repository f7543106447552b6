"""What every training shares: stages, log, memory, interruption, processes."""
