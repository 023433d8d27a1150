// Package remote is the API over the wire: Client is a client.Client that speaks HTTPS to any Kubernetes API server, View is a
// client.View that keeps copies of some resources up to date by watching them.
//
// Objects of built-in types travel as protobuf, all others (custom resources, as *unstructured.Unstructured) as JSON. All calls and
// watches of one Client share a few HTTP/2 connections, which are probed so that a dead server is noticed within a minute.
//
// A View survives everything: a connection that breaks is made again from the last revision seen; where the server has forgotten
// that revision (410 Gone) all objects are read anew and subscribers hear of the difference only. Initial states come as a stream
// (WatchList, KEP-3157) where the server can, else as pages.
//
// Imports client and object. Read client.go, then view.go and reflect.go.
package remote
