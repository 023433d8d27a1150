// Package endpointslice keeps the EndpointSlices and the legacy Endpoints of Services: which pods stand behind them, on what addresses
// and ports, and whether they are ready, serving and terminating. For a Service without selector it mirrors Endpoints that somebody
// else writes into slices.
//
// A slice holds at most 100 endpoints of one address family and one set of ports. A plan changes as few slices as it can: endpoints stay
// where they are, new ones fill the gaps. An Endpoints object holds at most 1,000 addresses.
//
// It imports control. Read desired.go for what an endpoint says, then slices.go.
package endpointslice
