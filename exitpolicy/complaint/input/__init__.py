"""Turn the bytes of a complaint into texts: MIME, HTML, charsets, formal reports, wrapped lines."""
