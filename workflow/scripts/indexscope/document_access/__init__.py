"""How a trainer reads its documents: loaders, a trainer that is measured, and what they need."""
