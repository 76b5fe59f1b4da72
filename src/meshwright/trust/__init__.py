"""Who is calling: SigV4 and, later, roles and permissions. Pure."""
