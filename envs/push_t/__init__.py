"""Push-T: a disc pushes a T-shaped block about a board until both are where the goal shows them."""
