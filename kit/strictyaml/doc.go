// Package strictyaml reads YAML files of configuration whose every key must be known; its errors name file and line. It imports a YAML
// library only.
package strictyaml
