"""Proof that what is in PostgreSQL is what was planned and extracted."""
