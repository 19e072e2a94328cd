"""Results of a frozen benchmark: its protocol, its tables of scores, and what others add to them.

A protocol is a folder such as `experiments/v1`: `protocol.toml`, its suites, `VERSION` with the hash of both, and
`results/`, a CSV a regime. Here belongs what makes, reads, checks and extends these tables. Statistics within one
comparison are in `comparison`, and what trains is below `engines`; nothing here needs data or a network.
"""
