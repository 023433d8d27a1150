// Package podtable is what kubectl shows of pods: one word for the state that their containers are in.
package podtable
