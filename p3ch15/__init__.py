"""Chapter 15: the trained networks in use.

Introduces a server (server). Takes the network and the weights of chapters 11 and 14.
"""
