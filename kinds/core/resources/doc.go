// Package resources knows the names of resources (cpu, requests.storage, example.com/gpu) and which amounts of them make sense. It
// imports kinds/check.
package resources
