"""Exec, attach and port-forward: the protocols without I/O, and the HTTP server that carries them.

    bytes ── transport ── handshake (HTTP/1.1) ──┬── SPDY/3.1 ─────────┬── remote command ── exec, attach session
                                                 ├── WebSocket ────────┤
                                                 └── SPDY in WebSocket ┴── port forward ──── port-forward session

Left of the sessions nothing knows of containers: what a session talks to is one of the protocols in `endpoints`, which
`cri.container` and `cri.sandbox` implement.
"""
