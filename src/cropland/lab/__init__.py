"""The lab: each experiment states a claim about the network, measures it on this machine, and says whether it holds."""
