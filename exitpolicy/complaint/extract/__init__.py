"""Find addresses, ports, tables, times, ticket numbers and host names in a complaint."""
