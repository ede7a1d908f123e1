"""The commands that ask a running server what it is doing: status, timeline, log-level, reload."""
