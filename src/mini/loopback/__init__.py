"""A control plane on loopback that Modal's own client can be pointed at.

It answers the calls a client of this project makes, over the real protocol, and runs every function call in Modal's own
container entrypoint, in a process of its own. It imitates neither GPUs nor image building nor limits.
"""
