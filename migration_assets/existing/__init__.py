"""Loads into tables that an application's own migrations have made."""
