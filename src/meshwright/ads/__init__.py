"""The xDS server: one stream as a state machine without I/O, and the gRPC server around it."""
