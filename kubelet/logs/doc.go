// Package logs reads the logs that a container runtime writes, and bounds their size. A log is lines of CRI's format:
//
//	2026-11-22T10:15:03.123456789Z stdout F the text
//	2026-11-22T10:15:03.123456790Z stderr P the first part of a long
//	2026-11-22T10:15:03.123456790Z stderr F line
//
// P marks a part that goes on in the next line of the same stream. Rotated logs stand beside the current one as 0.log.20261122-101503,
// older ones compressed. Read read.go, then copy.go and rotate.go.
package logs
