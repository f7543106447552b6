"""Success rates of policies on frozen episodes."""
