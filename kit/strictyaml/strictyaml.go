package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

var (
	lineOf  = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)$`)
	unknown = regexp.MustCompile(`^field (\S+) not found in type \S+$`)
)

// Decode reads the one document of a file into out; name stands in its errors. JSON is YAML.
func Decode(name string, data []byte, out any) error {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	err := dec.Decode(out)
	if err == nil {
		if err := dec.Decode(new(any)); !errors.Is(err, io.EOF) {
			return fmt.Errorf("%s: more than one document", name)
		}
		return nil
	}
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: it is empty", name)
	}
	var types *yaml.TypeError
	if !errors.As(err, &types) {
		return fmt.Errorf("%s:%s", name, explain(err.Error()))
	}
	var errs []error
	for _, e := range types.Errors {
		errs = append(errs, fmt.Errorf("%s:%s", name, explain(e)))
	}
	return errors.Join(errs...)
}

// Checked is Decode of a file that has more rules than its types; check says which it breaks.
func Checked(name string, data []byte, out any, check func() []error) error {
	if err := Decode(name, data, out); err != nil {
		return err
	}
	errs := check()
	for i := range errs {
		errs[i] = fmt.Errorf("%s: %w", name, errs[i])
	}
	return errors.Join(errs...)
}

func explain(e string) string {
	m := lineOf.FindStringSubmatch(e)
	if m == nil {
		return " " + strings.TrimPrefix(e, "yaml: ")
	}
	if u := unknown.FindStringSubmatch(m[2]); u != nil {
		return fmt.Sprintf("%s: unknown key %q", m[1], u[1])
	}
	return m[1] + ": " + m[2]
}
