// Package test is the folder of what checks proa from outside: e2e (the real program on real containers), bench (the measured
// table), conformance (running the public suite), images (images made of Debian packages for the tests).
package test
