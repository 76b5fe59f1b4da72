"""Travis CI: its API, its files, and how a job of it proves who it is."""
