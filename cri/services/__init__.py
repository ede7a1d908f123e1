"""The two gRPC servicers: one method an RPC, which checks the call's shape, calls the domain, maps the error."""
