package custom

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"time"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/util/jsonpath"

	"proa.dev/kinds"
	"proa.dev/object"
)

// column is a printer column: where its value is. A JSON path keeps state while it is evaluated.
type column struct {
	head kinds.Column
	path string

	mu     sync.Mutex // guards parsed while it is used
	parsed *jsonpath.JSONPath
	bad    bool
}

// table is the columns of a version and how a row is made.
func table(v *apiextensions.CustomResourceDefinitionVersion) ([]kinds.Column, func(object.Object, time.Time) []any) {
	defs := v.AdditionalPrinterColumns
	if len(defs) == 0 {
		defs = []apiextensions.CustomResourceColumnDefinition{{Name: "Age", Type: "date",
			Description: metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"], JSONPath: ".metadata.creationTimestamp"}}
	}
	heads := []kinds.Column{kinds.NameColumn}
	var columns []*column
	for _, d := range defs {
		text := d.Description
		if text == "" {
			text = "Custom resource definition column (in JSONPath format): " + d.JSONPath
		}
		c := &column{path: d.JSONPath, head: kinds.Column{Name: d.Name, Type: d.Type, Format: d.Format, Description: text, Priority: d.Priority}}
		columns, heads = append(columns, c), append(heads, c.head)
	}
	return heads, func(o object.Object, now time.Time) []any {
		cells := make([]any, 1, len(heads))
		cells[0] = o.GetName()
		for _, c := range columns {
			cells = append(cells, c.cell(o.(*unstructured.Unstructured).Object, now))
		}
		return cells
	}
}

// find is the values at the path.
func (c *column) find(content map[string]any) []reflect.Value {
	if c.parsed == nil && !c.bad {
		p := jsonpath.New(c.head.Name).AllowMissingKeys(true)
		c.bad = p.Parse("{"+c.path+"}") != nil
		c.parsed = p
	}
	if c.bad {
		return nil
	}
	found, err := c.parsed.FindResults(content)
	if err != nil || len(found) == 0 {
		return nil
	}
	return found[0]
}

func (c *column) cell(content map[string]any, now time.Time) any {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := c.find(content)
	if len(found) == 0 {
		return nil
	}
	value := found[0].Interface()
	if value == nil && c.head.Type != "string" {
		return nil
	}
	switch c.head.Type {
	case "string":
		var text bytes.Buffer
		if c.parsed.PrintResults(&text, []reflect.Value{reflect.ValueOf(value)}) != nil {
			return nil
		}
		return text.String()
	case "integer":
		switch n := value.(type) {
		case int64:
			return n
		case float64:
			return int64(n)
		}
	case "number":
		switch n := value.(type) {
		case int64:
			return float64(n)
		case float64:
			return n
		}
	case "boolean":
		if b, ok := value.(bool); ok {
			return b
		}
	case "date":
		return age(value, now)
	}
	return nil
}

// selectable is the field selectors of a version.
func selectable(v *apiextensions.CustomResourceDefinitionVersion) func(object.Object) map[string]string {
	if len(v.SelectableFields) == 0 {
		return func(object.Object) map[string]string { return nil }
	}
	var columns []*column
	for _, f := range v.SelectableFields {
		columns = append(columns, &column{path: f.JSONPath, head: kinds.Column{Name: strings.TrimPrefix(f.JSONPath, ".")}})
	}
	return func(o object.Object) map[string]string {
		out := make(map[string]string, len(columns))
		for _, c := range columns {
			c.mu.Lock()
			found := c.find(o.(*unstructured.Unstructured).Object)
			c.mu.Unlock()
			out[c.head.Name] = ""
			if len(found) == 1 && found[0].Interface() != nil {
				out[c.head.Name] = fmt.Sprint(found[0].Interface())
			}
		}
		return out
	}
}
