"""World model, reinforcement learning and offline agents under one budget."""
