"""The search for a compression that keeps the score: `sparing.compress`."""
