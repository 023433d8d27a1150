package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Read reads a file strictly over c: keys that the file does not name keep their value. A missing file is an error that wraps
// fs.ErrNotExist.
func (c *Config) Read(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	return c.Parse(path, data)
}

// Parse is Read of the bytes of a file; name stands in its errors.
func (c *Config) Parse(name string, data []byte) error {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	err := dec.Decode(c)
	if err == nil {
		if err := dec.Decode(new(any)); !errors.Is(err, io.EOF) {
			return fmt.Errorf("%s: more than one document", name)
		}
		return nil
	}
	if errors.Is(err, io.EOF) {
		return nil // an empty file
	}
	var types *yaml.TypeError
	if !errors.As(err, &types) {
		return fmt.Errorf("%s: %s", name, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	var errs []error
	for _, e := range types.Errors {
		errs = append(errs, errors.New(name+":"+explain(e)))
	}
	return errors.Join(errs...)
}

var (
	lineOf  = regexp.MustCompile(`^line (\d+): (.*)$`)
	unknown = regexp.MustCompile(`^field (\S+) not found in type (\S+)$`)
)

// explain turns the YAML library's "line 3: field nod not found in type config.Config" into "3: unknown key "nod"; did you mean "node"?".
func explain(e string) string {
	m := lineOf.FindStringSubmatch(e)
	if m == nil {
		return " " + e
	}
	u := unknown.FindStringSubmatch(m[2])
	if u == nil {
		return m[1] + ": " + m[2]
	}
	text := fmt.Sprintf("%s: unknown key %q", m[1], u[1])
	if near := nearest(u[1], keysOf(u[2])); near != "" {
		text += fmt.Sprintf("; did you mean %q?", near)
	}
	return text
}

// keysOf lists the keys of the struct type with this name, as the YAML library prints it.
func keysOf(typeName string) (keys []string) {
	var walk func(t reflect.Type)
	walk = func(t reflect.Type) {
		if t.Kind() == reflect.Map {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct || t.PkgPath() != reflect.TypeFor[Config]().PkgPath() {
			return
		}
		for i := range t.NumField() {
			if t.String() == typeName {
				keys = append(keys, t.Field(i).Tag.Get("yaml"))
			}
			walk(t.Field(i).Type)
		}
	}
	walk(reflect.TypeFor[Config]())
	return keys
}

// nearest is the key with the fewest edits to word, if those are few.
func nearest(word string, keys []string) string {
	best, least := "", 1+len(word)/2
	for _, k := range keys {
		if d := edits(strings.ToLower(word), strings.ToLower(k)); d < least {
			best, least = k, d
		}
	}
	return best
}

// edits is the Levenshtein distance.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
