"""The process on the router: sockets, captures, journal, status."""
