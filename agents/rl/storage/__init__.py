"""What a reinforcement learning run leaves on disk, written and read without pickles."""
