// Package config holds the one Config struct of proa: every setting, its default, its check. A file is read strictly: an unknown key
// is an error that names the file, the line and the likely key. Flags and PROA_* variables cover what is needed before a
// file is read, and win over it. It imports a YAML library only. Read config.go.
package config
