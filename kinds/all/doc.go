// Package all is the written-out list of the built-in kinds. A new kind is one file in its group's folder and one line here.
// It imports every package of kinds. Read all.go.
package all
