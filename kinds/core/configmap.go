package core

import (
	"time"

	core "k8s.io/api/core/v1"

	"proa.dev/kinds"
)

// ConfigMap is v1 ConfigMap: configuration as keys and values.
var ConfigMap = kinds.Def[core.ConfigMap, *core.ConfigMap]{
	Path:     "v1/configmaps",
	Short:    []string{"cm"},
	Default:  func(c *core.ConfigMap) { noNulls(c.BinaryData) },
	Validate: validateConfigMap, ValidateUpdate: validateConfigMapUpdate,
	Columns: kinds.Described(kinds.Columns("Name", "Data", "Age"), core.ConfigMap{}.SwaggerDoc()["data"]),
	Row: func(c *core.ConfigMap, now time.Time) []any {
		return []any{c.Name, int64(len(c.Data) + len(c.BinaryData)), kinds.Age(c.CreationTimestamp, now)}
	},
}
