package core

import (
	"fmt"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds/check"
	"proa.dev/kinds/core/volumes"
)

func (c *podCheck) env(p *field.Path, vars []core.EnvVar) {
	for i, v := range vars {
		at := p.Index(i)
		if v.Name == "" {
			c.Required(at.Child("name"), "")
		} else {
			c.Invalids(at.Child("name"), v.Name, utilvalidation.IsRelaxedEnvVarName(v.Name))
		}
		if v.ValueFrom != nil {
			c.envSource(at.Child("valueFrom"), v)
		}
	}
}

func (c *podCheck) envSource(p *field.Path, v core.EnvVar) {
	from, n := v.ValueFrom, 0
	if r := from.FieldRef; r != nil {
		n++
		fieldRef(c.Errors, p.Child("fieldRef"), r, envFields)
	}
	if r := from.ResourceFieldRef; r != nil {
		n++
		resourceRef(c.Errors, p.Child("resourceFieldRef"), r, false)
	}
	if r := from.ConfigMapKeyRef; r != nil {
		n++
		keyRef(c.Errors, p.Child("configMapKeyRef"), r.Name, r.Key)
	}
	if r := from.SecretKeyRef; r != nil {
		n++
		keyRef(c.Errors, p.Child("secretKeyRef"), r.Name, r.Key)
	}
	if r := from.FileKeyRef; r != nil {
		n++
		fileKeyRef(c.Errors, p.Child("fileKeyRef"), r)
	}
	switch {
	case n == 0:
		c.Invalid(p, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`")
	case v.Value != "":
		c.Invalid(p, "", "may not be specified when `value` is not empty")
	case n > 1:
		c.Invalid(p, "", "may not have more than one field specified at a time")
	}
}

func keyRef(e *check.Errors, p *field.Path, name, key string) {
	e.Subdomain(p.Child("name"), name)
	if key == "" {
		e.Required(p.Child("key"), "")
	} else {
		e.Invalids(p.Child("key"), key, utilvalidation.IsConfigMapKey(key))
	}
}

func fileKeyRef(e *check.Errors, p *field.Path, r *core.FileKeySelector) {
	if r.Key == "" {
		e.Required(p.Child("key"), "")
	} else {
		e.Invalids(p.Child("key"), r.Key, utilvalidation.IsRelaxedEnvVarName(r.Key))
	}
	if r.VolumeName == "" {
		e.Required(p.Child("volumeName"), "")
	} else {
		e.Label(p.Child("volumeName"), r.VolumeName)
	}
	if r.Path == "" {
		e.Required(p.Child("path"), "")
	} else {
		volumes.NoBacksteps(e, p.Child("path"), r.Path)
	}
}

func (c *podCheck) envFrom(p *field.Path, list []core.EnvFromSource) {
	for i, f := range list {
		at, n := p.Index(i), 0
		if f.Prefix != "" {
			c.Invalids(at.Child("prefix"), f.Prefix, utilvalidation.IsRelaxedEnvVarName(f.Prefix))
		}
		for _, ref := range []struct {
			field string
			set   bool
			name  func() string
		}{
			{"configMapRef", f.ConfigMapRef != nil, func() string { return f.ConfigMapRef.Name }},
			{"secretRef", f.SecretRef != nil, func() string { return f.SecretRef.Name }},
		} {
			if !ref.set {
				continue
			}
			n++
			if name := ref.name(); name == "" {
				c.Required(at.Child(ref.field, "name"), "")
			} else {
				c.Subdomain(at.Child(ref.field, "name"), name)
			}
		}
		switch {
		case n == 0:
			c.Invalid(p, "", "must specify one of: `configMapRef` or `secretRef`")
		case n > 1:
			c.Invalid(p, "", "may not have more than one field specified at a time")
		}
	}
}

// The fields of a pod that its environment and its files may show, sorted.
var (
	envFields = []string{"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
		"status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"}
	fileFields = []string{"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"}
	// known are all that the downward API has a name for.
	known = append([]string{"metadata.annotations", "metadata.labels", "spec.restartPolicy", "spec.schedulerName", "status.phase"}, envFields...)
)

// fieldRef checks a reference to a field of the pod: "metadata.name", "metadata.labels['app']".
func fieldRef(e *check.Errors, p *field.Path, r *core.ObjectFieldSelector, allowed []string) {
	switch {
	case r.APIVersion == "":
		e.Required(p.Child("apiVersion"), "")
		return
	case r.FieldPath == "":
		e.Required(p.Child("fieldPath"), "")
		return
	}
	path, key, subscripted := splitSubscript(r.FieldPath)
	switch {
	case r.APIVersion != "v1":
		e.Invalid(p.Child("fieldPath"), r.FieldPath, "error converting fieldPath: unsupported pod version: "+r.APIVersion)
	case subscripted && path != "metadata.annotations" && path != "metadata.labels":
		e.Invalid(p.Child("fieldPath"), r.FieldPath, "error converting fieldPath: field label does not support subscript: "+r.FieldPath)
	case !slices.Contains(known, path):
		e.Invalid(p.Child("fieldPath"), r.FieldPath, "error converting fieldPath: field label not supported: "+r.FieldPath)
	case subscripted && path == "metadata.annotations":
		e.QualifiedName(p, strings.ToLower(key))
	case subscripted:
		e.QualifiedName(p, key)
	default:
		check.OneOf(e, p.Child("fieldPath"), path, allowed...)
	}
}

// splitSubscript splits "metadata.labels['app']" into "metadata.labels" and "app".
func splitSubscript(s string) (path, key string, ok bool) {
	rest, closed := strings.CutSuffix(s, "']")
	path, key, opened := strings.Cut(rest, "['")
	if !closed || !opened || path == "" {
		return s, "", false
	}
	return path, key, true
}

// containerFields are the resources of a container that the downward API shows, besides huge pages.
var containerFields = []string{"limits.cpu", "limits.ephemeral-storage", "limits.memory",
	"requests.cpu", "requests.ephemeral-storage", "requests.memory"}

func resourceRef(e *check.Errors, p *field.Path, r *core.ResourceFieldSelector, inVolume bool) {
	huge := strings.HasPrefix(r.Resource, "limits.hugepages-") || strings.HasPrefix(r.Resource, "requests.hugepages-")
	switch {
	case inVolume && r.ContainerName == "":
		e.Required(p.Child("containerName"), "")
	case r.Resource == "":
		e.Required(p.Child("resource"), "")
	case !huge:
		check.OneOf(e, p.Child("resource"), r.Resource, containerFields...)
	}
	if r.Divisor.Cmp(resource.Quantity{}) == 0 {
		return
	}
	d := r.Divisor.String()
	what := map[string]string{"cpu": "cpu", "memory": "memory", "ephemeral-storage": "local ephemeral storage"}[afterDot(r.Resource)]
	switch {
	case what == "cpu":
		if d != "1m" && d != "1" {
			e.Invalid(p.Child("divisor"), r.Resource, "only divisor's values 1m and 1 are supported with the cpu resource")
		}
	case huge:
		what = "hugepages"
		fallthrough
	case what != "":
		if !slices.Contains(divisors, d) {
			e.Invalid(p.Child("divisor"), r.Resource,
				fmt.Sprintf("only divisor's values %s are supported with the %s resource", strings.Join(divisors, ", "), what))
		}
	}
}

var divisors = []string{"1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"}

func afterDot(s string) string {
	_, after, _ := strings.Cut(s, ".")
	return after
}
