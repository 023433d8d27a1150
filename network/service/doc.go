// Package service is the service proxy of a node: it turns Services and EndpointSlices into nftables maps, so that connections
// to cluster IPs, node ports, external IPs and load balancer addresses reach an endpoint.
//
// One table "proa-services" per family, with few chains and shared maps:
//
//	services   address . protocol . port          : goto a chain      which kind of choice to make
//	endpoints  address . protocol . port . slot   : address . port    what the choice can fall on
//	refused    address . protocol . port          : reject or drop    no endpoint is there
//	affinity   client . address . protocol . port : address . port    what a client got before (lives for the timeout)
//	allowed    address . protocol . port . client ranges              loadBalancerSourceRanges
//	hairpin    address . address                                      endpoints of this node that may reach themselves
//
// The chain "pick.3" takes a random slot of three; every service with three endpoints shares it. Node ports have the zero
// address as key. So a change of one Service is a transaction of a few elements, however many Services there are. Slots are
// kept dense by moving the last endpoint into a gap.
//
//	10.43.0.1 . tcp . 443     : goto pick.2
//	10.43.0.1 . tcp . 443 . 0 : 192.0.2.10 . 6443
//	10.43.0.1 . tcp . 443 . 1 : 192.0.2.11 . 6443
//
// Behaviour follows Kubernetes: EndpointSlices only; terminating endpoints that still serve when none is ready; internal and
// external traffic policy; client IP affinity; connections without endpoints are refused, and dropped where a policy "Local"
// finds none on this node. Masquerade happens for what comes from outside with policy Cluster, for a pod that reaches itself,
// and for senders that are no pods. The service ranges are routed to the node's bridge, so that the node itself may connect to
// cluster IPs; what no rule redirects is refused.
//
// At start the tables of an earlier process are adopted: only what differs is changed, affinity stays.
//
// It imports client, object, kit/run and network/{nft,conntrack,route}. Read model.go, then plan.go, then proxy.go.
package service
