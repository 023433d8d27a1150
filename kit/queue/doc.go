// Package queue holds keys that wait to be worked on: a key is held once however often it is added, is never given to two
// workers at a time, and comes back later with exponential back-off when its work failed. It imports the standard
// library and kit/prom. Read queue.go.
package queue
