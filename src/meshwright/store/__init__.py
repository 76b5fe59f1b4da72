"""Where revisions, releases and access keys live: one contract, one implementation a database."""
