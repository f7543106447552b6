"""What each piece of the method is worth."""
