"""How fast the network is, how much memory it takes, and on which machine."""
