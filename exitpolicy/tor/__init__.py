"""Tor: asked, told and verified."""
