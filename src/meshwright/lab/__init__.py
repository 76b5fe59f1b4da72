"""Many Envoys, DNS, workloads and faults on one machine: what demo and test run on."""
