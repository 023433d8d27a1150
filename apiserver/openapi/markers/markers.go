package markers

import (
	_ "embed"
	"fmt"
	"strings"
)

//go:embed markers.txt
var text string

// Marker is what the comments of one field or type say.
type Marker struct {
	Optional, Required bool
	List               string   // "atomic", "set" or "map"
	Keys               []string // of a list that is a map
	Map                string   // "atomic": replaced as a whole; maps and structs
	Default            string   // JSON; "" is none
	Enum               []string // sorted
}

// Index finds the marker of a type and field: "k8s.io/api/core/v1.Container ports"; the type itself is "... -".
type Index map[string]Marker

// Load reads all markers. It takes a millisecond or two, and the result may be dropped after use.
func Load() (Index, error) {
	out := Index{}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] == "#" {
			continue
		}
		if len(f) < 3 {
			return nil, fmt.Errorf("markers: line %q is too short", line)
		}
		var m Marker
		for _, word := range f[2:] {
			if err := m.set(word); err != nil {
				return nil, fmt.Errorf("markers: line %q: %w", line, err)
			}
		}
		out[f[0]+" "+f[1]] = m
	}
	return out, nil
}

func (m *Marker) set(word string) error {
	key, value, _ := strings.Cut(word, "=")
	switch key {
	case "optional":
		m.Optional = true
	case "required":
		m.Required = true
	case "list":
		m.List = value
	case "keys":
		m.Keys = strings.Split(value, ",")
	case "map":
		m.Map = value
	case "default":
		m.Default = value
	case "enum":
		m.Enum = strings.Split(value, ",")
	default:
		return fmt.Errorf("unknown word %q", word)
	}
	return nil
}
