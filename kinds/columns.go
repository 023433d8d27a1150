package kinds

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Columns makes table heads in short form: "Name", "Desired:integer" (the type; else string), "Node+" (only with -o wide). What stands
// behind a "|" is the description.
func Columns(heads ...string) []Column {
	out := make([]Column, len(heads))
	for i, h := range heads {
		c := Column{Type: "string"}
		h, c.Description, _ = strings.Cut(h, "|")
		if name, ok := strings.CutSuffix(h, "+"); ok {
			h, c.Priority = name, 1
		}
		if name, t, ok := strings.Cut(h, ":"); ok {
			h, c.Type = name, t
		}
		c.Name = h
		switch h {
		case "Name":
			c.Format, c.Description = "name", metav1.ObjectMeta{}.SwaggerDoc()["name"]
		case "Age":
			c.Description = metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"]
		}
		out[i] = c
	}
	return out
}

// Described gives those of the columns that have no description yet, in their order, one of texts.
func Described(cols []Column, texts ...string) []Column {
	for i := range cols {
		if cols[i].Description == "" && len(texts) > 0 {
			cols[i].Description, texts = texts[0], texts[1:]
		}
	}
	return cols
}
