// Package dockerauth reads the credentials for registries that `docker login` and its kin write, and finds those that are good for
// an image:
//
//	{"auths": {"https://index.docker.io/v1/": {"auth": "dXNlcjpwYXNzd29yZA=="}, "*.example.com/team": {"username": "u", "password": "p"}}}
//
// The older form, .dockercfg, is the inner map alone. Credential helpers are other programs, and are not asked.
//
// It imports nothing of ours.
package dockerauth
