// Package dns answers the names of the cluster, from an index that events of the View keep, and forwards all others to the
// resolvers of the host.
//
// It follows the specification "Kubernetes DNS-Based Service Discovery" 1.1.0: A and AAAA of Services, headless Services and
// their endpoints, SRV of named ports, PTR of cluster IPs and headless endpoints, CNAME of ExternalName Services, and
// 10-42-0-5.<namespace>.pod.<domain>. Within the domain it is authoritative: a name that exists without data of the asked type
// has an empty answer (NOERROR), one that does not exist has NXDOMAIN, both with the SOA for negative caching (RFC 2308).
//
//	web.shop.svc.cluster.local.            A    10.43.0.9
//	_http._tcp.web.shop.svc.cluster.local. SRV  0 100 80 web.shop.svc.cluster.local.
//	db-0.db.shop.svc.cluster.local.        A    10.42.0.7     (hostname of a headless endpoint)
//
// The most common query, A or AAAA of a Service over UDP, is answered straight from the packet (fast.go); everything else takes
// the way by miekg/dns. Forwarded answers are cached; the same question asked twice at a time is forwarded once, which also ends
// a loop of resolvers that point at each other.
//
// Pods reach the server at the cluster's DNS address, which Address puts on a link of the node: no rule, no NAT.
//
// It imports client, object, kit/run, miekg/dns and netlink. Read server.go, then answer.go.
package dns
