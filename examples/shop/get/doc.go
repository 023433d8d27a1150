// Command get prints what a URL answers, or fails: make up needs no curl.
package main
