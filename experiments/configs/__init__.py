"""One configuration per reported result."""
