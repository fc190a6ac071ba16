"""Show the market pack at work, with ordinary commands, against services on this machine."""
