package storage

import (
	"maps"
	"strings"
	"time"

	storage "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds"
	"proa.dev/kinds/check"
)

// VolumeAttributesClass is storage.k8s.io/v1 VolumeAttributesClass: what may change about a volume while it lives.
var VolumeAttributesClass = kinds.Def[storage.VolumeAttributesClass, *storage.VolumeAttributesClass]{
	Path:    "storage.k8s.io/v1/volumeattributesclasses",
	Cluster: true,
	Short:   []string{"vac"},
	ValidateCreate: func(c *storage.VolumeAttributesClass) field.ErrorList {
		return check.Run(func(e *check.Errors) { attributes(e, c) })
	},
	ValidateUpdate: func(c, old *storage.VolumeAttributesClass) field.ErrorList {
		return check.Run(func(e *check.Errors) {
			if c.DriverName != old.DriverName {
				e.Forbidden(field.NewPath("driverName"), "updates to driverName are forbidden.")
			}
			if !maps.Equal(c.Parameters, old.Parameters) {
				e.Forbidden(field.NewPath("parameters"), "updates to parameters are forbidden.")
			}
			attributes(e, c)
		})
	},
	Columns: kinds.Columns("Name", "DriverName|"+storage.VolumeAttributesClass{}.SwaggerDoc()["driverName"], "Age"),
	Row: func(c *storage.VolumeAttributesClass, now time.Time) []any {
		return []any{c.Name, c.DriverName, kinds.Age(c.CreationTimestamp, now)}
	},
}

func attributes(e *check.Errors, c *storage.VolumeAttributesClass) {
	if p := field.NewPath("driverName"); c.DriverName == "" {
		e.Required(p, "")
	} else {
		e.QualifiedName(p, strings.ToLower(c.DriverName))
	}
	parameters(e, field.NewPath("parameters"), c.Parameters)
	if len(c.Parameters) == 0 {
		e.Required(field.NewPath("parameters"), "must contain at least one key/value pair")
	}
}
