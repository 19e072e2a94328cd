"""A signal student as C99 without heap and without floating point in the network: layers, integers, source text.

`extract` takes the student apart into the layers of `layers`, `quantise` turns them into the integers of
`mmkd.deploy.integer`, `plan` says where maps lie in memory, `source` writes C, and `host` and `cortex` run it.
"""
