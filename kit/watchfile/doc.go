// Package watchfile tells when the content of a file changes, without polling: by inotify on its folder, so that a file that is replaced
// by another, or by way of a symbolic link as Kubernetes mounts ConfigMaps, is followed too. It imports the standard library and
// golang.org/x/sys.
package watchfile
