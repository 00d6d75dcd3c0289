"""Transforms of the user's own: value maps, expressions and functions over converted batches."""
