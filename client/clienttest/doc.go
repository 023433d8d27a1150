// Package clienttest is the suite that every form of the API seam passes: Run for a client.Client with its client.View. The API
// behind them must serve core/v1 and have no object in namespaces that begin with "clienttest-". Imports client and object. Read
// clienttest.go.
package clienttest
