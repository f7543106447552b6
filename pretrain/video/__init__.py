"""Training of Video-JEPA, and Moving MNIST."""
