"""What build this is."""
