"""Container output on disk: the CRI log format, the pump, the log keeper process and its client.

Nothing is imported here: the keeper process imports only what it needs, so that it stays small.
"""
