"""What networks are made of, one block per file.

A block that changes the number of channels takes `channels_in, channels_out`, one that keeps it takes `channels`;
everything else is a keyword. A block keeps the size, halves it (rounding up) or doubles it.
"""
