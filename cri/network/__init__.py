"""Pod networking: CNI configuration, plugin invocation, results and status. Namespaces are made in cri.linux."""
