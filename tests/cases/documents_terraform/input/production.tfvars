stage = "never"
