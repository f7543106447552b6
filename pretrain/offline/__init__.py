"""Training of offline agents."""
