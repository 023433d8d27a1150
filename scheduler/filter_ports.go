package scheduler

// ports keeps two pods from taking one port of a node. An address of 0.0.0.0 clashes with every address.
func ports(k *class, n *node) *verdict {
	for _, want := range k.ports {
		for have := range n.ports {
			if have.port == want.port && have.protocol == want.protocol &&
				(have.ip == want.ip || have.ip == "0.0.0.0" || want.ip == "0.0.0.0") {
				return k.no("node(s) didn't have free ports for the requested pod ports", byPorts, true)
			}
		}
	}
	return nil
}
