// Package overlap warns of volumes whose files get into each other's way.
package overlap
