"""exitpol: keep a Tor exit's promises about abuse complaints."""

__version__ = "0.1.0"
