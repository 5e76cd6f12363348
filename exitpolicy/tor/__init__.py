"""Tor: asked, told and verified. The only part of exitpol that imports stem."""
