"""Carries events across; knows only the ports."""
