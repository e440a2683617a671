"""Speed and memory from commit to commit, for airspeed velocity (asv)."""
