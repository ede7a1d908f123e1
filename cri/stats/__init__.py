"""What pods and containers use: read from cgroup files and /proc, sampled, and put into CRI's messages."""
