"""JSON first; text, Markdown, SARIF, JUnit and graphs rendered from that JSON."""
