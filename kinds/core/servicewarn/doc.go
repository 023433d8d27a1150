// Package servicewarn warns of services that are valid but most likely not meant. It is one file.
package servicewarn
