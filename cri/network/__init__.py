"""Pod networking: CNI configuration, plugin calls, results, status. Namespaces are made in cri.linux."""
